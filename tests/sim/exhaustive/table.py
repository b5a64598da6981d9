"""States of single operators by number, and what each move makes of them.

A move's outcome depends on the operator alone, so it is worked out once, by the real machines, however many schedules contain it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import TypeAlias

from eigenkms.wire.dealing_header import decode_header
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import read_dealing, read_view_change, read_vote
from eigenkms.wire.votes import Phase
from tests.sim.exhaustive.fingerprint import Fingerprint, fingerprint
from tests.sim.exhaustive.life import Life
from tests.sim.exhaustive.moves import Crash, Move, Torn, Whole, carry_out
from tests.sim.exhaustive.scene import CORRECT, LIAR, Numbers, Scene

Ballot: TypeAlias = tuple[Phase, int, bytes]
"""Phase, view and hash."""
Names: TypeAlias = tuple[int, ...]
"""What each operator is renamed to."""
SYMMETRIES: tuple[Names, ...] = tuple((*names, LIAR) for names in permutations(CORRECT))


def arranged(names: Names, values: Sequence[int]) -> tuple[int, ...]:
    """What belongs to the correct operators, in the order of their new names."""
    places = [0] * len(CORRECT)
    for place, value in zip(names, values, strict=False):
        places[place] = value
    return tuple(places)


class UnfaithfulFingerprintError(AssertionError):
    """Two lives with one fingerprint went on differently: the fingerprint leaves out what matters."""


class State:
    """A life, and what the walk asks about it."""

    def __init__(self, number: int, life: Life, *, keep_votes: bool) -> None:
        self.number = number
        self.life = life
        self.names: tuple[int, ...] = ()
        """By symmetry, the number of this state with its operators renamed."""
        self.vote_number = 0
        """The same for the same votes."""
        self.twin: Life | None = None
        """Another life with the same fingerprint."""
        self.outcomes: dict[Move, int] = {}
        self.writes: dict[Whole, int] = {}
        newest = life.operator.newest
        self.session = None if newest is None else life.scene.number_of(newest.session)
        """The one that is on for it."""
        self.view = 0 if newest is None else newest.view
        self.decided = newest is not None and newest.decided
        self.equivocated = life.equivocated
        said = [f for f in life.said.values() if newest is not None and f.session == newest.session.id]
        votes = [read_vote(f) for f in said if f.kind is FrameKind.VOTE]
        self.votes = frozenset((v.phase, v.view, v.hash) for v in votes if keep_votes or v.view >= self.view)
        """Of the session that is on, and, but for a walk without rounds, of the view that is on."""
        self.view_changes: dict[int, tuple[tuple[int, bytes], Frame]] = {}
        for frame in said:
            if frame.kind is FrameKind.VIEW_CHANGE:
                change = read_view_change(frame)
                of = (-1, b"") if change.prepared is None else (change.prepared.view, change.prepared.hash)
                self.view_changes[change.view] = (of, frame)
        headers = [decode_header(read_dealing(f).header) for f in said if f.kind is FrameKind.DEALING]
        self.dealt = frozenset(header.source_hash for header in headers)
        self.sources = () if newest is None else tuple(source.hash for source in newest.sources)
        self.proposed = frozenset({} if newest is None else newest._agreement._proposals)
        highest = None if newest is None else newest._agreement._transcripts.highest
        self.highest = -1 if highest is None else highest.view
        known = [(v.is_certified, v.transcript.hash, v.certificate.view) for v in life.operator.versions]
        self.certified = frozenset(digest for is_certified, digest, _ in known if is_certified)
        self.prepared = frozenset((digest, view) for is_certified, digest, view in known if not is_certified)
        certified = life.operator.certified
        self.newest_certified = -1 if certified is None else life.scene.number_of(certified.transcript)

    @cached_property
    def reach(self) -> tuple[object, ...]:
        """All that the laws look at: shares and keys on the disk, dealings that are served, and whether two things were said."""
        return (self._shares, frozenset(self.life.disk.keys), self.served, bool(self.equivocated))

    @cached_property
    def standing(self) -> tuple[object, ...]:
        """Where this operator stands between sessions: versions by rank with what it has of each, keys, lock, dealings."""
        operator = self.life.operator
        versions = tuple((v.transcript.hash, v.rank, v.share is not None) for v in operator.versions)
        return (versions, operator.key_numbers, operator._floor.hash, self.served)

    @cached_property
    def _shares(self) -> frozenset[bytes]:
        """Versions of which the share is on the disk."""
        return frozenset(name for name, row in self.life.disk.versions.items() if row.share is not None)

    @cached_property
    def served(self) -> frozenset[bytes]:
        """Names of the dealings of which this operator, restarted, serves every recipient's row."""
        life = self.life.copy()
        life.restart()
        names = {name for transcript in life.scene.transcripts.values() for _, name in transcript.dealers}
        return frozenset(n for n in names if any(c.dealing(n) is not None for c in life.operator._all))

    def can_open(self, version: bytes, served: frozenset[bytes]) -> bool:
        """Whether the share of a version is on the disk, or the key that it is encrypted to while all its rows are served."""
        if version in self._shares:
            return True
        scene, disk = self.life.scene, self.life.disk
        transcript = scene.transcripts[version]
        key = scene.transcripts[transcript.source_hash].key_of(scene.addresses[self.life.index])
        assert key is not None
        return key.number in disk.keys and served.issuperset(name for _, name in transcript.dealers)


@dataclass
class Counts:
    """Of single operators: moves worked out by the machines, moves repeated by a twin."""

    moves: int = 0
    twins: int = 0


class Table:
    """All states of single operators that were met.

    ``check_twins`` k: of every k-th state, moves are repeated from a second life with the same fingerprint.
    """

    def __init__(self, scene: Scene, *, check_twins: int = 0, keep_votes: bool = False) -> None:
        self._scene = scene
        self._check_twins = check_twins
        self._keep_votes = keep_votes
        self._numbers: dict[Fingerprint, int] = {}
        self._standings: dict[int, tuple[int, ...]] = {}
        self._vote_numbers = Numbers[frozenset[Ballot]]()
        self._vote_numbers.of(frozenset())
        self.states: list[State] = []
        self.equivocated = False
        """Whether any operator ever said two things in one slot."""
        self.counts = Counts()

    def __getitem__(self, number: int) -> State:
        return self.states[number]

    def add(self, life: Life) -> int:
        """The number of the state that this life is in."""
        mark = self.mark(life)
        number = self._numbers.setdefault(mark, len(self.states))
        if number == len(self.states):
            state = State(number, life, keep_votes=self._keep_votes)
            state.vote_number = self._vote_numbers.of(state.votes)
            state.names = self.names_of(mark)
            self.equivocated |= bool(state.equivocated)
            self.states.append(state)
        elif self._check_twins and self.states[number].twin is None:
            self.states[number].twin = life
        return number

    def mark(self, life: Life) -> Fingerprint:
        return fingerprint(life, keep_votes=self._keep_votes)

    def names_of(self, value: object) -> tuple[int, ...]:
        """By symmetry, a number of this value with its operators renamed."""
        return tuple(self._scene.numbers.of(self._scene.renamed(value, names)) for names in SYMMETRIES)

    def standing(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """How operators in these states stand between sessions: the same whatever they are called."""
        named = [self._standing_names(number) for number in numbers]
        return min(arranged(names, [of[i] for of in named]) for i, names in enumerate(SYMMETRIES))

    def _standing_names(self, number: int) -> tuple[int, ...]:
        if number not in self._standings:
            self._standings[number] = self.names_of(self.states[number].standing)
        return self._standings[number]

    def after(self, number: int, move: Move) -> int:
        """The state that a move leads to."""
        state = self.states[number]
        found = state.outcomes.get(move)
        if found is None:
            life = state.life.copy()
            writes = carry_out(life, move)
            if not isinstance(move, Torn | Crash):
                state.writes[move] = writes
            found = state.outcomes[move] = self.add(life)
            self.counts.moves += 1
            self._compare(state, move, found)
        return found

    def torn(self, number: int, move: Whole) -> Iterable[int]:
        """The states that the process's death in the midst of a move leads to, after any number of writes."""
        self.after(number, move)
        return {self.after(number, Torn(move, writes)) for writes in range(self.states[number].writes[move])}

    def move_to(self, number: int, after: int) -> Move:
        """One of the moves that lead from a state to another one."""
        return next(move for move, found in self.states[number].outcomes.items() if found == after)

    def _compare(self, state: State, move: Move, expected: int) -> None:
        if state.twin is None or state.number % self._check_twins:
            return
        life = state.twin.copy()
        carry_out(life, move)
        self.counts.twins += 1
        if self._numbers.get(self.mark(life)) != expected:
            raise UnfaithfulFingerprintError(f"{move} from two lives of state {state.number}")
