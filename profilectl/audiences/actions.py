"""The audiences of a store, from outside: open it, define, look, evaluate, close it again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from profilectl.audiences.barred import in_force, lively
from profilectl.audiences.identity_traces import leave_no_trace
from profilectl.audiences.membership_sql import AudienceToEvaluate as Evaluated
from profilectl.audiences.membership_sql import Relations, members, needs
from profilectl.audiences.people import (
    awake_only,
    event_relation,
    people_of,
    person_relations,
)
from profilectl.audiences.refresh import RefreshRequest, refresh_once_done, refresh_store
from profilectl.audiences.refresh_marks import evaluated_ms
from profilectl.codes import InputRefused
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.event.field import fold
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import parse_json
from profilectl.store.definitions import (
    Defined,
    audience_defined,
    audiences,
    check_meant,
    check_references,
    check_workspace,
    drop_audience,
    put_audience,
    workspace_for,
)
from profilectl.store.history import import_numbered
from profilectl.store.opening import open_store, shown_after
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import both, known_mpids
from profilectl.store.store import OpenStore

FEW = 5
MEMBER_EVENTS = ("profile", "arrival", "place", "type", "name", "at_ms", "event")


def audiences_in(path: Path, *, wait_s: float = 0) -> list[dict[str, Any]]:
    """Return the audiences, by number: criteria, kind, how many are in it, when it was last
    evaluated.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        check_workspace(store)
        wanted = [one for one in audiences(store) if store.means(one.audience.workspace)]
        sizes = sizes_of(profiles_of(store, every=True), wanted)
        return [_described(store, one, sizes.get(one.number, 0)) for one in wanted]


def sizes_of(profiles: Profiles, wanted: Sequence[Defined]) -> dict[int, int]:
    """Return how many are in some audiences, by number."""
    where = f"where audience in ({', '.join(str(one.number) for one in wanted) or 'null'})"
    held = in_force(profiles, time.time_ns() // 1_000_000, where, wanted=wanted)
    return dict(
        profiles.store.scratch.rows(f"select audience, count(*) from ({held}) group by audience")
    )


def _described(store: OpenStore, one: Defined, size: int) -> dict[str, Any]:
    state = "ready" if one.filled_ms is not None else "draft"
    lookback = one.audience.lookback.count if one.audience.lookback else None
    return {
        "audience_id": one.number,
        "name": one.name,
        "kind": one.audience.kind,
        "state": state,
        "workspace": one.audience.workspace,
        "criteria": one.audience.criteria,
        "lookback_days": lookback,
        "members": size,
        "refreshed_ms": evaluated_ms(store.scratch, one),
    }


def audience_named(path: Path, name: str, *, wait_s: float = 0) -> dict[str, Any]:
    """Return one audience. Raises UsageError where there is none of that name."""
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        one = audience_defined(store, name)
        return _described(
            store, one, sizes_of(profiles_of(store, every=True), [one]).get(one.number, 0)
        )


def add_audience(
    path: Path, audience: Audience, *, replaces: bool = False, wait_s: float = 0
) -> dict[str, Any]:
    """Define an audience; a real-time one is evaluated at once.

    Raises InputRefused for a name that is taken, UsageError.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        known = next((one for one in audiences(store) if one.name == audience.name), None)
        if known and not replaces:
            raise InputRefused(
                f"there is an audience {audience.name} already", "--replace gives it other criteria"
            )
        if known:
            check_meant(store, f"audience {audience.name}", known.audience.workspace)
        with store.transaction():
            put_audience(
                store,
                replace(audience, workspace=workspace_for(store, audience.workspace)),
                time.time_ns() // 1_000_000,
            )
    refresh_once_done(path, f"the audience {audience.name} is defined", wait_s=wait_s)
    return audience_named(path, audience.name, wait_s=wait_s)


def remove_audience(path: Path, name: str, *, wait_s: float = 0) -> None:
    """Forget an audience and its memberships.

    Raises UsageError where there is none, and while another refers to it.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        audience_defined(store, name)
        with store.transaction():
            drop_audience(store, name)
        leave_no_trace(store)


def preview_audience(
    path: Path, audience: Audience, *, now_ms: int | None = None, wait_s: float = 0
) -> dict[str, Any]:
    """Return how many would be in an audience, and some of them, without keeping anything."""
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        known = audiences(store)
        check_references([*(one.audience for one in known if one.name != audience.name), audience])
        profiles = people_of(store, workspace_for(store, audience.workspace), now_ms=at_ms)
        make_members(store, profiles, audience, at_ms, "previewed")
        everybody = scratch.count("person")
        found = [
            profile
            for (profile,) in scratch.rows(
                f"select profile from previewed order by profile limit {FEW}"
            )
        ]
        sample = [
            cast(dict[str, Any], parse_json(line))
            for line in profiles.lines(found, provenance=False)
        ]
        return {
            "name": audience.name,
            "kind": audience.kind,
            "criteria": audience.criteria,
            "members": scratch.count("previewed"),
            "profiles": everybody,
            "sample": [
                {name: one[name] for name in ("mpid", "environment", "user_identities")}
                for one in sample
            ],
        }


def make_members(
    store: OpenStore, profiles: Profiles, audience: Audience, at_ms: int, into: str
) -> None:
    """Make the relation `into` (profile) of who would be in an audience at a time; `person` is
    everybody.
    """
    scratch = store.scratch
    asked = [Evaluated(audience.name, audience.tree, audience.lookback)]
    wanted = needs(asked)
    awake = awake_only(profiles)
    event, happened = event_relation(audience), profiles.happened(awake)
    events = (
        profiles.counted(happened, MEMBER_EVENTS)
        if event == "event"
        else profiles.events(happened, MEMBER_EVENTS)
    )
    scratch.make(event, events, keep=False)
    known = {fold(one.name): one for one in audiences(store)}
    referred = [known[fold(name)] for name in wanted.audiences if fold(name) in known]
    numbers = ", ".join(str(one.number) for one in referred) or "null"
    held = in_force(profiles, at_ms, f"where audience in ({numbers})", wanted=referred)
    scratch.make(
        "member",
        f"select held.profile, audience.name as audience from ({held}) as held join store.audience on audience.number = held.audience",
    )
    recent = lively(profiles, at_ms)
    person_relations(
        profiles,
        wanted.attributes,
        both(awake, f"profile in ({recent})" if recent else ""),
        rest=wanted.rest,
        devices=bool(wanted.device),
    )
    scratch.make(into, f"select profile from ({members(asked, at_ms, Relations(event=event))})")


def defined_audience(store: OpenStore, name: str) -> Audience:
    """Return an audience by name. Raises UsageError where there is none."""
    return audience_defined(store, name).audience


def refresh_audiences(
    path: Path, names: Sequence[str], *, now_ms: int | None = None, wait_s: float = 0
) -> list[dict[str, Any]]:
    """Evaluate audiences (all, where no names are given) for everybody, and return them with who
    entered and left.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        wanted = [audience_defined(store, name).name for name in names] or [
            one.name for one in audiences(store) if store.means(one.audience.workspace)
        ]
    done = refresh_store(
        path, now_ms=now_ms, wait_s=max(wait_s, 10), asked=RefreshRequest(audiences=wanted)
    )
    with shown_after("the refresh is done", "see profilectl audiences list, once that is mended"):
        found = [one for one in audiences_in(path, wait_s=wait_s) if one["name"] in wanted]
    none: Counter[str] = Counter()
    return [
        {
            **one,
            **{
                change: done.audiences.get(one["name"], none)[change]
                for change in ("entered", "left")
            },
        }
        for one in found
    ]


def members_of(
    path: Path, name: str, *, limit: int = 0, wait_s: float = 0
) -> Iterator[dict[str, Any]]:
    """Yield the members of an audience, first founded first: mpid, environment, since_ms,
    identities. Nobody who has opted out is among them, whenever the audience was evaluated last
    (barred.py).
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        one = audience_defined(store, name)
        profiles = profiles_of(store, every=True)
        held = in_force(
            profiles, time.time_ns() // 1_000_000, f"where audience = {one.number}", wanted=[one]
        )
        scratch.make(
            "in_it",
            f"select profile, since_ms from ({held}) order by profile limit {limit or 2**62}",
        )
        person_relations(profiles, [], "where profile in (select profile from in_it)", rest=False)
        listed = ", ".join(f"i_{kind}" for kind in profiles.identities)
        rows = scratch.rows(
            f"select mpid::varchar, environment, since_ms, [{listed}]::varchar[][] from in_it join person on person.profile = in_it.profile order by in_it.profile"
        )
    for mpid, environment, since_ms, values in rows:
        identities = {
            kind: one for kind, one in zip(profiles.identities, values, strict=True) if one
        }
        yield {
            "mpid": mpid,
            "environment": ENVIRONMENT_NAME[environment],
            "since_ms": since_ms,
            "identities": identities,
        }


def changes_of(
    path: Path,
    name: str,
    *,
    number: int | None = None,
    since_ms: int | None = None,
    wait_s: float = 0,
) -> list[dict[str, Any]]:
    """Return who entered and left an audience, oldest first.

    number: after that import only; since_ms: from then on.

    Raises UsageError where there is no such audience or import.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        one = audience_defined(store, name)
        tests = ["one.audience = $audience"]
        bound: dict[str, Any] = {"audience": one.number}
        if number is not None:
            import_numbered(store, number)
            tests.append("one.import = $import")
            bound["import"] = number
        if since_ms is not None:
            tests.append("one.at_ms >= $since")
            bound["since"] = since_ms
        rows = scratch.rows(
            f"select coalesce(named.mpid, one.mpid)::varchar, one.change, one.at_ms, one.import from (select *, rowid as place from store.membership_change) as one"
            f" left join ({known_mpids(store.segments())}) as named on named.profile = one.profile where {' and '.join(tests)} order by one.place",
            bound,
        )
        return [
            {"mpid": mpid, "change": change, "at_ms": at_ms, "import": by}
            for mpid, change, at_ms, by in rows
        ]
