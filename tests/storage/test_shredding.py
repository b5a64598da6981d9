"""What was shredded cannot be found or opened again by anybody, with the password or without."""

import random
from pathlib import Path

import pytest

from eigenkms.errors import StorageError
from eigenkms.storage.open_store import DATABASE_NAME
from eigenkms.storage.store import Record, Store, VersionRow
from eigenkms.types import Version
from tests.storage.conftest import open_store, session
from tests.support.databases import Row, alter, query


def found(folder: Path, needles: list[bytes]) -> list[str]:
    """Names of the files in which one of ``needles`` stands."""
    return [p.name for p in folder.iterdir() if any(n in p.read_bytes() for n in needles)]


def one(folder: Path, sql: str, *values: object) -> Row:
    """The one row, as the disk has it at this moment."""
    (row,) = query(folder / DATABASE_NAME, sql, *values)
    return row


def wrapped_keys(folder: Path) -> dict[bytes, bytes]:
    """Wrapped key by owner, of all slots in use."""
    return dict(
        query(folder / DATABASE_NAME, "SELECT owner, wrapped FROM key_slots WHERE owner != zeroblob(33)")
    )


def test_no_plaintext_ever_reaches_the_disk(folder: Path) -> None:
    """Neither a secret record nor a share stands in any file, open or closed."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(
            session(1), [Record("share", b"secret record", True), Record("vote", b"public record", False)]
        )
        store.add_version(VersionRow(Version(1), session(1), bytes(32), b"t", b"c", False), b"secret share")
        assert found(folder, [b"secret record", b"secret share"]) == []
        assert found(folder, [b"public record"]) != []
    assert found(folder, [b"secret record", b"secret share"]) == []


def test_a_shredded_session_leaves_neither_key_nor_sealed_bytes(folder: Path) -> None:
    """Both are in the files before and in none after, without closing; public records stay."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(session(1), [Record("share", b"s" * 5000, True), Record("vote", b"v", False)])
        (sealed,) = one(folder, "SELECT body FROM records WHERE secret = 1")
        needles = [sealed[:64], sealed[-64:], *wrapped_keys(folder).values()]
        assert all(found(folder, [n]) for n in needles)
        store.shred_session(session(1))
        store.shred_session(session(1))
        assert found(folder, needles) == []
        assert store.records(session(1)) == (Record("vote", b"v", False),)
        assert [h.shredded for h in store.sessions()] == [True]
        with pytest.raises(StorageError, match="its key was destroyed"):
            store.append(session(1), [Record("share", b"s", True)])
        store.append(session(1), [Record("vote", b"w", False)])


def test_saved_sealed_bytes_stay_closed(folder: Path) -> None:
    """Somebody kept the sealed record and knows the password: without the session's key it does not open."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(session(1), [Record("share", b"s" * 32, True)])
        row = one(folder, "SELECT session, position, kind, secret, body FROM records")
        store.shred_session(session(1))
    alter(folder / DATABASE_NAME, "INSERT INTO records VALUES (?, ?, ?, ?, ?)", *row)
    with open_store(folder) as store:
        with pytest.raises(StorageError, match="its key was destroyed"):
            store.records(session(1))
        store.open_session(session(2), 110, b"")
    alter(folder / DATABASE_NAME, "UPDATE key_slots SET owner = ?", b"s" + session(1))
    with open_store(folder) as store, pytest.raises(StorageError, match="the stored bytes were altered"):
        store.records(session(1))


def test_an_erased_share_leaves_neither_key_nor_sealed_bytes(folder: Path) -> None:
    """The same for the share of a version; the other version is untouched."""
    old, new = b"\x01" * 32, b"\x02" * 32
    with open_store(folder) as store:
        store.add_version(VersionRow(Version(1), session(1), old, b"t1", b"c", True), b"old share")
        store.add_version(VersionRow(Version(2), session(2), new, b"t2", b"c", False), b"new share")
        (sealed,) = one(folder, "SELECT sealed_share FROM versions WHERE transcript_hash = ?", old)
        needles = [sealed, wrapped_keys(folder)[b"v" + old]]
        store.erase_share(old)
        assert found(folder, needles) == []
        assert store.share(new) == b"new share"


def test_an_erased_encryption_key_leaves_neither_key_nor_sealed_bytes(folder: Path) -> None:
    """It never stands in a file, open or closed; once it is erased, what sealed it is in none, and the other key is untouched."""
    old, new = b"secret of an old encryption key.", b"secret of a new encryption key.."
    with open_store(folder) as store:
        store.keep_key(100, old)
        store.keep_key(110, new)
        (sealed,) = one(folder, "SELECT sealed FROM encryption_keys WHERE number = 100")
        row = one(folder, "SELECT owner, wrapped FROM key_slots ORDER BY slot LIMIT 1")
        needles = [sealed, wrapped_keys(folder)[b"k" + (100).to_bytes(32, "big")]]
        assert all(found(folder, [n]) for n in needles)
        assert found(folder, [old, new]) == []
        store.erase_keys([100])
        assert found(folder, needles) == []
        assert store.keys() == {110: new}
    alter(folder / DATABASE_NAME, "UPDATE encryption_keys SET sealed = ? WHERE number = 100", sealed)
    with open_store(folder) as store, pytest.raises(StorageError, match="its key was destroyed"):
        store.keys()
    alter(folder / DATABASE_NAME, "UPDATE key_slots SET owner = ? WHERE owner != zeroblob(33)", row[0])
    with open_store(folder) as store, pytest.raises(StorageError, match="the stored bytes were altered"):
        store.keys()
    assert found(folder, [*needles[1:], old, new]) == []


def test_a_session_without_its_secrets_goes_on(folder: Path) -> None:
    """Neither key nor sealed bytes are left; what was not secret stays, also after many boundaries, and more is appended."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(session(1), [Record("polynomial", b"p" * 5000, True), Record("vote", b"v", False)])
        (sealed,) = one(folder, "SELECT body FROM records WHERE secret = 1")
        needles = [sealed[:64], *wrapped_keys(folder).values()]
        assert all(found(folder, [n]) for n in needles)
        store.destroy_secrets(session(1))
        store.destroy_secrets(session(1))
        assert found(folder, needles) == []
        store.append(session(1), [Record("vote", b"w", False)])
        with pytest.raises(StorageError, match="its key was destroyed"):
            store.append(session(1), [Record("polynomial", b"q", True)])
        assert store.forget_sessions(below=1000) == 0
        assert [r.body for r in store.records(session(1))] == [b"v", b"w"]


def test_a_dropped_session_leaves_neither_key_nor_records(folder: Path) -> None:
    """What was not secret goes too."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(
            session(1), [Record("share", b"s" * 5000, True), Record("body", b"public body" * 500, False)]
        )
        (sealed,) = one(folder, "SELECT body FROM records WHERE secret = 1")
        needles = [sealed[:64], b"public body", *wrapped_keys(folder).values()]
        assert all(found(folder, [n]) for n in needles)
        store.drop_session(session(1))
        assert found(folder, needles) == []


@pytest.mark.slow
def test_no_destroyed_key_survives_a_long_life(folder: Path) -> None:
    """Many sessions come and go in random order; no file keeps a dead key; slots are reused."""
    random_order = random.Random(4711)
    dead: list[bytes] = []
    alive: list[int] = []
    with open_store(folder) as store:
        for number in range(120):
            store.open_session(session(number), 10 * number, b"h" * 100)
            store.append(session(number), [Record("share", b"%d" % number, True)])
            alive.append(number)
            while len(alive) > (80 if number < 80 else 8):
                victim = alive.pop(random_order.randrange(len(alive)))
                dead.append(wrapped_keys(folder)[b"s" + session(victim)])
                store.shred_session(session(victim))
            store.keep_key(number, b"%32d" % number)
            if number > 4:
                dead.append(wrapped_keys(folder)[b"k" + (number - 5).to_bytes(32, "big")])
                store.erase_keys([number - 5])
        assert len(dead) > 100
        assert found(folder, dead) == []
        assert one(folder, "SELECT count(*) FROM key_slots") == (86,)
    assert found(folder, dead) == []
    with open_store(folder) as store:
        assert [store.records(session(n))[0].body for n in alive] == [b"%d" % n for n in alive]


def test_old_sessions_can_be_forgotten_once_shredded(store: Store) -> None:
    """Only shredded ones below the number go, journals and all."""
    for number in range(4):
        store.open_session(session(number), 10 * number, b"")
        store.append(session(number), [Record("vote", b"v", False)])
    store.shred_session(session(0))
    store.shred_session(session(3))
    assert store.forget_sessions(below=20) == 1
    assert [h.block_number for h in store.sessions()] == [10, 20, 30]
    assert store.records(session(0)) == ()
    assert store.records(session(3)) == (Record("vote", b"v", False),)
