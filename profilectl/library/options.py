"""The keywords of the calls, each with its type, so that a type checker sees a misspelling."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict, TypeVar

from profilectl.codes import UsageError
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.identity import no_type, type_named
from profilectl.rules.priority import FEED_SOURCES
from profilectl.rules.text.naming import nearest, no_such

Environment = Literal["production", "development"]
Protection = Literal["create-and-update", "update-only", "read-only"]
Source = Literal["account", "custom-feed", "sdk", "csv", "partner", "warehouse"]
Format = Literal["csv", "parquet", "jsonl", "json"]
AudienceKind = Literal["real-time", "standard"]
ExportKind = Literal["profiles", "identities", "attributes", "imports"]
ChangeKind = Literal[
    "created",
    "gone",
    "aliased",
    "unaliased",
    "identity-added",
    "identity-removed",
    "set",
    "changed",
    "deleted",
]
CHOICES: Mapping[str, Sequence[str]] = {
    "environment": tuple(ENVIRONMENTS),
    "protection": tuple(PROTECTIONS),
    "source": tuple(FEED_SOURCES),
}
"""The keywords that take one of a few names, and the names."""
SEVERAL = ("fields", "nulls", "attributes", "changes")
"""The keywords that take several texts, for which one text would be taken letter by letter."""


class _LeftOut:
    """The default of a keyword, as a signature shows it."""

    def __repr__(self) -> str:
        """Return three dots, as in a stub."""
        return "..."


LEFT_OUT = _LeftOut()
Call = TypeVar("Call", bound=Callable[..., object])


class TableReading(TypedDict, total=False):
    """How files or tables are read, and what an import may do. Left out: as on the command line."""

    protection: Protection | None
    """The protection level for this import; left out: the feed's."""
    source: Source | None
    """The source of a feed that is not registered yet."""
    partner: str | None
    """The partner of such a feed."""
    mapping: Mapping[str, str]
    """What single columns mean: column -> field, as `--map` has it."""
    manifest: str | None
    """The file that says what the columns mean."""
    empty: Literal["ignore", "delete", "set"]
    """What an empty cell does to its attribute."""
    nulls: Sequence[str]
    """Texts that count as an empty cell."""
    unknown: Literal["refuse", "attribute", "ignore"]
    """What happens to a field of a batch that nobody knows."""
    binary_as_text: bool
    """Whether binary columns are text in UTF-8."""
    allow_spoiled: bool
    """Whether identities may look like numbers that a spreadsheet spoiled."""
    strict: bool
    """Whether the import is refused if anything is left out of a row."""
    environment: Environment | None
    """The environment of all rows; left out: production, unless a row states its own."""
    rejects: str | None
    """The file that rejected rows are written to."""
    explain_rows: str | None
    """The file that gets a line for each row and code."""
    again: bool
    """Whether content that was imported before is imported again."""
    max_shared: int | None
    """How many rows and profiles may share an identity."""
    max_rejects: str | None
    """How many rows may be rejected: a number ("100"), or a share of those read ("0.5%")."""
    memory_limit: str | None
    """How much memory may be used, such as "2GB"."""
    event: str | None
    """The name of a custom event that every row gets."""
    now_ms: int | None
    """The time of the import, in milliseconds since 1970; left out: the clock's."""
    progress: Callable[[str, int], None]
    """Gets the step that begins, and how many rows were read."""


class ColumnsReading(TypedDict, total=False):
    """How the files are read whose columns are looked at. Left out: as on the command line."""

    mapping: Mapping[str, str]
    """What single columns mean: column -> field, as `--map` has it."""
    manifest: str | None
    """The file that says what the columns mean."""
    nulls: Sequence[str]
    """Texts that count as an empty cell."""
    unknown: Literal["refuse", "attribute", "ignore"]
    """What happens to a field of a batch that nobody knows."""
    binary_as_text: bool
    """Whether binary columns are text in UTF-8."""
    format: Format | None
    """The format of the files; left out: each file's name and content tell."""
    delimiter: str | None
    """The character between CSV cells; left out: it is detected."""
    encoding: str | None
    """The encoding of the files; left out: UTF-8, or what the byte order mark says."""
    encoding_errors: Literal["refuse", "reject"]
    """What happens to a line that is not valid in its encoding."""
    quote: str | None
    """The character around CSV cells."""
    escape: str | None
    """The character before a quote in a CSV cell."""
    skip_lines: int
    """How many lines are above the header of a CSV file."""
    max_unpacked: str | None
    """The size that what is packed may unpack to, such as "20GB"."""
    path_columns: bool
    """Whether key=value folders of a path are columns of its rows."""


class FileReading(TableReading, total=False):
    """How files are read, and what an import of them may do."""

    format: Format | None
    """The format of the files; left out: each file's name and content tell."""
    delimiter: str | None
    """The character between CSV cells; left out: it is detected."""
    encoding: str | None
    """The encoding of the files; left out: UTF-8, or what the byte order mark says."""
    encoding_errors: Literal["refuse", "reject"]
    """What happens to a line that is not valid in its encoding."""
    quote: str | None
    """The character around CSV cells."""
    escape: str | None
    """The character before a quote in a CSV cell."""
    skip_lines: int
    """How many lines are above the header of a CSV file."""
    ragged: Literal["reject", "pad"]
    """What happens to a CSV record with too few or too many cells."""
    max_unpacked: str | None
    """The size that what is packed may unpack to, such as "20GB"."""
    path_columns: bool
    """Whether key=value folders of a path are columns of its rows."""
    rejects_as_input: str | None
    """The file that rejected rows are written to in the format of the input."""
    remember: bool
    """Whether the feed remembers how these files are read."""


class Chosen(TypedDict, total=False):
    """What of a store is exported. Left out: all of it."""

    where: str | None
    """A condition on profiles, as `--where` has it."""
    fields: Sequence[str]
    """The identities and attributes that are wanted."""
    environment: Environment | None
    """Only profiles of this environment."""
    since: int | None
    """Only profiles touched after this import."""
    touched_by: int | None
    """Only profiles touched by this import."""
    in_order: bool
    """Whether it is sorted by MPID."""
    audience: str | None
    """Only members of this audience."""


class Identity(TypedDict, total=False):
    """Identities by their types; a call that looks for a person takes one."""

    mpid: str | int
    """The MPID of a profile."""
    customer_id: str | int
    """A value of the type customer_id."""
    email: str | int
    """A value of the type email."""
    mobile_number: str | int
    """A value of the type mobile_number."""
    phone_number_2: str | int
    """A value of the type phone_number_2."""
    phone_number_3: str | int
    """A value of the type phone_number_3."""
    other: str | int
    """A value of the type other."""
    other_id_2: str | int
    """A value of the type other_id_2."""
    other_id_3: str | int
    """A value of the type other_id_3."""
    other_id_4: str | int
    """A value of the type other_id_4."""
    other_id_5: str | int
    """A value of the type other_id_5."""
    other_id_6: str | int
    """A value of the type other_id_6."""
    other_id_7: str | int
    """A value of the type other_id_7."""
    other_id_8: str | int
    """A value of the type other_id_8."""
    other_id_9: str | int
    """A value of the type other_id_9."""
    other_id_10: str | int
    """A value of the type other_id_10."""
    facebook: str | int
    """A value of the type facebook."""
    facebook_custom_audience_id: str | int
    """A value of the type facebook_custom_audience_id."""
    google: str | int
    """A value of the type google."""
    twitter: str | int
    """A value of the type twitter."""
    microsoft: str | int
    """A value of the type microsoft."""
    yahoo: str | int
    """A value of the type yahoo."""
    alias: str | int
    """A value of the type alias."""
    ios_advertising_id: str | int
    """A value of the type ios_advertising_id."""
    ios_idfv: str | int
    """A value of the type ios_idfv."""
    android_advertising_id: str | int
    """A value of the type android_advertising_id."""
    android_uuid: str | int
    """A value of the type android_uuid."""
    amp_id: str | int
    """A value of the type amp_id."""
    fire_advertising_id: str | int
    """A value of the type fire_advertising_id."""
    roku_advertising_id: str | int
    """A value of the type roku_advertising_id."""
    roku_publisher_id: str | int
    """A value of the type roku_publisher_id."""
    microsoft_publisher_id: str | int
    """A value of the type microsoft_publisher_id."""
    microsoft_advertising_id: str | int
    """A value of the type microsoft_advertising_id."""
    push_token: str | int
    """A value of the type push_token."""
    mp_deviceid: str | int
    """A value of the type mp_deviceid."""


def with_keywords(keywords: type) -> Callable[[Call], Call]:
    """Give a call, which takes `**keywords`, the signature that names each of them.

    So help(), notebooks and editors show them.
    """

    def named(call: Call) -> Call:
        signature = inspect.signature(call)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        own += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=LEFT_OUT,
                annotation=getattr(annotation, "__forward_arg__", annotation),
            )
            for name, annotation in keywords.__annotations__.items()
        ]
        call.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        return call

    return named


def check_keywords(call: str, stated: Mapping[str, object], keywords: type) -> None:
    """Check the keywords of a call, and the names that some of them take.

    Raises TypeError for a keyword that it does not have, and for one text in place of several;
    UsageError for a name that there is not.
    """
    there = list(keywords.__annotations__)
    for name in stated:
        if name not in there:
            near = nearest(name, there)
            suggestion = f". Did you mean '{near[0]}'?" if near else ""
            raise TypeError(f"{call}() got an unexpected keyword argument '{name}'{suggestion}")
    for name in SEVERAL:
        if isinstance(text := stated.get(name), str):
            raise TypeError(f"{call}(): {name} is a list of texts; for one, [{text!r}]")
    for name, names in CHOICES.items():
        if stated.get(name) is not None and stated[name] not in names:
            raise no_such(name, stated[name], names)


class Person(NamedTuple):
    """An identity by which a person is looked for."""

    type: str
    """The identity type, or "mpid"."""
    value: str
    """The value."""


def person_of(call: str, identity: Mapping[str, object]) -> Person:
    """Return the one identity that a call names. Raises UsageError."""
    if len(identity) != 1:
        raise UsageError("name one identity", f'for example {call}(email="john.smith@example.com")')
    ((name, value),) = identity.items()
    return Person("mpid" if name == "mpid" else type_of(name), str(value))


def type_of(name: str) -> str:
    """Return the identity type of a name. Raises UsageError."""
    kind = type_named(name)
    if kind is None:
        raise no_type(name)
    return kind.name
