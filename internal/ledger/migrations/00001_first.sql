-- One text for SQLite and PostgreSQL: SQLite takes any word as a type, and keeps bytes as bytes in a bytea column.
-- Times are milliseconds since 1970, UTC; 0 is never. Ids that PostgreSQL is to sort get COLLATE "C" there.

-- +goose Up

-- What a submission is one of: a data set and period of a source, for a DHIS2.
CREATE TABLE series (
    number      integer NOT NULL PRIMARY KEY,
    dhis2       text    NOT NULL,
    data_set    text    NOT NULL,
    period      text    NOT NULL,
    source      text    NOT NULL,
    accepted_at bigint  NOT NULL DEFAULT 0,
    UNIQUE (dhis2, data_set, period, source)
);

-- Data element and category option combo of the packed values, by number. Rows are added and never changed.
CREATE TABLE cell_name (
    number integer NOT NULL PRIMARY KEY,
    word   text    NOT NULL UNIQUE
);

CREATE TABLE submission (
    number        integer NOT NULL PRIMARY KEY,
    id            text    NOT NULL UNIQUE,
    series        integer NOT NULL REFERENCES series (number),
    -- The series while the submission is unfinished, else null: one unfinished submission a series.
    claim         integer UNIQUE,
    state         text    NOT NULL,
    dry_run       integer NOT NULL DEFAULT 0,
    asked_period  text    NOT NULL DEFAULT '',
    asked_units   text    NOT NULL DEFAULT '[]',
    requested_by  text    NOT NULL DEFAULT '',
    dialect       text    NOT NULL DEFAULT '',
    reason        text    NOT NULL DEFAULT '',
    error         text    NOT NULL DEFAULT '',
    remedy        text    NOT NULL DEFAULT '',
    created_at    bigint  NOT NULL,
    prepared_at   bigint  NOT NULL DEFAULT 0,
    ended_at      bigint  NOT NULL DEFAULT 0,
    cancelled_by  text    NOT NULL DEFAULT '',
    waiting_for   text    NOT NULL DEFAULT '',
    waiting_since bigint  NOT NULL DEFAULT 0,
    thinned_at    bigint  NOT NULL DEFAULT 0,
    parts         integer NOT NULL DEFAULT 0,
    fetched       integer NOT NULL DEFAULT 0,
    dropped       integer NOT NULL DEFAULT 0,
    quarantined   integer NOT NULL DEFAULT 0,
    unchanged     integer NOT NULL DEFAULT 0,
    held          integer NOT NULL DEFAULT 0,
    accepted      integer NOT NULL DEFAULT 0,
    refused       integer NOT NULL DEFAULT 0,
    unknown       integer NOT NULL DEFAULT 0,
    unsent        integer NOT NULL DEFAULT 0,
    not_kept      integer NOT NULL DEFAULT 0,
    unit_states   text    NOT NULL DEFAULT '{}',
    issues_total  integer NOT NULL DEFAULT 0,
    issues        bytea,
    -- What the steps know of themselves, as JSON: the rules in force, and what each touched.
    facts         text    NOT NULL DEFAULT '{}',
    -- How often a person let what had failed go again.
    retries       integer NOT NULL DEFAULT 0,
    -- What was told of it last: its state, and which try that was.
    told          text    NOT NULL DEFAULT ''
);
CREATE INDEX submission_series ON submission (series, number);
CREATE INDEX submission_state ON submission (state, ended_at);

-- Who asked for a submission and waits for its result: OpenHIM's transactions.
CREATE TABLE request (
    submission     integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    transaction_id text    NOT NULL,
    requested_by   text    NOT NULL,
    created_at     bigint  NOT NULL,
    PRIMARY KEY (submission, transaction_id)
);

-- What is to be sent: a part is the packed values of one org unit and attribute option combo.
CREATE TABLE content (
    submission             integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    place                  integer NOT NULL,
    attribute_option_combo text    NOT NULL,
    org_unit               text    NOT NULL,
    size                   integer NOT NULL,
    hash                   bytea   NOT NULL,
    packed                 bytea   NOT NULL,
    PRIMARY KEY (submission, place)
);

CREATE TABLE chunk (
    submission     integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    number         integer NOT NULL,
    first_part     integer NOT NULL,
    end_part       integer NOT NULL,
    size           integer NOT NULL,
    digest         text    NOT NULL,
    state          text    NOT NULL,
    -- 1 where its values went in a request whose end nobody knows, be it that of a chunk that was split into this one.
    tried          integer NOT NULL DEFAULT 0,
    attempts       integer NOT NULL,
    created_at     bigint  NOT NULL,
    sent_at        bigint  NOT NULL,
    answered_at    bigint  NOT NULL DEFAULT 0,
    accepted       integer NOT NULL DEFAULT 0,
    refused        integer NOT NULL DEFAULT 0,
    not_kept       integer NOT NULL DEFAULT 0,
    failure        text    NOT NULL DEFAULT '',
    import_count   text    NOT NULL DEFAULT '{}',
    set_aside      bytea,
    refused_cells  bytea,
    PRIMARY KEY (submission, number)
);

-- The exchanges of each attempt of a chunk, and of the other steps (chunk 0).
CREATE TABLE exchange (
    submission integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    number     integer NOT NULL,
    chunk      integer NOT NULL,
    step       text    NOT NULL,
    created_at bigint  NOT NULL,
    size       integer NOT NULL,
    body       bytea,
    PRIMARY KEY (submission, number)
);

CREATE TABLE org_unit_outcome (
    submission  integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    org_unit    text    NOT NULL,
    dropped     integer NOT NULL DEFAULT 0,
    quarantined integer NOT NULL DEFAULT 0,
    unchanged   integer NOT NULL DEFAULT 0,
    held        integer NOT NULL DEFAULT 0,
    accepted    integer NOT NULL DEFAULT 0,
    refused     integer NOT NULL DEFAULT 0,
    unknown     integer NOT NULL DEFAULT 0,
    unsent      integer NOT NULL DEFAULT 0,
    -- Why something stayed behind here, and what DHIS2 said.
    reason      text    NOT NULL DEFAULT '',
    answer      text    NOT NULL DEFAULT '',
    PRIMARY KEY (submission, org_unit)
);

-- What DHIS2 last accepted.
CREATE TABLE ledger (
    series                 integer NOT NULL REFERENCES series (number),
    attribute_option_combo text    NOT NULL,
    org_unit               text    NOT NULL,
    submission             integer NOT NULL,
    hash                   bytea   NOT NULL,
    packed                 bytea   NOT NULL,
    PRIMARY KEY (series, attribute_option_combo, org_unit)
);

CREATE TABLE schedule (
    series     integer NOT NULL PRIMARY KEY REFERENCES series (number),
    state      text    NOT NULL,
    due_at     bigint  NOT NULL,
    started_at bigint  NOT NULL,
    submission text    NOT NULL,
    revision   integer NOT NULL
);
CREATE INDEX schedule_due ON schedule (state, due_at);

CREATE TABLE outbox (
    number     integer NOT NULL PRIMARY KEY,
    kind       text    NOT NULL,
    subject    text    NOT NULL,
    version    text    NOT NULL DEFAULT '',
    state      text    NOT NULL,
    created_at bigint  NOT NULL,
    next_at    bigint  NOT NULL,
    attempts   integer NOT NULL DEFAULT 0,
    failure    text    NOT NULL DEFAULT '',
    body       bytea,
    UNIQUE (kind, subject)
);
CREATE INDEX outbox_state ON outbox (state, number);

CREATE TABLE setting (
    name     text   NOT NULL PRIMARY KEY,
    saved_at bigint NOT NULL,
    body     bytea  NOT NULL
);

-- +goose Down
DROP TABLE setting;
DROP TABLE outbox;
DROP TABLE schedule;
DROP TABLE ledger;
DROP TABLE org_unit_outcome;
DROP TABLE exchange;
DROP TABLE chunk;
DROP TABLE content;
DROP TABLE request;
DROP TABLE submission;
DROP TABLE cell_name;
DROP TABLE series;
