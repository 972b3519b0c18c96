"""profilectl columns: what the columns of files become, before anything is imported."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from profilectl.cli.at_work import working
from profilectl.cli.context import Context, options_of
from profilectl.cli.import_options import (
    BinaryOption,
    DelimiterOption,
    EncodingErrorsOption,
    EncodingOption,
    EscapeOption,
    FilesArgument,
    FormatOption,
    ManifestOption,
    MapOption,
    NullOption,
    PathColumnsOption,
    QuoteOption,
    SkipLinesOption,
    UnknownOption,
    UnpackedOption,
    stated_fields,
)
from profilectl.cli.options import JsonOption, value_of, with_options
from profilectl.cli.registry import command, option


@dataclass(frozen=True, kw_only=True)
class ColumnsOptions:
    """The options of `profilectl columns`."""

    files: FilesArgument
    feed: Annotated[
        str | None,
        option(
            "--feed",
            help="Read the files as this feed remembers; what is typed here wins.",
            completion="feeds",
        ),
    ] = None
    format: FormatOption = None
    manifest: ManifestOption = None
    mapped: MapOption = None
    delimiter: DelimiterOption = None
    encoding: EncodingOption = None
    null: NullOption = None
    quote: QuoteOption = None
    escape: EscapeOption = None
    skip_lines: SkipLinesOption = None
    unknown: UnknownOption = None
    encoding_errors: EncodingErrorsOption = None
    max_unpacked: UnpackedOption = None
    path_columns: PathColumnsOption = False
    binary_as_text: BinaryOption = False
    as_json: JsonOption = False


@command("columns", epilog="Example: profilectl columns legacy.csv")
@with_options(ColumnsOptions)
def columns_command(context: Context, options: ColumnsOptions) -> None:
    """Show what the columns of files would become, and first values.

    Where a column may be an identity or an attribute that the platform knows, it says the --map
    that makes it one. Nothing is imported, and without --feed no store is needed.
    """
    from profilectl.importing.columns.run import as_the_feed_reads, columns_of
    from profilectl.importing.request import ImportRequest
    from profilectl.render import columns, screen

    common = options_of(context)
    request = ImportRequest(
        paths=options.files,
        feed=options.feed or "",
        stated=stated_fields(options),
        format=value_of(options.format),
        manifest=options.manifest,
        mapped=options.mapped or (),
        delimiter=options.delimiter,
        encoding=options.encoding,
        nulls=options.null or (),
        quote=options.quote,
        escape=options.escape,
        skip_lines=options.skip_lines or 0,
        unknown=value_of(options.unknown) or "refuse",
        encoding_errors=value_of(options.encoding_errors) or "refuse",
        max_unpacked=options.max_unpacked,
        path_columns=options.path_columns,
        binary_as_text=options.binary_as_text,
        stdin=sys.stdin.buffer,
    )
    request = as_the_feed_reads(common.store, request)
    if request.taken and not common.quiet:
        screen.notice(f"as the feed {request.feed} is read: {', '.join(request.taken)}")
    with working(common, "reading the files"):
        tables = columns_of(common.store.absolute().parent, request)
    if options.as_json:
        screen.print_json({"files": [table.as_json() for table in tables]})
        for table in () if common.quiet else tables:
            columns.print_notices(table)
    else:
        columns.print_tables(tables, quiet=common.quiet)
