"""The nouns that every layer shares.

They are plain values, with no behaviour beyond validation of shape. Their byte encodings are:

- addresses: 20 bytes
- hashes: 32 bytes
- BN254 G2 keys: 128 bytes ``X.c1 ‖ X.c0 ‖ Y.c1 ‖ Y.c0``, big-endian (EIP-197, imaginary part first)
- BN254 signatures: 64 bytes ``X ‖ Y``
- BLS12-381 points: compressed (ZCash/IETF), 48 bytes in G1 and 96 bytes in G2
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

OperatorAddress = NewType("OperatorAddress", bytes)
"""20 raw bytes. Operator lists are sorted by them."""

ClusterId = NewType("ClusterId", bytes)
"""32 bytes: ``keccak256("eigenkms/cluster/1" ‖ be64(chain) ‖ avs20 ‖ be32(set))``."""

SessionId = NewType("SessionId", bytes)
"""32 bytes: one boundary as a node sees it."""

Version = NewType("Version", int)
"""Timestamp (unix seconds) of the boundary block of the session that made a key version."""


class AppId(str):
    """An application's id: at least 5 bytes of UTF-8.

    An address names the same application in each spelling (crypto.app_ids).
    """

    __slots__ = ()


class ExactAppId(AppId):
    """An id that is hashed as it is spelled.

    It opens secrets that were encrypted under another spelling than the canonical one.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """The scope of one master key."""

    chain_id: int
    avs: bytes
    operator_set_id: int

    def __post_init__(self) -> None:
        if not 0 < self.chain_id < 2**64:
            raise ValueError(f"chain id {self.chain_id} is not in 1..2^64-1")
        if len(self.avs) != 20:
            raise ValueError(f"AVS address has {len(self.avs)} bytes, not 20")
        if not 0 <= self.operator_set_id < 2**32:
            raise ValueError(f"operator set id {self.operator_set_id} is not in 0..2^32-1")


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of the L1 chain. ``timestamp`` is in unix seconds."""

    number: int
    hash: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Member:
    """An operator in a session.

    ``key`` is its registered BN254 key in G2 (128 bytes).
    """

    address: OperatorAddress
    key: bytes


@dataclass(frozen=True, slots=True)
class OperatorSet:
    """The members at one block, strictly ascending by address."""

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        addresses = [m.address for m in self.members]
        if addresses != sorted(set(addresses)):
            raise ValueError("operator set is not strictly ascending by address")

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def get(self, address: OperatorAddress) -> Member | None:
        return next((m for m in self.members if m.address == address), None)

    @property
    def addresses(self) -> tuple[OperatorAddress, ...]:
        return tuple(m.address for m in self.members)


class DialOutcome(StrEnum):
    """The outcome of dialling a peer at an address."""

    REACHED = "reached"
    """The peer itself, proven."""
    REFUSED = "refused"
    """No one listens at that port."""
    TIMED_OUT = "timed-out"
    """Nothing comes back: the machine is down, or a firewall swallows what is sent."""
    OTHER_PEER = "other-peer"
    """Somebody else listens there."""
    NOT_PUBLIC = "not-public"
    """The address is a private one, which this dialler does not try."""
    FAILED = "failed"
    """Anything else: no route, no such name, not libp2p."""


def to_hex(raw: bytes) -> str:
    """Return an address or a hash as people and JSON get it: ``0x`` and hex digits."""
    return "0x" + raw.hex()
