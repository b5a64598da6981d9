"""All schedules within a bound, breadth first, over states that are told apart by what can still matter.

*The liar* votes for everything, at once, in every view. It leads every view (``liar_leads``), which lets it propose to anybody
whatever a correct leader could propose, and more. It hands out or keeps back any certificate, transcript, dealing or row.

*Rounds.* A session is walked view by view: proposals arrive, prepare certificates arrive, timers fire. In each round every operator
in that view gets one of what can exist by then, or nothing. What an operator does in a round depends on its own state and on frames
of earlier rounds. So the order within a round does not matter, and an operator that is slow does what it does as well before the
others go on. One that stays in a view does nothing in the rounds of later ones, but it may get their certificates in the end.
Likewise, all operators are in a session before one is in the next. A commit certificate, or a prepare certificate of another view
than the operator's, does as well at the session's end, since all that it changes in the session is what a correct leader proposes.
``run_free`` drops the rounds, and a test compares what comes out.

*Symmetry.* The three correct operators differ by name alone: what the liar may propose treats them alike. So of all points that
renaming them turns into each other one is followed. A test compares with a walk that follows all.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from time import process_time
from typing import NamedTuple, TypeAlias

from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.types import OperatorAddress
from eigenkms.wire.messages import SourceRef
from eigenkms.wire.votes import Phase
from tests.sim.exhaustive.fingerprint import fingerprint
from tests.sim.exhaustive.laws import LawBrokenError, Situation, broken_law
from tests.sim.exhaustive.life import Life
from tests.sim.exhaustive.moves import Back, Crash, Join, Learn, Next, Whole, describe
from tests.sim.exhaustive.scene import CORRECT, LIAR, QUORUM, Numbers, Scene
from tests.sim.exhaustive.table import SYMMETRIES, Ballot, Names, State, Table, arranged

Point: TypeAlias = tuple[int, ...]
"""A state of everything: the state of each correct operator, then the context, by number."""


@dataclass(frozen=True)
class Bound:
    """How far a walk goes.

    ``views`` has the number of views of each session; ``crashes`` and ``absences`` (of one operator from one session) are numbers
    for the whole walk. A transcript of the liar may list the source's key, instead of the fresh one, of one operator in ``stale``:
    the liar, all correct ones, or all. ``late`` is how many certificates an operator may get between two sessions, beside one
    after the boundary. If ``rows_lost``, a prepare certificate may also come without the rows that open the share.
    """

    views: tuple[int, ...] = (2,)
    crashes: int = 0
    absences: int = 0
    stale: tuple[int, ...] = (LIAR,)
    late: int = 1
    rows_lost: bool = False


class Ended(NamedTuple):
    """What of a session that ended can be shown to anybody: which transcripts are prepared, and certified, in which views."""

    prepared: frozenset[tuple[bytes, int]] = frozenset()
    certified: frozenset[tuple[bytes, int]] = frozenset()


class Context(NamedTuple):
    """The session that is on, budgets, what there are votes enough for from views that all have left, and ended sessions."""

    session: int
    crashes: int
    absences: int
    left: frozenset[Ballot] = frozenset()
    ended: tuple[Ended, ...] = ()


HONEST_LEADER = BaseVersions.leader


@contextmanager
def liar_leads(scene: Scene) -> Iterator[None]:
    """Inside the block, the liar leads every view, whatever the source. The machines are unchanged but for that."""
    liar = scene.addresses[LIAR]

    def leader(self: BaseVersions, view: int, source: SourceRef) -> OperatorAddress | None:
        return None if HONEST_LEADER(self, view, source) is None else liar

    BaseVersions.leader = leader  # type: ignore[method-assign]
    try:
        yield
    finally:
        BaseVersions.leader = HONEST_LEADER  # type: ignore[method-assign]


class Facts(NamedTuple):
    """What the moves of a round depend on, beside the operator's own state."""

    session: int
    view: int | None
    ballots: frozenset[Ballot]
    palette: tuple[bytes, ...]
    ended: tuple[Ended, ...]
    states: tuple[int, ...]
    """Those of all operators, if what they say when they change the view matters."""


class Option(NamedTuple):
    """What may become of one operator in a round, and what it takes of the bound's budgets."""

    after: int
    crashes: int = 0
    absences: int = 0


Moves: TypeAlias = Callable[["Walk", Facts, State], Iterable[Whole]]


@dataclass(frozen=True)
class Round:
    """What may arrive in it, if it is a view's, to operators in that ``view``. ``must``: it does arrive, if anything can."""

    moves: Moves
    view: int | None = None
    must: bool = False


class Walk:
    """One walk. If not ``reduced``, points that are alike but for the operators' names are all followed."""

    def __init__(
        self,
        scene: Scene,
        bound: Bound,
        *,
        check_twins: int = 0,
        keep_votes: bool = False,
        reduced: bool = True,
    ) -> None:
        self.scene = scene
        self.bound = bound
        self.table = Table(scene, check_twins=check_twins, keep_votes=keep_votes)
        self.steps: dict[Point, Point | None] = {}
        """Every point, and one from which it was reached."""
        self.points = self.transitions = 0
        self.seconds = 0.0
        self._symmetries = SYMMETRIES if reduced else SYMMETRIES[:1]
        self._known: dict[Point, Point] = {}
        self._contexts = Numbers[Context]()
        self._outcomes: dict[int, tuple[int, ...]] = {}
        self._context_names: dict[int, tuple[int, ...]] = {}
        self._facts = Numbers[Facts]()
        self._ballots = Numbers[frozenset[Ballot]]()
        self._ballots_of: dict[tuple[int, ...], int] = {}
        self._facts_of: dict[tuple[object, ...], int] = {}
        self._options_of: dict[tuple[int, Moves, int, bool], list[Option]] = {}
        self._signers: dict[tuple[int, Ballot], tuple[int, ...]] = {}
        self._judged: dict[tuple[object, ...], str | None] = {}

    def run(self) -> list[Point]:
        """Walk everything; returns the points at the end. Raises ``LawBrokenError``. Nothing but the bound limits it."""
        began = process_time()
        gc.collect()
        gc.disable()  # nothing here is garbage, and there is much of it
        try:
            with liar_leads(self.scene):
                return self._run()
        finally:
            gc.enable()
            self.seconds = process_time() - began

    def _run(self) -> list[Point]:
        points = [self._start()]
        for session, views in enumerate(self.bound.views, start=1):
            for step in self._rounds(views):
                points = self._round(points, step)
            points = self._map(points, lambda point, number=session: self._end(point, number))
        return points

    def run_free(self) -> list[Point]:
        """Walk the first session without rounds: any operator, any move, at any time, once all have joined.

        Returns all points. The walk must keep votes.
        """
        begin, *others = (Round(step.moves, must=step.must) for step in self._rounds(1))
        with liar_leads(self.scene):
            found = dict.fromkeys(self._round([self._start()], begin))
            ahead = list(found)
            while ahead:
                point = ahead.pop()
                for after in self._free_steps(point, [*others, Round(timers)]):
                    if after not in found:
                        found[after] = None
                        ahead.append(after)
        return list(found)

    def _free_steps(self, point: Point, steps: Iterable[Round]) -> Iterator[Point]:
        for step in steps:
            facts = self._facts_at(point, step)
            for i, number in enumerate(point[:-1]):
                if step.moves is not timers or self.table[number].view + 1 < self.bound.views[0]:
                    for option in self._options(facts, step, number, crashes=False):
                        yield self._reach(point, (*point[:i], option.after, *point[i + 1 :]))

    def outcomes(self, points: Iterable[Point]) -> frozenset[Point]:
        """What these points of a first session amount to once the next boundary is seen, whatever the operators are called."""
        found: set[Point] = set()
        for point in points:
            over = point if self.context(point).ended else self._end(point, 1)
            named = [self._outcome_names(number) for number in over[:-1]]
            found.add(_least(named, self._names_of_context(over[-1]), SYMMETRIES))
        return frozenset(found)

    def _outcome_names(self, number: int) -> tuple[int, ...]:
        if number not in self._outcomes:
            after = self.table[self.table.after(number, Join(2))]
            self._outcomes[number] = self.table.names_of(fingerprint(after.life))
        return self._outcomes[number]

    def _start(self) -> Point:
        """All operators hold a share of the first version."""
        numbers = tuple(self.table.add(Life.begin(self.scene, i)) for i in CORRECT)
        context = self._contexts.of(Context(1, self.bound.crashes, self.bound.absences))
        return self._reach(None, (*numbers, context))

    def _rounds(self, views: int) -> Iterator[Round]:
        yield Round(join, must=True)
        yield Round(earlier)
        for view in range(views):
            yield Round(proposals, view)
            yield Round(prepare_certificates, view)
            if view + 1 < views:
                yield Round(timers, view)
        for _ in range(self.bound.late):
            yield Round(late_certificates)

    # -- one round ---------------------------------------------------------------------------------------------

    def _round(self, points: Iterable[Point], step: Round) -> list[Point]:
        """All that may become of these points in a round: each operator gets something, or nothing."""
        if step.moves is timers:
            points = self._map(points, self._leave_view)
        found: dict[Point, None] = {}
        for point in points:
            context = self.context(point)
            facts = self._facts_at(point, step)
            options = [self._options(facts, step, n, crashes=context.crashes > 0) for n in point[:-1]]
            for chosen in product(*options):
                if (after := self._pay(point[-1], context, chosen)) is not None:
                    found[self._reach(point, (*(option.after for option in chosen), after))] = None
        return list(found)

    def _pay(self, number: int, context: Context, chosen: tuple[Option, ...]) -> int | None:
        """The context after these options, ``None`` if a budget does not allow them."""
        crashes = sum(option.crashes for option in chosen)
        absences = sum(option.absences for option in chosen)
        if not crashes and not absences:
            return number
        if crashes > context.crashes or absences > context.absences:
            return None
        left = context._replace(crashes=context.crashes - crashes, absences=context.absences - absences)
        return self._contexts.of(left)

    def _options(self, facts: int, step: Round, number: int, *, crashes: bool) -> list[Option]:
        key = (facts, step.moves, number, crashes)
        if key not in self._options_of:
            self._options_of[key] = list(
                self._find_options(self._facts.values[facts], step, number, crashes=crashes)
            )
        return self._options_of[key]

    def _find_options(self, facts: Facts, step: Round, number: int, *, crashes: bool) -> Iterator[Option]:
        found: dict[int, Whole] = {}
        for move in step.moves(self, facts, self.table[number]):
            after = self.table.after(number, move)
            prepares = not isinstance(move, Back) or self.table[after].votes != self.table[number].votes
            if after != number and prepares:  # what else a proposal teaches comes with certificates
                found.setdefault(after, move)
        if not step.must or not found:
            yield Option(number)
        elif step.moves is join:
            yield Option(number, absences=1)
        yield from (Option(after) for after in found)
        if crashes:
            died = {self.table.after(number, Crash())}.union(
                *(self.table.torn(number, move) for move in found.values())
            )
            yield from (Option(after, crashes=1) for after in sorted(died))

    def _reach(self, before: Point | None, point: Point) -> Point:
        """The point that stands for this one."""
        self.transitions += 1
        canonical = self._canonical(point)
        known = self._known.setdefault(canonical, point)
        if known not in self.steps:
            self.steps[known] = before
            self.points += 1
            self._judge(known)
        return known

    def _canonical(self, point: Point) -> Point:
        """The same for all points that renaming operators turns into each other."""
        names = [self.table.states[number].names for number in point[:-1]]
        return _least(names, self._names_of_context(point[-1]), self._symmetries)

    def _names_of_context(self, number: int) -> tuple[int, ...]:
        if number not in self._context_names:
            self._context_names[number] = self.table.names_of(self._contexts.values[number])
        return self._context_names[number]

    def _judge(self, point: Point) -> None:
        """Raise ``LawBrokenError`` if a law does not hold here."""
        context, ballots = self.context(point), self.ballots(point)
        if not ballots and not any(ended.certified for ended in context.ended) and not self.table.equivocated:
            return
        states = [self.table[number] for number in point[:-1]]
        key = (*(state.reach for state in states), ballots, context.ended)
        if key not in self._judged:
            certified = tuple(frozenset(digest for digest, _ in ended.certified) for ended in context.ended)
            self._judged[key] = broken_law(self.scene, Situation(tuple(states), certified, ballots))
        if (complaint := self._judged[key]) is not None:
            raise LawBrokenError(complaint, self.schedule(point))

    def _leave_view(self, point: Point) -> Point:
        return self._in(point, self.context(point)._replace(left=self.ballots(point)))

    def _end(self, point: Point, session: int) -> Point:
        """The session ended for all: what can be shown of it stays."""
        context, ballots = self.context(point), self.ballots(point)
        prepared = frozenset((digest, view) for phase, view, digest in ballots if phase is Phase.PREPARE)
        certified = {digest: view for phase, view, digest in sorted(ballots) if phase is Phase.COMMIT}
        ended = Ended(prepared, frozenset(certified.items()))
        context = context._replace(session=session + 1, left=frozenset(), ended=(*context.ended, ended))
        return self._in(point, context)

    def _in(self, point: Point, context: Context) -> Point:
        return (*point[:-1], self._contexts.of(context))

    def _map(self, points: Iterable[Point], change: Callable[[Point], Point]) -> list[Point]:
        """Nothing happens but that the context takes note."""
        found: dict[Point, None] = {}
        for point in points:
            after = changed = change(point)
            if changed != point:
                after = self._known.setdefault(self._canonical(changed), changed)
                self.steps.setdefault(after, self.steps[point])
            found[after] = None
        return list(found)

    # -- what can exist ----------------------------------------------------------------------------------------

    def context(self, point: Point) -> Context:
        return self._contexts.values[point[-1]]

    def ballots(self, point: Point) -> frozenset[Ballot]:
        """Of which, in the session that is on, there are votes enough: those of correct operators, and the liar's."""
        return self._ballots.values[self._ballot_number(point)]

    def _ballot_number(self, point: Point) -> int:
        context = self.context(point)
        states = [self.table.states[number] for number in point[:-1]]
        key = (point[-1], *(s.vote_number if s.session == context.session else 0 for s in states))
        found = self._ballots_of.get(key)
        if found is None:
            votes = tuple(s.votes if s.session == context.session else frozenset() for s in states)
            found = self._ballots.of(context.left | frozenset(self._count(context.session, votes)))
            self._ballots_of[key] = found
        return found

    def _count(self, session: int, votes: tuple[frozenset[Ballot], ...]) -> Iterator[Ballot]:
        for ballot in frozenset[Ballot]().union(*votes):
            voters = [i for i, own in zip(CORRECT, votes, strict=True) if ballot in own]
            if len(voters) + 1 >= QUORUM:
                self._signers.setdefault((session, ballot), (*voters[: QUORUM - 1], LIAR))
                yield ballot

    def signers(self, session: int, ballot: Ballot) -> tuple[int, ...]:
        """Whose votes a certificate is made of, in the first schedule that had enough."""
        return self._signers[session, ballot]

    def _facts_at(self, point: Point, step: Round) -> int:
        states = [self.table.states[number] for number in point[:-1]]
        key: tuple[object, ...] = (point[-1], self._ballot_number(point), step.view)
        if step.moves is proposals:
            key = (*key, *((s.session, s.dealt) for s in states))
        elif step.moves is timers:
            key = (*key, point)
        found = self._facts_of.get(key)
        if found is None:
            context = self.context(point)
            palette = tuple(self._palette(context.session, states)) if step.moves is proposals else ()
            changes = point[:-1] if step.moves is timers else ()
            made = Facts(context.session, step.view, self.ballots(point), palette, context.ended, changes)
            found = self._facts_of[key] = self._facts.of(made)
        return found

    def _palette(self, session: int, states: list[State]) -> Iterator[bytes]:
        """Transcripts that the liar may propose: from each source with enough dealings, by correct dealers as far as there are."""
        here = {i: state for i, state in zip(CORRECT, states, strict=True) if state.session == session}
        absent = frozenset(CORRECT) - here.keys()
        for source in sorted({s for state in here.values() for s in state.dealt}):
            dealers = [*(i for i, state in here.items() if source in state.dealt), LIAR][:QUORUM]
            if len(dealers) == QUORUM:
                for old in (frozenset[int](), *(frozenset({i}) for i in self.bound.stale)):
                    yield self.scene.transcript(session, source, tuple(dealers), old | absent).hash

    # -- schedules ---------------------------------------------------------------------------------------------

    def schedule(self, point: Point) -> list[str]:
        """What led to a point, a line a move. Operators may be renamed between two lines."""
        lines: list[str] = []
        before = self.steps[point]
        while before is not None:
            for i, (number, after) in enumerate(zip(before[:-1], point[:-1], strict=True)):
                if number != after:
                    lines.append(f"operator {i} {self._describe(number, after)}")
            point, before = before, self.steps[before]
        return lines[::-1]

    def _describe(self, number: int, after: int) -> str:
        move = self.table.move_to(number, after)
        return describe(self.scene, move)

    def __str__(self) -> str:
        local = self.table.counts
        return (
            f"{self.points:,} states, {self.transitions:,} transitions; of single operators "
            f"{len(self.table.states):,} states, {local.moves:,} moves, {local.twins:,} repeated; {self.seconds:.1f} s CPU"
        )


def _least(names: list[Names], context: Names, symmetries: Sequence[Names]) -> Point:
    """Of these ways to rename operators, given the names of their states and of the context, the one with the least numbers."""
    return min(
        (*arranged(order, [renamed[i] for renamed in names]), context[i])
        for i, order in enumerate(symmetries)
    )


# -- what may arrive -------------------------------------------------------------------------------------------


def join(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """The boundary."""
    yield Join(facts.session)


def earlier(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """A certificate of an earlier session."""
    for number, ended in enumerate(facts.ended, start=1):
        if number < state.newest_certified:
            continue
        for digest, view in sorted(ended.certified):
            if digest not in state.certified:
                signers = walk.signers(number, (Phase.COMMIT, view, digest))
                yield from (Learn(Phase.COMMIT, view, digest, rows, signers) for rows in (False, True))
        for digest, view in sorted(ended.prepared):
            if digest not in state.certified and (digest, view) not in state.prepared:
                yield from _prepared(walk, number, view, digest)


def _prepared(walk: Walk, session: int, view: int, digest: bytes) -> Iterable[Whole]:
    signers = walk.signers(session, (Phase.PREPARE, view, digest))
    for rows in (False, True) if walk.bound.rows_lost else (True,):
        yield Learn(Phase.PREPARE, view, digest, rows, signers)


def _is_here(facts: Facts, state: State) -> bool:
    is_in_view = facts.view is None or state.view == facts.view
    return state.session == facts.session and is_in_view and not state.decided


def proposals(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """What the liar may propose in this operator's view: fresh, or justified by a prepare certificate of an earlier one."""
    if not _is_here(facts, state) or state.view in state.proposed:
        return
    for digest in facts.palette:
        if walk.scene.transcripts[digest].source_hash in state.sources:
            yield Back(state.view, digest, None)
    for phase, view, digest in sorted(facts.ballots):
        if phase is Phase.PREPARE and view < state.view:
            yield Back(state.view, digest, view, walk.signers(facts.session, (phase, view, digest)))


def prepare_certificates(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """One of the view that the operator is in."""
    for phase, view, digest in sorted(facts.ballots) if _is_here(facts, state) else ():
        if phase is Phase.PREPARE and view == state.view and state.highest < view:
            yield from _prepared(walk, facts.session, view, digest)


def timers(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """The view ends."""
    if not _is_here(facts, state):
        return
    if state.view == 0:
        yield Next(0)
        return
    for number in facts.states:
        other = walk.table[number]
        heard = other.view_changes.get(state.view)
        if other.life.index != state.life.index and other.session == facts.session and heard is not None:
            yield Next(state.view, *heard)


def late_certificates(walk: Walk, facts: Facts, state: State) -> Iterable[Whole]:
    """A commit certificate, or a prepare certificate of another view than the operator's."""
    for phase, view, digest in sorted(facts.ballots) if _is_here(facts, state) else ():
        if phase is Phase.COMMIT:
            signers = walk.signers(facts.session, (phase, view, digest))
            yield from (Learn(phase, view, digest, rows, signers) for rows in (False, True))
        elif state.highest < view and view != state.view:
            yield from _prepared(walk, facts.session, view, digest)
