"""What a command is at while it looks at a whole store, on a terminal.

Most commands are over before the line of progress would appear. So its modules are loaded only
where there is a terminal that can show it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from profilectl.cli.context import GlobalOptions
from profilectl.render import screen

if TYPE_CHECKING:
    from profilectl.render.progress.time_left import Mark

    Work = Sequence[Mark] | Callable[[], Sequence[Mark]] | str

Row = TypeVar("Row")


def is_seen(common: GlobalOptions) -> bool:
    """Return whether somebody sees how far a command is."""
    return not common.quiet and screen.redraws(sys.stderr)


def correcting() -> Sequence[Mark]:
    """Return the steps of a correction by hand: after it, what rests on the profile is new."""
    from profilectl.render.progress.works import REFRESH, one_step

    return [*one_step("correcting"), *REFRESH]


def working(common: GlobalOptions, marks: Work) -> contextlib.AbstractContextManager[object]:
    """Show how far a command is.

    marks: its steps, or what returns them where they are seen; or what it is at, if it has no
    steps whose time is known.
    """
    if not is_seen(common):
        return contextlib.nullcontext()
    from profilectl.render.progress.line import progress
    from profilectl.render.progress.works import one_step

    if callable(marks):
        marks = marks()
    return progress(one_step(marks) if isinstance(marks, str) else marks, quiet=False)


def working_until_rows(common: GlobalOptions, marks: Work, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows, and show how far a command is; until they come, if they go to the terminal."""
    with contextlib.ExitStack() as shown:
        shown.enter_context(working(common, marks))
        for place, row in enumerate(rows):
            if not place and sys.stdout.isatty():
                shown.close()
            yield row
