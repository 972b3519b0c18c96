"""Erasure and requests as a person reads them: what went, what stays out, what is beyond the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from profilectl.render.activity import moment
from profilectl.render.screen import counted, notice, print_line

if TYPE_CHECKING:
    from profilectl.privacy.forget import Forgotten
    from profilectl.privacy.requests import Record
    from profilectl.privacy.retention import Aged
    from profilectl.store.tellers import Teller

KINDS = {
    # a kind of table -> what its rows are
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


def print_forgotten(done: Forgotten, *, stderr: bool = False) -> None:
    """Print what forgetting took away, or would."""
    say = notice if stderr else print_line
    gone = done.erasure
    if gone.anything():
        verb = "would be erased" if done.dry_run else "erased"
        say(f"{counted(len(gone.profiles), 'profile')} {verb}")
        for mpid, environment in gone.profiles[:20]:
            say(f"  MPID {mpid}, {environment}")
        if len(gone.profiles) > 20:
            say(f"  and {len(gone.profiles) - 20:,} more")
        for kind, count in gone.tables.items():
            say(f"  {_counted(count, KINDS.get(kind, f'rows of {kind}'))}")
        for count, what in (
            (gone.rejects, "rejects that name them, cleared of their text"),
            (gone.corrections, "corrections by hand, cleared of what they set"),
            (gone.faded, "of their identities, cleared from the past of others"),
        ):
            if count:
                say(f"  {_counted(count, what)}")
        for output, count in sorted(gone.removals.items()):
            say(
                f"{counted(count, 'removal')} {'would wait' if done.dry_run else 'waits' if count == 1 else 'wait'} for {output}, with the identities by which they are known there: profilectl forward sends {'it' if count == 1 else 'them'}"
            )
        for one in done.opt_outs:
            say(
                f"MPID {one.mpid}, {one.environment}, {'would stay' if done.dry_run else 'stays'} opted out, as an alias of them had said"
            )
        if done.allow_return:
            say("they may come back with a later import")
        else:
            say(
                f"{counted(gone.suppressed, 'identity')} {'would be' if done.dry_run else 'are' if gone.suppressed != 1 else 'is'} kept out of later imports"
            )
    if done.lifted:
        say(
            f"{counted(done.lifted, 'identity')} {'would be' if done.dry_run else 'are' if done.lifted != 1 else 'is'} let in again"
        )
    _say_told_by(done.told_by, say)
    for line, kind, value, why in done.unknown if not done.lifted else ():
        say(f"{f'line {line}: ' if line else ''}{kind} {value}: {why}")


def _say_told_by(told_by: Iterable[Teller], say: Callable[[str], None] = print_line) -> None:
    """Print the servers that may still tell of what went."""
    for one in told_by:
        say(f"may still be told by {one}: look at its /healthz, or end it")


def _counted(count: int, what: str) -> str:
    """Return a count of what is named in the plural: its first word is the thing, unless another is
    said to be.
    """
    words = what.split(" ")
    place = next(
        (
            place
            for place, word in enumerate(words)
            if word.rstrip(",").endswith("s") and word != "others"
        ),
        0,
    )
    if count == 1:
        one = words[place].rstrip(",")
        singular = (
            "alias"
            if one == "aliases"
            else one[:-3] + "y"
            if one.endswith("ies")
            else one[:-2]
            if one.endswith("ches")
            else one.removesuffix("s")
        )
        words[place] = singular + words[place][len(one) :]
    return f"{count:,} {' '.join(words)}"


def say_not_touched(done: Forgotten) -> None:
    """Say what of the erased may be elsewhere, and who else holds an identity of theirs."""
    gone = done.erasure
    for mpid, environment in gone.shared:
        notice(f"MPID {mpid} ({environment}) holds one of the identities too and stays")
    for kind, name in gone.quoted:
        notice(f"the {kind} {name} quotes an identity of theirs: change it, the store does not")
    for what, rows in sorted((gone.others or {}).items()):
        notice(
            f"{what}: {counted(rows, 'row')} of others {'quotes' if rows == 1 else 'quote'} an identity of theirs, and {'stays' if rows == 1 else 'stay'}"
        )
    if gone.others is None:
        notice("what others have was not looked through for so many people")
    if done.key and not done.dry_run and gone.anything():
        notice(
            f"the key that keeps them out is {done.key}; no backup has it: keep a copy of it elsewhere"
        )
    if not gone.anything():
        return
    files = (*gone.files, *gone.rejects_files, *gone.answers, *done.backups)
    notice(
        "not touched: backups, exports, and the files that were imported" + (":" if files else "")
    )
    for path in files:
        notice(f"  {'standard input, as it was piped in' if path == '-' else path}")
    if done.left:
        notice("of a command that was killed or still runs, and may hold them:")
    for one in done.left:
        notice(f"  {one.path}: {one.why}")
    if gone.outputs:
        notice(f"not told: {', '.join(gone.outputs)}, where batches of theirs went")
    if gone.may_have:
        notice(
            f"not told: {', '.join(gone.may_have)}, where batches of feeds that only read went; whose they were is not kept"
        )


def print_records(found: Sequence[Record]) -> None:
    """Print requests, two lines each."""
    for one in found:
        print_line(f"{one.id}  {one.type} ({one.regulation}): {one.status}")
        told = [f"received {moment(one.received_ms)}"]
        if one.finished_ms is not None:
            told.append(f"{one.status} {moment(one.finished_ms)}")
        elif one.due_ms > one.received_ms:
            told.append(f"due {moment(one.due_ms)}")
        if one.profiles is not None:
            told.append(counted(one.profiles, "profile"))
        if one.results:
            told.append(f"in {one.results}")
        print_line("  " + ", ".join(told))
    _say_told_by(dict.fromkeys(teller for one in found for teller in one.told_by or ()))


def print_aged(done: Aged) -> None:
    """Print what retention took away, or would."""
    would = "would " if done.dry_run else ""
    print_line(
        f"{counted(done.gone, 'profile')} {would}{'go' if done.dry_run or done.gone != 1 else 'goes'} for good"
    )
    print_line(
        f"{counted(done.stubs, 'profile')} {would}{'keep' if done.dry_run or done.stubs != 1 else 'keeps'} only who they are"
    )
    print_line(
        f"{counted(done.events, 'event')} {would}{'go' if done.dry_run or done.events != 1 else 'goes'}"
    )
    _say_told_by(done.told_by)


def print_clocks(found: dict[str, Any]) -> None:
    """Print the clocks."""

    def told(days: int | None) -> str:
        return f"kept for {counted(days, 'day')} after the last batch" if days else "kept for ever"

    for name, what in (("lifetime_days", "attributes and consent"), ("retention_days", "profiles")):
        print_line(f"{what}: {told(found[name])}")
    if found["lifetime_profiles"]:
        print_line(
            "lifetime profiles: attributes and consent are kept beyond that, for when the person comes back; devices are not"
        )
    for one in found["applied"][-5:]:
        print_line(
            f"applied {moment(one['at_ms'])}: {counted(one['gone'], 'profile')} gone, {counted(one['stubs'], 'stub')} made"
        )
