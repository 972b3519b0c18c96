"""Lines of JSON taken apart all at once, and every byte of each line accounted for.

If the parts that were understood, put together again, are exactly as long as the line, nothing was
lost, doubled, respelled or overlooked. Other lines are not `ok`, and are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from profilectl.importing.stage.events.regular_events import MARK
from profilectl.importing.stage.json.line_members import LineMember
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

# A value that DuckDB writes back letter for letter: whole numbers, literals, lists of plain
# strings. (Numbers with a fraction or an exponent it may spell anew; strings it keeps.)
_PLAIN_VALUE = r"-?(0|[1-9][0-9]*)|true|false|null|\[(\"[^\"\\]*\"(,\"[^\"\\]*\")*)?\]"
_NUMBER = r"[:,\[]\s*(-?[0-9][0-9.eE+-]*)"

# The staged columns of each line, where it is ok. The account is settled in a SELECT of its own:
# named once, it would be written out for each column.
LINES_APART = SqlTemplate("""
select {columns}
from (
  select seq, v, {accounted} as ok
  from (
    select seq, line, cut, json_extract({line}, {paths}) as v
    from {lines}
  )
)
""")
VALID_LINE = "case when json_valid(line) then line end"

# A line is as long as its parts; where it has blanks between them, it is so without the blanks.
# Without them DuckDB may spell three things anew: an escaped slash, a comma too many, and -0.
BALANCED = SqlTemplate("""
case
  when v is null or strlen(line) < {total} then false
  when strlen(line) = {total} and {exact} then true
  when contains(line, '\\/') or regexp_matches(line, ',\\s*[}\\]]|[:,\\[]\\s*-0') then false
  else strlen(json(line)::varchar) = {total} and {numbers}
end
""")
# The length of a member with its key, quotes, colon and comma or closing bracket.
MEMBER_LENGTH = SqlTemplate("coalesce(strlen({part}) + {around}, 0)")
# The length of a group that has any member: it has one comma fewer inside than members.
# One without members may be there too; its text stands nowhere else but in events.
GROUP_LENGTH = SqlTemplate("""
case
  when {any_member} then {inside} + {around}
  when contains(line, {empty}){outside} then {length_of_empty}
  else 0
end
""")

# What is asked of the list of events besides. Its numbers may have fractions, which DuckDB spells
# anew: the list must stand in the line letter for letter; or, where there are blanks between its
# parts, its numbers must be those of the line.
EVENTS_EXACT = SqlTemplate("({part} is null or contains(line, {part}))")
# The same numbers in the same order, each as it is spelled.
EVENTS_NUMBERS = SqlTemplate(
    "({part} is null or regexp_extract_all(line, '{number}', 1)"
    " = regexp_extract_all(json(line)::varchar, '{number}', 1))"
)
# The mark takes the place of the events of a line exactly where they were cut out.
EVENTS_CUT = SqlTemplate("cut = ({part} is not distinct from {mark})")
# DuckDB takes nan and inf for numbers, which JSON does not have.
EVENTS_JSON = SqlTemplate(
    "({part} is null or not regexp_matches({part}, '[:,\\[]\\s*-?(?i:nan|inf)'))"
)

# Conditions under which a part needs nothing but its text to be understood.
IS_ENVIRONMENT = SqlTemplate("""{part} in ('"production"', '"development"')""")
# A whole number of 64 bits. One of 20 characters may be too large: the cast is asked. MPIDs have 19
# digits, nine in ten of those that we made ourselves.
IS_NUMBER = SqlTemplate("""
(
  regexp_full_match({part}, '-?[1-9][0-9]{0,18}')
  and (strlen({part}) < 19 or try_cast({part}::varchar as bigint) is not null)
)
""")
# A list of events.
IS_LIST = SqlTemplate("starts_with({part}, '[')")
# A string within the limit, or a value that DuckDB writes back letter for letter.
IS_VALUE = SqlTemplate(
    """(starts_with({part}, '"') and strlen({part}) < {longest}"""
    " or strlen({part}) < {shortest} and regexp_full_match({part}, '{plain}'))"
)
# A string that is neither empty nor very long.
IS_TEXT = SqlTemplate("""(starts_with({part}, '"') and strlen({part}) between 3 and 4096)""")
# A string or a whole number.
IS_IDENTITY = SqlTemplate(
    "({is_text} or regexp_full_match({part}, '0|-?[1-9][0-9]{0,18}'){or_null})"
)

# The staged value of a part.
NUMBER_VALUE = SqlTemplate("{part}::varchar::bigint")
# A string without its quotes; only one with escapes has to be read.
STRING_VALUE = SqlTemplate(
    "case when contains({part}, '\\') then json_extract_string({part}, '$') else {part}[2:-2] end"
)
# A value: a string, or another held as it is.
VALUE = SqlTemplate("""case when starts_with({part}, '"') then {string} {null}else {value} end""")
# The staged column; null in the lines that are read one by one.
OK_VALUE = SqlTemplate("case when ok then {value} end as {column}")


class LinePart(NamedTuple):
    """A member that is looked for, and the SQL of what a line has there."""

    member: LineMember
    """The member."""
    sql: str
    """The SQL of its JSON, null where a line lacks it."""


def take_apart(
    scratch: Scratch, lines: str, table: str, members: Sequence[LineMember], reading: Reading
) -> bool:
    """Make `table` of the lines (seq, line, cut): their columns, and ok.

    cut: whether the line is in the place of a longer one. ok: every byte of the line is accounted
    for. False: it cannot be done for all lines at once, and each is to be read by itself.
    """
    parts = [LinePart(member, f"v[{place}]") for place, member in enumerate(members, start=1)]
    columns = ["seq", "ok"]
    columns += [
        OK_VALUE(value=_value(part, reading), column=part.member.column)
        for part in parts
        if part.member.column
    ]
    paths = ", ".join(quote_text(member.json_path) for member in members)
    for line in ("line", VALID_LINE):
        select = LINES_APART(
            columns=", ".join(columns),
            accounted=_accounted(parts, reading),
            line=line,
            paths=f"[{paths}]::varchar[]",
            lines=lines,
        )
        try:
            scratch.make(table, select)
        except duckdb.InvalidInputException:
            continue  # a line that is not JSON stops the whole statement: look first, then extract
        return True
    return False


def _accounted(parts: Sequence[LinePart], reading: Reading) -> str:
    """Return the condition that the parts of a line, written out, are as long as the line.

    What was not understood (a member, a blank, an escape, a second key) makes the line longer, and
    nothing makes it shorter, because numbers that could be spelled anew are not understood. A line
    with blanks between its parts is compared without them, where nothing else can hide in that.
    """
    length = ["1"]
    tests = ["starts_with(line, '{')", "v is not null", "not contains(line, '\\u')"]
    events = [part.sql for part in parts if part.member.kind == "events"]
    for group in ("", "user_identities", "user_attributes"):
        in_group = [part for part in parts if part.member.group == group]
        if in_group:
            length.append(_length(group, in_group, events))
            tests += [f"({part.sql} is null or {_is_simple(part, reading)})" for part in in_group]
    exact, numbers = "true", "true"
    for part in parts:
        if part.member.kind == "events":
            tests.append(EVENTS_CUT(part=part.sql, mark=quote_text(MARK)))
            tests.append(EVENTS_JSON(part=part.sql))
            exact = EVENTS_EXACT(part=part.sql)
            numbers = EVENTS_NUMBERS(part=part.sql, number=_NUMBER)
    balanced = BALANCED(total=" + ".join(length), exact=exact, numbers=numbers)
    return f"coalesce({' and '.join([*tests, f'({balanced})'])}, false)"


def _length(group: str, parts: Sequence[LinePart], events: Sequence[str]) -> str:
    """Return the SQL of the length that the members of a group have in a line.

    events: the SQL of the list of events, if lines may have one.
    """
    inside = " + ".join(
        MEMBER_LENGTH(part=part.sql, around=len(part.member.key.encode()) + 4) for part in parts
    )
    if not group:
        return inside
    empty = quote_text(f'"{group}":{{}}')
    outside = [f" and not coalesce(contains({part}, {empty}), false)" for part in events]
    return GROUP_LENGTH(
        any_member=" or ".join(f"{part.sql} is not null" for part in parts),
        inside=inside,
        around=len(group) + 5,
        empty=empty,
        outside="".join(outside),
        length_of_empty=len(group) + 6,
    )


def _is_simple(part: LinePart, reading: Reading) -> str:
    """Return the condition that a part needs nothing but its text to be understood."""
    member, sql = part
    if member.column == "environment":
        return IS_ENVIRONMENT(part=sql)
    if member.column in ("mpid", "at_ms"):
        return IS_NUMBER(part=sql)
    if member.kind == "events":
        return IS_LIST(part=sql)
    if member.kind in ("attribute", "ignored"):
        limits = reading.limits
        # A value that is no string must be shorter than any limit.
        shortest = min(limits["entry"], limits["list"], limits["value"])
        return IS_VALUE(part=sql, longest=limits["value"], shortest=shortest, plain=_PLAIN_VALUE)
    if member.kind != "identity":
        return IS_TEXT(part=sql)
    or_null = "" if member.group else f" or {sql} = 'null'"
    return IS_IDENTITY(is_text=IS_TEXT(part=sql), part=sql, or_null=or_null)


def _value(part: LinePart, reading: Reading) -> str:
    """Return the SQL of the staged value of a part."""
    member, sql = part
    if member.kind == "events":
        return sql
    if member.column in ("mpid", "at_ms"):
        return NUMBER_VALUE(part=sql)
    string = STRING_VALUE(part=sql)
    if not member.group:
        for null in sorted(reading.nulls):
            string = f"nullif({string}, {quote_text(null)})"
    # In a flat row null says nothing.
    null = "" if member.group else f"when {sql} = 'null' then null "
    held = f"chr(31) || {sql}" if member.kind == "attribute" else f"{sql}::varchar"
    return VALUE(part=sql, string=string, null=null, value=held)
