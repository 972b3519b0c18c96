"""The two requests that come in masses, without what the framework does for each request.

The framework tries the routes one after another, and works out the parameters of a request anew
each time: half of what a request costs beside the questions to the store. The documented routes
stay as they are (routes_profile), for the OpenAPI document and for every other method. These stand
before them and call the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from profilectl.server.bodies import bad
from profilectl.server.routes_profile import BY_MPID, RESOLVE_PATH, profile_by_mpid, resolve

Handler = Callable[..., Awaitable[Response]]
"""A function of a route: the request, and the parameters by name."""


class QuickRoute(Route):
    """A route for one method; what it does not fit in all is left to the documented routes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route fits a request, and what the scope gets then."""
        if scope["type"] != "http" or scope["method"] not in (self.methods or ()):
            return Match.NONE, {}
        match, child_scope = super().matches(scope)
        # the log has the template of the address
        return match, {**child_scope, "route": self}


def add_quick_routes(application: FastAPI) -> None:
    """Put the quick routes before all others."""
    application.router.routes[:0] = [
        QuickRoute(RESOLVE_PATH, _quick(resolve), methods=["POST"], include_in_schema=False),
        _only(QuickRoute(BY_MPID, _quick(profile_by_mpid), methods=["GET"]), "GET"),
    ]


def _only(route: QuickRoute, method: str) -> QuickRoute:
    """Return a route that answers one method only: Starlette adds HEAD to GET."""
    route.methods = {method}
    return route


def _quick(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return a function of a request alone that calls a function of a documented route."""

    async def answer(request: Request) -> Response:
        fields = request.query_params.get("fields")
        # as the framework has it: before anything else, and in the same words (application.py)
        if fields is None:
            raise bad("fields is missing or is not what it should be")
        return await handler(request, fields=fields, **request.path_params)

    return answer
