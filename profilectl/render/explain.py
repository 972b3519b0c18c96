"""Explanations in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from profilectl.codes import sentence
from profilectl.profiles.activity import Activity, AttributeChange, Origin, remark_subject
from profilectl.profiles.activity_json import entry_json, origin_json, touch_json
from profilectl.reading.explain import Explained, Loser, Rule
from profilectl.reading.identity_chain import NOT_KNOWN, Apart, Identified, Link, Passed, not_given
from profilectl.reading.row_fate import Remarked, RowFate
from profilectl.render.activity import moment, name_of, origin_line, outcome, shown, taken
from profilectl.render.audiences import defined
from profilectl.render.screen import notice, print_line, print_table
from profilectl.rules.identity import BY_NAME, key_of
from profilectl.rules.priority import SOURCES
from profilectl.rules.text.values import DELETED, Number, Value, held_json, parse_json, to_json


def print_attributes(activity: Activity, attributes: Sequence[Explained]) -> None:
    """Print why each attribute is what it is."""
    print_line(_headline(activity))
    for one in attributes:
        print_line("")
        for line in attribute_lines(one):
            print_line(line)


def _headline(activity: Activity) -> str:
    return f"{name_of(activity)}  MPID {activity.mpid}  {activity.environment}"


def attribute_lines(one: Explained) -> Iterator[str]:
    """Yield why an attribute is what it is."""
    if one.definition is not None:
        yield (
            f"{one.key} = {shown(one.calculated)}"
            if one.calculated is not None
            else f"{one.key} is not there: {'the profile is beyond its lifetime, and nothing is computed of it' if one.dormant else 'nothing to compute'}"
        )
        yield f"  calculated (rank {SOURCES['calculated'].rank}): {defined(one.definition)}"
        if one.winner:
            yield f"  masks {shown(one.winner.held)}, from {_whence(one.winner.origin)}"
    elif one.winner:
        yield f"{one.key} = {shown(one.winner.held)}"
        owner = one.winner.origin.feed.owner
        yield f"  from {_whence(one.winner.origin)}"
        yield f"  {owner.unit} (rank {SOURCES[owner.source].rank}) holds it" + (
            "" if one.losers else ": nothing else ever claimed it"
        )
    else:
        yield f"{one.key} is not there"
    for loser in one.losers:
        yield f"  not {_stated(loser.entry)}, from {_whence(loser.entry.origin)}"
        yield f"    {_lost(loser)}"
        row = f"  [attributes.priority {loser.rule.priority}: {loser.rule.standing} -> {loser.rule.verdict}]"
        yield f"    {loser.rule.words}{'' if loser.rule.standing == 'free' else row}"


def _stated(entry: AttributeChange) -> str:
    return "deleted" if entry.held == DELETED else shown(entry.held)


def _whence(origin: Origin) -> str:
    return f"{origin_line(origin)}, {moment(origin.at_ms)}"


def _lost(loser: Loser) -> str:
    if loser.by is None:
        return f"refused, {loser.entry.code}"
    what = (
        "deleted"
        if loser.by.kind == "deleted"
        else "stated again"
        if loser.by.kind == "unchanged"
        else "replaced"
    )
    return f"{what} by import {loser.by.origin.import_number}, {loser.by.origin.where}"


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
    found: dict[str, Value] = {} if held is None else {"value": parse_json(held_json(held))}
    return found | {"definition": {key: str(value) for key, value in definition.items()}}


def attributes_json(found: Sequence[tuple[Activity, list[Explained]]]) -> str:
    """Return the explanations as one JSON document."""
    people: list[Value] = []
    for activity, attributes in found:
        people.append(
            {
                "mpid": str(activity.mpid),
                "environment": activity.environment,
                "attributes": [
                    {
                        "attribute": one.key,
                        "winner": _winner_json(one.winner) if one.winner else None,
                        "calculated": _calculated_json(one.definition, one.calculated)
                        if one.definition is not None
                        else None,
                        "losers": [
                            entry_json(loser.entry)
                            | {
                                "by": origin_json(loser.by.origin) if loser.by else None,
                                "rule": _rule_json(loser.rule),
                            }
                            for loser in reversed(one.losers)
                        ],
                    }
                    for one in attributes
                ],
            }
        )
    return to_json({"profiles": people})


# Identities


def print_chain(activity: Activity, links: Sequence[Link]) -> None:
    """Print the rows that joined a profile's identities."""
    print_line(_headline(activity))
    for line in chain_lines(links):
        print_line(line)


def chain_lines(links: Sequence[Link]) -> Iterator[str]:
    """Yield the rows that joined a profile's identities."""
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
        for one in link.touch.added:
            yield f"  + {one.type} {one.value}"
        for one in link.touch.removed:
            yield f"  - {one.type} {one.value}{taken(link.touch)}"


def passed_lines(passed: Passed) -> Iterator[str]:
    """Yield whom a row passed over, and why."""
    for one in passed.people:
        yield f"  passed over MPID {one.activity.mpid} ({name_of(one.activity)}), which held {one.type} {one.value}: {one.why}"
    if passed.number > len(passed.people):
        more = passed.number - len(passed.people)
        yield f"  and {more:,} other{'s' if more > 1 else ''}"


def _passed_json(passed: Passed) -> dict[str, Value]:
    return {
        "passed_over": [
            {
                "mpid": str(one.activity.mpid),
                "environment": one.activity.environment,
                "type": one.type,
                "value": one.value,
                "why": one.why,
            }
            for one in passed.people
        ],
        "passed_over_in_all": to_number(passed.number),
    }


def chains_json(people: Sequence[tuple[Activity, list[Link]]]) -> str:
    """Return the chains as one JSON document."""
    return to_json(
        {
            "profiles": [
                {
                    "mpid": str(one.mpid),
                    "environment": one.environment,
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
                for one, links in people
            ]
        }
    )


def print_apart(found: Apart) -> None:
    """Print why two identities are not one profile."""
    if not found.reasons:
        shared = {one.profile for one in found.first} & {one.profile for one in found.second}
        print_line(
            "they are one profile: "
            + ", ".join(str(one.mpid) for one in found.first if one.profile in shared)
        )
        return
    print_line("they are not one profile")
    for reason in found.reasons:
        print_line(f"  {reason}")


def apart_json(found: Apart) -> str:
    """Return why two identities are not one profile, as JSON."""
    return to_json(
        {
            "one_profile": not found.reasons,
            "reasons": list(found.reasons),
            "first": [str(one.mpid) for one in found.first],
            "second": [str(one.mpid) for one in found.second],
        }
    )


# Rows and rules


def print_fates(found: Sequence[RowFate]) -> None:
    """Print what became of a row."""
    for one in found:
        print_line(f"{one.file}:{one.line} in import {one.import_number}, feed {one.feed}")
        if one.touch and one.activity:
            print_line(f"  applied to {name_of(one.activity)}, MPID {one.activity.mpid}")
            for _, line in outcome(one.touch):
                print_line(f"  {line}")
            for kind, mpid in one.taken_from:
                print_line(f"  took the {kind} from MPID {mpid}")
        else:
            print_line(f"  {one.code + ': ' if one.code else ''}{one.message}")
            if one.raw:
                print_line(f"  {one.raw}")
        for remark in one.remarks:
            print_line(f"  {_remark_line(remark)}")
        for line in passed_lines(one.passed):
            print_line(line)
    if not found:
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


def fates_json(found: Sequence[RowFate]) -> str:
    """Return what became of a row, as JSON."""
    listed: list[Value] = []
    for one in found:
        said: dict[str, Value] = {
            "import": to_number(one.import_number),
            "feed": one.feed,
            "file": one.file,
            one.unit: to_number(one.line),
        }
        said |= {
            "applied": bool(one.touch),
            "mpid": str(one.activity.mpid) if one.activity else None,
            "code": one.code or None,
            "message": one.message or None,
            "raw": one.raw or None,
        }
        if one.touch:
            said |= touch_json(one.touch)
        said["identities_taken"] = [
            {"type": kind, "from": str(mpid)} for kind, mpid in one.taken_from
        ]
        said["remarks"] = [_remark_json(remark) for remark in one.remarks]
        listed.append(said | _passed_json(one.passed))
    return to_json({"rows": listed})


def to_number(number: int) -> Value:
    from profilectl.rules.text.values import Number

    return Number(str(number))


def print_rules(rules: dict[str, Any]) -> None:
    """Print the tables in force."""
    identity, attributes = rules["identity"], rules["attributes"]
    print_line(
        f"identity strategy: {identity['strategy']}, a unique identity that another profile has: {identity['unique_conflict']}"
    )
    flags = {name: set(identity[name]) for name in ("login", "unique", "immutable")}
    kinds = [
        *identity["hierarchy"],
        *sorted({kind for one in flags.values() for kind in one} - {*identity["hierarchy"]}),
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
    print_table(
        f"Attribute priority: {attributes['priority']}",
        ("the incoming source is ... than the owner", "then"),
        [(stands, verdict) for stands, verdict in attributes["verdicts"].items()],
    )
    print_table(
        "Sources",
        ("rank", "source", "each is a unit of its own"),
        [
            (one["rank"], one["source"], "yes" if one["own_unit"] else "")
            for one in attributes["sources"]
        ],
        right=(0,),
    )
    print_table(
        "Protection levels",
        ("level", "unknown user", "known user", "code"),
        [
            (name, one["unknown_user"], one["known_user"], one["code"] or "")
            for name, one in rules["protection"].items()
        ],
    )
    if rules["feeds"]:
        print_table(
            "Feeds",
            ("feed", "unit", "rank", "protection"),
            [(one["feed"], one["unit"], one["rank"], one["protection"]) for one in rules["feeds"]],
            right=(2,),
        )
    print_line("limits: " + ", ".join(f"{name} {most:,}" for name, most in rules["limits"].items()))


# Identify


def _winner_json(entry: AttributeChange) -> dict[str, Value]:
    owner = entry.origin.feed.owner
    return entry_json(entry) | {"unit": owner.unit, "rank": Number(str(SOURCES[owner.source].rank))}


def print_identified(found: Identified) -> None:
    """Print each step down the hierarchy, and where it led."""
    for kind, value, why in found.skipped:
        print_line(f"{kind} {value}")
        print_line(f"  not used: {why}")
    for step in found.steps:
        print_line(f"{step.type} {step.key}")
        for profile in sorted(step.holders):
            print_line(
                f"  held by {_named(found, profile)}"
                + ("" if profile in step.eligible else f": passed over, {_guard(found, profile)}")
            )
        if step.holders and not (step.eligible & step.left) and step.left:
            print_line("  none of those found above: a lower type only breaks ties")
        elif len(step.left) > 1:
            print_line(f"  {len(step.left)} are left: the next type may tell them apart")
    if not found.usable:
        print_line(f"nobody: {sentence('NO_IDENTITY')}; such a row is rejected")
        return
    if found.found is None:
        print_line(
            "nobody: "
            + (
                "a row with these identities would found a profile, because the holders are protected"
                if found.protected
                else "a row with these identities would found a profile"
            )
        )
        return
    if found.steps and len(found.steps[-1].left) > 1:
        print_line("still tied: the profile that was touched last is taken")
    print_line(f"found {_named(found, found.found)}")


def _named(found: Identified, profile: int) -> str:
    one = found.people[profile]
    return f"{one.mpid} ({name_of(one)})"


def _guard(found: Identified, profile: int) -> str:
    one = found.people[profile]
    for flag, kinds in (("immutable", found.rules.immutable), ("login", found.rules.login)):
        held = [
            (identity.type, identity.value) for identity in one.identities if identity.type in kinds
        ]
        if held and not any(
            found.known.get(kind) == key_of(BY_NAME[kind], value) for kind, value in held
        ):
            return not_given(flag, held)
    return NOT_KNOWN


def identified_json(found: Identified) -> str:
    """Return the steps as JSON."""
    return to_json(
        {
            "mpid": str(found.people[found.found].mpid) if found.found is not None else None,
            "protected": found.protected,
            "skipped": [
                {"type": kind, "value": value, "why": why} for kind, value, why in found.skipped
            ],
            "usable": found.usable,
            "steps": [
                {
                    "type": step.type,
                    "key": step.key,
                    "holders": [
                        {
                            "mpid": str(found.people[one].mpid),
                            "why": None if one in step.eligible else _guard(found, one),
                        }
                        for one in sorted(step.holders)
                    ],
                    "left": [str(found.people[one].mpid) for one in sorted(step.left)],
                }
                for step in found.steps
            ],
        }
    )
