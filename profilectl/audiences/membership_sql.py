"""Who is in which audience, for all profiles at once: membership.py as one SELECT.

1. From the events, once for all audiences: how many of each kind that criteria name every profile has (counted0, ...), and
   who has opted out.
2. From the other fields of batches, once: the consent in force, the last attribution, the last place (said); and the last
   value of each field of each device, tested (device).
3. Each audience joins what its own criteria read to the profiles, and is one test of such a row.

What no criterion reads is not made. Relations and their columns are those of Relations. Times are
milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from profilectl.audiences.batch_fields_sql import (
    attribution_text,
    consent_holds,
    devices,
    near_holds,
    said,
)
from profilectl.audiences.event_counts_sql import alike, counted, opted_out
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import (
    All,
    AnyOf,
    Comparison,
    Consent,
    Criterion,
    EventCount,
    InAudience,
    Not,
    Reads,
)
from profilectl.rules.event.field import fold
from profilectl.rules.sql.identities import ENVIRONMENT_CODE
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.sql.values import compared, passes, passes_held, time_passes
from profilectl.rules.text.moments import Days


@dataclass(frozen=True, slots=True)
class AudienceToEvaluate:
    """An audience to evaluate.

    lookback: of a real-time one, how far back events count; None: as far as they are kept.
    """

    name: str
    tree: Criterion
    lookback: Days | None = None


@dataclass(frozen=True, slots=True)
class Relations:
    """The relations to read, by name. Columns (each profile is a row of person once):

    person: profile, environment UTINYINT (0 production, 1 development), first_seen_ms, last_seen_ms, i_<type> VARCHAR[] of
        each type and v<n> VARCHAR (held, values.py) of the n-th key of needs(audiences)
    event: profile, arrival, place, type, name, at_ms, event (compact JSON of the whole event); with every opt_out event,
        however old
    rest: profile, arrival, speaks_of_consent BOOLEAN, rest (compact JSON of the batch's other fields)
    member: profile, audience VARCHAR (its name): memberships as they are
    touched: profile; only those are evaluated. None: everybody
    """

    person: str = "person"
    event: str = "event"
    rest: str = "rest"
    member: str = "member"
    touched: str | None = None

    def of(self, name: str) -> str:
        """Return the SQL of a relation, of the profiles that are evaluated."""
        relation = quote_identifier(name)
        if self.touched is None:
            return relation
        return f"(from {relation} where profile in (select profile from {quote_identifier(self.touched)}))"


def needs(audiences: Iterable[AudienceToEvaluate]) -> Reads:
    """Say what the relations must hold for some audiences: v0, v1, ... are its attributes, in that
    order.
    """
    return criteria.reads(*(one.tree for one in audiences))


def members(
    audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: Relations | None = None
) -> str:
    """Return the SELECT of who is in which audience: audience (its name), profile.

    An audience that refers to others reads their memberships from the member relation: evaluate
    those first (criteria.order_of_evaluation). An opted-out profile is in none.
    """
    return _MembershipWriter(audiences, now_ms, relations or Relations()).members()


def changes(
    audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: Relations | None = None
) -> str:
    """Return the SELECT of what changed against the member relation: audience, profile, change
    (entered or left).

    Only of these audiences, and of the touched profiles where there are such; a profile that is
    gone has left.
    """
    given = relations or Relations()
    names = ", ".join(quote_text(one.name) for one in audiences)
    return (
        f"with now_in as ({members(audiences, now_ms, given)}),"
        f" before_in as (select distinct audience, profile from {given.of(given.member)} where audience in ({names}))"
        " select coalesce(now_in.audience, before_in.audience) as audience, coalesce(now_in.profile, before_in.profile) as profile,"
        " case when before_in.profile is null then 'entered' else 'left' end as change"
        " from now_in full join before_in on now_in.profile = before_in.profile and now_in.audience = before_in.audience"
        " where now_in.profile is null or before_in.profile is null"
    )


def withdrawn(
    audiences: Sequence[AudienceToEvaluate], rest: str, people: str, barred: str | None = None
) -> str:
    """Return the SELECT of whom consent speaks against: audience (its name), profile, sure
    (membership.settled says no) or not (it says nothing, and membership.doubtful does).

    rest: the relation of Relations; people: the SQL of the profiles that are looked at; barred: the
    relation of these same columns of the audiences that the criteria refer to.
    """
    reads = replace(needs(audiences), attribution=(), place=False)
    steps = {"people": f"select distinct profile from {people}"}
    if reads.consents:
        steps["said"] = said(
            reads, f"(from {quote_identifier(rest)} where profile in (select profile from people))"
        )
    if reads.audiences and barred:
        matches = [f"lower(audience) = {quote_text(fold(name))}" for name in reads.audiences]
        flags = ", ".join(
            f"bool_or({one} and sure) as s{place}, bool_or({one}) as d{place}"
            for place, one in enumerate(matches)
        )
        steps["nested"] = (
            f"select profile, {flags} from {quote_identifier(barred)} group by profile"
        )
    joins = "".join(
        f" left join {name} on {name}.profile = people.profile"
        for name in steps
        if name != "people"
    )
    told = ", ".join(f"{name} as materialized ({select})" for name, select in steps.items())
    selects = [
        f"select {quote_text(one.name)} as audience, profile, settled is not null as sure from (select people.profile, {_settled(one.tree, reads, 'nested' in steps)}"
        f" as settled, {_doubtful(one.tree, reads, 'nested' in steps)} as doubtful from people{joins}) where settled is false or (settled is null and doubtful)"
        for one in audiences
    ]
    return f"with {told} {' union all '.join(selects)}"


def _settled(tree: Criterion, reads: Reads, nested: bool) -> str:
    """Return the SQL of membership.settled over a row of what was said; null where the matter is
    not settled.
    """
    match tree:
        case All() | AnyOf():
            word = " and " if isinstance(tree, All) else " or "
            return "(" + word.join(_settled(one, reads, nested) for one in tree.parts) + ")"
        case Not():
            return f"(not {_settled(tree.part, reads, nested)})"
        case Consent():
            return consent_holds(tree, reads)
        case InAudience() if nested:
            return f"(case when nested.s{reads.audiences.index(tree.name)} then false end)"
    return "null::boolean"


def _doubtful(tree: Criterion, reads: Reads, nested: bool, wanted: bool = True) -> str:
    """Return the SQL of membership.doubtful over a row of what was said; never null."""
    match tree:
        case All() | AnyOf():
            return (
                "(" + " or ".join(_doubtful(one, reads, nested, wanted) for one in tree.parts) + ")"
            )
        case Not():
            return _doubtful(tree.part, reads, nested, not wanted)
        case Consent():
            return f"(not {consent_holds(tree, reads)})" if wanted else consent_holds(tree, reads)
        case InAudience() if nested and wanted:
            return f"coalesce(nested.d{reads.audiences.index(tree.name)}, false)"
    return "false"


class _MembershipWriter:
    """Writes the SELECT. Each thing that criteria read has a column of its own, by its place in
    Reads.
    """

    def __init__(
        self, audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: Relations
    ) -> None:
        self.audiences = audiences
        self.now_ms = now_ms
        self.relations = relations
        self.reads = needs(audiences)
        found = [
            (one, audience.lookback)
            for audience in audiences
            for one in criteria.leaves(audience.tree)
        ]
        # Whatever is asked of their number, events of the same kind are counted once.
        kinds = list(
            dict.fromkeys(
                (_kind(one), lookback) for one, lookback in found if isinstance(one, EventCount)
            )
        )
        self.groups = alike(kinds)
        asked = {
            (_kind(one), lookback)
            for one, lookback in found
            if isinstance(one, EventCount) and (one.operator, one.counts) != ("at_least", (1,))
        }
        # Where all that is asked is whether there is one, nothing is counted.
        self.once = {some[0] for some in self.groups if len(some) == 1} - asked
        self.column = {
            kind: (f"counted{group}", f"e{place}")
            for group, some in enumerate(self.groups)
            for place, kind in enumerate(some)
        }
        self.devices = list(
            dict.fromkeys(
                one
                for one, _ in found
                if isinstance(one, Comparison) and one.field.kind == "device"
            )
        )

    def members(self) -> str:
        of = self.relations.of
        steps = {"opted": opted_out(of(self.relations.event))}
        for group, kinds in enumerate(self.groups):
            steps[f"counted{group}"] = counted(
                kinds, of(self.relations.event), self.now_ms, once=kinds[0] in self.once
            )
        if self.reads.consents or self.reads.attribution or self.reads.place:
            steps["said"] = said(self.reads, of(self.relations.rest))
        if self.devices:
            steps["device"] = devices(self.devices, of(self.relations.rest), self.now_ms)
        if self.reads.audiences:
            steps["joined"] = self._joined()
        told = ", ".join(f"{name} as materialized ({select})" for name, select in steps.items())
        return f"with {told} {' union all '.join(self._one(audience, list(steps)[1:]) for audience in self.audiences)}"

    def _one(self, audience: AudienceToEvaluate, steps: Sequence[str]) -> str:
        """Return the SELECT of one audience: it joins what its own criteria read, and the cheap
        ones narrow it first.
        """
        test = self._sql(audience.tree, audience.lookback)
        wanted = {self._step(one, audience.lookback) for one in criteria.leaves(audience.tree)}
        joins = "".join(
            f" left join {name} on {name}.profile = person.profile"
            for name in steps
            if name in wanted
        )
        return (
            f"select {quote_text(audience.name)} as audience, person.profile from {self.relations.of(self.relations.person)} as person"
            f" anti join opted on opted.profile = person.profile{joins} where {test}"
        )

    def _step(self, leaf: Criterion, lookback: Days | None) -> str:
        """Return the step that makes what a criterion reads beside the person, as a row to join;
        "": none.
        """
        match leaf:
            case EventCount():
                return (
                    ""
                    if (_kind(leaf), lookback) in self.once
                    else self.column[_kind(leaf), lookback][0]
                )
            case InAudience():
                return "joined"
            case Comparison():
                return {"device": "device", "attribution": "said"}.get(leaf.field.kind, "")
        return "said"

    def _joined(self) -> str:
        names = ", ".join(
            f"bool_or(lower(audience) = {quote_text(fold(name))}) as m{place}"
            for place, name in enumerate(self.reads.audiences)
        )
        return f"select profile, {names} from {self.relations.of(self.relations.member)} group by profile"

    def _sql(self, tree: Criterion, lookback: Days | None) -> str:
        """Return the SQL of a criterion over the joined row; never null."""
        match tree:
            case All() | AnyOf():
                word = " and " if isinstance(tree, All) else " or "
                return "(" + word.join(self._sql(one, lookback) for one in tree.parts) + ")"
            case Not():
                return f"(not {self._sql(tree.part, lookback)})"
            case Comparison():
                return self._test(tree)
            case EventCount():
                step, column = self.column[_kind(tree), lookback]
                if (_kind(tree), lookback) in self.once:
                    return f"(person.profile in (select profile from {step}))"
                count = f"coalesce({step}.{column}, 0)"
                return compared(
                    [count] * len(tree.counts), tree.operator, list(map(str, tree.counts))
                )
            case Consent():
                return consent_holds(tree, self.reads)
            case InAudience():
                return f"coalesce(joined.m{self.reads.audiences.index(tree.name)}, false)"
        return near_holds(tree)

    def _test(self, tree: Comparison) -> str:
        field, operator, operands = tree.field, tree.operator, criteria.sought(tree)
        match field.kind:
            case "attribute":
                return passes_held(
                    f"person.v{self.reads.attributes.index(field.name)}",
                    operator,
                    operands,
                    self.now_ms,
                )
            case "identity":
                test = passes("one", operator, operands, self.now_ms)
                return f"coalesce(len(list_filter(person.i_{field.name}, lambda one: {test})) > 0, false)"
            case "device":
                return f"coalesce(device.d{self.devices.index(tree)}, false)"
            case "attribution":
                return passes(attribution_text(field.name), operator, operands, self.now_ms)
            case "environment":
                return f"(person.environment = {ENVIRONMENT_CODE[str(operands[0])]})"
        return time_passes(f"person.{field.kind}_ms", operator, operands, self.now_ms)


def _kind(tree: EventCount) -> EventCount:
    """Return the kind of events that are counted, whatever is asked of their number."""
    return replace(tree, operator="at_least", counts=(1,))
