"""The requests of IDSync: who asks, what is done, what goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import FastAPI, Path, Query, Request, Response

from profilectl.importing.outcomes import RowOutcome
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.identity import CALLS, Rules
from profilectl.rules.text.values import Value, to_json
from profilectl.server import documents
from profilectl.server.bodies import an_object, answered, bad, parsed
from profilectl.server.desk import mpid_of
from profilectl.server.gate import Problem
from profilectl.server.idsync.requests import (
    UserRequest,
    answer_of,
    batch_of,
    change_key,
    look,
    nobody,
    read_call,
    read_changes,
    refusal,
)
from profilectl.server.intake import BatchesRefused, Later

if TYPE_CHECKING:
    from profilectl.server.application import Service

T = TypeVar("T")
ReadOnly = Annotated[bool, Query(description="Say what it would find, and change nothing.")]
Matches = Annotated[bool, Query(description="Tell which of the identities matched.")]
SUMMARIES = {
    "identify": "Say who a user is, as a session begins",
    "login": "Say who signs in",
    "logout": "Say who signs out, and get an anonymous user",
    "search": "Say who has these identities, changing nothing",
}


class IDSync:
    """What the requests do. at_work: gives the service, once there is one."""

    def __init__(self, at_work: Callable[[], Service]) -> None:
        self.at_work = at_work

    @property
    def rules(self) -> Rules:
        return self.at_work().desk.snapshots.now.settings.rules

    def reads_only(self, feed: str) -> bool:
        """Say whether a feed may change nothing."""
        known = self.at_work().desk.snapshots.now.feeds.get(feed)
        return known is not None and PROTECTIONS[known.protection].known_user is Effect.PASS_BY

    async def call(
        self, request: Request, call: str, *, read_only: bool, matches: bool
    ) -> Response:
        """Answer identify, login, logout or search."""
        sender, raw = await self.at_work().caller(request)
        asked = read_call(an_object(parsed(raw)), self.rules, call)
        outcome: RowOutcome | None = None
        if call != "search" and not read_only and not self.reads_only(sender.name):
            outcome = await self._resolve(sender.name, asked, call)
        if (
            outcome is None or outcome.code == "READ_ONLY"
        ):  # ... of a feed that was changed a moment ago
            outcome = await self._look(asked, call)
        if outcome is None or outcome.mpid is None:
            raise nobody(outcome.code if outcome else None)
        return answered(to_json(answer_of(asked, outcome, self.rules, matches=matches)))

    async def _resolve(self, feed: str, asked: UserRequest, call: str) -> RowOutcome:
        line = batch_of(asked, call, self.rules, self.at_work().desk.snapshots.now.secret)
        try:
            (outcome,) = await _done(self.at_work().intake.take(feed, [line], call))
        except BatchesRefused as error:
            raise refusal(error.code) from None
        if outcome is None or (outcome.mpid is None and outcome.code is None):
            raise refusal("BAD_REQUEST")
        return outcome

    async def _look(self, asked: UserRequest, call: str) -> RowOutcome | None:
        service = self.at_work()
        await service.desk.caught_up(service.intake.last_ms)
        as_call = call if call in CALLS else "identify"
        return await service.desk.read(lambda reader: look(reader, asked, as_call))

    async def modify(self, request: Request, mpid: str, *, read_only: bool) -> Response:
        """Change the identities of a profile: all that is asked for, or nothing."""
        sender, raw = await self.at_work().caller(request)
        if mpid_of(mpid) is None:
            raise bad("an MPID is a whole number of 64 bits", "MPID_INVALID")
        environment, asked, changes, names = read_changes(an_object(parsed(raw)))
        if self.reads_only(sender.name):
            raise Problem(403, "READ_ONLY", "the feed may only read")
        number = str(int(mpid))
        key = change_key(
            self.at_work().desk.snapshots.now.secret, number, environment, asked, changes
        )
        try:
            await _done(
                self.at_work().intake.modify(
                    sender.name, environment, number, changes, key, dry_run=read_only
                )
            )
        except BatchesRefused as error:
            raise refusal(error.code) from None
        results: list[Value] = [{"identity_type": name, "modified_mpid": number} for name in names]
        return answered(to_json({"change_results": results}))


async def _done(work: Awaitable[T]) -> T:
    """Wait for what the process of imports does. Raises Problem, Refused."""
    try:
        return await work
    except Later as later:
        raise later.trouble.of_batch() from None


def add_idsync(application: FastAPI, at_work: Callable[[], Service]) -> None:
    """Add the requests to the application."""
    idsync = IDSync(at_work)
    asks = documents.body(documents.IDENTIFY, documents.FEED_OR_SIGNED)
    told = {200: documents.IDENTIFIED, **documents.problems(400, 401, 404, 413, 429, 503)}

    def route(call: str) -> None:
        async def answer_call(
            request: Request, read_only: ReadOnly = False, return_matches: Matches = True
        ) -> Response:
            return await idsync.call(request, call, read_only=read_only, matches=return_matches)

        application.post(
            f"/v1/{call}",
            tags=["IDSync"],
            summary=SUMMARIES[call],
            operation_id=f"idsync_{call}",
            response_class=Response,
            openapi_extra=asks,
            responses=told,
        )(answer_call)

    for call in SUMMARIES:
        route(call)

    @application.post(
        "/v1/{mpid}/modify",
        tags=["IDSync"],
        summary="Change the identities of a user",
        operation_id="idsync_modify",
        response_class=Response,
        openapi_extra=documents.body(documents.MODIFY, documents.FEED_OR_SIGNED),
        responses={200: documents.MODIFIED, **documents.problems(400, 401, 403, 413, 429, 503)},
    )
    async def modify(
        request: Request,
        mpid: Annotated[str, Path(description="A whole number of 64 bits.")],
        read_only: ReadOnly = False,
    ) -> Response:
        return await idsync.modify(request, mpid, read_only=read_only)
