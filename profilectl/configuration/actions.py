"""The configuration of a store, as commands use it: apply a file, change keys, write it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from profilectl.audiences.outgoing.identity_traces import has_traces, leave_no_trace
from profilectl.audiences.refresh import refresh_once_done
from profilectl.codes import StoreBusy
from profilectl.configuration.declared import Declared, declared_by
from profilectl.configuration.difference import (
    ConfigurationChange,
    apply_config,
    difference,
    losses,
)
from profilectl.configuration.edit import edited, without
from profilectl.configuration.stated import read_config
from profilectl.configuration.toml_text import config_text
from profilectl.store.definitions import has_unfilled
from profilectl.store.feeds import open_feeds
from profilectl.store.opening import open_store, store_in_memory
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore

Declare = Callable[[OpenStore], Declared]
"""Returns the configuration that a store is to have. Raises InputRefused, UsageError."""
OneChange = ConfigurationChange
Changes = Sequence[OneChange]
"""What changes, as the commands print it."""
Agreed = Changes | None
"""The losses that were agreed to; None: all."""


def apply_file(
    path: Path,
    file: Path,
    *,
    prune: bool = False,
    dry_run: bool = False,
    agreed: Agreed = None,
    wait_s: float = 0,
) -> list[ConfigurationChange]:
    """Apply a configuration file; return the changes, or with dry_run those that it would make.

    prune: remove what the file does not state. Raises InputRefused, StoreBusy, StoreUnusable; then
    the store is as before.
    """
    statement = read_config(file)
    return _change(
        path,
        lambda store: declared_by(store, statement, prune=prune),
        dry_run=dry_run,
        agreed=agreed,
        wait_s=wait_s,
    )


def set_keys(
    path: Path,
    assignments: Sequence[str],
    *,
    dry_run: bool = False,
    agreed: Agreed = None,
    wait_s: float = 0,
) -> list[ConfigurationChange]:
    """Set keys of the configuration, each as KEY=VALUE; return the changes.

    Raises UsageError for a wrong key or value, InputRefused where what they come to cannot be.
    """
    return _change(
        path,
        lambda store: declared_by(store, edited(store, assignments), prune=True),
        dry_run=dry_run,
        agreed=agreed,
        wait_s=wait_s,
    )


def unset_keys(
    path: Path,
    keys: Sequence[str],
    *,
    dry_run: bool = False,
    agreed: Agreed = None,
    wait_s: float = 0,
) -> list[ConfigurationChange]:
    """Take keys out of the configuration; return the changes.

    Raises UsageError for a key that is not there, InputRefused where what stays cannot be.
    """
    return _change(
        path,
        lambda store: declared_by(store, without(store, keys), prune=True),
        dry_run=dry_run,
        agreed=agreed,
        wait_s=wait_s,
    )


def _change(
    path: Path, declare: Declare, *, dry_run: bool, agreed: Agreed = None, wait_s: float
) -> list[ConfigurationChange]:
    """Change the configuration of a store, which is made if there is none."""
    if not path.exists():
        # Before a store is made: a configuration that is refused leaves none behind.
        with scratch_beside(path.absolute()) as scratch, store_in_memory(scratch, path) as store:
            changes = difference(store, declare(store))
        if dry_run:
            return changes
    with open_feeds(path, wait_s, write=not dry_run) as store:
        declared = declare(store)
        changes = difference(store, declared)
        if dry_run:
            return changes
        _check_agreed(path, changes, agreed)
        apply_config(store, declared)
        changed = any(change.name.startswith(("calculated.", "audiences.")) for change in changes)
        defined = changed or has_unfilled(store)
        traces = has_traces(store)
    _follow(path, defined=defined, traces=traces, wait_s=wait_s)
    return changes


def _check_agreed(path: Path, changes: Sequence[ConfigurationChange], agreed: Agreed) -> None:
    """Check that nothing goes but what was agreed to. Raises StoreBusy."""
    if agreed is None:
        return
    names = {change.name for change in agreed}
    more = [change.name for change in losses(changes) if change.name not in names]
    if more:
        raise StoreBusy(
            f"{path} was changed meanwhile: {', '.join(more)} would go too", "run it again"
        )


def _follow(path: Path, *, defined: bool, traces: bool, wait_s: float) -> None:
    """Do what follows a change: compute definitions, and remove what is left of the erased."""
    if defined:
        refresh_once_done(path, "the configuration is applied", wait_s=wait_s)
    # A message that was to remove an erased person went with its output or its audience, but the
    # bytes of the identities are still in the file (identity_traces.py).
    if traces:
        with (
            scratch_beside(path.absolute()) as scratch,
            open_store(scratch, path, write=True, wait_s=max(wait_s, 10)) as store,
        ):
            leave_no_trace(store)


def export_text(path: Path, *, wait_s: float = 0) -> str:
    """Return the configuration as TOML."""
    with open_feeds(path, wait_s) as store:
        return config_text(store)
