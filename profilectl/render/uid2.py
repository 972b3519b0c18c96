"""An enrichment as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profilectl.render.screen import counted, print_line

if TYPE_CHECKING:
    from profilectl.outputs.uid2.run import Uid2Outcome


def print_outcome(done: Uid2Outcome) -> None:
    """Print what was asked and answered, or would be asked."""
    whom = f"audience {done.audience}" if done.audience is not None else "everybody"
    lately = (
        f", not enriched for {counted(done.older_than_days, 'day')}" if done.older_than_days else ""
    )
    print_line(f"UID2: {whom}{lately}" + (" (dry run: nothing leaves)" if done.dry_run else ""))
    print_line("")
    rows = [
        (
            "profiles",
            f"{done.due:,} due,  {done.waiting:,} with a UID that is good for longer,  {done.nameless:,} without a value to ask",
        ),
        (
            "to ask" if done.dry_run else "asked",
            f"{counted(done.emails, 'e-mail')},  {counted(done.phones, 'phone')}",
        ),
        (
            "not usable",
            f"{counted(done.unusable['email'], 'e-mail')},  {counted(done.unusable['phone'], 'phone')} (not E.164)",
        ),
    ]
    if not done.dry_run:
        unknown = (
            f",  {done.answers['unknown']:,} something else" if done.answers["unknown"] else ""
        )
        dropped = f",  {done.dropped:,} not imported" if done.dropped else ""
        rows.append(
            (
                "answers",
                f"{done.answers['mapped']:,} with a UID,  {done.answers['optout']:,} opted out,  {done.answers['invalid']:,} invalid{unknown}{dropped}",
            )
        )
        rows.append(("imports", ", ".join(map(str, done.imports)) or "none"))
    for label, text in rows:
        print_line(f"  {label:<12}{text}")
