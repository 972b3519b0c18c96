"""How much of what a store holds: profiles, identities, attributes, segments, bytes."""

from __future__ import annotations

from typing import Any

from profilectl.profiles.read_model import profiles_of
from profilectl.rules.feed import ENVIRONMENTS, workspaces_of
from profilectl.rules.identity import BY_NAME, NAME, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, identity_hash
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import DELETED
from profilectl.store.segments import known_identities, known_loose, known_mpids
from profilectl.store.store import OpenStore

FEW = 5


def stats_of(store: OpenStore) -> dict[str, Any]:
    """Return the document of `stats --json`. size_bytes: of the store's file and its log."""
    scratch = store.scratch
    profiles = profiles_of(store, every=True)
    environments = dict(
        scratch.rows(
            f"select environment, count(*) from ({known_mpids(profiles.segments)}) group by environment"
        )
    )
    known = known_identities(profiles.segments, removals=profiles.removals)
    scratch.make("known", f"select hash, profile, type from ({known})", keep=False)
    identities = {
        NAME[kind]: {"identities": count, "values": values, "profiles": holders}
        for kind, count, values, holders in scratch.rows(
            "select type, count(*), count(distinct hash), count(distinct profile) from known group by type order by type"
        )
    }
    total = sum(environments.values())
    segments = profiles.segments
    log = store.path.with_name(store.path.name + ".wal")
    return {
        "profiles": total,
        "environments": {
            ENVIRONMENT_NAME.get(code, ENVIRONMENTS[0]): count
            for code, count in sorted(environments.items())
        },
        "identities": identities,
        "workspace": store.workspace,
        "attributes": _attributes(store, total),
        "largest_profiles": _largest(store),
        "most_shared": _most_shared(store),
        "imports": {
            name: scratch.row(f"select count(*) from store.import where undone_ms is {condition}")[
                0
            ]
            for name, condition in (("in_force", "null"), ("undone", "not null"))
        },
        "segments": len(segments),
        "rows": sum(one.rows for one in segments),
        "size_bytes": store.path.stat().st_size + (log.stat().st_size if log.exists() else 0),
    }


AT_ONCE = 500
"""So many attributes without a column of their own are counted at once."""


def _attributes(store: OpenStore, total: int) -> list[dict[str, Any]]:
    """Return each attribute: how many profiles have it, how many values it takes, whose it is; of
    one workspace where one is named, else of all: what holds in any of them.
    """
    scratch = store.scratch
    profiles = profiles_of(store, every=store.workspace is None)
    here = f" and {profiles.feeds}" if profiles.feeds else ""
    if store.workspace is not None:  # its own people
        total = scratch.row(f"select count(distinct profile) from ({profiles.seen()})")[0]
    feeds = store.feeds()
    workspaces = [None] if store.workspace is not None else workspaces_of(feeds)
    several = len(workspaces) > 1
    if several:
        scratch.load(
            "seen_in",
            [("feed", "INTEGER"), ("workspace", "VARCHAR")],
            [
                (feed.number, one)
                for feed in feeds
                for one in workspaces
                if one and feed.seen_in(one)
            ],
        )
    # One attribute at a time, so that memory grows with the profiles and not with all of their
    # values; those without a column, of which there may be thousands, many at a time.
    segments = store.segments()
    found: list[dict[str, Any]] = []
    masked = store.calculated(store.workspace)
    wide = sorted({key for one in segments for key in one.keys} - {*masked})
    loose = {
        key for (key,) in scratch.rows(f"select distinct key from ({known_loose(segments)})")
    } - {*masked}
    only_loose = sorted(loose.difference(wide))
    listed = [[key] for key in wide] + [
        only_loose[place : place + AT_ONCE] for place in range(0, len(only_loose), AT_ONCE)
    ]
    for keys in listed:
        parts = [
            f"select {quote_text(key)} as key, profile, {one.attribute(key)} as held, arrival, feed from {one.table('row')} where {one.attribute(key)} is not null{here}"
            for key in keys
            for one in segments
            if one.attribute(key)
        ]
        if not loose.isdisjoint(keys):
            wanted = "select unnest($keys::varchar[])"
            parts.append(
                f"select key, profile, value as held, arrival, feed from ({known_loose(segments)}) where key in ({wanted}){here}"
            )
        said = " union all ".join(parts)
        current = (
            "select key, profile, arg_max(held, arrival) as held, arg_max(feed, arrival) as feed from "
            + (
                f"({said}) join seen_in using (feed) group by key, profile, workspace"
                if several
                else f"({said}) group by key, profile"
            )
            + f" having arg_max(held, arrival) <> {DELETED}"
        )
        for key, filled, values, sources in scratch.rows(
            f"select key, count({'distinct profile' if several else '*'}), count(distinct held), list_sort(list(distinct feed.source)) from ({current}) as one"
            " join store.feed as feed on feed.number = one.feed group by key",
            {"keys": keys} if not loose.isdisjoint(keys) else {},
        ):
            found.append(
                {
                    "attribute": key,
                    "profiles": filled,
                    "fill_rate": round(filled / total, 6) if total else 0.0,
                    "distinct_values": values,
                    "sources": sources,
                }
            )
    calculated = scratch.rows(
        "select name, count(*), count(distinct held) from store.calculated group by name order by name"
    )
    found += [
        {
            "attribute": name,
            "profiles": filled,
            "fill_rate": round(filled / total, 6) if total else 0.0,
            "distinct_values": values,
            "sources": ["calculated"],
        }
        for name, filled, values in calculated
        if name in masked
    ]
    return sorted(found, key=lambda one: str(one["attribute"]))


def _largest(store: OpenStore) -> list[dict[str, Any]]:
    """Return the profiles with most rows."""
    segments = store.segments()
    rows = " union all ".join(f"select profile from {one.table('row')}" for one in segments)
    if not rows:
        return []
    return [
        {"mpid": mpid, "rows": count}
        for mpid, count in store.scratch.rows(
            f"select named.mpid::varchar, one.rows from (select profile, count(*) as rows from ({rows}) group by profile"
            f" order by rows desc, profile limit {FEW}) as one join ({known_mpids(segments)}) as named on named.profile = one.profile"
            " order by one.rows desc, one.profile"
        )
    ]


def _most_shared(store: OpenStore) -> list[dict[str, Any]]:
    """Return the identities that most profiles hold at once."""
    shared = store.scratch.rows(
        "select type, count(distinct profile) as profiles, min(profile) as profile, to_hex(hash) from known group by type, hash"
        f" having count(distinct profile) > 1 order by profiles desc, profile, type limit {FEW}"
    )
    found = []
    for kind, count, profile, hashed in shared:
        name = NAME[kind]
        values = [
            value
            for one in store.segments()
            if name in one.identities
            for (value,) in store.scratch.rows(
                f"select i_{name} from {one.table('row')} where profile = $profile and i_{name} is not null",
                {"profile": profile},
            )
        ]
        found.append(
            {
                "type": name,
                "value": _matching(store, name, profile, hashed, values),
                "profiles": count,
            }
        )
    return found


def _matching(
    store: OpenStore, name: str, profile: int, hashed: str, values: list[str]
) -> str | None:
    """Return the value that has a hash, among those a profile was given."""
    secret = store.meta("secret")
    for value in values:
        for environment in ENVIRONMENTS:
            probe = identity_hash(secret, quote_text(environment), name, "$key")
            if (
                store.scratch.row(f"select to_hex({probe})", {"key": key_of(BY_NAME[name], value)})[
                    0
                ]
                == hashed
            ):
                return value
    return None
