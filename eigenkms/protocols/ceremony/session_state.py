"""The states of one session for one operator, and every transition.

All transitions are in ``TRANSITIONS``; no other module changes a state except through ``next_state``. The diagram in
docs/architecture.md is made from the table, and a test walks every pair of state and event.

The states answer four questions, which were independent flags once:

* Is a master key made, or are its shares renewed? A genesis becomes a rotation if a version to deal from turns up. It does not if
  this operator voted for a key: then it is *bound* and joins no other genesis until this one is decided.
* Has the next boundary been seen? Then the session is *past*. A past genesis may still be decided, by a justified proposal or by ∅.
  In a past rotation this operator deals and votes no more.
* Is there a certificate? Then the session is *decided*, for good. Only a decided session forgets whether it was bound.

Not here is whether an operator must stay silent because another copy of it signs: that holds in every state, and for good.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final


class SessionState(Enum):
    """The state of a session for one operator."""

    GENESIS = auto()
    """A master key may be made. This operator has not voted for one."""
    GENESIS_BOUND = auto()
    """This operator voted for a key: it joins no other genesis."""
    GENESIS_PAST = auto()
    """The next boundary was seen. Only ∅ or a justified proposal gets this operator's vote."""
    GENESIS_PAST_BOUND = auto()
    """The next boundary was seen, and this operator voted for a key."""
    ROTATION = auto()
    """The shares of a version are dealt anew."""
    ROTATION_PAST = auto()
    """The next boundary was seen. This operator only listens."""
    DECIDED = auto()
    """A certificate is known: of a version, or at genesis of ∅."""
    DECIDED_PAST = auto()
    """A certificate is known, and the next boundary was seen."""


class SessionEvent(Enum):
    """An event that moves a session from one state to another."""

    SOURCE = auto()
    """A version to deal from is known."""
    KEY_VOTE = auto()
    """This operator voted for a transcript, which is not ∅."""
    BOUNDARY = auto()
    """The next boundary was seen."""
    DECISION = auto()
    """A valid certificate of this session is here, with what it certifies."""


class ImpossibleEventError(ValueError):
    """An event that cannot happen in a state: a defect of the caller."""


TRANSITIONS: Final[Mapping[SessionState, Mapping[SessionEvent, SessionState]]] = MappingProxyType(
    {
        SessionState.GENESIS: {
            SessionEvent.SOURCE: SessionState.ROTATION,
            SessionEvent.KEY_VOTE: SessionState.GENESIS_BOUND,
            SessionEvent.BOUNDARY: SessionState.GENESIS_PAST,
            SessionEvent.DECISION: SessionState.DECIDED,
        },
        SessionState.GENESIS_BOUND: {
            SessionEvent.KEY_VOTE: SessionState.GENESIS_BOUND,
            SessionEvent.BOUNDARY: SessionState.GENESIS_PAST_BOUND,
            SessionEvent.DECISION: SessionState.DECIDED,
        },
        SessionState.GENESIS_PAST: {
            SessionEvent.KEY_VOTE: SessionState.GENESIS_PAST_BOUND,
            SessionEvent.BOUNDARY: SessionState.GENESIS_PAST,
            SessionEvent.DECISION: SessionState.DECIDED_PAST,
        },
        SessionState.GENESIS_PAST_BOUND: {
            SessionEvent.KEY_VOTE: SessionState.GENESIS_PAST_BOUND,
            SessionEvent.BOUNDARY: SessionState.GENESIS_PAST_BOUND,
            SessionEvent.DECISION: SessionState.DECIDED_PAST,
        },
        SessionState.ROTATION: {
            SessionEvent.SOURCE: SessionState.ROTATION,
            SessionEvent.KEY_VOTE: SessionState.ROTATION,
            SessionEvent.BOUNDARY: SessionState.ROTATION_PAST,
            SessionEvent.DECISION: SessionState.DECIDED,
        },
        SessionState.ROTATION_PAST: {
            SessionEvent.BOUNDARY: SessionState.ROTATION_PAST,
            SessionEvent.DECISION: SessionState.DECIDED_PAST,
        },
        SessionState.DECIDED: {SessionEvent.BOUNDARY: SessionState.DECIDED_PAST},
        SessionState.DECIDED_PAST: {SessionEvent.BOUNDARY: SessionState.DECIDED_PAST},
    }
)

DECIDED: Final = frozenset({SessionState.DECIDED, SessionState.DECIDED_PAST})
PAST: Final = frozenset(
    {
        SessionState.GENESIS_PAST,
        SessionState.GENESIS_PAST_BOUND,
        SessionState.ROTATION_PAST,
        SessionState.DECIDED_PAST,
    }
)
"""The next boundary was seen."""
BOUND: Final = frozenset({SessionState.GENESIS_BOUND, SessionState.GENESIS_PAST_BOUND})
"""This operator joins no other genesis."""
OPEN_TO_SOURCES: Final = frozenset(
    state for state, events in TRANSITIONS.items() if SessionEvent.SOURCE in events
)
"""A version that turns up is dealt from."""


def next_state(state: SessionState, event: SessionEvent) -> SessionState:
    """Return the state after ``event``.

    Raises ``ImpossibleEventError`` if it cannot happen in ``state``.
    """
    after = TRANSITIONS[state].get(event)
    if after is None:
        raise ImpossibleEventError(f"move session from {state.name}: {event.name} cannot happen there")
    return after
