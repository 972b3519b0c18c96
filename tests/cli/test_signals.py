"""SIGTERM and a closed terminal end every command as Ctrl-C does: in words, with its status, and
with nothing left."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import pytest
from support.doors import call, made_once
from support.effort import spread_now
from support.places import ROOT
from support.stopping import Command, started

CONFIG = (
    '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.lake]\nfeed = "f"\n'
    'output = "lake"\n'
)
OPENED = "profilectl.store.catalog:version_of"
"""Where every command that opens a store comes by."""


KEY = "profiles.duckdb.suppression-key"
"""It is on the disk before a store needs it, and serves the next time."""


def make(folder: Path) -> None:
    (folder / "a.csv").write_text("customer_id,tier\nA,gold\nB,silver\n,bronze\n")
    (folder / "c.toml").write_text(CONFIG)
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 3
    assert call("config", "apply", "c.toml", folder=folder).exit_code == 0
    assert call("credentials", "new", "api.toml", "--feed", "f", folder=folder).exit_code == 0


made = made_once(make)

COMMANDS = {
    "import a.csv --feed g": "profilectl.importing.run:write",
    "--store new.duckdb import a.csv --feed g": "profilectl.importing.run:write",
    "plan a.csv --feed g -o a.plan": "os:fsync",
    "export profiles -o out.jsonl": "os:fsync",
    "export profiles -o out --partition-by tier": "profilectl.files.sinks:Parts.finish",
    "backup copy.duckdb": "profilectl.store.copies:_digest",
    "compact": "profilectl.reading.upkeep:put_in_place",
    "check": OPENED,
    "imports undo 1 --yes": "profilectl.importing.undo:undo",
    "forget --customer-id A --yes": "profilectl.privacy.rewriting:put_in_place",
    "forward --follow": OPENED,
    "push --dry-run p.jsonl": "os:fsync",
    "stream --follow": "profilectl.render.events:print_batches",
    "lookup -": "profilectl.importing.stage.source.unpacking:blocks_of",
    "show A": OPENED,
    "serve --credentials api.toml --port 0": "profilectl.server.snapshot:copy_for_reading",
}


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("how", ["sleep", "query"])
def test_every_signal_that_ends_an_import_ends_it_alike(
    number: int, status: int, how: str, tmp_path: Path
) -> None:
    folder, plain = made(tmp_path), names(tmp_path)
    with started(
        "import",
        "a.csv",
        "--feed",
        "g",
        folder=folder,
        point="profilectl.importing.run:write",
        how=how,
    ) as command:
        command.reached()
        time.sleep(0.1 if how == "query" else 0)
        assert command.end(number) == status
        assert "interrupted" in command.said()
        assert "Traceback" not in command.said()
    assert names(folder) == plain
    assert len(call("imports", "list", "--json", folder=folder).stdout.split('"import"')) == 2, (
        "the store is as before"
    )


@pytest.mark.parametrize("arguments", spread_now(COMMANDS, 3))
def test_sigterm_ends_each_command_with_143_and_nothing_left(
    arguments: str, tmp_path: Path
) -> None:
    folder, plain = made(tmp_path), names(tmp_path)
    store = (folder / "profiles.duckdb").read_bytes()
    with started(
        *arguments.split(), folder=folder, point=COMMANDS[arguments], how="query"
    ) as command:
        command.reached()
        time.sleep(0.1)
        assert command.end(signal.SIGTERM) == 143, command.said()
        assert "interrupted" in command.said()
        assert "Traceback" not in command.said()
    key = {KEY} if arguments.startswith("forget") else set()
    assert names(folder) == plain | key
    if arguments.split(maxsplit=1)[0] not in ("compact", "forget"):  # which checkpoint first
        assert (folder / "profiles.duckdb").read_bytes() == store


def test_both_signals_of_a_closed_terminal_are_one(tmp_path: Path) -> None:
    folder, plain = made(tmp_path), names(tmp_path)
    with started(
        "export",
        "profiles",
        "-o",
        "out",
        "--partition-by",
        "tier",
        folder=folder,
        point="profilectl.files.sinks:Parts.finish",
    ) as command:
        command.reached()
        for _ in range(20):
            os.kill(command.pid, signal.SIGHUP)
        assert command.end(signal.SIGHUP) in (
            129,
            -signal.SIGHUP,
        )  # which a shell tells as 129, too
    assert names(folder) == plain


def test_what_nohup_started_goes_on_when_the_terminal_is_closed(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with started(
        "stream",
        "--follow",
        folder=folder,
        point="profilectl.render.events:print_batches",
        ignored=signal.SIGHUP,
    ) as command:
        command.reached()
        os.kill(command.pid, signal.SIGHUP)
        assert command.end(signal.SIGTERM) == 143


def serving(command: Command) -> None:
    until = time.monotonic() + 60
    while "address" not in command.said():
        assert time.monotonic() < until, command.said()
        time.sleep(0.02)


@pytest.mark.parametrize("number", spread_now([signal.SIGTERM, signal.SIGHUP, signal.SIGINT], 3))
def test_a_server_finishes_what_it_has_begun_and_ends_with_0(number: int, tmp_path: Path) -> None:
    folder, plain = made(tmp_path), names(tmp_path)
    with started(
        "serve", "--credentials", "api.toml", "--port", "0", "--json", folder=folder
    ) as server:
        serving(server)
        assert server.end(number) == 0, server.said()
    assert names(folder) == plain


def test_sigterm_gives_the_terminal_back_from_browse(tmp_path: Path) -> None:
    pytest.importorskip("textual")
    folder, plain = made(tmp_path), names(tmp_path)
    child, screen = pty.fork()
    if not child:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "profilectl", "browse"])
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    said, until = b"", time.monotonic() + 60
    while b"\x1b[?1049h" not in said:
        assert time.monotonic() < until
        said += os.read(screen, 65536)
    os.kill(child, signal.SIGTERM)
    while True:
        try:
            block = os.read(screen, 65536)
        except OSError:
            break
        if not block:
            break
        said += block
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 143, said[-2000:]
    assert b"\x1b[?1049l" in said, "the screen is given back"
    assert b"Traceback" not in said, said[said.index(b"Traceback") - 300 :].decode()
    assert names(folder) == plain


def test_the_exit_statuses_are_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert "| 143 | " in text
    assert "| 129 | " in text
