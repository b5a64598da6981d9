"""Who has a say in a session: its recipients, and the holders of the versions that are dealt from.

Recipients speak here. Holders of a source deal and listen even if they are no recipients. Whoever deals from a version that is
not known here is remembered, as it may hold a higher settled one.
"""

from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import GENESIS_SOURCE, read_answer, read_opening, read_proposal
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.types import OperatorAddress, OperatorSet

MAX_UNKNOWN_SOURCES = 64
"""Senders of frames of an unknown source that are remembered although they are no members. Their signatures are not verified yet:
whoever they are made up by, members are remembered beside them.
"""
_HOLDERS_KINDS = frozenset({Kind.DEALING, Kind.SHARE, Kind.ANSWER, Kind.CERTIFICATE, Kind.SYNC})
"""What a holder of the source that is no recipient may say."""


class Parties:
    """Those of one session, as ``me`` knows them. Sources are admitted in ascending order."""

    def __init__(self, session: Session, me: OperatorAddress) -> None:
        self._session = session
        self._me = me
        self._members = session.recipients
        self._unknown_sources: dict[OperatorAddress, int] = {}
        self.sources: tuple[Transcript, ...] = ()

    def admit(self, source: Transcript) -> None:
        """The holders of a source have a say here."""
        self.sources = (*self.sources, source)
        known = {member.address: member for member in (*source.recipients, *self._members)}
        self._members = OperatorSet(tuple(known[a] for a in sorted(known)))

    def key_of(self, sender: OperatorAddress) -> bytes | None:
        """BN254 G2 key of a recipient, or else of a holder of a source."""
        member = self._session.recipients.get(sender) or self._members.get(sender)
        return None if member is None else member.key

    def check_scope(self, frame: Frame) -> None:
        """Raise ``WrongScopeError`` unless the frame is of this session, for me or all, and its sender may say such a thing."""
        members = self._members if frame.kind in _HOLDERS_KINDS else self._session.recipients
        session = self._session
        frame.check_scope(cluster=session.cluster, me=self._me, members=members, session=session.id)

    def are_named_by(self, frame: Frame) -> bool:
        """Whether those whom a frame names are members, and a proposal is its view's coordinator's."""
        match frame.kind:
            case Kind.ANSWER:
                return read_answer(frame).recipient in self._session.x
            case Kind.OPENING:
                return self._members.get(read_opening(frame).dealer) is not None
            case Kind.PROPOSAL:
                return frame.sender == self._session.coordinator(read_proposal(frame).view)
            case _:
                return True

    def source_of_outsider(self, sender: OperatorAddress) -> Transcript | None:
        """The version that makes somebody who is no recipient a party to this session."""
        if self._session.recipients.get(sender) is not None:
            return None
        return next(s for s in self.sources if s.recipients.get(sender) is not None)

    # -- versions that are not known here ------------------------------------------------------------------------

    def heard(self, sender: OperatorAddress, source: int) -> None:
        """Remember who deals from a version that is not dealt from here, if it is a higher one."""
        if source > self._newest_source and self._may_remember(sender):
            self._unknown_sources[sender] = source

    @property
    def unknown_sources(self) -> dict[OperatorAddress, int]:
        """Who deals from which higher version that is not known here."""
        newest = self._newest_source
        remembered = tuple(self._unknown_sources.items())
        return {sender: source for sender, source in remembered if source > newest}

    @property
    def _newest_source(self) -> int:
        return max((int(s.version) for s in self.sources), default=GENESIS_SOURCE)

    def _may_remember(self, sender: OperatorAddress) -> bool:
        remembered = self._unknown_sources
        if self._members.get(sender) is not None or sender in remembered:
            return True
        strangers = sum(1 for known in remembered if self._members.get(known) is None)
        return strangers < MAX_UNKNOWN_SOURCES
