"""Lines of JSON that are laid out as most lines of their file: put together again, and compared.

A program writes its lines alike: the same members in the same order, some of them absent, and a
blank behind each colon and comma, or none. From a sample we learn this layout. If the texts of a
line's members, put together by the layout, are the line, letter for letter, the line says just
that: nothing in it was lost, doubled, respelled or overlooked. That takes two thirds of the time
that it takes to account for the bytes of any line (line_parts.py), which is how other lines are
read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from profilectl.importing.stage.events.regular_events import MARK
from profilectl.importing.stage.json.line_members import LineMember
from profilectl.importing.stage.json.line_parts import (
    EVENTS_CUT,
    EVENTS_JSON,
    IS_NUMBER,
    VALID_LINE,
)
from profilectl.importing.stage.staged import PLAIN
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch

SAMPLE = 500
"""How many lines, spread over the file, say how lines are laid out."""
# A value that needs no more than its text: a number, a literal, a list of plain strings.
_BARE_VALUE = (
    r"-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?|true|false"
    r"|\[(\"[^\"\\]*\"(,\"[^\"\\]*\")*)?\]"
)
_TOP = ""

# Some lines spread over the file.
SAMPLED_LINES = SqlTemplate("select line from {lines} where rowid % {step} = 0 limit {most}")
# The staged columns of each line, and whether it is laid out so; else they are not to be read. (A
# filter here would be asked before the texts are there, and take them out again for each member.
# The texts get names in a SELECT of their own: DuckDB would take one out of the list again for each
# `case` that it stands in, a sixth of the whole.)
LINES_LAID_OUT = SqlTemplate("""
select seq, {rebuilt} as ok, {columns}
from (
  select seq, line, cut, {texts}
  from (
    select seq, line, cut, json_extract_string({line}, {paths}) as s
    from {lines}
  )
)
""")
TEXT = SqlTemplate("s[{place}] as s{place}")
# Lines spread over those that are to be read.
SOME_LINES = SqlTemplate("(select * from {lines} where seq % {step} = 0)")
# How many lines there are, and how many of some are laid out so.
COUNT = SqlTemplate("select count(*) from {lines}")
LAID_OUT = SqlTemplate("select count(*), count_if(ok) from ({lines})")
# Without escapes each quote in a line is the beginning or the end of a string.
REBUILT = SqlTemplate("coalesce(not contains(line, '\\') and line = {text}{tests}, false)")
# A line, or an object in it, put together from the texts of its members and what stands between
# them. What is null is left out: each text is written once, which takes two thirds of the time of
# members that are put together first.
WRITTEN = SqlTemplate("concat({pieces})")
# A piece that is there under a condition.
PIECE_IF = SqlTemplate("case when {condition} then {piece} end")
PIECE_OR = SqlTemplate("case when {condition} then {piece} else {piece_else} end")
IS_THERE = SqlTemplate("{part} is not null")
# A value in quotes, if any, or null.
VALUE_OR_NULL = SqlTemplate("coalesce({quote} || {part} || {quote}, 'null')")
# A string that is neither empty nor very long, and a value that is not too long.
IS_TEXT = SqlTemplate("strlen({part}) between 1 and 4094")
IS_SHORT = SqlTemplate("({part} is null or strlen({part}) < {longest})")
# All of some texts are short; that of a short line need not be asked each.
ALL_SHORT = SqlTemplate(" and (strlen(line) < {longest} or {tests})")
IS_ENVIRONMENT = SqlTemplate("{part} in ('production', 'development')")
IS_WHOLE = SqlTemplate("regexp_full_match({part}, '0|-?[1-9][0-9]{0,18}')")
IS_BARE = SqlTemplate("strlen({part}) < {longest} and regexp_full_match({part}, {bare})")
IS_LIST = SqlTemplate("starts_with({part}, '[')")
NULL_OR = SqlTemplate(" and ({part} is null or {test})")
# Not every text is a number where a line is not laid out so.
NUMBER = SqlTemplate("try_cast({part} as bigint)")
# The value of an attribute that is no string, of null too.
HELD_PART = SqlTemplate("chr(31) || {part}")
HELD_OR_NULL = SqlTemplate("coalesce({held}, chr(31) || 'null')")


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A member in the layout."""

    member: LineMember
    """The member."""
    part: str
    """The SQL of its text; null where it is null or not there."""
    is_text: bool
    """Whether its value is a string, which stands in quotes."""
    null: bool
    """Whether it is always there, and its value may be null."""
    always: bool
    """Whether it is in each object of the sample, and never null."""


class _Piece(NamedTuple):
    """A piece of a line."""

    sql: str
    """Its SQL, or its text."""
    is_text: bool = False
    """Whether it is the text itself."""


@dataclass(frozen=True, slots=True)
class _MemberText:
    """A member as it stands in a line."""

    there: str | None
    """The SQL of whether it is there; None: always."""
    begin: str
    """What stands before its value: its key, and what opens the value."""
    value: tuple[_Piece, ...]
    """Its value; null where it is not there."""
    end: str
    """What closes the value."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a file are laid out."""

    order: tuple[str, ...]
    """The keys of a line, in their order, objects too."""
    groups: dict[str, tuple[LaidOut, ...]]
    """The members of each object, and under "" those of the line itself, in their order."""
    always: frozenset[str]
    """The objects that every line has."""
    blank: str
    """What stands behind each colon and comma: a blank or nothing."""

    @property
    def members(self) -> list[LaidOut]:
        """Return all members."""
        return [laid_out for group in self.groups.values() for laid_out in group]


def layout_of(
    scratch: Scratch, lines: str, members: Sequence[LineMember], *, blank: str
) -> Layout | None:
    """Return how most lines of a relation (line) are laid out; None where too little is known.

    blank: what stands behind each colon and comma.
    """
    step = max(1, scratch.count(lines) // SAMPLE)
    documents = _objects(
        line for (line,) in scratch.rows(SAMPLED_LINES(lines=lines, step=step, most=2 * SAMPLE))
    )
    if not documents:
        return None
    grouped = {member.group for member in members} - {_TOP}
    of_group = {
        group: [value for line in documents if isinstance(value := line.get(group), dict)]
        for group in grouped
    }
    of_group[_TOP] = documents
    groups = {
        group: tuple(_laid_out(members, group, objects)) for group, objects in of_group.items()
    }
    placed = {laid_out.member.key for laid_out in groups[_TOP]} | grouped
    order = tuple(key for key in _order(documents) if key in placed)
    always = frozenset(group for group in grouped if len(of_group[group]) == len(documents))
    return Layout(order, groups, always, blank=blank)


def _objects(lines: Iterable[str]) -> list[dict[str, object]]:
    """Return the objects among some lines of JSON."""
    documents = []
    for line in lines:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            documents.append(document)
    return documents


def _order(objects: Sequence[dict[str, object]]) -> list[str]:
    """Return the keys of objects in an order that fits most of them."""
    order: list[str] = []
    for keys, _ in Counter(map(tuple, objects)).most_common():
        place = 0
        for key in keys:
            if key in order:
                place = order.index(key) + 1
            else:
                order.insert(place, key)
                place += 1
    return order


def _laid_out(
    members: Sequence[LineMember], group: str, objects: Sequence[dict[str, object]]
) -> Iterable[LaidOut]:
    """Yield the members of a group in their order."""
    places = {member.key: place for place, member in enumerate(members, 1) if member.group == group}
    for key in _order(objects):
        if key in places:
            values = [value[key] for value in objects if key in value]
            texts = sum(isinstance(value, str) for value in values)
            nulls = values.count(None)
            yield LaidOut(
                member=members[places[key] - 1],
                part=f"s{places[key]}",
                is_text=2 * texts > len(values) - nulls,
                null=_may_be_null(members[places[key] - 1])
                and nulls > 0
                and len(values) == len(objects),
                always=len(values) == len(objects) and not nulls,
            )


def _may_be_null(member: LineMember) -> bool:
    """Return whether null is a value like any other, or says nothing."""
    return member.kind in ("attribute", "ignored") or (
        member.kind == "identity" and not member.group
    )


def take_laid_out(
    scratch: Scratch,
    lines: str,
    table: str,
    layout: Layout,
    members: Sequence[LineMember],
    *,
    reading: Reading,
) -> bool:
    """Make `table` of the lines (seq, line, cut) that are laid out so: their columns, and ok.

    False: most lines are not, and there is no table.
    """
    paths = ", ".join(quote_text(member.json_path) for member in members)
    step = max(1, int(scratch.row(COUNT(lines=lines))[0]) // SAMPLE)
    some = SOME_LINES(lines=lines, step=step)
    for line in ("line", VALID_LINE):
        select = SqlTemplate(
            LINES_LAID_OUT(
                columns=", ".join(_columns(layout, members, reading)),
                rebuilt=_rebuilt(layout, reading),
                texts=", ".join(TEXT(place=place) for place in range(1, len(members) + 1)),
                line=line,
                paths=f"[{paths}]::varchar[]",
                lines="{lines}",
            )
        )
        try:
            lines_read, laid_out = scratch.row(LAID_OUT(lines=select(lines=some)))
            if 2 * laid_out <= lines_read:
                return False
            scratch.make(table, select(lines=lines))
        except duckdb.InvalidInputException:
            continue  # as in line_parts.take_apart
        return True
    return False


def _columns(layout: Layout, members: Sequence[LineMember], reading: Reading) -> list[str]:
    """Return the SQL of the staged columns; one that no line of the sample had is null."""
    by_member = {laid_out.member: laid_out for laid_out in layout.members}
    return [
        f"{_value(by_member[member], reading)} as {member.column}"
        if member in by_member
        else f"null::{PLAIN.get(member.column, 'VARCHAR')} as {member.column}"
        for member in members
        if member.column
    ]


def _rebuilt(layout: Layout, reading: Reading) -> str:
    """Return the condition that a line is laid out so, and needs nothing but its texts."""
    of_top = {laid_out.member.key: laid_out for laid_out in layout.groups[_TOP]}
    members = [
        _member(of_top[key], layout.blank) if key in of_top else _group(layout, key)
        for key in layout.order
    ]
    tests, short = [], []
    longest = reading.limits["value"]
    for laid_out in layout.members:
        part = laid_out.part
        if laid_out.is_text and laid_out.member.kind in ("attribute", "ignored"):
            short.append(IS_SHORT(part=part, longest=longest - 2))
            continue
        tests.append(NULL_OR(part=part, test=_is_simple(laid_out, reading)))
        if laid_out.member.kind == "events":
            tests.append(" and " + EVENTS_CUT(part=part, mark=quote_text(MARK)))
            tests.append(" and " + EVENTS_JSON(part=part))
    if short:
        tests.append(ALL_SHORT(longest=longest, tests=f"({' and '.join(short)})"))
    return REBUILT(text=_object(members, layout.blank), tests="".join(tests))


def _object(members: Sequence[_MemberText], blank: str) -> str:
    """Return the SQL of an object with its braces."""
    pieces = [_Piece("{", is_text=True), *_pieces(members, blank), _Piece("}", is_text=True)]
    return _concatenated(pieces)


def _concatenated(pieces: Iterable[_Piece]) -> str:
    """Return the SQL of pieces; texts that follow each other are one."""
    texts = []
    for is_text, group in groupby(pieces, key=lambda piece: piece.is_text):
        if is_text:
            texts.append(quote_text("".join(piece.sql for piece in group)))
        else:
            texts += [piece.sql for piece in group]
    return WRITTEN(pieces=", ".join(texts))


def _pieces(members: Sequence[_MemberText], blank: str) -> Iterator[_Piece]:
    """Yield the pieces of the members of an object.

    What closes a value is written with the comma and the key behind it: each piece of a line costs.
    """
    # The conditions under which a member is there already; None: one is for sure. What closes the
    # last of them, whichever that is.
    before: list[str] | None = []
    closing = ""
    for member in members:
        closes_alike = member.there is None or before == [] or closing == member.end
        if not closes_alike:
            yield _text_if(_any(before), closing)
            closing = ""
        yield _beginning(member, before, f"{closing},{blank}")
        yield from member.value
        if closes_alike:
            closing = member.end
        else:
            yield _text_if(member.there, member.end)
        if member.there is None:
            before = None
        elif before is not None:
            before = [*before, member.there]
    if before != []:
        yield _text_if(_any(before), closing)


def _any(conditions: Sequence[str] | None) -> str | None:
    """Return the condition that one of some is met; None: one is for sure."""
    return None if conditions is None else f"({' or '.join(conditions)})"


def _beginning(member: _MemberText, before: Sequence[str] | None, between: str) -> _Piece:
    """Return what stands before the value of a member.

    before: the conditions under which a member is there before this one; None: one is for sure.
    between: what stands between the values of that one and the key of this one.
    """
    if before is None:
        return _text_if(member.there, between + member.begin)
    if not before:
        return _text_if(member.there, member.begin)
    piece = PIECE_OR(
        condition=_any(before),
        piece=quote_text(between + member.begin),
        piece_else=quote_text(member.begin),
    )
    return _Piece(piece if member.there is None else PIECE_IF(condition=member.there, piece=piece))


def _text_if(condition: str | None, text: str) -> _Piece:
    """Return a text that is there under a condition; None: always."""
    if condition is None or not text:
        return _Piece(text, is_text=True)
    return _Piece(PIECE_IF(condition=condition, piece=quote_text(text)))


def _group(layout: Layout, group: str) -> _MemberText:
    """Return an object in a line."""
    members = [_member(laid_out, layout.blank) for laid_out in layout.groups[group]]
    begin = f"{json.dumps(group)}:{layout.blank}{{"
    pieces = tuple(_pieces(members, layout.blank))
    if group in layout.always:
        return _MemberText(None, begin, pieces, end="}")
    parts = [laid_out.part for laid_out in layout.groups[group]]
    there = " or ".join(IS_THERE(part=part) for part in parts) or "false"
    value = PIECE_IF(condition=there, piece=_concatenated(pieces) if pieces else "''")
    return _MemberText(f"({there})", begin, (_Piece(value),), end="}")


def _member(laid_out: LaidOut, blank: str) -> _MemberText:
    """Return a member of a line."""
    begin, part = f"{json.dumps(laid_out.member.key)}:{blank}", laid_out.part
    quote = '"' if laid_out.is_text else ""
    if laid_out.null:
        or_null = VALUE_OR_NULL(quote=quote_text(quote), part=part)
        return _MemberText(None, begin, (_Piece(or_null),), end="")
    there = None if laid_out.always else IS_THERE(part=part)
    return _MemberText(there, begin + quote, (_Piece(part),), end=quote)


def _is_simple(laid_out: LaidOut, reading: Reading) -> str:
    """Return the condition that a text needs nothing more to be understood."""
    member, part = laid_out.member, laid_out.part
    if member.kind == "events":
        return IS_LIST(part=part)
    if member.kind in ("attribute", "ignored"):
        limits = reading.limits
        shortest = min(limits["entry"], limits["list"], limits["value"])
        return IS_BARE(part=part, longest=shortest, bare=quote_text(_BARE_VALUE))
    if member.column in ("mpid", "at_ms"):
        return "false" if laid_out.is_text else IS_NUMBER(part=part)
    if member.kind == "identity" and not laid_out.is_text:
        return IS_WHOLE(part=part)
    if not laid_out.is_text:
        return "false"
    return IS_ENVIRONMENT(part=part) if member.column == "environment" else IS_TEXT(part=part)


def _value(laid_out: LaidOut, reading: Reading) -> str:
    """Return the SQL of the staged value of a member."""
    member, value = laid_out.member, laid_out.part
    if member.kind == "events":
        return value
    if member.column in ("mpid", "at_ms"):
        return NUMBER(part=value)
    if laid_out.is_text and not member.group:
        for null in sorted(reading.nulls):
            value = f"nullif({value}, {quote_text(null)})"
    if member.kind == "attribute" and not laid_out.is_text:
        value = HELD_PART(part=value)
    # In a flat row null says nothing.
    if member.kind == "attribute" and member.group and laid_out.null:
        value = HELD_OR_NULL(held=value)
    return value
