"""Pings: empty requests to every operator's peer, to measure its latency.

The latencies decide how long a session waits for late operators (``grace``), and the status page shows them.
"""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import trio

from eigenkms.errors import NetworkError, RefusedError
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.errors import PeerUnreachable
from eigenkms.p2p.identity import PeerId
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire import rpc_methods

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 15.0
"""Between two pings of one peer."""
OLD_PROTOCOL: Final = "/eigenkms/operator/1"
"""The protocol of operators that run an earlier release."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at the connected peers: a peer is first pinged within this time."""
PING_SECONDS: Final = 5.0
"""After which a ping without an answer has failed."""
GRACE_ROUND_TRIPS: Final = 0.5
"""One message delay: an operator that begins at the same time on the slowest link is not left out."""
MIN_GRACE, MAX_GRACE = 0.1, 2.0


@dataclass(frozen=True)
class PingResult:
    """The last answer of an operator.

    ``latency`` is in seconds, ``seen_at`` on trio's clock. ``failures`` are those in a row since.
    """

    latency: float | None = None
    seen_at: float | None = None
    failures: int = 0


class PeerPinger:
    """Pings all operators that are connected and authenticated."""

    def __init__(self, peers: PeerBook) -> None:
        self._peers = peers
        self._results: dict[OperatorAddress, PingResult] = {}
        self._pinged_at: dict[PeerId, float] = {}
        self._outdated: frozenset[OperatorAddress] = frozenset()

    def result_of(self, operator: OperatorAddress) -> PingResult:
        """Return the last result of an operator, an empty one before its first."""
        return self._results.get(operator, PingResult())

    @property
    def outdated(self) -> tuple[OperatorAddress, ...]:
        """Operators that speak only protocol 1, ascending."""
        return tuple(sorted(self._outdated))

    def grace(self) -> float:
        """Return the seconds that a session waits for late operators.

        It is one message delay of the slowest operator that answers.
        """
        slowest = max(
            (b.latency for b in self._results.values() if b.latency is not None and not b.failures),
            default=0.0,
        )
        return min(max(GRACE_ROUND_TRIPS * slowest, MIN_GRACE), MAX_GRACE)

    async def run(self, host: "Host") -> None:
        """Ping until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                known = {o.address for o in self._peers.operators}
                self._results = {a: result for a, result in self._results.items() if a in known}
                self._outdated &= known
                for peer in host.connected():
                    operator = self._peers.operator_of(peer)
                    if operator is None or operator not in known:
                        continue
                    if now - self._pinged_at.get(peer, -PAUSE_SECONDS) >= PAUSE_SECONDS:
                        self._pinged_at[peer] = now
                        nursery.start_soon(self._ping, host, peer, operator)
                self._pinged_at = {p: at for p, at in self._pinged_at.items() if now - at <= PAUSE_SECONDS}
                await trio.sleep(LOOK_SECONDS)

    async def _ping(self, host: "Host", peer: PeerId, operator: OperatorAddress) -> None:
        began = trio.current_time()
        try:
            await host.call(peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.PING, b"", timeout=PING_SECONDS)
        except RefusedError:
            pass  # a refusal is an answer too: the node does not know the method, or not yet this peer
        except NetworkError as error:
            log.debug("pulse of %s: %s", to_hex(operator), error)
            result = self.result_of(operator)
            self._results[operator] = replace(result, failures=result.failures + 1)
            if isinstance(error, PeerUnreachable) and peer in host.connected():
                await self._ping_with_protocol_1(host, peer, operator)
            return
        now = trio.current_time()
        self._results[operator] = PingResult(now - began, now)
        self._outdated -= {operator}

    async def _ping_with_protocol_1(self, host: "Host", peer: PeerId, operator: OperatorAddress) -> None:
        """Ping by the protocol before this one; warn once if the operator answers."""
        try:
            await host.call(peer, OLD_PROTOCOL, rpc_methods.PING, b"", timeout=PING_SECONDS)
        except RefusedError:
            pass  # a refusal is an answer too
        except NetworkError as error:
            log.debug("protocol 1 of %s: %s", to_hex(operator), error)
            return
        if operator not in self._outdated:
            self._outdated |= {operator}
            log.warning(
                "operator %s runs an earlier release: it takes part in no rotation of this one until it upgrades",
                to_hex(operator),
                extra={"fields": {"event": "outdated", "operator": to_hex(operator)}},
            )
