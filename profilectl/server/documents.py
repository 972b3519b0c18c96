"""The OpenAPI document: its schemas of bodies and answers; and the answer of /healthz."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import TYPES
from profilectl.rules.text.values import Number, Value
from profilectl.server.idsync.requests import LONGEST_ID, MOST_CHANGES, PLATFORMS
from profilectl.server.snapshot import Snapshots
from profilectl.server.trouble import Trouble

DESCRIPTION = (
    "Profiles of a store on this machine, asked for and sent as on the platform. Answers"
    " come from a snapshot that is at most about a second old. "
    "Any request may be answered by 400, 408, 413, 429, 431, 500 or 503 before it is looked at."
)
Schema = dict[str, Any]
"""A piece of the OpenAPI document, as the framework takes it."""
BEARER: Schema = {"security": [{"client": []}]}
BASIC: Schema = {"security": [{"feed": []}]}


def obj(**members: Mapping[str, object]) -> Schema:
    """Return the schema of an object. A name that ends in _ is optional."""
    return {
        "type": "object",
        "properties": {name.removesuffix("_"): schema for name, schema in members.items()},
        "required": [name for name in members if not name.endswith("_")],
    }


def listed(schema: Schema, **more: object) -> Schema:
    """Return the schema of a list. more: keywords such as minItems."""
    return {"type": "array", "items": schema, **more}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "format": "int64"}
SWITCH: Schema = {"type": "boolean"}
ENVIRONMENT: Schema = {"type": "string", "enum": list(ENVIRONMENTS)}
IDENTITY = obj(type=TEXT, encoding={"const": "none"}, value=TEXT)
VALUES: Schema = {
    "type": "object",
    "additionalProperties": {"anyOf": [TEXT, {"type": "null"}, listed(maybe(TEXT))]},
}


def answer(description: str, schema: Schema, headers: Schema | None = None) -> Schema:
    """Return the description of one answer."""
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
        **({"headers": headers} if headers else {}),
    }


PROBLEM = obj(errors=listed(obj(code=TEXT, message=TEXT), minItems=1))
OAUTH_PROBLEM: Schema = {"anyOf": [PROBLEM, obj(error=TEXT, error_description=TEXT)]}
STATUS_MEANINGS = {
    400: "The request is malformed, or there is no such profile.",
    401: "Nobody is named, or the token has run out.",
    403: "Not with these credentials.",
    404: "There is none.",
    413: "More than 256 KB.",
    429: "Too many requests.",
    503: "Not now; try again.",
}


def problems(*statuses: int, shape: Schema = PROBLEM) -> dict[int | str, Schema]:
    """Return the descriptions of the answers to failures. shape: the schema of their bodies."""
    later = {
        "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    }
    return {
        status: answer(STATUS_MEANINGS[status], shape, later if status == 429 else None)
        for status in statuses
    }


def body(schema: Schema, more: Schema | None = None) -> Schema:
    """Return the description of a request's body. more: other parts, such as its security."""
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        **(more or {}),
    }


CREDENTIALS = obj(
    client_id=TEXT, client_secret=TEXT, audience=TEXT, grant_type={"const": "client_credentials"}
)
TOKEN = answer(
    "A token.",
    obj(access_token=TEXT, token_type={"const": "Bearer"}, expires_in={"type": "integer"}),
)
PROFILE = answer(
    "The profile.",
    obj(
        mpid=WHOLE,
        created_timestamp_ms=WHOLE,
        last_stored_timestamp_ms=WHOLE,
        is_opted_out=SWITCH,
        limit_ad_tracking=maybe(SWITCH),
        account_userattributes=maybe(VALUES),
        device_identities_=listed(IDENTITY),
        user_identities_=listed(IDENTITY),
        user_attributes_=VALUES,
        audience_memberships_=listed(
            obj(
                audience_id={"type": "integer"},
                audience_name=TEXT,
                expiration_timestamp_ms=maybe(WHOLE),
            )
        ),
        attribution_=listed(
            obj(service_provider=maybe(TEXT), publisher=maybe(TEXT), campaign=maybe(TEXT))
        ),
        consent_state_={"type": "object"},
    ),
)
ANY_IDENTITY = obj(
    type={"type": "string", "description": "An identity type, `mpid` or `any`."}, value=TEXT
)
RESOLVE = obj(environment_type=ENVIRONMENT, identity=obj(type=TEXT, value=TEXT))
ANY_IDENTITIES = obj(
    identities=listed(ANY_IDENTITY, minItems=1, maxItems=1000),
    environment_type_=ENVIRONMENT,
    provenance_=SWITCH,
)
LISTS: Schema = {"type": "object", "additionalProperties": listed(TEXT)}
PROFILES = answer(
    "For each identity, in order, the profiles that have it, as `profilectl show --json` has them.",
    obj(
        results=listed(
            obj(
                identity=ANY_IDENTITY,
                profiles=listed(
                    obj(
                        mpid=TEXT,
                        environment=ENVIRONMENT,
                        workspace=maybe(TEXT),
                        first_seen_ms=WHOLE,
                        last_seen_ms=WHOLE,
                        user_identities=LISTS,
                        device_identities=LISTS,
                        user_attributes={"type": "object"},
                        provenance_={"type": "object"},
                        is_opted_out=SWITCH,
                        limit_ad_tracking=maybe(SWITCH),
                        audience_memberships=listed({"type": "object"}),
                    )
                ),
            )
        )
    ),
)
AUDIENCES = answer(
    "The audiences.",
    obj(
        audiences=listed(
            obj(
                audience_id={"type": "integer"},
                audience_name=TEXT,
                criteria=TEXT,
                kind=TEXT,
                members={"type": "integer"},
                refreshed_ms=maybe(WHOLE),
            )
        )
    ),
)
MEMBERS = answer(
    "A page of members.",
    obj(
        audience_id={"type": "integer"},
        members=listed(obj(mpid=TEXT, environment=ENVIRONMENT, since_ms=WHOLE)),
        next=maybe(TEXT),
    ),
)
STATUSES = list(dict.fromkeys(["ok", *(trouble.status for trouble in Trouble)]))
HEALTH = answer(
    "How it stands.",
    obj(
        status={"enum": STATUSES},
        answers={
            **SWITCH,
            "description": "Whether profiles are answered: the copy that answers is new enough.",
        },
        **{"import": {"type": "integer"}},
        snapshot_ms=WHOLE,
        checked_ms=WHOLE,
        behind_ms={**WHOLE, "description": "How much older than promised the answers are."},
        copy_ms={"type": "integer"},
    ),
)
BATCH: Schema = {
    "type": "object",
    "description": "A batch of the Events API, version 2.",
    "properties": {
        "environment": ENVIRONMENT,
        "mpid": WHOLE,
        "source_request_id": TEXT,
        "timestamp_unixtime_ms": WHOLE,
        "user_identities": {"type": "object", "additionalProperties": TEXT},
        "user_attributes": {"type": "object"},
        "deleted_user_attributes": listed(TEXT),
        "device_info": {"type": "object"},
        "consent_state": {"type": "object"},
        "events": listed({"type": "object"}),
    },
}
BATCHES = listed(BATCH, minItems=1, maxItems=100)

FEED_OR_SIGNED: Schema = {"security": [{"feed": []}, {"signed": []}]}
IDENTITIES: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: TEXT for kind in TYPES for name in (kind.name, *kind.aliases)},
}
SDK: Schema = {
    "type": "object",
    "properties": {
        "platform": {"type": "string", "enum": list(PLATFORMS)},
        "sdk_vendor": TEXT,
        "sdk_version": TEXT,
    },
}
ENVELOPE: Schema = {
    "client_sdk_": SDK,
    "context_": TEXT,
    "environment": ENVIRONMENT,
    "request_timestamp_ms_": WHOLE,
    "request_id_": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_ID,
        "description": "Of which a second one, about the same, changes nothing.",
    },
}
IDENTIFY = obj(**ENVELOPE, previous_mpid_=TEXT, known_identities={**IDENTITIES, "minProperties": 1})
IDENTIFIED = answer(
    "The user.",
    obj(
        context=TEXT,
        mpid=TEXT,
        matched_identities_={
            **IDENTITIES,
            "description": "Those of the request that the user had already.",
        },
        is_ephemeral={**SWITCH, "description": "Whether the user is anonymous."},
        is_logged_in={
            **SWITCH,
            "description": "Whether the request has a login identity of the user.",
        },
    ),
)
CHANGE = obj(
    identity_type={"type": "string", "enum": list(IDENTITIES["properties"])},
    old_value=maybe(TEXT),
    new_value=maybe(TEXT),
)
MODIFY = obj(**ENVELOPE, identity_changes=listed(CHANGE, minItems=1, maxItems=MOST_CHANGES))
MODIFIED = answer(
    "All of it is done.", obj(change_results=listed(obj(identity_type=TEXT, modified_mpid=TEXT)))
)


def openapi_of(application: FastAPI) -> Schema:
    """Return the OpenAPI document.

    The answer 422, which the framework adds and the server never gives, is taken out. So are the
    docstrings of the handlers, which are written for readers of the code.
    """
    if application.openapi_schema:
        return application.openapi_schema
    document = get_openapi(
        title=application.title,
        version=application.version,
        description=application.description,
        routes=application.routes,
    )
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation.pop("description", None)
    components = document.setdefault("components", {})
    components.pop("schemas", None)
    components["securitySchemes"] = {
        "client": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of POST /oauth/token.",
        },
        "feed": {
            "type": "http",
            "scheme": "basic",
            "description": "The key and the secret of a feed.",
        },
        "signed": {
            "type": "apiKey",
            "in": "header",
            "name": "x-mp-key",
            "description": (
                "The key of a feed, with Date and x-mp-signature: HMAC-SHA256 of method, date,"
                " path and body."
            ),
        },
    }
    application.openapi_schema = document
    return document


def health(snapshots: Snapshots) -> tuple[dict[str, Value], bool]:
    """Return the answer of /healthz, and whether the right store could be read lately."""
    silence = snapshots.silence()
    trouble = snapshots.trouble or silence
    numbers = {
        "import": snapshots.now.number,
        "snapshot_ms": snapshots.now.made_ms,
        "checked_ms": snapshots.checked_ms,
        "behind_ms": max(round(snapshots.behind_s() * 1000), 0),
        "copy_ms": round(snapshots.copy_s * 1000),
    }
    state: dict[str, Value] = {
        "status": trouble.status if trouble else "ok",
        "answers": silence is None,
    }
    return {
        **state,
        **{name: Number(str(value)) for name, value in numbers.items()},
    }, trouble is None
