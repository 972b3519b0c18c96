"""The requests of the Events API: each batch is answered once it is in the store."""

from __future__ import annotations

import time
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from profilectl.codes import sentence
from profilectl.rules.batch import is_batch, read_batch
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import Value, to_json
from profilectl.server import documents
from profilectl.server.bodies import bad, read
from profilectl.server.credentials import FeedSender
from profilectl.server.documents import problems
from profilectl.server.intake import BatchesRefused, Later
from profilectl.server.service import Service, service_of

MOST_BATCHES = 100
"""The most batches of one request."""
ACCEPTED = {
    202: {"description": "Accepted: the batches are committed in the store."},
    **problems(400, 401, 403, 413, 429, 503),
}
router = APIRouter()


@router.post(
    "/v2/events",
    tags=["Events API"],
    summary="Take in one batch",
    status_code=202,
    response_class=Response,
    openapi_extra=documents.body(documents.BATCH, documents.BASIC),
    responses=ACCEPTED,
)
async def events(request: Request) -> Response:
    """Take in one batch: answer once it is in the store."""
    service = service_of(request)
    sender = service.sender(request)
    batch = _batch(await read(request, batches=True))
    reading = service.desk.snapshots.now.settings.reading
    try:
        read_batch(batch, replace(reading, latest_ms=latest_ms(time.time_ns() // 1_000_000)))
    except UnusableRow as error:
        detail = f": {error.detail}" if error.detail else ""
        raise bad(f"{sentence(error.code)}{detail}", error.code) from None
    return await _take_in(service, sender, [batch])


@router.post(
    "/v2/bulkevents/historical",
    tags=["Events API"],
    summary="Take in up to 100 batches with old events",
    status_code=202,
    response_class=Response,
    openapi_extra=documents.body(documents.BATCHES, documents.BASIC),
    responses=ACCEPTED,
)
@router.post(
    "/v2/bulkevents",
    tags=["Events API"],
    summary="Take in up to 100 batches",
    status_code=202,
    response_class=Response,
    openapi_extra=documents.body(documents.BATCHES, documents.BASIC),
    responses=ACCEPTED,
)
async def bulkevents(request: Request) -> Response:
    """Take in up to MOST_BATCHES batches: answer once all are in the store."""
    service = service_of(request)
    sender = service.sender(request)
    batches = await read(request, batches=True)
    if not isinstance(batches, list) or not 1 <= len(batches) <= MOST_BATCHES:
        raise bad(f"the body must be a list of 1 to {MOST_BATCHES} batches")
    # Unlike a single batch, a bad one among many is left to the import, which rejects it alone: the
    # others are taken (domain.md 5.4).
    return await _take_in(service, sender, [_batch(batch) for batch in batches])


async def _take_in(
    service: Service, sender: FeedSender, batches: list[dict[str, Value]]
) -> Response:
    """Import batches, and answer once they are in the store. Raises Problem."""
    try:
        await service.intake.take(sender.name, [to_json(batch) for batch in batches])
    except Later as later:
        raise later.trouble.of_batch() from None
    except BatchesRefused:
        raise bad("the batches cannot be imported") from None
    return Response(status_code=202)


EMPTY: dict[str, Value] = {
    "user_attributes": {},
    "user_identities": {},
    "deleted_user_attributes": [],
    "events": [],
}
"""The fields that make an object a batch, each empty."""


def _batch(value: Value) -> dict[str, Value]:
    """Return an object that the import reads as a batch, never as a flat row.

    Raises Problem if the value cannot be a batch.
    """
    if not isinstance(value, dict):
        raise bad("a batch must be a JSON object")
    if is_batch(value):
        return value
    name = next((name for name in EMPTY if value.get(name) is None), None)
    if name is None:
        raise bad("the fields of a batch are objects and lists")
    return {**value, name: EMPTY[name]}
