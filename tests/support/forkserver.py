"""Starts the command in a process of its own without a new Python each time: forked from one that
has it imported.

What runs is the real command line with its own arguments, folder, environment, streams and exit
status. The server holds no connection and no thread. It reads requests from its standard input, a
JSON line each, and answers with the exit status; the streams of a command are files. Or it listens
at a socket, for shells.

A small command takes a fifth of a second, most of which would be Python's own: making Typer's
commands (made once, here), collecting garbage and taking modules apart at the end (pages that would
have to be copied first).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any


def serve() -> None:
    """Fork for each request; return in the child, with everything in place for the command to
    begin.
    """
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            streams = [
                os.open(path, flags)
                for path, flags in (
                    (request["stdin"], os.O_RDONLY),
                    (request["stdout"], os.O_WRONLY),
                    (request["stderr"], os.O_WRONLY),
                )
            ]
            begin(request, streams)
            return
        sys.__stdout__.write(f"{child}\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        _, status = os.waitpid(child, 0)
        sys.__stdout__.write(f"{os.waitstatus_to_exitcode(status)}\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    os._exit(0)


def _end_of(child: int, caller: socket.socket) -> int:
    """Return how a command ended; it is told to end where its caller has."""
    told = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        left = not told and bool(select.select([caller], [], [], 0.002)[0]) and not caller.recv(1)
        if left:
            told = True
            os.kill(child, signal.SIGTERM)
        elif told:
            time.sleep(0.01)


def serve_at(path: str) -> None:
    """Fork for each caller of a socket (CALLER), which hands over its own streams; return in the
    child. Ends with its standard input.
    """
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(16)
        sys.__stdout__.write("ready\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while listening in select.select([listening, 0], [], [])[0]:
            caller, _ = listening.accept()
            # One process waits, one works: the commands of a pipe run beside one another.
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                text, streams, _, _ = socket.recv_fds(caller, 1 << 20, 3)
                child = os.fork()
                if not child:
                    caller.close()
                    begin(json.loads(text), streams)
                    return
                nowhere = os.open(os.devnull, os.O_RDWR)
                # else whoever waits for the end of the server would wait for this as well
                for one in (0, 1):
                    os.dup2(nowhere, one)
                for one in streams:
                    os.close(one)
                status = _end_of(child, caller)
                with contextlib.suppress(OSError):
                    caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                os._exit(0)
            caller.close()
    os._exit(0)


CALLER = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
    for one in (0, 1):
        os.close(one)
    status = int(server.recv(16))
os._exit(status if status >= 0 else 128 - status)
"""
"""The command as a program that has its work done by a server: for shells."""


def begin(request: dict[str, Any], streams: list[int]) -> None:
    """Make this process what a request asks for: its folder, environment, streams and arguments."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if os.isatty(1):  # as Python does when it starts at a terminal
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = ["profilectl", *request["arguments"]]


def prepare() -> None:
    """Import what the commands import, and make what Typer makes of them."""
    import typer.main

    import profilectl
    from profilectl.cli.app import app
    from profilectl.cli.command_list import MODULES

    for module in pkgutil.walk_packages(profilectl.__path__, "profilectl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    command = typer.main.get_command(app)
    for name in MODULES:
        command.get_command(None, name)  # type: ignore[attr-defined]
    for outside in (
        "pyarrow.parquet",
        "rich.console",
        "rich.progress",
        "rich.table",
        "typer._adapters",
        "typer.rich_utils",
    ):
        importlib.import_module(outside)
    gc.collect()
    gc.freeze()


def leave(command: object) -> None:
    """Run the command and end as Python does, but for taking everything apart."""
    status: object = 0
    try:
        command()  # type: ignore[operator]
    except SystemExit as left:
        status = left.code
    except BaseException:  # noqa: BLE001 (Python prints it and ends)
        traceback.print_exc()
        status = 1
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)  # noqa: T201
        status = 1
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    prepare()
    serve_at(sys.argv[1]) if sys.argv[1:] else serve()
    from profilectl.cli.app import main

    leave(main)
