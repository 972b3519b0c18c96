"""The long forms as text: all lines of a profile in one text, put together in SQL.

Nearly every profile has one row. All its lines have the same MPID and the same origin, so these are
written down once a row, and only profiles have to be sorted. That takes a quarter of the time that
a row a value takes (long_form). Profiles that have more go that way, to the same text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profilectl.profiles.read_model import Profiles
from profilectl.reading.exporting.csv_text import csv_cell
from profilectl.reading.exporting.long_form import (
    ATTRIBUTE_TYPE,
    IDENTITIES,
    stored_keys,
)
from profilectl.reading.exporting.single_rows import apart, are_as_stored
from profilectl.rules.sql.held_values import DELETED, held_as_cell, held_as_json
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import known_rows
from profilectl.store.statements import reading

MOST_CELLS = 500
"""How many cells of a row are put together in one expression: planning it takes time as well."""

# The origins and the feeds as the lines of a format have them.
ORIGIN_TEXTS = "select first_arrival, shift, {columns} from export_origin"
FEED_TEXTS = "select number, {columns} as feed_text from store.feed"
PLACED_ROWS = """
select stored_row.*, origin.* exclude (first_arrival), feed.feed_text
from stored_row
asof join origin on stored_row.arrival >= origin.first_arrival
join feed on feed.number = stored_row.feed
"""
# What the lines of a row begin and end with, and between that each of its cells.
HEADED = "select profile as _profile, mpid as _mpid, {columns} from placed"
TEXTS = "select _profile, _mpid, {columns} from headed"
TEXTS_OF_OTHERS = """
select _profile, any_value(_mpid) as _mpid, string_agg({columns}, '' order by {order}) as text,
       count(*) as rows
from exported
group by _profile
"""


@dataclass(frozen=True, slots=True)
class TextForm:
    """A format of text, and how its lines are put together."""

    format: str
    """csv or jsonl."""
    safe: bool
    """Whether a spreadsheet that opens the CSV must run nothing of it."""

    @property
    def is_csv(self) -> bool:
        """Whether the lines are those of a CSV file."""
        return self.format == "csv"

    @property
    def line(self) -> str:
        """The column of a line in the SELECT of lines."""
        return "_line" if self.is_csv else "line"

    def text(self, name: str, column: str) -> str:
        """Return a text as arguments of concat: a member or a cell, with the comma before it.

        column: its SQL, which is never null, but for a cell.
        """
        if self.is_csv:
            return f"',', {csv_cell(column, safe=self.safe)}"
        return f"{_label(name)}, {column if name == 'value' else _json(column)}"

    def number(self, name: str, column: str) -> str:
        """Return a whole number, which is never null, as such arguments."""
        return f"',', {column}" if self.is_csv else f"{_label(name)}, {column}"

    @property
    def head(self) -> str:
        """The SQL of what each line of a row begins with."""
        environment = environment_name()
        if self.is_csv:
            return f"concat(mpid, ',', {environment})"
        return f"""concat('{{"mpid":"', mpid, '","environment":"', {environment}, '"')"""

    @property
    def origin(self) -> list[str]:
        """The SQL of the parts of an origin that its rows have in common."""
        is_line = "unit = 'line'"
        if self.is_csv:
            before, after = f"if({is_line}, ',', ',,')", f"if({is_line}, ',', '')"
        else:
            before, after = f"""if({is_line}, ',"line":', ',"row":')""", "'}'"
        file = f"{self.number('import', 'import')}, {self.text('file', 'file')}, {before}"
        return [
            f"concat({self.text('source', 'source')}) as source_text",
            f"concat({file}) as file_text",
            f"{after} || chr(10) as end_text",
        ]

    def tail(self, time: str) -> str:
        """Return the SQL of what each line of a row ends with; time: the name of its time."""
        at_ms = self.number(time, "at_ms")
        return f"concat({at_ms}, source_text, feed_text, file_text, arrival + shift, end_text)"


@dataclass(frozen=True, slots=True)
class LongTexts:
    """The lines of a long form, as texts of one profile each."""

    profiles: Profiles
    """The read model."""
    names: Sequence[str]
    """The columns of the form: IDENTITIES or ATTRIBUTES."""
    form: TextForm
    """The format."""
    order: str
    """What the lines are sorted by."""
    lines: Callable[[str], str]
    """From a condition on profiles to the SELECT of lines, one by one."""

    @property
    def is_quick(self) -> bool:
        """Whether rows can be read as they are: what counts depends on nothing else."""
        return are_as_stored(self.profiles) and len(self._cells) <= MOST_CELLS

    @property
    def _is_identities(self) -> bool:
        return self.names == IDENTITIES

    @property
    def _cells(self) -> list[str]:
        """The identity types, or the attributes, in the order of their lines."""
        names = self.profiles.identities if self._is_identities else stored_keys(self.profiles)
        if self.form.is_csv:
            return sorted(names)
        return sorted(names, key=lambda name: json.dumps(name, ensure_ascii=False))

    def select(self, condition: str) -> str:
        """Return the SELECT of _profile, _mpid, text and rows: how many lines the text has."""
        return apart(condition, self._of_single_rows, self._of_others)

    def _of_others(self, condition: str) -> str:
        columns = f"{self.form.line} || chr(10)"
        statement = TEXTS_OF_OTHERS.format(columns=columns, order=self.order)
        return reading(statement, exported=self.lines(condition))

    def _of_single_rows(self, condition: str) -> str:
        """Return the SELECT of the profiles with one row."""
        cells = self._cells
        identities, keys = (cells, []) if self._is_identities else ([], cells)
        columns = [f"i_{kind}" for kind in identities] + [f"b{n}" for n in range(len(keys))]
        stored = known_rows(self.profiles.segments, identities, keys, where=condition)
        form, time = self.form, self.names[-1]
        placed = reading(
            PLACED_ROWS,
            stored_row=stored,
            origin=ORIGIN_TEXTS.format(columns=", ".join(form.origin)),
            feed=FEED_TEXTS.format(columns=f"concat({form.text('feed', 'name')})"),
        )
        headed = [f"{form.head} as head", f"{form.tail(time)} as tail", *columns]
        there = [
            f"{column} is not null" if self._is_identities else f"{column} <> {DELETED}"
            for column in columns
        ]
        lines = [
            f"case when {is_there} then concat(head, {self._middle(name, column)}, tail) end"
            for name, column, is_there in zip(cells, columns, there, strict=True)
        ]
        text = f"concat({', '.join(lines)}) as text" if lines else "'' as text"
        rows = " + ".join(f"ifnull(({is_there})::bigint, 0)" for is_there in there) or "0::bigint"
        return reading(
            TEXTS.format(columns=f"{text}, {rows} as rows"),
            headed=reading(HEADED.format(columns=", ".join(headed)), placed=placed),
        )

    def _middle(self, name: str, column: str) -> str:
        """Return what a line has of a value, between what all lines of a row have."""
        is_csv, name = self.form.is_csv, quote_text(name)
        if self._is_identities:
            columns = {"type": name, "value": column if is_csv else _json(column)}
        else:
            value = held_as_cell(column) if is_csv else held_as_json(column)
            kind = ATTRIBUTE_TYPE.format(held=column)
            columns = {"attribute": name, "value": value, "type": kind}
        return ", ".join(self.form.text(*item) for item in columns.items())


def _label(name: str) -> str:
    """Return the SQL of what stands before the value of a member."""
    return f"""',"{name}":'"""


def _json(text: str) -> str:
    """Return the SQL of a text as JSON."""
    return f"to_json({text})::varchar"
