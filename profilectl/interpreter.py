"""The rules applied to one batch after another: the definition of right.

Nothing here is fast and nothing here is clever. The engine must leave the same store for every
input; where the two differ, the engine is wrong (design.md 2, 3). Plain values in, plain values out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from profilectl.attributes import SET, verdict
from profilectl.batch import Batch, Unusable, apply_deletes
from profilectl.feed import PROTECTIONS, Effect, Feed
from profilectl.identity import Change, Claim, Decision, Records, Rules, Usable, decide, modify, mpid_for
from profilectl.report import Counts
from profilectl.values import DELETED, is_list

DAY_MS = 24 * 60 * 60 * 1000
REQUEST_MEMORY_MS = 30 * DAY_MS
"""How long a source_request_id is remembered (domain.md 5.1)."""


@dataclass(slots=True)
class Cell:
    """The current value of one attribute, and where it comes from."""

    held: str
    feed: Feed
    arrival: int
    at_ms: int


@dataclass(slots=True)
class Person:
    """One profile. identities in order of arrival."""

    mpid: int
    environment: str
    first_seen_ms: int
    last_seen_ms: int
    identities: list[tuple[Usable, int]] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)

    def copy(self) -> Person:
        return replace(self, identities=list(self.identities), cells=dict(self.cells))


@dataclass(slots=True)
class Interpreter:
    """A profile store in memory. People are named by the arrival of the row that founded them."""

    rules: Rules
    priority: str = "rank"
    secret: str = ""
    people: dict[int, Person] = field(default_factory=dict)
    records: dict[str, Records] = field(default_factory=dict)
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    mpids: set[int] = field(default_factory=set)
    arrivals: int = 0

    def run(
        self, feed: Feed, protection: str, rows: Iterable[Batch | Unusable], now_ms: int, given: str | None = None
    ) -> Counts:
        """Apply one import and return its counts. given: the environment the import is for, if any."""
        counts = Counts()
        before: dict[int, Person] = {}
        created: set[int] = set()
        blocked: dict[tuple[int, str], str] = {}
        for row in rows:
            arrival = self.arrivals
            self.arrivals += 1
            counts.rows["read"] += 1
            outcome = self._outcome(feed, protection, row, given, now_ms)
            if outcome:
                code, fate = outcome
                counts.codes[code] += 1
                counts.rows[fate] += 1
                if isinstance(row, Batch) and fate == "dropped":
                    counts.codes.update(row.codes)
                continue
            assert isinstance(row, Batch)
            counts.codes.update(row.codes)
            environment = row.environment or given or "production"
            records = self.records.setdefault(environment, Records())
            create = PROTECTIONS[protection].unknown_user is Effect.CREATE
            decision = decide(Claim(arrival, row.identities, row.mpid), records, self.rules, create=create)
            counts.codes.update(decision.codes)
            if row.request:
                self.requests[feed.name, row.request] = now_ms
            if decision.profile is None:
                counts.codes[PROTECTIONS[protection].code] += 1
                counts.rows["dropped"] += 1
                continue
            counts.rows["applied"] += 1
            profile = decision.profile
            if decision.created:
                self.people[profile] = self._found(row, arrival, environment, now_ms)
                created.add(profile)
            for one in (profile, *(other for other, _, _ in decision.removed)):
                before.setdefault(one, self.people[one].copy())
            self._identify(decision, arrival, counts)
            self._set(profile, row, feed, arrival, now_ms, blocked)
        self._count(before, created, blocked, counts)
        return counts

    def modify(self, profile: int, changes: Sequence[Change], now_ms: int) -> Counts:
        """Change the identities of one profile: an import of a row for each change. Raises InputRefused."""
        counts = Counts()
        person = self.people[profile]
        records = self.records[person.environment]
        held = {other: one.copy() for other, one in self.people.items()}
        decisions = modify(profile, changes, records, self.rules)
        for decision in decisions:
            counts.rows["read"] += 1
            counts.rows["applied"] += 1
            self._identify(decision, self.arrivals, counts)
            records.last[profile] = self.arrivals
            self.arrivals += 1
        person.first_seen_ms = min(person.first_seen_ms, now_ms)
        person.last_seen_ms = max(person.last_seen_ms, now_ms)
        touched = {profile} | {other for decision in decisions for other, _, _ in decision.removed}
        self._count({one: held[one] for one in touched}, set(), {}, counts)
        return counts

    def _outcome(
        self, feed: Feed, protection: str, row: Batch | Unusable, given: str | None, now_ms: int
    ) -> tuple[str, str] | None:
        """Return the code and the fate of a row that is not to be applied, before anybody is looked up."""
        if isinstance(row, Unusable):
            return row.code, "rejected"
        if row.environment and given and row.environment != given:
            return "ENVIRONMENT_MISMATCH", "rejected"
        if PROTECTIONS[protection].known_user is Effect.PASS_BY:
            return PROTECTIONS[protection].code, "dropped"
        seen_ms = self.requests.get((feed.name, row.request)) if row.request else None
        if seen_ms is not None and now_ms - seen_ms <= REQUEST_MEMORY_MS:
            return "DUPLICATE_REQUEST", "dropped"
        return None

    def _found(self, row: Batch, arrival: int, environment: str, now_ms: int) -> Person:
        at_ms = row.at_ms if row.at_ms is not None else now_ms
        mpid, attempt = row.mpid, 0
        while mpid is None or (mpid in self.mpids and row.mpid is None):
            mpid, attempt = mpid_for(self.secret, arrival, attempt), attempt + 1
        self.mpids.add(mpid)
        self.records[environment].by_mpid[mpid] = arrival
        return Person(mpid, environment, at_ms, at_ms)

    def _identify(self, decision: Decision, arrival: int, counts: Counts) -> None:
        profile = decision.profile
        assert profile is not None
        for other, kind, key in decision.removed:
            person = self.people[other]
            person.identities = [one for one in person.identities if (one[0].type, one[0].key) != (kind, key)]
        self.people[profile].identities += [(one, arrival) for one in decision.added]
        counts.identities["moved"] += decision.moved
        counts.identities["removed"] += decision.replaced
        counts.identities["added"] += len(decision.added) - decision.moved

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
        for key, held in apply_deletes(row).items():
            owner = person.cells.get(key)
            code = verdict(feed.owner, owner.feed.owner if owner else None, self.priority)
            if code != SET:
                blocked[profile, key] = code
            elif held == DELETED:
                person.cells.pop(key, None)
            else:
                person.cells[key] = Cell(held, feed, arrival, at_ms)

    def _count(
        self, before: dict[int, Person], created: set[int], blocked: dict[tuple[int, str], str], counts: Counts
    ) -> None:
        """Compare each profile that was touched, or lost an identity, with what it was before the import."""
        for code in blocked.values():
            counts.attributes["blocked"] += 1
            counts.codes[code] += 1
        for profile, past in before.items():
            person = self.people[profile]
            altered = person.identities != past.identities
            for key in past.cells.keys() | person.cells.keys():
                then, now = past.cells.get(key), person.cells.get(key)
                what = _difference(then, now)
                counts.attributes[what] += what != "unchanged" or then is not now
                altered = altered or what != "unchanged"
                if then and now and is_list(then.held) != is_list(now.held):
                    counts.codes["UA_KIND_CHANGED"] += 1
            kind = "created" if profile in created else "updated" if altered else "unchanged"
            counts.profiles[kind] += 1


def _difference(then: Cell | None, now: Cell | None) -> str:
    if then is None:
        return "set"
    if now is None:
        return "deleted"
    return "unchanged" if then.held == now.held else "changed"
