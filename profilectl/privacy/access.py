"""Everything the store holds about one person, as one document: the answer to a request for access.

It is made of what `show` is made of (activity.py), so that nothing a person can be shown is
missing, and of whatever else has their profile; what erasure takes away (erasure.py) is what stands
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profilectl.audiences.one_person import standing_of
from profilectl.codes import sentence
from profilectl.privacy.erased import mpids_alone, names_mpid
from profilectl.privacy.mentions import places_of
from profilectl.profiles.activity import Activity, AttributeChange, remark_subject
from profilectl.profiles.activity_json import entry_json, members, origin_json, standing_json
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, account_profiles, profiles_of
from profilectl.rules.feed import ACCOUNT, NO_WORKSPACE, workspaces_of
from profilectl.rules.identity import NAME
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.rules.text.spelling import MPID, Sought
from profilectl.rules.text.values import Number, Value, parse_json, whole
from profilectl.store.store import OpenStore, columns_of

TOLD = (
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
"""The tables whose rows are told in words of their own."""
OF_A_WORKSPACE = (
    "workspace",
    "user_attributes",
    "provenance",
    "devices",
    "consent",
    "attribution",
    "history",
)
"""What stands under each workspace, where the store has several."""
PARTS = ("devices", "consent", "attribution", "history", "timeline")


def access_document(
    profiles: Profiles, found: Sequence[int], query: tuple[str, str], now_ms: int
) -> dict[str, Value]:
    """Return the document about some profiles, which are one person's. now_ms: when it is made.

    profiles: each as `show --json` gives it, with provenance; identities: with when they came and
    went; blocked: what was refused; remarks: what of their rows was skipped, and what is worth
    knowing; devices, consent, attribution, history, timeline (batches and events); held: rows of
    all other tables that are theirs; workspaces: where the store has several, what each has of
    them. rejected_rows: that could not be used and name them; passed_by: batches of feeds that only
    read, which wait to leave and name them.
    """
    people = activities(profiles, found)
    for one in people:
        one.standing = standing_of(profiles, one, now_ms)
    documents: list[Value] = []
    workspaces = workspaces_of(profiles.store.feeds())
    if len(workspaces) > 1:
        for one in people:
            _compared_within_workspaces(profiles.store, one, workspaces)
    for one, line in zip(people, profiles.lines(found), strict=True):
        document = parse_json(line[:-1] + "," + members(one, PARTS) + "}")
        assert isinstance(document, dict)
        document |= standing_json(one)
        document["audience_changes"] = _audience_changes(profiles.store, one.profile)
        document["identities"] = _identities(one)
        document["blocked"] = [
            {"attribute": key, **entry_json(entry)}
            for key, entries in sorted(one.history.items())
            for entry in entries
            if entry.kind == "blocked"
        ]
        document["remarks"] = _remarks(profiles.store, one)
        document["held"] = _held(profiles, one.profile)
        if len(workspaces) > 1:
            for name in OF_A_WORKSPACE:
                document.pop(name, None)
            document["workspaces"] = {
                name: _of_workspace(profiles.store, name, one.profile) for name in workspaces
            }
        documents.append(document)
    return {
        "made_ms": Number(str(now_ms)),
        "query": {"type": query[0], "value": query[1]},
        "profiles": documents,
        "rejected_rows": _rejected(profiles, people),
        "passed_by": _passed_by(profiles, people),
    }


def _compared_within_workspaces(store: OpenStore, one: Activity, workspaces: Sequence[str]) -> None:
    """Let each batch of a timeline say what it changed where its feed belongs, not against what
    another workspace has.
    """
    entries: dict[int, list[AttributeChange]] = {}
    for view in (
        *(profiles_of(store, workspace=name) for name in workspaces),
        account_profiles(store),
    ):
        for seen in activities(view, [one.profile]):
            of_account = view.workspace == NO_WORKSPACE
            entries |= {
                touch.origin.arrival: touch.entries
                for touch in seen.touches
                if (touch.origin.feed.source == ACCOUNT) == of_account
            }
    for touch in one.touches:
        touch.entries = entries.get(touch.origin.arrival, touch.entries)


def _of_workspace(store: OpenStore, workspace: str, profile: int) -> dict[str, Value]:
    """Return what one workspace has of a person."""
    profiles = profiles_of(store, workspace=workspace)
    document = parse_json(
        profiles.lines([profile])[0][:-1]
        + ","
        + members(activities(profiles, [profile])[0], PARTS)
        + "}"
    )
    assert isinstance(document, dict)
    return {name: document[name] for name in OF_A_WORKSPACE if name in document}


def _audience_changes(store: OpenStore, profile: int) -> list[Value]:
    rows = store.scratch.rows(
        "select audience.number, audience.name, one.change, one.at_ms from (select *, rowid as place from store.membership_change) as one"
        " join store.audience on audience.number = one.audience where one.profile = $profile order by one.place",
        {"profile": profile},
    )
    return [
        {
            "audience_id": Number(str(number)),
            "audience_name": name,
            "change": change,
            "at_ms": Number(str(at_ms)),
        }
        for number, name, change, at_ms in rows
    ]


def _identities(one: Activity) -> Value:
    return [
        {
            "type": held.type,
            "value": held.value,
            "held": held.lost is None,
            "since_ms": whole(held.origin.at_ms),
            **_without(origin_json(held.origin), "set_ms"),
        }
        for held in sorted([*one.identities, *one.lost], key=lambda held: held.origin.arrival)
    ]


def _remarks(store: OpenStore, one: Activity) -> list[Value]:
    """Return what was said of their rows: what was skipped of each, and what is worth knowing."""
    origins = {touch.origin.arrival: touch.origin for touch in one.every()}
    rows = store.scratch.rows(
        "select arrival, code, attribute, type, value from store.remark where arrival in (select unnest($arrivals::bigint[]))"
        " order by arrival, code, attribute, type",
        {"arrivals": list(origins)},
    )
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


def _held(profiles: Profiles, profile: int) -> dict[str, Value]:
    """Return the rows of tables that the activity does not tell of: events, calculated attributes,
    memberships...
    """
    found: dict[str, Value] = {}
    feeds = {feed.number: feed.name for feed in profiles.store.feeds()}
    for table, columns in columns_of(profiles.store.scratch).items():
        kind = table.rpartition("_")[0] if table.rpartition("_")[2].isdigit() else table
        if "profile" not in columns or kind in TOLD:
            continue
        rows = profiles.store.scratch.rows(
            f"select to_json(one)::varchar from store.{quote_identifier(table)} as one where profile = {profile}"
        )
        held = found.setdefault(kind, [])
        assert isinstance(held, list)
        held += [_without_names(parse_json(row), feeds) for (row,) in rows]
    return {kind: rows for kind, rows in found.items() if rows}


def _without_names(row: Value, feeds: Mapping[int, str]) -> Value:
    """Leave out what only the store understands: the name it gives a profile, the number of a feed."""
    assert isinstance(row, dict)
    return {
        name: feeds.get(int(str(value))) if name == "feed" else value
        for name, value in row.items()
        if name not in ("profile", "arrival", "hash")
    }


def _rejected(profiles: Profiles, people: Sequence[Activity]) -> list[Value]:
    """Return the rows that could not be used and name an identity of theirs."""
    places = places_of(
        profiles.store.scratch, "store.reject", ("raw", "message"), _sought(profiles, people)
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
        for number, file, unit, place, code, message, raw in profiles.store.scratch.rows(
            "select import, file, coalesce((select any_value(unit) from store.import_file where import_file.import = reject.import and path = file), 'line'),"
            " line, code, message, raw from store.reject where rowid in (select unnest($places::bigint[])) order by import, line",
            {"places": places},
        )
    ]


def _passed_by(profiles: Profiles, people: Sequence[Activity]) -> list[Value]:
    """Return the batches in the outbox that are of nobody's profile and name an identity of theirs,
    or their MPID.
    """
    scratch = profiles.store.scratch
    places = places_of(scratch, "store.outbox", ("content",), _sought(profiles, people))
    named = names_mpid("content", ((one.mpid, one.environment) for one in people))
    rows = scratch.rows(
        f"select output, content from store.outbox where content is not null and (rowid in (select unnest($places::bigint[])) or {named})"
        " order by arrival, output",
        {"places": places},
    )
    return [{"output": output, "batch": parse_json(content)} for output, content in rows]


def _sought(profiles: Profiles, people: Sequence[Activity]) -> Sought:
    """Return what texts are looked through for that are of these people."""
    held = [(held.type, held.value) for one in people for held in (*one.identities, *one.lost)]
    return Sought(
        [*held, *((MPID, mpid) for mpid in mpids_alone(profiles, [one.profile for one in people]))]
    )
