"""The attributes of a file with columns -> staged columns, and rows for those without a column.

A file may have thousands of columns. The first attributes become columns of the staged relation, up
to staged.WIDE; the others are laid end to end, one row a value. The number of attributes of a batch
is limited: the cut is where those of a row end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.importing.stage.cells import (
    FILLED,
    LISTED,
    Cell,
    CellRows,
    is_string,
    listed,
    string_held,
    string_over,
)
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch_fields import is_unknown_reserved
from profilectl.rules.sql.quoting import quote_text

# The effect of an empty cell on its attribute (design.md R6).
EMPTY_CELL = {"ignore": None, "delete": "chr(31)", "set": "''"}

# The places of the columns that a row has a value in, in order.
FILLED_PLACES = SqlTemplate("list_where(range({columns})::usmallint[], [{filled}])")

# The places from one to another, as rows.
PLACES_BETWEEN = SqlTemplate("unnest(range({begin}, {end}))")
# The places behind the first that fit, as rows.
PLACES_BEYOND = SqlTemplate("unnest({places}[{most} + 1:])")

# The rows with more attributes than a batch may have, and the place of the first that is left out.
CUT = SqlTemplate("""
select row, cut
from (
  select {seq} as row, {places}[{most} + 1]::integer as cut
  from {cells}
)
where cut is not null
""")
# How many rows are cut, where at the earliest and at the latest, and how many rows there are.
CUTS = SqlTemplate("""
select count(*), min(cut), max(cut), (select count(*) from {cells})
from {cut}
""")
# Whether a row has the column at a place; a row without a cut has all.
HAS_PLACE = SqlTemplate("coalesce(cut > {place}, true)")
# The rows of the file, with the cut of those that have one.
WITH_CUT = SqlTemplate("{cells} left join {cut} as ends on ends.row = {cells}.{seq}")

# A value under a condition.
VALUE_IF = SqlTemplate("case when {condition} then {value} end")
# A value, or the effect of an empty cell.
VALUE_OR_EMPTY = SqlTemplate("case when {text} is null then {empty} else {value} end")

# The attributes of each row that a batch has no room for.
BEYOND_CUT = SqlTemplate("""
select seq, 'UA_TOO_MANY' as code, key as attribute
from (
  select {seq} as seq, {places} as place
  from {cells}
)
join {cells}_key using (place)
""")

# The values of an attribute with a column that break a limit.
OVER_LIMIT = SqlTemplate("""
select seq, code, {attribute} as attribute
from (
  select {cells}.{seq} as seq, {code} as code
  from {rows}
  where {text} is not null and {spared}
)
where code is not null
""")

# The rows that set an attribute of which something is worth knowing.
SETTING = SqlTemplate("""
select seq, '{code}' as code, {attribute} as attribute
from (
  select {cells}.{seq} as seq, {held} as held, {deleted} as deleted
  from {rows}
)
where held <> chr(31){condition}
""")

# The same, of attributes without a column.
LOOSE_RESERVED = SqlTemplate("""
select seq, 'UA_RESERVED_UNKNOWN' as code, key as attribute
from {cells}_long
join {cells}_key using (place)
where code is null and held <> chr(31) and key in ({keys})
""")
# An attribute that a row both sets and deletes by name.
LOOSE_SET_AND_DELETED = SqlTemplate("""
select seq, 'UA_SET_AND_DELETED' as code, key as attribute
from {cells}_long
join {cells}_key using (place)
join (
  select {seq} as seq, unnest({deleted}) as key
  from {cells}
) using (seq, key)
where code is null and held <> chr(31)
""")

# Values of some columns, laid end to end. To delete is not to have: an empty cell that deletes
# does not count to the limit.
LAY = SqlTemplate("""
insert into {cells}_long
select seq, place, held, code
from (
  select seq, place,
         case when {stays} then {held} end as held,
         case when {spared} then {code} end as code
  from (
    select {cells}.{seq} as seq, {cut} as cut, unnest({places}) as place, {values}
    from {rows}
  )
)
where held is not null or code is not null
""")
# The values of columns of strings, as rows.
STRINGS = SqlTemplate("unnest([{texts}]) as value")
# The values of other columns, as rows, each with the code of the limit it breaks.
TYPED_VALUES = SqlTemplate(
    "unnest([{values}]::varchar[]) as value, unnest([{codes}]::varchar[]) as code"
)
# The values without a column that break a limit.
LOOSE_OVER = SqlTemplate("""
select seq, code, key as attribute
from {cells}_long
join {cells}_key using (place)
where code is not null
""")
# The values without a column that are staged.
LOOSE = SqlTemplate("""
select seq, key, held as value
from {cells}_long
join {cells}_key using (place)
where code is null
""")
# The names that a row deletes; each distinct cell was read once.
DELETED_BY_ROW = SqlTemplate("(select keys from {deleted} where {deleted}.cell = {text})")
# The longest string of each column.
LONGEST = SqlTemplate("select {columns} from {cells}")
_LONG = [("seq", "BIGINT"), ("place", "BIGINT"), ("held", "VARCHAR"), ("code", "VARCHAR")]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the attributes of each row of a wide file end: at the first column that is left out."""

    begin: int
    """Every row has the columns before this place."""
    end: int
    """No row has a column from this place on."""
    relation: str | None = None
    """(row, cut) of the rows that end; None where all end at the same place, or none does."""
    skips: tuple[str, ...] = ()
    """The SELECT of the attributes that are left out."""
    notices: tuple[str, ...] = ()
    """Notices of it for a person."""

    def spares(self, place: int) -> str | None:
        """Return the condition that a row has the column at a place; None where every row has."""
        if place < self.begin:
            return None
        return "false" if place >= self.end else HAS_PLACE(place=place)


@dataclass(frozen=True, slots=True)
class DeletedNames:
    """The attributes that the rows of a file delete by name."""

    relation: str
    """The relation (cell, keys, detail) of each distinct cell: its names, or what is wrong."""
    text: str
    """The SQL of the cell."""
    keys: frozenset[str]
    """Every name."""

    @property
    def sql(self) -> str:
        """Return the SQL of the names that a row deletes."""
        return DELETED_BY_ROW(deleted=self.relation, text=self.text)


class LooseText(NamedTuple):
    """A column of strings that has no column among the staged ones."""

    place: int
    """Its place among the attributes."""
    text: str
    """The SQL of its text."""


class LooseValue(NamedTuple):
    """A column of other values that has no column among the staged ones."""

    place: int
    """Its place among the attributes."""
    value: str
    """The SQL of its value."""
    code: str
    """The SQL of the code of the limit it breaks."""


@dataclass(slots=True)
class StagedAttributes:
    """The attributes of a file, staged."""

    columns: dict[str, str]
    """The SQL of each attribute with a column, by the column."""
    rows: str
    """The relation that these columns are selected from."""
    loose: str | None
    """The relation (seq, key, value) of the attributes without a column; None: there are none."""
    skips: list[str]
    """SELECTs of (seq, code, attribute): values left out, and remarks."""
    notices: list[str]
    """Notices for a person."""


def stage_attributes(
    rows: CellRows, cells: Sequence[Cell], deleted: DeletedNames | None
) -> StagedAttributes:
    """Stage the attributes of a file; make the relations of those without a column."""
    cut = _cut(rows, cells)
    # A column behind the cut of every row is staged only for its empty cells, if these delete.
    spared_cells = [
        (place, cell)
        for place, cell in enumerate(cells)
        if rows.empty == "delete" or cut.spares(place) != "false"
    ]
    strings = [cell for place, cell in enumerate(cells) if cut.spares(place) != "false"]
    strings = [cell for cell in strings if is_string(cell, rows.reading.limits["value"])]
    harmless = _within_limit(rows, strings)
    columns: dict[str, str] = {}
    skips = list(cut.skips)
    loose: list[tuple[int, Cell]] = []
    for place, cell in spared_cells:
        over = None if cell.text in harmless else cell.over
        column = _column_of(rows, cell)
        if column is None:
            loose.append((place, cell))
            continue
        if over:
            skips.append(_over_limit(rows, cell, over, cut=cut, place=place))
        columns[column] = _wide(rows, cell, over, spared=cut.spares(place))
        skips += _remarks(rows, cut, cell.field.name, held=columns[column], deleted=deleted)
    if loose:
        spoiled = len(harmless) < len(strings)
        skips += _lay_loose(rows, cells, loose, cut=cut, harmless=harmless, spoiled=spoiled)
        skips += _loose_remarks(rows, [cell.field.name for cell in cells], deleted)
        rows.scratch.make(f"{rows.relation}_loose", LOOSE(cells=rows.relation), keep=False)
    return StagedAttributes(
        columns=columns,
        rows=_rows_with_cut(rows, cut),
        loose=f"{rows.relation}_loose" if loose else None,
        skips=skips,
        notices=list(cut.notices),
    )


def _column_of(rows: CellRows, cell: Cell) -> str | None:
    """Return the staged column of an attribute, made on first use; None where it has none."""
    key = cell.field.name
    return rows.keys.column(key) if len(key) <= rows.reading.limits["key"] else None


def _rows_with_cut(rows: CellRows, cut: Cut) -> str:
    """Return the rows of the file, with `cut` where it differs from row to row."""
    if not cut.relation:
        return rows.relation
    return WITH_CUT(cells=rows.relation, seq=rows.seq, cut=cut.relation)


# Where the attributes of a row end


def _cut(rows: CellRows, cells: Sequence[Cell]) -> Cut:
    """Find where the attributes of each row end: a batch has as many as fit, the first filled."""
    most, size = rows.reading.limits["attributes"], len(cells)
    if size <= most:
        return Cut(size, size)
    if rows.empty == "set":
        # An empty cell is a value too, so every row ends at the same place.
        skips = _beyond(rows, PLACES_BETWEEN(begin=most, end=size), cells)
        return Cut(most, most, skips=skips, notices=_too_many(cells, most))
    filled = listed([FILLED(text=cell.text) for cell in cells])
    places = FILLED_PLACES(columns=size, filled=filled)
    relation = f"{rows.relation}_cut"
    rows.scratch.make(relation, CUT(seq=rows.seq, places=places, most=most, cells=rows.relation))
    cut_rows, begin, end, count = rows.scratch.row(CUTS(cells=rows.relation, cut=relation))
    if not cut_rows:
        return Cut(size, size)
    if cut_rows < count:
        end = size
    return Cut(
        begin,
        end,
        relation=None if begin == end else relation,
        skips=_beyond(rows, PLACES_BEYOND(places=places, most=most), cells),
        notices=_too_many(cells, most),
    )


def _beyond(rows: CellRows, places: str, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the SELECT of the attributes left out of rows. places: the SQL of a place a row."""
    _name_places(rows, cells)
    return (BEYOND_CUT(seq=rows.seq, places=places, cells=rows.relation),)


def _too_many(cells: Sequence[Cell], most: int) -> tuple[str, ...]:
    notice = (
        f"{len(cells):,} columns are attributes, and a batch has at most {most:,}: of each row the"
        f" first {most:,} that are filled are taken, in the order of the columns; the columns after"
        f" {cells[most - 1].field.name!r} may be left out (UA_TOO_MANY)"
    )
    return (notice,)


def _name_places(rows: CellRows, cells: Sequence[Cell]) -> None:
    """Make the relation of the key of each place."""
    names = [(place, cell.field.name) for place, cell in enumerate(cells)]
    rows.scratch.load(f"{rows.relation}_key", [("place", "BIGINT"), ("key", "VARCHAR")], names)


# Attributes with a column


def _within_limit(rows: CellRows, cells: Sequence[Cell]) -> set[str]:
    """Return the texts of the columns in which no string is over the limit.

    All columns are looked at together, so that most need no test for each row.
    """
    most = rows.reading.limits["value"]
    harmless = {cell.text for cell in cells if rows.longest.get(cell.text, most + 1) <= most}
    looked_at = [cell for cell in cells if cell.text not in rows.longest]
    for start in range(0, len(looked_at), LISTED):
        stretch = looked_at[start : start + LISTED]
        columns = listed([f"max(strlen({cell.text}))" for cell in stretch])
        sizes = rows.scratch.row(LONGEST(columns=columns, cells=rows.relation))
        harmless |= {
            cell.text for cell, size in zip(stretch, sizes, strict=True) if (size or 0) <= most
        }
    return harmless


def _over_limit(rows: CellRows, cell: Cell, over: str, *, cut: Cut, place: int) -> str:
    return OVER_LIMIT(
        attribute=quote_text(cell.field.name),
        cells=rows.relation,
        seq=rows.seq,
        code=over,
        rows=_rows_with_cut(rows, cut),
        text=cell.text,
        spared=cut.spares(place) or "true",
    )


def _wide(rows: CellRows, cell: Cell, over: str | None, *, spared: str | None) -> str:
    """Return the SQL of an attribute with a column: null where it breaks a limit or is cut off."""
    value = cell.held
    # To look for the mark in a million rows of eight attributes takes 0.08 s, at each reading. Only
    # the columns of the file are meant: a name in its path may have the mark all the same.
    if not rows.may_have_mark and cell.text in rows.longest:
        value = cell.text
    for condition in (over and f"{over} is null", spared):
        if condition:
            value = VALUE_IF(condition=condition, value=value)
    return _with_empty(rows, cell.text, value)


def _with_empty(rows: CellRows, text: str, value: str) -> str:
    """Return the SQL of the effect of a cell, an empty one included."""
    empty = EMPTY_CELL[rows.empty]
    return VALUE_OR_EMPTY(text=text, empty=empty, value=value) if empty else value


def _remarks(
    rows: CellRows, cut: Cut, key: str, *, held: str, deleted: DeletedNames | None
) -> list[str]:
    """Return the SELECTs of remarks on the rows that set an attribute."""
    attribute = quote_text(key)
    names = deleted.sql if deleted and key in deleted.keys else None
    # The code, and what else a row must meet besides setting the attribute.
    remarks = {
        "UA_RESERVED_UNKNOWN": "" if is_unknown_reserved(key) else None,
        "UA_SET_AND_DELETED": names and f" and list_contains(deleted, {attribute})",
    }
    return [
        SETTING(
            code=code,
            attribute=attribute,
            cells=rows.relation,
            seq=rows.seq,
            held=held,
            deleted=names or "null",
            rows=_rows_with_cut(rows, cut),
            condition=condition,
        )
        for code, condition in remarks.items()
        if condition is not None
    ]


# Attributes without a column


def _lay_loose(
    rows: CellRows,
    cells: Sequence[Cell],
    loose: Sequence[tuple[int, Cell]],
    cut: Cut,
    harmless: set[str],
    *,
    spoiled: bool,
) -> list[str]:
    """Lay the attributes without a column end to end; return the SELECT of values over a limit.

    spoiled: a string may be too long.
    """
    most = rows.reading.limits["value"]
    _name_places(rows, cells)
    rows.scratch.load(f"{rows.relation}_long", _LONG, [])
    texts, values = _parted(rows, loose, harmless)
    over = string_over("value", most) if spoiled else "null"
    held = _with_empty(rows, "value", string_held("value"))
    for start in range(0, len(texts), LISTED):
        stretch = texts[start : start + LISTED]
        places = [column.place for column in stretch]
        strings = STRINGS(texts=listed([column.text for column in stretch]))
        _lay(rows, cut, places, values=strings, held=held, code=over, deletes="value is null")
    for start in range(0, len(values), LISTED):
        typed = values[start : start + LISTED]
        unnested = TYPED_VALUES(
            values=listed([column.value for column in typed]),
            codes=listed([column.code for column in typed]),
        )
        places = [column.place for column in typed]
        _lay(
            rows, cut, places, values=unnested, held="value", code="code", deletes="value = chr(31)"
        )
    return [LOOSE_OVER(cells=rows.relation)]


def _parted(
    rows: CellRows, loose: Sequence[tuple[int, Cell]], harmless: set[str]
) -> tuple[list[LooseText], list[LooseValue]]:
    """Part the columns into those of strings, which are read alike, and all others."""
    limits = rows.reading.limits
    texts: list[LooseText] = []
    values: list[LooseValue] = []
    for place, cell in loose:
        if len(cell.field.name) > limits["key"]:
            filled = "true" if rows.empty == "set" else FILLED(text=cell.text)
            too_long = VALUE_IF(condition=filled, value="'UA_KEY_TOO_LONG'")
            values.append(LooseValue(place, "null", too_long))
        elif is_string(cell, limits["value"]):
            texts.append(LooseText(place, cell.text))
        else:
            over = None if cell.text in harmless else cell.over
            value = _with_empty(rows, cell.text, cell.held)
            values.append(LooseValue(place, value, over or "null"))
    return texts, values


def _lay(
    rows: CellRows,
    cut: Cut,
    places: list[int],
    values: str,
    *,
    held: str,
    code: str,
    deletes: str,
) -> None:
    """Add the values of some columns to the relation of those laid end to end.

    deletes: the condition of an empty cell.
    """
    spared = HAS_PLACE(place="place")
    statement = LAY(
        cells=rows.relation,
        stays=f"({spared} or {deletes})" if rows.empty == "delete" else spared,
        held=held,
        spared=spared,
        code=code,
        seq=rows.seq,
        cut="cut" if cut.relation else cut.end,
        places=places,
        values=values,
        rows=_rows_with_cut(rows, cut),
    )
    rows.scratch.run(statement, step=f"{rows.relation}_long {places[0]}")


def _loose_remarks(rows: CellRows, keys: Sequence[str], deleted: DeletedNames | None) -> list[str]:
    """Return the SELECTs of remarks on attributes without a column."""
    remarks = []
    unknown = listed([quote_text(key) for key in keys if is_unknown_reserved(key)])
    if unknown:
        remarks.append(LOOSE_RESERVED(cells=rows.relation, keys=unknown))
    if deleted and deleted.keys.intersection(keys):
        remarks.append(
            LOOSE_SET_AND_DELETED(cells=rows.relation, seq=rows.seq, deleted=deleted.sql)
        )
    return remarks
