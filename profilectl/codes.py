"""The ways in which a row or a command can end: codes, sentences, exit status, errors.

They are in one module because scripts depend on all of them at once: a code in a reject, the exit
status of the command that wrote it and the words on the terminal must never disagree.

    ProfilectlError
    ├── UsageError          2  wrong usage
    ├── InputRefused        4  the input was refused, nothing was written
    ├── StoreBusy           5  another process holds the store
    ├── StoreUnusable       6  no store, or it cannot be used
    ├── NobodyFound         7  nobody found
    ├── PlanMoved           8  a saved plan no longer fits the store
    ├── Unfinished          9  the other side did not take everything
    └── Declined          130  a person answered no
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Exit(enum.IntEnum):
    """The exit status of a command (design.md 5)."""

    DONE = 0
    """Done, all rows used, or nothing to do."""
    FAULT = 1
    """A fault of ours; the store is as before."""
    USAGE = 2
    """Wrong usage."""
    REJECTED_ROWS = 3
    """Done, but rows were rejected."""
    REFUSED = 4
    """The input was refused, nothing was written."""
    BUSY = 5
    """The store is busy."""
    UNUSABLE = 6
    """No store, or it cannot be used."""
    NOBODY = 7
    """Nobody found."""
    MOVED = 8
    """A saved plan no longer fits the store."""
    UNFINISHED = 9
    """The other side did not take everything or asks to come back later (the message says when), or
    the output has no room. The same command goes on where it stopped.
    """
    CHANGES = 10
    """Only with `--detailed-exitcode`: there are changes."""
    # From here on 128 and the number of a signal, as shells have it.
    HUNG_UP = 129
    """Its terminal was closed (SIGHUP): as with Ctrl-C."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C: anything it was writing is there whole or not at all. Or a person
    answered no to its question: nothing was changed.
    """
    TERMINATED = 143
    """Ended by SIGTERM, as `kill` and `timeout` send it: as with Ctrl-C. (`serve` finishes the
    requests it has begun and exits with 0.)
    """


class ProfilectlError(Exception):
    """A failure that a user can understand.

    message: the fault and its place. hint: the advice on it.
    """

    exit = Exit.FAULT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ProfilectlError):
    """An option or argument that is wrong."""

    exit = Exit.USAGE


class InputRefused(ProfilectlError):
    """A file, manifest or document that cannot be used as a whole."""

    exit = Exit.REFUSED


class ChangeRefused(InputRefused):
    """A change of somebody's identities that is not allowed.

    code: why, for programs.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class StoreBusy(ProfilectlError):
    """Another process holds the store."""

    exit = Exit.BUSY


class StoreUnusable(ProfilectlError):
    """There is no store, or it is damaged, or a newer version made it."""

    exit = Exit.UNUSABLE


class StoreGone(StoreUnusable):
    """There is no store at its path."""


class KeyMissing(StoreUnusable):
    """The key of erased people is missing or cannot be used; the store itself is well."""


class OtherStore(StoreUnusable):
    """Another store is at the path of the store that is meant."""


SEARCH = "profilectl search finds identities by their beginning, and with --substring by any part"
"""The hint for an identity that nobody has."""


class NobodyFound(ProfilectlError):
    """No profile has the identity that was asked for."""

    exit = Exit.NOBODY

    @classmethod
    def of(cls, kind: str, value: str, hint: str = "") -> NobodyFound:
        """Return the error that nobody has an identity; kind: its type, mpid or any."""
        return cls(nobody_has(kind, value), hint or ("" if kind == "mpid" else SEARCH))


def nobody_has(kind: str, value: str) -> str:
    """Return the sentence that nobody has an identity; kind: its type, mpid or any."""
    return f"nobody has the {_identity(kind, value)}"


def several_found(
    number: int, kind: str, value: str, *, listed: str = "", hint: str = ""
) -> UsageError:
    """Return the error that several profiles have an identity, and one must be chosen.

    number: how many. kind: the identity's type, mpid or any. listed: some of the profiles.
    """
    profiles = f"{number} profiles have the {_identity(kind, value)}"
    return UsageError(f"{profiles}: {listed}" if listed else profiles, hint)


def _identity(kind: str, value: str) -> str:
    return f"{'identity or MPID' if kind == 'any' else kind} {value}"


class PlanMoved(ProfilectlError):
    """The files, the feed, the rules or the store are not as they were for a saved plan."""

    exit = Exit.MOVED


class Unfinished(ProfilectlError):
    """The other side was away or busy for too long: only a part is delivered.

    come_back_ms: the time from which it asks to be tried again, if it does.
    """

    exit = Exit.UNFINISHED

    def __init__(self, message: str, hint: str = "", come_back_ms: int | None = None) -> None:
        super().__init__(message, hint)
        self.come_back_ms = come_back_ms


class Declined(ProfilectlError):
    """A person answered no to the question of a command: nothing was changed."""

    exit = Exit.INTERRUPTED


class CodeEffect(enum.Enum):
    """The effect of a code on the row or the attribute that it is about."""

    REJECTED = "rejected"
    """The row could not be used."""
    DROPPED = "dropped"
    """The row was understood but kept out."""
    BLOCKED = "blocked"
    """The attribute was refused by priority; counted once for each profile and key."""
    SKIPPED = "skipped"
    """The attribute was left out of its batch; counted each time."""
    WARNING = "warning"
    """Nothing was refused; something is worth knowing."""


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """The meaning of a code."""

    fate: CodeEffect
    """Its effect."""
    sentence: str
    """The sentence a person reads."""


# fmt: off
_SENTENCES: tuple[tuple[CodeEffect, dict[str, str]], ...] = (
    (CodeEffect.REJECTED, {
        "NO_IDENTITY":                "no usable identity: a row needs an identity value or an "
                                      "mpid",
        "IDENTITY_DUPLICATE_TYPE":    "two different values for one identity type",
        "IDENTITY_INVALID":           "an identity must be text or a whole number",
        "MPID_INVALID":               "mpid must be a whole number of 64 bits, and not 0",
        "TIMESTAMP_INVALID":          "a time (timestamp_unixtime_ms) must be a whole number of "
                                      "milliseconds, from 1970 to a year ahead",
        "ENVIRONMENT_INVALID":        "environment must be production or development",
        "ENVIRONMENT_MISMATCH":       "the row states another environment than the one given",
        "WORKSPACE_MISMATCH":         "the exported profile is of another workspace than the feed",
        "DELETED_INVALID":            "deleted_user_attributes must be a name or a list of names",
        "BATCH_INVALID":              "a field of the batch, or of one of its events, is not as "
                                      "it must be",
        "BATCH_UNKNOWN_FIELD":        "the batch has a field that is not part of a batch",
        "JSON_INVALID":               "the line is not JSON",
        "JSON_NOT_OBJECT":            "the line is JSON, but not an object",
        "JSON_TOO_DEEP":              "the JSON is nested too deeply",
        "DUPLICATE_KEY":              "a key stands twice in one JSON object",
        "LONE_SURROGATE":             "half of a surrogate pair is not a character",
        "NUL_CHARACTER":              "the row holds a NUL character",
        "ENCODING_INVALID":           "the line is not valid in the file's encoding",
        "CSV_TOO_FEW_CELLS":          "fewer cells than the header has columns",
        "CSV_TOO_MANY_CELLS":         "more cells than the header has columns",
        "HEADER_REPEATED":            "the row is the header again",
        "REPORT_TOTAL":               "the row is a total of the report, and nobody",
        "CSV_QUOTE":                  "a quoted cell is not closed, or goes on after its closing "
                                      "quote",
        "ROW_TOO_LONG":               "the row is longer than a row may be",
        "BATCH_TOO_LARGE":            "the batch is larger than the platform takes, and cannot be "
                                      "split",
        "BATCH_REFUSED":              "the platform refused the batch",
    }),
    (CodeEffect.DROPPED, {
        "UPDATE_ONLY_NO_MATCH":       "the feed may only update, and nobody matched",
        "READ_ONLY":                  "the feed may only read",
        "DUPLICATE_REQUEST":          "this source_request_id was already processed",
        "SUPPRESSED":                 "the row is of a person who was erased",
    }),
    (CodeEffect.BLOCKED, {
        "UA_LOWER_PRIORITY":          "a source of better rank set this attribute",
        "UA_PDF_EXCLUSIVE":           "another partner or warehouse feed set this attribute",
        "UA_FIRST_WRITER":            "another source set this attribute first",
        "UA_CALCULATED_READ_ONLY":    "a calculated attribute has this name: its value is computed",
    }),
    (CodeEffect.SKIPPED, {
        "UA_KEY_TOO_LONG":            "the attribute's name is longer than the limit",
        "UA_KEY_EMPTY":               "the attribute has no name",
        "UA_VALUE_TOO_LONG":          "the attribute's value is longer than the limit",
        "UA_LIST_TOO_LONG":           "the list has more entries than the limit",
        "UA_ENTRY_TOO_LONG":          "an entry of the list is longer than the limit",
        "UA_TOO_MANY":                "the batch has more attributes than the limit",
        "UA_UNSUPPORTED_TYPE":        "an attribute is a string, a number, a boolean, a flat list "
                                      "or null",
    }),
    (CodeEffect.WARNING, {
        "PROTECTED_MATCH":            "would have matched a profile that its login or immutable "
                                      "identity protects",
        "ANONYMOUS_MADE_KNOWN":       "made an anonymous profile known: gave it its first login "
                                      "identity",
        "MPID_UNKNOWN":               "nobody has this mpid; the row was resolved by its "
                                      "identities",
        "IDENTITY_PLACEHOLDER":       "the identity is a placeholder and was skipped",
        "IDENTITY_UNKNOWN_TYPE":      "this identity type does not exist; it was skipped",
        "IDENTITY_NOT_IN_HIERARCHY":  "no identity of the row is in the hierarchy: nobody can be "
                                      "found by it",
        "IDENTITY_SPOILED":           "the identity looks like a number that a spreadsheet "
                                      "spoiled and was skipped",
        "DEVICE_ID_INVALID":          "the device identity is not a GUID and was skipped",
        "IMMUTABLE_CONFLICT":         "an immutable identity was not changed or taken",
        "UNIQUE_CONFLICT":            "a unique identity of another profile was not taken",
    }),
    (CodeEffect.SKIPPED, {
        "CONSENT_PURPOSE_UNDEFINED":  "consent to a purpose that is not defined was left out",
    }),
    (CodeEffect.WARNING, {
        "CONSENT_SOURCE_NOT_ALLOWED": "a partner, a warehouse or a CSV feed may not change "
                                      "consent; what the row says of it is kept, and does not "
                                      "count",
        "CONSENT_FUTURE":             "the time of a consent lies in the future: it counts, and "
                                      "statements on the purpose before that time do not",
        "EVENT_OVER_LIMIT":           "the event is longer than the platform takes; it is kept "
                                      "whole",
        "UA_KIND_CHANGED":            "the attribute changed between a list and a single value",
        "UA_SET_AND_DELETED":         "the batch both sets and deletes the attribute; it is set",
        "UA_RESERVED_UNKNOWN":        "names that begin with $ are reserved, and this is none of "
                                      "them; the attribute is kept",
    }),
)
# fmt: on
CODES: dict[str, CodeMeaning] = {
    code: CodeMeaning(effect, sentence)
    for effect, sentences in _SENTENCES
    for code, sentence in sentences.items()
}
NO_FAULT = frozenset({"ANONYMOUS_MADE_KNOWN"})
"""Codes worth knowing on rows that are as they should be: `--strict` does not mind them."""


def sentence(code: str) -> str:
    """Return the sentence a person reads for a code."""
    return CODES[code].sentence


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used."""

    file: str
    """The file."""
    line: int
    """The physical line at which the row begins, counted from 1 with the header and quoted
    newlines; for Parquet the row.
    """
    code: str
    """The code of its fault, one of CODES."""
    raw: str
    """The text it was read from."""
    detail: str = ""
    """The particulars, which the code's sentence cannot have."""

    @property
    def message(self) -> str:
        """The sentence a person reads, with the detail."""
        return f"{sentence(self.code)}: {self.detail}" if self.detail else sentence(self.code)
