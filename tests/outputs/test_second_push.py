"""A second push knows what the first one brought: what the host has already stays here, what is
gone is said.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.doors import call
from support.effort import at_length
from support.pushing import tried
from support.receiver import Do, Plan, Receiver, always, receiving

from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


def bring(folder: Path, *batches: dict[str, Any]) -> None:
    """Import batches, as an import of their own."""
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    found = call("import", "in.jsonl", "--feed", "f", "--again", folder=folder)
    assert found.exit_code == 0, found.output


def person(name: str, **attributes: Any) -> dict[str, Any]:
    return {"user_identities": {"customer_id": name}, "user_attributes": attributes}


def sent(
    folder: Path, receiver: Receiver, *options: str, status: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Push; return the report, and what arrived by customer."""
    before = len(receiver.accepted)
    found = tried(folder, "push", "--host", receiver.url, "--rate", "0", "--json", *options)
    assert found[0] == status, found
    return json.loads(found[1]), {
        one["user_identities"]["customer_id"]: one for one in receiver.accepted[before:]
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bring(
        tmp_path,
        person("A", tier="gold", place=1),
        person("B", tier="tin", place=2),
        person("C", tier="gold", place=3),
    )
    return tmp_path


def test_only_what_changed_is_sent_again_and_it_is_said(folder: Path) -> None:
    with receiving() as receiver:
        assert set(sent(folder, receiver)[1]) == {"A", "B", "C"}
        report, there = sent(folder, receiver)
        assert there == {}
        assert report["rows"] == {
            "total": 3,
            "done": 0,
            "left": 0,
            "unchanged": 3,
            "without_batch": 0,
        }
        _, told, noticed = tried(folder, "push", "--host", receiver.url)
        assert "0 done,  3 unchanged,  0 left" in told
        assert "3 profiles unchanged" in noticed
        bring(folder, person("B", tier="iron"))
        report, there = sent(folder, receiver)
        assert {name: one["user_attributes"] for name, one in there.items()} == {
            "B": {"place": "2", "tier": "iron"}
        }
        assert (report["rows"]["done"], report["rows"]["unchanged"]) == (1, 2)
        assert set(sent(folder, receiver, "--again")[1]) == {"A", "B", "C"}
        assert sent(folder, receiver)[1] == {}


def test_what_was_chosen_first_is_not_sent_with_all_and_the_other_way_round(folder: Path) -> None:
    with receiving() as receiver:
        assert set(sent(folder, receiver, "--where", "tier = 'gold'")[1]) == {"A", "C"}
        assert set(sent(folder, receiver)[1]) == {"B"}
        assert sent(folder, receiver, "--where", "tier = 'tin'")[1] == {}


@pytest.mark.slow
def test_another_host_and_another_manner_have_what_they_were_sent(folder: Path) -> None:
    with receiving() as first, receiving() as second:
        assert len(sent(folder, first)[1]) == 3
        assert len(sent(folder, second)[1]) == 3
        assert len(sent(folder, first, "--with-mpid")[1]) == 3
        assert len(sent(folder, first, "--with-times")[1]) == 3
        assert sent(folder, first, "--with-mpid")[1] == sent(folder, first)[1] == {}


def test_an_attribute_that_was_sent_and_is_gone_is_deleted_there_once(folder: Path) -> None:
    with receiving() as receiver:
        bring(folder, {**person("A"), "deleted_user_attributes": ["place", "never"]})
        there = sent(folder, receiver)[1]["A"]
        assert "deleted_user_attributes" not in there, "the host never had it"
        bring(folder, {**person("A"), "deleted_user_attributes": ["tier"]})
        there = sent(folder, receiver)[1]
        assert there["A"]["deleted_user_attributes"] == ["tier"]
        assert set(there) == {"A"}
        bring(folder, person("A", more="1"))
        assert "deleted_user_attributes" not in sent(folder, receiver)[1]["A"]


def test_an_import_that_is_undone_takes_its_values_back_from_the_host(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        bring(folder, person("A", tier="platinum", more="m"))
        assert set(sent(folder, receiver)[1]) == {"A"}
        assert call("imports", "undo", "2", "--yes", folder=folder).exit_code == 0
        there = sent(folder, receiver)[1]
        assert there["A"]["user_attributes"] == {"place": "1", "tier": "gold"}
        assert there["A"]["deleted_user_attributes"] == ["more"]


@pytest.mark.slow
def test_what_is_refused_does_not_count_as_accepted(folder: Path) -> None:
    with receiving(always(Do(400))) as receiver:
        assert sent(folder, receiver, status=3)[0]["batches"]["refused"] == 3
        receiver.plan = always(Do())
        assert len(sent(folder, receiver)[1]) == 3


@pytest.mark.slow
def test_what_was_under_way_when_the_push_ended_is_sent_again_though_it_is_as_it_was(
    folder: Path,
) -> None:
    """The host may have the values in between: that the profile is again as it was before says
    nothing.
    """
    with receiving() as receiver:
        sent(folder, receiver)
        bring(folder, person("A", tier="platinum"))
        receiver.plan = always(Do(cut="after"))
        sent(folder, receiver, "--give-up", "0.1", status=9)
        bring(folder, person("A", tier="gold"))
        receiver.plan = always(Do())
        report, there = sent(folder, receiver)
        assert there["A"]["user_attributes"]["tier"] == "gold"
        assert (report["resumed"], report["rows"]["unchanged"], report["rows"]["done"]) == (
            True,
            2,
            1,
        )


def test_what_is_said_once_more_after_something_else_is_no_repetition(folder: Path) -> None:
    with receiving(always(Do(cut="after"))) as receiver:
        for tier in ("gold", "tin", "gold"):
            bring(folder, person("A", tier=tier))
            sent(folder, receiver, "--give-up", "0.05", "--parallel", "1", status=9)
        assert (
            len(
                {
                    one["source_request_id"]
                    for one in receiver.accepted
                    if one["user_identities"]["customer_id"] == "A"
                }
            )
            == 3
        )
        receiver.plan = always(Do())
        sent(folder, receiver)
        assert has(receiver) == wants(folder)


@pytest.mark.slow
def test_a_push_of_all_that_was_broken_off_goes_on_as_one_of_all(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        receiver.plan = always(Do(503))
        sent(folder, receiver, "--again", "--give-up", "0.1", status=9)
        receiver.plan = always(Do())
        assert set(sent(folder, receiver)[1]) == {"A", "B", "C"}


@pytest.mark.slow
def test_a_dry_run_says_what_a_push_to_that_host_would_send(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        bring(folder, person("B", tier="iron"))
        store = folder / "profiles.duckdb"
        before = store.read_bytes()
        for options, count in (
            (["--host", receiver.url], 1),
            (["--host", receiver.url, "--again"], 3),
            ([], 3),
        ):
            found = tried(folder, "push", "--dry-run", "out.jsonl", "--json", *options)
            assert json.loads(found[1])["batches"]["packed"] == count
        assert store.read_bytes() == before


@pytest.mark.slow
def test_what_an_import_changed_counts_as_sent(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        bring(folder, person("B", tier="iron"))
        assert set(sent(folder, receiver, "--import", "2")[1]) == {"B"}
        assert sent(folder, receiver)[1] == {}


def test_who_is_erased_takes_along_what_was_written_down(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        assert call("forget", "--customer-id", "A", "--yes", folder=folder).exit_code == 0
        with open_store(Scratch(folder), folder / "profiles.duckdb") as store:
            assert store.scratch.row("select count(*) from store.sent_profile")[0] == 2
            text = str(store.scratch.rows("select * from store.sent_profile"))
        assert receiver.url not in text
        assert "gold" not in text
        assert sent(folder, receiver)[1] == {}


@pytest.mark.slow
def test_what_a_calculated_attribute_masks_is_not_deleted_there(folder: Path) -> None:
    with receiving() as receiver:
        sent(folder, receiver)
        found = call(
            "calculated", "add", "tier", "--type", "count", "--event", "view", folder=folder
        )
        assert found.exit_code == 0, found.output
        there = sent(folder, receiver)[1]
        assert all("deleted_user_attributes" not in one for one in there.values())


def has(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """Return what a host has of each customer: each request id counts once, deletions before what
    is set.
    """
    found: dict[str, dict[str, Any]] = {}
    known = set()
    for one in receiver.accepted:
        if one["source_request_id"] in known:
            continue
        known.add(one["source_request_id"])
        mine = found.setdefault(one["user_identities"]["customer_id"], {})
        for key in one.get("deleted_user_attributes", ()):
            mine.pop(key, None)
        mine |= one["user_attributes"]
    return found


def wants(folder: Path) -> dict[str, dict[str, Any]]:
    lines = call("export", "profiles", folder=folder).stdout.splitlines()
    return {
        one["user_identities"]["customer_id"][0]: {
            key: str(value) for key, value in one["user_attributes"].items()
        }
        for one in map(json.loads, lines)
    }


def at_random(seed: float) -> Plan:
    """Return a host that accepts, refuses, is away and loses answers."""
    answers = [Do(), Do(400), Do(503), Do(cut="after"), Do(cut="before")]
    return lambda number, batches: random.Random(f"{seed}{number}").choice(answers)


def whatever_happens(folder: Path, seed: int, steps: int) -> None:
    """Bring, undo and push at random, to a host that refuses, is away and loses answers: in the end
    it has what the store has.
    """
    chance = random.Random(seed)
    imports = 1
    with receiving() as receiver:
        for _ in range(steps):
            for _ in range(chance.randint(0, 2)):
                if imports > 1 and chance.random() < 0.3:
                    # or it is refused
                    call("imports", "undo", str(chance.randint(2, imports)), "--yes", folder=folder)
                else:
                    bring(
                        folder,
                        *(
                            {
                                **person(
                                    who,
                                    **{
                                        key: chance.choice("123")
                                        for key in chance.sample("abc", chance.randint(0, 2))
                                    },
                                ),
                                "deleted_user_attributes": chance.sample(
                                    "abcd", chance.randint(0, 2)
                                ),
                            }
                            for who in chance.sample("ABC", chance.randint(1, 3))
                        ),
                    )
                    imports += 1
            receiver.plan = at_random(chance.random())
            where = chance.choice([[], [], ["--where", "a = '1'"], ["--again"]])
            tried(
                folder, "push", "--host", receiver.url, "--rate", "0", "--give-up", "0.05", *where
            )
        receiver.plan = always(Do())
        for _ in range(2):  # what was begun comes to its end; what changed since is another push
            assert tried(folder, "push", "--host", receiver.url, "--rate", "0")[0] == 0
        host = has(receiver)
        assert {name: host.get(name) for name in wants(folder)} == wants(folder), seed
        before = len(receiver.accepted)
        assert tried(folder, "push", "--host", receiver.url)[0] == 0
        assert len(receiver.accepted) == before


@pytest.mark.slow
def test_in_the_end_the_host_has_what_the_store_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(at_length(12, by_night=300)):
        place = tmp_path / str(seed)
        place.mkdir()
        monkeypatch.chdir(place)
        bring(place, person("A", a="1"), person("B", b="2"), person("C", c="3"))
        whatever_happens(place, seed, 8)
