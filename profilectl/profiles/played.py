"""The activity of some profiles: their rows, read and played through in the order of arrival."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.codes import NobodyFound, UsageError
from profilectl.profiles.activity import (
    Activity,
    AttributeChange,
    Carried,
    Document,
    HeldIdentity,
    Origin,
    SeenEvent,
    Touch,
)
from profilectl.profiles.aliases import Alias
from profilectl.profiles.raw_rows import RawRow, RawRows, raw_rows
from profilectl.profiles.read_model import Profiles
from profilectl.rules.event.event import Occurred
from profilectl.rules.identity import BY_NAME, NAME, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.rules.text.values import DELETED, parse_json


def activities(
    profiles: Profiles, profile_numbers: Sequence[int], *, placed: bool = True
) -> list[Activity]:
    """Return the activity of some profiles, in the order given and in the state that is read.

    With `placed`, each origin has its import, file and line, and blocked changes are there too. For
    a single profile that takes as long as everything else.
    """
    raw = raw_rows(profiles, profile_numbers, placed=placed)
    return [
        activity
        for profile in profile_numbers
        if (activity := _played(profiles, profile, raw)) is not None
    ]


def one_meant(
    profiles: Profiles,
    identity: tuple[str, str],
    pick: int | None = None,
    environment: str | None = None,
) -> Activity:
    """Return the one profile that is meant.

    `identity` is an identity type (or mpid, any) and a value; `pick` says which of several, from 1;
    `environment` leaves out the profiles of the other. Raises NobodyFound, and UsageError where
    several are meant.
    """
    kind, value = identity
    people = [
        person
        for person in activities(profiles, profiles.find(kind, value))
        if environment in (None, person.environment)
    ]
    if not people:
        raise NobodyFound(f"nobody has the {'identity or MPID' if kind == 'any' else kind} {value}")
    if pick is None and len(people) > 1:
        listed = ", ".join(f"{person.mpid} ({person.environment})" for person in people[:5])
        pick_one = "--pick N, in the order of `profilectl show`"
        by_mpid = kind != "mpid" and len({person.mpid for person in people}) == len(people)
        raise UsageError(
            f"{len(people)} profiles have the {kind} {value}: {listed}",
            f"name one by --mpid, or by {pick_one}" if by_mpid else pick_one,
        )
    if pick is not None and not 1 <= pick <= len(people):
        raise UsageError(f"--pick {pick}: there are {len(people)}")
    return people[(pick or 1) - 1]


def meant_again(
    profiles: Profiles, identity: tuple[str, str], mpid: str, environment: str
) -> Activity:
    """Return the profile that a change by hand was about, so that the change can be made again.

    Of the profiles that `identity` names now, it is the one that has the MPID of then, or the only
    one.
    Raises NobodyFound, UsageError.
    """
    kind, value = identity
    people = [
        person
        for person in activities(profiles, profiles.find(kind, value))
        if person.environment == environment and str(person.mpid) == mpid
    ]
    return people[0] if people else one_meant(profiles, identity, environment=environment)


def _played(profiles: Profiles, profile: int, raw: RawRows) -> Activity | None:
    """Play the rows of a profile through in order."""
    rows = sorted(raw.rows.get(profile, ()), key=lambda row: row.arrival)
    if not rows:
        return None
    activity = Activity(
        mpid=next(row.mpid for row in rows if row.mpid is not None),
        environment=ENVIRONMENT_NAME[rows[0].environment],
        profile=profile,
        first_seen_ms=min(row.at_ms for row in rows),
        last_seen_ms=max(row.at_ms for row in rows),
        identities=[],
        lost=[],
        attributes={},
        history={},
        touches=[],
        workspace=profiles.workspace,
        aged_ms=raw.aged.get(profile, []),
        forgotten=raw.forgotten.get(profile, 0),
        dormant=_is_dormant(rows, profile, raw),
    )
    removed: dict[tuple[str, int], list[int]] = {}
    for removal in raw.removed:
        if removal.profile == profile:
            key = (NAME[removal.type], removal.digest)
            removed.setdefault(key, []).append(removal.arrival)
    # the row that owns each attribute in another workspace
    owners: dict[str, Origin] = {}
    for row in rows:
        here = profiles.workspace is None or raw.feeds[row.feed].seen_in(profiles.workspace)
        touch = _touch(activity, row, raw)
        _play_identities(activity, touch, row, raw=raw, removed=removed)
        _play_cells(activity, touch, raw, owners=owners, here=here)
        (activity.touches if here else activity.elsewhere).append(touch)
    _carry(profiles, activity, raw)
    _note_removals(activity, raw)
    return activity


def _is_dormant(rows: Sequence[RawRow], profile: int, raw: RawRows) -> bool:
    """Return whether nothing arrived since retention took something of a profile."""
    retired = raw.retired.get(profile)
    if retired is None:
        return False
    # an older version did not write the arrival down: then the times decide
    if retired.before is None:
        return max(row.at_ms for row in rows) <= retired.aged_ms
    return rows[-1].arrival < retired.before


def _origin(raw: RawRows, arrival: int, *, feed: int, at_ms: int) -> Origin:
    place = raw.places[arrival]
    return Origin(
        arrival=arrival,
        import_number=place.import_number,
        feed=raw.feeds[feed],
        protection=place.protection,
        file=place.file,
        unit=place.unit,
        place=place.place,
        at_ms=at_ms,
    )


def _touch(activity: Activity, row: RawRow, raw: RawRows) -> Touch:
    """Return a row as a batch that touched the profile, without what it did."""
    text = raw.rest.get((activity.profile, row.arrival))
    return Touch(
        origin=_origin(raw, row.arrival, feed=row.feed, at_ms=row.at_ms),
        founded=row.mpid is not None,
        events=raw.events.get((activity.profile, row.arrival), []),
        rest=_document(text) if text else {},
    )


def _play_identities(
    activity: Activity,
    touch: Touch,
    row: RawRow,
    *,
    raw: RawRows,
    removed: dict[tuple[str, int], list[int]],
) -> None:
    """Add the identities of a row to the profile; `removed` has the rows that took any away."""
    for kind, value in row.identities:
        removals: Sequence[int] = ()
        if removed:
            digest = hash_of(
                secret=raw.secret,
                environment=activity.environment,
                kind=kind,
                key=key_of(BY_NAME[kind], value),
            )
            removals = removed.get((kind, digest), ())
        # an identity that was taken away may come again: only later removals count
        later = [arrival for arrival in removals if arrival > row.arrival]
        identity = HeldIdentity(kind, value, touch.origin, lost=min(later, default=None))
        touch.added.append(identity)
        (activity.identities if identity.lost is None else activity.lost).append(identity)


def _play_cells(
    activity: Activity, touch: Touch, raw: RawRows, *, owners: dict[str, Origin], here: bool
) -> None:
    """Apply the cells of a row to the profile; `here` is whether the workspace sees the row."""
    arrival = touch.origin.arrival
    # sorted: the cells of a row come from several tables
    for key, held, code in sorted(raw.cells.get((activity.profile, arrival), ())):
        if not here:
            if not code:
                owners[key] = touch.origin
            continue
        # to delete an attribute that is not there does nothing
        if code or held != DELETED or key in activity.attributes:
            owner = owners.get(key)
            change = _change(activity, key, held, code=code, origin=touch.origin, elsewhere=owner)
            touch.entries.append(change)


def _note_removals(activity: Activity, raw: RawRows) -> None:
    """Add to each batch the identities that it took away; batches of other profiles too."""
    by_arrival = {touch.origin.arrival: touch for touch in activity.every()}
    for identity in activity.lost:
        arrival = identity.lost
        assert arrival is not None
        if arrival in raw.takers and arrival not in by_arrival:
            taker = raw.takers[arrival]
            by_arrival[arrival] = Touch(
                _origin(raw, arrival, feed=taker.feed, at_ms=taker.at_ms),
                founded=False,
                taker=taker.mpid,
            )
            activity.taken.append(by_arrival[arrival])
        if arrival in by_arrival:
            by_arrival[arrival].removed.append(identity)


def _carry(profiles: Profiles, activity: Activity, raw: RawRows) -> None:
    """Add the aliases of a profile to its activity, and what they carried over."""
    carried = profiles.carried(activity.profile)
    if carried:
        later = (
            touch.origin.at_ms
            for touch in activity.every()
            if touch.origin.arrival > carried.arrival
        )
        activity.first_seen_ms = min((carried.first_seen_ms, *later))
    for alias in raw.aliases:
        if activity.profile in (alias.source, alias.destination):
            touch = _alias_touch(profiles, activity, alias, raw=raw)
            seen_here = alias.source in raw.sources
            (activity.touches if seen_here else activity.elsewhere).append(touch)
    activity.touches.sort(key=lambda touch: touch.origin.arrival)
    activity.elsewhere.sort(key=lambda touch: touch.origin.arrival)


def _alias_touch(profiles: Profiles, activity: Activity, alias: Alias, *, raw: RawRows) -> Touch:
    """Return an alias in the form of a batch; the events it carries count from now on."""
    receives = alias.in_force and activity.profile == alias.destination
    attribution = profiles.attribution_carried(alias) if receives else {}
    source = raw.alias_origins[alias.arrival]
    here, every = _events_carried(activity, raw, alias)
    activity.carried += [(alias.arrival, event) for event in every]
    return Touch(
        origin=_origin(raw, alias.arrival, feed=source.feed, at_ms=source.at_ms),
        founded=False,
        events=here,
        rest={"attribution_info": attribution} if attribution else {},
        alias=Carried(
            source=raw.mpids[alias.source],
            destination=raw.mpids[alias.destination],
            start_ms=alias.start_ms,
            end_ms=alias.end_ms,
            due_ms=alias.due_ms,
            first_seen_ms=alias.first_seen_ms,
            in_force=alias.in_force,
        ),
    )


def _events_carried(
    activity: Activity, raw: RawRows, alias: Alias
) -> tuple[list[SeenEvent], list[Occurred]]:
    """Return the events that an alias carries over to a profile.

    The first are those of its workspace, in the form that is shown. The second are those that
    count: these and the opt-outs of all workspaces.
    """
    here: list[SeenEvent] = []
    every: list[Occurred] = []
    if activity.profile != alias.destination:
        return here, every
    for arrival, place, feed, event in raw.carried.get(alias.arrival, ()):
        own = activity.workspace is None or raw.feeds[feed].seen_in(activity.workspace)
        if own:
            here.append(event)
        if (own or event.type == "opt_out") and isinstance(document := event.document, dict):
            every.append(
                Occurred(
                    type=event.type,
                    name=event.name,
                    at_ms=event.at_ms,
                    arrival=arrival,
                    place=place,
                    session=event.session,
                    document=document,
                )
            )
    return here, every


def _document(text: str) -> Document:
    document = parse_json(text)
    return document if isinstance(document, dict) else {}


def _change(
    activity: Activity,
    key: str,
    held: str,
    *,
    code: str,
    origin: Origin,
    elsewhere: Origin | None,
) -> AttributeChange:
    """Apply one cell to the profile as it was, and return what it did.

    `elsewhere` is the row that owns the attribute in another workspace: only an account feed can be
    refused because of it.
    """
    before = activity.attributes.get(key)
    had = before.held if before else None
    owner = before.origin if before else elsewhere if code else None
    kind = "blocked" if code else _kind_of_change(held, had)
    change = AttributeChange(
        key=key, kind=kind, held=held, before=had, owner=owner, origin=origin, code=code
    )
    activity.history.setdefault(key, []).append(change)
    if kind == "deleted":
        activity.attributes.pop(key, None)
    elif kind != "blocked":
        activity.attributes[key] = change
    return change


def _kind_of_change(held: str, had: str | None) -> str:
    if held == DELETED:
        return "deleted"
    if had is None:
        return "set"
    return "unchanged" if had == held else "changed"
