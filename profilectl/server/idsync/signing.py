"""The feed that sends an IDSync request, proven by HTTP Basic or by a signature.

Source: domain.md 4.3. The signature is the HMAC-SHA256 of method, date, path and body with the
feed's secret, as hexadecimal digits. A date is valid for LASTS_S, so an overheard request cannot be
sent again for ever. The key alone, which the platform accepts from some customers, is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.requests import Request

from profilectl.server.credentials import FeedSender, ServerCredentials
from profilectl.server.gate import Problem, body_of
from profilectl.server.pace import Attempts

LASTS_S = 15 * 60
"""The seconds for which a signature is valid."""
LONGEST_DATE = 64
CHALLENGE = {"WWW-Authenticate": 'Basic realm="profilectl"'}


def basic_of(header: str) -> tuple[str, str] | None:
    """Return the key and the secret of an Authorization header; None if it is not HTTP Basic."""
    scheme, _, packed = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        key, _, secret = base64.b64decode(packed.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return key, secret


async def sender_of(
    request: Request, credentials: ServerCredentials, attempts: Attempts
) -> tuple[FeedSender, bytes | None]:
    """Return the feed that sends a request, and the body if checking the signature needed it.

    Raises Problem.
    """
    authorization = request.headers.get("authorization")
    key = request.headers.get("x-mp-key")
    if authorization is not None:
        named, secret = basic_of(authorization) or ("", "")
        sender = attempts.prove(
            request, credentials.known_key(named), lambda: credentials.sender(named, secret)
        )
        if sender is None:
            raise _unauthorized("no feed has this key and secret")
        return sender, None
    if key is None:
        raise _unauthorized(
            "HTTP Basic with a feed's key and secret is needed, or x-mp-key, Date and"
            " x-mp-signature"
        )
    date, signature = (request.headers.get(name, "") for name in ("date", "x-mp-signature"))
    if not date or not signature:
        raise _unauthorized("x-mp-key needs a Date and an x-mp-signature beside it")
    if not _is_of_now(date):
        raise _unauthorized(
            f"Date must be of the last {LASTS_S // 60} minutes, as 20171231T235959Z"
        )
    body = await body_of(request)
    sender = attempts.prove(
        request,
        credentials.known_key(key),
        lambda: _signer(request, credentials, key=key, body=body),
    )
    if sender is None:
        raise _unauthorized("the signature is not made with this key's secret")
    return sender, body


def _signer(
    request: Request, credentials: ServerCredentials, *, key: str, body: bytes
) -> FeedSender | None:
    """Return the feed with a key if its secret made the signature of the request, else None."""
    date, signature = (request.headers.get(name, "") for name in ("date", "x-mp-signature"))
    sender = credentials.sender_with_key(key)
    path, query = (
        request.scope.get(name, b"").decode("latin-1") for name in ("raw_path", "query_string")
    )
    # A signature is made also for an unknown key, so that it takes the same time.
    secret = sender.secret if sender else ""
    # The platform's documentation says "path". Some clients sign the path with its query.
    targets = (path, f"{path}?{query}") if query else (path,)
    expected = [
        signature_of(secret, method=request.method, date=date, target=target, body=body)
        for target in targets
    ]
    sent = signature.lower().encode()
    # A list, not a generator: both comparisons are always made.
    matches = [hmac.compare_digest(text.encode(), sent) for text in expected]
    return sender if any(matches) else None


def signature_of(secret: str, *, method: str, date: str, target: str, body: bytes) -> str:
    """Return the signature of a request. target: its path, or its path with the query."""
    text = f"{method}\n{date}\n{target}".encode() + body
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _is_of_now(date: str) -> bool:
    """Return whether a date, in either of its forms, is at most LASTS_S away from now."""
    if len(date) > LONGEST_DATE:
        return False
    try:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        try:
            at = parsedate_to_datetime(date)
        except (ValueError, OverflowError, TypeError, IndexError):  # the parser raises any of them
            return False
    return at.tzinfo is not None and abs(at.timestamp() - time.time()) <= LASTS_S


def _unauthorized(message: str) -> Problem:
    return Problem(401, "UNAUTHORIZED", message, headers=CHALLENGE)
