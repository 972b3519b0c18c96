"""The documents of feeds, the configuration, calculated attributes, audiences, and the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from profilectl.schemas.members import (
    LEFT_OUT,
    Counts,
    EnvironmentName,
    IdentityValues,
    Json,
    Members,
    Mpid,
    PersonJson,
    ProtectionName,
    SourceName,
)


@dataclass(frozen=True, kw_only=True)
class FeedJson:
    """A feed."""

    name: str
    """Its name."""
    source: SourceName
    """Its source."""
    protection: ProtectionName
    """Its protection level."""
    partner: str | None
    """Its partner."""
    workspace: str | None
    """The workspace that it brings to; null: the account."""
    environment: EnvironmentName | None
    """The environment of its imports; null: none yet, or several."""
    imports: int
    """The number of its imports in force."""
    reading: dict[str, Json]
    """How its files are read, as the configuration has it; empty: as the options say."""


@dataclass(frozen=True, kw_only=True)
class RemovedJson:
    """What was removed."""

    removed: str
    """Its name."""


@dataclass(frozen=True, kw_only=True)
class SettingChangeJson:
    """A change of the configuration."""

    name: str
    """The setting, such as identity.strategy."""
    before: Json
    """What it was; null: not stated."""
    after: Json
    """What it is; null: not stated any more."""
    removes: bool
    """Whether something that was stated is not any more."""
    lost: dict[str, int]
    """How much goes with it, by what it is, such as waiting messages."""


@dataclass(frozen=True, kw_only=True)
class ConfigurationChangesJson:
    """What `config apply`, `set` or `unset` changed, or with `dry_run` would change."""

    dry_run: bool
    """Whether nothing was written."""
    changes: list[SettingChangeJson]
    """The changes."""


ConfigurationJson = dict[str, Members]


@dataclass(frozen=True, kw_only=True)
class CalculationJson:
    """A calculated attribute: its definition as the configuration has it, and its values."""

    name: str
    """Its name."""
    type: str
    """What is computed."""
    event_type: str = LEFT_OUT
    """The type of the events; left out: custom_event."""
    event: str = LEFT_OUT
    """The name of the events."""
    of: str = LEFT_OUT
    """The field of the events that is computed."""
    where: Json = LEFT_OUT
    """The condition on the events."""
    within: str = LEFT_OUT
    """How far back events count."""
    since: str = LEFT_OUT
    """From when on events count."""
    workspace: str = LEFT_OUT
    """The workspace; left out: default."""
    draft: bool = LEFT_OUT
    """Whether it is only defined."""
    profiles: int
    """How many profiles have a value."""


@dataclass(frozen=True, kw_only=True)
class ListedCalculationJson(CalculationJson):
    """A calculated attribute of the store."""

    state: str
    """Whether it is active, a draft, or in error."""
    format: str
    """The type of its values."""
    computed_ms: int | None
    """When it was last computed for everybody."""


@dataclass(frozen=True, kw_only=True)
class FrequentValueJson:
    """A frequent value."""

    value: Json
    """The value."""
    profiles: int
    """How many profiles have it."""


@dataclass(frozen=True, kw_only=True)
class SampledValueJson:
    """A profile and its value."""

    mpid: Mpid
    """The profile."""
    value: Json
    """Its value."""


@dataclass(frozen=True, kw_only=True)
class ShownCalculationJson(ListedCalculationJson):
    """A calculated attribute of the store, with some of its values."""

    most_frequent: list[FrequentValueJson]
    """The most frequent values."""
    sample: list[SampledValueJson]
    """The values of a few profiles."""


@dataclass(frozen=True, kw_only=True)
class PreviewedCalculationJson(CalculationJson):
    """A calculated attribute that was tried; nothing is kept."""

    most_frequent: list[FrequentValueJson]
    """The most frequent values."""
    sample: list[SampledValueJson]
    """The values of a few profiles."""


@dataclass(frozen=True, kw_only=True)
class AudienceJson:
    """An audience and its size."""

    audience_id: int
    """Its number."""
    name: str
    """Its name."""
    kind: Literal["real-time", "standard"]
    """When it is evaluated: by every import, or by `audiences refresh`."""
    state: Literal["ready", "draft"]
    """Whether it was evaluated yet."""
    workspace: str
    """The workspace that it belongs to."""
    criteria: str
    """Its criteria."""
    lookback_days: int | None
    """How far back events count; null: all that are kept."""
    members: int
    """How many people are in it."""
    refreshed_ms: int | None
    """When it was last evaluated."""


@dataclass(frozen=True, kw_only=True)
class RefreshedAudienceJson(AudienceJson):
    """An audience that was evaluated."""

    entered: int
    """How many entered it."""
    left: int
    """How many left it."""


@dataclass(frozen=True, kw_only=True)
class SampledPersonJson(PersonJson):
    """A profile, in a sample."""

    user_identities: IdentityValues
    """Its identities."""


@dataclass(frozen=True, kw_only=True)
class PreviewJson:
    """Who would be in an audience."""

    name: str
    """The name of the criteria."""
    kind: Literal["real-time", "standard"]
    """When it would be evaluated."""
    criteria: str
    """The criteria, as they were understood."""
    members: int
    """How many would be in it."""
    profiles: int
    """How many profiles there are."""
    sample: list[SampledPersonJson]
    """A few who would be in it."""


@dataclass(frozen=True, kw_only=True)
class MemberJson(PersonJson):
    """A member of an audience."""

    since_ms: int
    """Since when."""
    identities: IdentityValues
    """The identities."""


@dataclass(frozen=True, kw_only=True)
class MoveJson:
    """A move of a person into or out of an audience."""

    mpid: Mpid
    """The profile."""
    change: Literal["entered", "left"]
    """The move."""
    at_ms: int
    """When."""
    import_: int | None
    """The import that made it; null: a refresh."""


@dataclass(frozen=True, kw_only=True)
class IdentityStatisticsJson:
    """How often an identity type is there."""

    identities: int
    """How many identities there are."""
    values: int
    """How many different values."""
    profiles: int
    """How many profiles have one."""


@dataclass(frozen=True, kw_only=True)
class AttributeStatisticsJson:
    """How often an attribute is there."""

    attribute: str
    """Its name."""
    profiles: int
    """How many profiles have it."""
    fill_rate: float
    """The share of the profiles that have it, from 0 to 1."""
    distinct_values: int
    """How many different values it has."""
    sources: list[str]
    """The sources that set it."""


@dataclass(frozen=True, kw_only=True)
class LargeProfileJson:
    """A profile of many rows."""

    mpid: Mpid
    """Its MPID."""
    rows: int
    """How many rows it has."""


@dataclass(frozen=True, kw_only=True)
class MuchSharedJson:
    """An identity that several profiles have."""

    type: str
    """The identity type."""
    value: str
    """The value."""
    profiles: int
    """How many profiles have it."""


@dataclass(frozen=True, kw_only=True)
class ImportStatisticsJson:
    """How many imports there are."""

    in_force: int
    """In force."""
    undone: int
    """Undone."""


@dataclass(frozen=True, kw_only=True)
class StatisticsJson:
    """What is in a store."""

    profiles: int
    """How many profiles there are."""
    environments: Counts
    """How many by environment."""
    identities: dict[str, IdentityStatisticsJson]
    """Identities, by type."""
    workspace: str | None
    """The workspace whose attributes these are; null: the only one."""
    attributes: list[AttributeStatisticsJson]
    """The attributes."""
    largest_profiles: list[LargeProfileJson]
    """The profiles of the most rows."""
    most_shared: list[MuchSharedJson]
    """The identities that most profiles have."""
    imports: ImportStatisticsJson
    """The imports."""
    segments: int
    """The number of segments of the store."""
    rows: int
    """The number of rows in it."""
    size_bytes: int
    """The size of its file."""


@dataclass(frozen=True, kw_only=True)
class BreachJson:
    """A promise that a store does not keep."""

    promise: str
    """The promise."""
    message: str
    """What is wrong."""
    repairable: bool
    """Whether `check --repair` can repair it."""
    repaired: bool
    """Whether it did."""


@dataclass(frozen=True, kw_only=True)
class CheckJson:
    """Whether a store, or a backup, keeps its promises."""

    sound: bool
    """Whether it does."""
    breaches: list[BreachJson]
    """Where it does not."""


@dataclass(frozen=True, kw_only=True)
class CompactedJson:
    """What laying segments together brought."""

    segments_before: int
    """The number of segments before."""
    segments: int
    """The number after."""
    bytes_before: int
    """The size of the file before."""
    bytes: int
    """The size after."""
    undoable: list[int]
    """The imports that can still be undone."""


@dataclass(frozen=True, kw_only=True)
class BackupJson:
    """A backup that was written."""

    file: str
    """Its path."""
    bytes: int
    """Its size."""
    encrypted: bool
    """Whether it is encrypted."""
    seal: str
    """The file of its seal."""
    suppression_key: str | None
    """The key that keeps erased people out, which is not in the backup."""


@dataclass(frozen=True, kw_only=True)
class RestoredJson:
    """A store that was made from a backup."""

    store: str
    """The path of the store."""
    bytes: int
    """Its size."""
    encrypted: bool
    """Whether the backup was encrypted."""
    schema_version: int
    """The version of its format."""
    no_key: str | None
    """Why erased people cannot be kept out of it, as a sentence; null: they can."""
    erased_since: int | None
    """How many people were erased after the backup and are in it again; null: not known."""


@dataclass(frozen=True, kw_only=True)
class CredentialsJson:
    """Credentials that were made. The secrets are in the file only."""

    file: str
    """The file."""
    clients: list[str]
    """The clients that ask."""
    feeds: list[str]
    """The feeds that send."""


@dataclass(frozen=True, kw_only=True)
class ServingJson:
    """A server that is ready."""

    address: str
    """Its address."""


@dataclass(frozen=True, kw_only=True)
class OpenApiJson:
    """The OpenAPI document of the server (`serve --openapi`)."""

    OPEN: ClassVar[bool] = True
    openapi: str
    """The version of OpenAPI."""


@dataclass(frozen=True, kw_only=True)
class SchemaEntryJson:
    """A schema that `profilectl schema` prints."""

    name: str
    """Its name."""
    title: str
    """What it describes."""
    commands: list[str]
    """The commands and files that it describes."""
    lines: bool
    """Whether each line is a document of its own."""
