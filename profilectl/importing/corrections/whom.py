"""The profile that identities lead to in a store that is only read, by the rule of an import.

`identity_chain.identify` says why, and reads everything of everybody who comes up. This says who,
in the time that it takes to look at their identities: many may share a device.
"""

from __future__ import annotations

from collections.abc import Iterable

from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import NAME, UsableIdentity, anonymous
from profilectl.rules.resolution import Records, look_up
from profilectl.rules.sql.identities import hash_of
from profilectl.store.segments import known_identities


def whom(
    profiles: Profiles,
    environment: str,
    identities: Iterable[UsableIdentity],
    call: str = "identify",
) -> int | None:
    """Return the profile that a request with these identities finds, or None.

    call: one of identity.CALLS.
    """
    rules, secret = profiles.store.settings().rules, profiles.store.meta("secret")
    leads = rules.leads(call)
    if leads == "new":
        return None
    if leads == "anonymous":
        identities = anonymous(identities, rules)
    # A hash takes the place of the key, as in entangled.py: it names type and environment too.
    hashes = {
        identity.type: f"{hash_of(secret, environment, kind=identity.type, key=identity.key):X}"
        for identity in identities
        if identity.type in rules.hierarchy
    }
    profile, _ = look_up(hashes, _records(profiles, hashes.values()), rules)
    return profile


def _records(profiles: Profiles, hashes: Iterable[str]) -> Records:
    """Return the records of all who hold one of some identities."""
    scratch, records = profiles.store.scratch, Records()
    identities = known_identities(profiles.segments, removals=profiles.removals)
    listed = ", ".join(f"'{int(digest, 16)}'" for digest in hashes)
    if not listed:
        return records
    theirs = f"""
    where profile in (
      select profile from ({identities}) where hash in (select unnest([{listed}])::uhugeint)
    )
    """
    for profile, kind, digest in scratch.rows(
        f"select profile, type, to_hex(hash) from ({identities}) {theirs}"
    ):
        records.add(profile, NAME[kind], digest)
    if len(records.record) > 1:  # only then does it matter who was seen last
        rows = " union all ".join(
            f"select profile, arrival from {segment.table('row')} {theirs}"
            for segment in profiles.segments
        )
        for profile, last_arrival in scratch.rows(
            f"select profile, max(arrival) from ({rows}) group by profile"
        ):
            records.last[profile] = last_arrival
    return records
