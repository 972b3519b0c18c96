"""The parts that requests work with: credentials, rate limits, desk and intake."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastapi import Request

from profilectl.server.credentials import Client, FeedSender, ServerCredentials
from profilectl.server.desk import Desk
from profilectl.server.gate import CALLER, Problem, body_of
from profilectl.server.idsync.signing import basic_of, sender_of
from profilectl.server.intake import Intake
from profilectl.server.pace import Attempts, RequestRate
from profilectl.server.peers import Peers
from profilectl.server.tokens import Tokens

TOKEN_RATE = 30.0
"""Requests for tokens a second, of each client at each address."""


@dataclass(slots=True)
class Service:
    """The parts that every request works with."""

    credentials: ServerCredentials
    """The clients that may ask and the feeds that may send."""
    desk: Desk
    """Finds profiles."""
    intake: Intake
    """Imports batches."""
    rate: float
    """The requests a second of a client whose credentials set no rate."""
    feed_rate: float
    """The requests a second of a feed whose credentials set no rate."""
    peers: Peers = field(default_factory=Peers)
    """The other end of each connection."""
    tokens: Tokens = field(default_factory=Tokens)
    """The bearer tokens of clients."""
    pace: RequestRate = field(default_factory=RequestRate)
    """The rate limit of requests, by client and feed."""
    asking: RequestRate = field(default_factory=RequestRate)
    """The rate limit of token requests."""
    attempts: Attempts = field(init=False)
    """The failed logins of each peer."""

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.peers)

    def workspace(self, request: Request, *, org: str, account: str, workspace: str) -> str:
        """Return the name of the workspace that a client asks about.

        Raises Problem if no valid token names a client, or the client may not ask about it.
        """
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
                headers={"WWW-Authenticate": "Bearer"},
            )
        request.scope[CALLER] = client.name
        self._slow_down(f"client {client.name}", client.rate or self.rate, {})
        name_of_workspace = self.credentials.workspaces.get(workspace)
        if (
            (org, account) != (self.credentials.org, self.credentials.account)
            or name_of_workspace is None
            or not client.may_ask(name_of_workspace)
        ):
            raise Problem(403, "FORBIDDEN", "the client may not ask of this workspace")
        return name_of_workspace

    def sender(self, request: Request) -> FeedSender:
        """Return the feed that sends batches. Raises Problem."""
        # As on the platform: 401 without credentials, 403 with wrong ones (domain.md 5.4).
        header = request.headers.get("authorization")
        if header is None:
            raise Problem(
                401,
                "UNAUTHORIZED",
                "HTTP Basic with the key and the secret of a feed is needed",
                headers={"WWW-Authenticate": 'Basic realm="profilectl"'},
            )
        key, secret = basic_of(header) or ("", "")
        named = self.credentials.known_key(key)
        sender = self.attempts.prove(request, named, lambda: self.credentials.sender(key, secret))
        if sender is None:
            raise Problem(403, "FORBIDDEN", "no feed has this key and secret")
        self._counts(request, sender)
        return sender

    async def caller(self, request: Request) -> tuple[FeedSender, bytes]:
        """Return the feed that sends an IDSync request, and the body. Raises Problem."""
        sender, body = await sender_of(request, self.credentials, self.attempts)
        self._counts(request, sender)
        return sender, await body_of(request) if body is None else body

    def _counts(self, request: Request, sender: FeedSender) -> None:
        """Name the feed for the log, and count its request. Raises Problem if it has to wait."""
        request.scope[CALLER] = sender.name
        self._slow_down(
            f"feed {sender.name}",
            sender.rate or self.feed_rate,
            {"X-mp-rate-limit-exceeded": "feed"},
        )

    def _slow_down(self, name: str, rate: float, headers: dict[str, str]) -> None:
        _later(self.pace.wait_s(name, rate), rate, headers)

    def try_client(self, request: Request, identifier: str, secret: str) -> Client | None:
        """Return the client with these credentials. Raises Problem if it asks too often."""
        named = self.credentials.known_id(identifier)
        # The address counts too, so that nobody else can use up a client's rate with its id.
        asker = self.peers.asking(request.scope), named
        _later(self.asking.wait_s(asker, TOKEN_RATE), TOKEN_RATE, {})
        return self.attempts.prove(
            request, named, lambda: self.credentials.client(identifier, secret)
        )


def _later(wait_s: float, rate: float, headers: dict[str, str]) -> None:
    """Raise Problem if a request has to wait."""
    if wait_s:
        raise Problem(
            429,
            "TOO_MANY_REQUESTS",
            f"more than {rate:g} requests a second",
            headers={"Retry-After": str(math.ceil(wait_s)), **headers},
        )


def service_of(request: Request) -> Service:
    """Return the service that answers a request."""
    service: Service | None = request.app.state.service
    assert service is not None, "an application without a service answers nothing"
    return service
