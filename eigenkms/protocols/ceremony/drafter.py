"""Fresh transcripts: those that this operator proposes, and those that it prepares.

* ``draft`` is the transcript that a leader proposes: t(source) valid dealings (at genesis those of all that announced). They serve
  the newcomers whose keys came first, and no others serve one more.
* ``supports`` decides whether a fresh transcript of others may be prepared. It convinces by itself, except for
  one thing: whether it leaves a newcomer out without need. A transcript that does is supported only after a longer grace, and
  never if enough dealings are here that serve the newcomer as well. Correct dealers are enough, so no liar keeps a newcomer from
  its share.

A liar among the newcomers can publish its key so late that some correct dealers miss it, and a lying dealer can serve it alone. So
t(source) dealings serve the liar, and t(source) others, but no t(source) both. *Timely* newcomers come first then: a key that one
correct operator had by a quarter of a window, all have when they deal, so all their dealings serve it.
"""

from collections.abc import Sequence

from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.dealing_pool import DealingPool
from eigenkms.protocols.ceremony.keys import next_keys
from eigenkms.protocols.ceremony.proposals import Draft
from eigenkms.types import OperatorAddress
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.messages import source_of
from eigenkms.wire.transcript import ListedKey, Transcript

NEWCOMER_WINDOWS = 0.5
"""Windows for which a newcomer's key is waited for before dealing without it: it may see the boundary later than others."""
TIMELY_WINDOWS = NEWCOMER_WINDOWS / 2
"""Windows within which a newcomer's key is timely: the other half is there for it to reach all that are about to deal."""
PATIENCE_WINDOWS = 1.0
"""Windows after which a transcript that leaves a newcomer out may be supported."""


class TranscriptDrafter:
    """Drafts of the dealings in ``pool``.

    ``opened_at`` is the moment from which newcomers' keys are waited for.
    """

    def __init__(self, pool: DealingPool, keys: KeyDirectory, opened_at: float) -> None:
        self._pool = pool
        self._terms = pool.terms
        self._session = pool.terms.session
        self._keys = keys
        self._opened_at = opened_at
        self._keyed_at: dict[OperatorAddress, float] = {}
        """When each newcomer's key was first here, in that order."""

    def note_keys(self, now: float) -> None:
        """Note which newcomers' keys are here by now."""
        for newcomer in self._newcomers:
            if newcomer in self._keys:
                self._keyed_at.setdefault(newcomer, now)

    def draft(self) -> Draft | None:
        """Return what to propose afresh, or ``None`` if there is nothing to propose."""
        chosen = self._choose()
        if chosen is None:
            return None
        members = self._session.recipients.addresses
        fresh = {a: key for a in members if (key := self._keys.get(a)) is not None}
        transcript = self.transcript(chosen, next_keys(self._session, self._terms.source, fresh))
        return Draft(transcript, self._keys.frames(members))

    def supports(self, transcript: Transcript, keys: Sequence[bytes], now: float) -> bool:
        """Return whether a fresh transcript from this source may be prepared now.

        ``keys`` are the KEY frames beside it.
        """
        pool = self._pool
        if source_of(transcript) != self._terms.ref or not pool.may_count(transcript):
            return False
        if not pool.holds(transcript) or not self._keys_are_right(transcript, keys):
            return False
        served = pool.served_by(transcript)
        left_out = [a for a in self._newcomers if a in self._keys and a not in served]
        if left_out and now < self._opened_at + PATIENCE_WINDOWS * self._session.window:
            return False
        if not self._timely <= served and pool.serving(self._with_keys | self._timely):
            return False
        return not any(pool.serving(served | {newcomer}) for newcomer in left_out)

    def transcript(
        self, dealers: tuple[OperatorAddress, ...], keys: tuple[ListedKey | None, ...]
    ) -> Transcript:
        """Return what these dealers' dealings make, with these keys listed."""
        session, combined = self._session, self._pool.combine(dealers)
        return Transcript(
            session.cluster,
            session.id,
            session.boundary,
            session.recipients,
            session.threshold,
            self._terms.ref.version,
            self._terms.ref.hash,
            tuple(zip(dealers, self._pool.names(dealers), strict=True)),
            combined[0],
            combined,
            keys,
        )

    # -- newcomers ---------------------------------------------------------------------------------------------

    @property
    def _newcomers(self) -> tuple[OperatorAddress, ...]:
        """Recipients whose key the source does not list."""
        return self._terms.newcomers

    @property
    def _with_keys(self) -> frozenset[OperatorAddress]:
        """Recipients whose key the source lists: every dealing serves them."""
        return frozenset(self._session.recipients.addresses) - frozenset(self._newcomers)

    @property
    def _timely(self) -> frozenset[OperatorAddress]:
        """Newcomers whose key was here early enough to be in every correct dealing."""
        latest = self._opened_at + TIMELY_WINDOWS * self._session.window
        return frozenset(a for a, moment in self._keyed_at.items() if moment <= latest)

    def _choose(self) -> tuple[OperatorAddress, ...] | None:
        """Choose dealers that serve a set of newcomers that no others serve with one more.

        Newcomers whose key came first are served before all.
        """
        wanted = self._with_keys
        chosen = self._pool.serving(wanted)
        in_turn = dict.fromkeys((*self._keyed_at, *self._newcomers))
        for newcomer in in_turn:
            better = self._pool.serving(wanted | {newcomer})
            if better:
                wanted, chosen = wanted | {newcomer}, better
        return tuple(sorted(chosen)) or None

    # -- listed keys -------------------------------------------------------------------------------------------

    def _keys_are_right(self, transcript: Transcript, frames: Sequence[bytes]) -> bool:
        """Return whether each listed key is the right one of its owner.

        It is the source's, or published in this session, by one of ``frames`` or by a frame that is here. A recipient that the
        source lists, or that a dealing serves, has a key: to leave it out would make it a newcomer to later sessions. They serve
        a newcomer only if it is there.
        """
        if len(transcript.keys) != self._session.n or len(frames) > self._session.n:
            return False
        try:
            shown = {self._keys.read(frame) for frame in frames}
        except RemoteProtocolError:
            return False
        served, listed = self._pool.served_by(transcript), self._terms.listed
        for address, key in zip(self._session.recipients.addresses, transcript.keys, strict=True):
            if key is None:
                if address in served or listed(address) is not None:
                    return False
                continue
            own = key in (listed(address), self._keys.get(address))
            if not own and (address, key) not in shown:
                return False
        return True
