-- How many of the expected workers have synced, by org unit: counts only, never who.

-- +goose Up

-- What was found last of a data set and period of a source.
CREATE TABLE coverage (
    series  integer NOT NULL PRIMARY KEY REFERENCES series (number),
    read_at bigint  NOT NULL,
    -- The totals, as JSON.
    totals  text    NOT NULL,
    -- The org units, packed.
    units   bytea
);

-- Of whom there was a document of a month of a CHT, as the keyed hashes of target_owner one after the other: who is expected in the
-- months after it, where nothing else says so.
CREATE TABLE heard_month (
    cht     text   NOT NULL,
    month   text   NOT NULL,
    read_at bigint NOT NULL,
    owners  bytea,
    PRIMARY KEY (cht, month)
);

-- How many workers of an org unit were expected, and seen; -1 is not known.
ALTER TABLE org_unit_outcome ADD COLUMN expected integer NOT NULL DEFAULT -1;
ALTER TABLE org_unit_outcome ADD COLUMN seen integer NOT NULL DEFAULT -1;

-- +goose Down
ALTER TABLE org_unit_outcome DROP COLUMN seen;
ALTER TABLE org_unit_outcome DROP COLUMN expected;
DROP TABLE heard_month;
DROP TABLE coverage;
