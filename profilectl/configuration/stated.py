"""What a configuration file states, read and checked as far as it can be without a store."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.audience import Audience, audience_of
from profilectl.rules.calculated import Definition, definition_of
from profilectl.rules.feed import PROTECTIONS
from profilectl.rules.leaving.audience_connection import (
    AudienceConnection,
    audience_connection_of,
    is_of_audience,
)
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.connection_config import connection_of
from profilectl.rules.leaving.output import Output, output_of
from profilectl.rules.priority import FEED_SOURCES
from profilectl.rules.reimport import checked_reading
from profilectl.rules.settings import SECTIONS, stated_settings
from profilectl.rules.text.naming import advice

FEED_KEYS = ("source", "protection", "partner", "workspace", "reading")
NAMED = ("feeds", "calculated", "audiences", "outputs", "connections")
"""Sections with a section for each name: [feeds.crm]."""
EVERY_SECTION = (*SECTIONS, *NAMED)

Document = Mapping[str, object]
"""A TOML document, or a table of it."""
AnyConnection = Connection | AudienceConnection
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stated:
    """What a configuration states."""

    title: str
    """The name of the file, for messages."""
    settings: dict[str, object]
    """The settings (rules/settings.py)."""
    feeds: dict[str, dict[str, str]]
    """The keys that it states of each feed, without its reading."""
    readings: dict[str, dict[str, object]]
    """How the files of a feed are read, of each feed that says so (rules/reimport.py)."""
    calculated: list[Definition]
    """The calculated attributes."""
    audiences: list[Audience]
    """The audiences."""
    outputs: list[Output]
    """The outputs."""
    connections: list[AnyConnection]
    """The connections of feeds and of audiences."""


def read_config(path: Path) -> Stated:
    """Read a configuration file. Raises InputRefused, naming the key that is wrong."""
    return stated_in(_document(path), str(path), folder=path.parent)


def stated_in(document: Document, title: str, *, folder: Path = Path()) -> Stated:
    """Return what a document states, each part checked by itself.

    title: where it stands, for messages; folder: where a relative path begins. Raises InputRefused,
    naming the key that is wrong.
    """
    for name in document:
        if name not in EVERY_SECTION:
            raise InputRefused(
                f"{title}: there is no section [{name}]", advice(name, EVERY_SECTION)
            )
    settings = stated_settings(document, title)
    feeds = _named(document, "feeds", title)
    try:
        calculated = _read_named(document, "calculated", title, read=definition_of)
        _check_names(title, calculated)
        return Stated(
            title=title,
            settings=settings,
            feeds={name: _feed_keys(title, name, members) for name, members in feeds.items()},
            readings=_readings(feeds, folder),
            calculated=calculated,
            audiences=_read_named(document, "audiences", title, read=audience_of),
            outputs=_read_named(document, "outputs", title, read=output_of),
            connections=_read_named(document, "connections", title, read=_connection_of),
        )
    except UsageError as error:
        raise InputRefused(f"{title}: {error.message}", error.hint) from None


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
    except RecursionError:
        raise InputRefused(f"{path} is nested too deeply") from None


def _named(document: Document, section: str, title: str) -> dict[str, object]:
    """Return the tables of a section by name. Raises InputRefused."""
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        raise InputRefused(f"{title}: {section} must be sections: [{section}.NAME]")
    return tables


def _read_named(
    document: Document, section: str, title: str, *, read: Callable[[str, object], T]
) -> list[T]:
    return [read(name, table) for name, table in _named(document, section, title).items()]


def _connection_of(name: str, table: object) -> AnyConnection:
    """Read the connection of a feed or of an audience. Raises UsageError, naming the key."""
    if isinstance(table, Mapping) and is_of_audience(name, table):
        return audience_connection_of(name, table)
    return connection_of(name, table)


def _check_names(title: str, definitions: Iterable[Definition]) -> None:
    # Keys of TOML differ, but two spellings of a reserved name are one attribute.
    names: set[str] = set()
    for definition in definitions:
        if definition.name in names:
            raise InputRefused(
                f"{title}: calculated.{definition.name} is there twice",
                "the case of a reserved name says nothing",
            )
        names.add(definition.name)


def _feed_keys(title: str, name: str, members: object) -> dict[str, str]:
    """Return the keys that are stated of a feed. Raises InputRefused."""
    title = f"{title}: [feeds.{name}]"
    if not isinstance(members, dict):
        raise InputRefused(f"{title} must be a section")
    if not name.strip():
        raise InputRefused(f"{title}: a feed needs a name")
    for member, value in members.items():
        if member not in FEED_KEYS:
            raise InputRefused(f"{title}: there is no key {member}", advice(member, FEED_KEYS))
        if member != "reading" and (not isinstance(value, str) or not value.strip()):
            raise InputRefused(f"{title}: {member} must be a text")
    _check_choice(title, "source", members, choices=FEED_SOURCES)
    _check_choice(title, "protection", members, choices=PROTECTIONS)
    return {member: value for member, value in members.items() if member != "reading"}


def _readings(feeds: Document, folder: Path) -> dict[str, dict[str, object]]:
    """Return the readings that feeds state, by the names of the feeds. Raises UsageError."""
    readings: dict[str, dict[str, object]] = {}
    for name, members in feeds.items():
        if isinstance(members, dict) and "reading" in members:
            reading = checked_reading(f"[feeds.{name}.reading]", members["reading"])
            if "manifest" in reading:
                reading["manifest"] = str(folder.absolute() / str(reading["manifest"]))
            readings[name] = reading
    return readings


def _check_choice(
    title: str, key: str, members: Document, *, choices: Sequence[str] | Mapping[str, object]
) -> None:
    if key in members and members[key] not in choices:
        raise InputRefused(
            f"{title}: {key} = {members[key]!r}", "it is one of " + ", ".join(choices)
        )
