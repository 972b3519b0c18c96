"""A receiver that is slow, endless or huge costs one deadline and a cap of bytes: webhook, push and
UID2 alike."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.uid2_operator import KEY, SECRET, hash_of

from profilectl.codes import InputRefused, ProfilectlError, Unfinished
from profilectl.files.secrets import KeyAndSecret
from profilectl.outputs.delivery.http import HttpSender as Webhook
from profilectl.outputs.delivery.parcel import DeliveryManner
from profilectl.outputs.packing import parcels_of
from profilectl.outputs.push.sending import BatchSender as Push
from profilectl.outputs.push.sending import SendingPace
from profilectl.outputs.uid2.operator import Patience, Uid2Operator
from profilectl.rules.leaving.output import DeliveryFate

DEADLINE_S = 0.8
PATIENCE_S = 6.0
"""So long a test waits for what must be over after DEADLINE_S: other work runs on the machine."""
BLOCK = b"x" * 65_536


@dataclass
class Attacker:
    """What an attack sent, and how often it was asked."""

    url: str = ""
    sent: int = 0
    asked: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def send(self, peer: socket.socket, content: bytes) -> None:
        peer.sendall(content)
        self.sent += len(content)

    def trickle(self, peer: socket.socket, content: bytes) -> None:
        for n in range(len(content)):
            if self.over.wait(0.05):
                return
            self.send(peer, content[n : n + 1])

    def endless(self, peer: socket.socket, block: bytes) -> None:
        while not self.over.is_set():
            self.send(peer, block)


Attack = Callable[[Attacker, socket.socket], None]


@contextlib.contextmanager
def attacker(attack: Attack, *, reading: bool = True, scheme: str = "http") -> Iterator[Attacker]:
    """Run an attack on each connection that is made.

    reading: take the head of each request first.
    """
    state = Attacker()
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            if reading and not peer.recv(1 << 20):
                return
            state.asked += 1
            attack(state, peer)

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                peers.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        state.url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        accepting = threading.Thread(target=accept, args=(listening,), daemon=True)
        accepting.start()
        try:
            yield state
        finally:
            state.over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


def webhook(url: str, body: bytes = b"{}", **manner: Any) -> Any:
    with contextlib.closing(
        Webhook(
            DeliveryManner(**{"attempts": 1, "timeout_s": DEADLINE_S, "pause_s": 0.01, **manner})
        )
    ) as sender:
        return sender.post(f"{url}/hook", body, {})


def push(url: str, **pace: Any) -> Any:
    async def sent() -> Any:
        parcels = parcels_of(
            {"user_identities": {"customer_id": "A"}}, 1, lambda part, content: "one"
        )
        wanted = SendingPace(
            **{"rate": 0, "timeout_s": DEADLINE_S, "give_up_s": 0.1, "first_pause_s": 0.01, **pace}
        )
        async with Push(f"{url}/v2/bulkevents", KeyAndSecret("k", "s"), wanted) as sender:
            return await sender.deliver(parcels)

    try:
        return asyncio.run(sent())
    except ProfilectlError as error:
        return error


def uid2(url: str, **patience: Any) -> Any:
    with contextlib.closing(
        Uid2Operator(
            url,
            KeyAndSecret(KEY, SECRET),
            Patience(**{"attempts": 1, "timeout_s": DEADLINE_S, "pause_s": 0.01, **patience}),
        )
    ) as operator:
        try:
            return operator.ask([hash_of("a@example.com")], [])
        except ProfilectlError as error:
            return error


def bounded(door: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """Return what came of a door; fail where it is still going on after PATIENCE_S."""
    return together(lambda: door(*arguments, **more))[0]


def together(*doors: Callable[[], Any]) -> list[Any]:
    """Return what came of doors that are open at the same time; fail where one is still going on
    after PATIENCE_S.
    """
    found: dict[int, Any] = {}
    going = [
        threading.Thread(
            target=lambda place=place, door=door: found.setdefault(place, door()), daemon=True
        )
        for place, door in enumerate(doors)
    ]  # type: ignore[misc]
    began = time.monotonic()
    for one in going:
        one.start()
    for one in going:
        one.join(max(PATIENCE_S - (time.monotonic() - began), 0.01))
    assert len(found) == len(doors), f"still going on after {time.monotonic() - began:.1f} s"
    return [found[place] for place in range(len(doors))]


HEAD = b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\n"


def trickled_head(state: Attacker, peer: socket.socket) -> None:
    state.trickle(peer, HEAD % 200 + b"X-Slow: " + b"a" * 1000)


def interim(status: int) -> Attack:
    return lambda state, peer: state.endless(peer, f"HTTP/1.1 {status} Soon\r\n\r\n".encode() * 100)


def slow_interim(state: Attacker, peer: socket.socket) -> None:
    while not state.over.wait(0.05):
        state.send(peer, b"HTTP/1.1 103 Early Hints\r\n\r\n")


def endless_headers(state: Attacker, peer: socket.socket) -> None:
    state.send(peer, HEAD % 200)
    state.endless(peer, b"X-More: and more\r\n" * 100)


def endless_header(state: Attacker, peer: socket.socket) -> None:
    state.send(peer, HEAD % 200 + b"X-More: ")
    state.endless(peer, BLOCK)


def silence(state: Attacker, peer: socket.socket) -> None:
    state.over.wait()


NO_STATUS: dict[str, Attack] = {
    # no answer has a status: nothing is known
    "a head a byte at a time": trickled_head,
    "one 103 after another": interim(103),
    "one 100 after another": interim(100),
    "a 103 now and then": slow_interim,
    "headers without end": endless_headers,
    "a header without end": endless_header,
    "no answer": silence,
}


def plain(status: int) -> Attack:
    def attack(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, HEAD % status + b"Content-Length: 838860800\r\n\r\n")
        state.endless(peer, BLOCK)

    return attack


def chunked(status: int) -> Attack:
    def attack(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, HEAD % status + b"Transfer-Encoding: chunked\r\n\r\n")
        state.endless(peer, b"10000\r\n" + BLOCK + b"\r\n")

    return attack


def small_chunks(status: int) -> Attack:
    def attack(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, HEAD % status + b"Transfer-Encoding: chunked\r\n\r\n")
        state.endless(peer, (b"1;" + b"e" * 60_000 + b"\r\nx\r\n"))

    return attack


def unpacking(status: int) -> Attack:
    bomb = gzip.compress(bytes(100_000_000), 1)

    def attack(state: Attacker, peer: socket.socket) -> None:
        state.send(
            peer,
            HEAD % status
            + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
            + bomb,
        )
        state.over.wait()

    return attack


def trickled_body(status: int) -> Attack:
    def attack(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, HEAD % status + b"Content-Length: 5000\r\n\r\n")
        state.trickle(peer, b"x" * 5000)

    return attack


BODIES = {
    "800 MB": plain,
    "chunks without end": chunked,
    "small chunks without end": small_chunks,
    "what unpacks without end": unpacking,
    "a body a byte at a time": trickled_body,
}


@pytest.mark.parametrize("attack", NO_STATUS.values(), ids=NO_STATUS)
def test_an_answer_without_a_status_is_over_at_the_deadline(attack: Attack) -> None:
    with attacker(attack) as there:
        by_webhook, by_push, by_uid2 = together(
            lambda: webhook(there.url), lambda: push(there.url), lambda: uid2(there.url)
        )
        assert by_webhook.fate is DeliveryFate.DEAD
        assert by_webhook.why in ("after 1 attempt: timeout", "after 1 attempt: broken")
        assert isinstance(by_push, Unfinished), by_push
        assert isinstance(by_uid2, Unfinished), by_uid2
        assert there.sent < 30_000_000, "more was taken than the cap, and what sockets hold"


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_status_counts_whatever_comes_after_it(body: Callable[[int], Attack]) -> None:
    with attacker(body(200)) as there:
        by_webhook, by_push = together(lambda: webhook(there.url), lambda: push(there.url))
        assert by_webhook.fate is DeliveryFate.DELIVERED
        assert by_push == []
    with attacker(body(400)) as there:
        by_webhook, by_push, by_uid2 = together(
            lambda: webhook(there.url), lambda: push(there.url), lambda: uid2(there.url)
        )
        assert by_webhook.fate is DeliveryFate.DEAD
        assert [one.code for one in by_push] == ["BATCH_REFUSED"]
        assert isinstance(by_uid2, InputRefused)
        assert there.sent < 60_000_000


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_of_an_operator_is_read_as_far_as_one_can_be(
    body: Callable[[int], Attack],
) -> None:
    with attacker(body(200)) as there:
        said = bounded(uid2, there.url, timeout_s=1.2)
    assert isinstance(said, InputRefused | Unfinished), said
    assert there.sent < 60_000_000


def test_a_handshake_a_byte_at_a_time_is_no_connection() -> None:
    def handshake(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, b"\x16\x03\x03\x40\x00\x02")
        state.trickle(peer, bytes(10_000))

    with attacker(handshake, scheme="https") as there:
        by_webhook, by_push, by_uid2 = together(
            lambda: webhook(there.url), lambda: push(there.url), lambda: uid2(there.url)
        )
        assert by_webhook.fate is DeliveryFate.STOP
        assert isinstance(by_push, Unfinished)
        assert isinstance(by_uid2, Unfinished)


def test_a_receiver_that_reads_nothing_or_a_little_now_and_then_is_left_at_the_deadline() -> None:
    def sip(state: Attacker, peer: socket.socket) -> None:
        while not state.over.wait(0.02):
            peer.recv(50_000)

    with attacker(silence, reading=False) as idle, attacker(sip, reading=False) as slow:
        for said in together(
            lambda: webhook(idle.url, b"x" * 30_000_000),
            lambda: webhook(slow.url, b"x" * 30_000_000),
        ):
            assert (said.fate, said.why) == (DeliveryFate.DEAD, "after 1 attempt: timeout")


def test_a_kept_connection_is_used_again_and_is_under_the_same_deadline() -> None:
    def twice(state: Attacker, peer: socket.socket) -> None:
        state.send(peer, HEAD % 202 + b"Content-Length: 2\r\n\r\n{}")
        peer.recv(1 << 20)
        state.asked += 100
        state.trickle(peer, HEAD % 200 + b"X-Slow: " + b"a" * 1000)

    with (
        attacker(twice) as there,
        contextlib.closing(Webhook(DeliveryManner(attempts=1, timeout_s=DEADLINE_S))) as sender,
    ):
        assert bounded(sender.post, f"{there.url}/", b"{}", {}).fate is DeliveryFate.DELIVERED
        assert bounded(sender.post, f"{there.url}/", b"{}", {}).why == "after 1 attempt: timeout"
        assert there.asked == 101


@pytest.mark.parametrize(
    "command",
    [["forward", "--timeout", "60"], ["uid2", "run", "--operator", "{}"]],
    ids=["forward", "uid2"],
)
def test_a_command_that_waits_for_an_answer_ends_at_once_when_it_is_interrupted(
    command: list[str], tmp_path: Path
) -> None:
    with attacker(silence) as there:
        (tmp_path / "c.toml").write_text(
            '[feeds.app]\nsource = "sdk"\n[outputs.hook]\ntype = "webhook"\nurl ='
            f' "{there.url}"\n[connections.c]\nfeed = "app"\noutput = "hook"\n'
        )
        (tmp_path / "a.jsonl").write_text(
            '{"user_identities":{"email":"a@example.com"},"events":[{"event_type":"first_run","data":{}}]}\n'
            ""
        )
        for more in (["config", "apply", "c.toml"], ["import", "a.jsonl", "--feed", "app"]):
            assert run(*more, folder=tmp_path).returncode == 0
        line = [sys.executable, "-m", "profilectl", *(one.format(there.url) for one in command)]
        waiting = subprocess.Popen(
            line,
            cwd=tmp_path,
            env={**os.environ, "UID2_API_KEY": KEY, "UID2_CLIENT_SECRET": SECRET},
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 30
        while not there.asked and time.monotonic() < until:
            time.sleep(0.05)
        began = time.monotonic()
        waiting.send_signal(signal.SIGINT)
        try:
            _, said = waiting.communicate(timeout=20)
        finally:
            waiting.kill()
            waiting.communicate()
        assert (waiting.returncode, there.asked) == (130, 1), said
        assert time.monotonic() - began < 15


# Retry-After: 0, again and again


ODD_PAUSES = ["0", "-1", "NaN", "1e9", "0, 0", "Sun, 06 Nov 1994 08:49:37 GMT", "\u00b2"]


def at_once(status: int, stated: str) -> Attack:
    answer = (
        HEAD % status
        + b"Retry-After: "
        + stated.encode()
        + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    return lambda state, peer: state.send(peer, answer)


@pytest.mark.parametrize("stated", ODD_PAUSES)
def test_a_receiver_that_asks_for_no_pause_is_not_asked_in_a_loop(stated: str) -> None:
    answer = at_once(429, stated)
    with attacker(answer) as hook, attacker(answer) as platform, attacker(answer) as operator:
        began = time.monotonic()
        by_webhook, by_push, by_uid2 = together(
            lambda: webhook(hook.url, attempts=4, pause_s=0.05),
            lambda: push(platform.url, give_up_s=0.6, first_pause_s=0.05),
            lambda: uid2(operator.url, attempts=4, pause_s=0.05),
        )
        assert (by_webhook.fate, hook.asked) == (DeliveryFate.STOP, 4)
        assert isinstance(by_push, Unfinished)
        assert platform.asked <= 12
        assert isinstance(by_uid2, Unfinished)
        assert operator.asked == 4
        if stated == "0":
            assert time.monotonic() - began >= 0.05 + 0.1 + 0.2


def test_a_pause_of_any_length_is_said_and_not_waited_for() -> None:
    with attacker(at_once(429, "9" * 4000)) as there:
        assert bounded(webhook, there.url).come_back_ms
        assert bounded(push, there.url).come_back_ms
        assert bounded(uid2, there.url).come_back_ms


def test_what_an_operator_answers_is_never_unpacked() -> None:
    answer = base64.b64encode(bytes(100))

    def attack(state: Attacker, peer: socket.socket) -> None:
        packed = gzip.compress(answer)
        state.send(
            peer,
            HEAD % 200
            + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
            + packed,
        )

    with attacker(attack) as there:
        assert isinstance(bounded(uid2, there.url), InputRefused)
