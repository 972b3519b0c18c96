"""Messages about members of audiences: those that wait, are under way, have arrived, or failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.rules.leaving.output import BatchOutcome
from profilectl.store.scratch import Bound
from profilectl.store.segments import both
from profilectl.store.statements import select
from profilectl.store.store import OpenStore

NEXT_WAITING = """
select message.message, message.number, message.audience, message.profile, message.mpid,
       message.environment, message.action, message.since_ms, message.at_ms, message.identities,
       at_output.attributes
from store.audience_outbox as message
left join store.audience_told as at_output
  on at_output.output = message.output
 and at_output.audience = message.audience
 and at_output.profile = message.profile
where message.output = $output
  and message.state = 'waiting'
  and list_contains($audiences::integer[], message.audience)
  and message.number > $after
order by message.number
limit $limit
"""

# Messages that are about to be handed over: each notes the attributes that the member has then, and
# audience_told those that the output may have afterwards.
NOTE_BEGUN = """
update store.audience_outbox as message
set begun = true, attributes = begun.has
from shared_begun as begun
where begun.message = message.message
"""
ADD_TOLD = """
insert into store.audience_told
select message.output, message.audience, message.profile, message.mpid, message.environment,
       message.since_ms, '{}', true
from store.audience_outbox as message
join shared_begun as begun on begun.message = message.message
where message.action = 'add'
  and message.profile is not null
  and not exists (
    select 1
    from store.audience_told as at_output
    where at_output.output = message.output
      and at_output.audience = message.audience
      and at_output.profile = message.profile
  )
"""
# A member that a message deletes stays in audience_told until the message has arrived
# (FORGET_TOLD).
NOTE_MAY_HAVE = """
update store.audience_told as at_output
set attributes = begun.may_have, told = true
from shared_begun as begun
where at_output.output = $output
  and at_output.audience = begun.audience
  and at_output.profile = begun.profile
  and begun.action <> 'delete'
"""

# What became of messages. Those that arrived are counted and go; those that failed for good stay,
# with the reason.
COUNT_ARRIVED = """
insert into store.audience_left
select $output, audience, action, outcome, count(*), $now
from shared_outcome
where not dead
group by all
order by all
"""
NOTE_HAS = """
update store.audience_told as at_output
set attributes = arrived.has
from shared_outcome as arrived
where at_output.output = $output
  and at_output.audience = arrived.audience
  and at_output.profile = arrived.profile
  and not arrived.dead
  and arrived.action <> 'delete'
"""
FORGET_TOLD = """
delete from store.audience_told as at_output
using shared_outcome as arrived
where at_output.output = $output
  and at_output.audience = arrived.audience
  and at_output.profile = arrived.profile
  and not arrived.dead
  and arrived.action = 'delete'
"""
DROP_ARRIVED = """
delete from store.audience_outbox
where message in (select message from shared_outcome where not dead)
"""
NOTE_FAILED = """
update store.audience_outbox as message
set state = 'dead', why = failed.outcome, failed_ms = $now
from shared_outcome as failed
where failed.message = message.message and failed.dead
"""

# Messages dropped by hand: the output is taken to have heard them.
COUNT_DROPPED = """
insert into store.audience_left
select output, audience, action, 'dropped', count(*), $now
from shared_dropped
group by all
order by all
"""
# No message about these was ever handed over: `told` is false.
ADD_UNTOLD = """
insert into store.audience_told
select output, audience, profile, mpid, environment, since_ms, coalesce(attributes, '{}'), false
from shared_dropped as dropped
where action = 'add'
  and profile is not null
  and not exists (
    select 1
    from store.audience_told as at_output
    where at_output.output = dropped.output
      and at_output.audience = dropped.audience
      and at_output.profile = dropped.profile
  )
"""
NOTE_DROPPED = """
update store.audience_told as at_output
set attributes = coalesce(dropped.attributes, '{}')
from shared_dropped as dropped
where at_output.output = dropped.output
  and at_output.audience = dropped.audience
  and at_output.profile = dropped.profile
  and dropped.action <> 'delete'
"""
FORGET_DROPPED = """
delete from store.audience_told as at_output
using shared_dropped as dropped
where at_output.output = dropped.output
  and at_output.audience = dropped.audience
  and at_output.profile = dropped.profile
  and dropped.action = 'delete'
"""
DROP_BY_HAND = """
delete from store.audience_outbox
where message in (select message from shared_dropped)
"""

# fmt: off
BEGUN = [("message", "VARCHAR"), ("audience", "INTEGER"), ("profile", "BIGINT"),
         ("action", "VARCHAR"), ("has", "VARCHAR"), ("may_have", "VARCHAR")]
OUTCOME = [("message", "VARCHAR"), ("audience", "INTEGER"), ("profile", "BIGINT"),
           ("action", "VARCHAR"), ("has", "VARCHAR"), ("outcome", "VARCHAR"), ("dead", "BOOLEAN")]
# fmt: on


@dataclass(frozen=True, slots=True)
class Message:
    """A message that waits, as the store has it."""

    message: str
    """The id under which it is sent, each time."""
    number: int
    """Its place in the order."""
    audience: int
    """The number of the audience."""
    profile: int | None
    """The profile that it is about; None: an erased person's."""
    mpid: int
    """The MPID of the profile."""
    environment: int
    """The code of its environment."""
    action: str
    """add, delete or attribute_update."""
    since_ms: int
    """Since when the profile was a member."""
    at_ms: int
    """When the message was put into the outbox."""
    identities: str | None
    """The identities of a profile that the store lost, as JSON."""
    had: str | None
    """The fingerprints of the attributes that the output has, as JSON; None: none."""


def waiting_messages(
    store: OpenStore, output: str, numbers: Sequence[int], *, after: int, limit: int
) -> list[Message]:
    """Return the next messages of some audiences that wait for an output, in order.

    `after` is the number that they come after.
    """
    rows = store.scratch.rows(
        NEXT_WAITING,
        {"output": output, "audiences": list(numbers), "after": after, "limit": limit},
    )
    return [Message(*row) for row in rows]


def begin(store: OpenStore, output: str, begun: Sequence[tuple[Message, str, str]]) -> None:
    """Write down that messages are handed over from now on; within a transaction.

    Each comes with the fingerprints of what the member has, and of what the output may have after
    it. This is committed before anything is sent, so that a kill in between leaves a trace.
    """
    scratch = store.scratch
    rows = [
        (message.message, message.audience, message.profile, message.action, has, may_have)
        for message, has, may_have in begun
    ]
    scratch.load("shared_begun", BEGUN, rows)
    scratch.run(NOTE_BEGUN)
    scratch.run(ADD_TOLD)
    scratch.run(NOTE_MAY_HAVE, {"output": output})


def record_messages(
    store: OpenStore,
    output: str,
    sent: Sequence[tuple[Message, str]],
    outcomes: Sequence[BatchOutcome],
    now_ms: int,
) -> None:
    """Write down what became of messages, in one transaction.

    Each comes with the fingerprints of what the member has.
    """
    # the outcome of a message has the number of the message for an arrival
    by_number = {outcome.arrival: outcome for outcome in outcomes}
    # a message without an outcome goes on waiting
    rows = [
        (
            message.message,
            message.audience,
            message.profile,
            message.action,
            has,
            by_number[message.number].said,
            by_number[message.number].dead,
        )
        for message, has in sent
        if message.number in by_number
    ]
    scratch = store.scratch
    scratch.load("shared_outcome", OUTCOME, rows)
    with store.transaction():
        scratch.run(COUNT_ARRIVED, {"output": output, "now": now_ms})
        scratch.run(NOTE_HAS, {"output": output})
        scratch.run(FORGET_TOLD, {"output": output})
        scratch.run(DROP_ARRIVED)
        scratch.run(NOTE_FAILED, {"now": now_ms})


def drop_messages(store: OpenStore, where: str, bound: Bound, now_ms: int) -> None:
    """Drop messages for good, within a transaction.

    The store goes on as if the output had heard them. `where` is the condition on the messages.
    """
    scratch = store.scratch
    dropped = select("*", "store.audience_outbox", both("", where))
    scratch.make("shared_dropped", dropped, bound)
    scratch.run(COUNT_DROPPED, {"now": now_ms})
    scratch.run(ADD_UNTOLD)
    scratch.run(NOTE_DROPPED)
    scratch.run(FORGET_DROPPED)
    scratch.run(DROP_BY_HAND)
