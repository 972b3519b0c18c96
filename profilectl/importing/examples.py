"""A few rows for each thing a dry run says would happen: where they stand, what was and what would
be.

The numbers of a dry run are those of the import; the examples show whether they mean what one
hoped.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from profilectl.importing.commit import Import
from profilectl.importing.merge import DELETED, Merged
from profilectl.importing.stage.run import Staged
from profilectl.importing.stage.staged import Rejects, place_of
from profilectl.importing.trace import example_rows, row_codes
from profilectl.rules.counts import ImportReport
from profilectl.rules.identity import NAME
from profilectl.rules.priority import SET
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import DELETED as DELETED_VALUE
from profilectl.rules.text.values import held_json
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

PLACE = ("file", "line", "row", "mpid")
"""Where an example stands, and whose it is."""
FEW = 3
"""So many examples of each kind."""


def examples_of(
    scratch: Scratch,
    staged: Staged,
    report: ImportReport,
    merged: Merged,
    made: Import,
    store: OpenStore,
    rejects: Rejects,
) -> dict[str, Any]:
    """Return examples by kind: reasons (by code), profiles, identities, attributes, shared.

    The relations of the import are made and the store is attached. mpid is what the profile has, or
    would get.
    """
    scratch.make(
        "named_profile",
        f"select profile, mpid from ({known_mpids(store.segments())}) union all select profile, mpid from resolved where mpid is not null",
        keep=False,
    )
    profiles = _profiles(scratch, staged)
    identities, attributes = (
        _identities(scratch, staged, made),
        _attributes(scratch, staged, merged),
    )
    # Where nobody was known before, what is new is new with the profiles.
    for one in profiles["created"]:
        where = {name: one[name] for name in PLACE if name in one}
        for listed, stated in (
            (
                identities["added"],
                [{"type": kind, "value": value} for kind, value in one["identities"].items()],
            ),
            (
                attributes["set"],
                [{"attribute": key, "after": value} for key, value in one["attributes"].items()],
            ),
        ):
            listed += [
                {**where, **said} for said in stated[: FEW - len(listed)] if len(listed) < FEW
            ]
    return {
        "reasons": _reasons(scratch, staged, merged, rejects),
        "profiles": profiles,
        "identities": identities,
        "attributes": attributes,
        "shared": [one.as_json() for one in report.shared[:FEW]],
    }


def without_mpids(examples: dict[str, Any]) -> None:
    """Take out the MPIDs of a store that does not exist yet: it will make others."""
    for group in ("profiles", "identities", "attributes"):
        for listed in examples[group].values():
            for example in listed:
                for name in ("mpid", "from_mpid", "to_mpid"):
                    example.pop(name, None)


def _reasons(
    scratch: Scratch, staged: Staged, merged: Merged, rejects: Rejects
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if len(rejects):
        with rejects.path.open("rb") as lines:
            for line in lines:
                reject = json.loads(line)
                listed = found.setdefault(reject["code"], [])
                if len(listed) < FEW:
                    listed.append(
                        {
                            "file": reject["file"],
                            "row" if "row" in reject else "line": place_of(reject),
                            "message": reject["message"],
                            "raw": reject["raw"][:200],
                        }
                    )
    first = (
        f"select seq, code, attribute from (select *, row_number() over (partition by code order by seq, attribute) as place"
        f" from ({row_codes(scratch, staged, merged)})) where place <= {FEW}"
    )
    for row in example_rows(scratch, staged, first, ("code", "attribute")):
        code = str(row.pop("code"))
        if row["attribute"] is None:
            del row["attribute"]
        found.setdefault(code, []).append(row)
    return dict(sorted(found.items()))


def _profiles(scratch: Scratch, staged: Staged) -> dict[str, list[dict[str, Any]]]:
    """Profiles that would be made, and those that would change, each by its first row."""
    created = (
        f"select seq, mpid::varchar as mpid from resolved where created order by seq limit {FEW}"
    )
    updated = (
        "select min(resolved.seq) as seq, any_value(named_profile.mpid)::varchar as mpid from resolved"
        " join named_profile on named_profile.profile = resolved.profile"
        " where resolved.profile in (select profile from changed) and resolved.profile in (select profile from met)"
        f" group by resolved.profile order by seq limit {FEW}"
    )
    return {
        "created": [
            _founding(scratch, staged, row)
            for row in example_rows(scratch, staged, created, ("seq", "mpid"))
        ],
        "updated": example_rows(scratch, staged, updated, ("mpid",)),
    }


def _founding(scratch: Scratch, staged: Staged, row: dict[str, Any]) -> dict[str, Any]:
    """Add to the example of a founding row the identities it is found by, and the attributes it
    states.
    """
    seq, found = row.pop("seq"), {}
    if staged.identities:
        columns = ", ".join(
            f"case when h{place} is not null then i_{kind} end"
            for place, kind in enumerate(staged.identities)
        )
        said = scratch.row(
            f"select {columns} from staged join identity_hash using (seq) where seq = $seq",
            {"seq": seq},
        )
        found = {
            kind: value
            for kind, value in zip(staged.identities, said, strict=True)
            if value is not None
        }
    cells: dict[str, str] = {}
    if staged.keys:
        said = scratch.row(
            f"select {', '.join(f'a{n}' for n in range(len(staged.keys)))} from staged where seq = $seq",
            {"seq": seq},
        )
        cells = {key: held for key, held in zip(staged.keys, said, strict=True) if held is not None}
    if staged.loose:
        cells |= dict(
            scratch.rows("select key, value from staged_loose where seq = $seq", {"seq": seq})
        )
    return {
        **row,
        "identities": found,
        "attributes": {key: _plain(held) for key, held in cells.items() if held != DELETED_VALUE},
    }


def _identities(scratch: Scratch, staged: Staged, made: Import) -> dict[str, list[dict[str, Any]]]:
    """Identities that known profiles would gain, and those that profiles would lose: moved, or
    replaced.
    """
    added = (
        "select unheld.seq, unheld.type, named_profile.mpid::varchar as mpid from unheld"
        " join named_profile on named_profile.profile = unheld.profile"
        f" where unheld.profile in (select profile from met) order by unheld.seq, unheld.type limit {FEW}"
    )
    lost = (
        f"select taken.arrival - {made.first} as seq, taken.type, old.mpid::varchar as from_mpid, new.mpid::varchar as to_mpid from taken"
        f" join resolved on resolved.seq = taken.arrival - {made.first}"
        " left join named_profile as old on old.profile = taken.profile"
        " left join named_profile as new on new.profile = resolved.profile"
        " where {condition}"
        f" order by seq limit {FEW}"
    )
    columns = ("seq", "type", "from_mpid", "to_mpid")
    moved = example_rows(
        scratch, staged, lost.format(condition="taken.profile <> resolved.profile"), columns
    )
    removed = example_rows(
        scratch, staged, lost.format(condition="taken.profile = resolved.profile"), columns
    )
    for row in removed:
        row["mpid"] = row.pop("from_mpid")
        del row["to_mpid"]
    return {
        "added": [
            _with_value(scratch, row)
            for row in example_rows(scratch, staged, added, ("seq", "type", "mpid"))
        ],
        "moved": [_with_value(scratch, row) for row in moved],
        "removed": [_without_code(row) for row in removed],
    }


def _with_value(scratch: Scratch, row: dict[str, Any]) -> dict[str, Any]:
    kind = NAME[row["type"]]
    value = scratch.row(f"select i_{kind} from staged where seq = $seq", {"seq": row.pop("seq")})[0]
    return {**row, "type": kind, "value": value}


def _without_code(row: dict[str, Any]) -> dict[str, Any]:
    del row["seq"]
    return {**row, "type": NAME[row["type"]]}


def _attributes(
    scratch: Scratch, staged: Staged, merged: Merged
) -> dict[str, list[dict[str, Any]]]:
    """Attributes of known profiles that would be set, changed, deleted, or are refused by priority."""
    kinds = {
        "set": "before is null and after is not null and after <> {deleted}",
        "changed": "before is not null and after is not null and after <> {deleted} and after <> before",
        "deleted": "before is not null and after = {deleted}",
        "blocked": "code is not null",
    }
    cells = [
        f"select row.seq, row.profile, {quote_text(key)} as attribute, before.v{n} as before,"
        f" case when coalesce(row.w{n}, '{SET}') = '{SET}' then row.c{n} end as after,"
        f" case when row.w{n} <> '{SET}' then row.w{n} end as code, row.c{n} as refused"
        " from busy_row as row left join before on before.profile = row.profile"
        f" where row.c{n} is not null and row.profile in (select profile from met)"
        for n, key in enumerate(staged.keys)
    ]
    if merged.loose:
        cells.append(
            "select seq, profile, key as attribute, v as before,"
            f" case when coalesce(w, '{SET}') = '{SET}' then value end as after, case when w <> '{SET}' then w end as code, value as refused"
            " from loose_cell where profile in (select profile from met)"
        )
    found: dict[str, list[dict[str, Any]]] = {}
    columns = ("mpid", "attribute", "before", "after", "code", "refused")
    for kind, condition in kinds.items():
        found[kind] = []
        if cells:
            where = condition.format(deleted=DELETED)
            first = " union all ".join(
                f"(select * from ({one}) where {where} order by seq limit {FEW})" for one in cells
            )
            # Rather several attributes than one row's alone.
            spread = (
                f"select * from (select *, row_number() over (partition by attribute order by seq) as place from ({first}))"
                f" order by place, seq, attribute limit {FEW}"
            )
            rows = (
                "select one.seq, named_profile.mpid::varchar as mpid, one.attribute, one.before, one.after, one.code, one.refused"
                f" from ({spread}) as one join named_profile on named_profile.profile = one.profile"
            )
            found[kind] = [
                _change(kind, row) for row in example_rows(scratch, staged, rows, columns)
            ]
    return found


def _change(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    change = {name: row[name] for name in (*PLACE, "attribute") if name in row}
    if row["before"] is not None:
        change["before"] = _plain(row["before"])
    if kind == "blocked":
        change |= {"value": _plain(row["refused"]), "code": row["code"]}
    elif kind != "deleted":
        change["after"] = _plain(row["after"])
    return change


def _plain(held: str) -> orjson.Fragment | None:
    """Return a held value as JSON shows it, digit for digit; a deletion is null."""
    return None if held == DELETED_VALUE else orjson.Fragment(held_json(held))
