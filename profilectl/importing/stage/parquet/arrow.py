"""Columns of Parquet that DuckDB cannot read, or not exactly -> a Parquet file of our own, in which
they can be read.

What DuckDB has no exact type for becomes its text here: INT96 timestamps, decimals of more than 38
digits.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from profilectl.codes import InputRefused
from profilectl.importing.stage.parquet.footer import memory_limit
from profilectl.importing.stage.parquet.parquet import MOST_DIGITS, Leaf, ParquetSource, opened
from profilectl.importing.stage.parquet.types import BEYOND, entry_of
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import MEMORY_SHARE, most_of, refusal, size_of
from profilectl.store.scratch import Scratch

UNSUPPORTED = "UNSUPPORTED"
"""The type of a column that is read for no more than whether there is a value."""
ROWS = 20_000
"""So many rows are converted at once."""
NS = 1_000_000_000


def leaves_by_arrow(file: InputFile) -> list[Leaf]:
    """Return the columns of a file that DuckDB cannot look at.

    Raises InputRefused where pyarrow cannot either.
    """
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file.local)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise unreadable(file.name, error) from None
    return [leaf for place, field in enumerate(schema) for leaf in _leaves(field, (place,), "")]


def _leaves(field: Any, path: tuple[int, ...], prefix: str) -> Iterator[Leaf]:
    import pyarrow

    name = prefix + field.name
    if pyarrow.types.is_struct(field.type) and not _is_variant(field.type):
        for place, member in enumerate(field.type):
            yield from _leaves(member, (*path, place), f"{name}.")
    else:
        yield Leaf(name, path, "", "")


def _is_variant(kind: Any) -> bool:
    names = [field.name for field in kind]
    return names[:1] == ["metadata"] and set(names[1:]) <= {"value", "typed_value"}


def written_anew(
    scratch: Scratch,
    file: InputFile,
    leaves: Mapping[int, Leaf],
    because: duckdb.Error | None = None,
) -> tuple[ParquetSource, dict[int, Leaf]]:
    """Write some columns of a file to one of our own, and return that, and the columns as they are
    in it.

    because: why DuckDB cannot read the file itself. Raises InputRefused where pyarrow cannot read
    it either.
    """
    import pyarrow.parquet

    target = scratch.folder / f"{file.sha256[:16]}.anew.parquet"
    size = file.local.stat().st_size
    most = most_of(size, size_of(file.max_unpacked))
    at_once = _rows_at_once(scratch, file, list(leaves.values()))
    try:
        kinds = _write(
            file.local,
            target,
            list(leaves.values()),
            at_once,
            lambda came: _within(file.name, size, came, most),
        )
        source = opened(scratch, target)
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, duckdb.Error) as error:
        raise unreadable(file.name, because or error) from None
    found: dict[int, Leaf] = {}
    for (place, leaf), column, kind in zip(leaves.items(), source.members, kinds, strict=True):
        found[place] = dataclasses.replace(leaf, sql=column.sql, kind=kind or column.kind)
    source.members = [
        dataclasses.replace(member, name=leaf.name, kind=leaf.kind)
        for member, leaf in zip(source.members, found.values(), strict=True)
    ]
    return source, found


def _rows_at_once(scratch: Scratch, file: InputFile, leaves: Sequence[Leaf]) -> int:
    """Return how many rows are converted at once: a value that stands once may be meant in each of
    them.
    """
    lengths = [
        f"max(strlen({leaf.sql}::varchar))"
        if entry_of(leaf.kind) is None
        else f"max(list_sum(list_transform({leaf.sql}, entry -> strlen(entry::varchar))))"
        for leaf in leaves
        if (entry_of(leaf.kind) or leaf.kind) in ("VARCHAR", "JSON", "BLOB")
    ]
    try:
        source = opened(scratch, file.local)
        longest = (
            scratch.row(f"select {', '.join(lengths)} from {source.select}") if lengths else ()
        )
    except duckdb.Error:
        longest = (_largest_chunk(file),)
    taken = sum(int(one or 0) for one in longest) + 16 * len(leaves)
    return min(max(memory_limit(scratch) // MEMORY_SHARE // max(taken, 1), 1), ROWS)


def _largest_chunk(file: InputFile) -> int:
    """Return the bytes of the largest chunk of a column: no value of it can be longer."""
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(file.local)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise unreadable(file.name, error) from None
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return max(
        (
            group.column(place).total_uncompressed_size
            for group in groups
            for place in range(group.num_columns)
        ),
        default=0,
    )


def _within(name: str, size: int, came: int, most: int) -> None:
    if came > most:
        raise refusal(name, size, came, most)


def unreadable(name: str, error: Exception) -> InputRefused:
    """Say why a file cannot be read; of what the readers say only the kind, since it may quote the
    file.
    """
    words = str(error)
    if "ncrypt" in words or "ecrypt" in words:
        return InputRefused(f"{name} is encrypted Parquet", "write it without encryption")
    for codec in ("LZO", "BROTLI", "LZ4", "ZSTD", "GZIP", "SNAPPY"):
        if codec.lower() in words.lower() and any(
            word in words.lower() for word in ("support", "not built", "codec")
        ):
            return InputRefused(
                f"{name} is compressed with {codec}, which cannot be read",
                "write it again with another compression, such as zstd or snappy",
            )
    if "utf8" in words.lower() or "utf-8" in words.lower():
        return InputRefused(f"{name}: a text in it is not UTF-8", "mend it where it was made")
    return InputRefused(
        f"{name}: not a Parquet file that can be read: it is damaged ({_gist(words)})",
        "make or fetch it again",
    )


def _gist(words: str) -> str:
    """Return the beginning of what a reader says: no path of ours, and no value of the file."""
    first = words.splitlines()[0] if words else "no reason given"
    return (
        re.split("""['"/]""", first.split(": ", 1)[-1])[0].strip()[:100].rstrip(" :,")
        or "no reason given"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a leaf is found: the column of a batch, then the member of each struct; its Arrow type,
    and how the file has it.
    """

    steps: tuple[int, ...]
    type: Any
    physical: str
    zoned: bool


def _write(
    path: Path, target: Path, leaves: Sequence[Leaf], at_once: int, within: Callable[[int], None]
) -> list[str | None]:
    """Write the columns to a file; return the type of each that is not the one it has there.

    at_once: so many rows; within: refuses more bytes than there may be.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    with (
        parquet.ParquetFile(path, coerce_int96_timestamp_unit="ns") as fine,
        parquet.ParquetFile(path, coerce_int96_timestamp_unit="s") as coarse,
    ):
        indices, places = _places(fine, leaves)
        empty = fine.schema_arrow.empty_table().to_batches() or [
            pyarrow.RecordBatch.from_pylist([], fine.schema_arrow)
        ]
        wanted = sorted({leaf.path[0] for leaf in leaves})
        first = _converted(empty[0].select(wanted), empty[0].select(wanted), places)
        with parquet.ParquetWriter(
            target,
            pyarrow.table(
                [array for array, _ in first], names=[f"c{n}" for n in range(len(first))]
            ).schema,
        ) as writer:
            groups = list(range(fine.num_row_groups))
            came = 0
            exact = fine.reader.iter_batches(at_once, groups, column_indices=indices)
            seconds = (
                coarse.reader.iter_batches(at_once, groups, column_indices=indices)
                if any(place.physical == "INT96" for place in places)
                else None
            )
            for batch in exact:
                came += batch.nbytes
                within(came)
                columns = _converted(batch, next(seconds) if seconds else batch, places)
                writer.write_table(
                    pyarrow.Table.from_arrays([array for array, _ in columns], schema=writer.schema)
                )
    return [kind for _, kind in first]


def _places(file: Any, leaves: Sequence[Leaf]) -> tuple[list[int], list[_Place]]:
    """Return which physical columns the leaves need, and where each leaf is in a batch of those."""
    schema = file.schema_arrow
    begins = [0]
    for field in schema:
        begins.append(begins[-1] + _width(field.type))
    roots = sorted({leaf.path[0] for leaf in leaves})
    indices = [index for root in roots for index in range(begins[root], begins[root + 1])]
    places = []
    for leaf in leaves:
        kind, index, steps = (
            schema.field(leaf.path[0]).type,
            begins[leaf.path[0]],
            [roots.index(leaf.path[0])],
        )
        for step in leaf.path[1:]:
            index += sum(_width(kind.field(before).type) for before in range(step))
            kind = kind.field(step).type
            steps.append(step)
        column = file.schema.column(index)
        places.append(
            _Place(
                tuple(steps),
                kind,
                column.physical_type,
                '"isAdjustedToUTC": true' in column.logical_type.to_json(),
            )
        )
    return indices, places


def _width(kind: Any) -> int:
    """Return how many physical columns a type has."""
    import pyarrow

    kind = getattr(kind, "storage_type", kind)
    if pyarrow.types.is_struct(kind) or pyarrow.types.is_map(kind) or pyarrow.types.is_nested(kind):
        return sum(_width(kind.field(place).type) for place in range(kind.num_fields))
    return 1


def _converted(batch: Any, coarse: Any, places: Sequence[_Place]) -> list[tuple[Any, str | None]]:
    return [_column(_at(batch, place.steps), _at(coarse, place.steps), place) for place in places]


def _at(batch: Any, steps: Sequence[int]) -> Any:
    import pyarrow.compute

    array = batch.column(steps[0])
    for step in steps[1:]:
        array = pyarrow.compute.struct_field(array, [step])
    return array


def _column(array: Any, coarse: Any, place: _Place) -> tuple[Any, str | None]:
    """Return a column as DuckDB can read it, and its type where DuckDB has another name for it."""
    import pyarrow
    import pyarrow.compute as compute

    types = pyarrow.types
    if types.is_list(array.type) or types.is_large_list(array.type):
        values, kind = _column(array.values, coarse.values, place)
        if kind is None and not types.is_nested(array.type.value_type):
            return array, None
        if kind is not None and entry_of(kind) is None and kind != UNSUPPORTED:
            rebuilt = type(array).from_arrays(array.offsets, values, mask=compute.is_null(array))
            return rebuilt, f"{kind}[]"
    elif place.physical == "INT96" and types.is_timestamp(array.type):
        return _int96(array, coarse), "INT96"
    elif types.is_decimal(array.type) and array.type.precision > MOST_DIGITS:
        texts = [
            value if value is None else format(Decimal(value), "f") for value in array.to_pylist()
        ]
        return pyarrow.array(
            texts, pyarrow.string()
        ), f"DECIMAL({array.type.precision},{array.type.scale})"
    elif types.is_time64(array.type) and array.type.unit == "ns" and place.zoned:
        return array, "TIME_NS WITH TIME ZONE"
    elif not types.is_nested(array.type) and not types.is_union(array.type):
        return array, None
    there = compute.if_else(compute.is_valid(array), True, pyarrow.scalar(None, pyarrow.bool_()))
    return there, UNSUPPORTED


def _int96(nanoseconds: Any, seconds: Any) -> Any:
    """Return the text of timestamps, digit for digit.

    The nanoseconds since 1970 have overflowed outside 1677 to 2262: only what they are beyond the
    seconds is taken of them, which wraps around to the same.
    """
    import pyarrow
    import pyarrow.compute as compute

    whole = seconds.cast(pyarrow.int64())
    beyond = compute.subtract(nanoseconds.cast(pyarrow.int64()), compute.multiply(whole, NS))
    digits = compute.utf8_rtrim(compute.utf8_lpad(beyond.cast(pyarrow.string()), 9, "0"), "0")
    text = compute.replace_substring(
        seconds.cast(pyarrow.timestamp("s")).cast(pyarrow.string()), " ", "T"
    )
    text = compute.if_else(
        compute.starts_with(text, "<"), BEYOND, text
    )  # a year that no calendar of four digits has
    fraction = compute.if_else(
        compute.or_(compute.equal(digits, ""), compute.equal(text, BEYOND)),
        "",
        compute.binary_join_element_wise(".", digits, ""),
    )
    return compute.binary_join_element_wise(text, fraction, "")
