"""What an export holds: profiles, identities, attributes or batches, as SELECTs over a stretch of
profiles.

Each kind gives rows (for CSV and Parquet) and lines (JSON), both with profile and mpid beside them,
which order the export and do not leave.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from profilectl.audiences.everybody import NOTHING, tell_odd, whole_members
from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.reading.retold_sql import Telling, tell_more
from profilectl.rules.batch import LIMITS, field_named
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.sql.values import DELETED, held_as_cell, held_as_json
from profilectl.rules.text.naming import no_such
from profilectl.store.segments import IMPORT_FILES, both, known_identities, known_loose, known_mpids

MOST_COLUMNS = 10_000
"""So many can be read again (stage.columns)."""
FOLDED = 500
"""So many attributes are folded side by side: what that costs grows with the square of them."""
ENVIRONMENT = environment_name()


@dataclass(frozen=True, slots=True)
class Extract:
    """One kind of export.

    rows and lines: from a condition on profiles to a SELECT; columns: the names of the rows'
    columns that leave, of them numbers those that are whole numbers; rows is None where a kind is
    lines only. cells: so many a profile may have. named: what the columns are called in SQL, which
    does not tell names apart that differ in their case only, as those of attributes may.
    """

    columns: Sequence[str]
    rows: Callable[[str], str] | None
    lines: Callable[[str], str]
    numbers: Sequence[str] = ()
    cells: int = 1
    named: Sequence[str] = ()
    listed: bool = False
    """Whether the last column of rows is the list of the last cells, because there are too many to
    name each.
    """

    @property
    def in_sql(self) -> Sequence[str]:
        return self.named or self.columns


OWN = ("mpid", "environment")
"""The profile's own columns: of every export of profiles, unless --fields names one of them, which
leaves the other out."""


def narrowed(profiles: Profiles, fields: Sequence[str]) -> Profiles:
    """Return the read model of some identities and attributes only; the profile's own columns are
    none of either. Raises UsageError for a field that nobody has.
    """
    identities, keys = [], []
    for name in fields:
        if name in OWN:
            continue
        try:
            meant = field_named(name)
        except Unusable:
            meant = None
        key = meant.name if meant and meant.kind == "attribute" else name
        if meant and meant.kind == "identity" and meant.name in profiles.identities:
            identities.append(meant.name)
        elif profiles.has(key):
            keys.append(key)
        else:
            known = (*profiles.identities, *profiles.names())
            raise no_such(
                "identity or attribute", name, known, option="--fields", lists="profilectl stats"
            )
    wide = [key for key in profiles.keys if key in keys]
    return replace(
        profiles,
        identities=[kind for kind in profiles.identities if kind in identities],
        keys=wide,
        loose_keys=[key for key in profiles.loose_keys if key in keys],
        calculated=[key for key in profiles.calculated if key in keys],
    )


AT_ONCE = 100
"""So many columns are looked at in one statement."""


def filled(profiles: Profiles, where: str, stretches: Callable[[int], Iterable[str]]) -> Profiles:
    """Return the read model of the identities and attributes that somebody has.

    where: the condition on the profiles that are exported; stretches: from how many cells a profile
    may have to conditions that part them.
    """
    identities = _identities_held(profiles, where)
    stored = [
        key
        for key in dict.fromkeys((*profiles.keys, *profiles.loose_keys))
        if key not in profiles.calculated
    ]
    held, doubtful = _attributes_set(profiles, stored, where)
    for start in range(0, len(doubtful), AT_ONCE):
        some = doubtful[start : start + AT_ONCE]
        for stretch in stretches(len(some)):
            held |= _counted(
                profiles, some, [f"v{n}" for n in range(len(some))], profiles.folded(some, stretch)
            )
    computed = profiles.store.scratch.rows(
        f"select distinct name from (select * from ({profiles.calculated_values}) {where})"
    )
    held |= {name for (name,) in computed if name in profiles.calculated}
    return replace(
        profiles,
        identities=[kind for kind in profiles.identities if kind in identities],
        keys=[key for key in profiles.keys if key in held],
        loose_keys=[key for key in profiles.loose_keys if key in held],
        calculated=[key for key in profiles.calculated if key in held],
    )


def _identities_held(profiles: Profiles, where: str) -> set[str]:
    rows = profiles.rows([], where)
    if profiles.only_seen and profiles.feeds:
        rows = f"select * from ({rows}) where profile in ({profiles.seen(where)})"
    return _counted(
        profiles, profiles.identities, [f"i_{kind}" for kind in profiles.identities], rows
    )


def _attributes_set(
    profiles: Profiles, keys: Sequence[str], where: str
) -> tuple[set[str], list[str]]:
    """Return the attributes that somebody has for certain, because a row sets them and none deletes
    them; and those of which only folding tells.
    """
    loose = known_loose(profiles.segments, where=both(where, profiles.feeds))
    every = profiles.store.scratch.rows(
        f"select key, bool_or(value <> {DELETED}), bool_or(value = {DELETED}) from ({loose}) group by key"
    )
    stated, gone = {key for key, yes, _ in every if yes}, {key for key, _, yes in every if yes}
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        rows = profiles.rows(some, where)
        stated |= _counted(
            profiles, some, [f"nullif(b{n}, {DELETED})" for n in range(len(some))], rows
        )
        gone |= _counted(
            profiles,
            some,
            [f"case when b{n} = {DELETED} then true end" for n in range(len(some))],
            rows,
        )
    return {key for key in keys if key in stated - gone}, [
        key for key in keys if key in stated & gone
    ]


def _counted(
    profiles: Profiles, names: Sequence[str], columns: Sequence[str], rows: str
) -> set[str]:
    """Return the names whose columns are filled in any of the rows."""
    if not names:
        return set()
    numbers = profiles.store.scratch.row(
        f"select {', '.join(f'count({column})' for column in columns)} from ({rows})"
    )
    return {name for name, number in zip(names, numbers, strict=True) if number}


def extract_of(
    kind: str,
    profiles: Profiles,
    *,
    provenance: bool = False,
    whole: bool = False,
    telling: Telling | None = None,
    own: Sequence[str] = OWN,
) -> Extract:
    """Return a kind of export: profiles, identities, attributes or batches; of the fields that
    profiles are narrowed to, and of the profile's own columns. telling: how batches leave.
    """
    match kind:
        case "profiles":
            return _profiles(profiles, provenance, whole, own)
        case "identities":
            return _long(
                ["mpid", "environment", "type", "value", "since_ms"],
                lambda where: _identities(profiles, where),
                len(profiles.identities),
            )
        case "attributes":
            return _long(
                ["mpid", "environment", "attribute", "value", "type", "set_ms"],
                lambda where: _attributes(profiles, where),
                len(profiles.keys),
            )
    tell_sharing(profiles)
    # a batch brings what is stored; it is calculated again where it arrives
    profiles = replace(profiles, calculated=[])
    return Extract(
        (),
        None,
        lambda where: batches(profiles, where, telling or Telling()),
        cells=len(profiles.identities) + len(profiles.keys),
    )


def _profiles(profiles: Profiles, provenance: bool, whole: bool, own: Sequence[str]) -> Extract:
    keys = profiles.attributes()
    named = [
        *(
            (name, sql)
            for name, sql in (("mpid", "mpid::varchar"), ("environment", ENVIRONMENT))
            if name in own
        ),
        *((BY_NAME[kind].field, f"i_{kind}[-1]") for kind in profiles.identities),
        *((f"user_attributes.{key}", held_as_cell(f"v{n}")) for n, key in enumerate(keys)),
    ]
    columns = [f"c{place}" for place in range(len(named))]
    fixed = named[: len(named) - len(keys)]

    def check() -> None:
        if len(named) > MOST_COLUMNS:
            raise UsageError(
                f"{len(named):,} columns are more than such an export has",
                "use --format jsonl, or name --fields",
            )

    def rows(where: str) -> str:
        check()
        listed = ", ".join(
            f"{sql} as {column}" for column, (_, sql) in zip(columns, named, strict=True)
        )
        return f"select {listed}, profile as _profile, mpid as _mpid from ({profiles.folded(keys, where)})"

    def wide(where: str) -> str:
        check()
        return _listed(profiles, keys, [sql for _, sql in fixed], where)

    def lines(where: str) -> str:
        # Where nothing but one of these was asked for, the line has nothing else.
        if len(own) < len(OWN) and len(named) == len(own) and not (whole or provenance):
            members = " || ',' || ".join(
                f"'\"{name}\":' || to_json({sql})::varchar" for name, sql in named
            )
            return f"select profile as _profile, mpid as _mpid, '{{' || {members} || '}}' as line from ({profiles.folded([], where)})"
        told = f"select profile as _profile, mpid as _mpid, line from ({profiles.json_lines(where, provenance=provenance)})"
        if not whole:
            return told
        return (
            f"select _profile, _mpid, left(line, length(line) - 1) || ',' || coalesce(whole.members, {quote_text(NOTHING)}) || '}}' as line"
            f" from ({told}) left join ({whole_members(profiles, where)}) as whole on whole.profile = _profile"
        )

    if whole:
        tell_odd(profiles)
    if len(keys) > FOLDED:
        columns = [*columns[: len(fixed)], "cells"]
        return Extract(
            [name for name, _ in named], wide, lines, cells=len(named), named=columns, listed=True
        )
    return Extract([name for name, _ in named], rows, lines, cells=len(named), named=columns)


def _listed(profiles: Profiles, keys: Sequence[str], fixed: Sequence[str], where: str) -> str:
    """Return the SELECT of profiles with thousands of attributes: c0, c1 ... for what comes before
    the attributes (fixed: its SQL), and cells, the list of the attributes' texts.

    The cells come one row each, and are laid side by side in a list; to fold a column each would
    cost the square of the columns.
    """
    scratch = profiles.store.scratch
    if not scratch.has("export_place"):
        scratch.load(
            "export_place",
            [("key", "VARCHAR"), ("place", "INTEGER")],
            [(key, n) for n, key in enumerate(keys)],
        )
    first = ", ".join(f"{sql} as c{n}" for n, sql in enumerate(fixed))
    people = (
        f"select profile as _profile, mpid as _mpid, {first} from ({profiles.folded([], where)})"
    )
    cells = f"select profile, place, {held_as_cell('held')} as value from ({_cells(profiles, where)}) join export_place using (key)"
    listed = (
        "select one._profile as profile, list(cell.value order by one.place) as cells from"
        f" (select _profile, place from ({people}) cross join export_place) as one"
        f" left join ({cells}) as cell on cell.profile = one._profile and cell.place = one.place group by one._profile"
    )
    return f"select people.*, listed.cells from ({people}) as people join ({listed}) as listed on listed.profile = _profile"


ORIGIN = ("source", "feed", "import", "file", "line", "row")
NUMBERS = ("since_ms", "set_ms", "import", "line", "row")


def _long(columns: Sequence[str], source: Callable[[str], str], kinds: int) -> Extract:
    """Return the extract of a long form whose source gives the columns, json_value, and arrival,
    feed_number; of so many kinds of values a profile has about one each.
    """
    columns = [*columns, *ORIGIN]

    def placed(where: str) -> str:
        return (
            f"select one.*, import.source, feed.name as feed, import.number as import, file.path as file,"
            " case when file.unit = 'line' then run.first_line + one.arrival - run.first_arrival end as line,"
            " case when file.unit <> 'line' then run.first_line + one.arrival - run.first_arrival end as row"
            f" from (select * from ({source(where)}) where arrival is not null) as one asof join ({IMPORT_FILES}) as file on one.arrival >= file.first_arrival"
            " asof join store.line_run as run on one.arrival >= run.first_arrival"
            " join store.import as import on import.number = file.import join store.feed as feed on feed.number = one.feed_number"
            " union all by name select one.*, 'calculated' as source, null::varchar as feed, null::integer as import, null::varchar as file,"
            f" null::bigint as line, null::bigint as row from ({source(where)}) as one where arrival is null"
        )

    def rows(where: str) -> str:
        listed = ", ".join(
            f"{quote_identifier(name)}::{'bigint' if name in NUMBERS else 'varchar'} as {quote_identifier(name)}"
            for name in columns
        )
        return f"select {listed}, _profile, _mpid, arrival as _arrival from ({placed(where)})"

    def member(name: str) -> str:
        if name == "value":
            return "',\"value\":' || json_value"
        text = (
            f"to_json({quote_identifier(name)})::varchar"
            if name in ("mpid", "environment", "type", "attribute", "source", "feed", "file")
            else quote_identifier(name)
        )
        return f"coalesce(',\"{name}\":' || {text}, '')"

    def lines(where: str) -> str:
        return f"select _profile, _mpid, '{{' || ltrim({' || '.join(map(member, columns))}, ',') || '}}' as line from ({placed(where)})"

    return Extract(
        columns, rows, lines, [name for name in columns if name in NUMBERS], kinds * len(columns)
    )


def _mpid_of(profiles: Profiles, where: str) -> str:
    if profiles.only_seen and profiles.feeds:
        where = both(where, f"profile in ({profiles.seen(where)})")
    return f"select profile as _profile, mpid as _mpid, mpid::varchar as mpid, {ENVIRONMENT} as environment from ({known_mpids(profiles.segments)}) {where}"


def _identities(profiles: Profiles, where: str) -> str:
    parts = [
        f"select profile, arrival, feed as feed_number, at_ms as since_ms, {quote_text(kind)} as type, i_{kind} as value"
        f" from ({profiles.rows([], where)}) where i_{kind} is not null"
        for kind in profiles.identities
    ]
    union = (
        " union all ".join(parts)
        or "select 0 as profile, 0 as arrival, 0 as feed_number, 0 as since_ms, '' as type, '' as value where false"
    )
    return (
        f"select mpid.*, held.* exclude (profile), to_json(held.value)::varchar as json_value from ({union}) as held"
        f" join ({_mpid_of(profiles, where)}) as mpid on mpid._profile = held.profile"
    )


def _attributes(profiles: Profiles, where: str) -> str:
    kind = (
        "case when held = chr(31) || 'null' then 'tag' when starts_with(held, chr(31) || '[') then 'list' when held in (chr(31) || 'true', chr(31) || 'false')"
        " then 'boolean' when starts_with(held, chr(31)) and not starts_with(held, chr(31) || '''') then 'number' else 'text' end"
    )
    return (
        f"select mpid.*, cell.arrival, cell.feed as feed_number, cell.at_ms as set_ms, cell.key as attribute, {held_as_cell('cell.held')} as value,"
        f" {held_as_json('cell.held')} as json_value, {kind} as type from ({_cells(profiles, where)}) as cell"
        f" join ({_mpid_of(profiles, where)}) as mpid on mpid._profile = cell.profile"
    )


def _cells(profiles: Profiles, where: str) -> str:
    """Return the SELECT of the attributes of profiles, one row each: profile, key, held, arrival,
    feed, at_ms.
    """
    # What a calculated attribute masks is left out; its own value came from no row: it has no
    # arrival.
    scratch = profiles.store.scratch
    if not scratch.has("export_key"):
        stored = {*profiles.keys, *profiles.loose_keys} - {*profiles.calculated}
        scratch.load("export_key", [("key", "VARCHAR")], [(key,) for key in sorted(stored)])
    cells = f"select profile, key, held, arrival, feed, at_ms from ({profiles.newest(where)}) where key in (select key from export_key)"
    if profiles.calculated:
        names = ", ".join(map(quote_text, profiles.calculated))
        cells += (
            f" union all select profile, name, held, null, null, null from ({profiles.calculated_values}) {where}"
            f" {'and' if where else 'where'} name in ({names})"
        )
    return cells


def tell_sharing(profiles: Profiles) -> None:
    """Make `sharing`: the profiles with an identity that another has too; one type after another,
    for the memory.
    """
    scratch = profiles.store.scratch
    known = known_identities(profiles.segments, removals=profiles.removals)
    scratch.load("sharing", [("profile", "BIGINT")], [])
    for kind in profiles.identities:
        of_kind = f"from ({known}) where type = {CODE[kind]}"
        scratch.run(
            f"insert into sharing select profile {of_kind} and hash in (select hash {of_kind} group by hash having count(*) > 1)"
        )


def batches(profiles: Profiles, where: str, telling: Telling) -> str:
    """Return the SELECT of the platform's batches of the profiles of `where`, of the state as it is
    when this is called.

    People of whom more is to be said than their identities and attributes are told again by
    retold_sql.
    """
    among = tell_more(profiles, where, telling)
    if among is None:
        return _plain_batches(profiles, where, telling)
    return f"{_plain_batches(profiles, both(where, f'not ({among})'), telling)} union all select * from told_again"


def _plain_batches(profiles: Profiles, where: str, telling: Telling) -> str:
    """Return the SELECT of the batches of profiles, in the order in which they make the profile
    again.

    The first batch founds the profile. Where another profile has one of its identities too, it says
    the MPID alone, so that nobody else is found by them; the identities follow, and further values
    of a type in batches of their own. Without MPIDs each batch says what it can of the identities
    again, for it is found by them; a profile without identities has no such batch. With MPIDs
    tell_sharing comes before.
    """
    most, with_mpid, with_times = LIMITS["attributes"], telling.mpid, telling.times
    keys = sorted(profiles.keys)
    members = ", ".join(
        f"{quote_text(json.dumps(key, ensure_ascii=False) + ':')} || {held_as_json(f'v{n}')}"
        for n, key in enumerate(keys)
    )
    loose = (
        f"select profile as loose_profile, list(to_json(key)::varchar || ':' || {held_as_json('held')} order by key) as loose from ({profiles.newest_loose(where)}) group by profile"
        if profiles.loose_keys
        else "select 0 as loose_profile, []::varchar[] as loose where false"
    )
    lengths = ", ".join(f"coalesce(len(i_{kind}), 0)" for kind in profiles.identities) or "0"
    base = (
        f"select *, list_filter(list_concat([{members}]::varchar[], coalesce(loose, [])), lambda one: one is not null) as members, greatest({lengths}) as most,"
        f" ({'profile in (select profile from sharing)' if with_mpid else 'false'})::integer as apart"
        f" from ({profiles.folded(keys, where)}) left join ({loose}) on loose_profile = profile"
    )
    last = f"greatest(most, (len(members) + {most - 1}) // {most}, {'case when first_seen_ms < last_seen_ms then 2 else 1 end' if with_times else 1})"
    numbered = (
        f"select *, {last} as last, unnest(generate_series(1 - apart, {last})) as n from ({base})"
    )

    def said(kind: str) -> str:
        return f"i_{kind}[n]" if with_mpid else f"coalesce(i_{kind}[n], i_{kind}[-1])"

    def identities(*, device: bool) -> str:
        listed = ", ".join(
            f"'\"{_batch_name(kind)}\":' || to_json({said(kind)})::varchar"
            for kind in sorted(profiles.identities)
            if BY_NAME[kind].device is device and kind != "mp_deviceid"
        )
        return f"nullif(concat_ws(',', {listed}), '')" if listed else "null::varchar"

    device = (
        f"',\"mp_deviceid\":' || to_json({said('mp_deviceid')})::varchar"
        if "mp_deviceid" in profiles.identities
        else "null::varchar"
    )
    attributes = f"nullif(array_to_string(members[(n - 1) * {most} + 1 : n * {most}], ','), '')"
    within = "case when n > 0 then {} end"
    line = (
        '\'{"environment":"\' || '
        + ENVIRONMENT
        + " || '\"'"
        + (" || ',\"mpid\":' || mpid" if with_mpid else "")
        + (
            " || ',\"timestamp_unixtime_ms\":' || case when n = last then last_seen_ms else first_seen_ms end"
            if with_times
            else ""
        )
        + f" || coalesce(',\"user_identities\":{{' || {within.format(identities(device=False))} || '}}', '')"
        + f" || coalesce(',\"device_info\":{{' || {within.format(identities(device=True))} || '}}', '')"
        + f" || coalesce({within.format(device)}, '')"
        # An object, be it empty: it is what makes the line a batch and no flat row.
        + f" || ',\"user_attributes\":{{' || coalesce({within.format(attributes)}, '') || '}}}}'"
    )
    somebody = "" if with_mpid else " where most > 0"
    return f"select profile as _profile, mpid as _mpid, n as _arrival, {line} as line from ({numbered}){somebody}"


def _batch_name(kind: str) -> str:
    """Return the name that the platform's own schema has for an identity."""
    return BY_NAME[kind].field.partition(".")[2]


PLAIN_NUMBER = "[+-]?[0-9]+([.][0-9]+)?"
"""What a spreadsheet may take for a number, and runs nothing of."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet would run; a number with its sign is none."""


def csv_line(
    columns: Sequence[str], numbers: Sequence[str], *, safe: bool, listed: bool = False
) -> str:
    """Return the SQL of the CSV line of some columns: a cell is quoted where it must be, an empty
    one is nothing.

    numbers: columns that are whole numbers. safe: an apostrophe before what a spreadsheet would
    run. listed: the last column is a list of cells.
    """
    cells = []
    for name in columns:
        cell = quote_identifier(name)
        if name in numbers:
            cells.append(f"coalesce({cell}::varchar, '')")
            continue
        cells.append(csv_cell(cell, safe=safe))
    if listed:
        cells[-1] = (
            f"array_to_string(list_transform({columns[-1]}, lambda cell: {csv_cell('cell', safe=safe)}), ',')"
        )
    return f"concat_ws(',', {', '.join(cells)})"


def csv_cell(cell: str, *, safe: bool) -> str:
    """Return the SQL of a text as a CSV cell."""
    if safe:
        begins = " or ".join(f"starts_with({cell}, {quote_text(one)})" for one in FORMULA)
        cell = f"(case when ({begins}) and not regexp_full_match({cell}, '{PLAIN_NUMBER}') then '''' || {cell} else {cell} end)"
    special = " or ".join(
        f"contains({cell}, {one})" for one in ("','", "'\"'", "chr(10)", "chr(13)")
    )
    quoted = f"'\"' || replace({cell}, '\"', '\"\"') || '\"'"
    return f"coalesce(case when {special} then {quoted} else {cell} end, '')"
