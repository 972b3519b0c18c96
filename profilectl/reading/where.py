"""Conditions on profiles, as `--where` takes them: read as criteria are, written as SQL.

The language is that of criteria (rules/criteria/grammar.py): every test means the same here and in
an audience (rules/membership.py). A name means the same as the name of a column in an import
(batch_fields.field_named): an identity type or an attribute. `environment`, `mpid`, `first_seen_ms`
and `last_seen_ms` are the profile's own.

There are two differences. A condition that finds nothing by mistake is refused: an attribute, an
event or an audience that is not there. And people who have opted out are found, who are in no
audience.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.text import WHERE, criterion_of
from profilectl.rules.criteria.tree import All, AnyOf, Comparison, Criterion, Not
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import ENVIRONMENT_CODE, key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import passes, passes_held, time_passes
from profilectl.rules.text.naming import no_such

OWN = ("environment", *criteria.OWN_FIELDS)
"""The names of the profile's own columns."""
BESIDE = ("device", "attribution")
"""The kinds of fields that stand beside the row of a profile."""

# The profiles that pass a test of what stands beside their row: events, devices, consent ...
MET = "profile in (select profile from met_beside where audience = {name})"


@dataclass(slots=True)
class ProfileCondition:
    """A condition as SQL over the columns of Profiles.folded(keys)."""

    sql: str
    """The SQL of the condition."""
    keys: list[str] = field(default_factory=list)
    """The attributes that it reads."""


def check_condition(text: str) -> None:
    """Refuse a condition that is empty: it would mean everybody. Raises UsageError."""
    if not text.strip():
        raise UsageError(
            "--where is empty",
            f"{WHERE.example.partition(';')[0]}; leave --where out for everybody",
        )


def condition_of(text: str, profiles: Profiles) -> ProfileCondition:
    """Read a condition on the profiles of a read model.

    Makes `met_beside` where the condition reads what stands beside the rows of profiles. Raises
    UsageError for a condition that is empty, for an attribute, an event or an audience that nobody
    has, and with a mark under the character that was not expected.
    """
    check_condition(text)
    tree = criterion_of(text, WHERE)
    for name in criteria.reads(tree).attributes:
        if not profiles.has(name):
            names = (*profiles.names(), *OWN, *BY_NAME)
            raise no_such("attribute", name, names, option="--where", lists="profilectl stats")
    now_ms = time.time_ns() // 1_000_000
    beside = list(dict.fromkeys(filter(_is_beside, criteria.leaves(tree))))
    if beside:
        from profilectl.reading.where_beside import make_met_beside

        make_met_beside(profiles, beside, now_ms)
    keys = list(criteria.reads(tree).attributes)
    return ProfileCondition(
        _ConditionWriter(profiles, keys, beside=beside, now_ms=now_ms).sql(tree), keys
    )


def _is_beside(leaf: Criterion) -> bool:
    return not isinstance(leaf, Comparison) or leaf.field.kind in BESIDE


@dataclass(frozen=True, slots=True)
class _ConditionWriter:
    """Writes a condition as SQL. Nothing of its text reaches the SQL unquoted."""

    profiles: Profiles
    """The read model."""
    keys: Sequence[str]
    """The attributes, in the order of their columns."""
    beside: Sequence[Criterion]
    """The tests of what stands beside the rows, in the order of their names in `met_beside`."""
    now_ms: int
    """The time as of which spans are counted."""

    def sql(self, tree: Criterion) -> str:
        """Return the SQL of a part of the condition; never null."""
        match tree:
            case All() | AnyOf():
                word = " and " if isinstance(tree, All) else " or "
                return "(" + word.join(map(self.sql, tree.parts)) + ")"
            case Not():
                return f"(not {self.sql(tree.part)})"
            case Comparison() if not _is_beside(tree):
                return f"({self._test(tree)})"
        return f"({MET.format(name=quote_text(str(self.beside.index(tree))))})"

    def _test(self, tree: Comparison) -> str:
        """Return the SQL of a test of a column of the row."""
        name, operator, operands = tree.field.name, tree.operator, criteria.sought(tree)
        match tree.field.kind:
            case "attribute":
                column = f"v{self.keys.index(name)}"
                return passes_held(column, operator, operands=operands, now_ms=self.now_ms)
            case "identity":
                if name not in self.profiles.identities:
                    return "false"
                text = key(BY_NAME[name], "held") if criteria.by_key(tree) else "held"
                test = passes(text, operator, operands=operands, now_ms=self.now_ms)
                return f"ifnull(len(list_filter(i_{name}, lambda held: {test})) > 0, false)"
            case "environment":
                return f"environment = {ENVIRONMENT_CODE[str(operands[0])]}"
            case "first_seen" | "last_seen":
                return time_passes(
                    f"{tree.field.kind}_ms", operator, operands=operands, now_ms=self.now_ms
                )
        return passes(
            f"{tree.field.kind}::varchar", operator, operands=operands, now_ms=self.now_ms
        )
