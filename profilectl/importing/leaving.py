"""TODO importing.leaving (split off outputs.outbox)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.importing.stage.run import Staged
from profilectl.rules.feed import ENVIRONMENTS, PROCESSED, PROTECTIONS, Effect
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.leaving.output import WAITING
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import held_as_json
from profilectl.store.definitions import connections, outputs
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Leaves:
    """An active connection of a feed: its output's name, and whether batches without events may go
    there.
    """

    output: str
    accepts_eventless: bool


def leaving_from(store: OpenStore, feed: str) -> list[Leaves]:
    """Return where the batches of a feed go."""
    if not store.scratch.row("select count(*) from store.connection")[0]:
        return []
    there = {one.name: one for one in outputs(store)}
    return [
        Leaves(one.output, there[one.output].accepts_eventless)
        for one in connections(store)
        if one.feed == feed and one.active and one.output in there
    ]


def prepare_outgoing(
    scratch: Scratch,
    staged: Staged,
    *,
    first: int,
    environment: str,
    now_ms: int,
    protection: str,
    applied: bool,
    wanted: bool,
) -> None:
    """Make ready_passed and, where it is wanted, ready_outgoing.

    The relations of sift, resolve and merge are made, and ready_dropped; ready_row as well, where
    any row applied.
    """
    reads = PROTECTIONS[protection].known_user is Effect.PASS_BY
    for name in ("ready_passed", "ready_outgoing"):
        scratch.drop(name)
    if staged.events:
        scratch.make(
            "counted_event",
            "select seq, count(*)::integer as events from staged_event group by seq",
        )
    else:
        scratch.load("counted_event", [("seq", "BIGINT"), ("events", "INTEGER")], [])
    if PROTECTIONS[protection].code:
        _passed(scratch, staged, first, environment, now_ms)
    if wanted and reads:
        scratch.make(
            "ready_outgoing",
            _of_nobody(scratch, staged, first, environment, now_ms, PROTECTIONS[protection].code),
        )
    elif wanted and applied:
        devices = [kind for kind in staged.identities if BY_NAME[kind].device]
        stated = f"case when coalesce({', '.join([*(f'usable.i_{kind}' for kind in devices), 'null'])}) is not null then {_object(devices, 'usable.')} end"
        lost = _fleeting(scratch, staged, first)
        joined = (
            f" join ({_named('usable', staged)}) as usable on usable.seq + {first} = row.arrival"
            if devices
            else ""
        )
        scratch.make(
            "ready_outgoing",
            f"select row.arrival, row.profile, row.at_ms, coalesce(counted_event.events, 0) as events, {stated if devices else 'null::varchar'} as devices,"
            f" null::varchar as content, {'held.held' if lost else 'null::varchar'} as held"
            f" from ready_row as row left join counted_event on counted_event.seq + {first} = row.arrival{joined}"
            f"{' left join held_for_a_while as held on held.arrival = row.arrival' if lost else ''} order by row.arrival",
        )
    scratch.drop("counted_event")


def _passed(scratch: Scratch, staged: Staged, first: int, environment: str, now_ms: int) -> None:
    """Make ready_passed: where and when, and of its events the types alone. Whose they would be is
    not kept, nor what they say.
    """
    nobodys = f"(select arrival - {first} as seq from ready_dropped where code in ({', '.join(map(quote_text, PROCESSED))}))"
    stated = (
        f"coalesce(one.environment, {quote_text(environment)})"
        if "environment" in staged.plain
        else quote_text(environment)
    )
    at_ms = f"coalesce(one.at_ms, {now_ms})" if "at_ms" in staged.plain else str(now_ms)
    events, types, counted = "0", "null::varchar", ""
    if staged.events:
        events, types = "coalesce(event.events, 0)", "event.types"
        counted = (
            " left join (select seq, sum(number)::integer as events, '{' || string_agg('\"' || type || '\":' || number, ',' order by type) || '}' as types"
            f" from (select seq, type, count(*) as number from staged_event where seq in {nobodys} group by seq, type) group by seq) as event on event.seq = one.seq"
        )
    scratch.make(
        "ready_passed",
        f"select one.seq + {first} as arrival, {events} as events, list_position({list(ENVIRONMENTS)}, {stated})::utinyint - 1 as environment,"
        f" {at_ms}::bigint as at_ms, {types} as types from staged as one{counted} where one.seq in {nobodys} order by one.seq",
    )


def _fleeting(scratch: Scratch, staged: Staged, first: int) -> bool:
    """Make held_for_a_while (arrival, held): what the profile of a row held after it, and lost
    within the same import: the store keeps only what is left at the end. Say whether there is
    any.
    """
    scratch.drop("held_for_a_while")
    if not scratch.has("fleeting") or not scratch.count("fleeting"):
        return False
    parts = [
        f"select fleeting.profile, fleeting.seq, fleeting.until, '[\"{kind}\",' || to_json(usable.i_{kind})::varchar as said"
        f" from fleeting join usable on usable.seq = fleeting.seq where fleeting.type = {CODE[kind]}"
        for kind in staged.identities
    ]
    scratch.make(
        "held_for_a_while",
        f"select row.arrival, '[' || string_agg(one.said || ',' || (one.seq + {first}) || ',' || since.at_ms || ']', ',' order by one.seq) || ']' as held"
        f" from ({' union all '.join(parts)}) as one join ready_row as since on since.arrival = one.seq + {first}"
        f" join ready_row as row on row.profile = one.profile and row.arrival >= one.seq + {first} and row.arrival < one.until + {first} group by row.arrival",
    )
    return True


def _named(rows: str, staged: Staged) -> str:
    """Return the SELECT of rows with those identities only that may be used (sift)."""
    usable = ", ".join(
        f"case when h{place} is not null then i_{kind} end as i_{kind}"
        for place, kind in enumerate(staged.identities)
    )
    if not usable:
        return f"select * from {rows}"
    hashes = ", ".join(f"h{place}" for place in range(len(staged.identities)))
    return f"select * exclude ({hashes}) replace ({usable}) from (select one.*, {hashes} from {rows} as one join identity_hash on identity_hash.seq = one.seq)"


def _object(kinds: Sequence[str], table: str) -> str:
    """Return the SQL of a JSON object of the identities that a row states."""
    members = ", ".join(f"'\"{kind}\":' || to_json({table}i_{kind})::varchar" for kind in kinds)
    return f"'{{' || concat_ws(',', {members}) || '}}'" if members else "'{}'"


def _of_nobody(
    scratch: Scratch, staged: Staged, first: int, environment: str, now_ms: int, code: str
) -> str:
    """Return the SELECT of batches with all that they say."""
    scratch.make(
        "passed_by",
        f"select one.* from ({_named('staged', staged)}) as one join dropped on dropped.seq = one.seq where dropped.code = {quote_text(code)}",
    )
    members = [
        f"{quote_text(_quoted(key) + ':')} || {held_as_json(f'one.a{n}')}"
        for n, key in enumerate(staged.keys)
    ]
    set_ = (
        ", ".join(
            f"case when one.a{n} <> chr(31) then {member} end" for n, member in enumerate(members)
        )
        or "null::varchar"
    )
    gone = [
        f"case when one.a{n} = chr(31) then to_json({quote_text(key)})::varchar end"
        for n, key in enumerate(staged.keys)
    ]
    listed = "list_transform(one.deleted, lambda key: to_json(key)::varchar)"
    stated = f"nullif(array_to_string({listed}, ','), '')" if "deleted" in staged.plain else "null"
    loose = events = ""
    if staged.loose:
        loose = (
            f" left join (select seq, string_agg(case when value <> chr(31) then to_json(key)::varchar || ':' || {held_as_json('value')} end, ',') as members,"
            " string_agg(case when value = chr(31) then to_json(key)::varchar end, ',') as gone"
            " from staged_loose where seq in (select seq from passed_by) group by seq) as loose on loose.seq = one.seq"
        )
    if staged.events:
        listed = (
            "'{\"at_ms\":' || coalesce(at_ms::varchar, 'null') || ',\"event\":' || event || '}'"
        )
        events = (
            f" left join (select seq, string_agg({listed}, ',' order by place) as listed from staged_event"
            " where seq in (select seq from passed_by) group by seq) as event on event.seq = one.seq"
        )
    parts = [
        f"'\"environment\":\"' || {f'coalesce(one.environment, {quote_text(environment)})' if 'environment' in staged.plain else quote_text(environment)} || '\"'",
        f"'\"identities\":' || {_object(staged.identities, 'one.')}",
        f"'\"attributes\":{{' || concat_ws(',', {set_}{', loose.members' if staged.loose else ''}) || '}}'",
        f"'\"deleted\":[' || concat_ws(',', {', '.join([stated, *gone, *(['loose.gone'] if staged.loose else [])])}) || ']'",
        *(["'\"mpid\":' || one.mpid"] if "mpid" in staged.plain else []),
        *(["'\"rest\":' || one.rest"] if "rest" in staged.plain else []),
        *(["'\"events\":[' || event.listed || ']'"] if staged.events else []),
    ]
    at_ms = f"coalesce(one.at_ms, {now_ms})" if "at_ms" in staged.plain else str(now_ms)
    count = "coalesce(counted_event.events, 0)"
    return (
        f"select one.seq + {first} as arrival, null::bigint as profile, {at_ms}::bigint as at_ms, {count} as events, null::varchar as devices,"
        f" '{{' || concat_ws(',', {', '.join(parts)}) || '}}' as content, null::varchar as held from passed_by as one"
        f" left join counted_event on counted_event.seq = one.seq{loose}{events} order by arrival"
    )


def _quoted(text: str) -> str:
    from profilectl.rules.text.values import to_json

    return to_json(text)


def write_outgoing(
    store: OpenStore, number: int, feed: int, leaves: Sequence[Leaves], first: int
) -> None:
    """Put what is prepared into the outbox; within the transaction of the import.

    A batch that has left before, of an import that is made again, does not leave again.
    """
    scratch = store.scratch
    if scratch.has("ready_passed"):
        scratch.run(
            "insert into store.passed select arrival, events, environment, at_ms, types from ready_passed"
        )
    if not leaves or not scratch.has("ready_outgoing"):
        return
    to = ", ".join(f"({quote_text(one.output)}, {one.accepts_eventless})" for one in leaves)
    scratch.run(
        "insert into store.outbox select goes.output, $feed, one.arrival, $number, one.profile, one.at_ms, $waiting, null, null, one.devices, one.held, one.content"
        f" from ready_outgoing as one cross join (values {to}) as goes(output, accepts_eventless)"
        " where (one.events > 0 or goes.accepts_eventless) and not exists (select 1 from store.forwarded where forwarded.arrival >= $first"
        " and forwarded.arrival = one.arrival and forwarded.output = goes.output) order by one.arrival, goes.output",
        {"feed": feed, "number": number, "first": first, "waiting": WAITING},
        step="write outbox",
    )
