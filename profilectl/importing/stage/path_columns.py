"""The key=value folders of a file's path -> columns of its rows (`--path-columns`).

Query engines write such folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote

from profilectl.codes import InputRefused
from profilectl.importing.stage.cells import NO_TEXT, Cell, string_cell
from profilectl.importing.stage.columns import Manifest, read_columns
from profilectl.importing.stage.options import ReadingOptions
from profilectl.rules.batch_fields import BatchField
from profilectl.rules.sql.quoting import quote_text

NOTHING = "__HIVE_DEFAULT_PARTITION__"
"""The value of a folder that means no value."""
NAMED = 3
"""How many folders a notice names."""


def path_columns(path: str) -> dict[str, str | None]:
    """Return the columns of a path: name -> value, percent signs decoded.

    Raises InputRefused for what is not UTF-8.
    """
    columns: dict[str, str | None] = {}
    for key, value in key_values(path).items():
        try:
            columns[unquote(key, errors="strict")] = (
                None if value == NOTHING else unquote(value, errors="strict")
            )
        except UnicodeDecodeError:
            folder = f"{key}={value}"
            raise InputRefused(
                f"{path}: the folder {folder!r} is not UTF-8 in percent signs",
                "give it another name, or leave --path-columns out",
            ) from None
    return columns


def key_values(path: str) -> dict[str, str]:
    """Return the key=value folders of a path as they are written; the last of a key counts."""
    # The last part of the path is the name of the file.
    parts = [folder.partition("=") for folder in PurePosixPath(path).parts[:-1]]
    return {key: value for key, equals, value in parts if key and equals}


def unread(paths: Sequence[str]) -> list[str]:
    """Return the notice of columns that stand in the paths only, and how to read them."""
    folders = dict.fromkeys(
        folder
        for path in paths
        for folder in PurePosixPath(path).parts[:-1]
        if folder.partition("=")[0] and "=" in folder
    )
    if not folders:
        return []
    named = list(folders)[:NAMED]
    more = f" and {len(folders) - NAMED:,} more" if len(folders) > NAMED else ""
    several = len(folders) > 1
    paths_are, them = ("paths are", "them as columns") if several else ("path is", "it as a column")
    return [f"{', '.join(named)}{more} in the {paths_are} not read; --path-columns reads {them}"]


@dataclass(frozen=True, slots=True)
class PathCells:
    """The columns of a path as cells."""

    cells: list[Cell]
    """The columns."""
    meaning: tuple[tuple[str, str], ...]
    """How each was read."""
    notices: list[str]
    """Notices of the columns that the file has itself."""


@dataclass(frozen=True, slots=True)
class PathColumns:
    """The columns in the path of a file, beside those of the file itself."""

    path: str
    """The file's name, as it was given."""
    names: Sequence[str]
    """The columns of the file itself."""
    values: Mapping[str, str | None]
    """The values of the folders; none where they are not to be read."""

    @classmethod
    def of(cls, path: str, names: Sequence[str], options: ReadingOptions) -> PathColumns:
        """Return the columns of a path, where they are to be read."""
        return cls(path, names, path_columns(path) if options.path_columns else {})

    def _is_own(self, name: str | None) -> bool:
        return name not in self.values or name in self.names

    def own_map(self, mapped: Mapping[str, BatchField]) -> dict[str, BatchField]:
        """Return the part of --map that is for the file's own columns."""
        return {name: field for name, field in mapped.items() if self._is_own(name)}

    def own_manifest(self, manifest: Manifest | None) -> Manifest | None:
        """Return the part of a manifest that is for the file's own columns."""
        return manifest and replace(
            manifest, columns=tuple(entry for entry in manifest.columns if self._is_own(entry[0]))
        )

    def fields(self, options: ReadingOptions) -> dict[str, BatchField]:
        """Return the meaning of each column of the path."""
        mapped = {name: field for name, field in options.mapped.items() if not self._is_own(name)}
        # --map goes before the manifest.
        if options.manifest:
            mapped = {
                name: field
                for name, field in options.manifest.columns
                if name is not None and not self._is_own(name)
            } | mapped
        names = [name for name in self.values if name not in self.names]
        fields = read_columns(
            f"the path of {self.path}",
            names,
            None,
            mapped=mapped,
            unknown=options.reading.unknown,
        )
        return dict(zip(names, fields, strict=True))

    def cells(self, own: Sequence[BatchField], options: ReadingOptions) -> PathCells:
        """Return the columns of the path as cells. own: the meaning of the file's own columns.

        A column that the file has itself is not read from the path.
        """
        cells: list[Cell] = []
        meaning: list[tuple[str, str]] = []
        twice = [name for name in self.values if name in self.names]
        for name, field in self.fields(options).items():
            if field in own and field.kind != "ignored":
                twice.append(name)
                continue
            meaning.append((name, field.title or "ignored"))
            if field.kind != "ignored":
                text = self._text(name, options)
                cells.append(string_cell(field, text, options.reading.limits["value"]))
        notices = [
            f"{name} is in the path and in the file: the file's own values are read"
            for name in twice
        ]
        return PathCells(cells, tuple(meaning), notices)

    def _text(self, name: str, options: ReadingOptions) -> str:
        """Return the SQL of the text of a column of the path."""
        value = self.values[name]
        if value is None or value in options.reading.nulls:
            return NO_TEXT
        return f"({quote_text(value)})"
