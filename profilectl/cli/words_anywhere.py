"""What Typer's commands take beside their own words.

The options of every command may stand behind it, --json may stand before it, and an MPID may begin
with a minus.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import typer
import typer.main

from profilectl.cli.context import CommonValues, Context
from profilectl.cli.ends import helped_by
from profilectl.cli.everywhere import (
    EverywhereOptions,
    QuietOption,
    StoreKeyOption,
    StoreOption,
    SuppressionKeyOption,
    WorkspaceOption,
)
from profilectl.cli.options import JsonOption
from profilectl.cli.registry import FromTyper
from profilectl.cli.typer_words import described
from profilectl.cli.wrong_usage import telling_plainly
from profilectl.codes import UsageError

NEGATIVE = re.compile("-[0-9]+")
"""A word that is no option, though it begins with a minus: half of the MPIDs are negative."""
AS_JSON = "profilectl.as_json"
"""The key, among what Typer's contexts share, of whether --json stands before the command."""
PREFIX = "everywhere_"
"""What stands before the names of the parameters that every command has."""
NAMES = tuple(EverywhereOptions.__dataclass_fields__)


def _everywhere(
    context: Context,
    everywhere_store: StoreOption = None,
    everywhere_workspace: WorkspaceOption = None,
    everywhere_store_key: StoreKeyOption = None,
    everywhere_suppression_key: SuppressionKeyOption = None,
    everywhere_quiet: QuietOption = False,
    everywhere_as_json: JsonOption = False,
) -> None:
    """Have the options of every command."""


@functools.cache
def _parameters() -> FromTyper:
    """Return the parameters that every command has, as Typer has them."""
    alone = typer.Typer(add_completion=False)
    alone.command()(described(_everywhere))
    return typer.main.get_command(alone).params


def take_everywhere(command: FromTyper, name: str) -> None:
    """Let a command take the options of every command, --json before it, and negative MPIDs.

    name: what a message calls it.
    """
    as_json = next((param.name for param in command.params if "--json" in param.opts), None)
    command.params += [param for param in _parameters() if "--json" not in param.opts]
    if any(param.param_type_name == "argument" for param in command.params):
        command.make_parser = _taking_negatives(command.make_parser)
    parse, invoke = command.parse_args, command.invoke

    def parse_args(ctx: FromTyper, args: list[str]) -> FromTyper:
        with telling_plainly(ctx):
            remaining = parse(ctx, args)
        _take_values(ctx)
        if ctx.meta.get(AS_JSON) and not ctx.resilient_parsing:
            if as_json is None:
                raise UsageError(
                    f"profilectl {name} has no --json",
                    f"profilectl {name} --help shows its options",
                )
            ctx.params[as_json] = True
        return remaining

    def run(ctx: FromTyper) -> FromTyper:
        with helped_by(name.split()):
            ctx.obj = ctx.obj.chosen()
            return invoke(ctx)

    command.parse_args, command.invoke = parse_args, run


def take_between(group: FromTyper) -> None:
    """Let a group of commands take the options of every command before the name of one."""
    group.params += _parameters()
    parse = group.parse_args

    def parse_args(ctx: FromTyper, args: list[str]) -> FromTyper:
        with telling_plainly(ctx):
            remaining = parse(ctx, args)
        _take_values(ctx)
        return remaining

    group.parse_args = parse_args


def _take_values(ctx: FromTyper) -> None:
    """Take the options of every command out of a context's values, over those before it."""
    root = ctx.find_root().params
    before = {name: root.get(name) for name in NAMES}
    earlier = ctx.obj if isinstance(ctx.obj, CommonValues) else _values(before)
    ctx.obj = _values({name: ctx.params.pop(PREFIX + name, None) for name in NAMES}).over(earlier)
    if ctx.params.pop(PREFIX + "as_json", False) or root.get("as_json"):
        ctx.meta[AS_JSON] = True


def _values(values: dict[str, FromTyper]) -> CommonValues:
    return CommonValues(**{**values, "quiet": bool(values["quiet"])})


def _taking_negatives(
    make_parser: Callable[[FromTyper], FromTyper],
) -> Callable[[FromTyper], FromTyper]:
    """Return what makes a parser that takes negative numbers as words."""

    def make(ctx: FromTyper) -> FromTyper:
        parser = make_parser(ctx)
        process = parser._process_opts  # noqa: SLF001 - Typer has no public place for it

        def process_word(word: str, state: FromTyper) -> None:
            if NEGATIVE.fullmatch(word):
                state.largs.append(word)
            else:
                process(word, state)

        parser._process_opts = process_word  # noqa: SLF001
        return parser

    return make
