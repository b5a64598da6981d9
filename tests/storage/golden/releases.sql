-- application id 1699435084, version 1
-- table entries
CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT
-- table log
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    header BLOB NOT NULL,
    head BLOB NOT NULL
) STRICT
