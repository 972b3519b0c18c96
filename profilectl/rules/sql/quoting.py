"""TODO rules.sql.quoting (split off store.scratch)."""

from __future__ import annotations

from pathlib import Path


def quote_identifier(name: str) -> str:
    """Return a name as SQL writes it, whatever characters it holds.

    The one place that quotes names.
    """
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a string literal, for the few places where SQL takes no bound value (ATTACH, views)."""
    return "'" + text.replace("'", "''") + "'"


def quote_path(path: Path) -> str:
    """Return the path of a store as SQL writes it: absolute, so that DuckDB takes no beginning
    (`~`, `md:`) for more than a name.
    """
    return quote_text(str(path.absolute()))
