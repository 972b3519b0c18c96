"""Decide a stage of a refresh: who has which calculated value, who enters or leaves an audience.

Nothing is written into the store here: refresh_writing does that. The relations made here:

    touched     profile                     whose values may have changed
    event       as segments.known_events    events that count (Profiles.counted)
    event_kept  likewise                    all events, for standard audiences
    fresh       profile, name, held         calculated values of the touched profiles
    fresh_all   profile, name, held         those of everybody, of definitions that are new
    person      as membership_sql.PeopleRelations
    rest        as membership_sql.PeopleRelations
    member      profile, audience           memberships before; after each wave as it leaves them
    lively      profile                     those within their lifetime, where it has an end
    bar         profile, audience, sure     who may not be in which audience (barred.barred)
    moved       audience, profile, change   who entered and left
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from profilectl.audiences.barred import barred, lively
from profilectl.audiences.how_far import weigh_refresh
from profilectl.audiences.people import awake_only, event_relation, person_relations
from profilectl.audiences.refresh_plan import RefreshPlan, refers
from profilectl.audiences.sql.calculated_sql import compute
from profilectl.audiences.sql.membership_sql import (
    AudienceToEvaluate,
    PeopleRelations,
    changes,
    needs,
)
from profilectl.audiences.sql.touched_sql import arrived_since, touched
from profilectl.profiles.read_model import Profiles
from profilectl.store.definitions import Calculation, Defined
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both, of_each
from profilectl.store.statements import among, in_any, is_in, reading, select, texts, union_all
from profilectl.store.store import OpenStore

FEW_PEOPLE = 20_000
"""The most touched profiles for which one core is enough.

With two, a refresh of ten thousand people with 230,000 events takes as long, and a tenth more
processor time.
"""
VALUE_COLUMNS = [("profile", "BIGINT"), ("name", "VARCHAR"), ("held", "VARCHAR")]

NOBODY_TOUCHED = "select 0::bigint as profile where false"

# Who is in which audience, by its name: everybody, or only the touched, if nobody else can move.
MEMBER = """
select membership.profile, audience.name as audience
from store.membership
join store.audience on audience.number = membership.audience
"""

LIVELY = "select distinct profile from recent"

# Members who may not stay leave, and are touched: what refers to the audience is looked at again.
BARRED_MEMBERS = """
select distinct audience, profile, 'left' as change
from member
where (profile, audience) in (select (profile, audience) from bar where sure)
"""
DROP_MOVED = """
delete from member
where (profile, audience) in (select (profile, audience) from moved)
"""
TOUCH_MOVED = """
insert into touched
select distinct profile
from moved
where profile not in (select profile from touched)
"""

# Members of audiences that a new statement of consent speaks against.
IN_DOUBT = """
select distinct audience, profile
from member
where (profile, audience) in (select (profile, audience) from bar where not sure)
  and profile in (select profile from spoken)
  and audience in (select unnest($names::varchar[]))
"""
DOUBTED_AUDIENCES = "select distinct audience from in_doubt order by audience"
DOUBTED_PEOPLE = "select distinct profile from in_doubt"
LEFT_IN_DOUBT = (
    "change = 'left' and (audience, profile) in (select (audience, profile) from in_doubt)"
)
STALE_PEOPLE = "select distinct profile from store.stale"

# All calculated values as they are after this refresh.
VALUES = """
select profile, name, held from unchanged
union all
select profile, name, held from fresh
union all
select profile, name, held from fresh_all
"""

TOUCHED_VALUES = "select profile, name, held from fresh"

# A wave's changes are noted, and made in `member`, which the next wave reads.
NOTE_CHANGES = "insert into moved select audience, profile, change from wave"
DROP_LEFT = """
delete from member
where (profile, audience) in (select (profile, audience) from wave where change = 'left')
"""
ADD_ENTERED = "insert into member select profile, audience from wave where change = 'entered'"


def decide(store: OpenStore, plan: RefreshPlan) -> None:
    """Make the relations that refresh_writing writes."""
    scratch, profiles = store.scratch, plan.profiles
    # faster; what must lie in order is sorted where it is written
    scratch.forget_order()
    happened = profiles.happened(awake_only(profiles))
    scratch.make("event", profiles.counted(happened), keep=False)
    scratch.make("event_kept", profiles.events(happened), keep=False)
    # a scan of all events, so it is left out where everybody is looked at
    scratch.make("touched", NOBODY_TOUCHED if plan.all_for_everybody else touched(store, plan))
    use_cores_for(scratch, plan)
    weigh_refresh(store, plan)
    recent = lively(profiles, plan.now_ms)
    looks_at_touched = not (plan.for_everybody or recent or _bars_anew(plan))
    scratch.make("member", MEMBER + (both("", among("touched")) if looks_at_touched else ""))
    _bar(store, plan, recent)
    members_of = "touched" if looks_at_touched else None
    evaluator = Evaluator(
        scratch, _computed(scratch, plan), now_ms=plan.now_ms, members_of=members_of
    )
    for number, wave in enumerate(plan.waves()):
        # the touched first: their new memberships count for audiences that refer to these
        evaluator.evaluate([each for each in wave if each not in plan.new_audiences], "touched")
        evaluator.evaluate([each for each in wave if each in plan.new_audiences], None)
        standard = [each for each in plan.standard if refers(each) is bool(number)]
        _let_doubted_leave(store, plan, evaluator, wave=number, standard=standard)
        if plan.lost:
            _let_losers_leave(scratch, evaluator, standard, relation=f"lost_{number}")
    scratch.keep_order()


def use_cores_for(scratch: Scratch, plan: RefreshPlan) -> None:
    """Use one core where few people are looked at, until the store is opened again."""
    if not plan.for_everybody and scratch.count("touched") <= FEW_PEOPLE:
        scratch.use_cores_for(0)


def _computed(scratch: Scratch, plan: RefreshPlan) -> Profiles:
    """Compute the calculated attributes; return the read model that has their new values."""
    profiles = replace(plan.profiles, calculated=[each.name for each in plan.active])
    if not plan.stage.plain:
        return profiles
    kept_up = [each for each in plan.calculations if each not in plan.new_calculations]
    _compute(scratch, kept_up, plan.now_ms, touched="touched", into="fresh")
    _compute(scratch, plan.new_calculations, plan.now_ms, touched=None, into="fresh_all")
    if not plan.for_everybody:
        # all who are looked at are touched: stored values are those of others
        return replace(profiles, calculated_values=TOUCHED_VALUES)
    names = texts([each.name for each in kept_up] or [""])
    unchanged = select(
        "profile, name, held",
        "store.calculated",
        both(both("", is_in("name", names)), f"not ({among('touched')})"),
    )
    return replace(profiles, calculated_values=reading(VALUES, unchanged=unchanged))


def _compute(
    scratch: Scratch,
    definitions: Sequence[Calculation],
    now_ms: int,
    *,
    touched: str | None,
    into: str,
) -> None:
    if not definitions:
        scratch.load(into, VALUE_COLUMNS, [])
        return
    compute(scratch, [each.definition for each in definitions], now_ms, profiles=touched, into=into)


def _bars_anew(plan: RefreshPlan) -> bool:
    """Return whether all members are held against criteria that have changed since."""
    return plan.marks.barring_ms < plan.changed_ms


def _bar(store: OpenStore, plan: RefreshPlan, recent: str) -> None:
    """Let those leave who may not be in an audience (barred.py).

    Makes `moved`, `bar` and `lively`; profiles that move are touched. Standard audiences, which are
    evaluated only when somebody asks, are looked at too. Members are looked at if their values may
    have changed or their lifetime has ended. All members are, if criteria have changed since
    members were last held against them, which older versions never did. `recent` is the SELECT of
    the profiles within their lifetime; "": lifetimes do not end.
    """
    scratch = store.scratch
    defined = [*plan.audiences, *plan.standard]
    scratch.drop("lively")
    if recent:
        scratch.make("lively", reading(LIVELY, recent=recent))
    clause = both("", is_in("audience", texts(audience.name for audience in defined)))
    if not plan.all_for_everybody and not _bars_anew(plan):
        ended = [f"not ({among('lively')})"] if recent else []
        clause = both(clause, f"({in_any([among('touched'), *ended])})")
    people = f"({select('profile', 'member', clause)})"
    scratch.make("bar", barred(plan.profiles, defined, people, now_ms=plan.now_ms))
    scratch.make("moved", BARRED_MEMBERS)
    scratch.run(DROP_MOVED)
    scratch.run(TOUCH_MOVED)


def _let_doubted_leave(
    store: OpenStore,
    plan: RefreshPlan,
    evaluator: Evaluator,
    *,
    wave: int,
    standard: Sequence[Defined],
) -> None:
    """Evaluate standard audiences for members whose new statement of consent speaks against them.

    They leave if the criteria as a whole do not hold any more.
    """
    by_name = {audience.name: audience for audience in standard}
    last_import = plan.marks.last_import
    arrived = f"({arrived_since(store, last_import)})"
    spoken = union_all(
        of_each(
            [each for each in plan.profiles.segments if each.last_import > last_import],
            "rest",
            columns="profile",
            clause=both(both("", arrived), "contains(rest, '\"consent_state\":')"),
        )
    )
    if not by_name or not spoken:
        return
    scratch = store.scratch
    scratch.make("in_doubt", reading(IN_DOUBT, spoken=spoken), {"names": list(by_name)})
    doubted = [by_name[name] for (name,) in scratch.rows(DOUBTED_AUDIENCES)]
    if doubted:
        relation = f"doubted_{wave}"
        scratch.make(relation, DOUBTED_PEOPLE)
        evaluator.evaluate_over("event_kept", doubted, relation, only=LEFT_IN_DOUBT)


def _let_losers_leave(
    scratch: Scratch, evaluator: Evaluator, standard: Sequence[Defined], *, relation: str
) -> None:
    """Evaluate standard audiences for members who lost data of an erased person.

    A membership may have rested on such data. Each audience is evaluated as of the time at which it
    was evaluated before, so that nobody leaves because time has passed.
    """
    evaluated = [audience for audience in standard if audience.filled_ms is not None]
    if evaluated:
        scratch.make(relation, STALE_PEOPLE)
    for audience in evaluated:
        evaluator.evaluate_over(
            "event_kept", [audience], relation, only="change = 'left'", at_ms=audience.filled_ms
        )


@dataclass(slots=True)
class Evaluator:
    """Evaluates audiences over the relations, and remembers for whom these were made."""

    scratch: Scratch
    """Where the relations are."""
    profiles: Profiles
    """The people, with their new calculated values."""
    now_ms: int
    """The time that audiences are evaluated as of."""
    members_of: str | None
    """The relation of the profiles whose memberships are in `member`; None: those of everybody."""
    made_for: set[tuple[object, ...]] = field(default_factory=set)
    """The arguments that `person` and `rest`, as they are now, serve: touched, rest, devices."""

    def evaluate(self, audiences: Sequence[Defined], touched: str | None) -> None:
        """Evaluate audiences for the profiles of a relation; None: for everybody."""
        for event in dict.fromkeys(event_relation(each.audience) for each in audiences):
            over_it = [each for each in audiences if event_relation(each.audience) == event]
            self.evaluate_over(event, over_it, touched)

    def evaluate_over(
        self,
        event: str,
        audiences: Sequence[Defined],
        touched: str | None,
        *,
        only: str = "true",
        at_ms: int | None = None,
    ) -> None:
        """Evaluate audiences over a relation of events.

        `only` is the condition on a change to be made; `at_ms` is the time, if it is not now.
        """
        evaluated = [
            AudienceToEvaluate(each.name, each.audience.tree, each.audience.lookback)
            for each in audiences
        ]
        self._make_relations(evaluated, touched)
        of_touched = {"person", "rest"}  # which _make_relations made
        if touched == self.members_of:
            of_touched.add("member")
        relations = PeopleRelations(event=event, touched=touched, of_touched=of_touched)
        changed = changes(evaluated, self.now_ms if at_ms is None else at_ms, relations)
        self.scratch.make("wave", select("*", f"({changed})", both("", only)))
        self.scratch.run(NOTE_CHANGES)
        self.scratch.run(DROP_LEFT)
        self.scratch.run(ADD_ENTERED)

    def _make_relations(self, evaluated: Sequence[AudienceToEvaluate], touched: str | None) -> None:
        """Make `person` and `rest`, unless the wave before was about the same people."""
        read = needs(evaluated)
        devices = bool(read.device)
        # these have a column each, which the relation made before may lack
        own_columns = read.attributes or read.identities
        if not own_columns and (touched, read.rest, devices) in self.made_for:
            return
        tests = [among(touched)] if touched else []
        if self.scratch.has("dormant"):
            tests.append(f"not ({among('dormant')})")
        if self.scratch.has("lively"):
            tests.append(among("lively"))
        clause = ""
        for test in tests:
            clause = both(clause, test)
        person_relations(self.profiles, read, clause)
        # what has more in it serves those that ask for less
        self.made_for = {
            (touched, fields, device)
            for fields in (False, read.rest)
            for device in (False, devices)
        }
