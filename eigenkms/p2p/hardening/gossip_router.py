"""The gossipsub router with its guards: the mesh, its control messages, its cache.

``gossip`` has the list of defects that the two modules guard against.
"""

import logging
from collections import defaultdict, deque
from functools import partial
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.utils import safe_bytes_from_hex

from eigenkms.p2p.hardening.queues import KeptMessages
from eigenkms.p2p.limits import Limits

log = logging.getLogger("eigenkms.p2p.gossip")

_WINDOW, _HISTORY = 30, 60
"""Seconds for which a message is announced to a peer, and for which it is kept."""


class GuardedRouter(GossipSub):  # type: ignore[misc]
    """The mesh. P3: what libp2p runs as tasks of their own must not raise."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            [PROTOCOL_ID_V11],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=1,
            gossip_window=_WINDOW,
            gossip_history=_HISTORY,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.recent_message_deliveries: defaultdict[str, deque[float]] = defaultdict(
            partial(deque[float], maxlen=100)
        )
        self.mcache = KeptMessages(_WINDOW, _HISTORY, limits.gossip.of_one)

    async def heartbeat(self) -> None:
        while True:
            try:
                await super().heartbeat()
            except Exception:
                log.exception("gossip heartbeat")
            await trio.sleep(self.heartbeat_interval)

    def enmesh(self, peer: ID, topic: str) -> bool:
        """Add a subscribed peer to the mesh of ``topic`` if it has room.

        Without a pause, so no message falls between.
        """
        mesh = self.mesh.get(topic)
        if mesh is None or peer in mesh or len(mesh) >= self.degree_low or not self._is_gossipsub_peer(peer):
            return False
        if self._check_back_off(peer, topic):
            return False
        mesh.add(peer)
        self.scorer.on_join_mesh(peer, topic)
        return True

    def add_peer(self, peer_id: ID, protocol_id: Any) -> None:
        super().add_peer(peer_id, protocol_id)
        for topic in self.pubsub.subscriptions_of(peer_id):
            self.enmesh(peer_id, topic)

    def send_graft(self, peer: ID, topic: str) -> None:
        """Tell a peer that it is in our mesh of ``topic``."""
        graft = rpc_pb2.ControlGraft(topicID=topic)
        self.send_rpc(peer, rpc_pb2.RPC(control=rpc_pb2.ControlMessage(graft=[graft])), priority=True)

    async def handle_iwant(self, iwant_msg: Any, sender_peer_id: ID) -> None:
        """Send requested messages, each once, as far as the peer's queue has room."""
        queue = self.pubsub.peer_queues.get(sender_peer_id)
        room = 0 if queue is None else queue.limit - queue.held
        wanted = []
        for name in dict.fromkeys(iwant_msg.messageIDs):
            id_ = safe_bytes_from_hex(name)
            message = None if id_ is None else self.mcache.get(id_)
            room -= 0 if message is None else message.ByteSize()
            if room < 0:
                break
            wanted.append(name)
        await super().handle_iwant(rpc_pb2.ControlIWant(messageIDs=wanted), sender_peer_id)

    # P13: peer exchange. A member that leaves our mesh may name others with their addresses.
    async def _do_px(self, px_peers: list[Any]) -> None:
        """Dial nobody: the chain and signed frames say where operators are."""

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        try:
            await super().on_peer_subscribed(peer_id, topic)
        except Exception:
            log.exception("graft of %s", peer_id)

    async def flush_pending_messages(self, peer_id: ID) -> None:
        try:
            await super().flush_pending_messages(peer_id)
        except Exception:
            log.exception("flush to %s", peer_id)
