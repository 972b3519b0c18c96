"""Starts the command in a process of its own without a new Python each time: forked from one that has it imported.

What runs is the real command line with its own arguments, folder, environment, streams and exit status. The
server holds no connection and no thread. It reads requests from its standard input, a JSON line each, and
answers with the exit status; the streams of a command are files.

A small command takes a fifth of a second, most of which would be Python's own: making Typer's commands (made
once, here), collecting garbage and taking modules apart at the end (pages that would have to be copied first).
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import sys
import traceback


def serve() -> None:
    """Fork for each request; return in the child, with everything in place for the command to begin."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            for number, (path, flags) in enumerate(
                ((request["stdin"], os.O_RDONLY), (request["stdout"], os.O_WRONLY), (request["stderr"], os.O_WRONLY))
            ):
                opened = os.open(path, flags)
                os.dup2(opened, number)
                os.close(opened)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.argv = ["profilectl", *request["arguments"]]
            return
        sys.__stdout__.write(f"{child}\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
        _, status = os.waitpid(child, 0)
        sys.__stdout__.write(f"{os.waitstatus_to_exitcode(status)}\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    os._exit(0)


def prepare() -> None:
    """Import what the commands import, and make what Typer makes of them."""
    import typer.main

    import profilectl
    from profilectl.cli import app
    from profilectl.cli.commands import MODULES

    for module in pkgutil.walk_packages(profilectl.__path__, "profilectl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    command = typer.main.get_command(app)
    for name in MODULES:
        command.get_command(None, name)  # type: ignore[attr-defined]
    import pyarrow.parquet
    import rich.console
    import rich.progress
    import rich.table
    import typer._adapters
    import typer.rich_utils  # noqa: F401

    gc.collect()
    gc.freeze()


def leave(command: object) -> None:
    """Run the command and end as Python does, but for taking everything apart."""
    status: object = 0
    try:
        command()  # type: ignore[operator]
    except SystemExit as left:
        status = left.code
    except BaseException:
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
    serve()
    from profilectl.cli import main

    leave(main)
