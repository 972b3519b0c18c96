"""profilectl show: one person, by any identity."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.who import option, who_is_meant, with_identities
from profilectl.codes import NobodyFound, UsageError
from profilectl.render.screen import SECTIONS

EXAMPLE = "Example: profilectl show --email john.smith@example.com"
SectionName = enum.Enum("SectionName", {name: name for name in SECTIONS}, type=str)  # type: ignore[misc]


def _show(context: typer.Context, **stated: Any) -> None:
    """Show a person's activity: the profile, each value with where it comes from, and the batches
    that made it.

    VALUE is looked for among all identities and MPIDs; an option such as --email among one type.
    Exits with 7 where nobody holds it.
    """
    kind, value = who_is_meant(stated, EXAMPLE)
    options = options_of(context)
    if stated["as_json"]:
        if stated["save_svg"] or stated["save_html"]:
            raise UsageError(
                "--json goes without --save-svg and --save-html",
                "the picture is of what a person sees",
            )
        _show_json(options.store, kind, value, stated)
        return
    from profilectl.reading.actions import read_activities
    from profilectl.render import activity
    from profilectl.render import screen as render_screen

    found = read_activities(
        options.store, kind, value, as_of=stated["as_of"], wait_s=stated["wait"]
    )
    if not found:
        raise NobodyFound(f"nobody has the {'identity or MPID' if kind == 'any' else kind} {value}")
    view = activity.View(
        render_screen.now_ms(),
        [one.value for one in stated["section"] or ()],
        stated["history"],
        stated["raw"],
        stated["batches"],
    )
    if len(found) > 1 and stated["pick"] is None and (stated["save_svg"] or stated["save_html"]):
        raise UsageError(
            f"{len(found)} profiles have the {'identity or MPID' if kind == 'any' else kind} {value}",
            "--pick N says which is to be saved",
        )
    one = _picked(found, stated["pick"], view)
    if one is None:
        return
    for path, form in ((stated["save_svg"], "svg"), (stated["save_html"], "html")):
        if path is not None:
            activity.save(path, form, one, view)
            if not options.quiet:
                render_screen.notice(f"the activity view is in {path}")
    if stated["save_svg"] is None and stated["save_html"] is None:
        activity.print_activity(one, view)


def _show_json(store: Path, kind: str, value: str, stated: dict[str, Any]) -> None:
    from json import dumps

    from profilectl.reading.actions import read_profiles
    from profilectl.render import screen as render_screen

    lines = read_profiles(
        store, kind, value, as_of=stated["as_of"], more=_more(stated), wait_s=stated["wait"]
    )
    if lines and stated["pick"] is not None:
        lines = [_nth(lines, stated["pick"])]
    query = dumps({"type": kind, "value": value}, ensure_ascii=False)
    render_screen.print_text(f'{{"query": {query}, "profiles": [{", ".join(lines)}]}}\n')
    if not lines:
        raise NobodyFound(f"nobody has the {'identity or MPID' if kind == 'any' else kind} {value}")


def _more(stated: dict[str, Any]) -> list[str]:
    """Return what the JSON document is to hold beyond the profile."""
    wanted = [one.value for one in stated["section"] or ()]
    return [
        *(["history"] if stated["history"] else []),
        *(name for name in ("devices", "consent", "attribution", "timeline") if name in wanted),
    ]


def _picked(found: list[Any], pick: int | None, view: Any) -> Any:
    """Return the profile that is meant; None where there are several and nobody is there to ask."""
    from profilectl.render import activity
    from profilectl.render import screen as render_screen

    if pick is not None:
        return _nth(found, pick)
    if len(found) == 1:
        return found[0]
    activity.print_candidates(found, view)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        render_screen.notice(f"{len(found)} profiles: --pick N shows one of them")
        return None
    while not 1 <= (wanted := typer.prompt("Which", type=int, err=True)) <= len(found):
        render_screen.notice(f"there are {len(found)} profiles")
    return found[wanted - 1]


def _nth(found: list[Any], pick: int) -> Any:
    if not 1 <= pick <= len(found):
        raise UsageError(
            f"--pick {pick}: there {'is one profile' if len(found) == 1 else f'are {len(found)} profiles'}"
        )
    return found[pick - 1]


app.command("show", epilog=EXAMPLE)(
    with_identities(
        _show,
        [
            option(
                "section",
                Annotated[
                    list[SectionName] | None,
                    typer.Option(
                        "--section",
                        help="Only this panel; may be given several times.",
                        show_default=False,
                    ),
                ],
                None,
            ),
            option(
                "history",
                Annotated[
                    bool,
                    typer.Option("--history", help="With every value that each attribute has had."),
                ],
                False,
            ),
            option(
                "batches",
                Annotated[
                    int,
                    typer.Option(
                        "--batches",
                        min=0,
                        metavar="N",
                        help="So many batches of the timeline; 0 for all.",
                    ),
                ],
                10,
            ),
            option(
                "as_of",
                Annotated[
                    str | None,
                    typer.Option(
                        "--as-of",
                        metavar="IMPORT|TIME",
                        help="The state after an import, or at a time.",
                    ),
                ],
                None,
            ),
            option(
                "pick",
                Annotated[
                    int | None,
                    typer.Option("--pick", metavar="N", help="Which of several profiles."),
                ],
                None,
            ),
            option(
                "raw",
                Annotated[
                    bool, typer.Option("--raw", help="Long values in full, also on a terminal.")
                ],
                False,
            ),
            option(
                "save_svg",
                Annotated[
                    Path | None, typer.Option("--save-svg", metavar="FILE", help="As a picture.")
                ],
                None,
            ),
            option(
                "save_html",
                Annotated[
                    Path | None, typer.Option("--save-html", metavar="FILE", help="As a page.")
                ],
                None,
            ),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
    )
)
