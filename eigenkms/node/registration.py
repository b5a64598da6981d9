"""Registration on chain: the set must list this operator under its key.

The check is made before the network opens, and again at each boundary, as an operator may register another key meanwhile. A node
that signs with another key is refused by all others, so it ends with ``InputError``. An operator that is not in the set yet waits.

The blocks that are read also show whether this machine's clock is behind (``clock_behind``, in seconds).
"""

import logging
import time

from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.errors import InputError
from eigenkms.node.clock_skew import warn_if_behind
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.types import BlockRef, OperatorAddress, to_hex

log = logging.getLogger(__name__)


class RegistrationCheck:
    """Compares operator sets with this operator's BN254 G2 key, ``key``."""

    def __init__(self, operator: OperatorAddress, key: bytes) -> None:
        self._operator = operator
        self._key = key
        self.clock_behind = 0.0
        """Seconds that the last block lies in the future of this machine's clock, 0 if it does not."""

    async def check_at_start(self, chain: OperatorSetSource, peers: PeerBook) -> None:
        """Read the set at the head into ``peers``, and compare.

        Raises ``InputError`` for another key, and ``ChainError``.
        """
        found = await chain.operators_at(await chain.head())
        self.check_clock(found.block)
        peers.update(found.operators)
        log_rejected(found)
        if self._operator not in found.operator_set.addresses:
            log.warning(
                "operator %s is not in the operator set at this block: waiting to be registered",
                to_hex(self._operator),
            )
        self.check_key(found)

    def check_clock(self, block: BlockRef) -> None:
        """Compare the block's time with this machine's clock; warn if the clock is behind."""
        self.clock_behind = warn_if_behind(block, time.time())

    def check_key(self, found: RawOperatorSet) -> None:
        """Raise ``InputError`` if the set lists this operator under another key."""
        mine = found.operator_set.get(self._operator)
        if mine is not None and mine.key != self._key:
            raise InputError(
                f"use the BN254 keystore: the key of operator {to_hex(mine.address)} on chain is another one",
                hint="give the keystore of the key that was registered for this operator and operator set",
            )


def log_rejected(found: RawOperatorSet) -> None:
    """Warn of each operator that the set leaves out, with the reason."""
    for address, reason in found.rejected:
        log.warning("operator %s is left out: %s", to_hex(address), reason)
