"""What the shell completes from the store: feeds, workspaces, imports, attribute keys, identity types. Never fails, never waits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import typer


def feeds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a feed."""
    return sorted(name for name in _names(ctx, "feeds") if name.startswith(incomplete))


def workspaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a workspace."""
    return sorted(name for name in _names(ctx, "workspaces") if name.startswith(incomplete))


def imports(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the number of an import."""
    return [number for number in _names(ctx, "imports") if number.startswith(incomplete)]


def imports_in_force(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the number of an import that is not undone."""
    return [number for number in _names(ctx, "imports in force") if number.startswith(incomplete)]


def keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an attribute key."""
    return sorted(name for name in _names(ctx, "keys") if name.startswith(incomplete))


def assignments(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the key of KEY=VALUE."""
    return [f"{name}=" for name in keys(ctx, incomplete)] if "=" not in incomplete else []


def fields(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of several names that commas separate."""
    done, comma, last = incomplete.rpartition(",")
    return [done + comma + name for name in sorted({*_names(ctx, "keys"), *types(ctx, last)}) if name.startswith(last)]


def types(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an identity type."""
    from profilectl.identity import TYPES

    return [kind.name for kind in TYPES if kind.name.startswith(incomplete)]


def typed(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the type of TYPE=VALUE."""
    return [f"{name}=" for name in types(ctx, incomplete)] if "=" not in incomplete else []


def _names(ctx: typer.Context, what: str) -> Iterator[str]:
    with contextlib.suppress(Exception):
        from profilectl.read import names_in

        root = ctx.find_root()
        store = root.params.get("store") or os.environ.get("PROFILECTL_STORE") or "profiles.duckdb"
        yield from names_in(Path(store), what)
