"""What the shell completes from the store: feeds, workspaces, imports, attribute keys, identity
types. Never fails, never waits.

What a store holds comes from strangers, and shells read a completion as a piece of a program: zsh
when TAB is pressed, bash with Enter. So nothing is offered but what means itself in every shell.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

_PART = r"[\w.@+-]+"
INERT = re.compile(f"(?!-){_PART}(,{_PART})*=?")
"""Letters, digits, _ . @ + -: what no shell reads anything into; several with commas, and = where a
value follows.
"""
OPTION = re.compile("--?[a-zA-Z0-9-]+")
_READ = {"`": "", "$": "", "\\": "", '"': "", "!": ".", "'": "\u2019"}
"""What a shell reads in a text between double quotes, as zsh is given the help beside a value."""


def inert(complete: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return a completion of a parameter, or of a command's own names, that offers what is inert
    alone.
    """

    def offered(ctx: typer.Context, incomplete: str) -> list[Any]:
        offers = [
            offer
            for offer in complete(ctx, incomplete)
            if INERT.fullmatch(offer.value)
            or (OPTION.fullmatch(offer.value) and incomplete.startswith("-"))
        ]
        for offer in offers:
            if offer.help:
                offer.help = " ".join(
                    "".join(_READ.get(character, character) for character in offer.help).split()
                )
        return offers

    return offered


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
    before, comma, word = incomplete.rpartition(",")
    return [
        before + comma + name
        for name in sorted({*_names(ctx, "keys"), *types(ctx, word)})
        if name.startswith(word)
    ]


def types(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an identity type."""
    from profilectl.rules.identity import TYPES

    return [kind.name for kind in TYPES if kind.name.startswith(incomplete)]


def typed(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the type of TYPE=VALUE."""
    return [f"{name}=" for name in types(ctx, incomplete)] if "=" not in incomplete else []


def _names(ctx: typer.Context, what: str) -> Iterator[str]:
    with contextlib.suppress(Exception):
        from profilectl.reading.actions import names_in

        root = ctx.find_root()
        store = root.params.get("store") or os.environ.get("PROFILECTL_STORE") or "profiles.duckdb"
        yield from names_in(Path(store), what)
