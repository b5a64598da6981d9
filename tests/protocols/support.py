"""What the protocol tests share: a reproducible source of randomness, sessions with known keys, and frames signed by anybody."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng, be64, keccak256
from eigenkms.crypto.scalars import SecretScalar, coordinate, coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony import Ceremony, HeldSource
from eigenkms.protocols.effects import (
    Accuse,
    Broadcast,
    Certified,
    Direct,
    Effect,
    Erase,
    JournalRecord,
    Persist,
    Settled,
    Shred,
)
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.frames import Frame, Kind, build_frame
from eigenkms.protocols.operator import Operator, SessionEffect
from eigenkms.protocols.requests import Epoch, check_settled
from eigenkms.protocols.session import ZERO32, Parameters, Session, cluster_id
from eigenkms.protocols.settlement import SettlementProof, aggregate_confirms, confirm_digest
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Certificate, Phase, aggregate, vote_digest
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet, SessionId

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))


def counter_rng(seed: str) -> Rng:
    """A reproducible stream: Keccak-256 of the seed and a counter."""
    count = 0

    def rng(n: int) -> bytes:
        nonlocal count
        out = b""
        while len(out) < n:
            out += keccak256(seed.encode(), be64(count))
            count += 1
        return out[:n]

    return rng


@dataclass
class Cast:
    """A session and the keys of all who play in it, in the order of its recipients."""

    session: Session
    keys: dict[OperatorAddress, bn254.KeyPair]
    rng: Rng

    @property
    def addresses(self) -> tuple[OperatorAddress, ...]:
        return self.session.recipients.addresses

    def frame(
        self,
        sender: OperatorAddress,
        kind: Kind,
        body: Any,
        recipient: OperatorAddress | None = None,
        session: Session | None = None,
    ) -> Frame:
        where = session or self.session
        return build_frame(
            self.keys[sender],
            kind=kind,
            cluster=where.cluster,
            sender=sender,
            session=where.id,
            body=body,
            recipient=recipient,
        )

    def ceremony(
        self,
        me: OperatorAddress,
        *,
        opened_at: float = 0.0,
        records: Sequence[JournalRecord] = (),
        sources: Sequence[HeldSource] = (),
    ) -> Ceremony:
        return Ceremony(
            self.session,
            me=me,
            key=self.keys[me],
            rng=self.rng,
            opened_at=opened_at,
            records=records,
            sources=sources,
        )

    def operator(self, me: OperatorAddress) -> Operator:
        return Operator(me, self.keys[me], self.rng)

    def later(self, blocks: int = 10) -> Session:
        """The same operators at a later boundary."""
        return self.at(blocks).session

    def at(
        self, blocks: int, members: Iterable[OperatorAddress] | None = None, *, fork: bytes = b"block"
    ) -> "Cast":
        """The same people, so many blocks later, when these are the members (by default the same); on another fork of the chain
        the block has another hash.
        """
        block = self.session.boundary
        number = block.number + blocks
        at = BlockRef(number, keccak256(fork, be64(number)), block.timestamp + 12 * blocks)
        chosen = self.addresses if members is None else sorted(members)
        recipients = OperatorSet(tuple(Member(a, self.keys[a].g2) for a in chosen))
        session = Session(self.session.cluster, at, recipients, self.session.parameters)
        return replace(self, session=session)


def cast(n: int, *, quorum: int = 0, seed: str = "cast", min_operators: int = 1) -> Cast:
    """N operators with keys from ``seed``, at block 100, a window of one second."""
    rng = counter_rng(seed)
    keys = {OperatorAddress(rng(20)): bn254.KeyPair.generate(rng) for _ in range(n)}
    members = OperatorSet(tuple(Member(a, keys[a].g2) for a in sorted(keys)))
    block = BlockRef(100, keccak256(b"block", be64(100)), 1_700_000_000)
    parameters = Parameters(10, "latest", 1000, genesis_quorum=quorum, min_operators=min_operators)
    return Cast(Session(CLUSTER, block, members, parameters), keys, rng)


def broadcasts(effects: Sequence[Effect], kind: Kind) -> list[Frame]:
    return [e.frame for e in effects if isinstance(e, Broadcast) and e.frame.kind is kind]


def journal(effects: Sequence[Effect]) -> list[JournalRecord]:
    return [e.record for e in effects if isinstance(e, Persist)]


def accusations(effects: Sequence[Effect]) -> list[Evidence]:
    return [e.evidence for e in effects if isinstance(e, Accuse)]


def certified_by(who: Cast) -> tuple[dict[OperatorAddress, SecretScalar], Transcript]:
    """The shares and the transcript of a genesis of these operators."""
    table = Table(who)
    table.start()
    found = [e for effects in table.effects.values() for e in effects if isinstance(e, Certified)]
    shares = {a: e.share for a, es in table.effects.items() for e in es if isinstance(e, Certified)}
    return {a: s for a, s in shares.items() if s is not None}, found[0].transcript


@dataclass(frozen=True)
class KeyVersion:
    """A certified version with everybody's shares and the proof that it is settled."""

    transcript: Transcript
    certificate: Certificate
    shares: Mapping[OperatorAddress, SecretScalar]
    proof: SettlementProof

    def held_by(self, operator: OperatorAddress) -> HeldSource:
        return HeldSource(self.transcript, self.shares.get(operator))


def version_of(who: Cast, polynomial: Polynomial | None = None, *, source: int = 0) -> KeyVersion:
    """The version that the session of ``who`` would have made, if this was the polynomial; ``source`` is what it names as such."""
    session = who.session
    polynomial = polynomial or Polynomial.random(session.threshold, who.rng)
    commitments = polynomial.commitments()
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
    )
    shares = {a: polynomial.evaluate(coordinate(a)) for a in who.addresses}
    return KeyVersion(transcript, certify(who, transcript), shares, settle(who, transcript))


def certify(who: Cast, transcript: Transcript, signers: Sequence[OperatorAddress] = ()) -> Certificate:
    """An epoch certificate of all recipients, or of these."""
    digest = vote_digest(transcript.session, 0, Phase.COMMIT, transcript.hash)
    votes = {a: bn254.sign(who.keys[a], digest) for a in signers or transcript.recipients.addresses}
    return aggregate(transcript.session, 0, Phase.COMMIT, transcript.hash, votes, transcript.recipients)


def settle(who: Cast, transcript: Transcript, signers: Sequence[OperatorAddress] = ()) -> SettlementProof:
    """A settlement proof of all recipients, or of these."""
    digest = confirm_digest(transcript.session, transcript.hash)
    confirms = {a: bn254.sign(who.keys[a], digest) for a in signers or transcript.recipients.addresses}
    return aggregate_confirms(transcript, confirms)


def secret_of(shares: Mapping[OperatorAddress, SecretScalar], threshold: int) -> SecretScalar:
    """What the first ``threshold`` of these shares combine to."""
    chosen = sorted(shares)[:threshold]
    return combine_shares(lagrange_at_zero(coordinates(chosen)), [shares[a] for a in chosen])


Filter = Callable[[OperatorAddress, OperatorAddress, Frame], bool]


class Table:
    """Ceremonies around a table: what one says, all hear at once, unless ``lets`` holds it back (sender, listener, frame).

    With a ``source`` they rotate it: its holders, members or not, have seats too.
    """

    def __init__(
        self, who: Cast, lets: Filter = lambda _s, _l, _f: True, *, source: KeyVersion | None = None
    ) -> None:
        self.cast, self.lets, self.source = who, lets, source
        everybody = sorted({*who.addresses, *(source.shares if source else ())})
        self.seats = {a: self.sit(a) for a in everybody}
        self.effects: dict[OperatorAddress, list[Effect]] = {a: [] for a in everybody}
        self.now = 0.0

    def sit(
        self, address: OperatorAddress, records: Sequence[JournalRecord] = (), opened_at: float = 0.0
    ) -> Ceremony:
        """A ceremony of this operator, in its first life or from what an earlier one journaled."""
        sources = [self.source.held_by(address)] if self.source else []
        return self.cast.ceremony(address, records=records, opened_at=opened_at, sources=sources)

    def restart(self, address: OperatorAddress, now: float) -> Ceremony:
        """The same operator again, from its journal; what the new life says, all hear."""
        again = self.seats[address] = self.sit(address, journal(self.effects[address]))
        self._take(address, again.start(now))
        return again

    def start(self, *, without: Sequence[OperatorAddress] = ()) -> None:
        for address in without:
            del self.seats[address]
        for address, ceremony in self.seats.items():
            self._take(address, ceremony.start(self.now))

    def at(self, now: float) -> None:
        """Time passes."""
        self.now = now
        for address, ceremony in self.seats.items():
            self._take(address, ceremony.tick(now))

    def hear(self, listener: OperatorAddress, frame: Frame) -> list[Effect]:
        """A frame from outside the table reaches one seat; what that seat then does."""
        ceremony = self.seats[listener]
        effects = ceremony.receive([frame], self.now) if ceremony.wants(frame) else []
        self._take(listener, effects)
        return effects

    def said(self, sender: OperatorAddress, kind: Kind) -> list[Frame]:
        return broadcasts(self.effects[sender], kind)

    def decided(self) -> list[OperatorAddress]:
        return [a for a, c in self.seats.items() if c.decided]

    def _take(self, sender: OperatorAddress, effects: Sequence[Effect]) -> None:
        self.effects[sender] += effects
        for effect in effects:
            if isinstance(effect, Broadcast):
                for listener in self.seats:
                    self._hand(sender, listener, effect.frame)
            elif isinstance(effect, Direct) and effect.recipient in self.seats:
                self._hand(sender, effect.recipient, effect.frame)

    def _hand(self, sender: OperatorAddress, listener: OperatorAddress, frame: Frame) -> None:
        if listener != sender and self.lets(sender, listener, frame):
            self.hear(listener, frame)


# -- operators across boundaries -----------------------------------------------------------------------------


class CrashError(Exception):
    """An operator's machine stops in the midst of writing."""


@dataclass(frozen=True)
class KeyRow:
    """A version as a disk has it."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None
    settled: bool
    proof: SettlementProof | None = None


@dataclass
class Disk:
    """What one operator made durable, kept in the order in which the node writes it."""

    journals: dict[SessionId, list[JournalRecord]] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    shredded: set[SessionId] = field(default_factory=set)
    versions: dict[bytes, KeyRow] = field(default_factory=dict)
    written: list[Effect] = field(default_factory=list)
    room: int | None = None
    """How many more things fit, before the machine crashes."""

    def take(self, effects: Sequence[SessionEffect]) -> None:
        for item in effects:
            if isinstance(item.effect, Persist):
                assert item.session is not None
                self._append(item.session, item.effect.record)
        for item in effects:
            self._carry_out(item.effect)

    def _use_room(self) -> None:
        if self.room == 0:
            raise CrashError
        if self.room is not None:
            self.room -= 1

    def open(self, session: Session) -> None:
        """Begin the journal of a session."""
        self.sessions[session.id] = session
        self.journals.setdefault(session.id, [])

    def _append(self, session: Session, record: JournalRecord) -> None:
        self._use_room()
        assert not (record.secret and session.id in self.shredded), "a secret for a key that is destroyed"
        self.open(session)
        self.journals[session.id].append(record)
        self.written.append(Persist(record))

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Certified | Settled | Erase | Shred):
            self._use_room()
        match effect:
            case Certified(transcript, certificate, share):
                self.keep(KeyRow(transcript, certificate, share, settled=not transcript.source_version))
            case Settled(transcript, certificate, proof):
                self.keep(KeyRow(transcript, certificate, None, settled=True, proof=proof))
            case Erase(transcript_hash):
                self.versions.pop(transcript_hash, None)
            case Shred(session):
                self.shredded.add(session)
                kept = [r for r in self.journals.get(session, []) if not r.secret]
                self.journals[session] = kept
            case _:
                return
        self.written.append(effect)

    def keep(self, row: KeyRow) -> None:
        """A version, or what is news of it."""
        known = self.versions.get(row.transcript.hash, row)
        self.versions[row.transcript.hash] = replace(
            row,
            share=row.share or known.share,
            settled=row.settled or known.settled,
            proof=row.proof or known.proof,
        )


class Room:
    """Operators in one room, across boundaries: what one says all hear, in order, unless ``lets`` holds it back. What they do is
    carried out on a ``Disk`` first, and from there they are restarted.
    """

    def __init__(self, who: Cast, lets: Filter = lambda _s, _l, _f: True) -> None:
        self.cast, self.lets = who, lets
        self.operators: dict[OperatorAddress, Operator] = {}
        self.disks: dict[OperatorAddress, Disk] = {}
        self.effects: dict[OperatorAddress, list[SessionEffect]] = {}
        self.now = 0.0
        self._queue: deque[tuple[OperatorAddress, OperatorAddress, Frame]] = deque()

    def enter(self, addresses: Iterable[OperatorAddress], version: KeyVersion | None = None) -> None:
        """New operators, who know this settled version, each with its share of it if it has one."""
        for address in addresses:
            self.disks[address] = Disk()
            self.effects[address] = []
            if version is not None:
                share = version.shares.get(address)
                row = KeyRow(
                    version.transcript, version.certificate, share, settled=True, proof=version.proof
                )
                self.disks[address].keep(row)
            self.operators[address] = self._alive(address)

    def _alive(self, address: OperatorAddress) -> Operator:
        operator = self.cast.operator(address)
        for row in self.disks[address].versions.values():
            operator.know(row.transcript, row.share, settled=row.settled)
        return operator

    def leave(self, address: OperatorAddress) -> None:
        """It hears and says nothing any more."""
        del self.operators[address]

    def wants(self, address: OperatorAddress, frame: Frame) -> bool:
        """Whether an operator takes a frame; one that does not belong there is refused without a word."""
        try:
            return self.operators[address].wants(frame)
        except RemoteProtocolError:
            return False

    def restart(self, address: OperatorAddress) -> list[SessionEffect]:
        """The next life of this operator, from its disk."""
        operator = self._alive(address)
        disk = self.disks[address]
        effects: list[SessionEffect] = []
        for session in sorted(disk.sessions.values(), key=lambda s: s.boundary.number):
            if session.id not in disk.shredded:
                effects += operator.restore(session, disk.journals[session.id], self.now, self.now)
        effects += operator.tick(self.now)
        self.operators[address] = operator
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
            effects = operator.boundary(session, self.now)
            early = [f for f in operator.take_early(session) if self.wants(address, f)]
            self.take(address, [*effects, *operator.receive(early, self.now)])

    def at(self, now: float) -> None:
        """Time passes."""
        self.now = now
        for address, operator in tuple(self.operators.items()):
            self.take(address, operator.tick(now))

    def run(self, seconds: float) -> None:
        """Time passes in quarters of a window, and at each of them all pull."""
        end = self.now + seconds
        while self.now < end:
            self.at(min(self.now + self.cast.session.window / 4, end))
            self.pull()

    def learn(self) -> None:
        """Whoever is dealt to from a version that it does not know asks for it, and learns it if it is proven to be settled."""
        for me, operator in tuple(self.operators.items()):
            for other in operator.unknown_sources:
                peer = self.operators.get(other)
                source = None if peer is None else peer.source
                known = operator.source
                if source is None or (known and known.transcript.version >= source.transcript.version):
                    continue
                row = self.disks[other].versions[source.transcript.hash]
                check_settled(Epoch(row.transcript, row.certificate), row.proof)
                self.disks[me].keep(replace(row, share=None))
                self.take(me, operator.learn(row.transcript, row.certificate, settled=True, now=self.now))

    def pull(self) -> None:
        """Everybody asks everybody for what it lacks of the sessions that matter to it."""
        self.learn()
        for me, operator in tuple(self.operators.items()):
            for request in [c.sync_request() for c in operator.live]:
                for other, peer in tuple(self.operators.items()):
                    ceremony = peer.ceremony(request.session)
                    if other != me and ceremony is not None and self.lets(me, other, request):
                        for frame in ceremony.sync_reply(request):
                            self._queue.append((other, me, frame))
        self._deliver()

    def hear(self, listener: OperatorAddress, *frames: Frame) -> list[SessionEffect]:
        """Frames from outside the room reach one operator; what it then does."""
        operator = self.operators[listener]
        effects = operator.receive([f for f in frames if self.wants(listener, f)], self.now)
        self.take(listener, effects)
        return effects

    def take(self, address: OperatorAddress, effects: Sequence[SessionEffect]) -> None:
        """Carry out what an operator asks for: durable first, then sent."""
        self._carry_out(address, effects)
        self._deliver()

    def _carry_out(self, address: OperatorAddress, effects: Sequence[SessionEffect]) -> None:
        try:
            self.disks[address].take(effects)
        except CrashError:
            self.leave(address)
            return
        self.effects[address] += effects
        for item in effects:
            if isinstance(item.effect, Broadcast):
                self._queue += [(address, to, item.effect.frame) for to in self.operators if to != address]
            elif isinstance(item.effect, Direct):
                self._queue.append((address, item.effect.recipient, item.effect.frame))

    def _deliver(self) -> None:
        while self._queue:
            sender, listener, frame = self._queue.popleft()
            here = listener in self.operators and self.lets(sender, listener, frame)
            if here and self.wants(listener, frame):
                self._carry_out(listener, self.operators[listener].receive([frame], self.now))

    # -- what came of it -------------------------------------------------------------------------------------

    def done(self, address: OperatorAddress) -> list[Effect]:
        """All that an operator asked for."""
        return [item.effect for item in self.effects[address]]

    def said(self, address: OperatorAddress, kind: Kind) -> list[Frame]:
        return broadcasts(self.done(address), kind)

    def accused(self) -> list[Evidence]:
        """By anybody."""
        return [e for address in self.effects for e in accusations(self.done(address))]

    def source(self, address: OperatorAddress) -> Transcript | None:
        """The highest settled version that an operator knows."""
        source = self.operators[address].source
        return None if source is None else source.transcript

    def ceremony(self, address: OperatorAddress, session: Session) -> Ceremony:
        """An operator's side of a session that it has not forgotten."""
        found = self.operators[address].ceremony(session.id)
        assert found is not None
        return found

    def served(self, by: OperatorAddress, to: OperatorAddress, session: Session) -> list[Frame]:
        """What one operator answers to another that has nothing of a session."""
        request = self.cast.frame(to, Kind.SYNC, [b""], session=session)
        return self.ceremony(by, session).sync_reply(request)

    def shares(self, transcript: Transcript) -> dict[OperatorAddress, SecretScalar]:
        """Everybody's durable share of a version."""
        rows = {a: disk.versions.get(transcript.hash) for a, disk in self.disks.items()}
        return {a: row.share for a, row in rows.items() if row is not None and row.share is not None}
