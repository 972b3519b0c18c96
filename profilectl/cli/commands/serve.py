"""profilectl serve and credentials: the Profile API, the Events API and IDSync."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.options import JsonOption, WaitOption, with_options
from profilectl.codes import UsageError

credentials_app = typer.Typer(
    help="Make credentials for clients and feeds of `profilectl serve`.",
    no_args_is_help=True,
)
app.add_typer(credentials_app, name="credentials")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of `profilectl serve`."""

    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            envvar="PROFILECTL_CREDENTIALS",
            metavar="FILE",
            help="The credentials of clients and feeds: a TOML file of mode 0600.",
        ),
    ] = None
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65535, help="The port; 0 takes a free one."
        ),
    ] = 8080
    rate: Annotated[
        float,
        typer.Option(
            "--rate",
            metavar="N",
            min=0.01,
            help="Requests a second for a client whose credentials set no rate.",
        ),
    ] = 15
    feed_rate: Annotated[
        float,
        typer.Option(
            "--feed-rate",
            metavar="N",
            min=0.01,
            help="Requests a second for a feed whose credentials set no rate.",
        ),
    ] = 270
    refresh_every: Annotated[
        float,
        typer.Option(
            "--refresh-every",
            metavar="SECONDS",
            min=0,
            help="Copy a very large store at most this often.",
        ),
    ] = 0
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="Answer a request with 503 after this long.",
        ),
    ] = 60
    connections_per_peer: Annotated[
        int,
        typer.Option(
            "--connections-per-peer",
            metavar="N",
            min=1,
            help=(
                "Connections of one address, or of one /64 of IPv6; all together may have 1,000."
            ),
        ),
    ] = 200
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help=(
                "The address of a proxy before the server; the last address in its"
                " X-Forwarded-For is the client's; repeatable."
            ),
        ),
    ] = None
    most_behind: Annotated[
        float,
        typer.Option(
            "--most-behind",
            metavar="SECONDS",
            min=0,
            help="Answer 503 if an answer would be this much older than promised.",
        ),
    ] = 30
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document and exit.")
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("serve", epilog="Example: profilectl serve --credentials api.toml --port 8080")
@with_options(ServeOptions)
def serve_command(context: typer.Context, options: ServeOptions) -> None:
    """Serve the Profile API, the Events API and IDSync until Ctrl-C.

    Answers come from a snapshot, so imports can go on; their data are in the answers within a
    second.
    """
    from profilectl.render import screen
    from profilectl.server.run import Serving, openapi_document, serve

    if options.openapi:
        screen.print_json(openapi_document())
        return
    if options.credentials is None:
        raise UsageError(
            "the server needs the credentials of clients and feeds: --credentials FILE",
            "profilectl credentials new api.toml --client NAME --feed NAME makes one",
        )
    from profilectl.server.credentials import read_credentials
    from profilectl.server.peers import proxies_of

    proxies = proxies_of(options.proxy or ())
    credentials = read_credentials(options.credentials)
    common = options_of(context)

    def ready(address: str) -> None:
        if options.as_json:
            screen.print_json({"address": address})
            sys.stdout.flush()
        elif not common.quiet:
            screen.notice(f"serving {common.store} on {address}")
            if options.host not in ("127.0.0.1", "::1", "localhost"):
                screen.notice(
                    "without TLS: put a proxy before it, or others on the way read the answers"
                )

    serving = Serving(
        host=options.host,
        port=options.port,
        rate=options.rate,
        feed_rate=options.feed_rate,
        refresh_s=options.refresh_every,
        timeout_s=options.timeout,
        wait_s=options.wait,
        of_a_peer=options.connections_per_peer,
        proxies=proxies,
        most_behind_s=options.most_behind,
    )
    serve(common.store, credentials, serving, ready=ready)


@dataclass(frozen=True, kw_only=True)
class CredentialsNewOptions:
    """The options of `profilectl credentials new`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, mode 0600.")]
    client: Annotated[
        list[str] | None,
        typer.Option(
            "--client", metavar="NAME", help="A client that asks for profiles; repeatable."
        ),
    ] = None
    feed: Annotated[
        list[str] | None,
        typer.Option(
            "--feed",
            metavar="NAME",
            help="A feed that sends batches; repeatable.",
            autocompletion=complete.feeds,
        ),
    ] = None
    org: Annotated[
        str,
        typer.Option(
            "--org", metavar="NUMBER", help="The number of the organization in addresses."
        ),
    ] = "1"
    account: Annotated[
        str,
        typer.Option("--account", metavar="NUMBER", help="The number of the account in addresses."),
    ] = "1"
    of_workspace: Annotated[
        list[str] | None,
        typer.Option(
            "--of-workspace",
            metavar="NAME=NUMBER",
            help="A workspace of the store and its number; repeatable.",
        ),
    ] = None
    as_json: JsonOption = False


@credentials_app.command(
    "new", epilog="Example: profilectl credentials new api.toml --client website --feed crm"
)
@with_options(CredentialsNewOptions)
def credentials_new_command(context: typer.Context, options: CredentialsNewOptions) -> None:
    """Write a credentials file with fresh secrets. They are only in the file, not printed."""
    from profilectl.render import screen
    from profilectl.server.credentials import new_credentials

    workspaces = []
    for workspace in options.of_workspace or ():
        name, equals, number = workspace.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"--of-workspace {workspace}: must be NAME=NUMBER",
                "for example --of-workspace default=100",
            )
        workspaces.append((name, number))
    new_credentials(
        options.file,
        org=options.org,
        account=options.account,
        workspaces=workspaces,
        clients=options.client or (),
        feeds=options.feed or (),
    )
    if options.as_json:
        screen.print_json(
            {
                "file": str(options.file),
                "clients": options.client or [],
                "feeds": options.feed or [],
            }
        )
    elif not options_of(context).quiet:
        screen.notice(
            f"{options.file}: {screen.counted(len(options.client or ()), 'client')},"
            f" {screen.counted(len(options.feed or ()), 'feed')}"
        )
        if not options.client and not options.feed:
            screen.notice(
                "nobody can ask or send with it: --client NAME adds a client that asks,"
                " --feed NAME a feed that sends"
            )
