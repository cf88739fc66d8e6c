-- For PostgreSQL alone, whose processes share the worker role by a row. On SQLite that is a lock on a file.

-- +goose Up
CREATE TABLE worker_lease (
    name   text                     NOT NULL PRIMARY KEY,
    -- For people: the process that has the role.
    holder text                     NOT NULL,
    -- Grows with every process that takes the role: who has an older one has lost it.
    fence  bigint                   NOT NULL,
    -- By the clock of the database.
    until  timestamp with time zone NOT NULL
);

-- +goose Down
DROP TABLE worker_lease;
