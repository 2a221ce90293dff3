"""The keys of a terminal: its input without waiting for whole lines, and what the bytes of a key mean.

Specification: ECMA-48 for control sequences; xterm's for the cursor keys (``ESC [ A``, ``ESC O A``).
"""

from __future__ import annotations

import codecs
import contextlib
import re
import termios
from collections.abc import Iterator
from enum import StrEnum

ESCAPE_SECONDS = 0.05
"""How long the rest of a control sequence may take: an Escape that is older was the key of that name."""


class Key(StrEnum):
    """A key that is no character."""

    ENTER = "enter"
    LEAVE = "leave"
    ERASE = "erase"
    CLEAR = "clear"
    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    FIRST = "first"
    LAST = "last"


_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_KEYS = {
    **dict.fromkeys(("\r", "\n"), Key.ENTER),
    **dict.fromkeys(("\x03", "\x04", "\x07", "\x1b"), Key.LEAVE),  # Ctrl-C, Ctrl-D, Ctrl-G, Escape
    **dict.fromkeys(("\x7f", "\x08"), Key.ERASE),
    **dict.fromkeys(("\x15", "\x17"), Key.CLEAR),  # Ctrl-U, Ctrl-W
    **dict.fromkeys(("\x1b[A", "\x1bOA", "\x10", "\x0b"), Key.UP),  # and Ctrl-P, Ctrl-K
    **dict.fromkeys(("\x1b[B", "\x1bOB", "\x0e"), Key.DOWN),  # and Ctrl-N
    "\x1b[5~": Key.PAGE_UP,
    "\x1b[6~": Key.PAGE_DOWN,
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~"), Key.FIRST),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~"), Key.LAST),
}


class Keys:
    """Takes a terminal's bytes as they come, in any portions, and gives keys and characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._rest = ""

    @property
    def open(self) -> bool:
        """Whether a control sequence has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[Key | str]:
        """The keys that these bytes complete."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        while text:
            if text[0] == "\x1b":
                found = _SEQUENCE.match(text)
                if found is None:
                    self._rest = text
                    return
                word, text = found[0], text[found.end() :]
            else:
                word, text = text[0], text[1:]
            key = _KEYS.get(word)
            if key is not None:
                yield key
            elif word.isprintable():
                yield word

    def ended(self) -> Iterator[Key | str]:
        """What has begun, where nothing more comes: an Escape alone is that key, the rest means nothing."""
        rest, self._rest = self._rest, ""
        if rest == "\x1b":
            yield Key.LEAVE


@contextlib.contextmanager
def key_by_key(terminal: int) -> Iterator[None]:
    """The terminal gives every key at once and shows none, Ctrl-C and Ctrl-Z too; afterwards it is as it was."""
    before = termios.tcgetattr(terminal)
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
