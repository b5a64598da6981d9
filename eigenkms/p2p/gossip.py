"""Gossip of a host: topics, validators and bounded subscriptions.

It runs over the guarded pubsub (``hardening.gossip``).
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import trio

from eigenkms.errors import InputError
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.types import GossipMessage, GossipStatistics, Validator

log = logging.getLogger("eigenkms.p2p.gossip")

_MESSAGE_COST: Final = 1 << 10
"""Bytes that a message counts for besides its own."""


class Subscription:
    """The messages of one topic that wait for their reader.

    It holds ``count`` messages, and at most ``size`` bytes of one origin. A member that gossips faster than its messages are read
    crowds out its own, not those of others.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size
        self._messages: deque[GossipMessage] = deque()
        self._held: Counter[PeerId] = Counter()
        self._came = trio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> GossipMessage:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> GossipMessage:
        """Return the oldest message, once there is one.

        Raises trio.EndOfChannel when the host is closed and none is left.
        """
        await trio.lowlevel.checkpoint()
        while not self._messages:
            if self._closed:
                raise trio.EndOfChannel
            await self._came.wait()
        message = self._messages.popleft()
        self._held[message.origin] -= _cost(message)
        self._held += Counter()  # without those of which nothing waits
        if not self._messages and not self._closed:
            self._came = trio.Event()
        return message

    def put(self, message: GossipMessage) -> bool:
        """Let a message wait. False if there is no room for it, or nobody reads any more."""
        cost = _cost(message)
        full = len(self._messages) >= self._count or self._held[message.origin] + cost > self._size
        if full or self._closed:
            return False
        self._held[message.origin] += cost
        self._messages.append(message)
        self._came.set()
        return True

    def close(self) -> None:
        """End it: what waits may still be taken."""
        self._closed = True
        self._came.set()


def _cost(message: GossipMessage) -> int:
    return len(message.data) + _MESSAGE_COST


class GossipService:
    """The topics of one host.

    Without any, gossip is not offered and none of its code runs.
    """

    def __init__(
        self,
        libp2p: Any,
        topics: Sequence[str],
        admits: Callable[[PeerId], bool],
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._topics = frozenset(topics)
        self._validators: dict[str, Validator] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._nursery: trio.Nursery | None = None
        self._pubsub: Any = None
        self.started = trio.Event()
        if topics:
            gossip = import_module("eigenkms.p2p.hardening.gossip")
            self._pubsub = gossip.GuardedPubsub(
                libp2p, self._topics, limits, admits=admits, accepts=self._accepts, delivers=self._deliver
            )

    def statistics(self) -> GossipStatistics:
        """Return the peers of now, and the counts of messages since the host was opened."""
        counters, pubsub = self._counters, self._pubsub
        return GossipStatistics(
            peers=0 if pubsub is None else len(pubsub.peers),
            received=counters.gossip_received,
            published=counters.gossip_published,
            dropped=counters.gossip_dropped,
            refused=counters.gossip_refused,
            errors=0 if pubsub is None else int(pubsub.errors),
        )

    def services(self) -> list[Any]:
        """libp2p's services to run."""
        return [] if self._pubsub is None else [self._pubsub, self._pubsub.router]

    async def run(self) -> None:
        """Keep the gossip streams in repair, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self.started.set()
                if self._pubsub is not None:
                    nursery.start_soon(self._pubsub.repair_streams)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def close(self) -> None:
        """End all subscriptions, and the thread with which libp2p sweeps its cache."""
        for subscription in self._subscriptions.values():
            subscription.close()
        if self._pubsub is not None:
            self._pubsub.seen_messages.stop()

    def connection_closed(self, connection: Any) -> None:
        """See ``GuardedPubsub.connection_closed``."""
        if self._pubsub is not None:
            self._pubsub.connection_closed(connection)

    async def read_from(self, stream: Any) -> None:
        """Take gossip from an inbound stream of a trusted peer until it ends."""
        await self._pubsub.read_from(stream)

    async def publish(self, topic: str, data: bytes) -> None:
        """See ``Host.publish``."""
        self._check(topic)
        if len(data) > self._limits.gossip.message:
            raise InputError(
                f"publish on {topic}: {len(data)} bytes are over the limit of {self._limits.gossip.message}"
            )
        self._counters.gossip_published += 1
        with trio.CancelScope(shield=True):  # queues only; half a publication would be none to some peers
            await self._pubsub.publish(topic, bytes(data))

    def subscribe(self, topic: str, validator: Validator) -> Subscription:
        """See ``Host.subscribe``."""
        self._check(topic)
        if topic in self._subscriptions or self._nursery is None:
            raise InputError(f"subscribe to {topic!r}: subscribed already, or the host is closed")
        self._validators[topic] = validator
        subscription = Subscription(self._limits.gossip.subscription, self._limits.gossip.of_one)
        self._subscriptions[topic] = subscription
        self._nursery.start_soon(self._pubsub.subscribe, topic)
        return subscription

    def _check(self, topic: str) -> None:
        if topic not in self._topics:
            raise InputError(f"gossip on {topic!r}: the host was not opened with that topic")

    def _accepts(self, topic: str, origin: PeerId, data: bytes) -> object:
        validator = self._validators.get(topic)
        try:
            content = None if validator is None else validator(origin, data)
        except Exception:
            log.exception("validator of %s for a message of %s", topic, origin)
            content = None
        self._counters.gossip_refused += not content
        return content

    def _deliver(self, topic: str, message: GossipMessage) -> None:
        self._counters.gossip_received += 1
        subscription = self._subscriptions.get(topic)
        if subscription is None or not subscription.put(message):
            self._counters.gossip_dropped += 1
