"""What to do next: advice from the counts of an import, each piece with a command that works.

The rules are the table RULES. Advice names no value that the report does not have already, and it
is not remembered: the history keeps numbers, and nobody's values.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import CODES, CodeEffect
from profilectl.importing.answers.trace import example_rows
from profilectl.importing.content import reading_afterwards
from profilectl.importing.request import ImportJob, ImportRequest
from profilectl.importing.sharing import SHARED_BY_MANY
from profilectl.rules.counts import NO_REJECTS, Advice, ImportReport, SharedIdentity, names_of
from profilectl.rules.identity import NAME, STRATEGIES, display, looks_like_nothing, star_of
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.settings import settings_from

MOST_ADVICE = 5
"""The most pieces of advice of one import."""
KEPT_APART_SHARE = 0.05
"""From which share of its rows on an import has many that were kept apart (PROTECTED_MATCH)."""
STORE_NAME = "profiles.duckdb"
"""The store of a command that names none."""
PAGE = "docs/strategies.md"
"""The page about the strategies."""

# By which types of identities the rows that were kept apart match somebody, the most frequent
# first. The first row that has a value is among them, so the figures are no more than an order.
KEPT_APART_BY = """
select type
from sharing_claim
where seq in (select seq from warning where code = 'PROTECTED_MATCH')
  and type in (select type from lookup_type)
  and (hash in (select hash from shared_value) or hash in (select hash from identity_match))
group by type
order by count(*) desc, type
"""
FIRST_KEPT_APART = """
select seq, code
from warning
where code = 'PROTECTED_MATCH'
order by seq
limit 1
"""


class KeptApart(NamedTuple):
    """Rows that were kept apart from somebody by a login or immutable identity."""

    type: str
    """The type of the identity by which most of them match."""
    row: str
    """The first of them, as FILE:LINE."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What advice rests on, beside the report."""

    request: ImportRequest
    """What the import was asked to do."""
    strategy: str = "default"
    """The strategy in force."""
    placeholders_add: tuple[str, ...] = ()
    """The placeholders that the configuration adds."""
    kept_apart: KeptApart | None = None
    """What there is to say of many rows with PROTECTED_MATCH."""
    next_final: int | None = None
    """The import that the next one lays together with others; None: it lays none together."""
    keep: int = 0
    """How many of the last imports keep tables of their own (history.keep)."""
    unread: tuple[str, ...] = ()
    """The columns of bytes of the files, which were left out."""
    before: tuple[str, ...] = ("profilectl",)
    """The beginning of a command: the program, the store and the workspace."""
    registers: bool = False
    """Whether the import registered its feed, with its source, partner and protection."""

    def command(self, *words: str) -> str:
        """Return a command as it is typed into a shell."""
        return shlex.join([*self.before, *words])

    def again(self, files: Sequence[str], more: Sequence[str] = ()) -> str:
        """Return the command that reads files with the options of the import."""
        words = [
            "import",
            *map(_plain, files),
            *options_of(self.request, registers=self.registers),
            *more,
        ]
        return self.command(*words)


_VALUES: tuple[tuple[str, str], ...] = (
    ("source", "--source"),
    ("partner", "--partner"),
    ("protection", "--protection"),
    ("format", "--format"),
    ("manifest", "--manifest"),
    ("delimiter", "--delimiter"),
    ("encoding", "--encoding"),
    ("quote", "--quote"),
    ("escape", "--escape"),
    ("skip_lines", "--skip-lines"),
    ("empty", "--empty"),
    ("ragged", "--ragged"),
    ("unknown", "--unknown"),
    ("encoding_errors", "--encoding-errors"),
    ("max_unpacked", "--max-unpacked"),
    ("event", "--event"),
    ("environment", "--environment"),
)
_SWITCHES: tuple[tuple[str, str], ...] = (
    ("path_columns", "--path-columns"),
    ("binary_as_text", "--binary-as-text"),
    ("allow_spoiled", "--allow-spoiled"),
)
OF_NEW_FEED = frozenset(("source", "partner", "protection"))
"""The options that a feed gets with its first import, and keeps."""


def options_of(request: ImportRequest, *, registers: bool = False) -> list[str]:
    """Return the options that say how a request reads its files, as they are typed.

    What the feed remembers once the import is made is left out; a value that differs from it is
    there, also where it is the usual one. registers: whether the import registered the feed.
    """
    usual, of_feed = ImportRequest([], ""), reading_afterwards(request)
    words = [f"--feed={request.feed}"] if request.feed[:1] == "-" else ["--feed", request.feed]
    for name, option in _VALUES:
        value = getattr(request, name)
        if registers and name in OF_NEW_FEED:
            continue
        if name == "manifest" and name in of_feed and value is not None:
            value = str(Path(value).absolute())
        if value is not None and value != of_feed.get(name, getattr(usual, name)):
            words.append(f"{option}={value}")
    remembered_map = of_feed.get("map", {})
    assert isinstance(remembered_map, Mapping)
    same = {f"{column}={target}" for column, target in remembered_map.items()}
    words += [f"--map={option}" for option in request.mapped if option not in same]
    if list(request.nulls) != of_feed.get("null", []):
        words += [f"--null={text}" for text in request.nulls]
    words += [
        option
        for name, option in _SWITCHES
        if getattr(request, name) and not of_feed.get(name, False)
    ]
    return words


def _plain(path: str) -> str:
    """Return a path that is not taken for an option."""
    return f"./{path}" if path[:1] == "-" and path != "-" else path


def _kept_apart(report: ImportReport, facts: Facts) -> Advice | None:
    """Say which strategy would join rows that match somebody who is protected from them."""
    if facts.kept_apart is None:
        return None
    kind, row = facts.kept_apart
    joining = joining_strategies(kind, facts.strategy)
    if not joining:
        return None
    number, read = report.counts.codes["PROTECTED_MATCH"], report.counts.rows["read"]
    is_single = number == 1
    were = "would be" if report.dry_run else "was" if is_single else "were"
    names = " or ".join(filter(None, [", ".join(joining[:-1]), joining[-1]]))
    text = (
        f"{_rows(number)} of {read:,} match{'es' if is_single else ''} somebody by {kind} and"
        f" {were} kept apart: the strategy {names} joins such rows ({PAGE})"
    )
    if report.dry_run:
        setting = f"identity.strategy={json.dumps(joining[0])}"
        return Advice("STRATEGY", text, facts.command("config", "set", setting))
    end = ("--", row) if row[:1] == "-" else (row,)
    return Advice("STRATEGY", text, facts.command("explain", "row", *end))


def joining_strategies(kind: str, strategy: str) -> list[str]:
    """Return the strategies that join people by an identity type, other than the one in force.

    One that protects nobody joins by every type; one that looks up by login identities alone joins
    by these.
    """
    return [
        name
        for name, rules in STRATEGIES.items()
        if name != strategy and (not rules.login or (rules.login_decides and kind in rules.login))
    ]


def _shared(report: ImportReport, facts: Facts) -> Advice | None:
    """Say how an identity that many rows share becomes a placeholder."""
    candidates = [
        identity
        for identity in report.shared
        # A star at an end is any text in a placeholder, and one in the middle is refused.
        if identity.rows >= SHARED_BY_MANY and star_of(display(identity.value)) is None
    ]
    if not candidates:
        return None
    widest = max(candidates, key=_doubt)
    again = "" if report.dry_run else ", undo the import and import again"
    text = (
        f"{_rows(widest.rows)} share the {widest.type} {widest.value}: if it is nobody's own,"
        f" make it a placeholder{again}"
    )
    values = [*facts.placeholders_add, display(widest.value)]
    listed = json.dumps(list(dict.fromkeys(values)), ensure_ascii=False)
    # DEL is the one control character that JSON leaves as it is and TOML does not take.
    setting = "identity.placeholders_add=" + listed.replace("\x7f", "\\u007f")
    return Advice("SHARED_IDENTITY", text, facts.command("config", "set", setting))


class _Doubt(NamedTuple):
    """How much speaks for it that an identity is nobody's: more is greater."""

    looks_so: bool
    """Whether it looks like a mark of nothing."""
    is_no_number: bool
    """Whether it is no customer number: what has one often is most often one customer."""
    rows: int
    """How many rows have it."""


def _doubt(identity: SharedIdentity) -> _Doubt:
    return _Doubt(
        looks_like_nothing(identity.type, identity.value),
        identity.type != "customer_id",
        identity.rows,
    )


def _rejects(report: ImportReport, facts: Facts) -> Advice | None:
    """Say how rejected rows are mended and imported."""
    rejected, request = report.counts.rows["rejected"], facts.request
    if not rejected or request.rejects == NO_REJECTS:
        return None
    were = f"{_rows(rejected)} {'was' if rejected == 1 else 'were'}"
    if report.rejects_as_input:
        text = f"{were} rejected: mend {report.rejects_as_input}, then import that"
        return Advice("REJECTS", text, facts.again([report.rejects_as_input]))
    # What came by a pipe cannot be read again, and its header neither.
    if "-" in request.paths:
        return None
    if report.rejects:
        text = f"{were} rejected: mend what is raw in {report.rejects}, then import that"
        return Advice("REJECTS", text, facts.again([report.rejects]))
    text = f"{_rows(rejected)} would be rejected: write them to a file, to look at them"
    command = facts.again(request.paths, ["--dry-run", "--rejects", "rejects.jsonl"])
    return Advice("REJECTS", text, command)


def _left_out(report: ImportReport, facts: Facts) -> Advice | None:
    """Say which columns, or attributes of rows, were left out, and how to see why."""
    request = facts.request
    if "-" in request.paths:
        return None
    attributes: dict[str, int] = {}
    for (code, name), number in report.counts.left_out.items():
        if number and CODES[code].fate is CodeEffect.SKIPPED and code.startswith("UA_"):
            attributes[name] = attributes.get(name, 0) + number
    again = [] if report.dry_run else ["--again"]
    if facts.unread:
        text = f"left out: {_named('column', facts.unread)}; read as text, they become attributes"
        return Advice(
            "LEFT_OUT", text, facts.again(request.paths, [*again, "--binary-as-text", "--dry-run"])
        )
    if not attributes:
        return None
    ordered = dict(sorted(attributes.items(), key=lambda item: (-item[1], item[0])))
    text = f"left out of rows: {names_of(ordered)}; a file can say of each row why"
    command = facts.again(request.paths, [*again, "--dry-run", "--explain-rows", "explained.jsonl"])
    return Advice("LEFT_OUT", text, command)


def _final(report: ImportReport, facts: Facts) -> Advice | None:
    """Say which import cannot be undone any more once there is another."""
    if facts.next_final is None or report.number is None:
        return None
    text = (
        f"the next import makes import {facts.next_final} final, and those before it: to keep"
        " more of them undoable, raise history.keep first"
    )
    setting = f"history.keep={facts.keep * 2}"
    return Advice("NEXT_FINAL", text, facts.command("config", "set", setting))


# Ordered by importance: who is who, then what is missing, then what is at stake later. What is
# nobody's comes first: under another strategy it would join all who share it.
RULES: tuple[Callable[[ImportReport, Facts], Advice | None], ...] = (
    _shared,
    _kept_apart,
    _rejects,
    _left_out,
    _final,
)
"""The rules of advice, the most important first. Each gives one piece at most."""


def advice_of(report: ImportReport, facts: Facts) -> list[Advice]:
    """Return the advice on an import, the most important first."""
    pieces = (rule(report, facts) for rule in RULES)
    return [piece for piece in pieces if piece is not None][:MOST_ADVICE]


def advise(job: ImportJob, *, next_final: int | None) -> list[Advice]:
    """Return the advice on an import whose relations are there still.

    next_final: the import that the next one lays together with others.
    """
    settings = settings_from(dict(job.settings))
    facts = Facts(
        request=job.request,
        strategy=settings.rules.strategy,
        placeholders_add=tuple(settings.stated.get("identity.placeholders_add", ())),
        kept_apart=_look_at_kept_apart(job, settings.rules.login | settings.rules.immutable),
        next_final=next_final,
        keep=settings.keep_imports,
        unread=tuple(dict.fromkeys(name for file in job.staged.files for name in file.unread)),
        before=_beginning(job.store_path),
        registers=job.report.feed_registered and not job.request.dry_run,
    )
    return advice_of(job.report, facts)


def _look_at_kept_apart(job: ImportJob, guards: frozenset[str]) -> KeptApart | None:
    """Return what there is to say of rows that were kept apart; None: they are few."""
    counts = job.report.counts
    if counts.codes["PROTECTED_MATCH"] <= KEPT_APART_SHARE * counts.rows["read"]:
        return None
    kinds = [NAME[kind] for (kind,) in job.relations.rows(KEPT_APART_BY)]
    kind = next((name for name in kinds if name not in guards), None)
    rows = example_rows(job.relations, job.staged, rows=FIRST_KEPT_APART, columns=["code"])
    if kind is None or not rows:
        return None
    place = rows[0].get("line", rows[0].get("row"))
    return KeptApart(kind, f"{rows[0]['file']}:{place}")


def _beginning(store_path: Path) -> tuple[str, ...]:
    """Return how a command on this store begins; what the environment says is left out."""
    words = ["profilectl"]
    if store_path != Path(os.environ.get("PROFILECTL_STORE") or STORE_NAME):
        words += ["--store", str(store_path)]
    workspace = chosen_workspace()
    if workspace is not None and workspace != os.environ.get("PROFILECTL_WORKSPACE"):
        words += ["--workspace", workspace]
    return tuple(words)


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _named(noun: str, names: Sequence[str]) -> str:
    """Return names in a sentence, as many as fit."""
    shown = names[:5]
    more = len(names) - len(shown)
    plural = noun if len(names) == 1 else f"{noun}s"
    return f"{plural} {', '.join(shown)}" + (f" and {more:,} more" if more else "")
