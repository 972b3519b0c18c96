"""Batches arrive: at least once, always under the same id, in order for each person, whoever is
unkind in between.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.effort import at_length, spread_now
from support.killed_delivery import KILLED, killed_until_done
from support.output_receiver import Got, Receiver, basic, receiver, unkind
from support.places import ROOT, SAMPLES
from support.receiver import problems_of

from profilectl.outputs.delivery.jsonl import Lines
from profilectl.outputs.delivery.parcel import Parcel

FAST = ("--pause", "0.01", "--attempts", "20")


def connected(folder: Path, output: str, *, feeds: int = 1) -> None:
    lines = [f"[outputs.o]\n{output}\n"]
    lines += [
        f'[feeds.f{n}]\nsource = "sdk"\n[connections.c{n}]\nfeed = "f{n}"\noutput = "o"\n'
        for n in range(feeds)
    ]
    (folder / "c.toml").write_text("".join(lines))
    ran(folder, *["config", "apply", "c.toml", "--prune", "--yes"])


def ran(
    folder: Path, *arguments: str, status: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    done = run(*arguments, folder=folder, **more)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def imported(folder: Path, people: int, each: int) -> None:
    """Import batches: `each` of every person, who count them in an attribute."""
    rows = [
        {"user_identities": {"customer_id": f"P{person}"}, "user_attributes": {"n": number},
         "events": [{"event_type": "screen_view", "data": {"screen_name": f"{number}"}}]}
        for number in range(each) for person in range(people)
    ]  # fmt: skip
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    ran(folder, "import", "in.jsonl", "--feed", "f0", "--again")


def who(document: dict[str, Any]) -> tuple[str, int]:
    identities = document["user_identities"]
    return (
        identities["customer_id"] if isinstance(identities, dict) else identities[0]["identity"]
    ), int(document["user_attributes"]["n"])


def check_arrived(
    documents: list[dict[str, Any]], people: int, each: int, *, once: bool = False
) -> None:
    """See that every batch arrived, each under one id, and for each person the first arrivals in
    order.
    """
    ids: dict[tuple[str, int], set[str]] = {}
    first: dict[str, list[int]] = {}
    for one in documents:
        person, number = who(one)
        ids.setdefault((person, number), set()).add(one["source_request_id"])
        if number not in first.setdefault(person, []):
            first[person].append(number)
    assert sorted(ids) == sorted(
        (f"P{person}", number) for person in range(people) for number in range(each)
    )
    assert all(len(found) == 1 for found in ids.values())
    assert len({one for found in ids.values() for one in found}) == people * each
    assert all(numbers == sorted(numbers) for numbers in first.values())
    if once:
        assert len(documents) == people * each


def counts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran(folder, "outbox", "list", "--json").stdout)
    return found


def test_a_webhook_gets_each_batch_signed_and_with_its_id(tmp_path: Path) -> None:
    with receiver() as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}/hook"')
        imported(tmp_path, 3, 2)
        ran(
            tmp_path,
            "forward",
            PROFILECTL_OUTPUT_O_SECRET="shh",
            PROFILECTL_OUTPUT_O_HEADER="Authorization: Bearer t",
        )
        ran(tmp_path, "forward")
    check_arrived([one.document for one in there.got], 3, 2, once=True)
    for one in there.got:
        assert one.path == "/hook"
        assert one.headers["idempotency-key"] == one.document["source_request_id"]
        assert one.headers["authorization"] == "Bearer t"
        at, _, signed = one.headers["x-profilectl-signature"].partition(",v1=")
        assert hmac.compare_digest(
            signed,
            hmac.new(
                b"shh", at.removeprefix("t=").encode() + b"." + one.body, hashlib.sha256
            ).hexdigest(),
        )
    assert counts(tmp_path)["left"] == {"o": {"delivered": 6}}


@pytest.mark.parametrize("seed", range(2))
def test_an_unkind_receiver_gets_everything_in_order(seed: int, tmp_path: Path) -> None:
    with receiver(unkind(seed)) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, 6, 5)
        ran(tmp_path, "forward", *FAST)
    check_arrived([one.document for one in there.accepted()], 6, 5, once=True)
    assert len(there.got) > 30


def test_what_is_refused_goes_to_the_dead_letter_list_and_what_follows_leaves(
    tmp_path: Path,
) -> None:
    def answer(got: Got) -> int:
        return (
            400
            if who(got.document) == ("P0", 0)
            else 409
            if who(got.document) == ("P1", 0)
            else 503
            if who(got.document) == ("P2", 0)
            else 202
        )

    with receiver(answer) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, 3, 2)
        told = json.loads(
            ran(tmp_path, "forward", "--attempts", "3", "--pause", "0", "--json", status=3).stdout
        )
        assert [(one["delivered"], one["known"], one["dead"], one["waiting"]) for one in told] == [
            (3, 1, 2, 0)
        ]
        assert Counter(who(one.document) for one in there.got)["P2", 0] == 3
        assert sorted((one["line"], one["why"]) for one in counts(tmp_path)["dead"]) == [
            (1, "HTTP 400"),
            (3, "after 3 attempts: HTTP 503"),
        ]
        there.answer = lambda got: 202
        assert ran(tmp_path, "outbox", "retry").stdout == "2 batches wait again\n"
        ran(tmp_path, "forward")
    assert {who(one.document) for one in there.accepted()} == {
        (f"P{n}", k) for n in range(3) for k in range(2)
    } - {("P1", 0)}


@pytest.mark.parametrize("status", spread_now([401, 403, 404, 302, 429], 3))
def test_an_output_that_takes_nothing_costs_nothing(status: int, tmp_path: Path) -> None:
    with receiver(lambda got: (status, {"Retry-After": "0", "Location": "/elsewhere"})) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, 2, 2)
        done = ran(tmp_path, "forward", "--attempts", "2", "--pause", "0", status=9)
        assert f"HTTP {status}" in done.stderr
        assert all(one.path == "/" for one in there.got)
        found = counts(tmp_path)
        assert (found["outputs"][0]["waiting"], found["dead"]) == (4, [])
        there.answer = lambda got: 202
        ran(tmp_path, "forward")
    check_arrived([one.document for one in there.accepted()], 2, 2, once=True)


def test_nobody_there_costs_nothing(tmp_path: Path) -> None:
    connected(tmp_path, 'type = "webhook"\nurl = "http://127.0.0.1:9"')
    imported(tmp_path, 1, 2)
    assert (
        "no connection"
        in ran(tmp_path, "forward", "--attempts", "2", "--pause", "0", status=9).stderr
    )
    assert counts(tmp_path)["outputs"][0]["waiting"] == 2


def test_a_slow_answer_is_not_waited_for(tmp_path: Path) -> None:
    def answer(got: Got) -> int:
        if not there.got:
            time.sleep(1)
        return 202

    with receiver(answer) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, 1, 1)
        ran(tmp_path, "forward", "--timeout", "0.2", *FAST)
    assert len({one.document["source_request_id"] for one in there.got}) == 1


def test_the_events_api_gets_requests_as_full_as_they_can_be(tmp_path: Path) -> None:
    with receiver() as there:
        connected(tmp_path, f'type = "events-api"\nhost = "{there.url}"')
        imported(tmp_path, 125, 2)
        assert "PROFILECTL_OUTPUT_O_KEY" in ran(tmp_path, "forward", status=9).stderr
        (tmp_path / "keys.toml").write_text('[o]\nkey = "k"\nsecret = "s"\n')
        assert (
            "can be read by others"
            in ran(tmp_path, "forward", "--credentials", "keys.toml", status=4).stderr
        )
        (tmp_path / "keys.toml").chmod(0o600)
        ran(tmp_path, "forward", "--credentials", "keys.toml")
    assert [(one.path, len(one.document), basic(one)) for one in there.got] == [
        ("/v2/bulkevents", 100, ("k", "s")),
        ("/v2/bulkevents", 100, ("k", "s")),
        ("/v2/bulkevents", 50, ("k", "s")),
    ]
    check_arrived([one for got in there.got for one in got.document], 125, 2, once=True)
    assert [problem for got in there.got for problem in problems_of(got.document)] == []
    assert not any("mpid" in one for got in there.got for one in got.document), (
        "MPIDs of this store mean nobody there"
    )


@pytest.mark.parametrize(("text", "said"), spread_now([
    ('[hok]\nsecret = "s"', "there is no output hok"), ('[hook]\nsecrit = "s"', "there is no key secrit"), ('secret = "s"', "secret is in no section"),
    ('[lake]\nsecret = "s"', "takes no credentials"), ('[hook]\nsecret = 5', "secret must be a text"), ("[hook]\nkey = 'k'", "takes secret, header"),
], 3))  # fmt: skip
def test_a_credential_that_would_sign_nothing_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    connected(
        tmp_path,
        (
            'type = "jsonl"\npath = "o.jsonl"\n[outputs.hook]\ntype = "webhook"\nurl ='
            ' "http://127.0.0.1:9"\n[outputs.lake]\ntype = "jsonl"\npath = "x"'
        ),
    )
    keys = tmp_path / "keys.toml"
    keys.write_text(text)
    keys.chmod(0o600)
    assert said in ran(tmp_path, "forward", "--credentials", "keys.toml", status=4).stderr, (
        "also where nothing waits"
    )


def test_a_receiver_that_asks_for_long_is_left_alone_and_holds_nobody_up(tmp_path: Path) -> None:
    with receiver(lambda got: (429, {"Retry-After": "86400"})) as there:
        lake = (
            '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.lake]\nfeed ='
            ' "f0"\noutput = "lake"\n'
        )
        connected(
            tmp_path,
            (
                f'type = "webhook"\nurl = "{there.url}"\n[outputs.a]\ntype = "webhook"\nurl ='
                f' "{there.url}"\n[connections.a]\nfeed = "f0"\noutput = "a"\n{lake}'
            ),
        )
        imported(tmp_path, 1, 1)
        began = time.monotonic()
        done = ran(tmp_path, "forward", status=9)
        assert time.monotonic() - began < 60
        assert "a: HTTP 429: it asks to be left alone until 2" in done.stderr
        assert len(there.got) == 2, "once for each of its outputs"
    assert len((tmp_path / "lake.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_forwarding_goes_on_and_leaves_alone_who_takes_nothing(tmp_path: Path) -> None:
    with receiver(lambda got: (429, {"Retry-After": "86400"})) as there:
        lake = (
            '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.lake]\nfeed ='
            ' "f0"\noutput = "lake"\n'
        )
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"\n{lake}')
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        going = subprocess.Popen(
            [sys.executable, "-m", "profilectl", "forward", "--follow"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for number in (1, 2):  # the second comes in while it follows
                imported(tmp_path, 1, 1)
                until = time.monotonic() + 60
                while (
                    len(
                        (tmp_path / "lake.jsonl").read_text().splitlines()
                        if (tmp_path / "lake.jsonl").exists()
                        else []
                    )
                    < number
                ):
                    assert time.monotonic() < until
                    assert going.poll() is None
                    time.sleep(0.1)
        finally:
            going.send_signal(signal.SIGINT)
        assert going.wait(30) == 130
        assert len(there.got) == 1


@pytest.mark.parametrize(
    "command",
    spread_now(["retry --output nope", "drop --output nope", "drop --waiting --output nope"], 3),
)
def test_an_output_that_is_not_there_is_no_output(command: str, tmp_path: Path) -> None:
    connected(tmp_path, 'type = "jsonl"\npath = "o.jsonl"')
    imported(tmp_path, 1, 1)
    assert "there is no output nope" in ran(tmp_path, "outbox", *command.split(), status=2).stderr


def test_an_output_that_lacks_credentials_stops_alone(tmp_path: Path) -> None:
    api = (
        '[outputs.api]\ntype = "events-api"\nhost = "http://127.0.0.1:9"\n[connections.api]\n'
        'feed = "f0"\noutput = "api"'
    )
    connected(tmp_path, f'type = "jsonl"\npath = "o.jsonl"\n{api}')
    imported(tmp_path, 2, 2)
    done = ran(tmp_path, "forward", "--json", status=9)
    assert "api: PROFILECTL_OUTPUT_API_KEY and PROFILECTL_OUTPUT_API_SECRET not set" in done.stderr
    assert [
        (one["output"], one["delivered"], one["waiting"]) for one in json.loads(done.stdout)
    ] == [("api", 0, 4), ("o", 4, 0)]


@pytest.mark.slow
def test_what_leaves_for_the_platform_is_as_its_document_has_it(tmp_path: Path) -> None:
    keys = {"PROFILECTL_OUTPUT_O_KEY": "k", "PROFILECTL_OUTPUT_O_SECRET": "s"}
    with receiver() as there:
        connected(tmp_path, f'type = "events-api"\nhost = "{there.url}"')
        feed = json.loads(run("feeds", "list", "--json", folder=tmp_path).stdout)[0]["name"]
        sample = SAMPLES / "activity.jsonl"
        assert run("import", str(sample), "--feed", feed, folder=tmp_path).returncode == 0
        ran(tmp_path, "forward", **keys)
    sent = [one for got in there.got for one in got.document]
    assert len(sent) > 100
    assert any(one.get("events") for one in sent)
    assert problems_of(sent) == []
    exported = [
        json.loads(line) for line in run("export", "batches", folder=tmp_path).stdout.splitlines()
    ]
    assert len(exported) > 100
    assert problems_of(exported) == []


def test_the_events_api_refuses_one_batch_and_takes_the_others(tmp_path: Path) -> None:
    with receiver(
        lambda got: 400 if any(who(one) == ("P1", 0) for one in got.document) else 202
    ) as there:
        connected(tmp_path, f'type = "events-api"\nhost = "{there.url}"')
        imported(tmp_path, 3, 2)
        keys = {"PROFILECTL_OUTPUT_O_KEY": "k", "PROFILECTL_OUTPUT_O_SECRET": "s"}
        ran(tmp_path, "forward", status=3, **keys)
    assert len([one for got in there.accepted() for one in got.document]) == 5
    assert [one["line"] for one in counts(tmp_path)["dead"]] == [2]


def test_a_file_for_each_day(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "days", folder=True)
    lines.deliver(
        [
            Parcel(n, n, f"{n}", at, {"n": str(n)})
            for n, at in enumerate([1_700_000_000_000, 1_700_000_000_001, 1_700_100_000_000])
        ]
    )
    assert {
        one.name: len(one.read_text().splitlines()) for one in (tmp_path / "days").iterdir()
    } == {"2023-11-14.jsonl": 2, "2023-11-16.jsonl": 1}


def test_a_day_is_that_of_receipt_and_a_limit(tmp_path: Path) -> None:
    connected(tmp_path, 'type = "jsonl"\npath = "days/"')
    before = time.time_ns() // 1_000_000
    rows = [
        {
            "user_identities": {"customer_id": "P0"},
            "timestamp_unixtime_ms": at,
            "user_attributes": {"n": n},
            "events": [{"event_type": "screen_view", "data": {"screen_name": "s"}}],
        }
        for n, at in enumerate([1_700_000_000_000, 1_700_000_000_001, 1_700_100_000_000])
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    ran(tmp_path, "import", "in.jsonl", "--feed", "f0")
    assert json.loads(ran(tmp_path, "forward", "--limit", "1", "--json").stdout)[0]["waiting"] == 2
    ran(tmp_path, "forward")
    sent = [
        json.loads(line)
        for one in sorted((tmp_path / "days").iterdir())
        for line in one.read_text().splitlines()
    ]
    assert len(sent) == 3
    for one in sent:
        assert before <= one["timestamp_unixtime_ms"] <= time.time_ns() // 1_000_000, (
            "when it was received, not when it was made"
        )
        assert (
            tmp_path
            / "days"
            / time.strftime("%Y-%m-%d.jsonl", time.gmtime(one["timestamp_unixtime_ms"] / 1000))
        ).exists()
    assert {one["events"][0]["data"]["timestamp_unixtime_ms"] for one in sent} == {
        1_700_000_000_000,
        1_700_000_000_001,
        1_700_100_000_000,
    }
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in (tmp_path / "days").iterdir())


@pytest.mark.parametrize(
    "path", spread_now(["profiles.duckdb", "profiles.duckdb.wal", "./no/../profiles.duckdb.wal"], 3)
)
def test_an_output_is_not_the_store_nor_its_log(path: str, tmp_path: Path) -> None:
    imported(tmp_path, 1, 1)
    (tmp_path / "c.toml").write_text(f'[outputs.o]\ntype = "jsonl"\npath = "{path}"\n')
    assert (
        "is the store itself, or its log"
        in ran(tmp_path, "config", "apply", "c.toml", status=4).stderr
    )


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("backup.duckdb", "backup.duckdb.wal"):
        connected(tmp_path, f'type = "jsonl"\npath = "{name}"')
        shutil.copy(tmp_path / "profiles.duckdb", tmp_path / "backup.duckdb")
        imported(tmp_path, 1, 1)
        assert "not a file of lines" in ran(tmp_path, "forward", status=9).stderr
    assert not (tmp_path / "backup.duckdb.wal").exists()
    connected(tmp_path, 'type = "jsonl"\npath = "mine.txt"')
    (tmp_path / "mine.txt").write_text("a line without an end")
    assert "not ours" in ran(tmp_path, "forward", status=9).stderr
    assert (tmp_path / "mine.txt").read_text() == "a line without an end"


def test_a_line_that_was_cut_off_is_written_again_and_no_line_twice(tmp_path: Path) -> None:
    connected(tmp_path, 'type = "jsonl"\npath = "o.jsonl"')
    imported(tmp_path, 3, 2)
    store = (tmp_path / "profiles.duckdb").read_bytes()
    ran(tmp_path, "forward")
    whole = (tmp_path / "o.jsonl").read_bytes()
    for kept in (
        len(whole),
        len(whole) - 1,
        len(whole) - 50,
        whole.index(b"\n") + 1,
        whole.index(b"\n") + 20,
        7,
        0,
    ):
        (tmp_path / "o.jsonl").write_bytes(whole[:kept])
        # as if it had been killed before the store knew
        (tmp_path / "profiles.duckdb").write_bytes(store)
        ran(tmp_path, "forward")
        assert (tmp_path / "o.jsonl").read_bytes() == whole


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_killed_at_any_moment_every_batch_arrives(part: int, tmp_path: Path) -> None:
    chance = random.Random(part)

    def answer(got: Got) -> Any:
        time.sleep(chance.uniform(0, 0.01))
        return 202 if chance.random() < 0.9 else 503

    people, each = at_length(40, by_night=200), 15
    with receiver(answer) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, people, each)
        times = killed_until_done(tmp_path, chance, 1.5)
        check_ledger(tmp_path, there, people, each)
    assert times > 0


def check_ledger(folder: Path, there: Receiver, people: int, each: int) -> None:
    check_arrived([one.document for one in there.accepted()], people, each)
    found = counts(folder)
    assert (found["left"], found["outputs"], found["dead"]) == (
        {"o": {"delivered": people * each}},
        [],
        [],
    )


@pytest.mark.slow
def test_killed_at_any_moment_no_line_stands_twice(tmp_path: Path) -> None:
    chance = random.Random(7)
    connected(tmp_path, 'type = "jsonl"\npath = "o.jsonl"')
    imported(tmp_path, 400, 15)
    killed_until_done(tmp_path, chance, 2.0)
    check_arrived(
        [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()],
        400,
        15,
        once=True,
    )


@pytest.mark.slow
def test_an_import_that_is_killed_leaves_its_batches_in_the_outbox_or_nothing(
    tmp_path: Path,
) -> None:
    chance = random.Random(3)
    connected(tmp_path, 'type = "jsonl"\npath = "o.jsonl"')
    imported(tmp_path, 300, 10)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    killed = 0
    for _ in range(12):
        after = str(chance.uniform(0.3, 3))
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                after,
                "--quiet",
                "import",
                "in.jsonl",
                "--feed",
                "f0",
                "--again",
            ],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
        )
        killed += done.returncode == -signal.SIGKILL
        imports = len(json.loads(ran(tmp_path, "imports", "list", "--json").stdout))
        assert counts(tmp_path)["outputs"][0]["waiting"] == 3000 * imports
    assert killed
    ran(tmp_path, "check")


@pytest.mark.slow
def test_imports_go_on_while_batches_leave(tmp_path: Path) -> None:
    def answer(got: Got) -> int:
        time.sleep(0.02)
        return 202

    with receiver(answer) as there:
        connected(tmp_path, f'type = "webhook"\nurl = "{there.url}"')
        imported(tmp_path, 30, 10)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        with subprocess.Popen(
            [sys.executable, "-m", "profilectl", "--quiet", "forward", "--wait", "60"],
            cwd=tmp_path,
            env=environment,
        ) as sending:
            while not there.got and sending.poll() is None:
                time.sleep(0.01)
            (tmp_path / "more.jsonl").write_text(
                "".join(json.dumps({"customer_id": f"P{n}", "late": "1"}) + "\n" for n in range(30))
            )
            ran(tmp_path, "import", "more.jsonl", "--feed", "f0", "--wait", "60")
            other = run("forward", folder=tmp_path)
            assert (
                other.returncode == 5 and "forwards" in other.stderr
            ) or sending.poll() is not None
            assert sending.wait(60) == 0
        check_ledger(tmp_path, there, 30, 10)
    assert all("late" not in one.document["user_attributes"] for one in there.got)
