"""The pulse: how long an operator's answer takes, and when one last came."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from eigenkms.node.network import ping as pulse_module
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.ping import (
    LOOK_SECONDS,
    MAX_GRACE,
    MIN_GRACE,
    OLD_PROTOCOL,
    PAUSE_SECONDS,
    PING_SECONDS,
    PeerPinger,
    PingResult,
)
from eigenkms.p2p.errors import CallRefusedError, CallTimeout
from eigenkms.p2p.host import Request
from eigenkms.p2p.identity import PeerId
from eigenkms.wire import rpc_methods
from tests.support.fake_network import ANYWHERE, CLUSTER, FakeNetwork
from tests.support.hosts import patient_host
from tests.support.log_events import events
from tests.support.waiting import eventually, pace, pass_time

HERE = "/ip4/127.0.0.1/tcp/9001"


class Callee:
    """A host that is connected to the network; each peer takes its time, refuses or stays silent."""

    def __init__(self, network: FakeNetwork, *seconds: float | None) -> None:
        self.takes = dict(zip((o.peer.peer_id for o in network.operators), seconds, strict=True))
        self.refuses: set[PeerId] = set()
        self.asked: list[PeerId] = []

    def connected(self) -> frozenset[PeerId]:
        return frozenset(self.takes)

    async def call(self, peer: PeerId, protocol: str, method: str, body: bytes, **kwargs: Any) -> bytes:
        assert (protocol, method, body) == (rpc_methods.OPERATOR_PROTOCOL, rpc_methods.PING, b"")
        self.asked.append(peer)
        seconds = self.takes[peer]
        await pace(kwargs["timeout"] if seconds is None else seconds)
        if seconds is None:
            raise CallTimeout("call ping: no answer")
        if peer in self.refuses:
            raise CallRefusedError("unknown-method", "this node does not know that method")
        return b""


@pytest.fixture
def peer_book(network: FakeNetwork) -> PeerBook:
    """All but the last operator have proven who they are."""
    me = network.operators[0]
    peer_book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
    peer_book.update(network.chain.operators)
    for operator in network.operators[1:3]:
        frame = operator.record([HERE])
        record = peer_book.check_fresh(frame, 1)
        assert record is not None
        peer_book.accept(record, frame)
        peer_book.mark_authenticated(operator.peer.peer_id, frame)
    return peer_book


@pytest.mark.slow
async def test_whoever_has_proven_itself_is_asked_now_and_then(
    network: FakeNetwork, peer_book: PeerBook, virtual_clock: MockClock
) -> None:
    """A refusal is an answer too; silence is counted and the last answer remembered; nobody else is asked."""
    pulse, host = PeerPinger(peer_book), Callee(network, 0.0, 0.25, 0.5, 0.0)
    quick, slow = network.operators[1:3]
    host.refuses.add(slow.peer.peer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run, host)
        began = trio.current_time()
        await pass_time(1)
        assert pulse.result_of(quick.address) == PingResult(pytest.approx(0.25), pytest.approx(began + 0.25))
        assert pulse.result_of(slow.address) == PingResult(pytest.approx(0.5), pytest.approx(began + 0.5))
        assert pulse.result_of(network.operators[3].address) == PingResult()
        host.takes[quick.peer.peer_id] = None
        await pass_time(PAUSE_SECONDS + PING_SECONDS + 1)
        assert pulse.result_of(quick.address) == PingResult(
            pytest.approx(0.25), pytest.approx(began + 0.25), failures=1
        )
        assert sorted(host.asked) == sorted([quick.peer.peer_id, slow.peer.peer_id] * 2)
        host.takes[quick.peer.peer_id] = 0.125
        await pass_time(PAUSE_SECONDS)
        assert pulse.result_of(quick.address).failures == 0
        assert pulse.result_of(quick.address).latency == pytest.approx(0.125)
        peer_book.update(network.chain.operators[2:])
        await pass_time(LOOK_SECONDS * 1.5)
        assert pulse.result_of(quick.address) == PingResult()
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_session_waits_for_the_slowest_operator_that_answers(
    network: FakeNetwork, peer_book: PeerBook, virtual_clock: MockClock
) -> None:
    """One message delay is half of its round trip. It is at least some, at most some, and goes by nobody that is silent."""
    pulse, host = PeerPinger(peer_book), Callee(network, 0.0, 0.25, 1.0, 0.0)
    quick, slow = (operator.peer.peer_id for operator in network.operators[1:3])
    assert pulse.grace() == MIN_GRACE, "nobody has answered yet"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run, host)
        await pass_time(2)
        assert pulse.grace() == pytest.approx(0.5)
        for seconds, grace in ((None, 0.125), (2 * MAX_GRACE + 0.5, MAX_GRACE), (0.01, 0.125)):
            host.takes[slow] = seconds
            await pass_time(PAUSE_SECONDS + PING_SECONDS + 1)
            assert pulse.grace() == pytest.approx(grace)
        host.takes[quick] = 0.01
        await pass_time(PAUSE_SECONDS + 1)
        assert pulse.grace() == MIN_GRACE
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_an_operator_of_an_earlier_release_is_named_until_it_upgrades(
    network: FakeNetwork,
    peer_book: PeerBook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It answers the protocol before this one alone, over libp2p; that is said once. Silence is no such answer."""
    monkeypatch.setattr(pulse_module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(pulse_module, "LOOK_SECONDS", 0.05)
    me, operator, mute = network.operators[:3]
    pulse = PeerPinger(peer_book)

    async def answer(_request: Request) -> bytes:
        return b""

    async with (
        patient_host(me.peer) as host,
        patient_host(operator.peer, listen=[ANYWHERE]) as other,
        patient_host(mute.peer, listen=[ANYWHERE]) as stranger,
        trio.open_nursery() as nursery,
    ):
        other.serve(OLD_PROTOCOL, answer)
        for each in (other, stranger):
            host.set_addresses(each.peer_id, [a.multiaddr for a in each.addresses])
        host.keep_connected({other.peer_id, stranger.peer_id})
        nursery.start_soon(pulse.run, host)
        await eventually(lambda: pulse.outdated == (operator.address,))
        await eventually(lambda: pulse.result_of(mute.address).failures > 2)
        assert pulse.outdated == (operator.address,)
        other.serve(rpc_methods.OPERATOR_PROTOCOL, answer)
        await eventually(
            lambda: pulse.outdated == () and pulse.result_of(operator.address).latency is not None
        )
        nursery.cancel_scope.cancel()
    (outdated,) = events(caplog, "outdated")
    assert outdated["operator"] == "0x" + operator.address.hex()
