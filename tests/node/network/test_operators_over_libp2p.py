"""Operators over real hosts and stores: what they make, and that they stand by it across crashes."""

from collections import Counter

import pytest
import trio

from eigenkms.node.engine import intake
from eigenkms.node.key_versions import Versions
from eigenkms.node.network import operator_network
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.protocols.ceremony.effects import ReportFault
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.evidence_bundle import Bundle, check_bundle, decode_bundle
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import Frame, FrameKind, build_frame, decode_frame
from eigenkms.wire.session import Session
from tests.node.town import Station, Town, kill_at
from tests.protocols.support import secret_of
from tests.support.nodes import open_store
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def test_four_operators_make_a_key_and_renew_its_shares(town: Town) -> None:
    """One master key, three versions; each time all hold a share, older shares and keys are gone, and no body was asked for."""
    sessions = [town.session(number) for number in (100, 110, 120)]
    async with town.open() as street:
        secrets = set()
        for session in sessions:
            await street.meet(session, found=session is sessions[0])
            shares = await street.all_hold(session)
            assert len(shares) == 4
            secrets.add(secret_of(shares, 3).value)
            for left_out in shares:
                rest = {a: s for a, s in shares.items() if a != left_out}
                assert secret_of(rest, 3).value in secrets
        assert len(secrets) == 1
        for station in town.up.values():
            assert rpc_methods.PUSH in station.asked
            assert set(station.store.keys()) == {120}
    for person in town.people:
        with open_store(town.folder / person.address.hex(), person.address) as store:
            rows = store.versions()
            assert [(r.session, r.erased, r.share_held, r.settled, r.prepared) for r in rows] == [
                (sessions[0].id, True, False, True, False),
                (sessions[1].id, True, False, True, False),
                (sessions[2].id, False, True, True, False),
            ]
            assert not any(r.secret for s in sessions for r in store.records(s.id))
            (held,) = Versions(store)
            assert held.share is not None


async def test_a_frame_is_decoded_once_on_its_way(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the socket to the machine: what gossip looked into before it passed the frame on is what the machine takes."""
    decoded = Counter[bytes]()

    def decode(data: bytes) -> Frame:
        decoded[data] += 1
        return decode_frame(data)

    async def pull_nothing(_links: OperatorNetwork) -> None:
        await trio.sleep_forever()

    for module in (operator_network, intake):
        monkeypatch.setattr(module, "decode_frame", decode)
    monkeypatch.setattr(OperatorNetwork, "_sync", pull_nothing)
    async with town.open(*town.people[:2]) as street:
        await street.meet(town.session(100), found=True)
        one, other = town.up.values()
        said = [(s, kind) for s in (one, other) for kind in (FrameKind.KEY, FrameKind.HASH)]

        def taken() -> bool:
            return all(station.engine.statistics().frames >= 2 for station in (one, other))

        await eventually(taken)
    assert sorted(decoded.values()) == [1] * len(said)


async def test_evidence_is_stored_with_all_that_a_check_needs(town: Town) -> None:
    """Once, with its session; whoever asks gets the bytes that convict."""
    liar, session = town.people[1], town.session(100)
    frames = tuple(
        build_frame(
            liar.key,
            kind=FrameKind.HASH,
            cluster=session.cluster,
            sender=liar.address,
            session=session.id,
            body=[bytes([number]) * 32],
        )
        for number in (1, 2)
    )
    evidence = Evidence(Fault.EQUIVOCATION, liar.address, session.id, frames)
    async with town.open(town.people[0]):
        engine = town.up[town.people[0].address].engine
        for _ in range(2):
            engine.effects.make_durable([SessionEffect(session, ReportFault(evidence))])
            assert (engine.evidence, dict(engine.accused)) == (1, {liar.address: 1})
        page = await engine.queries.evidence_page(0)
    ((_, kept),) = page.bundles
    bundle = decode_bundle(kept)
    check_bundle(bundle)
    assert bundle == Bundle(session, evidence)


async def test_an_operator_that_was_away_for_two_rotations_gets_its_share_by_rows(town: Town) -> None:
    """It knows nothing but its old version. Once it is back it holds the newest one, without a session of its own, and then rotates
    with the others; its old key lives as long as its share needed it.
    """
    away = town.people[1]
    sessions = [town.session(number) for number in (100, 110, 120, 130)]
    async with town.open() as street:
        await street.meet(sessions[0], found=True)
        first = await street.all_hold(sessions[0])
        await town.up[away.address].stop()
        for session in sessions[1:3]:
            await street.meet(session)
            shares = await street.all_hold(session)
            assert away.address not in shares
        back = await street.start(away)
        assert back.newest is not None
        assert back.newest.epoch.transcript.session == sessions[0].id
        shares = await street.all_hold(sessions[2])
        assert set(shares) == set(first)
        for others in (shares, {a: s for a, s in shares.items() if a in sorted(shares)[1:]}):
            assert secret_of(others, 3).value == secret_of(first, 3).value
        assert any(rpc_methods.ROW in s.asked for s in town.up.values())
        assert set(back.store.keys()) == {100}
        await street.connected()
        await street.meet(sessions[3])
        await street.all_hold(sessions[3])
        assert set(back.store.keys()) == {130}


async def test_an_operator_that_comes_back_in_a_session_deals_in_the_next(town: Town) -> None:
    """It sees the boundary from its old version, learns the newer one during the session, and is a member like the others."""
    away = town.people[2]
    async with town.open() as street:
        await street.meet(town.session(100), found=True)
        await street.all_hold(town.session(100))
        await town.up[away.address].stop()
        await street.meet(town.session(110))
        await street.all_hold(town.session(110))
        back = await street.start(away)
        await street.see(back, town.session(120))
        await street.connected()
        await street.meet(town.session(120), unless=[away])
        await street.all_hold(town.session(120))
        await street.meet(town.session(130))
        await street.all_hold(town.session(130))
        assert back.newest is not None
        listed = back.newest.epoch.transcript.key_of(away.address)
        assert listed is not None
        assert listed.number == 130


async def test_bodies_that_were_not_pushed_are_fetched(town: Town) -> None:
    """A push that is lost costs time, and nothing else."""
    async with town.open() as street:
        for station in town.up.values():
            station.links.pushes = False
        for number in (100, 110):
            await street.meet(town.session(number), found=number == 100)
            await street.all_hold(town.session(number))
        assert all(rpc_methods.PUSH not in s.asked for s in town.up.values())
        assert any(rpc_methods.BODY in s.asked for s in town.up.values())


async def test_a_peer_that_serves_wrong_bodies_and_rows_keeps_nobody_from_a_share(town: Town) -> None:
    """What it serves is refused by its name, and asked for elsewhere; the others serve rows only after it was asked for one.

    It deals, as of four operators one may be faulty, and one is away.
    """
    liar, away = town.people[0], town.people[3]

    def lie(request: Request, answer: bytes) -> bytes:
        return (
            answer[:-1] + bytes([answer[-1] ^ 1])
            if request.method in (rpc_methods.BODY, rpc_methods.ROW)
            else answer
        )

    async with town.open() as street:
        await street.meet(town.session(100), found=True)
        await street.all_hold(town.session(100))
        await town.up[away.address].stop()
        lying = town.up[liar.address]
        lying.mischief = lie

        def serve(request: Request, answer: bytes) -> bytes:
            if request.method == rpc_methods.ROW and rpc_methods.ROW not in lying.asked:
                raise RpcRefusal("busy", "the liar was not asked yet")
            return answer

        for station in town.up.values():
            station.links.pushes = station is lying
            if station is not lying:
                station.mischief = serve
        await street.meet(town.session(110))
        await street.all_hold(town.session(110))
        back = await street.start(away)
        await street.all_hold(town.session(110))
        assert back.engine.statistics().refused
        assert all(not s.engine.accused for s in town.up.values())


POINTS = [
    ("open_session", 1),
    ("keep_key", 1),
    ("append", 1),
    ("append", 2),
    ("append", 3),
    ("append", 4),
    ("append", 5),
    ("add_version", 1),
    ("add_version", 2),
    ("add_share", 1),
    ("erase_share", 1),
    ("erase_keys", 1),
]
"""Writes of a rotation. Steps may coincide, and then the last ones are not reached."""


GENESIS_POINTS = [
    ("open_session", 1),
    ("keep_key", 1),
    *(("append", number) for number in range(1, 8)),
    ("destroy_secrets", 1),
    ("add_version", 1),
    ("add_share", 1),
]
"""Writes of a genesis."""


async def _die(town: Town, dying: Station, session: Session) -> None:
    """Wait until an operator was killed, or came to the end of a session that has not so many writes; then it dies there."""
    await eventually(lambda: dying.ended.is_set() or dying.holds(session))
    if not dying.ended.is_set():
        await dying.stop()
    assert dying.address not in town.up


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("method", "number"), POINTS)
async def test_an_operator_that_dies_in_a_rotation_goes_on_from_its_store(
    town: Town, method: str, number: int, *, after: bool
) -> None:
    """At any of its writes, before or after it. Its next life says nothing otherwise than the one before, and holds its share of
    what the others made, in this session; then all rotate once more.
    """
    victim = town.people[2]
    async with town.open() as street:
        await street.meet(town.session(100), found=True)
        await street.all_hold(town.session(100))
        dying = town.up[victim.address]
        kill_at(dying.store, method, number, after=after)
        await street.meet(town.session(110))
        await _die(town, dying, town.session(110))
        again = await street.start(victim)
        await street.see(again, town.session(110))
        await street.all_hold(town.session(110))
        await street.connected()
        await street.meet(town.session(120))
        shares = await street.all_hold(town.session(120))
        assert len(shares) == 4


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("method", "number"),
    GENESIS_POINTS,
)
async def test_an_operator_that_dies_in_a_genesis_goes_on_from_its_store(
    town: Town, method: str, number: int, *, after: bool
) -> None:
    """At any of its writes, before or after it: the key is made all the same, of the dealings of all."""
    victim = town.people[1]
    async with town.open() as street:
        dying = town.up[victim.address]
        kill_at(dying.store, method, number, after=after)
        await street.meet(town.session(100), found=True)
        await _die(town, dying, town.session(100))
        again = await street.start(victim)
        await street.see(again, town.session(100), found=True)
        await street.all_hold(town.session(100))
        records = [r for s in town.up.values() for r in s.store.records(town.session(100).id)]
        assert not any(r.secret for r in records)
        assert again.newest is not None
        assert len(again.newest.epoch.transcript.dealers) == 4
