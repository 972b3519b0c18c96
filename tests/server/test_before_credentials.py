"""What anybody does to `profilectl serve` without credentials ends in bounded time, and in JSON."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.serving import served as served_command
from support.wires import (
    CHUNKED,
    GET,
    POST,
    QUICK,
    Served,
    echo,
    eventually,
    exchange,
    one_of,
    refused,
    rest_of,
    serving,
)

from profilectl.server.gate import Gate
from profilectl.server.peers import Peers, address_of, peer_of

HEADS = {
    "a request line": b"GET /" + b"a" * 70_000,
    "a query": b"GET /?" + b"a&" * 35_000 + b" HTTP/1.1\r\n\r\n",
    "a header": GET + b"a: " + b"b" * 70_000,
    "the name of a header": GET + b"a" * 70_000,
    "small headers": GET + b"a: b\r\n" * 10_000,
    "empty lines before it": b"\r\n" * 40_000,
    "a header folded over lines": GET + b"a: b\r\n" + b" c\r\n" * 20_000,
}


@pytest.fixture(scope="module")
def plain() -> Iterator[Served]:
    with serving(linger_s=0.3, idle_s=0.5) as served:
        yield served


@pytest.mark.parametrize("what", HEADS)
def test_a_head_has_at_most_64_kb(what: str, plain: Served) -> None:
    got = exchange(plain, HEADS[what])
    refused(got, 400 if "folded" in what else 431)


def test_a_head_of_nearly_64_kb_is_read_and_one_with_a_byte_more_is_not(plain: Served) -> None:
    whole = GET + b"a: " + b"b" * (64 * 1024 - len(GET) - 7 - 19) + b"\r\n"
    end = b"connection: close\r\n\r\n"
    assert one_of(exchange(plain, whole[:-2] + b"\r\n" + end))[2] == ["/x", 3, 0]
    refused(exchange(plain, whole[:-2] + b"bbb\r\n" + end), 431)


def test_the_next_head_has_its_own_limit(plain: Served) -> None:
    one = GET + b"a: " + b"b" * 40_000 + b"\r\n\r\n"
    got = exchange(plain, one * 3 + GET + b"connection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200") == 4


def test_a_request_has_at_most_100_headers(plain: Served) -> None:
    assert (
        one_of(exchange(plain, GET + b"a: b\r\n" * 98 + b"connection: close\r\n\r\n"))[2][1] == 100
    )
    refused(exchange(plain, GET + b"a: b\r\n" * 99 + b"connection: close\r\n\r\n"), 431)


BODIES = {
    "chunk extensions": (CHUNKED + b"1;" + b"a" * 600_000, 413),
    "many chunk extensions": (CHUNKED + b"1;a=b;c\r\nx\r\n" * 60_000, 413),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 100_000, 413),
    "a trailer": (CHUNKED + b"1\r\nx\r\n0\r\na: " + b"b" * 600_000, 413),
    "chunks of a byte": (CHUNKED + b"1\r\nx\r\n" * 100_000, 413),
    "a chunk whose size is none": (CHUNKED + b"zz\r\n", 400),
    "a chunk that goes on after its size": (CHUNKED + b"1\r\nxyz\r\n", 400),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_with_all_around_it_is_bounded(what: str, plain: Served) -> None:
    sent, status = BODIES[what]
    refused(exchange(plain, sent), status)


def test_a_body_has_at_most_4096_chunks(plain: Served) -> None:
    last = b"0\r\n\r\n" + GET + b"connection: close\r\n\r\n"
    got = exchange(plain, CHUNKED + b"2\r\nab\r\n" * 4095 + last)
    assert b'["/x", 2, 8190]' in got
    refused(exchange(plain, CHUNKED + b"2\r\nab\r\n" * 4096 + last), 413)


def test_trailers_are_no_headers(plain: Served) -> None:
    trailers = (
        CHUNKED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        + b"1\r\nx\r\n0\r\nauthorization: y\r\n\r\n"
    )
    seen: list[Any] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        if scope["type"] == "http":
            seen.append([name for name, _ in scope["headers"]])

    with serving(look, **QUICK) as served:
        exchange(served, trailers)
    assert seen == [[b"host", b"transfer-encoding", b"connection"]]


SMUGGLED = {
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a length beside chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before a colon": POST + b"Content-Length : 1\r\n\r\nx",
    "a length that is no number": POST + b"Content-Length: +1\r\n\r\nx",
    "another encoding than chunks": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a line that ends with CR alone": GET + b"a: b\rc: d\r\n\r\n",
    "a head that ends with CR and a byte": GET + b"a: b\r\n\rGET /y HTTP/1.1\r\n\r\n",
    "a body with Upgrade": POST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 27\r\n\r\n"
    + b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no such method": b"FOO /x HTTP/1.1\r\n\r\n",
    "no such version": b"GET /x HTTP/9.9\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "an address of bytes": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_what_is_not_http_as_it_should_be_is_refused_in_json(what: str, plain: Served) -> None:
    got = exchange(plain, SMUGGLED[what])
    assert got.count(b"HTTP/1.1 ") == 1
    refused(got, 400)


# Seconds.


def trickle(
    served: Served, first: bytes, again: bytes, seconds: float = 3.0
) -> tuple[bytes, float]:
    """Send something, then a little again and again; return the answer, and after how long."""
    began = time.monotonic()
    with served.connect() as peer:
        peer.sendall(first)
        peer.settimeout(0.05)
        got = b""
        while time.monotonic() - began < seconds:
            with contextlib.suppress(TimeoutError):
                try:
                    if again:
                        peer.sendall(again)
                    part = peer.recv(65536)
                except ConnectionError:
                    break
                if not part:
                    break
                got += part
        return got, time.monotonic() - began


SLOW: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "a byte of the request line": (b"GET /", b"a"),
    "a byte of a header": (GET + b"a: ", b"b"),
    "a header": (GET, b"a: b\r\n"),
    "an empty line before it": (b"", b"\r\n"),
    "a byte of the second request": (GET + b"\r\nG", b"E"),
    "a byte of a body": (POST + b"Content-Length: 1000\r\n\r\n", b"a"),
    "no body": (POST + b"Content-Length: 1000\r\n\r\n", b""),
    "a byte of a chunk extension": (CHUNKED + b"1;", b"a"),
    "a byte of a trailer": (CHUNKED + b"1\r\nx\r\n0\r\na: ", b"b"),
}


@pytest.fixture(scope="module")
def slowly() -> dict[str, tuple[bytes, float]]:
    """What each of them is told, and after how long: all at once, because they wait."""

    def told(what: str) -> tuple[bytes, float]:
        first, again = SLOW[what]
        return trickle(served, first, again)

    with serving(**QUICK) as served:
        with ThreadPoolExecutor(len(SLOW)) as threads:
            found = dict(zip(SLOW, threads.map(told, SLOW), strict=True))
        eventually(lambda: not served.connections)
        assert not served.peers.connections
        statuses = [json.loads(line)["status"] for line in served.log.getvalue().splitlines()]
        assert statuses.count(408) == len(SLOW) - 1
    return found


@pytest.mark.parametrize("what", SLOW)
def test_who_sends_slowly_is_waited_for_once(
    what: str, slowly: dict[str, tuple[bytes, float]]
) -> None:
    got, took = slowly[what]
    assert took < 2.5
    refused(got, 400 if "second" in what else 408)


def test_after_an_answer_the_clock_runs_from_the_first_byte() -> None:
    with serving(**QUICK) as served, served.connect() as peer:
        for _ in range(2):
            peer.sendall(GET + b"\r\n")
            got = b""
            while not got.endswith(b"]"):
                got += peer.recv(1000)
            time.sleep(0.5)
        peer.sendall(b"GET /")
        began = time.monotonic()
        refused(rest_of(peer), 408)
        assert 0.3 < time.monotonic() - began < 1.5


def test_a_body_that_nobody_waits_for_any_more_does_not_keep_the_connection() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send(
            {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})

    with serving(hasty, **QUICK) as served:
        got, took = trickle(served, CHUNKED, b"1\r\nx\r\n")
        assert took < 2
        assert got.count(b"HTTP/1.1 ") == 1


def test_an_answer_that_nobody_takes_is_thrown_away() -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"30000000")],
            }
        )
        await send({"type": "http.response.body", "body": b"x" * 30_000_000})

    for kept in (b"", b"connection: close\r\n"):
        with serving(large, work_s=1.0, **QUICK) as served, served.connect() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.sendall(GET + kept + b"\r\n")
            time.sleep(0.2)
            assert served.connections
            until = time.monotonic() + 3
            while served.connections:
                assert time.monotonic() < until
                time.sleep(0.02)


# Many.


def test_requests_sent_ahead_wait_unread_and_are_answered_in_order() -> None:
    with serving(**QUICK) as served:
        ahead = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3000))
        most = 0
        with served.connect() as peer:
            sending = threading.Thread(
                target=peer.sendall,
                args=(
                    b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
                    + ahead
                    + GET
                    + b"connection: close\r\n\r\n",
                ),
            )
            sending.start()
            time.sleep(0.15)
            (connection,) = served.server.server_state.connections
            most = len(connection.pipeline)
            got = rest_of(peer)
            sending.join()
    assert most < 50
    paths = [
        json.loads(part.partition(b"\r\n\r\n")[2])[0]
        for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]
    ]
    assert paths == ["/slow", *(f"/{number}" for number in range(3000)), "/x"]


def test_what_is_sent_ahead_without_end_is_not_kept() -> None:
    with serving(work_s=5, **QUICK) as served, served.connect() as peer:
        peer.settimeout(3)
        with contextlib.suppress(ConnectionError):
            peer.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + (GET + b"\r\n") * 1_000_000)
        assert rest_of(peer).count(b"HTTP/1.1 ") < 100_000
        eventually(lambda: not served.connections)


def test_a_body_that_is_not_read_because_of_an_earlier_request_is_not_late() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/slow":
            await asyncio.sleep(1.0)
        await echo(scope, receive, send)

    with serving(slow, **QUICK) as served, served.connect() as peer:
        head = b"POST /y HTTP/1.1\r\nConnection: close\r\nContent-Length: 450000\r\n\r\n"
        peer.sendall(b"GET /slow HTTP/1.1\r\n\r\n" + head + b"a" * 450_000)
        got = rest_of(peer)
    assert b'["/slow", 0, 0]' in got
    assert b'["/y", 2, 450000]' in got


def test_upgrade_is_ignored(plain: Served) -> None:
    asked = (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
    )
    assert one_of(exchange(plain, asked))[2] == ["/x", 4, 0]
    websocket = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert one_of(exchange(plain, websocket))[2] == ["/x", 3, 0]


def test_a_request_that_is_none_is_refused_after_those_before_it_are_answered() -> None:
    with serving(**QUICK) as served:
        got = exchange(
            served,
            b"GET /slow HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n",
        )
    assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]


KINDS = (
    b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /%d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\n",
)
SCRAPS = (
    *(
        b"GET /slow HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 5000\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"\0",
        b"\r",
        b"\n",
        b"a: b\r\n" * 30,
        b"x" * 3000,
    ),
    *(
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n"),
)
TIGHT = {
    "head_s": 0.3,
    "body_s": 0.3,
    "idle_s": 0.1,
    "take_s": 0.3,
    "linger_s": 0.2,
    "head_bytes": 8192,
    "body_bytes": 16384,
    "unread_bytes": 65536,
    "ahead_bytes": 16384,
}


def sent_in_parts(peer: socket.socket, data: bytes, chance: random.Random) -> bytes:
    """Send in parts of any size; return what is answered."""
    with contextlib.suppress(OSError):
        while data:
            size = chance.choice([1, 7, 50, 2048, 5000])
            peer.sendall(data[:size])
            data = data[size:]
    return rest_of(peer)


@pytest.mark.parametrize("rounds", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_however_requests_are_cut_each_is_answered_in_its_order(rounds: int) -> None:
    chance = random.Random(rounds)
    with serving(**TIGHT) as served:
        for _ in range(rounds):
            numbers = range(chance.randint(1, 30))
            data = b"".join(chance.choice(KINDS) % number for number in numbers)
            with served.connect() as peer:
                got = sent_in_parts(peer, data, chance)
            bodies = [
                part.partition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]
            ]
            assert [json.loads(body)[0] for body in bodies] == [f"/{number}" for number in numbers]


@pytest.mark.parametrize("rounds", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_is_sent_the_connection_ends_and_what_is_told_is_json(rounds: int) -> None:
    chance = random.Random(rounds)
    with serving(**TIGHT) as served:
        for _ in range(rounds):
            data = b"".join(chance.choice(SCRAPS) for _ in range(chance.randint(1, 14)))
            with served.connect() as peer:
                got = sent_in_parts(peer, data, chance)
            assert b"text/plain" not in got, data
            assert b"Traceback" not in got, data
        eventually(lambda: not served.connections)
        assert not served.peers.connections
        assert '"fault"' not in served.log.getvalue()


def test_the_end_of_the_server_is_told_in_json() -> None:
    sent: list[Any] = []

    async def never(*_: Any) -> None:
        await asyncio.sleep(60)

    async def keep(message: Any) -> None:
        sent.append(message)

    async def ended() -> None:
        asked = Gate(never, timeout_s=60, log=io.StringIO())(
            {"type": "http", "method": "GET"}, None, keep
        )
        task = asyncio.ensure_future(asked)
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(ended())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["errors"][0]["code"] == "UNAVAILABLE"


def test_one_peer_cannot_take_all_connections() -> None:
    with serving(of_each=5, most=8, **(QUICK | {"head_s": 5})) as served:
        mine = [served.connect() for _ in range(5)]
        eventually(lambda: served.peers.connections == 5)
        with served.connect() as one_more:
            refused(rest_of(one_more), 429)
        eventually(lambda: served.peers.connections == 5)
        mine.pop().close()
        eventually(lambda: served.peers.connections == 4)
        with served.connect() as again:
            again.sendall(GET + b"connection: close\r\n\r\n")
            assert one_of(rest_of(again))[0] == 200
        for one in mine:
            one.close()
        lines = [json.loads(line) for line in served.log.getvalue().splitlines()]
        assert {frozenset(line) for line in lines} == {
            frozenset(("time", "method", "route", "status", "duration_ms", "client"))
        }


def test_all_together_have_no_more_connections_than_there_are() -> None:
    with serving(of_each=50, most=3, **(QUICK | {"head_s": 5})) as served:
        mine = [served.connect() for _ in range(3)]
        eventually(lambda: served.peers.connections == 3)
        with served.connect() as one_more:
            refused(rest_of(one_more), 503)
        for one in mine:
            one.close()


def test_a_network_of_ipv6_is_one_peer() -> None:
    named = {
        text: peer_of(address_of(text))
        for text in (
            "2001:db8:1:2::1",
            "[2001:db8:1:2:ffff::9]:443",
            "2001:db8:1:3::1",
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "192.0.2.1:5555",
            "fe80::1%eth0",
            "nobody",
        )
    }
    assert (
        named["2001:db8:1:2::1"] == named["[2001:db8:1:2:ffff::9]:443"] != named["2001:db8:1:3::1"]
    )
    assert named["192.0.2.1"] == named["::ffff:192.0.2.1"] == named["192.0.2.1:5555"]
    assert named["nobody"] == ""


def test_a_proxy_says_who_asks_and_nobody_else_does() -> None:
    peers = Peers(10, 2, [one for one in map(address_of, ("192.0.2.9", "10.0.0.1")) if one])

    def asking(client: str, *forwarded: str) -> str:
        return peers.asking(
            {
                "client": (client, 1),
                "headers": [(b"x-forwarded-for", one.encode()) for one in forwarded],
            }
        )

    assert asking("192.0.2.9", "198.51.100.7") == "198.51.100.7"
    assert asking("192.0.2.9", "1.1.1.1, 198.51.100.7") == "198.51.100.7", (
        "what stands before, anybody may write"
    )
    assert asking("192.0.2.9", "1.1.1.1", "198.51.100.7,10.0.0.1") == "198.51.100.7"
    assert asking("192.0.2.9", "nonsense") == asking("192.0.2.9") == "192.0.2.9"
    assert asking("198.51.100.8", "1.1.1.1") == "198.51.100.8"
    told: list[str] = []
    peers.notice = told.append
    assert asking("192.0.2.9", "1.1.1.1") != asking("198.51.100.8")
    assert not told
    assert asking("198.51.100.8", "1.1.1.1") == asking("198.51.100.8", "2.2.2.2")
    assert [("--proxy" in one, "198" in one) for one in told] == [(True, False)]
    assert all(peers.enter(address_of("192.0.2.9")) for _ in range(5)), (
        "a proxy may have as many as there are"
    )
    assert [peers.enter(address_of("198.51.100.8")) for _ in range(3)] == [True, True, False]
    assert [peers.enter(address_of(f"198.51.100.{number}")) for number in (20, 21, 22)] == [
        True,
        True,
        None,
    ]


def test_the_command_has_these_limits(tmp_path: Path) -> None:
    """As it is started by a person."""
    run("credentials", "new", "api.toml", "--client", "web", "--feed", "crm", folder=tmp_path)
    with served_command(tmp_path, "--connections-per-peer", "2") as server:
        server.http.close()
        place = ("127.0.0.1", int(server.address.rpartition(":")[2]))

        def told(sent: bytes) -> bytes:
            with socket.create_connection(place, timeout=8) as peer:
                with contextlib.suppress(OSError):
                    peer.sendall(sent)
                return rest_of(peer)

        refused(told(b"nonsense\r\n\r\n"), 400)
        refused(told(HEADS["a request line"]), 431)
        large = told(
            b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"
            + b"a" * 9_000_000
        )
        assert (large[9:12], b"REQUEST_TOO_LARGE" in large) == (b"413", True)
        assert told(b"HEAD /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(
            b"\r\n\r\n"
        )
        with socket.create_connection(place), socket.create_connection(place):
            time.sleep(0.1)
            refused(told(GET + b"\r\n"), 429)
