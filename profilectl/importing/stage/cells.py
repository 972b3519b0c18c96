"""One column of a file as SQL: its meaning, its text, and how the text is held.

The readers of CSV, of Parquet and of paths make cells; `table_columns` stages them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.codes import InputRefused
from profilectl.importing.stage.staged import AttributeColumns
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading
from profilectl.rules.batch_fields import BatchField
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

LISTED = 500
"""How many columns of a file one statement looks at: a statement that names many more takes longer
to plan than to run.
"""
NESTED_COLUMNS = 300
"""How many columns may be members of an object (an event, a device, a consent): three times the
attributes of an event.
"""
LONG_SQL = 5_000
"""An expression of more characters than this is planned once, and its values are written down."""

# A string as it is held: one that begins with the mark of other types gets the mark and a quote
# before it.
STRING_HELD = SqlTemplate(
    "case when starts_with({text}, chr(31)) then chr(31) || '''' || {text} else {text} end"
)
# The bytes are counted first: to count characters takes longer, and hardly a string needs it.
STRING_OVER = SqlTemplate(
    "case when strlen({text}) > {most} and length({text}) > {most} then 'UA_VALUE_TOO_LONG' end"
)

# Whether a cell has a value.
FILLED = SqlTemplate("{text} is not null")
NO_TEXT = "(null::varchar)"
"""The SQL of the text of a column that has no values."""

# (seq, code, detail) of the rows that cannot be used.
REJECTED = SqlTemplate("""
select {seq} as seq, '{code}' as code, {detail} as detail
from {cells}
where {condition}
""")

# (seq, code, attribute) of the rows from which something is left out.
SKIPPED = SqlTemplate("""
select {seq} as seq, '{code}' as code, {attribute} as attribute
from {cells}
where {condition}
""")


@dataclass(frozen=True, slots=True)
class CellFault:
    """A fault that makes a row unusable."""

    code: str
    """The code of the reject."""
    condition: str
    """The SQL of whether a row has the fault."""
    detail: str
    """The SQL of the detail of the reject."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of a file."""

    field: BatchField
    """The meaning of the column."""
    text: str
    """The SQL of its value as text."""
    held: str
    """The SQL of its value as profilectl.rules.text.values holds it."""
    over: str | None = None
    """The SQL of the code of the limit that a value breaks, null for none; None: no value can."""
    faults: tuple[CellFault, ...] = ()
    """The faults that make a row unusable, besides those that its text can show."""
    json: bool = False
    """Whether its text is JSON, of a number, a boolean or a list."""


@dataclass(frozen=True, slots=True)
class CellRows:
    """The rows of a file as a relation of cells, and how they are read."""

    scratch: Scratch
    """Where the relation is."""
    relation: str
    """Its name; the names of relations made of it begin with this."""
    seq: str
    """Its column with the place of a row."""
    keys: AttributeColumns
    """Which column an attribute has."""
    reading: Reading
    """The rules that the rows are read by."""
    empty: str = "ignore"
    """The effect of an empty cell on its attribute: ignore, delete or set."""
    event_type: str | None = None
    """The event type that the name of the file says."""
    longest: Mapping[str, int] = field(default_factory=dict)
    """The bytes of the longest of some texts, where a pass over the file has said it."""
    may_have_mark: bool = True
    """Whether a text may begin with the mark of held values."""

    def rejected(self, code: str, condition: str, detail: str) -> str:
        """Return the SELECT that rejects the rows that meet a condition. detail: SQL."""
        return REJECTED(
            seq=self.seq, code=code, detail=detail, cells=self.relation, condition=condition
        )

    def skipped(self, code: str, condition: str, attribute: str | None = None) -> str:
        """Return the SELECT that says a code of the rows that meet a condition."""
        return SKIPPED(
            seq=self.seq,
            code=code,
            attribute="null" if attribute is None else quote_text(attribute),
            cells=self.relation,
            condition=condition,
        )


def string_held(text: str) -> str:
    """Return the SQL that holds a string (values.hold)."""
    return STRING_HELD(text=text)


def string_over(text: str, most: int) -> str:
    """Return the SQL of the code of the limit that a string breaks. most: characters."""
    return STRING_OVER(text=text, most=most)


def string_cell(field: BatchField, text: str, most: int) -> Cell:
    """Return the cell of a column of strings. most: the characters that a value may have."""
    return Cell(field, text, held=string_held(text), over=string_over(text, most))


def is_string(cell: Cell, most: int) -> bool:
    """Return whether a cell is read as every string is."""
    return (cell.held, cell.over) == (string_held(cell.text), string_over(cell.text, most))


def listed(expressions: Sequence[str]) -> str:
    """Return the SQL of a list of expressions: columns of a SELECT, entries of a list."""
    return ", ".join(expressions)


def any_filled(texts: Sequence[str]) -> str:
    """Return the condition that at least one cell has a value; false of no cells."""
    return f"({' or '.join(FILLED(text=text) for text in texts) or 'false'})"


def check_nested(columns: int, root: str) -> None:
    """Raise InputRefused where more columns make an object than can be planned in seconds."""
    if columns > NESTED_COLUMNS:
        raise InputRefused(
            f"{columns:,} columns are of {root} and the like; at most {NESTED_COLUMNS} can be read",
            "map the others to ignore, or write the rows as JSON lines",
        )
