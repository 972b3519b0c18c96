"""A type checker sees a misspelled keyword, and the keywords are those of the rules."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from support.places import ROOT

from profilectl import Store
from profilectl.importing.request import ImportRequest
from profilectl.library import options
from profilectl.reading.diff import CHANGES
from profilectl.reading.exporting.export import ExportRequest
from profilectl.rules.audience import KINDS
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.identity import TYPES
from profilectl.rules.priority import FEED_SOURCES

RIGHT = """
from profilectl import Store

store = Store("profiles.duckdb", wait_s=1)
encoding: str | None = None
report = store.import_files(
    "a.csv", feed="crm", protection="update-only", mapping={"No": "customer_id"}, encoding=encoding
)
applied: int = report.rows.applied
for table in store.columns("a.csv", feed="crm", skip_lines=2):
    becomes: list[str | None] = [column.becomes for column in table.columns]
plan = store.plan("a.csv", feed="crm", output="a.plan")
number = store.apply(plan).number
if number is not None:
    store.undo(number, cascade=True)
for profile in store.profile(email="a@example.com", as_of=1):
    tier = profile.attributes["tier"].value
for change in store.diff(0, 2, changes=["set"], customer_id="A"):
    name: str | None = change.attribute
for explanation in store.explain("tier", email="a@example.com"):
    why = [lost.why for lost in explanation.losers]
members: list[int] = [member.mpid for member in store.members("gold")]
rows = store.export("attributes", where="tier = 'gold'", fields=["tier"]).num_rows
"""
WRONG = {
    "a keyword of an import": 'store.import_files("a.csv", feed="crm", protecton="update-only")',
    "a name it takes": 'store.import_files("a.csv", feed="crm", protection="update")',
    "an option of files for a table": "store.import_table(table, feed='crm', delimiter=';')",
    "a keyword of columns": 'store.columns("a.csv", encodin="utf-16")',
    "an identity type": 'store.profile(emial="a@example.com")',
    "a keyword of an export": 'store.export("profiles", wher="x")',
    "a kind of export": 'store.export("profile")',
    "a keyword of undo": "store.undo(3, cascad=True)",
    "a kind of change": 'store.diff(changes=["sett"])',
    "a member of a report": 'store.import_files("a.csv", feed="crm").rows.aplied',
    "a type": 'store.import_files("a.csv", feed="crm", skip_lines="2")',
    "a kind of audience": 'store.preview_audience("tier exists", kind="standart")',
    "a keyword that is missing": 'store.plan("a.csv", output="x")',
}


@pytest.mark.slow
def test_a_misspelled_option_fails(tmp_path: Path) -> None:
    """15 seconds: mypy reads the package."""
    (tmp_path / "right.py").write_text(RIGHT)
    begin = (
        "from profilectl import Store\nfrom typing import Any\ntable: Any = 0\nstore = Store()\n"
    )
    (tmp_path / "wrong.py").write_text(begin + "\n".join(WRONG.values()) + "\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "right.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [line for line in checked.stdout.splitlines() if ": error:" in line]
    places = {tuple(fault.split(":")[:2]) for fault in faults}
    assert places == {("wrong.py", str(line)) for line in range(5, 5 + len(WRONG))}, checked.stdout


def test_the_package_says_that_it_has_types() -> None:
    assert (ROOT / "profilectl" / "py.typed").exists()


@pytest.mark.parametrize(
    ("literal", "names"),
    [
        (options.Environment, ENVIRONMENTS),
        (options.Protection, PROTECTIONS),
        (options.Source, FEED_SOURCES),
        (options.AudienceKind, KINDS),
        (options.ChangeKind, CHANGES),
    ],
)
def test_the_names_are_those_of_the_rules(literal: object, names: object) -> None:
    assert list(get_args(literal)) == list(names)  # type: ignore[call-overload]


def test_every_identity_type_is_a_keyword() -> None:
    assert list(options.Identity.__annotations__) == ["mpid", *(kind.name for kind in TYPES)]


OF_THE_CALL = {"paths", "feed", "dry_run", "wait_s", "workspace"}
"""Fields of a request that are arguments or the store's own."""
OURS = {
    "keep_scratch", "first_arrival", "any_time", "stdin", "stdin_name", "content", "who", "call",
    "refreshes", "opened", "checked", "outcomes", "mapped", "columns", "stated", "taken",
    "takes_reading", "of_feed",
}  # fmt: skip
"""Fields that are no option of an import of files."""


def test_every_option_of_an_import_is_a_keyword() -> None:
    fields = {field.name for field in dataclasses.fields(ImportRequest)}
    keywords = set(options.FileReading.__annotations__)
    assert keywords - {"mapping"} <= fields
    assert fields - OF_THE_CALL - OURS - keywords == set()


def test_every_keyword_of_an_export_is_a_field_of_its_request() -> None:
    fields = {field.name for field in dataclasses.fields(ExportRequest)}
    assert set(options.Chosen.__annotations__) <= fields


CALLS = [name for name in vars(Store) if not name.startswith("_")]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_shows_its_keywords(name: str) -> None:
    parameters = inspect.signature(getattr(Store, name)).parameters.values()
    assert not [
        parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD
    ]
    hints = get_type_hints(options.FileReading)
    for parameter in parameters:
        assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty
        assert "ForwardRef" not in str(parameter)
    if name == "import_files":
        assert hints.keys() <= {parameter.name for parameter in parameters}
