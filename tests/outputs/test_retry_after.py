"""Retry-After, in every form, for every command that sends: obeyed up to --max-wait, and beyond it
said when to come back.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from support.asking_uid2 import bring, person
from support.output_receiver import receiver
from support.pushing import tried
from support.receiver import Do, always, receiving
from support.uid2_operator import KEY, SECRET, operator

from profilectl.rules.text.retry_after import LONGEST_S, asked_pause_s, come_back

NOW_S = 1_790_000_000.0
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ \(in (1 d|23 h 59 min)\)"
STATED: list[tuple[str | None, str | None, int | None]] = [
    # Retry-After                          Date                               seconds from NOW_S, which is 2026-09-21 14:13:20 GMT
    ("3", None, 3),
    (" 0 ", None, 0),
    ("007", None, 7),
    ("86400", "nonsense", 86_400),
    ("9" * 30, None, LONGEST_S),
    ("9" * 5000, None, LONGEST_S),
    ("0" * 5000, None, 0),
    ("-1", None, None),
    ("+1", None, None),
    ("1.5", None, None),
    ("1 2", None, None),
    ("\u0663", None, None),
    ("", None, None),
    (None, None, None),
    ("soon", None, None),
    ("Mon, 21 Sep 2026 14:14:20 GMT", None, 60),
    ("  Mon, 21 Sep 2026 14:14:20 GMT ", None, 60),
    ("Monday, 21-Sep-26 14:14:20 GMT", None, 60),
    ("Mon Sep 21 14:14:20 2026", None, 60),
    ("Tue Sep  1 14:14:20 2026", None, 0),
    ("Sun, 06 Nov 1994 08:49:37 GMT", None, 0),
    ("Sunday, 06-Nov-94 08:49:37 GMT", None, 0),
    ("Mon, 21 Sep 2026 14:14:20 GMT", "Mon, 21 Sep 2026 14:14:10 GMT", 10),
    ("Mon, 21 Sep 2026 14:14:20 GMT", "Mon, 21 Sep 2026 15:00:00 GMT", 0),
    ("Mon, 21 Sep 2026 14:14:20 GMT", "yesterday", 60),
    ("Mon, 31 Feb 2026 14:14:20 GMT", None, None),
    ("Mon, 21 Sep 2026 25:14:20 GMT", None, None),
    ("Mon, 21 Sep 2026 14:14:20 +0100", None, None),
    ("Fri, 31 Dec 9999 23:59:59 GMT", None, LONGEST_S),
    ("2026-09-21T14:14:20Z", None, None),
]


@pytest.mark.parametrize(
    ("stated", "date", "seconds"), STATED, ids=[str(one)[:40] for one in STATED]
)
def test_what_an_answer_asks_for(stated: str | None, date: str | None, seconds: int | None) -> None:
    assert asked_pause_s(stated, date, now_s=NOW_S) == seconds


def test_when_to_come_back_is_said_in_local_time_and_in_how_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert come_back(3720, now_s=NOW_S) == (
            1_790_003_720_000,
            "2026-09-21 20:45:20 IST (in 1 h 2 min)",
        )
        assert come_back(LONGEST_S, now_s=NOW_S)[1].startswith("2126-")
    finally:
        monkeypatch.undo()
        time.tzset()


def clock(ahead_s: int, *, of_the_answer: int | None = None) -> dict[str, str]:
    """Return headers that ask for a date; the receiver's clock may be another than ours."""
    now = time.time() + (of_the_answer or 0)
    return {
        "Retry-After": formatdate(now + ahead_s, usegmt=True),
        **({"Date": formatdate(now, usegmt=True)} if of_the_answer is not None else {}),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def people(folder: Path, count: int) -> None:
    bring(folder, *(person(f"C{n}", email=f"p{n}@x.com") for n in range(count)))


def test_a_push_that_is_asked_to_wait_for_long_ends_and_says_when_to_come_back(
    folder: Path,
) -> None:
    people(folder, 250)
    with receiving(
        lambda number, batches: Do() if number < 1 else Do(429, clock(86_400, of_the_answer=-7200))
    ) as there:
        began = time.time()
        options = ("push", "--host", there.url, "--rate", "0", "--parallel", "1", "--json")
        status, out, error = tried(folder, *options)
        assert (status, time.time() - began < 20) == (9, True)
        assert re.search(f"asks to be left alone until {WHEN}", error)
        assert "run the same push again then" in error
        report = json.loads(out)
        assert 86_390_000 < report["come_back_ms"] - began * 1000 < 86_420_000
        assert (report["batches"]["accepted"], report["rows"]["left"]) == (100, 150)
        there.plan = always(Do())
        report = json.loads(tried(folder, *options)[1])
        assert (report["batches"]["accepted"], report["come_back_ms"]) == (150, None)
    assert len(there.accepted) == 250


@pytest.mark.slow
def test_what_others_had_on_their_way_is_written_down_when_one_is_told_to_come_back(
    folder: Path,
) -> None:
    people(folder, 250)
    with receiving(
        lambda number, batches: Do(slow_s=0.5) if number != 1 else Do(429, {"Retry-After": "86400"})
    ) as there:
        options = ("push", "--host", there.url, "--rate", "0", "--json")
        status, out, _ = tried(folder, *options)
        assert status == 9
        assert json.loads(out)["batches"]["accepted"] == len(there.accepted)


def test_a_push_waits_as_long_as_it_may(folder: Path) -> None:
    people(folder, 1)
    for stated, limit, status in (("1", "0.5", 9), ("0", "0", 0), ("-5", "0", 0)):
        with receiving(
            lambda number, batches, stated=stated: (
                Do(503, {"Retry-After": stated}) if number == 0 else Do()
            )
        ) as there:  # type: ignore[misc]
            assert tried(folder, "push", "--host", there.url, "--max-wait", limit)[0] == status


def test_forward_says_when_to_come_back(folder: Path) -> None:
    (folder / "a.jsonl").write_text(
        '{"user_identities":{"email":"a@x.com"},"events":[{"event_type":"screen_view","data":{"screen_name":"s"}}]}'
    )
    with receiver(lambda got: (429, clock(86_400))) as there:
        (folder / "c.toml").write_text(
            f'[outputs.o]\ntype = "webhook"\nurl = "{there.url}"\n[feeds.f]\nsource ='
            ' "sdk"\n[connections.c]\nfeed = "f"\noutput = "o"\n'
        )
        for options in (("config", "apply", "c.toml"), ("import", "a.jsonl", "--feed", "f")):
            assert tried(folder, *options)[0] == 0
        began = time.time()
        status, out, error = tried(folder, "forward", "--json")
        assert status == 9
        assert re.search(f"o: HTTP 429: it asks to be left alone until {WHEN}", error)
        (output,) = json.loads(out)
        assert 86_390_000 < output["come_back_ms"] - began * 1000 < 86_420_000
        assert output["waiting"] == 1
        there.answer = lambda got: (429, {"Retry-After": "1"}) if not len(there.got) % 2 else 202
        there.got.clear()
        assert tried(folder, "forward", "--max-wait", "0.5")[0] == 9
        there.got.clear()
        assert tried(folder, "forward", "--max-wait", "1")[0] == 0


def test_uid2_says_when_to_come_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people(folder, 1)
    monkeypatch.setenv("UID2_API_KEY", KEY)
    monkeypatch.setenv("UID2_CLIENT_SECRET", SECRET)
    for stated, limit, status in (
        (clock(86_400)["Retry-After"], "300", 9),
        ("1", "0.5", 9),
        ("1", "1", 0),
    ):
        with operator(before=[429], retry_after=stated) as to:
            found: Any = tried(folder, "uid2", "run", "--operator", to.address, "--max-wait", limit)
        assert found[0] == status, found
        assert status == 0 or re.search(
            r"asks to be left alone until \d{4}-.*\(in (1 d|23 h 59 min|1 s)\)", found[2]
        )
        assert to.attempts == (2 if status == 0 else 1)
