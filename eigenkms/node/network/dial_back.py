"""Dial-back: test whether an operator can be reached (docs/protocol.md, Reach).

A dial could be abused. So it goes to the socket on chain alone, and for members alone. There are ``MAX_DIALS`` at a time, and one
for each member in ``PAUSE_SECONDS``. So a member whose socket is a black hole keeps no other from its answer.

A member could still write an address of another network on chain, and read from the answers what listens there. So a node whose own
socket is a public address dials no private one (``connector``), and a node without a socket dials public ones alone.
"""

import time
from typing import TYPE_CHECKING, Final

from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.signature_checks import Caller, SignatureChecks
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerAddress
from eigenkms.p2p.types import Request
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire.dial_back import VALID_MS, ReachAnswer, read_reach_request
from eigenkms.wire.frames import decode_frame

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

PAUSE_SECONDS: Final = 2.0
DIAL_SECONDS: Final = 4.0
MAX_DIALS: Final = 4


class DialBackService:
    """Answers the ``reach`` requests that come to one node, by dials from ``host``."""

    def __init__(
        self,
        cluster: ClusterId,
        me: OperatorAddress,
        peers: PeerBook,
        checks: SignatureChecks,
        host: "Host",
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._peers = peers
        self._checks = checks
        self._served: dict[OperatorAddress, tuple[int, float]] = {}
        """Of each member that asked: the time that its last request names, and when that came by our own clock."""
        self._dialling: set[OperatorAddress] = set()
        self._host = host

    async def answer(self, request: Request) -> bytes:
        """Dial the sender of a request, and return the outcome.

        Raises ``RpcRefusal``, and ``RemoteProtocolError`` if no operator of the set signed the request.
        """
        frame = decode_frame(request.body)
        asked_ms = read_reach_request(frame, cluster=self._cluster, me=self._me)
        asker = frame.sender
        if not self._peers.is_member(asker) or asker == self._me:
            raise RpcRefusal("not-a-member", "the asker is no operator of the set at the newest boundary")
        self._check_time(asked_ms)
        self._check_turn(asker, asked_ms)
        await self._checks.check(frame, Caller.of(request))
        self._check_turn(asker, asked_ms)
        socket = self._peers.socket_of(asker)
        if socket is None:
            raise RpcRefusal("no-address", "the asker's socket on chain is no address")
        self._served = {a: s for a, s in self._served.items() if self._peers.is_member(a)}
        self._served[asker] = (asked_ms, time.monotonic())
        return (await self._dial(asker, socket)).encoded

    def _check_time(self, asked_ms: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        if abs(now_ms - asked_ms) > VALID_MS:
            raise RpcRefusal(
                "wrong-time", f"the request is {abs(now_ms - asked_ms) // 1000} s off this operator's clock"
            )

    def _check_turn(self, asker: OperatorAddress, asked_ms: int) -> None:
        last_ms, at = self._served.get(asker, (-1, -PAUSE_SECONDS))
        if asked_ms <= last_ms:
            raise RpcRefusal("replayed", "a request of that time or later was answered already")
        is_full = asker in self._dialling or len(self._dialling) >= MAX_DIALS
        if is_full or time.monotonic() - at < PAUSE_SECONDS:
            raise RpcRefusal("busy", f"few dials at a time, and one in {PAUSE_SECONDS:g} s for each operator")

    async def _dial(self, asker: OperatorAddress, socket: PeerAddress) -> ReachAnswer:
        self._dialling.add(asker)
        try:
            outcome = await self._host.probe(
                socket.peer_id, socket.transport, timeout=DIAL_SECONDS, public_only=self._peers.home is None
            )
        finally:
            self._dialling.discard(asker)
        return ReachAnswer(str(socket), outcome)
