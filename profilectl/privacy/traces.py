"""What else of a store names the erased: beyond the rows that are theirs, whatever text holds a
value of them (mentions.HELD).
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from profilectl.audiences.outbox import COLUMNS, removals
from profilectl.importing.suppression import KEYED, NOTE, Guard, without_text
from profilectl.privacy.corrections_left import BY_HAND, Correcting
from profilectl.privacy.erased import Erasure, names_mpid
from profilectl.privacy.mentions import (
    defined,
    is_named,
    of_others,
    path_without,
    places_of,
    sieve,
    without,
)
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, NAME, display, key_of
from profilectl.rules.leaving.audience_connection import are_told
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.text.spelling import Sought
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore

PATHS = (
    "path",
    "paths",
    "folder",
    "manifest",
    "rejects",
    "rejects_as_input",
    "explained_rows",
    "file",
    "files",
)
"""Keys of a request and a report of an import whose texts are paths."""


def _compact(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


class Traces:
    """An erasure in the making: what it knows of the erased, and what stays of the tables that only
    quote them.
    """

    profiles: Profiles
    store: OpenStore
    scratch: Scratch
    secret: str
    number: int
    keeps_out: bool
    now_ms: int
    outcome: Erasure
    stays: dict[str, str]
    gone: dict[str, int]
    values: dict[str, None]
    sought: Sought
    hashes: set[int]
    mpids: set[tuple[int, str]]
    corrected: set[tuple[int, str]]
    people: list[tuple[Any, ...]]

    def _less(self, table: str, select: str) -> None:
        """Say what stays of a table, and count what goes of it."""
        before = int(self.scratch.row(f"select count(*) from store.{quote_identifier(table)}")[0])
        self.gone[table] = before - int(self.scratch.row(f"select count(*) from ({select})")[0])
        self.stays[table] = select

    def _places(self, name: str, table: str, texts: Sequence[str]) -> int:
        """Make a relation (place) of the rows of a table in one of whose texts a value stands;
        return how many.
        """
        found = places_of(self.scratch, f"store.{table}", texts, self.sought)
        self.scratch.load(name, [("place", "BIGINT")], [(place,) for place in found])
        return len(found)

    def _requests(self) -> None:
        """Forget the source_request_ids of the rows that go, and those that name an identity."""
        self._places("named_request", "request", ("request",))
        gone = "coalesce(arrival in (select arrival from gone_row), false) or rowid in (select place from named_request)"
        self._less("request", f"select * from store.request where not ({gone})")
        self.outcome.requests = self.gone["request"]
        if self.gone["request"]:
            self.outcome.tables["request"] = self.gone["request"]

    def _waiting(self) -> None:
        """Take out of the outbox what nobody's profile has and names an identity of the erased, or
        their MPID; of others' batches what does. Whoever it went to already is told:
        outcome.outputs.
        """
        cells = ("devices", "held", "why")
        if self.scratch.row(
            "select count(*) from store.outbox where coalesce(content, devices, held, why) is not null"
        )[0]:
            self._places("named_content", "outbox", ("content",))
            for name in cells:
                self._places(f"named_{name}", "outbox", (name,))
            left = ", ".join(
                f"case when rowid in (select place from named_{name}) then null else {name} end as {name}"
                for name in cells
            )
            gone = "coalesce(profile in (select profile from erased_profile), false) or rowid in (select place from named_content)"
            gone += f" or coalesce({names_mpid('content', self.mpids)}, false)"
            self._less("outbox", f"select * replace ({left}) from store.outbox where not ({gone})")
            self.outcome.tables.pop("outbox", None)
            if self.gone["outbox"]:
                self.outcome.tables["outbox"] = self.gone["outbox"]
        self.outcome.outputs = [
            name
            for (name,) in self.scratch.rows(
                "select distinct output from store.forwarded where outcome in ('delivered', 'known') and arrival in (select arrival from gone_row) order by output"
            )
        ]
        # Of a batch that only passed by the store keeps nothing once it has left: whose it was is
        # not known.
        self.outcome.may_have = [
            name
            for (name,) in self.scratch.rows(
                "select distinct output from store.forwarded where outcome in ('delivered', 'known')"
                " and arrival in (select arrival from store.dropped where code = 'READ_ONLY') order by output"
            )
            if name not in self.outcome.outputs
        ]

    def _members(self) -> None:
        """Have the erased removed from audiences where they are: what removes them has the
        identities by which they are known there, until it has arrived, and nothing else of them.
        """
        self._remove_there("erased_profile", erased=True)
        self._taken_back()

    def _taken_back(self) -> None:
        """Let removals of whom an undo took away be of somebody erased, where they name an identity
        of the erased or their MPID: nobody is made again of them, and no byte stays once they
        have left.
        """
        named = [
            (message, output)
            for message, output, mpid, environment, text in self.scratch.rows(
                "select message, output, mpid, environment, identities from store.audience_outbox"
                " where profile is not null and identities is not null and profile not in (select profile from erased_profile)"
            )
            if are_told(json.loads(text), self.values)
            or (mpid, ENVIRONMENT_NAME[environment]) in self.mpids
        ]
        if not named:
            return
        self._count_removals(output for _, output in named)
        within = self.stays.get("audience_outbox", "select * from store.audience_outbox")
        theirs = f"message in ({', '.join(quote_text(message) for message, _ in named)})"
        self.stays["audience_outbox"] = (
            f"select * replace (case when {theirs} then null else profile end as profile) from ({within})"
        )
        told = self.stays.get("audience_told", "select * from store.audience_told")
        there = f"select output, audience, profile from store.audience_outbox where {theirs}"
        self._less(
            "audience_told",
            f"select * from ({told}) where (output, audience, profile) not in ({there})",
        )

    def _remove_there(self, leaving: str, *, erased: bool) -> None:
        rows = removals(
            self.store,
            leaving,
            erased=erased,
            stay=not erased,
            made=sum(self.outcome.removals.values()),
        )
        there = self.scratch.rows(
            f"select distinct output, audience from store.audience_told where told and profile in (select profile from {leaving})"
        )
        unconnected = {
            output
            for output, audience in there
            if (output, audience) not in {row[2:4] for row in rows}
        }
        self.outcome.outputs = sorted({*self.outcome.outputs, *unconnected})
        if not rows:
            return
        self._count_removals(row[2] for row in rows)
        self.scratch.load(f"removal_of_{leaving}", COLUMNS, rows)
        within = self.stays.get("audience_outbox", "select * from store.audience_outbox")
        self._less(
            "audience_outbox",
            f"select * from ({within}) union all select * from removal_of_{leaving}",
        )

    def _count_removals(self, outputs: Iterable[str]) -> None:
        self.outcome.removals = dict(Counter(self.outcome.removals) + Counter(outputs))

    def _rejects(self) -> None:
        """Clear the text of the rejects that name an identity of the erased, and the names of their
        files.
        """
        self.outcome.rejects = self._places("named_reject", "reject", ("raw", "message"))
        files = self._paths_of("named_file", "select distinct file from store.reject")
        if not self.outcome.rejects and not files:
            return
        text = without_text("rowid in (select place from named_reject)")
        self.stays["reject"] = (
            f"select * replace ({text}, {self._path('file', 'named_file')}) from store.reject"
        )
        # Where --rejects put them was not written down; this is where they are without it.
        self.outcome.rejects_files = [
            f"{file}.rejects.jsonl"
            for (file,) in self.scratch.rows(
                "select distinct file from store.reject where rowid in (select place from named_reject) order by file"
            )
        ]

    def _paths_of(self, name: str, select: str) -> int:
        """Make a relation (was, hidden) of the paths that hold a value, and as what they stay;
        return how many.
        """
        changed = [
            (path, hidden)
            for (path,) in self.scratch.rows(select)
            if (hidden := path_without(path, self.sought)) != path
        ]
        self.scratch.load(name, [("was", "VARCHAR"), ("hidden", "VARCHAR")], changed)
        return len(changed)

    @staticmethod
    def _path(column: str, name: str) -> str:
        """Return the SQL of a path as it stays."""
        return f"coalesce((select any_value(hidden) from {name} where {name}.was = {column}), {column}) as {column}"

    def _remarks(self) -> None:
        """Forget what was said of the rows that go, and by which identities others were passed over
        for the erased.
        """
        theirs = "arrival in (select arrival from gone_row)"
        self._places("named_remark", "remark", ("value", "attribute"))
        typed = (
            [
                (place,)
                for place, kind, value in self.scratch.rows(
                    "select rowid, type, value from store.remark where value is not null and type is not null"
                )
                if any(
                    self._is_erased(environment, NAME[kind], value) for environment in ENVIRONMENTS
                )
            ]
            if self.hashes
            else []
        )
        self.scratch.append("named_remark", [("place", "BIGINT")], typed)
        for table, gone in (
            ("remark", f"{theirs} or rowid in (select place from named_remark)"),
            ("passed_claim", f"{theirs} or hash in (select hash from erased_identity)"),
        ):
            self._less(table, f"select * from store.{table} where not ({gone}) order by arrival")

    def _imports(self) -> None:
        """Clear what imports were asked and what they report: corrections of the erased forget what
        they were asked to do, paths lose the name in them, no text of a report names them.
        """
        correcting = Correcting(self.corrected, self._is_erased)
        changed: list[tuple[int, str | None, str, bool]] = []
        like = " or ".join(f"contains(request, '\"{name}\"')" for name in BY_HAND)
        maybe = (
            f"{sieve('request', self.sought)} or {sieve('report', self.sought)}"
            if self.sought
            else "false"
        )
        select = f"select number, undone_ms is not null, request, report from store.import where coalesce({like}, false) or {maybe} order by number"
        for number, undone, request, report in self.scratch.rows(select):
            was, told = json.loads(request) if request else None, json.loads(report)
            kept, forgotten, theirs = (
                (None, False, False)
                if was is None
                else correcting.left(was, undone=undone, number=self.number)
            )
            self.outcome.corrections += theirs
            if kept is not None and self.sought.are_in(request):
                kept = {
                    name: without({name: part}, self.sought, paths=PATHS)[name]
                    if name in PATHS
                    else part
                    for name, part in kept.items()
                }
                if is_named(kept, self.sought):
                    self.outcome.quoted.append(("options of an import", str(number)))
            said = without(told, self.sought, paths=PATHS) if self.sought.are_in(report) else told
            if kept != was or said != told:
                changed.append(
                    (number, None if kept is None else _compact(kept), _compact(said), forgotten)
                )
        self._import_tables(changed)

    def _import_tables(self, changed: Sequence[tuple[int, str | None, str, bool]]) -> None:
        """Say what stays of the history and its files."""
        files = self._paths_of("named_path", "select distinct path from store.import_file")
        self.scratch.load(
            "changed_import",
            [
                ("number", "INTEGER"),
                ("request", "VARCHAR"),
                ("report", "VARCHAR"),
                ("forgotten", "BOOLEAN"),
            ],
            list(changed),
        )
        forgotten = "(select number from changed_import where forgotten)"
        if changed:
            unhashed = f"one.number in {forgotten}"
            report = "coalesce(changed.report, one.report)"
            self.stays["import"] = (
                "select one.* replace (case when changed.number is not null then changed.request else one.request end as request,"
                f' case when {unhashed} then regexp_replace({report}, \'"sha256": ?"[0-9a-f]*"\', \'"sha256":""\', \'g\') else {report} end as report)'
                " from store.import as one left join changed_import as changed on changed.number = one.number order by one.number"
            )
        if changed or files:
            gone = f"import in {forgotten}"
            self.stays["import_file"] = (
                f"select * replace (case when {gone} then '' else sha256 end as sha256, {self._path('path', 'named_path')}) from store.import_file"
            )

    def _seal_files(self, guard: Guard) -> None:
        """Make the hashes of files with the key of which a row goes or went, or whose import was
        undone: with the other rows, which the store has, whoever guesses the one could make the
        plain hash.
        """
        files = self.scratch.rows(
            "select import, place, sha256 from store.import_file as file where sha256 <> '' and not starts_with(sha256, $keyed) and (exists"
            " (select 1 from (select arrival from gone_row union all select arrival from store.erased_row) as row"
            " where row.arrival >= file.first_arrival and row.arrival < file.first_arrival + file.arrivals)"
            " or import in (select number from store.import where undone_ms is not null)) order by all",
            {"keyed": KEYED},
        )
        if not files:
            return
        sealed = {sha256: guard.text(sha256) for _, _, sha256 in files}
        within = self.stays.get("import", "select * from store.import")
        numbers = ", ".join(sorted({str(number) for number, _, _ in files}))
        reports = []
        for number, text in self.scratch.rows(
            f"select number, report from ({within}) where number in ({numbers})"
        ):
            document = json.loads(text)
            for file in document["files"]:
                file["sha256"] = sealed.get(file["sha256"], file["sha256"])
            reports.append((number, _compact(document)))
        self.scratch.load("sealed_report", [("number", "INTEGER"), ("report", "VARCHAR")], reports)
        self.stays["import"] = (
            "select one.* replace (coalesce(sealed.report, one.report) as report) from"
            f" ({within}) as one left join sealed_report as sealed on sealed.number = one.number order by one.number"
        )
        self.scratch.load(
            "sealed_file",
            [("number", "INTEGER"), ("nth", "INTEGER"), ("sealed", "VARCHAR")],
            [(number, place, sealed[sha256]) for number, place, sha256 in files],
        )
        within = self.stays.get("import_file", "select * from store.import_file")
        self.stays["import_file"] = (
            "select one.* replace (case when one.sha256 = '' or sealed.sealed is null then one.sha256 else sealed.sealed end as sha256) from"
            f" ({within}) as one left join sealed_file as sealed on sealed.number = one.import and sealed.nth = one.place"
            " order by one.import, one.place"
        )

    def _subject_requests(self, answered: Sequence[str]) -> None:
        """Clear the identities from the requests of the erased; those that are answered are
        completed.
        """
        cleared, texts = list(answered), []
        rows = self.scratch.rows(
            "select id, identities, group_id, callbacks, request, results from store.subject_request"
        )
        for name, identities, group, callbacks, request, results in rows:
            theirs = name in answered or (
                identities is not None and self._is_of_erased(json.loads(identities))
            )
            cleared += [name] if theirs and name not in answered else []
            if theirs and results:
                self.outcome.answers.append(results)
            sent = (
                base64.b64decode(request).decode("utf-8", "replace")
                if request and not theirs
                else ""
            )
            told = (
                NOTE if group and self.sought.are_in(group) else group,
                _compact([NOTE if self.sought.are_in(one) else one for one in callbacks]),
                path_without(results, self.sought) if results else results,
            )
            if told != (group, _compact(callbacks), results) or (sent and self.sought.are_in(sent)):
                texts.append((name, *told))
        if not cleared and not texts:
            return
        named, finished = (", ".join(map(quote_text, one)) or "null" for one in (cleared, answered))
        columns = ("id", "group_id", "callbacks", "results")
        self.scratch.load("told_request", [(name, "VARCHAR") for name in columns], texts)
        gone = f"one.id in ({named})"
        texted = "told.id is not null"
        self.stays["subject_request"] = (
            f"select one.* replace (case when one.id in ({finished}) then 'completed' else status end as status,"
            f" case when one.id in ({finished}) then {self.now_ms} else finished_ms end as finished_ms,"
            f" case when one.id in ({finished}) then {len(self.people)} else profiles end as profiles,"
            f" case when {gone} then null else identities end as identities,"
            f" case when {gone} or {texted} then null else request end as request,"
            f" case when {gone} then '' else sealed end as sealed,"
            f" case when {texted} then told.group_id else one.group_id end as group_id,"
            f" case when {texted} then told.callbacks::json::varchar[] else one.callbacks end as callbacks,"
            f" case when {texted} then told.results else one.results end as results)"
            " from store.subject_request as one left join told_request as told on told.id = one.id"
        )

    def _is_of_erased(self, identities: Sequence[Sequence[str]]) -> bool:
        """Say whether a request names an identity of the erased, or their MPID."""
        return any(
            (int(value), environment) in self.mpids
            if kind == "mpid"
            else self._is_erased(environment, kind, value)
            for kind, value in identities
            for environment in ENVIRONMENTS
        )

    def _is_erased(self, environment: str, kind: str, value: str) -> bool:
        kinds = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
        return any(
            hash_of(self.secret, environment, one, key_of(BY_NAME[one], display(value)))
            in self.hashes
            for one in kinds
        )

    def _quoted(self) -> None:
        """Name what somebody wrote that quotes a value, and what others have that does: it is
        theirs to change.
        """
        if not self.sought or not self.keeps_out:
            return
        self.outcome.quoted += defined(self.scratch, self.sought)
        self.outcome.others = of_others(self.scratch, self.profiles.segments, self.sought)
