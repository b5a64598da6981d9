"""Evidence: what an operator signed and no correct one signs; anybody can check it again (docs/protocol.md, Evidence).

*What convicts.* A fault is shown by frames of the accused alone. Beside them stand, if the fault needs them, the transcript that a
dealing is made from, and the dealing's body. Both are bound by hashes in the signed frames, so they cannot be made up: the accused
named them. The session is bound as its id stands in each frame. So nothing in evidence is the accuser's word.

*No correct operator is convicted.* It signs one thing a slot (``signer``). Its dealings keep the terms (``dealing_terms``),
its proofs and signatures hold, and it passes on only certificates and transcripts that it verified. Whether a vote breaks a lock,
or a proposal should have been another one, depends on what the accused had received: no frame shows that, and none of it is a fault
here. A message of another operator convicts nobody, so relayed frames do not either.

The proofs of each fault are in ``fault_proofs``, the check of a whole piece of evidence in ``evidence_check``.
"""

from dataclasses import dataclass
from enum import StrEnum

from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.frames import Frame
from eigenkms.wire.transcript import Transcript


class Fault(StrEnum):
    """Faults: no correct operator signs such a thing. The values are stored and sent."""

    EQUIVOCATION = "equivocation"
    """Two different frames in one slot."""
    BAD_DEALING = "bad-dealing"
    """A signed dealing that breaks the terms, has not the commitments that its dealer announced, or is not proven by its body."""
    BAD_KEY = "bad-key"
    """A signed encryption key whose proof of possession does not hold."""
    BAD_VOTE = "bad-vote"
    """A signed vote frame whose vote signature does not verify."""
    BAD_PROPOSAL = "bad-proposal"
    """A signed proposal with a transcript that is none of its session, or from another source than the proposal names."""
    BAD_CERTIFICATE = "bad-certificate"
    """A signed proposal, view change or certificate frame around a certificate that does not verify."""


@dataclass(frozen=True)
class Evidence:
    """``frames`` in the order the kind's check wants them.

    ``source`` is what the dealing in the first frame is made from, if the fault is a dealing's, or if that transcript alone makes
    the accused a party to the session. ``body`` is the dealing's, if its header convicts nobody.
    """

    fault: Fault
    accused: OperatorAddress
    session: SessionId
    frames: tuple[Frame, ...]
    source: Transcript | None = None
    body: bytes | None = None
