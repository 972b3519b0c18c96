"""The read model: one profile or many, folded from the rows of all segments.

The value of an attribute is that of the newest row that speaks of it, because rank was decided when
the row came in; so reading needs no rule. show, export and whatever reads profiles go through here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from profilectl.rules.batch import field_named
from profilectl.rules.event.event import NAMED_FREELY
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_WORKSPACE,
    ENVIRONMENTS,
    NO_WORKSPACE,
    Feed,
    workspaces_of,
)
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME, CODE, TYPES, display, key_of
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import DELETED, held_as_json
from profilectl.rules.text.values import Value, parse_json
from profilectl.rules.workspace import no_workspace, several_workspaces
from profilectl.store.segments import (
    EVENT,
    IMPORT_FILES,
    CarriedEvents,
    Segment,
    both,
    known_events,
    known_identities,
    known_loose,
    known_mpids,
    known_rows,
)
from profilectl.store.store import OpenStore

EVERYWHERE = ""
"""Under this name an alias keeps the install attribution that was stated last in any workspace."""


@dataclass(frozen=True, slots=True)
class Alias:
    """The past of one profile, carried over to another (alias.py).

    in_force: it has taken effect. attribution: the install attribution of the source, by workspace,
    as JSON (aliasing.attribution_of).
    """

    arrival: int
    source: int
    destination: int
    start_ms: int
    end_ms: int
    due_ms: int
    first_seen_ms: int
    attribution: str | None
    in_force: bool


@dataclass(slots=True)
class Profiles:
    """What is needed to read the profiles of an open store.

    until: only what had arrived before this arrival. aliases: in order of arrival; several: the
    relation that tell_several makes. calculated: the names of the calculated attributes, which mask
    attributes of the same name; calculated_values: the SELECT of their values. workspace: whose
    attributes are read, None: of all workspaces, the last said of each; feeds: the condition on a
    row whose attributes count, "": all do; only_seen: leave out profiles that the workspace has not
    seen.
    """

    store: OpenStore
    segments: list[Segment]
    removals: bool
    identities: list[str]
    keys: list[str]
    loose_keys: list[str]
    aliases: list[Alias]
    until: int | None = None
    several: str | None = None
    calculated: list[str] = field(default_factory=list)
    calculated_values: str = "select profile, name, held from store.calculated"
    workspace: str | None = None
    feeds: str = ""
    only_seen: bool = False

    def tell_several(self) -> None:
        """Make the relation of the profiles that have several rows, once for all stretches of a
        long reading.
        """
        tables = [
            one.table(kind)
            for one in self.segments
            for kind in ("row", "loose")
            if kind in one.tables
        ]
        rows = " union all ".join(f"select profile from {table}" for table in tables)
        self.store.scratch.make(
            "with_several",
            f"select profile from ({rows}) group by profile having count(*) > 1"
            if rows
            else "select 0::bigint as profile where false",
        )
        self.several = "with_several"

    def has(self, key: str) -> bool:
        """Say whether an attribute of that name was ever spoken of, or is calculated."""
        return key in self.keys or key in self.loose_keys or key in self.calculated

    def names(self) -> list[str]:
        """Return the names of all attributes that were ever spoken of, or are calculated."""
        return list(dict.fromkeys((*self.keys, *self.loose_keys, *self.calculated)))

    def meant(self, name: str) -> str | None:
        """Return the attribute that a name means, as it stands or as a batch names it: tier,
        user_attributes.tier, $firstname.
        """
        if self.has(name):
            return name
        try:
            field = field_named(name)
        except Unusable:
            return None
        return field.name if field.kind == "attribute" and self.has(field.name) else None

    def attributes(self) -> list[str]:
        """Return the attributes that some profile has had, sorted: not those that were only ever
        deleted.
        """
        set_loose = (
            self.store.scratch.rows(
                f"select distinct key from ({self._loose()}) where value <> {DELETED}"
            )
            if self.loose_keys
            else []
        )
        return sorted({*self.keys, *(key for (key,) in set_loose), *self.calculated})

    def find(self, kind: str, value: str) -> list[int]:
        """Return the profiles that hold an identity, or have an MPID, in any environment, oldest
        first.

        kind: an identity type, "mpid", or "any".
        """
        scratch = self.store.scratch
        if kind == "any":
            kinds = [*self.identities, *(["mpid"] if _is_mpid(value) else [])]
            return sorted({profile for one in kinds for profile in self.find(one, value)})
        if kind == "mpid":
            found = scratch.rows(
                f"select profile from ({known_mpids(self.segments)}) where mpid = $mpid order by profile",
                {"mpid": int(value)},
            )
            return [profile for (profile,) in found]
        key = key_of(BY_NAME[kind], display(value))
        secret = self.store.meta("secret")
        hashes = ", ".join(
            identity_hash(secret, quote_text(environment), kind, "$key")
            for environment in ENVIRONMENTS
        )
        known = known_identities(self.segments, removals=self.removals and self.until is None)
        found = scratch.rows(
            f"select distinct profile from ({known}) where hash in ({hashes}) order by profile",
            {"key": key},
        )
        listed = [profile for (profile,) in found]
        if self.until is None or not listed:
            return listed
        # Whoever holds it now or once did, as far as it held it then.
        held = scratch.rows(
            f"select distinct profile from ({self.rows([], self.where(listed))}) where {identity_sql.key(BY_NAME[kind], f'i_{kind}')} = $key order by profile",
            {"key": key},
        )
        return [profile for (profile,) in held]

    def where(self, profiles: Sequence[int]) -> str:
        """Return the condition on the rows of some profiles."""
        until = f" and arrival < {self.until}" if self.until is not None else ""
        listed = ", ".join(map(str, profiles)) or "null"
        # Of many, a join finds the few blocks that hold them; a list of values is compared with
        # every row (ten times as slow).
        return f"where profile in ({listed if len(profiles) < 4 else f'select unnest([{listed}]::bigint[])'}){until}"

    def lines(self, profiles: Sequence[int], *, provenance: bool = True) -> list[str]:
        """Return the JSON document of each profile, in the order given."""
        if not profiles:
            return []
        select = self.json_lines(self.where(profiles), provenance=provenance)
        found = {profile: line for profile, _, line in self.store.scratch.rows(select)}
        return [found[profile] for profile in profiles if profile in found]

    def json_lines(self, where: str, *, provenance: bool = False) -> str:
        """Return the SELECT of (profile, mpid, line), line being the JSON document of design.md 4."""
        keys = sorted({*self.keys, *self.calculated})
        attributes = ", ".join(
            f"{quote_text(json.dumps(key, ensure_ascii=False) + ':')} || {held_as_json(f'v{n}')}"
            for n, key in enumerate(keys)
        )
        attributes = f"concat_ws(',', {attributes})" if keys else "''"
        columns = [
            "folded.profile",
            "folded.mpid",
            '\'{"mpid":"\' || folded.mpid || \'","environment":"\' || '
            + environment_name("folded.environment")
            + f' || \'","workspace":\' || {quote_text(json.dumps(self.workspace, ensure_ascii=False))} || \',"first_seen_ms":\' || first_seen_ms || \',"last_seen_ms":\' || last_seen_ms'
            + f" || ',\"user_identities\":{{' || {self._identity_members(device=False)} || '}}'"
            + f" || ',\"device_identities\":{{' || {self._identity_members(device=True)} || '}}'"
            + (
                f" || ',\"user_attributes\":{{' || concat_ws(',', nullif({attributes}, ''), loose.members) || '}}'"
                if self.loose_keys
                else f" || ',\"user_attributes\":{{' || {attributes} || '}}'"
            )
            + (
                " || ',\"provenance\":{' || coalesce(provenance.members, '') || '}'"
                if provenance
                else ""
            )
            + " || '}' as line",
        ]
        joins = ""
        if self.loose_keys:
            joins += f" left join ({self._loose_members(where)}) as loose on loose.profile = folded.profile"
        if provenance:
            joins += f" left join ({self._provenance(where)}) as provenance on provenance.profile = folded.profile"
        return f"select {', '.join(columns)} from ({self.folded(keys, where)}) as folded{joins}"

    def folded(self, keys: Sequence[str], where: str) -> str:
        """Return the SELECT of one row a profile: profile, mpid, environment, first_seen_ms,
        last_seen_ms, i_<type> (a list, in order of arrival), v<n> (held) for each key;
        calculated ones first.
        """
        masked = [(n, key) for n, key in enumerate(keys) if key in self.calculated]
        if not masked:
            return self._folded(keys, where)
        pivot = "".join(
            f", max(held) filter (name = {quote_text(key)}) as c{n}" for n, key in masked
        )
        return (
            f"select folded.* replace ({', '.join(f'value.c{n} as v{n}' for n, _ in masked)}) from ({self._folded(keys, where)}) as folded"
            f" left join (select profile{pivot} from ({self.calculated_values}) {where} group by profile) as value on value.profile = folded.profile"
        )

    def _folded(self, keys: Sequence[str], where: str) -> str:
        size = range(len(keys))
        values = "".join(f", nullif(arg_max(b{n}, arrival), {DELETED}) as v{n}" for n in size)
        identities = "".join(
            f", list(i_{kind} order by arrival) filter (i_{kind} is not null) as i_{kind}"
            for kind in self.identities
        )
        rows = self.rows(keys, where)
        wide = set(keys).intersection(self.loose_keys)
        if wide:
            nulls = "".join(f", null::varchar as i_{kind}" for kind in self.identities)
            pivot = "".join(
                f", case when key = {quote_text(key)} then value end as b{n}"
                if key in wide
                else f", null::varchar as b{n}"
                for n, key in enumerate(keys)
            )
            rows += (
                " union all select profile, arrival, null::bigint as mpid, null::utinyint as environment,"
                f" null::usmallint as feed, null::bigint as at_ms, segment{nulls}{pivot} from ({self._loose(where)})"
                f" where key in ({', '.join(map(quote_text, sorted(wide)))})"
            )
        folded = (
            "select profile, max(mpid) as mpid, max(environment) as environment, min(at_ms) as first_seen_ms,"
            f" max(at_ms) as last_seen_ms{identities}{values}"
        )
        # Most profiles of most stores have one row: there is nothing to fold, and lists in order
        # are dear.
        single = (
            "select profile, mpid, environment, at_ms as first_seen_ms, at_ms as last_seen_ms"
            + "".join(
                f", case when i_{kind} is not null then [i_{kind}] end as i_{kind}"
                for kind in self.identities
            )
            + "".join(f", nullif(b{n}, {DELETED}) as v{n}" for n in size)
        )
        if self.only_seen and self.feeds:
            rows = f"select * from ({rows}) where profile in ({self.seen(where)})"
        if self.several:
            chosen = f"from ({rows}) where profile"
            return self._carried(
                f"{single} {chosen} not in (select profile from {self.several})"
                f" union all {folded} {chosen} in (select profile from {self.several}) group by profile"
            )
        return self._carried(
            f"with every as materialized ({rows}), several as materialized (select profile from every group by profile having count(*) > 1)"
            f" {single} from every where profile not in (select profile from several)"
            f" union all {folded} from every where profile in (select profile from several) group by profile"
        )

    def carried(self, profile: int) -> Alias | None:
        """Return the alias that says when a profile was first seen: the last that has taken effect."""
        return next(
            (one for one in reversed(self.aliases) if one.in_force and one.destination == profile),
            None,
        )

    def _carried(self, folded: str) -> str:
        """Return the SELECT of folded profiles with the first-seen dates that aliases carried over;
        what arrived after an alias counts as ever.
        """
        carried = [
            one
            for profile in {one.destination for one in self.aliases}
            if (one := self.carried(profile))
        ]
        if not carried:
            return folded
        alias = ", ".join(
            f"({one.destination}, {one.arrival}, {one.first_seen_ms})" for one in carried
        )
        alias = f"(values {alias}) as alias(profile, arrival, first_seen_ms)"
        rows = known_rows(
            self.segments, [], [], where=self.where([one.destination for one in carried])
        )
        return (
            "select folded.* replace (case when alias.profile is null then folded.first_seen_ms else"
            f" least(alias.first_seen_ms, later.at_ms) end as first_seen_ms) from ({folded}) as folded"
            f" left join {alias} on alias.profile = folded.profile"
            f" left join (select row.profile, min(row.at_ms) as at_ms from ({rows}) as row join {alias}"
            " on alias.profile = row.profile and row.arrival > alias.arrival group by row.profile) as later"
            " on later.profile = folded.profile"
        )

    def rows(self, keys: Sequence[str], where: str) -> str:
        """Return the rows, without the identities that were taken away since."""
        rows = known_rows(self.segments, self.identities, keys, where=where, feeds=self.feeds)
        if not self.removals:
            return rows
        secret = self.store.meta("secret")
        until = f" and removed.arrival < {self.until}" if self.until is not None else ""
        replaced = []
        for kind in self.identities:
            key = identity_sql.key(BY_NAME[kind], f"i_{kind}")
            environment = environment_name()
            gone = (
                f"exists (select 1 from store.removed where removed.profile = one.profile and removed.type = {CODE[kind]}"
                f" and removed.arrival > one.arrival{until} and removed.hash = {identity_hash(secret, environment, kind, key)})"
            )
            replaced.append(
                f"case when i_{kind} is not null and not {gone} then i_{kind} end as i_{kind}"
            )
        if not replaced:
            return rows
        return f"select * replace ({', '.join(replaced)}) from ({rows}) as one"

    def seen(self, where: str = "") -> str:
        """Return the SELECT of the profiles that the workspace has seen: by a row of its own, or as
        the destination of an alias whose source it has seen.
        """
        rows = [
            f"select profile from {segment.table('row')} {both(where, self.feeds)}"
            for segment in self.segments
        ]
        in_force = [alias for alias in self.aliases if alias.in_force] if self.feeds else []
        if in_force:
            listed = ", ".join(
                f"({alias.source}, {alias.destination}, {alias.arrival})" for alias in in_force
            )
            rows.append(
                "select profile from (select destination as profile, arrival"
                f" from (values {listed}) as alias(source, destination, arrival)"
                f" where source in ({self.sources_seen()})) {where}"
            )
        return " union all ".join(rows) or "select null::bigint as profile where false"

    def sources_seen(self) -> str:
        """Return the SELECT of the sources of aliases that the workspace has seen itself."""
        sources = ", ".join(str(source) for source in {alias.source for alias in self.aliases})
        where = both(f"where profile in ({sources or 'null'})", self.feeds)
        return (
            " union all ".join(
                f"select profile from {segment.table('row')} {where}" for segment in self.segments
            )
            or "select null::bigint as profile where false"
        )

    def attribution_carried(self, alias: Alias) -> dict[str, Value]:
        """Return the install attribution that an alias carries over in the workspace; none: an
        empty one.
        """
        by_workspace = parse_json(alias.attribution) if alias.attribution else {}
        carried = (
            by_workspace.get(self.workspace or EVERYWHERE)
            if isinstance(by_workspace, dict)
            else None
        )
        return carried if isinstance(carried, dict) else {}

    def _loose(self, where: str = "") -> str:
        return known_loose(self.segments, where=both(where, self.feeds))

    def carrying(self) -> list[CarriedEvents]:
        """Return which events are another's as well, by the aliases that have taken effect
        (domain.md 4.5).
        """
        return [
            CarriedEvents(one.source, one.destination, one.start_ms, one.end_ms, one.arrival)
            for one in self.aliases
            if one.in_force
        ]

    def events(self, where: str = "", columns: Sequence[str] = EVENT) -> str:
        """Return the SELECT of the events of profiles, those that were carried over among them
        (segments.known_events).
        """
        return known_events(self.segments, where=where, columns=columns, carried=self.carrying())

    def counted(self, where: str = "", columns: Sequence[str] = EVENT) -> str:
        """Return the SELECT of those events that calculated attributes and real-time audiences rest
        on (FORGOTTEN); an opt-out holds however old it is. The relation `forgotten` is made for
        it.
        """
        scratch = self.store.scratch
        scratch.make("forgotten", FORGOTTEN)
        if not scratch.count("forgotten"):
            return self.events(where, columns)
        own = (
            f"select one.* from ({known_events(self.segments, where=where)}) as one left join forgotten on forgotten.profile = one.profile"
            " where forgotten.before is null or one.arrival >= forgotten.before or one.type = 'opt_out'"
        )
        destinations = ", ".join(str(one.destination) for one in self.carrying()) or "null"
        before = dict(
            scratch.rows(f"select profile, before from forgotten where profile in ({destinations})")
        )
        parts = [own]
        for one in self.carrying():  # they arrived with the alias
            narrowed = (
                where
                if one.before >= before.get(one.destination, 0)
                else both(where, "type = 'opt_out'")
            )
            happened = known_events(self.segments, where=one.where)
            parts.append(
                f"select * from (select * replace ({one.destination}::bigint as profile) from ({happened})) {narrowed}"
            )
        return f"select {', '.join(columns)} from ({' union all '.join(parts)})"

    def happened(self, where: str = "") -> str:
        """Return the WHERE clause of the events that the workspace has; an opt-out holds in all of
        them (domain.md 2).
        """
        return both(where, f"({self.feeds} or type = 'opt_out')" if self.feeds else "")

    def event_names(self) -> int:
        """Return how many distinct names the workspace's events have, of the types whose names are
        free.
        """
        named = both(f"where type in ({', '.join(map(quote_text, NAMED_FREELY))})", self.feeds)
        return int(
            self.store.scratch.row(
                f"select count(distinct name) from ({known_events(self.segments, where=named, columns=('name',))})"
            )[0]
        )

    def _identity_members(self, *, device: bool) -> str:
        members = [
            f"'\"{kind}\":' || to_json(i_{kind})::varchar"
            for kind in sorted(self.identities)
            if BY_NAME[kind].device is device
        ]
        return f"concat_ws(',', {', '.join(members)})" if members else "''"

    def newest(self, where: str) -> str:
        """Return the SELECT of the cell in force of each (profile, key): held, arrival, feed,
        at_ms.
        """
        if self.several:
            chosen = f"{where or 'where true'} and profile"
            return (
                f"select profile, key, held, arrival, feed, at_ms from ({self._cells(f'{chosen} not in (select profile from {self.several})')})"
                f" where held <> {DELETED} union all {self._newest_of(f'{chosen} in (select profile from {self.several})')}"
            )
        return self._newest_of(where)

    def deleted(self, where: str, since: int) -> str:
        """Return the SELECT of (profile, keys): the attributes that are gone, by a row from an
        arrival on.
        """
        newest = "arg_max(held, arrival) as held, max(arrival) as arrival"
        return (
            f"select profile, list(key order by key) as keys from (select profile, key, {newest} from ({self._cells(where)}) group by profile, key)"
            f" where held = {DELETED} and arrival >= {since} group by profile"
        )

    def _newest_of(self, where: str) -> str:
        newest = "arg_max({held: held, arrival: arrival, feed: feed, at_ms: at_ms}, arrival)"
        return f"select profile, key, unnest({newest}) from ({self._cells(where)}) group by profile, key having arg_max(held, arrival) <> {DELETED}"

    def _cells(self, where: str) -> str:
        """Return the SELECT of all cells there ever were: profile, key, held, arrival, feed, at_ms."""
        parts = []
        for segment in self.segments:
            for n, key in enumerate(segment.keys):
                parts.append(
                    f"select profile, {quote_text(key)} as key, a{n} as held, arrival, feed, at_ms"
                    f" from {segment.table('row')} {both(both(where, self.feeds), f'a{n} is not null')}"
                )
            if "loose" in segment.tables:
                parts.append(
                    "select one.profile, one.key, one.value as held, one.arrival, one.feed, row.at_ms from"
                    f" (select * from {segment.table('loose')} {both(where, self.feeds)}) as one join"
                    f" (select profile, arrival, at_ms from {segment.table('row')} {where}) as row"
                    " on row.profile = one.profile and row.arrival = one.arrival"
                )
        return (
            " union all ".join(parts)
            or "select 0 as profile, '' as key, '' as held, 0 as arrival, 0 as feed, 0 as at_ms where false"
        )

    def _provenance(self, where: str) -> str:
        """Return the SELECT of (profile, members): where each current value comes from."""
        line = "case import_file.unit when 'line' then ',\"line\":' else ',\"row\":' end || (line_run.first_line + cell.arrival - line_run.first_arrival)"
        member = (
            "to_json(cell.key)::varchar || ':{\"source\":' || to_json(import.source)::varchar || ',\"feed\":' || to_json(feed.name)::varchar"
            " || ',\"import\":' || import.number || ',\"file\":' || to_json(import_file.path)::varchar || "
            f"{line} || ',\"set_ms\":' || cell.at_ms || '}}'"
        )
        stored = (
            f"select cell.profile, cell.key, {member} as member from ({self.newest(where)}) as cell"
            f" asof join ({IMPORT_FILES}) as import_file on cell.arrival >= import_file.first_arrival"
            " asof join store.line_run as line_run on cell.arrival >= line_run.first_arrival"
            " join store.import as import on import.number = import_file.import"
            " join store.feed as feed on feed.number = cell.feed"
        )
        if self.calculated:
            names = ", ".join(map(quote_text, self.calculated))
            stored = (
                f"select * from ({stored}) where key not in ({names}) union all select profile, name,"
                f' to_json(name)::varchar || \':{{"source":"calculated"}}\' from (select * from ({self.calculated_values}) {where}) where name in ({names})'
            )
        return f"select profile, string_agg(member, ',' order by key) as members from ({stored}) group by profile"

    def newest_loose(self, where: str) -> str:
        """Return the SELECT of the attributes in force that have no column: profile, key, held."""
        wide = ", ".join(map(quote_text, [*self.keys, *self.calculated])) or "''"
        only = (
            f" and key in ({', '.join(map(quote_text, self.loose_keys))})"
            if self.loose_keys
            else ""
        )
        newest = (
            f"select profile, key, arg_max(value, arrival) as held from ({self._loose(where)})"
            f" where key not in ({wide}){only} group by profile, key"
        )
        return f"select * from ({newest}) where held <> {DELETED}"

    def _loose_members(self, where: str) -> str:
        member = f"to_json(key)::varchar || ':' || {held_as_json('held')}"
        return f"select profile, string_agg({member}, ',' order by key) as members from ({self.newest_loose(where)}) group by profile"


def retired(erasure: object, *, forgotten: bool) -> str:
    """Return the name in store.meta under which an act of retention keeps the arrival before which
    all had come that it took away. forgotten: events as well, as what is computed is concerned;
    else, with Lifetime Profiles, all comes back.
    """
    return f"{'forgotten' if forgotten else 'retired'}_before:{erasure}"


FORGOTTEN = (
    "select aged.profile, max(meta.value::bigint) as before from store.aged"
    f" join store.meta on meta.name = {quote_text(retired('', forgotten=True))} || aged.erasure group by aged.profile"
)
"""The SELECT of profiles that were stubs (expiry.py), and the arrival before which events are kept
and shown, and count for nothing that is computed of a profile's lifetime: calculated attributes
and real-time audiences (domain.md 13).
"""
RETIRED = (
    "select aged.profile, max(erasure.at_ms) as aged_ms, max(meta.value::bigint) as before from store.aged"
    " join store.erasure on erasure.number = aged.erasure left join store.meta on meta.name in"
    f" ({', '.join(f'{quote_text(retired(str(), forgotten=one))} || aged.erasure' for one in (True, False))}) group by aged.profile"
)
"""The SELECT of all profiles that retention took something of, when it last did, and the arrival of
the first row since; null: an older version did not write it down.
"""


def _is_mpid(value: str) -> bool:
    return (
        value.removeprefix("-").isdecimal() and value.isascii() and -(2**63) <= int(value) < 2**63
    )


def profiles_of(
    store: OpenStore,
    *,
    until: int | None = None,
    now_ms: int | None = None,
    workspace: str | None = None,
    every: bool = False,
) -> Profiles:
    """Return the read model of an open store.

    until: as of the arrival before this one (history.as_of); now_ms: the time at which aliases have
    taken effect or not. workspace: whose attributes are read, else the one that is meant; every: of
    all workspaces, where it does not matter whose. Raises UsageError where several could be meant.
    """
    segments = store.segments()
    identities = [
        kind.name for kind in TYPES if any(kind.name in one.identities for one in segments)
    ]
    keys = list(dict.fromkeys(key for one in segments for key in one.keys))
    loose_keys: list[str] = []
    if any("loose" in one.tables for one in segments):
        found = store.scratch.rows(
            f"select distinct key from ({known_loose(segments)}) order by key"
        )
        loose_keys = [key for (key,) in found]
    before = f" where arrival < {until}" if until is not None else ""
    aliases = store.scratch.rows(
        "select arrival, source, destination, start_ms, end_ms, due_ms, first_seen_ms, attribution, due_ms <= $now"
        f" from store.alias{before} order by arrival",
        {"now": now_ms if now_ms is not None else time.time_ns() // 1_000_000},
    )
    profiles = Profiles(
        store,
        segments,
        store.removals(),
        identities,
        keys,
        loose_keys,
        [Alias(*one) for one in aliases],
        until,
    )
    if not every:
        _choose(profiles, store.feeds(), workspace or store.workspace)
    if until is None:
        profiles.calculated = store.calculated(profiles.workspace)
    return profiles


def account_profiles(store: OpenStore) -> Profiles:
    """Return the read model of what the account's own feeds have said of profiles, and no
    workspace.
    """
    profiles = profiles_of(store, every=True)
    profiles.workspace, profiles.calculated = NO_WORKSPACE, []
    profiles.feeds = f"feed in (select number from store.feed where source = {quote_text(ACCOUNT)})"
    return profiles


def _choose(profiles: Profiles, feeds: Sequence[Feed], wanted: str | None) -> None:
    """Make a read model that of one workspace."""
    there = workspaces_of(feeds)
    if wanted is None and len(there) > 1:
        raise several_workspaces(there)
    if wanted is not None and there and wanted not in there:
        raise no_workspace(wanted, there)
    profiles.workspace = wanted or next(iter(there), DEFAULT_WORKSPACE)
    if there not in ([], [profiles.workspace]):
        numbers = ", ".join(str(feed.number) for feed in feeds if feed.seen_in(profiles.workspace))
        profiles.feeds = f"feed in ({numbers or 'null'})"
