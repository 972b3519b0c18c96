"""Where an export goes: one stream, one file, or the files of a folder.

Its format is JSON lines, CSV or Parquet, packed or not. A file appears under its name when it is
complete, a folder's files all together at the end: an export that fails leaves nothing.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from profilectl.codes import InputRefused, UsageError
from profilectl.files import leftovers

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("jsonl", "parquet", "csv")
IDENTITY_COLUMNS = ("user_identities.", "device_info.")
COMPRESSIONS = {
    # the name of a compression: the ending of a text file that is packed by it
    "none": "",
    "gzip": ".gz",
    "zstd": ".zst",
}
ENDINGS = {ending: name for name, ending in COMPRESSIONS.items() if ending}
NOTHING = "__HIVE_DEFAULT_PARTITION__"
"""How query engines write the folder of those without a value; a value that reads so is written
another way.
"""
MOST_OPEN = 200
"""How many files are open at once: no process may have one for every value."""
MOST_OF_NAME = 255
"""How many bytes the name of a folder has at most, on any file system."""
MOST_OF_KEY = 100
"""How many of them may be of the key."""
MOST_OF_VALUE = 200
"""How many of them may be of the value."""
DIGEST = 32
"""How many digits of a digest a name that is cut ends with."""
_UNSAFE = re.compile(r"[^\w.@+-]", re.ASCII)


Rows = Sequence[Sequence[object]]
"""Rows of an export: the line of a text, or the values of the columns."""


class RowWriter(Protocol):
    """Writes rows in one format to one stream."""

    def write(self, block: Rows) -> None:
        """Write rows."""

    def close(self) -> None:
        """Write what is still waiting."""


def joined_texts(texts: pa.Array) -> memoryview:
    """Return the texts of an Arrow array, one behind the other as UTF-8; a null is an empty text.

    Arrow keeps them in one buffer, and where each begins in another, so that nothing is copied.
    """
    _, places, content = texts.buffers()
    if content is None:
        return memoryview(b"")
    begins = memoryview(places).cast("i" if str(texts.type) == "string" else "q")
    begin, end = begins[texts.offset], begins[texts.offset + len(texts)]
    return memoryview(content)[begin:end]


class TextLines:
    """Writes lines of text, which are put together in SQL."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, block: Rows) -> None:
        """Write lines."""
        self._stream.write("".join(f"{row[0]}\n" for row in block).encode())

    def write_texts(self, texts: pa.Array) -> None:
        """Write texts, each of whole lines with their ends, as they lie in memory.

        Neither is a text made of them in Python, nor are they put together: that takes three times
        as long as SQL takes to make them.
        """
        self._stream.write(joined_texts(texts))

    def close(self) -> None:
        """Do nothing: no line waits."""


def _csv_header(columns: Sequence[str]) -> bytes:
    """Return the header of a CSV file (RFC 4180), as the reader takes it back."""
    text = io.StringIO(newline="")
    # Python leaves a lone carriage return bare, and a reader would see the end of a row in it.
    is_bare = any("\r" in name for name in columns)
    csv.writer(
        text, lineterminator="\n", quoting=csv.QUOTE_ALL if is_bare else csv.QUOTE_MINIMAL
    ).writerow(columns)
    return text.getvalue().encode()


class Parquet:
    """Writes a Parquet file, each table while the next is made."""

    def __init__(
        self, stream: BinaryIO, columns: Sequence[str], numbers: Sequence[str], compression: str
    ) -> None:
        import pyarrow
        import pyarrow.parquet

        self._schema = pyarrow.schema(
            [(name, pyarrow.int64() if name in numbers else pyarrow.string()) for name in columns]
        )
        # A dictionary of values that hardly repeat costs time and space.
        repeating = [
            name
            for name in columns
            if name not in ("mpid", "value") and not name.startswith(IDENTITY_COLUMNS)
        ]
        self._writer = pyarrow.parquet.ParquetWriter(
            stream, self._schema, compression=compression, use_dictionary=repeating
        )
        # One table waits while another is written: more would only take memory.
        self._waiting: queue.Queue[pa.Table | None] = queue.Queue(maxsize=1)
        self._failed: list[BaseException] = []
        self._worker: threading.Thread | None = None

    @property
    def width(self) -> int:
        """Return how many columns the file has."""
        return len(self._schema)

    def write(self, block: Rows) -> None:
        """Hand rows over to be written. Raises the error of writing earlier ones."""
        import pyarrow

        # A row may end with the list of its last cells (extract.Extract).
        if block and len(block[0]) < self.width:
            block = [(*row[:-1], *cast(Sequence[object], row[-1])) for row in block]
        columns = list(zip(*block, strict=True)) if block else [() for _ in self._schema]
        arrays = [
            pyarrow.array(values, column.type)
            for values, column in zip(columns, self._schema, strict=True)
        ]
        self.write_table(pyarrow.table(arrays, schema=self._schema))

    def write_table(self, table: pa.Table) -> int:
        """Hand an Arrow table over to be written; return its rows.

        Raises the error of writing an earlier one.
        """
        if not table.num_rows:
            return 0
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()
        self._waiting.put(table)
        self._check()
        return int(table.num_rows)

    def _work(self) -> None:
        """Write the tables that are handed over."""
        while (table := self._waiting.get()) is not None:
            try:
                if not self._failed:
                    self._writer.write_table(
                        table.rename_columns(self._schema.names).cast(self._schema)
                    )
            except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
                self._failed.append(error)

    def _check(self) -> None:
        if self._failed:
            raise self._failed[0]

    def close(self) -> None:
        """Write what is still waiting, and the footer. Raises the error of writing."""
        if self._worker is not None:
            self._waiting.put(None)
            self._worker.join()
        try:
            self._writer.close()
        finally:
            self._check()


def writer_of(
    format: str,
    stream: BinaryIO,
    *,
    columns: Sequence[str],
    numbers: Sequence[str],
    compression: str | None,
) -> RowWriter:
    """Return a writer of a format.

    compression: of Parquet, within the file; zstd where none is named. Text is compressed by the
    stream (`packed`).
    """
    if format == "jsonl":
        return TextLines(stream)
    if format == "csv":
        stream.write(_csv_header(columns))
        return TextLines(stream)
    return Parquet(stream, columns, numbers, compression=compression or "zstd")


@contextlib.contextmanager
def packed(stream: BinaryIO, format: str, compression: str | None) -> Iterator[BinaryIO]:
    """Yield the stream that rows are written to. It compresses text, where that is named."""
    if format == "parquet" or compression in (None, "none"):
        yield stream
    elif compression == "gzip":
        import gzip

        # Without a name and a time, the same rows make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as out:
            yield out  # type: ignore[misc]
    else:
        import pyarrow

        with pyarrow.CompressedOutputStream(
            pyarrow.PythonFile(_StaysOpen(stream), mode="w"), "zstd"
        ) as out:
            yield out


class _StaysOpen:
    """A stream that the compressor does not close."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.write, self.flush = stream.write, stream.flush

    def close(self) -> None:
        """Write what is still waiting."""
        self.flush()


def format_named(path: Path | None) -> str:
    """Return the format that a file name says, JSON lines where it says none.

    >>> format_named(Path("data.csv.gz"))
    'csv'
    """
    suffixes = [suffix.lstrip(".") for suffix in path.suffixes[-2:]] if path else []
    return next((suffix for suffix in reversed(suffixes) if suffix in FORMATS), "jsonl")


def compression_named(path: Path | None, format: str, option: str | None) -> str | None:
    """Return the compression of an option, else the one that a file name says.

    Raises UsageError where a name does not say what the file will be: an import goes by names.
    """
    ending = path.suffix if path and path.suffix in ENDINGS else ""
    if ending and format == "parquet":
        raise UsageError(
            f"-o {path}: a Parquet file is packed within, not as {ending}",
            "name it .parquet; --compression says how its pages are packed",
        )
    if ending and option not in (None, ENDINGS[ending]):
        raise UsageError(
            f"-o {path} and --compression {option} contradict each other",
            f"leave --compression out, or {ending} off the name",
        )
    return ENDINGS[ending] if ending else option


def suffix_of(format: str, compression: str | None) -> str:
    """Return the ending of the name of an export."""
    return f".{format}" + ("" if format == "parquet" else COMPRESSIONS[compression or "none"])


def check_folder(folder: Path) -> None:
    """Refuse a path where no new folder can be. Raises InputRefused."""
    if folder.exists() and (not folder.is_dir() or folder.is_symlink()):
        raise InputRefused(f"{folder} is not a folder", "name another with -o")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputRefused(
            f"{folder} is not empty",
            "name a new folder with -o: an export never mixes with another",
        )
    if not folder.absolute().parent.is_dir():
        raise InputRefused(
            f"{folder} cannot be written: there is no folder {folder.parent}",
            "name another with -o",
        )


@dataclass(slots=True)
class _OpenFile:
    """A file of a folder that is written."""

    stack: contextlib.ExitStack
    """The stack that closes it."""
    writer: RowWriter
    """The writer of its rows."""
    rows: int = 0
    """How many rows it has."""


OpenWriter = Callable[[BinaryIO], contextlib.AbstractContextManager[RowWriter]]
"""Opens what writes rows to a stream."""


@dataclass
class Parts:
    """The files of a folder: one for each group, and a new one after `most_rows` rows.

    They are made under other names, and renamed all together by `finish`. Made by `parts_in`.
    """

    folder: Path
    """The folder that the files get at the end."""
    name: str
    """How the names of the files begin."""
    suffix: str
    """How the names of the files end."""
    most_rows: int | None
    """The most rows of a file; None: any number."""
    open_writer: OpenWriter
    """Opens what writes to a file."""
    new_folder: Path
    """The folder that they are made in, beside their own."""
    holding: contextlib.ExitStack
    """The stack that removes what is left when they have their folder, or are given up."""
    files: int = 0
    """How many files there are."""
    _open: dict[str, _OpenFile] = field(default_factory=dict)
    """The files that are open, by group."""
    _numbers: dict[str, int] = field(default_factory=dict)
    """How many files each group has."""

    def write(self, block: Rows, group: str = "") -> None:
        """Write rows of a group. Raises the errors of writing."""
        while block:
            file = self._open.get(group) or self._begin(group)
            room = len(block) if self.most_rows is None else self.most_rows - file.rows
            file.writer.write(block[:room])
            file.rows += min(room, len(block))
            block = block[room:]
            if self.most_rows is not None and file.rows >= self.most_rows:
                self._end(group)

    def _begin(self, group: str) -> _OpenFile:
        """Open the next file of a group."""
        if len(self._open) >= MOST_OPEN:
            self._end(next(iter(self._open)))
        number = self._numbers[group] = self._numbers.get(group, 0) + 1
        within = self.new_folder / group if group else self.new_folder
        within.mkdir(mode=0o700, exist_ok=True)
        stack = contextlib.ExitStack()
        path = within / f"{self.name}-{number:05}{self.suffix}"
        stream = stack.enter_context(
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        )
        # Closed from the last to the first: the writer, then to the disk, then the stream.
        stack.callback(_force, stream)
        file = _OpenFile(stack, stack.enter_context(self.open_writer(stream)))
        self._open[group] = file
        self.files += 1
        return file

    def _end(self, group: str) -> None:
        self._open.pop(group).stack.close()

    def finish(self) -> None:
        """Give the files their folder."""
        if not self.files:
            self._begin("")
        for group in list(self._open):
            self._end(group)
        for within in self.new_folder.iterdir():
            if within.is_dir():
                leftovers.sync_folder(within)
        leftovers.sync_folder(self.new_folder)
        # in the place of an empty folder, where there is one
        leftovers.put(self.new_folder, self.folder)
        self.holding.close()

    def abandon(self) -> None:
        """Give up the files: leave nothing of them."""
        # The files go with their folder: what cannot be closed does no harm.
        for group in list(self._open):
            with contextlib.suppress(Exception):
                self._end(group)
        self.holding.close()


def parts_in(
    folder: Path, name: str, *, suffix: str, most_rows: int | None, open_writer: OpenWriter
) -> Parts:
    """Return the files of a new folder. Raises InputRefused if no new folder can be there.

    This is called before a long query, so that a folder that cannot be made costs no time.
    """
    check_folder(folder)
    holding = contextlib.ExitStack()
    new_folder = holding.enter_context(leftovers.folder_beside(folder, "parts")) / "made"
    new_folder.mkdir(mode=0o700)
    return Parts(
        folder=folder,
        name=name,
        suffix=suffix,
        most_rows=most_rows,
        open_writer=open_writer,
        new_folder=new_folder,
        holding=holding,
    )


def _force(stream: BinaryIO) -> None:
    """Force a stream to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def folder_of(key: str, value: str | None) -> str:
    """Return the name of the folder of a value, as query engines read it back: key=value.

    A name that is too long is cut, and ends with a digest, so that each value has its own folder.
    """
    name = _cut(_escaped(key), MOST_OF_KEY)
    if value is None:
        return f"{name}={NOTHING}"
    text = _cut(_escaped(value), min(MOST_OF_VALUE, MOST_OF_NAME - len(name) - 1))
    return f"{name}={text.replace('_', '%5F', 1) if value == NOTHING else text}"


def _escaped(text: str) -> list[str]:
    """Return what stands in the name of a folder for each character of a text."""
    # . and .. are no names of folders.
    if set(text) == {"."}:
        return ["%2E"] * len(text)
    return [
        "".join(f"%{byte:02X}" for byte in letter.encode()) if _UNSAFE.match(letter) else letter
        for letter in text
    ]


def _cut(letters: Sequence[str], most: int) -> str:
    """Return escaped characters as a text of at most `most`; none is cut in two."""
    text = "".join(letters)
    if len(text) <= most:
        return text
    # No escaped text has a tilde, so no value has the name of one that was cut.
    end = "~" + hashlib.sha256(text.encode()).hexdigest()[:DIGEST]
    ends = itertools.accumulate(map(len, letters))
    whole = sum(place <= most - len(end) for place in ends)
    return "".join(letters[:whole]) + end
