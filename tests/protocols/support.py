"""What the protocol tests share: a reproducible source of randomness, sessions with known keys, and frames signed by anybody."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng, be64, keccak256
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony import Ceremony
from eigenkms.protocols.effects import Accuse, Broadcast, Certified, Direct, Effect, JournalRecord, Persist
from eigenkms.protocols.evidence import Evidence
from eigenkms.protocols.frames import Frame, Kind, build_frame
from eigenkms.protocols.session import Parameters, Session, cluster_id
from eigenkms.protocols.transcript import Transcript
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet

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
        self, me: OperatorAddress, *, opened_at: float = 0.0, records: Sequence[JournalRecord] = ()
    ) -> Ceremony:
        return Ceremony(
            self.session, me=me, key=self.keys[me], rng=self.rng, opened_at=opened_at, records=records
        )

    def later(self, blocks: int = 10) -> Session:
        """The same operators at a later boundary."""
        block = self.session.boundary
        number = block.number + blocks
        at = BlockRef(number, keccak256(b"block", be64(number)), block.timestamp + 12 * blocks)
        return Session(self.session.cluster, at, self.session.recipients, self.session.parameters)


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


Filter = Callable[[OperatorAddress, OperatorAddress, Frame], bool]


class Table:
    """Ceremonies around a table: what one says, all hear at once, unless ``lets`` holds it back (sender, listener, frame)."""

    def __init__(self, who: Cast, lets: Filter = lambda _s, _l, _f: True) -> None:
        self.cast, self.lets = who, lets
        self.seats = {a: who.ceremony(a) for a in who.addresses}
        self.effects: dict[OperatorAddress, list[Effect]] = {a: [] for a in who.addresses}
        self.now = 0.0

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
