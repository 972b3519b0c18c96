"""What became of a row is told whole: who was passed over and why, and what of the row was skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import call

KNOWN = (
    '{"user_identities":{"customer_id":"C1","email":"ann@example.com"},"user_attributes":{"$FirstName":"Ann"}}\n'
    ""
)
"""A profile that its customer id protects."""
MAIL_ONLY = '{"user_identities":{"email":"Ann@Example.com"},"user_attributes":{"tier":"gold"}}\n'
"""A row that would have found it by the e-mail."""


def put(folder: Path, name: str, text: str, *options: str, feed: str = "crm") -> None:
    (folder / name).write_text(text, encoding="utf-8")
    done = call("import", name, "--feed", feed, *options, folder=folder)
    assert done.exit_code in (0, 3), done.stderr


def document(folder: Path, *arguments: str) -> dict[str, Any]:
    done = call(*arguments, *([] if "access" in arguments else ["--json"]), folder=folder)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def mpid_of(folder: Path, *who: str) -> str:
    return str(document(folder, "show", *who)["profiles"][0]["mpid"])


def fate(folder: Path, row: str) -> dict[str, Any]:
    """Return what explain row says of a row that one import brought."""
    (found,) = document(folder, "explain", "row", row)["rows"]
    return dict(found)


def passed(folder: Path, row: str) -> list[dict[str, Any]]:
    return list(fate(folder, row)["passed_over"])


# who was passed over


@pytest.mark.parametrize("protection", ["create-and-update", "update-only"])
def test_a_row_says_whom_it_passed_over_and_why(tmp_path: Path, protection: str) -> None:
    put(tmp_path, "a.jsonl", KNOWN)
    put(tmp_path, "b.jsonl", MAIL_ONLY, "--protection", protection)
    mpid = mpid_of(tmp_path, "--customer-id", "C1")
    assert passed(tmp_path, "b.jsonl:1") == [
        {
            "mpid": mpid,
            "environment": "production",
            "type": "email",
            "value": "ann@example.com",
            "why": "its immutable identity customer_id C1 is not among those given",
        }
    ]
    said = call("explain", "row", "b.jsonl:1", folder=tmp_path).stdout
    assert (
        f"passed over MPID {mpid} (Ann), which held email ann@example.com: its immutable"
        " identity customer_id C1 is not among those given"
    ) in said


def test_the_profile_that_such_a_row_founded_says_so_too(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN)
    put(tmp_path, "b.jsonl", MAIL_ONLY)
    known, mpid = (
        mpid_of(tmp_path, "--customer-id", "C1"),
        [
            one["mpid"]
            for one in document(tmp_path, "show", "--email", "ann@example.com")["profiles"]
        ][1],
    )
    (link,) = document(tmp_path, "explain", "identity", "--mpid", mpid)["profiles"][0]["chain"]
    assert [(one["mpid"], one["type"]) for one in link["passed_over"]] == [(known, "email")]
    said = call("explain", "identity", "--mpid", mpid, folder=tmp_path).stdout
    assert (
        f"passed over MPID {known} (Ann), which held email ann@example.com: its immutable" in said
    )


def test_whoever_the_same_file_made_known_is_named_as_well(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN + MAIL_ONLY)
    assert [one["mpid"] for one in passed(tmp_path, "a.jsonl:2")] == [
        mpid_of(tmp_path, "--customer-id", "C1")
    ]


@pytest.mark.slow
def test_the_state_before_the_row_counts_not_todays(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN)
    put(tmp_path, "b.jsonl", MAIL_ONLY)
    mpid = mpid_of(tmp_path, "--customer-id", "C1")
    assert (
        call(
            "modify", "--mpid", mpid, "--remove", "email=ann@example.com", folder=tmp_path
        ).exit_code
        == 0
    )
    put(tmp_path, "c.jsonl", KNOWN.replace("C1", "C9"))
    assert [(one["mpid"], one["value"]) for one in passed(tmp_path, "b.jsonl:1")] == [
        (mpid, "ann@example.com")
    ]


@pytest.mark.slow
def test_where_login_identities_decide_alone_the_reason_says_so(tmp_path: Path) -> None:
    (tmp_path / "link.toml").write_text('[identity]\nstrategy = "link"\n')
    assert call("config", "apply", "link.toml", folder=tmp_path).exit_code == 0
    put(
        tmp_path,
        "a.jsonl",
        (
            '{"user_identities":{"customer_id":"C1","email":"a@example.com"},"device_info":{"android_uuid":"X"}}\n'
            ""
        ),
    )
    put(
        tmp_path,
        "b.jsonl",
        (
            '{"device_info":{"android_uuid":"X"}}\n'
            '{"user_identities":{"customer_id":"C2"},"device_info":{"android_uuid":"X"}}\n'
        ),
    )
    assert [(one["type"], one["why"]) for one in passed(tmp_path, "b.jsonl:1")] == [
        (
            "android_uuid",
            "its login identity customer_id C1, email a@example.com is not among those given",
        )
    ]
    assert passed(tmp_path, "b.jsonl:2") == []


@pytest.mark.slow
def test_many_who_were_passed_over_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "".join(KNOWN.replace("C1", f"C{place}") for place in range(30)))
    put(tmp_path, "b.jsonl", MAIL_ONLY)
    found = fate(tmp_path, "b.jsonl:1")
    assert (len(found["passed_over"]), found["passed_over_in_all"]) == (20, 30)
    assert "and 10 others" in call("explain", "row", "b.jsonl:1", folder=tmp_path).stdout


# what was skipped

SKIPPED = {
    "IDENTITY_PLACEHOLDER": (
        '{"user_identities":{"customer_id":"S","email":" N/A "}}',
        {"type": "email", "value": "N/A"},
    ),
    "IDENTITY_SPOILED": (
        '{"user_identities":{"customer_id":"S","mobile_number":"4.47701E+11"}}',
        {"type": "mobile_number", "value": "4.47701E+11"},
    ),
    "DEVICE_ID_INVALID": (
        '{"user_identities":{"customer_id":"S"},"device_info":{"ios_idfv":"12"}}',
        {"type": "ios_idfv", "value": "12"},
    ),
    "UA_VALUE_TOO_LONG": (
        json.dumps(
            {"user_identities": {"customer_id": "S"}, "user_attributes": {"long": "x" * 5000}}
        ),
        {"attribute": "long"},
    ),
    "UA_UNSUPPORTED_TYPE": (
        '{"user_identities":{"customer_id":"S"},"user_attributes":{"deep":{"a":1}}}',
        {"attribute": "deep"},
    ),
    "UA_RESERVED_UNKNOWN": (
        '{"user_identities":{"customer_id":"S"},"user_attributes":{"$Odd":"1"}}',
        {"attribute": "$Odd"},
    ),
    "MPID_UNKNOWN": ('{"mpid":77,"user_identities":{"customer_id":"C1"}}', {}),
}


def test_whatever_was_skipped_or_warned_of_is_told_of_the_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN + "".join(line + "\n" for line, _ in SKIPPED.values()))
    for place, (code, (_, subject)) in enumerate(SKIPPED.items(), start=2):
        (remark,) = fate(tmp_path, f"a.jsonl:{place}")["remarks"]
        assert remark.pop("message"), code
        assert remark == {"code": code, **subject}
    said = call("explain", "row", "a.jsonl:2", folder=tmp_path).stdout
    assert "IDENTITY_PLACEHOLDER: email N/A: the identity is a placeholder and was skipped" in said
    assert fate(tmp_path, "a.jsonl:1")["remarks"] == []


@pytest.mark.slow
def test_what_is_told_of_a_row_is_what_explain_rows_wrote(tmp_path: Path) -> None:
    lines = [KNOWN.strip(), *(line for line, _ in SKIPPED.values()), MAIL_ONLY.strip(), "{}"]
    put(tmp_path, "a.jsonl", "\n".join(lines) + "\n", "--explain-rows", "rows.jsonl")
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for place in range(1, len(lines) + 1):
        found = fate(tmp_path, f"a.jsonl:{place}")
        told = {one["code"] for one in found["remarks"]} | {
            found[name] for name in ("code",) if found.get(name)
        }
        assert told == {one["code"] for one in written if one["line"] == place}, place
    assert {"type": "email", "value": "N/A"}.items() <= next(
        one for one in written if one["code"] == "IDENTITY_PLACEHOLDER"
    ).items()


@pytest.mark.parametrize(
    "protection", ["update-only", pytest.param("read-only", marks=pytest.mark.slow)]
)
def test_a_row_that_was_kept_out_says_what_else_was_wrong_with_it(
    tmp_path: Path, protection: str
) -> None:
    put(tmp_path, "a.csv", "email,customer_id\nnull,Z9\n", "--protection", protection)
    found = fate(tmp_path, "a.csv:2")
    assert found["applied"] is False
    assert [one["code"] for one in found["remarks"]] == ["IDENTITY_PLACEHOLDER"]


# and it goes with the row


def remarks_left(folder: Path) -> int:
    from profilectl.store.opening import open_store
    from profilectl.store.scratch import scratch_beside

    with scratch_beside(folder / "x") as scratch, open_store(scratch, folder / "profiles.duckdb"):
        return sum(
            int(scratch.row(f"select count(*) from store.{table}")[0])
            for table in ("remark", "passed_claim")
        )


def test_an_undone_import_leaves_no_remark(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN)
    put(tmp_path, "b.jsonl", MAIL_ONLY + SKIPPED["IDENTITY_PLACEHOLDER"][0] + "\n")
    assert remarks_left(tmp_path) == 3
    assert call("imports", "undo", "2", "--yes", folder=tmp_path).exit_code == 0
    assert remarks_left(tmp_path) == 0


def test_whoever_is_erased_takes_the_remarks_of_the_rows_along(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", KNOWN + SKIPPED["IDENTITY_PLACEHOLDER"][0] + "\n")
    put(
        tmp_path,
        "b.jsonl",
        MAIL_ONLY.replace("Ann@", "bo@") + MAIL_ONLY,
        "--protection",
        "update-only",
    )
    assert remarks_left(tmp_path) == 3
    (remark,) = document(tmp_path, "access", "--customer-id", "S")["profiles"][0]["remarks"]
    assert (remark["code"], remark["value"], remark["line"]) == ("IDENTITY_PLACEHOLDER", "N/A", 2)
    assert call("forget", "--customer-id", "S", "--yes", folder=tmp_path).exit_code == 0
    assert remarks_left(tmp_path) == 2
    assert call("forget", "--customer-id", "C1", "--yes", folder=tmp_path).exit_code == 0
    assert remarks_left(tmp_path) == 1
    assert call("check", folder=tmp_path).exit_code == 0
