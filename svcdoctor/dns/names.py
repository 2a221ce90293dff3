"""Names as DNS carries them (RFC 1035 section 2.3.4, RFC 1123 section 2.1, RFC 5891)."""

from __future__ import annotations

import re

from svcdoctor.model.errors import SvcdoctorError

LABEL_LIMIT = 63
NAME_LIMIT = 253  # written without the last dot; 255 on the wire with the length bytes

# Underscores are no host name's, but SRV and TXT owners have them.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # full stops that IDNA counts as dots (RFC 3490 section 3.1)
# IDNA 2003 maps these to other letters, IDNA 2008 keeps them: the same text would be two names.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")


def ascii_name(text: str) -> str:
    """The name in lower-case ASCII, labels in other scripts as ``xn--``; a last dot (absolute) stays.

    Raises SvcdoctorError, naming the label, for one that no host may have; for labels of more than 63 and
    names of more than 253 characters.
    """
    parts = _DOTS.split(text)
    absolute = len(parts) > 1 and not parts[-1]
    if absolute:
        parts.pop()
    name = ".".join(_ascii_label(part, text) for part in parts)
    if len(name) > NAME_LIMIT:
        raise SvcdoctorError(
            f"DNS name {_short(text)}: {len(name)} characters are too many; a name has at most {NAME_LIMIT}"
        )
    return f"{name}." if absolute else name


def _ascii_label(label: str, whole: str) -> str:
    if not label:
        what = "a label is empty; write the name without two dots in a row or a dot in front"
        raise SvcdoctorError(f"DNS name {_short(whole)}: {what if whole else 'it is empty; give one'}")
    lower = label.lower()
    if not label.isascii():
        if _DEVIATIONS & set(lower):
            raise SvcdoctorError(
                f"DNS name {_short(whole)}: {_short(label)} reads differently in IDNA 2003 and 2008; "
                "write it in its xn-- form"
            )
        try:
            lower = label.encode("idna").decode("ascii").lower()
        except UnicodeError as e:
            why = str(e.__cause__ or e).removeprefix("encoding with 'idna' codec failed (UnicodeError: ")
            raise SvcdoctorError(
                f"DNS name {_short(whole)}: {_short(label)} cannot be written in ASCII: {why.rstrip(')')}"
            ) from None
    if len(lower) > LABEL_LIMIT:
        raise SvcdoctorError(
            f"DNS name {_short(whole)}: label {_short(label)} has {len(lower)} characters; "
            f"at most {LABEL_LIMIT} are allowed"
        )
    if not _LABEL.fullmatch(lower):
        raise SvcdoctorError(
            f"DNS name {_short(whole)}: {_short(label)} is no label; it has letters, digits, '-' and '_', "
            "and no '-' at either end"
        )
    return lower


def _short(text: str) -> str:
    """The text as it can be shown in one line: quoted, nothing unprintable, cut at 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
