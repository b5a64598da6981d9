"""The read side of a ceremony: its parts, and the answers to the node.

Nothing here changes a state.

Some answers are asked for between steps, from another thread than the one that steps: those copy what they look at first.
"""

from eigenkms.protocols.ceremony.agreement import Agreement
from eigenkms.protocols.ceremony.base_versions import BaseVersions
from eigenkms.protocols.ceremony.blame import Blame
from eigenkms.protocols.ceremony.context import CeremonyContext
from eigenkms.protocols.ceremony.dealing_pool import DealingStage, KnownDealing
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.membership import SessionMembership
from eigenkms.protocols.ceremony.proposals import Decision
from eigenkms.protocols.ceremony.session_observer import SessionObserver
from eigenkms.protocols.ceremony.session_progress import CeremonyStatus, SessionStep, session_steps
from eigenkms.protocols.ceremony.session_state import BOUND, PAST, SessionState
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.types import OperatorAddress
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.key_directory import KeyDirectory
from eigenkms.wire.messages import SourceRef, read_sync, source_of, sync_body
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript

SYNC_REPLY_BYTES = 512 * 1024


class CeremonyReader:
    """The read side of one operator's part in one session.

    ``floor`` is the version of this operator's lock.
    """

    def __init__(
        self,
        session: Session,
        context: CeremonyContext,
        opened_at: float,
        floor: SourceRef,
        mpk: bytes | None,
    ) -> None:
        self.session = session
        self._context = context
        self._log = FrameLog()
        self._signer = SlotSigner(session, context.me, context.key, self._log)
        self._keys = KeyDirectory(session)
        self._membership = SessionMembership(session, context.me)
        self._sources = BaseVersions(session.recipients, floor)
        self._agreement = Agreement(self._signer, self._sources, mpk)
        self._observer = SessionObserver(session, context.me, self._log, opened_at)
        self._state = SessionState.GENESIS if mpk is None else SessionState.ROTATION
        self._is_silent = False
        """Another copy of this operator may have signed: it signs nothing more here."""

    # -- what was certified ------------------------------------------------------------------------------------

    @property
    def me(self) -> OperatorAddress:
        return self._context.me

    @property
    def state(self) -> SessionState:
        return self._state

    @property
    def decided(self) -> bool:
        return self._agreement.decision is not None

    @property
    def decision(self) -> Decision | None:
        return self._agreement.decision

    @property
    def locked(self) -> Transcript | None:
        """The transcript that this operator committed to, if this is a rotation."""
        return self._agreement.locked if self.is_rotation else None

    @property
    def locked_in(self) -> int:
        """The view in which this operator committed to it, -1 if it did not."""
        return self._agreement.locked_in

    @property
    def has_prepared_key(self) -> bool:
        """Whether this operator voted for a key in this genesis, which is undecided.

        It may join no later genesis. A vote for ∅ does not bind.
        """
        return self._state in BOUND

    # -- what the session deals from ---------------------------------------------------------------------------

    @property
    def is_rotation(self) -> bool:
        return bool(self.sources)

    @property
    def sources(self) -> tuple[Transcript, ...]:
        """The versions that are dealt from here, ascending; none at genesis."""
        return self._membership.sources

    @property
    def unknown_sources(self) -> dict[OperatorAddress, SourceRef]:
        """The unknown versions that may be better ones, by operator that deals from them."""
        return self._sources.unknown

    @property
    def dealt_sources(self) -> dict[OperatorAddress, SourceRef]:
        """The versions that are dealt from here, by operator whose dealing came."""
        return self._sources.dealt

    def key_of(self, sender: OperatorAddress) -> bytes | None:
        """Return the BN254 G2 key of a recipient, or else of a holder of a source."""
        return self._membership.key_of(sender)

    # -- what others lack, or this operator --------------------------------------------------------------------

    def sync_request(self) -> Frame:
        """Return a signed list of the frames that are here, to ask for the rest."""
        return self._signer.build(FrameKind.SYNC, sync_body(self._log.keys()))

    def sync_reply(self, request: Frame) -> list[Frame]:
        """Return frames that the (verified) request lacks.

        Raises ``WrongScopeError``, ``MalformedError``.
        """
        self._membership.check_scope(request)
        return self._log.frames_missing_from(read_sync(request), SYNC_REPLY_BYTES)

    @property
    def wanted_bodies(self) -> tuple[bytes, ...]:
        """Names of dealings whose bodies are to be fetched from anybody."""
        if self._is_passive or self.decided:
            return ()
        return tuple(name for dealings in self._sources for name in dealings.wanted)

    def body(self, name: bytes) -> bytes | None:
        """Return the body of a dealing that is here, to be served to any member."""
        for known in self._dealings:
            if known.header.name == name and known.stage is DealingStage.VALID:
                return known.body
        return None

    def dealing(self, name: bytes) -> KnownDealing | None:
        """Return a dealing of which the body is here.

        One that a certified transcript names is valid.
        """
        held = (DealingStage.HELD, DealingStage.VALID)
        return next((k for k in self._dealings if k.header.name == name and k.stage in held), None)

    @property
    def _dealings(self) -> list[KnownDealing]:
        return [
            known
            for dealings in self._sources
            for dealer in sorted(dealings.dealers)
            if (known := dealings.get(dealer)) is not None
        ]

    @property
    def needs_sync(self) -> bool:
        """Whether others may have what this operator needs: it is undecided and goes on.

        A genesis session that the next boundary left behind sleeps, unless this operator's vote binds it or a view change wakes it.
        """
        if self.decided:
            return False
        awake = not self.is_rotation and (self.has_prepared_key or self._agreement.started)
        return self._state not in PAST or awake

    @property
    def must_stay_answerable(self) -> bool:
        """Whether somebody may still be bound to this session."""
        return self.decided or self._agreement.has_activity

    @property
    def _is_passive(self) -> bool:
        """Whether this operator deals and signs no more here.

        A rotation that the next boundary left behind deals no more.
        """
        return self._is_silent or (self.is_rotation and self._state in PAST)

    # -- how far it is -----------------------------------------------------------------------------------------

    @property
    def view(self) -> int:
        return self._agreement.view

    def status(self) -> CeremonyStatus:
        """Return how far the session is.

        May be called from another thread than the one that steps, as ``progress``.
        """
        decision, dealings = self._agreement.decision, self._sources.current
        if decision is not None:
            phase = "void" if decision.transcript is None else "certified"
        else:
            phase = "voting" if self._agreement.started else "dealing"
        return CeremonyStatus(phase, self._agreement.view, dealings.missing, dealings.ref.version)

    def served(self, transcript: Transcript) -> int | None:
        """Return how many recipients all dealings of a transcript serve.

        ``None`` if they are not all here.
        """
        dealings = self._sources.get(source_of(transcript))
        if dealings is None or not dealings.holds(transcript):
            return None
        return len(dealings.served_by(transcript))

    def progress(self) -> tuple[SessionStep, ...]:
        """Return which operator has done which part."""
        agreement, frames = self._agreement, tuple(self._log)
        return session_steps(self.session, frames, self._sources.current, agreement.view, agreement.decision)

    @property
    def blame(self) -> Blame | None:
        """The operators that were late, if this session ended without a certificate."""
        return self._observer.blame

    def deadline(self) -> float | None:
        """Return when to call ``tick`` next, in seconds on the caller's clock.

        One that has passed is returned until an event of this session comes with a later time: what other sessions
        take in meanwhile does not make it forgotten.
        """
        if self.decided or self._is_passive:
            return None
        since = self._observer.advanced_at
        times = [self._agreement.deadline(since), *(d.deadline(since) for d in self._sources)]
        return min((t for t in times if t is not None), default=None)
