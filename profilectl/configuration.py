"""The configuration as TOML: read and checked, compared with the store, applied, written back.

It lives in the store, and the file only declares it (design.md R10). Anything that the file leaves
out goes back to its default, except feeds: they are added or changed, never removed, because
imports rest on them.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from profilectl.audiences.outgoing.identity_traces import has_traces, leave_no_trace
from profilectl.audiences.outgoing.outbox import align
from profilectl.audiences.refresh import refresh_once_done
from profilectl.codes import InputRefused, UsageError
from profilectl.rules.audience import Audience, audience_of
from profilectl.rules.calculated import Definition, definition_of
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_PROTECTION,
    DEFAULT_WORKSPACE,
    PROTECTIONS,
    Feed,
    source_named_by,
    workspaces_of,
)
from profilectl.rules.leaving.audience_connection import (
    AudienceConnection,
    audience_connection_of,
    is_of_audience,
)
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.connection_config import connection_of
from profilectl.rules.leaving.output import FILES, Output, output_of
from profilectl.rules.priority import FEED_SOURCES
from profilectl.rules.reimport import checked_reading
from profilectl.rules.settings import SECTIONS, SETTINGS, settings_in
from profilectl.rules.text.naming import advice
from profilectl.store.definitions import (
    audience_connections,
    audiences,
    calculations,
    check_audience_connections,
    check_connections,
    check_references,
    connections,
    drop_calculation,
    has_unfilled,
    outputs,
    put_calculation,
    replace_audiences,
    replace_connections,
)
from profilectl.store.feeds import open_feeds
from profilectl.store.opening import open_store, store_in_memory
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

FEED_KEYS = ("source", "protection", "partner", "workspace", "reading")
NAMED = ("feeds", "calculated", "audiences", "outputs", "connections")
"""Sections with a section for each name: [feeds.crm]."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Declared:
    """A checked configuration."""

    settings: dict[str, object]
    """The settings that it states (rules/settings.py)."""
    feeds: list[Feed]
    """The feeds."""
    calculated: list[Definition]
    """The calculated attributes."""
    audiences: list[Audience]
    """The audiences."""
    outputs: list[Output] = field(default_factory=list)
    """The outputs."""
    connections: list[Connection] = field(default_factory=list)
    """The connections of feeds."""
    sources_left_open: frozenset[str] = frozenset()
    """The feeds whose source is not stated: a registered feed keeps its own."""
    shared: list[AudienceConnection] = field(default_factory=list)
    """The connections of audiences."""
    readings: dict[str, dict[str, object]] = field(default_factory=dict)
    """The readings of the feeds that state one, by the name of the feed."""

    @property
    def connected(self) -> list[Connection | AudienceConnection]:
        """All connections, by name."""
        return sorted([*self.connections, *self.shared], key=_name)


def _name(connection: Connection | AudienceConnection) -> str:
    return connection.name


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """A difference between the store and a configuration."""

    name: str
    """The setting, or the section."""
    before: object
    """The value in the store; None: there is none."""
    after: object
    """The value in the configuration; None: there is none."""


def read_config(path: Path) -> Declared:
    """Read a configuration file. Raises InputRefused, naming the key that is wrong."""
    document = _document(path)
    for name in document:
        if name not in (*SECTIONS, *NAMED):
            raise InputRefused(
                f"{path}: there is no section [{name}]",
                f"sections are {', '.join((*SECTIONS, *NAMED))}",
            )
    settings = settings_in(document, str(path))
    try:
        calculated = _read_named(path, document, "calculated", read=definition_of)
        _check_names(path, calculated)
        declared_audiences = _read_named(path, document, "audiences", read=audience_of)
        check_references(declared_audiences)
        declared_outputs = _read_named(path, document, "outputs", read=output_of)
        tables = _named(path, document, "connections")
        of_feeds, of_audiences = _connections(tables)
        _check_connections(
            settings, declared_audiences, declared_outputs, of_feeds=of_feeds, shared=of_audiences
        )
    except UsageError as error:
        raise InputRefused(f"{path}: {error.message}", error.hint) from None
    section = _named(path, document, "feeds")
    feeds = [_feed(path, name, members) for name, members in section.items()]
    return Declared(
        settings=settings,
        feeds=feeds,
        calculated=calculated,
        audiences=declared_audiences,
        outputs=declared_outputs,
        connections=of_feeds,
        sources_left_open=frozenset(
            name
            for name, members in section.items()
            if isinstance(members, dict) and "source" not in members
        ),
        shared=of_audiences,
        readings=_readings(path, section),
    )


def _readings(path: Path, feeds: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Return the readings that feeds state, by the names of the feeds. Raises InputRefused."""
    readings: dict[str, dict[str, object]] = {}
    for name, members in feeds.items():
        if isinstance(members, dict) and "reading" in members:
            try:
                reading = checked_reading(f"[feeds.{name}.reading]", members["reading"])
            except UsageError as error:
                raise InputRefused(f"{path}: {error.message}", error.hint) from None
            if "manifest" in reading:
                # A relative path begins at the folder of the configuration.
                reading["manifest"] = str(path.absolute().parent / str(reading["manifest"]))
            readings[name] = reading
    return readings


def _document(path: Path) -> dict[str, object]:
    """Read a file as TOML; no number loses a digit. Raises InputRefused."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}", "name a TOML file") from None
    except UnicodeDecodeError:
        raise InputRefused(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InputRefused(f"{path} is not TOML: {error}") from None
    except (InvalidOperation, ValueError):
        raise InputRefused(
            f"{path}: a number in it is too large to be read", "write a smaller number"
        ) from None


def _named(path: Path, document: Mapping[str, object], section: str) -> dict[str, object]:
    """Return the tables of a section by name. Raises InputRefused."""
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        raise InputRefused(f"{path}: {section} must be sections: [{section}.NAME]")
    return tables


def _read_named(
    path: Path,
    document: Mapping[str, object],
    section: str,
    *,
    read: Callable[[str, object], T],
) -> list[T]:
    return [read(name, table) for name, table in _named(path, document, section).items()]


def _connections(
    tables: Mapping[str, object],
) -> tuple[list[Connection], list[AudienceConnection]]:
    """Return the connections of feeds, and those of audiences."""
    of_feeds = [
        connection_of(name, table)
        for name, table in tables.items()
        if not is_of_audience(name, table)
    ]
    of_audiences = [
        audience_connection_of(name, table)
        for name, table in tables.items()
        if isinstance(table, Mapping) and is_of_audience(name, table)
    ]
    return of_feeds, of_audiences


def _check_names(path: Path, definitions: Sequence[Definition]) -> None:
    # Keys of TOML differ, but two spellings of a reserved name are one attribute.
    names: set[str] = set()
    for definition in definitions:
        if definition.name in names:
            raise InputRefused(
                f"{path}: calculated.{definition.name} is there twice",
                "the case of a reserved name says nothing",
            )
        names.add(definition.name)


def _check_connections(
    settings: Mapping[str, object],
    declared_audiences: Sequence[Audience],
    declared_outputs: Sequence[Output],
    *,
    of_feeds: Sequence[Connection],
    shared: Sequence[AudienceConnection],
) -> None:
    """Check the connections against everything that they name. Raises UsageError."""
    listed = settings.get("consent.gdpr_purposes")
    purposes = [str(purpose) for purpose in listed] if isinstance(listed, list) else None
    check_connections(declared_outputs, of_feeds, purposes)
    names = {audience.name for audience in declared_audiences}
    check_audience_connections(declared_outputs, shared, names, purposes=purposes)


def _feed(path: Path, name: str, members: object) -> Feed:
    """Read a feed. Raises InputRefused."""
    title = f"{path}: [feeds.{name}]"
    if not isinstance(members, dict):
        raise InputRefused(f"{title} must be a section")
    for member in members:
        if member not in FEED_KEYS:
            raise InputRefused(
                f"{title}: there is no key {member}", f"a feed has {', '.join(FEED_KEYS)}"
            )
    if not name.strip():
        raise InputRefused(f"{path}: a feed needs a name")
    for member, value in members.items():
        if member != "reading" and (not isinstance(value, str) or not value.strip()):
            raise InputRefused(f"{title}: {member} must be a text")
    source = _choice(
        title, "source", members.get("source", source_named_by(name)), choices=FEED_SOURCES
    )
    protection = _choice(
        title, "protection", members.get("protection", DEFAULT_PROTECTION), choices=PROTECTIONS
    )
    partner = members.get("partner")
    if partner is not None and source != "partner":
        raise InputRefused(
            f"{title}: partner is the name of the partner of a feed whose source is partner"
        )
    if source == ACCOUNT and "workspace" in members:
        raise InputRefused(
            f"{title}: an account feed belongs to no workspace: every one has its attributes",
            "leave workspace out",
        )
    return Feed(
        name=name,
        source=source,
        protection=protection,
        partner=partner,
        workspace=members.get("workspace", DEFAULT_WORKSPACE),
    )


def _choice(
    title: str, key: str, value: str, *, choices: Sequence[str] | Mapping[str, object]
) -> str:
    if value not in choices:
        raise InputRefused(f"{title}: {key} = {value!r}", "it is one of " + ", ".join(choices))
    return value


def difference(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return the changes that applying a configuration would make.

    Raises InputRefused for a configuration that cannot be applied to the store.
    """
    settings = store.settings().stated
    changes = [
        ConfigurationChange(name, settings.get(name), declared.settings.get(name))
        for name in sorted(settings.keys() | declared.settings.keys())
        if settings.get(name) != declared.settings.get(name)
    ]
    registered = {feed.name: feed for feed in store.feeds()}
    for feed in declared.feeds:
        is_open = feed.name in declared.sources_left_open
        change = _feed_change(feed, registered.get(feed.name), is_source_open=is_open)
        changes += [change] if change else []
    of_store = store.readings()
    changes += [
        ConfigurationChange(f"feeds.{name}.reading", of_store.get(name), reading or None)
        for name, reading in declared.readings.items()
        if of_store.get(name, {}) != reading
    ]
    # A feed that is registered need not be declared: feeds are never removed (design.md R10).
    declared_names = [feed.name for feed in declared.feeds]
    for connection in declared.connections:
        if connection.feed not in registered and connection.feed not in declared_names:
            raise InputRefused(
                f"connection {connection.name}: there is no feed {connection.feed}",
                advice(connection.feed, [*registered, *declared_names])
                or "declare it: [feeds.NAME]",
            )
    _check_paths(store, declared)
    return changes + _defined(store, declared)


def _feed_change(
    feed: Feed, before: Feed | None, *, is_source_open: bool
) -> ConfigurationChange | None:
    """Return the change of a feed, or None if there is none. Raises InputRefused.

    before: the feed as it is registered. is_source_open: whether its source is not stated.
    """
    name = f"feeds.{feed.name}"
    if before is None:
        place = "" if feed.workspace == DEFAULT_WORKSPACE else f", workspace {feed.workspace}"
        return ConfigurationChange(name, None, f"{feed.source}, {feed.protection}{place}")
    if feed.workspace != before.workspace:
        raise InputRefused(
            f"the feed {feed.name} belongs to the workspace {before.workspace}",
            "its attributes are that workspace's: use another feed name",
        )
    is_other = (feed.source, feed.partner or feed.name) != (
        before.source,
        before.partner or before.name,
    )
    if is_other and not is_source_open:
        raise InputRefused(
            f"the feed {feed.name} is registered with source {before.source}"
            + (f" and partner {before.partner}" if before.partner else ""),
            "a feed's source is what its attributes' ownership rests on: use another feed name",
        )
    if feed.protection == before.protection:
        return None
    return ConfigurationChange(f"{name}.protection", before.protection, feed.protection)


def _check_paths(store: OpenStore, declared: Declared) -> None:
    """Refuse an output that would be written over the store, its log or another output.

    Several jsonl outputs may share a file; a csv file holds one audience's list.
    Raises InputRefused.
    """
    own = os.path.realpath(store.path)
    files: dict[str, Output] = {}
    for output in declared.outputs:
        if output.type not in FILES:
            continue
        # A relative path begins at the folder of the store; two names of one file are one place.
        place = os.path.realpath(store.path.absolute().parent / output.place)
        if place in (own, f"{own}.wal"):
            raise InputRefused(
                f"[outputs.{output.name}]: path = {output.place!r} is the store itself, or its log",
                "name another path for the output",
            )
        earlier = files.setdefault(place, output)
        if earlier is not output and "csv" in (earlier.type, output.type):
            raise InputRefused(
                f"[outputs.{output.name}]: path = {output.place!r} is the same file as that of"
                f" {earlier.name}",
                "name another path for the output",
            )


def _check_workspaces(store: OpenStore, declared: Declared) -> None:
    """Refuse a definition for a workspace that no feed belongs to, if there are others.

    Raises InputRefused.
    """
    workspaces = workspaces_of([*store.feeds(), *declared.feeds])
    defined = [
        *((f"calculated.{entry.name}", entry.workspace) for entry in declared.calculated),
        *((f"audiences.{audience.name}", audience.workspace) for audience in declared.audiences),
    ]
    for name, workspace in defined:
        if workspaces and workspace not in workspaces:
            raise InputRefused(
                f"[{name}]: there is no workspace {workspace}",
                f'it belongs to one of {", ".join(workspaces)}: workspace = "{workspaces[0]}"',
            )


Tables = dict[str, dict[str, dict[str, object]]]
"""Section -> name -> table of the configuration."""


def _tables(store: OpenStore) -> Tables:
    """Return the definitions of a store as tables."""
    all_connections: list[Connection | AudienceConnection] = sorted(
        [*connections(store), *audience_connections(store)], key=_name
    )
    return {
        "calculated": {entry.name: entry.definition.as_table() for entry in calculations(store)},
        "audiences": {entry.name: entry.audience.as_table() for entry in audiences(store)},
        "outputs": {output.name: output.as_table() for output in outputs(store)},
        "connections": {connection.name: connection.as_table() for connection in all_connections},
    }


def _declared_tables(declared: Declared) -> Tables:
    return {
        "calculated": {entry.name: entry.as_table() for entry in declared.calculated},
        "audiences": {audience.name: audience.as_table() for audience in declared.audiences},
        "outputs": {output.name: output.as_table() for output in declared.outputs},
        "connections": {entry.name: entry.as_table() for entry in declared.connected},
    }


def _defined(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return the changes of calculated attributes, audiences, outputs and connections.

    Definitions that are not declared go.
    """
    _check_workspaces(store, declared)
    after_tables = _declared_tables(declared)
    changes: list[ConfigurationChange] = []
    for section, before in _tables(store).items():
        after = after_tables[section]
        changes += [
            ConfigurationChange(f"{section}.{name}", before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    return changes


def apply_config(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Make a configuration the store's own, in one transaction; return the changes."""
    changes = difference(store, declared)
    registered = {feed.name: feed for feed in store.feeds()}
    with store.transaction():
        store.put_settings(declared.settings)
        for feed in declared.feeds:
            before = registered.get(feed.name)
            # Of a registered feed only the protection level can change: see _feed_change.
            store.put_feed(replace(feed, number=before.number if before else 0))
        for name, reading in declared.readings.items():
            store.put_reading(name, reading)
        _define(store, declared)
    return changes


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


def config_text(store: OpenStore) -> str:
    """Return the store's configuration as TOML that `config apply` takes back."""
    settings = store.settings().stated
    lines: list[str] = []
    for section in SECTIONS:
        members = [name for name in SETTINGS if name in settings and name.startswith(f"{section}.")]
        if members:
            lines += [
                f"[{section}]",
                *(f"{name.partition('.')[2]} = {_toml(settings[name])}" for name in members),
                "",
            ]
    readings = store.readings()
    for feed in store.feeds():
        lines += [*_feed_lines(feed), ""]
        if reading := readings.get(feed.name):
            lines += [f"[feeds.{_toml(feed.name)}.reading]"]
            lines += [*(f"{key} = {_toml(value)}" for key, value in reading.items()), ""]
    for section, tables in _tables(store).items():
        for name, table in tables.items():
            lines += [
                f"[{section}.{_toml(name)}]",
                *(f"{key} = {_toml(value)}" for key, value in table.items()),
                "",
            ]
    return "\n".join(lines)


def _feed_lines(feed: Feed) -> list[str]:
    lines = [
        f"[feeds.{_toml(feed.name)}]",
        f"source = {_toml(feed.source)}",
        f"protection = {_toml(feed.protection)}",
    ]
    if feed.partner:
        lines.append(f"partner = {_toml(feed.partner)}")
    if feed.workspace != DEFAULT_WORKSPACE:
        lines.append(f"workspace = {_toml(feed.workspace)}")
    return lines


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


def apply_file(
    path: Path, file: Path, *, dry_run: bool = False, wait_s: float = 0
) -> list[ConfigurationChange]:
    """Apply a configuration file; return the changes, or with dry_run those that it would make."""
    declared = read_config(file)
    if dry_run and not path.exists():
        with scratch_beside(path.absolute()) as scratch, store_in_memory(scratch, path) as store:
            return difference(store, declared)
    with open_feeds(path, wait_s, write=True) as store:
        changes = difference(store, declared) if dry_run else apply_config(store, declared)
        changed = any(change.name.startswith(("calculated.", "audiences.")) for change in changes)
        defined = not dry_run and (changed or has_unfilled(store))
        traces = not dry_run and has_traces(store)
    if defined:
        refresh_once_done(path, "the configuration is applied", wait_s=wait_s)
    # A message that was to remove an erased person went with its output or its audience, but the
    # bytes of the identities are still in the file (identity_traces.py).
    if traces:
        with (
            scratch_beside(path.absolute()) as scratch,
            open_store(scratch, path, write=True, wait_s=max(wait_s, 10)) as store,
        ):
            leave_no_trace(store)
    return changes


def export_text(path: Path, *, wait_s: float = 0) -> str:
    """Return the configuration as TOML."""
    with open_feeds(path, wait_s) as store:
        return config_text(store)
