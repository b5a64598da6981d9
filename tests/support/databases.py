"""SQLite files of a node, read and altered from outside as somebody with the disk can.

A running node locks its store against other processes, so the files are read from a copy: what is there is what a thief of the disk
would find at that moment.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

Row = tuple[Any, ...]


def query(database: Path, sql: str, *values: Any) -> list[Row]:
    """Return the rows of a database file with its write-ahead log, whether a node has it open or not."""
    with TemporaryDirectory() as folder:
        for path in database.parent.glob(f"{database.name}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / database.name)) as connection:
            return connection.execute(sql, values).fetchall()


def alter(database: Path, sql: str, *values: Any) -> None:
    """Change a database file that no node has open."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(sql, values)


def tables_text(database: Path) -> str:
    """Return the statements that made the tables and indices, in the order of their names."""
    rows = query(database, "SELECT type, name, sql FROM sqlite_master ORDER BY name")
    return "".join(f"-- {kind} {name}\n{sql or '-- made by SQLite'}\n" for kind, name, sql in rows)


def layout(database: Path) -> str:
    """Return the application id, the version, and the statements that made a database file."""
    ((application,),) = query(database, "PRAGMA application_id")
    ((version,),) = query(database, "PRAGMA user_version")
    return f"-- application id {application}, version {version}\n{tables_text(database)}"
