"""A name that nobody has: one answer, whatever it names and wherever it was typed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from profilectl.codes import UsageError

FEW = 12
"""So many names are listed; of more only the nearest are told."""
NEAREST = 3
ALIKE = 0.6
"""How much of a name must be alike for it to be told as near."""


def no_such(
    what: str, name: object, known: Iterable[object], *, option: str = "", lists: str = ""
) -> UsageError:
    """Return the refusal of a name that nobody has, with the nearest names there are.

    what: the kind of thing, with no article; known: the names there are; option: what it was typed
    behind; lists: the command that lists them.
    """
    there = list(dict.fromkeys(map(str, known)))
    before = f"{option} {name}: " if option else ""
    alone = "" if there else ", and no other"
    return UsageError(f"{before}there is no {what} {name}{alone}", advice(str(name), there, lists))


def advice(name: str, there: Sequence[str], lists: str = "") -> str:
    """Return what to try instead of a name: those most like it, else all, where they are few."""
    near = nearest(name, there)
    few = f"one of {', '.join(there)}" if there and len(there) <= FEW else ""
    told = " or ".join(near) or few
    return "; ".join(filter(None, (told, f"{lists} lists them" if lists else "")))


def nearest(name: str, there: Sequence[str]) -> list[str]:
    """Return the names that are most like a name, upper and lower case alike, the nearest first."""
    folded: dict[str, list[str]] = {}
    for one in there:
        folded.setdefault(one.casefold(), []).append(one)
    close = difflib.get_close_matches(name.casefold(), folded, NEAREST, ALIKE)
    return [one for key in close for one in folded[key]][:NEAREST]
