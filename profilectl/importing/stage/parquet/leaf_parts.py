"""A scalar of a Parquet file -> a column of the relation of its rows, by what it means.

Types are read as the file declares them, never guessed. A value is judged, not its type: a column
without values says nothing, even if its type could not be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from profilectl.importing.stage.cells import (
    FILLED,
    NO_TEXT,
    Cell,
    CellFault,
    string_held,
    string_over,
)
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.parquet.source import Leaf
from profilectl.importing.stage.parquet.types import (
    BINARY,
    ParquetType,
    entry_of,
    kind_of,
    list_of,
    list_unfit,
    unfit,
)
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch_fields import BatchField
from profilectl.rules.sql.quoting import quote_text

_MS_FIELD = "timestamp_unixtime_ms"
_WRONG_TYPE = {
    # the fields of which not every text is right: the code of a value of another type
    "source_request_id": "BATCH_INVALID",
    "deleted_user_attributes": "DELETED_INVALID",
}

# Columns of the relation: the text of a leaf in cN, and in xN what there is to say against it.
TEXT_COLUMN = SqlTemplate("{text} as {column}")
# Whether a value is at fault, or the code of the limit that it breaks.
FAULT_COLUMN = SqlTemplate("{fault} as x{column}")
# Whether there is a value, of a type without a text.
HAS_VALUE = SqlTemplate("case when {value} is not null then '' end")
# A value that is no identity.
NO_IDENTITY = SqlTemplate("{value} is not null and {identity} is null")
# A text, null where it is one of those that mean nothing.
WITHOUT_NULLS = SqlTemplate("case when {text} not in ({nulls}) then {text} end")
# A value, or the text where there is none.
OR_TEXT = SqlTemplate("coalesce({value}, {text})")
# Limits of a list, and the code of a value that breaks one.
TOO_MANY_ENTRIES = SqlTemplate("when len({value}) > {most} then 'UA_LIST_TOO_LONG'")
# A list with an entry over the limit.
ENTRY_TOO_LONG = SqlTemplate(
    "when list_max(list_transform({value}, lambda entry: length({text}))) > {most}"
    " then 'UA_ENTRY_TOO_LONG'"
)
# A list with an entry without a text.
UNSUPPORTED = SqlTemplate("when {unfit} then 'UA_UNSUPPORTED_TYPE'")
# The code of a value without a text, else that of the limit.
UNSUPPORTED_OR_OVER = SqlTemplate("case when x{column} then 'UA_UNSUPPORTED_TYPE' {otherwise} end")


@dataclass(frozen=True, slots=True)
class LeafPart:
    """A column of the relation of a file's rows."""

    leaf: Leaf
    """The scalar that it is made of."""
    cell: Cell
    """How it is staged."""
    selected: list[str]
    """The expressions that make it."""
    never: str = ""
    """Why no value of its type can be what it is to be; "" where some can."""
    hint: str = ""
    """A hint what to do about it."""


def part_of(column: str, leaf: Leaf, field: BatchField, options: ReadingOptions) -> LeafPart:
    """Return how a leaf becomes the column of a relation. field: what it means."""
    if field.kind == "identity":
        return _identity(column, leaf, field, options=options)
    if field.kind == "attribute":
        return _attribute(column, leaf, field, options=options)
    return _batch_field(column, leaf, field, options=options)


def quoted(name: str) -> str:
    """Return a column's name as it is given on a command line."""
    return name if re.fullmatch(r"[\w.$-]+", name) else f"'{name}'"


def _identity(column: str, leaf: Leaf, field: BatchField, *, options: ReadingOptions) -> LeafPart:
    """Return the column of an identity, which is a text or a whole number.

    Another number rejects its row.
    """
    kind = kind_of(leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None or kind.identity is None:
        return _impossible(column, leaf, field)
    identity = kind.identity.format(v=leaf.sql)
    selected = [TEXT_COLUMN(text=_without_nulls(identity, kind, options), column=column)]
    cell = Cell(field, column, column)
    if (kind.identity != kind.text and leaf.kind != '"NULL"') or kind is BINARY:
        fault = NO_IDENTITY(value=leaf.sql, identity=identity)
        selected.append(FAULT_COLUMN(fault=fault, column=column))
        reason = "no whole number that a number of this type can say exactly"
        if kind is BINARY:
            reason = "not UTF-8"
        detail = quote_text(f"{leaf.name} is {reason}")
        cell = replace(cell, faults=(CellFault("IDENTITY_INVALID", f"x{column}", detail),))
    return LeafPart(leaf, cell, selected)


def _attribute(column: str, leaf: Leaf, field: BatchField, *, options: ReadingOptions) -> LeafPart:
    """Return the column of an attribute, which keeps its type.

    A value without exact text is left out.
    """
    entry = entry_of(leaf.kind)
    kind = kind_of(entry or leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None:
        selected = [TEXT_COLUMN(text=HAS_VALUE(value=leaf.sql), column=column)]
        cell = Cell(field, column, held="null::varchar", over="'UA_UNSUPPORTED_TYPE'")
        return LeafPart(leaf, cell, selected)
    if entry is not None:
        return _list_attribute(column, leaf, field, kind=kind, options=options)
    text = _without_nulls(kind.text_of(leaf.sql), kind, options)
    held, over = f"chr(31) || {column}", None
    if kind.quoted and kind.finite:
        held = column  # a time is short, and begins with no mark
    elif kind.quoted:
        held, over = string_held(column), string_over(column, options.reading.limits["value"])
    if kind.exact:
        selected = [TEXT_COLUMN(text=text, column=column)]
        return LeafPart(leaf, Cell(field, column, held=held, over=over), selected)
    over = UNSUPPORTED_OR_OVER(column=column, otherwise=f"else {over}" if over else "")
    if not kind.finite or options.reading.nulls:
        text = OR_TEXT(value=text, text=HAS_VALUE(value=leaf.sql))
    selected = [
        TEXT_COLUMN(text=text, column=column),
        FAULT_COLUMN(fault=unfit(kind, leaf.sql), column=column),
    ]
    return LeafPart(leaf, Cell(field, column, held=held, over=over), selected)


def _list_attribute(
    column: str, leaf: Leaf, field: BatchField, *, kind: ParquetType, options: ReadingOptions
) -> LeafPart:
    """Return the column of an attribute that is a list. kind: of its entries."""
    limits = options.reading.limits
    cases = [TOO_MANY_ENTRIES(value=leaf.sql, most=limits["list"])]
    if kind.quoted:
        text = kind.text_of("entry")
        cases.append(ENTRY_TOO_LONG(value=leaf.sql, text=text, most=limits["entry"]))
    without_text = list_unfit(kind, leaf.sql)
    if without_text:
        cases.insert(0, UNSUPPORTED(unfit=without_text))
    selected = [
        TEXT_COLUMN(text=list_of(leaf.sql, kind.entry("entry")), column=column),
        FAULT_COLUMN(fault=f"case {' '.join(cases)} end", column=column),
    ]
    cell = Cell(field, column, held=f"chr(31) || {column}", over=f"x{column}")
    return LeafPart(leaf, cell, selected)


def _batch_field(
    column: str, leaf: Leaf, field: BatchField, *, options: ReadingOptions
) -> LeafPart:
    """Return the column of a field of a batch, or of an event.

    It is read from its text as a cell of a CSV file is; a time is its milliseconds.
    """
    entry = entry_of(leaf.kind)
    kind = kind_of(entry or leaf.kind, binary_as_text=options.binary_as_text)
    if kind is None:
        return _impossible(column, leaf, field)
    is_json = entry is not None or not kind.quoted
    text = list_of(leaf.sql, kind.entry("entry"))
    if entry is None:
        text = _without_nulls(kind.text_of(leaf.sql), kind, options)
        if field.name.endswith(_MS_FIELD) and kind.ms:
            text = OR_TEXT(value=f"({kind.ms.format(v=leaf.sql)})::varchar", text=text)
            is_json = False
        elif field.name in ("mpid", _MS_FIELD) and kind.identity and kind.identity != kind.text:
            text = OR_TEXT(value=kind.identity.format(v=leaf.sql), text=text)
    selected = [TEXT_COLUMN(text=text, column=column)]
    cell = Cell(field, column, column, json=is_json)
    if _has_wrong_type(leaf, field, kind):
        detail = quote_text(f"the column {leaf.name} is {leaf.kind}")
        fault = CellFault(_WRONG_TYPE[field.name], FILLED(text=column), detail)
        cell = replace(cell, faults=(fault,), text=NO_TEXT)
    elif not kind.exact and (field.kind != "plain" or field.name == "source_request_id"):
        detail = quote_text(f"{leaf.name} has no exact text")
        cell = replace(cell, faults=(CellFault("BATCH_INVALID", f"x{column}", detail),))
        without_text = list_unfit(kind, leaf.sql) if entry else unfit(kind, leaf.sql)
        selected.append(FAULT_COLUMN(fault=without_text, column=column))
    return LeafPart(leaf, cell, selected)


def _has_wrong_type(leaf: Leaf, field: BatchField, kind: ParquetType) -> bool:
    """Return whether a field of a batch cannot be of a type, though the type has a text."""
    if field.kind != "plain":
        return False
    is_list = entry_of(leaf.kind) is not None
    if field.name == "source_request_id":
        return is_list or leaf.kind == "BOOLEAN"
    return field.name == "deleted_user_attributes" and not is_list and not kind.quoted


def _impossible(column: str, leaf: Leaf, field: BatchField) -> LeafPart:
    """Return a column whose type cannot be what it is to be.

    It may be there as long as it has no values.
    """
    reason = f"which cannot be {field.title}"
    if field.kind == "identity":
        reason = "an identity must be text or a whole number"
    hint = f"--map {quoted(leaf.name)}=ignore leaves it out"
    if leaf.kind == BINARY.name:
        hint = "--binary-as-text reads it as text"
    return LeafPart(
        leaf,
        Cell(field, column, column),
        [TEXT_COLUMN(text=HAS_VALUE(value=leaf.sql), column=column)],
        never=f"is {_shown(leaf.kind)}; {reason}",
        hint=hint,
    )


def _without_nulls(text: str, kind: ParquetType, options: ReadingOptions) -> str:
    """Return the SQL of a text, null where it is one that means nothing (`--null`)."""
    if not kind.quoted or not options.reading.nulls:
        return text
    nulls = ", ".join(map(quote_text, sorted(options.reading.nulls)))
    return WITHOUT_NULLS(text=text, nulls=nulls)


def _shown(kind: str) -> str:
    return kind if len(kind) <= 60 else f"{kind[:60]}..."
