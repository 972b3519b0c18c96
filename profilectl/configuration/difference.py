"""The difference between a store and a configuration, and applying it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.audiences.outgoing.outbox import align
from profilectl.audiences.removal import rows_of_audience, rows_of_calculated, rows_of_place
from profilectl.configuration.declared import Declared
from profilectl.configuration.toml_text import Tables, defined_tables
from profilectl.rules.feed import DEFAULT_WORKSPACE, Feed
from profilectl.store.definitions import (
    audiences,
    calculations,
    drop_calculation,
    outputs,
    put_calculation,
    replace_audiences,
    replace_connections,
)
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """A difference between the store and a configuration."""

    name: str
    """The setting, or the section."""
    before: object
    """The value in the store; None: there is none."""
    after: object
    """The value in the configuration; None: there is none."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """How much of the store goes with it, by the noun for one."""

    @property
    def removes(self) -> bool:
        """Whether something of the store's configuration goes."""
        return self.after is None

    @property
    def is_loss(self) -> bool:
        """Whether something goes, of the configuration or with it."""
        return self.removes or any(self.lost.values())

    def as_json(self) -> dict[str, object]:
        """Return the change as `config apply --json` prints it."""
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "removes": self.removes,
            "lost": dict(self.lost),
        }


def difference(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return the changes that applying a configuration would make."""
    settings = store.settings().stated
    changes = [
        ConfigurationChange(name, settings.get(name), declared.settings.get(name))
        for name in sorted(settings.keys() | declared.settings.keys())
        if settings.get(name) != declared.settings.get(name)
    ]
    registered = {feed.name: feed for feed in store.feeds()}
    for feed in declared.feeds:
        changes += _feed_changes(feed, registered.get(feed.name))
    of_store = store.readings()
    changes += [
        ConfigurationChange(f"feeds.{name}.reading", of_store.get(name), reading or None)
        for name, reading in declared.readings.items()
        if of_store.get(name, {}) != reading
    ]
    return changes + _defined(store, declared)


def _feed_changes(feed: Feed, before: Feed | None) -> list[ConfigurationChange]:
    """Return the change of a feed, if there is one. before: the feed as it is registered."""
    name = f"feeds.{feed.name}"
    if before is None:
        place = "" if feed.workspace == DEFAULT_WORKSPACE else f", workspace {feed.workspace}"
        return [ConfigurationChange(name, None, f"{feed.source}, {feed.protection}{place}")]
    if feed.protection == before.protection:
        return []
    return [ConfigurationChange(f"{name}.protection", before.protection, feed.protection)]


def _declared_tables(declared: Declared) -> Tables:
    return {
        "calculated": {entry.name: entry.as_table() for entry in declared.calculated},
        "audiences": {audience.name: audience.as_table() for audience in declared.audiences},
        "outputs": {output.name: output.as_table() for output in declared.outputs},
        "connections": {entry.name: entry.as_table() for entry in declared.connected},
    }


def _defined(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return the changes of calculated attributes, audiences, outputs and connections."""
    after_tables = _declared_tables(declared)
    changes: list[ConfigurationChange] = []
    for section, before in defined_tables(store).items():
        after = after_tables[section]
        removed = _rows_lost(store, section, before.keys() - after.keys())
        if section == "outputs":
            removed = _places_lost(store, declared)
        changes += [
            ConfigurationChange(
                f"{section}.{name}", before.get(name), after.get(name), lost=removed.get(name, {})
            )
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    return changes


def _rows_lost(store: OpenStore, section: str, removed: set[str]) -> dict[str, Mapping[str, int]]:
    """Return what of the store goes with each removed definition of a section."""
    if section == "calculated":
        return {name: rows_of_calculated(store, name) for name in removed}
    if section == "audiences" and removed:
        return {
            audience.name: rows_of_audience(store, audience)
            for audience in audiences(store)
            if audience.name in removed
        }
    return {}


def _places_lost(store: OpenStore, declared: Declared) -> dict[str, Mapping[str, int]]:
    """Return what goes with the place of each output that gets another one."""
    places = {output.name: (output.type, output.place) for output in declared.outputs}
    return {
        output.name: rows_of_place(store, output.name)
        for output in outputs(store)
        if output.name in places and places[output.name] != (output.type, output.place)
    }


def apply_config(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Make a configuration the store's own, in one transaction; return the changes."""
    changes = difference(store, declared)
    with store.transaction():
        store.put_settings(declared.settings)
        for feed in declared.feeds:
            # Of a registered feed only the protection level can change (declared.py).
            store.put_feed(feed)
        for name, reading in declared.readings.items():
            store.put_reading(name, reading)
        _define(store, declared)
    return changes


def losses(changes: Sequence[ConfigurationChange]) -> list[ConfigurationChange]:
    """Return the changes with which something goes that nothing brings back."""
    return [change for change in changes if change.is_loss]


def _define(store: OpenStore, declared: Declared) -> None:
    now_ms = time.time_ns() // 1_000_000
    names = {definition.name for definition in declared.calculated}
    for calculation in calculations(store):
        if calculation.name not in names:
            drop_calculation(store, calculation.name)
    for definition in declared.calculated:
        put_calculation(store, definition, now_ms)
    replace_audiences(store, declared.audiences, now_ms)
    replace_connections(store, declared.outputs, declared.connections, of_audiences=declared.shared)
    # Messages for the members of an audience that is connected from here on.
    align(store)
