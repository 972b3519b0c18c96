"""An import taken back leaves no trace but in the history: the store is as if it had never been
made.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import call, run_here
from support.effort import at_length
from support.histories import History, Import, histories, rows
from support.people_by_identity import people
from support.played_histories import breaches, declare, exported, opened, request_for

from profilectl.codes import InputRefused
from profilectl.importing.run import import_files
from profilectl.importing.undo import undo_import
from profilectl.profiles.read_model import profiles_of

# A history in process


def comparable(path: Path) -> list[str]:
    """Return the profiles in the order of their founding, without what differs between two stores
    of the same content.
    """
    with opened(path) as store:
        select = profiles_of(store).json_lines("", provenance=True)
        lines = [
            line for (line,) in store.scratch.rows(f"select line from ({select}) order by profile")
        ]
    return [
        re.sub(r'"import":\d+,', "", re.sub(r'^\{"mpid":"-?\d+",', "{", line)) for line in lines
    ]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What is undone, and when


@dataclass
class Course:
    """A history, and after which import which of those in force is undone (by its place among
    them).
    """

    history: History
    undone: dict[int, list[int]] = field(default_factory=dict)


@st.composite
def narrow_imports(draw: st.DrawFn, feeds: list[str]) -> Import:
    """Return an import of few rows, so that many an earlier one has nothing to do with it."""
    customer, key = st.sampled_from(["A", "B", "D"]), st.sampled_from(["k", "tier", "x"])
    row = st.builds(
        lambda customer, email, values: {
            "user_identities": {"customer_id": customer} | ({"email": email} if email else {}),
            "user_attributes": values,
        },
        customer,
        st.sampled_from([None, None, None, "a@x.org", "b@x.org"]),
        st.dictionaries(key, st.sampled_from(["1", "2", ["1"]]), max_size=1),
    )
    hard = draw(st.booleans())
    level = draw(
        st.sampled_from(["create-and-update", "create-and-update", "update-only", "read-only"])
    )
    return Import(
        draw(st.sampled_from(feeds)),
        level,
        draw(st.lists(row | rows(hard) if hard else row, max_size=3)),
    )


@st.composite
def courses(draw: st.DrawFn) -> Course:
    history = draw(histories())
    more = draw(st.lists(narrow_imports(sorted(history.feeds)), max_size=5))
    history.imports = (
        [*history.imports[: max(1, 6 - len(more))], *more]
        if draw(st.booleans())
        else [*more, *history.imports][:6]
    )
    course = Course(history)
    for number in range(len(history.imports)):
        course.undone[number] = (
            draw(st.lists(st.integers(0, 5), max_size=2)) if draw(st.booleans()) else []
        )
    return course


def check_undo(course: Course) -> None:
    note(course.history.as_case())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, other = folder / "undone.duckdb", folder / "never.duckdb"
        declare(path, course.history)
        in_force: dict[int, int] = {}  # the number in the store: the place in the history
        counts: dict[int, dict[str, Any]] = {}
        for place, one in enumerate(course.history.imports):
            report = import_files(path, request_for(folder, place, one))
            assert report.number is not None
            in_force[report.number] = place
            counts[place] = report.counts.as_json()
            for choice in course.undone[place]:
                if in_force:
                    number = sorted(in_force)[choice % len(in_force)]
                    gone = taken_back(path, number, in_force)
                    note(f"after import {place}: undone {[in_force[one] for one in gone]}")
                    for one_gone in gone:
                        del in_force[one_gone]
        declare(other, course.history)
        for place in in_force.values():
            report = import_files(other, request_for(folder, place, course.history.imports[place]))
            assert report.counts.as_json() == counts[place], f"the report of import {place}"
        assert comparable(path) == comparable(other)
        assert breaches(path) == []


def taken_back(path: Path, number: int, in_force: dict[int, int]) -> list[int]:
    """Undo an import, alone if that is allowed; return what went, newest first."""
    try:
        gone = undo_import(path, number).numbers
        assert gone == [number]
    except InputRefused as refused:
        assert "later imports rest on it" in refused.message  # noqa: PT017
        gone = undo_import(path, number, cascade=True).numbers
        assert len(gone) > 1
    assert gone == sorted(gone, reverse=True)
    assert gone[-1] == number
    assert set(gone) <= set(in_force)
    return gone


quick = settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(courses())
def test_after_undo_the_store_is_as_if_the_import_had_never_been(course: Course) -> None:
    check_undo(course)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_after_undo_the_store_is_as_if_the_import_had_never_been_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(10, by_night=100),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(courses())
    def compare(course: Course) -> None:
        check_undo(course)

    compare()


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(courses())
def test_imports_taken_back_from_the_last_on_leave_the_export_byte_for_byte(course: Course) -> None:
    note(course.history.as_case())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "store.duckdb"
        declare(path, course.history)
        before = []
        for place, one in enumerate(course.history.imports):
            before.append(exported(path))
            import_files(path, request_for(folder, place, one))
        assert before[0] == b""
        for place in reversed(range(len(course.history.imports))):
            assert undo_import(path, place + 1).numbers == [place + 1]
            assert exported(path) == before[place], f"import {place} taken back"
        assert breaches(path) == []


# Made again


def three(folder: Path) -> tuple[Path, History, list[Import]]:
    """Make a store of A, B and C: B changes what A founded and founds another, C rests on both."""

    def row(customer: str, **values: str) -> dict[str, Any]:
        return {"user_identities": {"customer_id": customer}, "user_attributes": values}

    imports = [
        Import("f", "create-and-update", [row("A", x="a"), row("B", x="a")]),
        Import("f", "create-and-update", [row("C", x="b"), row("A", x="b"), row("D", y="b")]),
        Import("f", "update-only", [row("A", x="c"), row("B", y="c"), row("C", x="c")]),
        Import("f", "create-and-update", [row("B", y="d"), row("E", y="d")]),
    ]
    history = History({}, "rank", {"f": ("custom-feed", None)}, imports)
    path = folder / "store.duckdb"
    declare(path, history)
    for place, one in enumerate(imports):
        import_files(path, request_for(folder, place, one))
    return path, history, imports


def mpids(path: Path) -> dict[str, str]:
    return {
        one["user_identities"]["customer_id"][0]: one["mpid"]
        for one in map(json.loads, exported(path).splitlines())
    }


def test_replay_makes_the_later_imports_again_without_the_first(tmp_path: Path) -> None:
    path, history, imports = three(tmp_path)
    before = mpids(path)
    done = undo_import(path, 1, replay=True)
    assert done.numbers == [4, 3, 2, 1]
    assert done.replayed == [(2, 5), (3, 6), (4, 7)]
    other = tmp_path / "never.duckdb"
    declare(other, history)
    for place in (1, 2, 3):
        import_files(other, request_for(tmp_path, place, imports[place]))
    assert comparable(path) == comparable(other)
    assert breaches(path) == []
    after = mpids(path)
    assert {name: after[name] for name in "CDE"} == {name: before[name] for name in "CDE"}
    assert after["A"] != before["A"]
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "0.jsonl",
        "1.jsonl",
        "2.jsonl",
        "3.jsonl",
        "never.duckdb",
        "store.duckdb",
    ]


def test_an_import_after_a_replay_founds_profiles_of_its_own(tmp_path: Path) -> None:
    path, _, _ = three(tmp_path)
    undo_import(path, 1, replay=True)
    before = mpids(path)
    new = [{"user_identities": {"customer_id": f"N{number}"}} for number in range(12)]
    import_files(path, request_for(tmp_path, 9, Import("f", "create-and-update", new)))
    after = mpids(path)
    assert len(set(after.values())) == len(after) == len(before) + 12
    assert breaches(path) == []


@pytest.mark.slow
def test_what_was_replayed_can_be_replayed_and_taken_back_again(tmp_path: Path) -> None:
    path, history, imports = three(tmp_path)
    undo_import(path, 1, replay=True)
    undo_import(path, 5, replay=True)
    other = tmp_path / "never.duckdb"
    declare(other, history)
    for place in (2, 3):
        import_files(other, request_for(tmp_path, place, imports[place]))
    assert comparable(path) == comparable(other)
    assert breaches(path) == []
    for number in (9, 8):
        undo_import(path, number)
    assert exported(path) == b""
    assert breaches(path) == []


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_replay_with_a_file_that_is_not_what_it_was_is_refused(what: str, tmp_path: Path) -> None:
    path, _, _ = three(tmp_path)
    before = digest(path)
    file = tmp_path / "2.jsonl"
    if what == "changed":
        file.write_text('{"user_identities":{"customer_id":"A"}}\n')
    else:
        file.unlink()
    with pytest.raises(InputRefused, match="import 3 cannot be made again"):
        undo_import(path, 1, replay=True)
    assert digest(path) == before
    assert not list(tmp_path.glob("*replayed*"))


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(courses(), st.integers(0, 5))
def test_replay_gives_the_store_of_the_other_imports(course: Course, choice: int) -> None:
    note(course.history.as_case())
    imports = course.history.imports
    left_out = choice % len(imports)
    note(f"replayed without import {left_out}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, other = folder / "replayed.duckdb", folder / "never.duckdb"
        for store, left in ((path, imports), (other, imports[:left_out] + imports[left_out + 1 :])):
            declare(store, course.history)
            for one in left:
                place = next(place for place, each in enumerate(imports) if each is one)
                import_files(store, request_for(folder, place, one))
        undo_import(path, left_out + 1, replay=True)
        assert comparable(path) == comparable(other)
        assert breaches(path) == []


# The command line


def bring(folder: Path, name: str, text: str, *options: str, feed: str = "f") -> None:
    (folder / name).write_text(text)
    done = call("import", name, "--feed", feed, *options, folder=folder)
    assert done.exit_code == 0, done.output


def export(folder: Path) -> str:
    done = call("export", "profiles", "--sorted", "--provenance", folder=folder)
    assert done.exit_code == 0, done.output
    return done.stdout


def listed(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        call("imports", "list", "--json", folder=folder).stdout
    )
    return found


def values(folder: Path) -> dict[str, dict[str, str]]:
    lines = [json.loads(line) for line in export(folder).splitlines()]
    return {one["user_identities"]["customer_id"][0]: one["user_attributes"] for one in lines}


def refused(folder: Path, *arguments: str, status: int = 4) -> str:
    """Run a command that is refused and changes nothing; return what it says, on one line."""
    before = digest(folder / "profiles.duckdb")
    done = run_here(*arguments, folder=folder)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert digest(folder / "profiles.duckdb") == before
    return " ".join(done.stderr.split())


def dependent(folder: Path) -> None:
    bring(folder, "a.csv", "customer_id,x\nA,1\n")
    bring(folder, "b.csv", "customer_id,x\nB,1\n", feed="g")
    bring(folder, "c.csv", "customer_id,x\nA,2\n", feed="h")


def test_an_import_on_which_others_rest_is_refused_naming_them(tmp_path: Path) -> None:
    dependent(tmp_path)
    said = refused(tmp_path, *["imports", "undo", "1", "--yes"])
    assert "later imports rest on it: 3 (h)" in said
    assert "--cascade" in said
    assert "--replay" in said
    assert not any(one["undone"] for one in listed(tmp_path))


def test_cascade_takes_those_back_as_well_and_no_others(tmp_path: Path) -> None:
    dependent(tmp_path)
    done = run_here(*["imports", "undo", "1", "--cascade", "--yes"], "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"undone": [3, 1], "replayed": []}
    assert values(tmp_path) == {"B": {"x": "1"}}
    assert [(one["undone"], one["undoable"]) for one in listed(tmp_path)] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def test_replay_by_command_line_says_what_was_made_again(tmp_path: Path) -> None:
    dependent(tmp_path)
    done = run_here(*["imports", "undo", "1", "--replay", "--yes"], "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "undone": [3, 2, 1],
        "replayed": [{"import": 2, "as": 4}, {"import": 3, "as": 5}],
    }
    assert values(tmp_path) == {"A": {"x": "2"}, "B": {"x": "1"}}
    assert call("check", folder=tmp_path).exit_code == 0


def test_replay_finds_the_files_from_another_folder(tmp_path: Path) -> None:
    dependent(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run_here(
        "--store",
        "../profiles.duckdb",
        "imports",
        "undo",
        "--yes",
        "1",
        "--replay",
        folder=elsewhere,
    )
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == {"A": {"x": "2"}, "B": {"x": "1"}}
    assert not list(elsewhere.iterdir())


def test_replay_of_standard_input_is_refused(tmp_path: Path) -> None:
    bring(tmp_path, "a.csv", "customer_id,x\nA,1\n")
    done = run_here(
        "import",
        "-",
        "--feed",
        "f",
        "--format",
        "csv",
        folder=tmp_path,
        stdin=b"customer_id,x\nA,2\n",
    )
    assert done.returncode == 0, done.stderr
    assert "import 2 cannot be made again: what it read is not kept" in refused(
        tmp_path, *["imports", "undo", "1", "--replay", "--yes"]
    )
    # there is nothing to be made again
    done = run_here(*["imports", "undo", "2", "--replay", "--yes"], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert values(tmp_path) == {"A": {"x": "1"}}


def test_cascade_and_replay_exclude_each_other(tmp_path: Path) -> None:
    dependent(tmp_path)
    assert (
        run_here(
            *["imports", "undo", "1", "--cascade", "--yes"], "--replay", folder=tmp_path
        ).returncode
        == 2
    )
    assert not any(one["undone"] for one in listed(tmp_path))


def test_an_undone_import_is_listed_as_undone_and_its_file_is_new_again(tmp_path: Path) -> None:
    bring(tmp_path, "a.csv", "customer_id,x\nA,1\n")
    before = values(tmp_path)
    assert (
        call("import", "a.csv", "--feed", "f", "--json", folder=tmp_path).stdout.count(
            '"already_imported": 1'
        )
        == 2
    )
    assert call(*["imports", "undo", "1", "--yes"], folder=tmp_path).exit_code == 0
    assert export(tmp_path) == ""
    (one,) = listed(tmp_path)
    assert (one["import"], one["undone"], one["undoable"]) == (1, True, False)
    assert one["undone_by"] == one["made_by"]
    assert one["undone_ms"] >= one["started_ms"]
    assert json.loads(call("imports", "show", "1", "--json", folder=tmp_path).stdout) == one
    done = json.loads(call("import", "a.csv", "--feed", "f", "--json", folder=tmp_path).stdout)
    assert (done["import"], done["profiles"]["created"]) == (2, 1)
    assert values(tmp_path) == before


def test_undoing_twice_or_what_never_was_is_refused(tmp_path: Path) -> None:
    bring(tmp_path, "a.csv", "customer_id,x\nA,1\n")
    assert call(*["imports", "undo", "1", "--yes"], folder=tmp_path).exit_code == 0
    for options in ([], ["--cascade"], ["--replay"]):
        assert "import 1 was undone already" in refused(
            tmp_path, *["imports", "undo", "1", "--yes"], *options
        )
        assert "there is no import 2" in refused(
            tmp_path, *["imports", "undo", "2", "--yes"], *options, status=2
        )


def test_what_compaction_laid_together_cannot_be_undone(tmp_path: Path) -> None:
    dependent(tmp_path)
    (tmp_path / "keep.toml").write_text("[history]\nkeep = 1\n")
    assert call("config", "apply", "keep.toml", folder=tmp_path).exit_code == 0
    assert call("compact", "--yes", folder=tmp_path).exit_code == 0
    before = export(tmp_path)
    for number in ("1", "2"):
        for options in ([], ["--cascade"], ["--replay"]):
            said = refused(tmp_path, "imports", "undo", "--yes", number, *options)
            assert f"import {number} was laid together with others" in said
            assert "history.keep" in said
    assert export(tmp_path) == before
    assert [one["undoable"] for one in listed(tmp_path)] == [False, False, True]
    assert call(*["imports", "undo", "3", "--yes"], folder=tmp_path).exit_code == 0
    assert values(tmp_path) == {"A": {"x": "1"}, "B": {"x": "1"}}
    assert call("check", folder=tmp_path).exit_code == 0


def test_imports_of_other_attributes_of_the_same_profile_are_independent(tmp_path: Path) -> None:
    bring(tmp_path, "a.csv", "customer_id,z\nA,1\n")
    bring(tmp_path, "b.csv", "customer_id,x\nA,2\n")
    bring(tmp_path, "c.csv", "customer_id,y\nA,3\n")
    assert [one["needs"] for one in listed(tmp_path)] == [[], [1], [1]]
    done = run_here(*["imports", "undo", "2", "--json", "--yes"], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["undone"] == [2]
    assert values(tmp_path) == {"A": {"y": "3", "z": "1"}}
    assert call("check", folder=tmp_path).exit_code == 0


def test_a_feed_goes_with_the_import_that_registered_it(tmp_path: Path) -> None:
    bring(tmp_path, "a.csv", "customer_id,x\nA,1\n")
    bring(tmp_path, "b.csv", "customer_id,x\nB,1\n", "--source", "warehouse", feed="g")
    (tmp_path / "c.csv").write_text("customer_id,x\nC,1\n")
    assert "registered with source warehouse" in refused(
        tmp_path, "import", "c.csv", "--feed", "g", "--source", "account"
    )
    assert call(*["imports", "undo", "2", "--yes"], folder=tmp_path).exit_code == 0
    assert [
        one["name"] for one in json.loads(call("feeds", "list", "--json", folder=tmp_path).stdout)
    ] == ["f"]
    bring(tmp_path, "c.csv", "customer_id,x\nC,1\n", "--source", "account", feed="g")
    feeds = {
        one["name"]: one["source"]
        for one in json.loads(call("feeds", "list", "--json", folder=tmp_path).stdout)
    }
    assert feeds == {"f": "custom-feed", "g": "account"}
    assert [(one["feed"], one["source"]) for one in listed(tmp_path)] == [
        ("f", "custom-feed"),
        ("g", "warehouse"),
        ("g", "account"),
    ]
    assert call("check", folder=tmp_path).exit_code == 0


@pytest.mark.parametrize("declared", [True, False])
def test_a_feed_stays_when_it_was_declared_or_has_another_import(
    declared: bool, tmp_path: Path
) -> None:
    if declared:
        assert call("feeds", "add", "f", "--source", "warehouse", folder=tmp_path).exit_code == 0
    bring(tmp_path, "a.csv", "customer_id,x\nA,1\n", "--source", "warehouse")
    if not declared:
        bring(tmp_path, "b.csv", "customer_id,x\nB,1\n")
    assert call(*["imports", "undo", "1", "--yes"], folder=tmp_path).exit_code == 0
    (one,) = json.loads(call("feeds", "list", "--json", folder=tmp_path).stdout)
    assert (one["name"], one["source"]) == ("f", "warehouse")
    assert one["imports"] == (not declared)


def test_a_replayed_correction_is_about_the_person_it_named(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("customer_id,t\nA,1\n")
    (tmp_path / "two.csv").write_text("customer_id,u\nA,2\n")
    for name, feed in (("one.csv", "f"), ("two.csv", "g")):
        assert call("import", name, "--feed", feed, folder=tmp_path).exit_code == 0
    assert run_here("set", "--customer-id", "A", "tier=gold", folder=tmp_path).returncode == 0
    assert (
        run_here(
            "modify", "--customer-id", "A", "--add", "email=a@x.io", folder=tmp_path
        ).returncode
        == 0
    )
    for _ in range(2):  # what was made again can be made again
        number = next(
            one["import"]
            for one in json.loads(run_here("imports", "list", "--json", folder=tmp_path).stdout)
            if one["undone_ms"] is None
        )
        if number == 1:
            done = run_here("imports", "undo", "1", "--replay", "--yes", folder=tmp_path)
            assert done.returncode == 0, done.stderr
    assert people(tmp_path) == {"A": {"tier": "gold", "u": "2"}}


def test_a_correction_of_a_profile_that_is_no_more_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("customer_id,t\nA,1\n")
    assert call("import", "one.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    assert run_here("set", "--customer-id", "A", "tier=gold", folder=tmp_path).returncode == 0
    before = run_here("export", "profiles", folder=tmp_path).stdout
    done = run_here("imports", "undo", "1", "--replay", "--yes", folder=tmp_path)
    assert done.returncode == 4
    assert "import 2 cannot be made again: nobody has the customer_id A" in done.stderr
    assert run_here("export", "profiles", folder=tmp_path).stdout == before
