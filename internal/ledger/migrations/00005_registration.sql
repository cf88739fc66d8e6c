-- Which org units were registered in DHIS2 as complete, and by whom.

-- +goose Up
CREATE TABLE registration (
    -- The form of a data set and period, whatever its sources: the first series of it.
    form                   integer NOT NULL REFERENCES series (number),
    org_unit               text    NOT NULL,
    attribute_option_combo text    NOT NULL,
    state                  text    NOT NULL,
    -- The series and submission that found or changed it last, and when.
    series                 integer NOT NULL REFERENCES series (number),
    submission             integer NOT NULL,
    changed_at             bigint  NOT NULL,
    -- Why DHIS2 did not do what was asked; empty where it did.
    reason                 text    NOT NULL DEFAULT '',
    PRIMARY KEY (form, org_unit, attribute_option_combo)
);

-- What came of registering org units, as JSON; empty where it did not come to that.
ALTER TABLE submission ADD COLUMN completeness text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE submission DROP COLUMN completeness;
DROP TABLE registration;
