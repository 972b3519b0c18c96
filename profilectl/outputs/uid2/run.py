"""The enrichment from beginning to end: whom, what is asked, the answers, an import of them.

    audience -> due profiles -> one value each -> distinct hashes -> answers of the operator -> batches -> import

The store is open while people are chosen and while answers are imported, not while the operator is
asked. Answers are imported after so many requests, so that a run that is cut off has wasted few;
the next run asks for the others.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.audiences.actions import defined_audience, make_members
from profilectl.audiences.barred import out_of_all
from profilectl.audiences.refresh import people_of
from profilectl.codes import InputRefused, ProfilectlError, UsageError, sentence
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.uid2.operator import Uid2Operator
from profilectl.outputs.uid2.rule import (
    ANSWERS,
    ENRICHED_AT,
    FEED,
    KINDS,
    MOST_ITEMS,
    OLDER_THAN_DAYS,
    PARTNER_IDENTITY,
    PROTECTION,
    REFRESH_FROM,
    SOURCE,
)
from profilectl.outputs.uid2.rule_sql import batch_of, hashed, normalised
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import audience_of
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import held_as_text
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, folder_beside_or_elsewhere, scratch_beside
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore, choose_feed

NAME = "uid2"
"""What stands for the file of an import of answers."""
REQUESTS_AN_IMPORT = 10
LONGEST_NAME = 256
WAIT_S = 120.0
"""So long an import of answers waits for a busy store at least: what was asked for is not thrown
away lightly.
"""


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What is asked for.

    audience: whose members, None: everybody; of them those whom no answer reached within
    older_than_days (0: all). feed, partner_identity: where answers go.
    """

    audience: str | None = None
    older_than_days: int = OLDER_THAN_DAYS
    feed: str = FEED
    partner_identity: str = PARTNER_IDENTITY
    dry_run: bool = False
    now_ms: int | None = None
    wait_s: float = 0
    memory_limit: str | None = None
    progress: Callable[[str, int], None] = field(default=lambda step, rows: None)


@dataclass(slots=True)
class Uid2Outcome:
    """What was done, or with dry_run what would be asked.

    due: profiles of the audience that were not enriched lately; waiting: of them those whose UID is
    good for longer; nameless: those without a value that may be asked. emails, phones: distinct
    values to ask; unusable: identities of a kind that may not be asked. asked: profiles that an
    answer was had for, by status. imports: their numbers; dropped: answers that the import left
    out. requests: that the operator had, those that were made again too.
    """

    audience: str | None
    older_than_days: int
    feed: str
    partner_identity: str
    dry_run: bool
    due: int = 0
    waiting: int = 0
    nameless: int = 0
    emails: int = 0
    phones: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    imports: list[int] = field(default_factory=list)
    dropped: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as `uid2 run --json` prints it."""
        return {
            "audience": self.audience,
            "older_than_days": self.older_than_days,
            "feed": self.feed,
            "partner_identity": self.partner_identity,
            "dry_run": self.dry_run,
            "profiles": {
                "due": self.due,
                "waiting": self.waiting,
                "nameless": self.nameless,
                "asked": self.due - self.waiting - self.nameless,
            },
            "identities": {
                "emails": self.emails,
                "phones": self.phones,
                "unusable_emails": self.unusable["email"],
                "unusable_phones": self.unusable["phone"],
            },
            "requests": self.requests,
            "answers": {status: self.answers[status] for status in (*ANSWERS, "unknown")},
            "dropped": self.dropped,
            "imports": self.imports,
        }


def enrich(path: Path, wanted: Enrichment, operator: Callable[[], Uid2Operator]) -> Uid2Outcome:
    """Ask an operator for the UIDs of an audience and import what it answers; with dry_run only
    count.

    operator: makes the one that is asked, before the store is read; never called for a dry run.
    Raises InputRefused and UsageError for the audience, the feed and the credentials, Unfinished
    where the operator cannot be had: what was answered before is imported then.
    """
    if (
        not wanted.partner_identity.strip()
        or len(wanted.partner_identity) > LONGEST_NAME
        or not wanted.partner_identity.isprintable()
    ):
        raise UsageError(
            f"--partner-identity: a name has 1 to {LONGEST_NAME} characters",
            f"for example {PARTNER_IDENTITY}",
        )
    now_ms = wanted.now_ms if wanted.now_ms is not None else time.time_ns() // 1_000_000
    done = Uid2Outcome(
        wanted.audience,
        wanted.older_than_days,
        wanted.feed,
        wanted.partner_identity,
        wanted.dry_run,
    )
    who_is_asked = None if wanted.dry_run else operator()
    with scratch_beside(path, wanted.memory_limit) as scratch:
        with open_store(scratch, path, wait_s=wanted.wait_s, upgrade=not wanted.dry_run) as store:
            workspace = _choose(store, wanted, done, now_ms)
        if who_is_asked is not None and scratch.count("asked"):
            with contextlib.closing(who_is_asked):
                _Asking(scratch, path, wanted, done, who_is_asked, workspace, now_ms).run()
    return done


def _choose(store: OpenStore, wanted: Enrichment, done: Uid2Outcome, now_ms: int) -> str:
    """Make `chosen` (profile, mpid, environment, kind, hash) and `asked` (place, kind, hash), each
    hash once; return the workspace.
    """
    scratch = store.scratch
    audience = None if wanted.audience is None else defined_audience(store, wanted.audience)
    workspace = (
        audience.workspace if audience else profiles_of(store, now_ms=now_ms).workspace or ""
    )
    feed = choose_feed(store.feed(wanted.feed), wanted.feed, SOURCE, PROTECTION, None, workspace)
    if PROTECTIONS[feed.protection].known_user is Effect.PASS_BY:
        raise InputRefused(
            f"{feed.name}: {sentence(PROTECTIONS[feed.protection].code)}",
            f"profilectl feeds set {feed.name} --protection {PROTECTION}",
        )
    profiles = people_of(store, workspace, now_ms=now_ms)
    make_members(
        store,
        profiles,
        audience_of(
            "uid2",
            {"criteria": criteria(wanted.audience, wanted.older_than_days), "kind": "standard"},
        ),
        now_ms,
        "due",
    )
    done.due = scratch.count("due")
    _values(profiles, now_ms)
    done.nameless, done.waiting = scratch.row(
        "select count(*) filter (value is null), count(*) filter (waits) from valued"
    )
    done.unusable.update(
        dict(scratch.rows("select kind, count(*) from candidate where value is null group by kind"))
    )
    scratch.make(
        "chosen",
        f"select valued.profile, person.mpid, {environment_name('person.environment')} as environment, valued.kind, {hashed('valued.value')} as hash"
        " from valued join person on person.profile = valued.profile where valued.value is not null and not valued.waits",
    )
    scratch.make(
        "asked",
        "select row_number() over (order by kind, hash) as place, kind, hash from (select distinct kind, hash from chosen)",
    )
    counted = dict(scratch.rows("select kind, count(*) from asked group by kind"))
    done.emails, done.phones = counted.get("email", 0), counted.get("phone", 0)
    for name in ("candidate", "valued", "person"):  # what else is needed of them is in chosen
        scratch.drop(name)
    return workspace


def criteria(audience: str | None, older_than_days: int) -> str:
    """Return whom a run is about, as an expression (criteria/text.py)."""
    reached = " or ".join(f"{one} exists" for kind in KINDS.values() for one in kind.types)
    parts = [f"({reached})"]
    if audience is not None:
        parts.insert(0, f"audience {quote_text(audience)}")
    if older_than_days:
        parts.append(f"{ENRICHED_AT} not within {older_than_days} days")
    return " and ".join(parts)


def _values(profiles: Profiles, now_ms: int) -> None:
    """Make `candidate`, the identities of the due that may be of use, and `valued`, the one value
    of each of them that is asked (rule.asked) and whether it waits (rule.waits).
    """
    scratch = profiles.store.scratch
    scratch.make(
        "identity_row",
        f"select * from ({profiles.rows([], 'where profile in (select profile from due)')})",
    )
    parts = [
        f"select profile, arrival, {quote_text(kind.name)} as kind, {kind.rank} as rank, {-place} as place, {normalised(kind.name, f'i_{one}')} as value"
        f" from identity_row where i_{one} is not null"
        for kind in KINDS.values()
        for place, one in enumerate(kind.types)
        if one in profiles.identities
    ]
    nothing = "select 0::bigint as profile, 0::bigint as arrival, '' as kind, 0 as rank, 0 as place, ''::varchar as value where false"
    scratch.make("candidate", " union all ".join(parts) or nothing)
    scratch.drop("identity_row")
    refresh_from = f"try_cast({held_as_text('held')} as bigint)"
    newest = "arg_max({kind: kind, value: value, arrival: arrival}, (rank, arrival, place)) filter (value is not null)"
    scratch.make(
        "valued",
        "select due.profile, best.kind, best.value, coalesce(answered.refresh_ms > $now and best.arrival < answered.arrival, false) as waits"
        f" from due left join (select profile, unnest({newest}) from candidate group by profile having count(value) > 0) as best on best.profile = due.profile"
        f" left join (select profile, arrival, {refresh_from} as refresh_ms from ({profiles.newest('where profile in (select profile from due)')})"
        f" where key = {quote_text(REFRESH_FROM)}) as answered on answered.profile = due.profile",
        {"now": now_ms},
    )


class _Asking:
    """The part of a run that goes outwards and comes back."""

    def __init__(
        self,
        scratch: Scratch,
        path: Path,
        wanted: Enrichment,
        done: Uid2Outcome,
        operator: Uid2Operator,
        workspace: str,
        now_ms: int,
    ) -> None:
        self.scratch, self.path, self.wanted, self.done = scratch, path, wanted, done
        self.operator, self.workspace, self.now_ms = operator, workspace, now_ms

    def run(self) -> None:
        """Ask for all hashes; import the answers as they come."""
        total = self.scratch.count("asked")
        size = MOST_ITEMS * REQUESTS_AN_IMPORT
        for first in range(0, total, size):
            if first:
                self._leave_out()
            failed = self._ask(first, min(first + size, total))
            self._import()
            self.done.requests = self.operator.requests
            if failed is not None:
                answered = sum(self.done.answers.values())
                before = (
                    f"; {answered:,} profiles were answered before, and are in the store"
                    if self.done.imports
                    else ""
                )
                raise type(failed)(failed.message + before, failed.hint)

    def _leave_out(self) -> None:
        """Take out whoever has opted out or was erased since the run began: a long run takes hours
        (domain.md 14).
        """
        with open_store(self.scratch, self.path, wait_s=max(self.wanted.wait_s, WAIT_S)) as store:
            profiles = profiles_of(store, every=True, now_ms=self.now_ms)
            there = f"select profile from ({known_mpids(profiles.segments)})"
            self.scratch.make(
                "gone",
                f"{out_of_all(profiles, 'chosen', self.now_ms)} union select profile from chosen where profile not in ({there})",
            )
        self.scratch.run("delete from chosen where profile in (select profile from gone)")
        self.scratch.run("delete from asked where hash not in (select hash from chosen)")

    def _ask(self, first: int, last: int) -> ProfilectlError | None:
        """Make `answer` (hash, status, uid, refresh_from_s) of the hashes from a place on; return
        what stopped it.
        """
        columns = [
            ("hash", "VARCHAR"),
            ("status", "VARCHAR"),
            ("uid", "VARCHAR"),
            ("refresh_from_s", "BIGINT"),
        ]
        self.scratch.load("answer", columns, [])
        for place in range(first, last, MOST_ITEMS):
            rows = self.scratch.rows(
                f"select kind, hash from asked where place > {place} and place <= {min(place + MOST_ITEMS, last)} order by place"
            )
            if not rows:
                continue
            self.wanted.progress("asking", place)
            try:
                said = self.operator.ask(
                    [one for kind, one in rows if kind == "email"],
                    [one for kind, one in rows if kind == "phone"],
                )
            except ProfilectlError as error:
                return error
            self.scratch.append(
                "answer",
                columns,
                [(one.hash, one.status, one.uid, one.refresh_from_s) for one in said],
            )
        return None

    def _import(self) -> None:
        """Import what was answered: a batch for each profile."""
        self.scratch.make(
            "answered",
            "select chosen.profile, mpid, environment, status, uid, refresh_from_s from answer join chosen on chosen.hash = answer.hash",
        )
        self.done.answers.update(
            dict(self.scratch.rows("select status, count(*) from answered group by status"))
        )
        known = ", ".join(map(quote_text, ANSWERS))
        line = batch_of(self.wanted.partner_identity, self.now_ms)
        (content,) = self.scratch.row(
            f"select string_agg({line}, chr(10) order by profile) from answered where status in ({known})"
        )
        if content is None:
            return
        with folder_beside_or_elsewhere(self.path.absolute()) as folder:
            report = import_files(self.path, ImportRequest(
                [NAME], self.wanted.feed, protection=PROTECTION, source=SOURCE, format="jsonl", content=content + "\n", again=True,
                rejects=str(folder / "rejects.jsonl"), workspace=self.workspace, now_ms=self.now_ms, wait_s=max(self.wanted.wait_s, WAIT_S),
                memory_limit=self.wanted.memory_limit, progress=self.wanted.progress,
            ))  # fmt: skip
        self.done.dropped += report.counts.rows["dropped"] + report.counts.rows["rejected"]
        if report.number is not None:
            self.done.imports.append(report.number)
