"""The types of Parquet. A new type is taught here: one row of the table KINDS.

A row says the exact text of a value, and whether it may be an identity or a time. The reader
makes staged columns by it, and rejected rows are written down by it. A type that is not in the
table has no exact text: as an attribute it is left out by name, elsewhere it is refused. (A type
that DuckDB does not read exactly is turned into text before: arrow.py.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from profilectl.importing.stage.template import SqlTemplate
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
    finite: bool = False
    """Whether `isfinite` says of a value that it has a text."""

    def text_of(self, value: str) -> str:
        """Return the SQL of the exact text of a value."""
        return self.text.format(v=value)

    def entry(self, value: str) -> str:
        """Return the SQL of the JSON of a value, as an entry of a list; null of null."""
        text = self.text_of(value)
        return f"to_json({text})::varchar" if self.quoted else text


# A float as a whole number. From the limit on several whole numbers have one float, so that it says
# none.
_WHOLE_FLOAT = SqlTemplate(
    "case when isfinite({v}) and {v} = trunc({v}) and abs({v}) < {limit}"
    " then {v}::bigint::varchar end"
)
_WHOLE_HALF = _WHOLE_FLOAT(v="{v}", limit=2**11)
_WHOLE_SINGLE = _WHOLE_FLOAT(v="{v}", limit=2**24)
_WHOLE_DOUBLE = _WHOLE_FLOAT(v="{v}", limit=2**53)
_WHOLE_DECIMAL = "nullif(regexp_extract({v}::varchar, '^(-?[0-9]+)([.]0*)?$', 1), '')"
_BOOLEAN = "case {v} when true then 'true' when false then 'false' end"
_TIME = "replace({v}::varchar, ' ', 'T')"
_ZONED = (
    "case when isfinite({v}) then replace(make_timestamp(epoch_us({v}))::varchar, ' ', 'T') || 'Z'"
    " else {v}::varchar end"
)
_ZONED_NS = "replace(make_timestamp_ns(epoch_ns({v}))::varchar, ' ', 'T') || 'Z'"
# Milliseconds are rounded down: // cuts towards 1970, which before 1970 is up.
_US_MS = "case when isfinite({v}) then epoch_us({v}) // 1000 - (epoch_us({v}) % 1000 < 0)::int end"
_NS_MS = "epoch_ns({v}) // 1000000 - (epoch_ns({v}) % 1000000 < 0)::int"
_INT96_MS = (
    "epoch_us(try_cast({v} as timestamp)) // 1000"
    " - (epoch_us(try_cast({v} as timestamp)) % 1000 < 0)::int"
)
_TEXT = "{v}::varchar"

# fmt: off
KINDS = (
    #           type of DuckDB              text     quoted  as an identity, or milliseconds; exact
    ParquetType("VARCHAR|ENUM.*|UUID",      _TEXT,    True,  _TEXT),
    ParquetType("JSON|INTERVAL",            _TEXT,    True),
    ParquetType("BOOLEAN",                  _BOOLEAN, False),
    ParquetType("U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER",
                                            _TEXT,    False, _TEXT),
    ParquetType(r"DECIMAL\(.*\)",           _TEXT,    False, _WHOLE_DECIMAL),
    ParquetType("HALF FLOAT",               _TEXT,    False, _WHOLE_HALF, exact=False,
                finite=True),
    ParquetType("FLOAT",                    _TEXT,    False, _WHOLE_SINGLE, exact=False,
                finite=True),
    ParquetType("DOUBLE",                   _TEXT,    False, _WHOLE_DOUBLE, exact=False,
                finite=True),
    ParquetType("DATE",                     _TEXT,    True,  exact=False, finite=True),
    ParquetType("TIME|TIME_NS|TIME WITH TIME ZONE",
                                            _TEXT,    True),
    ParquetType("TIME_NS WITH TIME ZONE",   "{v}::varchar || '+00'", True),
    ParquetType("TIMESTAMP(_S|_MS)?",       _TIME,    True,  ms=_US_MS, exact=False,
                finite=True),
    ParquetType("TIMESTAMP_NS",             _TIME,    True,  ms=_NS_MS, exact=False),
    ParquetType("TIMESTAMP WITH TIME ZONE", _ZONED,   True,  ms=_US_MS, exact=False),
    ParquetType("TIMESTAMPTZ_NS",           _ZONED_NS, True, ms=_NS_MS),
    ParquetType("INT96",                    _TEXT,    True,  ms=_INT96_MS, exact=False),
    ParquetType('"NULL"',                   "null::varchar", True, "null::varchar", "null::bigint"),
)
BINARY = ParquetType("BLOB", "try(decode({v}))", True, "try(decode({v}))", exact=False)
"""Bytes, where they are to be read as text in UTF-8."""
# fmt: on

# The conditions that a value, or an entry of a list, has no text.
UNFIT = SqlTemplate("({value} is not null and coalesce({text}, 'nan') in {not_a_number})")
# The same of numbers and times of DuckDB: a quarter of the time that the texts take.
UNFIT_NUMBER = SqlTemplate("({value} is not null and not isfinite({value}))")
# Bytes that are not UTF-8.
UNFIT_BYTES = SqlTemplate("({value} is not null and {text} is null)")
# A list with an entry without text.
UNFIT_LIST = SqlTemplate(
    "coalesce(list_bool_or(list_transform({value}, lambda entry: {unfit})), false)"
)

# JSON, digit for digit.
LIST_JSON = SqlTemplate(
    "case when {value} is not null then '[' || array_to_string("
    "list_transform({value}, lambda entry: coalesce({entry}, 'null')), ',') || ']' end"
)
# An object of its members.
OBJECT_JSON = SqlTemplate("'{' || concat_ws(',', {members}) || '}'")
# A member with its key; null is written.
MEMBER_JSON = SqlTemplate("{key} || coalesce({value}, 'null')")
# A struct that is there, as an object.
STRUCT_JSON = SqlTemplate("case when {value} is not null then {object} end")
# Bytes as text, else as DuckDB writes bytes.
BYTES_JSON = SqlTemplate("to_json(coalesce({text}, {value}::varchar))::varchar")
# JSON has no number for these.
NUMBER_JSON = SqlTemplate(
    """case {text} when 'nan' then '"NaN"' when '-nan' then '"NaN"' when 'inf' then '"Infinity"'"""
    """ when '-inf' then '"-Infinity"' else {text} end"""
)
# A list with an object in it: read as a row of JSON, it is left out by name, as the column of the
# file was.
NO_TEXT_JSON = SqlTemplate(
    "case when {value} is not null then {begin} || to_json({value}::varchar)::varchar || '}]' end"
)


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column, or a member of a struct."""

    name: str
    """Its name in the file."""
    sql: str
    """The SQL of its value."""
    kind: str
    """Its type, as DuckDB or the table names it."""
    members: Sequence[ParquetColumn] = ()
    """The members of the struct that it is, if any."""


def kind_of(name: str, *, binary_as_text: bool = False) -> ParquetType | None:
    """Return the kind of a type, None where it has no exact text; of a list see entry_of."""
    if name == BINARY.name:
        return BINARY if binary_as_text else None
    return next((kind for kind in KINDS if re.fullmatch(kind.name, name)), None)


def entry_of(name: str) -> str | None:
    """Return the type of the entries of a list; None where a type is no list."""
    return name[: name.rindex("[")] if re.search(r"\[[0-9]*\]$", name) else None


def unfit(kind: ParquetType, value: str) -> str:
    """Return the condition that a value has no text."""
    text = kind.text_of(value)
    if kind is BINARY:
        return UNFIT_BYTES(value=value, text=text)
    if kind.finite:
        return UNFIT_NUMBER(value=value)
    return UNFIT(value=value, text=text, not_a_number=NOT_A_NUMBER)


def list_unfit(kind: ParquetType, value: str) -> str | None:
    """Return the condition that an entry of a list has no text; None where each has."""
    return None if kind.exact else UNFIT_LIST(value=value, unfit=unfit(kind, "entry"))


def list_of(value: str, entry: str) -> str:
    """Return the SQL of the JSON of a list, given that of an entry."""
    return LIST_JSON(value=value, entry=entry)


def raw_json(columns: Sequence[ParquetColumn], *, binary_as_text: bool) -> str:
    """Return the SQL of a row as a JSON object, digit for digit.

    A value without text is written as [{TYPE: a text that DuckDB has for it}].
    """
    members = [
        MEMBER_JSON(
            key=quote_text(json.dumps(column.name, ensure_ascii=False) + ":"),
            value=_raw(column, binary_as_text=binary_as_text),
        )
        for column in columns
    ]
    return OBJECT_JSON(members=", ".join(members))


def _raw(column: ParquetColumn, *, binary_as_text: bool) -> str:
    """Return the SQL of the JSON of a column, null of null."""
    value = column.sql
    if column.members:
        members = [replace(member, sql=f"{value}.{member.sql}") for member in column.members]
        inside = raw_json(members, binary_as_text=binary_as_text)
        return STRUCT_JSON(value=value, object=inside)
    entry = entry_of(column.kind)
    kind = kind_of(entry or column.kind, binary_as_text=binary_as_text)
    if kind and entry is not None:
        return list_of(value, _scalar_raw(kind, "entry"))
    if kind:
        return _scalar_raw(kind, value)
    return NO_TEXT_JSON(value=value, begin=quote_text("[{" + json.dumps(column.kind) + ":"))


def _scalar_raw(kind: ParquetType, value: str) -> str:
    """Return the SQL of the JSON of a scalar."""
    text = kind.text_of(value)
    if kind is BINARY:
        return BYTES_JSON(text=text, value=value)
    if kind.quoted:
        return f"to_json({text})::varchar"
    return text if kind.exact else NUMBER_JSON(text=text)
