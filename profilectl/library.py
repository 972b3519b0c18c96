"""The store for Python programs: the calls of the command line, with plain values in and out.

from profilectl import Store

store = Store("profiles.duckdb")
for profile in store.profile(email="john.smith@example.com"):
    print(profile.mpid, profile.attributes["tier"].value)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import UsageError
from profilectl.profiles.activity import Activity, AttributeChange
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.identity import no_type, type_named
from profilectl.rules.priority import FEED_SOURCES
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import TAG, Number, Value, held_json, parse_json
from profilectl.rules.workspace import in_workspace

if TYPE_CHECKING:
    from decimal import Decimal

    import pyarrow

    from profilectl.rules.counts import ImportReport

    PlainValue = str | int | Decimal | bool | None | list["PlainValue"] | dict[str, "PlainValue"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A user attribute in force.

    A calculated attribute has the source "calculated", and no feed, file or time.
    """

    value: PlainValue
    """The value: text, int, Decimal, bool, a list, or None for a tag; nothing is rounded. A number
    with an exponent beyond a Decimal (1e999999999999999999999) is a values.Number, its text.
    """
    source: str
    """The source of the feed that set it."""
    feed: str | None
    """The feed that set it."""
    import_number: int | None
    """The number of the import that set it."""
    file: str | None
    """The file that it came from."""
    line: int | None
    """The line of that file."""
    set_ms: int | None
    """When it was set, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile."""

    mpid: int
    """Its MPID."""
    environment: str
    """Its environment."""
    first_seen_ms: int
    """When it was first seen, in milliseconds since 1970."""
    last_seen_ms: int
    """When it was last seen, in milliseconds since 1970."""
    identities: dict[str, list[str]]
    """Identity type -> values, oldest first."""
    attributes: dict[str, Attribute]
    """Name -> attribute, also calculated ones."""
    audiences: list[str]
    """The names of the audiences that the person is in."""
    is_opted_out: bool
    """Whether the person has opted out."""
    limit_ad_tracking: bool | None
    """Whether a device limits ad tracking; None: not known."""


class Store:
    """A store on this machine. Each call opens it, and closes it again.

    wait_s: the longest time that a call waits for another process, in seconds. workspace: the
    workspace to read, if the store has several.

    Calls raise StoreBusy, StoreUnusable, UsageError and InputRefused of profilectl.codes, all of
    them ProfilectlError.
    """

    def __init__(
        self,
        path: str | Path = "profiles.duckdb",
        *,
        wait_s: float = 0,
        workspace: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.wait_s = wait_s
        self.workspace = workspace

    def profile(self, *, as_of: int | str | None = None, **identity: str | int) -> list[Profile]:
        """Return the profiles that hold an identity, oldest first.

        For example `profile(email="x")` or `profile(mpid=7)`.

        as_of: the state after an import (its number), or at a time (ISO 8601).
        """
        # Imported here, as by every call: a program loads only the modules of its calls.
        from profilectl.reading.people import read_activities

        kind, value = _identity(identity)
        with in_workspace(self.workspace):
            activities = read_activities(
                self.path,
                kind,
                value,
                as_of=None if as_of is None else str(as_of),
                wait_s=self.wait_s,
            )
        return [_profile(activity) for activity in activities]

    def lookup(
        self,
        values: Sequence[str | int],
        kind: str = "any",
        *,
        fields: Sequence[str] = (),
        environment: str = "production",
    ) -> pyarrow.Table:
        """Look up many identities at once; return a table with a row for each, in order.

        Its columns are type, value, mpid (null if nobody or several have it), profiles (how many
        have it), and the fields as JSON text.

        kind: an identity type, "mpid" or "any".
        """
        from profilectl.reading.actions import look_up_values
        from profilectl.reading.lookup import Lookup

        _check_names({"environment": environment})
        type_name = kind if kind in ("any", "mpid") else _type(kind)
        with in_workspace(self.workspace):
            return look_up_values(
                self.path,
                [str(value) for value in values],
                Lookup(type_name, environment, tuple(fields)),
                wait_s=self.wait_s,
            )

    def import_files(self, *paths: str | Path, feed: str, **options: Any) -> ImportReport:
        """Import files as one transaction and return the report.

        options: the fields of importing.request.ImportRequest (protection, source, dry_run, ...).
        """
        from profilectl.importing.request import ImportRequest
        from profilectl.importing.run import import_files

        _check_names(options)
        with in_workspace(self.workspace):
            return import_files(
                self.path,
                ImportRequest(
                    [str(path) for path in paths], feed, **{"wait_s": self.wait_s, **options}
                ),
            )

    def export(self, kind: str = "profiles", **options: Any) -> pyarrow.Table:
        """Return an export as an Arrow table.

        kind: profiles, identities, attributes or imports. options: the fields of
        reading.exporting.export.ExportRequest (where, fields, environment, since, ...).
        """
        import pyarrow.parquet

        from profilectl.reading.actions import export_store
        from profilectl.reading.exporting.export import ExportRequest

        _check_names(options)
        out = io.BytesIO()
        with in_workspace(self.workspace):
            export_store(
                self.path, ExportRequest(kind, "parquet", **options), out, wait_s=self.wait_s
            )
        # A short program must not end while a pool of threads still runs.
        return pyarrow.parquet.read_table(pyarrow.BufferReader(out.getvalue()), use_threads=False)


def _check_names(options: Mapping[str, object]) -> None:
    """Refuse a name that does not exist, for an option that takes one of a few."""
    for name, names in (
        ("environment", ENVIRONMENTS),
        ("protection", PROTECTIONS),
        ("source", FEED_SOURCES),
    ):
        if options.get(name) is not None and options[name] not in names:
            raise no_such(name, options[name], names)


def _identity(identity: dict[str, str | int]) -> tuple[str, str]:
    if len(identity) != 1:
        raise UsageError("name one identity", 'for example profile(email="john.smith@example.com")')
    ((name, value),) = identity.items()
    return "mpid" if name == "mpid" else _type(name), str(value)


def _type(name: str) -> str:
    kind = type_named(name)
    if kind is None:
        raise no_type(name)
    return kind.name


def _profile(activity: Activity) -> Profile:
    identities: dict[str, list[str]] = {}
    for held in activity.identities:
        identities.setdefault(held.type, []).append(held.value)
    attributes = {key: _attribute(change) for key, change in activity.stored().items()}
    for key, held_value in activity.calculated().items():
        if held_value is not None:
            attributes[key] = _calculated(held_value)
    memberships = activity.standing.memberships if activity.standing else []
    return Profile(
        mpid=activity.mpid,
        environment=activity.environment,
        first_seen_ms=activity.first_seen_ms,
        last_seen_ms=activity.last_seen_ms,
        identities=identities,
        attributes=dict(sorted(attributes.items())),
        audiences=[membership.name for membership in memberships],
        is_opted_out=activity.opted_out(),
        limit_ad_tracking=activity.limit_ad_tracking(),
    )


def _attribute(change: AttributeChange) -> Attribute:
    origin = change.origin
    return Attribute(
        value=_value(change.held),
        source=origin.feed.source,
        feed=origin.feed.name,
        import_number=origin.import_number,
        file=origin.file,
        line=origin.place,
        set_ms=origin.at_ms,
    )


def _calculated(held_value: str) -> Attribute:
    return Attribute(
        value=_value(held_value),
        source="calculated",
        feed=None,
        import_number=None,
        file=None,
        line=None,
        set_ms=None,
    )


def _value(held_value: str) -> PlainValue:
    return None if held_value == TAG else _plain(parse_json(held_json(held_value)))


def _exact(number: Number) -> int | Decimal | Number:
    """Return a number as an int or a Decimal, or as its text if no Decimal can have it."""
    from decimal import Decimal, InvalidOperation

    if number.lstrip("-").isdigit():
        with contextlib.suppress(ValueError):  # more digits than Python reads as an int
            return int(number)
    try:
        exact = Decimal(number)
    except InvalidOperation:
        return number
    return exact if exact.is_finite() else number


def _plain(value: Value) -> PlainValue:
    """Return a value as a plain value of Python; no digit of a number is lost."""
    if isinstance(value, Number):
        return _exact(value)
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value
