"""Many random histories in the same few imports: one process compares a hundred thousand.

The histories of a pack have one configuration and the same feeds, and nobody in common: each has
identities of its own. Their rows are mixed in each import, so that a pack tries what a single
history of twelve rows never meets: whole components beside each other, decided in sets.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from support.equivalence import compare
from support.histories import KEYS, OUTSIDE, SOURCES, VALUES, History, Import

CUSTOMERS = ["A.{n}", "B.{n}", " C.{n} ", "\\N", "a.{n}"]
EMAILS = [
    "a.{n}@x.org", "B.{n}@X.org", "b.{n}@x.org", "null", "\u039d\u03a3.{n}@x.org",
    "\u03bd\u03c2.{n}@X.org", "\u0130.{n}@x.org", "i\u0307.{n}@x.org", "NoEmail@x.org",
]  # fmt: skip
PHONES = ["+1{n:07}", "+2{n:07}", "4.47E+11", "12.0"]
DEVICES = ["0a0a0a0a-1111-2222-3333-44{n:010}", "0A0A0A0A-1111-2222-3333-44{n:010}"]
LOGINS = [["customer_id"], ["email"], ["customer_id", "email"], []]
PLACEHOLDERS = [["*@x.org"], ["B*"], ["+1*"]]
MOST_ROWS = 12
"""How many rows of one history an import has at most."""


@dataclass(frozen=True)
class Pack:
    """Histories with one configuration."""

    base: History
    """The configuration and the feeds, and the imports without rows."""
    rows: Sequence[Sequence[Sequence[dict[str, Any]]]]
    """The rows of each history, in each import."""
    seed: int
    """The seed that mixes the rows."""

    def history(self) -> History:
        """Return one history of the rows of all."""
        mixing = random.Random(self.seed)
        imports = []
        for place, batch in enumerate(self.base.imports):
            rows = [row for history in self.rows for row in history[place]]
            mixing.shuffle(rows)
            imports.append(replace(batch, rows=rows))
        return replace(self.base, imports=imports)

    def part(self, begin: int, end: int) -> Pack:
        """Return the pack of some of its histories."""
        return replace(self, rows=self.rows[begin:end])


def pack_of(seed: int, histories: int) -> Pack:
    """Return a pack of random histories."""
    chance = random.Random(seed)
    base = History(_identity(chance), chance.choice(["rank", "rank", "first-writer"]), {})
    for name in chance.sample(["f", "g", "h"], chance.randint(1, 3)):
        source = chance.choice(SOURCES)
        base.feeds[name] = (source, chance.choice([None, "P"]) if source == "partner" else None)
    levels = ["create-and-update", "create-and-update", "update-only", "read-only"]
    base.imports = [
        Import(
            chance.choice(sorted(base.feeds)),
            chance.choice(levels),
            rows=[],
            environment=chance.choice([None, None, None, "production"]),
        )
        for _ in range(chance.randint(1, 4))
    ]
    hard = chance.random() < 0.5
    rows = [
        [
            [_row(chance, number, hard=hard) for _ in range(chance.randint(0, MOST_ROWS))]
            for _ in base.imports
        ]
        for number in range(1, histories + 1)
    ]
    return Pack(base, rows, seed)


def _identity(chance: random.Random) -> dict[str, Any]:
    """Return the settings of the identities: the same ways as those of single histories."""
    strategies = ["default", "default", "conversion", "link", "isolation", "best-match"]
    settings: dict[str, Any] = {"strategy": chance.choice(strategies)}
    if settings["strategy"] == "conversion":
        settings["login"] = chance.choice(LOGINS)
        settings["unique"] = chance.choice([settings["login"], ["customer_id", "email"], []])
        both = [kind for kind in settings["login"] if kind in settings["unique"]]
        settings["immutable"] = both[: chance.randint(0, 2)]
    if chance.random() < 0.5:
        settings["unique_conflict"] = chance.choice(["move", "keep"])
    if chance.random() < 0.2:
        settings[chance.choice(["placeholders", "placeholders_add"])] = chance.choice(PLACEHOLDERS)
    if chance.random() < 0.2:
        types = ["customer_id", "email", "mobile_number", "ios_idfv"]
        settings["hierarchy"] = chance.sample(types, len(types))
    return settings


def _row(chance: random.Random, number: int, *, hard: bool) -> dict[str, Any]:
    """Return a row of the history with a number."""

    def named(values: list[str]) -> str:
        return chance.choice(values).format(n=number)

    identities = {"customer_id": CUSTOMERS, "email": EMAILS, "mobile_number": PHONES}
    row: dict[str, Any] = {
        "user_identities": {
            kind: named(values) for kind, values in identities.items() if chance.random() < 0.5
        },
        "user_attributes": {
            key: chance.choice(VALUES) for key in chance.sample(KEYS, chance.randint(0, 3))
        },
    }
    rare = chance.randint(0, 9)
    if rare in (0, 1):
        row["deleted_user_attributes"] = chance.sample(KEYS, chance.randint(0, 2))
    if rare in (1, 2, 3):
        row["device_info"] = {"ios_idfv": named(DEVICES)}
    if rare == 4:
        row["timestamp_unixtime_ms"] = chance.choice([5, 1_700_000_000_000, *OUTSIDE])
    return row | (_hard(chance, number, rare) if hard else {})


def _hard(chance: random.Random, number: int, rare: int) -> dict[str, Any]:
    """Return what a row of few has: an environment, a request, an MPID, an event."""
    more: dict[str, Any] = {}
    if rare in (5, 7):
        more["environment"] = chance.choice(["production", "development"])
    if rare == 6:
        more["source_request_id"] = f"{chance.choice(['r1', 'r2'])}.{number}"
    if rare == 7:
        more["mpid"] = chance.choice([number + 777_000, -number])
    if rare == 8:
        more["device_info"] = {
            "push_token": f"p{number}",
            "ios_idfv": "00000000-0000-0000-0000-000000000000",
        }
    if rare == 9:
        data = {
            "event_name": "e",
            "custom_event_type": "other",
            "timestamp_unixtime_ms": chance.choice([5, *OUTSIDE]),
        }
        more["events"] = [{"event_type": "custom_event", "data": data}]
    return more


def check_pack(pack: Pack) -> None:
    """Compare the engine with the interpreter; name the smallest part of the pack that differs."""
    error = difference(pack)
    while error is not None and len(pack.rows) > 1:
        middle = len(pack.rows) // 2
        for half in (pack.part(0, middle), pack.part(middle, len(pack.rows))):
            smaller = difference(half)
            if smaller is not None:
                pack, error = half, smaller
                break
        else:
            break  # only both together differ
    if error is not None:
        raise AssertionError(f"seed {pack.seed}:\n{pack.history().as_case()}") from error


def difference(pack: Pack) -> AssertionError | None:
    """Return what differs between the engine and the interpreter; None if nothing does."""
    try:
        compare(pack.history())
    except AssertionError as error:
        return error
    return None
