"""The desk answers questions, and those that arrive together it answers together.

To find one profile, DuckDB plans as long as to find fifty. So questions wait while all readers are
busy, and the next free reader takes them all. No question waits for a clock, and under load each
costs a fraction.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from profilectl.audiences.one_person import standings_of
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.retention import Stage
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.server.snapshot import READERS, Reader, Snapshots
from profilectl.store.segments import holders_of_numbers, known_identities

TOGETHER = 64
"""The most questions that are answered together, so that none waits for long."""
CATCH_UP_S = 5.0
"""The seconds that a question waits to be answered with what this server itself has imported."""
INTERRUPT_S = 0.05
"""The seconds between two interrupts of a thread that goes on."""
FINISH_S = 5.0
"""The seconds that interrupted threads have when the server ends."""
T = TypeVar("T")
# The profiles that have some identities, by the hash of the identity.
WITH_HASHES = """
select hash, profile
from ({identities})
where hash in (select unnest($hashes::uhugeint[]))
"""
# The profiles that have some MPIDs, in both environments.
WITH_MPIDS = """
select mpid, environment, profile
from ({mpids})
where mpid in (select unnest($mpids::bigint[]))
"""


@dataclass(frozen=True, slots=True)
class Question:
    """The question which profiles have an identity."""

    workspace: str
    """The name of the workspace."""
    kind: str
    """An identity type, "mpid" or "any"."""
    value: str
    """The identity as the client sent it."""
    environment: str | None = None
    """The environment; None: both."""
    placed: bool = False
    """Whether the answer has the file and line of every value."""


class MpidHolder(NamedTuple):
    """A profile that has an MPID."""

    mpid: int
    """The MPID."""
    environment: str
    """The name of the environment in which it has the MPID."""
    profile: int
    """The profile's number in the store."""


class Desk:
    """Answers questions from the newest snapshot.

    All methods are called in the thread of the event loop.

    A reader is lent to a thread and comes back when the thread ends, also if nobody waits for the
    answer any more. Such a thread is interrupted again and again, because an interrupt between two
    of its statements has no effect.
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
        """Answer many questions from one snapshot, in their order."""
        places = range(0, len(questions), TOGETHER)
        parts = [questions[place : place + TOGETHER] for place in places]
        return await self.read(
            lambda reader: [answers for part in parts for answers in answer(reader, part)]
        )

    async def caught_up(self, since_ms: int) -> None:
        """Wait until answers have everything that was in the store at a time.

        since_ms: that time, in milliseconds since 1970. Waits for CATCH_UP_S at most.
        """
        until = time.monotonic() + CATCH_UP_S
        # A copy takes moments, so polling is good enough.
        while self.snapshots.answered_ms < since_ms and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Return the result of some other work with a reader, done in a thread."""
        await self._reading.acquire()
        reading = self._begin(work)
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self._interrupt(reading)
            raise

    def _begin(self, work: Callable[[Reader], T]) -> asyncio.Future[T]:
        """Begin work with a reader in a thread. The caller has acquired `_reading`."""
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
                reading.exception()  # marks it as read: perhaps nobody waits for it

        reading.add_done_callback(give_back)
        return reading

    def _interrupt(self, reading: asyncio.Future[Any]) -> None:
        """Interrupt the work of a thread, again and again until it ends."""
        if not reading.done():
            self._lent[reading].scratch.connection.interrupt()
            asyncio.get_running_loop().call_later(INTERRUPT_S, self._interrupt, reading)

    async def _answer(self) -> None:
        """Answer waiting questions until there are none."""
        while self._waiting:
            await self._reading.acquire()
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            waiting = [(question, future) for question, future in batch if not future.done()]
            if not waiting:
                self._reading.release()
                continue
            try:
                answers = await self._answers(waiting)
            except Exception as error:  # noqa: BLE001 - raised again where the question waits
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
        """Answer questions with a free reader; stop when nobody waits for any of them."""
        questions = [question for question, _ in waiting]
        reading = self._begin(lambda reader: answer(reader, questions))

        def look(_: object) -> None:
            if all(future.done() for _, future in waiting):
                self._interrupt(reading)

        for _, future in waiting:
            future.add_done_callback(look)
        return await asyncio.shield(reading)

    async def finish(self) -> None:
        """Interrupt all work when the server ends, and wait until it has stopped."""
        lent = list(self._lent)
        for reading in lent:
            self._interrupt(reading)
        if lent:
            await asyncio.wait(lent, timeout=FINISH_S)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)


def answer(
    reader: Reader, questions: Sequence[Question], now_ms: int | None = None
) -> list[list[Activity]]:
    """Return the profiles that each question finds, in the order of the questions.

    Left out are profiles beyond their lifetime and profiles that the workspace has not seen.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    answers: list[list[Activity]] = [[] for _ in questions]
    by_workspace: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        by_workspace.setdefault(question.workspace, []).append(place)
    for workspace, places in by_workspace.items():
        if workspace in reader.profiles:
            of_workspace = [questions[place] for place in places]
            answered = _answer_in(reader, reader.profiles[workspace], of_workspace, at_ms=at_ms)
            for place, people in zip(places, answered, strict=True):
                answers[place] = people
    return answers


def _answer_in(
    reader: Reader, profiles: Profiles, questions: Sequence[Question], *, at_ms: int
) -> list[list[Activity]]:
    """Return the profiles that each question about one workspace finds, in their order."""
    holders = _holders(profiles, questions)
    everybody = sorted({profile for listed in holders for profile in listed})
    placed = any(question.placed for question in questions)
    people = (
        {activity.profile: activity for activity in activities(profiles, everybody, placed=placed)}
        if everybody
        else {}
    )
    standings = standings_of(
        profiles, list(people.values()), now_ms=at_ms, defined=reader.definitions
    )
    for activity, standing in zip(people.values(), standings, strict=True):
        activity.standing = standing
    return [
        [
            people[profile]
            for profile in listed
            if profile in people
            and question.environment in (None, people[profile].environment)
            and people[profile].touches
            and _is_live(reader, profiles, people[profile], now_ms=at_ms)
        ]
        for question, listed in zip(questions, holders, strict=True)
    ]


def _is_live(reader: Reader, profiles: Profiles, activity: Activity, *, now_ms: int) -> bool:
    """Return whether a profile is within its lifetime (domain.md 13)."""
    # An alias counts as an update of its destination once it takes effect.
    carried = profiles.carried(activity.profile)
    last_ms = max(activity.last_seen_ms, carried.due_ms if carried else activity.last_seen_ms)
    return reader.clocks.stage(last_ms, now_ms) is Stage.LIVE


def _holders(profiles: Profiles, questions: Sequence[Question]) -> list[list[int]]:
    """Return the profiles that have the identity of each question, oldest first.

    One statement finds the identities of all questions, and one their MPIDs.
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
                digest = hash_of(secret, environment, kind=kind, key=key)
                hashes.setdefault(digest, []).append(place)
            elif (number := mpid_of(question.value)) is not None:
                mpids.setdefault((number, environment), []).append(place)
    holders: list[set[int]] = [set() for _ in questions]
    for digest, profile in _with_hashes(profiles, hashes):
        for place in hashes[digest]:
            holders[place].add(profile)
    for holder in _with_mpids(profiles, mpids):
        for place in mpids.get((holder.mpid, holder.environment), ()):
            holders[place].add(holder.profile)
    return [sorted(listed) for listed in holders]


def _with_hashes(profiles: Profiles, hashes: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the hash of each identity with a profile that has it."""
    if hashes:
        identities = known_identities(profiles.segments, removals=profiles.removals)
        bound = {"hashes": [str(digest) for digest in hashes]}
        yield from profiles.store.scratch.rows(WITH_HASHES.format(identities=identities), bound)


def _with_mpids(profiles: Profiles, mpids: Collection[tuple[int, str]]) -> Iterator[MpidHolder]:
    """Yield the profiles that have the MPIDs, perhaps in another environment."""
    if mpids:
        holders = holders_of_numbers(profiles.segments, {number for number, _ in mpids})
        for number, environment, profile in profiles.store.scratch.rows(holders):
            yield MpidHolder(number, ENVIRONMENT_NAME[environment], profile)


def mpid_of(value: str) -> int | None:
    """Return the MPID in a text as a number; None if the text is no MPID."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None
