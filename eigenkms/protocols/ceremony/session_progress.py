"""How far a session is, step by step, as its frames show it to one operator.

Read from another thread than the one that steps the machines, so it takes in whole tuples first and decides nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eigenkms.protocols.ceremony.proposals import Decision
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import read_vote
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Phase


@dataclass(frozen=True)
class CeremonyStatus:
    """How far a session is.

    ``phase`` is ``dealing``, ``voting``, ``certified``, or ``void`` (ended without a key). ``missing`` are dealers of whom no valid
    dealing is here, ``source`` is the version that is dealt from, 0 at genesis.
    """

    phase: str
    view: int
    missing: tuple[OperatorAddress, ...]
    source: int


@dataclass(frozen=True)
class SessionStep:
    """``done`` are those of the ``expected`` operators that did their part.

    ``needed`` how many of them it takes to go on.
    """

    name: str
    done: tuple[OperatorAddress, ...]
    expected: tuple[OperatorAddress, ...]
    needed: int

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        return tuple(address for address in self.expected if address not in self.done)


def session_steps(
    session: Session, frames: Sequence[Frame], dealings: SharingPhase, view: int, decision: Decision | None
) -> tuple[SessionStep, ...]:
    """Return the steps of a session.

    They are ``announced`` (at genesis), ``dealt``, ``prepared``, ``committed``, ``certified``. Votes are those of ``view``, or
    of the certificate's view if there is one.
    """
    members, dealers = session.recipients.addresses, tuple(sorted(dealings.dealers))
    asked = view if decision is None else decision.certificate.view
    made = None if decision is None or decision.transcript is None else decision.certificate
    signers = () if made is None else made.signers(session.recipients)

    def step(name: str, senders: Iterable[OperatorAddress], needed: int) -> SessionStep:
        said = set(senders)
        return SessionStep(name, tuple(a for a in members if a in said), members, needed)

    def voters(phase: Phase) -> set[OperatorAddress]:
        votes = ((f.sender, read_vote(f)) for f in frames if f.kind is FrameKind.VOTE)
        cast = {sender for sender, vote in votes if (vote.view, vote.phase) == (asked, phase)}
        return cast | set(signers if phase is Phase.COMMIT else ())

    missing = dealings.missing
    steps = (
        SessionStep("dealt", tuple(a for a in dealers if a not in missing), dealers, dealings.needed),
        step("prepared", voters(Phase.PREPARE), session.threshold),
        step("committed", voters(Phase.COMMIT), session.threshold),
        step("certified", signers, session.threshold),
    )
    if dealings.source is not None:
        return steps
    announced = {f.sender for f in frames if f.kind is FrameKind.HASH}
    return (step("announced", announced, session.genesis_quorum), *steps)
