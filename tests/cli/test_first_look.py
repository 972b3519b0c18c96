"""What somebody sees who tries the command for the first time, in a terminal of 80 columns."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.doors import call, run
from support.effort import spread_now
from support.places import ROOT
from typer.testing import CliRunner

from profilectl.cli.app import app
from profilectl.render.privacy import KINDS

COLUMNS = 80
PRICED = {
    "event_name": "a long name of an event",
    "custom_event_type": "other",
    "custom_attributes": {"category": "shoes", "price": "12.00"},
}
EVENTS = [{"event_type": "custom_event", "data": PRICED}]
MAIL = '[outputs.mail]\ntype = "jsonl"\npath = "m.jsonl"\n'


def on_a_terminal(folder: Path, *arguments: str) -> list[str]:
    """Run a command whose output is a terminal; return its lines."""
    reading, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "profilectl", *arguments],
        cwd=folder,
        env=environment,
        stdout=end,
        stderr=end,
    ):
        os.close(end)
        said = b""
        with contextlib.suppress(OSError):  # all has been read, and the command has ended
            while part := os.read(reading, 65536):
                said += part
    os.close(reading)
    return said.decode().replace("\r", "").splitlines()


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from walk(command.get_command(None, name), (*path, name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first_look")
    batches = [
        {
            "user_identities": {"customer_id": name},
            "user_attributes": {"tier": "gold"},
            "events": EVENTS,
        }
        for name in ("A-1", "A-2")
    ]
    (folder / "a_file_with_a_name.jsonl").write_text(
        "".join(json.dumps(batch) + "\n" for batch in batches)
    )
    for feed, protection in (("a_feed_with_a_name", "create-and-update"), ("reader", "read-only")):
        run(
            "import",
            "a_file_with_a_name.jsonl",
            "--feed",
            feed,
            "--protection",
            protection,
            folder=folder,
        )
    return folder


def test_help_breaks_lines_where_the_terminal_does_and_no_choice_within_a_word() -> None:
    for path, command in walk(typer.main.get_command(app)):
        for paragraph in (command.help or "").split("\n\n"):
            assert "\n" not in paragraph, path
        kinds = [param.type_descriptor.annotation for param in command.params]
        choices = [
            str(one.value)
            for kind in kinds
            if isinstance(kind, type) and issubclass(kind, enum.Enum)
            for one in kind
            if len(one.value) <= 20
        ]
        if choices:
            said = CliRunner(env={"COLUMNS": str(COLUMNS)}).invoke(app, [*path, "--help"]).stdout
            assert not [choice for choice in choices if choice not in said], path
            assert "300.0" not in said, path


@pytest.mark.parametrize("command", [("usage",), ("events",), ("imports", "list")])
def test_a_table_shows_all_its_columns_on_a_narrow_terminal(
    folder: Path, command: tuple[str, ...]
) -> None:
    lines = on_a_terminal(folder, *command)
    assert [line[-1] for line in lines if line.startswith("│")]
    assert all(
        line[-1] in "╮┤│╯" and len(line) <= COLUMNS for line in lines if line[0] in "╭├│╰"
    ), lines


@pytest.mark.parametrize(
    "command",
    [
        ("stream",),
        ("imports", "show", "2"),
        ("identify", "--email", "a@example.org"),
        ("explain", "rules"),
    ],
)
def test_a_terminal_gets_lines_folded_between_words(folder: Path, command: tuple[str, ...]) -> None:
    whole = call(*command, folder=folder).stdout.split()
    lines = on_a_terminal(folder, *command)
    assert all(len(line) <= COLUMNS for line in lines), lines
    words = {word for line in lines for word in line.split()}
    assert command == ("explain", "rules") or not [word for word in whole if word not in words]


def test_an_opt_out_says_whether_it_is_one(tmp_path: Path) -> None:
    batch = (
        '{"user_identities": {"customer_id": "A-1"}, "events": [{"event_type": "opt_out",'
        ' "data": {"is_opted_out": %s}}]}\n'
    )
    (tmp_path / "answers.jsonl").write_text(batch % "true" + batch % "false")
    run("import", "answers.jsonl", "--feed", "app", folder=tmp_path)
    for command in (("stream",), ("events",), ("show", "A-1")):
        said = run(*command, folder=tmp_path, COLUMNS="140").stdout
        assert "is_opted_out = true" in said, command
        assert "is_opted_out = false" in said, command


def test_a_pipe_that_is_told_its_width_loses_no_column(tmp_path: Path) -> None:
    batch = (
        '{"user_identities": {"customer_id": "A-1"}, "events": [{"event_type": "opt_out",'
        ' "data": {"is_opted_out": true}}]}\n'
    )
    (tmp_path / "answers.jsonl").write_text(batch)
    run("import", "answers.jsonl", "--feed", "app", folder=tmp_path)
    for width in ("60", "80"):
        said = run("events", folder=tmp_path, COLUMNS=width).stdout
        assert "event" in said, width
        assert "opt_out" in said, width
        assert all(len(line) <= int(width) for line in said.splitlines()), width


def test_what_is_erased_is_counted_in_words(tmp_path: Path) -> None:
    """No name of a table is told to a person."""
    schema = (ROOT / "profilectl" / "store" / "schema.sql").read_text()
    tables = re.findall(r"create table store\.(\w+) \((.*?)\n\);", schema, re.DOTALL)
    assert "sent_profile" in KINDS
    assert not [
        name
        for name, columns in tables
        if re.search(r"^\s*profile ", columns, re.MULTILINE) and name not in KINDS
    ]


def test_nothing_to_stream_is_said(tmp_path: Path) -> None:
    run("feeds", "add", "app", "--source", "sdk", folder=tmp_path)
    assert "no batches" in call("stream", folder=tmp_path).stderr
    assert call("stream", "--json", folder=tmp_path).output == ""


GOLD = '[audiences.gold]\ncriteria = "tier = 1"\n'
OF_GOLD = '[connections.x]\naudience = "gold"\noutput = "mail"\n'
OF_FEED = '[feeds.f]\nsource = "sdk"\n[connections.x]\nfeed = "f"\noutput = "mail"\n'


@pytest.mark.parametrize(("toml", "said"), [
    (GOLD + MAIL + OF_GOLD + 'identities = ["emial"]', "Try: email"),
    (GOLD + OF_GOLD, "there are no outputs yet"),
    (MAIL + OF_GOLD, "there are no audiences yet"),
    (MAIL + OF_FEED + 'filter = { user_identities = ["emial"] }', "Try: email"),
    ('[identity]\nhierarchy = ["custmer_id"]', "Try: customer_id"),
    (MAIL + 'pth = "m.jsonl"', "there is no key pth"),
])  # fmt: skip
def test_a_slip_in_the_configuration_is_answered_with_what_was_meant(
    tmp_path: Path, toml: str, said: str
) -> None:
    (tmp_path / "slip.toml").write_text(toml)
    done = run("config", "apply", "slip.toml", folder=tmp_path)
    assert done.returncode == 4
    assert said in done.stderr


def test_a_slip_in_any_is_answered_with_any(folder: Path) -> None:
    (folder / "list.txt").write_text("A-1\n")
    assert "Try: any" in run("lookup", "list.txt", "--type", "anyy", folder=folder).stderr


@pytest.mark.parametrize(("condition", "said"), spread_now([
    ("customer_id = A", "a text stands in single quotes"),
    ("consent gdpr.marketing is grantd", "consent is granted, denied, unknown, not grantd"),
    ("customer_id matches '^A.*$'", "matches takes a pattern with * and ? for the whole text"),
], 3))  # fmt: skip
def test_a_slip_in_a_condition_is_answered_with_what_to_write(
    folder: Path, condition: str, said: str
) -> None:
    done = run("search", "--where", condition, folder=folder)
    assert done.returncode == 2
    assert said in done.stderr
