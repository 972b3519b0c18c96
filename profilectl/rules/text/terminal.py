"""What a terminal is sent: nothing in it does anything to it, or hides on it. A pipe and a file get
every text as it is.
"""

from __future__ import annotations

import codecs
import re
import sys
from typing import Any

# What does something to a terminal, or is not seen on it: control characters, directions of
# writing, marks of no width, tags.
UNSEEN = frozenset((
    *range(0x20), 0x7F, *range(0x80, 0xA0), 0xAD, 0x61C, 0x115F, 0x1160, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F),
    *range(0x2060, 0x2070), 0x3164, *range(0xD800, 0xE000), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080),
))  # fmt: skip
_EVER = re.compile(
    f"[{''.join(map(re.escape, map(chr, sorted(code for code in UNSEEN if code >= 0x7F))))}]"
)
"""What is never meant, in whatever is written; the control characters below 32 make our own lines
and colours.
"""
_IN_DATA = re.compile(f"[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f{_EVER.pattern[1:-1]}]")
"""What is not meant in data: ends of lines and tabs are."""


def visible(text: str) -> str:
    """Return text with every control character written out, so that it can do nothing to a
    terminal.
    """
    return "".join(_escaped(ord(one)) if ord(one) in UNSEEN else one for one in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_in_json(found: re.Match[str]) -> str:
    """Write a character as JSON does, which has pairs for those beyond 16 bits: a document stays
    one, and says the same.
    """
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def spelled(name: str) -> str:
    """Return a name of a file that may not be UTF-8, its odd bytes written out.

    >>> spelled("a\\udcff.csv")
    'a\\\\xff.csv'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Data:
    """The bytes that go to a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def write(self, data: Any) -> int:
        """Write text in UTF-8, what is not meant in data written out."""
        self._stream.write(_IN_DATA.sub(_as_in_json, self._decoder.decode(bytes(data))).encode())
        return len(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Screen:
    """A text stream whose end is a terminal; `buffer` is what data is written to."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.buffer = stream, _Data(stream.buffer)

    def write(self, text: str) -> int:
        """Write text, what is never meant written out."""
        self._stream.write(_EVER.sub(_as_in_json, text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Let nothing reach a terminal that does anything to it: every command, and every library that
    prints, is held to it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            setattr(sys, name, Screen(stream))
