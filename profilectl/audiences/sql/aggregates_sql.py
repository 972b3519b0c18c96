"""Aggregates by profile of the rows of calculated attributes (calculated_rows_sql)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.rules.calculated import TRACKED
from profilectl.store.scratch import Scratch
from profilectl.store.segments import both
from profilectl.store.statements import reading, select

ORDER = "$order"
"""The place where the order of events goes, once it is known whether it fits a number."""

BY_PROFILE = "select profile{columns} from counted_row group by profile"

# Which columns no row has a value in: a tenth of a millisecond for each thousand rows, and without
# the aggregates of those columns the others take half the time.
EMPTY = "select {columns} from counted_row"

# Which of the values of a profile with many count: the first TRACKED that came (domain.md 11.1).
COUNTING = """
select profile, x, row_number() over (partition by profile order by seen) <= $tracked as tracked
from many
"""


class Rare(NamedTuple):
    """An aggregate of columns in which few rows have a value, and often none has."""

    columns: tuple[str, ...]
    """The columns."""
    without: str
    """The SQL of the aggregate where no row has a value in them."""


@dataclass(slots=True)
class Aggregated:
    """A relation, and the aggregates that are wanted of it by profile."""

    name: str
    """Its name."""
    columns: dict[str, str] = field(default_factory=dict)
    """The SQL of each aggregate -> its column."""
    rare: dict[str, Rare] = field(default_factory=dict)
    """The SQL of those aggregates that most data have nothing for."""

    @property
    def by(self) -> str:
        """The name of the relation of its aggregates."""
        return f"{self.name}_by"

    def column(self, sql: str) -> str:
        """Return the column of an aggregate, and add it if it is new."""
        return self.columns.setdefault(sql, f"{self.name}_{len(self.columns)}")

    def rarely(self, sql: str, *columns: str, without: str) -> str:
        """Return the SQL of an aggregate, and note what it is where no row has a value."""
        self.rare[sql] = Rare(columns, without)
        return sql

    def empty(self, scratch: Scratch) -> set[str]:
        """Return the columns of rare aggregates in which no row has a value."""
        columns = list(dict.fromkeys(name for each in self.rare.values() for name in each.columns))
        if not columns:
            return set()
        # d<n> are numbers, the others say yes or no (calculated_rows_sql)
        tests = [
            f"count({name}) = 0" if name.startswith("d") else f"bool_or({name}) is not true"
            for name in columns
        ]
        empty = EMPTY.format(columns=", ".join(tests))
        row = scratch.row(reading(empty, counted_row=select("*", self.name)))
        return {name for name, is_empty in zip(columns, row, strict=True) if is_empty}

    def select(self, empty: Collection[str] = (), order: str = "") -> str:
        """Return the SELECT of its aggregates by profile.

        `empty` are columns in which no row has a value; `order` is the SQL of the order of events.
        """
        columns = "".join(f", {sql} as {column}" for sql, column in self.columns.items())
        for sql, each in self.rare.items():
            if all(name in empty for name in each.columns):
                columns = columns.replace(sql, each.without)
        columns = columns.replace(ORDER, order)
        return reading(BY_PROFILE.format(columns=columns), counted_row=select("*", self.name))


@dataclass(slots=True)
class CountedValues:
    """The values of one field, counted by profile."""

    counted: Aggregated
    """The relation of the counted values."""
    rows: Aggregated
    """The rows that have them."""
    value: str
    """The column of the value."""
    counts: str
    """The condition on a row that counts."""
    weight: str
    """The SQL of how much a value counts: once for each row, or by the quantity."""
    came_at: str
    """The SQL of the order in which values came."""

    @property
    def _group(self) -> str:
        return f"group by profile, {self.value}"

    @property
    def _counting(self) -> str:
        return both(both("", self.counts), f"{self.value} is not null")

    def select(self) -> str:
        """Return the SELECT of profile, x, weight, tracked."""
        columns = ["profile", f"{self.value} as x", f"{self.weight} as weight", "true as tracked"]
        return select(columns, self.rows.name, f"{self._counting} {self._group}")

    def many(self, number: str) -> str:
        """Return the SELECT of ca_many; `number` is the column of how many values there are."""
        having = both("", f"{number} > {TRACKED}")
        many = both(self._counting, f"profile in ({select('profile', self.counted.by, having)})")
        columns = ["profile", f"{self.value} as x", f"min({self.came_at}) as seen"]
        return reading(
            COUNTING,
            many=select(columns, self.rows.name, f"{many} {self._group}"),
        )
