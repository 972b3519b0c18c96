"""IDSync over HTTP: the walks of the strategies' tables, what is refused, what is written and what
is not.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from support.doors import call
from support.signing_in import SECRET, Room, room, room_of

from profilectl.server.idsync.signing import signature_of
from profilectl.server.intake import BatchesRefused, Later
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

V = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
ROKU = "11111111-2222-4333-8444-555555555555"
SOMEBODY = {
    "environment": "production",
    "known_identities": {"customerid": "nobody", "ios_idfv": ROKU},
}


def changing(*changes: tuple[str, str | None, str | None], **more: Any) -> dict[str, Any]:
    """Return the body of a request to modify."""
    listed = [
        {"identity_type": kind, "old_value": old, "new_value": new} for kind, old, new in changes
    ]
    return {"environment": "production", "identity_changes": listed, **more}


def imports(app: Room) -> list[dict[str, Any]]:
    """Return the history."""
    return list(json.loads(call("imports", "list", "--json", folder=app.folder).stdout))


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


# The walks of the strategies' tables (domain.md 16, scenarios 17 to 20).


@pytest.mark.slow
def test_the_walk_of_profile_conversion(tmp_path: Path) -> None:
    with room(tmp_path, "conversion") as app:
        first = app.ask("identify", ios_idfv=V)
        assert (first["is_ephemeral"], first["is_logged_in"], first["matched_identities"]) == (
            True,
            False,
            {},
        )
        signed_in = app.ask("login", customerid="ABC123", email="ed.hyde@example.com", ios_idfv=V)
        assert signed_in["mpid"] == first["mpid"]
        assert (
            signed_in["is_ephemeral"],
            signed_in["is_logged_in"],
            signed_in["matched_identities"],
        ) == (False, True, {"ios_idfv": V})
        out = app.ask("logout", ios_idfv=V)
        assert out["mpid"] != first["mpid"]
        assert (out["is_ephemeral"], out["is_logged_in"]) == (True, False)
        assert app.mpid("identify", ios_idfv=V) == out["mpid"]
        again = app.ask("login", customerid="ABC123", ios_idfv=V)
        assert again["mpid"] == first["mpid"]
        assert again["matched_identities"] == {"customerid": "ABC123", "ios_idfv": V}
        assert {one["files"][0]["path"] for one in imports(app)} == {
            "POST /v1/identify",
            "POST /v1/login",
            "POST /v1/logout",
        }


@pytest.mark.slow
def test_the_walk_of_profile_link(tmp_path: Path) -> None:
    with room(tmp_path, "link") as app:
        anonymous = app.mpid("identify", ios_idfv=V)
        body = {
            "environment": "production",
            "previous_mpid": anonymous,
            "known_identities": {"customerid": "A", "email": "e@example.com", "ios_idfv": V},
        }
        known = app.send("login", body).json()["mpid"]
        assert known != anonymous, "a login identity that is new makes a new profile"
        outs = [app.mpid("logout", ios_idfv=V) for _ in range(2)]
        assert len({anonymous, known, *outs}) == 4, "each logout makes a new one"
        assert app.mpid("identify", ios_idfv=V) == outs[1], "the one seen last"
        leaves = call("show", "--mpid", known, "--json", folder=app.folder).stdout
        assert json.loads(leaves)["profiles"][0]["user_identities"] == {
            "customer_id": ["A"],
            "email": ["e@example.com"],
        }
        with open_store_of(app) as rows:
            assert [anonymous in row for row in rows] == [True], (
                "whom a new user was before stays with the row: an alias can use it"
            )


def requests_of(app: Room) -> list[str]:
    """Return what requests are known again by."""
    with scratch_beside(app.store) as scratch, open_store(scratch, app.store):
        return [request for (request,) in scratch.rows("select request from store.request")]


def open_store_of(app: Room) -> Any:
    """Return the fields that are kept of rows which say where a user comes from."""

    @contextlib.contextmanager
    def opened() -> Iterator[list[str]]:
        with scratch_beside(app.store) as scratch, open_store(scratch, app.store) as store:
            kept = " union all ".join(
                f"select rest from {one.table('rest')}"
                for one in store.segments()
                if "rest" in one.tables
            )
            yield [rest for (rest,) in scratch.rows(kept) if "origin_mpid" in rest]

    return opened()


def test_the_walk_of_profile_isolation(tmp_path: Path) -> None:
    with room(tmp_path, "isolation") as app:
        anonymous = app.mpid("identify", ios_idfv=V)
        known = app.mpid("login", customerid="A", email="e@example.com", ios_idfv=V)
        assert known != anonymous
        out = app.ask("logout", ios_idfv=V)
        assert (out["mpid"], out["matched_identities"]) == (anonymous, {"ios_idfv": V})
        assert app.mpid("login", email="e@example.com") == known
        assert app.mpid("logout", email="e@example.com", ios_idfv=V) == anonymous, (
            "a login identity that is left over leads nowhere else"
        )
        assert app.profiles()[known]["email"] == ["e@example.com"], "and nothing is taken"


@pytest.mark.slow
def test_the_walk_of_best_match(tmp_path: Path) -> None:
    with room(tmp_path, "best-match") as app:
        first = app.mpid("identify", ios_idfv=V)
        assert app.mpid("login", email="e1@example.com", ios_idfv=V) == first
        assert app.send(
            f"{first}/modify", changing(("email", "E1@example.com ", "e2@example.com"))
        ).json() == {
            "change_results": [{"identity_type": "email", "modified_mpid": first}],
        }
        assert app.mpid("identify", email="p@example.com", ios_idfv=V) == first
        assert app.mpid("logout", ios_idfv=V) == first, "nobody is known, so nobody is logged out"
        assert app.profiles() == {
            first: {"email": ["e2@example.com", "p@example.com"], "ios_idfv": [V]}
        }


@pytest.mark.slow
def test_a_logout_takes_nothing_from_anybody(tmp_path: Path) -> None:
    with room(tmp_path, "conversion", 'unique = ["customer_id", "email"]') as app:
        known = app.mpid("login", customerid="A", email="a@example.com", ios_idfv=V)
        out = app.mpid("logout", customerid="A", email="a@example.com", ios_idfv=V)
        assert app.profiles() == {
            known: {"customer_id": ["A"], "email": ["a@example.com"], "ios_idfv": [V]},
            out: {"ios_idfv": [V]},
        }


# What is written, and what is not.


def test_a_feed_creates_changes_and_reads_as_its_protection_says(tmp_path: Path) -> None:
    with room(tmp_path) as app:
        for path in ("identify", "login", "logout"):
            assert code_of(app.send(path, SOMEBODY, "careful")) == (404, "UPDATE_ONLY_NO_MATCH")
            assert code_of(app.send(path, SOMEBODY, "reader")) == (404, "NOT_FOUND_ERROR")
        assert app.profiles() == {}
        known = app.mpid("login", customerid="A", ios_idfv=V)
        before, history = app.profiles(), len(imports(app))
        assert app.mpid("login", "reader", customerid="A", email="new@example.com") == known
        assert app.ask(
            "identify?read_only=true&return_matches=false", customerid="A", email="new@example.com"
        ).keys() == {
            "context",
            "mpid",
            "is_ephemeral",
            "is_logged_in",
        }
        assert code_of(app.send("logout?read_only=1", SOMEBODY)) == (404, "NOT_FOUND_ERROR"), (
            "it would be somebody new"
        )
        assert code_of(
            app.send(f"{known}/modify", changing(("email", None, "a@example.com")), "reader")
        ) == (403, "READ_ONLY")
        assert (
            app.send(
                f"{known}/modify?read_only=true", changing(("email", None, "a@example.com"))
            ).status_code
            == 200
        )
        assert (app.profiles(), len(imports(app))) == (before, history), (
            "nothing is changed, and nothing stands in the history"
        )
        assert app.mpid("identify", "careful", customerid="A", email="new@example.com") == known
        assert app.profiles()[known]["email"] == ["new@example.com"]


def test_a_search_sees_what_was_answered_before_and_changes_nothing(tmp_path: Path) -> None:
    with room(tmp_path) as app:
        known = app.mpid("login", customerid="A", email="a@example.com")
        history = len(imports(app))
        found = app.ask("search", customerid=" A ", email="A@example.com", facebook="other")
        assert (found["mpid"], found["matched_identities"]) == (
            known,
            {"customerid": " A ", "email": "A@example.com"},
        )
        assert code_of(
            app.send("search", {**SOMEBODY, "known_identities": {"email": "a@example.com"}})
        ) == (404, "NOT_FOUND_ERROR"), "it lacks the immutable one"
        assert code_of(
            app.send(
                "search",
                {**SOMEBODY, "known_identities": {"customerid": "A"}, "environment": "development"},
            )
        ) == (404, "NOT_FOUND_ERROR")
        assert len(imports(app)) == history


def test_who_was_erased_stays_out(tmp_path: Path) -> None:
    with room(tmp_path) as app:
        said = {
            "environment": "production",
            "request_id": "one",
            "known_identities": {"customerid": "A", "email": "a@example.com"},
        }
        gone = app.send("login", said).json()["mpid"]
        assert (
            app.send(f"{gone}/modify", changing(("yahoo", None, "y"), request_id="two")).status_code
            == 200
        )
        assert len(requests_of(app)) == 2
        other = app.mpid("login", customerid="B")
        assert call("forget", "--customer-id", "A", "--yes", folder=tmp_path).exit_code == 0
        assert requests_of(app) == [], "what a request is known again by goes as well"
        for path in ("identify", "login"):
            assert code_of(
                app.send(path, {**SOMEBODY, "known_identities": {"customerid": "A"}})
            ) == (404, "SUPPRESSED")
        assert code_of(
            app.send("search", {**SOMEBODY, "known_identities": {"customerid": "A"}})
        ) == (404, "NOT_FOUND_ERROR")
        assert code_of(app.send(f"{other}/modify", changing(("email", None, "a@example.com")))) == (
            400,
            "SUPPRESSED",
        )
        assert app.profiles() == {other: {"customer_id": ["B"]}}


def test_a_request_that_is_sent_again_is_answered_again_and_done_once(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "environment": "production",
        "request_id": "ad58a7c1",
        "known_identities": {"device_application_stamp": V},
    }
    with room(tmp_path) as app:
        app.ask("login", customerid="A", device_application_stamp=V)
        together = app.send_all([("logout", said), ("logout", said)])
        first = together[0].json()
        assert [one.json() for one in together] == [first, first]
        assert (
            app.send(
                "logout", {**said, "known_identities": {"device_application_stamp": ROKU}}
            ).json()["mpid"]
            != first["mpid"]
        ), "another request"
        assert app.send("identify", said).json()["mpid"] == first["mpid"]
        change = changing(("email", None, "a@example.com"), request_id="one")
        assert [app.send(f"{first['mpid']}/modify", change).status_code for _ in range(2)] == [
            200,
            200,
        ]
        assert (
            app.send(
                f"{first['mpid']}/modify",
                changing(("email", "a@example.com", None), request_id="one"),
            ).status_code
            == 200
        ), "another request"
    with room_of(tmp_path) as app:
        assert app.send("logout", said).json() == first, "after a restart too"
        assert len(app.profiles()) == 3
        assert "ad58a7c1" not in call("imports", "list", "--json", folder=tmp_path).stdout


@pytest.mark.slow
def test_what_is_done_stands_in_the_history_and_can_be_taken_back(tmp_path: Path) -> None:
    with room(tmp_path) as app:
        first = app.mpid("identify", ios_idfv=V)
        app.ask("login", customerid="A", ios_idfv=V)
        app.send(f"{first}/modify", changing(("email", None, "a@example.com")))
        assert [one["feed"] for one in imports(app)] == ["app"] * 3
        for number in (3, 2):
            assert call("imports", "undo", str(number), "--yes", folder=tmp_path).exit_code == 0
        assert app.profiles() == {first: {"ios_idfv": [V]}}
        until = (
            time.monotonic() + 20
        )  # somebody else changed the store: a copy is at most about a second old
        while (
            app.send("search", {**SOMEBODY, "known_identities": {"ios_idfv": V}}).status_code == 404
        ):
            assert time.monotonic() < until
        assert app.ask("search", ios_idfv=V)["is_ephemeral"] is True


def test_what_arrives_together_is_one_import_and_each_has_its_own_answer(tmp_path: Path) -> None:
    with room(tmp_path) as app:
        ask = [
            (
                "login",
                {
                    "environment": "production",
                    "known_identities": {"customerid": f"C{n}", "email": "null"},
                },
            )
            for n in range(30)
        ]
        answers = app.send_all(
            [
                *ask,
                (
                    "login",
                    {
                        "environment": "production",
                        "known_identities": {"customerid": "C3", "yahoo": "y"},
                    },
                ),
            ]
        )
        mpids = [one.json()["mpid"] for one in answers]
        assert len(set(mpids)) == 30
        assert mpids[30] == mpids[3]
        found = {tuple(held["customer_id"]): mpid for mpid, held in app.profiles().items()}
        assert [found[(f"C{n}",)] for n in range(30)] == mpids[:30]
        assert len(imports(app)) <= 2


# Modify.


def test_a_modification_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with room(tmp_path, "conversion", 'unique = ["customer_id", "email"]') as app:
        one = app.mpid("login", customerid="A", email="e1@example.com")
        other = app.mpid("identify", email="e2@example.com")
        before = app.profiles()
        for changes, code in (
            (
                [("email", None, "x@example.com"), ("email", "not-mine@example.com", None)],
                "OLD_VALUE_MISMATCH",
            ),
            ([("email", "e1@example.com", None), ("customerid", "A", "B")], "IMMUTABLE"),
            ([("customerid", "A", None)], "IMMUTABLE"),
            ([("email", None, "null")], "IDENTITY_PLACEHOLDER"),
            ([("email", None, " ")], "NO_IDENTITY"),
        ):
            assert code_of(app.send(f"{one}/modify", changing(*changes))) == (400, code)
        assert code_of(app.send(f"{other}/modify", changing(("customerid", None, "A")))) == (
            400,
            "IMMUTABLE_CONFLICT",
        )
        assert code_of(app.send("12/modify", changing(("email", None, "x@example.com")))) == (
            400,
            "PROFILE_NOT_FOUND",
        )
        assert code_of(
            app.send(
                f"{one}/modify",
                changing(("email", None, "x@example.com"), environment="development"),
            )
        ) == (400, "PROFILE_NOT_FOUND")
        assert app.profiles() == before
        assert (
            app.send(
                f"{one}/modify", changing(("email", "e1@example.com", "e2@example.com")), "careful"
            ).status_code
            == 200
        )
        assert app.profiles() == {
            one: {"customer_id": ["A"], "email": ["e2@example.com"]},
            other: {},
        }, "a unique one goes over"


# Requests that are none.


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with room(tmp_path_factory.mktemp("room")) as made:
        yield made


BAD: list[tuple[dict[str, Any], str, str]] = [
    # what is other, the code, what the message has
    ({"environment": None}, "ENVIRONMENT_INVALID", "production or development"),
    ({"environment": "staging"}, "ENVIRONMENT_INVALID", "production or development"),
    ({"known_identities": None}, "NO_IDENTITY", "known_identities"),
    ({"known_identities": {}}, "NO_IDENTITY", "known_identities"),
    ({"known_identities": []}, "NO_IDENTITY", "known_identities"),
    ({"known_identities": {"email": None}}, "NO_IDENTITY", "known_identities"),
    (
        {"known_identities": {"email": "null", "ios_idfv": "x"}},
        "NO_IDENTITY",
        "email is IDENTITY_PLACEHOLDER; ios_idfv is DEVICE_ID_INVALID",
    ),
    (
        {"known_identities": {"shoe_size": "9", "email": "a@example.com"}},
        "IDENTITY_UNKNOWN_TYPE",
        "shoe_size",
    ),
    ({"known_identities": {"mpid": "9"}}, "IDENTITY_UNKNOWN_TYPE", "mpid"),
    ({"known_identities": {"customerid": 9}}, "BAD_REQUEST", "customer_id"),
    ({"known_identities": {"customerid": {}}}, "BAD_REQUEST", "customer_id"),
    (
        {"known_identities": {"customerid": "a", "customer_id": "b"}},
        "IDENTITY_DUPLICATE_TYPE",
        "customer_id",
    ),
    ({"client_sdk": "ios"}, "BAD_REQUEST", "client_sdk"),
    ({"client_sdk": {"platform": "toaster"}}, "BAD_REQUEST", "smart_tv"),
    ({"client_sdk": {"platform": ["web"]}}, "BAD_REQUEST", "smart_tv"),
    ({"client_sdk": {"platform": "web", "sdk_version": 2}}, "BAD_REQUEST", "sdk_version"),
    ({"context": {}}, "BAD_REQUEST", "context"),
    ({"request_id": ""}, "BAD_REQUEST", "request_id"),
    ({"request_id": 5}, "BAD_REQUEST", "request_id"),
    ({"request_id": "x" * 257}, "BAD_REQUEST", "request_id"),
    ({"request_timestamp_ms": "0"}, "TIMESTAMP_INVALID", "request_timestamp_ms"),
    ({"request_timestamp_ms": 1.5}, "TIMESTAMP_INVALID", "request_timestamp_ms"),
    ({"request_timestamp_ms": -1}, "TIMESTAMP_INVALID", "request_timestamp_ms"),
    ({"request_timestamp_ms": 9_000_000_000_000_000}, "TIMESTAMP_INVALID", "request_timestamp_ms"),
    ({"previous_mpid": "me"}, "MPID_INVALID", "previous_mpid"),
    ({"previous_mpid": 12}, "MPID_INVALID", "previous_mpid"),
]


def test_what_is_no_request_is_refused_and_says_why(app: Room) -> None:
    for path in ("identify", "search"):
        for other, code, said in BAD:
            answer = app.send(
                path,
                {name: value for name, value in {**SOMEBODY, **other}.items() if value is not None},
            )
            assert code_of(answer) == (400, code), other
            assert said in answer.json()["errors"][0]["message"]
    for raw in (
        b"{",
        b"[]",
        b"\xff",
        b'{"environment":"production","environment":"production"}',
        b"[" * 5000,
        b'{"environment":"\\u0000"}',
    ):
        assert code_of(app.send("identify", raw)) == (400, "BAD_REQUEST")
    assert code_of(app.send("login", b" " * 300_000)) == (413, "REQUEST_TOO_LARGE")
    assert code_of(app.send("identify?read_only=maybe", SOMEBODY)) == (400, "BAD_REQUEST")
    assert code_of(app.send("logout", {**SOMEBODY, "known_identities": {"customerid": "A"}})) == (
        400,
        "NO_IDENTITY",
    ), "of no device"
    assert imports(app) == []


def test_what_is_no_modification_is_refused(app: Room) -> None:
    for other, code in (
        ({"identity_changes": []}, "BAD_REQUEST"),
        ({"identity_changes": {}}, "BAD_REQUEST"),
        ({"identity_changes": ["x"]}, "BAD_REQUEST"),
        (
            {"identity_changes": [{"identity_type": "email", "new_value": "a@example.com"}]},
            "BAD_REQUEST",
        ),
        (changing(("email", None, None)), "BAD_REQUEST"),
        (changing(("shoe_size", None, "9")), "IDENTITY_UNKNOWN_TYPE"),
        (changing(("email", None, 9)), "BAD_REQUEST"),  # type: ignore[arg-type]
        (changing(*[("email", None, "a@example.com")] * 101), "BAD_REQUEST"),
        ({"environment": "x"}, "ENVIRONMENT_INVALID"),
    ):
        assert code_of(
            app.send("12/modify", {**changing(("email", None, "a@example.com")), **other})
        ) == (400, code), other
    assert code_of(app.send(f"{2**63}/modify", changing(("email", None, "a@example.com")))) == (
        400,
        "MPID_INVALID",
    )
    assert code_of(app.send("me/modify", changing(("email", None, "a@example.com")))) == (
        400,
        "MPID_INVALID",
    )


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [(BatchesRefused(), 400, "BAD_REQUEST"), (Later("busy"), 503, "UNAVAILABLE")],
)
def test_what_the_store_does_not_take_is_told(
    raised: Exception, status: int, code: str, app: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take(*_: Any, **__: Any) -> Any:
        raise raised

    for name in ("take", "modify"):
        monkeypatch.setattr(app.intake, name, take)
    assert code_of(app.send("login", SOMEBODY)) == (status, code)
    assert code_of(app.send("12/modify", changing(("email", None, "a@example.com")))) == (
        status,
        code,
    )


# Who may.


def test_a_feed_speaks_with_its_key_and_secret_or_a_signature(app: Room) -> None:
    body = json.dumps(SOMEBODY).encode()
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

    def signed(
        date: str,
        secret: str = SECRET,
        target: str = "/v1/search",
        key: str = "key-app",
        method: str = "POST",
        of: bytes = body,
    ) -> dict[str, str]:
        return {
            "x-mp-key": key,
            "date": date,
            "x-mp-signature": signature_of(
                secret, method=method, date=date, target=target, body=of
            ),
        }

    for good in (
        signed(now),
        signed(formatdate(usegmt=True)),
        {**signed(now), "x-mp-signature": signed(now)["x-mp-signature"].upper()},
    ):
        assert code_of(app.send("search", body, **good)) == (404, "NOT_FOUND_ERROR")
    assert (
        code_of(
            app.send(
                "search?return_matches=true",
                body,
                **signed(now, target="/v1/search?return_matches=true"),
            )
        )[0]
        == 404
    )
    old = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 3600))
    for bad in (
        signed(now, "another-secret-of-it"),
        signed(now, target="/v1/login"),
        signed(now, key="key-careful-not"),
        signed(now, method="GET"),
        signed(now, of=b"{}"),
        signed(old),
        signed("yesterday"),
        signed("Mon, 01 Jan 99999 00:00:00 GMT"),
        {"x-mp-key": "key-app"},
        {**signed(now), "x-mp-signature": b"\xe9"},
        {"authorization": "Basic"},
        {"authorization": "Bearer x"},
        {"authorization": "Basic eA=="},
        {"x": "y"},
    ):
        answer = app.send("search", body, **bad)
        assert code_of(answer) == (401, "UNAUTHORIZED"), bad
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_the_signature_is_the_one_of_the_platforms_description() -> None:
    # Made with openssl: printf 'POST\n20170712T224127Z\n/v1/identify{"a":1}' | openssl dgst -sha256
    # -hmac secret
    assert (
        signature_of(
            "secret",
            method="POST",
            date="20170712T224127Z",
            target="/v1/identify",
            body=b'{"a":1}',
        )
        == "82378628376b2a5e79395cb5ac9b6fee12035d30ec29a468579878820f48a164"
    )
