"""The meaning of each column of a file: by its name, the platform's manifest, and --map.

Sources: design.md 4 (columns), domain.md 8.1 (manifest, duplicate headers, unknown roots).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import InputRefused, UsageError
from profilectl.importing.stage.misspelled import misspelled
from profilectl.importing.stage.source.encoding import first_bad_byte
from profilectl.rules.batch_fields import (
    IGNORED,
    ROOTS,
    BatchField,
    Columns,
    field_meant,
    field_named,
)
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.text.naming import advice

MOST_COLUMNS = 10_000
"""How many columns a file may have."""
NAMELESS = BatchField("ignored", "no name")
"""A column without a name of which nothing is stated: left out where it has no value."""
PLACE = re.compile(r"#([1-9][0-9]{0,5})")
"""How --map names a column by its place."""
MOST_FAULTS = 12
"""How many faults one message names."""
SHOWN = 20
"""How many names of columns a hint offers."""
LISTED_PLACES = 12
"""How many places of columns a message lists."""
NO_HEADER = 'where a file has no header, a --manifest with "hasHeaderRow": false names its columns'
_DATA = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+|[+-]?[0-9]+([.,][0-9]+)*")


def looks_like_data(name: str) -> bool:
    """Return whether a name is what a value may be and a name is not: an e-mail, a number."""
    return _DATA.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The platform's manifest."""

    path: str
    """Its file."""
    has_header: bool
    """Whether the files that it describes have a header."""
    columns: tuple[tuple[str | None, BatchField], ...]
    """The name of each column, None where it is known by its place, and its meaning."""


class ColumnFaults:
    """The faults of the columns of a file, gathered, so that one message names all of them."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._hints: dict[str, None] = {}

    def add(self, fault: str, hint: str) -> None:
        """Add a fault, and a hint what to do about it."""
        self._faults.append(fault)
        self._hints[hint] = None

    def refuse(self, place: str) -> None:
        """Raise InputRefused where there is any fault. place: the file, and the line."""
        if self._faults:
            more = len(self._faults) - MOST_FAULTS
            faults = self._faults[:MOST_FAULTS] + ([f"and {more} more"] if more > 0 else [])
            hints = list(self._hints)[:MOST_FAULTS]
            raise InputRefused(f"{place}: {'; '.join(faults)}", "; ".join(hints))


# The manifest


def read_manifest(path: str) -> Manifest:
    """Read a manifest file (domain.md 8.1). Raises InputRefused, naming the entry that is wrong."""
    document = _manifest_document(path)
    if not isinstance(document, dict) or not isinstance(document.get("columns"), list):
        raise InputRefused(f'{path}: a manifest is {{"hasHeaderRow": ..., "columns": [...]}}')
    has_header = document.get("hasHeaderRow", True)
    if not isinstance(has_header, bool):
        raise InputRefused(f"{path}: hasHeaderRow must be true or false")
    entries = [
        _manifest_entry(f"{path}: column {place}", entry, has_header=has_header)
        for place, entry in enumerate(document["columns"], start=1)
    ]
    places: dict[str, int] = {}
    for place, (name, _) in enumerate(entries, start=1):
        if has_header and name is not None and places.setdefault(name.strip(), place) != place:
            raise InputRefused(
                f"{path}: columns {places[name.strip()]} and {place} both say what {name!r} is",
                "take one of them out",
            )
    return Manifest(path, has_header, tuple(entries))


def _manifest_document(path: str) -> object:
    """Return the JSON of a manifest. Raises InputRefused."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}", "name the manifest file") from None
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise InputRefused(f"{place}: the manifest is not JSON", "mend it and run again") from None
    except RecursionError:
        raise InputRefused(f"{path}: the manifest is not JSON", "mend it and run again") from None
    except UnicodeDecodeError:
        bad = first_bad_byte(Path(path))
        place = path if bad is None else f"{path}:{bad.line}: byte {bad.byte} of the line"
        raise InputRefused(
            f"{place}: the manifest is not UTF-8", "save it as UTF-8, and run again"
        ) from None


def _manifest_entry(
    place: str, entry: object, *, has_header: bool
) -> tuple[str | None, BatchField]:
    """Return the name of a column and its meaning. Raises InputRefused, naming the place."""
    if not isinstance(entry, dict) or entry.get("action", "keep") not in ("keep", "ignore"):
        raise InputRefused(f'{place}: action must be "keep" or "ignore"')
    name = entry.get("column")
    if has_header and not isinstance(name, str):
        raise InputRefused(f"{place}: needs the name of a column")
    if entry.get("action", "keep") == "ignore":
        return name if isinstance(name, str) else None, IGNORED
    target = entry.get("field", name)
    if not isinstance(target, str) or not target:
        raise InputRefused(f"{place}: needs a field")
    field = _manifest_field(target, place)
    if "field" in entry and (wrong := misspelled(target, field)):
        raise InputRefused(
            f"{place}: {wrong.fault}",
            f'"field": "{wrong.near}", or "{wrong.own}" for an attribute of that name',
        )
    return name if isinstance(name, str) else None, field


def _manifest_field(target: str, place: str) -> BatchField:
    try:
        return field_named(target)
    except UnusableRow as error:
        raise InputRefused(
            f"{place}: {error.detail}",
            f'to keep it as an attribute: --map "{target}=user_attributes.{target}"',
        ) from None


# The --map options


def read_map(options: Sequence[str]) -> dict[str, BatchField]:
    """Read the --map options, COLUMN=FIELD each. Raises UsageError.

    An empty FIELD or "ignore" leaves the column out.
    """
    mapped: dict[str, BatchField] = {}
    for option in options:
        name, equals, target = option.rpartition("=")
        if not equals or not name:
            raise UsageError(
                f"--map {option}: must be COLUMN=FIELD",
                'for example --map "E-mail=user_identities.email"',
            )
        if name in mapped:
            raise UsageError(f"--map names the column {name!r} twice")
        try:
            mapped[name] = IGNORED if target in ("", "ignore") else field_named(target)
        except UnusableRow as error:
            raise UsageError(f"--map {option}: {error.detail}") from None
        if mapped[name].kind == "unknown identity":
            raise UsageError(
                f"--map {option}: there is no identity type of that name",
                advice(target.rpartition(".")[2], list(BY_NAME)),
            )
        if wrong := misspelled(target, mapped[name]):
            raise UsageError(
                f"--map {option}: {wrong.fault}",
                f"{map_option(name, wrong.near)}, or {map_option(name, wrong.own)} for an attribute"
                " of that name",
            )
    return mapped


def map_option(column: str, field: str) -> str:
    """Return the --map option that says what a column is, as a shell takes it."""
    mapping = f"{column}={field}"
    # What a shell would read something into between double quotes stands between single ones.
    if any(letter in mapping for letter in '$`"!\\'):
        return f"--map {shlex.quote(mapping)}"
    return f'--map "{mapping}"'


def flat_columns(
    manifest: Manifest | None, mapped: Mapping[str, BatchField]
) -> dict[str, BatchField]:
    """Return the fields that names of flat rows of JSON are mapped to. Raises InputRefused."""
    if manifest is None:
        return dict(mapped)
    if not manifest.has_header:
        raise InputRefused(
            f"{manifest.path} describes columns, and names them by place; keys of JSON have none",
            "name them, with hasHeaderRow true",
        )
    return {name: field for name, field in manifest.columns if name is not None} | dict(mapped)


def meanings_of(columns: Columns) -> tuple[tuple[str, str], ...]:
    """Return how each name of the flat rows of a file was read."""
    return tuple((name, field.title or "ignored") for name, field in columns.met.items())


# The columns of a file


def read_columns(
    path: str,
    names: Sequence[str],
    manifest: Manifest | None,
    mapped: Mapping[str, BatchField],
    *,
    unknown: str = "refuse",
    line: int | None = None,
    filled: Collection[int] | None = None,
) -> list[BatchField]:
    """Return the meaning of each column of a file, in order.

    unknown: what becomes of a dotted name that is no field: refuse, attribute or ignore. line: of
    the header. filled: the places, from 0, of nameless columns that are known to have a value;
    where it is given, a nameless column of which nothing is stated is NAMELESS. Raises
    InputRefused, naming the file and all that is wrong.
    """
    if len(names) > MOST_COLUMNS:
        raise InputRefused(
            f"{path}: {len(names):,} columns; at most {MOST_COLUMNS:,} can be read",
            "part the columns among several files, each with the identities",
        )
    faults = ColumnFaults()
    by_map = _by_map(names, mapped, faults)
    by_manifest: Sequence[BatchField | None] = [None] * len(names)
    if manifest:
        by_manifest = _by_manifest(path, names, manifest, faults=faults)
    fields: list[BatchField] = []
    for place, name in enumerate(names):
        field = by_map.get(place) or by_manifest[place]
        if field is None and not name and filled is not None:
            field = NAMELESS
        if field is None:
            field = _by_name(name, place, unknown, faults=faults, in_header=line is not None)
        fields.append(field)
    if nameless := sorted(place for place in filled or () if fields[place] is NAMELESS):
        faults.add(*no_name(nameless))
    doubled: set[int] = set()
    if manifest is None or manifest.has_header:
        # A place that --map names tells columns of one name apart.
        by_place = {place for place in by_map if names[place] not in mapped}
        doubled = _find_doubled(names, fields, by_place, faults=faults)
    _find_same(names, fields, doubled, faults=faults)
    faults.refuse(path if line is None else f"{path}:{line}")
    return fields


def _by_map(
    names: Sequence[str], mapped: Mapping[str, BatchField], faults: ColumnFaults
) -> dict[int, BatchField]:
    """Return the field that --map says for each place, from 0.

    A column is named by its name, else by #PLACE.
    """
    fields: dict[int, BatchField] = {}
    for key, field in mapped.items():
        number = PLACE.fullmatch(key)
        # A name is taken as it is written, else without the blanks around it.
        name = key if key in names else key.strip()
        places = [place for place, own_name in enumerate(names) if own_name == name]
        if not places and number and int(number[1]) <= len(names):
            places = [int(number[1]) - 1]
        if not places:
            faults.add(f"--map names a column that is not there: {key!r}", _offer(names))
        for place in places:
            if place in fields:
                faults.add(
                    f"--map says twice what column #{place + 1} is",
                    "say it once, by name or by place",
                )
            fields[place] = field
    return fields


def _by_manifest(
    path: str, names: Sequence[str], manifest: Manifest, *, faults: ColumnFaults
) -> list[BatchField | None]:
    """Return the field that a manifest says for each column.

    Raises InputRefused where it describes other columns.
    """
    if not manifest.has_header:
        if len(manifest.columns) != len(names):
            raise InputRefused(
                f"{path}: {len(names)} columns, but {manifest.path} describes"
                f" {len(manifest.columns)}"
            )
        return [field for _, field in manifest.columns]
    by_name = {
        name.strip() if name not in names else name: field
        for name, field in manifest.columns
        if name is not None
    }
    for name in by_name:
        if name not in names:
            faults.add(f"{manifest.path} names a column that is not there: {name!r}", _offer(names))
    return [by_name.get(name) for name in names]


def _by_name(
    name: str, place: int, unknown: str, *, faults: ColumnFaults, in_header: bool
) -> BatchField:
    """Return the meaning of the name of a column."""
    try:
        return field_meant(name, unknown)
    except UnusableRow as error:
        if in_header and looks_like_data(name):
            faults.add(f"column {place + 1} looks like data and not like a name", NO_HEADER)
            return IGNORED
        hint = f'--map "{name}=user_attributes.{name}"'
        if name.partition(".")[0] not in ROOTS:
            hint = (
                "--unknown attribute keeps such columns as attributes, --unknown ignore leaves them"
                f" out; one alone: {hint}"
            )
        detail = error.detail.removeprefix(f"{name}: ")
        faults.add(f"column {place + 1} ({name!r}): {detail}", hint)
        return IGNORED


def _find_doubled(
    names: Sequence[str],
    fields: Sequence[BatchField],
    by_place: Collection[int],
    *,
    faults: ColumnFaults,
) -> set[int]:
    """Find columns of one name that nothing tells apart; return their places."""
    places_of: dict[str, list[int]] = {}
    for place, (name, field) in enumerate(zip(names, fields, strict=True)):
        if name and field.kind != "ignored" and place not in by_place:
            places_of.setdefault(name, []).append(place)
    doubled = {name: places for name, places in places_of.items() if len(places) > 1}
    for name, places in doubled.items():
        faults.add(
            f"columns {_and(places)} are {'both' if len(places) == 2 else 'all'} named {name!r}",
            f'say by place which is which: --map "#{places[0] + 1}=FIELD"'
            f' --map "#{places[1] + 1}=ignore"',
        )
    return {place for places in doubled.values() for place in places}


def _find_same(
    names: Sequence[str],
    fields: Sequence[BatchField],
    doubled: Collection[int],
    *,
    faults: ColumnFaults,
) -> None:
    """Find columns of several names that are one field."""
    # Columns of one identity type are no fault: each row shows whether they agree.
    place_of: dict[BatchField, int] = {}
    for place, field in enumerate(fields):
        if field.kind not in ("attribute", "plain", "kept", "event") or place in doubled:
            continue
        if field in place_of:
            both = f"{_called(names, place_of[field])} and {_called(names, place)}"
            faults.add(f"columns {both} are both {field.title}", "map or ignore one of them")
        place_of.setdefault(field, place)


# Messages about columns


def no_name(places: Sequence[int]) -> tuple[str, str]:
    """Return the fault of nameless columns that have values, and a hint."""
    number = places[0] + 1
    hint = (
        f'name them by place: --map "#{number}=user_attributes.NAME", or --map "#{number}=ignore"'
        " to leave one out"
    )
    return f"{_listed(places)} no name, but values", hint


def left_out(place: str, places: Sequence[int]) -> str:
    """Return the notice of nameless columns without values. place: the file and the line."""
    return f"{place}: {_listed(places)} no name and no value: left out"


def shown_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns as a person sees them: each once, a nameless one by its place."""
    used: set[str] = set()
    shown = []
    for place, name in enumerate(names, start=1):
        shown.append(f"#{place}" if not name else f"{name} (#{place})" if name in used else name)
        used.add(name)
    return shown


def _called(names: Sequence[str], place: int) -> str:
    """Return a column's name, quoted; of one without a name its place."""
    return repr(names[place]) if names[place] else f"#{place + 1}"


def _listed(places: Sequence[int]) -> str:
    """Return "column 4 has" or "columns 4 and 6 have"."""
    if len(places) == 1:
        return f"column {places[0] + 1} has"
    return f"columns {_and(places)} have"


def _and(places: Sequence[int]) -> str:
    numbers = [str(place + 1) for place in places]
    if len(numbers) > LISTED_PLACES:
        more = len(numbers) - LISTED_PLACES
        return f"{', '.join(numbers[:LISTED_PLACES])} and {more} more"
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def _offer(names: Sequence[str]) -> str:
    shown = [repr(name) if name else f"#{place}" for place, name in enumerate(names, start=1)]
    return f"the columns are: {', '.join(shown[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
