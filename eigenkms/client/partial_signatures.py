"""Collection of partial signatures of one identity until t of them combine.

Optimistic: t signatures are combined without a check of each, since the result is checked against the master public key. Only if
that fails is each checked against its operator's public share. An invalid one is never used again, so no subsets are tried.
See docs/protocol.md, Clients.
"""

import os
from enum import Enum

from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import Identity
from eigenkms.crypto.scalars import coordinate
from eigenkms.errors import EigenKmsError
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.frames import Frame, WrongScopeError, verify_frame
from eigenkms.wire.transcript import Transcript


class Outcome(Enum):
    """The state of knowledge on a partial signature."""

    GOOD = "good"
    """Not known to be invalid."""
    INVALID = "invalid"
    """Signed by its operator, and not what its share gives."""


class SignatureCollector:
    """``add`` costs pairings: call it in a worker thread, one at a time."""

    def __init__(self, identity: Identity, transcript: Transcript) -> None:
        self.identity = identity
        self.transcript = transcript
        self.app_key: bytes | None = None
        self.failures: dict[OperatorAddress, EigenKmsError] = {}
        self._signatures: dict[OperatorAddress, bytes] = {}
        self._outcomes: dict[OperatorAddress, Outcome] = {}

    @property
    def invalid_signers(self) -> tuple[OperatorAddress, ...]:
        """Operators whose signature is not what their share gives."""
        return tuple(a for a, outcome in self._outcomes.items() if outcome is Outcome.INVALID)

    def count(self, outcome: Outcome) -> int:
        return sum(1 for o in self._outcomes.values() if o is outcome)

    @property
    def summary(self) -> str:
        return f"{self.count(Outcome.GOOD)} of {self.transcript.threshold} partial signatures"

    def unanswered(self) -> tuple[OperatorAddress, ...]:
        """Return the recipients without a signature or a failure."""
        answered = self._outcomes.keys() | self.failures.keys()
        return tuple(a for a in self.transcript.recipients.addresses if a not in answered)

    def record_failure(self, operator: OperatorAddress, error: EigenKmsError) -> None:
        self.failures[operator] = error

    def add(self, operator: OperatorAddress, frame: Frame, signature: bytes) -> None:
        """Add an answer; set ``app_key`` once t of them combine.

        Raises ``RemoteProtocolError`` if the operator did not sign it.
        """
        member = self.transcript.recipients.get(operator)
        assert member is not None
        if frame.sender != operator:
            raise WrongScopeError(f"read partial signature of {to_hex(operator)}: signed as another operator")
        verify_frame(frame, member.key)
        self.failures.pop(operator, None)
        if self.app_key is not None:
            return
        self._signatures[operator] = signature
        self._outcomes[operator] = Outcome.GOOD
        if self.count(Outcome.GOOD) >= self.transcript.threshold:
            self._combine()

    def _combine(self) -> None:
        chosen = [a for a, o in self._outcomes.items() if o is Outcome.GOOD][: self.transcript.threshold]
        key = self._recover(chosen)
        if key is None:
            self._find_invalid()
            rest = [a for a, o in self._outcomes.items() if o is Outcome.GOOD][: self.transcript.threshold]
            key = self._recover(rest) if len(rest) == self.transcript.threshold else None
        self.app_key = key

    def _recover(self, chosen: list[OperatorAddress]) -> bytes | None:
        try:
            key = bls.recover([coordinate(a) for a in chosen], [self._signatures[a] for a in chosen])
        except ValueError:
            return None
        return key if bls.verify_app_key(self.identity, key, self.transcript.mpk) else None

    def _find_invalid(self) -> None:
        """Check every signature against its operator's public share."""
        held = [a for a, o in self._outcomes.items() if o is Outcome.GOOD]
        items = [(self._signatures[a], self.transcript.public_share(a)) for a in held]
        for index in bls.verify_partials(self.identity, items, os.urandom):
            self._outcomes[held[index]] = Outcome.INVALID
