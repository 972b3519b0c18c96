"""Every write, sync, rename and commit of each command that changes something fails once
(failing.py).
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.effort import at_length, spread_now
from support.failing import (
    Ground,
    Mode,
    Operation,
    ground_of,
    held,
    modes_at,
    places_of,
    ran,
    tried,
)
from support.output_receiver import Receiver, receiver
from support.places import STORES

AT_MS = 1_789_000_000_000


def did(folder: Path, *arguments: str, status: int = 0) -> str:
    done = ran(folder, *arguments)
    assert done.status == status, (arguments, done)
    return done.stdout


def rows(first: int, count: int, tier: str, *, spoiled: bool = False) -> str:
    lines = [f"C{n},p{n}@example.com,{tier}{n},{AT_MS + n}\n" for n in range(first, first + count)]
    return (
        "customer_id,email,tier,timestamp_unixtime_ms\n"
        + "".join(lines)
        + (",,nobody,\n" if spoiled else "")
    )


def batches(first: int, count: int) -> str:
    event = {
        "event_type": "custom_event",
        "data": {
            "event_name": "order",
            "custom_event_type": "transaction",
            "timestamp_unixtime_ms": AT_MS,
        },
    }
    return "".join(
        json.dumps(
            {
                "user_identities": {"customer_id": f"C{n}"},
                "user_attributes": {"tier": "gold"},
                "timestamp_unixtime_ms": AT_MS,
                "events": [event],
            }
        )
        + "\n"
        for n in range(first, first + count)
    )


# The folders that commands begin in


def file_alone(folder: Path) -> None:
    (folder / "a.csv").write_text(rows(0, 5, "old", spoiled=True))


def one_import(folder: Path) -> None:
    file_alone(folder)
    did(folder, "import", "a.csv", "--feed", "f", status=3)
    (folder / "b.csv").write_text(rows(3, 5, "new", spoiled=True))


def two_imports(folder: Path) -> None:
    one_import(folder)
    did(folder, "import", "b.csv", "--feed", "f", status=3)


def two_imports_with_mpids(folder: Path) -> None:
    """Two imports of people whose MPIDs are named, so that each leaves a table of them."""
    file_alone(folder)
    did(folder, "import", "a.csv", "--feed", "f", status=3)
    for name, first in (("c.csv", 100), ("d.csv", 200)):
        named = "".join(f"{first + n},C{first + n}\n" for n in range(5))
        (folder / name).write_text(f"mpid,customer_id\n{named}")
        did(folder, "import", name, "--feed", "f")


def planned(folder: Path) -> None:
    one_import(folder)
    did(folder, "plan", "b.csv", "--feed", "f", "-o", "load.plan", status=3)


def configured(folder: Path) -> None:
    two_imports(folder)
    (folder / "c.toml").write_text(
        '[attributes]\npriority = "first-writer"\n[feeds.late]\nsource = "sdk"\n'
        '[calculated.orders]\ntype = "count"\nevent = "order"\n'
        '[audiences.golden]\ncriteria = "tier exists"\n'
    )


def defined(folder: Path) -> None:
    """A store with an event count and an audience, that the next import changes."""
    (folder / "old.jsonl").write_text(batches(0, 3))
    (folder / "new.jsonl").write_text(batches(2, 3))
    did(folder, "import", "old.jsonl", "--feed", "app", "--source", "sdk")
    did(folder, "calculated", "add", "orders", "--type", "count", "--event", "order")
    did(folder, "audiences", "add", "golden", "tier = 'gold' and orders >= 2")


def stale(folder: Path) -> None:
    """A store whose audience has a member whose window ends: the next refresh lets it go."""
    (folder / "old.jsonl").write_text(batches(0, 3))
    did(folder, "import", "old.jsonl", "--feed", "app", "--source", "sdk")
    (folder / "a.toml").write_text(
        '[audiences.golden]\ncriteria = "tier = \'gold\'"\nkind = "standard"\n'
    )
    did(folder, "config", "apply", "a.toml")


def many_imports(folder: Path) -> None:
    """So many imports that the next one lays the older together."""
    (folder / "c.toml").write_text("[history]\nkeep = 2\n")
    did(folder, "config", "apply", "c.toml")
    for number in range(12):
        (folder / "a.csv").write_text(rows(number, 2, f"old{number}"))
        did(folder, "import", "a.csv", "--feed", "f")
    (folder / "b.csv").write_text(rows(3, 5, "new"))


def of_version(version: int) -> Any:
    def made(folder: Path) -> None:
        (folder / "profiles.duckdb").write_bytes(
            gzip.decompress((STORES / f"schema-{version}.duckdb.gz").read_bytes())
        )

    return made


def requested(folder: Path) -> None:
    two_imports(folder)
    for number, kind in enumerate(("access", "erasure")):
        document = {
            "regulation": "gdpr",
            "subject_request_id": f"a755196{number}-d5d6-44b2-9831-815ac9017798",
            "subject_request_type": kind,
            "submitted_time": "2026-09-01T15:00:00Z",
            "api_version": "3.0",
            "subject_identities": {
                "controller_customer_id": {"value": f"C{number + 1}", "encoding": "raw"}
            },
        }
        (folder / "request.json").write_text(json.dumps(document))
        did(folder, "privacy", "request", "request.json", "--json")


class Outside:
    """A receiver on this machine that is there as long as the tests."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.receiver: Receiver = self._stack.enter_context(receiver())

    def close(self) -> None:
        self._stack.close()


OUTSIDE: list[Outside] = []


def outside() -> Receiver:
    if not OUTSIDE:
        OUTSIDE.append(Outside())
    return OUTSIDE[0].receiver


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OUTSIDE:
        OUTSIDE.pop().close()


def forwards(output: str) -> Any:
    """A store with five batches that wait for an output."""

    def made(folder: Path) -> None:
        (folder / "o.toml").write_text(
            '[feeds.app]\nsource = "sdk"\n[outputs.o]\n'
            f'{output.format(url=outside().url)}\n[connections.c]\nfeed = "app"\noutput ='
            ' "o"\n'
        )
        did(folder, "config", "apply", "o.toml")
        (folder / "new.jsonl").write_text(batches(0, 5))
        did(folder, "import", "new.jsonl", "--feed", "app")

    return made


def arrived_in_store(folder: Path) -> int:
    """Return how many batches the store says have arrived."""
    found = held(folder)
    assert found is not None
    waiting = sum(row[6] == "waiting" for row in found["outbox"])
    assert waiting + len(found["forwarded"]) == 5, "a batch neither waits nor was sent"
    return len(found["forwarded"])


def lines_are_there(folder: Path) -> None:
    """Whatever the store says was delivered is in the file."""
    path = folder / "out.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    ids = [json.loads(line)["source_request_id"] for line in whole]
    assert len(ids) == len(set(ids)), "a line is there twice"
    assert len(ids) >= arrived_in_store(folder)


def requests_are_there(folder: Path) -> None:
    """Whatever the store says was delivered was received, and what came twice came under the same
    id.
    """
    got = [one.document for one in outside().accepted()]
    ids: dict[str, str] = {}
    for one in got:
        assert ids.setdefault(one["source_request_id"], json.dumps(one)) == json.dumps(one)
    assert len(ids) >= arrived_in_store(folder)


def anew() -> None:
    outside().got.clear()


def without_outcomes(found: dict[str, Any]) -> dict[str, Any]:
    """What was written twice is "known", which is as good as delivered."""
    return {**found, "forwarded": [(output, arrival) for output, arrival, *_ in found["forwarded"]]}


def without_derived(found: dict[str, Any]) -> dict[str, Any]:
    """Without what is computed after an import, in a commit of its own, and written into its report
    then.
    """
    derived = (
        "meta",
        "calculated",
        "calculation",
        "audience",
        "membership",
        "membership_change",
        "stale",
        "audience_told",
        "audience_outbox",
    )
    return {
        name: [(*row[:9], *row[10:]) for row in value] if name == "import" else value
        for name, value in found.items()
        if name not in derived
    }


def people(found: dict[str, Any]) -> dict[str, Any]:
    """Without how the rows of a store lie."""
    return {
        name: value
        for name, value in found.items()
        if name in ("import", "feed", "setting", "removed", "import_file")
    }


def profiles_pushed(found: dict[str, Any]) -> dict[str, Any]:
    """What a platform has of each profile, whichever push brought it."""
    return {
        name: ([row[:4] for row in value] if name == "sent_profile" else value)
        for name, value in found.items()
        if name not in ("push", "pushed", "push_refused", "meta")
    }


IS_DONE = r"is done, but|is undone, but|is applied, but|imports list"
OPERATIONS = [
    Operation(
        "first import",
        file_alone,
        "import a.csv --feed f --rejects r.jsonl",
        ends=3,
        falls_back="a.csv.rejects.jsonl",
        true_words=IS_DONE,
    ),
    Operation(
        "import",
        one_import,
        "import b.csv --feed f --rejects r.jsonl",
        ends=3,
        falls_back="b.csv.rejects.jsonl",
        true_words=IS_DONE,
    ),
    Operation(
        "import explained",
        one_import,
        "import b.csv --feed f --explain-rows rows.csv --rejects r.jsonl",
        ends=3,
        falls_back="b.csv.rejects.jsonl",
        true_words=IS_DONE,
    ),
    Operation(
        "import with audiences",
        defined,
        "import new.jsonl --feed app",
        between=without_derived,
        true_words=IS_DONE,
    ),
    Operation(
        "import that compacts",
        many_imports,
        "import b.csv --feed f",
        between=people,
        compared=people,
        true_words=IS_DONE,
    ),
    Operation("undo", two_imports, "imports undo 2 --yes", again=(4,), true_words=IS_DONE),
    Operation(
        "replay", two_imports, "imports undo 1 --replay --yes", again=(4,), true_words=IS_DONE
    ),
    Operation(
        "forget", two_imports, "forget --customer-id C3 --yes", again=(7,), true_words=IS_DONE
    ),
    Operation(
        "privacy run",
        requested,
        "privacy run -o answers --now 2026-10-20 --yes",
        true_words=IS_DONE,
        between=people,
    ),
    Operation("compact", two_imports, "compact --keep 0 --yes", true_words=IS_DONE),
    Operation(
        "forward to a file",
        forwards('type = "jsonl"\npath = "out.jsonl"'),
        "forward",
        appended=("out.jsonl",),
        compared=without_outcomes,
        looked=lines_are_there,
    ),
    Operation(
        "forward to a webhook",
        forwards('type = "webhook"\nurl = "{url}"'),
        "forward --pause 0.01",
        compared=without_outcomes,
        looked=requests_are_there,
        begun=anew,
    ),
    Operation(
        "push",
        two_imports,
        "push --host {url} --give-up 1",
        between=people,
        compared=profiles_pushed,
        url=lambda: outside().url,
        begun=anew,
    ),
    Operation(
        "set", two_imports, "set --customer-id C1 tier=best", repeats=True, true_words=IS_DONE
    ),
    Operation(
        "backup",
        two_imports,
        "backup copy.duckdb",
        again=(4,),
        told_missing=("copy.duckdb.seal", "no seal is beside it"),
    ),
    Operation("backup anew", two_imports, "backup copy.duckdb --force"),
    Operation("export", two_imports, "export profiles --sorted -o people.jsonl"),
    Operation(
        "export to parquet", two_imports, "export attributes --format parquet -o people.parquet"
    ),
    Operation(
        "config apply",
        configured,
        "config apply c.toml",
        between=without_derived,
        true_words=IS_DONE,
    ),
    Operation("upgrade", of_version(6), "check"),
    Operation("upgrade of an old one", of_version(3), "check"),
    Operation("audiences refresh", stale, "audiences refresh", true_words=IS_DONE),
    Operation("plan", one_import, "plan b.csv --feed f -o load.plan", ends=3),
    Operation(
        "apply",
        planned,
        "apply load.plan --rejects r.jsonl",
        ends=3,
        falls_back="b.csv.rejects.jsonl",
        again=(8,),
        true_words=IS_DONE,
    ),
]
THIN = ("import", "undo", "forget", "compact", "forward to a file")
"""What fails at some calls in every run of the tests, and at each of them among the slow tests; the
others there at each third, at each by night.
"""


def all_are_counted(ground: Ground) -> None:
    """Where a build of DuckDB or Python went past the C library, nothing would fail, and all would
    seem well.
    """
    seen = {(name, path.rpartition("/")[2]) for name, path in ground.calls}
    # DuckDB's
    assert {
        ("write", "profiles.duckdb.wal"),
        ("fsync", "profiles.duckdb.wal"),
        ("pwrite", "profiles.duckdb"),
        ("fsync", "profiles.duckdb"),
    } <= seen
    # Python's, and DuckDB's
    assert {("rename", "r.jsonl"), ("unlink", "profiles.duckdb.wal")} <= seen


@pytest.mark.parametrize(
    "operation",
    spread_now([one for one in OPERATIONS if one.name in THIN], 3),
    ids=lambda one: one.name.replace(" ", "-"),
)
def test_a_write_that_fails_leaves_the_store_before_or_after(
    operation: Operation, tmp_path: Path
) -> None:
    ground = ground_of(operation, tmp_path)
    if operation.name == "import":
        all_are_counted(ground)
    for turn, at in enumerate(places_of(ground, 3)):
        came, wrong = tried(
            ground, tmp_path / "work", (Mode.FAIL, Mode.KILL, Mode.FULL)[turn % 3], at
        )
        assert came, at
        assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name.replace(" ", "-"))
def test_every_write_that_fails_leaves_the_store_before_or_after(
    operation: Operation, tmp_path: Path
) -> None:
    ground = ground_of(operation, tmp_path)
    wrong: list[str] = []
    for at in range(1, len(ground.calls) + 1):
        for mode in modes_at(
            ground, at, every=bool(at_length(0, by_night=1)), whole=operation.name in THIN
        ):
            came, said = tried(ground, tmp_path / "work", mode, at)
            assert came, (
                f"{operation.name} makes its calls in another order each time: {mode.name}"
                f" {at} did not come"
            )
            wrong += said
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:20])


def test_a_command_whose_store_can_no_longer_be_read_does_not_say_that_it_is_done(
    tmp_path: Path,
) -> None:
    """A block of the catalog is written by half where it lies: neither is left. The command ended
    with 0, and "import 2 is undone".
    """
    undo = Operation(
        "undo", two_imports_with_mpids, "imports undo 3 --yes", again=(4,), true_words=IS_DONE
    )
    ground = ground_of(undo, tmp_path)
    work, unread = tmp_path / "work", 0
    for at, call in enumerate(ground.calls, start=1):
        if call == ("pwrite", "/profiles.duckdb"):
            assert tried(ground, work, Mode.SHORT, at) == (True, [])
            unread += "unreadable" in (held(work) or {})
    assert unread, "no block is written where it lay: then this is no more"


def test_what_stays_in_the_log_of_a_copy_is_not_lost_with_it(tmp_path: Path) -> None:
    """The copy takes the store's place without its log: an import that was made again was gone
    where the log could not be folded in.
    """
    ground = ground_of(next(one for one in OPERATIONS if one.name == "replay"), tmp_path)
    places = [
        at
        for at, (name, path) in enumerate(ground.calls, start=1)
        if name == "pwrite" and path.endswith("/replayed.duckdb")
    ]
    assert tried(ground, tmp_path / "work", Mode.FAIL, places[-1]) == (True, [])


def test_an_import_given_again_writes_the_rejects_that_it_was_killed_before(tmp_path: Path) -> None:
    one_import(tmp_path)
    arguments = ("import", "a.csv", "--feed", "f", "--rejects", "r.jsonl")
    assert "the rejects of import 1 are in r.jsonl" in ran(tmp_path, *arguments).stderr
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "a.csv.rejects.jsonl").read_bytes()
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o777 == 0o600
    (tmp_path / "r.jsonl").write_text("mine")
    ran(tmp_path, *arguments)
    assert (tmp_path / "r.jsonl").read_text() == "mine"
