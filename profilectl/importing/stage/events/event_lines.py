"""The events of lines of JSON -> staged events, all at once.

What profilectl.rules.event.event says of one event, as SQL over all of them. It understands less: an event that
it is not sure of sends its whole line to be read in Python, which is what says what is right.
"""

from __future__ import annotations

from profilectl.importing.stage.events.regular_events import MARK
from profilectl.importing.stage.staged import EVENT
from profilectl.rules.event.event import CUSTOM_TYPES, EVENT_LIMITS, EVENT_TYPES
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

MOST_PRODUCTS = 5
_PLAIN_STRING = '\'"[^"\\\\]+"\''
# The objects in which a key may not stand twice; an event with others is read in Python. Most
# events have the first few.
_PLAIN_OBJECTS = ("$", "$.data", "$.data.custom_attributes")
_OBJECTS = (
    *_PLAIN_OBJECTS, "$.data.location", "$.data.product_action", "$.data.promotion_action",
    *(f"$.data.product_action.products[{n}]" for n in range(MOST_PRODUCTS)),
    *(f"$.data.product_action.products[{n}].custom_attributes" for n in range(MOST_PRODUCTS)),
)  # fmt: skip
_PARTS = {
    "type": "$.event_type", "data": "$.data", "event_name": "$.data.event_name", "custom_type": "$.data.custom_event_type",
    "attributes": "$.data.custom_attributes", "at": "$.data.timestamp_unixtime_ms", "uuid": "$.data.session_uuid",
    "id": "$.data.session_id", "screen_name": "$.data.screen_name", "product_action": "$.data.product_action",
    "action": "$.data.product_action.action", "promotion_action": "$.data.promotion_action",
    "product_impressions": "$.data.product_impressions", "opted": "$.data.is_opted_out",
}  # fmt: skip
# Types that need nothing but what is looked at here.
_KNOWN = (
    "custom_event",
    "screen_view",
    "commerce_event",
    "session_start",
    "session_end",
    "opt_out",
    "first_run",
    "uninstall",
)
_NAMED = {"custom_event": "event_name", "screen_view": "screen_name", "commerce_event": "action"}
assert all(not EVENT_TYPES[kind].needs or kind == "custom_event" for kind in _KNOWN)


def stage_events(scratch: Scratch, lines: str, table: str) -> bool:
    """Make `table` of the events of the relation `lines` (seq, ok, events: the JSON list, or MARK):
    the shape of EVENT. Lines with an event that is not understood are marked not ok, and have
    none in it. False: there are no events, and no table.
    """
    taken = (
        "select seq, place - 1 as place, event::varchar as event, json_extract(event, "
        + _list(list(_PARTS.values()))
        + ")::varchar[] as p,"
        f" json_keys(event, {_list(list(_PLAIN_OBJECTS))}) as k from (select seq, unnest(one) as event, unnest(range(1, len(one) + 1)) as place"
        f" from (select seq, json_extract(events, '$[*]') as one from {lines} where ok and events <> {quote_text(MARK)}))"
    )
    part = {name: f"p[{place}]" for place, name in enumerate(_PARTS, start=1)}
    kind = f"{part['type']}[2:-2]"
    name = (
        f"case {kind} "
        + " ".join(f"when '{one}' then {part[member]}" for one, member in _NAMED.items())
        + " end"
    )
    session = f"coalesce({part['uuid']}, {part['id']})"
    scratch.make(
        f"{table}_all",
        f"select seq, place, {kind} as type, {_bare('name')} as name, {part['at']}::bigint as at_ms,"
        f" {_bare('session')} as session, event, {_understood(part, kind)} as ok"
        f" from (select *, {name} as name, {session} as session from ({_spared(taken, part)}))",
    )
    if not scratch.count(f"{table}_all"):
        return False
    kept = f"{table}_all"
    if scratch.row(f"select count(*) from {table}_all where not ok")[0]:
        scratch.run(
            f"update {lines} set ok = false where seq in (select seq from {table}_all where not ok)"
        )
        kept += f" where seq in (select seq from {lines} where ok)"
    columns = ", ".join(column for column, _ in EVENT)
    scratch.make(table, f"select {columns} from {kept}", keep=False)
    return True


def _spared(taken: str, part: dict[str, str]) -> str:
    """Take away a time that is no plain number, so that nothing fails before the event is sent to
    Python.
    """
    at = part["at"]
    fine = f"{at} is null or regexp_full_match({at}, '-?[0-9]{{1,18}}')"
    return f"select * replace (case when {fine} then p end as p) from ({taken})"


def _understood(part: dict[str, str], kind: str) -> str:
    """Return the condition that an event is right, and understood."""
    said = {
        name: f"{part[name]} is not null and {part[name]} <> 'null'"
        for name in ("product_action", "promotion_action", "product_impressions")
    }
    of_type = {
        "custom_event": f"regexp_full_match({part['event_name']}, {_PLAIN_STRING}) and {part['custom_type']} in ("
        + ", ".join(quote_text(f'"{one}"') for one in CUSTOM_TYPES)
        + ")",
        "commerce_event": f"starts_with({part['product_action']}, '{{') and not ({said['promotion_action']}) and not ({said['product_impressions']})",
        "opt_out": f"({part['opted']} is null or {part['opted']} in ('true', 'false'))",
    }
    braces = "(strlen(event) - strlen(replace(event, '{', '')))"
    distinct = " and ".join(
        f"(k[{n}] is null or len(k[{n}]) = len(list_distinct(k[{n}])))"
        for n in range(1, len(_PLAIN_OBJECTS) + 1)
    )
    every = f"json_keys(event, {_list(list(_OBJECTS))})"
    all_distinct = (
        f"{braces} = len(list_filter({every}, lambda one: one is not null))"
        f" and list_bool_and(list_transform({every}, lambda one: one is null or len(one) = len(list_distinct(one))))"
    )
    tests = [
        "p is not null",
        "starts_with(event, '{')",
        f"starts_with({part['data']}, '{{')",
        f"{kind} in ({', '.join(map(quote_text, _KNOWN))})",
        f"case {kind} "
        + " ".join(f"when '{one}' then {test}" for one, test in of_type.items())
        + " else true end",
        f"({part['attributes']} is null or starts_with({part['attributes']}, '{{'))",
        # Every object is one of those looked at, and none has a key twice.
        f"case when {braces} = 2 + (k[3] is not null)::int then {distinct} else {all_distinct} end",
        # Within the limits, for sure: strlen counts bytes, and braces and quotes too.
        f"(name is null or (starts_with(name, '\"') and strlen(name) between 3 and {EVENT_LIMITS['name']}))",
        f"strlen(coalesce({part['attributes']}, '')) < {EVENT_LIMITS['value']} and coalesce(len(k[3]), 0) <= {EVENT_LIMITS['attributes']}",
        f"case when strlen({part['attributes']}) > {EVENT_LIMITS['key']} then list_max(list_transform(k[3], lambda one: strlen(one))) <= {EVENT_LIMITS['key']} else true end",
        f"coalesce({part['uuid']}, '\"x\"') not in ('null', 'true', 'false', '\"\"') and not starts_with(coalesce({part['uuid']}, ''), '{{')",
        "(session is null or starts_with(session, '\"') or regexp_full_match(session, '-?[0-9]+'))",
    ]
    return f"coalesce({' and '.join(f'({test})' for test in tests)}, false)"


def _bare(column: str) -> str:
    """Return the text of a JSON string or number."""
    inside = f"case when contains({column}, '\\') then json_extract_string({column}, '$') else {column}[2:-2] end"
    return f"case when starts_with({column}, '\"') then {inside} else {column} end"


def _list(paths: list[str]) -> str:
    return "[" + ", ".join(map(quote_text, paths)) + "]"
