"""The members of audiences, for all profiles at once: rules/membership.py as one SELECT.

1. The events are read once for all audiences: how many of each kind that criteria name every
   profile has (counted0, ...), and who has opted out.
2. The other fields of batches are read once: the consent in force, the last attribution, the last
   place (said); and the tests of the last value of each field of each device (device).
3. Each audience joins what its own criteria read to the profiles, and is one test of such a row.

What no criterion reads is not made. The relations and their columns are those of PeopleRelations.
Times are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from profilectl.audiences.sql.batch_fields_sql import (
    attribution_text,
    consent_holds,
    devices,
    near_holds,
    said,
)
from profilectl.audiences.sql.event_counts_sql import Kind, alike, counted, opted_out
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
from profilectl.rules.event.field import caseless
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, key
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.sql.values import compared, passes, passes_held, time_passes
from profilectl.rules.text.moments import Days
from profilectl.store.segments import both
from profilectl.store.statements import (
    among,
    is_in,
    reading_once,
    select,
    stepwise,
    texts,
    union_all,
)

# The differences between the memberships now and before. A profile that is gone has left.
CHANGES = """
select coalesce(now_in.audience, before_in.audience) as audience,
       coalesce(now_in.profile, before_in.profile) as profile,
       case when before_in.profile is null then 'entered' else 'left' end as change
from now_in
full join before_in
  on now_in.profile = before_in.profile and now_in.audience = before_in.audience
where now_in.profile is null or before_in.profile is null
"""

# A profile is in an audience if its criteria hold and it has not opted out.
CHOSEN = "select {columns} from person anti join opted on opted.profile = person.profile"

NONE_OUT = "select null::bigint as profile where false"

# The people that consent speaks against: settled says no, or it says nothing and doubtful does.
AGAINST = """
select audience, profile, settled is not null as sure
from judged
where settled is false or (settled is null and doubtful)
"""
JUDGED = "select people.profile, {columns} from people"
# One row a profile, with a flag for each audience that criteria refer to.
NESTED = "select profile, {columns} from barred_from group by profile"
JOINED = "select profile, {columns} from member group by profile"


@dataclass(frozen=True, slots=True)
class AudienceToEvaluate:
    """An audience to evaluate."""

    name: str
    """Its name."""
    tree: Criterion
    """Its criteria."""
    lookback: Days | None = None
    """How far back events count for a real-time audience; None: as far as they are kept."""


@dataclass(frozen=True, slots=True)
class PeopleRelations:
    """The relations to read, by name; each profile is one row of person."""

    person: str = "person"
    """profile, environment UTINYINT (0 production, 1 development), first_seen_ms, last_seen_ms,
    i_<type> VARCHAR[] of each type and v<n> VARCHAR (held) of the n-th key of needs(audiences)."""
    event: str = "event"
    """profile, arrival, place, type, name, at_ms, event (compact JSON of the whole event); with
    every opt-out event, however old."""
    rest: str = "rest"
    """profile, arrival, speaks_of_consent BOOLEAN, rest (compact JSON: other fields of a batch)."""
    member: str = "member"
    """profile, audience VARCHAR (its name): memberships as they are."""
    touched: str | None = None
    """profile: only those are evaluated; None: everybody."""
    with_opted_out: bool = False
    """Whether people who have opted out count too, as in a search."""
    of_touched: Collection[str] = ()
    """The relations that have no other profiles than the touched. Each choice that is not made
    again spares DuckDB's planning a join wherever the relation is read."""

    def of(self, name: str) -> str:
        """Return the SQL of a relation, of the profiles that are evaluated."""
        relation = quote_identifier(name)
        if self.touched is None or name in self.of_touched:
            return relation
        return f"({select('*', relation, both('', among(quote_identifier(self.touched))))})"


def needs(audiences: Iterable[AudienceToEvaluate]) -> Reads:
    """Return what the relations must hold for some audiences.

    v0, v1, ... are its attributes, in that order.
    """
    return criteria.reads(*(audience.tree for audience in audiences))


def members(
    audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: PeopleRelations | None = None
) -> str:
    """Return the SELECT of who is in which audience: audience (its name), profile.

    An audience that refers to others reads their memberships from the member relation: evaluate
    those first (references.order_of_evaluation). An opted-out profile is in none.
    """
    return _writer_of(audiences, now_ms, relations or PeopleRelations()).members()


def changes(
    audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: PeopleRelations | None = None
) -> str:
    """Return the SELECT of what changed against the member relation: audience, profile, change.

    The change is entered or left. Only these audiences are looked at, and only the touched profiles
    if PeopleRelations.touched names them; a profile that is gone has left.
    """
    read = relations or PeopleRelations()
    names = both("", is_in("audience", texts(audience.name for audience in audiences)))
    return stepwise(
        CHANGES,
        remembered=(),
        now_in=members(audiences, now_ms, read),
        before_in=select("distinct audience, profile", read.of(read.member), names),
    )


def withdrawn(
    audiences: Sequence[AudienceToEvaluate], rest: str, people: str, barred: str | None = None
) -> str:
    """Return the SELECT of the people that consent speaks against: audience, profile, sure.

    It is sure if membership.settled says no, and not sure if that says nothing and
    membership.doubtful does. `rest` is the name of PeopleRelations.rest; `people` is the SQL of the
    profiles that are looked at; `barred` is a relation of the same columns, of the audiences that
    the criteria refer to.
    """
    # of the other fields only consent is read here
    reads = replace(needs(audiences), attribution=(), place=False)
    steps = {"people": select("distinct profile", people)}
    if reads.consents:
        among_people = select("*", quote_identifier(rest), both("", among("people")))
        steps["said"] = said(reads, f"({among_people})")
    if reads.audiences and barred:
        steps["barred_from"] = select("*", quote_identifier(barred))
        steps["nested"] = NESTED.format(columns=", ".join(_flags(reads)))
    joins = [_join(name, "people") for name in ("said", "nested") if name in steps]
    parts = []
    for audience in audiences:
        judgement = _Judgement(reads, nested="nested" in steps)
        columns = [
            f"{quote_text(audience.name)} as audience",
            f"{judgement.settled(audience.tree)} as settled",
            f"{judgement.doubtful(audience.tree)} as doubtful",
        ]
        judged = " ".join([JUDGED.format(columns=", ".join(columns)), *joins])
        parts.append(f"({stepwise(AGAINST, remembered=(), judged=judged)})")
    return reading_once(union_all(parts), **steps)


def _flags(reads: Reads) -> list[str]:
    """Return the columns that say from which audiences a profile is barred, and if that is sure."""
    flags = []
    for place, name in enumerate(reads.audiences):
        is_it = f"lower(audience) = {quote_text(caseless(name))}"
        flags += [f"bool_or({is_it} and sure) as s{place}", f"bool_or({is_it}) as d{place}"]
    return flags


def _join(step: str, rows: str) -> str:
    """Return the clause that joins a step to rows by their profile."""
    return f"left join {step} on {step}.profile = {rows}.profile"


@dataclass(frozen=True, slots=True)
class _Judgement:
    """Writes the SQL of what consent alone says of criteria."""

    reads: Reads
    """What the criteria read, in the order of the columns of `said`."""
    nested: bool
    """Whether `nested` is joined: who is barred from audiences that the criteria refer to."""

    def settled(self, tree: Criterion) -> str:
        """Return the SQL of membership.settled; null where the matter is not settled."""
        # SQL decides and, or and not with null just as membership.settled does with None
        match tree:
            case All() | AnyOf():
                word = " and " if isinstance(tree, All) else " or "
                return "(" + word.join(map(self.settled, tree.parts)) + ")"
            case Not():
                return f"(not {self.settled(tree.part)})"
            case Consent():
                return consent_holds(tree, self.reads)
            case InAudience() if self.nested:
                place = self.reads.audiences.index(tree.name)
                return f"(case when nested.s{place} then false end)"
        return "null::boolean"

    def doubtful(self, tree: Criterion, to_hold: bool = True) -> str:
        """Return the SQL of membership.doubtful; never null.

        `to_hold` is whether the criteria are to hold.
        """
        match tree:
            case All() | AnyOf():
                parts = (self.doubtful(part, to_hold) for part in tree.parts)
                return "(" + " or ".join(parts) + ")"
            case Not():
                return self.doubtful(tree.part, not to_hold)
            case Consent():
                holds = consent_holds(tree, self.reads)
                return f"(not {holds})" if to_hold else holds
            case InAudience() if self.nested and to_hold:
                return f"coalesce(nested.d{self.reads.audiences.index(tree.name)}, false)"
        return "false"


@dataclass(frozen=True, slots=True)
class _MembershipWriter:
    """Writes the SELECT of who is in which audience.

    Each thing that criteria read has a column of its own, by its place in Reads.
    """

    audiences: Sequence[AudienceToEvaluate]
    """The audiences to evaluate."""
    now_ms: int
    """The time they are evaluated as of."""
    relations: PeopleRelations
    """The relations to read."""
    reads: Reads
    """What the criteria of all of them read."""
    groups: list[list[Kind]]
    """The kinds of events that are counted; each group shares a scan."""
    once: set[Kind]
    """The kinds of which criteria only ask whether there is an event: these are not counted."""
    devices: list[Comparison]
    """The tests of devices, in the order of the columns of the step device."""

    def members(self) -> str:
        """Return the SELECT of audience, profile."""
        of = self.relations.of
        opted = NONE_OUT if self.relations.with_opted_out else opted_out(of(self.relations.event))
        steps = {"opted": opted}
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
        # all steps but the first, `opted`, which CHOSEN joins
        parts = [self._chosen(audience, list(steps)[1:]) for audience in self.audiences]
        return reading_once(union_all(parts), **steps)

    def _chosen(self, audience: AudienceToEvaluate, steps: Sequence[str]) -> str:
        """Return the SELECT of one audience.

        It joins what its own criteria read, and the cheap ones narrow it first.
        """
        test = self._sql(audience.tree, audience.lookback)
        read = {self._step(leaf, audience.lookback) for leaf in criteria.leaves(audience.tree)}
        columns = f"{quote_text(audience.name)} as audience, person.profile"
        person = select("*", self.relations.of(self.relations.person))
        chosen = [
            CHOSEN.format(columns=columns),
            *(_join(step, "person") for step in steps if step in read),
            both("", test),
        ]
        return f"({stepwise(' '.join(chosen), remembered=(), person=person)})"

    def _step(self, leaf: Criterion, lookback: Days | None) -> str:
        """Return the step that makes what a criterion reads beside the person; "": none."""
        match leaf:
            case EventCount():
                kind = (_kind(leaf), lookback)
                return "" if kind in self.once else self._column(kind)[0]
            case InAudience():
                return "joined"
            case Comparison():
                return {"device": "device", "attribution": "said"}.get(leaf.field.kind, "")
        return "said"  # consent or a place

    def _column(self, kind: Kind) -> tuple[str, str]:
        """Return the step and the column in which a kind of events is counted."""
        for group, kinds in enumerate(self.groups):
            if kind in kinds:
                return f"counted{group}", f"e{kinds.index(kind)}"
        raise KeyError(kind)

    def _joined(self) -> str:
        columns = ", ".join(
            f"bool_or(lower(audience) = {quote_text(caseless(name))}) as m{place}"
            for place, name in enumerate(self.reads.audiences)
        )
        member = select("*", self.relations.of(self.relations.member))
        return stepwise(JOINED.format(columns=columns), remembered=(), member=member)

    def _sql(self, tree: Criterion, lookback: Days | None) -> str:
        """Return the SQL of a criterion over the joined row; never null."""
        match tree:
            case All() | AnyOf():
                word = " and " if isinstance(tree, All) else " or "
                return "(" + word.join(self._sql(part, lookback) for part in tree.parts) + ")"
            case Not():
                return f"(not {self._sql(tree.part, lookback)})"
            case Comparison():
                return self._test(tree)
            case EventCount():
                return self._happened(tree, lookback)
            case Consent():
                return consent_holds(tree, self.reads)
            case InAudience():
                return f"coalesce(joined.m{self.reads.audiences.index(tree.name)}, false)"
        return near_holds(tree)  # only Near is left

    def _happened(self, tree: EventCount, lookback: Days | None) -> str:
        step, column = self._column((_kind(tree), lookback))
        if (_kind(tree), lookback) in self.once:
            return f"({is_in('person.profile', select('profile', step))})"
        count = f"coalesce({step}.{column}, 0)"
        return compared([count] * len(tree.counts), tree.operator, list(map(str, tree.counts)))

    def _test(self, tree: Comparison) -> str:
        field, operator, operands = tree.field, tree.operator, criteria.sought(tree)
        now_ms = self.now_ms
        match field.kind:
            case "attribute":
                column = f"person.v{self.reads.attributes.index(field.name)}"
                return passes_held(column, operator=operator, operands=operands, now_ms=now_ms)
            case "identity":
                # one of several identities of the type is enough
                text = key(BY_NAME[field.name], "held") if criteria.by_key(tree) else "held"
                test = passes(text, operator=operator, operands=operands, now_ms=now_ms)
                held = f"list_filter(person.i_{field.name}, lambda held: {test})"
                return f"coalesce(len({held}) > 0, false)"
            case "device":
                return f"coalesce(device.d{self.devices.index(tree)}, false)"
            case "attribution":
                return passes(
                    attribution_text(field.name),
                    operator=operator,
                    operands=operands,
                    now_ms=now_ms,
                )
            case "environment":
                return f"(person.environment = {ENVIRONMENT_CODE[str(operands[0])]})"
        # first_seen or last_seen
        return time_passes(
            f"person.{field.kind}_ms", operator=operator, operands=operands, now_ms=now_ms
        )


def _writer_of(
    audiences: Sequence[AudienceToEvaluate], now_ms: int, relations: PeopleRelations
) -> _MembershipWriter:
    leaves = [
        (leaf, audience.lookback)
        for audience in audiences
        for leaf in criteria.leaves(audience.tree)
    ]
    counts = [(leaf, lookback) for leaf, lookback in leaves if isinstance(leaf, EventCount)]
    # Events of the same kind are counted once, no matter what is asked of their number.
    groups = alike(list(dict.fromkeys((_kind(leaf), lookback) for leaf, lookback in counts)))
    numbered = {
        (_kind(leaf), lookback)
        for leaf, lookback in counts
        if (leaf.operator, leaf.counts) != ("at_least", (1,))
    }
    devices_tested = dict.fromkeys(
        leaf for leaf, _ in leaves if isinstance(leaf, Comparison) and leaf.field.kind == "device"
    )
    return _MembershipWriter(
        audiences=audiences,
        now_ms=now_ms,
        relations=relations,
        reads=needs(audiences),
        groups=groups,
        once={kinds[0] for kinds in groups if len(kinds) == 1} - numbered,
        devices=list(devices_tested),
    )


def _kind(tree: EventCount) -> EventCount:
    """Return the kind of events that are counted, without what is asked of their number."""
    return replace(tree, operator="at_least", counts=(1,))
