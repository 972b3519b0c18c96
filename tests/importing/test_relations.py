"""The relations of an import are a contract: every SELECT fits it, and imports make just these."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.doors import call

import profilectl.importing
from profilectl.importing.listed_relations import ListedRelations, NotListed
from profilectl.importing.merge import FOUNDING_ROW
from profilectl.importing.relations import (
    RELATIONS,
    Bound,
    Columns,
    make_bits,
    make_empty,
)
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.mpid import mpid_for
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

LISTED = {relation.name: relation for relation in RELATIONS}
STAGED = {"staged", "staged_loose", "staged_event"}
ANY_SELECT = {"located_row"}
"""Relations that have the columns of any SELECT with seq."""
SAMPLE = ("customer_id", "email")
"""The identity types of the empty relations, which have two attributes too."""

# fmt: off
# What stands for the columns of a statement that names them outside its column list.
FILLED = {
    "WITHOUT_IDENTITY": ", true as nobody, '' as skipped",
    "WITHOUT_IDENTITY_OR_MPID": ", true as nobody, '' as skipped",
    "SUPPRESSED_MPID": ", null::uhugeint as hash",
    "SUPPRESSED_IDENTITY": ", null::uhugeint as hash",
    "ERASED_MPID": ", null::uhugeint as hash",
    "ERASED_MIX": ", null::uhugeint as hash",
    "MIXED_MPID": ", 1::bigint as mpid",
    "FOUNDER_WISH": ", 1::bigint as mpid",
    "NAMED_MPID": ", 0 as environment",
    "CALCULATED_ROW": ", usable.a0 as refused",
    "CHANGED_CELLS": ", true as changes",
    "BLOCKED_CELL": ", o0 = blocking.number as blocks",
    "SPEAKS_OF_THE_SAME": ", true as same",
    "READY_PASSED": ", '' as environment, 0 as at_ms",
    "READY_OUTGOING_OF_NOBODY": ", 0 as batch_ms, '' as content",
    "NAMING_REJECT": ", true as is_erased",
    "CLEARED_REJECT": "'' as raw",
    "CLAIMED": ", h0 as hash",
    "PASSED_BATCH": "null::varchar as i_email",
    "NOBODYS_CELL": "c0",
    "LONE_ROW": ", 1 as added",
    "ALIKE_GROUP": "i_email",
}
OTHER_HOLES: dict[str, dict[str, object]] = {
    "IDENTITY_HASH": {
        "hashes": "h0", "verdicts": "*", "folds": "*, 0 as h0", "texts": "seq", "rows": "staged",
    },
    "TEXT_HASH": {
        "code": 7, "name": "email", "place": 0,
        "hashed": "select '' as i_email, h0, c0 from identity_hash",
    },
    "FOUND_BY_TEXT": {
        "columns": "text0.hash as h0", "hashed": "select i_email from staged",
        "joins": "left join text_hash as text0 on text0.text = hashed.i_email",
    },
    "OF_FILE": {"offset": 0, "columns": "code", "select": "select seq, code from rejected"},
    "HELD_VALUE": {"start": 0, "end": 1},
    "CLAIM": {"code": 1, "place": 0, "hash": "h0"},
    "PART_OF_INDEX": {"start": 0, "end": 1},
    "PART_OF_ROWS": {"columns": "*", "start": 0, "end": 1},
    "NOBODYS_IDENTITY": {"reason": "''", "code": 1, "value": "i_email", "place": 0},
    "LOCATED": {
        "rows": "select seq from usable", "file": "''", "offset": 0, "first_line": 1, "end": 5,
    },
    "LOCATED_BY_LINES": {
        "rows": "select seq from usable", "file": "''", "offset": 0, "lines": "staged_line",
    },
    "ONE_LINE_RUN": {"first_arrival": 0, "first_line": 1},
    "LINE_RUNS": {"first_arrival": 0, "lines": "staged_line"},
    "CELLS_OF_COLUMN": {"segment": 1, "key": "''", "column": "i_email", "table": "ready_row"},
    "LEFT_TRACE": {"table": "ready_row", "profiles": "known_profile"},
    "FOUNDED_PROFILE": {"table": "ready_row", "profiles": "known_profile"},
    "ROWS_WITH_ARRIVALS": {"columns": "arrival", "table": "ready_row", "arrivals": 1},
    "TALLY": {"columns": "o0, o1"},
    "FOUNDING_PART": {"start": 0, "end": 1},
    "ROW_BITS": {"rows": "sharing_row"},
    "CORRECTIONS_OF_ROWS": {"rows": "(select 1 as arrival)", "condition": "true"},
    "SPEAKING_OF_THE_SAME": {"columns": ", true as same", "segment": 1},
    "STALE_OF_CORRECTION": {"table": "(select 1 as profile, 1 as arrival)"},
    "PASSING_VALUE": {"kind": "email", "code": 7},
}
# fmt: on


def modules() -> Iterator[Any]:
    """Yield the modules of importing, but for stage."""
    found = pkgutil.walk_packages(profilectl.importing.__path__, "profilectl.importing.")
    for module in found:
        if not module.name.startswith("profilectl.importing.stage"):
            yield importlib.import_module(module.name)


def statements() -> dict[str, str]:
    """Return the named statements by module and name."""
    return {
        f"{module.__name__.removeprefix('profilectl.importing.')}.{name}": text
        for module in modules()
        for name, text in vars(module).items()
        if name.isupper() and isinstance(text, str)
        if re.match(r"\s*(select|insert into|update store|delete from)\s", text)
    }


def columns_of(name: str) -> list[tuple[str, str]]:
    """Return the columns of a relation in an import of two identity types and two attributes."""
    columns = []
    for column in LISTED[name].columns.split(", "):
        family, types = column.replace("?", "").rsplit(" ", 1)
        type_ = types.partition("/")[0]
        if family.endswith("<type>"):
            columns += [(family.replace("<type>", kind), type_) for kind in SAMPLE]
        elif family.endswith("<n>"):
            columns += [(family.replace("<n>", str(n)), type_) for n in range(2)]
        else:
            columns.append((family, type_))
    return columns


def filled(name: str, statement: str, file: Path) -> str:
    """Return a statement with something in its holes. file: one that can be read."""
    constant = name.rpartition(".")[2]
    if constant in OTHER_HOLES:
        return statement.format(**OTHER_HOLES[constant])
    if constant == "READY_REJECT":
        return statement.replace("$path", quote_text(str(file)))
    before = statement.partition("{columns}")[0].rstrip()
    missing = "1 as filled" if before.endswith(("select", ",")) else ""
    return statement.replace("{columns}", FILLED.get(constant, missing))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Scratch]:
    """Yield a scratch with an empty store and every listed relation, empty."""
    scratch = Scratch(tmp_path)
    with open_store(scratch, tmp_path / "store.duckdb", create=True):
        for name in LISTED:
            columns = columns_of(name) if name not in ANY_SELECT else columns_of("located_code")
            scratch.load(name, columns, [])
        scratch.load("staged_line", [("seq", "BIGINT"), ("line", "BIGINT")], [])
        yield scratch
    scratch.close()


def test_every_named_statement_fits_the_relations(empty: Scratch) -> None:
    named = statements()
    assert len(named) > 150
    file = empty.folder / "rejects.jsonl"
    file.touch()
    wrong = {}
    for name, statement in named.items():
        try:
            empty.run(f"prepare statement as {filled(name, statement, file)}")
            empty.run("deallocate statement")
        except Exception as error:  # noqa: BLE001
            wrong[name] = str(error).partition("\n")[0]
    assert not wrong, json.dumps(wrong)


def test_a_misspelt_column_does_not_fit(empty: Scratch) -> None:
    with pytest.raises(Exception, match="profil"):
        empty.run("prepare statement as select profil from resolved")


def test_a_relation_that_is_not_listed_cannot_be_made(tmp_path: Path) -> None:
    relations = ListedRelations(Scratch(tmp_path))
    with pytest.raises(NotListed):
        relations.make("unheard_of", "select 1 as seq")
    with pytest.raises(NotListed):
        relations.load("unheard_of", [("seq", "BIGINT")], [])
    make_empty(relations, "claim")
    with pytest.raises(NotListed):
        relations.rename("claim", "unheard_of")
    assert relations.count("claim") == 0


@pytest.mark.parametrize("span", [1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("step", [1, 3, 65_536, 1_000_000])
def test_bits_say_which_rows_a_relation_has(tmp_path: Path, span: int, step: int) -> None:
    relations = Scratch(tmp_path)
    relations.make("usable", f"select range as seq from range({span})")
    for start in (0, span - 1, span):
        rows = f"select seq from usable where seq >= {start} and (seq - {start}) % {step} = 0"
        relations.make("other_row", rows)
        make_bits(relations, "other_bits", rows="other_row", span=span)
        by_join = relations.rows(
            "select seq from usable where seq not in (select seq from other_row)"
        )
        assert sorted(relations.rows(FOUNDING_ROW)) == sorted(by_join)
    relations.close()


def test_each_relation_is_listed_once_with_a_sentence() -> None:
    assert len(LISTED) == len(RELATIONS)
    for relation in RELATIONS:
        assert relation.row.endswith(".")
        assert relation.made_by
    names = {
        module.__name__.split(".")[2] for module in modules() if module.__name__.count(".") > 1
    }
    for relation in RELATIONS:
        for name in filter(None, f"{relation.made_by}, {relation.read_by}".split(", ")):
            assert name in names | {"stage"}, relation.name


def test_only_the_view_of_the_store_names_it(tmp_path: Path) -> None:
    """Of the steps known.py alone does; the others are not steps: they write, change by hand, or
    look at the history.
    """
    writers = {"known", "commit", "leaving", "undo", "corrections.alias", "corrections.identities"}
    writers.add("dependence")
    naming = {
        name
        for module in modules()
        if module.__file__ is not None
        if re.search(r"\b(from|join|into|update) store\.\w", Path(module.__file__).read_text())
        for name in [module.__name__.removeprefix("profilectl.importing.")]
        if "from profilectl" not in name
    }
    lines = {
        name: [
            line
            for line in Path(str(importlib.import_module(f"profilectl.importing.{name}").__file__))
            .read_text()
            .splitlines()
            if re.search(r"\b(from|join|into|update) store\.\w", line)
        ]
        for name in naming
    }
    assert naming <= writers, {name: lines[name] for name in naming - writers}


CONFIGURATION = """
[outputs.lake]
type = "jsonl"
path = "lake.jsonl"
[connections.read]
feed = "reader"
output = "lake"
[connections.all]
feed = "app"
output = "lake"
[feeds.reader]
source = "custom-feed"
protection = "read-only"
[feeds.app]
source = "sdk"
[calculated.visits]
type = "count"
"""
EVENT = {
    "event_type": "custom_event",
    "data": {"event_name": "seen", "custom_event_type": "other", "timestamp_unixtime_ms": 1},
}
DEVICE = {"ios_idfv": "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"}
AHEAD_MS = 1_795_000_000_000


def batch(customer: str, email: str, **members: Any) -> dict[str, Any]:
    return {"user_identities": {"customer_id": customer, "email": email}, **members}


def consent(at_ms: int) -> dict[str, Any]:
    return {"gdpr": {"mail": {"consented": True, "timestamp_unixtime_ms": at_ms}}}


MANY = {f"attribute_{n}": str(n) for n in range(10)}
BATCHES = [
    batch("A", "a@x.com", user_attributes=MANY, events=[EVENT], device_info=DEVICE),
    batch("A", "b@x.com", source_request_id="r1", consent_state=consent(AHEAD_MS)),
    batch("A", "b@x.com", source_request_id="r1", deleted_user_attributes=["attribute_1", "other"]),
    batch("B", "null", user_attributes={"bad": {"nested": 1}, "tier": "gold"}),
    {"user_attributes": {"tier": "lost"}},
    *(batch(f"C{n}", "office@x.com", timestamp_unixtime_ms=1_700_000_000_000) for n in range(12)),
]
LATER = [
    batch("A", "z@x.com", user_attributes={"attribute_2": "other", "attribute_9": "other"}),
    {"mpid": 77, "user_identities": {"email": "office@x.com"}, "environment": "development"},
    batch("Z", "y@x.com", mpid=77, environment="development"),
    batch("A", "n@x.com", deleted_user_attributes=["attribute_9", "visits"]),
]


def write_lines(path: Path, batches: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in batches))


def succeed(folder: Path, *arguments: str) -> None:
    result = call(*arguments, folder=folder)
    assert result.exit_code in (0, 3), (arguments, result.output, result.exception)


def many_imports(folder: Path) -> None:
    """Make imports, dry runs and changes by hand that have everything an import can have."""
    (folder / "c.toml").write_text(CONFIGURATION)
    write_lines(folder / "batches.jsonl", BATCHES)
    write_lines(folder / "later.jsonl", LATER)
    (folder / "people.csv").write_text("customer_id,email,tier\nA,a@x.com,iron\nD,d@x.com,gold\n")
    (folder / "more.csv").write_text("customer_id,email,tier,visits\nE,a@x.com,tin,3\n,,,\n")
    write_lines(folder / "consent.jsonl", [batch("A", "a@x.com", consent_state=consent(5))])
    (folder / "turns.csv").write_text("customer_id,email\n,t@x.com\nT,t@x.com\n,t@x.com\n")
    succeed(folder, "config", "apply", "c.toml")
    succeed(folder, "import", "batches.jsonl", "--feed", "app", "--explain-rows", "rows.jsonl")
    for feed in ("app", "reader", "other"):
        for option in ("--dry-run", "--again"):
            succeed(folder, "import", "later.jsonl", "batches.jsonl", "--feed", feed, option)
    succeed(folder, "import", "people.csv", "more.csv", "--feed", "table", "--source", "csv")
    succeed(folder, "import", "turns.csv", "--feed", "table")
    succeed(folder, "import", "consent.jsonl", "--feed", "table")
    update = ("--feed", "table", "--protection", "update-only", "--again")
    succeed(folder, "import", "more.csv", *update)
    succeed(folder, "plan", "later.jsonl", "--feed", "planned", "-o", "one.plan")
    succeed(folder, "apply", "one.plan")
    succeed(folder, "set", "--customer-id", "D", "tier=silver")
    changes = ("--add", "email=new@x.com", "--remove", "email=d@x.com")
    succeed(folder, "modify", "--customer-id", "D", *changes)
    succeed(folder, "imports", "undo", "2", "--replay", "--yes")
    answered: list[Any] = []
    request = ImportRequest(
        [str(folder / "people.csv")], "table", again=True, outcomes=answered.append
    )
    import_files(folder / "profiles.duckdb", request)
    assert answered


def erased_imports(folder: Path) -> None:
    """Make imports of what somebody erased has."""
    (folder / "a.csv").write_text("customer_id,email\nA,a@x.com\nB,b@x.com\n")
    (folder / "b.csv").write_text("customer_id,email,mpid\nA,a@x.com,\nC,c@x.com,\nD,d@x.com,12\n")
    write_lines(
        folder / "bad.jsonl", [batch("A", "a@x.com", environment="nowhere"), batch("C", "c")]
    )
    succeed(folder, "import", "a.csv", "--feed", "f")
    succeed(folder, "forget", "--customer-id", "A", "--yes")
    succeed(folder, "import", "b.csv", "--feed", "f")
    succeed(folder, "import", "bad.jsonl", "--feed", "f")


def aliases(folder: Path) -> None:
    """Make an alias."""
    (folder / "a.csv").write_text("email,mpid\na@x.com,5\nb@x.com,6\n")
    succeed(folder, "import", "a.csv", "--feed", "f")
    succeed(folder, "alias", "--from=5", "--to=6")


def repeating(folder: Path) -> None:
    """Import few people with many rows, so that each text is hashed once."""
    (folder / "a.csv").write_text("email,tier\n" + "a@x.com,gold\n" * 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profilectl.importing.sift.MANY_ROWS", 0)
        succeed(folder, "import", "a.csv", "--feed", "f")


def passing(folder: Path) -> None:
    """Have identities move between profiles, by rows that the interpreter decides."""
    (folder / "c.toml").write_text(
        '[identity]\nstrategy = "conversion"\nlogin = ["customer_id"]\n'
        'unique = ["email", "customer_id"]\nimmutable = []\n'
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n'
        '[feeds.f]\nsource = "sdk"\n[connections.all]\nfeed = "f"\noutput = "lake"\n'
    )
    rows = [batch("A", "a@x.com"), batch("B", "a@x.com"), batch("A", "b@x.com", events=[EVENT])]
    rows += [batch("B", "b@x.com"), batch("A", "a@x.com"), batch("A", "c@x.com")]
    write_lines(folder / "a.jsonl", rows)
    write_lines(folder / "b.jsonl", rows[::-1])
    succeed(folder, "config", "apply", "c.toml")
    succeed(folder, "import", "a.jsonl", "--feed", "f")
    succeed(folder, "import", "b.jsonl", "--feed", "f", "--dry-run")
    succeed(folder, "import", "b.jsonl", "--feed", "f")


def clashing(folder: Path) -> None:
    """Name the MPID that another row would get."""
    (folder / "a.csv").write_text("email\na@x.com\n")
    succeed(folder, "import", "a.csv", "--feed", "f")
    scratch = Scratch(folder)
    with open_store(scratch, folder / "profiles.duckdb") as store:
        _, first_arrival = store.next_import()
        taken = mpid_for(store.meta("secret"), first_arrival + 1)
    scratch.close()
    (folder / "b.csv").write_text(f"email,mpid\nb@x.com,{taken}\nc@x.com,\n")
    succeed(folder, "import", "b.csv", "--feed", "f")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, str]]]:
    """Record the columns of every relation that is made through the list, and of the staged."""
    recorded: dict[str, list[dict[str, str]]] = {}

    def describe(scratch: Any, name: str) -> None:
        columns = {column: type_ for column, type_, *_ in scratch.rows(f"describe {name}")}
        if columns not in recorded.setdefault(name, []):
            recorded[name].append(columns)

    make, load, rename = ListedRelations.make, ListedRelations.load, ListedRelations.rename
    engine_make = Scratch.make

    def recording_make(
        self: Any, name: str, select: str, bound: Bound | None = None, **how: bool
    ) -> None:
        make(self, name, select, bound, **how)
        describe(self, name)

    def recording_load(self: Any, name: str, columns: Columns, rows: Any) -> None:
        load(self, name, columns, rows)
        describe(self, name)

    def recording_rename(self: Any, name: str, new: str) -> None:
        rename(self, name, new)
        describe(self, new)

    def recording_engine_make(
        self: Any, name: str, select: str, bound: Bound | None = None, **how: bool
    ) -> None:
        engine_make(self, name, select, bound, **how)
        if name in STAGED:
            describe(self, name)

    monkeypatch.setattr(ListedRelations, "make", recording_make)
    monkeypatch.setattr(ListedRelations, "load", recording_load)
    monkeypatch.setattr(ListedRelations, "rename", recording_rename)
    monkeypatch.setattr(Scratch, "make", recording_engine_make)
    return recorded


def misfits(name: str, columns: dict[str, str]) -> list[str]:
    """Return what of the columns of a relation is not as it is listed."""
    if name in ANY_SELECT:
        return []
    listed = dict(column.rsplit(" ", 1) for column in LISTED[name].columns.split(", "))
    wrong = []
    for column, type_ in columns.items():
        family = re.sub(r"^i_\w+$", "i_<type>", re.sub(r"^(\w)\d+$", r"\1<n>", column))
        expected = listed.get(column) or listed.get(f"{column}?") or listed.get(family)
        if type_ not in (expected or "").split("/"):
            wrong.append(f"{column} {type_}, listed: {expected}")
    needed = [column for column in listed if not column.endswith(("?", ">"))]
    return wrong + [f"no {column}" for column in needed if column not in columns]


def test_real_imports_make_what_is_listed_and_nothing_else(
    made: dict[str, list[dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilectl.importing.stage.staged.WIDE", 5)
    scenarios: list[Callable[[Path], None]] = [
        many_imports,
        erased_imports,
        aliases,
        repeating,
        passing,
        clashing,
    ]
    for scenario in scenarios:
        folder = tmp_path / scenario.__name__
        folder.mkdir()
        scenario(folder)
    wrong = {
        name: problems
        for name, shapes in made.items()
        for shape in shapes
        if (problems := misfits(name, shape))
    }
    assert not wrong
    assert sorted(LISTED.keys() - made.keys()) == []
