"""Pulse: asks every operator's peer for nothing, now and then, to know how long an answer takes and when one last came."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import trio

from eigenkms.errors import NetworkError, RefusedError
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId
from eigenkms.protocols.wire import rpc_methods
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 15.0
"""Between two questions to one peer."""
OLD_PROTOCOL: Final = "/eigenkms/operator/1"
"""What operators answer that run an earlier release."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at who is connected: a peer is first asked within this time."""
PATIENCE_SECONDS: Final = 5.0
GRACE_ROUND_TRIPS: Final = 0.5
"""One message delay: who began at the same time on a link of twice the latency is not left out."""
MIN_GRACE, MAX_GRACE = 0.1, 2.0


@dataclass(frozen=True)
class PingResult:
    """``latency`` of the last answer in seconds and when it came, on trio's clock; ``failures`` in a row since."""

    latency: float | None = None
    seen_at: float | None = None
    failures: int = 0


class PeerPinger:
    """Of all operators that are connected and proved who they are."""

    def __init__(self, peers: PeerBook) -> None:
        self._peers = peers
        self._beats: dict[OperatorAddress, PingResult] = {}
        self._asked_at: dict[PeerId, float] = {}
        self._old: frozenset[OperatorAddress] = frozenset()

    def beat(self, operator: OperatorAddress) -> PingResult:
        """What is known of an operator since the start."""
        return self._beats.get(operator, PingResult())

    @property
    def outdated(self) -> tuple[OperatorAddress, ...]:
        """Operators that speak protocol 1 alone."""
        return tuple(sorted(self._old))

    def grace(self) -> float:
        """Seconds in which a session waits for those that may be late, by how long the slowest one that answers takes."""
        slowest = max(
            (b.latency for b in self._beats.values() if b.latency is not None and not b.failures), default=0.0
        )
        return min(max(GRACE_ROUND_TRIPS * slowest, MIN_GRACE), MAX_GRACE)

    async def run(self, host: "Host") -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                known = {o.address for o in self._peers.operators}
                self._beats = {a: beat for a, beat in self._beats.items() if a in known}
                self._old &= known
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
            await host.call(
                peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.PING, b"", timeout=PATIENCE_SECONDS
            )
        except RefusedError:
            pass  # an answer too: of a node that does not know the question, or not yet who asks
        except NetworkError as error:
            log.debug("pulse of 0x%s: %s", operator.hex(), error)
            beat = self.beat(operator)
            self._beats[operator] = replace(beat, failures=beat.failures + 1)
            if isinstance(error, PeerUnreachable) and peer in host.connected():
                await self._ask_for_old(host, peer, operator)
            return
        now = trio.current_time()
        self._beats[operator] = PingResult(now - began, now)
        self._old -= {operator}

    async def _ask_for_old(self, host: "Host", peer: PeerId, operator: OperatorAddress) -> None:
        """Find out whether an operator that does not speak this protocol speaks the one before, and say so once."""
        try:
            await host.call(peer, OLD_PROTOCOL, rpc_methods.PING, b"", timeout=PATIENCE_SECONDS)
        except RefusedError:
            pass  # an answer too
        except NetworkError as error:
            log.debug("protocol 1 of 0x%s: %s", operator.hex(), error)
            return
        if operator not in self._old:
            self._old |= {operator}
            log.warning(
                "operator 0x%s runs an earlier release: it takes part in no rotation of this one until it upgrades",
                operator.hex(),
                extra={"fields": {"event": "outdated", "operator": "0x" + operator.hex()}},
            )
