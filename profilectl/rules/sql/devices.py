"""Which device each batch of everybody is of: device.devices_of as SQL.

Most batches are of the device that the first id they state names. Only where an id stands in
batches of several first ids, and not all of them have a stamp, is there more to tell; those
profiles are `tangled`.

    first       profile, arrival, key, rank     the first id of each batch, its place in DEVICE_KEYS
    seen        profile, id, one, last, stamp   ids seen with stamps: with one only, the last batch
                                                and its stamp
    by_stamp    profile, arrival, key           batches of a device with a stamp, by such an id
    free        profile, arrival, id            all others that state more than a token
    label       profile, arrival, label         the first batch that each is connected with: taken
                                                over step by step
    beside      profile, label, key             the device that one of them shares an id with
"""

from __future__ import annotations

from profilectl.rules.device import DEVICE_KEYS, NOBODYS
from profilectl.rules.identity import TYPES, WHITE_SPACE
from profilectl.rules.sql.quoting import quote_text


def kind_named(name: str) -> str:
    """Return the SQL of the identity type that the name of a member of device_info means, null for
    none: device.kind_in.
    """
    plain = f"replace(replace(lower(trim({name}, {quote_text(WHITE_SPACE)})), ' ', '_'), '-', '_')"
    kinds = [kind for kind in TYPES if kind.device and kind.name != "mp_deviceid"]
    cases = " ".join(
        f"when {quote_text(known)} then {quote_text(kind.name)}"
        for kind in kinds
        for known in (kind.name, *kind.aliases)
    )
    return f"(case {plain} {cases} end)"


def id_text(text: str, string: str) -> str:
    """Return the SQL of what an id says, without case; null where its JSON names no device.

    string: the SQL of what the JSON string `text` says.
    """
    return f"case when starts_with({text}, '\"') then lower({string}) when regexp_full_match({text}, '[0-9]+') then {text} end"


def devices_named(ids: str) -> str:
    """Return the SELECT of profile, arrival, key: the device of each batch that states an id.

    ids: the name of a relation of profile, arrival, id (which of DEVICE_KEYS, a colon, and the
    text without case), each once or more often.
    """
    kind, text = "split_part(id, ':', 1)", "substr(id, strpos(id, ':') + 1)"
    rank = (
        "case "
        + kind
        + "".join(f" when {quote_text(key)} then {place}" for place, key in enumerate(DEVICE_KEYS))
        + " end"
    )
    nobodys = ", ".join(map(quote_text, sorted(NOBODYS)))
    token = len(DEVICE_KEYS) - 1
    return f"""
        with recursive known as materialized (
            select distinct profile, arrival, id, {rank} as rank from {ids} where {text} not in ({nobodys})
        ), first as materialized (
            select profile, arrival, name.id as key, name.rank as rank
            from (select profile, arrival, min({{'rank': rank, 'id': id}}) as name from known group by profile, arrival)
        ), tangled as materialized (
            select distinct profile from (
                select known.profile from known join first on first.profile = known.profile and first.arrival = known.arrival
                group by known.profile, known.id having count(distinct first.key) > 1 and
                max(first.rank) > 0
            )
        ), stating as materialized (
            select known.profile, known.arrival, known.id, known.rank, first.key, first.rank = 0 as stamped, first.rank = {token} as by_token
            from known join first on first.profile = known.profile and first.arrival = known.arrival
            where known.profile in (select profile from tangled)
        ), strong as materialized (
            select * from stating where rank not in (0, {token})
        ), seen as (
            select profile, id, count(distinct key) = 1 as one, max(arrival) as last, arg_max(key, arrival) as stamp
            from strong where stamped group by profile, id
        ), by_stamp as materialized (
            select strong.profile, strong.arrival, arg_max(seen.stamp, {{'one': seen.one, 'last': seen.last}}) as key
            from strong join seen on seen.profile = strong.profile and seen.id = strong.id where not strong.stamped group by all
        ), free as materialized (
            select profile, arrival, id from strong
            where not stamped and (profile, arrival) not in (select (profile, arrival) from by_stamp)
        ), label(profile, arrival, label) using key (profile, arrival) as (
            select distinct profile, arrival, arrival from free
            union
            select free.profile, free.arrival, min(least_of.label) from (
                select free.profile, free.id, min(label.label) as label from label
                join free on free.profile = label.profile and free.arrival = label.arrival group by all
            ) as least_of
            join free on free.profile = least_of.profile and free.id = least_of.id
            join recurring.label as before on before.profile = free.profile and before.arrival = free.arrival
            where least_of.label < before.label group by all
        ), beside as (
            select free.profile, label.label, arg_max(by_stamp.key, by_stamp.arrival) as key from free
            join label on label.profile = free.profile and label.arrival = free.arrival
            join strong on strong.profile = free.profile and strong.id = free.id
            join by_stamp on by_stamp.profile = strong.profile and by_stamp.arrival = strong.arrival group by all
        ), named as materialized (
            select distinct profile, arrival, key from stating where stamped
            union all from by_stamp
            union all select label.profile, label.arrival, coalesce(beside.key, first.key) from label
            join first on first.profile = label.profile and first.arrival = label.label
            left join beside on beside.profile = label.profile and beside.label = label.label
        ), of_token as (
            select stating.profile, stating.id, arg_max(named.key, named.arrival) as key from stating
            join named on named.profile = stating.profile and named.arrival = stating.arrival where stating.rank = {token} group by all
        )
        select profile, arrival, key from first where profile not in (select profile from tangled)
        union all from named
        union all select stating.profile, stating.arrival, coalesce(any_value(of_token.key), any_value(stating.key)) from stating
        left join of_token on of_token.profile = stating.profile and of_token.id = stating.key where stating.by_token group by all
    """
