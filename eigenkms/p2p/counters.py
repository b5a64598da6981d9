"""The counters behind ``Host.statistics()``; every part of the host counts here."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Each counter is described where it is published, in ``types.Statistics``."""

    accepted: int = 0
    refused_handshakes: int = 0
    handshakes_begun: int = 0
    evicted: int = 0
    dials: int = 0
    failed_dials: int = 0
    lost_connections: int = 0
    requests_served: int = 0
    requests_refused: int = 0
    handler_errors: int = 0
    bad_frames: int = 0
    bad_streams: int = 0
    gated_streams: int = 0
    gossip_received: int = 0
    gossip_published: int = 0
    gossip_dropped: int = 0
    gossip_refused: int = 0
