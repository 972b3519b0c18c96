"""Packed files -> their blocks, as far as there is room: gzip, zstandard, members of a zip archive.

A small file may unpack to more than a disk holds. So there is a limit: 100 times the size of the
file as it is given, at least 100 MB, or what --max-unpacked says. Free space is looked at, too, as
blocks are written, so that a reserve stays. No more than a block is ever in memory.
"""

from __future__ import annotations

import bz2
import contextlib
import copy
import gzip
import lzma
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import IO, BinaryIO, cast

from profilectl.codes import InputRefused, UsageError

BLOCK = 1024 * 1024
"""How many bytes are read at once."""
TIMES = 100
"""A file may unpack to this many times its size ..."""
FLOOR = 100_000_000
"""... or to this many bytes, where that is more: a small file of repetitions is nothing to fear."""
RESERVE, RESERVE_SHARE = 1_000_000_000, 0.05
"""How many bytes of a disk stay free, or which share of it, where that is less."""
SMALL = 16 * BLOCK
"""How many bytes are written even where the disk is full: a correction, a batch that came in."""
MEMORY_SHARE = 8
"""A file that is read into memory whole may take one part in this many of the machine's memory."""
LONGEST_DIRECTORY = 16 * 1024 * 1024
"""How many bytes the list of a zip archive's members may have: that is 200,000 members."""
LARGEST_WINDOW = 256 * 1024 * 1024
"""How many bytes of memory LZMA may ask for."""
Blocks = Generator[bytes, None, None]
"""Blocks of a content, one after another; the function that takes them closes them."""
UNITS = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def size_of(text: str | None, option: str = "--max-unpacked") -> int | None:
    """Return the bytes that a size means. Raises UsageError for a text that is no size.

    >>> size_of("20GB"), size_of("1.5 MiB"), size_of(None)
    (20000000000, 1572864, None)
    """
    if text is None:
        return None
    size = re.fullmatch(
        r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([KMGT])(i?)B", text.strip(), re.IGNORECASE
    )
    if size is None or not float(size[1]):
        raise UsageError(f"{option} {text}: must be a size such as 20GB or 800MB")
    return int(float(size[1]) * (1024 if size[3] else 1000) ** UNITS[size[2].upper()])


def sized(count: int) -> str:
    """Return a number of bytes in words.

    >>> sized(1), sized(2048), sized(100_000_000), sized(8_300_000_000_000)
    ('1 byte', '2 KB', '100 MB', '8.3 TB')
    """
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    number, units = count / 1000, ["KB", "MB", "GB", "TB", "PB", "EB"]
    while number >= 999.5 and len(units) > 1:
        number, units = number / 1000, units[1:]
    text = f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
    return f"{text.removesuffix('.0')} {units[0]}"


def most_of(packed: int, limit: int | None) -> int:
    """Return the bytes that a file of a size may unpack to. limit: the one that was stated."""
    return limit if limit is not None else max(TIMES * packed, FLOOR)


def free_space(folder: Path) -> int:
    """Return the bytes that may be written to a folder's disk, the reserve left free."""
    usage = shutil.disk_usage(folder)
    return usage.free - min(RESERVE, int(usage.total * RESERVE_SHARE))


def refusal(
    name: str, packed: int, unpacked: int, *, most: int, verb: str = "unpacks to"
) -> InputRefused:
    """Return the error of a file that unpacks to more than it may.

    packed: its bytes as it is given. unpacked: how many bytes it comes to at least.
    """
    wider = sized(max(10 * most, unpacked * 11 // 10)).replace(" ", "")
    return InputRefused(
        f"{name} has {sized(packed)} and {verb} at least {sized(unpacked)},"
        f" more than the {sized(most)} that are allowed",
        "look at what it is: so much in so little is seldom data;"
        f" --max-unpacked {wider} allows {wider}",
    )


class Room:
    """The room for what one file unpacks to.

    packed: the bytes of the file as it is given. limit: the one that was stated.
    """

    def __init__(self, name: str, packed: int, limit: int | None) -> None:
        self.name, self.packed, self.most = name, packed, most_of(packed, limit)
        self.came = 0

    def within(self, blocks: Blocks) -> Blocks:
        """Yield blocks. Raises InputRefused where they are more than there may be."""
        with contextlib.closing(blocks):
            for block in blocks:
                self.came += len(block)
                if self.came > self.most:
                    raise refusal(self.name, self.packed, self.came, most=self.most)
                yield block


def with_space(name: str, blocks: Blocks, folder: Path) -> Blocks:
    """Yield blocks that are written to a folder. Raises InputRefused where the reserve would go."""
    came = 0
    with contextlib.closing(blocks):
        for block in blocks:
            if came >= SMALL and free_space(folder) < len(block):
                raise InputRefused(
                    f"{name}: the disk has no room for it:"
                    f" after {sized(came)} only the reserve is free",
                    "make room, or put the store on another disk",
                )
            came += len(block)
            yield block


def check_memory(name: str, local: Path, hint: str) -> None:
    """Raise InputRefused for a file that is to be read whole and is too large for memory."""
    most = memory() // MEMORY_SHARE
    size = local.stat().st_size
    if size > most:
        raise InputRefused(
            f"{name} has {sized(size)}, and is read into memory whole: at most {sized(most)} here",
            hint,
        )


def memory() -> int:
    """Return the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def blocks_of(stream: IO[bytes] | BinaryIO) -> Blocks:
    """Yield the content of a stream."""
    while block := stream.read(BLOCK):
        yield block


def unpacked(local: Path, suffix: str, name: str) -> Blocks:
    """Yield the content of a .gz or .zst. Raises InputRefused where it is damaged."""
    title = "gzip" if suffix == ".gz" else "zstandard"
    try:
        with _reader(local, suffix) as stream:
            while block := stream.read(BLOCK):
                yield bytes(block)
    except EOFError:
        raise InputRefused(
            f"{name} ends in the middle: its {title} is cut off", "fetch it again"
        ) from None
    except (OSError, zlib.error, ValueError) as error:
        raise InputRefused(
            f"{name} is damaged {title}: {str(error)[:120]}", "fetch it again"
        ) from None


def _reader(local: Path, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(local, "rb"))
    import pyarrow

    return cast(BinaryIO, pyarrow.input_stream(str(local), compression="zstd"))


def check_directory(name: str, local: Path) -> None:
    """Raise InputRefused for a zip archive whose list of members is too long to be read."""
    size = local.stat().st_size
    with local.open("rb") as stream:
        # The end of an archive: a zip64 locator (20 bytes), the end record (22), and a comment.
        stream.seek(max(size - 65_536 - 22 - 20, 0))
        tail = stream.read()
        place = tail.rfind(b"PK\x05\x06")
        if place < 0:
            return  # none at all: zipfile says so
        length = int.from_bytes(tail[place + 12 : place + 16], "little")
        # In zip64 the length has a place of its own, to which the locator points.
        if length == 0xFFFFFFFF and tail[max(place - 20, 0) : place].startswith(b"PK\x06\x07"):
            stream.seek(min(int.from_bytes(tail[place - 12 : place - 4], "little"), size))
            length = int.from_bytes(stream.read(56)[40:48], "little")
    if length > LONGEST_DIRECTORY:
        raise InputRefused(
            f"{name} lists its members in {sized(length)}, more than {sized(LONGEST_DIRECTORY)}",
            "make several archives of it",
        )


def check_apart(name: str, members: list[zipfile.ZipInfo], list_begins: int) -> None:
    """Raise InputRefused for members that lie on one another, or on the archive's list of them.

    The same few bytes would count often.
    """
    end, before = 0, ""
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise InputRefused(
                f"{name} is a damaged zip archive: {before} and {member.filename} lie on one"
                " another",
                "make or fetch it again",
            )
        # The header of a member has 30 bytes at least.
        end, before = member.header_offset + 30 + member.compress_size, member.filename
    if end > list_begins:
        raise InputRefused(
            f"{name} is a damaged zip archive: {before} and its list of files lie on one another",
            "make or fetch it again",
        )


def member_blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Blocks:
    """Yield the content of a member of an archive.

    Raises the errors of zipfile, also where the content is not the one that the archive lists.
    """
    plain = copy.copy(member)
    by_blocks = member.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    if by_blocks:
        # zipfile unpacks as much of these at once as a megabyte comes to, which may be gigabytes
        plain.compress_type, plain.file_size = zipfile.ZIP_STORED, member.compress_size
        plain.CRC = None  # type: ignore[assignment]
    check, count = 0, 0
    with (
        archive.open(plain) as stream,
        contextlib.closing(
            _by_blocks(stream, member) if by_blocks else blocks_of(stream)
        ) as blocks,
    ):
        for block in blocks:
            check, count = zlib.crc32(block, check), count + len(block)
            yield block
    if check != member.CRC or count != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename!r} is not what the archive says of it")


def _by_blocks(stream: IO[bytes], member: zipfile.ZipInfo) -> Blocks:
    unpacking: bz2.BZ2Decompressor | lzma.LZMADecompressor
    if member.compress_type == zipfile.ZIP_BZIP2:
        unpacking = bz2.BZ2Decompressor()
    else:
        unpacking = _lzma(stream)
    try:
        while not unpacking.eof:
            content = stream.read(BLOCK) if unpacking.needs_input else b""
            if unpacking.needs_input and not content:
                # LZMA may say its end with its size alone: then the count is checked.
                return
            block = unpacking.decompress(content, BLOCK)
            if block:
                yield block
    except (lzma.LZMAError, OSError, ValueError) as error:
        raise zipfile.BadZipFile(f"{member.filename!r}: {error}") from None


def _lzma(stream: IO[bytes]) -> lzma.LZMADecompressor:
    """Return the decompressor of a member in LZMA, whose settings stand before it."""
    head = stream.read(9)
    window = int.from_bytes(head[5:9], "little")
    if len(head) < 9 or head[2:4] != b"\x05\x00" or window > LARGEST_WINDOW:
        raise zipfile.BadZipFile("its LZMA has settings that cannot be read")
    number, lc = divmod(head[4], 9)
    pb, lp = divmod(number, 5)
    return lzma.LZMADecompressor(
        lzma.FORMAT_RAW,
        filters=[
            {"id": lzma.FILTER_LZMA1, "dict_size": max(window, 4096), "lc": lc, "lp": lp, "pb": pb}
        ],
    )
