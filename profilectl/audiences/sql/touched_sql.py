"""The profiles whose computed values may have changed since the last refresh.

These are the profiles that a new import touched, those that an undone import had touched, and those
for which an event entered or left a window since.
"""

from __future__ import annotations

from profilectl.audiences.refresh_plan import RefreshPlan
from profilectl.rules.criteria.tree import EventCount, leaves
from profilectl.rules.retention import clocks_of
from profilectl.rules.text.moments import Days
from profilectl.store.definitions import Defined
from profilectl.store.segments import both, of_each
from profilectl.store.statements import in_any, reading, select, union_all
from profilectl.store.store import OpenStore

NOT_SEEN_YET = """
select first_arrival, first_arrival + arrivals as end_arrival
from store.import
where number > $last_import and undone_ms is null and arrivals > 0
"""
TOUCHED = "select distinct profile from touched_row"


def arrived_since(store: OpenStore, last_import: int) -> str:
    """Return the condition on an arrival that it came with an import after `last_import`."""
    spans = store.scratch.rows(NOT_SEEN_YET, {"last_import": last_import})
    return in_any(f"(arrival >= {start} and arrival < {end})" for start, end in spans)


def touched(store: OpenStore, plan: RefreshPlan) -> str:
    """Return the SELECT of the profiles whose computed values may have changed."""
    last_import = plan.marks.last_import
    later = [segment for segment in plan.profiles.segments if segment.last_import > last_import]
    after = both("", f"import > {last_import}")
    return reading(
        TOUCHED,
        touched_row=union_all(
            [
                *of_each(
                    later,
                    "row",
                    columns="profile",
                    clause=both("", arrived_since(store, last_import)),
                ),
                # those that lost an identity, destinations of aliases, and the stale
                select("profile", "store.removed", after),
                select("destination", "store.alias", after),
                select("profile", "store.stale"),
                *_by_time(store, plan),
            ]
        ),
    )


def _by_time(store: OpenStore, plan: RefreshPlan) -> list[str]:
    """Return the SELECTs of the profiles that the passing of time alone touched.

    The time of this refresh may also be earlier than that of the last one (--now).
    """
    start_ms, end_ms = sorted((plan.marks.last_ms, plan.now_ms))
    # aliases that took effect since the last time
    parts = [select("destination", "store.alias", both("", _between("due_ms", start_ms, end_ms)))]
    # what entered or left a window since the last time, in one scan of all events
    if windows := sorted(_windows(plan)):
        entered = f"({_between('at_ms', start_ms, end_ms)})"
        left_windows = [
            f"(at_ms >= {start_ms - span_ms} and at_ms <= {end_ms - span_ms})"
            for span_ms in windows
        ]
        parts.append(select("profile", "event", both("", in_any([entered, *left_windows]))))
    # profiles that were beyond their lifetime at the last refresh, and are not at this earlier time
    if plan.now_ms < plan.marks.last_ms:
        clocks = clocks_of(store.settings().stated)
        for life_ms in (clocks.lifetime_ms, clocks.retention_ms):
            if life_ms is not None:
                within = f"at_ms >= {start_ms - life_ms} and at_ms <= {end_ms - life_ms}"
                parts += of_each(
                    plan.profiles.segments, "row", columns="profile", clause=both("", within)
                )
    return parts


def _between(column: str, start_ms: int, end_ms: int) -> str:
    return f"{column} > {start_ms} and {column} <= {end_ms}"


def _windows(plan: RefreshPlan) -> set[int]:
    """Return the lengths of all windows that events enter and leave, in milliseconds."""
    lengths = {each.definition.within_ms for each in plan.active if each.definition.within_ms}
    for audience in plan.audiences:
        lengths |= _windows_of(audience)
    return {length for length in lengths if length is not None}


def _windows_of(audience: Defined) -> set[int]:
    spans = [
        span
        for leaf in leaves(audience.audience.tree)
        if isinstance(leaf, EventCount)
        for span in (*(leaf.when.operands if leaf.when else ()), audience.audience.lookback)
    ]
    return {span.ms for span in spans if isinstance(span, Days)}
