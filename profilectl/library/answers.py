"""What changed, why a value is what it is, and who is in an audience, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.library.profiles import Attribute, attribute_of, plain, value_of
from profilectl.library.short_repr import Short
from profilectl.rules.text.values import parse_json

if TYPE_CHECKING:
    from profilectl.audiences.actions import Document
    from profilectl.library.profiles import PlainValue
    from profilectl.profiles.activity import Activity
    from profilectl.reading.explain import Explained, Loser
    from profilectl.reading.row_fate import RowFate


@dataclass(frozen=True, slots=True, repr=False)
class Change(Short):
    """One difference between two states of a store."""

    mpid: int
    """The profile."""
    environment: str
    """Its environment."""
    change: str
    """One of options.ChangeKind: created, identity-added, set, changed, deleted, ..."""
    attribute: str | None
    """The attribute that changed."""
    identity: tuple[str, str] | None
    """The identity that was added or removed: type and value."""
    before: PlainValue
    """The value of the attribute before."""
    after: PlainValue
    """The value after."""
    import_number: int | None
    """The import that made the change."""
    file: str | None
    """The file of the row that made it."""
    line: int | None
    """The line or row of that file."""


def change_of(line: str) -> Change:
    """Return a change; line: its document, as `diff --json` prints it."""
    document = parse_json(line)
    assert isinstance(document, dict)
    change = {name: plain(value) for name, value in document.items()}
    of_identity = "type" in change
    return Change(
        mpid=int(str(change["mpid"])),
        environment=str(change["environment"]),
        change=str(change["change"]),
        attribute=_text(change.get("attribute")),
        identity=(str(change["type"]), str(change["value"])) if of_identity else None,
        before=change.get("before"),
        after=change.get("after"),
        import_number=_number(change.get("import")),
        file=_text(change.get("file")),
        line=_number(change.get("line", change.get("row"))),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True, repr=False)
class Lost(Short):
    """A value that is not in force, and why."""

    attribute: Attribute
    """The value, and where it came from."""
    change: str
    """What its row did: set, changed, unchanged, deleted, or blocked, if it was refused."""
    code: str
    """The code of the refusal; "" if a later value replaced it."""
    why: str
    """The rule that decided, as a sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Short):
    """Why an attribute of a profile has its value."""

    mpid: int
    """The profile."""
    name: str
    """The attribute."""
    winner: Attribute | None
    """The value in force that came in a row; None: there is none."""
    calculated: PlainValue
    """The value of the calculated attribute of that name, which masks the winner; None: none."""
    losers: Sequence[Lost]
    """The values that are not in force, the newest first."""


def explanation_of(activity: Activity, explained: Explained) -> Explanation:
    """Return the explanation of an attribute as plain values."""
    return Explanation(
        mpid=activity.mpid,
        name=explained.key,
        winner=attribute_of(explained.winner) if explained.winner else None,
        calculated=value_of(explained.calculated) if explained.calculated is not None else None,
        losers=[_lost(loser) for loser in explained.losers],
    )


def _lost(loser: Loser) -> Lost:
    return Lost(
        attribute=attribute_of(loser.entry),
        change=loser.entry.kind,
        code=loser.entry.code,
        why=loser.rule.words,
    )


@dataclass(frozen=True, slots=True, repr=False)
class ExplainedRow(Short):
    """What became of a row of a file in one import."""

    import_number: int
    """The import."""
    feed: str
    """Its feed."""
    file: str
    """The file, as the import named it."""
    line: int
    """The line or row."""
    mpid: int | None
    """The profile that it was applied to; None: it was not applied."""
    code: str
    """Why it was not applied."""
    message: str
    """The reason as a sentence."""
    raw: str
    """The text of a row that was rejected."""
    remarks: Sequence[str]
    """The codes of what was left out of it, or is worth knowing."""


def row_of(fate: RowFate) -> ExplainedRow:
    """Return what became of a row as plain values."""
    return ExplainedRow(
        import_number=fate.import_number,
        feed=fate.feed,
        file=fate.file,
        line=fate.line,
        mpid=fate.activity.mpid if fate.activity else None,
        code=fate.code,
        message=fate.message,
        raw=fate.raw,
        remarks=[remarked.code for remarked in fate.remarks],
    )


@dataclass(frozen=True, slots=True, repr=False)
class StoredAudience(Short):
    """An audience and its size."""

    audience_id: int
    """Its number."""
    name: str
    """Its name."""
    kind: str
    """real-time or standard."""
    state: str
    """ready, or draft before it was first evaluated."""
    workspace: str
    """The workspace that it belongs to."""
    criteria: str
    """Its criteria."""
    lookback_days: int | None
    """How far back events count; None: all that are kept."""
    members: int
    """How many people are in it."""
    refreshed_ms: int | None
    """When it was last evaluated, in milliseconds since 1970."""
    entered: int | None = None
    """How many entered with this refresh; None: it was not just refreshed."""
    left: int | None = None
    """How many left with it."""


@dataclass(frozen=True, slots=True, repr=False)
class AudienceMember(Short):
    """A member of an audience."""

    mpid: int
    """The profile."""
    environment: str
    """Its environment."""
    since_ms: int
    """Since when it is a member, in milliseconds since 1970."""
    identities: Mapping[str, Sequence[str]]
    """Identity type -> values, oldest first."""


def member_of(document: Document) -> AudienceMember:
    """Return a member, of its document in `audiences members --json`."""
    return AudienceMember(**{**document, "mpid": int(document["mpid"])})


@dataclass(frozen=True, slots=True, repr=False)
class Preview(Short):
    """Who would be in an audience."""

    criteria: str
    """Its criteria, as they were understood."""
    members: int
    """How many would be in it."""
    profiles: int
    """How many profiles there are."""
    sample: Sequence[int]
    """The MPIDs of a few who would be."""


def preview_of(document: Document) -> Preview:
    """Return a preview, of its document in `audiences preview --json`."""
    return Preview(
        criteria=document["criteria"],
        members=document["members"],
        profiles=document["profiles"],
        sample=[int(profile["mpid"]) for profile in document["sample"]],
    )
