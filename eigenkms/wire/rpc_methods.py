"""Names on the wire: libp2p protocols, the gossip topic, the methods of each, and what operators ask each other beside frames.

Clients: docs/protocol.md. Operators:

| method | request | answer |
|---|---|---|
| ``sync`` | an encoded SYNC frame | list of frames |
| ``push`` | name of a dealing32 ‖ its body | empty |
| ``body`` | name of a dealing32 | its body |
| ``row`` | name of a dealing32 | ``[header, row encoding]``, the row that of the operator which asks |
| ``head`` | empty | ``[transcript, certificate, proof or nil]`` of the highest version that is certified or prepared |
| ``ping`` | empty | empty |
| ``canary`` | ``wire.canary_request`` | partial signature |

What a body, a row or a head must be follows from names and signatures, so none of them is signed by the operator that serves it.
"""

from dataclasses import dataclass
from typing import Final

from eigenkms.crypto.pvss import encoded_size
from eigenkms.errors import VerificationError
from eigenkms.types import ClusterId
from eigenkms.wire.codec import MAX_FRAME_BYTES, Fields, MalformedError, decode, encode
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.dealing_header import MAX_HEADER_BYTES
from eigenkms.wire.frames import Frame
from eigenkms.wire.hash_tree import HASH_SIZE
from eigenkms.wire.messages import GENESIS_SOURCE
from eigenkms.wire.session import MAX_OPERATORS
from eigenkms.wire.settlement_proof import (
    MAX_PROOF_BYTES,
    SettlementProof,
    check_settled,
    decode_settlement_proof,
)
from eigenkms.wire.transcript import Transcript, check_self_consistent, decode_transcript
from eigenkms.wire.votes import (
    MAX_CERTIFICATE_BYTES,
    BadCertificateError,
    Certificate,
    Phase,
    decode_certificate,
)

CLIENT_PROTOCOL: Final = "/eigenkms/client/1"
"""Open to everybody: ``info``, ``partial``, ``status``, ``evidence``, ``hello``, ``reach``."""
OPERATOR_PROTOCOL: Final = "/eigenkms/operator/2"
"""Operators only."""

INFO, PARTIAL, STATUS, EVIDENCE, HELLO, REACH = "info", "partial", "status", "evidence", "hello", "reach"
SYNC, PUSH, BODY, ROW, HEAD, PING, CANARY = "sync", "push", "body", "row", "head", "ping", "canary"

MAX_BODY_BYTES: Final = encoded_size(MAX_OPERATORS)
"""206 kB."""
MAX_ROW_BYTES: Final = 4096
"""A row encoding has 1,792 bytes at most."""
MAX_HEAD_BYTES: Final = 1 << 20


def gossip_topic(cluster: ClusterId) -> str:
    """Return the gossip topic of a cluster."""
    return f"/eigenkms/2/{cluster.hex()}"


def encode_frames(frames: list[Frame]) -> bytes:
    """Encode an answer that is a list of frames."""
    return encode([frame.encoded for frame in frames])


def decode_frames(data: bytes) -> list[bytes]:
    """Read encoded frames out of such an answer, not decoded yet.

    Raises ``MalformedError``.
    """
    value = decode(data, what="list of frames", limit=1 << 20)
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise MalformedError("decode list of frames: not a list of byte strings")
    return value


def read_name(data: bytes) -> bytes:
    """Return the name of a dealing out of a request. Raises ``MalformedError``."""
    if len(data) != HASH_SIZE:
        raise MalformedError(f"read name of a dealing: {len(data)} bytes, not {HASH_SIZE}")
    return data


def encode_push(name: bytes, body: bytes) -> bytes:
    """Encode a dealing's body for a member that did not ask for it."""
    return name + body


def decode_push(data: bytes) -> tuple[bytes, bytes]:
    """Decode (name, body). Raises ``MalformedError`` for what can be no body."""
    name, body = data[:HASH_SIZE], data[HASH_SIZE:]
    if not encoded_size(1) <= len(body) <= MAX_BODY_BYTES:
        raise MalformedError(f"read pushed body: {len(body)} bytes")
    return name, body


def encode_row(row: DealingRow) -> bytes:
    """Encode an answer to ``row``."""
    return encode([row.header, row.encoded])


def decode_row(data: bytes) -> DealingRow:
    """Decode a row. Raises ``MalformedError``.

    The header and the row encoding are only measured.
    """
    limit = MAX_HEADER_BYTES + 2 * MAX_ROW_BYTES
    fields = Fields(decode(data, what="row of a dealing", limit=limit), 2, "row of a dealing")
    return DealingRow(fields.binary(MAX_HEADER_BYTES), fields.binary(MAX_ROW_BYTES))


@dataclass(frozen=True)
class VersionHead:
    """A version with the certificate that says that it is certified, or at least prepared; ``proof`` is one of protocol 1."""

    transcript: Transcript
    certificate: Certificate
    proof: SettlementProof | None = None


def encode_head(head: VersionHead) -> bytes:
    """Encode an answer to ``head``."""
    proof = None if head.proof is None else head.proof.encoded
    return encode([head.transcript.encoded, head.certificate.encoded, proof])


def decode_head(data: bytes) -> VersionHead:
    """Decode a head. Raises ``MalformedError``. Nothing is verified."""
    fields = Fields(decode(data, what="head", limit=MAX_HEAD_BYTES), 3, "head")
    transcript = decode_transcript(fields.binary(MAX_FRAME_BYTES))
    certificate = decode_certificate(fields.binary(MAX_CERTIFICATE_BYTES))
    proof = fields.optional_binary(MAX_PROOF_BYTES)
    return VersionHead(transcript, certificate, None if proof is None else decode_settlement_proof(proof))


def check_head(head: VersionHead, cluster: ClusterId) -> None:
    """Raise ``VerificationError`` unless t' of the transcript's own recipients prepared or committed to it.

    A genesis must be certified, as one that is prepared binds nobody who did not vote in it. Whether those recipients are the
    operators that the chain knew at that block is the caller's to check (chain/certificate_check). CPU: a pairing.
    """
    transcript, certificate = head.transcript, head.certificate
    if transcript.cluster != cluster:
        raise VerificationError("verify head: it is of another cluster")
    check_self_consistent(transcript)
    if (certificate.session, certificate.hash) != (transcript.session, transcript.hash):
        raise BadCertificateError("verify head: its certificate is not of this transcript")
    may_be_prepared = transcript.source_version != GENESIS_SOURCE and bool(transcript.keys)
    if not may_be_prepared and certificate.phase is not Phase.COMMIT:
        raise BadCertificateError("verify head: it is a genesis, or of protocol 1, and merely prepared")
    check_settled(transcript, head.proof)
    certificate.verify(transcript.recipients, transcript.threshold)
