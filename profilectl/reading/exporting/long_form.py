"""The long forms of an export: a row for each identity, or for each attribute, of a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from profilectl.profiles.read_model import Profiles
from profilectl.rules.sql.held_values import held_as_cell, held_as_json
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.segments import FILES_WITH_ROWS, both, known_mpids
from profilectl.store.statements import reading, union

IDENTITIES = ("mpid", "environment", "type", "value", "since_ms")
ATTRIBUTES = ("mpid", "environment", "attribute", "value", "type", "set_ms")
ORIGIN = ("source", "feed", "import", "file", "line", "row")
"""The columns that say where a value came from; both forms end with these."""
NUMBERS = ("since_ms", "set_ms", "import", "line", "row")
"""The columns that are whole numbers."""
TEXTS = ("mpid", "environment", "type", "attribute", "source", "feed", "file")
"""The columns that are texts of their own; the value is JSON already."""

# Where rows came from: from each arrival at which a file or a run of lines begins, to the next. A
# file without rows begins where the next one does, and is left out.
ORIGINS = """
select start.first_arrival, import.source, import.number as import, file.path as file, file.unit,
       run.first_line - run.first_arrival as shift
from (
    select first_arrival from file_in_force
    union
    select first_arrival from store.line_run
) as start
asof join file_in_force as file
    on start.first_arrival >= file.first_arrival
asof join store.line_run as run on start.first_arrival >= run.first_arrival
join store.import as import on import.number = file.import
order by start.first_arrival
"""
# The values with the places that they came from. A calculated one came from no row: it has no
# arrival.
PLACED = """
select value_row.*, origin.source, feed.name as feed, origin.import, origin.file,
       case when origin.unit = 'line' then value_row.arrival + origin.shift end as line,
       case when origin.unit <> 'line' then value_row.arrival + origin.shift end as row
from (select * from value_held where arrival is not null) as value_row
asof join export_origin as origin on value_row.arrival >= origin.first_arrival
join store.feed as feed on feed.number = value_row.feed_number
union all by name
select value_row.*, 'calculated' as source, null::varchar as feed, null::integer as import,
       null::varchar as file, null::bigint as line, null::bigint as row
from value_held as value_row
where arrival is null
"""
ROWS = "select {columns}, _profile, _mpid, arrival as _arrival from placed"
LINES = "select _profile, _mpid, {columns} as line from placed"

PEOPLE = "select {columns} from named"
IDENTITIES_STATED = "select * from arrived where value is not null"
NO_IDENTITIES = """
select 0 as profile, 0 as arrival, 0 as feed_number, 0 as since_ms, '' as type, '' as value
where false
"""
IDENTITY_ROWS = """
select person.*, identity.* exclude (profile), to_json(identity.value)::varchar as json_value
from identity
join person on person._profile = identity.profile
"""
# The held form tells the type (values.hold): chr(31) begins all but texts.
ATTRIBUTE_TYPE = """
case
    when not starts_with({held}, chr(31)) or starts_with({held}, chr(31) || '''') then 'text'
    when {held} = chr(31) || 'null' then 'tag'
    when starts_with({held}, chr(31) || '[') then 'list'
    when {held} in (chr(31) || 'true', chr(31) || 'false') then 'boolean'
    else 'number'
end
"""
ATTRIBUTE_ROWS = """
select person.*, cell.arrival, cell.feed as feed_number, cell.at_ms as set_ms,
       cell.key as attribute, {columns}
from cell
join person on person._profile = cell.profile
"""
STORED_CELLS = """
select profile, key, held, arrival, feed, at_ms
from newest
where key in (select key from export_key)
"""
CALCULATED_CELLS = """
select profile, name, held, null, null, null
from calculated_value
where name in (select name from export_calculated)
"""


def long_rows(columns: Sequence[str], source: str) -> str:
    """Return the SELECT of the rows of a long form."""
    typed = [
        f"{quote_identifier(name)}::{'bigint' if name in NUMBERS else 'varchar'}"
        f" as {quote_identifier(name)}"
        for name in columns
    ]
    return reading(ROWS.format(columns=", ".join(typed)), placed=reading(PLACED, value_held=source))


def long_lines(columns: Sequence[str], source: str) -> str:
    """Return the SELECT of the lines of a long form."""
    members = " || ".join(map(_member, columns))
    line = f"'{{' || ltrim({members}, ',') || '}}'"
    return reading(LINES.format(columns=line), placed=reading(PLACED, value_held=source))


def tell_origins(profiles: Profiles) -> None:
    """Make `export_origin`: where rows came from, which the statements of both forms join."""
    profiles.store.scratch.make("export_origin", reading(ORIGINS, file_in_force=FILES_WITH_ROWS))


def _member(name: str) -> str:
    """Return the SQL of a member of a line, with the comma before it; a null is no member."""
    if name == "value":
        return "',\"value\":' || json_value"
    column = quote_identifier(name)
    text = f"to_json({column})::varchar" if name in TEXTS else column
    return f"ifnull(',\"{name}\":' || {text}, '')"


def identities_source(profiles: Profiles) -> Callable[[str], str]:
    """Return the function that makes the SELECT of the identities, for a condition on profiles."""

    def source(condition: str) -> str:
        parts = [NO_IDENTITIES]
        for kind in profiles.identities:
            columns = (
                "profile, arrival, feed as feed_number, at_ms as since_ms,"
                f" {quote_text(kind)} as type, i_{kind} as value"
            )
            arrived = f"select {columns} from ({profiles.rows([], condition)})"
            parts.append(reading(IDENTITIES_STATED, arrived=arrived))
        return reading(IDENTITY_ROWS, identity=union(parts), person=_people(profiles, condition))

    return source


def attributes_source(profiles: Profiles) -> Callable[[str], str]:
    """Return the function that makes the SELECT of the attributes, for a condition on profiles."""
    values = [
        f"{held_as_cell('cell.held')} as value",
        f"{held_as_json('cell.held')} as json_value",
        f"{ATTRIBUTE_TYPE.format(held='cell.held')} as type",
    ]
    select = ATTRIBUTE_ROWS.format(columns=", ".join(values))
    return lambda condition: reading(
        select, cell=cells_of(profiles, condition), person=_people(profiles, condition)
    )


def _people(profiles: Profiles, condition: str) -> str:
    if profiles.only_seen and profiles.feeds:
        condition = both(condition, f"profile in ({profiles.seen(condition)})")
    columns = (
        "profile as _profile, mpid as _mpid, mpid::varchar as mpid,"
        f" {environment_name()} as environment"
    )
    named = f"select * from ({known_mpids(profiles.segments)}) {condition}"
    return reading(PEOPLE.format(columns=columns), named=named)


def cells_of(profiles: Profiles, condition: str) -> str:
    """Return the SELECT of the attributes of profiles, one row each.

    Its columns are profile, key, held, arrival, feed, at_ms. An attribute that a calculated one
    masks is left out.
    """
    scratch = profiles.store.scratch
    # the same for every stretch of an export, and so made once
    if not scratch.has("export_key"):
        keys = [(key,) for key in stored_keys(profiles)]
        scratch.load("export_key", [("key", "VARCHAR")], keys)
        names = [(name,) for name in profiles.calculated]
        scratch.load("export_calculated", [("name", "VARCHAR")], names)
    cells = reading(STORED_CELLS, newest=profiles.newest(condition))
    if not profiles.calculated:
        return cells
    calculated = f"select * from ({profiles.calculated_values}) {condition}"
    return union([cells, reading(CALCULATED_CELLS, calculated_value=calculated)])


def stored_keys(profiles: Profiles) -> list[str]:
    """Return the attributes that no calculated one masks."""
    return sorted({*profiles.keys, *profiles.loose_keys} - {*profiles.calculated})
