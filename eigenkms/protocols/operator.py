"""One operator across boundaries: its versions, which sessions it may join, and when shares are erased (docs/protocol.md).

*One genesis.* At most one genesis may ever make a key: having voted for a key in a genesis session, an operator joins no later one
until a certificate closes the first, by a key or by ∅. Sessions in which it did not vote are left behind at the next boundary, but
answer again when a view change shows that somebody else is bound by one. Once a version is known, no genesis is joined at all.

*Rotation.* With a version known, each boundary opens a rotation from the *source*, the highest settled version. Its holders deal,
members or not; the members of the new set receive, agree and vote. Nothing binds across boundaries: every certified version has
the one master key.

*Erasure.* When a version is settled, all older ones are destroyed: shares, and the journals of the sessions that dealt from them
or led to them. A running session that deals from an older version ends first. Nothing else erases a share.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony import SESSION_KINDS, Ceremony, HeldSource
from eigenkms.protocols.effects import Certified, Effect, Erase, JournalRecord, Settled, Shred
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.messages import GENESIS_SOURCE
from eigenkms.protocols.session import Session
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate
from eigenkms.types import OperatorAddress, SessionId

KEPT_PULLED = 3
"""Undecided genesis sessions that are pulled although the next boundary left them behind: others may have decided them."""
KEPT_UNTOUCHED = 16
"""Genesis sessions that stay answerable although nobody was seen to vote in them."""
KEPT_TOUCHED = 256
"""Genesis sessions with votes, or decided, that stay: whoever is bound to one needs the others, or the certificate, to get free."""
KEPT_ROTATIONS = 3
"""Rotation sessions that stay answerable: for shares, certificates and confirms that came late."""
MAX_EARLY_FRAMES = 64
MAX_EARLY_BYTES = 512 * 1024
"""What is kept for each sender of a boundary that this node has not seen yet."""


@dataclass(frozen=True)
class SessionEffect:
    """An effect, and the session it belongs to; ``None`` where it belongs to a version that was learnt from others."""

    session: Session | None
    effect: Effect


@dataclass(frozen=True)
class KnownVersion:
    """A certified version. ``share`` is mine, if I hold one."""

    transcript: Transcript
    share: SecretScalar | None = field(repr=False)
    settled: bool


class Operator:
    """The sessions and versions of one operator. ``me``'s BN254 ``key`` signs; ``rng`` yields secret randomness."""

    def __init__(self, me: OperatorAddress, key: bn254.KeyPair, rng: Rng) -> None:
        self.me = me
        self._key = key
        self._rng = rng
        self._ceremonies: OrderedDict[SessionId, Ceremony] = OrderedDict()
        self._early: dict[OperatorAddress, list[Frame]] = {}
        self._versions: dict[bytes, KnownVersion] = {}

    # -- versions --------------------------------------------------------------------------------------------

    @property
    def has_version(self) -> bool:
        return bool(self._versions)

    @property
    def has_source(self) -> bool:
        """Whether a settled version is known, so that a rotation has something to deal from."""
        return self.source is not None

    @property
    def source(self) -> KnownVersion | None:
        """The highest settled version: what the next rotation deals from."""
        settled = [v for v in tuple(self._versions.values()) if v.settled]
        return max(settled, key=lambda v: v.transcript.version, default=None)

    def know(self, transcript: Transcript, share: SecretScalar | None, *, settled: bool) -> None:
        """A version of an earlier life, before anything is restored."""
        self._versions[transcript.hash] = KnownVersion(transcript, share, settled)

    def may_learn(self, transcript: Transcript) -> bool:
        """Whether a version of others is none of the past and has the master key of those that I know: a cluster has one."""
        keys = {version.transcript.mpk for version in self._versions.values()}
        return keys <= {transcript.mpk} and not self._is_past(transcript)

    def learn(
        self, transcript: Transcript, certificate: Certificate, *, settled: bool, now: float
    ) -> list[SessionEffect]:
        """A version that others certified and, where ``settled``, proved to be settled. Nothing happens unless I ``may_learn`` it.

        The caller has checked certificate, proof and chain, and made it durable.
        """
        if not self.may_learn(transcript):
            return []
        self._note_version(transcript, None, settled=settled)
        effects: list[SessionEffect] = []
        maker = self._ceremonies.get(transcript.session)
        if maker is not None and not maker.decided:
            effects += self._of(maker.session, maker.decide(transcript, certificate, now))
        return self._finish(effects, now)

    def _note_version(self, transcript: Transcript, share: SecretScalar | None, *, settled: bool) -> None:
        known = self._versions.get(transcript.hash)
        if known is None:
            self._versions[transcript.hash] = KnownVersion(transcript, share, settled)
            return
        mine = known.share if share is None else share
        self._versions[transcript.hash] = replace(known, share=mine, settled=known.settled or settled)

    # -- events ----------------------------------------------------------------------------------------------

    def restore(
        self,
        session: Session,
        records: Sequence[JournalRecord],
        opened_at: float,
        now: float,
        *,
        silent: bool = False,
    ) -> list[SessionEffect]:
        """Resume a session of an earlier life: versions first (``know``), then sessions, oldest first, and then ``tick``.

        ``silent`` if the journal may have lost what was said: it is not said again differently, but not at all.
        """
        effects = self._supersede(session, now)
        named = [record.body for record in records if record.kind == "source"]
        if not records and self.has_version:
            return effects + self._begin_unspoken(session, opened_at, now, silent=silent)
        sources = [self._held(self._versions[name]) for name in named if name in self._versions]
        if named and not sources:
            return [*effects, SessionEffect(session, Shred(session.id))]
        return effects + self._begin(session, records, sources, opened_at, now, silent=silent)

    def boundary(self, session: Session, now: float) -> list[SessionEffect]:
        """A new boundary was seen: leave or finish older sessions, join this one if nothing forbids it."""
        if session.id in self._ceremonies:
            return []
        # as the caller was told, whatever the older sessions do when they are left behind
        joins = self.may_join(session)
        effects = self._begin(session, (), self._sources_of(session), now, now) if joins else []
        return effects + self.pass_boundary(session, now)

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
        """Whether there is a part for me, and no session yet at this boundary number or above: one whose block was reorged away, or
        one that I left and forgot, is not begun again.

        Whoever left the set and holds a share of any version listens: that version may be settled without its knowledge, and
        then it has to deal; or a higher one, and then it has to erase.
        """
        newest = max((c.session.boundary.number for c in self._all), default=-1)
        member = session.recipients.get(self.me) is not None
        if session.boundary.number <= newest:
            return False
        source = self.source
        if source is None:
            return member and not self.has_version and self.binding is None
        holds = any(version.share is not None for version in self._versions.values())
        return bool(self._sources_of(session)) and (member or holds)

    @property
    def binding(self) -> Session | None:
        """The undecided genesis session in which I voted for a key."""
        return next((c.session for c in self._all if c.binding), None)

    def wants(self, frame: Frame) -> bool:
        """Whether a decoded frame is worth a signature check; raises what ``Ceremony.wants`` raises."""
        ceremony = self._ceremonies.get(frame.session)
        if ceremony is not None:
            return ceremony.wants(frame)
        return frame.kind in SESSION_KINDS and frame.recipient in (None, self.me) and self._has_room(frame)

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
        """Sessions that nobody needs from me any more; their journals may be shredded."""
        rotations = [c for c in self._all if c.is_rotation]
        free = [c for c in self._all if not c.binding and not c.is_rotation]
        untouched = [c for c in free if not c.may_matter]
        old = untouched[:-KEPT_UNTOUCHED] + [c for c in free if c.may_matter][:-KEPT_TOUCHED]
        old += rotations[:-KEPT_ROTATIONS]
        for ceremony in old:
            del self._ceremonies[ceremony.session.id]
        return [c.session for c in old]

    # -- what the node asks ----------------------------------------------------------------------------------

    def ceremony(self, session: SessionId) -> Ceremony | None:
        return self._ceremonies.get(session)

    @property
    def unknown_sources(self) -> dict[OperatorAddress, int]:
        """Who deals, in the newest session, from which version that I do not know (``Ceremony.unknown_sources``)."""
        return {} if self.newest is None else self.newest.unknown_sources

    @property
    def newest(self) -> Ceremony | None:
        """The session of the newest boundary that was joined."""
        ceremonies = self._all
        return ceremonies[-1] if ceremonies else None

    @property
    def live(self) -> tuple[Ceremony, ...]:
        """Sessions in which others may have what I need, oldest first: the newest undecided ones, older ones that are not asleep,
        and a version without my share.
        """
        ceremonies = self._all
        undecided = [c for c in ceremonies if not c.decided]
        newest = [c for c in undecided if not c.is_rotation][-KEPT_PULLED:]
        return tuple(c for c in ceremonies if c.pulls or c in newest)

    # -- inside ----------------------------------------------------------------------------------------------

    @property
    def _all(self) -> tuple[Ceremony, ...]:
        """Oldest first. A copy, as the node asks between steps, from another thread than the steps run in."""
        return tuple(self._ceremonies.values())

    def _sources_of(self, session: Session) -> list[HeldSource]:
        """What a session that begins now deals from: the highest settled version, if it is from before it."""
        source = self.source
        if source is None or source.transcript.boundary.number >= session.boundary.number:
            return []
        return [self._held(source)]

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
        silent: bool = False,
    ) -> list[SessionEffect]:
        ceremony = Ceremony(
            session,
            me=self.me,
            key=self._key,
            rng=self._rng,
            opened_at=opened_at,
            records=records,
            sources=sources,
            silent=silent,
        )
        self._ceremonies[session.id] = ceremony
        return self._of(session, ceremony.start(now))

    def _begin_unspoken(
        self, session: Session, opened_at: float, now: float, *, silent: bool
    ) -> list[SessionEffect]:
        """A session that was opened in an earlier life, which ended before its first record was durable. Nothing was said in it, so
        it begins now as its boundary would let it begin: with a version known never as a genesis.
        """
        source = self.source
        if silent or source is None or not self.may_join(session):
            return []
        return self._begin(session, (), self._sources_of(session), opened_at, now)

    def _keep_early(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self._has_room(frame):
                self._early.setdefault(frame.sender, []).append(frame)

    def _has_room(self, frame: Frame) -> bool:
        """Whether a frame of a boundary not seen yet is new and fits what is kept for its sender."""
        kept = self._early.get(frame.sender, [])
        size = sum(len(f.encoded) for f in kept) + len(frame.encoded)
        known = any(f.key == frame.key for f in kept)
        return not known and len(kept) < MAX_EARLY_FRAMES and size <= MAX_EARLY_BYTES

    def _of(self, session: Session, effects: Sequence[Effect]) -> list[SessionEffect]:
        """Take note of versions; one below what is settled comes too late and is nobody's concern."""
        found: list[SessionEffect] = []
        for effect in effects:
            if isinstance(effect, Certified):
                if self._is_past(effect.transcript):
                    continue
                at_genesis = effect.transcript.source_version == GENESIS_SOURCE
                self._note_version(effect.transcript, effect.share, settled=at_genesis)
            elif isinstance(effect, Settled):
                if self._is_past(effect.transcript):
                    continue
                self._note_version(effect.transcript, None, settled=True)
            found.append(SessionEffect(session, effect))
        return found

    def _is_past(self, transcript: Transcript) -> bool:
        source = self.source
        return source is not None and transcript.version < source.transcript.version

    def _finish(self, effects: list[SessionEffect], now: float) -> list[SessionEffect]:
        """Deal from the highest settled version; erase what is older, once no running session deals from it."""
        effects = effects + self._deal_from_highest(now)
        source = self.source
        if source is None:
            return effects
        floor = source.transcript
        if any(c.is_running and c.sources[0].version < floor.version for c in self._all):
            return effects
        return effects + self._shred_below(floor) + self._erase_below(floor)

    def _deal_from_highest(self, now: float) -> list[SessionEffect]:
        """The newest session began before the highest settled version was known as such, if that is news to it."""
        source, newest = self.source, self.newest
        if source is None or newest is None:
            return []
        return self._of(newest.session, newest.add_source(self._held(source), now))

    def _erase_below(self, floor: Transcript) -> list[SessionEffect]:
        erased = [v for v in self._versions.values() if v.transcript.version < floor.version]
        for version in erased:
            del self._versions[version.transcript.hash]
        return [SessionEffect(None, Erase(v.transcript.hash)) for v in erased]

    def _shred_below(self, floor: Transcript) -> list[SessionEffect]:
        """The polynomials of sessions that dealt from an erased version determine erased shares. Sessions before the one that made
        the settled version are over; that one and later ones go on serving what is no secret. A genesis session, which others may
        be bound to, is over once a rotated version is settled.
        """
        effects: list[SessionEffect] = []
        for ceremony in self._all:
            session = ceremony.session
            over = session.boundary.number < floor.boundary.number
            deals_from_erased = ceremony.is_rotation and ceremony.sources[0].version < floor.version
            if not deals_from_erased and not (over and floor.source_version != GENESIS_SOURCE):
                continue
            if not ceremony.is_shredded:
                ceremony.forget_secrets()
                effects.append(SessionEffect(session, Shred(session.id)))
            if over:
                del self._ceremonies[session.id]
        return effects
