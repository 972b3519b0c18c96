"""Write into the store what a stage of a refresh has decided, in one transaction."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from profilectl.audiences.evaluation import use_cores_for
from profilectl.audiences.outgoing.outbox import align
from profilectl.audiences.refresh_marks import NEWEST_IMPORT, STALE, Marks, put_marks
from profilectl.audiences.refresh_plan import RefreshPlan, referred_by, rests_on
from profilectl.files import progress
from profilectl.rules.event.field import caseless
from profilectl.store.definitions import audiences
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.statements import reading
from profilectl.store.store import OpenStore, State

COUNTED_CHANGES = """
select audience, change, count(*)
from moved
group by all
order by all
"""

# The values of touched profiles are replaced. Those of a new definition are all put, in order.
DROP_TOUCHED_VALUES = """
delete from store.calculated
where name in (select unnest($names::varchar[]))
  and profile in (select profile from touched)
"""
PUT_TOUCHED_VALUES = "insert into store.calculated select profile, name, held from fresh"
DROP_ALL_VALUES = "delete from store.calculated where name in (select unnest($names::varchar[]))"
PUT_ALL_VALUES = "insert into store.calculated select profile, name, held from fresh_all"
NOTE_COMPUTED = """
update store.calculation
set filled_ms = $now
where name in (select unnest($names::varchar[]))
"""

ENTER = """
insert into store.membership
select moved.profile, audience.number, $now
from moved
join store.audience on audience.name = moved.audience
where change = 'entered'
order by moved.profile
"""
LEAVE = """
delete from store.membership
where (profile, audience) in (
    select (moved.profile, audience.number)
    from moved
    join store.audience on audience.name = moved.audience
    where change = 'left'
)
"""
NOTE_EVALUATED = """
update store.audience
set filled_ms = $now
where name in (select unnest($names::varchar[]))
"""

# The MPIDs of those who moved. A profile that is gone has the one it had in an earlier change.
MOVED_MPID = """
select profile, mpid
from known_mpid
where profile in (select profile from moved)
"""
NOTE_MOVES = """
insert into store.membership_change
with earlier as (
    select profile, max(mpid) as mpid
    from store.membership_change
    where profile in (select profile from moved)
    group by profile
)
select audience.number, moved.profile, moved.change, $now, $import,
       coalesce(moved_mpid.mpid, earlier.mpid)
from moved
join store.audience on audience.name = moved.audience
left join moved_mpid on moved_mpid.profile = moved.profile
left join earlier on earlier.profile = moved.profile
order by audience.number, moved.profile
"""

# Stale profiles that are gone are in no audience any more.
GONE_PROFILES = """
select distinct profile
from store.stale
where profile not in (select profile from known_mpid)
"""
NOTE_GONE = """
insert into store.membership_change
select audience, profile, 'left', $now, $import,
       (select max(mpid)
        from store.membership_change as earlier
        where earlier.profile = membership.profile)
from store.membership
where profile in (select profile from gone_profile)
order by audience, profile
"""
DROP_GONE = "delete from store.membership where profile in (select profile from gone_profile)"
FORGET_STALE = "delete from store.stale"

# The people about whom outputs may have to be told.
ALIGNED = """
select profile from touched
union
select profile from moved
union
select profile from store.stale
"""

# For the stages after this one: the people who moved, and audiences to evaluate for everybody.
PASS_ON = "insert into store.stale select distinct profile from moved"
EVALUATE_AGAIN = "update store.audience set filled_ms = null where number = $number"

REPORT = "select report from store.import where number = $number"
PUT_REPORT = "update store.import set report = $report where number = $number"


@dataclass(slots=True)
class Refreshed:
    """The outcome of a refresh."""

    profiles: int | None = 0
    """How many profiles it looked at; None: all of them."""
    audiences: dict[str, Counter[str]] = field(default_factory=dict)
    """How many entered and left each audience, by its name."""

    def moved(self) -> dict[str, dict[str, int]]:
        """Return who entered and left as the report of an import has it."""
        return {
            name: {change: counted[change] for change in ("entered", "left")}
            for name, counted in self.audiences.items()
        }

    def add(self, stage: Refreshed, *, plain: bool) -> None:
        """Add what a stage did; only plain stages count profiles."""
        for name, counted in stage.audiences.items():
            self.audiences.setdefault(name, Counter()).update(counted)
        if plain:
            unknown = self.profiles is None or stage.profiles is None
            self.profiles = None if unknown else (self.profiles or 0) + (stage.profiles or 0)


def write_stage(
    store: OpenStore, plan: RefreshPlan, number: int | None, first_seen: State, *, last: bool
) -> Refreshed:
    """Write what was decided, in one transaction.

    `number` is the import that asked for it. `first_seen` is the store at the first stage: an
    earlier stage may not know what was committed since, so that does not count as seen. With
    `last`, no stage comes after it.
    """
    progress.step("noting")
    scratch = store.scratch
    use_cores_for(scratch, plan)
    refreshed = _counted(scratch, plan)
    scratch.make("moved_mpid", reading(MOVED_MPID, known_mpid=known_mpids(plan.profiles.segments)))
    # What came in while it was decided has moved people too.
    newest = None if number is None else max(number, scratch.row(NEWEST_IMPORT)[0])
    bound = {"now": plan.now_ms, "import": newest}
    with store.transaction():
        _report(scratch, number, refreshed.moved())
        _write_values(scratch, plan)
        _write_members(scratch, plan, bound)
        _tell_outputs(store, plan)
        if plan.stage.plain and not plan.stage.referring:
            _pass_on(store, plan)
        if last:
            _let_gone_leave(scratch, plan, bound)
            # not before: each stage looks at the stale
            if store.state() == first_seen:
                scratch.run(FORGET_STALE)
        if plan.stage.ends:
            newest_seen = max((imported for imported, _ in first_seen.imports), default=0)
            marks = Marks(newest_seen, plan.now_ms, plan.changed_ms)
            put_marks(store, plan.stage.workspace, marks)
    return refreshed


def _counted(scratch: Scratch, plan: RefreshPlan) -> Refreshed:
    """Return what was decided, in figures."""
    refreshed = Refreshed(None if plan.for_everybody else scratch.count("touched"))
    for name, change, count in scratch.rows(COUNTED_CHANGES):
        refreshed.audiences.setdefault(name, Counter())[change] = count
    return refreshed


def _write_values(scratch: Scratch, plan: RefreshPlan) -> None:
    new = [each.name for each in plan.new_calculations]
    kept_up = [each.name for each in plan.calculations if each not in plan.new_calculations]
    if kept_up:
        scratch.run(DROP_TOUCHED_VALUES, {"names": kept_up})
        scratch.run(PUT_TOUCHED_VALUES)
    if new:
        scratch.run(DROP_ALL_VALUES, {"names": new})
        scratch.run(PUT_ALL_VALUES)  # which is in order
        scratch.run(NOTE_COMPUTED, {"names": new, "now": plan.now_ms})


def _write_members(scratch: Scratch, plan: RefreshPlan, bound: dict[str, int | None]) -> None:
    scratch.run(ENTER, {"now": plan.now_ms})
    scratch.run(LEAVE)
    scratch.run(NOTE_MOVES, bound)
    names = [audience.name for audience in plan.new_audiences]
    if names:
        scratch.run(NOTE_EVALUATED, {"names": names, "now": plan.now_ms})


def _let_gone_leave(scratch: Scratch, plan: RefreshPlan, bound: dict[str, int | None]) -> None:
    """Let stale profiles that are gone leave all audiences."""
    if scratch.row(STALE)[0]:
        scratch.make(
            "gone_profile", reading(GONE_PROFILES, known_mpid=known_mpids(plan.profiles.segments))
        )
        scratch.run(NOTE_GONE, bound)
        scratch.run(DROP_GONE)


def _tell_outputs(store: OpenStore, plan: RefreshPlan) -> None:
    """Put into the outbox whom outputs are to add and remove (outbox.py).

    Everybody who may have changed is looked at, moved or not: what is sent also depends on consent,
    opt-outs and attributes.
    """
    store.scratch.make("aligned", ALIGNED)
    # where everything is for everybody, `touched` is empty (evaluation.decide)
    align(store, None if plan.for_everybody else "aligned", workspace=plan.stage.workspace)


def _pass_on(store: OpenStore, plan: RefreshPlan) -> None:
    """Have later stages look at those who moved, and evaluate some audiences for everybody.

    These are the audiences that rest on an audience or a calculated attribute which this stage made
    for everybody.
    """
    store.scratch.run(PASS_ON)
    evaluated = {caseless(audience.name) for audience in plan.new_audiences}
    computed = {each.name for each in plan.new_calculations}
    for audience in audiences(store):
        referred = referred_by(audience)
        rests = evaluated & referred or (referred and rests_on(audience, computed))
        if audience.audience.kind == "real-time" and rests:
            store.scratch.run(EVALUATE_AGAIN, {"number": audience.number})


def _report(scratch: Scratch, number: int | None, moved: dict[str, dict[str, int]]) -> None:
    """Write who entered and left into the report of the import."""
    if number is None or not moved:
        return
    report = json.loads(scratch.row(REPORT, {"number": number})[0])
    report["audiences"] = report.get("audiences", {}) | moved
    text = json.dumps(report, ensure_ascii=False)
    scratch.run(PUT_REPORT, {"report": text, "number": number})
