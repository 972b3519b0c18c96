"""Random histories: a configuration, feeds, and imports of rows, with deliberately few names.

Collisions must be likely, or nothing is tested: few identities, few attributes, hard values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from profilectl.rules.feed import DEFAULT_WORKSPACE, Feed

CUSTOMERS = ["A", "B", " C ", "\\N"]
EMAILS = [
    "a@x.org",
    "B@X.org",
    "b@x.org",
    "null",
    "\u039d\u03a3@x.org",
    "\u03bd\u03c2@X.org",
    "\u0130@x.org",
    "i\u0307@x.org",
    "NoEmail@x.org",
]
PHONES = ["+1", "+2", "4.47E+11", "12.0"]
DEVICES = ["0a0a0a0a-1111-2222-3333-444444444444", "0B0B0B0B-1111-2222-3333-444444444444"]
KEYS = ["k", "tier", "$firstname", "$plan", "a.b", "é"]
VALUES: list[Any] = [
    "",
    "01234",
    "NULL",
    "é",
    "e\u0301",
    " x ",
    9,
    123456789012345678901234567890,
    True,
    None,
    ["1", "2"],
    "\x1fq",
    'q"\\\n',
]
OUTSIDE = [-1, 9_007_199_254_740_993]
"""Times that no row may state."""
SOURCES = ["account", "custom-feed", "sdk", "csv", "partner", "warehouse"]
LEVELS = ["create-and-update", "update-only", "read-only"]


@dataclass
class Import:
    """One import: a feed, its level, the rows (as JSON documents), the environment given, what
    every row says.
    """

    feed: str
    protection: str
    rows: list[dict[str, Any]]
    environment: str | None = None
    call: str = "identify"


@dataclass
class History:
    """A configuration and the imports in order.

    feeds: name -> (source, partner); workspaces: of feeds that are not in the default one.
    """

    identity: dict[str, Any]
    priority: str
    feeds: dict[str, tuple[str, str | None]]
    imports: list[Import] = field(default_factory=list)
    workspaces: dict[str, str] = field(default_factory=dict)

    def feed(self, name: str, number: int = 0) -> Feed:
        source, partner = self.feeds[name]
        return Feed(
            name,
            source,
            "create-and-update",
            partner,
            number,
            self.workspaces.get(name, DEFAULT_WORKSPACE),
        )

    def as_case(self) -> str:
        """Return the history as a conformance case, ready to paste."""
        feeds = {
            name: {
                "source": source,
                **({"partner": partner} if partner else {}),
                **({"workspace": self.workspaces[name]} if name in self.workspaces else {}),
            }
            for name, (source, partner) in self.feeds.items()
        }
        when = [
            {"feed": one.feed, "protection": one.protection, "batches": one.rows}
            | ({"environment": one.environment} if one.environment else {})
            for one in self.imports
        ]
        case = {
            "given": {
                "config": {"identity": self.identity, "attributes": {"priority": self.priority}},
                "feeds": feeds,
            },
            "when": when,
        }
        return json.dumps(case, ensure_ascii=False, indent=1)


def sparse(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


@st.composite
def rows(draw: st.DrawFn, hard: bool) -> dict[str, Any]:
    identities = draw(
        sparse(
            {
                "customer_id": st.sampled_from(CUSTOMERS),
                "email": st.sampled_from(EMAILS),
                "mobile_number": st.sampled_from(PHONES),
            }
        )
    )
    row: dict[str, Any] = {
        "user_identities": identities,
        "user_attributes": draw(
            st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)
        ),
    }
    rare = draw(st.integers(0, 9))
    if rare in (0, 1):
        row["deleted_user_attributes"] = draw(
            st.lists(st.sampled_from(KEYS), max_size=2, unique=True)
        )
    if rare in (1, 2, 3):
        row["device_info"] = {"ios_idfv": draw(st.sampled_from(DEVICES))}
    if rare == 4:
        row["timestamp_unixtime_ms"] = draw(st.sampled_from([5, 1_700_000_000_000, *OUTSIDE]))
    if hard and rare in (5, 7):
        row["environment"] = draw(st.sampled_from(["production", "development"]))
    if hard and rare == 6:
        row["source_request_id"] = draw(st.sampled_from(["r1", "r2"]))
    if hard and rare == 7:
        row["mpid"] = draw(st.sampled_from([777, -5]))
    if hard and rare == 8:
        row["device_info"] = {
            "push_token": "p",
            "ios_idfv": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
        }
    if hard and rare == 9:
        data = {
            "event_name": "e",
            "custom_event_type": "other",
            "timestamp_unixtime_ms": draw(st.sampled_from([5, *OUTSIDE])),
        }
        row["events"] = [{"event_type": "custom_event", "data": data}]
    return row


@st.composite
def identity_settings(draw: st.DrawFn) -> dict[str, Any]:
    strategy = draw(
        st.sampled_from(["default", "default", "conversion", "link", "isolation", "best-match"])
    )
    found: dict[str, Any] = {"strategy": strategy}
    if strategy == "conversion":
        login = draw(st.sampled_from([["customer_id"], ["email"], ["customer_id", "email"], []]))
        found |= {
            "login": login,
            "unique": draw(st.sampled_from([login, ["customer_id", "email"], []])),
        }
        found["immutable"] = [one for one in found["login"] if one in found["unique"]][
            : draw(st.integers(0, 2))
        ]
    if draw(st.booleans()):
        found["unique_conflict"] = draw(st.sampled_from(["move", "keep"]))
    if draw(st.integers(0, 4)) == 0:
        found[draw(st.sampled_from(["placeholders", "placeholders_add"]))] = draw(
            st.sampled_from([["*@x.org"], ["B*"], ["+1", "\u039d\u03a3@x.org"]])
        )
    if draw(st.integers(0, 4)) == 0:
        found["hierarchy"] = draw(
            st.permutations(["customer_id", "email", "mobile_number", "ios_idfv"])
        )
    return found


@st.composite
def histories(draw: st.DrawFn, workspaces: bool = False) -> History:
    feeds = {
        name: (source, draw(st.sampled_from([None, "P"])) if source == "partner" else None)
        for name in draw(
            st.lists(st.sampled_from(["f", "g", "h"]), min_size=1, max_size=3, unique=True)
        )
        for source in [draw(st.sampled_from(SOURCES))]
    }
    hard = draw(st.booleans())
    history = History(
        draw(identity_settings()), draw(st.sampled_from(["rank", "rank", "first-writer"])), feeds
    )
    if workspaces:
        history.workspaces = {
            name: "shop"
            for name, (source, _) in feeds.items()
            if source != "account" and draw(st.booleans())
        }
    for _ in range(draw(st.integers(1, 4))):
        level = draw(
            st.sampled_from(["create-and-update", "create-and-update", "update-only", "read-only"])
        )
        history.imports.append(
            Import(
                draw(st.sampled_from(sorted(feeds))),
                level,
                draw(st.lists(rows(hard), max_size=12)),
                draw(st.sampled_from([None, None, None, "production"])),
            )
        )
    return history
