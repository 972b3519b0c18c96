"""TODO render.audiences (split off render.screen)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from profilectl.render.screen import (
    _date,
    _shown,
    counted,
    notice,
    print_line,
    print_table,
    print_text,
)


def print_calculated(found: Sequence[dict[str, Any]]) -> None:
    """Print calculated attributes, one a line."""
    if not found:
        notice("no calculated attributes")
        return
    rows = [
        (
            one["name"],
            one["state"],
            defined(one),
            f"{one['profiles']:,}",
            _date(one["computed_ms"]) if one["computed_ms"] else "never",
        )
        for one in found
    ]
    print_table(
        "",
        ("calculated attribute", "state", "definition", "profiles", "computed"),
        rows,
        right=(3,),
    )


def defined(one: Mapping[str, Any]) -> str:
    """Return a definition as a sentence: sum of price of custom_event purchase where ... within 30
    days.
    """
    words = [one["type"].replace("_", " ")]
    if one.get("of"):
        words.append(f"of {one['of']}")
    words.append(
        f"of {one.get('event_type', 'custom_event')}"
        + (f" {one['event']}" if one.get("event") else "")
    )
    words += [f"{key} {one[key]}" for key in ("where", "within", "since") if one.get(key)]
    return " ".join(words)


def print_calculation(found: dict[str, Any]) -> None:
    """Print a calculated attribute with its values, or a preview of one."""
    state = f" ({found['state']})" if "state" in found else ""
    print_line(f"{found['name']}{state}: {defined(found)}")
    print_line(f"{counted(found['profiles'], 'profile')} with a value")
    if found["most_frequent"]:
        print_table(
            "",
            ("value", "profiles"),
            [(_shown(one["value"]), f"{one['profiles']:,}") for one in found["most_frequent"]],
            right=(1,),
        )
        print_table(
            "", ("MPID", "value"), [(one["mpid"], _shown(one["value"])) for one in found["sample"]]
        )


def print_audiences(found: Sequence[dict[str, Any]]) -> None:
    """Print audiences, one a line, with who entered and left where that is said."""
    if not found:
        notice("no audiences")
        return
    moved = "entered" in found[0]
    rows = []
    for one in found:
        last = (
            [f"{one['entered']:,}", f"{one['left']:,}"]
            if moved
            else [_date(one["refreshed_ms"]) if one["refreshed_ms"] else "never"]
        )
        rows.append((one["name"], one["kind"], f"{one['members']:,}", *last, one["criteria"]))
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


def print_audience(found: dict[str, Any]) -> None:
    """Print one audience."""
    print_line(f"{found['name']}: {counted(found['members'], 'member')}")
    lookback = (
        f", over the last {counted(found['lookback_days'], 'day')}"
        if found["lookback_days"]
        else ""
    )
    print_line(f"  {found['kind']}{lookback}")
    print_line(f"  {found['criteria']}")
    print_line(
        f"  evaluated {_date(found['refreshed_ms'])}"
        if found["refreshed_ms"]
        else "  not evaluated yet"
    )


def print_preview(found: dict[str, Any]) -> None:
    """Print how many an audience would have, and some of them."""
    print_line(
        f"{found['members']:,} of {counted(found['profiles'], 'profile')}: {found['criteria']}"
    )
    rows = [(one["mpid"], _named(one["user_identities"])) for one in found["sample"]]
    if rows:
        print_table("", ("MPID", "identities"), rows)


def _named(identities: dict[str, list[str]]) -> str:
    return ", ".join(f"{kind} {value}" for kind, values in identities.items() for value in values)


def print_members(found: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Print the members of an audience."""
    from orjson import dumps

    if as_json:
        for one in found:
            print_text(dumps(one).decode() + "\n")
        return
    rows = [(one["mpid"], _date(one["since_ms"]), _named(one["identities"])) for one in found]
    print_table("", ("MPID", "since", "identities"), rows) if rows else notice("nobody is in it")


def print_moves(found: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print who entered and left an audience."""
    from orjson import dumps

    if as_json:
        for one in found:
            print_text(dumps(one).decode() + "\n")
        return
    rows = [
        (_date(one["at_ms"]), one["mpid"] or "(gone)", one["change"], str(one["import"] or ""))
        for one in found
    ]
    print_table("", ("time", "MPID", "change", "import"), rows) if rows else notice(
        "nobody entered or left"
    )
