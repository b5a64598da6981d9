"""The tables of the databases, and the way from one version to the next.

Golden files hold their text; a change needs both a new number here and a step to get there.

A new database is made as version 1 and led through all steps, so it has the very text of one that was migrated.

Tables that hold keys never let SQLite move a live key. ``key_slots`` has rows of one fixed size. They are overwritten where they
stand and used again, and the table only grows at its end. So no page with a key in it is ever rebalanced. That could leave a copy
in a gap where ``secure_delete`` does not reach.
"""

from dataclasses import dataclass

SCHEMA_VERSION = 2

APPLICATION_ID = 0x654B4D53
"""ASCII ``eKMS``, in bytes 68..71 of the database file."""

TABLES = (
    """
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
    """,
    """
    CREATE TABLE key_slots (
        slot INTEGER PRIMARY KEY,
        owner BLOB NOT NULL CHECK (length(owner) = 33),
        wrapped BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE sessions (
        session BLOB NOT NULL UNIQUE CHECK (length(session) = 32),
        block_number INTEGER NOT NULL,
        header BLOB NOT NULL,
        opened INTEGER NOT NULL,
        shredded INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX sessions_by_block ON sessions (block_number)",
    """
    CREATE TABLE records (
        session BLOB NOT NULL REFERENCES sessions (session) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL,
        secret INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (session, position)
    ) STRICT
    """,
    """
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
    ) STRICT
    """,
    """
    CREATE TABLE evidence (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        accused BLOB NOT NULL CHECK (length(accused) = 20),
        session BLOB NOT NULL,
        bundle BLOB NOT NULL,
        noticed INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
)
"""Version 1."""

ENCRYPTION_KEYS = (
    """
    CREATE TABLE encryption_keys (
        number INTEGER NOT NULL UNIQUE CHECK (number >= 0),
        sealed BLOB
    ) STRICT
    """,
    "ALTER TABLE versions ADD COLUMN prepared INTEGER NOT NULL DEFAULT 0",
)
"""The step to version 2: this operator's encryption keys, and versions that are known to be prepared only."""


@dataclass(frozen=True)
class Schema:
    """The schema of a database file: number in the header, version and tables.

    ``tables`` are those of version 1. ``steps`` has the statements that lead from version i + 1 to i + 2 at place i.
    A log is read by other processes while it is written, and too long to be checked at each start.
    """

    application_id: int
    version: int
    tables: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...] = ()
    is_log: bool = False


STORE = Schema(APPLICATION_ID, SCHEMA_VERSION, TABLES, (ENCRYPTION_KEYS,))

SPENT = Schema(
    0x654B5355,  # ASCII eKSU
    1,
    (
        """
        CREATE TABLE spent (
            id BLOB PRIMARY KEY CHECK (length(id) = 32),
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX spent_by_expiry ON spent (expires_at)",
    ),
)
"""Evidence that was used (spent.db)."""

RELEASES = Schema(
    0x654B524C,  # ASCII eKRL
    1,
    (
        """
        CREATE TABLE log (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            header BLOB NOT NULL,
            head BLOB NOT NULL
        ) STRICT
        """,
        "CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT",
    ),
    is_log=True,
)
"""The audit log (releases.db)."""
