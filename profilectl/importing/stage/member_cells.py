"""The checks of profilectl.rules.batch_members for columns, all rows at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from profilectl.rules.batch import KEPT_FIELDS
from profilectl.rules.batch_members import MEMBERS, OBJECT, STRING, BatchMember
from profilectl.rules.sql.quoting import quote_text

Path = tuple[str, ...]


def member_fault(columns: Sequence[tuple[str, str]], json: Collection[str] = ()) -> str | None:
    """Return the SQL of what is wrong with a row, null where nothing is; None where nothing can be.

    columns: the dotted name of each, and the SQL of its text, null for an empty cell. json: of
    which the text is JSON, of a number, a boolean or a list.
    """
    texts = {tuple(name.split(".")): text for name, text in columns}
    faults = list(_roots(texts))
    for member in MEMBERS:
        for path in _paths(member, texts):
            faults += _faults(member, path, texts, lists=".".join(path) in json)
    return (
        f"case {' '.join(f'when {condition} then {quote_text(detail)}' for condition, detail in faults)} end"
        if faults
        else None
    )


def _roots(texts: Mapping[Path, str]) -> Iterator[tuple[str, str]]:
    """Return the faults of columns that are members of what is no object."""
    for root in dict.fromkeys(path[0] for path in texts):
        if dict not in KEPT_FIELDS[root]:
            yield _any(texts, (root,)), f"{root} is an object"


def _paths(member: BatchMember, texts: Mapping[Path, str]) -> list[Path]:
    """Return the paths in a file that a member stands for: those of its columns, and what is
    missing beside them.
    """
    steps = member.steps
    paths: dict[Path, None] = {}
    for path in texts:
        above = path[: len(steps) - 1]
        if len(path) >= len(steps) and all(
            rule in ("*", step) for rule, step in zip(steps, above, strict=False)
        ):
            if steps[-1] in ("*", path[len(steps) - 1]):
                paths[path[: len(steps)]] = None
            elif member.needed:
                paths[(*above, steps[-1])] = None
    return list(paths)


def _faults(
    member: BatchMember, path: Path, texts: Mapping[Path, str], *, lists: bool
) -> list[tuple[str, str]]:
    """Return (condition, what is wrong) for one path."""
    name, cell, below = ".".join(path), texts.get(path), _any(texts, path)
    faults = []
    if cell:
        fits = (
            f"regexp_full_match({cell}, {quote_text(member.kind.cell)})"
            if member.kind.cell
            else "false"
        )
        if lists and member.kind is STRING:
            fits = f"left({cell}, 1) not in ('[', 't', 'f')"
        faults.append((f"{cell} is not null and not {fits}", f"{name} {member.kind.must}"))
    if member.kind is not OBJECT:
        if below:
            faults.append((below, f"{name} {member.kind.must}"))
        if member.needed:
            absent = " and ".join(
                [
                    "true",
                    *([f"{cell} is null"] if cell else []),
                    *([f"not {below}"] if below else []),
                ]
            )
            faults.append((f"{_any(texts, path[:-1])} and {absent}", f"{name} is missing"))
    return faults


def _any(texts: Mapping[Path, str], above: Path) -> str:
    """Return the condition that any column below a path is filled, "" where there is none."""
    listed = [
        f"{text} is not null"
        for path, text in texts.items()
        if len(path) > len(above) and path[: len(above)] == above
    ]
    return f"({' or '.join(listed)})" if listed else ""
