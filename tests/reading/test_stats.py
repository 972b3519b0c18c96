"""stats counts by what is there several times: the same as when everything is counted apart."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from support.doors import call
from support.effort import at_length
from support.equivalence import by_engine
from support.histories import History, histories

from profilectl.reading import stats
from profilectl.reading.upkeep import compact_store
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

SLOWLY = {
    "IDENTITIES_BY_TYPE": """
        select type, count(*), count(distinct hash), count(distinct profile)
        from holding
        group by type
        order by type
    """,
    "MOST_SHARED": """
        select type, count(distinct profile) as profiles, min(profile) as profile, to_hex(hash)
        from holding
        group by type, hash
        having count(distinct profile) > 1
        order by profiles desc, profile, type
        limit $few
    """,
    "CURRENT": """
        select key, profile, arg_max(held, arrival) as held, arg_max(feed, arrival) as feed
        from stated
        group by key, profile
        having arg_max(held, arrival) <> chr(31)
    """,
    "COUNTED": """
        select key, {columns}, count(distinct held), list_sort(list(distinct feed.source))
        from held_now
        join store.feed as feed on feed.number = held_now.feed
        group by key
    """,
}


def counted(path: Path) -> dict[str, Any]:
    scratch = Scratch(path.parent)
    try:
        with open_store(scratch, path) as store:
            found = stats.stats_of(store)
    finally:
        scratch.close()
    # those of equal rank come in any order
    shared: list[Any] = found.pop("most_shared")  # type: ignore[assignment]
    return {**found, "most_shared": sorted(map(json.dumps, shared))}


def slowly(path: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, statement in SLOWLY.items():
            patch.setattr(stats, name, statement)
        return counted(path)


@settings(
    max_examples=at_length(8, by_night=300),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(histories())
def test_what_is_there_once_need_not_be_grouped(history: History) -> None:
    with tempfile.TemporaryDirectory() as name:
        by_engine(history, Path(name))
        path = Path(name) / "store.duckdb"
        assert counted(path) == slowly(path)
        compact_store(path, keep=1)
        assert counted(path) == slowly(path)


def test_identities_that_went_and_came_back_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_text(
        '[identity]\nstrategy = "conversion"\nunique = ["customer_id", "email"]\n'
    )
    assert call("config", "apply", "set.toml", folder=tmp_path).exit_code == 0
    for number, (customer, email) in enumerate(
        [("A", "x@y.org"), ("B", "x@y.org"), ("A", "x@y.org"), ("A", "z@y.org"), ("C", "x@y.org")]
    ):
        row = {"user_identities": {"customer_id": customer, "email": email}}
        row["user_attributes"] = {"tier": email}
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row) + "\n")
        done = call("import", f"{number}.jsonl", "--feed", "f", folder=tmp_path)
        assert done.exit_code == 0, done.stderr
    path = tmp_path / "profiles.duckdb"
    found = counted(path)
    assert found == slowly(path)
    assert found["identities"]["customer_id"] == {"identities": 3, "values": 3, "profiles": 3}


def test_a_calculated_value_with_nothing_to_show_fills_nothing(tmp_path: Path) -> None:
    rows = [
        {
            "user_identities": {"customer_id": customer},
            "events": [
                {
                    "event_type": "custom_event",
                    "data": {
                        "event_name": "bought",
                        "custom_event_type": "transaction",
                        "timestamp_unixtime_ms": 1_700_000_000_000,
                        "custom_attributes": attributes,
                    },
                }
            ],
        }
        for customer, attributes in (("A", {"price": "3"}), ("B", {}), ("C", {"x": "1"}))
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("import", "a.jsonl", "--feed", "f", folder=tmp_path).exit_code == 0
    add = ["calculated", "add", "spent", "--type", "sum", "--event-type", "custom_event"]
    assert call(*add, "--of", "price", folder=tmp_path).exit_code == 0
    found = counted(tmp_path / "profiles.duckdb")["attributes"]
    # docs/calculated.md: `-` does not count as a value in the number of profiles
    assert [one["profiles"] for one in found if one["attribute"] == "spent"] == [1]
