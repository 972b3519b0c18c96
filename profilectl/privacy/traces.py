"""What stays of the tables that only quote people: request ids, the outbox, rejects, remarks."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.suppression import without_text
from profilectl.privacy.erased import Erased
from profilectl.privacy.mentions import path_without, places_of
from profilectl.privacy.stays import Stays
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import NAME
from profilectl.store.statements import count_rows, rows_of

PLACES = [("place", "BIGINT")]
HIDDEN = [("was", "VARCHAR"), ("hidden", "VARCHAR")]

# These tables are read by rowid, so each SELECT is the first of its table and names it.
REQUESTS_OF_OTHERS = """
select *
from store.request
where not (
    coalesce(arrival in (select arrival from gone_row), false)
    or rowid in (select place from named_request)
)
"""

TEXTS_OF_OUTBOX = """
select count(*)
from store.outbox
where coalesce(content, devices, held, why) is not null
"""
# Batches without a profile that name the erased go; batches of others lose the texts that do.
OUTBOX_OF_OTHERS = """
select * replace (
    case when rowid in (select place from named_devices) then null else devices end as devices,
    case when rowid in (select place from named_held) then null else held end as held,
    case when rowid in (select place from named_why) then null else why end as why
)
from store.outbox as batch
where not (
    coalesce(profile in (select profile from erased_profile), false)
    or rowid in (select place from named_content)
    or exists (
        select 1
        from erased_name as erased
        where erased.mpid = json_extract(batch.content, '$.mpid')::varchar
          and erased.environment = batch.content->>'$.environment'
    )
)
"""
OUTPUTS_THAT_HAVE = """
select distinct output
from store.forwarded
where outcome in ('delivered', 'known')
  and arrival in (select arrival from gone_row)
order by output
"""
# Once a batch of a feed that only reads has left, the store keeps nothing of it, so nobody knows
# whose it was.
OUTPUTS_THAT_MAY_HAVE = """
select distinct output
from store.forwarded
where outcome in ('delivered', 'known')
  and arrival in (select arrival from store.dropped where code = 'READ_ONLY')
order by output
"""

REJECTS_WITHOUT_TEXT = "select * replace ({columns}) from store.reject"
FILE_WITHOUT_NAME = """
coalesce(
    (select any_value(named_file.hidden) from named_file where named_file.was = file), file
) as file
"""
FILES_OF_REJECTS = """
select distinct file
from store.reject
where rowid in (select place from named_reject)
order by file
"""

# A remark about a row of somebody else may name an identity of the erased.
TYPED_REMARKS = """
select rowid, type, value
from store.remark
where value is not null and type is not null
"""
REMARKS_OF_OTHERS = """
select *
from store.remark
where not (
    arrival in (select arrival from gone_row)
    or rowid in (select place from named_remark)
)
order by arrival
"""
PASSED_CLAIMS_OF_OTHERS = """
select *
from store.passed_claim
where not (
    arrival in (select arrival from gone_row)
    or hash in (select hash from erased_identity)
)
order by arrival
"""


def requests_that_stay(erased: Erased) -> list[Stays]:
    """Return what stays of source_request_ids: those of others that quote no value."""
    load_places(erased, "named_request", table="request", texts=["request"])
    requests = _less(erased, "request", REQUESTS_OF_OTHERS)
    if requests.rows_lost:
        erased.outcome.requests = requests.rows_lost
        erased.outcome.tables["request"] = requests.rows_lost
    return [requests]


def outbox_has_texts(erased: Erased) -> bool:
    """Return whether a batch in the outbox has a text in which somebody may be named."""
    return bool(erased.scratch.row(TEXTS_OF_OUTBOX)[0])


def outbox_that_stays(erased: Erased) -> list[Stays]:
    """Remove waiting batches of unknown users that mention an erased identity or MPID.

    Such mentions in other waiting batches are blanked. `outcome.outputs` names the outputs that
    already received batches of the erased.
    """
    scratch, outcome = erased.scratch, erased.outcome
    stays = []
    if outbox_has_texts(erased):
        for column in ("content", "devices", "held", "why"):
            load_places(erased, f"named_{column}", table="outbox", texts=[column])
        outbox = _less(erased, "outbox", OUTBOX_OF_OTHERS)
        if outbox.rows_lost:
            outcome.tell("outbox", outbox.rows_lost)
        stays.append(outbox)
    outcome.outputs = [name for (name,) in scratch.rows(OUTPUTS_THAT_HAVE)]
    outcome.may_have = [
        name for (name,) in scratch.rows(OUTPUTS_THAT_MAY_HAVE) if name not in outcome.outputs
    ]
    return stays


def rejects_that_stay(erased: Erased) -> list[Stays]:
    """Return the rejects, without the text of those that name an identity of the erased.

    Code and line stay; the names of files lose the name of a person.
    """
    outcome = erased.outcome
    outcome.rejects = load_places(erased, "named_reject", table="reject", texts=["raw", "message"])
    files = load_paths(erased, "named_file", "select distinct file from store.reject")
    if not outcome.rejects and not files:
        return []
    # The store does not know where --rejects put them; this is the place without that option.
    outcome.rejects_files = [
        f"{file}.rejects.jsonl" for (file,) in erased.scratch.rows(FILES_OF_REJECTS)
    ]
    texts = without_text("rowid in (select place from named_reject)")
    select = REJECTS_WITHOUT_TEXT.format(columns=f"{texts}, {FILE_WITHOUT_NAME}")
    return [Stays("reject", select, rows_lost=0)]


def remarks_that_stay(erased: Erased) -> list[Stays]:
    """Return what stays of remarks about rows, and of claims that were passed over."""
    load_places(erased, "named_remark", table="remark", texts=["value", "attribute"])
    typed = erased.scratch.rows(TYPED_REMARKS) if erased.hashes else []
    places = [
        (place,)
        for place, code, value in typed
        if any(erased.has_identity(name, NAME[code], value) for name in ENVIRONMENTS)
    ]
    erased.scratch.append("named_remark", PLACES, places)
    return [
        Stays("remark", REMARKS_OF_OTHERS),
        Stays("passed_claim", PASSED_CLAIMS_OF_OTHERS),
    ]


def load_places(erased: Erased, name: str, *, table: str, texts: Sequence[str]) -> int:
    """Make a relation (place) of the rows of a table that quote a value; return how many.

    texts: the columns of text that are looked through.
    """
    places = places_of(erased.scratch, f"store.{table}", texts=texts, sought=erased.sought)
    erased.scratch.load(name, PLACES, [(place,) for place in places])
    return len(places)


def load_paths(erased: Erased, name: str, select: str) -> int:
    """Make a relation (was, hidden) of the paths that hold a value; return how many."""
    changed = [
        (path, hidden)
        for (path,) in erased.scratch.rows(select)
        if (hidden := path_without(path, erased.sought)) != path
    ]
    erased.scratch.load(name, HIDDEN, changed)
    return len(changed)


def _less(erased: Erased, table: str, select: str) -> Stays:
    """Return what stays of a table that nothing else has changed so far, with its rows counted."""
    before = count_rows(erased.scratch, rows_of(table))
    return Stays(table, select, rows_lost=before - count_rows(erased.scratch, select))
