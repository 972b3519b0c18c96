"""Explain why an attribute has its value, by which row and which rule; and list the rules in force.

Nothing is decided here again. What happened is read from the rows; the rule that decided is looked
up in the tables that the interpreter and the engine use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from profilectl.codes import InputRefused, sentence
from profilectl.profiles.activity import Activity, AttributeChange, Origin
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import PROTECTIONS
from profilectl.rules.identity import Rules
from profilectl.rules.priority import CALCULATED, OVERWRITE, SET, SOURCES, Owner, standing

# The reasons for which a value was let through, by how the incoming source stands to the owner.
LET_THROUGH = {
    "better": "a source of better rank overrides",
    "same unit": "the same source speaks again: the newest value counts",
    "free": "it had been deleted: any source may set it",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The row of the table of attribute priority that decided (priority.OVERWRITE)."""

    priority: str
    """The reading of priority: rank or first-writer."""
    incoming: Owner
    """The source that stated the value."""
    owner: Owner
    """The source that owned the attribute."""
    standing: str
    """How the incoming source stands to the owner; "free" where the attribute had been deleted, so
    that nobody owned it and the table was not asked.
    """
    verdict: str
    """The answer of the table: SET, or the code of the refusal."""

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        if self.standing == "free":
            return LET_THROUGH["free"]
        reason = LET_THROUGH[self.standing] if self.verdict == SET else sentence(self.verdict)
        return f"{reason}: {_with_rank(self.incoming)} against {_with_rank(self.owner)}"


def _with_rank(owner: Owner) -> str:
    return f"{owner.unit} (rank {SOURCES[owner.source].rank})"


@dataclass(frozen=True, slots=True)
class Loser:
    """A value that is not in force."""

    entry: AttributeChange
    """What the row did."""
    by: AttributeChange | None
    """The later entry that replaced it; None: it was refused."""
    rule: Rule
    """The rule that decided."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One attribute of a profile, explained."""

    key: str
    """The name of the attribute."""
    winner: AttributeChange | None
    """The entry in force; None where the attribute is not there."""
    losers: list[Loser]
    """The values that are not in force, the newest first."""
    definition: dict[str, object] | None = None
    """The definition of the calculated attribute of that name, which masks the winner."""
    calculated: str | None = None
    """The value that was calculated, as it is held."""
    dormant: bool = False
    """Whether the profile is beyond its lifetime, so that nothing is computed of it."""


def explain_attribute(activity: Activity, key: str) -> Explained:
    """Explain why an attribute has its value.

    Raises InputRefused where the profile never had it.
    """
    history = activity.history.get(key, [])
    calculated = activity.calculated()
    if not history and key not in calculated:
        raise _never_had(activity, key)
    winner = activity.attributes.get(key)
    losers = []
    for place, entry in enumerate(history):
        loser = None if entry is winner else _loser(entry, history[place + 1 :])
        if loser is not None:
            losers.append(loser)
    definition = None
    if activity.standing and key in calculated:
        definition = activity.standing.definitions.get(key)
    return Explained(
        key,
        winner,
        losers=losers[::-1],
        definition=definition,
        calculated=calculated.get(key),
        dormant=activity.dormant,
    )


def _never_had(activity: Activity, key: str) -> InputRefused:
    message = f"the profile {activity.mpid} has had no attribute {key}"
    if activity.aged_ms:
        from profilectl.rules.text.moments import written

        day = written(activity.aged_ms[-1], day=True)
        message += f"; what it had went with retention on {day}"
    return InputRefused(message, "profilectl show names those it has")


def _loser(entry: AttributeChange, later: Sequence[AttributeChange]) -> Loser | None:
    """Return why an entry is not in force; None for a deletion that nothing came after.

    `later` are the entries after it.
    """
    if entry.kind == "blocked":
        return Loser(entry, None, _refusal(entry))
    over = next((change for change in later if change.kind != "blocked"), None)
    if over is None:
        return None
    rule = _rule(over.origin, entry.origin, SET)
    if entry.kind == "deleted":
        rule = replace(rule, standing="free")
    return Loser(entry, over, rule)


def _refusal(entry: AttributeChange) -> Rule:
    """Return the rule by which a cell was refused."""
    if entry.code == CALCULATED:
        return Rule(
            priority="rank",
            incoming=entry.origin.feed.owner,
            owner=Owner("calculated", entry.key),
            standing="worse",
            verdict=CALCULATED,
        )
    assert entry.owner is not None
    return _rule(entry.origin, entry.owner, entry.code)


def _rule(incoming: Origin, owner: Origin, verdict: str) -> Rule:
    ours, theirs = incoming.feed.owner, owner.feed.owner
    stands = standing(ours, theirs)
    # The verdict shows under which reading it was decided; today's setting may be another.
    readings = (name for name, row in OVERWRITE.items() if row[stands] == verdict)
    priority = next(readings, "rank")
    return Rule(priority, incoming=ours, owner=theirs, standing=stands, verdict=verdict)


def rules_in_force(profiles: Profiles) -> dict[str, object]:
    """Return the tables in force, for a person and for JSON."""
    settings = profiles.store.settings()
    return {
        "identity": _identity_rules(settings.rules),
        "attributes": {
            "priority": settings.priority,
            "verdicts": OVERWRITE[settings.priority],
            "sources": [
                {"source": name, "rank": source.rank, "own_unit": source.own_unit}
                for name, source in SOURCES.items()
            ],
        },
        "protection": {
            name: {
                "unknown_user": protection.unknown_user.value,
                "known_user": protection.known_user.value,
                "code": protection.code or None,
            }
            for name, protection in PROTECTIONS.items()
        },
        "feeds": [
            {
                "feed": feed.name,
                "unit": feed.owner.unit,
                "rank": SOURCES[feed.source].rank,
                "protection": feed.protection,
            }
            for feed in profiles.store.feeds()
        ],
        "limits": dict(settings.reading.limits),
        "stated": settings.stated,
    }


def _identity_rules(rules: Rules) -> dict[str, object]:
    return {
        "strategy": rules.strategy,
        "hierarchy": list(rules.hierarchy),
        "login": sorted(rules.login),
        "unique": sorted(rules.unique),
        "immutable": sorted(rules.immutable),
        "unique_conflict": rules.unique_conflict,
        "placeholders": rules.judging.listed,
    }
