"""profilectl search and lookup: find people by one text, or by a file of identities."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from profilectl.cli.at_work import working
from profilectl.cli.context import Context, options_of
from profilectl.cli.import_options import DelimiterOption, EncodingOption, UnpackedOption
from profilectl.cli.options import (
    EnvironmentName,
    JsonOption,
    OnlyEnvironmentOption,
    WaitOption,
    file_or_stdout,
    form_of_lines,
    names_of,
    value_of,
    with_options,
)
from profilectl.cli.registry import argument, command, option
from profilectl.cli.who import typed
from profilectl.codes import InputRefused, NobodyFound, UsageError

LineFormat = enum.Enum("LineFormat", names_of(("jsonl", "csv")), type=str)  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options of `profilectl search`."""

    text: Annotated[
        str | None,
        argument(metavar="TEXT", help="The beginning of an identity.", show_default=False),
    ] = None
    kinds: Annotated[
        list[str] | None,
        option(
            "--type",
            metavar="TYPE",
            help="Find only identities of this type; may be given several times.",
            completion="types",
        ),
    ] = None
    exact: Annotated[bool, option("--exact", help="TEXT is the whole identity.")] = False
    substring: Annotated[bool, option("--substring", help="TEXT is any part of an identity.")] = (
        False
    )
    regex: Annotated[bool, option("--regex", help="TEXT is a regular expression.")] = False
    condition: Annotated[
        str | None,
        option(
            "--where",
            metavar="CONDITION",
            help="Find only profiles that meet it, for example \"tier = 'gold' and visits >= 3\".",
        ),
    ] = None
    environment: OnlyEnvironmentOption = None
    limit: Annotated[
        int, option("--limit", min=0, metavar="N", help="Show at most N; 0 shows all.")
    ] = 20
    wait: WaitOption = 0
    as_json: JsonOption = False

    def way(self) -> str:
        """Return the way to search for the text. Raises UsageError for two ways at once."""
        ways = {"exact": self.exact, "substring": self.substring, "regex": self.regex}
        chosen = [way for way, is_chosen in ways.items() if is_chosen]
        if len(chosen) > 1:
            raise UsageError("--exact, --substring and --regex exclude each other")
        return chosen[0] if chosen else "prefix"


@command("search", epilog="Example: profilectl search john --type email --where \"tier = 'gold'\"")
@with_options(SearchOptions)
def search_command(context: Context, options: SearchOptions) -> None:
    """Find identities by a part or a pattern, profiles by a condition.

    A text is looked for at the beginning of identities, unless an option says otherwise. Exits
    with 7 if nobody is found.
    """
    from profilectl.reading.people import search_store
    from profilectl.reading.search import SearchRequest
    from profilectl.render import answers, screen

    if options.text is not None and not options.text.strip() and not options.kinds:
        raise UsageError(  # with --type, an empty text lists all
            "TEXT is empty",
            'give the beginning of an identity; search "" --type email lists all of a type',
        )
    request = SearchRequest(
        text=options.text,
        way=options.way(),
        types=[typed(kind) for kind in options.kinds or ()],
        where=options.condition,
        environment=value_of(options.environment),
        limit=options.limit,
    )
    common = options_of(context)
    with working(common, "searching"):
        count, hits = search_store(common.store, request, wait_s=options.wait)
    if options.as_json:
        documents = ",\n ".join(hit.as_json() for hit in hits)
        screen.print_text(f'{{"count": {count}, "hits": [{documents}]}}\n')
    else:
        answers.print_hits(hits)
        if count > len(hits) or not hits:
            shown = f", the first {len(hits):,} are shown (--limit)" if hits else ""
            screen.notice(f"{count:,} found{shown}")
    if not count:
        more = options.text is not None and request.way in ("exact", "prefix")
        raise NobodyFound(
            "nobody was found", "--substring looks for any part of an identity" if more else ""
        )


@dataclass(frozen=True, kw_only=True)
class LookupOptions:
    """The options of `profilectl lookup`."""

    file: Annotated[
        str,
        argument(
            metavar="FILE",
            help=(
                "CSV with identity columns, JSON lines (.jsonl), or with --type one identity a"
                " line; - is standard input."
            ),
        ),
    ]
    kind: Annotated[
        str | None,
        option(
            "--type",
            metavar="TYPE",
            help="FILE is a list of identities of this type (mpid for MPIDs, any for any).",
            completion="types",
        ),
    ] = None
    fields: Annotated[
        list[str] | None,
        option(
            "--field",
            metavar="KEY",
            help="Add this attribute; may be given several times.",
            completion="keys",
        ),
    ] = None
    environment: Annotated[
        EnvironmentName, option("--environment", help="The environment to look in.")
    ] = EnvironmentName["production"]
    delimiter: DelimiterOption = None
    encoding: EncodingOption = None
    max_unpacked: UnpackedOption = None
    format: Annotated[
        LineFormat | None,
        option(
            "--format",
            help=(
                "jsonl (one JSON document a line) or csv (default: by the name of the output,"
                " else jsonl)."
            ),
        ),
    ] = None
    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write (default, or -: standard output).",
        ),
    ] = None
    wait: WaitOption = 0
    as_json: Annotated[bool, option("--json", help="Write JSON lines, as --format jsonl does.")] = (
        False
    )


@command("lookup", epilog="Example: profilectl lookup people.csv --field tier > found.jsonl")
@with_options(LookupOptions)
def lookup_command(context: Context, options: LookupOptions) -> None:
    """Look up many identities: a line for each line of FILE.

    The lines are in the order of the file. Each line has the MPID, or says why there is none.
    Unknown identities are no failure.
    """
    from profilectl.files.sinks import format_named
    from profilectl.files.whole_file import check_apart
    from profilectl.reading.actions import folder_for_input, look_up_file
    from profilectl.reading.lookup import Lookup
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    store, output = options_of(context).store, file_or_stdout(options.output)
    any_type = options.kind in (None, "any", "mpid")
    form = form_of_lines(
        value_of(options.format), None, format_named(output), as_json=options.as_json
    )
    if form not in LineFormat.__members__:
        raise UsageError(
            f"-o {output}: a look-up writes JSON lines or CSV", "name it .jsonl or .csv"
        )
    check_apart([("-o", output)], [options.file])
    lookup = Lookup(
        kind=options.kind if any_type else typed(str(options.kind), ("any", "mpid")),
        environment=options.environment.value,
        fields=list(dict.fromkeys(options.fields or ())),
        format=form,
        delimiter=options.delimiter,
        encoding=options.encoding,
        piped=options.file == "-",
        max_unpacked=options.max_unpacked,
    )
    with folder_for_input(store) as folder:
        path = _input_of(options.file, folder)
        among_rows = output is None and sys.stdout.isatty()
        with progress(works.LOOKUP, quiet=options_of(context).quiet or among_rows):
            _write(look_up_file(store, path, lookup, wait_s=options.wait), output, form)


def _input_of(file: str, folder: Path) -> Path:
    """Return the file to read; standard input is copied into a folder for its owner only.

    Raises InputRefused if there is no such file.
    """
    from profilectl.reading.actions import copied

    if file == "-":
        copied(sys.stdin.buffer, folder / "stdin")
        return folder / "stdin"
    path = Path(file)
    if not path.is_file():
        is_folder = path.exists()
        raise InputRefused(
            f"{file} is not a file" if is_folder else f"{file}: there is no such file"
        )
    return path


def _write(blocks: Iterable[bytes], output: Path | None, form: str) -> None:
    """Write the answers to standard output or to a file, which is packed if its name says so."""
    from profilectl.files.sinks import ENDINGS, packed
    from profilectl.files.whole_file import whole_file

    if output is None:
        for block in blocks:
            sys.stdout.buffer.write(block)
        return
    with (
        whole_file(output) as file,
        packed(file, form, ENDINGS.get(output.suffix, "none")) as stream,
    ):
        for block in blocks:
            stream.write(block)
