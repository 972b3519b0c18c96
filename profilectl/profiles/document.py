"""One person as a JSON document, made from the activity that is read for it anyway.

The SQL of read_model.json_lines makes the same document for everybody at once. For one person it
took 25 ms of processor time, nearly all of it to plan a statement of 8,000 characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from profilectl.profiles.activity import Activity, Origin
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME
from profilectl.rules.text.values import held_json
from profilectl.store.statements import reading, select

# What is stored of the calculated attributes of some profiles.
CALCULATED = """
select profile, name, held
from valued
where profile in (select unnest($profiles::bigint[]))
"""

_quote = json.JSONEncoder(ensure_ascii=False).encode
_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)")
"""An escape in JSON text."""
_CALCULATED_ORIGIN = '{"source":"calculated"}'


def documents(profiles: Profiles, people: Sequence[Activity]) -> list[str]:
    """Return the JSON document of each person, with provenance (read_model.DOCUMENT)."""
    computed = _calculated(profiles, [person.profile for person in people])
    return [_document(profiles, person, computed.get(person.profile, {})) for person in people]


def _calculated(profiles: Profiles, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return the held values of calculated attributes by name, by profile."""
    by_profile: dict[int, dict[str, str]] = {}
    if profiles.calculated and numbers:
        valued = select("*", f"({profiles.calculated_values})")
        rows = profiles.store.scratch.rows(
            reading(CALCULATED, valued=valued), {"profiles": list(numbers)}
        )
        for profile, name, value in rows:
            if name in profiles.calculated:
                by_profile.setdefault(profile, {})[name] = value
    return by_profile


def _document(profiles: Profiles, person: Activity, calculated: Mapping[str, str]) -> str:
    """Return the document of a person; `calculated` are the held values that mask others."""
    own = {
        key: change for key, change in person.attributes.items() if key not in profiles.calculated
    }
    values = {**{key: change.held for key, change in own.items()}, **calculated}
    with_column = {*profiles.keys, *profiles.calculated}
    # those without a column of their own come after the others
    names = sorted(values, key=lambda key: (key not in with_column, key))
    attributes = [
        f"{_quote(key) if key in with_column else _text(key)}:{_value(values[key])}"
        for key in names
    ]
    provenance = [
        f"{_text(key)}:{_CALCULATED_ORIGIN if key in calculated else _origin(own[key].origin)}"
        for key in sorted(values)
    ]
    return (
        f'{{"mpid":"{person.mpid}","environment":"{person.environment}"'
        f',"workspace":{_quote(profiles.workspace)}'
        f',"first_seen_ms":{person.first_seen_ms},"last_seen_ms":{person.last_seen_ms}'
        f',"user_identities":{{{_identities(person, device=False)}}}'
        f',"device_identities":{{{_identities(person, device=True)}}}'
        f',"user_attributes":{{{",".join(attributes)}}}'
        f',"provenance":{{{",".join(provenance)}}}}}'
    )


def _identities(person: Activity, *, device: bool) -> str:
    """Return the identities of a person as members: by type, each type's in order of arrival."""
    by_type: dict[str, list[str]] = {}
    for identity in person.identities:
        if BY_NAME[identity.type].device is device:
            by_type.setdefault(identity.type, []).append(_text(identity.value))
    return ",".join(f'"{kind}":[{",".join(values)}]' for kind, values in sorted(by_type.items()))


def _origin(origin: Origin) -> str:
    """Return where a value comes from."""
    place = "line" if origin.unit == "line" else "row"
    return (
        f'{{"source":{_text(origin.feed.source)},"feed":{_text(origin.feed.name)}'
        f',"import":{origin.import_number},"file":{_text(origin.file)}'
        f',"{place}":{origin.place},"set_ms":{origin.at_ms}}}'
    )


def _value(held_value: str) -> str:
    """Return the JSON text of a held value."""
    text = held_json(held_value)
    return _as_duckdb(text) if text.startswith('"') else text


def _text(text: str) -> str:
    """Return a text as JSON."""
    return _as_duckdb(_quote(text))


def _as_duckdb(text: str) -> str:
    r"""Return the JSON of a text with the digits of its escapes as DuckDB writes them: \u001F."""
    return _ESCAPE.sub(_upper, text) if "\\u" in text else text


def _upper(escape: re.Match[str]) -> str:
    return escape[0][:2] + escape[0][2:].upper()
