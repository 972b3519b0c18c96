"""A batch: what one row means, and the limits on its keys and values.

Sources: the seed page (the example batch), domain.md 2.1 (limits), 2.2 (values and keys), 5.1
(fields), 8 (columns), design.md R4, R6, R18 and section 4 (flat rows, dotted names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from profilectl.rules.batch_members import check_members, is_boolean, times_in
from profilectl.rules.consent import SALE, Purpose, stated_ms, statements_of
from profilectl.rules.event.event import Event, event_of_cells, read_events, steps_of
from profilectl.rules.fields import (
    Unusable,
    boolean,
    identity_text,
    json_type,
    put,
    shown,
    typed,
    whole_number,
    without_empty,
)
from profilectl.rules.flat_row import flattened
from profilectl.rules.identity import BY_NAME, JUDGING, Judging, Usable, display, type_named, usable
from profilectl.rules.text.moments import may_be
from profilectl.rules.text.values import DELETED, NotJson, Number, Value, hold, parse_json, to_json

# fmt: off
LIMITS = {
    # domain.md 2.1: lengths in Unicode code points
    "attributes":  100,
    "key":         256,
    "value":      4096,
    "list":       1000,
    "entry":       512,
}

RESERVED_KEYS = ("$Age", "$FirstName", "$LastName", "$Gender", "$Mobile", "$Address", "$City", "$State", "$Zip", "$Country")

# A JSONL line with an object or a list under any of these is a Batch, else a flat row (design.md
# 4).
MAKES_A_BATCH = ("user_identities", "user_attributes", "deleted_user_attributes", "device_info", "events", "consent_state")

# Batch fields of a column name or a flat key that are neither identities nor attributes.
PLAIN_FIELDS = ("environment", "mpid", "timestamp_unixtime_ms", "source_request_id", "deleted_user_attributes")

# Fields that are checked and kept for later work: the JSON type of each (domain.md 5.1).
KEPT_FIELDS: dict[str, tuple[type, ...]] = {
    "consent_state":          (dict,),
    "device_info":            (dict,),
    "application_info":       (dict,),
    "attribution_info":       (dict,),
    "integration_attributes": (dict,),
    "partner_identities":     (dict,),
    "partner_identity":       (str,),
    "context":                (dict,),
    "batch_context":          (dict,),
    "source_info":            (dict,),
    "ip":                     (str,),
    "api_key":                (str,),
    "api_keys":               (list,),
    "batch_id":               (Number,),
    "sdk_version":            (str,),
    "job_id":                 (str,),
    "schema_version":         (Number,),
    "origin_mpid":            (Number, str),
    "unique_id":              (str, Number),
}
PARTNER_IDENTITY_REMOVED = (None, "")
"""What takes a partner identity away where its name is given so; a name that is not given stays as
it is (domain.md 3.3).
"""
BATCH_FIELDS = frozenset((*KEPT_FIELDS, *PLAIN_FIELDS, "user_identities", "user_attributes", "mp_deviceid", "events"))
ROOTS = frozenset(("user_identities", "user_attributes", "events", *(name for name, kinds in KEPT_FIELDS.items() if dict in kinds or list in kinds)))

# Cells of fields whose names end so are numbers or booleans where they read as one, those that must
# be booleans (batch_members.py) booleans; all others are strings.
TYPED_FIELDS = (".consented", ".timestamp_unixtime_ms", ".limit_ad_tracking", ".latitude", ".longitude")
# fmt: on


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row is read against."""

    judging: Judging = JUDGING
    """Which values are nobody's identity (`--allow-spoiled`, design.md R13)."""
    limits: Mapping[str, int] = field(default_factory=lambda: LIMITS)
    """The limits in force (LIMITS)."""
    added: Event | None = None
    """The event that every batch gets, if one is to be added."""
    purposes: frozenset[str] | None = None
    """The GDPR purposes that are defined; None: any may be stated."""
    nulls: frozenset[str] = frozenset()
    """Texts that make a cell of a flat row empty (`--null`)."""
    unknown: str = "refuse"
    """What a dotted name that is no field of a batch means: refuse, attribute or ignore
    (`--unknown`).
    """
    path: Mapping[str, Value] = field(default_factory=dict)
    """What the path of the file says of each of its flat rows that does not say it itself
    (`--path-columns`).
    """
    columns: Columns | None = None
    """What the names in flat rows mean, where that is mapped or to be remembered; None: what they
    say.
    """
    latest_ms: int | None = None
    """The latest time that a row may state (moments.latest_ms); None: any time may be stated."""
    workspace: str | None = None
    """The workspace that exported profiles must be of; None: any."""

    def defines(self, regulation: str, purpose: str) -> bool:
        """Say whether consent to a purpose may be stated (domain.md 5.3)."""
        if regulation == SALE[0]:
            return purpose == SALE[1]
        return regulation != "gdpr" or self.purposes is None or purpose in self.purposes


_RESERVED = {key.lower(): key for key in RESERVED_KEYS}


class Remark(NamedTuple):
    """A code said of a row that may still be used, and the attribute it is said of, if it is one's;
    or type and value of the identity, as it is stated.
    """

    code: str
    attribute: str | None = None
    type: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one row means.

    sets: attribute -> held value (values.hold). deletes: attributes to delete, before the sets.
    identities: those that may be used. events: in their order. rest: JSON text of the other fields.
    remarks: what was skipped or is worth knowing, once for each time.
    """

    environment: str | None
    mpid: int | None
    at_ms: int | None
    request: str | None
    identities: tuple[Usable, ...]
    sets: Mapping[str, str]
    deletes: tuple[str, ...]
    rest: str | None
    remarks: tuple[Remark, ...]
    events: tuple[Event, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the remarks."""
        return tuple(remark.code for remark in self.remarks)

    @property
    def says_consent(self) -> bool:
        """Whether the row says something of consent."""
        found = parse_json(self.rest) if self.rest else None
        return isinstance(found, dict) and "consent_state" in found

    def consents_after(self, now_ms: int) -> list[Purpose]:
        """Return the purposes of which the row says something that is of a later time."""
        found = parse_json(self.rest) if self.rest else None
        said = statements_of(found.get("consent_state")) if isinstance(found, dict) else {}
        return [purpose for purpose, one in said.items() if stated_ms(one) > now_ms]


@dataclass(frozen=True, slots=True)
class BatchField:
    """What a column name or a flat key means.

    kind: "identity" (name: the type), "attribute" (name: the key), "plain" (name: one of
    PLAIN_FIELDS), "kept" and "event" (name: the dotted Batch name), "unknown identity", "ignored".
    """

    kind: str
    name: str

    @property
    def title(self) -> str:
        """The dotted Batch name, for a person."""
        found = type_named(self.name) if self.kind == "identity" else None
        return (
            found.field
            if found
            else f"user_attributes.{self.name}"
            if self.kind == "attribute"
            else self.name
        )


IGNORED = BatchField("ignored", "")
"""What a column or a key means that is left out."""
MOST_NAMES = 10_000
"""So many names of flat rows are remembered; a file in which every row has names of its own has no
columns to tell of.
"""


def attribute_key(key: str) -> str:
    """Return the key an attribute is stored under: reserved keys in the platform's own spelling."""
    return _RESERVED.get(key.lower(), key) if key.startswith("$") else key


def is_unknown_reserved(key: str) -> bool:
    """Say whether the key of an attribute looks like a reserved one and is none (domain.md 2.2)."""
    return key.startswith("$") and key.lower() not in _RESERVED


def field_named(name: str) -> BatchField:
    """Say what a column name or a flat key means (design.md 4, last paragraph).

    Raises Unusable (BATCH_UNKNOWN_FIELD) for a dotted name that begins with no Batch field.
    """
    root, dot, member = name.partition(".")
    if dot and root in ROOTS:
        return _dotted(name, root, member)
    if name in PLAIN_FIELDS:
        return BatchField("plain", name)
    if dot:
        raise Unusable("BATCH_UNKNOWN_FIELD", f"{name}: nothing is called {root} in a batch")
    if kind := type_named(name):
        return BatchField("identity", kind.name)
    return BatchField("attribute", attribute_key(name))


def field_meant(name: str, unknown: str = "refuse", *, nested: bool = False) -> BatchField:
    """Say what a column name or a flat key means (field_named), and what a dotted name that is no
    field is: refuse, attribute (of the whole name) or ignore. nested: it is that of a member of
    an object, which is the user's own.

    Raises Unusable where it is refused, and for a name that begins with a Batch field and cannot be
    one.
    """
    try:
        return field_named(name)
    except Unusable:
        if name.partition(".")[0] in ROOTS:
            raise
        if nested or unknown == "attribute":
            return BatchField("attribute", attribute_key(name))
        if unknown == "ignore":
            return IGNORED
        raise


def _dotted(name: str, root: str, member: str) -> BatchField:
    if root == "user_attributes":
        if not member:
            raise Unusable("BATCH_UNKNOWN_FIELD", f"{name}: the attribute has no name")
        return BatchField("attribute", attribute_key(member))
    kind = type_named(member)
    if root == "user_identities":
        return (
            BatchField("identity", kind.name)
            if kind and not kind.device
            else BatchField("unknown identity", name)
        )
    if root == "events":
        steps_of(member)
        return BatchField("event", name)
    if root == "device_info" and kind and kind.device and kind.name != "mp_deviceid":
        return BatchField("identity", kind.name)
    return BatchField("kept", name)


class Columns:
    """What the names in flat rows mean: as they are mapped, else as they say. met: those that were
    asked for, in their order.
    """

    def __init__(
        self, mapped: Mapping[str, BatchField] | None = None, unknown: str = "refuse"
    ) -> None:
        self.mapped = mapped or {}
        self.met: dict[str, BatchField] = {}
        self._unknown = unknown
        self._meanings: dict[tuple[str, bool], BatchField] = {}

    def meaning(self, name: str, *, nested: bool = False) -> BatchField:
        """Return what a name means; nested: it is that of a member of an object, which is the
        user's own. Raises Unusable.
        """
        found = self._meanings.get((name, nested))
        if found is None:
            found = self.mapped.get(name) or field_meant(name, self._unknown, nested=nested)
            if len(self._meanings) < MOST_NAMES:
                self._meanings[name, nested] = found
                self.met.setdefault(name, found)
        return found


def is_batch(document: Mapping[str, Value]) -> bool:
    """Say whether a JSON object is a Batch rather than a flat row."""
    return any(isinstance(document.get(name), dict | list) for name in MAKES_A_BATCH)


def read_document(document: Value, reading: Reading) -> Batch:
    """Read a JSON object, as a Batch or as a flat row. Raises Unusable."""
    if not isinstance(document, dict):
        raise Unusable("JSON_NOT_OBJECT", json_type(document))
    if is_batch(document):
        return read_batch(document, reading)
    return read_flat(_with_path(document, reading) if reading.path else document, reading)


def _with_path(row: Mapping[str, Value], reading: Reading) -> Mapping[str, Value]:
    """Return a flat row with what the path of its file says, as far as the row does not speak of it
    itself. Raises Unusable.
    """
    columns = reading.columns or Columns(unknown=reading.unknown)
    own = {
        columns.meaning(name, nested=nested) for name, _, nested in flattened(row, columns.mapped)
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
    """Read a Batch document (domain.md 5.1). Raises Unusable."""
    for name in document:
        if name not in BATCH_FIELDS:
            raise Unusable("BATCH_UNKNOWN_FIELD", name)
    rest: dict[str, Value] = {
        name: value for name in KEPT_FIELDS if (value := document.get(name)) not in (None, [], {})
    }
    remarks = _checked(rest, reading)
    if "device_info" in rest and isinstance(stamp := document.get("mp_deviceid"), str):
        rest["mp_deviceid"] = stamp  # what is said of a device stays with what names it
    stated: list[tuple[str, Value]] = []
    for name, value in _object(document, "user_identities").items():
        kind = type_named(name)
        if kind and not kind.device:
            stated.append((kind.name, value))
        elif value is not None:
            remarks.append(Remark("IDENTITY_UNKNOWN_TYPE"))
    for name, value in _object(document, "device_info").items():
        kind = type_named(name)
        if kind and kind.device and kind.name != "mp_deviceid":
            stated.append((kind.name, value))
    stated.append(("mp_deviceid", document.get("mp_deviceid")))
    attributes: dict[str, Value] = {}
    for key, value in _object(document, "user_attributes").items():
        if attribute_key(key) in attributes:
            raise Unusable("DUPLICATE_KEY", key)
        attributes[attribute_key(key)] = value
    events = document.get("events")
    if not isinstance(events, list | None):
        raise Unusable("BATCH_INVALID", f"events is {json_type(events)}")
    return _batch(
        document,
        stated,
        attributes,
        reading,
        to_json(rest) if rest else None,
        remarks,
        read_events(events or []),
    )


def read_flat(
    row: Mapping[str, Value],
    reading: Reading,
    *,
    empty: str = "ignore",
    event_type: str | None = None,
) -> Batch:
    """Read a flat row: keys are columns, those of an object are dotted, a null or empty cell states
    nothing. Raises Unusable.

    empty: what an attribute without a value means: ignore, delete or set (design.md R6).
    event_type: what the file's name says of the events in it.
    """
    stated: list[tuple[str, Value]] = []
    attributes: dict[str, Value] = {}
    plain: dict[str, Value] = {}
    rest: dict[str, Value] = {}
    cells: dict[str, Value] = {}
    remarks: list[Remark] = []
    columns = reading.columns or Columns(unknown=reading.unknown)
    for name, cell, nested in flattened(row, columns.mapped):
        meant = columns.meaning(name, nested=nested)
        value = (
            None
            if isinstance(cell, str) and cell in reading.nulls and not isinstance(cell, Number)
            else cell
        )
        if meant.kind == "identity":
            stated.append((meant.name, value))
        elif meant.kind == "attribute":
            if value is not None or empty != "ignore":
                if meant.name in attributes:
                    raise Unusable("DUPLICATE_KEY", name)
                attributes[meant.name] = (
                    value if value is not None else "" if empty == "set" else None
                )
        elif meant.kind == "event":
            member = meant.name.removeprefix("events.")
            if value is not None and cells.get(member) is not None:
                raise Unusable("DUPLICATE_KEY", name)
            if value is not None or member not in cells:
                cells[member] = value
        elif meant.kind == "kept":
            put(rest, meant.name.split("."), _cell(meant.name, value))
        elif value is None or meant.kind == "ignored":
            continue
        elif meant.kind == "plain":
            if meant.name in plain:
                raise Unusable("DUPLICATE_KEY", name)
            plain[meant.name] = value
        else:
            remarks.append(Remark("IDENTITY_UNKNOWN_TYPE"))
    deletes = [key for key, value in attributes.items() if value is None]
    attributes = {key: value for key, value in attributes.items() if value is not None}
    event = event_of_cells(cells, event_type)
    rest = without_empty(rest)
    remarks += _checked(rest, reading)
    _name_device(rest, stated)
    batch = _batch(
        plain,
        stated,
        attributes,
        reading,
        to_json(rest) if rest else None,
        remarks,
        (event,) if event else (),
    )
    if not deletes:
        return batch
    return Batch(**{**_fields(batch), "deletes": (*batch.deletes, *deletes)})  # type: ignore[arg-type]


def _cell(name: str, value: Value) -> Value:
    """Return the value that the cell of a field stands for."""
    if is_boolean(name):
        return boolean(value)
    return typed(value) if name.endswith(TYPED_FIELDS) else value


def _checked(rest: dict[str, Value], reading: Reading) -> list[Remark]:
    """Check the fields that are kept for later work, as far as the platform's schema says; return a
    remark on each purpose that is not defined: what is said of it is left out first. Raises
    Unusable.
    """
    for name, value in rest.items():
        if not isinstance(value, KEPT_FIELDS[name]) or (
            isinstance(value, Number) and Number not in KEPT_FIELDS[name]
        ):
            raise Unusable("BATCH_INVALID", f"{name} is {json_type(value)}")
    remarks = _without_undefined(rest, reading)
    check_members(rest)
    return remarks


def batch_of(
    plain: Mapping[str, Value],
    stated: Iterable[tuple[str, Value]],
    attributes: Mapping[str, Value],
    reading: Reading,
    *,
    rest: dict[str, Value],
    events: tuple[Event, ...] = (),
) -> Batch:
    """Put a batch together of parts that stood in no batch; they are checked as those of one.

    Raises Unusable.
    """
    fields = {name: value for name, value in rest.items() if name in KEPT_FIELDS}
    remarks = _checked(fields, reading)
    fields |= {name: value for name, value in rest.items() if name not in KEPT_FIELDS}
    text = to_json(fields) if fields else None
    return _batch(plain, stated, attributes, reading, text, remarks, events)


def _without_undefined(rest: dict[str, Value], reading: Reading) -> list[Remark]:
    """Take out of a row's consent what is about purposes that are not defined; return a remark on
    each.
    """
    remarks: list[Remark] = []
    state = rest.get("consent_state")
    if not isinstance(state, dict):
        return []
    kept: dict[str, Value] = {}
    for regulation, purposes in state.items():
        if isinstance(purposes, dict):
            defined = {
                purpose: said
                for purpose, said in purposes.items()
                if reading.defines(regulation, purpose)
            }
            remarks += [
                Remark("CONSENT_PURPOSE_UNDEFINED", f"{regulation}.{purpose}")
                for purpose in purposes
                if purpose not in defined
            ]
            if defined or not purposes:
                kept[regulation] = defined
        else:
            kept[regulation] = purposes
    if remarks:
        rest["consent_state"] = kept
        if not kept:
            del rest["consent_state"]
    return remarks


def _name_device(rest: dict[str, Value], stated: Iterable[tuple[str, Value]]) -> None:
    """Keep with what a row says of a device the identities that name it."""
    info = rest.get("device_info")
    if isinstance(info, dict):
        for name, value in stated:
            if isinstance(value, str) and BY_NAME[name].device:
                (rest if name == "mp_deviceid" else info).setdefault(name, value)


def _fields(batch: Batch) -> dict[str, object]:
    return {name: getattr(batch, name) for name in Batch.__slots__}


def _batch(
    plain: Mapping[str, Value],
    stated: Iterable[tuple[str, Value]],
    attributes: Mapping[str, Value],
    reading: Reading,
    rest: str | None,
    remarks: list[Remark],
    events: tuple[Event, ...],
) -> Batch:
    """Put a batch together. The checks run in the order in which the engine runs them."""
    mpid = whole_number(plain.get("mpid"), "MPID_INVALID")
    if mpid == 0:
        raise Unusable("MPID_INVALID", "0")
    at_ms = whole_number(plain.get("timestamp_unixtime_ms"), "TIMESTAMP_INVALID")
    if reading.latest_ms is not None:
        _check_times(at_ms, events, rest, reading.latest_ms)
    environment = environment_named(plain.get("environment"))
    deletes = deleted_keys(plain.get("deleted_user_attributes"))
    request = plain.get("source_request_id")
    if request is not None and not isinstance(request, str):
        raise Unusable("BATCH_INVALID", "source_request_id must be a string")
    identities, skipped = _identities(stated, reading.judging)
    if not identities and mpid is None:
        raise Unusable(
            "NO_IDENTITY", ", ".join(f"{name} is {code}" for name, code, _ in sorted(skipped))
        )
    remarks += [Remark(code, None, name, value) for name, code, value in skipped]
    sets = _within_limits(attributes, reading.limits, remarks)
    remarks += [Remark("UA_SET_AND_DELETED", key) for key in deletes if key in sets]
    remarks += [Remark("UA_RESERVED_UNKNOWN", key) for key in sets if is_unknown_reserved(key)]
    remarks += [Remark("EVENT_OVER_LIMIT") for event in events if event.over]
    if reading.added:
        events = (*events, reading.added)
    return Batch(
        environment,
        mpid,
        at_ms,
        request or None,
        identities,
        sets,
        deletes,
        rest,
        tuple(remarks),
        events,
    )


def _check_times(
    at_ms: int | None, events: tuple[Event, ...], rest: str | None, last_ms: int
) -> None:
    """Check that each time of a row may be stated (design.md R22). Raises Unusable."""
    kept = parse_json(rest) if rest and "timestamp_unixtime_ms" in rest else {}
    stated = [
        ("", at_ms),
        *(
            (f"event {place}: data.timestamp_unixtime_ms: ", event.at_ms)
            for place, event in enumerate(events, start=1)
        ),
        *((f"{path}: ", at) for path, at in times_in(kept)),
    ]
    for where, at in stated:
        if at is not None and not may_be(at, last_ms):
            raise Unusable("TIMESTAMP_INVALID", f"{where}{at}")


def _identities(
    stated: Iterable[tuple[str, Value]], judging: Judging
) -> tuple[tuple[Usable, ...], list[tuple[str, str, str]]]:
    """Return the identities that may be used, and type, code and value of those that are skipped.

    Raises Unusable.
    """
    found: dict[str, Usable] = {}
    skipped: list[tuple[str, str, str]] = []
    for name, value in stated:
        if value is None:
            continue
        text = identity_text(value)
        if text is None:
            what = (
                "not a whole number below 2^53" if isinstance(value, Number) else json_type(value)
            )
            raise Unusable("IDENTITY_INVALID", f"{name} is {what}")
        kind = type_named(name)
        assert kind is not None
        one = usable(kind, text, judging)
        if isinstance(one, str):
            skipped.append((name, one, display(text)))
        elif one is not None and found.setdefault(name, one).key != one.key:
            raise Unusable("IDENTITY_DUPLICATE_TYPE", name)
    return tuple(found.values()), skipped


def _within_limits(
    attributes: Mapping[str, Value], limits: Mapping[str, int], remarks: list[Remark]
) -> dict[str, str]:
    """Return the attributes that keep the limits, held; remark on each that does not."""
    sets: dict[str, str] = {}
    for place, (key, value) in enumerate(attributes.items()):
        code = "UA_TOO_MANY" if place >= limits["attributes"] else over_limit(key, value, limits)
        if code:
            remarks.append(Remark(code, key))
        else:
            sets[key] = hold(value)
    return sets


def over_limit(key: str, value: Value, limits: Mapping[str, int] = LIMITS) -> str | None:
    """Return the code of the limit that an attribute breaks, or None (domain.md 2.1)."""
    if not key:
        return "UA_KEY_EMPTY"
    if len(key) > limits["key"]:
        return "UA_KEY_TOO_LONG"
    if not has_value_type(value):
        return "UA_UNSUPPORTED_TYPE"
    if isinstance(value, list):
        if len(value) > limits["list"]:
            return "UA_LIST_TOO_LONG"
        longest = max((len(entry) for entry in value if isinstance(entry, str)), default=0)
        return "UA_ENTRY_TOO_LONG" if longest > limits["entry"] else None
    return "UA_VALUE_TOO_LONG" if isinstance(value, str) and len(value) > limits["value"] else None


def has_value_type(value: Value) -> bool:
    """Say whether an attribute may have such a value: no object, and no list with one or a list in
    it (domain.md 2.2).
    """
    return not (
        isinstance(value, dict)
        or (isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value))
    )


def environment_named(value: Value) -> str | None:
    """Return the environment a row states, or None where it states none. Raises Unusable."""
    if value is None or value == "":
        return None
    if value not in ("production", "development"):
        raise Unusable("ENVIRONMENT_INVALID", shown(value))
    return value


def deleted_keys(value: Value) -> tuple[str, ...]:
    """Return the attributes that deleted_user_attributes names. Raises Unusable."""
    if value is None or value == "":
        return ()
    if isinstance(value, str) and value.startswith("["):
        # A cell holds one name, or a JSON list of names (domain.md 8.1).
        try:
            value = parse_json(value)
        except NotJson:
            raise Unusable("DELETED_INVALID", shown(value)) from None
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and not isinstance(name, Number) for name in names):
        raise Unusable("DELETED_INVALID", shown(value))
    return tuple(dict.fromkeys(attribute_key(cast(str, name)) for name in names if name))


def _object(document: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable("BATCH_INVALID", f"{name} must be an object")
    return value


def apply_deletes(batch: Batch) -> dict[str, str]:
    """Return what the batch does to each attribute: deletions first, then the sets (domain.md 6.3)."""
    return {**dict.fromkeys(batch.deletes, DELETED), **batch.sets}
