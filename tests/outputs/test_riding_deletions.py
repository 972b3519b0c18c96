"""Deletions ride along: what an output has of a person and the store has not any more leaves with
the next batch, once.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import call, made_once, run
from support.effort import at_length, spread_now
from support.equivalence import NOW_MS, stated_settings, text_of
from support.eventful_histories import eventful
from support.histories import History
from support.killed_delivery import killed_until_done
from support.output_receiver import Got, receiver

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.delivery.run import ForwardRequest, forward
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.output import Output
from profilectl.store.definitions import replace_connections
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

VIEW: dict[str, Any] = {
    "event_type": "custom_event",
    "data": {"event_name": "Viewed", "custom_event_type": "other"},
}
OTHER: dict[str, Any] = {"event_type": "screen_view", "data": {"screen_name": "start"}}
CONFIG = """
[feeds.crm]
[feeds.web]
source = "sdk"
[feeds.eu]
workspace = "eu"
[feeds.peek]
protection = "read-only"
[outputs.lake]
type = "jsonl"
path = "lake.jsonl"
"""
CONNECTED = "".join(
    f'[connections.{feed}]\nfeed = "{feed}"\noutput = "lake"\n' for feed in ("crm", "eu", "peek")
)


def said(
    sets: str = "", deletes: str = "", events: Sequence[dict[str, Any]] = (), who: str = "A"
) -> dict[str, Any]:
    """Return a batch. sets, deletes: names of attributes, by blanks."""
    return {
        "user_identities": {"customer_id": who},
        "user_attributes": {key: f"{key}-value" for key in sets.split()},
        "deleted_user_attributes": deletes.split(),
        "events": list(events),
    }


def view(sets: str = "", deletes: str = "", who: str = "A") -> dict[str, Any]:
    """Return a batch with an event."""
    return said(sets, deletes, [VIEW], who)


def fine(*arguments: str, folder: Path, status: int = 0) -> str:
    done = call(*arguments, folder=folder)
    assert done.exit_code == status, done.output
    return done.stdout


def applied(config: str, folder: Path) -> None:
    (folder / "c.toml").write_text(config)
    fine(*["config", "apply", "c.toml", "--prune", "--yes"], folder=folder)


def brought(folder: Path, *batches: dict[str, Any], feed: str = "crm") -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    fine("--quiet", "import", "in.jsonl", "--feed", feed, "--again", folder=folder)


def lines(folder: Path, name: str = "lake.jsonl") -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def deleted(documents: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [one.get("deleted_user_attributes", []) for one in documents]


@made_once
def connected(folder: Path) -> None:
    applied(CONFIG + CONNECTED, folder)


@made_once
def with_color(folder: Path) -> None:
    """Make a store of one person whose colour and size the lake has."""
    connected(folder)
    brought(folder, said())
    brought(folder, view("color size"))
    fine("forward", folder=folder)


@dataclass(frozen=True)
class Brings:
    """A step of a case: rows of one person, by a feed."""

    batches: tuple[dict[str, Any], ...]
    feed: str = "crm"


FORWARD = "forward"
Step = Brings | str | Callable[[Path], object]


def crm(*batches: dict[str, Any]) -> Brings:
    return Brings(batches)


def by(feed: str, *batches: dict[str, Any]) -> Brings:
    return Brings(batches, feed)


def command(*arguments: str) -> Callable[[Path], object]:
    return lambda folder: fine(*arguments, folder=folder)


def config(text: str) -> Callable[[Path], object]:
    return lambda folder: applied(text, folder)


def calculated(name: str, *options: str) -> Callable[[Path], object]:
    return command("--workspace", "default", "calculated", "add", name, *options)


COUNT = ("--type", "count", "--event", "Viewed")
NEVER = ("--type", "last_value", "--event", "Never", "--of", "at")
SWITCHED_OFF = CONFIG + CONNECTED.replace(
    'feed = "crm"\noutput = "lake"\n',
    'feed = "crm"\noutput = "lake"\nfilter = { user_attributes = ["color"] }\n',
)
# fmt: off
TOGETHER: list[tuple[str, list[Step], list[list[str]]]] = [
    # what happens (the lake has color and size)             how                                                                                        what is told as deleted, batch by batch
    ("a deletion without an event rides with the next",      [crm(said(deletes="color")), crm(view()), crm(view()), FORWARD],                           [["color"], []]),
    ("... also where forwarding comes in between",           [crm(said(deletes="color")), FORWARD, crm(view()), FORWARD, crm(view()), FORWARD],         [["color"], []]),
    ("... and two with one batch, sorted",                   [crm(said(deletes="size")), crm(said(deletes="color")), crm(view()), FORWARD],             [["color", "size"]]),
    ("a deletion of the batch that leaves goes with it",     [crm(view(deletes="color")), crm(view()), FORWARD],                                        [["color"], []]),
    ("... and with it what was deleted before",              [crm(said(deletes="size")), crm(view(deletes="color")), FORWARD],                          [["color", "size"]]),
    ("deleted and set again is not deleted",                 [crm(said(deletes="color")), crm(said("color")), crm(view()), FORWARD],                    [[]]),
    ("... nor where the batch that leaves sets it",          [crm(said(deletes="color")), crm(view("color")), FORWARD],                                 [[]]),
    ("deleted, set and deleted again is told once",          [crm(said(deletes="color"), said("color")), crm(said(deletes="color")), crm(view()), FORWARD], [["color"]]),
    ("told, set again and deleted again is told again",      [crm(view(deletes="color")), FORWARD, crm(view("color")), FORWARD, crm(said(deletes="color"), view()), FORWARD], [["color"], [], ["color"]]),
    ("several batches of one block tell it once",            [crm(said(deletes="color"), view(), view(), said(deletes="size"), view(), view()), FORWARD], [["color"], [], ["size"], []]),
    ("a deletion by a feed that is not connected",           [by("web", said("hat")), by("web", said(deletes="hat")), crm(view()), FORWARD],            [["hat"]]),
    ("an attribute of another workspace is another",         [by("eu", view("color")), by("eu", said(deletes="color")), crm(view()), by("eu", view()), FORWARD], [[], [], ["color"]]),
    ("a batch that only passes by carries nobody's",         [crm(said(deletes="color")), by("peek", view()), crm(view()), FORWARD],                    [[], ["color"]]),
    ("what never was there is not deleted",                  [crm(said(deletes="hat")), crm(view()), FORWARD],                                          [[]]),
    ("what lived between two batches only is told once",     [crm(said("hat"), said(deletes="hat")), crm(view()), crm(view()), FORWARD],                [["hat"], []]),
    ("nothing happened",                                     [FORWARD, FORWARD],                                                                        []),
    ("an attribute that is renamed",                         [crm(said("colour", "color")), crm(view()), crm(view()), FORWARD],                         [["color"], []]),
]
ALONE: list[tuple[str, list[Step], list[list[str]]]] = [
    ("a deletion by hand",                                   [command("--workspace", "default", "set", "--customer-id", "A", "--delete", "color"), crm(view(), view()), FORWARD], [["color"], []]),
    ("an import that is taken back takes its values along",  [command("imports", "undo", "2", "--yes"), crm(view(), view()), FORWARD],                  [["color", "size"], []]),
    ("a calculated value masks what was deleted",            [crm(said(deletes="color")), calculated("color", *COUNT), crm(view()), FORWARD],           [[]]),
]
LONGER: list[tuple[str, list[Step], list[list[str]]]] = [
    ("a calculated one without a value masks to nothing",    [calculated("color", *NEVER), crm(view(), view()), FORWARD],                               [["color"], []]),
    ("a deletion that is taken back is none",                [crm(said(deletes="color")), command("imports", "undo", "3", "--yes"), crm(view()), FORWARD], [[]]),
    ("a calculated one that is gone is gone for the output", [calculated("seen", *COUNT), crm(view()), FORWARD, command("--workspace", "default", "calculated", "remove", "--yes", "seen"), crm(view(), view()), FORWARD], [[], ["seen"], []]),
    ("what the filter switches off is told once it is on",   [config(SWITCHED_OFF), crm(view()), FORWARD, crm(said(deletes="color"), view()), FORWARD, config(CONFIG + CONNECTED), crm(view(), view()), FORWARD], [[], [], ["color"], []]),
    ("what was taken out of the outbox tells nothing",       [crm(view(deletes="color")), command("outbox", "drop", "--waiting", "--output", "lake", "--yes"), crm(view()), FORWARD], [["color"]]),
]
# fmt: on


def named(batch: dict[str, Any], who: str) -> dict[str, Any]:
    return {**batch, "user_identities": {"customer_id": who}}


def rounds_of(steps: Sequence[Step]) -> list[list[Brings]]:
    """Return what is brought before each time that batches leave."""
    found: list[list[Brings]] = [[]]
    for step in steps:
        if isinstance(step, Brings):
            found[-1].append(step)
        else:
            found.append([])
    return found[:-1]


def brought_together() -> dict[str, list[list[str]]]:
    """Run the cases in one store, each with a person of its own: what was told as deleted of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        connected(folder)
        people = [str(place) for place in range(len(TOGETHER))]
        brought(folder, *(named(view("color size"), who) for who in people))
        fine("forward", folder=folder)
        rounds = [rounds_of(steps) for _, steps, _ in TOGETHER]
        for number in range(max(map(len, rounds))):
            several = [
                (who, one[number])
                for who, one in zip(people, rounds, strict=True)
                if number < len(one)
            ]
            for place in range(max(len(steps) for _, steps in several)):
                for feed in ("crm", "web", "eu", "peek"):
                    here = [
                        named(batch, who)
                        for who, steps in several
                        if place < len(steps) and steps[place].feed == feed
                        for batch in steps[place].batches
                    ]
                    if here:
                        brought(folder, *here, feed=feed)
            fine("forward", folder=folder)
        found: dict[str, list[list[str]]] = {}
        for one in lines(folder):
            assert not set(one.get("deleted_user_attributes", [])) & set(one["user_attributes"])
            found.setdefault(one["user_identities"][0]["identity"], []).append(
                one.get("deleted_user_attributes", [])
            )
        return found


@pytest.mark.slow
def test_what_is_deleted_rides_with_the_next_batch_once() -> None:
    told = brought_together()
    assert {says: told[str(place)][1:] for place, (says, _, _) in enumerate(TOGETHER)} == {
        says: expected for says, _, expected in TOGETHER
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "steps", "expected"),
    [*TOGETHER, *LONGER],
    ids=[one[0] for one in (*TOGETHER, *LONGER)],
)
def test_the_same_where_each_is_alone(
    says: str, steps: list[Step], expected: list[list[str]], tmp_path: Path
) -> None:
    alone(says, steps, expected, tmp_path)


@pytest.mark.parametrize(
    ("says", "steps", "expected"), spread_now(ALONE, 3), ids=[one[0] for one in ALONE]
)
def test_whatever_takes_an_attribute_away_is_told(
    says: str, steps: list[Step], expected: list[list[str]], tmp_path: Path
) -> None:
    alone(says, steps, expected, tmp_path)


def alone(says: str, steps: Sequence[Step], expected: list[list[str]], folder: Path) -> None:
    with_color(folder)
    for step in steps:
        if isinstance(step, Brings):
            brought(folder, *step.batches, feed=step.feed)
        elif isinstance(step, str):
            fine(step, folder=folder)
        else:
            step(folder)
    assert deleted(lines(folder)[1:]) == expected, says
    for one in lines(folder):
        assert not set(one.get("deleted_user_attributes", [])) & set(one["user_attributes"]), says


def test_a_batch_that_is_dead_does_not_use_deletions_up(tmp_path: Path) -> None:
    refused = iter([400])

    def answer(got: Got) -> int:
        return next(refused, 202) if "deleted_user_attributes" in got.document else 202

    with receiver(answer) as hook:
        applied(
            CONFIG.replace('"jsonl"\npath = "lake.jsonl"', f'"webhook"\nurl = "{hook.url}"')
            + CONNECTED,
            tmp_path,
        )
        brought(tmp_path, view("color"))
        fine("forward", folder=tmp_path)
        brought(tmp_path, said(deletes="color"), view(), view(), view())
        fine("forward", folder=tmp_path, status=3)
        assert deleted([one.document for one in hook.accepted()]) == [[], ["color"], []]
        # The dead one leaves as it would have then; what the output has of later batches is not
        # taken back.
        brought(tmp_path, said("hat"))
        fine("outbox", "retry", folder=tmp_path)
        fine("forward", folder=tmp_path)
        assert deleted([one.document for one in hook.accepted()]) == [[], ["color"], [], []]


def test_a_batch_that_is_not_sent_does_not_use_deletions_up(tmp_path: Path) -> None:
    with_color(tmp_path)
    only = CONFIG + CONNECTED.replace(
        'feed = "crm"\noutput = "lake"\n',
        'feed = "crm"\noutput = "lake"\nfilter = { event_types = ["screen_view"] }\n',
    )
    applied(only, tmp_path)
    brought(tmp_path, said(deletes="color"), said(events=[OTHER]), view())
    fine("forward", folder=tmp_path)
    applied(
        CONFIG
        + CONNECTED.replace(
            'feed = "crm"\noutput = "lake"\n', 'feed = "crm"\noutput = "lake"\nsampling = 0\n'
        ),
        tmp_path,
    )
    brought(tmp_path, view(deletes="size"))
    fine("forward", folder=tmp_path)
    applied(CONFIG + CONNECTED, tmp_path)
    brought(tmp_path, view())
    fine("forward", folder=tmp_path)
    assert deleted(lines(tmp_path)) == [[], ["color"], ["size"]]


def test_each_output_is_told_by_itself_and_one_connected_later_of_nothing_before(
    tmp_path: Path,
) -> None:
    with_color(tmp_path)
    brought(tmp_path, said(deletes="color"))
    more = (
        '[outputs.pond]\ntype = "jsonl"\npath = "pond.jsonl"\n[connections.crm-pond]\nfeed ='
        ' "crm"\noutput = "pond"\n'
    )
    applied(CONFIG + CONNECTED + more, tmp_path)
    brought(tmp_path, said(deletes="size"))
    brought(tmp_path, view(), view())
    fine("forward", "--output", "pond", folder=tmp_path)
    assert deleted(lines(tmp_path, "pond.jsonl")) == [["size"], []]
    fine("forward", folder=tmp_path)
    assert deleted(lines(tmp_path)) == [[], ["color", "size"], []]


@pytest.mark.slow
def test_a_batch_that_arrived_and_was_not_written_down_says_the_same_again(tmp_path: Path) -> None:
    cut = iter([None, None])

    def answer(got: Got) -> Any:
        return next(cut, 202) if "deleted_user_attributes" in got.document else 202

    with receiver(answer) as hook:
        applied(
            CONFIG.replace('"jsonl"\npath = "lake.jsonl"', f'"webhook"\nurl = "{hook.url}"')
            + CONNECTED,
            tmp_path,
        )
        brought(tmp_path, view("color"))
        fine("forward", folder=tmp_path)
        brought(tmp_path, said(deletes="color"), view(), view())
        fine("forward", "--attempts", "3", "--pause", "0", folder=tmp_path)
    told = [one.document for one in hook.got if "deleted_user_attributes" in one.document]
    assert len(told) == 3
    assert len({one["source_request_id"] for one in told}) == 1
    assert deleted(told) == [["color"]] * 3


def test_the_outcome_and_what_the_output_has_are_one_transaction(tmp_path: Path) -> None:
    with_color(tmp_path)
    brought(tmp_path, said(deletes="color"), view())
    before = (tmp_path / "profiles.duckdb").read_bytes()
    fine("forward", folder=tmp_path)
    # Killed after writing and before the store knew of it: the store is as before, the line is
    # there.
    (tmp_path / "profiles.duckdb").write_bytes(before)
    brought(tmp_path, view())
    fine("forward", folder=tmp_path)
    assert deleted(lines(tmp_path)) == [[], ["color"], []]


def test_enrich_tells_what_forward_sends(tmp_path: Path) -> None:
    with_color(tmp_path)
    brought(tmp_path, said(deletes="color"))
    brought(tmp_path, view(), said(deletes="size"))
    (tmp_path / "next.jsonl").write_text(
        json.dumps(view("hat"))
        + "\n"
        + json.dumps(said(deletes="hat"))
        + "\n"
        + json.dumps(view())
        + "\n"
    )
    told = [
        json.loads(line)
        for line in fine(
            "enrich", "next.jsonl", "--feed", "crm", "--json", folder=tmp_path
        ).splitlines()
    ]
    fine("--quiet", "import", "next.jsonl", "--feed", "crm", folder=tmp_path)
    fine("forward", folder=tmp_path)
    # What waits leaves first, and takes the colour with it.
    assert deleted(lines(tmp_path)) == [[], ["color"], ["size"], ["hat"]]
    assert [
        deleted([one["outputs"][0]["batch"]])
        if one["outputs"][0]["leaves"]
        else one["outputs"][0]["reason"]
        for one in told
    ] == [[["size"]], "EVENTLESS", [["hat"]]]


def test_whoever_is_erased_leaves_no_trace_of_what_outputs_have(tmp_path: Path) -> None:
    with_color(tmp_path)
    fine("forget", "--customer-id", "A", "--yes", folder=tmp_path)
    with duckdb.connect(tmp_path / "profiles.duckdb") as store:
        assert store.execute("select count(*) from handed_over").fetchall() == [(0,)]


def test_what_retention_takes_away_is_deleted_at_the_output(tmp_path: Path) -> None:
    connected(tmp_path)
    brought(tmp_path, {**view("color"), "timestamp_unixtime_ms": 1_700_000_000_000})
    fine("forward", folder=tmp_path)
    applied(CONFIG + CONNECTED + "[retention]\nlifetime_days = 30\n", tmp_path)
    fine("retention", "apply", "--yes", folder=tmp_path)
    brought(tmp_path, view(), view())
    fine("forward", folder=tmp_path)
    assert deleted(lines(tmp_path)) == [[], ["color"], []]


@pytest.mark.slow
def test_an_older_store_goes_on_from_the_last_batch_that_an_output_took(tmp_path: Path) -> None:
    with_color(tmp_path)
    brought(tmp_path, said(deletes="color"))
    with duckdb.connect(tmp_path / "profiles.duckdb") as store:
        for table in ("handed_over", "output_since"):
            store.execute(f"delete from {table}")
    brought(tmp_path, view(), view(deletes="size"), view(deletes="size", who="B"))
    applied(CONFIG + CONNECTED.replace('feed = "crm"', 'feed = "crm"\nactive = true'), tmp_path)
    fine("forward", folder=tmp_path)
    assert deleted(lines(tmp_path)) == [[], ["color"], ["size"], []]


@pytest.mark.slow
def test_whoever_is_erased_while_a_batch_is_on_its_way_does_not_come_back(tmp_path: Path) -> None:
    def answer(got: Got) -> int:
        assert run("forget", "--customer-id", "A", "--yes", folder=tmp_path).returncode == 0
        return 202

    with receiver(answer) as hook:
        applied(
            CONFIG.replace('"jsonl"\npath = "lake.jsonl"', f'"webhook"\nurl = "{hook.url}"')
            + CONNECTED,
            tmp_path,
        )
        brought(tmp_path, view("color"))
        fine("forward", folder=tmp_path)
    with duckdb.connect(tmp_path / "profiles.duckdb") as store:
        assert store.execute("select count(*) from handed_over").fetchall() == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_what_an_output_puts_together_of_what_leaves_is_what_the_profile_has(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(15, by_night=200),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(eventful(), st.lists(st.booleans(), min_size=12, max_size=12))
    def compare(history: History, leaves: list[bool]) -> None:
        note(history.as_case())
        mirrored(history, leaves)

    compare()


def mirrored(history: History, leaves: Sequence[bool]) -> None:
    """Run a history, forwarding in between; put together what leaves as a receiver does, and
    compare it with each batch. In no batch is anything told as deleted that the receiver does
    not have, but what came and went in between.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, path, scratch = Path(name), Path(name) / "profiles.duckdb", Scratch(Path(name))
        with open_store(scratch, path, create=True, write=True) as store, store.transaction():
            store.put_settings(stated_settings(history))
            for feed in history.feeds:
                store.put_feed(history.feed(feed))
            replace_connections(
                store,
                [Output("lake", "jsonl", "lake.jsonl")],
                [Connection(feed, feed, "lake") for feed in history.feeds],
            )
        scratch.close()
        for number, one in enumerate(history.imports):
            file = folder / f"{number}.jsonl"
            file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
            import_files(
                path,
                ImportRequest(
                    [str(file)],
                    one.feed,
                    protection=one.protection,
                    environment=one.environment,
                    again=True,
                    now_ms=NOW_MS + number,
                ),
            )
            if leaves[number % len(leaves)] or number == len(history.imports) - 1:
                forward(path, ForwardRequest())
        there: dict[str, set[str]] = {}
        for batch in lines(folder):
            if "mpid" in batch:
                keys = there.setdefault(str(batch["mpid"]), set())
                keys |= set(batch["user_attributes"])
                keys -= set(batch.get("deleted_user_attributes", []))
                assert keys == set(batch["user_attributes"])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_killed_at_any_moment_each_deletion_is_told_once(part: int, tmp_path: Path) -> None:
    chance, people = (
        random.Random(part),
        [f"P{place}" for place in range(at_length(40, by_night=200))],
    )

    def answer(got: Got) -> Any:
        time.sleep(chance.uniform(0, 0.01))
        return 202 if chance.random() < 0.9 else 503

    with receiver(answer) as hook:
        applied(
            CONFIG.replace('"jsonl"\npath = "lake.jsonl"', f'"webhook"\nurl = "{hook.url}"')
            + CONNECTED,
            tmp_path,
        )
        brought(tmp_path, *(view("color size", who=who) for who in people))
        brought(tmp_path, *(said(deletes="color", who=who) for who in people))
        brought(
            tmp_path,
            *(view(who=who) for _ in range(2) for who in people),
            *(view(deletes="size", who=who) for who in people),
            *(view(who=who) for who in people),
        )
        assert killed_until_done(tmp_path, chance, 1.5) > 0
        told: dict[str, dict[str, list[str]]] = {}
        for one in (got.document for got in hook.accepted()):
            mine = told.setdefault(one["user_identities"][0]["identity"], {})
            # Sent again it says the same: a receiver that knows the id drops it.
            assert mine.setdefault(
                one["source_request_id"], one.get("deleted_user_attributes", [])
            ) == one.get("deleted_user_attributes", [])
    assert sorted(told) == sorted(people)
    assert all(list(one.values()) == [[], ["color"], [], ["size"], []] for one in told.values())


@pytest.mark.slow
def test_the_events_api_is_told_by_the_next_batch_where_one_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = iter([400, 400])  # the request, then the batch alone

    def answer(got: Got) -> int:
        return (
            next(refused, 202)
            if any("deleted_user_attributes" in one for one in got.document)
            else 202
        )

    for name in ("KEY", "SECRET"):
        monkeypatch.setenv(f"PROFILECTL_OUTPUT_LAKE_{name}", name)
    with receiver(answer) as host:
        applied(
            CONFIG.replace('"jsonl"\npath = "lake.jsonl"', f'"events-api"\nhost = "{host.url}"')
            + CONNECTED,
            tmp_path,
        )
        brought(tmp_path, view("color"), view("color", who="B"))
        fine("forward", folder=tmp_path)
        brought(tmp_path, said(deletes="color"), view(), view(), view(who="B"), view())
        fine("forward", folder=tmp_path, status=3)
        told = [
            (one["user_identities"]["customer_id"], one.get("deleted_user_attributes", []))
            for got in host.accepted()
            for one in got.document
        ]
    assert [one for who, one in told if who == "A"] == [[], ["color"], []]
    assert [one for who, one in told if who == "B"] == [[], []]
