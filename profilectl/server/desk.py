"""Questions that arrive together are answered together.

Planning a look-up of one profile costs DuckDB as much as one of fifty. So while the readers are
busy, questions wait, and whoever is free takes all of them: nobody waits for a clock, and under
load each costs a fraction.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
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
"""The most questions that are answered together: the last should not wait for long."""
CATCH_UP_S = 5.0
"""How long a question waits for what this server itself has put into the store, in seconds."""
INTERRUPT_S = 0.05
FINISH_S = 5.0
T = TypeVar("T")
# The profiles that have identities, by the hash of the identity.
WITH_HASHES = """
select hash, profile
from ({identities})
where hash in (select unnest($hashes::uhugeint[]))
"""
# The profiles that have MPIDs, in whatever environment.
WITH_MPIDS = """
select mpid, environment, profile
from ({mpids})
where mpid in (select unnest($mpids::bigint[]))
"""


@dataclass(frozen=True, slots=True)
class Question:
    """The question who has an identity."""

    workspace: str
    """The name of the workspace that is asked."""
    kind: str
    """An identity type, "mpid" or "any"."""
    value: str
    """The identity as it was sent."""
    environment: str | None = None
    """The environment; None: both."""
    placed: bool = False
    """Whether the answer has the file and line of everything."""


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
        places = range(0, len(questions), TOGETHER)
        parts = [questions[place : place + TOGETHER] for place in places]
        return await self.read(
            lambda reader: [answers for part in parts for answers in answer(reader, part)]
        )

    async def caught_up(self, since_ms: int) -> None:
        """Wait until it is answered out of what was in the store at a time; not for longer than
        CATCH_UP_S.
        """
        until = time.monotonic() + CATCH_UP_S
        # A copy is a matter of moments, so this looks again and again.
        while self.snapshots.told_ms < since_ms and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Do something else with a reader, in a thread of its own."""
        await self._reading.acquire()
        reading = self._begin(work)
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self._interrupt(reading)
            raise

    def _begin(self, work: Callable[[Reader], T]) -> asyncio.Future[T]:
        """Begin something with a reader that is free (`_reading`); return what tells of its end."""
        lent = contextlib.ExitStack()
        lent.callback(self._reading.release)
        try:
            reader = lent.enter_context(self.snapshots.reader())
            reading = asyncio.get_running_loop().run_in_executor(self._threads, work, reader)
        except BaseException:
            lent.close()
            raise
        self._lent[reading] = reader

        def give_back(_: object) -> None:
            del self._lent[reading]
            lent.close()
            if not reading.cancelled():
                reading.exception()  # perhaps nobody waits for it any more

        reading.add_done_callback(give_back)
        return reading

    def _interrupt(self, reading: asyncio.Future[Any]) -> None:
        """Interrupt what a thread does until it ends."""
        if not reading.done():
            self._lent[reading].scratch.connection.interrupt()
            asyncio.get_running_loop().call_later(INTERRUPT_S, self._interrupt, reading)

    async def _answer(self) -> None:
        while self._waiting:
            await self._reading.acquire()
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            waiting = [(question, future) for question, future in batch if not future.done()]
            if not waiting:
                self._reading.release()
                continue
            try:
                answers = await self._answers(waiting)
            except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), people in zip(waiting, answers, strict=True):
                if not future.done():
                    future.set_result(people)

    async def _answers(
        self, waiting: Sequence[tuple[Question, asyncio.Future[list[Activity]]]]
    ) -> list[list[Activity]]:
        """Answer questions with the reader that is free, until nobody waits for any of them."""
        questions = [question for question, _ in waiting]
        reading = self._begin(lambda reader: answer(reader, questions))

        def look(_: object) -> None:
            if all(future.done() for _, future in waiting):
                self._interrupt(reading)

        for _, future in waiting:
            future.add_done_callback(look)
        return await asyncio.shield(reading)

    async def finish(self) -> None:
        """Interrupt what is still being done, at the very end, and wait for it."""
        lent = list(self._lent)
        for reading in lent:
            self._interrupt(reading)
        if lent:
            await asyncio.wait(lent, timeout=FINISH_S)

    def close(self) -> None:
        self._threads.shutdown(wait=True)


def answer(
    reader: Reader, questions: Sequence[Question], now_ms: int | None = None
) -> list[list[Activity]]:
    """Answer questions, in their order; each profile with where it stands.

    Profiles beyond their lifetime, and those that the workspace has not seen, are left out.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    answers: list[list[Activity]] = [[] for _ in questions]
    by_workspace: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        by_workspace.setdefault(question.workspace, []).append(place)
    for workspace, places in by_workspace.items():
        if workspace in reader.profiles:
            answered = _answer_in(reader, workspace, [questions[place] for place in places], at_ms)
            for place, people in zip(places, answered, strict=True):
                answers[place] = people
    return answers


def _answer_in(
    reader: Reader, workspace: str, questions: Sequence[Question], at_ms: int
) -> list[list[Activity]]:
    """Answer questions of one workspace, in their order."""
    profiles = reader.profiles[workspace]
    holders = _holders(profiles, questions)
    everybody = sorted({profile for listed in holders for profile in listed})
    placed = any(question.placed for question in questions)
    people = (
        {activity.profile: activity for activity in activities(profiles, everybody, placed=placed)}
        if everybody
        else {}
    )
    standings = standings_of(profiles, list(people.values()), at_ms, reader.known)
    for activity, standing in zip(people.values(), standings, strict=True):
        activity.standing = standing
    return [
        [
            people[profile]
            for profile in listed
            if profile in people
            and question.environment in (None, people[profile].environment)
            and people[profile].touches
            and _is_live(reader, profiles, people[profile], at_ms)
        ]
        for question, listed in zip(questions, holders, strict=True)
    ]


def _is_live(reader: Reader, profiles: Profiles, activity: Activity, now_ms: int) -> bool:
    """Return whether a profile is within its lifetime (domain.md 13)."""
    carried = profiles.carried(activity.profile)
    last_ms = max(activity.last_seen_ms, carried.due_ms if carried else activity.last_seen_ms)
    return reader.clocks.stage(last_ms, now_ms) is Stage.LIVE


def _holders(profiles: Profiles, questions: Sequence[Question]) -> list[list[int]]:
    """Return the profiles that each question is about, oldest first.

    One statement for each index answers all questions.
    """
    secret = profiles.store.meta("secret")
    hashes: dict[int, list[int]] = {}
    mpids: dict[tuple[int, str], list[int]] = {}
    for place, question in enumerate(questions):
        environments = (question.environment,) if question.environment else ENVIRONMENTS
        kinds = [question.kind] if question.kind != "any" else [*profiles.identities, "mpid"]
        for kind, environment in itertools.product(kinds, environments):
            if kind != "mpid":
                key = key_of(BY_NAME[kind], display(question.value))
                hashes.setdefault(hash_of(secret, environment, kind, key), []).append(place)
            elif (number := mpid_of(question.value)) is not None:
                mpids.setdefault((number, environment), []).append(place)
    holders: list[set[int]] = [set() for _ in questions]
    for digest, profile in _with_hashes(profiles, hashes):
        for place in hashes[digest]:
            holders[place].add(profile)
    for number, environment, profile in _with_mpids(profiles, mpids):
        for place in mpids.get((number, environment), ()):
            holders[place].add(profile)
    return [sorted(listed) for listed in holders]


def _with_hashes(profiles: Profiles, hashes: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield each hash of an identity and a profile that has it."""
    if hashes:
        identities = known_identities(profiles.segments, removals=profiles.removals)
        bound = {"hashes": [str(digest) for digest in hashes]}
        yield from profiles.store.scratch.rows(WITH_HASHES.format(identities=identities), bound)


def _with_mpids(
    profiles: Profiles, mpids: Collection[tuple[int, str]]
) -> Iterator[tuple[int, str, int]]:
    """Yield each MPID, its environment and its profile."""
    if mpids:
        bound = {"mpids": [number for number, _ in mpids]}
        statement = WITH_MPIDS.format(mpids=known_mpids(profiles.segments))
        for number, environment, profile in profiles.store.scratch.rows(statement, bound):
            yield number, ENVIRONMENT_NAME[environment], profile


def mpid_of(value: str) -> int | None:
    """Return an MPID as a number, None where the text is none."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None
