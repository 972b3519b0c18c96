"""Bodies of requests and answers: a number keeps its digits, and a repeated key is refused."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from profilectl.codes import sentence
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.server.gate import MOST_BYTES, Problem, body_of


def answered(
    text: str | bytes, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return an answer with a JSON body."""
    return Response(
        text,
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def bad(message: str, code: str = "BAD_REQUEST") -> Problem:
    """Return the answer to a request that cannot be used."""
    return Problem(400, code, message)


async def read(request: Request, *, batches: bool = False) -> Value:
    """Return the JSON body of a request. Raises Problem.

    batches: whether a failure has the code that an import would give it, not BAD_REQUEST.
    """
    return parsed(await body_of(request), batches=batches)


async def read_object(request: Request, most: int = MOST_BYTES) -> dict[str, Value]:
    """Return a body that must be an object of at most `most` bytes. Raises Problem."""
    return an_object(parsed(await body_of(request, most)))


def parsed(raw: bytes, *, batches: bool = False) -> Value:
    """Return the JSON value of a body's bytes. batches: as in `read`. Raises Problem."""
    try:
        return parse_json(raw.decode())
    except UnicodeDecodeError:
        raise bad("the body is not UTF-8") from None
    except NotJson as error:
        if error.code != "JSON_INVALID":  # valid JSON with a value that cannot be stored
            raise bad(sentence(error.code), error.code if batches else "BAD_REQUEST") from None
        raise bad(
            "the body is not JSON"
            + (f" at character {error.position}" if error.position is not None else "")
        ) from None


def an_object(value: Value) -> dict[str, Value]:
    """Return a value that must be an object. Raises Problem."""
    if not isinstance(value, dict):
        raise bad("the body must be a JSON object")
    return value
