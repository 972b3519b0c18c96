"""The calls of the library come to what the commands come to."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from support.doors import run_here
from support.places import ROOT

from profilectl import Store
from profilectl.codes import InputRefused, NobodyFound, PlanMoved, UsageError
from profilectl.library import answers, imports, profiles

PEOPLE = pyarrow.table(
    {
        "Contact": ["A", "B", None],
        "email": ["a@example.com", "b@example.com", None],
        "tier": ["gold", "tin", "tin"],
        "visits": [12, 2**60, 1],
    }
)
MAPPING = {"Contact": "customer_id"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store of two imports; a call works in its folder, as a command does."""
    monkeypatch.chdir(tmp_path)
    store = Store("profiles.duckdb")
    store.import_table(PEOPLE, feed="crm", mapping=MAPPING, name="people")
    Path("b.csv").write_text("customer_id,tier\nA,iron\nB,\n,lost\n")
    store.import_files("b.csv", feed="crm")
    return store


def lines_of_command(line: str) -> list[dict[str, object]]:
    process = run_here(*line.split(), folder=Path.cwd())
    assert process.returncode in (0, 3), process.stderr
    return [json.loads(text) for text in process.stdout.splitlines()]


def document(line: str) -> object:
    process = run_here(*line.split(), folder=Path.cwd())
    assert process.returncode in (0, 3), process.stderr
    return json.loads(process.stdout)


# Arrow


def test_a_table_is_imported_as_its_parquet_file_is(store: Store) -> None:
    pyarrow.parquet.write_table(PEOPLE, "people.parquet")
    beside = Store("other.duckdb")
    report = beside.import_files("people.parquet", feed="crm", mapping=MAPPING)
    again = Store("third.duckdb").import_table(PEOPLE, feed="crm", mapping=MAPPING)
    assert again.rows == report.rows == imports.RowCounts(read=3, applied=2, dropped=0, rejected=1)
    assert (again.profiles, again.reasons) == (report.profiles, {"NO_IDENTITY": 1})
    fields = ["customer_id", "email", "tier", "visits"]
    from_file, from_table = (
        Store(name).export(fields=fields) for name in ("other.duckdb", "third.duckdb")
    )
    assert from_file.drop_columns("mpid").to_pylist() == from_table.drop_columns("mpid").to_pylist()


def test_a_table_leaves_nothing_behind_and_is_shown_by_its_name(store: Store) -> None:
    (a,) = store.profile(email="a@example.com")
    assert (a.attributes["visits"].file, a.attributes["visits"].line) == ("people", 1)
    assert a.attributes["visits"].value == 12
    assert sorted(path.name for path in Path.cwd().iterdir()) == [
        "b.csv",
        "b.csv.rejects.jsonl",
        "people.rejects.jsonl",
        "profiles.duckdb",
    ]


@pytest.mark.parametrize("form", ["table", "reader", "batches", "duckdb"])
def test_whatever_speaks_arrow_is_taken_and_the_same_rows_once(form: str, store: Store) -> None:
    import duckdb

    table = PEOPLE
    forms = {
        "table": table,
        "reader": table.to_reader(),
        "batches": pyarrow.RecordBatchReader.from_batches(table.schema, iter(table.to_batches())),
        "duckdb": duckdb.connect().sql("select 'Z' as customer_id, 'new' as tier"),
    }
    report = store.import_table(
        forms[form], feed="crm", mapping=MAPPING if form != "duckdb" else {}
    )
    assert report.already_imported == (None if form == "duckdb" else 1)


def test_what_is_no_table_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="a list is no Arrow table"):
        store.import_table([{"customer_id": "A"}], feed="crm")  # type: ignore[arg-type]
    interval = pyarrow.table({"a": pyarrow.array([None], pyarrow.month_day_nano_interval())})
    with pytest.raises(InputRefused, match="Parquet"):
        store.import_table(interval, feed="crm")
    assert len(store.imports()) == 2


def test_an_export_is_the_parquet_file_of_the_command(store: Store) -> None:
    assert not lines_of_command("export profiles -o all.parquet")
    file = pyarrow.parquet.read_table("all.parquet")
    assert store.export("profiles").equals(file)
    reader = store.export_batches("profiles")
    assert isinstance(reader, pyarrow.RecordBatchReader)
    assert reader.read_all().equals(file)
    again = Store("again.duckdb")
    assert again.import_table(store.export_batches(), feed="crm").rows.applied == 2
    assert not list(Path.cwd().glob(".*scratch*"))


# Imports


def test_a_report_has_the_numbers_of_the_document(store: Store) -> None:
    report = store.import_files("b.csv", feed="new", dry_run=True)
    command = document("import b.csv --feed new --dry-run --json")
    assert isinstance(command, dict)
    for name in ("rows", "profiles", "identities", "attributes"):
        assert dataclasses.asdict(getattr(report, name)) == command[name]
    assert (report.reasons, report.warnings) == (command["reasons"], command["warnings"])
    assert report.document.keys() == command.keys()


def test_imports_and_undo(store: Store) -> None:
    earliest, latest = store.imports()
    assert (earliest.number, earliest.files, earliest.undone_ms) == (1, ["people"], None)
    assert latest.needs == [1]
    with pytest.raises(InputRefused):
        store.undo(1)
    assert store.undo(2) == imports.TakenBack([2], {})
    assert [each.undone_ms is None for each in store.imports()] == [True, False]
    assert store.undo(1, cascade=True).numbers == [1]
    with pytest.raises(UsageError):
        store.undo(1, cascade=True, replay=True)


def test_a_replay_makes_later_files_again(store: Store) -> None:
    Path("c.csv").write_text("customer_id,tier\nA,steel\n")
    store.import_files("c.csv", feed="crm")
    assert store.undo(2, replay=True).replayed == {3: 4}
    assert store.profile(customer_id="A")[0].attributes["tier"].value == "steel"


def test_a_plan_is_applied_or_says_what_has_moved(store: Store) -> None:
    Path("c.csv").write_text("customer_id,tier\nC,new\n")
    plan = store.plan("c.csv", feed="crm", output="c.plan")
    assert (plan.path, plan.signed, plan.report.dry_run) == (Path("c.plan"), True, True)
    assert plan.report.profiles.created == 1
    assert store.profile(customer_id="C") == []
    assert store.apply(plan).number == 3
    assert len(store.profile(customer_id="C")) == 1
    with pytest.raises(PlanMoved):
        store.apply("c.plan")


# Answers


def test_a_diff_has_the_lines_of_the_command(store: Store) -> None:
    changes, lines = store.diff(0, 2), lines_of_command("diff 0 2 --json")
    assert [(each.mpid, each.change) for each in changes] == [
        (int(str(line["mpid"])), line["change"]) for line in lines
    ]
    (tier,) = [each for each in store.diff() if each.attribute == "tier"]
    assert (tier.before, tier.after, tier.file, tier.line) == ("gold", "iron", "b.csv", 2)
    added = store.diff(0, 2, changes=["identity-added"], customer_id="A")
    assert [each.identity for each in added] == [("customer_id", "A"), ("email", "a@example.com")]
    with pytest.raises(NobodyFound):
        store.diff(customer_id="nobody")


def test_a_value_is_explained(store: Store) -> None:
    (explanation,) = store.explain("tier", customer_id="A")
    assert explanation.winner is not None
    assert (explanation.winner.value, explanation.winner.file) == ("iron", "b.csv")
    (lost,) = explanation.losers
    assert (lost.attribute.value, lost.change) == ("gold", "set")
    assert "newest value" in lost.why
    assert {each.name for each in store.explain(customer_id="A")} == {"tier", "visits"}
    assert store.explain("tier", customer_id="nobody") == []


def test_a_row_is_explained(store: Store) -> None:
    (applied,) = store.explain_row("b.csv", 2)
    assert applied.mpid == store.profile(customer_id="A")[0].mpid
    (rejected,) = store.explain_row("b.csv", 4)
    assert (rejected.mpid, rejected.code, rejected.raw) == (None, "NO_IDENTITY", ",lost")


def test_audiences_from_definition_to_members(store: Store) -> None:
    preview = store.preview_audience("tier = 'iron'")
    assert (preview.members, preview.profiles, len(preview.sample)) == (1, 2, 1)
    added = store.add_audience("iron", "tier = 'iron'", lookback="30 days")
    assert (added.members, added.lookback_days, added.kind) == (1, 30, "real-time")
    assert store.audiences() == [added]
    (member,) = store.members("iron")
    assert (member.mpid, member.identities["customer_id"]) == (preview.sample[0], ["A"])
    store.add_audience("iron", "tier exists", kind="standard", replaces=True)
    (refreshed,) = store.refresh_audiences("iron")
    assert (refreshed.members, refreshed.entered) == (2, 1)
    store.remove_audience("iron")
    assert store.audiences() == []


# What is shown


def test_a_repr_is_a_line_and_a_profile_shows_no_values(store: Store) -> None:
    (a,) = store.profile(customer_id="A")
    shown = repr(a)
    assert shown.startswith(f"Profile(mpid={a.mpid}, environment='production', ")
    assert "identities=<2: customer_id, email>" in shown
    assert "attributes=<2: tier, visits>" in shown
    assert "a@example.com" not in shown
    store.add_audience("iron", "tier = 'iron'")
    values: list[object] = [
        a,
        *a.attributes.values(),
        *store.imports(),
        *store.diff(0, 2),
        *store.explain(customer_id="A"),
        *store.explain("tier", customer_id="A")[0].losers,
        *store.explain_row("b.csv", 4),
        *store.audiences(),
        *store.members("iron"),
        store.preview_audience("tier exists"),
        store.import_files("b.csv", feed="new", dry_run=True),
        store.plan("b.csv", feed="new", output="b.plan"),
        store,
    ]
    for each in values:
        assert "\n" not in repr(each)
        assert len(repr(each)) <= 400, repr(each)
    classes = {
        name
        for module in (answers, imports, profiles)
        for name, each in vars(module).items()
        if dataclasses.is_dataclass(each) and each.__module__ == module.__name__
    }
    counts = {"RowCounts", "ProfileCounts", "IdentityCounts", "AttributeCounts", "TakenBack"}
    assert classes - counts == {type(each).__name__ for each in values} - {"Store"}


def test_a_workspace_is_chosen_for_a_call_and_not_for_the_next(store: Store) -> None:
    from profilectl.rules.workspace import chosen_workspace

    elsewhere = Store("profiles.duckdb", workspace="nowhere")
    for call in (elsewhere.audiences, elsewhere.export, lambda: elsewhere.profile(email="a")):
        with pytest.raises(UsageError, match="there is no workspace"):
            call()
        assert chosen_workspace() is None
    assert repr(Store("p", workspace="shop")) == "Store('p', workspace='shop')"


def test_naming_the_package_loads_no_engine() -> None:
    program = (
        "import sys, profilectl; profilectl.Store('x');"
        "print({'duckdb', 'pyarrow', 'orjson'} & {*sys.modules})"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "set()\n"
