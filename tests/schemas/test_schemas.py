"""The JSON Schemas are current, valid, and there for every command that prints JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator
from support.doors import run_here
from support.places import ROOT
from support.schemas import faults, validator

from profilectl.cli.app import app
from profilectl.cli.registry import MODULES
from profilectl.importing.request import REMEMBERED
from profilectl.reading.diff import CHANGES
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.priority import SOURCES
from profilectl.schemas.catalog import FOLDER, SCHEMAS

WITHOUT = {"browse": "an application on the terminal", "help": "pages for people"}
"""The commands that print no JSON, and why."""
WITHOUT_OPTION = {"schema NAME": "prints JSON anyway"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return docs/schemas.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_schemas", ROOT / "docs" / "schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their own
    spec.loader.exec_module(module)
    return module


def test_the_schemas_are_current(script: ModuleType) -> None:
    assert script.stale() == [], "python docs/schemas.py writes them"


def test_a_changed_declaration_is_seen(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from profilectl.schemas import imports

    monkeypatch.setattr(imports.UndoneJson, "OPEN", True, raising=False)
    assert [path.name for path in script.stale()] == ["imports-undo.json"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_says_what_it_is(name: str) -> None:
    schema = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:profilectl:{name}"
    assert schema["title"].endswith(".")
    for declared in schema.get("$defs", {}).values():
        assert declared["description"].endswith(".")
        for member, shape in declared["properties"].items():
            assert shape["description"][-1] in ".;", (name, member)
            assert member == member.lower().replace("-", "_")
            if member.endswith("_ms"):
                assert set(
                    [shape["type"]] if isinstance(shape["type"], str) else shape["type"]
                ) <= {
                    "integer",
                    "null",
                }


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Yield each command, and whether it takes --json."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*words, name))
        else:
            options = {option for param in command.params for option in param.opts}
            yield " ".join((*words, name)), "--json" in options


def test_every_command_prints_json_and_has_a_schema() -> None:
    every = dict(commands(typer.main.get_command(app)))
    assert {name for name, takes in every.items() if not takes} == set(WITHOUT)
    described = [words for schema in SCHEMAS.values() for words in schema.commands]
    assert len(described) == len({*described})
    assert {name for name, takes in every.items() if takes} <= {*described}
    # what else is described is a command with options, or a file that it writes
    assert all(any(words.startswith(name) for name in every) for words in described)
    assert {words.split()[0] for words in described} | {*WITHOUT} == {*MODULES}


def test_the_names_are_those_of_the_rules() -> None:
    def choices(name: str, declared: str, member: str) -> list[str]:
        schema = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
        enumeration: list[str] = schema["$defs"][declared]["properties"][member]["enum"]
        return enumeration

    assert sorted(choices("import", "Report", "source")) == sorted(SOURCES)
    assert choices("import", "Report", "protection") == list(PROTECTIONS)
    assert choices("import", "Report", "environment") == list(ENVIRONMENTS)
    assert choices("diff", "Change", "change") == list(CHANGES)
    assert REMEMBERED  # the request of a plan is somebody else's to declare: it is free


# The command


def test_a_schema_is_found_by_its_command_or_its_name(tmp_path: Path) -> None:
    text = (FOLDER / "imports-list.json").read_text("utf-8")
    for words in (("imports", "list"), ("imports list",), ("imports-list",)):
        shown = run_here("schema", *words, folder=tmp_path)
        assert (shown.returncode, shown.stdout) == (0, text)
    assert json.loads(run_here("schema", "apply", folder=tmp_path).stdout)["$id"].endswith(
        ":import"
    )


def test_a_name_that_there_is_not_is_wrong_usage(tmp_path: Path) -> None:
    shown = run_here("schema", "imports", "lst", folder=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "there is no schema imports lst" in shown.stderr
    assert "imports list" in shown.stderr


def test_the_list_has_all_of_them_and_fits_a_terminal(tmp_path: Path) -> None:
    shown = run_here("schema", folder=tmp_path)
    assert all(f"  {name} " in shown.stdout for name in SCHEMAS)
    listed = json.loads(run_here("schema", "--json", folder=tmp_path).stdout)
    assert [entry["name"] for entry in listed] == list(SCHEMAS)
    assert faults("schema", [listed]) == []


@pytest.mark.parametrize(
    ("name", "document", "wrong"),
    [
        ("imports-undo", {"undone": [1], "replayed": []}, {"undone": ["1"]}),
        ("imports-undo", {"undone": [1], "replayed": []}, {"more": 1}),
        ("rejects", {"file": "a", "line": 1, "code": "X", "message": "m", "raw": ""}, {"row": 1}),
        (
            "audiences-diff",
            {"mpid": "-7", "change": "left", "at_ms": 1, "import": None},
            {"mpid": 7},
        ),
        (
            "audiences-diff",
            {"mpid": "-7", "change": "left", "at_ms": 1, "import": 2},
            {"mpid": "x"},
        ),
    ],
)
def test_a_schema_is_exact(name: str, document: dict[str, Any], wrong: dict[str, Any]) -> None:
    assert faults(name, [document]) == []
    assert not validator(name).is_valid({**document, **wrong})
    for member in document:
        assert not validator(name).is_valid(
            {key: value for key, value in document.items() if key != member}
        )
