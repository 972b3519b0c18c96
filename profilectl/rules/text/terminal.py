"""Text that is safe on a terminal: nothing in it acts on the terminal or hides on it.

A pipe and a file get every text as it is.
"""

from __future__ import annotations

import codecs
import functools
import re
import sys
from collections.abc import Iterable
from typing import BinaryIO, TextIO

Bytes = bytes | bytearray | memoryview

# fmt: off
UNSEEN = frozenset((
    # control characters
    *range(0x20), 0x7F, *range(0x80, 0xA0),
    # directions of writing, and marks of no width
    0xAD, 0x61C, 0x115F, 0x1160, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F),
    *range(0x2060, 0x2070), 0x3164,
    # halves of characters, the byte order mark, annotations, tags
    *range(0xD800, 0xE000), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080),
))
# fmt: on
"""The characters that act on a terminal, or are not seen on it."""


# Made at the first text for a terminal: 3 ms, which a command in a pipe need not wait for.
@functools.cache
def _ever() -> re.Pattern[str]:
    """Return the characters that no text may have; our lines and colours need those below 32."""
    codes = sorted(code for code in UNSEEN if code >= 0x7F)
    return re.compile(f"[{''.join(map(re.escape, map(chr, codes)))}]")


@functools.cache
def _in_data() -> re.Pattern[str]:
    """Return the characters that data may not have: it may have ends of lines and tabs."""
    return re.compile(f"[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f{_ever().pattern[1:-1]}]")


def visible(text: str) -> str:
    """Return text with every control character written out, so that it cannot act on a terminal."""
    return "".join(_escaped(ord(letter)) if ord(letter) in UNSEEN else letter for letter in text)


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_in_json(match: re.Match[str]) -> str:
    """Return a character as JSON escapes it, so that a JSON document still means the same."""
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def spelled(name: str) -> str:
    """Return a file name that may not be UTF-8, with its odd bytes written out.

    >>> spelled("a\\udcff.csv")
    'a\\\\xff.csv'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class TerminalData:
    """A stream of bytes that ends at a terminal."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def write(self, data: Bytes) -> int:
        """Write text in UTF-8, with the characters written out that data may not have."""
        self._stream.write(_in_data().sub(_as_in_json, self._decoder.decode(bytes(data))).encode())
        return len(data)

    def writelines(self, lines: Iterable[Bytes]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class Screen:
    """A text stream that ends at a terminal; `buffer` is the stream that data is written to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.buffer = stream, TerminalData(stream.buffer)

    def write(self, text: str) -> int:
        """Write text, with the characters written out that no text may have."""
        self._stream.write(_ever().sub(_as_in_json, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def guard() -> None:
    """Put a Screen before each standard stream that is a terminal.

    Nothing that a command or a library prints can then act on the terminal.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            setattr(sys, name, Screen(stream))
