"""Which workspace is meant: one choice for a whole command, as the store's path is.

A store may hold several workspaces of an account in one identity scope. Profiles and identities are
the same in all of them; user attributes, consent, devices, events, calculated attributes and
audiences are each workspace's own (domain.md 1, 2). What reads those reads one workspace.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from profilectl.codes import UsageError
from profilectl.rules.text.naming import no_such

_CHOSEN: ContextVar[str | None] = ContextVar("workspace", default=None)


def chosen_workspace() -> str | None:
    """Return the workspace that is meant; None: nobody said."""
    return _CHOSEN.get()


def choose_workspace(name: str | None) -> None:
    """Say which workspace is meant from now on."""
    _CHOSEN.set(name)


@contextlib.contextmanager
def in_workspace(name: str | None) -> Iterator[None]:
    """Mean a workspace, and then again what was meant before."""
    before = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(before)


def several_workspaces(there: Sequence[str]) -> UsageError:
    """Return the question which of several workspaces is meant."""
    return UsageError(
        f"the store has several workspaces: {', '.join(there)}",
        f"say which is meant: --workspace {there[0]}",
    )


def no_workspace(name: str, there: Sequence[str]) -> UsageError:
    """Return what is said of a workspace that there is not."""
    return no_such("workspace", name, there)
