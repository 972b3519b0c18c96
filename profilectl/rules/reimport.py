"""The ways in which content is read: that of a feed, and that of an import (design.md R11).

A feed may have a reading of its own, which an import takes where nobody states another. Content
counts as imported if an import in force read it for the same feed in the same way, and applied at
least one of its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.batch_fields import IGNORED, BatchField, field_named
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.naming import advice
from profilectl.rules.text.terminal import visible

# fmt: off
WAYS: Mapping[str, object] = {
    # the parts of a request that say how content is read, and their defaults: a request that an
    # older version remembered has fewer of them
    "format":          None,
    "mapped":          [],
    "manifest_sha256": None,
    "delimiter":       None,
    "encoding":        None,
    "nulls":           [],
    "quote":           None,
    "escape":          None,
    "skip_lines":      0,
    "ragged":          "reject",
    "unknown":         "refuse",
    "encoding_errors": "refuse",
    "path_columns":    False,
    "binary_as_text":  False,
    "allow_spoiled":   False,
    "empty":           "ignore",
    "environment":     None,
    "event":           None,
}
OPTIONS = {
    # the options whose name is not that of the part
    "mapped":          "--map",
    "manifest_sha256": "--manifest",
    "nulls":           "--null",
}
CHOICES: Mapping[str, Sequence[str]] = {
    # the keys of a feed's reading with few values
    "format":          ("csv", "parquet", "jsonl", "json"),
    "ragged":          ("reject", "pad"),
    "unknown":         ("refuse", "attribute", "ignore"),
    "encoding_errors": ("refuse", "reject"),
    "empty":           ("ignore", "delete", "set"),
    "environment":     ENVIRONMENTS,
}
# fmt: on
FIELDS = {"map": "mapped", "null": "nulls"}
"""The fields of a request whose key in a feed's reading has another name, by that key."""
READING_KEYS: tuple[str, ...] = tuple(
    {"mapped": "map", "nulls": "null", "manifest_sha256": "manifest"}.get(name, name)
    for name in WAYS
)
"""The keys of a feed's reading: the section [feeds.NAME.reading] of the configuration."""
FeedReading = Mapping[str, object]
"""A feed's reading, as the configuration has it: only what is not at its default."""


@dataclass(frozen=True, slots=True)
class WayOfReading:
    """The way in which an import read its content."""

    parts: tuple[tuple[str, str], ...]
    """Each of WAYS, and its value as text."""
    protection: str
    """The protection level in force."""

    def differs(self, another: WayOfReading) -> list[str]:
        """Return the options in which two ways differ."""
        theirs = dict(another.parts)
        names = [
            OPTIONS.get(name, f"--{name.replace('_', '-')}")
            for name, value in self.parts
            if theirs[name] != value
        ]
        return names + (["--protection"] if self.protection != another.protection else [])


@dataclass(frozen=True, slots=True)
class EarlierImport:
    """An import in force that brought a content."""

    number: int
    """The number of the import."""
    way: WayOfReading
    """The way in which it read the content."""
    applied: int
    """The number of rows that it applied."""
    path: str
    """The path of the content then."""


@dataclass(frozen=True, slots=True)
class ImportedContent:
    """The answer to the question whether a content is to be imported."""

    already: int | None = None
    """The import that brought the content, so that it is left out; None: it is imported."""
    notice: str | None = None
    """The notice to show if it is imported although an import brought it before."""


def way_of(request: Mapping[str, object], protection: str) -> WayOfReading:
    """Return the way of reading of a remembered request; parts that it lacks have their default."""
    parts = []
    for name, default in WAYS.items():
        value = request.get(name, default)
        # The order in which options were given says nothing.
        if isinstance(default, list):
            assert isinstance(value, Iterable)
            value = sorted(value)
        parts.append((name, repr(value)))
    return WayOfReading(tuple(parts), protection)


def content_status(way: WayOfReading, imports: Iterable[EarlierImport]) -> ImportedContent:
    """Return whether content is to be imported again (design.md R11).

    imports: those that brought it, the newest first.
    """
    brought = list(imports)
    same_way = [earlier for earlier in brought if earlier.way == way]
    # An import that applied nothing is no reason to leave the content out.
    for earlier in same_way:
        if earlier.applied:
            return ImportedContent(already=earlier.number)
    if same_way:
        return ImportedContent(
            notice=f"import {same_way[0].number} brought this content before and applied none of"
            " its rows: it is imported again"
        )
    if not brought:
        return ImportedContent()
    newest = brought[0]
    stays = (
        f"; what that import set stays, and profilectl imports undo {newest.number} takes it back"
        if newest.applied
        else ""
    )
    return ImportedContent(
        notice=f"import {newest.number} brought this content before, read another way"
        f" ({', '.join(way.differs(newest.way))}): it is imported again{stays}"
    )


@dataclass(frozen=True, slots=True)
class ReadingInForce:
    """The reading of an import, and what of it is the feed's."""

    fields: Mapping[str, Any]
    """The fields of the request that change, by their names."""
    of_feed: Sequence[str]
    """What was taken from the feed, as the options that somebody would have typed."""


def reading_in_force(
    feed_reading: FeedReading, request: Mapping[str, object], typed: Collection[str] | None
) -> ReadingInForce:
    """Return the reading of a request that takes what it does not state from its feed.

    request: its fields, by their names. typed: the fields that somebody stated; None: those that
    are not at their defaults. What is stated wins, option by option; in a mapping, column by
    column.
    """
    fields: dict[str, object] = {}
    options: list[str] = []
    for key, value in feed_reading.items():
        name = FIELDS.get(key, key)
        if key == "map":
            assert isinstance(value, Mapping)
            mapped = request["mapped"]
            assert isinstance(mapped, Sequence)
            columns = {option.rpartition("=")[0] for option in mapped}
            more = [f"{column}={field}" for column, field in value.items() if column not in columns]
            fields[name] = (*more, *mapped)
            options += [f"--map {_worded(option)}" for option in more]
        elif not _is_stated(name, request, typed):
            fields[name] = value
            options += _as_options(key, value)
    return ReadingInForce(fields, options)


def worded_reading(reading: FeedReading) -> list[str]:
    """Return a reading as the options that somebody would type, with visible characters only."""
    options: list[str] = []
    for key, value in reading.items():
        if isinstance(value, Mapping):
            options += [f"--map {_worded(f'{column}={field}')}" for column, field in value.items()]
        else:
            options += _as_options(key, value)
    return options


def _is_stated(name: str, request: Mapping[str, object], typed: Collection[str] | None) -> bool:
    """Return whether somebody stated a field of a request."""
    if typed is not None:
        return name in typed
    value, default = request[name], WAYS.get(name)
    if isinstance(default, list):
        return bool(value)
    return value != default


def _as_options(key: str, value: object) -> list[str]:
    """Return a key of a reading as the options that somebody would type."""
    option = f"--{key.replace('_', '-')}"
    if value is True:
        return [option]
    values = value if isinstance(value, list) else [value]
    return [f"{option} {_worded(str(each))}" for each in values]


def _worded(text: str) -> str:
    """Return a value for a sentence: in quotes where it is no plain word."""
    plain = text and all(letter.isalnum() or letter in "._-=/$" for letter in text)
    shown = visible(text)
    return shown if plain else f'"{shown}"'


def reading_of_request(request: Mapping[str, object]) -> dict[str, object]:
    """Return the reading of a request as a feed keeps it: what is not at its default.

    request: its fields, by their names; a manifest is named by an absolute path.
    """
    reading: dict[str, object] = {}
    for key in READING_KEYS:
        name: str = FIELDS.get(key, key)
        value, default = request[name], WAYS.get(name)
        if key == "map":
            assert isinstance(value, Sequence)
            value = {option.rpartition("=")[0]: option.rpartition("=")[2] for option in value}
        elif key == "null":
            assert isinstance(value, Iterable)
            value = list(value)
        if value and value != default:
            reading[key] = value
    return reading


def checked_reading(title: str, table: object) -> dict[str, object]:
    """Return the reading that a table of the configuration states.

    title: of the table, for the message. Raises UsageError, naming the key that is wrong.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{title} must be a section")
    reading: dict[str, object] = {}
    for key, value in table.items():
        if key not in READING_KEYS:
            raise UsageError(
                f"{title}: there is no key {visible(str(key))}",
                advice(str(key), READING_KEYS) or f"a reading has {', '.join(READING_KEYS)}",
            )
        _check_value(title, key, value)
        name: str = FIELDS.get(str(key), str(key))
        if value and value != WAYS.get(name):
            reading[key] = dict(value) if isinstance(value, Mapping) else value
    # In one order, however the table has it.
    return {key: reading[key] for key in READING_KEYS if key in reading}


def _check_value(title: str, key: str, value: object) -> None:
    """Refuse a value that its key cannot have. Raises UsageError."""
    if key == "map":
        _check_map(title, value)
    elif key == "null":
        texts = value if isinstance(value, list) else None
        if texts is None or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{title}: null must be a list of texts", 'for example null = ["n/a"]')
    elif key == "skip_lines":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
            raise UsageError(f"{title}: skip_lines must be a number of lines", "for example 3")
    elif isinstance(WAYS.get(key), bool):
        if not isinstance(value, bool):
            raise UsageError(f"{title}: {key} must be true or false")
    elif not isinstance(value, str) or not value.strip("\r\n\0"):
        raise UsageError(f"{title}: {key} must be a text")
    elif value not in CHOICES.get(key, (value,)):
        raise UsageError(
            f"{title}: {key} = {visible(repr(value))}", f"one of {', '.join(CHOICES[key])}"
        )


def _check_map(title: str, value: object) -> None:
    """Refuse a mapping that --map would refuse. Raises UsageError."""
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{title}: map must be a section", 'for example map = { "E-mail" = "email" }'
        )
    for column, target in value.items():
        place = f"{title}: map: {visible(str(column))}"
        if not column or not isinstance(target, str):
            raise UsageError(f"{place}: needs the name of a field", 'for example "email"')
        try:
            field = mapped_field(target)
        except UnusableRow as error:
            raise UsageError(f"{place}: {error.detail}") from None
        if field.kind == "unknown identity":
            raise UsageError(f"{place}: there is no identity type {visible(target)}")


def mapped_field(target: str) -> BatchField:
    """Return the field that --map names; "" and "ignore" leave the column out.

    Raises UnusableRow.
    """
    return IGNORED if target in ("", "ignore") else field_named(target)
