"""The parties of a session: its recipients, and the holders of its sources.

Recipients speak here. Holders of a source deal and listen even if they are no recipients.
"""

from eigenkms.types import OperatorAddress, OperatorSet
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript

_HOLDERS_KINDS = frozenset({FrameKind.DEALING, FrameKind.CERTIFICATE, FrameKind.SYNC})
"""The frames that a holder of the source may send if it is no recipient."""


class SessionMembership:
    """The parties of one session, as ``me`` knows them. Sources are added ascending."""

    def __init__(self, session: Session, me: OperatorAddress) -> None:
        self._session = session
        self._me = me
        self._members = session.recipients
        self.sources: tuple[Transcript, ...] = ()

    def add_source(self, source: Transcript) -> None:
        """Admit the holders of a source."""
        self.sources = (*self.sources, source)
        known = {member.address: member for member in (*source.recipients, *self._members)}
        self._members = OperatorSet(tuple(known[a] for a in sorted(known)))

    @property
    def count(self) -> int:
        """Of recipients and holders of sources together."""
        return len(self._members)

    def key_of(self, sender: OperatorAddress) -> bytes | None:
        """Return the BN254 G2 key of a recipient, or else of a holder of a source."""
        member = self._session.recipients.get(sender) or self._members.get(sender)
        return None if member is None else member.key

    def check_scope(self, frame: Frame) -> None:
        """Raise ``WrongScopeError`` unless the frame belongs here.

        It is of this session, for this operator or all, and its sender may send such a frame.
        """
        members = self._members if frame.kind in _HOLDERS_KINDS else self._session.recipients
        session = self._session
        frame.check_scope(cluster=session.cluster, me=self._me, members=members, session=session.id)
