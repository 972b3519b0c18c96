"""Resolved rows -> cells set, deleted, blocked; and the counts of attributes and profiles.

Rank is decided here, once, against the owner before the import: the feed is the same for all rows
of an import, so what it may overwrite at the first row it may overwrite at the last. Within the
import the last row that speaks of an attribute wins. Relations made here:

    met         profile                    a profile of the store that a row belongs to
    verdict     feed, verdict              what the incoming feed may do to an attribute this feed owns; only of feeds whose
                                           attributes are the same workspace's, or the account's
    before      profile, v<n>, w<n>        the value of each attribute in the store, and the verdict on it
    busy        seq                        rows of a profile that was known or that several rows belong to
    busy_row    seq, profile, c<n>, w<n>   what such a row sets and deletes, and the verdict on each
    fold        profile, v<n>, f<n>, k<n>  value before, last applied cell, code that blocked one
    loose_cell, loose_before, loose_fold   the same, one row a value, for attributes without a column

A row of any other profile is its only row: all its cells are set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profilectl.importing.sift import Frame, environment_of
from profilectl.importing.stage.run import Staged
from profilectl.rules.counts import Counts
from profilectl.rules.feed import Feed
from profilectl.rules.priority import CALCULATED, OVERWRITE, SET, verdict
from profilectl.rules.sql.identities import trimmed
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment, known_loose, known_rows

DELETED = "chr(31)"
FEW_COLUMNS = 40
TALLIED = 12


@dataclass(slots=True)
class Merged:
    """What the commit writes: SELECTs in the shape of a segment's tables. loose: whether there is
    any.
    """

    row: str
    blocked: dict[str, str]
    loose: bool


def per_column(template: str, count: int, keys: Sequence[str] = ()) -> list[str]:
    """Write an expression once for each attribute column; {n} is its number, {key} its quoted key."""
    return [template.format(n=n, key=quote_text(keys[n]) if keys else "") for n in range(count)]


def merge(
    scratch: Scratch,
    staged: Staged,
    frame: Frame,
    feeds: Iterable[Feed],
    priority: str,
    segments: Sequence[Segment],
    first_arrival: int,
    counts: Counts,
    calculated: Sequence[str] = (),
) -> Merged:
    """Decide every cell and count.

    The store is attached, `usable` and `resolved` are made. calculated: the names of calculated
    attributes, which nothing may set or delete (domain.md 6.3).
    """
    scratch.make(
        "met",
        "select distinct profile from resolved where profile < $first",
        {"first": first_arrival},
    )
    scratch.load(
        "verdict",
        [("feed", "USMALLINT"), ("verdict", "VARCHAR")],
        [
            (feed.number, verdict(frame.feed.owner, feed.owner, priority))
            for feed in feeds
            if frame.feed.shares_attributes(feed)
        ],
    )
    known = bool(scratch.count("met"))
    _before(scratch, staged, segments if known else ())
    contested = _busy(scratch, staged, calculated)
    _fold(scratch, staged, contested)
    loose = _loose(scratch, staged, segments if known else (), calculated)
    codes = sorted({*OVERWRITE[priority].values(), CALCULATED} - {SET})
    _count(scratch, staged, codes, contested, loose, counts)
    return Merged(
        _row(scratch, staged, frame, first_arrival),
        _blocked(staged, codes, first_arrival, frame),
        loose,
    )


def _before(scratch: Scratch, staged: Staged, segments: Sequence[Segment]) -> None:
    """Fold what the store says of the attributes of this import, for the profiles that were met."""
    size = len(staged.keys)
    if not segments:
        cells = [(f"{one}{n}", "VARCHAR") for n in range(size) for one in "vw"]
        scratch.load("before", [("profile", "BIGINT"), *cells], [])
        return
    wide = known_rows(segments, (), staged.keys)
    columns = "".join(f", {one}" for one in per_column("one.b{n}", size))
    scratch.make(
        "before_row",
        f"select one.profile, one.arrival, one.segment, verdict.verdict{columns} from ({wide}) as one"
        " join met on met.profile = one.profile join verdict on verdict.feed = one.feed",
    )
    if any("loose" in segment.tables for segment in segments):
        pivot = "".join(
            f", {one}"
            for one in per_column("case when key = {key} then value end as b{n}", size, staged.keys)
        )
        listed = "select unnest($keys::varchar[])"
        scratch.run(
            f"insert into before_row select one.profile, one.arrival, one.segment, verdict.verdict{pivot}"
            f" from ({known_loose(segments)}) as one join met on met.profile = one.profile"
            f" join verdict on verdict.feed = one.feed where key in ({listed})",
            {"keys": staged.keys},
        )
    # The newest row that speaks of an attribute decides; one that deleted it leaves no owner.
    # Most profiles have one row: they need no aggregation.
    alone = "".join(
        f", {one}"
        for one in per_column(
            f"nullif(b{{n}}, {DELETED}) as v{{n}}, case when b{{n}} <> {DELETED} then verdict end as w{{n}}",
            size,
        )
    )
    newest = "".join(
        f", {one}"
        for one in per_column(
            f"nullif(arg_max(b{{n}}, arrival), {DELETED}) as v{{n}},"
            f" nullif(arg_max(case when b{{n}} = {DELETED} then '' when b{{n}} is not null then verdict end, arrival), '') as w{{n}}",
            size,
        )
    )
    scratch.make("several", "select profile from before_row group by profile having count(*) > 1")
    scratch.make(
        "before",
        f"select profile{alone} from before_row where profile not in (select profile from several)"
        f" union all select profile{newest} from before_row where profile in (select profile from several) group by profile",
    )
    if not any(segment.first_import == segment.last_import for segment in segments):
        scratch.drop("before_row")  # else dependence.py reads it


def _busy(scratch: Scratch, staged: Staged, calculated: Sequence[str]) -> bool:
    """Make busy and busy_row; say whether there is any such row."""
    deleted: set[str] = set()
    if "deleted" in staged.plain:
        deleted = {key for (key,) in scratch.rows("select distinct unnest(deleted) from usable")}
    refused = [
        f"{_cell(n, key, key in deleted)} is not null"
        for n, key in enumerate(staged.keys)
        if key in calculated
    ]
    also = (
        f" or profile in (select profile from resolved where seq in (select seq from usable where {' or '.join(refused)}))"
        if refused
        else ""
    )
    scratch.make(
        "busy",
        "select seq, profile, added, mpid from resolved where profile in"
        f" (select profile from resolved where profile is not null group by profile having count(*) > 1 or not bool_or(created)){also}",
    )
    if not scratch.count("busy"):
        named = {
            "seq": "BIGINT",
            "profile": "BIGINT",
            "added": "BIGINT",
            "mpid": "BIGINT",
            "at_ms": "BIGINT",
            "environment": "VARCHAR",
        }
        columns = [
            (name, kind)
            for name, kind in named.items()
            if name in staged.plain or (kind == "BIGINT" and name != "at_ms")
        ]
        columns += [(f"i_{one}", "VARCHAR") for one in staged.identities] + [
            (f"{one}{n}", "VARCHAR") for n in range(len(staged.keys)) for one in "cw"
        ]
        scratch.load("busy_row", columns, [])
        return False
    cells = "".join(
        f", {_cell(n, key, key in deleted)} as c{n}, {quote_text(CALCULATED) if key in calculated else f'before.w{n}'} as w{n}"
        for n, key in enumerate(staged.keys)
    )
    plain = "".join(f", usable.{one}" for one in ("at_ms", "environment") if one in staged.plain)
    identities = "".join(f", usable.i_{one}" for one in staged.identities)
    scratch.make(
        "busy_row",
        f"select busy.seq, busy.profile, busy.added, busy.mpid{plain}{identities}{cells} from usable"
        " join busy on busy.seq = usable.seq left join before on before.profile = busy.profile",
    )
    return True


def _cell(n: int, key: str, deletes: bool) -> str:
    """Return the SQL of what a row does to an attribute: deletions first, then the sets."""
    if not deletes:
        return f"usable.a{n}"
    return f"coalesce(usable.a{n}, case when list_contains(usable.deleted, {quote_text(key)}) then {DELETED} end)"


def _fold(scratch: Scratch, staged: Staged, contested: bool) -> None:
    size = len(staged.keys)
    if not contested:
        scratch.load(
            "fold",
            [
                ("profile", "BIGINT"),
                *((f"{one}{n}", "VARCHAR") for n in range(size) for one in "fkv"),
            ],
            [],
        )
        return
    applied = f"case when coalesce(w{{n}}, '{SET}') = '{SET}' then c{{n}} end"
    blocked = f"case when w{{n}} <> '{SET}' and c{{n}} is not null then w{{n}} end"
    alone = per_column(f"{applied} as f{{n}}, {blocked} as k{{n}}", size)
    newest = per_column(f"arg_max({applied}, seq) as f{{n}}, max({blocked}) as k{{n}}", size)
    values = "".join(f", {one}" for one in per_column("before.v{n}", size))
    crowd = "select profile from busy group by profile having count(*) > 1"
    folded = (
        f"select profile{''.join(', ' + one for one in alone)} from busy_row where profile not in ({crowd})"
        f" union all select profile{''.join(', ' + one for one in newest)} from busy_row where profile in ({crowd}) group by profile"
    )
    # Read twice. With few columns folding twice is cheaper than writing the fold down (0.2 s
    # against 1 s for a million rows); with a hundred, planning it inside the count costs more (1.7
    # s against 0.6 s).
    scratch.make(
        "fold",
        f"select folded.*{values} from ({folded}) as folded left join before on before.profile = folded.profile",
        keep=size > FEW_COLUMNS,
    )


def _loose(
    scratch: Scratch, staged: Staged, segments: Sequence[Segment], calculated: Sequence[str]
) -> bool:
    """Decide the attributes without a column of their own, one row a value."""
    parts = []
    if staged.loose:
        parts.append("select seq, key, value from staged_loose")
    if "deleted" in staged.plain:
        wide = ", ".join(map(quote_text, staged.keys)) or "''"
        gone = f"select seq, unnest(deleted) as key, {DELETED} as value from usable where deleted is not null"
        gone = f"select seq, key, value from ({gone}) where key not in ({wide})"
        if staged.loose:
            gone += " and (seq, key) not in (select (seq, key) from staged_loose)"
        parts.append(gone)
    if not parts:
        return False
    scratch.make(
        "loose_stated",
        "select one.seq, resolved.profile, one.key, one.value from"
        f" ({' union all '.join(parts)}) as one join resolved on resolved.seq = one.seq where resolved.profile is not null",
    )
    keys = [key for (key,) in scratch.rows("select distinct key from loose_stated")]
    if not keys:
        return False
    rows = [known_loose(segments)]
    for segment in segments:
        for key in set(segment.keys).intersection(keys):
            column = segment.attribute(key)
            rows.append(
                f"select profile, arrival, feed, {segment.number} as segment, {quote_text(key)} as key, {column} as value"
                f" from {segment.table('row')} where {column} is not null"
            )
    scratch.make(
        "loose_before",
        f"select one.profile, one.key, nullif(arg_max(one.value, one.arrival), {DELETED}) as v,"
        f" arg_max(case when one.value = {DELETED} then null else verdict.verdict end, one.arrival) as w"
        f" from ({' union all '.join(rows)}) as one join verdict on verdict.feed = one.feed"
        " where (one.profile, one.key) in (select (profile, key) from loose_stated) group by one.profile, one.key",
    )
    scratch.run("update loose_before set w = null where v is null")
    names = ", ".join(map(quote_text, calculated)) or "''"
    scratch.make(
        "loose_cell",
        f"select one.seq, one.profile, one.key, one.value, before.v, case when one.key in ({names}) then '{CALCULATED}' else before.w end as w from loose_stated as one"
        " left join loose_before as before on before.profile = one.profile and before.key = one.key",
    )
    scratch.make(
        "loose_fold",
        f"select profile, key, any_value(v) as v, arg_max(case when coalesce(w, '{SET}') = '{SET}' then value end, seq) as f,"
        f" max(case when w <> '{SET}' then w end) as k from loose_cell group by profile, key",
    )
    return True


# What became of an attribute, by its value before (v) and its last applied cell (f).
_OUTCOMES: dict[str, str] = {
    "set":       f"{{v}} is null and {{f}} is not null and {{f}} <> {DELETED}",
    "changed":   f"{{v}} is not null and {{f}} is not null and {{f}} <> {DELETED} and {{f}} <> {{v}}",
    "unchanged": "{v} is not null and {f} is not null and {f} = {v}",
    "deleted":   f"{{v}} is not null and {{f}} = {DELETED}",
    "blocked":   "{k} is not null",
}  # fmt: skip
_KIND = f"{{v}} is not null and {{f}} <> {DELETED} and (starts_with({{v}}, chr(31) || '[') <> starts_with({{f}}, chr(31) || '['))"


def _count(
    scratch: Scratch,
    staged: Staged,
    codes: Sequence[str],
    contested: bool,
    loose: bool,
    counts: Counts,
) -> None:
    wide = [(f"v{n}", f"f{n}", f"k{n}") for n in range(len(staged.keys))]
    if contested:
        # A few columns at a time where the fold is a table: planning a sum of thousands of counts
        # takes longer than reading.
        step = TALLIED if len(wide) > FEW_COLUMNS else max(len(wide), 1)
        for start in range(0, len(wide), step):
            _tally(
                scratch,
                "fold",
                wide[start : start + step],
                staged.keys[start : start + step],
                codes,
                counts,
            )
    if loose:
        _tally(scratch, "loose_fold", [("v", "f", "k")], None, codes, counts)
    if wide:
        found = scratch.row(
            # A deletion of what a new profile cannot have had changes nothing.
            f"select {', '.join(f'count(nullif(a{n}, {DELETED}))' for n in range(len(wide)))} from usable"
            " where seq not in (select seq from busy) and seq not in (select seq from resolved where profile is null)"
        )
        counts.attributes["set"] += sum(found)
    changes = [f"not coalesce({_same(v, f)}, true)" for v, f, _ in wide]
    changed = [f"select profile from fold where {' or '.join(changes)}"] if changes else []
    if loose:
        changed.append(
            f"select profile from loose_fold where not coalesce({_same('v', 'f')}, true)"
        )
    changed += ["select profile from gain", "select profile from loss"]
    scratch.make("changed", f"select distinct profile from ({' union all '.join(changed)})")
    created, updated, met = scratch.row(
        "select (select count(*) from resolved where created),"
        " (select count(*) from changed where profile not in (select profile from resolved where created)),"
        " (select count(*) from met where profile not in (select profile from changed))"
    )
    counts.profiles["created"] += created
    counts.profiles["updated"] += updated
    counts.profiles["unchanged"] += met


def _same(v: str, f: str) -> str:
    """Return the condition that a cell leaves an attribute as it was; null where there is no cell."""
    return f"case when {f} is null then null when {f} = {DELETED} then {v} is null else {v} is not null and {f} = {v} end"


def _tally(
    scratch: Scratch,
    relation: str,
    columns: Sequence[tuple[str, str, str]],
    keys: Sequence[str] | None,
    codes: Sequence[str],
    counts: Counts,
) -> None:
    """Count what became of attributes.

    keys: of each of the columns; None: the relation has a column key.
    """
    if not columns:
        return

    wanted = [
        " + ".join(f"count(*) filter ({text.format(v=v, f=f, k=k)})" for v, f, k in columns)
        for text in _OUTCOMES.values()
    ]
    worded = ["UA_KIND_CHANGED", *codes]
    # Each column by itself: of which attribute it was said is told too.
    for v, f, k in columns:
        wanted.append(f"count(*) filter ({_KIND.format(v=v, f=f)})")
        wanted += [f"count(*) filter ({k} = '{code}')" for code in codes]
    by_key = " group by key" if keys is None else ""
    for *found, last in scratch.rows(
        f"select {', '.join(wanted)}, {'key' if keys is None else 'null'} from {relation}{by_key}"
    ):
        for name, number in zip(_OUTCOMES, found, strict=False):
            counts.attributes[name] += number
        for place, number in enumerate(found[len(_OUTCOMES) :]):
            if number:
                counts.remark(
                    worded[place % len(worded)],
                    last if keys is None else keys[place // len(worded)],
                    number,
                )


def _row(scratch: Scratch, staged: Staged, frame: Frame, first_arrival: int) -> str:
    """Return the SELECT of the segment's rows, sorted by profile."""
    at_ms = (
        f"coalesce({{0}}.at_ms, {frame.now_ms})" if "at_ms" in staged.plain else str(frame.now_ms)
    )
    environment = (
        f"case {environment_of(staged, frame)} when 'production' then 0 else 1 end::utinyint"
    )

    def part(rows: str, resolved: str, cells: list[str]) -> str:
        columns = [
            f"{resolved}.profile",
            f"{rows}.seq + {first_arrival} as arrival",
            f"{resolved}.mpid",
            f"{environment} as environment",
            f"{frame.feed.number}::usmallint as feed",
            f"{at_ms.format(rows)} as at_ms",
        ]
        for place, kind in enumerate(staged.identities):
            columns.append(
                f"case when {resolved}.added & {1 << place} <> 0 then {trimmed(f'{rows}.i_{kind}')} end as i_{kind}"
            )
        return f"select {', '.join(columns + cells)} from {rows}"

    size = len(staged.keys)
    plain = part("usable", "resolved", per_column("usable.a{n} as a{n}", size))
    plain += " join resolved on resolved.seq = usable.seq where resolved.profile is not null and resolved.seq not in (select seq from busy)"
    applied = per_column(
        f"case when coalesce(w{{n}}, '{SET}') = '{SET}' then c{{n}} end as a{{n}}", size
    )
    busy = part("busy_row", "busy_row", applied)
    return f"select * from ({plain} union all {busy}) order by profile, arrival"


def _blocked(
    staged: Staged, codes: Sequence[str], first_arrival: int, frame: Frame
) -> dict[str, str]:
    """Return for each code the SELECT of the rows with cells that it blocked."""
    size = len(staged.keys)
    selects = {}
    for code in codes:
        cells = per_column(f"case when w{{n}} = '{code}' then c{{n}} end as a{{n}}", size)
        some = " or ".join(per_column(f"w{{n}} = '{code}' and c{{n}} is not null", size)) or "false"
        selects[code] = (
            f"select profile, seq + {first_arrival} as arrival, {frame.feed.number}::usmallint as feed, '{code}' as code"
            f"{''.join(', ' + cell for cell in cells)} from busy_row where {some}"
        )
    return selects
