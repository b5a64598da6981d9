"""Votes of one session, by what they are for, until they are certificates (docs/protocol.md, Agreement)."""

from typing import TypeAlias

from eigenkms.crypto import bn254
from eigenkms.protocols.wire.frames import Frame
from eigenkms.protocols.wire.messages import read_vote
from eigenkms.protocols.wire.session import Session
from eigenkms.protocols.wire.votes import Certificate, Phase, aggregate, vote_digest
from eigenkms.types import OperatorAddress

VoteKey: TypeAlias = tuple[int, Phase, bytes]
"""(view, phase, hash): what votes are counted for."""
Votes: TypeAlias = dict[OperatorAddress, tuple[bytes, Frame]]
"""Who voted, with which signature, in which frame."""


def vote_key(frame: Frame) -> VoteKey:
    """What a VOTE frame is counted for."""
    vote = read_vote(frame)
    return (vote.view, vote.phase, vote.hash)


class VotePool:
    """Frames are verified by the caller, the vote signatures inside them only when a ballot's do not add up."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._votes: dict[VoteKey, Votes] = {}
        self._closed: set[VoteKey] = set()

    def __bool__(self) -> bool:
        return bool(self._votes)

    def add(self, frame: Frame) -> None:
        self._votes.setdefault(vote_key(frame), {})[frame.sender] = (read_vote(frame).signature, frame)

    def remove(self, frame: Frame) -> None:
        """As if it had never come."""
        ballot = vote_key(frame)
        self._votes.get(ballot, {}).pop(frame.sender, None)
        if not self._votes.get(ballot):
            self._votes.pop(ballot, None)
            self._closed.discard(ballot)

    @property
    def pending(self) -> list[VoteKey]:
        """Those that were not closed, in order."""
        return sorted(self._votes.keys() - self._closed)

    def close(self, ballot: VoteKey) -> None:
        """Its certificate is known."""
        self._closed.add(ballot)

    def count(self, ballot: VoteKey) -> int:
        return len(self._votes[ballot])

    def certificate(self, ballot: VoteKey) -> Certificate | None:
        """The votes added up, unverified, or ``None`` if one is not even a point or they were made to cancel out."""
        signatures = {address: signature for address, (signature, _) in self._votes[ballot].items()}
        try:
            return aggregate(self._session.id, *ballot, signatures, self._session.recipients)
        except bn254.InvalidPoint:
            return None

    def reject_invalid(self, ballot: VoteKey) -> list[Frame]:
        """Drop the votes that do not verify; the frames that they stand in convict whoever signed them."""
        votes, digest = self._votes[ballot], vote_digest(self._session.id, *ballot)
        bad = [
            member.address
            for member in self._session.recipients
            if member.address in votes and not bn254.verify(digest, votes[member.address][0], member.key)
        ]
        return [votes.pop(address)[1] for address in bad]
