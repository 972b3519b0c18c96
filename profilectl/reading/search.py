"""Find people: identities by their beginning, any part or a pattern; profiles by a condition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.held_values import held_as_json
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.casing import loose
from profilectl.store.engine import duckdb
from profilectl.store.segments import known_mpids
from profilectl.store.statements import reading, select, union

if TYPE_CHECKING:
    from profilectl.reading.where import ProfileCondition

WAYS = ("prefix", "exact", "substring", "regex")
"""How a text is compared with identities."""

EVERYBODY = "select profile, null::varchar as type, null::varchar as value from named"
TYPED = "select profile, {columns} from arrived"
NO_MATCH = "select 0 as profile, '' as type, '' as value where false"
MATCHES = "select distinct profile, type, value from typed where value is not null"
MATCHED_PEOPLE = "where profile in (select profile from identity_match)"
MATCHES_OF_BOTH = """
select identity_match.*, condition_match.* exclude (profile)
from identity_match
join condition_match on condition_match.profile = identity_match.profile
"""
# The order ignores case too. Every row has the number of all.
HITS = """
select count(*) over (), {columns}
from found
join named on named.profile = found.profile
where $environment::utinyint is null or named.environment = $environment::utinyint
order by sort_key, found.value, found.type, found.profile
limit $limit
"""
NO_LIMIT = 2**62
FEW = 100
"""The most people whose identities are compared here, and not by a statement."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search: a text, a condition, or both."""

    text: str | None = None
    """The text; None if there is only a condition."""
    way: str = "prefix"
    """One of WAYS."""
    types: Sequence[str] = ()
    """The identity types that are looked at; all, where it is empty."""
    where: str | None = None
    """A condition on profiles (where.py)."""
    environment: str | None = None
    """Only profiles of this environment."""
    limit: int = 20
    """How many are returned at most; 0: all."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One identity that was found, or a profile that meets a condition."""

    mpid: int
    """The MPID of the profile."""
    environment: str
    """Its environment."""
    type: str
    """The type of the identity; "" for a profile."""
    value: str
    """The identity."""
    values: dict[str, str]
    """The JSON text of the attributes that the condition reads."""

    def as_json(self) -> str:
        """Return the line of `search --json`."""
        document = {"mpid": str(self.mpid), "environment": self.environment}
        if self.type:
            document |= {"type": self.type, "value": self.value}
        members = json.dumps(document, ensure_ascii=False)[1:-1]
        if not self.values:
            return "{" + members + "}"
        values = ", ".join(
            f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in self.values.items()
        )
        return "{" + members + ', "user_attributes": {' + values + "}}"


def search(profiles: Profiles, request: SearchRequest) -> tuple[int, list[Hit]]:
    """Return how many were found, and the first of them by type and value.

    Case is ignored, except in a regular expression. Raises UsageError for a pattern or a condition
    that cannot be used.
    """
    if request.text is None and request.where is None:
        raise UsageError("say what to search for", "a text, or --where \"tier = 'gold'\"")
    if request.way == "exact" and request.text is not None and request.where is None:
        few = _few(profiles, request, request.text)
        if few is not None:
            return len(few), few[: request.limit or None]
    from profilectl.reading.where import condition_of

    scratch = profiles.store.scratch
    condition = condition_of(request.where, profiles) if request.where is not None else None
    try:
        _find(profiles, request, condition)
    except (duckdb.InvalidInputException, duckdb.BinderException) as error:
        pattern = request.text if request.way == "regex" else request.where
        why = str(error).splitlines()[0].partition(": ")[2][:200]
        raise UsageError(f"{pattern} cannot be searched for: {why}") from None
    keys = condition.keys if condition else []
    columns = [
        f"{identity_sql.loose('found.value')} as sort_key",
        "named.mpid, named.environment, found.type, found.value",
        *(
            f"if(v{place} is not null, {held_as_json(f'v{place}')}, null)"
            for place in range(len(keys))
        ),
    ]
    environment = ENVIRONMENTS.index(request.environment) if request.environment else None
    rows = scratch.rows(
        reading(HITS.format(columns=", ".join(columns)), named=known_mpids(profiles.segments)),
        {"environment": environment, "limit": request.limit or NO_LIMIT},
    )
    hits = [
        Hit(
            mpid=mpid,
            environment=ENVIRONMENT_NAME[code],
            type=kind or "",
            value=value or "",
            values={key: text for key, text in zip(keys, texts, strict=True) if text is not None},
        )
        for _, _, mpid, code, kind, value, *texts in rows
    ]
    return rows[0][0] if rows else 0, hits


def _few(profiles: Profiles, request: SearchRequest, text: str) -> list[Hit] | None:
    """Return who holds a text as a whole identity, in order; None where that are many.

    It does for a few people what the statements do for many, of which planning alone takes 15 ms.
    """
    kinds = [kind for kind in profiles.identities if not request.types or kind in request.types]
    holders = profiles.holders(text, kinds)
    everybody = sorted({number for numbers in holders.values() for number in numbers})
    if len(everybody) > FEW:
        return None
    if not everybody:
        return []
    columns = ["profile", "mpid", "environment", *(f"i_{kind}" for kind in kinds)]
    arrived = profiles.rows([], profiles.where(everybody))
    people: dict[int, tuple[int, int]] = {}
    fitting: set[tuple[int, str, str]] = set()
    for number, mpid, environment, *values in profiles.store.scratch.rows(
        select(columns, f"({arrived})")
    ):
        if mpid is not None:  # only the founding row has it
            people[number] = (mpid, environment)
        fitting |= {
            (number, kind, value)
            for kind, value in zip(kinds, values, strict=True)
            if value is not None
            and number in holders[kind]
            and key_of(BY_NAME[kind], value) == key_of(BY_NAME[kind], display(text))
        }
    return [
        Hit(
            mpid=people[number][0],
            environment=ENVIRONMENT_NAME[people[number][1]],
            type=kind,
            value=value,
            values={},
        )
        for number, kind, value in sorted(fitting, key=lambda hit: (loose(hit[2]), *hit[::-1]))
        if request.environment in (None, ENVIRONMENT_NAME[people[number][1]])
    ]


def _find(profiles: Profiles, request: SearchRequest, condition: ProfileCondition | None) -> None:
    """Make `found` (profile, type, value, v0, v1 ...)."""
    scratch = profiles.store.scratch
    named = known_mpids(profiles.segments)
    by_text = request.text is not None
    matches = _matches(profiles, request) if by_text else reading(EVERYBODY, named=named)
    scratch.make("identity_match", matches)
    if condition is None:
        scratch.rename("identity_match", "found")
        return
    # Where a text was searched for, only the profiles that have it are folded.
    folded = profiles.folded(condition.keys, MATCHED_PEOPLE if by_text else "")
    values = ", ".join(["profile", *(f"v{place}" for place in range(len(condition.keys)))])
    scratch.make("condition_match", f"select {values} from ({folded}) where {condition.sql}")
    scratch.make("found", MATCHES_OF_BOTH)


def _matches(profiles: Profiles, request: SearchRequest) -> str:
    """Return the SELECT of (profile, type, value) of the identities that fit."""
    parts = [NO_MATCH]
    for kind in profiles.identities:
        if request.types and kind not in request.types:
            continue
        condition = "where " + _fits(kind, request)
        if request.way == "exact":
            # the index tells who has it, their rows how it is written
            holders = profiles.find(kind, request.text or "")
            if not holders:
                continue
            condition += f" and profile in ({', '.join(map(str, holders))})"
        columns = f"{quote_text(kind)} as type, i_{kind} as value"
        arrived = profiles.rows([], condition)
        parts.append(reading(TYPED.format(columns=columns), arrived=arrived))
    return reading(MATCHES, typed=union(parts))


def _fits(kind: str, request: SearchRequest) -> str:
    """Return the condition that an identity of a type fits the text."""
    text, column = request.text or "", f"i_{kind}"
    if request.way == "exact":
        key = quote_text(key_of(BY_NAME[kind], display(text)))
        return f"{identity_sql.key(BY_NAME[kind], column)} = {key}"
    if request.way == "regex":
        return f"regexp_matches({column}, {quote_text(text)})"
    test = "contains" if request.way == "substring" else "starts_with"
    return f"{test}({identity_sql.loose(column)}, {quote_text(loose(text))})"
