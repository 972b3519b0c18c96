"""What each type of Parquet is for us: its exact text, and what else a value of it may be.

The one table of types: the reader makes staged columns by it, and rejected rows are written down by
it, so that `raw` says what was read. A type that is not in it has no exact text: as an attribute it
is left out by name, elsewhere it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.rules.sql.quoting import quote_text

BEYOND = "out of range"
"""The text of a time that has none."""
NOT_A_NUMBER = f"('nan', '-nan', 'inf', '-inf', 'infinity', '-infinity', '{BEYOND}')"
"""Texts of numbers and times that are none."""


@dataclass(frozen=True, slots=True)
class ParquetType:
    """One type of Parquet, as DuckDB names it."""

    name: str
    """A pattern of the type's name."""
    text: str
    """The SQL of its exact text; {v} is the value."""
    quoted: bool
    """Whether the text is that of a string; else it is JSON as it stands."""
    identity: str | None = None
    """The SQL of the identity that a value is, null where it is none; None where no value of the
    type can be one.
    """
    ms: str | None = None
    """The SQL of a time's milliseconds, rounded down; None where it says no moment."""
    exact: bool = True
    """Whether every value has a text; else some are NOT_A_NUMBER, or null."""

    @property
    def member(self) -> str:
        """The SQL of the JSON of a value, as an entry of a list; null of null."""
        return f"to_json({self.text})::varchar" if self.quoted else self.text


def _whole_float(limit: int) -> str:
    """Return the SQL of a float as a whole number; from the limit on several whole numbers have one
    float, so that it says none.
    """
    return f"case when isfinite({{v}}) and {{v}} = trunc({{v}}) and abs({{v}}) < {limit} then {{v}}::bigint::varchar end"


_WHOLE_DECIMAL = "nullif(regexp_extract({v}::varchar, '^(-?[0-9]+)([.]0*)?$', 1), '')"
_TIME = "replace({v}::varchar, ' ', 'T')"
_ZONED = "case when isfinite({v}) then replace(make_timestamp(epoch_us({v}))::varchar, ' ', 'T') || 'Z' else {v}::varchar end"
_US_MS = "case when isfinite({v}) then epoch_us({v}) // 1000 - (epoch_us({v}) % 1000 < 0)::int end"
_NS_MS = "epoch_ns({v}) // 1000000 - (epoch_ns({v}) % 1000000 < 0)::int"
_INT96_MS = "epoch_us(try_cast({v} as timestamp)) // 1000 - (epoch_us(try_cast({v} as timestamp)) % 1000 < 0)::int"

# fmt: off
KINDS = (
    #    type of DuckDB                    text                        quoted  as an identity              milliseconds
    ParquetType("VARCHAR|ENUM.*|UUID",            "{v}::varchar",             True,   "{v}::varchar"),
    ParquetType("JSON|INTERVAL",                  "{v}::varchar",             True),
    ParquetType("BOOLEAN",                        "case {v} when true then 'true' when false then 'false' end", False),
    ParquetType("U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER", "{v}::varchar",      False,  "{v}::varchar"),
    ParquetType(r"DECIMAL\(.*\)",                 "{v}::varchar",             False,  _WHOLE_DECIMAL),
    ParquetType("HALF FLOAT",                     "{v}::varchar",             False,  _whole_float(2**11), exact=False),
    ParquetType("FLOAT",                          "{v}::varchar",             False,  _whole_float(2**24), exact=False),
    ParquetType("DOUBLE",                         "{v}::varchar",             False,  _whole_float(2**53), exact=False),
    ParquetType("DATE",                           "{v}::varchar",             True,   exact=False),
    ParquetType("TIME|TIME_NS|TIME WITH TIME ZONE", "{v}::varchar",           True),
    ParquetType("TIME_NS WITH TIME ZONE",         "{v}::varchar || '+00'",    True),
    ParquetType("TIMESTAMP(_S|_MS)?",             _TIME,                      True,   ms=_US_MS, exact=False),
    ParquetType("TIMESTAMP_NS",                   _TIME,                      True,   ms=_NS_MS, exact=False),
    ParquetType("TIMESTAMP WITH TIME ZONE",       _ZONED,                     True,   ms=_US_MS, exact=False),
    ParquetType("TIMESTAMPTZ_NS",                 "replace(make_timestamp_ns(epoch_ns({v}))::varchar, ' ', 'T') || 'Z'", True,
                                                                               ms=_NS_MS),
    ParquetType("INT96",                          "{v}::varchar",             True,   ms=_INT96_MS, exact=False),
    ParquetType('"NULL"',                         "null::varchar",            True,   "null::varchar", "null::bigint"),
)
BINARY = ParquetType("BLOB",                      "try(decode({v}))",         True,   "try(decode({v}))", exact=False)
"""Bytes, where they are to be read as text in UTF-8."""
# fmt: on


def kind_of(name: str, *, binary_as_text: bool = False) -> ParquetType | None:
    """Return the kind of a type, None where it has no exact text; of a list see entry_of."""
    if name == BINARY.name:
        return BINARY if binary_as_text else None
    return next((kind for kind in KINDS if re.fullmatch(kind.name, name)), None)


def entry_of(name: str) -> str | None:
    """Return the type of the entries of a list; None where a type is no list."""
    return name[: name.rindex("[")] if re.search(r"\[[0-9]*\]$", name) else None


def list_unfit(kind: ParquetType, value: str) -> str | None:
    """Return the condition that an entry of a list has no text; None where each has."""
    if kind.exact:
        return None
    return f"coalesce(list_bool_or(list_transform({value}, lambda entry: {unfit(kind, 'entry')})), false)"


def unfit(kind: ParquetType, value: str) -> str:
    """Return the condition that a value has no text."""
    text = kind.text.format(v=value)
    return (
        f"({value} is not null and coalesce({text}, 'nan') in {NOT_A_NUMBER})"
        if kind is not BINARY
        else f"({value} is not null and {text} is null)"
    )


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column, or a member of a struct: its name in the file, its type, the members below it."""

    name: str
    sql: str
    kind: str
    members: Sequence[ParquetColumn] = ()


def raw_json(columns: Sequence[ParquetColumn], *, binary_as_text: bool) -> str:
    """Return the SQL of a row as a JSON object, digit for digit; what has no text is written as
    [{TYPE: a text that DuckDB has for it}].
    """
    parts = [
        quote_text(json.dumps(column.name, ensure_ascii=False) + ":")
        + f" || coalesce({_raw(column.kind, column.sql, column.members, binary_as_text)}, 'null')"
        for column in columns
    ]
    return "'{' || concat_ws(',', " + ", ".join(parts) + ") || '}'"


def _raw(name: str, value: str, members: Sequence[ParquetColumn], binary_as_text: bool) -> str:
    if members:
        inside = raw_json(
            [
                ParquetColumn(one.name, f"{value}.{one.sql}", one.kind, one.members)
                for one in members
            ],
            binary_as_text=binary_as_text,
        )
        return f"case when {value} is not null then {inside} end"
    entry = entry_of(name)
    if entry is not None and (kind := kind_of(entry, binary_as_text=binary_as_text)):
        return list_of(value, _scalar_raw(kind, "entry"))
    kind = kind_of(name, binary_as_text=binary_as_text) if entry is None else None
    if kind:
        return _scalar_raw(kind, value)
    # A list with an object in it: read as a row of JSON, it is left out by name, as the column of
    # the file was.
    said = quote_text("[{" + json.dumps(name) + ":")
    return f"case when {value} is not null then {said} || to_json({value}::varchar)::varchar || '}}]' end"


def list_of(value: str, entry: str) -> str:
    """Return the SQL of the JSON of a list, given that of an entry."""
    return (
        f"case when {value} is not null then '[' || array_to_string("
        f"list_transform({value}, lambda entry: coalesce({entry}, 'null')), ',') || ']' end"
    )


def _scalar_raw(kind: ParquetType, value: str) -> str:
    text = kind.text.format(v=value)
    if kind is BINARY:
        return f"to_json(coalesce({text}, {value}::varchar))::varchar"
    if kind.quoted:
        return f"to_json({text})::varchar"
    if kind.exact:
        return text
    words = "".join(
        f" when '{word}' then '\"{said}\"'"
        for word, said in (
            ("nan", "NaN"),
            ("-nan", "NaN"),
            ("inf", "Infinity"),
            ("-inf", "-Infinity"),
        )
    )
    return f"case {text}{words} else {text} end"
