"""Which commands say how far they are: all that can take over two seconds on a large store."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer
from support.doors import call, made_once

from profilectl.cli.app import app
from profilectl.cli.at_work import working_until_rows
from profilectl.cli.context import GlobalOptions
from profilectl.files import progress as channel
from profilectl.render import screen
from profilectl.render.progress import line as module
from profilectl.render.progress.line import Line
from profilectl.render.progress.time_left import Mark

DAY_MS = 86_400_000
ERASURE = {
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "submitted_time": "2023-11-02T15:00:00Z",
    "subject_identities": {"email": {"value": "c2@x.com", "encoding": "raw"}},
    "api_version": "3.0",
    "regulation": "gdpr",
}


class Terminal(io.StringIO):
    """A terminal that is not there."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def make_store(folder: Path) -> None:
    lines = "".join(f"C{n},c{n}@x.com,{n}\n" for n in range(50))
    (folder / "a.csv").write_text("customer_id,email,tier\n" + lines)
    (folder / "b.csv").write_text("customer_id,email,tier\nC1,c1@x.com,9\n")
    (folder / "ids.txt").write_text("customer_id\nC1\n")
    (folder / "c.toml").write_text('[audiences.two]\ncriteria = "email exists"\n')
    (folder / "request.json").write_text(json.dumps(ERASURE))
    for words in (
        "import a.csv --feed f",
        "import b.csv --feed f",
        "calculated add visits --type count --event visit --draft",
        "retention set --lifetime-days 1 --retention-days 2",
        "privacy request request.json",
    ):
        assert call(*words.split(), folder=folder).exit_code == 0, words
    assert call("audiences", "add", "all", "tier exists", folder=folder).exit_code == 0
    assert call("backup", "old.duckdb", folder=folder).exit_code == 0
    assert call("plan", "a.csv", "--feed", "f", "-o", "a.plan", folder=folder).exit_code == 0


store = made_once(make_store)
LONG = {
    "access": "access --customer-id C1 -o p.json",
    "apply": "apply a.plan",
    "audiences add": "audiences add more 'tier exists'",
    "audiences diff": "audiences diff all",
    "audiences export": "audiences export all -o all.csv",
    "audiences members": "audiences members all",
    "audiences preview": "audiences preview 'tier exists'",
    "audiences refresh": "audiences refresh",
    "backup": "backup b.duckdb",
    "calculated activate": "calculated activate visits",
    "calculated add": "calculated add more --type count --event visit",
    "calculated deactivate": "calculated deactivate visits",
    "calculated preview": "calculated preview visits",
    "calculated recalculate": "calculated recalculate",
    "calculated remove": "calculated remove visits --yes",
    "check": "check",
    "columns": "columns a.csv",
    "compact": "compact --keep 0 --yes",
    "config apply": "config apply c.toml",
    "config set": "config set history.keep=3",
    "config unset": "config unset audiences.all --yes",
    "diff": "diff",
    "enrich": "enrich a.csv --feed f",
    "events": "events",
    "export attributes": "export attributes -o a.jsonl",
    "export batches": "export batches -o b.jsonl",
    "export identities": "export identities -o i.jsonl",
    "export imports": "export imports -o n.jsonl",
    "export profiles": "export profiles -o p.jsonl",
    "forget": "forget --customer-id C1 --yes",
    "forward": "forward",
    "import": "import a.csv --feed f --again",
    "imports undo": "imports undo 2 --replay --yes",
    "lookup": "lookup ids.txt -o found.jsonl",
    "plan make": "plan a.csv --feed f -o b.plan",
    "privacy run": "privacy run --yes",
    "restore": "--store new.duckdb restore old.duckdb",
    "retention apply": "retention apply --yes",
    "modify": "modify --customer-id C1 --add email=new@x.com",
    "search": "search c1",
    "set": "set --customer-id C1 tier=gold",
    "stats": "stats",
    "stream": "stream",
    "usage": "usage --rows",
}
"""A call of each command that can take long."""
ELSEWHERE = {
    "alias": "it needs two MPIDs, and is as set is",
    "push": "test_push_progress.py: it needs a receiver",
    "uid2 run": "it needs an operator",
    "browse": "it fills the whole screen",
    "serve": "it goes on until Ctrl-C, and says what it does",
}
SHORT = {
    "audiences list", "audiences remove", "audiences show", "calculated list",
    "calculated show", "config export", "credentials new", "explain attribute",
    "explain identity", "explain row", "explain rules", "feeds add", "feeds list", "feeds set",
    "feeds show",
    "help", "identify", "imports list", "imports show", "outbox drop", "outbox list",
    "outbox retry", "plan show", "privacy cancel", "privacy lift-all", "privacy request",
    "privacy requests", "privacy show", "retention set", "retention show", "schema",
    "show",
}  # fmt: skip
"""The commands that look at one person, or at a list that is short in every store."""


def names(group: object, before: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the words of every command."""
    for name in group.list_commands(None):  # type: ignore[attr-defined]
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        if hasattr(command, "list_commands"):
            yield from names(command, (*before, name))
        else:
            yield " ".join((*before, name))


def test_of_every_command_it_is_said_whether_it_can_take_long() -> None:
    assert {*LONG, *ELSEWHERE, *SHORT} == set(names(typer.main.get_command(app)))
    assert len(LONG) + len(ELSEWHERE) + len(SHORT) == len({*LONG, *ELSEWHERE, *SHORT})


@pytest.mark.parametrize("name", LONG)
def test_a_command_that_can_take_long_has_a_line_with_a_title(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store(tmp_path)
    lines: list[Line] = []

    @contextlib.contextmanager
    def drawn(line: Line) -> Iterator[None]:
        lines.append(line)
        yield

    monkeypatch.setattr(screen, "redraws", lambda stream: True)
    monkeypatch.setattr(Line, "drawn", drawn)
    result = call(*shlex.split(LONG[name]), folder=folder)
    assert result.exit_code in (0, 3), result.output
    assert [line._title() for line in lines if not line._title()] == []
    assert lines
    assert not channel.is_watched()


@pytest.mark.parametrize("is_among_rows", [True, False])
def test_rows_on_the_same_terminal_come_when_the_line_is_gone(
    is_among_rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []

    @contextlib.contextmanager
    def progress(marks: Sequence[Mark], *, quiet: bool) -> Iterator[None]:
        drawn.append(True)
        yield
        drawn.append(False)

    monkeypatch.setattr(screen, "redraws", lambda stream: True)
    monkeypatch.setattr(module, "progress", progress)
    monkeypatch.setattr(sys, "stdout", Terminal() if is_among_rows else io.StringIO())
    common = GlobalOptions(Path("none"), quiet=False)
    seen = [drawn[-1] for _ in working_until_rows(common, "searching", "abc")]
    assert seen == [not is_among_rows] * 3
    assert drawn == [True, False]


@pytest.mark.parametrize("name", LONG)
def test_a_quiet_command_has_no_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store(tmp_path)

    def progress(marks: Sequence[Mark], stream: object) -> None:
        pytest.fail("there is a line")

    monkeypatch.setattr(screen, "redraws", lambda stream: True)
    monkeypatch.setattr(module, "Line", progress)
    result = call("--quiet", *shlex.split(LONG[name]), folder=folder)
    assert result.exit_code in (0, 3), result.output
