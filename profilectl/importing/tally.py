"""What cells do, as numbers -> the counts of a report, and the profiles that changed.

The rows are decided (merge.py); here they are only counted. relations.py lists what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profilectl.importing.relations import Relations, fill, only_row, union_of
from profilectl.importing.sift import Frame
from profilectl.importing.stage.staged import Staged
from profilectl.rules.counts import Counts

FEW_COLUMNS = 40
"""With at most as many attribute columns, `outcome` and `fresh_change` are views: see OUTCOME in
merge.py.
"""
TALLIED = 12
"""How many columns are counted in one statement if there are more than FEW_COLUMNS."""

CELL_EFFECT = """
select profile{columns}
from contested_row
where profile not in (select profile from repeated_profile)
union all
select profile{columns} from outcome
"""
# One row for each attribute and number. To count each number of each attribute by a filter takes
# ten times as long.
TALLY = "select {columns}, count(*) from cell_effect group by grouping sets ({columns})"
LOOSE_TALLY = "select {columns}, key from loose_outcome group by key"
# Which attributes a fresh profile has in the end: those of which the last cell is no deletion.
FRESH_CHANGE = "select profile{columns} from fresh_segment_row group by profile"
SET_BY_FRESH = "select {columns} from fresh_change"
# A deletion (chr(31)) of what a new profile cannot have had changes nothing.
SET_BY_NEW = "select {columns} from founding_row"
CHANGED_CELLS = "select profile from (select profile{columns} from cell_effect) where changes"
CHANGED_LOOSE = """
select profile
from loose_outcome
where case when f is null then false
           when f = chr(31) then v is not null
           else v is null or f <> v
      end
"""
CHANGED_IDENTITIES = "select profile from net_gain union all select profile from net_loss"
CHANGED_PROFILE = "select distinct profile from profile_change where profile < $first"
PROFILE_COUNTS = """
select (select count(*) from founder),
       (select count(*) from changed_profile),
       (
         select count(*)
         from known_profile
         where profile not in (select profile from changed_profile)
       )
"""

# What a cell does, by the value before and the refusal that it meets: 0 where there is none, 1 to 5
# as in EFFECTS, 6 deletes what is not there, from 7 on the refusal's number (blocking_code).
# Deletions and lists begin with chr(31), which is below a blank: most texts need no other look
# (0.097 CPU s of 3.8M cells, and 0.142 without it).
EFFECT = """
case when {cell} is null then 0
     when {missing} then case when {cell} = chr(31) then 6 else 1 end
     when {refusal} <> 0 then {refusal}
     when {cell} = {before} then 4
     when {cell} >= ' ' and {before} >= ' ' then 2
     when {cell} = chr(31) then 5
     when starts_with({before}, chr(31) || '[') <> starts_with({cell}, chr(31) || '[') then 3
     else 2
end
"""
EFFECT_ON_CALCULATED = "case when {cell} is null then 0 else {refusal} end"
# The value of an attribute before the import, whether it is missing, and the refusal.
BEFORE_BY_STATE = {
    "before": "state_before.v{n}",
    "missing": "state_before.v{n} is null",
    "refusal": "state_before.w{n}",
}
BEFORE_BY_LONE_ROW = {
    "before": "earlier_row.b{n}",
    "missing": "(earlier_row.b{n} is null or earlier_row.b{n} = chr(31))",
    "refusal": "earlier_row.refusal",
}

# fmt: off
EFFECTS: dict[int, str] = {
    1: "set",
    2: "changed",
    3: "changed",
    4: "unchanged",
    5: "deleted",
}
# fmt: on
OTHER_KIND = 3
"""The effect that a list took the place of a text, or a text that of a list."""
FIRST_REFUSAL = 7
"""The number of the first code under which a cell can be refused: see EFFECT."""
BITS_OF_EFFECT = 4
"""The bits of the effect in the number of an attribute of `outcome`; the refusal is above them."""
EFFECT_ON = "o{n}"
EFFECT_CHANGES = "o{n} & 15 in (1, 2, 3, 5)"
# The last cell of the attribute is no deletion. (Two greatest numbers in its place: 0.10 for 0.07.)
SET_IN_THE_END = "max(arrival * 2 + (a{n} <> chr(31))::bigint) & 1 = 1"
SET_BY_PROFILE = "s{n}"

# What became of an attribute without a column, by its value before (v) and its last applied cell
# (f).
# fmt: off
OUTCOMES: dict[str, str] = {
    "set":       "v is null and f is not null and f <> chr(31)",
    "changed":   "v is not null and f is not null and f <> chr(31) and f <> v",
    "unchanged": "v is not null and f is not null and f = v",
    "deleted":   "v is not null and f = chr(31)",
    "blocked":   "k is not null",
}
# fmt: on
UNDER_CODE = "k = '{code}'"
BECAME_OTHER_KIND = """
v is not null and f <> chr(31)
and (starts_with(v, chr(31) || '[') <> starts_with(f, chr(31) || '['))
"""


def effects_of(
    cells: Sequence[str], refusals: Sequence[str | None], before: Mapping[str, str]
) -> str:
    """Return the columns of the attributes in `contested_row`: each cell and the effect of that.

    refusals: the number of what refuses every cell, of a calculated attribute; before: the SQL of
    what was there.
    """
    columns = ""
    for n, (cell, refusal) in enumerate(zip(cells, refusals, strict=True)):
        effect = EFFECT if refusal is None else EFFECT_ON_CALCULATED
        holes = {name: sql.format(n=n) for name, sql in before.items()}
        effect = fill(effect, **{**holes, "cell": cell, "refusal": refusal or holes["refusal"]})
        columns += f", {cell} as c{n}, ({effect})::utinyint as o{n}"
    return columns


def mark_fresh(relations: Relations, size: int) -> None:
    """Make `fresh_change`: the attributes that the fresh profiles have. size: how many there are.

    `fresh_segment_row` is made.
    """
    columns = "".join(f", {SET_IN_THE_END.format(n=n)} as s{n}" for n in range(size))
    select = FRESH_CHANGE.format(columns=columns)
    relations.make("fresh_change", select, keep=size > FEW_COLUMNS)


def count_outcomes(
    relations: Relations,
    staged: Staged,
    frame: Frame,
    *,
    codes: Mapping[str, int],
    contested: bool,
    loose: bool,
    counts: Counts,
) -> None:
    """Make `changed_profile`; count what became of attributes, and the profiles that changed.

    codes: those under which a cell can be refused, with their numbers. contested, loose: whether
    there is any contested row, and any attribute without a column. The relations of merge.py are
    made.
    """
    _count_cells(relations, staged, codes, contested=contested, counts=counts)
    if loose:
        _count_loose(relations, codes, counts)
    _count_profiles(relations, staged, frame, loose=loose, counts=counts)


def _count_cells(
    relations: Relations,
    staged: Staged,
    codes: Mapping[str, int],
    *,
    contested: bool,
    counts: Counts,
) -> None:
    """Count what became of the attributes that have a column. Make `cell_effect`."""
    size = len(staged.keys)
    effects = "".join(f", {EFFECT_ON.format(n=n)}" for n in range(size))
    relations.make("cell_effect", CELL_EFFECT.format(columns=effects), keep=False)
    # A few columns at a time if there are many: planning a sum of thousands of counts takes longer
    # than reading.
    step = TALLIED if size > FEW_COLUMNS else max(size, 1)
    for start in range(0, size, step):
        places = range(start, min(start + step, size))
        if relations.count("fresh_seq"):
            numbers = " + ".join(_number_of(SET_BY_PROFILE.format(n=n)) for n in places)
            (number,) = only_row(relations, SET_BY_FRESH.format(columns=numbers))
            counts.attributes["set"] += number
        if contested:
            _count_effects(relations, staged, places, codes=codes, counts=counts)
    if size:
        values = ", ".join(f"count(nullif(a{n}, chr(31)))" for n in range(size))
        counts.attributes["set"] += sum(only_row(relations, SET_BY_NEW.format(columns=values)))


def _count_effects(
    relations: Relations,
    staged: Staged,
    places: Sequence[int],
    *,
    codes: Mapping[str, int],
    counts: Counts,
) -> None:
    """Count what became of the attributes of contested profiles. places: of the attributes."""
    columns = ", ".join(EFFECT_ON.format(n=n) for n in places)
    code_of = {number: code for code, number in codes.items()}
    for *effects, number in relations.rows(TALLY.format(columns=columns)):
        # The number is of one attribute; the others are null.
        (key, effect), *_ = (
            (staged.keys[place], effect)
            for place, effect in zip(places, effects, strict=True)
            if effect is not None
        )
        # That of a profile with one row is an effect or a refusal.
        refusal, effect = divmod(effect, 1 << BITS_OF_EFFECT)
        if effect >= FIRST_REFUSAL:
            refusal, effect = effect, 0
        if effect in EFFECTS:
            counts.attributes[EFFECTS[effect]] += number
        if effect == OTHER_KIND:
            counts.remark("UA_KIND_CHANGED", key, number)
        if refusal:
            counts.attributes["blocked"] += number
            counts.remark(code_of[refusal], key, number)


def _count_loose(relations: Relations, codes: Mapping[str, int], counts: Counts) -> None:
    """Count what became of the attributes without a column."""
    conditions = [*OUTCOMES.values(), BECAME_OTHER_KIND]
    conditions += [UNDER_CODE.format(code=code) for code in codes]
    select = LOOSE_TALLY.format(columns=", ".join(map(_number_of, conditions)))
    for *numbers, key in relations.rows(select):
        for outcome, number in zip(OUTCOMES, numbers, strict=False):
            counts.attributes[outcome] += number
        remarked = zip(("UA_KIND_CHANGED", *codes), numbers[len(OUTCOMES) :], strict=True)
        for code, number in remarked:
            if number:
                counts.remark(code, key, number)


def _number_of(condition: str) -> str:
    """Return the SQL of how many rows meet a condition."""
    return f"count(*) filter ({condition})"


def _count_profiles(
    relations: Relations, staged: Staged, frame: Frame, *, loose: bool, counts: Counts
) -> None:
    """Make `changed_profile`, and count profiles that were made, changed, or touched only."""
    size = len(staged.keys)
    selects = [CHANGED_IDENTITIES]
    if size:
        changes = any_column(EFFECT_CHANGES, size)
        selects.append(CHANGED_CELLS.format(columns=f", {changes} as changes"))
    if loose:
        selects.append(CHANGED_LOOSE)
    relations.make("profile_change", union_of(selects), keep=False)
    relations.make("changed_profile", CHANGED_PROFILE, {"first": frame.first_arrival})
    created, updated, unchanged = only_row(relations, PROFILE_COUNTS)
    counts.profiles["created"] += created
    counts.profiles["updated"] += updated
    counts.profiles["unchanged"] += unchanged


def any_column(condition: str, count: int) -> str:
    """Return the SQL of whether a condition holds of the column {n} of any attribute."""
    return " or ".join(condition.format(n=n) for n in range(count)) or "false"
