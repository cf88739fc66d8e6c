-- What a re-read compares with, and what it found.

-- +goose Up

-- What DHIS2 last accepted is read org unit by org unit, so the org unit comes first in its key.
CREATE TABLE accepted (
    series                 integer NOT NULL REFERENCES series (number),
    org_unit               text    NOT NULL,
    attribute_option_combo text    NOT NULL,
    submission             integer NOT NULL,
    hash                   bytea   NOT NULL,
    packed                 bytea   NOT NULL,
    PRIMARY KEY (series, org_unit, attribute_option_combo)
);
INSERT INTO accepted (series, org_unit, attribute_option_combo, submission, hash, packed)
    SELECT series, org_unit, attribute_option_combo, submission, hash, packed FROM ledger;
DROP TABLE ledger;
ALTER TABLE accepted RENAME TO ledger;

-- What is sent: '' what differs, 'full' everything, 'repair' what DHIS2 holds otherwise than it accepted.
ALTER TABLE submission ADD COLUMN mode text NOT NULL DEFAULT '';
-- Who let it go when it was held; empty where nobody did.
ALTER TABLE submission ADD COLUMN approved_by text NOT NULL DEFAULT '';
-- 1 where the values of several sources add up: what is sent is the sum, what is remembered the part of this source.
ALTER TABLE submission ADD COLUMN adds_up integer NOT NULL DEFAULT 0;
-- How many org units have not changed; they have no row in org_unit_outcome.
ALTER TABLE submission ADD COLUMN same_units integer NOT NULL DEFAULT 0;

-- How many cells differ from what was accepted before, and the sums of before and now.
ALTER TABLE org_unit_outcome ADD COLUMN changes integer NOT NULL DEFAULT 0;
ALTER TABLE org_unit_outcome ADD COLUMN was bigint NOT NULL DEFAULT 0;
ALTER TABLE org_unit_outcome ADD COLUMN becomes bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE org_unit_outcome DROP COLUMN becomes;
ALTER TABLE org_unit_outcome DROP COLUMN was;
ALTER TABLE org_unit_outcome DROP COLUMN changes;
ALTER TABLE submission DROP COLUMN same_units;
ALTER TABLE submission DROP COLUMN adds_up;
ALTER TABLE submission DROP COLUMN approved_by;
ALTER TABLE submission DROP COLUMN mode;
