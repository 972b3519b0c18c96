"""Shell completion from the store: feeds, workspaces, imports, attribute keys, identity types.

A completion never fails and never waits.

The values of a store come from strangers, and a shell reads a completion as program text: zsh when
TAB is pressed, bash at Enter. So only texts without a special meaning in any shell are offered.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from profilectl.cli.context import DEFAULT_STORE, CommonValues
from profilectl.cli.registry import FromTyper

_PART = r"[\w.@+-]+"
INERT = re.compile(f"(?!-){_PART}(,{_PART})*=?")
"""Texts that are inert in every shell: letters, digits and _ . @ + -, with commas between several,
and an = at the end if a value follows.
"""
OPTION = re.compile("--?[a-zA-Z0-9-]+")
_READ = {"`": "", "$": "", "\\": "", '"': "", "!": ".", "'": "\u2019"}
"""The characters with a meaning between double quotes, where zsh gets the help, and substitutes."""


def inert(complete: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return a completion that offers only the inert texts of another completion."""

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


def commands(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the words that name a command, behind `help`."""
    from profilectl.cli.pages import IDENTITIES

    command: FromTyper = ctx.find_root().command
    words = ctx.params.get("words") or []
    for word in words:
        command = command.get_command(ctx, word) if hasattr(command, "list_commands") else None
    names = command.list_commands(ctx) if hasattr(command, "list_commands") else []
    topics = [] if words else [IDENTITIES]
    return [name for name in (*names, *topics) if name.startswith(incomplete)]


def fields(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last name of a list with commas."""
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


def _names(ctx: typer.Context, kind: str) -> Iterator[str]:
    """Yield the names of a kind in the store, such as "feeds"; none if it cannot be read."""
    with contextlib.suppress(Exception):
        from profilectl.reading.actions import names_in

        values = ctx.obj if isinstance(ctx.obj, CommonValues) else None
        store = (values and values.store) or ctx.find_root().params.get("store")
        yield from names_in(
            Path(store or os.environ.get("PROFILECTL_STORE") or DEFAULT_STORE), kind
        )
