"""The plan of a stage of a refresh: which definitions it looks at, and each for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.audiences.people import people_of
from profilectl.audiences.refresh_marks import Marks, RefreshDefinitions, marks_of
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria.tree import Comparison, leaves, reads
from profilectl.rules.event.field import caseless
from profilectl.store.definitions import Calculation, Defined
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """The definitions to compute for everybody, even if their values are up to date."""

    calculated: Sequence[str] = ()
    """The names of calculated attributes."""
    audiences: Sequence[str] = ()
    """The names of audiences."""
    lost: bool = False
    """Whether the stale profiles lost data of an erased person.

    Then standard audiences are looked at as well: they may not rest on such data either.
    """


@dataclass(frozen=True, slots=True)
class RefreshStage:
    """The part of a refresh that is decided and written at once; it is of one workspace."""

    workspace: str
    """The workspace."""
    plain: bool = True
    """Whether calculated attributes are in it, and audiences that refer to no other."""
    referring: bool = True
    """Whether audiences that refer to others are in it."""
    ends: bool = True
    """Whether no later stage is of the same workspace."""


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """The plan of a stage."""

    stage: RefreshStage
    """The stage."""
    now_ms: int
    """The time that everything is computed as of."""
    marks: Marks
    """Up to where the workspace was refreshed before."""
    profiles: Profiles
    """The people of the workspace."""
    active: list[Calculation]
    """The calculated attributes of the workspace that are no drafts."""
    calculations: list[Calculation]
    """Those that this stage computes, for the touched profiles."""
    new_calculations: list[Calculation]
    """Those of them that it computes for everybody."""
    audiences: list[Defined]
    """The audiences that it evaluates, for the touched profiles."""
    new_audiences: list[Defined]
    """Those of them that it evaluates for everybody."""
    standard: list[Defined]
    """The other audiences of the stage: they only lose members who may not stay."""
    changed_ms: int
    """When an audience of the workspace was last changed; 0 for none."""
    lost: bool
    """As RefreshRequest has it."""

    @property
    def for_everybody(self) -> bool:
        """Whether something is computed for everybody."""
        return bool(self.new_calculations or self.new_audiences)

    @property
    def all_for_everybody(self) -> bool:
        """Whether everything is computed for everybody: then it does not matter who was touched."""
        return (
            self.for_everybody
            and all(each in self.new_calculations for each in self.calculations)
            and all(each in self.new_audiences for each in self.audiences)
        )

    def waves(self) -> list[list[Defined]]:
        """Return the audiences that refer to no other, then those that do."""
        plain = [audience for audience in self.audiences if not refers(audience)]
        return [plain, [audience for audience in self.audiences if audience not in plain]]


def stages_of(defined: RefreshDefinitions) -> list[RefreshStage]:
    """Return the stages of a refresh, in order.

    A stage is a workspace. If audiences refer to others and there are several workspaces, those
    audiences are stages of their own, after all that refer to none.
    """
    workspaces = defined.workspaces()
    referring = {audience.audience.workspace for audience in defined.audiences if refers(audience)}
    # within one workspace it is enough that the waves of a stage follow each other
    if len(workspaces) < 2 or not referring:
        return [RefreshStage(workspace) for workspace in workspaces]
    plain = [
        RefreshStage(workspace, referring=False, ends=workspace not in referring)
        for workspace in workspaces
    ]
    return plain + [
        RefreshStage(workspace, plain=False) for workspace in workspaces if workspace in referring
    ]


def plan_of(
    store: OpenStore,
    stage: RefreshStage,
    request: RefreshRequest,
    *,
    defined: RefreshDefinitions,
    now_ms: int,
) -> RefreshPlan:
    """Return what a stage has to look at."""
    active = [
        each
        for each in defined.calculations
        if not each.definition.draft and each.definition.workspace == stage.workspace
    ]
    computed = active if stage.plain else []
    of_workspace = [
        audience for audience in defined.audiences if audience.audience.workspace == stage.workspace
    ]
    of_stage = [
        audience
        for audience in of_workspace
        if (stage.referring if refers(audience) else stage.plain)
    ]
    # a standard audience is evaluated only when somebody asks for it (domain.md 11.2)
    evaluated = [
        audience
        for audience in of_stage
        if audience.audience.kind == "real-time" or audience.name in request.audiences
    ]
    new_calculations = [
        each for each in computed if each.filled_ms is None or each.name in request.calculated
    ]
    return RefreshPlan(
        stage=stage,
        now_ms=now_ms,
        marks=marks_of(store, stage.workspace),
        profiles=people_of(store, stage.workspace, now_ms=now_ms),
        active=active,
        calculations=computed,
        new_calculations=new_calculations,
        audiences=evaluated,
        new_audiences=_evaluated_for_everybody(evaluated, request, new_calculations),
        standard=[audience for audience in of_stage if audience not in evaluated],
        changed_ms=max((audience.changed_ms for audience in of_workspace), default=0),
        lost=request.lost,
    )


def _evaluated_for_everybody(
    evaluated: Sequence[Defined], request: RefreshRequest, new_calculations: Sequence[Calculation]
) -> list[Defined]:
    """Return the audiences that are evaluated for everybody, then those that refer to them."""
    changed = {each.name for each in new_calculations}
    for_everybody = [
        audience
        for audience in evaluated
        if audience.filled_ms is None
        or audience.name in request.audiences
        or _by_dates(audience)
        or rests_on(audience, changed)
    ]
    names = {caseless(audience.name) for audience in for_everybody}
    return for_everybody + [
        audience
        for audience in evaluated
        if audience not in for_everybody and names & referred_by(audience)
    ]


def refers(audience: Defined) -> bool:
    """Return whether the criteria of an audience refer to other audiences."""
    return bool(reads(audience.audience.tree).audiences)


def referred_by(audience: Defined) -> set[str]:
    """Return the names of the audiences that its criteria refer to, as names compare."""
    return set(map(caseless, reads(audience.audience.tree).audiences))


def rests_on(audience: Defined, attributes: set[str]) -> bool:
    """Return whether the criteria of an audience read one of some attributes."""
    return bool(attributes.intersection(reads(audience.audience.tree).attributes))


def _by_dates(audience: Defined) -> bool:
    """Return whether time alone moves people in or out, by a date that is not of an event.

    No window tells who moves then (touched_sql): everybody is looked at.
    """
    return any(
        isinstance(leaf, Comparison) and leaf.operator in ("within", "ago")
        for leaf in leaves(audience.audience.tree)
    )
