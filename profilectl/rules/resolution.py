"""TODO rules.resolution (split off rules.identity)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.codes import ChangeRefused
from profilectl.rules.identity import BY_NAME, CODE, Rules, Usable, anonymous


@dataclass(slots=True)
class Records:
    """The identity records of one environment that a decision may need, and nothing else.

    A profile is named by the arrival of the row that founded it, so that an older profile has the
    smaller name. holders is the index: who holds a value. record is its inverse, by type, the
    values in order. last is the arrival of the row that touched a profile last. by_mpid finds a
    profile by its MPID. One value may have as many holders as there are rows: nothing here that is
    done for each row looks at all of them.
    """

    holders: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    record: dict[int, dict[str, dict[str, None]]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    by_mpid: dict[int, int] = field(default_factory=dict)
    _guards: frozenset[str] | None = None
    """The types that `_open` was made for."""
    _open: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """Of the holders of a value those that have no identity of the types in `_guards`."""

    def add(self, profile: int, kind: str, key: str) -> None:
        self.holders.setdefault((kind, key), set()).add(profile)
        self.record.setdefault(profile, {}).setdefault(kind, {})[key] = None
        if self._guards is None:
            return
        if self._is_open(profile):
            self._open.setdefault((kind, key), set()).add(profile)
        elif kind in self._guards:
            self._shut(profile)

    def remove(self, profile: int, kind: str, key: str) -> None:
        self.holders[kind, key].discard(profile)
        del self.record[profile][kind][key]
        if self._guards is None:
            return
        self._open.get((kind, key), set()).discard(profile)
        if kind in self._guards and self._is_open(profile):
            for claim in self._claims(profile):
                self._open.setdefault(claim, set()).add(profile)

    def open_holders(self, kind: str, key: str, guards: frozenset[str]) -> set[int]:
        """Return who holds a value and no identity of some types at all."""
        if guards != self._guards:
            self._guards, self._open = guards, {}
            for profile in self.record:
                if self._is_open(profile):
                    for claim in self._claims(profile):
                        self._open.setdefault(claim, set()).add(profile)
        return self._open.get((kind, key), set())

    def _is_open(self, profile: int) -> bool:
        held = self.record.get(profile, {})
        return not any(held.get(kind) for kind in self._guards or ())

    def _shut(self, profile: int) -> None:
        for claim in self._claims(profile):
            self._open.get(claim, set()).discard(profile)

    def _claims(self, profile: int) -> list[tuple[str, str]]:
        return [(kind, key) for kind, keys in self.record.get(profile, {}).items() for key in keys]

    def drop(self, profiles: set[int]) -> None:
        """Forget profiles altogether."""
        for held in (*self.holders.values(), *self._open.values()):
            held.difference_update(profiles)
        for profile in profiles:
            self.record.pop(profile, None)
            self.last.pop(profile, None)
        self.by_mpid = {
            mpid: profile for mpid, profile in self.by_mpid.items() if profile not in profiles
        }

    def values(self, profile: int, kind: str) -> Collection[str]:
        return self.record.get(profile, {}).get(kind, {})


MADE_KNOWN = "ANONYMOUS_MADE_KNOWN"
"""The code of a row that gave an anonymous profile its first login identity."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one row says of identity: its identities, and the MPID it names, if any."""

    arrival: int
    identities: tuple[Usable, ...]
    mpid: int | None = None


@dataclass(slots=True)
class Decision:
    """What became of a claim: the profile (None: nobody, and none was made), and what it changed.

    added, removed: identities the profile gained, and those that a profile lost, as (profile, type,
    key); moved counts those that went from one profile to another. codes: warnings.
    """

    profile: int | None
    created: bool = False
    added: list[Usable] = field(default_factory=list)
    removed: list[tuple[int, str, str]] = field(default_factory=list)
    moved: int = 0
    replaced: int = 0
    codes: list[str] = field(default_factory=list)


def decide(
    claim: Claim, records: Records, rules: Rules, *, create: bool, call: str = "identify"
) -> Decision:
    """Resolve one row to its profile and attach its identities (domain.md 4.3 and 4.4).

    create: an unknown user may be created. call: of CALLS. Changes records.
    """
    leads = rules.leads(call)
    if leads != "identify":
        return _log_out(claim, records, rules, create=create, leads=leads)
    by_mpid = records.by_mpid.get(claim.mpid) if claim.mpid is not None else None
    if by_mpid is not None:
        decision = Decision(by_mpid)
        _attach_to_found(by_mpid, claim, records, rules, decision, keep=True)
        return decision
    ranked = _ranks(rules.hierarchy)
    known = {one.type: one.key for one in claim.identities if one.type in ranked}
    profile, protected = look_up(known, records, rules)
    decision = Decision(profile)
    if claim.mpid is not None and profile is not None:
        decision.codes.append("MPID_UNKNOWN")
    if profile is None:
        if protected:
            decision.codes.append("PROTECTED_MATCH")
        if not create:
            return decision
        if not known and claim.mpid is None:
            decision.codes.append("IDENTITY_NOT_IN_HIERARCHY")
        profile = decision.profile = claim.arrival
        decision.created = True
        if claim.mpid is not None:
            records.by_mpid[claim.mpid] = profile
    keep = rules.unique_conflict == "keep"
    (_attach if decision.created else _attach_to_found)(
        profile, claim, records, rules, decision, keep=keep
    )
    return decision


def _log_out(claim: Claim, records: Records, rules: Rules, *, create: bool, leads: str) -> Decision:
    """Resolve a logout to an anonymous profile, which takes nothing from anybody."""
    claim = Claim(claim.arrival, anonymous(claim.identities, rules))
    profile = None
    if leads == "anonymous":
        ranked = _ranks(rules.hierarchy)
        profile, _ = look_up(
            {one.type: one.key for one in claim.identities if one.type in ranked}, records, rules
        )
    decision = Decision(profile)
    if profile is None:
        if not create:
            return decision
        profile = decision.profile = claim.arrival
        decision.created = True
    _attach(profile, claim, records, rules, decision, keep=True)
    return decision


@dataclass(frozen=True, slots=True)
class Step:
    """One step down the hierarchy: who holds the value, who of them may be found by this row, and
    who is left after it (the profiles found before, narrowed).
    """

    type: str
    key: str
    holders: frozenset[int]
    eligible: frozenset[int]
    left: frozenset[int]


FEW_HOLDERS = 8
"""So many holders of a value are asked one by one: an index costs more."""


_NOBODY: frozenset[int] = frozenset()


def look_up(
    known: Mapping[str, str], records: Records, rules: Rules, steps: list[Step] | None = None
) -> tuple[int | None, bool]:
    """Find the profile of some identities, given as type -> key: the profile or None, and whether
    nobody was found only because a login or immutable identity protects a holder.

    Walks the hierarchy; a type that finds several profiles is narrowed by the types below it. What
    is still tied then goes to the profile touched last, by arrival (design.md R15). steps: a list
    to which each step is added.
    """
    login = {kind: key for kind, key in known.items() if kind in rules.login}
    only_known = rules.login_decides and bool(login)
    wanted = login if only_known else known
    found: set[int] = set()
    protected = False
    rank = _ranks(rules.hierarchy)
    for kind in sorted(wanted, key=rank.__getitem__):
        holders = records.holders.get((kind, wanted[kind]))
        if not holders:
            continue
        hit = _eligible_among(holders, kind, known, records, rules)
        protected = protected or len(hit) < len(holders)
        if only_known:
            hit = {one for one in hit if _is_known(one, records, rules)}
        if hit and (not found or found & hit):
            found = found & hit if found else hit
        if steps is not None:
            steps.append(
                Step(kind, wanted[kind], frozenset(holders), frozenset(hit), frozenset(found))
            )
        if len(found) == 1:
            break
    if not found:
        return None, protected
    return max(found, key=lambda one: (records.last.get(one, one), -one)), False


@functools.cache
def _ranks(hierarchy: tuple[str, ...]) -> Mapping[str, int]:
    return {kind: place for place, kind in enumerate(hierarchy)}


def _eligible_among(
    holders: set[int], kind: str, known: Mapping[str, str], records: Records, rules: Rules
) -> set[int]:
    """Return those of the holders of a row's value who may be found by the row.

    Whoever has a protected identity must have one that the row has too, so only the holders of
    those need be asked.
    """
    guards = rules.immutable | rules.login
    if len(holders) <= FEW_HOLDERS or not guards:
        return {one for one in holders if _eligible(one, known, records, rules)}
    asked = {
        one
        for guard in guards
        if guard in known
        for one in records.holders.get((guard, known[guard]), _NOBODY)
        if one in holders
    }
    return records.open_holders(kind, known[kind], guards) | {
        one for one in asked if _eligible(one, known, records, rules)
    }


def _eligible(profile: int, known: Mapping[str, str], records: Records, rules: Rules) -> bool:
    """Login and immutable protection: a profile that has such identities is found only by one of
    them (domain.md 4.2)."""
    for guarded in (rules.immutable, rules.login):
        held = [(kind, key) for kind in guarded for key in records.values(profile, kind)]
        if held and not any(known.get(kind) == key for kind, key in held):
            return False
    return True


def _is_known(profile: int, records: Records, rules: Rules) -> bool:
    return any(records.values(profile, kind) for kind in rules.login)


def _attach_to_found(
    profile: int, claim: Claim, records: Records, rules: Rules, decision: Decision, *, keep: bool
) -> None:
    """Attach to a profile that was there; remark where that makes an anonymous one known (domain.md
    4.3 note 8).
    """
    anonymous = not _is_known(profile, records, rules)
    _attach(profile, claim, records, rules, decision, keep=keep)
    if anonymous and _is_known(profile, records, rules):
        decision.codes.append(MADE_KNOWN)


def _attach(
    profile: int, claim: Claim, records: Records, rules: Rules, decision: Decision, *, keep: bool
) -> None:
    """Give a profile the identities of a row, as far as the flags allow (domain.md 4.3)."""
    rank = _ranks(rules.hierarchy)
    records.last[profile] = claim.arrival
    for one in sorted(
        claim.identities, key=lambda one: (rank.get(one.type, len(rank)), CODE[one.type])
    ):
        own = records.values(profile, one.type)
        if one.key in own:
            continue
        holders = records.holders.get((one.type, one.key), _NOBODY)
        others = len(holders) > (profile in holders)
        if one.type in rules.immutable and (own or others):
            decision.codes.append("IMMUTABLE_CONFLICT")
            continue
        if one.type in rules.unique and others and keep:
            decision.codes.append("UNIQUE_CONFLICT")
            continue
        _give(profile, one, records, rules, decision)


def _single(kind: str, rules: Rules) -> bool:
    """A unique user identity has one value on a profile; a newer one takes its place."""
    return kind in rules.unique and not BY_NAME[kind].device


def _give(profile: int, one: Usable, records: Records, rules: Rules, decision: Decision) -> None:
    """Give a profile an identity that it may have: a unique one goes from whoever holds it."""
    others = (
        records.holders.get((one.type, one.key), _NOBODY) - {profile}
        if one.type in rules.unique
        else _NOBODY
    )
    if others:
        for other in sorted(others):
            records.remove(other, one.type, one.key)
            decision.removed.append((other, one.type, one.key))
        decision.moved += 1
    own = records.values(profile, one.type)
    if own and _single(one.type, rules):
        oldest = next(iter(own))
        decision.removed.append((profile, one.type, oldest))
        decision.replaced += 1
        records.remove(profile, one.type, oldest)
    records.add(profile, one.type, one.key)
    decision.added.append(one)


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """One change of a profile's identities: old alone is removed, new alone added, both are a
    replacement.
    """

    type: str
    old: Usable | None = None
    new: Usable | None = None


def reached(*, device: bool, known: bool) -> bool:
    """Say whether a request about a person, named by one identity, reaches a profile that holds it.

    A device may be of several people: alone it does not reach a profile that is known, that is, has
    a login identity (domain.md 14).
    """
    return not (device and known)


def modify(
    profile: int, changes: Sequence[IdentityChange], records: Records, rules: Rules
) -> list[Decision]:
    """Change the identities of one profile, all or nothing, and return what each change did
    (domain.md 4.3).

    Nobody is ever created. A unique identity that others hold goes over, whatever unique_conflict
    says, because here somebody asked for it; an immutable one never does (design.md R2). Changes
    records. Raises ChangeRefused for a value the profile does not have, and for an immutable one;
    then records are as before.
    """
    own = {kind: list(keys) for kind, keys in records.record.get(profile, {}).items()}
    for change in changes:
        held = own.setdefault(change.type, [])
        if change.old and change.old.key not in held:
            raise ChangeRefused(
                "OLD_VALUE_MISMATCH",
                f"the profile does not have the {change.type} {change.old.value}",
                "profilectl show lists what it has",
            )
        added = change.new is not None and change.new.key not in held
        if change.type in rules.immutable and (change.old or (added and held)):
            raise ChangeRefused(
                "IMMUTABLE",
                f"{change.type} is immutable: a profile keeps the one it has",
                "profilectl explain rules shows what is immutable, and why",
            )
        if (
            change.type in rules.immutable
            and change.new
            and records.holders.get((change.type, change.new.key), _NOBODY) - {profile}
        ):
            raise ChangeRefused(
                "IMMUTABLE_CONFLICT",
                f"another profile has the {change.type} {change.new.value}, and {change.type} is immutable",
            )
        if change.old:
            held.remove(change.old.key)
        if change.new and change.new.key not in held:
            own[change.type] = (
                [change.new.key] if _single(change.type, rules) else [*held, change.new.key]
            )
    done = []
    for change in changes:
        decision = Decision(profile)
        if change.old:
            records.remove(profile, change.type, change.old.key)
            decision.removed.append((profile, change.type, change.old.key))
            decision.replaced += 1
        if change.new and change.new.key not in records.values(profile, change.type):
            _give(profile, change.new, records, rules, decision)
        done.append(decision)
    return done


Holding = tuple[int, str, str, str]
"""Who holds what: a profile, and an identity's environment, type and key."""


def identity_counts(before: set[Holding], after: set[Holding]) -> dict[str, int]:
    """Count what became of the identities of some profiles, between two states.

    A value that one profile lost and another gained has moved; what else was gained is added, what
    else was lost is removed. What came and went in between is in neither state, and is not counted.
    """
    gained, lost = after - before, before - after
    values_gained = {held[1:] for held in gained}
    moved = len(values_gained & {held[1:] for held in lost})
    removed = sum(held[1:] not in values_gained for held in lost)
    return {"added": len(gained) - moved, "moved": moved, "removed": removed}


def mpid_for(secret: str, arrival: int, attempt: int = 0) -> int:
    """Return the MPID of the profile that a row founded: 64 signed bits, never 0, not to be guessed
    without the store's secret (domain.md 2.3). attempt is counted up where an MPID is taken.

    A pure function, so that an import that is run again makes the same MPIDs, and so that the
    engine can make a million of them in one statement (`resolve.MPID`).
    """
    digest = hashlib.md5(f"{secret}:{arrival}:{attempt}".encode(), usedforsecurity=False).digest()
    number = int.from_bytes(digest[8:], "little", signed=True)
    return number or 1
