"""The question before what cannot be taken back. Every command that needs a yes asks it here.

A person at a terminal is shown what would be lost, and asked. Where nobody can answer (a script, a
pipe, CI) the command ends before it changes anything, and names --yes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from profilectl.codes import Declined, UsageError

NO_CI = frozenset(("", "0", "false"))
"""Values of the variable CI that do not mean a run without a person."""
ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}
"""What is an answer to a question of yes or no, in small letters."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a command would take away for good."""

    show: Callable[[], None]
    """Prints it on stderr, with counts."""
    question: str
    """The question, which y or n answers."""
    act: str
    """What the command does, for the message that nobody can be asked."""
    unchanged: str
    """What the message says after n, such as "nothing was erased"."""


def loss_of(name: str, counts: Mapping[str, int]) -> Loss:
    """Return the loss of a definition and of what goes with it; counts: by the noun for one."""
    from profilectl.render.screen import notice

    listed = counts_in_words(counts)
    return Loss(
        show=lambda: notice(f"{name} would be removed: {listed}"),
        question="Remove it for good?",
        act=f"{name} would be removed for good",
        unchanged="nothing was removed",
    )


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Return how many go, by the noun for one; of what there is none, only the first is named."""
    from profilectl.render.screen import counted

    return ", ".join(
        counted(count, noun)
        for place, (noun, count) in enumerate(counts.items())
        if count or not place
    )


def need_yes(is_agreed: bool, loss: Callable[[], Loss | None]) -> None:
    """Go on only if a person agrees to what will be lost.

    is_agreed: whether --yes was given. loss: looks up what would be lost, without a change; None:
    nothing. Raises UsageError where nobody can be asked, Declined for the answer no.
    """
    if is_agreed:
        return
    lost = loss()
    if lost is None:
        return
    lost.show()
    if not is_somebody_there():
        raise UsageError(
            f"{lost.act}, and nobody can be asked here",
            "--yes goes on without a question",
        )
    if not _answer(lost.question):
        raise Declined(lost.unchanged)


def is_somebody_there() -> bool:
    """Return whether a person can be shown something and asked: all three streams are a terminal's.

    Continuous integration may give its jobs a terminal, and sets CI.
    """
    if os.environ.get("CI", "").strip().lower() not in NO_CI:
        return False
    # A stream that was closed before the start is None.
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams)


def ask(question: str) -> str:
    """Ask a person on stderr, and return the line of the answer without blanks around it.

    Raises Declined where no answer comes: for Ctrl-C and Ctrl-D.
    """
    from profilectl.render.screen import folded
    from profilectl.rules.text.terminal import visible

    # Not by input(): it forgets a Ctrl-C that comes while it flushes stderr, and waits on.
    try:
        sys.stderr.write(f"{folded(visible(question), sys.stderr)}: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
    except KeyboardInterrupt:  # nothing has begun that could be half done
        line = ""
    if not line:
        sys.stderr.write("\n")
        raise Declined("there was no answer")
    return line.strip()


def _answer(question: str) -> bool:
    while True:
        try:
            answer = ask(f"{question} [y/N]").lower()
        except Declined:
            return False
        if answer in ANSWERS:
            return ANSWERS[answer]
        sys.stderr.write("y or n\n")
