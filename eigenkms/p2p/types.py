"""Types of the interface between this layer and those above it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from eigenkms.p2p.identity import PeerId

GOSSIP = "/meshsub/1.1.0"
"""The protocol that the gate is asked about for gossip; a peer that passes it is *trusted* (an operator)."""

Gate = Callable[[PeerId, str], bool]
"""A check whether a peer may use a protocol. It is called for each inbound stream, request and message, so it must be cheap. Its
answer may change at any time. A gate that raises refuses."""

Validator = Callable[[PeerId, bytes], object]
"""A check of a gossip message by its origin. It returns a true value if the message is worth keeping and passing on. The value goes
with the message, so that nobody decodes it again. The checks are cheap (size, sender, round, rate), as they run on the event loop.
A refusal is not remembered. A validator that raises refuses."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a handler sees it.

    ``peer`` is authenticated, ``body`` is not looked at by this layer.

    ``address`` is the IP address that the connection comes from, "" if it is gone or the request came through none.
    """

    peer: PeerId
    method: str
    body: bytes
    address: str = ""

    def __repr__(self) -> str:
        return f"<Request {self.method} of {self.peer}, {len(self.body)} bytes>"


Handler = Callable[[Request], Awaitable[bytes]]
"""Answers a request. Raises RpcRefusal to refuse it; any other exception is logged and answered as ``internal``."""


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """A message of a topic.

    ``origin`` signed it, ``forwarder`` (maybe the same peer) handed it to us.
    """

    origin: PeerId
    forwarder: PeerId
    data: bytes
    content: object = field(default=None, compare=False)
    """The result of the topic's validator for ``data``."""

    def __repr__(self) -> str:
        return f"<GossipMessage of {self.origin}, {len(self.data)} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipStatistics:
    """Gossip peers of now, and messages since the host was opened."""

    peers: int
    """Peers to which gossip can be sent."""
    received: int
    published: int
    dropped: int
    """Messages that no subscriber took in time."""
    refused: int
    """Messages that a validator refused."""
    errors: int
    """Messages that were malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Connections and requests of now, and counters since the host was opened."""

    connected: int
    """Peers with a connection."""
    clients: int
    """Inbound connections of peers that are not trusted."""
    handshakes: int
    """Inbound sockets that are not yet authenticated."""
    accepted: int
    """Inbound sockets, ever."""
    refused_handshakes: int
    """Inbound sockets that did not become a connection."""
    handshakes_begun: int
    """Inbound sockets whose handshake was computed, at least in part."""
    evicted: int
    """Connections and handshakes that made room for newer ones."""
    held_for_strangers: int
    """Bytes that are held for all clients: unread, under way, not yet written. At most ``Limits.rpc.strangers``."""
    cut_strangers: int
    """Connections of clients that were cut off because of that limit."""
    dials: int
    failed_dials: int
    lost_connections: int
    requests_served: int
    requests_refused: int
    handler_errors: int
    bad_frames: int
    """Streams reset because of a malformed or oversize frame."""
    bad_streams: int
    """Inbound streams that ended with an error of the peer, bad frames among them."""
    gated_streams: int
    """Inbound streams that the gate refused."""
    gossip: GossipStatistics
