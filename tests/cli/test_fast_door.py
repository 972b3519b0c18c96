"""The fast door calls a command with what Typer would have given it, or leaves it to Typer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st

from profilectl.cli import door
from profilectl.cli.app import app
from profilectl.cli.context import CommonValues
from profilectl.cli.registry import COMMANDS, MODULES

TREE: Any = typer.main.get_command(app)
PLAIN = ("x", "C-1", "0", "7", "250", "1.5", "-4", "email=a", "tier=gold", "Zoë", "a b", "--json")
"""Values that options get, fitting or not."""
SHORT = ("--json", "--exact", "--history", "-q", "--quiet", "-9075318")
EVERYWHERE = (
    ["--store", "x.duckdb"],
    ["--store=y.duckdb"],
    ["--workspace", "north"],
    ["--store-key", "k"],
    ["--suppression-key=s"],
    ["-q"],
    ["--quiet"],
    ["--json"],
)
"""What may stand before a command, and all but the last of it after."""


class ThroughTyper(NamedTuple):
    """What Typer makes of words."""

    command: str
    """The name of the function."""
    values: Mapping[str, object]
    """Its values."""
    common: CommonValues
    """The values that every command has."""


def through_typer(words: Sequence[str]) -> ThroughTyper | None:
    """Return what Typer makes of words; None where it says something."""
    try:
        root = TREE.make_context("profilectl", list(words))
        context = root
        while hasattr(context.command, "commands"):
            name, command, rest = context.command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            context = command.make_context(name, rest, parent=context)
    except BaseException:  # noqa: BLE001 - also SystemExit of --help
        return None
    return ThroughTyper(context.command.callback.__name__, context.params, context.obj)


def plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as they compare: an empty list is none."""
    return {name: None if value in ([], ()) else value for name, value in values.items()}


def words_of(name: str) -> st.SearchStrategy[list[str]]:
    """Make the words of a command: its options with values, fitting or not."""
    TREE.get_command(None, name)
    parameters = [
        parameter
        for words, registered in COMMANDS.items()
        if words[0] == name
        for parameter in door._parameters(registered.run).values()
    ]
    options = sorted({option for parameter in parameters for option in parameter.described.names})
    fitting = sorted(
        (option, value)
        for parameter in parameters
        for option in parameter.described.names
        for value in (
            ("0", "3", "250")
            if parameter.base in (int, float)
            else getattr(parameter.base, "__members__", ())
        )
    )
    subcommands = [words[1] for words in COMMANDS if words[0] == name and len(words) > 1]
    pieces = [
        st.sampled_from(options).map(lambda option: [option]),
        st.sampled_from(fitting).map(list),
        st.tuples(st.sampled_from(options), st.sampled_from(PLAIN)).map(list),
        st.tuples(st.sampled_from(options), st.sampled_from(PLAIN)).map(
            lambda two: ["=".join(two)]
        ),
        st.sampled_from((*PLAIN, *SHORT, *subcommands)).map(lambda word: [word]),
    ]
    before = st.lists(st.sampled_from(EVERYWHERE), max_size=2)
    pieces.append(st.sampled_from(EVERYWHERE))
    return st.tuples(before, st.lists(st.one_of(pieces), max_size=4)).map(
        lambda drawn: [
            *(word for words in drawn[0] for word in words),
            name,
            *(word for words in drawn[1] for word in words),
        ]
    )


@settings(deadline=None)  # the first look at a command imports it
@given(st.sampled_from(sorted(door.QUICK)).flatmap(words_of))
def test_a_command_gets_what_typer_would_give_it(words: list[str]) -> None:
    called = door.called(words)
    if called is None:
        return
    expected = through_typer(words)
    assert expected is not None, "Typer would have refused it"
    assert (called.command.__name__, plain(called.values)) == (
        expected.command,
        plain(expected.values),
    )
    assert called.common == expected.common


@pytest.mark.parametrize(
    "line",
    [
        "show --email a@x.org --json",
        "--store x.duckdb -q show a@x.org",
        "show --mpid=-42 --history --batches 3",
        "explain --customer-id C1 --attribute tier --attribute city",
        "explain attribute C1",
        "explain row legacy.csv:17",
        "search --exact C1 --type email --limit 5",
        "events --customer-id C1 --type custom_event --json",
        "set --customer-id C1 tier=gold visits:=3 --delete color",
        "feeds list --json",
        "imports undo 3 --cascade --yes",
        "import a.csv b.csv --feed f --source csv --null NULL --null - --again",
        "show -9075318 --store x.duckdb --quiet --workspace=north",
        "--json --quiet show -9075318",
        "set -9075318 tier=gold",
        "explain -9075318",
        "events -9075318 --json",
    ],
)
def test_the_door_opens_for_plain_words(line: str) -> None:
    assert door.called(line.split()) is not None


@pytest.mark.parametrize(
    "words",
    [
        ["show", "--help"],
        ["show", "-h"],
        ["--version"],
        ["import", "a.csv"],
        ["import", "a.csv", "--feed", "f", "--format", "no format"],
        ["imports"],
        [*["imports", "undo", "0", "--yes"]],
        ["show", "--email", ""],
        ["show", "--nothing"],
        ["show", "--json=1"],
        ["show", "--batches", "-1", "x"],
        ["show", "--batches", "many", "x"],
        ["show", "--section", "nothing", "x"],
        ["show", "a", "b"],
        ["show", "--email"],
        ["show", "--email", "a", "--email", "b"],
        ["show", "--", "a"],
        ["show", "a\udcff"],
        ["explain"],
        ["feeds"],
        ["feeds", "show"],
        ["--store", "", "show", "a"],
        ["--store", "a", "--store", "b", "show", "a"],
        ["--store", "a", "show", "a", "--store", "b"],
        ["show", "a", "--store"],
        ["--json", "import", "a.csv"],
        ["--json", "imports", "undo", "0"],
        ["explain", "--store", "a", "rules"],
        ["feeds", "--json", "list"],
        ["show", "-9a"],
        ["show", "-x"],
        [],
    ],
)
def test_it_stays_shut_for_all_that_typer_has_to_say(words: list[str]) -> None:
    assert door.called(words) is None


@pytest.mark.parametrize("name", ["_PROFILECTL_COMPLETE", "_PYTHON _M PROFILECTL_COMPLETE"])
def test_it_stays_shut_for_a_shell_that_completes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "complete_bash")
    assert door.called(["show", "a"]) is None


def test_a_variable_takes_the_place_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILECTL_STORE", "other.duckdb")
    monkeypatch.setenv("PROFILECTL_WORKSPACE", "north")
    called = door.called(["--workspace", "south", "show", "a"])
    assert called is not None
    assert called.common == CommonValues(store=Path("other.duckdb"), workspace="south")
    called = door.called(["show", "a", "--store", "third.duckdb"])
    assert called is not None
    assert called.common == CommonValues(store=Path("third.duckdb"), workspace="north")
    monkeypatch.setenv("PROFILECTL_STORE", " ")
    assert door.called(["show", "a"]) is None


@pytest.mark.parametrize("name", sorted(door.QUICK))
def test_its_commands_load_no_typer(name: str, tmp_path: Path) -> None:
    program = f"""
import sys
import profilectl.cli.main, profilectl.cli.commands.{MODULES[name]}
print(sorted({{"typer", "pydantic", "rich", "duckdb", "orjson"}} & sys.modules.keys()))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout == "[]\n"
