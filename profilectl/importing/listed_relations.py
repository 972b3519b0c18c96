"""Relations of which a step can make only those that relations.py lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profilectl.importing.relations import BY_NAME, Bound, Columns, Relations


class NotListed(Exception):
    """A step makes a relation that is not in the list."""


class ListedRelations:
    """Relations of which a step can make only those that are listed."""

    def __init__(self, engine: Relations) -> None:
        self._engine = engine

    def make(
        self,
        name: str,
        select: str,
        bound: Bound | None = None,
        *,
        keep: bool = True,
        in_order: bool = False,
    ) -> None:
        """Name the result of a SELECT. Raises NotListed for a name that is not in the list."""
        _check(name)
        self._engine.make(name, select, bound, keep=keep, in_order=in_order)

    def load(self, name: str, columns: Columns, rows: Sequence[Sequence[object]]) -> None:
        """Name a relation of Python rows. Raises NotListed for a name that is not in the list."""
        _check(name)
        self._engine.load(name, columns, rows)

    def rows(self, select: str, bound: Bound | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT."""
        return self._engine.rows(select, bound)

    def count(self, name: str) -> int:
        """Return the number of rows of a relation."""
        return self._engine.count(name)

    def rename(self, name: str, new: str) -> None:
        """Give a relation the name of another. Raises NotListed for a name not in the list."""
        _check(new)
        self._engine.rename(name, new)

    def drop(self, name: str) -> None:
        """Forget a relation, if it is there."""
        self._engine.drop(name)

    def has(self, name: str) -> bool:
        """Return whether there is a relation of that name."""
        return self._engine.has(name)


def _check(name: str) -> None:
    if name not in BY_NAME:
        raise NotListed(f"{name} is not among importing.relations.RELATIONS")
