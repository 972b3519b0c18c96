"""The options that name one person.

There is a flag for every identity type, made from the table of types; --mpid; --identity; and for
some commands a bare VALUE.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self, cast

from profilectl.cli.options import parameter
from profilectl.cli.registry import argument, option
from profilectl.codes import UsageError
from profilectl.rules.fields import UnusableRow, whole_number
from profilectl.rules.identity import TYPES, IdentityType, no_type, type_named

ValueArgument = Annotated[
    str | None,
    argument(
        metavar="VALUE", help="Any identity, or an MPID, also a negative one.", show_default=False
    ),
]
MpidOption = Annotated[str | None, option("--mpid", metavar="MPID", help="The mParticle ID.")]
IdentityOption = Annotated[
    list[str] | None,
    option(
        "--identity",
        metavar="TYPE=VALUE",
        help="An identity of any type.",
        completion="typed",
    ),
]


@dataclass(frozen=True)
class IdentityFlags:
    """The flags of identity types: --email, --customer-id, ..."""

    by_type: dict[str, str] = field(default_factory=dict)
    """The value of each identity that was named, by its type."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return a flag for each identity type, and --identity."""
        flags = [parameter(kind.name, _flag_of(kind), None) for kind in TYPES]
        return [*flags, parameter("identity", IdentityOption, None)]

    @classmethod
    def of_values(cls, values: dict[str, object]) -> Self:
        """Take the flags out of the values of a command.

        Raises UsageError for an --identity that is none, or of a type that is named twice.
        """
        by_type = _flags_in(values)
        for text in cast("list[str] | None", values["identity"]) or ():
            kind, value = typed_identity(text, mpid=False)
            if kind in by_type:
                raise UsageError(f"{kind} is named twice", f"name one identity of type {kind}")
            by_type[kind] = value
        return cls(by_type)


@dataclass(frozen=True)
class PersonFlags:
    """The flags that name one person: of an identity type, --mpid or --identity."""

    by_type: dict[str, str] = field(default_factory=dict)
    """The value of each flag that was given, by identity type."""
    mpid: str | None = None
    """The value of --mpid."""
    identities: Sequence[str] = ()
    """The values of --identity, each TYPE=VALUE."""
    text: str | None = None
    """The bare VALUE: an identity of any type, or an MPID."""
    takes_text: ClassVar[bool] = False
    """Whether a bare VALUE may stand alone."""

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return a flag for each identity type, --mpid and --identity."""
        text = [parameter("text", ValueArgument, None)] if cls.takes_text else []
        *flags, identity = IdentityFlags.parameters()
        return [*text, *flags, parameter("mpid", MpidOption, None), identity]

    @classmethod
    def of_values(cls, values: dict[str, object]) -> Self:
        """Take the flags out of the values of a command."""
        return cls(
            by_type=_flags_in(values),
            mpid=cast("str | None", values["mpid"]),
            identities=cast("list[str] | None", values["identity"]) or (),
            text=cast("str | None", values.get("text")),
        )

    def named(self) -> list[tuple[str, str]]:
        """Return each identity that was named, as its type ("mpid", "any") and value."""
        mpid = [] if self.mpid is None else [("mpid", self.mpid)]
        text = [] if self.text is None else [("any", self.text)]
        typed = [typed_identity(identity) for identity in self.identities]
        return [*self.by_type.items(), *mpid, *typed, *text]

    def is_given(self) -> bool:
        """Return whether anything names a person."""
        return bool(self.by_type or self.identities) or self.mpid is not None or bool(self.text)


@dataclass(frozen=True)
class AnyPersonFlags(PersonFlags):
    """The flags that name one person, or a bare VALUE."""

    takes_text: ClassVar[bool] = True


def _flag_of(kind: IdentityType) -> object:
    flag = option(
        f"--{kind.name.replace('_', '-')}",
        metavar="VALUE",
        rich_help_panel="Device identities" if kind.device else "User identities",
        show_default=False,
    )
    return Annotated[str | None, flag]


def _flags_in(values: dict[str, object]) -> dict[str, str]:
    flags = {kind.name: values.get(kind.name) for kind in TYPES}
    return {kind: str(value) for kind, value in flags.items() if value is not None}


def who_is_meant(person: PersonFlags, example: str) -> tuple[str, str]:
    """Return the type (also "mpid" or "any") and the value of the identity that names a person.

    Raises UsageError, with the example as its hint, unless exactly one identity is named.
    """
    identities = person.named()
    if len(identities) != 1:
        raise UsageError("name one identity", example.removeprefix("Example: "))
    ((kind, value),) = identities
    return kind, mpid_of(value) if kind == "mpid" else value


def typed_identity(text: str, flag: str = "--identity", *, mpid: bool = True) -> tuple[str, str]:
    """Return the type and value of an option TYPE=VALUE.

    mpid: whether the type may be mpid. Raises UsageError if the text is no identity.
    """
    name, equals, value = text.partition("=")
    kind = type_named(name)
    if not equals or (kind is None and not (mpid and name == "mpid")):
        if equals:
            raise no_type(name, flag, ["mpid"] if mpid else [])
        raise UsageError(
            f"{flag} {text}: must be TYPE=VALUE",
            "the types are " + ", ".join(kind.name for kind in TYPES),
        )
    if not value.strip():
        raise UsageError(f"{flag} {text} is empty", f"for example {flag} {name}=VALUE")
    return (kind.name, value) if kind else ("mpid", mpid_of(value))


def typed(name: str, more: Sequence[str] = ()) -> str:
    """Return the identity type that --type names.

    more: names that are no type but may be given too. Raises UsageError for an unknown name.
    """
    kind = type_named(name)
    if kind is None:
        raise no_type(name, "--type", more)
    return kind.name


def mpid_of(value: str) -> str:
    """Return an MPID in its usual form. Raises UsageError if the text is no MPID."""
    try:
        number = whole_number(value, "MPID_INVALID")
    except UnusableRow:
        number = None
    if number is None:
        raise UsageError(
            f"{value} is not an MPID",
            "an MPID is a whole number of 64 bits, for example --mpid=-42",
        )
    return str(number)
