"""The fields of a batch, and the field that a column name or a key of a flat row means.

Sources: domain.md 5.1 (fields), 2.2 (reserved keys), 8 (columns), design.md 4 (flat rows, dotted
names).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profilectl.rules.event.event import steps_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import type_named
from profilectl.rules.text.values import Number

# fmt: off
RESERVED_KEYS = (
    "$Age", "$FirstName", "$LastName", "$Gender", "$Mobile", "$Address", "$City", "$State", "$Zip",
    "$Country",
)
MAKES_A_BATCH = (
    "user_identities", "user_attributes", "deleted_user_attributes", "device_info", "events",
    "consent_state",
)
"""The fields that tell a Batch from a flat row: a JSON object with an object or a list under one of
them is a Batch (design.md 4).
"""
PLAIN_FIELDS = (
    "environment", "mpid", "timestamp_unixtime_ms", "source_request_id", "deleted_user_attributes",
)
"""The Batch fields of a flat row that are neither identities nor attributes."""
KEPT_FIELDS: dict[str, tuple[type, ...]] = {
    # fields that are checked and kept for later, and their JSON types (domain.md 5.1)
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
# fmt: on
PARTNER_IDENTITY_REMOVED = (None, "")
"""The values that take a partner identity away; one that is not named stays (domain.md 3.3)."""
BATCH_FIELDS = frozenset(
    (*KEPT_FIELDS, *PLAIN_FIELDS, "user_identities", "user_attributes", "mp_deviceid", "events")
)
"""All fields of a Batch."""
ROOTS = frozenset(
    (
        "user_identities",
        "user_attributes",
        "events",
        *(name for name, kinds in KEPT_FIELDS.items() if dict in kinds or list in kinds),
    )
)
"""The fields that a dotted name may begin with."""
# fmt: off
TYPED_FIELDS = (
    ".consented", ".timestamp_unixtime_ms", ".limit_ad_tracking", ".latitude", ".longitude",
)
# fmt: on
"""The endings of fields whose cells become a number or a boolean if they read as one.

Cells of fields that must be booleans (batch_members.py) become booleans; all others stay strings.
"""
MOST_NAMES = 10_000
"""The most names of flat rows that are remembered: in a file whose every row brings new names they
would fill the memory.
"""

_RESERVED = {key.lower(): key for key in RESERVED_KEYS}


@dataclass(frozen=True, slots=True)
class BatchField:
    """The meaning of a column name or of a key of a flat row."""

    kind: str
    """"identity", "attribute", "plain" (one of PLAIN_FIELDS), "kept" (under one of KEPT_FIELDS),
    "event", "unknown identity" or "ignored".
    """
    name: str
    """The identity type, the key of the attribute, or else the dotted Batch name."""

    @property
    def title(self) -> str:
        """The dotted Batch name, for a person."""
        if self.kind == "identity" and (identity := type_named(self.name)):
            return identity.field
        return f"user_attributes.{self.name}" if self.kind == "attribute" else self.name


IGNORED = BatchField("ignored", "")
"""The meaning of a column or a key that is left out."""


def attribute_key(key: str) -> str:
    """Return the key that an attribute is stored under.

    A reserved key has the platform's own spelling (domain.md 2.2).
    """
    return _RESERVED.get(key.lower(), key) if key.startswith("$") else key


def is_unknown_reserved(key: str) -> bool:
    """Return whether an attribute's key looks like a reserved one and is none (domain.md 2.2)."""
    return key.startswith("$") and key.lower() not in _RESERVED


def field_named(name: str) -> BatchField:
    """Return the meaning of a column name or a flat key (design.md 4, last paragraph).

    Raises UnusableRow (BATCH_UNKNOWN_FIELD) for a dotted name that begins with no Batch field.
    """
    root, dot, member = name.partition(".")
    if dot and root in ROOTS:
        return _dotted(name, root, member)
    # A bare name of a field comes before an identity or an attribute of that name.
    if name in PLAIN_FIELDS:
        return BatchField("plain", name)
    if dot:
        raise UnusableRow("BATCH_UNKNOWN_FIELD", f"{name}: nothing is called {root} in a batch")
    if kind := type_named(name):
        return BatchField("identity", kind.name)
    return BatchField("attribute", attribute_key(name))


def field_meant(name: str, unknown: str = "refuse", *, nested: bool = False) -> BatchField:
    """Return the meaning of a column name or a flat key, also if it is a dotted name of no field.

    unknown: the meaning of such a name (`--unknown`): refuse, attribute (of the whole name) or
    ignore. nested: whether the name is that of a member of an object; then it is the user's own,
    and an attribute.

    Raises UnusableRow if the name is refused, or begins with a Batch field and cannot be one.
    """
    try:
        return field_named(name)
    except UnusableRow:
        # A misspelled Batch field is a mistake under every setting, and never an attribute.
        if name.partition(".")[0] in ROOTS:
            raise
        if nested or unknown == "attribute":
            return BatchField("attribute", attribute_key(name))
        if unknown == "ignore":
            return IGNORED
        raise


def _dotted(name: str, root: str, member: str) -> BatchField:
    """Return the meaning of a dotted name that begins with a Batch field. Raises UnusableRow."""
    if root == "user_attributes":
        if not member:
            raise UnusableRow("BATCH_UNKNOWN_FIELD", f"{name}: the attribute has no name")
        return BatchField("attribute", attribute_key(member))
    if root == "events":
        steps_of(member)
        return BatchField("event", name)
    kind = type_named(member)
    if root == "user_identities":
        if kind and not kind.device:
            return BatchField("identity", kind.name)
        return BatchField("unknown identity", name)
    if root == "device_info" and kind and kind.device and kind.name != "mp_deviceid":
        return BatchField("identity", kind.name)
    return BatchField("kept", name)


class Columns:
    """The meanings of the names in flat rows: as a map says, else as the names themselves say.

    mapped: the map (`--map`), by name. unknown: the meaning of a dotted name of no field
    (`--unknown`).
    """

    def __init__(
        self, mapped: Mapping[str, BatchField] | None = None, unknown: str = "refuse"
    ) -> None:
        self.mapped = mapped or {}
        self.met: dict[str, BatchField] = {}
        """The names that occurred, in their order, and their meanings."""
        self._unknown = unknown
        self._meanings: dict[tuple[str, bool], BatchField] = {}

    def meaning(self, name: str, *, nested: bool = False) -> BatchField:
        """Return the meaning of a name (field_meant). Raises UnusableRow.

        nested: whether it is the name of a member of an object, which is the user's own.
        """
        meaning = self._meanings.get((name, nested))
        if meaning is None:
            meaning = self.mapped.get(name) or field_meant(name, self._unknown, nested=nested)
            if len(self._meanings) < MOST_NAMES:
                self._meanings[name, nested] = meaning
                self.met.setdefault(name, meaning)
        return meaning
