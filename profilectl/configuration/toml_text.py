"""The configuration of a store as a document, and as TOML that `config apply` takes back."""

from __future__ import annotations

from typing import cast

from profilectl.configuration.declared import stored_connections
from profilectl.rules.feed import DEFAULT_WORKSPACE, Feed
from profilectl.rules.settings import SECTIONS, SETTINGS
from profilectl.store.definitions import audiences, calculations, outputs
from profilectl.store.store import OpenStore

Table = dict[str, object]
Tables = dict[str, dict[str, Table]]
"""Section -> name -> table of the configuration."""


def settings_tables(settings: dict[str, object]) -> dict[str, Table]:
    """Return settings as tables, by section, in the order of the documentation."""
    return {
        section: {
            name.partition(".")[2]: settings[name]
            for name in SETTINGS
            if name in settings and name.startswith(f"{section}.")
        }
        for section in SECTIONS
    }


def defined_tables(store: OpenStore) -> Tables:
    """Return the definitions of a store as tables."""
    return {
        "calculated": {entry.name: entry.definition.as_table() for entry in calculations(store)},
        "audiences": {entry.name: entry.audience.as_table() for entry in audiences(store)},
        "outputs": {output.name: output.as_table() for output in outputs(store)},
        "connections": {entry.name: entry.as_table() for entry in stored_connections(store)},
    }


def document_of(store: OpenStore) -> dict[str, Table]:
    """Return the whole configuration of a store, as its TOML would be read."""
    document = settings_tables(store.settings().stated)
    for section, tables in named_tables(store).items():
        document[section] = {**tables}
    return document


def named_tables(store: OpenStore) -> Tables:
    """Return the feeds and the definitions of a store as tables."""
    readings = store.readings()
    feeds = {feed.name: feed_table(feed, readings.get(feed.name)) for feed in store.feeds()}
    return {"feeds": feeds, **defined_tables(store)}


def feed_table(feed: Feed, reading: Table | None = None) -> Table:
    """Return a feed as a table. reading: how its files are read, if it says so."""
    table: Table = {"source": feed.source, "protection": feed.protection}
    if feed.partner:
        table["partner"] = feed.partner
    if feed.workspace != DEFAULT_WORKSPACE:
        table["workspace"] = feed.workspace
    if reading:
        table["reading"] = reading
    return table


def config_text(store: OpenStore) -> str:
    """Return the store's configuration as TOML that `config apply` takes back."""
    lines: list[str] = []
    for section, members in settings_tables(store.settings().stated).items():
        if members:
            lines += [f"[{section}]", *_members(members), ""]
    for section, tables in named_tables(store).items():
        for name, table in tables.items():
            parts = {"": table}
            if section == "feeds" and "reading" in table:
                of_feed = {key: value for key, value in table.items() if key != "reading"}
                parts = {"": of_feed, ".reading": cast("Table", table["reading"])}
            for part, members in parts.items():
                lines += [f"[{section}.{_toml(name)}{part}]", *_members(members), ""]
    return "\n".join(lines)


def _members(table: Table) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        members = ", ".join(f"{_toml(key)} = {_toml(member)}" for key, member in value.items())
        return "{ " + members + " }"
    return '"' + "".join(map(_toml_letter, str(value))) + '"'


def _toml_letter(letter: str) -> str:
    plain = letter if letter.isprintable() else f"\\U{ord(letter):08X}"
    return {"\\": "\\\\", '"': '\\"'}.get(letter, plain)
