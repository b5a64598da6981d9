"""Comparison of this machine's clock with the timestamps of blocks.

A block's timestamp is not later than the moment when it was made. A block from the future shows that this clock is behind,
or that the RPC returns wrong timestamps. No single block shows that a clock is ahead, since the RPC may lag behind. The node works
in both cases. A wrong clock affects the checks of tokens and certificates, and the node's own peer record, which others reject as
old.
"""

import logging
from typing import Final

from eigenkms.types import BlockRef

CLOCK_SECONDS: Final = 30.0
"""Largest deviation of a clock that is not warned of, in seconds."""

log = logging.getLogger(__name__)


def warn_if_behind(block: BlockRef, now: float) -> float:
    """Warn of a block from the future, and return its lead in seconds, or 0.

    ``now`` is in unix seconds.
    """
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
