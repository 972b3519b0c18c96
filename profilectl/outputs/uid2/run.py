"""The enrichment from beginning to end: the people, what is asked, the answers, an import of them.

    audience -> due profiles -> one value each -> distinct hashes -> answers of the operator
    -> batches -> import

The store is open while people are chosen and while answers are imported, not while the operator is
asked. Answers are imported after every REQUESTS_AN_IMPORT requests, so that a run that is cut off
loses few of them; the next run asks for the rest.

    due           profile                                  who was not enriched lately
    candidate     profile, arrival, kind, rank, place, value   an identity that may be of use
    valued        profile, kind, value, waits              the one value of each that is asked
    chosen        profile, mpid, environment, kind, hash   ... of those that do not wait
    asked         place, kind, hash                        each hash once
    answer        hash, status, uid, refresh_from_s        what the operator says of it
    answered      profile, mpid, environment, ...          ... for each profile
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.audiences.actions import defined_audience, make_members
from profilectl.audiences.barred import out_of_all
from profilectl.audiences.people import people_of
from profilectl.codes import InputRefused, ProfilectlError, UsageError, sentence
from profilectl.files import progress as at_work
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
    Uid2Kind,
)
from profilectl.outputs.uid2.rule_sql import batch_of, hashed, normalised
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import audience_of
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.sql.held_values import held_as_text
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, folder_beside_or_elsewhere, scratch_beside
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore, choose_feed

NAME = "uid2"
"""The name of the file of an import of answers: there is none."""
REQUESTS_AN_IMPORT = 10
LONGEST_NAME = 256
WAIT_S = 120.0
"""The least time that an import of answers waits for a busy store: else they were asked in vain."""
ANSWER_COLUMNS = (
    ("hash", "VARCHAR"),
    ("status", "VARCHAR"),
    ("uid", "VARCHAR"),
    ("refresh_from_s", "BIGINT"),
)

# The profiles that are due.
DUE_PROFILES = "where profile in (select profile from due)"
IDENTITY_ROW = "select * from identity_of_row"
# The identities of a type that the due have. The columns are kind, rank, place, the normalised
# value, and the identity itself.
CANDIDATE = """
select * exclude (identity)
from (
    select profile, arrival, {columns}
    from identity_row
)
where identity is not null
"""
# Where the store has no identity of a kind.
NO_CANDIDATE = """
select 0::bigint as profile, 0::bigint as arrival, '' as kind, 0 as rank, 0 as place,
       ''::varchar as value
where false
"""
# The one value of each due profile that is asked (rule.asked), and whether it waits (rule.waits).
# A profile without a usable value stays, with null, to be counted. The column is the time from when
# on the stored UID may be another one; the other hole is the SELECT of the newest values.
VALUED = """
select due.profile, best.kind, best.value,
       coalesce(answered.refresh_ms > $now_ms and best.arrival < answered.arrival, false) as waits
from due
left join (
    select profile,
           unnest(
               arg_max(
                   struct_pack(kind := kind, value := value, arrival := arrival),
                   (rank, arrival, place)
               ) filter (value is not null)
           )
    from candidate
    group by profile
    having count(value) > 0
) as best on best.profile = due.profile
left join (
    select profile, arrival, {columns}
    from ({newest})
    where key = $refresh_from
) as answered on answered.profile = due.profile
"""
NAMELESS_AND_WAITING = """
select count(*) filter (value is null), count(*) filter (waits)
from valued
"""
# How many identities of a kind may not be asked.
UNUSABLE = """
select kind, count(*)
from candidate
where value is null
group by kind
"""
# The profiles that are asked for. The columns are the name of the environment and the hash.
CHOSEN = """
select valued.profile, person.mpid, valued.kind, {columns}
from valued
join person on person.profile = valued.profile
where valued.value is not null and not valued.waits
"""
# Each hash once: several people may share a phone.
ASKED_HASHES = """
select row_number() over (order by kind, hash) as place, kind, hash
from (select distinct kind, hash from chosen)
"""
ASKED_BY_KIND = "select kind, count(*) from asked group by kind"
# The hashes of one request.
ASKED_BETWEEN = """
select kind, hash
from asked
where place > $after and place <= $until
order by place
"""
# The people who have opted out or were erased since the run began.
LOST = """
select profile from barred_profile
union
select profile
from chosen
where profile not in (select profile from every_profile)
"""
# They are asked for no more,
FORGET_LOST = "delete from chosen where profile in (select profile from lost)"
# ... nor is a hash that nobody else has.
FORGET_HASHES = "delete from asked where hash not in (select hash from chosen)"
# The answer of each profile that was asked for.
ANSWERED = """
select chosen.profile, mpid, environment, status, uid, refresh_from_s
from answer
join chosen on chosen.hash = answer.hash
"""
ANSWERED_BY_STATUS = "select status, count(*) from answered group by status"
# A line for each batch. The column is the JSON of a batch (rule_sql.batch_of).
LINES = """
select string_agg(line, chr(10) order by profile)
from (
    select profile, {columns}
    from answered
    where list_contains($statuses::varchar[], status)
)
"""


@dataclass(frozen=True, slots=True)
class Enrichment:
    """Who is enriched, and where the answers go."""

    audience: str | None = None
    """The audience whose members are; None: everybody."""
    older_than_days: int = OLDER_THAN_DAYS
    """Only those whom no answer reached within these days; 0: all."""
    feed: str = FEED
    """The feed of the answers."""
    partner_identity: str = PARTNER_IDENTITY
    """The partner identity that holds the UID."""
    dry_run: bool = False
    """Whether what would be asked is only counted."""
    now_ms: int | None = None
    """The time of the run; None: by the clock."""
    wait_s: float = 0
    """How long to wait for a busy store."""
    memory_limit: str | None = None
    """The memory limit of DuckDB."""


@dataclass(slots=True)
class Uid2Outcome:
    """What was done, or with dry_run what would be asked."""

    audience: str | None
    """As in the Enrichment."""
    older_than_days: int
    """As in the Enrichment."""
    feed: str
    """As in the Enrichment."""
    partner_identity: str
    """As in the Enrichment."""
    dry_run: bool
    """As in the Enrichment."""
    due: int = 0
    """How many profiles of the audience were not enriched lately."""
    waiting: int = 0
    """How many of them have a UID that is good for longer."""
    nameless: int = 0
    """How many of them have no value that may be asked."""
    emails: int = 0
    """How many distinct e-mails there are to ask."""
    phones: int = 0
    """How many distinct phones there are to ask."""
    unusable: Counter[str] = field(default_factory=Counter)
    """How many identities of a kind may not be asked."""
    requests: int = 0
    """How many requests the operator had, those that were made again too."""
    answers: Counter[str] = field(default_factory=Counter)
    """How many profiles got an answer, by status."""
    imports: list[int] = field(default_factory=list)
    """The numbers of the imports of answers."""
    dropped: int = 0
    """How many answers the imports left out."""

    def as_json(self) -> dict[str, object]:
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


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that asks an operator."""

    enrichment: Enrichment
    """Who is enriched."""
    scratch: Scratch
    """Where `chosen` and `asked` are."""
    path: Path
    """The store."""
    operator: Uid2Operator
    """Who is asked."""
    workspace: str
    """The workspace that the answers come into."""
    now_ms: int
    """The time of the run."""

    @property
    def wait_s(self) -> float:
        """How long it waits for a busy store once it has asked."""
        return max(self.enrichment.wait_s, WAIT_S)


def enrich(path: Path, enrichment: Enrichment, operator: Callable[[], Uid2Operator]) -> Uid2Outcome:
    """Ask an operator for the UIDs of an audience, and import its answers.

    With dry_run only count. operator: makes the one that is asked, before the store is read; never
    called for a dry run. Raises InputRefused and UsageError for the audience, the feed and the
    credentials, Unfinished where the operator gives no answer; earlier answers are imported then.
    """
    _check_partner_identity(enrichment.partner_identity)
    dry_run = enrichment.dry_run
    now_ms = enrichment.now_ms if enrichment.now_ms is not None else time.time_ns() // 1_000_000
    outcome = Uid2Outcome(
        audience=enrichment.audience,
        older_than_days=enrichment.older_than_days,
        feed=enrichment.feed,
        partner_identity=enrichment.partner_identity,
        dry_run=dry_run,
    )
    # Credentials that are missing are said before the store is read.
    opened = None if dry_run else operator()
    with scratch_beside(path, enrichment.memory_limit) as scratch:
        with open_store(scratch, path, wait_s=enrichment.wait_s, upgrade=not dry_run) as store:
            workspace = _choose(store, enrichment, outcome, now_ms=now_ms)
        if opened is not None and scratch.count("asked"):
            with contextlib.closing(opened):
                run = _Run(
                    enrichment=enrichment,
                    scratch=scratch,
                    path=path,
                    operator=opened,
                    workspace=workspace,
                    now_ms=now_ms,
                )
                _ask_and_import(run, outcome)
    return outcome


def _check_partner_identity(name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(
            f"--partner-identity: a name has 1 to {LONGEST_NAME} characters",
            f"for example {PARTNER_IDENTITY}",
        )


def _choose(store: OpenStore, enrichment: Enrichment, outcome: Uid2Outcome, *, now_ms: int) -> str:
    """Make `chosen` and `asked`, count them, and return the workspace."""
    scratch = store.scratch
    workspace = _workspace_of(store, enrichment.audience, now_ms)
    _check_feed(store, enrichment.feed, workspace)
    profiles = people_of(store, workspace, now_ms=now_ms)
    expression = criteria(enrichment.audience, enrichment.older_than_days)
    due = audience_of("uid2", {"criteria": expression, "kind": "standard"})
    make_members(store, profiles, due, at_ms=now_ms, into="due")
    outcome.due = scratch.count("due")
    _make_valued(profiles, now_ms)
    outcome.nameless, outcome.waiting = scratch.row(NAMELESS_AND_WAITING)
    outcome.unusable.update(dict(scratch.rows(UNUSABLE)))
    environment, hash_ = environment_name("person.environment"), hashed("valued.value")
    columns = f"{environment} as environment, {hash_} as hash"
    scratch.make("chosen", CHOSEN.format(columns=columns))
    scratch.make("asked", ASKED_HASHES)
    counts = dict(scratch.rows(ASKED_BY_KIND))
    outcome.emails, outcome.phones = counts.get("email", 0), counts.get("phone", 0)
    for name in ("candidate", "valued", "person"):  # `chosen` has all that is still needed of them
        scratch.drop(name)
    return workspace


def _workspace_of(store: OpenStore, audience: str | None, now_ms: int) -> str:
    if audience is not None:
        return defined_audience(store, audience).workspace
    return profiles_of(store, now_ms=now_ms).workspace or ""


def _check_feed(store: OpenStore, name: str, workspace: str) -> None:
    """Refuse a feed that answers cannot go to. Raises InputRefused."""
    feed = choose_feed(
        store.feed(name), name, SOURCE, protection=PROTECTION, partner=None, workspace=workspace
    )
    if PROTECTIONS[feed.protection].known_user is Effect.PASS_BY:
        raise InputRefused(
            f"{feed.name}: {sentence(PROTECTIONS[feed.protection].code)}",
            f"profilectl feeds set {feed.name} --protection {PROTECTION}",
        )


def criteria(audience: str | None, older_than_days: int) -> str:
    """Return the criteria of the people of a run, as text (rules/criteria/text.py)."""
    reached = " or ".join(f"{type_} exists" for kind in KINDS.values() for type_ in kind.types)
    parts = [f"({reached})"]
    if audience is not None:
        parts.insert(0, f"audience {quote_text(audience)}")
    if older_than_days:
        parts.append(f"{ENRICHED_AT} not within {older_than_days} days")
    return " and ".join(parts)


def _make_valued(profiles: Profiles, now_ms: int) -> None:
    """Make `candidate` and `valued`."""
    scratch = profiles.store.scratch
    scratch.make("identity_of_row", profiles.rows([], DUE_PROFILES), keep=False)
    scratch.make("identity_row", IDENTITY_ROW)
    candidates = [
        CANDIDATE.format(columns=_candidate_columns(kind, type_))
        for kind in KINDS.values()
        for type_ in kind.types
        if type_ in profiles.identities
    ]
    scratch.make("candidate", " union all ".join(candidates) or NO_CANDIDATE)
    for name in ("identity_of_row", "identity_row"):
        scratch.drop(name)
    refresh_ms = f"try_cast({held_as_text('held')} as bigint) as refresh_ms"
    bound = {"now_ms": now_ms, "refresh_from": REFRESH_FROM}
    valued = VALUED.format(columns=refresh_ms, newest=profiles.newest(DUE_PROFILES))
    scratch.make("valued", valued, bound)


def _candidate_columns(kind: Uid2Kind, type_: str) -> str:
    place = -kind.types.index(type_)
    value = normalised(kind.name, f"i_{type_}")
    return (
        f"{quote_text(kind.name)} as kind, {kind.rank} as rank, {place} as place,"
        f" {value} as value, i_{type_} as identity"
    )


def _ask_and_import(run: _Run, outcome: Uid2Outcome) -> None:
    """Ask for all hashes; import the answers as they come."""
    total = run.scratch.count("asked")
    at_work.step("asking")
    size = MOST_ITEMS * REQUESTS_AN_IMPORT
    for begin in range(0, total, size):
        if begin:
            _leave_out_lost(run)
        failure = _ask(run, begin, min(begin + size, total), total=total)
        _import_answers(run, outcome)
        outcome.requests = run.operator.requests
        if failure is not None:
            answered = sum(outcome.answers.values())
            before = (
                f"; {answered:,} profiles were answered before, and are in the store"
                if outcome.imports
                else ""
            )
            raise type(failure)(failure.message + before, failure.hint)


def _leave_out_lost(run: _Run) -> None:
    """Take out the people who have opted out or were erased since the run began.

    A long run takes hours, and they must not be asked for any more (domain.md 14).
    """
    scratch = run.scratch
    with open_store(scratch, run.path, wait_s=run.wait_s) as store:
        profiles = profiles_of(store, every=True, now_ms=run.now_ms)
        scratch.make("every_profile", known_mpids(profiles.segments), keep=False)
        scratch.make("barred_profile", out_of_all(profiles, "chosen", run.now_ms), keep=False)
        scratch.make("lost", LOST)
    scratch.run(FORGET_LOST)
    scratch.run(FORGET_HASHES)


def _ask(run: _Run, begin: int, end: int, *, total: int) -> ProfilectlError | None:
    """Make `answer` of the hashes from one place to another; return what stopped it."""
    scratch = run.scratch
    scratch.load("answer", ANSWER_COLUMNS, [])
    for place in range(begin, end, MOST_ITEMS):
        until = min(place + MOST_ITEMS, end)
        rows = scratch.rows(ASKED_BETWEEN, {"after": place, "until": until})
        if not rows:
            continue
        at_work.rows(place, total)
        try:
            answers = run.operator.ask(
                [hash_ for kind, hash_ in rows if kind == "email"],
                [hash_ for kind, hash_ in rows if kind == "phone"],
            )
        except ProfilectlError as error:
            return error
        scratch.append(
            "answer",
            ANSWER_COLUMNS,
            [(answer.hash, answer.status, answer.uid, answer.refresh_from_s) for answer in answers],
        )
    return None


def _import_answers(run: _Run, outcome: Uid2Outcome) -> None:
    """Import what was answered: a batch for each profile."""
    scratch = run.scratch
    scratch.make("answered", ANSWERED)
    outcome.answers.update(dict(scratch.rows(ANSWERED_BY_STATUS)))
    line = batch_of(run.enrichment.partner_identity, run.now_ms)
    (content,) = scratch.row(LINES.format(columns=f"{line} as line"), {"statuses": list(ANSWERS)})
    if content is None:
        return
    with folder_beside_or_elsewhere(run.path.absolute()) as folder:
        request = ImportRequest(
            paths=[NAME],
            feed=run.enrichment.feed,
            protection=PROTECTION,
            source=SOURCE,
            format="jsonl",
            content=content + "\n",
            again=True,
            rejects=str(folder / "rejects.jsonl"),
            workspace=run.workspace,
            now_ms=run.now_ms,
            wait_s=run.wait_s,
            memory_limit=run.enrichment.memory_limit,
        )
        report = import_files(run.path, request)
    outcome.dropped += report.counts.rows["dropped"] + report.counts.rows["rejected"]
    if report.number is not None:
        outcome.imports.append(report.number)
