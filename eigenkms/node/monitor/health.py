"""Assessment of a node: one word, and the reasons for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from eigenkms.chain.provider import ProviderState
from eigenkms.node.monitor.canary import CanaryResult
from eigenkms.types import OperatorAddress, to_hex

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
CANNOT_SERVE: Final = "cannot serve"
NAMED: Final = 3
"""Operators that a reason names; further ones are counted."""
MAX_REASON: Final = 200
"""Characters that are quoted of a reason from elsewhere."""
_FINE: Final = (ProviderState.OK, ProviderState.UNTRIED)


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """The word, and the reasons with the gravest first; none if the node is healthy."""

    word: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HealthInput:
    """The facts that decide.

    ``away`` are members that are not connected, ``holders`` the connected ones of the newest version.

    The holders include this node. ``phase`` is that of the newest session. It is set once half an interval has passed since the
    session's boundary, when the session should be over.
    """

    not_ready: tuple[str, ...] = ()
    member: bool = True
    share: bool = True
    away: tuple[OperatorAddress, ...] = ()
    outdated: tuple[OperatorAddress, ...] = ()
    """Operators that run an earlier release."""
    operators: int = 0
    holders: int = 0
    threshold: int = 0
    phase: str | None = None
    chain_error: str | None = None
    accused: tuple[OperatorAddress, ...] = ()
    canary: CanaryResult | None = None
    """The last trial decryption, if there was one."""
    rpc_states: tuple[ProviderState, ...] = ()
    """The state of each RPC provider, if there is a pool of them."""
    anchor_error: str | None = None
    """Why the newest version could not be published in the commitment registry."""
    stale: bool = False
    """Whether no RPC has a recent block."""


def assess(found: HealthInput) -> HealthVerdict:
    """Return the node's health."""
    grave, light = tuple(_grave(found)), tuple(_light(found))
    word = CANNOT_SERVE if grave else DEGRADED if light else HEALTHY
    return HealthVerdict(word, grave + light)


def _grave(found: HealthInput) -> Iterator[str]:
    yield from found.not_ready
    if found.holders < found.threshold:
        yield f"{found.holders} of the {found.threshold} operators that a key takes are connected"
    if found.canary is not None and not found.canary.ok:
        yield f"a trial decryption failed: {(found.canary.reason or 'no reason given')[:MAX_REASON]}"


def _light(found: HealthInput) -> Iterator[str]:
    if not found.member:
        yield "this operator is not in the operator set"
    if not found.share and not found.not_ready:
        yield "no share of the newest version is held"
    if found.away:
        yield f"{len(found.away)} of {found.operators} operators not connected: {_names(found.away)}"
    if found.outdated:
        yield f"{_names(found.outdated)} must upgrade: an earlier release takes part in no rotation"
    yield from _chain_reasons(found)
    yield from _session_reasons(found)
    if found.anchor_error is not None:
        yield f"versions are not anchored: {found.anchor_error[:MAX_REASON]}"
    if found.accused:
        yield f"there is evidence against {_names(found.accused)}"


def _chain_reasons(found: HealthInput) -> Iterator[str]:
    if found.chain_error is not None:
        yield f"trouble with the chain: {found.chain_error[:MAX_REASON]}"
    if found.stale:
        yield "no RPC shows a recent block: the chain stands still, or all of them are behind"
    if failing := sum(state not in _FINE for state in found.rpc_states):
        yield f"{failing} of {len(found.rpc_states)} RPC providers do not serve"


def _session_reasons(found: HealthInput) -> Iterator[str]:
    if found.phase == "void":
        yield "the newest session ended without a key"
    elif found.phase not in (None, "certified"):
        yield f"the newest session is still {found.phase}"


def _names(operators: Sequence[OperatorAddress]) -> str:
    shown = ", ".join(f"{to_hex(operator)[:10]}…" for operator in operators[:NAMED])
    more = len(operators) - NAMED
    return shown if more <= 0 else f"{shown} and {more} more"
