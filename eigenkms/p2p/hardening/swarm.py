"""The libp2p host of this program, and the one entry of every inbound stream."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux

from eigenkms.p2p.hardening.bounded_io import ByteStream
from eigenkms.p2p.hardening.handshake import noise_only
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import Limits

log = logging.getLogger("eigenkms.p2p.swarm")

NEGOTIATION_BYTES = 4096
_UNBOUNDED = 1 << 30

StreamHandler = Callable[[ByteStream, str], Awaitable[None]]


def build(key: PeerKey, limits: Limits) -> Any:
    """Return a libp2p host that listens nowhere, dials no peer and serves no protocol.

    Metrics stay off (P10). The swarm's connection limits are set out of the way, as ``listener`` keeps them for each kind of peer.
    The resource manager would count the same connections once more.
    """
    pair = create_new_key_pair(key.secret)
    config = ConnectionConfig(
        max_connections=_UNBOUNDED,
        min_connections=0,
        low_watermark=0,
        high_watermark=_UNBOUNDED,
        max_connections_per_peer=_UNBOUNDED,
        inbound_stream_protocol_negotiation_timeout=limits.streams.negotiation,
        outbound_stream_protocol_negotiation_timeout=limits.streams.negotiation,
    )
    host = new_host(
        key_pair=pair,
        sec_opt=noise_only(pair),
        muxer_opt={TProtocol(YAMUX): Yamux},
        muxer_preference="YAMUX",
        connection_config=config,
        disable_identify_address_discovery=True,
    )
    swarm = host.get_network()
    swarm.set_resource_manager(None)
    strip(host)
    return host


def strip(host: Any) -> None:
    """Take out identify, identify push, ping and their hooks: strangers reach them.

    The auto-connector would dial known peers until half of the high watermark is reached; a low watermark of 0 does not stop it. It
    would also keep a record of every peer that ever disconnected.
    """
    swarm = host.get_network()
    host.get_mux().handlers.clear()
    for notifee in list(swarm.notifees):
        swarm.remove_notifee(notifee)
    swarm.auto_connector.record_disconnect = lambda _peer: None
    swarm.auto_connector.maybe_connect = trio.lowlevel.checkpoint
    swarm.dial_peer = _dial_nobody


async def _dial_nobody(peer: Any) -> Any:
    """Refuse to dial (P13).

    Connections of libp2p's own making have none of the guards, and the host stops at the first of them.
    """
    raise SwarmException(f"{peer} is not connected")


def guard_streams(host: Any, handle: StreamHandler, refuse: Callable[[str], None], limits: Limits) -> None:
    """Give every inbound stream to ``handle`` once its protocol is agreed.

    P3: an exception that leaves the swarm's stream handler ends the swarm. A name that is not UTF-8 in multistream-select raises
    one, and so do a bad protobuf and even an ordinary end of stream. Nothing leaves this one. ``refuse`` counts.
    """

    async def guarded(stream: Any) -> None:
        peer = PeerId(stream.muxed_conn.peer_id.to_bytes())
        bytestream = ByteStream(stream, peer, allowance=NEGOTIATION_BYTES)
        try:
            protocol, _ = await host.get_mux().negotiate(
                MultiselectCommunicator(bytestream), limits.streams.negotiation
            )
            bytestream.allowance = None
            await handle(bytestream, str(protocol))
        except Exception as error:  # noqa: BLE001 - P3: this is the wall
            log.debug("inbound stream of %s: %s", peer, type(error).__name__)
            refuse(type(error).__name__)
        finally:
            await bytestream.reset()

    host.get_network().set_stream_handler(guarded)


async def open_stream(host: Any, connection: Any, peer: PeerId, protocol: str, limits: Limits) -> ByteStream:
    """Return a stream on ``connection`` with ``protocol`` agreed.

    Raises whatever libp2p raises; leaves no slot behind (P5).
    """
    with trio.CancelScope(shield=True):
        stream = await connection.new_stream()
    bytestream = ByteStream(stream, peer, allowance=NEGOTIATION_BYTES)
    try:
        await host.multiselect_client.select_one_of(
            [TProtocol(protocol)], MultiselectCommunicator(bytestream), limits.streams.negotiation
        )
    except BaseException:
        await bytestream.reset()
        raise
    bytestream.allowance = None
    return bytestream
