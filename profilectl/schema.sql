-- The fixed tables of a store. The bulk lies in segments, a few tables for each import (segments.py):
--   row_N      one row of a file that touched a profile: profile, arrival, mpid (where it founded the
--              profile), environment, feed, at_ms, i_<type> (identities it added), a<n> (attributes it
--              set, held as values.py says; chr(31) alone: deleted)
--   index_N    hash, profile, type of each identity added, sorted by hash
--   mpid_N     mpid, environment, profile of each profile founded, sorted by mpid
--   loose_N    attributes without a column of their own: profile, arrival, feed, key, value
--   blocked_N  cells refused by priority: profile, arrival, feed, code, a<n>; blocked_loose_N likewise
--   rest_N     the other fields of a batch, as JSON: profile, arrival, rest
-- An arrival numbers every row ever read, across imports. A profile is named by the arrival of the
-- row that founded it.

create table store.meta (
    name  varchar not null,  -- schema_version, secret, created_ms, hash_fingerprint
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
    import     integer            -- the import that registered it; null where somebody declared it
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
    needs         integer[],         -- the earlier imports it would have come out differently without; null: not known
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
    keys         varchar[] not null  -- the attribute of each column a0, a1, ...
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
    attribution   varchar            -- the install attribution it gets, as JSON
);

create table store.request (
    feed    integer not null,
    request varchar not null,        -- source_request_id
    at_ms   bigint not null,
    import  integer not null
);

create table store.dropped (
    arrival bigint not null,
    code    varchar not null
);

create table store.reject (
    import  integer not null,
    file    varchar not null,
    line    bigint not null,
    code    varchar not null,
    message varchar not null,
    raw     varchar not null
);
