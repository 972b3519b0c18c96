-- The fixed tables of a store. Most data lies in segments, a few tables for each import
-- (store/segments.py):
--   row_N      a row of a file that touched a profile: profile, arrival, environment, feed, at_ms,
--              i_<type> (identities that it added), a<n> (attributes that it set, in the form of
--              rules/text/values.py; chr(31) alone: deleted); mpid (if it founded the profile)
--              only in a segment that has a table mpid_N
--   index_N    hash, profile, type of each identity that was added, sorted by hash
--   mpid_N     mpid, environment, profile of each profile that was founded, sorted by mpid. Most
--              segments have none: each MPID is the mix of the profile's number (rules/mpid.py)
--   loose_N    attributes without a column of their own: profile, arrival, feed, key, value
--   blocked_N  cells that priority refused: profile, arrival, feed, code, a<n>; blocked_loose_N
--              likewise, with key and value
--   event_N    events: profile, arrival, place (in its batch, from 0), environment, feed, type,
--              name, at_ms, session, event (the whole of it, as JSON)
--   rest_N     the other fields of a batch, as JSON: profile, arrival, rest
-- An arrival numbers every row that was ever read, across imports. A profile is named by the
-- arrival of the row that founded it.

create table store.meta (
    name  varchar not null,  -- schema_version, secret, store_id, created_ms, hash_fingerprint,
                             -- mpids_mixed_from (the MPIDs of earlier arrivals are no mixes)
    value varchar not null
);

create table store.setting (
    name  varchar not null,  -- a dotted key of the configuration file: identity.strategy
    value varchar not null   -- its value as JSON
);

create table store.feed (
    number     integer not null,
    name       varchar not null,
    source     varchar not null,
    protection varchar not null,
    partner    varchar,           -- only of a partner feed
    import     integer,           -- the import that registered it; null where somebody declared it
    workspace  varchar not null,  -- whose its data is; an account feed's is every workspace's
    reading    varchar            -- how its files are read, as the configuration has it: JSON
                                  -- (null: as the options of each import say)
);

create table store.import (
    number        integer not null,
    feed          integer not null,  -- feed.number
    source        varchar not null,
    protection    varchar not null,  -- in force for this import
    environment   varchar not null,  -- of rows that state none
    started_ms    bigint not null,
    finished_ms   bigint not null,
    first_arrival bigint not null,
    arrivals      bigint not null,   -- its rows have first_arrival to first_arrival + arrivals - 1
    report        varchar not null,  -- the document of import --json
    made_by       varchar,           -- who ran it: user@machine
    request       varchar,           -- the files and options it was given, as JSON; null: not known
    needs         integer[],         -- the earlier imports it would have come out differently
                                     -- without; null: not known
    undone_ms     bigint,            -- when it was taken back; null: it is in force
    undone_by     varchar
);

create table store.import_file (
    import        integer not null,
    place         integer not null,  -- 0 for the first file of the import
    path          varchar not null,
    sha256        varchar not null,
    unit          varchar not null,  -- what line_run counts: line or row
    first_arrival bigint not null,
    arrivals      bigint not null
);

create table store.line_run (
    first_arrival bigint not null,   -- rows follow each other line by line from here ...
    first_line    bigint not null    -- ... and this is the line of the first
);

create table store.segment (
    number       integer not null,
    first_import integer not null,
    last_import  integer not null,
    rows         bigint not null,
    tables       varchar[] not null, -- which of the tables above it has
    identities   varchar[] not null, -- the identity columns of row_N
    keys         varchar[] not null, -- the attribute of each column a0, a1, ...
    by_hand      boolean             -- true: it has corrections only, and each can be undone
);

create table store.removed (
    profile bigint not null,
    type    utinyint not null,
    hash    uhugeint not null,
    arrival bigint not null,         -- of the row that took the identity away
    import  integer not null
);

create table store.alias (
    import        integer not null,
    arrival       bigint not null,   -- of the alias itself; what arrives later counts as ever
    source        bigint not null,   -- the profile whose past is carried over
    destination   bigint not null,
    start_ms      bigint not null,   -- the window of the events that are copied
    end_ms        bigint not null,
    due_ms        bigint not null,   -- when it takes effect
    first_seen_ms bigint not null,   -- what the destination gets
    attribution   varchar            -- the install attribution it gets: workspace ("": any) ->
                                     -- attribution, as JSON
);

create table store.request (
    feed    integer not null,
    request varchar not null,        -- source_request_id
    at_ms   bigint not null,
    import  integer not null,
    arrival bigint                   -- of the row that brought it; null: an older version did not
                                     -- write it down
);

create table store.dropped (
    arrival bigint not null,
    code    varchar not null
);

-- The remarks on rows that were read: values that were left out, or that are worth knowing of
-- (explain row).
create table store.remark (
    arrival   bigint not null,
    code      varchar not null,
    type      utinyint,              -- of an identity that was skipped ...
    value     varchar,               -- ... as the row states it
    attribute varchar                -- what was left out, or is worth knowing of
);

-- The identities of rows that found nobody because of a protection (PROTECTED_MATCH): they tell
-- which profiles were passed over.
create table store.passed_claim (
    arrival bigint not null,
    type    utinyint not null,
    hash    uhugeint not null
);

create table store.reject (
    import  integer not null,
    file    varchar not null,
    line    bigint not null,
    code    varchar not null,
    message varchar not null,
    raw     varchar not null
);

create table store.calculation (
    name       varchar not null,     -- a calculated attribute
    definition varchar not null,     -- as the configuration has it, as JSON
    changed_ms bigint not null,
    filled_ms  bigint                -- when it was last computed for everybody; null: never
);

create table store.calculated (
    profile bigint not null,
    name    varchar not null,        -- calculation.name
    held    varchar not null         -- as values.py says
);

create table store.audience (
    number     integer not null,
    name       varchar not null,
    definition varchar not null,     -- as the configuration has it, as JSON
    changed_ms bigint not null,
    filled_ms  bigint                -- when it was last evaluated for everybody; null: never
);

create table store.membership (
    profile  bigint not null,
    audience integer not null,       -- audience.number
    since_ms bigint not null
);

create table store.membership_change (
    audience integer not null,
    profile  bigint not null,
    change   varchar not null,       -- entered or left
    at_ms    bigint not null,
    import   integer,                -- the import after which it was seen; null: none
    mpid     bigint                  -- the profile's, which may be gone by now; null: an older
                                     -- version did not write it down
);

create table store.stale (
    profile bigint not null          -- to be calculated anew: what touched it was taken back
);

-- Outputs, connections, and the batches that leave (outputs/outbox.py).
create table store.output (
    name       varchar not null,
    definition varchar not null      -- as the configuration has it, as JSON
);

create table store.connection (
    name       varchar not null,
    definition varchar not null
);

create table store.outbox (
    output    varchar not null,      -- where the batch goes
    feed      integer not null,      -- feed.number; with the output it says which connection
    arrival   bigint not null,       -- which batch: it is put together when it is sent
    import    integer not null,
    profile   bigint,                -- whom it is of; null: nobody's, of a feed that only reads
    at_ms     bigint not null,       -- the batch's own time
    state     varchar not null,      -- waiting, or dead: not sent again by itself
    why       varchar,               -- what the receiver last said
    failed_ms bigint,
    devices   varchar,               -- device identities that the row states, as JSON
    held      varchar,               -- identities that its profile had after it, and lost in the
                                     -- same import, as JSON
    content   varchar                -- of nobody's: the batch as it came, as JSON
);

create table store.forwarded (
    output  varchar not null,
    arrival bigint not null,
    outcome varchar not null,        -- delivered, known (to the receiver), dropped (by hand), or
                                     -- why it did not leave
    at_ms   bigint not null
);

create table store.passed (
    arrival     bigint not null,     -- of a batch that is nobody's, of a feed that only reads or
                                     -- may only update: it counts, and is not kept
    events      integer not null,
    environment utinyint,            -- this and what follows null: an older version did not write
                                     -- it down
    at_ms       bigint,
    types       varchar              -- of its events, with how many, as JSON
);

-- The attributes that an output has (outputs/handed_over.py): their names, no values.

create table store.output_since (
    output  varchar not null,
    arrival bigint not null          -- what arrived before this was before the output was declared
);

create table store.handed_over (
    output    varchar not null,
    workspace varchar not null,      -- whose attributes completed the batches
    profile   bigint not null,
    arrival   bigint not null,       -- of the batch with which this was so first
    keys      varchar[] not null     -- the attributes that the output has of the profile
);

-- Acts that take away rows or values of imports. Nothing in these four tables names an erased
-- person: they have numbers, arrivals, and hashes that are made with a secret.

create table store.erasure (
    number   integer not null,
    kind     varchar not null,       -- erased, lifted: people may come back, or retention
    at_ms    bigint not null,
    made_by  varchar,
    profiles bigint not null,
    rows     bigint not null         -- rows of files that are not in the segments any more
);

create table store.erased_row (
    arrival bigint not null,         -- of a row that was erased; made again from its file, it stays
                                     -- out
    import  integer not null,        -- ... and which counted it
    founder boolean not null,        -- whether it founded a profile
    erasure integer not null
);

create table store.aged (
    profile bigint not null,         -- whose attributes, consent and devices went
    erasure integer not null         -- with which act of retention
);

create table store.suppressed (
    hash    uhugeint not null,       -- of an identity of somebody erased, or of an MPID
    type    utinyint not null,       -- 0: an MPID
    person  bigint not null,         -- what is lifted together
    erasure integer not null,
    until   bigint                   -- only rows that arrive before this stay out; null: all
);

-- The requests of people (rules/subject_request.py).
create table store.subject_request (
    id           varchar not null,   -- subject_request_id
    type         varchar not null,   -- access, portability, erasure
    regulation   varchar not null,
    status       varchar not null,   -- pending, in_progress, completed, cancelled
    submitted_ms bigint not null,
    received_ms  bigint not null,
    due_ms       bigint not null,    -- when it is carried out at the earliest
    finished_ms  bigint,
    group_id     varchar,
    callbacks    varchar[] not null,
    identities   varchar,            -- [type, value] of each as JSON; null once the person is
                                     -- erased
    request      varchar,            -- as it came, in base64; null likewise
    sealed       varchar not null,   -- hash of the identities, to know the same request again
    profiles     bigint,             -- how many it was about; null: not finished
    results      varchar             -- where the answer was written
);

-- Pushes to the platform. No value is in these tables: positions are profiles, or lines of a file.

create table store.push (
    number      integer not null,
    kind        varchar not null,    -- profiles, import or file
    sealed      varchar not null,    -- hash of what was asked for, to know the same push again
    until       bigint,              -- profiles before this one are in it; null: a file
    started_ms  bigint not null,
    finished_ms bigint,              -- null: it is taken up when it is asked for again
    made_by     varchar,
    rows        bigint not null,     -- profiles or lines that are done
    accepted    bigint not null,     -- batches
    refused     bigint not null,
    unchanged   bigint not null,     -- profiles that the host had already, as they are
    whole       boolean not null     -- whether those are sent too (--again)
);

create table store.pushed (
    push  integer not null,
    first bigint not null,           -- positions from this one ...
    last  bigint not null            -- ... to this one are done: accepted or refused
);

create table store.push_refused (
    push     integer not null,
    position bigint not null,
    part     integer not null,       -- which of the batches of that position, from 0
    code     varchar not null
);

-- The profiles that a host has (push): one is not sent again while it is the same. No values.
create table store.sent_profile (
    host    varchar not null,        -- hash of the address and the manner of the batches
    profile bigint not null,
    digest  uhugeint,                -- of the batches that were accepted last; null: some are under
                                     -- way, or were refused
    sent    uhugeint not null,       -- of those that were sent last
    turn    integer not null,        -- how often others were sent before: part of their request ids
    keys    varchar not null         -- the attributes that the host may have, as a JSON list
);

create table store.sent_event (
    host    varchar not null,
    profile bigint not null,
    arrival bigint not null,         -- of the stored batch
    place   integer not null         -- which of its events was accepted
);

-- The messages to outputs about members of audiences (audiences/outgoing/outbox.py).
create table store.audience_told (
    output      varchar not null,    -- whom it may have as a member, since a message was handed
                                     -- over
    audience    integer not null,    -- audience.number
    profile     bigint not null,
    mpid        bigint not null,
    environment utinyint not null,
    since_ms    bigint not null,     -- the member's
    attributes  varchar not null,    -- key -> fingerprint of the value that it has, as JSON; "?":
                                     -- it may have
    told        boolean not null     -- false: the message was dropped by hand before it was ever
                                     -- sent
);

create table store.audience_outbox (
    message     varchar not null,    -- the id under which it is sent, each time
    number      bigint not null,     -- the order
    output      varchar not null,
    audience    integer not null,
    profile     bigint,              -- null: of somebody erased
    mpid        bigint not null,
    environment utinyint not null,
    action      varchar not null,    -- add, delete or attribute_update
    since_ms    bigint not null,
    at_ms       bigint not null,     -- when it was put here
    state       varchar not null,    -- waiting, or dead: not sent again by itself
    begun       boolean not null,    -- whether it was handed over, so that the output may have it
    attributes  varchar,             -- as in audience_told: those of the member then
    identities  varchar,             -- of a person whose identities the store has no longer: type,
                                     -- encoding and value of each as they go, as JSON
    why         varchar,
    failed_ms   bigint
);

create table store.audience_left (
    output   varchar not null,
    audience integer not null,
    action   varchar not null,
    outcome  varchar not null,       -- delivered, known (to the receiver), dropped (by hand)
    messages bigint not null,
    at_ms    bigint not null
);
