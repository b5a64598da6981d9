"""What is put in comes out again, also after closing and opening, and only as allowed."""

import shutil
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from eigenkms.crypto.pvss import encoded_size
from eigenkms.errors import StorageError
from eigenkms.storage.database import Database
from eigenkms.storage.evidence_table import EVIDENCE_LIMIT
from eigenkms.storage.open_store import DATABASE_NAME
from eigenkms.storage.queries import read_evidence
from eigenkms.storage.store import Record, Store, StoreIdentity, VersionRow
from eigenkms.storage.vault import Vault
from eigenkms.types import OperatorAddress, Version
from eigenkms.wire.session import MAX_OPERATORS
from tests.storage.conftest import open_store, repeatable_rng, session
from tests.support.databases import alter, query
from tests.support.waiting import PATIENCE

VOTE = Record("vote", b"prepare", secret=False)
SHARE = Record("share", b"\x07" * 32, secret=True)
ACCUSED = OperatorAddress(b"\xee" * 20)


def version(number: int, *, settled: bool = False) -> VersionRow:
    name = number.to_bytes(32, "big")
    return VersionRow(Version(number), session(number), name, b"transcript %d" % number, b"cert", settled)


def test_records_come_back_in_order_also_after_a_restart(folder: Path) -> None:
    """The journal is an ordered list of what was appended, public and secret alike."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"header")
        store.append(session(1), [VOTE, SHARE])
        store.append(session(1), [])
        store.append(session(1), [VOTE])
        assert store.records(session(1)) == (VOTE, SHARE, VOTE)
    with open_store(folder) as store:
        assert store.records(session(1)) == (VOTE, SHARE, VOTE)
        assert store.records(session(2)) == ()


def test_sessions_are_listed_and_found_by_block_number(store: Store) -> None:
    """Two sessions at one boundary number (a reorg) are both found there; opening one again changes
    nothing.
    """
    for number, block in ((1, 100), (2, 110), (3, 110)):
        store.open_session(session(number), block, b"header %d" % number)
    store.open_session(session(1), 100, b"header 1")
    assert [h.session for h in store.sessions()] == [session(1), session(2), session(3)]
    assert [h.header for h in store.sessions_at(110)] == [b"header 2", b"header 3"]
    assert store.sessions_at(105) == ()


def test_a_session_is_never_opened_as_something_else(store: Store) -> None:
    """The same id with another block or header is refused, and the first one stands."""
    store.open_session(session(1), 100, b"header")
    with pytest.raises(StorageError, match="already open with another block or header"):
        store.open_session(session(1), 110, b"header")
    assert [h.block_number for h in store.sessions()] == [100]


def test_an_append_is_all_or_nothing(store: Store) -> None:
    """A record that cannot be stored takes the others of its call with it; the journal goes on after it."""
    store.open_session(session(1), 100, b"")
    with pytest.raises(StorageError, match="append to the journal"):
        store.append(session(1), [VOTE, Record("bad", None, secret=False)])  # type: ignore[arg-type]
    assert store.records(session(1)) == ()
    store.append(session(1), [VOTE])
    assert store.records(session(1)) == (VOTE,)


def test_append_needs_an_open_session(store: Store) -> None:
    """A journal without a session is refused by name."""
    with pytest.raises(StorageError, match=f"append to session {session(9).hex()}: it was never opened"):
        store.append(session(9), [VOTE])


def test_a_sealed_record_does_not_open_in_another_place(folder: Path) -> None:
    """Sealed bodies are bound to their position: swapping two on disk is found out."""
    with open_store(folder) as store:
        store.open_session(session(1), 100, b"")
        store.append(session(1), [SHARE, Record("share", b"\x08" * 32, secret=True)])
    database = folder / DATABASE_NAME
    (first,), (second,) = query(database, "SELECT body FROM records ORDER BY position")
    alter(database, "UPDATE records SET body = ? WHERE position = 0", second)
    alter(database, "UPDATE records SET body = ? WHERE position = 1", first)
    with open_store(folder) as store, pytest.raises(StorageError, match="the stored bytes were altered"):
        store.records(session(1))


def test_versions_keep_their_first_certificate_and_learn_the_rest(store: Store) -> None:
    """A joiner stores a version first and its share later; a settled flag rises and never falls."""
    store.add_version(version(20), None)
    store.add_version(version(10, settled=True), b"s" * 32)
    assert [(v.version, v.settled, v.share_held) for v in store.versions()] == [
        (10, True, True),
        (20, False, False),
    ]
    again = VersionRow(
        Version(20), session(20), version(20).transcript_hash, b"transcript 20", b"other", True
    )
    store.add_version(again, b"t" * 32)
    store.add_version(version(20), b"t" * 32)
    newest = store.versions()[1]
    assert (newest.certificate, newest.settled, newest.share_held) == (b"cert", True, True)
    assert store.share(version(20).transcript_hash) == b"t" * 32


def test_a_version_is_never_replaced(store: Store) -> None:
    """Another transcript or another share under a stored hash is refused and changes nothing."""
    store.add_version(version(10), b"s" * 32)
    other = VersionRow(Version(10), session(10), version(10).transcript_hash, b"forged", b"cert", True)
    with pytest.raises(StorageError, match="another transcript is stored"):
        store.add_version(other, None)
    with pytest.raises(StorageError, match="another share is already stored"):
        store.add_version(version(10, settled=True), b"t" * 32)
    assert store.versions() == (version(10),)
    assert store.share(version(10).transcript_hash) == b"s" * 32


def test_a_prepared_version_becomes_certified(folder: Path) -> None:
    """Its certificate gives way to a later one, that which certifies it to none; its share may come before or after."""
    prepared = replace(version(10), certificate=b"prepare", prepared=True)
    certified = replace(version(10, settled=True), certificate=b"commit")
    for early in (True, False):
        with open_store(folder / str(early)) as store:
            store.add_version(prepared, None)
            assert store.versions() == (prepared,)
            prepared = replace(prepared, certificate=b"later prepare")
            store.add_version(prepared, None)
            if early:
                store.add_share(prepared.transcript_hash, b"s" * 32)
        with open_store(folder / str(early)) as store:
            assert store.versions() == (prepared,)
            store.add_version(certified, None)
            store.add_version(prepared, None)
            store.add_version(replace(certified, certificate=b"later commit"), None)
            assert store.versions() == (certified,)
            store.add_share(prepared.transcript_hash, b"s" * 32)
            assert store.share(prepared.transcript_hash) == b"s" * 32


def test_a_share_is_added_to_a_version_that_is_stored(store: Store) -> None:
    """The same again changes nothing; another one, one of no version and one that was erased are refused."""
    name = version(10).transcript_hash
    with pytest.raises(StorageError, match="its version is not stored"):
        store.add_share(name, b"s" * 32)
    store.add_version(version(10), None)
    store.add_share(name, b"s" * 32)
    store.add_share(name, b"s" * 32)
    with pytest.raises(StorageError, match="another share is already stored"):
        store.add_share(name, b"t" * 32)
    assert store.share(name) == b"s" * 32
    store.erase_share(name)
    with pytest.raises(StorageError, match="it was erased and does not come back"):
        store.add_share(name, b"s" * 32)


def test_encryption_keys_come_back_by_their_numbers(folder: Path) -> None:
    """Also after a restart, up to the highest number of a block; the same again changes nothing, another secret is refused."""
    kept = {110: b"a" * 32, 100: b"b" * 32, 2**63 - 1: b"c" * 32}
    with open_store(folder) as store:
        assert store.keys() == {}
        for number, secret in kept.items():
            store.keep_key(number, secret)
        store.keep_key(100, b"b" * 32)
        with pytest.raises(StorageError, match="store encryption key 100: another one is already stored"):
            store.keep_key(100, b"d" * 32)
        with pytest.raises(ValueError, match="has 31 bytes, not 32"):
            store.keep_key(120, b"e" * 31)
        assert store.keys() == kept
    with open_store(folder) as store:
        assert store.keys() == kept


def test_an_erased_encryption_key_does_not_come_back(folder: Path) -> None:
    """Nor does another one under its number, also one that never was there, until its session is forgotten."""
    with open_store(folder) as store:
        for number in (100, 110, 120):
            store.keep_key(number, bytes([number]) * 32)
        store.erase_keys([100, 110, 115])
        store.erase_keys([100])
        store.erase_keys([])
        assert store.keys() == {120: b"\x78" * 32}
    with open_store(folder) as store:
        for number in (100, 115):
            with pytest.raises(StorageError, match=f"key {number}: it was erased and does not come back"):
                store.keep_key(number, b"n" * 32)
        store.forget_sessions(below=115)
        numbers = query(folder / DATABASE_NAME, "SELECT number FROM encryption_keys ORDER BY 1")
        assert numbers == [(115,), (120,)]
        assert store.keys() == {120: b"\x78" * 32}


def test_a_dropped_session_keeps_its_number_and_nothing_else(store: Store) -> None:
    """Its dealings and their bodies too, the largest; the journal of another session is untouched."""
    name, body = b"\x0d" * 32, bytes(encoded_size(MAX_OPERATORS))
    journal = (Record("dealing", bytes(256 * 1024), False), Record("body", name + body, False), SHARE)
    for number in (1, 2):
        store.open_session(session(number), 100 * number, b"header")
        store.append(session(number), journal)
    store.drop_session(session(1))
    store.drop_session(session(1))
    assert store.records(session(1)) == ()
    assert [h.shredded for h in store.sessions_at(100)] == [True]
    with pytest.raises(StorageError, match="its key was destroyed"):
        store.append(session(1), [SHARE])
    assert store.records(session(2)) == journal


def test_settlement_keeps_the_first_proof(store: Store) -> None:
    """The proof comes back with the version; a version that is not there cannot settle."""
    store.add_version(version(10), None)
    store.set_settled(version(10).transcript_hash, b"proof")
    store.set_settled(version(10).transcript_hash, b"later proof")
    assert [(v.settled, v.proof) for v in store.versions()] == [(True, b"proof")]
    with pytest.raises(StorageError, match="it is not stored"):
        store.set_settled(bytes(32), b"proof")


def test_an_erased_share_does_not_come_back(folder: Path) -> None:
    """After erasure the share is gone, the transcript stays, and storing the share again is refused."""
    name = version(10).transcript_hash
    with open_store(folder) as store:
        store.add_version(version(10), b"s" * 32)
        store.erase_share(name)
        store.erase_share(name)
        assert store.share(name) is None
        with pytest.raises(StorageError, match="it was erased and does not come back"):
            store.add_version(version(10), b"s" * 32)
    with open_store(folder) as store:
        assert store.share(name) is None
        assert [(v.version, v.share_held) for v in store.versions()] == [(10, False)]


def test_evidence_is_bounded_and_the_oldest_stays(store: Store) -> None:
    """One accused cannot fill the disk: the newest is dropped, doubles are not counted, other accused
    unharmed.
    """
    for i in range(EVIDENCE_LIMIT):
        assert store.add_evidence("double-vote", ACCUSED, session(1), b"%d" % i)
    assert not store.add_evidence("double-vote", ACCUSED, session(1), b"one more")
    assert store.add_evidence("bad-share", ACCUSED, session(1), b"f")
    assert not store.add_evidence("bad-share", ACCUSED, session(1), b"f")
    other = OperatorAddress(b"\xdd" * 20)
    assert store.add_evidence("double-vote", other, session(1), b"x")
    kept = store.evidence()
    assert [row.id for row in kept] == list(range(1, EVIDENCE_LIMIT + 3))
    assert (kept[0].accused, kept[0].session, kept[0].bundle) == (ACCUSED, session(1), b"0")
    assert store.accused() == {ACCUSED: EVIDENCE_LIMIT + 1, other: 1}


def test_evidence_knows_when_it_was_noticed(store: Store) -> None:
    """In unix seconds, by the clock of this machine."""
    before = int(time.time())
    store.add_evidence("bad-share", ACCUSED, session(1), b"f")
    (row,) = store.evidence()
    assert before <= row.noticed <= time.time()


def test_evidence_outlives_its_session(store: Store) -> None:
    """What proves a fault stays when the session is shredded and forgotten."""
    store.open_session(session(1), 100, b"header")
    store.add_evidence("bad-share", ACCUSED, session(1), b"f")
    store.shred_session(session(1))
    assert store.forget_sessions(1000) == 1
    assert [row.bundle for row in store.evidence()] == [b"f"]


def test_evidence_comes_in_pages(store: Store) -> None:
    """Whole bundles, as many as fit, and one that does not fit by itself; a page goes on where the last one ended."""
    assert store.evidence_page(0, 100) == ((), False)
    for size in (40, 60, 1, 500, 2):
        store.add_evidence("bad-share", ACCUSED, session(1), b"x" * size)
    pages, after, more = [], 0, True
    while more:
        rows, more = store.evidence_page(after, 100)
        pages.append([len(row.bundle) for row in rows])
        after = rows[-1].id
    assert pages == [[40, 60], [1], [500], [2]]
    assert store.evidence_page(after, 100) == ((), False)
    assert store.evidence_page(2**63 - 1, 100) == ((), False)


class TestFolder:
    """Evidence out of the folder of a node that does not run."""

    def test_it_needs_no_password(self, folder: Path) -> None:
        """Evidence is for everybody; the store opens afterwards as if nothing had been."""
        with open_store(folder) as store:
            store.add_evidence("bad-share", ACCUSED, session(1), b"f")
            kept = store.evidence()
        assert read_evidence(folder) == kept
        with open_store(folder) as store:
            assert not store.rolled_back
            assert store.evidence() == kept

    def test_it_reads_what_a_crash_left_in_the_log(self, folder: Path, tmp_path: Path) -> None:
        """The write-ahead log of a process that was killed counts."""
        with open_store(folder) as store:
            store.add_evidence("bad-share", ACCUSED, session(1), b"f")
            shutil.copytree(folder, tmp_path / "killed")
        assert [row.bundle for row in read_evidence(tmp_path / "killed")] == [b"f"]

    def test_a_running_node_is_not_disturbed(self, folder: Path) -> None:
        """Its lock is respected."""
        with open_store(folder), pytest.raises(StorageError, match="is using it"):
            read_evidence(folder)

    def test_a_folder_without_a_database_stays_as_it_is(self, tmp_path: Path) -> None:
        """No file is made, not even a lock; a database in which nothing was ever created has no evidence."""
        with pytest.raises(StorageError, match=r"there is no eigenkms\.db"):
            read_evidence(tmp_path)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "eigenkms.db").touch()
        assert read_evidence(tmp_path) == ()


def test_meta_is_a_small_durable_table(folder: Path) -> None:
    """Absent is None, the last write wins and survives."""
    with open_store(folder) as store:
        assert store.get_meta("vote-floor") is None
        store.set_meta("vote-floor", b"1")
        store.set_meta("vote-floor", b"2")
    with open_store(folder) as store:
        assert store.get_meta("vote-floor") == b"2"


def test_threads_take_turns(store: Store) -> None:
    """Appends from several threads at once all arrive, each call's records side by side."""
    store.open_session(session(1), 100, b"")

    def work(name: bytes) -> None:
        for _ in range(10):
            store.append(session(1), [Record("a", name, secret=False), Record("b", name, secret=True)])

    threads = [threading.Thread(target=work, args=(b"%d" % i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    records = store.records(session(1))
    assert len(records) == 80
    assert all(a.body == b.body for a, b in zip(records[::2], records[1::2], strict=True))


def test_secrets_do_not_show(folder: Path, store: Store) -> None:
    """No repr tells a secret."""
    root = b"\x5a" * 32
    assert repr(SHARE) == "<Record share: 32 bytes redacted>"
    assert "07" not in repr(SHARE)
    with closing(Database(folder / "other.db")) as database:
        shown = repr(Vault(database, root, repeatable_rng()))
    assert "redacted" in shown
    assert root.hex() not in shown + repr(store)


def test_a_closed_store_says_so(folder: Path) -> None:
    """Use after close is an error with a name; closing twice is not."""
    store = open_store(folder)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="the store is closed"):
        store.sessions()
    with pytest.raises(StorageError, match="the store is closed"):
        store.set_meta("a", b"")


@pytest.mark.parametrize(("cluster", "operator"), [(31, 20), (32, 19)])
def test_an_identity_has_a_shape(cluster: int, operator: int) -> None:
    """Wrong lengths never reach the disk."""
    with pytest.raises(ValueError, match="bytes, not"):
        StoreIdentity(bytes(cluster), bytes(operator))  # type: ignore[arg-type]
