"""Secrets cannot be tried out at `profilectl serve`, nobody is locked out, no request is costly."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.doors import run

from profilectl.server.application import make_application
from profilectl.server.credentials import Client, FeedSender, ServerCredentials
from profilectl.server.gate import Gate, Notices, body_of
from profilectl.server.idsync.signing import signature_of
from profilectl.server.pace import RequestRate
from profilectl.server.peers import Peers
from profilectl.server.service import Service

JSON = b"application/json"
SECRET = "0123456789abcdef"
CREDENTIALS = ServerCredentials(
    "1",
    "10",
    "https://api.mparticle.com",
    {"100": "default"},
    (Client("web", "web-id", SECRET), Client("app", "app-id", SECRET)),
    (FeedSender("crm", "crm-key", SECRET),),
)


class Taken:
    """An intake that takes everything."""

    async def take(self, *_: Any) -> list[None]:
        return [None]


class Held:
    """The service of one test, in an application that is made once: that takes longer."""

    service: Service

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)


HELD: Any = Held()
APPLICATION = make_application(HELD)


@pytest.fixture
def service() -> Service:
    snapshots = SimpleNamespace(now=SimpleNamespace(settings=SimpleNamespace(reading=None)))
    HELD.service = Service(
        CREDENTIALS, SimpleNamespace(snapshots=snapshots), Taken(), 1e6, 1e6, Peers(1000, 1000)
    )  # type: ignore[arg-type]
    made: Service = HELD.service
    return made


def ask(
    service: Service,
    path: str,
    *,
    peer: str = "192.0.2.1",
    method: str = "POST",
    body: bytes = b"",
    **headers: str,
) -> tuple[int, Any, dict[bytes, bytes]]:
    """Ask the application as a peer; return status, document and headers."""
    sent: list[Any] = []
    route, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": route,
        "raw_path": route.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "client": (peer, 1),
        "server": ("a", 1),
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Gate(APPLICATION, timeout_s=5, log=io.StringIO())(scope, receive, send))
    raw = b"".join(one.get("body", b"") for one in sent[1:])
    assert dict(sent[0]["headers"])[b"content-type"] == JSON, raw
    return sent[0]["status"], json.loads(raw), dict(sent[0]["headers"])


def for_token(
    service: Service, secret: str, client: str = "web-id", peer: str = "192.0.2.1"
) -> int:
    body = {
        "client_id": client,
        "client_secret": secret,
        "audience": "https://api.mparticle.com",
        "grant_type": "client_credentials",
    }
    return ask(service, "/oauth/token", peer=peer, body=json.dumps(body).encode())[0]


def basic(
    service: Service,
    secret: str,
    key: str = "crm-key",
    peer: str = "192.0.2.1",
    path: str = "/v2/bulkevents",
) -> int:
    return ask(
        service,
        path,
        peer=peer,
        body=b"[1]",
        authorization="Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode(),
    )[0]


def signed(service: Service, secret: str, key: str = "crm-key", peer: str = "192.0.2.1") -> int:
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return ask(
        service,
        "/v1/search",
        peer=peer,
        body=b"1",
        x_mp_key=key,
        date=date,
        x_mp_signature=signature_of(
            secret, method="POST", date=date, target="/v1/search", body=b"1"
        ),
    )[0]


# how, what a wrong secret is told, what the right one
WAYS: list[tuple[Callable[..., int], int, int]] = [
    (for_token, 401, 200),
    (basic, 403, 400),
    (signed, 401, 400),
    (lambda *a, **n: basic(*a, path="/v1/search", **n), 401, 400),
]


@pytest.mark.parametrize(("attempt", "wrong", "right"), WAYS)
def test_nobody_guesses_on_and_nobody_else_is_locked_out(
    attempt: Callable[..., int], wrong: int, right: int, service: Service
) -> None:
    assert attempt(service, SECRET) == right
    got = [attempt(service, f"wrong-{number}") for number in range(30)]
    assert got[:15] == [wrong] * 15
    assert got[25:] == [429] * 5
    assert attempt(service, SECRET) == 429, "the right secret is not found by going on"
    assert attempt(service, SECRET, peer="192.0.2.2") == right, "the right one at its own address"
    assert attempt(service, f"wrong-{0}", peer="192.0.2.2") == wrong


def test_unknown_names_do_not_lock_out_known_ones_at_the_same_address(service: Service) -> None:
    got = [for_token(service, "wrong", client=f"nobody-{number}") for number in range(30)]
    assert (got[0], got[-1]) == (401, 429)
    assert for_token(service, SECRET) == 200
    [for_token(service, "wrong") for _ in range(30)]
    assert for_token(service, SECRET, client="app-id") == 200
    assert basic(service, SECRET) == 400


def test_a_flood_of_tokens_that_are_none_is_slowed_down_and_good_ones_are_not(
    service: Service,
) -> None:
    token = service.tokens.make("web")

    def look(told: str) -> int:
        return ask(
            service,
            "/profilectl/v1/1/10/999/audiences",
            method="GET",
            authorization=f"Bearer {told}",
        )[0]

    got = [look("x.y") for _ in range(30)]
    assert (got[0], got[-1]) == (401, 429)
    assert look(token) == 403


def test_requests_for_tokens_are_counted_for_each_client_and_peer(service: Service) -> None:
    now = [0.0]
    service.asking = RequestRate(lambda: now[0])
    got = [for_token(service, SECRET) for _ in range(35)]
    assert (got[:30], got[30:]) == ([200] * 30, [429] * 5)
    assert for_token(service, SECRET, client="app-id") == 200
    assert for_token(service, SECRET, peer="192.0.2.2") == 200
    now[0] = 1.0
    assert for_token(service, SECRET) == 200


def test_a_request_for_a_token_is_short(service: Service) -> None:
    status, document, _ = ask(service, "/oauth/token", body=b" " * 20_000)
    assert (status, document["errors"][0]["code"]) == (413, "REQUEST_TOO_LARGE")


def test_buckets_are_bounded_in_memory_and_the_newest_stay() -> None:
    now = [0.0]
    pace = RequestRate(lambda: now[0], most=100)
    for number in range(10_000):
        pace.wait_s(("192.0.2.1", "web"), 1, 1)
        pace.wait_s((f"peer {number}", "web"), 1, 1)
    assert len(pace) == 100
    assert pace.due_s(("192.0.2.1", "web"), 1, 1) == 1


# Addresses, and what is told.


ADDRESSES = {
    "a path": "/" + "a" * 65_000,
    "slashes": "/" * 65_000,
    "a path of slashes": "/userprofile/v1" + "/a" * 32_000,
    "per cent": "/" + "%" * 65_000,
    "escapes": "/" + "%ff" * 21_000,
    "an MPID": "/userprofile/v1/1/10/100/" + "1" * 65_000 + "?fields=user_attributes",
    "spaces": "/v1/" + "%20" * 21_000 + "/modify",
    "modify": "/v1" + "/modify" * 9_000,
    "a query": "/userprofile/v1/1/10/100/1?" + "&" * 65_000,
    "parameters": "/userprofile/v1/1/10/100/1?" + "a&" * 32_000,
    "values": "/userprofile/v1/1/10/100/1?" + "fields=a&" * 7_000,
    "fields": "/userprofile/v1/1/10/100/1?fields=" + "," * 65_000,
    "blanks": "/userprofile/v1/1/10/100/1?fields=" + "%20" * 21_000,
    "semicolons": "/x?" + ";" * 65_000,
    "a number": "/profilectl/v1/1/10/100/audiences/1/members?limit=" + "1" * 65_000,
    "a place": "/profilectl/v1/1/10/100/audiences/1/members?after=" + "1" * 65_000,
    "an audience": "/profilectl/v1/1/10/100/audiences/" + "1" * 65_000 + "/members",
    "a question mark": "/userprofile/v1/1/10/100/%3f?fields=user_attributes",
    "no UTF-8": "/userprofile/v1/1/10/100/%ff%c3?fields=%ff",
    "a NUL": "/userprofile/v1/1/10/100/%00?fields=%00",
    "a line": "/%0d%0aX:%20y",
    "dots": "/.." * 20_000,
}


@pytest.mark.parametrize("what", ADDRESSES)
def test_no_address_is_costly_and_each_is_answered_in_json(what: str, service: Service) -> None:
    bearer = f"Bearer {service.tokens.make('web')}"
    application_made = time.process_time()
    for method in ("GET", "POST"):
        status, document, _ = ask(service, ADDRESSES[what], method=method, authorization=bearer)
        assert status in (400, 401, 404, 405)
        assert document["errors"]
    assert time.process_time() - application_made < 1.0


HEADERS = {
    "authorization": "Basic " + "=" * 60_000,
    "x_mp_key": "k" * 60_000,
    "content_encoding": "gzip," * 12_000,
    "content_length": "9" * 4_000,
    "x_forwarded_for": "1.1.1.1," * 7_000,
    "cookie": ";" * 60_000,
    "content_type": "a;" * 30_000,
    "accept": "*/*," * 15_000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_is_costly(name: str, service: Service) -> None:
    began = time.process_time()
    for path in ("/v1/search", "/v2/events", "/oauth/token", "/nowhere"):
        assert ask(service, path, body=b"{", **{name: HEADERS[name]})[0] in (
            400,
            401,
            403,
            404,
            413,
        )
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    "date",
    [
        " " * 60_000,
        "Mon, " * 12_000,
        "1" * 60_000,
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 31 Dec 9999 23:59:59 -2359",
        "\x1f",
        ",",
        "0 0 0 0 0",
        "Mon, 01 Jan 2026 00:00:00 +99999999999",
    ],
)
def test_no_date_is_a_fault(date: str, service: Service) -> None:
    began = time.process_time()
    assert (
        ask(service, "/v1/search", body=b"{", x_mp_key="crm-key", x_mp_signature="x", date=date)[0]
        == 401
    )
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("body"),
    [
        b"[" * 16_000,
        b'{"a":' * 3_000,
        b'{"client_id":' + b"1" * 16_000 + b"}",
        b'{"client_id":1e' + b"9" * 15_000 + b"}",
        b'{"client_id":"' + b"\\u0061" * 2_600 + b'"}',
        b'{"' + b'":1,"'.join(b"%d" % number for number in range(1500)) + b'":1}',
        b'{"client_id":[' + b"1," * 8_000 + b"1]}",
        b"\xff" * 16_000,
        b'"' + b"\\" * 16_000,
    ],
)
def test_no_body_before_credentials_is_costly(body: bytes, service: Service) -> None:
    began = time.process_time()
    assert ask(service, "/oauth/token", body=body)[0] in (400, 401)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "PROPFIND"]
)
def test_every_other_method_is_refused_in_json(method: str, service: Service) -> None:
    for path, status in (
        ("/healthz", 405),
        ("/oauth/token", 405),
        ("/v1/search", 405),
        ("/nowhere", 404),
        ("/openapi.json", 405),
    ):
        got, document, _ = ask(service, path, method=method)
        assert got == (200 if (path, method) == ("/openapi.json", "HEAD") else status), path
        assert document["errors"] if got != 200 else document


def test_a_fault_is_told_in_json(service: Service) -> None:
    service.desk = None  # type: ignore[assignment]
    status, document, _ = ask(service, "/healthz", method="GET")
    assert (status, document["errors"][0]["code"]) == (500, "FAULT")


def test_what_a_library_warns_of_is_logged_without_values() -> None:
    log, logger = io.StringIO(), logging.getLogger("of a library")
    handler = Notices(Gate(None, timeout_s=1, log=log).notice)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise ValueError("confidential")
    except ValueError:
        logger.exception("Exception in %s\n<Task confidential>", "confidential")
    logger.removeHandler(handler)
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert line["notice"] == "of a library: Exception in %s (ValueError)"
    assert set(line) == {"time", "notice"}


def test_a_sender_that_leaves_in_the_middle_is_no_fault() -> None:
    class Request:
        def __init__(self) -> None:
            self.headers: dict[str, str] = {}

        async def stream(self) -> Any:
            from starlette.requests import ClientDisconnect

            yield b"x"
            raise ClientDisconnect

    with pytest.raises(Exception, match="BAD_REQUEST"):
        asyncio.run(body_of(Request()))


def test_a_proxy_is_an_address(tmp_path: Path) -> None:
    made = run("credentials", "new", "api.toml", "--client", "web", folder=tmp_path)
    assert made.returncode == 0
    for stated in ("nobody", "example.com", "10.0.0.0/8", ""):
        done = run("serve", "--credentials", "api.toml", "--proxy", stated, folder=tmp_path)
        assert (done.returncode, "--proxy 127.0.0.1" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("a?b.duckdb", (6, "name another with --store")),
        ("a?b/c.duckdb", (6, "name another with --store")),
        ("a\udcffb.duckdb", (2, "rename the file, or its folder")),
        ("a\udcffb/c.duckdb", (2, "rename the file, or its folder")),
    ],
)
def test_a_store_that_duckdb_cannot_name_is_refused_in_words(
    name: str, refusal: tuple[int, str], tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    run("credentials", "new", "api.toml", "--client", "web", folder=tmp_path)
    (tmp_path / "one.csv").write_text("email\nann@example.com\n")
    for command in (("serve", "--credentials", "api.toml"), ("import", "one.csv", "--feed", "crm")):
        done = run("--store", name, *command, folder=tmp_path)
        assert (done.returncode, refusal[1] in done.stderr) == (refusal[0], True), done.stderr
    assert not list((tmp_path / name).parent.glob(".*"))
