"""profilectl access, forget and privacy: show or erase a person's data, on request or at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import working
from profilectl.cli.import_options import UnpackedOption
from profilectl.cli.options import (
    EveryOption,
    JsonOption,
    PickOption,
    ServersOption,
    WaitOption,
    YesOption,
    file_or_stdout,
    with_options,
)
from profilectl.cli.question import Loss, need_yes
from profilectl.cli.who import AnyPersonFlags, typed, who_is_meant
from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import check_apart, whole_file

if TYPE_CHECKING:
    from profilectl.privacy.forget import ForgetRequest
    from profilectl.privacy.requests import Record
    from profilectl.render.screen import Document

FORGET = "Example: profilectl forget --customer-id JohnSmith911 --dry-run"
ACCESS = "Example: profilectl access --customer-id JohnSmith911 -o john.json --html john.html"
privacy_app = typer.Typer(
    help="Record, carry out and show the requests of people (OpenDSR).",
    no_args_is_help=True,
)
app.add_typer(privacy_app, name="privacy")


@dataclass(frozen=True, kw_only=True)
class ForgetOptions:
    """The options of `profilectl forget`."""

    person: AnyPersonFlags
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help=(
                "The people to forget: CSV with identity columns, JSON lines, or with --type one"
                " identity a line."
            ),
        ),
    ] = None
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="FILE is a list of identities of this type (mpid for MPIDs).",
            autocompletion=complete.types,
        ),
    ] = None
    max_unpacked: UnpackedOption = None
    pick: PickOption = None
    every: EveryOption = False
    allow_return: Annotated[
        bool,
        typer.Option(
            "--allow-return",
            help="Let them come back with later imports, also people erased before.",
        ),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased; change nothing.")
    ] = False
    yes: YesOption = False
    wait: WaitOption = 0
    wait_servers: ServersOption = 30
    as_json: JsonOption = False

    def request(self) -> ForgetRequest:
        """Return the people to forget.

        Raises UsageError for options that exclude each other, InputRefused if the file is missing.
        """
        from profilectl.privacy.forget import ForgetRequest

        if self.file is None:
            if self.kind is not None or self.max_unpacked is not None:
                flag = "--type" if self.kind is not None else "--max-unpacked"
                raise UsageError(f"{flag} goes with --file")
            return ForgetRequest(
                who_is_meant(self.person, FORGET), pick=self.pick, every=self.every
            )
        alone = UsageError(
            "--file goes without an identity and without --pick",
            "profilectl forget --file people.csv",
        )
        person = self.person
        # A missing file comes before a flag beside it: scripts know that order of messages.
        if person.mpid or person.identities or person.text or self.pick is not None:
            raise alone
        if not self.file.is_file():
            raise InputRefused(f"{self.file}: there is no such file")
        if person.is_given():
            raise alone
        return ForgetRequest(
            file=self.file,
            kind=typed(self.kind) if self.kind else None,
            every=self.every,
            max_unpacked=self.max_unpacked,
        )


@app.command("forget", epilog=FORGET)
@with_options(ForgetOptions)
def forget_command(context: typer.Context, options: ForgetOptions) -> None:
    """Erase people with all their data, for good.

    Nothing of it is left in the store's file. Later imports drop their rows. Nothing brings them
    back, not even imports undo. It asks before; without a terminal it needs --yes.
    """
    from profilectl.privacy.forget import forget
    from profilectl.render import privacy, screen
    from profilectl.render.progress import works

    common = options_of(context)
    store, quiet = common.store, common.quiet
    request, allow_return = options.request(), options.allow_return
    marks = works.FORGET if options.file is None else works.FORGET_MANY

    def loss() -> Loss:
        with working(common, marks[:2]):
            would_go = forget(
                store, request, allow_return=allow_return, dry_run=True, wait_s=options.wait
            )
        profiles = screen.counted(len(would_go.erasure.profiles), "profile")
        return Loss(
            show=lambda: privacy.print_forgotten(would_go, stderr=True),
            question="Erase this for good?"
            if would_go.erasure.anything()
            else "Let them in again?",
            act=f"{profiles} would be erased for good",
            unchanged="nothing was erased",
        )

    need_yes(options.yes or options.dry_run, loss)
    with working(common, marks[:2] if options.dry_run else marks):
        erasure = forget(
            store,
            request,
            allow_return=allow_return,
            dry_run=options.dry_run,
            wait_s=options.wait,
            servers_s=options.wait_servers,
        )
    if options.as_json:
        screen.print_json(erasure.as_json())
    else:
        privacy.print_forgotten(erasure)
    if not quiet:
        privacy.say_not_touched(erasure)


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """The options of `profilectl access`."""

    person: AnyPersonFlags
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The JSON file (default, or -: standard output)."
        ),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page, as one file."),
    ] = None
    pick: PickOption = None
    every: EveryOption = False
    wait: WaitOption = 0
    as_json: Annotated[
        bool,
        typer.Option("--json", help="With -o or --html, print JSON that says what was written."),
    ] = False


@app.command("access", epilog=ACCESS)
@with_options(AccessOptions)
def access_command(context: typer.Context, options: AccessOptions) -> None:
    """Write everything the store holds about one person.

    It is JSON for a machine, or a page for the person. These are the data that forget would erase.
    Only their owner can read the files.
    """
    from profilectl.privacy.requests import access
    from profilectl.render import screen
    from profilectl.rules.text.values import to_json

    common, output = options_of(context), file_or_stdout(options.output)
    check_apart([("-o", output), ("--html", options.html)], [common.store])
    with working(common, "gathering what is held"):
        document = access(
            common.store,
            who_is_meant(options.person, ACCESS),
            pick=options.pick,
            every=options.every,
            wait_s=options.wait,
        )
    if options.html is not None:
        _write(options.html, "--html", _page(document))
    if output is not None:
        _write(output, "-o", to_json(document) + "\n")
    elif options.html is None:
        screen.print_text(to_json(document) + "\n")
    written = [path for path in (output, options.html) if path is not None]
    if options.as_json and written:
        screen.print_json({"written": [str(path) for path in written]})
    elif not common.quiet:
        for path in written:
            screen.notice(f"what is held is in {path}")


def _page(document: Document) -> str:
    from profilectl.render.access import page

    return page(document)


def _write(path: Path, flag: str, text: str) -> None:
    with whole_file(path, flag) as file:
        file.write(text.encode())


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The subject_request_id.")]


@privacy_app.command("request", epilog="Example: profilectl privacy request erasure.json")
def request_command(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.json", help="A request as OpenDSR writes it.")
    ],
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Record a request. An erasure waits 7 days, and can be cancelled, unless it skips that."""
    from profilectl.privacy.requests import submit

    _print_records(
        context, [submit(options_of(context).store, file, wait_s=wait)], as_json=as_json, alone=True
    )


@privacy_app.command("requests", epilog="Example: profilectl privacy requests --json")
def requests_command(
    context: typer.Context,
    group: Annotated[
        str | None, typer.Option("--group", metavar="ID", help="Only requests of this group_id.")
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the requests with their status."""
    from profilectl.privacy.requests import records

    _print_records(
        context, records(options_of(context).store, group=group, wait_s=wait), as_json=as_json
    )


@privacy_app.command(
    "show", epilog="Example: profilectl privacy show a7551968-d5d6-44b2-9831-815ac9017798"
)
def show_command(
    context: typer.Context, name: IdArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show one request."""
    from profilectl.privacy.requests import record_of

    _print_records(
        context,
        [record_of(options_of(context).store, name, wait_s=wait)],
        as_json=as_json,
        alone=True,
    )


@privacy_app.command(
    "cancel", epilog="Example: profilectl privacy cancel a7551968-d5d6-44b2-9831-815ac9017798"
)
def cancel_command(
    context: typer.Context, name: IdArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Cancel a request that is still pending."""
    from profilectl.privacy.requests import cancel

    _print_records(
        context, [cancel(options_of(context).store, name, wait_s=wait)], as_json=as_json, alone=True
    )


@privacy_app.command("run", epilog="Example: profilectl privacy run -o answers")
def run_command(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder for the answers; made if it does not exist.",
        ),
    ] = Path("privacy-results"),
    as_of: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="Act as if it were this time: 2026-11-23, or with a time of day.",
        ),
    ] = None,
    yes: YesOption = False,
    wait: WaitOption = 0,
    wait_servers: ServersOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Carry out the requests that are due: erase people, and write access answers.

    It asks before it erases; without a terminal that needs --yes. After an interruption, run it
    again: it goes on where it stopped.
    """
    from profilectl.privacy.requests import carry_out
    from profilectl.render.progress import works

    common = options_of(context)
    need_yes(yes, lambda: _erasures_due(common.store, as_of, wait_s=wait))
    with working(common, works.CARRY_OUT):
        carried_out = carry_out(
            common.store,
            folder,
            _answers,
            wait_s=wait,
            servers_s=wait_servers,
            now=as_of,
        )
    _print_records(context, carried_out, as_json=as_json)


def _erasures_due(store: Path, as_of: str | None, *, wait_s: float) -> Loss | None:
    """Return the requests that would erase somebody now; None: there are none."""
    from profilectl.privacy.requests import erasures_due
    from profilectl.render import screen
    from profilectl.render.words import moment

    due = erasures_due(store, now=as_of, wait_s=wait_s)
    if not due:
        return None

    def show() -> None:
        for record in due:
            received = moment(record.received_ms)
            screen.notice(f"{record.id}: an erasure, received {received}, is due")

    requests = screen.counted(len(due), "request")
    return Loss(
        show=show,
        question=f"Erase the people of {requests} for good?",
        act=f"the people of {requests} would be erased for good",
        unchanged="nothing was carried out",
    )


@privacy_app.command("lift-all", epilog="Example: profilectl privacy lift-all --yes")
def lift_all_command(
    context: typer.Context,
    yes: YesOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Let all erased people in again.

    It needs no key, so it works for a store whose key is lost for good.

    Their old data stay erased; later imports may bring the people back. It asks before; without a
    terminal it needs --yes.
    """
    from profilectl.privacy.forget import lift_all
    from profilectl.render import screen

    options = options_of(context)

    def loss() -> Loss:
        count = lift_all(options.store, dry_run=True, wait_s=wait)
        identities = screen.counted(count, "identity")
        return Loss(
            show=lambda: screen.notice(f"the list that keeps {identities} out would be removed"),
            question="Let all erased people in again?",
            act="all erased people would be let in again",
            unchanged="nobody was let in",
        )

    need_yes(yes, loss)
    count = lift_all(options.store, wait_s=wait)
    if as_json:
        screen.print_json({"lifted": count})
    else:
        screen.print_line(
            f"{screen.counted(count, 'identity')} {'is' if count == 1 else 'are'} let in again"
        )


def _answers(folder: Path, name: str, document: Document) -> list[Path]:
    """Write the files that answer a request."""
    from profilectl.rules.text.values import to_json

    paths = [folder / f"{name}.json", folder / f"{name}.html"]
    for path, text in zip(paths, (to_json(document) + "\n", _page(document)), strict=True):
        _write(path, "-o", text)
    return paths


def _print_records(
    context: typer.Context, records: list[Record], *, as_json: bool, alone: bool = False
) -> None:
    """Print requests. alone: whether JSON is the document of one request, not a list."""
    from profilectl.render import privacy, screen

    if as_json:
        documents = [record.as_json() for record in records]
        screen.print_json(documents[0] if alone else documents)
    else:
        privacy.print_records(records)
        if not records and not options_of(context).quiet:
            screen.notice("no requests")
