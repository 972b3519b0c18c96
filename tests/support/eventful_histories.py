"""Histories whose batches have events."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from support.histories import History, histories


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        data: dict[str, Any] = {
            "event_name": draw(st.sampled_from(["view", "buy"])),
            "custom_event_type": "other",
        }
        if draw(st.booleans()):
            data["custom_attributes"] = {"at": draw(st.sampled_from(["home", "12.50", "é"]))}
        if draw(st.integers(0, 3)) == 0:
            data["timestamp_unixtime_ms"] = draw(st.sampled_from([7, 1_700_000_000_000]))
        found.append({"event_type": "custom_event", "data": data})
    return found


@st.composite
def eventful(draw: st.DrawFn, workspaces: bool = False) -> History:
    history = draw(histories(workspaces=workspaces))
    for one in history.imports:
        for row in one.rows:
            row["events"] = draw(events())
            if draw(st.integers(0, 4)) == 0:
                purpose = draw(
                    st.sampled_from(
                        [("gdpr", "ads"), ("gdpr", "mail"), ("ccpa", "data_sale_opt_out")]
                    )
                )
                row["consent_state"] = {
                    purpose[0]: {
                        purpose[1]: {
                            "consented": draw(st.booleans()),
                            "timestamp_unixtime_ms": draw(st.integers(1, 3)),
                        }
                    }
                }
            if draw(st.integers(0, 6)) == 0:
                row["attribution_info"] = {
                    "service_provider": "s",
                    "publisher": draw(st.sampled_from(["p", "q"])),
                    "campaign": "c",
                }
            if draw(st.integers(0, 6)) == 0:
                row["application_info"] = {"name": "app", "build": 1.50}
            if draw(st.integers(0, 9)) == 0:
                row["mp_deviceid"] = draw(
                    st.sampled_from(["5a5a5a5a-1111-2222-3333-444444444444", "x"])
                )
    return history
