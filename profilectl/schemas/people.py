"""The documents of people: who they are, and what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from profilectl.schemas.imports import RejectJson
from profilectl.schemas.members import (
    LEFT_OUT,
    BatchJson,
    CalculatedOriginJson,
    ConsentJson,
    DeviceJson,
    EnvironmentName,
    EventJson,
    HistoryJson,
    Json,
    Members,
    MembershipJson,
    Mpid,
    OriginJson,
    PersonJson,
    PlaceJson,
    ProfileJson,
    QueryJson,
    SourceName,
    StandingJson,
)

Origins = dict[str, OriginJson | CalculatedOriginJson]
"""Attribute -> where its value comes from."""


@dataclass(frozen=True, kw_only=True)
class ShownProfileJson(ProfileJson, StandingJson):
    """A profile, with where each value comes from. Sections that are asked for come with it."""

    provenance: Origins
    """Attribute -> where its value comes from."""
    history: dict[str, list[HistoryJson]] = LEFT_OUT
    """Attribute -> what rows did to it, the oldest first (`--history`)."""
    timeline: list[BatchJson] = LEFT_OUT
    """The batches, the oldest first."""
    devices: list[DeviceJson] = LEFT_OUT
    """The devices."""
    consent: list[ConsentJson] = LEFT_OUT
    """The statements of consent in force."""
    attribution: Members = LEFT_OUT
    """The attribution."""


@dataclass(frozen=True, kw_only=True)
class ShowJson:
    """The profiles that have an identity; nobody found: an empty list, and exit status 7."""

    query: QueryJson
    """What was asked for."""
    profiles: list[ShownProfileJson]
    """The profiles, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class ExportedProfileJson(ProfileJson):
    """A profile, as `export profiles` writes it."""

    provenance: Origins = LEFT_OUT
    """Attribute -> where its value comes from (`--provenance`)."""
    is_opted_out: bool = LEFT_OUT
    """Whether the person has opted out (`--whole`, as all below)."""
    opt_out_ms: int | None = LEFT_OUT
    """When the person opted out, or in again."""
    limit_ad_tracking: bool | None = LEFT_OUT
    """Whether a device limits ad tracking; null: not known."""
    audience_memberships: list[MembershipJson] = LEFT_OUT
    """The audiences that the person is in."""
    consent_state: Members = LEFT_OUT
    """The consent in force, as a batch states it."""
    partner_identities: Members = LEFT_OUT
    """The identities that partners gave, by name."""
    attribution: Members = LEFT_OUT
    """The attribution."""
    devices: list[DeviceJson] = LEFT_OUT
    """The devices."""


@dataclass(frozen=True, kw_only=True)
class ExportedIdentityJson(PersonJson, PlaceJson):
    """An identity, as `export identities` writes it."""

    type: str
    """The identity type."""
    value: str
    """The value."""
    since_ms: int
    """The time of the row that brought it."""
    source: SourceName
    """The source of the feed."""
    feed: str
    """The feed."""
    import_: int
    """The import that brought it."""


@dataclass(frozen=True, kw_only=True)
class ExportedAttributeJson(PersonJson, OriginJson):
    """The value of an attribute, as `export attributes` writes it."""

    attribute: str
    """The attribute."""
    value: Json
    """The value."""
    type: str
    """The type of the value."""


@dataclass(frozen=True, kw_only=True)
class ExportedCalculatedJson(PersonJson, CalculatedOriginJson):
    """The value of a calculated attribute, as `export attributes` writes it."""

    attribute: str
    """The attribute."""
    value: Json
    """The value."""
    type: str
    """The type of the value."""


ExportedValueJson = ExportedAttributeJson | ExportedCalculatedJson


@dataclass(frozen=True, kw_only=True)
class PlatformBatchJson:
    """A batch in the platform's own form, as `export batches` writes it.

    It has what the platform's Batch may have; these are the members that a store knows.
    """

    OPEN: ClassVar[bool] = True
    environment: EnvironmentName
    """The environment."""
    mpid: int = LEFT_OUT
    """The MPID: here a number, as the platform demands (`--no-mpid` leaves it out)."""
    timestamp_unixtime_ms: int = LEFT_OUT
    """The time of the batch."""
    source_request_id: str = LEFT_OUT
    """What tells the batch from others."""
    user_identities: Members = LEFT_OUT
    """Identities, by type."""
    user_attributes: Members = LEFT_OUT
    """Attributes."""
    deleted_user_attributes: list[str] = LEFT_OUT
    """Attributes that are deleted."""
    device_info: Members = LEFT_OUT
    """The device, and its identities."""
    consent_state: Members = LEFT_OUT
    """Consent."""
    attribution_info: Members = LEFT_OUT
    """Attribution."""
    partner_identities: Members = LEFT_OUT
    """The identities that partners gave."""
    events: list[Members] = LEFT_OUT
    """Events."""


@dataclass(frozen=True, kw_only=True)
class RemarkJson:
    """A remark on a row: something was left out of it, or is worth knowing."""

    code: str
    """The code."""
    message: str
    """The code as a sentence."""
    attribute: str = LEFT_OUT
    """The attribute that it is about."""
    type: str = LEFT_OUT
    """The type of the identity that it is about ..."""
    value: str | None = LEFT_OUT
    """... and the identity; null: it is not known any more."""


@dataclass(frozen=True, kw_only=True)
class HitJson(PersonJson):
    """A hit of a search."""

    type: str = LEFT_OUT
    """The type of the identity that was found; left out for a condition alone ..."""
    value: str = LEFT_OUT
    """... and the identity."""
    user_attributes: Members = LEFT_OUT
    """The attributes that the condition names."""


@dataclass(frozen=True, kw_only=True)
class SearchJson:
    """What a search found; nobody: an empty list, and exit status 7."""

    count: int
    """How many there are."""
    hits: list[HitJson]
    """The first of them (`--limit`)."""


@dataclass(frozen=True, kw_only=True)
class NotFoundJson:
    """A line of a look-up that found nobody, or several."""

    line: int
    """The line of the file."""
    type: str | None
    """The type of its strongest identity ..."""
    value: str | None
    """... and the identity."""
    mpid: None
    """Nobody."""
    found: Literal[False]
    """That nobody was found, or several."""
    why: str
    """Why, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class FoundJson:
    """A line of a look-up that found one profile."""

    line: int
    """The line of the file."""
    type: str
    """The type of the identity that found it ..."""
    value: str
    """... and the identity."""
    mpid: Mpid
    """The profile."""
    found: Literal[True]
    """That it was found."""
    user_attributes: Members = LEFT_OUT
    """The attributes that were asked for (`--field`), where the profile has them."""


LookedUpJson = FoundJson | NotFoundJson


@dataclass(frozen=True, kw_only=True)
class StoredEventJson(PersonJson, EventJson, PlaceJson):
    """An event, and whose."""

    feed: str
    """The feed that brought it."""
    import_: int
    """Its import."""


@dataclass(frozen=True, kw_only=True)
class StreamedBatchJson(BatchJson):
    """A batch that arrived, and what it did."""

    mpid: Mpid | None
    """The profile; null: it belongs to nobody."""
    environment: EnvironmentName
    """Its environment."""
    code: str | None
    """Why it belongs to nobody."""
    message: str | None
    """Why, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class AudienceChangeJson:
    """A move of a person into or out of an audience."""

    audience_id: int
    """The number of the audience."""
    audience_name: str
    """Its name."""
    change: Literal["entered", "left"]
    """The move."""
    at_ms: int
    """When."""


@dataclass(frozen=True, kw_only=True)
class HeldIdentityJson(PlaceJson):
    """An identity that a person has, or had."""

    type: str
    """The identity type."""
    value: str
    """The value."""
    held: bool
    """Whether the person has it now."""
    since_ms: int
    """The time of the row that brought it."""
    source: SourceName
    """The source of the feed."""
    feed: str
    """The feed."""
    import_: int
    """The import that brought it."""


@dataclass(frozen=True, kw_only=True)
class BlockedValueJson(HistoryJson):
    """A value that was refused."""

    attribute: str
    """The attribute."""


@dataclass(frozen=True, kw_only=True)
class RowRemarkJson(RemarkJson, OriginJson):
    """A remark on a row of a person."""


@dataclass(frozen=True, kw_only=True)
class RejectedRowJson(RejectJson):
    """A row that could not be used."""

    import_: int
    """The import."""


@dataclass(frozen=True, kw_only=True)
class PassedByJson:
    """A batch of a feed that only reads, which waits to leave."""

    output: str
    """The output that it waits for."""
    batch: Members
    """The batch."""


@dataclass(frozen=True, kw_only=True)
class AccessedProfileJson(PersonJson, StandingJson):
    """Everything that is held about a profile."""

    workspace: str | None = LEFT_OUT
    """The workspace whose attributes these are; null: the only one."""
    first_seen_ms: int
    """When it was first seen."""
    last_seen_ms: int
    """When it was last seen."""
    user_identities: Members
    """Its identities."""
    device_identities: Members
    """The identities of its devices."""
    user_attributes: Members = LEFT_OUT
    """Its attributes; left out, as some below, where `workspaces` has them."""
    provenance: Origins = LEFT_OUT
    """Attribute -> where its value comes from."""
    devices: list[DeviceJson] = LEFT_OUT
    """The devices."""
    consent: list[ConsentJson] = LEFT_OUT
    """The statements of consent in force."""
    attribution: Members = LEFT_OUT
    """The attribution."""
    history: dict[str, list[HistoryJson]] = LEFT_OUT
    """Attribute -> what rows did to it, the oldest first."""
    timeline: list[BatchJson] = LEFT_OUT
    """The batches, the oldest first."""
    audience_changes: list[AudienceChangeJson]
    """The moves into and out of audiences."""
    identities: list[HeldIdentityJson]
    """The identities, with the times when they came and went."""
    blocked: list[BlockedValueJson]
    """The values that were refused."""
    remarks: list[RowRemarkJson]
    """The remarks on rows."""
    held: Members
    """The rows of all other tables of the store, by the kind of table."""
    workspaces: Members = LEFT_OUT
    """The parts that each workspace has for itself, in a store with several."""


@dataclass(frozen=True, kw_only=True)
class AccessJson:
    """Everything that is held about one person."""

    made_ms: int
    """When it was made."""
    query: QueryJson
    """What was asked for."""
    profiles: list[AccessedProfileJson]
    """The profiles of the person."""
    rejected_rows: list[RejectedRowJson]
    """Rows that could not be used and name the person."""
    passed_by: list[PassedByJson]
    """Batches that wait to leave and name the person."""


@dataclass(frozen=True, kw_only=True)
class WrittenFilesJson:
    """The files that a command wrote (`access --json` with `-o` or `--html`)."""

    written: list[str]
    """Their paths."""
