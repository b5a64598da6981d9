"""Checks against the other operators: answers, parameters, clocks."""

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from statistics import median
from typing import Final

import trio

from eigenkms import bounded_json
from eigenkms.config.node import parameters_of
from eigenkms.errors import EigenKmsError, NetworkError
from eigenkms.maintenance.doctor.checks import Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext, PeerStatus
from eigenkms.node.clock_skew import CLOCK_SECONDS
from eigenkms.p2p.identity import PeerAddress
from eigenkms.p2p.operator_socket import describe_unusable
from eigenkms.types import DialOutcome, OperatorAddress, to_hex
from eigenkms.wire import rpc_methods

ANSWER_SECONDS: Final = 6.0
DIAL_SECONDS: Final = 4.0
MAX_TIME: Final = 2**53
"""Unix times beyond this one are invalid."""


class PeerFault(Enum):
    """Why an operator did not answer, in the order in which its next step matters."""

    FILTERED = auto()
    OTHER = auto()
    REFUSED = auto()
    UNPARSABLE = auto()


_ADVICE: Final = {
    PeerFault.FILTERED: "let this machine open TCP connections outwards, if other machines reach these addresses",
    PeerFault.OTHER: "let this machine open TCP connections outwards",
    PeerFault.REFUSED: "tell these operators: this machine reaches theirs, and no node listens there",
    PeerFault.UNPARSABLE: "tell these operators to publish sockets of this network (eigenkms operator update-socket); if they run "
    "the reference implementation, this operator set is not for this program",
}


@dataclass(frozen=True, slots=True)
class MissingAnswer:
    """Why one operator did not answer, for a person in ``reason``."""

    fault: PeerFault
    reason: str


async def peers(case: CheckContext) -> Finding:
    """Check that the other operators answer at their sockets on chain."""
    assert case.operators is not None
    others = [o for o in case.operators.operators if o.address != case.config.operator]
    if not others:
        return skipped("there are no other operators yet")
    missing = {
        o.address: MissingAnswer(PeerFault.UNPARSABLE, describe_unusable(o.socket))
        for o in others
        if o.address not in case.addresses
    }
    async with trio.open_nursery() as nursery:
        for operator, address in case.addresses.items():
            nursery.start_soon(_ask_status, case, operator, address, missing)
    silent = "; ".join(f"{to_hex(operator)}: {missing[operator].reason}" for operator in sorted(missing))
    if not case.peers:
        advice = _ADVICE[_most_telling(missing.values())]
        return failed(f"none of {len(others)} other operators answers: {silent}", advice)
    if silent:
        return warning(
            f"{len(case.peers)} of {len(others)} other operators answer; {silent}", "tell these operators"
        )
    return ok(f"{len(others)} of {len(others)} other operators answer")


def _most_telling(missing: Collection[MissingAnswer]) -> PeerFault:
    """Return the fault whose next step comes first.

    A fault of this machine comes before one of theirs.
    """
    found = {each.fault for each in missing}
    return next(fault for fault in PeerFault if fault in found)


async def _ask_status(
    case: CheckContext,
    operator: OperatorAddress,
    address: PeerAddress,
    missing: dict[OperatorAddress, MissingAnswer],
) -> None:
    case.visitor.set_addresses(address.peer_id, [address.multiaddr])
    try:
        begun, asked = case.clock(), time.monotonic()
        answer = await case.visitor.call(
            address.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.STATUS, b"", timeout=ANSWER_SECONDS
        )
        took = time.monotonic() - asked
        said = bounded_json.loads(answer)
    except (EigenKmsError, ValueError) as error:
        missing[operator] = await _missing_answer(case, address, error)
        return
    if not isinstance(said, dict):
        missing[operator] = MissingAnswer(PeerFault.OTHER, "its status is no status")
        return
    told = said.get("time")
    ahead = None
    if isinstance(told, int | float) and not isinstance(told, bool) and abs(told) <= MAX_TIME:
        ahead = told - (begun + took / 2)
    case.peers[operator] = PeerStatus(said, ahead)


async def _missing_answer(case: CheckContext, address: PeerAddress, error: Exception) -> MissingAnswer:
    """Return the fault behind a failed call.

    A new dial finds out whether the port refuses it or swallows it.
    """
    if not isinstance(error, NetworkError):
        return MissingAnswer(PeerFault.OTHER, str(error)[:200])
    met = await case.visitor.probe(address.peer_id, address.transport, timeout=DIAL_SECONDS)
    if met is DialOutcome.REFUSED:
        return MissingAnswer(PeerFault.REFUSED, f"connection refused: nothing listens at {address.multiaddr}")
    if met is DialOutcome.TIMED_OUT:
        return MissingAnswer(PeerFault.FILTERED, f"nothing comes back from {address.multiaddr}")
    return MissingAnswer(PeerFault.OTHER, str(error)[:200])


async def parameters(case: CheckContext) -> Finding:
    """Check that all operators have the same session parameters.

    Operators of older versions do not report theirs.
    """
    mine, shown, wrong, odd = parameters_of(case.config), [], [], []
    told = {
        o: t.said["parameters"]
        for o, t in case.peers.items()
        if isinstance(t.said.get("parameters"), Mapping)
    }
    for name, own in mine.items():
        others = {o: said.get(name) for o, said in told.items() if isinstance(said, Mapping)}
        different = {o: value for o, value in others.items() if value != own}
        shown.append(f"{name} {own}")
        if 2 * len(different) > len(others):
            values = sorted({str(value) for value in different.values() if _is_value(value)})
            wrong.append((name, own, len(different), len(others), values))
        elif different:
            odd.append(f"{name} at {', '.join(map(to_hex, sorted(different)))}")
    if not told:
        return skipped("no operator tells what it runs with")
    if wrong:
        says = [
            f"{name} is {own} here and {' or '.join(v)} at {k} of {n} others" for name, own, k, n, v in wrong
        ]
        return failed("; ".join(says), f"set {', '.join(_setting(name, v) for name, _, _, _, v in wrong)}")
    if odd:
        return warning(
            f"others differ: {'; '.join(odd)}", "tell these operators: theirs are sessions of their own"
        )
    return ok(f"{', '.join(shown)}, as {len(told)} others have it")


def _is_value(value: object) -> bool:
    """Return whether a stranger's value may appear in advice: a number, or a finality."""
    return type(value) is int or (
        isinstance(value, str) and re.fullmatch("[a-z0-9-]{1,20}", value) is not None
    )


def _setting(name: str, values: list[str]) -> str:
    """Return the line of the configuration file that sets a parameter."""
    if not values:
        return f"{name} as the others have it"
    value = values[0]
    if name == "window_ms":
        return (
            f"window_seconds = {int(value) / 1000:g}" if value.isdigit() else f"{name} as the others have it"
        )
    return f'finality = "{value}"' if name == "finality" else f"{name} = {value}"


async def clock(case: CheckContext) -> Finding:
    """Check this machine's clock against the operators' clocks and the newest block.

    The newest block cannot come from the future.
    """
    ahead = [told.ahead for told in case.peers.values() if told.ahead is not None]
    early = case.head_time - case.clock()
    off = median(ahead) if ahead else None
    advice = "set this machine's clock: timedatectl set-ntp true"
    if off is not None and abs(off) > CLOCK_SECONDS:
        which = "behind" if off > 0 else "ahead of"
        return failed(
            f"this machine's clock is {abs(off):.0f} s {which} those of {len(ahead)} operators", advice
        )
    if early > CLOCK_SECONDS and off is None:
        return failed(
            f"the chain's newest block is {early:.0f} s in the future of this machine's clock", advice
        )
    if early > CLOCK_SECONDS:
        return failed(
            f"the chain's newest block is {early:.0f} s in the future, though {len(ahead)} operators have this machine's time",
            case.spare_rpc(
                "use another RPC: this one tells wrong times of blocks",
                alone="check the node of the RPC: its times of blocks are wrong",
            ),
        )
    if off is None:
        return ok("the chain's newest block is not from the future; no operator told its time")
    return ok(f"{abs(off):.1f} s off the clocks of {len(ahead)} operators")
