"""Read a node's database as of one moment, without its lock and without a trace.

Backups and inspections use it. A running node locks its database against all others, so the files are read as they are. Over the
database lie the committed frames of its write-ahead log (https://www.sqlite.org/fileformat2.html#walformat). If the log is the
same, byte for byte, before and after the database was read, nothing was committed in between. A checkpoint in between can only have
moved pages that the log has anyway. An empty log proves less: between two reads a commit may have come and been moved into the
database. So the database is read twice then. The result is opened in memory, so no copy of a sealed key gets to a disk, and the
folder is not changed.
"""

import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import storage_error
from eigenkms.storage.database import DamagedError, Database
from eigenkms.storage.schema import STORE, Schema

MAX_BYTES: Final = 2**30
"""Of a database and of its log."""
_TRIES: Final = 200
_PAUSE: Final = 0.05
"""Seconds; a node commits for milliseconds, a few times a second at most."""
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
_ROLLBACK_MODE: Final = b"\x01\x01"
"""Bytes 18 and 19 of a database that has no write-ahead log."""


@contextmanager
def snapshot(path: Path, schema: Schema = STORE) -> Iterator[Database]:
    """Open the database at ``path`` as of now, in memory.

    Writes to it are lost. One of an older version is migrated there. Raises ``DamagedError`` if it is missing, empty or damaged,
    ``StorageError`` if it is foreign, of another version, or too busy to be read.
    """
    with closing(Database(path, schema, content=_whole(path))) as database:
        if database.is_blank():
            raise DamagedError(f"read database {path}: it is empty")
        if database.is_old:
            with database.transaction("read database"):
                database.migrate()
        yield database


def _whole(path: Path) -> bytes:
    log_path = path.with_name(path.name + "-wal")
    for _ in range(_TRIES):
        log = _read(log_path)
        content = _read(path)
        if log == _read(log_path) and (log or content == _read(path)):
            if content is None:
                raise DamagedError(f"read database {path}: it is missing")
            return _with_log(content, log or b"")
        time.sleep(_PAUSE)
    raise StorageError(f"read database {path}: it changes all the time", hint="try again in a minute")


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error("read", path, error) from error
    if len(content) > MAX_BYTES:
        raise StorageError(f"read {path}: more than {MAX_BYTES} bytes", hint="look at the data folder")
    return content


def _with_log(content: bytes, log: bytes) -> bytes:
    """Return the database after the last commit in its log."""
    pages, size, page_size = _committed(log)
    whole = bytearray(content)
    if size:
        whole[size * page_size :] = b""
        whole += bytes(size * page_size - len(whole))
        for number, page in pages.items():
            whole[(number - 1) * page_size : number * page_size] = page
    if len(whole) > 20:
        whole[18:20] = _ROLLBACK_MODE
    return bytes(whole)


def _committed(log: bytes) -> tuple[dict[int, bytes], int, int]:
    """Newest image of each page that was committed, by its number from 1.

    Pages of the database; bytes a page.
    """
    if len(log) < _HEADER.size:
        return {}, 0, 0
    magic, _, page_size, _, *salts, first, second = _HEADER.unpack_from(log)
    order = ">" if magic & 1 else "<"
    sums = _checksum(order, log[:24], (0, 0))
    if magic & ~1 != _MAGIC or sums != (first, second):
        return {}, 0, 0
    committed: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    size = 0
    for at in range(_HEADER.size, len(log) - _FRAME.size - page_size + 1, _FRAME.size + page_size):
        number, pages, *named, first, second = _FRAME.unpack_from(log, at)
        page = log[at + _FRAME.size : at + _FRAME.size + page_size]
        sums = _checksum(order, log[at : at + 8] + page, sums)
        if named != salts or sums != (first, second):
            break
        waiting[number] = page
        if pages:
            committed |= {n: p for n, p in waiting.items() if n <= pages}
            committed = {n: p for n, p in committed.items() if n <= pages}
            waiting, size = {}, pages
    return committed, size, page_size


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    a, b = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        a = (a + x + b) & 0xFFFFFFFF
        b = (b + y + a) & 0xFFFFFFFF
    return a, b
