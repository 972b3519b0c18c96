"""Profiles, an import's changes and files of batches go to the platform: nothing is lost, and
nothing is there twice under two request ids, whatever the platform does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run
from support.effort import at_length, spread_now
from support.places import SAMPLES
from support.pushing import SECRETS, tried
from support.receiver import KEY, SECRET, Do, Receiver, always, contents_of, problems_of, receiving

from profilectl.codes import InputRefused, Unfinished
from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.push.run import PushReport, PushRequest, push
from profilectl.outputs.push.sending import SendingPace
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

QUICK = SendingPace(
    rate=0, parallel=4, timeout_s=5, give_up_s=20, first_pause_s=0.005, longest_pause_s=0.05
)
PEOPLE = 950


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = tried(folder, *arguments)
    assert found[0] == status, found
    assert SECRET not in "".join(found[1:])
    return found[1]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store of people that differ."""
    folder = tmp_path_factory.mktemp("ground")
    with (folder / "people.jsonl").open("w") as out:
        for n in range(PEOPLE):
            batch = {
                "user_identities": {"customer_id": f"C{n}", "email": f"p{n}@example.com"},
                "user_attributes": {"place": n, "tier": "gold" if n % 2 else "tin"},
            }
            out.write(json.dumps(batch) + "\n")
    done(folder, "import", "people.jsonl", "--feed", "f")
    return folder


@pytest.fixture
def folder(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ground / "profiles.duckdb", tmp_path)
    shutil.copy(ground / "people.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pushed(
    folder: Path,
    receiver: Receiver,
    asked: PushRequest = PushRequest(),  # noqa: B008
    pace: SendingPace = QUICK,
    **more: Any,
) -> PushReport:
    return push(
        folder / "profiles.duckdb",
        asked,
        host=receiver.url,
        credentials=KeyAndSecret(KEY, SECRET),
        pace=pace,
        **more,
    )


def packed(folder: Path, *arguments: str) -> list[list[dict[str, Any]]]:
    """Return the requests that a dry run writes."""
    found = call("push", *arguments, "--dry-run", "requests.jsonl", folder=folder)
    assert found.exit_code in (0, 3), found.output
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def flat(requests: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [one for request in requests for one in request]


def is_whole(receiver: Receiver, expected: Any) -> None:
    """Assert that the platform has everything once, each under one request id, as its document has
    it.
    """
    assert receiver.problems == []
    assert receiver.overtaking == []
    assert {len(ids) for ids in receiver.ids().values()} == {1}
    assert receiver.contents() == contents_of(expected)


def ledger(folder: Path) -> dict[str, Any]:
    with open_store(Scratch(folder), folder / "profiles.duckdb") as store:
        last = store.scratch.rows(
            "select number, rows, accepted, refused, finished_ms is not null from"
            " store.push order by number desc limit 1"
        )
        number, rows, accepted, refused, finished = last[0] if last else (0, 0, 0, 0, False)
        runs = store.scratch.rows(
            f"select first, last from store.pushed where push = {number} order by first"
        )
        bad = store.scratch.rows(
            f"select position, part, code from store.push_refused where push = {number}"
            " order by position"
        )
    return {
        "rows": rows,
        "accepted": accepted,
        "refused": refused,
        "finished": finished,
        "runs": runs,
        "bad": bad,
    }


def wait_for(pushing: subprocess.Popen[str], receiver: Receiver, requests: int) -> None:
    """Wait until so many requests have arrived."""
    deadline = time.monotonic() + 60
    while len(receiver.requests) < requests:
        assert pushing.poll() is None, pushing.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What is sent


RICH = [
    {
        "user_identities": {"customer_id": "many"},
        "user_attributes": {f"k{n:03}": n for n in range(100)},
    },
    {
        "user_identities": {"customer_id": "many"},
        "user_attributes": {f"l{n:03}": "x" for n in range(80)},
    },
    {
        "user_identities": {"customer_id": "kinds", "other": "o1"},
        "user_attributes": {
            "n": 3503795095229129165747,
            "d": 0.30000000000000004,
            "b": True,
            "tag": None,
            "list": ["a", 1, None],
            "q": '"\\\n',
        },
    },
    {
        "user_identities": {"customer_id": "kinds", "other": "o2"},
        "device_info": {"ios_idfv": "0B0E3E9A-5C2F-4A53-9C1E-000000000001"},
        "mp_deviceid": "0b0e3e9a-5c2f-4a53-9c1e-000000000002",
        "user_attributes": {},
    },
    {
        "user_identities": {"customer_id": "long"},
        "user_attributes": {f"m{n:02}": f"{n}" + "é" * 4000 for n in range(40)},
    },
    {
        "environment": "development",
        "user_identities": {"email": "dev@example.com"},
        "user_attributes": {"a": "b"},
    },
]


@pytest.fixture(scope="module")
def rich_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    (folder / "rich.jsonl").write_text("".join(json.dumps(one) + "\n" for one in RICH))
    assert call("import", "rich.jsonl", "--feed", "f", folder=folder).exit_code == 0
    return folder / "profiles.duckdb"


@pytest.fixture
def rich(rich_store: Path, tmp_path: Path) -> Path:
    shutil.copy(rich_store, tmp_path)
    return tmp_path


def test_every_batch_is_as_the_platforms_document_has_it(rich: Path) -> None:
    requests = packed(rich)
    assert [problem for one in requests for problem in problems_of(one)] == []
    by_id: dict[str, dict[str, Any]] = {}
    for one in (one for request in requests for one in request):
        assert len(one["user_attributes"]) <= 100
        assert len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode()) <= 131_072
        who = one["user_identities"].get("customer_id", "dev")
        assert not by_id.get(who, {}).keys() & one["user_attributes"].keys()
        by_id.setdefault(who, {}).update(one["user_attributes"])
    assert len(by_id["many"]) == 180
    assert by_id["kinds"] == {
        "n": "3503795095229129165747",
        "d": "0.30000000000000004",
        "b": "true",
        "tag": None,
        "list": ["a", "1", None],
        "q": '"\\\n',
    }
    assert by_id["long"] == {f"m{n:02}": f"{n}" + "é" * 4000 for n in range(40)}, "split by bytes"
    assert {one["environment"] for request in requests for one in request} == {
        "production",
        "development",
    }
    assert not any(
        "mpid" in one or "timestamp_unixtime_ms" in one for request in requests for one in request
    )


def test_mpids_and_times_where_they_are_wanted(rich: Path) -> None:
    exported = {json.loads(line)["mpid"] for line in done(rich, "export", "profiles").splitlines()}
    requests = packed(rich, "--with-mpid", "--with-times")
    assert {str(one["mpid"]) for request in requests for one in request} == exported
    assert all(
        one["timestamp_unixtime_ms"] > 1_600_000_000_000 for request in requests for one in request
    )
    assert [problem for one in requests for problem in problems_of(one)] == []


def test_the_samples_are_as_the_platforms_document_has_them(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "sample_data")
    for name, feed in (
        ("batches.jsonl", "app"),
        ("activity.jsonl", "shop"),
        ("john-smith.json", "crm"),
    ):
        assert call("import", f"sample_data/{name}", "--feed", feed, folder=tmp_path).exit_code in (
            0,
            3,
        )
        assert [
            problem
            for one in packed(tmp_path, f"sample_data/{name}")
            for problem in problems_of(one)
        ] == []
    assert [problem for one in packed(tmp_path) for problem in problems_of(one)] == []


@pytest.mark.slow
def test_what_is_sent_makes_the_same_people_again(rich: Path) -> None:
    """Profiles without values of several for one type come back, their values as text."""
    with receiving() as receiver:
        assert json.loads(done(rich, "push", "--host", receiver.url, "--json"))["finished"]
    (rich / "again.jsonl").write_text("".join(json.dumps(one) + "\n" for one in receiver.accepted))
    done(rich, "--store", "again.duckdb", "import", "again.jsonl", "--feed", "again")

    def people(*where: str) -> list[Any]:
        found = [json.loads(line) for line in done(rich, *where, "export", "profiles").splitlines()]
        return sorted(
            (
                [
                    one["user_identities"],
                    one["device_identities"],
                    one["environment"],
                    sorted(one["user_attributes"]),
                ]
                for one in found
            ),
            key=str,
        )

    assert people("--store", "again.duckdb") == people()


def test_an_imports_changes(folder: Path) -> None:
    batches = [
        {
            "user_identities": {"customer_id": "C7"},
            "user_attributes": {"tier": "iron"},
            "deleted_user_attributes": ["place", "never there"],
        },
        {"user_identities": {"customer_id": "C9"}, "deleted_user_attributes": ["tier"]},
        {"user_identities": {"customer_id": "new"}, "user_attributes": {"tier": "new"}},
    ]
    (folder / "change.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    done(folder, "import", "change.jsonl", "--feed", "f")
    (folder / "later.jsonl").write_text(
        json.dumps({"user_identities": {"customer_id": "C9"}, "user_attributes": {"tier": "back"}})
    )
    done(folder, "import", "later.jsonl", "--feed", "f")
    found = {
        one["user_identities"]["customer_id"]: one for one in flat(packed(folder, "--import", "2"))
    }
    assert set(found) == {"C7", "C9", "new"}
    assert found["C7"]["deleted_user_attributes"] == ["never there", "place"]
    assert found["C7"]["user_attributes"] == {"tier": "iron"}
    assert "deleted_user_attributes" not in found["C9"], "it is there again"
    assert found["C9"]["user_attributes"] == {"place": "9", "tier": "back"}
    assert len(packed(folder, "--import", "2", "--where", "tier = 'iron'")[0]) == 1
    done(folder, "push", "--import", "9", "--dry-run", "x.jsonl", status=2)
    done(folder, "push", "--where", "tier =", "--dry-run", "x.jsonl", status=2)


def test_a_condition(folder: Path) -> None:
    with receiving() as receiver:
        report = json.loads(
            done(
                folder,
                "push",
                "--host",
                receiver.url,
                "--where",
                "tier = 'gold'",
                "--rate",
                "0",
                "--json",
            )
        )
    assert report["batches"]["accepted"] == len(receiver.accepted) == PEOPLE // 2
    assert {one["user_attributes"]["tier"] for one in receiver.accepted} == {"gold"}


def test_a_dry_run_writes_the_very_requests_and_sends_nothing(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    done(folder, "push", "--dry-run", "requests.jsonl")
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert (folder / "requests.jsonl").stat().st_mode & 0o777 == 0o600
    with receiving() as receiver:
        pushed(folder, receiver)
    assert sorted((folder / "requests.jsonl").read_bytes().splitlines()) == sorted(
        receiver.requests
    )
    assert len(receiver.requests) == 10


def test_what_a_calculated_attribute_masks_stays_here(tmp_path: Path) -> None:
    buy = {
        "event_type": "custom_event",
        "data": {"event_name": "buy", "custom_event_type": "transaction"},
    }
    lines = [
        {
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"orders": "99", "old": "1", "kept": "1"},
            "events": [buy],
        },
        {"user_identities": {"customer_id": "A"}, "deleted_user_attributes": ["old", "kept"]},
    ]
    for line in lines:
        (tmp_path / "a.jsonl").write_text(json.dumps(line))
        done(tmp_path, "import", "a.jsonl", "--feed", "app")
    for name in ("orders", "old"):
        done(tmp_path, "calculated", "add", name, "--type", "count", "--event", "buy")
    assert [one["user_attributes"] for one in flat(packed(tmp_path))] == [{}]
    (sent,) = flat(packed(tmp_path, "--import", "2"))
    assert (sent["user_attributes"], sent["deleted_user_attributes"]) == ({}, ["kept"])
    assert json.loads(done(tmp_path, "export", "batches").splitlines()[0])["user_attributes"] == {
        "orders": "99"
    }, "which makes the same store again"


# A file of batches


def test_a_file_with_bad_lines(folder: Path) -> None:
    lines = [
        json.dumps({"user_identities": {"email": "a@example.com"}, "user_attributes": {"n": 1}}),
        "",
        "{",
        '{"email": "flat@example.com"}',
        json.dumps(
            {
                "source_request_id": "mine",
                "user_identities": {"email": "b@example.com"},
                "user_attributes": {"n": 2},
            }
        ),
        json.dumps(
            {"user_identities": {"email": "c@example.com"}, "user_attributes": {"n": "x" * 140_000}}
        ),
    ]
    (folder / "b.jsonl").write_text("\ufeff" + "\n".join(lines))
    with receiving() as receiver:
        report = json.loads(
            done(folder, "push", "b.jsonl", "--host", receiver.url, "--json", status=3)
        )
        again = json.loads(done(folder, "push", "b.jsonl", "--host", receiver.url, "--json"))
        assert (
            json.loads(
                done(
                    folder, "push", "b.jsonl", "--host", receiver.url, "--json", "--again", status=3
                )
            )["push"]
            == 2
        )
    assert [one["user_attributes"]["n"] for one in receiver.accepted] == ["1", "2"] * 2
    assert (
        receiver.accepted[1]["source_request_id"]
        == receiver.accepted[3]["source_request_id"]
        == "mine"
    )
    assert receiver.accepted[0]["source_request_id"] != receiver.accepted[2]["source_request_id"], (
        "another push"
    )
    assert report["rows"] == {"total": 5, "done": 5, "left": 0, "unchanged": 0, "without_batch": 0}
    assert report["reasons"] == {"BATCH_INVALID": 1, "BATCH_TOO_LARGE": 1, "JSON_INVALID": 1}
    assert (again["finished"], again["requests"]) == (True, 0)
    refused = [
        json.loads(line) for line in (folder / "push-1.refused.jsonl").read_text().splitlines()
    ]
    assert [(one["file"], one["line"], one["code"]) for one in refused] == [
        ("b.jsonl", 3, "JSON_INVALID"),
        ("b.jsonl", 4, "BATCH_INVALID"),
        ("b.jsonl", 6, "BATCH_TOO_LARGE"),
    ]
    assert refused[0]["raw"] == "{"
    assert (folder / "push-1.refused.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "content", "status"), [
    ("a.json", '[{"user_identities": {"email": "a@example.com"}, "user_attributes": {}}]', 0), ("a.json", '{"user_identities": {"email": "a@example.com"}, "user_attributes": {},}', 4),
    ("a.json", '["{}"]', 3), ("a.csv", "email\na@example.com\n", 4), ("a.jsonl", "", 4), ("none.jsonl", None, 4),
])  # fmt: skip
def test_files(name: str, content: str | None, status: int, folder: Path) -> None:
    if content is not None:
        (folder / name).write_text(content)
    done(folder, "push", name, "--dry-run", "out.jsonl", status=status)


def test_an_attribute_that_is_no_value_is_refused(folder: Path) -> None:
    batches = [
        {"user_identities": {"customer_id": "A"}, "user_attributes": {"o": value}}
        for value in ({"x": 1}, [["y"]], ["y"], 1)
    ]
    (folder / "b.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    report = json.loads(
        done(folder, "push", "b.jsonl", "--dry-run", "out.jsonl", "--json", status=3)
    )
    assert report["reasons"] == {"UA_UNSUPPORTED_TYPE": 2}
    assert [one["user_attributes"]["o"] for one in flat(packed(folder, "b.jsonl"))] == [["y"], "1"]


def test_a_dry_run_says_what_is_refused_where_it_is_asked_to(folder: Path) -> None:
    (folder / "bad.jsonl").write_text('oops\n{"user_identities":{"customer_id":"B"}}\n')
    done(folder, "push", "bad.jsonl", "--dry-run", "out.jsonl", status=3)
    assert not list(folder.glob("*refused*"))
    report = json.loads(
        done(
            folder,
            "push",
            "bad.jsonl",
            "--dry-run",
            "out.jsonl",
            "--refused",
            "refused.jsonl",
            "--json",
            status=3,
        )
    )
    assert report["refused"] == "refused.jsonl"
    assert [
        (one["line"], one["code"])
        for one in map(json.loads, (folder / "refused.jsonl").read_text().splitlines())
    ] == [(1, "JSON_INVALID")]


def test_a_packed_file(folder: Path) -> None:
    done(folder, "export", "batches", "--no-mpid", "-o", "b.jsonl.gz")
    assert contents_of(flat(packed(folder, "b.jsonl.gz"))) == contents_of(flat(packed(folder)))


# A hostile platform


def storm(number: int, batches: list[dict[str, Any]]) -> Do:
    return Do(429, {"Retry-After": "0", "X-mp-rate-limit-exceeded": "org"}) if number % 3 else Do()


def away(number: int, batches: list[dict[str, Any]]) -> Do:
    return Do(503) if number < 6 else Do(500 + number % 5) if number % 4 == 0 else Do()


def cut_before(number: int, batches: list[dict[str, Any]]) -> Do:
    return Do(cut="before") if number % 2 else Do()


def cut_after(number: int, batches: list[dict[str, Any]]) -> Do:
    return Do(cut="after") if number % 2 else Do()


def anything(seed: int) -> Callable[[int, list[dict[str, Any]]], Do]:
    chance = random.Random(seed)
    what = [
        Do(),
        Do(),
        Do(503),
        Do(429),
        Do(429, {"Retry-After": "0"}),
        Do(cut="before"),
        Do(cut="after"),
        Do(500, body=b"<html>" * 100),
        Do(slow_s=0.02),
    ]
    return lambda number, batches: chance.choice(what)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan",
    [storm, away, cut_before, cut_after, anything(1), anything(2)],
    ids=["storm", "away", "cut before", "cut after", "anything 1", "anything 2"],
)
def test_nothing_is_lost_and_nothing_is_there_under_two_ids(plan: Any, folder: Path) -> None:
    expected = flat(packed(folder))
    with receiving(plan) as receiver:
        report = pushed(folder, receiver)
    assert report.finished
    assert report.counts.retries == report.counts.requests - 10
    is_whole(receiver, expected)
    assert ledger(folder) == {
        "rows": PEOPLE,
        "accepted": PEOPLE,
        "refused": 0,
        "finished": True,
        "runs": [(0, PEOPLE - 1)],
        "bad": [],
    }


def test_a_slow_answer_is_not_waited_for_and_the_same_is_sent_again(folder: Path) -> None:
    with receiving(lambda number, batches: Do(slow_s=1.0 if number == 2 else 0)) as receiver:
        report = pushed(
            folder, receiver, pace=SendingPace(rate=0, timeout_s=0.3, first_pause_s=0.01)
        )
        time.sleep(1.0)  # the slow one takes it as well
    assert report.finished
    assert report.counts.retries == 1
    assert len(receiver.accepted) == PEOPLE + 100
    assert receiver.requests[2] in receiver.requests[3:]
    assert {len(ids) for ids in receiver.ids().values()} == {1}


def test_retry_after_is_obeyed_by_all(folder: Path) -> None:
    times: list[float] = []

    def plan(number: int, batches: list[dict[str, Any]]) -> Do:
        times.append(time.monotonic())
        return Do(429, {"Retry-After": "1"}) if number == 0 else Do()

    with receiving(plan) as receiver:
        report = pushed(folder, receiver, pace=SendingPace(rate=0, parallel=2, first_pause_s=0.01))
    assert report.counts.throttled == {"other": 1}
    assert times[2] - times[0] > 0.95, "the second was on its way already, the third waits"


def test_one_bad_batch_of_a_hundred_is_found_and_the_others_are_taken(folder: Path) -> None:
    body = json.dumps(
        {"errors": [{"code": "BAD_REQUEST", "message": "the event_type is missing"}]}
    ).encode()
    bad = {"5", "6", "777"}
    with receiving(
        lambda number, batches: (
            Do(400, body=body)
            if any(one["user_attributes"]["place"] in bad for one in batches)
            else Do()
        )
    ) as receiver:
        found = done(folder, "push", "--host", receiver.url, "--rate", "0", status=3)
    assert "947 accepted,  3 refused" in found
    assert "3 BATCH_REFUSED: the platform refused the batch" in found
    assert len(receiver.accepted) == PEOPLE - 3 == len(receiver.ids())
    assert ledger(folder)["bad"] == [
        (5, 0, "BATCH_REFUSED"),
        (6, 0, "BATCH_REFUSED"),
        (777, 0, "BATCH_REFUSED"),
    ]
    refused = [
        json.loads(line) for line in (folder / "push-1.refused.jsonl").read_text().splitlines()
    ]
    assert {json.loads(one["raw"])["user_attributes"]["place"] for one in refused} == bad
    assert {one["message"] for one in refused} == {"BAD_REQUEST: the event_type is missing"}


def test_a_platform_that_refuses_everything_is_not_asked_for_ever(folder: Path) -> None:
    with receiving(always(Do(400))) as receiver:
        report = pushed(folder, receiver)
    assert isinstance(report.stopped, InputRefused)
    assert report.counts.requests < 1000
    assert not report.finished


@pytest.mark.parametrize(
    ("status", "words"),
    spread_now(
        [
            (401, "wants credentials"),
            (403, "does not take these credentials"),
            (404, "nothing there takes batches"),
            (302, "somewhere else"),
        ],
        2,
    ),
)
def test_a_refusal_stops_at_once(status: int, words: str, folder: Path) -> None:
    with receiving(
        always(Do(status, {"Location": "http://127.0.0.1:1/"} if status == 302 else {}))
    ) as receiver:
        code, out, error = tried(
            folder, "push", "--host", receiver.url, "--json", "--parallel", "1"
        )
    assert code == 4
    assert words in error
    assert len(receiver.requests) == 1
    report = json.loads(out)
    assert (report["finished"], report["rows"]["left"], report["batches"]["accepted"]) == (
        False,
        PEOPLE,
        0,
    )
    assert SECRET not in out + error


def test_wrong_credentials(folder: Path) -> None:
    with receiving() as receiver:
        found = run(
            "push",
            "--host",
            receiver.url,
            folder=folder,
            PROFILECTL_PUSH_KEY="wrong",
            PROFILECTL_PUSH_SECRET="hidden",
        )
    assert found.returncode == 4
    assert "403" in found.stderr
    assert "hidden" not in found.stderr
    assert "wrong" not in found.stderr


def test_a_platform_that_is_away_leaves_the_rest_for_later(folder: Path) -> None:
    expected = flat(packed(folder))
    with receiving(lambda number, batches: Do() if number < 4 else Do(503)) as receiver:
        found = run(
            "push",
            "--host",
            receiver.url,
            "--rate",
            "0",
            "--give-up",
            "0.5",
            "--json",
            folder=folder,
            **SECRETS,
        )
        assert found.returncode == 9
        assert "run the same push again" in found.stderr
        first = json.loads(found.stdout)
        assert (first["batches"]["accepted"], first["rows"]["left"]) == (400, PEOPLE - 400)
        receiver.plan = always(Do())
        second = json.loads(done(folder, "push", "--host", receiver.url, "--rate", "0", "--json"))
    assert (
        second["push"],
        second["resumed"],
        second["batches"]["accepted"],
        second["batches"]["accepted_before"],
    ) == (1, True, PEOPLE - 400, 400)
    assert second["rows"] == {
        "total": PEOPLE,
        "done": PEOPLE,
        "left": 0,
        "unchanged": 0,
        "without_batch": 0,
    }
    is_whole(receiver, expected)
    assert len(receiver.accepted) == PEOPLE, "what is in the ledger was not sent again"


def test_nobody_is_there(folder: Path) -> None:
    with receiving() as receiver:
        pass
    report = pushed(folder, receiver, pace=SendingPace(rate=0, give_up_s=0.2, first_pause_s=0.01))
    assert isinstance(report.stopped, Unfinished)


def test_longer_than_anybody_waits(folder: Path) -> None:
    with receiving(always(Do(429, {"Retry-After": "86400"}))) as receiver:
        report = pushed(folder, receiver)
    assert isinstance(report.stopped, Unfinished)
    assert report.counts.requests <= 4


def test_an_answer_without_end_is_not_read_to_its_end(folder: Path) -> None:
    with receiving(
        lambda number, batches: Do(503, body=b"x" * 5_000_000) if number < 3 else Do()
    ) as receiver:
        assert pushed(folder, receiver).finished
    assert len(receiver.ids()) == PEOPLE


# Pace


def test_the_rate_is_kept(folder: Path) -> None:
    began = time.monotonic()
    with receiving() as receiver:
        assert pushed(folder, receiver, pace=SendingPace(rate=400)).finished
    assert time.monotonic() - began > (PEOPLE - 400) / 400 - 0.1
    assert len(receiver.accepted) == PEOPLE


def test_a_rate_below_a_request_is_kept(folder: Path) -> None:
    with receiving() as receiver:
        began = time.monotonic()
        assert pushed(
            folder, receiver, PushRequest(where="place < 210"), pace=SendingPace(rate=100)
        ).finished
    assert time.monotonic() - began > 1.0


def test_requests_travel_at_once_but_not_those_of_one_person(folder: Path) -> None:
    with (folder / "same.jsonl").open("w") as out:
        for n in range(600):
            who = {"customer_id": "same"} if n % 150 == 0 else {"email": f"q{n}@example.com"}
            out.write(json.dumps({"user_identities": who, "user_attributes": {"n": n}}) + "\n")
    with receiving(always(Do(slow_s=0.05))) as receiver:
        assert pushed(folder, receiver, PushRequest(file=folder / "same.jsonl")).finished
    assert 1 < receiver.most_at_once <= 4
    assert receiver.overtaking == []
    assert [
        one["user_attributes"]["n"]
        for one in receiver.accepted
        if "customer_id" in one["user_identities"]
    ] == ["0", "150", "300", "450"]


@pytest.mark.slow
def test_imports_go_on_meanwhile(folder: Path) -> None:
    (folder / "more.csv").write_text("customer_id,tier\nC1,changed\nX1,new\n")
    with receiving(always(Do(slow_s=0.4))) as receiver:
        pushing = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "profilectl",
                "push",
                "--host",
                receiver.url,
                "--parallel",
                "1",
                "--json",
            ],
            cwd=folder,
            env={**os.environ, **SECRETS},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(pushing, receiver, 1)
        done(folder, "import", "more.csv", "--feed", "f", "--wait", "5")
        assert pushing.poll() is None
        out, error = pushing.communicate(timeout=60)
    assert pushing.returncode == 0, error
    assert json.loads(out)["batches"]["accepted"] == PEOPLE, "those who came later are not in it"


# Going on


def test_who_was_erased_meanwhile_is_not_sent(folder: Path) -> None:
    with receiving(lambda number, batches: Do() if number < 2 else Do(503)) as receiver:
        assert not pushed(
            folder,
            receiver,
            pace=SendingPace(rate=0, parallel=1, give_up_s=0.1, first_pause_s=0.01),
        ).finished
        done(folder, "forget", "--customer-id", "C900", "--yes")
        receiver.plan = always(Do())
        assert pushed(folder, receiver).finished
    assert len(receiver.accepted) == PEOPLE - 1
    assert "C900" not in json.dumps(receiver.accepted)


def test_what_was_changed_meanwhile_goes_as_it_is_now(folder: Path) -> None:
    with receiving(lambda number, batches: Do() if number < 2 else Do(503)) as receiver:
        assert not pushed(
            folder,
            receiver,
            pace=SendingPace(rate=0, parallel=1, give_up_s=0.1, first_pause_s=0.01),
        ).finished
        done(folder, "set", "--customer-id", "C900", "tier=platinum")
        receiver.plan = always(Do())
        assert pushed(folder, receiver).finished
    assert [
        one["user_attributes"]["tier"]
        for one in receiver.accepted
        if one["user_identities"]["customer_id"] == "C900"
    ] == ["platinum"]


def test_other_words_are_another_push(folder: Path) -> None:
    with receiving() as receiver:
        numbers = [
            pushed(folder, receiver, asked).number
            for asked in (
                PushRequest(where="tier = 'gold'"),
                PushRequest(),
                PushRequest(by_import=1),
                PushRequest(by_import=1, with_mpid=True),
            )
        ]
        assert numbers == [1, 2, 3, 4]
        assert pushed(folder, receiver, PushRequest()).number == 5, "profiles may have changed"
        assert pushed(folder, receiver, PushRequest(by_import=1)).finished_before


def test_the_ledger_holds_nothing_of_anybody(folder: Path) -> None:
    with receiving(
        lambda number, batches: (
            Do(400, body=b'{"errors":[{"message":"p3@example.com"}]}')
            if len(batches) == 1 or number % 2
            else Do()
        )
    ) as receiver:
        pushed(folder, receiver, PushRequest(where="email = 'p3@example.com' or place > 700"))
    with open_store(Scratch(folder), folder / "profiles.duckdb") as store:
        text = str(
            [
                store.scratch.rows(f"select * from store.{table}")
                for table in ("push", "pushed", "push_refused")
            ]
        )
    assert "BATCH_REFUSED" in text
    assert "@" not in text.replace(store_owner(), "")
    assert receiver.url not in text


def store_owner() -> str:
    from profilectl.importing.commit import who

    return who()


# Credentials and addresses


@pytest.fixture
def secret_file(folder: Path) -> Path:
    path = folder / "push.toml"
    path.write_text(f'key = "{KEY}"\nsecret = "{SECRET}"\n')
    path.chmod(0o600)
    return path


def test_credentials_of_a_file(secret_file: Path) -> None:
    folder = secret_file.parent
    with receiving() as receiver:
        assert (
            run(
                "push",
                "--host",
                receiver.url,
                "--rate",
                "0",
                "--credentials",
                "push.toml",
                folder=folder,
            ).returncode
            == 0
        )
        (folder / "push.json").write_text(json.dumps({"key": KEY, "secret": SECRET}))
        (folder / "push.json").chmod(0o400)
        assert (
            run(
                "push",
                "--host",
                receiver.url,
                "--rate",
                "0",
                "--again",
                "--credentials",
                "push.json",
                folder=folder,
            ).returncode
            == 0
        )
    assert len(receiver.accepted) == 2 * PEOPLE


@pytest.mark.parametrize(("change", "words"), [
    (lambda path: path.chmod(0o640), "can be read by others (mode 0640)"), (lambda path: path.chmod(0o604), "mode 0604"),
    (lambda path: path.unlink(), "there is no file"), (lambda path: path.write_text("secret is hidden"), "neither TOML nor JSON"),
    (lambda path: path.write_text('key = "k"'), "has no key and secret"), (lambda path: path.write_text('{"key": "a:b", "secret": "hidden"}'), "cannot be sent"),
    (lambda path: (path.rename(path.with_name("real")), path.symlink_to("real")), "symbolic link"), (lambda path: (path.unlink(), path.mkdir()), "not a plain file"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "not a plain file"),
])  # fmt: skip
def test_credentials_that_are_not_taken(change: Any, words: str, secret_file: Path) -> None:
    change(secret_file)
    status, _, error = tried(
        secret_file.parent, "push", "--host", "http://127.0.0.1:9", "--credentials", "push.toml"
    )
    assert status == 4
    assert words in error
    assert "hidden" not in error


def test_wrong_usage(folder: Path) -> None:
    (folder / "b.jsonl").write_text('{"mpid": 1, "user_attributes": {}}\n')
    for arguments, words in (
        (["push"], "--host is missing"),
        (["push", "--host", "http://example.com"], "plain http"),
        (["push", "--host", "https://k:hidden@example.com"], "do not belong"),
        (["push", "b.jsonl", "--import", "1", "--dry-run", "x"], "a file is sent as it is"),
        (["push", "--dry-run", "profiles.duckdb"], "is read"),
        (["push", "b.jsonl", "--dry-run", "b.jsonl"], "is read"),
    ):
        status, _, error = tried(folder, *arguments)
        assert status == 2, error
        assert words in error
        assert "hidden" not in error
    found = run("push", "--host", "http://127.0.0.1:9", folder=folder)
    assert found.returncode == 2
    assert "PROFILECTL_PUSH_KEY and PROFILECTL_PUSH_SECRET are not set" in found.stderr
    done(folder, "--store", "none.duckdb", "push", "--dry-run", "x", status=6)


def test_a_fault_shows_no_secret(folder: Path) -> None:
    assert SECRET not in repr(KeyAndSecret(KEY, SECRET))
    assert KEY not in str(KeyAndSecret(KEY, SECRET))


def test_a_proxy_does_not_see_what_goes_to_this_machine(folder: Path) -> None:
    with receiving() as receiver:
        found = run(
            "push",
            "--host",
            receiver.url,
            "--rate",
            "0",
            folder=folder,
            **SECRETS,
            HTTP_PROXY="http://127.0.0.1:9",
            http_proxy="http://127.0.0.1:9",
            NO_PROXY="",
            no_proxy="",
        )
    assert found.returncode == 0, found.stderr


# Killed


@pytest.mark.parametrize(
    ("number", "status"),
    spread_now([(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], 3),
)
def test_interrupted(folder: Path, number: signal.Signals, status: int) -> None:
    with receiving(always(Do(slow_s=0.2))) as receiver:
        pushing = subprocess.Popen(
            [sys.executable, "-m", "profilectl", "push", "--host", receiver.url, "--parallel", "1"],
            cwd=folder,
            env={**os.environ, **SECRETS},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(pushing, receiver, 3)
        pushing.send_signal(number)
        _, error = pushing.communicate(timeout=30)
        assert pushing.returncode == status, error
        assert ledger(folder)["accepted"] >= 200
        receiver.plan = always(Do())
        assert pushed(folder, receiver).finished
    assert len(receiver.ids()) == PEOPLE
    assert {len(ids) for ids in receiver.ids().values()} == {1}


@pytest.mark.slow
def test_killed_at_any_moment(ground: Path, tmp_path: Path) -> None:
    """The ledger says done only of what the platform has; in the end it has everything, each under
    one id.
    """
    chance = random.Random(6)
    for trial in range(at_length(6, by_night=100)):
        folder = tmp_path / str(trial)
        folder.mkdir()
        for name in ("profiles.duckdb", "people.jsonl"):
            shutil.copy(ground / name, folder)
        source = ["people.jsonl"] if trial % 2 else []
        expected = flat(packed(folder, *source))
        plan = anything(trial)
        with receiving(
            lambda number, batches, plan=plan: (
                Do(slow_s=0.15) if number % 2 else plan(number, batches)
            )
        ) as receiver:  # type: ignore[misc]
            kills = 0
            while True:
                pushing = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "profilectl",
                        "push",
                        *source,
                        "--host",
                        receiver.url,
                        "--rate",
                        "0",
                        "--parallel",
                        str(chance.choice([1, 3])),
                    ],
                    cwd=folder,
                    env={**os.environ, **SECRETS},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                try:
                    _, error = pushing.communicate(
                        timeout=chance.uniform(0.5, 3.0) if kills < 4 else 60
                    )
                    assert pushing.returncode == 0, error
                    break
                except subprocess.TimeoutExpired:
                    pushing.kill()
                    pushing.communicate()
                    kills += 1
                time.sleep(0.2)  # what was on its way arrives
                written = ledger(folder)
                has = {
                    int(one["user_attributes"]["place"]) + bool(source) for one in receiver.accepted
                }
                assert all(
                    set(range(max(first, bool(source)), last + 1)) <= has
                    for first, last in written["runs"]
                )
                # killed when all was done: profiles pushed once more would be another push
                if written["finished"]:
                    break
            time.sleep(0.3)
        assert receiver.problems == []
        assert {len(ids) for ids in receiver.ids().values()} == {1}
        assert receiver.contents() == contents_of(expected)
        assert ledger(folder)["finished"]


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(os.environ.get("PROFILECTL_PRISM", "prism")) is None,
    reason="Prism (npm: @stoplight/prism-cli) is not there",
)
def test_a_mock_server_made_from_the_platforms_document_takes_everything(folder: Path) -> None:
    """Prism validates each request against the document; a request that is not as the document has
    it is a 400 or 422.
    """
    import socket

    from support.receiver import document

    # Prism serves the paths without what stands before them in the address of a server
    found = document()
    (folder / "oas.json").write_text(
        json.dumps(
            {
                **found,
                "servers": [],
                "paths": {f"/v2{path}": one for path, one in found["paths"].items()},
            }
        )
    )
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    prism = subprocess.Popen(
        [
            os.environ.get("PROFILECTL_PRISM", "prism"),
            "mock",
            "--errors",
            "-p",
            str(port),
            "oas.json",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        for number, path in enumerate(
            (None, SAMPLES / "batches.jsonl", SAMPLES / "activity.jsonl"), start=1
        ):
            report = push(
                folder / "profiles.duckdb",
                PushRequest(file=path),
                host=f"http://127.0.0.1:{port}",
                credentials=KeyAndSecret(KEY, SECRET),
                pace=QUICK,
            )
            assert (report.number, report.finished, report.reasons) == (number, True, {}), (
                report.stopped
            )
    finally:
        prism.terminate()
        prism.wait()
