"""Results as tables, plain text and JSON: the only module that knows Rich.

stdout is data; notices, progress and errors go to stderr. Values come from strangers' files: they
are shown as plain text, control characters made visible, never as markup.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from profilectl.codes import sentence
from profilectl.feed import BECAME
from profilectl.report import names_of
from profilectl.terminal import visible
from profilectl.values import TAG, Number, Value, held_text, parse_json, to_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from profilectl.report import ImportReport, Past
    from profilectl.search import Hit
    from profilectl.stream import Arrived, Found, Unowned

LONGEST_WORD = 20
"""A word of so many characters (an MPID, a protection level) is not broken in a table."""
SHORTEST_WORD = 12
"""So long a word (a day, a type) is not broken in a table that has too little room, but between others."""
LONGEST_CELL = 120
"""So many characters of a text are shown in a table of events."""
SECTIONS = ("details", "usage", "devices", "attributes", "identities", "consent", "attribution", "audiences", "timeline")
"""The panels of the activity view, in the platform's order (domain.md 10)."""
ANY_WIDTH = 100_000
"""How wide the lines of a pipe may be, unless COLUMNS says how wide."""


def console(*, stderr: bool = False) -> Console:
    """Return a console for a person; a pipe gets plain text of any width, or as wide as COLUMNS says."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else ANY_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=wide)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right number."""
    plural = noun[:-1] + "ies" if noun[-2:] in ("ty", "ry") else noun + "es" if noun.endswith("ch") else noun + "s"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural}"


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_text(text: str) -> None:
    """Print text on stdout as it is."""
    sys.stdout.write(text)


def notice(text: str) -> None:
    """Say something on stderr, after what stdout has got so far."""
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
    sys.stderr.write(_folded(visible(text), sys.stderr) + "\n")


def _folded(text: str, stream: TextIO) -> str:
    """Return a text folded between words, where a terminal reads it: it would cut words at its edge. A pipe gets one line."""
    if not stream.isatty():
        return text
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def error(message: str, hint: str) -> None:
    """Say on stderr what is wrong, and what to do."""
    notice(f"Error: {message}")
    if hint:
        notice(f"  Try: {hint}")


def print_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = (), spare: Sequence[int] = ()
) -> None:
    """Print a table: drawn on a terminal, aligned plain text in a pipe.

    spare: the columns that a terminal too narrow for all goes without, which the title says.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    out = console()
    limited = out.width < ANY_WIDTH
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    columns = list(zip(headings, *cells, strict=True))
    shown: Sequence[int] = range(len(headings))

    def too_wide(least: Sequence[int]) -> bool:
        return limited and sum(least[place] + 3 for place in shown) + 1 > out.width  # 3, 1: the frame

    if spare and too_wide([_least(column, LONGEST_WORD) for column in columns]):
        shown = [place for place in shown if place not in spare]
        title = f"{title} (a wider terminal shows {', '.join(headings[place] for place in spare)} too)".lstrip()
    tried = ([_least(column, longest) for column in columns] for longest in (LONGEST_WORD, SHORTEST_WORD))
    least = next((widths for widths in tried if not too_wide(widths)), [1] * len(headings))
    if title:
        out.print(Text(title), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE_HEAD)
    whole = [max(cell_len(text) for text in column) for column in columns]
    room = out.width - 1 - sum(least[place] + 3 for place in shown) if limited else sum(whole)
    more = _shared(room, {place: max(whole[place] - least[place], 0) for place in shown})
    for place in shown:
        width = min(least[place] + more[place], whole[place])
        table.add_column(Text(headings[place]), justify="right" if place in right else "left", overflow="fold", width=width)
    for row in cells:
        table.add_row(*(Text(row[place]) for place in shown))
    _draw(out, table)


def _shared(room: int, lacks: Mapping[int, int]) -> dict[int, int]:
    """Return how much of the room each column gets that lacks some: an equal share, those that lack less first."""
    given = {}
    for left, place in zip(range(len(lacks), 0, -1), sorted(lacks, key=lambda place: lacks[place]), strict=True):
        given[place] = min(lacks[place], max(room, 0) // left)
        room -= given[place]
    return given


def _least(column: Sequence[str], longest: int) -> int:
    """Return how narrow a column may be: its heading and its words whole. Longer words than the longest are folded,
    but a column of single words, such as MPIDs, keeps them as far as any."""
    from rich.cells import cell_len

    if not any(" " in text for text in column[1:]):
        longest = LONGEST_WORD
    words = (cell_len(word) for text in column for word in text.split())
    return max(min(len(column[0]), 10), *(length for length in words if length <= longest), 0)


def _draw(out: Console, table: Table) -> None:
    """Print a table; in a pipe without blanks at the end of lines."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as drawn:
        out.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().strip("\n").splitlines()))


def print_line(text: str) -> None:
    """Print a line on stdout, nothing in it able to do anything to a terminal, which gets it folded between words."""
    sys.stdout.write(_folded(visible(text), sys.stdout) + "\n")


def print_report(report: ImportReport) -> None:
    """Print what an import did, for a person."""
    what = "Dry run" if report.dry_run else f"Import {report.number}"
    title = f"{what}: feed {report.feed} ({report.source}, {report.protection}), {report.environment}"
    _print_counts(title, {**report.counts.as_json(), "audiences": report.audiences})


def _print_counts(title: str, counts: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(visible(title)), style="bold" if out.is_terminal else None)
    table = Table(box=box.ROUNDED if out.is_terminal else box.SIMPLE, show_header=False)
    table.add_column(style="bold" if out.is_terminal else None)
    table.add_column()
    for name in ("rows", "profiles", "identities", "attributes", *(["events"] if counts.get("events", {}).get("added") else [])):
        said = ",  ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in counts[name].items())
        table.add_row(name, Text(said))
    for place, (audience, moves) in enumerate((counts.get("audiences") or {}).items()):
        table.add_row("audiences" if not place else "", Text(visible(f"{audience}: {moves['entered']:,} entered,  {moves['left']:,} left")))
    for title in ("reasons", "warnings"):
        for place, (code, number) in enumerate(counts[title].items()):
            names = names_of(counts.get("left_out", {}).get(code, {}))
            table.add_row(title if not place else "", Text(f"{number:,} {code}: {sentence(code)}" + (f"\n  {visible(names)}" if names else "")))
    _draw(out, table)


def print_rate(report: ImportReport) -> None:
    """Say on stderr how long an import took."""
    read = report.counts.rows["read"]
    rate = read / max(report.elapsed_ms, 1) * 1000
    slow = f", {report.slow_path_rows:,} decided one by one" if report.slow_path_rows else ""
    notice(f"{counted(read, 'row')} in {report.elapsed_ms / 1000:.1f} s ({rate:,.0f} rows a second{slow})")


def print_examples(examples: dict[str, Any]) -> None:
    """Print the examples of a dry run or a plan, for a person."""
    from orjson import dumps

    _print_examples(_exact(dumps(examples).decode()))


def _exact(text: str) -> Any:
    """Return what a JSON text of ours says, every number as it is written."""
    from json import loads

    return loads(text, parse_int=Number, parse_float=Number)


def _print_examples(found: dict[str, Any]) -> None:
    for code, listed in found["reasons"].items():
        print_line(f"{code}: {sentence(code)}")
        for one in listed:
            more = one.get("raw") or one.get("attribute") or ""
            print_line(f"  {_place(one)}" + (f"  {more}" if more else ""))
    for group, kinds in (("profiles", ("created", "updated")), ("identities", ("added", "moved", "removed")),
                         ("attributes", ("set", "changed", "deleted", "blocked"))):
        for kind in kinds:
            if found[group][kind]:
                print_line(f"{group} {kind}, for example")
            for one in found[group][kind]:
                print_line(f"  {_place(one)}  {_example(group, kind, one)}")
    if found["shared"]:
        print_line("shared by many rows")
        for one in found["shared"]:
            held = f", {int(one['profiles']):,} other profiles" if one["profiles"] else ""
            print_line(f"  {one['type']} {one['value']}: {int(one['rows']):,} rows{held}")


def _place(one: dict[str, Any]) -> str:
    return f"{one['file']}:{one.get('line', one.get('row'))}"


SHOWN_ATTRIBUTES = 4


def _example(group: str, kind: str, one: dict[str, Any]) -> str:
    """Return one example in words."""
    mpid = f"profile {one['mpid']}  " if "mpid" in one else ""
    if group == "profiles":
        said = [f"{name} {value}" for name, value in one.get("identities", {}).items()]
        attributes = [f"{key} = {_shown(value)}" for key, value in one.get("attributes", {}).items()]
        more = [f"and {len(attributes) - SHOWN_ATTRIBUTES} more"] if len(attributes) > SHOWN_ATTRIBUTES else []
        return mpid + ", ".join([*said, *attributes[:SHOWN_ATTRIBUTES], *more])
    if group == "identities":
        way = f"  from {one['from_mpid']} to {one['to_mpid']}" if one.get("from_mpid") else ""
        return f"{mpid}{one['type']} {one.get('value', '')}{way}".rstrip()
    before, after = (_shown(one[name]) if name in one else "(none)" for name in ("before", "after"))
    if before == after:  # the text 4 and the number 4
        before, after = (to_json(one[name]) if name in one else "(none)" for name in ("before", "after"))
    if kind == "blocked":
        return f"{mpid}{one['attribute']}: stays {before}, {_shown(one.get('value', one.get('refused')))} is refused ({one['code']})"
    return f"{mpid}{one['attribute']}: {before} -> {'(deleted)' if kind == 'deleted' else after}"


def print_plan(plan: dict[str, Any], text: str) -> None:
    """Print a saved plan, for a person. text: the plan as it is written, for every digit of its examples."""
    report = plan["report"]
    title = f"Plan of {_date(plan['created_ms'])} by {plan['made_by']}: feed {report['feed']} ({report['source']}, {report['protection']}), {report['environment']}"
    _print_counts(title, report)
    for file in report["files"]:
        already = f"  already imported as {file['already_imported']}" if file.get("already_imported") else ""
        print_line(f"{file['path']}  {counted(file['rows'], 'row')}  sha256 {file['sha256']}{already}")
    if report.get("examples"):
        _print_examples(_exact(text)["report"]["examples"])


def vouched_for(backup: object, made_ms: int) -> str:
    """Return that a backup is as it was made, in a sentence."""
    return f"{backup} is as it was made on {_date(made_ms)}"


def print_imports(pasts: Sequence[Past]) -> None:
    """Print the history as a table."""
    rows = []
    for past in pasts:
        counts = past.report
        state = "undone" if past.undone_ms is not None else "in force" if past.undoable else "in force, for good"
        rows.append((
            past.number, _date(past.started_ms), past.feed, past.protection, f"{counts['rows']['applied']:,}",
            f"{counts['profiles']['created']:,}", f"{counts['profiles']['updated']:,}", state,
            ", ".join(file["path"] for file in counts["files"]),
        ))
    print_table("Imports", ("import", "when", "feed", "protection", "rows", "created", "updated", "state", "files"), rows, right=(0, 4, 5, 6), spare=(3, 5, 6))


def print_import(past: Past) -> None:
    """Print one import of the history."""
    _print_counts(f"Import {past.number}: feed {past.feed} ({past.source}, {past.protection}), {past.environment}", past.report)
    seconds = (past.finished_ms - past.started_ms) / 1000
    print_line(f"made {_date(past.started_ms)} by {past.made_by or 'somebody'}, in {seconds:.1f} s")
    if past.undone_ms is not None:
        print_line(f"undone {_date(past.undone_ms)} by {past.undone_by}")
    elif not past.undoable:
        print_line("laid together with others: it cannot be undone any more")
    if past.needs is None:
        print_line("whether it rests on earlier imports is not known: an older version made it")
    elif past.needs:
        print_line("rests on " + ", ".join(f"import {number}" for number in past.needs))
    for code, one in (past.kept_out or {}).items():
        print_line(f"without MPID: {counted(one['batches'], 'batch')} with {counted(one['events'], 'event')}, {code}: {processed(code)}")
    for file in past.report["files"]:
        print_line(f"{file['path']}  {counted(file['rows'], 'row')}  sha256 {file['sha256']}")


def processed(code: str) -> str:
    """Return why a row was left out, and what became of one that was processed all the same, as a sentence."""
    return ": ".join([sentence(code), *([BECAME[code]] if code in BECAME else [])])


def print_changes(found: Iterable[tuple[str, ...]]) -> None:
    """Print changes as they come, a line each: a store may have changed in a million places."""
    last, none = "", True
    for _, mpid, change, what, before, after, number, place, brought in found:
        if mpid != last:
            print_line(f"profile {mpid}")
            last = mpid
        none = False
        shown = {
            "created": "created",
            "gone": "gone",
            "aliased": f"alias of {before}",
            "unaliased": f"no alias of {before}",
            "identity-added": f"+ {what} {before}",
            "identity-removed": f"- {what} {before}",
            "set": f"{what}: {_held(after)}",
            "changed": f"{what}: {_held(before)} -> {_held(after)}",
            "deleted": f"{what}: {_held(before)} -> (deleted)",
        }[change]
        print_line(f"  {shown}" + (f"  [{number}] {place}" if place else "") + (f", brought by {brought}" if brought else ""))
    if none:
        notice("no changes")


def _held(held: str) -> str:
    return "(tag)" if held == TAG else held_text(held)


def print_stats(found: dict[str, Any]) -> None:
    """Print what a store holds."""
    environments = ", ".join(f"{number:,} {name}" for name, number in found["environments"].items())
    print_line(counted(found["profiles"], "profile") + (f" ({environments})" if environments else ""))
    imports = found["imports"]
    print_line(
        f"{counted(imports['in_force'], 'import')} in force, {imports['undone']:,} undone; {counted(found['segments'], 'segment')}, "
        f"{counted(found['rows'], 'row')}, {found['size_bytes']:,} bytes"
    )
    if found["identities"]:
        rows = [(name, f"{one['identities']:,}", f"{one['values']:,}", f"{one['profiles']:,}") for name, one in found["identities"].items()]
        print_table("", ("identity", "held", "distinct values", "profiles"), rows, right=(1, 2, 3))
    if found["attributes"]:
        attributes = [
            (one["attribute"], f"{one['profiles']:,}", f"{one['fill_rate']:.1%}", f"{one['distinct_values']:,}", ", ".join(one["sources"]))
            for one in found["attributes"]
        ]
        print_table("", ("attribute", "profiles", "filled", "distinct values", "sources"), attributes, right=(1, 2, 3))
    if found["largest_profiles"]:
        print_table("", ("largest profiles", "rows"), [(one["mpid"], f"{one['rows']:,}") for one in found["largest_profiles"]], right=(1,))
    if found["most_shared"]:
        shared = [(one["type"], one["value"], f"{one['profiles']:,}") for one in found["most_shared"]]
        print_table("", ("most shared", "value", "profiles"), shared, right=(2,))


COLUMNS_SAID = 100
"""So many columns of a file are said to a person."""


def print_columns(report: ImportReport) -> None:
    """Say how each column of each file was read."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for file in report.files:
        if file.columns:
            alike.setdefault(file.columns, []).append(file.path)
    for columns, paths in alike.items():
        listed = columns[:COLUMNS_SAID]
        said = ", ".join(name if name == meaning else f"{name} -> {meaning}" for name, meaning in listed)
        more = len(columns) - len(listed)
        files = paths[0] + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")
        notice(f"{files}: {said}" + (f" ... and {more:,} more: --json lists them" if more else ""))


def _shown(value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return "(tag)" if value is None else to_json(value)


def print_correction(report: ImportReport) -> None:
    """Say what a single correction did."""
    counts = report.counts.attributes
    said = ", ".join(f"{number:,} {what}" for what, number in counts.items() if number)
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(f"{number}{said or 'nothing to do'}")
    for code, count in report.counts.as_json()["reasons"].items():
        print_line(f"  {count:,} {code}: {sentence(code)}")


def print_modification(report: ImportReport) -> None:
    """Say what a change of identities did."""
    said = ", ".join(f"{number:,} {what}" for what, number in report.counts.identities.items() if number)
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(f"{number}{said or 'nothing to do'}")


def print_alias(report: ImportReport, source: str, destination: str, *, at_once: bool) -> None:
    """Say what an alias will do, and when."""
    when = "now" if at_once else "in 24 hours"
    number = f"import {report.number}: " if report.number is not None else "dry run: "
    print_line(f"{number}{destination} gets the first-seen date and install attribution of {source}, {when}")


def print_hits(hits: Sequence[Hit]) -> None:
    """Print what a search found: an identity or a profile a line, with what the condition read."""
    keys = list(dict.fromkeys(key for one in hits for key in one.values))
    headings = ["MPID", "environment", *(["type", "value"] if any(one.type for one in hits) else []), *keys]
    rows = []
    for one in hits:
        row = [str(one.mpid), one.environment, *([one.type, one.value] if "type" in headings[2:3] else [])]
        rows.append(row + [_shown(parse_json(one.values[key])) if key in one.values else "" for key in keys])
    if rows:
        print_table("", headings, rows)


def print_calculated(found: Sequence[dict[str, Any]]) -> None:
    """Print calculated attributes, one a line."""
    if not found:
        notice("no calculated attributes")
        return
    rows = [(one["name"], one["state"], defined(one), f"{one['profiles']:,}", _date(one["computed_ms"]) if one["computed_ms"] else "never") for one in found]
    print_table("", ("calculated attribute", "state", "definition", "profiles", "computed"), rows, right=(3,))


def defined(one: Mapping[str, Any]) -> str:
    """Return a definition as a sentence: sum of price of custom_event purchase where ... within 30 days."""
    words = [one["type"].replace("_", " ")]
    if one.get("of"):
        words.append(f"of {one['of']}")
    words.append(f"of {one.get('event_type', 'custom_event')}" + (f" {one['event']}" if one.get("event") else ""))
    words += [f"{key} {one[key]}" for key in ("where", "within", "since") if one.get(key)]
    return " ".join(words)


def print_calculation(found: dict[str, Any]) -> None:
    """Print a calculated attribute with its values, or a preview of one."""
    state = f" ({found['state']})" if "state" in found else ""
    print_line(f"{found['name']}{state}: {defined(found)}")
    print_line(f"{counted(found['profiles'], 'profile')} with a value")
    if found["most_frequent"]:
        print_table("", ("value", "profiles"), [(_shown(one["value"]), f"{one['profiles']:,}") for one in found["most_frequent"]], right=(1,))
        print_table("", ("MPID", "value"), [(one["mpid"], _shown(one["value"])) for one in found["sample"]])


def print_audiences(found: Sequence[dict[str, Any]]) -> None:
    """Print audiences, one a line, with who entered and left where that is said."""
    if not found:
        notice("no audiences")
        return
    moved = "entered" in found[0]
    rows = []
    for one in found:
        last = [f"{one['entered']:,}", f"{one['left']:,}"] if moved else [_date(one["refreshed_ms"]) if one["refreshed_ms"] else "never"]
        rows.append((one["name"], one["kind"], f"{one['members']:,}", *last, one["criteria"]))
    print_table("", ("audience", "kind", "members", *(("entered", "left") if moved else ("refreshed",)), "criteria"), rows, right=(2, *((3, 4) if moved else ())))


def print_audience(found: dict[str, Any]) -> None:
    """Print one audience."""
    print_line(f"{found['name']}: {counted(found['members'], 'member')}")
    lookback = f", over the last {counted(found['lookback_days'], 'day')}" if found["lookback_days"] else ""
    print_line(f"  {found['kind']}{lookback}")
    print_line(f"  {found['criteria']}")
    print_line(f"  evaluated {_date(found['refreshed_ms'])}" if found["refreshed_ms"] else "  not evaluated yet")


def print_preview(found: dict[str, Any]) -> None:
    """Print how many an audience would have, and some of them."""
    print_line(f"{found['members']:,} of {counted(found['profiles'], 'profile')}: {found['criteria']}")
    rows = [(one["mpid"], _named(one["user_identities"])) for one in found["sample"]]
    if rows:
        print_table("", ("MPID", "identities"), rows)


def _named(identities: dict[str, list[str]]) -> str:
    return ", ".join(f"{kind} {value}" for kind, values in identities.items() for value in values)


def print_members(found: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Print the members of an audience."""
    from orjson import dumps

    if as_json:
        for one in found:
            print_text(dumps(one).decode() + "\n")
        return
    rows = [(one["mpid"], _date(one["since_ms"]), _named(one["identities"])) for one in found]
    print_table("", ("MPID", "since", "identities"), rows) if rows else notice("nobody is in it")


def print_moves(found: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print who entered and left an audience."""
    from orjson import dumps

    if as_json:
        for one in found:
            print_text(dumps(one).decode() + "\n")
        return
    rows = [(_date(one["at_ms"]), one["mpid"] or "(gone)", one["change"], str(one["import"] or "")) for one in found]
    print_table("", ("time", "MPID", "change", "import"), rows) if rows else notice("nobody entered or left")


def cut(text: str) -> str:
    """Return the beginning of a text that is too long for a table."""
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def print_events(found: Sequence[Found]) -> None:
    """Print events, newest first, one a line with what it says."""
    from profilectl.render.activity import moment, said_of

    if not found:
        notice("no events")
        return
    rows = [
        (moment(one.at_ms), str(one.mpid), cut(f"{one.name} ({one.type})" if one.name else one.type), cut(said_of(parse_json(one.event))), f"{one.feed}, {one.file}:{one.place}")
        for one in found
    ]
    print_table("", ("time", "MPID", "event", "says", "from"), rows)


def print_batches(found: Sequence[Arrived | Unowned], *, as_json: bool) -> None:
    """Print batches with what each did, oldest first; at once, for whoever follows."""
    from profilectl.render.activity import batch_lines

    for one in found:
        if as_json:
            print_text(one.as_json() + "\n")
        else:
            for line in batch_lines(one):
                print_line(line)
    sys.stdout.flush()


def now_ms() -> int:
    """Return the time that ages are told from; SOURCE_DATE_EPOCH (seconds) makes output repeatable."""
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(stated) * 1000 if stated.isdecimal() else time.time_ns() // 1_000_000


def _date(ms: str | int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(ms) / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """Show rows and rate on a terminal while an import runs; nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda step, rows: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.fields[rows]}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", rows="", total=None)
        began = time.monotonic()

        def show(step: str, rows: int) -> None:
            rate = rows / max(time.monotonic() - began, 0.001)
            said = f"{rows:,} rows, {rate:,.0f} a second" if rows else ""
            if said:
                bar.update(task, description=step, rows=said)
            else:
                bar.update(task, description=step)

        yield show
