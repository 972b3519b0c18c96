"""How a row or a run can end: every code, the sentence a person reads, the exit status, the errors.

One module, because scripts depend on all of it at once: a code in a reject, the exit status of the
run that wrote it and the words on the terminal must never disagree.

    ProfilectlError
    ├── UsageError          2  wrong usage
    ├── InputRefused        4  the input was refused, nothing was written
    ├── StoreBusy           5  another process holds the store
    ├── StoreUnusable       6  no store, or it cannot be used
    ├── NobodyFound         7  nobody found
    ├── PlanMoved           8  a saved plan no longer fits the store
    └── Unfinished          9  the other side did not take everything
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
    """The other side did not take everything, or asks to come back later (the message says when),
    or the output found no room; the same command goes on where it stopped.
    """
    CHANGES = 10
    """Only with `--detailed-exitcode`: there are changes."""
    HUNG_UP = 129
    """Its terminal was closed (SIGHUP): as with Ctrl-C."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C: what was being written is there whole or not at all."""
    TERMINATED = 143
    """Ended by SIGTERM, as `kill` and `timeout` send it: as with Ctrl-C. (`serve` finishes what it
    has begun and exits with 0.)
    """


class ProfilectlError(Exception):
    """A failure a user can understand: what is wrong and where, and a hint of what to do."""

    exit = Exit.FAULT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ProfilectlError):
    """An option or argument that cannot be."""

    exit = Exit.USAGE


class InputRefused(ProfilectlError):
    """A file, manifest or document that cannot be used as a whole."""

    exit = Exit.REFUSED


class ChangeRefused(InputRefused):
    """A change of somebody's identities that is not allowed. code: why, for programs."""

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
    """The key of those who stay out is not there, or cannot be used: the store itself is well."""


class OtherStore(StoreUnusable):
    """Another store is at the path of the one that is meant."""


class NobodyFound(ProfilectlError):
    """No profile has the identity that was asked for."""

    exit = Exit.NOBODY


class PlanMoved(ProfilectlError):
    """What a saved plan rests on is not as it was: the files, the feed, the rules or the store."""

    exit = Exit.MOVED


class Unfinished(ProfilectlError):
    """The other side was away, or busy, for too long: a part is delivered, the rest is not.

    come_back_ms: when it asks to be tried again.
    """

    exit = Exit.UNFINISHED

    def __init__(self, message: str, hint: str = "", come_back_ms: int | None = None) -> None:
        super().__init__(message, hint)
        self.come_back_ms = come_back_ms


class CodeEffect(enum.Enum):
    """What a code does to the thing it is said of."""

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
class Meaning:
    """What a code does, and the sentence a person reads."""

    fate: CodeEffect
    sentence: str


# fmt: off
CODES: dict[str, Meaning] = {
    # the row could not be used
    "NO_IDENTITY":               Meaning(CodeEffect.REJECTED, "no usable identity: a row needs an identity value or an mpid"),
    "IDENTITY_DUPLICATE_TYPE":   Meaning(CodeEffect.REJECTED, "two different values for one identity type"),
    "IDENTITY_INVALID":          Meaning(CodeEffect.REJECTED, "an identity must be text or a whole number"),
    "MPID_INVALID":              Meaning(CodeEffect.REJECTED, "mpid must be a whole number of 64 bits, and not 0"),
    "TIMESTAMP_INVALID":         Meaning(CodeEffect.REJECTED, "a time (timestamp_unixtime_ms) must be a whole number of milliseconds, from 1970 to a year ahead"),
    "ENVIRONMENT_INVALID":       Meaning(CodeEffect.REJECTED, "environment must be production or development"),
    "ENVIRONMENT_MISMATCH":      Meaning(CodeEffect.REJECTED, "the row states another environment than the one given"),
    "WORKSPACE_MISMATCH":        Meaning(CodeEffect.REJECTED, "the exported profile is of another workspace than the feed"),
    "DELETED_INVALID":           Meaning(CodeEffect.REJECTED, "deleted_user_attributes must be a name or a list of names"),
    "BATCH_INVALID":             Meaning(CodeEffect.REJECTED, "a field of the batch, or of one of its events, is not as it must be"),
    "BATCH_UNKNOWN_FIELD":       Meaning(CodeEffect.REJECTED, "the batch has a field that is not part of a batch"),
    "JSON_INVALID":              Meaning(CodeEffect.REJECTED, "the line is not JSON"),
    "JSON_NOT_OBJECT":           Meaning(CodeEffect.REJECTED, "the line is JSON, but not an object"),
    "JSON_TOO_DEEP":             Meaning(CodeEffect.REJECTED, "the JSON is nested too deeply"),
    "DUPLICATE_KEY":             Meaning(CodeEffect.REJECTED, "a key stands twice in one JSON object"),
    "LONE_SURROGATE":            Meaning(CodeEffect.REJECTED, "half of a surrogate pair is not a character"),
    "NUL_CHARACTER":             Meaning(CodeEffect.REJECTED, "the row holds a NUL character"),
    "ENCODING_INVALID":          Meaning(CodeEffect.REJECTED, "the line is not valid in the file's encoding"),
    "CSV_TOO_FEW_CELLS":         Meaning(CodeEffect.REJECTED, "fewer cells than the header has columns"),
    "CSV_TOO_MANY_CELLS":        Meaning(CodeEffect.REJECTED, "more cells than the header has columns"),
    "HEADER_REPEATED":           Meaning(CodeEffect.REJECTED, "the row is the header again"),
    "REPORT_TOTAL":              Meaning(CodeEffect.REJECTED, "the row is a total of the report, and nobody"),
    "CSV_QUOTE":                 Meaning(CodeEffect.REJECTED, "a quoted cell is not closed, or goes on after its closing quote"),
    "ROW_TOO_LONG":              Meaning(CodeEffect.REJECTED, "the row is longer than a row may be"),
    "BATCH_TOO_LARGE":           Meaning(CodeEffect.REJECTED, "the batch is larger than the platform takes, and cannot be split"),
    "BATCH_REFUSED":             Meaning(CodeEffect.REJECTED, "the platform refused the batch"),
    # the row was understood, but kept out
    "UPDATE_ONLY_NO_MATCH":      Meaning(CodeEffect.DROPPED,  "the feed may only update, and nobody matched"),
    "READ_ONLY":                 Meaning(CodeEffect.DROPPED,  "the feed may only read"),
    "DUPLICATE_REQUEST":         Meaning(CodeEffect.DROPPED,  "this source_request_id was already processed"),
    "SUPPRESSED":                Meaning(CodeEffect.DROPPED,  "the row is of a person who was erased"),
    # the attribute was refused by priority
    "UA_LOWER_PRIORITY":         Meaning(CodeEffect.BLOCKED,  "a source of better rank set this attribute"),
    "UA_PDF_EXCLUSIVE":          Meaning(CodeEffect.BLOCKED,  "another partner or warehouse feed set this attribute"),
    "UA_FIRST_WRITER":           Meaning(CodeEffect.BLOCKED,  "another source set this attribute first"),
    "UA_CALCULATED_READ_ONLY":   Meaning(CodeEffect.BLOCKED,  "a calculated attribute has this name: its value is computed"),
    # the attribute was left out of its batch
    "UA_KEY_TOO_LONG":           Meaning(CodeEffect.SKIPPED,  "the attribute's name is longer than the limit"),
    "UA_KEY_EMPTY":              Meaning(CodeEffect.SKIPPED,  "the attribute has no name"),
    "UA_VALUE_TOO_LONG":         Meaning(CodeEffect.SKIPPED,  "the attribute's value is longer than the limit"),
    "UA_LIST_TOO_LONG":          Meaning(CodeEffect.SKIPPED,  "the list has more entries than the limit"),
    "UA_ENTRY_TOO_LONG":         Meaning(CodeEffect.SKIPPED,  "an entry of the list is longer than the limit"),
    "UA_TOO_MANY":               Meaning(CodeEffect.SKIPPED,  "the batch has more attributes than the limit"),
    "UA_UNSUPPORTED_TYPE":       Meaning(CodeEffect.SKIPPED,  "an attribute is a string, a number, a boolean, a flat list or null"),
    # worth knowing
    "PROTECTED_MATCH":           Meaning(CodeEffect.WARNING,  "would have matched a profile that its login or immutable identity protects"),
    "ANONYMOUS_MADE_KNOWN":      Meaning(CodeEffect.WARNING,  "made an anonymous profile known: gave it its first login identity"),
    "MPID_UNKNOWN":              Meaning(CodeEffect.WARNING,  "nobody has this mpid; the row was resolved by its identities"),
    "IDENTITY_PLACEHOLDER":      Meaning(CodeEffect.WARNING,  "the identity is a placeholder and was skipped"),
    "IDENTITY_UNKNOWN_TYPE":     Meaning(CodeEffect.WARNING,  "this identity type does not exist; it was skipped"),
    "IDENTITY_NOT_IN_HIERARCHY": Meaning(CodeEffect.WARNING,  "no identity of the row is in the hierarchy: nobody can be found by it"),
    "IDENTITY_SPOILED":          Meaning(CodeEffect.WARNING,  "the identity looks like a number that a spreadsheet spoiled and was skipped"),
    "DEVICE_ID_INVALID":         Meaning(CodeEffect.WARNING,  "the device identity is not a GUID and was skipped"),
    "IMMUTABLE_CONFLICT":        Meaning(CodeEffect.WARNING,  "an immutable identity was not changed or taken"),
    "UNIQUE_CONFLICT":           Meaning(CodeEffect.WARNING,  "a unique identity of another profile was not taken"),
    "CONSENT_PURPOSE_UNDEFINED":  Meaning(CodeEffect.SKIPPED, "consent to a purpose that is not defined was left out"),
    "CONSENT_SOURCE_NOT_ALLOWED": Meaning(CodeEffect.WARNING, "a partner, a warehouse or a CSV feed may not change consent; what the row says of it is kept, and does not count"),
    "CONSENT_FUTURE":             Meaning(CodeEffect.WARNING, "the time of a consent lies in the future: it counts, and what is said of the purpose before then does not"),
    "EVENT_OVER_LIMIT":          Meaning(CodeEffect.WARNING,  "the event is longer than the platform takes; it is kept whole"),
    "UA_KIND_CHANGED":           Meaning(CodeEffect.WARNING,  "the attribute changed between a list and a single value"),
    "UA_SET_AND_DELETED":        Meaning(CodeEffect.WARNING,  "the batch both sets and deletes the attribute; it is set"),
    "UA_RESERVED_UNKNOWN":       Meaning(CodeEffect.WARNING,  "names that begin with $ are reserved, and this is none of them; the attribute is kept"),
}
# fmt: on


NO_FAULT = frozenset({"ANONYMOUS_MADE_KNOWN"})
"""Codes that are worth knowing of rows that are as they should be: `--strict` does not mind them.
"""


def sentence(code: str) -> str:
    """Return the sentence a person reads for a code."""
    return CODES[code].sentence


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used, with the text it was read from.

    line is the physical line at which the row begins, counted from 1 with the header and quoted
    newlines; for Parquet it is the row. detail says more than the code's sentence can.
    """

    file: str
    line: int
    code: str
    raw: str
    detail: str = ""

    @property
    def message(self) -> str:
        return f"{sentence(self.code)}: {self.detail}" if self.detail else sentence(self.code)
