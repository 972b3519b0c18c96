"""How identities came to one profile, row by row; why two are apart; and where some would lead.

No decision is made again here: it is read from the rows, or resolved by the rules of an import.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from profilectl.codes import sentence
from profilectl.profiles.activity import Activity, HeldIdentity, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME, CODE, Rules, UsableIdentity, display, key_of, usable
from profilectl.rules.resolution import Records, Step, look_up
from profilectl.rules.sql.identities import hash_of
from profilectl.store.statements import over_each, reading

MOST_PASSED = 20
"""How many of the profiles that one row passed over are named."""
NOT_KNOWN = "it is not a known user, and a login identity was given"
BY_LOGIN = "a login identity was given, and by that alone a user is found"
OTHER_RULES = "the identity rules of that time protected it; they have been changed since"
OUTSIDE_HIERARCHY = "the type is outside the hierarchy: it is kept on a profile and finds nobody"
Identity = tuple[str, str]
"""Type and value of an identity."""

WARNED_ROWS = """
select distinct arrival
from store.passed_claim
where arrival in (select unnest($arrivals::bigint[]))
"""
# Everybody who has or had an identity: by the indexes, and by what was taken away since.
INDEXED = "select hash, profile from stored"
TAKEN_AWAY = "select hash, profile from store.removed"
# The number of a profile is the arrival that founded it: a younger one was not there for the row.
HOLDERS_OF_CLAIMS = """
select distinct holder.profile
from holder
where holder.profile < $arrival
  and holder.hash in (select hash from store.passed_claim where arrival = $arrival)
order by holder.profile
"""
CLAIMS = "select type, to_hex(hash) from store.passed_claim where arrival = $arrival"


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A profile that a row did not find, though it held an identity of the row.

    A protection stood before it.
    """

    activity: Activity
    """The profile, as it is now."""
    type: str
    """The type of the identity."""
    value: str
    """The identity, as the profile held it when the row arrived."""
    why: str
    """Which protection it was."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The profiles that a row passed over."""

    people: Sequence[PassedOver] = ()
    """The oldest of them, MOST_PASSED at most."""
    number: int = 0
    """How many there were: an identity may have very many holders."""


@dataclass(frozen=True, slots=True)
class Link:
    """One row that gave a profile identities."""

    touch: Touch
    """What the row did."""
    before: list[Identity]
    """The identities by which it found the profile: it carried one of them, or the MPID."""
    passed: Passed = Passed()
    """The profiles that it did not find."""


@dataclass(frozen=True, slots=True)
class Apart:
    """Two identities that are not of one profile, and why."""

    first: list[Activity]
    """The profiles of the first."""
    second: list[Activity]
    """The profiles of the second."""
    reasons: list[str]
    """Why they are apart; empty where they are not."""


@dataclass(frozen=True, slots=True)
class Identified:
    """The result of a look-up by some identities."""

    steps: list[Step]
    """The steps of the look-up, in order."""
    people: dict[int, Activity]
    """The profiles that came up."""
    found: int | None
    """The profile that was found; None: nobody."""
    protected: bool
    """Whether a protection stood before somebody."""
    rules: Rules
    """The rules in force."""
    skipped: list[tuple[str, str, str]]
    """The identities that find nobody, even if somebody has them: type, value and reason."""
    usable: bool
    """Whether any of them may be used."""
    known: Mapping[str, str]
    """The keys that were looked up, by type."""


def chain(profiles: Profiles, activity: Activity) -> list[Link]:
    """Return the rows that joined the identities of a profile, oldest first.

    A profile with an immutable or a login identity is found by a row that carries one of those, and
    by no other.
    """
    rules = profiles.store.settings().rules
    adding = [touch.origin.arrival for touch in activity.every() if touch.added]
    rows = profiles.store.scratch.rows(WARNED_ROWS, {"arrivals": adding})
    warned = {arrival for (arrival,) in rows}
    held_then: list[Identity] = []
    links = []
    for touch in activity.past():
        arrival = touch.origin.arrival
        if touch.added or touch.removed or touch.founded:
            before = [] if touch.taker is not None else _able(held_then, rules)
            passed = passed_over(profiles, arrival, rules) if arrival in warned else Passed()
            links.append(Link(touch, before, passed))
        for removed in touch.removed:
            if (removed.type, removed.value) in held_then:
                held_then.remove((removed.type, removed.value))
        held_then += [(added.type, added.value) for added in touch.added]
    return links


def _able(identities: Sequence[Identity], rules: Rules) -> list[Identity]:
    """Return those of the identities of a profile by which a row finds it."""
    # only a login or an immutable identity finds a profile that has one
    able = [identity for identity in identities if identity[0] in rules.hierarchy]
    for guarded in (rules.login, rules.immutable):
        able = [identity for identity in able if identity[0] in guarded] or able
    return able


def passed_over(profiles: Profiles, arrival: int, rules: Rules) -> Passed:
    """Return the profiles that a row did not find though they held an identity of it, and why.

    It goes by the state when the row arrived. The claims of such rows are kept as hashes; who held
    them is read from the indexes, and from what was taken away since.
    """
    scratch, row = profiles.store.scratch, {"arrival": arrival}
    indexes = [
        f"index_{segment.number}" for segment in profiles.segments if "index" in segment.tables
    ]
    holder = over_each(INDEXED, indexes, nothing=TAKEN_AWAY)
    rows = scratch.rows(reading(HOLDERS_OF_CLAIMS, holder=holder), row)
    candidates = [profile for (profile,) in rows]
    claims = {(kind, int(digest, 16)) for kind, digest in scratch.rows(CLAIMS, row)}
    secret = profiles.store.meta("secret")
    people: list[PassedOver] = []
    number = 0
    for start in range(0, len(candidates), MOST_PASSED):
        # enough are named: the other candidates are counted without a look at each
        if len(people) >= MOST_PASSED:
            number += len(candidates) - start
            break
        for activity in activities(profiles, candidates[start : start + MOST_PASSED]):
            held_then = _held_at(activity, arrival)
            carried = [
                identity
                for identity in held_then
                if (CODE[identity.type], _digest(activity, identity, secret)) in claims
            ]
            if carried:
                number += 1
                people.append(_passed(activity, held_then, carried=carried, rules=rules))
    return Passed(people[:MOST_PASSED], number)


def _held_at(activity: Activity, arrival: int) -> list[HeldIdentity]:
    """Return the identities that a profile had when a row arrived."""
    # the row itself may be the one that took an identity away
    return [
        identity
        for identity in (*activity.identities, *activity.lost)
        if identity.origin.arrival < arrival and (identity.lost is None or identity.lost >= arrival)
    ]


def _passed(
    activity: Activity,
    held_then: Sequence[HeldIdentity],
    *,
    carried: Sequence[HeldIdentity],
    rules: Rules,
) -> PassedOver:
    """Return by which identity of a row, the weightiest, a profile was passed over, and why.

    `carried` are those of its identities that the row had too.
    """

    def weight(identity: HeldIdentity) -> int:
        in_hierarchy = identity.type in rules.hierarchy
        return rules.hierarchy.index(identity.type) if in_hierarchy else len(rules.hierarchy)

    by = min(carried, key=weight)
    shared = {(identity.type, identity.value) for identity in carried}
    for flag, kinds in (("immutable", rules.immutable), ("login", rules.login)):
        guarded = [
            (identity.type, identity.value) for identity in held_then if identity.type in kinds
        ]
        if guarded and not shared.intersection(guarded):
            return PassedOver(activity, by.type, by.value, why=not_given(flag, guarded))
    is_known = any(identity.type in rules.login for identity in held_then)
    if not rules.login_decides:
        why = OTHER_RULES
    else:
        why = BY_LOGIN if is_known or by.type not in rules.login else NOT_KNOWN
    return PassedOver(activity, by.type, by.value, why=why)


def _digest(activity: Activity, identity: HeldIdentity, secret: str) -> int:
    key = key_of(BY_NAME[identity.type], identity.value)
    return hash_of(secret, activity.environment, identity.type, key=key)


def not_given(flag: str, guarded: Sequence[Identity]) -> str:
    """Return the sentence that a profile is protected by identities that a row does not have."""
    listed = ", ".join(f"{kind} {value}" for kind, value in guarded)
    return f"its {flag} identity {listed} is not among those given"


def apart(profiles: Profiles, first: Identity, second: Identity) -> Apart:
    """Explain why two identities are not of one profile."""
    rules = profiles.store.settings().rules
    ours, theirs = (activities(profiles, profiles.find(*pair)) for pair in (first, second))
    reasons = [
        f"nobody has the {kind} {value}"
        for (kind, value), people in ((first, ours), (second, theirs))
        if not people
    ]
    if not reasons and not _profiles(ours) & _profiles(theirs):
        reasons = list(_why_apart(ours, theirs, pair=(first, second), rules=rules))
    return Apart(ours, theirs, reasons)


def _profiles(people: Iterable[Activity]) -> set[int]:
    return {person.profile for person in people}


def _why_apart(
    ours: Sequence[Activity],
    theirs: Sequence[Activity],
    *,
    pair: tuple[Identity, Identity],
    rules: Rules,
) -> Iterator[str]:
    """Yield why two identities that somebody has are apart; `pair` has them as asked for."""
    if not {person.environment for person in ours} & {person.environment for person in theirs}:
        yield (
            f"they are in different environments: {ours[0].environment} and"
            f" {theirs[0].environment} never share profiles"
        )
        return
    our_identity, their_identity = _held_as(ours[0], pair[0]), _held_as(theirs[0], pair[1])
    yield _how_it_came(ours[0], our_identity)
    yield _how_it_came(theirs[0], their_identity)
    yield from _was_taken(ours[0], their_identity)
    yield from _was_taken(theirs[0], our_identity)
    yield from _guarded_from(ours[0], theirs[0], rules)
    yield from _guarded_from(theirs[0], ours[0], rules)
    keys = {
        kind: key_of(BY_NAME[kind], value)
        for kind, value in (our_identity, their_identity)
        if kind in rules.hierarchy
    }
    if len(keys) > 1:
        yield _where_both_lead(keys, [*ours, *theirs], rules)
    elif our_identity[0] == their_identity[0]:
        yield (
            f"a row carries one {our_identity[0]}: no row can carry both,"
            " and nothing else joined them"
        )


def _how_it_came(person: Activity, identity: Identity) -> str:
    kind, value = identity
    own = (own for own in person.identities if (own.type, own.value) == identity)
    brought = next(own, None)
    origin = brought.origin if brought else person.every()[0].origin
    return (
        f"{kind} {value} came to profile {person.mpid} by import {origin.import_number},"
        f" {origin.where}"
    )


def _was_taken(person: Activity, identity: Identity) -> Iterator[str]:
    """Yield that a profile held an identity once, and which row took it away."""
    kind, value = identity
    for lost in person.lost:
        row = person.taken_by(lost)
        if (
            row
            and lost.type == kind
            and key_of(BY_NAME[kind], lost.value) == key_of(BY_NAME[kind], value)
        ):
            yield (
                f"profile {person.mpid} held {kind} {value} until import {row.import_number},"
                f" {row.where}, took it away"
            )


def _guarded_from(person: Activity, stranger: Activity, rules: Rules) -> Iterator[str]:
    """Yield that a profile has an identity which a row must carry to find it."""
    for flag, kinds in (("immutable", rules.immutable), ("login", rules.login)):
        guarded = [identity for identity in person.identities if identity.type in kinds]
        if guarded:
            listed = ", ".join(f"{identity.type} {identity.value}" for identity in guarded)
            yield (
                f"profile {person.mpid} holds the {flag} identity {listed}: only a row that"
                " carries it, or the MPID, finds this profile"
                f" (not what profile {stranger.mpid} holds)"
            )
            return


def _where_both_lead(keys: Mapping[str, str], people: Sequence[Activity], rules: Rules) -> str:
    profile, _ = look_up(keys, records_of(people), rules)
    mpid = next((person.mpid for person in people if person.profile == profile), None)
    order = sorted(keys, key=rules.hierarchy.index)
    if mpid is None:
        return "a row that carries both would find neither, and found a profile of its own"
    return (
        f"a row that carries both would go to profile {mpid}: {order[0]} comes before {order[1]}"
        " in the hierarchy, and profiles are never merged"
    )


def _held_as(activity: Activity, identity: Identity) -> Identity:
    """Return an identity that was asked for as the profile holds it."""
    kind, value = identity
    for own in activity.identities:
        own_type = BY_NAME[own.type]
        if kind in (own.type, "any") and (
            key_of(own_type, own.value) == key_of(own_type, display(value))
        ):
            return own.type, own.value
    return ("mpid", str(activity.mpid)) if kind == "any" else identity


def identify(profiles: Profiles, environment: str, identities: Mapping[str, str]) -> Identified:
    """Resolve identities (type -> value) as a batch would, changing nothing (domain.md 4.3)."""
    rules = profiles.store.settings().rules
    keys: dict[str, str] = {}
    skipped: list[tuple[str, str, str]] = []
    for kind, value in identities.items():
        judged = usable(BY_NAME[kind], value, rules.judging)
        if not isinstance(judged, UsableIdentity):
            why = sentence(judged) if judged else "the identity is empty"
            skipped.append((kind, value, why))
        elif kind in rules.hierarchy:
            keys[kind] = judged.key
        else:
            skipped.append((kind, value, OUTSIDE_HIERARCHY))
    outside = any(why == OUTSIDE_HIERARCHY for _, _, why in skipped)
    holders = {profile for kind in keys for profile in profiles.find(kind, identities[kind])}
    people = {
        person.profile: person
        for person in activities(profiles, sorted(holders))
        if person.environment == environment
    }
    steps: list[Step] = []
    profile, protected = look_up(keys, records_of(list(people.values())), rules, steps=steps)
    return Identified(
        steps=steps,
        people=people,
        found=profile,
        protected=protected,
        rules=rules,
        skipped=skipped,
        usable=bool(keys) or outside,
        known=keys,
    )


def records_of(people: Sequence[Activity]) -> Records:
    """Return the identity records of some profiles, for a decision among them."""
    records = Records()
    for person in people:
        if person.profile not in records.record:
            records.record[person.profile] = {}
            records.last[person.profile] = person.batches()[-1].origin.arrival
            for identity in person.identities:
                key = key_of(BY_NAME[identity.type], identity.value)
                records.add(person.profile, identity.type, key)
    return records
