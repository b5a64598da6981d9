"""A session: one boundary as a node sees it (docs/protocol.md, Terms and Dealing).

Two nodes that differ in anything that matters (the block, the operator set, the parameters) compute different session
ids, so their frames never mix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from eigenkms.crypto.hashing import be32, be64, keccak256
from eigenkms.crypto.scalars import coordinates, threshold
from eigenkms.errors import InputError
from eigenkms.types import (
    BlockRef,
    Cluster,
    ClusterId,
    Member,
    OperatorAddress,
    OperatorSet,
    SessionId,
    Version,
)
from eigenkms.wire.codec import Fields, MalformedError, decode, encode

ZERO32 = bytes(32)
WINDOWS_PER_INTERVAL = 20
MAX_OPERATORS = 256
MAX_THRESHOLD = threshold(MAX_OPERATORS)
"""Commitments of the largest set that fits the frames."""


def cluster_id(cluster: Cluster) -> ClusterId:
    """Return ``keccak256("eigenkms/cluster/1" ‖ be64(chain) ‖ avs20 ‖ be32(set))``."""
    return ClusterId(
        keccak256(b"eigenkms/cluster/1", be64(cluster.chain_id), cluster.avs, be32(cluster.operator_set_id))
    )


@dataclass(frozen=True, slots=True)
class Parameters:
    """What all operators of a cluster must have configured alike.

    Its hash is part of every session id.

    ``interval_blocks`` in L1 blocks; ``window_ms`` the length p of a protocol window in milliseconds;
    ``genesis_quorum`` dealers and prepare votes that genesis needs (0: all n); ``min_operators`` the smallest set that
    is dealt to.
    """

    interval_blocks: int
    finality: str
    window_ms: int
    genesis_quorum: int = 0
    min_operators: int = 1

    def __post_init__(self) -> None:
        if (
            self.interval_blocks < 1
            or self.window_ms < 1
            or self.min_operators < 1
            or self.genesis_quorum < 0
        ):
            raise InputError(
                f"protocol parameters out of range: interval {self.interval_blocks} blocks, window {self.window_ms} ms, "
                f"genesis quorum {self.genesis_quorum}, smallest set {self.min_operators}"
            )

    @property
    def window(self) -> float:
        """P in seconds."""
        return self.window_ms / 1000

    def digest(self) -> bytes:
        return keccak256(
            b"eigenkms/params/1",
            encode(
                [self.interval_blocks, self.finality, self.window_ms, self.genesis_quorum, self.min_operators]
            ),
        )


def encode_recipients(recipients: OperatorSet) -> list[list[bytes]]:
    """Return R as it stands in transcripts: ``[[addr20, g2key128], ...]``.

    The addresses ascend.
    """
    return [[m.address, m.key] for m in recipients]


@dataclass(frozen=True)
class Session:
    """One genesis session: its boundary, its recipients and everything derived from them.

    Raises ``InputError`` for an operator set that can never be dealt to.
    """

    cluster: ClusterId
    boundary: BlockRef
    recipients: OperatorSet
    parameters: Parameters
    x: dict[OperatorAddress, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.recipients)
        if n < self.parameters.min_operators or n == 0:
            raise InputError(
                f"open session at block {self.boundary.number}: {n} operators, "
                f"fewer than the {max(1, self.parameters.min_operators)} needed",
                hint="wait until enough operators are registered on chain",
            )
        if n > MAX_OPERATORS:
            raise InputError(
                f"open session at block {self.boundary.number}: {n} operators, more than the {MAX_OPERATORS} "
                "that fit into a transcript"
            )
        quorum = self.parameters.genesis_quorum
        if quorum and not threshold(n) <= quorum <= n:
            raise InputError(
                f"open session at block {self.boundary.number}: genesis quorum {quorum} is not in "
                f"{threshold(n)}..{n} for {n} operators",
                hint="set genesis_quorum to 0 (all) or to at least two thirds of the operators, alike on every node",
            )
        keys = {m.key for m in self.recipients}
        if len(keys) != n:
            raise InputError(
                f"open session at block {self.boundary.number}: two operators share one BN254 key"
            )
        addresses = self.recipients.addresses
        try:
            x = coordinates(addresses)
        except ValueError as error:
            raise InputError(f"open session at block {self.boundary.number}: {error}") from error
        object.__setattr__(self, "x", dict(zip(addresses, x, strict=True)))

    @cached_property
    def id(self) -> SessionId:
        boundary = self.boundary
        return SessionId(
            keccak256(
                b"eigenkms/session/2",
                self.cluster,
                be64(boundary.number),
                boundary.hash,
                be64(boundary.timestamp),
                keccak256(encode(encode_recipients(self.recipients))),
                self.parameters.digest(),
            )
        )

    @property
    def n(self) -> int:
        return len(self.recipients)

    @property
    def version(self) -> Version:
        return Version(self.boundary.timestamp)

    @cached_property
    def threshold(self) -> int:
        """T' = ⌈2n/3⌉."""
        return threshold(self.n)

    @property
    def genesis_quorum(self) -> int:
        """Dealers and prepare votes that genesis needs: n unless the parameters lower it."""
        return self.parameters.genesis_quorum or self.n

    @property
    def window(self) -> float:
        """P in seconds."""
        return self.parameters.window

    @cached_property
    def coordinators(self) -> tuple[OperatorAddress, ...]:
        """Members by ``keccak256("eigenkms/order/1" ‖ session ‖ addr)``.

        View v belongs to number v mod n.
        """
        return tuple(
            sorted(
                self.recipients.addresses,
                key=lambda address: keccak256(b"eigenkms/order/1", self.id, address),
            )
        )

    def coordinator(self, view: int) -> OperatorAddress:
        return self.coordinators[view % self.n]


def encode_session(session: Session) -> bytes:
    """Encode a session as a node stores it, to resume it after a restart."""
    boundary, parameters = session.boundary, session.parameters
    return encode(
        [
            session.cluster,
            boundary.number,
            boundary.hash,
            boundary.timestamp,
            encode_recipients(session.recipients),
            parameters.interval_blocks,
            parameters.finality,
            parameters.window_ms,
            parameters.genesis_quorum,
            parameters.min_operators,
        ]
    )


def decode_recipients(rows: Sequence[object]) -> OperatorSet:
    """Decode R out of a decoded list. Raises ``MalformedError``."""
    members = []
    for row in rows:
        fields = Fields(row, 2, "recipient")
        members.append(Member(OperatorAddress(fields.fixed(20)), fields.fixed(128)))
    try:
        return OperatorSet(tuple(members))
    except ValueError as error:
        raise MalformedError(f"decode recipients: {error}") from None


def decode_session(data: bytes) -> Session:
    """Return the inverse of ``encode_session``. Raises ``MalformedError``."""
    fields = Fields(decode(data, what="stored session"), 10, "stored session")
    cluster = ClusterId(fields.fixed(32))
    boundary = BlockRef(fields.uint(64), fields.fixed(32), fields.uint(64))
    recipients = decode_recipients(fields.items())
    parameters = Parameters(
        fields.uint(32), fields.text(32), fields.uint(32), fields.uint(16), fields.uint(16)
    )
    return Session(cluster, boundary, recipients, parameters)
