"""Signature checks that others cause: a stranger's never delay an operator's.

A check is a pairing. Everybody can cause one, by a peer record or a request in an operator's name. So each check has an owner, and
two threads do them::

    refused before? → whose is it ─┬─ an operator's: a frame of its own, by a peer that its socket or record names; a frame
                                   │  that it passes on; a frame from the address of a socket on chain
                                   │      → its rate → its turn among operators ──────────────────────────────→ thread 1
                                   └─ a client's, which is an address
                                          → its rate → places of the operator that is named → its turn, paced → thread 2

The names are not the sender's to choose: Noise authenticated the peer, TCP the address. An operator that restarts as the same peer,
or at the same address, is on the first way whatever strangers do. One that is new in both takes its turn among the strangers: it
waits for one check of each address that floods.

A frame that did not verify is remembered by its hash, with the key of the check. It is refused without cost when it comes again.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from eigenkms.fair_thread import FairThread, NoPlaceError
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.prefixes import plain_ip, prefix_of
from eigenkms.p2p.types import Request
from eigenkms.rate_limiter import RateLimiter
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.frames import BadSignatureError, Frame, verify_frame
from eigenkms.wire.session import MAX_OPERATORS

OPERATOR_RATE: Final = 0.5
OPERATOR_BURST: Final = MAX_OPERATORS
"""Checks a second of one operator, and at once: the answer to its first hello has a record of each other one."""
OPERATOR_PLACES: Final = 64
"""Checks of one operator that wait: more than its peers' requests in flight at a time."""
CLIENT_RATE: Final = 1.0
CLIENT_BURST: Final = 4
CLIENT_PLACES: Final = 2
STRANGERS: Final = 32
"""Clients whose checks wait at a time."""
NAMED: Final = STRANGERS // 2
"""Checks of strangers in one operator's name that wait, so that a flood in its name leaves room for the others."""
PAUSE_SECONDS: Final = 0.05
"""Between two checks of strangers. Those that may wait take 3.2 s, less than the 5 s of a call, and 3 % of a processor."""
REMEMBERED: Final = 4096
"""Frames that did not verify, 32 bytes each; beyond, the one that came the longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer that brought a frame, and the IP address of its connection.

    The address is empty if this node made the connection.
    """

    peer: PeerId
    address: str = ""

    @classmethod
    def of(cls, request: Request) -> "Caller":
        return cls(request.peer, request.address)

    @property
    def client(self) -> str:
        """The client that the caller counts as: its address, with IPv6 the /64.

        On this machine all have one address, so it is the peer id.
        """
        return prefix_of(self.address) if self.is_remote else str(self.peer)

    @property
    def is_remote(self) -> bool:
        """Whether the address tells it from others."""
        return bool(self.address) and not plain_ip(self.address).is_loopback


@dataclass(frozen=True, slots=True)
class CheckStatistics:
    """Counters since the start."""

    of_operators: int
    of_strangers: int
    remembered: int
    """Frames that did not verify and are remembered now."""


class SignatureChecks:
    """Checks of one node for callers that are not authenticated yet."""

    def __init__(self, peers: PeerBook) -> None:
        self._peers = peers
        self._operators = FairThread(owners=2 * MAX_OPERATORS, each=OPERATOR_PLACES)
        self._strangers = FairThread(owners=STRANGERS, each=CLIENT_PLACES, pause=PAUSE_SECONDS)
        self._operator_rates = RateLimiter(OPERATOR_RATE, OPERATOR_BURST, trio.current_time)
        self._client_rates = RateLimiter(CLIENT_RATE, CLIENT_BURST, trio.current_time)
        self._named: Counter[OperatorAddress] = Counter()
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    def statistics(self) -> CheckStatistics:
        return CheckStatistics(self._operators.done, self._strangers.done, len(self._refused))

    async def check(self, frame: Frame, caller: Caller, is_needed: Callable[[], bool] = lambda: True) -> bool:
        """Verify a frame of a known operator once it is the caller's turn.

        Return False if ``is_needed`` returns False then. Cheaper checks come before this call. Raises ``BadSignatureError``,
        ``RpcRefusal`` (busy), and what ``is_needed`` raises.
        """
        self._check_not_refused(frame)
        async with self._turn(frame.sender, caller) as turns:
            self._check_not_refused(frame)
            if not is_needed():
                return False
            key = self._key_of(frame)
            try:
                await turns.work(verify_frame, frame, key)
            except BadSignatureError:
                self._remember(_name_of(frame, key))
                raise
        return True

    def _key_of(self, frame: Frame) -> bytes:
        key = self._peers.key_of(frame.sender)
        if key is None:
            raise BadSignatureError(f"verify {frame.kind.name} frame: {to_hex(frame.sender)} is no operator")
        return key

    def _check_not_refused(self, frame: Frame) -> None:
        if _name_of(frame, self._key_of(frame)) in self._refused:
            raise BadSignatureError(
                f"verify {frame.kind.name} frame of {to_hex(frame.sender)}: bad signature, as before"
            )

    def _remember(self, name: bytes) -> None:
        self._refused[name] = None
        if len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)

    @asynccontextmanager
    async def _turn(self, sender: OperatorAddress, caller: Caller) -> AsyncIterator[FairThread]:
        owner = self._operator_behind(sender, caller)
        try:
            if owner is not None:
                _take(self._operator_rates, owner)
                async with self._operators.turn(owner):
                    yield self._operators
                return
            with self._place(sender):
                _take(self._client_rates, caller.client)
                async with self._strangers.turn(caller.client):
                    yield self._strangers
        except NoPlaceError:
            raise _busy(1) from None

    def _operator_behind(self, sender: OperatorAddress, caller: Caller) -> str | None:
        """Return the name of the operator that owns the check, or None for a stranger."""
        if self._peers.is_claimed_peer(caller.peer, sender):
            return sender.hex()
        if (proven := self._peers.operator_of(caller.peer)) is not None:
            return proven.hex()
        if caller.is_remote and self._peers.is_at(caller.address):
            return f"at {caller.client}"
        return None

    @contextmanager
    def _place(self, sender: OperatorAddress) -> Iterator[None]:
        """Take one of the places for checks of strangers in this operator's name."""
        if self._named[sender] >= NAMED:
            raise _busy(1)
        self._named[sender] += 1
        try:
            yield
        finally:
            self._named[sender] -= 1
            if not self._named[sender]:
                del self._named[sender]


def _name_of(frame: Frame, key: bytes) -> bytes:
    """Return the hash that a refusal is remembered by.

    A frame that is refused under one key may be good under a later one.
    """
    return hashlib.sha256(key + frame.encoded).digest()


def _take(rates: RateLimiter, name: str) -> None:
    if wait := rates.acquire(name):
        raise _busy(wait)


def _busy(seconds: int) -> RpcRefusal:
    return RpcRefusal("busy", f"this operator checks few signatures of strangers: ask again in {seconds} s")
