"""The audiences of a store, as commands use them: define, look at, evaluate, list members."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from profilectl.audiences.barred import in_force, lively
from profilectl.audiences.outgoing.identity_traces import leave_no_trace
from profilectl.audiences.people import (
    awake_only,
    event_relation,
    people_of,
    person_relations,
)
from profilectl.audiences.refresh import refresh_once_done, refresh_store
from profilectl.audiences.refresh_marks import evaluated_ms
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.audiences.sql.membership_sql import (
    AudienceToEvaluate,
    PeopleRelations,
    members,
    needs,
)
from profilectl.codes import InputRefused
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.criteria.tree import Reads
from profilectl.rules.event.field import caseless
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import parse_json
from profilectl.store.definitions import (
    Defined,
    audience_defined,
    audiences,
    check_meant,
    check_references,
    check_unused,
    check_workspace,
    drop_audience,
    put_audience,
    workspace_for,
)
from profilectl.store.history import import_numbered
from profilectl.store.opening import open_store, shown_after
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import both, known_mpids
from profilectl.store.statements import is_in, numbers, reading, select
from profilectl.store.store import OpenStore

Document = dict[str, Any]
"""An answer of a command, as its --json prints it."""

FEW = 5
"""How many profiles a preview shows."""
MEMBER_EVENTS = ("profile", "arrival", "place", "type", "name", "at_ms", "event")

SIZES = "select audience, count(*) from membership group by audience"
SAMPLE = "select profile from previewed order by profile limit $few"

# The members of the audiences that the criteria refer to, by the name of the audience.
MEMBER = """
select membership.profile, audience.name as audience
from membership
join store.audience on audience.number = membership.audience
"""
MEMBERS_SHOWN = """
select profile, since_ms
from membership
order by profile
limit $most
"""
IDENTITIES_SHOWN = """
select mpid::varchar, environment, since_ms, [{columns}]::varchar[][]
from in_it
join person on person.profile = in_it.profile
order by in_it.profile
"""

# Who entered and left, oldest first. A profile that is gone has the MPID it had then. Changes lie
# in the order in which they were seen: no time tells it, because a refresh may have tried another
# one (--now). DuckDB promises that order to an empty window over a single table, and not to rowid.
MOVES = """
with numbered as (
    select *, row_number() over () as place
    from store.membership_change
)
select coalesce(named.mpid, moved.mpid)::varchar, moved.change, moved.at_ms, moved.import
from numbered as moved
left join named on named.profile = moved.profile
where moved.audience = $audience
  and ($import::integer is null or moved.import = $import)
  and ($since::bigint is null or moved.at_ms >= $since)
order by moved.place
"""


def audiences_in(path: Path, *, wait_s: float = 0) -> list[Document]:
    """Return the audiences, by number.

    Each has its criteria, its kind, how many are in it and when it was last evaluated.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        check_workspace(store)
        shown = [each for each in audiences(store) if store.means(each.audience.workspace)]
        sizes = sizes_of(profiles_of(store, every=True), shown)
        return [_described(store, each, sizes.get(each.number, 0)) for each in shown]


def sizes_of(profiles: Profiles, defined: Sequence[Defined]) -> dict[int, int]:
    """Return how many members each of some audiences has, by the number of the audience."""
    clause = both("", is_in("audience", numbers(each.number for each in defined)))
    held = in_force(profiles, time.time_ns() // 1_000_000, clause, wanted=defined)
    return dict(profiles.store.scratch.rows(reading(SIZES, membership=held)))


def _described(store: OpenStore, audience: Defined, size: int) -> Document:
    lookback = audience.audience.lookback
    return {
        "audience_id": audience.number,
        "name": audience.name,
        "kind": audience.audience.kind,
        "state": "ready" if audience.filled_ms is not None else "draft",
        "workspace": audience.audience.workspace,
        "criteria": audience.audience.criteria,
        "lookback_days": lookback.count if lookback else None,
        "members": size,
        "refreshed_ms": evaluated_ms(store.scratch, audience),
    }


def audience_named(path: Path, name: str, *, wait_s: float = 0) -> Document:
    """Return one audience.

    Raises UsageError where there is none of that name.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        audience = audience_defined(store, name)
        sizes = sizes_of(profiles_of(store, every=True), [audience])
        return _described(store, audience, sizes.get(audience.number, 0))


def add_audience(
    path: Path, audience: Audience, *, replaces: bool = False, wait_s: float = 0
) -> Document:
    """Define an audience; a real-time one is evaluated at once.

    Raises InputRefused for a name that is taken, UsageError.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        same = next((each for each in audiences(store) if each.name == audience.name), None)
        if same and not replaces:
            raise InputRefused(
                f"there is an audience {audience.name} already", "--replace gives it other criteria"
            )
        if same:
            check_meant(store, f"audience {audience.name}", same.audience.workspace)
        workspace = workspace_for(store, audience.workspace)
        with store.transaction():
            put_audience(store, replace(audience, workspace=workspace), time.time_ns() // 1_000_000)
    # The definition is committed: a refresh that fails leaves it, and the next one makes up for it.
    refresh_once_done(path, f"the audience {audience.name} is defined", wait_s=wait_s)
    return audience_named(path, audience.name, wait_s=wait_s)


def remove_audience(path: Path, name: str, *, wait_s: float = 0) -> None:
    """Forget an audience and its memberships.

    Raises UsageError where there is none of that name, and while another audience refers to it or a
    connection leads it to an output.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        audience_defined(store, name)
        check_unused(store, name)
        with store.transaction():
            drop_audience(store, name)
        # Messages about it are gone too, and with them perhaps identities of erased people.
        leave_no_trace(store)


def preview_audience(
    path: Path, audience: Audience, *, now_ms: int | None = None, wait_s: float = 0
) -> Document:
    """Return how many would be in an audience, and some of them, without keeping anything."""
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        # the criteria are tried in the place of those that the name has now
        unlike = [each.audience for each in audiences(store) if each.name != audience.name]
        check_references([*unlike, audience])
        profiles = people_of(store, workspace_for(store, audience.workspace), now_ms=at_ms)
        make_members(store, profiles, audience, at_ms=at_ms, into="previewed")
        everybody = scratch.count("person")
        few = [profile for (profile,) in scratch.rows(SAMPLE, {"few": FEW})]
        sample = [
            cast(Document, parse_json(line)) for line in profiles.lines(few, provenance=False)
        ]
        return {
            "name": audience.name,
            "kind": audience.kind,
            "criteria": audience.criteria,
            "members": scratch.count("previewed"),
            "profiles": everybody,
            "sample": [
                {name: profile[name] for name in ("mpid", "environment", "user_identities")}
                for profile in sample
            ],
        }


def make_members(
    store: OpenStore, profiles: Profiles, audience: Audience, at_ms: int, into: str
) -> None:
    """Make the relation `into` (profile) of who would be in an audience at a time.

    Makes `person` too, which is everybody.
    """
    scratch = store.scratch
    evaluated = [AudienceToEvaluate(audience.name, audience.tree, audience.lookback)]
    read = needs(evaluated)
    awake = awake_only(profiles)
    event, happened = event_relation(audience), profiles.happened(awake)
    events = profiles.counted if event == "event" else profiles.events
    scratch.make(event, events(happened, MEMBER_EVENTS), keep=False)
    by_name = {caseless(each.name): each for each in audiences(store)}
    referred = [by_name[caseless(name)] for name in read.audiences if caseless(name) in by_name]
    clause = both("", is_in("audience", numbers(each.number for each in referred)))
    held = in_force(profiles, at_ms, clause, wanted=referred)
    scratch.make("member", reading(MEMBER, membership=held))
    recent = lively(profiles, at_ms)
    clause_of_people = both(awake, is_in("profile", recent) if recent else "")
    person_relations(profiles, read, clause_of_people, with_mpids=True)
    chosen = members(evaluated, at_ms, PeopleRelations(event=event))
    scratch.make(into, select("profile", f"({chosen})"))


def defined_audience(store: OpenStore, name: str) -> Audience:
    """Return an audience by name.

    Raises UsageError where there is none.
    """
    return audience_defined(store, name).audience


def refresh_audiences(
    path: Path, names: Sequence[str], *, now_ms: int | None = None, wait_s: float = 0
) -> list[Document]:
    """Evaluate audiences for everybody, and return them with how many entered and left.

    Without names, all are evaluated.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        named = [audience_defined(store, name).name for name in names] or [
            each.name for each in audiences(store) if store.means(each.audience.workspace)
        ]
    refreshed = refresh_store(
        path, now_ms=now_ms, wait_s=max(wait_s, 10), request=RefreshRequest(audiences=named)
    )
    with shown_after("the refresh is done", "see profilectl audiences list, once that is mended"):
        shown = [each for each in audiences_in(path, wait_s=wait_s) if each["name"] in named]
    none: Counter[str] = Counter()
    return [
        {
            **audience,
            **{
                change: refreshed.audiences.get(audience["name"], none)[change]
                for change in ("entered", "left")
            },
        }
        for audience in shown
    ]


def members_of(path: Path, name: str, *, limit: int = 0, wait_s: float = 0) -> Iterator[Document]:
    """Yield the members of an audience; the profile that was founded first comes first.

    Each has mpid, environment, since_ms and identities. Nobody who has opted out is among them,
    whenever the audience was evaluated last (barred.py).
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        audience = audience_defined(store, name)
        profiles = profiles_of(store, every=True)
        clause = both("", is_in("audience", str(audience.number)))
        held = in_force(profiles, time.time_ns() // 1_000_000, clause, wanted=[audience])
        most = {"most": limit or 2**62}
        scratch.make("in_it", reading(MEMBERS_SHOWN, membership=held), most)
        shown = Reads(identities=tuple(profiles.identities))
        clause_of_people = "where profile in (select profile from in_it)"
        person_relations(profiles, shown, clause_of_people, with_mpids=True)
        columns = ", ".join(f"i_{kind}" for kind in profiles.identities)
        rows = scratch.rows(IDENTITIES_SHOWN.format(columns=columns))
    # The store is closed by now, so a slow reader of the members keeps no writer out.
    for mpid, environment, since_ms, values in rows:
        by_type = zip(profiles.identities, values, strict=True)
        yield {
            "mpid": mpid,
            "environment": ENVIRONMENT_NAME[environment],
            "since_ms": since_ms,
            "identities": {kind: identities for kind, identities in by_type if identities},
        }


def changes_of(
    path: Path,
    name: str,
    *,
    number: int | None = None,
    since_ms: int | None = None,
    wait_s: float = 0,
) -> list[Document]:
    """Return who entered and left an audience, oldest first.

    With `number`, after that import only; with `since_ms`, from then on. Raises UsageError where
    there is no such audience or import.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        audience = audience_defined(store, name)
        if number is not None:
            import_numbered(store, number)
        rows = scratch.rows(
            reading(MOVES, named=known_mpids(store.segments())),
            {"audience": audience.number, "import": number, "since": since_ms},
        )
        return [
            {"mpid": mpid, "change": change, "at_ms": at_ms, "import": by}
            for mpid, change, at_ms, by in rows
        ]
