"""Reading one person, and what was searched for: each function opens the store and closes it again.

`show`, `explain`, `search` and `events` are to feel instant, so this module imports no more than
they all need; actions.py has the rest of what may be asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.profiles.activity import Activity
from profilectl.profiles.activity_json import members, standing_json
from profilectl.profiles.document import documents
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import to_json
from profilectl.store.opening import open_beside
from profilectl.store.store import OpenStore

if TYPE_CHECKING:
    from profilectl.reading.explain import Explained
    from profilectl.reading.search import Hit, SearchRequest
    from profilectl.reading.stream import EventFilter, StreamedEvent

AGO_MS = {"m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
"""The units of a time that is counted from now backwards."""


def read_profiles(
    store_path: Path,
    kind: str,
    value: str,
    *,
    as_of: str | None = None,
    more: Sequence[str] = (),
    wait_s: float = 0,
) -> list[str]:
    """Return the profiles that hold an identity, oldest first, as JSON documents with provenance.

    `kind` is an identity type, "mpid" or "any"; `as_of` is an import or a time (history.as_of);
    `more` are parts of the activity to put into each document (activity_json.members). Raises
    UsageError, InputRefused, StoreBusy, StoreUnusable.
    """
    with open_beside(store_path, wait_s=wait_s) as store:
        profiles = _profiles_as_of(store, as_of)
        people = _standing(profiles, profiles.find(kind, value))
        complete = []
        for document, person in zip(documents(profiles, people), people, strict=True):
            parts = [document[:-1], to_json(standing_json(person))[1:-1]]
            parts += [members(person, more)] if more else []
            complete.append(",".join(filter(None, parts)) + "}")
        return complete


def read_activities(
    store_path: Path, kind: str, value: str, *, as_of: str | None = None, wait_s: float = 0
) -> list[Activity]:
    """Return the profiles that hold an identity, oldest first, with all that touched them.

    The arguments are those of read_profiles.
    """
    with open_beside(store_path, wait_s=wait_s) as store:
        profiles = _profiles_as_of(store, as_of)
        return _standing(profiles, profiles.find(kind, value))


def _profiles_as_of(store: OpenStore, as_of: str | None) -> Profiles:
    if not as_of:
        return profiles_of(store)
    from profilectl.store.history import as_of as as_of_arrival

    return profiles_of(store, until=as_of_arrival(store, as_of))


def _standing(profiles: Profiles, holders: Sequence[int]) -> list[Activity]:
    """Return the activity of some profiles, with what is computed of each now."""
    people = activities(profiles, holders)
    if profiles.until is not None or not profiles.store.has_definitions():
        return people
    # Imported here: it takes a while to load.
    from profilectl.audiences.one_person import standing_of

    for person in people:
        person.standing = standing_of(profiles, person, time.time_ns() // 1_000_000)
    return people


def search_store(
    store_path: Path, request: SearchRequest, *, wait_s: float = 0
) -> tuple[int, list[Hit]]:
    """Return how many identities or profiles were found, and the first of them.

    Raises what search.search raises.
    """
    from profilectl.reading.search import search

    with open_beside(store_path, wait_s=wait_s) as store:
        of_anybody = request.where is None and store.workspace is None
        return search(profiles_of(store, every=of_anybody), request)


def explain_person(
    store_path: Path,
    kind: str,
    value: str,
    keys: Sequence[str],
    *,
    as_of: str | None = None,
    wait_s: float = 0,
) -> list[tuple[Activity, list[Explained]]]:
    """Return each profile that holds an identity, with the explanation of some attributes.

    `keys` are the attributes; empty: all. Raises InputRefused for an attribute that none of the
    profiles ever had.
    """
    from profilectl.reading.explain import explain_attribute
    from profilectl.rules.batch_fields import attribute_key

    with open_beside(store_path, wait_s=wait_s) as store:
        profiles = _profiles_as_of(store, as_of)
        people = _standing(profiles, profiles.find(kind, value))
        # where retention took something, explain_attribute refuses with that reason
        for key in keys if people and not any(person.aged_ms for person in people) else ():
            attribute_named(profiles, key)
    explained = []
    for person in people:
        own = {*person.history, *person.calculated()}
        named = [key for key in map(attribute_key, keys or sorted(own)) if key in own]
        explained.append((person, [explain_attribute(person, key) for key in named]))
    for key in map(attribute_key, keys):
        had = any(key in person.history or key in person.calculated() for person in people)
        if people and not had:
            explain_attribute(people[0], key)  # which raises
    return explained


def read_events(store_path: Path, listed: EventFilter, *, wait_s: float = 0) -> list[StreamedEvent]:
    """Return events, newest first.

    Raises NobodyFound, UsageError, StoreBusy, StoreUnusable.
    """
    from profilectl.reading.stream import events_of

    with open_beside(store_path, wait_s=wait_s) as store:
        return events_of(profiles_of(store), listed)


def attribute_named(profiles: Profiles, name: str) -> str:
    """Return the attribute that --attribute names.

    Raises UsageError where nobody ever had it.
    """
    attribute = profiles.meant(name)
    if attribute is None:
        raise no_such(
            "attribute", name, profiles.names(), option="--attribute", lists="profilectl stats"
        )
    return attribute


def time_of_option(option: str, stated: str | None) -> int | None:
    """Return a time that an option states (a day, a time, or 30d, 12h ago), in milliseconds.

    Raises UsageError.
    """
    if stated is None:
        return None
    import re

    from profilectl.store.history import time_ms

    ago = re.fullmatch(r"([0-9]{1,6})\s*(m|min|h|d|w)", stated.strip())
    if ago:
        return time.time_ns() // 1_000_000 - int(ago[1]) * AGO_MS[ago[2]]
    return time_ms(option, stated, "a time", example="30d, 2026-11-23")
