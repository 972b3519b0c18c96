"""Everything the store holds about one person, as one document: the answer to a request for access.

It has everything that `show` has (profiles/activity.py), and the rows of all other tables that have
the person's profile. So all that an erasure takes away (erasure.py) is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profilectl.audiences.one_person import standing_of
from profilectl.codes import sentence
from profilectl.privacy.erased import name_mpids
from profilectl.privacy.meant import mpids_alone
from profilectl.privacy.mentions import places_of
from profilectl.profiles.activity import Activity, AttributeChange, remark_subject
from profilectl.profiles.activity_json import entry_json, members, origin_json, standing_json
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, account_profiles, profiles_of
from profilectl.rules.feed import ACCOUNT, NO_WORKSPACE, workspaces_of
from profilectl.rules.identity import NAME
from profilectl.rules.text.spelling import MPID, SoughtValues
from profilectl.rules.text.values import Number, Value, parse_json, whole
from profilectl.store.statements import kind_of, reading, rows_of
from profilectl.store.store import OpenStore, columns_of

# The tables that other parts of the document show.
IN_OTHER_PARTS = (
    "row",
    "index",
    "mpid",
    "loose",
    "blocked",
    "blocked_loose",
    "rest",
    "event",
    "removed",
    "calculated",
    "membership",
    "membership_change",
)
# The parts that each workspace has for itself, where the store has several.
OF_A_WORKSPACE = (
    "workspace",
    "user_attributes",
    "provenance",
    "devices",
    "consent",
    "attribution",
    "history",
)
PARTS = ("devices", "consent", "attribution", "history", "timeline")
STORE_NAMES = ("profile", "arrival", "hash")
"""Columns that only the store understands."""

# In the order in which they were written: several changes may have the same time.
AUDIENCE_CHANGES = """
select audience.number, audience.name, moved.change, moved.at_ms
from (select *, rowid as place from store.membership_change) as moved
join store.audience on audience.number = moved.audience
where moved.profile = $profile
order by moved.place
"""
REMARKS = """
select arrival, code, attribute, type, value
from store.remark
where arrival in (select unnest($arrivals::bigint[]))
order by arrival, code, attribute, type
"""
ROWS_AS_JSON = """
select to_json(stored)::varchar
from stored
where profile = $profile
"""
REJECTS = """
select import, file,
       coalesce(
           (
               select any_value(unit)
               from store.import_file
               where import_file.import = reject.import and path = file
           ),
           'line'
       ),
       line, code, message, raw
from store.reject
where rowid in (select unnest($places::bigint[]))
order by import, line
"""
# Batches in the outbox that name an identity of theirs, or their MPID (erased_name). Only a batch
# without a profile has content; the MPID counts within its environment.
BATCHES_PASSED_BY = """
select output, content
from store.outbox as batch
where content is not null
  and (
    rowid in (select unnest($places::bigint[]))
    or exists (
        select 1
        from erased_name as person
        where person.mpid = json_extract(batch.content, '$.mpid')::varchar
          and person.environment = batch.content->>'$.environment'
    )
  )
order by arrival, output
"""


def access_document(
    profiles: Profiles, people: Sequence[int], query: tuple[str, str], *, now_ms: int
) -> dict[str, Value]:
    """Return the document about some profiles, which are one person's. now_ms: when it is made.

    Under `profiles` it has each as `show --json` gives it, with provenance, and with these parts:
    identities, with the times when they came and went; blocked, the refused values; remarks about
    their rows; devices, consent, attribution, history and timeline (batches and events); held,
    their rows of all other tables; workspaces, the parts that each has for itself, where the store
    has several. Under `rejected_rows` it has rows that could not be used and name them, under
    `passed_by` batches of feeds that only read, which wait to leave and name them.
    """
    store = profiles.store
    activity_of = activities(profiles, people)
    for person in activity_of:
        person.standing = standing_of(profiles, person, now_ms)
    workspaces = workspaces_of(store.feeds())
    if len(workspaces) > 1:
        for person in activity_of:
            _compare_within_workspaces(store, person, workspaces)
    documents: list[Value] = []
    for person, line in zip(activity_of, profiles.lines(people), strict=True):
        document = _document(profiles, person, line)
        if len(workspaces) > 1:
            for name in OF_A_WORKSPACE:
                document.pop(name, None)
            document["workspaces"] = {
                name: _of_workspace(store, name, person.profile) for name in workspaces
            }
        documents.append(document)
    return {
        "made_ms": Number(str(now_ms)),
        "query": {"type": query[0], "value": query[1]},
        "profiles": documents,
        "rejected_rows": _rejected(profiles, activity_of),
        "passed_by": _passed_by(profiles, activity_of),
    }


def _document(profiles: Profiles, person: Activity, line: str) -> dict[str, Value]:
    """Return the document about one profile. line: the profile as JSON."""
    document = parse_json(line[:-1] + "," + members(person, PARTS) + "}")
    assert isinstance(document, dict)
    document |= standing_json(person)
    document["audience_changes"] = _audience_changes(profiles.store, person.profile)
    document["identities"] = _identities(person)
    document["blocked"] = [
        {"attribute": key, **entry_json(entry)}
        for key, entries in sorted(person.history.items())
        for entry in entries
        if entry.kind == "blocked"
    ]
    document["remarks"] = _remarks(profiles.store, person)
    document["held"] = _rows_elsewhere(profiles, person.profile)
    return document


def _compare_within_workspaces(
    store: OpenStore, person: Activity, workspaces: Sequence[str]
) -> None:
    """Compare each batch of a timeline with what its own workspace had before it."""
    entries: dict[int, list[AttributeChange]] = {}
    views = [profiles_of(store, workspace=name) for name in workspaces]
    for view in (*views, account_profiles(store)):
        of_account = view.workspace == NO_WORKSPACE
        for activity in activities(view, [person.profile]):
            entries |= {
                touch.origin.arrival: touch.entries
                for touch in activity.touches
                if (touch.origin.feed.source == ACCOUNT) == of_account
            }
    for touch in person.touches:
        touch.entries = entries.get(touch.origin.arrival, touch.entries)


def _of_workspace(store: OpenStore, workspace: str, profile: int) -> dict[str, Value]:
    """Return what one workspace has of a person."""
    profiles = profiles_of(store, workspace=workspace)
    parts = members(activities(profiles, [profile])[0], PARTS)
    document = parse_json(profiles.lines([profile])[0][:-1] + "," + parts + "}")
    assert isinstance(document, dict)
    return {name: document[name] for name in OF_A_WORKSPACE if name in document}


def _audience_changes(store: OpenStore, profile: int) -> list[Value]:
    return [
        {
            "audience_id": Number(str(number)),
            "audience_name": name,
            "change": change,
            "at_ms": Number(str(at_ms)),
        }
        for number, name, change, at_ms in store.scratch.rows(
            AUDIENCE_CHANGES, {"profile": profile}
        )
    ]


def _identities(person: Activity) -> Value:
    identities = [*person.identities, *person.lost]
    return [
        {
            "type": identity.type,
            "value": identity.value,
            "held": identity.lost is None,
            "since_ms": whole(identity.origin.at_ms),
            **_without(origin_json(identity.origin), "set_ms"),
        }
        for identity in sorted(identities, key=lambda identity: identity.origin.arrival)
    ]


def _remarks(store: OpenStore, person: Activity) -> list[Value]:
    """Return the remarks about their rows: what was skipped, and what else is worth knowing."""
    origins = {touch.origin.arrival: touch.origin for touch in person.every()}
    rows = store.scratch.rows(REMARKS, {"arrivals": list(origins)})
    return [
        {
            "code": code,
            "message": sentence(code),
            **remark_subject(attribute, NAME[kind] if kind else None, value),
            **origin_json(origins[arrival]),
        }
        for arrival, code, attribute, kind, value in rows
    ]


def _without(document: dict[str, Value], name: str) -> dict[str, Value]:
    return {key: value for key, value in document.items() if key != name}


def _rows_elsewhere(profiles: Profiles, profile: int) -> dict[str, Value]:
    """Return their rows of tables that no other part has, by the kind of table."""
    scratch = profiles.store.scratch
    feeds = {feed.number: feed.name for feed in profiles.store.feeds()}
    rows: dict[str, list[Value]] = {}
    for table, columns in columns_of(scratch).items():
        if "profile" not in columns or kind_of(table) in IN_OTHER_PARTS:
            continue
        select = reading(ROWS_AS_JSON, stored=rows_of(table))
        rows.setdefault(kind_of(table), []).extend(
            _readable(parse_json(text), feeds)
            for (text,) in scratch.rows(select, {"profile": profile})
        )
    return {kind: list(of_kind) for kind, of_kind in rows.items() if of_kind}


def _readable(row: Value, feeds: Mapping[int, str]) -> Value:
    """Return a row without what only the store understands, and its feed by name."""
    assert isinstance(row, dict)
    return {
        name: feeds.get(int(str(value))) if name == "feed" else value
        for name, value in row.items()
        if name not in STORE_NAMES
    }


def _rejected(profiles: Profiles, people: Sequence[Activity]) -> list[Value]:
    """Return the rows that could not be used and name an identity of theirs."""
    scratch = profiles.store.scratch
    places = places_of(
        scratch, "store.reject", texts=("raw", "message"), sought=_sought(profiles, people)
    )
    return [
        {
            "import": Number(str(number)),
            "file": file,
            unit: Number(str(place)),
            "code": code,
            "message": message,
            "raw": raw,
        }
        for number, file, unit, place, code, message, raw in scratch.rows(
            REJECTS, {"places": places}
        )
    ]


def _passed_by(profiles: Profiles, people: Sequence[Activity]) -> list[Value]:
    """Return the waiting batches that have no profile and name one of these people."""
    scratch = profiles.store.scratch
    places = places_of(
        scratch, "store.outbox", texts=("content",), sought=_sought(profiles, people)
    )
    name_mpids(scratch, {(person.mpid, person.environment) for person in people})
    rows = scratch.rows(BATCHES_PASSED_BY, {"places": places})
    return [{"output": output, "batch": parse_json(content)} for output, content in rows]


def _sought(profiles: Profiles, people: Sequence[Activity]) -> SoughtValues:
    """Return the values of these people that texts are searched for."""
    identities = [
        (identity.type, identity.value)
        for person in people
        for identity in (*person.identities, *person.lost)
    ]
    mpids = mpids_alone(profiles, [person.profile for person in people])
    return SoughtValues([*identities, *((MPID, mpid) for mpid in mpids)])
