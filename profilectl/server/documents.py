"""What the OpenAPI document says of bodies and answers, and /healthz."""

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
    "Profiles of a store on this machine, asked for and sent as on the platform. Answers come from a snapshot that is at most about a second old. "
    "Any request may be answered by 400, 408, 413, 429, 431, 500 or 503 before it is looked at."
)
BEARER: dict[str, Any] = {"security": [{"client": []}]}
BASIC: dict[str, Any] = {"security": [{"feed": []}]}


def obj(**members: Any) -> dict[str, Any]:
    """Return the schema of an object; a name that ends in _ need not be there."""
    return {
        "type": "object",
        "properties": {name.removesuffix("_"): schema for name, schema in members.items()},
        "required": [name for name in members if not name.endswith("_")],
    }


def listed(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema, **more}


def maybe(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT = {"type": "string"}
WHOLE = {"type": "integer", "format": "int64"}
SWITCH = {"type": "boolean"}
ENVIRONMENT = {"type": "string", "enum": list(ENVIRONMENTS)}
IDENTITY = obj(type=TEXT, encoding={"const": "none"}, value=TEXT)
VALUES = {
    "type": "object",
    "additionalProperties": {"anyOf": [TEXT, {"type": "null"}, listed(maybe(TEXT))]},
}


def answer(description: str, schema: Any, headers: Any = None) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
        **({"headers": headers} if headers else {}),
    }


PROBLEM = obj(errors=listed(obj(code=TEXT, message=TEXT), minItems=1))
OAUTH_PROBLEM = {"anyOf": [PROBLEM, obj(error=TEXT, error_description=TEXT)]}
SAID = {
    400: "The request is malformed, or there is no such profile.",
    401: "Nobody is named, or the token has run out.",
    403: "Not with these credentials.",
    404: "There is none.",
    413: "More than 256 KB.",
    429: "Too many requests.",
    503: "Not now; try again.",
}


def problems(*statuses: int, shape: Any = PROBLEM) -> dict[int | str, dict[str, Any]]:
    """Return the answers that are no success."""
    later = {
        "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    }
    return {
        status: answer(SAID[status], shape, later if status == 429 else None) for status in statuses
    }


def body(schema: Any, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
WHO = obj(type={"type": "string", "description": "An identity type, `mpid` or `any`."}, value=TEXT)
RESOLVE = obj(environment_type=ENVIRONMENT, identity=obj(type=TEXT, value=TEXT))
WHOM = obj(
    identities=listed(WHO, minItems=1, maxItems=1000),
    environment_type_=ENVIRONMENT,
    provenance_=SWITCH,
)
LISTS = {"type": "object", "additionalProperties": listed(TEXT)}
PROFILES = answer(
    "For each identity, in order, the profiles that have it, as `profilectl show --json` has them.",
    obj(
        results=listed(
            obj(
                identity=WHO,
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
STATUSES = list(dict.fromkeys(["ok", *(one.status for one in Trouble)]))
HEALTH = answer(
    "How it stands.",
    obj(
        status={"enum": STATUSES},
        answers={
            **SWITCH,
            "description": "Whether profiles are told: what would be told is not too old.",
        },
        **{"import": {"type": "integer"}},
        snapshot_ms=WHOLE,
        checked_ms=WHOLE,
        behind_ms={**WHOLE, "description": "How much older than promised that is which is told."},
        copy_ms={"type": "integer"},
    ),
)
BATCH = {
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

FEED_OR_SIGNED: dict[str, Any] = {"security": [{"feed": []}, {"signed": []}]}
IDENTITIES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: TEXT for kind in TYPES for name in (kind.name, *kind.aliases)},
}
SDK = {
    "type": "object",
    "properties": {
        "platform": {"type": "string", "enum": list(PLATFORMS)},
        "sdk_vendor": TEXT,
        "sdk_version": TEXT,
    },
}
ENVELOPE: dict[str, Any] = {
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


def openapi_of(application: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document.

    What the framework adds of its own (422, which never is) is taken out.
    """
    if application.openapi_schema:
        return application.openapi_schema
    found = get_openapi(
        title=application.title,
        version=application.version,
        description=application.description,
        routes=application.routes,
    )
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    components = found.setdefault("components", {})
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
            "description": "The key of a feed, with Date and x-mp-signature: HMAC-SHA256 of method, date, path and body.",
        },
    }
    application.openapi_schema = found
    return found


def health(snapshots: Snapshots) -> tuple[dict[str, Value], bool]:
    """Return how it stands, and whether it is well: whether the right store could be looked at
    lately.
    """
    silence = snapshots.silence()
    trouble = snapshots.trouble or silence
    numbers = {
        "import": snapshots.now.number,
        "snapshot_ms": snapshots.now.made_ms,
        "checked_ms": snapshots.checked_ms,
        "behind_ms": max(round(snapshots.behind_s() * 1000), 0),
        "copy_ms": round(snapshots.copy_s * 1000),
    }
    told: dict[str, Value] = {
        "status": trouble.status if trouble else "ok",
        "answers": silence is None,
    }
    return {
        **told,
        **{name: Number(str(value)) for name, value in numbers.items()},
    }, trouble is None
