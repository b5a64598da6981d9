"""Types of an operator set at one block, as read and as verified.

The reader, the roll-back and the majority of the RPCs all produce these. They stand below all three.
"""

from dataclasses import dataclass
from typing import Final

from eigenkms.types import BlockRef, Member, OperatorAddress, OperatorSet

MAX_MEMBERS: Final = 512
MAX_SOCKET_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class OperatorSetAt:
    """A set that was read and is not yet verified.

    ``members`` are sorted by address. ``keys`` has for each the registered key, or the reason why there is none.
    """

    members: tuple[OperatorAddress, ...]
    registrar: bytes
    keys: dict[OperatorAddress, bytes | str]
    sockets: dict[OperatorAddress, str]


@dataclass(frozen=True, slots=True)
class ChainOperator:
    """A member with a usable key.

    ``key_g1`` is X ‖ Y (64 bytes), ``key`` the same key in G2 (128 bytes, imaginary parts first). ``socket`` is the
    text that the operator published, unparsed, at most MAX_SOCKET_CHARACTERS of it.
    """

    address: OperatorAddress
    key_g1: bytes
    key: bytes
    socket: str


@dataclass(frozen=True, slots=True)
class RawOperatorSet:
    """The set at ``block``: usable operators sorted by address, and the others with the reason."""

    block: BlockRef
    operators: tuple[ChainOperator, ...]
    rejected: tuple[tuple[OperatorAddress, str], ...]

    @property
    def operator_set(self) -> OperatorSet:
        """Return the usable operators as the protocol's operator set."""
        return OperatorSet(tuple(Member(operator.address, operator.key) for operator in self.operators))
