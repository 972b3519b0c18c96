"""The documents of `explain` and `identify`: why people and rows are what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profilectl.schemas.members import (
    LEFT_OUT,
    BatchEffectJson,
    BatchJson,
    Counts,
    HistoryJson,
    IdentityJson,
    Json,
    Members,
    Mpid,
    OriginJson,
    PassedOverJson,
    PersonJson,
    PlaceJson,
    SourceName,
)
from profilectl.schemas.people import RemarkJson


@dataclass(frozen=True, kw_only=True)
class ReplacedByJson(OriginJson):
    """The row whose value is in force instead."""


@dataclass(frozen=True, kw_only=True)
class RuleJson:
    """The rule that decided."""

    table: str | None
    """The table of rules that was asked; null: none was."""
    priority: str
    """The reading of priority: rank or first-writer."""
    incoming: str
    """The unit that stated the value."""
    owner: str
    """The unit that owned the attribute."""
    standing: str
    """How the first stands to the second."""
    verdict: str
    """The answer of the table: SET, or the code of the refusal."""
    words: str
    """The rule as a sentence."""


@dataclass(frozen=True, kw_only=True)
class WinnerJson(HistoryJson):
    """The value in force."""

    unit: str
    """The unit that owns the attribute."""
    rank: int
    """Its rank."""


@dataclass(frozen=True, kw_only=True)
class LoserJson(HistoryJson):
    """A value that is not in force."""

    by: ReplacedByJson | None
    """The row that replaced it; null: it was refused."""
    rule: RuleJson
    """The rule that decided."""


@dataclass(frozen=True, kw_only=True)
class ComputedValueJson:
    """The value of a calculated attribute."""

    value: Json = LEFT_OUT
    """The value; left out where there is none."""
    definition: dict[str, str]
    """The definition."""


@dataclass(frozen=True, kw_only=True)
class ExplainedAttributeJson:
    """Why an attribute has its value."""

    attribute: str
    """The attribute."""
    winner: WinnerJson | None
    """The value in force that came in a row."""
    calculated: ComputedValueJson | None
    """The calculated attribute of that name, which masks it."""
    losers: list[LoserJson]
    """The values that are not in force, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class ExplainedPersonJson(PersonJson):
    """The attributes of a profile, explained."""

    attributes: list[ExplainedAttributeJson]
    """The attributes."""


@dataclass(frozen=True, kw_only=True)
class ExplainJson:
    """Why people's attributes have their values."""

    profiles: list[ExplainedPersonJson]
    """The profiles that have the identity."""


@dataclass(frozen=True, kw_only=True)
class ChainLinkJson(BatchJson):
    """A batch that joined identities of a profile."""

    found_by: list[IdentityJson]
    """The identities of the row that the profile had already."""
    passed_over: list[PassedOverJson]
    """Other profiles that have an identity of the row; at most a few."""
    passed_over_in_all: int
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class ChainedPersonJson(PersonJson):
    """The identities of a profile, explained."""

    chain: list[ChainLinkJson]
    """The batches that joined them, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class ChainsJson:
    """Why people have their identities."""

    profiles: list[ChainedPersonJson]
    """The profiles that have the identity."""


@dataclass(frozen=True, kw_only=True)
class ApartJson:
    """Why two identities are not one profile (`explain identity --and`)."""

    one_profile: bool
    """Whether they are."""
    reasons: list[str]
    """Why not, in sentences."""
    first: list[Mpid]
    """The profiles that have the first."""
    second: list[Mpid]
    """The profiles that have the second."""


ExplainIdentityJson = ChainsJson | ApartJson


@dataclass(frozen=True, kw_only=True)
class TakenIdentityJson:
    """An identity that a row took from another profile."""

    type: str
    """The identity type."""
    from_: Mpid
    """The profile that had it."""


@dataclass(frozen=True, kw_only=True)
class RowFateJson(PlaceJson):
    """What became of a row in one import."""

    import_: int
    """The import."""
    feed: str
    """Its feed."""
    mpid: Mpid | None
    """The profile that it was applied to."""
    code: str | None
    """Why it was not applied."""
    message: str | None
    """Why, as a sentence."""
    raw: str | None
    """The text of a row that was rejected."""
    identities_taken: list[TakenIdentityJson]
    """The identities that it took from other profiles."""
    remarks: list[RemarkJson]
    """What was left out of it, and what is worth knowing."""
    passed_over: list[PassedOverJson]
    """Other profiles that have an identity of the row; at most a few."""
    passed_over_in_all: int
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class AppliedRowJson(RowFateJson, BatchEffectJson):
    """A row that was applied, and what it did."""

    applied: Literal[True]
    """That it was applied."""
    source: SourceName
    """The source of the feed."""
    set_ms: int
    """The time of the row."""


@dataclass(frozen=True, kw_only=True)
class UnusedRowJson(RowFateJson):
    """A row that was not applied."""

    applied: Literal[False]
    """That it was not applied."""


@dataclass(frozen=True, kw_only=True)
class ExplainRowJson:
    """What became of a row of a file."""

    rows: list[AppliedRowJson | UnusedRowJson]
    """In each import that brought the file, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class IdentityRulesJson:
    """The rules of identity in force."""

    strategy: str
    """The identity strategy."""
    hierarchy: list[str]
    """The types by which a row finds its profile, the strongest first."""
    login: list[str]
    """The types that make a profile known."""
    unique: list[str]
    """The types whose values at most one profile has."""
    immutable: list[str]
    """The types that a profile never changes once it has one."""
    unique_conflict: str
    """What happens to a unique identity that another profile has: move or keep."""
    placeholders: list[str]
    """The values that are nobody's identity."""


@dataclass(frozen=True, kw_only=True)
class RankedSourceJson:
    """A source."""

    source: SourceName
    """Its name."""
    rank: int
    """Its rank; 1 is best."""
    own_unit: bool
    """Whether each of its feeds, or partners, is a unit of its own."""


@dataclass(frozen=True, kw_only=True)
class PriorityRulesJson:
    """The rules of attributes in force."""

    priority: str
    """The reading of priority: rank or first-writer."""
    verdicts: dict[str, str]
    """How the incoming source stands to the owner -> SET, or the code of the refusal."""
    sources: list[RankedSourceJson]
    """The sources."""


@dataclass(frozen=True, kw_only=True)
class ProtectionRulesJson:
    """What a protection level means."""

    unknown_user: str
    """What happens to a row that finds nobody."""
    known_user: str
    """What happens to a row that finds somebody."""
    code: str | None
    """The code of a row that is kept out."""


@dataclass(frozen=True, kw_only=True)
class RankedFeedJson:
    """A feed, and whose attributes it may change."""

    feed: str
    """Its name."""
    unit: str
    """The unit that its attributes belong to."""
    rank: int
    """Its rank."""
    protection: str
    """Its protection level."""


@dataclass(frozen=True, kw_only=True)
class RulesJson:
    """The rules in force."""

    identity: IdentityRulesJson
    """Of identities."""
    attributes: PriorityRulesJson
    """Of attributes."""
    protection: dict[str, ProtectionRulesJson]
    """Of protection, by level."""
    feeds: list[RankedFeedJson]
    """The feeds."""
    limits: Counts
    """The limits of a batch."""
    stated: Members
    """The settings that are stated."""


@dataclass(frozen=True, kw_only=True)
class SkippedIdentityJson:
    """An identity that finds nobody."""

    type: str
    """The identity type."""
    value: str
    """The value."""
    why: str
    """Why not."""


@dataclass(frozen=True, kw_only=True)
class HolderJson:
    """A profile that has an identity."""

    mpid: Mpid
    """Its MPID."""
    why: str | None
    """Why it is not found; null: it is."""


@dataclass(frozen=True, kw_only=True)
class StepJson:
    """A step of the hierarchy."""

    type: str
    """The identity type."""
    key: str
    """What it is looked up by."""
    holders: list[HolderJson]
    """The profiles that have it."""
    left: list[Mpid]
    """Those that are left after the step."""


@dataclass(frozen=True, kw_only=True)
class IdentifyJson:
    """Where identities lead, step by step; nothing is changed."""

    mpid: Mpid | None
    """The profile that is found."""
    protected: bool
    """Whether its identities are protected."""
    skipped: list[SkippedIdentityJson]
    """The identities that find nobody."""
    usable: bool
    """Whether any identity can find somebody."""
    steps: list[StepJson]
    """The steps."""
