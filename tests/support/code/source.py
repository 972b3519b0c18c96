"""The modules that are measured: their text, tree, functions, comments and names."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

# fmt: off
VAGUE = frozenset([
    "one", "found", "stated", "asked", "meant", "known", "told", "kept", "held", "rest", "said",
    "given", "taken", "wanted", "gone", "left", "seen", "made", "done", "got", "put", "other",
    "others", "thing", "things", "first", "last", "which", "who", "where", "whom", "so", "now",
])
# fmt: on
REASON = re.compile(r"# \d+ lines: \S")
DIRECTIVE = re.compile(r"#\s*(noqa|type:|fmt:|ruff:|mypy:|pragma|!)")


class Place(NamedTuple):
    """A place in the code that a measure counts."""

    path: str
    """The file, from the root."""
    line: int
    """Its line, from 1."""
    what: str
    """What stands there."""


class Function(NamedTuple):
    """A function or method, and how long it is."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    """Its definition."""
    length: int
    """Its lines from `def` to the end, without the docstring and the decorators."""
    has_reason: bool
    """Whether `# NN lines: reason` stands above it."""


@dataclass(frozen=True)
class Module:
    """One file of Python."""

    path: Path
    """Where it is."""
    name: str
    """How it is shown: its path from the root."""

    @cached_property
    def text(self) -> str:
        """Return what the file holds."""
        return self.path.read_text()

    @cached_property
    def lines(self) -> list[str]:
        """Return its lines."""
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        """Return its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Return every node of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """Return the classes, nested ones too."""
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]

    @cached_property
    def functions(self) -> list[Function]:
        """Return the functions and methods, nested ones too."""
        definitions = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [self._function(node) for node in self.nodes if isinstance(node, definitions)]

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if ast.get_docstring(node, clean=False) is not None:
            length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
        starts = {
            node.lineno,
            min((line.lineno for line in node.decorator_list), default=node.lineno),
        }
        return Function(node, length, any(map(self._has_reason_above, starts)))

    def _has_reason_above(self, line: int) -> bool:
        for above in range(line - 2, -1, -1):
            text = self.lines[above].strip()
            if not text.startswith("#"):
                return False
            if REASON.match(text):
                return True
        return False

    @cached_property
    def comments(self) -> list[Place]:
        """Return the comments, but those that speak to a tool."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [
            Place(self.name, token.start[0], token.string)
            for token in tokens
            if token.type == tokenize.COMMENT and not DIRECTIVE.match(token.string)
        ]

    @cached_property
    def prose(self) -> list[Place]:
        """Return the docstrings, and the sentences under fields."""
        return [
            Place(self.name, node.lineno, node.value.value)
            for node in self.nodes
            if isinstance(node, ast.Expr) and is_text(node.value)
        ]

    @cached_property
    def bound(self) -> list[Place]:
        """Return the names bound to values: not functions, classes, imports, `self` and `cls`, and
        not the members of a class ...Json: they are keys of documents, which scripts rest on.
        """
        keys = {
            id(member.target)
            for node in self.nodes
            if isinstance(node, ast.ClassDef) and node.name.endswith("Json")
            for member in node.body
            if isinstance(member, ast.AnnAssign)
        }
        names = [
            Place(self.name, node.lineno, name)
            for node in self.nodes
            if id(node) not in keys and (name := _bound_name(node)) is not None
        ]
        return [place for place in names if place.what not in {"self", "cls", "_"}]

    @cached_property
    def vague(self) -> list[Place]:
        """Return the bound names that say nothing (VAGUE)."""
        return [place for place in self.bound if place.what.strip("_").lower() in VAGUE]

    @cached_property
    def tables(self) -> set[int]:
        """Return the lines between `# fmt: off` and `# fmt: on`: tables of rules."""
        lines = set()
        inside = False
        for number, line in enumerate(self.lines, 1):
            inside = (inside or line.strip() == "# fmt: off") and line.strip() != "# fmt: on"
            if inside:
                lines.add(number)
        return lines

    @cached_property
    def constants(self) -> dict[str, str]:
        """Return the texts that the module gives a name, by name."""
        return {
            target.id: node.value.value
            for node in self.tree.body
            if isinstance(node, ast.Assign) and is_text(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def place(self, node: ast.stmt | ast.expr | ast.arg, what: str) -> Place:
        """Return the place of a node."""
        return Place(self.name, node.lineno, what)


@dataclass
class Tree:
    """The modules that are measured together."""

    folder: Path
    """The root, from which the paths of modules are shown."""
    modules: list[Module] = field(default_factory=list)
    """The modules, in the order of their paths."""

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines of all modules."""
        return [line for module in self.modules for line in module.lines]

    @cached_property
    def lengths(self) -> list[int]:
        """Return the lengths of all functions, in lines."""
        return [function.length for module in self.modules for function in module.functions]

    @cached_property
    def widths(self) -> list[int]:
        """Return the lengths of all lines that are not empty, in characters."""
        return [len(line) for line in self.lines if line.strip()]

    @cached_property
    def complexity(self) -> list[Place]:
        """Return every function with its complexity and its branches, as ruff counts them."""
        if not self.modules:
            return []
        options = ["lint.mccabe.max-complexity=0", "lint.pylint.max-branches=10"]
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero"]
        command += ["--ignore-noqa", "--select", "C901,PLR0912", "--output-format", "json"]
        command += [argument for option in options for argument in ("--config", option)]
        command += [str(module.path) for module in self.modules]
        answer = subprocess.run(command, capture_output=True, check=True, text=True)
        return [
            Place(
                str(Path(finding["filename"]).relative_to(self.folder)),
                finding["location"]["row"],
                f"{finding['code']} {finding['message']}",
            )
            for finding in json.loads(answer.stdout)
        ]


def read_tree(folder: Path, paths: Sequence[Path]) -> Tree:
    """Return the modules at and below `paths`."""
    files = {
        file.resolve()
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*.py"))
    }
    folder = folder.resolve()
    return Tree(folder, [Module(file, str(file.relative_to(folder))) for file in sorted(files)])


def is_text(node: ast.AST | None) -> bool:
    """Return whether a node is a text without holes."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _bound_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return node.name
    return None
