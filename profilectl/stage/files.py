"""What the user named -> plain local files: found, decompressed, in UTF-8, with a hash of their content.

Every reader after this reads an uncompressed UTF-8 file (or Parquet) from disk; what came compressed,
in another encoding or on standard input is spooled into the scratch folder first.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from profilectl.codes import InputRefused, UsageError

BLOCK = 1024 * 1024

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
# fmt: on
COMPRESSED = (".gz", ".zst", ".zip")
WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read. name: as reports show it. local: what to read. sha256: of the content as given."""

    name: str
    local: Path
    sha256: str
    format: str


def expand(patterns: Sequence[str]) -> list[str]:
    """Return the paths that the arguments name, globs resolved and sorted. Raises InputRefused."""
    found: list[str] = []
    for pattern in patterns:
        if pattern == "-" or os.path.lexists(pattern):
            found.append(pattern)
            continue
        matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []
        if not matches:
            what = "matches no file" if glob.has_magic(pattern) else "no such file"
            raise InputRefused(f"{pattern}: {what}", "name files, or - for standard input")
        found += matches
    return found


def open_files(
    paths: Sequence[str], *, format: str | None, encoding: str | None, spill: Path, stdin: BinaryIO | None = None
) -> list[InputFile]:
    """Make each path a file that can be read as it is. Raises InputRefused, UsageError."""
    codec = _codec(encoding)
    files: list[InputFile] = []
    for path in paths:
        files += _Opening(path, format, codec, spill / f"input{len(files)}", stdin).files()
    return files


def _codec(encoding: str | None) -> str | None:
    """Return the codec of an encoding, None for UTF-8."""
    if encoding is None:
        return None
    try:
        found = codecs.lookup(encoding)
        "a".encode(encoding)
    except LookupError:
        raise UsageError(f"--encoding {encoding}: no such encoding", "for example utf-16, latin-1, windows-1252") from None
    return None if found.name in ("utf-8", "utf-8-sig") else found.name


class _Opening:
    """The opening of one path."""

    def __init__(self, path: str, format: str | None, codec: str | None, spool: Path, stdin: BinaryIO | None) -> None:
        self.path, self.asked, self.codec, self.spool, self.stdin = path, format, codec, spool, stdin
        self.spools = 0

    def files(self) -> list[InputFile]:
        if self.path == "-":
            if self.stdin is None:
                raise UsageError("- is standard input, and there is none")
            local = self._spooled(_blocks(self.stdin, self.path))
            return self._unpack("-", local, "")
        local = Path(self.path)
        try:
            mode = local.stat().st_mode
            if stat.S_ISDIR(mode):
                raise InputRefused(f"{self.path} is a folder", f"name the files in it: {self.path.rstrip('/')}/*.csv")
            if not stat.S_ISREG(mode):
                with local.open("rb") as stream:
                    local = self._spooled(_blocks(stream, self.path))
            with local.open("rb"):
                pass
        except OSError as error:
            raise InputRefused(f"{self.path}: {error.strerror}", "name a file that can be read") from None
        return self._unpack(self.path, local, Path(self.path).suffix.lower())

    def _unpack(self, name: str, local: Path, suffix: str) -> list[InputFile]:
        digest, size = _digest(local)
        if not size:
            raise InputRefused(f"{name} is empty", "there is nothing in it")
        head = _head(local)
        kind = next((one for magic, one in MAGIC.items() if head.startswith(magic)), None)
        packed = kind is not None and kind[1] in COMPRESSED
        if kind is None and suffix in COMPRESSED:
            raise InputRefused(f"{name} is named {suffix}, but it is not compressed so", "give it the name of what it is")
        if kind and packed and name != "-" and suffix != kind[1]:
            raise InputRefused(f"{name} is {kind[0]}, not what its name says", f"name it {name}{kind[1]}")
        if kind and kind[1] == ".zip":
            return self._zip(name, local)
        inner = name if not packed or name == "-" else name[: -len(suffix)]
        if kind and packed:
            local = self._spooled(_unpacked(local, kind[1], name))
            if not local.stat().st_size:
                raise InputRefused(f"{name} is empty inside", "there is nothing in it")
        return [self._plain(name, inner, local, digest)]

    def _plain(self, name: str, inner: str, local: Path, digest: str) -> InputFile:
        head = _head(local)
        format = self._format(name, inner, head)
        if format == "parquet":
            _check_parquet(name, local, head)
            return InputFile(name, local, digest, format)
        if head.startswith(b"PAR1"):
            raise InputRefused(f"{name} is Parquet, not what its name says", "name it .parquet, or give --format parquet")
        if any(head.startswith(magic) for magic in MAGIC):
            raise InputRefused(f"{name} is compressed inside", "decompress it first")
        if self.codec:
            local = self._spooled(_transcoded(local, self.codec, name))
        elif head.startswith(WIDE_BOMS):
            raise InputRefused(f"{name} is not UTF-8: it begins with the mark of UTF-16", "give --encoding utf-16")
        elif head.count(b"\0") > len(head) // 4:
            raise InputRefused(f"{name} is not text: it is full of NUL bytes", "if it is UTF-16, give --encoding utf-16-le")
        return InputFile(name, local, digest, format)

    def _format(self, name: str, inner: str, head: bytes) -> str:
        if self.asked:
            return self.asked
        found = FORMATS.get(Path(inner).suffix.lower())
        if found:
            return found
        if name != "-":
            raise InputRefused(f"{name}: its name does not say what it is", "give --format csv, parquet or jsonl")
        if head.startswith(b"PAR1"):
            return "parquet"
        begin = b"".join(head.removeprefix(codecs.BOM_UTF8).split())[:2]
        if begin in (b"[{", b"[]", b"[["):  # no line of CSV of ours, and no batch
            return "json"
        return "jsonl" if begin[:1] == b"{" else "csv"

    def _zip(self, name: str, local: Path) -> list[InputFile]:
        files = []
        try:
            with zipfile.ZipFile(local) as archive:
                members = sorted(
                    (one for one in archive.infolist() if not one.is_dir()), key=lambda one: one.filename
                )
                wanted = [one for one in members if self.asked or Path(one.filename).suffix.lower() in FORMATS]
                if not wanted:
                    raise InputRefused(f"{name} holds no data file", "expected .csv, .jsonl, .json or .parquet inside")
                for member in wanted:
                    title = f"{name}/{member.filename}"
                    if member.flag_bits & 1:
                        raise InputRefused(f"{title} is encrypted", "decrypt it first")
                    with archive.open(member) as stream:
                        inside = self._spooled(_blocks(stream, title))
                    digest, size = _digest(inside)
                    if not size:
                        raise InputRefused(f"{title} is empty", "there is nothing in it")
                    files.append(self._plain(title, member.filename, inside, digest))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise InputRefused(f"{name} is a damaged zip archive: {error}", "make or fetch it again") from None
        return files

    def _spooled(self, blocks: Iterator[bytes]) -> Path:
        """Write blocks to a file of our own, readable by its owner only."""
        target = self.spool.with_name(f"{self.spool.name}.{self.spools}")
        self.spools += 1
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            for block in blocks:
                out.write(block)
        return target


def _head(local: Path) -> bytes:
    with local.open("rb") as stream:
        return stream.read(4096)


def _digest(local: Path) -> tuple[str, int]:
    with local.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _blocks(stream: IO[bytes] | BinaryIO, name: str) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _unpacked(local: Path, suffix: str, name: str) -> Iterator[bytes]:
    what = "gzip" if suffix == ".gz" else "zstandard"
    try:
        with _reader(local, suffix) as stream:
            while block := stream.read(BLOCK):
                yield bytes(block)
    except EOFError:
        raise InputRefused(f"{name} ends in the middle: its {what} is cut off", "fetch it again") from None
    except (OSError, zlib.error, ValueError) as error:
        raise InputRefused(f"{name} is damaged {what}: {str(error)[:120]}", "fetch it again") from None


def _reader(local: Path, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.open(local, "rb")
    import pyarrow

    return pyarrow.input_stream(str(local), compression="zstd")


def _transcoded(local: Path, codec: str, name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)()
    line, done = 1, 0
    with local.open("rb") as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                where = done + error.start
                raise InputRefused(
                    f"{name}: byte {where + 1}, near line {line}, is not {codec}", "name its real --encoding"
                ) from None
            line += text.count("\n")
            done += len(block)
            yield text.removeprefix("\ufeff").encode("utf-8", "surrogatepass")
            if not block:
                return


def _check_parquet(name: str, local: Path, head: bytes) -> None:
    if not head.startswith(b"PAR1"):
        raise InputRefused(f"{name} is not Parquet", "give --format csv or jsonl if that is what it is")
    with local.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        if stream.read() != b"PAR1":
            raise InputRefused(f"{name} ends in the middle: its Parquet is cut off", "make or fetch it again")
