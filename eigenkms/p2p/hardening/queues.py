"""Gossip that waits: to be sent to one peer, and for peers that missed it.

Both are bounded in bytes.

libp2p counts messages, 32 for a peer and a minute of them for all, and a message may have a quarter of a megabyte. Messages come
from members alone, but one member that gossips without end, or does not read, must not fill the memory of all the others.
"""

from collections import Counter
from typing import Any, Final

from libp2p.pubsub.mcache import MessageCache, default_msg_id_fn
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue

from eigenkms.p2p.limits import Limits

RPC_BYTES: Final = 512 << 10
"""Bytes of one RPC: two of the largest messages."""
OUTBOUND_QUEUE: Final = 1024
MESSAGE_COST: Final = 1 << 10
"""Bytes that a message which is kept counts for besides its own."""


class BatchingRpcQueue(RpcQueue):  # type: ignore[misc]
    """The outbound queue of a peer, which sends waiting messages together.

    It is as long as a burst of the largest operator set, and holds ``limit`` bytes at most, whatever the peer reads. libp2p counts
    RPCs only. The cost of a write on both sides hardly depends on its size, so a fast burst is sent in fewer writes.
    """

    def __init__(self, limit: int = Limits().gossip.queue) -> None:
        super().__init__(max_size=OUTBOUND_QUEUE, max_message_size=RPC_BYTES)
        self.limit = limit
        self.held = 0

    def push(self, rpc: Any, priority: bool = False) -> bool:
        size = rpc.ByteSize()
        if self.held + size > self.limit or not super().push(rpc, priority):
            return False
        self.held += size
        return True

    async def pop(self) -> Any:
        first = await super().pop()
        if first is None:
            return None
        size = first.ByteSize()
        self.held -= size
        waiting = self._queue._non_priority  # noqa: SLF001
        if not _only_publishes(first) or not waiting:
            return first
        together = rpc_pb2.RPC()
        together.MergeFrom(first)
        while waiting and _only_publishes(waiting[0]):
            more = waiting[0].ByteSize()
            size += more
            if size > self.max_message_size:
                break
            self.held -= more
            together.MergeFrom(waiting.popleft())
        return together


class KeptMessages(MessageCache):  # type: ignore[misc]
    """The messages of the last minute, for peers that missed them.

    Of one origin it holds the newest, at most ``limit`` bytes.
    """

    def __init__(self, window: int, history: int, limit: int) -> None:
        super().__init__(window, history)
        self.limit = limit
        self._of: dict[bytes, dict[bytes, int]] = {}
        """The size of each origin's messages by their ids, the oldest first."""
        self._held: Counter[bytes] = Counter()

    def put(self, msg: Any) -> None:
        """Keep a message, in the place of older ones of its origin if need be."""
        id_ = default_msg_id_fn(msg)
        if id_ in self.msgs:
            return
        super().put(msg)
        kept = self._of.setdefault(msg.from_id, {})
        kept[id_] = _cost(msg)
        self._held[msg.from_id] += kept[id_]
        while self._held[msg.from_id] > self.limit:
            self._forget(next(iter(kept)))

    def shift(self) -> None:
        """Forget what is older than the history, and begin another second."""
        for entry in self.history.pop():
            self._forget(entry.mid)
        self.history.insert(0, [])

    def _forget(self, id_: bytes) -> None:
        """Forget a message.

        It may have come again since it was forgotten, and then goes with its first coming.
        """
        message = self.msgs.pop(id_, None)
        if message is None:
            return
        origin = message.from_id
        self._held[origin] -= self._of[origin].pop(id_)
        if not self._of[origin]:
            del self._of[origin], self._held[origin]


def _cost(message: Any) -> int:
    return int(message.ByteSize()) + MESSAGE_COST


def _only_publishes(rpc: Any) -> bool:
    return bool(rpc.publish) and not rpc.subscriptions and not rpc.HasField("control")
