"""Events of known shapes, cut out of the lines of a file without reading the lines as JSON.

A line is parted where its events begin. The text before the first and after the last, put together
around a mark, is a line like any other, only short. If this is understood, and the mark is the
batch's list of events, then the line says what the short one says, and its events are the texts
that were cut out. Each of these matches a shape, so it is JSON, is right, and is stored as it
stands. The mark stands in the short line once, and has no escapes, so it is the list of events only
where it was put for it. A line is left as it is if any of its events has another shape.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.stage.events.event_shapes import Shape, frequent, shape_of
from profilectl.importing.stage.staged import EVENT
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.event.event import EVENT_LIMITS
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, parse_json
from profilectl.store.scratch import Scratch

MARK = '["profilectl: cut out"]'
"""The list that a short line has in the place of its events.

A line that has it by itself is not understood.
"""
_BEGIN, _END = '"events":[', "}]"
SAMPLE = 200
"""How many lines, spread over the file, say which shapes there are."""
MANY_EVENTS = 4
"""Of a line with more events than this, a third is looked at."""
SAMPLE_LENGTH = 32 * 1024
"""How many bytes a line of the sample has at most."""
_EVENT_COLUMNS = ", ".join(column for column, _ in EVENT)

# Some lines spread over the file, none of them very long.
SAMPLED_LINES = SqlTemplate("""
select line
from {lines}
where rowid % {step} = 0 and strlen(line) <= {longest}
limit {most}
""")

# The lines parted by what stands between two events. Of a line with such events: before (what
# stands before the list of events), events (what follows the opening of each) and after (what
# stands after the list). Of other lines events is null.
#
# The end of the list is the last bracket that follows a brace. If it is not, what is cut out there
# matches no shape.
PARTED = SqlTemplate("""
select seq, head[1] as before,
       case when len(head) = 2 and len(tail) > 1 then
         case
           when len(parts) = 1 then [array_to_string(tail[:-2], {end}) || '}']
           else list_concat(
             [head[2]], parts[2:-2], [array_to_string(tail[:-2], {end}) || '}']
           )
         end
       end as events,
       tail[-1] as after
from (
  select *, string_split(case when len(parts) = 1 then head[2] else parts[-1] end, {end}) as tail
  from (
    select *, string_split(parts[1], {begin}) as head
    from (
      select rowid as seq, string_split(line, {between}) as parts
      from {lines}
    )
  )
)
""")

# The events of parted lines, each with its opening again.
CUT_OUT = SqlTemplate("""
select seq, before, after, {opening} || unnest(events) as event,
       unnest(range(len(events)))::integer as place
from ({parted})
""")

# What one shape finds in the events that no shape before it has matched. One after the other: what
# is found all at once takes five times as long.
MATCHED_BY = SqlTemplate("""
select *,
       case
         when {unmatched} then regexp_extract(event, {pattern}, [{groups}])
       end as {match}
from ({events})
""")
# The events with what their shape found; ok, where a shape matched and the name fits.
MATCHED_EVENTS = SqlTemplate("""
select *, type is not null and coalesce(strlen(name) <= {longest_name}, true) as ok
from (
  select seq, case when place = 0 then before end as before,
         case when place = 0 then after end as after,
         place, {type} as type, {name} as name, {at}::bigint as at_ms, {session} as session, event
  from ({events})
)
""")

# The short lines. The first event of a line knows what stood around its events.
SHORT_LINES = SqlTemplate("""
select seq, before || {mark} || after as line, true as cut
from {table}
where place = 0 and not contains(before || ' ' || after, {mark_text}){condition}
""")
# But no short line of a line that has an event of no known shape.
NOT_STRANGE = SqlTemplate(" and seq not in (select seq from {table} where not ok)")
# Whether there is such an event.
HAS_STRANGE = SqlTemplate("select exists (from {table} where not ok)")
# The lines that are not cut stay as they are.
INSERT_OTHER_LINES = SqlTemplate("""
insert into {short}
select rowid, line, false
from {lines}
where rowid not in (select seq from {short})
""")

# The events of the lines that were understood; of all lines, where all were.
EVENTS_CUT = SqlTemplate("select {columns} from {table}")
# The short lines that were understood.
UNDERSTOOD_LINES = SqlTemplate("select seq from {lines} where ok and events = {mark}")
# How many short lines were not.
LINES_NOT_UNDERSTOOD = SqlTemplate("""
select (select count(*) from {table} where place = 0) - (select count(*) from ({understood}))
""")


def cut_events(scratch: Scratch, lines: str, *, sampled: str, short: str, table: str) -> bool:
    """Cut the events out of the lines of a relation (line; its rowid is the seq).

    sampled: the same lines as the file has them, which say the shapes.
    short: made of the lines (seq, line, cut). table: made of the events that were cut out, the
    columns of EVENT, and ok. False: there is nothing to cut, and neither was made.
    """
    shapes = _learned(_sample(scratch, sampled))
    if not shapes:
        return False
    opening = shapes[0].opening
    events = CUT_OUT(opening=quote_text(opening), parted=_parted(lines, opening))
    scratch.make(table, _matched(events, shapes))
    is_strange = scratch.row(HAS_STRANGE(table=table))[0]
    select = SHORT_LINES(
        mark=quote_text(_BEGIN[:-1] + MARK),
        table=table,
        mark_text=quote_text(MARK[2:-2]),
        condition=NOT_STRANGE(table=table) if is_strange else "",
    )
    scratch.make(short, select)
    if scratch.count(short) < scratch.count(lines):
        scratch.run(INSERT_OTHER_LINES(short=short, lines=lines))
    return True


def events_cut(scratch: Scratch, lines: str, table: str) -> tuple[str, bool]:
    """Return the SELECT of the events of understood short lines, and whether all were understood.

    If all were, the events come in their order. lines: a relation (seq, ok, events).
    """
    select = EVENTS_CUT(columns=_EVENT_COLUMNS, table=table)
    understood = UNDERSTOOD_LINES(lines=lines, mark=quote_text(MARK))
    every = not scratch.row(LINES_NOT_UNDERSTOOD(table=table, understood=understood))[0]
    return (select if every else f"{select} where seq in ({understood})"), every


def _sample(scratch: Scratch, lines: str) -> list[list[Shape | None]]:
    """Return the shapes of events of some lines spread over the file, line by line.

    A line with escapes, which may be in its events, has the shape None.
    """
    step = max(1, scratch.count(lines) // SAMPLE)
    sample: list[list[Shape | None]] = []
    texts = scratch.rows(
        SAMPLED_LINES(lines=lines, step=step, longest=SAMPLE_LENGTH, most=2 * SAMPLE)
    )
    for (line,) in texts:
        try:
            document = parse_json(line)
        except NotJson:
            continue
        events = document.get("events") if isinstance(document, dict) else None
        if isinstance(events, list) and events:
            # Of many events some, and not the same places in every line.
            some = events[len(sample) % 3 :: 3] if len(events) > MANY_EVENTS else events
            sample.append([None] if "\\" in line else list(map(shape_of, some)))
    return sample


def _learned(sample: Sequence[Sequence[Shape | None]]) -> list[Shape]:
    """Return the shapes by which lines are cut; none where most lines would be left as they are."""
    shapes = frequent(shape for line in sample for shape in line if shape)
    cut = sum(all(shape in shapes for shape in line) for line in sample)
    return shapes if 2 * cut > len(sample) else []


def _parted(lines: str, opening: str) -> str:
    """Return the SELECT of the lines, parted where events with an opening begin."""
    return PARTED(
        end=quote_text(_END),
        begin=quote_text(_BEGIN + opening),
        between=quote_text("," + opening),
        lines=lines,
    )


def _matched(events: str, shapes: Sequence[Shape]) -> str:
    """Return the SELECT of the columns of EVENT, and ok: what the first shape that matches finds.

    events: a SELECT of (seq, before, after, place, event); before and after stay with the first
    event of a line.
    """
    # In an event that is no longer than a value may be, no value is too long.
    unmatched = f"strlen(event) <= {EVENT_LIMITS['value']}"
    for number, shape in enumerate(shapes):
        events = MATCHED_BY(
            unmatched=unmatched,
            pattern=quote_text(f"^{shape.pattern}$"),
            groups=", ".join(map(quote_text, shape.groups)),
            match=f"r{number}",
            events=events,
        )
        unmatched = f"r{number}.type = ''"

    def part(group: str) -> str:
        matches = [
            f"nullif(r{number}.{group}, '')"
            for number, shape in enumerate(shapes)
            if group in shape.groups
        ]
        return f"coalesce({', '.join([*matches, 'null::varchar'])})"

    return MATCHED_EVENTS(
        longest_name=EVENT_LIMITS["name"],
        type=part("type"),
        name=part("name"),
        at=part("at"),
        session=part("session"),
        events=events,
    )
