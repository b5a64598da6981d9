"""Which view an operator is in, and for how long (docs/protocol.md, Agreement).

The time of view 0 runs from when it is entered; that of a higher one from when t' members are in it: members that are cut off wait
for the others instead of running ahead of them for ever, and repeat their view change while they wait, which wakes whoever has
left the session. A view v lasts (1+v)·p/2, at most an interval.
"""

from eigenkms.types import OperatorAddress
from eigenkms.wire.session import WINDOWS_PER_INTERVAL, Session

REPEAT_WINDOWS = 4
"""Windows after which a view change that too few joined is said again."""


class Pacemaker:
    """The pacemaker of one operator in one session.

    ``view`` is the operator's, and never falls. ``entered_at`` is ``None`` until the first one begins.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.view = 0
        self.entered_at: float | None = None
        self._quorum_seen_at: float | None = None
        self._repeat_at = 0.0
        self._members: dict[OperatorAddress, int] = {}

    def __bool__(self) -> bool:
        """Return whether anybody was seen to change the view."""
        return bool(self._members)

    def begin(self, now: float) -> None:
        """Begin the current view, if none has begun."""
        if self.entered_at is None:
            self.entered_at = now

    def enter(self, view: int, now: float) -> None:
        self.view, self.entered_at, self._quorum_seen_at = view, now, None
        self._repeat_at = now + REPEAT_WINDOWS * self._session.window

    def restart(self, view: int, now: float) -> None:
        """Enter at least ``view``, in which this operator signed, maybe before a restart."""
        if view > self.view or self.entered_at is None:
            self.enter(max(view, self.view), now)

    def note_view(self, member: OperatorAddress, view: int) -> None:
        """Note that a view change of ``member`` is for ``view``."""
        self._members[member] = max(view, self._members.get(member, 0))

    def views(self) -> dict[OperatorAddress, int]:
        """Return the highest view of each member that changed its view."""
        return dict(self._members)

    def note_quorum(self, now: float) -> None:
        """Note the moment at which t' members are in the view."""
        if self._quorum_seen_at is None and self._members_here >= self._session.threshold:
            self._quorum_seen_at = now

    @property
    def here(self) -> frozenset[OperatorAddress]:
        """Members that said that they are in my view or above."""
        return frozenset(member for member, view in self._members.items() if view >= self.view)

    @property
    def has_weak_quorum(self) -> bool:
        """Whether so many changed the view that one of them is correct."""
        return len(self._members) >= self._weak_quorum

    @property
    def is_waiting(self) -> bool:
        """Whether too few are in my view for its time to run."""
        return self.view > 0 and self._quorum_seen_at is None

    def should_rebroadcast(self, now: float) -> bool:
        """Return whether to repeat the view change now, while t' members are not here.

        The next time is later.
        """
        if not self.is_waiting or now < self._repeat_at:
            return False
        self._repeat_at = now + REPEAT_WINDOWS * self._session.window
        return True

    def may_propose(self, now: float) -> bool:
        """Return whether t' members are in the view, and then all n are or p/4 has passed."""
        if self._quorum_seen_at is None:
            return False
        return self._members_here == self._session.n or now >= self._quorum_seen_at + self._proposal_delay

    def next_view(self, now: float) -> int:
        """Return the view to be in.

        It is the current one, the next if it took too long, or a higher one that n−t'+1 members are in.
        """
        target, since = self.view, self._running_since
        if since is not None and now >= since + self._duration:
            target = self.view + 1
        above = sorted((v for v in self._members.values() if v > self.view), reverse=True)
        if len(above) >= self._weak_quorum:
            target = max(target, above[self._weak_quorum - 1])
        return target

    def deadline(self, since: float) -> float | None:
        """Return when, after ``since``, one of these answers changes without any frame."""
        times = [self._repeat_at] if self.is_waiting else []
        if (began := self._running_since) is not None:
            times.append(began + self._duration)
        if self._quorum_seen_at is not None:
            times.append(self._quorum_seen_at + self._proposal_delay)
        return min((t for t in times if t > since), default=None)

    @property
    def _running_since(self) -> float | None:
        """When the time of my view began, if it did."""
        return self.entered_at if self.view == 0 else self._quorum_seen_at

    @property
    def _duration(self) -> float:
        return min((1 + self.view) * self._session.window / 2, WINDOWS_PER_INTERVAL * self._session.window)

    @property
    def _proposal_delay(self) -> float:
        return self._session.window / 4

    @property
    def _members_here(self) -> int:
        return sum(1 for v in self._members.values() if v >= self.view)

    @property
    def _weak_quorum(self) -> int:
        """n−t'+1: so many members include a correct one."""
        return self._session.n - self._session.threshold + 1
