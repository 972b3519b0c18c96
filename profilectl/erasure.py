"""People erased: what of the store goes and what stays of it, table by table.

Nothing is deleted. A store is written anew from SELECTs of what stays and then takes the place of the
old one (copies.py): so no value is left in a free block, a log or the statistics of a column, and at
every moment there is either the store before or the one after. What goes:

    whatever has the profile (rows, cells, events, memberships, indexes, aliases on either side);
    in the past of others, the identities that went over to the erased;
    the text of rejects that name one of their identities (code and line stay);
    what was asked for in corrections of them by hand; their source_request_ids.

What is left of them has no value in it: arrivals, so that the history adds up and an import that is made
again leaves those rows out, and hashes of their identities, so that they stay out (store.suppressed).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.audience_connection import are_told
from profilectl.audience_outbox import COLUMNS, has_traces, meta_with_traces, removals
from profilectl.by_hand import joined
from profilectl.casing import fold
from profilectl.codes import StoreUnusable, UsageError
from profilectl.compaction import ORDER
from profilectl.copies import put_in_place, rewrite_store
from profilectl.feed import ENVIRONMENTS
from profilectl.identity import BY_NAME, CODE, display, key_of, reached, type_named
from profilectl.profile import Profiles
from profilectl.refresh import Asked, refresh_store
from profilectl.scratch import Scratch, attaching, quote_identifier, quote_text
from profilectl.segments import (
    ENVIRONMENT_NAME,
    IMPORT_FILES,
    MPID_TYPE,
    hash_of,
    known_identities,
    known_mpids,
    mpid_hash_of,
)
from profilectl.store import Store, who
from profilectl.suppression import without_text

SHORT = 6
"""A value of fewer characters is looked for as a word of its own, a longer one anywhere."""
PATTERN = 20_000
"""So many characters of values are looked for at once."""
BY_HAND = ("content", "modify", "alias")
"""What the request of an import has that came from no file."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom a request for erasure means: an identity (type, or mpid) and value, and the profiles it reaches.

    protected: profiles that hold it, but are not reached by it (identity.reached).
    """

    kind: str
    value: str
    profiles: tuple[int, ...]
    protected: tuple[int, ...] = ()


@dataclass(slots=True)
class Erasure:
    """What an erasure takes away; of a dry run, would take.

    profiles: (mpid, environment). tables: rows that go, by the kind of table. suppressed: identities
    that keep people out from now on. shared: profiles that stay and hold an identity of the erased.
    losing: (mpid, environment) of profiles that stay, and lose what aliases carried over to them.
    faded: identities cleared from the past of others. rejects, corrections: that lost their text. files:
    that brought the erased; rejects_files: where rejected rows that name them were written to; outputs: that have batches of theirs, or have them in an audience and are not connected any more; may_have: that
    have batches of feeds that only read, of which nobody knows whose they were. removals: output -> messages that wait to remove
    them from audiences there.
    """

    profiles: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    suppressed: int = 0
    shared: list[tuple[str, str]] = field(default_factory=list)
    faded: int = 0
    rejects: int = 0
    corrections: int = 0
    requests: int = 0
    files: list[str] = field(default_factory=list)
    rejects_files: list[str] = field(default_factory=list)
    losing: list[tuple[str, str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    may_have: list[str] = field(default_factory=list)
    removals: dict[str, int] = field(default_factory=dict)

    def anything(self) -> bool:
        """Say whether there is anything to erase."""
        return bool(self.profiles or self.faded or self.rejects or self.corrections or self.requests or self.removals or self.tables.get("outbox"))


def meant_by(profiles: Profiles, kind: str, value: str, *, pick: int | None = None, every: bool = False) -> Meant:
    """Return whom an identity means. kind: an identity type, "mpid" or "any"; pick: which of several, from 1;
    every: all of them. Raises UsageError where several profiles of one environment are meant."""
    found = profiles.find(kind, value)
    if kind == "any":
        kinds = [one for one in (*profiles.identities, "mpid") if one != "mpid" or value.removeprefix("-").isdecimal()]
        named = {one for one in kinds for profile in profiles.find(one, value)}
        kind = next(iter(sorted(named, key=lambda one: one != "mpid" and BY_NAME[one].device)), "any")
        devices = bool(named) and all(one != "mpid" and BY_NAME[one].device for one in named)
    else:
        devices = kind != "mpid" and BY_NAME[kind].device
    known = known_among(profiles, found) if devices else set()
    reach = [one for one in found if not devices or reached(device=True, known=one in known)]
    environments = dict(profiles.store.scratch.rows(
        f"select profile, environment from ({known_mpids(profiles.segments)}) where profile in ({_listed(reach)})"
    ))
    if pick is not None:
        if not 1 <= pick <= len(reach):
            raise UsageError(f"--pick {pick}: there {'is one profile' if len(reach) == 1 else f'are {len(reach)} profiles'}")
        reach = [reach[pick - 1]]
    elif len(set(environments.values())) < len(reach) and not every:
        raise UsageError(
            f"{len(reach)} profiles have the {'identity or MPID' if kind == 'any' else kind} {value}",
            "name one by --mpid, or --pick N in the order of `profilectl show`; --all means all of them",
        )
    return Meant(kind, value, tuple(reach), tuple(one for one in found if one in known))


def known_among(profiles: Profiles, found: Iterable[int]) -> set[int]:
    """Return those of some profiles that hold a login identity."""
    login = ", ".join(str(CODE[one]) for one in sorted(profiles.store.settings().rules.login)) or "null"
    known = known_identities(profiles.segments, removals=profiles.removals)
    rows = profiles.store.scratch.rows(f"select distinct profile from ({known}) where profile in ({_listed(found)}) and type in ({login})")
    return {profile for (profile,) in rows}


def _listed(profiles: Iterable[int]) -> str:
    return ", ".join(map(str, profiles)) or "null"


class Leaving:
    """An erasure in the making, on a store that is attached for writing: what stays of each table."""

    act = "erased"

    def __init__(
        self, profiles: Profiles, meant: Sequence[Meant], *, allow_return: bool, now_ms: int, answered: Sequence[str] = ()
    ) -> None:
        """answered: requests (opendsr.py) that this erasure answers."""
        self.profiles, self.store, self.scratch = profiles, profiles.store, profiles.store.scratch
        self.secret, self.judging = self.store.meta("secret"), self.store.settings().rules.judging
        self.allow_return, self.now_ms = allow_return, now_ms
        self.number = self.store.next_erasure()
        self.next_arrival = self.store.next_import()[1]
        self.outcome = Erasure()
        self.stays: dict[str, str] = {}
        self.gone: dict[str, int] = {}
        self.corrected: set[tuple[int, str]] = set()
        self.columns = columns_of(self.scratch)
        leaving = sorted({profile for one in meant for profile in one.profiles})
        self._who(leaving)
        self._identities(meant)
        self._rows()
        self._tables()
        self._faded()
        self._requests()
        self._waiting()
        self._members()
        self._rejects()
        self._remarks()
        self._by_hand()
        self._subject_requests(answered)
        self._history()
        self._losing(*self._taken())

    # who

    def _who(self, leaving: list[int]) -> None:
        """Make `erased_profile` (profile, mpid, environment)."""
        self.scratch.load("leaving", [("profile", "BIGINT")], [(one,) for one in leaving])
        self.scratch.make(
            "erased_profile",
            f"select known.profile, known.mpid, known.environment from ({known_mpids(self.profiles.segments)}) as known"
            " join leaving on leaving.profile = known.profile",
        )
        self.people = self.scratch.rows("select profile, mpid, environment from erased_profile order by profile")
        self.mpids = {(mpid, ENVIRONMENT_NAME[code]) for _, mpid, code in self.people}
        self.corrected |= self.mpids
        self.outcome.profiles = [(str(mpid), ENVIRONMENT_NAME[code]) for _, mpid, code in self.people]

    def _identities(self, meant: Sequence[Meant]) -> None:
        """Make `erased_identity` (profile, type, hash): what the erased have had, and what they were named by."""
        found: dict[tuple[int, int, int], None] = {}
        named: dict[tuple[int, int, int], bool] = {}
        nothing: set[int] = set()  # hashes of what is nobody's, but was theirs before it was known for that
        self.values: dict[str, None] = {}
        for segment in self.profiles.segments:
            if not segment.identities or "row" not in segment.tables:
                continue
            cells = ", ".join(f"i_{kind}" for kind in segment.identities)
            for profile, code, *values in self.scratch.rows(
                f"select profile, environment, {cells} from {segment.table('row')} where profile in (select profile from erased_profile)"
            ):
                for kind, value in zip(segment.identities, values, strict=True):
                    if value is not None:
                        digest = hash_of(self.secret, ENVIRONMENT_NAME[code], kind, key_of(BY_NAME[kind], value))
                        found[profile, CODE[kind], digest] = None
                        if self.judging.is_placeholder(value):
                            nothing.add(digest)
                        else:
                            self.values[value] = None
        for one in meant:
            if one.kind != "mpid" and self.judging.is_placeholder(display(one.value)):
                continue
            if one.kind in BY_NAME and not one.protected:
                key = key_of(BY_NAME[one.kind], display(one.value))
                self.values[display(one.value)] = None
                for environment in ENVIRONMENTS:
                    named[-1 - self.number, CODE[one.kind], hash_of(self.secret, environment, one.kind, key)] = bool(one.profiles)
            elif one.kind == "any" and one.value:
                self.values[display(one.value)] = None
            elif one.kind == "mpid" and not one.profiles:
                self.mpids |= {(int(one.value), environment) for environment in ENVIRONMENTS}
                self.corrected |= self.mpids
        _load_hashes(self.scratch, "erased_identity", [*found, *named])
        # Named only: it keeps somebody out where nobody had it, as when a reject is all that there is of them.
        _load_hashes(self.scratch, "kept_out", [*(one for one in found if one[2] not in nothing), *(one for one, had in named.items() if not had)])
        known = known_identities(self.profiles.segments, removals=self.profiles.removals)
        self.scratch.make(
            "staying",
            f"select distinct known.hash, known.profile from ({known}) as known where known.hash in (select hash from erased_identity)"
            " and known.profile not in (select profile from erased_profile)",
        )
        self.hashes = {int(digest, 16) for (digest,) in self.scratch.rows("select distinct to_hex(hash) from erased_identity where hash not in (select hash from staying)")} - nothing
        self.outcome.shared = [
            (str(mpid), ENVIRONMENT_NAME[code]) for mpid, code in self.scratch.rows(
                f"select mpid, environment from ({known_mpids(self.profiles.segments)}) where profile in (select profile from staying) order by profile"
            )
        ] if self.people else []
        _load_hashes(self.scratch, "erased_mpid", [
            (profile, MPID_TYPE, mpid_hash_of(self.secret, ENVIRONMENT_NAME[code], mpid)) for profile, mpid, code in self.people
        ])
        until = str(self.next_arrival) if self.allow_return else "null"
        self.scratch.make(
            "newly_suppressed",
            f"select distinct hash, type, profile as person, {self.number} as erasure, {until}::bigint as until from kept_out"
            f" where hash not in (select hash from staying) union all select hash, type, profile, {self.number}, null from erased_mpid",
        )
        self.outcome.suppressed = 0 if self.allow_return else int(
            self.scratch.row(f"select count(distinct hash) from newly_suppressed where type <> {MPID_TYPE}")[0]
        )

    def _rows(self) -> None:
        """Make `gone_row` (arrival, import, founder): the rows that go, and the aliases."""
        rows = " union all ".join(
            f"select arrival, mpid is not null as founder from {one.table('row')} where profile in (select profile from erased_profile)"
            for one in self.profiles.segments if "row" in one.tables
        )
        either = "source in (select profile from erased_profile) or destination in (select profile from erased_profile)"
        rows = " union all ".join([*([rows] if rows else []), f"select arrival, false as founder from store.alias where {either}"])
        self.scratch.make(
            "gone_row",
            f"select one.arrival, import_file.import, one.founder, import_file.path from ({rows}) as one"
            f" asof join ({IMPORT_FILES}) as import_file on one.arrival >= import_file.first_arrival",
        )
        self.outcome.files = [path for (path,) in self.scratch.rows(
            "select distinct path from gone_row where not starts_with(path, '(') order by path"
        )]

    # what stays

    def _tables(self) -> None:
        """Say of every table that has a profile what stays; of the segments, how many rows they have left."""
        for table, columns in self.columns.items():
            name = f"store.{quote_identifier(table)}"
            if table == "alias":
                gone = "source in (select profile from erased_profile) or destination in (select profile from erased_profile)"
            elif "profile" in columns:
                gone = "coalesce(profile in (select profile from erased_profile), false)"
            else:
                continue
            count = int(self.scratch.row(f"select count(*) from {name} where {gone}")[0])
            if count:
                kind = table.rpartition("_")[0] if table.rpartition("_")[2].isdigit() else table
                self.outcome.tables[kind] = self.outcome.tables.get(kind, 0) + count
                self.gone[table] = count
                self.stays[table] = f"select * from {name} where not ({gone})"
        left = " ".join(f"when {one.number} then rows - {self.gone[f'row_{one.number}']}" for one in self.profiles.segments if f"row_{one.number}" in self.gone)
        if left:
            self.stays["segment"] = f"select * replace (case number {left} else rows end as rows) from store.segment"

    def _faded(self) -> None:
        """Clear the identities of the erased from the past of others: those that these have lost."""
        if not self.profiles.removals:
            return
        self.scratch.make(
            "faded",
            "select distinct profile, type, hash from store.removed where hash in (select hash from erased_identity)"
            " and profile not in (select profile from erased_profile) and hash not in (select hash from staying where staying.profile = removed.profile)",
        )
        faded = {(profile, kind, int(digest, 16)) for profile, kind, digest in self.scratch.rows("select profile, type, to_hex(hash) from faded")}
        if not faded:
            return
        self.outcome.faded = len(faded)
        for table, columns in self.columns.items():
            if {"profile", "hash"} <= set(columns):
                within = self.stays.get(table, f"select * from store.{quote_identifier(table)}")
                self._less(table, f"select * from ({within}) as one where not exists (select 1 from faded where faded.profile = one.profile and faded.hash = one.hash)")
        for segment in self.profiles.segments:
            blank: list[tuple[int, int]] = []
            for kind in segment.identities:
                blank += [
                    (arrival, CODE[kind])
                    for profile, arrival, code, value in self.scratch.rows(
                        f"select profile, arrival, environment, i_{kind} from {segment.table('row')}"
                        f" where i_{kind} is not null and profile in (select profile from faded)"
                    )
                    if (profile, CODE[kind], hash_of(self.secret, ENVIRONMENT_NAME[code], kind, key_of(BY_NAME[kind], value))) in faded
                ]
            if blank:
                name = f"blank_{segment.number}"
                self.scratch.load(name, [("arrival", "BIGINT"), ("type", "UTINYINT")], blank)
                cells = ", ".join(
                    f"case when arrival in (select arrival from {name} where type = {code}) then null else i_{kind} end as i_{kind}"
                    for kind, code in ((kind, CODE[kind]) for kind in segment.identities) if any(code == one for _, one in blank)
                )
                within = self.stays.get(f"row_{segment.number}", f"select * from {segment.table('row')}")
                self.stays[f"row_{segment.number}"] = f"select * replace ({cells}) from ({within})"

    def _less(self, table: str, select: str) -> None:
        """Say what stays of a table, and count what goes of it."""
        before = int(self.scratch.row(f"select count(*) from store.{quote_identifier(table)}")[0])
        self.gone[table] = before - int(self.scratch.row(f"select count(*) from ({select})")[0])
        self.stays[table] = select

    def _requests(self) -> None:
        """Forget the source_request_ids of the rows that go, and those that name an identity."""
        named = [f"regexp_matches(request, {quote_text(one)})" for one in patterns(self.values)]
        gone = " or ".join(["coalesce(arrival in (select arrival from gone_row), false)", *named])
        self._less("request", f"select * from store.request where not ({gone})")
        self.outcome.requests = self.gone["request"]
        if self.gone["request"]:
            self.outcome.tables["request"] = self.gone["request"]

    def _waiting(self) -> None:
        """Take out of the outbox what nobody's profile has and names an identity of the erased, or their MPID; of others'
        batches what does. Whoever it went to already is told: outcome.outputs."""
        left = self.stays.get("outbox", "select * from store.outbox")
        named = [f"regexp_matches(content, {quote_text(one)})" for one in patterns(self.values)]
        named.append(names_mpid("content", self.mpids))
        kept = ", ".join(
            f"case when {' or '.join(f'regexp_matches({column}, {quote_text(one)})' for one in patterns(self.values)) or 'false'} then null else {column} end as {column}"
            for column in ("devices", "held")
        )
        if self.scratch.row("select count(*) from store.outbox where coalesce(content, devices, held) is not null")[0]:
            self._less(
                "outbox",
                f"select * replace ({kept}) from ({left})"
                f" where not coalesce({' or '.join(named)}, false)",
            )
            self.outcome.tables.pop("outbox", None)
            if self.gone["outbox"]:
                self.outcome.tables["outbox"] = self.gone["outbox"]
        self.outcome.outputs = [name for (name,) in self.scratch.rows(
            "select distinct output from store.forwarded where outcome in ('delivered', 'known') and arrival in (select arrival from gone_row) order by output"
        )]
        # Of a batch that only passed by the store keeps nothing once it has left: whose it was is not known.
        self.outcome.may_have = [name for (name,) in self.scratch.rows(
            "select distinct output from store.forwarded where outcome in ('delivered', 'known')"
            " and arrival in (select arrival from store.dropped where code = 'READ_ONLY') order by output"
        ) if name not in self.outcome.outputs]

    def _members(self) -> None:
        """Have the erased removed from audiences where they are: what removes them has the identities by which they are known there,
        until it has arrived, and nothing else of them."""
        self._remove_there("erased_profile", erased=True)
        self._taken_back()

    def _taken_back(self) -> None:
        """Let removals of whom an undo took away be of somebody erased, where they name an identity of the erased or their
        MPID: nobody is made again of them, and no byte stays once they have left."""
        named = [
            (message, output) for message, output, mpid, environment, text in self.scratch.rows(
                "select message, output, mpid, environment, identities from store.audience_outbox"
                " where profile is not null and identities is not null and profile not in (select profile from erased_profile)"
            )
            if are_told(json.loads(text), self.values) or (mpid, ENVIRONMENT_NAME[environment]) in self.mpids
        ]
        if not named:
            return
        self._count_removals(output for _, output in named)
        within = self.stays.get("audience_outbox", "select * from store.audience_outbox")
        theirs = f"message in ({', '.join(quote_text(message) for message, _ in named)})"
        self.stays["audience_outbox"] = f"select * replace (case when {theirs} then null else profile end as profile) from ({within})"
        told = self.stays.get("audience_told", "select * from store.audience_told")
        there = f"select output, audience, profile from store.audience_outbox where {theirs}"
        self._less("audience_told", f"select * from ({told}) where (output, audience, profile) not in ({there})")

    def _remove_there(self, leaving: str, *, erased: bool) -> None:
        rows = removals(self.store, leaving, erased=erased, stay=not erased, made=sum(self.outcome.removals.values()))
        there = self.scratch.rows(f"select distinct output, audience from store.audience_told where told and profile in (select profile from {leaving})")
        unconnected = {output for output, audience in there if (output, audience) not in {row[2:4] for row in rows}}
        self.outcome.outputs = sorted({*self.outcome.outputs, *unconnected})
        if not rows:
            return
        self._count_removals(row[2] for row in rows)
        self.scratch.load(f"removal_of_{leaving}", COLUMNS, rows)
        within = self.stays.get("audience_outbox", "select * from store.audience_outbox")
        self._less("audience_outbox", f"select * from ({within}) union all select * from removal_of_{leaving}")

    def _count_removals(self, outputs: Iterable[str]) -> None:
        self.outcome.removals = dict(Counter(self.outcome.removals) + Counter(outputs))

    def _rejects(self) -> None:
        """Clear the text of the rejects that name an identity of the erased."""
        if not self.values or not self.scratch.row("select count(*) from store.reject")[0]:
            return
        named = " or ".join(f"regexp_matches(raw, {quote_text(one)}) or regexp_matches(message, {quote_text(one)})" for one in patterns(self.values))
        self.scratch.make("named_reject", f"select rowid as place, import, file from store.reject where {named}")
        self.outcome.rejects = self.scratch.count("named_reject")
        if not self.outcome.rejects:
            return
        self.stays["reject"] = f"select * replace ({without_text('rowid in (select place from named_reject)')}) from store.reject"
        # Where --rejects put them was not written down; this is where they are without it.
        self.outcome.rejects_files = [f"{file}.rejects.jsonl" for (file,) in self.scratch.rows("select distinct file from named_reject order by file")]

    def _remarks(self) -> None:
        """Forget what was said of the rows that go, and by which identities others were passed over for the erased."""
        theirs = "arrival in (select arrival from gone_row)"
        named = " or ".join(f"regexp_matches(value, {quote_text(one)})" for one in patterns(self.values)) or "false"
        for table, gone in (
            ("remark", f"{theirs} or coalesce({named}, false)"), ("passed_claim", f"{theirs} or hash in (select hash from erased_identity)"),
        ):
            self._less(table, f"select * from store.{table} where not ({gone}) order by arrival")

    def _by_hand(self) -> None:
        """Make `ready_import` and `ready_file`: corrections of the erased forget what they were asked to do."""
        like = " or ".join(f"contains(request, '\"{name}\":{{') or contains(request, '\"{name}\":\"')" for name in BY_HAND)
        changed: list[tuple[int, str]] = []
        cleared: list[int] = []
        for number, undone, text in self.scratch.rows(f"select number, undone_ms is not null, request from store.import where {like} order by number"):
            kept = json.loads(text)
            left = self._request_left(kept)
            self.outcome.corrections += left != kept
            if left == kept and not undone:
                continue
            if left is None or undone:
                # An undone correction is never made again: whoever it was of, nobody needs its values.
                left = {"paths": kept["paths"], "feed": kept.get("feed"), "source": kept.get("source"), "erased": self.number}
                cleared.append(number)
            changed.append((number, json.dumps(left, ensure_ascii=False)))
        if not changed:
            return
        self.scratch.load("changed_import", [("number", "INTEGER"), ("request", "VARCHAR")], changed)
        self.stays["import"] = (
            "select one.* replace (case when changed.number is not null then changed.request else one.request end as request,"
            f" case when one.number in ({_listed(cleared)}) then regexp_replace(one.report, '\"sha256\":\"[0-9a-f]*\"', '\"sha256\":\"\"') else one.report end as report)"
            " from store.import as one left join changed_import as changed on changed.number = one.number order by one.number"
        )
        self.stays["import_file"] = (
            f"select * replace (case when import in ({_listed(cleared)}) then '' else sha256 end as sha256) from store.import_file"
        )

    def _subject_requests(self, answered: Sequence[str]) -> None:
        """Clear the identities from the requests of the erased; those that are answered are completed."""
        cleared = [
            name for name, text in self.scratch.rows("select id, identities from store.subject_request where identities is not null")
            if name in answered or any(
                digest in self.hashes for kind, value in json.loads(text) if kind in BY_NAME
                for digest in (hash_of(self.secret, environment, kind, key_of(BY_NAME[kind], display(value))) for environment in ENVIRONMENTS)
            ) or any(kind == "mpid" and (int(value), environment) in self.mpids for kind, value in json.loads(text) for environment in ENVIRONMENTS)
        ]
        if not cleared and not answered:
            return
        named, finished = (", ".join(map(quote_text, one)) or "null" for one in (cleared, answered))
        self.stays["subject_request"] = (
            f"select * replace (case when id in ({finished}) then 'completed' else status end as status,"
            f" case when id in ({finished}) then {self.now_ms} else finished_ms end as finished_ms,"
            f" case when id in ({finished}) then {len(self.people)} else profiles end as profiles,"
            f" case when id in ({named}) then null else identities end as identities,"
            f" case when id in ({named}) then null else request end as request) from store.subject_request"
        )

    def _request_left(self, kept: dict[str, Any]) -> dict[str, Any] | None:
        """Return what stays of what a correction was asked to do; None: nothing."""
        if kept.get("content") is not None and not kept.get("who"):
            content = "".join(f"{line}\n" for line in kept["content"].split("\n") if line and not self._names(line))
            return {**kept, "content": content} if content else None
        if kept.get("content") is not None:
            batch = json.loads(kept["content"])
            mpid, environment = str(batch.get("mpid")), str(batch.get("environment"))
        elif kept.get("modify"):
            mpid, environment = kept["modify"]["mpid"], kept["modify"]["environment"]
        elif kept.get("alias"):
            sides = {kept["alias"]["source"], kept["alias"]["destination"]}
            return None if any((int(mpid), kept["alias"]["environment"]) in self.corrected for mpid in sides) else kept
        else:
            return kept
        if (int(mpid), environment) in self.corrected:
            return None
        holder = kept.get("modify") or kept
        left = dict(holder)
        if holder.get("who") and self._is_erased(environment, *holder["who"]):
            left["who"] = ["mpid", mpid]
        if not kept.get("modify"):
            return left
        left["changes"] = [
            [kind, old, new] for kind, old, new in holder["changes"]
            if not any(value is not None and self._is_erased(environment, kind, value) for value in (old, new))
        ]
        return {**kept, "modify": left} if left["changes"] else None

    def _names(self, line: str) -> bool:
        """Say whether a batch that no person asked for is of the erased, by its MPID or an identity, or cannot be read."""
        try:
            batch = json.loads(line)
        except ValueError:
            return True
        if not isinstance(batch, dict):
            return True
        environment = str(batch.get("environment", ENVIRONMENTS[0]))
        mpid = batch.get("mpid")
        stated = batch.get("user_identities")
        return (mpid is not None and str(mpid).removeprefix("-").isdigit() and (int(mpid), environment) in self.corrected) or any(
            (known := type_named(kind)) is not None and value is not None and self._is_erased(environment, known.name, str(value))
            for kind, value in (stated.items() if isinstance(stated, dict) else ())
        )

    def _is_erased(self, environment: str, kind: str, value: str) -> bool:
        kinds = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
        return any(hash_of(self.secret, environment, one, key_of(BY_NAME[one], display(value))) in self.hashes for one in kinds)

    def _history(self) -> None:
        """Write down that it was done, without a value."""
        made_by = quote_text(who())
        self.stays["erasure"] = (
            f"select * from store.erasure union all select {self.number}, '{self.act}', {self.now_ms}, {made_by},"
            f" {len(self.people)}, (select count(*) from gone_row)"
        )
        self.stays["erased_row"] = f"select * from store.erased_row union all select arrival, import, founder, {self.number} from gone_row"
        self.stays["suppressed"] = "select * from store.suppressed union all select * from newly_suppressed"

    def _taken(self) -> tuple[str, str]:
        """Take away what else goes, and return what _losing is to know: the SELECTs of sources and of others."""
        return "select profile from erased_profile", "select null::bigint where false"

    def _losing(self, sources: str, others: str) -> None:
        """Make `losing` (profile): those who stay, and lose something that calculated attributes and audiences rest on.
        They are computed anew before the store is put in its place (write); what was computed of them is not written.

        sources: the SELECT of the profiles whose past aliases carry over no more, or less of it; others: of profiles that
        lose something of their own.
        """
        self.scratch.make(
            "losing",
            "select distinct known.profile, known.mpid, known.environment from"
            f" (select destination as profile from store.alias where source in ({sources}) union all {others}) as loses"
            f" join ({known_mpids(self.profiles.segments)}) as known on known.profile = loses.profile"
            " where known.profile not in (select profile from erased_profile)",
        )
        self.outcome.losing = [
            (str(mpid), ENVIRONMENT_NAME[code])
            for mpid, code in self.scratch.rows("select mpid, environment from losing order by profile")
        ]
        if not self.outcome.losing or not self.store.has_definitions():
            return
        within = self.stays.get("stale", "select * from store.stale")
        self._less("stale", f"{within} union all select profile from losing")
        within = self.stays.get("calculated", "select * from store.calculated")
        self._less("calculated", f"select * from ({within}) where profile not in (select profile from losing)")

    def forget_requests(self, names: Sequence[str]) -> None:
        """Leave the records of requests out, of whomever they are."""
        if names:
            within = self.stays.get("subject_request", "select * from store.subject_request")
            self._less("subject_request", _without_requests(within, names))

    def write(self) -> None:
        """Write what stays and put it in the place of the store. Raises StoreUnusable; then the store is as before."""
        if self.outcome.removals or self.scratch.row("select count(*) from store.audience_outbox")[0] or has_traces(self.store):
            outbox = self.stays.get("audience_outbox", "select * from store.audience_outbox")
            self._less("meta", meta_with_traces(self.store, self.stays.get("meta", "select * from store.meta"), outbox))
        stays = {table: self._sorted(table, select) for table, select in self.stays.items()}
        computes = bool(self.outcome.losing) and self.store.has_definitions()
        _write_anew(self.store, stays, self.gone, refreshed_ms=self.now_ms if computes else None, lost=self.act == "erased")

    def _sorted(self, table: str, select: str) -> str:
        """Keep the order in which the rows of a segment lie: a join may lose it."""
        kind, _, number = table.rpartition("_")
        order = {**ORDER, "index": "hash"}.get(kind) if number.isdigit() else None
        return f"select * from ({select}) order by {order}" if order else select


def forget_requests(store: Store, names: Sequence[str]) -> None:
    """Take the records of requests out of a store that is attached for writing, so that no byte of them is left in
    its file. Raises StoreUnusable; then the store is as before."""
    _write_anew(store, {"subject_request": _without_requests("select * from store.subject_request", names)}, {"subject_request": len(names)})


def _without_requests(select: str, names: Sequence[str]) -> str:
    return f"select * from ({select}) where id not in ({', '.join(map(quote_text, names))})"


def _write_anew(store: Store, stays: Mapping[str, str], gone: Mapping[str, int], *, refreshed_ms: int | None = None, lost: bool = False) -> None:
    """Write what stays of each table and put it in the place of the store. gone: how many rows of each are not in it.
    refreshed_ms: the time at which what is stale is computed anew before; None: nothing is. lost: as refresh.Asked has it."""
    made = rewrite_store(store.scratch, store.path, store.scratch.folder, stays)
    _verify(store.scratch, made, gone)
    if refreshed_ms is not None:
        refresh_store(made, now_ms=refreshed_ms, asked=Asked(lost=lost))
    put_in_place(store.scratch, made, store.path)


def _verify(scratch: Scratch, made: Path, gone: Mapping[str, int]) -> None:
    """See that the new file has all that stays: a row too few would be lost for good."""
    scratch.run(attaching(made, "rewritten", write=False))
    try:
        for table in columns_of(scratch):
            if table in ("erasure", "erased_row", "suppressed", "aged"):
                continue
            name = quote_identifier(table)
            before, after = (scratch.row(f"select count(*) from {base}.{name}")[0] for base in ("store", "rewritten"))
            if after != before - gone.get(table, 0):
                raise StoreUnusable(f"the store written anew lacks rows of {table}", "please report it; the store is as before")
    finally:
        scratch.run("detach rewritten")


def lift(store: Store, kind: str, value: str, *, now_ms: int) -> int:
    """Let people who were erased come back, in one transaction; return how many identities were lifted.

    Their rows that have arrived already stay out, should they be made again; their MPIDs are not used again.
    """
    hashes = _hashes_of(store.meta("secret"), kind, value)
    scratch = store.scratch
    _load_hashes(scratch, "lifted", [(0, 0, one) for one in hashes])
    theirs = f"type <> {MPID_TYPE} and until is null and (person, erasure) in (select (person, erasure) from store.suppressed where hash in (select hash from lifted))"
    count = int(scratch.row(f"select count(distinct hash) from store.suppressed where {theirs}")[0])
    if count:
        with store.transaction():
            scratch.run(f"update store.suppressed set until = {store.next_import()[1]} where {theirs}")
            scratch.run(
                "insert into store.erasure values ($number, 'lifted', $at, $who, 0, 0)", {"number": store.next_erasure(), "at": now_ms, "who": who()}
            )
    return count


def suppressed_among(store: Store, asked: Sequence[Meant]) -> list[Meant]:
    """Return those identities and MPIDs that are of somebody erased, who stays out."""
    secret = store.meta("secret")
    rows = [(place, 0, digest) for place, one in enumerate(asked) for digest in _hashes_of(secret, one.kind, one.value)]
    _load_hashes(store.scratch, "asked_hash", rows)
    found = store.scratch.rows(
        "select distinct profile from asked_hash where hash in (select hash from store.suppressed where until is null) order by profile"
    )
    return [asked[place] for (place,) in found]


def _hashes_of(secret: str, kind: str, value: str) -> set[int]:
    """Return the hashes of an identity or an MPID ("any": of each type) in every environment."""
    kinds = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
    found = {hash_of(secret, environment, one, key_of(BY_NAME[one], display(value))) for environment in ENVIRONMENTS for one in kinds}
    if kind == "mpid" or (kind == "any" and value.removeprefix("-").isdecimal()):
        found |= {mpid_hash_of(secret, environment, int(value)) for environment in ENVIRONMENTS}
    return found


def names_mpid(content: str, mpids: Iterable[tuple[int, str]]) -> str:
    """Return the SQL of whether a batch of nobody's profile names one of some MPIDs in its environment."""
    listed = ", ".join(f"({quote_text(str(mpid))}, {quote_text(environment)})" for mpid, environment in sorted(mpids))
    named = f"(json_extract({content}, '$.mpid')::varchar, {content}->>'$.environment')"
    return f"{named} in ({listed})" if listed else "false"


def patterns(values: Iterable[str]) -> list[str]:
    """Return regular expressions that find values in the text of a file, however it is written: in other
    case, with the escapes of JSON, with the doubled quotes of CSV."""
    long: dict[str, None] = {}
    short: dict[str, None] = {}
    for value in values:
        written = (value, fold(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], value.replace('"', '""'))
        (long if len(value) >= SHORT else short).update(dict.fromkeys(re.escape(one) for one in written if one))
    found = []
    for spelled, around in ((long, "(?i)(?:{})"), (short, "(?i)(?:^|[^0-9A-Za-z])(?:{})(?:$|[^0-9A-Za-z])")):
        block: list[str] = []
        for one in spelled:
            if block and sum(map(len, block)) + len(one) > PATTERN:
                found.append(around.replace("{}", "|".join(block)))
                block = []
            block.append(one)
        if block:
            found.append(around.replace("{}", "|".join(block)))
    return found


def _load_hashes(scratch: Scratch, name: str, rows: Sequence[tuple[int, int, int]]) -> None:
    """Make a relation (profile, type, hash) of Python rows; a hash goes in halves, as DuckDB is slow at 128-bit text."""
    columns = [("profile", "BIGINT"), ("type", "UTINYINT"), ("high", "UBIGINT"), ("low", "UBIGINT")]
    scratch.load(f"{name}_half", columns, [(profile, kind, digest >> 64, digest & (2**64 - 1)) for profile, kind, digest in rows])
    scratch.make(name, f"select profile, type, {joined('high', 'low')} as hash from {name}_half")


def columns_of(scratch: Scratch) -> dict[str, list[str]]:
    """Return the columns of every table of the attached store."""
    found: dict[str, list[str]] = {}
    for table, column in scratch.rows("select table_name, column_name from duckdb_columns() where database_name = 'store' order by table_name, column_index"):
        found.setdefault(table, []).append(column)
    return found
