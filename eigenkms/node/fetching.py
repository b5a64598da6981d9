"""Fetching what of dealings did not come by itself: bodies that a session needs, and rows from which a late share is decrypted.

A body is pushed by its dealer to all members as soon as its header is gossiped, so it is fetched only if it is still wanted after a
while. Anybody may have it. Each round asks for each name at one peer, drawn at random among those that were not asked for it yet; a
peer that has it not, or served other bytes, is not asked for it again before all were. No round waits for the answers of another:
a peer that says nothing is left with a few requests, and the others are asked meanwhile.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import trio

from eigenkms.errors import EigenKmsError
from eigenkms.node.engine import Engine, Outlet
from eigenkms.node.peers import PeerBook
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire

log = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
MAX_OF_ONE: Final = 4
"""Requests that one peer has at once; a body of 256 operators has 206 kB."""

Want: TypeAlias = tuple[str, bytes]
"""Method and name of a dealing."""


class Fetcher:
    """``pause`` gives the seconds between two rounds."""

    def __init__(self, host: Host, peers: PeerBook, engine: Engine, pause: Callable[[], float]) -> None:
        self._host = host
        self._peers = peers
        self._engine = engine
        self._pause = pause
        self._asked: dict[Want, set[PeerId]] = {}
        self._asking: Counter[PeerId] = Counter()

    async def run(self, outlet: Outlet) -> None:
        """Fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._engine.wants()
                await trio.sleep(self._pause())
                for peer, want in self._round():
                    self._asking[peer] += 1
                    nursery.start_soon(self._ask, outlet, peer, want)

    def _round(self) -> Iterator[tuple[PeerId, Want]]:
        """Whom to ask for what now."""
        wanted = self._engine.wanted
        wants: list[Want] = [(wire.ROW, name) for name in wanted.rows]
        wants += [(wire.BODY, name) for name in wanted.bodies]
        self._asked = {want: self._asked.get(want, set()) for want in wants}
        for want in wants:
            peer = self._next_peer(want)
            if peer is not None:
                yield peer, want

    def _next_peer(self, want: Want) -> PeerId | None:
        bound = {p for p in self._host.connected() if self._peers.operator_of(p) is not None}
        asked = self._asked[want]
        if bound <= asked:
            asked.clear()
        left = [peer for peer in sorted(bound - asked) if self._asking[peer] < MAX_OF_ONE]
        if not left:
            return None
        chosen = random.choice(left)  # noqa: S311 - spreads load, decides nothing
        asked.add(chosen)
        return chosen

    async def _ask(self, outlet: Outlet, peer: PeerId, want: Want) -> None:
        method, name = want
        operator = self._peers.operator_of(peer)
        try:
            answer = await self._host.call(peer, wire.OPERATOR_PROTOCOL, method, name, timeout=FETCH_SECONDS)
            if method == wire.ROW:
                await self._engine.take_row(outlet, name, wire.decode_row(answer))
            else:
                self._engine.offer_body(operator, name, answer)
        except EigenKmsError as error:
            log.debug("%s of dealing %s from %s: %s", method, name.hex()[:16], peer, error)
        finally:
            self._asking[peer] -= 1
