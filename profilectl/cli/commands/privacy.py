"""profilectl access, forget and privacy: what is held about a person, a person erased, requests for
both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.app import (
    JsonOption,
    ServersOption,
    WaitOption,
    app,
    file_or_stdout,
    options_of,
)
from profilectl.cli.commands.import_ import UnpackedOption
from profilectl.cli.commands.search import typed
from profilectl.cli.who import option, who_is_meant, with_identities
from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import check_apart, whole_file

FORGET = "Example: profilectl forget --customer-id JohnSmith911 --dry-run"
ACCESS = "Example: profilectl access --customer-id JohnSmith911 -o john.json --html john.html"
privacy_app = typer.Typer(
    help="Requests of people (OpenDSR): taken in, carried out, told.", no_args_is_help=True
)
app.add_typer(privacy_app, name="privacy")


def _forget(context: typer.Context, **stated: Any) -> None:
    """Erase people: profile, identities, history and what else the store keeps of them, so that
    nothing of it is left in its file.

    They stay out: rows of theirs in later imports are dropped. Nothing brings them back, also not
    imports undo.
    """
    from profilectl.privacy.forget import ForgetRequest, forget
    from profilectl.render import privacy
    from profilectl.render import screen as render_screen

    options = options_of(context)
    if stated["file"] is not None:
        if any(stated[name] is not None for name in ("mpid", "identity", "text", "pick")):
            raise UsageError(
                "--file goes without an identity and without --pick",
                "profilectl forget --file people.csv",
            )
        if not stated["file"].is_file():
            raise InputRefused(f"{stated['file']}: there is no such file")
        asked = ForgetRequest(
            file=stated["file"],
            kind=typed(stated["kind"]) if stated["kind"] else None,
            every=stated["every"],
            max_unpacked=stated["max_unpacked"],
        )
    else:
        if stated["kind"] is not None or stated["max_unpacked"] is not None:
            raise UsageError(
                f"{'--type' if stated['kind'] is not None else '--max-unpacked'} goes with --file"
            )
        asked = ForgetRequest(
            who_is_meant(stated, FORGET), pick=stated["pick"], every=stated["every"]
        )
    allow, wait_s = stated["allow_return"], stated["wait"]
    if not stated["dry_run"] and not stated["yes"] and sys.stdin.isatty() and sys.stderr.isatty():
        privacy.print_forgotten(
            forget(options.store, asked, allow_return=allow, dry_run=True, wait_s=wait_s),
            stderr=True,
        )
        if not typer.confirm("Erase this for good?", err=True):
            raise InputRefused("nothing was erased")
    done = forget(
        options.store,
        asked,
        allow_return=allow,
        dry_run=stated["dry_run"],
        wait_s=wait_s,
        servers_s=stated["wait_servers"],
    )
    if stated["as_json"]:
        render_screen.print_json(done.as_json())
    else:
        privacy.print_forgotten(done)
    if not options.quiet:
        privacy.say_not_touched(done)


app.command("forget", epilog=FORGET)(
    with_identities(
        _forget,
        [
            option(
                "file",
                Annotated[
                    Path | None,
                    typer.Option(
                        "--file",
                        metavar="FILE",
                        help="People to forget: CSV with identity columns, JSON lines, or with --type a list, one a line.",
                    ),
                ],
                None,
            ),
            option(
                "kind",
                Annotated[
                    str | None,
                    typer.Option(
                        "--type",
                        metavar="TYPE",
                        help="FILE is a list of identities of this type (mpid for MPIDs).",
                        autocompletion=complete.types,
                    ),
                ],
                None,
            ),
            option("max_unpacked", UnpackedOption, None),
            option(
                "pick",
                Annotated[
                    int | None,
                    typer.Option("--pick", metavar="N", help="Which of several profiles."),
                ],
                None,
            ),
            option(
                "every",
                Annotated[
                    bool,
                    typer.Option("--all", help="All of several profiles that have the identity."),
                ],
                False,
            ),
            option(
                "allow_return",
                Annotated[
                    bool,
                    typer.Option(
                        "--allow-return",
                        help="Let them come back with later imports; also those who were erased before.",
                    ),
                ],
                False,
            ),
            option(
                "dry_run",
                Annotated[
                    bool, typer.Option("--dry-run", help="Say what would go; change nothing.")
                ],
                False,
            ),
            option("yes", Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")], False),
            option("wait", WaitOption, 0),
            option("wait_servers", ServersOption, 30),
            option("as_json", JsonOption, False),
        ],
    )
)


def _access(context: typer.Context, **stated: Any) -> None:
    """Write down everything the store holds about one person: as JSON for a machine, as a page for
    the person.

    What forget takes away is what this shows. The files are for their owner only.
    """
    from profilectl.privacy.requests import access
    from profilectl.render import screen as render_screen
    from profilectl.rules.text.values import to_json

    options = options_of(context)
    stated["output"] = file_or_stdout(stated["output"])
    check_apart([("-o", stated["output"]), ("--html", stated["html"])], [options.store])
    found = access(
        options.store,
        who_is_meant(stated, ACCESS),
        pick=stated["pick"],
        every=stated["every"],
        wait_s=stated["wait"],
    )
    if stated["html"] is not None:
        _write(stated["html"], "--html", _page(found))
    if stated["output"] is not None:
        _write(stated["output"], "-o", to_json(found) + "\n")
    elif stated["html"] is None:
        render_screen.print_text(to_json(found) + "\n")
    if not options.quiet:
        for path in (stated["output"], stated["html"]):
            if path is not None:
                render_screen.notice(f"what is held is in {path}")


def _page(document: Any) -> str:
    from profilectl.render.access import page

    return page(document)


def _write(path: Path, flag: str, text: str) -> None:
    with whole_file(path, flag) as out:
        out.write(text.encode())


app.command("access", epilog=ACCESS)(
    with_identities(
        _access,
        [
            option(
                "output",
                Annotated[
                    Path | None,
                    typer.Option(
                        "--output", "-o", metavar="FILE", help="JSON; else (or -) standard output."
                    ),
                ],
                None,
            ),
            option(
                "html",
                Annotated[
                    Path | None,
                    typer.Option("--html", metavar="FILE", help="A page, all in one file."),
                ],
                None,
            ),
            option(
                "pick",
                Annotated[
                    int | None,
                    typer.Option("--pick", metavar="N", help="Which of several profiles."),
                ],
                None,
            ),
            option(
                "every",
                Annotated[
                    bool,
                    typer.Option("--all", help="All of several profiles that have the identity."),
                ],
                False,
            ),
            option("wait", WaitOption, 0),
        ],
    )
)

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
    """Take a request in. An erasure waits 7 days, and may be cancelled, unless it skips that."""
    from profilectl.privacy.requests import submit

    _told(
        context, [submit(options_of(context).store, file, wait_s=wait)], as_json=as_json, one=True
    )


@privacy_app.command("requests", epilog="Example: profilectl privacy requests --json")
def requests_command(
    context: typer.Context,
    group: Annotated[
        str | None, typer.Option("--group", metavar="ID", help="Only those of this group_id.")
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the requests, and how far they are."""
    from profilectl.privacy.requests import records

    _told(context, records(options_of(context).store, group=group, wait_s=wait), as_json=as_json)


@privacy_app.command(
    "show", epilog="Example: profilectl privacy show a7551968-d5d6-44b2-9831-815ac9017798"
)
def show_command(
    context: typer.Context, name: IdArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show one request."""
    from profilectl.privacy.requests import record_of

    _told(
        context,
        [record_of(options_of(context).store, name, wait_s=wait)],
        as_json=as_json,
        one=True,
    )


@privacy_app.command(
    "cancel", epilog="Example: profilectl privacy cancel a7551968-d5d6-44b2-9831-815ac9017798"
)
def cancel_command(
    context: typer.Context, name: IdArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Cancel a request that is still pending."""
    from profilectl.privacy.requests import cancel

    _told(
        context, [cancel(options_of(context).store, name, wait_s=wait)], as_json=as_json, one=True
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
            help="Where answers are written; made if there is none.",
        ),
    ] = Path("privacy-results"),
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="As if it were that time: 2026-11-23, or with a time of day.",
        ),
    ] = None,
    wait: WaitOption = 0,
    wait_servers: ServersOption = 30,
    as_json: JsonOption = False,
) -> None:
    """Carry out the requests that are due: erase people, write down what is held. Run again, it
    goes on where it stopped.
    """
    from profilectl.privacy.requests import carry_out

    _told(
        context,
        carry_out(
            options_of(context).store,
            folder,
            _answers,
            wait_s=wait,
            servers_s=wait_servers,
            now=now,
        ),
        as_json=as_json,
    )


@privacy_app.command("lift-all", epilog="Example: profilectl privacy lift-all --yes")
def lift_all_command(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Let everybody in again who was erased.

    It needs no key: for a store whose key is lost for good.

    What was erased stays erased; later imports may bring them back.
    """
    from profilectl.privacy.forget import lift_all
    from profilectl.render import screen as render_screen

    options = options_of(context)
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "lift-all lets everybody in again who was erased, and cannot be taken back",
                "where that is meant: profilectl privacy lift-all --yes",
            )
        if not typer.confirm("Let everybody in again who was erased?", err=True):
            raise InputRefused("nobody was let in")
    count = lift_all(options.store, wait_s=wait)
    if as_json:
        render_screen.print_json({"lifted": count})
    else:
        render_screen.print_line(
            f"{render_screen.counted(count, 'identity')} {'is' if count == 1 else 'are'} let in again"
        )


def _answers(folder: Path, name: str, document: Any) -> list[Path]:
    """Write the files that answer a request."""
    from profilectl.rules.text.values import to_json

    paths = [folder / f"{name}.json", folder / f"{name}.html"]
    for path, text in zip(paths, (to_json(document) + "\n", _page(document)), strict=True):
        _write(path, "-o", text)
    return paths


def _told(context: typer.Context, found: list[Any], *, as_json: bool, one: bool = False) -> None:
    from profilectl.render import privacy
    from profilectl.render import screen as render_screen

    if as_json:
        documents = [record.as_json() for record in found]
        render_screen.print_json(documents[0] if one else documents)
    else:
        privacy.print_records(found)
        if not found and not options_of(context).quiet:
            render_screen.notice("no requests")
