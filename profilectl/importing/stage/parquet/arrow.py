"""Columns of Parquet that DuckDB cannot read exactly -> a Parquet file of our own, where it can.

A value that DuckDB has no exact type for becomes its text here: INT96 timestamps, decimals of more
than 38 digits.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from profilectl.codes import InputRefused
from profilectl.importing.stage.parquet.footer import memory_limit
from profilectl.importing.stage.parquet.source import MOST_DIGITS, Leaf, ParquetSource, opened
from profilectl.importing.stage.parquet.types import BEYOND, entry_of
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import MEMORY_SHARE, most_of, refusal, size_of
from profilectl.importing.stage.template import SqlTemplate
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

UNSUPPORTED = "UNSUPPORTED"
"""The type of a column of which is read no more than whether there is a value."""
ROWS = 20_000
"""How many rows are converted at once."""
NS = 1_000_000_000
CODECS = ("LZO", "BROTLI", "LZ4", "ZSTD", "GZIP", "SNAPPY")

# The longest value of a column, and of the entries of a list.
LONGEST_VALUE = SqlTemplate("max(strlen({value}::varchar))")
# All entries of the longest list.
LONGEST_LIST = SqlTemplate(
    "max(list_sum(list_transform({value}, entry -> strlen(entry::varchar))))"
)
# The longest value of each column.
LONGEST = SqlTemplate("select {columns} from {rows}")


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


def _leaves(field: pa.Field, path: tuple[int, ...], prefix: str) -> Iterator[Leaf]:
    import pyarrow

    name = prefix + field.name
    if pyarrow.types.is_struct(field.type) and not _is_variant(field.type):
        for place, member in enumerate(field.type):
            yield from _leaves(member, (*path, place), f"{name}.")
    else:
        yield Leaf(name, path, sql="", kind="")


def _is_variant(kind: pa.StructType) -> bool:
    # Parquet writes a variant as a struct with these members.
    names = [field.name for field in kind]
    return names[:1] == ["metadata"] and set(names[1:]) <= {"value", "typed_value"}


def written_anew(
    scratch: Scratch,
    file: InputFile,
    leaves: Mapping[int, Leaf],
    because: duckdb.Error | None = None,
) -> tuple[ParquetSource, dict[int, Leaf]]:
    """Write some columns of a file to one of our own; return that, and its columns.

    because: why DuckDB cannot read the file itself. Raises InputRefused where pyarrow cannot read
    it either.
    """
    import pyarrow.parquet

    target = scratch.folder / f"{file.sha256[:16]}.anew.parquet"
    size = file.local.stat().st_size
    most = most_of(size, size_of(file.max_unpacked))

    def check_size(unpacked: int) -> None:
        if unpacked > most:
            raise refusal(file.name, size, unpacked, most=most)

    at_once = _rows_at_once(scratch, file, list(leaves.values()))
    try:
        kinds = _write(
            file.local, target, list(leaves.values()), at_once=at_once, check_size=check_size
        )
        source = opened(scratch, target)
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, duckdb.Error) as error:
        raise unreadable(file.name, because or error) from None
    anew = {
        place: dataclasses.replace(leaf, sql=column.sql, kind=kind or column.kind)
        for (place, leaf), column, kind in zip(leaves.items(), source.members, kinds, strict=True)
    }
    source.members = [
        dataclasses.replace(member, name=leaf.name, kind=leaf.kind)
        for member, leaf in zip(source.members, anew.values(), strict=True)
    ]
    return source, anew


def _rows_at_once(scratch: Scratch, file: InputFile, leaves: Sequence[Leaf]) -> int:
    """Return how many rows are converted at once: each may have a value that stands only once."""
    lengths = [
        (LONGEST_VALUE if entry_of(leaf.kind) is None else LONGEST_LIST)(value=leaf.sql)
        for leaf in leaves
        if (entry_of(leaf.kind) or leaf.kind) in ("VARCHAR", "JSON", "BLOB")
    ]
    longest: tuple[int | None, ...] = ()
    try:
        source = opened(scratch, file.local)
        if lengths:
            longest = scratch.row(LONGEST(columns=", ".join(lengths), rows=source.select))
    except duckdb.Error:
        longest = (_largest_chunk(file),)
    row_size = sum(int(length or 0) for length in longest) + 16 * len(leaves)
    return min(max(memory_limit(scratch) // MEMORY_SHARE // max(row_size, 1), 1), ROWS)


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


def unreadable(name: str, error: Exception) -> InputRefused:
    """Return the error of a file that cannot be read.

    Of the messages of the readers it has only the kind, since they may quote the file.
    """
    message = str(error)
    words = message.lower()
    if "ncrypt" in message or "ecrypt" in message:
        return InputRefused(f"{name} is encrypted Parquet", "write it without encryption")
    is_about_codecs = any(word in words for word in ("support", "not built", "codec"))
    for codec in CODECS if is_about_codecs else ():
        if codec.lower() in words:
            return InputRefused(
                f"{name} is compressed with {codec}, which cannot be read",
                "write it again with another compression, such as zstd or snappy",
            )
    if "utf8" in words or "utf-8" in words:
        return InputRefused(f"{name}: a text in it is not UTF-8", "mend it where it was made")
    return InputRefused(
        f"{name}: not a Parquet file that can be read: it is damaged ({_gist(message)})",
        "make or fetch it again",
    )


def _gist(message: str) -> str:
    """Return the beginning of a reader's message: no path of ours, and no value of the file."""
    line = message.splitlines()[0] if message else "no reason given"
    text = re.split("""['"/]""", line.split(": ", 1)[-1])[0].strip()
    return text[:100].rstrip(" :,") or "no reason given"


@dataclasses.dataclass(frozen=True, slots=True)
class _LeafPlace:
    """Where a leaf is found in a batch, and how the file has it."""

    steps: tuple[int, ...]
    """The column of a batch, then the member of each struct."""
    type: pa.DataType
    """Its Arrow type."""
    physical: str
    """Its type in the file."""
    zoned: bool
    """Whether it is a time in UTC."""


class _Converted(NamedTuple):
    """A column as DuckDB can read it."""

    array: pa.Array
    """Its values."""
    kind: str | None
    """Its type where DuckDB has another name for it."""


def _write(
    path: Path,
    target: Path,
    leaves: Sequence[Leaf],
    *,
    at_once: int,
    check_size: Callable[[int], None],
) -> list[str | None]:
    """Write the columns to a file; return the type of each that is not the one it has there.

    at_once: how many rows are converted at once. check_size: refuses more bytes than there may be.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    # Nanoseconds of INT96 may overflow; the seconds tell what they were (_int96).
    with (
        parquet.ParquetFile(path, coerce_int96_timestamp_unit="ns") as fine,
        parquet.ParquetFile(path, coerce_int96_timestamp_unit="s") as coarse,
    ):
        indices, places = _places(fine, leaves)
        columns = _columns_of_nothing(fine, leaves, places)
        names = [f"c{place}" for place in range(len(columns))]
        schema = pyarrow.table([column.array for column in columns], names=names).schema
        groups = list(range(fine.num_row_groups))
        exact = fine.reader.iter_batches(at_once, groups, column_indices=indices)
        seconds = None
        if any(place.physical == "INT96" for place in places):
            seconds = coarse.reader.iter_batches(at_once, groups, column_indices=indices)
        unpacked = 0
        with parquet.ParquetWriter(target, schema) as writer:
            for batch in exact:
                unpacked += batch.nbytes
                check_size(unpacked)
                arrays = _converted(batch, next(seconds) if seconds else batch, places)
                writer.write_table(
                    pyarrow.Table.from_arrays([column.array for column in arrays], schema=schema)
                )
    return [column.kind for column in columns]


def _columns_of_nothing(
    file: ParquetFile, leaves: Sequence[Leaf], places: Sequence[_LeafPlace]
) -> list[_Converted]:
    """Return the columns of no rows, which have the types of all others."""
    import pyarrow

    batches = file.schema_arrow.empty_table().to_batches() or [
        pyarrow.RecordBatch.from_pylist([], file.schema_arrow)
    ]
    batch = batches[0].select(sorted({leaf.path[0] for leaf in leaves}))
    return _converted(batch, batch, places)


def _places(file: ParquetFile, leaves: Sequence[Leaf]) -> tuple[list[int], list[_LeafPlace]]:
    """Return which physical columns the leaves need, and where each leaf is in a batch of those."""
    schema = file.schema_arrow
    begins = [0]
    for field in schema:
        begins.append(begins[-1] + _width(field.type))
    roots = sorted({leaf.path[0] for leaf in leaves})
    indices = [index for root in roots for index in range(begins[root], begins[root + 1])]
    places = []
    for leaf in leaves:
        root = leaf.path[0]
        kind, index = schema.field(root).type, begins[root]
        for step in leaf.path[1:]:
            index += sum(_width(kind.field(before).type) for before in range(step))
            kind = kind.field(step).type
        column = file.schema.column(index)
        places.append(
            _LeafPlace(
                steps=(roots.index(root), *leaf.path[1:]),
                type=kind,
                physical=column.physical_type,
                zoned='"isAdjustedToUTC": true' in column.logical_type.to_json(),
            )
        )
    return indices, places


def _width(kind: pa.DataType) -> int:
    """Return how many physical columns a type has."""
    import pyarrow

    kind = getattr(kind, "storage_type", kind)
    if pyarrow.types.is_struct(kind) or pyarrow.types.is_map(kind) or pyarrow.types.is_nested(kind):
        return sum(_width(kind.field(place).type) for place in range(kind.num_fields))
    return 1


def _converted(
    batch: pa.RecordBatch, coarse: pa.RecordBatch, places: Sequence[_LeafPlace]
) -> list[_Converted]:
    """Return the columns of a batch as DuckDB can read them.

    coarse: the same batch, with times in seconds.
    """
    return [_column(_at(batch, place.steps), _at(coarse, place.steps), place) for place in places]


def _at(batch: pa.RecordBatch, steps: Sequence[int]) -> pa.Array:
    import pyarrow.compute

    array = batch.column(steps[0])
    for step in steps[1:]:
        array = pyarrow.compute.struct_field(array, [step])
    return array


def _column(array: pa.Array, coarse: pa.Array, place: _LeafPlace) -> _Converted:
    """Return a column as DuckDB can read it; where it cannot, whether there are values."""
    import pyarrow

    types = pyarrow.types
    if types.is_list(array.type) or types.is_large_list(array.type):
        return _list_column(array, coarse, place)
    if place.physical == "INT96" and types.is_timestamp(array.type):
        return _Converted(_int96(array, coarse), "INT96")
    if types.is_decimal(array.type) and array.type.precision > MOST_DIGITS:
        texts = [
            value if value is None else format(Decimal(value), "f") for value in array.to_pylist()
        ]
        kind = f"DECIMAL({array.type.precision},{array.type.scale})"
        return _Converted(pyarrow.array(texts, pyarrow.string()), kind)
    if types.is_time64(array.type) and array.type.unit == "ns" and place.zoned:
        return _Converted(array, "TIME_NS WITH TIME ZONE")
    if not types.is_nested(array.type) and not types.is_union(array.type):
        return _Converted(array, None)
    return _presence(array)


def _list_column(array: pa.Array, coarse: pa.Array, place: _LeafPlace) -> _Converted:
    """Return a list with its entries as DuckDB can read them."""
    import pyarrow
    import pyarrow.compute as compute

    values, kind = _column(array.values, coarse.values, place)
    if kind is None and not pyarrow.types.is_nested(array.type.value_type):
        return _Converted(array, None)
    if kind is not None and entry_of(kind) is None and kind != UNSUPPORTED:
        rebuilt = type(array).from_arrays(array.offsets, values, mask=compute.is_null(array))
        return _Converted(rebuilt, f"{kind}[]")
    return _presence(array)


def _presence(array: pa.Array) -> _Converted:
    """Return whether there are values: true, or null."""
    import pyarrow
    import pyarrow.compute as compute

    nothing = pyarrow.scalar(None, pyarrow.bool_())
    return _Converted(compute.if_else(compute.is_valid(array), True, nothing), UNSUPPORTED)


def _int96(nanoseconds: pa.Array, seconds: pa.Array) -> pa.Array:
    """Return the text of timestamps, digit for digit.

    The nanoseconds since 1970 have overflowed outside 1677 to 2262: only what they are beyond the
    seconds is read from them, which wraps around to the same.
    """
    import pyarrow
    import pyarrow.compute as compute

    whole = seconds.cast(pyarrow.int64())
    beyond = compute.subtract(nanoseconds.cast(pyarrow.int64()), compute.multiply(whole, NS))
    digits = compute.utf8_rtrim(compute.utf8_lpad(beyond.cast(pyarrow.string()), 9, "0"), "0")
    text = compute.replace_substring(
        seconds.cast(pyarrow.timestamp("s")).cast(pyarrow.string()), " ", "T"
    )
    # a year that no calendar of four digits has
    text = compute.if_else(compute.starts_with(text, "<"), BEYOND, text)
    fraction = compute.if_else(
        compute.or_(compute.equal(digits, ""), compute.equal(text, BEYOND)),
        "",
        compute.binary_join_element_wise(".", digits, ""),
    )
    return compute.binary_join_element_wise(text, fraction, "")
