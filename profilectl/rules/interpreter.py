"""The interpreter: the rules applied to one batch after another, the definition of right.

Nothing here is fast and nothing here is clever. The engine (importing/) must leave the same store
for every input; where the two differ, the engine is wrong (design.md 2, 3). Plain values in, plain
values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from profilectl.rules.batch import Batch, apply_deletes
from profilectl.rules.counts import Counts
from profilectl.rules.event.event import Event
from profilectl.rules.feed import ACCOUNT, PROTECTIONS, Effect, Feed
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import Rules, UsableIdentity
from profilectl.rules.mpid import mpid_for
from profilectl.rules.priority import CONSENT_SOURCES, SET, verdict
from profilectl.rules.resolution import (
    Claim,
    Decision,
    IdentityChange,
    ProfileIdentity,
    Records,
    decide,
    identity_counts,
    modify,
)
from profilectl.rules.retention import Clocks, Stage
from profilectl.rules.text.values import DELETED, is_list

DAY_MS = 24 * 60 * 60 * 1000
REQUEST_MEMORY_MS = 30 * DAY_MS
"""The time for which a source_request_id is remembered (domain.md 5.1)."""


@dataclass(slots=True)
class AttributeValue:
    """A value of an attribute, and its origin."""

    held: str
    """The held value (values.hold), or DELETED."""
    feed: Feed
    """The feed that set it."""
    arrival: int
    """The arrival of its row."""
    at_ms: int
    """The time of its row."""


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """An event of a profile."""

    event: Event
    """The event."""
    arrival: int
    """The arrival of its row."""
    place: int
    """Its place in the row's batch, from 0."""
    at_ms: int
    """Its time, or that of its batch if it has none."""
    feed: Feed
    """The feed that brought it."""


@dataclass(slots=True)
class InterpretedProfile:
    """A profile of the interpreter."""

    mpid: int
    """Its MPID."""
    environment: str
    """Its environment."""
    first_seen_ms: int
    """The earliest time of its rows."""
    last_seen_ms: int
    """The latest time of its rows."""
    identities: list[tuple[UsableIdentity, int]] = field(default_factory=list)
    """Its identities and the arrivals that added them, in order of arrival."""
    latest: dict[tuple[str | None, str], AttributeValue] = field(default_factory=dict)
    """The latest value of each attribute, or its deletion: (workspace, key) -> value. An attribute
    of the account has the workspace None.
    """
    events: list[ProfileEvent] = field(default_factory=list)
    """Its events in order of arrival."""
    feeds: set[Feed] = field(default_factory=set)
    """The feeds that brought any of it."""
    forgotten: int = 0
    """The arrival before which events no longer count, except opt-outs: the profile was beyond its
    lifetime then (domain.md 13).
    """

    def holdings(self, profile: int) -> set[ProfileIdentity]:
        """Return the identities that the profile holds, in no order."""
        return {
            (profile, self.environment, identity.type, identity.key)
            for identity, _ in self.identities
        }

    def seen_in(self, workspace: str) -> bool:
        """Return whether a workspace has seen the user."""
        return any(feed.seen_in(workspace) for feed in self.feeds)

    def copy(self) -> InterpretedProfile:
        """Return a copy whose identities and attributes do not change with the profile."""
        return replace(self, identities=list(self.identities), latest=dict(self.latest))

    def attributes(self, feed: Feed) -> dict[str, AttributeValue]:
        """Return the attributes in force for a feed: those of its workspace and of the account.

        For an account feed they are those of all workspaces; of several with one name the latest is
        in force (domain.md 6.3).
        """
        values: dict[str, AttributeValue] = {}
        for (_, key), value in self.latest.items():
            if feed.shares_attributes(value.feed) and (
                key not in values or values[key].arrival < value.arrival
            ):
                values[key] = value
        return {key: value for key, value in values.items() if value.held != DELETED}

    @property
    def cells(self) -> dict[str, AttributeValue]:
        """The attributes in a store that has one workspace only."""
        return self.attributes(Feed(""))


@dataclass(slots=True)
class Suppressed:
    """An erased person."""

    identities: set[tuple[str, str, str]]
    """The identities (environment, type, key) that keep a row out."""
    until: int | None
    """The arrival from which rows may come again; None: they stay out for good."""


@dataclass(slots=True)
class _Import:
    """One import while it runs."""

    feed: Feed
    """The feed whose rows arrive."""
    protection: str
    """The protection level in force."""
    environment: str | None
    """The environment that the import is for, if one was given."""
    now_ms: int
    """The start of the import: the time of rows without one."""
    call: str = "identify"
    """The call that every row makes, one of identity.CALLS."""
    counts: Counts = field(default_factory=Counts)
    """The counts so far."""
    before: dict[int, InterpretedProfile] = field(default_factory=dict)
    """The profiles it touched, as they were before it."""
    created: set[int] = field(default_factory=set)
    """The profiles it created."""
    blocked: dict[tuple[int, str], str] = field(default_factory=dict)
    """The attributes that priority refused: (profile, key) -> code."""

    def environment_of(self, row: Batch) -> str:
        """Return the environment of a row: its own, else the import's (design.md R18)."""
        return row.environment or self.environment or "production"

    def time_of(self, row: Batch) -> int:
        """Return the time of a row: its own, else the start of the import (design.md R15)."""
        return row.at_ms if row.at_ms is not None else self.now_ms


@dataclass(slots=True)
class Interpreter:
    """A profile store in memory. A profile is named by the arrival of the row that founded it."""

    rules: Rules
    """The identity rules in force."""
    priority: str = "rank"
    """The reading of source priority: rank or first-writer (design.md R1)."""
    secret: str = ""
    """The store's secret, which MPIDs are made from."""
    calculated: frozenset[str] = frozenset()
    """The names of calculated attributes that the feed may not set (feed.computed)."""
    people: dict[int, InterpretedProfile] = field(default_factory=dict)
    """The profiles, by their names."""
    records: dict[str, Records] = field(default_factory=dict)
    """The identity records of each environment; an MPID is one person's within an environment."""
    requests: dict[tuple[str, str], tuple[int, int | None]] = field(default_factory=dict)
    """The requests that were processed: (feed, source_request_id) -> (time, profile)."""
    mpids: set[int] = field(default_factory=set)
    """The MPIDs in use in any environment; none of them is made again."""
    arrivals: int = 0
    """The number of rows that have arrived."""
    ever: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    """The identities (type, key) that a profile has had at the end of an import."""
    suppressed: dict[int, Suppressed] = field(default_factory=dict)
    """The erased people, by the profiles that they had."""
    erased_mpids: set[tuple[str, int]] = field(default_factory=set)
    """The environments and MPIDs of erased people."""

    def run(
        self,
        feed: Feed,
        protection: str,
        rows: Iterable[Batch | UnusableRow],
        now_ms: int,
        environment: str | None = None,
        call: str = "identify",
    ) -> Counts:
        """Apply one import, and return its counts.

        environment: the environment that the import is for, if any. call: what every row says of
        its user, one of identity.CALLS.
        """
        running = _Import(feed, protection, environment=environment, now_ms=now_ms, call=call)
        for row in rows:
            arrival = self.arrivals
            self.arrivals += 1
            running.counts.rows["read"] += 1
            if not self._is_kept_out(running, row, arrival):
                assert isinstance(row, Batch)
                self._apply(running, row, arrival)
        self._count(running)
        self._remember(running.before)
        return running.counts

    def _is_kept_out(self, running: _Import, row: Batch | UnusableRow, arrival: int) -> bool:
        """Count a row that is rejected or dropped before anybody is looked up for it."""
        if isinstance(row, UnusableRow):
            code, fate = row.code, "rejected"
        elif row.environment and running.environment and row.environment != running.environment:
            code, fate = "ENVIRONMENT_MISMATCH", "rejected"
        elif drop := self._drop_code(running, row, arrival):
            code, fate = drop, "dropped"
            _remark(row, running.counts)
        else:
            return False
        running.counts.codes[code] += 1
        running.counts.rows[fate] += 1
        return True

    def _drop_code(self, running: _Import, row: Batch, arrival: int) -> str | None:
        """Return why a row is dropped before anybody is looked up for it, or None.

        Erased people come first (domain.md 14), then the protection level (7), then repeated
        requests (5.1).
        """
        # An erased person stays out even of a feed that may only read.
        if self._stays_out(row, running.environment_of(row), arrival):
            return "SUPPRESSED"
        protection = PROTECTIONS[running.protection]
        if protection.known_user is Effect.PASS_BY:
            return protection.code
        earlier = self.requests.get((running.feed.name, row.request)) if row.request else None
        if earlier is not None and running.now_ms - earlier[0] <= REQUEST_MEMORY_MS:
            return "DUPLICATE_REQUEST"
        return None

    def _apply(self, running: _Import, row: Batch, arrival: int) -> None:
        """Resolve a row to its profile, and give the profile what the row has (domain.md 4.4)."""
        counts, protection = running.counts, PROTECTIONS[running.protection]
        _remark(row, counts)
        decision = decide(
            Claim(arrival, row.identities, row.mpid),
            self.records.setdefault(running.environment_of(row), Records()),
            self.rules,
            create=protection.unknown_user is Effect.CREATE,
            call=running.call,
        )
        profile = decision.profile
        counts.codes.update(decision.codes)
        if row.request:
            # Remembered even if nobody was found: the same request is not processed twice.
            self.requests[running.feed.name, row.request] = running.now_ms, profile
        if profile is None:
            counts.codes[protection.code] += 1
            counts.rows["dropped"] += 1
            return
        counts.rows["applied"] += 1
        if decision.created:
            self.people[profile] = self._founded(running, row, arrival)
            running.created.add(profile)
        self.people[profile].feeds.add(running.feed)
        # Copied before the row changes them; a profile just created is copied empty.
        for touched in (profile, *(loser for loser, _, _ in decision.removed)):
            running.before.setdefault(touched, self.people[touched].copy())
        self._identify(decision, arrival)
        self._set(running, profile, row, arrival=arrival)
        self._keep(running, profile, row, arrival=arrival)

    def modify(self, profile: int, changes: Sequence[IdentityChange], now_ms: int) -> Counts:
        """Change the identities of one profile, as an import of a row for each change.

        What changes nothing is no import, and leaves no trace. Raises ChangeRefused.
        """
        person = self.people[profile]
        records = self.records[person.environment]
        # Of all profiles, because which of them lose an identity is not known yet.
        before = {name: past.copy() for name, past in self.people.items()}
        # A change by hand belongs to no feed and is under no protection.
        running = _Import(Feed(""), "", environment=None, now_ms=now_ms)
        decisions = modify(profile, changes, records, rules=self.rules)
        running.counts.rows["read"] = running.counts.rows["applied"] = len(decisions)
        if not any(decision.added or decision.removed for decision in decisions):
            running.counts.profiles["unchanged"] += 1
            return running.counts
        for decision in decisions:
            self._identify(decision, self.arrivals)
            records.last[profile] = self.arrivals
            self.arrivals += 1
        person.first_seen_ms = min(person.first_seen_ms, now_ms)
        person.last_seen_ms = max(person.last_seen_ms, now_ms)
        losers = {loser for decision in decisions for loser, _, _ in decision.removed}
        running.before = {touched: before[touched] for touched in {profile} | losers}
        self._count(running)
        self._remember(running.before)
        return running.counts

    def forget(self, profiles: Iterable[int], *, allow_return: bool = False) -> None:
        """Erase people, and keep out rows with an identity or MPID that they had (domain.md 14).

        An identity that a person who stays has too is not theirs alone, and keeps nobody out.

        allow_return: keep out only rows that have arrived already, in case they are made again;
        rows that arrive later come in. The MPID stays out in either case.
        """
        erased = set(profiles)
        for profile in sorted(erased):
            person = self.people.pop(profile)
            holders = self.records[person.environment].holders
            self.erased_mpids.add((person.environment, person.mpid))
            theirs = {
                (person.environment, *identity)
                for identity in self.ever.pop(profile, ())
                if not holders.get(identity, set()) - erased
            }
            self.suppressed[profile] = Suppressed(theirs, self.arrivals if allow_return else None)
        self._drop(erased)

    def age(self, clocks: Clocks, now_ms: int) -> None:
        """Take away what is beyond its clock (domain.md 13).

        A stub loses its attributes, and its events no longer count; a profile beyond retention goes
        altogether.
        """
        stages = {
            profile: clocks.stage(person.last_seen_ms, now_ms)
            for profile, person in self.people.items()
        }
        for profile, stage in stages.items():
            if stage is Stage.STUB and not clocks.lifetime_profiles:
                self.people[profile].latest.clear()
                self.people[profile].forgotten = self.arrivals
        self._drop({profile for profile, stage in stages.items() if stage is Stage.GONE})
        self.requests = {
            name: request
            for name, request in self.requests.items()
            if now_ms - request[0] <= REQUEST_MEMORY_MS
        }

    def _drop(self, profiles: set[int]) -> None:
        for profile in profiles:
            self.people.pop(profile, None)
            self.ever.pop(profile, None)
        for environment in self.records.values():
            environment.drop(profiles)
        self.requests = {
            name: request for name, request in self.requests.items() if request[1] not in profiles
        }

    def lift(self, kind: str, key: str) -> None:
        """Let erased people come back who had an identity: rows with any of theirs come in."""
        for person in self.suppressed.values():
            identities = {(its_kind, its_key) for _, its_kind, its_key in person.identities}
            if person.until is None and (kind, key) in identities:
                person.until = self.arrivals

    def _remember(self, profiles: Iterable[int]) -> None:
        for profile in profiles:
            self.ever.setdefault(profile, set()).update(
                (identity.type, identity.key) for identity, _ in self.people[profile].identities
            )

    def _stays_out(self, row: Batch, environment: str, arrival: int) -> bool:
        """Return whether a row has an identity or the MPID of an erased person who stays out."""
        claims = {(environment, identity.type, identity.key) for identity in row.identities}
        return (environment, row.mpid) in self.erased_mpids or any(
            claims & person.identities
            for person in self.suppressed.values()
            if person.until is None or arrival < person.until
        )

    def _founded(self, running: _Import, row: Batch, arrival: int) -> InterpretedProfile:
        """Return the new profile of a row, with the MPID that it names, else a new one."""
        mpid, attempt = row.mpid, 0
        # A made MPID is never one in use; a named one is taken as it is.
        while mpid is None or (mpid in self.mpids and row.mpid is None):
            mpid, attempt = mpid_for(self.secret, arrival, attempt), attempt + 1
        # Made MPIDs stay taken after an erasure: none is ever used again.
        self.mpids.add(mpid)
        environment, at_ms = running.environment_of(row), running.time_of(row)
        self.records[environment].by_mpid[mpid] = arrival
        return InterpretedProfile(
            mpid=mpid, environment=environment, first_seen_ms=at_ms, last_seen_ms=at_ms
        )

    def _identify(self, decision: Decision, arrival: int) -> None:
        """Take the identities that a decision removed, and give those that it added."""
        profile = decision.profile
        assert profile is not None
        for loser, kind, key in decision.removed:
            person = self.people[loser]
            person.identities = [
                (identity, since)
                for identity, since in person.identities
                if (identity.type, identity.key) != (kind, key)
            ]
        self.people[profile].identities += [(identity, arrival) for identity in decision.added]

    def _set(self, running: _Import, profile: int, row: Batch, *, arrival: int) -> None:
        """Set and delete the attributes of a row, as far as priority allows (domain.md 6.3)."""
        person, feed, at_ms = self.people[profile], running.feed, running.time_of(row)
        person.first_seen_ms = min(person.first_seen_ms, at_ms)
        person.last_seen_ms = max(person.last_seen_ms, at_ms)
        # Read once: all cells of one row are decided against the state before it.
        current = person.attributes(feed)
        workspace = None if feed.source == ACCOUNT else feed.workspace
        # A delete is under the same table as a set (domain.md 6.3).
        for key, held in apply_deletes(row).items():
            owner = current.get(key)
            code = verdict(
                feed.owner,
                owner.feed.owner if owner else None,
                self.priority,
                calculated=key in self.calculated,
            )
            if code == SET:
                person.latest[workspace, key] = AttributeValue(
                    held, feed, arrival=arrival, at_ms=at_ms
                )
            else:
                running.blocked[profile, key] = code

    def _keep(self, running: _Import, profile: int, row: Batch, *, arrival: int) -> None:
        """Keep the events of a row with its profile (domain.md 5.2).

        An event without a time has its batch's. The consent stays in the row; warnings on it are
        counted here (5.3).
        """
        feed, counts = running.feed, running.counts
        for place, event in enumerate(row.events):
            at_ms = event.at_ms if event.at_ms is not None else running.time_of(row)
            self.people[profile].events.append(
                ProfileEvent(event, arrival, place=place, at_ms=at_ms, feed=feed)
            )
        counts.events["added"] += len(row.events)
        if feed.source in CONSENT_SOURCES:
            for regulation, purpose in row.consents_after(running.now_ms):
                counts.remark("CONSENT_FUTURE", f"{regulation}.{purpose}")
        elif row.says_consent:
            counts.codes["CONSENT_SOURCE_NOT_ALLOWED"] += 1

    def _count(self, running: _Import) -> None:
        """Compare each profile that an import touched with itself before the import."""
        counts = running.counts
        for (_, key), code in running.blocked.items():
            counts.attributes["blocked"] += 1
            counts.remark(code, key)
        holdings_before: set[ProfileIdentity] = set()
        holdings_after: set[ProfileIdentity] = set()
        for profile, past in running.before.items():
            before, after = past.holdings(profile), self.people[profile].holdings(profile)
            holdings_before |= before
            holdings_after |= after
            is_altered = self._count_attributes(running, profile) or before != after
            if profile in running.created:
                counts.profiles["created"] += 1
            else:
                counts.profiles["updated" if is_altered else "unchanged"] += 1
        counts.identities.update(identity_counts(holdings_before, holdings_after))

    def _count_attributes(self, running: _Import, profile: int) -> bool:
        """Count the attributes of a touched profile; return whether any is different."""
        counts = running.counts
        before = running.before[profile].attributes(running.feed)
        after = self.people[profile].attributes(running.feed)
        is_altered = False
        for key in before.keys() | after.keys():
            old, new = before.get(key), after.get(key)
            difference = _difference(old, new)
            # An attribute that no row touched is not counted.
            counts.attributes[difference] += difference != "unchanged" or old is not new
            is_altered = is_altered or difference != "unchanged"
            if old and new and is_list(old.held) != is_list(new.held):
                counts.remark("UA_KIND_CHANGED", key)
        return is_altered


def _remark(row: Batch, counts: Counts) -> None:
    for remark in row.remarks:
        counts.remark(remark.code, remark.attribute)


def _difference(old: AttributeValue | None, new: AttributeValue | None) -> str:
    if old is None:
        return "set"
    if new is None:
        return "deleted"
    return "unchanged" if old.held == new.held else "changed"
