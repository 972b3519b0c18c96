"""The members that the documents of several commands have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

LEFT_OUT: Any = object()
"""The default of a member that is not in every document."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a schema says of a text beside its type."""

    pattern: str
    """The regular expression that it matches."""


Mpid = Annotated[str, Narrowed("^-?[0-9]+$")]
"""An MPID: a text, because it exceeds what a script's numbers hold."""
Json = object
"""Any value, as somebody stated it."""
Members = dict[str, Json]
"""An object whose members are somebody else's."""
Counts = dict[str, int]
"""A number for each name."""
IdentityValues = dict[str, list[str]]
"""Identity type -> values, the oldest first."""
EnvironmentName = Literal["production", "development"]
SourceName = Literal["account", "custom-feed", "sdk", "csv", "partner", "warehouse", "calculated"]
ProtectionName = Literal["create-and-update", "update-only", "read-only"]
ChangeName = Literal["set", "changed", "unchanged", "deleted", "blocked"]


@dataclass(frozen=True, kw_only=True)
class PlaceJson:
    """A row of a file."""

    file: str
    """The file, as the import named it."""
    line: int = LEFT_OUT
    """The line, as an editor counts; of a file that has lines."""
    row: int = LEFT_OUT
    """The row; of a Parquet file, which has no lines."""


@dataclass(frozen=True, kw_only=True)
class OriginJson(PlaceJson):
    """Where something comes from: a row, its import, its feed."""

    source: SourceName
    """The source of the feed."""
    feed: str
    """The feed."""
    import_: int
    """The number of the import."""
    set_ms: int
    """The time of the row."""


@dataclass(frozen=True, kw_only=True)
class CalculatedOriginJson:
    """Where the value of a calculated attribute comes from: no row brought it."""

    source: Literal["calculated"]
    """That it was calculated."""


@dataclass(frozen=True, kw_only=True)
class IdentityJson:
    """An identity."""

    type: str
    """The identity type."""
    value: str
    """The value."""


@dataclass(frozen=True, kw_only=True)
class PersonJson:
    """A profile."""

    mpid: Mpid
    """Its MPID."""
    environment: EnvironmentName
    """Its environment."""


@dataclass(frozen=True, kw_only=True)
class QueryJson:
    """What was asked for."""

    type: str
    """The identity type, "mpid" or "any"."""
    value: str
    """The value."""


@dataclass(frozen=True, kw_only=True)
class AttributeChangeJson:
    """What a row did to an attribute, inside its batch."""

    attribute: str
    """The attribute."""
    change: ChangeName
    """What the row did, or tried to do."""
    value: Json = LEFT_OUT
    """What the row states; left out where it deletes."""
    before: Json = LEFT_OUT
    """What was in force; left out where nothing was."""
    code: str | None
    """Why it was blocked."""


@dataclass(frozen=True, kw_only=True)
class HistoryJson(OriginJson):
    """What a row did to an attribute."""

    change: ChangeName
    """What the row did, or tried to do."""
    value: Json = LEFT_OUT
    """What the row states; left out where it deletes."""
    before: Json = LEFT_OUT
    """What was in force; left out where nothing was."""
    code: str | None
    """Why it was blocked."""


@dataclass(frozen=True, kw_only=True)
class EventJson:
    """An event."""

    type: str
    """Its type, such as custom_event."""
    name: str | None
    """Its name."""
    at_ms: int | None
    """When it happened."""
    session: str | None
    """Its session."""
    event: Members | None
    """The whole of it, as the batch states it; null where only its type is known."""


@dataclass(frozen=True, kw_only=True)
class AliasJson:
    """An alias: what was carried from one profile to another."""

    from_: Mpid
    """The profile that it was carried from."""
    to: Mpid
    """The profile that it was carried to."""
    start_ms: int
    """The beginning of the span that is carried."""
    end_ms: int
    """Its end."""
    due_ms: int
    """When it takes effect."""
    in_force: bool
    """Whether it has taken effect."""
    first_seen_ms: int
    """When the first profile was first seen."""
    events: list[EventJson]
    """The events that were carried."""


@dataclass(frozen=True, kw_only=True)
class BatchEffectJson:
    """What a batch did to a profile."""

    founded: bool
    """Whether it founded the profile."""
    identities_added: list[IdentityJson]
    """The identities that it added."""
    identities_removed: list[IdentityJson]
    """The identities that it removed."""
    attributes: list[AttributeChangeJson]
    """What it did to attributes."""
    events: list[EventJson]
    """Its events."""
    rest: Members
    """The other parts of the batch, as it states them."""
    alias: AliasJson | None
    """The alias, where it is one."""
    taken_by: Mpid | None
    """The profile that took identities away, where the batch was of another one."""


@dataclass(frozen=True, kw_only=True)
class BatchJson(OriginJson, BatchEffectJson):
    """A batch, and what it did."""


@dataclass(frozen=True, kw_only=True)
class PassedOverJson(PersonJson):
    """A profile that has an identity of a row, and was not found by it."""

    type: str
    """The identity type."""
    value: str
    """The identity."""
    why: str
    """Why it was not found, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class ConsentJson(OriginJson):
    """A statement of consent, and where it comes from."""

    regulation: str
    """The regulation, such as gdpr."""
    purpose: str | None
    """The purpose."""
    said: Members
    """The statement."""


@dataclass(frozen=True, kw_only=True)
class DeviceJson:
    """A device of a person."""

    identities: dict[str, str]
    """Its identities, by type."""
    first_seen_ms: int
    """When it was first seen."""
    last_seen_ms: int
    """When it was last seen."""
    info: Members
    """What is known of it."""
    attribution: Members = LEFT_OUT
    """The attribution that it was described with."""
    earlier: IdentityValues = LEFT_OUT
    """Identities that it had before, by type."""


@dataclass(frozen=True, kw_only=True)
class MembershipJson:
    """The membership in an audience."""

    audience_id: int
    """The number of the audience."""
    audience_name: str
    """Its name."""
    since_ms: int
    """Since when."""
    expiration_timestamp_ms: int | None = LEFT_OUT
    """When it ends by itself; null: never."""


@dataclass(frozen=True, kw_only=True)
class StandingJson:
    """Where a person stands."""

    partner_identities: Members
    """The identities that partners gave, by name."""
    is_opted_out: bool
    """Whether the person has opted out."""
    limit_ad_tracking: bool | None
    """Whether a device limits ad tracking; null: not known."""
    audience_memberships: list[MembershipJson]
    """The audiences that the person is in."""


@dataclass(frozen=True, kw_only=True)
class ProfileJson(PersonJson):
    """A profile."""

    workspace: str | None
    """The workspace whose attributes these are; null: of an account in which nobody chose one."""
    first_seen_ms: int
    """When it was first seen."""
    last_seen_ms: int
    """When it was last seen."""
    user_identities: IdentityValues
    """Its identities."""
    device_identities: IdentityValues
    """The identities of its devices."""
    user_attributes: Members
    """Its attributes, the calculated ones among them."""


@dataclass(frozen=True, kw_only=True)
class WrittenJson:
    """How many rows a command wrote into a file."""

    exported: int
    """How many."""
    kind: str
    """Of what: profiles, members ..."""
    output: str
    """The file or folder."""


@dataclass(frozen=True, kw_only=True)
class ServerJson:
    """A running server that still tells of somebody."""

    process: int | None
    """Its process; null: it does not say."""
    address: str | None
    """Its address; null: it does not say."""
    user: int | None
    """The number of its user, if nothing else is known of it."""
