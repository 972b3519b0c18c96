"""The device of each batch of all profiles: device.devices_of as SQL.

Most batches are of the device that their first id names. More must be decided only for a profile in
which an id stands in batches with different first ids that are not all stamps; such a profile is
`tangled`.

    stated_id   profile, arrival, id, rank      the ids of each batch, without nobody's
    first_id    profile, arrival, key, rank     the first id of each batch, its place in DEVICE_KEYS
    tangled     profile                         the profiles for which more must be decided
    stating     ... key, stamped, by_token      the ids of tangled profiles, with the first of their
                                                batch
    strong      the same                        those of them that are no stamp and no token
    seen_with   profile, id, is_sole,           ids seen with stamps: whether with a single one, and
                last_arrival, stamp             the last batch and its stamp
    by_stamp    profile, arrival, key           batches without a stamp that such an id gives one
    free        profile, arrival, id            all others that state more than a token
    label       profile, arrival, label         the first batch that each free batch is connected
                                                with: taken over step by step
    neighbour   profile, label, key             the device of by_stamp that shares an id with one of
                                                them
    named       profile, arrival, key           the device of each batch that states more than a
                                                token
    of_token    profile, id, key                the device that stated a token last
"""

from __future__ import annotations

from profilectl.rules.device import DEVICE_KEYS, NOBODYS
from profilectl.rules.identity import TYPES, WHITE_SPACE
from profilectl.rules.sql.quoting import quote_text


def kind_named(name: str) -> str:
    """Return the SQL of the identity type of a member of device_info, or null: device.kind_in.

    name: the SQL of the member's name.
    """
    # As identity.type_named reads a name: case does not count, blanks and dashes are underscores.
    plain = f"replace(replace(lower(trim({name}, {quote_text(WHITE_SPACE)})), ' ', '_'), '-', '_')"
    kinds = [kind for kind in TYPES if kind.device and kind.name != "mp_deviceid"]
    cases = " ".join(
        f"when {quote_text(alias)} then {quote_text(kind.name)}"
        for kind in kinds
        for alias in (kind.name, *kind.aliases)
    )
    return f"(case {plain} {cases} end)"


def id_text(text: str, string: str) -> str:
    """Return the SQL of the text of an id without case, or null if its JSON names no device.

    text: the SQL of the JSON. string: the SQL of the text in it, if it is a string.
    """
    # A number names a device only if it has digits alone (device._names).
    return (
        f"case when starts_with({text}, '\"') then lower({string})"
        f" when regexp_full_match({text}, '[0-9]+') then {text} end"
    )


# The stamp is the first of DEVICE_KEYS, with rank 0, and the push token the last.
_RANK = " ".join(f"when {quote_text(key)} then {rank}" for rank, key in enumerate(DEVICE_KEYS))
_TOKEN = str(len(DEVICE_KEYS) - 1)
_NOBODYS = ", ".join(map(quote_text, sorted(NOBODYS)))

# The device of each batch that states an id. The holes: the relation of ids, the rank of a type,
# the texts that name no device, and the rank of a push token.
# A struct compares by its first member, then by the next: so min and arg_max choose by rank, then
# by text, and by is_sole, then by arrival.
# `using key` makes label a table that each round of the recursion updates, one row for a batch;
# recurring.label is that table, and label itself only the rows of the last round.
_DEVICES_NAMED = """
with recursive stated_id as materialized (
    select distinct profile, arrival, id, case split_part(id, ':', 1) {rank} end as rank
    from {ids}
    where substr(id, strpos(id, ':') + 1) not in ({nobodys})
),
first_id as materialized (
    select profile, arrival, name.id as key, name.rank as rank
    from (
        select profile, arrival, min({{'rank': rank, 'id': id}}) as name
        from stated_id
        group by profile, arrival
    )
),
tangled as materialized (
    select distinct profile
    from (
        select stated_id.profile
        from stated_id
        join first_id
          on first_id.profile = stated_id.profile and first_id.arrival = stated_id.arrival
        group by stated_id.profile, stated_id.id
        having count(distinct first_id.key) > 1 and max(first_id.rank) > 0
    )
),
stating as materialized (
    select stated_id.profile, stated_id.arrival, stated_id.id, stated_id.rank, first_id.key,
           first_id.rank = 0 as stamped, first_id.rank = {token} as by_token
    from stated_id
    join first_id
      on first_id.profile = stated_id.profile and first_id.arrival = stated_id.arrival
    where stated_id.profile in (select profile from tangled)
),
strong as materialized (
    select *
    from stating
    where rank not in (0, {token})
),
seen_with as (
    select profile, id, count(distinct key) = 1 as is_sole, max(arrival) as last_arrival,
           arg_max(key, arrival) as stamp
    from strong
    where stamped
    group by profile, id
),
by_stamp as materialized (
    select strong.profile, strong.arrival,
           arg_max(
               seen_with.stamp,
               {{'is_sole': seen_with.is_sole, 'last_arrival': seen_with.last_arrival}}
           ) as key
    from strong
    join seen_with on seen_with.profile = strong.profile and seen_with.id = strong.id
    where not strong.stamped
    group by all
),
free as materialized (
    select profile, arrival, id
    from strong
    where not stamped
      and (profile, arrival) not in (select (profile, arrival) from by_stamp)
),
label(profile, arrival, label) using key (profile, arrival) as (
    select distinct profile, arrival, arrival
    from free
    union
    select free.profile, free.arrival, min(least_of.label)
    from (
        select free.profile, free.id, min(label.label) as label
        from label
        join free on free.profile = label.profile and free.arrival = label.arrival
        group by all
    ) as least_of
    join free on free.profile = least_of.profile and free.id = least_of.id
    join recurring.label as before
      on before.profile = free.profile and before.arrival = free.arrival
    where least_of.label < before.label
    group by all
),
neighbour as (
    select free.profile, label.label, arg_max(by_stamp.key, by_stamp.arrival) as key
    from free
    join label on label.profile = free.profile and label.arrival = free.arrival
    join strong on strong.profile = free.profile and strong.id = free.id
    join by_stamp on by_stamp.profile = strong.profile and by_stamp.arrival = strong.arrival
    group by all
),
named as materialized (
    select distinct profile, arrival, key
    from stating
    where stamped
    union all
    from by_stamp
    union all
    select label.profile, label.arrival, coalesce(neighbour.key, first_id.key)
    from label
    join first_id on first_id.profile = label.profile and first_id.arrival = label.label
    left join neighbour on neighbour.profile = label.profile and neighbour.label = label.label
),
of_token as (
    select stating.profile, stating.id, arg_max(named.key, named.arrival) as key
    from stating
    join named on named.profile = stating.profile and named.arrival = stating.arrival
    where stating.rank = {token}
    group by all
)
select profile, arrival, key
from first_id
where profile not in (select profile from tangled)
union all
from named
union all
select stating.profile, stating.arrival,
       coalesce(any_value(of_token.key), any_value(stating.key))
from stating
left join of_token on of_token.profile = stating.profile and of_token.id = stating.key
where stating.by_token
group by all
"""


def devices_named(ids: str) -> str:
    """Return the SELECT of profile, arrival, key: the device of each batch that states an id.

    ids: the name of a relation of profile, arrival, id (one of DEVICE_KEYS, a colon, and the text
    without case), each once or more often.
    """
    return _DEVICES_NAMED.format(ids=ids, rank=_RANK, nobodys=_NOBODYS, token=_TOKEN)
