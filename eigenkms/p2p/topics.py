"""Gossip as the host offers it: topics, validators and bounded subscriptions over the guarded pubsub."""

import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import trio

from eigenkms.errors import InputError
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.types import GossipMessage, Validator

log = logging.getLogger("eigenkms.p2p.topics")


class Topics:
    """The topics of one host. Without any, gossip is not offered and none of its code runs."""

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
        self._channels: dict[str, trio.MemorySendChannel[GossipMessage]] = {}
        self._nursery: trio.Nursery | None = None
        self._pubsub: Any = None
        self.started = trio.Event()
        if topics:
            gossip = import_module("eigenkms.p2p.hardening.gossip")
            self._pubsub = gossip.GuardedPubsub(
                libp2p, self._topics, limits, admits=admits, accepts=self._accepts, delivers=self._deliver
            )

    @property
    def peers(self) -> int:
        """Peers that we can send gossip to."""
        return len(self._pubsub.peers) if self._pubsub is not None else 0

    @property
    def errors(self) -> int:
        """Messages that were malformed."""
        return int(self._pubsub.errors) if self._pubsub is not None else 0

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
                    nursery.start_soon(self._pubsub.tend)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def close(self) -> None:
        """End all subscriptions, and the thread with which libp2p sweeps its cache."""
        for channel in self._channels.values():
            channel.close()
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
        if len(data) > self._limits.gossip:
            raise InputError(
                f"publish on {topic}: {len(data)} bytes are over the limit of {self._limits.gossip}"
            )
        self._counters.gossip_published += 1
        with trio.CancelScope(shield=True):  # queues only; half a publication would be none to some peers
            await self._pubsub.publish(topic, bytes(data))

    def subscribe(self, topic: str, validator: Validator) -> trio.MemoryReceiveChannel[GossipMessage]:
        """See ``Host.subscribe``."""
        self._check(topic)
        if topic in self._channels or self._nursery is None:
            raise InputError(f"subscribe to {topic!r}: subscribed already, or the host is closed")
        self._validators[topic] = validator
        self._channels[topic], receive = trio.open_memory_channel[GossipMessage](self._limits.subscription)
        self._nursery.start_soon(self._pubsub.subscribe, topic)
        return receive

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
        try:
            self._channels[topic].send_nowait(message)
        except trio.WouldBlock:
            self._counters.gossip_dropped += 1
        except (KeyError, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("nobody listens to %s any more", topic)
