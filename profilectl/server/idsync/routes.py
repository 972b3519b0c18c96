"""The requests of IDSync."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request, Response

from profilectl.importing.answers.outcomes import RowOutcome
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
from profilectl.server.intake import BatchesRefused, Later, ModifyRequest
from profilectl.server.parameters import Mpid
from profilectl.server.service import Service, service_of

T = TypeVar("T")
ReadOnly = Annotated[bool, Query(description="Say what it would find, and change nothing.")]
Matches = Annotated[bool, Query(description="Tell which of the identities matched.")]
SUMMARIES = {
    "identify": "Say who a user is, as a session begins",
    "login": "Say who signs in",
    "logout": "Say who signs out, and get an anonymous user",
    "search": "Say who has these identities, changing nothing",
}


@dataclass(frozen=True)
class IDSync:
    """Answers the requests of IDSync."""

    service: Service
    """The parts that it works with."""

    @property
    def rules(self) -> Rules:
        """The identity rules in force."""
        return self.service.desk.snapshots.now.settings.rules

    def reads_only(self, feed: str) -> bool:
        """Return whether a feed may change nothing."""
        state = self.service.desk.snapshots.now.feeds.get(feed)
        return state is not None and PROTECTIONS[state.protection].known_user is Effect.PASS_BY

    async def call(
        self, request: Request, call: str, *, read_only: bool, matches: bool
    ) -> Response:
        """Answer identify, login, logout or search."""
        sender, raw = await self.service.caller(request)
        user = read_call(an_object(parsed(raw)), self.rules, call)
        outcome: RowOutcome | None = None
        if call != "search" and not read_only and not self.reads_only(sender.name):
            outcome = await self._resolve(sender.name, user, call)
        # READ_ONLY: the feed became read-only a moment ago, which the snapshot does not know yet.
        if outcome is None or outcome.code == "READ_ONLY":
            outcome = await self._look(user, call)
        if outcome is None or outcome.mpid is None:
            raise nobody(outcome.code if outcome else None)
        return answered(to_json(answer_of(user, outcome, self.rules, matches=matches)))

    async def _resolve(self, feed: str, user: UserRequest, call: str) -> RowOutcome:
        """Import a request as a batch, and return its outcome. Raises Problem."""
        line = batch_of(user, call, rules=self.rules, secret=self.service.desk.snapshots.now.secret)
        try:
            (outcome,) = await _finished(self.service.intake.take(feed, [line], call))
        except BatchesRefused as error:
            raise refusal(error.code) from None
        if outcome is None or (outcome.mpid is None and outcome.code is None):
            raise refusal("BAD_REQUEST")
        return outcome

    async def _look(self, user: UserRequest, call: str) -> RowOutcome | None:
        """Return what a request would find, without changing anything."""
        await self.service.desk.caught_up(self.service.intake.last_ms)
        as_call = call if call in CALLS else "identify"
        return await self.service.desk.read(lambda reader: look(reader, user, as_call))

    async def modify(self, request: Request, mpid: str, *, read_only: bool) -> Response:
        """Make all changes to the identities of a profile, or none. Raises Problem."""
        sender, raw = await self.service.caller(request)
        if mpid_of(mpid) is None:
            raise bad("an MPID is a whole number of 64 bits", "MPID_INVALID")
        changing = read_changes(an_object(parsed(raw)))
        if self.reads_only(sender.name):
            raise Problem(403, "READ_ONLY", "the feed may only read")
        number = str(int(mpid))
        change = ModifyRequest(
            feed=sender.name,
            environment=changing.environment,
            mpid=number,
            changes=changing.changes,
            key=change_key(self.service.desk.snapshots.now.secret, number, changing),
            dry_run=read_only,
        )
        try:
            await _finished(self.service.intake.modify(change))
        except BatchesRefused as error:
            raise refusal(error.code) from None
        results: list[Value] = [
            {"identity_type": name, "modified_mpid": number} for name in changing.names
        ]
        return answered(to_json({"change_results": results}))


async def _finished(work: Awaitable[T]) -> T:
    """Return the result of the process of imports. Raises Problem, BatchesRefused."""
    try:
        return await work
    except Later as later:
        raise later.trouble.of_batch() from None


def add_idsync(application: FastAPI) -> None:
    """Register the requests of IDSync in the application."""
    for call in SUMMARIES:
        _add_call(application, call)

    @application.post(
        "/v1/{mpid}/modify",
        tags=["IDSync"],
        summary="Change the identities of a user",
        operation_id="idsync_modify",
        response_class=Response,
        openapi_extra=documents.body(documents.MODIFY, documents.FEED_OR_SIGNED),
        responses={200: documents.MODIFIED, **documents.problems(400, 401, 403, 413, 429, 503)},
    )
    async def modify(request: Request, mpid: Mpid, read_only: ReadOnly = False) -> Response:
        return await IDSync(service_of(request)).modify(request, mpid, read_only=read_only)


def _add_call(application: FastAPI, call: str) -> None:
    @application.post(
        f"/v1/{call}",
        tags=["IDSync"],
        summary=SUMMARIES[call],
        operation_id=f"idsync_{call}",
        response_class=Response,
        openapi_extra=documents.body(documents.IDENTIFY, documents.FEED_OR_SIGNED),
        responses={200: documents.IDENTIFIED, **documents.problems(400, 401, 404, 413, 429, 503)},
    )
    async def answer_call(
        request: Request, read_only: ReadOnly = False, return_matches: Matches = True
    ) -> Response:
        idsync = IDSync(service_of(request))
        return await idsync.call(request, call, read_only=read_only, matches=return_matches)
