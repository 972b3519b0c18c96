"""The shape of the code: what may import what, what a command loads, where tables may be aligned by
hand.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.places import ROOT

PACKAGE = ROOT / "profilectl"
PARSERS = {"rules/criteria/grammar.py"}
"""The rules that read a language, with lark."""
RULE_TABLES = {
    "audiences/outgoing/messages",
    "audiences/sql/calculated_rows_sql",
    "cli/command_list",
    "codes",
    "importing/columns/suggestions",
    "importing/entangled",
    "importing/plans/plan",
    "importing/plans/plan_form",
    "importing/relations",
    "importing/request",
    "importing/sift",
    "importing/stage/parquet/types",
    "importing/stage/source/files",
    "importing/tally",
    "outputs/packing",
    "outputs/platform",
    "outputs/uid2/operator",
    "outputs/uid2/rule",
    "privacy/mentions",
    "rules/audience",
    "rules/batch_fields",
    "rules/batch_limits",
    "rules/batch_members",
    "rules/calculated",
    "rules/criteria/operators",
    "rules/criteria/grammar",
    "rules/criteria/toml",
    "rules/criteria/tree",
    "rules/device",
    "rules/event/event",
    "rules/event/field",
    "rules/feed",
    "rules/flat_row",
    "rules/identity",
    "rules/leaving/audience_connection",
    "rules/leaving/connection",
    "rules/leaving/enrichment",
    "rules/leaving/exported_line",
    "rules/leaving/output",
    "rules/priority",
    "rules/reimport",
    "rules/settings",
    "rules/text/casing",
    "rules/text/presence",
    "rules/text/terminal",
    "schemas/catalog",
    "server/answer",
    "server/idsync/requests",
    "store/catalog",
    "store/segments",
}
"""The modules whose tables are aligned by hand."""
ACTIONS = {
    "audiences.actions",
    "audiences.calculated_actions",
    "audiences.download",
    "audiences.unknown_names",
    "audiences.removal",
    "configuration.actions",
    "importing.columns.run",
    "importing.corrections.alias",
    "importing.corrections.as_import",
    "importing.corrections.attributes",
    "importing.corrections.correction",
    "importing.corrections.identities",
    "importing.plans.plan",
    "importing.request",
    "importing.run",
    "importing.undo",
    "outputs.delivery.letters",
    "outputs.delivery.parcel",
    "outputs.delivery.run",
    "outputs.enrich",
    "outputs.platform",
    "outputs.push.run",
    "outputs.push.sending",
    "outputs.uid2.operator",
    "outputs.uid2.run",
    "privacy.forget",
    "privacy.requests",
    "privacy.retention",
    "profiles.activity",
    "reading.actions",
    "reading.backups",
    "reading.exporting.export",
    "reading.lookup",
    "reading.people",
    "reading.search",
    "reading.stream",
    "reading.upkeep",
    "reading.usage",
    "server.credentials",
    "server.peers",
    "server.run",
    "store.feeds",
    "store.store_key",
}
"""What a command may import of the packages that work on a store: each opens it, does one thing and
closes it again, or is the request for that.
"""
BELOW_ACTIONS = ("cli", "codes", "files", "render", "rules", "schemas", "version")
"""The packages that every command may import."""
MOST_MODULES = 24
"""The most modules of one folder."""
MOST_LINES = 600
"""The most lines of one file."""

# Runs the command line in this process, then prints which modules were loaded.
LOADED = """
import json, sys
from profilectl.cli.app import main
try:
    main()
except SystemExit as end:
    sys.stdout.flush()
    print("\\n" + json.dumps({"exit": end.code, "modules": sorted(sys.modules)}))
"""


def loaded(*arguments: str, cwd: Path) -> tuple[int, set[str]]:
    """Return the exit status of a command and the modules it loaded."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout.splitlines()[-1])
    return document["exit"] or 0, set(document["modules"])


def test_imports_point_one_way() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rule_files() -> list[str]:
    """Return the files of the rules, as paths below the package."""
    return sorted(
        path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "rules").rglob("*.py")
    )


@pytest.mark.parametrize("file", ["codes.py", *rule_files()])
def test_rules_import_the_standard_library_codes_and_themselves(file: str) -> None:
    parsers = {"lark", "lark.exceptions"} if file in PARSERS else set()
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            modules = [str(node.module)]
        for module in modules:
            allowed = (
                module in ("profilectl.codes", *parsers)
                or module.startswith("profilectl.rules")
                or module.partition(".")[0] in sys.stdlib_module_names - {"sqlite3"}
            )
            assert allowed, f"{file}:{node.lineno} imports {module}"


def test_a_command_calls_actions_only() -> None:
    beyond = set()
    for path in (PACKAGE / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("profilectl."):
                name = module.removeprefix("profilectl.")
                if name.partition(".")[0] not in BELOW_ACTIONS and name not in ACTIONS:
                    beyond.add(f"{path.name} imports {name}")
    assert beyond == set()


def test_no_folder_has_more_modules_than_a_reader_takes_in() -> None:
    modules = Counter(path.parent for path in PACKAGE.rglob("*.py"))
    assert {folder.name: count for folder, count in modules.items() if count > MOST_MODULES} == {}


def test_no_file_is_longer_than_a_reader_takes_in() -> None:
    lines = {path: path.read_text("utf-8").count("\n") for path in PACKAGE.rglob("*.py")}
    assert {path.name: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_each_package_opens_with_one_sentence_and_no_code() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree), path
        assert path.parent == PACKAGE or len(tree.body) == 1, f"code in {path}"


def test_every_module_of_the_package_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("import", "--help"),
        ("show", "--help"),
        ("export", "profiles", "--help"),
        ("feeds", "--help"),
        ("push", "--help"),
    ],
)
def test_help_loads_no_engine(arguments: tuple[str, ...], tmp_path: Path) -> None:
    status, modules = loaded(*arguments, cwd=tmp_path)
    assert status == 0
    assert not modules & {"duckdb", "pyarrow", "numpy", "pandas", "httpx", "asyncio"}


def test_the_version_is_told_without_drawing(tmp_path: Path) -> None:
    status, modules = loaded("--version", cwd=tmp_path)
    assert status == 0
    assert not modules & {"duckdb", "pyarrow", "rich.console"}


def test_only_serve_loads_the_server(tmp_path: Path) -> None:
    for arguments in (("serve", "--help"), ("credentials", "new", "api.toml"), ("stats",)):
        _, modules = loaded(*arguments, cwd=tmp_path)
        assert not modules & {"fastapi", "uvicorn", "starlette"}


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Return a folder with a store of one profile."""
    (tmp_path / "one.jsonl").write_text('{"email": "ann@example.com", "tier": "gold"}\n')
    status, _ = loaded("--quiet", "import", "one.jsonl", "--feed", "f", cwd=tmp_path)
    assert status == 0
    return tmp_path


@pytest.mark.parametrize(
    ("form", "not_loaded"), [((), set[str]()), (("--json",), {"rich.console"})]
)
def test_show_loads_no_pyarrow(form: tuple[str, ...], not_loaded: set[str], imported: Path) -> None:
    status, modules = loaded("show", "--email", "ann@example.com", *form, cwd=imported)
    assert status == 0
    assert not modules & {"pyarrow", "numpy", "pandas", *not_loaded}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "browse --help",
        "search ann",
        "show ann@example.com",
        "explain ann@example.com",
        "imports list",
        "stats",
    ],
)
def test_only_browse_loads_the_application(command: str, imported: Path) -> None:
    status, modules = loaded(*command.split(), cwd=imported)
    assert status == 0
    assert "textual" not in modules


def test_tables_are_aligned_by_hand_in_rule_modules_only() -> None:
    aligned = {path for path in PACKAGE.rglob("*.py") if "# fmt: off" in path.read_text("utf-8")}
    assert {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in aligned} <= RULE_TABLES


def test_what_is_not_python_is_in_the_package() -> None:
    assert (PACKAGE / "store" / "schema.sql").is_file()
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "schemas" / "published" / "import.json").is_file()
