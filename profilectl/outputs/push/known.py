"""What a host has of the profiles of a store: only what differs from it is sent again.

A host has of a profile the batches that it accepted last. The store keeps a digest of them, and
the names of the attributes that they set; no value. A host is an address and the manner of the
batches that went there: with MPIDs, with times, of which workspace. Before batches leave, their
profiles are marked as under way: where a push is cut off, what was accepted is not known, and they
are sent again whatever they are by then. What is said once more after something else has another
request id (turn): the platform would take it for a repetition.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore


class Noted(NamedTuple):
    """A profile, the digest of its batches, and the names of its attributes as a JSON list."""

    profile: int
    digest: str
    keys: str


class SentEvent(NamedTuple):
    """An event of a stored batch that is sent."""

    profile: int
    arrival: int
    place: int


@dataclass(frozen=True, slots=True)
class Host:
    """A host that profiles are compared with.

    name: as the store has it; None: no host is known. whole: what it has already is sent too.
    noting: what is under way is written down, as a dry run does not.
    """

    name: str | None = None
    whole: bool = False
    noting: bool = False


def host_named(secret: str, manner: dict[str, Any]) -> str:
    """Return the name of a host in the store: a hash of its address and the manner of batches."""
    text = f"{secret}:host:{json.dumps(manner, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


def compare(store: OpenStore, host: Host, where: str, masked: Sequence[str]) -> None:
    """Make `push_row` of `push_line`: the lines of the profiles that differ from what a host has,
    and one row without a line for each of the others.

    where: the condition on the profiles of a stretch. masked: attributes that are not sent, so
    that the host keeps them.
    """
    scratch = store.scratch
    secret = quote_text(f"{store.meta('secret')}:batches:")
    scratch.make(
        "push_had",
        "select profile, digest, sent, turn, keys"
        f" from (select * from store.sent_profile {where})"
        f" where host = {quote_text(host.name or '')}",
    )
    every = host.whole or host.name is None
    scratch.make(
        "push_changed",
        "select one.*, had.profile is null as first, had.keys as had,"
        " coalesce(had.turn + (had.sent <> one.digest)::integer, 0) as turn"
        " from (select _profile as profile,"
        f" md5_number({secret} || string_agg(line, chr(10) order by part)) as digest"
        " from push_line group by _profile) as one"
        " left join push_had as had on had.profile = one.profile"
        f" where {'true' if every else 'had.digest is distinct from one.digest'}",
    )
    _tell_keys(scratch, masked)
    scratch.make(
        "push_row",
        "select line._profile, line.mpid, line.part, line.line,"
        " list_sort(list_distinct(list_concat(line.deleted, keys.gone))) as deleted,"
        " keys.digest::varchar as digest, to_json(keys.keys)::varchar as keys, keys.turn"
        " from push_line as line join push_keys as keys on keys.profile = line._profile"
        " union all select distinct _profile, mpid, 0, null, []::varchar[], null, null, null"
        " from push_line where _profile not in (select profile from push_changed) order by 1, 3",
    )


def _tell_keys(scratch: Scratch, masked: Sequence[str]) -> None:
    """Make `push_keys` (profile, digest, first, turn, keys, gone, every) of the profiles that are
    sent: the attributes of their batches, those that only the host has, and all of both."""
    hidden = ", ".join(map(quote_text, masked)) or quote_text("")
    scratch.make(
        "push_keys",
        "select one.profile, one.digest, one.first, one.turn, keys,"
        " list_filter(before, lambda key:"
        f" not list_contains(keys, key) and key not in ({hidden})) as gone,"
        " list_sort(list_distinct(list_concat(before, keys))) as every"
        " from (select changed.*, coalesce(named.keys, []) as keys,"
        " coalesce(from_json(had, '[\"VARCHAR\"]'), []) as before from push_changed as changed"
        " left join (select _profile, list(distinct key order by key) as keys"
        " from (select _profile, unnest(json_keys(line, '$.user_attributes')) as key from push_line"
        " where _profile in (select profile from push_changed)) group by _profile) as named"
        " on named._profile = changed.profile) as one",
    )


def note_under_way(store: OpenStore, host: Host) -> None:
    """Write down, in one transaction, that the profiles of `push_keys` are under way."""
    name = quote_text(host.name or "")
    with store.transaction():
        store.scratch.run(
            f"insert into store.sent_profile select {name}, profile, null, digest, turn,"
            " to_json(every)::varchar from push_keys where first"
        )
        store.scratch.run(
            "update store.sent_profile as one set digest = null, sent = sent.digest,"
            " turn = sent.turn, keys = to_json(sent.every)::varchar from push_keys as sent"
            f" where one.host = {name} and one.profile = sent.profile and not sent.first"
        )


def note_known(scratch: Scratch, host: str | None, noted: Sequence[Noted]) -> None:
    """Write down, within a transaction, what a host has accepted. Who was erased meanwhile is not
    in the table any more."""
    columns = [("profile", "BIGINT"), ("digest", "VARCHAR"), ("keys", "VARCHAR")]
    scratch.load("noted", columns, noted)
    scratch.run(
        "update store.sent_profile as one set digest = noted.digest::uhugeint, keys = noted.keys"
        " from noted where one.host = $host and one.profile = noted.profile",
        {"host": host},
    )


def note_events(scratch: Scratch, host: str | None, sent: Sequence[SentEvent]) -> None:
    """Write down, within a transaction, the events that a host has accepted; none of who was
    erased meanwhile."""
    columns = [("profile", "BIGINT"), ("arrival", "BIGINT"), ("place", "INTEGER")]
    scratch.load("noted", columns, sent)
    arrivals = [one.arrival for one in sent]
    within = f"where arrival between {min(arrivals)} and {max(arrivals)}"
    tables = [f"select arrival from {one} {within}" for one in _event_tables(scratch)]
    scratch.run(
        "insert into store.sent_event select $host, profile, arrival, place from noted"
        f" where arrival in ({' union all '.join(tables) or 'select null'})",
        {"host": host},
    )


def _event_tables(scratch: Scratch) -> list[str]:
    rows = scratch.rows(
        "select table_name from duckdb_tables() where database_name = 'store'"
        " and regexp_full_match(table_name, 'event_[0-9]+')"
    )
    return [f"store.{name}" for (name,) in rows]
