"""What the other fields of batches state of every profile: consent, attribution, place, devices;
membership.py as SQL.

Of several statements one is in force: the newest by its own time of consent, else the last to
arrive. The JSON of a batch is read once for each SELECT, and only where its text has the field at
all (it is compact, and its keys are spelled as they are).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from profilectl.rules.consent import STATED_MS
from profilectl.rules.criteria.tree import CONSENT_STATES, Comparison, Consent, Near, Reads
from profilectl.rules.device import DEVICE_NAMES
from profilectl.rules.membership import DEGREES, RADIAN, widest_chord
from profilectl.rules.sql.devices import devices_named, id_text, kind_named
from profilectl.rules.sql.events import quoted_numbers, scalar_text, string, unchanged
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import passes


def said(reads: Reads, rest: str) -> str:
    """Return the SELECT of profile, c0, c1, ... (what was said of each purpose of reads.consents),
    attribution (the JSON of the batch that stated it last) and place; those that are read. rest:
    the SQL of the relation of audience_sql.Relations.
    """
    pointers = [
        _pointer("consent_state", *purpose, *member)
        for purpose in reads.consents
        for member in ((), ("consented",), ("timestamp_unixtime_ms",))
    ]
    made = [_consent(place) for place in range(len(reads.consents))]
    roots = ["consent_state"] if made else []
    if reads.attribution:
        # The whole of it counts, so that a field it leaves out is not taken from an older one.
        made.append(
            'arg_max(rest, arrival) filter (where contains(rest, \'"attribution_info":{"\')) as attribution'
        )
        roots.append("attribution_info")
    if reads.place:
        first = len(pointers) + 1
        pointers += [
            _pointer(root, "location", member)
            for root in ("context", "batch_context")
            for member in ("latitude", "longitude")
        ]
        points = ", ".join(
            _point(f"parts[{first + place}]", f"parts[{first + place + 1}]") for place in (0, 2)
        )
        made.append(
            f"arg_max(coalesce({points}), arrival) filter (where coalesce({points}) is not null) as place"
        )
        roots.append("location")
    parts = (
        f", json_extract(rest, [{', '.join(map(quote_text, pointers))}])::varchar[] as parts"
        if pointers
        else ""
    )
    having = " or ".join(f"contains(rest, {quote_text(json.dumps(root) + ':')})" for root in roots)
    return f"select profile, {', '.join(made)} from (select profile, arrival, speaks_of_consent, rest{parts} from {rest} where {having}) group by profile"


def consent_order(stated: str, arrival: str) -> str:
    """Return the SQL of what statements of consent are ordered by: their own time, of equals the
    later arrival (domain.md 5.3). stated: the SQL of the text of the time that one states.
    """
    at_ms = f"coalesce(case when regexp_full_match({stated}, '{STATED_MS}') then {stated}::bigint end, -1)"
    return f"{at_ms}::hugeint * 18446744073709551616 + {arrival}"


def _consent(place: int) -> str:
    """The newest statement of a purpose."""
    statement, consented, stated = (f"parts[{3 * place + one}]" for one in (1, 2, 3))
    return (
        f"arg_max(coalesce({_bare(consented)}, ''), {consent_order(_bare(stated), 'arrival')})"
        f" filter (where speaks_of_consent and starts_with({statement}, '{{')) as c{place}"
    )


def consent_holds(tree: Consent, reads: Reads) -> str:
    """Return the SQL of a criterion of consent over a row of said; never null."""
    words = CONSENT_STATES[tree.state]
    column = f"coalesce(said.c{reads.consents.index((tree.regulation, tree.purpose))}, '')"
    return f"({column} = {quote_text(words)})" if words else f"({column} not in ('true', 'false'))"


def attribution_text(name: str) -> str:
    """Return the SQL of a field of the attribution over a row of said."""
    pointer = _pointer("attribution_info", name)
    found = f"json_extract(said.attribution, {quote_text(pointer)})::varchar"
    return scalar_text(found, _spelled(found, "said.attribution", pointer))


def near_holds(tree: Near) -> str:
    """Return the SQL of a criterion of place over a row of said, in the steps of membership.py;
    never null.
    """
    latitude, longitude = float(tree.latitude) * RADIAN, float(tree.longitude) * RADIAN
    mine = f"(said.place.latitude * {RADIAN!r}::double)"
    up = f"sin(({mine} - {latitude!r}::double) / 2)"
    across = f"sin((said.place.longitude * {RADIAN!r}::double - {longitude!r}::double) / 2)"
    return f"coalesce({up} * {up} + cos({latitude!r}::double) * cos({mine}) * {across} * {across} <= {widest_chord(tree)!r}::double, false)"


def devices(tests: Sequence[Comparison], rest: str, now_ms: int) -> str:
    """Return the SELECT of profile, d0, d1, ...: whether any device passes each test."""
    names = list(dict.fromkeys(one.field.name for one in tests))
    pointers = [_pointer("device_info", name) for name in names]
    # A value without a text (a list, an object) replaces the one before it all the same: the JSON
    # is kept to the end.
    spelled = [
        _spelled(f"info[{place}]", "rest", pointer)
        for place, pointer in enumerate(pointers, start=1)
    ]
    fields = ", ".join(
        f"arg_max({one}, arrival) filter (where info[{place}] <> 'null') as f{place}"
        for place, one in enumerate(spelled, start=1)
    )
    single = ", ".join(f"{one} as f{place}" for place, one in enumerate(spelled, start=1))
    texts = [
        scalar_text(f"f{place}", f"f{place}")
        for place in (names.index(one.field.name) + 1 for one in tests)
    ]
    passed = [
        passes(text, one.operator, one.operands, now_ms)
        for one, text in zip(tests, texts, strict=True)
    ]
    stating = "contains(rest, '\"device_info\":{')"
    info = f"json_extract(rest, [{', '.join(map(quote_text, pointers))}])::varchar[] as info"
    several = f"select profile from {rest} where {stating} group by profile having count(*) > 1"
    stated = f"{rest} as one where {stating} and exists (from several where several.profile = one.profile)"
    # Most profiles of most stores have one batch: there is no telling apart of devices then, which
    # is dear.
    return (
        f"with several as materialized ({several}),"
        f" id as materialized (select profile, arrival, unnest(list_filter({_device_ids()}, lambda id: id is not null)) as id from {stated}),"
        f" named as materialized ({devices_named('id')})"
        f" select profile, {', '.join(f'{test} as d{place}' for place, test in enumerate(passed))} from (select profile, {single}"
        f" from (select profile, rest, {info} from {rest} as one where {stating} and not exists (from several where several.profile = one.profile)))"
        f" union all select profile, {', '.join(f'bool_or({test}) as d{place}' for place, test in enumerate(passed))} from (select profile, {fields}"
        f" from (select one.*, coalesce(named.key, '') as key from (select profile, arrival, rest, {info} from {stated}) as one"
        " left join named on named.profile = one.profile and named.arrival = one.arrival) group by profile, key) group by profile"
    )


def _device_ids() -> str:
    """Return the SQL of the list of what names the device of a batch (device.device_ids), as
    device_sql takes it; null for what it does not state.
    """
    ids = []
    for key, path in DEVICE_NAMES:
        value = f"json_extract(rest, {quote_text(_pointer(*path))})::varchar"
        text = f"{quote_text(key + ':')} || nullif({id_text('one', string('one'))}, '')"
        told = f"list_transform([{value}], lambda one: {text})[1]"  # so that it is read once
        ids.append(
            f"case when contains(rest, {quote_text(json.dumps(path[-1]) + ':')}) then {told} end"
        )
    return f"list_concat([{', '.join(ids)}]::varchar[], {_ids_under_odd_names()})"


def _ids_under_odd_names() -> str:
    """Return the SQL of the list of the ids whose names are spelled in another case, or with
    spaces: few, if any.
    """
    known = ", ".join(quote_text(path[-1]) for _, path in DEVICE_NAMES)
    names = f"list_filter(json_keys(rest, '/device_info'), lambda name: name not in ({known}) and {kind_named('name')} is not null)"
    value = "json_extract(rest, '/device_info/' || replace(replace(name, '~', '~0'), '/', '~1'))::varchar"
    text = id_text("one", string("one"))
    said = f"{kind_named('name')} || ':' || nullif(list_transform([{value}], lambda one: {text})[1], '')"
    return f"coalesce(list_transform({names}, lambda name: {said}), []::varchar[])"


def _pointer(*members: str) -> str:
    """Return the JSON pointer of a member of a member."""
    return "".join("/" + member.replace("~", "~0").replace("/", "~1") for member in members)


def _bare(part: str) -> str:
    """Return the SQL of a JSON scalar without the quotes of a string: for those of which only a few
    plain texts matter.
    """
    return f"replace({part}, '\"', '')"


def _spelled(found: str, whole: str, pointer: str) -> str:
    """Return the SQL of a JSON value spelled as in the whole document, as far as it is a scalar;
    found: as DuckDB has it.
    """
    exact = f"json_extract_string({quoted_numbers(whole)}, {quote_text(pointer)})"
    return f"case when regexp_matches({found}, '^[-0-9]') and not {unchanged(found)} then {exact} else {found} end"


def _point(latitude: str, longitude: str) -> str:
    """Return the SQL of a place in degrees; null where a location states none."""
    texts = [_bare(one) for one in (latitude, longitude)]
    numbers = [f"try_cast({text} as double)" for text in texts]
    stated = " and ".join(f"regexp_full_match({text}, '{DEGREES}')" for text in texts)
    return (
        f"case when {stated} and abs({numbers[0]}) <= 90 and abs({numbers[1]}) <= 180"
        f" then {{'latitude': {numbers[0]}, 'longitude': {numbers[1]}}} end"
    )
