"""Resolution: which profile a row belongs to, and which identities it gives that profile.

`decide` resolves one row, `modify` changes the identities of one profile. Both work on Records, the
identities that profiles hold, and change them. Sources: domain.md 4.2 (protection by login and
immutable identities), 4.3 (look-up, attachment, modify), 4.4 (batches), design.md R2 (a unique
identity moves), R15 (ties go by arrival).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.codes import ChangeRefused
from profilectl.rules.identity import BY_NAME, CODE, Rules, UsableIdentity, anonymous


@dataclass(slots=True)
class Records:
    """The identity records of one environment that a decision may need, and nothing else.

    A profile is named by the arrival of the row that founded it, so the older profile has the
    smaller name. One value may have as many holders as there are rows, so no step for one row goes
    through all of them.
    """

    holders: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """The index: (type, key) -> the profiles that hold it."""
    record: dict[int, dict[str, dict[str, None]]] = field(default_factory=dict)
    """The inverse: profile -> type -> its keys in order."""
    last: dict[int, int] = field(default_factory=dict)
    """Profile -> the arrival of the last row that touched it."""
    by_mpid: dict[int, int] = field(default_factory=dict)
    """MPID -> profile."""
    _guards: frozenset[str] | None = None
    """The types that `_open` was made for."""
    _open: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """(type, key) -> its holders without an identity of the types in `_guards`."""

    def add(self, profile: int, kind: str, key: str) -> None:
        """Add an identity to a profile."""
        self.holders.setdefault((kind, key), set()).add(profile)
        self.record.setdefault(profile, {}).setdefault(kind, {})[key] = None
        if self._guards is None:
            return
        if self._is_open(profile):
            self._open.setdefault((kind, key), set()).add(profile)
        elif kind in self._guards:
            self._shut(profile)

    def remove(self, profile: int, kind: str, key: str) -> None:
        """Remove an identity from a profile that has it."""
        self.holders[kind, key].discard(profile)
        del self.record[profile][kind][key]
        if self._guards is None:
            return
        # The profile may have lost its last guarded identity: then all its values are open.
        self._open.get((kind, key), set()).discard(profile)
        if kind in self._guards and self._is_open(profile):
            for claim in self._claims(profile):
                self._open.setdefault(claim, set()).add(profile)

    def open_holders(self, kind: str, key: str, guards: frozenset[str]) -> set[int]:
        """Return the holders of a value that have no identity of the types `guards` at all."""
        # The index is made for one set of guards: the rules do not change within an import.
        if guards != self._guards:
            self._guards, self._open = guards, {}
            for profile in self.record:
                if self._is_open(profile):
                    for claim in self._claims(profile):
                        self._open.setdefault(claim, set()).add(profile)
        return self._open.get((kind, key), set())

    def _is_open(self, profile: int) -> bool:
        record = self.record.get(profile, {})
        return not any(record.get(kind) for kind in self._guards or ())

    def _shut(self, profile: int) -> None:
        for claim in self._claims(profile):
            self._open.get(claim, set()).discard(profile)

    def _claims(self, profile: int) -> list[tuple[str, str]]:
        return [(kind, key) for kind, keys in self.record.get(profile, {}).items() for key in keys]

    def drop(self, profiles: set[int]) -> None:
        """Forget profiles altogether."""
        for holders in (*self.holders.values(), *self._open.values()):
            holders.difference_update(profiles)
        for profile in profiles:
            self.record.pop(profile, None)
            self.last.pop(profile, None)
        self.by_mpid = {
            mpid: profile for mpid, profile in self.by_mpid.items() if profile not in profiles
        }

    def values(self, profile: int, kind: str) -> Collection[str]:
        """Return the keys of a profile's identities of a type, in order."""
        return self.record.get(profile, {}).get(kind, {})

    def holds_any(self, profile: int, kinds: Collection[str]) -> bool:
        """Return whether a profile holds an identity of one of some types."""
        return any(self.values(profile, kind) for kind in kinds)


MADE_KNOWN = "ANONYMOUS_MADE_KNOWN"
"""The code of a row that gave an anonymous profile its first login identity."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The identities of one row."""

    arrival: int
    """The arrival of the row."""
    identities: tuple[UsableIdentity, ...]
    """Its identities."""
    mpid: int | None = None
    """The MPID that it names, if any."""


@dataclass(slots=True)
class Decision:
    """The outcome of a claim."""

    profile: int | None
    """The profile of the row; None: nobody was found, and nobody was created."""
    created: bool = False
    """Whether the profile was created."""
    added: list[UsableIdentity] = field(default_factory=list)
    """The identities that the profile gained."""
    removed: list[tuple[int, str, str]] = field(default_factory=list)
    """The identities that profiles lost: (profile, type, key)."""
    moved: int = 0
    """The number of identities that went from one profile to another."""
    replaced: int = 0
    """The number of values that a newer value of the same type replaced."""
    codes: list[str] = field(default_factory=list)
    """The warnings on the row."""


def decide(
    claim: Claim, records: Records, rules: Rules, *, create: bool, call: str = "identify"
) -> Decision:
    """Resolve one row to its profile, and attach its identities (domain.md 4.3, 4.4).

    (a) An MPID that somebody has decides; then the row takes no identity from another profile.
    (b) Else the identities decide (look_up).
    (c) If nobody is found, a new profile is created, with the MPID that the row names.

    create: whether an unknown user may be created. call: one of identity.CALLS. Changes records.
    """
    leads = rules.leads(call)
    if leads != "identify":
        return _log_out(claim, records, rules, create=create, leads=leads)
    # An MPID that nobody has says nothing: the identities decide then (4.4 b).
    by_mpid = records.by_mpid.get(claim.mpid) if claim.mpid is not None else None
    if by_mpid is not None:
        decision = Decision(by_mpid)
        _attach_to_found(claim, decision, records, rules=rules, keep=True)
        return decision
    in_hierarchy = _in_hierarchy(claim.identities, rules)
    profile, protected = look_up(in_hierarchy, records, rules)
    decision = Decision(profile)
    if profile is None:
        if protected:
            decision.codes.append("PROTECTED_MATCH")
        if create:
            _create(claim, decision, records, is_findable=bool(in_hierarchy))
            _attach(claim, decision, records, rules=rules, keep=rules.unique_conflict == "keep")
        return decision
    if claim.mpid is not None:
        # The row named an MPID, and its identities found somebody else.
        decision.codes.append("MPID_UNKNOWN")
    _attach_to_found(claim, decision, records, rules=rules, keep=rules.unique_conflict == "keep")
    return decision


def _create(claim: Claim, decision: Decision, records: Records, *, is_findable: bool) -> None:
    """Create the profile of a row; is_findable: whether an identity of it is in the hierarchy."""
    if not is_findable and claim.mpid is None:
        decision.codes.append("IDENTITY_NOT_IN_HIERARCHY")
    decision.profile = claim.arrival
    decision.created = True
    if claim.mpid is not None:
        records.by_mpid[claim.mpid] = claim.arrival


def _in_hierarchy(identities: Sequence[UsableIdentity], rules: Rules) -> dict[str, str]:
    """Return the identities that a row is looked up by, as type -> key."""
    ranks = _ranks(rules.hierarchy)
    return {identity.type: identity.key for identity in identities if identity.type in ranks}


def _log_out(claim: Claim, records: Records, rules: Rules, *, create: bool, leads: str) -> Decision:
    """Resolve a logout to an anonymous profile, which takes nothing from anybody (domain.md 4.3).

    leads: one of identity.LOGOUTS.
    """
    # An MPID is not followed: a logout never leads to the person who logs out.
    claim = Claim(claim.arrival, anonymous(claim.identities, rules))
    decision = Decision(None)
    if leads == "anonymous":
        decision.profile, _ = look_up(_in_hierarchy(claim.identities, rules), records, rules)
    if decision.profile is None:
        if not create:
            return decision
        decision.profile = claim.arrival
        decision.created = True
    _attach(claim, decision, records, rules=rules, keep=True)
    return decision


@dataclass(frozen=True, slots=True)
class Step:
    """One step down the hierarchy."""

    type: str
    """The identity type."""
    key: str
    """The key that is looked up."""
    holders: frozenset[int]
    """The profiles that hold it."""
    eligible: frozenset[int]
    """Those of them that the row may find."""
    left: frozenset[int]
    """The profiles that remain after this step: those of the steps before, narrowed."""


FEW_HOLDERS = 8
"""Up to this many holders of a value are checked one by one: an index would cost more."""
_NOBODY: frozenset[int] = frozenset()


def look_up(
    claimed: Mapping[str, str], records: Records, rules: Rules, steps: list[Step] | None = None
) -> tuple[int | None, bool]:
    """Return the profile of some identities, and whether protection alone hid it (domain.md 4.3).

    The walk goes down the hierarchy: a type that finds several profiles is narrowed by the types
    below it. If several still remain, the one that was touched last, by arrival, is chosen
    (design.md R15). The second value is True if nobody was found only because a login or immutable
    identity protects a holder.

    claimed: the identities, as type -> key. steps: a list to add each step to.
    """
    # Under link and isolation a device never finds the person of a row that brings a login.
    login = {kind: key for kind, key in claimed.items() if kind in rules.login}
    only_known = rules.login_decides and bool(login)
    keys = login if only_known else claimed
    candidates: set[int] = set()
    protected = False
    for kind in sorted(keys, key=_ranks(rules.hierarchy).__getitem__):
        holders = records.holders.get((kind, keys[kind]))
        if not holders:
            continue
        eligible = _eligible_among(holders, kind, claimed, records=records, rules=rules)
        # Reported only if nobody is found in the end (PROTECTED_MATCH).
        protected = protected or len(eligible) < len(holders)
        if only_known:
            eligible = {profile for profile in eligible if records.holds_any(profile, rules.login)}
        # A lower type narrows what a higher one found, and never overrides it.
        if eligible and (not candidates or candidates & eligible):
            candidates = candidates & eligible if candidates else eligible
        if steps is not None:
            steps.append(
                Step(
                    type=kind,
                    key=keys[kind],
                    holders=frozenset(holders),
                    eligible=frozenset(eligible),
                    left=frozenset(candidates),
                )
            )
        if len(candidates) == 1:
            break
    if not candidates:
        return None, protected
    return max(
        candidates, key=lambda profile: (records.last.get(profile, profile), -profile)
    ), False


@functools.cache
def _ranks(hierarchy: tuple[str, ...]) -> Mapping[str, int]:
    return {kind: place for place, kind in enumerate(hierarchy)}


def _eligible_among(
    holders: set[int], kind: str, claimed: Mapping[str, str], *, records: Records, rules: Rules
) -> set[int]:
    """Return the holders of a row's value that the row may find.

    A profile with protected identities must share one of them with the row. So of many holders only
    two groups come into question: those of the row's protected identities, and those without any.
    """
    guards = rules.immutable | rules.login
    candidates = holders
    unprotected: set[int] = set()
    if len(holders) > FEW_HOLDERS and guards:
        candidates = {
            profile
            for guard in guards
            if guard in claimed
            for profile in records.holders.get((guard, claimed[guard]), _NOBODY)
            if profile in holders
        }
        unprotected = records.open_holders(kind, claimed[kind], guards)
    return unprotected | {
        profile
        for profile in candidates
        if _eligible(profile, claimed, records=records, rules=rules)
    }


def _eligible(profile: int, claimed: Mapping[str, str], *, records: Records, rules: Rules) -> bool:
    """Return whether a row with these identities may find a profile (domain.md 4.2).

    A profile with login identities is found only by one of them, and likewise with immutable ones.
    """
    for guarded in (rules.immutable, rules.login):
        own = [(kind, key) for kind in guarded for key in records.values(profile, kind)]
        if own and not any(claimed.get(kind) == key for kind, key in own):
            return False
    return True


def _attach_to_found(
    claim: Claim, decision: Decision, records: Records, *, rules: Rules, keep: bool
) -> None:
    """Attach a row's identities to a profile that was there (domain.md 4.3).

    The decision gets MADE_KNOWN if that makes an anonymous profile known (note 8).
    """
    assert decision.profile is not None
    was_known = records.holds_any(decision.profile, rules.login)
    _attach(claim, decision, records, rules=rules, keep=keep)
    if not was_known and records.holds_any(decision.profile, rules.login):
        decision.codes.append(MADE_KNOWN)


def _attach(
    claim: Claim, decision: Decision, records: Records, *, rules: Rules, keep: bool
) -> None:
    """Give a profile the identities of a row, as far as the flags allow (domain.md 4.3).

    keep: whether a unique identity stays with the profile that holds it (design.md R2).
    """
    profile = decision.profile
    assert profile is not None
    ranks = _ranks(rules.hierarchy)
    records.last[profile] = claim.arrival
    for identity in sorted(
        claim.identities,
        key=lambda identity: (ranks.get(identity.type, len(ranks)), CODE[identity.type]),
    ):
        own = records.values(profile, identity.type)
        # Nothing changes, and an immutable identity may be repeated.
        if identity.key in own:
            continue
        holders = records.holders.get((identity.type, identity.key), _NOBODY)
        has_others = len(holders) > (profile in holders)
        if identity.type in rules.immutable and (own or has_others):
            decision.codes.append("IMMUTABLE_CONFLICT")
        elif identity.type in rules.unique and has_others and keep:
            decision.codes.append("UNIQUE_CONFLICT")
        else:
            _give(identity, decision, records, rules=rules)


def _is_single(kind: str, rules: Rules) -> bool:
    """Return whether a profile has at most one value of a type: a unique user identity.

    A newer value takes the place of the older one (domain.md 4.3, attach).
    """
    return kind in rules.unique and not BY_NAME[kind].device


def _give(identity: UsableIdentity, decision: Decision, records: Records, *, rules: Rules) -> None:
    """Give the profile of a decision an identity; a unique one leaves every other holder."""
    profile, kind, key = decision.profile, identity.type, identity.key
    assert profile is not None
    if kind in rules.unique and (losers := records.holders.get((kind, key), _NOBODY) - {profile}):
        for loser in sorted(losers):
            records.remove(loser, kind, key)
            decision.removed.append((loser, kind, key))
        decision.moved += 1
    own = records.values(profile, kind)
    if own and _is_single(kind, rules):
        # A single-valued type has one key here, so the oldest is the only one.
        oldest = next(iter(own))
        decision.removed.append((profile, kind, oldest))
        decision.replaced += 1
        records.remove(profile, kind, oldest)
    records.add(profile, kind, key)
    decision.added.append(identity)


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """One change of a profile's identities: a removal, an addition, or both as a replacement."""

    type: str
    """The identity type."""
    old: UsableIdentity | None = None
    """The value to remove."""
    new: UsableIdentity | None = None
    """The value to add."""


def reached(*, device: bool, known: bool) -> bool:
    """Return whether a request by an identity reaches a profile that holds it.

    A device may belong to several people, so its identity alone does not reach a known profile
    (domain.md 14).

    device: whether the identity is a device's. known: whether the profile has a login identity.
    """
    return not (device and known)


def modify(
    profile: int, changes: Sequence[IdentityChange], records: Records, rules: Rules
) -> list[Decision]:
    """Change the identities of one profile, and return what each change did (domain.md 4.3).

    All changes are made or none, and nobody is ever created. A unique identity leaves its other
    holders, also under unique_conflict = keep, because somebody asked for it here; an immutable one
    never does (design.md R2). Changes records.

    Raises ChangeRefused for a value that the profile does not have, and for an immutable one; then
    records are as before.
    """
    # All checks come first, so that nothing is changed if one of them fails.
    _check_changes(profile, changes, records=records, rules=rules)
    decisions = []
    for change in changes:
        decision = Decision(profile)
        if change.old:
            records.remove(profile, change.type, change.old.key)
            decision.removed.append((profile, change.type, change.old.key))
            decision.replaced += 1
        if change.new and change.new.key not in records.values(profile, change.type):
            _give(change.new, decision, records, rules=rules)
        decisions.append(decision)
    return decisions


def _check_changes(
    profile: int, changes: Sequence[IdentityChange], *, records: Records, rules: Rules
) -> None:
    """Check each change as if those before it were made. Raises ChangeRefused."""
    record = {kind: list(keys) for kind, keys in records.record.get(profile, {}).items()}
    for change in changes:
        own = record.setdefault(change.type, [])
        if change.old and change.old.key not in own:
            raise ChangeRefused(
                "OLD_VALUE_MISMATCH",
                f"the profile does not have the {change.type} {change.old.value}",
                "profilectl show lists what it has",
            )
        if change.type in rules.immutable:
            _check_immutable(profile, change, own, records=records)
        if change.old:
            own.remove(change.old.key)
        if change.new and change.new.key not in own:
            record[change.type] = (
                [change.new.key] if _is_single(change.type, rules) else [*own, change.new.key]
            )


def _check_immutable(
    profile: int, change: IdentityChange, own: Sequence[str], *, records: Records
) -> None:
    """Check a change of an immutable type. Raises ChangeRefused.

    own: the keys of this type that the profile has.
    """
    adds = change.new is not None and change.new.key not in own
    if change.old or (adds and own):
        raise ChangeRefused(
            "IMMUTABLE",
            f"{change.type} is immutable: a profile keeps the one it has",
            "profilectl explain rules shows what is immutable, and why",
        )
    if change.new and records.holders.get((change.type, change.new.key), _NOBODY) - {profile}:
        raise ChangeRefused(
            "IMMUTABLE_CONFLICT",
            f"another profile has the {change.type} {change.new.value}, and {change.type} is"
            " immutable",
        )


ProfileIdentity = tuple[int, str, str, str]
"""A profile, and the environment, type and key of an identity that it holds."""


def identity_counts(before: set[ProfileIdentity], after: set[ProfileIdentity]) -> dict[str, int]:
    """Count the identities that some profiles gained and lost between two states.

    A value that one profile lost and another gained has moved. Anything else gained is added, and
    anything else lost is removed. A value that came and went in between is in neither state, and is
    not counted.
    """
    gained, lost = after - before, before - after
    values_gained = {holding[1:] for holding in gained}
    moved = len(values_gained & {holding[1:] for holding in lost})
    removed = sum(holding[1:] not in values_gained for holding in lost)
    return {"added": len(gained) - moved, "moved": moved, "removed": removed}
