"""Whoever comes back after a lifetime starts anew: what is computed rests on what arrived since
(domain.md 13).
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st
from support.doors import run_here
from support.effort import at_length

from profilectl.audiences.one_person import standings_of
from profilectl.audiences.refresh import refresh_store
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.privacy.retention import apply_retention
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.audience import audience_of
from profilectl.rules.batch import read_document
from profilectl.rules.calculated import definition_of, value_of
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import Feed
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.retention import DAY_MS, clocks_of
from profilectl.rules.text.values import parse_json
from profilectl.store.definitions import put_audience, put_calculation
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

NOW_MS = time.time_ns() // 1_000_000
BEFORE_MS = NOW_MS - 50 * DAY_MS


def batch(customer: str, at_ms: int, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "user_identities": {"customer_id": customer},
        "timestamp_unixtime_ms": at_ms,
        "events": list(events),
        **more,
    }


def bought(price: str, at_ms: int) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {
            "event_name": "buy",
            "custom_event_type": "other",
            "timestamp_unixtime_ms": at_ms,
            "custom_attributes": {"price": price},
        },
    }


def bring(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = run_here("import", f"{name}.jsonl", "--feed", "app", "--source", "sdk", folder=folder)
    assert done.returncode == 0, done.stderr


def commanded(folder: Path, *arguments: str) -> Any:
    done = run_here(*arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a store of A, who bought for 5 and whose lifetime is over."""
    bring(
        tmp_path,
        "old",
        batch("A", BEFORE_MS, bought("5", BEFORE_MS), user_attributes={"tier": "gold"}),
    )
    commanded(
        tmp_path, "calculated", "add", "spent", "--type", "sum", "--event", "buy", "--of", "price"
    )
    commanded(tmp_path, "audiences", "add", "buyers", "count(event 'buy') >= 2")
    commanded(tmp_path, "audiences", "add", "rich", "spent > 5")
    assert run_here("retention", "set", "--lifetime-days", "20", folder=tmp_path).returncode == 0
    return tmp_path


def person(folder: Path) -> tuple[dict[str, Any], list[str]]:
    (one,) = commanded(folder, "show", "A")["profiles"]
    return one["user_attributes"], [each["audience_name"] for each in one["audience_memberships"]]


@pytest.mark.slow
def test_calculated_values_of_whoever_comes_back_rest_on_what_arrived_since(folder: Path) -> None:
    assert person(folder)[0] == {"spent": 5, "tier": "gold"}
    assert commanded(folder, "retention", "apply", "--yes")["stubs"] == 1
    bring(folder, "new", batch("A", NOW_MS, bought("3", NOW_MS)))
    assert person(folder) == ({"spent": 3}, [])
    # Nor does what is computed for everybody bring it back, whichever way it is asked.
    commanded(folder, "calculated", "add", "bought", "--type", "count", "--event", "buy")
    assert person(folder)[0] == {"spent": 3, "bought": 1}
    assert (
        commanded(
            folder,
            "calculated",
            "preview",
            "first",
            "--type",
            "minimum",
            "--event",
            "buy",
            "--of",
            "price",
        )["sample"][0]["value"]
        == "3"
    )
    # What arrives late counts, however old it is.
    bring(folder, "late", batch("A", NOW_MS, bought("4", BEFORE_MS)))
    assert person(folder) == ({"spent": 7, "bought": 2}, ["buyers", "rich"])
    assert len(run_here("events", "A", "--json", folder=folder).stdout.splitlines()) == 3, (
        "the events are there all the same"
    )
    assert run_here("check", folder=folder).returncode == 0


@pytest.mark.slow
def test_with_lifetime_profiles_all_comes_back(folder: Path) -> None:
    assert run_here("retention", "set", "--lifetime-profiles", folder=folder).returncode == 0
    commanded(folder, "retention", "apply", "--yes")
    bring(folder, "new", batch("A", NOW_MS, bought("3", NOW_MS)))
    assert person(folder) == ({"spent": 8, "tier": "gold"}, ["buyers", "rich"])


def test_a_standard_audience_counts_events_for_as_long_as_they_are_kept(folder: Path) -> None:
    commanded(folder, "retention", "apply", "--yes")
    bring(folder, "new", batch("A", NOW_MS, bought("3", NOW_MS)))
    counted = {
        kind: commanded(folder, "audiences", "preview", "count(event 'buy') >= 2", "--kind", kind)[
            "members"
        ]
        for kind in ("real-time", "standard")
    }
    assert counted == {"real-time": 0, "standard": 1}


def test_an_opt_out_from_before_holds(folder: Path) -> None:
    bring(
        folder,
        "out",
        batch("A", BEFORE_MS, {"event_type": "opt_out", "data": {"is_opted_out": True}}),
    )
    commanded(folder, "retention", "apply", "--yes")
    bring(folder, "new", batch("A", NOW_MS, bought("3", NOW_MS), bought("4", NOW_MS)))
    assert person(folder) == ({"spent": 7}, [])


def test_a_stub_that_had_nothing_but_events_starts_anew_too(tmp_path: Path) -> None:
    bring(tmp_path, "old", batch("A", BEFORE_MS, bought("5", BEFORE_MS)))
    assert run_here("retention", "set", "--lifetime-days", "20", folder=tmp_path).returncode == 0
    assert [commanded(tmp_path, "retention", "apply", "--yes")["stubs"] for _ in "12"] == [1, 0]
    bring(tmp_path, "new", batch("A", NOW_MS, bought("3", NOW_MS)))
    commanded(
        tmp_path, "calculated", "add", "spent", "--type", "sum", "--event", "buy", "--of", "price"
    )
    assert person(tmp_path)[0] == {"spent": 3}


def test_a_batch_that_arrives_late_brings_somebody_back(folder: Path) -> None:
    """Its own time is before that of retention, and within the lifetime."""
    commanded(folder, "retention", "apply", "--yes")
    bring(folder, "new", batch("A", NOW_MS - DAY_MS, bought("3", NOW_MS - DAY_MS)))
    assert person(folder)[0] == {"spent": 3}
    assert commanded(folder, "retention", "apply", "--yes")["stubs"] == 0
    assert (
        "beyond its lifetime"
        not in run_here("explain", "A", "--attribute", "spent", folder=folder).stdout
    )


def test_of_one_person_only_what_arrived_since_counts(folder: Path) -> None:
    commanded(folder, "retention", "apply", "--yes")
    bring(folder, "new", batch("A", NOW_MS, bought("3", NOW_MS)))
    scratch = Scratch(folder)
    with open_store(scratch, folder / "profiles.duckdb") as store:
        (one,) = activities(
            profiles_of(store),
            [profile for (profile,) in scratch.rows("select profile from store.aged")],
        )
    scratch.close()
    assert [event.document["data"]["custom_attributes"]["price"] for event in one.counted()] == [
        "3"
    ]  # type: ignore[index, call-overload]
    assert len(one.occurred()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("early", "spent"), [(True, 3), (False, 10)])
def test_what_an_alias_carries_over_arrives_with_the_alias(
    early: bool, spent: int, tmp_path: Path
) -> None:
    recent_ms = NOW_MS - 60_000
    bring(
        tmp_path,
        "old",
        {"mpid": 42, **batch("A", BEFORE_MS, bought("5", BEFORE_MS))},
        {"mpid": 43, **batch("B", BEFORE_MS, bought("7", BEFORE_MS))},
    )
    commanded(
        tmp_path, "calculated", "add", "spent", "--type", "sum", "--event", "buy", "--of", "price"
    )
    assert run_here("retention", "set", "--lifetime-days", "20", folder=tmp_path).returncode == 0
    alias = ("alias", "--from", "43", "--to", "42", "--now")
    if early:
        assert run_here(*alias, folder=tmp_path).returncode == 0
        assert person(tmp_path)[0] == {"spent": 12}
        commanded(tmp_path, "retention", "apply", "--yes", "--now", "2200-01-01")
    else:
        commanded(tmp_path, "retention", "apply", "--yes")
        assert run_here(*alias, folder=tmp_path).returncode == 0
    bring(tmp_path, "new", batch("A", recent_ms, bought("3", recent_ms)))
    assert person(tmp_path)[0] == {"spent": spent}
    scratch = Scratch(tmp_path)
    with open_store(scratch, tmp_path / "profiles.duckdb") as store:
        (found,) = scratch.rows("select profile from store.calculated")[0]
        (one,) = activities(profiles_of(store), [found])
        assert (
            value_of(definition_of("spent", DEFINED["spent"]), one.counted(), NOW_MS)
            == scratch.row(f"select held from store.calculated where profile = {found}")[0]
        )
    scratch.close()


# Random lives: what the engine computes for everybody, for the touched, and for one person, is what
# the interpreter's events give.

BEGIN_MS = 1_790_000_000_000
DEFINED: dict[str, dict[str, Any]] = {
    "bought": {"type": "count", "event": "buy"},
    "spent": {"type": "sum", "event": "buy", "of": "price"},
    "prices": {"type": "unique_list", "event": "buy", "of": "price"},
    "lately": {"type": "count", "event": "buy", "within": "30 days"},
    "first": {"type": "first_timestamp", "event": "buy"},
}
AUDIENCES: dict[str, dict[str, Any]] = {
    "buyers": {"criteria": "count(event 'buy') >= 2"},
    "spenders": {"criteria": "spent > 5"},
    "gone": {"criteria": "not event 'buy'"},
    "ever": {"criteria": "count(event 'buy') >= 2", "kind": "standard"},
}


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[int, list[dict[str, Any]] | None]], bool]:
    """Return steps, (day, batches of an import; None: retention is applied), and whether Lifetime
    Profiles are on.
    """
    steps: list[tuple[int, list[dict[str, Any]] | None]] = []
    day = 0
    for _ in range(draw(st.integers(2, 6))):
        day += draw(st.sampled_from([0, 5, 21, 21]))
        if draw(st.integers(0, 2)) == 0:
            steps.append((day, None))
            continue
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            at_ms = BEGIN_MS + (day - draw(st.sampled_from([0, 0, 3, 30]))) * DAY_MS
            events = [
                bought(draw(st.sampled_from(["1", "2.5", "7"])), at_ms)
                for _ in range(draw(st.integers(0, 2)))
            ]
            if draw(st.integers(0, 9)) == 0:
                events.append(
                    {
                        "event_type": "opt_out",
                        "data": {
                            "is_opted_out": draw(st.booleans()),
                            "timestamp_unixtime_ms": at_ms,
                        },
                    }
                )
            rows.append(
                batch(
                    draw(st.sampled_from("AB")),
                    BEGIN_MS + day * DAY_MS,
                    *events,
                    user_attributes=draw(st.sampled_from([{}, {"tier": "x"}])),
                )
            )
        steps.append((day, rows))
    return steps, draw(st.sampled_from([False, False, False, True]))


def check_returning(
    steps: list[tuple[int, list[dict[str, Any]] | None]], lifetime_profiles: bool
) -> None:
    note(json.dumps([steps, lifetime_profiles]))
    stated = {"retention.lifetime_days": 20, "retention.lifetime_profiles": lifetime_profiles}
    definitions = [definition_of(name, table) for name, table in DEFINED.items()]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.duckdb"
        scratch = Scratch(Path(name))
        with open_store(scratch, path, create=True, write=True) as store, store.transaction():
            store.put_settings(stated)
            store.put_feed(Feed("app", "sdk"))
            for one in definitions:
                put_calculation(store, one, 0)
            for audience, table in AUDIENCES.items():
                put_audience(store, audience_of(audience, table), 0)
            secret, found = store.meta("secret"), settings_from(stated)
        interpreter = Interpreter(found.rules, "rank", secret)
        for number, (day, rows) in enumerate(steps):
            now_ms = BEGIN_MS + day * DAY_MS
            if rows is None:
                apply_retention(path, now=now_ms)
                interpreter.age(clocks_of(stated), now_ms)
            else:
                file = Path(name) / f"{number}.jsonl"
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
                import_files(
                    path, ImportRequest([str(file)], "app", source="sdk", now_ms=now_ms, again=True)
                )
                interpreter.run(
                    Feed("app", "sdk"),
                    "create-and-update",
                    [read_document(parse_json(json.dumps(row)), found.reading) for row in rows],
                    now_ms,
                    None,
                )
            refresh_store(path, now_ms=now_ms)
            with open_store(scratch, path) as store:
                profiles = profiles_of(store)
                kept = values_and_members(scratch)
                for one in activities(profiles, sorted(interpreter.people)):
                    person = interpreter.people[one.profile]
                    events = [
                        Occurred(
                            event.event.type,
                            event.event.name,
                            event.at_ms,
                            event.arrival,
                            event.place,
                            None,
                            parse_json(event.event.text),
                        )  # type: ignore[arg-type]
                        for event in person.events
                        if event.arrival >= person.forgotten
                    ]
                    values, of_one = (
                        {
                            each.name: held
                            for each in definitions
                            if (held := value_of(each, some, now_ms)) is not None
                        }
                        for some in (events, one.counted())
                    )
                    assert of_one == values
                    since = any(touch.origin.arrival >= person.forgotten for touch in one.touches)
                    assert one.dormant is not since
                    assert {key[1]: held for key, held in kept[0] if key[0] == one.profile} == (
                        values if since else {}
                    )
                    standings_of(profiles, [one], now_ms)
            refresh_store(
                path,
                now_ms=now_ms,
                request=RefreshRequest([*DEFINED], ["buyers", "spenders", "gone"]),
            )
            with open_store(scratch, path):
                assert values_and_members(scratch) == kept
        scratch.close()


def values_and_members(
    scratch: Scratch,
) -> tuple[list[tuple[tuple[int, str], str]], list[tuple[int, int]]]:
    values = [
        ((profile, name), held)
        for profile, name, held in scratch.rows(
            "select profile, name, held from store.calculated order by all"
        )
    ]
    return values, scratch.rows("select profile, audience from store.membership order by all")


def _nobody(day: int) -> list[dict[str, Any]]:
    opted = {
        "event_type": "opt_out",
        "data": {"is_opted_out": False, "timestamp_unixtime_ms": BEGIN_MS},
    }
    at_ms = BEGIN_MS + day * DAY_MS
    return [batch("B", at_ms), batch("A", at_ms, opted)] if day == 0 else [batch("A", at_ms)]


# B has neither values nor events, and is beyond its lifetime all the same.
NOTHING_TO_LOSE = ([(0, _nobody(0)), (21, _nobody(21)), (21, None)], False)


@pytest.mark.slow
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
@given(lives())
@example(NOTHING_TO_LOSE)
def test_everybody_s_values_are_each_one_s(
    life: tuple[list[tuple[int, list[dict[str, Any]] | None]], bool],
) -> None:
    check_returning(*life)


@pytest.mark.slow
@settings(
    max_examples=at_length(15, by_night=300),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(lives())
def test_everybody_s_values_are_each_one_s_at_length(
    life: tuple[list[tuple[int, list[dict[str, Any]] | None]], bool],
) -> None:
    check_returning(*life)
