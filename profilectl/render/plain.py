"""The activity view in plain lines, for a pipe. Nothing is shortened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from profilectl.render import sections
from profilectl.render.sections import View
from profilectl.render.words import (
    change_line,
    kind_of,
    moment,
    name_of,
    origin_line,
    outcome,
    processed,
    shown,
)

if TYPE_CHECKING:
    from profilectl.profiles.activity import Activity, HeldIdentity
    from profilectl.reading.stream import Arrived, Unowned


def plain(activity: Activity, view: View) -> Iterator[str]:
    """Yield the view as plain lines."""
    yield f"{name_of(activity)}  MPID {activity.mpid}"
    for section, title, lines in (
        ("details", "User details", _pairs(sections.details(activity, view))),
        ("usage", "Workspace usage", _pairs(sections.usage(activity, view))),
        ("devices", "Devices", _devices(activity)),
        ("attributes", "User attributes", _attributes(activity, view)),
        ("identities", "Identities", _identities(activity)),
        ("consent", "Consent", ("  ".join(row) for row in sections.consents(activity))),
        ("attribution", "Attribution", _pairs(_attribution(activity))),
        ("audiences", "Audience membership", _audiences(activity)),
        ("timeline", "Timeline", _timeline(activity, view)),
    ):
        drawn = list(lines) if view.has(section) else []
        if drawn:
            yield ""
            yield title
            yield from (f"  {line}" for line in drawn)


def batch_lines(batch: Arrived | Unowned) -> Iterator[str]:
    """Yield a batch in lines: its time and origin, its user or why it has none, and its effects."""
    from profilectl.reading.stream import Unowned

    if isinstance(batch, Unowned):
        yield f"{moment(batch.origin.at_ms)}  {origin_line(batch.origin)}  {batch.environment}"
        yield f"  no MPID: {processed(batch.code)}"
        if batch.types:
            yield f"    {', '.join(f'{count:,} {kind}' for kind, count in batch.types.items())}"
        return
    activity, touch = batch.activity, batch.touch
    yield f"{moment(touch.origin.at_ms)}  {origin_line(touch.origin)}  {activity.environment}"
    yield f"  {name_of(activity)}: profilectl show --mpid={activity.mpid}"
    for _, line in outcome(touch):
        yield f"    {line}"


def _pairs(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    return (f"{label}: {value}" for label, value in pairs)


def _attribution(activity: Activity) -> Iterator[tuple[str, str]]:
    return ((name, str(value)) for name, value in activity.attribution().items())


def _devices(activity: Activity) -> Iterator[str]:
    for last_seen, lines in sections.devices(activity):
        yield f"{last_seen}  {lines.replace(chr(10), ', ')}"


def _attributes(activity: Activity, view: View) -> Iterator[str]:
    for row in sections.attributes(activity, view):
        if row.is_calculated:
            if row.calculated is not None:
                kind = kind_of(row.calculated)
                yield f"{row.key}: {shown(row.calculated)}  [{kind}, calculated]"
            elif view.history:
                yield f"{row.key}: (nothing)  [calculated]"
        elif row.entry:
            origin, kind = row.entry.origin, kind_of(row.entry.held)
            comes_from = f"[{kind}, {origin_line(origin)}, {moment(origin.at_ms)}]"
            yield f"{row.key}: {shown(row.entry.held)}  {comes_from}"
        else:
            yield f"{row.key}: (none)"
        if view.history:
            for past in reversed(activity.history.get(row.key, ())):
                at = moment(past.origin.at_ms)
                yield f"  {at}  {change_line(past)}  [{origin_line(past.origin)}]"


def _identities(activity: Activity) -> Iterator[str]:
    for identity in (*activity.identities, *activity.lost):
        origin = identity.origin
        since = f"{origin_line(origin)}, {moment(origin.at_ms)}{_loss(activity, identity)}"
        yield f"{identity.type}: {identity.value}  [{since}]"


def _loss(activity: Activity, identity: HeldIdentity) -> str:
    """Return which row took an identity away; nothing for an identity that the profile has."""
    if identity.lost is None:
        return ""
    origin = activity.taken_by(identity)
    return f", lost by {origin_line(origin)}" if origin else ", lost since"


def _audiences(activity: Activity) -> Iterator[str]:
    for row in sections.audiences(activity):
        until = f", until {row.until} if nothing arrives" if row.until else ""
        yield f"{row.name}: since {row.since}{until}"


def _timeline(activity: Activity, view: View) -> Iterator[str]:
    touches, earlier = sections.timeline(activity, view)
    for touch in touches:
        yield f"{moment(touch.origin.at_ms)}  {origin_line(touch.origin)}"
        for _, line in outcome(touch):
            yield f"  {line}"
    if earlier:
        yield f"... and {earlier:,} earlier (--batches 0 shows all)"
