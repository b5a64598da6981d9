"""What the protocol tests share: a reproducible source of randomness, sessions with known keys, and frames signed by anybody."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng, be64, keccak256
from eigenkms.crypto.scalars import SecretScalar, coordinates, lagrange_at_zero
from eigenkms.crypto.shamir import combine_shares
from eigenkms.protocols.ceremony.effects import (
    Broadcast,
    Effect,
    JournalRecord,
    Persist,
    ReportFault,
)
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet
from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.frames import Frame, FrameKind, build_frame
from eigenkms.wire.messages import read_dealing
from eigenkms.wire.session import Parameters, Session, cluster_id
from tests.support.randomness import counter_rng

CLUSTER = cluster_id(Cluster(31337, bytes(range(20)), 0))


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
        kind: FrameKind,
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


def broadcasts(effects: Sequence[Effect], kind: FrameKind) -> list[Frame]:
    return [e.frame for e in effects if isinstance(e, Broadcast) and e.frame.kind is kind]


def journal(effects: Sequence[Effect]) -> list[JournalRecord]:
    return [e.record for e in effects if isinstance(e, Persist)]


def accusations(effects: Sequence[Effect]) -> list[Evidence]:
    return [e.evidence for e in effects if isinstance(e, ReportFault)]


def secret_of(shares: Mapping[OperatorAddress, SecretScalar], threshold: int) -> SecretScalar:
    """What the first ``threshold`` of these shares combine to."""
    chosen = sorted(shares)[:threshold]
    return combine_shares(lagrange_at_zero(coordinates(chosen)), [shares[a] for a in chosen])


Filter = Callable[[OperatorAddress, OperatorAddress, Frame], bool]


class CrashError(Exception):
    """An operator's machine stops in the midst of writing."""


def header_of(frame: Frame) -> DealingHeader:
    """Return the header in a DEALING frame."""
    return decode_header(read_dealing(frame).header)
