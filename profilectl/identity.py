"""Identity types, their normalisation, the strategies, and the rule that resolves a row to a profile.

Sources: domain.md 3 (types, aliases, normalisation), 4.1 to 4.4 (strategies, flags, resolution),
design.md R2, R3, R13, R15.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.casing import fold
from profilectl.codes import ChangeRefused, UsageError
from profilectl.naming import no_such


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
        """Whether a value could be a number that a spreadsheet spoiled: e-mails and GUIDs never were numbers."""
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

    fixed: login, unique and immutable cannot be configured. login_decides: a row that brings a login
    identity is looked up by its login identities only, among known profiles only. logout: where a logout leads, of LOGOUTS.
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

# What is written where nothing is known (design.md R13). Compared without case; a * at one end is any text.
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
    """One way in which a number in a text has lost digits, or gained some. writer: who writes so."""

    writer: str
    example: str
    pattern: str


# A text is taken for a spoiled number only where it cannot well be anything else: digits around a bare e are an id
# (1234e56, a piece of a GUID), so an exponent counts after a point or a comma, or with its plus sign. 12e-5 is no
# spoiled id either: no id was ever a number below 1. A comma before a nought separates thousands as often.
SPOILED: tuple[Spoiled, ...] = (
    Spoiled("a spreadsheet, of a number longer than its column", "4.47701E+11",  "[+-]?[0-9]+[.,][0-9]+[eE][+-]?[0-9]+"),
    Spoiled("the same, where the digits after the first are 0",  "4E+11",        "[+-]?[0-9]+[eE][+][0-9]+"),
    Spoiled("pandas, of whole numbers in a column with gaps",    "447700900123.0", "[+-]?[0-9]+[.]00?"),
)
SPOILED_PATTERN = "|".join(one.pattern for one in SPOILED)
# The codes of an identity that is skipped, in the order in which they are looked for.
CODES_OF_NOBODY = ("IDENTITY_PLACEHOLDER", "IDENTITY_SPOILED", "DEVICE_ID_INVALID")
# fmt: on

# Words of which many values are made that stand where nothing was known; those of PLACEHOLDERS are some too.
MARKS: tuple[str, ...] = (
    "none", "null", "nil", "nobody", "nothing", "empty", "unknown", "anonymous", "anon", "guest", "default", "dummy", "fake", "sample",
    "example", "test", "testing", "tester", "noreply", "donotreply", "noemail", "nomail", "noname", "na", "missing", "notprovided", "xxx", "abc",
)
FEW_CHARACTERS = 2
"""A value of so few distinct letters and digits, in at least four places, is seldom somebody's: 0000, 1111111, xxxx."""

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
    """Return what a value is looked up by (domain.md 3.4, design.md R21); the value is already displayed.

    identity_sql.key is the same in SQL. Nothing else makes a key, and to find somebody nothing is judged.
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
        return sorted([*self.exact, *(f"{one}*" for one in self.beginnings), *(f"*{one}" for one in self.endings)])

    def is_placeholder(self, value: str) -> bool:
        """Say whether a value, already displayed, is a mark of nothing."""
        low = fold(value)
        return low in self.exact or low.startswith(self.beginnings) or low.endswith(self.endings)

    def code(self, kind: IdentityType, value: str) -> str | None:
        """Return why a value, already displayed and not empty, is nobody's identity of a type, or None."""
        if self.is_placeholder(value):
            return "IDENTITY_PLACEHOLDER"
        if kind.may_be_spoiled and not self.allow_spoiled and _spoiled.fullmatch(value):
            return "IDENTITY_SPOILED"
        return "DEVICE_ID_INVALID" if kind.shape == "guid" and not _guid.fullmatch(fold(value)) else None


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
    """Say where the * of a placeholder stands that means any text: at its "beginning" or "end", in its "middle"
    (which is none that can be), or nowhere (None)."""
    bare = entry.strip("*")
    if "*" not in entry or not bare:
        return None
    return {f"{bare}*": "end", f"*{bare}": "beginning"}.get(entry, "middle")


JUDGING = judging_of(PLACEHOLDERS)
NO_JUDGING = Judging(allow_spoiled=True)
"""Every value may be somebody's, but that a device is still named by a GUID."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The identity rules in force: a strategy with its flags, the hierarchy, what is nobody's identity."""

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
        if self.login_decides or not self.hierarchy or not self.login == self.unique == self.immutable == {self.hierarchy[0]}:
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
    """Say whether an identity looks like a mark of nothing: few distinct characters, or a word that stands for none."""
    text = display(value).lower()
    local = text.partition("@")[0] if BY_NAME[kind].shape == "email" else text
    letters = "".join(one for one in local if one.isalnum())
    words = {*re.split(r"[^a-z]+", local), "".join(one for one in letters if one.isalpha())}
    few = len(letters) >= 4 and len(set(letters)) <= FEW_CHARACTERS
    listed = JUDGING.code(BY_NAME[kind], display(value)) == "IDENTITY_PLACEHOLDER"
    return listed or not letters or few or bool(words & {*MARKS})


@dataclass(slots=True)
class Records:
    """The identity records of one environment that a decision may need, and nothing else.

    A profile is named by the arrival of the row that founded it, so that an older profile has the
    smaller name. holders is the index: who holds a value. record is its inverse, by type, the values in order. last is
    the arrival of the row that touched a profile last. by_mpid finds a profile by its MPID. One value may have as many
    holders as there are rows: nothing here that is done for each row looks at all of them.
    """

    holders: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    record: dict[int, dict[str, dict[str, None]]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    by_mpid: dict[int, int] = field(default_factory=dict)
    _guards: frozenset[str] | None = None
    """The types that `_open` was made for."""
    _open: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """Of the holders of a value those that have no identity of the types in `_guards`."""

    def add(self, profile: int, kind: str, key: str) -> None:
        self.holders.setdefault((kind, key), set()).add(profile)
        self.record.setdefault(profile, {}).setdefault(kind, {})[key] = None
        if self._guards is None:
            return
        if self._is_open(profile):
            self._open.setdefault((kind, key), set()).add(profile)
        elif kind in self._guards:
            self._shut(profile)

    def remove(self, profile: int, kind: str, key: str) -> None:
        self.holders[kind, key].discard(profile)
        del self.record[profile][kind][key]
        if self._guards is None:
            return
        self._open.get((kind, key), set()).discard(profile)
        if kind in self._guards and self._is_open(profile):
            for claim in self._claims(profile):
                self._open.setdefault(claim, set()).add(profile)

    def open_holders(self, kind: str, key: str, guards: frozenset[str]) -> set[int]:
        """Return who holds a value and no identity of some types at all."""
        if guards != self._guards:
            self._guards, self._open = guards, {}
            for profile in self.record:
                if self._is_open(profile):
                    for claim in self._claims(profile):
                        self._open.setdefault(claim, set()).add(profile)
        return self._open.get((kind, key), set())

    def _is_open(self, profile: int) -> bool:
        held = self.record.get(profile, {})
        return not any(held.get(kind) for kind in self._guards or ())

    def _shut(self, profile: int) -> None:
        for claim in self._claims(profile):
            self._open.get(claim, set()).discard(profile)

    def _claims(self, profile: int) -> list[tuple[str, str]]:
        return [(kind, key) for kind, keys in self.record.get(profile, {}).items() for key in keys]

    def drop(self, profiles: set[int]) -> None:
        """Forget profiles altogether."""
        for held in (*self.holders.values(), *self._open.values()):
            held.difference_update(profiles)
        for profile in profiles:
            self.record.pop(profile, None)
            self.last.pop(profile, None)
        self.by_mpid = {mpid: profile for mpid, profile in self.by_mpid.items() if profile not in profiles}

    def values(self, profile: int, kind: str) -> Collection[str]:
        return self.record.get(profile, {}).get(kind, {})


MADE_KNOWN = "ANONYMOUS_MADE_KNOWN"
"""The code of a row that gave an anonymous profile its first login identity."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one row says of identity: its identities, and the MPID it names, if any."""

    arrival: int
    identities: tuple[Usable, ...]
    mpid: int | None = None


@dataclass(slots=True)
class Decision:
    """What became of a claim: the profile (None: nobody, and none was made), and what it changed.

    added, removed: identities the profile gained, and those that a profile lost, as (profile, type,
    key); moved counts those that went from one profile to another. codes: warnings.
    """

    profile: int | None
    created: bool = False
    added: list[Usable] = field(default_factory=list)
    removed: list[tuple[int, str, str]] = field(default_factory=list)
    moved: int = 0
    replaced: int = 0
    codes: list[str] = field(default_factory=list)


def decide(claim: Claim, records: Records, rules: Rules, *, create: bool, call: str = "identify") -> Decision:
    """Resolve one row to its profile and attach its identities (domain.md 4.3 and 4.4).

    create: an unknown user may be created. call: of CALLS. Changes records.
    """
    leads = rules.leads(call)
    if leads != "identify":
        return _log_out(claim, records, rules, create=create, leads=leads)
    by_mpid = records.by_mpid.get(claim.mpid) if claim.mpid is not None else None
    if by_mpid is not None:
        decision = Decision(by_mpid)
        _attach_to_found(by_mpid, claim, records, rules, decision, keep=True)
        return decision
    ranked = _ranks(rules.hierarchy)
    known = {one.type: one.key for one in claim.identities if one.type in ranked}
    profile, protected = look_up(known, records, rules)
    decision = Decision(profile)
    if claim.mpid is not None and profile is not None:
        decision.codes.append("MPID_UNKNOWN")
    if profile is None:
        if protected:
            decision.codes.append("PROTECTED_MATCH")
        if not create:
            return decision
        if not known and claim.mpid is None:
            decision.codes.append("IDENTITY_NOT_IN_HIERARCHY")
        profile = decision.profile = claim.arrival
        decision.created = True
        if claim.mpid is not None:
            records.by_mpid[claim.mpid] = profile
    keep = rules.unique_conflict == "keep"
    (_attach if decision.created else _attach_to_found)(profile, claim, records, rules, decision, keep=keep)
    return decision


def anonymous(identities: Iterable[Usable], rules: Rules) -> tuple[Usable, ...]:
    """Return the identities that a logout speaks of: whom it leads to has no login identity."""
    return tuple(one for one in identities if one.type not in rules.login)


def _log_out(claim: Claim, records: Records, rules: Rules, *, create: bool, leads: str) -> Decision:
    """Resolve a logout to an anonymous profile, which takes nothing from anybody."""
    claim = Claim(claim.arrival, anonymous(claim.identities, rules))
    profile = None
    if leads == "anonymous":
        ranked = _ranks(rules.hierarchy)
        profile, _ = look_up({one.type: one.key for one in claim.identities if one.type in ranked}, records, rules)
    decision = Decision(profile)
    if profile is None:
        if not create:
            return decision
        profile = decision.profile = claim.arrival
        decision.created = True
    _attach(profile, claim, records, rules, decision, keep=True)
    return decision


@dataclass(frozen=True, slots=True)
class Step:
    """One step down the hierarchy: who holds the value, who of them may be found by this row, and who is
    left after it (the profiles found before, narrowed)."""

    type: str
    key: str
    holders: frozenset[int]
    eligible: frozenset[int]
    left: frozenset[int]


FEW_HOLDERS = 8
"""So many holders of a value are asked one by one: an index costs more."""
_NOBODY: frozenset[int] = frozenset()


def look_up(
    known: Mapping[str, str], records: Records, rules: Rules, steps: list[Step] | None = None
) -> tuple[int | None, bool]:
    """Find the profile of some identities, given as type -> key: the profile or None, and whether
    nobody was found only because a login or immutable identity protects a holder.

    Walks the hierarchy; a type that finds several profiles is narrowed by the types below it. What
    is still tied then goes to the profile touched last, by arrival (design.md R15). steps: a list to
    which each step is added.
    """
    login = {kind: key for kind, key in known.items() if kind in rules.login}
    only_known = rules.login_decides and bool(login)
    wanted = login if only_known else known
    found: set[int] = set()
    protected = False
    rank = _ranks(rules.hierarchy)
    for kind in sorted(wanted, key=rank.__getitem__):
        holders = records.holders.get((kind, wanted[kind]))
        if not holders:
            continue
        hit = _eligible_among(holders, kind, known, records, rules)
        protected = protected or len(hit) < len(holders)
        if only_known:
            hit = {one for one in hit if _is_known(one, records, rules)}
        if hit and (not found or found & hit):
            found = found & hit if found else hit
        if steps is not None:
            steps.append(Step(kind, wanted[kind], frozenset(holders), frozenset(hit), frozenset(found)))
        if len(found) == 1:
            break
    if not found:
        return None, protected
    return max(found, key=lambda one: (records.last.get(one, one), -one)), False


@functools.cache
def _ranks(hierarchy: tuple[str, ...]) -> Mapping[str, int]:
    return {kind: place for place, kind in enumerate(hierarchy)}


def _eligible_among(holders: set[int], kind: str, known: Mapping[str, str], records: Records, rules: Rules) -> set[int]:
    """Return those of the holders of a row's value who may be found by the row.

    Whoever has a protected identity must have one that the row has too, so only the holders of those need be asked.
    """
    guards = rules.immutable | rules.login
    if len(holders) <= FEW_HOLDERS or not guards:
        return {one for one in holders if _eligible(one, known, records, rules)}
    asked = {
        one for guard in guards if guard in known
        for one in records.holders.get((guard, known[guard]), _NOBODY) if one in holders
    }
    return records.open_holders(kind, known[kind], guards) | {one for one in asked if _eligible(one, known, records, rules)}


def _eligible(profile: int, known: Mapping[str, str], records: Records, rules: Rules) -> bool:
    """Login and immutable protection: a profile that has such identities is found only by one of
    them (domain.md 4.2)."""
    for guarded in (rules.immutable, rules.login):
        held = [(kind, key) for kind in guarded for key in records.values(profile, kind)]
        if held and not any(known.get(kind) == key for kind, key in held):
            return False
    return True


def _is_known(profile: int, records: Records, rules: Rules) -> bool:
    return any(records.values(profile, kind) for kind in rules.login)


def _attach_to_found(
    profile: int, claim: Claim, records: Records, rules: Rules, decision: Decision, *, keep: bool
) -> None:
    """Attach to a profile that was there; remark where that makes an anonymous one known (domain.md 4.3 note 8)."""
    anonymous = not _is_known(profile, records, rules)
    _attach(profile, claim, records, rules, decision, keep=keep)
    if anonymous and _is_known(profile, records, rules):
        decision.codes.append(MADE_KNOWN)


def _attach(
    profile: int, claim: Claim, records: Records, rules: Rules, decision: Decision, *, keep: bool
) -> None:
    """Give a profile the identities of a row, as far as the flags allow (domain.md 4.3)."""
    rank = _ranks(rules.hierarchy)
    records.last[profile] = claim.arrival
    for one in sorted(claim.identities, key=lambda one: (rank.get(one.type, len(rank)), CODE[one.type])):
        own = records.values(profile, one.type)
        if one.key in own:
            continue
        holders = records.holders.get((one.type, one.key), _NOBODY)
        others = len(holders) > (profile in holders)
        if one.type in rules.immutable and (own or others):
            decision.codes.append("IMMUTABLE_CONFLICT")
            continue
        if one.type in rules.unique and others and keep:
            decision.codes.append("UNIQUE_CONFLICT")
            continue
        _give(profile, one, records, rules, decision)


def _single(kind: str, rules: Rules) -> bool:
    """A unique user identity has one value on a profile; a newer one takes its place."""
    return kind in rules.unique and not BY_NAME[kind].device


def _give(profile: int, one: Usable, records: Records, rules: Rules, decision: Decision) -> None:
    """Give a profile an identity that it may have: a unique one goes from whoever holds it."""
    others = records.holders.get((one.type, one.key), _NOBODY) - {profile} if one.type in rules.unique else _NOBODY
    if others:
        for other in sorted(others):
            records.remove(other, one.type, one.key)
            decision.removed.append((other, one.type, one.key))
        decision.moved += 1
    own = records.values(profile, one.type)
    if own and _single(one.type, rules):
        oldest = next(iter(own))
        decision.removed.append((profile, one.type, oldest))
        decision.replaced += 1
        records.remove(profile, one.type, oldest)
    records.add(profile, one.type, one.key)
    decision.added.append(one)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a profile's identities: old alone is removed, new alone added, both are a replacement."""

    type: str
    old: Usable | None = None
    new: Usable | None = None


def reached(*, device: bool, known: bool) -> bool:
    """Say whether a request about a person, named by one identity, reaches a profile that holds it.

    A device may be of several people: alone it does not reach a profile that is known, that is, has a
    login identity (domain.md 14).
    """
    return not (device and known)


def modify(profile: int, changes: Sequence[Change], records: Records, rules: Rules) -> list[Decision]:
    """Change the identities of one profile, all or nothing, and return what each change did (domain.md 4.3).

    Nobody is ever created. A unique identity that others hold goes over, whatever unique_conflict
    says, because here somebody asked for it; an immutable one never does (design.md R2). Changes
    records. Raises ChangeRefused for a value the profile does not have, and for an immutable one; then
    records are as before.
    """
    own = {kind: list(keys) for kind, keys in records.record.get(profile, {}).items()}
    for change in changes:
        held = own.setdefault(change.type, [])
        if change.old and change.old.key not in held:
            raise ChangeRefused("OLD_VALUE_MISMATCH", f"the profile does not have the {change.type} {change.old.value}", "profilectl show lists what it has")
        added = change.new is not None and change.new.key not in held
        if change.type in rules.immutable and (change.old or (added and held)):
            raise ChangeRefused("IMMUTABLE", f"{change.type} is immutable: a profile keeps the one it has", "profilectl explain rules shows what is immutable, and why")
        if change.type in rules.immutable and change.new and records.holders.get((change.type, change.new.key), _NOBODY) - {profile}:
            raise ChangeRefused("IMMUTABLE_CONFLICT", f"another profile has the {change.type} {change.new.value}, and {change.type} is immutable")
        if change.old:
            held.remove(change.old.key)
        if change.new and change.new.key not in held:
            own[change.type] = [change.new.key] if _single(change.type, rules) else [*held, change.new.key]
    done = []
    for change in changes:
        decision = Decision(profile)
        if change.old:
            records.remove(profile, change.type, change.old.key)
            decision.removed.append((profile, change.type, change.old.key))
            decision.replaced += 1
        if change.new and change.new.key not in records.values(profile, change.type):
            _give(profile, change.new, records, rules, decision)
        done.append(decision)
    return done


Holding = tuple[int, str, str, str]
"""Who holds what: a profile, and an identity's environment, type and key."""


def identity_counts(before: set[Holding], after: set[Holding]) -> dict[str, int]:
    """Count what became of the identities of some profiles, between two states.

    A value that one profile lost and another gained has moved; what else was gained is added, what else was lost is
    removed. What came and went in between is in neither state, and is not counted.
    """
    gained, lost = after - before, before - after
    values_gained = {held[1:] for held in gained}
    moved = len(values_gained & {held[1:] for held in lost})
    removed = sum(held[1:] not in values_gained for held in lost)
    return {"added": len(gained) - moved, "moved": moved, "removed": removed}


def mpid_for(secret: str, arrival: int, attempt: int = 0) -> int:
    """Return the MPID of the profile that a row founded: 64 signed bits, never 0, not to be guessed
    without the store's secret (domain.md 2.3). attempt is counted up where an MPID is taken.

    A pure function, so that an import that is run again makes the same MPIDs, and so that the engine
    can make a million of them in one statement (`resolve.MPID`).
    """
    digest = hashlib.md5(f"{secret}:{arrival}:{attempt}".encode(), usedforsecurity=False).digest()
    number = int.from_bytes(digest[8:], "little", signed=True)
    return number or 1


def flags_of(strategy: str, stated: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return login, unique and immutable of a strategy, as configured where it leaves them open."""
    row = STRATEGIES[strategy]
    return {
        flag: frozenset(stated.get(flag, getattr(row, flag))) for flag in ("login", "unique", "immutable")
    }
