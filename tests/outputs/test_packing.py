"""What leaves for the platform: nothing lost, order kept, no limit passed, each request as full as
it can be.
"""

from __future__ import annotations

import itertools
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from profilectl.codes import CODES, UsageError
from profilectl.outputs.packing import (
    PackedBatch,
    RequestLimits,
    Track,
    as_text,
    body_of,
    joined,
    namespace_of,
    pack,
    parcels_of,
    request_id,
)
from profilectl.outputs.platform import ANSWERS, CLASSES, Act, address_of, answer_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Number, parse_json, to_json

NAMESPACE = namespace_of("secret")


def named(part: int, content: str) -> str:
    return request_id(NAMESPACE, 1, 7, part, content)


def parcels(batch: Any, **more: Any) -> list[PackedBatch]:
    return parcels_of(parse_json(json.dumps(batch)), 7, named, **more)


def sent(batch: Any, **more: Any) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in parcels(batch, **more)]


# one batch


VALUES = [
    # as it is held          as it leaves
    ("9", '"9"'),
    ("9.50", '"9.50"'),
    ("1e400", '"1e400"'),
    ("3503795095229129165747", '"3503795095229129165747"'),
    ("-0.0", '"-0.0"'),
    ("true", '"true"'),
    ("false", '"false"'),
    ("null", "null"),
    ('""', '""'),
    ('"9"', '"9"'),
    ("[]", "[]"),
    ('["a", 1, 2.50, true, null]', '["a","1","2.50","true",null]'),
]


@pytest.mark.parametrize(("held", "leaves"), VALUES)
def test_values_leave_as_text(held: str, leaves: str) -> None:
    assert to_json(as_text(parse_json(held))) == leaves
    batch = parse_json(
        f'{{"user_identities": {{"email": "a@example.com"}}, "user_attributes": {{"x": {held}}}}}'
    )
    (one,) = parcels_of(batch, 1, named)
    assert one.body.decode().endswith(f'"user_attributes":{{"x":{leaves}}}}}')


def test_an_mpid_is_an_integer_of_64_bits_digit_for_digit() -> None:
    for stated in ("-9223372036854775808", '"9007199254740993"'):
        (one,) = parcels_of(parse_json(f'{{"mpid": {stated}, "user_attributes": {{}}}}'), 1, named)
        assert f'"mpid":{stated.strip(chr(34))},'.encode() in one.body


def test_a_batch_leaves_under_the_platforms_own_names_without_what_the_server_sets() -> None:
    (one,) = sent(
        {
            "timestamp_unixtime_ms": 5,
            "schema_version": 2,
            "api_key": "k",
            "source_info": {"channel": "x"},
            "user_identities": {"customerid": "C", "email": None},
            "device_info": {"ios_idfa": "0B0E3E9A-5C2F-4A53-9C1E-000000000001", "platform": "iOS"},
            "user_attributes": {"$firstname": "Ann"},
            "deleted_user_attributes": "tier",
            "ip": "10.0.0.1",
        }
    )
    assert one.pop("source_request_id")
    assert one == {
        "environment": "production",
        "user_identities": {"customer_id": "C"},
        "user_attributes": {"$FirstName": "Ann"},
        "deleted_user_attributes": ["tier"],
        "device_info": {
            "ios_advertising_id": "0B0E3E9A-5C2F-4A53-9C1E-000000000001",
            "platform": "iOS",
        },
        "ip": "10.0.0.1",
    }
    assert (
        sent({"timestamp_unixtime_ms": 5, "mpid": 1, "user_attributes": {}}, with_times=True)[0][
            "timestamp_unixtime_ms"
        ]
        == 5
    )


BAD = [
    ("a text", "JSON_NOT_OBJECT"),
    ({"email": "flat@example.com"}, "BATCH_INVALID"),
    ({"user_attributes": {"a": "b"}}, "NO_IDENTITY"),
    ({"user_identities": {"email": "a@example.com"}, "unknown": 1}, "BATCH_UNKNOWN_FIELD"),
    ({"mpid": 2**63, "user_attributes": {}}, "MPID_INVALID"),
    ({"mpid": 1, "user_attributes": {"a": "x" * 131_072}}, "BATCH_TOO_LARGE"),
    (
        {"mpid": 1, "user_attributes": {}, "application_info": {"name": "x" * 131_072}},
        "BATCH_TOO_LARGE",
    ),
]


@pytest.mark.parametrize(("batch", "code"), BAD)
def test_what_cannot_be_sent_says_why(batch: Any, code: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        parcels(batch)
    assert caught.value.code == code


def test_more_attributes_than_a_batch_may_have_are_split() -> None:
    batch = {
        "environment": "development",
        "user_identities": {"email": "a@example.com"},
        "device_info": {"platform": "iOS", "ios_idfv": "0B0E3E9A-5C2F-4A53-9C1E-000000000001"},
        "deleted_user_attributes": ["old"],
        "user_attributes": {f"k{n:03}": str(n) for n in range(250)},
        "events": [{"event_type": "session_start", "data": {}}],
    }
    found = sent(batch)
    assert [len(one["user_attributes"]) for one in found] == [100, 100, 50]
    assert [list(one) for one in found[1:]] == [
        ["source_request_id", "environment", "user_identities", "device_info", "user_attributes"]
    ] * 2
    assert found[1]["device_info"] == {"ios_idfv": "0B0E3E9A-5C2F-4A53-9C1E-000000000001"}
    assert found[0]["events"]
    assert {key: value for one in found for key, value in one["user_attributes"].items()} == batch[
        "user_attributes"
    ]
    assert len({one["source_request_id"] for one in found}) == 3


def test_a_request_id_that_a_batch_brings_stays_with_its_first_part() -> None:
    found = sent(
        {
            "source_request_id": "mine",
            "mpid": 1,
            "user_attributes": {str(n): "" for n in range(101)},
        }
    )
    assert found[0]["source_request_id"] == "mine"
    assert UUID(found[1]["source_request_id"]).version == 5


def test_a_request_id_is_that_of_the_batch_each_time_and_of_no_other() -> None:
    assert named(0, "x") == named(0, "x")
    others = {
        named(0, "x"),
        named(1, "x"),
        named(0, "y"),
        request_id(NAMESPACE, 2, 7, 0, "x"),
        request_id(NAMESPACE, 1, 8, 0, "x"),
        request_id(namespace_of("another"), 1, 7, 0, "x"),
    }
    assert len(others) == 6


def test_who_a_batch_is_about_does_not_hang_on_how_it_is_written() -> None:
    first, second = (
        parcels({"user_identities": {"email": email}, "user_attributes": {}})[0]
        for email in ("A@example.com", " a@EXAMPLE.com")
    )
    assert first.who == second.who


@given(
    some.dictionaries(
        some.text(min_size=1, max_size=8).filter(lambda key: not key.startswith("$")),
        some.text(max_size=60),
        max_size=30,
    ),
    some.integers(150, 400),
    some.integers(1, 8),
)
def test_parts_keep_the_limits_and_lose_nothing(
    attributes: dict[str, str], most: int, many: int
) -> None:
    limits = RequestLimits(batch_bytes=most, attributes=many)
    document = {
        "environment": "production",
        "mpid": Number("1"),
        "user_attributes": {
            key.replace("\0", "0"): value.replace("\0", "0") for key, value in attributes.items()
        },
    }
    alone = [
        {"source_request_id": "x" * 36, **document, "user_attributes": {key: value}}
        for key, value in document["user_attributes"].items()
    ]
    if any(len(to_json(one).encode()) > most for one in alone):
        with pytest.raises(UnusableRow, match="BATCH_TOO_LARGE"):
            parcels_of(document, 1, named, limits=limits)
        return
    found = parcels_of(document, 1, named, limits=limits)
    parts = [json.loads(one.body) for one in found]
    assert [pair for one in parts for pair in one["user_attributes"].items()] == list(
        document["user_attributes"].items()
    )
    assert all(len(one.body) <= most for one in found)
    assert all(len(one["user_attributes"]) <= many for one in parts)
    for before, after in zip(found, parts[1:], strict=False):  # as full as can be
        key, value = next(iter(after["user_attributes"].items()))
        full = len(before.body) + len(f",{to_json(key)}:{to_json(value)}".encode())
        assert (
            full > most
            or len(json.loads(before.body)["user_attributes"]) == many
            or (not json.loads(before.body)["user_attributes"] and full - 1 > most)
        )


# requests


@given(
    some.lists(some.integers(2, 200), max_size=300), some.integers(1, 20), some.integers(210, 1000)
)
def test_requests_keep_the_limits_the_order_and_everything(
    sizes: list[int], batches: int, most: int
) -> None:
    limits = RequestLimits(request_batches=batches, request_bytes=most)
    given_ = [
        PackedBatch(place, 0, str(place), b"x" * size, frozenset())
        for place, size in enumerate(sizes)
    ]
    requests = list(pack(given_, limits))
    assert [one for request in requests for one in request] == given_
    for request in requests:
        assert 0 < len(request) <= batches
        assert len(body_of(request)) <= most
    for before, after in itertools.pairwise(requests):
        assert len(before) == batches or len(body_of([*before, after[0]])) > most, (
            "the first of the next would have fitted"
        )


@given(some.lists(some.tuples(some.integers(0, 60), some.integers(0, 10)), max_size=20))
def test_runs_are_joined_without_a_change_of_what_is_in_them(stated: list[tuple[int, int]]) -> None:
    runs = [(first, first + more) for first, more in stated]
    found = joined(runs)
    assert {n for first, last in found for n in range(first, last + 1)} == {
        n for first, last in runs for n in range(first, last + 1)
    }
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(found))


@given(some.data())
def test_what_is_written_down_as_done_is_done(data: some.DataObject) -> None:
    """Positions are begun in order and ended in any; now and then somebody begins anew from what is
    written down.
    """
    positions = sorted(data.draw(some.sets(some.integers(0, 200), max_size=40)))
    done: set[int] = set()
    runs: list[tuple[int, int]] = []
    for _ in range(3):
        track = Track(0, runs)
        waiting = [position for position in positions if not track.is_done(position)]
        assert set(positions) - set(waiting) <= done
        under_way: list[int] = []
        for position in waiting:
            track.begin(position, 2)
            under_way += [position, position]
            for one in data.draw(
                some.lists(some.sampled_from(sorted(set(under_way))), unique=True)
            ):
                under_way.remove(one)
                if track.end(one):
                    done.add(one)
            if data.draw(some.booleans()):
                runs = joined([*runs, *track.runs()])
                assert {
                    n for n in positions if any(first <= n <= last for first, last in runs)
                } <= done
    track = Track(0, runs)
    for position in (one for one in positions if not track.is_done(one)):
        track.begin(position, 1)
        track.end(position)
    last = joined([*runs, *track.runs()])
    assert all(any(first <= n <= end for first, end in last) for n in positions)


# answers


def test_what_is_never_sent_again_and_what_is() -> None:
    assert {status for status in range(100, 600) if answer_of(status).act is Act.AGAIN} == {
        *range(100, 200),
        408,
        429,
        *range(500, 600),
    }
    assert [answer_of(status).act for status in (200, 202, 204)] == [Act.ACCEPTED] * 3
    assert [answer_of(status).act for status in (400, 413)] == [Act.SINGLE_OUT] * 2
    assert [answer_of(status).act for status in (301, 401, 403, 404, 405)] == [Act.STOP] * 5
    assert all(one.code in CODES for one in ANSWERS.values() if one.act is Act.SINGLE_OUT)
    assert all(one.hint for one in [*ANSWERS.values(), *CLASSES.values()] if one.act is Act.STOP)


ADDRESSES = [
    ("us1", "https://s2s.us1.mparticle.com/v2/bulkevents"),
    ("EU1", "https://s2s.eu1.mparticle.com/v2/bulkevents"),
    ("https://s2s.mparticle.com", "https://s2s.mparticle.com/v2/bulkevents"),
    ("https://s2s.mparticle.com/v2/", "https://s2s.mparticle.com/v2/bulkevents"),
    ("https://inbound.mparticle.com/s2s/v2", "https://inbound.mparticle.com/s2s/v2/bulkevents"),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v2/bulkevents"),
    ("http://localhost:1", "http://localhost:1/v2/bulkevents"),
    ("http://[::1]:1", "http://[::1]:1/v2/bulkevents"),
]


@pytest.mark.parametrize(("host", "address"), ADDRESSES)
def test_an_address(host: str, address: str) -> None:
    assert address_of(host) == address


@pytest.mark.parametrize("host", [
    "", "us9", "s2s.mparticle.com", "ftp://example.com", "http://example.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "https://key:pass@example.com",
    "https://example.com?x=1", "https://example.com/#a", "https://", "http://[::1", "https://example.com:99999", "https://exa mple.com", "http://localhost@example.com",
])  # fmt: skip
def test_no_address(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_of(host)
    assert "pass" not in caught.value.message
