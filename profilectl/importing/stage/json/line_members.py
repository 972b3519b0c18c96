"""The members that the fast way looks for in lines of JSON, chosen from a sample of the lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from profilectl.importing.stage.staged import AttributeColumns
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading
from profilectl.rules.batch_fields import MAKES_A_BATCH, Columns, attribute_key, is_unknown_reserved
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import type_named
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch

SAMPLE = 5000
"""How many lines, spread over the file, say what to look for."""
_SAFE_KEY = re.compile(r"[A-Za-z0-9_$ .\-]{1,100}")
_PLAIN = {
    "environment": "environment",
    "mpid": "mpid",
    "timestamp_unixtime_ms": "at_ms",
    "source_request_id": "request",
}

# Some lines spread over the file.
SAMPLED = SqlTemplate("""
select line
from {lines}
where rowid % {step} = 0
""")
# The keys of each line, of its identities and of its attributes.
KEYS = SqlTemplate("""
select json_keys(line, ['$', '$.user_identities', '$.user_attributes']) as keys
from {lines}_sample
where try(json_valid(line))
""")
# The keys of one of these objects, the most frequent first.
FREQUENT_KEYS = SqlTemplate("""
select key
from (select unnest(keys[{group}]) as key from {lines}_keys)
group by key
order by count(*) desc, key
""")
# The keys of flat rows, the most frequent first, then in the order in which rows have them.
FLAT_KEYS = SqlTemplate("""
select key
from (
  select unnest(keys[1]) as key, unnest(range(len(keys[1]))) as place
  from {lines}_keys
)
group by key
order by count(*) desc, min(place), key
limit {most}
""")
# How many rows of the sample there are, and how many have an object under each name.
OBJECTS = SqlTemplate("""
select count(*), {columns}
from {lines}_sample
where try(json_valid(line))
""")
# How many rows have an object under a name, or a list with an object in it.
HAS_OBJECT = SqlTemplate(
    "count_if(starts_with({value}, '{') or starts_with({value}, '[') and contains({value}, '{'))"
)
# The JSON under a name.
EXTRACTED = SqlTemplate("json_extract(line, {path})::varchar")


@dataclass(frozen=True, slots=True)
class LineMember:
    """One member of a line that the fast way understands."""

    group: str
    """The object that it is in, or ""."""
    key: str
    """Its key."""
    column: str
    """The staged column that it becomes; "" for none."""
    kind: str
    """Its meaning: plain, identity, attribute, events or ignored."""

    @property
    def json_path(self) -> str:
        """Return the path to it in a line."""
        return f'$.{self.group}."{self.key}"' if self.group else f'$."{self.key}"'


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys that the lines of a sample have, the most frequent first."""

    top: list[str]
    """Those of the lines themselves."""
    identities: list[str]
    """Those of user_identities."""
    attributes: list[str]
    """Those of user_attributes."""

    @property
    def all_flat(self) -> bool:
        """Return whether no line is a batch."""
        return not self.identities and not self.attributes and "events" not in self.top


def choose_members(
    scratch: Scratch, lines: str, keys: AttributeColumns, reading: Reading
) -> list[LineMember]:
    """Choose what to look for in the relation `lines` (line), from a sample spread over it."""
    # A table: a sample that is only a query would be taken three times, and each line of the file
    # be looked at.
    step = max(1, scratch.count(lines) // SAMPLE)
    scratch.make(f"{lines}_sample", SAMPLED(lines=lines, step=step))
    scratch.make(f"{lines}_keys", KEYS(lines=lines))
    in_sample = _Keys(
        *(
            [key for (key,) in scratch.rows(FREQUENT_KEYS(group=group, lines=lines))]
            for group in (1, 2, 3)
        )
    )
    flat = None
    if in_sample.all_flat and not reading.path:
        flat = _flat_members(scratch, lines, keys, reading=reading)
    scratch.drop(f"{lines}_keys")
    scratch.drop(f"{lines}_sample")
    return _batch_members(in_sample, keys, reading) if flat is None else flat


def _batch_members(in_sample: _Keys, keys: AttributeColumns, reading: Reading) -> list[LineMember]:
    """Choose what to look for in a file of batches."""
    # A line of plain fields alone is a flat row, in which a name may be mapped, and a text may
    # mean nothing.
    is_mapped = reading.columns and reading.columns.mapped
    members: list[LineMember] = []
    if not reading.nulls and not reading.path and not is_mapped:
        members += [
            LineMember("", key, _PLAIN[key], kind="plain") for key in in_sample.top if key in _PLAIN
        ]
    if "events" in in_sample.top:
        members.append(LineMember("", "events", "events", kind="events"))
    columns = {member.column for member in members}
    for key in in_sample.identities:
        kind = type_named(key)
        if kind and not kind.device and _SAFE_KEY.fullmatch(key):
            column = f"i_{kind.name}"
            if column not in columns:
                columns.add(column)
                members.append(LineMember("user_identities", key, column, kind="identity"))
    for key in in_sample.attributes[: reading.limits["attributes"]]:
        attribute = keys.column(attribute_key(key)) if _SAFE_KEY.fullmatch(key) else None
        if attribute and attribute not in columns:
            columns.add(attribute)
            members.append(LineMember("user_attributes", key, attribute, kind="attribute"))
    return members


def _flat_members(
    scratch: Scratch, lines: str, keys: AttributeColumns, *, reading: Reading
) -> list[LineMember]:
    """Choose what to look for in a file of flat rows.

    That is the names under which no row of the sample has an object.
    """
    most = 2 * reading.limits["attributes"]
    names = [
        key
        for (key,) in scratch.rows(FLAT_KEYS(lines=lines, most=most))
        if _SAFE_KEY.fullmatch(key) and key not in MAKES_A_BATCH
    ]
    if not names:
        return []
    count, objects = _objects(scratch, lines, names)
    if max(objects) > count / 2:
        return []  # most lines are to be read by themselves
    columns = reading.columns or Columns(unknown=reading.unknown)
    members: list[LineMember] = []
    for name, with_object in zip(names, objects, strict=True):
        member = None if with_object else _flat_member(name, columns, keys, reading=reading)
        taken_columns = {chosen.column for chosen in members}
        if member and (not member.column or member.column not in taken_columns):
            members.append(member)
    return members


def _objects(scratch: Scratch, lines: str, names: Sequence[str]) -> tuple[int, list[int]]:
    """Return how many lines the sample has, and how many have an object under each name."""
    values = [
        EXTRACTED(path=quote_text(LineMember("", name, "", kind="").json_path)) for name in names
    ]
    columns = ", ".join(HAS_OBJECT(value=value) for value in values)
    count, *objects = scratch.row(OBJECTS(columns=columns, lines=lines))
    return count, objects


def _flat_member(
    name: str, columns: Columns, keys: AttributeColumns, *, reading: Reading
) -> LineMember | None:
    """Return what to look for under a name of flat rows.

    None: every line with it is to be read by itself.
    """
    try:
        field = columns.meaning(name)
    except UnusableRow:
        return None
    if field.kind == "attribute" and is_unknown_reserved(field.name):
        return None  # it is remarked on
    column: str | None = None
    if field.kind == "attribute" and len(field.name) <= reading.limits["key"]:
        column = keys.column(field.name)
    elif field.kind == "identity":
        column = f"i_{field.name}"
    elif field.kind == "plain" and not (field.name == "environment" and reading.nulls):
        column = _PLAIN.get(field.name)
    elif field.kind == "ignored":
        column = ""
    return None if column is None else LineMember("", name, column, kind=field.kind)
