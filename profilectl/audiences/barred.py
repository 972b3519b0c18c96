"""The people who may not be in an audience, whenever it was evaluated last.

Every reader of memberships leaves out those that are barred here. Three things keep a person out
(domain.md 11.2, 13, 14, 5.3): an opt-out in force, the end of the profile's lifetime, and the
consent in force where the criteria ask for it. They are read from the newest rows and events, not
from memberships. So they hold for standard audiences too, and where nothing was evaluated since the
import that brought them:

    opt-out             out of every audience
    beyond lifetime     out of every audience
    consent             out of an audience whose criteria cannot hold with it (membership.settled),
                        also by way of an audience that the criteria refer to
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.audiences.sql.event_counts_sql import opted_out
from profilectl.audiences.sql.membership_sql import AudienceToEvaluate, withdrawn
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria.tree import reads
from profilectl.rules.event.field import caseless
from profilectl.rules.feed import workspaces_of
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.retention import clocks_of
from profilectl.store.definitions import Defined, audiences
from profilectl.store.segments import both, known_mpids, of_each
from profilectl.store.statements import (
    among,
    is_in,
    listed,
    numbers,
    reading,
    reading_once,
    select,
    texts,
    union_all,
)
from profilectl.store.store import OpenStore

_OPT_OUT = ("profile", "arrival", "place", "type", "at_ms", "event")
NO_REST = """
select null::bigint as profile, null::bigint as arrival, false as speaks_of_consent,
       null::varchar as rest
where false
"""
NOBODY = "select null::bigint as profile, ''::varchar as audience, false as sure where false"

# The memberships that hold: those of the store, without the barred ones. A profile that an undo
# took back is in no audience either, although its memberships stay stored until the next refresh.
HOLDING = """
select membership.*
from membership
where profile in (select profile from known)
and (profile, audience) not in (
    select (barred.profile, audience.number)
    from barred
    join store.audience on audience.name = barred.audience
    where barred.sure
)
"""

LOOKED_AT = "select distinct profile from chosen"

# Out of all audiences, no matter what their criteria are.
BARRED_FROM_ALL = """
select profile, audience, true as sure
from barred_from_all, named_audience
"""
BY_CONSENT = "select profile, audience, sure from by_consent"

# The other fields of batches as audiences read them. Only some sources may speak of consent.
REST_ROWS = """
select rest.profile, rest.arrival, stored_row.speaks_of_consent, rest.rest
from rest
join stored_row on stored_row.profile = rest.profile and stored_row.arrival = rest.arrival
"""


def in_force(
    profiles: Profiles, now_ms: int, clause: str = "", *, wanted: Sequence[Defined] | None = None
) -> str:
    """Return the SELECT of the memberships that hold: profile, audience (its number), since_ms.

    `clause` is the WHERE clause that chooses among those of the store; `wanted` are the audiences
    these belong to; None: any.
    """
    memberships = select("profile, audience, since_ms", "store.membership", clause)
    defined = audiences(profiles.store) if wanted is None else wanted
    if not defined:
        return memberships
    return reading_once(
        HOLDING,
        membership=memberships,
        known=known_mpids(profiles.segments),
        barred=barred(profiles, defined, "membership", now_ms=now_ms),
    )


def barred(profiles: Profiles, defined: Sequence[Defined], people: str, *, now_ms: int) -> str:
    """Return the SELECT of who may not be in which of some audiences: profile, audience, sure.

    The audience is its name. A row is not sure where consent speaks against the person, but only
    the criteria as a whole decide (membership.doubtful). `people` is the SQL of those who are
    looked at; `profiles` may be the read model of any workspace.
    """
    if not defined:
        return NOBODY
    # all other steps are limited to these people
    steps = {
        "someone": reading(LOOKED_AT, chosen=select("profile", people)),
        **_of_consent(profiles, defined),
        "barred_from_all": out_of_all(profiles, "someone", now_ms),
    }
    by_consent = [step for step in ("plainly", "by_way") if step in steps]
    return reading_once(
        union_all(
            [BARRED_FROM_ALL, *(select("profile, audience, sure", step) for step in by_consent)]
        ),
        **steps,
        named_audience=listed("audience", [(texts([audience.name]),) for audience in defined]),
    )


def out_of_all(profiles: Profiles, people: str, now_ms: int) -> str:
    """Return the SELECT of the profiles that may be in no audience.

    `people` is the SQL of the profiles that are looked at.
    """
    clause = both("where type = 'opt_out'", among(people))
    parts = [opted_out(f"({profiles.events(clause, _OPT_OUT)})")]
    if recent := lively(profiles, now_ms):
        parts.append(select("profile", people, both("", is_in("profile not", recent))))
    return " union ".join(parts)


def lively(profiles: Profiles, now_ms: int) -> str:
    """Return the SELECT of the profiles within their lifetime (retention.Clocks.stage).

    It is empty if lifetimes do not end.
    """
    clocks = clocks_of(profiles.store.settings().stated)
    lives = [period for period in (clocks.lifetime_ms, clocks.retention_ms) if period is not None]
    if not lives:
        return ""
    # the lifetime, or retention where only that is set: it is never the shorter one (check_clocks)
    first_ms = now_ms - min(lives)
    return union_all(
        [
            *of_each(
                profiles.segments,
                "row",
                columns="profile",
                clause=both("", f"at_ms >= {first_ms}"),
            ),
            # the lifetime of a destination counts from its alias too (domain.md 4.5)
            select(
                "destination as profile",
                "store.alias",
                both("", f"due_ms between {first_ms} and {now_ms}"),
            ),
        ]
    )


def _of_consent(profiles: Profiles, defined: Sequence[Defined]) -> dict[str, str]:
    """Return the queries that find the people whom consent keeps out, by name.

    `plainly` is about audiences that refer to no other, also if others refer to them; `by_way` is
    about those that refer to others. Both have profile, audience, sure. There is no query where no
    criterion asks for consent.
    """
    by_name = {caseless(audience.name): audience for audience in audiences(profiles.store)}
    read = {audience.name: reads(audience.audience.tree) for audience in by_name.values()}
    referred = [
        by_name[caseless(name)]
        for audience in defined
        for name in read[audience.name].audiences
        if caseless(name) in by_name
    ]
    every = {audience.name: audience for audience in (*defined, *referred)}.values()
    plain = [
        audience
        for audience in every
        if read[audience.name].consents and not read[audience.name].audiences
    ]
    asking = {caseless(audience.name) for audience in plain}
    by_way = [
        audience
        for audience in every
        if read[audience.name].audiences
        and (
            read[audience.name].consents
            or asking.intersection(map(caseless, read[audience.name].audiences))
        )
    ]
    # A workspace sees its own feeds only, so each has a relation of other fields, with a number.
    workspaces = dict.fromkeys(audience.audience.workspace for audience in (*plain, *by_way))
    places = {workspace: place for place, workspace in enumerate(workspaces)}
    clause = both("", among("someone"))
    steps = {
        f"rest_{place}": rest_rows(profiles, feeds_of(profiles.store, workspace), clause)
        for workspace, place in places.items()
    }
    if plain:
        steps["plainly"] = _withdrawn(plain, places, None)
    if by_way:
        steps["by_way"] = _withdrawn(by_way, places, "plainly" if plain else None)
    return steps


def _withdrawn(asking: Sequence[Defined], places: dict[str, int], nested: str | None) -> str:
    """Return the SELECT of the people whom consent keeps out of some audiences."""
    parts = []
    for workspace, place in places.items():
        evaluated = [
            AudienceToEvaluate(audience.name, audience.audience.tree, audience.audience.lookback)
            for audience in asking
            if audience.audience.workspace == workspace
        ]
        if evaluated:
            by_consent = withdrawn(evaluated, rest=f"rest_{place}", people="someone", barred=nested)
            parts.append(f"({reading(BY_CONSENT, by_consent=by_consent)})")
    return union_all(parts)


def feeds_of(store: OpenStore, workspace: str) -> str:
    """Return the condition on a row that a workspace sees; "": it sees all."""
    feeds = store.feeds()
    if workspaces_of(feeds) == [workspace]:
        return ""
    return is_in("feed", numbers(feed.number for feed in feeds if feed.seen_in(workspace)))


def rest_rows(profiles: Profiles, feeds: str, clause: str) -> str:
    """Return the SELECT of the other fields of batches as audiences read them.

    The columns are those of membership_sql.PeopleRelations.rest. `feeds` is the condition on a row
    that counts; "": all do.
    """
    speaking = numbers(
        feed.number for feed in profiles.store.feeds() if feed.source in CONSENT_SOURCES
    )
    columns = f"profile, arrival, {is_in('feed', speaking)} as speaks_of_consent"
    parts = [
        reading(
            REST_ROWS,
            rest=select("*", segment.table("rest"), clause),
            stored_row=select(columns, segment.table("row"), both(clause, feeds)),
        )
        for segment in profiles.segments
        if "rest" in segment.tables
    ]
    return union_all((f"({part})" for part in parts), NO_REST)
