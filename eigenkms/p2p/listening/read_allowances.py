"""Limit how fast strangers are read: all connections of an address share a rate.

Every frame costs this node some tenths of a millisecond of its only loop, even a frame that yamux discards. A connection
costs a stranger next to nothing. So a bound for each connection would bound nothing, and a new connection must not
regain what an earlier one used up.
"""

from typing import Final

import trio

from eigenkms.p2p.prefixes import SHARED, prefix_of
from eigenkms.token_bucket import TokenBucket, TokenBuckets

REMEMBERED: Final = 4096
"""Prefixes. Beyond that, the one that connected the longest ago is forgotten."""


def new_allowance(rate: int) -> TokenBucket:
    """Return a bucket of bytes: ``rate`` a second, after as many at once."""
    return TokenBucket.full(rate, rate, trio.current_time())


class Allowances:
    """The allowances of all addresses; an IPv6 address has that of its /64.

    On this machine, where many share one address, each connection has its own.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._buckets = TokenBuckets(rate, rate, REMEMBERED)

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, address: str) -> TokenBucket:
        """Return the allowance of a connection from this address."""
        prefix = prefix_of(address)
        if prefix in SHARED:
            return new_allowance(self._rate)
        return self._buckets.get(prefix, trio.current_time())
