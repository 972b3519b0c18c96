"""A store made by an older version, brought up to this one: a backup, then one transaction.

Each step takes a store from one schema version to the next; a store several versions old takes them
all in the same transaction. What an older version did not write down stays unknown (null), and a
command that needs it refuses with a sentence rather than guess.
"""

from __future__ import annotations

import contextlib
import filecmp
import secrets
import warnings
from pathlib import Path

from profilectl.rules.event.event import Event, event_of_cells, unchecked_event
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Value, parse_json, to_json
from profilectl.store.attaching import SCHEMA_VERSION, attach
from profilectl.store.catalog import own_version
from profilectl.store.copies import copy_store
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, hash_fingerprint
from profilectl.store.statements import reading, select
from profilectl.store.store import OpenStore

STEPS: dict[int, tuple[str, ...]] = {
    # Schema 2: who imported, with what, resting on which earlier imports, and what was taken back.
    1: (
        "alter table store.import add column made_by varchar",
        "alter table store.import add column request varchar",
        "alter table store.import add column needs integer[]",
        "alter table store.import add column undone_ms bigint",
        "alter table store.import add column undone_by varchar",
        "alter table store.feed add column import integer",
        "insert into store.meta values ('hash_fingerprint', $fingerprint)",
    ),
    # Schema 3: aliases.
    2: (
        """create table store.alias (
            import integer not null, arrival bigint not null, source bigint not null, destination
            bigint not null, start_ms bigint not null, end_ms bigint not null, due_ms bigint not
            null, first_seen_ms bigint not null, attribution varchar
        )""",
    ),
    # Schema 4: events lie in tables of their own (_events_apart); calculated attributes, audiences;
    # erasure, with the list of those who stay out; requests of people.
    3: (
        """create table store.calculation (
            name varchar not null, definition varchar not null, changed_ms bigint not null,
            filled_ms bigint
        )""",
        """create table store.calculated (
            profile bigint not null, name varchar not null, held varchar not null
        )""",
        """create table store.audience (
            number integer not null, name varchar not null, definition varchar not null, changed_ms
            bigint not null, filled_ms bigint
        )""",
        """create table store.membership (
            profile bigint not null, audience integer not null, since_ms bigint not null
        )""",
        """create table store.membership_change (
            audience integer not null, profile bigint not null, change varchar not null, at_ms
            bigint not null, import integer
        )""",
        "create table store.stale (profile bigint not null)",
        "alter table store.request add column arrival bigint",
        """create table store.erasure (
            number integer not null, kind varchar not null, at_ms bigint not null, made_by varchar,
            profiles bigint not null, rows bigint not null
        )""",
        """create table store.erased_row (
            arrival bigint not null, import integer not null, founder boolean not null, erasure
            integer not null
        )""",
        "create table store.aged (profile bigint not null, erasure integer not null)",
        """create table store.suppressed (
            hash uhugeint not null, type utinyint not null, person bigint not null, erasure integer
            not null, until bigint
        )""",
        """create table store.subject_request (
            id varchar not null, type varchar not null, regulation varchar not null, status varchar
            not null, submitted_ms bigint not null, received_ms bigint not null, due_ms bigint not
            null, finished_ms bigint, group_id varchar, callbacks varchar[] not null, identities
            varchar, request varchar, sealed varchar not null, profiles bigint, results varchar
        )""",
    ),
    # Schema 5: workspaces; the MPID of those who entered or left; what was pushed; what leaves.
    4: (
        "alter table store.membership_change add column mpid bigint",
        "alter table store.feed add column workspace varchar default 'default'",
        """create table store.push (
            number integer not null, kind varchar not null, sealed varchar not null, until bigint,
            started_ms bigint not null, finished_ms bigint, made_by varchar, rows bigint not null,
            accepted bigint not null, refused bigint not null
        )""",
        """create table store.pushed (
            push integer not null, first bigint not null, last bigint not null
        )""",
        """create table store.push_refused (
            push integer not null, position bigint not null, part integer not null, code varchar not
            null
        )""",
        "create table store.output (name varchar not null, definition varchar not null)",
        "create table store.connection (name varchar not null, definition varchar not null)",
        """create table store.outbox (
            output varchar not null, feed integer not null, arrival bigint not null, import integer
            not null, profile bigint, at_ms bigint not null, state varchar not null, why varchar,
            failed_ms bigint, devices varchar, held varchar, content varchar
        )""",
        """create table store.forwarded (
            output varchar not null, arrival bigint not null, outcome varchar not null, at_ms bigint
            not null
        )""",
        "create table store.passed (arrival bigint not null, events integer not null)",
    ),
    # Schema 6: what outputs know about audiences, what was deleted since, what a host has of a
    # profile.
    5: (
        # Workspace -> attribution: for "" (any workspace), and for every workspace that has a feed.
        """update store.alias set attribution = '{"":' || attribution || (
            select coalesce(
                string_agg(
                    ',' || to_json(workspace)::varchar || ':' || alias.attribution,
                    '' order by workspace
                ),
                ''
            )
            from (select distinct workspace from store.feed)
        ) || '}' where attribution is not null""",
        "alter table store.passed add column environment utinyint",
        "alter table store.passed add column at_ms bigint",
        "alter table store.passed add column types varchar",
        "create table store.output_since (output varchar not null, arrival bigint not null)",
        """create table store.handed_over (
            output varchar not null, workspace varchar not null, profile bigint not null, arrival
            bigint not null, keys varchar[] not null
        )""",
        # The remarks on a row, and the identities that found nobody because of a protection.
        """create table store.remark (
            arrival bigint not null, code varchar not null, type utinyint, value varchar, attribute
            varchar
        )""",
        """create table store.passed_claim (
            arrival bigint not null, type utinyint not null, hash uhugeint not null
        )""",
        # The meaning of `empty` in conditions on events has changed (presence.py): definitions with
        # such a condition are computed anew.
        "update store.calculation set filled_ms = null where contains(lower(definition), 'empty')",
        """update store.audience set filled_ms = null
        where contains(lower(definition), 'empty') and not contains(definition, '"standard"')""",
        "alter table store.push add column unchanged bigint default 0",
        "alter table store.push add column whole boolean default false",
        """create table store.sent_profile (
            host varchar not null, profile bigint not null, digest uhugeint, sent uhugeint not null,
            turn integer not null, keys varchar not null
        )""",
        """create table store.sent_event (
            host varchar not null, profile bigint not null, arrival bigint not null, place integer
            not null
        )""",
        """create table store.audience_told (
            output varchar not null, audience integer not null, profile bigint not null, mpid bigint
            not null, environment utinyint not null, since_ms bigint not null, attributes varchar
            not null, told boolean not null
        )""",
        """create table store.audience_outbox (
            message varchar not null, number bigint not null, output varchar not null, audience
            integer not null, profile bigint, mpid bigint not null, environment utinyint not null,
            action varchar not null, since_ms bigint not null, at_ms bigint not null, state varchar
            not null, begun boolean not null, attributes varchar, identities varchar, why varchar,
            failed_ms bigint
        )""",
        """create table store.audience_left (
            output varchar not null, audience integer not null, action varchar not null, outcome
            varchar not null, messages bigint not null, at_ms bigint not null
        )""",
    ),
    # Schema 7: the id of the store, which does not give away its secret.
    6: ("insert into store.meta values ('store_id', $store_id)",),
    # Schema 8: the MPIDs of new profiles are mixes, which no table holds. Those that are there stay
    # as they are, also if an import of theirs is made again. A segment that founded nobody loses
    # its column of MPIDs (_without_empty_mpids). The hash of an identity is the first 88 bits of
    # what it was (_with_narrow_indexes).
    7: (
        "update store.meta set value = $fingerprint where name = 'hash_fingerprint'",
        "update store.removed set hash = hash >> 40",
        "update store.passed_claim set hash = hash >> 40",
        """insert into store.meta
        select 'mpids_mixed_from', coalesce(max(first_arrival + arrivals), 0)::varchar
        from store.import""",
    ),
    # Schema 9: a new store has a short secret, and digests of shorter texts. An older store keeps
    # its secret and its digests: nothing changes in it.
    8: (),
    # Schema 10: how the files of a feed are read; corrections that are laid together among
    # themselves. What an older version laid together cannot be taken apart (null).
    9: (
        "alter table store.feed add column reading varchar",
        "alter table store.segment add column by_hand boolean",
    ),
}


TAKEN_OUT = [
    ("profile", "BIGINT"),
    ("arrival", "BIGINT"),
    ("place", "INTEGER"),
    ("type", "VARCHAR"),
    ("name", "VARCHAR"),
    ("at_ms", "BIGINT"),
    ("session", "VARCHAR"),
    ("event", "VARCHAR"),
]
REMAINING = [("profile", "BIGINT"), ("arrival", "BIGINT"), ("rest", "VARCHAR")]

# An event without a time has that of its batch (domain.md 5.2).
EVENTS = """
select event.profile, event.arrival, event.place, stored_row.environment, stored_row.feed,
       event.type, event.name, coalesce(event.at_ms, stored_row.at_ms) as at_ms, event.session,
       event.event
from taken_out as event
join stored_row using (profile, arrival)
order by event.profile, event.arrival, event.place
"""
# A segment's other fields without events: rows that had none stay as they were, and rows in which
# nothing remains go.
SHRUNK = """
select rest.profile, rest.arrival,
       case when remaining.arrival is null then rest.rest else remaining.rest end as rest
from rest
left join remaining on remaining.profile = rest.profile and remaining.arrival = rest.arrival
where remaining.arrival is null or remaining.rest is not null
order by rest.profile, rest.arrival
"""
NARROW_INDEX = "select hash >> 40 as hash, profile, type from {table}"
PUT_TABLES = "update store.segment set tables = $tables where number = $number"
PUT_VERSION = "update store.meta set value = $version where name = 'schema_version'"
# The segments as store.segments lists them, before schema 10 gave them the column by_hand.
OLDER_SEGMENTS = """
select number, first_import, last_import, rows, tables, identities, keys, false
from store.segment
order by first_import
"""
SUPPRESSED = "select count(*) from store.suppressed"


def _events_apart(scratch: Scratch, store: OpenStore) -> None:
    """Give events tables of their own (schema 4).

    In schema 3 they are part of a batch's other fields.
    """
    for segment in store.segments(OLDER_SEGMENTS):
        if "rest" in segment.tables:
            _take_events_out(scratch, segment)


def _take_events_out(scratch: Scratch, segment: Segment) -> None:
    rest_table = segment.table("rest")
    events, remaining = [], []
    # Events of a batch, and the cells of an event in a flat row (`events.data...`).
    with_events = select("profile, arrival, rest", rest_table, "where contains(rest, '\"events')")
    for profile, arrival, text in scratch.rows(with_events):
        document = parse_json(text)
        assert isinstance(document, dict)
        for place, event in enumerate(_taken_out(document)):
            what = (event.type, event.name, event.at_ms, event.session, event.text)
            events.append((profile, arrival, place, *what))
        remaining.append((profile, arrival, to_json(document) if document else None))
    if not events:
        return
    scratch.load("taken_out", TAKEN_OUT, events)
    scratch.load("remaining", REMAINING, remaining)
    stored_row = select("*", segment.table("row"))
    _make_table(scratch, segment.table("event"), reading(EVENTS, stored_row=stored_row))
    shrunk = reading(SHRUNK, rest=select("*", rest_table))
    _make_table(scratch, "store.shrunk", shrunk)
    scratch.run(f"drop table {rest_table}")
    tables = [*(name for name in segment.tables if name != "rest"), "event"]
    if scratch.row("select count(*) from store.shrunk")[0]:
        scratch.run(f"alter table store.shrunk rename to rest_{segment.number}")
        tables.append("rest")
    else:
        scratch.run("drop table store.shrunk")
    scratch.run(PUT_TABLES, {"tables": tables, "number": segment.number})


def _make_table(scratch: Scratch, table: str, rows: str) -> None:
    scratch.run(f"create table {table} as {rows}")


def _taken_out(document: dict[str, Value]) -> list[Event]:
    """Take the events out of a batch's other fields, and return them."""
    listed = document.pop("events", None)
    events = (
        [unchecked_event(event) for event in listed if isinstance(event, dict)]
        if isinstance(listed, list)
        else []
    )
    cells = {
        name.removeprefix("events."): value
        for name, value in document.items()
        if name.startswith("events.")
    }
    with contextlib.suppress(UnusableRow):  # cells that make no event stay where they are
        event = event_of_cells(cells)
        events += [event] if event else []
        for name in cells:
            del document[f"events.{name}"]
    return events


def _without_empty_mpids(scratch: Scratch, store: OpenStore) -> None:
    """Drop the column of MPIDs of segments that founded nobody (schema 8)."""
    for segment in store.segments(OLDER_SEGMENTS):
        if not segment.holds_mpids:
            scratch.run(f"alter table {segment.table('row')} drop column mpid")


def _with_narrow_indexes(scratch: Scratch, store: OpenStore) -> None:
    """Give the indexes the hash of 88 bits (schema 8). They stay sorted by it."""
    for segment in store.segments(OLDER_SEGMENTS):
        if "index" in segment.tables:
            table = segment.table("index")
            with scratch.ordered():
                _make_table(scratch, "store.narrow", NARROW_INDEX.format(table=table))
            scratch.run(f"drop table {table}")
            scratch.run(f"alter table store.narrow rename to index_{segment.number}")


class StoreUpgraded(UserWarning):
    """The warning that a store was brought up to this version; it names the backup."""


def known_version(scratch: Scratch, path: Path) -> int:
    """Return the schema version of the attached store.

    Raises StoreUnusable for none, for a newer one, and for a store that holds what profilectl does
    not make.
    """
    return own_version(scratch, path, STEPS)


def upgrade_store(scratch: Scratch, path: Path, until: float) -> None:
    """Bring a store up to this version.

    It waits for other processes until `until`, as time.monotonic. Warns with StoreUpgraded. Raises
    StoreBusy, StoreUnusable; then the store is as before.
    """
    attach(scratch, path, write=False, until=until)
    try:
        version = known_version(scratch, path)
    finally:
        scratch.run("detach store")
    if version == SCHEMA_VERSION:
        return  # another process was faster
    backup = _backed_up(path, version, until)
    attach(scratch, path, write=True, until=until)
    try:
        # Read again: another process may have upgraded it before the lock was taken.
        current = known_version(scratch, path)
        with OpenStore(scratch, path).transaction():
            for number in range(current, SCHEMA_VERSION):
                _take_step(scratch, path, number)
            suppressed = bool(scratch.row(SUPPRESSED)[0])
            scratch.run(PUT_VERSION, {"version": str(SCHEMA_VERSION)})
    finally:
        # A log that could not be folded in stays beside the store, and the next to open the store
        # reads it.
        with contextlib.suppress(duckdb.Error):
            scratch.run("detach store")
    more = (
        "; profilectl compact makes the list of those who stay out with a key:"
        " until then it can be guessed from the store"
        if suppressed
        else ""
    )
    warnings.warn(
        f"{path}: upgraded from schema {version} to {SCHEMA_VERSION};"
        f" the store as it was is in {backup}{more}",
        StoreUpgraded,
        stacklevel=2,
    )


def _take_step(scratch: Scratch, path: Path, number: int) -> None:
    """Take the store from one schema version to the next."""
    if number == 3:
        _events_apart(scratch, OpenStore(scratch, path))
    if number == 7:
        _without_empty_mpids(scratch, OpenStore(scratch, path))
        _with_narrow_indexes(scratch, OpenStore(scratch, path))
    values = {"fingerprint": hash_fingerprint(scratch), "store_id": secrets.token_hex(16)}
    for statement in STEPS[number]:
        # DuckDB refuses a value that its statement does not name.
        bound = {name: value for name, value in values.items() if f"${name}" in statement}
        scratch.run(statement, bound)


def _backed_up(path: Path, version: int, until: float) -> Path:
    """Copy a store to a new file beside it, and return its path.

    If the copy is the same as the backup of an upgrade that was cut short, that one is returned.
    """
    name, place, earlier = f"{path.name}.schema-{version}.backup", 1, list[Path]()
    while (backup := path.with_name(name)).exists():
        place += 1
        name = f"{path.name}.schema-{version}.{place}.backup"
        earlier.append(backup)
    copy_store(path, backup, until=until)
    same = next((copy for copy in earlier if filecmp.cmp(copy, backup, shallow=False)), None)
    if same is None:
        return backup
    backup.unlink()
    return same
