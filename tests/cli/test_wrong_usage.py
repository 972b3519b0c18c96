"""Wrong usage is an error as all others: what is wrong, and a command that helps.

No box, no usage line, and the program has one name however it is run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.at_terminal import at_terminal
from support.doors import run_here
from support.places import ROOT

from profilectl.cli.app import app
from profilectl.cli.pages import choices_of
from profilectl.rules.priority import FEED_SOURCES


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from walk(command.get_command(None, name), (*path, name))


COMMANDS = dict(walk(typer.main.get_command(app)))
GROUPS = {path: command for path, command in COMMANDS.items() if hasattr(command, "list_commands")}
CHOICES = {
    (path, param.opts[0]): choices_of(param)
    for path, command in COMMANDS.items()
    for param in command.params
    if choices_of(param) and param.param_type_name == "option"
}
NUMBERS = [
    (path, param.opts[0])
    for path, command in COMMANDS.items()
    for param in command.params
    if param.param_type_name == "option"
    and re.search("int|float", str(param.type_descriptor.annotation))
]


def refusal_of(*words: str) -> tuple[str, str]:
    """Return what a command says is wrong, and what it says to try."""
    result = run_here(*words, folder=ROOT)
    assert (result.returncode, result.stdout) == (2, ""), (words, result)
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: "), result.stderr
    assert hint.startswith("  Try: "), result.stderr
    return error.removeprefix("Error: "), hint.removeprefix("  Try: ")


REFUSALS = {
    "import --fed crm a.csv": (
        "profilectl import has no option --fed; did you mean --feed?",
        "profilectl import --help",
    ),
    "import": ("FILE... is missing", "profilectl import --help"),
    "import a.csv --feed": ("--feed needs a value", "profilectl import --help"),
    "import a.csv --dry-run=yes": ("--dry-run takes no value", "profilectl import --help"),
    "import a.csv --max-shared x": (
        "--max-shared x: must be a whole number",
        "profilectl import --help",
    ),
    "import a.csv --wait x": ("--wait x: must be a number", "profilectl import --help"),
    "import a.csv --wait=-1": ("--wait -1: must be at least 0", "profilectl import --help"),
    "feeds add crm --source csw": (
        f"--source csw: must be one of {', '.join(FEED_SOURCES)}; did you mean csv?",
        "profilectl feeds add --help",
    ),
    "feeds add a b": ("profilectl feeds add does not take b", "profilectl feeds add --help"),
    "feeds set": ("NAME is missing", "profilectl feeds set --help"),
    "feeds ad": (
        "profilectl feeds has no command ad; did you mean add?",
        "profilectl feeds --help",
    ),
    "feeds -q": (
        "profilectl feeds needs a command: list, show, add, set",
        "profilectl feeds --help",
    ),
    "imports undp": (
        "profilectl imports has no command undp; did you mean undo?",
        "profilectl imports --help",
    ),
    "imports list undp": (
        "profilectl imports list does not take undp",
        "profilectl imports list --help",
    ),
    "imports undo x": ("x: N must be a whole number", "profilectl imports undo --help"),
    "imprt": (
        "profilectl has no command imprt; did you mean import or imports?",
        "profilectl --help",
    ),
    "undo": ("profilectl has no command undo; did you mean imports undo?", "profilectl --help"),
    "xyzzy": ("profilectl has no command xyzzy", "profilectl --help"),
    "help imprt": (
        "profilectl has no command imprt; did you mean import or imports?",
        "profilectl --help",
    ),
    "help feeds ad": (
        "profilectl feeds has no command ad; did you mean add?",
        "profilectl feeds --help",
    ),
    "help show x": ("profilectl show has no command x", "profilectl show --help"),
    "--stroe x show": (
        "profilectl has no option --stroe; did you mean --store?",
        "profilectl --help",
    ),
    "--store": ("--store needs a value", "profilectl --help"),
    "search a --exact --regex": (
        "--exact, --substring and --regex exclude each other",
        "profilectl search --help",
    ),
    "import a.csv --feed f --detailed-exitcode": (
        "--detailed-exitcode goes with --dry-run",
        "profilectl import --help",
    ),
    "show -x": ("profilectl show has no option -x", "profilectl show --help"),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_it_says_what_is_wrong_and_what_to_try(line: str) -> None:
    assert refusal_of(*shlex.split(line)) == REFUSALS[line]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_says_so_of_an_unknown_option(path: tuple[str, ...]) -> None:
    name = " ".join(("profilectl", *path))
    error, hint = refusal_of(*path, "--xyzzy")
    if getattr(COMMANDS[path], "default", None):
        name = f"{name} {COMMANDS[path].default}"
    assert (error, hint) == (f"{name} has no option --xyzzy", f"{name} --help")


# `plan FILE` and `explain VALUE` are commands whose word may be any.
@pytest.mark.parametrize("path", sorted(GROUPS.keys() - {("plan",), ("explain",)}), ids=" ".join)
def test_every_group_says_so_of_an_unknown_command(path: tuple[str, ...]) -> None:
    name_there = GROUPS[path].list_commands(None)[0]
    error, hint = refusal_of(*path, f"{name_there}q")
    name = " ".join(("profilectl", *path))
    assert error.startswith(f"{name} has no command {name_there}q; did you mean {name_there}")
    assert hint == f"{name} --help"


@pytest.mark.parametrize(("path", "option"), CHOICES)
def test_every_choice_says_what_there_is(path: tuple[str, ...], option: str) -> None:
    error, hint = refusal_of(*path, option, "xyzzy")
    there = ", ".join(CHOICES[path, option])
    assert error.partition(" ")[2] == f"xyzzy: must be one of {there}"
    assert hint == " ".join(("profilectl", *path, "--help"))


@pytest.mark.parametrize(("path", "option"), NUMBERS)
def test_every_number_says_that_it_is_one(path: tuple[str, ...], option: str) -> None:
    error, hint = refusal_of(*path, option, "xyzzy")
    assert re.fullmatch(r"--[a-z-]+ xyzzy: must be a (whole )?number", error)
    assert hint == " ".join(("profilectl", *path, "--help"))


def test_the_program_run_as_a_module_has_its_own_name(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "profilectl"]
    result = subprocess.run(
        [*line, "imprt"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stderr.splitlines() == [
        "Error: profilectl has no command imprt; did you mean import or imports?",
        "  Try: profilectl --help",
    ]


def test_a_terminal_gets_the_same_words_folded_between_words() -> None:
    line = shlex.split("feeds add crm --source csw")
    screen = at_terminal(*line, folder=ROOT, COLUMNS="60")
    assert screen.status == 2
    assert all(len(row) <= 60 for row in screen.text.splitlines())
    assert " ".join(screen.text.split()) == " ".join(run_here(*line, folder=ROOT).stderr.split())


def test_what_a_stranger_wrote_does_not_change_the_terminal() -> None:
    error, _ = refusal_of("show", "--a\x1b[31m")
    assert "\x1b" not in error
