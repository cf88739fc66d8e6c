-- What stays behind of a submission before it is sent, cell by cell, with the reason.

-- +goose Up
CREATE TABLE quarantine (
    submission integer NOT NULL REFERENCES submission (number) ON DELETE CASCADE,
    org_unit   text    NOT NULL,
    cells      integer NOT NULL,
    packed     bytea   NOT NULL,
    PRIMARY KEY (submission, org_unit)
);

-- +goose Down
DROP TABLE quarantine;
