"""The retention of sessions: which are synced, stay answerable, or are dropped."""

from collections.abc import Collection, Sequence

from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.types import SessionId

KEEP_SYNCING = 3
"""Undecided genesis sessions that are pulled although the next boundary left them behind: others may have decided them."""
KEEP_IDLE = 16
"""Genesis sessions that stay answerable although nobody was seen to vote in them."""
KEEP_VOTED = 256
"""Genesis sessions with votes, or decided, that stay. An operator that is bound to one needs the others, or the certificate."""
KEEP_ROTATIONS = 3
"""Rotation sessions that stay answerable although no version that counts was made there."""


def syncable(ceremonies: Sequence[Ceremony]) -> tuple[Ceremony, ...]:
    """Return the sessions to be pulled from others, oldest first."""
    genesis = [c for c in ceremonies if not c.decided and not c.is_rotation][-KEEP_SYNCING:]
    return tuple(c for c in ceremonies if c.needs_sync or c in genesis)


def expired(ceremonies: Sequence[Ceremony], made: Collection[SessionId]) -> list[Ceremony]:
    """Return the sessions that nobody needs any more.

    ``made`` are those whose version is known.
    """
    idle = [c for c in ceremonies if c.session.id not in made]
    free = [c for c in idle if not c.has_prepared_key and not c.is_rotation]
    untouched = [c for c in free if not c.must_stay_answerable]
    old = untouched[:-KEEP_IDLE] + [c for c in free if c.must_stay_answerable][:-KEEP_VOTED]
    return old + [c for c in idle if c.is_rotation][:-KEEP_ROTATIONS]
