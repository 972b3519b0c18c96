"""diff tells the row of the import that made each change, knows aliases, and goes back as well as
forth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, made_once
from support.effort import spread_now

from profilectl.profiles.read_model import profiles_of
from profilectl.reading import diff, text_blocks
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

A = """{"user_identities":{"customer_id":"C1","email":"a@example.com"},"user_attributes":{"tier":"gold","n":1.10,"tag":null}}
{"user_identities":{"email":"b@example.com","other":"o1"},"user_attributes":{"tier":"iron"}}
{"user_identities":{"customer_id":"C2","email":"two@example.com"}}
"""
B = """{"user_identities":{"customer_id":"C3"},"user_attributes":{"tier":"tin"}}
{"user_identities":{"customer_id":"C1","email":"new@example.com"},"user_attributes":{"tier":"lead"},"deleted_user_attributes":["n","tag"]}
{"user_identities":{"customer_id":"C4","email":"two@example.com"}}
"""
SETTINGS = '[identity]\nstrategy = "conversion"\nunique = ["customer_id", "email"]\n'


def make(folder: Path) -> None:
    (folder / "set.toml").write_text(SETTINGS)
    assert call("config", "apply", "set.toml", folder=folder).exit_code == 0
    for name, text in (("a", A), ("b", B)):
        (folder / f"{name}.jsonl").write_text(text)
        assert call("import", f"{name}.jsonl", "--feed", "crm", folder=folder).exit_code == 0


made = made_once(make)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path)


def changes(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = call("diff", *arguments, "--json", folder=folder)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def mpid_of(folder: Path, *who: str) -> str:
    return str(
        json.loads(call("show", *who, "--json", folder=folder).stdout)["profiles"][0]["mpid"]
    )


def test_every_change_names_its_row_of_the_import(folder: Path) -> None:
    assert {(one["import"], one["file"]) for one in changes(folder, "2")} == {(2, "b.jsonl")}


def test_a_lost_identity_names_the_row_that_took_it_and_the_one_that_brought_it(
    folder: Path,
) -> None:
    lost = {one["value"]: one for one in changes(folder, "2", "--change", "identity-removed")}
    assert (lost["two@example.com"]["line"], lost["two@example.com"]["brought_by"]) == (
        3,
        {"import": 1, "file": "a.jsonl", "line": 3},
    )
    assert (lost["a@example.com"]["line"], lost["a@example.com"]["brought_by"]) == (
        2,
        {"import": 1, "file": "a.jsonl", "line": 1},
    )
    said = call("diff", "2", "--change", "identity-removed", folder=folder).stdout
    assert "b.jsonl:3" in said
    assert "a.jsonl:3" in said


def test_what_modify_took_away_names_modify(folder: Path) -> None:
    assert (
        call(
            "modify", "--customer-id", "C4", "--remove", "email=two@example.com", folder=folder
        ).exit_code
        == 0
    )
    (lost,) = changes(folder, "3")
    assert (lost["change"], lost["import"], lost["file"], lost["brought_by"]["file"]) == (
        "identity-removed",
        3,
        "(modify)",
        "b.jsonl",
    )


# the other way round

REVERSE = {
    "created": "gone",
    "gone": "created",
    "aliased": "unaliased",
    "unaliased": "aliased",
    "identity-added": "identity-removed",
    "identity-removed": "identity-added",
    "set": "deleted",
    "deleted": "set",
    "changed": "changed",
}


def reversed_change(one: dict[str, Any]) -> dict[str, Any]:
    turned = {name: value for name, value in one.items() if name not in ("before", "after")} | {
        "change": REVERSE[one["change"]]
    }
    for name, other in (("before", "after"), ("after", "before")):
        if name in one:
            turned[other] = one[name]
    return turned


def comparable(found: list[dict[str, Any]]) -> list[str]:
    return sorted(
        json.dumps(
            {name: value for name, value in one.items() if name != "brought_by"}, sort_keys=True
        )
        for one in found
    )


@pytest.mark.parametrize("states", [("1", "2"), pytest.param(("0", "2"), marks=pytest.mark.slow)])
def test_reversed_states_give_the_reverse_change(folder: Path, states: tuple[str, str]) -> None:
    alias(folder)
    forth, back = changes(folder, *states), changes(folder, *reversed(states))
    assert comparable(back) == comparable([reversed_change(one) for one in forth])
    assert {one["change"] for one in back} >= {"gone", "identity-removed", "deleted"}


def test_the_way_back_of_an_alias(folder: Path) -> None:
    source, destination = alias(folder)
    (one,) = changes(folder, "3", "2")
    assert (one["change"], one["mpid"], one["from"]) == ("unaliased", destination, source)


def test_a_filter_means_the_change_that_is_told(folder: Path) -> None:
    assert [one["attribute"] for one in changes(folder, "2", "1", "--change", "set")] == [
        "n",
        "tag",
    ]
    assert {one["change"] for one in changes(folder, "2", "1", "--change", "gone")} == {"gone"}


@pytest.mark.slow
def test_the_lines_have_one_order(folder: Path) -> None:
    alias(folder)
    runs = [
        call("diff", *states, "--json", folder=folder).stdout
        for states in (("0", "3"), ("0", "3"), ("3", "0"), ("3", "0"))
    ]
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]
    told = [(json.loads(line)["mpid"], json.loads(line)["change"]) for line in runs[0].splitlines()]
    assert [change for mpid, change in told if mpid == told[0][0]] == sorted(
        (change for mpid, change in told if mpid == told[0][0]),
        key=[
            "created",
            "aliased",
            "identity-added",
            "identity-removed",
            "set",
            "changed",
            "deleted",
        ].index,
    )


# aliases


def alias(folder: Path) -> tuple[str, str]:
    """Carry the past of C2 over to C3, and return both MPIDs."""
    source, destination = (
        mpid_of(folder, "--customer-id", "C2"),
        mpid_of(folder, "--customer-id", "C3"),
    )
    assert (
        call("alias", "--from", source, "--to", destination, "--now", folder=folder).exit_code == 0
    )
    return source, destination


def test_an_alias_is_a_change(folder: Path) -> None:
    source, destination = alias(folder)
    (one,) = changes(folder, "3")
    assert {name: one[name] for name in ("mpid", "change", "from", "import", "file")} == {
        "mpid": destination,
        "change": "aliased",
        "from": source,
        "import": 3,
        "file": "(alias)",
    }
    assert changes(folder, "2", "3") == [one]
    assert changes(folder, "3", "--change", "aliased", "--identity", f"mpid={destination}") == [one]
    assert source in call("diff", "3", folder=folder).stdout


@pytest.mark.parametrize(
    "kind",
    [
        "profiles",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("batches", "identities", "attributes")
        ),
    ],
)
def test_an_alias_is_in_what_is_exported_since(folder: Path, kind: str) -> None:
    _, destination = alias(folder)
    done = call("export", kind, "--since", "2", folder=folder)
    assert done.exit_code == 0, done.stderr
    assert {str(json.loads(line)["mpid"]) for line in done.stdout.splitlines()} == {destination}


@pytest.mark.slow
def test_an_alias_that_takes_effect_later_is_in_what_is_exported_since(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    source, destination = (
        mpid_of(folder, "--customer-id", "C2"),
        mpid_of(folder, "--customer-id", "C3"),
    )
    assert call("alias", "--from", source, "--to", destination, folder=folder).exit_code == 0
    (folder / "c.jsonl").write_text('{"user_identities":{"customer_id":"C9"}}\n')
    assert call("import", "c.jsonl", "--feed", "crm", folder=folder).exit_code == 0
    assert call("export", "profiles", "--since", "4", folder=folder).stdout == ""
    later = time.time_ns() + 25 * 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert destination in call("export", "profiles", "--since", "4", folder=folder).stdout


def test_an_alias_is_in_the_stream(folder: Path) -> None:
    source, destination = alias(folder)
    *_, before, last = map(json.loads, call("stream", "--json", folder=folder).stdout.splitlines())
    assert before["alias"] is None
    assert (last["mpid"], last["import"], last["alias"]["from"]) == (destination, 3, source)
    assert source in call("stream", folder=folder).stdout


@pytest.mark.parametrize(("people", "rows"), spread_now([(1, 1), (2, 3), (50_000, 100_000)], 3))
def test_lines_written_many_at_once_are_those_of_the_changes_one_by_one(
    people: int, rows: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "c.jsonl").write_text(A.replace("gold", "ä\u2028" * 300).replace("C2", "C9"))
    assert call("import", "c.jsonl", "--feed", "crm", folder=folder).exit_code == 0
    spans: list[tuple[int, int | None]] = [(1, None), (2, None), (3, None), (0, 3), (3, 1), (1, 1)]
    monkeypatch.setattr(diff, "PEOPLE_AT_ONCE", people)
    monkeypatch.setattr(text_blocks, "ROWS_AT_ONCE", rows)
    scratch = Scratch(folder)
    with open_store(scratch, folder / "profiles.duckdb") as store:
        model = profiles_of(store)
        for older, newer in spans:
            span = diff.span_of(store, older, newer)
            apart = [f"{line}\n" for line, *_ in diff.differences(model, span)]
            together = b"".join(map(bytes, diff.json_lines(model, span)))
            assert together.decode() == "".join(apart)
            assert bool(apart) == ((older, newer) != (1, 1))
    scratch.close()
