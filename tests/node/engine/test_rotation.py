"""Rotation in engines with real stores: what is left on a disk, and what is not, above all."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import StorageError
from eigenkms.node.key_versions import Versions
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.genesis import GenesisSharingPhase
from eigenkms.storage.store import Store, VersionRow
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import SourceRef, ref_of
from eigenkms.wire.rpc_methods import VersionHead
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Phase
from tests.node.engines import Seat, alive, check_journaled, hold, refused, seat, seated_cast, see
from tests.protocols.parts import base_versions_of
from tests.protocols.rooms import KeyVersion, certify, operator_of, version_of
from tests.protocols.support import Cast, secret_of
from tests.support.log_events import events
from tests.support.nodes import open_store
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("toy_curves")


@pytest.fixture
def who() -> Cast:
    """Four operators and a session at block 100."""
    return seated_cast(4)


# -- the way it should go ----------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_rotations_with_restarts_between(who: Cast, tmp_path: Path) -> None:
    """One master key, three versions, each renewed from the one before; every frame was durable before it left. What stays of the
    older ones is their transcripts and certificates, and of the newest its share and the key to which it will be renewed.
    """
    sessions = [who.session, who.later(10), who.later(20)]
    for life, session in enumerate(sessions):
        async with alive(who, tmp_path, f"life {life}") as seats:
            for each in seats:
                each.before_sending = check_journaled
            assert all(await see(seats, session, may_found=life == 0))
            await eventually(hold(seats, session))
    secrets = {}
    for address in who.addresses:
        with open_store(tmp_path / address.hex(), address) as store:
            rows, held = store.versions(), list(Versions(store))
            assert [(r.session, r.erased, r.share_held, r.settled, r.prepared) for r in rows] == [
                (sessions[0].id, True, False, True, False),
                (sessions[1].id, True, False, True, False),
                (sessions[2].id, False, True, True, False),
            ]
            assert set(store.keys()) == {sessions[2].boundary.number}
            (newest,) = held
            chain = [Versions(store).epoch(r.transcript_hash) for r in rows]
            transcripts = [epoch.transcript for epoch in chain if epoch is not None]
            assert [t.source_hash for t in transcripts] == [bytes(32), *(t.hash for t in transcripts[:2])]
            assert len({t.mpk for t in transcripts}) == 1
            assert not any(r.secret for h in store.sessions() for r in store.records(h.session))
            secrets[address] = newest.share
    shares = {a: s for a, s in secrets.items() if s is not None}
    few = dict(list(shares.items())[:3])
    assert secret_of(few, 3) == secret_of(dict(list(shares.items())[1:]), 3)


@pytest.mark.slow
async def test_all_lines_of_a_session_carry_its_id(
    who: Cast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From dealing to erasing: a line that speaks of a session names it in a field, and one filter gives its story."""
    caplog.set_level(logging.INFO, "eigenkms")
    sessions = [who.session, who.later(10)]
    async with alive(who, tmp_path, "both") as seats:
        for session in sessions:
            await see(seats, session, may_found=session is sessions[0])
            await eventually(hold(seats, session))
        await eventually(lambda: len(events(caplog, "share held")) == 2 * len(seats))
    story: dict[str, set[str]] = {}
    for record in caplog.records:
        fields = getattr(record, "fields", {})
        named = re.search(r"session ([0-9a-f]{8})", record.getMessage())
        if named is not None:
            assert fields.get("session") == named[1], record.getMessage()
        story.setdefault(fields.get("session", ""), set()).add(str(fields.get("event")))
    first, second = (session.id.hex()[:8] for session in sessions)
    assert {"announced", "dealt", "proposed", "voted", "certified", "share held", "erased"} <= story[first]
    assert {"dealt", "proposed", "voted", "certified", "share held"} <= story[second]
    assert set(story) <= {first, second, ""}


@pytest.mark.slow
async def test_a_share_is_on_its_way_between_an_erasure_and_the_last_row(
    who: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while bodies of dealings are still missing, so that the node is ready; but not for ever."""
    async with alive(who, tmp_path, "both") as seats:
        await see(seats, who.session, may_found=True)
        await eventually(hold(seats, who.session))
        late, offer, fetch = seats[-1], seats[-1].engine.submit_body, seats[-1]._fetch_from
        assert not late.engine.is_obtaining_a_share

        async def fetch_nothing(_other: Seat) -> None:
            pass

        monkeypatch.setattr(late.engine, "submit_body", lambda *_: None)
        monkeypatch.setattr(late, "_fetch_from", fetch_nothing)
        await see(seats, who.later(10))
        await eventually(lambda: not any(held.share for held in late.versions))
        assert late.engine.wanted.rows
        assert late.engine.is_obtaining_a_share
        with monkeypatch.context() as patched:
            patched.setattr("eigenkms.node.engine.step_runner.SHARE_SECONDS", 0.0)
            assert not late.engine.is_obtaining_a_share
        monkeypatch.setattr(late.engine, "submit_body", offer)
        monkeypatch.setattr(late, "_fetch_from", fetch)
        await eventually(hold(seats, who.later(10)))
        assert not late.engine.is_obtaining_a_share


# -- erasing ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_node_that_dies_before_it_has_erased_does_so_first_of_all(who: Cast, tmp_path: Path) -> None:
    """The certificate is on disk and the disk refuses to erase: the engine ends, and its next life, alone and without a boundary,
    has nothing old left.
    """
    victim, *others = who.addresses
    async with alive(who, tmp_path, "first") as seats:
        await see(seats, who.session, may_found=True)
        await eventually(hold(seats, who.session))
    session = who.later()
    async with alive(who, tmp_path, "second", others) as seats:
        with open_store(tmp_path / victim.hex(), victim, seed="refusing") as store:
            refusing = await _refusing(who, seats, store, victim, session)
        newest = refusing.versions.newest
        assert newest is not None
        assert newest.epoch.transcript.session == session.id
    with open_store(tmp_path / victim.hex(), victim) as store:
        assert [(r.settled, r.erased) for r in store.versions()] == [(True, False), (True, False)]
        assert store.versions()[0].share_held
        assert who.session.boundary.number in set(store.keys())
    async with alive(who, tmp_path, "third", [victim]) as (again,):
        first, _ = again.store.versions()
        assert (first.erased, first.share_held) == (True, False)
        assert [held.epoch.transcript.session for held in again.versions.known()] == [session.id]
    async with alive(who, tmp_path, "fourth") as seats:  # it may lack rows that the others have
        await eventually(hold(seats, session))
        assert all(set(s.store.keys()) == {session.boundary.number} for s in seats)


async def _refusing(
    who: Cast, seats: list[Seat], store: Store, victim: OperatorAddress, session: Session
) -> Seat:
    """The victim takes part until its disk refuses to erase."""

    def refuse(_transcript_hash: bytes) -> None:
        raise StorageError("erase a share: the disk is gone")

    store.erase_share = refuse  # type: ignore[method-assign]
    room = seats[0].room
    refusing = room.seats[victim] = seat(who, victim, room, store, life="refusing")
    with refused("the disk is gone"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refusing.run)
            await see([*seats, refusing], session)
            with trio.fail_after(PATIENCE):
                await trio.sleep_forever()
    del room.seats[victim]
    return refusing


# -- versions that others made -----------------------------------------------------------------------------------


@dataclass
class Joining:
    """Four holders of a version of block 100, in their stores, and a fifth operator that joins at block 110 and knows nothing."""

    who: Cast
    version: KeyVersion
    session: Session
    folder: Path

    @property
    def head(self) -> VersionHead:
        return head_of(self.version)

    @property
    def joiner(self) -> OperatorAddress:
        return self.who.addresses[4]

    def keep(self) -> None:
        transcript = self.version.transcript
        for address, share in self.version.shares.items():
            with open_store(self.folder / address.hex(), address) as store:
                row = VersionRow(
                    transcript.version,
                    transcript.session,
                    transcript.hash,
                    transcript.encoded,
                    self.version.certificate.encoded,
                    settled=True,
                )
                store.add_version(row, share.to_bytes())
                listed = transcript.key_of(address)
                assert listed is not None
                store.keep_key(listed.number, self.version.keys[address].secret.to_bytes())


def head_of(version: KeyVersion) -> VersionHead:
    """What an operator shows that has this version for its highest."""
    return VersionHead(version.transcript, version.certificate)


@pytest.fixture
def joining(tmp_path: Path) -> Joining:
    who = seated_cast(5)
    version = version_of(who.at(0, who.addresses[:4]))
    made = Joining(who, version, who.at(10).session, tmp_path)
    made.keep()
    return made


async def test_a_boundary_without_a_source_is_joined_when_there_is_one(
    joining: Joining, caplog: pytest.LogCaptureFixture
) -> None:
    """A joiner may not found anything. Told of the version, it takes part in the boundary that it passed, and holds a share."""
    caplog.set_level(logging.INFO)
    async with alive(joining.who, joining.folder, "first") as seats:
        *_, joiner = seats
        assert joiner.me == joining.joiner
        assert await see(seats, joining.session) == [True, True, True, True, False]
        assert not joiner.engine.has_version
        assert joiner.engine.newest is None
        await joiner.engine.adopt_version(joiner, joining.head)
        assert joiner.engine.has_version
        assert joiner.engine.newest is not None
        assert joiner.engine.newest.session == joining.session
        await eventually(hold(seats, joining.session))
    (joined,) = events(caplog, "joined-late")
    assert joined["session"] == joining.session.id.hex()[:8]


async def test_who_deals_from_an_unknown_version_is_told_to_the_node(joining: Joining) -> None:
    """A joiner that began a genesis hears dealings of a version that it does not know: whose they are is what the node waits
    for. It learns the version, and the session is a rotation to it.
    """
    async with alive(joining.who, joining.folder, "first") as seats:
        *holders, joiner = seats
        assert await see([joiner], joining.session, may_found=True) == [True]
        assert joiner.engine.newest is not None
        assert not joiner.engine.newest.is_rotation
        await see(holders, joining.session)
        with trio.fail_after(PATIENCE):
            found = await joiner.engine.unknown_bases()
        assert found
        assert set(found) <= set(joining.version.shares)
        assert set(found.values()) == {ref_of(joining.version.transcript)}
        await joiner.engine.adopt_version(joiner, joining.head)
        assert joiner.engine.newest.is_rotation
        await eventually(hold(seats, joining.session))
        assert [s.engine.evidence for s in seats] == [0] * 5


async def test_a_version_that_is_merely_prepared_is_dealt_from_and_not_served(joining: Joining) -> None:
    """It may be certified without this operator's knowledge. Once it is known to be, it is served; in the next lives too."""
    at, source = joining.who.at(10), int(joining.version.transcript.version)
    rotated = version_of(at, _renewed(joining), source=source)
    prepared = VersionHead(rotated.transcript, certify(at, rotated.transcript, Phase.PREPARE))
    for head, served in ((prepared, 0), (head_of(rotated), 1)):
        async with alive(joining.who, joining.folder, str(served), [joining.joiner]) as (joiner,):
            await joiner.engine.adopt_version(joiner, head)
            assert joiner.engine.has_version
            assert len(joiner.versions) == served
    async with alive(joining.who, joining.folder, "last", [joining.joiner]) as (joiner,):
        (held,) = joiner.versions
        assert (held.epoch.certificate, held.share) == (rotated.certificate, None)
        assert await see([joiner], joining.who.at(20).session) == [True]
        assert joiner.engine.newest is not None
        assert [t.hash for t in joiner.engine.newest.sources] == [rotated.transcript.hash]


def _renewed(joining: Joining) -> Polynomial:
    who = joining.who
    return Polynomial.random(who.session.threshold, who.rng, secret_of(joining.version.shares, 3))


async def test_a_version_of_the_past_or_of_another_key_is_not_even_stored(joining: Joining) -> None:
    """By the time it was asked for and checked, a higher one may be certified; and another master key is none of this cluster's."""
    me = joining.who.addresses[0]
    rotated = version_of(
        joining.who.at(10), _renewed(joining), source=int(joining.version.transcript.version)
    )
    earlier = version_of(joining.who.at(-10), _renewed(joining))
    foreign = version_of(joining.who.at(20), source=int(rotated.transcript.version))
    async with alive(joining.who, joining.folder, "first", [me]) as (one,):
        await one.engine.adopt_version(one, head_of(rotated))
        assert [r.erased for r in one.store.versions()] == [True, False]
        rows = one.store.versions()
        for late in (earlier, joining.version, foreign):
            await one.engine.adopt_version(one, head_of(late))
            assert one.store.versions() == rows
            assert one.versions.get(late.transcript.hash) is None
        assert one.versions.newest is not None
        assert one.versions.newest.epoch.transcript == rotated.transcript


async def test_a_learnt_version_wakes_nobody_who_was_not_waiting(joining: Joining) -> None:
    """Whoever may not vote at the newest boundary does not join it late either."""
    async with alive(joining.who, joining.folder, "first", [joining.joiner]) as (joiner,):
        passed = await joiner.engine.boundary(joiner, joining.session, may_vote=False, may_found=False)
        assert not passed
        await joiner.engine.adopt_version(joiner, joining.head)
        assert joiner.engine.newest is None
        assert joiner.store.sessions() == ()


# -- read while it is written ------------------------------------------------------------------------------------


class Meanwhile:
    """Runs a change once, at the first moment at which somebody who reads looks at one item of what is changed: as a worker thread
    may do in the midst of a step.
    """

    def __init__(self, change: Callable[[], object]) -> None:
        self._change: Callable[[], object] | None = change

    def __call__(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change()


async def test_versions_are_read_while_they_change(joining: Joining, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are served from them while a step in another thread adds one and erases another."""
    me = joining.who.addresses[0]
    rotated = version_of(
        joining.who.at(10), _renewed(joining), source=int(joining.version.transcript.version)
    )
    later_one = version_of(joining.who.at(20), _renewed(joining), source=int(rotated.transcript.version))
    read = Transcript.version.fget
    assert read is not None
    with open_store(joining.folder / me.hex(), me) as store:
        versions = Versions(store)
        versions.add(CertifiedTranscript(rotated.transcript, rotated.certificate))

        def change() -> None:
            versions.erase(joining.version.transcript.hash)
            versions.add(CertifiedTranscript(later_one.transcript, later_one.certificate))

        for reading in (lambda: versions.newest, versions.known, lambda: list(versions)):
            meanwhile = Meanwhile(change)
            with monkeypatch.context() as patch:
                patch.setattr(Transcript, "version", property(lambda t, m=meanwhile: (m(), read(t))[1]))
                assert reading()
        assert versions.newest is not None
        assert versions.newest.epoch.transcript == later_one.transcript


async def test_sessions_are_asked_for_while_they_change(
    joining: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between steps the node asks what is live, when to wake up and who deals from where; a step in another thread begins and ends
    sessions meanwhile, and deals from more sources.
    """
    who = joining.who
    operator = operator_of(who, joining.joiner)
    operator.boundary(who.at(-20).session, 0.0)
    operator.boundary(joining.session, 0.1)
    number = iter(range(20, 200, 10))

    def step() -> None:
        session = who.at(next(number)).session
        operator.boundary(session, 1.0)
        del operator._ceremonies[next(iter(operator._ceremonies))]

    for name, reading in (
        ("decided", lambda: operator.syncable),
        ("needs_sync", lambda: operator.syncable),
        ("has_prepared_key", lambda: operator.binding_session),
    ):
        meanwhile, read = Meanwhile(step), getattr(Ceremony, name).fget
        with monkeypatch.context() as patch:
            patch.setattr(Ceremony, name, property(lambda c, m=meanwhile, r=read: (m(), r(c))[1]))
            reading()
    meanwhile, deadline = Meanwhile(step), Ceremony.deadline
    with monkeypatch.context() as patch:
        patch.setattr(Ceremony, "deadline", lambda c: (meanwhile(), deadline(c))[1])
        assert operator.deadline() is not None
    newest = operator.newest
    assert newest is not None

    class Meddling(SourceRef):
        """Seen by somebody who looks at what is dealt from in a session, while a step adds to that."""

        def __getattribute__(self, name: str) -> object:
            if name == "version":
                added.append(SourceRef(1, bytes([len(added)]) * 32))
                sources._by_ref[added[-1]] = current
                sources._unknown[OperatorAddress(bytes([len(added)]) * 20)] = SourceRef(5, bytes(32))
            return super().__getattribute__(name)

    sources, current, added = base_versions_of(newest), base_versions_of(newest).current, list[SourceRef]()
    sources._unknown[who.addresses[0]] = SourceRef(7, bytes(32))
    sources._by_ref[Meddling(2, bytes(32))] = current
    before = len(added)
    assert operator.unknown_sources
    assert len(added) > before, "somebody looked"


async def test_a_session_tells_who_is_missing_while_it_changes(joining: Joining) -> None:
    """At genesis, while a step takes another announcement."""
    who = joining.who
    operator = operator_of(who, joining.joiner)
    operator.boundary(joining.session, 0.0)
    newest = operator.newest
    assert newest is not None
    genesis = base_versions_of(newest).current
    assert isinstance(genesis, GenesisSharingPhase)
    said = who.frame(who.addresses[0], FrameKind.HASH, [bytes(32)], session=joining.session)

    class Announcing:
        """The keys that were published; asked for one while a step takes an announcement."""

        def __contains__(self, _operator: OperatorAddress) -> bool:
            genesis._announced.setdefault(who.addresses[0], said)
            return False

    genesis._announced.pop(who.addresses[0], None)
    genesis._keys = Announcing()  # type: ignore[assignment]
    assert set(newest.status().missing) == set(who.addresses)
    assert who.addresses[0] in genesis._announced, "somebody looked"
