"""Whether this machine's clock can be right, by the chain's.

A block's timestamp is not later than the moment when it was made, so a block from the future tells that this clock is behind, or
that the RPC tells wrong times. That a clock is ahead no single block tells: its RPC may lag behind. A node works on either way;
what suffers are tokens and certificates, whose times are checked, and its own peer record, which others take for an old one.
"""

import logging
from typing import Final

from eigenkms.types import BlockRef

CLOCK_SECONDS: Final = 30.0
"""How far a clock may be off."""

log = logging.getLogger(__name__)


def tell_clock(block: BlockRef, now: float) -> float:
    """Warn of a block from the future; ``now`` in unix seconds. Returns how many seconds it is in the future, 0 if it is not."""
    early = max(0.0, block.timestamp - now)
    if early > CLOCK_SECONDS:
        log.warning(
            "block %d is %.0f s in the future: this machine's clock is behind, or the RPC tells wrong times; "
            "eigenkms doctor asks the other operators which it is",
            block.number,
            early,
            extra={"fields": {"event": "clock", "block": block.number, "early": round(early)}},
        )
    return early
