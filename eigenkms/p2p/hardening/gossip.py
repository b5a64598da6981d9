"""Gossipsub that neither dies of a message nor loses one in silence.

The stock classes have these defects with their default settings; the clause after the last colon is the guard:

* garbage protobuf, a bad key inside a message, a validator that raises: each ends the host (P3). Here reading is one guarded
  loop, and tasks that libp2p starts on its own are guarded where they begin.
* Per forwarder and topic 10 messages a second pass, of 100 in a row 10 arrive: spam protection off. The queue to a peer
  holds 32: ``queues.BatchingRpcQueue``. The channel to the subscriber holds 32: it is not used, messages go straight to the
  host.
* Sequence numbers start at the unix time in seconds, so after a quick restart message ids repeat and are dropped as seen. Here they
  start at nanoseconds.
* With the adaptive features on, the heartbeat slows to a minute in quiet times: off.
* A peer whose first pubsub stream fails is never tried again. A stream that dies with one of two connections is noticed only by the
  loss of a message. ``repair_streams`` and ``connection_closed`` fix both.
* When a stream to a peer breaks, libp2p forgets the subscriptions of that peer. The peer, whose own stream is fine, does not send
  them again. Here they are kept while the peer is connected.
* A peer joins the mesh some time after it can be sent to, in another task or at the next heartbeat. Messages in between go nowhere.
  Here it joins in the same moment.
* Every message is a write of its own, and costs both sides as much as a large one: what waits is sent together.
* Replays and the queue write to one stream at the same time; frames over 64 KiB then interleave: one lock a stream.
* The time of every message is kept for ever (for a metric that is off): kept for a hundred.
* A PRUNE may name other peers, and libp2p dials them at any address, past every guard (P13): nobody is dialled.
* Each topic in a GRAFT or a PRUNE is remembered: foreign topics are left out.
* Queues, and the cache of messages for peers that missed them, count messages and not bytes. Here both have a bound in bytes, the
  cache one for each origin (``queues``). A request for messages copies each as often as it is named, 5000 times a quarter of a
  megabyte. Here it is copied once, and no more than the queue takes.

The connection is checked before the message. Only peers that ``admits`` names may open or be given a pubsub stream, and only
messages that one of them signed are read. Everything cheap is checked before the signature.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio
from libp2p.exceptions import ValidationError
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from eigenkms.p2p.hardening.bounded_io import ByteStream
from eigenkms.p2p.hardening.gossip_router import GuardedRouter
from eigenkms.p2p.hardening.queues import RPC_BYTES
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.types import GossipMessage

log = logging.getLogger("eigenkms.p2p.gossip")

PROTOCOL: Final = str(PROTOCOL_ID_V11)
INBOUND_RPC_BYTES: Final = RPC_BYTES + (64 << 10)
MAX_MESSAGES: Final = 4096
"""Of ours with a frame in it, and its signature, no more fit into what we pack into one RPC."""
MAX_SUBSCRIPTIONS: Final = 64
MAX_CONTROL_IDS: Final = 5000

_forwarder: ContextVar[Any] = ContextVar("forwarder")
_content: ContextVar[object] = ContextVar("content", default=None)
"""The validator's result for the message that is being pushed."""

Admits = Callable[[PeerId], bool]
Accepts = Callable[[str, PeerId, bytes], object]
"""A validator: it returns a true value for a message, or a false one to refuse it."""
Delivers = Callable[[str, GossipMessage], None]


def _leave_out_other_topics(control: Any, topics: frozenset[str]) -> None:
    """libp2p remembers what was said of any topic, however many there are made up."""
    for entries in (control.ihave, control.graft, control.prune):
        if any(each.topicID not in topics for each in entries):
            kept = [each for each in entries if each.topicID in topics]
            del entries[:]
            entries.extend(kept)


def _control_ids(control: Any) -> int:
    lists = (*control.ihave, *control.iwant, *control.idontwant)
    return len(control.graft) + len(control.prune) + sum(1 + len(each.messageIDs) for each in lists)


class GuardedPubsub(Pubsub):  # type: ignore[misc]
    """Pubsub among admitted peers.

    ``accepts`` and ``delivers`` are called for each message of a subscribed topic.
    """

    def __init__(
        self,
        host: Any,
        topics: frozenset[str],
        limits: Limits,
        *,
        admits: Admits,
        accepts: Accepts,
        delivers: Delivers,
    ) -> None:
        super().__init__(
            host,
            GuardedRouter(limits),
            max_inbound_rpc_size=INBOUND_RPC_BYTES,
            max_subscriptions_per_rpc=MAX_SUBSCRIPTIONS,
            max_subscriptions_per_peer=MAX_SUBSCRIPTIONS,
            allowed_topics=topics,
        )
        self.counter = time.time_ns()
        self.errors = 0
        self._topics = topics
        self._limits = limits
        self._admits = admits
        self._accepts = accepts
        self._delivers = delivers
        self._stream_locks: WeakKeyDictionary[Any, trio.Lock] = WeakKeyDictionary()
        self._peer_locks: defaultdict[Any, trio.Lock] = defaultdict(trio.Lock)

    # ----- reading

    async def read_from(self, stream: ByteStream) -> None:
        """Take RPCs until the stream ends.

        Raises for the first that is none: the caller resets the stream.
        """
        peer = ID(stream.peer.raw)
        while True:
            try:
                raw = await read_varint_prefixed_bytes_limited(stream, INBOUND_RPC_BYTES)
            except IncompleteReadError as error:
                if error.is_clean_close:
                    return
                raise
            rpc = rpc_pb2.RPC.FromString(raw)
            rpc.ClearField(
                "senderRecord"
            )  # addresses come from the chain and from signed frames, never from here
            if not self._admits(stream.peer):
                return
            await self._take(peer, rpc)

    async def _take(self, peer: ID, rpc: Any) -> None:
        too_many = len(rpc.publish) > MAX_MESSAGES or len(rpc.subscriptions) > MAX_SUBSCRIPTIONS
        if too_many or _control_ids(rpc.control) > MAX_CONTROL_IDS:
            raise MessageTooLarge("gossip RPC has too many entries")
        for message in rpc.publish:
            await trio.lowlevel.checkpoint()  # a signature each, thousands in one RPC, and no pause in libp2p
            await self.push_msg(peer, message)
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer, subscription)
        if rpc.HasField("control"):
            _leave_out_other_topics(rpc.control, self._topics)
            await self.router.handle_rpc(rpc, peer)

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """P3: nothing that is wrong with a message leaves this method."""
        token = _forwarder.set(msg_forwarder)
        try:
            if msg_forwarder == self.my_id or self._worth_verifying(msg):
                await super().push_msg(msg_forwarder, msg)
        except Exception as error:  # noqa: BLE001
            self.errors += 1
            log.debug("gossip message from %s: %s", msg_forwarder, type(error).__name__)
        finally:
            _forwarder.reset(token)

    def _worth_verifying(self, msg: Any) -> bool:
        if len(msg.topicIDs) != 1 or msg.topicIDs[0] not in self.topic_ids or len(msg.seqno) != 8:
            return False
        if len(msg.data) > self._limits.gossip.message or not 2 <= len(msg.from_id) <= 64:
            return False
        return msg.from_id != self.my_id.to_bytes() and self._admits(PeerId(msg.from_id))

    async def validate_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Call the topic's validator each time.

        libp2p would remember a refusal for five minutes.
        """
        if msg_forwarder == self.my_id:
            return
        content = self._accepts(msg.topicIDs[0], PeerId(msg.from_id), msg.data)
        if not content:
            raise ValidationError("refused")
        _content.set(content)

    def notify_subscriptions(self, publish_message: Any) -> None:
        forwarder = _forwarder.get()
        if forwarder != self.my_id:
            origin, handed_by = PeerId(publish_message.from_id), PeerId(forwarder.to_bytes())
            message = GossipMessage(origin, handed_by, publish_message.data, _content.get())
            self._delivers(publish_message.topicIDs[0], message)

    # ----- writing

    async def write_msg(self, stream: Any, rpc_msg: Any) -> bool:
        async with self._stream_locks.setdefault(stream, trio.Lock()):
            return bool(await super().write_msg(stream, rpc_msg))

    async def _handle_new_peer(self, peer_id: ID) -> None:
        async with self._peer_locks[peer_id]:
            if peer_id in self.peers:
                return
            await super()._handle_new_peer(peer_id)
            if peer_id in self.peer_queues:
                self.peer_queues[peer_id].limit = self._limits.gossip.queue
            for topic in self.subscriptions_of(peer_id):
                if peer_id in self.router.mesh.get(topic, ()):
                    self.router.send_graft(peer_id, topic)

    async def _handle_new_peer_with_retry(self, peer_id: ID, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if self._admits(PeerId(peer_id.to_bytes())):
            await super()._handle_new_peer_with_retry(peer_id, 5.0 if timeout is None else timeout)

    def subscriptions_of(self, peer: ID) -> list[str]:
        """Return the topics that ``peer`` subscribed to."""
        return [topic for topic, peers in self.peer_topics.items() if peer in peers]

    def handle_subscription(self, origin_id: ID, sub_message: Any) -> None:
        """Record a subscription, and put the peer into the mesh before this returns.

        A peer that stays connected does not unsubscribe. One that did, and subscribed again, would get all recent messages again, a
        copy of them in a task of its own each time.
        """
        if not sub_message.subscribe:
            return
        super().handle_subscription(origin_id, sub_message)
        topic = sub_message.topicid
        known = origin_id in self.peers and topic in self.subscriptions_of(origin_id)
        if known and self.router.enmesh(origin_id, topic):
            self.router.send_graft(origin_id, topic)

    def _handle_dead_peer(self, peer_id: ID) -> None:
        subscribed = self.subscriptions_of(peer_id)
        super()._handle_dead_peer(peer_id)
        if not self._peer_is_connected(peer_id):
            self._peer_locks.pop(peer_id, None)
            return
        for topic in subscribed:
            self.peer_topics.setdefault(topic, set()).add(peer_id)
        self._peer_subscription_count[peer_id] = len(subscribed)

    # ----- repairing

    async def repair_streams(self) -> None:
        """Keep a working stream to each admitted connected peer and to no other."""
        while True:
            await trio.sleep(self._limits.gossip.upkeep)
            for peer, stream in list(self.peers.items()):
                await self._repair_stream(peer, stream)
            async with trio.open_nursery() as nursery:
                for peer in self.host.get_connected_peers():
                    if peer not in self.peers and self._admits(PeerId(peer.to_bytes())):
                        nursery.start_soon(self.ensure_peer_stream, peer, 5.0)

    async def _repair_stream(self, peer: ID, stream: Any) -> None:
        if not self._admits(PeerId(peer.to_bytes())):
            await stream.reset()
            self._handle_dead_peer(peer)
            self._forget_all_subscriptions(peer)
        elif stream.muxed_conn.is_closed:
            self._handle_dead_peer(peer)

    def connection_closed(self, connection: Any) -> None:
        """Replace the stream of a lost connection now, not at the next loss."""
        stream = self.peers.get(connection.muxed_conn.peer_id)
        if stream is not None and stream.muxed_conn is connection.muxed_conn:
            self._handle_dead_peer(connection.muxed_conn.peer_id)
