"""Calculated attributes and memberships, brought up to date after what changed.

Whose values may be others than before: profiles that a new import touched, those that a taken back
one had touched, and those of which an event entered or left a window since the last time. Only
these are computed, unless a definition is new. It is computed while others read the store, and
written in one transaction for each stage.

A stage is a workspace. Where audiences refer to others and there are several workspaces, they are
stages of their own, after all that refer to none: whoever such a one has taken in or let go is
stale for those that come after, and is so in the store, so that a refresh that is killed in between
is made up for.

Relations made here:

    touched     profile                     whose values may have changed
    event       as segments.known_events; those that count (Profiles.counted)
    event_kept  likewise; all, for standard audiences
    fresh       profile, name, held         calculated values of the touched (fresh_all: of everybody, where a definition is new)
    person      as audience_sql.Relations
    rest        as audience_sql.Relations
    member      profile, audience           memberships before; after each wave as it leaves them
    lively      profile                     those within their lifetime, where it has an end
    bar         profile, audience, sure     who may not be in which audience (barring.barred), of those looked at
    moved       audience, profile, change   who entered and left
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.audiences.barred import NO_REST, barred, lively, rest_rows
from profilectl.audiences.calculated_sql import compute
from profilectl.audiences.membership_sql import AudienceToEvaluate as Evaluated
from profilectl.audiences.membership_sql import Relations, changes, needs
from profilectl.audiences.outbox import align
from profilectl.profiles.ended_lifetimes import RETIRED
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.counts import ImportReport
from profilectl.rules.criteria.tree import Comparison, EventCount, leaves, reads
from profilectl.rules.feed import ACCOUNT, DEFAULT_WORKSPACE, workspaces_of
from profilectl.rules.identity import BY_NAME, TYPES
from profilectl.rules.retention import clocks_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.moments import Days
from profilectl.rules.text.values import to_json
from profilectl.store.definitions import (
    Calculation,
    Defined,
    audiences,
    calculations,
    workspaces_defined,
)
from profilectl.store.opening import UNREFRESHED, once_done, open_store
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.segments import both, known_mpids
from profilectl.store.store import OpenStore, State

STAMP = "mp_deviceid"
"""The identity that a batch states beside its device_info (domain.md 3.2)."""
MEMBER = "select membership.profile, audience.name as audience from store.membership join store.audience on audience.number = membership.audience"


@dataclass(slots=True)
class Refreshed:
    """What a refresh did.

    profiles: looked at, None: all of them; audiences: name -> entered and left.
    """

    profiles: int | None = 0
    audiences: dict[str, Counter[str]] = field(default_factory=dict)

    def moved(self) -> dict[str, dict[str, int]]:
        """Return who entered and left as the report of an import has it."""
        return {
            name: {change: counted[change] for change in ("entered", "left")}
            for name, counted in self.audiences.items()
        }


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """What is to be made anew for everybody, whatever is known of it: calculated attributes,
    audiences. lost: those that are stale lost what was of somebody erased, which standard
    audiences may not rest on either.
    """

    calculated: Sequence[str] = ()
    audiences: Sequence[str] = ()
    lost: bool = False


def refresh_store(
    path: Path,
    *,
    now_ms: int | None = None,
    wait_s: float = 0,
    asked: RefreshRequest | None = None,
    memory_limit: str | None = None,
    number: int | None = None,
) -> Refreshed:
    """Bring calculated attributes and memberships up to date.

    number: of the import that asks for it.

    Raises StoreBusy, StoreUnusable; then all is as before, and the next refresh makes up for it.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    done = Refreshed(0)
    with scratch_beside(path, memory_limit) as scratch:
        with open_store(scratch, path, wait_s=wait_s) as store:
            stages = _stages(store)
        seen: State | None = None
        # one after the other: each workspace rests on its own attributes and events
        for stage in stages:
            with open_store(scratch, path, wait_s=wait_s) as store:
                run = _Refresh(store, at_ms, asked or RefreshRequest(), stage)
                stamp = _stamp(store)
                run.decide()
            with open_store(scratch, path, write=True, wait_s=max(wait_s, 10)) as store:
                # somebody committed in between: once more, with the door shut
                if _stamp(store) != stamp:
                    run = _Refresh(store, at_ms, asked or RefreshRequest(), stage)
                    run.decide()
                run.store = store
                seen = seen or store.state()
                one = run.write(number, seen, last=stage == stages[-1])
            for name, counted in one.audiences.items():
                done.audiences.setdefault(name, Counter()).update(counted)
            if stage.plain:
                done.profiles = (
                    None
                    if done.profiles is None or one.profiles is None
                    else done.profiles + one.profiles
                )
    return done


def refresh_once_done(path: Path, done: str, *, wait_s: float = 0) -> None:
    """Bring up to date what rests on a change that is committed.

    done: what was; where the refresh fails, that is told, and the next one makes up for it.
    """
    with once_done(done, UNREFRESHED, "profilectl audiences refresh tries again"):
        refresh_store(path, wait_s=max(wait_s, 10))


def refresh_after_change(path: Path, report: ImportReport, *, wait_s: float = 0) -> None:
    """Bring up to date what rests on a change by hand, and write who entered and left into its
    report. A store that is busy is left to the next refresh.
    """
    with once_done(
        f"import {report.number} is done",
        UNREFRESHED,
        "the next import tries again, as does profilectl audiences refresh",
        busy=True,
    ):
        with (
            scratch_beside(path) as scratch,
            open_store(scratch, path, wait_s=max(wait_s, 10)) as store,
        ):
            defined = store.has_definitions()
        if defined:
            done = refresh_store(path, wait_s=max(wait_s, 10), number=report.number)
            report.audiences = done.moved()


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is refreshed at once.

    plain: calculated attributes, and audiences that refer to no other; referring: audiences that
    do; ends: nothing more of the workspace comes after it.
    """

    workspace: str
    plain: bool = True
    referring: bool = True
    ends: bool = True


def _stages(store: OpenStore) -> list[_Stage]:
    workspaces = workspaces_defined(store)
    refer = {
        one.audience.workspace for one in audiences(store) if reads(one.audience.tree).audiences
    }
    if len(workspaces) < 2 or not refer:
        return [_Stage(one) for one in workspaces]
    return [_Stage(one, referring=False, ends=one not in refer) for one in workspaces] + [
        _Stage(one, plain=False) for one in workspaces if one in refer
    ]


def unseen(store: OpenStore) -> list[int]:
    """Return the imports that something defined has not been brought up to date with, such as where
    a refresh was killed.
    """
    done = [
        int(_meta(store, _mark("import", workspace), "0"))
        for workspace in workspaces_defined(store)
    ]
    if not done:
        return []
    return [
        number
        for (number,) in store.scratch.rows(
            "select number from store.import where number > $last order by number",
            {"last": min(done)},
        )
    ]


def refreshed_ms(store: OpenStore, workspace: str) -> int | None:
    """Return the time of the last refresh of a workspace; None: there was none."""
    at_ms = _meta(store, _mark("ms", workspace), "")
    return int(at_ms) if at_ms else None


def is_up_to_date(store: OpenStore, workspace: str) -> bool:
    """Say whether nothing has changed since the last refresh of a workspace that what is computed
    may rest on.
    """
    newest = store.scratch.row("select coalesce(max(number), 0) from store.import")[0]
    done = int(_meta(store, _mark("import", workspace), "0"))
    return done >= newest and not store.scratch.row("select count(*) from store.stale")[0]


def evaluated_ms(scratch: Scratch, one: Defined) -> int | None:
    """Return the time that the members of an audience are of, None: never. Every refresh looks at a
    real-time one, be it only at those whose values may have changed.
    """
    if one.filled_ms is None or one.audience.kind != "real-time":
        return one.filled_ms
    found = scratch.rows(
        "select value from store.meta where name = $name",
        {"name": _mark("ms", one.audience.workspace)},
    )
    return max([one.filled_ms, *(int(value) for (value,) in found)])


def _mark(what: str, workspace: str) -> str:
    """Return under what name it is kept up to where a workspace is refreshed."""
    return f"refreshed_{what}" + ("" if workspace == DEFAULT_WORKSPACE else f":{workspace}")


def _stamp(store: OpenStore) -> tuple[object, ...]:
    definitions = (
        [(one.name, one.changed_ms) for one in calculations(store)],
        [(one.name, one.changed_ms) for one in audiences(store)],
    )
    return (
        store.state(),
        *definitions,
        store.scratch.rows("select value from store.meta where name like 'refreshed%'"),
    )


class _Refresh:
    """One stage of a refresh of an open store."""

    def __init__(self, store: OpenStore, now_ms: int, asked: RefreshRequest, stage: _Stage) -> None:
        workspace = stage.workspace
        self.store, self.scratch, self.now_ms, self.stage = store, store.scratch, now_ms, stage
        self.profiles: Profiles = people_of(store, workspace, now_ms=now_ms)
        self.stored = [
            one
            for one in calculations(store)
            if not one.definition.draft and one.definition.workspace == workspace
        ]
        self.calculations = self.stored if stage.plain else []
        self.audiences = [
            one
            for one in audiences(store)
            if one.audience.workspace == workspace
            and (one.audience.kind == "real-time" or one.name in asked.audiences)
            and (stage.referring if reads(one.audience.tree).audiences else stage.plain)
        ]
        self.done_import, self.done_ms, self.done_barring = (
            _mark(what, workspace) for what in ("import", "ms", "barring")
        )
        self.standing = [
            one
            for one in audiences(store)
            if one.audience.workspace == workspace
            and one.audience not in [each.audience for each in self.audiences]
            and (stage.referring if reads(one.audience.tree).audiences else stage.plain)
        ]
        self.changed_ms = max(
            (one.changed_ms for one in audiences(store) if one.audience.workspace == workspace),
            default=0,
        )
        self.lost = asked.lost
        self.made: set[tuple[str | None, bool, bool]] = set()
        self.last_import, self.last_ms = (
            int(_meta(store, name, "0")) for name in (self.done_import, self.done_ms)
        )
        self.new_calculations = [
            one
            for one in self.calculations
            if one.filled_ms is None or one.name in asked.calculated
        ]
        changed = {one.name for one in self.new_calculations}
        self.filled = [
            one
            for one in self.audiences
            if one.filled_ms is None
            or one.name in asked.audiences
            or self._by_dates(one)
            or self._rests_on(one, changed)
        ]
        again = {one.name.lower() for one in self.filled}
        self.filled += [
            one
            for one in self.audiences
            if one not in self.filled
            and again & {name.lower() for name in reads(one.audience.tree).audiences}
        ]

    @staticmethod
    def _rests_on(one: Defined, changed: set[str]) -> bool:
        return bool(changed.intersection(reads(one.audience.tree).attributes))

    @staticmethod
    def _by_dates(one: Defined) -> bool:
        """Say whether time alone moves people in or out by a date that is no event's: who, only a
        look at all tells.
        """
        return any(
            isinstance(leaf, Comparison) and leaf.operator in ("within", "ago")
            for leaf in leaves(one.audience.tree)
        )

    def decide(self) -> None:
        """Make the relations that `write` writes."""
        scratch = self.scratch
        scratch.forget_order()
        awake = awake_only(self.profiles)
        happened = self.profiles.happened(awake)
        scratch.make("event", self.profiles.counted(happened), keep=False)
        scratch.make("event_kept", self.profiles.events(happened), keep=False)
        everybody = (
            (self.new_calculations or self.filled)
            and all(one in self.new_calculations for one in self.calculations)
            and all(one in self.filled for one in self.audiences)
        )
        # a scan of all events
        scratch.make(
            "touched", "select 0::bigint as profile where false" if everybody else self._touched()
        )
        scratch.make("member", MEMBER)
        self._bar(everybody=bool(everybody))
        self.profiles.calculated = [one.name for one in self.stored]
        if self.stage.plain:
            every = [one for one in self.calculations if one not in self.new_calculations]
            self._compute("fresh", every, "touched")
            self._compute("fresh_all", self.new_calculations, None)
            self.profiles.calculated_values = self._values(every)
        for place, wave in enumerate(self._waves()):
            self._evaluate([one for one in wave if one not in self.filled], "touched")
            self._evaluate([one for one in wave if one in self.filled], None)
            standing = [
                one
                for one in self.standing
                if bool(reads(one.audience.tree).audiences) is bool(place)
            ]
            self._doubt(standing, f"doubted_{place}")
            self._lose(standing if self.lost else [], f"lost_{place}")
        scratch.keep_order()

    def _waves(self) -> list[list[Defined]]:
        """Return the audiences that refer to no other, then those that do."""
        plain = [one for one in self.audiences if not reads(one.audience.tree).audiences]
        return [plain, [one for one in self.audiences if one not in plain]]

    def _bar(self, *, everybody: bool) -> None:
        """Have whoever may not be in an audience leave it, one that is evaluated only when it is
        asked for too (barred.py). Makes `moved`, `bar` and `lively`; whoever moves is touched.

        Only members whose values may have changed are looked at, and those whose time has come; all
        of them where nothing was ever held against the criteria of a standard audience, as in a
        store that an older version made.
        """
        scratch, wanted = self.scratch, [*self.audiences, *self.standing]
        names = ", ".join(quote_text(one.name) for one in wanted) or "null"
        looked_at = "true"
        recent = lively(self.profiles, self.now_ms)
        scratch.drop("lively")
        if recent:
            scratch.make("lively", f"select distinct profile from ({recent})")
        if not everybody and int(_meta(self.store, self.done_barring, "-1")) >= self.changed_ms:
            looked_at = "(profile in (select profile from touched)" + (
                " or profile not in (select profile from lively))" if recent else ")"
            )
        people = f"(select profile from member where audience in ({names}) and {looked_at})"
        scratch.make("bar", barred(self.profiles, wanted, people, self.now_ms))
        scratch.make(
            "moved",
            "select distinct audience, profile, 'left' as change from member where (profile, audience) in (select (profile, audience) from bar where sure)",
        )
        scratch.run(
            "delete from member where (profile, audience) in (select (profile, audience) from moved)"
        )
        scratch.run(
            "insert into touched select distinct profile from moved where profile not in (select profile from touched)"
        )

    def _doubt(self, wanted: Sequence[Defined], into: str) -> None:
        """Have those leave standard audiences whose new statement of consent speaks against them,
        where all criteria together do not hold any more.
        """
        asking = {one.name: one for one in wanted}
        spoken = " union all ".join(
            f"select profile from {one.table('rest')} where ({self._arrived()}) and contains(rest, '\"consent_state\":')"
            for one in self.profiles.segments
            if "rest" in one.tables and one.last_import > self.last_import
        )
        names = ", ".join(map(quote_text, asking))
        if not names or not spoken:
            return
        self.scratch.make(
            "in_doubt",
            f"select distinct audience, profile from member where audience in ({names}) and (profile, audience) in (select (profile, audience) from bar where not sure)"
            f" and profile in ({spoken})",
        )
        doubted = [
            asking[name]
            for (name,) in self.scratch.rows(
                "select distinct audience from in_doubt order by audience"
            )
        ]
        if doubted:
            self.scratch.make(into, "select distinct profile from in_doubt")
            self._evaluate_over(
                "event_kept",
                doubted,
                into,
                only="change = 'left' and (audience, profile) in (select (audience, profile) from in_doubt)",
            )

    def _lose(self, wanted: Sequence[Defined], into: str) -> None:
        """Have those who lost what was somebody's who is erased leave the standard audiences that
        rested on it, as of the time at which each was evaluated.
        """
        evaluated = [
            (defined, defined.filled_ms) for defined in wanted if defined.filled_ms is not None
        ]
        if evaluated:
            self.scratch.make(into, "select distinct profile from store.stale")
        for defined, filled_ms in evaluated:
            self._evaluate_over(
                "event_kept", [defined], into, only="change = 'left'", at_ms=filled_ms
            )

    def _arrived(self) -> str:
        """Return the condition on an arrival of the imports that were not seen yet."""
        spans = self.scratch.rows(
            "select first_arrival, first_arrival + arrivals from store.import where number > $last and undone_ms is null and arrivals > 0",
            {"last": self.last_import},
        )
        return (
            " or ".join(f"(arrival >= {first} and arrival < {end})" for first, end in spans)
            or "false"
        )

    def _touched(self) -> str:
        within = self._arrived()
        parts = [
            f"select profile from {one.table('row')} where {within}"
            for one in self.profiles.segments
            if one.last_import > self.last_import
        ]
        parts.append(f"select profile from store.removed where import > {self.last_import}")
        parts.append(f"select destination from store.alias where import > {self.last_import}")
        parts.append("select profile from store.stale")
        first, last = sorted((self.last_ms, self.now_ms))
        parts.append(
            f"select destination from store.alias where due_ms > {first} and due_ms <= {last}"
        )
        # What entered or left a window since the last time; also where this time is an earlier one
        # (--now).
        parts += [
            f"select profile from event where (at_ms > {first} and at_ms <= {last}) or (at_ms >= {first - span_ms} and at_ms <= {last - span_ms})"
            for span_ms in sorted(self._windows())
        ]
        # whoever was beyond the lifetime then, and is not at this earlier time
        if self.now_ms < self.last_ms:
            clocks = clocks_of(self.store.settings().stated)
            parts += [
                f"select profile from {segment.table('row')} where at_ms >= {first - life_ms} and at_ms <= {last - life_ms}"
                for life_ms in (clocks.lifetime_ms, clocks.retention_ms)
                if life_ms is not None
                for segment in self.profiles.segments
            ]
        return f"select distinct profile from ({' union all '.join(parts)})"

    def _windows(self) -> set[int]:
        """Return the lengths of all windows that events enter and leave, in milliseconds."""
        found = {one.definition.within_ms for one in self.stored if one.definition.within_ms}
        for one in self.audiences:
            for leaf in leaves(one.audience.tree):
                if isinstance(leaf, EventCount):
                    spans = [*(leaf.when.operands if leaf.when else ()), one.audience.lookback]
                    found |= {span.ms for span in spans if isinstance(span, Days)}
        return {span for span in found if span is not None}

    def _compute(self, into: str, wanted: Sequence[Calculation], profiles: str | None) -> None:
        if wanted:
            compute(
                self.scratch,
                [one.definition for one in wanted],
                self.now_ms,
                profiles=profiles,
                into=into,
            )
        else:
            self.scratch.load(
                into, [("profile", "BIGINT"), ("name", "VARCHAR"), ("held", "VARCHAR")], []
            )

    def _values(self, every: Sequence[Calculation]) -> str:
        """Return the SELECT of all calculated values as they are after this refresh."""
        names = ", ".join(quote_text(one.name) for one in every) or "''"
        return (
            f"select profile, name, held from store.calculated where name in ({names}) and profile not in (select profile from touched)"
            " union all select profile, name, held from fresh union all select profile, name, held from fresh_all"
        )

    def _evaluate(self, wanted: Sequence[Defined], touched: str | None) -> None:
        for event in dict.fromkeys(event_relation(one.audience) for one in wanted):
            self._evaluate_over(
                event, [one for one in wanted if event_relation(one.audience) == event], touched
            )

    def _evaluate_over(
        self,
        event: str,
        wanted: Sequence[Defined],
        touched: str | None,
        *,
        only: str = "true",
        at_ms: int | None = None,
    ) -> None:
        asked = [Evaluated(one.name, one.audience.tree, one.audience.lookback) for one in wanted]
        self._relations(asked, touched)
        self.scratch.make(
            "wave",
            f"select * from ({changes(asked, self.now_ms if at_ms is None else at_ms, Relations(event=event, touched=touched))}) where {only}",
        )
        self.scratch.run("insert into moved select audience, profile, change from wave")
        self.scratch.run(
            "delete from member where (profile, audience) in (select (profile, audience) from wave where change = 'left')"
        )
        self.scratch.run(
            "insert into member select profile, audience from wave where change = 'entered'"
        )

    def _relations(self, asked: Sequence[Evaluated], touched: str | None) -> None:
        wanted = needs(asked)
        if not wanted.attributes and (touched, wanted.rest, bool(wanted.device)) in self.made:
            return  # of the wave before: it is about the same people
        tests = [f"profile in (select profile from {touched})"] if touched else []
        tests += (
            ["profile not in (select profile from dormant)"] if self.scratch.has("dormant") else []
        )
        tests += ["profile in (select profile from lively)"] if self.scratch.has("lively") else []
        person_relations(
            self.profiles,
            wanted.attributes,
            f"where {' and '.join(tests)}" if tests else "",
            rest=wanted.rest,
            devices=bool(wanted.device),
        )
        self.made = {
            (touched, rest, device)
            for rest in (False, wanted.rest)
            for device in (False, bool(wanted.device))
        }

    def write(self, number: int | None, seen: State, *, last: bool) -> Refreshed:
        """Write what was decided, in one transaction.

        seen: the store at the first stage: what was committed since, a stage before may not know,
        so it counts as not seen. last: no stage comes after it.
        """
        scratch, done = self.scratch, Refreshed()
        newest = max((one for one, _ in seen.imports), default=0)
        # What came in while it was decided has moved people too.
        asked = (
            None
            if number is None
            else max(number, scratch.row("select coalesce(max(number), 0) from store.import")[0])
        )
        done.profiles = None if self.new_calculations or self.filled else scratch.count("touched")
        for name, change, count in scratch.rows(
            "select audience, change, count(*) from moved group by all order by all"
        ):
            done.audiences.setdefault(name, Counter())[change] = count
        with self.store.transaction():
            self._tell(number, done.moved())
            every = ", ".join(
                quote_text(one.name)
                for one in self.calculations
                if one not in self.new_calculations
            )
            anew = ", ".join(quote_text(one.name) for one in self.new_calculations)
            if every:
                scratch.run(
                    f"delete from store.calculated where name in ({every}) and profile in (select profile from touched)"
                )
                scratch.run("insert into store.calculated select profile, name, held from fresh")
            if anew:
                scratch.run(f"delete from store.calculated where name in ({anew})")
                # it is in order
                scratch.run(
                    "insert into store.calculated select profile, name, held from fresh_all"
                )
                scratch.run(
                    f"update store.calculation set filled_ms = {self.now_ms} where name in ({anew})"
                )
            scratch.run(
                f"insert into store.membership select moved.profile, audience.number, {self.now_ms} from moved join store.audience on audience.name = moved.audience"
                " where change = 'entered' order by moved.profile"
            )
            scratch.run(
                "delete from store.membership where (profile, audience) in (select (moved.profile, audience.number) from moved"
                " join store.audience on audience.name = moved.audience where change = 'left')"
            )
            known = known_mpids(self.profiles.segments)
            who = "where profile in (select profile from moved)"
            scratch.run(
                "insert into store.membership_change select audience.number, moved.profile, moved.change, $now, $import, coalesce(named.mpid, past.mpid) from moved"
                f" join store.audience on audience.name = moved.audience left join (select profile, mpid from ({known}) {who}) as named on named.profile = moved.profile"
                f" left join (select profile, max(mpid) as mpid from store.membership_change {who} group by profile) as past on past.profile = moved.profile"
                " order by audience.number, moved.profile",
                {"now": self.now_ms, "import": asked},
            )
            names = ", ".join(quote_text(one.name) for one in self.filled)
            if names:
                scratch.run(
                    f"update store.audience set filled_ms = {self.now_ms} where name in ({names})"
                )
            self._tell_outputs()
            if self.stage.plain and not self.stage.referring:
                self._pass_on()
            # some of them may be gone, and are in no audience any more
            if last and scratch.row("select count(*) from store.stale")[0]:
                gone = f"profile in (select profile from store.stale) and profile not in (select profile from ({known}))"
                scratch.run(
                    f"insert into store.membership_change select audience, profile, 'left', $now, $import, (select max(mpid) from store.membership_change as past"
                    f" where past.profile = membership.profile) from store.membership where {gone} order by audience, profile",
                    {"now": self.now_ms, "import": asked},
                )
                scratch.run(f"delete from store.membership where {gone}")
            if last and self.store.state() == seen:
                scratch.run("delete from store.stale")
            marks = (
                (self.done_import, newest),
                (self.done_ms, self.now_ms),
                (self.done_barring, self.changed_ms),
            )
            for name, value in marks if self.stage.ends else ():
                scratch.run("delete from store.meta where name = $name", {"name": name})
                scratch.run(
                    "insert into store.meta values ($name, $value)",
                    {"name": name, "value": str(value)},
                )
        return done

    def _tell_outputs(self) -> None:
        """Put who is to be added and removed there into the outbox (outbox.py): of all
        that may have changed, since consent, opt-outs and attributes count as well.
        """
        # then `touched` may be empty: all were looked at
        everybody = self.new_calculations or self.filled
        self.scratch.make(
            "told_touched",
            "select profile from touched union select profile from moved union select profile from store.stale",
        )
        align(self.store, None if everybody else "told_touched", workspace=self.stage.workspace)

    def _pass_on(self) -> None:
        """Tell the stages that come after: who entered or left is to be looked at, and what rests
        on an audience or a calculated attribute that was made for everybody is evaluated for
        everybody.
        """
        self.scratch.run("insert into store.stale select distinct profile from moved")
        again, changed = (
            {one.name.lower() for one in self.filled},
            {one.name for one in self.new_calculations},
        )
        for one in audiences(self.store):
            read = reads(one.audience.tree)
            rests = again & {name.lower() for name in read.audiences} or (
                read.audiences and self._rests_on(one, changed)
            )
            if one.audience.kind == "real-time" and rests:
                self.scratch.run(
                    "update store.audience set filled_ms = null where number = $number",
                    {"number": one.number},
                )

    def _tell(self, number: int | None, moved: dict[str, dict[str, int]]) -> None:
        """Write who entered and left into the report of the import."""
        if number is None or not moved:
            return
        report = json.loads(
            self.scratch.row(
                "select report from store.import where number = $number", {"number": number}
            )[0]
        )
        report["audiences"] = report.get("audiences", {}) | moved
        self.scratch.run(
            "update store.import set report = $report where number = $number",
            {"report": json.dumps(report, ensure_ascii=False), "number": number},
        )


def event_relation(audience: Audience) -> str:
    """Return the relation of the events that an audience is decided on: a standard one reads them
    for as long as they are kept, a real-time one those of the profile's present lifetime
    (domain.md 13).
    """
    return "event" if audience.kind == "real-time" else "event_kept"


def awake_only(profiles: Profiles) -> str:
    """Make `dormant`, the profiles beyond their lifetime of which nothing arrived since they lost
    what they had (domain.md 13): nothing is computed of them, and they are in no audience.
    Return the WHERE clause that leaves them out, "": there are none.
    """
    scratch = profiles.store.scratch
    scratch.drop("dormant")
    aged = "profile in (select profile from store.aged)"
    rows = " union all ".join(
        f"select profile, at_ms, arrival from {one.table('row')} where {aged}"
        for one in profiles.segments
    )
    if not rows or not scratch.row("select count(*) from store.aged")[0]:
        return ""
    scratch.make(
        "dormant",
        f"select aged.profile from ({RETIRED}) as aged join (select profile, max(at_ms) as last_ms, max(arrival) as last from ({rows}) group by profile) as row"
        " on row.profile = aged.profile where case when aged.before is null then row.last_ms <= aged.aged_ms else row.last < aged.before end",
    )
    return "where profile not in (select profile from dormant)"


def people_of(store: OpenStore, workspace: str, *, now_ms: int | None = None) -> Profiles:
    """Return the read model of the profiles that a workspace has seen: whom its attributes and
    audiences are about.
    """
    if workspace not in workspaces_of(store.feeds()):  # nothing came in yet
        profiles = profiles_of(store, now_ms=now_ms, every=True)
        profiles.workspace, profiles.feeds = (
            workspace,
            f"feed in (select number from store.feed where source = {quote_text(ACCOUNT)})",
        )
    else:
        profiles = profiles_of(store, now_ms=now_ms, workspace=workspace)
    profiles.only_seen = True
    return profiles


def person_relations(
    profiles: Profiles, keys: Sequence[str], where: str, *, rest: bool, devices: bool = False
) -> None:
    """Make the relations `person` and `rest` that audiences are decided on
    (audience_sql.Relations), of some profiles. rest, devices: whether the other fields of
    batches are read, and those of devices.
    """
    scratch = profiles.store.scratch
    absent = "".join(
        f", null::varchar[] as i_{kind.name}"
        for kind in TYPES
        if kind.name not in profiles.identities
    )
    scratch.make("person", f"select *{absent} from ({profiles.folded(list(keys), where)})")
    columns = _device_rows(profiles, where) if devices else []
    parts = (
        [
            rest_rows(profiles, profiles.feeds, where),
            *_attributions_carried(profiles, where),
            *columns,
        ]
        if rest
        else [NO_REST]
    )
    scratch.make("rest", " union all ".join(parts), keep=False)


def _device_rows(profiles: Profiles, where: str) -> list[str]:
    """Return the SELECTs of rows of which only columns name a device, as a batch says it
    (standing.device_rest).
    """
    found = []
    for segment in profiles.segments:
        kinds = [kind for kind in segment.identities if BY_NAME[kind].device]
        if not kinds:
            continue
        texts = {
            kind: f"{quote_text(json.dumps(kind) + ':')} || to_json(i_{kind})::varchar"
            for kind in kinds
        }
        info = ", ".join(text for kind, text in texts.items() if kind != STAMP) or "null"
        named = f"'{{' || concat_ws(',', {texts.get(STAMP, 'null')}, '\"device_info\":{{' || concat_ws(',', {info}) || '}}') || '}}'"
        stated = (
            f"select (profile, arrival) from {segment.table('rest')} where contains(rest, '\"device_info\":{{')"
            if "rest" in segment.tables
            else ""
        )
        alone = f"coalesce({', '.join(f'i_{kind}' for kind in kinds)}) is not null" + (
            f" and (profile, arrival) not in ({stated})" if stated else ""
        )
        found.append(
            f"select profile, arrival, false, {named} from {segment.table('row')} {both(both(where, profiles.feeds), alone)}"
        )
    return found


def _attributions_carried(profiles: Profiles, where: str) -> list[str]:
    """Return the SELECT of the install attributions that aliases carry over, as rows of `rest`:
    none, or one.
    """
    rows = [
        (alias.destination, alias.arrival, to_json({"attribution_info": attribution}))
        for alias in profiles.aliases
        if alias.in_force
        if (attribution := profiles.attribution_carried(alias))
    ]
    if not rows:
        return []
    columns = [("profile", "BIGINT"), ("arrival", "BIGINT"), ("rest", "VARCHAR")]
    profiles.store.scratch.load("attribution_carried", columns, rows)
    return [f"select profile, arrival, false, rest from attribution_carried {where}"]


def _meta(store: OpenStore, name: str, otherwise: str) -> str:
    found = store.scratch.rows("select value from store.meta where name = $name", {"name": name})
    return str(found[0][0]) if found else otherwise
