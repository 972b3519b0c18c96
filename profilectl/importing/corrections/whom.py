"""Whom identities lead to, out of a store that is only read, by the rule of an import.

`explain.identify` says why, and reads everything of everybody who comes up. This says who, in the
time that it takes to look at their identities: many may share a device.
"""

from __future__ import annotations

from collections.abc import Iterable

from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import NAME, Usable, anonymous
from profilectl.rules.resolution import Records, look_up
from profilectl.rules.sql.identities import hash_of
from profilectl.store.segments import known_identities


def whom(
    profiles: Profiles, environment: str, identities: Iterable[Usable], call: str = "identify"
) -> int | None:
    """Return the profile that a request with these identities finds, or None. call: of CALLS."""
    rules, secret = profiles.store.settings().rules, profiles.store.meta("secret")
    leads = rules.leads(call)
    if leads == "new":
        return None
    if leads == "anonymous":
        identities = anonymous(identities, rules)
    # A hash stands for the key, as in resolve: it names type, environment and value at once.
    known = {
        one.type: f"{hash_of(secret, environment, one.type, one.key):X}"
        for one in identities
        if one.type in rules.hierarchy
    }
    found, _ = look_up(known, _records(profiles, known.values()), rules)
    return found


def _records(profiles: Profiles, hashes: Iterable[str]) -> Records:
    """Load the records of whoever holds one of some identities."""
    scratch, records = profiles.store.scratch, Records()
    identities = known_identities(profiles.segments, removals=profiles.removals)
    listed = ", ".join(f"'{int(one, 16)}'" for one in hashes)
    if not listed:
        return records
    holders = (
        f"select profile from ({identities}) where hash in (select unnest([{listed}])::uhugeint)"
    )
    theirs = f"where profile in ({holders})"
    for profile, kind, digest in scratch.rows(
        f"select profile, type, to_hex(hash) from ({identities}) {theirs}"
    ):
        records.add(profile, NAME[kind], digest)
    if len(records.record) > 1:  # only then it matters who was seen last
        rows = " union all ".join(
            f"select profile, arrival from {one.table('row')} {theirs}" for one in profiles.segments
        )
        for profile, last in scratch.rows(
            f"select profile, max(arrival) from ({rows}) group by profile"
        ):
            records.last[profile] = last
    return records
