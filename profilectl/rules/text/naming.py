"""The answer to a name that nothing has, in one wording wherever the name was typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from profilectl.codes import UsageError

FEW = 12
"""Up to this many names are all listed; of more, only the nearest are."""
NEAREST = 3
"""The most names that are suggested."""
ALIKE = 0.6
"""The share of a name that must be alike for it to be suggested (1: all of it)."""


def no_such(
    what: str, name: object, names: Iterable[object], *, option: str = "", lists: str = ""
) -> UsageError:
    """Return the refusal of a name that nothing has, with the nearest names there are.

    what: the kind of thing, without an article. names: the names there are. option: the option it
    was typed behind. lists: the command that lists the names.
    """
    there = list(dict.fromkeys(map(str, names)))
    before = f"{option} {name}: " if option else ""
    alone = "" if there else ", and no other"
    return UsageError(f"{before}there is no {what} {name}{alone}", advice(str(name), there, lists))


def advice(name: str, there: Sequence[str], lists: str = "") -> str:
    """Return what to try instead of a name: the names most like it, else all if they are few.

    there: the names there are. lists: the command that lists them.
    """
    near = nearest(name, there)
    few = f"one of {', '.join(there)}" if there and len(there) <= FEW else ""
    suggestion = " or ".join(near) or few
    return "; ".join(filter(None, (suggestion, f"{lists} lists them" if lists else "")))


def nearest(name: str, there: Sequence[str]) -> list[str]:
    """Return the names most like a name, the nearest first; upper and lower case are alike."""
    import difflib

    folded: dict[str, list[str]] = {}
    for candidate in there:
        folded.setdefault(candidate.casefold(), []).append(candidate)
    close = difflib.get_close_matches(name.casefold(), folded, n=NEAREST, cutoff=ALIKE)
    return [candidate for key in close for candidate in folded[key]][:NEAREST]
