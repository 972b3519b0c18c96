"""The figures and broken promises of a store, and the hits of a search, printed for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from profilectl.render.screen import Document, counted, print_line
from profilectl.rules.text.values import parse_json

if TYPE_CHECKING:
    from profilectl.reading.search import Hit


class BrokenPromise(Protocol):
    """A promise of the store that is broken (Breach in reading/check.py)."""

    @property
    def promise(self) -> str:
        """The name of the promise."""

    @property
    def message(self) -> str:
        """What is wrong."""

    @property
    def repairable(self) -> bool:
        """Whether `check --repair` mends it."""

    @property
    def repaired(self) -> bool:
        """Whether it was mended."""


def print_stats(figures: Document) -> None:
    """Print the figures of a store. figures: the document of `stats --json`."""
    from profilectl.render.tables import print_table

    environments = ", ".join(
        f"{number:,} {name}" for name, number in figures["environments"].items()
    )
    profiles = counted(figures["profiles"], "profile")
    print_line(profiles + (f" ({environments})" if environments else ""))
    imports = figures["imports"]
    print_line(
        f"{counted(imports['in_force'], 'import')} in force, {imports['undone']:,} undone;"
        f" {counted(figures['segments'], 'segment')}, {counted(figures['rows'], 'row')},"
        f" {figures['size_bytes']:,} bytes"
    )
    _print_identities(figures["identities"])
    _print_attributes(figures["attributes"])
    if figures["largest_profiles"]:
        largest = [(row["mpid"], f"{row['rows']:,}") for row in figures["largest_profiles"]]
        print_table("", ("largest profiles", "rows"), largest, right=(1,))
    if figures["most_shared"]:
        shared = [
            (row["type"], row["value"], f"{row['profiles']:,}") for row in figures["most_shared"]
        ]
        print_table("", ("most shared", "value", "profiles"), shared, right=(2,))


def _print_identities(identities: Mapping[str, Mapping[str, int]]) -> None:
    from profilectl.render.tables import print_table

    if identities:
        rows = [
            (name, f"{row['identities']:,}", f"{row['values']:,}", f"{row['profiles']:,}")
            for name, row in identities.items()
        ]
        print_table("", ("identity", "held", "distinct values", "profiles"), rows, right=(1, 2, 3))


def _print_attributes(attributes: Sequence[Document]) -> None:
    from profilectl.render.tables import print_table

    if attributes:
        rows = [
            (
                row["attribute"],
                f"{row['profiles']:,}",
                f"{row['fill_rate']:.1%}",
                f"{row['distinct_values']:,}",
                ", ".join(row["sources"]),
            )
            for row in attributes
        ]
        headings = ("attribute", "profiles", "filled", "distinct values", "sources")
        print_table("", headings, rows, right=(1, 2, 3))


def print_hits(hits: Sequence[Hit]) -> None:
    """Print each identity or profile found, with the values that the condition read."""
    from profilectl.render.tables import print_table
    from profilectl.render.words import shown_value

    if not hits:
        return
    keys = list(dict.fromkeys(key for hit in hits for key in hit.values))
    typed = any(hit.type for hit in hits)
    rows = [
        [
            str(hit.mpid),
            hit.environment,
            *([hit.type, hit.value] if typed else []),
            *(
                shown_value(parse_json(hit.values[key])) if key in hit.values else ""
                for key in keys
            ),
        ]
        for hit in hits
    ]
    print_table("", ["MPID", "environment", *(["type", "value"] if typed else []), *keys], rows)


def print_breaches(breaches: Sequence[BrokenPromise]) -> None:
    """Print the broken promises of a store, one a line."""
    for breach in breaches:
        repair = " (check --repair mends it)" if breach.repairable else ""
        print_line(
            f"{breach.promise}: {breach.message}{' (repaired)' if breach.repaired else repair}"
        )
