"""The answer to a name that nothing has, in one wording wherever the name was typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from profilectl.codes import UsageError
from profilectl.rules.text.terminal import visible

FEW = 12
"""Up to this many names are all listed; of more, only the nearest are."""
NEAREST = 3
"""The most names that are suggested."""
ALIKE = 0.6
"""The share of a name that must be alike for it to be suggested (1: all of it)."""
LONGEST = 200
"""The characters of a name up to which names like it are looked for."""
MOST = 2_000
"""The most names that are compared letter by letter, which takes 20 microseconds each; a store may
have a million attributes.
"""


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
    return UsageError(
        visible(f"{before}there is no {what} {name}{alone}"), advice(str(name), there, lists)
    )


def advice(name: str, there: Sequence[str], lists: str = "") -> str:
    """Return what to try instead of a name: the names most like it, else all if they are few.

    there: the names there are. lists: the command that lists them.
    """
    near = nearest(name, there)
    few = f"one of {visible(', '.join(there))}" if there and len(there) <= FEW else ""
    suggestion = " or ".join(near) or few
    return "; ".join(filter(None, (suggestion, f"{lists} lists them" if lists else "")))


def nearest(name: str, there: Sequence[str]) -> list[str]:
    """Return the names most like a name, the nearest first, safe to print on a terminal.

    Upper and lower case are alike. Of very many names, those that begin or end alike are looked at.
    """
    import difflib

    sought = name.casefold()
    if len(sought) > LONGEST:
        return []
    folded: dict[str, list[str]] = {}
    for candidate in _likely(sought, there):
        folded.setdefault(candidate.casefold(), []).append(candidate)
    close = difflib.get_close_matches(sought, folded, n=NEAREST, cutoff=ALIKE)
    return [visible(candidate) for key in close for candidate in folded[key]][:NEAREST]


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question behind a message that nothing has a name; "" where none is like it.

    names: the names most like it (nearest).
    """
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _likely(sought: str, there: Sequence[str]) -> Sequence[str]:
    """Return those names that may be like a folded name, MOST at most."""
    # Of two names whose lengths differ more, no share of ALIKE can be the same.
    least, most = len(sought) * ALIKE / (2 - ALIKE), len(sought) * (2 - ALIKE) / ALIKE
    fitting = [candidate for candidate in there if least <= len(candidate) <= most]
    if len(fitting) <= MOST:
        return fitting
    begin, end = sought[:2], sought[-2:]
    ends = [
        candidate
        for candidate in fitting
        if candidate[:2].casefold() == begin or candidate[-2:].casefold() == end
    ]
    if len(ends) > MOST:
        both = [
            candidate
            for candidate in ends
            if candidate[:2].casefold() == begin and candidate[-2:].casefold() == end
        ]
        ends = sorted(both or ends, key=lambda candidate: abs(len(candidate) - len(sought)))
    return ends[:MOST]


def instead(name: object, names: Iterable[object], otherwise: str) -> str:
    """Return what to try instead of a name: the names most like it, and what there is."""
    near = nearest(str(name), list(map(str, names)))
    return f"{' or '.join(near)}; {otherwise}" if near else otherwise
