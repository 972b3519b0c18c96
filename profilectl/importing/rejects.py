"""The rejected rows of an import: where they are put, and when there are too many.

A row gets its reason before: sift.FAULTS, or the reader of its format (stage).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from profilectl.codes import InputRefused, Unfinished
from profilectl.files.whole_file import whole_file
from profilectl.importing.answers.trace import first_rows, trace_rows
from profilectl.importing.request import ImportJob, most_rejects
from profilectl.importing.stage.mendable import Mendable
from profilectl.importing.stage.original import reject_rows
from profilectl.rules.counts import NO_REJECTS, FileReport, names_of

BLOCK_BYTES = 1 << 16
"""How much of the rejects is copied at once: more needs new memory for each block."""


def reject_staged_rows(job: ImportJob) -> None:
    """Write down the rows that were rejected after staging, with their original text.

    They do not depend on the content of the store: they are written once, even if the import is
    decided again.
    """
    if not job.has_late_rejects and job.relations.count("rejected"):
        reject_rows(job.scratch, job.staged, job.rejects)
    job.has_late_rejects = True
    job.rejects.close()


def check_rejects(job: ImportJob) -> None:
    """Refuse the import if more rows are rejected than may be."""
    rejected, read = len(job.rejects), job.report.counts.rows["read"]
    most = most_rejects(job.request.max_rejects, read)
    if most is None or rejected <= most:
        return
    # All that helps to mend the rows is written before the import is refused.
    place = ""
    if _are_written(job):
        place = f"; they are in {place_rejects(job)}"
    trace_import(job)
    if job.mend:
        job.mend.write(job.scratch, job.staged, job.rejects)
        place += f", and to mend in {job.mend.path}"
    codes = ", ".join(f"{number:,} {code}" for code, number in job.rejects.counts.most_common())
    raise InputRefused(
        f"{rejected:,} of {read:,} rows would be rejected ({codes}), more than --max-rejects"
        f" {job.request.max_rejects}{place}",
        "mend them, or allow more; nothing was imported",
    )


def check_strict(job: ImportJob) -> None:
    """Refuse a strict import of which something would be left out, or is worth knowing."""
    odd = job.report.counts.odd if job.request.strict else []
    if not odd:
        return
    trace_import(job)
    places = first_rows(job.relations, job.staged)
    listed = "; ".join(_odd(job, code, places.get(code)) for code in odd)
    raise InputRefused(
        f"--strict: the import would be refused: {listed}",
        "mend the rows, or leave out --strict; nothing was imported",
    )


def _odd(job: ImportJob, code: str, place: str | None) -> str:
    """Return in words how often there was a code, of which attributes, and where first."""
    counts = job.report.counts
    details = [names_of(counts.left_out_of(code)), f"first at {place}" if place else ""]
    detail = "; ".join(filter(None, details))
    return f"{counts.codes[code]:,} {code}" + (f" ({detail})" if detail else "")


def trace_import(job: ImportJob) -> None:
    """Write a line for each row and code, if the request asks for that."""
    if job.request.explain_rows:
        path = Path(job.request.explain_rows)
        with whole_file(path, "--explain-rows") as out:
            trace_rows(job.scratch, job.relations, job.staged, rejects=job.rejects, out=out)
        job.report.explained_rows = str(path)


def deliver_rejects(job: ImportJob) -> None:
    """Put the rejects where the user wants them, and say so in the report."""
    report = job.report
    if len(job.rejects) and _are_written(job):
        report.rejects = str(place_rejects(job))
    elif len(job.rejects) and job.request.rejects == NO_REJECTS:
        report.notices.append(_counted(job))
    elif not job.request.dry_run:
        report.notices += _stale_rejects(report.files)
    if job.mend and len(job.rejects):
        _write_mendable(job, job.mend)
        report.rejects_as_input = str(job.mend.path)


def _are_written(job: ImportJob) -> bool:
    """Return whether rejects go to a file: of a dry run only if it is named."""
    if job.request.rejects == NO_REJECTS:
        return False
    return job.request.rejects is not None or not job.request.dry_run


def _counted(job: ImportJob) -> str:
    """Return the sentence that rejects are counted, and written nowhere."""
    number = len(job.rejects)
    codes = ", ".join(f"{count:,} {code}" for code, count in job.rejects.counts.most_common())
    rows = f"{number:,} rejected row{'' if number == 1 else 's'}"
    return f"{rows} {'is' if number == 1 else 'are'} counted only (--rejects none): {codes}"


def _write_mendable(job: ImportJob, mend: Mendable) -> None:
    """Write the rejects in the format of the input. Raises Unfinished if that cannot be."""
    try:
        mend.write(job.scratch, job.staged, job.rejects)
    except (OSError, InputRefused) as error:
        # The import may be committed by now: it cannot be refused any more.
        number = job.report.number
        why = (
            error.message
            if isinstance(error, InputRefused)
            else f"{mend.path} could not be written: {error.strerror}"
        )
        raise Unfinished(
            f"{f'import {number} is done, but ' if number else ''}the rows to mend are not written:"
            f" {why}",
            "make room, then the same with --again --dry-run writes them",
        ) from None


def place_rejects(job: ImportJob) -> Path:
    """Put the rejects where they belong, and return where they are.

    That is the file of --rejects, else one beside the first file that has some; or one in the
    current folder, if that file cannot be written.
    """
    with_rejects = (file.path for file in job.report.files if job.rejects.by_file[file.path])
    name = f"{_plain_name(next(with_rejects, '-'))}.rejects.jsonl"
    path = job.request.rejects or name
    # The rejects are not lost if the folder of the data cannot be written.
    for target in (Path(path), Path(Path(name).name)):
        with contextlib.suppress(OSError, InputRefused):
            _copy(job.rejects.path, target)
            return target
    if job.report.number:
        raise Unfinished(
            f"import {job.report.number} is done, but its rejects could not be written to {path}",
            "make room; given again with --rejects FILE the same import writes them",
        )
    raise InputRefused(
        f"the rejects could not be written to {path}",
        "make room, or name another file with --rejects",
    )


def _copy(source: Path, target: Path) -> None:
    with whole_file(target, "--rejects") as out, source.open("rb") as rejects:
        while block := rejects.read(BLOCK_BYTES):
            out.write(block)


def _stale_rejects(files: Sequence[FileReport]) -> list[str]:
    """Return a notice of each file of rejects that is left from an earlier import."""
    names = (f"{_plain_name(file.path)}.rejects.jsonl" for file in files)
    return [
        f"{name} is of an earlier import: this one rejected nothing"
        for name in dict.fromkeys(names)
        if Path(name).exists()
    ]


def _plain_name(path: str) -> str:
    return "stdin" if path == "-" else path
