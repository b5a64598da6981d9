"""The engine keeps its promise: durable first, then sent; and when the disk refuses, silence.

Four engines with real stores and real machines over toy curves pass each other frames and bodies in memory.
"""

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from eigenkms.crypto.hashing import Rng
from eigenkms.errors import StorageError
from eigenkms.node.engine import intake
from eigenkms.node.engine.frame_queue import MAX_FRAMES, MAX_OF_ONE
from eigenkms.node.engine.step_runner import MAX_IDLE_SECONDS
from eigenkms.protocols.ceremony.effects import LogEvent, ReportFault
from eigenkms.protocols.ceremony.forgeries import MAX_FORGERIES
from eigenkms.protocols.ceremony.holdings import NOT_OPENED
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.protocols.records.evidence_bundle import check_bundle, decode_bundle
from eigenkms.storage.store import Record, Store
from eigenkms.types import BlockRef, OperatorAddress
from eigenkms.wire.client_rpc import EvidencePage
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.frames import Frame, FrameKind, verify_frames
from eigenkms.wire.messages import slot_of, vote_body
from eigenkms.wire.rpc_methods import VersionHead
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Phase
from tests.node.engines import Room, Seat, check_journaled, hold, refused, seat, seated, seated_cast, see
from tests.protocols.support import Cast, cast
from tests.support.evidence_cases import equivocation
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node, open_store
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("toy_curves")


@pytest.fixture
def who() -> Cast:
    """Four operators and a session at block 100."""
    return seated_cast(4)


def later(session: Session, blocks: int = 10, seed: bytes = b"\x07") -> Session:
    """The same operators at a later boundary, or at another block of the same number."""
    block = session.boundary
    at = BlockRef(block.number + blocks, seed * 32, block.timestamp + 12 * blocks)
    return Session(session.cluster, at, session.recipients, session.parameters)


# -- the way it should go ----------------------------------------------------------------------------------------


async def test_four_engines_make_one_key_and_say_nothing_that_is_not_durable(
    who: Cast, tmp_path: Path
) -> None:
    """Each frame is in its sender's journal, readable from disk, at the moment when it leaves."""
    room = Room()
    async with seated(who, room, tmp_path, *who.addresses) as seats:
        for each in seats:
            each.before_sending = check_journaled
        for each in seats:
            assert await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
        await eventually(hold(seats, who.session))
        kinds = {frame.kind for s in seats for frame in s.sent}
        assert kinds >= {FrameKind.KEY, FrameKind.HASH, FrameKind.DEALING, FrameKind.PROPOSAL, FrameKind.VOTE}
        bodies = {body for s in seats for body in s.published}
    held = [s.versions.newest for s in seats]
    assert len({h.epoch.transcript.hash for h in held if h is not None}) == 1
    keepers = 0
    for address in who.addresses:
        with open_store(tmp_path / address.hex(), address) as store:
            (row,) = store.versions()
            assert (row.share_held, row.settled, row.prepared) == (True, True, False)
            kept = {r.body[32:] for r in store.records(who.session.id) if r.kind == "body"}
            keepers += kept == bodies
    assert keepers >= who.session.threshold, "whoever was away decrypts its share from what they keep"


@pytest.mark.slow
async def test_three_of_four_engines_make_a_key_when_the_windows_are_over(tmp_path: Path) -> None:
    """The engines feed the time to their machines: nobody waits for an operator that is down.

    There is one session, so a dealing that comes after its window is final: a window is far longer than a step takes.
    """
    who = seated_cast(4, window_ms=2_000, genesis_quorum=3)
    async with seated(who, Room(), tmp_path, *who.addresses[:3], grace=1.0) as seats:
        assert all(await see(seats, who.session, may_found=True))
        await eventually(hold(seats, who.session))
        assert len({h.epoch.transcript.hash for s in seats if (h := s.versions.newest)}) == 1


@pytest.mark.slow
async def test_a_version_outlives_the_process(who: Cast, tmp_path: Path) -> None:
    """Started again, an engine knows it, and deals from it at the next boundary; so do the others."""
    room = Room()
    async with seated(who, room, tmp_path, *who.addresses) as seats:
        await see(seats, who.session, may_found=True)
        await eventually(hold(seats, who.session))
        mpk = {h.epoch.transcript.mpk for s in seats if (h := s.versions.newest) is not None}
    async with seated(who, room, tmp_path, *who.addresses) as seats:
        for each in seats:
            await each.engine.restore(each, 1_700_000_100.0)
            assert each.versions.newest is not None
            assert {each.versions.newest.epoch.transcript.mpk} == mpk
            assert await each.engine.boundary(each, later(who.session), may_vote=True, may_found=False)
        await eventually(hold(seats, later(who.session)))
        assert {s.versions.newest.epoch.transcript.mpk for s in seats if s.versions.newest} == mpk


@pytest.mark.slow
async def test_a_restored_copy_of_a_store_listens_where_it_may_have_voted(who: Cast, tmp_path: Path) -> None:
    """Its journal ends before its votes: it says nothing in that session again, but takes in the version and decrypts its share."""
    room, me = Room(), who.addresses[0]
    async with seated(who, room, tmp_path, *who.addresses[1:]) as others:
        async with seated(who, room, tmp_path, me) as (one,):
            await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
            await eventually(lambda: any(f.kind is FrameKind.HASH for f in one.sent))
        shutil.copytree(tmp_path / me.hex(), tmp_path / "backup")
        async with seated(who, room, tmp_path, me) as (one,):
            await one.engine.restore(one, 1_700_000_100.0)
            for each in others:
                await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
            await eventually(hold([one, *others], who.session))
            voted = {slot_of(f): f.encoded for f in one.sent}
            assert any(slot is not None and slot[0] is FrameKind.VOTE for slot in voted)
        shutil.rmtree(tmp_path / me.hex())
        shutil.copytree(tmp_path / "backup", tmp_path / me.hex())
        async with seated(who, room, tmp_path, me) as (one,):
            assert one.store.rolled_back
            await one.engine.restore(one, 1_700_000_100.0, floor=who.session.boundary.number)
            await eventually(hold([one], who.session))
            assert {f.kind for f in one.sent} <= {FrameKind.KEY, FrameKind.HASH}, (
                "only what the copy knows it said"
            )
            assert all(voted[slot_of(f)] == f.encoded for f in one.sent)


async def test_a_boundary_that_may_not_be_joined_is_passed(who: Cast, tmp_path: Path) -> None:
    """Nothing is said and no session is opened."""
    room = Room()
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        assert not await one.engine.boundary(one, who.session, may_vote=False, may_found=True)
        assert one.store.sessions() == ()
        assert one.sent == []
        assert one.engine.live == ()


async def test_a_frame_that_comes_before_its_boundary_and_cannot_be_read_harms_nothing(
    who: Cast, tmp_path: Path
) -> None:
    """One that is no vote, by an operator: the session begins as without it, and so does the next."""
    me, liar = who.addresses[:2]
    async with seated(who, Room(), tmp_path, me) as (one,):
        for session in (who.session, who.later()):
            one.engine.submit(liar, who.frame(liar, FrameKind.VOTE, [], session=session).encoded)
        await eventually(lambda: one.engine.statistics().frames == 2)
        for session in (who.session, who.later()):
            assert await one.engine.boundary(one, session, may_vote=True, may_found=True)


async def test_one_boundary_number_is_voted_in_once_whatever_its_hash(who: Cast, tmp_path: Path) -> None:
    """A block that a reorganisation put in place of another opens no session, also in a later life of the node."""
    room, fork = Room(), later(who.session, 0)
    assert fork.id != who.session.id
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        assert await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
        assert not await one.engine.boundary(one, fork, may_vote=True, may_found=True)
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        await one.engine.restore(one, 1_700_000_000.0)
        assert not await one.engine.boundary(one, fork, may_vote=True, may_found=True)
        assert [h.session for h in one.store.sessions()] == [who.session.id]


async def test_frames_of_a_boundary_that_is_not_seen_yet_are_kept_for_it(who: Cast, tmp_path: Path) -> None:
    """Three are ahead; the fourth needs nothing to be said twice."""
    room = Room()
    async with seated(who, room, tmp_path, *who.addresses) as seats:
        late = seats[3]
        for each in seats[:3]:
            await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
        await eventually(lambda: late.engine.statistics().frames >= 3)
        assert late.sent == []
        await late.engine.boundary(late, who.session, may_vote=True, may_found=True)
        await eventually(hold(seats, who.session))


async def test_a_known_version_ends_genesis(who: Cast, tmp_path: Path) -> None:
    """Learnt from others and confirmed by the chain: served without a share, after a restart too; what is joined is a rotation."""
    room = Room()
    async with seated(who, room, tmp_path / "a", *who.addresses) as seats:
        await see(seats, who.session, may_found=True)
        await eventually(lambda: len(seats[0].versions) > 0)
        held = seats[0].versions.newest
        assert held is not None
    for life in (1, 2):
        async with seated(who, room, tmp_path / "b", who.addresses[0]) as (one,):
            if life == 1:
                await one.engine.adopt_version(
                    one, VersionHead(held.epoch.transcript, held.epoch.certificate)
                )
            assert one.versions.newest is not None
            assert one.versions.newest.share is None
            session = later(who.session, 10 * life)
            assert await one.engine.boundary(one, session, may_vote=True, may_found=True)
            assert [c.is_rotation for c in one.engine.live if c.session == session] == [True]


async def test_noise_is_counted_and_does_no_harm(who: Cast, tmp_path: Path) -> None:
    """Bytes that are no frame, a frame of nobody, a frame with a bad signature."""
    room = Room()
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
        other = who.addresses[1]
        good = who.frame(other, FrameKind.HASH, [bytes(32)])
        stranger = cast(1, seed="stranger")
        for data in (
            b"",
            b"\xc1",
            good.encoded[:-1],
            stranger.frame(stranger.addresses[0], FrameKind.HASH, [bytes(32)]).encoded,
            good.encoded[:-64] + bytes(64),
        ):
            one.engine.submit(other, data)
        await eventually(lambda: one.engine.statistics().frames == 5)
        assert one.engine.statistics().refused >= 4
        assert one.store.evidence() == ()


async def test_a_flood_is_dropped_at_a_bound(who: Cast, tmp_path: Path) -> None:
    """``offer`` never blocks; what finds its source's queue full is counted, and is pulled again if it matters."""
    flooding, other = who.addresses[1:3]
    with open_store(tmp_path, who.addresses[0]) as store:
        one = seat(who, who.addresses[0], Room(), store)
        for _ in range(MAX_FRAMES + 15):
            one.engine.submit(flooding, b"x")
        assert one.engine.statistics().dropped == 15
        one.engine.submit(other, b"x")
        assert one.engine.statistics().dropped == 15


async def test_who_hands_over_forged_frames_pays_for_them_and_nobody_else(
    who: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another's name, in sessions that are known and not: after a few bad signatures none of that source is verified until the
    next boundary, while what others hand over is.
    """
    verified = list[Frame]()

    def count(frames: Sequence[Frame], keys: Sequence[bytes], rng: Rng) -> tuple[int, ...]:
        verified.extend(frames)
        return verify_frames(frames, keys, rng)

    monkeypatch.setattr(intake, "verify_frames", count)
    me, liar, victim, other = who.addresses

    def forged(number: int, session: Session) -> Frame:
        body = vote_body(0, Phase.PREPARE, number.to_bytes(32, "big"), bytes(64))
        good = who.frame(liar, FrameKind.VOTE, body, session=session)
        return replace(good, sender=victim)

    async with seated(who, Room(), tmp_path, me) as (one,):
        await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
        for number in range(2 * MAX_FORGERIES):
            one.engine.submit(liar, forged(number, who.session if number % 2 else later(who.session)))
        await eventually(lambda: one.engine.statistics().frames == 2 * MAX_FORGERIES)
        assert MAX_FORGERIES <= len(verified) < MAX_FORGERIES + MAX_OF_ONE
        assert one.engine.statistics().dropped == 2 * MAX_FORGERIES - len(verified)
        for source, expected in ((liar, []), (other, [FrameKind.HASH])):
            verified.clear()
            one.engine.submit(source, who.frame(victim, FrameKind.HASH, [bytes(32)]))
            before = one.engine.statistics().frames
            await eventually(lambda before=before: one.engine.statistics().frames > before)  # type: ignore[misc]
            assert [frame.kind for frame in verified] == expected
        await one.engine.boundary(one, later(who.session, 20), may_vote=True, may_found=True)
        verified.clear()
        one.engine.submit(liar, forged(0, who.session))
        await eventually(lambda: verified)


async def test_an_equivocation_is_kept_as_evidence(who: Cast, tmp_path: Path) -> None:
    """Two hashes of one operator: in the store, with both frames, and counted in a later life."""
    room, liar = Room(), who.addresses[1]
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
        for number in (1, 2):
            one.engine.submit(liar, who.frame(liar, FrameKind.HASH, [bytes([number]) * 32]).encoded)
        await eventually(lambda: one.engine.evidence == 1)
        (kept,) = one.store.evidence()
        assert (kept.kind, kept.accused, kept.session) == ("equivocation", liar, who.session.id)
        bundle = decode_bundle(kept.bundle)
        check_bundle(bundle)
        assert (bundle.session, len(bundle.evidence.frames)) == (who.session, 2)
        page = await one.engine.queries.evidence_page(0)
        assert page == EvidencePage(((kept.id, kept.bundle),), more=False)
        assert await one.engine.queries.evidence_page(kept.id) == EvidencePage((), more=False)
    async with seated(who, room, tmp_path, who.addresses[0]) as (one,):
        assert (one.engine.evidence, one.engine.accused) == (1, {liar: 1})


async def test_a_share_that_does_not_open_is_an_error(
    who: Cast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its operator must report it; what happens every day is information."""
    async with seated(who, Room(), tmp_path, who.addresses[0]) as (one,):
        notes = [LogEvent(NOT_OPENED, {"version": 7}), LogEvent("share held", {"version": 7})]
        one.engine._reporter.report([SessionEffect(None, note) for note in notes])
    levels = {r.levelno for r in caplog.records if NOT_OPENED in r.getMessage()}
    assert levels == {logging.ERROR}


async def test_evidence_is_kept_once_and_shown(network: FakeNetwork, tmp_path: Path) -> None:
    """Also if a machine notices the same again, as it does after a restart; anybody can check it."""
    noticed = equivocation(network, accused=1)
    liar = network.operators[1]
    with a_node(network, 0, tmp_path) as node:
        for _ in range(2):
            node.ceremonies.engine.effects.make_durable(
                [SessionEffect(network.session, ReportFault(noticed.evidence))]
            )
            assert (len(node.backing.store.evidence()), node.ceremonies.engine.evidence) == (1, 1)
        (kept,) = node.backing.store.evidence()
        check_bundle(decode_bundle(kept.bundle))
        status = node.status()
        assert (status["evidence"], status["accused"]) == (1, ["0x" + liar.address.hex()])


# -- the time ----------------------------------------------------------------------------------------------------


async def test_what_is_due_is_done_in_the_next_step_whatever_that_is_for(
    tmp_path: Path, virtual_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Due at 10.00: a step for something else at 10.04, before the timekeeper has its turn, puts nothing off."""
    who = seated_cast(4, window_ms=20_000)
    with open_store(tmp_path, who.addresses[0]) as store:
        one = seat(who, who.addresses[0], Room(), store)
        ticks, tick = list[float](), one.engine._participant.tick

        told = trio.Event()

        def tell(now: float) -> list[SessionEffect]:
            ticks.append(now)
            trio.from_thread.run_sync(lambda: told.set())  # noqa: PLW0108 - it is another one later
            return tick(now)

        monkeypatch.setattr(one.engine._participant, "tick", tell)
        began = trio.current_time()
        assert await one.engine.boundary(one, who.session, may_vote=True, may_found=True)
        for seconds in (9.9, 0.14):
            virtual_clock.jump(seconds)
            await one.engine.take_row(one, bytes(32), DealingRow(b"", b""))
        assert ticks == [pytest.approx(began + 10.04)]
        async with trio.open_nursery() as nursery:
            told = trio.Event()
            nursery.start_soon(one.engine.run, one)
            await told.wait()
            nursery.cancel_scope.cancel()
        assert began + 20.0 <= ticks[1] < began + 10.04 + MAX_IDLE_SECONDS, (
            "and by the timekeeper, if no step comes"
        )


# -- when the disk refuses ---------------------------------------------------------------------------------------


class Refusal:
    """Makes a store refuse its writes of keys, sessions and versions from the ``number``-th on, the first of a version at the
    latest: how many steps lead there depends on which frames are taken together.
    """

    def __init__(self, store: Store, number: int) -> None:
        self._left = number
        self.refused: list[Any] = []
        """What was to be written."""
        for name in ("keep_key", "append", "add_version"):
            setattr(store, name, self._limited(getattr(store, name), is_last=name == "add_version"))

    def _limited(self, method: Callable[..., None], *, is_last: bool) -> Callable[..., None]:
        def call(*args: Any) -> None:
            self._left -= 1
            if self._left < 0 or is_last:
                self.refused.append(args[-1])
                raise StorageError("append to the journal: the disk is full", hint="free some disk space")
            method(*args)

        return call


@pytest.mark.parametrize("accepted", range(8))
async def test_a_store_that_refuses_ends_the_engine_and_nothing_of_that_step_is_sent(
    who: Cast, tmp_path: Path, accepted: int
) -> None:
    """At each write in turn. What it had said is in its journal; with a mended disk it goes on, and the key is made."""
    room = Room()
    others, victim = who.addresses[1:], who.addresses[0]
    async with seated(who, room, tmp_path, *others) as seats:
        with open_store(tmp_path / victim.hex(), victim, seed=victim.hex()) as store:
            failing = seat(who, victim, room, store)
            room.seats[victim] = failing
            refusal = Refusal(store, accepted)
            with refused("the disk is full"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(failing.run)
                    for each in (failing, *seats):
                        await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
                    with trio.fail_after(PATIENCE):
                        await trio.sleep_forever()
            del room.seats[victim]
            for request in await seats[0].engine.queries.sync_requests():
                assert await failing.engine.queries.sync_reply(request) == [], (
                    "what is asked for is no exception"
                )
            with pytest.raises(StorageError, match="earlier step"):
                await failing.engine.boundary(failing, later(who.session), may_vote=True, may_found=True)
            unsaid = {r.body for r in _records(refusal.refused) if r.kind == "frame"}
            assert not unsaid & {frame.encoded for frame in failing.sent}
            for frame in failing.sent:
                check_journaled(failing, frame)
            said = _by_slot(failing.sent)
        await _finish(who, room, tmp_path, victim, seats, said)


def _records(refused: Sequence[Any]) -> list[Record]:
    return [record for batch in refused if isinstance(batch, list) for record in batch]


def _by_slot(frames: Sequence[Frame]) -> dict[Any, bytes]:
    return {(f.session, slot_of(f)): f.encoded for f in frames}


async def _finish(
    who: Cast, room: Room, folder: Path, victim: OperatorAddress, seats: list[Seat], said: dict[Any, bytes]
) -> None:
    """Show that the victim's next life repeats its first to the byte, and that the session makes a key."""
    async with seated(who, room, folder, victim) as (again,):
        everybody = (again, *seats)
        await again.engine.restore(again, time.time())
        for each in seats:
            if not each.store.sessions():  # the victim ended before the others saw the boundary
                await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
        await eventually(hold(everybody, who.session))
        hashes = {h.epoch.transcript.hash for s in everybody if (h := s.versions.newest) is not None}
        assert len(hashes) == 1
        for slot, encoded in _by_slot(again.sent).items():
            assert said.get(slot, encoded) == encoded


@contextmanager
def _small(store: Store, free_pages: int) -> Any:
    """Let SQLite itself find the disk full after a few more pages."""
    connection = store._database._connection
    (used,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {used + free_pages}").fetchone()
    try:
        yield
    finally:
        connection.execute("PRAGMA max_page_count = 1000000").fetchone()


async def test_a_disk_that_is_full_stops_the_node_with_a_sentence_and_loses_nothing(
    who: Cast, tmp_path: Path
) -> None:
    """The database's own refusal: the action, the file, the reason, and what to do."""
    room, victim = Room(), who.addresses[0]
    async with seated(who, room, tmp_path, *who.addresses[1:]) as seats:
        with open_store(tmp_path / victim.hex(), victim, seed=victim.hex()) as store:
            failing = seat(who, victim, room, store)
            room.seats[victim] = failing
            with refused("the disk is full", hint="free"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(failing.run)
                    for each in (*seats, failing):
                        await each.engine.boundary(each, who.session, may_vote=True, may_found=True)
                    await _fill(failing)
            del room.seats[victim]
            for frame in failing.sent:
                check_journaled(failing, frame)
            said = _by_slot(failing.sent)
        await _finish(who, room, tmp_path, victim, seats, said)


async def _fill(failing: Seat) -> None:
    """From now on not a page more, until the engine has noticed."""
    with _small(failing.store, 0):
        for number in range(200):
            failing.store.set_meta(f"ballast {number}", bytes(4000))
            await trio.lowlevel.checkpoint()
