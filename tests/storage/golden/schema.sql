-- schema 2
-- table encryption_keys
CREATE TABLE encryption_keys (
    number INTEGER NOT NULL UNIQUE CHECK (number >= 0),
    sealed BLOB
) STRICT
-- table evidence
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    accused BLOB NOT NULL CHECK (length(accused) = 20),
    session BLOB NOT NULL,
    bundle BLOB NOT NULL,
    noticed INTEGER NOT NULL
) STRICT
-- table key_slots
CREATE TABLE key_slots (
    slot INTEGER PRIMARY KEY,
    owner BLOB NOT NULL CHECK (length(owner) = 33),
    wrapped BLOB NOT NULL
) STRICT
-- table meta
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT
-- table records
CREATE TABLE records (
    session BLOB NOT NULL REFERENCES sessions (session) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    secret INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (session, position)
) STRICT
-- table sessions
CREATE TABLE sessions (
    session BLOB NOT NULL UNIQUE CHECK (length(session) = 32),
    block_number INTEGER NOT NULL,
    header BLOB NOT NULL,
    opened INTEGER NOT NULL,
    shredded INTEGER NOT NULL DEFAULT 0
) STRICT
-- index sessions_by_block
CREATE INDEX sessions_by_block ON sessions (block_number)
-- index sqlite_autoindex_encryption_keys_1
-- made by SQLite
-- index sqlite_autoindex_meta_1
-- made by SQLite
-- index sqlite_autoindex_records_1
-- made by SQLite
-- index sqlite_autoindex_sessions_1
-- made by SQLite
-- index sqlite_autoindex_versions_1
-- made by SQLite
-- table store
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    cluster_id BLOB NOT NULL,
    operator BLOB NOT NULL,
    scrypt_n INTEGER NOT NULL,
    scrypt_r INTEGER NOT NULL,
    scrypt_p INTEGER NOT NULL,
    salt BLOB NOT NULL,
    wrapped_root BLOB NOT NULL,
    generation INTEGER NOT NULL,
    born INTEGER NOT NULL,
    rolled_back INTEGER NOT NULL
) STRICT
-- table versions
CREATE TABLE versions (
    transcript_hash BLOB NOT NULL UNIQUE CHECK (length(transcript_hash) = 32),
    version INTEGER NOT NULL,
    session BLOB NOT NULL,
    transcript BLOB NOT NULL,
    certificate BLOB NOT NULL,
    settled INTEGER NOT NULL,
    proof BLOB,
    sealed_share BLOB,
    erased INTEGER NOT NULL DEFAULT 0
, prepared INTEGER NOT NULL DEFAULT 0) STRICT
