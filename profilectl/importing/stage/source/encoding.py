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
_TEXT_LINE_END = re.compile(r"\r\n|\r(?!\n)|\n")
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
WEST = "windows-1252"
SELDOM = "\u0192\u2020\u2021\u02c6\u2030\u02dc"
"""Characters of WEST that stand in no word: many of them are the first bytes of another encoding's
letters.
"""
LONGEST_RUN = 2
"""A western language has seldom more letters side by side that are not ASCII."""
CONTROLS = frozenset(map(chr, (*range(0x80, 0xA0), 0xFFFE, 0xFFFF)))
"""Characters that no name of a column has."""
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The first bytes that say an encoding, the longest first."""
LEAVE_OUT = "leave out --encoding: the file is UTF-8"
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
    try:
        # Raises LookupError for a codec of bytes, such as hex, which is no encoding of text.
        "a".encode(encoding)
    except UnicodeError:
        raise LookupError(encoding) from None  # "undefined", which is no encoding of anything
    return None if codec.name in ("utf-8", "utf-8-sig") else codec.name


def check_utf8(name: str, local: Path, *, importing: bool = False, whole: bool = False) -> None:
    """Raise InputRefused for a file that is not UTF-8, with the first bad byte and what to try.

    importing: its rows could be rejected instead; whole: they could not, as it is one document.
    """
    bad = first_bad_byte(local)
    if bad is None:
        return
    outcome = "; nothing was imported" if importing else ""
    raise InputRefused(
        f"{name}:{bad.line}: byte {bad.byte} of the line is not UTF-8{outcome}",
        _hint(bad.near, REJECT if importing and not whole else ""),
    )


def check_readable(name: str, local: Path, codec: str) -> None:
    """Raise InputRefused for a text that is another encoding's: one that gives it no first line.

    Almost every byte means something in an encoding of single bytes, and in UTF-16, so that a wrong
    one seldom fails: it makes one long line of letters that nobody wrote.
    """
    with local.open("rb") as stream:
        head = stream.read(NEAR)
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in MARKS.items() if head.startswith(mark)), (b"", "")
    )
    if mark and not codec.startswith(encoding.partition("-le")[0].partition("-be")[0]):
        raise InputRefused(
            f"{name} begins with the mark of {encoding.upper()}, and is not {_title(codec)}",
            LEAVE_OUT if encoding == "utf-8" else f"--encoding {encoding}",
        )
    try:
        text = codecs.getincrementaldecoder(codec)("replace").decode(head)
    except UnicodeError:
        return  # to be refused as it is turned into UTF-8
    line = next(filter(None, re.split(r"[\r\n]", text.lstrip("\ufeff \t\r\n"))), "")
    odd = next((letter for letter in line if letter in CONTROLS), None)
    if odd is not None:
        place = f"it has the control character U+{ord(odd):04X}"
    elif not re.search(r"[\r\n]", text) and b"\n" in head and _may_be(head):
        place = "it never ends"
    else:
        return
    hint = _other_encoding(codec, head)
    if "\x85" in text and "\n" not in text:
        hint = f"turn the ends of its lines (U+0085) into line feeds, or {hint}"
    raise InputRefused(
        f"{name}:1: read as {_title(codec)}, its first line is no text: {place}", hint
    )


def transcoded(
    local: Path, codec: str, name: str, *, refusing: bool, whole: bool = False
) -> Blocks:
    """Yield a text in UTF-8.

    refusing: what is not valid in its encoding is refused; else it does not become valid UTF-8
    either, so that its rows can be rejected. whole: they cannot, as it is one document. Raises
    InputRefused.
    """
    decoder = codecs.getincrementaldecoder(codec)("strict" if refusing else "surrogateescape")
    decoded_bytes = 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            pending = _pending(decoder)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                bad = _decoded_around(local, decoded_bytes - pending + error.start, codec)
                otherwise = REJECT if refusing and not whole else ""
                raise InputRefused(
                    f"{name}:{bad.line}: byte {bad.byte} of the line is not {_title(codec)}",
                    "; ".join(filter(None, (_other_encoding(codec, bad.near), otherwise))),
                ) from None
            except UnicodeError:
                raise _undecodable(name, codec, block) from None
            text = text if decoded_bytes else text.removeprefix("\ufeff")
            yield text.encode("utf-8", "surrogatepass")
            decoded_bytes += len(block)
            if not block:
                return


def _undecodable(name: str, codec: str, near: bytes) -> InputRefused:
    """Return the refusal of a text that has no mark of its byte order, or of an odd codec."""
    if not codec.startswith("utf"):
        return InputRefused(f"{name} cannot be read as {codec}", _other_encoding(codec, near))
    order = f"give --encoding {codec}-le or {codec}-be"
    return InputRefused(
        f"{name} has no byte order mark, and {codec} needs one",
        _other_encoding(codec, near) if _may_be(near) else order,
    )


def first_bad_byte(local: Path) -> BadByte | None:
    """Return the first byte of a file that is not UTF-8, None where all are."""
    place = _first_bad(local)
    return None if place is None else _around(local, place)


def _pending(decoder: codecs.IncrementalDecoder) -> int:
    """Return how many bytes a decoder has taken that are no character yet."""
    waiting = decoder.getstate()[0]
    return len(waiting) if isinstance(waiting, bytes) else 0


def _decoded_around(local: Path, place: int, codec: str) -> BadByte:
    """Return where a byte of a file in an encoding is, and the bytes near it."""
    decoder = codecs.getincrementaldecoder(codec)("replace")
    mark = len("".encode(codec))
    line, position, end, before = 1, 0, 0, ""
    with local.open("rb") as stream:
        while position < place:
            block = stream.read(min(BLOCK, place - position))
            text = decoder.decode(block)
            position += len(block)
            ends = [match.end() for match in _TEXT_LINE_END.finditer(text)]
            if ends:
                # A \r at the end of a block and the \n that begins the next are one line end.
                line += len(ends) - (before == "\r" and text[0] == "\n")
                behind = len(text[ends[-1] :].encode(codec, "replace")) - mark
                end = position - _pending(decoder) - behind
            before = text[-1:] or before
        begin = max(place - NEAR, 0)
        stream.seek(begin)
        near = stream.read(2 * NEAR)
    return BadByte(line=line, byte=place - end + 1, near=near)


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


def _other_encoding(codec: str, near: bytes) -> str:
    """Return which encoding to try instead of one that a text is not in."""
    if _is_utf8(near):
        return LEAVE_OUT
    if codec != codecs.lookup(WEST).name and b"\0" not in near and _is_western(near):
        return f"--encoding {WEST}"
    return "name its real --encoding, for example windows-1251, shift_jis or utf-16"


def _title(codec: str) -> str:
    """Return the name of an encoding that people know."""
    return re.sub("^cp(?=125[0-8]$)", "windows-", codec)


def _may_be(near: bytes) -> bool:
    return _is_utf8(near) or (b"\0" not in near and _is_western(near))


def _is_utf8(near: bytes) -> bool:
    """Return whether some bytes of a text are UTF-8 but for its first and last character."""
    if b"\0" in near:
        return False
    try:
        near.lstrip(bytes(range(0x80, 0xC0))).decode()
    except UnicodeDecodeError as error:
        return error.end == len(error.object) and error.reason == "unexpected end of data"
    return True


def _is_western(near: bytes) -> bool:
    try:
        text = near.decode(WEST)
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in _HIGH.findall(near)]
    seldom = sum(letter in SELDOM for letter in text)
    return seldom * 4 <= sum(runs) and sum(run <= LONGEST_RUN for run in runs) * 2 > len(runs)
