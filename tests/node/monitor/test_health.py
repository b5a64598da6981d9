"""Is all well? The word and the reasons, for everything that a node can see."""

from dataclasses import replace
from typing import Any

import pytest

from eigenkms.chain.provider import ProviderState
from eigenkms.node.monitor.canary import CanaryResult
from eigenkms.node.monitor.health import HealthInput, HealthVerdict, assess
from eigenkms.types import OperatorAddress

PASSED = CanaryResult(True, 0.0, 0.5, 1, 4, 4)
FAILED = CanaryResult(False, 0.0, 5.0, 1, 2, 4)
WELL = HealthInput(
    operators=4, holders=4, threshold=3, phase="certified", rpc_states=(ProviderState.OK,), canary=PASSED
)
OPERATORS = tuple(OperatorAddress(i.to_bytes(20, "big")) for i in range(1, 6))


@pytest.mark.parametrize(
    "seen",
    [
        WELL,
        replace(WELL, phase=None),
        replace(WELL, canary=None, rpc_states=()),
        replace(WELL, rpc_states=(ProviderState.OK, ProviderState.UNTRIED)),
    ],
)
def test_well_needs_no_reasons(seen: HealthInput) -> None:
    """Nor does what is off, or has not been tried yet, make a node unwell."""
    assert assess(seen) == HealthVerdict("healthy")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"not_ready": ("no share of the master key is held",)}, "no share of the master key is held"),
        ({"holders": 2}, "2 of the 3 operators that a key takes are connected"),
        ({"canary": replace(FAILED, reason="two are silent")}, "a trial decryption failed: two are silent"),
        ({"canary": FAILED}, "a trial decryption failed: no reason given"),
    ],
)
def test_what_keeps_keys_from_being_served(change: dict[str, Any], reason: str) -> None:
    """Said first, whatever else is wrong."""
    assert assess(replace(WELL, **change)) == HealthVerdict("cannot serve", (reason,))
    health = assess(replace(WELL, away=OPERATORS[:1], **change))
    assert (health.word, health.reasons[0], len(health.reasons)) == ("cannot serve", reason, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"member": False}, "this operator is not in the operator set"),
        ({"share": False}, "no share of the newest version is held"),
        ({"away": OPERATORS[:1]}, "1 of 4 operators not connected: 0x00000000…"),
        (
            {"away": OPERATORS, "operators": 7},
            "5 of 7 operators not connected: 0x00000000…, 0x00000000…, 0x00000000… and 2 more",
        ),
        (
            {"chain_error": "call eth_call: " + "x" * 300},
            "trouble with the chain: call eth_call: " + "x" * 185,
        ),
        ({"stale": True}, "no RPC shows a recent block: the chain stands still, or all of them are behind"),
        ({"rpc_states": (ProviderState.OK, ProviderState.FAILING)}, "1 of 2 RPC providers do not serve"),
        ({"phase": "void"}, "the newest session ended without a key"),
        ({"phase": "dealing"}, "the newest session is still dealing"),
        ({"anchor_error": "out of gas"}, "versions are not anchored: out of gas"),
        ({"accused": OPERATORS[:1]}, "there is evidence against 0x00000000…"),
    ],
)
def test_what_wants_the_operator_soon(change: dict[str, Any], reason: str) -> None:
    """Keys are served meanwhile."""
    assert assess(replace(WELL, **change)) == HealthVerdict("degraded", (reason,))
