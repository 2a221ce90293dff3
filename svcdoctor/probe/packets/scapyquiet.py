"""Loads scapy without what it does to its surroundings: no files in the user's home, nothing on stderr.

Importing it takes a third of a second, so this is imported only when a raw socket is open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """For the block that imports scapy first."""
    # It keeps a level that is set before. Its messages are about interfaces and names that no probe asks it for.
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    # It makes ~/.config and ~/.cache/scapy; below a file it cannot, and goes on without.
    before = {name: os.environ.get(name) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    os.environ.update(dict.fromkeys(before, os.devnull))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
