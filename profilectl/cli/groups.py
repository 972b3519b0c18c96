"""Groups of commands whose first word may be left out."""

from __future__ import annotations

from typing import Any, ClassVar

from typer.core import TyperGroup

from profilectl.cli.wrong_usage import LEFT_OUT

VALUED = frozenset(("--store", "--workspace", "--store-key", "--suppression-key"))
"""The options of every command that have a value."""


class GroupWithDefault(TyperGroup):
    """A group whose default command is used if no command is named."""

    default: ClassVar[str]
    """The name of the default command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of words that name no command."""
        word = _behind_options(args)
        if args and word not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
            ctx.meta[LEFT_OUT] = True
        return super().parse_args(ctx, args)


def _behind_options(args: list[str]) -> str | None:
    """Return the word behind the options that every command has."""
    words = iter(args)
    for word in words:
        if word in VALUED:
            next(words, None)
        elif word not in ("--quiet", "-q", "--json") and word.partition("=")[0] not in VALUED:
            return word
    return None
