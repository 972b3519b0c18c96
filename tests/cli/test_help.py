"""The help: what it shows, that its examples run, and that what is shown at once is what Typer
would show.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.doors import call, made_once, run, run_here
from support.places import ROOT
from support.receiver import KEY, SECRET, receiving

from profilectl.cli import door
from profilectl.cli.app import app
from profilectl.cli.pages import (
    FOLDED,
    choices_of,
    examples_of,
    is_everywhere,
    manual_page,
    root_page,
    summary_of,
)
from profilectl.cli.registry import MODULES
from profilectl.cli.summaries import EXITS, SUMMARIES, VARIABLES
from profilectl.codes import Exit
from profilectl.render.help import Example, HelpRow, Page, Section, text_of
from profilectl.rules.identity import TYPES

COLUMNS = 80


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from walk(command.get_command(None, name), (*path, name))


TREE: Any = typer.main.get_command(app)
COMMANDS = dict(walk(TREE))
GROUPS = {path: command for path, command in COMMANDS.items() if hasattr(command, "list_commands")}
LEAVES = {path: command for path, command in COMMANDS.items() if path not in GROUPS}
OF_PEOPLE = [
    path for path, command in LEAVES.items() if any("--ios-idfv" in p.opts for p in command.params)
]


def helped(path: tuple[str, ...], width: int = COLUMNS) -> str:
    """Return the help of a command, as Typer prints it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        result = call(*path, "--help", folder=ROOT)
    assert result.exit_code == 0, result.output
    return result.stdout


# The program


def test_the_table_of_commands_is_what_they_say_of_themselves() -> None:
    listed = [name for commands in SUMMARIES.values() for name in commands]
    assert sorted(listed) == sorted(MODULES), "a command belongs in one group of summaries.py"
    for commands in SUMMARIES.values():
        for name, summary in commands.items():
            assert summary == summary_of(COMMANDS[name,]), name
            assert len(summary) <= COLUMNS - len("  credentials  "), name


def test_the_groups_are_those_of_a_users_tasks() -> None:
    expected = "Start Migrate Why People Segments Send Privacy Set\tup"
    assert [name.replace(" ", "\t") for name in SUMMARIES] == expected.split(" ")
    shown = helped(())
    assert [shown.index(f"\n{name}\n") for name in SUMMARIES] == sorted(
        shown.index(f"\n{name}\n") for name in SUMMARIES
    )


def test_the_options_of_the_program_are_all_there() -> None:
    options = next(part for part in root_page().sections if part.title.startswith("Options"))
    shown = {word.strip(",") for row in options.rows for word in row.term.split()}
    names = {name for param in TREE.params for name in param.opts} | {"--help", "-h"}
    assert {word for word in shown if word.startswith("-")} == names


def test_every_exit_status_is_there() -> None:
    assert list(EXITS) == [int(status) for status in Exit]
    shown = helped(())
    assert all(re.search(rf"^  {int(status)} +[A-Z]", shown, re.MULTILINE) for status in Exit)
    assert re.search("^  130  Interrupted by Ctrl-C", shown, re.MULTILINE)


def test_every_variable_that_is_read_is_in_the_manual_page() -> None:
    texts = "".join(path.read_text() for path in (ROOT / "profilectl").rglob("*.py"))
    read = set(re.findall(r"PROFILECTL_[A-Z_]+[A-Z]", texts))
    read -= {"PROFILECTL_OUTPUT"}  # with the name of an output and what is asked of it
    assert read <= VARIABLES.keys()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_the_help_that_needs_no_typer_is_typers(words: list[str]) -> None:
    assert door.asks_for_help(words)
    at_once = run_here(*words, folder=ROOT, COLUMNS="80")
    assert at_once.returncode == 0
    assert at_once.stdout == helped(())
    assert at_once.stdout == run("--quiet", *words, folder=ROOT, COLUMNS="80").stdout


@pytest.mark.parametrize("words", [[], ["feeds"], ["plan"]])
def test_without_a_word_the_help_is_shown_and_the_usage_is_wrong(words: list[str]) -> None:
    result = run(*words, folder=ROOT, COLUMNS="80")
    assert (result.returncode, result.stderr) == (2, "")
    assert result.stdout == helped(tuple(words))


def test_a_shell_that_completes_gets_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PROFILECTL_COMPLETE", "complete_bash")
    assert not door.asks_for_help(["--help"])


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        ("--help", {"typer", "rich", "pydantic", "duckdb", "orjson"}),
        ("import --help", {"rich", "pydantic", "duckdb", "orjson"}),
        ("help audiences add", {"rich", "pydantic", "duckdb", "orjson"}),
        ("--version", {"rich", "pydantic", "duckdb", "orjson"}),
    ],
)
def test_the_help_loads_little(words: str, unneeded: set[str]) -> None:
    program = f"""
import sys
sys.argv = ["profilectl", *{words.split()!r}]
from profilectl.cli.main import main
try:
    main()
except SystemExit:
    pass
print(sorted({unneeded!r} & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


# Each command


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_nothing_is_cut_and_no_word_broken(path: tuple[str, ...]) -> None:
    whole = helped(path, 100_000)
    for width in (COLUMNS, 60, 140):
        shown = helped(path, width)
        assert all(len(line) <= min(width, 100) for line in shown.splitlines()), (path, width)
        words = [word for word in shown.split() if word != "\\"]
        assert words == [word for word in whole.split() if word != "\\"], (path, width)
        assert not re.search(r"<(bool|str|int|float|path|list|[a-z-]+ \|)", shown), path
        assert "…" not in shown, path


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_every_option_choice_and_default_is_shown(path: tuple[str, ...]) -> None:
    shown = helped(path)
    words = set(re.split(r"[\s,.()]+", shown))
    for param in COMMANDS[path].params:
        if param.hidden or is_everywhere(param) or FOLDED.intersection(param.opts):
            continue
        if param.name in ("identity", "customer_id", "email"):  # in words of their own
            continue
        if param.param_type_name == "option":
            assert words.issuperset(param.opts), param.opts
        assert words.issuperset(choices_of(param)), param.opts
        assert path == () or param.envvar is None or param.envvar in words, param.opts
        assert " ".join((param.help or "").split()).rstrip(".") in " ".join(shown.split()), (
            param.opts
        )


@pytest.mark.parametrize("path", OF_PEOPLE, ids=" ".join)
def test_the_options_of_identities_are_one_line(path: tuple[str, ...]) -> None:
    names = {name for param in COMMANDS[path].params for name in param.opts}
    assert names >= FOLDED | {"--email", "--customer-id", "--identity"}, "they work all the same"
    terms = re.findall(r"^  (--[a-z-]+)", helped(path), re.MULTILINE)
    assert not FOLDED.intersection(terms)
    assert {"--identity", "--email", "--customer-id"} <= set(terms)


def test_identities_are_a_topic_of_the_help() -> None:
    shown = call("help", "identities", folder=ROOT).stdout
    assert all(re.search(rf"^  {kind.name} +--", shown, re.MULTILINE) for kind in TYPES)


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_help_shows_a_command_as_the_command_does(path: tuple[str, ...]) -> None:
    result = run_here("help", *path, folder=ROOT, COLUMNS="80")
    assert result.returncode == 0
    assert result.stdout == helped(path)


@pytest.mark.parametrize("words", ["imprt", "feeds lst", "show identities"])
def test_help_of_no_command_is_wrong_usage(words: str) -> None:
    result = run_here("help", *words.split(), folder=ROOT)
    assert result.returncode == 2
    assert "has no command" in result.stderr
    assert re.search("Try: profilectl .*--help", result.stderr)


def test_a_page_is_bold_on_a_terminal_and_its_examples_are_commands() -> None:
    page = Page(
        name="p",
        usage="p [OPTIONS]",
        paragraphs=["What it does."],
        sections=[
            Section("Options", [HelpRow("--a-very-long-option-name LONG", "x"), HelpRow("-x", "")])
        ],
        examples=[
            Example("why", "p --one 'two three' --four five --six seven --eight nine --ten eleven")
        ],
        notes=["The end."],
    )
    lines = text_of(page, 40).splitlines()
    assert "\x1b[1mOptions\x1b[0m" in text_of(page, 40, styled=True)
    begin = lines.index("  why") + 1
    command = "\n".join(lines[begin : lines.index("", begin)])
    assert command.count("\\\n") == 2
    assert shlex.split(command.replace("\\\n", " "))[1:] == shlex.split(page.examples[0].command)
    assert text_of(page, 40, styled=True).replace("\x1b[1m", "").replace("\x1b[0m", "") == text_of(
        page, 40
    )


# The examples


def push_file(folder: Path) -> None:
    (folder / "push.toml").write_text(f'key = "{KEY}"\nsecret = "{SECRET}"\n')
    (folder / "push.toml").chmod(0o600)


@made_once
def with_three_imports(folder: Path) -> None:
    shutil.copy(ROOT / "sample_data" / "legacy.csv", folder)
    text = "Contact ID,E-mail,tier\nJohnSmith911,john.smith@example.com,gold\nZoë,z@example.com,\n"
    for number in (1, 2):
        (folder / f"crm-{number}.csv").write_bytes(text.encode("windows-1252"))
    words = "import crm-1.csv --encoding windows-1252 --map", "Contact ID=customer_id"
    columns = ("--map", "E-mail=email")
    for feed in ("a", "b", "c"):
        result = call(*words[0].split(), words[1], *columns, "--feed", feed, folder=folder)
        assert result.exit_code == 0, result.output
    push_file(folder)


EXAMPLES = [
    example.command
    for path in (("import",), ("show",), ("export",), ("push",))
    for example in examples_of(COMMANDS[path].epilog)
]


def test_four_commands_have_three_examples_each() -> None:
    for path in (("import",), ("show",), ("export",), ("push",)):
        examples = examples_of(COMMANDS[path].epilog)
        assert len(examples) == 3, path
        assert all(example.caption for example in examples), path


@pytest.mark.parametrize("command", EXAMPLES)
def test_an_example_runs(command: str, tmp_path: Path) -> None:
    folder = with_three_imports(tmp_path)
    with receiving() as receiver:
        words = shlex.split(command.replace("us1", receiver.url))
        result = run(*words[1:], folder=folder)
    assert result.returncode in (0, 3), result.stderr
    if "-o" in words:
        assert (folder / words[words.index("-o") + 1]).stat().st_size
    if "--json" in words:
        assert json.loads(result.stdout)["profiles"]


@pytest.mark.parametrize("path", [path for path in LEAVES if path], ids=" ".join)
def test_every_command_has_an_example_that_it_takes(path: tuple[str, ...]) -> None:
    examples = examples_of(COMMANDS[path].epilog)
    assert examples
    for example in examples:
        words = shlex.split(re.split(" [|>] ", example.command)[0])
        assert words[0] == "profilectl"
        context = TREE.make_context("profilectl", words[1:])
        while hasattr(context.command, "commands"):
            name, command, more = context.command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            context = command.make_context(name, more, parent=context)
        assert context.command is COMMANDS[path], example


# The manual page


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")
def test_man_reads_the_manual_page_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "p.1").write_text(manual_page())
    result = subprocess.run(
        ["man", "--warnings", "-l", "p.1"],
        cwd=tmp_path,
        env={**os.environ, "MANWIDTH": "78", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    shown = " ".join(re.sub(".\b", "", result.stdout).split())
    for path in COMMANDS:
        assert " ".join(("profilectl", *path)) in shown
    for status, text in EXITS.items():
        assert f"{status} {text[0].upper()}{text[1:]}." in shown


def test_the_manual_page_is_in_the_wheel_and_printed() -> None:
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    shared = build["targets"]["wheel"]["shared-data"]
    assert shared == {"docs/profilectl.1": "share/man/man1/profilectl.1"}
    assert (ROOT / "docs" / "profilectl.1").read_text() == manual_page(), "python docs/make.py"
    result = call("help", "--man", folder=ROOT)
    assert result.stdout == manual_page()
