"""What is erased is gone: an old share cannot be recovered from the folder of a stopped node, even with its password.

The dealings that made a version stay in journals, encrypted to keys that are erased. On the real curves: on the toy ones a
commitment *is* its secret.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from eigenkms.storage.store import Record, Store
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.rpc_methods import VersionHead
from eigenkms.wire.session import Session
from tests.node.engines import Seat, alive, seated_cast, see
from tests.protocols.support import Cast
from tests.support.nodes import open_store
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("real_curves")


@dataclass
class Witness:
    """Sees all secrets that are given to a store, and notes what kept them there: sealed bytes and wrapped keys."""

    store: Store
    secrets: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Scalars of 32 bytes, by owner: a session's id, a transcript's hash, or what stands for an encryption key."""
    sealed: dict[bytes, set[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        append, add_share, keep_key = self.store.append, self.store.add_share, self.store.keep_key

        def see_append(session: SessionId, records: Sequence[Record]) -> None:
            append(session, records)
            found = [scalar for r in records if r.secret for scalar in _scalars(r)]
            if found:
                self.secrets.setdefault(session, []).extend(found)
            self._look()

        def see_share(transcript_hash: bytes, share: bytes) -> None:
            add_share(transcript_hash, share)
            self.secrets.setdefault(transcript_hash, []).append(share)
            self._look()

        def see_key(number: int, secret: bytes) -> None:
            keep_key(number, secret)
            self.secrets.setdefault(key_name(number), []).append(secret)
            self._look()

        self.store.append, self.store.add_share, self.store.keep_key = see_append, see_share, see_key  # type: ignore[method-assign]

    def _look(self) -> None:
        query = self.store._database.all
        kept = [(owner[1:], wrapped) for owner, wrapped in query("SELECT owner, wrapped FROM key_slots")]
        kept += query("SELECT session, body FROM records WHERE secret = 1")
        kept += query("SELECT transcript_hash, sealed_share FROM versions WHERE sealed_share IS NOT NULL")
        keys = query("SELECT number, sealed FROM encryption_keys WHERE sealed IS NOT NULL")
        kept += [(key_name(number), sealed) for number, sealed in keys]
        for owner, data in kept:
            if any(data) and owner in self.secrets:  # a rotation seals nothing under its session's key
                self.sealed.setdefault(owner, set()).add(data)

    def of(self, owners: Sequence[bytes]) -> "Secrets":
        """What must be gone when these sessions and versions are."""
        scalars = {scalar for owner in owners for scalar in self.secrets.get(owner, ())}
        sealed = {data for owner in owners for data in self.sealed.get(owner, ())}
        return Secrets(tuple(owners), frozenset(scalars), frozenset(sealed))


@dataclass(frozen=True)
class Secrets:
    """``scalars`` are 32 bytes each, ``sealed`` what stood for them on the disk."""

    owners: tuple[bytes, ...]
    scalars: frozenset[bytes]
    sealed: frozenset[bytes]


def key_name(number: int) -> bytes:
    """What stands for an encryption key as an owner."""
    return number.to_bytes(32, "big")


def _scalars(record: Record) -> list[bytes]:
    """The coefficients in a secret record, which is always a polynomial."""
    assert record.kind == "polynomial"
    return [record.body[i : i + 32] for i in range(2, len(record.body), 32)]


def remains(folder: Path, operator: OperatorAddress, secrets: Secrets) -> set[str]:
    """Where somebody who has the folder of a stopped node, and its password, finds one of the secrets or what sealed it."""
    found = set()
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    if any(needle in data for data in files for needle in (*secrets.scalars, *secrets.sealed)):
        found.add("files")
    with open_store(folder, operator, seed="thief") as store:
        if any(store.share(owner) is not None for owner in secrets.owners):
            found.add("shares")
        if secrets.scalars & set(store.keys().values()):
            found.add("keys")
        journals = [r.body for header in store.sessions() for r in store.records(header.session)]
        if any(scalar in body for body in journals for scalar in secrets.scalars):
            found.add("journals")
        if any(scalar in plain for plain in _everything_opened(store) for scalar in secrets.scalars):
            found.add("blobs")
    return found


def _everything_opened(store: Store) -> Iterator[bytes]:
    """Every blob of the database under every key that can still be unwrapped, whatever it was sealed for."""
    database, root = store._database, store._vault._root
    tables = [name for (name,) in database.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    blobs = {
        value
        for table in tables
        for row in database.all(f"SELECT * FROM {table}")
        for value in row
        if isinstance(value, bytes) and len(value) >= 28
    }
    wrapped = [row for (row,) in database.all("SELECT wrapped FROM key_slots") if any(row)]
    keys = {root, *(_open_unchecked(root, data) for data in wrapped)}
    for key in keys:
        for blob in blobs:
            yield _open_unchecked(key, blob)


def _open_unchecked(key: bytes, sealed: bytes) -> bytes:
    """AES-GCM without its check: no associated data needs to be known."""
    stream = Cipher(algorithms.AES(key), modes.CTR(sealed[:12] + (2).to_bytes(4, "big"))).decryptor()
    return stream.update(sealed[12:-16])


@dataclass
class Past:
    """Five people, four versions: one of them left after the first, the fifth joined then. What each disk ever held."""

    who: Cast
    folder: Path
    sessions: list[Session]
    hashes: list[bytes] = field(default_factory=list)
    witnesses: dict[OperatorAddress, list[Witness]] = field(default_factory=dict)

    async def happen(self) -> None:
        people = self.who.addresses
        heads: list[VersionHead] = []
        for number, session in enumerate(self.sessions):
            present = people[:4] if number == 0 else people
            async with alive(self.who, self.folder, f"life {number}", present) as seats:
                for each in seats:
                    self.witnesses.setdefault(each.me, []).append(Witness(each.store))
                    if number and not len(each.versions):
                        await each.engine.adopt_version(each, heads[0])
                part = [s for s in seats if session.recipients.get(s.me) or number == 1]
                await see(seats, session, may_found=number == 0)
                await eventually(lambda part=part, session=session: self._all_are_done(part, session))  # type: ignore[misc]
                newest = part[-1].versions.newest
                assert newest is not None
                heads.append(VersionHead(newest.epoch.transcript, newest.epoch.certificate))
                self.hashes.append(newest.epoch.transcript.hash)

    @staticmethod
    def _all_are_done(seats: Sequence[Seat], session: Session) -> bool:
        """Whether all have the version of the session alone, and its members their share."""
        return all(
            [held.epoch.transcript.session for held in s.versions.known()] == [session.id]
            and (s.versions.newest is not None and s.versions.newest.share is not None)
            == (session.recipients.get(s.me) is not None)
            for s in seats
        )

    @property
    def replaced(self) -> list[bytes]:
        """The sessions, whose secrets are of use to nobody any more, and all versions and keys but the newest."""
        keys = [key_name(session.boundary.number) for session in self.sessions[:-1]]
        return [*self.hashes[:-1], *(session.id for session in self.sessions), *keys]

    @property
    def served(self) -> list[bytes]:
        """The newest version, and the keys to which its share will be renewed."""
        return [self.hashes[-1], key_name(self.sessions[-1].boundary.number)]

    def of(self, operator: OperatorAddress, owners: Sequence[bytes]) -> Secrets:
        """What an operator's disk held for these owners in any of its lives."""
        found = [witness.of(owners) for witness in self.witnesses[operator]]
        scalars = {scalar for secrets in found for scalar in secrets.scalars}
        sealed = {data for secrets in found for data in secrets.sealed}
        return Secrets(tuple(owners), frozenset(scalars), frozenset(sealed))

    def remains(self, operator: OperatorAddress, owners: Sequence[bytes]) -> set[str]:
        """Where something of what belonged to ``owners`` is found."""
        return remains(self.folder / operator.hex(), operator, self.of(operator, owners))


@pytest.fixture
def past(tmp_path: Path) -> Past:
    who = seated_cast(5)
    members = who.addresses[1:]
    sessions = [who.at(0, who.addresses[:4]).session, *(who.at(10 * k, members).session for k in (1, 2, 3))]
    return Past(who, tmp_path, sessions)


@pytest.mark.slow
async def test_an_old_share_cannot_be_recovered_from_a_stopped_node_even_with_its_password(
    past: Past,
) -> None:
    """Neither the shares of versions that a certified one has replaced, nor the keys to which they were encrypted, nor what was
    dealt at genesis: not in the files, not in the store, not in any blob under any key that is left. That the search finds what is
    there is shown on the newest share and key. No polynomial of a rotation is ever on disk.
    """
    await past.happen()
    leaver, stayer = past.who.addresses[:2]
    assert past.sessions[1].recipients.get(leaver) is None
    for operator in past.who.addresses:
        replaced = past.of(operator, past.replaced)
        assert len(replaced.sealed) > 4
        assert len(replaced.scalars) > 3
        assert past.remains(operator, past.replaced) == set(), operator.hex()
        if operator != leaver:
            assert past.remains(operator, past.served) == {"shares", "keys", "blobs", "files"}
    sessions = [session.id for session in past.sessions]
    for dealer in (leaver, stayer):
        journaled = [s for w in past.witnesses[dealer] for s in sessions if s in w.secrets]
        assert journaled == sessions[:1], "a rotation journals no secret"
        assert set(past.witnesses[dealer][0].secrets) == {sessions[0], past.hashes[0], key_name(100)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("skipped", "where"),
    [
        ("destroy_secrets", {"files", "journals", "blobs"}),
        ("erase_share", {"files", "shares", "blobs"}),
        ("erase_keys", {"files", "keys", "blobs"}),
    ],
)
async def test_what_is_not_destroyed_is_found(
    past: Past, monkeypatch: pytest.MonkeyPatch, skipped: str, where: set[str]
) -> None:
    """The test above can fail: without any part of erasing, a secret of the first version is recovered from the folder."""
    monkeypatch.setattr(Store, skipped, lambda _self, _name: None)
    past.sessions = past.sessions[:2]
    await past.happen()
    stayer = past.who.addresses[1]
    assert past.remains(stayer, past.replaced) == where
    owner = {
        "destroy_secrets": past.sessions[0].id,
        "erase_share": past.hashes[0],
        "erase_keys": key_name(past.sessions[0].boundary.number),
    }[skipped]
    first = past.witnesses[stayer][0].secrets[owner][0]
    with open_store(past.folder / stayer.hex(), stayer, seed="thief") as store:
        assert any(first in plain for plain in _everything_opened(store))
