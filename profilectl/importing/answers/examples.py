"""A few rows for each thing a dry run says would happen: where they are, what was and would be.

The numbers of a dry run are those of the import; the examples show whether they mean what one
hoped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import orjson

from profilectl.importing.answers.trace import example_rows, make_row_codes
from profilectl.importing.relations import Relations, fill, only_row, union_of
from profilectl.importing.stage.staged import Rejects, Staged, place_of
from profilectl.rules.counts import SharedIdentity
from profilectl.rules.identity import NAME
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import DELETED, held_json

PLACE = ("file", "line", "row", "mpid")
"""Where an example is, and whose."""
FEW = 3
"""How many examples of each kind; the statements below spell the number out."""

Example = dict[str, object]
"""A row of a file, and what it is an example of."""
Kinds = dict[str, list[Example]]
"""Examples by kind."""

# The MPID that each profile has, or would get.
PROFILE_MPID = """
select profile, mpid from known_mpid
union all
select resolved.profile, founder_mpid.mpid
from founder_mpid
join resolved on resolved.seq = founder_mpid.seq
"""
FIRST_OF_EACH_CODE = """
select seq, code, attribute
from (
  select *, row_number() over (partition by code order by seq, attribute) as nth from row_code
)
where nth <= 3
"""
CREATED = "select seq, mpid::varchar as mpid from founder_mpid order by seq limit 3"
# Profiles that would change, each by its first row.
UPDATED = """
select min(resolved.seq) as seq, any_value(profile_mpid.mpid)::varchar as mpid
from resolved
join profile_mpid on profile_mpid.profile = resolved.profile
where resolved.profile in (select profile from changed_profile)
  and resolved.profile in (select profile from known_profile)
group by resolved.profile
order by seq
limit 3
"""
FOUNDING_IDENTITIES = "select {columns} from staged join identity_hash using (seq) where seq = $seq"
STAGED_COLUMNS = "select {columns} from staged where seq = $seq"
LOOSE_CELLS = "select key, value from staged_loose where seq = $seq"
ADDED = """
select gained_identity.seq, gained_identity.type, profile_mpid.mpid::varchar as mpid
from gained_identity
join profile_mpid on profile_mpid.profile = gained_identity.profile
where gained_identity.profile in (select profile from known_profile)
order by gained_identity.seq, gained_identity.type
limit 3
"""
LOST = """
select resolved.seq, lost_identity.type, loser.mpid::varchar as from_mpid,
       finder.mpid::varchar as to_mpid, lost_identity.profile <> resolved.profile as moved
from lost_identity
join import_start on true
join resolved on resolved.seq = lost_identity.arrival - import_start.first_arrival
left join profile_mpid as loser on loser.profile = lost_identity.profile
left join profile_mpid as finder on finder.profile = resolved.profile
"""
MOVED = "select seq, type, from_mpid, to_mpid from lost_example where moved order by seq limit 3"
REMOVED = "select seq, type, from_mpid from lost_example where not moved order by seq limit 3"
# What rows say of the attributes of known profiles.
WIDE_CELL = """
select contested_row.seq, contested_row.profile{columns}
from contested_row
left join state_before on state_before.profile = contested_row.profile
where contested_row.profile in (select profile from known_profile)
"""
CELL = """
, {key} as attribute, state_before.v{n} as before,
case when contested_row.o{n} < 7 then contested_row.c{n} end as after,
(select code from blocking_code where number = contested_row.o{n}) as code,
contested_row.c{n} as refused
"""
LOOSE_CELL = """
select seq, profile, key as attribute, v as before,
       case when coalesce(w, 'SET') = 'SET' then value end as after,
       case when w <> 'SET' then w end as code, value as refused
from loose_cell
where profile in (select profile from known_profile)
"""
FEW_CELLS = "(select * from ({cells}) where {condition} order by seq limit 3)"
CELLS_BY_KIND = {
    "set": "before is null and after is not null and after <> chr(31)",
    "changed": (
        "before is not null and after is not null and after <> chr(31) and after <> before"
    ),
    "deleted": "before is not null and after = chr(31)",
    "blocked": "code is not null",
}
"""The condition on a cell that it is an example of a kind."""
# The first example of each attribute comes before a second one of any.
SPREAD_CELL = """
select cell.seq, profile_mpid.mpid::varchar as mpid, cell.attribute, cell.before, cell.after,
       cell.code, cell.refused
from (
  select *, row_number() over (partition by attribute order by seq) as nth
  from kind_example
  order by nth, seq, attribute
  limit 3
) as cell
join profile_mpid on profile_mpid.profile = cell.profile
"""


@dataclass(frozen=True, slots=True)
class Decided:
    """What examples are taken from, beside the relations of the import."""

    staged: Staged
    """The staged rows."""
    rejects: Rejects
    """The rows that could not be used."""
    shared: list[SharedIdentity]
    """Identities that many rows and profiles have."""


def examples_of(relations: Relations, decided: Decided) -> dict[str, Kinds | list[Example]]:
    """Return examples by kind: reasons (by code), profiles, identities, attributes, shared.

    The relations of the import are made and the store is open. mpid is what the profile has, or
    would get.
    """
    staged = decided.staged
    relations.make("profile_mpid", PROFILE_MPID, keep=False)
    profiles = _profiles(relations, staged)
    identities = _identities(relations, decided)
    attributes = _attributes(relations, staged)
    for founding in profiles["created"]:
        _add_new(founding, identities["added"], attributes["set"])
    return {
        "reasons": _reasons(relations, staged, decided.rejects),
        "profiles": profiles,
        "identities": identities,
        "attributes": attributes,
        "shared": [identity.as_json() for identity in decided.shared[:FEW]],
    }


def _add_new(founding: Example, added: list[Example], sets: list[Example]) -> None:
    """Fill up the examples from a new profile: if nobody was known before, they would be empty."""
    place = {name: founding[name] for name in PLACE if name in founding}
    identities, attributes = founding["identities"], founding["attributes"]
    assert isinstance(identities, dict)
    assert isinstance(attributes, dict)
    room = max(FEW - len(added), 0)
    new = [{**place, "type": kind, "value": value} for kind, value in identities.items()]
    added += new[:room]
    room = max(FEW - len(sets), 0)
    new = [{**place, "attribute": key, "after": value} for key, value in attributes.items()]
    sets += new[:room]


def without_mpids(examples: dict[str, Kinds | list[Example]]) -> None:
    """Take out the MPIDs of a store that does not exist yet: it will make others."""
    for group in ("profiles", "identities", "attributes"):
        kinds = examples[group]
        assert isinstance(kinds, dict)
        for example in (example for listed in kinds.values() for example in listed):
            for name in ("mpid", "from_mpid", "to_mpid"):
                example.pop(name, None)


def _reasons(relations: Relations, staged: Staged, rejects: Rejects) -> Kinds:
    """Return rows for each code that a row got."""
    examples: Kinds = {}
    if len(rejects):
        with rejects.path.open("rb") as lines:
            for line in lines:
                _add_reject(examples, json.loads(line))
    make_row_codes(relations, staged)
    for row in example_rows(relations, staged, FIRST_OF_EACH_CODE, columns=("code", "attribute")):
        code = str(row.pop("code"))
        if row["attribute"] is None:
            del row["attribute"]
        examples.setdefault(code, []).append(row)
    return dict(sorted(examples.items()))


def _add_reject(examples: Kinds, reject: dict[str, str]) -> None:
    """Add a reject to the examples of its code, unless there are enough."""
    listed = examples.setdefault(reject["code"], [])
    if len(listed) < FEW:
        unit = "row" if "row" in reject else "line"
        listed.append(
            {
                "file": reject["file"],
                unit: place_of(reject),
                "message": reject["message"],
                "raw": reject["raw"][:200],
            }
        )


def _profiles(relations: Relations, staged: Staged) -> Kinds:
    """Return profiles that would be made, and those that would change, each by its first row."""
    created = example_rows(relations, staged, CREATED, columns=("seq", "mpid"))
    return {
        "created": [_founding(relations, staged, row) for row in created],
        "updated": example_rows(relations, staged, UPDATED, columns=("mpid",)),
    }


def _founding(relations: Relations, staged: Staged, row: Example) -> Example:
    """Add to a founding row the identities it is found by, and the attributes it states."""
    bound = {"seq": row.pop("seq")}
    identities: dict[str, str] = {}
    if staged.identities:
        columns = ", ".join(
            f"case when h{place} is not null then i_{kind} end"
            for place, kind in enumerate(staged.identities)
        )
        values = only_row(relations, FOUNDING_IDENTITIES.format(columns=columns), bound)
        identities = {
            kind: value
            for kind, value in zip(staged.identities, values, strict=True)
            if value is not None
        }
    cells: dict[str, str] = {}
    if staged.keys:
        columns = ", ".join(f"a{n}" for n in range(len(staged.keys)))
        values = only_row(relations, STAGED_COLUMNS.format(columns=columns), bound)
        cells = dict(zip(staged.keys, values, strict=True))
    if staged.loose:
        cells |= dict(relations.rows(LOOSE_CELLS, bound))
    attributes = {
        key: _plain(cell) for key, cell in cells.items() if cell is not None and cell != DELETED
    }
    return {**row, "identities": identities, "attributes": attributes}


def _identities(relations: Relations, decided: Decided) -> Kinds:
    """Return identities that known profiles would gain, and those that move or are replaced."""
    staged = decided.staged
    added = example_rows(relations, staged, ADDED, columns=("seq", "type", "mpid"))
    relations.make("lost_example", LOST, keep=False)
    columns = ("seq", "type", "from_mpid")
    moved = example_rows(relations, staged, MOVED, columns=(*columns, "to_mpid"))
    removed = example_rows(relations, staged, REMOVED, columns=columns)
    for row in removed:
        row["mpid"] = row.pop("from_mpid")
    return {
        "added": [_with_value(relations, row) for row in added],
        "moved": [_with_value(relations, row) for row in moved],
        "removed": [_with_name(row) for row in removed],
    }


def _with_value(relations: Relations, row: Example) -> Example:
    """Add the value of an identity, as the row states it."""
    kind = NAME[int(str(row["type"]))]
    select = STAGED_COLUMNS.format(columns=f"i_{kind}")
    (value,) = only_row(relations, select, {"seq": row.pop("seq")})
    return {**row, "type": kind, "value": value}


def _with_name(row: Example) -> Example:
    """Name the type of an identity of which no value is known."""
    del row["seq"]
    return {**row, "type": NAME[int(str(row["type"]))]}


def _attributes(relations: Relations, staged: Staged) -> Kinds:
    """Return attributes of known profiles that would be set, changed, deleted, or are refused."""
    selects = [WIDE_CELL.format(columns=_cell_columns(n, key)) for n, key in enumerate(staged.keys)]
    if relations.has("loose_cell"):
        selects.append(LOOSE_CELL)
    examples: Kinds = {kind: [] for kind in CELLS_BY_KIND}
    for kind, condition in CELLS_BY_KIND.items() if selects else ():
        few_of_each = [fill(FEW_CELLS, cells=cells, condition=condition) for cells in selects]
        relations.make("kind_example", union_of(few_of_each), keep=False)
        columns = ("mpid", "attribute", "before", "after", "code", "refused")
        rows = example_rows(relations, staged, SPREAD_CELL, columns=columns)
        examples[kind] = [_change(kind, row) for row in rows]
    return examples


def _cell_columns(n: int, key: str) -> str:
    """Return the columns of what rows say of an attribute."""
    return fill(CELL, n=n, key=quote_text(key))


def _change(kind: str, row: Example) -> Example:
    """Return an example of an attribute, with what belongs to its kind."""
    change = {name: row[name] for name in (*PLACE, "attribute") if name in row}
    if row["before"] is not None:
        change["before"] = _plain(row["before"])
    if kind == "blocked":
        change |= {"value": _plain(row["refused"]), "code": row["code"]}
    elif kind != "deleted":
        change["after"] = _plain(row["after"])
    return change


def _plain(cell: object) -> orjson.Fragment | None:
    """Return a held value as JSON shows it, digit for digit; a deletion is null."""
    return None if cell == DELETED else orjson.Fragment(held_json(str(cell)))
