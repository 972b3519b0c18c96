"""Members of audiences on their way: what waits is put together as it is sent, and a list of all is
written whole.

Whether somebody may be added is looked at once more when it is sent: who has opted out or withdrawn
a consent since is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.audiences.outbox import (
    MAYBE,
    Members,
    Message,
    Route,
    align,
    audience_routes,
    begin,
    identities_there,
    people_of_audience,
    record_messages,
    waiting_messages,
)
from profilectl.audiences.refresh import evaluated_ms
from profilectl.files.whole_file import whole_file
from profilectl.outputs.delivery.csv_file import cell_of, check_list, header_of, text_of_rows
from profilectl.outputs.delivery.parcel import Parcel
from profilectl.rules.leaving.audience_connection import (
    ADD,
    DELETE,
    UPDATE,
    Told,
    attributes_told,
    fingerprints,
    identities_told,
)
from profilectl.rules.leaving.output import BatchOutcome, Output
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import held_json, parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

LATE_WAIT_S = 60.0
STRETCH = 20_000
"""So many members are read at once for a list."""


@dataclass(frozen=True, slots=True)
class MemberToSend:
    """What is told of a member: identities, the held values of attributes that are shared, and
    since when it is one."""

    identities: dict[str, list[str]]
    attributes: dict[str, str]
    since_ms: int | None = None


class Messages:
    """The messages of an output that wait, as forwarding takes them (run.Source)."""

    def __init__(self, scratch: Scratch, path: Path, output: Output, wait_s: float) -> None:
        self._scratch, self._path, self._output, self._wait_s = (
            scratch,
            path,
            output,
            max(wait_s, LATE_WAIT_S),
        )
        self._sent: list[tuple[Message, str]] = []

    def take(self, after: int, limit: int) -> tuple[int, list[Parcel], list[BatchOutcome]] | None:
        """Put the next messages together, and write down that they are begun: the last number, and
        those that leave."""
        name = self._output.name
        with open_store(
            self._scratch, self._path, wait_s=self._wait_s
        ) as store:  # others may read while nothing waits
            if not waiting_messages(store, name, list(_routes(store, name)), after=after, limit=1):
                return None
        with open_store(self._scratch, self._path, write=True, wait_s=self._wait_s) as store:
            routes = _routes(store, name)
            with store.transaction():
                found = waiting_messages(store, name, list(routes), after=after, limit=limit)
                _look_again(store, found, name)
                found = waiting_messages(store, name, list(routes), after=after, limit=limit)
                told = _composed(store, found, routes)
                begin(store, name, [(message, has, may_have) for message, _, has, may_have in told])
        self._sent = [(message, has) for message, _, has, _ in told]
        last = max((one.number for one in found), default=after)
        # An update of what is again as the output has it says nothing.
        empty = [
            BatchOutcome(message.number, "UNCHANGED")
            for message, one, _, _ in told
            if message.action == UPDATE and not one.attributes
        ]
        parcels = [
            Parcel(message.number, message.mpid, message.message, message.at_ms, one.document())
            for message, one, _, _ in told
            if message.action != UPDATE or one.attributes
        ]
        return last, parcels, empty

    def record(self, store: OpenStore, outcomes: Sequence[BatchOutcome]) -> None:
        """Write down what became of the messages that were taken last."""
        record_messages(store, self._output.name, self._sent, outcomes, time.time_ns() // 1_000_000)


def _routes(store: OpenStore, output: str) -> dict[int, Route]:
    """Return the active connections of an output by the number of the audience."""
    return {
        one.audience.number: one
        for one in audience_routes(store)
        if one.output.name == output and one.connection.active
    }


def _look_again(store: OpenStore, found: Sequence[Message], output: str) -> None:
    profiles = [(one.profile,) for one in found if one.profile is not None]
    if profiles:
        store.scratch.load("shared_taken", [("profile", "BIGINT")], profiles)
        align(store, "shared_taken", output=output)


def _composed(
    store: OpenStore, found: Sequence[Message], routes: dict[int, Route]
) -> list[tuple[Message, Told, str, str]]:
    """Return messages as they go; of each, the fingerprints of what the member has, and of what the
    output may have after it."""
    told = []
    for number, route in routes.items():
        ones = [one for one in found if one.audience == number]
        people, marks = _people(
            store, route, [one.profile for one in ones if one.profile is not None]
        )
        _known_there(store, route, people, [one.profile for one in ones if one.action == DELETE])
        for one in ones:
            person = people.get(one.profile or 0) if one.profile is not None else None
            has = marks.get(one.profile or 0, "{}") if one.profile is not None else "{}"
            told.append(_told(one, route, person, has))
    return sorted(told, key=lambda one: one[0].number)


def _known_there(
    store: OpenStore, route: Route, people: dict[int, MemberToSend], leaving: Sequence[int | None]
) -> None:
    """Name whoever is removed by what the output may know them by, also where they lost it since."""
    gone = [(profile,) for profile in leaving if profile in people]
    if gone:
        store.scratch.load("shared_gone", [("profile", "BIGINT")], gone)
        for profile, held in identities_there(store, "shared_gone", route.place).items():
            people[profile] = replace(people[profile], identities=held)


def _told(
    one: Message, route: Route, person: MemberToSend | None, has: str
) -> tuple[Message, Told, str, str]:
    identities = (
        json.loads(one.identities)
        if person is None and one.identities
        else identities_told(route.connection, person.identities if person else {})
    )
    before, after = fingerprints(one.had), fingerprints(has)
    whole = (
        ADD
        if one.action == UPDATE and route.output.type == "csv" and before != after
        else one.action
    )  # a row has all of them
    attributes = attributes_told(whole, person.attributes if person else {}, before, after)
    may_have = (
        json.dumps(
            {**before, **{str(each["key"]): MAYBE for each in attributes}}, ensure_ascii=False
        )
        if one.action != DELETE
        else "{}"
    )
    since_ms = person.since_ms if person and person.since_ms is not None else one.since_ms
    sent = Told(
        one.message,
        one.at_ms,
        one.mpid,
        ENVIRONMENT_NAME[one.environment],
        one.audience,
        route.audience.name,
        one.action,
        since_ms,
        identities,
        attributes,
    )
    return one, sent, has, may_have


def _people(
    store: OpenStore, route: Route, wanted: Sequence[int]
) -> tuple[dict[int, MemberToSend], dict[int, str]]:
    """Return the people of a connection as they are now, and the fingerprints of their
    attributes."""
    if not wanted:
        return {}, {}
    scratch, keys = store.scratch, list(route.connection.attributes)
    profiles = people_of_audience(store, route.audience.audience.workspace)
    scratch.load("shared_people", [("profile", "BIGINT")], [(one,) for one in wanted])
    members = Members(store, route.audience.audience.workspace, [route], "shared_people")
    listed = f"[{', '.join(f'i_{kind}' for kind in profiles.identities)}]::varchar[][]"
    values = f"[{', '.join(f'held.v{n}' for n in range(len(keys)))}]::varchar[]"
    folded = profiles.folded(keys, "where profile in (select profile from shared_people)")
    rows = scratch.rows(
        f"select held.profile, {listed}, {values}, member.since_ms,"
        f" {members.fingerprints(route.connection)} from ({folded}) as held left join"
        f" (select profile, since_ms from store.membership where audience ="
        f" {route.audience.number}) as member on member.profile = held.profile"
    )
    people, marks = {}, {}
    for profile, identities, held, since_ms, mark in rows:
        people[profile] = MemberToSend(
            {
                kind: found
                for kind, found in zip(profiles.identities, identities, strict=True)
                if found
            },
            {key: value for key, value in zip(keys, held, strict=True) if value is not None},
            since_ms,
        )
        marks[profile] = mark
    return people, marks


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """What became of a list: how many members it has, and how many changes that waited it holds."""

    members: int
    changes: int


def write_list(
    scratch: Scratch, path: Path, output: Output, wait_s: float, *, only_changed: bool
) -> ListOutcome | None:
    """Write the file of an output that holds an audience whole. None: nothing is connected that is
    active, or (only_changed) nothing has changed. Raises InputRefused where the file cannot be
    written; then what waits goes on waiting."""
    wait_s = max(wait_s, LATE_WAIT_S)
    with open_store(scratch, path, wait_s=wait_s) as store:
        route = next(iter(_routes(store, output.name).values()), None)
        if route is None or (only_changed and not _waits(store, route)[1]):
            return None
    with open_store(scratch, path, write=True, wait_s=wait_s) as store:
        with store.transaction():
            align(store, output=output.name)
        last, count = _waits(store, route)
    target = path.absolute().parent / output.place
    check_list(target)
    with open_store(scratch, path, wait_s=wait_s) as store:
        members = Members(store, route.audience.audience.workspace, [route])
        members.make_wanted(route)
        scratch.make("listed", "select * from shared_wanted")
        with whole_file(target, "path") as out:
            out.write(text_of_rows([header_of("full", route.connection.attributes)], safe=False))
            for block in _lists(store, route):
                out.write(text_of_rows(block, safe=output.safe_for_spreadsheets))
    with open_store(scratch, path, write=True, wait_s=wait_s) as store:
        _record_list(store, route, last)
    return ListOutcome(scratch.count("listed"), count)


def _waits(store: OpenStore, route: Route) -> tuple[int | None, int]:
    """Return the number of the last change that waits for a list, and how many wait."""
    last, count = store.scratch.row(
        f"select max(number), count(*) from store.audience_outbox where {_HERE}", route.place
    )
    return last, count


_HERE = "output = $output and audience = $audience"


def _lists(store: OpenStore, route: Route) -> Iterator[list[tuple[str, ...]]]:
    """Yield the rows of the members, a stretch of them at a time, in the order in which their
    profiles were founded."""
    scanned, keys = (
        str(evaluated_ms(store.scratch, route.audience) or 0),
        route.connection.attributes,
    )
    rows = store.scratch.rows("select profile, mpid from listed order by profile")
    for start in range(0, len(rows), STRETCH):
        stretch = rows[start : start + STRETCH]
        people, _ = _people(store, route, [profile for profile, _ in stretch])
        block: list[tuple[str, ...]] = []
        for profile, mpid in stretch:
            person = people[profile]
            has = [
                cell_of(parse_json(held_json(person.attributes[key])))
                if key in person.attributes
                else ""
                for key in keys
            ]
            listed = [
                (one["value"], one["type"])
                for one in identities_told(route.connection, person.identities)
            ] or [("", "")]
            block += [(str(mpid), scanned, value, kind, *has) for value, kind in listed]
        yield block


def _record_list(store: OpenStore, route: Route, last: int | None) -> None:
    """Write down that a list holds the members it was made of, and all that waited when it was
    begun."""
    scratch, place = store.scratch, route.place
    with store.transaction():
        scratch.run(f"delete from store.audience_told where {_HERE}", place)
        scratch.run(
            "insert into store.audience_told select $output, $audience, listed.profile,"
            " listed.mpid, listed.environment, listed.since_ms, listed.attributes, true"
            f" from listed where profile in (select profile from"
            f" ({known_mpids(store.segments())}))",
            place,
        )
        if last is None:
            return
        scratch.run(
            f"insert into store.audience_left select output, audience, action, 'delivered',"
            f" count(*), $now from store.audience_outbox where {_HERE} and number <= $last group"
            f" by all order by all",
            {**place, "last": last, "now": time.time_ns() // 1_000_000},
        )
        scratch.run(
            f"delete from store.audience_outbox where {_HERE} and number <= $last",
            {**place, "last": last},
        )
