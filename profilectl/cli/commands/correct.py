"""profilectl set, modify, alias and identify: correct one user, or find one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from profilectl.cli.at_work import correcting, working
from profilectl.cli.context import Context, options_of
from profilectl.cli.options import (
    EnvironmentName,
    JsonOption,
    PickOption,
    SourceOption,
    WaitOption,
    value_of,
    with_options,
)
from profilectl.cli.registry import argument, command, option
from profilectl.cli.who import (
    AnyPersonFlags,
    IdentityFlags,
    PersonFlags,
    mpid_of,
    typed_identity,
    who_is_meant,
)
from profilectl.codes import Exit, NobodyFound, UsageError

if TYPE_CHECKING:
    from profilectl.rules.text.values import Value

SET = "Example: profilectl set --email john.smith@example.com tier=gold visits:=3 --delete color"
MODIFY = (
    "Example: profilectl modify --customer-id JohnSmith911"
    " --remove email=john.smith@example.com --add email=john@example.com"
)
ALIAS = "Example: profilectl alias --from 6361913531298988369 --to=-4829301177023345012 --now"
IDENTIFY = "Example: profilectl identify --email john.smith@example.com --customer-id JohnSmith911"

CorrectionFeedOption = Annotated[
    str | None,
    option(
        "--feed",
        help="The feed of the correction (default: corrections).",
        completion="feeds",
    ),
]
DryRunOption = Annotated[bool, option("--dry-run", help="Show what would happen; change nothing.")]


@dataclass(frozen=True, kw_only=True)
class CorrectionOptions:
    """The options that `set` and `modify` share."""

    feed: CorrectionFeedOption = None
    source: SourceOption = None
    pick: PickOption = None
    dry_run: DryRunOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """The options of `profilectl set`."""

    person: PersonFlags
    assignments: Annotated[
        list[str] | None,
        argument(
            metavar="[VALUE] KEY=VALUE...",
            help="What to set. A VALUE before it is the person: any identity, or an MPID.",
            show_default=False,
            completion="assignments",
        ),
    ] = None
    delete: Annotated[
        list[str] | None,
        option(
            "--delete",
            metavar="KEY",
            help="Delete this attribute; may be given several times.",
            completion="keys",
        ),
    ] = None
    correction: CorrectionOptions


@command("set", epilog=SET)
@with_options(SetOptions)
def set_command(context: Context, options: SetOptions) -> None:
    """Set and delete attributes of one person.

    A correction is an import of one batch: it has the same rules and history, and can be undone.
    KEY=VALUE is a text; KEY:=JSON is a number, true, false, a list or null (a tag). Exits with 3 if
    a value is refused.
    """
    from profilectl.importing.corrections.attributes import correct
    from profilectl.importing.corrections.correction import CORRECTIONS
    from profilectl.render import imports, screen

    person, assignments = _person_first(options)
    sets = _assigned(assignments)
    deletes = options.delete or []
    if not sets and not deletes:
        raise UsageError("name an attribute to set or delete", SET.removeprefix("Example: "))
    common, correction = options_of(context), options.correction
    with working(common, correcting):
        report = correct(
            common.store,
            who_is_meant(person, SET),
            sets=sets,
            deletes=deletes,
            feed=correction.feed or CORRECTIONS,
            source=value_of(correction.source),
            pick=correction.pick,
            dry_run=correction.dry_run,
            wait_s=correction.wait,
        )
    if correction.as_json:
        screen.print_json(report.as_json())
    elif not common.quiet:
        if correction.feed:
            imports.print_registered(report)
        imports.print_correction(report)
        if report.counts.attributes["deleted"] < len(deletes):
            _tell_unknown(common.store, deletes)
    refused = report.counts.attributes["blocked"] or report.counts.rows["dropped"]
    sys.exit(Exit.REJECTED_ROWS if refused else Exit.DONE)


def _tell_unknown(store: Path, keys: Sequence[str]) -> None:
    """Say of which attributes that were to be deleted the store has none, and the nearest."""
    from profilectl.reading.actions import names_in
    from profilectl.render import screen
    from profilectl.rules.batch_fields import attribute_key
    from profilectl.rules.text.naming import did_you_mean, nearest

    names = names_in(store, "keys")
    for key in keys:
        if attribute_key(key) not in names:
            screen.notice(f"there is no attribute {key}{did_you_mean(nearest(key, names))}")


def _person_first(options: SetOptions) -> tuple[PersonFlags, list[str]]:
    """Return the person and the assignments: a word without = before them names the person."""
    words = options.assignments or []
    if not words or "=" in words[0] or options.person.is_given():
        return options.person, words
    return replace(options.person, text=words[0]), words[1:]


def _assigned(assignments: list[str]) -> dict[str, Value]:
    """Return the values by key. Raises UsageError if a key is set twice."""
    from profilectl.importing.corrections.attributes import assignment

    sets: dict[str, Value] = {}
    for text in assignments:
        key, value = assignment(text)
        if key in sets:
            raise UsageError(f"{key} is set twice")
        sets[key] = value
    return sets


@dataclass(frozen=True, kw_only=True)
class ModifyOptions:
    """The options of `profilectl modify`."""

    person: AnyPersonFlags
    add: Annotated[
        list[str] | None,
        option(
            "--add",
            metavar="TYPE=VALUE",
            help="An identity to add; may be given several times.",
            completion="typed",
        ),
    ] = None
    remove: Annotated[
        list[str] | None,
        option(
            "--remove",
            metavar="TYPE=VALUE",
            help="An identity to remove; may be given several times.",
            completion="typed",
        ),
    ] = None
    correction: CorrectionOptions


@command("modify", epilog=MODIFY)
@with_options(ModifyOptions)
def modify_command(context: Context, options: ModifyOptions) -> None:
    """Add, remove and replace identities of one person.

    All changes are made, or none. The change is an import, so it can be undone; what changes
    nothing is none. An added identity replaces a removed one of the same type. A unique identity is
    taken from the profile that has it; an immutable one never changes.
    """
    from profilectl.importing.corrections.correction import CORRECTIONS
    from profilectl.importing.corrections.identities import changes_of, modify_identities
    from profilectl.render import imports, screen

    adds = [typed_identity(text, "--add", mpid=False) for text in options.add or ()]
    removes = [typed_identity(text, "--remove", mpid=False) for text in options.remove or ()]
    if not adds and not removes:
        raise UsageError("name an identity to add or remove", MODIFY.removeprefix("Example: "))
    common, correction = options_of(context), options.correction
    with working(common, correcting):
        report = modify_identities(
            common.store,
            who_is_meant(options.person, MODIFY),
            changes_of(adds, removes),
            feed=correction.feed or CORRECTIONS,
            source=value_of(correction.source),
            pick=correction.pick,
            dry_run=correction.dry_run,
            wait_s=correction.wait,
        )
    if correction.as_json:
        screen.print_json(report.as_json())
    elif not common.quiet:
        if correction.feed:
            imports.print_registered(report)
        imports.print_modification(report)


@dataclass(frozen=True, kw_only=True)
class AliasOptions:
    """The options of `profilectl alias`."""

    source: Annotated[str, option("--from", metavar="MPID", help="The earlier, anonymous profile.")]
    destination: Annotated[
        str, option("--to", metavar="MPID", help="The known profile that gets its past.")
    ]
    start: Annotated[
        str | None,
        option(
            "--start",
            metavar="TIME",
            help="Carry events over from this time on (default: 90 days before the end).",
        ),
    ] = None
    end: Annotated[
        str | None,
        option("--end", metavar="TIME", help="Carry events over until this time (default: now)."),
    ] = None
    at_once: Annotated[bool, option("--now", help="Take effect at once, not after 24 hours.")] = (
        False
    )
    environment: Annotated[
        EnvironmentName | None,
        option("--environment", help="The environment of the MPIDs, if they are in both."),
    ] = None
    feed: CorrectionFeedOption = None
    dry_run: Annotated[
        bool, option("--dry-run", help="Only check whether the alias is allowed.")
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("alias", epilog=ALIAS)
@with_options(AliasOptions)
def alias_command(context: Context, options: AliasOptions) -> None:
    """Carry the past of a profile over to another.

    That is its first-seen date and install attribution. Profiles are never merged: identities,
    attributes and consent stay where they are. An alias is an import, so it can be undone.
    """
    from profilectl.importing.corrections.alias import alias_profiles
    from profilectl.importing.corrections.correction import CORRECTIONS
    from profilectl.render import imports, screen

    common = options_of(context)
    with working(common, correcting):
        report = alias_profiles(
            common.store,
            mpid_of(options.source),
            mpid_of(options.destination),
            start=options.start,
            end=options.end,
            at_once=options.at_once,
            feed=options.feed or CORRECTIONS,
            environment=value_of(options.environment),
            dry_run=options.dry_run,
            wait_s=options.wait,
        )
    if options.as_json:
        screen.print_json(report.as_json())
    elif not common.quiet:
        imports.print_alias(report, options.source, options.destination, at_once=options.at_once)


@dataclass(frozen=True, kw_only=True)
class IdentifyOptions:
    """The options of `profilectl identify`."""

    identities: IdentityFlags
    environment: Annotated[
        EnvironmentName, option("--environment", help="The environment to look in.")
    ] = EnvironmentName["production"]
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("identify", epilog=IDENTIFY)
@with_options(IdentifyOptions)
def identify_command(context: Context, options: IdentifyOptions) -> None:
    """Show which profile a batch with these identities would find.

    It shows each step of the search. Nothing changes. Exits with 7 if it would find nobody.
    """
    from profilectl.reading.actions import identify_user
    from profilectl.render import explain, screen

    identities = options.identities.by_type
    if not identities:
        raise UsageError("name at least one identity", IDENTIFY.removeprefix("Example: "))
    identified = identify_user(
        options_of(context).store,
        options.environment.value,
        identities,
        wait_s=options.wait,
    )
    if options.as_json:
        screen.print_text(explain.identified_json(identified) + "\n")
    else:
        explain.print_identified(identified)
    if identified.found is None:
        raise NobodyFound("nobody was found")
