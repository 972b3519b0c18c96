"""profilectl check, backup, restore, compact, stats: looking after a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.codes import Exit, UsageError

if TYPE_CHECKING:
    from profilectl.files.encryption import Keys


@app.command("check", epilog="Example: profilectl check --repair")
def check_command(
    context: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what can be derived from the rows.")
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(
            "--backup",
            metavar="FILE",
            help="Say instead whether a backup of this store is as it was made.",
        ),
    ] = None,
    seal: Annotated[
        Path | None,
        typer.Option("--seal", metavar="FILE", help="Its seal; unless given, the file beside it."),
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Verify what the store promises; exit with 6 where a promise is broken."""
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    options = options_of(context)
    if seal is not None and backup is None:
        raise UsageError("--seal goes with --backup")
    if backup is not None and repair:
        raise UsageError(
            "--repair mends a store, no backup", "profilectl restore puts one back; repair that"
        )
    if backup is not None:
        from profilectl.reading.backups import vouch

        vouched = vouch(options.store, backup, seal=seal, wait_s=wait)
        found, said = vouched.breaches, render_imports.vouched_for(backup, vouched.made_ms)
    else:
        from profilectl.reading.upkeep import check_store

        found, said = (
            check_store(options.store, repair=repair, wait_s=wait),
            f"{options.store} is sound",
        )
    left = [one for one in found if not one.repaired]
    if as_json:
        render_screen.print_json({"sound": not left, "breaches": [one.as_json() for one in found]})
    else:
        for one in found:
            done = (
                " (repaired)"
                if one.repaired
                else " (check --repair mends it)"
                if one.repairable
                else ""
            )
            render_screen.print_line(f"{one.promise}: {one.message}{done}")
        if not options.quiet:
            render_screen.notice(
                said
                if not left
                else f"{render_screen.counted(len(left), 'broken promise')} in {backup or options.store}"
            )
    raise typer.Exit(Exit.UNUSABLE if left else Exit.DONE)


PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="A file of mode 0600 with the passphrase in its first line; else PROFILECTL_PASSPHRASE, or a prompt.",
    ),
]


@app.command("backup", epilog="Example: profilectl backup profiles.backup.duckdb")
def backup_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy is written.")],
    encrypt: Annotated[
        bool,
        typer.Option(
            "--encrypt", help="Encrypt the copy with age: for --recipient, or with a passphrase."
        ),
    ] = False,
    recipients: Annotated[
        list[str] | None,
        typer.Option(
            "--recipient",
            "-r",
            metavar="age1...",
            help="Who can open it, as age-keygen prints it, or an SSH public key; may be repeated.",
        ),
    ] = None,
    recipients_file: Annotated[
        Path | None,
        typer.Option("--recipients-file", metavar="FILE", help="A file with a recipient a line."),
    ] = None,
    passphrase_file: PassphraseOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Copy the store, also while others read it, and read the copy back.

    The copy is a store, unless it is encrypted.

    FILE.seal says later, with this store, whether the copy was changed (check --backup). profilectl
    restore puts a copy back.
    """
    from profilectl.reading.backups import backup_store
    from profilectl.render import screen as render_screen

    options = options_of(context)
    keys = _locking(encrypt, recipients or [], recipients_file, passphrase_file)
    made = backup_store(options.store, file, keys=keys, force=force, wait_s=wait)
    key = made.key
    if key and not options.quiet:
        where = (
            "keep a copy of it elsewhere"
            if key.exists()
            else "it is not there: put it back, or name it with --suppression-key FILE"
        )
        render_screen.notice(
            f"not in the backup: {key}, the key that keeps out whoever was erased; {where}"
        )
    if as_json:
        render_screen.print_json(
            {
                "file": str(file),
                "bytes": made.bytes,
                "encrypted": keys is not None,
                "seal": str(made.seal),
                "suppression_key": str(key) if key else None,
            }
        )
    elif not options.quiet:
        render_screen.notice(
            f"{options.store} is in {file}: {made.bytes:,} bytes, {'encrypted, ' if keys else ''}read back; its seal is in {made.seal}"
        )


@app.command(
    "restore", epilog="Example: profilectl --store profiles.duckdb restore profiles.backup.duckdb"
)
def restore_command(
    context: typer.Context,
    backup: Annotated[
        Path, typer.Argument(metavar="BACKUP", help="A file that `profilectl backup` has written.")
    ],
    identities: Annotated[
        list[Path] | None,
        typer.Option(
            "--identity",
            "-i",
            metavar="FILE",
            help="A file of mode 0600 with the secret half of a recipient; may be repeated.",
        ),
    ] = None,
    passphrase_file: PassphraseOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the store that is there.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Make the store of a backup, plain or encrypted, once it is seen to be sound."""
    from profilectl.files.encryption import Keys
    from profilectl.reading.backups import is_locked, restore_store
    from profilectl.render import screen as render_screen

    options = options_of(context)
    passphrase = (
        _passphrase(passphrase_file, again=False)
        if passphrase_file or (not identities and is_locked(backup))
        else None
    )
    done = restore_store(
        options.store, backup, keys=Keys((), identities or (), passphrase), force=force, wait_s=wait
    )
    if as_json:
        render_screen.print_json(
            {
                "store": str(options.store),
                "bytes": done.bytes,
                "encrypted": done.encrypted,
                "schema_version": done.schema_version,
                "no_key": done.no_key or None,
                "erased_since": done.erased_since,
            }
        )
    elif not options.quiet:
        render_screen.notice(
            f"{options.store} is restored from {backup}: {done.bytes:,} bytes, sound"
        )
        if done.no_key:
            render_screen.notice(done.no_key)
    if done.erased_since is None:
        render_screen.notice(
            "the store that was there could not be read: whoever was erased from it after the backup was made is back"
        )
    elif done.erased_since:
        who = "1 person was" if done.erased_since == 1 else f"{done.erased_since:,} people were"
        render_screen.notice(
            f"{who} erased after the backup was made, and in the store again: give profilectl forget again"
        )


def _locking(
    encrypt: bool, recipients: list[str], recipients_file: Path | None, passphrase_file: Path | None
) -> Keys | None:
    """Return whom a backup is encrypted for; None: it is not."""
    from profilectl.files.encryption import Keys, recipients_in

    for option, given in (
        ("--recipient", recipients),
        ("--recipients-file", recipients_file),
        ("--passphrase-file", passphrase_file),
    ):
        if given and not encrypt:
            raise UsageError(
                f"{option} goes with --encrypt", "without it the copy is not encrypted"
            )
    if not encrypt:
        return None
    named = [*recipients, *(recipients_in(recipients_file) if recipients_file else [])]
    if named and passphrase_file:
        raise UsageError(
            "--passphrase-file: the backup is for recipients", "give the one or the other"
        )
    return Keys(named) if named else Keys(passphrase=_passphrase(passphrase_file, again=True))


def _passphrase(file: Path | None, *, again: bool) -> str:
    """Return the passphrase, from where it is: never from the command line, which others see.
    again: have it typed twice.
    """
    from profilectl.files.encryption import PASSPHRASE, passphrase_in

    if file is not None:
        return passphrase_in(file)
    if os.environ.get(PASSPHRASE):
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no passphrase",
            f"name the file of it with --passphrase-file, or set {PASSPHRASE}{'; or name who can open it with --recipient' if again else ''}",
        )
    given: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=again, err=True)
    return given


@app.command("compact", epilog="Example: profilectl compact --keep 2")
def compact_command(
    context: typer.Context,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=0,
            help="How many of the last imports can still be undone; else history.keep.",
        ),
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Lay the tables of older imports together, and give back the room that is free in the file."""
    from profilectl.reading.upkeep import compact_store
    from profilectl.render import screen as render_screen

    options = options_of(context)
    done = compact_store(options.store, keep=keep, wait_s=wait)
    if as_json:
        render_screen.print_json(done.as_json())
    elif not options.quiet:
        render_screen.notice(
            f"{render_screen.counted(done.segments_before, 'segment')} became {done.segments:,}, {done.bytes_before:,} bytes became {done.bytes:,}; "
            f"imports that can be undone: {', '.join(map(str, done.undoable)) or 'none'}"
        )


@app.command("stats", epilog="Example: profilectl stats --json")
def stats_command(
    context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Say how many profiles, identities and values the store holds, and how large it is."""
    from profilectl.reading.upkeep import stats
    from profilectl.render import screen as render_screen

    found = stats(options_of(context).store, wait_s=wait)
    if as_json:
        render_screen.print_json(found)
    else:
        render_screen.print_stats(found)
