-- application id 1699435349, version 1
-- table spent
CREATE TABLE spent (
    id BLOB PRIMARY KEY CHECK (length(id) = 32),
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
-- index spent_by_expiry
CREATE INDEX spent_by_expiry ON spent (expires_at)
