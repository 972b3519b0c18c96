"""What a host has of the profiles of a store: only profiles that differ from it are sent again.

A host has the batches of a profile that it accepted last. The store keeps a digest of them and the
names of the attributes that they set, but no value. A host is an address and the manner of the
batches that went there: with MPIDs, with times, of which workspace. Before batches leave, their
profiles are marked as under way: if the push is cut off, nobody knows what was accepted, and they
are sent again, changed or not. A batch that is sent again after a different one gets another
request id (turn), else the platform would drop it as a repetition.

    push_line             _profile, mpid, part, line, deleted   a batch of a profile (source.py)
    push_host_profile     profile, digest, sent, turn, keys     what the host has of a profile
    push_changed_profile  profile, digest, is_new, had, turn    a profile that is sent
    push_profile_keys     the same, keys, removed, every        ... with the keys of its batches
    push_row              a batch that is sent, or a profile that is unchanged
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore

# What a host has of the profiles of a stretch. The hole is the condition on these:
# zone maps skip what is outside it.
HOST_PROFILE = """
select profile, digest, sent, turn, keys
from store.sent_profile
{stretch} and host = $host
"""
# The profiles whose batches are not the ones that the host accepted last; $every: all profiles.
# The turn grows when the batches are not those that were sent last, accepted or not.
CHANGED_PROFILE = """
select batches.*,
       accepted.profile is null as is_new,
       accepted.keys as had,
       coalesce(accepted.turn + (accepted.sent <> batches.digest)::integer, 0) as turn
from (
    select _profile as profile,
           md5_number($secret::varchar || string_agg(line, chr(10) order by part)) as digest
    from push_line
    group by _profile
) as batches
left join push_host_profile as accepted on accepted.profile = batches.profile
where $every or accepted.digest is distinct from batches.digest
"""
# Of each profile that is sent: the attributes of its batches (keys), those that only the host has
# (removed), and all of both (every). The host keeps attributes that are masked here.
PROFILE_KEYS = """
select profile, digest, is_new, turn, keys,
       list_filter(
           had_keys,
           lambda key: not list_contains(keys, key) and not list_contains(masked, key)
       ) as removed,
       list_sort(list_distinct(list_concat(had_keys, keys))) as every
from (
    select changed.*,
           coalesce(named.keys, []) as keys,
           coalesce(from_json(changed.had, '["VARCHAR"]'), []) as had_keys,
           $masked::varchar[] as masked
    from push_changed_profile as changed
    left join (
        select _profile, list(distinct key order by key) as keys
        from (
            select _profile, unnest(json_keys(line, '$.user_attributes')) as key
            from push_line
            where _profile in (select profile from push_changed_profile)
        )
        group by _profile
    ) as named on named._profile = changed.profile
)
"""
# A line for each batch that is sent, and one without a line for each profile that is not.
PUSH_ROW = """
select line._profile, line.mpid, line.part, line.line,
       list_sort(list_distinct(list_concat(line.deleted, named.removed))) as deleted,
       named.digest::varchar as digest, to_json(named.keys)::varchar as keys, named.turn
from push_line as line
join push_profile_keys as named on named.profile = line._profile
union all
select distinct _profile, mpid, 0, null, []::varchar[], null, null, null
from push_line
where _profile not in (select profile from push_changed_profile)
order by 1, 3
"""
# A profile that the host never had; that it has no digest means that it is under way.
PUT_UNDER_WAY = """
insert into store.sent_profile
select $host, profile, null, digest, turn, to_json(every)::varchar
from push_profile_keys
where is_new
"""
# A profile that the host had: until these batches are accepted, nobody knows what it has.
MARK_UNDER_WAY = """
update store.sent_profile as accepted
set digest = null, sent = sending.digest, turn = sending.turn,
    keys = to_json(sending.every)::varchar
from push_profile_keys as sending
where accepted.host = $host and accepted.profile = sending.profile and not sending.is_new
"""
# A profile that was erased meanwhile is not in the table any more.
NOTE_ACCEPTED = """
update store.sent_profile as sent
set digest = accepted.digest::uhugeint, keys = accepted.keys
from accepted_profile as accepted
where sent.host = $host and sent.profile = accepted.profile
"""
# An event that was erased meanwhile is not stored any more.
NOTE_EVENTS = """
insert into store.sent_event
select $host, profile, arrival, place
from accepted_event
where arrival in (select arrival from stored_arrival)
"""
# The tables of all segments that have events.
EVENT_TABLES = """
select table_name
from duckdb_tables()
where database_name = 'store' and regexp_full_match(table_name, 'event_[0-9]+')
"""
# Where no segment has events any more.
NO_ARRIVAL = "select null::bigint as arrival where false"


class AcceptedProfile(NamedTuple):
    """A profile whose batches a host has accepted."""

    profile: int
    """The profile."""
    digest: str
    """The digest of its batches."""
    keys: str
    """The names of its attributes, as a JSON list."""


class SentEvent(NamedTuple):
    """An event of a stored batch that is sent."""

    profile: int
    """Whose event it is."""
    arrival: int
    """The arrival of the stored batch."""
    place: int
    """Which of the events of the batch it is."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that profiles are compared with."""

    name: str | None = None
    """Its name in the store; None: no host is known."""
    whole: bool = False
    """Whether what it has already is sent too."""
    noting: bool = False
    """Whether profiles under way are written down; a dry run does not do so."""


def host_named(secret: str, manner: Mapping[str, object]) -> str:
    """Return the name of a host in the store: a hash of its address and the manner of batches."""
    text = f"{secret}:host:{json.dumps(manner, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


def compare(store: OpenStore, host: Host, stretch: str, *, masked: Sequence[str]) -> None:
    """Make `push_row` of `push_line`: the lines that differ from what a host has.

    A profile that does not differ gets one row without a line. stretch: the condition on the
    profiles of a stretch. masked: attributes that are not sent, so that the host keeps them.
    """
    scratch = store.scratch
    scratch.make(
        "push_host_profile", HOST_PROFILE.format(stretch=stretch), {"host": host.name or ""}
    )
    scratch.make(
        "push_changed_profile",
        CHANGED_PROFILE,
        {
            "secret": f"{store.meta('secret')}:batches:",
            "every": host.whole or host.name is None,
        },
    )
    scratch.make("push_profile_keys", PROFILE_KEYS, {"masked": list(masked)})
    scratch.make("push_row", PUSH_ROW)


def note_under_way(store: OpenStore, host: Host) -> None:
    """Write down, in one transaction, that the profiles of `push_profile_keys` are under way."""
    bound = {"host": host.name or ""}
    with store.transaction():
        store.scratch.run(PUT_UNDER_WAY, bound)
        store.scratch.run(MARK_UNDER_WAY, bound)


def note_accepted(scratch: Scratch, host: str | None, profiles: Sequence[AcceptedProfile]) -> None:
    """Write down, within a transaction, what a host has accepted."""
    columns = [("profile", "BIGINT"), ("digest", "VARCHAR"), ("keys", "VARCHAR")]
    scratch.load("accepted_profile", columns, profiles)
    scratch.run(NOTE_ACCEPTED, {"host": host})


def note_events(scratch: Scratch, host: str | None, events: Sequence[SentEvent]) -> None:
    """Write down, within a transaction, the events that a host has accepted."""
    columns = [("profile", "BIGINT"), ("arrival", "BIGINT"), ("place", "INTEGER")]
    scratch.load("accepted_event", columns, events)
    arrivals = [event.arrival for event in events]
    stored = [
        f"select arrival from store.{table}"
        f" where arrival between {min(arrivals)} and {max(arrivals)}"
        for (table,) in scratch.rows(EVENT_TABLES)
    ]
    scratch.make("stored_arrival", " union all ".join(stored) or NO_ARRIVAL, keep=False)
    scratch.run(NOTE_EVENTS, {"host": host})
