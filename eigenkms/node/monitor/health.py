"""Is all well? One word and the reasons, by what one node sees of itself and of the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
CANNOT_SERVE: Final = "cannot serve"
NAMED: Final = 3
"""Operators that a reason names; more are counted."""
_FINE: Final = ("ok", "untried")
"""States of an RPC that is not in trouble."""


@dataclass(frozen=True, kw_only=True)
class HealthInput:
    """``phase`` is of the newest session once half an interval has passed since its boundary, when it should be over;
    ``holders`` are those of the newest version that are connected, this node among them; ``away`` are members that are not.
    """

    not_ready: tuple[str, ...] = ()
    member: bool = True
    share: bool = True
    away: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    """Operators that run an earlier release."""
    operators: int = 0
    holders: int = 0
    threshold: int = 0
    phase: str | None = None
    chain_error: str | None = None
    accused: tuple[str, ...] = ()
    canary: object = None
    """What the canary says of itself (``ok``, ``reason``), if there is one and it has sung."""
    providers: object = None
    """What is said of each RPC provider (``state``)."""
    anchor_error: str | None = None
    """Why the newest version could not be published in the commitment registry."""
    stale: bool = False
    """Whether no RPC shows a recent block."""


def assess(seen: HealthInput) -> tuple[str, list[str]]:
    """The word, and the reasons with the gravest first; no reasons if all is well."""
    grave, light = list(_grave(seen)), list(_light(seen))
    word = CANNOT_SERVE if grave else DEGRADED if light else HEALTHY
    return word, grave + light


def _grave(seen: HealthInput) -> Iterator[str]:
    yield from seen.not_ready
    if seen.holders < seen.threshold:
        yield f"{seen.holders} of the {seen.threshold} operators that a key takes are connected"
    if isinstance(seen.canary, Mapping) and seen.canary.get("ok") is False:
        yield f"a trial decryption failed: {str(seen.canary.get('reason') or 'no reason given')[:200]}"


def _light(seen: HealthInput) -> Iterator[str]:
    if not seen.member:
        yield "this operator is not in the operator set"
    if not seen.share and not seen.not_ready:
        yield "no share of the newest version is held"
    if seen.away:
        yield f"{len(seen.away)} of {seen.operators} operators not connected: {_names(seen.away)}"
    if seen.outdated:
        yield f"{_names(seen.outdated)} must upgrade: an earlier release takes part in no rotation"
    yield from _of_the_chain(seen)
    yield from _of_the_session(seen)
    if seen.anchor_error is not None:
        yield f"versions are not anchored: {seen.anchor_error[:200]}"
    if seen.accused:
        yield f"there is evidence against {_names(seen.accused)}"


def _of_the_chain(seen: HealthInput) -> Iterator[str]:
    if seen.chain_error is not None:
        yield f"trouble with the chain: {seen.chain_error[:200]}"
    if seen.stale:
        yield "no RPC shows a recent block: the chain stands still, or all of them are behind"
    if isinstance(seen.providers, Sequence):
        states = [p.get("state") for p in seen.providers if isinstance(p, Mapping)]
        if failing := sum(state not in _FINE for state in states):
            yield f"{failing} of {len(states)} RPC providers do not serve"


def _of_the_session(seen: HealthInput) -> Iterator[str]:
    if seen.phase == "void":
        yield "the newest session ended without a key"
    elif seen.phase not in (None, "certified"):
        yield f"the newest session is still {seen.phase}"


def _names(operators: Sequence[str]) -> str:
    shown = ", ".join(f"{name[:10]}…" for name in operators[:NAMED])
    more = len(operators) - NAMED
    return shown if more <= 0 else f"{shown} and {more} more"
