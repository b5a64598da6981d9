"""One operator across boundaries: which sessions it may join, what they deal from, and what follows from a certificate.

What it holds meanwhile is in protocols/ceremony/holdings: versions of the master key, shares, encryption keys.

*One genesis.* At most one genesis may ever make a key: having voted for a key in a genesis session, an operator joins no later
one until a certificate closes the first, by a key or by ∅. Once a version is known, no genesis is joined at all.

*Rotation.* With a version known, each boundary opens a rotation from the *head*: the highest version that is known to be
certified, or prepared, as one that is prepared may have been certified without this operator's knowledge. Its holders deal,
members or not.

*Certified is settled.* Of the members that prepared a certified version at least one correct one holds all its dealings, and
every recipient decrypts its share from them, at any later time (protocols/ceremony/recovery). So older shares are erased at the
certificate, and older keys once the share is durable (protocols/ceremony/keys).

*No fork.* Whoever committed to a version prepares no fresh transcript from an older one in a later session (``floor``), and
everybody deals from its head alone. Let V, made from T, be certified. If a later session has the members of the one that made
V, t' commits and t' prepare votes share a correct member, which is locked on V. If T has them, t' commits and t(T) dealers
share one, which deals from V. So no other branch is prepared, unless the set changed much at both boundaries
(docs/protocol.md).
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.ceremony import Ceremony, CeremonyContext, HeldSource
from eigenkms.protocols.ceremony.dealings import KnownDealing
from eigenkms.protocols.ceremony.effects import (
    Certified,
    Effect,
    Forget,
    JournalRecord,
    KeepKey,
    Prepared,
)
from eigenkms.protocols.ceremony.holdings import Holdings, KnownVersion
from eigenkms.protocols.ceremony.jobs import OpenResult, Result
from eigenkms.protocols.wire.dealing import DealingRow, row_of
from eigenkms.protocols.wire.frames import Frame
from eigenkms.protocols.wire.messages import GENESIS, SESSION_KINDS, SourceRef, ref_of
from eigenkms.protocols.wire.session import Session
from eigenkms.protocols.wire.transcript import Transcript, decode_transcript
from eigenkms.protocols.wire.votes import Certificate, Phase
from eigenkms.types import OperatorAddress, SessionId

KEPT_PULLED = 3
"""Undecided genesis sessions that are pulled although the next boundary left them behind: others may have decided them."""
KEPT_UNTOUCHED = 16
"""Genesis sessions that stay answerable although nobody was seen to vote in them."""
KEPT_TOUCHED = 256
"""Genesis sessions with votes, or decided, that stay: whoever is bound to one needs the others, or the certificate, to get free."""
KEPT_ROTATIONS = 3
"""Rotation sessions that stay answerable although no version that counts was made there."""
MAX_EARLY_FRAMES = 64
MAX_EARLY_BYTES = 512 * 1024
"""What is kept for each sender of a boundary that this node has not seen yet."""


@dataclass(frozen=True)
class SessionEffect:
    """An effect, and the session it belongs to; ``None`` where it belongs to a version."""

    session: Session | None
    effect: Effect


class Participant:
    """The sessions and versions of one operator. ``key`` signs; ``rng`` yields secret randomness; ``grace`` as in
    ``CeremonyContext``.
    """

    def __init__(self, me: OperatorAddress, key: bn254.KeyPair, rng: Rng, grace: Callable[[], float]) -> None:
        self.me = me
        self._setting = CeremonyContext(me, key, rng, grace)
        self._ceremonies: OrderedDict[SessionId, Ceremony] = OrderedDict()
        self._early: dict[OperatorAddress, list[Frame]] = {}
        self._holdings = Holdings(me)
        self._floor = GENESIS
        """The version that I committed to last, or know to be certified."""

    # -- versions and keys -------------------------------------------------------------------------------------

    def know(self, transcript: Transcript, certificate: Certificate, share: SecretScalar | None) -> None:
        """A version of an earlier life, before anything is restored."""
        self._holdings.know(KnownVersion(transcript, certificate, share))

    def know_key(self, number: int, key: pvss.EncryptionKey) -> None:
        """An encryption key of an earlier life, before anything is restored."""
        self._holdings.add_key(number, key)

    @property
    def versions(self) -> tuple[KnownVersion, ...]:
        return self._holdings.versions

    @property
    def has_version(self) -> bool:
        return bool(len(self._holdings))

    @property
    def head(self) -> KnownVersion | None:
        """What the next rotation deals from."""
        return self._holdings.head

    @property
    def certified(self) -> KnownVersion | None:
        """The highest certified version."""
        return self._holdings.certified

    @property
    def key_numbers(self) -> frozenset[int]:
        """Of the encryption keys that I hold."""
        return self._holdings.key_numbers

    def may_learn(self, transcript: Transcript) -> bool:
        """See ``Holdings.may_learn``."""
        return self._holdings.may_learn(transcript)

    def learn(
        self,
        transcript: Transcript,
        certificate: Certificate,
        now: float,
        share: SecretScalar | None = None,
    ) -> list[SessionEffect]:
        """A version that others certified, or prepared in a rotation. Nothing happens unless I ``may_learn`` it.

        ``share`` is mine of a version of protocol 1, which I did not know to be settled.

        The caller has checked the certificate and, with the chain, the operators that signed it. A genesis must be certified:
        of two that are prepared, another one may become the cluster's.
        """
        founds = transcript.source_version == GENESIS.version
        if not self.may_learn(transcript) or (founds and certificate.phase is not Phase.COMMIT):
            return []
        told: Effect = (
            Certified(transcript, certificate)
            if certificate.phase is Phase.COMMIT
            else Prepared(transcript, certificate)
        )
        effects = self._of(None, [told])
        if share is not None:
            self._holdings.add_share(transcript, share)
        maker = self._ceremonies.get(transcript.session)
        if maker is not None and not maker.decided:
            effects += self._of(maker.session, maker.decide(transcript, certificate, now))
        return self._finish(effects, now)

    # -- events ------------------------------------------------------------------------------------------------

    def restore(
        self,
        session: Session,
        records: Sequence[JournalRecord],
        opened_at: float,
        now: float,
        *,
        silent: bool = False,
    ) -> list[SessionEffect]:
        """Resume a session of an earlier life: versions and keys first, then sessions, oldest first, and then ``tick``.

        The journal holds the transcripts that the session deals from: the dealings of a certified version cannot be read without
        that of its source, which is a version of the past by then.

        ``silent`` if the journal may have lost what was said: it is not said again differently, but not at all.
        """
        effects = self._supersede(session, now)
        named = [decode_transcript(record.body) for record in records if record.kind == "source"]
        is_known = any(self._holdings.version(source.hash) is not None for source in named)
        has_made = any(known.transcript.session == session.id for known in self.versions)
        if named and not is_known and not has_made:
            return [*effects, SessionEffect(session, Forget(session.id))]
        if not records:
            effects += self._join(session, now, opened_at=opened_at, silent=silent)
        else:
            sources = [HeldSource(source, self._holdings.share_of(source)) for source in named]
            effects += self._begin(session, records, sources, opened_at, now, silent=silent)
        self._raise_floor()  # what was committed to here binds in the sessions that follow
        return effects

    def boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """A new boundary was seen: leave or finish older sessions, join this one if nothing forbids it."""
        if session.id in self._ceremonies:
            return []
        effects = self._join(session, now) if self.may_join(session) else []
        return effects + self.pass_boundary(session, now)

    def _join(
        self, session: Session, now: float, *, opened_at: float | None = None, silent: bool = False
    ) -> list[SessionEffect]:
        """Begin a session in which nothing was said yet, with a fresh encryption key."""
        fresh: list[SessionEffect] = []
        number = session.boundary.number
        if session.recipients.get(self.me) is not None and number not in self.key_numbers and not silent:
            key = pvss.EncryptionKey.generate(self._setting.rng)
            self._holdings.add_key(number, key)
            fresh = [SessionEffect(session, KeepKey(number, key))]
        sources = self._sources_of(session)
        began = now if opened_at is None else opened_at
        return fresh + self._begin(session, (), sources, began, now, silent=silent)

    def pass_boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """A new boundary was seen: leave or finish older sessions, whether or not this one is joined."""
        self._early = {
            sender: kept
            for sender, frames in self._early.items()
            if (kept := [f for f in frames if f.session == session.id])
        }
        return self._finish(self._supersede(session, now), now)

    def _supersede(self, session: Session, now: float) -> list[SessionEffect]:
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if ceremony.session.boundary.number < session.boundary.number:
                effects += self._of(ceremony.session, ceremony.supersede(now))
        return effects

    def may_join(self, session: Session) -> bool:
        """Whether there is a part for me, and no session yet at this boundary number or above.

        Who left the set listens, and deals, if it holds a share of any version, or was a member of a session in which one may
        have been made without its knowledge.
        """
        newest = max((c.session.boundary.number for c in self._all), default=-1)
        member = session.recipients.get(self.me) is not None
        if session.boundary.number <= newest:
            return False
        if self.head is None:
            return member and self.binding is None
        holds = any(known.share is not None for known in self.versions)
        return bool(self._sources_of(session)) and (member or holds or self._was_member)

    @property
    def _was_member(self) -> bool:
        """Whether I am a recipient of what a session may have made after the highest certified version."""
        certified = self.certified
        floor = -1 if certified is None else certified.transcript.boundary.number
        return any(self.me in c.session.x and c.session.boundary.number > floor for c in self._all)

    @property
    def binding(self) -> Session | None:
        """The undecided genesis session in which I voted for a key."""
        return next((c.session for c in self._all if c.binding), None)

    def wants(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth a signature check; raises what ``Ceremony.wants`` raises."""
        ceremony = self._ceremonies.get(frame.session)
        if ceremony is not None:
            return ceremony.wants(frame)
        return frame.kind in SESSION_KINDS and frame.recipient is None and self._has_room(frame)

    def receive(self, frames: Sequence[Frame], now: float) -> list[SessionEffect]:
        """Verified frames that ``wants`` accepted; those of a boundary not seen yet are kept for it."""
        effects: list[SessionEffect] = []
        by_session: dict[SessionId, list[Frame]] = {}
        for frame in frames:
            by_session.setdefault(frame.session, []).append(frame)
        for session_id, group in by_session.items():
            ceremony = self._ceremonies.get(session_id)
            if ceremony is not None:
                effects += self._of(ceremony.session, ceremony.receive(group, now))
            else:
                self._keep_early(group)
        return self._finish(effects, now)

    def take_early(self, session: Session) -> list[Frame]:
        """Frames that came before their boundary and that its session wants, to be verified and received; others stay."""
        taken = [f for frames in self._early.values() for f in frames if f.session == session.id]
        self._early = {
            sender: rest
            for sender, frames in self._early.items()
            if (rest := [f for f in frames if f.session != session.id])
        }
        return [frame for frame in taken if self._is_wanted(frame)]

    def _is_wanted(self, frame: Frame) -> bool:
        """Whether ``wants`` takes a frame of which nothing was known when it came but who signed it."""
        try:
            return self.wants(frame)
        except RemoteProtocolError:
            return False

    def take_body(self, name: bytes, body: bytes, now: float) -> list[SessionEffect]:
        """The body of a dealing that was wanted. Raises ``RemoteProtocolError`` for other bytes."""
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if name in ceremony.wanted_bodies:
                effects += self._of(ceremony.session, ceremony.take_body(name, body, now))
        return self._finish(effects, now)

    def take_row(self, name: bytes, row: DealingRow, now: float) -> list[SessionEffect]:
        """A row that was wanted. Raises ``RemoteProtocolError`` for other bytes."""
        self._holdings.take_row(name, row)
        return self._finish([], now)

    def take_result(self, result: Result, now: float) -> list[SessionEffect]:
        """A job that was asked for is done."""
        if isinstance(result, OpenResult):
            return self._finish(self._take_opened(result, now), now)
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            effects += self._of(ceremony.session, ceremony.take_result(result, now))
        return self._finish(effects, now)

    def tick(self, now: float) -> list[SessionEffect]:
        """Time passed."""
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            effects += self._of(ceremony.session, ceremony.tick(now))
        return self._finish(effects, now)

    def deadline(self) -> float | None:
        """When to call ``tick`` if nothing else happens; it may have passed. See ``Ceremony.deadline``."""
        times = (c.deadline() for c in self._all)
        return min((t for t in times if t is not None), default=None)

    def forget(self) -> list[Session]:
        """Sessions that nobody needs from me any more; their journals may be dropped."""
        made = {known.transcript.session for known in self.versions}
        idle = [c for c in self._all if c.session.id not in made]
        free = [c for c in idle if not c.binding and not c.is_rotation]
        untouched = [c for c in free if not c.may_matter]
        old = untouched[:-KEPT_UNTOUCHED] + [c for c in free if c.may_matter][:-KEPT_TOUCHED]
        old += [c for c in idle if c.is_rotation][:-KEPT_ROTATIONS]
        for ceremony in old:
            del self._ceremonies[ceremony.session.id]
        return [c.session for c in old]

    # -- what the node asks ------------------------------------------------------------------------------------

    def ceremony(self, session: SessionId) -> Ceremony | None:
        return self._ceremonies.get(session)

    @property
    def newest(self) -> Ceremony | None:
        """The session of the newest boundary that was joined."""
        ceremonies = self._all
        return ceremonies[-1] if ceremonies else None

    @property
    def unknown_sources(self) -> dict[OperatorAddress, SourceRef]:
        """Who deals, in the newest session, from which version that I do not know and that may be a better one."""
        newest, certified = self.newest, self.certified
        floor = GENESIS.version if certified is None else int(certified.transcript.version)
        heard = {} if newest is None else newest.unknown_sources
        return {
            who: ref
            for who, ref in heard.items()
            if ref.version > floor and self._holdings.version(ref.hash) is None
        }

    @property
    def live(self) -> tuple[Ceremony, ...]:
        """Sessions in which others may have what I need, oldest first."""
        ceremonies = self._all
        genesis = [c for c in ceremonies if not c.decided and not c.is_rotation][-KEPT_PULLED:]
        return tuple(c for c in ceremonies if c.pulls or c in genesis)

    @property
    def wanted_bodies(self) -> tuple[bytes, ...]:
        """Names of dealings whose bodies are to be fetched from anybody who has them."""
        return tuple(name for ceremony in self._all for name in ceremony.wanted_bodies)

    @property
    def wanted_rows(self) -> tuple[bytes, ...]:
        """Names of dealings of which this operator's row is to be fetched from anybody who has it."""
        return self._holdings.wanted_rows

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Whether the share of a version is on its way: its rows are fetched, or decrypted."""
        return self._holdings.is_obtaining(transcript_hash)

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share of any version is on its way."""
        return self._holdings.is_obtaining_a_share

    def body(self, name: bytes) -> bytes | None:
        """The body of a dealing, to be served to any member."""
        return next((body for c in self._all if (body := c.body(name)) is not None), None)

    def row(self, name: bytes, recipient: OperatorAddress) -> DealingRow | None:
        """One recipient's row of a dealing, to be served to that recipient. CPU: 4 ms for 256 recipients."""
        for ceremony in self._all:
            dealing, members = ceremony.dealing(name), ceremony.session.recipients.addresses
            if dealing is None or dealing.encrypted is None or recipient not in members:
                continue
            position = dealing.header.position(members.index(recipient))
            encoded = b"" if position is None else row_of(dealing.encrypted, position)
            return DealingRow(dealing.header.encoded, encoded)
        return None

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _all(self) -> tuple[Ceremony, ...]:
        """Oldest first. A copy, as the node asks between steps, from another thread than the steps run in."""
        return tuple(self._ceremonies.values())

    def _sources_of(self, session: Session) -> list[HeldSource]:
        """What a session that begins now deals from: the head, if it is from before it."""
        head = self.head
        if head is None or head.transcript.boundary.number >= session.boundary.number:
            return []
        return [head.source]

    def _begin(
        self,
        session: Session,
        records: Sequence[JournalRecord],
        sources: Sequence[HeldSource],
        opened_at: float,
        now: float,
        *,
        silent: bool,
    ) -> list[SessionEffect]:
        ceremony = Ceremony(
            session,
            self._setting,
            opened_at,
            records=records,
            sources=sources,
            fresh=self._holdings.key(session.boundary.number),
            floor=self._floor,
            silent=silent,
        )
        self._ceremonies[session.id] = ceremony
        return self._of(session, ceremony.start(now))

    def _has_room(self, frame: Frame) -> bool:
        kept = self._early.get(frame.sender, [])
        size = sum(len(f.encoded) for f in kept) + len(frame.encoded)
        known = any(f.key == frame.key for f in kept)
        return len(kept) < MAX_EARLY_FRAMES and size <= MAX_EARLY_BYTES and not known

    def _keep_early(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self._has_room(frame):
                self._early.setdefault(frame.sender, []).append(frame)

    def _of(self, session: Session | None, effects: Sequence[Effect]) -> list[SessionEffect]:
        """Note what the effects of a ceremony change here. What they say of a version of the past is dropped."""
        return [
            SessionEffect(session, effect)
            for effect in effects
            if not isinstance(effect, Certified | Prepared) or self._holdings.note(effect)
        ]

    def _finish(self, effects: list[SessionEffect], now: float) -> list[SessionEffect]:
        """Draw the conclusions of a step: what to deal from, what to decrypt, what to erase."""
        self._raise_floor()
        return [*effects, *self._deal_from_head(now), *self._recover(), *self._erase()]

    def _raise_floor(self) -> None:
        """A later lock takes the place of an earlier one, a certified version that of a lock in its session or before."""
        for ceremony in self._all:
            bound = self._bound_by(ceremony)
            if bound is not None and bound.version >= self._floor.version:
                self._floor = bound
        certified, newest = self.certified, self.newest
        if certified is not None and certified.transcript.version >= self._floor.version:
            self._floor = ref_of(certified.transcript)
        if newest is not None and self._floor.version < newest.session.version:
            newest.raise_floor(self._floor)

    def _bound_by(self, ceremony: Ceremony) -> SourceRef | None:
        """What I committed to in a session, or what the session prepared in a later view.

        The latter shows that the former was not certified in the view of my vote. Without this, one that is locked on the former
        and deals from the latter would never prepare again.
        """
        locked = ceremony.locked
        if locked is None:
            return None
        made = [known for known in self.versions if known.transcript.session == locked.session]
        later = [known for known in made if known.certificate.view > ceremony.locked_in]
        return ref_of(later[-1].transcript if later else locked)

    def _deal_from_head(self, now: float) -> list[SessionEffect]:
        """The newest session began before the head was known as such, if that is news to it."""
        head, newest = self.head, self.newest
        if head is None or newest is None:
            return []
        return self._of(newest.session, newest.add_source(head.source, now))

    def _recover(self) -> list[SessionEffect]:
        """Get at the shares that are lacking, of dealings that are here."""
        effects = self._holdings.recover(self._find_dealing)
        return [SessionEffect(None, effect) for effect in effects]

    def _find_dealing(self, transcript: Transcript, name: bytes) -> KnownDealing | None:
        maker = self._ceremonies.get(transcript.session)
        return None if maker is None else maker.dealing(name)

    def _take_opened(self, result: OpenResult, now: float) -> list[SessionEffect]:
        """A share that is decrypted goes to the newest session, too."""
        opened = self._holdings.take_opened(result)
        known, newest = self._holdings.version(result.version), self.newest
        if known is None:
            return []
        maker = self._ceremonies.get(known.transcript.session)
        effects = [SessionEffect(None if maker is None else maker.session, effect) for effect in opened]
        if opened and known.share is not None and newest is not None:
            effects += self._of(newest.session, newest.take_share(known.transcript, known.share, now))
        return effects

    def _erase(self) -> list[SessionEffect]:
        """What the highest certified version leaves behind, and what sessions up to it dealt from."""
        certified = self.certified
        if certified is None:
            return []
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if ceremony.session.boundary.number <= certified.transcript.boundary.number:
                effects += self._of(ceremony.session, ceremony.forget_secrets())
        return effects + [SessionEffect(None, effect) for effect in self._holdings.erase()]
