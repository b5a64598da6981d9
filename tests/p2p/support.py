"""What the transport's tests share: keys, an echo handler, and introductions."""

from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerKey

ANYWHERE = "/ip4/127.0.0.1/tcp/0"
ECHO = "/test/echo/1"
TOPIC = "test/topic"
LATER = 5.0
"""Seconds that something may take that is expected at once, on a busy machine."""


def keys(n: int) -> list[PeerKey]:
    """n keys in the order of their peer ids: the first dials."""
    return sorted((PeerKey.generate() for _ in range(n)), key=lambda key: key.peer_id)


async def echo(request: Request) -> bytes:
    """Answers with what it was asked."""
    return request.body


def introduce(host: Host, *others: Host) -> None:
    """Tell ``host`` where the others are."""
    for other in others:
        host.set_addresses(other.peer_id, [str(each) for each in other.addresses])


async def link(*hosts: Host) -> None:
    """Connect all with all, and wait until they are."""
    for host in hosts:
        others = [other for other in hosts if other is not host]
        introduce(host, *(other for other in others if other.addresses))
        host.keep_connected({other.peer_id for other in others})
    for host in hosts:
        for other in hosts:
            if other is not host:
                await host.wait_connected(other.peer_id, LATER)
