"""JSON as it is read: documents of many batches, flat rows with objects in them, numbers as
identities.
"""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run_here
from support.effort import spread_now

from profilectl import Store
from profilectl.codes import InputRefused, sentence
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.text.values import Number


def imported(
    folder: Path, name: str, content: str, *options: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Import a file; return the report, the profiles with where each came from, and the rejects."""
    (folder / name).write_bytes(content.encode())
    done = call("import", name, "--feed", "f", "--json", *options, folder=folder)
    assert done.exit_code in (0, 3), done.output
    report = json.loads(done.stdout)
    rejects = (
        [json.loads(line) for line in (folder / report["rejects"]).read_text().splitlines()]
        if report["rejects"]
        else []
    )
    lines = call("export", "profiles", "--provenance", folder=folder).stdout.splitlines()
    return report, [json.loads(line) for line in lines], rejects


def refused(folder: Path, name: str, content: str, *options: str) -> str:
    """Import a file that must be refused whole; return what is said."""
    (folder / name).write_bytes(content.encode())
    done = run_here("import", name, "--feed", "f", *options, folder=folder)
    assert done.returncode == 4, (done.returncode, done.stderr)
    assert not (folder / "profiles.duckdb").exists()
    return done.stderr


def attributes(profiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["user_attributes"] for one in profiles]


def customers(profiles: list[dict[str, Any]]) -> list[str]:
    return [one["user_identities"]["customer_id"][0] for one in profiles]


# Documents


def test_a_fault_in_one_element_of_an_array_costs_no_other_element(tmp_path: Path) -> None:
    content = (
        '[{"customer_id":"C-1","tier":"gold"},\n'
        ' {"customer_id":"C-2","tier":"a","tier":"b"},\n{"customer_id":"C-3"}]\n'
    )
    report, profiles, rejects = imported(tmp_path, "a.json", content)
    assert customers(profiles) == ["C-1", "C-3"]
    assert report["rows"] == {"read": 3, "applied": 2, "dropped": 0, "rejected": 1}
    (reject,) = rejects
    assert (reject["line"], reject["code"], reject["raw"]) == (
        2,
        "DUPLICATE_KEY",
        '{"customer_id":"C-2","tier":"a","tier":"b"}',
    )
    assert (
        reject["message"]
        == "a key stands twice in one JSON object: element 2, line 2, column 34: tier"
    )


def test_rejects_and_provenance_of_an_array_name_the_physical_line(tmp_path: Path) -> None:
    content = (
        '[\n  {\n    "customer_id": "A",\n    "x": 1\n  },\n  {\n    "customer_id": "B",\n'
        '    "x": 01\n  },\n  7, {"x": 2},\r\n'
        '  {"customer_id": "C", "x": "a\tb"},\n  {"customer_id": "D", "customer_id": "E"},'
        ' {"customer_id": "F", "x": 3}\n]'
    )
    report, profiles, rejects = imported(tmp_path, "a.json", content)
    assert [
        (one["provenance"]["x"]["file"], one["provenance"]["x"]["line"]) for one in profiles
    ] == [("a.json", 2), ("a.json", 12)]
    assert [
        (one["line"], one["code"], one["message"].removeprefix(f"{sentence(one['code'])}: "))
        for one in rejects
    ] == [
        (6, "JSON_INVALID", "element 2, line 8, column 11: Expecting ',' delimiter"),
        (10, "JSON_NOT_OBJECT", "element 3, line 10, column 3: a number"),
        (10, "NO_IDENTITY", "element 4, line 10, column 6"),
        (11, "JSON_INVALID", "element 5, line 11, column 31: Invalid control character at"),
        (12, "DUPLICATE_KEY", "element 6, line 12, column 24: customer_id"),
    ]
    assert rejects[2]["raw"] == '{"x": 2}'
    assert report["rows"]["rejected"] == 5
    said = call("explain", "row", "a.json:12", folder=tmp_path)
    assert said.exit_code == 0, said.output
    assert "DUPLICATE_KEY" in said.stdout
    assert "applied" in said.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    spread_now([
        ('[{"customer_id":"A"},\n]', "a.json:1:21: a comma before the closing bracket"),
        ('[{"customer_id":"A"}\n {"customer_id":"B"}]', "a.json:2:2: not JSON: a comma or ] is missing"),
        ('[{"customer_id":"A"},\n {"customer_id":["B"}]', "a.json:2:21: not JSON: Expecting ',' delimiter"),
        ('[{"customer_id":"A"},\n {"customer_id":"B"', "a.json:2:20: not JSON"),
        ('[{"customer_id":"A"},\n {"customer_id":"B"}', "a.json:2:21: not JSON: a comma or ] is missing"),
        ('[{"customer_id":"A},\n {"customer_id":"B"}]', "a.json:1:21: not JSON: Invalid control character at"),
        ('[{"customer_id":"A"}]\n[]', "a.json:2:1: not JSON: text after the end"),
        ("[,]", "a.json:1:2: not JSON: Expecting value"),
        ("[", "a.json:1:2: not JSON"),
        ('{"customer_id":"A","tier":1,\n"tier":2}', "a.json:2:1: a key stands twice in one JSON object: tier"),
        ('{"customer_id":"A","x":\nNaN}', "a.json:2:1: not JSON: NaN is not a JSON number"),
        ('[' + '{"a":[' * 40 + '1]]', "a.json:1:244: not JSON: Expecting ',' delimiter"),
    ], 3),
)  # fmt: skip
def test_a_document_whose_structure_is_broken_is_refused_whole_with_line_and_column(
    content: str, says: str, tmp_path: Path
) -> None:
    assert says in refused(tmp_path, "a.json", content)


def test_deep_elements_are_elements(tmp_path: Path) -> None:
    deep = '{"customer_id":"A","x":' + '{"a":[' * 20 + '"]}"' + "]}" * 20 + "}"
    _, profiles, rejects = imported(
        tmp_path, "a.json", f'[{deep},{{"customer_id":"B"}},{"[" * 100_000}{"]" * 100_000}]'
    )
    assert customers(profiles) == ["A", "B"]
    assert [one["code"] for one in rejects] == ["JSON_TOO_DEEP"]


def test_standard_input_is_a_document_where_that_is_said_or_seen(tmp_path: Path) -> None:
    batch = b'{\n "user_identities": {"customer_id": "A"}\n}\n'
    assert (
        run_here(
            "import", "-", "--feed", "f", "--format", "json", folder=tmp_path, stdin=batch
        ).returncode
        == 0
    )
    assert (
        run_here(
            "import", "-", "--feed", "f", folder=tmp_path, stdin=b'[\n {"customer_id": "B"}]'
        ).returncode
        == 0
    )
    (tmp_path / "c.dat").write_text('[{"customer_id":"C"}]')
    assert (
        run_here(
            "plan", "c.dat", "--feed", "f", "--format", "json", "-o", "p.plan", folder=tmp_path
        ).returncode
        == 0
    )
    assert customers(
        [
            json.loads(line)
            for line in run_here("export", "profiles", folder=tmp_path).stdout.splitlines()
        ]
    ) == ["A", "B"]


@pytest.mark.slow
def test_an_array_takes_the_time_of_its_lines(tmp_path: Path) -> None:
    """It was quadratic: each element counted the lines before it anew."""
    rows = [f'{{"customer_id":"C-{n}","tier":"gold","nested":{{"a":[1]}}}}' for n in range(30_000)]
    took = {}
    for name, content in (("a.jsonl", "\n".join(rows)), ("a.json", "[" + ",\n".join(rows) + "]")):
        began = time.monotonic()
        report, *_ = imported(tmp_path, name, content, "--dry-run")
        took[name] = time.monotonic() - began
        assert report["rows"]["applied"] == 30_000
    assert took["a.json"] < 3 * took["a.jsonl"]


# Flat rows

NESTED = (
    '{"userId":"C-1","emailAddress":"ada@example.com","traits":{"plan":"pro","address":{"city":"Leeds"}},"ids":[{"x":1}]}\n'
    ""
)


@pytest.mark.parametrize(
    ("name", "content"),
    spread_now([("a.jsonl", NESTED), ("a.json", NESTED), ("b.json", f"[{NESTED}]")], 3),
)
def test_objects_of_a_flat_row_are_attributes_with_dotted_names(
    name: str, content: str, tmp_path: Path
) -> None:
    report, profiles, _ = imported(
        tmp_path, name, content, "--map", "userId=customer_id", "--map", "emailAddress=email"
    )
    assert profiles[0]["user_identities"] == {"customer_id": ["C-1"], "email": ["ada@example.com"]}
    assert attributes(profiles) == [{"traits.address.city": "Leeds", "traits.plan": "pro"}]
    assert report["left_out"] == {"UA_UNSUPPORTED_TYPE": {"ids": 1}}
    assert report["files"][0]["columns"] == {
        "userId": "user_identities.customer_id",
        "emailAddress": "user_identities.email",
        "traits.plan": "user_attributes.traits.plan",
        "traits.address.city": "user_attributes.traits.address.city",
        "ids": "user_attributes.ids",
    }


def test_a_batch_keeps_the_rule_of_the_platform_for_objects(tmp_path: Path) -> None:
    report, profiles, _ = imported(
        tmp_path,
        "a.jsonl",
        (
            '{"user_identities":{"customer_id":"A"},"user_attributes":{"t":{"a":1},"u":{"$oid":"x"},"v":1}}\n'
            ""
        ),
    )
    assert attributes(profiles) == [{"v": 1}]
    assert report["left_out"] == {"UA_UNSUPPORTED_TYPE": {"t": 1, "u": 1}}
    assert "columns" not in report["files"][0]


def test_the_shapes_of_nested_values(tmp_path: Path) -> None:
    lines = [
        '{"customer_id":"A","empty":{},"e":{"f":{}},"n":{"a":null,"b":[1,"x"],"c":true,"d":1.50}}',
        '{"customer_id":"B","a":{"b":1},"a.b":2}',
        '{"customer_id":"C","a.b":{"c":1},"a":{"b":{"c":2}}}',
        '{"customer_id":"D","user_attributes.home":{"city":"Metz"},"email":{"address":"x"},"context":{"a":"1"}}',
        '{"customer_id":"E","x":' + '{"a":' * 60 + "1" + "}" * 60 + ',"' + "k" * 300 + '":{"a":1}}',
        '{"customer_id":"F","foo.bar":1}',
    ]
    report, profiles, rejects = imported(tmp_path, "a.jsonl", "\n".join(lines))
    assert customers(profiles) == ["A", "D", "E"]
    assert attributes(profiles) == [
        {"n.b": [1, "x"], "n.c": True, "n.d": 1.5},
        {"email.address": "x", "home.city": "Metz"},
        {},
    ]
    assert [(one["line"], one["code"]) for one in rejects] == [
        (2, "DUPLICATE_KEY"),
        (3, "DUPLICATE_KEY"),
        (6, "BATCH_UNKNOWN_FIELD"),
    ]
    assert report["reasons"]["UA_UNSUPPORTED_TYPE"] == 1  # deeper than is read
    assert report["reasons"]["UA_KEY_TOO_LONG"] == 1
    assert "x" + ".a" * 31 in report["left_out"]["UA_UNSUPPORTED_TYPE"]


def test_values_of_mongo_are_themselves(tmp_path: Path) -> None:
    first = (
        '{"_id":{"$oid":"507f1f77bcf86cd799439011"},"n":{"$numberLong":"9007199254740993"},"d":{"$numberDecimal":"1.10"},'
        '"at":{"$date":"2024-02-29T10:00:00Z"},"ms":{"$date":{"$numberLong":"-5"}},"f":{"$numberDouble":"1.0"},"i":{"$numberInt":"7"},'
        '"l":[{"$oid":"a"},{"$oid":"b"}],"in":{"at":{"$date":1700000000000}},"nan":{"$numberDouble":"NaN"},"two":{"$oid":"a","x":1}}'
    )
    lines = [
        first,
        '{"_id":{"$numberLong":"447700900123"}}',
        '{"_id":{"$numberDouble":"447700900124.0"}}',
        '{"_id":{"$numberDouble":"1.5"}}',
    ]
    report, profiles, rejects = imported(
        tmp_path, "a.jsonl", "\n".join(lines), "--map", "_id=customer_id"
    )
    assert customers(profiles) == ["507f1f77bcf86cd799439011", "447700900123", "447700900124"]
    raw = run_here("export", "profiles", folder=tmp_path).stdout.splitlines()[0]
    for one in (
        '"n":9007199254740993', '"d":1.10', '"at":"2024-02-29T10:00:00Z"', '"ms":-5', '"f":1.0', '"i":7', '"l":["a","b"]', '"in.at":1700000000000',
        '"two.$oid":"a"', '"two.x":1',
    ):  # fmt: skip
        assert one in raw.replace('": ', '":'), one
    assert report["left_out"] == {"UA_UNSUPPORTED_TYPE": {"nan": 1}}
    assert [(one["line"], one["code"]) for one in rejects] == [(4, "IDENTITY_INVALID")]


def test_the_columns_of_flat_rows_are_told_as_those_of_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"Customer ID":"A","tier":"x"}\n{"user_identities":{"customer_id":"B"}}\n'
        '{"e-mail":"q","Email":"a@x.org","t":{"a":1}}\n'
    )
    for again in ((), ("--again",)):  # before a first import there is a table
        done = run_here("import", "a.jsonl", "--feed", "f", *again, folder=tmp_path)
    assert (
        "a.jsonl: Customer ID -> user_identities.customer_id, tier -> user_attributes.tier, e-mail"
        " -> user_attributes.e-mail, Email -> user_identities.email, t.a -> user_attributes.t.a"
    ) in " ".join(done.stderr.split())


def test_a_mapping_reaches_flat_rows_and_never_a_batch(tmp_path: Path) -> None:
    lines = [
        '{"id":"A","traits":{"plan":"pro","age":5},"noise":{"a":1},"tier":"x"}',
        '{"user_identities":{"customer_id":"B"},"user_attributes":{"tier":"y","id":"z"}}',
        '{"mpid":7,"id":"C"}',
    ]
    options = (
        "id=customer_id",
        "traits.plan=ignore",
        "traits.age=user_attributes.$Age",
        "noise=ignore",
        "tier=level",
        "mpid=ignore",
    )
    report, profiles, _ = imported(
        tmp_path, "a.jsonl", "\n".join(lines), *(part for one in options for part in ("--map", one))
    )
    assert customers(profiles) == ["A", "B", "C"]
    assert attributes(profiles) == [{"$Age": 5, "level": "x"}, {"id": "z", "tier": "y"}, {}]
    assert report["files"][0]["columns"]["noise"] == "ignored"


def test_a_mapping_that_fits_no_flat_row_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, "a.jsonl", NESTED, "--map", "userID=customer_id")
    assert "--map names a key that no flat row has: 'userID'" in said
    assert "'userId', 'emailAddress', 'traits.plan'" in said
    said = refused(
        tmp_path, "b.jsonl", '{"user_identities":{"customer_id":"B"}}\n', "--map", "id=customer_id"
    )
    assert "the rows are batches" in said
    said = refused(tmp_path, "c.jsonl", NESTED, "--map", "#4=customer_id")
    assert "no flat row has" in said


def test_a_mapping_fits_several_files_together(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"customer_id":"B","level":"y"}\n')
    (tmp_path / "c.csv").write_text("nr,stufe\nC,z\n")
    _, profiles, _ = imported(
        tmp_path,
        "a.jsonl",
        '{"id":"A","tier":"x"}\n',
        "b.jsonl",
        "c.csv",
        "--map",
        "id=customer_id",
        "--map",
        "level=tier",
        "--map",
        "nr=customer_id",
    )
    assert customers(profiles) == ["A", "B", "C"]
    assert attributes(profiles) == [{"tier": "x"}, {"tier": "y"}, {"stufe": "z"}]
    said = run_here(
        "import", "a.jsonl", "b.jsonl", "--feed", "g", "--map", "nr=customer_id", folder=tmp_path
    )
    assert (said.returncode, "'nr'" in said.stderr) == (4, True)


def test_two_keys_mapped_to_one_field_never_overwrite_each_other(tmp_path: Path) -> None:
    content = (
        '{"id":"A","a":"x","b":null}\n{"id":"B","a":"x","b":"y"}\n{"id":"C","m":1,"n":2}\n'
        '{"id":"D","m":9,"n":null}\n'
    )
    options = (
        "--map",
        "id=customer_id",
        "--map",
        "a=tier",
        "--map",
        "b=tier",
        "--map",
        "m=mpid",
        "--map",
        "n=mpid",
    )
    _, profiles, rejects = imported(tmp_path, "a.jsonl", content, *options)
    assert customers(profiles) == ["A", "D"]
    assert [(one["line"], one["code"]) for one in rejects] == [
        (2, "DUPLICATE_KEY"),
        (3, "DUPLICATE_KEY"),
    ]


def test_a_manifest_reaches_flat_rows(tmp_path: Path) -> None:
    manifest = {
        "hasHeaderRow": True,
        "columns": [
            {"column": "userId", "field": "user_identities.customer_id"},
            {"column": "traits.plan", "action": "ignore"},
        ],
    }
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    _, profiles, _ = imported(
        tmp_path, "a.jsonl", NESTED, "--manifest", "m.json", "--map", "ids=ignore"
    )
    assert customers(profiles) == ["C-1"]
    assert attributes(profiles) == [
        {"emailAddress": "ada@example.com", "traits.address.city": "Leeds"}
    ]
    (tmp_path / "profiles.duckdb").unlink()
    (tmp_path / "m.json").write_text(
        json.dumps({"hasHeaderRow": False, "columns": [{"field": "user_identities.customer_id"}]})
    )
    assert "names them by place" in refused(tmp_path, "b.jsonl", NESTED, "--manifest", "m.json")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_spellings_of_nothing_are_nothing_in_a_flat_row(name: str, tmp_path: Path) -> None:
    lines = [
        '{"customer_id":"A","city":"\\\\N","n":5,"t":{"u":"-"},"l":["-"]}',
        '{"customer_id":"-","email":"b@x.org","city":"x"}',
        '{"user_identities":{"customer_id":"C"},"user_attributes":{"city":"-"}}',
    ]
    content = "\n".join(lines) if name == "a.jsonl" else f"[{','.join(lines)}]"
    _, profiles, _ = imported(
        tmp_path, name, content, "--null", "\\N", "--null", "-", "--null", "5"
    )
    assert attributes(profiles) == [{"n": 5, "l": ["-"]}, {"city": "x"}, {"city": "-"}]
    assert [list(one["user_identities"]) for one in profiles] == [
        ["customer_id"],
        ["email"],
        ["customer_id"],
    ]


@pytest.mark.parametrize("choice", ["attribute", "ignore"])
def test_a_dotted_key_that_is_no_field_is_read_as_unknown_says(choice: str, tmp_path: Path) -> None:
    _, profiles, _ = imported(
        tmp_path, "a.jsonl", '{"customer_id":"A","foo.bar":1,"t":{"a":2}}\n', "--unknown", choice
    )
    assert attributes(profiles) == [{"t.a": 2} | ({"foo.bar": 1} if choice == "attribute" else {})]


# Numbers

NUMBERS = [
    ("447700900003.0", "447700900003"),
    ("1e3", "1000"),
    ("1E+3", "1000"),
    ("1000e-3", "1"),
    ("-5.0", "-5"),
    ("-0.0", "0"),
    ("0e999999999999999999999", "0"),
    ("12.50e1", "125"),
    ("9007199254740991.0", "9007199254740991"),
    ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("7", "7"),
    ("-0", "0"),
    ("0.00001e5", "1"),
    ("1" + "0" * 400 + "e-400", "1"),
    ("1.5", None),
    ("9007199254740992.0", None),
    ("1e16", None),
    ("1e999999999999999999", None),
    ("1e-999999999999999999", None),
    ("1e" + "9" * 5000, None),
    ("true", None),
    ("[1]", None),
]


@pytest.mark.parametrize("flat", [True, False])
def test_a_number_as_an_identity_is_judged_by_its_value(flat: bool, tmp_path: Path) -> None:
    shape = '{"customer_id":%s}' if flat else '{"user_identities":{"customer_id":%s}}'
    _, profiles, rejects = imported(
        tmp_path, "a.jsonl", "".join(shape % text + "\n" for text, _ in NUMBERS)
    )
    assert sorted(customers(profiles)) == sorted({value for _, value in NUMBERS if value})
    assert [one["line"] for one in rejects] == [
        line for line, (_, value) in enumerate(NUMBERS, start=1) if value is None
    ]
    assert {one["code"] for one in rejects} == {"IDENTITY_INVALID"}


def test_python_gets_numbers_of_any_size_exactly(tmp_path: Path) -> None:
    imported(
        tmp_path,
        "a.jsonl",
        (
            '{"customer_id":"C-3","huge":1e999999999999999999999,"tiny":-1e-999999999999999999999,"d":1.10,"e":1e400,"i":12345678901234567890,"l":[1,2e999999999999999999999]}\n'
            ""
        ),
    )
    (found,) = Store(tmp_path / "profiles.duckdb").profile(customer_id="C-3")
    values = {key: one.value for key, one in found.attributes.items()}
    assert values == {
        "huge": "1e999999999999999999999",
        "tiny": "-1e-999999999999999999999",
        "d": Decimal("1.10"),
        "e": Decimal("1e400"),
        "i": 12345678901234567890,
        "l": [1, "2e999999999999999999999"],
    }
    assert isinstance(values["huge"], Number)
    assert str(values["d"]) == "1.10"


@pytest.mark.parametrize("number", ["1e999999999999999999999", "9" * 5000])
def test_a_number_too_large_in_a_configuration_is_no_fault_of_ours(
    number: str, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(f"[attributes]\npriority = {number}\n")
    done = run_here("config", "apply", "c.toml", folder=tmp_path)
    assert (done.returncode, "too large" in done.stderr) == (4, True), done.stderr


# JSON itself, by its grammar: every shape as a document, in an array and as a line

RIGHT = [
    '{"a":"\\u00e9\\ud83d\\ude00\\/\\b"}',
    '{"":0}',
    '{"a":-0.1e-7}',
    '{"a":[[[]]]}',
    ' {"a" : 1 , "b":[ ] } ',
    '{"a":"\x7f\u2028"}',
    '{"a":1E400}',
    '{"a":[1,null,{"b":false}]}',
    '"text"',
    "[]",
    "-0",
    "null",
]
WRONG = [
    '{"a":1,}',
    "{'a':1}",
    "{a:1}",
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a":01}',
    '{"a":+1}',
    '{"a":1.}',
    '{"a":.5}',
    '{"a":0x10}',
    '{"a":NaN}',
    '{"a":-Infinity}',
    '{"a":"\t"}',
    '{"a":"\\x"}',
    '{"a":"\\u12"}',
    '{"a":tru}',
    '{"a":[1,]}',
    '{"a":1}//',
    '{"a":1}}',
    '{"a":[1}',
    '{"a":',
    '{"a":"',
    "{",
    "nul",
    '{"a":1,,"b":2}',
    "{:1}",
    '{"a":\u00a01}',
    '{"a":"\\ud800"}',
]


INSIDE = [
    shape
    for shape in WRONG
    if shape not in ('{"a":1}}', '{"a":[1}', '{"a":', '{"a":"', "{", '{"a":1}//')
]
"""Shapes that leave the structure of an array around them whole."""
FAULTS = {"JSON_INVALID", "LONE_SURROGATE"}


def codes_of(folder: Path, name: str, content: str) -> dict[int, str]:
    """Try an import; return the codes of the rows rejected, by line. Raises InputRefused."""
    (folder / name).write_text(content, encoding="utf-8")
    rejects = folder / f"{name}.rejects"
    rejects.unlink(missing_ok=True)
    import_files(
        folder / "none.duckdb",
        ImportRequest([str(folder / name)], "f", dry_run=True, rejects=str(rejects)),
    )
    return (
        {one["line"]: one["code"] for one in map(json.loads, rejects.read_bytes().splitlines())}
        if rejects.exists()
        else {}
    )


def test_the_grammar_of_json_holds_in_lines_and_in_elements(tmp_path: Path) -> None:
    shapes = [*RIGHT, *INSIDE, '{"customer_id":"A"}']  # what names nobody is refused whole
    for name, content in (
        ("a.jsonl", "\n".join(shapes)),
        ("a.json", "[" + "\n,".join(shapes) + "]"),
    ):
        found = codes_of(tmp_path, name, content)
        for line, shape in enumerate(shapes[:-1], start=1):
            assert (found[line] in FAULTS) == (shape in WRONG), (name, shape, found[line])
    found = codes_of(tmp_path, "b.jsonl", "\n".join(WRONG))
    assert set(found.values()) <= FAULTS
    assert len(found) == len(WRONG)


@pytest.mark.parametrize("shape", WRONG)
def test_the_grammar_of_json_holds_in_a_document(shape: str, tmp_path: Path) -> None:
    with pytest.raises(InputRefused) as refused:
        codes_of(tmp_path, "a.json", shape)
    assert re.match(r".*/a\.json:[0-9]+:[0-9]+: ", refused.value.message)
    if shape not in INSIDE:
        with pytest.raises(InputRefused):
            codes_of(tmp_path, "b.json", f'[{{"customer_id":"A"}},{shape}]')


@pytest.mark.parametrize("shape", spread_now(RIGHT, 3))
def test_what_is_json_is_never_said_not_to_be(shape: str, tmp_path: Path) -> None:
    content = shape.replace('{"', '{"customer_id":"A","', 1)  # of nobody it is refused as that
    assert not FAULTS & set(codes_of(tmp_path, "a.json", content).values())
