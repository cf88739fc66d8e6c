-- What the CHT's settings said of a data set when a period of it went first, so that a change is seen in the periods that follow.

-- +goose Up
CREATE TABLE source_settings (
    number integer NOT NULL PRIMARY KEY,
    digest bytea   NOT NULL UNIQUE,
    body   bytea   NOT NULL
);

-- The number of the settings with which a period went; 0 is not known.
ALTER TABLE series ADD COLUMN settings integer NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE series DROP COLUMN settings;
DROP TABLE source_settings;
