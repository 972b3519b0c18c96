"""What stays of the history of imports: requests, reports and paths that name nobody erased."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from profilectl.importing.suppression import KEYED, Guard
from profilectl.privacy.corrections_left import Correcting, Document
from profilectl.privacy.erased import Erased
from profilectl.privacy.mentions import is_named, without
from profilectl.privacy.stays import Rewriting, Stays
from profilectl.privacy.traces import load_paths, load_places
from profilectl.rules.text.spelling import SoughtValues
from profilectl.store.statements import reading

# Keys of the request and the report of an import whose texts are paths.
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
CHANGED_IMPORT = [
    ("number", "INTEGER"),
    ("request", "VARCHAR"),
    ("report", "VARCHAR"),
    ("forgotten", "BOOLEAN"),
]
SEALED_REPORT = [("number", "INTEGER"), ("report", "VARCHAR")]
SEALED_FILE = [("number", "INTEGER"), ("nth", "INTEGER"), ("sealed", "VARCHAR")]

# Imports that were corrections by hand (corrections_left.BY_HAND), or that quote a value.
IMPORTS_THAT_MAY_NAME = """
select number, undone_ms is not null, request, report
from store.import
where coalesce(
        contains(request, '"content"')
        or contains(request, '"modify"')
        or contains(request, '"alias"'),
        false
    )
   or rowid in (select place from named_import)
order by number
"""
# A forgotten correction loses the hash of its content too.
IMPORTS_CHANGED = """
select stored.* replace (
    case when changed.number is not null then changed.request else stored.request end as request,
    case
        when changed.forgotten
        then regexp_replace(changed.report, '"sha256": ?"[0-9a-f]*"', '"sha256":""', 'g')
        else coalesce(changed.report, stored.report)
    end as report
)
from stored
left join changed_import as changed on changed.number = stored.number
order by stored.number
"""
FILES_CHANGED = """
select * replace (
    case
        when import in (select number from changed_import where forgotten) then ''
        else sha256
    end as sha256,
    coalesce(
        (select any_value(named_path.hidden) from named_path where named_path.was = path), path
    ) as path
)
from stored
"""

# Files of which a row goes or went, or whose import was undone. The store has the other rows, so
# somebody could guess the missing one and check the guess against the plain hash of the file.
FILES_TO_SEAL = """
select file.import, file.place, file.sha256
from store.import_file as file
where file.sha256 <> ''
  and not starts_with(file.sha256, $keyed)
  and (
    exists (
        select 1
        from (
            select arrival from gone_row
            union all
            select arrival from store.erased_row
        ) as missing
        where missing.arrival >= file.first_arrival
          and missing.arrival < file.first_arrival + file.arrivals
    )
    or file.import in (select number from store.import where undone_ms is not null)
  )
order by all
"""
REPORTS = """
select number, report
from stored
where number in (select number from sealed_file)
"""
REPORTS_SEALED = """
select stored.* replace (coalesce(sealed.report, stored.report) as report)
from stored
left join sealed_report as sealed on sealed.number = stored.number
order by stored.number
"""
FILES_SEALED = """
select stored.* replace (
    case
        when stored.sha256 = '' or sealed.sealed is null then stored.sha256
        else sealed.sealed
    end as sha256
)
from stored
left join sealed_file as sealed
  on sealed.number = stored.import and sealed.nth = stored.place
order by stored.import, stored.place
"""


class ChangedImport(NamedTuple):
    """An import whose request or report changes."""

    number: int
    """The number of the import."""
    request: str | None
    """What it was asked for, as JSON."""
    report: str
    """What it reported, as JSON."""
    forgotten: bool
    """Whether nothing stays of the request of a correction by hand."""


def compact(document: object) -> str:
    """Return a document as JSON without blanks."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def imports_that_stay(erased: Erased) -> list[Stays]:
    """Return what stays of the history of imports.

    Corrections of the erased lose what they set, paths lose the name in them, and reports lose the
    texts that name them.
    """
    correcting = Correcting(erased.corrected, erased.has_identity)
    load_places(erased, "named_import", table="import", texts=["request", "report"])
    changed: list[ChangedImport] = []
    for number, undone, request, report in erased.scratch.rows(IMPORTS_THAT_MAY_NAME):
        asked_for = json.loads(request) if request else None
        stays, forgotten = asked_for, False
        if asked_for is not None:
            correction = correcting.left(asked_for, undone=undone, number=erased.number)
            stays, forgotten = correction.request, correction.is_forgotten
            erased.outcome.corrections += correction.is_of_erased
        if stays is not None and erased.sought.are_in(request):
            stays = _with_paths_hidden(stays, erased.sought)
            if is_named(stays, erased.sought):
                erased.outcome.quoted.append(("options of an import", str(number)))
        reported = json.loads(report)
        reports = (
            without(reported, erased.sought, paths=PATHS)
            if erased.sought.are_in(report)
            else reported
        )
        if stays != asked_for or reports != reported:
            text = None if stays is None else compact(stays)
            changed.append(ChangedImport(number, text, compact(reports), forgotten=forgotten))
    return _changed(erased, changed)


def _with_paths_hidden(request: Document, sought: SoughtValues) -> Document:
    return {
        name: without({name: part}, sought, paths=PATHS)[name] if name in PATHS else part
        for name, part in request.items()
    }


def _changed(erased: Erased, changed: Sequence[ChangedImport]) -> list[Stays]:
    paths = load_paths(erased, "named_path", "select distinct path from store.import_file")
    erased.scratch.load("changed_import", CHANGED_IMPORT, changed)
    stays = []
    if changed:
        stays.append(Stays("import", IMPORTS_CHANGED, rows_lost=0))
    if changed or paths:
        stays.append(Stays("import_file", FILES_CHANGED, rows_lost=0))
    return stays


def files_sealed(erased: Erased, guard: Guard, rewriting: Rewriting) -> list[Stays]:
    """Replace hashes of files by keyed ones, where a plain one would tell of a missing row."""
    scratch = erased.scratch
    files = scratch.rows(FILES_TO_SEAL, {"keyed": KEYED})
    if not files:
        return []
    sealed = {sha256: guard.text(sha256) for _, _, sha256 in files}
    scratch.load(
        "sealed_file",
        SEALED_FILE,
        [(number, place, sealed[sha256]) for number, place, sha256 in files],
    )
    reports = []
    for number, text in scratch.rows(reading(REPORTS, stored=rewriting.select_of("import"))):
        document = json.loads(text)
        for file in document["files"]:
            file["sha256"] = sealed.get(file["sha256"], file["sha256"])
        reports.append((number, compact(document)))
    scratch.load("sealed_report", SEALED_REPORT, reports)
    return [
        Stays("import", REPORTS_SEALED, rows_lost=0),
        Stays("import_file", FILES_SEALED, rows_lost=0),
    ]
