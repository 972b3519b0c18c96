"""Names in criteria and definitions that nobody has, mostly typing mistakes.

They are warned about and not refused, because an audience may be declared before the first value
comes. There is no warning for a store that has no attribute, or no event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.calculated import Definition
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import Criterion
from profilectl.rules.event.field import caseless
from profilectl.rules.text.naming import nearest
from profilectl.store.definitions import workspace_for
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.statements import reading

EVENT_NAMES = "select distinct name from happened where name is not null"


def unknown_in(
    path: Path, wanted: Criterion | Definition, workspace: str, *, wait_s: float = 0
) -> list[str]:
    """Return a sentence for each name that nobody has, of those in criteria or in a definition.

    `wanted` has the names; `workspace` is its workspace, as it was stated.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        profiles = profiles_of(store, workspace=workspace_for(store, workspace))
        if isinstance(wanted, Definition):
            return list(_events(profiles, [wanted.event] if wanted.event is not None else []))
        read = criteria.reads(wanted)
        names = [happened.name for happened in read.happened if happened.name is not None]
        return [*_attributes(profiles, read.attributes), *_events(profiles, names)]


def _attributes(profiles: Profiles, keys: Sequence[str]) -> Iterator[str]:
    names = profiles.names()
    for key in dict.fromkeys(keys):
        if names and profiles.meant(key) is None:
            yield f"nobody has ever had an attribute {key}{_near(key, names)}"


def _events(profiles: Profiles, names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    happened = profiles.events(profiles.happened(), ("name", "type", "feed"))
    rows = profiles.store.scratch.rows(reading(EVENT_NAMES, happened=happened))
    event_names = [name for (name,) in rows]
    folded_names = {caseless(name) for name in event_names}
    for name in dict.fromkeys(names):
        if event_names and caseless(name) not in folded_names:
            yield f"there was never an event {name}{_near(name, event_names)}"


def _near(name: str, names: Sequence[str]) -> str:
    near = nearest(name, names)
    return f"; the nearest: {', '.join(near)}" if near else ""
