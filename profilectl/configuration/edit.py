"""Single keys of the configuration, set and taken out: `config set KEY=VALUE`, `config unset KEY`.

A key is written as in TOML: identity.strategy, feeds.crm.protection, feeds."my feed".protection.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from profilectl.codes import InputRefused, UsageError
from profilectl.configuration.stated import EVERY_SECTION, FEED_KEYS, NAMED, Stated, stated_in
from profilectl.configuration.toml_text import Table, document_of
from profilectl.rules.audience import KEYS as AUDIENCE_KEYS
from profilectl.rules.batch_fields import attribute_key
from profilectl.rules.calculated import KEYS as CALCULATED_KEYS
from profilectl.rules.criteria.toml import COMBINATIONS
from profilectl.rules.leaving.audience_connection import KEYS as AUDIENCE_CONNECTION_KEYS
from profilectl.rules.leaving.connection_config import KEYS as CONNECTION_KEYS
from profilectl.rules.settings import SECTIONS, SETTINGS, advice_on_key
from profilectl.rules.text.naming import advice
from profilectl.store.store import OpenStore

SET_EXAMPLE = "profilectl config set identity.strategy=link"
ASSIGNMENT = re.compile(r'((?:[^="]|"(?:[^"\\]|\\.)*")*)=(.*)', re.DOTALL)
"""KEY=VALUE; a quoted part of the key may have an equals sign in it."""
LISTS = frozenset(("types", "strings", "nobodys"))
"""The kinds of settings that are lists."""
KEYS: dict[str, Sequence[str]] = {
    "feeds": FEED_KEYS,
    "calculated": CALCULATED_KEYS,
    "audiences": (*AUDIENCE_KEYS, *COMBINATIONS),
    "connections": tuple(dict.fromkeys((*CONNECTION_KEYS, *AUDIENCE_CONNECTION_KEYS))),
}
"""The keys of a named section. Those of an output depend on its type, and output_of names them."""
WHAT = {
    "feeds": "feed",
    "calculated": "calculated attribute",
    "audiences": "audience",
    "outputs": "output",
    "connections": "connection",
}
"""What a named section declares."""
NEEDED = {"outputs": "type", "connections": "output"}
"""The key that begins a new output or connection: they have no command that adds one."""


def edited(store: OpenStore, assignments: Iterable[str]) -> Stated:
    """Return the configuration of a store with some keys set. Raises UsageError."""
    document = copy.deepcopy(document_of(store))
    before = {section: set(document[section]) for section in NAMED}
    for assignment in assignments:
        match = ASSIGNMENT.fullmatch(assignment)
        if match is None or not match[1].strip():
            raise UsageError(f"{assignment}: must be KEY=VALUE", SET_EXAMPLE)
        path = _path(match[1])
        _set(document, path, _value(path, match[2]), key=match[1].strip())
    for section in NAMED:
        for name in document[section].keys() - before[section]:
            _check_new(section, name, document, there=before[section])
    return _stated(document, "config set")


def without(store: OpenStore, keys: Iterable[str]) -> Stated:
    """Return the configuration of a store without some keys.

    Raises UsageError for a key that cannot be, InputRefused for a feed.
    """
    document = copy.deepcopy(document_of(store))
    for key in keys:
        _take_out(document, _path(key), key=key.strip())
    return _stated(document, "config unset")


def _stated(document: dict[str, Table], title: str) -> Stated:
    """Return what a document states. Raises UsageError: its faults are those of the command."""
    try:
        return stated_in(document, title)
    except InputRefused as error:
        raise UsageError(error.message, error.hint) from None


def _path(key: str) -> list[str]:
    """Return the parts of a key. Raises UsageError where no section or setting has it."""
    key = key.strip()
    path = _parts(key)
    section = path[0]
    if section not in EVERY_SECTION:
        raise UsageError(f"there is no key {key}", _advice_on(key, path))
    if section in SECTIONS:
        name = ".".join(path)
        if name not in SETTINGS:
            raise UsageError(f"there is no key {key}", _advice_on(key, path))
        return path
    if section == "calculated" and len(path) > 1:
        path[1] = attribute_key(path[1])
    if len(path) > 2 and path[2] not in KEYS.get(section, path):
        raise UsageError(
            f"{key}: there is no key {path[2]} of {_a(WHAT[section])}",
            advice(path[2], KEYS[section]),
        )
    return path


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _advice_on(key: str, path: Sequence[str]) -> str:
    """Return what to try instead of a key whose section or name there is not."""
    if len(path) > 2:
        return advice(path[0], NAMED)
    if path == [key] and key in SECTIONS:
        return " or ".join(name for name in SETTINGS if name.startswith(f"{key}."))
    return advice_on_key(".".join(path))


def _parts(key: str) -> list[str]:
    """Return the parts of a key: as TOML reads it, or else with a bare name in the middle."""
    try:
        document: object = tomllib.loads(f"{key} = 0") if "\n" not in key else None
    except tomllib.TOMLDecodeError:
        document = None
    path: list[str] = []
    while isinstance(document, dict) and len(document) == 1:
        (part, document), *_ = document.items()
        path.append(part)
    if path:
        return path
    # feeds.my feed.protection: what people write, though TOML wants quotes around the name.
    section, _, named = key.partition(".")
    name, dot, member = named.rpartition(".")
    return [section, name, member] if dot else [section, *filter(None, [named])]


def _value(path: Sequence[str], text: str) -> object:
    """Return a value: as TOML reads it, else the text itself; a list may be written a, b."""
    text = text.strip()
    value = _toml_value(text)
    if path[0] in SECTIONS:
        if SETTINGS[".".join(path)][0] in LISTS and not isinstance(value, list):
            entries = value if isinstance(value, str) else text
            return [entry.strip() for entry in entries.split(",") if entry.strip()]
        return value
    # All that a feed has but its reading are texts, also where one looks like a number.
    is_text = path[0] == "feeds" and "reading" not in path[2:3]
    return text if is_text and not isinstance(value, str) else value


def _toml_value(text: str) -> object:
    try:
        document = tomllib.loads(f"value = {text}", parse_float=Decimal)
    except (tomllib.TOMLDecodeError, InvalidOperation, ValueError, RecursionError):
        return text
    value = document.pop("value")
    # More than one value is a text of several lines; a day stays as it was written.
    is_value = isinstance(value, (str, bool, int, Decimal, list, dict))
    return value if is_value and not document else text


def _set(document: dict[str, Table], path: Sequence[str], value: object, *, key: str) -> None:
    """Set one key of a document. Raises UsageError where a definition is there in its place."""
    if path[0] in NAMED and len(path) < 3:
        name = path[1] if len(path) > 1 else "NAME"
        raise UsageError(
            f"{key} is a whole section", f"name a key of it: {path[0]}.{name}.{_first_key(path[0])}"
        )
    table: Table = document[path[0]]
    for part in path[1:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{key}: {part} is a value, not a section")
        table = inner
    table[path[-1]] = value


def _first_key(section: str) -> str:
    return KEYS[section][0] if section in KEYS else "type"


def _check_new(section: str, name: str, document: dict[str, Table], *, there: set[str]) -> None:
    """Refuse the key of a name that there is not. Raises UsageError."""
    table = document[section][name]
    needed = NEEDED.get(section)
    if needed is not None and isinstance(table, dict) and needed in table:
        return
    adds = (
        f"set {section}.{name}.{needed} too for a new one"
        if needed
        else f"profilectl {section} add defines a new one"
    )
    raise _no_such(section, name, there, adds=adds)


def _no_such(section: str, name: str, there: Iterable[str], *, adds: str = "") -> UsageError:
    near = advice(name, sorted(there))
    return UsageError(f"there is no {WHAT[section]} {name}", "; ".join(filter(None, (near, adds))))


def _take_out(document: dict[str, Table], path: Sequence[str], *, key: str) -> None:
    """Take one key out of a document; a setting or key that is not set is no fault."""
    if path[0] in SECTIONS:
        document[path[0]].pop(path[1], None)
        return
    if len(path) == 1:
        raise UsageError(f"{key} is a whole section", f"name one of it: {key}.NAME")
    section, name = path[:2]
    if name not in document[section]:
        raise _no_such(section, name, document[section])
    if len(path) == 2:
        if section == "feeds":
            raise InputRefused(
                f"the feed {name} cannot be removed: imports rest on it",
                "profilectl feeds set changes its protection level",
            )
        del document[section][name]
        return
    table: object = document[section][name]
    for part in path[2:-1]:
        table = table.get(part) if isinstance(table, dict) else None
    if isinstance(table, dict):
        table.pop(path[-1], None)
