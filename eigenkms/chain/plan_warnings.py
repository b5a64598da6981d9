"""Warnings before the transactions of a plan are sent.

The effects reach beyond the operator set. The allocation delay is the operator's in all of EigenLayer. The AVS registrar keeps one
socket for an operator, in all sets of the AVS.
"""

from collections.abc import Iterator

from eigenkms.chain import abi
from eigenkms.chain.operator_plan import OperatorRegistration
from eigenkms.chain.registration import OperatorProfile
from eigenkms.errors import InputError


def warnings_of_joining(
    now: OperatorRegistration, curve: int, socket: str, profile: OperatorProfile
) -> Iterator[str]:
    """Yield what joining with a key of this curve and with this socket means."""
    if curve != abi.CURVE_BN254:
        yield "no node of this network can serve in this set: nodes sign with BN254 keys"
    if now.socket not in ("", socket):
        yield describe_replacement(now.socket, socket)
    if not now.is_operator:
        yield (
            f"the operator's allocation delay is {profile.allocation_delay} blocks, in all of EigenLayer; "
            "--allocation-delay gives another one"
        )
    yield "membership carries no stake: nothing is allocated to the operator set"


def describe_replacement(old: str, new: str) -> str:
    """Return the sentence on a socket that replaces another one."""
    return f"the socket {old} is replaced by {new} in all operator sets of the AVS, whose registrar keeps one of an operator"


def socket_replaced(action: str, old: str, new: str) -> InputError:
    """Return the error of a registration that would replace a socket unasked."""
    return InputError(
        f"{action}: {describe_replacement(old, new)}",
        hint="publish the same socket, or give --replace-socket if the operator serves at the old one in no other set",
    )
