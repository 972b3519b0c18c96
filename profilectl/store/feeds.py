"""The feeds of a store, as commands list, register and change them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.feed import ACCOUNT, DEFAULT_WORKSPACE, Feed, no_feed
from profilectl.store.opening import open_beside
from profilectl.store.store import OpenStore, choose_feed


@contextlib.contextmanager
def open_feeds(path: Path, wait_s: float, *, write: bool = False) -> Iterator[OpenStore]:
    """Open a store for its feeds; with `write`, it is made if there is none."""
    with open_beside(path, wait_s=wait_s, write=write, create=write) as store:
        yield store


def feeds_of(path: Path, *, wait_s: float = 0) -> list[dict[str, Any]]:
    """Return the feeds as `feeds list --json` prints them."""
    with open_feeds(path, wait_s) as store:
        imports, readings = store.imports_by_feed(), store.readings()
        return [
            {
                "name": feed.name,
                "source": feed.source,
                "protection": feed.protection,
                "partner": feed.partner,
                "workspace": None if feed.source == ACCOUNT else feed.workspace,
                "environment": None,
                "imports": imports.get(feed.number, 0),
                "reading": readings.get(feed.name, {}),
            }
            for feed in store.feeds()
        ]


def feed_of(path: Path, name: str, *, wait_s: float = 0) -> dict[str, Any]:
    """Return one feed. Raises UsageError if there is none of that name."""
    for feed in feeds_of(path, wait_s=wait_s):
        if feed["name"] == name:
            return feed
    raise no_feed(name, [feed["name"] for feed in feeds_of(path, wait_s=wait_s)])


def add_feed(
    path: Path, name: str, source: str, protection: str, partner: str | None, *, wait_s: float = 0
) -> None:
    """Register a feed. Raises InputRefused if the name is taken, UsageError for wrong options."""
    if partner and source != "partner":
        raise UsageError("--partner goes with --source partner")
    if not name.strip():
        raise UsageError("a feed needs a name")
    with open_feeds(path, wait_s, write=True) as store:
        if store.feed(name):
            raise InputRefused(
                f"the feed {name} is registered already", f"profilectl feeds set {name} changes it"
            )
        if source == ACCOUNT and store.workspace:
            raise UsageError(
                "an account feed belongs to no workspace: every one has its attributes",
                "leave --workspace out",
            )
        with store.transaction():
            store.put_feed(
                Feed(
                    name=name,
                    source=source,
                    protection=protection,
                    partner=partner,
                    workspace=store.workspace or DEFAULT_WORKSPACE,
                )
            )


def set_feed(
    path: Path,
    name: str,
    protection: str | None,
    source: str | None,
    partner: str | None,
    *,
    wait_s: float = 0,
) -> str:
    """Change a feed's protection level; return the level in force.

    Raises UsageError if there is no such feed, InputRefused if source or partner differ.
    """
    # Opening it for writing would make a store, in which there is no feed to change.
    if not path.exists():
        raise no_feed(name, [])
    with open_feeds(path, wait_s, write=True) as store:
        feed = store.feed(name)
        if feed is None:
            raise no_feed(name, [feed.name for feed in store.feeds()])
        choose_feed(
            feed,
            name,
            source=source,
            protection=protection,
            partner=partner,
            workspace=store.workspace,
        )
        level = protection or feed.protection
        with store.transaction():
            store.put_feed(replace(feed, protection=level))
        return level
