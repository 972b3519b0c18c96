"""The doors a conformance case goes through: each returns the profiles and the reports."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.testing
from support.places import SCRIPTS, SUPPORT
from typer.testing import CliRunner, Result

from profilectl.rules.batch import Batch, Reading, read_document, read_flat
from profilectl.rules.feed import ACCOUNT, DEFAULT_WORKSPACE, Feed, workspaces_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.leaving.exported_line import founders, is_profile, read_profile
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import NotJson, held_json, parse_json, to_json
from profilectl.store.settings import settings_from

NOW_MS = 1_790_000_000_000

# CliRunner makes the whole command line anew for each call: a third of what a small case costs.
typer.testing._get_command = functools.cache(typer.testing._get_command)
typer.main.get_command = functools.cache(typer.main.get_command)


def lines_of(one: dict[str, Any], mpids: list[str]) -> list[str]:
    """Return the JSON lines of an import, $P1 and its like substituted."""
    lines = one.get("lines") or [
        json.dumps(batch, ensure_ascii=False) for batch in one.get("batches", [])
    ]
    for place, mpid in reversed(list(enumerate(mpids, start=1))):
        lines = [line.replace(f'"$P{place}"', mpid).replace(f"$P{place}", mpid) for line in lines]
    return lines


def by_interpreter(
    case: dict[str, Any], folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run a case through the interpreter."""
    config = case["given"].get("config", {})
    stated = {
        f"{section}.{name}": value
        for section, members in config.items()
        for name, value in members.items()
    }
    settings = settings_from(stated)
    interpreter = Interpreter(settings.rules, settings.priority, "secret")
    feeds = {
        name: Feed(
            name,
            one.get("source", "custom-feed"),
            one.get("protection", "create-and-update"),
            one.get("partner"),
            place,
            one.get("workspace", DEFAULT_WORKSPACE),
        )
        for place, (name, one) in enumerate(case["given"]["feeds"].items(), start=1)
    }
    reports = []
    for number, one in enumerate(case["when"]):
        mpids = [str(person.mpid) for _, person in sorted(interpreter.people.items())]
        feed = feeds.setdefault(
            one["feed"],
            Feed(
                one["feed"],
                protection=one.get("protection", "create-and-update"),
                number=len(feeds) + 1,
            ),
        )
        rows = list(
            _rows(
                one,
                mpids,
                replace(
                    settings.reading,
                    workspace=None if feed.source == ACCOUNT else feed.workspace,
                    latest_ms=latest_ms(NOW_MS + number),
                ),
            )
        )
        counts = interpreter.run(
            feed,
            one.get("protection", feed.protection),
            rows,
            NOW_MS + number,
            one.get("environment"),
        )
        reports.append(counts.as_json())
    return [
        _person(person, workspace)
        for workspace in workspaces_of(feeds.values()) or [DEFAULT_WORKSPACE]
        for _, person in sorted(interpreter.people.items())
        if person.seen_in(workspace)
    ], reports


def _rows(one: dict[str, Any], mpids: list[str], reading: Reading) -> Any:
    if "csv" in one:
        options = one.get("options", [])
        empty = options[options.index("--empty") + 1] if "--empty" in options else "ignore"
        for row in csv.DictReader(io.StringIO(one["csv"].removeprefix("\ufeff"), newline="")):
            yield _read(
                lambda row=row: read_flat(
                    {key: cell or None for key, cell in row.items()}, reading, empty=empty
                )
            )
    else:
        read = [_several(line, reading) for line in lines_of(one, mpids)]
        needed = iter(founders([rows for rows in read if len(rows) > 1]))
        for rows in read:
            yield from rows if len(rows) == 1 or next(needed) else rows[1:]


def _several(line: str, reading: Reading) -> list[Batch | UnusableRow]:
    """Read a line: a row, or those of an exported profile."""
    with contextlib.suppress(NotJson):
        if is_profile(document := parse_json(line)):
            try:
                return [*read_profile(document, reading)]
            except UnusableRow as error:
                return [error]
    return [_read(lambda: read_document(parse_json(line), reading))]


def _read(reader: Any) -> Batch | UnusableRow:
    try:
        found: Batch = reader()
    except UnusableRow as error:
        return error
    except NotJson as error:
        return UnusableRow(error.code, error.detail)
    return found


def _person(person: Any, workspace: str) -> dict[str, Any]:
    cells = person.attributes(Feed("", workspace=workspace))
    identities: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
    for one, _ in person.identities:
        identities[BY_NAME[one.type].device].setdefault(one.type, []).append(one.value)
    return {
        "mpid": str(person.mpid),
        "environment": person.environment,
        "workspace": workspace,
        "first_seen_ms": person.first_seen_ms,
        "last_seen_ms": person.last_seen_ms,
        "user_identities": dict(sorted(identities[False].items())),
        "device_identities": dict(sorted(identities[True].items())),
        "user_attributes": {key: held_json(cell.held) for key, cell in sorted(cells.items())},
        "feeds": {key: cell.feed.name for key, cell in cells.items()},
    }


def run(
    *arguments: str, folder: Path, stdin: bytes | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the real command in a folder, in a process of its own.

    more: variables of its environment.
    """
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **more}
    environment.pop("PROFILECTL_STORE", None)
    if any(name.startswith(("PYTHON", "LC_", "LANG")) for name in more):  # read when Python starts
        return subprocess.run(
            [sys.executable, "-m", "profilectl", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=120,
            input=stdin.decode() if stdin else None,
        )
    return _server().run(arguments, folder, environment, stdin)


def run_on(
    terminal: str, arguments: Sequence[str], *, folder: Path, environment: dict[str, str]
) -> int:
    """Run the real command in a folder with a terminal for its streams; return its exit status."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), Path(terminal))
    return _server().run_on(streams, arguments, folder=folder, environment=environment)


class _Server:
    """The process from which commands are forked (support/forkserver.py, or another).

    more: variables of its environment.
    """

    def __init__(self, script: str = "forkserver.py", **more: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SCRIPTS, **more},
        )
        self._lock = threading.Lock()

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: dict[str, str],
        stdin: bytes | None,
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as streams:
            paths = {name: Path(streams) / name for name in ("stdin", "stdout", "stderr")}
            for path in paths.values():
                path.write_bytes(b"")
            paths["stdin"].write_bytes(stdin or b"")
            status = self.run_on(paths, arguments, folder=folder, environment=environment)
            return subprocess.CompletedProcess(
                list(arguments),
                status,
                paths["stdout"].read_text("utf-8"),
                paths["stderr"].read_text("utf-8"),
            )

    def run_on(
        self,
        streams: Mapping[str, Path],
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: dict[str, str],
    ) -> int:
        """Run a command whose standard streams are these files, and return its exit status."""
        assert self._process.stdin
        assert self._process.stdout
        request = {
            "arguments": [str(one) for one in arguments],
            "folder": str(folder),
            "environment": environment,
            **{name: str(path) for name, path in streams.items()},
        }
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            child = int(self._process.stdout.readline())
            killer = threading.Timer(120, os.kill, (child, signal.SIGKILL))
            killer.start()
            try:
                return int(self._process.stdout.readline())
            finally:
                killer.cancel()


@functools.cache
def _server() -> _Server:
    return _Server()


def made_once(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Return what puts into a folder what somebody made, once a process: a store costs more to make
    than to copy.
    """

    @functools.cache
    def made() -> dict[str, tuple[bytes, int]]:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            return {
                file.relative_to(folder).as_posix(): (file.read_bytes(), file.stat().st_mode)
                for file in Path(folder).rglob("*")
                if file.is_file()
            }

    def copied(folder: Path) -> Path:
        for name, (content, mode) in made().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            (folder / name).chmod(mode)
        return folder

    return copied


def call(*arguments: str, folder: Path) -> Result:
    """Call the command in this process: the same command line without the price of a new Python."""
    from profilectl.cli.app import app

    with contextlib.chdir(folder):
        try:
            return CliRunner().invoke(app, list(arguments))
        finally:
            _forget_choices()


def run_here(
    *arguments: str, folder: Path, stdin: bytes | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, as the program would: its words and its exit status, without
    the price of a fork.

    That price is most of what a small command costs. Of tests about processes, signals or locks it
    would say nothing: they take `run`. tests/cli/test_doors.py holds the two against each other.
    """
    from profilectl.cli.app import main

    assert threading.current_thread() is threading.main_thread()
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **more}
    environment.pop("PROFILECTL_STORE", None)
    with (
        tempfile.TemporaryDirectory() as ours,
        contextlib.chdir(folder),
        warnings.catch_warnings(),
        pytest.MonkeyPatch.context() as patch,
    ):
        warnings.simplefilter("default")
        paths = [Path(ours) / name for name in ("stdin", "stdout", "stderr")]
        paths[0].write_bytes(stdin or b"")
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            if os.environ.get(name) != value:
                patch.setenv(name, value)
        patch.setattr(sys, "argv", ["profilectl", *map(str, arguments)])
        # the name of a program that is run as a module
        patch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        status: object = 0
        with _streams_at(paths):
            try:
                main()
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(
            list(arguments),
            int(status or 0),
            paths[1].read_text("utf-8"),
            paths[2].read_text("utf-8"),
        )  # type: ignore[call-overload]


@contextlib.contextmanager
def _streams_at(paths: list[Path]) -> Iterator[None]:
    """Let the standard streams be files for a while, also for what writes past Python."""
    before, streams = [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    umask = os.umask(0o077)
    try:
        for number, path in enumerate(paths):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdin, sys.stdout, sys.stderr = (
            open(  # noqa: SIM115  the streams of a command that ends its process
                number,
                "w" if number else "r",
                encoding="utf-8",
                errors="backslashreplace" if number == 2 else "strict",
                closefd=False,
            )
            for number in range(3)
        )
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, stream in enumerate(before):
            os.dup2(stream, number)
            os.close(stream)
        os.umask(umask)
        _forget_choices()


def _forget_choices() -> None:
    """Undo what a command chose for its own process, which would have ended."""
    from profilectl.files.suppression_key import choose_key
    from profilectl.rules.workspace import choose_workspace

    choose_workspace(None)
    choose_key(None)


def by_command_line(
    case: dict[str, Any], folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run a case through the command line: config apply, imports, export."""
    (folder / "profiles.duckdb").write_bytes(_configured(_toml(case["given"])))
    reports = []
    for number, one in enumerate(case["when"]):
        name = f"{number}.{'csv' if 'csv' in one else 'jsonl'}"
        mpids = _mpids(folder) if number and "$P" in json.dumps(one) else []
        text = one["csv"] if "csv" in one else "".join(line + "\n" for line in lines_of(one, mpids))
        (folder / name).write_bytes(text.encode())
        options = [f"--{key}={one[key]}" for key in ("protection", "environment") if key in one]
        done = call(
            "import",
            name,
            "--feed",
            one["feed"],
            "--json",
            "--again",
            *options,
            *one.get("options", ()),
            folder=folder,
        )
        assert done.exit_code in (0, 3), done.output
        reports.append(json.loads(done.stdout))
    lines = []
    for workspace in workspaces_of(
        Feed(name, one.get("source", ""), workspace=one.get("workspace", DEFAULT_WORKSPACE))
        for name, one in case["given"]["feeds"].items()
    ) or [DEFAULT_WORKSPACE]:
        chosen = (
            ()
            if workspace == DEFAULT_WORKSPACE and "workspace" not in json.dumps(case["given"])
            else ("--workspace", workspace)
        )
        done = call(*chosen, "export", "profiles", "--provenance", folder=folder)
        assert done.exit_code == 0, done.output
        lines += done.stdout.splitlines()
    return [_exported(line) for line in lines], reports


@functools.cache
def _configured(config: str) -> bytes:
    """Return an empty store with a configuration; many cases have the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "case.toml").write_text(config, encoding="utf-8")
        done = call("config", "apply", "case.toml", folder=folder)
        assert done.exit_code == 0, done.output
        return (folder / "profiles.duckdb").read_bytes()


def _mpids(folder: Path) -> list[str]:
    return [
        json.loads(line)["mpid"]
        for line in call("export", "profiles", folder=folder).stdout.splitlines()
    ]


def _exported(line: str) -> dict[str, Any]:
    profile: Any = parse_json(line)
    return {
        "mpid": profile["mpid"],
        "environment": profile["environment"],
        "workspace": profile["workspace"],
        "first_seen_ms": int(profile["first_seen_ms"]),
        "last_seen_ms": int(profile["last_seen_ms"]),
        "user_identities": dict(sorted(profile["user_identities"].items())),
        "device_identities": dict(sorted(profile["device_identities"].items())),
        "user_attributes": {
            key: to_json(value) for key, value in sorted(profile["user_attributes"].items())
        },
        "feeds": {key: one["feed"] for key, one in profile["provenance"].items()},
    }


def _toml(given: dict[str, Any]) -> str:
    lines = []
    for section, members in given.get("config", {}).items():
        lines += [
            f"[{section}]",
            *(f"{name} = {json.dumps(value)}" for name, value in members.items()),
        ]
    for name, feed in given["feeds"].items():
        lines += [
            f"[feeds.{json.dumps(name)}]",
            *(f"{key} = {json.dumps(value)}" for key, value in feed.items()),
        ]
    return "\n".join(lines) + "\n"
