"""Whatever people have, batches that leave make them again: devices, consent, partner identities,
opt-outs, tags, lists, deletions."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.doors import call
from support.effort import at_length
from support.serving import served

from profilectl.files.secrets import KeyAndSecret
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.push.run import PushRequest, push
from profilectl.outputs.push.sending import SendingPace
from profilectl.reading.actions import export_store
from profilectl.reading.exporting.export import ExportRequest

NOW_MS = 1_790_000_000_000
T0 = 1_700_000_000_000
GUIDS = [f"{n}a0b0000-0000-4000-8000-00000000000{n}" for n in range(1, 4)]
NOBODY = "00000000-0000-0000-0000-000000000000"


def sparse(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


guids = st.sampled_from([*GUIDS, GUIDS[0].upper()])
infos = sparse(
    ios_idfv=guids,
    ios_advertising_id=st.sampled_from([*GUIDS, NOBODY]),
    android_uuid=st.sampled_from(["u1", "U1", "ü"]),
    push_token=st.sampled_from(["t1", "t2", 7]),
    **{"Roku-AID": guids},
    platform=st.sampled_from(["iOS", "Android", None]),
    limit_ad_tracking=st.sampled_from([True, False, None]),
    att_authorization_status=st.sampled_from(["denied", "authorized"]),
    att_timestamp_unixtime_ms=st.sampled_from([T0, T0 + 1]),
    screen_width=st.sampled_from([1, 1.50, 10**25]),
)
statements = st.fixed_dictionaries(
    {
        "consented": st.booleans(),
        "timestamp_unixtime_ms": st.sampled_from([T0 + 1, T0 + 2, T0 + 3]),
    },
    optional={
        "document": st.sampled_from(["é", 'a"b', ""]),
        "location": st.just("l"),
        "hardware_id": st.just("h"),
    },
)
installs = st.fixed_dictionaries(
    {
        "service_provider": st.sampled_from(["x", "y"]),
        "publisher": st.just("p"),
        "campaign": st.just("c"),
    }
)
values = st.sampled_from([None, "a", "ü\n", 1, 1.50, True, ["x", "y"], [], 12345678901234567890])
opt_outs = st.fixed_dictionaries(
    {"is_opted_out": st.booleans()},
    optional={"timestamp_unixtime_ms": st.sampled_from([T0 + 1, T0 + 2, T0 + 9])},
)
batches = st.fixed_dictionaries(
    {"user_identities": sparse(email=st.sampled_from(["@1", "@2"]))},
    optional={
        "device_info": infos,
        "mp_deviceid": st.sampled_from(GUIDS),
        "timestamp_unixtime_ms": st.sampled_from([T0, T0 + 5, T0 + 9]),
        "user_attributes": st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3),
        "deleted_user_attributes": st.lists(st.sampled_from(["a", "b"]), max_size=2),
        "consent_state": st.fixed_dictionaries(
            {"gdpr": st.dictionaries(st.sampled_from(["m", "ü"]), statements, min_size=1)},
            optional={
                "ccpa": st.fixed_dictionaries({"data_sale_opt_out": statements}),
            },
        ),
        "partner_identities": st.dictionaries(
            st.sampled_from(["P_1", "P_2"]), st.sampled_from(["v", "w", "", None]), min_size=1
        ),
        "attribution_info": installs,
        "events": st.lists(
            opt_outs.map(lambda data: {"event_type": "opt_out", "data": data}), max_size=2
        ),
    },
)


@st.composite
def histories(draw: st.DrawFn, *, shared: bool = False) -> list[dict[str, Any]]:
    """Return the batches of many people, who say the same few things in different orders, in
    turns. shared: they share e-mail
    addresses, and every third has no customer number."""
    said = draw(st.lists(batches, min_size=1, max_size=7))
    people = draw(
        st.lists(
            st.lists(st.integers(0, len(said) - 1), min_size=1, max_size=6), min_size=1, max_size=20
        )
    )
    rows = []
    for turn in range(max(map(len, people))):
        for number, one in enumerate(people):
            if turn < len(one):
                batch = said[one[turn]]
                identities = {
                    kind: text if shared else f"{number}{text}"
                    for kind, text in batch["user_identities"].items()
                }
                known = {} if shared and number % 3 == 2 else {"customer_id": f"C{number:02}"}
                rows.append({**batch, "user_identities": known | identities})
    return rows


def lines(store: Path, wanted: ExportRequest) -> list[str]:
    out = io.BytesIO()
    export_store(store, wanted, out)
    return out.getvalue().decode().splitlines()


def brought(
    store: Path,
    text: list[str],
    feed: str = "f",
    name: str = "a.jsonl",
    *,
    may_be_nobody: bool = False,
) -> None:
    file = store.parent / name
    file.write_text("".join(line + "\n" for line in text), encoding="utf-8")
    report = import_files(
        store, ImportRequest([str(file)], feed, again=True, now_ms=NOW_MS)
    ).as_json()
    assert set(report["reasons"]) <= ({"NO_IDENTITY"} if may_be_nobody else set()), report


def whole(store: Path, *, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    found = [
        json.loads(line, parse_float=str, parse_int=str)
        for line in lines(store, ExportRequest(whole=True, in_order=True))
    ]
    people = [{key: value for key, value in one.items() if key not in without} for one in found]
    return sorted(
        people,
        key=lambda one: json.dumps([one["user_identities"], one.get("mpid")], sort_keys=True),
    )


def differing(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[Any]:
    """Return what differs, person by person: the identities, the member, and both values."""
    return [
        (two["user_identities"], key, one.get(key), two[key])
        for one, two in zip(found, expected, strict=True)
        for key in two
        if one.get(key) != two[key]
    ]


def one_device_each(found: list[str]) -> None:
    """Assert that no batch names the stamps of two devices, or two ids of a type."""
    for line in found:
        document = json.loads(line)
        info = document.get("device_info", {})
        assert len({name.lower().replace("-", "_") for name in info}) == len(info)


def check(rows: list[dict[str, Any]], *, forms: bool = False, shared: bool = False) -> None:
    note("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    with tempfile.TemporaryDirectory() as name:
        first, second, third, fourth = (Path(name) / f"{one}.duckdb" for one in "abcd")
        brought(first, [json.dumps(row, ensure_ascii=False) for row in rows], may_be_nobody=True)
        expected = whole(first)
        batches = lines(first, ExportRequest("batches", in_order=True))
        one_device_each(batches)
        brought(second, batches)
        assert differing(whole(second), expected) == []
        assert lines(second, ExportRequest("batches", in_order=True)) == batches
        if not forms:
            return
        if not shared:  # else they may become one, as the page says
            brought(third, lines(first, ExportRequest("batches", with_mpid=False)))
            assert differing(whole(third, without=("mpid",)), whole(first, without=("mpid",))) == []
        people = lines(first, ExportRequest(whole=True, in_order=True))
        brought(fourth, people)
        assert lines(fourth, ExportRequest(whole=True, in_order=True)) == people
        if not shared:
            columns(first, Path(name))


def in_cell(value: Any) -> str:
    """Return the text of a cell that holds a value."""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return told(value)  # type: ignore[no-any-return]


def columns(store: Path, folder: Path) -> None:
    """Assert that CSV and Parquet bring the newest identity of each type, and the attributes that
    a cell can hold, as text."""
    expected = {}
    for one in whole(store):
        newest = {
            kind: found[-1]
            for known in ("user_identities", "device_identities")
            for kind, found in one[known].items()
        }
        expected[one["mpid"]] = (
            newest,
            {
                key: in_cell(value)
                for key, value in one["user_attributes"].items()
                if value is not None
            },
        )
    for form in ("csv", "parquet"):
        path, again = folder / f"p.{form}", folder / f"{form}.duckdb"
        export_store(store, ExportRequest(format=form), path)
        import_files(again, ImportRequest([str(path)], "f", now_ms=NOW_MS))
        found = {}
        for one in whole(again):
            only = {
                kind: value
                for known in ("user_identities", "device_identities")
                for kind, (value,) in one[known].items()
            }
            found[one["mpid"]] = only, one["user_attributes"]
        assert found == expected, form


quick = settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(histories())
def test_batches_make_the_same_people_again(rows: list[dict[str, Any]]) -> None:
    check(rows)


@quick
@given(histories(shared=True))
def test_batches_of_people_who_share_identities_make_them_again(rows: list[dict[str, Any]]) -> None:
    check(rows)


@pytest.mark.slow
@settings(quick, max_examples=at_length(12, by_night=300), derandomize=False)
@given(histories(shared=True))
def test_every_form_makes_people_who_share_identities_again(rows: list[dict[str, Any]]) -> None:
    check(rows, forms=True, shared=True)


@pytest.mark.slow
@settings(quick, max_examples=at_length(12, by_night=300), derandomize=False)
@given(histories())
def test_every_form_makes_the_same_people_again(rows: list[dict[str, Any]]) -> None:
    check(rows, forms=True)


def told(value: Any) -> Any:
    """Return the value of an attribute as it leaves for a platform: text, digit for digit."""
    if isinstance(value, list):
        return [told(one) for one in value]
    return json.dumps(value) if isinstance(value, bool) else value


def check_pushed(rows: list[dict[str, Any]]) -> None:
    note("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    with tempfile.TemporaryDirectory() as name:
        first, folder = Path(name) / "profiles.duckdb", Path(name) / "second"
        folder.mkdir()
        brought(first, [json.dumps(row, ensure_ascii=False) for row in rows])
        for arguments in (
            ("feeds", "add", "f", "--source", "custom-feed", "--protection", "create-and-update"),
            ("credentials", "new", "api.toml", "--feed", "f"),
        ):
            assert call(*arguments, folder=folder).exit_code == 0
        with served(folder) as server:
            asked, pace = (
                PushRequest(with_mpid=True, with_times=True),
                SendingPace(rate=0, parallel=4, timeout_s=30, give_up_s=60),
            )
            report = push(
                first,
                asked,
                host=server.address,
                credentials=KeyAndSecret(*server.basic("f")),
                pace=pace,
            )
        assert (report.finished, report.reasons) == (True, {})
        expected = whole(first)
        for one in expected:
            one["user_attributes"] = {
                key: told(value) for key, value in one["user_attributes"].items()
            }
        assert differing(whole(folder / "profiles.duckdb"), expected) == []


@pytest.mark.slow
@settings(quick, max_examples=at_length(8, by_night=100), derandomize=False)
@given(histories())
def test_a_push_into_a_second_store_makes_the_same_people_again(rows: list[dict[str, Any]]) -> None:
    check_pushed(rows)
