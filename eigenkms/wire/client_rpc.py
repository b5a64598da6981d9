"""What clients and operators say to each other (docs/protocol.md, Clients).

*Info*: the client sends ``[1, cluster, nonce32, 0]`` and gets
``[transcript, certificate, statement frame, [peer record frame, …]]`` of the operator's newest version. The statement is signed
over the nonce, the transcript's hash and the MPK, so a majority of today's operators can vouch for a key that operators of long
ago certified.

*Partial signature*: the client sends
``[1, cluster, app id, transcript hash32, reply key32, nonce32, authorisation|nil]`` and gets a PARTIAL frame
``[request digest32, transcript hash32, partial signature48]``, sealed with HPKE to the reply key. The answer names its
version and the request, so answers are never mixed; only the holder of the ephemeral key can read it.

*Evidence*: the client sends ``[1, cluster, after]`` and gets ``[[[id, bundle], …], more: 0|1]``, what the operator holds against
others with ids above ``after``, ascending. Ids are the operator's own; a bundle proves itself (protocols/records/evidence_bundle).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eigenkms.crypto import bn254, ibe_identities, sealing
from eigenkms.crypto.app_ids import canonical
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.ibe_identities import Identity, identity_of
from eigenkms.errors import InputError
from eigenkms.types import AppId, ClusterId, ExactAppId, OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.codec import Fields, MalformedError, decode, encode
from eigenkms.wire.frames import Frame, FrameKind, build_frame, decode_frame
from eigenkms.wire.transcript import Transcript, decode_transcript
from eigenkms.wire.votes import decode_certificate

REQUEST_VERSION = 1
MIN_APP_ID_BYTES = 5
MAX_APP_ID_BYTES = 1024
"""Beyond, no operator reads a request, so nothing must be encrypted to such an id."""
MAX_AUTHORISATION_BYTES = 64 * 1024
MAX_RECORDS = 256
MAX_PAGE_BYTES = 256 * 1024
"""Bundles of evidence in one answer; a larger one travels alone."""
ID_BITS = 63
_HPKE_INFO = b"eigenkms/partial/1"


def encode_info_request(cluster: ClusterId, nonce: bytes) -> bytes:
    return encode([REQUEST_VERSION, cluster, nonce, 0])


def decode_info_request(data: bytes) -> tuple[ClusterId, bytes]:
    """Decode (cluster, nonce). Raises ``MalformedError``.

    Of the last field clients of protocol 1 made something: 0 or 1.
    """
    fields = Fields(decode(data, what="info request", limit=256), 4, "info request")
    if (version := fields.uint(16)) != REQUEST_VERSION:
        raise MalformedError(f"decode info request: version {version}")
    cluster, nonce, _ = ClusterId(fields.fixed(32)), fields.fixed(32), fields.uint(1)
    return cluster, nonce


@dataclass(frozen=True)
class Info:
    """``statement`` and ``records`` are unverified frames."""

    epoch: CertifiedTranscript
    statement: Frame
    records: tuple[Frame, ...]


def encode_info(epoch: CertifiedTranscript, statement: Frame, records: Sequence[Frame]) -> bytes:
    value: list[Any] = [
        epoch.transcript.encoded,
        epoch.certificate.encoded,
        statement.encoded,
        [r.encoded for r in records[:MAX_RECORDS]],
    ]
    return encode(value)


def decode_info(data: bytes) -> Info:
    """Decode the answer to ``info``. Raises ``MalformedError``."""
    fields = Fields(decode(data, what="info answer", limit=1 << 20), 4, "info answer")
    transcript, certificate = decode_transcript(fields.binary()), decode_certificate(fields.binary())
    statement = decode_frame(fields.binary())
    records = fields.items(MAX_RECORDS)
    if not all(isinstance(r, bytes) for r in records):
        raise MalformedError("decode info answer: a record is not bytes")
    return Info(
        CertifiedTranscript(transcript, certificate), statement, tuple(decode_frame(r) for r in records)
    )


def build_statement(
    key: bn254.KeyPair, operator: OperatorAddress, transcript: Transcript, nonce: bytes
) -> Frame:
    """Sign, over the client's nonce, which version ``operator`` holds."""
    return build_frame(
        key,
        kind=FrameKind.STATEMENT,
        cluster=transcript.cluster,
        sender=operator,
        session=transcript.session,
        body=[nonce, transcript.hash, transcript.mpk],
    )


@dataclass(frozen=True)
class Statement:
    nonce: bytes
    transcript_hash: bytes
    mpk: bytes


def read_statement(frame: Frame) -> Statement:
    """Read a statement.

    Raises ``MalformedError``; the signature is the caller's to verify.
    """
    if frame.kind is not FrameKind.STATEMENT:
        raise MalformedError(f"read statement: a {frame.kind.name} frame")
    fields = Fields(frame.body, 3, "statement")
    return Statement(fields.fixed(32), fields.fixed(32), fields.fixed(96))


@dataclass(frozen=True)
class PartialRequest:
    """``ciphertext_version`` says which of the application's keys is asked for; ``reply_key`` is the client's ephemeral X25519
    public key; ``authorisation`` the proof of the right to the key.
    """

    cluster: ClusterId
    app_id: AppId
    ciphertext_version: int
    transcript_hash: bytes
    reply_key: bytes
    nonce: bytes
    authorisation: bytes | None = None

    @property
    def encoded(self) -> bytes:
        value: list[Any] = [
            REQUEST_VERSION,
            self.cluster,
            self.app_id,
            self.ciphertext_version,
            self.transcript_hash,
            self.reply_key,
            self.nonce,
            self.authorisation,
        ]
        return encode(value)

    @property
    def digest(self) -> bytes:
        return keccak256(b"eigenkms/request/1", self.encoded)

    @property
    def identity(self) -> Identity:
        """What is to be signed."""
        return identity_of(self.ciphertext_version, self.cluster, self.app_id)


def decode_partial_request(data: bytes) -> PartialRequest:
    """Decode a partial request.

    Raises ``MalformedError``, also for an application id that is too short, or an address with a wrong checksum.

    The id is as the request spells it: that is the identity whose key the client can verify.
    """
    what = "partial signature request"
    fields = Fields(decode(data, what=what, limit=MAX_AUTHORISATION_BYTES + 4096), 8, what)
    if (version := fields.uint(16)) != REQUEST_VERSION:
        raise MalformedError(f"decode {what}: version {version}")
    request = PartialRequest(
        ClusterId(fields.fixed(32)),
        ExactAppId(fields.text(MAX_APP_ID_BYTES)),
        fields.uint(16),
        fields.fixed(32),
        fields.fixed(32),
        fields.fixed(32),
        fields.optional_binary(MAX_AUTHORISATION_BYTES),
    )
    if request.ciphertext_version not in ibe_identities.VERSIONS:
        raise MalformedError(f"decode {what}: ciphertext version {request.ciphertext_version} is not known")
    if len(request.app_id.encode()) < MIN_APP_ID_BYTES:
        raise MalformedError(f"decode {what}: the application id is shorter than {MIN_APP_ID_BYTES} bytes")
    try:
        canonical(request.app_id)
    except InputError as error:
        raise MalformedError(f"decode {what}: {error}") from None
    return request


def seal_partial(
    key: bn254.KeyPair,
    operator: OperatorAddress,
    transcript: Transcript,
    request: PartialRequest,
    signature: bytes,
) -> bytes:
    """Sign the answer to ``request`` and seal it to the reply key.

    Raises ``VerificationError`` for a key that nothing can be sealed to.
    """
    frame = build_frame(
        key,
        kind=FrameKind.PARTIAL,
        cluster=transcript.cluster,
        sender=operator,
        session=transcript.session,
        body=[request.digest, transcript.hash, signature],
    )
    return sealing.hpke_seal(
        request.reply_key, _HPKE_INFO + transcript.cluster, request.digest, frame.encoded
    )


def open_partial(
    private_key: bytes, request: PartialRequest, transcript: Transcript, sealed: bytes
) -> tuple[Frame, bytes]:
    """Open a sealed answer: (frame, 48-byte partial signature).

    Raises ``MalformedError`` or ``VerificationError`` if it is not an answer to ``request`` for ``transcript``. The frame's
    signature and the partial signature itself are the caller's to verify.
    """
    frame = decode_frame(
        sealing.hpke_open(private_key, _HPKE_INFO + transcript.cluster, request.digest, sealed)
    )
    if frame.kind is not FrameKind.PARTIAL:
        raise MalformedError(f"read partial signature: a {frame.kind.name} frame")
    fields = Fields(frame.body, 3, "partial signature")
    digest, transcript_hash, signature = fields.fixed(32), fields.fixed(32), fields.fixed(48)
    if (frame.cluster, frame.session) != (transcript.cluster, transcript.session):
        raise MalformedError("read partial signature: of another cluster or session")
    if digest != request.digest or transcript_hash != transcript.hash:
        raise MalformedError("read partial signature: answers another request or version")
    return frame, signature


def encode_evidence_request(cluster: ClusterId, after: int) -> bytes:
    return encode([REQUEST_VERSION, cluster, after])


def decode_evidence_request(data: bytes) -> tuple[ClusterId, int]:
    """Decode (cluster, id after which to begin). Raises ``MalformedError``."""
    what = "evidence request"
    fields = Fields(decode(data, what=what, limit=256), 3, what)
    if (version := fields.uint(16)) != REQUEST_VERSION:
        raise MalformedError(f"decode {what}: version {version}")
    return ClusterId(fields.fixed(32)), fields.uint(ID_BITS)


@dataclass(frozen=True)
class EvidencePage:
    """``bundles`` are (id, encoded bundle), unverified, ids strictly ascending.

    ``more`` says that there are others after them.
    """

    bundles: tuple[tuple[int, bytes], ...]
    more: bool

    @property
    def encoded(self) -> bytes:
        return encode([[list(row) for row in self.bundles], int(self.more)])


def decode_evidence_page(data: bytes, after: int) -> EvidencePage:
    """Return the answer to a request for what comes ``after``.

    Raises ``MalformedError``, also for ids that do not ascend from there and for more that never comes.
    """
    what = "evidence answer"
    fields = Fields(decode(data, what=what, limit=1 << 20), 2, what)
    rows = []
    for item in fields.items():
        row = Fields(item, 2, what)
        rows.append((row.uint(ID_BITS), row.binary(1 << 20)))
    more = bool(fields.uint(1))
    ids = [after, *(number for number, _ in rows)]
    if ids != sorted(set(ids)):
        raise MalformedError(f"decode {what}: ids do not ascend")
    if more and not rows:
        raise MalformedError(f"decode {what}: nothing, and more to come")
    return EvidencePage(tuple(rows), more)
