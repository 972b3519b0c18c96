"""The kinds of exports: profiles, identities, attributes, batches and imports.

Each kind gives rows (for CSV and Parquet) and lines (JSON) as SELECTs. Both have the columns
_profile and _mpid as well, which order the export and do not leave.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from profilectl.audiences.everybody import NOTHING, tell_odd, whole_members
from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.reading.exporting.csv_text import csv_line
from profilectl.reading.exporting.long_form import (
    ATTRIBUTES,
    IDENTITIES,
    NUMBERS,
    ORIGIN,
    attributes_source,
    cells_of,
    identities_source,
    long_lines,
    long_rows,
    tell_origins,
)
from profilectl.reading.exporting.long_texts import LongTexts, TextForm
from profilectl.reading.exporting.retold_sql import Telling, tell_more
from profilectl.reading.exporting.single_rows import apart, are_as_stored
from profilectl.rules.batch_limits import LIMITS
from profilectl.rules.counts import PastImport
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.held_values import held_as_cell, held_as_json
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.history import history_of, import_numbered
from profilectl.store.segments import both, known_identities, known_rows
from profilectl.store.statements import reading, union
from profilectl.store.store import OpenStore

MOST_COLUMNS = 10_000
"""How many columns an import reads at most (importing/stage/columns.py)."""
FOLDED = 500
"""How many attributes are folded side by side: the cost grows with the square of them."""
ENVIRONMENT = environment_name()
OWN = ("mpid", "environment")
"""The profile's own columns. Every export of profiles has both, unless --fields names only one.
"""

PROFILE_ROWS = "select {columns}, profile as _profile, mpid as _mpid from folded"
SINGLE_ROWS = "select {columns}, profile as _profile, mpid as _mpid from stored_row"
PROFILE_LINES = "select profile as _profile, mpid as _mpid, line from document"
OWN_LINES = "select profile as _profile, mpid as _mpid, {columns} as line from folded"
# Each document, with the standing of the person (everybody.py), which is not in it.
WHOLE_LINES = """
select document.profile as _profile, document.mpid as _mpid, {columns} as line
from document
left join whole on whole.profile = document.profile
"""
# For thousands of attributes: a row for each cell, then a list of all cells of a profile.
PEOPLE = "select {columns} from folded"
CELL_TEXTS = """
select profile, place, {columns} as value
from cell
join export_place using (key)
"""
# The cross join gives a place in the list also to a cell that a profile does not have.
LISTED_PROFILES = """
select person.*, listed.cells
from person
join (
    select slot._profile as profile, list(cell_text.value order by slot.place) as cells
    from (select _profile, place from person cross join export_place) as slot
    left join cell_text on cell_text.profile = slot._profile and cell_text.place = slot.place
    group by slot._profile
) as listed on listed.profile = _profile
"""

SHARING_OF_TYPE = """
insert into sharing
select profile
from holding
where type = $type
  and hash in (select hash from holding where type = $type group by hash having count(*) > 1)
"""
TOLD_AGAIN = "select * from told_again"
LOOSE_MEMBERS = """
select profile as loose_profile, list({columns} order by key) as loose
from newest
group by profile
"""
NO_LOOSE_MEMBERS = "select 0 as loose_profile, []::varchar[] as loose where false"
# A profile with its attributes as members of JSON, and how many batches it needs.
PROFILES_WITH_MEMBERS = """
select *, {columns}
from folded
left join loose_member on loose_profile = profile
"""
WITH_NUMBER = "select *, {columns} from person"
BATCH_LINES = (
    "select profile as _profile, mpid as _mpid, n as _arrival, {columns} as line from batch"
)
BATCHES_OF_SOMEBODY = "select * from batch where most > 0"

# The columns of an export of imports, with their types in SQL.
IMPORT_COLUMNS = {
    "import": "BIGINT",
    "feed": "VARCHAR",
    "source": "VARCHAR",
    "protection": "VARCHAR",
    "environment": "VARCHAR",
    "started_ms": "BIGINT",
    "finished_ms": "BIGINT",
    "made_by": "VARCHAR",
    "undone_ms": "BIGINT",
    "rows": "BIGINT",
    "applied": "BIGINT",
    "dropped": "BIGINT",
    "rejected": "BIGINT",
    "files": "VARCHAR",
}
IMPORT_NUMBERS = tuple(name for name, kind in IMPORT_COLUMNS.items() if kind == "BIGINT")
IMPORT_LINES = "select {columns} from past order by place"


@dataclass(frozen=True, slots=True)
class Extract:
    """One kind of export."""

    columns: Sequence[str]
    """The names of the columns that leave."""
    rows: Callable[[str], str] | None
    """From a condition on profiles to the SELECT of rows; None where a kind is lines only."""
    lines: Callable[[str], str]
    """From a condition on profiles to the SELECT of lines."""
    numbers: Sequence[str] = ()
    """Those of the columns that are whole numbers."""
    cells: int = 1
    """How many cells a profile may have."""
    named: Sequence[str] = ()
    """The names of the columns in SQL, if these are others: SQL does not tell names apart that
    differ in their case only, as those of attributes may.
    """
    listed: bool = False
    """Whether the last column of rows is the list of the last cells, because there are too many to
    name each.
    """
    texts: Callable[[TextForm, str, Callable[[str], str]], LongTexts] | None = None
    """From the format, the order and the SELECT of lines to the texts of whole profiles, if a kind
    has these.
    """

    @property
    def in_sql(self) -> Sequence[str]:
        """The names of the columns in SQL."""
        return self.named or self.columns


def extract_of(
    kind: str,
    profiles: Profiles,
    *,
    provenance: bool = False,
    whole: bool = False,
    telling: Telling | None = None,
    own: Sequence[str] = OWN,
) -> Extract:
    """Return a kind of export: profiles, identities, attributes or batches.

    It has the fields that the read model is narrowed to, and the profile's own columns. `telling`
    says how batches leave.
    """
    if kind == "profiles":
        return _profiles(_Profile.of(profiles, own), provenance=provenance, whole=whole)
    if kind == "identities":
        return _long(profiles, IDENTITIES, identities_source(profiles))
    if kind == "attributes":
        return _long(profiles, ATTRIBUTES, attributes_source(profiles))
    tell_sharing(profiles)
    # Calculated attributes are computed again where a batch arrives: it has those that were stated.
    profiles = replace(profiles, calculated=[])
    return Extract(
        (),
        None,
        lambda condition: batches(profiles, condition, telling or Telling()),
        cells=len(profiles.identities) + len(profiles.keys),
    )


def _long(profiles: Profiles, names: Sequence[str], source: Callable[[str], str]) -> Extract:
    """Return the extract of a long form."""
    columns = [*names, *ORIGIN]
    tell_origins(profiles)
    values = len(profiles.identities if names == IDENTITIES else profiles.keys)
    return Extract(
        columns,
        lambda condition: long_rows(columns, source(condition)),
        lambda condition: long_lines(columns, source(condition)),
        numbers=[name for name in columns if name in NUMBERS],
        cells=values * len(columns),
        texts=functools.partial(LongTexts, profiles, names),
    )


class _Profile(NamedTuple):
    """The columns of an export of profiles."""

    profiles: Profiles
    """The read model."""
    keys: list[str]
    """The attributes, in order."""
    own: list[tuple[str, str]]
    """Name and SQL of the profile's own columns."""
    identities: list[tuple[str, str]]
    """Name and SQL of the columns of identities."""

    @classmethod
    def of(cls, profiles: Profiles, own: Sequence[str]) -> _Profile:
        """Return the columns of a read model."""
        own_columns = (("mpid", "mpid::varchar"), ("environment", ENVIRONMENT))
        return cls(
            profiles,
            profiles.attributes(),
            own=[(name, sql) for name, sql in own_columns if name in own],
            identities=[(BY_NAME[kind].field, f"i_{kind}[-1]") for kind in profiles.identities],
        )

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        attributes = [f"user_attributes.{key}" for key in self.keys]
        return [name for name, _ in self._before] + attributes

    @property
    def _before(self) -> list[tuple[str, str]]:
        """Name and SQL of the columns before the attributes."""
        return [*self.own, *self.identities]

    @property
    def is_own_only(self) -> bool:
        """Whether nothing but some of the profile's own columns was asked for."""
        return len(self.own) < len(OWN) and not self.identities and not self.keys

    @property
    def numbered_before(self) -> str:
        """The columns before the attributes, as c0, c1 ..."""
        return _numbered([sql for _, sql in self._before])

    def rows(self, condition: str) -> str:
        """Return the SELECT of profiles with a column for each attribute."""
        self._check()
        if not are_as_stored(self.profiles):
            return self._folded_rows(condition)
        return apart(condition, self._single_rows, self._folded_rows)

    def _folded_rows(self, condition: str) -> str:
        cells = [held_as_cell(f"v{place}") for place in range(len(self.keys))]
        columns = _numbered([*(sql for _, sql in self._before), *cells])
        folded = self.profiles.folded(self.keys, condition)
        return reading(PROFILE_ROWS.format(columns=columns), folded=folded)

    def _single_rows(self, condition: str) -> str:
        """Return the SELECT of the profiles with a single row, which has one value of a type."""
        identities = self.profiles.identities
        columns = [
            *(sql for _, sql in self.own),
            *(f"i_{kind}" for kind in identities),
            *(held_as_cell(f"b{place}") for place in range(len(self.keys))),
        ]
        stored = known_rows(self.profiles.segments, identities, self.keys, where=condition)
        return reading(SINGLE_ROWS.format(columns=_numbered(columns)), stored_row=stored)

    def listed(self, condition: str) -> str:
        """Return the SELECT of profiles with thousands of attributes.

        Its columns are c0, c1 ... for what comes before the attributes, and cells, the list of the
        attributes' texts. Each cell comes as a row, and a profile's are put into a list: to fold a
        column for each would cost the square of the columns.
        """
        self._check()
        scratch = self.profiles.store.scratch
        if not scratch.has("export_place"):
            columns = [("key", "VARCHAR"), ("place", "INTEGER")]
            places = [(key, place) for place, key in enumerate(self.keys)]
            scratch.load("export_place", columns, places)
        parts = ["profile as _profile", "mpid as _mpid", self.numbered_before]
        people = PEOPLE.format(columns=", ".join(part for part in parts if part))
        return reading(
            LISTED_PROFILES,
            person=reading(people, folded=self.profiles.folded([], condition)),
            cell_text=reading(
                CELL_TEXTS.format(columns=held_as_cell("held")),
                cell=cells_of(self.profiles, condition),
            ),
        )

    def _check(self) -> None:
        """Raise UsageError where there are more columns than can be read again."""
        number = len(self._before) + len(self.keys)
        if number > MOST_COLUMNS:
            raise UsageError(
                f"{number:,} columns are more than such an export has",
                "use --format jsonl, or name --fields",
            )

    def own_lines(self, condition: str) -> str:
        """Return the SELECT of lines that have the profile's own columns alone."""
        members = " || ',' || ".join(
            f"'\"{name}\":' || to_json({sql})::varchar" for name, sql in self.own
        )
        select = OWN_LINES.format(columns=f"'{{' || {members} || '}}'")
        return reading(select, folded=self.profiles.folded([], condition))

    def whole_lines(self, condition: str, document: str) -> str:
        """Return the SELECT of lines that also have the standing of each person."""
        line = (
            "left(document.line, length(document.line) - 1) || ','"
            f" || ifnull(whole.members, {quote_text(NOTHING)}) || '}}'"
        )
        whole = whole_members(self.profiles, condition)
        return reading(WHOLE_LINES.format(columns=line), document=document, whole=whole)


def _numbered(columns: Sequence[str]) -> str:
    """Return columns as c0, c1 ..."""
    return ", ".join(f"{sql} as c{place}" for place, sql in enumerate(columns))


def _profiles(profile: _Profile, *, provenance: bool, whole: bool) -> Extract:
    """Return the export of profiles."""

    def lines(condition: str) -> str:
        if profile.is_own_only and not (whole or provenance):
            return profile.own_lines(condition)
        document = profile.profiles.json_lines(condition, provenance=provenance)
        if whole:
            return profile.whole_lines(condition, document)
        return reading(PROFILE_LINES, document=document)

    if whole:
        tell_odd(profile.profiles)
    names = profile.names
    is_listed = len(profile.keys) > FOLDED
    columns = [f"c{place}" for place in range(len(names))]
    if is_listed:
        columns = [*columns[: len(names) - len(profile.keys)], "cells"]
    return Extract(
        names,
        profile.listed if is_listed else profile.rows,
        lines,
        cells=len(names),
        named=columns,
        listed=is_listed,
    )


def tell_sharing(profiles: Profiles) -> None:
    """Make `sharing`: the profiles with an identity that another profile has too.

    It goes type by type, so that less memory is needed at once.
    """
    scratch = profiles.store.scratch
    scratch.load("sharing", [("profile", "BIGINT")], [])
    holding = known_identities(profiles.segments, removals=profiles.removals)
    scratch.make("holding", holding, keep=False)
    for kind in profiles.identities:
        scratch.run(SHARING_OF_TYPE, {"type": CODE[kind]})


def batches(profiles: Profiles, condition: str, telling: Telling) -> str:
    """Return the SELECT of the platform's batches of the profiles of a condition.

    They are of the state as it is when this is called. The batches of people who have more than
    identities and attributes are made by retold_sql.
    """
    among = tell_more(profiles, condition, telling)
    if among is None:
        return _plain_batches(profiles, condition, telling)
    plain = _plain_batches(profiles, both(condition, f"not ({among})"), telling)
    return union([plain, TOLD_AGAIN])


def _plain_batches(profiles: Profiles, condition: str, telling: Telling) -> str:
    """Return the SELECT of the batches of profiles, in the order that makes the profile again.

    The first batch founds the profile. If another profile has one of its identities too, that batch
    has the MPID alone, so that it finds nobody else; the identities follow. Further values of a
    type come in batches of their own. Without MPIDs, a batch finds its profile by the identities,
    so each repeats those it can, and a profile without identities has no batch. With MPIDs,
    tell_sharing must have been called before.
    """
    keys, most = sorted(profiles.keys), LIMITS["attributes"]
    members = ", ".join(
        f"{quote_text(json.dumps(key, ensure_ascii=False) + ':')} || {held_as_json(f'v{place}')}"
        for place, key in enumerate(keys)
    )
    # a batch has one value of a type at most: there are as many as the longest list has values
    lengths = ", ".join(f"ifnull(len(i_{kind}), 0)" for kind in profiles.identities) or "0"
    apart = "profile in (select profile from sharing)" if telling.mpid else "false"
    cells = f"list_concat([{members}]::varchar[], ifnull(loose, []))"
    columns = [
        f"list_filter({cells}, lambda member: member is not null) as members",
        f"greatest({lengths}) as most",
        f"({apart})::integer as apart",
    ]
    person = reading(
        PROFILES_WITH_MEMBERS.format(columns=", ".join(columns)),
        folded=profiles.folded(keys, condition),
        loose_member=_loose_members(profiles, condition),
    )
    # first and last seen are the times of two batches, where they differ
    times = "if(first_seen_ms < last_seen_ms, 2, 1)" if telling.times else "1"
    last_batch = f"greatest(most, (len(members) + {most - 1}) // {most}, {times}) as last_batch"
    numbers = "unnest(generate_series(1 - apart, last_batch)) as n"
    counted = reading(WITH_NUMBER.format(columns=last_batch), person=person)
    batch = reading(WITH_NUMBER.format(columns=numbers), person=counted)
    if not telling.mpid:
        batch = reading(BATCHES_OF_SOMEBODY, batch=batch)
    line = _batch_line(profiles, telling, most=most)
    return reading(BATCH_LINES.format(columns=line), batch=batch)


def _loose_members(profiles: Profiles, condition: str) -> str:
    """Return the SELECT of the attributes without a column, as members of JSON."""
    if not profiles.loose_keys:
        return NO_LOOSE_MEMBERS
    member = f"to_json(key)::varchar || ':' || {held_as_json('held')}"
    return reading(LOOSE_MEMBERS.format(columns=member), newest=profiles.newest_loose(condition))


def _batch_line(profiles: Profiles, telling: Telling, *, most: int) -> str:
    """Return the SQL of the n-th batch of a profile; `most` is how many attributes it may have."""

    def value(kind: str) -> str:
        nth = f"i_{kind}[n]"
        return nth if telling.mpid else f"ifnull({nth}, i_{kind}[-1])"

    def members(*, device: bool) -> str:
        listed = ", ".join(
            f"'\"{_batch_name(kind)}\":' || to_json({value(kind)})::varchar"
            for kind in sorted(profiles.identities)
            if BY_NAME[kind].device is device and kind != "mp_deviceid"
        )
        return f"nullif(concat_ws(',', {listed}), '')" if listed else "null::varchar"

    def within(text: str) -> str:
        # The batch with the number 0 has the MPID alone.
        return f"if(n > 0, {text}, null)"

    attributes = f"nullif(array_to_string(members[(n - 1) * {most} + 1 : n * {most}], ','), '')"
    parts = [f"""'{{"environment":"' || {ENVIRONMENT} || '"'"""]
    if telling.mpid:
        parts.append("""',"mpid":' || mpid""")
    if telling.times:
        time = "if(n = last_batch, last_seen_ms, first_seen_ms)"
        parts.append(f"""',"timestamp_unixtime_ms":' || {time}""")
    for name, is_device in (("user_identities", False), ("device_info", True)):
        text = within(members(device=is_device))
        parts.append(f"""ifnull(',"{name}":{{' || {text} || '}}', '')""")
    if "mp_deviceid" in profiles.identities:
        device = f"""',"mp_deviceid":' || to_json({value("mp_deviceid")})::varchar"""
        parts.append(f"ifnull({within(device)}, '')")
    # Always an object, even an empty one: by it an import tells a batch from a flat row.
    parts.append(f"""',"user_attributes":{{' || ifnull({within(attributes)}, '') || '}}}}'""")
    return " || ".join(parts)


def _batch_name(kind: str) -> str:
    """Return the name that the platform's own schema has for an identity."""
    return BY_NAME[kind].field.partition(".")[2]


def import_extract() -> Extract:
    """Return the extract of imports, of which only the columns are used: it has no SELECT."""
    return Extract(tuple(IMPORT_COLUMNS), None, lambda condition: condition, numbers=IMPORT_NUMBERS)


def import_rows(
    store: OpenStore, *, since: int | None, format: str, safe: bool
) -> list[Sequence[Any]]:
    """Return the rows of an export of imports, as the writer of a format takes them.

    With `since`, only imports after this one are returned; with `safe`, a spreadsheet that opens
    the CSV runs nothing of it. Raises InputRefused where the import of `since` is not there.
    """
    if since:
        import_numbered(store, since)
    imports = [past for past in history_of(store) if since is None or past.number > since]
    if format == "jsonl":
        return [[orjson.dumps(past.as_json()).decode()] for past in imports]
    rows: list[Sequence[Any]] = [_cells(past) for past in imports]
    if format != "csv":
        return rows
    scratch = store.scratch
    placed = [[place, *row] for place, row in enumerate(rows)]
    scratch.load("past", [("place", "BIGINT"), *IMPORT_COLUMNS.items()], placed)
    line = csv_line(tuple(IMPORT_COLUMNS), IMPORT_NUMBERS, safe=safe)
    return [list(row) for row in scratch.rows(IMPORT_LINES.format(columns=line))]


def _cells(past: PastImport) -> list[Any]:
    """Return the cells of an import, in the order of IMPORT_COLUMNS."""
    counts = past.report["rows"]
    return [
        past.number,
        past.feed,
        past.source,
        past.protection,
        past.environment,
        past.started_ms,
        past.finished_ms,
        past.made_by,
        past.undone_ms,
        counts["read"],
        counts["applied"],
        counts["dropped"],
        counts["rejected"],
        "\n".join(file["path"] for file in past.report["files"]),
    ]
