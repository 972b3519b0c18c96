"""Finding people: identities by their beginning, any part, or a pattern; profiles by a condition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.reading.where import condition_of
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import held_as_json
from profilectl.rules.text.casing import loose
from profilectl.store.segments import known_mpids

WAYS = ("prefix", "exact", "substring", "regex")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is searched for.

    text: None where only a condition is; types: identity types, all where empty.
    """

    text: str | None = None
    way: str = "prefix"
    types: Sequence[str] = ()
    where: str | None = None
    environment: str | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """One identity that was found, or with type "" a profile that meets a condition.

    values: JSON text of the attributes the condition reads.
    """

    mpid: int
    environment: str
    type: str
    value: str
    values: dict[str, str]

    def as_json(self) -> str:
        found = {"mpid": str(self.mpid), "environment": self.environment}
        if self.type:
            found |= {"type": self.type, "value": self.value}
        members = json.dumps(found, ensure_ascii=False)[1:-1]
        values = ", ".join(
            f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in self.values.items()
        )
        return (
            "{" + members + (', "user_attributes": {' + values + "}" if self.values else "") + "}"
        )


def search(profiles: Profiles, asked: SearchRequest) -> tuple[int, list[Hit]]:
    """Return how many were found, and the first of them by type and value.

    Upper and lower case are one, but in a regular expression. Raises UsageError for a pattern or a
    condition that is none.
    """
    if asked.text is None and asked.where is None:
        raise UsageError("say what to search for", "a text, or --where \"tier = 'gold'\"")
    scratch = profiles.store.scratch
    condition = condition_of(asked.where, profiles) if asked.where is not None else None
    keys = condition.keys if condition else []
    try:
        scratch.make(
            "hit", _identities(profiles, asked) if asked.text is not None else _everybody(profiles)
        )
        if condition:
            # Only those that were found are put together, where something was searched for.
            only = "where profile in (select profile from hit)" if asked.text is not None else ""
            values = ", ".join(["profile", *(f"v{n}" for n in range(len(keys)))])
            scratch.make(
                "met", f"select {values} from ({profiles.folded(keys, only)}) where {condition.sql}"
            )
            scratch.make(
                "found",
                "select hit.*, met.* exclude (profile) from hit join met on met.profile = hit.profile",
            )
        else:
            scratch.rename("hit", "found")
    except (duckdb.InvalidInputException, duckdb.BinderException) as error:
        raise UsageError(
            f"{asked.text if asked.way == 'regex' else asked.where} cannot be searched for: {str(error).splitlines()[0].partition(': ')[2][:200]}"
        ) from None
    environment = (
        f"where mpid.environment = {ENVIRONMENTS.index(asked.environment)}"
        if asked.environment
        else ""
    )
    joined = f"found join ({known_mpids(profiles.segments)}) as mpid on mpid.profile = found.profile {environment}"
    read = "".join(
        f", case when v{n} is not null then {held_as_json(f'v{n}')} end" for n in range(len(keys))
    )
    rows = scratch.rows(
        f"select count(*) over (), mpid.mpid, mpid.environment, found.type, found.value{read} from {joined}"
        f" order by {identity_sql.loose('found.value')}, found.value, found.type, found.profile limit {asked.limit or 2**62}"
    )
    return rows[0][0] if rows else 0, [
        Hit(
            mpid,
            ENVIRONMENT_NAME[code],
            kind or "",
            value or "",
            {key: one for key, one in zip(keys, values, strict=True) if one is not None},
        )
        for _, mpid, code, kind, value, *values in rows
    ]


def _everybody(profiles: Profiles) -> str:
    return f"select profile, null::varchar as type, null::varchar as value from ({known_mpids(profiles.segments)})"


def _identities(profiles: Profiles, asked: SearchRequest) -> str:
    """Return the SELECT of (profile, type, value) of the identities that fit."""
    assert asked.text is not None
    parts = []
    kinds = [kind for kind in profiles.identities if not asked.types or kind in asked.types]
    if asked.way == "exact":
        listed = {kind: profiles.find(kind, asked.text) for kind in kinds}
        kinds = [kind for kind in kinds if listed[kind]]
    for kind in kinds:
        where = "where " + _fits(kind, asked)
        if asked.way == "exact":
            where += f" and profile in ({', '.join(map(str, listed[kind]))})"
        parts.append(
            f"select profile, {quote_text(kind)} as type, i_{kind} as value from ({profiles.rows([], where)}) where i_{kind} is not null"
        )
    union = " union all ".join(parts) or "select 0 as profile, '' as type, '' as value where false"
    return f"select distinct profile, type, value from ({union})"


def _fits(kind: str, asked: SearchRequest) -> str:
    """Return the condition that an identity of a type is what is searched for."""
    text, column = asked.text or "", f"i_{kind}"
    sought = quote_text(loose(text))
    match asked.way:
        case "exact":
            return f"{identity_sql.key(BY_NAME[kind], column)} = {quote_text(key_of(BY_NAME[kind], display(text)))}"
        case "substring":
            return f"contains({identity_sql.loose(column)}, {sought})"
        case "regex":
            return f"regexp_matches({column}, {quote_text(text)})"
    return f"starts_with({identity_sql.loose(column)}, {sought})"
