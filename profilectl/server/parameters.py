"""The parameters of requests: workspace, fields, identity, environment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import type_named
from profilectl.rules.text.values import Number, Value
from profilectl.server.answer import FIELDS
from profilectl.server.bodies import bad
from profilectl.server.desk import mpid_of

Workspace = Annotated[
    str, Path(description="The workspace's number, as the credentials file has it.")
]
Org = Annotated[str, Path(description="The organization's number.")]
Account = Annotated[str, Path(description="The account's number.")]
Fields = Annotated[
    str,
    Query(
        description="Comma-separated: " + ", ".join(FIELDS) + ".",
        examples=["user_attributes,user_identities"],
    ),
]
Mpid = Annotated[str, Path(description="A whole number of 64 bits.")]


def fields_named(text: str) -> list[str]:
    """Return the names in the parameter `fields`. Raises Problem."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or any(name not in FIELDS for name in names):
        raise bad(f"fields must name some of {', '.join(FIELDS)}")
    return names


def identity_of(identity: Value) -> tuple[str, str]:
    """Return the type and value of an identity that a body has. Raises Problem."""
    if (
        not isinstance(identity, dict)
        or not isinstance(name := identity.get("type"), str)
        or not isinstance(value := identity.get("value"), str)
        or isinstance(value, Number)
    ):
        raise bad('an identity has a "type" and a "value", both texts')
    kind = type_named(name)
    if kind is None and name not in ("mpid", "any"):
        raise bad("there is no such identity type")
    if name == "mpid" and mpid_of(value) is None:
        raise bad("an MPID is a whole number of 64 bits")
    return (kind.name if kind else name), value


def environment_of(value: Value, *, needed: bool) -> str | None:
    """Return the environment that a body names.

    Raises Problem for an invalid one, and if it is needed and missing.
    """
    if value is None and not needed:
        return None
    if not isinstance(value, str) or value not in ENVIRONMENTS:
        raise bad("environment_type must be production or development")
    return value
