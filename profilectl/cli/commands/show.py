"""profilectl show: the activity view of one person."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from profilectl.cli.context import Context, options_of
from profilectl.cli.options import JsonOption, PickOption, WaitOption, names_of, with_options
from profilectl.cli.registry import command, option
from profilectl.cli.who import AnyPersonFlags, who_is_meant
from profilectl.codes import NobodyFound, UsageError, several_found
from profilectl.render.screen import SECTIONS

if TYPE_CHECKING:
    from profilectl.profiles.activity import Activity
    from profilectl.render.sections import View

EXAMPLE = "Example: profilectl show --email john.smith@example.com"
EXAMPLES = """
By an identity of one type
$ profilectl show --email john.smith@example.com

By any identity or MPID, with every value that each attribute has had
$ profilectl show JohnSmith911 --history

As it was after the import 1, as JSON
$ profilectl show JohnSmith911 --as-of 1 --json
"""
SectionName = enum.Enum("SectionName", names_of(SECTIONS), type=str)  # type: ignore[misc]
IN_JSON = ("devices", "consent", "attribution", "timeline")
"""The sections that the JSON document has only if --section names them."""
Profile = TypeVar("Profile")


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """The options of `profilectl show`."""

    person: AnyPersonFlags
    section: Annotated[
        list[SectionName] | None,
        option(
            "--section",
            help="Show only this panel; may be given several times.",
            show_default=False,
        ),
    ] = None
    history: Annotated[
        bool,
        option("--history", help="Show every value that each attribute has had."),
    ] = False
    batches: Annotated[
        int,
        option(
            "--batches",
            min=0,
            metavar="N",
            help="Show at most N batches of the timeline; 0 shows all.",
        ),
    ] = 10
    as_of: Annotated[
        str | None,
        option(
            "--as-of",
            metavar="IMPORT|TIME",
            help="Show the state after an import, or at a time.",
        ),
    ] = None
    pick: PickOption = None
    raw: Annotated[bool, option("--raw", help="Show long values in full, also on a terminal.")] = (
        False
    )
    save_svg: Annotated[
        Path | None, option("--save-svg", metavar="FILE", help="Save the view as a picture.")
    ] = None
    save_html: Annotated[
        Path | None, option("--save-html", metavar="FILE", help="Save the view as a page.")
    ] = None
    wait: WaitOption = 0
    as_json: JsonOption = False

    def sections(self) -> list[str]:
        """Return the sections to show; an empty list means all."""
        return [section.value for section in self.section or ()]

    def saves(self) -> bool:
        """Return whether the view is saved to a file."""
        return self.save_svg is not None or self.save_html is not None


@command("show", epilog=EXAMPLES)
@with_options(ShowOptions)
def show_command(context: Context, options: ShowOptions) -> None:
    """Show a person's profile, and where each value came from.

    The timeline has the batches that made it. VALUE is any identity or an MPID; an option such as
    --email is an identity of one type. Exits with 7 if nobody has it.
    """
    kind, value = who_is_meant(options.person, EXAMPLE)
    common = options_of(context)
    if options.as_json:
        if options.saves():
            raise UsageError(
                "--json goes without --save-svg and --save-html",
                "the picture is of what a person sees",
            )
        _print_json(common.store, kind, value, options=options)
        return
    from profilectl.reading.people import read_activities
    from profilectl.render import activity, screen
    from profilectl.render.sections import View as ActivityView

    activities = read_activities(
        common.store, kind, value, as_of=options.as_of, wait_s=options.wait
    )
    if not activities:
        raise NobodyFound.of(kind, value)
    if len(activities) > 1 and options.pick is None and options.saves():
        raise several_found(len(activities), kind, value, hint="--pick N chooses the one to save")
    view = ActivityView(
        now_ms=screen.now_ms(),
        sections=options.sections(),
        history=options.history,
        raw=options.raw,
        batches=options.batches,
    )
    chosen = _chosen(activities, options.pick, view)
    if chosen is None:
        return
    if not options.saves():
        activity.print_activity(chosen, view)
    for path, form in ((options.save_svg, "svg"), (options.save_html, "html")):
        if path is not None:
            activity.save(path, form, activity=chosen, view=view)
            if not common.quiet:
                screen.notice(f"the activity view is in {path}")


def _print_json(store: Path, kind: str, value: str, *, options: ShowOptions) -> None:
    """Print the profiles with an identity as JSON. Raises NobodyFound if there are none."""
    from json import dumps

    from profilectl.reading.people import read_profiles
    from profilectl.render import screen

    history = ["history"] if options.history else []
    profiles = read_profiles(
        store,
        kind,
        value,
        as_of=options.as_of,
        more=[*history, *(name for name in IN_JSON if name in options.sections())],
        wait_s=options.wait,
    )
    if profiles and options.pick is not None:
        profiles = [_nth(profiles, options.pick)]
    query = dumps({"type": kind, "value": value}, ensure_ascii=False)
    screen.print_text(f'{{"query": {query}, "profiles": [{", ".join(profiles)}]}}\n')
    if not profiles:
        raise NobodyFound.of(kind, value)


def _chosen(activities: list[Activity], pick: int | None, view: View) -> Activity | None:
    """Return the profile to show; None if there are several and nobody to ask which."""
    from profilectl.render import activity, screen

    if pick is not None:
        return _nth(activities, pick)
    if len(activities) == 1:
        return activities[0]
    activity.print_candidates(activities, view)
    count = len(activities)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        screen.notice(f"{count} profiles: --pick N shows one of them")
        return None
    from profilectl.cli.question import ask

    numbers = {str(number): person for number, person in enumerate(activities, 1)}
    while (number := ask(f"Which (1 to {count})")) not in numbers:
        screen.notice(f"a number from 1 to {count}")
    return numbers[number]


def _nth(profiles: list[Profile], pick: int) -> Profile:
    if not 1 <= pick <= len(profiles):
        there = "is one profile" if len(profiles) == 1 else f"are {len(profiles)} profiles"
        raise UsageError(f"--pick {pick}: there {there}")
    return profiles[pick - 1]
