"""What stays of the tables that have profiles: the rows of others, without the erased in them."""

from __future__ import annotations

from profilectl.privacy.erased import Erased
from profilectl.privacy.stays import Stays
from profilectl.rules.identity import BY_NAME, CODE, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.store.segments import Segment
from profilectl.store.statements import count_rows, kind_of, reading, rows_of

ROW_LOSS = [("number", "INTEGER"), ("lost", "BIGINT")]
FADED_CELL = [("arrival", "BIGINT"), ("type", "UTINYINT")]

# A row without a profile, as of a batch of a feed that only reads, is nobody's and stays here.
ROWS_OF_OTHERS = """
select *
from stored
where not coalesce(profile in (select profile from erased_profile), false)
"""
ROWS_OF_ERASED = """
select *
from stored
where coalesce(profile in (select profile from erased_profile), false)
"""
# An alias has two profiles, and goes with either of them.
ALIASES_OF_OTHERS = """
select *
from stored
where source not in (select profile from erased_profile)
  and destination not in (select profile from erased_profile)
"""
ALIASES_OF_ERASED = """
select *
from stored
where source in (select profile from erased_profile)
   or destination in (select profile from erased_profile)
"""
# store.segment counts the rows of each segment, which are fewer now.
SEGMENTS_COUNTED = """
select * replace (
    rows - coalesce((select lost from row_loss where row_loss.number = stored.number), 0) as rows
)
from stored
"""

# The identities of the erased that somebody who stays has had and lost, as a rule to the erased. A
# profile that has the identity again keeps it.
FADED = """
select distinct profile, type, hash
from store.removed
where hash in (select hash from erased_identity)
  and profile not in (select profile from erased_profile)
  and hash not in (select hash from shared_identity where shared_identity.profile = removed.profile)
"""
WITHOUT_FADED = """
select stored.*
from stored
where not exists (
    select 1
    from faded
    where faded.profile = stored.profile and faded.hash = stored.hash
)
"""
ROWS_OF_FADED = """
select profile, arrival, environment, {columns}
from stored
where profile in (select profile from faded)
"""
CELLS_WITHOUT_FADED = "select * replace ({columns}) from stored"

# Profiles that stay and lose what calculated attributes and audiences rest on.
LOSING = """
select distinct named.profile, named.mpid, named.environment
from (
    select alias.destination as profile
    from store.alias
    where alias.source in (select profile from losing_source)
    union all
    select profile from losing_own
) as losing
join named_profile as named on named.profile = losing.profile
where named.profile not in (select profile from erased_profile)
"""
LOSING_PEOPLE = """
select mpid, environment
from losing
order by profile
"""
# The mark has their values computed anew.
STALE_TOO = """
select * from stored
union all
select profile from losing
"""
CALCULATED_OF_OTHERS = """
select *
from stored
where profile not in (select profile from losing)
"""


def rows_that_stay(erased: Erased, *, but: frozenset[str] = frozenset()) -> list[Stays]:
    """Return what stays of the tables that have profiles, and of the row counts of segments.

    but: tables that another part of the erasure takes care of.
    """
    stays, losses = [], []
    for table, columns in erased.columns.items():
        if table in but or (table != "alias" and "profile" not in columns):
            continue
        counted = ALIASES_OF_ERASED if table == "alias" else ROWS_OF_ERASED
        rows = reading(counted, stored=rows_of(table))
        lost = count_rows(erased.scratch, rows)
        if not lost:
            continue
        erased.outcome.tell(kind_of(table), lost)
        select = ALIASES_OF_OTHERS if table == "alias" else ROWS_OF_OTHERS
        stays.append(Stays(table, select, rows_lost=lost))
        if kind_of(table) == "row":
            losses.append((int(table.removeprefix("row_")), lost))
    if losses:
        erased.scratch.load("row_loss", ROW_LOSS, losses)
        stays.append(Stays("segment", SEGMENTS_COUNTED, rows_lost=0))
    return stays


def past_that_stays(erased: Erased) -> list[Stays]:
    """Return what stays of the past of others: without the identities that went to the erased."""
    if not erased.profiles.removals:
        return []
    scratch = erased.scratch
    scratch.make("faded", FADED)
    faded = {
        (profile, kind, int(digest, 16))
        for profile, kind, digest in scratch.rows("select profile, type, to_hex(hash) from faded")
    }
    if not faded:
        return []
    erased.outcome.faded = len(faded)
    stays = [
        Stays(table, WITHOUT_FADED)
        for table, columns in erased.columns.items()
        if {"profile", "hash"} <= set(columns)
    ]
    scratch.load("faded_cell", FADED_CELL, [])
    for segment in erased.segments:
        cells = _faded_cells(erased, segment, faded)
        scratch.append("faded_cell", FADED_CELL, cells)
        codes = {code for _, code in cells}
        columns = [
            f"if(arrival in (select arrival from faded_cell where type = {CODE[kind]}),"
            f" null, i_{kind}) as i_{kind}"
            for kind in segment.identities
            if CODE[kind] in codes
        ]
        if columns:
            select = CELLS_WITHOUT_FADED.format(columns=", ".join(columns))
            stays.append(Stays(f"row_{segment.number}", select, rows_lost=0))
    return stays


def _faded_cells(
    erased: Erased, segment: Segment, faded: set[tuple[int, int, int]]
) -> list[tuple[int, int]]:
    """Return arrival and type of the cells of a segment that hold a faded identity."""
    if not segment.identities or "row" not in segment.tables:
        return []
    columns = ", ".join(f"i_{kind}" for kind in segment.identities)
    select = ROWS_OF_FADED.format(columns=columns)
    cells = []
    rows = erased.scratch.rows(reading(select, stored=rows_of(f"row_{segment.number}")))
    for profile, arrival, code, *values in rows:
        for kind, value in zip(segment.identities, values, strict=True):
            if value is None:
                continue
            key = key_of(BY_NAME[kind], value)
            digest = hash_of(erased.secret, ENVIRONMENT_NAME[code], kind, key=key)
            if (profile, CODE[kind], digest) in faded:
                cells.append((arrival, CODE[kind]))
    return cells


def computed_anew(erased: Erased, sources: str, own: str) -> list[Stays]:
    """Make `losing`: profiles that stay and lose something that computed values rest on.

    sources: the SELECT of profiles whose aliases carry over less from now on; own: of profiles
    that lose something of their own. Their computed values go: they are computed anew before the
    store is put in its place.
    """
    scratch = erased.scratch
    scratch.make("losing_source", sources)
    scratch.make("losing_own", own)
    scratch.make("losing", LOSING)
    erased.outcome.losing = [
        (str(mpid), ENVIRONMENT_NAME[code]) for mpid, code in scratch.rows(LOSING_PEOPLE)
    ]
    if not erased.outcome.losing or not erased.store.has_definitions():
        return []
    return [Stays("stale", STALE_TOO), Stays("calculated", CALCULATED_OF_OTHERS)]
