"""The messages that outputs have to get about audiences, put into the store at each evaluation.

The store remembers whom an output may have as a member (audience_told). `align` compares that with
the members that it is to have: those who are not opted out and pass the connection's rules of
consent. The difference waits in audience_outbox until it has arrived. There is at most one message
for each person, output and audience: an output never hears about somebody who came and went before
anything was sent. A message is marked as begun before it is handed over. So everybody whom an
output may have is removed there, even if a process was killed in between.

Relations made here, of some profiles or of all:

    shared_member   profile                 who is in a connected audience
    shared_said     as batch_fields_sql.said    the consent that connections ask for
    shared_held     profile, v<n>           the attributes that connections share
    shared_wanted   profile, mpid, environment, since_ms, attributes   whom an output is to have
    shared_decided  the message that each profile needs, and whether one that waits may stay
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.audiences.barred import in_force, rest_rows
from profilectl.audiences.outgoing.routes import Route, audience_routes, people_of_audience
from profilectl.audiences.sql.batch_fields_sql import consent_holds, said
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria.tree import Consent, Reads
from profilectl.rules.leaving.audience_connection import AudienceConnection
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import both, known_mpids
from profilectl.store.statements import among, is_in, numbers, reading, select
from profilectl.store.store import OpenStore

MAYBE = "?"
"""The fingerprint of an attribute of which an output may or may not have a value."""

SHARED_MEMBER = "select distinct profile from member"

# The members that an output is to have. Attributes and consent are joined only if the connection
# asks for them.
WANTED_MEMBERS = """
select member.profile, named.mpid, named.environment, member.since_ms, {columns} as attributes
from member
join named on named.profile = member.profile
"""
JOIN_HELD = "left join shared_held as held on held.profile = member.profile"
JOIN_SAID = "left join shared_said as said on said.profile = member.profile"

# The message that an output needs about each profile (target). The member that it is to have
# (wanted), the one that it may have (at_output) and the message that waits are compared. A waiting
# message stays if it says the same. If it was begun, nobody knows whether it arrived: then it stays
# only if the member is as it was, else another message takes its place, under an id of its own.
DECIDED = """
with compared as not materialized (
    select coalesce(wanted.profile, at_output.profile, waiting.profile) as profile,
           coalesce(wanted.mpid, at_output.mpid) as mpid,
           coalesce(wanted.environment, at_output.environment) as environment,
           coalesce(wanted.since_ms, at_output.since_ms) as since_ms,
           wanted.attributes, wanted.profile is not null as wanted,
           waiting.message, waiting.action, waiting.begun, waiting.attributes as then_had,
           case
               when wanted.profile is null then case when at_output.told then 'delete' end
               when $anew or at_output.profile is null
                    or (waiting.begun and waiting.action in ('add', 'delete')) then 'add'
               when at_output.told and at_output.attributes <> wanted.attributes
                    then 'attribute_update'
           end as target
    from shared_wanted as wanted
    full join at_output on at_output.profile = wanted.profile
    full join waiting on waiting.profile = coalesce(wanted.profile, at_output.profile)
)
select *,
       message is not null
       and (coalesce(action = target, false)
            or (wanted and action in ('add', 'attribute_update')))
       and (not begun or (not $anew
                          and (not wanted or then_had is not distinct from attributes))) as stays
from compared
"""
WAITING_HERE = "output = $output and audience = $audience and profile is not null"
KNOWN_HERE = "output = $output and audience = $audience"

DROP_OUTDATED = """
delete from store.audience_outbox
where message in (select message from shared_decided where message is not null and not stays)
"""
PUT_DECIDED = """
insert into store.audience_outbox
select uuid()::varchar,
       (select coalesce(max(number), 0) from store.audience_outbox)
       + row_number() over (order by profile),
       $output, $audience, profile, mpid, environment, target, since_ms, $now, 'waiting', false,
       attributes, null, null, null
from shared_decided
where target is not null and not stays
"""

# A member whose message was dropped by hand before it was sent is not at the output.
FORGET_NEVER_TOLD = """
delete from store.audience_told
where output = $output and audience = $audience and not told
  and profile in (select profile from shared_decided where not wanted)
"""


def align(
    store: OpenStore,
    touched: str | None = None,
    *,
    output: str | None = None,
    workspace: str | None = None,
    anew: bool = False,
) -> None:
    """Put into the outbox what outputs are to be told; within a transaction.

    `touched` is the relation of the profiles that may have changed; None: all. `output` and
    `workspace` limit it to these. With `anew`, everybody whom an output is to have is added again.
    """
    chosen = [
        route
        for route in audience_routes(store)
        if route.connection.active and output in (None, route.output.name)
    ]
    # the relations about people are made once for all connections of a workspace
    for name in sorted({route.audience.audience.workspace for route in chosen}):
        if workspace in (None, name):
            routes = [route for route in chosen if route.audience.audience.workspace == name]
            members = shared_members(store, name, routes, touched=touched)
            for route in routes:
                members.make_wanted(route)
                _decide(store, route, touched, anew=anew)


@dataclass(frozen=True, slots=True)
class SharedMembers:
    """The people whom outputs are to have, of the audiences of a workspace."""

    store: OpenStore
    """The store they are in."""
    profiles: Profiles
    """The people."""
    keys: list[str]
    """The attributes that connections share, in the order of the columns of shared_held."""
    reads: Reads
    """The purposes of consent that connections ask for."""
    touched: str | None
    """The relation of the profiles that are looked at; None: all."""

    def make_wanted(self, route: Route) -> None:
        """Make `shared_wanted` of a connection."""
        connection = route.connection
        parts = [WANTED_MEMBERS.format(columns=self.fingerprints(connection))]
        if connection.attributes:
            parts.append(JOIN_HELD)
        if connection.consents:
            parts.append(JOIN_SAID)
        clause = ""
        for rule in connection.consents:
            granted = consent_holds(Consent(*rule.purpose, "granted"), self.reads)
            clause = both(clause, granted if rule.action == "forward-only" else f"not {granted}")
        # The barred are no members, even if the audience was not evaluated since (barred.py).
        members = in_force(
            self.profiles,
            time.time_ns() // 1_000_000,
            _among(both("", is_in("audience", str(route.audience.number))), self.touched),
            wanted=[route.audience],
        )
        named = known_mpids(self.profiles.segments)
        shared = reading(" ".join([*parts, clause]), member=members, named=named)
        self.store.scratch.make("shared_wanted", shared)

    def fingerprints(self, connection: AudienceConnection) -> str:
        """Return the SQL of the fingerprints of the attributes that a connection shares, as JSON.

        It is over a row of shared_held.
        """
        if not connection.attributes:
            return "'{}'"
        # hashed with the secret of the store, so that no value of an attribute is kept here
        secret = quote_text(self.store.meta("secret"))
        parts = [
            f"{quote_text(json.dumps(key, ensure_ascii=False) + ': ' + chr(34))} || md5({secret}"
            f" || held.v{self.keys.index(key)}) || '\"'"
            for key in connection.attributes
        ]
        return f"'{{' || concat_ws(', ', {', '.join(parts)}) || '}}'"


def shared_members(
    store: OpenStore, workspace: str, routes: Sequence[Route], touched: str | None = None
) -> SharedMembers:
    """Return the people whom outputs are to have, and make the relations about them."""
    purposes = dict.fromkeys(rule.purpose for route in routes for rule in route.connection.consents)
    members = SharedMembers(
        store=store,
        profiles=people_of_audience(store, workspace),
        keys=sorted({key for route in routes for key in route.connection.attributes}),
        reads=Reads(consents=tuple(purposes)),
        touched=touched,
    )
    scratch, profiles = store.scratch, members.profiles
    audiences = numbers(route.audience.number for route in routes)
    clause = _among(both("", is_in("audience", audiences)), touched)
    in_them = select("profile", "store.membership", clause)
    scratch.make("shared_member", reading(SHARED_MEMBER, member=in_them))
    shared = both("", among("shared_member"))
    if members.reads.consents:
        fields = rest_rows(profiles, profiles.feeds, shared)
        scratch.make("shared_said", said(members.reads, f"({fields})"))
    if members.keys:
        columns = ["profile", *(f"v{n}" for n in range(len(members.keys)))]
        scratch.make("shared_held", select(columns, f"({profiles.folded(members.keys, shared)})"))
    return members


def _among(clause: str, touched: str | None) -> str:
    return both(clause, among(touched)) if touched else clause


def _decide(store: OpenStore, route: Route, touched: str | None, *, anew: bool) -> None:
    """Decide which message an output needs about each profile, and write the changes."""
    scratch, place = store.scratch, route.place
    at_output = _among(both("", KNOWN_HERE), touched)
    waiting = _among(both("", WAITING_HERE), touched)
    decided = reading(
        DECIDED,
        at_output=select("*", "store.audience_told", at_output),
        waiting=select("*", "store.audience_outbox", waiting),
    )
    scratch.make("shared_decided", decided, {**place, "anew": anew})
    # dropped before the new ones come: at most one message waits about a member
    scratch.run(DROP_OUTDATED)
    scratch.run(PUT_DECIDED, {**place, "now": time.time_ns() // 1_000_000})
    scratch.run(FORGET_NEVER_TOLD, place)
