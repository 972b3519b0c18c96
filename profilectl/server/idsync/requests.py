"""IDSync as the platform's HTTP API speaks it: what a request says, and what is answered.

Source: domain.md 4.3. identify, login and logout are batches of their feed that say nothing but
identities: the rules that resolve them are those of an import, and so are the history and the way
back. search, and what only reads, looks into the newest copy of the store.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from profilectl.codes import sentence
from profilectl.importing.corrections.whom import whom
from profilectl.importing.outcomes import RowOutcome
from profilectl.profiles.played import activities
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import shown
from profilectl.rules.identity import BY_NAME, Rules, Usable, display, key_of, type_named, usable
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
"""The code of a search that finds nobody, as the platform's own client knows it."""

# fmt: off
REFUSALS: dict[str, str] = {
    # what stands in the way of a change, where codes.py has no sentence for it
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
    """What a request says of a user."""

    environment: str
    """Where the user is looked for."""
    identities: dict[str, str]
    """What is known of the user: type -> value."""
    names: dict[str, str]
    """How the request calls each type."""
    request: str | None = None
    """The id of the request, or None."""
    previous: Number | None = None
    """The MPID that the application had before, or None."""
    usable: dict[str, Usable] = field(default_factory=dict)
    """Those of the identities that may be used."""


def read_call(body: dict[str, Value], rules: Rules, call: str) -> UserRequest:
    """Read a request. call: of identity.CALLS, or "search". Raises Problem."""
    environment, request = _envelope(body)
    stated = body.get("known_identities")
    if not isinstance(stated, dict) or not stated:
        raise _bad("known_identities must be an object with at least one identity", "NO_IDENTITY")
    asked = UserRequest(environment, {}, {}, request, _previous(body.get("previous_mpid")))
    skipped = []
    for name, value in stated.items():
        kind = _type(name)
        if value is None:
            continue
        text = _text(value, f"the {kind} of known_identities")
        if kind in asked.identities and _key(kind, asked.identities[kind]) != _key(kind, text):
            raise _bad(f"known_identities has two values for {kind}", "IDENTITY_DUPLICATE_TYPE")
        asked.identities.setdefault(kind, text)
        asked.names.setdefault(kind, name)
        found = usable(BY_NAME[kind], text, rules.judging)
        if isinstance(found, Usable):
            asked.usable[kind] = found
        else:
            skipped.append(f"{kind} is {found or 'empty'}")
    if not asked.usable:
        raise _bad(
            "; ".join(["known_identities has no identity that may be used", *sorted(skipped)]),
            "NO_IDENTITY",
        )
    if rules.leads(call) != "identify" and not asked.usable.keys() - rules.login:
        raise _bad(
            "a logout needs an identity of the device: login identities lead to nobody anonymous",
            "NO_IDENTITY",
        )
    return asked


def read_changes(body: dict[str, Value]) -> tuple[str, str | None, list[Change], list[str]]:
    """Read a request to modify: the environment, the id of the request, the changes, and how it
    calls their types. Raises Problem."""
    environment, request = _envelope(body)
    listed = body.get("identity_changes")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CHANGES:
        raise _bad(f"identity_changes must be a list of 1 to {MOST_CHANGES}")
    changes, names = [], []
    for stated in listed:
        if (
            not isinstance(stated, dict)
            or not {"identity_type", "old_value", "new_value"} <= stated.keys()
        ):
            raise _bad("a change has an identity_type, an old_value and a new_value; null is none")
        name = stated["identity_type"]
        kind = _type(name if isinstance(name, str) else to_json(name))
        old, new = (
            None if stated[key] is None else _text(stated[key], f"{key} of {kind}")
            for key in ("old_value", "new_value")
        )
        if old is None and new is None:
            raise _bad(f"a change of {kind} has neither an old value nor a new one")
        changes.append((kind, old, new))
        names.append(str(name))
    return environment, request, changes, names


def _envelope(body: dict[str, Value]) -> tuple[str, str | None]:
    """Check what every request has around it; return the environment and the id of the request.
    Raises Problem."""
    environment = body.get("environment")
    if not isinstance(environment, str) or environment not in ENVIRONMENTS:
        raise _bad("environment must be production or development", "ENVIRONMENT_INVALID")
    sdk = body.get("client_sdk")
    if sdk is not None:
        if not isinstance(sdk, dict):
            raise _bad("client_sdk must be an object")
        if sdk.get("platform") not in (None, *PLATFORMS):
            raise _bad(f"client_sdk.platform must be one of {', '.join(PLATFORMS)}")
        for name in ("sdk_vendor", "sdk_version"):
            if sdk.get(name) is not None:
                _text(sdk[name], f"client_sdk.{name}")
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


def request_key(secret: str, call: str, asked: UserRequest) -> str | None:
    """Return what a request is known again by: its id, and all that it asks for. Whoever reads it
    learns neither."""
    said: dict[str, Value] = {
        kind: _key(kind, value) for kind, value in sorted(asked.identities.items())
    }
    return (
        _digest(secret, [call, asked.request, asked.environment, said, asked.previous])
        if asked.request
        else None
    )


def change_key(
    secret: str, mpid: str, environment: str, request: str | None, changes: Collection[Change]
) -> str | None:
    """Return what a request to modify is known again by."""
    listed: list[Value] = [list(change) for change in changes]
    return _digest(secret, ["modify", request, environment, mpid, listed]) if request else None


def _digest(secret: str, parts: list[Value]) -> str:
    return (
        "idsync "
        + hmac.new(secret.encode(), to_json(parts).encode(), hashlib.sha256).hexdigest()[:32]
    )


def batch_of(asked: UserRequest, call: str, rules: Rules, secret: str) -> str:
    """Return a request as the batch that is imported. A new user that signs in remembers whom the
    application had before (domain.md 4.3 n.6)."""
    of_user: dict[str, Value] = {
        kind: value for kind, value in asked.identities.items() if not BY_NAME[kind].device
    }
    of_device: dict[str, Value] = {
        kind: value for kind, value in asked.identities.items() if BY_NAME[kind].device
    }
    stamp = of_device.pop("mp_deviceid", None)
    signs_in = call != "logout" and bool(asked.usable.keys() & rules.login)
    batch: dict[str, Value] = {
        "environment": asked.environment,
        "user_identities": of_user,
        "device_info": of_device,
        "mp_deviceid": stamp,
        "source_request_id": request_key(secret, call, asked),
        "origin_mpid": asked.previous if rules.strategy == "link" and signs_in else None,
    }
    return to_json(
        {
            name: value
            for name, value in batch.items()
            if (value is not None and value != {}) or name == "user_identities"
        }
    )


def look(reader: Reader, asked: UserRequest, call: str) -> RowOutcome | None:
    """Return whom a request finds, changing nothing, or None."""
    found = whom(reader.everybody, asked.environment, asked.usable.values(), call)
    if found is None:
        return None
    (one,) = activities(reader.everybody, [found], placed=False)
    has = {(held.type, _key(held.type, held.value)) for held in one.identities}
    matched = tuple(kind for kind, value in asked.usable.items() if (kind, value.key) in has)
    return RowOutcome(
        0, None, one.mpid, matched, matched, frozenset(held.type for held in one.identities)
    )


def answer_of(
    asked: UserRequest, outcome: RowOutcome, rules: Rules, *, matches: bool
) -> dict[str, Value]:
    """Return the body of an answer. matches: with the identities that matched."""
    mpid = str(outcome.mpid)
    context = base64.b64encode(to_json({"mpid": mpid}).encode()).decode()
    told: dict[str, Value] = {"context": context, "mpid": mpid}
    if matches:
        told["matched_identities"] = {
            asked.names[kind]: asked.identities[kind] for kind in outcome.matched
        }
    return {
        **told,
        "is_ephemeral": not outcome.holds & rules.login,
        "is_logged_in": bool(rules.login.intersection(outcome.held)),
    }


def nobody(code: str | None) -> Problem:
    """Return the answer where there is nobody. code: why, where a rule is in the way."""
    if code is None:
        return Problem(404, NOBODY, "no user has these identities")
    return Problem(404, code, sentence(code))


def refusal(code: str) -> Problem:
    """Return the answer to a change that is not made."""
    told = REFUSALS.get(code) or sentence(code).removesuffix(
        " and was skipped"
    )  # skipped in a batch, refused here
    return Problem(400, code, told)
