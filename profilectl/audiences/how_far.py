"""How long each part of a refresh takes, for the line of progress: by what a store has."""

from __future__ import annotations

from profilectl.audiences.refresh_plan import RefreshPlan
from profilectl.files import progress
from profilectl.store.statements import count_rows, select, union_all
from profilectl.store.store import OpenStore

ROWS_OF_EVENTS = 1.5
"""The seconds to read what counts of events, for each million of them."""
EVENTS_BY_PROFILE = 0.4
"""The seconds to put that in the order of profiles, for each million of events."""
PER_VALUE = 0.22
"""The seconds of the values of an attribute, for each million of events."""
PER_MILLION_PEOPLE = 3.5
"""The seconds to put together what audiences look at, for each million of people."""
PER_AUDIENCE = 0.6
"""The seconds to evaluate an audience, for each million of people."""
NOTING = 0.25
"""The seconds to write a value, for each million of events."""


def weigh_refresh(store: OpenStore, plan: RefreshPlan) -> None:
    """Say how long each step of a refresh takes: where somebody watches, and `touched` is made."""
    if not progress.is_watched():
        return
    scratch = store.scratch
    segments = plan.profiles.segments
    tables = [f"store.event_{each.number}" for each in segments if "event" in each.tables]
    events = count_rows(scratch, union_all((select("1", table) for table in tables), "select 1"))
    people = sum(each.rows for each in segments) or 1
    share = 1.0 if plan.for_everybody else min(1.0, scratch.count("touched") / people)
    # What is of some people only is found among all.
    scanned = (1 + share) / 2
    millions, crowd = events / 1e6, people / 1e6 * scanned
    values = len(plan.calculations) if plan.stage.plain else 0
    progress.weigh("ca_rows#", millions * scanned * ROWS_OF_EVENTS * bool(values))
    progress.weigh("ca_rows#_by", millions * share * EVENTS_BY_PROFILE * bool(values))
    progress.weigh("ca_value#_by", millions * share * PER_VALUE * values)
    progress.weigh("person", crowd * PER_MILLION_PEOPLE * bool(plan.audiences))
    progress.weigh("wave", crowd * PER_AUDIENCE * len(plan.audiences))
    progress.weigh("noting", millions * scanned * NOTING * values + 0.1)
