"""The options of commands that read files as an import does, and the request they make."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

from profilectl.cli.options import (
    EnvironmentName,
    SourceOption,
    check_memory_limit,
    names_of,
    value_of,
)
from profilectl.cli.registry import argument, option
from profilectl.rules.feed import PROTECTIONS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from profilectl.importing.request import ImportRequest

ProtectionName = enum.Enum("ProtectionName", names_of(PROTECTIONS), type=str)  # type: ignore[misc]
FormatName = enum.Enum(  # type: ignore[misc]
    "FormatName", names_of(("csv", "parquet", "jsonl", "json")), type=str
)
EmptyName = enum.Enum(  # type: ignore[misc]
    "EmptyName", names_of(("ignore", "delete", "set")), type=str
)
RaggedName = enum.Enum("RaggedName", names_of(("reject", "pad")), type=str)  # type: ignore[misc]
UnknownName = enum.Enum(  # type: ignore[misc]
    "UnknownName", names_of(("refuse", "attribute", "ignore")), type=str
)
EncodingErrorsName = enum.Enum(  # type: ignore[misc]
    "EncodingErrorsName", names_of(("refuse", "reject")), type=str
)

FilesArgument = Annotated[
    list[str],
    argument(metavar="FILE...", help="Files or globs, in the order given; - is standard input."),
]
FeedOption = Annotated[
    str,
    option(
        "--feed",
        help="The feed the files belong to; registered on first use.",
        completion="feeds",
    ),
]
ProtectionOption = Annotated[
    ProtectionName | None,
    option(
        "--protection",
        help="The protection level for this import only, of a feed that is registered.",
    ),
]
PartnerOption = Annotated[
    str | None,
    option(
        "--partner",
        help="The partner of a new feed whose source is partner.",
        completion="partners",
    ),
]
FormatOption = Annotated[
    FormatName | None,
    option("--format", help="The format of files whose names do not show it."),
]
ManifestOption = Annotated[
    str | None,
    option("--manifest", metavar="F", help="The platform's manifest: what each column means."),
]
MapOption = Annotated[
    list[str] | None,
    option(
        "--map",
        metavar="COLUMN=FIELD",
        help="What one column means; repeatable.",
        completion="columns",
    ),
]
DelimiterOption = Annotated[
    str | None,
    option("--delimiter", help="The delimiter of a CSV file; detected unless given."),
]
EncodingOption = Annotated[
    str | None,
    option("--encoding", help="utf-8 (default), utf-16, latin-1, windows-1252, ..."),
]
EmptyOption = Annotated[
    EmptyName | None,
    option("--empty", help="What an empty cell does to its attribute (default: ignore)."),
]
NullOption = Annotated[
    list[str] | None,
    option(
        "--null",
        metavar="TEXT",
        help="A text that makes a cell empty, for example '\\N'; repeatable.",
    ),
]
QuoteOption = Annotated[
    str | None,
    option(
        "--quote",
        metavar="CHARACTER",
        help="The character around CSV cells (default: the double quote).",
    ),
]
EscapeOption = Annotated[
    str | None,
    option(
        "--escape",
        metavar="CHARACTER",
        help="The character before a quote in a CSV cell (default: the quote is doubled).",
    ),
]
SkipLinesOption = Annotated[
    int | None,
    option(
        "--skip-lines",
        metavar="N",
        min=0,
        help="Skip N lines above the header of a CSV file (default: 0).",
    ),
]
RaggedOption = Annotated[
    RaggedName | None,
    option(
        "--ragged",
        help="What happens to a CSV row with too few or too many cells (default: reject).",
    ),
]
UnknownOption = Annotated[
    UnknownName | None,
    option(
        "--unknown",
        help="What to do with a dotted column that is no field of a batch (default: refuse).",
    ),
]
EncodingErrorsOption = Annotated[
    EncodingErrorsName | None,
    option(
        "--encoding-errors",
        help="Refuse a file with invalid text, or reject its rows (default: refuse).",
    ),
]
UnpackedOption = Annotated[
    str | None,
    option(
        "--max-unpacked",
        metavar="SIZE",
        help="The size a packed file may unpack to (default: 100 times its size, at least 100 MB).",
    ),
]
PathColumnsOption = Annotated[
    bool,
    option("--path-columns", help="Read key=value folders in a file's path as text columns."),
]
BinaryOption = Annotated[
    bool, option("--binary-as-text", help="Read BINARY columns of Parquet as UTF-8 text.")
]
SpoiledOption = Annotated[
    bool,
    option(
        "--allow-spoiled",
        help="Take identities that look like spoiled numbers, such as 4.47701E+11.",
    ),
]
StrictOption = Annotated[
    bool, option("--strict", help="Refuse the import if there is any warning.")
]
EventOption = Annotated[
    str | None,
    option(
        "--event",
        metavar="NAME",
        help="Add a custom event of this name to every batch.",
        completion="events",
    ),
]
EnvironmentOption = Annotated[
    EnvironmentName | None,
    option(
        "--environment",
        help="The environment of rows that name none; rows that name another are rejected.",
    ),
]
RejectsOption = Annotated[
    str | None,
    option(
        "--rejects",
        metavar="FILE",
        help="The file for rejected rows (default: FILE.rejects.jsonl), or none: only count them.",
    ),
]
AsInputOption = Annotated[
    str | None,
    option(
        "--rejects-as-input",
        metavar="FILE",
        help="Write rejected rows in the input's own format, to mend and import.",
    ),
]
ExplainOption = Annotated[
    str | None,
    option("--explain-rows", metavar="FILE", help="Write one JSON line for each row and code."),
]
AgainOption = Annotated[
    bool, option("--again", help="Import content that this feed has imported before.")
]
MaxSharedOption = Annotated[
    int | None,
    option(
        "--max-shared",
        metavar="N",
        min=1,
        help="Refuse if more than N rows and other profiles of the store share one identity.",
    ),
]
MaxRejectsOption = Annotated[
    str | None,
    option(
        "--max-rejects",
        metavar="N|P%",
        help="Refuse if more rows are rejected: a number, or a share.",
    ),
]
ImportMemoryOption = Annotated[
    str | None,
    option(
        "--memory-limit",
        metavar="SIZE",
        help="The memory to use, for example 2GB (default: half of the memory).",
    ),
]
DetailedOption = Annotated[
    bool, option("--detailed-exitcode", help="Exit with 10 if there are changes.")
]


@dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """The options for reading files, which `import` and `plan` share."""

    protection: ProtectionOption = None
    source: SourceOption = None
    partner: PartnerOption = None
    format: FormatOption = None
    manifest: ManifestOption = None
    mapped: MapOption = None
    delimiter: DelimiterOption = None
    encoding: EncodingOption = None
    empty: EmptyOption = None
    null: NullOption = None
    quote: QuoteOption = None
    escape: EscapeOption = None
    skip_lines: SkipLinesOption = None
    ragged: RaggedOption = None
    unknown: UnknownOption = None
    encoding_errors: EncodingErrorsOption = None
    max_unpacked: UnpackedOption = None
    path_columns: PathColumnsOption = False
    binary_as_text: BinaryOption = False
    allow_spoiled: SpoiledOption = False
    strict: StrictOption = False
    event: EventOption = None
    environment: EnvironmentOption = None


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """The limits of an import."""

    again: AgainOption = False
    max_shared: MaxSharedOption = None
    max_rejects: MaxRejectsOption = None
    memory_limit: ImportMemoryOption = None


def import_request(
    files: Sequence[str], feed: str, *, reading: ReadingFlags, limits: LimitOptions
) -> ImportRequest:
    """Return the request that these options make. Raises UsageError for a wrong memory limit."""
    from profilectl.importing.request import ImportRequest

    return ImportRequest(
        paths=files,
        feed=feed,
        protection=value_of(reading.protection),
        source=value_of(reading.source),
        partner=reading.partner,
        format=value_of(reading.format),
        manifest=reading.manifest,
        mapped=reading.mapped or (),
        delimiter=reading.delimiter,
        encoding=reading.encoding,
        empty=value_of(reading.empty) or "ignore",
        nulls=reading.null or (),
        quote=reading.quote,
        escape=reading.escape,
        skip_lines=reading.skip_lines or 0,
        ragged=value_of(reading.ragged) or "reject",
        unknown=value_of(reading.unknown) or "refuse",
        encoding_errors=value_of(reading.encoding_errors) or "refuse",
        max_unpacked=reading.max_unpacked,
        path_columns=reading.path_columns,
        binary_as_text=reading.binary_as_text,
        allow_spoiled=reading.allow_spoiled,
        strict=reading.strict,
        event=reading.event,
        environment=value_of(reading.environment),
        stated=stated_fields(reading),
        again=limits.again,
        max_shared=limits.max_shared,
        max_rejects=limits.max_rejects,
        memory_limit=check_memory_limit(limits.memory_limit),
    )


def stated_fields(reading: DataclassInstance) -> frozenset[str]:
    """Return the fields of a request whose options somebody typed: they win over the feed's.

    reading: the options, by the names of the fields.
    """
    typed = {field.name: getattr(reading, field.name) for field in fields(reading)}
    # 0 is stated: --skip-lines 0.
    return frozenset(
        "nulls" if name == "null" else name
        for name, value in typed.items()
        if value is not None and value is not False
    )
