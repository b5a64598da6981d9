"""Look applications up at the app controller of the chain.

A lookup reads creator, status and the block number of the last *confirmed* release, all at one block: the newest at the
configured finality, by its hash. The release itself is in the log of that other block: the ``AppUpgraded`` event of this
application with the highest index. Logs are read by block number, so both blocks must be canonical after the logs were read, and
the event must be of the canonical block of that number.

Requests for a key come by the hundred. So an answer, also a negative one, is cached for ``FRESH_SECONDS`` from the start of its
read, and requests in between wait for the same read. An error is raised to those that waited, and is not cached. If the task that
reads is cancelled, one of the others reads.

A client can name endless addresses without an application. So addresses at which an application was found before have reads of
their own, and the answers about others are cached apart. Neither uses up the RPC capacity of the boundary follower. The addresses
with an application outlive a restart if the caller stores them. One client gets few of the places for the others.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

import trio

from eigenkms.applications import Application, AppRelease, AppStatus, UnusableReleaseError
from eigenkms.chain import abi
from eigenkms.chain.app_releases import decode_release
from eigenkms.chain.logs import LogQuery
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.crypto.app_ids import address_of
from eigenkms.errors import ChainError
from eigenkms.types import AppId, BlockRef, to_hex

T = TypeVar("T")
FRESH_SECONDS: Final = 3.0
LOOKUP_SECONDS: Final = 10.0
REMEMBERED: Final = 256
"""Answers that are remembered at a time, each with at most ``MAX_RELEASE_BYTES`` of release; as many that there is none."""
FAMILIAR: Final = 8192
"""Addresses at which an application was found."""
READINGS: Final = 3
"""Of familiar applications at once."""
STRANGERS: Final = 32
"""Lookups of other addresses at once, of which ``STRANGE_READINGS`` read the chain, a new one every ``PACE_SECONDS``."""
STRANGERS_OF_ONE: Final = 4
"""Of those lookups, for one client."""
STRANGE_READINGS: Final = 2
PACE_SECONDS: Final = 0.1

STATUSES: Final = (
    AppStatus.NONE,
    AppStatus.STARTED,
    AppStatus.STOPPED,
    AppStatus.TERMINATED,
    AppStatus.SUSPENDED,
    AppStatus.CREATED,
)
"""By the number that the contract has for it."""


@dataclass(frozen=True, slots=True)
class _CachedLookup:
    """The result of a read, and its start on trio's clock."""

    application: Application | None
    since: float


@dataclass(slots=True)
class _InFlightRead:
    """A read under way.

    ``answer`` returns its result, or raises; it is None if the read was cancelled.
    """

    over: trio.Event = field(default_factory=trio.Event)
    answer: Callable[[], Application | None] | None = None


class Familiar(Protocol):
    """Storage of the addresses of found applications (``known_applications``).

    Blocking.
    """

    def addresses(self) -> Sequence[bytes]: ...

    def add(self, address: bytes) -> None: ...


class ChainApplications:
    """``Applications`` of one app controller (20 bytes).

    Safe for many tasks at once. ``kept`` is read now.
    """

    def __init__(self, chain: OperatorSetSource, contract: bytes, kept: Familiar | None = None) -> None:
        self._chain = chain
        self._contract = contract
        self._kept = kept
        self._known: OrderedDict[bytes, _CachedLookup] = OrderedDict()
        self._absent: OrderedDict[bytes, _CachedLookup] = OrderedDict()
        self._familiar = OrderedDict[bytes, None].fromkeys(
            () if kept is None else kept.addresses()[-FAMILIAR:]
        )
        self._keeping = trio.CapacityLimiter(1)
        self._strangers: Counter[str] = Counter()
        self._next_stranger = -math.inf
        self._turns = trio.CapacityLimiter(READINGS)
        self._strange_turns = trio.CapacityLimiter(STRANGE_READINGS)
        self._reads: dict[bytes, _InFlightRead] = {}
        self._decoding = trio.CapacityLimiter(1)
        self._is_there = False

    async def check(self) -> None:
        """Check that the contract is there; a lookup does it too, once.

        Raises ``ChainError``.
        """
        if not self._is_there:
            await self._chain.require_contract("app controller", self._contract)
            self._is_there = True

    async def lookup(self, app_id: AppId, client: str = "") -> Application | None:
        """Return the application, or None if there is none or ``app_id`` is not an address. ``client`` requests it.

        It comes from a read that began at most ``FRESH_SECONDS`` ago, or is still under way. Raises ``ChainError``, also if too
        many addresses are requested at which nothing was ever found, and ``UnusableReleaseError``.
        """
        address = address_of(app_id)
        found = None if address is None else await self._find(address, client)
        return None if found is None else replace(found, app_id=app_id)

    async def _find(self, address: bytes, client: str) -> Application | None:
        known = self._fresh(address)
        if known is not None:
            return known.application
        if address in self._familiar:
            return await self._read_through(address)
        with self._strange_place(address, client):
            return await self._read_through(address)

    @contextmanager
    def _strange_place(self, address: bytes, client: str) -> Iterator[None]:
        """Hold a place for a lookup of an address at which nothing was ever found.

        Unnamed clients are counted as one.
        """
        is_full = self._strangers.total() >= STRANGERS
        if is_full or (client and self._strangers[client] >= STRANGERS_OF_ONE):
            raise ChainError(
                f"read application {to_hex(address)}: too many are asked for that were never found",
                hint="try again",
            )
        self._strangers[client] += 1
        try:
            yield
        finally:
            self._strangers[client] -= 1
            if not self._strangers[client]:
                del self._strangers[client]

    def _fresh(self, address: bytes) -> _CachedLookup | None:
        for memory in (self._known, self._absent):
            known = memory.get(address)
            if known is not None and trio.current_time() < known.since + FRESH_SECONDS:
                memory.move_to_end(address)
                return known
        return None

    async def _read_through(self, address: bytes) -> Application | None:
        while True:
            known = self._fresh(address)
            if known is not None:
                return known.application
            read = self._reads.get(address)
            if read is None:
                return await self._start_read(address)
            await read.over.wait()
            if read.answer is not None:
                return read.answer()

    async def _start_read(self, address: bytes) -> Application | None:
        """Read, and give the result to all tasks that wait for it."""
        read = self._reads[address] = _InFlightRead()
        try:
            async with self._read_slot(address):
                since = trio.current_time()
                found = await self._read_in_time(address)
        except ChainError as error:
            read.answer = _raising(error)
            raise
        else:
            read.answer = lambda: found
            is_new = found is not None and address not in self._familiar
            self._remember(address, _CachedLookup(found, since))
            if is_new and self._kept is not None:
                await trio.to_thread.run_sync(self._kept.add, address, limiter=self._keeping)
            return found
        finally:
            del self._reads[address]
            read.over.set()

    @asynccontextmanager
    async def _read_slot(self, address: bytes) -> AsyncIterator[None]:
        """Hold a slot for one read of the chain."""
        if address in self._familiar:
            async with self._turns:
                yield
            return
        async with self._strange_turns:
            begin = max(trio.current_time(), self._next_stranger)
            self._next_stranger = begin + PACE_SECONDS
            await trio.sleep_until(begin)
            yield

    def _remember(self, address: bytes, known: _CachedLookup) -> None:
        if known.application is None:
            self._known.pop(address, None)
            _put_newest(self._absent, address, known, REMEMBERED)
            return
        self._absent.pop(address, None)
        _put_newest(self._known, address, known, REMEMBERED)
        _put_newest(self._familiar, address, None, FAMILIAR)

    # ----------------------------------------------------------------------------------------------- reading

    async def _read_in_time(self, address: bytes) -> Application | None:
        with trio.move_on_after(LOOKUP_SECONDS):
            return await self._read(address)
        raise ChainError(f"read application {to_hex(address)}: no answer within {LOOKUP_SECONDS:g} s")

    async def _read(self, address: bytes) -> Application | None:
        await self.check()
        head = await self._chain.head()
        self._chain.require_fresh(f"read application {to_hex(address)}")
        creator, number, published = await self._chain.read_at(
            head,
            self._contract,
            [
                (abi.GET_APP_CREATOR, (address,)),
                (abi.GET_APP_STATUS, (address,)),
                (abi.GET_APP_RELEASE_BLOCK, (address,)),
            ],
        )
        status = _status(number, address)
        if status is AppStatus.NONE:
            return None
        release = await self._release(address, published, head) if published else None
        return Application(AppId(to_hex(address)), bytes.fromhex(creator[2:]), status, release)

    async def _release(self, address: bytes, number: int, head: BlockRef) -> AppRelease:
        what = f"release of application {to_hex(address)} in block {number}"
        if number > head.number:
            raise ChainError(f"read {what}: the chain has {head.number} blocks only")
        query = LogQuery(self._contract, (abi.APP_UPGRADED,), address.rjust(32, b"\0"))
        events = await query.read(self._chain.rpc, number, number)
        block = await self._chain.block(number)
        if block is None or not await self._chain.is_canonical(head):
            raise ChainError(f"read {what}: the chain was reorganised meanwhile", hint="try again")
        if any(event.block_hash != block.hash or len(event.topics) != 2 for event in events):
            raise ChainError(f"read {what}: an event of another block, or with other topics")
        if not events:
            raise ChainError(
                f"read {what}: the event is missing", hint="use an RPC that serves eth_getLogs of old blocks"
            )
        return await trio.to_thread.run_sync(decode_release, events[-1].data, what, limiter=self._decoding)


def applications_of(chain: OperatorSetSource, kept: Familiar | None = None) -> ChainApplications | None:
    """Return the applications of the configured app controller, or None without one."""
    contract = chain.config.app_controller
    return None if contract is None else ChainApplications(chain, contract, kept)


def _put_newest(memory: OrderedDict[bytes, T], address: bytes, value: T, most: int) -> None:
    """Put a value in as the newest of at most ``most``."""
    memory[address] = value
    memory.move_to_end(address)
    while len(memory) > most:
        memory.popitem(last=False)


def _status(number: int, address: bytes) -> AppStatus:
    if number >= len(STATUSES):
        raise ChainError(f"read status of application {to_hex(address)}: {number} is none that is known")
    return STATUSES[number]


def _raising(error: ChainError) -> Callable[[], Application | None]:
    """Return a function that raises a new error of the same meaning, for use in another task."""
    kind = UnusableReleaseError if isinstance(error, UnusableReleaseError) else ChainError

    def answer() -> Application | None:
        raise kind(str(error), hint=error.hint) from error

    return answer
