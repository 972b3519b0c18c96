"""Single changes of a profile's identities (the platform's modify, domain.md 4.3), as an import by
hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from profilectl.audiences.refresh import refresh_after_change
from profilectl.codes import ChangeRefused, UsageError, sentence
from profilectl.importing.commit import Prepared
from profilectl.importing.corrections.as_import import CORRECTIONS, ByHand, begin, joined
from profilectl.importing.dependence import rests_on
from profilectl.importing.suppression import guard_of, suppress
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import meant_again, one_meant
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.counts import ImportReport
from profilectl.rules.identity import BY_NAME, CODE, Rules, Usable, display, key_of, usable
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.resolution import Holding, IdentityChange, Records, identity_counts, modify
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, hash_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import known_identities
from profilectl.store.store import OpenStore

NAME = "(modify)"
"""What stands for the file of a modification in the history; its lines are the changes."""
Stated = tuple[str, str | None, str | None]
"""A change as somebody states it: identity type, old value, new value."""


def changes_of(adds: Iterable[tuple[str, str]], removes: Iterable[tuple[str, str]]) -> list[Stated]:
    """Return changes of what is added and removed, as (type, value); the n-th of a type that is
    added takes the place of the n-th that is removed.
    """
    found: list[Stated] = []
    left = list(adds)
    for kind, value in removes:
        new = next((one for one in left if one[0] == kind), None)
        if new:
            left.remove(new)
        found.append((kind, value, new[1] if new else None))
    return found + [(kind, None, value) for kind, value in left]


def modify_identities(
    store_path: Path,
    who: tuple[str, str],
    stated: Sequence[Stated],
    *,
    feed: str = CORRECTIONS,
    source: str | None = None,
    pick: int | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
    now_ms: int | None = None,
    first_arrival: int | None = None,
    environment: str | None = None,
    asked: tuple[str, str] | None = None,
    request: str | None = None,
) -> ImportReport:
    """Add, remove and replace identities of one profile: all of it or nothing. who: an identity
    type (or mpid, any) and value; environment: where the MPID stands, for one that stands in
    several; asked: whom the history shall name, where not who. request: the source_request_id,
    of which a second one changes nothing.

    Raises NobodyFound, UsageError where several are meant, InputRefused where a change is not
    allowed.
    """
    if not stated:
        raise UsageError(
            "say what to add or remove",
            "for example --add email=new@example.com --remove email=old@example.com",
        )
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=not dry_run, wait_s=wait_s) as store,
    ):
        profiles = profiles_of(store, every=True)
        rules = store.settings().rules
        one = one_meant(profiles, who, pick, environment)
        if request and _is_repeated(store, feed, request, now_ms):
            return ImportReport(None, feed, "", "", one.environment, [])
        changes = [_change(kind, old, new, rules) for kind, old, new in stated]
        _check_erased(store, one.environment, changes, first_arrival)
        hand = begin(
            store,
            NAME,
            feed,
            source,
            one.environment,
            len(changes),
            now_ms=now_ms,
            first_arrival=first_arrival,
            dry_run=dry_run,
        )
        hand.request = request
        decided = _Decided(profiles, one, changes, rules, hand)
        if not dry_run:
            needs = decided.relations()
            hand.write(
                decided.prepared(),
                decided.identities,
                needs,
                {
                    "modify": {
                        "who": list(asked or who),
                        "mpid": str(one.mpid),
                        "environment": one.environment,
                        "changes": [list(change) for change in stated],
                    },
                    "feed": feed,
                    "source": source,
                },
            )
    if not dry_run and first_arrival is None:  # who makes the history again refreshes at its end
        refresh_after_change(store_path, hand.report, wait_s=wait_s)
    return hand.report


def _is_repeated(store: OpenStore, feed: str, request: str, now_ms: int | None) -> bool:
    """Say whether a feed has sent a request before, as sift asks of a batch."""
    now_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    found = store.scratch.rows(
        "select 1 from store.request join store.feed on feed.number = request.feed where feed.name = $feed"
        f" and request.request = $request and $now - request.at_ms <= {REQUEST_MEMORY_MS}",
        {"feed": feed, "request": request, "now": now_ms},
    )
    return bool(found)


def modify_again(
    store_path: Path, kept: dict[str, Any], *, now_ms: int, first_arrival: int
) -> ImportReport:
    """Make a modification of the history again (undo --replay). kept: its request."""
    was = kept["modify"]
    who = tuple(was.get("who") or ("mpid", was["mpid"]))
    with scratch_beside(store_path.absolute()) as scratch, open_store(scratch, store_path) as store:
        one = meant_again(
            profiles_of(store, every=True), (who[0], who[1]), was["mpid"], was["environment"]
        )
    return modify_identities(
        store_path,
        ("mpid", str(one.mpid)),
        [(kind, old, new) for kind, old, new in was["changes"]],
        feed=kept["feed"],
        source=kept["source"],
        now_ms=now_ms,
        first_arrival=first_arrival,
        environment=was["environment"],
        asked=(who[0], who[1]),
    )


def _change(kind: str, old: str | None, new: str | None, rules: Rules) -> IdentityChange:
    """Return a change in the values that may be used.

    Raises ChangeRefused for a new value that may not.
    """
    type_ = BY_NAME[kind]
    was = Usable(kind, display(old), key_of(type_, display(old))) if old is not None else None
    if new is None:
        return IdentityChange(kind, was)
    found = usable(type_, new, rules.judging)
    if not isinstance(found, Usable):
        # skipped in a batch, refused here
        why = (
            sentence(found).removesuffix(" and was skipped")
            if found
            else "an identity may not be empty"
        )
        raise ChangeRefused(found or "NO_IDENTITY", f"{kind} {new}: {why}")
    return IdentityChange(kind, was, found)


def _check_erased(
    store: OpenStore, environment: str, changes: Sequence[IdentityChange], first_arrival: int | None
) -> None:
    """Refuse a new identity of somebody who was erased and stays out."""
    guard = guard_of(store)
    if guard is None:
        return
    suppress(store.scratch, store.next_import()[1] if first_arrival is None else first_arrival)
    for change in changes:
        if change.new:
            digest = guard.of(
                hash_of(store.meta("secret"), environment, change.type, change.new.key)
            )
            if store.scratch.rows(f"select 1 from suppressed_hash where hash = {digest}::uhugeint"):
                raise ChangeRefused(
                    "SUPPRESSED",
                    f"the {change.type} {change.new.value} is of a person who was erased",
                    "profilectl forget --allow-return lets them come back",
                )


class _Decided:
    """What a modification does, decided by the rule on the records it touches."""

    def __init__(
        self,
        profiles: Profiles,
        one: Activity,
        changes: Sequence[IdentityChange],
        rules: Rules,
        hand: ByHand,
    ) -> None:
        self.profiles, self.one, self.changes, self.hand = profiles, one, changes, hand
        self.scratch = profiles.store.scratch
        self.secret = profiles.store.meta("secret")
        self.identities = sorted(
            {change.type for change in changes if change.new}, key=lambda kind: CODE[kind]
        )
        self.records = self._records()
        before = {
            kind: list(keys) for kind, keys in self.records.record.get(one.profile, {}).items()
        }
        self.holders = {claim: set(held) for claim, held in self.records.holders.items()}
        then = self._held()
        self.decisions = modify(one.profile, changes, self.records, rules)
        self._count(then)
        self._take(before)

    def _hash(self, kind: str, key: str) -> int:
        return hash_of(self.secret, self.one.environment, kind, key)

    def _records(self) -> Records:
        """Load the identities of the profile, and who else has those that it is to get."""
        records = Records()
        for held in self.one.identities:
            records.add(self.one.profile, held.type, key_of(BY_NAME[held.type], held.value))
        known = known_identities(self.profiles.segments, removals=self.profiles.removals)
        for change in self.changes:
            if change.new:
                digest = self._hash(change.type, change.new.key)
                for (profile,) in self.scratch.rows(
                    f"select distinct profile from ({known}) where hash = {digest}::uhugeint"
                ):
                    if profile != self.one.profile and change.new.key not in records.values(
                        profile, change.type
                    ):
                        records.add(profile, change.type, change.new.key)
        return records

    def _held(self) -> set[Holding]:
        """Return who holds what of the records that are touched."""
        return {
            (profile, self.one.environment, kind, key)
            for profile, held in self.records.record.items()
            for kind, keys in held.items()
            for key in keys
        }

    def _count(self, then: set[Holding]) -> None:
        counts, now = self.hand.report.counts, self._held()
        counts.identities.update(identity_counts(then, now))
        touched = {profile for profile, *_ in then ^ now}
        counts.profiles["updated"] += len(touched)
        counts.profiles["unchanged"] += self.one.profile not in touched

    def _take(self, before: dict[str, list[str]]) -> None:
        """Note what profiles lost.

        What came and went within the modification leaves no trace in the store.
        """
        taken: dict[tuple[int, str, str], int] = {}
        for place, decision in enumerate(self.decisions):
            for lost in decision.removed:
                if lost[0] != self.one.profile or lost[2] in before.get(lost[1], ()):
                    taken.setdefault(lost, self.hand.first + place)
        self.hand.taken += [
            (profile, CODE[kind], self._hash(kind, key), arrival)
            for (profile, kind, key), arrival in taken.items()
        ]

    def relations(self) -> list[int]:
        """Return the earlier imports that the outcome rests on."""
        claims: list[tuple[int, int, int, int, int]] = []
        for place, change in enumerate(self.changes):
            for value in (change.old, change.new):
                if value:
                    digest = self._hash(change.type, value.key)
                    claims += [
                        (place, CODE[change.type], digest >> 64, digest & (2**64 - 1), profile)
                        for profile in {
                            self.one.profile,
                            *self.holders.get((change.type, value.key), ()),
                        }
                    ]
        self.scratch.load(
            "claimed",
            [
                ("seq", "BIGINT"),
                ("type", "UTINYINT"),
                ("high", "UBIGINT"),
                ("low", "UBIGINT"),
                ("profile", "BIGINT"),
            ],
            claims,
        )
        self.scratch.make(
            "claim", f"select distinct seq, type, {joined('high', 'low')} as hash from claimed"
        )
        self.scratch.make(
            "hit", f"select distinct {joined('high', 'low')} as hash, type, profile from claimed"
        )
        self.scratch.make("link", "select * from claim where false")
        self.scratch.make("link_hit", "select * from hit where false")
        self.scratch.make("met", "select distinct profile from hit")
        self.scratch.load("entangled", [("seq", "BIGINT"), ("component", "BIGINT")], [])
        staged = self.hand.staged(self.identities, {})
        return rests_on(
            self.scratch, staged, self.profiles.segments, self.hand.feed.number, loose=False
        )

    def prepared(self) -> Prepared:
        """Make the tables of the segment: a row for each change, the identities that are still held
        at the end.
        """
        rows: list[list[Any]] = []
        index: list[tuple[int, int, int, int]] = []
        for place, decision in enumerate(self.decisions):
            kept = [added for added in decision.added if self._kept(place, added)]
            values = {added.type: added.value for added in kept}
            rows.append(
                [
                    self.one.profile,
                    self.hand.first + place,
                    None,
                    ENVIRONMENT_CODE[self.one.environment],
                    self.hand.feed.number,
                    self.hand.now_ms,
                    *(values.get(kind) for kind in self.identities),
                ]
            )
            for added in kept:
                digest = self._hash(added.type, added.key)
                index.append(
                    (digest >> 64, digest & (2**64 - 1), self.one.profile, CODE[added.type])
                )
        columns = [
            ("profile", "BIGINT"),
            ("arrival", "BIGINT"),
            ("mpid", "BIGINT"),
            ("environment", "UTINYINT"),
            ("feed", "USMALLINT"),
            ("at_ms", "BIGINT"),
        ]
        self.scratch.load(
            "ready_row", [*columns, *((f"i_{kind}", "VARCHAR") for kind in self.identities)], rows
        )
        kinds = ["row"]
        if index:
            kinds.append("index")
            self.scratch.load(
                "indexed",
                [
                    ("high", "UBIGINT"),
                    ("low", "UBIGINT"),
                    ("profile", "BIGINT"),
                    ("type", "UTINYINT"),
                ],
                index,
            )
            self.scratch.make(
                "ready_index",
                f"select {joined('high', 'low')} as hash, profile, type from indexed order by hash",
            )
        return Prepared(tuple(kinds), len(rows))

    def _kept(self, place: int, added: Usable) -> bool:
        """Say whether an identity that a change added is still held at the end, and by that change."""
        later = {
            (one.type, one.key)
            for decision in self.decisions[place + 1 :]
            for one in decision.added
        }
        return (
            added.key in self.records.values(self.one.profile, added.type)
            and (added.type, added.key) not in later
        )
