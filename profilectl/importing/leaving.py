"""What an import puts aside of its batches: those that wait for outputs, and those it passed by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.importing.relations import Relations, fill, make_empty, union_of
from profilectl.importing.stage.staged import Staged
from profilectl.rules.feed import ENVIRONMENTS, PROCESSED, PROTECTIONS, Effect
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import to_json
from profilectl.store.store import OpenStore

CONNECTIONS = "select count(*) from store.connection"
EVENT_COUNT = "select seq, count(*)::integer as events from staged_event group by seq"

# 1. Batches that were processed although they are nobody's: where and when, and of their events the
# types alone. Whose they would be is not kept, nor what they say.
PROCESSED_ROW = """
select arrival - $first as seq
from ready_dropped
where code in (select unnest($codes::varchar[]))
"""
EVENT_TYPES = """
select seq, sum(number)::integer as events,
       '{' || string_agg('"' || type || '":' || number, ',' order by type) || '}' as types
from (
  select seq, type, count(*) as number
  from staged_event
  where seq in (select seq from processed_row)
  group by seq, type
)
group by seq
"""
READY_PASSED = """
select batch.seq + $first as arrival, coalesce(event_types.events, 0) as events,
       list_position($environments::varchar[], batch.environment)::utinyint - 1 as environment,
       batch.at_ms, event_types.types
from (select seq{columns} from staged where seq in (select seq from processed_row)) as batch
left join event_types on event_types.seq = batch.seq
order by batch.seq
"""

# 2. Batches of profiles: the store has what they say, so only what it does not keep goes along.
# `passing_list` has the identities that a profile held after a row, and lost within the import.
PASSING_VALUE = """
select passing_identity.profile, passing_identity.seq, passing_identity.until,
       '["{kind}",' || to_json(usable.i_{kind})::varchar as text
from passing_identity
join usable on usable.seq = passing_identity.seq
where passing_identity.type = {code}
"""
PASSING_LIST = """
select row.arrival,
       '[' || string_agg(
         identity.text || ',' || (identity.seq + $first) || ',' || since.at_ms || ']',
         ',' order by identity.seq
       ) || ']' as held
from passing_value as identity
join ready_row as since on since.arrival = identity.seq + $first
join ready_row as row
  on row.profile = identity.profile
  and row.arrival >= identity.seq + $first
  and row.arrival < identity.until + $first
group by row.arrival
"""
NAMED_DEVICE = """
select usable.seq{columns}
from usable
join identity_hash on identity_hash.seq = usable.seq
"""
DEVICE_LIST = "select seq{columns} from named_device"
READY_OUTGOING = """
select row.arrival, row.profile, row.at_ms, coalesce(event_count.events, 0) as events,
       device_list.devices, null::varchar as content, passing_list.held
from ready_row as row
left join event_count on event_count.seq + $first = row.arrival
left join device_list on device_list.seq + $first = row.arrival
left join passing_list on passing_list.arrival = row.arrival
order by row.arrival
"""

# 3. Batches of a feed that only reads: nobody's profile has them, so all that they say goes along.
PASSED_BATCH_PLAIN = """
select staged.*
from staged
join dropped on dropped.seq = staged.seq
where dropped.code = $code
"""
PASSED_BATCH = """
select staged.* replace ({columns})
from staged
join dropped on dropped.seq = staged.seq
join identity_hash on identity_hash.seq = staged.seq
where dropped.code = $code
"""
LOOSE_MEMBERS = """
select seq{columns}
from staged_loose
where seq in (select seq from passed_batch)
group by seq
"""
EVENT_LIST = """
select seq,
       string_agg(
         '{"at_ms":' || coalesce(at_ms::varchar, 'null') || ',"event":' || event || '}',
         ',' order by place
       ) as listed
from staged_event
where seq in (select seq from passed_batch)
group by seq
"""
READY_OUTGOING_OF_NOBODY = """
select batch.seq + $first as arrival, null::bigint as profile, batch.batch_ms as at_ms,
       coalesce(event_count.events, 0) as events, null::varchar as devices, batch.content,
       null::varchar as held
from (
  select batch.seq{columns}
  from passed_batch as batch
  left join loose_members as loose on loose.seq = batch.seq
  left join event_list on event_list.seq = batch.seq
) as batch
left join event_count on event_count.seq = batch.seq
order by arrival
"""

# 4. The outbox. One row for each batch and each output it goes to. A batch that has left before
# does not leave again when its import is made again: it has the arrival that it had.
PUT_PASSED = """
insert into store.passed
select arrival, events, environment, at_ms, types
from ready_passed
"""
PUT_INTO_OUTBOX = """
insert into store.outbox
select connected_output.output, $feed, batch.arrival, $number, batch.profile, batch.at_ms, $waiting,
       null, null, batch.devices, batch.held, batch.content
from ready_outgoing as batch
cross join connected_output
where (batch.events > 0 or connected_output.accepts_eventless)
  and not exists (
    select 1
    from store.forwarded
    where forwarded.arrival >= $first
      and forwarded.arrival = batch.arrival
      and forwarded.output = connected_output.output
  )
order by batch.arrival, connected_output.output
"""


# 5. Columns. An identity as it is stated, null if it may not be used; the members of a batch as
# JSON, null if the batch does not have them.
USABLE_IDENTITY = "case when h{place} is not null then {rows}.i_{kind} end as i_{kind}"
DEVICES = ", case when coalesce({any_device}) is not null then {devices} end as devices"
SET_MEMBER = "case when a{n} <> chr(31) then {key} || {value} end"
DELETED_MEMBER = "case when a{n} = chr(31) then to_json({key})::varchar end"
DELETED_LIST = """
nullif(array_to_string(list_transform(deleted, lambda key: to_json(key)::varchar), ','), '')
"""
LOOSE_LISTS = """
, string_agg(
  case when value <> chr(31) then to_json(key)::varchar || ':' || {value} end, ','
) as sets,
string_agg(case when value = chr(31) then to_json(key)::varchar end, ',') as deletes
"""


@dataclass(frozen=True, slots=True)
class Leaves:
    """An active connection of a feed."""

    output: str
    """The name of its output."""
    accepts_eventless: bool
    """Whether batches without events may go there."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The rows of an import, and the defaults that they are read with before they leave."""

    staged: Staged
    """The rows, as they were staged."""
    first_arrival: int
    """The arrival of the first row."""
    environment: str
    """The environment of rows that state none."""
    now_ms: int
    """The time of rows that state none."""
    protection: str
    """The level that is in force."""

    @property
    def sent_ms(self) -> str:
        """Return the SQL of the time of a batch."""
        now_ms = str(self.now_ms)
        return f"coalesce(at_ms, {now_ms})" if "at_ms" in self.staged.plain else now_ms

    @property
    def environment_sql(self) -> str:
        """Return the SQL of the environment of a batch."""
        default = quote_text(self.environment)
        if "environment" not in self.staged.plain:
            return default
        return f"coalesce(environment, {default})"


def leaving_from(store: OpenStore, feed: str) -> list[Leaves]:
    """Return where the batches of a feed go."""
    if not store.scratch.row(CONNECTIONS)[0]:
        return []
    # Here, because most stores have no connection, and it takes 20 ms to load.
    from profilectl.store.definitions import connections, outputs

    by_name = {output.name: output for output in outputs(store)}
    return [
        Leaves(connection.output, by_name[connection.output].accepts_eventless)
        for connection in connections(store)
        if connection.feed == feed and connection.active and connection.output in by_name
    ]


def prepare_outgoing(
    relations: Relations, leaving: Leaving, leaves: Sequence[Leaves], *, applied: bool
) -> None:
    """Make `ready_passed` and, if batches go anywhere, `ready_outgoing`.

    The relations of sift, resolve and merge are made, and ready_dropped; ready_row as well, if any
    row applied. leaves: where the batches go.
    """
    protection = PROTECTIONS[leaving.protection]
    reads = protection.known_user is Effect.PASS_BY
    for name in ("ready_passed", "ready_outgoing"):
        relations.drop(name)
    if leaves:
        relations.load(
            "connected_output",
            [("output", "VARCHAR"), ("accepts_eventless", "BOOLEAN")],
            [(leaf.output, leaf.accepts_eventless) for leaf in leaves],
        )
    if leaving.staged.events:
        relations.make("event_count", EVENT_COUNT)
    else:
        make_empty(relations, "event_count")
    if protection.code:
        _pass_by(relations, leaving)
    if leaves and reads:
        _send_of_nobody(relations, leaving, protection.code)
    elif leaves and applied:
        _list_devices(relations, leaving.staged)
        _list_passing(relations, leaving.staged, leaving.first_arrival)
        relations.make("ready_outgoing", READY_OUTGOING, {"first": leaving.first_arrival})
    relations.drop("event_count")


def _pass_by(relations: Relations, leaving: Leaving) -> None:
    """Make `ready_passed`: the batches that were processed although they are nobody's."""
    bound = {"first": leaving.first_arrival}
    relations.make("processed_row", PROCESSED_ROW, {**bound, "codes": list(PROCESSED)})
    if leaving.staged.events:
        relations.make("event_types", EVENT_TYPES)
    else:
        make_empty(relations, "event_types")
    columns = f", {leaving.environment_sql} as environment, {leaving.sent_ms}::bigint as at_ms"
    select = READY_PASSED.format(columns=columns)
    relations.make("ready_passed", select, {**bound, "environments": list(ENVIRONMENTS)})


def _list_devices(relations: Relations, staged: Staged) -> None:
    """Make `device_list`: the devices that each row states, as JSON."""
    devices = [
        (place, kind) for place, kind in enumerate(staged.identities) if BY_NAME[kind].device
    ]
    if not devices:
        make_empty(relations, "device_list")
        return
    columns = "".join(f", {_usable_identity('usable', place, kind)}" for place, kind in devices)
    relations.make("named_device", NAMED_DEVICE.format(columns=columns), keep=False)
    kinds = [kind for _, kind in devices]
    any_device = ", ".join(f"i_{kind}" for kind in kinds)
    listed = fill(DEVICES, any_device=any_device, devices=_object(kinds))
    relations.make("device_list", DEVICE_LIST.format(columns=listed), keep=False)


def _list_passing(relations: Relations, staged: Staged, first_arrival: int) -> None:
    """Make `passing_list`: what the profile of a row held after it, and lost within the import.

    The store keeps only what is left at the end.
    """
    if not relations.has("passing_identity") or not relations.count("passing_identity"):
        make_empty(relations, "passing_list")
        return
    selects = [fill(PASSING_VALUE, kind=kind, code=CODE[kind]) for kind in staged.identities]
    relations.make("passing_value", union_of(selects), keep=False)
    relations.make("passing_list", PASSING_LIST, {"first": first_arrival})


def _usable_identity(rows: str, place: int, kind: str) -> str:
    """Return the column of an identity as it is stated, null if it may not be used (sift)."""
    return fill(USABLE_IDENTITY, rows=rows, place=place, kind=kind)


def _object(kinds: Sequence[str]) -> str:
    """Return the SQL of a JSON object of the identities that a row states."""
    members = ", ".join(f"'\"{kind}\":' || to_json(i_{kind})::varchar" for kind in kinds)
    return f"'{{' || concat_ws(',', {members}) || '}}'" if members else "'{}'"


def _send_of_nobody(relations: Relations, leaving: Leaving, code: str) -> None:
    """Make `ready_outgoing` of batches that are nobody's, with all that they say."""
    staged = leaving.staged
    usable = ", ".join(
        _usable_identity("staged", place, kind) for place, kind in enumerate(staged.identities)
    )
    select = PASSED_BATCH.format(columns=usable) if usable else PASSED_BATCH_PLAIN
    relations.make("passed_batch", select, {"code": code})
    if staged.loose:
        relations.make(
            "loose_members",
            LOOSE_MEMBERS.format(columns=fill(LOOSE_LISTS, value=held_as_json("value"))),
        )
    else:
        make_empty(relations, "loose_members")
    if staged.events:
        relations.make("event_list", EVENT_LIST)
    else:
        make_empty(relations, "event_list")
    content = ", ".join(_members(leaving))
    columns = f", {leaving.sent_ms}::bigint as batch_ms"
    columns += f", '{{' || concat_ws(',', {content}) || '}}' as content"
    select = READY_OUTGOING_OF_NOBODY.format(columns=columns)
    relations.make("ready_outgoing", select, {"first": leaving.first_arrival})


def _members(leaving: Leaving) -> list[str]:
    """Return the SQL of each member of a batch as JSON; null if the batch does not have it."""
    plain, keys = leaving.staged.plain, leaving.staged.keys
    sets = [
        fill(SET_MEMBER, n=n, key=quote_text(to_json(key) + ":"), value=held_as_json(f"a{n}"))
        for n, key in enumerate(keys)
    ]
    deletes = [fill(DELETED_MEMBER, n=n, key=quote_text(key)) for n, key in enumerate(keys)]
    if "deleted" in plain:
        deletes.insert(0, DELETED_LIST)
    set_members = ", ".join([*sets, "loose.sets"])
    deleted_keys = ", ".join([*deletes, "loose.deletes"])
    return [
        f"'\"environment\":\"' || {leaving.environment_sql} || '\"'",
        f"'\"identities\":' || {_object(leaving.staged.identities)}",
        f"'\"attributes\":{{' || concat_ws(',', {set_members}) || '}}'",
        f"'\"deleted\":[' || concat_ws(',', {deleted_keys}) || ']'",
        *(["'\"mpid\":' || mpid"] if "mpid" in plain else []),
        *(["'\"rest\":' || rest"] if "rest" in plain else []),
        "'\"events\":[' || event_list.listed || ']'",
    ]


def write_outgoing(store: OpenStore, *, number: int, feed: int, first_arrival: int) -> None:
    """Put what is prepared into the outbox; within the transaction of the import."""
    scratch = store.scratch
    if scratch.has("ready_passed"):
        scratch.run(PUT_PASSED)
    if scratch.has("ready_outgoing"):
        from profilectl.rules.leaving.output import WAITING

        bound = {"feed": feed, "number": number, "first": first_arrival, "waiting": WAITING}
        scratch.run(PUT_INTO_OUTBOX, bound, step="write outbox")
