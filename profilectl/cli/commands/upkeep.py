"""profilectl check, backup, restore, compact and stats: the care of a store."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli.app import app, options_of
from profilectl.cli.options import JsonOption, WaitOption, YesOption, with_options
from profilectl.cli.question import Loss, need_yes
from profilectl.codes import Exit, UsageError

if TYPE_CHECKING:
    from profilectl.files.encryption import Keys

MOST_LISTED = 20
"""The most imports that a question lists."""


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `profilectl check`."""

    repair: Annotated[
        bool, typer.Option("--repair", help="Compute again what follows from the rows.")
    ] = False
    backup: Annotated[
        Path | None,
        typer.Option(
            "--backup",
            metavar="FILE",
            help="Check instead whether a backup of this store is unchanged.",
        ),
    ] = None
    seal: Annotated[
        Path | None,
        typer.Option(
            "--seal", metavar="FILE", help="The seal of the backup (default: the file beside it)."
        ),
    ] = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("check", epilog="Example: profilectl check --repair")
@with_options(CheckOptions)
def check_command(context: typer.Context, options: CheckOptions) -> None:
    """Check the promises of the store; exit with 6 if one is broken."""
    from profilectl.reading.backups import vouch
    from profilectl.reading.upkeep import check_store
    from profilectl.render import answers, imports, screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    common = options_of(context)
    if options.seal is not None and options.backup is None:
        raise UsageError("--seal goes with --backup")
    if options.backup is not None and options.repair:
        raise UsageError(
            "--repair mends a store, no backup", "profilectl restore puts one back; repair that"
        )
    if options.backup is not None:
        with progress(works.VOUCH, quiet=common.quiet):
            vouched = vouch(common.store, options.backup, seal=options.seal, wait_s=options.wait)
        breaches = vouched.breaches
        sound = imports.vouched_for(options.backup, vouched.made_ms)
    else:
        with progress(works.CHECK, quiet=common.quiet):
            breaches = check_store(common.store, repair=options.repair, wait_s=options.wait)
        sound = f"{common.store} is sound"
    broken = sum(not breach.repaired for breach in breaches)
    if options.as_json:
        documents = [breach.as_json() for breach in breaches]
        screen.print_json({"sound": not broken, "breaches": documents})
    else:
        answers.print_breaches(breaches)
        if not common.quiet:
            promises = screen.counted(broken, "broken promise")
            checked = options.backup or common.store
            screen.notice(f"{promises} in {checked}" if broken else sound)
    raise typer.Exit(Exit.UNUSABLE if broken else Exit.DONE)


PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=(
            "A file of mode 0600 with the passphrase in its first line (default:"
            " PROFILECTL_PASSPHRASE, or a prompt)."
        ),
    ),
]


@dataclass(frozen=True, kw_only=True)
class BackupOptions:
    """The options of `profilectl backup`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file for the copy.")]
    encrypt: Annotated[
        bool,
        typer.Option(
            "--encrypt", help="Encrypt the copy with age: for --recipient, or with a passphrase."
        ),
    ] = False
    recipients: Annotated[
        list[str] | None,
        typer.Option(
            "--recipient",
            "-r",
            metavar="age1...",
            help=(
                "A key that can open the copy: as age-keygen prints it, or an SSH public key;"
                " repeatable."
            ),
        ),
    ] = None
    recipients_file: Annotated[
        Path | None,
        typer.Option("--recipients-file", metavar="FILE", help="A file with one recipient a line."),
    ] = None
    passphrase_file: PassphraseOption = None
    force: Annotated[bool, typer.Option("--force", help="Replace a file of this name.")] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("backup", epilog="Example: profilectl backup profiles.backup.duckdb")
@with_options(BackupOptions)
def backup_command(context: typer.Context, options: BackupOptions) -> None:
    """Copy the store, also while others read it.

    The copy is read back before the command ends.

    The copy is a store, unless it is encrypted. profilectl restore puts it back.

    With FILE.seal, check --backup can tell later whether the copy was changed.
    """
    from profilectl.reading.backups import backup_store
    from profilectl.render import screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    common = options_of(context)
    keys = _keys_of(options)
    with progress(works.BACKUP, quiet=common.quiet):
        backup = backup_store(
            common.store, options.file, keys=keys, force=options.force, wait_s=options.wait
        )
    key = backup.key
    if key and not common.quiet:
        advice = (
            "keep a copy of it elsewhere"
            if key.exists()
            else "it is not there: put it back, or name it with --suppression-key FILE"
        )
        screen.notice(f"not in the backup: {key}, the key that keeps erased people out; {advice}")
    if options.as_json:
        screen.print_json(
            {
                "file": str(options.file),
                "bytes": backup.bytes,
                "encrypted": keys is not None,
                "seal": str(backup.seal),
                "suppression_key": str(key) if key else None,
            }
        )
    elif not common.quiet:
        screen.notice(
            f"{common.store} is in {options.file}: {backup.bytes:,} bytes,"
            f" {'encrypted, ' if keys else ''}read back; its seal is in {backup.seal}"
        )


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """The options of `profilectl restore`."""

    backup: Annotated[
        Path, typer.Argument(metavar="BACKUP", help="A file that `profilectl backup` wrote.")
    ]
    identities: Annotated[
        list[Path] | None,
        typer.Option(
            "--identity",
            "-i",
            metavar="FILE",
            help="A file of mode 0600 with the secret half of a recipient; repeatable.",
        ),
    ] = None
    passphrase_file: PassphraseOption = None
    force: Annotated[bool, typer.Option("--force", help="Replace the store that is there.")] = False
    yes: YesOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command(
    "restore", epilog="Example: profilectl --store profiles.duckdb restore profiles.backup.duckdb"
)
@with_options(RestoreOptions)
def restore_command(context: typer.Context, options: RestoreOptions) -> None:
    """Make the store from a backup, after checking that it is sound.

    The backup may be plain or encrypted. With --force it asks before it replaces a store; without a
    terminal that needs --yes.
    """
    from profilectl.files.encryption import Keys
    from profilectl.reading.backups import is_locked, restore_store
    from profilectl.render import screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    common = options_of(context)
    locked = is_locked(options.backup)
    need_yes(options.yes or not options.force, lambda: _store_replaced(common.store, options))
    passphrase = (
        _passphrase(options.passphrase_file, again=False)
        if options.passphrase_file or (not options.identities and locked)
        else None
    )
    with progress(works.RESTORE, quiet=common.quiet):
        restored = restore_store(
            common.store,
            options.backup,
            keys=Keys((), options.identities or (), passphrase),
            force=options.force,
            wait_s=options.wait,
        )
    if options.as_json:
        screen.print_json(
            {
                "store": str(common.store),
                "bytes": restored.bytes,
                "encrypted": restored.encrypted,
                "schema_version": restored.schema_version,
                "no_key": restored.no_key or None,
                "erased_since": restored.erased_since,
            }
        )
    elif not common.quiet:
        screen.notice(
            f"{common.store} is restored from {options.backup}: {restored.bytes:,} bytes, sound"
        )
        if restored.no_key:
            screen.notice(restored.no_key)
    _warn_of_erased(restored.erased_since)


def _store_replaced(store: Path, options: RestoreOptions) -> Loss | None:
    """Return the store that a backup would replace; None: there is none."""
    from profilectl.codes import StoreUnusable
    from profilectl.importing.undo import imports_of
    from profilectl.render import screen

    if not store.is_file():
        return None
    try:
        pasts = imports_of(store, wait_s=options.wait)
        in_force = sum(past.undone_ms is None for past in pasts)
        holds = screen.counted(in_force, "import")
    except StoreUnusable:
        holds = "a store that cannot be read"
    size = screen.counted(store.stat().st_size, "byte")
    return Loss(
        show=lambda: screen.notice(f"{store} would be replaced: {holds}, {size}"),
        question="Replace it for good?",
        act=f"{store} would be replaced",
        unchanged="nothing was restored",
    )


def _warn_of_erased(erased_since: int | None) -> None:
    """Print that people who were erased after the backup are in the store again.

    erased_since: how many; None: the store before could not be read.
    """
    from profilectl.render import screen

    if erased_since is None:
        screen.notice(
            "the store that was there could not be read: people who were erased from it after"
            " the backup was made are back"
        )
    elif erased_since:
        erased = "1 person was" if erased_since == 1 else f"{erased_since:,} people were"
        screen.notice(
            f"{erased} erased after the backup was made, and in the store again: give"
            " profilectl forget again"
        )


def _keys_of(options: BackupOptions) -> Keys | None:
    """Return the keys that a backup is encrypted for; None if it is not encrypted.

    Raises UsageError for options that do not go together.
    """
    from profilectl.files.encryption import Keys, recipients_in

    recipients, recipients_file = options.recipients or [], options.recipients_file
    passphrase_file = options.passphrase_file

    for option, value in (
        ("--recipient", recipients),
        ("--recipients-file", recipients_file),
        ("--passphrase-file", passphrase_file),
    ):
        if value and not options.encrypt:
            raise UsageError(
                f"{option} goes with --encrypt", "without it the copy is not encrypted"
            )
    if not options.encrypt:
        return None
    named = [*recipients, *(recipients_in(recipients_file) if recipients_file else [])]
    if named and passphrase_file:
        raise UsageError(
            "--passphrase-file: the backup is for recipients", "give the one or the other"
        )
    return Keys(named) if named else Keys(passphrase=_passphrase(passphrase_file, again=True))


def _passphrase(file: Path | None, *, again: bool) -> str:
    """Return the passphrase from a file, the environment or a prompt.

    It is never an argument, because other users can see the command line. again: whether to ask
    for it twice. Raises UsageError if there is none.
    """
    from profilectl.files.encryption import PASSPHRASE, passphrase_in

    if file is not None:
        return passphrase_in(file)
    if os.environ.get(PASSPHRASE):
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no passphrase",
            (
                "name the file of it with --passphrase-file, or set"
                f" {PASSPHRASE}{'; or name who can open it with --recipient' if again else ''}"
            ),
        )
    passphrase: str = typer.prompt(
        "Passphrase", hide_input=True, confirmation_prompt=again, err=True
    )
    return passphrase


@app.command("compact", epilog="Example: profilectl compact --keep 2")
def compact_command(
    context: typer.Context,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            metavar="N",
            min=0,
            help="Keep the last N imports, so that they can be undone (default: history.keep).",
        ),
    ] = None,
    yes: YesOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Merge the tables of older imports, and free unused space.

    Merged imports cannot be undone any more: it asks before; without a terminal it needs --yes.
    """
    from profilectl.reading.upkeep import compact_store
    from profilectl.render import screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    options = options_of(context)
    need_yes(yes, lambda: _imports_made_final(options.store, keep, wait_s=wait))
    with progress(works.COMPACT, quiet=options.quiet):
        compacted = compact_store(options.store, keep=keep, wait_s=wait)
    if as_json:
        screen.print_json(compacted.as_json())
    elif not options.quiet:
        screen.notice(
            f"{screen.counted(compacted.segments_before, 'segment')} became {compacted.segments:,},"
            f" {compacted.bytes_before:,} bytes became {compacted.bytes:,}; "
            f"imports that can be undone: {', '.join(map(str, compacted.undoable)) or 'none'}"
        )


def _imports_made_final(store: Path, keep: int | None, *, wait_s: float) -> Loss | None:
    """Return the imports that could not be undone after a compaction; None: there are none."""
    from profilectl.reading.upkeep import made_final
    from profilectl.render import screen

    numbers = made_final(store, keep=keep, wait_s=wait_s)
    if not numbers:
        return None
    imports = screen.counted(len(numbers), "import")
    listed = ", ".join(map(str, numbers[:MOST_LISTED]))
    more = f" and {len(numbers) - MOST_LISTED:,} more" if len(numbers) > MOST_LISTED else ""
    return Loss(
        show=lambda: screen.notice(f"imports that could not be undone any more: {listed}{more}"),
        question=f"Give up the undo of {imports}?",
        act=f"{imports} could not be undone any more",
        unchanged="nothing was merged",
    )


@app.command("stats", epilog="Example: profilectl stats --json")
def stats_command(
    context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show how many profiles and values the store has, and its size."""
    from profilectl.reading.upkeep import stats
    from profilectl.render import answers, screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    common = options_of(context)
    with progress(works.STATS, quiet=common.quiet):
        figures = stats(common.store, wait_s=wait)
    if as_json:
        screen.print_json(figures)
    else:
        answers.print_stats(figures)
