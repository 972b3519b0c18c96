"""Text in its encoding: checked in one pass over its bytes, or turned into UTF-8.

Where a text is not valid the message says the place, and the encoding to try.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.unpacking import BLOCK, Blocks

CHECKED_BYTES = 64 * 1024
"""How many bytes are checked at once.

A megabyte takes two and a half times as long: its text gets new memory from the system each time.
"""
NEAR = 256 * 1024
"""How many bytes before and after the first wrong one say which encoding is likely."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
WEST = "windows-1252"
SELDOM = "\u0192\u2020\u2021\u02c6\u2030\u02dc"
"""Characters of WEST that stand in no word: many of them are the first bytes of another encoding's
letters.
"""
LONGEST_RUN = 2
"""A western language has seldom more letters side by side that are not ASCII."""
REJECT = "--encoding-errors reject imports the rest and rejects its rows"


class BadByte(NamedTuple):
    """The first byte of a file that is not UTF-8."""

    line: int
    """The line that it is in, from 1."""
    byte: int
    """Its place in the line, from 1."""
    near: bytes
    """The bytes near it."""


def codec_of(encoding: str) -> str | None:
    """Return the codec of an encoding, None for UTF-8. Raises LookupError for one that is none."""
    codec = codecs.lookup(encoding)
    # Raises LookupError for a codec of bytes, such as hex, which is no encoding of text.
    "a".encode(encoding)
    return None if codec.name in ("utf-8", "utf-8-sig") else codec.name


def check_utf8(name: str, local: Path, *, importing: bool = False, whole: bool = False) -> None:
    """Raise InputRefused for a file that is not UTF-8, with the first bad byte and what to try.

    importing: its rows could be rejected instead; whole: they could not, as it is one document.
    """
    place = _first_bad(local)
    if place is None:
        return
    bad = _around(local, place)
    outcome = "; nothing was imported" if importing else ""
    raise InputRefused(
        f"{name}:{bad.line}: byte {bad.byte} of the line is not UTF-8{outcome}",
        _hint(bad.near, REJECT if importing and not whole else ""),
    )


def transcoded(local: Path, codec: str, name: str, *, refusing: bool) -> Blocks:
    """Yield a text in UTF-8.

    refusing: what is not valid in its encoding is refused; else it does not become valid UTF-8
    either, so that its rows can be rejected. Raises InputRefused.
    """
    decoder = codecs.getincrementaldecoder(codec)("strict" if refusing else "surrogateescape")
    line, decoded_bytes = 1, 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += len(error.object[: error.start].decode(codec, "replace").splitlines()[1:])
                raise InputRefused(
                    f"{name}: byte {decoded_bytes + error.start + 1}, near line {line},"
                    f" is not {codec}",
                    f"name its real --encoding{f'; {REJECT}' if refusing else ''}",
                ) from None
            except UnicodeError:  # a codec that needs a mark of the byte order
                raise InputRefused(
                    f"{name} has no byte order mark, and {codec} needs one",
                    f"give --encoding {codec}-le or {codec}-be",
                ) from None
            line += text.count("\n")
            text = text if decoded_bytes else text.removeprefix("\ufeff")
            yield text.encode("utf-8", "surrogatepass")
            decoded_bytes += len(block)
            if not block:
                return


def _first_bad(local: Path) -> int | None:
    """Return the place of the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoded_bytes = 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(CHECKED_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return decoded_bytes - pending + error.start
            if not block:
                return None
            decoded_bytes += len(block)


def _around(local: Path, place: int) -> BadByte:
    """Return where a byte of a file is, and the bytes near it."""
    line, line_begin, position, before = 1, 0, 0, b""
    with local.open("rb") as stream:
        while position < place:
            block = stream.read(min(BLOCK, place - position))
            for end in _LINE_END.finditer(block):
                # A \r at the end of a block and the \n that begins the next are one line end.
                if not (before == b"\r" and end.start() == 0 and end.group() == b"\n"):
                    line += 1
                line_begin = position + end.end()
            position += len(block)
            before = block[-1:]
        begin = max(line_begin - NEAR, 0)
        stream.seek(begin)
        near = stream.read(place - begin + NEAR)
    return BadByte(line=line, byte=place - line_begin + 1, near=near)


def _hint(near: bytes, otherwise: str) -> str:
    """Return what to try: an encoding only where the text is likely to be in it."""
    if len(_UTF8.findall(near)) > len(_HIGH.findall(_UTF8.sub(b"", near))):
        return "most of it is UTF-8: mend the line" + (otherwise and f", or {otherwise}")
    if _is_western(near):
        return f"--encoding {WEST}" + (otherwise and f"; if it is UTF-8 after all, {otherwise}")
    return "name its --encoding, for example windows-1251, shift_jis or utf-16" + (
        otherwise and f"; {otherwise}"
    )


def _is_western(near: bytes) -> bool:
    try:
        text = near.decode(WEST)
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in _HIGH.findall(near)]
    seldom = sum(letter in SELDOM for letter in text)
    return seldom * 4 <= sum(runs) and sum(run <= LONGEST_RUN for run in runs) * 2 > len(runs)
