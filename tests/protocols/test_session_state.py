"""The states of a session: the table, and that a ceremony keeps to it."""

from collections.abc import Callable
from itertools import product

import pytest

from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.effects import JournalRecord
from eigenkms.protocols.ceremony.session_state import (
    BOUND,
    DECIDED,
    OPEN_TO_SOURCES,
    PAST,
    TRANSITIONS,
    ImpossibleEventError,
    SessionEvent,
    SessionState,
    next_state,
)
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.messages import vote_body
from eigenkms.wire.votes import Phase
from tests.protocols.rooms import certify, seat_of, version_of
from tests.protocols.support import Cast, cast, secret_of

ROTATIONS = frozenset({SessionState.ROTATION, SessionState.ROTATION_PAST})
EVERY_STEP = tuple(product(SessionState, SessionEvent))


@pytest.mark.parametrize(("state", "event"), EVERY_STEP)
def test_a_step_is_in_the_table_or_an_error(state: SessionState, event: SessionEvent) -> None:
    """What is past stays past, a decision is final, a rotation stays one, and only a decision unbinds."""
    if event not in TRANSITIONS[state]:
        with pytest.raises(ImpossibleEventError, match=f"from {state.name}: {event.name}"):
            next_state(state, event)
        return
    after = next_state(state, event)
    assert after is TRANSITIONS[state][event]
    assert after in PAST or state not in PAST
    assert after in DECIDED or state not in DECIDED
    assert after in ROTATIONS | DECIDED or state not in ROTATIONS
    assert after in BOUND | DECIDED or state not in BOUND
    assert (after in PAST) == (state in PAST or event is SessionEvent.BOUNDARY)
    assert (after in DECIDED) == (state in DECIDED or event is SessionEvent.DECISION)


def test_the_table_has_every_state_and_reaches_it() -> None:
    """From the two states in which a session begins."""
    assert set(TRANSITIONS) == set(SessionState)
    reached, before = {SessionState.GENESIS, SessionState.ROTATION}, set[SessionState]()
    while reached != before:
        before = set(reached)
        reached |= {after for state in before for after in TRANSITIONS[state].values()}
    assert reached == set(SessionState)
    assert {SessionState.GENESIS, SessionState.ROTATION} == OPEN_TO_SOURCES


# -- ceremonies ------------------------------------------------------------------------------------------------

PATHS: dict[SessionState, tuple[SessionEvent, ...]] = {
    SessionState.GENESIS: (),
    SessionState.GENESIS_BOUND: (SessionEvent.KEY_VOTE,),
    SessionState.GENESIS_PAST: (SessionEvent.BOUNDARY,),
    SessionState.GENESIS_PAST_BOUND: (SessionEvent.KEY_VOTE, SessionEvent.BOUNDARY),
    SessionState.ROTATION: (SessionEvent.SOURCE,),
    SessionState.ROTATION_PAST: (SessionEvent.SOURCE, SessionEvent.BOUNDARY),
    SessionState.DECIDED: (SessionEvent.DECISION,),
    SessionState.DECIDED_PAST: (SessionEvent.DECISION, SessionEvent.BOUNDARY),
}
"""The events that bring a new ceremony into each state."""


class Driver:
    """One ceremony, and how each event reaches it. A vote is one that the journal holds, so it comes before all else."""

    def __init__(self, path: tuple[SessionEvent, ...]) -> None:
        everybody = cast(4)
        self.old, self.who = version_of(everybody), everybody.at(10)
        self.made = version_of(self.who)
        self.me = self.who.addresses[0]
        voted = path[:1] == (SessionEvent.KEY_VOTE,)
        self.ceremony: Ceremony = seat_of(
            self.who, self.me, records=[_vote(self.who, self.made.transcript.hash)] if voted else []
        )
        self.ceremony.start(0.0)
        for event in path[voted:]:
            self.feed(event)

    def feed(self, event: SessionEvent) -> None:
        steps: dict[SessionEvent, Callable[[], object]] = {
            SessionEvent.SOURCE: lambda: self.ceremony.add_source(self.old.held_by(self.me), 0.1),
            SessionEvent.BOUNDARY: lambda: self.ceremony.on_next_boundary(0.1),
            SessionEvent.DECISION: self._decide,
        }
        steps[event]()

    def _decide(self) -> None:
        """By a version that this session may make: in a rotation one with the same master key."""
        made = self.made.transcript
        if self.ceremony.is_rotation:
            secret = secret_of(self.old.shares, self.old.transcript.threshold)
            polynomial = Polynomial.random(self.who.session.threshold, self.who.rng, secret)
            made = version_of(self.who, polynomial, source=int(self.old.transcript.version)).transcript
        self.ceremony.decide(made, certify(self.who, made), 0.1)


def _vote(who: Cast, transcript_hash: bytes) -> JournalRecord:
    """A journaled vote of the first operator."""
    body = vote_body(0, Phase.PREPARE, transcript_hash, bytes(64))
    return JournalRecord("frame", who.frame(who.addresses[0], FrameKind.VOTE, body).encoded)


@pytest.mark.parametrize("state", SessionState)
def test_a_ceremony_comes_into_every_state(state: SessionState) -> None:
    """And answers as the state says whether it binds, and whether it is decided."""
    ceremony = Driver(PATHS[state]).ceremony
    assert ceremony.state is state
    assert ceremony.has_prepared_key == (state in BOUND)
    assert ceremony.decided == (state in DECIDED)
    assert ceremony.is_rotation == (state in ROTATIONS)


@pytest.mark.parametrize(
    ("state", "event"), [step for step in EVERY_STEP if step[1] is not SessionEvent.KEY_VOTE]
)
def test_a_ceremony_keeps_to_the_table(state: SessionState, event: SessionEvent) -> None:
    """An event that cannot happen in a state is not fed to the table: the ceremony ignores it."""
    driver = Driver(PATHS[state])
    driver.feed(event)
    assert driver.ceremony.state is TRANSITIONS[state].get(event, state)
