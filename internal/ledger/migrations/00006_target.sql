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

-- What is known of documents and of people stands in blocks, one for all whose owner's hash begins with the same ten bits: a row of each
-- would cost more to write than to read it from the CHT, as hashes come in no order.
CREATE TABLE target_document (
    month     integer NOT NULL REFERENCES target_month (number) ON DELETE CASCADE,
    -- The beginning of the hash of the owner that the documents' ids name.
    slot      integer NOT NULL,
    -- How many there are, and how many of them belong to another owner than their ids name.
    documents integer NOT NULL,
    strays    integer NOT NULL,
    -- Of each document: the owner, a part of the hash of the revision, the day of the last change, and the number of the target's name,
    -- pass and total of each of its targets.
    body      bytea   NOT NULL,
    PRIMARY KEY (month, slot)
);

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
    cht  text    NOT NULL,
    slot integer NOT NULL,
    body bytea   NOT NULL,
    PRIMARY KEY (cht, slot)
);

-- Where the owners stood when their documents of a month first counted.
CREATE TABLE target_first (
    month integer NOT NULL REFERENCES target_month (number) ON DELETE CASCADE,
    slot  integer NOT NULL,
    body  bytea   NOT NULL,
    PRIMARY KEY (month, slot)
);

-- +goose Down
DROP TABLE target_first;
DROP TABLE target_owner;
DROP TABLE target_name;
DROP TABLE target_document;
DROP TABLE target_month;
