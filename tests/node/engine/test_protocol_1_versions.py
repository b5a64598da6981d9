"""What protocol 1 left in a store: a version that may be not settled sleeps until others prove it, and old journals end.

In protocol 1 a certificate alone said too little of who holds a version. So a node that is started with protocol 2 deals from the
newest version of which it knows that it was settled, and keeps its share of a newer one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import StorageError
from eigenkms.node.key_versions import Versions
from eigenkms.storage.store import Record, Store, VersionRow
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import SourceRef, read_dealing, ref_of
from eigenkms.wire.rpc_methods import VersionHead, check_head
from eigenkms.wire.session import Session, encode_session
from tests.node.engines import Seat, alive, hold, seated_cast, see
from tests.protocols.rooms import KeyVersion, certify, version_of
from tests.protocols.support import Cast, secret_of
from tests.support.fake_network import prove_settled
from tests.support.nodes import open_store
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("toy_curves")


@dataclass
class Upgraded:
    """Four operators with two versions of protocol 1: the first one is settled, of the second they know its certificate alone."""

    who: Cast
    first: KeyVersion
    second: KeyVersion
    folder: Path

    @property
    def me(self) -> OperatorAddress:
        return self.who.addresses[0]

    @property
    def proven(self) -> VersionHead:
        """The second version with the proof that it was settled."""
        transcript = self.second.transcript
        return VersionHead(transcript, self.second.certificate, prove_settled(transcript, self.who.keys))

    def open(self, operator: OperatorAddress | None = None) -> Store:
        address = operator or self.me
        return open_store(self.folder / address.hex(), address)

    def keep(self) -> None:
        for address in self.who.addresses:
            with self.open(address) as store:
                for version in (self.first, self.second):
                    store.add_version(
                        _row(version, settled=version is self.first), version.shares[address].to_bytes()
                    )


def _row(version: KeyVersion, *, settled: bool) -> VersionRow:
    transcript = version.transcript
    return VersionRow(
        transcript.version,
        transcript.session,
        transcript.hash,
        transcript.encoded,
        version.certificate.encoded,
        settled=settled,
    )


def _of_protocol_1(who: Cast, made: KeyVersion) -> KeyVersion:
    """The same version, as if no keys had been listed in it."""
    transcript = replace(made.transcript, keys=())
    return replace(made, transcript=transcript, certificate=certify(who, transcript), keys={})


@pytest.fixture
def upgraded(toy_curves: None, tmp_path: Path) -> Upgraded:
    who = seated_cast(4)
    first = _of_protocol_1(who, version_of(who.at(-20)))
    renewed = Polynomial.random(who.session.threshold, who.rng, secret_of(first.shares, 3))
    second = version_of(who.at(-10), renewed, source=int(first.transcript.version))
    made = Upgraded(who, first, _of_protocol_1(who, second), tmp_path)
    made.keep()
    return made


def sources_of(seat: Seat) -> list[SourceRef]:
    """What an operator dealt from."""
    return [read_dealing(frame).source for frame in seat.sent if frame.kind is FrameKind.DEALING]


def shares(store: Store, *versions: KeyVersion) -> list[bool]:
    """Of which of these a share is on disk."""
    return [store.share(version.transcript.hash) is not None for version in versions]


# -- asleep ------------------------------------------------------------------------------------------------------


def test_a_version_that_may_be_not_settled_is_kept_and_not_used(upgraded: Upgraded) -> None:
    """It is neither served nor dealt from; its share is there."""
    second = upgraded.second
    for _life in (1, 2):
        with upgraded.open() as store:
            versions = Versions(store)
            assert [held.epoch.transcript.hash for held in versions.known()] == [
                upgraded.first.transcript.hash
            ]
            assert versions.newest == versions.get(upgraded.first.transcript.hash)
            assert versions.get(second.transcript.hash) is None
            assert versions.share_of(second.transcript.hash) == second.shares[upgraded.me]
            assert shares(store, upgraded.first, second) == [True, True]


async def test_all_deal_from_the_settled_version_and_erase_the_other(upgraded: Upgraded) -> None:
    """Nobody proves the other one. Once a higher version is certified it is of the past, whether it was settled or not."""
    who, first, second = upgraded.who, upgraded.first, upgraded.second
    async with alive(who, upgraded.folder, "first") as seats:
        for each in seats:
            head = await each.engine.queries.head()
            assert head is not None
            assert (head.transcript, head.certificate, head.proof) == (
                first.transcript,
                first.certificate,
                None,
            )
            check_head(head, who.session.cluster)
        assert all(await see(seats, who.session))
        await eventually(hold(seats, who.session))
        for each in seats:
            assert each.versions.newest is not None
            assert each.versions.newest.epoch.transcript.source_hash == first.transcript.hash
            assert shares(each.store, first, second) == [False, False]
            assert each.versions.share_of(second.transcript.hash) is None


# -- awake -------------------------------------------------------------------------------------------------------


async def test_a_version_that_turns_out_to_be_settled_is_dealt_from_with_the_share_that_was_kept(
    upgraded: Upgraded,
) -> None:
    """Three learn it before a boundary and one in the midst of its session. All deal from it, by their own shares."""
    who, second = upgraded.who, upgraded.second
    check_head(upgraded.proven, who.session.cluster)
    async with alive(who, upgraded.folder, "first") as seats:
        *early, late = seats
        for each in early:
            await each.engine.adopt_version(each, upgraded.proven)
        await see([late], who.session)
        await see(early, who.session)
        assert late.engine.newest is not None
        assert [t.hash for t in late.engine.newest.sources] == [upgraded.first.transcript.hash]
        await late.engine.adopt_version(late, upgraded.proven)
        await eventually(hold(seats, who.session))
        for each in seats:
            assert each.versions.newest is not None
            transcript = each.versions.newest.epoch.transcript
            assert transcript.source_hash == second.transcript.hash
            assert sources_of(each)[-1:] == [ref_of(second.transcript)], (
                "it dealt from the share that it kept"
            )
            assert shares(each.store, upgraded.first, second) == [False, False]


async def test_a_version_that_woke_stays_awake(upgraded: Upgraded) -> None:
    """Served, dealt from and shown with its proof, also in the next life; the version before it is erased."""
    second = upgraded.second
    async with alive(upgraded.who, upgraded.folder, "first", [upgraded.me]) as (one,):
        await one.engine.adopt_version(one, upgraded.proven)
        assert shares(one.store, upgraded.first, second) == [False, True]
    async with alive(upgraded.who, upgraded.folder, "second", [upgraded.me]) as (one,):
        (held,) = one.versions
        assert (held.epoch.transcript, held.share) == (second.transcript, second.shares[upgraded.me])
        assert await one.engine.queries.head() == upgraded.proven
        assert await see([one], upgraded.who.session) == [True]
        assert one.engine.newest is not None
        assert [t.hash for t in one.engine.newest.sources] == [second.transcript.hash]


async def test_a_version_of_the_past_does_not_wake(upgraded: Upgraded) -> None:
    """By the time it is proven a higher one may be certified: nothing of it comes back."""
    async with alive(upgraded.who, upgraded.folder, "first") as seats:
        await see(seats, upgraded.who.session)
        await eventually(hold(seats, upgraded.who.session))
        rows = seats[0].store.versions()
        await seats[0].engine.adopt_version(seats[0], upgraded.proven)
        assert seats[0].store.versions() == rows
        assert len(seats[0].versions.known()) == 1


# -- a disk that refuses between two writes ----------------------------------------------------------------------


def refuse(_name: bytes, *_more: object) -> None:
    raise StorageError("write in the test: the disk is gone")


def test_a_version_is_settled_once_its_proof_is_there(upgraded: Upgraded) -> None:
    """Else the next life could prove to nobody what it deals from."""
    with upgraded.open() as store:
        store.set_settled = refuse  # type: ignore[method-assign, assignment]
        head, versions = upgraded.proven, Versions(store)
        with pytest.raises(StorageError):
            versions.add(CertifiedTranscript(head.transcript, head.certificate), head.proof)
    with upgraded.open() as store:
        versions = Versions(store)
        assert [held.epoch.transcript.hash for held in versions.known()] == [upgraded.first.transcript.hash]
        assert versions.share_of(upgraded.second.transcript.hash) == upgraded.second.shares[upgraded.me]


def test_a_node_that_dies_before_it_has_erased_does_so_when_it_starts(upgraded: Upgraded) -> None:
    """A higher version is on disk and the share of the dormant one still is."""
    third = version_of(upgraded.who, source=int(upgraded.first.transcript.version))
    with upgraded.open() as store:
        store.erase_share = refuse  # type: ignore[method-assign, assignment]
        with pytest.raises(StorageError):
            Versions(store).add(CertifiedTranscript(third.transcript, third.certificate))
        assert shares(store, upgraded.second) == [True]
    with upgraded.open() as store:
        assert Versions(store).share_of(upgraded.second.transcript.hash) is None
        assert shares(store, upgraded.first, upgraded.second) == [True, False]


# -- journals ----------------------------------------------------------------------------------------------------


def _rotation(upgraded: Upgraded) -> list[Record]:
    """What a rotation of protocol 1 journaled first: its source by hash, its polynomial, and a frame of a kind that is gone."""
    return [
        Record("source", upgraded.first.transcript.hash, secret=False),
        Record("polynomial", bytes(8) + bytes([0, 3]) + bytes(range(1, 97)), secret=True),
        Record("frame", b"a REPORT", secret=False),
    ]


def _genesis(_upgraded: Upgraded) -> list[Record]:
    """The polynomial with a proof, and the announcement."""
    return [
        Record("polynomial", bytes(8) + bytes([0, 3]) + bytes(range(1, 97)) + bytes(128), secret=True),
        Record("frame", b"a HASH", secret=False),
    ]


@pytest.mark.parametrize("journal", [_rotation, _genesis])
async def test_a_journal_of_protocol_1_is_dropped_and_its_boundary_is_passed(
    upgraded: Upgraded, journal: Callable[[Upgraded], Sequence[Record]]
) -> None:
    """The session can be neither resumed nor read; at most one is joined at a boundary, whatever the protocol."""
    session: Session = upgraded.who.session
    old = SessionId(keccak256(b"the same boundary in protocol 1"))
    with upgraded.open() as store:
        store.open_session(old, session.boundary.number, encode_session(session))
        store.append(old, journal(upgraded))
    async with alive(upgraded.who, upgraded.folder, "first", [upgraded.me]) as (one,):
        assert one.engine.live == ()
        assert one.store.records(old) == ()
        assert await see([one], session) == [False]
        assert one.sent == []
        assert await see([one], upgraded.who.later()) == [True]
