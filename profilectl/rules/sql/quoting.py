"""Names, texts and paths as SQL writes them: the one place that quotes."""

from __future__ import annotations

from pathlib import Path


def quote_identifier(name: str) -> str:
    """Return a name as SQL writes it, with any characters."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a string literal, where SQL takes no bound value (ATTACH, views, expressions)."""
    return "'" + text.replace("'", "''") + "'"


def quote_path(path: Path) -> str:
    """Return the path of a store as SQL writes it.

    It is absolute, so that DuckDB reads nothing into its beginning (`~`, `md:`).
    """
    return quote_text(str(path.absolute()))
