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

-- How many workers of an org unit were expected, and seen; -1 is not known.
ALTER TABLE org_unit_outcome ADD COLUMN expected integer NOT NULL DEFAULT -1;
ALTER TABLE org_unit_outcome ADD COLUMN seen integer NOT NULL DEFAULT -1;

-- +goose Down
ALTER TABLE org_unit_outcome DROP COLUMN seen;
ALTER TABLE org_unit_outcome DROP COLUMN expected;
DROP TABLE coverage;
