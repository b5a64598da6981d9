"""The handshake from a TCP socket to an authenticated, muxed connection.

It replaces the swarm's own dialling and accepting, which have the defects P2, P6 and P7. The swarm also waits 250 ms before each
dial, and reports a failed bind to nobody. It listens with SO_REUSEPORT, so two processes share a port, and each gets half of the
connections. The steps themselves are sound and few: multistream-select, noise, multistream-select, yamux. ``secure`` takes only
these.
"""

from typing import Any

import trio
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_x25519
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise

from eigenkms.p2p.hardening.bounded_io import MeteredConnection
from eigenkms.p2p.hardening.muxer import GuardedYamux
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.rpc.memory import MemoryPool
from eigenkms.token_bucket import TokenBucket


def noise_only(pair: KeyPair) -> dict[Any, Any]:
    """Return the security transports that a swarm offers: Noise alone.

    P1: by default libp2p also offers plaintext, and trusts it. There, anybody with an operator's *public* key *is* that operator.
    """
    return {NOISE: Noise(pair, noise_privkey=new_x25519().private_key)}


async def secure(
    swarm: Any,
    socket: trio.SocketStream,
    expected: PeerId | None,
    limits: Limits,
    strangers: MemoryPool,
    allowance: TokenBucket,
) -> GuardedYamux:
    """Authenticate the peer at the other end and set up yamux.

    We dialled if ``expected`` is given.

    Until the peer is trusted, bytes held for it count in ``strangers``, and bytes read from it in ``allowance``.

    The caller owns the deadline, and the socket until this returns. Raises whatever libp2p raises for a peer that
    fails: callers treat every Exception alike.
    """
    raw = MeteredConnection(TrioTCPStream(socket), expected is not None)
    wanted = None if expected is None else ID(expected.raw)
    secured = await swarm.upgrader.upgrade_security(raw, expected is not None, wanted)
    await swarm.upgrader.muxer_multistream.select_transport(secured)
    raw.allowance = None
    return GuardedYamux(secured, secured.get_remote_peer(), socket, limits, strangers, allowance)
