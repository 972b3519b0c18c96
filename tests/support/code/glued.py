"""SQL that is put together as text: where it stands."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from support.code.source import Module, Place, Tree, is_text

# Text is SQL when it begins like a statement or a clause of one, or has a mark of one inside.
# English begins with "with" and "from" too, so these count only with what follows them in SQL.
SQL = re.compile(
    r"""^[\s(]*(
        select\s | insert\s+into\s | update\s+\S+\s+set\s | delete\s+from\s
        | copy\s*\( | copy\s+\S+\s+to\s | attach\s | pragma\s
        | (create|drop|alter)\s+(or\s+replace\s+)?(temp\s+|temporary\s+)?
          (table|view|macro|index|type)\s
        | with\s+(recursive\s+)?\S+\s*(\([^)]*\)\s*)?as\s
        | where\s.*([=<>]|\s(in|is|like)\s) | (and|or)\s.*([=<>]|\s(in|is|not|like)\s)
        | (left|inner|cross|semi|anti|asof|full|right)\s+join\s | join\s+\S+\s+(using|on|as)\s
        | (order|group)\s+by\s | union\s+(all\s+)?(by\s+name\s+)?select | case\s+when\s
        | from\s+(\(|\{\}|read_|store\.|[\w.{}]+\s*$|[\w.{}]+\s+(as|where|join|order|group|left)\s)
        | (not\s+)?exists\s*\(
    ) | \b(
        select\s[^.]*\sfrom\s | insert\s+into\s | delete\s+from\s | order\s+by\s | group\s+by\s
        | union\s+all\s | case\s+when\s | is\s+(not\s+)?null\b | is\s+(not\s+)?distinct\s+from
        | \sas\s+\w+\s+from\s | not\s+exists\s*\( | from\s+\(\s*(select|values)
        | (coalesce|unnest|list_\w+|struct_\w+|json_\w+|string_agg|map_\w+|regexp_\w+)\(
        | (try_cast|cast)\(
    )""",
    re.VERBOSE | re.DOTALL,
)

HOLE = re.compile(r"\{([a-z_]+)\}")
"""A hole of a template of SQL."""


class Glued(NamedTuple):
    """A text put together from pieces."""

    text: str
    """The text, with {} where a value goes in."""
    holes: int
    """How many values go in; the list of columns of a constant statement is not counted."""


def is_sql(text: str) -> bool:
    """Return whether a text is SQL, or a piece of it, all in lower or all in upper case."""
    return bool(SQL.search(text) or SQL.search(text.swapcase()))


def sql(tree: Tree) -> list[Place]:
    """Return the statements of SQL, and pieces of them, that values are put into as text.

    An f-string, texts joined with `+` or `+=`, and `.format` count. A constant whose only hole is
    `{columns}` does not. Texts side by side, without an operator, are one text.
    """
    return [place for module in tree.modules for place in _glued_of(module, module.tree)]


def filled(tree: Tree) -> list[Place]:
    """Return the named templates of SQL that get more than a list of columns.

    `SqlTemplate` and `fill` put names of relations and expressions into a constant. `sql` does not
    count them: the constant is whole, and has a name.
    """
    return [
        module.place(node, " ".join(ast.unparse(node).split())[:60])
        for module in tree.modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _fills_more_than_columns(node)
    ]


def _fills_more_than_columns(node: ast.Call) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="SqlTemplate"), args=[ast.Constant(value=str(text))]):
            return bool(set(HOLE.findall(text)) - {"columns"})
        case ast.Call(func=ast.Name(id="fill"), keywords=keywords):
            return bool({keyword.arg for keyword in keywords} - {"columns"})
    return False


def _glued_of(module: Module, node: ast.AST) -> Iterator[Place]:
    glued = _glue(node, module)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        added = _glue(node.value, module)
        glued = added and added._replace(holes=1)
    if glued is not None and glued.holes and is_sql(glued.text):
        assert isinstance(node, ast.expr | ast.stmt)
        yield module.place(node, " ".join(glued.text.split())[:60])
        children = list(_holes(node))
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _glued_of(module, child)


def _glue(node: ast.AST, module: Module) -> Glued | None:
    match node:
        case ast.Constant(value=str(text)):
            return Glued(text, 0)
        case ast.Name(id=name) if name in module.constants:
            return Glued(module.constants[name], 0)
        case ast.JoinedStr(values=values):
            pieces = [_glue(value, module) if is_text(value) else None for value in values]
            return _joined(pieces)
        case ast.BinOp(left=start, op=ast.Add(), right=end):
            return _joined([_glue(start, module), _glue(end, module)])
        case ast.Call(func=ast.Attribute(value=value, attr="format"), args=args, keywords=keywords):
            text = _glue(value, module)
            names = {keyword.arg for keyword in keywords} - {"columns"}
            return text and text._replace(holes=text.holes + len(args) + len(names))
    return None


def joined_text(node: ast.AST, module: Module) -> str | None:
    """Return the text that a node makes, with {} for what goes in; None if it makes none."""
    glued = _glue(node, module)
    return glued and glued.text


def _joined(pieces: list[Glued | None]) -> Glued | None:
    if not any(pieces):
        return None
    text = "".join(piece.text if piece else "{}" for piece in pieces)
    return Glued(text, sum(piece.holes if piece else 1 for piece in pieces))


def _holes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the expressions that are put into a text."""
    match node:
        case ast.JoinedStr(values=values):
            yield from (value.value for value in values if isinstance(value, ast.FormattedValue))
        case ast.BinOp(left=start, right=end):
            yield from (*_holes(start), *_holes(end))
        case ast.AugAssign(value=value):
            yield from _holes(value)
        case ast.Call(args=args, keywords=keywords):
            yield from (*args, *(keyword.value for keyword in keywords))
        case ast.expr():
            yield node
