"""Rotation in engines with real stores: what is left on a disk, and what is not, above all."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import StorageError
from eigenkms.node.versions import Versions
from eigenkms.protocols.ceremony import Ceremony
from eigenkms.protocols.requests import Epoch, check_settled
from eigenkms.protocols.resharing import Resharing
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.storage.store import Store, VersionRow
from eigenkms.types import OperatorAddress
from tests.node.engines import Seat, alive, check_journaled, refused, seat, seated_cast, see
from tests.node.support import open_store
from tests.protocols.support import Cast, KeyVersion, secret_of, version_of
from tests.support.toy_backend import toy_crypto
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture(autouse=True)
def _toy_curves() -> Iterator[None]:
    with toy_crypto():
        yield


@pytest.fixture
def who() -> Cast:
    """Four operators and a session at block 100."""
    return seated_cast(4)


def has_settled(seats: Sequence[Seat], session: Session) -> Callable[[], bool]:
    """Whether all know the version of this session to be settled, and nothing older."""

    def check() -> bool:
        newest = [s.versions.newest_settled for s in seats]
        return all(len(s.versions) == 1 for s in seats) and all(
            held is not None and held.epoch.transcript.session == session.id for held in newest
        )

    return check


# -- the way it should go ----------------------------------------------------------------------------------------


async def test_two_rotations_with_restarts_between(who: Cast, tmp_path: Path) -> None:
    """One master key, three versions, each renewed from the one before; every frame was durable before it left. What stays of the
    older ones is their transcripts and certificates, and of the newest its share and its proof.
    """
    sessions = [who.session, who.later(10), who.later(20)]
    for life, session in enumerate(sessions):
        async with alive(who, tmp_path, f"life {life}") as seats:
            for each in seats:
                each.before_sending = check_journaled
            assert all(await see(seats, session, may_found=life == 0))
            await eventually(has_settled(seats, session))
    secrets = {}
    for address in who.addresses:
        with open_store(tmp_path / address.hex(), address) as store:
            rows, held = store.versions(), list(Versions(store))
            assert [(r.session, r.erased, r.share_held, r.settled) for r in rows] == [
                (sessions[0].id, True, False, True),
                (sessions[1].id, True, False, True),
                (sessions[2].id, False, True, True),
            ]
            (newest,) = held
            check_settled(newest.epoch, newest.proof)
            assert newest.proof is not None
            chain = [Versions(store).epoch(r.transcript_hash) for r in rows]
            transcripts = [epoch.transcript for epoch in chain if epoch is not None]
            assert [t.source_hash for t in transcripts] == [bytes(32), *(t.hash for t in transcripts[:2])]
            assert len({t.mpk for t in transcripts}) == 1
            assert all(h.shredded for h in store.sessions())
            secrets[address] = newest.share
    shares = {a: s for a, s in secrets.items() if s is not None}
    few = dict(list(shares.items())[:3])
    assert secret_of(few, 3) == secret_of(dict(list(shares.items())[1:]), 3)


async def test_all_lines_of_a_session_carry_its_id(
    who: Cast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From dealing to settled: a line that speaks of a session names it in a field, and one filter gives its story."""
    caplog.set_level(logging.INFO, "eigenkms")
    sessions = [who.session, who.later(10)]
    async with alive(who, tmp_path, "both") as seats:
        for session in sessions:
            await see(seats, session, may_found=session is sessions[0])
            await eventually(has_settled(seats, session))
        await eventually(lambda: "my share is erased" in caplog.text)
    story: dict[str, set[str]] = {}
    for record in caplog.records:
        fields = getattr(record, "fields", {})
        named = re.search(r"session ([0-9a-f]{8})", record.getMessage())
        if named is not None:
            assert fields.get("session") == named[1], record.getMessage()
        story.setdefault(fields.get("session", ""), set()).add(str(fields.get("event")))
    first, second = (session.id.hex()[:8] for session in sessions)
    assert {"dealing revealed", "reported", "voted", "certified", "erased"} <= story[first]
    assert {"dealing published", "reported", "voted", "certified", "settled"} <= story[second]
    assert set(story) <= {first, second, ""}


# -- erasing ---------------------------------------------------------------------------------------------------


async def test_a_node_that_dies_before_it_has_erased_does_so_first_of_all(who: Cast, tmp_path: Path) -> None:
    """Settled is on disk and the disk refuses to erase: the engine ends, and its next life, alone and without a boundary, has
    nothing old left.
    """
    victim, *others = who.addresses
    async with alive(who, tmp_path, "first") as seats:
        await see(seats, who.session, may_found=True)
        await eventually(has_settled(seats, who.session))
    session = who.later()
    async with alive(who, tmp_path, "second", others) as seats:
        with open_store(tmp_path / victim.hex(), victim, seed="refusing") as store:
            refusing = await _refusing(who, seats, store, victim, session)
        settled = refusing.versions.newest_settled
        assert settled is not None
        assert settled.epoch.transcript.session == session.id
    with open_store(tmp_path / victim.hex(), victim) as store:
        assert [(r.settled, r.share_held) for r in store.versions()] == [(True, True), (True, True)]
    async with alive(who, tmp_path, "third", [victim]) as (again,):
        assert has_settled([again], session)()
        assert [(r.erased, r.share_held) for r in again.store.versions()] == [(True, False), (False, True)]
        assert all(h.shredded for h in again.store.sessions())
    async with alive(
        who, tmp_path, "fourth"
    ) as seats:  # the others may have waited for a confirmation that it had not sent
        await eventually(has_settled(seats, session))


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
    def epoch(self) -> Epoch:
        return Epoch(self.version.transcript, self.version.certificate)

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
        assert not joiner.engine.has_source
        assert joiner.engine.newest is None
        await joiner.engine.learn(joiner, joining.epoch, None)
        assert joiner.engine.has_source
        assert joiner.engine.newest is not None
        assert joiner.engine.newest.session == joining.session
        await eventually(has_settled(seats, joining.session))
        assert joiner.versions.newest is not None
        assert joiner.versions.newest.share is not None
    (line,) = [r.getMessage() for r in caplog.records if "joined, now that" in r.getMessage()]
    assert "the version to deal from is known" in line


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
            found = await joiner.engine.unknown_sources()
        assert found
        assert set(found) <= set(joining.version.shares)
        assert set(found.values()) == {int(joining.version.transcript.version)}
        await joiner.engine.learn(joiner, joining.epoch, None)
        assert joiner.engine.newest.is_rotation
        await eventually(has_settled(seats, joining.session))
        assert [s.engine.evidence for s in seats] == [0] * 5


async def test_a_rotated_version_is_learnt_with_its_proof(joining: Joining) -> None:
    """It is settled in the store too, also in the next life; without the proof it is known, and nothing is dealt from it."""
    rotated = version_of(
        joining.who.at(10), _renewed(joining), source=int(joining.version.transcript.version)
    )
    epoch = Epoch(rotated.transcript, rotated.certificate)
    for proof in (None, rotated.proof):
        async with alive(joining.who, joining.folder, str(proof), [joining.joiner]) as (joiner,):
            await joiner.engine.learn(joiner, epoch, proof)
            assert joiner.engine.has_source == (proof is not None)
    async with alive(joining.who, joining.folder, "last", [joining.joiner]) as (joiner,):
        (held,) = joiner.versions
        assert (held.settled, held.proof, held.share) == (True, rotated.proof, None)
        assert joiner.engine.has_source
        assert await see([joiner], joining.who.at(20).session) == [True]
        assert joiner.engine.newest is not None
        assert [t.hash for t in joiner.engine.newest.sources] == [rotated.transcript.hash]


def _renewed(joining: Joining) -> Polynomial:
    who = joining.who
    return Polynomial.random(who.session.threshold, who.rng, secret_of(joining.version.shares, 3))


async def test_a_version_of_the_past_or_of_another_key_is_not_even_stored(joining: Joining) -> None:
    """By the time it was asked for and checked, a higher one may be settled; and another master key is none of this cluster's."""
    me = joining.who.addresses[0]
    rotated = version_of(
        joining.who.at(10), _renewed(joining), source=int(joining.version.transcript.version)
    )
    earlier = version_of(joining.who.at(-10), _renewed(joining))
    foreign = version_of(joining.who.at(20), source=int(rotated.transcript.version))
    async with alive(joining.who, joining.folder, "first", [me]) as (one,):
        await one.engine.learn(one, Epoch(rotated.transcript, rotated.certificate), rotated.proof)
        assert [r.erased for r in one.store.versions()] == [True, False]
        rows = one.store.versions()
        for late, proof in ((earlier, None), (joining.version, None), (foreign, foreign.proof)):
            await one.engine.learn(one, Epoch(late.transcript, late.certificate), proof)
            assert one.store.versions() == rows
            assert one.versions.get(late.transcript.hash) is None
        assert one.versions.newest is not None
        assert one.versions.newest.epoch.transcript == rotated.transcript


async def test_a_learnt_version_wakes_nobody_who_was_not_waiting(joining: Joining) -> None:
    """Whoever may not vote at the newest boundary does not join it late either."""
    async with alive(joining.who, joining.folder, "first", [joining.joiner]) as (joiner,):
        passed = await joiner.engine.boundary(joiner, joining.session, may_vote=False, may_found=False)
        assert not passed
        await joiner.engine.learn(joiner, joining.epoch, None)
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
        versions.add(Epoch(rotated.transcript, rotated.certificate), None)

        def change() -> None:
            versions.erase(joining.version.transcript.hash)
            versions.settle(Epoch(later_one.transcript, later_one.certificate), later_one.proof)

        for reading in (
            lambda: versions.newest,
            lambda: versions.newest_settled,
            lambda: list(versions),
        ):
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
    sessions meanwhile, and makes a genesis a rotation.
    """
    who, version = joining.who, joining.version
    operator = who.operator(joining.joiner)
    operator.boundary(who.at(-20).session, 0.0)
    operator.boundary(joining.session, 0.1)
    number = iter(range(20, 200, 10))

    def step() -> None:
        session = who.at(next(number)).session
        operator.boundary(session, 1.0)
        del operator._ceremonies[next(iter(operator._ceremonies))]

    for name, reading in (
        ("decided", lambda: operator.live),
        ("pulls", lambda: operator.live),
        ("binding", lambda: operator.binding),
    ):
        meanwhile, read = Meanwhile(step), getattr(Ceremony, name).fget
        with monkeypatch.context() as patch:
            patch.setattr(Ceremony, name, property(lambda c, m=meanwhile, r=read: (m(), r(c))[1]))
            reading()
    meanwhile, deadline = Meanwhile(step), Ceremony.deadline
    with monkeypatch.context() as patch:
        patch.setattr(Ceremony, "deadline", lambda c, now: (meanwhile(), deadline(c, now))[1])
        assert operator.deadline(1.0) is not None
    newest = operator.newest
    assert newest is not None

    class Meddling(int):
        def __gt__(self, other: int) -> bool:
            newest._parties._unknown_sources[OperatorAddress(bytes(20))] = 5
            return True

    newest._parties._unknown_sources[who.addresses[0]] = Meddling(7)
    assert operator.unknown_sources
    shown = []

    class Looked(Resharing):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            shown.append(newest.status())

    monkeypatch.setattr("eigenkms.protocols.ceremony.Resharing", Looked)
    operator.learn(version.transcript, version.certificate, settled=True, now=2.0)
    assert newest.is_rotation
    assert [status.source for status in shown] == [0]
