"""Identities: their types and keys, the values that are nobody's, and the strategies.

Which profile a row belongs to is in resolution.py. Sources: domain.md 3 (types, aliases,
normalisation), 4.1 to 4.3 (hierarchy, flags, strategies), design.md R2, R3, R13, R21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.text.casing import fold
from profilectl.rules.text.naming import no_such


@dataclass(frozen=True, slots=True)
class IdentityType:
    """A type of identity (domain.md 3)."""

    name: str
    """Its name in a Batch."""
    device: bool
    """Whether it belongs to a device; then it stands under device_info."""
    shape: str
    """How a value is normalised for look-up: "text" (outer white space removed), "email" (and in
    lower case) or "guid" (and in lower case, and it must be a GUID).
    """
    aliases: tuple[str, ...] = ()
    """Its other names."""

    @property
    def field(self) -> str:
        """The dotted Batch name of this identity."""
        if self.name == "mp_deviceid":
            return self.name
        return f"{'device_info' if self.device else 'user_identities'}.{self.name}"

    @property
    def may_be_spoiled(self) -> bool:
        """Whether a value may be a number that a spreadsheet spoiled.

        E-mails and GUIDs never were numbers.
        """
        return self.shape == "text"


# fmt: off
TYPES: tuple[IdentityType, ...] = (
    #            name                           device  shape    aliases (domain.md 3.1 and 3.2)
    IdentityType("customer_id",                 False, "text",  ("customerid",
                                                                 "controller_customer_id")),
    IdentityType("email",                       False, "email"),
    IdentityType("mobile_number",               False, "text"),
    IdentityType("phone_number_2",              False, "text"),
    IdentityType("phone_number_3",              False, "text"),
    IdentityType("other",                       False, "text"),
    IdentityType("other_id_2",                  False, "text",  ("other2",)),
    IdentityType("other_id_3",                  False, "text",  ("other3",)),
    IdentityType("other_id_4",                  False, "text",  ("other4",)),
    IdentityType("other_id_5",                  False, "text",  ("other5",)),
    IdentityType("other_id_6",                  False, "text",  ("other6",)),
    IdentityType("other_id_7",                  False, "text",  ("other7",)),
    IdentityType("other_id_8",                  False, "text",  ("other8",)),
    IdentityType("other_id_9",                  False, "text",  ("other9",)),
    IdentityType("other_id_10",                 False, "text",  ("other10",)),
    IdentityType("facebook",                    False, "text",  ("facebook_id",)),
    IdentityType("facebook_custom_audience_id", False, "text",  ("facebookcustomaudienceid",)),
    IdentityType("google",                      False, "text",  ("google_id",)),
    IdentityType("twitter",                     False, "text",  ("twitter_id",)),
    IdentityType("microsoft",                   False, "text",  ("microsoft_id",)),
    IdentityType("yahoo",                       False, "text",  ("yahoo_id",)),
    IdentityType("alias",                       False, "text"),
    IdentityType("ios_advertising_id",          True,  "guid",  ("ios_idfa",)),
    IdentityType("ios_idfv",                    True,  "guid",  ("ios_vendor_id",)),
    IdentityType("android_advertising_id",      True,  "guid",  ("android_aaid",
                                                                 "google_advertising_id")),
    IdentityType("android_uuid",                True,  "text",  ("android_id",)),
    IdentityType("amp_id",                      True,  "text"),
    IdentityType("fire_advertising_id",         True,  "guid",  ("fire_aid",)),
    IdentityType("roku_advertising_id",         True,  "guid",  ("roku_aid",)),
    IdentityType("roku_publisher_id",           True,  "guid",  ("roku_publishing_id",)),
    IdentityType("microsoft_publisher_id",      True,  "guid"),
    IdentityType("microsoft_advertising_id",    True,  "guid"),
    IdentityType("push_token",                  True,  "text",  ("push_notification_token",
                                                                 "apple_push_notification_token",
                                                                 "google_cloud_messaging_token")),
    IdentityType("mp_deviceid",                 True,  "guid",  ("device_application_stamp",)),
)

# The order is the rule: the platform's documented hierarchy, completed so that every type has a
# rank; a push token never identifies anybody (domain.md 4.1).
HIERARCHY: tuple[str, ...] = (
    "customer_id",
    "mobile_number", "phone_number_2", "phone_number_3",
    "email",
    "other", "other_id_2", "other_id_3", "other_id_4", "other_id_5",
    "other_id_6", "other_id_7", "other_id_8", "other_id_9", "other_id_10",
    "facebook", "facebook_custom_audience_id", "google", "twitter", "microsoft", "yahoo", "alias",
    "ios_advertising_id", "ios_idfv",
    "android_advertising_id", "android_uuid", "amp_id", "fire_advertising_id",
    "roku_advertising_id", "roku_publisher_id",
    "microsoft_publisher_id", "microsoft_advertising_id",
    "mp_deviceid",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Strategy:
    """The parts of resolution that an identity strategy fixes (domain.md 4.2)."""

    login: tuple[str, ...]
    """The login types, which make a profile known."""
    unique: tuple[str, ...]
    """The types whose values at most one profile holds."""
    immutable: tuple[str, ...]
    """The types that a profile never changes once it has one."""
    fixed: tuple[str, ...]
    """The flags among login, unique and immutable that cannot be configured."""
    login_decides: bool
    """Whether a row with a login identity is looked up by its login identities only, and finds
    known profiles only.
    """
    logout: str
    """The profile that a logout leads to, one of LOGOUTS."""


# fmt: off
CALLS = ("identify", "login", "logout")
"""The calls in which an application names its user (domain.md 4.3); a batch means `identify`."""
LOGOUTS: dict[str, str] = {
    "new":       "to a new profile, always",
    "anonymous": "back to the anonymous profile of the device",
    "identify":  "where an identify leads: there are no known profiles",
}
_CUSTOMER, _PERSON, _NONE = ("customer_id",), ("customer_id", "email"), ()
_FLAGS, _TWO_FLAGS = ("login", "unique", "immutable"), ("login", "unique")
STRATEGIES: dict[str, Strategy] = {
    #                      login       unique      immutable   fixed        login     logout
    #                                                                       decides
    "default":    Strategy(_CUSTOMER,  _CUSTOMER,  _CUSTOMER,  _FLAGS,      False,    "new"),
    "conversion": Strategy(_CUSTOMER,  _CUSTOMER,  _CUSTOMER,  _NONE,       False,    "new"),
    "link":       Strategy(_PERSON,    _PERSON,    _NONE,      _TWO_FLAGS,  True,     "new"),
    "isolation":  Strategy(_PERSON,    _PERSON,    _NONE,      _TWO_FLAGS,  True,     "anonymous"),
    "best-match": Strategy(_NONE,      _NONE,      _NONE,      _FLAGS,      False,    "identify"),
}

# What people and programs write for "nothing" (design.md R13). Compared without case; a * at one
# end is any text.
NOTHING: dict[str, tuple[str, ...]] = {
    # the writer                          the values
    "a database, or a program's text":    ("null", "(null)", "[null]", "\\N", "none", "undefined",
                                           "[object Object]"),
    "pandas, R":                          ("nan", "NA", "<NA>", "NaT"),
    "a spreadsheet's error":              ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!",
                                           "#NULL!", "#NUM!"),
    "a person":                           ("n/a", "-", "unknown", "test@test.com", "noemail@*",
                                           "none@*"),
    "a device that may not be tracked":   ("00000000-0000-0000-0000-000000000000",),
}
# fmt: on
PLACEHOLDERS: tuple[str, ...] = tuple(value for values in NOTHING.values() for value in values)


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A way in which a number in a text has lost digits, or gained some."""

    writer: str
    """The program that writes such a text."""
    example: str
    """A text."""
    pattern: str
    """The pattern of the whole text."""


# A text counts as a spoiled number only if it can hardly be anything else. Digits around a bare e
# are an id (1234e56, a piece of a GUID), so an exponent counts after a point or a comma, or with
# its plus sign. 12e-5 is no spoiled id either: no id was ever a number below 1. A comma before a
# nought separates thousands as often.
# fmt: off
SPOILED: tuple[Spoiled, ...] = (
    Spoiled("a spreadsheet, of a number longer than its column",
            "4.47701E+11",    "[+-]?[0-9]+[.,][0-9]+[eE][+-]?[0-9]+"),
    Spoiled("the same, where the digits after the first are 0",
            "4E+11",          "[+-]?[0-9]+[eE][+][0-9]+"),
    Spoiled("pandas, of whole numbers in a column with gaps",
            "447700900123.0", "[+-]?[0-9]+[.]00?"),
)
# fmt: on
SPOILED_PATTERN = "|".join(way.pattern for way in SPOILED)
CODES_OF_NOBODY = ("IDENTITY_PLACEHOLDER", "IDENTITY_SPOILED", "DEVICE_ID_INVALID")
"""The codes of an identity that is skipped, in the order in which they are checked."""

# fmt: off
MARKS: tuple[str, ...] = (
    "none", "null", "nil", "nobody", "nothing", "empty", "unknown", "anonymous", "anon", "guest",
    "default", "dummy", "fake", "sample", "example", "test", "testing", "tester", "noreply",
    "donotreply", "noemail", "nomail", "noname", "na", "missing", "notprovided", "xxx", "abc",
)
# fmt: on
"""Words that people write where they know no value, beside PLACEHOLDERS."""
FEW_CHARACTERS = 2
"""A value of at most this many distinct letters and digits, in at least four places, is seldom
anybody's: 0000, 1111111, xxxx.
"""

BY_NAME: Mapping[str, IdentityType] = {kind.name: kind for kind in TYPES}
CODE: Mapping[str, int] = {kind.name: code for code, kind in enumerate(TYPES, start=1)}
"""The number of each type in a store."""
NAME: Mapping[int, str] = {code: name for name, code in CODE.items()}
_ALIASES: Mapping[str, IdentityType] = {
    alias: kind for kind in TYPES for alias in (kind.name, *kind.aliases)
}
WHITE_SPACE = " \t\n\r\f\v"
"""The characters that are trimmed from a value."""
GUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_guid = re.compile(GUID)
_spoiled = re.compile(SPOILED_PATTERN)


def type_named(name: str) -> IdentityType | None:
    """Return the identity type of a name or an alias, in any case, or None (domain.md 3)."""
    # People write "E-Mail" and "Customer ID": blanks and dashes are underscores.
    return _ALIASES.get(name.strip(WHITE_SPACE).lower().replace(" ", "_").replace("-", "_"))


def no_type(name: str, option: str = "", more: Iterable[str] = ()) -> UsageError:
    """Return the refusal of an identity type that does not exist.

    option: the option it was typed behind. more: other names that may stand there.
    """
    refusal = no_such("identity type", name, (*BY_NAME, *more), option=option)
    return UsageError(refusal.message, refusal.hint or "the types are " + ", ".join(BY_NAME))


def display(value: str) -> str:
    """Return a value as it is shown: without outer white space."""
    return value.strip(WHITE_SPACE)


def key_of(kind: IdentityType, value: str) -> str:
    """Return the key that a value is looked up by (domain.md 3.4, design.md R21).

    The value is trimmed already. Only this and sql.identities.key, its twin in SQL, make keys. A
    look-up never judges a value.
    """
    return value if kind.shape == "text" else fold(value)


@dataclass(frozen=True, slots=True)
class Judging:
    """The values that are nobody's identity (design.md R13). All texts are folded (casing.fold)."""

    exact: frozenset[str] = frozenset()
    """Placeholders, whole."""
    beginnings: tuple[str, ...] = ()
    """The beginnings of placeholders that end in *."""
    endings: tuple[str, ...] = ()
    """The endings of placeholders that begin with *."""
    allow_spoiled: bool = False
    """Whether an identity may look like a number that a spreadsheet spoiled (`--allow-spoiled`)."""

    @property
    def listed(self) -> list[str]:
        """The placeholders as a configuration has them, sorted."""
        return sorted(
            [
                *self.exact,
                *(f"{beginning}*" for beginning in self.beginnings),
                *(f"*{ending}" for ending in self.endings),
            ]
        )

    def is_placeholder(self, value: str) -> bool:
        """Return whether a value without outer white space is a placeholder."""
        low = fold(value)
        return low in self.exact or low.startswith(self.beginnings) or low.endswith(self.endings)

    def code(self, kind: IdentityType, value: str) -> str | None:
        """Return why a value is nobody's identity of a type, one of CODES_OF_NOBODY, or None.

        The value has no outer white space, and is not empty.
        """
        if self.is_placeholder(value):
            return "IDENTITY_PLACEHOLDER"
        if kind.may_be_spoiled and not self.allow_spoiled and _spoiled.fullmatch(value):
            return "IDENTITY_SPOILED"
        if kind.shape == "guid" and not _guid.fullmatch(fold(value)):
            return "DEVICE_ID_INVALID"
        return None


def judging_of(entries: Iterable[str]) -> Judging:
    """Return how values are judged by the placeholders of a configuration.

    An entry of stars alone is that text, as is an entry with a * in its middle (star_of).
    """
    exact, beginnings, endings = set(), set(), set()
    for entry in (fold(display(entry)) for entry in entries):
        match star_of(entry):
            case "end":
                beginnings.add(entry[:-1])
            case "beginning":
                endings.add(entry[1:])
            case _:
                exact.add(entry)
    return Judging(frozenset(exact), tuple(sorted(beginnings)), tuple(sorted(endings)))


def star_of(entry: str) -> str | None:
    """Return the place of the * in a placeholder: "beginning", "end" or "middle".

    At the beginning or the end it means any text; in the middle it is refused. Returns None if
    there is no *, or nothing else.
    """
    bare = entry.strip("*")
    if "*" not in entry or not bare:
        return None
    return {f"{bare}*": "end", f"*{bare}": "beginning"}.get(entry, "middle")


JUDGING = judging_of(PLACEHOLDERS)
"""The judging by default."""
NO_JUDGING = Judging(allow_spoiled=True)
"""Every value may be somebody's; only a device must still have a GUID."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The identity rules in force."""

    strategy: str = "default"
    """The strategy, one of STRATEGIES."""
    hierarchy: tuple[str, ...] = HIERARCHY
    """The types in the order in which they are looked up."""
    login: frozenset[str] = frozenset(STRATEGIES["default"].login)
    """The login types, which make a profile known."""
    unique: frozenset[str] = frozenset(STRATEGIES["default"].unique)
    """The types whose values at most one profile holds."""
    immutable: frozenset[str] = frozenset(STRATEGIES["default"].immutable)
    """The types that a profile never changes once it has one."""
    unique_conflict: str = "move"
    """Whether a unique identity that another profile holds moves to the row's profile ("move"), or
    stays ("keep") (design.md R2).
    """
    judging: Judging = JUDGING
    """The values that are nobody's identity."""

    @property
    def login_decides(self) -> bool:
        """Whether a row with a login identity is looked up by its login identities only."""
        return STRATEGIES[self.strategy].login_decides

    def leads(self, call: str) -> str:
        """Return where a call leads: "identify", or for a logout one of LOGOUTS (domain.md 4.3)."""
        return STRATEGIES[self.strategy].logout if call == "logout" else "identify"

    @property
    def sole_key(self) -> str | None:
        """The type that alone names a known profile, or None.

        If the one login type is unique, immutable and first in the hierarchy, a row with it belongs
        to the holder of that value and to nobody else, whichever other identities it has.
        """
        # Login protection lets no other identity find a known profile (domain.md 4.2).
        if (
            self.login_decides
            or not self.hierarchy
            or not self.login == self.unique == self.immutable == {self.hierarchy[0]}
        ):
            return None
        return self.hierarchy[0]


@dataclass(frozen=True, slots=True)
class UsableIdentity:
    """An identity that may be used."""

    type: str
    """Its type."""
    value: str
    """Its value as it is shown."""
    key: str
    """The key that it is looked up by."""


def usable(kind: IdentityType, raw: str, judging: Judging) -> UsableIdentity | str | None:
    """Return the identity in a raw value, or the code that skips it, or None if it is empty."""
    value = display(raw)
    if not value:
        return None
    return judging.code(kind, value) or UsableIdentity(kind.name, value, key_of(kind, value))


def looks_like_nothing(kind: str, value: str) -> bool:
    """Return whether an identity of a type looks like a mark of nothing (design.md R14).

    It does if it is a placeholder, has few distinct characters, or has a word of MARKS.
    """
    text = display(value).lower()
    # The domain of an address says nothing of the person.
    local = text.partition("@")[0] if BY_NAME[kind].shape == "email" else text
    letters = "".join(letter for letter in local if letter.isalnum())
    bare = "".join(letter for letter in letters if letter.isalpha())
    words = {*re.split(r"[^a-z]+", local), bare}
    has_few = len(letters) >= 4 and len(set(letters)) <= FEW_CHARACTERS
    is_listed = JUDGING.code(BY_NAME[kind], display(value)) == "IDENTITY_PLACEHOLDER"
    return is_listed or not letters or has_few or bool(words & {*MARKS})


def anonymous(identities: Iterable[UsableIdentity], rules: Rules) -> tuple[UsableIdentity, ...]:
    """Return the identities that count for a logout: it leads to nobody known (domain.md 4.3)."""
    return tuple(identity for identity in identities if identity.type not in rules.login)


def flags_of(strategy: str, configured: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return login, unique and immutable of a strategy, each as configured or else its own.

    configured: the flags in a configuration.
    """
    row = STRATEGIES[strategy]
    return {
        flag: frozenset(configured.get(flag, getattr(row, flag)))
        for flag in ("login", "unique", "immutable")
    }
