"""The other fields of batches, for every profile: consent, attribution, place, devices.

It does for everybody what rules/membership.py does for one person. Of several statements one is in
force: of consent the newest by its own time, else the last to arrive. The JSON of a batch is read
once for each SELECT, and only where its text has the field at all: the JSON is compact, and its
keys are not escaped, so a search for the text of the key finds it.
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
from profilectl.store.segments import both
from profilectl.store.statements import (
    case,
    in_any,
    json_part,
    matches,
    reading,
    reading_once,
    select,
    texts,
)

# What was said last, one row a profile.
LAST_SAID = "select profile, {columns} from stating group by profile"

# The last attribution counts as a whole: a field that it leaves out is not taken from an older one.
LAST_ATTRIBUTION = """
arg_max(rest, arrival) filter (where contains(rest, '"attribution_info":{"')) as attribution
"""

DEVICE_STATED = "contains(rest, '\"device_info\":{')"
"""The condition on a row of `rest` that it describes a device."""

WITH_SEVERAL_BATCHES = "select profile from stating group by profile having count(*) > 1"

# What names the device of each batch of profiles that have several, as rules/sql/devices.py takes
# it.
IDS = """
select profile, arrival, unnest(list_filter({columns}, lambda id: id is not null)) as id
from stating as batch
where exists (from several where several.profile = batch.profile)
"""

# Most profiles of most stores have one batch, and so one device. To tell devices apart is dear, and
# is done for the others alone.
ALONE = """
select profile, rest, info
from described
where not exists (from several where several.profile = described.profile)
"""
OF_SEVERAL = """
select described.*, coalesce(named.key, '') as key
from described
left join named on named.profile = described.profile and named.arrival = described.arrival
where exists (from several where several.profile = described.profile)
"""
FIELDS_ALONE = "select profile, {columns} from alone"
FIELDS_OF_DEVICE = "select profile, {columns} from of_several group by profile, key"
TESTED_ALONE = "select profile, {columns} from alone_fields"
TESTED_OF_DEVICE = "select profile, {columns} from device_fields group by profile"


def said(reads: Reads, rest: str) -> str:
    """Return the SELECT of profile, c0, c1, ..., attribution and place; those that are read.

    c<n> is what was last said about the n-th purpose of `reads.consents`, attribution the JSON of
    the batch that stated it last. `rest` is the SQL of membership_sql.PeopleRelations.rest.
    """
    pointers = [
        _pointer("consent_state", *purpose, *member)
        for purpose in reads.consents
        for member in ((), ("consented",), ("timestamp_unixtime_ms",))
    ]
    columns = [_consent(place) for place in range(len(reads.consents))]
    roots = ["consent_state"] if columns else []
    if reads.attribution:
        columns.append(LAST_ATTRIBUTION)
        roots.append("attribution_info")
    if reads.place:
        columns.append(_last_place(len(pointers) + 1))
        pointers += [
            _pointer(root, "location", member)
            for root in ("context", "batch_context")
            for member in ("latitude", "longitude")
        ]
        roots.append("location")
    read = ["profile", "arrival", "speaks_of_consent", "rest"]
    if pointers:
        read.append(f"{_extracted(pointers)} as parts")
    having = in_any(f"contains(rest, {quote_text(json.dumps(root) + ':')})" for root in roots)
    stating = select(read, rest, both("", having))
    return reading(LAST_SAID.format(columns=", ".join(columns)), stating=stating)


def consent_order(stated_ms: str, arrival: str) -> str:
    """Return the SQL of the number by which statements of consent are ordered.

    The newest by its own time counts; of equals the later arrival (domain.md 5.3). `stated_ms` is
    the SQL of the text of the time that a statement has.
    """
    # 2^64 keeps time and arrival apart in one number
    is_time = matches(stated_ms, STATED_MS)
    at_ms = f"coalesce(case when {is_time} then {stated_ms}::bigint end, -1)"
    return f"{at_ms}::hugeint * 18446744073709551616 + {arrival}"


def _consent(place: int) -> str:
    """Return the column of the newest statement about the n-th purpose."""
    statement, consented, stated_ms = (f"parts[{3 * place + part}]" for part in (1, 2, 3))
    newest = consent_order(_bare(stated_ms), "arrival")
    counts = f"speaks_of_consent and starts_with({statement}, '{{')"
    return (
        f"arg_max(coalesce({_bare(consented)}, ''), {newest}) filter (where {counts}) as c{place}"
    )


def _last_place(start: int) -> str:
    """Return the column of the last place; its parts begin at `start`."""
    points = ", ".join(
        _point(f"parts[{start + place}]", f"parts[{start + place + 1}]") for place in (0, 2)
    )
    point = f"coalesce({points})"
    return f"arg_max({point}, arrival) filter (where {point} is not null) as place"


def consent_holds(tree: Consent, reads: Reads) -> str:
    """Return the SQL of a criterion of consent over a row of said; never null."""
    words = CONSENT_STATES[tree.state]
    column = f"coalesce(said.c{reads.consents.index((tree.regulation, tree.purpose))}, '')"
    return f"({column} = {quote_text(words)})" if words else f"({column} not in ('true', 'false'))"


def attribution_text(name: str) -> str:
    """Return the SQL of a field of the attribution over a row of said."""
    pointer = _pointer("attribution_info", name)
    part = json_part("said.attribution", pointer)
    return scalar_text(part, _spelled(part, "said.attribution", pointer))


def near_holds(tree: Near) -> str:
    """Return the SQL of a criterion of place over a row of said; never null.

    The steps are those of membership.py.
    """
    latitude, longitude = float(tree.latitude) * RADIAN, float(tree.longitude) * RADIAN
    mine = f"(said.place.latitude * {RADIAN!r}::double)"
    up = f"sin(({mine} - {latitude!r}::double) / 2)"
    across = f"sin((said.place.longitude * {RADIAN!r}::double - {longitude!r}::double) / 2)"
    both_ways = f"{up} * {up} + cos({latitude!r}::double) * cos({mine}) * {across} * {across}"
    return f"coalesce({both_ways} <= {widest_chord(tree)!r}::double, false)"


def devices(tests: Sequence[Comparison], rest: str, now_ms: int) -> str:
    """Return the SELECT of profile, d0, d1, ...: whether any device passes each test."""
    names = list(dict.fromkeys(test.field.name for test in tests))
    pointers = [_pointer("device_info", name) for name in names]
    # A list or an object has no text, and yet replaces the value before it. So the newest is chosen
    # among JSON values, and only then made a text.
    spelled = [
        _spelled(f"info[{place}]", "rest", pointer) for place, pointer in enumerate(pointers, 1)
    ]
    single = [f"{part} as f{place}" for place, part in enumerate(spelled, 1)]
    newest = [
        f"arg_max({part}, arrival) filter (where info[{place}] <> 'null') as f{place}"
        for place, part in enumerate(spelled, 1)
    ]
    passed = [_passes(test, names.index(test.field.name) + 1, now_ms) for test in tests]
    alone = [f"{test} as d{place}" for place, test in enumerate(passed)]
    any_device = [f"bool_or({test}) as d{place}" for place, test in enumerate(passed)]
    stating = both("", DEVICE_STATED)
    described = select(
        ["profile", "arrival", "rest", f"{_extracted(pointers)} as info"], rest, stating
    )
    alone_fields = reading(
        FIELDS_ALONE.format(columns=", ".join(single)), alone=reading(ALONE, described=described)
    )
    device_fields = reading(
        FIELDS_OF_DEVICE.format(columns=", ".join(newest)),
        of_several=reading(OF_SEVERAL, described=described),
    )
    tested = [
        reading(TESTED_ALONE.format(columns=", ".join(alone)), alone_fields=alone_fields),
        reading(
            TESTED_OF_DEVICE.format(columns=", ".join(any_device)), device_fields=device_fields
        ),
    ]
    batches = select("*", rest, stating)
    return reading_once(
        " union all ".join(f"({part})" for part in tested),
        several=reading(WITH_SEVERAL_BATCHES, stating=batches),
        id=reading(IDS.format(columns=_device_ids()), stating=batches),
        named=devices_named("id"),
    )


def _passes(test: Comparison, place: int, now_ms: int) -> str:
    """Return the SQL of whether a device passes a test on the field at a place."""
    text = scalar_text(f"f{place}", f"f{place}")
    return passes(text, operator=test.operator, operands=test.operands, now_ms=now_ms)


def _device_ids() -> str:
    """Return the SQL of the list of the ids that name the device of a batch (device.device_ids).

    The ids are as rules/sql/devices.py takes them; null for each that the batch does not state.
    """
    ids = []
    for key, path in DEVICE_NAMES:
        value = json_part("rest", _pointer(*path))
        text = f"{quote_text(key + ':')} || nullif({id_text('part', string('part'))}, '')"
        once = f"list_transform([{value}], lambda part: {text})[1]"  # so that it is read once
        there = f"contains(rest, {quote_text(json.dumps(path[-1]) + ':')})"
        ids.append(case(there, once))
    return f"list_concat([{', '.join(ids)}]::varchar[], {_ids_under_odd_names()})"


def _ids_under_odd_names() -> str:
    """Return the SQL of the list of the ids whose names are spelled in another way.

    These are names in another case, or with spaces: there are few, if any.
    """
    usual = texts(path[-1] for _, path in DEVICE_NAMES)
    odd = f"name not in ({usual}) and {kind_named('name')} is not null"
    names = f"list_filter(json_keys(rest, '/device_info'), lambda name: {odd})"
    member = "replace(replace(name, '~', '~0'), '/', '~1')"
    value = f"json_extract(rest, '/device_info/' || {member})::varchar"
    text = f"list_transform([{value}], lambda part: {id_text('part', string('part'))})[1]"
    named = f"{kind_named('name')} || ':' || nullif({text}, '')"
    return f"coalesce(list_transform({names}, lambda name: {named}), []::varchar[])"


def _pointer(*members: str) -> str:
    """Return the JSON pointer of a member of a member."""
    return "".join("/" + member.replace("~", "~0").replace("/", "~1") for member in members)


def _extracted(pointers: Sequence[str]) -> str:
    """Return the SQL of the list of the parts of a batch that pointers lead to."""
    return f"json_extract(rest, [{texts(pointers)}])::varchar[]"


def _bare(part: str) -> str:
    """Return the SQL of a JSON scalar without the quotes of a string.

    It is cheap, and right only where a few plain texts matter: it takes every quote away.
    """
    return f"replace({part}, '\"', '')"


def _spelled(part: str, document: str, pointer: str) -> str:
    """Return the SQL of a JSON value spelled as in its document, as far as it is a scalar.

    `part` is the value as DuckDB takes it out.
    """
    exact = f"json_extract_string({quoted_numbers(document)}, {quote_text(pointer)})"
    odd = f"regexp_matches({part}, '^[-0-9]') and not {unchanged(part)}"
    return case(odd, exact, part)


def _point(latitude: str, longitude: str) -> str:
    """Return the SQL of a place in degrees; null where a location states none."""
    degrees = [_bare(part) for part in (latitude, longitude)]
    numbers = [f"try_cast({text} as double)" for text in degrees]
    is_place = " and ".join(
        [
            *(matches(text, DEGREES) for text in degrees),
            f"abs({numbers[0]}) <= 90",
            f"abs({numbers[1]}) <= 180",
        ]
    )
    point = f"{{'latitude': {numbers[0]}, 'longitude': {numbers[1]}}}"
    return case(is_place, point)
