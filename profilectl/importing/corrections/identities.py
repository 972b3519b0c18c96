"""Changes of the identities of one profile: the platform's modify (domain.md 4.3).

A modification is an import made by hand, so it stands in the history and can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.audiences.refresh import refresh_after_change
from profilectl.codes import ChangeRefused, UsageError, sentence
from profilectl.importing.commit import Prepared
from profilectl.importing.corrections.as_import import (
    ByHand,
    HandMade,
    LostIdentity,
    begin,
)
from profilectl.importing.corrections.correction import CORRECTIONS
from profilectl.importing.dependence import rests_on
from profilectl.importing.entangled import halves
from profilectl.importing.known import know_erased, know_store, know_suppressed
from profilectl.importing.relations import fixed_columns, make_empty
from profilectl.importing.suppression import guard_of
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import meant_again, one_meant
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.counts import ImportReport
from profilectl.rules.identity import BY_NAME, CODE, Rules, UsableIdentity, display, key_of, usable
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.resolution import (
    Decision,
    IdentityChange,
    ProfileIdentity,
    Records,
    identity_counts,
    modify,
)
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, digest_of, hash_of
from profilectl.store.compaction import lay_together, warn_of_final
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

NAME = "(modify)"
"""What the history shows in the place of a modification's file; its lines are the changes."""
StatedChange = tuple[str, str | None, str | None]
"""A change as somebody states it: identity type, old value, new value."""

REPEATED_REQUEST = """
select 1
from store.request
join store.feed on feed.number = request.feed
where feed.name = $feed and request.request = $request
  and $now_ms - request.at_ms <= $memory_ms
"""
IS_SUPPRESSED = """
select 1
from suppressed_hash
where hash = ($high::uhugeint << 64) + $low::uhugeint
"""
# The relations of an import that dependence looks at.
CLAIM = "select distinct seq, type, (high::uhugeint << 64) + low as hash from claim_half"
IDENTITY_MATCH = """
select distinct (high::uhugeint << 64) + low as hash, type, profile
from claim_half
"""
KNOWN_PROFILE = "select distinct profile from identity_match"
HOLDERS = """
select distinct profile
from known_identity
where hash = ($high::uhugeint << 64) + $low::uhugeint
"""
READY_INDEX = """
select (high::uhugeint << 64) + low as hash, profile, type
from index_half
order by hash
"""
ROW_COLUMNS = (
    ("profile", "BIGINT"),
    ("arrival", "BIGINT"),
    ("mpid", "BIGINT"),
    ("environment", "UTINYINT"),
    ("feed", "USMALLINT"),
    ("at_ms", "BIGINT"),
)


def changes_of(
    adds: Iterable[tuple[str, str]], removes: Iterable[tuple[str, str]]
) -> list[StatedChange]:
    """Return changes of what is added and removed, as (type, value).

    The n-th of a type that is added takes the place of the n-th that is removed.
    """
    changes: list[StatedChange] = []
    new_ones = list(adds)
    for kind, value in removes:
        new = next((added for added in new_ones if added[0] == kind), None)
        if new:
            new_ones.remove(new)
        changes.append((kind, value, new[1] if new else None))
    return changes + [(kind, None, value) for kind, value in new_ones]


# 60 lines: one modification from the profile to the write; its parameters take sixteen.
def modify_identities(
    store_path: Path,
    identity: tuple[str, str],
    requested: Sequence[StatedChange],
    *,
    feed: str = CORRECTIONS,
    source: str | None = None,
    pick: int | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
    now_ms: int | None = None,
    first_arrival: int | None = None,
    environment: str | None = None,
    named: tuple[str, str] | None = None,
    request: str | None = None,
) -> ImportReport:
    """Add, remove and replace identities of one profile: all of it or nothing.

    What changes nothing is no import: the report has no number then, and nothing is written.

    identity: an identity type (or mpid, any) and value; environment: where the MPID is, for one
    that is in several; named: what the history shall name instead of `identity`; request: the
    source_request_id, with which a second modification changes nothing.

    Raises NobodyFound, UsageError if several are meant, InputRefused if a change is not allowed.
    """
    if not requested:
        raise UsageError(
            "say what to add or remove",
            "for example --add email=new@example.com --remove email=old@example.com",
        )
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=not dry_run, wait_s=wait_s) as store,
    ):
        profiles = profiles_of(store, every=True)
        person = one_meant(profiles, identity, pick=pick, environment=environment)
        if request and _is_repeated(store, feed, request, now_ms=now_ms):
            return _nothing_done(feed, person.environment)
        rules = store.settings().rules
        changes = [_change(kind, old, new, rules=rules) for kind, old, new in requested]
        _check_erased(store, person.environment, changes, first_arrival=first_arrival)
        what = HandMade(
            name=NAME,
            feed=feed,
            environment=person.environment,
            rows=len(changes),
            source=source,
            now_ms=now_ms,
            first_arrival=first_arrival,
            dry_run=dry_run,
        )
        hand = begin(store, what)
        hand.request = request
        modification = _decide(hand, person, changes, rules=rules)
        # A request is remembered, and what is made again keeps its place, also if nothing changes.
        if modification.is_idle and not dry_run and not request and first_arrival is None:
            hand.report.feed_registered = False
            return hand.report
        if not dry_run:
            again = _how_again(named or identity, person, requested)
            warn_of_final(store, by_hand=True)
            modification.write({"modify": again, "feed": feed, "source": source})
    # A replay refreshes once, when all of it is done.
    if not dry_run and first_arrival is None:
        _lay_together(store_path, hand.report)
        refresh_after_change(store_path, hand.report, wait_s=wait_s)
    return hand.report


def _lay_together(store_path: Path, report: ImportReport) -> None:
    """Lay segments together after a modification, if there are too many."""
    with scratch_beside(store_path.absolute()) as scratch:
        lay_together(scratch, store_path, f"import {report.number}")


def _nothing_done(feed: str, environment: str) -> ImportReport:
    """Return the report of a modification that was made before."""
    return ImportReport(
        number=None, feed=feed, source="", protection="", environment=environment, files=[]
    )


def _how_again(
    named: tuple[str, str], person: Activity, changes: Sequence[StatedChange]
) -> dict[str, object]:
    """Return what the history says of a modification, so that it can be made again."""
    return {
        "who": list(named),
        "mpid": str(person.mpid),
        "environment": person.environment,
        "changes": [list(change) for change in changes],
    }


def _is_repeated(store: OpenStore, feed: str, request: str, *, now_ms: int | None) -> bool:
    """Return whether a feed has sent a request before, as sift asks of a batch."""
    bound = {
        "feed": feed,
        "request": request,
        "now_ms": now_ms if now_ms is not None else time.time_ns() // 1_000_000,
        "memory_ms": REQUEST_MEMORY_MS,
    }
    return bool(store.scratch.rows(REPEATED_REQUEST, bound))


def modify_again(
    store_path: Path, request: Mapping[str, Any], *, now_ms: int, first_arrival: int
) -> ImportReport:
    """Make a modification of the history again (undo --replay).

    request: what the history has of it.
    """
    again = request["modify"]
    kind, value = again.get("who") or ("mpid", again["mpid"])
    environment = again["environment"]
    with scratch_beside(store_path.absolute()) as scratch, open_store(scratch, store_path) as store:
        profiles = profiles_of(store, every=True)
        person = meant_again(profiles, (kind, value), mpid=again["mpid"], environment=environment)
    return modify_identities(
        store_path,
        ("mpid", str(person.mpid)),
        [(kind, old, new) for kind, old, new in again["changes"]],
        feed=request["feed"],
        source=request["source"],
        now_ms=now_ms,
        first_arrival=first_arrival,
        environment=environment,
        named=(kind, value),
    )


def _change(kind: str, old: str | None, new: str | None, *, rules: Rules) -> IdentityChange:
    """Return a change in the values that may be used.

    Raises ChangeRefused for a new value that may not.
    """
    type_ = BY_NAME[kind]
    was = (
        UsableIdentity(kind, display(old), key_of(type_, display(old))) if old is not None else None
    )
    if new is None:
        return IdentityChange(kind, was)
    identity = usable(type_, new, rules.judging)
    if not isinstance(identity, UsableIdentity):
        # A batch would skip the identity; a modification is refused.
        why = (
            sentence(identity).removesuffix(" and was skipped")
            if identity
            else "an identity may not be empty"
        )
        raise ChangeRefused(identity or "NO_IDENTITY", f"{kind} {new}: {why}")
    return IdentityChange(kind, was, identity)


def _check_erased(
    store: OpenStore,
    environment: str,
    changes: Sequence[IdentityChange],
    *,
    first_arrival: int | None,
) -> None:
    """Refuse a new identity of somebody who was erased and stays out."""
    guard = guard_of(store)
    if guard is None:
        return
    know_erased(store.scratch)
    if first_arrival is None:
        _, first_arrival = store.next_import()
    know_suppressed(store.scratch, first_arrival)
    secret = store.meta("secret")
    for change in changes:
        if change.new:
            digest = guard.of(digest_of(secret, environment, kind=change.type, key=change.new.key))
            if store.scratch.rows(IS_SUPPRESSED, _bound_hash(digest)):
                raise ChangeRefused(
                    "SUPPRESSED",
                    f"the {change.type} {change.new.value} is of a person who was erased",
                    "profilectl forget --allow-return lets them come back",
                )


def _bound_hash(digest: int) -> dict[str, int]:
    """Return a hash as values that can be bound: DuckDB takes no Python number of that size."""
    high, low = halves(digest)
    return {"high": high, "low": low}


def _decide(
    hand: ByHand, person: Activity, changes: Sequence[IdentityChange], *, rules: Rules
) -> _Modification:
    """Return what changes of a profile do by the rule, and count it."""
    know_store(hand.relations, hand.store)
    modification = _Modification(hand, person, changes, secret=hand.store.meta("secret"))
    modification.load_records()
    records = modification.records
    keys_before = {
        kind: list(keys) for kind, keys in records.record.get(person.profile, {}).items()
    }
    held_before = modification.held()
    modification.decisions = modify(person.profile, changes, records, rules=rules)
    modification.count(held_before)
    modification.note_losses(keys_before)
    return modification


@dataclass(slots=True)
class _Modification:
    """What a modification does, decided by the rule on the records it touches."""

    hand: ByHand
    """The import that it is."""
    person: Activity
    """The profile."""
    changes: Sequence[IdentityChange]
    """The changes."""
    secret: str
    """The secret of the store."""
    records: Records = field(default_factory=Records)
    """The identities of the profile, and who else has those that it is to get."""
    holders: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """The profiles that had each identity before, by type and key."""
    decisions: list[Decision] = field(default_factory=list)
    """The decision on each change."""

    @property
    def is_idle(self) -> bool:
        """Whether no change does anything, because the profile has all that it is to get."""
        return not any(decision.added or decision.removed for decision in self.decisions)

    @property
    def identities(self) -> list[str]:
        """Return the types of the new identities."""
        kinds = {change.type for change in self.changes if change.new}
        return sorted(kinds, key=lambda kind: CODE[kind])

    def load_records(self) -> None:
        """Load the identities of the profile, and who else has those that it is to get."""
        profile = self.person.profile
        for identity in self.person.identities:
            key = key_of(BY_NAME[identity.type], identity.value)
            self.records.add(profile, identity.type, key)
        for change in self.changes:
            if not change.new:
                continue
            # Of other profiles nothing matters but the identity that they may lose.
            kind, key = change.type, change.new.key
            bound = _bound_hash(self._hash(kind, key))
            for (holder,) in self.hand.relations.rows(HOLDERS, bound):
                if holder != profile and key not in self.records.values(holder, kind):
                    self.records.add(holder, kind, key)
        self.holders = {
            identity: set(profiles) for identity, profiles in self.records.holders.items()
        }

    def _hash(self, kind: str, key: str) -> int:
        return hash_of(self.secret, self.person.environment, kind=kind, key=key)

    def held(self) -> set[ProfileIdentity]:
        """Return who holds what of the records that are touched."""
        return {
            (profile, self.person.environment, kind, key)
            for profile, identities in self.records.record.items()
            for kind, keys in identities.items()
            for key in keys
        }

    def count(self, held_before: set[ProfileIdentity]) -> None:
        """Count what became of identities and profiles."""
        counts, held_after = self.hand.report.counts, self.held()
        counts.identities.update(identity_counts(held_before, held_after))
        touched = {profile for profile, *_ in held_before ^ held_after}
        counts.profiles["updated"] += len(touched)
        counts.profiles["unchanged"] += self.person.profile not in touched

    def note_losses(self, keys_before: Mapping[str, list[str]]) -> None:
        """Note what profiles lost.

        What came and went within the modification leaves no trace in the store.
        """
        # Of the profile itself only an identity is lost that it had before.
        arrivals: dict[tuple[int, str, str], int] = {}
        for place, decision in enumerate(self.decisions):
            for lost in decision.removed:
                if lost[0] != self.person.profile or lost[2] in keys_before.get(lost[1], ()):
                    arrivals.setdefault(lost, self.hand.first_arrival + place)
        self.hand.lost += [
            LostIdentity(profile, CODE[kind], digest=self._hash(kind, key), arrival=arrival)
            for (profile, kind, key), arrival in arrivals.items()
        ]

    def write(self, request: Mapping[str, object]) -> None:
        """Write the modification, with its history. request: how it can be made again."""
        needs = self._rests_on()
        self.hand.write(self._prepared(), self.identities, needs, request=request)

    def _rests_on(self) -> list[int]:
        """Return the earlier imports that the outcome rests on."""
        relations, profile = self.hand.relations, self.person.profile
        claims = [
            (place, CODE[change.type], *halves(self._hash(change.type, value.key)), holder)
            for place, change in enumerate(self.changes)
            for value in (change.old, change.new)
            if value
            for holder in {profile, *self.holders.get((change.type, value.key), ())}
        ]
        relations.load("claim_half", fixed_columns("claim_half"), claims)
        relations.make("claim", CLAIM)
        relations.make("identity_match", IDENTITY_MATCH)
        relations.make("known_profile", KNOWN_PROFILE)
        # No row is resolved here, so nothing links and nothing is entangled.
        for empty in ("link", "link_match", "entangled_row"):
            make_empty(relations, empty)
        staged = self.hand.staged(self.identities, {})
        return rests_on(relations, staged, self.hand.store.segments(), feed=self.hand.feed.number)

    def _prepared(self) -> Prepared:
        """Make the tables of the segment: a row for each change, and the identities it gave."""
        rows: list[list[object]] = []
        index: list[tuple[int, int, int, int]] = []
        for place, decision in enumerate(self.decisions):
            lasting = [added for added in decision.added if self._lasts(place, added)]
            values = {added.type: added.value for added in lasting}
            rows.append([*self._row(place), *(values.get(kind) for kind in self.identities)])
            index += [
                (*halves(self._hash(added.type, added.key)), self.person.profile, CODE[added.type])
                for added in lasting
            ]
        relations = self.hand.relations
        columns = [*ROW_COLUMNS, *((f"i_{kind}", "VARCHAR") for kind in self.identities)]
        relations.load("ready_row", columns, rows)
        if not index:
            return Prepared(("row",), len(rows))
        relations.load("index_half", fixed_columns("index_half"), index)
        relations.make("ready_index", READY_INDEX)
        return Prepared(("row", "index"), len(rows))

    def _row(self, place: int) -> list[object]:
        """Return the row of a change, without its identities."""
        return [
            self.person.profile,
            self.hand.first_arrival + place,
            None,
            ENVIRONMENT_CODE[self.person.environment],
            self.hand.feed.number,
            self.hand.now_ms,
        ]

    def _lasts(self, place: int, added: UsableIdentity) -> bool:
        """Return whether an identity that a change added is still held, by it, at the end."""
        later = {
            (identity.type, identity.key)
            for decision in self.decisions[place + 1 :]
            for identity in decision.added
        }
        return (
            added.key in self.records.values(self.person.profile, added.type)
            and (added.type, added.key) not in later
        )
