"""A reader of `profilectl serve` is in one pair of hands, and comes back whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from profilectl.server import desk as desk_of
from profilectl.server.desk import Desk, Question
from profilectl.server.snapshot import READERS, Snapshots
from profilectl.store.scratch import Scratch

ENDLESS = "select count(*) from range(1000000000000)"


class Lending:
    """Readers of a database that has nothing. twice: whether two threads ever had the same."""

    reader = Snapshots.reader

    def silence(self) -> None:
        """Say that what it has is never too old."""

    def __init__(self, folder: Path) -> None:
        self.scratch = Scratch(folder)
        self.scratch.run("set threads = 2")
        free = [
            SimpleNamespace(scratch=self.scratch.cursor(), hands=threading.Lock())
            for _ in range(READERS)
        ]
        self.now = SimpleNamespace(users=0, free=free, retired=False, close=lambda: None)
        self.twice = False

    @contextlib.contextmanager
    def hold(self, reader: Any) -> Iterator[None]:
        if not reader.hands.acquire(blocking=False):
            self.twice = True
            raise AssertionError("the reader is in use")
        try:
            yield
        finally:
            reader.hands.release()

    def work(self, statement: str) -> Callable[[Any], Any]:
        def with_reader(reader: Any) -> Any:
            with self.hold(reader):
                return reader.scratch.rows(statement)[0][0]

        return with_reader


@pytest.fixture
def lending(tmp_path: Path) -> Iterator[Lending]:
    lending = Lending(tmp_path)
    yield lending
    lending.scratch.close()


async def slow_and_quick(desk: Desk, slow: Callable[[], Any], quick: Callable[[], Any]) -> None:
    """Ask what takes for ever, again and again, each for a moment; what follows is answered."""
    for _ in range(3):
        asked = [asyncio.wait_for(slow(), 0.15) for _ in range(2 * READERS + 1)]
        assert {type(one) for one in await asyncio.gather(*asked, return_exceptions=True)} == {
            TimeoutError
        }
        began = time.monotonic()
        assert await asyncio.wait_for(asyncio.gather(*(quick() for _ in range(6))), 5) == [1] * 6
        assert time.monotonic() - began < 2
    await asyncio.wait_for(desk.finish(), 5)


def test_a_time_out_gives_a_reader_back_when_its_thread_is_done(lending: Lending) -> None:
    async def all_of_it() -> None:
        desk = Desk(lending)  # type: ignore[arg-type]
        await slow_and_quick(
            desk,
            lambda: desk.read(lending.work(ENDLESS)),
            lambda: desk.read(lending.work("select 1")),
        )
        assert (len(lending.now.free), lending.now.users) == (READERS, 0)
        desk.close()

    asyncio.run(all_of_it())
    assert not lending.twice


def test_questions_that_nobody_waits_for_do_not_keep_the_readers(
    lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(reader: Any, questions: list[Question]) -> list[Any]:
        slow = any(one.value == "slow" for one in questions)
        found = lending.work(ENDLESS if slow else "select 1")(reader)
        return [found for _ in questions]

    monkeypatch.setattr(desk_of, "answer", answer)

    async def all_of_it() -> None:
        desk = Desk(lending)  # type: ignore[arg-type]
        await slow_and_quick(
            desk,
            lambda: desk.ask(Question("", "any", "slow")),
            lambda: desk.ask(Question("", "any", "quick")),
        )
        assert (len(lending.now.free), lending.now.users) == (READERS, 0)
        desk.close()

    asyncio.run(all_of_it())
    assert not lending.twice


def test_one_who_still_waits_is_answered_though_others_do_not(
    lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        desk_of,
        "answer",
        lambda reader, questions: [
            lending.work("select count(*) % 2 from range(400000000)")(reader) for _ in questions
        ],
    )

    async def all_of_it() -> None:
        desk = Desk(lending)  # type: ignore[arg-type]
        patient = asyncio.ensure_future(desk.ask(Question("", "any", "a")))
        hasty = asyncio.wait_for(desk.ask(Question("", "any", "b")), 0.01)
        assert isinstance((await asyncio.gather(hasty, return_exceptions=True))[0], TimeoutError)
        assert await asyncio.wait_for(patient, 20) == 0
        desk.close()

    asyncio.run(all_of_it())


def test_a_reader_that_cannot_be_lent_fails_who_asks_and_nobody_after(lending: Lending) -> None:
    async def all_of_it() -> None:
        desk = Desk(lending)  # type: ignore[arg-type]
        free, lending.now.free = lending.now.free, []
        for _ in range(2 * READERS):
            for asked in (desk.read(lending.work("select 1")), desk.ask(Question("", "any", "a"))):
                with pytest.raises(IndexError):
                    await asyncio.wait_for(asked, 2)
        lending.now.free, lending.now.users = free, 0
        assert await asyncio.wait_for(desk.read(lending.work("select 1")), 2) == 1
        desk.close()

    asyncio.run(all_of_it())


def test_the_end_interrupts_what_goes_on(lending: Lending) -> None:
    async def all_of_it() -> None:
        desk = Desk(lending)  # type: ignore[arg-type]
        asked = asyncio.ensure_future(desk.read(lending.work(ENDLESS)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await desk.finish()
        desk.close()
        assert time.monotonic() - began < 3
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(all_of_it())
