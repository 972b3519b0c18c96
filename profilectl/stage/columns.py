"""What each column of a file means: names, the platform's manifest, and --map.

Sources: design.md 4 (columns), domain.md 8.1 (manifest, duplicate headers, unknown roots).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilectl.batch import IGNORED, Columns, Field, field_named
from profilectl.codes import InputRefused, UsageError
from profilectl.fields import Unusable

MOST_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """The platform's manifest: has_header, and for each column its name (None: by place) and field."""

    path: str
    has_header: bool
    columns: tuple[tuple[str | None, Field], ...]


def read_manifest(path: str) -> Manifest:
    """Read a manifest file (domain.md 8.1). Raises InputRefused, naming the entry that is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        document = json.loads(text)
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}", "name the manifest file") from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"{path}:{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else path
        raise InputRefused(f"{where}: the manifest is not JSON", "mend it and run again") from None
    except UnicodeDecodeError:
        raise InputRefused(f"{path}: the manifest is not UTF-8") from None
    if not isinstance(document, dict) or not isinstance(document.get("columns"), list):
        raise InputRefused(f'{path}: a manifest is {{"hasHeaderRow": ..., "columns": [...]}}')
    has_header = document.get("hasHeaderRow", True)
    if not isinstance(has_header, bool):
        raise InputRefused(f"{path}: hasHeaderRow must be true or false")
    entries = [_entry(path, place, entry, has_header) for place, entry in enumerate(document["columns"], start=1)]
    return Manifest(path, has_header, tuple(entries))


def _entry(path: str, place: int, entry: object, has_header: bool) -> tuple[str | None, Field]:
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


def read_map(options: Sequence[str]) -> dict[str, Field]:
    """Read the --map options, COLUMN=FIELD each; an empty FIELD or "ignore" leaves the column out."""
    found: dict[str, Field] = {}
    for option in options:
        name, equals, target = option.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--map {option}: must be COLUMN=FIELD", 'for example --map "E-mail=user_identities.email"')
        if name in found:
            raise UsageError(f"--map names the column {name!r} twice")
        try:
            found[name] = IGNORED if target in ("", "ignore") else field_named(target)
        except Unusable as error:
            raise UsageError(f"--map {option}: {error.detail}") from None
        if found[name].kind == "unknown identity":
            raise UsageError(f"--map {option}: there is no identity type of that name")
    return found


def read_columns(
    path: str, names: Sequence[str], manifest: Manifest | None, mapped: Mapping[str, Field]
) -> list[Field]:
    """Say what each column of a file means, in order. Raises InputRefused, naming file and column."""
    if len(names) > MOST_COLUMNS:
        raise InputRefused(
            f"{path}: {len(names):,} columns; at most {MOST_COLUMNS:,} can be read",
            "part the columns among several files, each with the identities",
        )
    stray = [name for name in mapped if name not in names]
    if stray:
        raise InputRefused(f"{path}: --map names a column that is not there: {stray[0]!r}", _offer(names))
    fields = _by_manifest(path, names, manifest) if manifest else [None] * len(names)
    found = [
        mapped.get(name) or field or _field(name, f"{path}: column {place} ({name!r})")
        for place, (name, field) in enumerate(zip(names, fields, strict=True), start=1)
    ]
    seen: dict[Field, str] = {}
    for name, field in zip(names, found, strict=True):
        if field.kind in ("attribute", "plain", "kept") and field in seen:
            raise InputRefused(
                f"{path}: columns {seen[field]!r} and {name!r} are both {field.title}", "map or ignore one of them"
            )
        seen[field] = name
    return found


def _by_manifest(path: str, names: Sequence[str], manifest: Manifest) -> list[Field | None]:
    if not manifest.has_header:
        if len(manifest.columns) != len(names):
            raise InputRefused(
                f"{path}: {len(names)} columns, but {manifest.path} describes {len(manifest.columns)}"
            )
        return [field for _, field in manifest.columns]
    by_name = {name: field for name, field in manifest.columns if name is not None}
    absent = [name for name in by_name if name not in names]
    if absent:
        raise InputRefused(f"{path}: {manifest.path} names a column that is not there: {absent[0]!r}", _offer(names))
    return [by_name.get(name) for name in names]


def _field(target: str, where: str) -> Field:
    try:
        return field_named(target)
    except Unusable as error:
        raise InputRefused(
            f"{where}: {error.detail}", f'to keep it as an attribute: --map "{target}=user_attributes.{target}"'
        ) from None


def flat_columns(manifest: Manifest | None, mapped: Mapping[str, Field]) -> dict[str, Field]:
    """Return what names of flat rows of JSON are mapped to. Raises InputRefused."""
    if manifest is None:
        return dict(mapped)
    if not manifest.has_header:
        raise InputRefused(f"{manifest.path} describes columns, and names them by place; keys of JSON have none", "name them, with hasHeaderRow true")
    return {name: field for name, field in manifest.columns if name is not None} | dict(mapped)


def meanings_of(columns: Columns) -> tuple[tuple[str, str], ...]:
    """Say how each name of the flat rows of a file was read."""
    return tuple((name, field.title or "ignored") for name, field in columns.met.items())


def _offer(names: Sequence[str]) -> str:
    return "the columns are: " + ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
