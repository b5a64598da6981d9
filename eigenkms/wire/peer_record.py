"""Peer records: an operator's signed word on which libp2p peer it is and where it can be reached.

The chain's socket gives the first address; a record signed with the operator's BN254 key proves that the peer at the other end
of a Noise connection *is* that operator, and lets addresses change without a transaction (docs/protocol.md, Frames). The body is
``[peer id, [multiaddr text, …], sequence]``; of two records of one operator the higher sequence counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto import bn254
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire.codec import Fields, MalformedError
from eigenkms.wire.frames import NO_SESSION, Frame, FrameKind, build_frame

MIN_PEER_ID_BYTES, MAX_PEER_ID_BYTES = 2, 64
MAX_ADDRESSES = 8
MAX_ADDRESS_CHARACTERS = 256


@dataclass(frozen=True)
class PeerRecord:
    """``peer_id`` is a binary libp2p peer id.

    ``sequence`` grows with every new record of an operator (unix milliseconds).
    """

    operator: OperatorAddress
    peer_id: bytes
    addresses: tuple[str, ...]
    sequence: int


def build_peer_record(
    key: bn254.KeyPair,
    *,
    cluster: ClusterId,
    operator: OperatorAddress,
    peer_id: bytes,
    addresses: Sequence[str],
    sequence: int,
) -> Frame:
    """Sign ``operator``'s record.

    Addresses beyond the first ``MAX_ADDRESSES`` are left out.
    """
    body = [peer_id, list(addresses[:MAX_ADDRESSES]), sequence]
    return build_frame(
        key, kind=FrameKind.PEER_RECORD, cluster=cluster, sender=operator, session=NO_SESSION, body=body
    )


def read_peer_record(frame: Frame) -> PeerRecord:
    """Read a peer record.

    Raises ``MalformedError``; the frame's signature is the caller's to verify.
    """
    if frame.kind is not FrameKind.PEER_RECORD:
        raise MalformedError(f"read peer record: a {frame.kind.name} frame")
    fields = Fields(frame.body, 3, "peer record")
    peer_id = fields.binary(MAX_PEER_ID_BYTES)
    if len(peer_id) < MIN_PEER_ID_BYTES:
        raise MalformedError("read peer record: the peer id is too short")
    addresses = fields.items(MAX_ADDRESSES)
    if not all(isinstance(a, str) and len(a) <= MAX_ADDRESS_CHARACTERS for a in addresses):
        raise MalformedError("read peer record: an address is not short text")
    return PeerRecord(frame.sender, peer_id, tuple(addresses), fields.uint(64))
