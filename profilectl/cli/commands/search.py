"""profilectl search and lookup: who is it, for one text and for a file of them."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, file_or_stdout, options_of
from profilectl.cli.commands.import_ import DelimiterOption, EncodingOption, UnpackedOption
from profilectl.codes import InputRefused, NobodyFound, UsageError
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import no_type, type_named

EnvironmentName = enum.Enum("EnvironmentName", {name: name for name in ENVIRONMENTS}, type=str)  # type: ignore[misc]
LineFormat = enum.Enum("LineFormat", {name: name for name in ("jsonl", "csv")}, type=str)  # type: ignore[misc]


@app.command(
    "search", epilog="Example: profilectl search john --type email --where \"tier = 'gold'\""
)
def search_command(
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="How an identity begins.", show_default=False),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only identities of this type; may be given several times.",
            autocompletion=complete.types,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="The whole identity.")] = False,
    substring: Annotated[bool, typer.Option("--substring", help="Any part of it.")] = False,
    regex: Annotated[bool, typer.Option("--regex", help="TEXT is a regular expression.")] = False,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Only profiles that meet it, for example \"tier = 'gold' and visits >= 3\".",
        ),
    ] = None,
    environment: Annotated[
        EnvironmentName | None, typer.Option("--environment", help="Only this one.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="So many; 0 for all.")
    ] = 20,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find people: identities by how they begin, by any part or a pattern; profiles by a condition.

    Exits with 7 where nobody is found.
    """
    from profilectl.reading.actions import search_store
    from profilectl.reading.search import SearchRequest
    from profilectl.render import screen as render_screen

    if exact + substring + regex > 1:
        raise UsageError("--exact, --substring and --regex exclude each other")
    if text is not None and not text.strip() and not kinds:  # of a type it lists all
        raise UsageError(
            "TEXT is empty",
            'say how an identity begins; search "" --type email lists all of a type',
        )
    way = "exact" if exact else "substring" if substring else "regex" if regex else "prefix"
    asked = SearchRequest(
        text,
        way,
        [typed(one) for one in kinds or ()],
        where,
        environment.value if environment else None,
        limit,
    )
    count, hits = search_store(options_of(context).store, asked, wait_s=wait)
    if as_json:
        render_screen.print_text(
            f'{{"count": {count}, "hits": [' + ",\n ".join(one.as_json() for one in hits) + "]}\n"
        )
    else:
        render_screen.print_hits(hits)
        if count > len(hits) or not hits:
            render_screen.notice(
                f"{count:,} found"
                + (f", the first {len(hits):,} are shown (--limit)" if hits else "")
            )
    if not count:
        raise NobodyFound("nobody was found")


def typed(name: str, more: Sequence[str] = ()) -> str:
    """Return the identity type that an option names; more: what may stand there too. Raises
    UsageError for none.
    """
    kind = type_named(name)
    if kind is None:
        raise no_type(name, "--type", more)
    return kind.name


@app.command("lookup", epilog="Example: profilectl lookup people.csv --field tier > found.jsonl")
def lookup_command(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV with identity columns, JSON lines (.jsonl), or with --type a list, one a line; - for standard input.",
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="FILE is a list of identities of this type (mpid for MPIDs, any for any).",
            autocompletion=complete.types,
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="KEY",
            help="Tell this attribute too; may be given several times.",
            autocompletion=complete.keys,
        ),
    ] = None,
    environment: Annotated[
        EnvironmentName, typer.Option("--environment", help="Where to look; nowhere else.")
    ] = EnvironmentName["production"],
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    max_unpacked: UnpackedOption = None,
    format: Annotated[
        LineFormat | None,
        typer.Option(
            "--format",
            help="jsonl (default): a JSON document a line; or csv; else by the name of the output.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Else (or -) standard output."),
    ] = None,
    wait: WaitOption = 0,
) -> None:
    """Look up many identities at once: a line for each line of FILE, in its order.

    Each says the MPID, or why there is none. Unknown identities are no failure.
    """
    from profilectl.files.sinks import ENDINGS, format_named, packed
    from profilectl.files.whole_file import check_apart, whole_file
    from profilectl.reading.actions import copied, folder_for_input, look_up_file
    from profilectl.reading.lookup import Lookup

    output = file_or_stdout(output)
    named = kind if kind in (None, "any", "mpid") else typed(str(kind), ("any", "mpid"))
    written = format.value if format else format_named(output)
    if written not in LineFormat.__members__:
        raise UsageError(
            f"-o {output}: a look-up writes JSON lines or CSV", "name it .jsonl or .csv"
        )
    check_apart([("-o", output)], [file])
    wanted = Lookup(
        named,
        environment.value,
        list(dict.fromkeys(fields or ())),
        written,
        delimiter,
        encoding,
        piped=file == "-",
        max_unpacked=max_unpacked,
    )
    with folder_for_input(options_of(context).store) as folder:
        path = Path(file)
        if file == "-":
            path = folder / "stdin"
            copied(sys.stdin.buffer, path)  # in a folder for its owner only
        elif not path.is_file():
            raise InputRefused(
                f"{file}: there is no such file" if not path.exists() else f"{file} is not a file"
            )
        blocks = look_up_file(options_of(context).store, path, wanted, wait_s=wait)
        if output is None:
            for block in blocks:
                sys.stdout.buffer.write(block)
        else:
            with (
                whole_file(output) as out,
                packed(out, written, ENDINGS.get(output.suffix, "none")) as stream,
            ):
                for block in blocks:
                    stream.write(block)
