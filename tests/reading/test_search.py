"""Finding people by text, by pattern, by condition; looking up files of identities; set and
identify; the library.
"""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support import people
from support.doors import call, run_here
from support.effort import spread_now

from profilectl import Store
from profilectl.codes import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("people")
    people.make(found)
    return found


def searched(folder: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = run_here("search", *arguments, "--json", folder=folder)
    assert done.returncode == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def names(folder: Path) -> dict[str, str]:
    """Return the customer id of each MPID."""
    lines = [
        json.loads(line)
        for line in run_here("export", "profiles", folder=folder).stdout.splitlines()
    ]
    return {one["mpid"]: one["user_identities"]["customer_id"][0] for one in lines}


@pytest.fixture(scope="module")
def customers(folder: Path) -> dict[str, str]:
    return names(folder)


# Search


@pytest.mark.parametrize(
    ("arguments", "found"),
    spread_now([
        (["ameli"], [("email", "amelie@example.org")]), (["AMELI"], [("email", "amelie@example.org")]),
        (["shared"], [("email", "shared@example.org")] * 2), (["c", "--type", "customer_id"], [("customer_id", f"C{n}") for n in (1, 2, 3, 4)]),
        (["example", "--substring", "--type", "email", "--limit", "2"], [("email", "amelie@example.org"), ("email", "many@example.org")]),
        (["^C[12]$", "--regex"], [("customer_id", "C1"), ("customer_id", "C2")]), (["C1", "--exact"], [("customer_id", "C1")]),
        (["Amelie@Example.Org", "--exact"], [("email", "amelie@example.org")]), (["%", "--substring"], []), (["x' or '1'='1"], []), (["", "--type", "mobile_number"], [("mobile_number", "+32470000000")]),
    ], 3),
)  # fmt: skip
def test_identities_are_found(
    arguments: list[str], found: list[tuple[str, str]], folder: Path
) -> None:
    answer = searched(folder, *arguments, status=0 if found else 7)
    assert [(one["type"], one["value"]) for one in answer["hits"]] == found
    assert answer["count"] >= len(found)


@pytest.mark.parametrize(
    ("condition", "found"),
    spread_now([
        ("tier = 'gold'", "C1"), ("tier != 'gold'", "C2 C3 C4"), ("tier in ('gold', 'tin')", "C1 C3"), ("tier not in ('gold', 'tin')", "C2 C4"),
        ("tier is null", "C4"), ("tier is not null and not tier = 'iron'", "C1 C3"), ("visits = 12", "C1"), ("visits >= 12.0 and visits < 13", "C1"), ("visits > 12", ""),
        ("points = 5", "C2"), ("points = '5'", "C2"), ("points = '05'", ""), ("newsletter = true", "C1"), ("newsletter = false", ""), ("sizes contains '41'", "C1"), ("sizes contains '4'", "C1"),
        ("sizes includes '4'", ""),
        ("tier like '%i%'", "C2 C3"), ("tier matches 't?n'", "C3"), ("email = 'SHARED@example.org'", "C2 C3"), ("customer_id = 'C4' or $FirstName = 'Amélie'", "C1 C4"),
        ("\"שפה\" = 'עברית'", "C2"), ("שפה is not null", "C2"), ("user_attributes.tier = 'tin'", "C3"), ("environment = 'production'", "C1 C2 C3 C4"), ("mobile_number is not null", "C1"),
        ("last_seen_ms > 1789000000000 and (customer_id = 'C1' or customer_id = 'C2')", "C1"), ("tier = 'it''s'", ""), ("key001 = 'value 1' and more001 = 1", "C4"),
        ("\"tier\" = 'tin'", "C3"), ("NOT tier IS NULL AND tier LIKE 'g%'", "C1"),
    ], 3),
)  # fmt: skip
def test_profiles_are_found_by_a_condition(
    condition: str, found: str, folder: Path, customers: dict[str, str]
) -> None:
    answer = searched(folder, "--where", condition, status=0 if found else 7)
    assert sorted(customers[one["mpid"]] for one in answer["hits"]) == found.split()


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ("tier = gold", 8),
        ("tier =", 7),
        ("tier = 'gold", 8),
        ("(tier = 'x'", 12),
        ("= 'x'", 1),
        ("tier = 'x' drop table", 12),
        ("tier ; select 1", 6),
    ],
)
def test_a_condition_that_is_not_understood_says_where(
    condition: str, place: int, folder: Path
) -> None:
    done = run_here("search", "--where", condition, folder=folder)
    assert done.returncode == 2
    assert f"at character {place}:" in done.stderr


def test_text_and_condition_go_together_and_the_values_are_told(folder: Path) -> None:
    words = ("shared", "--where", "tier = 'tin'")
    answer = searched(folder, *words)
    assert answer["count"] == 1
    assert answer["hits"][0]["user_attributes"] == {"tier": "tin"}
    assert "tin" in run_here("search", "shared", "--where", "tier = 'tin'", folder=folder).stdout


def test_search_without_anything_and_with_too_much_is_wrong_usage(folder: Path) -> None:
    assert run_here("search", folder=folder).returncode == 2
    assert run_here("search", "x", "--exact", "--regex", folder=folder).returncode == 2
    done = run_here("search", "(", "--regex", folder=folder)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: ( cannot be searched for: missing ): (\n  Try: profilectl search --help\n"
    )
    assert run_here("search", "x", "--type", "nothing", folder=folder).returncode == 2


# Lookup


def looked_up(folder: Path, content: str, *arguments: str) -> list[dict[str, Any]]:
    (folder / "l.csv").write_text(content, encoding="utf-8")
    done = run_here("lookup", "l.csv", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_line_has_an_answer_in_order(folder: Path) -> None:
    mpids = {name: mpid for mpid, name in names(folder).items()}
    found = looked_up(
        folder,
        (
            'customer id,email,note\nC1,,x\nC9,amelie@example.org,"a, b"\n'
            "C9,shared@example.org,\n,,\nC2,amelie@example.org,\n"
        ),
        "--field",
        "tier",
        "--field",
        "sizes",
    )
    assert [(one["line"], one["mpid"], one["found"], one.get("why")) for one in found] == [
        (2, mpids["C1"], True, None),
        (3, mpids["C1"], True, None),
        (4, None, False, "2 profiles have it"),
        (5, None, False, "no identity"),
        (6, mpids["C2"], True, None),
    ]
    assert found[0]["user_attributes"] == {"tier": "gold", "sizes": ["40", "41"]}
    assert found[4]["user_attributes"] == {"tier": "iron"}


def test_a_list_of_anything_from_standard_input(folder: Path) -> None:
    mpids = {name: mpid for mpid, name in names(folder).items()}
    done = run_here(
        "lookup",
        "-",
        "--type",
        "any",
        folder=folder,
        stdin=f" amelie@example.org \nC2\r\n{mpids['C3']}\nnobody\n".encode(),
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["type"], one["mpid"]) for one in found] == [
        ("email", mpids["C1"]),
        ("customer_id", mpids["C2"]),
        ("mpid", mpids["C3"]),
        (None, None),
    ]
    assert found[3]["why"] == "nobody has it"


def test_csv_out_and_what_is_no_list(folder: Path) -> None:
    (folder / "l.txt").write_text("C1\nC9\n")
    done = run_here(
        "lookup",
        "l.txt",
        "--type",
        "customer_id",
        "--format",
        "csv",
        "--field",
        "tier",
        folder=folder,
    )
    assert [line.split(",")[4:] for line in done.stdout.splitlines()] == [
        ["found", "why", "tier"],
        ["yes", "", "gold"],
        ["no", "nobody has it", ""],
    ]
    for name, content in (
        ("a.csv", "x,y\n1,2\n"),
        ("b.csv", ""),
        ("c.csv", "email,other,email\na@x.org,b@x.org\n"),
        ("d.csv", "email,user_identities.email\na@x.org,b@x.org\n"),
    ):
        (folder / name).write_bytes(content.encode("latin-1"))
        done = run_here("lookup", name, folder=folder)
        assert done.returncode == 4, (name, done.stdout)
        assert name in done.stderr
    assert run_here("lookup", "nowhere.csv", folder=folder).returncode == 4
    assert run_here("lookup", "b.csv", "--type", "email", folder=folder).stdout == ""


def test_what_a_look_up_refuses_is_named_as_it_was_given(folder: Path, tmp_path: Path) -> None:
    assert (
        run_here("export", "profiles", "-o", str(tmp_path / "p.parquet"), folder=folder).returncode
        == 0
    )
    parquet = (tmp_path / "p.parquet").read_bytes()
    for name, content, says in (
        ("-", b"x,y\n1,2\n", "-:1: no column is an identity: 'x', 'y'"), ("-", b"", "- is empty"), ("-", b"\0" * 40, "- is not text"),
        ("-", parquet, "- is Parquet: a look-up reads CSV, JSON lines and lists"), (str(tmp_path / "p.parquet"), b"", "p.parquet is Parquet: a look-up reads"),
    ):  # fmt: skip
        done = run_here("lookup", name, folder=folder, stdin=content)
        assert done.returncode == 4
        assert f"Error: {Path(name).parent / says if name != '-' else says}" in done.stderr


def test_a_blank_line_is_a_line_of_a_list_only(folder: Path) -> None:
    (folder / "blank.jsonl").write_text('{"customer_id": "C1"}\n\n{"customer_id": "C9"}\n')
    assert [one["line"] for one in looked_up(folder, "customer_id\nC1\n\nC9\n")] == [2, 4]
    assert [
        one["line"]
        for one in map(
            json.loads, run_here("lookup", "blank.jsonl", folder=folder).stdout.splitlines()
        )
    ] == [1, 3]
    assert [one.get("why") for one in looked_up(folder, "C1\n\nC9\n", "--type", "customer_id")] == [
        None,
        "no identity",
        "nobody has it",
    ]


def test_a_file_is_read_as_an_import_reads_it(folder: Path) -> None:
    (folder / "semi.csv").write_bytes(
        b'Email;x\namelie@example.org;1\nshort\n"shared@example.org";3\n'
    )
    found = [
        json.loads(line)
        for line in run_here("lookup", "semi.csv", folder=folder).stdout.splitlines()
    ]
    assert [(one["line"], one["found"], one.get("why", "").split(":")[0]) for one in found] == [
        (2, True, ""),
        (3, False, "CSV_TOO_FEW_CELLS"),
        (4, False, "2 profiles have it"),
    ]
    (folder / "packed.csv.gz").write_bytes(gzip.compress(b"email\namelie@example.org\n"))
    assert json.loads(run_here("lookup", "packed.csv.gz", folder=folder).stdout)["found"] is True
    assert run_here("lookup", "packed.csv.gz", "-o", "found.csv.gz", folder=folder).returncode == 0
    assert gzip.decompress((folder / "found.csv.gz").read_bytes()).startswith(
        b"line,type,value,mpid,found,why\n2,email,amelie@example.org,"
    )
    done = run_here("lookup", "packed.csv.gz", "--field", "nosuch", folder=folder)
    assert (done.returncode, "there is no attribute nosuch" in done.stderr) == (2, True)


CONDITIONS = [
    ("n = 123456789012345678901234567890", "B"),
    ("n > 123456789012345678901234567889", "B D"),
    ("n < -2.4", "C"),
    ("n = -2.5", "C"),
    ("n = -25e-1", "C"),
    ("n >= 1", "B D E"),
    ("n = 007", "E"),
    ("n = 7.0", "E"),
    ("n >= 1e30", "D"),
    ("l contains '40'", "A"),
    ("not l contains '40'", "B C D E"),
]


@pytest.mark.parametrize(("condition", "who"), spread_now(CONDITIONS, 3))
def test_numbers_are_compared_digit_by_digit_and_lists_entry_by_entry(
    condition: str, who: str, tmp_path: Path
) -> None:
    values = {
        "A": ('"1_000"', '["40"]'),
        "B": ("123456789012345678901234567890", '"M/L"'),
        "C": ('"-2.50"', "7"),
        "D": ("1e30", "null"),
        "E": ('"007"', "[]"),
    }
    (tmp_path / "a.jsonl").write_text(
        "".join(
            (
                f'{{"user_identities":{{"customer_id":"{name}"}},"user_attributes":{{"n":{n},"l":{listed}}}}}\n'
                ""
            )
            for name, (n, listed) in values.items()
        )
    )
    assert call("import", "a.jsonl", "--feed", "f", folder=tmp_path).exit_code == 0
    done = call("export", "profiles", "--where", condition, folder=tmp_path)
    assert (
        sorted(
            json.loads(line)["user_identities"]["customer_id"][0]
            for line in done.stdout.splitlines()
        )
        == who.split()
    )


def test_a_condition_that_cannot_be_is_refused_in_words(folder: Path) -> None:
    for condition, said in (
        ("email matches '^a.*n$'", "matches takes a pattern with * and ?"),
        ("tier matches 'gold'", "write contains, or put * around it"),
        ("sizes contains 41", "for an entry of a list write includes"),
        ("tier like 'g*'", "write contains or starts with"),
        ("(" * 3000 + "tier = 1" + ")" * 3000, "nested too deep"),
    ):
        done = run_here("search", "--where", condition, folder=folder)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_identify_says_what_is_not_used(folder: Path) -> None:
    done = run_here("identify", "--email", "null", folder=folder)
    assert done.returncode == 7
    assert "rejected" in done.stdout
    found = json.loads(
        run_here(
            "identify",
            "--customer-id",
            "C1",
            "--email",
            "null",
            "--push-token",
            "t",
            "--json",
            folder=folder,
        ).stdout
    )
    assert found["mpid"]
    assert [one["type"] for one in found["skipped"]] == ["email", "push_token"]


def test_a_correction_names_attributes_only(folder: Path) -> None:
    for name, said in (("email=a@b.c", "profilectl modify"), ("mpid=5", "field of a batch")):
        done = run_here("set", "--customer-id", "C1", name, "--dry-run", folder=folder)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    done = run_here(
        "set", "--customer-id", "C1", "user_attributes.tier=dotted", "--dry-run", folder=folder
    )
    assert (done.returncode, done.stdout) == (0, "dry run: 1 changed\n"), done.stderr
    dotted = run_here("set", "--customer-id", "C1", "foo.bar=x", folder=folder)
    assert (dotted.returncode, "nothing is called foo in a batch" in dotted.stderr) == (2, True)


def test_batches_without_mpids_are_found_by_their_identities(tmp_path: Path) -> None:
    rows = [
        {
            "user_identities": {"customer_id": "A", "email": "a@x.org"},
            "user_attributes": {f"k{n}": n for n in range(90)},
            "timestamp_unixtime_ms": 1_600_000_000_000,
        },
        {
            "user_identities": {"customer_id": "A", "email": "b@x.org"},
            "user_attributes": {f"m{n}": n for n in range(90)},
            "timestamp_unixtime_ms": 1_700_000_000_000,
        },
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("import", "a.jsonl", "--feed", "f", folder=tmp_path).exit_code == 0
    assert call("export", "batches", "--no-mpid", "-o", "b.jsonl", folder=tmp_path).exit_code == 0
    done = call("--store", "other.duckdb", "import", "b.jsonl", "--feed", "f", folder=tmp_path)
    assert done.exit_code == 0, done.output
    ours, theirs = (
        [
            {**json.loads(line), "mpid": ""}
            for line in call(
                "--store", store, "export", "profiles", folder=tmp_path
            ).stdout.splitlines()
        ]
        for store in ("profiles.duckdb", "other.duckdb")
    )
    assert ours == theirs


def test_an_identity_of_another_environment_is_not_found(folder: Path) -> None:
    assert (
        looked_up(folder, "email\namelie@example.org\n", "--environment", "development")[0]["found"]
        is False
    )


# Set and identify


def test_a_correction_is_an_import_with_history_and_undo(tmp_path: Path) -> None:
    people.make(tmp_path)
    before = run_here("export", "profiles", "--sorted", "--provenance", folder=tmp_path).stdout
    done = run_here(
        "set",
        "--email",
        "amelie@example.org",
        "tier=platinum",
        "visits:=99",
        'sizes:=["1"]',
        "tag:=null",
        "big:=123456789012345678901234567890",
        "empty=",
        "--delete",
        "zip",
        "--json",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["import"], report["feed"], report["source"]) == (4, "corrections", "custom-feed")
    (one,) = json.loads(run_here("show", "C1", "--json", folder=tmp_path).stdout)["profiles"]
    values = one["user_attributes"]
    assert (
        values["tier"],
        values["visits"],
        values["sizes"],
        values["tag"],
        values["big"],
        values["empty"],
        "zip" in values,
    ) == ("platinum", 99, ["1"], None, 123456789012345678901234567890, "", False)
    assert one["provenance"]["tier"]["file"] == "(set)"
    assert run_here("explain", "row", "(set):1", folder=tmp_path).returncode == 0
    assert (
        json.loads(run_here("imports", "list", "--json", folder=tmp_path).stdout)[3]["files"][0][
            "path"
        ]
        == "(set)"
    )
    # an earlier import can be replayed although a correction came after it
    assert run_here("imports", "undo", "3", "--replay", "--yes", folder=tmp_path).returncode == 0
    assert (
        json.loads(run_here("show", "C1", "--json", folder=tmp_path).stdout)["profiles"][0][
            "user_attributes"
        ]["tier"]
        == "platinum"
    )
    other = tmp_path / "again"
    other.mkdir()
    people.make(other)
    assert run_here("set", "--customer-id", "C1", "tier=x", folder=other).returncode == 0
    assert run_here("imports", "undo", "4", "--yes", folder=other).returncode == 0
    assert run_here("export", "profiles", "--sorted", "--provenance", folder=other).stdout == before
    assert run_here("check", folder=other).returncode == 0


def test_a_correction_keeps_the_rules_and_says_so(tmp_path: Path) -> None:
    people.make(tmp_path)
    done = run_here(
        "set",
        "--customer-id",
        "C1",
        "tier=x",
        "--feed",
        "wh2",
        "--source",
        "warehouse",
        folder=tmp_path,
    )
    assert done.returncode == 3
    assert "UA_LOWER_PRIORITY" in done.stdout
    before = (tmp_path / "profiles.duckdb").read_bytes()
    for arguments, status in (
        (["--customer-id", "C1", "tier=x", "--dry-run"], 0), (["--customer-id", "nobody", "x=1"], 7), (["--email", "shared@example.org", "x=1"], 2), (["--customer-id", "C1"], 2),
        (["--customer-id", "C1", "x"], 2), (["--customer-id", "C1", "x:=nope"], 2), (["--customer-id", "C1", "=1"], 2), (["--customer-id", "C1", "x=1", "x=2"], 2), (["x=1"], 2),
        (["--customer-id", "C1", "x=" + "y" * 5000], 4), (["--customer-id", "C1", "x:={}"], 4),
    ):  # fmt: skip
        done = run_here("set", *arguments, folder=tmp_path)
        assert done.returncode == status, (arguments[:3], done.stderr)
        assert "Traceback" not in done.stderr
    assert (tmp_path / "profiles.duckdb").read_bytes() == before
    assert (
        run_here(
            "set", "--email", "shared@example.org", "--pick", "2", "x=1", folder=tmp_path
        ).returncode
        == 0
    )
    assert (
        json.loads(run_here("show", "C3", "--json", folder=tmp_path).stdout)["profiles"][0][
            "user_attributes"
        ]["x"]
        == "1"
    )


def test_identify_walks_the_hierarchy_and_changes_nothing(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    done = run_here("identify", "--email", "amelie@example.org", "--json", folder=folder)
    assert done.returncode == 7
    answer = json.loads(done.stdout)
    assert answer["mpid"] is None
    assert answer["protected"] is True
    assert "immutable identity customer_id C1" in answer["steps"][0]["holders"][0]["why"]
    mpids = {name: mpid for mpid, name in names(folder).items()}
    done = run_here(
        "identify", "--email", "amelie@example.org", "--customer-id", "C2", "--json", folder=folder
    )
    assert json.loads(done.stdout)["mpid"] == mpids["C2"]
    assert (
        "passed over" in run_here("identify", "--email", "shared@example.org", folder=folder).stdout
    )
    assert run_here("identify", folder=folder).returncode == 2
    assert (folder / "profiles.duckdb").read_bytes() == before


# The library


def test_python_programs_make_the_same_calls(tmp_path: Path) -> None:
    store = Store(people.make(tmp_path))
    (one,) = store.profile(email="amelie@example.org")
    assert one.identities["customer_id"] == ["C1"]
    assert (
        one.attributes["tier"].value,
        one.attributes["visits"].value,
        one.attributes["sizes"].value,
        one.attributes["beta"].value,
    ) == ("gold", 12, ["40", "41"], None)
    assert (
        one.attributes["color"].source,
        one.attributes["color"].file,
        one.attributes["color"].line,
    ) == ("sdk", "app.jsonl", 3)
    assert store.profile(mpid=one.mpid) == [one]
    assert store.profile(email="amelie@example.org", as_of=1)[
        0
    ].attributes.keys() < one.attributes.keys() | {"color"}
    assert store.profile(email="nobody") == []
    table = store.lookup(["C1", "nobody", "C2"], "customer_id", fields=["tier"])
    assert table.column("mpid").to_pylist()[:2] == [one.mpid, None]
    assert table.column("tier").to_pylist() == ['"gold"', None, '"iron"']
    (tmp_path / "n.csv").write_text("customer_id,price\nN,1.50\n")
    report = store.import_files(tmp_path / "n.csv", feed="crm", dry_run=True)
    assert (report.number, report.profiles.created) == (None, 1)
    assert store.import_files(tmp_path / "n.csv", feed="crm").number == 4
    people.bring(
        tmp_path,
        "d.jsonl",
        people.lines(
            [{"user_identities": {"customer_id": "D"}, "user_attributes": {"price": 1.5}}]
        ),
        0,
        "crm",
    )
    assert store.profile(customer_id="D")[0].attributes["price"].value == Decimal("1.5")
    assert store.export("attributes", fields=("tier",)).num_rows == 3
    assert store.export("profiles", where="tier = 'gold'").column(
        "user_attributes.tier"
    ).to_pylist() == ["gold"]
    with pytest.raises(UsageError):
        store.profile(nothing="x")


def test_an_mpid_is_a_whole_number_and_never_rounded_to_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"mpid":2750745821579279100,"user_identities":{"customer_id":"A"}}\n'
    )
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    asked = [
        "2750745821579279100",
        " +2750745821579279100 ",
        "2750745821579279099.6",
        "2.7507458215792791e18",
        "2_750_745_821_579_279_100",
        "99999999999999999999",
    ]
    (tmp_path / "l.txt").write_text("".join(f"{one}\n" for one in asked))
    for kind in ("mpid", "any"):
        found = [
            json.loads(line)["found"]
            for line in run_here(
                "lookup", "l.txt", "--type", kind, folder=tmp_path
            ).stdout.splitlines()
        ]
        assert found == [True, True, False, False, False, False]
    for one in asked[2:]:
        assert run_here("show", "--mpid", one, folder=tmp_path).returncode == 2
