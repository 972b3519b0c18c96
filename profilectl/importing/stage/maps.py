"""The --map options of each of several files; together these must have every column named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.codes import InputRefused
from profilectl.importing.stage.columns import Manifest, flat_columns
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import StagedFile
from profilectl.rules.batch_fields import BatchField

if TYPE_CHECKING:
    import pyarrow

Maps = Mapping[str, BatchField]
JSON = ("jsonl", "json")
OFFERED = 20
"""How many column names a refusal lists."""


@dataclass(frozen=True, slots=True)
class _FileNames:
    """The columns that a file has."""

    own: Sequence[str]
    """Those of the file itself."""
    of_path: Sequence[str]
    """Those of its path, which have no place among them."""

    def has(self, name: str) -> bool:
        """Return whether a file has a column, by its name or by its place (#4)."""
        place = name[1:] if name.startswith("#") else ""
        if place.isdecimal() and 1 <= int(place) <= len(self.own):
            return True
        return any(
            spelling in self.own or spelling in self.of_path for spelling in (name, name.strip())
        )


def maps_of(
    files: Sequence[InputFile],
    mapped: Maps,
    *,
    csv_names: Callable[[InputFile], Sequence[str]],
    path_names: Callable[[InputFile], Iterable[str]] = lambda file: (),
    unread_files: Sequence[InputFile] = (),
) -> list[Maps]:
    """Return the part of --map that is for each file, in order.

    A single file is left to its reader. csv_names: from a CSV file to its columns. path_names: from
    a file to the columns in its path. unread_files: files of the import that are not read again,
    and may be those that have a column. Raises InputRefused for a column that no file has.
    """
    if len(files) + len(unread_files) < 2 or not mapped:
        return [mapped] * len(files)
    columns = {"csv": csv_names, "parquet": _parquet_names}
    names: list[_FileNames | None] = []
    for file in [*files, *unread_files]:
        own = columns[file.format](file) if file.format in columns else None
        names.append(None if own is None else _FileNames(own, tuple(path_names(file))))
    _refuse_absent(mapped, names)
    return [
        mapped
        if of_file is None
        else {name: field for name, field in mapped.items() if of_file.has(name)}
        for of_file in names[: len(files)]
    ]


def _refuse_absent(mapped: Maps, names: Sequence[_FileNames | None]) -> None:
    """Raise InputRefused for a name that no file has. None: it is not known what a file has."""
    # A file whose columns are not known here may have any name: its reader says more.
    absent = [
        name
        for name in mapped
        if not any(of_file is None or of_file.has(name) for of_file in names)
    ]
    if absent:
        columns = list(
            dict.fromkeys(
                name for of_file in names if of_file for name in (*of_file.own, *of_file.of_path)
            )
        )
        offer = ", ".join(columns[:OFFERED]) + (" ..." if len(columns) > OFFERED else "")
        raise InputRefused(
            f"--map names a column that is in none of the files: {absent[0]!r}",
            f"the columns are: {offer}",
        )


def check_names(
    files: Sequence[InputFile],
    staged: Sequence[StagedFile],
    maps: Sequence[Maps],
    *,
    manifest: Manifest | None,
    mapped: Maps,
) -> None:
    """Refuse a name that is mapped and that nothing has, once the rows of JSON are read.

    The names of flat rows are known only then. files: what was staged, each in the format in which
    it was read. Raises InputRefused.
    """
    flat = [
        staged_file for file, staged_file in zip(files, staged, strict=True) if file.format in JSON
    ]
    if not flat:
        return
    flat_names = list(dict.fromkeys(name for file in flat for name, _ in file.meaning))
    # What is mapped in files with columns was looked for there (maps_of).
    names = set(flat_names)
    for file, of_file in zip(files, maps, strict=True):
        if file.format not in JSON:
            names.update(of_file)
    absent = [name for name in flat_columns(manifest, mapped) if name not in names]
    if absent:
        more = " ..." if len(flat_names) > OFFERED else ""
        offer = f"the keys are: {', '.join(map(repr, flat_names[:OFFERED]))}{more}"
        raise InputRefused(
            f"{flat[0].name}: --map names a key that no flat row has: {absent[0]!r}",
            offer if flat_names else "the rows are batches: the names in those are the platform's",
        )


def _parquet_names(file: InputFile) -> Sequence[str] | None:
    """Return the columns of a Parquet file, and the dotted names of their members.

    None: its reader is to say what is wrong.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file.local)
    except (pyarrow.ArrowException, OSError, ValueError):
        return None
    return [name for column in schema for name in _names_in(column, "")]


def _names_in(column: pyarrow.Field, prefix: str) -> list[str]:
    import pyarrow.types

    name = f"{prefix}{column.name}"
    members = list(column.type) if pyarrow.types.is_struct(column.type) else []
    return [name, *(below for member in members for below in _names_in(member, f"{name}."))]
