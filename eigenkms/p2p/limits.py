"""Every bound of the transport in one place, each with the reason for its value.

A peer that passes the operator gate is called *trusted* here. Trusted peers are few, known by name and accountable;
everybody else is a *client* and shares what is left. Times are seconds, sizes bytes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one host. The defaults serve an operator set of a hundred and a thousand clients."""

    body: int = 1 << 20
    """A request or answer between trusted peers, and an answer to anyone."""
    client_body: int = 64 << 10
    """A request from a client: an attestation document fits, a flood of memory does not."""
    gossip: int = 256 << 10
    """A gossip message; larger ones would be dropped on the way without a word."""

    in_flight: int = 32
    """Requests of one peer under way, each until its answer is written; then its streams are not read until one is."""
    held: int = 8 << 20
    client_held: int = 2 << 20
    """Bytes that these requests and their answers hold, each 8 KiB more than its body; a single one may have any size."""
    strangers: int = 96 << 20
    """Bytes that are held for all clients together: unread, under way, not yet written. Over it the client is cut off for
    which most is held. A 1024th part is a request of the largest size on a stream of its own, so no client with one is."""
    call_timeout: float = 5.0
    handler_deadline: float = 10.0
    idle_stream: float = 90.0
    """A stream without a request is closed by the side that serves it."""
    idle_session: float = 60.0
    """… and before that by the side that asks, so that no request meets a closing stream."""
    stuck_session: float = 30.0
    """An answer outstanding for so long means that the peer's session is broken: start another."""

    keepalive_interval: float = 15.0
    keepalive_timeout: float = 5.0

    negotiation: float = 5.0
    upgrade_timeout: float = 3.0
    dial_timeout: float = 5.0
    """For a dial with all of a peer's addresses."""
    dial_addresses: int = 10
    """Addresses of a peer that one dial tries: the last of them begins half way to its deadline. The next dial tries the others."""
    dials: int = 4
    """Dials that begin at once: each costs 5 ms of CPU on both sides."""
    dial_turn: float = 1.0
    """A dial that lasts longer waits, and computes nothing: the next one begins."""
    backoff_min: float = 0.25
    backoff_max: float = 30.0
    dial_grace: float = 2.0
    """How long the peer with the higher id waits for the other to dial first."""

    handshakes: int = 512
    """Inbound sockets that have not yet proven who they are, once for strangers and once more for addresses of operators. A
    newcomer pushes out the oldest."""
    handshakes_per_ip: int = 64
    """Of one prefix, as in all limits of addresses: an IPv4 address, the /64 of an IPv6 one."""
    handshake_rate: float = 40.0
    handshake_burst: float = 8.0
    """Handshakes a second that are begun, once for strangers and once more for addresses of operators: each costs up to 5 ms."""
    prefix_rate: float = 10.0
    prefix_burst: float = 32.0
    """The same for one prefix. 127.0.0.1 and ::1, which local nodes and their clients share, have what all have."""
    clients: int = 1024
    """Connections of clients. A newcomer pushes out the one that asked for nothing for the longest time."""
    clients_per_ip: int = 64
    loopback_per_ip: int = 1024
    """Both limits for 127.0.0.0/8 and ::1, where n local nodes and their clients share one address."""
    connections_per_peer: int = 4

    streams: int = 64
    client_streams: int = 8
    """Inbound streams of one connection."""
    stream_buffer: int = 2 << 20
    """Unread bytes of one stream; the advertised window never exceeds half of it."""
    connection_buffer: int = 8 << 20
    client_connection_buffer: int = 2 << 20

    client_rate: int = 4 << 20
    """Bytes a second that the connections of one prefix are read at, after a burst of as many; on this machine, those of each. A
    frame counts as 2 KiB at least, so that two thousand pings a second are as much as one address can make us answer."""

    write_deadline: float = 5.0
    write_pace: int = 32 << 10
    """Whatever is written to a stream is read by the peer within the deadline and one second more for so many bytes, 37 s for the
    largest answer; else the stream is reset."""
    write_stall: float = 10.0
    """A peer that does not read its TCP socket for so long is cut off."""
    close_timeout: float = 1.0
    """For saying goodbye to all peers at once; sockets are cut after it."""

    subscription: int = 1024
    """Gossip messages that wait for a subscriber; newer ones are dropped and counted."""
    gossip_of_one: int = 1 << 20
    """Bytes of one origin's messages that wait for a subscriber, and as many that are kept for peers that missed them."""
    gossip_queue: int = 4 << 20
    """Bytes of gossip that wait to be sent to one peer. What is dropped beyond is pulled."""
    gossip_upkeep: float = 2.0
    """How often gossip streams are checked against the gate and mended."""
