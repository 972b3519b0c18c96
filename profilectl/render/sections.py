"""The content of each section of the activity view, for a terminal and for a pipe.

The sections and their order are the platform's (domain.md 10); a section without data is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from profilectl.render.screen import counted
from profilectl.render.words import age, moment, reserved_first
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.text.values import Value, to_json

if TYPE_CHECKING:
    from profilectl.profiles.activity import Activity, AttributeChange, Device, Touch

YES_NO = {True: "yes", False: "no"}
DEVICE_INFO = ("platform", "brand", "model", "device_model", "os_version")
"""The fields of a device that are shown, in this order."""


@dataclass(frozen=True, slots=True)
class View:
    """The parts of a profile that are drawn."""

    now_ms: int
    """The time that ages are counted from, in milliseconds since 1970."""
    sections: Sequence[str] = ()
    """The sections to draw, of screen.SECTIONS; all if empty."""
    history: bool = False
    """Whether to draw every value that an attribute has had."""
    raw: bool = False
    """Whether to draw long values in full."""
    batches: int = 10
    """How many batches of the timeline to draw; 0 draws all."""

    def has(self, section: str) -> bool:
        """Return whether a section is drawn."""
        return not self.sections or section in self.sections


class ConsentRow(NamedTuple):
    """One consent of the view."""

    regulation: str
    """The regulation, such as gdpr."""
    purpose: str
    """The purpose."""
    answer: str
    """Whether the user consented, and when."""
    origin: str
    """The feed, file and line of the answer."""


class MembershipRow(NamedTuple):
    """One membership of the view."""

    name: str
    """The name of the audience."""
    since: str
    """When the user became a member."""
    until: str
    """When the membership ends if nothing arrives; "" if it does not."""


class AttributeRow(NamedTuple):
    """One attribute of the view."""

    key: str
    """The attribute's key."""
    is_calculated: bool
    """Whether a calculated attribute gives the value."""
    calculated: str | None
    """The held value of a calculated attribute; None: it has no value."""
    entry: AttributeChange | None
    """The row that set the value in force; None: the attribute has no value now."""


def details(activity: Activity, view: View) -> Iterator[tuple[str, str]]:
    """Yield who the user is, as (label, value)."""
    yield "MPID", str(activity.mpid)
    for label, kind in (("customer id", "customer_id"), ("e-mail", "email")):
        if values := activity.values(kind):
            yield label, ", ".join(values)
    for name, (value, _) in activity.partner_identities().items():
        yield "partner id", f"{name} {value}"
    yield "environment", activity.environment
    for label, at_ms in (
        ("first seen", activity.first_seen_ms),
        ("last seen", activity.last_seen_ms),
    ):
        yield label, f"{moment(at_ms)}  {age(at_ms, view.now_ms)}"
    if activity.opted_out():
        yield "opted out", "yes"
    if (limited := activity.limit_ad_tracking()) is not None:
        yield "ad tracking", "limited" if limited else "allowed"
    for at_ms in activity.aged_ms:
        yield "retention", f"what is not kept beyond its lifetime was removed {moment(at_ms)}"


def usage(activity: Activity, view: View) -> Iterator[tuple[str, str]]:
    """Yield how the workspace knows the user, as (label, value)."""
    batches = activity.batches()
    yield "workspace", activity.workspace or DEFAULT_WORKSPACE
    if activity.elsewhere:
        times = [touch.origin.at_ms for touch in batches]
        seen_here = f"first {moment(min(times))}, last {moment(max(times))}" if times else "never"
        yield "seen here", seen_here
    yield "batches", f"{len(batches):,}"
    for name, (feed, count, last_ms) in activity.feeds().items():
        sent = f"{counted(count, 'batch')}, last {age(last_ms, view.now_ms)}"
        yield "feed", f"{name} ({feed.owner.unit}): {sent}"
    if device := activity.latest_device():
        yield "latest device", f"{device[0]} {device[1]}"


def devices(activity: Activity) -> list[tuple[str, str]]:
    """Return the time when each device was last seen, and the device in lines."""
    return [
        (moment(device.last_seen_ms), "\n".join(_device_lines(device)))
        for device in activity.devices()
    ]


def _device_lines(device: Device) -> Iterator[str]:
    info = device.info
    facts = [str(info[name]) for name in DEVICE_INFO if name in info]
    tracking = info.get("limit_ad_tracking")
    if tracking is not None:
        facts.append("ad tracking limited" if tracking is True else "ad tracking allowed")
    if "att_authorization_status" in info:
        facts.append(f"tracking {info['att_authorization_status']}")
    if facts:
        yield ", ".join(facts)
    for kind, value in device.identities.items():
        yield f"{kind} {value}"
    if device.attribution:
        channels = ", ".join(str(value) for value in device.attribution.values())
        yield f"installed through {channels}"


def consents(activity: Activity) -> list[ConsentRow]:
    """Return the consents."""
    return [
        ConsentRow(
            regulation=regulation,
            purpose=purpose,
            answer=_consented(statement),
            origin=f"{origin.feed.name}, {origin.where}",
        )
        for (regulation, purpose), (statement, origin) in sorted(activity.consent().items())
    ]


def _consented(statement: Mapping[str, Value]) -> str:
    consented = statement.get("consented")
    answer = YES_NO[consented] if isinstance(consented, bool) else to_json(consented)
    try:
        return f"{answer}, {moment(int(str(statement['timestamp_unixtime_ms'])))}"
    except (KeyError, TypeError, ValueError):
        return answer


def audiences(activity: Activity) -> list[MembershipRow]:
    """Return the memberships."""
    memberships = activity.standing.memberships if activity.standing else []
    return [
        MembershipRow(
            name=membership.name,
            since=moment(membership.since_ms),
            until="" if membership.expires_ms is None else moment(membership.expires_ms),
        )
        for membership in memberships
    ]


def attributes(activity: Activity, view: View) -> Iterator[AttributeRow]:
    """Yield the attributes, reserved keys first; with history also those that have no value now."""
    calculated = activity.calculated()
    past = activity.history if view.history else ()
    for key in sorted({*activity.attributes, *calculated, *past}, key=reserved_first):
        yield AttributeRow(
            key=key,
            is_calculated=key in calculated,
            calculated=calculated.get(key),
            entry=activity.attributes.get(key),
        )


def timeline(activity: Activity, view: View) -> tuple[list[Touch], int]:
    """Return the batches to draw, newest first, and how many earlier ones there are."""
    touches = activity.timeline()[::-1]
    drawn = touches[: view.batches] if view.batches else touches
    return drawn, len(touches) - len(drawn)
