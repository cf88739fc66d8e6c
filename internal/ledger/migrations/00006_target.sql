-- The target documents of the CHTs as they were read last. People are in it by keyed hashes of their ids alone.

-- +goose Up

-- The month of a CHT.
CREATE TABLE target_month (
    number  integer NOT NULL PRIMARY KEY,
    cht     text    NOT NULL,
    month   text    NOT NULL,
    -- When all of it was read last, by what had changed, and in full; 0 is never.
    read_at bigint  NOT NULL DEFAULT 0,
    full_at bigint  NOT NULL DEFAULT 0,
    UNIQUE (cht, month)
);

CREATE TABLE target_document (
    month     integer NOT NULL REFERENCES target_month (number) ON DELETE CASCADE,
    document  bytea   NOT NULL,
    owner     bytea   NOT NULL,
    -- A part of the hash of the revision.
    revision  bytea   NOT NULL,
    -- The day of the last change, in days since 1970.
    updated   integer NOT NULL,
    malformed integer NOT NULL,
    -- Packed: the number of the target's name, pass and total of each.
    counts    bytea   NOT NULL,
    PRIMARY KEY (month, document)
);
CREATE INDEX target_document_owner ON target_document (month, owner);

-- The ids of targets in the packed counts, by number from 0 on. Rows are added and never changed.
CREATE TABLE target_name (
    cht    text    NOT NULL,
    number integer NOT NULL,
    name   text    NOT NULL,
    PRIMARY KEY (cht, number),
    UNIQUE (cht, name)
);

-- The contacts whose documents they are, and where in the hierarchy they stood when they were looked at last.
CREATE TABLE target_owner (
    cht        text    NOT NULL,
    owner      bytea   NOT NULL,
    revision   bytea   NOT NULL,
    -- 1 where the contact was deleted or is not known.
    gone       integer NOT NULL,
    type       text    NOT NULL,
    -- The hashes of the contacts above, the nearest first, one after the other.
    parents    bytea   NOT NULL,
    checked_at bigint  NOT NULL,
    PRIMARY KEY (cht, owner)
);

-- Where an owner stood when its documents of a month first counted.
CREATE TABLE target_first (
    month   integer NOT NULL REFERENCES target_month (number) ON DELETE CASCADE,
    owner   bytea   NOT NULL,
    type    text    NOT NULL,
    parents bytea   NOT NULL,
    PRIMARY KEY (month, owner)
);

-- +goose Down
DROP TABLE target_first;
DROP TABLE target_owner;
DROP TABLE target_name;
DROP TABLE target_document;
DROP TABLE target_month;
