"""The pulse: how long an operator's answer takes, and when one last came."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from eigenkms.node.peers import PeerBook
from eigenkms.node.pulse import LOOK_SECONDS, PATIENCE_SECONDS, PAUSE_SECONDS, Beat, Pulse
from eigenkms.p2p.errors import CallTimeout, RpcRefused
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire
from tests.client.village import CLUSTER, Village
from tests.support.waiting import pace, pass_time

HERE = "/ip4/127.0.0.1/tcp/9001"


class Callee:
    """A host that is connected to the village; each peer takes its time, refuses or stays silent."""

    def __init__(self, village: Village, *seconds: float | None) -> None:
        self.takes = dict(zip((o.peer.peer_id for o in village.operators), seconds, strict=True))
        self.refuses: set[PeerId] = set()
        self.asked: list[PeerId] = []

    def connected(self) -> frozenset[PeerId]:
        return frozenset(self.takes)

    async def call(self, peer: PeerId, protocol: str, method: str, body: bytes, **kwargs: Any) -> bytes:
        assert (protocol, method, body) == (wire.OPERATOR_PROTOCOL, wire.PING, b"")
        self.asked.append(peer)
        seconds = self.takes[peer]
        await pace(kwargs["timeout"] if seconds is None else seconds)
        if seconds is None:
            raise CallTimeout("call ping: no answer")
        if peer in self.refuses:
            raise RpcRefused("unknown-method", "this node does not know that method")
        return b""


@pytest.fixture
def book(village: Village) -> PeerBook:
    """All but the last operator have proven who they are."""
    me = village.operators[0]
    book = PeerBook(CLUSTER, me.address, me.peer.peer_id)
    book.update(village.chain.operators)
    for operator in village.operators[1:3]:
        frame = operator.record([HERE])
        record = book.screen(frame, 1)
        assert record is not None
        book.accept(record, frame)
        book.prove(operator.peer.peer_id, frame)
    return book


@pytest.mark.slow
async def test_whoever_has_proven_itself_is_asked_now_and_then(
    village: Village, book: PeerBook, virtual_clock: MockClock
) -> None:
    """A refusal is an answer too; silence is counted and the last answer remembered; nobody else is asked."""
    pulse, host = Pulse(book), Callee(village, 0.0, 0.25, 0.5, 0.0)
    quick, slow = village.operators[1:3]
    host.refuses.add(slow.peer.peer_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run, host)
        began = trio.current_time()
        await pass_time(1)
        assert pulse.beat(quick.address) == Beat(pytest.approx(0.25), pytest.approx(began + 0.25))
        assert pulse.beat(slow.address) == Beat(pytest.approx(0.5), pytest.approx(began + 0.5))
        assert pulse.beat(village.operators[3].address) == Beat()
        host.takes[quick.peer.peer_id] = None
        await pass_time(PAUSE_SECONDS + PATIENCE_SECONDS + 1)
        assert pulse.beat(quick.address) == Beat(pytest.approx(0.25), pytest.approx(began + 0.25), failures=1)
        assert sorted(host.asked) == sorted([quick.peer.peer_id, slow.peer.peer_id] * 2)
        host.takes[quick.peer.peer_id] = 0.125
        await pass_time(PAUSE_SECONDS)
        assert pulse.beat(quick.address).failures == 0
        assert pulse.beat(quick.address).latency == pytest.approx(0.125)
        book.update(village.chain.operators[2:])
        await pass_time(LOOK_SECONDS * 1.5)
        assert pulse.beat(quick.address) == Beat()
        nursery.cancel_scope.cancel()
