"""Shell completion from the store: feeds, audiences, outputs, events, imports, attributes, keys.

The columns of a file come from the file that the line names already.

A completion never fails, and never waits for long.

The values of a store come from strangers, and a shell reads a completion as program text: zsh when
TAB is pressed, bash at Enter. So only texts without a special meaning in any shell are offered, and
blanks, before which bash gets a backslash: zsh and fish put one there themselves.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from profilectl.cli.context import DEFAULT_STORE, CommonValues
from profilectl.cli.registry import FromTyper

WITHIN_S = 1.0
"""How long a store is read for the names in it."""
_PART = r"[\w.@+-]+(?: [\w.@+-]+)*"
INERT = re.compile(f"(?!-){_PART}(,{_PART})*=?")
"""Texts that are inert in every shell: letters, digits and _ . @ + -, with single blanks within and
commas between several, and an = at the end if a value follows.
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
            if " " in offer.value and _is_bare_in_bash():
                offer.value = offer.value.replace(" ", "\\ ")
            if offer.help:
                offer.help = " ".join(
                    "".join(_READ.get(character, character) for character in offer.help).split()
                )
        return offers

    return offered


def _is_bare_in_bash() -> bool:
    """Return whether bash completes a word that stands in no quotes."""
    if "complete_bash" not in (
        value for name, value in os.environ.items() if name.endswith("_COMPLETE")
    ):
        return False
    try:
        shlex.split(os.environ.get("COMP_WORDS", ""))
    except ValueError:  # a quote that is not closed yet
        return False
    return True


def feeds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a feed."""
    return _beginning(ctx, "feeds", incomplete)


def partners(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a partner that a feed has."""
    return _beginning(ctx, "partners", incomplete)


def workspaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a workspace."""
    return _beginning(ctx, "workspaces", incomplete)


def audiences(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of an audience."""
    return _beginning(ctx, "audiences", incomplete)


def calculated(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a calculated attribute."""
    return _beginning(ctx, "calculated", incomplete)


def outputs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of an output."""
    return _beginning(ctx, "outputs", incomplete)


def events(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of an event."""
    return _beginning(ctx, "events", incomplete)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the key of KEY=VALUE of the configuration."""
    if "=" in incomplete:
        return []
    return [f"{name}=" for name in _beginning(ctx, "settings", incomplete)]


def stated_settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a key that the configuration states."""
    return _beginning(ctx, "stated settings", incomplete)


def imports(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the number of an import, with its feed and its day as help."""
    return _numbers(ctx, "imports", incomplete)


def imports_in_force(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the number of an import that is not undone, with its feed and its day as help."""
    return _numbers(ctx, "imports in force", incomplete)


def _numbers(ctx: typer.Context, kind: str, incomplete: str) -> list[tuple[str, str]]:
    parted = (name.partition(" ") for name in _names(ctx, kind))
    return [(number, about) for number, _, about in parted if number.startswith(incomplete)]


def columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the column of COLUMN=FIELD, of the files that the line names already."""
    if "=" in incomplete:
        return []
    names: dict[str, None] = {}
    with contextlib.suppress(Exception):
        from profilectl.files.column_names import column_names

        for path in _files(ctx):
            names.update(dict.fromkeys(column_names(path)))
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def _files(ctx: typer.Context) -> Iterator[Path]:
    """Yield the files among the words before the one that is completed."""
    # A line whose last option has no value yet is not read to its end: its words are in args.
    words: list[object] = [*ctx.args]
    for value in ctx.params.values():
        words += value if isinstance(value, list | tuple) else [value]
    for word in words:
        if isinstance(word, str | Path) and Path(word).is_file():
            yield Path(word)


def keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an attribute key."""
    return _beginning(ctx, "keys", incomplete)


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


def _beginning(ctx: typer.Context, kind: str, incomplete: str) -> list[str]:
    """Return the names of a kind that begin so, in order."""
    return sorted({name for name in _names(ctx, kind) if name.startswith(incomplete)})


def _names(ctx: typer.Context, kind: str) -> Iterator[str]:
    """Yield the names of a kind in the store, such as "feeds"; none if it cannot be read."""
    # What is interrupted because it takes long looks like Ctrl-C.
    with contextlib.suppress(Exception, KeyboardInterrupt):
        from profilectl.reading.actions import names_in

        values = ctx.obj if isinstance(ctx.obj, CommonValues) else None
        store = (values and values.store) or ctx.find_root().params.get("store")
        yield from names_in(
            Path(store or os.environ.get("PROFILECTL_STORE") or DEFAULT_STORE),
            kind,
            within_s=WITHIN_S,
        )
