"""Who may not be in an audience, whenever it was evaluated last: what members of everybody is held
against, at every door.

Three things keep a person out (domain.md 11.2, 13, 14, 5.3): an opt-out in force, the end of the
profile's lifetime, and the consent in force where the criteria ask for it. They are read from what
the store says now, not from memberships, so that they hold where an audience is a standard one, and
where nothing was evaluated after the import that brought them.

    opt-out             out of every audience
    beyond lifetime     likewise
    consent             out of an audience whose criteria cannot hold with it (membership.settled), also by way of an
                        audience they refer to
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.audiences.event_counts_sql import opted_out
from profilectl.audiences.membership_sql import AudienceToEvaluate as Evaluated
from profilectl.audiences.membership_sql import withdrawn
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria.tree import reads
from profilectl.rules.event.field import fold
from profilectl.rules.feed import workspaces_of
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.retention import clocks_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.definitions import Defined, audiences
from profilectl.store.segments import both
from profilectl.store.store import OpenStore

_OPT_OUT = ("profile", "arrival", "place", "type", "at_ms", "event")
NO_REST = "select null::bigint as profile, null::bigint as arrival, false as speaks_of_consent, null::varchar as rest where false"
NOBODY = "select null::bigint as profile, ''::varchar as audience, false as sure where false"


def in_force(
    profiles: Profiles, now_ms: int, where: str = "", *, wanted: Sequence[Defined] | None = None
) -> str:
    """Return the SELECT of the memberships that hold: profile, audience (its number), since_ms.

    where: the clause that chooses among those of the store. wanted: the audiences these are of,
    None: any.
    """
    held = f"select profile, audience, since_ms from store.membership {where}"
    known = audiences(profiles.store) if wanted is None else wanted
    if not known:
        return held
    return (
        f"with held as materialized ({held}), bar as materialized ({barred(profiles, known, 'held', now_ms)})"
        " select held.* from held where (profile, audience) not in (select (bar.profile, audience.number) from bar"
        " join store.audience on audience.name = bar.audience where bar.sure)"
    )


def barred(profiles: Profiles, wanted: Sequence[Defined], people: str, now_ms: int) -> str:
    """Return the SELECT of who may not be in which of some audiences: profile, audience (its name),
    sure.

    Not sure is where consent speaks against the person and all the criteria are to be looked at to
    tell (membership.doubtful). people: the SQL of those who are looked at. profiles: the read model
    of any workspace.
    """
    if not wanted:
        return NOBODY
    steps = {"someone": f"select distinct profile from {people}", **_of_consent(profiles, wanted)}
    named = ", ".join(f"{name} as materialized ({select})" for name, select in steps.items())
    names = ", ".join(f"({quote_text(one.name)})" for one in wanted)
    by_consent = "".join(
        f" union all select profile, audience, sure from {step}"
        for step in ("plainly", "by_way")
        if step in steps
    )
    return (
        f"with {named} select profile, audience, true as sure from ({out_of_all(profiles, 'someone', now_ms)}), (values {names}) as named(audience)"
        f"{by_consent}"
    )


def out_of_all(profiles: Profiles, people: str, now_ms: int) -> str:
    """Return the SELECT of the profiles that may be in no audience.

    people: the SQL of those who are looked at.
    """
    among = f"profile in (select profile from {people})"
    happened = profiles.events(f"where type = 'opt_out' and {among}", _OPT_OUT)
    parts = [opted_out(f"({happened})")]
    if recent := lively(profiles, now_ms):
        parts.append(f"select profile from {people} where profile not in ({recent})")
    return " union ".join(parts)


def lively(profiles: Profiles, now_ms: int) -> str:
    """Return the SELECT of the profiles within their lifetime (retention.Clocks.stage); "": there
    is no end of it.
    """
    clocks = clocks_of(profiles.store.settings().stated)
    lives = [period for period in (clocks.lifetime_ms, clocks.retention_ms) if period is not None]
    if not lives:
        return ""
    first_ms = now_ms - min(lives)
    parts = [
        f"select profile from {one.table('row')} where at_ms >= {first_ms}"
        for one in profiles.segments
        if "row" in one.tables
    ]
    parts.append(
        f"select destination as profile from store.alias where due_ms between {first_ms} and {now_ms}"
    )
    return " union all ".join(parts)


def _of_consent(profiles: Profiles, wanted: Sequence[Defined]) -> dict[str, str]:
    """Return the steps that say whom consent keeps out: `plainly` of audiences that refer to no
    other (those that others refer to among them), `by_way` of those that do; each profile,
    audience, sure. None of them where no criterion asks for consent.
    """
    known = {fold(one.name): one for one in audiences(profiles.store)}
    read = {one.name: reads(one.audience.tree) for one in known.values()}
    every = {
        one.name: one
        for one in (
            *wanted,
            *(
                known[fold(name)]
                for one in wanted
                for name in read[one.name].audiences
                if fold(name) in known
            ),
        )
    }
    plain = [
        one for one in every.values() if read[one.name].consents and not read[one.name].audiences
    ]
    asking = {fold(one.name) for one in plain}
    by_way = [
        one
        for one in every.values()
        if read[one.name].audiences
        and (read[one.name].consents or asking.intersection(map(fold, read[one.name].audiences)))
    ]
    places = {
        workspace: place
        for place, workspace in enumerate(
            dict.fromkeys(one.audience.workspace for one in (*plain, *by_way))
        )
    }
    among = "where profile in (select profile from someone)"
    steps = {
        f"rest_{place}": rest_rows(profiles, feeds_of(profiles.store, workspace), among)
        for workspace, place in places.items()
    }
    if plain:
        steps["plainly"] = _withdrawn(plain, places, None)
    if by_way:
        steps["by_way"] = _withdrawn(by_way, places, "plainly" if plain else None)
    return steps


def _withdrawn(asking: Sequence[Defined], places: dict[str, int], nested: str | None) -> str:
    parts = []
    for workspace, place in places.items():
        evaluated = [
            Evaluated(one.name, one.audience.tree, one.audience.lookback)
            for one in asking
            if one.audience.workspace == workspace
        ]
        if evaluated:
            parts.append(
                f"select profile, audience, sure from ({withdrawn(evaluated, f'rest_{place}', 'someone', nested)})"
            )
    return " union all ".join(parts)


def feeds_of(store: OpenStore, workspace: str) -> str:
    """Return the condition on a row that a workspace sees, "": all are."""
    feeds = store.feeds()
    if workspaces_of(feeds) == [workspace]:
        return ""
    return f"feed in ({', '.join(str(feed.number) for feed in feeds if feed.seen_in(workspace)) or 'null'})"


def rest_rows(profiles: Profiles, feeds: str, where: str) -> str:
    """Return the SELECT of the other fields of batches as audiences read them
    (audience_sql.Relations.rest). feeds: the condition on a row that counts, "": all do.
    """
    speaking = ", ".join(
        str(feed.number) for feed in profiles.store.feeds() if feed.source in CONSENT_SOURCES
    )
    parts = [
        f"select one.profile, one.arrival, row.feed in ({speaking or 'null'}) as speaks_of_consent, one.rest from (select * from {segment.table('rest')} {where}) as one"
        f" join (select profile, arrival, feed from {segment.table('row')} {both(where, feeds)}) as row on row.profile = one.profile and row.arrival = one.arrival"
        for segment in profiles.segments
        if "rest" in segment.tables
    ]
    return " union all ".join(parts) or NO_REST
