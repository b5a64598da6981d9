"""Event logs: strict parsing, and reads of long ranges from any node.

Providers refuse a range of blocks that is too long, by blocks or by results, with messages that no standard defines. So a range is
requested whole first. A range that is refused, or larger than the answer bound, is halved, and the length that worked is kept for
the rest. The number of requests is bounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eigenkms.chain.rpc import Rpc, RpcRefusedError, RpcTooLargeError
from eigenkms.chain.rpc_values import Json, parse_bytes, parse_object, parse_quantity
from eigenkms.errors import ChainError
from eigenkms.types import to_hex

MAX_REQUESTS: Final = 2_000
MAX_TOPICS: Final = 4
_HINT: Final = "use an RPC that serves eth_getLogs over long ranges of blocks"


@dataclass(frozen=True, slots=True)
class EventLog:
    """One event.

    ``position`` orders the events of a chain: (block number, index in the block).
    """

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_hash: bytes
    position: tuple[int, int]


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A query for events of ``address`` by their topics.

    The first topic is one of ``first_topics``, the second is ``second_topic``, if given.
    """

    address: bytes
    first_topics: tuple[bytes, ...]
    second_topic: bytes | None = None

    def _filter(self, start: int, end: int) -> dict[str, Json]:
        topics: list[Json] = [[to_hex(topic) for topic in self.first_topics]]
        if self.second_topic is not None:
            topics.append(to_hex(self.second_topic))
        bounds: dict[str, Json] = {"fromBlock": hex(start), "toBlock": hex(end)}
        return {"address": to_hex(self.address), "topics": topics, **bounds}

    def _admits(self, log: EventLog, start: int, end: int) -> bool:
        return (
            log.address == self.address
            and bool(log.topics)
            and log.topics[0] in self.first_topics
            and (self.second_topic is None or log.topics[1:2] == (self.second_topic,))
            and start <= log.position[0] <= end
        )

    async def read(self, rpc: Rpc, start: int, end: int) -> list[EventLog]:
        """Return all events in blocks ``start..end``, in chain order. Raises ChainError."""
        found: list[EventLog] = []
        width = max(1, end - start + 1)
        for _ in range(MAX_REQUESTS):
            if start > end:
                return sorted(found, key=lambda log: log.position)
            last = min(end, start + width - 1)
            try:
                answer = await rpc.call("eth_getLogs", self._filter(start, last))
            except (RpcRefusedError, RpcTooLargeError):
                if width == 1:
                    raise
                width = max(1, (last - start + 1) // 2)
                continue
            found += self._parse(answer, start, last)
            start = last + 1
        raise ChainError(
            f"read events up to block {end}: more than {MAX_REQUESTS} requests needed", hint=_HINT
        )

    def _parse(self, answer: Json, start: int, end: int) -> list[EventLog]:
        if not isinstance(answer, list):
            raise ChainError(f"read events of blocks {start} to {end}: the answer is not a list")
        logs = [_parse_log(entry) for entry in answer]
        if not all(self._admits(log, start, end) for log in logs):
            raise ChainError(f"read events of blocks {start} to {end}: an event that was not asked for")
        return logs


def _parse_log(entry: Json) -> EventLog:
    fields = parse_object(entry, "event")
    topics = fields.get("topics")
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise ChainError("read event: topics are not a list of at most four")
    if fields.get("removed") not in {None, False}:
        raise ChainError("read event: it belongs to a block that was reorganised away")
    number = parse_quantity(fields.get("blockNumber"), "event block number", bits=63)
    index = parse_quantity(fields.get("logIndex"), "event index", bits=32)
    return EventLog(
        address=parse_bytes(fields.get("address"), "event address", size=20),
        topics=tuple(parse_bytes(topic, "event topic", size=32) for topic in topics),
        data=parse_bytes(fields.get("data"), "event data"),
        block_hash=parse_bytes(fields.get("blockHash"), "event block hash", size=32),
        position=(number, index),
    )


def last_before(logs: Sequence[EventLog], block_number: int) -> EventLog | None:
    """Return the newest event at or below a block."""
    return next((log for log in reversed(logs) if log.position[0] <= block_number), None)
