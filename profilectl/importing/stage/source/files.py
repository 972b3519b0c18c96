"""Files that the user named -> plain local files in UTF-8, each with a hash of its content.

Every reader after this reads an uncompressed UTF-8 file (or Parquet) from disk; a file that came
compressed, in another encoding or on standard input is spooled into the scratch folder first.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import fnmatch
import glob
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from profilectl.codes import InputRefused, UsageError
from profilectl.importing.stage.source.content import (
    PARQUET,
    ZIP,
    ContentDigest,
    Empty,
    check_parquet,
    filled_head,
    head_of,
    is_blank,
    is_rejects,
    refuse_workbook,
)
from profilectl.importing.stage.source.encoding import (
    check_readable,
    check_utf8,
    codec_of,
    transcoded,
)
from profilectl.importing.stage.source.gpg import ARMOUR, ENCRYPTED, decrypted
from profilectl.importing.stage.source.unpacking import (
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
from profilectl.rules.text.terminal import spelled

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
    ZIP:                       ("a zip archive", ".zip"),
    PARQUET:                   ("Parquet",   ".parquet"),
}
MARKS = (
    # Files that programs leave beside data files, and hold none: passed over in archives, and where
    # a pattern matches one.
    ".*",                                    # .DS_Store, ._contacts.csv, .part-00000.csv.crc
    "_SUCCESS", "_committed_*", "_started_*", "*.crc",  # Spark, Hadoop, Databricks
    "_metadata", "_common_metadata",         # the footers of a folder of Parquet files
    "Thumbs.db", "desktop.ini",
)
MARK_FOLDERS = ("__MACOSX",)
# fmt: on
REJECTS = "rejects"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of writing where there is no room."""
COMPRESSED = (".gz", ".zst", ".zip")
WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SHOWN = 3
"""How many names of files that were left out are shown."""
EMPTY, MARK, NO_DATA, FOLDER = "empty", "no data file", "not named as a data file", "a folder"
REJECTED = "rejected rows of an import"


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read."""

    name: str
    """The name that reports show."""
    local: Path
    """Where to read it, always under a name of our own: a reader may see a pattern, or key=value
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
        """Return the path whose folders and name say something of the rows."""
        return self.origin or self.name


@dataclass(frozen=True, slots=True)
class Named:
    """A path that an argument names."""

    path: str
    """The path of a file, or - for standard input."""
    pattern: str = ""
    """The pattern that matched it, where nobody has named this very file."""


@dataclass(slots=True)
class Opened:
    """The files to read, and those that were left out."""

    files: list[InputFile] = field(default_factory=list)
    """The files, in the order in which they were named."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """The names of those that were left out, by the reason."""

    def leave_out(self, reason: str, name: str) -> None:
        """Remember that a file is left out."""
        self.left_out.setdefault(reason, []).append(name)

    @property
    def notices(self) -> list[str]:
        """Return sentences of the files that were left out."""
        return [f"skipped, {reason}: {_shown(names)}" for reason, names in self.left_out.items()]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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
        else:
            named += [Named(path, pattern) for path in _matches(pattern)]
    return named


def _matches(pattern: str) -> list[str]:
    """Return the paths that a pattern matches. Raises InputRefused where there are none."""
    matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
    if "**" in pattern:  # what is in the folders is matched by itself
        matches = [path for path in matches if not Path(path).is_dir()]
    if not matches:
        fault = "matches no file" if glob.has_magic(pattern) else "no such file"
        raise InputRefused(f"{pattern}: {fault}", "name files, or - for standard input")
    for path in matches:
        if spelled(path) != path:
            raise InputRefused(
                f"{spelled(path)}, which {pattern} matches, is not UTF-8",
                "rename the file, or its folder",
            )
    return matches


def open_files(
    named: Sequence[Named],
    *,
    format: str | None,
    encoding: str | None,
    spill: Path,
    stdin: BinaryIO | None = None,
    encoding_errors: str = "reject",
    max_unpacked: str | None = None,
    importing: bool = True,
) -> Opened:
    """Open the files that are named, so that each can be read as it is.

    Empty files, and those that are no data, are left out of archives and of what a pattern matched.
    encoding_errors: what becomes of text not valid in its encoding: refuse (the file), or reject
    (left to the reader). max_unpacked: the size that each may unpack to (unpacking.size_of); None:
    what unpacking.most_of says. importing: whether they are to be imported, as a refusal says.
    Raises InputRefused, also where nothing is left; UsageError.
    """
    codec = _codec(encoding)
    size_of(max_unpacked)
    opened = Opened()
    for place, argument in enumerate(named):
        if argument.pattern and Path(argument.path).is_dir():
            opened.leave_out(FOLDER, argument.path)
        elif argument.pattern and is_mark(argument.path):
            opened.leave_out(MARK, argument.path)
        else:
            opening = _Opening(
                path=argument.path,
                pattern=argument.pattern,
                format=format,
                codec=codec,
                spool=spill / f"input{place}",
                stdin=stdin,
                opened=opened,
                refusing=encoding_errors == "refuse",
                importing=importing,
                max_unpacked=max_unpacked,
            )
            try:
                opening.open()
            except Empty:
                if not argument.pattern:
                    raise
                opened.leave_out(EMPTY, argument.path)
    if not opened.files:
        raise InputRefused(
            "no file is left to read: " + "; ".join(opened.notices), "name files that hold rows"
        )
    return opened


def is_mark(path: str) -> bool:
    """Return whether a program leaves a file of this name beside data files."""
    *folders, name = path.split("/")
    return any(folder in MARK_FOLDERS for folder in folders) or any(
        fnmatch.fnmatchcase(name, mark) for mark in MARKS
    )


def format_named(name: str) -> str | None:
    """Return the format that a name says, also of a file that is packed or encrypted."""
    path = Path(name)
    while path.suffix.lower() in (*COMPRESSED, *ENCRYPTED):
        path = path.with_suffix("")
    return FORMATS.get(path.suffix.lower())


def original_of(file: InputFile, name: str, spill: Path) -> InputFile | None:
    """Open the file from which rejects come, by the name that they have for it.

    None: it is not there. Raises InputRefused.
    """
    path = Path(name)
    archive = next((parent for parent in path.parents if parent.is_file()), None)
    if name == "-" or not (path.is_file() or archive):
        return None
    # The format that was given may be that of the rejects themselves: a name that says one goes
    # first.
    opened = open_files(
        [Named(str(archive or path))],
        format=None if archive or format_named(name) else file.asked,
        encoding=file.encoding,
        spill=spill,
        max_unpacked=file.max_unpacked,
    )
    return next((original for original in opened.files if original.name == name), None)


def _codec(encoding: str | None) -> str | None:
    """Return the codec of an encoding, None for UTF-8. Raises UsageError."""
    if encoding is None:
        return None
    try:
        return codec_of(encoding)
    except LookupError:
        raise UsageError(
            f"--encoding {encoding}: no such encoding", "for example utf-16, latin-1, windows-1252"
        ) from None


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a path, as far as it is unpacked."""

    local: Path
    """Where it is."""
    inner: str
    """The name that it has, without the endings of what was unpacked."""
    suffix: str
    """The ending of that name."""
    head: bytes
    """How it begins."""

    @property
    def name_without_suffix(self) -> str:
        """Return the name without its ending."""
        return self.inner[: len(self.inner) - len(self.suffix)]


@dataclass(slots=True)
class _Opening:
    """The opening of one path: its files, and what is left out, go to `opened`."""

    path: str
    """The path, or - for standard input."""
    pattern: str
    """The pattern that matched it, if any."""
    format: str | None
    """The format that was given."""
    codec: str | None
    """The codec of the text; None: UTF-8."""
    spool: Path
    """The names of files of our own begin with this."""
    stdin: BinaryIO | None
    """Standard input."""
    opened: Opened
    """The files so far."""
    refusing: bool
    """Whether text that is not valid in its encoding is refused."""
    importing: bool
    """Whether the files are to be imported."""
    max_unpacked: str | None
    """The size that it may unpack to, where one was stated."""
    spools: int = 0
    """How many files of our own there are."""

    def open(self) -> None:
        """Open the path. Raises InputRefused, UsageError."""
        if self.path == "-":
            if self.stdin is None:
                raise UsageError("- is standard input, and there is none")
            self._unpack("-", self._spooled(blocks_of(self.stdin)), "")
            return
        try:
            local = self._local(Path(self.path))
        except OSError as error:
            # It is the folder beside the store that has no room, not the file that cannot be read.
            if error.errno in FULL:
                raise
            raise InputRefused(
                f"{self.path}: {error.strerror}", "name a file that can be read"
            ) from None
        self._unpack(self.path, local, Path(self.path).suffix.lower())

    def _local(self, path: Path) -> Path:
        """Return a file of our own with the content of a path. Raises InputRefused, OSError."""
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            folder = self.path.rstrip("/")
            raise InputRefused(
                f"{self.path} is a folder",
                f"name the files in it: '{folder}/*.csv', or with those of its folders"
                f" '{folder}/**/*.csv'",
            )
        if stat.S_ISREG(mode):
            # Opened once, to find out now whether it can be read: a link would not tell.
            with path.open("rb"):
                pass
            return self._linked(path)
        with path.open("rb") as stream:
            return self._spooled(blocks_of(stream))

    def _unpack(self, name: str, local: Path, suffix: str) -> None:
        """Add the files in a file of our own. Raises InputRefused; Empty where nothing is in it."""
        digest = ContentDigest.begun(local)
        size = digest.size
        if not size:
            raise Empty(
                f"{name} is empty", "leave it out; a pattern in quotes passes empty files over"
            )
        content = self._decrypted(name, _Content(local, name, suffix, head=head_of(local)), size)
        if content.head.startswith(ZIP):
            # Before zipfile, which reads the whole list of members at once.
            check_directory(name, content.local)
        refuse_workbook(name, content.local, content.head, suffix=content.suffix)
        packing = _packing(name, content)
        if packing == ".zip":
            self._zip(name, content.local, self._room(size))
            return
        if packing:
            inner = content.name_without_suffix
            blocks = self._room(size).within(unpacked(content.local, packing, name))
            spooled = self._spooled(blocks)
            content = replace(content, local=spooled, inner=inner, head=filled_head(name, spooled))
        if self.pattern and is_blank(content.head):
            raise Empty(f"{name} is empty")
        file = self._plain(name, content.inner, content.local)
        if file.format == REJECTS and self.pattern and REJECTS not in self.pattern:
            # They lie beside the data; a pattern that means them says so.
            self.opened.leave_out(REJECTED, name)
        else:
            self._add(file, digest)

    def _decrypted(self, name: str, content: _Content, size: int) -> _Content:
        """Return a content decrypted, where it is encrypted. size: of the path, as it is given.

        Raises InputRefused where its name does not say so.
        """
        is_armoured = content.head.startswith(ARMOUR)
        if content.suffix in ENCRYPTED or (name == "-" and is_armoured):
            inner = content.name_without_suffix
            local = self._spooled(self._room(size).within(decrypted(content.local, name)))
            return _Content(local, inner, Path(inner).suffix.lower(), head=filled_head(name, local))
        if is_armoured:
            raise InputRefused(
                f"{name} is encrypted, not what its name says", f"name it {name}.asc"
            )
        return content

    def _add(self, file: InputFile, digest: ContentDigest) -> None:
        """Add a file to those that are read, with its hash. Raises InputRefused."""
        if self.refusing and self.codec is None and file.format != "parquet":
            is_whole = file.format == "json"
            check_utf8(file.name, file.local, importing=self.importing, whole=is_whole)
        self.opened.files.append(replace(file, sha256=digest.value()))

    def _plain(self, name: str, inner: str, local: Path) -> InputFile:
        """Return a file as one that can be read, its hash apart. Raises InputRefused."""
        head = head_of(local)
        file = InputFile(name, local, sha256="", format=REJECTS)
        if is_rejects(local):
            return replace(
                file, asked=self.format, encoding=self.codec, max_unpacked=self.max_unpacked
            )
        file = replace(file, format=self._format_of(name, inner, head))
        if file.format == "parquet":
            check_parquet(name, local, head)
            return replace(file, max_unpacked=self.max_unpacked)
        _refuse_binary(name, head)
        if self.codec:
            check_readable(name, local, self.codec)
            text = transcoded(
                local,
                self.codec,
                name,
                refusing=self.refusing,
                whole=file.format == "json",
            )
            return replace(file, local=self._spooled(text))
        _refuse_wide(name, head)
        return file

    def _format_of(self, name: str, inner: str, head: bytes) -> str:
        """Return the format that was given, that the name says, or that standard input begins as.

        Raises InputRefused where nothing says it.
        """
        format = self.format or FORMATS.get(Path(inner).suffix.lower())
        if format:
            return format
        if name != "-":
            raise InputRefused(
                f"{name}: its name does not say what it is", "give --format csv, parquet or jsonl"
            )
        if head.startswith(PARQUET):
            return "parquet"
        begin = b"".join(head.removeprefix(codecs.BOM_UTF8).split())[:2]
        if begin in (b"[{", b"[]", b"[["):  # no line of CSV of ours, and no batch
            return "json"
        return "jsonl" if begin[:1] == b"{" else "csv"

    def _room(self, size: int) -> Room:
        """Return the room for what the path unpacks to. size: of the path, as it is given."""
        return Room(self.path, size, size_of(self.max_unpacked))

    def _zip(self, name: str, local: Path, room: Room) -> None:
        """Add the data files of an archive. Raises InputRefused."""
        before = len(self.opened.files)
        try:
            with zipfile.ZipFile(local) as archive:
                members = sorted(
                    (member for member in archive.infolist() if not member.is_dir()),
                    key=lambda member: member.filename,
                )
                check_apart(name, members, archive.start_dir)
                for member in members:
                    self._member(archive, member, f"{name}/{member.filename}", room=room)
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
            reasons = "; ".join(self.opened.notices)
            raise InputRefused(
                f"{name} holds no data file{f' ({reasons})' if reasons else ''}",
                "expected .csv, .jsonl, .json or .parquet inside",
            )

    def _member(
        self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, title: str, *, room: Room
    ) -> None:
        """Add a file of an archive, or leave it out. Raises InputRefused, and what zipfile does."""
        if is_mark(member.filename):
            self.opened.leave_out(MARK, title)
            return
        if not self.format and Path(member.filename).suffix.lower() not in FORMATS:
            self.opened.leave_out(NO_DATA, title)
            return
        if member.flag_bits & 1:
            raise InputRefused(f"{title} is encrypted", "decrypt it first")
        local = self._spooled(room.within(member_blocks(archive, member)))
        if is_blank(head_of(local)):
            self.opened.leave_out(EMPTY, title)
            return
        digest = ContentDigest.begun(local)
        self._add(self._plain(title, member.filename, local), digest)

    # Files of our own

    def _linked(self, path: Path) -> Path:
        """Return a name of our own for a user's file.

        It is a link to the file, or a copy where there are no links.
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


def _packing(name: str, content: _Content) -> str | None:
    """Return the ending of how a content is packed, None where it is not.

    Raises InputRefused where its name says something else.
    """
    kind = next((kind for magic, kind in MAGIC.items() if content.head.startswith(magic)), None)
    if kind is None and content.suffix in COMPRESSED:
        raise InputRefused(
            f"{name} is named {content.suffix}, but it is not compressed so",
            "give it the name of what it is",
        )
    if kind is None or kind[1] not in COMPRESSED:
        return None
    title, ending = kind
    if content.inner != "-" and content.suffix != ending:
        raise InputRefused(f"{name} is {title}, not what its name says", f"name it {name}{ending}")
    return ending


def _refuse_binary(name: str, head: bytes) -> None:
    """Raise InputRefused for a content that is Parquet or packed, where a text is expected."""
    if head.startswith(PARQUET):
        raise InputRefused(
            f"{name} is Parquet, not what its name says",
            "name it .parquet, or give --format parquet",
        )
    if any(head.startswith(magic) for magic in MAGIC):
        raise InputRefused(f"{name} is compressed inside", "decompress it first")


def _refuse_wide(name: str, head: bytes) -> None:
    """Raise InputRefused for a text in UTF-16 or UTF-32, where UTF-8 is expected."""
    if head.startswith(WIDE_BOMS):
        raise InputRefused(
            f"{name} is not UTF-8: it begins with the mark of UTF-16", "give --encoding utf-16"
        )
    if head.count(b"\0") > len(head) // 4:
        raise InputRefused(
            f"{name} is not text: it is full of NUL bytes",
            "if it is UTF-16, give --encoding utf-16-le",
        )
