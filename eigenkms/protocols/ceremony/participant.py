"""One operator across boundaries: its sessions, their sources, and erasure.

Its versions of the master key, shares and encryption keys are in ``holdings``.

*One genesis.* At most one genesis may ever make a key: having voted for a key in a genesis session, an operator joins no later
one until a certificate closes the first, by a key or by ∅. Once a version is known, no genesis is joined at all.

*Rotation.* With a version known, each boundary opens a rotation from the *head*: the highest version that is known to be
certified, or prepared, as one that is prepared may have been certified without this operator's knowledge. Its holders deal,
members or not.

*Certified is settled.* Of the members that prepared a certified version at least one correct one holds all its dealings, and
every recipient decrypts its share from them, at any later time (protocols/ceremony/recovery). So older shares are erased at the
certificate, and older keys once the share is durable (protocols/ceremony/keys).

*No fork.* An operator that committed to a version prepares no fresh transcript from an older one in a later session (``floor``).
Everybody deals from its head alone. Let V, made from T, be certified. If a later session has the members of the one that made
V, t' commits and t' prepare votes share a correct member, which is locked on V. If T has them, t' commits and t(T) dealers
share one, which deals from V. So no other branch is prepared, unless the set changed much at both boundaries
(docs/protocol.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.context import CeremonyContext, SourceVersion, StartData
from eigenkms.protocols.ceremony.dealing_pool import KnownDealing
from eigenkms.protocols.ceremony.early_frames import EarlyFrames
from eigenkms.protocols.ceremony.effects import (
    DropJournal,
    Effect,
    JournalRecord,
    KeepKey,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.floor import raised
from eigenkms.protocols.ceremony.holdings import KnownVersion
from eigenkms.protocols.ceremony.jobs import OpenResult, Result
from eigenkms.protocols.ceremony.participant_reader import ParticipantReader
from eigenkms.protocols.ceremony.retention import expired
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.frames import Frame
from eigenkms.wire.messages import GENESIS, SESSION_KINDS
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import Transcript, decode_transcript
from eigenkms.wire.votes import Certificate, Phase


@dataclass(frozen=True)
class SessionEffect:
    """An effect, and the session it belongs to.

    ``None`` where it belongs to a version.
    """

    session: Session | None
    effect: Effect


class Participant(ParticipantReader):
    """The sessions and versions of one operator.

    ``key`` signs; ``rng`` yields secret randomness; ``grace`` as in ``CeremonyContext``.
    """

    def __init__(self, me: OperatorAddress, key: bn254.KeyPair, rng: Rng, grace: Callable[[], float]) -> None:
        super().__init__(me)
        self._context = CeremonyContext(me, key, rng, grace)
        self._early = EarlyFrames()
        self._floor = GENESIS
        """The version that this operator committed to last, or knows to be certified."""

    # -- versions and keys -------------------------------------------------------------------------------------

    def load_version(
        self, transcript: Transcript, certificate: Certificate, share: SecretScalar | None
    ) -> None:
        """Take back a version of an earlier run, before anything is restored."""
        self._holdings.load_version(KnownVersion(transcript, certificate, share))

    def load_key(self, number: int, key: pvss.EncryptionKey) -> None:
        """Take back an encryption key of an earlier run, before anything is restored."""
        self._holdings.add_key(number, key)

    def adopt(
        self,
        transcript: Transcript,
        certificate: Certificate,
        now: float,
        share: SecretScalar | None = None,
    ) -> list[SessionEffect]:
        """Take a version that others certified, or prepared in a rotation.

        Nothing happens unless ``can_adopt`` allows it.

        ``share`` is this operator's of a version of protocol 1, which it did not know to be settled.

        The caller has checked the certificate and, with the chain, the operators that signed it. A genesis must be certified:
        of two that are prepared, another one may become the cluster's.
        """
        founds = transcript.source_version == GENESIS.version
        if not self.can_adopt(transcript) or (founds and certificate.phase is not Phase.COMMIT):
            return []
        told: Effect = (
            StoreCertifiedVersion(transcript, certificate)
            if certificate.phase is Phase.COMMIT
            else StorePreparedVersion(transcript, certificate)
        )
        effects = self._record(None, [told])
        if share is not None:
            self._holdings.add_share(transcript, share)
        maker = self._ceremonies.get(transcript.session)
        if maker is not None and not maker.decided:
            effects += self._record(maker.session, maker.decide(transcript, certificate, now))
        return self._finish_step(effects, now)

    # -- events ------------------------------------------------------------------------------------------------

    def restore(
        self,
        session: Session,
        records: Sequence[JournalRecord],
        opened_at: float,
        now: float,
        *,
        listen_only: bool = False,
    ) -> list[SessionEffect]:
        """Resume a session of an earlier run.

        The order is: versions and keys, then sessions, oldest first, and then ``tick``.

        The journal holds the transcripts that the session deals from: the dealings of a certified version cannot be read without
        that of its source, which is a version of the past by then.

        ``listen_only`` if the journal may have lost signed frames: then nothing is signed, lest it is signed again differently.
        """
        effects = self._close_older(session, now)
        named = [decode_transcript(record.body) for record in records if record.kind == "source"]
        is_known = any(self._holdings.version(source.hash) is not None for source in named)
        has_made = any(known.transcript.session == session.id for known in self.versions)
        if named and not is_known and not has_made:
            return [*effects, SessionEffect(session, DropJournal(session.id))]
        if not records:
            effects += self._join(session, now, opened_at=opened_at, listen_only=listen_only)
        else:
            sources = [SourceVersion(source, self._holdings.share_of(source)) for source in named]
            effects += self._begin(session, records, sources, opened_at, now, listen_only=listen_only)
        self._raise_floor()  # a commitment here binds in the sessions that follow
        return effects

    def boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """Leave or finish older sessions at a new boundary.

        Join this one if nothing forbids it.
        """
        if session.id in self._ceremonies:
            return []
        effects = self._join(session, now) if self.may_join(session) else []
        return effects + self.pass_boundary(session, now)

    def _join(
        self, session: Session, now: float, *, opened_at: float | None = None, listen_only: bool = False
    ) -> list[SessionEffect]:
        """Begin a session in which nothing was said yet, with a fresh encryption key."""
        fresh: list[SessionEffect] = []
        number = session.boundary.number
        if session.recipients.get(self.me) is not None and number not in self.key_numbers and not listen_only:
            key = pvss.EncryptionKey.generate(self._context.rng)
            self._holdings.add_key(number, key)
            fresh = [SessionEffect(session, KeepKey(number, key))]
        sources = self._sources_of(session)
        began = now if opened_at is None else opened_at
        return fresh + self._begin(session, (), sources, began, now, listen_only=listen_only)

    def pass_boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """Leave or finish older sessions at a new boundary, joined or not."""
        self._early.drop_others(session)
        return self._finish_step(self._close_older(session, now), now)

    def _close_older(self, session: Session, now: float) -> list[SessionEffect]:
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if ceremony.session.boundary.number < session.boundary.number:
                effects += self._record(ceremony.session, ceremony.on_next_boundary(now))
        return effects

    def should_verify(self, frame: Frame) -> bool:
        """Return whether a decoded frame is worth a signature check.

        Raises what ``Ceremony.should_verify`` raises.
        """
        ceremony = self._ceremonies.get(frame.session)
        if ceremony is not None:
            return ceremony.should_verify(frame)
        return frame.kind in SESSION_KINDS and frame.recipient is None and self._early.has_room(frame)

    def receive(self, frames: Sequence[Frame], now: float) -> list[SessionEffect]:
        """Take verified frames that ``should_verify`` accepted.

        Those of a boundary not seen yet are kept for it.
        """
        effects: list[SessionEffect] = []
        by_session: dict[SessionId, list[Frame]] = {}
        for frame in frames:
            by_session.setdefault(frame.session, []).append(frame)
        for session_id, group in by_session.items():
            ceremony = self._ceremonies.get(session_id)
            if ceremony is not None:
                effects += self._record(ceremony.session, ceremony.receive(group, now))
            else:
                self._early.keep(group)
        return self._finish_step(effects, now)

    def pop_buffered(self, session: Session) -> list[Frame]:
        """Take out early frames that their session accepts, to be verified and received.

        Those of others stay.
        """
        return [frame for frame in self._early.pop(session) if self._passes_filter(frame)]

    def _passes_filter(self, frame: Frame) -> bool:
        """Return whether its session accepts a frame that came before the boundary."""
        try:
            return self.should_verify(frame)
        except RemoteProtocolError:
            return False

    def take_body(self, name: bytes, body: bytes, now: float) -> list[SessionEffect]:
        """Take the body of a dealing that was wanted.

        Raises ``RemoteProtocolError`` for other bytes.
        """
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if name in ceremony.wanted_bodies:
                effects += self._record(ceremony.session, ceremony.take_body(name, body, now))
        return self._finish_step(effects, now)

    def take_row(self, name: bytes, row: DealingRow, now: float) -> list[SessionEffect]:
        """Take a row that was wanted. Raises ``RemoteProtocolError`` for other bytes."""
        self._holdings.take_row(name, row)
        return self._finish_step([], now)

    def take_result(self, result: Result, now: float) -> list[SessionEffect]:
        """Take the result of a job that was asked for."""
        if isinstance(result, OpenResult):
            return self._finish_step(self._take_opened(result, now), now)
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            effects += self._record(ceremony.session, ceremony.take_result(result, now))
        return self._finish_step(effects, now)

    def tick(self, now: float) -> list[SessionEffect]:
        """Do what follows from the passing of time."""
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            effects += self._record(ceremony.session, ceremony.tick(now))
        return self._finish_step(effects, now)

    def prune(self) -> list[Session]:
        """Drop and return sessions that nobody needs from this operator any more.

        Their journals may be dropped.
        """
        made = {known.transcript.session for known in self.versions}
        old = expired(self._all, made)
        for ceremony in old:
            del self._ceremonies[ceremony.session.id]
        return [c.session for c in old]

    # -- inside ------------------------------------------------------------------------------------------------

    def _begin(
        self,
        session: Session,
        records: Sequence[JournalRecord],
        sources: Sequence[SourceVersion],
        opened_at: float,
        now: float,
        *,
        listen_only: bool,
    ) -> list[SessionEffect]:
        ceremony = Ceremony(
            session,
            self._context,
            opened_at,
            data=StartData(tuple(records), self._holdings.key(session.boundary.number)),
            sources=sources,
            floor=self._floor,
            listen_only=listen_only,
        )
        self._ceremonies[session.id] = ceremony
        return self._record(session, ceremony.start(now))

    def _record(self, session: Session | None, effects: Sequence[Effect]) -> list[SessionEffect]:
        """Note what the effects of a ceremony change here.

        Drop those about a version of the past.
        """
        return [
            SessionEffect(session, effect)
            for effect in effects
            if not isinstance(effect, StoreCertifiedVersion | StorePreparedVersion)
            or self._holdings.adopt(effect)
        ]

    def _finish_step(self, effects: list[SessionEffect], now: float) -> list[SessionEffect]:
        """Draw the conclusions of a step: deal from the head, decrypt, erase."""
        self._raise_floor()
        return [*effects, *self._deal_from_head(now), *self._recover(), *self._erase()]

    def _raise_floor(self) -> None:
        """Raise the floor to what binds now, and hand it to the newest session."""
        self._floor = raised(self._floor, self._all, self.versions, self.certified)
        newest = self.newest
        if newest is not None and self._floor.version < newest.session.version:
            newest.raise_floor(self._floor)

    def _deal_from_head(self, now: float) -> list[SessionEffect]:
        """Let the newest session deal from the head, if it began before that was known."""
        head, newest = self.head, self.newest
        if head is None or newest is None:
            return []
        return self._record(newest.session, newest.add_source(head.source, now))

    def _recover(self) -> list[SessionEffect]:
        """Decrypt the shares that are lacking, of dealings that are here."""
        effects = self._holdings.recover(self._find_dealing)
        return [SessionEffect(None, effect) for effect in effects]

    def _find_dealing(self, transcript: Transcript, name: bytes) -> KnownDealing | None:
        maker = self._ceremonies.get(transcript.session)
        return None if maker is None else maker.dealing(name)

    def _take_opened(self, result: OpenResult, now: float) -> list[SessionEffect]:
        """Hand a share that is decrypted to the newest session, too."""
        opened = self._holdings.take_opened(result)
        known, newest = self._holdings.version(result.version), self.newest
        if known is None:
            return []
        maker = self._ceremonies.get(known.transcript.session)
        effects = [SessionEffect(None if maker is None else maker.session, effect) for effect in opened]
        if opened and known.share is not None and newest is not None:
            effects += self._record(newest.session, newest.add_share(known.transcript, known.share, now))
        return effects

    def _erase(self) -> list[SessionEffect]:
        """Erase what the highest certified version leaves behind, in sessions too."""
        certified = self.certified
        if certified is None:
            return []
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if ceremony.session.boundary.number <= certified.transcript.boundary.number:
                effects += self._record(ceremony.session, ceremony.forget_secrets())
        return effects + [SessionEffect(None, effect) for effect in self._holdings.erase()]
