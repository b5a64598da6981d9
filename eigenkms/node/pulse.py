"""Pulse: asks every operator's peer for nothing, now and then, to know how long an answer takes and when one last came."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import trio

from eigenkms.errors import NetworkError, RefusedError
from eigenkms.node.peers import PeerBook
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols import wire
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 15.0
"""Between two questions to one peer."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at who is connected: a peer is first asked within this time."""
PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Beat:
    """``latency`` of the last answer in seconds and when it came, on trio's clock; ``failures`` in a row since."""

    latency: float | None = None
    seen_at: float | None = None
    failures: int = 0


class Pulse:
    """Of all operators that are connected and proved who they are."""

    def __init__(self, peers: PeerBook) -> None:
        self._peers = peers
        self._beats: dict[OperatorAddress, Beat] = {}
        self._asked_at: dict[PeerId, float] = {}

    def beat(self, operator: OperatorAddress) -> Beat:
        """What is known of an operator since the start."""
        return self._beats.get(operator, Beat())

    async def run(self, host: "Host") -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                known = {o.address for o in self._peers.operators}
                self._beats = {a: beat for a, beat in self._beats.items() if a in known}
                for peer in host.connected():
                    operator = self._peers.operator_of(peer)
                    if operator is None or operator not in known:
                        continue
                    if now - self._asked_at.get(peer, -PAUSE_SECONDS) >= PAUSE_SECONDS:
                        self._asked_at[peer] = now
                        nursery.start_soon(self._ask, host, peer, operator)
                self._asked_at = {p: at for p, at in self._asked_at.items() if now - at <= PAUSE_SECONDS}
                await trio.sleep(LOOK_SECONDS)

    async def _ask(self, host: "Host", peer: PeerId, operator: OperatorAddress) -> None:
        began = trio.current_time()
        try:
            await host.call(peer, wire.OPERATOR_PROTOCOL, wire.PING, b"", timeout=PATIENCE_SECONDS)
        except RefusedError:
            pass  # an answer too: of a node that does not know the question, or not yet who asks
        except NetworkError as error:
            log.debug("pulse of 0x%s: %s", operator.hex(), error)
            beat = self.beat(operator)
            self._beats[operator] = replace(beat, failures=beat.failures + 1)
            return
        now = trio.current_time()
        self._beats[operator] = Beat(now - began, now)
