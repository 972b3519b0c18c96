"""The report of an import, its examples, and the history, printed for a person."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from profilectl.codes import sentence
from profilectl.render.columns import width_of
from profilectl.render.screen import Document, console, counted, notice, print_line
from profilectl.render.tables import draw, print_table
from profilectl.render.words import date, processed, shown_value
from profilectl.rules.counts import names_of
from profilectl.rules.text.terminal import visible
from profilectl.rules.text.values import TAG, Number, held_text, to_json

if TYPE_CHECKING:
    from profilectl.rules.counts import ImportReport, PastImport


def print_report(report: ImportReport) -> None:
    """Print the report of an import."""
    name = "Dry run" if report.dry_run else f"Import {report.number}"
    title = (
        f"{name}: feed {report.feed} ({report.source}, {report.protection}), {report.environment}"
    )
    _print_counts(title, {**report.counts.as_json(), "audiences": report.audiences})


def print_registered(report: ImportReport) -> None:
    """Print on stderr that the import registered a feed (design.md R7)."""
    if report.feed_registered:
        registered = "would register" if report.dry_run else "registered"
        feed = f"source {report.source}, protection {report.protection}"
        notice(f"{registered} the feed {report.feed}: {feed}")


def _print_counts(title: str, counts: Document) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(visible(title)), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE, show_header=False)
    table.add_column(style="bold" if out.is_terminal else None)
    table.add_column()
    for name in (
        "rows",
        "profiles",
        "identities",
        "attributes",
        *(["events"] if counts.get("events", {}).get("added") else []),
    ):
        numbers = ",  ".join(
            f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in counts[name].items()
        )
        table.add_row(name, Text(numbers))
    for place, (audience, moves) in enumerate((counts.get("audiences") or {}).items()):
        table.add_row(
            "audiences" if not place else "",
            Text(visible(f"{audience}: {moves['entered']:,} entered,  {moves['left']:,} left")),
        )
    for title in ("reasons", "warnings"):
        for place, (code, number) in enumerate(counts[title].items()):
            names = names_of(counts.get("left_out", {}).get(code, {}))
            table.add_row(
                title if not place else "",
                Text(
                    f"{number:,} {code}: {sentence(code)}"
                    + (f"\n  {visible(names)}" if names else "")
                ),
            )
    draw(out, table)


def print_rate(report: ImportReport) -> None:
    """Print on stderr how long an import took."""
    read = report.counts.rows["read"]
    rate = read / max(report.elapsed_ms, 1) * 1000
    slow = f", {report.slow_path_rows:,} decided one by one" if report.slow_path_rows else ""
    notice(
        f"{counted(read, 'row')} in {report.elapsed_ms / 1000:.1f} s"
        f" ({counted(round(rate), 'row')} a second{slow})"
    )


def print_advice(report: ImportReport) -> None:
    """Print on stderr what to do next, each with its command."""
    if report.advice:
        notice("What next:")
    for piece in report.advice:
        notice(f"- {piece.text}")
        # A command is never folded: a shell takes it as it stands.
        sys.stderr.write(f"    {visible(piece.command)}\n")


def print_examples(examples: Document) -> None:
    """Print the examples of a dry run or a plan."""
    from orjson import dumps

    _print_examples(_exact(dumps(examples).decode()))


def _exact(text: str) -> Any:
    """Return the value of a JSON text of our own, with every number as it is written."""
    from json import loads

    return loads(text, parse_int=Number, parse_float=Number)


def _print_examples(examples: Document) -> None:
    for code, listed in examples["reasons"].items():
        print_line(f"{code}: {sentence(code)}")
        for example in listed:
            more = example.get("raw") or example.get("attribute") or ""
            print_line(f"  {_place(example)}" + (f"  {more}" if more else ""))
    for group, kinds in (
        ("profiles", ("created", "updated")),
        ("identities", ("added", "moved", "removed")),
        ("attributes", ("set", "changed", "deleted", "blocked")),
    ):
        for kind in kinds:
            if examples[group][kind]:
                print_line(f"{group} {kind}, for example")
            for example in examples[group][kind]:
                print_line(f"  {_place(example)}  {_example(group, kind, example)}")
    if examples["shared"]:
        print_line("shared by many rows")
        for example in examples["shared"]:
            others_count = (
                f", {int(example['profiles']):,} other profiles" if example["profiles"] else ""
            )
            print_line(
                f"  {example['type']} {example['value']}: {int(example['rows']):,}"
                f" rows{others_count}"
            )


def _place(example: Document) -> str:
    return f"{example['file']}:{example.get('line', example.get('row'))}"


SHOWN_ATTRIBUTES = 4
"""The most attributes that one example shows."""


def _example(group: str, kind: str, example: Document) -> str:
    """Return one example in words."""
    mpid = f"profile {example['mpid']}  " if "mpid" in example else ""
    if group == "profiles":
        identities = [f"{name} {value}" for name, value in example.get("identities", {}).items()]
        attributes = [
            f"{key} = {shown_value(value)}" for key, value in example.get("attributes", {}).items()
        ]
        more = (
            [f"and {len(attributes) - SHOWN_ATTRIBUTES} more"]
            if len(attributes) > SHOWN_ATTRIBUTES
            else []
        )
        return mpid + ", ".join([*identities, *attributes[:SHOWN_ATTRIBUTES], *more])
    if group == "identities":
        way = (
            f"  from {example['from_mpid']} to {example['to_mpid']}"
            if example.get("from_mpid")
            else ""
        )
        return f"{mpid}{example['type']} {example.get('value', '')}{way}".rstrip()
    before, after = (
        shown_value(example[name]) if name in example else "(none)" for name in ("before", "after")
    )
    if before == after:  # the text 4 and the number 4
        before, after = (
            to_json(example[name]) if name in example else "(none)" for name in ("before", "after")
        )
    if kind == "blocked":
        return (
            f"{mpid}{example['attribute']}: stays {before},"
            f" {shown_value(example.get('value', example.get('refused')))} is refused"
            f" ({example['code']})"
        )
    return (
        f"{mpid}{example['attribute']}: {before} -> {'(deleted)' if kind == 'deleted' else after}"
    )


def print_plan(plan: Document, text: str) -> None:
    """Print a saved plan.

    text: the plan as it is written, which has every digit of the numbers in its examples.
    """
    report = plan["report"]
    title = (
        f"Plan of {date(plan['created_ms'])} by {plan['made_by']}: feed {report['feed']}"
        f" ({report['source']}, {report['protection']}), {report['environment']}"
    )
    _print_counts(title, report)
    for file in report["files"]:
        already = (
            f"  already imported as {file['already_imported']}"
            if file.get("already_imported")
            else ""
        )
        print_line(
            f"{file['path']}  {counted(file['rows'], 'row')}  sha256 {file['sha256']}{already}"
        )
    if report.get("examples"):
        _print_examples(_exact(text)["report"]["examples"])


def vouched_for(backup: object, made_ms: int) -> str:
    """Return the sentence that a backup is unchanged."""
    return f"{backup} is as it was made on {date(made_ms)}"


def print_imports(pasts: Sequence[PastImport]) -> None:
    """Print the history as a table."""
    rows = []
    for past in pasts:
        counts = past.report
        state = "undone" if past.undone_ms is not None else "in force"
        can_be_undone = {None: "yes", "undone": "", "laid together": "no"}[past.why_not_undoable]
        rows.append(
            (
                past.number,
                date(past.started_ms),
                past.feed,
                past.protection,
                f"{counts['rows']['applied']:,}",
                f"{counts['profiles']['created']:,}",
                f"{counts['profiles']['updated']:,}",
                state,
                can_be_undone,
                ", ".join(file["path"] for file in counts["files"]),
            )
        )
    print_table(
        "Imports",
        (
            "import",
            "when",
            "feed",
            "protection",
            "rows",
            "created",
            "updated",
            "state",
            "undo",
            "files",
        ),
        rows,
        right=(0, 4, 5, 6),
        spare=(3, 5, 6),
    )


def print_import(past: PastImport) -> None:
    """Print one import of the history."""
    _print_counts(
        (
            f"Import {past.number}: feed {past.feed} ({past.source}, {past.protection}),"
            f" {past.environment}"
        ),
        past.report,
    )
    seconds = (past.finished_ms - past.started_ms) / 1000
    print_line(f"made {date(past.started_ms)} by {past.made_by or 'somebody'}, in {seconds:.1f} s")
    if past.undone_ms is not None:
        print_line(f"undone {date(past.undone_ms)} by {past.undone_by}")
    elif not past.undoable:
        print_line("laid together with others: it cannot be undone any more")
    if past.needs is None:
        print_line("whether it rests on earlier imports is not known: an older version made it")
    elif past.needs:
        print_line("rests on " + ", ".join(f"import {number}" for number in past.needs))
    for code, kept_out in (past.kept_out or {}).items():
        print_line(
            f"without MPID: {counted(kept_out['batches'], 'batch')} with"
            f" {counted(kept_out['events'], 'event')}, {code}: {processed(code)}"
        )
    for file in past.report["files"]:
        print_line(f"{file['path']}  {counted(file['rows'], 'row')}  sha256 {file['sha256']}")


def print_changes(changes: Iterable[tuple[str, ...]]) -> None:
    """Print changes as they come, one a line, because there may be millions."""
    previous_mpid, is_empty = "", True
    for _, mpid, change, subject, before, after, number, place, cause in changes:
        if mpid != previous_mpid:
            print_line(f"profile {mpid}")
            previous_mpid = mpid
        is_empty = False
        shown = {
            "created": "created",
            "gone": "gone",
            "aliased": f"alias of {before}",
            "unaliased": f"no alias of {before}",
            "identity-added": f"+ {subject} {before}",
            "identity-removed": f"- {subject} {before}",
            "set": f"{subject}: {_held(after)}",
            "changed": f"{subject}: {_held(before)} -> {_held(after)}",
            "deleted": f"{subject}: {_held(before)} -> (deleted)",
        }[change]
        print_line(
            f"  {shown}"
            + (f"  [{number}] {place}" if place else "")
            + (f", brought by {cause}" if cause else "")
        )
    if is_empty:
        notice("no changes")


def _held(held: str) -> str:
    return "(tag)" if held == TAG else held_text(held)


MOST_COLUMNS = 100
"""The most columns of a file whose meaning is printed."""


def print_columns(report: ImportReport) -> None:
    """Print on stderr the meaning of each column of each file."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for file in report.files:
        if file.columns:
            alike.setdefault(file.columns, []).append(file.path)
    for columns, paths in alike.items():
        listed = [
            name if name == meaning else f"{name} -> {meaning}"
            for name, meaning in columns[:MOST_COLUMNS]
        ]
        more = len(columns) - len(listed)
        if more:
            listed.append(f"... and {more:,} more: --json lists them")
        files = paths[0] + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")
        _print_list(f"{files}: ", listed)


def _print_list(title: str, entries: Sequence[str]) -> None:
    """Print entries on stderr, none of them folded where it fits on a line of its own."""
    width = width_of(sys.stderr)
    line = title
    for place, entry in enumerate(entries, start=1):
        text = entry if place == len(entries) else f"{entry},"
        if line.strip() and line != title and len(line) + len(text) + 1 > width:
            notice(line)
            line = "  "
        line += text if line in (title, "  ") else f" {text}"
    notice(line)


def print_correction(report: ImportReport) -> None:
    """Print the effect of a correction."""
    counts = report.counts.attributes
    numbers = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
    if report.number is None and not report.dry_run:
        print_line(f"no import: nothing changes ({numbers or 'there is nothing of it to delete'})")
        return
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(f"{number}{numbers or 'nothing to do'}")
    for code, count in report.counts.as_json()["reasons"].items():
        print_line(f"  {count:,} {code}: {sentence(code)}")


def print_modification(report: ImportReport) -> None:
    """Print the effect of a change of identities."""
    numbers = ", ".join(
        f"{count:,} {change}" for change, count in report.counts.identities.items() if count
    )
    if report.number is None and not report.dry_run:
        print_line("no import: nothing changes")
        return
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(f"{number}{numbers or 'nothing to do'}")


def print_alias(report: ImportReport, source: str, destination: str, *, at_once: bool) -> None:
    """Print the effect of an alias, and when it begins."""
    when = "now" if at_once else "in 24 hours"
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(
        f"{number}{destination} gets the first-seen date and install attribution of"
        f" {source}, {when}"
    )
