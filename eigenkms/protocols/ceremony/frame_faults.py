"""Faults that one frame of agreement shows by itself.

Each is reported once for each operator.

An operator that showed one bad certificate could show thousands, and each costs a pairing: its next ones are not looked at.
"""

from eigenkms.protocols.ceremony.effects import Effect, ReportFault
from eigenkms.protocols.ceremony.transcript_pool import TranscriptPool
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.fault_proofs import carried_certificate, is_bad_proposal
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import read_proposal
from eigenkms.wire.session import Session


class FrameFaults:
    """The faults found in one session."""

    def __init__(self, session: Session, transcripts: TranscriptPool) -> None:
        self._session = session
        self._transcripts = transcripts
        self._reported: set[tuple[OperatorAddress, Fault]] = set()

    def trusts(self, sender: OperatorAddress) -> bool:
        """Return whether certificates that ``sender`` shows are worth a pairing."""
        return (sender, Fault.BAD_CERTIFICATE) not in self._reported

    def check(self, frame: Frame) -> list[Effect]:
        """Report a frame that its sender cannot have verified before it signed it."""
        fault = self._fault_of(frame)
        return [] if fault is None else self.report(fault, frame)

    def _fault_of(self, frame: Frame) -> Fault | None:
        certificate = carried_certificate(frame) if self.trusts(frame.sender) else None
        if certificate is not None and not self._transcripts.is_valid(certificate):
            return Fault.BAD_CERTIFICATE
        if frame.kind is FrameKind.PROPOSAL:
            proposal = read_proposal(frame)
            if self._transcripts.find(proposal) is None and is_bad_proposal(proposal, self._session):
                return Fault.BAD_PROPOSAL
        return None

    def report(self, fault: Fault, frame: Frame) -> list[Effect]:
        """Report a fault, once for each operator and fault.

        A holder of a source that is no member gives no such evidence.
        """
        found = (frame.sender, fault)
        if found in self._reported or frame.sender not in self._session.x:
            return []
        self._reported.add(found)
        return [ReportFault(Evidence(fault, frame.sender, self._session.id, (frame,)))]
