"""Identity types, their normalisation, the strategies, and the rule that resolves a row to a
profile.

Sources: domain.md 3 (types, aliases, normalisation), 4.1 to 4.4 (strategies, flags, resolution),
design.md R2, R3, R13, R15.
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
    """One type of identity.

    shape: how a value is normalised for look-up: "text" (outer white space removed), "email" (and
    lower-cased) or "guid" (and lower-cased, and it must be one). device: it sits under device_info.
    """

    name: str
    device: bool
    shape: str
    aliases: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The dotted Batch name of this identity."""
        if self.name == "mp_deviceid":
            return self.name
        return f"{'device_info' if self.device else 'user_identities'}.{self.name}"

    @property
    def may_be_spoiled(self) -> bool:
        """Whether a value could be a number that a spreadsheet spoiled: e-mails and GUIDs never
        were numbers.
        """
        return self.shape == "text"


# fmt: off
TYPES: tuple[IdentityType, ...] = (
    #            name                           device  shape    aliases (domain.md 3.1 and 3.2)
    IdentityType("customer_id",                 False, "text",  ("customerid", "controller_customer_id")),
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
    IdentityType("android_advertising_id",      True,  "guid",  ("android_aaid", "google_advertising_id")),
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


@dataclass(frozen=True, slots=True)
class Strategy:
    """What an identity strategy fixes.

    fixed: login, unique and immutable cannot be configured. login_decides: a row that brings a
    login identity is looked up by its login identities only, among known profiles only. logout:
    where a logout leads, of LOGOUTS.
    """

    login: tuple[str, ...]
    unique: tuple[str, ...]
    immutable: tuple[str, ...]
    fixed: tuple[str, ...]
    login_decides: bool
    logout: str


CALLS = ("identify", "login", "logout")
"""What an application says of its user (domain.md 4.3). A batch says what `identify` says."""
LOGOUTS: dict[str, str] = {
    "new":       "to a new profile, always",
    "anonymous": "back to the anonymous profile of the device",
    "identify":  "where an identify leads: there are no known profiles",
}
STRATEGIES: dict[str, Strategy] = {
    #                       login                     unique                    immutable        fixed                            login decides  logout
    "default":    Strategy(("customer_id",),         ("customer_id",),         ("customer_id",), ("login", "unique", "immutable"), False,         "new"),
    "conversion": Strategy(("customer_id",),         ("customer_id",),         ("customer_id",), (),                               False,         "new"),
    "link":       Strategy(("customer_id", "email"), ("customer_id", "email"), (),               ("login", "unique"),              True,          "new"),
    "isolation":  Strategy(("customer_id", "email"), ("customer_id", "email"), (),               ("login", "unique"),              True,          "anonymous"),
    "best-match": Strategy((),                       (),                       (),               ("login", "unique", "immutable"), False,         "identify"),
}

# What is written where nothing is known (design.md R13). Compared without case; a * at one end is
# any text.
NOTHING: dict[str, tuple[str, ...]] = {
    # who writes so                        what they write
    "a database, or a program's text":     ("null", "(null)", "[null]", "\\N", "none", "undefined", "[object Object]"),
    "pandas, R":                           ("nan", "NA", "<NA>", "NaT"),
    "a spreadsheet's error":               ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!"),
    "a person":                            ("n/a", "-", "unknown", "test@test.com", "noemail@*", "none@*"),
    "a device that may not be tracked":    ("00000000-0000-0000-0000-000000000000",),
}
PLACEHOLDERS: tuple[str, ...] = tuple(value for values in NOTHING.values() for value in values)


@dataclass(frozen=True, slots=True)
class Spoiled:
    """One way in which a number in a text has lost digits, or gained some.

    writer: who writes so.
    """

    writer: str
    example: str
    pattern: str


# A text is taken for a spoiled number only where it cannot well be anything else: digits around a
# bare e are an id (1234e56, a piece of a GUID), so an exponent counts after a point or a comma, or
# with its plus sign. 12e-5 is no spoiled id either: no id was ever a number below 1. A comma before
# a nought separates thousands as often.
SPOILED: tuple[Spoiled, ...] = (
    Spoiled("a spreadsheet, of a number longer than its column", "4.47701E+11",  "[+-]?[0-9]+[.,][0-9]+[eE][+-]?[0-9]+"),
    Spoiled("the same, where the digits after the first are 0",  "4E+11",        "[+-]?[0-9]+[eE][+][0-9]+"),
    Spoiled("pandas, of whole numbers in a column with gaps",    "447700900123.0", "[+-]?[0-9]+[.]00?"),
)
SPOILED_PATTERN = "|".join(one.pattern for one in SPOILED)
# The codes of an identity that is skipped, in the order in which they are looked for.
CODES_OF_NOBODY = ("IDENTITY_PLACEHOLDER", "IDENTITY_SPOILED", "DEVICE_ID_INVALID")
# fmt: on

# Words of which many values are made that stand where nothing was known; those of PLACEHOLDERS are
# some too.
MARKS: tuple[str, ...] = (
    "none",
    "null",
    "nil",
    "nobody",
    "nothing",
    "empty",
    "unknown",
    "anonymous",
    "anon",
    "guest",
    "default",
    "dummy",
    "fake",
    "sample",
    "example",
    "test",
    "testing",
    "tester",
    "noreply",
    "donotreply",
    "noemail",
    "nomail",
    "noname",
    "na",
    "missing",
    "notprovided",
    "xxx",
    "abc",
)
FEW_CHARACTERS = 2
"""A value of so few distinct letters and digits, in at least four places, is seldom somebody's:
0000, 1111111, xxxx.
"""

BY_NAME: Mapping[str, IdentityType] = {kind.name: kind for kind in TYPES}
CODE: Mapping[str, int] = {kind.name: code for code, kind in enumerate(TYPES, start=1)}
NAME: Mapping[int, str] = {code: name for name, code in CODE.items()}
_ALIASES: Mapping[str, IdentityType] = {
    alias: kind for kind in TYPES for alias in (kind.name, *kind.aliases)
}
WHITE_SPACE = " \t\n\r\f\v"
GUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_guid = re.compile(GUID)
_spoiled = re.compile(SPOILED_PATTERN)


def type_named(name: str) -> IdentityType | None:
    """Return the identity type that a name or an alias means, in any case, or None (domain.md 3)."""
    return _ALIASES.get(name.strip(WHITE_SPACE).lower().replace(" ", "_").replace("-", "_"))


def no_type(name: str, option: str = "", more: Iterable[str] = ()) -> UsageError:
    """Return what is said of an identity type that there is not. option: what it was typed behind;
    more: what may stand there too."""
    told = no_such("identity type", name, (*BY_NAME, *more), option=option)
    return UsageError(told.message, told.hint or "the types are " + ", ".join(BY_NAME))


def display(value: str) -> str:
    """Return the value as it is shown: without outer white space."""
    return value.strip(WHITE_SPACE)


def key_of(kind: IdentityType, value: str) -> str:
    """Return what a value is looked up by (domain.md 3.4, design.md R21); the value is already
    displayed.

    identity_sql.key is the same in SQL. Nothing else makes a key, and to find somebody nothing is
    judged.
    """
    return value if kind.shape == "text" else fold(value)


@dataclass(frozen=True, slots=True)
class Judging:
    """Which values are nobody's identity (design.md R13). All texts are folded (casing.fold)."""

    exact: frozenset[str] = frozenset()
    """Placeholders, whole."""
    beginnings: tuple[str, ...] = ()
    """What placeholders begin with: those that end in *."""
    endings: tuple[str, ...] = ()
    """What placeholders end with: those that begin with *."""
    allow_spoiled: bool = False
    """Whether an identity may look like a number that a spreadsheet spoiled (`--allow-spoiled`)."""

    @property
    def listed(self) -> list[str]:
        """The placeholders as they are written in a configuration, sorted."""
        return sorted(
            [
                *self.exact,
                *(f"{one}*" for one in self.beginnings),
                *(f"*{one}" for one in self.endings),
            ]
        )

    def is_placeholder(self, value: str) -> bool:
        """Say whether a value, already displayed, is a mark of nothing."""
        low = fold(value)
        return low in self.exact or low.startswith(self.beginnings) or low.endswith(self.endings)

    def code(self, kind: IdentityType, value: str) -> str | None:
        """Return why a value, already displayed and not empty, is nobody's identity of a type, or
        None.
        """
        if self.is_placeholder(value):
            return "IDENTITY_PLACEHOLDER"
        if kind.may_be_spoiled and not self.allow_spoiled and _spoiled.fullmatch(value):
            return "IDENTITY_SPOILED"
        return (
            "DEVICE_ID_INVALID"
            if kind.shape == "guid" and not _guid.fullmatch(fold(value))
            else None
        )


def judging_of(entries: Iterable[str]) -> Judging:
    """Return how values are judged by a list of placeholders, as a configuration has them.

    An entry of stars alone stands for itself, as does one with a * in its middle: see star_of.
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
    """Say where the * of a placeholder stands that means any text: at its "beginning" or "end", in
    its "middle" (which is none that can be), or nowhere (None).
    """
    bare = entry.strip("*")
    if "*" not in entry or not bare:
        return None
    return {f"{bare}*": "end", f"*{bare}": "beginning"}.get(entry, "middle")


JUDGING = judging_of(PLACEHOLDERS)
NO_JUDGING = Judging(allow_spoiled=True)
"""Every value may be somebody's, but that a device is still named by a GUID."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The identity rules in force: a strategy with its flags, the hierarchy, what is nobody's
    identity.
    """

    strategy: str = "default"
    hierarchy: tuple[str, ...] = HIERARCHY
    login: frozenset[str] = frozenset(STRATEGIES["default"].login)
    unique: frozenset[str] = frozenset(STRATEGIES["default"].unique)
    immutable: frozenset[str] = frozenset(STRATEGIES["default"].immutable)
    unique_conflict: str = "move"
    judging: Judging = JUDGING

    @property
    def login_decides(self) -> bool:
        return STRATEGIES[self.strategy].login_decides

    def leads(self, call: str) -> str:
        """Say where a call leads: "identify", or for a logout what LOGOUTS has."""
        return STRATEGIES[self.strategy].logout if call == "logout" else "identify"

    @property
    def sole_key(self) -> str | None:
        """The type that alone names a known profile, or None.

        Where the one login type is unique, immutable and first in the hierarchy, a row that has it
        belongs to the holder of that value and to nobody else, whatever its other identities say.
        """
        if (
            self.login_decides
            or not self.hierarchy
            or not self.login == self.unique == self.immutable == {self.hierarchy[0]}
        ):
            return None
        return self.hierarchy[0]


@dataclass(frozen=True, slots=True)
class Usable:
    """One identity that may be used: its type, the value as shown, the key it is found by."""

    type: str
    value: str
    key: str


def usable(kind: IdentityType, raw: str, judging: Judging) -> Usable | str | None:
    """Return the identity in a raw value, the code of why it is skipped, or None where it is empty."""
    value = display(raw)
    if not value:
        return None
    return judging.code(kind, value) or Usable(kind.name, value, key_of(kind, value))


def looks_like_nothing(kind: str, value: str) -> bool:
    """Say whether an identity looks like a mark of nothing: few distinct characters, or a word that
    stands for none.
    """
    text = display(value).lower()
    local = text.partition("@")[0] if BY_NAME[kind].shape == "email" else text
    letters = "".join(one for one in local if one.isalnum())
    words = {*re.split(r"[^a-z]+", local), "".join(one for one in letters if one.isalpha())}
    few = len(letters) >= 4 and len(set(letters)) <= FEW_CHARACTERS
    listed = JUDGING.code(BY_NAME[kind], display(value)) == "IDENTITY_PLACEHOLDER"
    return listed or not letters or few or bool(words & {*MARKS})


def anonymous(identities: Iterable[Usable], rules: Rules) -> tuple[Usable, ...]:
    """Return the identities that a logout speaks of: whom it leads to has no login identity."""
    return tuple(one for one in identities if one.type not in rules.login)


def flags_of(strategy: str, stated: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return login, unique and immutable of a strategy, as configured where it leaves them open."""
    row = STRATEGIES[strategy]
    return {
        flag: frozenset(stated.get(flag, getattr(row, flag)))
        for flag in ("login", "unique", "immutable")
    }
