"""The quick routes answer as the documented ones do, and the log says the same."""

from __future__ import annotations

import asyncio
import io
import json
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import httpx
import pytest

from profilectl.server import routes_profile
from profilectl.server.application import make_application
from profilectl.server.credentials import Client, ServerCredentials
from profilectl.server.desk import Desk, Question
from profilectl.server.gate import Gate
from profilectl.server.intake import Intake
from profilectl.server.routes_profile import QuickRoute
from profilectl.server.service import Service

CUSTOMER = {"environment_type": "production", "identity": {"type": "customer_id", "value": "C1"}}
ANSWER = "/userprofile/v1/resolve/1/10/100"
BY_MPID = "/userprofile/v1/1/10/100"


class SmallDesk:
    """A desk that knows C1, and the MPID 5."""

    rules = SimpleNamespace(immutable=("customer_id",))
    snapshots = SimpleNamespace(now=SimpleNamespace(settings=SimpleNamespace(rules=rules)))

    async def ask(self, question: Question) -> list[Any]:
        """Return a person, or nobody; a fault for C2."""
        if question.value == "C2":
            raise RuntimeError("a fault")
        person = SimpleNamespace(environment="production", question=question)
        return [person] if question.value in ("C1", "5") else []


def of(kind: str, value: str) -> Any:
    """Return a body that asks for an identity."""
    return CUSTOMER | {"identity": {"type": kind, "value": value}}


def nested(levels: int) -> bytes:
    """Return a body that is nested too deeply."""
    return b'{"identity":' + b"[" * levels + b"]" * levels + b"}"


Sent = tuple[str, str, Any]
"""A method, an address and a body."""
REQUESTS: list[Sent] = [
    ("POST", f"{ANSWER}?fields=user_identities", CUSTOMER),
    ("POST", f"{ANSWER}?fields=user_identities,%20consent_state", CUSTOMER),
    ("POST", f"{ANSWER}?fields=nothing&fields=user_identities", CUSTOMER),
    ("POST", f"{ANSWER}?fields=user_identities&other=1", CUSTOMER),
    ("POST", f"{ANSWER}?fields=", CUSTOMER),
    ("POST", f"{ANSWER}?Fields=user_identities", CUSTOMER),
    ("POST", ANSWER, CUSTOMER),
    ("POST", ANSWER, b"{"),
    ("POST", f"{ANSWER}?fields=user_identities", b"{"),
    ("POST", f"{ANSWER}?fields=user_identities", nested(100_000)),
    ("POST", f"{ANSWER}?fields=user_identities", of("customer_id", "C2")),
    ("POST", f"{ANSWER}?fields=user_identities", of("customer_id", "C3")),
    ("POST", f"{ANSWER}?fields=user_identities", of("email", "a@b.c")),
    ("POST", f"{ANSWER}/?fields=user_identities", CUSTOMER),
    ("POST", "/userprofile/v1/resolve/1/10/101?fields=user_identities", CUSTOMER),
    ("POST", "/userprofile/v1/resolve/%31/1%30/100?fields=user_identities", CUSTOMER),
    ("POST", "/userprofile/v1/resolve/1/1%2F0/100?fields=user_identities", CUSTOMER),
    ("PUT", f"{ANSWER}?fields=user_identities", CUSTOMER),
    ("GET", f"{ANSWER}?fields=user_identities", None),
    ("HEAD", f"{ANSWER}?fields=user_identities", None),
    ("OPTIONS", f"{ANSWER}?fields=user_identities", None),
    ("GET", f"{BY_MPID}/5?fields=user_identities", None),
    ("GET", f"{BY_MPID}/6?fields=user_identities", None),
    ("GET", f"{BY_MPID}/x?fields=user_identities", None),
    ("GET", f"{BY_MPID}/5", None),
    ("HEAD", f"{BY_MPID}/5?fields=user_identities", None),
    ("POST", f"{BY_MPID}/5?fields=user_identities", None),
    ("DELETE", f"{BY_MPID}/5?fields=user_identities", None),
    ("GET", "/userprofile/v1/1/10/100/5/6?fields=user_identities", None),
]  # fmt: skip


class Shop(NamedTuple):
    """An application behind its gate, with its log and a token for it."""

    gate: Gate
    log: io.StringIO
    token: str


def shops() -> list[Shop]:
    """Return an application with the quick routes, and one without."""
    client = Client("web", "id", "secret" * 4)
    credentials = ServerCredentials(
        org="1",
        account="10",
        audience="a",
        workspaces={"100": "default"},
        clients=(client,),
        senders=(),
    )
    made = []
    for quick in (True, False):
        service = Service(
            credentials, cast(Desk, SmallDesk()), cast(Intake, None), rate=1e9, feed_rate=1e9
        )
        application = make_application(service)
        routes = application.router.routes
        assert sum(isinstance(route, QuickRoute) for route in routes) == 2
        if not quick:
            routes[:] = [route for route in routes if not isinstance(route, QuickRoute)]
        log = io.StringIO()
        gate = Gate(application, timeout_s=60, log=log)
        made.append(Shop(gate, log, service.tokens.make("web")))
    return made


async def ask(gate: Gate, request: Sent, headers: dict[str, str]) -> Any:
    """Return the status, the headers and the body of an answer."""
    method, path, body = request
    transport = httpx.ASGITransport(gate, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = await http.request(method, path, content=content, headers=headers)
        return answer.status_code, sorted(answer.headers.multi_items()), answer.content


@pytest.mark.parametrize("authorized", [True, False])
def test_they_answer_as_the_documented_ones(
    authorized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        routes_profile, "api_document", lambda person, names: f'"{person.question} {names}"'
    )
    answers, logs = [], []
    for gate, log, token in shops():
        headers = {"authorization": f"Bearer {token}"} if authorized else {}
        answers.append([asyncio.run(ask(gate, request, headers)) for request in REQUESTS])
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        own = ("time", "duration_ms", "at")
        logs.append([{key: line[key] for key in line if key not in own} for line in lines])
    statuses = {answer[0] for answer in answers[0]}
    assert statuses >= ({200, 400, 403, 404, 405, 500} if authorized else {400, 401, 404, 405})
    for request, quick, documented in zip(REQUESTS, *answers, strict=True):
        assert quick == documented, request
    assert logs[0] == logs[1]
