"""The store for Python programs: the calls of the command line, with plain values in and out.

from profilectl import Store

store = Store("profiles.duckdb")
for profile in store.profile(email="john.smith@example.com"):
    print(profile.mpid, profile.attributes["tier"].value)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from profilectl.library.options import (
    AudienceKind,
    ChangeKind,
    Chosen,
    ColumnsReading,
    Environment,
    ExportKind,
    FileReading,
    Identity,
    TableReading,
    check_keywords,
    person_of,
    type_of,
    with_keywords,
)
from profilectl.rules.workspace import in_workspace

if TYPE_CHECKING:
    import pyarrow

    from profilectl.importing.request import ImportRequest
    from profilectl.library.answers import (
        AudienceMember,
        Change,
        ExplainedRow,
        Explanation,
        Preview,
        StoredAudience,
    )
    from profilectl.library.arrow import ArrowStream
    from profilectl.library.columns import FileColumns
    from profilectl.library.imports import Plan, Report, StoredImport, TakenBack
    from profilectl.library.profiles import Profile


class Store:
    """A store on this machine. Each call opens it, and closes it again.

    wait_s: the longest time that a call waits for another process, in seconds. workspace: the
    workspace to read, if the store has several.

    Calls raise StoreBusy, StoreUnusable, UsageError and InputRefused of profilectl.codes, all of
    them ProfilectlError.
    """

    def __init__(
        self,
        path: str | Path = "profiles.duckdb",
        *,
        wait_s: float = 0,
        workspace: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.wait_s = wait_s
        self.workspace = workspace

    def __repr__(self) -> str:
        """Return the path, and the workspace if one is chosen."""
        of_workspace = f", workspace={self.workspace!r}" if self.workspace else ""
        return f"Store({str(self.path)!r}{of_workspace})"

    # People

    @with_keywords(Identity)
    def profile(
        self, *, as_of: int | str | None = None, **identity: Unpack[Identity]
    ) -> list[Profile]:
        """Return the profiles that hold an identity, oldest first.

        For example `profile(email="x")` or `profile(mpid=7)`.

        as_of: the state after an import (its number), or at a time (ISO 8601).
        """
        # Imported here, as by every call: a program loads only the modules of its calls.
        from profilectl.library.profiles import profile_of
        from profilectl.reading.people import read_activities

        person = person_of("profile", identity)
        with in_workspace(self.workspace):
            activities = read_activities(
                self.path,
                person.type,
                person.value,
                as_of=None if as_of is None else str(as_of),
                wait_s=self.wait_s,
            )
        return [profile_of(activity) for activity in activities]

    def lookup(
        self,
        values: Sequence[str | int],
        kind: str = "any",
        *,
        fields: Sequence[str] = (),
        environment: Environment = "production",
    ) -> pyarrow.Table:
        """Look up many identities at once; return a table with a row for each, in order.

        Its columns are type, value, mpid (null if nobody or several have it), profiles (how many
        have it), and the fields as JSON text.

        kind: an identity type, "mpid" or "any".
        """
        from profilectl.reading.actions import look_up_values
        from profilectl.reading.lookup import Lookup

        check_keywords("lookup", {"environment": environment, "fields": fields}, Chosen)
        type_name = kind if kind in ("any", "mpid") else type_of(kind)
        with in_workspace(self.workspace):
            return look_up_values(
                self.path,
                [str(value) for value in values],
                Lookup(type_name, environment, tuple(fields)),
                wait_s=self.wait_s,
            )

    @with_keywords(Identity)
    def explain(
        self,
        *attributes: str,
        as_of: int | str | None = None,
        **identity: Unpack[Identity],
    ) -> list[Explanation]:
        """Return why attributes of a person have their values; without names, of all attributes.

        For example `explain("tier", email="x")`. Nobody found: an empty list.

        as_of: the state after an import (its number), or at a time (ISO 8601). Raises InputRefused
        for an attribute that the person never had.
        """
        from profilectl.library.answers import explanation_of
        from profilectl.reading.people import explain_person

        person = person_of("explain", identity)
        with in_workspace(self.workspace):
            people = explain_person(
                self.path,
                person.type,
                person.value,
                keys=attributes,
                as_of=None if as_of is None else str(as_of),
                wait_s=self.wait_s,
            )
        return [
            explanation_of(activity, explained)
            for activity, explanations in people
            for explained in explanations
        ]

    def explain_row(self, file: str | Path, line: int) -> list[ExplainedRow]:
        """Return what became of a line of a file, in each import that brought it.

        file: its path, or the end of it. line: as an editor counts; of Parquet the row.
        """
        from profilectl.library.answers import row_of
        from profilectl.reading.actions import explain_one_row

        with in_workspace(self.workspace):
            return [
                row_of(fate)
                for fate in explain_one_row(self.path, str(file), line, wait_s=self.wait_s)
            ]

    # Imports

    @with_keywords(ColumnsReading)
    def columns(
        self, *paths: str | Path, feed: str | None = None, **reading: Unpack[ColumnsReading]
    ) -> list[FileColumns]:
        """Return what the columns of files would become; files with the same ones are one.

        Nothing is imported, and without a feed there need be no store. feed: whose files they are;
        what it remembers of reading holds, as far as no keyword says otherwise.
        """
        from profilectl.importing.columns.run import as_the_feed_reads, columns_of
        from profilectl.library.columns import columns_in
        from profilectl.library.requests import file_request

        check_keywords("columns", reading, ColumnsReading)
        request = file_request(paths, feed or "", reading, dry_run=True, wait_s=self.wait_s)
        with in_workspace(self.workspace):
            request = as_the_feed_reads(self.path, request)
            return [columns_in(table) for table in columns_of(self.path.absolute().parent, request)]

    @with_keywords(FileReading)
    def import_files(
        self,
        *paths: str | Path,
        feed: str,
        dry_run: bool = False,
        **reading: Unpack[FileReading],
    ) -> Report:
        """Import files as one transaction and return the report.

        dry_run: whether nothing is written.
        """
        from profilectl.library.requests import file_request

        check_keywords("import_files", reading, FileReading)
        request = file_request(paths, feed, reading, dry_run=dry_run, wait_s=self.wait_s)
        return self._imported(request)

    @with_keywords(TableReading)
    def import_table(
        self,
        table: ArrowStream,
        *,
        feed: str,
        name: str = "table",
        dry_run: bool = False,
        **reading: Unpack[TableReading],
    ) -> Report:
        """Import an Arrow table or a RecordBatchReader, and return the report.

        Its columns mean what those of a Parquet file mean. Anything that speaks Arrow is taken:
        data frames of polars and pandas, results of DuckDB. A reader is read once, piece by piece.

        name: the name by which the rows' origin is shown. dry_run: whether nothing is written.
        """
        from profilectl.library.arrow import as_parquet
        from profilectl.library.requests import table_request

        check_keywords("import_table", reading, TableReading)
        with as_parquet(table, self.path) as path:
            request = table_request(path, feed, reading, dry_run=dry_run, wait_s=self.wait_s)
            return self._imported(request, name=name)

    def _imported(self, request: ImportRequest, name: str | None = None) -> Report:
        from dataclasses import replace

        from profilectl.importing.run import import_files
        from profilectl.library.imports import report_of

        with in_workspace(self.workspace):
            return report_of(import_files(self.path, replace(request, stdin_name=name)))

    @with_keywords(FileReading)
    def plan(
        self,
        *paths: str | Path,
        feed: str,
        output: str | Path,
        **reading: Unpack[FileReading],
    ) -> Plan:
        """Run an import dry and write a plan of it, which `apply` carries out; return the plan.

        output: the file for the plan, which holds personal data.
        """
        from profilectl.importing.plans.plan import make_plan
        from profilectl.library.imports import Plan, report_of
        from profilectl.library.requests import file_request

        check_keywords("plan", reading, FileReading)
        request = file_request(paths, feed, reading, dry_run=True, wait_s=self.wait_s)
        with in_workspace(self.workspace):
            report, document = make_plan(self.path, request, Path(output))
        is_signed = document["state"]["store"] is not None
        return Plan(Path(output), report_of(report), signed=is_signed)

    def apply(
        self,
        plan: Plan | str | Path,
        *,
        rejects: str | Path | None = None,
        memory_limit: str | None = None,
    ) -> Report:
        """Make exactly the import of a plan, and return the report.

        rejects: the file that rejected rows are written to. Raises PlanMoved, saying what has
        changed since; then nothing was imported.
        """
        from profilectl.importing.plans.plan import apply_plan
        from profilectl.library.imports import Plan, report_of

        path = plan.path if isinstance(plan, Plan) else Path(plan)
        with in_workspace(self.workspace):
            report = apply_plan(
                self.path,
                path,
                rejects=None if rejects is None else str(rejects),
                memory_limit=memory_limit,
                wait_s=self.wait_s,
            )
        return report_of(report)

    def imports(self) -> list[StoredImport]:
        """Return all imports, oldest first."""
        from profilectl.importing.undo import imports_of
        from profilectl.library.imports import import_of_past

        with in_workspace(self.workspace):
            return [import_of_past(past) for past in imports_of(self.path, wait_s=self.wait_s)]

    def undo(self, number: int, *, cascade: bool = False, replay: bool = False) -> TakenBack:
        """Take an import back, without asking.

        cascade: also take back the later imports that rest on it. replay: make all later ones again
        without it, from their files. Raises InputRefused if that cannot be.
        """
        from profilectl.codes import UsageError
        from profilectl.importing.undo import undo_import
        from profilectl.library.imports import TakenBack

        if cascade and replay:
            raise UsageError("cascade and replay exclude each other", "state one of them")
        with in_workspace(self.workspace):
            undone = undo_import(
                self.path, number, cascade=cascade, replay=replay, wait_s=self.wait_s
            )
        return TakenBack(undone.numbers, dict(undone.replayed))

    @with_keywords(Identity)
    def diff(
        self,
        older: int | None = None,
        newer: int | None = None,
        *,
        changes: Sequence[ChangeKind] = (),
        attributes: Sequence[str] = (),
        **identity: Unpack[Identity],
    ) -> list[Change]:
        """Return what an import changed, or the differences between the states after two imports.

        older: the import whose changes they are, or whose state is left; None: the newest. newer:
        the import whose state is reached. changes: only these kinds. attributes: only of these. An
        identity: only of this person. Raises NobodyFound if no profile has it.
        """
        from profilectl.library.answers import change_of
        from profilectl.reading.actions import DiffRequest, changes_of

        request = DiffRequest(
            older=older,
            newer=newer,
            who=person_of("diff", identity) if identity else None,
            changes=changes,
            attributes=attributes,
        )
        with in_workspace(self.workspace):
            return [
                change_of(line) for line, *_ in changes_of(self.path, request, wait_s=self.wait_s)
            ]

    # Audiences

    def audiences(self) -> list[StoredAudience]:
        """Return the audiences with their sizes."""
        from profilectl.audiences.actions import audiences_in
        from profilectl.library.answers import StoredAudience

        with in_workspace(self.workspace):
            documents = audiences_in(self.path, wait_s=self.wait_s)
        return [StoredAudience(**document) for document in documents]

    def add_audience(
        self,
        name: str,
        criteria: str,
        *,
        kind: AudienceKind = "real-time",
        lookback: str | None = None,
        replaces: bool = False,
    ) -> StoredAudience:
        """Define an audience and return it; a real-time one is evaluated at once.

        lookback: how far back events count, such as "30 days". replaces: whether an audience of
        that name gets these criteria.
        """
        from profilectl.audiences.actions import add_audience
        from profilectl.library.answers import StoredAudience
        from profilectl.library.requests import audience_request

        audience = audience_request(name, criteria, kind=kind, lookback=lookback)
        with in_workspace(self.workspace):
            return StoredAudience(
                **add_audience(self.path, audience, replaces=replaces, wait_s=self.wait_s)
            )

    def preview_audience(
        self, criteria: str, *, kind: AudienceKind = "real-time", lookback: str | None = None
    ) -> Preview:
        """Return how many people would be in an audience; nothing is kept."""
        from profilectl.audiences.actions import preview_audience
        from profilectl.library.answers import preview_of
        from profilectl.library.requests import audience_request

        audience = audience_request("preview", criteria, kind=kind, lookback=lookback)
        with in_workspace(self.workspace):
            return preview_of(preview_audience(self.path, audience, wait_s=self.wait_s))

    def refresh_audiences(self, *names: str) -> list[StoredAudience]:
        """Evaluate audiences for everybody, and return them; without names, all of them."""
        from profilectl.audiences.actions import refresh_audiences
        from profilectl.library.answers import StoredAudience

        with in_workspace(self.workspace):
            documents = refresh_audiences(self.path, names, wait_s=self.wait_s)
        return [StoredAudience(**document) for document in documents]

    def remove_audience(self, name: str) -> None:
        """Forget an audience and who was in it, without asking."""
        from profilectl.audiences.actions import remove_audience

        with in_workspace(self.workspace):
            remove_audience(self.path, name, wait_s=self.wait_s)

    def members(self, audience: str, *, limit: int | None = None) -> list[AudienceMember]:
        """Return the members of an audience; the profile that was founded first comes first.

        limit: the most that are returned.
        """
        from profilectl.audiences.actions import members_of
        from profilectl.library.answers import member_of

        with in_workspace(self.workspace):
            documents = members_of(self.path, audience, limit=limit or 0, wait_s=self.wait_s)
            return [member_of(document) for document in documents]

    # Arrow out

    @with_keywords(Chosen)
    def export(self, kind: ExportKind = "profiles", **chosen: Unpack[Chosen]) -> pyarrow.Table:
        """Return an export as an Arrow table, with the columns of the Parquet file.

        kind: profiles, identities, attributes or imports.
        """
        return self._exported("export", kind, chosen).read_all()

    @with_keywords(Chosen)
    def export_batches(
        self, kind: ExportKind = "profiles", **chosen: Unpack[Chosen]
    ) -> pyarrow.RecordBatchReader:
        """Return an export as a RecordBatchReader, for more than fits into memory.

        kind: profiles, identities, attributes or imports.
        """
        return self._exported("export_batches", kind, chosen)

    def _exported(self, call: str, kind: ExportKind, chosen: Chosen) -> pyarrow.RecordBatchReader:
        from profilectl.library.arrow import from_parquet
        from profilectl.library.requests import export_request

        check_keywords(call, chosen, Chosen)
        with in_workspace(self.workspace):
            return from_parquet(self.path, export_request(kind, chosen), wait_s=self.wait_s)
