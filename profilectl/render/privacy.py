"""Erasures, requests of people, and retention, printed for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from profilectl.render.screen import Document, counted, notice, print_line
from profilectl.render.words import moment

if TYPE_CHECKING:
    from profilectl.privacy.forget import Forgotten
    from profilectl.privacy.requests import Record
    from profilectl.privacy.retention import RetentionApplied
    from profilectl.store.tellers import Teller

MOST_NAMED = 20
"""The most erased profiles that are named."""
KINDS = {
    # The kind of table, and the noun for its rows.
    "row": "rows of files",
    "index": "identities",
    "mpid": "MPIDs",
    "loose": "rare attributes",
    "blocked": "rows with refused values",
    "blocked_loose": "refused rare attributes",
    "rest": "other fields of batches",
    "event": "events",
    "calculated": "calculated attributes",
    "membership": "memberships",
    "removed": "identities they had lost",
    "alias": "aliases",
    "request": "request ids",
    "membership_change": "times they entered or left an audience",
    "stale": "marks to compute anew",
    "outbox": "batches that waited to leave",
    "handed_over": "lists of the attributes that outputs have",
    "sent_profile": "digests of what pushes sent",
    "sent_event": "notes of which events pushes sent",
    "aged": "notes of what retention took",
    "audience_told": "memberships that outputs have",
    "audience_outbox": "changes of audiences that waited to leave",
}


def print_forgotten(forgotten: Forgotten, *, stderr: bool = False) -> None:
    """Print the outcome of an erasure, or of its dry run."""
    say = notice if stderr else print_line
    if forgotten.erasure.anything():
        _say_erased(forgotten, say)
        _say_leaving(forgotten, say)
    if forgotten.lifted:
        lifted = counted(forgotten.lifted, "identity")
        say(f"{lifted} {_be(forgotten.lifted, dry_run=forgotten.dry_run)} let in again")
    _say_told_by(forgotten.told_by, say)
    for line, kind, value, why in forgotten.unknown if not forgotten.lifted else ():
        say(f"{f'line {line}: ' if line else ''}{kind} {value}: {why}")


def _be(count: int, *, dry_run: bool) -> str:
    """Return the auxiliary verb for a number of identities, in the dry run or in earnest."""
    return "would be" if dry_run else "is" if count == 1 else "are"


def _say_erased(forgotten: Forgotten, say: Callable[[str], None]) -> None:
    """Print the erased profiles, and how many rows of each table."""
    erasure = forgotten.erasure
    verb = "would be erased" if forgotten.dry_run else "erased"
    say(f"{counted(len(erasure.profiles), 'profile')} {verb}")
    for mpid, environment in erasure.profiles[:MOST_NAMED]:
        say(f"  MPID {mpid}, {environment}")
    if len(erasure.profiles) > MOST_NAMED:
        say(f"  and {len(erasure.profiles) - MOST_NAMED:,} more")
    for kind, count in erasure.tables.items():
        say(f"  {_counted(count, KINDS.get(kind, f'rows of {kind}'))}")
    for count, rows in (
        (erasure.rejects, "rejects that name them, cleared of their text"),
        (erasure.corrections, "corrections by hand, cleared of what they set"),
        (erasure.faded, "of their identities, cleared from the past of others"),
    ):
        if count:
            say(f"  {_counted(count, rows)}")


def _say_leaving(forgotten: Forgotten, say: Callable[[str], None]) -> None:
    """Print what is still sent about the erased, and whether they may come back."""
    erasure, dry_run = forgotten.erasure, forgotten.dry_run
    for output, count in sorted(erasure.removals.items()):
        waits = "would wait" if dry_run else "waits" if count == 1 else "wait"
        sends = "profilectl forward sends " + ("it" if count == 1 else "them")
        say(
            f"{counted(count, 'removal')} {waits} for {output}, with the identities by which they"
            f" are known there: {sends}"
        )
    for opt_out in forgotten.opt_outs:
        stays = "would stay" if dry_run else "stays"
        profile = f"MPID {opt_out.mpid}, {opt_out.environment}"
        say(f"{profile}, {stays} opted out, as an alias of them had said")
    if forgotten.allow_return:
        say("they may come back with a later import")
    else:
        identities = counted(erasure.suppressed, "identity")
        be = _be(erasure.suppressed, dry_run=dry_run)
        say(f"{identities} {be} kept out of later imports")


def _say_told_by(told_by: Iterable[Teller], say: Callable[[str], None] = print_line) -> None:
    """Print the servers that may still answer with erased data."""
    for teller in told_by:
        say(f"may still be told by {teller}: look at its /healthz, or end it")


def _counted(count: int, plural: str) -> str:
    """Return a count of things that are named in the plural, such as "events of others".

    The noun is the first word that looks like a plural. For a count of one it becomes singular.
    """
    words = plural.split(" ")
    place = next(
        (
            place
            for place, word in enumerate(words)
            if word.rstrip(",").endswith("s") and word != "others"
        ),
        0,
    )
    if count == 1:
        noun = words[place].rstrip(",")
        singular = (
            "alias"
            if noun == "aliases"
            else noun[:-3] + "y"
            if noun.endswith("ies")
            else noun[:-2]
            if noun.endswith("ches")
            else noun.removesuffix("s")
        )
        words[place] = singular + words[place][len(noun) :]
    return f"{count:,} {' '.join(words)}"


def say_not_touched(forgotten: Forgotten) -> None:
    """Print where data of the erased may remain, and who else has an identity of theirs."""
    erasure = forgotten.erasure
    for mpid, environment in erasure.shared:
        notice(f"MPID {mpid} ({environment}) holds one of the identities too and stays")
    for kind, name in erasure.quoted:
        notice(f"the {kind} {name} quotes an identity of theirs: change it, the store does not")
    for table, rows in sorted((erasure.others or {}).items()):
        notice(
            f"{table}: {counted(rows, 'row')} of others"
            f" {'quotes' if rows == 1 else 'quote'} an identity of theirs, and"
            f" {'stays' if rows == 1 else 'stay'}"
        )
    if erasure.others is None:
        notice("the data of others was not searched, because too many people were erased")
    if forgotten.key and not forgotten.dry_run and erasure.anything():
        notice(
            f"the key that keeps them out is {forgotten.key}; no backup has it: keep a"
            " copy of it elsewhere"
        )
    if erasure.anything():
        _say_elsewhere(forgotten)


def _say_elsewhere(forgotten: Forgotten) -> None:
    """Print where data of the erased may remain outside the store."""
    erasure = forgotten.erasure
    files = (*erasure.files, *erasure.rejects_files, *erasure.answers, *forgotten.backups)
    notice(
        "not touched: backups, exports, and the files that were imported" + (":" if files else "")
    )
    for path in files:
        notice(f"  {'standard input, as it was piped in' if path == '-' else path}")
    if forgotten.left:
        notice("of a command that was killed or still runs, and may hold them:")
    for leftover in forgotten.left:
        notice(f"  {leftover.path}: {leftover.why}")
    if erasure.outputs:
        notice(f"not told: {', '.join(erasure.outputs)}, where batches of theirs went")
    if erasure.may_have:
        notice(
            f"not told: {', '.join(erasure.may_have)}, where batches of feeds that only read"
            " went; whose they were is not kept"
        )


def print_records(records: Sequence[Record]) -> None:
    """Print requests, two lines each."""
    for record in records:
        print_line(f"{record.id}  {record.type} ({record.regulation}): {record.status}")
        facts = [f"received {moment(record.received_ms)}"]
        if record.finished_ms is not None:
            facts.append(f"{record.status} {moment(record.finished_ms)}")
        elif record.due_ms > record.received_ms:
            facts.append(f"due {moment(record.due_ms)}")
        if record.profiles is not None:
            facts.append(counted(record.profiles, "profile"))
        if record.results:
            facts.append(f"in {record.results}")
        print_line("  " + ", ".join(facts))
    _say_told_by(dict.fromkeys(teller for record in records for teller in record.told_by or ()))


def print_aged(aged: RetentionApplied, *, stderr: bool = False) -> None:
    """Print what retention removed, or would remove."""
    say = notice if stderr else print_line
    would = "would " if aged.dry_run else ""
    say(
        f"{counted(aged.gone, 'profile')}"
        f" {would}{'go' if aged.dry_run or aged.gone != 1 else 'goes'} for good"
    )
    say(
        f"{counted(aged.stubs, 'profile')}"
        f" {would}{'keep' if aged.dry_run or aged.stubs != 1 else 'keeps'} only who they"
        " are"
    )
    say(
        f"{counted(aged.events, 'event')}"
        f" {would}{'go' if aged.dry_run or aged.events != 1 else 'goes'}"
    )
    _say_told_by(aged.told_by, say)


def print_clocks(clocks: Document) -> None:
    """Print how long profiles are kept, and when that was applied."""

    def kept_for(days: int | None) -> str:
        return f"kept for {counted(days, 'day')} after the last batch" if days else "kept for ever"

    for name, data in (("lifetime_days", "attributes and consent"), ("retention_days", "profiles")):
        print_line(f"{data}: {kept_for(clocks[name])}")
    if clocks["lifetime_profiles"]:
        print_line(
            "lifetime profiles: attributes and consent are kept beyond that, for when the"
            " person comes back; devices are not"
        )
    for application in clocks["applied"][-5:]:
        print_line(
            f"applied {moment(application['at_ms'])}:"
            f" {counted(application['gone'], 'profile')} gone,"
            f" {counted(application['stubs'], 'stub')} made"
        )
