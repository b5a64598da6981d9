"""The bodies of a session's frames, and the slot each is said in.

| kind | body | slot in its session |
|---|---|---|
| KEY | ``[y48, proof of possession80]`` | one |
| HASH | ``[digest32]`` of the commitments, at genesis only | one |
| DEALING | ``[source T, source hash32, dealing header bytes]`` | one a source |
| PROPOSAL | ``[view, source T, source hash32, transcript bytes or nil (∅), prepare certificate or nil, [KEY frame bytes, …]]``
| one a view |
| VOTE | ``[view, phase, hash32, vote signature64]`` | one a view and phase |
| VIEW_CHANGE | ``[view, prepare certificate or nil]`` | one a view |
| CERTIFICATE | ``[transcript bytes or nil (∅), epoch certificate]`` | none |
| SYNC | ``[frame keys: 16 bytes each, one after another]`` | none |

The source T is the version that is dealt from, and the source hash that of its transcript; both are zero at genesis. A session may
make two prepared transcripts, of one T, so the hash is needed. A key's number is that of the session's boundary block, so it needs
no field.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from typing import Any, TypeVar

from eigenkms.crypto.backends.interface import BLS_G1_SIZE
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss.encryption_key import POSSESSION_SIZE
from eigenkms.wire.codec import Fields, MalformedError
from eigenkms.wire.frames import Frame, FrameKind, Slot
from eigenkms.wire.session import MAX_OPERATORS, ZERO32
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import MAX_CERTIFICATE_BYTES, Certificate, Phase, decode_certificate

Message = TypeVar("Message")

GENESIS_SOURCE = 0
MAX_VIEW_BITS = 32
FRAME_KEY_BYTES = 16
MAX_SYNC_KEYS = 15_000
"""What fits a frame; a session of 128 operators, a third of them flooding, has fewer frames (frame_log)."""
MAX_KEY_FRAME_BYTES = 512
"""An encoded KEY frame inside another one has about 310."""


@dataclass(frozen=True, order=True)
class SourceRef:
    """The version that is dealt from, and the hash of its transcript."""

    version: int
    hash: bytes


GENESIS = SourceRef(GENESIS_SOURCE, ZERO32)
"""A genesis deals from nothing."""


def source_of(transcript: Transcript) -> SourceRef:
    """Return the version that a transcript deals from."""
    return SourceRef(transcript.source_version, transcript.source_hash)


def ref_of(transcript: Transcript | None) -> SourceRef:
    """Return a transcript as a source; ``None`` at genesis."""
    return GENESIS if transcript is None else SourceRef(int(transcript.version), transcript.hash)


def _read_once(read: Callable[[Frame], Message]) -> Callable[[Frame], Message]:
    """Make a reader of bodies remember what it read in the frame: several parts of a machine look at each frame."""
    name = read.__name__

    @wraps(read)
    def look(frame: Frame) -> Message:
        if name not in frame.readings:
            frame.readings[name] = read(frame)
        message: Message = frame.readings[name]
        return message

    return look


@dataclass(frozen=True)
class KeyMessage:
    """A fresh encryption key (48 bytes) and the proof that its owner has the secret (80 bytes)."""

    public: bytes
    proof: bytes


def key_body(public: bytes, proof: bytes) -> list[Any]:
    return [public, proof]


@_read_once
def read_key(frame: Frame) -> KeyMessage:
    fields = Fields(frame.body, 2, "key frame")
    return KeyMessage(fields.fixed(BLS_G1_SIZE), fields.fixed(POSSESSION_SIZE))


@_read_once
def read_hash(frame: Frame) -> bytes:
    return Fields(frame.body, 1, "hash frame").fixed(32)


def commitments_digest(commitments: Sequence[bytes]) -> bytes:
    """Return what a dealer announces at genesis before it deals, 32 bytes."""
    return keccak256(b"eigenkms/commitments/2", *commitments)


@dataclass(frozen=True)
class DealingMessage:
    """``source`` repeats what the encoded header inside names as its source."""

    source: SourceRef
    header: bytes


def dealing_body(source: SourceRef, header: bytes) -> list[Any]:
    return [source.version, source.hash, header]


@_read_once
def read_dealing(frame: Frame) -> DealingMessage:
    fields = Fields(frame.body, 3, "dealing frame")
    return DealingMessage(_read_source(fields), fields.binary())


def _read_source(fields: Fields) -> SourceRef:
    return SourceRef(fields.uint(64), fields.fixed(32))


def _optional_certificate(data: bytes | None) -> Certificate | None:
    return None if data is None else decode_certificate(data)


def _optional_bytes(certificate: Certificate | None) -> bytes | None:
    return None if certificate is None else certificate.encoded


@dataclass(frozen=True)
class Proposal:
    """``transcript`` is ``None`` for ∅.

    ``keys`` are the KEY frames that a fresh transcript's new keys are from.

    ``source`` is what the transcript deals from: who leads the view depends on it.
    """

    view: int
    source: SourceRef
    transcript: bytes | None
    justification: Certificate | None
    keys: tuple[bytes, ...]


def proposal_body(
    view: int,
    source: SourceRef,
    transcript: bytes | None,
    justification: Certificate | None,
    keys: Sequence[bytes] = (),
) -> list[Any]:
    return [view, source.version, source.hash, transcript, _optional_bytes(justification), list(keys)]


@_read_once
def read_proposal(frame: Frame) -> Proposal:
    fields = Fields(frame.body, 6, "proposal")
    return Proposal(
        fields.uint(MAX_VIEW_BITS),
        _read_source(fields),
        fields.optional_binary(),
        _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES)),
        read_key_frames(fields.items(MAX_OPERATORS), "proposal"),
    )


def read_key_frames(items: Sequence[object], what: str) -> tuple[bytes, ...]:
    """Read encoded KEY frames out of a decoded list, not decoded yet.

    Raises ``MalformedError``.
    """
    frames = tuple(item for item in items if isinstance(item, bytes) and len(item) <= MAX_KEY_FRAME_BYTES)
    if len(frames) != len(items):
        raise MalformedError(
            f"decode {what}: a key frame is not a byte string of at most {MAX_KEY_FRAME_BYTES}"
        )
    return frames


@dataclass(frozen=True)
class Vote:
    view: int
    phase: Phase
    hash: bytes
    signature: bytes


def vote_body(view: int, phase: Phase, transcript_hash: bytes, signature: bytes) -> list[Any]:
    return [view, int(phase), transcript_hash, signature]


@_read_once
def read_vote(frame: Frame) -> Vote:
    fields = Fields(frame.body, 4, "vote")
    view, number = fields.uint(MAX_VIEW_BITS), fields.uint(8)
    if number not in (Phase.PREPARE, Phase.COMMIT):
        raise MalformedError(f"decode vote: unknown phase {number}")
    return Vote(view, Phase(number), fields.fixed(32), fields.fixed(64))


@dataclass(frozen=True)
class ViewChange:
    """``prepared`` is the highest prepare certificate that the sender knows."""

    view: int
    prepared: Certificate | None


def view_change_body(view: int, prepared: Certificate | None) -> list[Any]:
    return [view, _optional_bytes(prepared)]


@_read_once
def read_view_change(frame: Frame) -> ViewChange:
    fields = Fields(frame.body, 2, "view change")
    return ViewChange(
        fields.uint(MAX_VIEW_BITS), _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES))
    )


@dataclass(frozen=True)
class CertificateMessage:
    transcript: bytes | None
    certificate: Certificate


def certificate_body(transcript: bytes | None, certificate: Certificate) -> list[Any]:
    return [transcript, certificate.encoded]


@_read_once
def read_certificate_frame(frame: Frame) -> CertificateMessage:
    fields = Fields(frame.body, 2, "certificate frame")
    return CertificateMessage(
        fields.optional_binary(), decode_certificate(fields.binary(MAX_CERTIFICATE_BYTES))
    )


def sync_body(keys: Iterable[bytes]) -> list[Any]:
    return [b"".join(islice(keys, MAX_SYNC_KEYS))]


def read_sync(frame: Frame) -> frozenset[bytes]:
    """Return the 16-byte keys of the frames that the sender has."""
    joined = Fields(frame.body, 1, "sync").binary(MAX_SYNC_KEYS * FRAME_KEY_BYTES)
    if len(joined) % FRAME_KEY_BYTES:
        raise MalformedError(f"decode sync: {len(joined)} bytes are not whole frame keys")
    return frozenset(joined[i : i + FRAME_KEY_BYTES] for i in range(0, len(joined), FRAME_KEY_BYTES))


def _slot_of_key(frame: Frame) -> Slot:
    read_key(frame)
    return (frame.kind, 0)


def _slot_of_hash(frame: Frame) -> Slot:
    read_hash(frame)
    return (frame.kind, 0)


def _slot_of_vote(frame: Frame) -> Slot:
    vote = read_vote(frame)
    return (frame.kind, vote.view, int(vote.phase))


def _no_slot(frame: Frame) -> None:
    read_certificate_frame(frame)


_SLOTS: dict[FrameKind, Callable[[Frame], Slot | None]] = {
    FrameKind.KEY: _slot_of_key,
    FrameKind.HASH: _slot_of_hash,
    FrameKind.DEALING: lambda frame: (frame.kind, read_dealing(frame).source.hash),
    FrameKind.PROPOSAL: lambda frame: (frame.kind, read_proposal(frame).view),
    FrameKind.VOTE: _slot_of_vote,
    FrameKind.VIEW_CHANGE: lambda frame: (frame.kind, read_view_change(frame).view),
    FrameKind.CERTIFICATE: _no_slot,
}
SESSION_KINDS = frozenset(_SLOTS)
"""Kinds of frames that a ceremony takes in."""


def slot_of(frame: Frame) -> Slot | None:
    """Return the slot of a frame in its session, or ``None`` for kinds that may be said often.

    Raises ``MalformedError`` for a body that is not its kind's.
    """
    read = _SLOTS.get(frame.kind)
    return None if read is None else read(frame)
