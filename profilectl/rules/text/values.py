"""The held form of a value: the text that came in, so that the same text goes out (design.md R4).

A string is held as itself. Everything else (number, boolean, list, tag) is held as MARK and its
JSON text, numbers digit for digit as received. So one text column holds every kind of value, and
two values are equal if their texts are. A string that itself begins with MARK is held as MARK, an
apostrophe and itself, which keeps the two apart. MARK alone means "deleted".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MARK = "\x1f"
"""The character that a held value begins with if it is no string."""
DELETED = MARK
"""The held form of "deleted"."""
TAG = MARK + "null"
"""The held form of a tag: an attribute without a value."""
STRING = MARK + "'"
"""The beginning of the held form of a string that begins with MARK."""


class Number(str):
    """A JSON number as it was written: never an int or a float, so that no digit is lost."""

    __slots__ = ()


Value = str | Number | bool | None | list["Value"] | dict[str, "Value"]
"""A value of JSON, as parse_json reads it."""

# Made once: json.dumps would make an encoder for each text.
_quote = json.JSONEncoder(ensure_ascii=False).encode


def to_json(value: Value) -> str:
    """Return the compact JSON text of a value, with numbers exactly as they were written."""
    # Number comes first, because it is a str as well.
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return "{" + ",".join(f"{_quote(key)}:{to_json(member)}" for key, member in value.items()) + "}"


def hold(value: Value) -> str:
    """Return the held form of a value."""
    if isinstance(value, str) and not isinstance(value, Number):
        return STRING + value if value.startswith(MARK) else value
    return MARK + to_json(value)


def held_json(held_value: str) -> str:
    """Return the JSON text of a held value."""
    if held_value.startswith(STRING):
        return _quote(held_value[2:])
    return held_value[1:] if held_value.startswith(MARK) else _quote(held_value)


def held_text(held_value: str) -> str:
    """Return a held value as a person or a CSV cell shows it: a string bare, all else as JSON."""
    if held_value.startswith(STRING):
        return held_value[2:]
    return held_value.removeprefix(MARK)


def is_list(held_value: str) -> bool:
    """Return whether a held value is a list."""
    return held_value.startswith(MARK + "[")


def as_text(value: Value) -> Value:
    """Return the value of an attribute as it leaves for the platform (design.md R4).

    The platform keeps everything as text, numbers digit for digit. A list stays a list, and a tag
    stays null.
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return [as_text(entry) for entry in value] if isinstance(value, list) else value


def whole(number: int) -> Number:
    """Return a whole number for JSON."""
    return Number(str(number))


class NotJson(ValueError):
    """A text that is not JSON by RFC 8259.

    code: one of codes.CODES. detail: the fault. position: its place in the text from 0, or None if
    that is not known.
    """

    def __init__(self, code: str, detail: str, position: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.position = position


def _no_constant(text: str) -> Value:
    raise NotJson("JSON_INVALID", f"{text} is not a JSON number")


def _object(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    members: dict[str, Value] = {}
    for key, value in pairs:
        if key in members:
            raise NotJson("DUPLICATE_KEY", key)
        members[key] = value
    return members


_decoder = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_no_constant, object_pairs_hook=_object
)


def parse_json(text: str) -> Value:
    """Read one JSON text exactly: numbers as written, no key twice, no NaN, no lone surrogate.

    Raises NotJson, with the position of the fault if it is known.
    """
    value, end = parse_json_at(text, len(text) - len(text.lstrip(" \t\r\n")))
    trailing = text[end:].lstrip(" \t\r\n")
    if trailing:
        raise NotJson("JSON_INVALID", "text after the end of the JSON", len(text) - len(trailing))
    return value


def parse_json_at(text: str, start: int) -> tuple[Value, int]:
    """Read the JSON value that begins at a position; return it and the position after it.

    Raises NotJson.
    """
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise NotJson("JSON_INVALID", error.msg, error.pos) from None
    except RecursionError:
        raise NotJson("JSON_TOO_DEEP", "more levels than can be read") from None
    except NotJson as error:
        raise _placed(error, text, start) from None
    # Only an escape can write half a pair or a NUL, and to check every text would be slow.
    if "\\u" in text:
        try:
            _check_characters(value)
        except NotJson as error:
            raise _placed(error, text, start) from None
    return value, end


_PARTS = re.compile(
    r"""(?P<string>"(?:[^"\\]++|\\.)*+")(?P<colon>[ \t\r\n]*+:)?
    |(?P<bracket>[\[\]{}])
    |(?P<constant>-?(?:NaN|Infinity))""",
    re.VERBOSE,
)
"""The parts of a JSON text that can hold a fault: a string (a key if a colon follows), a bracket,
or a constant that JSON does not have.
"""


def _placed(error: NotJson, text: str, start: int) -> NotJson:
    """Return a fault with its position.

    The decoder gives none for a key that stands twice, a half character or a NaN.
    """
    keys: list[set[str]] = []
    for part in _PARTS.finditer(text, start):
        if part["string"] is None:
            if part["bracket"] in ("{", "["):
                keys.append(set())
            elif part["bracket"] and keys:
                keys.pop()
            elif part["constant"] and error.code == "JSON_INVALID":
                return NotJson(error.code, f"{part['constant']} is not a JSON number", part.start())
            continue
        string = json.loads(part["string"], strict=False)
        if error.code == "DUPLICATE_KEY" and part["colon"] and keys:
            if string in keys[-1]:
                return NotJson(error.code, string, part.start())
            keys[-1].add(string)
        elif error.code in ("LONE_SURROGATE", "NUL_CHARACTER"):
            try:
                _check_characters(string)
            except NotJson as fault:
                return NotJson(fault.code, fault.detail, part.start())
    return error


def _check_characters(value: Value) -> None:
    """Refuse half surrogate pairs and NUL, which no store or other program would carry safely.

    Raises NotJson.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise NotJson("NUL_CHARACTER", "\\u0000 in a string")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NotJson("LONE_SURROGATE", f"U+{ord(value[error.start]):04X}") from None
    elif isinstance(value, list):
        for entry in value:
            _check_characters(entry)
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_characters(key)
            _check_characters(member)
