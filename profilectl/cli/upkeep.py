"""profilectl check, backup, compact, stats: looking after a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import JsonOption, WaitOption, app, options_of
from profilectl.codes import Exit


@app.command("check", epilog="Example: profilectl check --repair")
def check_command(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Make again what can be derived from the rows.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Verify what the store promises; exit with 6 where a promise is broken."""
    from profilectl import render
    from profilectl.upkeep import check_store

    options = options_of(context)
    found = check_store(options.store, repair=repair, wait_s=wait)
    left = [one for one in found if not one.repaired]
    if as_json:
        render.print_json({"sound": not left, "breaches": [one.as_json() for one in found]})
    else:
        for one in found:
            done = " (repaired)" if one.repaired else " (check --repair mends it)" if one.repairable else ""
            render.print_line(f"{one.promise}: {one.message}{done}")
        if not options.quiet:
            render.notice(f"{options.store} is sound" if not left else f"{render.counted(len(left), 'broken promise')} in {options.store}")
    raise typer.Exit(Exit.UNUSABLE if left else Exit.DONE)


@app.command("backup", epilog="Example: profilectl backup profiles.backup.duckdb")
def backup_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy is written.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Copy the store, also while others read it, and read the copy back. The copy is a store."""
    from profilectl import render
    from profilectl.upkeep import backup_store, suppression_key_of

    options = options_of(context)
    size = backup_store(options.store, file, force=force, wait_s=wait)
    key = suppression_key_of(options.store, wait_s=wait)
    if key and not options.quiet:
        render.notice(f"not in it: {key}, by which whoever was erased stays out; keep a copy of it apart from this one")
    if as_json:
        render.print_json({"file": str(file), "bytes": size, "suppression_key": str(key) if key else None})
    elif not options.quiet:
        render.notice(f"{options.store} is in {file}: {size:,} bytes, read back")


@app.command("compact", epilog="Example: profilectl compact --keep 2")
def compact_command(
    context: typer.Context,
    keep: Annotated[int | None, typer.Option("--keep", metavar="N", min=0, help="How many of the last imports can still be undone; else history.keep.")] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Lay the tables of older imports together, and give back the room that is free in the file."""
    from profilectl import render
    from profilectl.upkeep import compact_store

    options = options_of(context)
    done = compact_store(options.store, keep=keep, wait_s=wait)
    if as_json:
        render.print_json(done.as_json())
    elif not options.quiet:
        render.notice(
            f"{render.counted(done.segments_before, 'segment')} became {done.segments:,}, {done.bytes_before:,} bytes became {done.bytes:,}; "
            f"imports that can be undone: {', '.join(map(str, done.undoable)) or 'none'}"
        )


@app.command("stats", epilog="Example: profilectl stats --json")
def stats_command(context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """Say how many profiles, identities and values the store holds, and how large it is."""
    from profilectl import render
    from profilectl.upkeep import stats

    found = stats(options_of(context).store, wait_s=wait)
    if as_json:
        render.print_json(found)
    else:
        render.print_stats(found)
