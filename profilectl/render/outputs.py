"""Outgoing batches, the outbox and the usage, printed for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from profilectl.codes import CODES, sentence
from profilectl.render.screen import Document, counted, print_line
from profilectl.render.tables import print_table
from profilectl.render.words import moment, processed
from profilectl.rules.leaving.connection import REASONS
from profilectl.rules.text.values import Value, to_json

if TYPE_CHECKING:
    from profilectl.outputs.delivery.letters import Letters
    from profilectl.outputs.delivery.run import Forwarded
    from profilectl.outputs.enrich import Enriched

SHOWN = 200
"""The most characters of a value that are shown."""


def reason_said(reason: str) -> str:
    """Return why a batch does not leave, as a sentence."""
    return REASONS.get(reason) or (sentence(reason) if reason in CODES else reason)


def _why(batch: Enriched, reason: str) -> str:
    """Return why a batch does not leave.

    A batch of nobody without events is lost; nothing of it can be sent with a later batch.
    """
    if reason == "EVENTLESS" and not batch.enriched:
        return "the batch has no events, and nothing of it is kept"
    return reason_said(reason)


def print_enriched(batch: Enriched) -> None:
    """Print a batch as it would leave, and the outputs that it would go to."""
    print_line(
        f"{batch.file}:{batch.place}"
        + (f"  {batch.code}: {processed(batch.code)}" if batch.code else "")
    )
    if batch.document is not None:
        if not batch.enriched:
            print_line("  without MPID, and with nothing of a profile: nobody's")
        _print_document(batch.document, "  ")
    for name, document in batch.leaves.items():
        if isinstance(document, str) or batch.document is None:
            print_line(f"  -> {name}: does not leave: {_why(batch, str(document))}")
            continue
        filtered = _gone(batch.document, document)
        deleted, own = (
            document.get("deleted_user_attributes"),
            batch.document.get("deleted_user_attributes"),
        )
        more = (
            [str(key) for key in deleted if not isinstance(own, list) or key not in own]
            if isinstance(deleted, list)
            else []
        )
        riding = f", with deleted_user_attributes {', '.join(more)}" if more else ""
        print_line(
            f"  -> {name}: leaves{riding}"
            + (f", without {', '.join(filtered)}" if filtered else "")
        )
    if not batch.leaves:
        print_line("  -> nowhere: the feed is not connected to an output")


def _print_document(document: dict[str, Value], indent: str) -> None:
    for name, value in document.items():
        if name in ("schema_version", "batch_id"):
            continue
        if name == "user_identities" and isinstance(value, list):
            print_line(f"{indent}{name}")
            for identity in value:
                if isinstance(identity, dict):
                    print_line(f"{indent}  {identity['identity_type']}: {identity['identity']}")
        elif isinstance(value, dict):
            print_line(f"{indent}{name}")
            for key, member in value.items():
                print_line(f"{indent}  {key}: {_short(member)}")
        elif isinstance(value, list):
            for entry in value:
                print_line(f"{indent}{name}: {_short(entry)}")
        else:
            print_line(f"{indent}{name}: {_short(value)}")


def _short(value: Value) -> str:
    text = value if isinstance(value, str) else to_json(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "\u2026"


def _gone(whole: dict[str, Value], after_filter: dict[str, Value]) -> list[str]:
    """Return what a filter removed: attributes and identities by name, events by number."""
    names: list[str] = []
    before, after = whole.get("user_attributes"), after_filter.get("user_attributes")
    if isinstance(before, dict) and isinstance(after, dict):
        names += [key for key in before if key not in after]
    listed, kept_identities = whole.get("user_identities"), after_filter.get("user_identities")
    if isinstance(listed, list) and isinstance(kept_identities, list):
        types = [
            str(identity["identity_type"])
            for identity in kept_identities
            if isinstance(identity, dict)
        ]
        names += sorted(
            {str(identity["identity_type"]) for identity in listed if isinstance(identity, dict)}
            - set(types)
        )
    events, some = whole.get("events"), after_filter.get("events", [])
    if isinstance(events, list) and isinstance(some, list) and len(some) < len(events):
        names.append(counted(len(events) - len(some), "event"))
    return names


def print_forwarded(forwarded: Sequence[Forwarded]) -> None:
    """Print the outcome of a delivery, for each output."""
    if not forwarded:
        print_line(
            "no feed or audience is connected to an output: declare [outputs.NAME] and"
            " [connections.NAME], profilectl config apply"
        )
    for result in forwarded:
        print_line(f"{result.output}: {_delivered(result)}, {result.waiting:,} waiting")
        if result.known:
            print_line(f"  {result.known:,} had arrived before")
        if result.dead:
            print_line(f"  {result.dead:,} went to the dead-letter list: profilectl outbox list")
        for reason, count in sorted(result.not_sent.items()):
            print_line(f"  {count:,} not sent: {reason_said(reason)}")


def _delivered(result: Forwarded) -> str:
    if result.members is not None:
        return f"a list of {counted(result.members, 'member')} written"
    batches = counted(result.delivered - result.changes, "batch")
    changes = _counted_changes(result.changes)
    parts = [*([batches] if result.feeds else []), *([changes] if result.audiences else [])]
    return f"{' and '.join(parts)} delivered"


def print_outbox(outbox: Document) -> None:
    """Print the outbox: what waits, what has left, and the dead-letter list."""
    if not outbox["outputs"] and not outbox["left"]:
        print_line("nothing waits, and nothing has left")
    if outbox["outputs"]:
        print_table(
            "",
            ("output", "feed", "waiting", "dead", "oldest", "connection"),
            [
                (
                    letter["output"],
                    letter["feed"] or f"audience {letter['audience']}",
                    f"{letter['waiting']:,}",
                    f"{letter['dead']:,}",
                    moment(letter["oldest_ms"]),
                    (letter["connection"] + ("" if letter["active"] else " (not active)"))
                    if letter["connection"]
                    else "none any more",
                )
                for letter in outbox["outputs"]
            ],
            right=(2, 3),
        )
    for name, outcomes in outbox["left"].items():
        print_line(
            f"{name}: "
            + ", ".join(
                (
                    f"{count:,}"
                    f" {outcome if outcome.islower() else f'not sent ({reason_said(outcome)})'}"
                )
                for outcome, count in outcomes.items()
            )
        )
    for letter in outbox["dead"]:
        place = (
            f"{letter['file']}:{letter.get('line', letter.get('row'))}" if letter["feed"] else ""
        )
        origin = (
            f"import {letter['import']} ({letter['feed']}), {place}"
            if letter["feed"]
            else f"audience {letter['audience']}, {letter['action']} of MPID {letter['mpid']}"
        )
        print_line(
            f"dead: {letter['output']}, {origin}: {letter['why']}, {moment(letter['failed_ms'])}"
        )


def print_usage(usage: Document) -> None:
    """Print the usage: the months, and the imports of each."""
    for month in usage["months"]:
        print_line(
            f"{month['month']}: {counted(month['mtu'], 'monthly tracked user')},"
            f" {counted(month['batches'], 'batch')} with {counted(month['events'], 'event')},"
            f" {month['billable']:,} billable"
        )
    if usage["imports"]:
        print_table(
            "",
            (
                "month",
                "feed",
                "import",
                "batches",
                "with events",
                "update-only misses",
                "read-only",
                "billable",
                "not billable",
            ),
            [
                (
                    row["month"],
                    row["feed"],
                    row["import"],
                    *(
                        f"{row[name]:,}"
                        for name in (
                            "batches",
                            "with_events",
                            "update_only_misses",
                            "read_only",
                            "billable",
                            "not_billable",
                        )
                    ),
                )
                for row in usage["imports"]
            ],
            right=(2, 3, 4, 5, 6, 7, 8),
            spare=(5, 6, 8),
        )
    else:
        print_line("nothing was processed")


def _counted_changes(count: int) -> str:
    return f"{count:,} {'change' if count == 1 else 'changes'} of audiences"


def counted_letters(letters: Letters) -> str:
    """Return how many batches there are, and how many changes of audiences."""
    batches = [counted(letters.batches, "batch")] if letters.batches or not letters.changes else []
    changes = [_counted_changes(letters.changes)] if letters.changes else []
    return " and ".join([*batches, *changes])
