"""Where everybody stands, told all at once, is what is told of each."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from support.doors import run_here

from profilectl.audiences.everybody import NOTHING, tell_odd, whole_members, whole_of
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

NOW_MS = 1_790_000_000_000
IDFV = ["0a0a0a0a-1111-2222-3333-444444444444", "0B0B0B0B-1111-2222-3333-444444444444"]
STAMP = ["0c0c0c0c-1111-2222-3333-444444444444", "0d0d0d0d-1111-2222-3333-444444444444"]


def sparse(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


statement = st.fixed_dictionaries(
    {"consented": st.booleans(), "timestamp_unixtime_ms": st.sampled_from([1, 2, 3])},
    optional={"document": st.sampled_from(["é", 'a"b', ""])},
)
devices = sparse(
    ios_idfv=st.sampled_from(IDFV),
    ios_vendor_id=st.sampled_from(IDFV),
    ios_advertising_id=st.sampled_from(IDFV),
    platform=st.sampled_from(["iOS", "Android", ""]),
    limit_ad_tracking=st.sampled_from([True, False, None]),
    os_version=st.sampled_from(["17", "é\n"]),
    screen_width=st.sampled_from([1, 1.5, 10**25]),
    push_token=st.sampled_from([7, "t", None]),
    android_uuid=st.sampled_from(["u", "U", " u", "Σς"]),
    amp_id=st.sampled_from(["", "null", "x"]),
    **{"Roku AID": st.sampled_from([*IDFV, None])},
)
batches = st.fixed_dictionaries(
    {"user_identities": st.fixed_dictionaries({"customer_id": st.sampled_from(["A", "B"])})},
    optional={
        "device_info": devices,
        "mp_deviceid": st.sampled_from(STAMP),
        "timestamp_unixtime_ms": st.sampled_from([5, 6, 1_700_000_000_000]),
        "consent_state": st.fixed_dictionaries(
            {"gdpr": st.dictionaries(st.sampled_from(["m", "ü"]), statement, min_size=1)},
            optional={
                "ccpa": st.fixed_dictionaries({"data_sale_opt_out": statement}),
            },
        ),
        "attribution_info": st.fixed_dictionaries(
            {
                "service_provider": st.sampled_from(["x", "y"]),
                "publisher": st.just("p"),
                "campaign": st.just("c"),
            }
        ),
        "partner_identities": st.dictionaries(
            st.sampled_from(["P_1", "P_ü"]), st.sampled_from(["v", 'w"', "", None, 7]), min_size=1
        ),
        "events": st.lists(
            st.sampled_from([True, False]).map(
                lambda out: {"event_type": "opt_out", "data": {"is_opted_out": out}}
            ),
            max_size=2,
        ),
    },
)
imports = st.lists(
    st.tuples(st.sampled_from(["web", "shop", "csv"]), st.lists(batches, min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)
WORKSPACES = {"web": "web", "shop": "shop", "csv": "shop"}


@pytest.mark.slow
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],
)
@given(imports)
def test_all_at_once_and_one_by_one(imports: list[tuple[str, list[dict[str, Any]]]]) -> None:
    note(json.dumps(imports))
    with tempfile.TemporaryDirectory() as name, contextlib.closing(Scratch(Path(name))) as scratch:
        folder = Path(name)
        store_path = folder / "store.duckdb"
        for number, (feed, rows) in enumerate(imports):
            file = folder / f"{number}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            import_files(
                store_path,
                ImportRequest(
                    [str(file)],
                    feed,
                    source="csv" if feed == "csv" else "sdk",
                    workspace=WORKSPACES[feed],
                    again=True,
                    now_ms=NOW_MS + number,
                ),
            )
        with open_store(scratch, store_path) as store:
            for workspace in {WORKSPACES[feed] for feed, _ in imports}:
                profiles = profiles_of(store, workspace=workspace)
                tell_odd(profiles)
                told = {
                    profile: parse_json("{" + members + "}")
                    for profile, members in scratch.rows(whole_members(profiles, ""))
                }
                everybody = [
                    profile
                    for (profile,) in scratch.rows(
                        f"select distinct profile from ({profiles.folded([], '')})"
                    )
                ]
                for one in activities(profiles, everybody):
                    expected = {**whole_of(one)[0], **whole_of(one)[1], "audience_memberships": []}
                    nothing = parse_json("{" + NOTHING + "}")
                    assert plain(told.get(one.profile, nothing)) == plain(
                        parse_json(to_json(expected))
                    ), workspace  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """Return a document whose numbers compare by their text, and members in any order."""
    return json.loads(to_json(value), parse_float=str, parse_int=str)


def test_the_export_has_it_and_is_read_again(tmp_path: Path) -> None:
    row = {
        "user_identities": {"customer_id": "A"},
        "mp_deviceid": STAMP[0],
        "device_info": {"platform": "iOS", "limit_ad_tracking": True},
        "consent_state": {"gdpr": {"m": {"consented": True, "timestamp_unixtime_ms": 5}}},
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + '\n{"customer_id": "B"}\n')
    run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path)
    run_here("audiences", "add", "iphones", "device.platform = 'iOS'", folder=tmp_path)
    lines = run_here(
        "export", "profiles", "--whole", "--sorted", folder=tmp_path
    ).stdout.splitlines()
    found = {one["user_identities"]["customer_id"][0]: one for one in map(json.loads, lines)}
    assert [one["audience_name"] for one in found["A"]["audience_memberships"]] == ["iphones"]
    assert found["A"]["consent_state"] == row["consent_state"]
    assert (found["A"]["limit_ad_tracking"], found["B"]["limit_ad_tracking"]) == (True, None)
    assert found["A"]["devices"][0]["identities"] == {"mp_deviceid": STAMP[0]}
    assert (
        found["B"]["devices"],
        found["B"]["consent_state"],
        found["B"]["audience_memberships"],
    ) == ([], {}, [])
    assert (
        run_here("export", "profiles", "--whole", "--format", "csv", folder=tmp_path).returncode
        == 2
    )
