"""Events of known shapes, cut out of the lines of a file without reading the lines as JSON.

A line is parted where its events begin. What stands before the first and after the last, put
together around a mark, is a line like any other, only short; if that turns out to be understood,
and the mark to be the batch's list of events, then the line says what the short one says, and its
events are the texts that were cut out: each matches a shape, so each is JSON, is right, and is
stored as it stands. The mark stands in the short line once, and has no escapes, so it is the list
of events only where it was put for it. A line of whose events any has another shape is left as it
is.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.stage.events.event_shapes import Shape, frequent, shape_of
from profilectl.importing.stage.staged import EVENT
from profilectl.rules.event.event import EVENT_LIMITS
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, parse_json
from profilectl.store.scratch import Scratch

MARK = '["profilectl: cut out"]'
"""What a short line has in the place of its events.

A line that has it by itself is not understood.
"""
_BEGIN, _END = '"events":[', "}]"
SAMPLE = 200
MANY_EVENTS = 4
SAMPLE_LENGTH = 32 * 1024


def cut_events(scratch: Scratch, lines: str, short: str, table: str) -> bool:
    """Make `short` (seq, line, cut) of the lines of a relation (line; its rowid is the seq), and
    `table` of the events that were cut out of them: the columns of EVENT, and ok. False: there
    is nothing to cut, and neither was made.
    """
    shapes = _learned(_sample(scratch, lines))
    if not shapes:
        return False
    opening = shapes[0].opening
    event = f"{quote_text(opening)} || unnest(events) as event, unnest(range(len(events)))::integer as place"
    scratch.make(
        table,
        _matched(f"select seq, before, after, {event} from ({_parted(lines, opening)})", shapes),
    )
    strange = scratch.row(f"select exists (from {table} where not ok)")[0]
    # The first event of a line knows what stood around its events.
    cut = f"select seq, before || {quote_text(_BEGIN[:-1] + MARK)} || after as line, true as cut from {table} where place = 0 and not contains(before || ' ' || after, {quote_text(MARK[2:-2])})"
    if strange:
        cut += f" and seq not in (select seq from {table} where not ok)"
    scratch.make(short, cut)
    if scratch.count(short) < scratch.count(lines):
        scratch.run(
            f"insert into {short} select rowid, line, false from {lines} where rowid not in (select seq from {short})"
        )
    return True


def events_cut(scratch: Scratch, lines: str, table: str) -> tuple[str, bool]:
    """Return the SELECT of the events that were cut out of the lines that were understood (lines:
    seq, ok, events), and whether it is of all that were cut out: then they come in their order.
    """
    select = f"select {', '.join(column for column, _ in EVENT)} from {table}"
    used = f"select seq from {lines} where ok and events = {quote_text(MARK)}"
    every = not scratch.row(
        f"select (select count(*) from {table} where place = 0) - (select count(*) from ({used}))"
    )[0]
    return (select if every else f"{select} where seq in ({used})"), every


def _sample(scratch: Scratch, lines: str) -> list[list[Shape | None]]:
    """Return the shapes of events of some lines spread over the file, line by line; of a line with
    escapes, which may be in its events, None.
    """
    step = max(1, scratch.count(lines) // SAMPLE)
    found: list[list[Shape | None]] = []
    for (line,) in scratch.rows(
        f"select line from {lines} where rowid % {step} = 0 and strlen(line) <= {SAMPLE_LENGTH} limit {2 * SAMPLE}"
    ):
        try:
            document = parse_json(line)
        except NotJson:
            continue
        events = document.get("events") if isinstance(document, dict) else None
        if isinstance(events, list) and events:
            # Of many events some, and not the same places in every line.
            some = events[len(found) % 3 :: 3] if len(events) > MANY_EVENTS else events
            found.append([None] if "\\" in line else list(map(shape_of, some)))
    return found


def _learned(sample: Sequence[Sequence[Shape | None]]) -> list[Shape]:
    """Return the shapes by which lines are cut: none where most lines of a sample would be left as
    they are.
    """
    shapes = frequent(shape for line in sample for shape in line if shape)
    cut = sum(all(shape in shapes for shape in line) for line in sample)
    return shapes if 2 * cut > len(sample) else []


def _parted(lines: str, opening: str) -> str:
    """Return the SELECT of the lines that have such events: seq, before (what stands before the
    list of events), events (what follows the opening of each) and after (what stands after the
    list). Of other lines events is null.
    """
    parts = f"string_split(line, {quote_text(',' + opening)})"
    split = f"select rowid as seq, {parts} as parts from {lines}"
    head = (
        f"select *, string_split(parts[1], {quote_text(_BEGIN + opening)}) as head from ({split})"
    )
    # The end of the list is the last bracket that follows a brace. If it is not, what is cut out
    # there matches no shape.
    tail = f"select *, string_split(case when len(parts) = 1 then head[2] else parts[-1] end, {quote_text(_END)}) as tail from ({head})"
    last = f"array_to_string(tail[:-2], {quote_text(_END)}) || '}}'"
    events = f"case when len(parts) = 1 then [{last}] else list_concat([head[2]], parts[2:-2], [{last}]) end"
    cut = "len(head) = 2 and len(tail) > 1"
    return f"select seq, head[1] as before, case when {cut} then {events} end as events, tail[-1] as after from ({tail})"


def _matched(events: str, shapes: Sequence[Shape]) -> str:
    """Return the SELECT of the columns of EVENT, and ok, of events (seq, before, after, place,
    event): what the first shape that matches finds; before and after stay with the first event
    of a line.
    """
    unmatched = f"strlen(event) <= {EVENT_LIMITS['value']}"  # so that nothing in it is longer
    for n, shape in enumerate(shapes):
        found = f"regexp_extract(event, {quote_text(f'^{shape.pattern}$')}, [{', '.join(map(quote_text, shape.groups))}])"
        # One after the other, each for the events that are left: what is found all at once takes
        # five times as long.
        events = f"select *, case when {unmatched} then {found} end as r{n} from ({events})"
        unmatched = f"r{n}.type = ''"

    def part(group: str) -> str:
        found = [
            f"nullif(r{n}.{group}, '')" for n, shape in enumerate(shapes) if group in shape.groups
        ]
        return f"coalesce({', '.join([*found, 'null::varchar'])})"

    around = ", ".join(
        f"case when place = 0 then {one} end as {one}" for one in ("before", "after")
    )
    taken = f"select seq, {around}, place, {part('type')} as type, {part('name')} as name, {part('at')}::bigint as at_ms, {part('session')} as session, event from ({events})"
    return f"select *, type is not null and coalesce(strlen(name) <= {EVENT_LIMITS['name']}, true) as ok from ({taken})"
