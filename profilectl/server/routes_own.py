"""The requests that the platform does not have: many profiles at once, audiences, their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from profilectl.rules.text.values import Value, to_json
from profilectl.server import documents
from profilectl.server.answer import own_document
from profilectl.server.bodies import answered, bad, read_object
from profilectl.server.desk import Question, mpid_of
from profilectl.server.documents import ANY_IDENTITIES, AUDIENCES, MEMBERS, PROFILES, problems
from profilectl.server.gate import Problem
from profilectl.server.members import audiences_document, members_page
from profilectl.server.parameters import Account, Org, Workspace, environment_of, identity_of
from profilectl.server.service import service_of

MOST_IDENTITIES = 1000
"""The most identities of one request."""
MOST_MEMBERS = 1000
"""The most members of one page."""
OWN = "/profilectl/v1/{org}/{account}/{workspace}"
PROBLEMS = problems(400, 401, 403, 429, 503)
router = APIRouter()

AudienceNumber = Annotated[str, Path(description="The audience's number.")]
Limit = Annotated[int, Query(ge=1, le=MOST_MEMBERS, description="Members of a page.")]
After = Annotated[str, Query(description="`next` of the page before.")]


@router.post(
    f"{OWN}/profiles",
    tags=["beyond the platform's"],
    summary="Profiles by any identities, many at once",
    response_class=Response,
    openapi_extra=documents.body(ANY_IDENTITIES, documents.BEARER),
    responses={200: PROFILES, **PROBLEMS, **problems(413)},
)
async def profiles(request: Request, org: Org, account: Account, workspace: Workspace) -> Response:
    """Answer with the profiles that have each of many identities."""
    service = service_of(request)
    workspace_name = service.workspace(request, org=org, account=account, workspace=workspace)
    body = await read_object(request)
    environment = environment_of(body.get("environment_type"), needed=False)
    identities = body.get("identities")
    if not isinstance(identities, list) or not 1 <= len(identities) <= MOST_IDENTITIES:
        raise bad(f"identities must be a list of 1 to {MOST_IDENTITIES:,}")
    provenance = body.get("provenance", False)
    if not isinstance(provenance, bool):
        raise bad("provenance must be true or false")
    questions = [
        Question(workspace_name, *identity_of(identity), environment=environment, placed=provenance)
        for identity in identities
    ]
    results: list[Value] = []
    answers = await service.desk.ask_all(questions)
    for question, people in zip(questions, answers, strict=True):
        documents_of_people = [own_document(activity) for activity in people]
        if not provenance:
            for document in documents_of_people:
                del document["provenance"]
        identity: Value = {"type": question.kind, "value": question.value}
        results.append({"identity": identity, "profiles": [*documents_of_people]})
    return answered(to_json({"results": results}))


@router.get(
    f"{OWN}/audiences",
    tags=["beyond the platform's"],
    summary="The audiences of the workspace",
    response_class=Response,
    openapi_extra=documents.BEARER,
    responses={200: AUDIENCES, **problems(401, 403, 429, 503)},
)
async def audiences(request: Request, org: Org, account: Account, workspace: Workspace) -> Response:
    """Answer with the audiences of a workspace."""
    service = service_of(request)
    workspace_name = service.workspace(request, org=org, account=account, workspace=workspace)
    listed = await service.desk.read(lambda reader: audiences_document(reader, workspace_name))
    return answered(to_json({"audiences": listed}))


@router.get(
    f"{OWN}/audiences/{{audience}}/members",
    tags=["beyond the platform's"],
    summary="Who is in an audience, page by page",
    response_class=Response,
    openapi_extra=documents.BEARER,
    responses={200: MEMBERS, **PROBLEMS, **problems(404)},
)
async def members(
    request: Request,
    org: Org,
    account: Account,
    workspace: Workspace,
    audience: AudienceNumber,
    limit: Limit = 100,
    after: After = "",
) -> Response:
    """Answer with a page of the members of an audience."""
    service = service_of(request)
    workspace_name = service.workspace(request, org=org, account=account, workspace=workspace)
    place = mpid_of(after) if after else -1
    if place is None:
        raise bad("after must be `next` of the page before")
    no_such = Problem(404, "NOT_FOUND", "the workspace has no such audience")
    if not (audience.isascii() and audience.isdecimal() and len(audience) < 10):
        raise no_such
    page = await service.desk.read(
        lambda reader: members_page(
            reader, workspace_name, audience=int(audience), limit=limit, after=place
        )
    )
    if page is None:
        raise no_such
    return answered(to_json(page))
