"""Resolved rows -> cells set, deleted, blocked; tally.py counts them.

Rank is decided here, once, against the owner before the import: the feed is the same for all rows
of an import, so what it may overwrite at the first row it may overwrite at the last. Within the
import the last row that speaks of an attribute wins. A row whose profile is new, and has no other
row, sets all its cells; only the others are contested. relations.py lists what is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.importing.known import know_cells, know_loose_cells
from profilectl.importing.relations import (
    Relations,
    fill,
    fixed_columns,
    make_bits,
    make_empty,
    union_of,
)
from profilectl.importing.sift import Frame, environment_of
from profilectl.importing.stage.staged import Staged
from profilectl.importing.tally import (
    BEFORE_BY_LONE_ROW,
    BEFORE_BY_STATE,
    FEW_COLUMNS,
    FIRST_REFUSAL,
    any_column,
    count_outcomes,
    effects_of,
    mark_fresh,
)
from profilectl.rules.counts import Counts
from profilectl.rules.feed import Feed
from profilectl.rules.priority import CALCULATED, OVERWRITE, SET, verdict
from profilectl.rules.sql.identities import trimmed
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import Segment

# 1. Profiles of the store that rows belong to, and the state of the attributes before the import.
# A profile is named by the arrival of its founder: those of this import begin at $first.
KNOWN_PROFILE = "select distinct profile from settled where profile < $first"
EARLIER_ROW = """
select known_row.profile, known_row.arrival, known_row.segment, verdict.refusal{columns}
from known_row
join known_profile on known_profile.profile = known_row.profile
join verdict on verdict.feed = known_row.feed
"""
EARLIER_LOOSE_ROW = """
select known_loose.profile, known_loose.arrival, known_loose.segment, verdict.refusal{columns}
from known_loose
join known_profile on known_profile.profile = known_loose.profile
join verdict on verdict.feed = known_loose.feed
where known_loose.key in (select key from column_key)
"""
# The newest row that speaks of an attribute decides; one that deleted it leaves no owner. Most
# profiles have one row: they need no aggregation, and a view of it is enough (0.14 s of 430,000).
OFTEN_TOUCHED = "select profile from earlier_row group by profile having count(*) > 1"
LONE_STATE = """
select profile{columns}
from earlier_row
where profile not in (select profile from often_touched)
"""
NEWEST_STATE = """
select profile{columns}
from earlier_row
where profile in (select profile from often_touched)
group by profile
"""
ALL_NEWEST_STATE = "select * from newest_state"

# 2. Contested are the rows of a profile that was known, and of one about which a row speaks of a
# calculated attribute. A profile that was not known has nothing to defend, so that all cells of its
# rows are applied. Most such profiles have one row, that of their founder (`founding_row`). The
# others are `fresh`, as are rows that the interpreter decided.
DELETED_KEYS = "select distinct unnest(deleted) from usable"
# The MPIDs that the segment has to hold: of no row where all are mixes.
SEGMENT_MPID = "select seq, mpid from founder_mpid"
NO_SEGMENT_MPID = "select null::bigint as seq, null::bigint as mpid where false"
CALCULATED_ROW = """
select seq
from (select seq{columns} from usable)
where refused is not null
"""
CONTESTED_SEQ = """
select seq, profile, added, null::bigint as mpid
from settled
where profile < $first
"""
CONTESTED_OR_CALCULATED_SEQ = """
select resolved.seq, resolved.profile, resolved.added, segment_mpid.mpid
from resolved
left join segment_mpid on segment_mpid.seq = resolved.seq
where resolved.profile < $first
   or resolved.profile in (
     select profile from resolved where seq in (select seq from calculated_row)
   )
"""
FRESH_SEQ = """
select settled.seq, settled.profile, settled.added, segment_mpid.mpid
from settled
left join segment_mpid on segment_mpid.seq = settled.seq
where (
    settled.profile in (select profile from contested_profile)
    or settled.profile is not null and settled.seq in (select seq from decided_row)
  )
  and settled.seq not in (select seq from contested_seq)
"""
OTHER_ROW = """
select seq from contested_seq
union all
select seq from fresh_seq
union all
select seq from settled where profile is null
"""
FOUNDING_ROW = """
select *
from usable
where get_bit((select bits from other_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 0
"""
NO_FOUNDING_ROW = "select * from usable where false"
# Contested and fresh rows are usable ones: they are read from `staged`, because a join of a view
# that leaves rejected rows out takes twice as long.
CONTESTED_ROW = """
select contested_seq.seq, contested_seq.profile, contested_seq.added, contested_seq.mpid{columns}
from staged as usable
join contested_seq on contested_seq.seq = usable.seq
left join state_before on state_before.profile = contested_seq.profile
"""
# The same in two parts. What the only earlier row of a profile says is read as it stands there: to
# make the state of all of them first takes 0.13 s of 0.68 s for 470,000 rows.
CONTESTED_LONE_ROW = """
select contested_seq.seq, contested_seq.profile, contested_seq.added, contested_seq.mpid{columns}
from usable
join contested_seq on contested_seq.seq = usable.seq
join earlier_row on earlier_row.profile = contested_seq.profile
where contested_seq.profile not in (select profile from often_touched)
"""
CONTESTED_OTHER_ROW = """
select contested_seq.seq, contested_seq.profile, contested_seq.added, contested_seq.mpid{columns}
from usable
join (
  select *
  from contested_seq
  where profile in (select profile from often_touched)
     or profile not in (select profile from earlier_row)
) as contested_seq on contested_seq.seq = usable.seq
left join newest_state as state_before on state_before.profile = contested_seq.profile
"""

# 3. The outcome for each of their profiles, as numbers (EFFECT). Where the profile has one row, it
# is what the cells do. Of several rows the last that sets or deletes counts, and any refusal.
REPEATED_PROFILE = "select profile from contested_seq group by profile having count(*) > 1"
# Read twice. With few columns a view is cheaper than writing the rows down (0.2 s against 1 s for a
# million rows); with a hundred, planning it inside the count costs more (1.7 s against 0.6 s).
OUTCOME = """
select profile{columns}
from contested_row
where profile in (select profile from repeated_profile)
group by profile
"""

# 4. The same for attributes without a column, one row a value.
LOOSE_STAGED = "select seq, key, value from staged_loose"
LOOSE_DELETED = """
select seq, key, value
from (
  select seq, unnest(deleted) as key, chr(31) as value from usable where deleted is not null
)
where key not in (select key from column_key)
"""
# A key that a row both sets and deletes is set: deletions are applied first (domain.md 6.3).
LOOSE_DELETED_ONLY = """
select seq, key, value
from (
  select seq, unnest(deleted) as key, chr(31) as value from usable where deleted is not null
)
where key not in (select key from column_key)
  and (seq, key) not in (select (seq, key) from staged_loose)
"""
LOOSE_STATEMENT = """
select loose_change.seq, resolved.profile, loose_change.key, loose_change.value
from loose_change
join resolved on resolved.seq = loose_change.seq
where resolved.profile is not null
"""
LOOSE_KEYS = "select distinct key from loose_statement"
LOOSE_BEFORE = """
select profile, key, v, case when v is not null then w end as w
from (
  select cell.profile, cell.key,
         nullif(arg_max(cell.value, cell.arrival), chr(31)) as v,
         arg_max(
           case when cell.value = chr(31) then null else verdict.verdict end, cell.arrival
         ) as w
  from known_loose_cell as cell
  join verdict on verdict.feed = cell.feed
  where (cell.profile, cell.key) in (select (profile, key) from loose_statement)
  group by cell.profile, cell.key
)
"""
LOOSE_CELL = """
select loose_statement.seq, loose_statement.profile, loose_statement.key, loose_statement.value,
       loose_before.v,
       coalesce(calculated_key.code, loose_before.w) as w
from loose_statement
left join calculated_key on calculated_key.key = loose_statement.key
left join loose_before
  on loose_before.profile = loose_statement.profile and loose_before.key = loose_statement.key
"""
LOOSE_OUTCOME = """
select profile, key, any_value(v) as v,
       arg_max(case when coalesce(w, 'SET') = 'SET' then value end, seq) as f,
       max(case when w <> 'SET' then w end) as k
from loose_cell
group by profile, key
"""

# 5. The rows of the segment, in three parts that commit lays together.
# A founding row keeps all its identities but those that are nobody's.
NEW_SEGMENT_ROW = """
select {columns}
from founding_row
left join nobodys_cell as nobody on nobody.seq = founding_row.seq
"""
NEW_SEGMENT_ROW_WITH_MPID = """
select {columns}
from founding_row
join founder_mpid on founder_mpid.seq = founding_row.seq
left join nobodys_cell as nobody on nobody.seq = founding_row.seq
"""
CONTESTED_SEGMENT_ROW = "select {columns} from contested_row"
FRESH_SEGMENT_ROW = """
select {columns}
from staged as usable
join fresh_seq on fresh_seq.seq = usable.seq
"""
BLOCKED_CELL = """
select * exclude (blocks)
from (select profile, seq{columns} from contested_row cross join blocking_code as blocking)
where blocks
"""

# Of a contested row: the cell that is set, or the code that refuses it. Of the store: the value of
# an attribute and the number of the refusal that a cell meets, 0 for none. arg_max passes over
# nulls: a deletion is 255 until the newest row is found.
APPLIED = "case when o{n} < 7 then c{n} end"
LAST_EFFECT = """
(
  coalesce(max(case when o{n} between 1 and 6 then seq * 8 + o{n} end) & 7, 0)
  + 16 * coalesce(max(case when o{n} >= 7 then o{n} end), 0)
)::utinyint as o{n}
"""
LONE_VERDICT = """
nullif(b{n}, chr(31)) as v{n}, case when b{n} <> chr(31) then refusal end as w{n}
"""
NEWEST_VERDICT = """
nullif(arg_max(b{n}, arrival), chr(31)) as v{n},
nullif(
  arg_max(
    case when b{n} = chr(31) then 255 when b{n} is not null then refusal end::utinyint, arrival
  ), 255
) as w{n}
"""
SET_OR_DELETED = """
coalesce(usable.a{n}, case when list_contains(usable.deleted, {key}) then chr(31) end)
"""
IS_BLOCKED = "o{n} = blocking.number"
ADDED_IDENTITY = "case when {added}.added & {bit} <> 0 then {value} end as i_{kind}"
OWN_IDENTITY = "case when nobody.c{place} is null then nullif({value}, '') end as i_{kind}"
OF_KEY = "case when known_loose.key = {key} then known_loose.value end as b{n}"

MANY_FRESH = 250_000
"""From this number on, fresh rows are written down before the parts of the segment are."""


@dataclass(frozen=True, slots=True)
class Merging:
    """The rules that cells are merged by."""

    frame: Frame
    """The frame that the rows are read against."""
    feeds: Sequence[Feed]
    """All feeds, the import's own too."""
    priority: str
    """How sources outrank each other (the setting attributes.priority)."""
    segments: Sequence[Segment]
    """The segments of the store."""
    calculated: Sequence[str] = ()
    """The names of calculated attributes, which nothing may set or delete (domain.md 6.3)."""

    @property
    def blocking_codes(self) -> dict[str, int]:
        """Return the codes under which a cell can be refused, with their numbers."""
        codes = sorted({*OVERWRITE[self.priority].values(), CALCULATED} - {SET})
        return {code: FIRST_REFUSAL + place for place, code in enumerate(codes)}

    def verdict(self, owner: Feed) -> tuple[str, int]:
        """Return what the import may do to a cell that another feed owns; the number of that."""
        code = verdict(self.frame.feed.owner, owner.owner, self.priority)
        return code, self.blocking_codes.get(code, 0)


def per_column(template: str, count: int, keys: Sequence[str] = ()) -> str:
    """Return columns, written once for each attribute, each with a comma before it.

    {n} is the number of the attribute's column, {key} its quoted name.
    """
    return "".join(
        ", " + template.format(n=n, key=quote_text(keys[n]) if keys else "") for n in range(count)
    )


def merge(relations: Relations, staged: Staged, merging: Merging, *, counts: Counts) -> None:
    """Decide every cell and count. `usable` and `resolved` are made, and the views of known.py.

    `loose_cell` is made only if a row speaks of an attribute without a column.
    """
    frame = merging.frame
    relations.make("known_profile", KNOWN_PROFILE, {"first": frame.first_arrival})
    relations.load(
        "verdict",
        fixed_columns("verdict"),
        [
            (feed.number, *merging.verdict(feed))
            for feed in merging.feeds
            if frame.feed.shares_attributes(feed)
        ],
    )
    codes = [(code, number) for code, number in merging.blocking_codes.items()]
    relations.load("blocking_code", fixed_columns("blocking_code"), codes)
    segments = merging.segments if relations.count("known_profile") else ()
    _look_back(relations, staged, segments)
    contested = _contest(relations, staged, merging, calculated=merging.calculated)
    _decide_cells(relations, staged, contested=contested)
    loose = _decide_loose(relations, staged, segments, calculated=merging.calculated)
    count_outcomes(
        relations,
        staged,
        frame,
        codes=merging.blocking_codes,
        contested=contested,
        loose=loose,
        counts=counts,
    )
    _lay_rows(relations, staged, frame)


def _look_back(relations: Relations, staged: Staged, segments: Sequence[Segment]) -> None:
    """Make `state_before`: what the store says of the attributes, for the known profiles."""
    size = len(staged.keys)
    relations.drop("earlier_row")
    if not segments:
        refusals = [(f"w{n}", "UTINYINT") for n in range(size)]
        columns = [("profile", "BIGINT"), *_texts("v", size), *refusals]
        relations.load("state_before", columns, [])
        return
    has_loose = know_cells(relations, segments, staged.keys)
    cells = per_column("known_row.b{n}", size)
    selects, keys = [EARLIER_ROW.format(columns=cells)], staged.keys
    if has_loose:
        _load_column_keys(relations, staged)
        selects.append(EARLIER_LOOSE_ROW.format(columns=per_column(OF_KEY, size, keys)))
    relations.make("earlier_row", union_of(selects))
    relations.make("often_touched", OFTEN_TOUCHED)
    newest = NEWEST_STATE.format(columns=per_column(NEWEST_VERDICT, size))
    relations.make("newest_state", newest)
    lone = LONE_STATE.format(columns=per_column(LONE_VERDICT, size))
    relations.make("state_before", union_of([lone, ALL_NEWEST_STATE]), keep=False)


def _load_column_keys(relations: Relations, staged: Staged) -> None:
    """Make `column_key`: the attributes that have a column."""
    relations.load("column_key", [("key", "VARCHAR")], [(key,) for key in staged.keys])


def _texts(prefixes: str, size: int) -> list[tuple[str, str]]:
    """Return the names and types of the columns of all attributes, one for each prefix."""
    return [(f"{prefix}{n}", "VARCHAR") for n in range(size) for prefix in prefixes]


def _contest(
    relations: Relations, staged: Staged, merging: Merging, *, calculated: Sequence[str]
) -> bool:
    """Make `contested_seq` and `contested_row`; return whether there is any such row.

    All other rows that have a profile are in the view `founding_row`.
    """
    deleted: set[str] = set()
    if "deleted" in staged.plain:
        deleted = {key for (key,) in relations.rows(DELETED_KEYS)}
    cells = [_cell(n, key, key in deleted) for n, key in enumerate(staged.keys)]
    refused = [cell for key, cell in zip(staged.keys, cells, strict=True) if key in calculated]
    frame, refusal = merging.frame, merging.blocking_codes[CALCULATED]
    start = {"first": frame.first_arrival}
    mpids = SEGMENT_MPID if relations.has("kept_mpid") else NO_SEGMENT_MPID
    relations.make("segment_mpid", mpids, keep=False)
    if refused:
        columns = f", coalesce({', '.join(refused)}) as refused"
        relations.make("calculated_row", CALCULATED_ROW.format(columns=columns))
        relations.make("contested_seq", CONTESTED_OR_CALCULATED_SEQ, start)
    else:
        relations.make("contested_seq", CONTESTED_SEQ, start)
    relations.make("fresh_seq", FRESH_SEQ)
    _lay_fresh_rows(relations, staged, frame, cells=cells)
    mark_fresh(relations, len(cells))
    relations.make("other_row", OTHER_ROW)
    make_bits(relations, "other_bits", rows="other_row", span=staged.span)
    has_founding = frame.creates and relations.count("other_row") < relations.count("usable")
    founding = FOUNDING_ROW if has_founding else NO_FOUNDING_ROW
    relations.make("founding_row", founding, keep=False)
    if not relations.count("contested_seq"):
        relations.load("contested_row", _contested_columns(staged), [])
        return False
    refusals = [str(refusal) if key in calculated else None for key in staged.keys]
    _make_contested_row(relations, staged, cells, refusals=refusals)
    return True


def _make_contested_row(
    relations: Relations, staged: Staged, cells: Sequence[str], *, refusals: Sequence[str | None]
) -> None:
    """Make `contested_row`. cells, refusals: as in tally.effects_of."""
    plain = [name for name in ("at_ms", "environment") if name in staged.plain]
    columns = "".join(f", usable.{name}" for name in plain)
    columns += _added_identities(staged, added="contested_seq", rows="usable")
    by_state = columns + effects_of(cells, refusals, BEFORE_BY_STATE)
    selects = [CONTESTED_ROW.format(columns=by_state)]
    if relations.has("earlier_row"):
        by_row = columns + effects_of(cells, refusals, BEFORE_BY_LONE_ROW)
        selects = [
            CONTESTED_LONE_ROW.format(columns=by_row),
            CONTESTED_OTHER_ROW.format(columns=by_state),
        ]
    relations.make("contested_row", union_of(selects))


def _contested_columns(staged: Staged) -> list[tuple[str, str]]:
    """Return the names and types of the columns of `contested_row`."""
    columns = [(name, "BIGINT") for name in ("seq", "profile", "added", "mpid")]
    plain = {"at_ms": "BIGINT", "environment": "VARCHAR"}
    columns += [(name, type_) for name, type_ in plain.items() if name in staged.plain]
    columns += [(f"i_{kind}", "VARCHAR") for kind in staged.identities]
    columns += _texts("c", len(staged.keys))
    return columns + [(f"o{n}", "UTINYINT") for n in range(len(staged.keys))]


def _cell(n: int, key: str, deletes: bool) -> str:
    """Return the SQL of what a row does to an attribute: a set wins over a deletion."""
    if not deletes:
        return f"usable.a{n}"
    return fill(SET_OR_DELETED, n=n, key=quote_text(key))


def _decide_cells(relations: Relations, staged: Staged, *, contested: bool) -> None:
    """Make `outcome`: what becomes of each attribute of the profiles with several rows."""
    size = len(staged.keys)
    if contested:
        relations.make("repeated_profile", REPEATED_PROFILE)
    else:
        make_empty(relations, "repeated_profile")
    if not relations.count("repeated_profile"):
        effects = [(f"o{n}", "UTINYINT") for n in range(size)]
        relations.load("outcome", [("profile", "BIGINT"), *effects], [])
        return
    select = OUTCOME.format(columns=per_column(LAST_EFFECT, size))
    relations.make("outcome", select, keep=size > FEW_COLUMNS)


def _decide_loose(
    relations: Relations, staged: Staged, segments: Sequence[Segment], *, calculated: Sequence[str]
) -> bool:
    """Decide the attributes without a column of their own; return whether there are any."""
    relations.drop("loose_cell")
    selects = [LOOSE_STAGED] if staged.loose else []
    if "deleted" in staged.plain:
        selects.append(LOOSE_DELETED_ONLY if staged.loose else LOOSE_DELETED)
    if not selects:
        return False
    _load_column_keys(relations, staged)
    relations.make("loose_change", union_of(selects), keep=False)
    relations.make("loose_statement", LOOSE_STATEMENT)
    keys = [key for (key,) in relations.rows(LOOSE_KEYS)]
    if not keys:
        return False
    know_loose_cells(relations, segments, keys)
    columns = [("key", "VARCHAR"), ("code", "VARCHAR")]
    relations.load("calculated_key", columns, [(key, CALCULATED) for key in calculated])
    relations.make("loose_before", LOOSE_BEFORE)
    relations.make("loose_cell", LOOSE_CELL)
    relations.make("loose_outcome", LOOSE_OUTCOME)
    return True


def _lay_rows(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make the views of what commit writes: rows of the segment, and cells that were refused."""
    size = len(staged.keys)
    _lay_founding_rows(relations, staged, frame)
    contested = _row_columns(
        staged,
        frame,
        rows="contested_row",
        profile="contested_row.profile",
        mpid="contested_row.mpid",
    )
    contested += "".join(f", contested_row.i_{kind}" for kind in staged.identities)
    contested += per_column(f"{APPLIED} as a{{n}}", size)
    select = CONTESTED_SEGMENT_ROW.format(columns=contested)
    relations.make("contested_segment_row", select, keep=False)
    blocked = f", {frame.feed.number}::usmallint as feed, blocking.code"
    blocked += per_column("case when o{n} = blocking.number then c{n} end as a{n}", size)
    blocked += f", {any_column(IS_BLOCKED, size)} as blocks"
    relations.make("blocked_cell", BLOCKED_CELL.format(columns=blocked), keep=False)


def _lay_fresh_rows(
    relations: Relations, staged: Staged, frame: Frame, *, cells: Sequence[str]
) -> None:
    """Make the view of the fresh rows. cells: the SQL of what a row does to each attribute."""
    columns = _row_columns(
        staged, frame, rows="usable", profile="fresh_seq.profile", mpid="fresh_seq.mpid"
    )
    columns += _added_identities(staged, added="fresh_seq", rows="usable")
    columns += "".join(f", {cell} as a{n}" for n, cell in enumerate(cells))
    select = FRESH_SEGMENT_ROW.format(columns=columns)
    # They are read for each part that is written. Of a file with less than some millions of rows
    # that takes no longer than to write them down (0.15 s for 100,000).
    relations.make("fresh_segment_row", select, keep=relations.count("fresh_seq") >= MANY_FRESH)


def _added_identities(staged: Staged, *, added: str, rows: str) -> str:
    """Return the columns of the identities that the profile of a row gained by it.

    added: the relation that has the bits of these; rows: the one that has what the row states.
    """
    columns = [
        fill(
            ADDED_IDENTITY,
            added=added,
            bit=1 << place,
            value=trimmed(f"{rows}.i_{kind}"),
            kind=kind,
        )
        for place, kind in enumerate(staged.identities)
    ]
    return "".join(f", {column}" for column in columns)


def _lay_founding_rows(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make the view of the rows that found a profile by themselves."""
    keeps_mpids = relations.has("kept_mpid")
    columns = _row_columns(
        staged,
        frame,
        rows="founding_row",
        profile=f"founding_row.seq + {frame.first_arrival} as profile",
        mpid="founder_mpid.mpid" if keeps_mpids else "null::bigint as mpid",
    )
    for place, kind in enumerate(staged.identities):
        value = trimmed(f"founding_row.i_{kind}")
        columns += ", " + fill(OWN_IDENTITY, place=place, value=value, kind=kind)
    columns += per_column("founding_row.a{n} as a{n}", len(staged.keys))
    statement = NEW_SEGMENT_ROW_WITH_MPID if keeps_mpids else NEW_SEGMENT_ROW
    relations.make("new_segment_row", statement.format(columns=columns), keep=False)


def _row_columns(staged: Staged, frame: Frame, *, rows: str, profile: str, mpid: str) -> str:
    """Return the columns of a segment's row before its identities.

    rows: the relation that has what the row states; profile, mpid: the SQL of whose it is.
    """
    at_ms = f"coalesce({rows}.at_ms, {frame.now_ms})" if "at_ms" in staged.plain else frame.now_ms
    environment = environment_of(staged, frame)
    columns = [
        profile,
        f"{rows}.seq + {frame.first_arrival} as arrival",
        mpid,
        f"case {environment} when 'production' then 0 else 1 end::utinyint as environment",
        f"{frame.feed.number}::usmallint as feed",
        f"{at_ms} as at_ms",
    ]
    return ", ".join(columns)
