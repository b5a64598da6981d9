"""One operator across boundaries: which genesis session it may join, and where frames go (docs/protocol.md, One genesis).

At most one genesis may ever make a key. The rule that ensures it: having voted for a key in a genesis session, an operator
joins no later one until a certificate closes the first, by a key or by ∅. Sessions in which it did not vote are left behind at
the next boundary, but answer again when a view change shows that somebody else is bound by one. Once a version is known, no
genesis is joined at all.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng
from eigenkms.protocols.ceremony import SESSION_KINDS, Ceremony
from eigenkms.protocols.effects import Certified, Effect, JournalRecord
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.session import Session
from eigenkms.types import OperatorAddress, SessionId

KEPT_PULLED = 3
"""Undecided sessions that are pulled although the next boundary left them behind: others may have decided them."""
KEPT_UNTOUCHED = 16
"""Sessions that stay answerable although nobody was seen to vote in them."""
KEPT_TOUCHED = 256
"""Sessions with votes, or decided, that stay: whoever is bound to one needs the others, or the certificate, to get free."""
MAX_EARLY_FRAMES = 64
MAX_EARLY_BYTES = 512 * 1024
"""What is kept for each sender of a boundary that this node has not seen yet."""


@dataclass(frozen=True)
class SessionEffect:
    """An effect, and the session it belongs to."""

    session: Session
    effect: Effect


class Operator:
    """The genesis sessions of one operator. ``me``'s BN254 ``key`` signs; ``rng`` yields secret randomness."""

    def __init__(self, me: OperatorAddress, key: bn254.KeyPair, rng: Rng) -> None:
        self.me = me
        self._key = key
        self._rng = rng
        self._ceremonies: OrderedDict[SessionId, Ceremony] = OrderedDict()
        self._early: dict[OperatorAddress, list[Frame]] = {}
        self.has_version = False

    # -- events ----------------------------------------------------------------------------------------------

    def restore(
        self, session: Session, records: Sequence[JournalRecord], opened_at: float, now: float
    ) -> list[SessionEffect]:
        """Resume a session of an earlier life; sessions are restored oldest first."""
        effects = self.pass_boundary(session, now)
        return effects + self._begin(session, records, opened_at, now)

    def boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """A new boundary was seen: leave or finish older sessions, join this one if nothing forbids it."""
        if session.id in self._ceremonies:
            return []
        # as the caller was told, whatever the older sessions do when they are left behind
        joins = self.may_join(session)
        effects = self._begin(session, (), now, now) if joins else []
        return effects + self.pass_boundary(session, now)

    def pass_boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """A new boundary was seen: leave or finish older sessions, whether or not this one is joined."""
        self._early = {
            sender: kept
            for sender, frames in self._early.items()
            if (kept := [f for f in frames if f.session == session.id])
        }
        effects: list[SessionEffect] = []
        for ceremony in tuple(self._ceremonies.values()):
            if ceremony.session.boundary.number < session.boundary.number:
                effects += self._of(ceremony.session, ceremony.supersede(now))
        return effects

    def may_join(self, session: Session) -> bool:
        """Member of the set, no version known, no earlier genesis that my vote for a key still binds me to, and no session yet at
        this boundary number or above: one whose block was reorged away, or one that I left and forgot, is not begun again.
        """
        member = session.recipients.get(self.me) is not None
        newest = max((c.session.boundary.number for c in self._ceremonies.values()), default=-1)
        is_new = session.boundary.number > newest
        return member and is_new and not self.has_version and self.binding is None

    @property
    def binding(self) -> Session | None:
        """The undecided genesis session in which I voted for a key."""
        return next((c.session for c in self._ceremonies.values() if c.binding), None)

    def wants(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth a signature check; raises what ``Ceremony.wants`` raises."""
        ceremony = self._ceremonies.get(frame.session)
        if ceremony is not None:
            return ceremony.wants(frame)
        return frame.kind in SESSION_KINDS and frame.recipient in (None, self.me) and self._has_room(frame)

    def receive(self, frames: Sequence[Frame], now: float) -> list[SessionEffect]:
        """Verified frames that ``wants`` accepted; those of a boundary not seen yet are kept for it."""
        effects: list[SessionEffect] = []
        by_session: dict[SessionId, list[Frame]] = {}
        for frame in frames:
            by_session.setdefault(frame.session, []).append(frame)
        for session_id, group in by_session.items():
            ceremony = self._ceremonies.get(session_id)
            if ceremony is not None:
                effects += self._of(ceremony.session, ceremony.receive(group, now))
            else:
                self._keep_early(group)
        return effects

    def take_early(self, session: Session) -> list[Frame]:
        """Frames that came before their boundary, to be verified against its set and received; others stay."""
        taken = [f for frames in self._early.values() for f in frames if f.session == session.id]
        self._early = {
            sender: rest
            for sender, frames in self._early.items()
            if (rest := [f for f in frames if f.session != session.id])
        }
        return taken

    def tick(self, now: float) -> list[SessionEffect]:
        """Time passed."""
        effects: list[SessionEffect] = []
        for ceremony in tuple(self._ceremonies.values()):
            effects += self._of(ceremony.session, ceremony.tick(now))
        return effects

    def deadline(self, now: float) -> float | None:
        """When to call ``tick`` if nothing else happens."""
        times = (c.deadline(now) for c in self._ceremonies.values())
        return min((t for t in times if t is not None), default=None)

    def forget(self) -> list[Session]:
        """Sessions that nobody needs from me any more; their journals may be shredded."""
        free = [c for c in self._ceremonies.values() if not c.binding]
        untouched = [c for c in free if not c.may_matter]
        old = untouched[:-KEPT_UNTOUCHED] + [c for c in free if c.may_matter][:-KEPT_TOUCHED]
        for ceremony in old:
            del self._ceremonies[ceremony.session.id]
        return [c.session for c in old]

    # -- what the node asks ----------------------------------------------------------------------------------

    def ceremony(self, session: SessionId) -> Ceremony | None:
        return self._ceremonies.get(session)

    @property
    def live(self) -> tuple[Ceremony, ...]:
        """Sessions in which others may have what I need, oldest first: the newest undecided ones, older ones that are not asleep,
        and a version without my share.
        """
        newest = [c for c in self._ceremonies.values() if not c.decided][-KEPT_PULLED:]
        return tuple(c for c in self._ceremonies.values() if c.pulls or c in newest)

    # -- inside ----------------------------------------------------------------------------------------------

    def _begin(
        self, session: Session, records: Sequence[JournalRecord], opened_at: float, now: float
    ) -> list[SessionEffect]:
        ceremony = Ceremony(
            session, me=self.me, key=self._key, rng=self._rng, opened_at=opened_at, records=records
        )
        self._ceremonies[session.id] = ceremony
        return self._of(session, ceremony.start(now))

    def _keep_early(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self._has_room(frame):
                self._early.setdefault(frame.sender, []).append(frame)

    def _has_room(self, frame: Frame) -> bool:
        """Whether a frame of a boundary not seen yet is new and fits what is kept for its sender."""
        kept = self._early.get(frame.sender, [])
        size = sum(len(f.encoded) for f in kept) + len(frame.encoded)
        known = any(f.key == frame.key for f in kept)
        return not known and len(kept) < MAX_EARLY_FRAMES and size <= MAX_EARLY_BYTES

    def _of(self, session: Session, effects: Sequence[Effect]) -> list[SessionEffect]:
        if any(isinstance(effect, Certified) for effect in effects):
            self.has_version = True
        return [SessionEffect(session, effect) for effect in effects]
