"""Votes of one session, by what they are for, until they are certificates (docs/protocol.md, Agreement)."""

from typing import TypeAlias

from eigenkms.crypto import bn254
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame
from eigenkms.wire.messages import read_vote
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Certificate, Phase, aggregate, vote_digest

VoteKey: TypeAlias = tuple[int, Phase, bytes]
"""(view, phase, hash): what votes are counted for."""
Votes: TypeAlias = dict[OperatorAddress, tuple[bytes, Frame]]
"""The signature and the frame of each voter."""


def vote_key(frame: Frame) -> VoteKey:
    """Return what a VOTE frame is counted for."""
    vote = read_vote(frame)
    return (vote.view, vote.phase, vote.hash)


class VotePool:
    """The votes of one session.

    Frames are verified by the caller, the vote signatures inside them only if the votes of one key do not add up.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._votes: dict[VoteKey, Votes] = {}
        self._closed: set[VoteKey] = set()

    def __bool__(self) -> bool:
        return bool(self._votes)

    def add(self, frame: Frame) -> None:
        self._votes.setdefault(vote_key(frame), {})[frame.sender] = (read_vote(frame).signature, frame)

    def remove(self, frame: Frame) -> None:
        """Remove a vote, as if it had never come."""
        key = vote_key(frame)
        self._votes.get(key, {}).pop(frame.sender, None)
        if not self._votes.get(key):
            self._votes.pop(key, None)
            self._closed.discard(key)

    @property
    def pending(self) -> list[VoteKey]:
        """The keys that were not closed, in order."""
        return sorted(self._votes.keys() - self._closed)

    def close(self, key: VoteKey) -> None:
        """Count no more votes for it, as its certificate is known."""
        self._closed.add(key)

    def count(self, key: VoteKey) -> int:
        return len(self._votes[key])

    def counts(self) -> dict[VoteKey, int]:
        """Return the number of votes by what they are for."""
        return {key: len(votes) for key, votes in self._votes.items()}

    def certificate(self, key: VoteKey) -> Certificate | None:
        """Return the votes added up, unverified.

        ``None`` if one is not even a point or they were made to cancel out.
        """
        signatures = {address: signature for address, (signature, _) in self._votes[key].items()}
        try:
            return aggregate(self._session.id, *key, signatures, self._session.recipients)
        except bn254.InvalidPoint:
            return None

    def reject_invalid(self, key: VoteKey) -> list[Frame]:
        """Remove and return the votes that do not verify; their frames convict their signers."""
        votes, digest = self._votes[key], vote_digest(self._session.id, *key)
        bad = [
            member.address
            for member in self._session.recipients
            if member.address in votes and not bn254.verify(digest, votes[member.address][0], member.key)
        ]
        return [votes.pop(address)[1] for address in bad]
