"""The outcomes of attributes -> the counts of a report, and the profiles that changed.

The rows are decided (merge.py); here they are only counted. relations.py lists what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profilectl.importing.relations import Relations, only_row, union_of
from profilectl.importing.sift import Frame
from profilectl.importing.stage.staged import Staged
from profilectl.rules.counts import Counts

FEW_COLUMNS = 40
"""With at most as many attribute columns, `outcome` and `fresh_change` are views: see OUTCOME in
merge.py.
"""
TALLIED = 12
"""How many columns are counted in one statement if there are more than FEW_COLUMNS."""

TALLY = "select {columns}, null from outcome"
LONE_TALLY = """
select {columns}, null
from contested_row
where profile not in (select profile from repeated_profile)
"""
LOOSE_TALLY = "select {columns}, key from loose_outcome group by key"
# Which attributes a fresh profile has in the end: those of which the last cell is no deletion.
FRESH_CHANGE = """
select fresh_seq.profile{columns}
from staged as usable
join fresh_seq on fresh_seq.seq = usable.seq
group by fresh_seq.profile
"""
# Without a fresh row: to find that it is empty takes as long as to read all staged rows.
NO_FRESH_CHANGE = "select null::bigint as profile{columns} where false"
SET_BY_FRESH = "select {columns}, null from fresh_change"
# A deletion (chr(31)) of what a new profile cannot have had changes nothing.
SET_BY_NEW = "select {columns} from founding_row"
CHANGED_CELLS = "select profile from (select profile{columns} from outcome) where changes"
CHANGED_BY_LONE_ROW = """
select profile
from (select profile{columns} from contested_row)
where changes and profile not in (select profile from repeated_profile)
"""
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

# fmt: off
EFFECTS: dict[str, str] = {
    "set":       "o{n} = 1",
    "changed":   "o{n} in (2, 3)",
    "unchanged": "o{n} = 4",
    "deleted":   "o{n} = 5",
    "blocked":   "o{n} >= 6",
}
# fmt: on
SET_IN_THE_END = """
coalesce(
  max(usable.seq) filter ({cell} is not null)
    > coalesce(max(usable.seq) filter ({cell} = chr(31)), -1),
  false
)
"""
SET_BY_PROFILE = "s{n}"
EFFECT_OF_OTHER_KIND = "o{n} = 3"
EFFECT_UNDER_CODE = "o{n} = {number}"
EFFECT_CHANGES = "o{n} in (1, 2, 3, 5)"

# What became of an attribute, by its value before (v) and its last applied cell (f).
# fmt: off
OUTCOMES: dict[str, str] = {
    "set":       "{v} is null and {f} is not null and {f} <> chr(31)",
    "changed":   "{v} is not null and {f} is not null and {f} <> chr(31) and {f} <> {v}",
    "unchanged": "{v} is not null and {f} is not null and {f} = {v}",
    "deleted":   "{v} is not null and {f} = chr(31)",
    "blocked":   "{k} is not null",
}
# fmt: on
UNDER_CODE = "{k} = {number}"
LOOSE_UNDER_CODE = "{k} = '{code}'"
OTHER_KIND = """
{v} is not null and {f} <> chr(31)
and (starts_with({v}, chr(31) || '[') <> starts_with({f}, chr(31) || '['))
"""
# Whether a cell changes an attribute; false if there is no cell.
CHANGES = """
case when f{n} is null then false
     when f{n} = chr(31) then v{n} is not null
     else v{n} is null or f{n} <> v{n}
end
"""


def mark_fresh(relations: Relations, cells: Sequence[str]) -> None:
    """Make `fresh_change`: the attributes that the fresh profiles have.

    cells: the SQL of what a row does to each attribute.
    """
    columns = "".join(
        f", {SET_IN_THE_END.format(cell=cell)} as s{n}" for n, cell in enumerate(cells)
    )
    select = FRESH_CHANGE.format(columns=columns)
    if not relations.count("fresh_seq"):
        columns = "".join(f", false as s{n}" for n, _ in enumerate(cells))
        select = NO_FRESH_CHANGE.format(columns=columns)
    relations.make("fresh_change", select, keep=len(cells) > FEW_COLUMNS)


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
        tally = OutcomeTally(LOOSE_TALLY, OUTCOMES, OTHER_KIND, under_code=LOOSE_UNDER_CODE)
        tally.count(relations, [{"v": "v", "f": "f", "k": "k"}], codes=codes, counts=counts)
    _count_profiles(relations, staged, frame, loose=loose, counts=counts)


def _count_cells(
    relations: Relations,
    staged: Staged,
    codes: Mapping[str, int],
    *,
    contested: bool,
    counts: Counts,
) -> None:
    """Count what became of the attributes that have a column."""
    size = len(staged.keys)
    # A few columns at a time if there are many: planning a sum of thousands of counts takes longer
    # than reading.
    step = TALLIED if size > FEW_COLUMNS else max(size, 1)
    if relations.count("fresh_seq"):
        for start in range(0, size, step):
            places = range(start, min(start + step, size))
            numbers = " + ".join(_number_of(SET_BY_PROFILE, {"n": str(n)}) for n in places)
            (number, _) = only_row(relations, SET_BY_FRESH.format(columns=numbers))
            counts.attributes["set"] += number
    if contested:
        by_row = OutcomeTally(
            LONE_TALLY, EFFECTS, EFFECT_OF_OTHER_KIND, under_code=EFFECT_UNDER_CODE
        )
        by_profile = OutcomeTally(TALLY, OUTCOMES, OTHER_KIND, under_code=UNDER_CODE)
        for start in range(0, size, step):
            places = range(start, min(start + step, size))
            keys = [staged.keys[n] for n in places]
            columns = [{"n": str(n)} for n in places]
            by_row.count(relations, columns, keys=keys, codes=codes, counts=counts)
            if relations.count("repeated_profile"):
                columns = [{"v": f"v{n}", "f": f"f{n}", "k": f"k{n}"} for n in places]
                by_profile.count(relations, columns, keys=keys, codes=codes, counts=counts)
    if size:
        values = ", ".join(f"count(nullif(a{n}, chr(31)))" for n in range(size))
        counts.attributes["set"] += sum(only_row(relations, SET_BY_NEW.format(columns=values)))


@dataclass(frozen=True, slots=True)
class OutcomeTally:
    """A way to count what became of attributes."""

    select: str
    """The SELECT that counts; its columns are a hole."""
    outcomes: Mapping[str, str]
    """The condition of each outcome, on the columns of an attribute."""
    other_kind: str
    """The condition that a list took the place of a text, or a text that of a list."""
    under_code: str
    """The condition that a cell was refused under a code."""

    def count(
        self,
        relations: Relations,
        columns: Sequence[Mapping[str, str]],
        *,
        keys: Sequence[str] = (),
        codes: Mapping[str, int],
        counts: Counts,
    ) -> None:
        """Add what became of attributes to the counts.

        columns: what the conditions are filled with for each attribute; keys: its name. Without
        keys each row of the SELECT ends with its own.
        """
        counted = [
            " + ".join(_number_of(condition, names) for names in columns)
            for condition in self.outcomes.values()
        ]
        # Each column by itself: a report says of which attribute there was something to say.
        remarked = ["UA_KIND_CHANGED", *codes]
        for names in columns:
            counted.append(_number_of(self.other_kind, names))
            counted += [
                _number_of(self.under_code, {**names, "code": code, "number": str(number)})
                for code, number in codes.items()
            ]
        select = self.select.format(columns=", ".join(counted))
        for *numbers, key_of_row in relations.rows(select):
            for outcome, number in zip(self.outcomes, numbers, strict=False):
                counts.attributes[outcome] += number
            for place, number in enumerate(numbers[len(self.outcomes) :]):
                nth, code = divmod(place, len(remarked))
                if number:
                    counts.remark(remarked[code], keys[nth] if keys else key_of_row, number)


def _number_of(condition: str, names: Mapping[str, str]) -> str:
    """Return the SQL of how many rows meet a condition on the columns of an attribute."""
    return f"count(*) filter ({condition.format(**names)})"


def _count_profiles(
    relations: Relations, staged: Staged, frame: Frame, *, loose: bool, counts: Counts
) -> None:
    """Make `changed_profile`, and count profiles that were made, changed, or touched only."""
    size = len(staged.keys)
    selects = [CHANGED_IDENTITIES]
    if size:
        selects.append(
            CHANGED_BY_LONE_ROW.format(columns=f", {any_column(EFFECT_CHANGES, size)} as changes")
        )
        selects.append(CHANGED_CELLS.format(columns=f", {any_column(CHANGES, size)} as changes"))
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
