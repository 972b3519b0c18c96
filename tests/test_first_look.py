"""What somebody sees who tries the command for the first time, in a terminal of 80 columns."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from doors import call, run
from typer.testing import CliRunner

from profilectl.cli import app

COLUMNS = 80
EVENT = '{"user_identities": {"customer_id": "%s"}, "user_attributes": {"tier": "gold"}, "events": [{"event_type": "custom_event", "data": {"event_name": "a long name of an event", "custom_event_type": "other", "custom_attributes": {"category": "shoes", "price": "12.00"}}}]}\n'


def on_a_terminal(folder: Path, *arguments: str) -> list[str]:
    """Run a command whose output is a terminal; return its lines."""
    reading, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen([sys.executable, "-m", "profilectl", *arguments], cwd=folder, env=environment, stdout=end, stderr=end):
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
    (folder / "a_file_with_a_name.jsonl").write_text("".join(EVENT % name for name in ("A-1", "A-2")))
    for feed, protection in (("a_feed_with_a_name", "create-and-update"), ("reader", "read-only")):
        run("import", "a_file_with_a_name.jsonl", "--feed", feed, "--protection", protection, folder=folder)
    return folder


def test_help_breaks_lines_where_the_terminal_does_and_no_choice_within_a_word() -> None:
    for path, command in walk(typer.main.get_command(app)):
        for paragraph in (command.help or "").split("\n\n"):
            assert "\n" not in paragraph, path
        kinds = [param.type_descriptor.annotation for param in command.params]
        choices = [str(one.value) for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum) for one in kind if len(one.value) <= 20]
        if choices:
            said = CliRunner(env={"COLUMNS": str(COLUMNS)}).invoke(app, [*path, "--help"]).stdout
            assert not [choice for choice in choices if choice not in said], path
            assert "300.0" not in said, path


@pytest.mark.parametrize("command", [("usage",), ("events",), ("imports", "list")])
def test_a_table_shows_all_its_columns_on_a_narrow_terminal(folder: Path, command: tuple[str, ...]) -> None:
    lines = on_a_terminal(folder, *command)
    assert [line[-1] for line in lines if line.startswith("│")]
    assert all(line[-1] in "╮┤│╯" and len(line) <= COLUMNS for line in lines if line[0] in "╭├│╰"), lines


@pytest.mark.parametrize("command", [("stream",), ("imports", "show", "2"), ("identify", "--email", "a@example.org"), ("explain", "rules")])
def test_a_terminal_gets_lines_folded_between_words(folder: Path, command: tuple[str, ...]) -> None:
    whole = call(*command, folder=folder).stdout.split()
    lines = on_a_terminal(folder, *command)
    assert all(len(line) <= COLUMNS for line in lines), lines
    words = {word for line in lines for word in line.split()}
    assert command == ("explain", "rules") or not [word for word in whole if word not in words]

