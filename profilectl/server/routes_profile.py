"""The requests of the Profile API (domain.md 9): a profile by its MPID, or by an identity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from profilectl.rules.feed import ENVIRONMENTS
from profilectl.server import documents
from profilectl.server.answer import api_document
from profilectl.server.bodies import answered, bad, read_object
from profilectl.server.desk import Question, mpid_of
from profilectl.server.documents import PROFILE, RESOLVE, problems
from profilectl.server.parameters import (
    Account,
    Fields,
    Mpid,
    Org,
    Workspace,
    environment_of,
    fields_named,
    identity_of,
)
from profilectl.server.service import Service, service_of

BY_MPID = "/userprofile/v1/{org}/{account}/{workspace}/{mpid}"
RESOLVE_PATH = "/userprofile/v1/resolve/{org}/{account}/{workspace}"
PROBLEMS = problems(400, 401, 403, 429, 503)
router = APIRouter()
Handler = Callable[..., Awaitable[Response]]
"""A function of a route: the request, and the parameters by name."""


async def profile_by_mpid(
    request: Request,
    org: Org,
    account: Account,
    workspace: Workspace,
    mpid: Mpid,
    fields: Fields,
) -> Response:
    """Answer with the profile that has an MPID."""
    service = service_of(request)
    workspace_name = service.workspace(request, org=org, account=account, workspace=workspace)
    names = fields_named(fields)
    if mpid_of(mpid) is None:
        raise bad("an MPID is a whole number of 64 bits")
    return await _answer(service, Question(workspace_name, "mpid", mpid), names)


def _add_profile_by_mpid(method: str) -> None:
    router.add_api_route(
        BY_MPID,
        profile_by_mpid,
        methods=[method],
        tags=["Profile API"],
        summary="A profile by its MPID",
        operation_id=f"profile_by_mpid_{method.lower()}",
        response_class=Response,
        openapi_extra=documents.BEARER,
        responses={200: PROFILE, **PROBLEMS},
    )


_add_profile_by_mpid("GET")


@router.post(
    RESOLVE_PATH,
    tags=["Profile API"],
    summary="A profile by an identity that is immutable",
    response_class=Response,
    openapi_extra=documents.body(RESOLVE, documents.BEARER),
    responses={200: PROFILE, **PROBLEMS, **problems(413)},
)
async def resolve(
    request: Request, org: Org, account: Account, workspace: Workspace, fields: Fields
) -> Response:
    """Answer with the profile that has an immutable identity."""
    service = service_of(request)
    workspace_name = service.workspace(request, org=org, account=account, workspace=workspace)
    names = fields_named(fields)
    body = await read_object(request)
    environment = environment_of(body.get("environment_type"), needed=True)
    kind, value = identity_of(body.get("identity"))
    immutable = service.desk.snapshots.now.settings.rules.immutable
    if kind not in immutable:
        types = ", ".join(sorted(immutable)) or "none"
        raise bad(
            f"the identity type must be immutable; {types} is",
            "IDENTITY_NOT_IMMUTABLE",
        )
    question = Question(workspace_name, kind, value, environment=environment)
    return await _answer(service, question, names)


# The address of `resolve` fits this one too, so this one is added after it.
_add_profile_by_mpid("POST")


async def _answer(service: Service, question: Question, names: list[str]) -> Response:
    """Answer with these fields of the one profile that a question finds. Raises Problem."""
    profiles = await service.desk.ask(question)
    if not profiles:
        raise bad(
            "the workspace has no such profile, or none within its lifetime",
            "PROFILE_NOT_FOUND",
        )
    # Batches that name an MPID may put it into both environments. Then production is meant.
    profile = min(profiles, key=lambda profile: ENVIRONMENTS.index(profile.environment))
    return answered(api_document(profile, names))


class QuickRoute(Route):
    """A route for one method; what it does not fit in all is left to the documented routes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route fits a request, and what the scope gets then."""
        if scope["type"] != "http" or scope["method"] not in (self.methods or ()):
            return Match.NONE, {}
        match, child_scope = super().matches(scope)
        # the log has the template of the address
        return match, {**child_scope, "route": self}


def quick_routes() -> list[BaseRoute]:
    """Return the routes that stand before all others.

    The framework tries the routes one after another, and works out the parameters of a request anew
    each time: half of what a request costs beside the questions to the store. The two requests that
    come in masses go without. The documented routes stay as they are, for the OpenAPI document and
    for every other method; the quick ones call the same functions.
    """
    return [
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
