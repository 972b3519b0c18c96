"""The configuration as TOML: read and checked, compared with the store, applied, written back.

It lives in the store (design.md R10); the file only declares it. What the file leaves out goes back
to its default, except feeds: those are added or changed, never removed, because imports rest on
them.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from profilectl.audiences.outbox import align, has_traces, leave_no_trace
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
from profilectl.rules.identity import STRATEGIES, display, flags_of, no_type, star_of, type_named
from profilectl.rules.leaving.audience_connection import (
    AudienceConnection,
    audience_connection_of,
    is_of_audience,
)
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.connection_config import connection_of
from profilectl.rules.leaving.output import FILES, Output, output_of
from profilectl.rules.priority import FEED_SOURCES, OVERWRITE
from profilectl.rules.retention import check_clocks
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

# fmt: off
SETTINGS: dict[str, tuple[str, str]] = {
    #                            what it is    what it says
    "identity.strategy":        ("strategy",   "which identity strategy resolves rows"),
    "identity.hierarchy":       ("types",      "the order in which identity types are looked up"),
    "identity.login":           ("types",      "types that identify exactly one known profile"),
    "identity.unique":          ("types",      "types of which one profile at most holds a value"),
    "identity.immutable":       ("types",      "types that are never changed once set"),
    "identity.unique_conflict": ("conflict",   "what becomes of a unique identity that a second profile claims"),
    "identity.placeholders":    ("nobodys",    "values that are nobody's identity, instead of the built-in list"),
    "identity.placeholders_add": ("nobodys",   "values that are nobody's identity, beside that list"),
    "attributes.priority":      ("priority",   "how source priority is read"),
    "consent.gdpr_purposes":    ("strings",    "the GDPR purposes that consent may be about; where it is left out, any"),
    "history.keep":             ("limit",      "how many of the last imports keep tables of their own, so that they can be undone"),
    "retention.lifetime_days":  ("limit",      "after so many days without a batch a profile loses its attributes, consent and devices"),
    "retention.retention_days": ("limit",      "after so many days without a batch a profile is gone"),
    "retention.lifetime_profiles": ("switch", "whether a profile keeps its attributes and consent beyond its lifetime"),
    "limits.attributes":        ("limit",      "the most attributes of one batch"),
    "limits.key":               ("limit",      "the most characters of an attribute's name"),
    "limits.value":             ("limit",      "the most characters of a value"),
    "limits.list":              ("limit",      "the most entries of a list"),
    "limits.entry":             ("limit",      "the most characters of an entry of a list"),
}
# fmt: on
SECTIONS = ("identity", "attributes", "consent", "history", "retention", "limits")
FEED_KEYS = ("source", "protection", "partner", "workspace")
NAMED = ("feeds", "calculated", "audiences", "outputs", "connections")
"""Sections with a section for each name: [feeds.crm]."""
CHOICES = {
    "strategy": tuple(STRATEGIES),
    "conflict": ("move", "keep"),
    "priority": tuple(OVERWRITE),
}


@dataclass(frozen=True, slots=True)
class Declared:
    """A checked configuration."""

    settings: dict[str, Any]
    feeds: list[Feed]
    calculated: list[Definition]
    audiences: list[Audience]
    outputs: list[Output] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    sources_left_open: frozenset[str] = frozenset()
    """The feeds whose source is not stated: of one that is registered already it is what it is."""
    shared: list[AudienceConnection] = field(default_factory=list)
    """The connections of audiences."""

    @property
    def connected(self) -> list[Connection | AudienceConnection]:
        """All connections, by name."""
        return sorted([*self.connections, *self.shared], key=lambda one: one.name)


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """One difference between the store and a configuration.

    before is None where nothing was said.
    """

    name: str
    before: Any
    after: Any


def read_config(path: Path) -> Declared:
    """Read a configuration file. Raises InputRefused, naming the key that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
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
    for name in document:
        if name not in (*SECTIONS, *NAMED):
            raise InputRefused(
                f"{path}: there is no section [{name}]",
                f"sections are {', '.join((*SECTIONS, *NAMED))}",
            )
    settings = _settings(path, document)
    try:
        calculated = [
            definition_of(name, table) for name, table in _named(path, document, "calculated")
        ]
        for place, one in enumerate(calculated):
            if one.name in (other.name for other in calculated[:place]):
                raise InputRefused(
                    f"{path}: calculated.{one.name} is there twice",
                    "the case of a reserved name says nothing",
                )
        wanted = [audience_of(name, table) for name, table in _named(path, document, "audiences")]
        check_references(wanted)
        outs = [output_of(name, table) for name, table in _named(path, document, "outputs")]
        stated = _named(path, document, "connections")
        connected = [
            connection_of(name, table) for name, table in stated if not is_of_audience(name, table)
        ]
        shared = [
            audience_connection_of(name, table)
            for name, table in stated
            if is_of_audience(name, table)
        ]
        check_connections(outs, connected, settings.get("consent.gdpr_purposes"))
        check_audience_connections(
            outs, shared, {one.name for one in wanted}, settings.get("consent.gdpr_purposes")
        )
    except UsageError as error:
        raise InputRefused(f"{path}: {error.message}", error.hint) from None
    section = document.get("feeds", {})
    feeds = _feeds(path, section)
    left_open = frozenset(feed.name for feed in feeds if "source" not in section[feed.name])
    return Declared(settings, feeds, calculated, wanted, outs, connected, left_open, shared)


def _named(path: Path, document: Mapping[str, Any], section: str) -> list[tuple[str, Any]]:
    found = document.get(section, {})
    if not isinstance(found, dict):
        raise InputRefused(f"{path}: {section} must be sections: [{section}.NAME]")
    return list(found.items())


def _settings(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in SECTIONS:
        members = document.get(section, {})
        if not isinstance(members, dict):
            raise InputRefused(f"{path}: {section} must be a section")
        for member, value in members.items():
            name = f"{section}.{member}"
            if name not in SETTINGS:
                raise InputRefused(
                    f"{path}: there is no setting {name}", "the settings are " + ", ".join(SETTINGS)
                )
            found[name] = _checked(path, name, value)
    _check_flags(path, found)
    try:
        check_clocks(found)
    except UsageError as error:
        raise InputRefused(f"{path}: {error.message}", error.hint) from None
    return found


def _checked(path: Path, name: str, value: Any) -> Any:
    kind = SETTINGS[name][0]
    if kind in CHOICES:
        if not isinstance(value, str) or value not in CHOICES[kind]:
            raise InputRefused(
                f"{path}: {name} = {value!r}", "it is one of " + ", ".join(CHOICES[kind])
            )
        return value
    if kind == "switch":
        if not isinstance(value, bool):
            raise InputRefused(f"{path}: {name} must be true or false")
        return value
    if kind == "limit":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1_000_000:
            raise InputRefused(f"{path}: {name} must be a whole number from 1 to 1,000,000")
        return value
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InputRefused(f"{path}: {name} must be a list of strings")
    if kind == "nobodys":
        _check_placeholders(path, name, value)
    if kind in ("strings", "nobodys"):
        return value
    types = [type_named(entry) for entry in value]
    if None in types:
        raise InputRefused(
            f"{path}: {name}: there is no identity type {value[types.index(None)]!r}",
            no_type(value[types.index(None)]).hint,
        )
    listed = [one.name for one in types if one]
    if len(set(listed)) != len(listed):
        raise InputRefused(f"{path}: {name} names a type twice")
    return listed


def _check_placeholders(path: Path, name: str, entries: list[str]) -> None:
    for entry in entries:
        if not display(entry) or star_of(display(entry)) == "middle":
            raise InputRefused(
                f"{path}: {name}: {entry!r} is no placeholder",
                "a placeholder is a text; one * at its beginning or its end is any text: noemail@*",
            )


def _check_flags(path: Path, settings: Mapping[str, Any]) -> None:
    strategy = settings.get("identity.strategy", "default")
    row = STRATEGIES[strategy]
    stated = {name.partition(".")[2]: value for name, value in settings.items()}
    for flag in row.fixed:
        if flag in stated and set(stated[flag]) != set(getattr(row, flag)):
            fixed = ", ".join(getattr(row, flag)) or "none"
            raise InputRefused(
                f"{path}: the strategy {strategy} fixes {flag}: {fixed}",
                f"leave identity.{flag} out, or use the strategy conversion",
            )
    flags = flags_of(strategy, stated)
    for wider in ("unique", "login"):
        if not flags["immutable"] <= flags[wider]:
            odd = ", ".join(sorted(flags["immutable"] - flags[wider]))
            raise InputRefused(
                f"{path}: {odd} is immutable and must be {wider} too", f"add it to identity.{wider}"
            )
    hierarchy = stated.get("hierarchy")
    if hierarchy is not None:
        if not hierarchy:
            raise InputRefused(
                f"{path}: identity.hierarchy is empty: nobody could be found",
                "leave it out for the strategy's own",
            )
        absent = sorted((flags["login"] | flags["unique"]) - set(hierarchy))
        if absent:
            raise InputRefused(
                f"{path}: {absent[0]} is login or unique, but not in identity.hierarchy"
            )


def _feeds(path: Path, section: Any) -> list[Feed]:
    if not isinstance(section, dict):
        raise InputRefused(f"{path}: feeds must be sections: [feeds.NAME]")
    return [_feed(path, name, members) for name, members in section.items()]


def _feed(path: Path, name: str, members: Any) -> Feed:
    where = f"{path}: [feeds.{name}]"
    if not isinstance(members, dict):
        raise InputRefused(f"{where} must be a section")
    for member in members:
        if member not in FEED_KEYS:
            raise InputRefused(
                f"{where}: there is no key {member}", f"a feed has {', '.join(FEED_KEYS)}"
            )
    source = members.get("source", source_named_by(name))
    protection = members.get("protection", DEFAULT_PROTECTION)
    partner = members.get("partner")
    workspace = members.get("workspace", DEFAULT_WORKSPACE)
    if not name.strip():
        raise InputRefused(f"{path}: a feed needs a name")
    for member, value in members.items():
        if not isinstance(value, str) or not value.strip():
            raise InputRefused(f"{where}: {member} must be a text")
    if source not in FEED_SOURCES:
        raise InputRefused(
            f"{where}: source = {source!r}", "it is one of " + ", ".join(FEED_SOURCES)
        )
    if protection not in PROTECTIONS:
        raise InputRefused(
            f"{where}: protection = {protection!r}", "it is one of " + ", ".join(PROTECTIONS)
        )
    if partner is not None and (source != "partner" or not isinstance(partner, str)):
        raise InputRefused(
            f"{where}: partner is the name of the partner of a feed whose source is partner"
        )
    if source == ACCOUNT and "workspace" in members:
        raise InputRefused(
            f"{where}: an account feed belongs to no workspace: every one has its attributes",
            "leave workspace out",
        )
    return Feed(name, source, protection, partner, workspace=workspace)


def difference(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return what applying a configuration would change.

    Raises InputRefused for a feed that cannot.
    """
    stated = store.settings().stated
    changes = [
        ConfigurationChange(name, stated.get(name), declared.settings.get(name))
        for name in sorted(stated.keys() | declared.settings.keys())
        if stated.get(name) != declared.settings.get(name)
    ]
    known = {feed.name: feed for feed in store.feeds()}
    for feed in declared.feeds:
        before = known.get(feed.name)
        if before is None:
            where = "" if feed.workspace == DEFAULT_WORKSPACE else f", workspace {feed.workspace}"
            changes.append(
                ConfigurationChange(
                    f"feeds.{feed.name}", None, f"{feed.source}, {feed.protection}{where}"
                )
            )
            continue
        if feed.workspace != before.workspace:
            raise InputRefused(
                f"the feed {feed.name} belongs to the workspace {before.workspace}",
                "its attributes are that workspace's: use another feed name",
            )
        differs = (feed.source, feed.partner or feed.name) != (
            before.source,
            before.partner or before.name,
        )
        if differs and feed.name not in declared.sources_left_open:
            raise InputRefused(
                f"the feed {feed.name} is registered with source {before.source}"
                + (f" and partner {before.partner}" if before.partner else ""),
                "a feed's source is what its attributes' ownership rests on: use another feed name",
            )
        if feed.protection != before.protection:
            changes.append(
                ConfigurationChange(
                    f"feeds.{feed.name}.protection", before.protection, feed.protection
                )
            )
    for one in declared.connections:
        if one.feed not in known and one.feed not in {feed.name for feed in declared.feeds}:
            raise InputRefused(
                f"connection {one.name}: there is no feed {one.feed}",
                advice(one.feed, [*known, *(feed.name for feed in declared.feeds)])
                or "declare it: [feeds.NAME]",
            )
    _check_paths(store, declared)
    return changes + _defined(store, declared)


def _check_paths(store: OpenStore, declared: Declared) -> None:
    """Refuse an output that would be written into the store, or into its log, and a list that would
    be written over another output.
    """
    own = os.path.realpath(store.path)
    files: dict[str, Output] = {}
    for one in declared.outputs:
        if one.type not in FILES:
            continue
        place = os.path.realpath(store.path.absolute().parent / one.place)
        if place in (own, f"{own}.wal"):
            raise InputRefused(
                f"[outputs.{one.name}]: path = {one.place!r} is the store itself, or its log",
                "name another path for the output",
            )
        other = files.setdefault(place, one)
        if other is not one and "csv" in (other.type, one.type):
            raise InputRefused(
                f"[outputs.{one.name}]: path = {one.place!r} is the same file as that of {other.name}",
                "name another path for the output",
            )


def _check_workspaces(store: OpenStore, declared: Declared) -> None:
    """Refuse what is defined for a workspace that no feed belongs to, where there are others."""
    there = workspaces_of([*store.feeds(), *declared.feeds])
    defined = [(f"calculated.{one.name}", one.workspace) for one in declared.calculated] + [
        (f"audiences.{one.name}", one.workspace) for one in declared.audiences
    ]
    for name, workspace in defined:
        if there and workspace not in there:
            raise InputRefused(
                f"[{name}]: there is no workspace {workspace}",
                f'it belongs to one of {", ".join(there)}: workspace = "{there[0]}"',
            )


def _defined(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Return what would become of calculated attributes, audiences, outputs and connections; those
    that are not declared go.
    """
    _check_workspaces(store, declared)
    changes: list[ConfigurationChange] = []
    sides: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        (
            "calculated",
            {one.name: one.definition.as_table() for one in calculations(store)},
            {one.name: one.as_table() for one in declared.calculated},
        ),
        (
            "audiences",
            {one.name: one.audience.as_table() for one in audiences(store)},
            {one.name: one.as_table() for one in declared.audiences},
        ),
        (
            "outputs",
            {one.name: one.as_table() for one in outputs(store)},
            {one.name: one.as_table() for one in declared.outputs},
        ),
        (
            "connections",
            {one.name: one.as_table() for one in _connections(store)},
            {one.name: one.as_table() for one in declared.connected},
        ),
    )
    for section, before, after in sides:
        names = sorted(before.keys() | after.keys())
        changes += [
            ConfigurationChange(f"{section}.{name}", before.get(name), after.get(name))
            for name in names
            if before.get(name) != after.get(name)
        ]
    return changes


def _connections(store: OpenStore) -> list[Connection | AudienceConnection]:
    """Return all connections of a store, by name."""
    return sorted([*connections(store), *audience_connections(store)], key=lambda one: one.name)


def apply_config(store: OpenStore, declared: Declared) -> list[ConfigurationChange]:
    """Make a configuration the store's own, in one transaction; return what changed."""
    changes = difference(store, declared)
    known = {feed.name: feed for feed in store.feeds()}
    with store.transaction():
        store.put_settings(declared.settings)
        for feed in declared.feeds:
            before = known.get(feed.name)
            store.put_feed(replace(feed, number=before.number if before else 0))
        _define(store, declared)
    return changes


def _define(store: OpenStore, declared: Declared) -> None:
    now_ms = time.time_ns() // 1_000_000
    for calculation in calculations(store):
        if calculation.name not in {one.name for one in declared.calculated}:
            drop_calculation(store, calculation.name)
    for definition in declared.calculated:
        put_calculation(store, definition, now_ms)
    replace_audiences(store, declared.audiences, now_ms)
    replace_connections(store, declared.outputs, declared.connections, declared.shared)
    align(store)  # whoever is in an audience that is connected now


def config_text(store: OpenStore) -> str:
    """Return the store's configuration as TOML that `config apply` takes back."""
    stated = store.settings().stated
    lines: list[str] = []
    for section in SECTIONS:
        members = [name for name in SETTINGS if name in stated and name.startswith(f"{section}.")]
        if members:
            lines += [
                f"[{section}]",
                *(f"{name.partition('.')[2]} = {_toml(stated[name])}" for name in members),
                "",
            ]
    for feed in store.feeds():
        lines += [
            f"[feeds.{_toml(feed.name)}]",
            f"source = {_toml(feed.source)}",
            f"protection = {_toml(feed.protection)}",
        ]
        if feed.partner:
            lines.append(f"partner = {_toml(feed.partner)}")
        if feed.workspace != DEFAULT_WORKSPACE:
            lines.append(f"workspace = {_toml(feed.workspace)}")
        lines.append("")
    for section, tables in (
        ("calculated", [(one.name, one.definition.as_table()) for one in calculations(store)]),
        ("audiences", [(one.name, one.audience.as_table()) for one in audiences(store)]),
        ("outputs", [(one.name, one.as_table()) for one in outputs(store)]),
        ("connections", [(one.name, one.as_table()) for one in _connections(store)]),
    ):
        for name, table in tables:
            lines += [
                f"[{section}.{_toml(name)}]",
                *(f"{key} = {_toml(value)}" for key, value in table.items()),
                "",
            ]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{_toml(key)} = {_toml(member)}" for key, member in value.items())
            + " }"
        )
    text = "".join(
        {"\\": "\\\\", '"': '\\"'}.get(one, one if one.isprintable() else f"\\U{ord(one):08X}")
        for one in str(value)
    )
    return f'"{text}"'


def apply_file(
    path: Path, file: Path, *, dry_run: bool = False, wait_s: float = 0
) -> list[ConfigurationChange]:
    """Apply a configuration file and return what changed, or with dry_run what would."""
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
    if traces:  # a removal of somebody erased went with its output or its audience
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
