"""Commands that stop at a point of their work, for tests that end or kill them just there.

Run as a program it is the process that they are forked from (as forkserver.py does it): a request
a line.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support import forkserver
from support.places import SCRIPTS

LIMIT_S = 60.0


def hold(how: str) -> None:
    """Go no further: asleep, or in a query of DuckDB that has no end."""
    from profilectl.store.scratch import connect

    if how == "query":
        connect().execute("select count(*) from range(100000000) a, range(100000) b").fetchall()
    time.sleep(600)


def stop_at(point: str, how: str, reached: str, umask: int) -> None:
    """Have this process stop where it calls a function ("module:name"): before it, or after it
    (how: after)."""
    os.umask(umask)
    module, _, name = point.partition(":")
    owner: Any = importlib.import_module(module)
    *within, last = name.split(".")
    for one in within:
        owner = getattr(owner, one)
    real = getattr(owner, last)

    def stopping(*arguments: Any, **more: Any) -> Any:
        if how == "after":
            if arguments and hasattr(
                arguments[0], "scratch"
            ):  # the log stays as it is until the end
                arguments[0].scratch.run("set checkpoint_threshold = '1TB'")
            real(*arguments, **more)
        Path(reached).touch()
        hold(how)
        return real(*arguments, **more)

    setattr(owner, last, stopping)


def serve() -> None:
    """Fork for each request; return in the child, which does as it was told."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
            continue
        child = os.fork()
        if not child:
            forkserver.begin(
                request,
                [
                    os.open(request[name], flags)
                    for name, flags in (
                        ("stdin", os.O_RDONLY),
                        ("stdout", os.O_WRONLY),
                        ("stderr", os.O_WRONLY),
                    )
                ],
            )
            if request["ignored"]:
                signal.signal(request["ignored"], signal.SIG_IGN)
            if request["point"]:
                stop_at(request["point"], request["how"], request["reached"], request["umask"])
            os.umask(request["umask"])
            return
        print(child, flush=True)  # noqa: T201
    os._exit(0)


class Command:
    """A command that goes on, or has stopped at its point."""

    def __init__(self, server: subprocess.Popen[str], pid: int, streams: Path) -> None:
        self.pid, self._server, self._streams = pid, server, streams
        self.status: int | None = None

    def reached(self) -> Command:
        """Wait until it is at its point."""
        until = time.monotonic() + LIMIT_S
        while not (self._streams / "reached").exists():
            assert time.monotonic() < until, self.said()
            assert (
                Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            ), self.said()
            time.sleep(0.01)
        return self

    def end(self, how: int = 0) -> int:
        """Send it a signal, and return how it ended."""
        if self.status is None:
            os.kill(self.pid, how)
            assert self._server.stdin
            assert self._server.stdout
            self._server.stdin.write(json.dumps({"wait": self.pid}) + "\n")
            self._server.stdin.flush()
            self.status = int(self._server.stdout.readline())
        return self.status

    def said(self) -> str:
        return (self._streams / "stdout").read_text() + (self._streams / "stderr").read_text()


@contextlib.contextmanager
def started(
    *arguments: str,
    folder: Path,
    point: str = "",
    how: str = "sleep",
    umask: int = 0o022,
    ignored: int = 0,
    **more: str,
) -> Iterator[Command]:
    """Start a command in a folder, in a process of its own. point: where it stops, "module:name";
    how: sleep, query or after;
    ignored: a signal that it is begun with ignored; more: variables of its environment."""
    server = _server()
    with tempfile.TemporaryDirectory() as name:
        streams = Path(name)
        for one in ("stdin", "stdout", "stderr"):
            (streams / one).touch()
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "environment": {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **more},
            "point": point,
            "how": how,
            "umask": umask,
            "ignored": ignored,
            **{one: str(streams / one) for one in ("stdin", "stdout", "stderr", "reached")},
        }
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        command = Command(server, int(server.stdout.readline()), streams)
        try:
            yield command
        finally:
            command.end(signal.SIGKILL)


@functools.cache
def _server() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SCRIPTS},
    )


if __name__ == "__main__":
    forkserver.prepare()
    serve()
    from profilectl.cli.app import main

    forkserver.leave(main)
