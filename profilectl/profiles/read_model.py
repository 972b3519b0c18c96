"""The read model: one profile or many, folded from the rows of all segments.

The value of an attribute is that of the newest row that mentions it. Which source wins was decided
when the row came in, so reading needs no rule. show, export and all other readers come through
here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from profilectl.profiles import cells_sql, folded_sql
from profilectl.profiles.aliases import Alias
from profilectl.profiles.stored_rows import StoredRows
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_WORKSPACE,
    ENVIRONMENTS,
    NO_WORKSPACE,
    Feed,
    workspaces_of,
)
from profilectl.rules.identity import BY_NAME, TYPES, display, key_of
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.workspace import no_workspace, several_workspaces
from profilectl.store.segments import both, holders_of_numbers, known_identities, known_loose
from profilectl.store.statements import is_in, numbers, reading, select, union_all
from profilectl.store.store import OpenStore

# One profile as a JSON document (docs/exporting.md). The MPID is a text: a script would round it.
DOCUMENT = """
select profile, mpid,
       '{"mpid":"' || mpid
       || '","environment":"' || environment
       || '","workspace":' || workspace
       || ',"first_seen_ms":' || first_seen_ms
       || ',"last_seen_ms":' || last_seen_ms
       || ',"user_identities":{' || user_identities
       || '},"device_identities":{' || device_identities
       || '},"user_attributes":{' || user_attributes
       || '}' || provenance || '}' as line
from part
"""

# The parts of a document. Loose attributes and provenance are joined only where they are wanted.
PARTS = "select {columns} from folded"
JOIN_LOOSE = "left join loose on loose.profile = folded.profile"
JOIN_PROVENANCE = "left join provenance on provenance.profile = folded.profile"

# The profiles with an MPID, and those that hold an identity, in any environment, oldest first.
WITH_MPID = "select profile from holder order by profile"
HOLDING = """
select distinct profile
from known_identity
order by profile
"""

# The attributes without a column that some row set; chr(31) is a deletion (values.DELETED).
SET_LOOSE = "select distinct key from loose where value <> chr(31)"
LOOSE_KEYS = "select distinct key from loose order by key"

# An alias takes effect a day after it was asked for, or at once (domain.md 4.5).
ALIASES = """
select arrival, source, destination, start_ms, end_ms, due_ms, first_seen_ms, attribution,
       due_ms <= $now as in_force
from store.alias
where $until::bigint is null or arrival < $until
order by arrival
"""


class Profiles(StoredRows):
    """The profiles of an open store, as a reader sees them."""

    __slots__ = ()

    def has(self, key: str) -> bool:
        """Return whether an attribute of that name was ever mentioned, or is calculated."""
        return key in self.keys or key in self.loose_keys or key in self.calculated

    def names(self) -> list[str]:
        """Return the names of all attributes that were ever mentioned, or are calculated."""
        return list(dict.fromkeys((*self.keys, *self.loose_keys, *self.calculated)))

    def meant(self, name: str) -> str | None:
        """Return the attribute that a name means, or None.

        The name may be as it stands or as a batch writes it: tier, user_attributes.tier,
        $firstname.
        """
        if self.has(name):
            return name
        from profilectl.rules.batch_fields import field_named
        from profilectl.rules.fields import UnusableRow

        try:
            field = field_named(name)
        except UnusableRow:
            return None
        return field.name if field.kind == "attribute" and self.has(field.name) else None

    def attributes(self) -> list[str]:
        """Return the attributes that some profile has had, sorted.

        An attribute that rows only delete is none of them.
        """
        loose: list[str] = []
        if self.loose_keys:
            rows = self.store.scratch.rows(reading(SET_LOOSE, loose=self.loose()))
            loose = [key for (key,) in rows]
        return sorted({*self.keys, *loose, *self.calculated})

    def find(self, kind: str, value: str) -> list[int]:
        """Return the profiles that hold an identity, or have an MPID, oldest first.

        `kind` is an identity type, "mpid", or "any". All environments are looked at.
        """
        if kind == "any":
            holders = self.holders(value, self.identities)
            by_mpid = self.find("mpid", value) if _is_mpid(value) else []
            return sorted(
                {*by_mpid, *(number for profiles in holders.values() for number in profiles)}
            )
        if kind == "mpid":
            holder = holders_of_numbers(self.segments, [int(value)])
            rows = self.store.scratch.rows(reading(WITH_MPID, holder=holder))
            return [profile for (profile,) in rows]
        return self.holders(value, [kind])[kind]

    def holders(self, value: str, kinds: Sequence[str]) -> dict[str, list[int]]:
        """Return the profiles that hold a value as an identity of each of some types, oldest first.

        With `until` they are those that held it then.
        """
        scratch = self.store.scratch
        secret = self.secret()
        removals = self.removals and self.until is None
        identities = known_identities(self.segments, removals=removals)
        keys = {kind: key_of(BY_NAME[kind], display(value)) for kind in kinds}
        # A hash alone reads one block of each index. A list of two reads all blocks between them: a
        # third of the index, which took 4 ms for 5 million profiles.
        parts = [
            select(f"profile, {place} as kind", f"({identities})", both("", f"hash = {digest}"))
            for place, kind in enumerate(kinds)
            for digest in (
                identity_hash(
                    secret=secret,
                    environment=quote_text(environment),
                    kind=kind,
                    key=quote_text(keys[kind]),
                )
                for environment in ENVIRONMENTS
            )
        ]
        by_type: dict[str, set[int]] = {kind: set() for kind in kinds}
        for profile, place in scratch.rows(union_all(parts)) if parts else ():
            by_type[kinds[place]].add(profile)
        return {
            kind: self._holding_then(kind, keys[kind], sorted(profiles))
            for kind, profiles in by_type.items()
        }

    def _holding_then(self, kind: str, key: str, profiles: list[int]) -> list[int]:
        """Return those profiles that held an identity at `until`, of some that ever held it."""
        if self.until is None or not profiles:
            return profiles
        column = identity_sql.key(BY_NAME[kind], f"i_{kind}")
        stored = self.rows([], self.where(profiles))
        then = select("profile", f"({stored})", both("", is_in(column, "$key")))
        rows = self.store.scratch.rows(reading(HOLDING, known_identity=then), {"key": key})
        return [profile for (profile,) in rows]

    def lines(self, profiles: Sequence[int], *, provenance: bool = True) -> list[str]:
        """Return the JSON document of each profile, in the order given."""
        if not profiles:
            return []
        documents = self.json_lines(self.where(profiles), provenance=provenance)
        by_profile = {profile: line for profile, _, line in self.store.scratch.rows(documents)}
        return [by_profile[profile] for profile in profiles if profile in by_profile]

    def json_lines(self, clause: str, *, provenance: bool = False) -> str:
        """Return the SELECT of (profile, mpid, line); the line is a JSON document."""
        keys = sorted({*self.keys, *self.calculated})
        parts = [PARTS.format(columns=", ".join(self._parts(keys, provenance=provenance)))]
        queries = {"folded": self.folded(keys, clause)}
        if self.loose_keys:
            parts.append(JOIN_LOOSE)
            queries["loose"] = cells_sql.loose_members(self, clause)
        if provenance:
            parts.append(JOIN_PROVENANCE)
            queries["provenance"] = cells_sql.provenance(self, clause)
        return reading(DOCUMENT, part=reading(" ".join(parts), **queries))

    def _parts(self, keys: Sequence[str], *, provenance: bool) -> list[str]:
        """Return the columns of PARTS."""
        members = ", ".join(
            f"{quote_text(json.dumps(key, ensure_ascii=False) + ':')} || {held_as_json(f'v{n}')}"
            for n, key in enumerate(keys)
        )
        attributes = f"concat_ws(',', {members})" if keys else "''"
        if self.loose_keys:
            attributes = f"concat_ws(',', nullif({attributes}, ''), loose.members)"
        origins = "',\"provenance\":{' || coalesce(provenance.members, '') || '}'"
        workspace = quote_text(json.dumps(self.workspace, ensure_ascii=False))
        return [
            "folded.profile",
            "folded.mpid",
            f"{environment_name('folded.environment')} as environment",
            f"{workspace} as workspace",
            "first_seen_ms",
            "last_seen_ms",
            f"{self._identity_members(device=False)} as user_identities",
            f"{self._identity_members(device=True)} as device_identities",
            f"{attributes} as user_attributes",
            f"{origins if provenance else quote_text('')} as provenance",
        ]

    def _identity_members(self, *, device: bool) -> str:
        members = [
            f"'\"{kind}\":' || to_json(i_{kind})::varchar"
            for kind in sorted(self.identities)
            if BY_NAME[kind].device is device
        ]
        return f"concat_ws(',', {', '.join(members)})" if members else "''"

    def folded(self, keys: Sequence[str], clause: str) -> str:
        """Return the SELECT of one row a profile (folded_sql.folded)."""
        return folded_sql.folded(self, keys, clause)

    def newest(self, clause: str) -> str:
        """Return the SELECT of the cells in force (cells_sql.newest)."""
        return cells_sql.newest(self, clause)

    def newest_loose(self, clause: str) -> str:
        """Return the SELECT of the cells in force without a column (cells_sql.newest_loose)."""
        return cells_sql.newest_loose(self, clause)

    def deleted(self, clause: str, since: int) -> str:
        """Return the SELECT of the attributes deleted since an arrival (cells_sql.deleted)."""
        return cells_sql.deleted(self, clause, since)


def _is_mpid(value: str) -> bool:
    return (
        value.removeprefix("-").isdecimal() and value.isascii() and -(2**63) <= int(value) < 2**63
    )


def profiles_of(
    store: OpenStore,
    *,
    until: int | None = None,
    now_ms: int | None = None,
    workspace: str | None = None,
    every: bool = False,
) -> Profiles:
    """Return the read model of an open store.

    `until` gives the state before that arrival (history.as_of); `now_ms` is the time at which
    aliases have taken effect or not. `workspace` is the one whose attributes are read, else that of
    the store. With `every`, the attributes of all workspaces are read. Raises UsageError where
    several workspaces could be meant.
    """
    segments = store.segments()
    loose_keys: list[str] = []
    if any("loose" in segment.tables for segment in segments):
        rows = store.scratch.rows(reading(LOOSE_KEYS, loose=known_loose(segments)))
        loose_keys = [key for (key,) in rows]
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    aliases = store.scratch.rows(ALIASES, {"now": at_ms, "until": until})
    profiles = Profiles(
        store=store,
        segments=segments,
        removals=store.removals(),
        identities=[
            kind.name
            for kind in TYPES
            if any(kind.name in segment.identities for segment in segments)
        ],
        keys=list(dict.fromkeys(key for segment in segments for key in segment.keys)),
        loose_keys=loose_keys,
        aliases=[Alias(*row) for row in aliases],
        until=until,
    )
    if not every:
        _choose(profiles, profiles.registered(), workspace or store.workspace)
    # calculated values are those of now: a state that is past has none
    if until is None:
        profiles.calculated = store.calculated(profiles.workspace)
    return profiles


ACCOUNT_FEEDS = f"feed in (select number from store.feed where source = '{ACCOUNT}')"
"""The condition on a row that comes from the account's own feeds."""


def account_profiles(store: OpenStore) -> Profiles:
    """Return the read model of the rows of the account's own feeds, which are of no workspace."""
    profiles = profiles_of(store, every=True)
    profiles.workspace, profiles.calculated = NO_WORKSPACE, []
    profiles.feeds = ACCOUNT_FEEDS
    return profiles


def _choose(profiles: Profiles, feeds: Sequence[Feed], workspace: str | None) -> None:
    """Make a read model that of one workspace."""
    workspaces = workspaces_of(feeds)
    if workspace is None and len(workspaces) > 1:
        raise several_workspaces(workspaces)
    if workspace is not None and workspaces and workspace not in workspaces:
        raise no_workspace(workspace, workspaces)
    profiles.workspace = workspace or next(iter(workspaces), DEFAULT_WORKSPACE)
    if workspaces not in ([], [profiles.workspace]):
        own_feeds = (feed.number for feed in feeds if feed.seen_in(profiles.workspace))
        profiles.feeds = is_in("feed", numbers(own_feeds))
