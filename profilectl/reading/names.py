"""The names of a store that somebody may type: feeds, audiences, events, keys of the configuration.

They are for completion, so they are read within a time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from profilectl.configuration.edit import KEYS
from profilectl.configuration.stated import NAMED
from profilectl.configuration.toml_text import document_of
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.feed import workspaces_of
from profilectl.rules.settings import SETTINGS
from profilectl.rules.text.moments import written
from profilectl.store.definitions import audiences, calculations, outputs
from profilectl.store.history import history_of
from profilectl.store.scratch import Scratch
from profilectl.store.statements import reading
from profilectl.store.store import OpenStore

MOST_EVENTS = 10_000
"""The most names of events that are read."""
EVENT_NAMES = f"""
select distinct name
from happened
where name is not null
limit {MOST_EVENTS}
"""


def names_of(store: OpenStore, kind: str) -> list[str]:
    """Return the names of a kind, one of KINDS, in a store."""
    return list(KINDS[kind](store))


@contextlib.contextmanager
def within(scratch: Scratch, seconds: float) -> Iterator[None]:
    """Interrupt what a database does after a time."""
    timer = threading.Timer(seconds, scratch.connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _imports(store: OpenStore, *, in_force: bool) -> Iterator[str]:
    """Yield the numbers of imports, each with its feed and its day."""
    for past in history_of(store):
        if not in_force or past.undone_ms is None:
            yield f"{past.number} {past.feed}, {written(past.started_ms, day=True)}"


def _attributes(store: OpenStore) -> Sequence[str]:
    profiles = profiles_of(store, every=True)
    return list(dict.fromkeys((*profiles.keys, *profiles.loose_keys, *profiles.calculated)))


def _events(store: OpenStore) -> Sequence[str]:
    profiles = profiles_of(store, every=True)
    happened = profiles.events(profiles.happened(), ("name",))
    return [name for (name,) in store.scratch.rows(reading(EVENT_NAMES, happened=happened))]


def _stated_keys(store: OpenStore) -> Iterator[str]:
    """Yield the keys that the configuration of a store states."""
    for section, table in document_of(store).items():
        for name, value in table.items():
            yield f"{section}.{name}"
            if section in NAMED and isinstance(value, Mapping):
                yield from (f"{section}.{name}.{key}" for key in value)


def _possible_keys(store: OpenStore) -> Iterator[str]:
    """Yield the settings, and the keys of everything with a name."""
    yield from SETTINGS
    for section, table in document_of(store).items():
        for name in table if section in NAMED else ():
            yield from (f"{section}.{name}.{key}" for key in KEYS.get(section, ()))


KINDS: Mapping[str, Callable[[OpenStore], Iterator[str] | Sequence[str]]] = {
    "feeds": lambda store: [feed.name for feed in store.feeds()],
    "partners": lambda store: [feed.partner for feed in store.feeds() if feed.partner],
    "workspaces": lambda store: workspaces_of(store.feeds()),
    "audiences": lambda store: [audience.name for audience in audiences(store)],
    "calculated": lambda store: [calculation.name for calculation in calculations(store)],
    "outputs": lambda store: [output.name for output in outputs(store)],
    "events": _events,
    "keys": _attributes,
    "imports": lambda store: _imports(store, in_force=False),
    "imports in force": lambda store: _imports(store, in_force=True),
    "settings": _possible_keys,
    "stated settings": _stated_keys,
}
"""What reads the names of each kind. Behind the number of an import stand its feed and its day."""
