"""The options of every command stand before or after it, --json before it, and a negative MPID is
no option.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.doors import call, made_once, run, run_here

from profilectl.cli.app import app
from profilectl.cli.context import CommonValues
from profilectl.cli.pages import is_everywhere
from profilectl.codes import UsageError
from profilectl.rules.identity import TYPES

TREE: Any = typer.main.get_command(app)
NEGATIVE = "-9075318772091234567"
EVERYWHERE = {
    "--store": ("store", "x.duckdb", Path("x.duckdb")),
    "--workspace": ("workspace", "north", "north"),
    "--store-key": ("store_key", "k", Path("k")),
    "--suppression-key": ("suppression_key", "s", Path("s")),
    "--quiet": ("quiet", None, True),
    "-q": ("quiet", None, True),
}


def leaves(command: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not hasattr(command, "list_commands"):
        return {words: command}
    return {
        path: leaf
        for name in command.list_commands(None)
        for path, leaf in leaves(command.get_command(None, name), (*words, name)).items()
    }


LEAVES = leaves(TREE)


def filled(command: Any) -> list[str]:
    """Return words that a command takes: all that it must have."""
    words = []
    for param in command.params:
        if param.required:
            value = "1" if param.type_descriptor.annotation in (int, float) else "a=1"
            words += [value] if param.param_type_name == "argument" else [param.opts[0], value]
    return words


def values_of(words: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return the values that every command has, and those of the command, as Typer reads them."""
    context = TREE.make_context("profilectl", list(words))
    while hasattr(context.command, "commands"):
        name, command, more = context.command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, more, parent=context)
    return context.obj, context.params


@pytest.mark.parametrize("path", list(LEAVES), ids=" ".join)
def test_an_option_of_every_command_stands_before_or_after_it(path: tuple[str, ...]) -> None:
    words = [*path, *filled(LEAVES[path])]
    without, own = values_of(words)
    assert without == CommonValues()
    for name, (field, text, value) in EVERYWHERE.items():
        option = [name] if text is None else [name, text]
        after, before = values_of([*words, *option]), values_of([*option, *words])
        between = values_of([*path, *option, *words[len(path) :]])
        assert after == before == between == (CommonValues(**{field: value}), own), name
        inside = values_of([path[0], *option, *words[1:]])  # also of a group: feeds --store s list
        assert inside == after, name


def test_the_one_after_the_command_is_the_later_one() -> None:
    common, _ = values_of(["--store", "a", "--quiet", "stats", "--store", "b"])
    assert common == CommonValues(store=Path("b"), quiet=True)


@pytest.mark.parametrize("path", list(LEAVES), ids=" ".join)
def test_json_before_a_command_is_its_own_or_wrong_usage(path: tuple[str, ...]) -> None:
    command = LEAVES[path]
    words = [*path, *filled(command)]
    if any("--json" in param.opts for param in command.params):
        assert values_of(["--json", *words]) == values_of([*words, "--json"])
        assert values_of([path[0], "--json", *words[1:]]) == values_of([*words, "--json"])
    else:
        with pytest.raises(UsageError, match=f"profilectl {' '.join(path)} has no --json"):
            values_of(["--json", *words])


def test_the_word_that_may_be_left_out_is_still_so_behind_options() -> None:
    common, values = values_of(["explain", "--store", "s", "-q", "C1"])
    assert (common, values["text"]) == (CommonValues(store=Path("s"), quiet=True), "C1")
    _, values = values_of(["explain", "--store=s", "row", "a.csv:3"])
    assert values["row"] == "a.csv:3"


def test_the_error_of_json_says_what_to_do(tmp_path: Path) -> None:
    result = run_here("--json", "browse", folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Try: profilectl browse --help" in result.stderr


OF_PEOPLE = [path for path, leaf in LEAVES.items() if any("--mpid" in p.opts for p in leaf.params)]


@pytest.mark.parametrize("path", OF_PEOPLE, ids=" ".join)
def test_a_negative_mpid_is_taken_bare_by_every_command_of_a_person(path: tuple[str, ...]) -> None:
    _, values = values_of([*path, NEGATIVE, "--mpid", NEGATIVE])
    assert values["mpid"] == NEGATIVE
    assert NEGATIVE in (values.get("text"), *(values.get("assignments") or ()))


def test_an_option_is_still_one() -> None:
    for word in ("-9a", "-x", "--9", "-9-"):
        with pytest.raises(UsageError, match="profilectl show has no option"):
            values_of(["show", word])


@made_once
def people(folder: Path) -> None:
    rows = "".join(f"C{number},c{number}@x.org,gold\n" for number in range(16))
    (folder / "a.csv").write_text("customer_id,email,tier\n" + rows)
    assert call(*["import", "a.csv", "--feed", "f"], folder=folder).exit_code == 0


def mpids_of(folder: Path) -> list[str]:
    lines = call("export", "profiles", folder=folder).stdout.splitlines()
    return [json.loads(line)["mpid"] for line in lines]


@pytest.mark.parametrize("quickly", [True, False])
def test_a_person_with_a_negative_mpid_is_shown_and_corrected(
    tmp_path: Path, quickly: bool
) -> None:
    folder = people(tmp_path)
    mpid = next(mpid for mpid in mpids_of(folder) if mpid.startswith("-"))
    for words in (
        ("show", mpid, "--json"),
        ("--json", "show", mpid),
        ("explain", mpid),
        ("events", mpid),
        ("set", mpid, "tier=silver"),
        ("modify", mpid, "--add", "other=O-1"),
        ("access", mpid),
        ("forget", mpid, "--dry-run"),
    ):
        if quickly:
            assert run_here(*words, folder=folder).returncode == 0, words
        else:  # by Typer
            assert call(*words, folder=folder).exit_code == 0, words
    (profile,) = json.loads(run_here("show", mpid, "--json", folder=folder).stdout)["profiles"]
    assert profile["user_attributes"] == {"tier": "silver"}
    assert profile["user_identities"]["other"] == ["O-1"]


def test_set_takes_any_identity_before_its_assignments_but_no_two(tmp_path: Path) -> None:
    folder = people(tmp_path)
    assert run_here("set", "C1", "tier=blue", folder=folder).returncode == 0
    assert '"blue"' in run_here("show", "C1", "--json", folder=folder).stdout
    for words in (("set", "C1"), ("set", "C1", "C2", "a=b"), ("set", "--email", "e", "C1", "a=b")):
        result = run_here(*words, folder=folder)
        assert result.returncode == 2, words
        assert "Error: " in result.stderr


def test_identify_takes_identities_of_any_type(tmp_path: Path) -> None:
    folder = people(tmp_path)
    by_flag = run_here("identify", "--email", "c1@x.org", "--customer-id", "C1", folder=folder)
    words = ("identify", "--identity", "email=c1@x.org", "--identity", "customer_id=C1")
    assert by_flag.returncode == 0
    assert run_here(*words, folder=folder).stdout == by_flag.stdout
    twice = run_here("identify", "--email", "a@x.org", "--identity", "email=b@x.org", folder=folder)
    assert twice.returncode == 2
    assert "email is named twice" in twice.stderr
    assert run_here("identify", "--identity", "mpid=1", folder=folder).returncode == 2


def test_the_real_command_takes_its_store_after_its_name(tmp_path: Path) -> None:
    folder = people(tmp_path)
    (folder / "profiles.duckdb").rename(folder / "elsewhere.duckdb")
    after = ("--store", "elsewhere.duckdb")
    for words in (("stats", "--json"), ("show", "C1"), ("config", "export")):
        result = run(*words, *after, folder=folder)
        assert result.returncode == 0, result.stderr
        assert result.stdout == run(*after, *words, folder=folder).stdout
    assert not (folder / "profiles.duckdb").exists()
    assert run(*["export", "profiles", "-o", "p.csv", "-q"], *after, folder=folder).stderr == ""
    assert run("stats", "--store", "", folder=folder).returncode == 6


def test_a_completion_reads_the_store_that_stands_after_the_command(tmp_path: Path) -> None:
    folder = people(tmp_path)
    (folder / "profiles.duckdb").rename(folder / "elsewhere.duckdb")
    line = "profilectl feeds show --store elsewhere.duckdb "
    result = run(
        folder=folder,
        _PROFILECTL_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert result.stdout.split() == ["f"]


def test_no_command_has_an_option_of_these_names_itself() -> None:
    for path, command in LEAVES.items():
        named = {
            name for param in command.params if not is_everywhere(param) for name in param.opts
        }
        assert not named.intersection(EVERYWHERE), path
    assert len(TYPES) == 34
