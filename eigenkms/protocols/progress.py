"""How far a session is, step by step, as its frames show it to one operator.

Read from another thread than the one that steps the machines, so it takes in whole tuples first and decides nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eigenkms.protocols.agreement import Decision, quorum
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import read_confirm, read_vote, source_of
from eigenkms.protocols.session import Session
from eigenkms.protocols.settlement import settlement_quorum
from eigenkms.protocols.votes import Phase
from eigenkms.types import OperatorAddress

_SOME_HASH = b"\x01" * 32
"""That of a transcript, whichever: only ∅ has a quorum of its own."""


@dataclass(frozen=True)
class Step:
    """``done`` are those of the ``expected`` operators that did their part; ``needed`` how many of them it takes to go on."""

    name: str
    done: tuple[OperatorAddress, ...]
    expected: tuple[OperatorAddress, ...]
    needed: int

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        return tuple(address for address in self.expected if address not in self.done)


def steps_of(
    session: Session, frames: Sequence[Frame], exchange: Exchange, view: int, decision: Decision | None
) -> tuple[Step, ...]:
    """``announced`` (at genesis), ``dealt``, ``reported``, ``prepared``, ``committed``, ``certified``, ``confirmed`` (in a
    rotation). Votes are those of ``view``, or of the certificate's where there is one.
    """
    members, source = session.recipients.addresses, exchange.source_version
    rotation = exchange.source is not None
    dealers = members if exchange.dealers is None else tuple(sorted(exchange.dealers))
    asked = view if decision is None else decision.certificate.view
    made = None if decision is None or decision.transcript is None else decision.certificate
    signers = () if made is None else made.signers(session.recipients)

    def step(name: str, senders: Iterable[OperatorAddress], needed: int) -> Step:
        said = set(senders)
        return Step(name, tuple(a for a in members if a in said), members, needed)

    def of_exchange(kind: Kind) -> set[OperatorAddress]:
        return {f.sender for f in frames if f.kind is kind and source_of(f) == source}

    def voters(phase: Phase) -> set[OperatorAddress]:
        votes = ((f.sender, read_vote(f)) for f in frames if f.kind is Kind.VOTE)
        cast = {sender for sender, vote in votes if (vote.view, vote.phase) == (asked, phase)}
        return cast | set(signers if phase is Phase.COMMIT else ())

    dealt = of_exchange(Kind.DEALING)
    steps = [
        Step("dealt", tuple(a for a in dealers if a in dealt), dealers, exchange.dealers_needed),
        step("reported", of_exchange(Kind.REPORT), session.n),
        step("prepared", voters(Phase.PREPARE), quorum(session, Phase.PREPARE, _SOME_HASH, rooted=rotation)),
        step("committed", voters(Phase.COMMIT), session.threshold),
        step("certified", signers, session.threshold),
    ]
    if not rotation:
        return (step("announced", of_exchange(Kind.HASH), session.genesis_quorum), *steps)
    named = None if made is None else made.hash
    confirms = {f.sender for f in frames if f.kind is Kind.CONFIRM and read_confirm(f).hash == named}
    return (*steps, step("confirmed", confirms, settlement_quorum(session.n)))
