"""What leaves for the outputs, what waits and what is billed, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profilectl.codes import CODES, sentence
from profilectl.render.activity import moment
from profilectl.render.imports import processed
from profilectl.render.screen import counted, print_line, print_table
from profilectl.rules.leaving.connection import REASONS
from profilectl.rules.text.values import Value, to_json

if TYPE_CHECKING:
    from profilectl.outputs.delivery.letters import Letters
    from profilectl.outputs.delivery.run import Forwarded
    from profilectl.outputs.enrich import Enriched

SHOWN = 200
"""So many characters of a value are shown."""


def reason_said(reason: str) -> str:
    """Return why a batch does not leave, as a sentence."""
    return REASONS.get(reason) or (sentence(reason) if reason in CODES else reason)


def _why(one: Enriched, reason: str) -> str:
    """Return why a batch does not leave. Of one that is nobody's nothing rides with another."""
    if reason == "EVENTLESS" and not one.enriched:
        return "the batch has no events, and nothing of it is kept"
    return reason_said(reason)


def print_enriched(one: Enriched) -> None:
    """Print a batch as it would leave, and where to."""
    print_line(
        f"{one.file}:{one.place}" + (f"  {one.code}: {processed(one.code)}" if one.code else "")
    )
    if one.document is not None:
        if not one.enriched:
            print_line("  without MPID, and with nothing of a profile: nobody's")
        _print_document(one.document, "  ")
    for name, found in one.leaves.items():
        if isinstance(found, str) or one.document is None:
            print_line(f"  -> {name}: does not leave: {_why(one, str(found))}")
            continue
        gone = _gone(one.document, found)
        told, own = (
            found.get("deleted_user_attributes"),
            one.document.get("deleted_user_attributes"),
        )
        more = (
            [str(key) for key in told if not isinstance(own, list) or key not in own]
            if isinstance(told, list)
            else []
        )
        riding = f", with deleted_user_attributes {', '.join(more)}" if more else ""
        print_line(
            f"  -> {name}: leaves{riding}" + (f", without {', '.join(gone)}" if gone else "")
        )
    if not one.leaves:
        print_line("  -> nowhere: the feed is not connected to an output")


def _print_document(document: dict[str, Value], indent: str) -> None:
    for name, value in document.items():
        if name in ("schema_version", "batch_id"):
            continue
        if name == "user_identities" and isinstance(value, list):
            print_line(f"{indent}{name}")
            for one in value:
                if isinstance(one, dict):
                    print_line(f"{indent}  {one['identity_type']}: {one['identity']}")
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


def _gone(whole: dict[str, Value], left: dict[str, Value]) -> list[str]:
    """Return what a filter took out of a document: attributes and identities by name, events by
    number.
    """
    names: list[str] = []
    before, after = whole.get("user_attributes"), left.get("user_attributes")
    if isinstance(before, dict) and isinstance(after, dict):
        names += [key for key in before if key not in after]
    listed, kept = whole.get("user_identities"), left.get("user_identities")
    if isinstance(listed, list) and isinstance(kept, list):
        types = [str(one["identity_type"]) for one in kept if isinstance(one, dict)]
        names += sorted(
            {str(one["identity_type"]) for one in listed if isinstance(one, dict)} - set(types)
        )
    events, some = whole.get("events"), left.get("events", [])
    if isinstance(events, list) and isinstance(some, list) and len(some) < len(events):
        names.append(counted(len(events) - len(some), "event"))
    return names


def print_forwarded(found: Sequence[Forwarded]) -> None:
    """Print what became of what waited."""
    if not found:
        print_line(
            "no feed or audience is connected to an output: declare [outputs.NAME] and [connections.NAME], profilectl config apply"
        )
    for one in found:
        print_line(f"{one.output}: {_delivered(one)}, {one.waiting:,} waiting")
        if one.known:
            print_line(f"  {one.known:,} had arrived before")
        if one.dead:
            print_line(f"  {one.dead:,} went to the dead-letter list: profilectl outbox list")
        for reason, count in sorted(one.not_sent.items()):
            print_line(f"  {count:,} not sent: {reason_said(reason)}")


def _delivered(one: Forwarded) -> str:
    if one.members is not None:
        return f"a list of {counted(one.members, 'member')} written"
    batches = counted(one.delivered - one.changes, "batch")
    changes = _counted_changes(one.changes)
    return f"{' and '.join([*([batches] if one.feeds else []), *([changes] if one.audiences else [])])} delivered"


def print_outbox(found: dict[str, Any]) -> None:
    """Print what waits, what has left and what is dead."""
    if not found["outputs"] and not found["left"]:
        print_line("nothing waits, and nothing has left")
    if found["outputs"]:
        print_table(
            "",
            ("output", "feed", "waiting", "dead", "oldest", "connection"),
            [
                (
                    one["output"],
                    one["feed"] or f"audience {one['audience']}",
                    f"{one['waiting']:,}",
                    f"{one['dead']:,}",
                    moment(one["oldest_ms"]),
                    (one["connection"] + ("" if one["active"] else " (not active)"))
                    if one["connection"]
                    else "none any more",
                )
                for one in found["outputs"]
            ],
            right=(2, 3),
        )
    for name, outcomes in found["left"].items():
        print_line(
            f"{name}: "
            + ", ".join(
                f"{count:,} {outcome if outcome.islower() else f'not sent ({reason_said(outcome)})'}"
                for outcome, count in outcomes.items()
            )
        )
    for one in found["dead"]:
        place = f"{one['file']}:{one.get('line', one.get('row'))}" if one["feed"] else ""
        what = (
            f"import {one['import']} ({one['feed']}), {place}"
            if one["feed"]
            else f"audience {one['audience']}, {one['action']} of MPID {one['mpid']}"
        )
        print_line(f"dead: {one['output']}, {what}: {one['why']}, {moment(one['failed_ms'])}")


def print_usage(found: dict[str, Any]) -> None:
    """Print the ledger."""
    for one in found["months"]:
        print_line(
            f"{one['month']}: {counted(one['mtu'], 'monthly tracked user')}, {counted(one['batches'], 'batch')} with {counted(one['events'], 'event')},"
            f" {one['billable']:,} billable"
        )
    if found["imports"]:
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
                    one["month"],
                    one["feed"],
                    one["import"],
                    *(
                        f"{one[name]:,}"
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
                for one in found["imports"]
            ],
            right=(2, 3, 4, 5, 6, 7, 8),
            spare=(5, 6, 8),
        )
    else:
        print_line("nothing was processed")


def _counted_changes(count: int) -> str:
    return f"{count:,} {'change' if count == 1 else 'changes'} of audiences"


def counted_letters(found: Letters) -> str:
    """Return how many batches, and how many changes of audiences where there are any."""
    batches = [counted(found.batches, "batch")] if found.batches or not found.changes else []
    return " and ".join([*batches, *([_counted_changes(found.changes)] if found.changes else [])])
