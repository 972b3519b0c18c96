"""The rules applied to one batch after another: the definition of right.

Nothing here is fast and nothing here is clever. The engine must leave the same store for every
input; where the two differ, the engine is wrong (design.md 2, 3). Plain values in, plain values
out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from profilectl.rules.batch import Batch, apply_deletes
from profilectl.rules.counts import Counts
from profilectl.rules.event.event import Event
from profilectl.rules.feed import ACCOUNT, PROTECTIONS, Effect, Feed
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import Rules, Usable
from profilectl.rules.priority import CONSENT_SOURCES, SET, verdict
from profilectl.rules.resolution import (
    Claim,
    Decision,
    Holding,
    IdentityChange,
    Records,
    decide,
    identity_counts,
    modify,
    mpid_for,
)
from profilectl.rules.retention import Clocks, Stage
from profilectl.rules.text.values import DELETED, is_list

DAY_MS = 24 * 60 * 60 * 1000
REQUEST_MEMORY_MS = 30 * DAY_MS
"""How long a source_request_id is remembered (domain.md 5.1)."""


@dataclass(slots=True)
class AttributeValue:
    """The current value of one attribute, and where it comes from."""

    held: str
    feed: Feed
    arrival: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """An event of a profile: its batch's arrival, its place in it from 0, and its time."""

    event: Event
    arrival: int
    place: int
    at_ms: int
    feed: Feed


@dataclass(slots=True)
class InterpretedProfile:
    """One profile. identities and events in order of arrival.

    said: the last that was said of each attribute, a deletion too, in each workspace and, under
    None, in all of them. feeds: that brought any of it. forgotten: events that arrived before count
    for nothing that is computed of the profile's lifetime, but opt-outs (domain.md 13).
    """

    mpid: int
    environment: str
    first_seen_ms: int
    last_seen_ms: int
    identities: list[tuple[Usable, int]] = field(default_factory=list)
    said: dict[tuple[str | None, str], AttributeValue] = field(default_factory=dict)
    events: list[ProfileEvent] = field(default_factory=list)
    feeds: set[Feed] = field(default_factory=set)
    forgotten: int = 0

    def holdings(self, profile: int) -> set[Holding]:
        """Return the identities that the profile holds, in no order."""
        return {(profile, self.environment, one.type, one.key) for one, _ in self.identities}

    def seen_in(self, workspace: str) -> bool:
        """Say whether a workspace has seen the user."""
        return any(feed.seen_in(workspace) for feed in self.feeds)

    def copy(self) -> InterpretedProfile:
        return replace(self, identities=list(self.identities), said=dict(self.said))

    def attributes(self, feed: Feed) -> dict[str, AttributeValue]:
        """Return the attributes that are the same to a feed: of its workspace and of the account;
        to an account feed, all. What was said last is in force (domain.md 6.3).
        """
        last: dict[str, AttributeValue] = {}
        for (_, key), cell in self.said.items():
            if feed.shares_attributes(cell.feed) and (
                key not in last or last[key].arrival < cell.arrival
            ):
                last[key] = cell
        return {key: cell for key, cell in last.items() if cell.held != DELETED}

    @property
    def cells(self) -> dict[str, AttributeValue]:
        """The attributes in the workspace of a store that has one only."""
        return self.attributes(Feed(""))


@dataclass(slots=True)
class Suppressed:
    """Somebody erased: the identities (environment, type, key) that keep a row out, and until which
    arrival (None: for good).
    """

    identities: set[tuple[str, str, str]]
    until: int | None


@dataclass(slots=True)
class Interpreter:
    """A profile store in memory. People are named by the arrival of the row that founded them.

    records: of each environment, within which an MPID is one person's. mpids: those in use in any
    environment: none of them is made again. calculated: the names of calculated attributes that the
    feed whose rows come may not set (feed.computed). ever: the identities (type, key) that a
    profile has had at the end of an import. suppressed: the people erased, by the profile they had;
    erased_mpids: theirs, with the environment.
    """

    rules: Rules
    priority: str = "rank"
    secret: str = ""
    calculated: frozenset[str] = frozenset()
    people: dict[int, InterpretedProfile] = field(default_factory=dict)
    records: dict[str, Records] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[int, int | None]] = field(default_factory=dict)
    mpids: set[int] = field(default_factory=set)
    arrivals: int = 0
    ever: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    suppressed: dict[int, Suppressed] = field(default_factory=dict)
    erased_mpids: set[tuple[str, int]] = field(default_factory=set)

    def run(
        self,
        feed: Feed,
        protection: str,
        rows: Iterable[Batch | Unusable],
        now_ms: int,
        given: str | None = None,
        call: str = "identify",
    ) -> Counts:
        """Apply one import and return its counts.

        given: the environment the import is for, if any. call: what every row says
        (identity.CALLS).
        """
        counts = Counts()
        before: dict[int, InterpretedProfile] = {}
        created: set[int] = set()
        blocked: dict[tuple[int, str], str] = {}
        for row in rows:
            arrival = self.arrivals
            self.arrivals += 1
            counts.rows["read"] += 1
            outcome = self._outcome(feed, protection, row, given, now_ms, arrival)
            if outcome:
                code, fate = outcome
                counts.codes[code] += 1
                counts.rows[fate] += 1
                if isinstance(row, Batch) and fate == "dropped":
                    _remark(row, counts)
                continue
            assert isinstance(row, Batch)
            _remark(row, counts)
            environment = row.environment or given or "production"
            records = self.records.setdefault(environment, Records())
            create = PROTECTIONS[protection].unknown_user is Effect.CREATE
            decision = decide(
                Claim(arrival, row.identities, row.mpid),
                records,
                self.rules,
                create=create,
                call=call,
            )
            counts.codes.update(decision.codes)
            if row.request:
                self.requests[feed.name, row.request] = now_ms, decision.profile
            if decision.profile is None:
                counts.codes[PROTECTIONS[protection].code] += 1
                counts.rows["dropped"] += 1
                continue
            counts.rows["applied"] += 1
            profile = decision.profile
            if decision.created:
                self.people[profile] = self._found(row, arrival, environment, now_ms)
                created.add(profile)
            self.people[profile].feeds.add(feed)
            for one in (profile, *(other for other, _, _ in decision.removed)):
                before.setdefault(one, self.people[one].copy())
            self._identify(decision, arrival)
            self._set(profile, row, feed, arrival, now_ms, blocked)
            self._keep(profile, row, feed, arrival, now_ms, counts)
        self._count(feed, before, created, blocked, counts)
        self._remember(before)
        return counts

    def modify(self, profile: int, changes: Sequence[IdentityChange], now_ms: int) -> Counts:
        """Change the identities of one profile: an import of a row for each change. Raises
        InputRefused.
        """
        counts = Counts()
        person = self.people[profile]
        records = self.records[person.environment]
        held = {other: one.copy() for other, one in self.people.items()}
        decisions = modify(profile, changes, records, self.rules)
        for decision in decisions:
            counts.rows["read"] += 1
            counts.rows["applied"] += 1
            self._identify(decision, self.arrivals)
            records.last[profile] = self.arrivals
            self.arrivals += 1
        person.first_seen_ms = min(person.first_seen_ms, now_ms)
        person.last_seen_ms = max(person.last_seen_ms, now_ms)
        touched = {profile} | {other for decision in decisions for other, _, _ in decision.removed}
        self._count(Feed(""), {one: held[one] for one in touched}, set(), {}, counts)
        self._remember(touched)
        return counts

    def forget(self, profiles: Iterable[int], *, allow_return: bool = False) -> None:
        """Erase people, and keep out whoever brings an identity that they have had, or names their
        MPID.

        An identity that somebody has who stays is not theirs alone, and keeps nobody out.
        allow_return: only rows that have arrived already stay out, should they be made again; but
        no MPID is ever used again.
        """
        gone = set(profiles)
        for profile in sorted(gone):
            person = self.people.pop(profile)
            holders = self.records[person.environment].holders
            self.erased_mpids.add((person.environment, person.mpid))
            theirs = {
                (person.environment, *one)
                for one in self.ever.pop(profile, ())
                if not holders.get(one, set()) - gone
            }
            self.suppressed[profile] = Suppressed(theirs, self.arrivals if allow_return else None)
        self._drop(gone)

    def age(self, clocks: Clocks, now_ms: int) -> None:
        """Take away what is beyond its clock: of a stub its attributes, and that its events count;
        and who is gone altogether.
        """
        stages = {
            profile: clocks.stage(person.last_seen_ms, now_ms)
            for profile, person in self.people.items()
        }
        gone = {profile for profile, stage in stages.items() if stage is Stage.GONE}
        for profile, stage in stages.items():
            if stage is Stage.STUB and not clocks.lifetime_profiles:
                self.people[profile].said.clear()
                self.people[profile].forgotten = self.arrivals
        self._drop(gone)
        self.requests = {
            name: asked
            for name, asked in self.requests.items()
            if now_ms - asked[0] <= REQUEST_MEMORY_MS
        }

    def _drop(self, gone: set[int]) -> None:
        for profile in gone:
            self.people.pop(profile, None)
            self.ever.pop(profile, None)
        for environment in self.records.values():
            environment.drop(gone)
        self.requests = {
            name: asked for name, asked in self.requests.items() if asked[1] not in gone
        }

    def lift(self, kind: str, key: str) -> None:
        """Let people come back who had an identity when they were erased, with all that they had."""
        for one in self.suppressed.values():
            if one.until is None and any(
                (other, value) == (kind, key) for _, other, value in one.identities
            ):
                one.until = self.arrivals

    def _remember(self, profiles: Iterable[int]) -> None:
        for profile in profiles:
            self.ever.setdefault(profile, set()).update(
                (one.type, one.key) for one, _ in self.people[profile].identities
            )

    def _outcome(
        self,
        feed: Feed,
        protection: str,
        row: Batch | Unusable,
        given: str | None,
        now_ms: int,
        arrival: int,
    ) -> tuple[str, str] | None:
        """Return the code and the fate of a row that is not to be applied, before anybody is looked
        up.
        """
        if isinstance(row, Unusable):
            return row.code, "rejected"
        if row.environment and given and row.environment != given:
            return "ENVIRONMENT_MISMATCH", "rejected"
        if self._stays_out(row, row.environment or given or "production", arrival):
            return "SUPPRESSED", "dropped"
        if PROTECTIONS[protection].known_user is Effect.PASS_BY:
            return PROTECTIONS[protection].code, "dropped"
        seen = self.requests.get((feed.name, row.request)) if row.request else None
        if seen is not None and now_ms - seen[0] <= REQUEST_MEMORY_MS:
            return "DUPLICATE_REQUEST", "dropped"
        return None

    def _stays_out(self, row: Batch, environment: str, arrival: int) -> bool:
        """Say whether a row is of somebody erased: it carries an identity of theirs, or names their
        MPID.
        """
        claims = {(environment, one.type, one.key) for one in row.identities}
        return (environment, row.mpid) in self.erased_mpids or any(
            claims & one.identities
            for one in self.suppressed.values()
            if one.until is None or arrival < one.until
        )

    def _found(self, row: Batch, arrival: int, environment: str, now_ms: int) -> InterpretedProfile:
        at_ms = row.at_ms if row.at_ms is not None else now_ms
        mpid, attempt = row.mpid, 0
        while mpid is None or (mpid in self.mpids and row.mpid is None):
            mpid, attempt = mpid_for(self.secret, arrival, attempt), attempt + 1
        self.mpids.add(mpid)
        self.records[environment].by_mpid[mpid] = arrival
        return InterpretedProfile(mpid, environment, at_ms, at_ms)

    def _identify(self, decision: Decision, arrival: int) -> None:
        profile = decision.profile
        assert profile is not None
        for other, kind, key in decision.removed:
            person = self.people[other]
            person.identities = [
                one for one in person.identities if (one[0].type, one[0].key) != (kind, key)
            ]
        self.people[profile].identities += [(one, arrival) for one in decision.added]

    def _set(
        self,
        profile: int,
        row: Batch,
        feed: Feed,
        arrival: int,
        now_ms: int,
        blocked: dict[tuple[int, str], str],
    ) -> None:
        person = self.people[profile]
        at_ms = row.at_ms if row.at_ms is not None else now_ms
        person.first_seen_ms = min(person.first_seen_ms, at_ms)
        person.last_seen_ms = max(person.last_seen_ms, at_ms)
        known = person.attributes(feed)
        for key, held in apply_deletes(row).items():
            owner = known.get(key)
            code = verdict(
                feed.owner,
                owner.feed.owner if owner else None,
                self.priority,
                calculated=key in self.calculated,
            )
            if code != SET:
                blocked[profile, key] = code
            else:
                person.said[None if feed.source == ACCOUNT else feed.workspace, key] = (
                    AttributeValue(held, feed, arrival, at_ms)
                )

    def _keep(
        self, profile: int, row: Batch, feed: Feed, arrival: int, now_ms: int, counts: Counts
    ) -> None:
        """Keep the events of a row with its profile; one without a time has its batch's (domain.md
        5.2).
        """
        batch_ms = row.at_ms if row.at_ms is not None else now_ms
        for place, event in enumerate(row.events):
            at_ms = event.at_ms if event.at_ms is not None else batch_ms
            self.people[profile].events.append(ProfileEvent(event, arrival, place, at_ms, feed))
        counts.events["added"] += len(row.events)
        if feed.source in CONSENT_SOURCES:
            for regulation, purpose in row.consents_after(now_ms):
                counts.remark("CONSENT_FUTURE", f"{regulation}.{purpose}")
        elif row.says_consent:
            counts.codes["CONSENT_SOURCE_NOT_ALLOWED"] += 1

    def _count(
        self,
        feed: Feed,
        before: dict[int, InterpretedProfile],
        created: set[int],
        blocked: dict[tuple[int, str], str],
        counts: Counts,
    ) -> None:
        """Compare each profile that was touched, or lost an identity, with what it was before the
        import.
        """
        for (_, key), code in blocked.items():
            counts.attributes["blocked"] += 1
            counts.remark(code, key)
        held = {
            profile: (past.holdings(profile), self.people[profile].holdings(profile))
            for profile, past in before.items()
        }
        then_held, now_held = (
            {one for states in held.values() for one in states[place]} for place in (0, 1)
        )
        counts.identities.update(identity_counts(then_held, now_held))
        for profile, past in before.items():
            person = self.people[profile]
            altered = held[profile][0] != held[profile][1]
            old, new = past.attributes(feed), person.attributes(feed)
            for key in old.keys() | new.keys():
                then, now = old.get(key), new.get(key)
                what = _difference(then, now)
                counts.attributes[what] += what != "unchanged" or then is not now
                altered = altered or what != "unchanged"
                if then and now and is_list(then.held) != is_list(now.held):
                    counts.remark("UA_KIND_CHANGED", key)
            kind = "created" if profile in created else "updated" if altered else "unchanged"
            counts.profiles[kind] += 1


def _remark(row: Batch, counts: Counts) -> None:
    for remark in row.remarks:
        counts.remark(remark.code, remark.attribute)


def _difference(then: AttributeValue | None, now: AttributeValue | None) -> str:
    if then is None:
        return "set"
    if now is None:
        return "deleted"
    return "unchanged" if then.held == now.held else "changed"
