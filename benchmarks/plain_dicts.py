"""Load a file of customers into plain Python dicts, one row after another, by the same rules.

    python plain_dicts.py FILE

A row belongs to the holder of its customer id. Else its phone and then its e-mail are looked up
among the people without a customer id; of several the one seen last is taken. The source is one, so
the newest value of an attribute wins. Each value and each identity keeps the line it came from.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

IDENTITIES = ("customer_id", "email", "mobile_number")
LOOK_UP = ("mobile_number", "email")
"""What people without a customer id are looked up by, in this order."""
Key = tuple[str, str]
"""A type of identity, and a value."""


@dataclass(slots=True)
class Person:
    """A customer."""

    latest: int
    """The line that was about them last."""
    has_customer_id: bool = False
    """Whether no phone and no e-mail finds them any more."""
    identities: dict[Key, int] = field(default_factory=dict)
    """Their identities, and the lines that brought them."""
    values: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Their attributes, and the lines that brought them."""


@dataclass(slots=True)
class People:
    """All customers."""

    everybody: list[Person] = field(default_factory=list)
    """The customers, in the order in which they came."""
    by_customer_id: dict[str, int] = field(default_factory=dict)
    """Their places by customer id."""
    open_holders: defaultdict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The places of those without a customer id, by phone and e-mail."""

    def apply(self, line: int, identities: dict[str, str], values: Iterator[Key]) -> None:
        """Apply a row."""
        place = self._place(line, identities)
        person = self.everybody[place]
        person.latest = line
        for key in identities.items():
            if key not in person.identities:
                person.identities[key] = line
                if not person.has_customer_id:
                    self.open_holders[key].add(place)
        for name, value in values:
            if value:
                person.values[name] = value, line

    def _place(self, line: int, identities: dict[str, str]) -> int:
        """Return whose row it is; somebody new where nobody is found."""
        customer_id = identities.get("customer_id")
        place = self.by_customer_id.get(customer_id) if customer_id else None
        if place is None:
            place = self._look_up(identities)
            if place is None:
                place = len(self.everybody)
                self.everybody.append(Person(line))
            if customer_id:
                self._name(place, customer_id)
        return place

    def _look_up(self, identities: dict[str, str]) -> int | None:
        """Return somebody without a customer id who has the phone or the e-mail, or None."""
        found: set[int] = set()
        for kind in LOOK_UP:
            holders = self.open_holders.get((kind, identities.get(kind, "")))
            if holders:
                found = found & holders or found or holders
                if len(found) == 1:
                    break
        if not found:
            return None
        return max(found, key=lambda place: (self.everybody[place].latest, -place))

    def _name(self, place: int, customer_id: str) -> None:
        """Give somebody their customer id: nothing else finds them from now on."""
        person = self.everybody[place]
        self.by_customer_id[customer_id] = place
        for key in person.identities:
            self.open_holders[key].discard(place)
        person.has_customer_id = True


def load(path: Path) -> People:
    """Load a file."""
    people = People()
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines)
        kinds = [name for name in header if name in IDENTITIES]
        names = header[len(kinds) :]
        for line, cells in enumerate(lines, 2):
            texts = [cell.strip() for cell in cells[: len(kinds)]]
            identities = {
                kind: text.lower() if kind == "email" else text
                for kind, text in zip(kinds, texts, strict=True)
                if text
            }
            if identities:
                values = zip(names, cells[len(kinds) :], strict=True)
                people.apply(line, identities, values)
    return people


def main() -> None:
    """Load a file, and print how much there is."""
    everybody = load(Path(sys.argv[1])).everybody
    counts = {
        "profiles": len(everybody),
        "identities": sum(len(person.identities) for person in everybody),
        "attributes": sum(len(person.values) for person in everybody),
    }
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
