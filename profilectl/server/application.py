"""The web application: its routes, in the order of the OpenAPI document, and answers to failures.

The framework routes, and writes the OpenAPI document. Bodies are read by
profilectl.rules.text.values instead: a number keeps its digits, and a repeated key is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from profilectl.server import (
    documents,
    routes_events,
    routes_own,
    routes_profile,
    routes_token,
)
from profilectl.server.bodies import answered, bad
from profilectl.server.gate import FAULT, Problem
from profilectl.server.idsync.routes import add_idsync
from profilectl.server.service import Service
from profilectl.version import __version__

PARAMETERS = frozenset(("fields", "limit", "after", "read_only", "return_matches"))
"""The query parameters that a message may name."""
STATUSES = {
    404: ("NOT_FOUND", "there is no such address"),
    405: ("METHOD_NOT_ALLOWED", "not by this method"),
}
"""The code and message for each status that the framework itself answers with."""


def make_application(
    service: Service | None, running: AbstractAsyncContextManager[None] | None = None
) -> FastAPI:
    """Return the application.

    service: None for an application that only writes its OpenAPI document.
    running: the work that goes on beside the requests.
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
    application.state.service = service
    application.openapi = lambda: documents.openapi_of(application)  # type: ignore[method-assign]
    _add_failures(application)
    for routes in (routes_token, routes_profile, routes_own, routes_events):
        application.include_router(routes.router)
    add_idsync(application)
    application.router.routes[:0] = routes_profile.quick_routes()
    return application


def _add_failures(application: FastAPI) -> None:
    """Register the answer to each kind of failure."""

    @application.exception_handler(Problem)
    async def on_problem(_: Request, problem: Problem) -> Response:
        return answered(problem.body(), problem.status, problem.headers)

    @application.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        places = [fault["loc"] for fault in error.errors()]
        names = {str(place[-1]) for place in places if place[0] == "query"} & PARAMETERS
        named = ", ".join(sorted(names)) or "a parameter"
        return answered(bad(f"{named} is missing or is not what it should be").body(), 400)

    @application.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> Response:
        # The framework raises the error again after this answer, and the gate logs it.
        return answered(FAULT.body(), FAULT.status)

    @application.exception_handler(RecursionError)
    async def on_depth(_: Request, error: RecursionError) -> Response:
        return answered(bad("the body is nested too deeply").body(), 400)

    @application.exception_handler(HTTPException)
    async def on_status(_: Request, error: HTTPException) -> Response:
        status = error.status_code
        code, message = STATUSES.get(status, ("BAD_REQUEST", "the request cannot be read"))
        body = Problem(status, code, message).body()
        return answered(body, status, dict(error.headers or {}))
