"""One RPC endpoint of several, and what is known of it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from eigenkms.chain.rpc import JsonRpc
from eigenkms.errors import ChainError
from eigenkms.types import BlockRef


class ProviderState(Enum):
    """The state of an endpoint, in the order in which endpoints are used."""

    OK = "ok"
    UNTRIED = "untried"
    STALE = "stale"
    DISAGREES = "disagrees"
    FAILING = "failing"
    WRONG_CHAIN = "wrong chain"


RANK: Final = {
    ProviderState.OK: 0,
    ProviderState.UNTRIED: 0,
    ProviderState.STALE: 1,
    ProviderState.DISAGREES: 2,
}
"""The others are asked only where none of these is left."""


class WrongChainError(ChainError):
    """The RPC serves another chain than the configured one."""

    default_hint = "set the RPC URL of the configured chain, or the other chain id"


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """An endpoint as it is shown.

    ``latency`` is that of the last answer, in seconds; ``head`` its newest block.
    """

    endpoint: str
    state: ProviderState
    in_use: bool
    last_error: str | None
    latency: float | None
    head: BlockRef | None


class Provider:
    """One endpoint and what is known of it.

    ``index`` is its place in the configuration, from 0.
    """

    def __init__(self, index: int, rpc: JsonRpc) -> None:
        self.index = index
        self.rpc = rpc
        self.state = ProviderState.UNTRIED
        self.last_error: str | None = None
        self.latency: float | None = None
        self.head: BlockRef | None = None
        self.dissent: str | None = None
        self.dissented_at = 0
        """The highest block about which it was overruled."""
        self.verified = False
        self.failures = 0
        self.not_before = 0.0

    def __repr__(self) -> str:
        return f"<Provider {self.rpc.endpoint} {self.state.value}>"

    @property
    def rank(self) -> tuple[int, int, int]:
        """Return its place in the order of use.

        Among stale endpoints the one with the highest head comes first.
        """
        level = RANK.get(self.state, len(RANK))
        behind = -self.head.number if self.state is ProviderState.STALE and self.head else 0
        return level, behind, self.index
