"""profilectl serve, credentials: the Profile API, the Events API and IDSync over the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.codes import UsageError

credentials_app = typer.Typer(
    help="Who may ask `profilectl serve`, and who may send.", no_args_is_help=True
)
app.add_typer(credentials_app, name="credentials")


@app.command("serve", epilog="Example: profilectl serve --credentials api.toml --port 8080")
def serve_command(
    context: typer.Context,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            envvar="PROFILECTL_CREDENTIALS",
            metavar="FILE",
            help="Who may ask and who may send: TOML, mode 0600.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65535, help="The port; 0: one that is free."
        ),
    ] = 8080,
    rate: Annotated[
        float,
        typer.Option(
            "--rate",
            metavar="N",
            min=0.01,
            help="Requests a second of a client whose credentials state none.",
        ),
    ] = 15,
    feed_rate: Annotated[
        float,
        typer.Option(
            "--feed-rate",
            metavar="N",
            min=0.01,
            help="Requests a second of a feed whose credentials state none.",
        ),
    ] = 270,
    refresh_every: Annotated[
        float,
        typer.Option(
            "--refresh-every",
            metavar="SECONDS",
            min=0,
            help="How often the store is copied at most, for a very large one.",
        ),
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="After so long a request is answered with 503.",
        ),
    ] = 60,
    connections_per_peer: Annotated[
        int,
        typer.Option(
            "--connections-per-peer",
            metavar="N",
            min=1,
            help="Connections of one address, or of one /64 of IPv6; of all together there are 1,000.",
        ),
    ] = 200,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            metavar="ADDRESS",
            help="The address of a proxy before the server: who asks is the last address in its X-Forwarded-For; repeatable.",
        ),
    ] = None,
    most_behind: Annotated[
        float,
        typer.Option(
            "--most-behind",
            metavar="SECONDS",
            min=0,
            help="How much older than promised answers may be; beyond that, 503.",
        ),
    ] = 30,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document and end.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Serve the Profile API and IDSync, and take batches in by the Events API, until Ctrl-C.

    Answers come from a snapshot: imports go on meanwhile, and what they bring is there within a
    second.
    """
    from profilectl.render import screen as render_screen
    from profilectl.server.run import Serving, openapi_document, serve

    if openapi:
        render_screen.print_json(openapi_document())
        return
    if credentials is None:
        raise UsageError(
            "name who may ask and send: --credentials FILE",
            "profilectl credentials new api.toml --client NAME --feed NAME makes one",
        )
    from profilectl.server.credentials import read_credentials
    from profilectl.server.peers import proxies_of

    proxies = proxies_of(proxy or ())
    known = read_credentials(credentials)
    options = options_of(context)

    def ready(address: str) -> None:
        if as_json:
            render_screen.print_json({"address": address})
            sys.stdout.flush()
        elif not options.quiet:
            render_screen.notice(f"serving {options.store} on {address}")
            if host not in ("127.0.0.1", "::1", "localhost"):
                render_screen.notice(
                    "without TLS: put a proxy before it, or others on the way read what is told"
                )

    asked = Serving(
        host,
        port,
        rate,
        feed_rate,
        refresh_every,
        timeout,
        wait,
        connections_per_peer,
        proxies,
        most_behind,
    )
    serve(options.store, known, asked, ready)


@credentials_app.command(
    "new", epilog="Example: profilectl credentials new api.toml --client website --feed crm"
)
def credentials_new_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it is written, mode 0600.")],
    client: Annotated[
        list[str] | None,
        typer.Option(
            "--client", metavar="NAME", help="Somebody who asks for profiles; repeatable."
        ),
    ] = None,
    feed: Annotated[
        list[str] | None,
        typer.Option("--feed", metavar="NAME", help="A feed that sends batches; repeatable."),
    ] = None,
    org: Annotated[
        str,
        typer.Option(
            "--org", metavar="NUMBER", help="The organization, as it stands in addresses."
        ),
    ] = "1",
    account: Annotated[
        str, typer.Option("--account", metavar="NUMBER", help="The account, likewise.")
    ] = "1",
    of_workspace: Annotated[
        list[str] | None,
        typer.Option(
            "--of-workspace",
            metavar="NAME=NUMBER",
            help="A workspace of the store, and its number; repeatable.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a credentials file with fresh secrets. It is never printed: open it to read them."""
    from profilectl.render import screen as render_screen
    from profilectl.server.credentials import new_credentials

    workspaces = []
    for stated in of_workspace or ():
        name, equals, number = stated.partition("=")
        if not equals or not name.strip():
            raise UsageError(
                f"--of-workspace {stated}: must be NAME=NUMBER",
                "for example --of-workspace default=100",
            )
        workspaces.append((name, number))
    new_credentials(
        file,
        org=org,
        account=account,
        workspaces=workspaces,
        clients=client or (),
        feeds=feed or (),
    )
    if as_json:
        render_screen.print_json({"file": str(file), "clients": client or [], "feeds": feed or []})
    elif not options_of(context).quiet:
        render_screen.notice(
            f"{file}: {render_screen.counted(len(client or ()), 'client')}, {render_screen.counted(len(feed or ()), 'feed')}"
        )
        if not client and not feed:
            render_screen.notice(
                "nobody can ask or send with it: --client NAME is somebody who asks, --feed NAME a feed that sends"
            )
