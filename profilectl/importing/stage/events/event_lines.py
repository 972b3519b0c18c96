"""The events of lines of JSON -> staged events, all at once.

This is profilectl.rules.event.event as SQL over all events. It understands less: an event that it
is not sure of sends its whole line to be read in Python, which says what is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.stage.events.regular_events import MARK
from profilectl.importing.stage.staged import EVENT
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.event.event import CUSTOM_TYPES, EVENT_LIMITS, EVENT_TYPES
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

MOST_PRODUCTS = 5
"""How many products of an action are looked at; an event with more is read in Python."""
# The objects in which a key may not stand twice; an event with others is read in Python. Most
# events have the first few.
_PLAIN_OBJECTS = ("$", "$.data", "$.data.custom_attributes")
_PRODUCTS = [f"$.data.product_action.products[{place}]" for place in range(MOST_PRODUCTS)]
_OBJECTS = (
    *_PLAIN_OBJECTS,
    "$.data.location",
    "$.data.product_action",
    "$.data.promotion_action",
    *_PRODUCTS,
    *(f"{product}.custom_attributes" for product in _PRODUCTS),
)
# The parts of an event that are looked at; PART has the SQL of each.
_PARTS = {
    "type": "$.event_type",
    "data": "$.data",
    "event_name": "$.data.event_name",
    "custom_type": "$.data.custom_event_type",
    "attributes": "$.data.custom_attributes",
    "at": "$.data.timestamp_unixtime_ms",
    "uuid": "$.data.session_uuid",
    "id": "$.data.session_id",
    "screen_name": "$.data.screen_name",
    "product_action": "$.data.product_action",
    "action": "$.data.product_action.action",
    "promotion_action": "$.data.promotion_action",
    "product_impressions": "$.data.product_impressions",
    "opted": "$.data.is_opted_out",
}
PART = {name: f"p[{place}]" for place, name in enumerate(_PARTS, start=1)}
"""The SQL of each part: its JSON, null where an event lacks it."""
EVENT_TYPE = f"{PART['type']}[2:-2]"
"""The SQL of the event type."""
# Types that need nothing but what is looked at here.
_SIMPLE_TYPES = (
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
assert all(not EVENT_TYPES[kind].needs or kind == "custom_event" for kind in _SIMPLE_TYPES)

# Each event of the lines, with its parts and the keys of the plain objects.
EVENTS_OF_LINES = SqlTemplate("""
select seq, place - 1 as place, event::varchar as event,
       json_extract(event, {parts})::varchar[] as p,
       json_keys(event, {objects}) as k
from (
  select seq, unnest(events) as event, unnest(range(1, len(events) + 1)) as place
  from (
    select seq, json_extract(events, '$[*]') as events
    from {lines}
    where ok and events <> {mark}
  )
)
""")

# The same without the parts of an event whose time is no plain number, so that nothing fails before
# the event is sent to Python.
WITH_PLAIN_TIMES = SqlTemplate("""
select * replace (
  case when {at} is null or regexp_full_match({at}, '-?[0-9]{1,18}') then p end as p
)
from ({events})
""")

# All events in the shape of staged.EVENT, and whether each is right, and understood.
UNDERSTOOD_EVENTS = SqlTemplate("""
select seq, place, {type} as type, {bare_name} as name, {at}::bigint as at_ms,
       {bare_session} as session, event, {understood} as ok
from (
  select *, case {type} {names} end as name, coalesce({uuid}, {id}) as session
  from ({events})
)
""")
# How many events are not understood.
NOT_UNDERSTOOD = SqlTemplate("select count(*) from {table} where not ok")
# Lines with such an event are read in Python.
MARK_LINES = SqlTemplate("""
update {lines}
set ok = false
where seq in (select seq from {table} where not ok)
""")
# Every event, where all are understood.
ALL_EVENTS = SqlTemplate("select {columns} from {table}")
# The events of the lines of which all are understood.
EVENTS_OF_OK_LINES = SqlTemplate("""
select {columns}
from {table}
where seq in (select seq from {lines} where ok)
""")

# The text of a JSON string or number.
BARE = SqlTemplate("""
case
  when not starts_with({column}, '"') then {column}
  when contains({column}, '\\') then json_extract_string({column}, '$')
  else {column}[2:-2]
end
""")

# What an event of a type must have besides.
CUSTOM_EVENT = SqlTemplate(
    """regexp_full_match({event_name}, '"[^"\\\\]+"') and {custom_type} in ({types})"""
)
# An action on products, and neither of the other two.
COMMERCE_EVENT = SqlTemplate("""
starts_with({product_action}, '{')
and not ({promotion_action} is not null and {promotion_action} <> 'null')
and not ({product_impressions} is not null and {product_impressions} <> 'null')
""")
# An opt-out that says true or false, or nothing.
OPT_OUT = SqlTemplate("({opted} is null or {opted} in ('true', 'false'))")

# Every object is one of those looked at, and none has a key twice: there are as many braces as
# objects. An event has two objects, and that of its custom attributes.
BRACES = "(strlen(event) - strlen(replace(event, '{', '')))"
# Whether one of the plain objects has no key twice.
DISTINCT_KEYS = SqlTemplate(
    "(k[{place}] is null or len(k[{place}]) = len(list_distinct(k[{place}])))"
)
# Whether every object of an event is looked at, and none has a key twice.
ALL_DISTINCT = SqlTemplate(
    "{braces} = len(list_filter({keys}, lambda names: names is not null))"
    " and list_bool_and(list_transform({keys},"
    " lambda names: names is null or len(names) = len(list_distinct(names))))"
)
# Most events have the plain objects alone, and to look at the others takes longer.
NO_KEY_TWICE = SqlTemplate("""
case when {braces} = 2 + (k[3] is not null)::int then {plain} else {all_distinct} end
""")

# Within the limits, for sure: strlen counts bytes, and braces and quotes too.
NAME_FITS = SqlTemplate(
    """(name is null or (starts_with(name, '"') and strlen(name) between 3 and {longest}))"""
)
# Custom attributes that are neither too long nor too many.
ATTRIBUTES_FIT = SqlTemplate(
    "strlen(coalesce({attributes}, '')) < {longest} and coalesce(len(k[3]), 0) <= {most}"
)
# Keys of custom attributes; only long ones need a look.
KEYS_FIT = SqlTemplate("""
case
  when strlen({attributes}) > {longest}
  then list_max(list_transform(k[3], lambda name: strlen(name))) <= {longest}
  else true
end
""")
# A member that is an object, if it is there.
IS_OBJECT_OR_NULL = SqlTemplate("({part} is null or starts_with({part}, '{'))")
# A session's UUID that is a text, if it is there.
UUID_IS_TEXT = SqlTemplate(
    """coalesce({uuid}, '"x"') not in ('null', 'true', 'false', '""')"""
    " and not starts_with(coalesce({uuid}, ''), '{')"
)
SESSION_IS_BARE = (
    """(session is null or starts_with(session, '"') or regexp_full_match(session, '-?[0-9]+'))"""
)


def stage_events(scratch: Scratch, lines: str, table: str) -> bool:
    """Make `table` of the events of the relation `lines`, in the shape of EVENT.

    lines: (seq, ok, events: the JSON list, or MARK). Lines with an event that is not understood are
    marked not ok, and have none in the table. False: there are no events, and no table.
    """
    every = f"{table}_all"
    scratch.make(every, _understood_events(lines))
    if not scratch.count(every):
        return False
    columns = ", ".join(column for column, _ in EVENT)
    select = ALL_EVENTS(columns=columns, table=every)
    if scratch.row(NOT_UNDERSTOOD(table=every))[0]:
        scratch.run(MARK_LINES(lines=lines, table=every))
        select = EVENTS_OF_OK_LINES(columns=columns, table=every, lines=lines)
    scratch.make(table, select, keep=False)
    return True


def _understood_events(lines: str) -> str:
    """Return the SELECT of all events of lines, and whether each is understood."""
    events = EVENTS_OF_LINES(
        parts=_list(list(_PARTS.values())),
        objects=_list(_PLAIN_OBJECTS),
        lines=lines,
        mark=quote_text(MARK),
    )
    names = " ".join(f"when '{kind}' then {PART[member]}" for kind, member in _NAMED.items())
    return UNDERSTOOD_EVENTS(
        type=EVENT_TYPE,
        bare_name=BARE(column="name"),
        at=PART["at"],
        bare_session=BARE(column="session"),
        understood=_understood(),
        names=names,
        uuid=PART["uuid"],
        id=PART["id"],
        events=WITH_PLAIN_TIMES(at=PART["at"], events=events),
    )


def _understood() -> str:
    """Return the condition that an event is right, and understood."""
    of_types = " ".join(
        f"when '{kind}' then {condition}" for kind, condition in _of_types().items()
    )
    tests = [
        "p is not null",
        "starts_with(event, '{')",
        f"starts_with({PART['data']}, '{{')",
        f"{EVENT_TYPE} in ({', '.join(map(quote_text, _SIMPLE_TYPES))})",
        f"case {EVENT_TYPE} {of_types} else true end",
        IS_OBJECT_OR_NULL(part=PART["attributes"]),
        _no_key_twice(),
        NAME_FITS(longest=EVENT_LIMITS["name"]),
        ATTRIBUTES_FIT(
            attributes=PART["attributes"],
            longest=EVENT_LIMITS["value"],
            most=EVENT_LIMITS["attributes"],
        ),
        KEYS_FIT(attributes=PART["attributes"], longest=EVENT_LIMITS["key"]),
        UUID_IS_TEXT(uuid=PART["uuid"]),
        SESSION_IS_BARE,
    ]
    return f"coalesce({' and '.join(f'({test})' for test in tests)}, false)"


def _of_types() -> dict[str, str]:
    """Return the condition of each type that must have something besides."""
    return {
        "custom_event": CUSTOM_EVENT(
            event_name=PART["event_name"],
            custom_type=PART["custom_type"],
            types=", ".join(quote_text(f'"{kind}"') for kind in CUSTOM_TYPES),
        ),
        "commerce_event": COMMERCE_EVENT(
            product_action=PART["product_action"],
            promotion_action=PART["promotion_action"],
            product_impressions=PART["product_impressions"],
        ),
        "opt_out": OPT_OUT(opted=PART["opted"]),
    }


def _no_key_twice() -> str:
    plain = " and ".join(DISTINCT_KEYS(place=place) for place in range(1, len(_PLAIN_OBJECTS) + 1))
    keys = f"json_keys(event, {_list(_OBJECTS)})"
    all_distinct = ALL_DISTINCT(braces=BRACES, keys=keys)
    return NO_KEY_TWICE(braces=BRACES, plain=plain, all_distinct=all_distinct)


def _list(paths: Sequence[str]) -> str:
    return f"[{', '.join(map(quote_text, paths))}]"
