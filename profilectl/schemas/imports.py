"""The documents of imports: reports, plans, the history, rejects, differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profilectl.schemas.members import (
    LEFT_OUT,
    Counts,
    EnvironmentName,
    Json,
    Members,
    Mpid,
    PersonJson,
    PlaceJson,
    ProtectionName,
    SourceName,
)


@dataclass(frozen=True, kw_only=True)
class FileJson:
    """A file of an import."""

    path: str
    """Its path."""
    sha256: str
    """The hash of its content."""
    rows: int
    """The number of rows that were read from it."""
    columns: dict[str, str] = LEFT_OUT
    """How each column was read; left out where it has none."""
    already_imported: int = LEFT_OUT
    """The import that brought this content before, so that it was left out."""


@dataclass(frozen=True, kw_only=True)
class RowCountsJson:
    """How many rows there were: read = applied + dropped + rejected."""

    read: int
    """Read from the files."""
    applied: int
    """Used."""
    dropped: int
    """Understood, but kept out: by protection, or because they were repeated."""
    rejected: int
    """Of no use."""


@dataclass(frozen=True, kw_only=True)
class ProfileCountsJson:
    """How many profiles an import touched."""

    created: int
    """New."""
    updated: int
    """Changed."""
    unchanged: int
    """Touched without a change."""


@dataclass(frozen=True, kw_only=True)
class IdentityCountsJson:
    """How many identities of profiles changed."""

    added: int
    """Given to a profile."""
    moved: int
    """Gone from one profile to another."""
    removed: int
    """Replaced by a newer value."""


@dataclass(frozen=True, kw_only=True)
class AttributeCountsJson:
    """How many attributes of profiles an import spoke of, against the state before it."""

    set: int
    """New."""
    changed: int
    """With another value."""
    unchanged: int
    """With the same value."""
    deleted: int
    """Deleted."""
    blocked: int
    """Refused by priority."""


@dataclass(frozen=True, kw_only=True)
class EventCountsJson:
    """How many events an import brought."""

    added: int
    """Kept with a profile."""


@dataclass(frozen=True, kw_only=True)
class AudienceMovesJson:
    """How many people moved with an import."""

    entered: int
    """Into the audience."""
    left: int
    """Out of it."""


@dataclass(frozen=True, kw_only=True)
class SharedIdentityJson:
    """An identity that many rows and profiles have."""

    type: str
    """Its identity type."""
    value: str
    """Its value, as the first row states it."""
    rows: int
    """How many rows of the files have it."""
    profiles: int
    """How many profiles have it, beside those of the rows."""


@dataclass(frozen=True, kw_only=True)
class ExampleJson(PlaceJson):
    """A row of which a dry run says something."""

    mpid: Mpid = LEFT_OUT
    """The profile; left out where the store does not exist yet."""
    type: str = LEFT_OUT
    """The type of the identity ..."""
    value: Json = LEFT_OUT
    """... and the identity."""
    attribute: str | None = LEFT_OUT
    """The attribute."""
    before: Json = LEFT_OUT
    """The value that is in force."""
    after: Json = LEFT_OUT
    """The value that would be."""
    refused: Json = LEFT_OUT
    """The value that is refused by priority."""
    code: str = LEFT_OUT
    """Why it is refused."""
    from_mpid: Mpid | None = LEFT_OUT
    """The profile that would lose the identity."""
    to_mpid: Mpid | None = LEFT_OUT
    """The profile that would get it."""
    identities: Members = LEFT_OUT
    """The identities of a profile that would be created, by type."""
    attributes: Members = LEFT_OUT
    """Its attributes."""
    message: str = LEFT_OUT
    """Why the row is rejected."""
    raw: str | None = LEFT_OUT
    """The beginning of its text."""


@dataclass(frozen=True, kw_only=True)
class ProfileExamplesJson:
    """Profiles of a dry run, each by its first row."""

    created: list[ExampleJson]
    """That would be created."""
    updated: list[ExampleJson]
    """That would be changed."""


@dataclass(frozen=True, kw_only=True)
class IdentityExamplesJson:
    """Identities of a dry run."""

    added: list[ExampleJson]
    """That would be given to a profile."""
    moved: list[ExampleJson]
    """That would go to another profile."""
    removed: list[ExampleJson]
    """That would be replaced."""


@dataclass(frozen=True, kw_only=True)
class AttributeExamplesJson:
    """Attributes of a dry run."""

    set: list[ExampleJson]
    """That would be new."""
    changed: list[ExampleJson]
    """That would get another value."""
    deleted: list[ExampleJson]
    """That would be deleted."""
    blocked: list[ExampleJson]
    """That are refused by priority."""


@dataclass(frozen=True, kw_only=True)
class ExamplesJson:
    """A few rows for each thing that a dry run says."""

    reasons: dict[str, list[ExampleJson]]
    """Rows with a code, by the code."""
    profiles: ProfileExamplesJson
    """Profiles."""
    identities: IdentityExamplesJson
    """Identities."""
    attributes: AttributeExamplesJson
    """Attributes."""
    shared: list[SharedIdentityJson]
    """Identities that many rows and profiles have."""


@dataclass(frozen=True, kw_only=True)
class AdviceJson:
    """A piece of advice on what to do after an import."""

    code: str
    """The rule that gives it."""
    text: str
    """What there is to do, and why."""
    command: str
    """A command that does it, or shows more."""


@dataclass(frozen=True, kw_only=True)
class ReportJson:
    """What an import did, or with `dry_run` would do."""

    import_: int | None
    """The number of the import; null: nothing was imported."""
    feed: str
    """The feed."""
    source: SourceName
    """The feed's source."""
    protection: ProtectionName
    """The protection level that was in force."""
    environment: EnvironmentName
    """The environment of rows that state none."""
    dry_run: bool
    """Whether nothing was written."""
    files: list[FileJson]
    """The files."""
    rows: RowCountsJson
    """The rows."""
    profiles: ProfileCountsJson
    """The profiles."""
    identities: IdentityCountsJson
    """The identities."""
    attributes: AttributeCountsJson
    """The attributes."""
    events: EventCountsJson
    """The events."""
    reasons: Counts
    """Code -> how often something was left out for it."""
    warnings: Counts
    """Code -> how often something is worth knowing."""
    left_out: dict[str, Counts]
    """Code -> attribute -> how often."""
    slow_path_rows: int
    """The number of rows that were decided one by one."""
    rejects: str | None
    """The file of rejected rows."""
    elapsed_ms: int
    """The milliseconds that the import took."""
    locked_ms: int
    """The milliseconds for which it kept other processes out of the store."""
    notices: list[str]
    """Sentences on how the files were read that a person should know."""
    shared: list[SharedIdentityJson]
    """The identities that many rows and profiles have."""
    advice: list[AdviceJson]
    """What to do next, the most important first; at most five."""
    rejects_as_input: str = LEFT_OUT
    """The file of rejected rows in the format of the input."""
    explained_rows: str = LEFT_OUT
    """The file that explains each row."""
    examples: ExamplesJson = LEFT_OUT
    """The examples of a dry run."""
    audiences: dict[str, AudienceMovesJson] = LEFT_OUT
    """Audience -> who moved; left out in a store without audiences."""
    already_imported: int = LEFT_OUT
    """The import that brought all of this content before."""


@dataclass(frozen=True, kw_only=True)
class KeptOutJson:
    """Batches that were processed and belong to nobody."""

    batches: int
    """How many there are."""
    with_events: int
    """How many have events."""
    events: int
    """How many events they have."""
    event_types: Counts
    """The events by type; an older version did not remember them."""


@dataclass(frozen=True, kw_only=True)
class PastImportJson:
    """An import of the history. An older version remembered fewer counts: then they are empty."""

    import_: int
    """Its number."""
    feed: str
    """Its feed."""
    source: SourceName
    """The feed's source."""
    protection: ProtectionName
    """The protection level that was in force."""
    environment: EnvironmentName
    """The environment of rows that state none."""
    made_by: str | None
    """The person who made it, user@machine."""
    started_ms: int
    """When it started."""
    elapsed_ms: int
    """The milliseconds that it took."""
    undone: bool
    """Whether it was undone."""
    undone_ms: int | None
    """When it was undone."""
    undone_by: str | None
    """The person who undid it."""
    undoable: bool
    """Whether it can be undone."""
    why_not_undoable: Literal["undone", "laid together"] | None
    """Why it cannot be undone; null: it can."""
    needs: list[int] | None
    """The earlier imports that it rests on; null: not known."""
    files: list[FileJson]
    """Its files."""
    rows: Counts
    """The rows: read, applied, dropped, rejected."""
    profiles: Counts
    """The profiles: created, updated, unchanged."""
    identities: Counts
    """The identities: added, moved, removed."""
    attributes: Counts
    """The attributes: set, changed, unchanged, deleted, blocked."""
    events: Counts
    """The events: added."""
    audiences: dict[str, AudienceMovesJson]
    """Audience -> who moved."""
    reasons: Counts
    """Code -> how often something was left out for it."""
    warnings: Counts
    """Code -> how often something is worth knowing."""


@dataclass(frozen=True, kw_only=True)
class ShownImportJson(PastImportJson):
    """One import."""

    kept_out: dict[str, KeptOutJson] = LEFT_OUT
    """Code -> batches that belong to nobody; left out for an import that is undone."""


@dataclass(frozen=True, kw_only=True)
class ReplayedJson:
    """An import that was made again."""

    import_: int
    """Its old number."""
    as_: int
    """Its new number."""


@dataclass(frozen=True, kw_only=True)
class UndoneJson:
    """What an undo took back."""

    undone: list[int]
    """The numbers of the imports, the newest first."""
    replayed: list[ReplayedJson]
    """Those that were made again."""


@dataclass(frozen=True, kw_only=True)
class PlannedStateJson:
    """The state of the store that a plan rests on."""

    store: str | None
    """The name of the store; null: there was none."""
    imports: list[list[int | bool]]
    """Each import: its number, and whether it is undone."""
    settings: Members
    """The settings that are stated."""
    feeds: list[Members]
    """The feeds."""
    calculated: list[str]
    """The names of the calculated attributes."""
    erasure: int
    """How often people were erased, or may come back."""


@dataclass(frozen=True, kw_only=True)
class PlanJson:
    """A plan: an import that `apply` makes. A plan of another version is refused."""

    profilectl_plan: int
    """The version of its form."""
    version: str
    """The version of profilectl that made it."""
    created_ms: int
    """When it was made."""
    made_by: str
    """The person who made it, user@machine."""
    state: PlannedStateJson
    """The state of the store that it rests on."""
    request: Members
    """The options of the import."""
    report: ReportJson
    """What the import would do."""
    seal: str
    """What shows that nobody changed it."""


@dataclass(frozen=True, kw_only=True)
class RejectJson(PlaceJson):
    """A row that could not be used."""

    code: str
    """Why."""
    message: str
    """Why, as a sentence."""
    raw: str | None
    """The text of the row; null where it was lost."""


@dataclass(frozen=True, kw_only=True)
class RowCodeJson(PlaceJson):
    """A row and a code that it got."""

    code: str
    """The code."""
    fate: str
    """What it did to the row."""
    message: str
    """The code as a sentence."""
    attribute: str = LEFT_OUT
    """The attribute that it is about."""
    type: str = LEFT_OUT
    """The type of the identity that it is about ..."""
    value: str | None = LEFT_OUT
    """... and the identity."""


@dataclass(frozen=True, kw_only=True)
class ChangeJson(PersonJson):
    """A difference between two states of a store."""

    change: Literal[
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
    """What changed."""
    attribute: str = LEFT_OUT
    """The attribute that was set, changed or deleted."""
    type: str = LEFT_OUT
    """The type of the identity that was added or removed ..."""
    value: str = LEFT_OUT
    """... and the identity."""
    from_: Mpid = LEFT_OUT
    """The profile that an alias carried over."""
    before: Json = LEFT_OUT
    """The value of the attribute before."""
    after: Json = LEFT_OUT
    """The value after."""
    import_: int | None
    """The import that made the change."""
    file: str | None
    """The file of the row that made it."""
    line: int | None = LEFT_OUT
    """Its line."""
    row: int | None = LEFT_OUT
    """Its row, of a Parquet file."""


@dataclass(frozen=True, kw_only=True)
class SuggestionJson:
    """What a column may be."""

    kind: Literal["identity", "reserved"]
    """An identity, or an attribute that the platform knows."""
    field: str
    """The identity type, or the name of the attribute."""
    option: str
    """The option that makes the column one."""


@dataclass(frozen=True, kw_only=True)
class ColumnJson:
    """A column of files, or a key of their rows."""

    column: str
    """Its name."""
    becomes: str | None
    """The field of a batch that it becomes; null if it is left out."""
    field: str
    """The kind of that field, such as identity or attribute."""
    kinds: list[str]
    """The kinds of its values: text, number, boolean, list, object."""
    looks_like: str | None
    """What most of its texts look like, such as an e-mail address; null if nothing."""
    filled: int
    """In how many of the first rows it has a value."""
    first_values: list[str]
    """Its first values, each once."""
    suggestion: SuggestionJson | None
    """What it may be instead; null if nothing."""


@dataclass(frozen=True, kw_only=True)
class ColumnTableJson:
    """Files that have the same columns."""

    paths: list[str]
    """Their paths."""
    format: str
    """Their format."""
    rows_read: int
    """How many rows the values are of."""
    names_somebody: bool
    """Whether a column is an identity or an MPID."""
    notices: list[str]
    """What is to be said of their headings."""
    columns: list[ColumnJson]
    """Their columns, in order."""


@dataclass(frozen=True, kw_only=True)
class ColumnsJson:
    """What the columns of files would become."""

    files: list[ColumnTableJson]
    """A table for each kind of files."""
