"""A batch: the meaning of one row, read from a Batch document or from a flat row.

Sources: the seed page (the example batch), domain.md 5.1 (fields), 8 (columns), design.md R4, R6,
R18, R22 and section 4 (flat rows). The fields are in batch_fields.py and batch_members.py, the
limits on attributes in batch_limits.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from profilectl.rules.batch_fields import (
    BATCH_FIELDS,
    IGNORED,
    KEPT_FIELDS,
    MAKES_A_BATCH,
    TYPED_FIELDS,
    BatchField,
    Columns,
    attribute_key,
    is_unknown_reserved,
)
from profilectl.rules.batch_limits import LIMITS, over_limit
from profilectl.rules.batch_members import check_members, is_boolean, times_in
from profilectl.rules.consent import SALE, Purpose, stated_ms, statements_of
from profilectl.rules.event.event import Event, event_of_cells, read_events
from profilectl.rules.fields import (
    UnusableRow,
    boolean,
    identity_text,
    json_type,
    put_cell,
    shown,
    typed,
    whole_number,
    without_empty,
)
from profilectl.rules.flat_row import flattened
from profilectl.rules.identity import (
    BY_NAME,
    JUDGING,
    Judging,
    UsableIdentity,
    display,
    type_named,
    usable,
)
from profilectl.rules.text.moments import may_be
from profilectl.rules.text.values import DELETED, NotJson, Number, Value, hold, parse_json, to_json

StatedIdentity = tuple[str, Value]
"""An identity as a row states it: its type and its value."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The settings that a row is read by."""

    judging: Judging = JUDGING
    """The values that are nobody's identity (`--allow-spoiled`, design.md R13)."""
    limits: Mapping[str, int] = field(default_factory=lambda: LIMITS)
    """The limits in force (batch_limits.LIMITS)."""
    added: Event | None = None
    """The event that every batch gets (`--event`), if any."""
    purposes: frozenset[str] | None = None
    """The GDPR purposes that are defined; None: any may be stated."""
    nulls: frozenset[str] = frozenset()
    """Texts that make a cell of a flat row empty (`--null`)."""
    unknown: str = "refuse"
    """The meaning of a dotted name of no field (`--unknown`): refuse, attribute or ignore."""
    path: Mapping[str, Value] = field(default_factory=dict)
    """Columns and values in the path of the file, for flat rows without that column
    (`--path-columns`).
    """
    columns: Columns | None = None
    """The meanings of the names in flat rows (`--map`), and those that were met; None: no name is
    mapped, and none is remembered.
    """
    latest_ms: int | None = None
    """The latest time that a row may state (moments.latest_ms); None: any time."""
    workspace: str | None = None
    """The workspace that exported profiles must belong to; None: any."""

    def defines(self, regulation: str, purpose: str) -> bool:
        """Return whether consent to a purpose may be stated (domain.md 5.3)."""
        if regulation == SALE[0]:
            return purpose == SALE[1]
        return regulation != "gdpr" or self.purposes is None or purpose in self.purposes


class Remark(NamedTuple):
    """A code on a row that can be used in spite of it."""

    code: str
    """The code, one of codes.CODES."""
    attribute: str | None = None
    """The attribute that it is about, if it is about one."""
    type: str | None = None
    """The type of the identity that it is about, if it is about one."""
    value: str | None = None
    """The value of that identity, as it is stated."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The meaning of one row."""

    environment: str | None
    """The environment that the row states, if any."""
    mpid: int | None
    """The MPID that it names, if any."""
    at_ms: int | None
    """Its time, if it states one."""
    request: str | None
    """Its source_request_id, if any."""
    identities: tuple[UsableIdentity, ...]
    """The identities that may be used."""
    sets: Mapping[str, str]
    """The attributes that it sets, and their held values (values.hold)."""
    deletes: tuple[str, ...]
    """The attributes that it deletes, before the sets."""
    rest: str | None
    """Its other fields as JSON text."""
    remarks: tuple[Remark, ...]
    """The remarks on skipped values and on facts worth knowing, once for each time."""
    events: tuple[Event, ...] = ()
    """Its events in their order."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the remarks."""
        return tuple(remark.code for remark in self.remarks)

    @property
    def says_consent(self) -> bool:
        """Whether the row states a consent."""
        fields = parse_json(self.rest) if self.rest else None
        return isinstance(fields, dict) and "consent_state" in fields

    def consents_after(self, now_ms: int) -> list[Purpose]:
        """Return the purposes whose consent has a time after now."""
        fields = parse_json(self.rest) if self.rest else None
        statements = statements_of(fields.get("consent_state")) if isinstance(fields, dict) else {}
        return [
            purpose for purpose, statement in statements.items() if stated_ms(statement) > now_ms
        ]


@dataclass(slots=True)
class _Parts:
    """The parts of a batch as its row states them."""

    plain: dict[str, Value] = field(default_factory=dict)
    """The fields that are single values (batch_fields.PLAIN_FIELDS)."""
    identities: list[StatedIdentity] = field(default_factory=list)
    """The identities."""
    attributes: dict[str, Value] = field(default_factory=dict)
    """The attributes; None: without a value."""
    fields: dict[str, Value] = field(default_factory=dict)
    """The other fields of the batch."""
    events: tuple[Event, ...] = ()
    """The events."""
    remarks: list[Remark] = field(default_factory=list)
    """The remarks on the parts."""


def is_batch(document: Mapping[str, Value]) -> bool:
    """Return whether a JSON object is a Batch rather than a flat row (design.md 4)."""
    return any(isinstance(document.get(name), dict | list) for name in MAKES_A_BATCH)


def read_document(document: Value, reading: Reading) -> Batch:
    """Read a JSON object, as a Batch or as a flat row. Raises UnusableRow."""
    if not isinstance(document, dict):
        raise UnusableRow("JSON_NOT_OBJECT", json_type(document))
    if is_batch(document):
        return read_batch(document, reading)
    return read_flat(_with_path(document, reading) if reading.path else document, reading)


def _with_path(row: Mapping[str, Value], reading: Reading) -> Mapping[str, Value]:
    """Return a flat row with the columns in the path of its file that the row itself lacks.

    Raises UnusableRow.
    """
    columns = reading.columns or Columns(unknown=reading.unknown)
    # Compared by meaning: `email` of the row hides `user_identities.email` of the path. All columns
    # that are left out mean the same, and hide nothing.
    own = {
        columns.meaning(cell.name, nested=cell.nested) for cell in flattened(row, columns.mapped)
    }
    return {
        **row,
        **{
            name: value
            for name, value in reading.path.items()
            if name not in row and columns.meaning(name) not in own - {IGNORED}
        },
    }


def read_batch(document: Mapping[str, Value], reading: Reading) -> Batch:
    """Read a Batch document (domain.md 5.1). Raises UnusableRow."""
    # A field that the platform does not know is a mistake of the sender, not an attribute.
    for name in document:
        if name not in BATCH_FIELDS:
            raise UnusableRow("BATCH_UNKNOWN_FIELD", name)
    parts = _Parts(plain=dict(document))
    parts.fields = {
        name: value for name in KEPT_FIELDS if (value := document.get(name)) not in (None, [], {})
    }
    parts.remarks = _check_fields(parts.fields, reading)
    if "device_info" in parts.fields and isinstance(stamp := document.get("mp_deviceid"), str):
        parts.fields["mp_deviceid"] = stamp  # device_info stays with what names the device
    _add_identities(document, parts)
    for key, value in _object(document, "user_attributes").items():
        # $city and $City are one attribute.
        if attribute_key(key) in parts.attributes:
            raise UnusableRow("DUPLICATE_KEY", key)
        parts.attributes[attribute_key(key)] = value
    events = document.get("events")
    if not isinstance(events, list | None):
        raise UnusableRow("BATCH_INVALID", f"events is {json_type(events)}")
    parts.events = read_events(events or [])
    return _batch(parts, reading)


def _add_identities(document: Mapping[str, Value], parts: _Parts) -> None:
    """Add the identities that a Batch document states to its parts. Raises UnusableRow."""
    for name, value in _object(document, "user_identities").items():
        kind = type_named(name)
        if kind and not kind.device:
            parts.identities.append((kind.name, value))
        elif value is not None:
            parts.remarks.append(Remark("IDENTITY_UNKNOWN_TYPE"))
    for name, value in _object(document, "device_info").items():
        kind = type_named(name)
        if kind and kind.device and kind.name != "mp_deviceid":
            parts.identities.append((kind.name, value))
    # The stamp comes last, whichever place it has in the document.
    parts.identities.append(("mp_deviceid", document.get("mp_deviceid")))


def read_flat(
    row: Mapping[str, Value],
    reading: Reading,
    *,
    empty: str = "ignore",
    event_type: str | None = None,
) -> Batch:
    """Read a flat row (design.md 4). Raises UnusableRow.

    Its keys are columns, and those of an object are dotted (flat_row.py). A null or empty cell
    states nothing.

    empty: the meaning of an attribute without a value (`--empty`): ignore, delete or set (design.md
    R6). event_type: the event type in the file's name, if any.
    """
    flat = _FlatParts(empty=empty)
    columns = reading.columns or Columns(unknown=reading.unknown)
    for cell in flattened(row, columns.mapped):
        column = columns.meaning(cell.name, nested=cell.nested)
        # --null is about texts: a JSON number is a Number, which is a str too.
        is_null = (
            isinstance(cell.value, str)
            and cell.value in reading.nulls
            and not isinstance(cell.value, Number)
        )
        flat.add(cell.name, column, None if is_null else cell.value)
    parts = flat.parts
    deletes = [key for key, value in parts.attributes.items() if value is None]
    parts.attributes = {key: value for key, value in parts.attributes.items() if value is not None}
    event = event_of_cells(flat.event_cells, event_type)
    parts.events = (event,) if event else ()
    parts.fields = without_empty(parts.fields)
    parts.remarks += _check_fields(parts.fields, reading)
    _name_device(parts.fields, parts.identities)
    # Deletes of empty cells are added afterwards: they are no UA_SET_AND_DELETED.
    batch = _batch(parts, reading)
    return replace(batch, deletes=(*batch.deletes, *deletes)) if deletes else batch


@dataclass(slots=True)
class _FlatParts:
    """The parts of a batch as the cells of a flat row state them."""

    empty: str
    """The meaning of an attribute without a value: ignore, delete or set."""
    parts: _Parts = field(default_factory=_Parts)
    """The parts but for the events."""
    event_cells: dict[str, Value] = field(default_factory=dict)
    """The cells of the event, by their names without `events.`."""

    def add(self, name: str, column: BatchField, value: Value) -> None:
        """Add a cell under the meaning of its column; None: it is empty. Raises UnusableRow."""
        match column.kind:
            case "identity":
                self.parts.identities.append((column.name, value))
            case "attribute":
                self._add_attribute(name, column.name, value)
            case "event":
                self._add_event_cell(name, column.name.removeprefix("events."), value)
            case "kept":
                put_cell(self.parts.fields, column.name.split("."), _typed_cell(column.name, value))
            case "plain" if value is not None:
                if column.name in self.parts.plain:
                    raise UnusableRow("DUPLICATE_KEY", name)
                self.parts.plain[column.name] = value
            case "unknown identity" if value is not None:
                self.parts.remarks.append(Remark("IDENTITY_UNKNOWN_TYPE"))

    def _add_attribute(self, name: str, key: str, value: Value) -> None:
        if value is None and self.empty == "ignore":
            return
        if key in self.parts.attributes:
            raise UnusableRow("DUPLICATE_KEY", name)
        without_value = "" if self.empty == "set" else None
        self.parts.attributes[key] = value if value is not None else without_value

    def _add_event_cell(self, name: str, member: str, value: Value) -> None:
        if value is not None and self.event_cells.get(member) is not None:
            raise UnusableRow("DUPLICATE_KEY", name)
        if value is not None or member not in self.event_cells:
            self.event_cells[member] = value


def _typed_cell(name: str, value: Value) -> Value:
    """Return the value of a cell of the field of a dotted name."""
    if is_boolean(name):
        return boolean(value)
    return typed(value) if name.endswith(TYPED_FIELDS) else value


def batch_of(
    plain: Mapping[str, Value],
    identities: Iterable[StatedIdentity],
    attributes: Mapping[str, Value],
    *,
    reading: Reading,
    fields: Mapping[str, Value],
    events: tuple[Event, ...] = (),
) -> Batch:
    """Return the batch of parts from elsewhere, checked as the parts of a batch are.

    Raises UnusableRow.
    """
    checked = {name: value for name, value in fields.items() if name in KEPT_FIELDS}
    remarks = _check_fields(checked, reading)
    unchecked = {name: value for name, value in fields.items() if name not in KEPT_FIELDS}
    parts = _Parts(
        plain=dict(plain),
        identities=list(identities),
        attributes=dict(attributes),
        fields=checked | unchecked,
        events=events,
        remarks=remarks,
    )
    return _batch(parts, reading)


def _check_fields(fields: dict[str, Value], reading: Reading) -> list[Remark]:
    """Check the fields that are kept for later, as far as the platform's schema says.

    Takes out consent to purposes that are not defined, and returns a remark on each. Raises
    UnusableRow.
    """
    for name, value in fields.items():
        if not isinstance(value, KEPT_FIELDS[name]) or (
            isinstance(value, Number) and Number not in KEPT_FIELDS[name]
        ):
            raise UnusableRow("BATCH_INVALID", f"{name} is {json_type(value)}")
    # Taken out first: a statement on an undefined purpose is not checked, and rejects no row.
    remarks = _take_out_undefined(fields, reading)
    check_members(fields)
    return remarks


def _take_out_undefined(fields: dict[str, Value], reading: Reading) -> list[Remark]:
    """Take consent to purposes that are not defined out of fields; return a remark on each."""
    remarks: list[Remark] = []
    state = fields.get("consent_state")
    if not isinstance(state, dict):
        return []
    defined_state: dict[str, Value] = {}
    for regulation, purposes in state.items():
        if not isinstance(purposes, dict):
            defined_state[regulation] = purposes
            continue
        defined = {
            purpose: statement
            for purpose, statement in purposes.items()
            if reading.defines(regulation, purpose)
        }
        remarks += [
            Remark("CONSENT_PURPOSE_UNDEFINED", f"{regulation}.{purpose}")
            for purpose in purposes
            if purpose not in defined
        ]
        # A regulation that states nothing at all stays as it came.
        if defined or not purposes:
            defined_state[regulation] = defined
    if remarks:
        fields["consent_state"] = defined_state
        if not defined_state:
            del fields["consent_state"]
    return remarks


def _name_device(fields: dict[str, Value], identities: Iterable[StatedIdentity]) -> None:
    """Put the identities that name a device beside the device_info of a flat row.

    So device_info stays with the ids that tell whose it is (device.py).
    """
    info = fields.get("device_info")
    if isinstance(info, dict):
        for name, value in identities:
            if isinstance(value, str) and BY_NAME[name].device:
                (fields if name == "mp_deviceid" else info).setdefault(name, value)


def _batch(parts: _Parts, reading: Reading) -> Batch:
    """Return the batch of some parts. Raises UnusableRow.

    The first fault rejects the row, so the checks have the order of importing/sift.py: FAULTS.
    """
    fields = to_json(parts.fields) if parts.fields else None
    events, remarks = parts.events, parts.remarks
    mpid = whole_number(parts.plain.get("mpid"), "MPID_INVALID")
    # 0 is what software writes that knows no MPID.
    if mpid == 0:
        raise UnusableRow("MPID_INVALID", "0")
    at_ms = whole_number(parts.plain.get("timestamp_unixtime_ms"), "TIMESTAMP_INVALID")
    if reading.latest_ms is not None:
        _check_times(at_ms, events, fields, latest_ms=reading.latest_ms)
    environment = environment_named(parts.plain.get("environment"))
    deletes = deleted_keys(parts.plain.get("deleted_user_attributes"))
    request = parts.plain.get("source_request_id")
    if request is not None and not isinstance(request, str):
        raise UnusableRow("BATCH_INVALID", "source_request_id must be a string")
    identities = _usable_identities(parts.identities, reading.judging, remarks, mpid=mpid)
    sets = _within_limits(parts.attributes, reading.limits, remarks)
    remarks += [Remark("UA_SET_AND_DELETED", key) for key in deletes if key in sets]
    remarks += [Remark("UA_RESERVED_UNKNOWN", key) for key in sets if is_unknown_reserved(key)]
    remarks += [Remark("EVENT_OVER_LIMIT") for event in events if event.over]
    return Batch(
        environment=environment,
        mpid=mpid,
        at_ms=at_ms,
        request=request or None,
        identities=identities,
        sets=sets,
        deletes=deletes,
        rest=fields,
        remarks=tuple(remarks),
        events=(*events, reading.added) if reading.added else events,
    )


def _check_times(
    at_ms: int | None, events: tuple[Event, ...], fields: str | None, *, latest_ms: int
) -> None:
    """Check each time that a row states (design.md R22). Raises UnusableRow."""
    # Most rows state no time in their other fields, and are not taken apart.
    timed = parse_json(fields) if fields and "timestamp_unixtime_ms" in fields else {}
    times = [
        ("", at_ms),
        *(
            (f"event {place}: data.timestamp_unixtime_ms: ", event.at_ms)
            for place, event in enumerate(events, start=1)
        ),
        *((f"{path}: ", time_ms) for path, time_ms in times_in(timed)),
    ]
    for title, time_ms in times:
        if time_ms is not None and not may_be(time_ms, latest_ms):
            raise UnusableRow("TIMESTAMP_INVALID", f"{title}{time_ms}")


def _usable_identities(
    stated: Iterable[StatedIdentity], judging: Judging, remarks: list[Remark], *, mpid: int | None
) -> tuple[UsableIdentity, ...]:
    """Return the identities of a row that may be used, with a remark on each that is skipped.

    Raises UnusableRow, also if none may be used and the row names no MPID.
    """
    identities: dict[str, UsableIdentity] = {}
    skipped: list[Remark] = []
    for name, value in stated:
        if value is None:
            continue
        text = identity_text(value)
        if text is None:
            fault = (
                "not a whole number below 2^53" if isinstance(value, Number) else json_type(value)
            )
            raise UnusableRow("IDENTITY_INVALID", f"{name} is {fault}")
        kind = type_named(name)
        assert kind is not None
        identity = usable(kind, text, judging)
        if isinstance(identity, str):
            skipped.append(Remark(identity, type=name, value=display(text)))
        # Two spellings of one key are one identity; two keys are a contradiction (domain.md 3.1).
        elif identity is not None and identities.setdefault(name, identity).key != identity.key:
            raise UnusableRow("IDENTITY_DUPLICATE_TYPE", name)
    if not identities and mpid is None:
        reasons = sorted((str(remark.type), remark.code, remark.value) for remark in skipped)
        raise UnusableRow(
            "NO_IDENTITY", ", ".join(f"{name} is {code}" for name, code, _ in reasons)
        )
    remarks += skipped
    return tuple(identities.values())


def _within_limits(
    attributes: Mapping[str, Value], limits: Mapping[str, int], remarks: list[Remark]
) -> dict[str, str]:
    """Return the held values of attributes within the limits, with a remark on each other one."""
    sets: dict[str, str] = {}
    for place, (key, value) in enumerate(attributes.items()):
        # The first ones of the document stay (domain.md 2.1), also if some of them break a limit.
        code = "UA_TOO_MANY" if place >= limits["attributes"] else over_limit(key, value, limits)
        if code:
            remarks.append(Remark(code, key))
        else:
            sets[key] = hold(value)
    return sets


def environment_named(value: Value) -> str | None:
    """Return the environment that a row states, or None if it states none. Raises UnusableRow."""
    if value is None or value == "":
        return None
    if value not in ("production", "development"):
        raise UnusableRow("ENVIRONMENT_INVALID", shown(value))
    return value


def deleted_keys(value: Value) -> tuple[str, ...]:
    """Return the attributes that deleted_user_attributes names. Raises UnusableRow."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.startswith("["):
        # A cell holds one name, or a JSON list of names (domain.md 8.1).
        try:
            value = parse_json(value)
        except NotJson:
            raise UnusableRow("DELETED_INVALID", shown(value)) from None
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and not isinstance(name, Number) for name in names):
        raise UnusableRow("DELETED_INVALID", shown(value))
    return tuple(dict.fromkeys(attribute_key(cast(str, name)) for name in names if name))


def _object(document: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnusableRow("BATCH_INVALID", f"{name} must be an object")
    return value


def apply_deletes(batch: Batch) -> dict[str, str]:
    """Return what a batch does to each attribute, as a held value or DELETED (domain.md 6.3).

    Deletions come first, then the sets.
    """
    return {**dict.fromkeys(batch.deletes, DELETED), **batch.sets}
