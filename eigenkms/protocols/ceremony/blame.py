"""Blame: the operators that were late in a session without a certificate.

It is an observation and no proof: the network can be at fault, and a sender that is named may have sent. What it is good for:
people learn whom to call. So the names must not mislead. In a network that delivers among correct operators within the length of
a view, two things hold for each correct operator that was there for the whole session:

* among those that it names is one that is faulty or absent;
* so a correct operator is never named alone.

*Duties.* A session is a row of stages: keys (and at genesis digests), dealings, views. An operator owes its part of a stage once
all of the stage before is in; a correct one does its part at once. So the question is not what is missing at the end, but which
stage was *late*: if all that a stage needs was here ``STAGE_WINDOWS`` before the end, whoever has not done its part by the end is
named; else those are named that were late in the stage before, so many windows earlier. What comes in the last moment, so that
others cannot answer it, therefore puts no blame on them.

*Views.* A view is judged if it ran for most of the first one's length after the dealings were there. If no proposal came that this
operator prepares, its leader is named. If one came, members without a vote are named; and the leader as well, as it may have shown
its proposal to some only, unless one of those members was never heard from in agreement at all, and so is faulty for certain. Of a
view that too few members enter, the others are named.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

from eigenkms.protocols.ceremony.frame_log import VIEW_KINDS, FrameLog
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import SourceRef, read_vote
from eigenkms.wire.session import Session
from eigenkms.wire.votes import Phase

STAGE_WINDOWS: Final = 2.0
"""Windows in which a correct operator's part of a stage is here: a newcomer's key is waited for half a window, a proof verified,
a body pulled. A fourth of the time that was observed, if that is less.
"""
VIEW_WINDOWS: Final = 0.4
"""Windows that a view must have lasted to be judged; the first one lasts half a window."""


@dataclass(frozen=True)
class Blame:
    """Operators by what was not heard from them in time, ascending."""

    no_key: tuple[OperatorAddress, ...] = ()
    no_hash: tuple[OperatorAddress, ...] = ()
    no_dealing: tuple[OperatorAddress, ...] = ()
    bad_dealing: tuple[OperatorAddress, ...] = ()
    no_proposal: tuple[OperatorAddress, ...] = ()
    """Leaders of views that ran out without a proposal that this operator could prepare."""
    no_quorum: tuple[OperatorAddress, ...] = ()
    """Leaders whose proposal too few members prepared in time."""
    no_vote: tuple[OperatorAddress, ...] = ()
    no_view_change: tuple[OperatorAddress, ...] = ()
    """Members that did not enter the view that most others wait in."""

    @property
    def operators(self) -> frozenset[OperatorAddress]:
        """All operators that are named."""
        return frozenset(a for each in fields(self) for a in getattr(self, each.name))

    @property
    def named(self) -> dict[str, object]:
        """The log fields: the addresses of each kind that has any, as text."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: [f"{to_hex(a)}" for a in who] for name, who in found.items() if who}


class Witness:
    """When an operator first saw what, in one session, by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, dict[OperatorAddress, float]] = {}
        self._since: dict[Hashable, float] = {}
        self.entered: dict[int, float] = {}
        """When each view was entered."""
        self.running: dict[int, float] = {}
        """When its time began to run, as enough members were in it."""

    def see(self, what: Hashable, operators: Collection[OperatorAddress], now: float) -> None:
        """Note that these operators did it by now. They only become more."""
        times = self._seen.setdefault(what, {})
        self._since.setdefault(what, now)
        if len(times) != len(operators):
            for operator in operators:
                times.setdefault(operator, now)

    def enter(self, view: int, now: float, *, waits: bool) -> None:
        """Note the current view, and whether this operator waits for others to enter it."""
        self.entered.setdefault(view, now)
        if not waits:
            self.running.setdefault(view, now)

    def forget_views(self) -> None:
        """Another agreement begins."""
        self.entered.clear()
        self.running.clear()

    def since(self, what: Hashable) -> float:
        """Since when it was looked for."""
        return self._since[what]

    def until(self, what: Hashable, moment: float) -> frozenset[OperatorAddress]:
        """Return the operators that had done it by then."""
        return frozenset(a for a, time in self._seen.get(what, {}).items() if time <= moment)

    def moment(self, what: Hashable, among: Collection[OperatorAddress], count: int) -> float:
        """Return when ``count`` of these had done it. IndexError if they have not."""
        return sorted(time for a, time in self._seen[what].items() if a in among)[count - 1]


@dataclass(frozen=True)
class Duties:
    """The duties before the first view: dealings from ``source`` and their keys.

    At genesis ``keyed`` are all members, who owe a digest as well; in a rotation the newcomers.
    """

    source: SourceRef
    is_genesis: bool
    keyed: frozenset[OperatorAddress]
    keys_needed: int
    dealers: frozenset[OperatorAddress]
    dealings_needed: int
    counted: frozenset[OperatorAddress]
    """Dealers whose dealing is valid and counts."""
    barred: frozenset[OperatorAddress]


@dataclass(frozen=True)
class ViewHistory:
    """The views of an agreement.

    ``view`` is the current one, ``leads`` the leader of each that was entered, ``here`` the members in the current one or above.
    """

    view: int
    leads: dict[int, OperatorAddress | None]
    here: frozenset[OperatorAddress]


KEYS: Final = "keys"
DIGESTS: Final = "digests"


class Inquest:
    """The inquest of ``me``, a member, into one session at the next boundary.

    ``now`` is the moment of that boundary; ``log`` has the frames.
    """

    def __init__(
        self, session: Session, me: OperatorAddress, witness: Witness, log: FrameLog, now: float
    ) -> None:
        self._session = session
        self._me = me
        self._witness = witness
        self._log = log
        self._now = now
        self._members = frozenset(session.recipients.addresses)

    def blame(self, duties: Duties, views: ViewHistory) -> Blame:
        """Name the operators that were late in the first stage that was late."""
        witness = self._witness
        observed = self._now - witness.since(duties.source)
        stage = min(STAGE_WINDOWS * self._session.window, observed / 4)
        dealt = witness.until(duties.source, self._now - stage) & duties.counted
        if len(dealt) >= duties.dealings_needed:
            enough_at = witness.moment(duties.source, duties.counted, duties.dealings_needed)
            return self._of_views(views, enough_at) if self._me in self._members else Blame()
        ready = witness.until(KEYS, self._now - 2 * stage) & duties.keyed
        announced = witness.until(DIGESTS, self._now - 2 * stage)
        if duties.is_genesis:
            ready &= announced
        if len(ready) < duties.keys_needed:
            no_hash = duties.keyed - announced if duties.is_genesis else frozenset()
            keyed = witness.until(KEYS, self._now - 2 * stage)
            return Blame(no_key=_ordered(duties.keyed - keyed), no_hash=_ordered(no_hash))
        late = (ready if duties.is_genesis else duties.dealers) - dealt
        return Blame(no_dealing=_ordered(late - duties.barred), bad_dealing=_ordered(late & duties.barred))

    # -- views -------------------------------------------------------------------------------------------------

    def _of_views(self, views: ViewHistory, enough_at: float) -> Blame:
        no_proposal: set[OperatorAddress] = set()
        no_quorum: set[OperatorAddress] = set()
        no_vote: set[OperatorAddress] = set()
        silent = self._silent
        for view in self._judged(enough_at):
            leader, here = views.leads.get(view), self._voters(view)
            if here is None:
                no_proposal |= {leader} - {None}  # type: ignore[arg-type]
                continue
            absent = self._members - here
            no_vote |= absent
            if not absent & silent:
                no_quorum |= {leader} - {None}  # type: ignore[arg-type]
        outside = self._members - views.here if self._waits_in(views.view) else frozenset()
        if not (no_proposal or no_vote or no_quorum or outside):
            no_vote |= silent
        return Blame(
            no_proposal=_ordered(no_proposal),
            no_quorum=_ordered(no_quorum),
            no_vote=_ordered(no_vote),
            no_view_change=_ordered(outside),
        )

    @property
    def _least(self) -> float:
        return VIEW_WINDOWS * self._session.window

    @property
    def _silent(self) -> frozenset[OperatorAddress]:
        """Other members that were never heard from in agreement."""
        return self._members - {frame.sender for frame in self._log if frame.kind in VIEW_KINDS} - {self._me}

    def _judged(self, enough_at: float) -> list[int]:
        """Return the views that ran long enough for a correct leader."""
        entered = sorted(self._witness.entered)
        left = {view: self._witness.entered[after] for view, after in pairwise(entered)}
        return [
            view
            for view, began in sorted(self._witness.running.items())
            if left.get(view, self._now) - max(began, enough_at) >= self._least
        ]

    def _waits_in(self, view: int) -> bool:
        """Return whether too few members have been in this operator's view for long."""
        entered = self._witness.entered.get(view, self._now)
        return view not in self._witness.running and self._now - entered >= self._least

    def _voters(self, view: int) -> frozenset[OperatorAddress] | None:
        """Return the members that voted in a view as far as it came.

        Those that committed if t' members prepared one transcript, else those that prepared. ``None`` if this operator did not
        prepare anything.
        """
        prepared = self._votes(view, Phase.PREPARE)
        hashes = list(prepared.values())
        if hashes and max(map(hashes.count, hashes)) >= self._session.threshold:
            return frozenset(self._votes(view, Phase.COMMIT))
        return frozenset(prepared) if self._me in prepared else None

    def _votes(self, view: int, phase: Phase) -> dict[OperatorAddress, bytes]:
        found = {a: self._log.get(a, (FrameKind.VOTE, view, int(phase))) for a in self._members}
        return {a: read_vote(frame).hash for a, frame in found.items() if frame is not None}


def _ordered(operators: Collection[OperatorAddress]) -> tuple[OperatorAddress, ...]:
    return tuple(sorted(operators))
