"""Who says nothing holds nobody up: others are asked for what is lacking, and for frames."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import MockClock

from eigenkms.crypto.hashing import keccak256
from eigenkms.node.engine.step_runner import WantedDealings
from eigenkms.node.network.dealing_fetcher import FREE_PLACES, HEDGE_SECONDS, DealingFetcher
from eigenkms.node.network.operator_network import OperatorNetwork
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.types import OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import sync_body
from tests.protocols.support import CLUSTER, cast
from tests.support.nodes import Nowhere
from tests.support.waiting import pass_time

NAMES = [keccak256(b"%d" % number) for number in range(3 * FREE_PLACES)]
PEERS = [PeerKey.generate().peer_id for _ in range(4)]
SILENT = PEERS[0]


@dataclass
class SomeSilent:
    """A host whose ``silent`` peers take every call and never answer. The engine and peer book of the same tests, too."""

    wanted: WantedDealings = field(default_factory=lambda: WantedDealings((), ()))
    live: bool = True
    silent: set[PeerId] = field(default_factory=lambda: {SILENT})
    calls: list[tuple[PeerId, str, bytes]] = field(default_factory=list)
    offered: set[bytes] = field(default_factory=set)

    def connected(self) -> set[PeerId]:
        return set(PEERS)

    def operator_of(self, peer: PeerId) -> OperatorAddress:
        return OperatorAddress(bytes([PEERS.index(peer)]) * 20)

    async def call(self, peer: PeerId, _protocol: str, method: str, body: bytes, **_deadline: float) -> bytes:
        self.calls.append((peer, method, body))
        if peer in self.silent:
            await trio.sleep_forever()
        return rpc_methods.encode_frames([]) if method == rpc_methods.SYNC else body

    @property
    def queries(self) -> "SomeSilent":
        return self

    async def wait_for_wanted(self) -> WantedDealings:
        return self.wanted

    def submit_body(self, _origin_of: object, name: bytes, _body: bytes) -> None:
        self.offered.add(name)
        self.wanted = WantedDealings(tuple(n for n in self.wanted.bodies if n != name), ())

    async def sync_requests(self) -> Iterable[Frame]:
        return [cast(4).frame(cast(4).addresses[0], FrameKind.SYNC, sync_body([]))]

    def of(self, peer: PeerId) -> int:
        return sum(asked == peer for asked, *_ in self.calls)


async def test_bodies_are_fetched_from_others_than_a_silent_peer(autojump_clock: MockClock) -> None:
    """It is left with one request, and what it was asked for is asked for elsewhere after a while."""
    world: Any = SomeSilent(WantedDealings(tuple(NAMES), ()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(DealingFetcher(world, world, world, lambda: 1.0).run, Nowhere())
        await pass_time(len(NAMES) + HEDGE_SECONDS)
        nursery.cancel_scope.cancel()
    assert world.offered == set(NAMES)
    assert world.of(SILENT) == 1


async def test_on_a_busy_machine_nothing_is_asked_for_twice_at_once(autojump_clock: MockClock) -> None:
    """All are silent: a few requests are on their way, one a peer, for different dealings."""
    world: Any = SomeSilent(WantedDealings(tuple(NAMES), ()), silent=set(PEERS))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(DealingFetcher(world, world, world, lambda: 0.1).run, Nowhere())
        await pass_time(HEDGE_SECONDS - 0.1)
        nursery.cancel_scope.cancel()
    assert sorted(peer for peer, *_ in world.calls) == sorted(PEERS)
    assert len({name for *_, name in world.calls}) == len(PEERS)


async def test_frames_are_pulled_from_others_than_a_silent_peer(autojump_clock: MockClock) -> None:
    """It is asked once, until it answers."""
    world: Any = SomeSilent()
    links = OperatorNetwork(world, world, world, world, CLUSTER, window=1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links._sync)
        await pass_time(12)
        nursery.cancel_scope.cancel()
    assert world.of(SILENT) == 1
    assert all(world.of(peer) > 5 for peer in PEERS[1:])
