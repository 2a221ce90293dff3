"""The standard streams as the locale wants them: what it cannot show is spelled in other signs, and is no error.

Where the locale is C or POSIX, Python writes UTF-8 all the same (PEP 538, PEP 540): mostly nobody has set one. Who
names it means it, and gets ASCII.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping

from svcdoctor.report.printable import spelled

_ERRORS = "svcdoctor.spelled"
_COERCED = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})  # what Python puts into LC_CTYPE (PEP 538)


def fit_streams() -> None:
    """Standard output and error take any text from now on."""
    codecs.register_error(_ERRORS, _spell)
    encoding = "ascii" if says_ascii(os.environ) else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=_ERRORS)


def says_ascii(environ: Mapping[str, str]) -> bool:
    """Whether the environment names the C locale, and nothing tells Python another encoding."""
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8"):
        return False
    general = environ.get("LANG", "")
    kind = environ.get("LC_CTYPE", "")
    if kind in _COERCED and general in ("C", "POSIX"):
        kind = general
    return (environ.get("LC_ALL") or kind or general) in ("C", "POSIX")


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end
