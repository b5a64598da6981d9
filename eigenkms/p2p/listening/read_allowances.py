"""How fast strangers are read: each address has one allowance, however many connections it makes, one after another or at once.

Every frame costs this node some tenths of a millisecond of its only loop, also one that yamux throws away. A connection costs a
stranger next to nothing. So a bound for each connection would be none; and one that is new must not have what was used up on the
one before.
"""

from collections import OrderedDict
from typing import Final

import trio

from eigenkms.p2p.prefixes import SHARED, prefix_of

REMEMBERED: Final = 4096
"""Prefixes; beyond, the one that connected the longest ago is forgotten."""


class Allowance:
    """``rate`` bytes a second, after as many at once."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.left = float(rate)
        """Below zero it is what is owed."""
        self._at = trio.current_time()

    def spend(self, count: int) -> float:
        """Take ``count`` bytes; return for how many seconds to wait then."""
        now = trio.current_time()
        self.left = min(self.left + (now - self._at) * self._rate, self._rate) - count
        self._at = now
        return max(0.0, -self.left / self._rate)


class Allowances:
    """Those of all addresses, an IPv6 one's /64. On this machine, where many share one, each connection has its own."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._of: OrderedDict[str, Allowance] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def of(self, address: str) -> Allowance:
        """The allowance of a connection from this address."""
        prefix = prefix_of(address)
        if prefix in SHARED:
            return Allowance(self._rate)
        if prefix not in self._of:
            self._of[prefix] = Allowance(self._rate)
            if len(self._of) > REMEMBERED:
                self._of.popitem(last=False)
        self._of.move_to_end(prefix)
        return self._of[prefix]
