"""What each column of a file means: names, the platform's manifest, and --map.

Sources: design.md 4 (columns), domain.md 8.1 (manifest, duplicate headers, unknown roots).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.batch import IGNORED, ROOTS, BatchField, Columns, field_meant, field_named
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME
from profilectl.rules.text.naming import advice

MOST_COLUMNS = 10_000
NAMELESS = BatchField("ignored", "no name")
"""A column without a name of which nothing is said: left out where it has no value."""
PLACE = re.compile(r"#([1-9][0-9]{0,5})")
"""How --map names a column by its place."""
MOST_FAULTS = 12
NO_HEADER = 'where a file has no header, a --manifest with "hasHeaderRow": false names its columns'
_DATA = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+|[+-]?[0-9]+([.,][0-9]+)*")


def looks_like_data(name: str) -> bool:
    """Say whether a name is what a value may be and a name is not: an e-mail, a number."""
    return _DATA.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The platform's manifest: has_header, and for each column its name (None: by place) and field."""

    path: str
    has_header: bool
    columns: tuple[tuple[str | None, BatchField], ...]


def read_manifest(path: str) -> Manifest:
    """Read a manifest file (domain.md 8.1). Raises InputRefused, naming the entry that is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        document = json.loads(text)
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}", "name the manifest file") from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = (
            f"{path}:{error.lineno}:{error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else path
        )
        raise InputRefused(f"{where}: the manifest is not JSON", "mend it and run again") from None
    except UnicodeDecodeError:
        raise InputRefused(f"{path}: the manifest is not UTF-8") from None
    if not isinstance(document, dict) or not isinstance(document.get("columns"), list):
        raise InputRefused(f'{path}: a manifest is {{"hasHeaderRow": ..., "columns": [...]}}')
    has_header = document.get("hasHeaderRow", True)
    if not isinstance(has_header, bool):
        raise InputRefused(f"{path}: hasHeaderRow must be true or false")
    entries = [
        _entry(path, place, entry, has_header)
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


def _entry(path: str, place: int, entry: object, has_header: bool) -> tuple[str | None, BatchField]:
    if not isinstance(entry, dict) or entry.get("action", "keep") not in ("keep", "ignore"):
        raise InputRefused(f'{path}: column {place}: action must be "keep" or "ignore"')
    name = entry.get("column")
    if has_header and not isinstance(name, str):
        raise InputRefused(f"{path}: column {place}: needs the name of a column")
    if entry.get("action", "keep") == "ignore":
        return name if isinstance(name, str) else None, IGNORED
    target = entry.get("field", name)
    if not isinstance(target, str) or not target:
        raise InputRefused(f"{path}: column {place}: needs a field")
    return name if isinstance(name, str) else None, _field(target, f"{path}: column {place}")


def read_map(options: Sequence[str]) -> dict[str, BatchField]:
    """Read the --map options, COLUMN=FIELD each; an empty FIELD or "ignore" leaves the column out."""
    found: dict[str, BatchField] = {}
    for option in options:
        name, equals, target = option.rpartition("=")
        if not equals or not name:
            raise UsageError(
                f"--map {option}: must be COLUMN=FIELD",
                'for example --map "E-mail=user_identities.email"',
            )
        if name in found:
            raise UsageError(f"--map names the column {name!r} twice")
        try:
            found[name] = IGNORED if target in ("", "ignore") else field_named(target)
        except Unusable as error:
            raise UsageError(f"--map {option}: {error.detail}") from None
        if found[name].kind == "unknown identity":
            raise UsageError(
                f"--map {option}: there is no identity type of that name",
                advice(target.rpartition(".")[2], list(BY_NAME)),
            )
    return found


class _Faults:
    """What is wrong with the columns of a file, gathered, so that one message says all of it."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._hints: dict[str, None] = {}

    def add(self, said: str, hint: str) -> None:
        self._said.append(said)
        self._hints[hint] = None

    def refuse(self, where: str) -> None:
        """Raise InputRefused where there is any."""
        if self._said:
            more = len(self._said) - MOST_FAULTS
            said = self._said[:MOST_FAULTS] + ([f"and {more} more"] if more > 0 else [])
            raise InputRefused(
                f"{where}: {'; '.join(said)}", "; ".join(list(self._hints)[:MOST_FAULTS])
            )


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
    """Say what each column of a file means, in order.

    Raises InputRefused, naming the file and all that is wrong.

    unknown: what a dotted name is that is no field. line: of the header. filled: places, from 0, of
    nameless columns that are known to have a value; where it is given, a nameless column of which
    nothing is said is NAMELESS.
    """
    if len(names) > MOST_COLUMNS:
        raise InputRefused(
            f"{path}: {len(names):,} columns; at most {MOST_COLUMNS:,} can be read",
            "part the columns among several files, each with the identities",
        )
    faults = _Faults()
    stated = _mapped(names, mapped, faults)
    by_manifest = _by_manifest(path, names, manifest, faults) if manifest else [None] * len(names)
    found: list[BatchField] = []
    for place, name in enumerate(names):
        field = stated.get(place) or by_manifest[place]
        if field is None and not name and filled is not None:
            field = NAMELESS
        found.append(field or _named(name, place, unknown, faults, in_header=line is not None))
    if nameless := sorted(place for place in filled or () if found[place] is NAMELESS):
        faults.add(*no_name(nameless))
    by_place = {place for place in stated if names[place] not in mapped}
    doubled = (
        _doubled(names, found, by_place, faults)
        if manifest is None or manifest.has_header
        else set()
    )
    _same(names, found, doubled, faults)
    faults.refuse(path if line is None else f"{path}:{line}")
    return found


def no_name(places: Sequence[int]) -> tuple[str, str]:
    """Return what is wrong with nameless columns that have values, and what to do."""
    first = places[0] + 1
    return (
        f"{_listed(places)} no name, but values",
        f'name them by place: --map "#{first}=user_attributes.NAME", or --map "#{first}=ignore" to leave one out',
    )


def left_out(where: str, places: Sequence[int]) -> str:
    """Return the notice of nameless columns without values."""
    return f"{where}: {_listed(places)} no name and no value: left out"


def shown_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns as a person sees them: each once, a nameless one by its place."""
    seen: set[str] = set()
    shown = []
    for place, name in enumerate(names, start=1):
        shown.append(f"#{place}" if not name else f"{name} (#{place})" if name in seen else name)
        seen.add(name)
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
    if len(numbers) > 12:
        return f"{', '.join(numbers[:12])} and {len(numbers) - 12} more"
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def _mapped(
    names: Sequence[str], mapped: Mapping[str, BatchField], faults: _Faults
) -> dict[int, BatchField]:
    """Return what --map says of each place, from 0.

    A column is meant by its name, else by #PLACE.
    """
    found: dict[int, BatchField] = {}
    for key, field in mapped.items():
        number = PLACE.fullmatch(key)
        meant = key if key in names else key.strip()
        places = [place for place, name in enumerate(names) if name == meant]
        if not places and number and int(number[1]) <= len(names):
            places = [int(number[1]) - 1]
        if not places:
            faults.add(f"--map names a column that is not there: {key!r}", _offer(names))
        for place in places:
            if place in found:
                faults.add(
                    f"--map says twice what column #{place + 1} is",
                    "say it once, by name or by place",
                )
            found[place] = field
    return found


def _named(name: str, place: int, unknown: str, faults: _Faults, *, in_header: bool) -> BatchField:
    try:
        return field_meant(name, unknown)
    except Unusable as error:
        if in_header and looks_like_data(name):
            faults.add(f"column {place + 1} looks like data and not like a name", NO_HEADER)
            return IGNORED
        alone = f'--map "{name}=user_attributes.{name}"'
        if name.partition(".")[0] not in ROOTS:
            alone = f"--unknown attribute keeps such columns as attributes, --unknown ignore leaves them out; one alone: {alone}"
        faults.add(
            f"column {place + 1} ({name!r}): {error.detail.removeprefix(f'{name}: ')}", alone
        )
        return IGNORED


def _doubled(
    names: Sequence[str], found: Sequence[BatchField], by_place: Collection[int], faults: _Faults
) -> set[int]:
    """Find columns of one name of which nothing tells which is meant; return their places."""
    alike: dict[str, list[int]] = {}
    for place, (name, field) in enumerate(zip(names, found, strict=True)):
        if name and field.kind != "ignored" and place not in by_place:
            alike.setdefault(name, []).append(place)
    doubled = {name: places for name, places in alike.items() if len(places) > 1}
    for name, places in doubled.items():
        faults.add(
            f"columns {_and(places)} are {'both' if len(places) == 2 else 'all'} named {name!r}",
            f'say by place which is which: --map "#{places[0] + 1}=FIELD" --map "#{places[1] + 1}=ignore"',
        )
    return {place for places in doubled.values() for place in places}


def _same(
    names: Sequence[str], found: Sequence[BatchField], doubled: Collection[int], faults: _Faults
) -> None:
    """Find columns of several names that are one field."""
    seen: dict[BatchField, int] = {}
    for place, field in enumerate(found):
        if field.kind not in ("attribute", "plain", "kept", "event") or place in doubled:
            continue
        if field in seen:
            named = f"{_called(names, seen[field])} and {_called(names, place)}"
            faults.add(f"columns {named} are both {field.title}", "map or ignore one of them")
        seen.setdefault(field, place)


def _by_manifest(
    path: str, names: Sequence[str], manifest: Manifest, faults: _Faults
) -> list[BatchField | None]:
    if not manifest.has_header:
        if len(manifest.columns) != len(names):
            raise InputRefused(
                f"{path}: {len(names)} columns, but {manifest.path} describes {len(manifest.columns)}"
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


def _field(target: str, where: str) -> BatchField:
    try:
        return field_named(target)
    except Unusable as error:
        raise InputRefused(
            f"{where}: {error.detail}",
            f'to keep it as an attribute: --map "{target}=user_attributes.{target}"',
        ) from None


def flat_columns(
    manifest: Manifest | None, mapped: Mapping[str, BatchField]
) -> dict[str, BatchField]:
    """Return what names of flat rows of JSON are mapped to. Raises InputRefused."""
    if manifest is None:
        return dict(mapped)
    if not manifest.has_header:
        raise InputRefused(
            f"{manifest.path} describes columns, and names them by place; keys of JSON have none",
            "name them, with hasHeaderRow true",
        )
    return {name: field for name, field in manifest.columns if name is not None} | dict(mapped)


def meanings_of(columns: Columns) -> tuple[tuple[str, str], ...]:
    """Say how each name of the flat rows of a file was read."""
    return tuple((name, field.title or "ignored") for name, field in columns.met.items())


def _offer(names: Sequence[str]) -> str:
    shown = [repr(name) if name else f"#{place}" for place, name in enumerate(names, start=1)]
    return "the columns are: " + ", ".join(shown[:20]) + (" ..." if len(names) > 20 else "")
