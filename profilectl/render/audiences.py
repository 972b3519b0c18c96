"""Calculated attributes and audiences, printed for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from profilectl.render.screen import Document, counted, notice, print_line, print_text
from profilectl.render.tables import print_table
from profilectl.render.words import date, shown_value


def print_calculated(attributes: Sequence[Document]) -> None:
    """Print calculated attributes, one a line."""
    if not attributes:
        notice("no calculated attributes")
        return
    rows = [
        (
            attribute["name"],
            attribute["state"],
            defined(attribute),
            f"{attribute['profiles']:,}",
            date(attribute["computed_ms"]) if attribute["computed_ms"] else "never",
        )
        for attribute in attributes
    ]
    print_table(
        "",
        ("attribute", "state", "definition", "profiles", "computed"),
        rows,
        right=(3,),
    )


def defined(definition: Document) -> str:
    """Return a definition in words, such as "count of custom_event purchase within 30 days"."""
    words = [definition["type"].replace("_", " ")]
    if definition.get("of"):
        words.append(f"of {definition['of']}")
    words.append(
        f"of {definition.get('event_type', 'custom_event')}"
        + (f" {definition['event']}" if definition.get("event") else "")
    )
    words += [
        f"{key} {definition[key]}" for key in ("where", "within", "since") if definition.get(key)
    ]
    return " ".join(words)


def print_calculation(attribute: Document) -> None:
    """Print a calculated attribute with its values, or a preview of one."""
    state = f" ({attribute['state']})" if "state" in attribute else ""
    print_line(f"{attribute['name']}{state}: {defined(attribute)}")
    print_line(f"{counted(attribute['profiles'], 'profile')} with a value")
    if attribute["most_frequent"]:
        print_table(
            "",
            ("value", "profiles"),
            [
                (shown_value(row["value"]), f"{row['profiles']:,}")
                for row in attribute["most_frequent"]
            ],
            right=(1,),
        )
        print_table(
            "",
            ("MPID", "value"),
            [(row["mpid"], shown_value(row["value"])) for row in attribute["sample"]],
        )


def print_audiences(audiences: Sequence[Document]) -> None:
    """Print audiences, one a line; after a refresh with how many users entered and left."""
    if not audiences:
        notice("no audiences")
        return
    moved = "entered" in audiences[0]
    rows = []
    for audience in audiences:
        moves = (
            [f"{audience['entered']:,}", f"{audience['left']:,}"]
            if moved
            else [date(audience["refreshed_ms"]) if audience["refreshed_ms"] else "never"]
        )
        rows.append(
            (
                audience["name"],
                audience["kind"],
                f"{audience['members']:,}",
                *moves,
                audience["criteria"],
            )
        )
    print_table(
        "",
        (
            "audience",
            "kind",
            "members",
            *(("entered", "left") if moved else ("refreshed",)),
            "criteria",
        ),
        rows,
        right=(2, *((3, 4) if moved else ())),
    )


def print_audience(audience: Document) -> None:
    """Print one audience."""
    print_line(f"{audience['name']}: {counted(audience['members'], 'member')}")
    lookback = (
        f", over the last {counted(audience['lookback_days'], 'day')}"
        if audience["lookback_days"]
        else ""
    )
    print_line(f"  {audience['kind']}{lookback}")
    print_line(f"  {audience['criteria']}")
    print_line(
        f"  evaluated {date(audience['refreshed_ms'])}"
        if audience["refreshed_ms"]
        else "  not evaluated yet"
    )


def print_preview(preview: Document) -> None:
    """Print how many users an audience would have, and some of them."""
    print_line(
        f"{preview['members']:,} of {counted(preview['profiles'], 'profile')}:"
        f" {preview['criteria']}"
    )
    rows = [(user["mpid"], _named(user["user_identities"])) for user in preview["sample"]]
    if rows:
        print_table("", ("MPID", "identities"), rows)


def _named(identities: dict[str, list[str]]) -> str:
    return ", ".join(f"{kind} {value}" for kind, values in identities.items() for value in values)


def print_members(members: Iterable[Document], *, as_json: bool) -> None:
    """Print the members of an audience."""
    from orjson import dumps

    if as_json:
        for member in members:
            print_text(dumps(member).decode() + "\n")
        return
    rows = [
        (member["mpid"], date(member["since_ms"]), _named(member["identities"]))
        for member in members
    ]
    print_table("", ("MPID", "since", "identities"), rows) if rows else notice("nobody is in it")


def print_moves(moves: Sequence[Document], *, as_json: bool) -> None:
    """Print the users that entered and left an audience."""
    from orjson import dumps

    if as_json:
        for move in moves:
            print_text(dumps(move).decode() + "\n")
        return
    rows = [
        (date(move["at_ms"]), move["mpid"] or "(gone)", move["change"], str(move["import"] or ""))
        for move in moves
    ]
    print_table("", ("time", "MPID", "change", "import"), rows) if rows else notice(
        "nobody entered or left"
    )
