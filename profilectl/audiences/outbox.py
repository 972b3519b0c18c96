"""What outputs are told of audiences: put into the store with the evaluation that moved somebody,
taken out when it has arrived.

The store remembers whom an output may have as a member (audience_told). `align` compares that with
who is to be there: the members who are not opted out and who pass the connection's rules of
consent. The difference waits in audience_outbox, one message at most for a person, an output and an
audience: who came and went before anything was sent is not told of. A message is begun before it is
handed over, so that whoever an output may have is removed there, also where a process was killed in
between.

Relations made here, of some profiles or of all:

    shared_member   profile                                         who is in a connected audience
    shared_said     as stated.said                                  what was said of the purposes that connections ask for
    shared_held     profile, v<n>                                   the attributes that connections share
    shared_wanted   profile, mpid, environment, since_ms, attributes   whom an output is to have
    shared_decided  what is to be told of each, and whether what waits stays
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profilectl.audiences.barred import in_force, rest_rows
from profilectl.audiences.batch_fields_sql import consent_holds, said
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.criteria.tree import Consent, Reads
from profilectl.rules.feed import workspaces_of
from profilectl.rules.identity import BY_NAME, key_of
from profilectl.rules.leaving.audience_connection import (
    ADD,
    DELETE,
    UPDATE,
    AudienceConnection,
    identities_told,
)
from profilectl.rules.leaving.output import BY_HAND, DEAD, WAITING, BatchOutcome, Output
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.copies import put_in_place, rewrite_store
from profilectl.store.definitions import Defined, audience_connections, audiences, outputs
from profilectl.store.segments import known_identities, known_mpids
from profilectl.store.store import OpenStore

COLUMNS = (
    ("message", "VARCHAR"), ("number", "BIGINT"), ("output", "VARCHAR"), ("audience", "INTEGER"),
    ("profile", "BIGINT"), ("mpid", "BIGINT"), ("environment", "UTINYINT"), ("action", "VARCHAR"),
    ("since_ms", "BIGINT"), ("at_ms", "BIGINT"), ("state", "VARCHAR"), ("begun", "BOOLEAN"),
    ("attributes", "VARCHAR"), ("identities", "VARCHAR"), ("why", "VARCHAR"), ("failed_ms", "BIGINT"),
)  # fmt: skip
"""The columns of audience_outbox."""
TRACES = "traces"
"""The name in store.meta that says how many messages of whoever is erased the file had when it
was written."""
OF_ERASED = "profile is null and coalesce(identities, '[]') <> '[]'"
MAYBE = "?"
"""The fingerprint of an attribute of which an output has a value or not, nobody knows which."""


@dataclass(frozen=True, slots=True)
class Route:
    """A connection of an audience, with both of its ends."""

    connection: AudienceConnection
    output: Output
    audience: Defined

    @property
    def place(self) -> dict[str, Any]:
        """The output and the audience, as they are bound."""
        return {"output": self.output.name, "audience": self.audience.number}


def audience_routes(store: OpenStore) -> list[Route]:
    """Return the connections of audiences of a store, with their outputs and audiences."""
    if not store.scratch.row("select count(*) from store.connection")[0]:
        return []
    there, defined = (
        {one.name: one for one in outputs(store)},
        {one.name: one for one in audiences(store)},
    )
    return [
        Route(one, there[one.output], defined[one.audience])
        for one in audience_connections(store)
        if one.output in there and one.audience in defined
    ]


def people_of_audience(store: OpenStore, workspace: str) -> Profiles:
    """Return the read model of an audience's people: the attributes of its workspace, the
    identities of all."""
    there = workspaces_of(store.feeds())
    return (
        profiles_of(store, workspace=workspace)
        if workspace in there or not there
        else profiles_of(store, every=True)
    )


def align(
    store: OpenStore,
    touched: str | None = None,
    *,
    output: str | None = None,
    workspace: str | None = None,
    anew: bool = False,
) -> None:
    """Put what outputs are to be told into the outbox; within a transaction. touched: the relation
    of the profiles that may have changed, None: all; output, workspace: of these only; anew:
    everybody who is to be there is added again."""
    chosen = [
        one
        for one in audience_routes(store)
        if one.connection.active and output in (None, one.output.name)
    ]
    for name in sorted({one.audience.audience.workspace for one in chosen}):
        if workspace in (None, name):
            routes = [one for one in chosen if one.audience.audience.workspace == name]
            members = Members(store, name, routes, touched)
            for route in routes:
                members.make_wanted(route)
                _decide(store, route, touched, anew=anew)


class Members:
    """Whom outputs are to have of the audiences of a workspace."""

    def __init__(
        self, store: OpenStore, workspace: str, routes: Sequence[Route], touched: str | None = None
    ) -> None:
        self.store, self.scratch, self.touched = store, store.scratch, touched
        self.profiles = people_of_audience(store, workspace)
        self.keys = sorted({key for one in routes for key in one.connection.attributes})
        purposes = dict.fromkeys(rule.purpose for one in routes for rule in one.connection.consents)
        self.reads = Reads(consents=tuple(purposes))
        numbers = ", ".join(str(one.audience.number) for one in routes)
        self.scratch.make(
            "shared_member",
            f"select distinct profile from store.membership where audience in"
            f" ({numbers}){_among(touched)}",
        )
        self._relations()

    def _relations(self) -> None:
        who = "profile in (select profile from shared_member)"
        if self.reads.consents:
            self.scratch.make(
                "shared_said",
                said(
                    self.reads, f"({rest_rows(self.profiles, self.profiles.feeds, f'where {who}')})"
                ),
            )
        if self.keys:
            values = ", ".join(f"v{n}" for n in range(len(self.keys)))
            self.scratch.make(
                "shared_held",
                f"select profile, {values} from"
                f" ({self.profiles.folded(self.keys, f'where {who}')})",
            )

    def make_wanted(self, route: Route) -> None:
        """Make `shared_wanted` of a connection."""
        connection = route.connection
        joins = (
            " left join shared_held as held on held.profile = member.profile"
            if connection.attributes
            else ""
        )
        tests = ["true"]
        if connection.consents:
            joins += " left join shared_said as said on said.profile = member.profile"
        for rule in connection.consents:
            granted = consent_holds(Consent(*rule.purpose, "granted"), self.reads)
            tests.append(granted if rule.action == "forward-only" else f"not {granted}")
        # Whoever may not be a member is none, also where no audience was evaluated since.
        members = in_force(
            self.profiles,
            time.time_ns() // 1_000_000,
            f"where audience = {route.audience.number}{_among(self.touched)}",
            wanted=[route.audience],
        )
        self.scratch.make(
            "shared_wanted",
            f"select member.profile, named.mpid, named.environment, member.since_ms,"
            f" {self.fingerprints(connection)} as attributes"
            f" from ({members}) as member"
            f" join ({known_mpids(self.profiles.segments)}) as named on named.profile ="
            f" member.profile{joins} where {' and '.join(tests)}",
        )

    def fingerprints(self, connection: AudienceConnection) -> str:
        """Return the SQL of the fingerprints of the attributes that a connection shares, as JSON;
        over a row of shared_held."""
        secret = quote_text(self.store.meta("secret"))
        parts = [
            f"{quote_text(json.dumps(key, ensure_ascii=False) + ': ' + chr(34))} || md5({secret}"
            f" || held.v{self.keys.index(key)}) || '\"'"
            for key in connection.attributes
        ]
        return f"'{{' || concat_ws(', ', {', '.join(parts)}) || '}}'" if parts else "'{}'"


def _among(touched: str | None) -> str:
    return f" and profile in (select profile from {touched})" if touched else ""


def _decide(store: OpenStore, route: Route, touched: str | None, *, anew: bool) -> None:
    """Decide what is to be told of each profile, and write it. What waits stays where it says the
    same. Of a message that was begun nobody knows whether it arrived: where the member is not as it
    was then, another takes its place, under an id of its own."""
    scratch, place = store.scratch, route.place
    here = f"output = $output and audience = $audience{_among(touched)}"
    unsure = f"waiting.begun and waiting.action in ('{ADD}', '{DELETE}')"
    target = (
        f"case when wanted.profile is not null then case when {str(anew).lower()} or told.profile"
        f" is null or ({unsure}) then '{ADD}'"
        f" when told.told and told.attributes <> wanted.attributes then '{UPDATE}' end when"
        f" told.told then '{DELETE}' end"
    )
    scratch.make(
        "shared_decided",
        "select coalesce(wanted.profile, told.profile, waiting.profile) as profile,"
        " coalesce(wanted.mpid, told.mpid) as mpid,"
        f" coalesce(wanted.environment, told.environment) as environment,"
        f" coalesce(wanted.since_ms, told.since_ms) as since_ms, wanted.attributes,"
        f" wanted.profile is not null as wanted, waiting.message, waiting.action, waiting.state,"
        f" waiting.begun, waiting.attributes as then_had, {target} as target"
        f" from shared_wanted as wanted full join (select * from store.audience_told where"
        f" {here}) as told on told.profile = wanted.profile"
        f" full join (select * from store.audience_outbox where {here} and profile is not null)"
        f" as waiting on waiting.profile = coalesce(wanted.profile, told.profile)",
        place,
    )
    same = f"(coalesce(action = target, false) or (wanted and action in ('{ADD}', '{UPDATE}')))"
    stays = f"(message is not null and {same}"
    stays += " and (not begun or not wanted or then_had is not distinct from attributes)"
    stays += " and not begun)" if anew else ")"
    scratch.run(
        f"delete from store.audience_outbox where message in (select message from shared_decided"
        f" where message is not null and not {stays})"
    )
    scratch.run(
        "insert into store.audience_outbox select uuid()::varchar, (select coalesce(max(number),"
        " 0) from store.audience_outbox) + row_number() over (order by profile),"
        f" $output, $audience, profile, mpid, environment, target, since_ms, $now, '{WAITING}',"
        f" false, attributes, null, null, null"
        f" from shared_decided where target is not null and not {stays}",
        {**place, "now": time.time_ns() // 1_000_000},
    )
    scratch.run(
        f"delete from store.audience_told where {here} and not told and profile in (select"
        f" profile from shared_decided where not wanted)",
        place,
    )


@dataclass(frozen=True, slots=True)
class Message:
    """A message that waits, as the store has it. profile: None of somebody erased; had: the
    fingerprints of what the output has."""

    message: str
    number: int
    audience: int
    profile: int | None
    mpid: int
    environment: int
    action: str
    since_ms: int
    at_ms: int
    identities: str | None
    had: str | None


def waiting_messages(
    store: OpenStore, output: str, numbers: Sequence[int], *, after: int, limit: int
) -> list[Message]:
    """Return the next messages of some audiences that wait for an output, in order. after: the
    number they come after."""
    listed = ", ".join(map(str, numbers)) or "null"
    rows = store.scratch.rows(
        "select one.message, one.number, one.audience, one.profile, one.mpid, one.environment,"
        " one.action, one.since_ms, one.at_ms, one.identities, told.attributes"
        " from store.audience_outbox as one left join store.audience_told as told on told.output"
        " = one.output and told.audience = one.audience and told.profile = one.profile"
        f" where one.output = $output and one.state = '{WAITING}' and one.audience in ({listed})"
        f" and one.number > $after order by one.number limit {limit}",
        {"output": output, "after": after},
    )
    return [Message(*row) for row in rows]


def begin(store: OpenStore, output: str, begun: Sequence[tuple[Message, str, str]]) -> None:
    """Write down that messages are handed over from now on; within a transaction. Of each: what the
    member has, and what the output may have after it (fingerprints)."""
    scratch = store.scratch
    scratch.load(
        "shared_begun",
        [
            ("message", "VARCHAR"),
            ("audience", "INTEGER"),
            ("profile", "BIGINT"),
            ("action", "VARCHAR"),
            ("has", "VARCHAR"),
            ("may_have", "VARCHAR"),
        ],
        [
            (one.message, one.audience, one.profile, one.action, has, may_have)
            for one, has, may_have in begun
        ],
    )
    scratch.run(
        "update store.audience_outbox as one set begun = true, attributes = begun.has from"
        " shared_begun as begun where begun.message = one.message"
    )
    scratch.run(
        "insert into store.audience_told select one.output, one.audience, one.profile, one.mpid,"
        " one.environment, one.since_ms, '{}', true"
        f" from store.audience_outbox as one join shared_begun as begun on begun.message ="
        f" one.message where one.action = '{ADD}' and one.profile is not null"
        " and not exists (select 1 from store.audience_told as told where told.output ="
        " one.output and told.audience = one.audience and told.profile = one.profile)"
    )
    scratch.run(
        "update store.audience_told as told set attributes = begun.may_have, told = true from"
        " shared_begun as begun"
        f" where told.output = $output and told.audience = begun.audience and told.profile ="
        f" begun.profile and begun.action <> '{DELETE}'",
        {"output": output},
    )


def record_messages(
    store: OpenStore,
    output: str,
    sent: Sequence[tuple[Message, str]],
    outcomes: Sequence[BatchOutcome],
    now_ms: int,
) -> None:
    """Write down what became of messages, in one transaction. sent: of each, what the member has
    (fingerprints)."""
    scratch, said_of = store.scratch, {one.arrival: one for one in outcomes}
    rows = [
        (
            one.message,
            one.audience,
            one.profile,
            one.action,
            has,
            said_of[one.number].said,
            said_of[one.number].dead,
        )
        for one, has in sent
        if one.number in said_of
    ]
    scratch.load(
        "shared_outcome",
        [
            ("message", "VARCHAR"),
            ("audience", "INTEGER"),
            ("profile", "BIGINT"),
            ("action", "VARCHAR"),
            ("has", "VARCHAR"),
            ("said", "VARCHAR"),
            ("dead", "BOOLEAN"),
        ],
        rows,
    )
    bound = {"output": output, "now": now_ms}
    same = "told.output = $output and told.audience = done.audience"
    same += " and told.profile = done.profile and not done.dead"
    with store.transaction():
        scratch.run(
            "insert into store.audience_left select $output, audience, action, said, count(*),"
            " $now from shared_outcome where not dead group by all order by all",
            bound,
        )
        scratch.run(
            f"update store.audience_told as told set attributes = done.has from shared_outcome as"
            f" done where {same} and done.action <> '{DELETE}'",
            {"output": output},
        )
        scratch.run(
            f"delete from store.audience_told as told using shared_outcome as done where {same}"
            f" and done.action = '{DELETE}'",
            {"output": output},
        )
        scratch.run(
            "delete from store.audience_outbox where message in (select message from"
            " shared_outcome where not dead)"
        )
        scratch.run(
            f"update store.audience_outbox as one set state = '{DEAD}', why = done.said,"
            f" failed_ms = $now from shared_outcome as done where done.message = one.message and"
            f" done.dead",
            {"now": now_ms},
        )


def drop_messages(store: OpenStore, where: str, bound: dict[str, Any], now_ms: int) -> None:
    """Take messages out for good, within a transaction: the output is taken to have heard them.
    where: the condition on them."""
    scratch = store.scratch
    scratch.make("shared_dropped", f"select * from store.audience_outbox where {where}", bound)
    same = "told.output = gone.output and told.audience = gone.audience"
    same += " and told.profile = gone.profile"
    scratch.run(
        f"insert into store.audience_left select output, audience, action, '{BY_HAND}', count(*),"
        f" {now_ms} from shared_dropped group by all order by all"
    )
    scratch.run(
        "insert into store.audience_told select output, audience, profile, mpid, environment,"
        " since_ms, coalesce(attributes, '{}'), false from shared_dropped as gone"
        f" where action = '{ADD}' and profile is not null and not exists (select 1 from"
        f" store.audience_told as told where {same})"
    )
    scratch.run(
        f"update store.audience_told as told set attributes = coalesce(gone.attributes, '{{}}')"
        f" from shared_dropped as gone where {same} and gone.action <> '{DELETE}'"
    )
    scratch.run(
        f"delete from store.audience_told as told using shared_dropped as gone where {same} and"
        f" gone.action = '{DELETE}'"
    )
    scratch.run(
        "delete from store.audience_outbox where message in (select message from shared_dropped)"
    )


def meta_with_traces(
    store: OpenStore,
    meta: str = "select * from store.meta",
    outbox: str = "select * from store.audience_outbox",
) -> str:
    """Return the SELECT of store.meta that says how many messages a file written anew has with
    identities of whoever is erased. However they go, their bytes stay until it is written anew
    once more."""
    (count,) = store.scratch.row(f"select count(*) from ({outbox}) where {OF_ERASED}")
    other = f"select * from ({meta}) where name <> {quote_text(TRACES)}"
    return f"{other} union all select {quote_text(TRACES)}, '{count}'" if count else other


def has_traces(store: OpenStore) -> bool:
    """Say whether the file may have bytes of identities that were kept for a removal which is not
    there any more."""
    return bool(
        store.scratch.row(
            "select count(*) from store.meta where name = $name and value::integer >"
            f" (select count(*) from store.audience_outbox where {OF_ERASED})",
            {"name": TRACES},
        )[0]
    )


def leave_no_trace(store: OpenStore) -> None:
    """Write a store that is attached for writing anew, where it has such traces. Raises
    StoreUnusable; then it is as before."""
    if has_traces(store):
        stays = {"meta": meta_with_traces(store)}
        put_in_place(
            store.scratch,
            rewrite_store(store.scratch, store.path, store.scratch.folder, stays),
            store.path,
        )


def removals(
    store: OpenStore, leaving: str, *, erased: bool = False, stay: bool = False, made: int = 0
) -> list[tuple[Any, ...]]:
    """Return the rows of audience_outbox that remove profiles where they are, because the store is
    about to lose them. leaving: the relation of these; erased: nothing of the row says which
    profile it was; stay: the store keeps their identities."""
    scratch = store.scratch
    rows = scratch.rows(
        f"select output, audience, profile, mpid, environment, since_ms from store.audience_told"
        f" where told and profile in (select profile from {leaving}) order by all"
    )
    routes = (
        {(one.output.name, one.audience.number): one for one in audience_routes(store)}
        if rows
        else {}
    )
    rows = [row for row in rows if row[:2] in routes]
    if not rows:
        return []
    places = {} if stay else {row[:2]: routes[row[:2]].place for row in rows}
    held = {key: identities_there(store, leaving, place) for key, place in places.items()}
    (last,) = scratch.row("select coalesce(max(number), 0) from store.audience_outbox")
    now_ms, found = time.time_ns() // 1_000_000, []
    for place, (output, audience, profile, mpid, environment, since_ms) in enumerate(
        rows, made + 1
    ):
        route = routes[output, audience]
        # A list is written anew without them.
        listed = (
            []
            if route.output.content == "full"
            else identities_told(
                route.connection, held.get((output, audience), {}).get(profile, {})
            )
        )
        kept = None if stay else json.dumps(listed, ensure_ascii=False)
        (message,) = scratch.row("select uuid()::varchar")
        found.append((
            message, last + place, output, audience, None if erased else profile, mpid, environment,
            DELETE, since_ms, now_ms, WAITING, False, None, kept, None, None,
        ))  # fmt: skip
    return found


def identities_there(
    store: OpenStore, leaving: str, place: dict[str, Any]
) -> dict[int, dict[str, list[str]]]:
    """Return the identities by which an output may know profiles that leave an audience: those they
    have, and those they had before, but for what somebody else has who is there. leaving: the
    relation of these; place: the output and the audience (Route.place)."""
    profiles = profiles_of(store, every=True)
    now = _identities(profiles, leaving)
    if not profiles.removals:
        return {profile: held for profile, (_, held) in now.items()}
    secret, found = store.meta("secret"), {}
    lost: dict[int, list[tuple[int, str, str]]] = {}
    for profile, (code, ever) in _identities(replace(profiles, removals=False), leaving).items():
        held = now[profile][1] if profile in now else {}
        found[profile] = {kind: list(values) for kind, values in held.items()}
        for kind, values in ever.items():
            keys = {key_of(BY_NAME[kind], value) for value in held.get(kind, ())}
            for value in values:
                if (key := key_of(BY_NAME[kind], value)) not in keys:
                    digest = hash_of(secret, ENVIRONMENT_NAME[code], kind, key)
                    lost.setdefault(digest, []).append((profile, kind, value))
    stay = _held_there(profiles, leaving, place, lost)
    for profile, kind, value in (
        one for digest in lost if digest not in stay for one in lost[digest]
    ):
        found[profile].setdefault(kind, []).append(value)
    return found


def _held_there(
    profiles: Profiles, leaving: str, place: dict[str, Any], digests: Iterable[int]
) -> set[int]:
    """Return those of some hashes of identities that somebody has who is there and stays."""
    listed = ", ".join(f"'{one}'::uhugeint" for one in digests) or "null"
    here = "where output = $output and audience = $audience"
    known = known_identities(profiles.segments, removals=profiles.removals)
    rows = profiles.store.scratch.rows(
        f"select distinct hash::varchar from ({known}) where hash in ({listed}) and profile in"
        f" (select profile from store.audience_told {here} union all"
        f" select profile from store.audience_outbox {here} and action = '{ADD}')"
        f" and profile not in (select profile from {leaving})",
        place,
    )
    return {int(digest) for (digest,) in rows}


def _identities(profiles: Profiles, leaving: str) -> dict[int, tuple[int, dict[str, list[str]]]]:
    """Return the environment and the identities of profiles."""
    if not profiles.identities:
        return {}
    listed = ", ".join(f"i_{kind}" for kind in profiles.identities)
    rows = profiles.store.scratch.rows(
        f"select profile, environment, [{listed}]::varchar[][] from"
        f" ({profiles.folded([], f'where profile in (select profile from {leaving})')})"
    )
    return {
        profile: (
            code,
            {kind: found for kind, found in zip(profiles.identities, held, strict=True) if found},
        )
        for profile, code, held in rows
    }


def remove_before_undo(store: OpenStore, numbers: Sequence[int]) -> None:
    """Have profiles removed where they are that an undo of some imports is about to take away,
    within its transaction: with the identities that they still have. Where it makes them again, the
    removal is taken back (align)."""
    listed = ", ".join(map(str, numbers)) or "null"
    store.scratch.make(
        "shared_leaving",
        "select distinct told.profile from store.audience_told as told join store.import on"
        " told.profile >= import.first_arrival"
        f" and told.profile < import.first_arrival + import.arrivals where import.number in"
        f" ({listed})",
    )
    rows = removals(store, "shared_leaving") if store.scratch.count("shared_leaving") else []
    if rows:
        store.scratch.load("shared_removal", COLUMNS, rows)
        store.scratch.run(
            "delete from store.audience_outbox where (output, audience, profile) in (select"
            " (output, audience, profile) from shared_removal)"
        )
        store.scratch.run(
            "insert into store.audience_outbox select * from shared_removal order by number"
        )
