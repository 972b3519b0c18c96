"""The requests that need no token: /healthz, and the request for a token."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from profilectl.rules.text.values import to_json, whole
from profilectl.server import documents
from profilectl.server.bodies import answered, read_object
from profilectl.server.documents import HEALTH, TOKEN, problems
from profilectl.server.gate import CALLER
from profilectl.server.service import service_of
from profilectl.server.tokens import LIFE_S

MOST_TOKEN_BYTES = 16 * 1024
"""The most bytes of a token request: it is read before the server knows who sent it."""
router = APIRouter()


@router.get(
    "/healthz",
    tags=["service"],
    summary="Whether profiles can be read, and how new they are",
    response_class=Response,
    responses={200: HEALTH, 503: HEALTH},
)
async def healthz(request: Request) -> Response:
    """Answer whether the server is well."""
    document, is_well = documents.health(service_of(request).desk.snapshots)
    return answered(to_json(document), 200 if is_well else 503)


@router.post(
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
    """Answer with a token for a client's id and secret."""
    service, body = service_of(request), await read_object(request, MOST_TOKEN_BYTES)
    if body.get("grant_type") != "client_credentials":
        return _refused(400, "unsupported_grant_type", "grant_type must be client_credentials")
    identifier, secret = (str(body.get(name, "")) for name in ("client_id", "client_secret"))
    client = service.try_client(request, identifier, secret)
    if client is None:
        return _refused(401, "invalid_client", "no client has this id and secret")
    request.scope[CALLER] = client.name
    if body.get("audience") != service.credentials.audience:
        return _refused(403, "access_denied", "the audience is another")
    return answered(
        to_json(
            {
                "access_token": service.tokens.make(client.name),
                "token_type": "Bearer",
                "expires_in": whole(LIFE_S),
            }
        )
    )


def _refused(status: int, error: str, description: str) -> Response:
    """Return the answer to a request that gets no token (RFC 6749, 5.2)."""
    text = to_json({"error": error, "error_description": description})
    return answered(text, status, {"WWW-Authenticate": "Bearer"} if status == 401 else None)
