"""Which of the --map options are for which of several files: together they must have every column
that is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilectl.codes import InputRefused
from profilectl.importing.stage.columns import Manifest, flat_columns
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import StagedFile
from profilectl.rules.batch import BatchField

Maps = Mapping[str, BatchField]
JSON = ("jsonl", "json")
OFFERED = 20
"""So many column names a refusal lists."""


def maps_of(
    files: Sequence[InputFile],
    mapped: Maps,
    csv_names: Callable[[InputFile], Sequence[str]],
    path_names: Callable[[InputFile], Iterable[str]] = lambda file: (),
    others: Sequence[InputFile] = (),
) -> list[Maps]:
    """Return what is mapped in each file, in order; csv_names: from a CSV file to its columns;
    path_names: to those in its path. others: files of the import that are not read again, and
    may be those that have a column.

    A single file is left to its reader. Raises InputRefused for a column that no file has.
    """
    if len(files) + len(others) < 2 or not mapped:
        return [mapped] * len(files)
    columns = {"csv": csv_names, "parquet": _parquet_names}
    every = [*files, *others]
    own = [columns[file.format](file) if file.format in columns else None for file in every]
    names = [
        here if here is None else _Names(here, tuple(path_names(file)))
        for here, file in zip(own, every, strict=True)
    ]
    absent = [name for name in mapped if not any(here is None or here.has(name) for here in names)]
    if absent:
        known = list(
            dict.fromkeys(name for here in names if here for name in (*here.own, *here.of_path))
        )
        offer = ", ".join(known[:OFFERED]) + (" ..." if len(known) > OFFERED else "")
        raise InputRefused(
            f"--map names a column that is in none of the files: {absent[0]!r}",
            f"the columns are: {offer}",
        )
    return [
        mapped
        if here is None
        else {name: field for name, field in mapped.items() if here.has(name)}
        for here in names[: len(files)]
    ]


def check_met(
    files: Sequence[InputFile],
    staged: Sequence[StagedFile],
    maps: Sequence[Maps],
    manifest: Manifest | None,
    mapped: Maps,
) -> None:
    """Refuse a name that is mapped and that nothing has, now that the rows of JSON are read: their
    names are known only then.

    files: what was staged, each in the format in which it was read.
    """
    flat = [one for file, one in zip(files, staged, strict=True) if file.format in JSON]
    if not flat:
        return
    met = list(dict.fromkeys(name for file in flat for name, _ in file.meaning))
    has = {
        *met,
        *(
            name
            for file, here in zip(files, maps, strict=True)
            if file.format not in JSON
            for name in here
        ),
    }
    absent = [name for name in flat_columns(manifest, mapped) if name not in has]
    if absent:
        offer = f"the keys are: {', '.join(map(repr, met[:OFFERED]))}{' ...' if len(met) > OFFERED else ''}"
        hint = offer if met else "the rows are batches: the names in those are the platform's"
        raise InputRefused(
            f"{flat[0].name}: --map names a key that no flat row has: {absent[0]!r}", hint
        )


@dataclass(frozen=True, slots=True)
class _Names:
    """The columns that a file has."""

    own: Sequence[str]
    """Those of the file itself."""
    of_path: Sequence[str]
    """Those of its path, which have no place among them."""

    def has(self, name: str) -> bool:
        """Say whether a file has a column, by its name or by its place (#4)."""
        place = name[1:] if name.startswith("#") else ""
        by_place = place.isdecimal() and 1 <= int(place) <= len(self.own)
        return by_place or any(
            one in self.own or one in self.of_path for one in (name, name.strip())
        )


def _parquet_names(file: InputFile) -> Sequence[str] | None:
    """Return the columns of a Parquet file, and the dotted names of their members; None where its
    reader is to say what is wrong.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file.local)
    except (pyarrow.ArrowException, OSError, ValueError):
        return None
    return [name for column in schema for name in _names_in(column, "")]


def _names_in(column: Any, prefix: str) -> list[str]:
    import pyarrow.types

    name = f"{prefix}{column.name}"
    members = list(column.type) if pyarrow.types.is_struct(column.type) else []
    return [name, *(below for member in members for below in _names_in(member, f"{name}."))]
