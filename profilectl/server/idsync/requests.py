"""The requests and answers of IDSync, as the platform's HTTP API has them.

Source: domain.md 4.3. identify, login and logout are imported as batches that have only identities:
the rules of an import resolve them, they are in the history, and they can be undone. search, and
every request with read_only, is answered from the newest copy of the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, field

from profilectl.codes import sentence
from profilectl.importing.answers.outcomes import RowOutcome
from profilectl.importing.corrections.whom import whom
from profilectl.profiles.played import activities
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import shown
from profilectl.rules.identity import (
    BY_NAME,
    Rules,
    UsableIdentity,
    display,
    key_of,
    type_named,
    usable,
)
from profilectl.rules.text.moments import latest_ms, may_be
from profilectl.rules.text.values import Number, Value, to_json
from profilectl.server.desk import mpid_of
from profilectl.server.gate import Problem
from profilectl.server.intake import Change
from profilectl.server.snapshot import Reader

PLATFORMS = ("ios", "android", "web", "tvos", "roku", "alexa", "smart_tv", "fire", "xbox", "other")
MOST_CHANGES = 100
LONGEST_ID = 256
"""The longest request_id, in characters."""
NOBODY = "NOT_FOUND_ERROR"
"""The code of a search that finds nobody: the platform's own client expects it."""

# fmt: off
REFUSALS: dict[str, str] = {
    # Reasons to refuse a change for which codes.py has no sentence.
    "OLD_VALUE_MISMATCH": "the profile does not have an old value",
    "IMMUTABLE":          "an immutable identity cannot be changed or removed",
    "IMMUTABLE_CONFLICT": "another profile has the new value, and its type is immutable",
    "SUPPRESSED":         "a new value is of a person who was erased",
    "PROFILE_NOT_FOUND":  "the environment has no profile with this MPID",
    "NO_IDENTITY":        "a new value is empty",
    "BAD_REQUEST":        "the request cannot be done",
}
# fmt: on


@dataclass(slots=True)
class UserRequest:
    """A request about a user: identify, login, logout or search."""

    environment: str
    """The environment in which the user is looked for."""
    request: str | None = None
    """The id of the request, or None."""
    previous: Number | None = None
    """The MPID that the application had before, or None."""
    identities: dict[str, str] = field(default_factory=dict)
    """The known identities: type -> value."""
    names: dict[str, str] = field(default_factory=dict)
    """The name of each type in the request."""
    usable: dict[str, UsableIdentity] = field(default_factory=dict)
    """The identities that may be used."""


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """A request to modify identities."""

    environment: str
    """The environment of the profile."""
    request: str | None
    """The id of the request, or None."""
    changes: list[Change]
    """The changes."""
    names: list[str]
    """The name of each change's type in the request."""


def read_call(body: dict[str, Value], rules: Rules, call: str) -> UserRequest:
    """Return a request from its body. call: of identity.CALLS, or "search". Raises Problem."""
    environment, request = _envelope(body)
    known_identities = body.get("known_identities")
    if not isinstance(known_identities, dict) or not known_identities:
        raise _bad("known_identities must be an object with at least one identity", "NO_IDENTITY")
    user = UserRequest(environment, request, _previous(body.get("previous_mpid")))
    skipped = []
    for name, value in known_identities.items():
        kind = _type(name)
        if value is None:
            continue
        text = _text(value, f"the {kind} of known_identities")
        if kind in user.identities and _key(kind, user.identities[kind]) != _key(kind, text):
            raise _bad(f"known_identities has two values for {kind}", "IDENTITY_DUPLICATE_TYPE")
        user.identities.setdefault(kind, text)
        user.names.setdefault(kind, name)
        verdict = usable(BY_NAME[kind], text, rules.judging)
        if isinstance(verdict, UsableIdentity):
            user.usable[kind] = verdict
        else:
            skipped.append(f"{kind} is {verdict or 'empty'}")
    if not user.usable:
        raise _bad(
            "; ".join(["known_identities has no identity that may be used", *sorted(skipped)]),
            "NO_IDENTITY",
        )
    if rules.leads(call) != "identify" and not user.usable.keys() - rules.login:
        raise _bad(
            "a logout needs an identity of the device: login identities lead to nobody anonymous",
            "NO_IDENTITY",
        )
    return user


def read_changes(body: dict[str, Value]) -> ChangesRequest:
    """Return a request to modify from its body. Raises Problem."""
    environment, request = _envelope(body)
    listed = body.get("identity_changes")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CHANGES:
        raise _bad(f"identity_changes must be a list of 1 to {MOST_CHANGES}")
    changes: list[Change] = []
    names: list[str] = []
    for change in listed:
        if (
            not isinstance(change, dict)
            or not {"identity_type", "old_value", "new_value"} <= change.keys()
        ):
            raise _bad("a change has an identity_type, an old_value and a new_value; null is none")
        name = change["identity_type"]
        kind = _type(name if isinstance(name, str) else to_json(name))
        old, new = (
            None if change[key] is None else _text(change[key], f"{key} of {kind}")
            for key in ("old_value", "new_value")
        )
        if old is None and new is None:
            raise _bad(f"a change of {kind} has neither an old value nor a new one")
        changes.append((kind, old, new))
        names.append(str(name))
    return ChangesRequest(environment=environment, request=request, changes=changes, names=names)


def _envelope(body: dict[str, Value]) -> tuple[str, str | None]:
    """Check the fields that every request has; return the environment and the id of the request.

    Raises Problem.
    """
    environment = body.get("environment")
    if not isinstance(environment, str) or environment not in ENVIRONMENTS:
        raise _bad("environment must be production or development", "ENVIRONMENT_INVALID")
    _check_sdk(body.get("client_sdk"))
    if body.get("context") is not None:
        _text(body["context"], "context")
    at_ms = body.get("request_timestamp_ms")
    if at_ms is not None and not (isinstance(at_ms, Number) and mpid_of(at_ms) is not None):
        raise _bad(
            "request_timestamp_ms must be a whole number of milliseconds", "TIMESTAMP_INVALID"
        )
    if isinstance(at_ms, Number) and not may_be(int(at_ms), latest_ms(time.time_ns() // 1_000_000)):
        raise _bad("request_timestamp_ms must lie from 1970 to a year ahead", "TIMESTAMP_INVALID")
    request = body.get("request_id")
    if request is not None and not 0 < len(_text(request, "request_id")) <= LONGEST_ID:
        raise _bad(f"request_id must have 1 to {LONGEST_ID} characters")
    return environment, str(request) if request is not None else None


def _check_sdk(sdk: Value) -> None:
    if sdk is None:
        return
    if not isinstance(sdk, dict):
        raise _bad("client_sdk must be an object")
    if sdk.get("platform") not in (None, *PLATFORMS):
        raise _bad(f"client_sdk.platform must be one of {', '.join(PLATFORMS)}")
    for name in ("sdk_vendor", "sdk_version"):
        if sdk.get(name) is not None:
            _text(sdk[name], f"client_sdk.{name}")


def _type(name: str) -> str:
    kind = type_named(name)
    if kind is None:
        raise _bad(f"there is no identity type {shown(name)}", "IDENTITY_UNKNOWN_TYPE")
    return kind.name


def _text(value: Value, what: str) -> str:
    if not isinstance(value, str) or isinstance(value, Number):
        raise _bad(f"{what} must be a text")
    return value


def _key(kind: str, value: str) -> str:
    return key_of(BY_NAME[kind], display(value))


def _previous(value: Value) -> Number | None:
    if value is None or value == "":
        return None
    if isinstance(value, Number) or not isinstance(value, str) or mpid_of(value) is None:
        raise _bad("previous_mpid must be an MPID, as a text", "MPID_INVALID")
    return Number(str(int(value)))


def _bad(message: str, code: str = "BAD_REQUEST") -> Problem:
    return Problem(400, code, message)


def request_key(secret: str, call: str, user: UserRequest) -> str | None:
    """Return the digest by which the same request is recognized: of its id and its content.

    The digest reveals neither. None if the request has no id.
    """
    identities: dict[str, Value] = {
        kind: _key(kind, value) for kind, value in sorted(user.identities.items())
    }
    return (
        _digest(secret, [call, user.request, user.environment, identities, user.previous])
        if user.request
        else None
    )


def change_key(secret: str, mpid: str, changing: ChangesRequest) -> str | None:
    """Return the digest by which the same request to modify is recognized; None without an id."""
    if not changing.request:
        return None
    listed: list[Value] = [list(change) for change in changing.changes]
    return _digest(secret, ["modify", changing.request, changing.environment, mpid, listed])


def _digest(secret: str, parts: list[Value]) -> str:
    return (
        "idsync "
        + hmac.new(secret.encode(), to_json(parts).encode(), hashlib.sha256).hexdigest()[:32]
    )


def batch_of(user: UserRequest, call: str, *, rules: Rules, secret: str) -> str:
    """Return the batch that is imported for a request.

    A new user that signs in keeps the MPID that the application had before (domain.md 4.3 n.6).
    """
    of_user: dict[str, Value] = {
        kind: value for kind, value in user.identities.items() if not BY_NAME[kind].device
    }
    of_device: dict[str, Value] = {
        kind: value for kind, value in user.identities.items() if BY_NAME[kind].device
    }
    # In a batch the device stamp is a field of its own, not of device_info.
    stamp = of_device.pop("mp_deviceid", None)
    signs_in = call != "logout" and bool(user.usable.keys() & rules.login)
    batch: dict[str, Value] = {
        "environment": user.environment,
        "user_identities": of_user,
        "device_info": of_device,
        "mp_deviceid": stamp,
        "source_request_id": request_key(secret, call, user),
        "origin_mpid": user.previous if rules.strategy == "link" and signs_in else None,
    }
    # user_identities stays also where it is empty: it makes the object a batch.
    return to_json(
        {
            name: value
            for name, value in batch.items()
            if (value is not None and value != {}) or name == "user_identities"
        }
    )


def look(reader: Reader, user: UserRequest, call: str) -> RowOutcome | None:
    """Return what a request finds, without changing anything; None if it finds nobody."""
    profile = whom(reader.everybody, user.environment, user.usable.values(), call=call)
    if profile is None:
        return None
    (activity,) = activities(reader.everybody, [profile], placed=False)
    keys = {
        (identity.type, _key(identity.type, identity.value)) for identity in activity.identities
    }
    matched = tuple(kind for kind, value in user.usable.items() if (kind, value.key) in keys)
    return RowOutcome(
        row=0,
        code=None,
        mpid=activity.mpid,
        matched=matched,
        held=matched,
        holds=frozenset(identity.type for identity in activity.identities),
    )


def answer_of(
    user: UserRequest, outcome: RowOutcome, rules: Rules, *, matches: bool
) -> dict[str, Value]:
    """Return the body of an answer. matches: whether it has the identities that matched."""
    mpid = str(outcome.mpid)
    context = base64.b64encode(to_json({"mpid": mpid}).encode()).decode()
    body: dict[str, Value] = {"context": context, "mpid": mpid}
    if matches:
        body["matched_identities"] = {
            user.names[kind]: user.identities[kind] for kind in outcome.matched
        }
    return {
        **body,
        "is_ephemeral": not outcome.holds & rules.login,
        "is_logged_in": bool(rules.login.intersection(outcome.held)),
    }


def nobody(code: str | None) -> Problem:
    """Return the answer to a request that finds nobody. code: of the rule that hid somebody."""
    if code is None:
        return Problem(404, NOBODY, "no user has these identities")
    return Problem(404, code, sentence(code))


def refusal(code: str) -> Problem:
    """Return the answer to a refused change."""
    # An import skips what this refuses, so the end of the sentence would be wrong.
    message = REFUSALS.get(code) or sentence(code).removesuffix(" and was skipped")
    return Problem(400, code, message)
