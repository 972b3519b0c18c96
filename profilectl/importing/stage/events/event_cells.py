"""The events.* columns of a file with columns -> staged events, all rows at once.

The set-based twin of profilectl.rules.event.event.event_of_cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.stage.nested import clash, members_sql, object_sql, tree_of, value_sql
from profilectl.rules.event.event import (
    BOOLEAN_CELLS,
    COLUMN_TYPES,
    COMMERCE,
    CUSTOM_TYPES,
    EVENT_LIMITS,
    EVENT_TYPES,
    TYPED_CELLS,
    steps_of,
)
from profilectl.rules.fields import BOOLEANS
from profilectl.rules.sql.identities import trimmed
from profilectl.rules.sql.quoting import quote_text

_NOTHING = "(null::varchar)"


class EventCells:
    """The columns of a file that make one event a row.

    columns: (path without `events.`, SQL of the text, null for an empty cell); file_type: the event
    type that the file's name says.
    """

    def __init__(self, columns: Sequence[tuple[str, str]], file_type: str | None) -> None:
        self._columns = dict(columns)
        self._type = self._kind(file_type)

    def clash(self) -> tuple[str, str] | None:
        """Return two columns of which one is a member of the other, if there are any."""
        steps = {steps_of(path): path for path in self._columns}
        found = clash(list(steps))
        return (steps[tuple(found[0])], steps[tuple(found[1])]) if found else None

    def _text(self, path: str) -> str:
        return self._columns.get(path, _NOTHING)

    def _any(self, paths: Sequence[str]) -> str:
        return (
            "("
            + (" or ".join(f"{self._columns[path]} is not null" for path in paths) or "false")
            + ")"
        )

    def _kind(self, file_type: str | None) -> str:
        inferred = quote_text(file_type) if file_type else "case " + " ".join(
            f"when {self._any([path for path in self._columns if f'{path}.'.startswith(begin) or path == begin])} then '{kind}'"
            for begin, kind in COLUMN_TYPES
        ) + " end"  # fmt: skip
        return f"coalesce({self._text('event_type')}, {inferred})"

    def filled(self) -> str:
        """Return the condition that a row has an event."""
        return self._any(list(self._columns))

    def fault(self) -> str:
        """Return the SQL of what is wrong with a row's event, null where nothing is."""
        return (
            f"case when not {self.filled()} then null "
            + " ".join(f"when {condition} then {detail}" for condition, detail in self._faults())
            + " end"
        )

    def _faults(self) -> list[tuple[str, str]]:
        kind = self._type
        found = [(f"{kind} is null", quote_text("event 1: no cell says its event_type"))]
        listed = ", ".join(map(quote_text, EVENT_TYPES))
        found.append(
            (f"{kind} not in ({listed})", f"'event 1: unknown event_type ' || {_shown(kind)}")
        )
        custom, attributes = (
            self._text("data.custom_event_type"),
            self._text("data.custom_attributes"),
        )
        found += [
            (
                f"{kind} = '{name}' and coalesce({self._data(need)}, '{'other' if need == 'custom_event_type' else ''}') = ''",
                quote_text(f"event 1: a {name} needs data.{need}"),
            )
            for name, meaning in EVENT_TYPES.items()
            for need in meaning.needs
        ]
        found += [(f"{kind} = 'custom_event' and {self._within(f'data.{need}')}", quote_text(f"event 1: data.{need} is an object"))
                  for need in ("event_name", "custom_event_type")]  # fmt: skip
        types = ", ".join(map(quote_text, CUSTOM_TYPES))
        found.append(
            (f"{attributes} is not null", quote_text("event 1: data.custom_attributes is a string"))
        )
        found.append(
            (
                f"{kind} = 'custom_event' and {custom} not in ({types})",
                f"'event 1: unknown custom_event_type ' || {_shown(custom)}",
            )
        )
        said = " + ".join(f"{self._any(self._under(f'data.{one}'))}::int" for one in COMMERCE)
        found.append(
            (
                f"{kind} = 'commerce_event' and {said} <> 1",
                quote_text(f"event 1: a commerce event needs exactly one of {', '.join(COMMERCE)}"),
            )
        )
        opted = self._text("data.is_opted_out")
        found.append(
            (
                f"{kind} = 'opt_out' and (lower({opted}) not in ({', '.join(map(quote_text, BOOLEANS))}) or {self._within('data.is_opted_out')})",
                quote_text("event 1: data.is_opted_out must be true or false"),
            )
        )
        at = self._text("data.timestamp_unixtime_ms")
        found.append(
            (
                self._within("data.timestamp_unixtime_ms"),
                quote_text("event 1: data.timestamp_unixtime_ms: an object"),
            )
        )
        found.append(
            (
                f"{at} <> '' and {_whole(at)} is null",
                f"'event 1: data.timestamp_unixtime_ms: ' || {_shown(at)}",
            )
        )
        return found

    def _under(self, root: str) -> list[str]:
        return [path for path in self._columns if path == root or path.startswith(f"{root}.")]

    def _within(self, path: str) -> str:
        """Return the condition that a member is stated as an object."""
        return self._any([one for one in self._under(path) if one != path])

    def _data(self, member: str) -> str:
        """Return the text of a member of data: an object counts as stated where any of it is."""
        under = len(self._under(f"data.{member}")) > (f"data.{member}" in self._columns)
        return (
            f"case when {self._within(f'data.{member}')} then 'object' end"
            if under
            else self._text(f"data.{member}")
        )

    def over(self) -> str:
        """Return the condition that a row's event is over a limit; it is kept all the same."""
        attributes = [path for path in self._columns if path.startswith("data.custom_attributes.")]
        tests = [f"length({self._name()}) > {EVENT_LIMITS['name']}"]
        tests += [f"length({self._columns[path]}) > {EVENT_LIMITS['value']}" for path in attributes]
        long = [
            path
            for path in attributes
            if len(path.removeprefix("data.custom_attributes.")) > EVENT_LIMITS["key"]
        ]
        tests += [f"{self._columns[path]} is not null" for path in long]
        if len(attributes) > EVENT_LIMITS["attributes"]:
            tests.append(
                "("
                + " + ".join(f"({self._columns[path]} is not null)::int" for path in attributes)
                + f") > {EVENT_LIMITS['attributes']}"
            )
        return f"coalesce({' or '.join(tests)}, false)"

    def _name(self) -> str:
        named = " ".join(
            f"when '{kind}' then {self._text(f'data.{one.name}')}"
            for kind, one in EVENT_TYPES.items()
            if one.name and kind != "commerce_event"
        )
        action = f"coalesce({self._text('data.product_action.action')}, case when not {self._any(self._under('data.product_action'))} then {self._text('data.promotion_action.action')} end)"
        return f"nullif(case {self._type} {named} when 'commerce_event' then {action} end, '')"

    def select(self, seq: str, source: str) -> str:
        """Return the SELECT of the events of a relation's rows, in the shape of staged.EVENT."""
        # where it reads as a boolean it is one, and names no session
        number = self._text("data.session_id")
        session = f"coalesce(nullif({self._text('data.session_uuid')}, ''), case when {number} not in ('', 'true', 'false') then {number} end)"
        return (
            f"select {seq} as seq, 0::integer as place, {self._type} as type, {self._name()} as name,"
            f" {_whole(self._text('data.timestamp_unixtime_ms'))} as at_ms, {session} as session, {self._json()} as event"
            f" from {source} where {self.filled()}"
        )

    def _json(self) -> str:
        """Return the SQL of the event's JSON: members in the order of their columns, those of empty
        cells left out.
        """
        columns = {
            steps_of(path): value_sql(
                text, typed=path in TYPED_CELLS, boolean=path in BOOLEAN_CELLS
            )
            for path, text in self._columns.items()
            if path != "event_type"
        }
        data = tree_of(columns).get("data")
        default = f"case when {self._type} = 'custom_event' and {self._text('data.custom_event_type')} is null then '\"custom_event_type\":\"other\"' end"
        inner = object_sql([*(members_sql(data) if isinstance(data, dict) else []), default])
        return f"'{{' || coalesce('\"data\":' || {inner} || ',', '') || '\"event_type\":' || to_json({self._type})::varchar || '}}'"


def _whole(text: str) -> str:
    return f"case when regexp_full_match({trimmed(text)}, '[+-]?[0-9]{{1,40}}') then try_cast({trimmed(text)} as bigint) end"


def _shown(text: str) -> str:
    return f"case when length({text}) > 40 then {text}[:40] || '...' else {text} end"
