"""Random lives of a store, step by step."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

DAY_MS = 86_400_000
BEGIN_MS = 1_780_000_000_000


@st.composite
def batches(draw: st.DrawFn, day: int) -> dict[str, Any]:
    at_ms = (
        BEGIN_MS
        + day * DAY_MS
        - draw(st.sampled_from([0, 1, DAY_MS, 2 * DAY_MS, DAY_MS // 2, 4 * DAY_MS, -DAY_MS]))
    )
    events: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["buy", "buy", "session", "opt"]))
        if kind == "buy":
            said = {
                "price": draw(st.sampled_from(["1", "3.50", "x"])),
                "sku": draw(st.sampled_from(["a", "b"])),
            }
            events.append(
                {
                    "event_type": "custom_event",
                    "data": {
                        "event_name": "buy",
                        "custom_event_type": "other",
                        "timestamp_unixtime_ms": at_ms,
                        "custom_attributes": said,
                    },
                }
            )
        elif kind == "session":
            events.append({"event_type": "session_start", "data": {"timestamp_unixtime_ms": at_ms}})
        else:
            events.append(
                {
                    "event_type": "opt_out",
                    "data": {"timestamp_unixtime_ms": at_ms, "is_opted_out": draw(st.booleans())},
                }
            )
    found: dict[str, Any] = {
        "user_identities": draw(
            st.fixed_dictionaries(
                {"customer_id": st.sampled_from("ABC")},
                optional={"email": st.sampled_from(["a@x.org", "b@x.org"])},
            )
        ),
        "timestamp_unixtime_ms": at_ms,
        "events": events,
        "user_attributes": draw(
            st.dictionaries(st.sampled_from(["tier", "k"]), st.sampled_from(["x", "y"]), max_size=1)
        ),
    }
    if draw(st.integers(0, 4)) == 0:
        found["consent_state"] = {
            "gdpr": {
                "marketing": {"consented": draw(st.booleans()), "timestamp_unixtime_ms": at_ms}
            }
        }
    if draw(st.integers(0, 4)) == 0:
        found["device_info"] = {
            "platform": draw(st.sampled_from(["iOS", "Android"])),
            "ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444",
        }
    return found


@st.composite
def lives(draw: st.DrawFn, feeds: str = "f") -> list[tuple[str, int, list[dict[str, Any]]]]:
    """A sequence of (the feed of an import, undo, or wait; the day it is; the batches)."""
    steps, day = [], 0
    for _ in range(draw(st.integers(1, 4))):
        day += draw(st.integers(0, 3))
        what = draw(st.sampled_from([*feeds, *feeds, *feeds, "undo", "wait"]))
        steps.append((what, day, draw(st.lists(batches(day), max_size=4)) if what in feeds else []))
    return steps
