"""Fetching what of dealings did not come by itself: bodies that a session needs, and rows from which a late share is decrypted.

A body is pushed by its dealer to all members as soon as its header is gossiped, so it is fetched only if it is still wanted after a
while. Anybody may have it. Each round asks for each name at one peer, drawn at random among those that were not asked for it yet; a
peer that has it not, or served other bytes, is not asked for it again before all were.
"""

import logging
import random
from collections.abc import Callable
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
MAX_AT_ONCE: Final = 8

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

    async def run(self, outlet: Outlet) -> None:
        """Fetch until cancelled."""
        while True:
            await self._engine.wants()
            await trio.sleep(self._pause())
            await self._fetch(outlet)

    async def _fetch(self, outlet: Outlet) -> None:
        """One round."""
        wanted = self._engine.wanted
        wants: list[Want] = [(wire.ROW, name) for name in wanted.rows]
        wants += [(wire.BODY, name) for name in wanted.bodies]
        self._asked = {want: self._asked.get(want, set()) for want in wants}
        places = trio.Semaphore(MAX_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for want in wants:
                peer = self._next_peer(want)
                if peer is not None:
                    await places.acquire()
                    nursery.start_soon(self._ask, outlet, peer, want, places)

    def _next_peer(self, want: Want) -> PeerId | None:
        bound = {p for p in self._host.connected() if self._peers.operator_of(p) is not None}
        asked = self._asked[want]
        if bound <= asked:
            asked.clear()
        left = sorted(bound - asked)
        if not left:
            return None
        chosen = random.choice(left)  # noqa: S311 - spreads load, decides nothing
        asked.add(chosen)
        return chosen

    async def _ask(self, outlet: Outlet, peer: PeerId, want: Want, places: trio.Semaphore) -> None:
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
            places.release()
