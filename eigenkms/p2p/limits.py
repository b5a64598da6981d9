"""Every bound of the transport in one place, each with the reason for its value.

A peer that passes the operator gate is called *trusted* here. Trusted peers are few, known by name and accountable. All
others are *clients* and share what is left. Times are seconds, sizes bytes. A *prefix* is an IPv4 address, or the /64 of an
IPv6 one.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """Requests and their answers."""

    body: int = 1 << 20
    """A request or answer between trusted peers, and an answer to any peer."""
    client_body: int = 64 << 10
    """A request from a client: an attestation document fits, a flood of memory does not."""
    in_flight: int = 32
    """Requests of one peer under way, each until its answer is written. At the limit its streams are not read."""
    held: int = 8 << 20
    client_held: int = 2 << 20
    """Bytes that these requests and their answers hold, each 8 KiB more than its body. A single one may have any size."""
    strangers: int = 96 << 20
    """Bytes that are held for all clients together: unread, under way, not yet written.

    Over it the client is cut off for which most is held. A 1024th part is a request of the largest size on a stream of its own,
    so no client with one is cut off.
    """
    handler_deadline: float = 10.0
    idle_stream: float = 90.0
    """A stream without a request is closed by the side that serves it after this time."""
    idle_session: float = 60.0
    """The side that requests closes it after this shorter time, so that no request meets a closing stream."""
    stuck_session: float = 30.0
    """If an answer is outstanding for longer, the peer's session is broken, and another one is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialLimits:
    """Outbound connections."""

    dial_timeout: float = 5.0
    """For a dial with all of a peer's addresses."""
    addresses: int = 10
    """Addresses of a peer that one dial tries: the last begins half way to its deadline. The next dial tries the others."""
    at_once: int = 4
    """Dials that begin at once: each costs 5 ms of CPU on both sides."""
    turn: float = 1.0
    """A dial that lasts longer waits, and computes nothing, so the next one begins."""
    backoff_min: float = 0.25
    backoff_max: float = 30.0
    grace: float = 2.0
    """How long the peer with the higher id waits for the other to dial first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeLimits:
    """Inbound sockets that are not yet authenticated.

    Strangers and addresses of operators have these limits apart.
    """

    at_once: int = 512
    """Over it a newcomer pushes out the oldest."""
    per_ip: int = 64
    """Of one prefix."""
    rate: float = 40.0
    burst: float = 8.0
    """Handshakes a second that are begun: each costs up to 5 ms."""
    prefix_rate: float = 10.0
    prefix_burst: float = 32.0
    """The same for one prefix. 127.0.0.1 and ::1, which local nodes and their clients share, have the rate of all."""
    upgrade_timeout: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Authenticated connections."""

    clients: int = 1024
    """Connections of clients. Over it a newcomer pushes out the one without a request for the longest time."""
    clients_per_ip: int = 64
    loopback_per_ip: int = 1024
    """Handshakes and clients of 127.0.0.0/8 and ::1, where n local nodes and their clients share one address."""
    per_peer: int = 4
    admission: float = 5.0
    """For the swarm to set up a connection whose peer is authenticated."""
    keepalive_interval: float = 15.0
    keepalive_timeout: float = 5.0
    write_stall: float = 10.0
    """A peer that does not read its TCP socket for so long is cut off."""
    close_timeout: float = 1.0
    """For saying goodbye to all peers at once; sockets are cut after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Streams of one connection, and their bytes."""

    at_once: int = 64
    client_at_once: int = 8
    """Inbound streams."""
    negotiation: float = 5.0
    buffer: int = 2 << 20
    """Unread bytes of one stream; the advertised window never exceeds half of it."""
    connection_buffer: int = 8 << 20
    client_connection_buffer: int = 2 << 20
    client_rate: int = 4 << 20
    """Bytes a second at which the connections of one prefix are read, after a burst of as many; on this machine, each connection.

    A frame counts as 2 KiB at least, so two thousand pings a second are as much as one address can make this host answer.
    """
    write_deadline: float = 5.0
    write_pace: int = 32 << 10
    """Bytes that are written to a stream must be read within the deadline and one second more for so many bytes.

    That is 37 s for the largest answer. Otherwise the stream is reset.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipLimits:
    """Gossip messages."""

    message: int = 256 << 10
    """Bytes of one message; larger ones would be dropped on the way in silence."""
    subscription: int = 1024
    """Messages that wait for a subscriber; newer ones are dropped and counted."""
    of_one: int = 1 << 20
    """Bytes of one origin's messages that wait for a subscriber, and as many that are kept for peers that missed them."""
    queue: int = 4 << 20
    """Bytes that wait to be sent to one peer. A message that is dropped over it is pulled."""
    upkeep: float = 2.0
    """How often gossip streams are checked against the gate and repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one host.

    The defaults serve an operator set of a hundred and a thousand clients.
    """

    rpc: RpcLimits = field(default_factory=RpcLimits)
    dialing: DialLimits = field(default_factory=DialLimits)
    handshakes: HandshakeLimits = field(default_factory=HandshakeLimits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    streams: StreamLimits = field(default_factory=StreamLimits)
    gossip: GossipLimits = field(default_factory=GossipLimits)
