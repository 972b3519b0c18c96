"""The rows and events of profiles in the segments: which of them count, and for which profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from profilectl.profiles.aliases import EVERYWHERE, Alias
from profilectl.profiles.ended_lifetimes import FORGOTTEN
from profilectl.rules.event.event import NAMED_FREELY
from profilectl.rules.feed import Feed
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.rules.text.values import Value, parse_json
from profilectl.store.segments import (
    EVENT,
    CarriedEvents,
    Segment,
    both,
    known_events,
    known_loose,
    known_rows,
    of_each,
)
from profilectl.store.statements import (
    among,
    is_in,
    listed,
    numbers,
    reading,
    select,
    texts,
    union_all,
)
from profilectl.store.store import OpenStore

NO_PROFILE = "select null::bigint as profile where false"

# The profiles that have several rows: only these have to be folded.
WITH_SEVERAL_ROWS = "select profile from stored_row group by profile having count(*) > 1"

# The rows, without the identities that were taken away since.
WITHOUT_REMOVED = "select * replace ({columns}) from stored_row"

# The destinations of aliases whose source the workspace has seen.
SEEN_AS_SOURCE = """
select destination as profile, arrival
from alias
where source in (select profile from source_seen)
"""

# The events of profiles that count for what is computed of their lifetime. An opt-out holds,
# however old it is.
COUNTED = """
select happened.*
from happened
left join forgotten on forgotten.profile = happened.profile
where forgotten.before is null
   or happened.arrival >= forgotten.before
   or happened.type = 'opt_out'
"""

FORGOTTEN_AMONG = """
select profile, before
from forgotten
where profile in (select unnest($profiles::bigint[]))
"""
NAMES = "select count(distinct name) from happened"


@dataclass(slots=True)
class StoredRows:
    """The rows of the profiles of an open store, with all that is needed to read them."""

    store: OpenStore
    """The store they are read from."""
    segments: list[Segment]
    """Its segments, oldest first."""
    removals: bool
    """Whether an identity was ever taken from a profile."""
    identities: list[str]
    """The identity types that some profile has had."""
    keys: list[str]
    """The attributes that have a column in some segment."""
    loose_keys: list[str]
    """The attributes that lie in a table of their own, a row each."""
    aliases: list[Alias]
    """The aliases, in order of arrival."""
    until: int | None = None
    """Only what had arrived before this arrival is read; None: all."""
    several: str | None = None
    """The relation of profiles with several rows, if tell_several made it."""
    calculated: list[str] = field(default_factory=list)
    """The calculated attributes, which mask attributes of the same name."""
    calculated_values: str = "select profile, name, held from store.calculated"
    """The SELECT of their values."""
    workspace: str | None = None
    """The workspace whose attributes are read; None: those of all, the newest cell of each."""
    feeds: str = ""
    """The condition on a row whose attributes count; "": all do."""
    only_seen: bool = False
    """Whether profiles that the workspace has not seen are left out."""

    _registered: list[Feed] | None = None
    """The feeds, once they were read."""
    _secret: str | None = None
    """The secret, once it was read."""

    def registered(self) -> list[Feed]:
        """Return the feeds of the store, by name. They are read once."""
        if self._registered is None:
            self._registered = self.store.feeds()
        return self._registered

    def secret(self) -> str:
        """Return the secret that identities are hashed with. It is read once."""
        if self._secret is None:
            self._secret = self.store.meta("secret")
        return self._secret

    def where(self, profiles: Sequence[int]) -> str:
        """Return the WHERE clause that finds the rows of some profiles."""
        # A join finds the few blocks in which the profiles are; a list of values is compared with
        # every row: 10 ms instead of 2 for two of 200,000 profiles. A single value is no list.
        chosen = (
            numbers(profiles)
            if len(profiles) < 2
            else f"select unnest([{numbers(profiles)}]::bigint[])"
        )
        until = f"arrival < {self.until}" if self.until is not None else ""
        return both(both("", is_in("profile", chosen)), until)

    def rows(self, keys: Sequence[str], clause: str) -> str:
        """Return the SELECT of rows, without the identities that were taken away since."""
        rows = known_rows(self.segments, self.identities, keys, where=clause, feeds=self.feeds)
        if not self.removals or not self.identities:
            return rows
        until = both("", f"arrival < {self.until}" if self.until is not None else "")
        return reading(
            WITHOUT_REMOVED.format(columns=", ".join(map(self._not_removed, self.identities))),
            stored_row=rows,
            removed=select("*", "store.removed", until),
        )

    def _not_removed(self, kind: str) -> str:
        """Return the column of an identity, null where a later row took it away."""
        key = identity_sql.key(BY_NAME[kind], f"i_{kind}")
        digest = identity_hash(
            secret=self.secret(), environment=environment_name(), kind=kind, key=key
        )
        # a row that arrived after the removal gives the identity again
        removed = (
            "select 1 from removed where removed.profile = stored_row.profile"
            f" and removed.type = {CODE[kind]} and removed.arrival > stored_row.arrival"
            f" and removed.hash = {digest}"
        )
        there = f"i_{kind} is not null and not exists ({removed})"
        return f"case when {there} then i_{kind} end as i_{kind}"

    def loose(self, clause: str = "") -> str:
        """Return the SELECT of the attributes without a column that count."""
        return known_loose(self.segments, where=both(clause, self.feeds))

    def seen(self, clause: str = "") -> str:
        """Return the SELECT of the profiles that the workspace has seen.

        It has seen a profile by a row of its own, or as the destination of an alias whose source it
        has seen.
        """
        rows = of_each(self.segments, "row", columns="profile", clause=both(clause, self.feeds))
        in_force = [alias for alias in self.aliases if alias.in_force] if self.feeds else []
        if in_force:
            sides = [(alias.source, alias.destination, alias.arrival) for alias in in_force]
            by_alias = reading(
                SEEN_AS_SOURCE,
                alias=listed("source, destination, arrival", sides),
                source_seen=self.sources_seen(),
            )
            rows.append(select("profile", f"({by_alias})", clause))
        return union_all(rows, NO_PROFILE)

    def sources_seen(self) -> str:
        """Return the SELECT of the sources of aliases that the workspace has seen itself."""
        sources = numbers({alias.source for alias in self.aliases})
        clause = both(both("", is_in("profile", sources)), self.feeds)
        return union_all(
            of_each(self.segments, "row", columns="profile", clause=clause), NO_PROFILE
        )

    def carried(self, profile: int) -> Alias | None:
        """Return the alias that decides when a profile was first seen: the last one in force."""
        return next(
            (
                alias
                for alias in reversed(self.aliases)
                if alias.in_force and alias.destination == profile
            ),
            None,
        )

    def attribution_carried(self, alias: Alias) -> dict[str, Value]:
        """Return the install attribution that an alias carries over in the workspace; {}: none."""
        by_workspace = parse_json(alias.attribution) if alias.attribution else {}
        if not isinstance(by_workspace, dict):
            return {}
        carried = by_workspace.get(self.workspace or EVERYWHERE)
        return carried if isinstance(carried, dict) else {}

    def carrying(self) -> list[CarriedEvents]:
        """Return the events that aliases in force carry over to another profile (domain.md 4.5)."""
        return [
            CarriedEvents(
                source=alias.source,
                destination=alias.destination,
                start_ms=alias.start_ms,
                end_ms=alias.end_ms,
                before=alias.arrival,
            )
            for alias in self.aliases
            if alias.in_force
        ]

    def events(self, clause: str = "", columns: Sequence[str] = EVENT) -> str:
        """Return the SELECT of the events of profiles, carried ones too (segments.known_events)."""
        return known_events(self.segments, where=clause, columns=columns, carried=self.carrying())

    def counted(self, clause: str = "", columns: Sequence[str] = EVENT) -> str:
        """Return the SELECT of the events that count for what is computed of a lifetime.

        These are what calculated attributes and real-time audiences rest on. The relation
        `forgotten` is made for it (FORGOTTEN). An opt-out holds however old it is.
        """
        scratch = self.store.scratch
        scratch.make("forgotten", FORGOTTEN)
        if not scratch.count("forgotten"):
            return self.events(clause, columns)
        carrying = self.carrying()
        destinations = sorted({alias.destination for alias in carrying})
        before = dict(scratch.rows(FORGOTTEN_AMONG, {"profiles": destinations}))
        own = reading(COUNTED, happened=known_events(self.segments, where=clause))
        parts = [f"({own})"]
        for alias in carrying:
            # an event that was carried over counts as if it had arrived with the alias
            counts = alias.before >= before.get(alias.destination, 0)
            happened = select(
                f"* replace ({alias.destination}::bigint as profile)",
                f"({known_events(self.segments, where=alias.where)})",
            )
            parts.append(
                select("*", f"({happened})", clause if counts else both(clause, "type = 'opt_out'"))
            )
        return select(columns, f"({union_all(parts)})")

    def happened(self, clause: str = "") -> str:
        """Return the WHERE clause of the events that the workspace has.

        An opt-out holds in every workspace (domain.md 2).
        """
        return both(clause, f"({self.feeds} or type = 'opt_out')" if self.feeds else "")

    def event_names(self) -> int:
        """Return how many names the workspace's events of freely named types have."""
        clause = both(both("", is_in("type", texts(NAMED_FREELY))), self.feeds)
        happened = known_events(self.segments, where=clause, columns=("name",))
        return int(self.store.scratch.row(reading(NAMES, happened=happened))[0])

    def seen_only(self, rows: str, clause: str) -> str:
        """Return the SELECT of rows without profiles that the workspace has not seen.

        That is so with `only_seen`; else it is all rows.
        """
        if not (self.only_seen and self.feeds):
            return rows
        return select("*", f"({rows})", both("", among(f"({self.seen(clause)})")))
