"""Is a file valid in its encoding? One pass over its bytes; where it is not: the place, and the
encoding to try.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from profilectl.codes import InputRefused

BLOCK = 1024 * 1024
NEAR = 256 * 1024
"""So many bytes before and after the first that is wrong say which encoding is likely."""
_LINE_END = re.compile(rb"\r\n|\r|\n")
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
WEST = "windows-1252"
SELDOM = "\u0192\u2020\u2021\u02c6\u2030\u02dc"
"""Characters of it that stand in no word: many of them are the first bytes of another encoding's
letters.
"""
LONGEST_RUN = 2
"""So many letters that are not ASCII stand side by side in a western language, seldom more."""


REJECT = "--encoding-errors reject imports the rest and rejects its rows"


def check_utf8(name: str, local: Path, *, importing: bool = False, whole: bool = False) -> None:
    """Refuse a file that is not UTF-8 throughout.

    Raises InputRefused with the first bad line and byte, and what to try.

    importing: its rows could be rejected instead, unless it is read as a whole.
    """
    place = _first_bad(local)
    if place is None:
        return
    line, byte, near = _around(local, place)
    raise InputRefused(
        f"{name}:{line}: byte {byte} of the line is not UTF-8{'; nothing was imported' if importing else ''}",
        _hint(near, REJECT if importing and not whole else ""),
    )


def _first_bad(local: Path) -> int | None:
    """Return the place of the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return done - pending + error.start
            if not block:
                return None
            done += len(block)


def _around(local: Path, place: int) -> tuple[int, int, bytes]:
    """Return the line of a place in a file and the byte in it, both from 1, and the bytes near it."""
    line, start, done, last = 1, 0, 0, b""
    with local.open("rb") as stream:
        while done < place:
            block = stream.read(min(BLOCK, place - done))
            for end in _LINE_END.finditer(block):
                if not (last == b"\r" and end.start() == 0 and end.group() == b"\n"):
                    line += 1
                start = done + end.end()
            done += len(block)
            last = block[-1:]
        first = max(start - NEAR, 0)
        stream.seek(first)
        return line, place - start + 1, stream.read(place - first + NEAR)


def _hint(near: bytes, otherwise: str) -> str:
    """Say what to try: an encoding only where the text is likely to be in it."""
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
