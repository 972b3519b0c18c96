"""Whom a request for erasure means, and what an erasure takes away: the words of erasure.py and
traces.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from profilectl.codes import UsageError
from profilectl.importing.corrections.as_import import joined
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.resolution import reached
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_identities, known_mpids


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom a request for erasure means: an identity (type, or mpid) and value, and the profiles it
    reaches.

    protected: profiles that hold it, but are not reached by it (identity.reached).
    """

    kind: str
    value: str
    profiles: tuple[int, ...]
    protected: tuple[int, ...] = ()


@dataclass(slots=True)
class Erasure:
    """What an erasure takes away; of a dry run, would take.

    profiles: (mpid, environment). tables: rows that go, by the kind of table. suppressed:
    identities that keep people out from now on. shared: profiles that stay and hold an identity of
    the erased. losing: (mpid, environment) of profiles that stay, and lose what aliases carried
    over to them. faded: identities cleared from the past of others. rejects, corrections: that lost
    their text. files: that brought the erased; rejects_files: where rejected rows that name them
    were written to; outputs: that have batches of theirs, or have them in an audience and are not
    connected any more; may_have: that have batches of feeds that only read, of which nobody knows
    whose they were. removals: output -> messages that wait to remove them from audiences there.
    """

    profiles: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    suppressed: int = 0
    shared: list[tuple[str, str]] = field(default_factory=list)
    faded: int = 0
    rejects: int = 0
    corrections: int = 0
    requests: int = 0
    files: list[str] = field(default_factory=list)
    rejects_files: list[str] = field(default_factory=list)
    losing: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    may_have: list[str] = field(default_factory=list)
    removals: dict[str, int] = field(default_factory=dict)
    quoted: list[tuple[str, str]] = field(default_factory=list)
    """What somebody wrote that quotes a value of theirs, and must change: what it is, and its name.
    """
    others: dict[str, int] | None = field(default_factory=dict)
    """What profiles that stay have in which a value stands: attribute or kind of table -> rows;
    None: not looked for.
    """
    answers: list[str] = field(default_factory=list)
    """Files that answered requests of theirs."""

    def anything(self) -> bool:
        """Say whether there is anything to erase."""
        return bool(
            self.profiles
            or self.faded
            or self.rejects
            or self.corrections
            or self.requests
            or self.removals
            or self.tables.get("outbox")
        )


def meant_by(
    profiles: Profiles, kind: str, value: str, *, pick: int | None = None, every: bool = False
) -> Meant:
    """Return whom an identity means.

    kind: an identity type, "mpid" or "any"; pick: which of several, from 1; every: all of them.
    Raises UsageError where several profiles of one environment are meant.
    """
    found = profiles.find(kind, value)
    if kind == "any":
        kinds = [
            one
            for one in (*profiles.identities, "mpid")
            if one != "mpid" or value.removeprefix("-").isdecimal()
        ]
        named = {one for one in kinds for profile in profiles.find(one, value)}
        kind = next(
            iter(sorted(named, key=lambda one: one != "mpid" and BY_NAME[one].device)), "any"
        )
        devices = bool(named) and all(one != "mpid" and BY_NAME[one].device for one in named)
    else:
        devices = kind != "mpid" and BY_NAME[kind].device
    known = known_among(profiles, found) if devices else set()
    reach = [one for one in found if not devices or reached(device=True, known=one in known)]
    environments = dict(
        profiles.store.scratch.rows(
            f"select profile, environment from ({known_mpids(profiles.segments)}) where profile in ({listed(reach)})"
        )
    )
    if pick is not None:
        if not 1 <= pick <= len(reach):
            raise UsageError(
                f"--pick {pick}: there {'is one profile' if len(reach) == 1 else f'are {len(reach)} profiles'}"
            )
        reach = [reach[pick - 1]]
    elif len(set(environments.values())) < len(reach) and not every:
        raise UsageError(
            f"{len(reach)} profiles have the {'identity or MPID' if kind == 'any' else kind} {value}",
            "name one by --mpid, or --pick N in the order of `profilectl show`; --all means all of them",
        )
    return Meant(kind, value, tuple(reach), tuple(one for one in found if one in known))


def known_among(profiles: Profiles, found: Iterable[int]) -> set[int]:
    """Return those of some profiles that hold a login identity."""
    login = (
        ", ".join(str(CODE[one]) for one in sorted(profiles.store.settings().rules.login)) or "null"
    )
    known = known_identities(profiles.segments, removals=profiles.removals)
    rows = profiles.store.scratch.rows(
        f"select distinct profile from ({known}) where profile in ({listed(found)}) and type in ({login})"
    )
    return {profile for (profile,) in rows}


def listed(profiles: Iterable[int]) -> str:
    """Return numbers as SQL lists them."""
    return ", ".join(map(str, profiles)) or "null"


def mpids_alone(profiles: Profiles, those: Iterable[int]) -> list[str]:
    """Return the MPIDs of some profiles that nobody else has, in another environment: by such a one
    a text names them.
    """
    known, theirs = known_mpids(profiles.segments), listed(those)
    return [
        str(mpid)
        for (mpid,) in profiles.store.scratch.rows(
            f"select distinct mpid from ({known}) where profile in ({theirs}) and mpid not in"
            f" (select mpid from ({known}) where profile not in ({theirs}) and mpid is not null) order by mpid"
        )
    ]


def names_mpid(content: str, mpids: Iterable[tuple[int, str]]) -> str:
    """Return the SQL of whether a batch of nobody's profile names one of some MPIDs in its
    environment.
    """
    listed = ", ".join(
        f"({quote_text(str(mpid))}, {quote_text(environment)})"
        for mpid, environment in sorted(mpids)
    )
    named = f"(json_extract({content}, '$.mpid')::varchar, {content}->>'$.environment')"
    return f"{named} in ({listed})" if listed else "false"


def load_hashes(scratch: Scratch, name: str, rows: Sequence[tuple[int, int, int]]) -> None:
    """Make a relation (profile, type, hash) of Python rows; a hash goes in halves, as DuckDB is
    slow at 128-bit text.
    """
    columns = [("profile", "BIGINT"), ("type", "UTINYINT"), ("high", "UBIGINT"), ("low", "UBIGINT")]
    scratch.load(
        f"{name}_half",
        columns,
        [(profile, kind, digest >> 64, digest & (2**64 - 1)) for profile, kind, digest in rows],
    )
    scratch.make(name, f"select profile, type, {joined('high', 'low')} as hash from {name}_half")
