"""Explanations, printed for a person and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from profilectl.codes import sentence
from profilectl.profiles.activity import Activity, AttributeChange, Origin, remark_subject
from profilectl.profiles.activity_json import entry_json, origin_json, touch_json
from profilectl.render.screen import Document, notice, print_line
from profilectl.render.words import moment, name_of, origin_line, outcome, shown, taker_of
from profilectl.rules.identity import BY_NAME, key_of
from profilectl.rules.priority import SOURCES
from profilectl.rules.text.values import DELETED, Number, Value, held_json, parse_json, to_json

if TYPE_CHECKING:
    from profilectl.reading.explain import Explained, Loser, Rule
    from profilectl.reading.identity_chain import Apart, Identified, Link, Passed
    from profilectl.reading.row_fate import Remarked, RowFate

BEYOND_LIFETIME = "the profile is beyond its lifetime, and nothing is computed of it"


def print_attributes(activity: Activity, attributes: Sequence[Explained]) -> None:
    """Print the explanation of each attribute."""
    print_line(_headline(activity))
    for explained in attributes:
        print_line("")
        for line in attribute_lines(explained):
            print_line(line)


def _headline(activity: Activity) -> str:
    return f"{name_of(activity)}  MPID {activity.mpid}  {activity.environment}"


def attribute_lines(explained: Explained) -> Iterator[str]:
    """Yield the explanation of an attribute, in lines."""
    from profilectl.render.audiences import defined

    if explained.definition is not None:
        if explained.calculated is not None:
            yield f"{explained.key} = {shown(explained.calculated)}"
        elif explained.dormant:
            yield f"{explained.key} is not there: {BEYOND_LIFETIME}"
        else:
            yield f"{explained.key} is not there: nothing to compute"
        yield f"  calculated (rank {SOURCES['calculated'].rank}): {defined(explained.definition)}"
        if explained.winner:
            yield f"  masks {shown(explained.winner.held)}, from {_whence(explained.winner.origin)}"
    elif explained.winner:
        yield f"{explained.key} = {shown(explained.winner.held)}"
        owner = explained.winner.origin.feed.owner
        yield f"  from {_whence(explained.winner.origin)}"
        yield f"  {owner.unit} (rank {SOURCES[owner.source].rank}) holds it" + (
            "" if explained.losers else ": nothing else ever claimed it"
        )
    else:
        yield f"{explained.key} is not there"
    for loser in explained.losers:
        yield f"  not {_stated(loser.entry)}, from {_whence(loser.entry.origin)}"
        yield f"    {_lost(loser)}"
        row = (
            f"  [attributes.priority {loser.rule.priority}: {loser.rule.standing} ->"
            f" {loser.rule.verdict}]"
        )
        yield f"    {loser.rule.words}{'' if loser.rule.standing == 'free' else row}"


def _stated(entry: AttributeChange) -> str:
    return "deleted" if entry.held == DELETED else shown(entry.held)


def _whence(origin: Origin) -> str:
    return f"{origin_line(origin)}, {moment(origin.at_ms)}"


def _lost(loser: Loser) -> str:
    if loser.by is None:
        return f"refused, {loser.entry.code}"
    verb = {"deleted": "deleted", "unchanged": "stated again"}.get(loser.by.kind, "replaced")
    return f"{verb} by import {loser.by.origin.import_number}, {loser.by.origin.where}"


def _rule_json(rule: Rule) -> dict[str, Value]:
    return {
        "table": None if rule.standing == "free" else "OVERWRITE",
        "priority": rule.priority,
        "incoming": rule.incoming.unit,
        "owner": rule.owner.unit,
        "standing": rule.standing,
        "verdict": rule.verdict,
        "words": rule.words,
    }


def _calculated_json(definition: dict[str, object], held: str | None) -> Value:
    value: dict[str, Value] = {} if held is None else {"value": parse_json(held_json(held))}
    return value | {"definition": {key: str(value) for key, value in definition.items()}}


def attributes_json(people_explained: Sequence[tuple[Activity, list[Explained]]]) -> str:
    """Return the explanations as one JSON document."""
    people: list[Value] = []
    for activity, attributes in people_explained:
        people.append(
            {
                "mpid": str(activity.mpid),
                "environment": activity.environment,
                "attributes": [
                    {
                        "attribute": explained.key,
                        "winner": _winner_json(explained.winner) if explained.winner else None,
                        "calculated": _calculated_json(explained.definition, explained.calculated)
                        if explained.definition is not None
                        else None,
                        "losers": [
                            entry_json(loser.entry)
                            | {
                                "by": origin_json(loser.by.origin) if loser.by else None,
                                "rule": _rule_json(loser.rule),
                            }
                            for loser in reversed(explained.losers)
                        ],
                    }
                    for explained in attributes
                ],
            }
        )
    return to_json({"profiles": people})


# Identities


def print_chain(activity: Activity, links: Sequence[Link]) -> None:
    """Print the rows that joined the identities of a profile."""
    print_line(_headline(activity))
    for line in chain_lines(links):
        print_line(line)


def chain_lines(links: Sequence[Link]) -> Iterator[str]:
    """Yield the rows that joined the identities of a profile, in lines."""
    for link in links:
        origin = link.touch.origin
        yield f"{moment(origin.at_ms)}  {origin_line(origin)}"
        if link.touch.founded:
            yield "  nobody was found: the row founded the profile"
        elif link.before:
            yield (
                f"  the row carried {'one of ' if len(link.before) > 1 else ''}"
                + ", ".join(f"{kind} {value}" for kind, value in link.before)
                + ", or the MPID"
            )
        yield from passed_lines(link.passed)
        for identity in link.touch.added:
            yield f"  + {identity.type} {identity.value}"
        for identity in link.touch.removed:
            yield f"  - {identity.type} {identity.value}{taker_of(link.touch)}"


def passed_lines(passed: Passed) -> Iterator[str]:
    """Yield the profiles that a row passed over, and why, in lines."""
    for passed_over in passed.people:
        yield (
            f"  passed over MPID {passed_over.activity.mpid}"
            f" ({name_of(passed_over.activity)}), which held {passed_over.type}"
            f" {passed_over.value}: {passed_over.why}"
        )
    if passed.number > len(passed.people):
        more = passed.number - len(passed.people)
        yield f"  and {more:,} other{'s' if more > 1 else ''}"


def _passed_json(passed: Passed) -> dict[str, Value]:
    return {
        "passed_over": [
            {
                "mpid": str(passed_over.activity.mpid),
                "environment": passed_over.activity.environment,
                "type": passed_over.type,
                "value": passed_over.value,
                "why": passed_over.why,
            }
            for passed_over in passed.people
        ],
        "passed_over_in_all": to_number(passed.number),
    }


def chains_json(people: Sequence[tuple[Activity, list[Link]]]) -> str:
    """Return the chains as one JSON document."""
    return to_json(
        {
            "profiles": [
                {
                    "mpid": str(activity.mpid),
                    "environment": activity.environment,
                    "chain": [
                        touch_json(link.touch)
                        | {
                            "found_by": [
                                {"type": kind, "value": value} for kind, value in link.before
                            ]
                        }
                        | _passed_json(link.passed)
                        for link in links
                    ],
                }
                for activity, links in people
            ]
        }
    )


def print_apart(apart: Apart) -> None:
    """Print why two identities are not one profile."""
    if not apart.reasons:
        shared = {activity.profile for activity in apart.first} & {
            activity.profile for activity in apart.second
        }
        print_line(
            "they are one profile: "
            + ", ".join(
                str(activity.mpid) for activity in apart.first if activity.profile in shared
            )
        )
        return
    print_line("they are not one profile")
    for reason in apart.reasons:
        print_line(f"  {reason}")


def apart_json(apart: Apart) -> str:
    """Return why two identities are not one profile, as JSON."""
    return to_json(
        {
            "one_profile": not apart.reasons,
            "reasons": list(apart.reasons),
            "first": [str(activity.mpid) for activity in apart.first],
            "second": [str(activity.mpid) for activity in apart.second],
        }
    )


# Rows and rules


def print_fates(fates: Sequence[RowFate]) -> None:
    """Print the fate of a row, in each import that read it."""
    for fate in fates:
        print_line(f"{fate.file}:{fate.line} in import {fate.import_number}, feed {fate.feed}")
        if fate.touch and fate.activity:
            print_line(f"  applied to {name_of(fate.activity)}, MPID {fate.activity.mpid}")
            for _, line in outcome(fate.touch):
                print_line(f"  {line}")
            for kind, mpid in fate.taken_from:
                print_line(f"  took the {kind} from MPID {mpid}")
        else:
            print_line(f"  {fate.code + ': ' if fate.code else ''}{fate.message}")
            if fate.raw:
                print_line(f"  {fate.raw}")
        for remark in fate.remarks:
            print_line(f"  {_remark_line(remark)}")
        for line in passed_lines(fate.passed):
            print_line(line)
    if not fates:
        notice("no such row")


def _remark_line(remark: Remarked) -> str:
    subject = " ".join(
        part for part in (remark.attribute, remark.type, remark.value) if part is not None
    )
    return f"{remark.code}: {subject + ': ' if subject else ''}{sentence(remark.code)}"


def _remark_json(remark: Remarked) -> dict[str, Value]:
    return {
        "code": remark.code,
        "message": sentence(remark.code),
        **remark_subject(remark.attribute, remark.type, remark.value),
    }


def fates_json(fates: Sequence[RowFate]) -> str:
    """Return the fates of a row, as JSON."""
    listed: list[Value] = []
    for fate in fates:
        document: dict[str, Value] = {
            "import": to_number(fate.import_number),
            "feed": fate.feed,
            "file": fate.file,
            fate.unit: to_number(fate.line),
        }
        document |= {
            "applied": bool(fate.touch),
            "mpid": str(fate.activity.mpid) if fate.activity else None,
            "code": fate.code or None,
            "message": fate.message or None,
            "raw": fate.raw or None,
        }
        if fate.touch:
            document |= touch_json(fate.touch)
        document["identities_taken"] = [
            {"type": kind, "from": str(mpid)} for kind, mpid in fate.taken_from
        ]
        document["remarks"] = [_remark_json(remark) for remark in fate.remarks]
        listed.append(document | _passed_json(fate.passed))
    return to_json({"rows": listed})


def to_number(number: int) -> Value:
    """Return a whole number as a JSON value."""
    return Number(str(number))


def print_rules(rules: Document) -> None:
    """Print the rules in force, in tables."""
    from profilectl.render.tables import print_table

    identity, attributes = rules["identity"], rules["attributes"]
    print_line(
        f"identity strategy: {identity['strategy']}, a unique identity that another"
        f" profile has: {identity['unique_conflict']}"
    )
    flags = {name: set(identity[name]) for name in ("login", "unique", "immutable")}
    kinds = [
        *identity["hierarchy"],
        *sorted({kind for row in flags.values() for kind in row} - {*identity["hierarchy"]}),
    ]
    print_table(
        "Identity hierarchy",
        ("", "identity", "login", "unique", "immutable"),
        [
            (place, kind, *("yes" if kind in flags[name] else "" for name in flags))
            for place, kind in enumerate(kinds, start=1)
        ],
        right=(0,),
    )
    print_line("placeholders, nobody's identity: " + ", ".join(identity["placeholders"]))
    print_line("")
    _print_priority(attributes)
    _print_feeds(rules)


def _print_priority(attributes: Document) -> None:
    from profilectl.render.tables import print_table

    print_table(
        f"Attribute priority: {attributes['priority']}",
        ("the incoming source is ... than the owner", "then"),
        [(stands, verdict) for stands, verdict in attributes["verdicts"].items()],
    )
    print_table(
        "Sources",
        ("rank", "source", "each is a unit of its own"),
        [
            (row["rank"], row["source"], "yes" if row["own_unit"] else "")
            for row in attributes["sources"]
        ],
        right=(0,),
    )


def _print_feeds(rules: Document) -> None:
    from profilectl.render.tables import print_table

    print_table(
        "Protection levels",
        ("level", "unknown user", "known user", "code"),
        [
            (name, row["unknown_user"], row["known_user"], row["code"] or "")
            for name, row in rules["protection"].items()
        ],
    )
    if rules["feeds"]:
        print_table(
            "Feeds",
            ("feed", "unit", "rank", "protection"),
            [(row["feed"], row["unit"], row["rank"], row["protection"]) for row in rules["feeds"]],
            right=(2,),
        )
    print_line("limits: " + ", ".join(f"{name} {most:,}" for name, most in rules["limits"].items()))


# Identify


def _winner_json(entry: AttributeChange) -> dict[str, Value]:
    owner = entry.origin.feed.owner
    return entry_json(entry) | {"unit": owner.unit, "rank": Number(str(SOURCES[owner.source].rank))}


def print_identified(identified: Identified) -> None:
    """Print each step down the identity hierarchy, and the profile that it led to."""
    for kind, value, why in identified.skipped:
        print_line(f"{kind} {value}")
        print_line(f"  not used: {why}")
    for step in identified.steps:
        print_line(f"{step.type} {step.key}")
        for profile in sorted(step.holders):
            print_line(
                f"  held by {_named(identified, profile)}"
                + (
                    ""
                    if profile in step.eligible
                    else f": passed over, {_guard(identified, profile)}"
                )
            )
        if step.holders and not (step.eligible & step.left) and step.left:
            print_line("  none of those found above: a lower type only breaks ties")
        elif len(step.left) > 1:
            print_line(f"  {len(step.left)} are left: the next type may tell them apart")
    if not identified.usable:
        print_line(f"nobody: {sentence('NO_IDENTITY')}; such a row is rejected")
        return
    if identified.found is None:
        print_line(
            "nobody: "
            + (
                (
                    "a row with these identities would found a profile, because the holders"
                    " are protected"
                )
                if identified.protected
                else "a row with these identities would found a profile"
            )
        )
        return
    if identified.steps and len(identified.steps[-1].left) > 1:
        print_line("still tied: the profile that was touched last is taken")
    print_line(f"found {_named(identified, identified.found)}")


def _named(identified: Identified, profile: int) -> str:
    activity = identified.people[profile]
    return f"{activity.mpid} ({name_of(activity)})"


def _guard(identified: Identified, profile: int) -> str:
    from profilectl.reading.identity_chain import NOT_KNOWN, not_given

    activity = identified.people[profile]
    for flag, kinds in (
        ("immutable", identified.rules.immutable),
        ("login", identified.rules.login),
    ):
        identities = [
            (identity.type, identity.value)
            for identity in activity.identities
            if identity.type in kinds
        ]
        if identities and not any(
            identified.known.get(kind) == key_of(BY_NAME[kind], value) for kind, value in identities
        ):
            return not_given(flag, identities)
    return NOT_KNOWN


def identified_json(identified: Identified) -> str:
    """Return the steps as JSON."""
    return to_json(
        {
            "mpid": str(identified.people[identified.found].mpid)
            if identified.found is not None
            else None,
            "protected": identified.protected,
            "skipped": [
                {"type": kind, "value": value, "why": why}
                for kind, value, why in identified.skipped
            ],
            "usable": identified.usable,
            "steps": [
                {
                    "type": step.type,
                    "key": step.key,
                    "holders": [
                        {
                            "mpid": str(identified.people[profile].mpid),
                            "why": None
                            if profile in step.eligible
                            else _guard(identified, profile),
                        }
                        for profile in sorted(step.holders)
                    ],
                    "left": [str(identified.people[profile].mpid) for profile in sorted(step.left)],
                }
                for step in identified.steps
            ],
        }
    )
