"""Why a value, a profile, a row is what it is: told as the interpreter would."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from support import people
from support.doors import run_here
from support.effort import at_length, spread_now
from support.equivalence import by_engine, by_interpreter
from support.histories import History, histories

from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.reading.explain import explain_attribute
from profilectl.rules.batch import apply_deletes
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.priority import OVERWRITE, SET, standing, verdict
from profilectl.rules.text.values import DELETED
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("people")
    people.make(found)
    return found


def told(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = run_here("explain", *arguments, "--json", folder=folder)
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Attributes


@pytest.mark.parametrize(("first", "then", "priority"), spread_now([
    (["--source", "csv"], ["--source", "partner", "--partner", "P"], "rank"), (["--source", "partner", "--partner", "P"], ["--source", "partner", "--partner", "Q"], "rank"),
    (["--source", "account"], ["--source", "sdk"], "rank"), (["--source", "custom-feed"], ["--source", "csv"], "first-writer"),
], 2))  # fmt: skip
def test_what_was_deleted_is_free_for_any_source(
    first: list[str], then: list[str], priority: str, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(f'[attributes]\npriority = "{priority}"\n')
    assert run_here("config", "apply", "c.toml", folder=tmp_path).returncode == 0
    rows = [
        {"user_attributes": {"b": "1"}},
        {"deleted_user_attributes": ["b"]},
        {"user_attributes": {"b": "2"}},
    ]
    for number, row in enumerate(rows):
        (tmp_path / "in.jsonl").write_text(
            json.dumps({"user_identities": {"customer_id": "A"}, **row}) + "\n"
        )
        done = run_here(
            "import",
            "in.jsonl",
            "--feed",
            "later" if number == 2 else "first",
            *(then if number == 2 else first),
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    (person,) = told(tmp_path, "A")["profiles"]
    (attribute,) = person["attributes"]
    assert attribute["winner"]["value"] == "2"
    gone = attribute["losers"][-1]
    assert (gone["change"], gone["rule"]["standing"], gone["rule"]["words"]) == (
        "deleted",
        "free",
        "it had been deleted: any source may set it",
    )
    text = run_here("explain", "A", folder=tmp_path).stdout
    assert "not deleted, from first" in text
    assert "any source may set it" in text


def test_the_winner_and_every_loser_with_the_row_of_the_table(folder: Path) -> None:
    (person,) = told(
        folder,
        "--customer-id",
        "C1",
        "--attribute",
        "tier",
        "--attribute",
        "color",
        "--attribute",
        "points",
    )["profiles"]
    tier, color, points = person["attributes"]
    assert (tier["winner"]["value"], tier["winner"]["feed"], tier["winner"]["line"]) == (
        "gold",
        "crm",
        1,
    )
    assert [
        (one["value"], one["feed"], one["code"], one["rule"]["standing"], one["by"])
        for one in tier["losers"]
    ] == [
        ("silver", "wh", "UA_LOWER_PRIORITY", "worse", None),
        ("lead", "app", "UA_LOWER_PRIORITY", "worse", None),
    ]
    assert color["winner"]["value"] == "black"
    assert [
        (
            one["value"],
            one["rule"]["standing"],
            one["rule"]["verdict"],
            one["by"]["file"],
            one["by"]["line"],
        )
        for one in color["losers"]
    ] == [
        ("red", "better", "SET", "app.jsonl", 1),
        ("green", "same unit", "SET", "app.jsonl", 3),
    ]
    assert "rank 4" in color["losers"][0]["rule"]["words"]
    assert points["winner"] is None
    assert [(one["change"], one["rule"]["standing"]) for one in points["losers"]] == [
        ("set", "better")
    ]


def test_words_for_a_person(folder: Path) -> None:
    text = run_here("explain", "C1", "--attribute", "tier", folder=folder).stdout
    for one in (
        "tier = gold",
        "crm.jsonl:1",
        "not lead",
        "refused, UA_LOWER_PRIORITY",
        "sdk (rank 4) against custom-feed (rank 3)",
        "attributes.priority rank: worse -> UA_LOWER_PRIORITY",
    ):
        assert one in text
    assert run_here("explain", "C1", "--attribute", "nothing", folder=folder).returncode == 2
    assert run_here("explain", "nobody", folder=folder).returncode == 7
    assert run_here("explain", folder=folder).returncode == 2


class Recording(Interpreter):
    """An interpreter that writes down what each row did to each attribute."""

    def _set(self, running: Any, profile: int, row: Any, *, arrival: int) -> None:
        person, feed = self.people[profile], running.feed
        for key, held in apply_deletes(row).items():
            owner = person.cells.get(key)
            code = verdict(feed.owner, owner.feed.owner if owner else None, self.priority)
            if not (code == SET and held == DELETED and owner is None):
                DONE.setdefault((profile, key), []).append(
                    (arrival, held, "" if code == SET else code, owner.arrival if owner else None)
                )
        super()._set(running, profile, row, arrival=arrival)


DONE: dict[tuple[int, str], list[tuple[int, str, str, int | None]]] = {}


def check_explain(history: History) -> None:
    note(history.as_case())
    DONE.clear()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, _, secret = by_engine(history, folder)
        interpreter = by_interpreter_recording(history, secret)
        scratch = Scratch(folder)
        with open_store(scratch, folder / "store.duckdb") as store:
            found = activities(profiles_of(store), sorted(interpreter.people))
        scratch.close()
    assert [one.profile for one in found] == sorted(interpreter.people)
    seen = {
        (one.profile, key): [
            (
                entry.origin.arrival,
                entry.held,
                entry.code,
                entry.owner.arrival if entry.owner else None,
            )
            for entry in entries
        ]
        for one in found
        for key, entries in one.history.items()
    }
    assert seen == DONE
    for one in found:
        person = interpreter.people[one.profile]
        assert {
            key: (entry.origin.arrival, entry.held) for key, entry in one.attributes.items()
        } == {key: (cell.arrival, cell.held) for key, cell in person.cells.items()}
        for key, entries in one.history.items():
            explained = explain_attribute(one, key)
            assert (explained.winner.origin.arrival if explained.winner else None) == (
                person.cells[key].arrival if key in person.cells else None
            )
            assert len(explained.losers) >= len(entries) - 1 - (explained.winner is None)
            for loser in explained.losers:
                rule = loser.rule
                assert rule.words
                if rule.standing == "free":
                    assert loser.entry.kind == "deleted"
                    assert verdict(rule.incoming, None, history.priority) == rule.verdict
                    continue
                assert rule.standing == standing(rule.incoming, rule.owner)
                assert OVERWRITE[rule.priority][rule.standing] == rule.verdict
                if loser.by is None:
                    assert (
                        rule.priority == history.priority
                        or OVERWRITE[history.priority][rule.standing] == rule.verdict
                    )


def by_interpreter_recording(history: History, secret: str) -> Interpreter:
    from support import equivalence

    kept: list[Interpreter] = []

    def recording(*arguments: Any, **options: Any) -> Interpreter:
        kept.append(Recording(*arguments, **options))
        return kept[-1]

    before, equivalence.Interpreter = equivalence.Interpreter, recording  # type: ignore[misc, assignment]
    try:
        by_interpreter(history, secret)
    finally:
        equivalence.Interpreter = before  # type: ignore[misc]
    return kept[0]


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories())
def test_explain_agrees_with_the_interpreter(history: History) -> None:
    check_explain(history)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_explain_agrees_with_the_interpreter_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(35, by_night=200),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories())
    def compare(history: History) -> None:
        check_explain(history)

    compare()


# Identities


def test_the_rows_that_joined_the_identities(folder: Path) -> None:
    (person,) = told(folder, "identity", "--customer-id", "C1")["profiles"]
    assert [
        (
            one["file"],
            one["line"],
            one["founded"],
            [each["value"] for each in one["identities_added"]],
            one["found_by"],
        )
        for one in person["chain"]
    ] == [
        ("crm.jsonl", 1, True, ["C1", "amelie@example.org"], []),
        (
            "app.jsonl",
            1,
            False,
            ["+32470000000", "0a0a0a0a-1111-2222-3333-444444444444"],
            [{"type": "customer_id", "value": "C1"}],
        ),
    ]


def test_why_two_values_are_not_one_profile(folder: Path) -> None:
    together = told(folder, "identity", "--customer-id", "C1", "--and", "email=amelie@example.org")
    assert (together["one_profile"], together["reasons"]) == (True, [])
    apart = told(folder, "identity", "--customer-id", "C1", "--and", "customer_id=C2")
    assert apart["one_profile"] is False
    text = " ".join(apart["reasons"])
    for one in (
        "crm.jsonl:1",
        "crm.jsonl:2",
        "immutable identity customer_id C1",
        "a row carries one customer_id",
    ):
        assert one in text
    text = " ".join(
        told(folder, "identity", "amelie@example.org", "--and", "customer_id=C2")["reasons"]
    )
    assert "customer_id comes before email in the hierarchy" in text
    assert "nobody has the email x" in " ".join(
        told(folder, "identity", "C1", "--and", "email=x")["reasons"]
    )


# Rows and rules


@pytest.mark.parametrize(
    ("row", "says"),
    spread_now([
        ("crm.jsonl:1", "applied to Amélie Lefèvre"), ("wh.csv:2", "tier: silver refused"), ("app.jsonl:3", "color: green -> black"),
        ("./app.jsonl:3", "app.jsonl:3 in import 3"), ("bad.csv:3", "NO_IDENTITY"), ("bad.csv:2", "UPDATE_ONLY_NO_MATCH"), ("twice.csv:2", "in import 5, feed g"),
    ], 3),
)  # fmt: skip
def test_what_became_of_a_row(row: str, says: str, tmp_path: Path) -> None:
    people.make(tmp_path)
    people.bring(
        tmp_path,
        "bad.csv",
        "customer_id,x\nNEW,1\n,2\nC1,3\n",
        0,
        "f",
        protection="update-only",
        rejects=str(tmp_path / "r"),
    )
    people.bring(tmp_path, "twice.csv", "customer_id,x\nC1,1\n", 0, "g")
    people.bring(tmp_path, "twice.csv", "customer_id,x\nC1,1\n", 0, "h")
    done = run_here("explain", "row", row, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert len(told(tmp_path, "row", row)["rows"]) == (2 if row.startswith("twice") else 1)


def test_rows_that_cannot_be_are_refused(folder: Path) -> None:
    assert run_here("explain", "row", "nowhere.csv:1", folder=folder).returncode == 4
    for row in ("app.jsonl:99", "wh.csv:1"):
        done = run_here("explain", "row", row, folder=folder)
        assert (done.returncode, f"{row}: no row begins there" in done.stderr) == (4, True)
    assert run_here("explain", "row", "crm.jsonl", folder=folder).returncode == 2
    assert run_here("explain", "row", "crm.jsonl:0", folder=folder).returncode == 2
    assert run_here("explain", "row", "crm.jsonl:x", folder=folder).returncode == 2


def test_a_file_is_found_by_any_way_to_it(folder: Path) -> None:
    said = run_here("explain", "row", "wh.csv:2", folder=folder).stdout
    for file in ("./wh.csv", str(folder / "wh.csv"), f"../{folder.name}/wh.csv"):
        assert run_here("explain", "row", f"{file}:2", folder=folder).stdout == said
    assert (
        run_here("explain", "row", str(folder / "sub" / "wh.csv:2"), folder=folder).returncode == 4
    )


def test_a_row_is_explained_after_compaction(tmp_path: Path) -> None:
    people.make(tmp_path)
    before = [
        run_here("explain", "row", row, folder=tmp_path).stdout
        for row in ("crm.jsonl:1", "wh.csv:2", "app.jsonl:3")
    ]
    assert run_here("compact", "--yes", "--keep", "0", folder=tmp_path).returncode == 0
    assert [
        run_here("explain", "row", row, folder=tmp_path).stdout
        for row in ("crm.jsonl:1", "wh.csv:2", "app.jsonl:3")
    ] == before


def test_the_rules_in_force(folder: Path) -> None:
    rules = told(folder, "rules")
    assert rules["attributes"]["verdicts"] == OVERWRITE["rank"]
    assert rules["identity"]["immutable"] == ["customer_id"]
    assert [one["unit"] for one in rules["feeds"]] == ["sdk", "custom-feed", "warehouse/wh"]
    text = run_here("explain", "rules", folder=folder).stdout
    for one in ("UA_PDF_EXCLUSIVE", "UPDATE_ONLY_NO_MATCH", "warehouse/wh", "customer_id"):
        assert one in text


def test_what_went_with_retention_is_said_to_have_gone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"customer_id": "C1", "tier": "gold", "timestamp_unixtime_ms": 1700000000000}\n'
    )
    run_here("import", "a.jsonl", "--feed", "crm", folder=tmp_path)
    run_here("retention", "set", "--lifetime-days", "30", folder=tmp_path)
    run_here("retention", "apply", "--yes", folder=tmp_path)
    done = run_here("explain", "C1", "--attribute", "tier", folder=tmp_path)
    assert done.returncode == 4
    assert "went with retention on 20" in done.stderr


def test_an_account_feed_refused_for_another_workspace_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[attributes]\npriority = "first-writer"\n[feeds.web]\nsource = "sdk"\nworkspace = "web"\n'
        '[feeds.shop]\nsource = "csv"\nworkspace = "shop"\n[feeds.office]\nsource = "account"\n'
    )
    assert run_here("config", "apply", "c.toml", folder=tmp_path).returncode == 0
    for feed, value in (("web", "1"), ("shop", ""), ("office", "2")):
        (tmp_path / f"{feed}.csv").write_text(f"customer_id,x\nC1,{value}\n")
        run_here("import", f"{feed}.csv", "--feed", feed, folder=tmp_path)
    done = run_here(
        "--workspace", "shop", "explain", "C1", "--attribute", "x", "--json", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "UA_FIRST_WRITER" in done.stdout
