"""A file of whose columns none names a person is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.doors import run, run_here

NOBODY = "Member No,Name\n1,Ann\n"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl", "a.json"])
def test_it_is_refused_with_what_could_be_one(
    tmp_path: Path, name: str, dry: tuple[str, ...]
) -> None:
    if name.endswith("parquet"):
        pq.write_table(pa.table({"Member No": [1], "Name": ["Ann"]}), tmp_path / name)
    else:
        (tmp_path / name).write_text(
            NOBODY if name.endswith("csv") else '{"Member No":1,"Name":"Ann"}\n'
        )
    finished = run_here("import", name, "--feed", "f", *dry, folder=tmp_path)
    assert finished.returncode == 4, finished.stderr
    assert "is an identity or an mpid" in finished.stderr
    assert '--map "Member No=customer_id"' in finished.stderr
    assert names_in(tmp_path) == {name}
    again = run_here(
        "import", name, "--feed", "f", "--map", "Member No=customer_id", folder=tmp_path
    )
    assert again.returncode == 0, again.stderr


def test_a_feed_that_is_there_learns_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email\na@x.com\n")
    (tmp_path / "b.csv").write_text(NOBODY)
    assert run_here(*["import", "a.csv", "--feed", "f"], folder=tmp_path).returncode == 0
    for feed in ("f", "g"):
        finished = run_here("import", "b.csv", "--feed", feed, folder=tmp_path)
        assert finished.returncode == 4
        assert "b.csv: no column is an identity" in finished.stderr
    feeds = json.loads(run_here("feeds", "list", "--json", folder=tmp_path).stdout)
    assert [(feed["name"], feed["imports"]) for feed in feeds] == [("f", 1)]


def test_one_of_several_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email\na@x.com\n")
    (tmp_path / "b.csv").write_text(NOBODY)
    finished = run_here(*["import", "a.csv", "b.csv", "--feed", "f"], folder=tmp_path)
    assert finished.returncode == 4
    assert "Error: b.csv: no column" in finished.stderr
    assert names_in(tmp_path) == {"a.csv", "b.csv"}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("mpid.csv", "mpid,n\n,1\n", ()),
        ("device.csv", "device_info.ios_idfv,n\n,1\n", ()),
        ("stamp.csv", "mp_deviceid,n\n,1\n", ()),
        ("alias.csv", "Customer ID,n\n,1\n", ()),
        ("event.csv", "email,n\na@x.com,1\n", ("--event", "Loaded")),
        ("batch.jsonl", '{"user_identities":{"email":"a@x.com"}}\n', ()),
        ("device.jsonl", '{"device_info":{"ios_idfv":"x"},"user_attributes":{"n":1}}\n', ()),
        # A batch of nobody is rejected by itself: no --map would help it.
        ("anonymous.jsonl", '{"events":[{"event_type":"custom_event","data":{}}]}\n', ()),
        ("broken.jsonl", "not JSON\n", ()),
        ("empty.jsonl", '{"email":""}\n', ()),
    ],
)
def test_a_file_that_may_name_somebody_is_read(
    tmp_path: Path, name: str, content: str, options: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(content)
    finished = run_here("import", name, "--feed", "f", *options, folder=tmp_path)
    assert finished.returncode in (0, 3), finished.stderr


def test_a_path_may_name_somebody(tmp_path: Path) -> None:
    folder = tmp_path / "customer_id=C-1"
    folder.mkdir()
    (folder / "a.csv").write_text("n\n1\n")
    words = ("import", "customer_id=C-1/a.csv", "--feed", "f")
    assert run_here(*words, folder=tmp_path).returncode == 4
    assert run_here(*words, "--path-columns", folder=tmp_path).returncode == 0


def test_later_lines_of_json_may_name_somebody(tmp_path: Path) -> None:
    lines = ['{"n":1}'] * 500 + ['{"n":2,"email":"a@x.com"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    finished = run_here(*["import", "a.jsonl", "--feed", "f"], folder=tmp_path)
    assert finished.returncode == 3, finished.stderr
    (tmp_path / "b.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert run_here(*["import", "b.jsonl", "--feed", "f"], folder=tmp_path).returncode == 4


def test_what_an_older_version_took_is_left_out_as_before(tmp_path: Path) -> None:
    """The same file again is no new import."""
    (tmp_path / "a.csv").write_text("email\na@x.com\n")
    assert run_here(*["import", "a.csv", "--feed", "f"], folder=tmp_path).returncode == 0
    assert run_here(*["import", "a.csv", "--feed", "f"], folder=tmp_path).returncode == 0


def test_a_plan_refuses_it_alike_and_standard_input_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(NOBODY)
    finished = run_here(*["plan", "a.csv", "--feed", "f", "-o", "p.plan"], folder=tmp_path)
    assert finished.returncode == 4
    assert '--map "Member No=customer_id"' in finished.stderr
    words = ("import", "-", "--feed", "f")
    finished = run(*words, folder=tmp_path, stdin=NOBODY.encode())
    assert finished.returncode == 4
    assert "profilectl columns -" not in finished.stderr
    assert names_in(tmp_path) == {"a.csv"}
