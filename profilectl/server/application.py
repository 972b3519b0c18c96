"""The requests: what comes in, who may, what is asked, what goes out.

Bodies are read by profilectl.rules.text.values, not by the framework: a number keeps its digits, and a key
that stands twice is refused. The framework routes, and writes the OpenAPI document.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from profilectl.codes import sentence
from profilectl.rules.batch import is_batch, read_batch
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import type_named
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import Number, Value, to_json, whole
from profilectl.server import documents
from profilectl.server.answer import FIELDS, api_document, own_document
from profilectl.server.attempts import Attempts
from profilectl.server.bodies import answered as _json
from profilectl.server.bodies import bad as _bad
from profilectl.server.bodies import read as _read
from profilectl.server.bodies import read_object as _read_object
from profilectl.server.credentials import Client, FeedSender, ServerCredentials
from profilectl.server.desk import Desk, Question, mpid_of
from profilectl.server.documents import (
    AUDIENCES,
    HEALTH,
    MEMBERS,
    PROFILE,
    PROFILES,
    RESOLVE,
    TOKEN,
    WHOM,
    problems,
)
from profilectl.server.gate import FAULT, WHO, Problem, body_of
from profilectl.server.idsync.routes import add_idsync
from profilectl.server.idsync.signing import basic_of, sender_of
from profilectl.server.intake import BatchesRefused, Intake, Later
from profilectl.server.members import audiences_told, members_told
from profilectl.server.pace import RequestRate
from profilectl.server.peers import Peers
from profilectl.server.tokens import LIFE_S, Tokens
from profilectl.version import __version__

MOST_BATCHES = 100
MOST_WHO = 1000
MOST_MEMBERS = 1000
TOKEN_RATE = 30.0
"""Requests for tokens a second, of each client at each address."""
MOST_TOKEN_BYTES = 16 * 1024
"""Of a request for a token, which is read before anybody knows whose it is."""

Workspace = Annotated[
    str, Path(description="The workspace's number, as the credentials file has it.")
]
Org = Annotated[str, Path(description="The organization's number.")]
Account = Annotated[str, Path(description="The account's number.")]
Fields = Annotated[
    str,
    Query(
        description="Comma-separated: " + ", ".join(FIELDS) + ".",
        examples=["user_attributes,user_identities"],
    ),
]


@dataclass(slots=True)
class Service:
    """What the requests work with.

    rate, feed_rate: requests a second of a client and of a feed that states none; peers: whom
    requests come from; asking: the pace of requests for tokens.
    """

    credentials: ServerCredentials
    desk: Desk
    intake: Intake
    rate: float
    feed_rate: float
    peers: Peers = field(default_factory=Peers)
    tokens: Tokens = field(default_factory=Tokens)
    pace: RequestRate = field(default_factory=RequestRate)
    asking: RequestRate = field(default_factory=RequestRate)
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.peers)

    def client(
        self, request: Request, org: str, account: str, workspace: str
    ) -> tuple[Client, str]:
        """Return who asks, and the name of the workspace that is asked of. Raises Problem."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        name = self.tokens.client(token.strip()) if scheme.lower() == "bearer" else None
        client = self.credentials.client_named(name) if name is not None else None
        if client is None:
            if token:
                self.attempts.failed(request)
            raise Problem(
                401,
                "UNAUTHORIZED",
                "a bearer token of POST /oauth/token is needed",
                {"WWW-Authenticate": "Bearer"},
            )
        request.scope[WHO] = client.name
        self._slow_down(f"client {client.name}", client.rate or self.rate, {})
        meant = self.credentials.workspaces.get(workspace)
        if (
            (org, account) != (self.credentials.org, self.credentials.account)
            or meant is None
            or not client.may_ask(meant)
        ):
            raise Problem(403, "FORBIDDEN", "the client may not ask of this workspace")
        return client, meant

    def sender(self, request: Request) -> FeedSender:
        """Return the feed that sends. Raises Problem."""
        stated = request.headers.get("authorization")
        if stated is None:
            raise Problem(
                401,
                "UNAUTHORIZED",
                "HTTP Basic with the key and the secret of a feed is needed",
                {"WWW-Authenticate": 'Basic realm="profilectl"'},
            )
        key, secret = basic_of(stated) or ("", "")
        named = self.credentials.known_key(key)
        sender = self.attempts.prove(request, named, lambda: self.credentials.sender(key, secret))
        if sender is None:
            raise Problem(403, "FORBIDDEN", "no feed has this key and secret")
        self._counts(request, sender)
        return sender

    async def caller(self, request: Request) -> tuple[FeedSender, bytes]:
        """Return the feed that speaks of its users, and the body. Raises Problem."""
        sender, body = await sender_of(request, self.credentials, self.attempts)
        self._counts(request, sender)
        return sender, await body_of(request) if body is None else body

    def _counts(self, request: Request, sender: FeedSender) -> None:
        request.scope[WHO] = sender.name
        self._slow_down(
            f"feed {sender.name}",
            sender.rate or self.feed_rate,
            {"X-mp-rate-limit-exceeded": "feed"},
        )

    def _slow_down(self, name: str, rate: float, headers: dict[str, str]) -> None:
        _later(self.pace.wait_s(name, rate), rate, headers)

    def try_client(self, request: Request, identifier: str, secret: str) -> Client | None:
        """Return the client with these credentials. Raises Problem where it asks too often."""
        named = self.credentials.known_id(identifier)
        of = self.peers.asking(request.scope), named
        _later(self.asking.wait_s(of, TOKEN_RATE), TOKEN_RATE, {})
        return self.attempts.prove(
            request, named, lambda: self.credentials.client(identifier, secret)
        )


def _later(wait_s: float, rate: float, headers: dict[str, str]) -> None:
    if wait_s:
        raise Problem(
            429,
            "TOO_MANY_REQUESTS",
            f"more than {rate:g} requests a second",
            {"Retry-After": str(math.ceil(wait_s)), **headers},
        )


def _fields(stated: str) -> list[str]:
    names = [name.strip() for name in stated.split(",") if name.strip()]
    if not names or any(name not in FIELDS for name in names):
        raise _bad(f"fields must name some of {', '.join(FIELDS)}")
    return names


def _identity(stated: Value) -> tuple[str, str]:
    """Return the type and value of an identity in a body. Raises Problem."""
    if (
        not isinstance(stated, dict)
        or not isinstance(name := stated.get("type"), str)
        or not isinstance(value := stated.get("value"), str)
        or isinstance(value, Number)
    ):
        raise _bad('an identity has a "type" and a "value", both texts')
    kind = type_named(name)
    if kind is None and name not in ("mpid", "any"):
        raise _bad("there is no such identity type")
    if name == "mpid" and mpid_of(value) is None:
        raise _bad("an MPID is a whole number of 64 bits")
    return (kind.name if kind else name), value


def _environment(stated: Value, *, needed: bool) -> str | None:
    if stated is None and not needed:
        return None
    if not isinstance(stated, str) or stated not in ENVIRONMENTS:
        raise _bad("environment_type must be production or development")
    return stated


def make_application(
    service: Service | None, running: AbstractAsyncContextManager[None] | None = None
) -> FastAPI:
    """Return the application.

    service: None where only the OpenAPI document is wanted; running: what runs beside it.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if running is None:
            yield
        else:
            async with running:
                yield

    application = FastAPI(
        title="profilectl",
        version=__version__,
        description=documents.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    application.openapi = lambda: documents.openapi_of(application)  # type: ignore[method-assign]

    def at_work() -> Service:
        assert service is not None
        return service

    @application.exception_handler(Problem)
    async def on_problem(_: Request, problem: Problem) -> Response:
        return _json(problem.body(), problem.status, problem.headers)

    @application.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        named = sorted(
            {str(one["loc"][-1]) for one in error.errors() if one["loc"][0] == "query"}
            & {"fields", "limit", "after", "read_only", "return_matches"}
        )
        return _json(
            _bad(
                f"{', '.join(named) or 'a parameter'} is missing or is not what it should be"
            ).body(),
            400,
        )

    @application.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> Response:
        # it is raised to the gate all the same, which logs it
        return _json(FAULT.body(), FAULT.status)

    @application.exception_handler(RecursionError)
    async def on_depth(_: Request, error: RecursionError) -> Response:
        return _json(_bad("the body is nested too deeply").body(), 400)

    @application.exception_handler(HTTPException)
    async def on_status(_: Request, error: HTTPException) -> Response:
        code, message = {
            404: ("NOT_FOUND", "there is no such address"),
            405: ("METHOD_NOT_ALLOWED", "not by this method"),
        }.get(error.status_code, ("BAD_REQUEST", "the request cannot be read"))
        return _json(
            Problem(error.status_code, code, message).body(),
            error.status_code,
            dict(error.headers or {}),
        )

    @application.get(
        "/healthz",
        tags=["service"],
        summary="Say whether profiles can be read, and how new they are",
        response_class=Response,
        responses={200: HEALTH, 503: HEALTH},
    )
    async def healthz() -> Response:
        told, well = documents.health(at_work().desk.snapshots)
        return _json(to_json(told), 200 if well else 503)

    @application.post(
        "/oauth/token",
        tags=["service"],
        summary="A token for a client's credentials",
        response_class=Response,
        openapi_extra=documents.body(documents.CREDENTIALS),
        responses={
            200: TOKEN,
            **problems(400, 401, 403, 413, 429, 503, shape=documents.OAUTH_PROBLEM),
        },
    )
    async def token(request: Request) -> Response:
        asked = await _read_object(request, MOST_TOKEN_BYTES)
        if asked.get("grant_type") != "client_credentials":
            return _json(
                to_json(
                    {
                        "error": "unsupported_grant_type",
                        "error_description": "grant_type must be client_credentials",
                    }
                ),
                400,
            )
        stated = (str(asked.get(name, "")) for name in ("client_id", "client_secret"))
        client = at_work().try_client(request, *stated)
        if client is None:
            return _json(
                to_json(
                    {
                        "error": "invalid_client",
                        "error_description": "no client has this id and secret",
                    }
                ),
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        request.scope[WHO] = client.name
        if asked.get("audience") != at_work().credentials.audience:
            return _json(
                to_json({"error": "access_denied", "error_description": "the audience is another"}),
                403,
            )
        return _json(
            to_json(
                {
                    "access_token": at_work().tokens.make(client.name),
                    "token_type": "Bearer",
                    "expires_in": whole(LIFE_S),
                }
            )
        )

    api = problems(400, 401, 403, 429, 503)

    async def of_mpid(
        request: Request,
        org: Org,
        account: Account,
        workspace: Workspace,
        mpid: Annotated[str, Path(description="A whole number of 64 bits.")],
        fields: Fields,
    ) -> Response:
        _, meant = at_work().client(request, org, account, workspace)
        names = _fields(fields)
        if mpid_of(mpid) is None:
            raise _bad("an MPID is a whole number of 64 bits")
        return await told(Question(meant, "mpid", mpid), names)

    async def told(question: Question, names: list[str]) -> Response:
        found = await at_work().desk.ask(question)
        if not found:
            raise _bad(
                "the workspace has no such profile, or none within its lifetime",
                "PROFILE_NOT_FOUND",
            )
        # The same MPID in both environments can only come from batches that state it; the real one
        # is meant.
        return _json(
            api_document(min(found, key=lambda one: ENVIRONMENTS.index(one.environment)), names)
        )

    path = "/userprofile/v1/{org}/{account}/{workspace}/{mpid}"
    application.get(
        path,
        tags=["Profile API"],
        summary="A profile by its MPID",
        operation_id="profile_by_mpid_get",
        response_class=Response,
        openapi_extra=documents.BEARER,
        responses={200: PROFILE, **api},
    )(of_mpid)

    @application.post(
        "/userprofile/v1/resolve/{org}/{account}/{workspace}",
        tags=["Profile API"],
        summary="A profile by an identity that is immutable",
        response_class=Response,
        openapi_extra=documents.body(RESOLVE, documents.BEARER),
        responses={200: PROFILE, **api, **problems(413)},
    )
    async def resolve(
        request: Request, org: Org, account: Account, workspace: Workspace, fields: Fields
    ) -> Response:
        _, meant = at_work().client(request, org, account, workspace)
        names = _fields(fields)
        asked = await _read_object(request)
        environment = _environment(asked.get("environment_type"), needed=True)
        kind, value = _identity(asked.get("identity"))
        if kind not in at_work().desk.snapshots.now.settings.rules.immutable:
            raise _bad(
                f"the identity type must be immutable; {', '.join(sorted(at_work().desk.snapshots.now.settings.rules.immutable)) or 'none'} is",
                "IDENTITY_NOT_IMMUTABLE",
            )
        return await told(Question(meant, kind, value, environment), names)

    application.post(
        path,
        tags=["Profile API"],
        summary="A profile by its MPID",
        operation_id="profile_by_mpid_post",
        response_class=Response,
        openapi_extra=documents.BEARER,
        responses={200: PROFILE, **api},
    )(of_mpid)

    own = "/profilectl/v1/{org}/{account}/{workspace}"

    @application.post(
        f"{own}/profiles",
        tags=["beyond the platform's"],
        summary="Profiles by any identities, many at once",
        response_class=Response,
        openapi_extra=documents.body(WHOM, documents.BEARER),
        responses={200: PROFILES, **api, **problems(413)},
    )
    async def profiles(
        request: Request, org: Org, account: Account, workspace: Workspace
    ) -> Response:
        _, meant = at_work().client(request, org, account, workspace)
        asked = await _read_object(request)
        environment = _environment(asked.get("environment_type"), needed=False)
        listed = asked.get("identities")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_WHO:
            raise _bad(f"identities must be a list of 1 to {MOST_WHO:,}")
        provenance = asked.get("provenance", False)
        if not isinstance(provenance, bool):
            raise _bad("provenance must be true or false")
        questions = [Question(meant, *_identity(one), environment, provenance) for one in listed]
        results: list[Value] = []
        for question, found in zip(questions, await at_work().desk.ask_all(questions), strict=True):
            documents_of = [own_document(one) for one in found]
            if not provenance:
                for one in documents_of:
                    del one["provenance"]
            results.append(
                {
                    "identity": {"type": question.kind, "value": question.value},
                    "profiles": [*documents_of],
                }
            )
        return _json(to_json({"results": results}))

    @application.get(
        f"{own}/audiences",
        tags=["beyond the platform's"],
        summary="The audiences of the workspace",
        response_class=Response,
        openapi_extra=documents.BEARER,
        responses={200: AUDIENCES, **problems(401, 403, 429, 503)},
    )
    async def audiences(
        request: Request, org: Org, account: Account, workspace: Workspace
    ) -> Response:
        _, meant = at_work().client(request, org, account, workspace)
        return _json(
            to_json(
                {
                    "audiences": await at_work().desk.read(
                        lambda reader: audiences_told(reader, meant)
                    )
                }
            )
        )

    @application.get(
        f"{own}/audiences/{{audience}}/members",
        tags=["beyond the platform's"],
        summary="Who is in an audience, page by page",
        response_class=Response,
        openapi_extra=documents.BEARER,
        responses={200: MEMBERS, **api, **problems(404)},
    )
    async def members(
        request: Request,
        org: Org,
        account: Account,
        workspace: Workspace,
        audience: Annotated[str, Path(description="The audience's number.")],
        limit: Annotated[int, Query(ge=1, le=MOST_MEMBERS, description="Members of a page.")] = 100,
        after: Annotated[str, Query(description="`next` of the page before.")] = "",
    ) -> Response:
        _, meant = at_work().client(request, org, account, workspace)
        place = mpid_of(after) if after else -1
        if place is None:
            raise _bad("after must be `next` of the page before")
        if not (audience.isascii() and audience.isdecimal() and len(audience) < 10):
            raise Problem(404, "NOT_FOUND", "the workspace has no such audience")
        page = await at_work().desk.read(
            lambda reader: members_told(reader, meant, int(audience), limit, place)
        )
        if page is None:
            raise Problem(404, "NOT_FOUND", "the workspace has no such audience")
        return _json(to_json(page))

    accepted = {
        202: {"description": "Accepted: the batches are committed in the store."},
        **problems(400, 401, 403, 413, 429, 503),
    }

    @application.post(
        "/v2/events",
        tags=["Events API"],
        summary="Take in one batch",
        status_code=202,
        response_class=Response,
        openapi_extra=documents.body(documents.BATCH, documents.BASIC),
        responses=accepted,
    )
    async def events(request: Request) -> Response:
        sender = at_work().sender(request)
        batch = _batch(await _read(request, batches=True))
        try:
            read_batch(
                batch,
                replace(
                    at_work().desk.snapshots.now.settings.reading,
                    latest_ms=latest_ms(time.time_ns() // 1_000_000),
                ),
            )
        except Unusable as error:
            raise _bad(
                f"{sentence(error.code)}: {error.detail}" if error.detail else sentence(error.code),
                error.code,
            ) from None
        return await taken_in(sender, [batch])

    @application.post(
        "/v2/bulkevents/historical",
        tags=["Events API"],
        summary="Take in up to 100 batches with old events",
        status_code=202,
        response_class=Response,
        openapi_extra=documents.body(documents.BATCHES, documents.BASIC),
        responses=accepted,
    )
    @application.post(
        "/v2/bulkevents",
        tags=["Events API"],
        summary="Take in up to 100 batches",
        status_code=202,
        response_class=Response,
        openapi_extra=documents.body(documents.BATCHES, documents.BASIC),
        responses=accepted,
    )
    async def bulkevents(request: Request) -> Response:
        sender = at_work().sender(request)
        batches = await _read(request, batches=True)
        if not isinstance(batches, list) or not 1 <= len(batches) <= MOST_BATCHES:
            raise _bad(f"the body must be a list of 1 to {MOST_BATCHES} batches")
        return await taken_in(sender, [_batch(one) for one in batches])

    async def taken_in(sender: FeedSender, batches: list[dict[str, Value]]) -> Response:
        try:
            await at_work().intake.take(sender.name, [to_json(one) for one in batches])
        except Later as later:
            raise later.trouble.of_batch() from None
        except BatchesRefused:
            raise _bad("the batches cannot be imported") from None
        return Response(status_code=202)

    add_idsync(application, at_work)
    return application


EMPTY: dict[str, Value] = {
    "user_attributes": {},
    "user_identities": {},
    "deleted_user_attributes": [],
    "events": [],
}


def _batch(stated: Value) -> dict[str, Value]:
    """Return a batch so that it is imported as a Batch, never as a flat row.

    Raises Problem where it cannot be one.
    """
    if not isinstance(stated, dict):
        raise _bad("a batch must be a JSON object")
    if is_batch(stated):
        return stated
    name = next((name for name in EMPTY if stated.get(name) is None), None)
    if name is None:
        raise _bad("the fields of a batch are objects and lists")
    return {**stated, name: EMPTY[name]}
