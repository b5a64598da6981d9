"""Where a peer is dialled if several operators name its id.

An operator can write any peer id into its socket on chain and into its record, also another operator's, and beside it addresses
that lead nowhere. Whose word counts is decided here, for nodes and for clients:

1. A peer that proved which operator it is, is dialled where that operator says, and nowhere else.
2. Until then those come first whose socket on chain names the peer: that is public, and costs a transaction.
3. Those whose record alone names it come last.

Claims of equal standing take turns, address by address, so that nobody's first address stands behind all of another's. The order
depends on the claims alone, never on who is asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, zip_longest
from typing import Generic, TypeVar

P = TypeVar("P")
"""A peer id."""


class ClaimStanding(IntEnum):
    """How well an operator's claim to a peer id is founded, the best first."""

    PROVEN = 0
    """The peer itself handed over the operator's record."""
    ON_CHAIN = 1
    """The operator's socket on chain names the peer."""
    SAID = 2
    """Only a record that the operator signed names it."""


@dataclass(frozen=True)
class PeerClaim(Generic[P]):
    """An operator's word that it is ``peer`` and can be dialled at ``addresses``: texts of multiaddrs, the best first."""

    peer: P
    standing: ClaimStanding
    addresses: tuple[str, ...]


def dial_order(claims: Iterable[PeerClaim[P]]) -> dict[P, tuple[str, ...]]:
    """Return the addresses at which to dial each peer that is claimed, the first to try first, each once.

    ``claims`` of one standing keep their order. Pure and cheap: linear in the number of addresses.
    """
    of_peer: dict[P, list[PeerClaim[P]]] = {}
    for claim in claims:
        of_peer.setdefault(claim.peer, []).append(claim)
    return {peer: _merge(rivals) for peer, rivals in of_peer.items()}


def _merge(rivals: list[PeerClaim[P]]) -> tuple[str, ...]:
    if any(claim.standing is ClaimStanding.PROVEN for claim in rivals):
        rivals = [claim for claim in rivals if claim.standing is ClaimStanding.PROVEN]
    found: dict[str, None] = {}
    for standing in ClaimStanding:
        equals = [claim.addresses for claim in rivals if claim.standing is standing]
        in_turn = chain.from_iterable(zip_longest(*equals))
        found.update(dict.fromkeys(address for address in in_turn if address is not None))
    return tuple(found)
