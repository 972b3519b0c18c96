"""The outcome of a UID2 enrichment, printed for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from profilectl.render.screen import counted, print_line

if TYPE_CHECKING:
    from profilectl.outputs.uid2.run import Uid2Outcome


def print_outcome(outcome: Uid2Outcome) -> None:
    """Print what the operator was asked and answered, or what it would be asked."""
    people = f"audience {outcome.audience}" if outcome.audience is not None else "everybody"
    days = outcome.older_than_days
    due = f", not enriched for {counted(days, 'day')}" if days else ""
    print_line(f"UID2: {people}{due}" + (" (dry run: nothing leaves)" if outcome.dry_run else ""))
    print_line("")
    for label, text in [*_asked(outcome), *([] if outcome.dry_run else _answered(outcome))]:
        print_line(f"  {label:<12}{text}")


def _asked(outcome: Uid2Outcome) -> Iterator[tuple[str, str]]:
    """Yield the lines about the question, as (label, text)."""
    unusable = outcome.unusable
    yield (
        "profiles",
        (
            f"{outcome.due:,} due,  {outcome.waiting:,} with a UID that is good for longer,"
            f"  {outcome.nameless:,} without a value to ask"
        ),
    )
    yield (
        "to ask" if outcome.dry_run else "asked",
        f"{counted(outcome.emails, 'e-mail')},  {counted(outcome.phones, 'phone')}",
    )
    yield (
        "not usable",
        (
            f"{counted(unusable['email'], 'e-mail')},  {counted(unusable['phone'], 'phone')}"
            " (not E.164)"
        ),
    )


def _answered(outcome: Uid2Outcome) -> Iterator[tuple[str, str]]:
    """Yield the lines about the answers, as (label, text)."""
    answers = outcome.answers
    unknown = f",  {answers['unknown']:,} something else" if answers["unknown"] else ""
    dropped = f",  {outcome.dropped:,} not imported" if outcome.dropped else ""
    yield (
        "answers",
        (
            f"{answers['mapped']:,} with a UID,  {answers['optout']:,} opted out,"
            f"  {answers['invalid']:,} invalid{unknown}{dropped}"
        ),
    )
    yield "imports", ", ".join(map(str, outcome.imports)) or "none"
