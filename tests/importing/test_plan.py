"""A dry run tells all and changes nothing; a plan is applied as it was read, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from support.doors import call, made_once, run_here
from support.effort import at_length, spread_now
from support.histories import History, histories
from support.played_histories import declare, exported, request_for

from profilectl.codes import InputRefused
from profilectl.importing.plans.plan import apply_plan, make_plan, sealed
from profilectl.importing.run import import_files

FIRST = "customer_id,tier,city\nA,gold,Ulm\nB,iron,Bonn\n"
SECOND = "customer_id,tier,city\nA,lead,Ulm\nC,tin,\nnobody\n"


@made_once
def made(folder: Path) -> None:
    (folder / "a.csv").write_text(FIRST)
    (folder / "b.csv").write_text(SECOND)
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "profiles.duckdb").read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without what belongs to one run of it."""
    return {
        key: value
        for key, value in report.items()
        if key
        not in {
            "import",
            "dry_run",
            "elapsed_ms",
            "locked_ms",
            "examples",
            "rejects",
            "slow_path_rows",
            "advice",  # its commands name the store and the options of the run
        }
    }


# Plan and apply equal import


def check_plan(history: History) -> None:
    note(history.as_case())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned, imported = (
            folder / "planned" / "store.duckdb",
            folder / "imported" / "store.duckdb",
        )
        for one in (planned, imported):
            one.parent.mkdir()
        declare(planned, history)
        shutil.copy(planned, imported)  # the same secret: the same MPIDs
        for place, one in enumerate(history.imports):
            request = request_for(folder, place, one)
            request = type(request)(
                request.paths,
                request.feed,
                protection=request.protection,
                environment=request.environment,
                again=True,
            )
            before = planned.read_bytes()
            report, plan = make_plan(planned, request, folder / "one.plan")
            assert planned.read_bytes() == before
            applied = apply_plan(planned, folder / "one.plan")
            made = import_files(imported, request)
            assert (
                without_run(applied.as_json())
                == without_run(made.as_json())
                == without_run(report.as_json())
                == without_run(plan["report"])
            )
            assert timeless(exported(planned)) == timeless(exported(imported))


def timeless(export: bytes) -> list[Any]:
    """Return an export without the times that stand for "when it was imported"."""
    found = []
    for line in export.splitlines():
        one = json.loads(line)
        del one["first_seen_ms"], one["last_seen_ms"]
        for cell in one["provenance"].values():
            del cell["set_ms"]
        found.append(one)
    return found


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories())
def test_plan_and_apply_equal_import(history: History) -> None:
    check_plan(history)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_plan_and_apply_equal_import_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(15, by_night=100),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories())
    def compare(history: History) -> None:
        check_plan(history)

    compare()


# Dry run


def test_a_dry_run_leaves_every_byte_as_it_was(folder: Path) -> None:
    before, there = digest(folder), names(folder)
    dry = run_here("import", "b.csv", "--feed", "f", "--dry-run", "--json", folder=folder)
    assert dry.returncode == 3, dry.stderr
    assert digest(folder) == before
    assert names(folder) == there
    real = run_here("import", "b.csv", "--feed", "f", "--json", folder=folder)
    assert without_run(json.loads(dry.stdout)) == without_run(json.loads(real.stdout))
    assert digest(folder) != before


def test_a_dry_run_without_a_store_makes_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FIRST)
    done = run_here("import", "a.csv", "--feed", "f", "--dry-run", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["profiles"]["created"] == 2
    assert names(tmp_path) == ["a.csv"]


def test_a_dry_run_shows_examples_of_every_change_and_reason(folder: Path) -> None:
    (folder / "c.jsonl").write_text(
        '{"user_identities":{"customer_id":"A","email":"a@x.org"},"user_attributes":{"tier":"lead","new":"1"},"deleted_user_attributes":["city"]}\n'
        ""
        '{"user_identities":{"customer_id":"N"},"user_attributes":{"tier":"tin"}}\n'
        '{"user_attributes":{"tier":"tin"}}\n'
    )
    done = run_here("import", "c.jsonl", "--feed", "f", "--dry-run", "--json", folder=folder)
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)["examples"]
    assert [
        (one["file"], one["line"], one["attribute"], one["before"], one["after"])
        for one in found["attributes"]["changed"]
    ] == [("c.jsonl", 1, "tier", "gold", "lead")]
    assert [
        (one["line"], one["attribute"], one["before"]) for one in found["attributes"]["deleted"]
    ] == [(1, "city", "Ulm")]
    assert {(one["line"], one["attribute"]) for one in found["attributes"]["set"]} == {
        (1, "new"),
        (2, "tier"),
    }
    assert [one["line"] for one in found["profiles"]["created"]] == [2]
    assert [(one["line"], one["value"]) for one in found["identities"]["added"]] == [
        (1, "a@x.org"),
        (2, "N"),
    ]
    assert [[one["line"] for one in listed] for listed in found["reasons"].values()] == [[3]]
    text = run_here("import", "c.jsonl", "--feed", "f", "--dry-run", folder=folder).stdout
    assert "c.jsonl:1" in text
    assert "gold" in text


@pytest.mark.parametrize(
    ("file", "protection", "status"),
    spread_now(
        [
            ("same.csv", "create-and-update", 0),
            ("other.csv", "create-and-update", 10),
            ("new.csv", "update-only", 0),
            ("b.csv", "create-and-update", 10),
            ("b.csv", "read-only", 3),
        ],
        3,
    ),
)
def test_the_detailed_exit_code_says_whether_there_are_changes(
    file: str, protection: str, status: int, folder: Path
) -> None:
    (folder / "same.csv").write_text("customer_id,tier\nA,gold\n")
    (folder / "other.csv").write_text("customer_id,tier\nA,lead\n")
    (folder / "new.csv").write_text("customer_id,tier\nX,lead\n")
    options = ["--feed", "f", "--protection", protection, "--detailed-exitcode"]
    assert run_here("import", file, *options, "--dry-run", folder=folder).returncode == status
    assert run_here("plan", file, *options, "-o", "x.plan", folder=folder).returncode == status
    # an import has happened, whatever it changed
    assert run_here("import", file, *options, folder=folder).returncode == 2


# What has moved


def moved(folder: Path, *says: str) -> None:
    """Apply the plan: refused with exit 8, with a reason, and nothing changed."""
    before = digest(folder)
    done = run_here("apply", "b.plan", folder=folder)
    assert done.returncode == 8, (done.returncode, done.stderr)
    for one in says:
        assert one in done.stderr
    assert "Try:" in done.stderr
    assert digest(folder) == before


def commanded(*arguments: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        done = run_here(*arguments, folder=folder)
        assert done.returncode in (0, 3), done.stderr

    return work


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def of_an_older_version(folder: Path) -> None:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        (secret,) = store.execute("select value from meta where name = 'secret'").fetchall()[0]
    plan = json.loads((folder / "b.plan").read_text()) | {"version": "0.0.0"}
    (folder / "b.plan").write_text(json.dumps(plan | {"seal": sealed(plan, secret)}))


def configured(text: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        (folder / "c.toml").write_text(text)
        commanded("config", "apply", "c.toml")(folder)

    return work


@pytest.mark.parametrize(
    ("move", "says"),
    spread_now(
        [
            (written("b.csv", SECOND + "D,new,\n"), "b.csv has another content"),
            (lambda folder: (folder / "b.csv").unlink(), "b.csv"),
            (commanded("import", "c.csv", "--feed", "g"), "import 2 was made since"),
            (commanded("import", "b.csv", "--feed", "f"), "import 2 was made since"),
            (commanded(*["imports", "undo", "1", "--yes"]), "import 1 was undone since"),
            (
                commanded("feeds", "add", "h", "--source", "account"),
                "the feed h was registered since",
            ),
            (
                commanded("feeds", "set", "f", "--protection", "read-only"),
                "the feed f was custom-feed, create-and-update, is custom-feed, read-only",
            ),
            (
                configured('[attributes]\npriority = "first-writer"\n'),
                'the setting attributes.priority was not set, is "first-writer"',
            ),
            (configured('[identity]\nplaceholders = ["x"]\n'), "identity.placeholders"),
            (
                lambda folder: (
                    (folder / "profiles.duckdb").unlink()
                    or commanded("import", "a.csv", "--feed", "f")(folder)
                ),
                "the store is another one",
            ),
            (of_an_older_version, "made by profilectl 0.0.0"),
        ],
        3,
    ),
    ids=[
        "content",
        "gone",
        "import",
        "the same import",
        "undo",
        "new feed",
        "feed",
        "priority",
        "placeholders",
        "another store",
        "version",
    ],
)
def test_a_plan_that_no_longer_fits_is_refused_saying_what_has_moved(
    move: Callable[[Path], None], says: str, folder: Path
) -> None:
    (folder / "c.csv").write_text("customer_id,x\nQ,1\n")
    assert run_here("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).returncode == 3
    move(folder)
    moved(folder, says)


def test_a_manifest_that_was_changed_since_is_a_move(folder: Path) -> None:
    manifest = {
        "hasHeaderRow": True,
        "columns": [
            {"column": "customer_id", "action": "keep", "field": "user_identities.customer_id"},
            {"column": "tier", "action": "keep", "field": "user_attributes.level"},
            {"column": "city", "action": "ignore"},
        ],
    }
    (folder / "m.json").write_text(json.dumps(manifest))
    assert (
        run_here(
            "plan", "a.csv", "--feed", "g", "--manifest", "m.json", "-o", "b.plan", folder=folder
        ).returncode
        == 0
    )
    (folder / "m.json").write_text(json.dumps(manifest, indent=2))
    moved(folder, "m.json is not the manifest it was")


def test_compaction_and_reading_move_nothing(folder: Path) -> None:
    assert run_here("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).returncode == 3
    commanded("compact", "--yes", "--keep", "0")(folder)
    commanded("export", "profiles")(folder)
    assert run_here("apply", "b.plan", folder=folder).returncode == 3


def test_a_plan_is_applied_once(folder: Path) -> None:
    assert run_here("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).returncode == 3
    assert run_here("apply", "b.plan", folder=folder).returncode == 3
    moved(folder, "import 2 was made since")


def test_a_plan_made_before_there_is_a_store_makes_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FIRST)
    assert (
        run_here(
            "plan", "a.csv", "--feed", "f", "--source", "warehouse", "-o", "b.plan", folder=tmp_path
        ).returncode
        == 0
    )
    assert not (tmp_path / "profiles.duckdb").exists()
    done = run_here("apply", "b.plan", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["import"], report["source"], report["profiles"]["created"]) == (
        1,
        "warehouse",
        2,
    )


# The file


def test_a_plan_is_for_its_owner_only_and_says_what_it_says(folder: Path) -> None:
    made = run_here("plan", "b.csv", "--feed", "f", "-o", "b.plan", "--json", folder=folder)
    assert made.returncode == 3, made.stderr
    assert stat.S_IMODE((folder / "b.plan").stat().st_mode) == 0o600
    shown = run_here("plan", "show", "b.plan", "--json", folder=folder)
    assert shown.returncode == 0
    assert (
        json.loads(shown.stdout)
        == json.loads(made.stdout)
        == json.loads((folder / "b.plan").read_text())
    )
    text = run_here("plan", "show", "b.plan", folder=folder).stdout
    for one in ("b.csv", "gold", "lead", "1 created"):
        assert one in text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"profilectl_plan": 99, "state": {}, "request": {}, "report": {}}',
    ],
)
def test_what_is_no_plan_is_refused(content: bytes, folder: Path) -> None:
    (folder / "no.plan").write_bytes(content)
    for arguments in (("apply", "no.plan"), ("plan", "show", "no.plan")):
        done = run_here(*arguments, folder=folder)
        assert done.returncode == 4, done.stderr
        assert "no.plan is not a plan" in done.stderr


def test_a_plan_that_was_changed_by_hand_is_refused(folder: Path) -> None:
    assert run_here("plan", "b.csv", "--feed", "f", "-o", "b.plan", folder=folder).returncode == 3
    whole = json.loads((folder / "b.plan").read_text())
    before = digest(folder)
    places: list[tuple[str, ...]] = [(key,) for key in whole] + [
        (key, inner) for key in ("state", "request", "report") for inner in whole[key]
    ]
    for place in places:
        plan = json.loads(json.dumps(whole))
        inside = plan
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = {"x": 7}
        (folder / "b.plan").write_text(json.dumps(plan))
        for arguments in (("apply", "b.plan"), ("plan", "show", "b.plan")):
            refused = call(*arguments, folder=folder).exception
            assert isinstance(refused, InputRefused), place
    assert digest(folder) == before


def test_a_plan_of_standard_input_or_onto_a_folder_is_refused(folder: Path) -> None:
    assert (
        run_here(
            "plan",
            "-",
            "--format",
            "csv",
            "--feed",
            "f",
            "-o",
            "b.plan",
            folder=folder,
            stdin=b"customer_id\nA\n",
        ).returncode
        == 2
    )
    (folder / "d").mkdir()
    assert run_here("plan", "b.csv", "--feed", "f", "-o", "d", folder=folder).returncode == 4
    (folder / "link.plan").symlink_to(folder / "a.csv")
    assert (
        run_here("plan", "b.csv", "--feed", "f", "-o", "link.plan", folder=folder).returncode == 4
    )
    assert (folder / "a.csv").read_text() == FIRST
    assert not (folder / "b.plan").exists()


@pytest.mark.parametrize(
    ("limit", "status"),
    spread_now(
        [
            ("0", 4),
            ("1", 3),
            ("10%", 4),
            ("33.4%", 3),
            ("101%", 2),
            ("-1", 2),
            ("x", 2),
            ("1e9%", 2),
        ],
        3,
    ),
)
def test_too_many_rejects_refuse_the_whole_import(limit: str, status: int, folder: Path) -> None:
    before = digest(folder)
    done = run_here("import", "b.csv", "--feed", "f", f"--max-rejects={limit}", folder=folder)
    assert done.returncode == status, done.stderr
    assert (digest(folder) == before) == (status != 3)
    if status == 4:
        assert "1 of 3 rows" in done.stderr
