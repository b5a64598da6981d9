"""Can you reach me? An operator asks another one to dial it (docs/protocol.md, Reach).

The request is a REACH frame ``[time]``, unix milliseconds, to one recipient and signed with the operator's BN254 key, so that it
may come from any peer: whoever looks for the fault is seldom the node itself. It names no address. The recipient dials the
socket that the chain has of the sender, expects the peer id in it, and answers ``[address, outcome]``.

A request is good for ``VALID_MS`` around the recipient's time, and once: its time must be later than that of the one before.
"""

from dataclasses import dataclass

from eigenkms.crypto import bn254
from eigenkms.types import ClusterId, DialOutcome, OperatorAddress
from eigenkms.wire.codec import Fields, MalformedError, decode, encode
from eigenkms.wire.frames import NO_SESSION, Frame, FrameKind, WrongScopeError, build_frame

VALID_MS = 5 * 60 * 1000
MAX_ADDRESS_CHARACTERS = 1024


def build_reach_request(
    key: bn254.KeyPair,
    *,
    cluster: ClusterId,
    operator: OperatorAddress,
    recipient: OperatorAddress,
    time_ms: int,
) -> Frame:
    """Sign ``operator``'s question to ``recipient``."""
    return build_frame(
        key,
        kind=FrameKind.REACH,
        cluster=cluster,
        sender=operator,
        recipient=recipient,
        session=NO_SESSION,
        body=[time_ms],
    )


def read_reach_request(frame: Frame, *, cluster: ClusterId, me: OperatorAddress) -> int:
    """Return the time of the request, unix milliseconds.

    Raises ``MalformedError``, and ``WrongScopeError`` if it is not for ``me``.

    Signature and time are the caller's to check.
    """
    if frame.kind is not FrameKind.REACH or frame.session != NO_SESSION:
        raise MalformedError(f"read reach request: a {frame.kind.name} frame, or one of a session")
    if frame.cluster != cluster or frame.recipient != me:
        raise WrongScopeError("read reach request: for another cluster or recipient")
    return Fields(frame.body, 1, "reach request").uint(64)


@dataclass(frozen=True, slots=True)
class ReachAnswer:
    """What the asked operator met at ``address``, the sender's socket on chain as far as it knows the chain."""

    address: str
    outcome: DialOutcome

    @property
    def encoded(self) -> bytes:
        return encode([self.address, str(self.outcome)])


def decode_reach_answer(data: bytes) -> ReachAnswer:
    """Decode a reach answer. Raises ``MalformedError``."""
    fields = Fields(decode(data, what="reach answer", limit=8192), 2, "reach answer")
    address, outcome = fields.text(MAX_ADDRESS_CHARACTERS), fields.text(32)
    try:
        return ReachAnswer(address, DialOutcome(outcome))
    except ValueError:
        raise MalformedError("decode reach answer: an unknown outcome") from None
