"""The shape of the code: what may import what, what a command loads, where tables may be aligned by
hand.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT

PACKAGE = ROOT / "profilectl"
PARSERS = {"rules/event/condition.py", "rules/criteria/text.py"}
"""The rules that read a language, with lark."""
RULE_TABLES = {
    "codes",
    "configuration",
    "importing/sift",
    "importing/stage/parquet/types",
    "importing/stage/source/files",
    "outputs/packing",
    "outputs/platform",
    "outputs/uid2/operator",
    "outputs/uid2/rule",
    "privacy/mentions",
    "rules/audience",
    "rules/batch",
    "rules/batch_members",
    "rules/calculated",
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
    "rules/text/casing",
    "rules/text/presence",
    "rules/text/retry_after",
    "server/answer",
    "server/idsync/requests",
}
"""The modules whose tables are aligned by hand."""
MOST_MODULES = 24
"""The most modules of one folder."""
MOST_LINES = 600
"""The most lines of one file."""

# Runs the command line in this process, then prints which modules were loaded.
LOADED = """
import json, sys
from profilectl.cli import main
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


@pytest.mark.parametrize("module", DOMAIN)
def test_the_domain_imports_the_standard_library_and_itself(module: str) -> None:
    allowed = {
        *sys.stdlib_module_names,
        *(f"profilectl.{name}" for name in DOMAIN),
        *PARSERS.get(module, ()),
    } - {"sqlite3"}
    path = PACKAGE / module.replace(".", "/")
    tree = ast.parse(
        (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")
    )
    for node in (one for one in ast.walk(tree) if isinstance(one, ast.stmt)):
        names = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}.py:{node.lineno}: a relative import"
            names = (
                [f"profilectl.{one.name}" for one in node.names]
                if node.module == "profilectl"
                else [str(node.module)]
            )
        for name in names:
            known = name if name.startswith("profilectl") else name.partition(".")[0]
            assert known in allowed, f"{module}.py:{node.lineno} imports {name}"


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
    found = {path for path in PACKAGE.rglob("*.py") if "# fmt: off" in path.read_text("utf-8")}
    assert {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in found} <= RULE_MODULES


def test_what_is_not_python_is_in_the_package() -> None:
    assert (PACKAGE / "schema.sql").is_file()
    assert (PACKAGE / "py.typed").is_file()
