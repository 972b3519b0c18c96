"""Starts the command in a process of its own without a new Python each time: forked from one that has it imported.

What runs is the real command line with its own arguments, folder, environment, streams and exit status. The
server holds no connection and no thread. It reads requests from its standard input, a JSON line each, and
answers with the exit status; the streams of a command are files.
"""

from __future__ import annotations

import json
import os
import sys


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
    """Import what the commands import."""
    import profilectl.cli
    from profilectl import engine, export, plan, push, read, render  # noqa: F401
    from profilectl.cli.commands import MODULES
    from profilectl.render import activity  # noqa: F401

    for name in MODULES:
        profilectl.cli.app.info.cls.get_command(_Holder(), None, name)  # type: ignore[union-attr]
    import pyarrow.parquet  # noqa: F401
    import rich.console
    import rich.table  # noqa: F401
    import typer._adapters  # noqa: F401


class _Holder:
    """Stands for the group whose commands are made: each command's file is imported, nothing is kept."""

    def __init__(self) -> None:
        self.commands: dict[str, object] = {}


if __name__ == "__main__":
    prepare()
    serve()
    from profilectl.cli import main

    main()
