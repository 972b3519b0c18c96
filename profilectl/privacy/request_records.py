"""What stays of the records of requests: those of the erased lose the identities in them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from profilectl.importing.suppression import NOTE
from profilectl.privacy.erased import Erased
from profilectl.privacy.import_history import compact
from profilectl.privacy.mentions import path_without
from profilectl.privacy.stays import Stays
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.text.spelling import SoughtValues

CHANGED_RECORD = [
    ("id", "VARCHAR"),
    ("is_answered", "BOOLEAN"),
    ("is_cleared", "BOOLEAN"),
    ("is_texted", "BOOLEAN"),
    ("group_id", "VARCHAR"),
    ("callbacks", "VARCHAR"),
    ("results", "VARCHAR"),
]
RECORDS = """
select id, identities, group_id, callbacks, request, results
from store.subject_request
"""
# An answered request is completed; a cleared one loses its identities; a texted one gets other
# texts for those that quote somebody.
RECORDS_CHANGED = """
select stored.* replace (
    case when changed.is_answered then 'completed' else stored.status end as status,
    case when changed.is_answered then act.at_ms else stored.finished_ms end as finished_ms,
    case when changed.is_answered then act.profiles else stored.profiles end as profiles,
    case when changed.is_cleared then null else stored.identities end as identities,
    case
        when changed.is_cleared or changed.is_texted then null
        else stored.request
    end as request,
    case when changed.is_cleared then '' else stored.sealed end as sealed,
    case when changed.is_texted then changed.group_id else stored.group_id end as group_id,
    case
        when changed.is_texted then changed.callbacks::json::varchar[]
        else stored.callbacks
    end as callbacks,
    case when changed.is_texted then changed.results else stored.results end as results
)
from stored
left join changed_record as changed on changed.id = stored.id
cross join this_erasure as act
"""


class RecordTexts(NamedTuple):
    """The texts of a record that may quote somebody."""

    group_id: str | None
    """The group of the request."""
    callbacks: str
    """The addresses that get its status, as JSON."""
    results: str | None
    """The file with the answer."""


def records_that_stay(erased: Erased, answered: Sequence[str]) -> list[Stays]:
    """Return the records of requests, without the identities of the erased.

    answered: the ids of the requests that this erasure answers, which are completed by it.
    """
    changed = []
    for record_id, identities, group, callbacks, request, results in erased.scratch.rows(RECORDS):
        is_answered = record_id in answered
        is_theirs = is_answered or (
            identities is not None and _is_of_erased(erased, json.loads(identities))
        )
        if is_theirs and results:
            erased.outcome.answers.append(results)
        texts = RecordTexts(group, compact(callbacks), results)
        stays = _without_mentions(texts, callbacks, erased.sought)
        is_texted = stays != texts or (
            not is_theirs and bool(request) and erased.sought.are_in(_decoded(request))
        )
        if is_theirs or is_texted:
            changed.append((record_id, is_answered, is_theirs, is_texted, *stays))
    if not changed:
        return []
    erased.scratch.load("changed_record", CHANGED_RECORD, changed)
    return [Stays("subject_request", RECORDS_CHANGED, rows_lost=0)]


def _decoded(request: str) -> str:
    return base64.b64decode(request).decode("utf-8", "replace")


def _without_mentions(
    texts: RecordTexts, callbacks: Iterable[str], sought: SoughtValues
) -> RecordTexts:
    """Return the texts of a record, hidden where they quote somebody."""
    group, results = texts.group_id, texts.results
    return RecordTexts(
        NOTE if group and sought.are_in(group) else group,
        compact([NOTE if sought.are_in(address) else address for address in callbacks]),
        path_without(results, sought) if results else results,
    )


def _is_of_erased(erased: Erased, identities: Sequence[Sequence[str]]) -> bool:
    """Return whether a request names an identity of the erased, or their MPID.

    A request says nothing of an environment, so each counts.
    """
    return any(
        (int(value), environment) in erased.mpids
        if kind == "mpid"
        else erased.has_identity(environment, kind, value)
        for kind, value in identities
        for environment in ENVIRONMENTS
    )
