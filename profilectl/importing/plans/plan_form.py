"""The form of a saved plan: which keys it has and what each may be; anything else is no plan.

A plan is a file, and a file may be anybody's. So it is read with a limit, and every value is looked
at before it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from profilectl.codes import CODES, InputRefused

FORM = 2
"""The version of the plan's form: since 2 the store's secret signs it."""
LARGEST = 256 << 20
"""The most bytes that are read of a plan."""
DEEPEST = 64
"""The most levels of a plan: examples have lists in values, nothing is deeper."""
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""
REMEDY = "name a plan that `profilectl plan` has written"

Check = Callable[[Any], bool]
Shape = Any
"""A type, a check, a tuple of shapes of which one fits, [shape of each], {"*": shape of each
member, by any name}, or {"name": shape, "may_be?": shape}.
"""


def _count(value: object) -> bool:
    # Not isinstance, of which True is an int.
    return type(value) is int and 0 <= value < 1 << 63


def _time(value: object) -> bool:
    return type(value) is int and 0 <= value <= LATEST_MS


def _text(value: object) -> bool:
    """Return whether a value is a text that can be a path, a name or an option: without NUL."""
    return _any_text(value) and "\0" not in str(value)


def _any_text(value: object) -> bool:
    """Return whether a value is a text as a file had it: with NUL, without half a character."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _true(value: object) -> bool:
    return value is True


def _false(value: object) -> bool:
    return value is False


def _anything(value: object) -> bool:
    return True


def _only(*values: object) -> Check:
    # Python holds True to be equal to 1, and 2.0 to 2.
    return lambda value: type(value) in (str, int) and value in values


def _by_code(shape: Shape) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() <= CODES.keys()
        and all(fits(member, shape) for member in value.values())
    )


def _but(shape: dict[str, Shape], **needed: Shape) -> dict[str, Shape]:
    """Return a shape some of whose members must be there, in a shape of their own."""
    return {**{name: of for name, of in shape.items() if name[:-1] not in needed}, **needed}


# fmt: off
MAYBE_TEXT: Shape = (_text, None)
PLACE: dict[str, Shape] = {"file": _text, "line?": _count, "row?": _count}
CHANGE: dict[str, Shape] = {
    **PLACE, "mpid?": _text, "type?": _text, "value?": _anything, "attribute?": _text,
    "before?": _anything, "after?": _anything, "code?": _text, "from_mpid?": MAYBE_TEXT,
    "to_mpid?": MAYBE_TEXT, "identities?": {"*": _anything}, "attributes?": {"*": _anything},
    "message?": _any_text, "raw?": (_any_text, None), "refused?": _anything,
}
OF_IDENTITY: Shape = [_but(CHANGE, type=_text)]
OF_ATTRIBUTE: Shape = [_but(CHANGE, attribute=_text)]
REFUSED: Shape = [_but(CHANGE, attribute=_text, code=_text)]
SHARED: Shape = [{"type": _text, "value": _text, "rows": _count, "profiles": _count}]
EXAMPLES: Shape = {
    "reasons": _by_code([CHANGE]),
    "profiles": {"created": [CHANGE], "updated": [CHANGE]},
    "identities": {"added": OF_IDENTITY, "moved": OF_IDENTITY, "removed": OF_IDENTITY},
    "attributes": {
        "set": OF_ATTRIBUTE, "changed": OF_ATTRIBUTE, "deleted": OF_ATTRIBUTE, "blocked": REFUSED,
    },
    "shared": SHARED,
}
COUNTS: Shape = {"*": _count}
FEED: Shape = {
    "name": _text, "source": _text, "protection": _text, "partner": MAYBE_TEXT, "number": _count,
    "workspace": _text,
}
REQUEST: Shape = {
    "paths": [_text], "feed": _text, "protection": MAYBE_TEXT, "source": MAYBE_TEXT,
    "partner": MAYBE_TEXT, "format": MAYBE_TEXT, "manifest": MAYBE_TEXT, "manifest_sha256?": _text,
    "mapped": [_text], "delimiter": MAYBE_TEXT, "encoding": MAYBE_TEXT, "nulls": [_text],
    "empty": _only("ignore", "delete", "set"), "quote": MAYBE_TEXT, "escape": MAYBE_TEXT,
    "skip_lines": _count, "ragged": _text, "unknown": _text, "encoding_errors": _text,
    "path_columns": bool, "binary_as_text": bool, "allow_spoiled": bool, "strict": bool,
    "environment": MAYBE_TEXT, "again": bool, "max_shared": (_count, None),
    "max_rejects": MAYBE_TEXT, "content": None, "who": None, "event": MAYBE_TEXT,
    "workspace": MAYBE_TEXT, "max_unpacked": MAYBE_TEXT, "any_time": _false, "folder": _text,
    "rejects?": _only("none"),
}
FILE: Shape = {
    "path": _text, "sha256": _text, "rows": _count, "columns?": {"*": _text},
    "already_imported?": _count,
}
REPORT: Shape = {
    "import": None, "feed": _text, "source": _text, "protection": _text, "environment": _text,
    "dry_run": _true, "files": [FILE], "rows": COUNTS, "profiles": COUNTS, "identities": COUNTS,
    "attributes": COUNTS, "events": COUNTS, "reasons": _by_code(_count),
    "warnings": _by_code(_count), "left_out": _by_code(COUNTS), "slow_path_rows": _count,
    "rejects": MAYBE_TEXT, "elapsed_ms": _count, "locked_ms": _count, "notices": [_text],
    "shared": SHARED, "rejects_as_input?": MAYBE_TEXT, "explained_rows?": MAYBE_TEXT,
    "advice": [{"code": _text, "text": _any_text, "command": _any_text}],
    "examples?": EXAMPLES, "already_imported?": _count,
}
PLAN: Shape = {
    "profilectl_plan": _only(FORM), "version": _text, "created_ms": _time, "made_by": _text,
    "state": {
        "store": MAYBE_TEXT, "imports": [[(_count, bool)]], "settings": {"*": _anything},
        "feeds": [FEED], "calculated": [_text], "erasure": _count,
    },
    "request": REQUEST, "report": REPORT, "seal": _text,
}
# fmt: on


def fits(value: object, shape: Shape) -> bool:
    """Return whether a value of a document is as a shape says."""
    match shape:
        case None:
            return value is None
        case type():
            return type(value) is shape
        case tuple():
            return any(fits(value, choice) for choice in shape)
        case list():
            return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
        case {"*": each}:  # before dict(), which it is too
            return (
                isinstance(value, dict)
                and all(map(_text, value))
                and all(fits(member, each) for member in value.values())
            )
        case dict():
            return isinstance(value, dict) and _members_fit(value, shape)
    return bool(shape(value))


def _members_fit(value: dict[str, object], shape: dict[str, Shape]) -> bool:
    needed = {name for name in shape if not name.endswith("?")}
    shapes = {name.removesuffix("?"): of for name, of in shape.items()}
    return needed <= value.keys() <= shapes.keys() and all(
        fits(value[name], shapes[name]) for name in value
    )


def document_of(path: Path) -> tuple[dict[str, Any], str]:
    """Read a saved plan; return it and its text.

    Raises InputRefused for anything that is not of the form, however it was forged.
    """
    text = _text_of(path)
    no_plan = InputRefused(f"{path} is not a plan", REMEDY)
    try:
        plan = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite
        )
    except (ValueError, RecursionError):
        raise no_plan from None
    if not isinstance(plan, dict) or _is_deeper(plan, DEEPEST):
        raise no_plan
    if plan.get("profilectl_plan") == 1:
        raise InputRefused(
            f"{path} is not a plan of this version: an older one wrote it, which did not sign it",
            "make it again with `profilectl plan`",
        )
    is_plan = plan.keys() <= PLAN.keys() and all(
        fits(plan.get(name), shape) for name, shape in PLAN.items()
    )
    # The shape of a list does not say how long it is.
    if not is_plan or not all(len(pair) == 2 for pair in plan["state"]["imports"]):
        raise InputRefused(
            f"{path} is not a plan of this version", "make it again with `profilectl plan`"
        )
    return plan, text


def _text_of(path: Path) -> str:
    """Return the text of a plan. Raises InputRefused if it cannot be one."""
    try:
        with path.open("rb") as content:
            text = content.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise InputRefused(f"{path}: {getattr(error, 'strerror', None) or error}", REMEDY) from None
    if len(text) > LARGEST:
        raise InputRefused(f"{path} is not a plan: it is larger than {LARGEST >> 20} MB", REMEDY)
    try:
        return text.decode()
    except ValueError:
        raise InputRefused(f"{path} is not a plan", REMEDY) from None


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object. Raises ValueError for a key that is there twice.

    Such a plan could be read one way and shown another.
    """
    document = dict(members)
    if len(document) != len(members):
        raise ValueError
    return document


def _no_number(name: str) -> object:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _is_deeper(value: object, most: int) -> bool:
    """Return whether a document is nested deeper than it may be."""
    # Level by level: recursion would fail on what this is to refuse.
    level = [value]
    for _ in range(most):
        level = [member for outer in level for member in _members(outer)]
        if not level:
            return False
    return True


def _members(value: object) -> Iterable[object]:
    """Return what is nested in a value."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
