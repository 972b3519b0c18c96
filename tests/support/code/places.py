"""What counts: each function here returns the places in the code that a measure counts."""

import ast
import builtins
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from support.code.glued import is_sql, joined_text
from support.code.source import Function, Module, Place, Tree, is_text

RETIRED = re.compile(
    r"\b(such a one|so many|whoever|whatever|of whom|others than before|be it|stands for|is told"
    r"|is said|of its own accord|says? whether)\b",
    re.IGNORECASE,
)
ALIAS = re.compile(r"\bas one\b|\bone\.\w")

# fmt: off
# Calls in which several positions are the usual form: the builtins, and these.
POSITIONAL = frozenset(vars(builtins)) | frozenset([
    "pack", "pack_into", "date", "datetime", "time", "timedelta", "timezone", "Path", "joinpath",
    "add_row", "namedtuple", "partial", "log", "debug", "info", "warning", "error",
])
# fmt: on


def folders(tree: Tree) -> Counter[str]:
    """Return how many modules each folder has; `__init__.py` is not counted."""
    return Counter(
        str(Path(module.name).parent)
        for module in tree.modules
        if Path(module.name).name != "__init__.py"
    )


def long_files(tree: Tree) -> list[Place]:
    """Return the files over 600 lines."""
    return [
        Place(module.name, 1, f"{len(module.lines)} lines")
        for module in tree.modules
        if len(module.lines) > 600
    ]


def code_in_init(tree: Tree) -> list[Place]:
    """Return each `__init__.py` with more than a docstring; the package's lazy door may have it."""
    return [
        Place(module.name, 1, f"{len(module.lines)} lines with code")
        for module in tree.modules
        if module.name.endswith("__init__.py") and module.name != "profilectl/__init__.py"
        if any(
            not (isinstance(node, ast.Expr) and is_text(node.value)) for node in module.tree.body
        )
    ]


def long_functions(most: int) -> Callable[[Tree], list[Place]]:
    """Return what finds the functions over `most` lines."""
    return lambda tree: [
        _length_of(module, function)
        for module in tree.modules
        for function in module.functions
        if function.length > most
    ]


def without_reason(tree: Tree) -> list[Place]:
    """Return the functions over 45 lines without `# NN lines: reason` above them."""
    return [
        _length_of(module, function)
        for module in tree.modules
        for function in module.functions
        if function.length > 45 and not function.has_reason
    ]


def _length_of(module: Module, function: Function) -> Place:
    return module.place(function.node, f"{function.node.name} has {function.length} lines")


def wide_lines(tree: Tree) -> list[Place]:
    """Return the lines over 100 characters."""
    return [
        Place(module.name, number, f"{len(line)} characters")
        for module in tree.modules
        for number, line in enumerate(module.lines, 1)
        if len(line) > 100
    ]


def complex_functions(tree: Tree) -> list[Place]:
    """Return the functions whose cyclomatic complexity is over 10 (ruff C901)."""
    return [place for place in tree.complexity if "C901" in place.what and _number_in(place) > 10]


def branching(tree: Tree) -> list[Place]:
    """Return the functions with more than 10 branches (ruff PLR0912)."""
    return [place for place in tree.complexity if "PLR0912" in place.what]


def _number_in(place: Place) -> int:
    return int(place.what.rpartition("(")[2].split()[0])


def complexities(tree: Tree) -> list[int]:
    """Return the cyclomatic complexity of each function."""
    return [_number_in(place) for place in tree.complexity if "C901" in place.what]


def comments(tree: Tree) -> list[Place]:
    """Return the comments."""
    return [place for module in tree.modules for place in module.comments]


def vague_names(tree: Tree) -> list[Place]:
    """Return the bound names that say nothing."""
    return [place for module in tree.modules for place in module.vague]


def vague_files(tree: Tree) -> list[Place]:
    """Return the files of at least 30 bound names in which over 3 % say nothing."""
    return [
        Place(module.name, 1, f"{len(module.vague)} of {len(module.bound)} names say nothing")
        for module in tree.modules
        if len(module.bound) >= 30 and len(module.vague) > 0.03 * len(module.bound)
    ]


def vague_aliases(tree: Tree) -> list[Place]:
    """Return the texts of SQL in which a row is called `one`."""
    return [
        module.place(node, "a row is called one")
        for module in tree.modules
        for node in _texts(module)
        if (text := joined_text(node, module)) and ALIAS.search(text) and is_sql(text)
    ]


def retired_in_messages(tree: Tree) -> list[Place]:
    """Return the retired words in texts that are no SQL: messages and help."""
    return [
        module.place(node, word.group())
        for module in tree.modules
        for node in _texts(module)
        if (text := joined_text(node, module)) and " " in text and not is_sql(text)
        for word in RETIRED.finditer(text)
    ]


def _texts(module: Module) -> list[ast.Constant | ast.JoinedStr]:
    """Return the texts, each f-string once; docstrings are left out."""
    pieces = {
        id(inner)
        for node in module.nodes
        if isinstance(node, ast.JoinedStr | ast.Expr)
        for inner in ast.iter_child_nodes(node)
        if is_text(inner)
    }
    return [
        node
        for node in module.nodes
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and is_text(node))
        if id(node) not in pieces
    ]


def repeated_classes(tree: Tree) -> list[Place]:
    """Return the class names that several modules define."""
    modules_of: dict[str, list[Place]] = defaultdict(list)
    for module in tree.modules:
        for node in module.classes:
            modules_of[node.name].append(module.place(node, node.name))
    return [
        places[0]._replace(what=f"{name} is in {', '.join(place.path for place in places)}")
        for name, places in modules_of.items()
        if len({place.path for place in places}) > 1
    ]


def anys(tree: Tree) -> list[Place]:
    """Return the uses of Any."""
    return [
        module.place(node, "Any")
        for module in tree.modules
        for node in module.nodes
        if isinstance(node, ast.Name) and node.id == "Any"
    ]


def wide_tuples(tree: Tree) -> list[Place]:
    """Return the functions whose answer has a tuple of three or more in it."""
    return [
        module.place(function.node, f"{function.node.name} -> {ast.unparse(function.node.returns)}")
        for module in tree.modules
        for function in module.functions
        if function.node.returns is not None
        and any(_is_wide_tuple(node) for node in ast.walk(function.node.returns))
    ]


def _is_wide_tuple(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)):
        return False
    return (
        isinstance(node.value, ast.Name) and node.value.id == "tuple" and len(node.slice.elts) > 2
    )


def positional_calls(tree: Tree) -> list[Place]:
    """Return the calls with more than three arguments by position, `*arguments` aside.

    Calls of builtins and of POSITIONAL are not counted, nor the rows of tables of rules, which
    stand between `# fmt: off` and `# fmt: on`. Nor are calls of functions that take any number.
    """
    usual = POSITIONAL | _variadic(tree)
    return [
        module.place(node, ast.unparse(node.func)[:60] + f"(): {number} by position")
        for module in tree.modules
        for node in module.nodes
        if isinstance(node, ast.Call) and _called(node.func) not in usual
        if node.lineno not in module.tables
        if (number := sum(not isinstance(argument, ast.Starred) for argument in node.args)) > 3
    ]


def _variadic(tree: Tree) -> set[str]:
    """Return the names of functions that take any number of arguments, wherever defined."""
    functions = [function.node for module in tree.modules for function in module.functions]
    limited = {function.name for function in functions if function.args.vararg is None}
    return {function.name for function in functions} - limited


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def busy_constructors(tree: Tree) -> list[Place]:
    """Return the constructors that do more than assign and check.

    That is: a loop, a `with` or `try`, a call of a method of their own, or a call for its effect.
    """
    return [
        module.place(function.node, "a constructor that does more than assign")
        for module in tree.modules
        for function in module.functions
        if function.node.name in {"__init__", "__post_init__"}
        and any(_is_work(node) for node in ast.walk(function.node))
    ]


def _is_work(node: ast.AST) -> bool:
    match node:
        case ast.For() | ast.While() | ast.With() | ast.Try():
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"))):
            return True
        case ast.Expr(value=ast.Call(func=func)):
            return not ast.unparse(func).endswith(("__init__", "__post_init__", "__setattr__"))
    return False


def bare_fields(tree: Tree) -> list[Place]:
    """Return the fields of dataclasses and named tuples without a sentence under them."""
    return [
        module.place(node, f"{owner.name}.{ast.unparse(node.target)}")
        for module in tree.modules
        for owner in module.classes
        if any("dataclass" in ast.unparse(line) for line in owner.decorator_list)
        or any("NamedTuple" in ast.unparse(base) for base in owner.bases)
        for node, below in zip(owner.body, [*owner.body[1:], ast.Pass()], strict=True)
        if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
        if not (isinstance(below, ast.Expr) and is_text(below.value))
        and not _is_option(node.annotation)
    ]


def _is_option(annotation: ast.expr) -> bool:
    """Return whether a field is an option of a command: its help is its sentence."""
    text = ast.unparse(annotation)
    names = ("Option", "Options", "Argument", "Flags")
    return (
        "typer." in text or bool(re.search(r"\b(option|argument)\(", text)) or text.endswith(names)
    )


def bare_functions(tree: Tree) -> list[Place]:
    """Return the public functions, and public methods of public classes, without a docstring."""
    return [
        module.place(node, f"{node.name} has no docstring")
        for module in tree.modules
        for body in [
            module.tree.body,
            *(
                node.body
                for node in module.tree.body
                if isinstance(node, ast.ClassDef)
                if node.name[0] != "_"
            ),
        ]
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        if ast.get_docstring(node) is None
        and not any(_called(line) in {"overload", "setter"} for line in node.decorator_list)
    ]


def retired_words(tree: Tree) -> list[Place]:
    """Return the retired words in docstrings and comments; "what X is" no script can tell."""
    return [
        Place(module.name, prose.line + prose.what[: word.start()].count("\n"), word.group())
        for module in tree.modules
        for prose in (*module.prose, *module.comments)
        for word in RETIRED.finditer(re.sub(r"\s", " ", prose.what))
    ]


def imports_of_tests(tree: Tree) -> list[Place]:
    """Return the imports of one test file by another."""
    return [
        module.place(node, f"imports {name}")
        for module in tree.modules
        for node in module.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in {getattr(node, "module", None), *(alias.name for alias in node.names)}
        if name and name.rpartition(".")[2].startswith("test_") and isinstance(node, ast.stmt)
        if isinstance(node, ast.Import) or name == node.module
    ]
