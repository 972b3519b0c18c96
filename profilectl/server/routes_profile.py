"""The requests of the Profile API (domain.md 9): a profile by its MPID, or by an identity."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

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
