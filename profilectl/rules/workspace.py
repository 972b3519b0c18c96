"""The workspace of a command: one choice for the whole command, like the path of the store.

A store may hold several workspaces of an account in one identity scope. Profiles and identities are
the same in all of them. User attributes, consent, devices, events, calculated attributes and
audiences belong to one workspace each, and a command that reads them reads one workspace (domain.md
1, 2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from profilectl.codes import UsageError
from profilectl.rules.text.naming import no_such

_CHOSEN: ContextVar[str | None] = ContextVar("workspace", default=None)


def chosen_workspace() -> str | None:
    """Return the chosen workspace, or None if none was chosen."""
    return _CHOSEN.get()


def choose_workspace(name: str | None) -> None:
    """Choose a workspace from now on."""
    _CHOSEN.set(name)


@contextlib.contextmanager
def in_workspace(name: str | None) -> Iterator[None]:
    """Choose a workspace for a while; the choice before it holds again afterwards."""
    before = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(before)


def several_workspaces(there: Sequence[str]) -> UsageError:
    """Return the error that a command must choose one of several workspaces."""
    return UsageError(
        f"the store has several workspaces: {', '.join(there)}",
        f"say which is meant: --workspace {there[0]}",
    )


def no_workspace(name: str, there: Sequence[str]) -> UsageError:
    """Return the refusal of a workspace that does not exist; there: the workspaces there are."""
    return no_such("workspace", name, there)
