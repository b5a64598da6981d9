"""The durable key store of one operator: ceremony journal, key versions, encryption keys, evidence, and small facts.

What a method wrote is on disk, fsynced, when it returns; a crash at any moment leaves each call's work either
whole or absent. That is the ground that "persist first, then send" (docs/protocol.md, Crashes) stands on.
Methods block on the disk (about a millisecond) and are safe from any thread, one at a time; asynchronous
callers use a worker thread.

A store that was restored or copied may have forgotten votes that it cast. :attr:`Store.rolled_back` tells,
and stays true until :meth:`Store.acknowledge_rollback`, so that a crash before the caller has acted loses
nothing:

    if store.get_meta("vote-floor") is None or store.rolled_back:
        store.set_meta("vote-floor", <newest boundary seen>)
        store.acknowledge_rollback()

It sees an older database beside a younger mirror, a mirror that is missing, and a folder that was copied or
restored: its birth file was made at another time than the one last opened. A snapshot of the whole machine
looks to it as if no time had passed.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.errors import StorageError
from eigenkms.storage.data_dir import FolderLock, GenerationFile, make_folder
from eigenkms.storage.database import Database
from eigenkms.storage.evidence import all_evidence
from eigenkms.storage.key_versions import SHARE_PURPOSE, all_versions
from eigenkms.storage.open_store import LOCK_NAME, StoreOpener
from eigenkms.storage.rows import EvidenceRow, Record, SessionHeader, StoreIdentity, VersionRow
from eigenkms.storage.vault import Owner, Vault
from eigenkms.types import OperatorAddress, SessionId

__all__ = ["EvidenceRow", "Record", "ScryptCost", "SessionHeader", "Store", "StoreIdentity", "VersionRow"]

_log = logging.getLogger(__name__)

EVIDENCE_LIMIT = 16
"""Pieces of evidence kept for one accused and one kind: enough to convict, too few to fill a disk."""

KEY_SIZE = 32
"""Bytes of the secret of an encryption key."""

_RECORD = b"eigenkms/record/1"
_KEY = b"eigenkms/encryption-key/1"


def _record_purpose(position: int, kind: str) -> bytes:
    return _RECORD + position.to_bytes(8, "big") + len(kind.encode()).to_bytes(2, "big") + kind.encode()


def _key_name(number: int) -> bytes:
    """What the slot of an encryption key's own key is named by."""
    return number.to_bytes(32, "big")


class Store:
    """See the module. Made by :meth:`open`, ended by :meth:`close` or as a context manager."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        mirror: GenerationFile,
        resources: ExitStack,
        *,
        is_new: bool,
        rolled_back: bool,
    ) -> None:
        self._database = database
        self._vault = vault
        self._mirror = mirror
        self._resources = resources
        self._lock = threading.RLock()
        self._closed = False
        self._is_new = is_new
        self._rolled_back = rolled_back

    def __repr__(self) -> str:
        return f"<Store {self._database.path}>"

    @classmethod
    def open(
        cls, folder: Path, *, password: str, identity: StoreIdentity, rng: Rng, kdf: ScryptCost | None = None
    ) -> Self:
        """Open the store in ``folder``, or create it there. ``kdf`` only counts for a new one.

        StorageError: another process has it, it belongs to another operator or cluster, it was written by a
        newer eigenkms, it is damaged, or the disk refuses. InputError: the password is wrong. In all cases
        what was stored is unchanged.
        """
        make_folder(folder)
        with ExitStack() as resources:
            lock = FolderLock.acquire(folder / LOCK_NAME)
            resources.callback(lock.release)
            opening = StoreOpener(folder, password, identity, rng)
            database = opening.connect()
            resources.callback(database.close)
            is_new = database.is_blank()
            root = opening.create(database, kdf or ScryptCost()) if is_new else opening.unlock(database)
            opening.migrate(database)
            mirror = opening.open_mirror()
            resources.callback(mirror.close)
            rolled_back = opening.count(database, mirror, is_new=is_new)
            vault = Vault(database, root, rng)
            return cls(database, vault, mirror, resources.pop_all(), is_new=is_new, rolled_back=rolled_back)

    @property
    def is_new(self) -> bool:
        """Created by this open. It does not stay true: record what follows from it as the module
        shows.
        """
        return self._is_new

    @property
    def rolled_back(self) -> bool:
        """The database is an older copy of itself, or was moved here, since the last acknowledgement."""
        return self._rolled_back

    def acknowledge_rollback(self) -> None:
        """The caller has recorded what follows from :attr:`rolled_back`; it is false from now on."""
        with self._writing("acknowledge rollback in"):
            self._database.execute("UPDATE store SET rolled_back = 0")
        self._rolled_back = False

    # Sessions and their journal

    def open_session(self, session: SessionId, block_number: int, header: bytes) -> None:
        """Begin the journal of ``session`` (32 bytes) at ``block_number``. Opening the same again is no
        error.
        """
        with self._writing("open session in"):
            known = self._database.one("SELECT block_number, header FROM sessions WHERE session = ?", session)
            if known == (block_number, header):
                return
            if known is not None:
                raise StorageError(
                    f"open session {session.hex()}: it is already open with another block or header"
                )
            self._database.execute(
                "INSERT INTO sessions (session, block_number, header, opened) VALUES (?, ?, ?, ?)",
                session,
                block_number,
                header,
                int(time.time()),
            )
            self._vault.add_key(Owner.SESSION, session)

    def append(self, session: SessionId, records: Sequence[Record]) -> None:
        """Add ``records`` to the journal in one transaction; durable when it returns, all or none."""
        with self._writing("append to the journal in"):
            known = self._database.one("SELECT shredded FROM sessions WHERE session = ?", session)
            if known is None:
                raise StorageError(f"append to session {session.hex()}: it was never opened")
            if known[0] and any(r.secret for r in records):
                raise StorageError(f"append a secret to session {session.hex()}: its key was destroyed")
            (position,) = self._database.one(
                "SELECT coalesce(max(position) + 1, 0) FROM records WHERE session = ?", session
            )
            for offset, record in enumerate(records):
                self._insert(session, position + offset, record)

    def _insert(self, session: SessionId, position: int, record: Record) -> None:
        body = record.body
        if record.secret:
            body = self._vault.seal(Owner.SESSION, session, body, _record_purpose(position, record.kind))
        self._database.execute(
            "INSERT INTO records (session, position, kind, secret, body) VALUES (?, ?, ?, ?, ?)",
            session,
            position,
            record.kind,
            int(record.secret),
            body,
        )

    def records(self, session: SessionId) -> tuple[Record, ...]:
        """The journal in order; of a shredded session, what was not secret. Empty for an unknown session."""
        with self._reading("read the journal in"):
            rows = self._database.all(
                "SELECT position, kind, secret, body FROM records WHERE session = ? ORDER BY position",
                session,
            )
            return tuple(self._record(session, *row) for row in rows)

    def _record(self, session: SessionId, position: int, kind: str, secret: int, body: bytes) -> Record:
        if secret:
            body = self._vault.unseal(Owner.SESSION, session, body, _record_purpose(position, kind))
        return Record(kind, body, bool(secret))

    def sessions(self) -> tuple[SessionHeader, ...]:
        """All sessions that were opened, in that order."""
        return self._sessions("ORDER BY rowid")

    def sessions_at(self, block_number: int) -> tuple[SessionHeader, ...]:
        """Those at one boundary number: more than one where a boundary was reorged into another."""
        return self._sessions("WHERE block_number = ? ORDER BY rowid", block_number)

    def _sessions(self, where: str, *values: Any) -> tuple[SessionHeader, ...]:
        sql = f"SELECT session, block_number, header, opened, shredded FROM sessions {where}"  # noqa: S608
        with self._reading("read sessions in"):
            return tuple(
                SessionHeader(SessionId(session), number, header, opened, bool(shredded))
                for session, number, header, opened, shredded in self._database.all(sql, *values)
            )

    def shred_session(self, session: SessionId) -> None:
        """Destroy the session's key and its sealed records; what was not secret stays. Again is no error."""
        with self._writing("destroy the key of a session in"):
            self._database.execute("DELETE FROM records WHERE session = ? AND secret = 1", session)
            self._vault.destroy_key(Owner.SESSION, session)
            self._database.execute("UPDATE sessions SET shredded = 1 WHERE session = ?", session)
        self._truncate_log("destroy the key of a session in")

    def destroy_secrets(self, session: SessionId) -> None:
        """Destroy the session's key and its sealed records; the rest of its journal goes on. Again is no error."""
        with self._writing("destroy the key of a session in"):
            self._database.execute("DELETE FROM records WHERE session = ? AND secret = 1", session)
            self._vault.destroy_key(Owner.SESSION, session)
        self._truncate_log("destroy the key of a session in")

    def drop_session(self, session: SessionId) -> None:
        """Destroy the session's key and drop its whole journal; that it was opened stays known. Again is no error."""
        with self._writing("drop the journal of a session in"):
            self._database.execute("DELETE FROM records WHERE session = ?", session)
            self._vault.destroy_key(Owner.SESSION, session)
            self._database.execute("UPDATE sessions SET shredded = 1 WHERE session = ?", session)
        self._truncate_log("drop the journal of a session in")

    def forget_sessions(self, below: int) -> int:
        """Drop shredded sessions at block numbers under ``below``, journals and all, and the numbers of erased keys there; how many
        sessions they were.
        """
        with self._writing("forget old sessions in"):
            self._database.execute("DELETE FROM encryption_keys WHERE sealed IS NULL AND number < ?", below)
            return self._database.execute(
                "DELETE FROM sessions WHERE shredded = 1 AND block_number < ?", below
            )

    # Key versions

    def add_version(self, row: VersionRow, share: bytes | None) -> None:
        """Keep a version, and my combined share of it where I have it.

        A version that is already there keeps its first certificate, but that of one that is prepared only gives way to a newer
        one. A share that was still missing is added, a second one must be the same. A settled flag is only ever raised.
        """
        with self._writing("store a key version in"):
            self._check_same_version(row)
            self._database.execute(
                "INSERT INTO versions"
                " (transcript_hash, version, session, transcript, certificate, settled, prepared)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (transcript_hash) DO UPDATE SET settled = max(settled, excluded.settled),"
                " certificate = iif(prepared, excluded.certificate, certificate),"
                " prepared = min(prepared, excluded.prepared)",
                row.transcript_hash,
                row.version,
                row.session,
                row.transcript,
                row.certificate,
                int(row.settled),
                int(row.prepared),
            )
            if share is not None:
                self._add_share(row.transcript_hash, share)

    def add_share(self, transcript_hash: bytes, share: bytes) -> None:
        """Keep my combined share of a version that is stored. The same again is no error, another one is."""
        with self._writing("store a share in"):
            self._add_share(transcript_hash, share)

    def _check_same_version(self, row: VersionRow) -> None:
        known = self._database.one(
            "SELECT version, session, transcript FROM versions WHERE transcript_hash = ?", row.transcript_hash
        )
        if known not in (None, (row.version, row.session, row.transcript)):
            raise StorageError(
                f"store version {row.transcript_hash.hex()}: another transcript is stored under this hash"
            )

    def _add_share(self, transcript_hash: bytes, share: bytes) -> None:
        row = self._database.one(
            "SELECT sealed_share, erased FROM versions WHERE transcript_hash = ?", transcript_hash
        )
        if row is None:
            raise StorageError(f"store the share of {transcript_hash.hex()}: its version is not stored")
        sealed, erased = row
        if erased:
            raise StorageError(
                f"store the share of {transcript_hash.hex()}: it was erased and does not come back"
            )
        if sealed is None:
            self._vault.add_key(Owner.VERSION, transcript_hash)
            sealed = self._vault.seal(Owner.VERSION, transcript_hash, share, SHARE_PURPOSE)
            self._database.execute(
                "UPDATE versions SET sealed_share = ? WHERE transcript_hash = ?", sealed, transcript_hash
            )
        elif self._vault.unseal(Owner.VERSION, transcript_hash, sealed, SHARE_PURPOSE) != share:
            raise StorageError(f"store the share of {transcript_hash.hex()}: another share is already stored")

    def versions(self) -> tuple[VersionRow, ...]:
        """All versions, ascending; two of one version number in the order they came."""
        with self._reading("read key versions in"):
            return all_versions(self._database)

    def share(self, transcript_hash: bytes) -> bytes | None:
        """My combined share of that version as it was given; None where none is held. Secret: keep it
        short-lived.
        """
        with self._reading("read a share in"):
            row = self._database.one(
                "SELECT sealed_share FROM versions WHERE transcript_hash = ?", transcript_hash
            )
            if row is None or row[0] is None:
                return None
            return self._vault.unseal(Owner.VERSION, transcript_hash, row[0], SHARE_PURPOSE)

    def set_settled(self, transcript_hash: bytes, proof: bytes) -> None:
        """The version is settled; the first proof is kept."""
        with self._writing("settle a key version in"):
            changed = self._database.execute(
                "UPDATE versions SET settled = 1, proof = coalesce(proof, ?) WHERE transcript_hash = ?",
                proof,
                transcript_hash,
            )
            if changed != 1:
                raise StorageError(f"settle version {transcript_hash.hex()}: it is not stored")

    def erase_share(self, transcript_hash: bytes) -> None:
        """Destroy the key of the share for good; transcript and certificate stay. Again is no error."""
        with self._writing("erase a share in"):
            self._vault.destroy_key(Owner.VERSION, transcript_hash)
            self._database.execute(
                "UPDATE versions SET sealed_share = NULL, erased = 1 WHERE transcript_hash = ?",
                transcript_hash,
            )
        self._truncate_log("erase a share in")

    def forget_versions(self, keep: int) -> int:
        """Drop all erased versions but the newest ``keep``; how many they were."""
        with self._writing("forget erased versions in"):
            return self._database.execute(
                "DELETE FROM versions WHERE erased = 1 AND transcript_hash NOT IN"
                " (SELECT transcript_hash FROM versions WHERE erased = 1 ORDER BY version DESC LIMIT ?)",
                keep,
            )

    # Encryption keys

    def keep_key(self, number: int, secret: bytes) -> None:
        """Keep the secret (32 bytes) of my encryption key with this number, that of the boundary block at which it is published.

        The same again is no error. StorageError for another secret, and for a key that was erased.
        """
        name = _key_name(number)
        if len(secret) != KEY_SIZE:
            raise ValueError(f"the secret of an encryption key has {len(secret)} bytes, not {KEY_SIZE}")
        with self._writing("store an encryption key in"):
            row = self._database.one("SELECT sealed FROM encryption_keys WHERE number = ?", number)
            if row is not None:
                if row[0] is None:
                    raise StorageError(f"store encryption key {number}: it was erased and does not come back")
                if self._vault.unseal(Owner.ENCRYPTION_KEY, name, row[0], _KEY) != secret:
                    raise StorageError(f"store encryption key {number}: another one is already stored")
                return
            self._vault.add_key(Owner.ENCRYPTION_KEY, name)
            sealed = self._vault.seal(Owner.ENCRYPTION_KEY, name, secret, _KEY)
            self._database.execute("INSERT INTO encryption_keys VALUES (?, ?)", number, sealed)

    def keys(self) -> dict[int, bytes]:
        """My encryption keys that were not erased: number to secret. Secret: keep them short-lived."""
        with self._reading("read encryption keys in"):
            rows = self._database.all(
                "SELECT number, sealed FROM encryption_keys WHERE sealed IS NOT NULL ORDER BY number"
            )
            return {
                number: self._vault.unseal(Owner.ENCRYPTION_KEY, _key_name(number), sealed, _KEY)
                for number, sealed in rows
            }

    def erase_keys(self, numbers: Iterable[int]) -> None:
        """Destroy my encryption keys with these numbers for good, all or none. One that is not there is no error.

        The numbers stay known until ``forget_sessions``, so that no other key gets one.
        """
        chosen = tuple(numbers)
        with self._writing("erase encryption keys in"):
            for number in chosen:
                self._vault.destroy_key(Owner.ENCRYPTION_KEY, _key_name(number))
                self._database.execute(
                    "INSERT INTO encryption_keys VALUES (?, NULL)"
                    " ON CONFLICT (number) DO UPDATE SET sealed = NULL",
                    number,
                )
        self._truncate_log("erase encryption keys in")

    # Evidence and small facts

    def add_evidence(self, kind: str, accused: OperatorAddress, session: SessionId, bundle: bytes) -> bool:
        """Keep a bundle that proves a fault by itself, also when its session is long forgotten. False where it is
        known, or the accused has EVIDENCE_LIMIT of a kind.
        """
        with self._writing("store evidence in"):
            (count,) = self._database.one(
                "SELECT count(*) FROM evidence WHERE kind = ? AND accused = ?", kind, accused
            )
            known = self._database.one(
                "SELECT 1 FROM evidence WHERE kind = ? AND accused = ? AND session = ? AND bundle = ?",
                kind,
                accused,
                session,
                bundle,
            )
            if known or count >= EVIDENCE_LIMIT:
                return False
            self._database.execute(
                "INSERT INTO evidence (kind, accused, session, bundle, noticed) VALUES (?, ?, ?, ?, ?)",
                kind,
                accused,
                session,
                bundle,
                int(time.time()),
            )
            return True

    def evidence(self) -> tuple[EvidenceRow, ...]:
        """All evidence in the order it came."""
        with self._reading("read evidence in"):
            return all_evidence(self._database)

    def evidence_page(self, after: int, limit_bytes: int) -> tuple[tuple[EvidenceRow, ...], bool]:
        """Evidence with ids above ``after``, and whether there is more: whole bundles of ``limit_bytes`` together,
        or a single larger one.
        """
        with self._reading("read evidence in"):
            sizes = self._database.all(
                "SELECT id, length(bundle) FROM evidence WHERE id > ? ORDER BY id", after
            )
            last, total = after, 0
            for number, size in sizes:
                total += size
                if total > limit_bytes and last != after:
                    break
                last = number
            return all_evidence(self._database, after, last), bool(sizes) and last < sizes[-1][0]

    def accused(self) -> Mapping[OperatorAddress, int]:
        """Who is accused, and by how many pieces of evidence."""
        with self._reading("read evidence in"):
            rows = self._database.all("SELECT accused, count(*) FROM evidence GROUP BY accused")
        return {OperatorAddress(accused): count for accused, count in rows}

    def get_meta(self, key: str) -> bytes | None:
        """A small fact that a caller stored under ``key``. Not sealed."""
        with self._reading("read a setting in"):
            row = self._database.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else bytes(row[0])

    def set_meta(self, key: str, value: bytes) -> None:
        with self._writing("store a setting in"):
            self._database.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                key,
                value,
            )

    # Plumbing

    @contextmanager
    def _reading(self, action: str) -> Iterator[None]:
        with self._lock, self._database.reading(action):
            self._check_open(action)
            yield

    @contextmanager
    def _writing(self, action: str) -> Iterator[None]:
        """One transaction that also counts itself; the mirror follows once it is durable."""
        with self._lock:
            self._check_open(action)
            with self._database.transaction(action):
                yield
                self._database.execute("UPDATE store SET generation = generation + 1")
                (generation,) = self._database.one("SELECT generation FROM store")
            self._follow(generation)

    def _follow(self, generation: int) -> None:
        try:
            self._mirror.write(generation)
        except StorageError as error:
            _log.warning("the commit counter's mirror lags: %s", error)

    def _truncate_log(self, action: str) -> None:
        with self._lock:
            self._database.truncate_log(action)

    def _check_open(self, action: str) -> None:
        if self._closed:
            raise StorageError(f"{action} {self._database.path}: the store is closed")

    def close(self) -> None:
        """Flush, close and let the next process in. Again is no error."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with self._resources:
                    self._mirror.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
