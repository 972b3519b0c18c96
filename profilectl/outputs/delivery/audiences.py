"""Members of audiences on their way, as messages or as a list.

Messages that wait are put together as they are sent; a list of all members is written whole.

Before a message is sent, its member is checked again: somebody who has opted out or withdrawn a
consent meanwhile is not added.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from profilectl.audiences.outgoing.messages import Message, begin, record_messages, waiting_messages
from profilectl.audiences.outgoing.outbox import MAYBE, align, shared_members
from profilectl.audiences.outgoing.removals import identities_there
from profilectl.audiences.outgoing.routes import Route, audience_routes, people_of_audience
from profilectl.audiences.refresh_marks import evaluated_ms
from profilectl.files.whole_file import whole_file
from profilectl.outputs.delivery.csv_file import cell_of, check_list, header_of, text_of_rows
from profilectl.outputs.delivery.parcel import Parcel
from profilectl.outputs.delivery.waiting import StoreAccess, Taken
from profilectl.rules.leaving.audience_connection import (
    ADD,
    DELETE,
    UPDATE,
    AudienceMessage,
    attributes_sent,
    fingerprints,
    identities_sent,
)
from profilectl.rules.leaving.output import BatchOutcome, Output
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import held_json, parse_json
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

STRETCH = 20_000
"""How many members are read at once for a list."""

# The people of a connection as they are now. The columns are their identities, the attributes that
# are shared, and the fingerprints of these. Somebody who has left the audience has no since_ms.
PEOPLE = """
select held.profile, member.since_ms, {columns}
from shared_person as held
left join (select profile, since_ms from store.membership where audience = $audience) as member
  on member.profile = held.profile
"""
# The people that are read at once.
SHARED_PROFILES = "where profile in (select profile from shared_people)"
# How much waits for a list: the number of the newest change, and how many there are.
WAITS_FOR_LIST = """
select max(number), count(*)
from store.audience_outbox
where output = $output and audience = $audience
"""
# The members of a list as they were when it was begun. Later changes wait for the next list.
LISTED = "select * from shared_wanted"
# Profiles are numbered in the order in which they were founded.
MEMBERS_LISTED = "select profile, mpid from listed order by profile"
# A list holds the members that it was made of. A profile that was erased meanwhile stays out.
FORGET_MEMBERS = "delete from store.audience_told where output = $output and audience = $audience"
PUT_MEMBERS = """
insert into store.audience_told
select $output, $audience, listed.profile, listed.mpid, listed.environment, listed.since_ms,
       listed.attributes, true
from listed
where profile in (select profile from every_profile)
"""
# A list holds all changes that waited when it was begun, so they have left with it.
COUNT_LEFT = """
insert into store.audience_left
select output, audience, action, 'delivered', count(*), $now_ms
from store.audience_outbox
where output = $output and audience = $audience and number <= $newest
group by all
order by all
"""
# ... and wait no more; a change that came since does.
TAKE_OUT_CHANGES = """
delete from store.audience_outbox
where output = $output and audience = $audience and number <= $newest
"""


@dataclass(frozen=True, slots=True)
class MemberToSend:
    """A member of an audience, as an output hears of them."""

    identities: dict[str, list[str]]
    """Their identities, by type."""
    attributes: dict[str, str]
    """The held values of the attributes that are shared."""
    fingerprints: str
    """The fingerprints of these attributes."""
    since_ms: int | None
    """Since when they are a member; None: they are none any more."""


@dataclass(frozen=True, slots=True)
class _Composed:
    """A message as it goes."""

    message: Message
    """The message as it waited."""
    sending: AudienceMessage
    """The message as the output gets it."""
    has: str
    """The fingerprints of the attributes that the member has."""
    may_have: str
    """The fingerprints of the attributes that the output may have after it."""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: it updates attributes that are again as the output has them."""
        return self.message.action == UPDATE and not self.sending.attributes


@dataclass(slots=True)
class MessagesWaiting:
    """The messages about members that wait for an output."""

    stores: StoreAccess
    """Opens the store."""
    output: Output
    """The output."""
    sent: list[_Composed] = field(default_factory=list)
    """The messages that were taken in the call before."""

    def take(self, after: int, limit: int) -> Taken | None:
        """Put the next messages together, and write down that they are begun; None: none waits."""
        name = self.output.name
        with self.stores.open() as store:  # other processes may read while nothing waits
            numbers = list(_routes(store, name))
            if not waiting_messages(store, name, numbers, after=after, limit=1):
                return None
        with self.stores.open(write=True) as store, store.transaction():
            routes = _routes(store, name)
            numbers = list(routes)
            messages = waiting_messages(store, name, numbers, after=after, limit=limit)
            _look_again(store, messages, name)
            # Read again, because the second look may have changed or taken back some of them.
            messages = waiting_messages(store, name, numbers, after=after, limit=limit)
            self.sent = _composed(store, messages, routes)
            begun = [(composed.message, composed.has, composed.may_have) for composed in self.sent]
            begin(store, name, begun)
        return Taken(
            after=max((message.number for message in messages), default=after),
            parcels=[_parcel(composed) for composed in self.sent if not composed.is_empty],
            outcomes=[
                BatchOutcome(composed.message.number, "UNCHANGED")
                for composed in self.sent
                if composed.is_empty
            ],
        )

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        """Write down what became of the messages that were taken in the call before."""
        sent = [(composed.message, composed.has) for composed in self.sent]
        now_ms = time.time_ns() // 1_000_000
        record_messages(store, self.output.name, sent, outcomes=outcomes, now_ms=now_ms)


def _parcel(composed: _Composed) -> Parcel:
    message = composed.message
    return Parcel(
        arrival=message.number,
        lane=message.mpid,
        request=message.message,
        received_ms=message.at_ms,
        document=composed.sending.document(),
    )


def _routes(store: OpenStore, output: str) -> dict[int, Route]:
    """Return the active connections of an output by the number of the audience."""
    return {
        route.audience.number: route
        for route in audience_routes(store)
        if route.output.name == output and route.connection.active
    }


def _look_again(store: OpenStore, messages: Sequence[Message], output: str) -> None:
    """Compare the people of some messages once more with those who should be at the output."""
    profiles = [(message.profile,) for message in messages if message.profile is not None]
    if profiles:
        store.scratch.load("shared_taken", [("profile", "BIGINT")], profiles)
        align(store, "shared_taken", output=output)


def _composed(
    store: OpenStore, messages: Sequence[Message], routes: dict[int, Route]
) -> list[_Composed]:
    """Return messages as they go, in order."""
    composed = []
    for number, route in routes.items():
        of_audience = [message for message in messages if message.audience == number]
        profiles = [message.profile for message in of_audience if message.profile is not None]
        people = _people(store, route, profiles)
        removed = [message.profile for message in of_audience if message.action == DELETE]
        identities = _identities_there(
            store, route, [profile for profile in removed if profile in people]
        )
        for message in of_audience:
            member = None if message.profile is None else people.get(message.profile)
            if member is not None and message.profile in identities:
                member = replace(member, identities=identities[message.profile])
            composed.append(_told(message, route, member))
    return sorted(composed, key=lambda composed: composed.message.number)


def _identities_there(
    store: OpenStore, route: Route, profiles: Sequence[int | None]
) -> dict[int, dict[str, list[str]]]:
    """Return the identities by which an output may know profiles that are removed.

    Identities that they have lost since are among them.
    """
    if not profiles:
        return {}
    rows = [(profile,) for profile in profiles]
    store.scratch.load("shared_gone", [("profile", "BIGINT")], rows)
    return identities_there(store, "shared_gone", route.place)


def _told(message: Message, route: Route, member: MemberToSend | None) -> _Composed:
    """Return a message as it goes. member: None where they are not there any more."""
    has = member.fingerprints if member else "{}"
    before, after = fingerprints(message.had), fingerprints(has)
    attributes = attributes_sent(
        _action_for(message, route, is_changed=before != after),
        member.attributes if member else {},
        before=before,
        after=after,
    )
    may_have = {**before, **{str(attribute["key"]): MAYBE for attribute in attributes}}
    sending = AudienceMessage(
        message=message.message,
        at_ms=message.at_ms,
        mpid=message.mpid,
        environment=ENVIRONMENT_NAME[message.environment],
        audience=message.audience,
        audience_name=route.audience.name,
        action=message.action,
        since_ms=(member.since_ms if member and member.since_ms is not None else message.since_ms),
        identities=(
            json.loads(message.identities)
            if member is None and message.identities
            else identities_sent(route.connection, member.identities if member else {})
        ),
        attributes=attributes,
    )
    return _Composed(
        message=message,
        sending=sending,
        has=has,
        may_have=("{}" if message.action == DELETE else json.dumps(may_have, ensure_ascii=False)),
    )


def _action_for(message: Message, route: Route, *, is_changed: bool) -> str:
    """Return the action by which the attributes of a message are chosen.

    A row of a file has all attributes of its member, so an update of some adds all of them.
    """
    if message.action == UPDATE and route.output.type == "csv" and is_changed:
        return ADD
    return message.action


def _people(store: OpenStore, route: Route, profiles: Sequence[int]) -> dict[int, MemberToSend]:
    """Return the people of a connection as they are now."""
    if not profiles:
        return {}
    scratch, keys = store.scratch, list(route.connection.attributes)
    workspace = route.audience.audience.workspace
    people = people_of_audience(store, workspace)
    rows = [(profile,) for profile in profiles]
    scratch.load("shared_people", [("profile", "BIGINT")], rows)
    members = shared_members(store, workspace, [route], touched="shared_people")
    scratch.make("shared_person", people.folded(keys, SHARED_PROFILES), keep=False)
    identities = f"[{', '.join(f'i_{kind}' for kind in people.identities)}]::varchar[][]"
    values = f"[{', '.join(f'held.v{n}' for n in range(len(keys)))}]::varchar[]"
    columns = f"{identities}, {values}, {members.fingerprints(route.connection)}"
    rows_now = scratch.rows(PEOPLE.format(columns=columns), {"audience": route.audience.number})
    return {
        profile: MemberToSend(
            identities={
                kind: texts for kind, texts in zip(people.identities, listed, strict=True) if texts
            },
            attributes={
                key: value for key, value in zip(keys, shared, strict=True) if value is not None
            },
            fingerprints=marks,
            since_ms=since_ms,
        )
        for profile, since_ms, listed, shared, marks in rows_now
    }


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """What became of a list."""

    members: int
    """How many members it has."""
    changes: int
    """How many changes that waited it holds."""


@dataclass(frozen=True, slots=True)
class _ChangesWaiting:
    """The changes that wait for a list."""

    newest: int | None
    """The number of the newest; None: none waits."""
    count: int
    """How many there are."""


def write_list(stores: StoreAccess, output: Output, *, only_changed: bool) -> ListOutcome | None:
    """Write the file of an output that holds an audience whole.

    Return None where no active connection leads to it, or (only_changed) where nothing has changed.
    Raises InputRefused where the file cannot be written; the changes then go on waiting.
    """
    with stores.open() as store:
        route = next(iter(_routes(store, output.name).values()), None)
        if route is None or (only_changed and not _changes_waiting(store, route).count):
            return None
    with stores.open(write=True) as store:
        with store.transaction():
            align(store, output=output.name)
        waiting = _changes_waiting(store, route)
    target = stores.path.absolute().parent / output.place
    check_list(target)
    with stores.open() as store:
        members = shared_members(store, route.audience.audience.workspace, [route])
        members.make_wanted(route)
        store.scratch.make("listed", LISTED)
        with whole_file(target, "path") as out:
            out.write(text_of_rows([header_of("full", route.connection.attributes)], safe=False))
            for block in _lists(store, route):
                out.write(text_of_rows(block, safe=output.safe_for_spreadsheets))
    with stores.open(write=True) as store, store.transaction():
        _record_list(store, route, waiting.newest)
    return ListOutcome(stores.scratch.count("listed"), waiting.count)


def _changes_waiting(store: OpenStore, route: Route) -> _ChangesWaiting:
    return _ChangesWaiting(*store.scratch.row(WAITS_FOR_LIST, route.place))


def _lists(store: OpenStore, route: Route) -> Iterator[list[tuple[str, ...]]]:
    """Yield the rows of the members, a stretch at a time, oldest profiles first."""
    scanned = str(evaluated_ms(store.scratch, route.audience) or 0)
    rows = store.scratch.rows(MEMBERS_LISTED)
    for start in range(0, len(rows), STRETCH):
        stretch = rows[start : start + STRETCH]
        people = _people(store, route, [profile for profile, _ in stretch])
        block: list[tuple[str, ...]] = []
        for profile, mpid in stretch:
            block += _rows_of(route, people[profile], mpid=str(mpid), scanned=scanned)
        yield block


def _rows_of(
    route: Route, member: MemberToSend, *, mpid: str, scanned: str
) -> list[tuple[str, ...]]:
    """Return the rows of a member: one for each identity.

    scanned: when the audience was evaluated, in epoch milliseconds.
    """
    cells = [
        cell_of(parse_json(held_json(member.attributes[key]))) if key in member.attributes else ""
        for key in route.connection.attributes
    ]
    identities = [
        (identity["value"], identity["type"])
        for identity in identities_sent(route.connection, member.identities)
    ]
    return [(mpid, scanned, value, kind, *cells) for value, kind in identities or [("", "")]]


def _record_list(store: OpenStore, route: Route, newest: int | None) -> None:
    """Write down the members of a list, and that what waited when it was begun has left.

    Called within a transaction. newest: the number of the newest change that waited; None: none.
    """
    scratch, place = store.scratch, route.place
    scratch.run(FORGET_MEMBERS, place)
    scratch.make("every_profile", known_mpids(store.segments()), keep=False)
    scratch.run(PUT_MEMBERS, place)
    if newest is None:
        return
    scratch.run(COUNT_LEFT, {**place, "newest": newest, "now_ms": time.time_ns() // 1_000_000})
    scratch.run(TAKE_OUT_CHANGES, {**place, "newest": newest})
