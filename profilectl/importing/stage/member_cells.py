"""The checks of profilectl.rules.batch_members for columns, all rows at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from profilectl.rules.batch_fields import KEPT_FIELDS
from profilectl.rules.batch_members import MEMBERS, OBJECT, STRING, BatchMember
from profilectl.rules.sql.quoting import quote_text

Path = tuple[str, ...]


class MemberFault(NamedTuple):
    """A fault of a member of a batch."""

    condition: str
    """The SQL of whether a row has the fault."""
    detail: str
    """The message."""


def member_fault(columns: Sequence[tuple[str, str]], json: Collection[str] = ()) -> str | None:
    """Return the SQL of what is wrong with a row, null where nothing is; None: nothing can be.

    columns: the dotted name of each, and the SQL of its text, null for an empty cell. json: the
    names of those whose text is JSON, of a number, a boolean or a list.
    """
    texts = {tuple(name.split(".")): text for name, text in columns}
    faults = list(_members_of_scalars(texts))
    for member in MEMBERS:
        for path in _paths(member, texts):
            faults += _faults(member, path, texts, lists=".".join(path) in json)
    cases = " ".join(f"when {condition} then {quote_text(detail)}" for condition, detail in faults)
    return f"case {cases} end" if faults else None


def _members_of_scalars(texts: Mapping[Path, str]) -> Iterator[MemberFault]:
    """Yield the faults of columns that are members of a field that is no object."""
    for root in dict.fromkeys(path[0] for path in texts):
        if dict not in KEPT_FIELDS[root]:
            yield MemberFault(_any(texts, (root,)), f"{root} is an object")


def _paths(member: BatchMember, texts: Mapping[Path, str]) -> list[Path]:
    """Return the paths in a file that a rule is about.

    They are those of columns, and those that are missing beside columns.
    """
    steps = member.steps
    paths: dict[Path, None] = {}
    for path in texts:
        above = path[: len(steps) - 1]
        is_below = len(path) >= len(steps) and all(
            rule in ("*", step) for rule, step in zip(steps, above, strict=False)
        )
        if is_below and steps[-1] in ("*", path[len(steps) - 1]):
            paths[path[: len(steps)]] = None
        elif is_below and member.needed:
            paths[(*above, steps[-1])] = None
    return list(paths)


def _faults(
    member: BatchMember, path: Path, texts: Mapping[Path, str], *, lists: bool
) -> Iterator[MemberFault]:
    """Yield the faults that a row can have at one path. lists: the text may be a list."""
    name, cell, below = ".".join(path), texts.get(path), _any(texts, path)
    if cell:
        fits = _fits(member, cell, lists=lists)
        yield MemberFault(f"{cell} is not null and not {fits}", f"{name} {member.kind.must}")
    if member.kind is OBJECT:
        return
    if below:
        yield MemberFault(below, f"{name} {member.kind.must}")
    if member.needed:
        # It is missing only from an object that is there: where another member of it is filled.
        filled = [f"{cell} is null"] if cell else []
        filled += [f"not {below}"] if below else []
        absent = " and ".join(["true", *filled])
        yield MemberFault(f"{_any(texts, path[:-1])} and {absent}", f"{name} is missing")


def _fits(member: BatchMember, cell: str, *, lists: bool) -> str:
    """Return the condition that a cell has a text of the right kind."""
    if lists and member.kind is STRING:
        # The text is JSON: a list begins with a bracket, true and false with their letters.
        return f"left({cell}, 1) not in ('[', 't', 'f')"
    if not member.kind.cell:
        return "false"
    return f"regexp_full_match({cell}, {quote_text(member.kind.cell)})"


def _any(texts: Mapping[Path, str], above: Path) -> str:
    """Return the condition that any column below a path is filled, "" where there is none."""
    filled = [
        f"{text} is not null"
        for path, text in texts.items()
        if len(path) > len(above) and path[: len(above)] == above
    ]
    return f"({' or '.join(filled)})" if filled else ""
