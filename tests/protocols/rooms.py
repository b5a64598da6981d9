"""What the tests of protocol 2 share: ceremonies around a table, and operators in a room across boundaries.

Jobs are carried out as soon as they are asked for, unless ``works`` holds them back; bodies and rows are fetched from whoever has
them, unless ``serves`` holds them back. Time is what a test says it is.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.crypto.scalars import SecretScalar, coordinate
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.ceremony import Ceremony
from eigenkms.protocols.ceremony.context import CeremonyContext, SourceVersion, StartData
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    CloseSession,
    DropJournal,
    Effect,
    EraseJournalSecrets,
    EraseKeys,
    EraseShare,
    JournalRecord,
    KeepKey,
    KeepShare,
    Persist,
    Publish,
    ReportFault,
    RunJob,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.frame_log import FrameLog
from eigenkms.protocols.ceremony.jobs import CheckResult, DealResult, Job, Result, run_job
from eigenkms.protocols.ceremony.participant import Participant, SessionEffect
from eigenkms.protocols.ceremony.sharing import SharingPhase
from eigenkms.protocols.ceremony.signer import SlotSigner
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.key_directory import KeyDirectory, key_slot
from eigenkms.wire.messages import GENESIS, SourceRef, key_body, slot_of
from eigenkms.wire.session import ZERO32, Session
from eigenkms.wire.transcript import ListedKey, Transcript
from eigenkms.wire.votes import Certificate, Phase, aggregate, vote_digest
from tests.protocols.support import Cast, CrashError, Filter, broadcasts, journal
from tests.support.pvss_stage import table as logarithms
from tests.support.randomness import counter_rng

GRACE = 0.25
"""Seconds; a window is one."""

__all__ = [
    "GRACE",
    "Desk",
    "Disk",
    "KeyVersion",
    "Room",
    "Table",
    "accusations",
    "all_pass",
    "certify",
    "done",
    "encryption_key",
    "jobs_of",
    "key_frame",
    "noted",
    "operator_of",
    "seat_of",
    "setting_of",
    "version_of",
]


def all_pass(_sender: OperatorAddress, _listener: OperatorAddress, _frame: Frame) -> bool:
    return True


def done(who: Cast, job: Job) -> Result:
    """The result of a job."""
    return run_job(job, who.rng, logarithms())


def jobs_of(effects: Iterable[Effect]) -> list[Job]:
    return [effect.job for effect in effects if isinstance(effect, RunJob)]


def accusations(effects: Iterable[Effect]) -> list[Evidence]:
    return [effect.evidence for effect in effects if isinstance(effect, ReportFault)]


def noted(effects: Iterable[Effect]) -> list[str]:
    """The events of notes."""
    return [event for effect in effects if (event := getattr(effect, "event", None)) is not None]


def setting_of(who: Cast, me: OperatorAddress) -> CeremonyContext:
    return CeremonyContext(me, who.keys[me], who.rng, lambda: GRACE)


def operator_of(who: Cast, me: OperatorAddress) -> Participant:
    return Participant(me, who.keys[me], who.rng, lambda: GRACE)


def encryption_key(who: Cast, owner: OperatorAddress, number: int | None = None) -> pvss.EncryptionKey:
    """The key that ``owner`` publishes at the boundary block with this number (the cast's, by default)."""
    at = who.session.boundary.number if number is None else number
    return pvss.EncryptionKey.generate(counter_rng(f"encryption key {owner.hex()} {at}"))


def key_frame(
    who: Cast, sender: OperatorAddress, key: pvss.EncryptionKey | None = None, session: Session | None = None
) -> Frame:
    """A KEY frame of the session."""
    where = session or who.session
    key = key or encryption_key(who, sender, where.boundary.number)
    proof = pvss.prove_possession(key, key_slot(where, sender), counter_rng(f"proof {sender.hex()}"))
    return who.frame(sender, FrameKind.KEY, key_body(key.public, proof), session=where)


def seat_of(
    who: Cast,
    me: OperatorAddress,
    *,
    records: Sequence[JournalRecord] = (),
    sources: Sequence[SourceVersion] = (),
    opened_at: float = 0.0,
    floor: SourceRef = GENESIS,
    listen_only: bool = False,
) -> Ceremony:
    """A ceremony of this operator, which has an encryption key to publish."""
    return Ceremony(
        who.session,
        setting_of(who, me),
        opened_at,
        data=StartData(tuple(records), encryption_key(who, me)),
        sources=sources,
        floor=floor,
        listen_only=listen_only,
    )


# -- versions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyVersion:
    """A certified version with everybody's shares, and the keys that it lists."""

    transcript: Transcript
    certificate: Certificate
    shares: Mapping[OperatorAddress, SecretScalar]
    keys: Mapping[OperatorAddress, pvss.EncryptionKey]

    def held_by(self, operator: OperatorAddress) -> SourceVersion:
        return SourceVersion(self.transcript, self.shares.get(operator))


def version_of(
    who: Cast,
    polynomial: Polynomial | None = None,
    *,
    source: int = 0,
    older: Mapping[OperatorAddress, int] | None = None,
    unlisted: Iterable[OperatorAddress] = (),
) -> KeyVersion:
    """The version that the session of ``who`` would have made, if this was the polynomial.

    It lists a key of its own session for each member, for those in ``older`` one with a lower number, for ``unlisted`` none.
    """
    session, without = who.session, set(unlisted)
    polynomial = polynomial or Polynomial.random(session.threshold, who.rng)
    commitments = polynomial.commitments()
    numbers = {a: (older or {}).get(a, session.boundary.number) for a in who.addresses}
    keys = {a: encryption_key(who, a, numbers[a]) for a in who.addresses if a not in without}
    transcript = Transcript(
        session.cluster,
        session.id,
        session.boundary,
        session.recipients,
        session.threshold,
        source,
        keccak256(be64(source)) if source else ZERO32,
        tuple((a, keccak256(b"dealing", a)) for a in who.addresses),
        commitments[0],
        commitments,
        tuple(ListedKey(numbers[a], keys[a].public) if a in keys else None for a in who.addresses),
    )
    shares = {a: polynomial.evaluate(coordinate(a)) for a in who.addresses}
    return KeyVersion(transcript, certify(who, transcript), shares, keys)


def certify(
    who: Cast,
    transcript: Transcript,
    phase: Phase = Phase.COMMIT,
    view: int = 0,
    signers: Sequence[OperatorAddress] = (),
) -> Certificate:
    """A certificate of all recipients, or of these."""
    digest = vote_digest(transcript.session, view, phase, transcript.hash)
    votes = {a: bn254.sign(who.keys[a], digest) for a in signers or transcript.recipients.addresses}
    return aggregate(transcript.session, view, phase, transcript.hash, votes, transcript.recipients)


# -- ceremonies around a table ---------------------------------------------------------------------------------


class Table:
    """Ceremonies around a table: what one says all hear at once, unless ``lets`` holds it back (sender, listener, frame).

    With a ``source`` they rotate it: its holders, members or not, have seats too. ``serves`` (asker, name of a dealing) says which
    bodies may be fetched, ``works`` (operator, job) which jobs are carried out.
    """

    def __init__(
        self,
        who: Cast,
        lets: Filter = all_pass,
        *,
        source: KeyVersion | None = None,
        serves: Callable[[OperatorAddress, bytes], bool] = lambda _asker, _name: True,
        works: Callable[[OperatorAddress, Job], bool] = lambda _operator, _job: True,
    ) -> None:
        self.cast, self.source = who, source
        self.lets, self.serves, self.works = lets, serves, works
        everybody = sorted({*who.addresses, *(source.shares if source else ())})
        self.seats = {a: self.sit(a) for a in everybody}
        self.effects: dict[OperatorAddress, list[Effect]] = {a: [] for a in everybody}
        self.now = 0.0
        self._frames: deque[tuple[OperatorAddress, OperatorAddress, Frame]] = deque()
        self._jobs: deque[tuple[OperatorAddress, Job]] = deque()

    def sit(
        self, address: OperatorAddress, records: Sequence[JournalRecord] = (), opened_at: float = 0.0
    ) -> Ceremony:
        """A ceremony of this operator, in its first life or from what an earlier one journaled."""
        sources = [self.source.held_by(address)] if self.source else []
        return seat_of(self.cast, address, records=records, opened_at=opened_at, sources=sources)

    def start(self, *, without: Sequence[OperatorAddress] = ()) -> None:
        for address in without:
            del self.seats[address]
        for address, ceremony in tuple(self.seats.items()):
            self._keep(address, ceremony.start(self.now))
        self.settle()

    def restart(self, address: OperatorAddress, records: Sequence[JournalRecord] | None = None) -> Ceremony:
        """The same operator again, from its journal; what the new life says, all hear."""
        known = journal(self.effects[address]) if records is None else records
        again = self.seats[address] = self.sit(address, known)
        self.take(address, again.start(self.now))
        return again

    def at(self, now: float) -> None:
        """Time passes."""
        self.now = now
        for address, ceremony in tuple(self.seats.items()):
            self._keep(address, ceremony.tick(now))
        self.settle()

    def hear(self, listener: OperatorAddress, *frames: Frame) -> list[Effect]:
        """Frames from outside the table reach one seat; what that seat then does."""
        effects: list[Effect] = []
        for frame in frames:
            ceremony = self.seats[listener]
            effects += ceremony.receive([frame], self.now) if ceremony.should_verify(frame) else []
        self.take(listener, effects)
        return effects

    def pull(self, listener: OperatorAddress) -> None:
        """One asks all others for what it lacks."""
        request = self.seats[listener].sync_request()
        for other in tuple(self.seats):
            if other != listener:
                reply = self.seats[other].sync_reply(request)
                self.hear(listener, *(f for f in reply if self.lets(other, listener, f)))

    def take(self, sender: OperatorAddress, effects: Sequence[Effect]) -> None:
        """Carry out what a seat asks for, and all that follows."""
        self._keep(sender, effects)
        self.settle()

    def said(self, sender: OperatorAddress, kind: FrameKind) -> list[Frame]:
        return broadcasts(self.effects[sender], kind)

    def decided(self) -> list[OperatorAddress]:
        return [a for a, c in self.seats.items() if c.decided]

    def certified(self) -> Transcript:
        """The version that all who decided have."""
        (found,) = {
            e.transcript.hash: e.transcript
            for effects in self.effects.values()
            for e in effects
            if isinstance(e, StoreCertifiedVersion)
        }.values()
        return found

    def settle(self) -> None:
        """Frames are heard, jobs done and bodies fetched until nothing follows."""
        while self._frames or self._jobs or self._fetch():
            if self._frames:
                sender, listener, frame = self._frames.popleft()
                ceremony = self.seats.get(listener)
                if (
                    ceremony is not None
                    and self.lets(sender, listener, frame)
                    and ceremony.should_verify(frame)
                ):
                    self._keep(listener, ceremony.receive([frame], self.now))
            elif self._jobs:
                worker, job = self._jobs.popleft()
                if worker in self.seats and self.works(worker, job):
                    result = done(self.cast, job)
                    assert isinstance(result, CheckResult | DealResult)
                    self._keep(worker, self.seats[worker].take_result(result, self.now))

    def _fetch(self) -> bool:
        fetched = False
        for asker, ceremony in tuple(self.seats.items()):
            for name in ceremony.wanted_bodies:
                bodies = [body for other in self.seats.values() if (body := other.body(name)) is not None]
                if bodies and self.serves(asker, name):
                    self._keep(asker, ceremony.take_body(name, bodies[0], self.now))
                    fetched = True
        return fetched

    def _keep(self, sender: OperatorAddress, effects: Sequence[Effect]) -> None:
        self.effects[sender] += effects
        for effect in effects:
            if isinstance(effect, Broadcast):
                self._frames += [(sender, to, effect.frame) for to in self.seats if to != sender]
            elif isinstance(effect, RunJob):
                self._jobs.append((sender, effect.job))


# -- operators across boundaries -----------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyRow:
    """A version as a disk has it."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = None


@dataclass
class Disk:
    """What one operator made durable, in the order in which the node writes it."""

    journals: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    versions: dict[bytes, KeyRow] = field(default_factory=dict)
    keys: dict[int, pvss.EncryptionKey] = field(default_factory=dict)
    written: int = 0
    room: int | None = None
    """How many more things fit, before the machine crashes."""

    def open(self, session: Session) -> None:
        """Begin the journal of a session."""
        self.sessions[session.id] = session
        self.journals.setdefault(session.id, [])

    def take(self, effects: Sequence[SessionEffect]) -> None:
        for item in effects:
            if isinstance(item.effect, self.DURABLE):
                if self.room is not None:
                    if self.room == 0:
                        raise CrashError
                    self.room -= 1
                self.written += 1
                self._write(item.session, item.effect)

    DURABLE = (
        Persist,
        KeepKey,
        StorePreparedVersion,
        StoreCertifiedVersion,
        CloseSession,
        KeepShare,
        EraseShare,
        EraseKeys,
        DropJournal,
        EraseJournalSecrets,
    )

    def _write(self, session: Session | None, effect: Effect) -> None:
        match effect:
            case Persist(record):
                assert session is not None
                self.open(session)
                self.journals[session.id].append(record)
            case KeepKey(number, key):
                self.keys[number] = key
            case StorePreparedVersion(transcript, certificate) | StoreCertifiedVersion(
                transcript, certificate
            ):
                known = self.versions.get(transcript.hash, KeyRow(transcript, certificate))
                self.versions[transcript.hash] = replace(known, certificate=certificate)
            case KeepShare(transcript_hash, share):
                self.versions[transcript_hash] = replace(self.versions[transcript_hash], share=share)
            case EraseShare(transcript_hash):
                del self.versions[transcript_hash]
            case EraseKeys(numbers):
                for number in numbers:
                    del self.keys[number]
            case EraseJournalSecrets(session_id):
                kept = [record for record in self.journals[session_id] if not record.secret]
                self.journals[session_id] = kept
            case DropJournal(session_id):
                del self.journals[session_id], self.sessions[session_id]


def _reply(ceremony: Ceremony, request: Frame) -> list[Frame]:
    """What is served; nothing to somebody who is no party there."""
    try:
        return ceremony.sync_reply(request)
    except RemoteProtocolError:
        return []


class Room:
    """Operators in one room, across boundaries: what one says all hear, in order, unless ``lets`` holds it back.

    What they do is carried out on a ``Disk`` first, and from there they are restarted. Whatever is said twice in one slot, in one
    life or in several, must be the same.
    """

    def __init__(self, who: Cast, lets: Filter = all_pass) -> None:
        self.cast, self.lets = who, lets
        self.serves: Callable[[OperatorAddress, OperatorAddress, bytes], bool] = lambda _by, _to, _name: True
        """Whether a body or a row is served (by, to, name of its dealing)."""
        self.works: Callable[[OperatorAddress, Job], bool] = lambda _operator, _job: True
        self.operators: dict[OperatorAddress, Participant] = {}
        self.disks: dict[OperatorAddress, Disk] = {}
        self.effects: dict[OperatorAddress, list[SessionEffect]] = {}
        self.now = 0.0
        self.rows_fetched = 0
        self._said: dict[tuple[object, ...], bytes] = {}
        self._frames: deque[tuple[OperatorAddress, OperatorAddress, Frame]] = deque()
        self._jobs: deque[tuple[OperatorAddress, Job]] = deque()

    def enter(
        self, addresses: Iterable[OperatorAddress] | None = None, version: KeyVersion | None = None
    ) -> None:
        """New operators (all, by default), who know this certified version, with share and key as far as they have them."""
        for address in self.cast.addresses if addresses is None else addresses:
            disk = self.disks[address] = Disk()
            self.effects[address] = []
            if version is not None:
                transcript = version.transcript
                disk.versions[transcript.hash] = KeyRow(
                    transcript, version.certificate, version.shares.get(address)
                )
                listed = transcript.key_of(address)
                if listed is not None:
                    disk.keys[listed.number] = version.keys[address]
            self.operators[address] = self._alive(address)

    def _alive(self, address: OperatorAddress) -> Participant:
        operator, disk = operator_of(self.cast, address), self.disks[address]
        for row in disk.versions.values():
            operator.load_version(row.transcript, row.certificate, row.share)
        for number, key in disk.keys.items():
            operator.load_key(number, key)
        return operator

    def leave(self, *addresses: OperatorAddress) -> None:
        """They hear and say nothing any more."""
        for address in addresses:
            del self.operators[address]

    def restart(self, address: OperatorAddress, *, listen_only: bool = False) -> list[SessionEffect]:
        """The next life of this operator, from its disk."""
        operator, disk = self._alive(address), self.disks[address]
        self.operators[address] = operator
        effects: list[SessionEffect] = []
        for session in sorted(disk.sessions.values(), key=lambda s: s.boundary.number):
            records = tuple(disk.journals[session.id])
            effects += operator.restore(session, records, self.now, self.now, listen_only=listen_only)
        effects += operator.tick(self.now)
        self.take(address, effects)
        return effects

    def boundary(self, session: Session, *addresses: OperatorAddress) -> None:
        """All, or these, see a boundary."""
        for address in addresses or tuple(self.operators):
            operator = self.operators.get(address)
            if operator is None:
                continue
            if operator.may_join(session):
                self.disks[address].open(session)
            self._keep(address, operator.boundary(session, self.now))
            if address in self.operators:
                early = [f for f in operator.pop_buffered(session) if self.wants(address, f)]
                self._keep(address, operator.receive(early, self.now))
        self.settle()

    def at(self, now: float) -> None:
        """Time passes."""
        self.now = now
        for address, operator in tuple(self.operators.items()):
            self._keep(address, operator.tick(now))
        self.settle()

    def run(self, seconds: float) -> None:
        """Time passes in quarters of a window, and at each of them all pull."""
        end = self.now + seconds
        while self.now < end:
            self.at(min(self.now + self.cast.session.window / 4, end))
            self.pull()

    def pull(self) -> None:
        """Everybody asks everybody for what it lacks of the sessions that matter to it, and for versions that are dealt from."""
        for me, operator in tuple(self.operators.items()):
            self._ask_for_versions(me, operator)
            for request in [c.sync_request() for c in operator.syncable]:
                for other, peer in tuple(self.operators.items()):
                    ceremony = peer.ceremony(request.session)
                    if other != me and ceremony is not None and self.lets(me, other, request):
                        self._frames += [(other, me, frame) for frame in _reply(ceremony, request)]
        self.settle()

    def _ask_for_versions(self, me: OperatorAddress, operator: Participant) -> None:
        for other in operator.unknown_sources:
            peer = self.operators.get(other)
            for known in () if peer is None else peer.versions:
                self._keep(me, operator.adopt(known.transcript, known.certificate, self.now))

    def tell(self, address: OperatorAddress, transcript: Transcript, certificate: Certificate) -> None:
        """One operator learns a version from elsewhere."""
        self.take(address, self.operators[address].adopt(transcript, certificate, self.now))

    def hear(self, listener: OperatorAddress, *frames: Frame) -> list[SessionEffect]:
        """Frames from outside the room reach one operator; what it then does."""
        operator = self.operators[listener]
        effects = operator.receive([f for f in frames if self.wants(listener, f)], self.now)
        self.take(listener, effects)
        return effects

    def wants(self, address: OperatorAddress, frame: Frame) -> bool:
        """Whether an operator takes a frame; one that does not belong there is refused without a word."""
        try:
            return self.operators[address].should_verify(frame)
        except RemoteProtocolError:
            return False

    def take(self, address: OperatorAddress, effects: Sequence[SessionEffect]) -> None:
        """Carry out what an operator asks for, durable first, and all that follows."""
        self._keep(address, effects)
        self.settle()

    def settle(self) -> None:
        """Frames are heard, jobs done, bodies and rows fetched until nothing follows."""
        while self._frames or self._jobs or self._fetch():
            if self._frames:
                sender, listener, frame = self._frames.popleft()
                here = listener in self.operators and self.lets(sender, listener, frame)
                if here and self.wants(listener, frame):
                    self._keep(listener, self.operators[listener].receive([frame], self.now))
            elif self._jobs:
                worker, job = self._jobs.popleft()
                if worker in self.operators and self.works(worker, job):
                    result = done(self.cast, job)
                    self._keep(worker, self.operators[worker].take_result(result, self.now))

    def _fetch(self) -> bool:
        fetched = False
        for me, operator in tuple(self.operators.items()):
            for by, peer in tuple(self.operators.items()):
                for name in operator.wanted_bodies:
                    body = peer.body(name) if by != me and self.serves(by, me, name) else None
                    if body is not None and me in self.operators:
                        self._keep(me, operator.take_body(name, body, self.now))
                        fetched = True
                for name in operator.wanted_rows:
                    row = peer.row(name, me) if by != me and self.serves(by, me, name) else None
                    if row is not None and me in self.operators:
                        self._keep(me, operator.take_row(name, row, self.now))
                        self.rows_fetched += 1
                        fetched = True
        return fetched

    def _keep(self, address: OperatorAddress, effects: Sequence[SessionEffect]) -> None:
        try:
            self.disks[address].take(effects)
        except CrashError:
            self.leave(address)
            return
        self.effects[address] += effects
        for item in effects:
            if isinstance(item.effect, Broadcast):
                self._check_word(item.effect.frame)
                self._frames += [(address, to, item.effect.frame) for to in self.operators if to != address]
            elif isinstance(item.effect, RunJob):
                self._jobs.append((address, item.effect.job))

    def _check_word(self, frame: Frame) -> None:
        slot = slot_of(frame)
        if slot is not None:
            said = self._said.setdefault((frame.sender, frame.session, *slot), frame.payload)
            assert said == frame.payload, f"{frame!r} is said differently"

    # -- what came of it -------------------------------------------------------------------------------------

    def done(self, address: OperatorAddress) -> list[Effect]:
        """All that an operator asked for."""
        return [item.effect for item in self.effects[address]]

    def said(self, address: OperatorAddress, kind: FrameKind) -> list[Frame]:
        return broadcasts(self.done(address), kind)

    def certified(self, address: OperatorAddress) -> Transcript:
        """The highest certified version of an operator."""
        known = self.operators[address].certified
        assert known is not None
        return known.transcript

    def ceremony(self, address: OperatorAddress, session: Session) -> Ceremony:
        """An operator's side of a session that it has not forgotten."""
        found = self.operators[address].ceremony(session.id)
        assert found is not None
        return found

    def shares(self, transcript: Transcript) -> dict[OperatorAddress, SecretScalar]:
        """Everybody's durable share of a version."""
        rows = {a: disk.versions.get(transcript.hash) for a, disk in self.disks.items()}
        return {a: row.share for a, row in rows.items() if row is not None and row.share is not None}


# -- the dealings of one operator ------------------------------------------------------------------------------


class Desk:
    """The dealings of one operator from one source, without the rest of a ceremony; jobs are done when a test says so."""

    def __init__(self, who: Cast, me: OperatorAddress, source: KeyVersion) -> None:
        self.cast, self.me, self.source = who, me, source
        self.log = FrameLog()
        self.voice = SlotSigner(who.session, me, who.keys[me], self.log)
        self.keys = KeyDirectory(who.session)
        share = source.shares.get(me)
        self.dealings = SharingPhase(self.voice, self.keys, who.rng, 0.0, GRACE, source.transcript, share)

    def knows(self, *owners: OperatorAddress) -> "Desk":
        """Their keys of this session."""
        for owner in owners:
            self.keys.add(key_frame(self.cast, owner))
        return self

    def deals(self, now: float = 0.5) -> tuple[Frame, bytes]:
        """My own dealing: its frame and its body."""
        (job,) = jobs_of(self.dealings.advance(now))
        result = done(self.cast, job)
        assert isinstance(result, DealResult)
        effects = self.dealings.take_deal_result(result)
        (body,) = [e.body for e in effects if isinstance(e, Publish)]
        (frame,) = broadcasts(effects, FrameKind.DEALING)
        return frame, body

    def takes(self, frame: Frame, body: bytes, now: float = 0.0) -> list[Effect]:
        """A dealing of another one, with its body, and its verification."""
        effects = self.dealings.receive(frame)
        for name in self.dealings.wanted:
            effects += self.dealings.take_body(name, body)
        for job in jobs_of(self.dealings.check(now)):
            result = done(self.cast, job)
            assert isinstance(result, CheckResult)
            effects += self.dealings.take_check_result(result)
        self.dealings.check(now)
        return effects
