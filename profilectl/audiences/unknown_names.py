"""Names in criteria and definitions that nobody has: a slip of the pen, most often.

They are no mistake in themselves: an audience may be declared before the first value comes. So they
are told and not refused. A store that has no attribute, or no event, says nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.calculated import Definition
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import Criterion
from profilectl.rules.event.field import fold
from profilectl.rules.text.naming import nearest
from profilectl.store.definitions import workspace_for
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside


def unknown_in(
    path: Path, wanted: Criterion | Definition, workspace: str, *, wait_s: float = 0
) -> list[str]:
    """Return a sentence for each name in criteria, or in the definition of a calculated attribute,
    that nobody has. workspace: that of it, as it was stated."""
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        profiles = profiles_of(store, workspace=workspace_for(store, workspace))
        if isinstance(wanted, Definition):
            return list(_events(profiles, [wanted.event] if wanted.event is not None else []))
        read = criteria.reads(wanted)
        names = [one.name for one in read.happened if one.name is not None]
        return [*_attributes(profiles, read.attributes), *_events(profiles, names)]


def _attributes(profiles: Profiles, keys: Sequence[str]) -> Iterator[str]:
    known = profiles.names()
    for key in dict.fromkeys(keys):
        if known and profiles.meant(key) is None:
            yield f"nobody has ever had an attribute {key}{_near(key, known)}"


def _events(profiles: Profiles, names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    select = f"select distinct name from ({profiles.events(profiles.happened(), ('name', 'type', 'feed'))})"
    known = [name for (name,) in profiles.store.scratch.rows(f"{select} where name is not null")]
    there = {fold(name) for name in known}
    for name in dict.fromkeys(names):
        if known and fold(name) not in there:
            yield f"there was never an event {name}{_near(name, known)}"


def _near(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return f"; the nearest: {', '.join(near)}" if near else ""
