"""Questions that arrive together are answered together.

Planning a look-up of one profile costs DuckDB as much as one of fifty. So while the readers are
busy, questions wait, and whoever is free takes all of them: nobody waits for a clock, and under
load each costs a fraction.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from profilectl.audiences.one_person import standings_of
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.retention import Stage
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.server.snapshot import READERS, Reader, Snapshots
from profilectl.store.segments import known_identities, known_mpids

TOGETHER = 64
"""So many questions are answered together at most: the last of them should not wait for long."""
CATCH_UP_S = 5.0
"""So long a question waits for what this server itself has put into the store."""
INTERRUPT_S = 0.05
FINISH_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """Who has an identity.

    kind: an identity type, "mpid" or "any"; environment: None for both; placed: with the file and
    line of everything.
    """

    workspace: str
    kind: str
    value: str
    environment: str | None = None
    placed: bool = False


class Desk:
    """Answers questions out of the newest snapshot.

    All methods are called in the thread of the event loop.

    A reader is lent to a thread, and given back when that thread is done with it, whoever has
    stopped waiting meanwhile. What nobody waits for any more is interrupted, again and again,
    because between two statements there is nothing to interrupt.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self._waiting: list[tuple[Question, asyncio.Future[list[Activity]]]] = []
        self._reading = asyncio.Semaphore(READERS)
        self._threads = ThreadPoolExecutor(READERS, "reading")
        self._tasks: set[asyncio.Task[None]] = set()
        self._lent: dict[asyncio.Future[Any], Reader] = {}

    async def ask(self, question: Question) -> list[Activity]:
        """Return the profiles that have an identity, oldest first."""
        future: asyncio.Future[list[Activity]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if len(self._tasks) < READERS:
            task = asyncio.create_task(self._answer())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def ask_all(self, questions: Sequence[Question]) -> list[list[Activity]]:
        """Answer many questions out of one snapshot, in their order."""
        firsts = range(0, len(questions), TOGETHER)
        parts = [questions[first : first + TOGETHER] for first in firsts]
        return await self.read(
            lambda reader: [found for part in parts for found in answer(reader, part)]
        )

    async def caught_up(self, since_ms: int) -> None:
        """Wait until it is answered out of what was in the store at a time; not for longer than
        CATCH_UP_S.
        """
        until = time.monotonic() + CATCH_UP_S
        while self.snapshots.told_ms < since_ms and time.monotonic() < until:  # noqa: ASYNC110 - a copy is a matter of moments
            await asyncio.sleep(0.02)

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Do something else with a reader, in a thread of its own."""
        await self._reading.acquire()
        done = self._begin(work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self._interrupt(done)
            raise

    def _begin(self, work: Callable[[Reader], T]) -> asyncio.Future[T]:
        """Begin something with a reader that is free (`_reading`); return what tells of its end."""
        lent = contextlib.ExitStack()
        lent.callback(self._reading.release)
        try:
            reader = lent.enter_context(self.snapshots.reader())
            done = asyncio.get_running_loop().run_in_executor(self._threads, work, reader)
        except BaseException:
            lent.close()
            raise
        self._lent[done] = reader

        def give_back(_: object) -> None:
            del self._lent[done]
            lent.close()
            if not done.cancelled():
                done.exception()  # perhaps nobody waits for it any more

        done.add_done_callback(give_back)
        return done

    def _interrupt(self, done: asyncio.Future[Any]) -> None:
        """Interrupt what a thread does until it ends."""
        if not done.done():
            self._lent[done].scratch.connection.interrupt()
            asyncio.get_running_loop().call_later(INTERRUPT_S, self._interrupt, done)

    async def _answer(self) -> None:
        while self._waiting:
            await self._reading.acquire()
            taken, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            asked = [(question, future) for question, future in taken if not future.done()]
            if not asked:
                self._reading.release()
                continue
            try:
                answers = await self._answers(asked)
            except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), found in zip(asked, answers, strict=True):
                if not future.done():
                    future.set_result(found)

    async def _answers(
        self, asked: Sequence[tuple[Question, asyncio.Future[list[Activity]]]]
    ) -> list[list[Activity]]:
        """Answer questions with the reader that is free, until nobody waits for any of them."""
        questions = [question for question, _ in asked]
        done = self._begin(lambda reader: answer(reader, questions))

        def look(_: object) -> None:
            if all(future.done() for _, future in asked):
                self._interrupt(done)

        for _, future in asked:
            future.add_done_callback(look)
        return await asyncio.shield(done)

    async def finish(self) -> None:
        """Interrupt what is still being done, at the very end, and wait for it."""
        lent = list(self._lent)
        for done in lent:
            self._interrupt(done)
        if lent:
            await asyncio.wait(lent, timeout=FINISH_S)

    def close(self) -> None:
        self._threads.shutdown(wait=True)


def answer(
    reader: Reader, questions: Sequence[Question], now_ms: int | None = None
) -> list[list[Activity]]:
    """Answer questions, in their order; each profile with where it stands.

    Left out are profiles beyond their lifetime, and those that the workspace has not seen.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    answers: list[list[Activity]] = [[] for _ in questions]
    for workspace in dict.fromkeys(question.workspace for question in questions):
        profiles = reader.profiles.get(workspace)
        if profiles is None:
            continue
        places = [
            place for place, question in enumerate(questions) if question.workspace == workspace
        ]
        found = _find(profiles, [questions[place] for place in places])
        everybody = sorted({profile for one in found for profile in one})
        people = (
            {
                one.profile: one
                for one in activities(
                    profiles, everybody, placed=any(questions[place].placed for place in places)
                )
            }
            if everybody
            else {}
        )
        standings = standings_of(profiles, list(people.values()), at_ms, reader.known)
        for one, standing in zip(people.values(), standings, strict=True):
            one.standing = standing
        for place, listed in zip(places, found, strict=True):
            question = questions[place]
            answers[place] = [
                people[profile]
                for profile in listed
                if profile in people
                and question.environment in (None, people[profile].environment)
                and people[profile].touches
                and _is_live(reader, profiles, people[profile], at_ms)
            ]
    return answers


def _is_live(reader: Reader, profiles: Profiles, one: Activity, now_ms: int) -> bool:
    """Say whether a profile is within its lifetime (domain.md 13)."""
    carried = profiles.carried(one.profile)
    last_ms = max(one.last_seen_ms, carried.due_ms if carried else one.last_seen_ms)
    return reader.clocks.stage(last_ms, now_ms) is Stage.LIVE


def _find(profiles: Profiles, questions: Sequence[Question]) -> list[list[int]]:
    """Return the profiles that each question is about, oldest first: all questions with one
    statement for each index.
    """
    secret, scratch = profiles.store.meta("secret"), profiles.store.scratch
    hashes: dict[int, list[int]] = {}
    mpids: dict[tuple[int, str], list[int]] = {}
    for place, question in enumerate(questions):
        environments = (question.environment,) if question.environment else ENVIRONMENTS
        kinds = [question.kind] if question.kind != "any" else [*profiles.identities, "mpid"]
        for kind in kinds:
            if kind == "mpid":
                if (number := mpid_of(question.value)) is not None:
                    for environment in environments:
                        mpids.setdefault((number, environment), []).append(place)
            else:
                key = key_of(BY_NAME[kind], display(question.value))
                for environment in environments:
                    hashes.setdefault(hash_of(secret, environment, kind, key), []).append(place)
    found: list[set[int]] = [set() for _ in questions]
    if hashes:
        known = known_identities(profiles.segments, removals=profiles.removals)
        listed = ", ".join(f"'{one}'" for one in hashes)
        for digest, profile in scratch.rows(
            f"select hash, profile from ({known}) where hash in (select unnest([{listed}])::uhugeint)"
        ):
            for place in hashes[digest]:
                found[place].add(profile)
    if mpids:
        listed = ", ".join(str(number) for number, _ in mpids)
        where = f"mpid in (select unnest([{listed}]::bigint[]))"
        for number, environment, profile in scratch.rows(
            f"select mpid, environment, profile from ({known_mpids(profiles.segments)}) where {where}"
        ):
            for place in mpids.get((number, ENVIRONMENT_NAME[environment]), ()):
                found[place].add(profile)
    return [sorted(one) for one in found]


def mpid_of(value: str) -> int | None:
    """Return an MPID as a number, None where the text is none."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None
