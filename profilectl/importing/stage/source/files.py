"""What the user named -> plain local files: found, decompressed, in UTF-8, with a hash of their
content.

Every reader after this reads an uncompressed UTF-8 file (or Parquet) from disk; what came
compressed, in another encoding or on standard input is spooled into the scratch folder first.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fnmatch
import glob
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import InputRefused, UsageError
from profilectl.importing.stage.source.encoding import REJECT, check_utf8
from profilectl.importing.stage.source.gpg import ARMOUR, ENCRYPTED, decrypted
from profilectl.importing.stage.source.unpacking import (
    BLOCK,
    Blocks,
    Room,
    blocks_of,
    check_apart,
    check_directory,
    member_blocks,
    size_of,
    unpacked,
    with_space,
)
from profilectl.importing.stage.staged import reject_of
from profilectl.rules.text.terminal import spelled

HEAD = 4096
"""So many bytes say how a content begins."""

# fmt: off
FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".parquet": "parquet",
}
MAGIC = {
    # how the content begins   what it is   what its name ends in
    b"\x1f\x8b":               ("gzip",      ".gz"),
    b"\x28\xb5\x2f\xfd":       ("zstandard", ".zst"),
    b"PK\x03\x04":             ("a zip archive", ".zip"),
    b"PAR1":                   ("Parquet",   ".parquet"),
}
MARKS = (
    # What programs leave beside data files, and is none: passed over in archives, and where a
    # pattern matches it.
    ".*",                                    # .DS_Store, ._contacts.csv, .part-00000.csv.crc
    "_SUCCESS", "_committed_*", "_started_*", "*.crc",  # Spark, Hadoop, Databricks
    "_metadata", "_common_metadata",         # the footers of a folder of Parquet files
    "Thumbs.db", "desktop.ini",
)
MARK_FOLDERS = ("__MACOSX",)
# fmt: on
REJECTS = "rejects"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing fails with where there is no room."""
LONGEST_REJECT = 1024 * 1024
"""So many bytes a line of rejects may have: its raw text is cut at 65,536 characters."""
OLD_WORKBOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
COMPRESSED = (".gz", ".zst", ".zip")
WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read."""

    name: str
    """The name that reports show."""
    local: Path
    """What to read, always under a name of our own: a reader may see a pattern, or key=value
    columns, in a user's path.
    """
    sha256: str
    """The hash of the content as it was given."""
    format: str
    """csv, jsonl, json, parquet, or rejects: rows of other files, as they were written down when
    they were rejected.
    """
    asked: str | None = None
    """Of rejects: the format that the files have from which they come, where it was given."""
    encoding: str | None = None
    """Of rejects: the encoding of those files, where it was given."""
    origin: str | None = None
    """Of rows that were rejected before: the file they come from."""
    max_unpacked: str | None = None
    """The size that it, or the file its rejects come from, may unpack to, where one was stated."""

    @property
    def place(self) -> str:
        """The path whose folders and name say something of the rows."""
        return self.origin or self.name


@dataclass(frozen=True, slots=True)
class Named:
    """What an argument names."""

    path: str
    """The path of a file, or - for standard input."""
    pattern: str = ""
    """The pattern that matched it, where nobody has named this very file."""


@dataclass(slots=True)
class Opened:
    """The files to read, and what was left out."""

    files: list[InputFile] = field(default_factory=list)
    """The files, in the order in which they were named."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Why something was left out -> the names."""

    def leave_out(self, why: str, name: str) -> None:
        self.left_out.setdefault(why, []).append(name)

    @property
    def notices(self) -> list[str]:
        """What was left out, in sentences."""
        return [
            f"skipped, {why}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN:,} more' if len(names) > SHOWN else ''}"
            for why, names in self.left_out.items()
        ]


SHOWN = 3
"""So many names of files that were left out are said."""
EMPTY, MARK, NO_DATA, FOLDER = "empty", "no data file", "not named as a data file", "a folder"
REJECTED = "rejected rows of an import"


class Empty(InputRefused):
    """A file in which nothing is."""


def name_files(patterns: Sequence[str]) -> list[Named]:
    """Return what the arguments name, patterns resolved and sorted.

    Raises InputRefused, UsageError.
    """
    named: list[Named] = []
    for pattern in patterns:
        if pattern == "-" or os.path.lexists(pattern):
            if pattern == "-" and Named("-") in named:
                raise UsageError("- is named twice: standard input can be read once")
            named.append(Named(pattern))
            continue
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
        if "**" in pattern:  # what is in the folders is matched by itself
            matches = [path for path in matches if not Path(path).is_dir()]
        if not matches:
            what = "matches no file" if glob.has_magic(pattern) else "no such file"
            raise InputRefused(f"{pattern}: {what}", "name files, or - for standard input")
        for path in matches:
            if spelled(path) != path:
                raise InputRefused(
                    f"{spelled(path)}, which {pattern} matches, is not UTF-8",
                    "rename the file, or its folder",
                )
        named += [Named(path, pattern) for path in matches]
    return named


def expand(patterns: Sequence[str]) -> list[str]:
    """Return the paths that the arguments name. Raises InputRefused, UsageError."""
    return [one.path for one in name_files(patterns)]


def open_files(
    named: Sequence[Named],
    *,
    format: str | None,
    encoding: str | None,
    spill: Path,
    stdin: BinaryIO | None = None,
    encoding_errors: str = "reject",
    max_unpacked: str | None = None,
) -> Opened:
    """Make each file that is named one that can be read as it is.

    encoding_errors: what text is that is not valid in its encoding: refuse (the file), or reject
    (left to the reader). max_unpacked: the size that each may unpack to (unpacking.size_of); None:
    what unpacking.most_of says. Of what a pattern matched, and of what is in an archive, that which
    is empty or no data is left out. Raises InputRefused, also where nothing is left; UsageError.
    """
    codec = _codec(encoding)
    size_of(max_unpacked)
    opened = Opened()
    for place, one in enumerate(named):
        if one.pattern and Path(one.path).is_dir():
            opened.leave_out(FOLDER, one.path)
        elif one.pattern and is_mark(one.path):
            opened.leave_out(MARK, one.path)
        else:
            try:
                _Opening(
                    one,
                    format,
                    codec,
                    spill / f"input{place}",
                    stdin,
                    opened,
                    refusing=encoding_errors == "refuse",
                    most=max_unpacked,
                ).open()
            except Empty:
                if not one.pattern:
                    raise
                opened.leave_out(EMPTY, one.path)
    if not opened.files:
        raise InputRefused(
            "nothing is left to import: " + "; ".join(opened.notices), "name files that hold rows"
        )
    if encoding_errors == "refuse" and codec is None:
        for file in opened.files:
            if file.format != "parquet":
                check_utf8(file.name, file.local, importing=True, whole=file.format == "json")
    return opened


def is_mark(path: str) -> bool:
    """Say whether a file is what a program leaves beside data files, by its name."""
    *folders, name = path.split("/")
    return any(folder in MARK_FOLDERS for folder in folders) or any(
        fnmatch.fnmatchcase(name, mark) for mark in MARKS
    )


def _codec(encoding: str | None) -> str | None:
    """Return the codec of an encoding, None for UTF-8."""
    if encoding is None:
        return None
    try:
        found = codecs.lookup(encoding)
        "a".encode(encoding)
    except LookupError:
        raise UsageError(
            f"--encoding {encoding}: no such encoding", "for example utf-16, latin-1, windows-1252"
        ) from None
    return None if found.name in ("utf-8", "utf-8-sig") else found.name


class _Opening:
    """The opening of one path: its files, and what is left out, go to `opened`."""

    def __init__(
        self,
        named: Named,
        format: str | None,
        codec: str | None,
        spool: Path,
        stdin: BinaryIO | None,
        opened: Opened,
        *,
        refusing: bool,
        most: str | None,
    ) -> None:
        self.refusing, self.most = refusing, most
        self.path, self.asked, self.codec, self.spool, self.stdin = (
            named.path,
            format,
            codec,
            spool,
            stdin,
        )
        self.pattern, self.opened = named.pattern, opened
        self.spools = 0

    def open(self) -> None:
        if self.path == "-":
            if self.stdin is None:
                raise UsageError("- is standard input, and there is none")
            self._unpack("-", self._spooled(blocks_of(self.stdin)), "")
            return
        local = Path(self.path)
        try:
            mode = local.stat().st_mode
            if stat.S_ISDIR(mode):
                raise InputRefused(
                    f"{self.path} is a folder",
                    f"name the files in it: '{self.path.rstrip('/')}/*.csv', or with those of its folders '{self.path.rstrip('/')}/**/*.csv'",
                )
            if not stat.S_ISREG(mode):
                with local.open("rb") as stream:
                    local = self._spooled(blocks_of(stream))
            with local.open("rb"):
                pass
            if local == Path(self.path):
                local = self._linked(local)
        except OSError as error:
            # it is the folder beside the store that has no room, not the file that cannot be read
            if error.errno in FULL:
                raise
            raise InputRefused(
                f"{self.path}: {error.strerror}", "name a file that can be read"
            ) from None
        self._unpack(self.path, local, Path(self.path).suffix.lower())

    def _unpack(self, name: str, local: Path, suffix: str) -> None:
        digest, size = _digest(local)
        if not size:
            raise Empty(
                f"{name} is empty", "leave it out; a pattern in quotes passes empty files over"
            )
        inner, head = name, _head(local)
        if suffix in ENCRYPTED or (name == "-" and head.startswith(ARMOUR)):
            inner = inner[: len(inner) - len(suffix)]
            local, suffix = (
                self._spooled(self._room(size).within(decrypted(local, name))),
                Path(inner).suffix.lower(),
            )
            head = _filled(name, local)
        elif head.startswith(ARMOUR):
            raise InputRefused(
                f"{name} is encrypted, not what its name says", f"name it {name}.asc"
            )
        if head.startswith(b"PK\x03\x04"):
            check_directory(name, local)
        _refuse_workbook(name, local, head, suffix)
        kind = next((one for magic, one in MAGIC.items() if head.startswith(magic)), None)
        packed = kind is not None and kind[1] in COMPRESSED
        if kind is None and suffix in COMPRESSED:
            raise InputRefused(
                f"{name} is named {suffix}, but it is not compressed so",
                "give it the name of what it is",
            )
        if kind and packed and inner != "-" and suffix != kind[1]:
            raise InputRefused(
                f"{name} is {kind[0]}, not what its name says", f"name it {name}{kind[1]}"
            )
        if kind and kind[1] == ".zip":
            self._zip(name, local, self._room(size))
            return
        if kind and packed:
            inner = inner[: len(inner) - len(suffix)]
            local = self._spooled(self._room(size).within(unpacked(local, kind[1], name)))
            head = _filled(name, local)
        if self.pattern and _is_blank(head):
            raise Empty(f"{name} is empty")
        file = self._plain(name, inner, local, digest)
        if file.format == REJECTS and self.pattern and REJECTS not in self.pattern:
            # they lie beside the data; whoever means them says so
            self.opened.leave_out(REJECTED, name)
        else:
            self.opened.files.append(file)

    def _plain(self, name: str, inner: str, local: Path, digest: str) -> InputFile:
        head = _head(local)
        if is_rejects(local):
            return InputFile(
                name, local, digest, REJECTS, self.asked, self.codec, max_unpacked=self.most
            )
        format = self._format(name, inner, head)
        if format == "parquet":
            _check_parquet(name, local, head)
            return InputFile(name, local, digest, format, max_unpacked=self.most)
        if head.startswith(b"PAR1"):
            raise InputRefused(
                f"{name} is Parquet, not what its name says",
                "name it .parquet, or give --format parquet",
            )
        if any(head.startswith(magic) for magic in MAGIC):
            raise InputRefused(f"{name} is compressed inside", "decompress it first")
        if self.codec:
            local = self._spooled(_transcoded(local, self.codec, name, refusing=self.refusing))
        elif head.startswith(WIDE_BOMS):
            raise InputRefused(
                f"{name} is not UTF-8: it begins with the mark of UTF-16", "give --encoding utf-16"
            )
        elif head.count(b"\0") > len(head) // 4:
            raise InputRefused(
                f"{name} is not text: it is full of NUL bytes",
                "if it is UTF-16, give --encoding utf-16-le",
            )
        return InputFile(name, local, digest, format)

    def _format(self, name: str, inner: str, head: bytes) -> str:
        if self.asked:
            return self.asked
        found = FORMATS.get(Path(inner).suffix.lower())
        if found:
            return found
        if name != "-":
            raise InputRefused(
                f"{name}: its name does not say what it is", "give --format csv, parquet or jsonl"
            )
        if head.startswith(b"PAR1"):
            return "parquet"
        begin = b"".join(head.removeprefix(codecs.BOM_UTF8).split())[:2]
        if begin in (b"[{", b"[]", b"[["):  # no line of CSV of ours, and no batch
            return "json"
        return "jsonl" if begin[:1] == b"{" else "csv"

    def _room(self, size: int) -> Room:
        """Return the room that what unpacks of the path has. size: of the path, as it is given."""
        return Room(self.path, size, size_of(self.most))

    def _zip(self, name: str, local: Path, room: Room) -> None:
        before = len(self.opened.files)
        try:
            with zipfile.ZipFile(local) as archive:
                members = sorted(
                    (one for one in archive.infolist() if not one.is_dir()),
                    key=lambda one: one.filename,
                )
                check_apart(name, members, archive.start_dir)
                for member in members:
                    title = f"{name}/{member.filename}"
                    if is_mark(member.filename):
                        self.opened.leave_out(MARK, title)
                    elif not self.asked and Path(member.filename).suffix.lower() not in FORMATS:
                        self.opened.leave_out(NO_DATA, title)
                    else:
                        self._member(archive, member, title, room)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            OSError,
            UnicodeDecodeError,
        ) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise InputRefused(
                f"{name} is a damaged zip archive: {error}", "make or fetch it again"
            ) from None
        if len(self.opened.files) == before and not self.pattern:
            why = "; ".join(self.opened.notices)
            raise InputRefused(
                f"{name} holds no data file{f' ({why})' if why else ''}",
                "expected .csv, .jsonl, .json or .parquet inside",
            )

    def _member(
        self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, title: str, room: Room
    ) -> None:
        if member.flag_bits & 1:
            raise InputRefused(f"{title} is encrypted", "decrypt it first")
        inside = self._spooled(room.within(member_blocks(archive, member)))
        if _is_blank(_head(inside)):
            self.opened.leave_out(EMPTY, title)
            return
        self.opened.files.append(self._plain(title, member.filename, inside, _digest(inside)[0]))

    def _linked(self, path: Path) -> Path:
        """Return a name of our own for a user's file: a link to it, or a copy where there are no
        links.
        """
        target = self._next_spool()
        try:
            target.symlink_to(path.absolute())
        except OSError:
            with path.open("rb") as stream:
                return self._spooled(blocks_of(stream))
        return target

    def _next_spool(self) -> Path:
        target = self.spool.with_name(f"{self.spool.name}.{self.spools}")
        self.spools += 1
        return target

    def _spooled(self, blocks: Blocks) -> Path:
        """Write blocks to a file of our own, readable by its owner only."""
        target = self._next_spool()
        with (
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out,
            contextlib.closing(with_space(self.path, blocks, target.parent)) as written,
        ):
            out.writelines(written)
        return target


def _head(local: Path) -> bytes:
    with local.open("rb") as stream:
        return stream.read(HEAD)


def _filled(name: str, local: Path) -> bytes:
    """Return how the content of what was unpacked begins. Raises Empty where there is none."""
    head = _head(local)
    if not head:
        raise Empty(f"{name} is empty inside", "there is nothing in it")
    return head


def is_rejects(local: Path) -> bool:
    """Say whether a file is one of rejects, by its first line."""
    with local.open("rb") as stream:
        return (
            stream.read(1) == b"{" and reject_of(b"{" + stream.readline(LONGEST_REJECT)) is not None
        )


def original_of(file: InputFile, name: str, spill: Path) -> InputFile | None:
    """Open the file from which rejects come, by the name that they have for it; None where it is
    not there.
    """
    path = Path(name)
    archive = next((one for one in path.parents if one.is_file()), None)
    if name == "-" or not (path.is_file() or archive):
        return None
    # What is asked for may be the format of the rejects themselves: a name that says one goes
    # first.
    asked = None if archive or format_named(name) else file.asked
    found = open_files(
        [Named(str(archive or path))],
        format=asked,
        encoding=file.encoding,
        spill=spill,
        max_unpacked=file.max_unpacked,
    ).files
    return next((one for one in found if one.name == name), None)


def format_named(name: str) -> str | None:
    """Return the format that a name says, also of a file that is packed or encrypted."""
    path = Path(name)
    while path.suffix.lower() in (*COMPRESSED, *ENCRYPTED):
        path = path.with_suffix("")
    return FORMATS.get(path.suffix.lower())


def _is_blank(head: bytes) -> bool:
    """Say whether a file has no more than blanks, line ends and a byte order mark."""
    return len(head) < HEAD and not head.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n")


def _digest(local: Path) -> tuple[str, int]:
    with local.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _transcoded(local: Path, codec: str, name: str, *, refusing: bool) -> Blocks:
    """Yield a text in UTF-8.

    What is not valid in its encoding is refused, or, where its rows can be rejected, is not UTF-8
    either.
    """
    decoder = codecs.getincrementaldecoder(codec)("strict" if refusing else "surrogateescape")
    line, done = 1, 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += len(error.object[: error.start].decode(codec, "replace").splitlines()[1:])
                raise InputRefused(
                    f"{name}: byte {done + error.start + 1}, near line {line}, is not {codec}",
                    f"name its real --encoding{f'; {REJECT}' if refusing else ''}",
                ) from None
            except UnicodeError:  # a codec that needs a mark of the byte order
                raise InputRefused(
                    f"{name} has no byte order mark, and {codec} needs one",
                    f"give --encoding {codec}-le or {codec}-be",
                ) from None
            line += text.count("\n")
            yield (text if done else text.removeprefix("\ufeff")).encode("utf-8", "surrogatepass")
            done += len(block)
            if not block:
                return


def _refuse_workbook(name: str, local: Path, head: bytes, suffix: str) -> None:
    """Refuse a workbook of a spreadsheet program, whatever it is called: an .xlsx is a zip archive
    with a folder xl.
    """
    workbook = suffix in (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods") or head.startswith(
        OLD_WORKBOOK
    )
    if not workbook and head.startswith(b"PK\x03\x04"):
        with (
            contextlib.suppress(
                zipfile.BadZipFile, NotImplementedError, OSError, UnicodeDecodeError
            ),
            zipfile.ZipFile(local) as archive,
        ):
            workbook = "xl/workbook.xml" in archive.namelist()
    if workbook:
        raise InputRefused(
            f"{name} is a workbook of a spreadsheet program",
            'save the sheet as CSV: "CSV UTF-8" in Excel, and import that',
        )


def _check_parquet(name: str, local: Path, head: bytes) -> None:
    if head.startswith(b"PARE"):
        raise InputRefused(f"{name} is encrypted Parquet", "write it without encryption")
    if not head.startswith(b"PAR1"):
        raise InputRefused(
            f"{name} is not Parquet", "give --format csv or jsonl if that is what it is"
        )
    with local.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if stream.read() != b"PAR1":
            raise InputRefused(
                f"{name} ends in the middle: its Parquet is cut off", "make or fetch it again"
            )
