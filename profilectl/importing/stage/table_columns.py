"""The cells of a CSV file, and the values of a Parquet file -> staged columns.

Each column's meaning is known (columns.py). Here it becomes the expression of a staged column, the
SELECTs of the rows it spoils, and of the values that break a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from profilectl.codes import InputRefused
from profilectl.importing.stage.attribute_cells import DeletedNames, stage_attributes
from profilectl.importing.stage.cells import (
    FILLED,
    LONG_SQL,
    Cell,
    CellRows,
    any_filled,
    check_nested,
    listed,
)
from profilectl.importing.stage.events.event_cells import EventCells
from profilectl.importing.stage.member_cells import member_fault
from profilectl.importing.stage.nested import clash, members_sql, object_sql, tree_of, value_sql
from profilectl.importing.stage.staged import StagedFile
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import deleted_keys
from profilectl.rules.batch_fields import TYPED_FIELDS
from profilectl.rules.batch_members import is_boolean
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import code_of, trimmed, usable_key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import whole_number

PLAIN_COLUMNS = {
    "mpid": "mpid",
    "timestamp_unixtime_ms": "at_ms",
    "environment": "environment",
    "source_request_id": "request",
    "deleted_user_attributes": "deleted",
}
"""The staged column of each plain field."""
_DELETED = [("cell", "VARCHAR"), ("keys", "VARCHAR[]"), ("detail", "VARCHAR")]

# The staged rows of the file.
STAGED_ROWS = SqlTemplate("""
select {columns}
from {rows}
""")

# The rows whose batch has a fault, which the expression says.
BATCH_INVALID = SqlTemplate("""
select seq, 'BATCH_INVALID' as code, detail
from (
  select {seq} as seq, {fault} as detail
  from {cells}
)
where detail is not null
""")

# A code once for each of the conditions that a row meets.
SKIPPED_EACH = SqlTemplate("""
select seq, '{code}' as code, null as attribute
from (
  select {seq} as seq, unnest(list_filter([{conditions}], lambda is_met: is_met)) as is_met
  from {cells}
)
""")

# The keys of a row in several columns of one identity type.
KEYS_OF_TYPE = SqlTemplate("list_transform([{texts}], lambda text: {key})")
# Whether the columns say different identities.
SEVERAL_KEYS = SqlTemplate("len(list_distinct({keys})) > 1")
# The text of the first that may be used, else of the first that is filled.
USABLE_TEXT = SqlTemplate(
    "coalesce(list_filter([{texts}], lambda text: {key} is not null)[1], {texts})"
)
# The identities among them that are nobody's.
NOBODYS = SqlTemplate("""
select seq, code, null as attribute
from (
  select {seq} as seq, unnest(list_transform([{texts}], lambda text: {code})) as code
  from {cells}
)
where code is not null
""")

# Each text of a column once.
DISTINCT_CELLS = SqlTemplate("select distinct {text} from {cells} where {text} is not null")
# The rows whose cell names no attributes to delete.
DELETED_INVALID = SqlTemplate("""
select {cells}.{seq} as seq, 'DELETED_INVALID' as code, {deleted}.detail
from {cells}
join {deleted} on {deleted}.cell = {text}
where {deleted}.keys is null
""")

# A long expression, computed once.
WRITTEN_DOWN = SqlTemplate("select {seq} as row, {value} as value from {cells}")
# Events that were written down.
ALL_OF = SqlTemplate("select * from {relation}")
# The value of a row that was written down.
READ_BACK = SqlTemplate("(select value from {table} where row = {cells}.{seq})")
# The identity of a device beside what is stated of the device.
DEVICE_IDENTITY = SqlTemplate("case when {filled} then to_json(coalesce({texts}))::varchar end")
# A cell that is filled and no whole number.
NO_NUMBER = SqlTemplate("{text} <> '' and {number} is null")
# The same, or 0, which is no MPID (domain.md 2.3).
NO_NUMBER_OR_ZERO = SqlTemplate("{text} <> '' and ({number} is null or {number} = 0)")


@dataclass(slots=True)
class KeptFields:
    """The columns of fields that are kept for later work: consents, devices and the like."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    """The dotted name of each, and the SQL of its text."""
    json: set[str] = field(default_factory=set)
    """The names of which the text is JSON."""
    undefined: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """The texts of consents to a purpose that is not defined, by regulation and purpose."""


@dataclass(slots=True)
class StagedEvents:
    """The events of a file with columns."""

    selects: list[str] = field(default_factory=list)
    """SELECTs in the shape of staged.EVENT."""
    rejects: list[str] = field(default_factory=list)
    """SELECTs of (seq, code, detail)."""
    skips: list[str] = field(default_factory=list)
    """SELECTs of (seq, code, attribute)."""


def stage_table(
    rows: CellRows, cells: Sequence[Cell], file: StagedFile, not_people: Sequence[str] = ()
) -> StagedFile:
    """Return a file with the SELECTs of its rows, and of those that cannot be used.

    not_people: SELECTs of (seq, code, detail), rows that are rejected before all others. Raises
    InputRefused where columns contradict one another.
    """
    deleted = _deleted_names(rows, cells)
    identities = _identity_texts(cells)
    kept_fields = _kept_fields(rows, cells)
    events = _stage_events(rows, _of_kind(cells, "event"))
    attributes = stage_attributes(rows, _of_kind(cells, "attribute"), deleted)
    plain = {
        PLAIN_COLUMNS[cell.field.name]: _plain(cell, deleted) for cell in _of_kind(cells, "plain")
    }
    if kept_fields.columns:
        plain["rest"] = _written(rows, "rest", _kept_object(kept_fields, identities))
    columns = {
        "seq": f"{rows.relation}.{rows.seq}",
        **plain,
        **{f"i_{name}": _identity(rows, name, texts) for name, texts in identities.items()},
        **attributes.columns,
    }
    several = {name: texts for name, texts in identities.items() if len(texts) > 1}
    return replace(
        file,
        select=_select(columns, attributes.rows),
        plain=list(plain),
        identities=list(identities),
        columns=list(attributes.columns),
        loose=attributes.loose,
        events=events.selects,
        rejects=[
            *not_people,
            *(select for cell in cells for select in _cell_rejects(rows, cell, deleted)),
            *_member_rejects(rows, kept_fields),
            *events.rejects,
            *(_contradicting(rows, name, texts) for name, texts in several.items()),
        ],
        skips=[
            *_unknown_identities(rows, cells),
            *_undefined_purposes(rows, kept_fields),
            *events.skips,
            *attributes.skips,
            *(_nobodys(rows, name, texts) for name, texts in several.items()),
        ],
        notices=[*file.notices, *(f"{file.name}: {notice}" for notice in attributes.notices)],
    )


def _select(columns: dict[str, str], rows: str) -> str:
    named = [f"{expression} as {name}" for name, expression in columns.items()]
    return STAGED_ROWS(columns=listed(named), rows=rows)


def _of_kind(cells: Sequence[Cell], kind: str) -> list[Cell]:
    return [cell for cell in cells if cell.field.kind == kind]


def _invalid(rows: CellRows, fault: str) -> str:
    """Return the SELECT of the rows of whose batch an expression says what is wrong."""
    return BATCH_INVALID(seq=rows.seq, fault=fault, cells=rows.relation)


def _cell_rejects(rows: CellRows, cell: Cell, deleted: DeletedNames | None) -> list[str]:
    """Return the SELECTs of the rows that a cell makes unusable."""
    rejects = [rows.rejected(fault.code, fault.condition, fault.detail) for fault in cell.faults]
    if cell.field.kind != "plain":
        return rejects
    text, shown = cell.text, f"{cell.text}[:40]"
    match cell.field.name:
        case "mpid":
            rejects.append(rows.rejected("MPID_INVALID", _no_number(text, zero=True), shown))
        case "timestamp_unixtime_ms":
            rejects.append(rows.rejected("TIMESTAMP_INVALID", _no_number(text, zero=False), shown))
        case "environment":
            strange = f"{text} not in ('', 'production', 'development')"
            rejects.append(rows.rejected("ENVIRONMENT_INVALID", strange, shown))
        case "deleted_user_attributes" if deleted:
            rejects.append(
                DELETED_INVALID(
                    cells=rows.relation, seq=rows.seq, deleted=deleted.relation, text=text
                )
            )
    return rejects


# Plain fields


def _no_number(text: str, *, zero: bool) -> str:
    """Return the condition that a cell is filled and no whole number. zero: 0 is none either."""
    condition = NO_NUMBER_OR_ZERO if zero else NO_NUMBER
    return condition(text=text, number=whole_number(trimmed(text)))


def _plain(cell: Cell, deleted: DeletedNames | None) -> str:
    """Return the SQL of a plain field."""
    if cell.field.name in ("mpid", "timestamp_unixtime_ms"):
        return whole_number(trimmed(cell.text))
    if cell.field.name == "deleted_user_attributes" and deleted:
        return deleted.sql
    return f"nullif({cell.text}, '')"


def _deleted_names(rows: CellRows, cells: Sequence[Cell]) -> DeletedNames | None:
    """Read the cells that name attributes to delete: one name, or a JSON list of names.

    Each distinct cell is read once, in Python. None: there is no such column.
    """
    for cell in _of_kind(cells, "plain"):
        if cell.field.name != "deleted_user_attributes":
            continue
        names: list[tuple[str, list[str] | None, str]] = []
        texts = rows.scratch.rows(DISTINCT_CELLS(text=cell.text, cells=rows.relation))
        for (text,) in texts:
            try:
                names.append((text, list(deleted_keys(text)), ""))
            except UnusableRow as error:
                names.append((text, None, error.detail))
        relation = f"{rows.relation}_deleted"
        rows.scratch.load(relation, _DELETED, names)
        keys = frozenset(key for _, keys, _ in names for key in keys or ())
        return DeletedNames(relation, cell.text, keys)
    return None


# Identities


def _identity_texts(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Return the texts of the columns of each identity type."""
    texts: dict[str, list[str]] = {}
    for cell in _of_kind(cells, "identity"):
        texts.setdefault(cell.field.name, []).append(cell.text)
    return texts


def _identity(rows: CellRows, name: str, texts: Sequence[str]) -> str:
    """Return the SQL of an identity as stated."""
    if len(texts) == 1:
        return texts[0]
    return USABLE_TEXT(texts=listed(texts), key=_key(rows, name))


def _key(rows: CellRows, name: str) -> str:
    return usable_key(BY_NAME[name], "text", rows.reading.judging)


def _contradicting(rows: CellRows, name: str, texts: Sequence[str]) -> str:
    """Return the SELECT of the rows whose columns of one identity type say different ones."""
    keys = KEYS_OF_TYPE(texts=listed(texts), key=_key(rows, name))
    return rows.rejected("IDENTITY_DUPLICATE_TYPE", SEVERAL_KEYS(keys=keys), quote_text(name))


def _nobodys(rows: CellRows, name: str, texts: Sequence[str]) -> str:
    """Return the SELECT of the identities that are nobody's, of several columns of a type."""
    code = code_of(BY_NAME[name], "text", rows.reading.judging)
    return NOBODYS(seq=rows.seq, texts=listed(texts), code=code, cells=rows.relation)


def _unknown_identities(rows: CellRows, cells: Sequence[Cell]) -> list[str]:
    texts = [cell.text for cell in _of_kind(cells, "unknown identity")]
    conditions = [FILLED(text=text) for text in texts]
    if not conditions:
        return []
    return [
        SKIPPED_EACH(
            code="IDENTITY_UNKNOWN_TYPE",
            seq=rows.seq,
            conditions=listed(conditions),
            cells=rows.relation,
        )
    ]


# Events


def _stage_events(rows: CellRows, cells: Sequence[Cell]) -> StagedEvents:
    """Return the events of the columns. Raises InputRefused where they contradict one another."""
    if not cells:
        return StagedEvents()
    check_nested(len(cells), "events")
    texts = {cell.field.name.removeprefix("events."): cell.text for cell in cells}
    event = EventCells(texts, rows.event_type)
    paths = event.clash()
    if paths:
        _refuse_clash(f"events.{paths[0]}", f"events.{paths[1]}")
    over = rows.skipped("EVENT_OVER_LIMIT", f"{event.filled()} and {event.over()}")
    select = event.select(rows.seq, rows.relation)
    if len(select) > LONG_SQL:
        rows.scratch.make(f"{rows.relation}_cells", select)
        select = ALL_OF(relation=f"{rows.relation}_cells")
    return StagedEvents([select], [_invalid(rows, event.fault())], [over])


def _refuse_clash(value: str, part: str) -> None:
    raise InputRefused(
        f"the column {value} is a value, and {part} is a part of it", "map or ignore one of them"
    )


# Fields kept for later work


def _kept_fields(rows: CellRows, cells: Sequence[Cell]) -> KeptFields:
    """Gather the columns of fields that are kept; consents to undefined purposes are left out."""
    fields = KeptFields()
    for cell in _of_kind(cells, "kept"):
        root, *steps = cell.field.name.split(".")
        is_consent = root == "consent_state" and len(steps) > 1
        if is_consent and not rows.reading.defines(steps[0], steps[1]):
            fields.undefined.setdefault((steps[0], steps[1]), []).append(cell.text)
        else:
            fields.columns.append((cell.field.name, cell.text))
            if cell.json:
                fields.json.add(cell.field.name)
    return fields


def _undefined_purposes(rows: CellRows, fields: KeptFields) -> list[str]:
    return [
        rows.skipped("CONSENT_PURPOSE_UNDEFINED", any_filled(texts), ".".join(purpose))
        for purpose, texts in fields.undefined.items()
    ]


def _member_rejects(rows: CellRows, fields: KeptFields) -> list[str]:
    fault = member_fault(fields.columns, fields.json)
    return [_invalid(rows, fault)] if fault else []


def _kept_object(fields: KeptFields, identities: dict[str, list[str]]) -> str:
    """Return the SQL of the JSON object of the fields that are kept."""
    check_nested(len(fields.columns), fields.columns[0][0].partition(".")[0])
    columns = {
        tuple(name.split(".")): text
        if name in fields.json and not is_boolean(name)
        else value_sql(text, typed=name.endswith(TYPED_FIELDS), boolean=is_boolean(name))
        for name, text in fields.columns
    }
    paths = clash(list(columns))
    if paths:
        _refuse_clash(".".join(paths[0]), ".".join(paths[1]))
    device = [text for name, text in fields.columns if name.startswith("device_info.")]
    for name, texts in identities.items() if device else ():
        # What is stated of a device stays with the identity that names it.
        if BY_NAME[name].device:
            path = (name,) if name == "mp_deviceid" else ("device_info", name)
            columns[path] = DEVICE_IDENTITY(filled=any_filled(device), texts=listed(texts))
    return object_sql(members_sql(tree_of(columns)))


def _written(rows: CellRows, name: str, sql: str) -> str:
    """Return the SQL of a value of each row.

    A long expression is written down once: to plan it again and again costs more.
    """
    if len(sql) < LONG_SQL:
        return sql
    table = f"{rows.relation}_{name}"
    rows.scratch.make(table, WRITTEN_DOWN(seq=rows.seq, value=sql, cells=rows.relation))
    return READ_BACK(table=table, cells=rows.relation, seq=rows.seq)
