"""The store for Python programs: the calls that the command line makes, with plain values in and
out.

    from profilectl import Store

    store = Store("profiles.duckdb")
    for one in store.profile(email="john.smith@example.com"):
        print(one.mpid, one.attributes["tier"].value)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import UsageError
from profilectl.profiles.activity import Activity, AttributeChange
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.identity import no_type, type_named
from profilectl.rules.priority import FEED_SOURCES
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import TAG, Number, held_json, parse_json
from profilectl.rules.workspace import in_workspace

if TYPE_CHECKING:
    import pyarrow

    from profilectl.rules.counts import ImportReport


@dataclass(frozen=True, slots=True)
class Attribute:
    """A user attribute in force.

    value: text, int, Decimal, bool, a list, or None for a tag; held exactly. A number with an
    exponent that no Decimal can have (1e999999999999999999999) is a values.Number, a str that is
    its text. set_ms: when, in milliseconds since 1970. A calculated attribute has the source
    "calculated", and no feed, file or time.
    """

    value: Any
    source: str
    feed: str | None
    import_number: int | None
    file: str | None
    line: int | None
    set_ms: int | None


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile. identities: type -> values, oldest first; attributes: calculated ones too;
    audiences: the names of those the person is in; times in milliseconds since 1970.
    """

    mpid: int
    environment: str
    first_seen_ms: int
    last_seen_ms: int
    identities: dict[str, list[str]]
    attributes: dict[str, Attribute]
    audiences: list[str]
    is_opted_out: bool
    limit_ad_tracking: bool | None


class Store:
    """A store on this machine. Every call opens it for as long as the call takes.

    wait_s: how long a call waits for another process. workspace: which is meant, where the store
    has several. Calls raise StoreBusy, StoreUnusable, UsageError and InputRefused of
    profilectl.codes, all of them ProfilectlError.
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
        """Return the profiles that hold an identity, oldest first: `profile(email="x")`,
        `profile(mpid=7)`.

        as_of: the state after an import (its number), or at a time (ISO 8601).
        """
        from profilectl.reading.actions import read_activities

        kind, value = _one(identity)
        with in_workspace(self.workspace):
            found = read_activities(
                self.path,
                kind,
                value,
                as_of=None if as_of is None else str(as_of),
                wait_s=self.wait_s,
            )
        return [_profile(one) for one in found]

    def lookup(
        self,
        values: Sequence[str | int],
        kind: str = "any",
        *,
        fields: Sequence[str] = (),
        environment: str = "production",
    ) -> pyarrow.Table:
        """Look up many identities at once; return a table with a row for each, in order.

        kind: an identity type, "mpid" or "any". Columns: type, value, mpid (null where nobody or
        several have it), profiles (how many have it), and the fields as JSON text.
        """
        from profilectl.reading.actions import look_up_values
        from profilectl.reading.lookup import Lookup

        _check_names(environment=environment)
        named = kind if kind in ("any", "mpid") else _type(kind)
        with in_workspace(self.workspace):
            return look_up_values(
                self.path,
                [str(value) for value in values],
                Lookup(named, environment, tuple(fields)),
                wait_s=self.wait_s,
            )

    def import_files(self, *paths: str | Path, feed: str, **options: Any) -> ImportReport:
        """Import files as one transaction and return the report.

        options: as engine.ImportRequest has them (protection, source, dry_run, rejects, ...).
        """
        from profilectl.importing.request import ImportRequest
        from profilectl.importing.run import import_files

        _check_names(**options)
        with in_workspace(self.workspace):
            return import_files(
                self.path,
                ImportRequest(
                    [str(path) for path in paths], feed, **{"wait_s": self.wait_s, **options}
                ),
            )

    def export(self, kind: str = "profiles", **wanted: Any) -> pyarrow.Table:
        """Return an export as an Arrow table.

        kind: profiles, identities, attributes or imports; wanted: as export.Wanted has it (where,
        fields, environment, since, ...).
        """
        import pyarrow.parquet

        from profilectl.reading.actions import export_store
        from profilectl.reading.export import Wanted

        _check_names(**wanted)
        out = io.BytesIO()
        with in_workspace(self.workspace):
            export_store(self.path, Wanted(kind, "parquet", **wanted), out, wait_s=self.wait_s)
        # a pool of threads may not outlive a short program
        return pyarrow.parquet.read_table(pyarrow.BufferReader(out.getvalue()), use_threads=False)


def _check_names(**stated: Any) -> None:
    """Refuse a name that there is not, where an option of the command line takes one of a few."""
    for name, known in (
        ("environment", ENVIRONMENTS),
        ("protection", PROTECTIONS),
        ("source", FEED_SOURCES),
    ):
        if stated.get(name) is not None and stated[name] not in known:
            raise no_such(name, stated[name], known)


def _one(identity: dict[str, str | int]) -> tuple[str, str]:
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
    return Profile(
        activity.mpid,
        activity.environment,
        activity.first_seen_ms,
        activity.last_seen_ms,
        identities,
        dict(
            sorted(
                [
                    *((key, _attribute(entry)) for key, entry in activity.stored().items()),
                    *(
                        (key, Attribute(_value(held), "calculated", None, None, None, None, None))
                        for key, held in activity.calculated().items()
                        if held is not None
                    ),
                ]
            )
        ),
        [one.name for one in activity.standing.memberships] if activity.standing else [],
        activity.opted_out(),
        activity.limit_ad_tracking(),
    )


def _attribute(entry: AttributeChange) -> Attribute:
    origin = entry.origin
    return Attribute(
        _value(entry.held),
        origin.feed.source,
        origin.feed.name,
        origin.import_number,
        origin.file,
        origin.place,
        origin.at_ms,
    )


def _value(held: str) -> Any:
    return None if held == TAG else _plain(parse_json(held_json(held)))


def _exact(number: Number) -> Any:
    """Return a number as an int or a Decimal; as its text, which Number is, where its exponent is
    beyond what a Decimal holds.
    """
    from decimal import Decimal, InvalidOperation

    if number.lstrip("-").isdigit():
        with contextlib.suppress(ValueError):  # more digits than Python reads as an int
            return int(number)
    try:
        found = Decimal(number)
    except InvalidOperation:
        return number
    return found if found.is_finite() else number


def _plain(value: Any) -> Any:
    """Return a value as Python has it; no digit of a number is lost."""
    if isinstance(value, Number):
        return _exact(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value
