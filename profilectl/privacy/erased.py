"""Who is erased: their profiles, MPIDs, identities and rows, as relations and in Python.

`erased_of` makes these relations, which the parts of an erasure read:

    erased_profile    profile, mpid, environment   the people
    erased_identity   profile, type, hash          the identities they had, and were named by
    shared_identity   hash, profile                those that somebody who stays has too
    erased_name       mpid, environment            their MPIDs as a batch states them
    gone_row          arrival, import, founder, path   their rows, and the aliases on either side
    newly_suppressed  hash, type, person, erasure, until   the hashes that keep them out
    this_erasure      number, kind, at_ms, made_by, profiles   the one row that is written down
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.importing.corrections.as_import import joined
from profilectl.importing.suppression import DIGITS_TYPE, digits_hash_of
from profilectl.privacy.meant import Meant, load_profiles, mpids_alone, name_relations
from profilectl.privacy.outcome import Erasure
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, CODE, NAME, display, key_of
from profilectl.rules.sql.identities import (
    ENVIRONMENT_NAME,
    MPID_TYPE,
    digest_of,
    hash_in_digest,
    hash_of,
    mpid_hash_of,
)
from profilectl.rules.text.spelling import ANY, MPID, SoughtValues, phone_in
from profilectl.store.scratch import Scratch
from profilectl.store.segments import FILES_WITH_ROWS, Segment
from profilectl.store.statements import over_each, reading, rows_of
from profilectl.store.store import OpenStore, columns_of, who

HASHES = [("profile", "BIGINT"), ("type", "UTINYINT"), ("high", "UBIGINT"), ("low", "UBIGINT")]
NAMES = [("mpid", "VARCHAR"), ("environment", "VARCHAR")]
ACT = [
    ("number", "INTEGER"),
    ("kind", "VARCHAR"),
    ("at_ms", "BIGINT"),
    ("made_by", "VARCHAR"),
    ("profiles", "BIGINT"),
]

ERASED_PROFILE = """
select named.profile, named.mpid, named.environment
from named_profile as named
join leaving_profile as leaving on leaving.profile = named.profile
"""
PEOPLE = """
select profile, mpid, environment
from erased_profile
order by profile
"""
# The identities that rows of a segment brought, a column for each type.
IDENTITIES_OF_ROWS = """
select profile, environment, {columns}
from stored
where profile in (select profile from erased_profile)
"""
# These identities must not keep anybody out, and texts with them may be about those who stay.
SHARED_IDENTITY = """
select distinct holding.hash, holding.profile
from holding
where holding.hash in (select hash from erased_identity)
  and holding.profile not in (select profile from erased_profile)
"""
HASHES_ALONE = """
select distinct to_hex(hash)
from erased_identity
where hash not in (select hash from shared_identity)
"""
SHARING_PROFILES = """
select mpid, environment
from named_profile
where profile in (select profile from shared_identity)
order by profile
"""
# An MPID stays out for good: it is not used again, also where the person may come back.
NEWLY_SUPPRESSED = """
select distinct hash, type, profile as person, $number::integer as erasure, $until::bigint as until
from suppressed_identity
union all
select hash, type, profile, $number::integer, null
from suppressed_mpid
union all
select hash, type, profile, $number::integer, $until::bigint
from suppressed_digits
"""
SUPPRESSED_IDENTITIES = """
select count(distinct hash)
from newly_suppressed
where type not in ($mpid, $digits)
"""
ROWS_OF_ERASED = """
select arrival, arrival = profile as founder
from stored
where profile in (select profile from erased_profile)
"""
ALIASES_OF_ERASED = """
select arrival, false as founder
from store.alias
where source in (select profile from erased_profile)
   or destination in (select profile from erased_profile)
"""
# A row belongs to the file that begins last before it.
GONE_ROW = """
select erased.arrival, file.import, erased.founder, file.path
from erased_row as erased
asof join file_in_force as file on erased.arrival >= file.first_arrival
"""
# Files by the path that the history has. These names are no files: corrections, batches that came
# by HTTP, and files whose name an earlier erasure took away.
FILES_OF_ERASED = r"""
select distinct path
from gone_row
where not regexp_full_match(
    path, '\((set|modify|alias|opt-out)\)|\(erased\)[^/]*|POST /v[0-9]/[a-z]+'
)
order by path
"""


class HashedIdentity(NamedTuple):
    """An identity of a profile, hashed."""

    profile: int
    """The profile; below 0 for an identity that somebody was only named by."""
    type: int
    """The code of its type."""
    hash: int
    """Its hash, in its environment."""
    digest: int
    """Its digest, by which the list of those who stay out has it."""


def _hashed(profile: int, kind: int, digest: int) -> HashedIdentity:
    """Return an identity with a digest; kind: the code of its type."""
    return HashedIdentity(profile=profile, type=kind, hash=hash_in_digest(digest), digest=digest)


@dataclass(slots=True)
class Erased:
    """The people that an erasure takes away, and the erasure itself as it will be written down."""

    profiles: Profiles
    """The read model of the store, over the feeds of everybody."""
    secret: str
    """The secret of the store, with which identities are hashed."""
    number: int
    """The number of the erasure."""
    kind: str
    """What the history calls it: "erased" or "retention"."""
    now_ms: int
    """The time that is written down."""
    next_arrival: int
    """The arrival of the next row that is imported."""
    keeps_out: bool
    """Whether these people stay out from now on."""
    columns: dict[str, list[str]]
    """The columns of each table of the store."""
    people: list[tuple[int, int, int]] = field(default_factory=list)
    """Profile, MPID and code of the environment of each."""
    mpids: set[tuple[int, str]] = field(default_factory=set)
    """MPID and environment of each, and MPIDs that nobody has but somebody was named by."""
    corrected: set[tuple[int, str]] = field(default_factory=set)
    """MPID and environment of those whose corrections by hand lose what they set."""
    hashes: set[int] = field(default_factory=set)
    """The hashes of their identities that nobody who stays has."""
    values: dict[str, None] = field(default_factory=dict)
    """The texts of their identities."""
    sought: SoughtValues = field(default_factory=lambda: SoughtValues([]))
    """The values that texts are searched for."""
    outcome: Erasure = field(default_factory=Erasure)
    """What is reported; each part fills in its own fields."""

    @property
    def store(self) -> OpenStore:
        """The store, attached for writing; for a dry run, for reading."""
        return self.profiles.store

    @property
    def scratch(self) -> Scratch:
        """The session that has the store attached."""
        return self.profiles.store.scratch

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments of the store."""
        return self.profiles.segments

    def has_identity(self, environment: str, kind: str, value: str) -> bool:
        """Return whether an identity is of the erased alone; kind "any": of some type."""
        kinds = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
        return any(
            hash_of(self.secret, environment, name, key=key_of(BY_NAME[name], display(value)))
            in self.hashes
            for name in kinds
        )


@dataclass(slots=True)
class _Identities:
    """The identities that the erased had or were named by, while they are collected."""

    owned: dict[HashedIdentity, str] = field(default_factory=dict)
    """The identities that their rows brought, with the value of each."""
    named: dict[HashedIdentity, bool] = field(default_factory=dict)
    """The identities they were named by, and whether a profile has each."""
    placeholders: set[int] = field(default_factory=set)
    """Hashes of values that were theirs before they became placeholders, which are nobody's."""
    alone: set[int] = field(default_factory=set)
    """Hashes that nobody who stays has."""
    texts: dict[tuple[str, str], None] = field(default_factory=dict)
    """Type and value of the identities that texts are searched for."""


def erased_of(
    profiles: Profiles,
    named_by: Sequence[Meant],
    *,
    kind: str,
    keeps_out: bool,
    allow_return: bool,
    now_ms: int,
) -> Erased:
    """Return who is erased, and make the relations that the module's docstring lists."""
    store = profiles.store
    erased = Erased(
        profiles,
        secret=store.meta("secret"),
        number=store.next_erasure(),
        kind=kind,
        now_ms=now_ms,
        next_arrival=store.next_import()[1],
        keeps_out=keeps_out,
        columns=columns_of(store.scratch),
    )
    name_relations(profiles)
    _load_people(erased, {profile for identity in named_by for profile in identity.profiles})
    identities = _Identities()
    _collect_owned(erased, identities)
    _collect_named(erased, identities, named_by)
    erased.values = {value: None for _, value in identities.texts}
    lone_mpids = mpids_alone(profiles, [profile for profile, _, _ in erased.people])
    erased.sought = SoughtValues([*identities.texts, *((MPID, mpid) for mpid in lone_mpids)])
    _make_identities(erased, identities)
    _make_suppressed(erased, identities, allow_return=allow_return)
    _make_rows(erased)
    return erased


def _load_people(erased: Erased, leaving: Iterable[int]) -> None:
    """Make `erased_profile` and `this_erasure`."""
    scratch = erased.scratch
    load_profiles(scratch, "leaving_profile", sorted(leaving))
    scratch.make("erased_profile", ERASED_PROFILE)
    erased.people = [
        (profile, mpid, environment) for profile, mpid, environment in scratch.rows(PEOPLE)
    ]
    erased.mpids = {(mpid, ENVIRONMENT_NAME[code]) for _, mpid, code in erased.people}
    erased.corrected = set(erased.mpids)
    erased.outcome.profiles = [
        (str(mpid), ENVIRONMENT_NAME[code]) for _, mpid, code in erased.people
    ]
    act = (erased.number, erased.kind, erased.now_ms, who(), len(erased.people))
    scratch.load("this_erasure", ACT, [act])


def _collect_owned(erased: Erased, identities: _Identities) -> None:
    """Collect the identities that the rows of the erased brought."""
    secret, judging = erased.secret, erased.store.settings().rules.judging
    for segment in erased.segments:
        if not segment.identities or "row" not in segment.tables:
            continue
        columns = ", ".join(f"i_{kind}" for kind in segment.identities)
        select = IDENTITIES_OF_ROWS.format(columns=columns)
        rows = erased.scratch.rows(reading(select, stored=rows_of(f"row_{segment.number}")))
        for profile, code, *values in rows:
            for kind, value in zip(segment.identities, values, strict=True):
                if value is None:
                    continue
                key = key_of(BY_NAME[kind], value)
                digest = digest_of(secret, ENVIRONMENT_NAME[code], kind, key=key)
                identity = _hashed(profile, CODE[kind], digest)
                identities.owned[identity] = value
                if judging.is_placeholder(value):
                    identities.placeholders.add(identity.hash)
                else:
                    identities.texts[kind, value] = None


def _collect_named(erased: Erased, identities: _Identities, named_by: Sequence[Meant]) -> None:
    """Collect the identities and MPIDs that somebody was named by."""
    secret, judging = erased.secret, erased.store.settings().rules.judging
    for name in named_by:
        if name.kind == "mpid":
            if not name.profiles:
                mpids = {(int(name.value), environment) for environment in ENVIRONMENTS}
                erased.mpids |= mpids
                erased.corrected |= mpids
            continue
        value = display(name.value)
        if judging.is_placeholder(value):
            continue
        if name.kind in BY_NAME and not name.protected:
            key = key_of(BY_NAME[name.kind], value)
            identities.texts[name.kind, value] = None
            for environment in ENVIRONMENTS:
                digest = digest_of(secret, environment, name.kind, key=key)
                identity = _hashed(-1 - erased.number, CODE[name.kind], digest)
                identities.named[identity] = bool(name.profiles)
        elif name.kind == ANY and name.value:
            identities.texts[ANY, value] = None


def _make_identities(erased: Erased, identities: _Identities) -> None:
    """Make `erased_identity`, `shared_identity` and `erased_name`."""
    scratch = erased.scratch
    identities_of_all = [*identities.owned, *identities.named]
    hashes = [(identity.profile, identity.type, identity.hash) for identity in identities_of_all]
    load_hashes(scratch, "erased_identity", hashes)
    scratch.make("shared_identity", SHARED_IDENTITY)
    identities.alone = {int(digest, 16) for (digest,) in scratch.rows(HASHES_ALONE)}
    erased.hashes = identities.alone - identities.placeholders
    if erased.people:
        erased.outcome.shared = _named_of(scratch, SHARING_PROFILES)
    name_mpids(scratch, erased.mpids)


def _make_suppressed(erased: Erased, identities: _Identities, *, allow_return: bool) -> None:
    """Make `newly_suppressed`."""
    scratch, secret = erased.scratch, erased.secret
    # An identity that only the command named keeps somebody out if no profile had it: rejected rows
    # may be all that the store has of them.
    # One that somebody who stays has too keeps nobody out.
    keeping_out = [
        *(identity for identity in identities.owned if identity.hash in erased.hashes),
        *(
            identity
            for identity, is_held in identities.named.items()
            if not is_held and identity.hash in identities.alone
        ),
    ]
    digests = [(identity.profile, identity.type, identity.digest) for identity in keeping_out]
    load_hashes(scratch, "suppressed_identity", digests)
    mpids = [
        (profile, MPID_TYPE, mpid_hash_of(secret, ENVIRONMENT_NAME[code], mpid))
        for profile, mpid, code in erased.people
    ]
    load_hashes(scratch, "suppressed_mpid", mpids)
    digits = [
        (identity.profile, DIGITS_TYPE, digits_hash_of(secret, environment, phone))
        for identity, value in identities.owned.items()
        if identity.hash in erased.hashes and (phone := phone_in(NAME[identity.type], value))
        for environment in ENVIRONMENTS
    ]
    load_hashes(scratch, "suppressed_digits", list(dict.fromkeys(digits)))
    until = erased.next_arrival if allow_return else None
    scratch.make("newly_suppressed", NEWLY_SUPPRESSED, {"number": erased.number, "until": until})
    if not allow_return:
        (count,) = scratch.row(SUPPRESSED_IDENTITIES, {"mpid": MPID_TYPE, "digits": DIGITS_TYPE})
        erased.outcome.suppressed = int(count)


def _make_rows(erased: Erased) -> None:
    """Make `gone_row`."""
    scratch = erased.scratch
    tables = [f"row_{segment.number}" for segment in erased.segments if "row" in segment.tables]
    scratch.make("erased_row", over_each(ROWS_OF_ERASED, tables, nothing=ALIASES_OF_ERASED))
    scratch.make("file_in_force", FILES_WITH_ROWS, keep=False)
    scratch.make("gone_row", GONE_ROW)
    erased.outcome.files = [path for (path,) in scratch.rows(FILES_OF_ERASED)]


def _named_of(scratch: Scratch, select: str) -> list[tuple[str, str]]:
    return [(str(mpid), ENVIRONMENT_NAME[code]) for mpid, code in scratch.rows(select)]


def name_mpids(scratch: Scratch, mpids: Iterable[tuple[int, str]]) -> None:
    """Make `erased_name` (mpid, environment): MPIDs as the JSON of a batch states them."""
    rows = [(str(mpid), environment) for mpid, environment in sorted(mpids)]
    scratch.load("erased_name", NAMES, rows)


def load_hashes(scratch: Scratch, name: str, rows: Sequence[tuple[int, int, int]]) -> None:
    """Make a relation (profile, type, hash) of Python rows.

    A hash goes in halves, because DuckDB is slow at 128-bit text.
    """
    halves = [(profile, kind, digest >> 64, digest & (2**64 - 1)) for profile, kind, digest in rows]
    scratch.load(f"{name}_half", HASHES, halves)
    digest = joined("high", "low")
    select = f"select profile, type, {digest} as hash from {name}_half"
    scratch.make(name, select)
