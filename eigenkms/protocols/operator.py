"""One operator across boundaries: its versions, keys and shares, which sessions it may join, and what it erases when.

*One genesis.* At most one genesis may ever make a key: having voted for a key in a genesis session, an operator joins no later
one until a certificate closes the first, by a key or by ∅. Once a version is known, no genesis is joined at all.

*Rotation.* With a version known, each boundary opens a rotation from the *head*: the highest version that is known to be
certified, or prepared, as one that is prepared may have been certified without this operator's knowledge. Its holders deal,
members or not.

*Certified is settled.* Of the members that prepared a certified version at least one correct one holds all its dealings, and
every recipient decrypts its share from them, at any later time (protocols/recovery). So older shares are erased at the
certificate, and older keys once the share is durable (protocols/keys).

*No fork.* Whoever committed to a version prepares no fresh transcript from an older one in a later session (``floor``), and
everybody deals from its head alone. Let V, made from T, be certified. If a later session has the members of the one that made
V, t' commits and t' prepare votes share a correct member, which is locked on V. If T has them, t' commits and t(T) dealers
share one, which deals from V. So no other branch is prepared, unless the set changed much at both boundaries
(docs/protocol.md).
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony import Ceremony, HeldSource, Setting
from eigenkms.protocols.dealing import row_of
from eigenkms.protocols.effects import (
    Certified,
    Effect,
    Erase,
    EraseKeys,
    Forget,
    Held,
    JournalRecord,
    KeepKey,
    Note,
    Prepared,
    Work,
)
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.jobs import Opened, Result
from eigenkms.protocols.keys import needed_numbers
from eigenkms.protocols.messages import GENESIS, SESSION_KINDS, SourceRef, ref_of
from eigenkms.protocols.recovery import Recovery, Row
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript, decode_transcript
from eigenkms.protocols.votes import Certificate, Phase
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


@dataclass(frozen=True)
class KnownVersion:
    """A version that is certified, or else known to be prepared. ``share`` is mine, if I hold one."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = field(repr=False, default=None)

    @property
    def is_certified(self) -> bool:
        return self.certificate.phase is Phase.COMMIT

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Which of two versions is dealt from: the higher one; of one session, the certified one, or that prepared in a later view.

        Once a transcript is certified in a view, no other one is prepared in that view or a later one.
        """
        return (int(self.transcript.version), self.is_certified, self.certificate.view)


class Operator:
    """The sessions and versions of one operator. ``key`` signs; ``rng`` yields secret randomness; ``grace`` as in ``Setting``."""

    def __init__(self, me: OperatorAddress, key: bn254.KeyPair, rng: Rng, grace: Callable[[], float]) -> None:
        self.me = me
        self._setting = Setting(me, key, rng, grace)
        self._ceremonies: OrderedDict[SessionId, Ceremony] = OrderedDict()
        self._early: dict[OperatorAddress, list[Frame]] = {}
        self._versions: dict[bytes, KnownVersion] = {}
        self._keys: dict[int, pvss.EncryptionKey] = {}
        self._recoveries: dict[bytes, Recovery] = {}
        self._floor = GENESIS
        """The version that I committed to last, or know to be certified."""

    # -- versions and keys -------------------------------------------------------------------------------------

    def know(self, transcript: Transcript, certificate: Certificate, share: SecretScalar | None) -> None:
        """A version of an earlier life, before anything is restored."""
        self._versions[transcript.hash] = KnownVersion(transcript, certificate, share)

    def know_key(self, number: int, key: pvss.EncryptionKey) -> None:
        """An encryption key of an earlier life, before anything is restored."""
        self._keys[number] = key

    @property
    def versions(self) -> tuple[KnownVersion, ...]:
        return tuple(sorted(self._versions.values(), key=lambda known: known.rank))

    @property
    def has_version(self) -> bool:
        return bool(self._versions)

    @property
    def head(self) -> KnownVersion | None:
        """The highest version that is certified or prepared: what the next rotation deals from."""
        return max(self.versions, key=lambda known: known.rank, default=None)

    @property
    def certified(self) -> KnownVersion | None:
        """The highest certified version."""
        found = [known for known in self.versions if known.is_certified]
        return found[-1] if found else None

    @property
    def key_numbers(self) -> frozenset[int]:
        """Of the encryption keys that I hold."""
        return frozenset(self._keys)

    def may_learn(self, transcript: Transcript) -> bool:
        """Whether a version of others is none of the past and has the master key of those that I know: a cluster has one."""
        mpks = {known.transcript.mpk for known in self._versions.values()}
        return mpks <= {transcript.mpk} and not self._is_past(transcript)

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
        known = self._versions[transcript.hash]
        if known.share is None and share is not None:
            self._versions[transcript.hash] = replace(known, share=share)
        maker = self._ceremonies.get(transcript.session)
        if maker is not None and not maker.decided:
            effects += self._of(maker.session, maker.decide(transcript, certificate, now))
        return self._finish(effects, now)

    def _is_past(self, transcript: Transcript) -> bool:
        """Whether a certified version is known that is higher, or is what its session made instead.

        By block number, too: the operators of an early block, who may have been few, sign any time that they like.
        """
        certified = self.certified
        if certified is None or transcript.hash == certified.transcript.hash:
            return False
        known = certified.transcript
        return transcript.version <= known.version or transcript.boundary.number <= known.boundary.number

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
        is_known = any(source.hash in self._versions for source in named)
        has_made = any(known.transcript.session == session.id for known in self.versions)
        if named and not is_known and not has_made:
            return [*effects, SessionEffect(session, Forget(session.id))]
        if not records:
            effects += self._join(session, now, opened_at=opened_at, silent=silent)
        else:
            sources = [HeldSource(source, self._share_of(source)) for source in named]
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
        if session.recipients.get(self.me) is not None and number not in self._keys and not silent:
            key = self._keys[number] = pvss.EncryptionKey.generate(self._setting.rng)
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

    def take_row(self, name: bytes, row: Row, now: float) -> list[SessionEffect]:
        """A row that was wanted. Raises ``RemoteProtocolError`` for other bytes."""
        for recovery in self._recoveries.values():
            recovery.take(name, row)
        return self._finish([], now)

    def take_result(self, result: Result, now: float) -> list[SessionEffect]:
        """A job that was asked for is done."""
        if isinstance(result, Opened):
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

    def deadline(self, now: float) -> float | None:
        """When to call ``tick`` if nothing else happens."""
        times = (c.deadline(now) for c in self._all)
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
            who: ref for who, ref in heard.items() if ref.version > floor and ref.hash not in self._versions
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
        return tuple(name for recovery in self._recoveries.values() for name in recovery.wanted)

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Whether the share of a version is on its way: its rows are fetched, or decrypted."""
        recovery = self._recoveries.get(transcript_hash)
        return recovery is not None and recovery.is_possible(self._keys)

    def body(self, name: bytes) -> bytes | None:
        """The body of a dealing, to be served to any member."""
        return next((body for c in self._all if (body := c.body(name)) is not None), None)

    def row(self, name: bytes, recipient: OperatorAddress) -> Row | None:
        """One recipient's row of a dealing, to be served to that recipient. CPU: 4 ms for 256 recipients."""
        for ceremony in self._all:
            dealing, members = ceremony.dealing(name), ceremony.session.recipients.addresses
            if dealing is None or dealing.encrypted is None or recipient not in members:
                continue
            position = dealing.header.position(members.index(recipient))
            encoded = b"" if position is None else row_of(dealing.encrypted, position)
            return Row(dealing.header.encoded, encoded)
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
        return [self._held(head)]

    def _share_of(self, version: Transcript) -> SecretScalar | None:
        """My share of a version, ``None`` if I never had one or it is erased."""
        known = self._versions.get(version.hash)
        return None if known is None else known.share

    @staticmethod
    def _held(version: KnownVersion) -> HeldSource:
        return HeldSource(version.transcript, version.share)

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
            fresh=self._keys.get(session.boundary.number),
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
            if not isinstance(effect, Certified | Prepared) or self._note_version(effect)
        ]

    def _note_version(self, effect: Certified | Prepared) -> bool:
        """Whether it is news, and not of the past."""
        transcript = effect.transcript
        if not self.may_learn(transcript):
            return False
        known = self._versions.get(transcript.hash)
        if known is None:
            self._versions[transcript.hash] = KnownVersion(transcript, effect.certificate)
            return True
        better = replace(known, certificate=effect.certificate)
        if known.is_certified or better.rank <= known.rank:
            return False
        self._versions[transcript.hash] = better
        return True

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
        return self._of(newest.session, newest.add_source(self._held(head), now))

    def _recover(self) -> list[SessionEffect]:
        """Get at the shares of the head and of the highest certified version."""
        wanted = {
            known.transcript.hash: known.transcript
            for known in (self.head, self.certified)
            if known is not None and known.share is None and self.me in known.transcript.recipients.addresses
        }
        self._recoveries = {
            digest: self._recoveries.get(digest) or Recovery(transcript, self.me)
            for digest, transcript in wanted.items()
            if transcript.keys
        }
        effects: list[SessionEffect] = []
        for recovery in self._recoveries.values():
            maker = self._ceremonies.get(recovery.transcript.session)
            for name in recovery.wanted:
                dealing = None if maker is None else maker.dealing(name)
                if dealing is not None and dealing.encrypted is not None:
                    recovery.take_whole(dealing.header, dealing.encrypted)
            job = recovery.job(self._keys)
            if job is not None:
                effects.append(SessionEffect(None, Work(job)))
        return effects

    def _take_opened(self, result: Opened, now: float) -> list[SessionEffect]:
        known = self._versions.get(result.version)
        if known is None or known.share is not None:
            return []
        if result.share is None:
            note = Note("share not opened", {"version": int(known.transcript.version)})
            return [SessionEffect(None, note)]
        self._versions[result.version] = replace(known, share=result.share)
        maker = self._ceremonies.get(known.transcript.session)
        session = None if maker is None else maker.session
        note = Note("share held", {"version": int(known.transcript.version)})
        effects = [SessionEffect(session, Held(result.version, result.share)), SessionEffect(session, note)]
        newest = self.newest
        if newest is not None:
            effects += self._of(newest.session, newest.take_share(known.transcript, result.share, now))
        return effects

    def _erase(self) -> list[SessionEffect]:
        """What the highest certified version leaves behind, what sessions up to it dealt from, and the keys that nothing needs."""
        certified = self.certified
        if certified is None:
            return []
        transcript = certified.transcript
        old = [v for v in self.versions if self._is_past(v.transcript)]
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            if ceremony.session.boundary.number <= transcript.boundary.number:
                effects += self._of(ceremony.session, ceremony.forget_secrets())
        for version in old:
            del self._versions[version.transcript.hash]
            effects.append(SessionEffect(None, Erase(version.transcript.hash)))
        needed = self._needed_keys(certified)
        erased = self.key_numbers - needed
        if erased:
            self._keys = {number: key for number, key in self._keys.items() if number in needed}
            effects.append(SessionEffect(None, EraseKeys(erased)))
        return effects

    def _needed_keys(self, certified: KnownVersion) -> frozenset[int]:
        """See ``needed_numbers``; until it is known which key a share is encrypted to, all of them."""
        recovery = self._recoveries.get(certified.transcript.hash)
        has_share = certified.share is not None
        if recovery is not None and recovery.used is None and not recovery.is_hopeless:
            return self.key_numbers
        used = None if recovery is None else recovery.used
        return needed_numbers(self._keys, self.me, certified.transcript, used, has_share=has_share)
