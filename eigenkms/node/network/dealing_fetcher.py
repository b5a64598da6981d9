"""The dealing fetcher: it gets bodies and rows of dealings that did not arrive.

A session needs bodies; a late share is decrypted from rows. A dealer pushes a body to all members as soon as it gossips the header.
So a body is fetched only if it is still wanted after a while. Any peer may have it.

Each round asks one peer for each name, drawn at random among those that were not asked for it yet. A peer that did not have it, or
that served other bytes, is asked for it again only after all others. If a peer does not answer, another one is asked after a while.
Otherwise nothing is requested twice at the same time: on a busy machine more requests make all answers later.
"""

import logging
import random
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

import trio

from eigenkms.errors import EigenKmsError
from eigenkms.node.engine.engine import Engine, FrameSink
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.wire import rpc_methods

log = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
HEDGE_SECONDS: Final = 2.0
"""After which another peer is asked, if one has not answered."""
FREE_PLACES: Final = 4
"""Requests at the same time, and one more for each third peer, as so many may be silent."""

Want: TypeAlias = tuple[str, bytes]
"""Method and name of a dealing."""


class DealingFetcher:
    """Fetches what the engine wants. ``pause`` gives the seconds between two rounds."""

    def __init__(self, host: Host, peers: PeerBook, engine: Engine, pause: Callable[[], float]) -> None:
        self._host = host
        self._peers = peers
        self._engine = engine
        self._pause = pause
        self._asked: dict[Want, set[PeerId]] = {}
        self._asking: dict[PeerId, Want] = {}
        self._asked_at: dict[Want, float] = {}

    async def run(self, sink: FrameSink) -> None:
        """Fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._engine.wait_for_wanted()
                await trio.sleep(self._pause())
                for peer, want in self._round(trio.current_time()):
                    nursery.start_soon(self._ask, sink, peer, want)

    def _round(self, now: float) -> Iterator[tuple[PeerId, Want]]:
        """Yield the peers to ask now, each with what to ask for."""
        wanted = self._engine.wanted
        wants: list[Want] = [(rpc_methods.ROW, name) for name in wanted.rows]
        wants += [(rpc_methods.BODY, name) for name in wanted.bodies]
        self._asked = {want: self._asked.get(want, set()) for want in wants}
        self._asked_at = {want: at for want, at in self._asked_at.items() if want in self._asked}
        bound = {p for p in self._host.connected() if self._peers.operator_of(p) is not None}
        for want in wants:
            if len(self._asking) >= FREE_PLACES + len(bound) // 3:
                return
            if want in self._asking.values() and now < self._asked_at[want] + HEDGE_SECONDS:
                continue
            peer = self._next_peer(want, bound)
            if peer is not None:
                self._asking[peer], self._asked_at[want] = want, now
                yield peer, want

    def _next_peer(self, want: Want, bound: AbstractSet[PeerId]) -> PeerId | None:
        asked = self._asked[want]
        if bound <= asked:
            asked.clear()
        left = sorted(bound - asked - self._asking.keys())
        if not left:
            return None
        chosen = random.choice(left)  # noqa: S311 - spreads load, decides nothing
        asked.add(chosen)
        return chosen

    async def _ask(self, sink: FrameSink, peer: PeerId, want: Want) -> None:
        method, name = want
        operator = self._peers.operator_of(peer)
        try:
            answer = await self._host.call(
                peer, rpc_methods.OPERATOR_PROTOCOL, method, name, timeout=FETCH_SECONDS
            )
            if method == rpc_methods.ROW:
                await self._engine.take_row(sink, name, rpc_methods.decode_row(answer))
            else:
                self._engine.submit_body(operator, name, answer)
        except EigenKmsError as error:
            log.debug("%s of dealing %s from %s: %s", method, name.hex()[:16], peer, error)
        finally:
            del self._asking[peer]
