"""The bodies of a session's frames: one small reader and one builder a kind, and the slot each is said in.

| kind | body |
|---|---|
| HASH | ``[dealing hash32]``, at genesis only |
| DEALING | ``[source T, dealing bytes]`` |
| SHARE | ``[source T, dealing hash32, s32]`` |
| REPORT | ``[source T, [[dealer20, dealing hash32 or nil, x25519 key32 or nil], …]]``: *held* or *lacking* |
| ANSWER | ``[source T, recipient20, x25519 key32, dealing bytes, sealed share]``: the key is the one it is sealed to |
| OPENING | ``[source T, dealer20, x25519 private key32]`` |
| PROPOSAL | ``[view, transcript bytes or nil (∅), prepare certificate or nil, its root or nil]`` |
| VOTE | ``[view, phase, hash32, vote signature64]`` |
| VIEW_CHANGE | ``[view, prepare certificate or nil, its root or nil]`` |
| CERTIFICATE | ``[transcript bytes or nil (∅), epoch certificate]`` |
| CONFIRM | ``[transcript hash32, confirm signature64, proof of possession128]`` |
| SYNC | ``[frame keys: 16 bytes each, one after another]`` |

Slots (docs/protocol.md, Agreement): proposal, vote, view change per (session, view); share and answer per (session, source,
recipient); hash, dealing and report per (session, source); opening per (session, source, dealer); confirm per session. The source
is the version that is dealt from, 0 at genesis. A ceremony takes in only frames of sources that it deals from, so naming others
opens no second slot.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from eigenkms.crypto import schnorr, sealing
from eigenkms.crypto.feldman import verify_share
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import Fields, MalformedError
from eigenkms.protocols.dealing import Dealing, decode_dealing
from eigenkms.protocols.frames import KEY_BYTES, Frame, Kind, Slot
from eigenkms.protocols.session import MAX_OPERATORS, Session
from eigenkms.protocols.votes import MAX_CERTIFICATE_BYTES, Certificate, Phase, decode_certificate
from eigenkms.types import OperatorAddress, SessionId

GENESIS_SOURCE = 0
MAX_VIEW_BITS = 32
FRAME_KEY_BYTES = 16
MAX_SYNC_KEYS = 15_000
"""What fits a frame; a session of 128 operators, a third of them flooding, has fewer frames (frame_log)."""
MAX_SEALED_BYTES = 256


def _read_scalar(data: bytes, what: str) -> SecretScalar:
    try:
        return SecretScalar.from_bytes(data)
    except ValueError:
        raise MalformedError(f"decode {what}: scalar out of range") from None


def read_hash(frame: Frame) -> bytes:
    return Fields(frame.body, 1, "hash frame").fixed(32)


@dataclass(frozen=True)
class DealingMessage:
    """``source`` is the sender's word for what the encoded dealing names as its source."""

    source: int
    encoded: bytes


def dealing_body(dealing: Dealing) -> list[Any]:
    return [dealing.source_version, dealing.encoded]


def read_dealing_frame(frame: Frame) -> DealingMessage:
    fields = Fields(frame.body, 2, "dealing frame")
    return DealingMessage(fields.uint(64), fields.binary())


@dataclass(frozen=True)
class ShareMessage:
    source: int
    dealing_hash: bytes
    scalar: SecretScalar = field(repr=False)


def share_body(dealing_hash: bytes, share: SecretScalar, source: int = GENESIS_SOURCE) -> list[Any]:
    return [source, dealing_hash, share.to_bytes()]


def read_share(frame: Frame) -> ShareMessage:
    fields = Fields(frame.body, 3, "share frame")
    return ShareMessage(fields.uint(64), fields.fixed(32), _read_scalar(fields.fixed(32), "share frame"))


@dataclass(frozen=True)
class Report:
    """What a recipient says of every expected dealer: the dealing it holds a fitting share of, or a key to answer to."""

    source: int
    held: Mapping[OperatorAddress, bytes]
    lacking: Mapping[OperatorAddress, bytes]


def report_body(
    held: Mapping[OperatorAddress, bytes],
    lacking: Mapping[OperatorAddress, bytes],
    source: int = GENESIS_SOURCE,
) -> list[Any]:
    rows = [[d, h, None] for d, h in held.items()] + [[d, None, k] for d, k in lacking.items()]
    return [source, sorted(rows, key=lambda row: bytes(row[0] or b""))]


@lru_cache(maxsize=4096)
def _is_sealable(key: bytes) -> bool:
    """Whether an answer can be sealed to this X25519 key: not to one of low order (RFC 7748, section 6.1)."""
    try:
        sealing.answer_seal(key, b"", b"", lambda count: bytes(range(count)))
    except VerificationError:
        return False
    return True


def read_report(frame: Frame) -> Report:
    fields = Fields(frame.body, 2, "report")
    source = fields.uint(64)
    held: dict[OperatorAddress, bytes] = {}
    lacking: dict[OperatorAddress, bytes] = {}
    previous = b""
    for item in fields.items(MAX_OPERATORS):
        row = Fields(item, 3, "report row")
        dealer = OperatorAddress(row.fixed(20))
        digest, key = row.optional_fixed(32), row.optional_fixed(KEY_BYTES)
        if dealer <= previous:
            raise MalformedError("decode report: dealers are not strictly ascending")
        previous = dealer
        if digest is not None and key is None:
            held[dealer] = digest
        elif key is not None and digest is None:
            if not _is_sealable(key):
                raise MalformedError("decode report: nothing can be sealed to a one-time key")
            lacking[dealer] = key
        else:
            raise MalformedError("decode report: a row is neither held nor lacking")
    return Report(source, held, lacking)


@dataclass(frozen=True)
class Answer:
    """``key`` is the one-time key of the recipient that ``sealed`` is sealed to: the dealer's own word, so a recipient that
    reports different keys to different operators cannot make a good answer look bad.
    """

    source: int
    recipient: OperatorAddress
    key: bytes
    dealing: bytes
    sealed: bytes


def answer_aad(session: SessionId, dealer: OperatorAddress, recipient: OperatorAddress) -> bytes:
    return session + dealer + recipient


def answer_body(
    session: SessionId,
    dealing: Dealing,
    recipient: OperatorAddress,
    key: bytes,
    share: SecretScalar,
    rng: Rng,
) -> list[Any]:
    """Seal ``share`` to the one-time X25519 ``key`` of a recipient that lacks it."""
    aad = answer_aad(session, dealing.dealer, recipient)
    sealed = sealing.answer_seal(key, share.to_bytes(), aad, rng)
    return [dealing.source_version, recipient, key, dealing.encoded, sealed]


def read_answer(frame: Frame) -> Answer:
    fields = Fields(frame.body, 5, "answer")
    return Answer(
        fields.uint(64),
        OperatorAddress(fields.fixed(20)),
        fields.fixed(KEY_BYTES),
        fields.binary(),
        fields.binary(MAX_SEALED_BYTES),
    )


def open_answer(
    answer: Answer, private_key: bytes, session: Session, dealer: OperatorAddress
) -> tuple[Dealing, SecretScalar] | None:
    """The dealing and the fitting share inside, or ``None`` if the answer does not open to one."""
    try:
        dealing = decode_dealing(answer.dealing)
        aad = answer_aad(session.id, dealer, answer.recipient)
        share = _read_scalar(sealing.answer_open(private_key, answer.sealed, aad), "answered share")
        fits = dealing.dealer == dealer and verify_share(
            share, session.x[answer.recipient], dealing.commitments
        )
    except (MalformedError, VerificationError, ValueError):
        return None
    return (dealing, share) if fits else None


@dataclass(frozen=True)
class Opening:
    source: int
    dealer: OperatorAddress
    private_key: bytes = field(repr=False)


def opening_body(dealer: OperatorAddress, private_key: bytes, source: int = GENESIS_SOURCE) -> list[Any]:
    return [source, dealer, private_key]


def read_opening(frame: Frame) -> Opening:
    fields = Fields(frame.body, 3, "opening")
    return Opening(fields.uint(64), OperatorAddress(fields.fixed(20)), fields.fixed(KEY_BYTES))


def _optional_certificate(data: bytes | None) -> Certificate | None:
    return None if data is None else decode_certificate(data)


def _optional_bytes(certificate: Certificate | None) -> bytes | None:
    return None if certificate is None else certificate.encoded


@dataclass(frozen=True)
class Proposal:
    """``transcript`` is ``None`` for ∅; ``root`` the first certificate of the hash where ``justification`` has fewer signers."""

    view: int
    transcript: bytes | None
    justification: Certificate | None
    root: Certificate | None


def proposal_body(
    view: int,
    transcript: bytes | None,
    justification: Certificate | None,
    root: Certificate | None = None,
) -> list[Any]:
    return [view, transcript, _optional_bytes(justification), _optional_bytes(root)]


def read_proposal(frame: Frame) -> Proposal:
    fields = Fields(frame.body, 4, "proposal")
    return Proposal(
        fields.uint(MAX_VIEW_BITS),
        fields.optional_binary(),
        _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES)),
        _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES)),
    )


@dataclass(frozen=True)
class Vote:
    view: int
    phase: Phase
    hash: bytes
    signature: bytes


def vote_body(view: int, phase: Phase, transcript_hash: bytes, signature: bytes) -> list[Any]:
    return [view, int(phase), transcript_hash, signature]


def read_vote(frame: Frame) -> Vote:
    fields = Fields(frame.body, 4, "vote")
    view, number = fields.uint(MAX_VIEW_BITS), fields.uint(8)
    if number not in (Phase.PREPARE, Phase.COMMIT):
        raise MalformedError(f"decode vote: unknown phase {number}")
    return Vote(view, Phase(number), fields.fixed(32), fields.fixed(64))


@dataclass(frozen=True)
class ViewChange:
    """``root`` is the first certificate of the hash where ``prepared`` has fewer signers."""

    view: int
    prepared: Certificate | None
    root: Certificate | None


def view_change_body(view: int, prepared: Certificate | None, root: Certificate | None = None) -> list[Any]:
    return [view, _optional_bytes(prepared), _optional_bytes(root)]


def read_view_change(frame: Frame) -> ViewChange:
    fields = Fields(frame.body, 3, "view change")
    return ViewChange(
        fields.uint(MAX_VIEW_BITS),
        _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES)),
        _optional_certificate(fields.optional_binary(MAX_CERTIFICATE_BYTES)),
    )


@dataclass(frozen=True)
class CertificateMessage:
    transcript: bytes | None
    certificate: Certificate


def certificate_body(transcript: bytes | None, certificate: Certificate) -> list[Any]:
    return [transcript, certificate.encoded]


def read_certificate_frame(frame: Frame) -> CertificateMessage:
    fields = Fields(frame.body, 2, "certificate frame")
    return CertificateMessage(
        fields.optional_binary(), decode_certificate(fields.binary(MAX_CERTIFICATE_BYTES))
    )


@dataclass(frozen=True)
class Confirm:
    """``signature`` aggregates to the settlement proof; ``proof`` shows that the sender knows its share (protocols/settlement)."""

    hash: bytes
    signature: bytes
    proof: bytes


def confirm_body(transcript_hash: bytes, signature: bytes, proof: bytes) -> list[Any]:
    return [transcript_hash, signature, proof]


def read_confirm(frame: Frame) -> Confirm:
    fields = Fields(frame.body, 3, "confirm")
    return Confirm(fields.fixed(32), fields.fixed(64), fields.fixed(schnorr.PROOF_SIZE))


def sync_body(keys: Iterable[bytes]) -> list[Any]:
    return [b"".join(islice(keys, MAX_SYNC_KEYS))]


def read_sync(frame: Frame) -> frozenset[bytes]:
    """The 16-byte keys of the frames that the sender has."""
    joined = Fields(frame.body, 1, "sync").binary(MAX_SYNC_KEYS * FRAME_KEY_BYTES)
    if len(joined) % FRAME_KEY_BYTES:
        raise MalformedError(f"decode sync: {len(joined)} bytes are not whole frame keys")
    return frozenset(joined[i : i + FRAME_KEY_BYTES] for i in range(0, len(joined), FRAME_KEY_BYTES))


def _slot_in_view(read: Callable[[Frame], Proposal | ViewChange]) -> Callable[[Frame], Slot]:
    return lambda frame: (frame.kind, read(frame).view)


def _slot_of_confirm(frame: Frame) -> Slot:
    read_confirm(frame)
    return (frame.kind, 0)


def _slot_of_hash(frame: Frame) -> Slot:
    read_hash(frame)
    return (frame.kind, GENESIS_SOURCE)


def _slot_of_vote(frame: Frame) -> Slot:
    vote = read_vote(frame)
    return (frame.kind, vote.view, int(vote.phase))


def _slot_of_share(frame: Frame) -> Slot:
    return (frame.kind, read_share(frame).source, frame.recipient or b"")


def _slot_of_answer(frame: Frame) -> Slot:
    answer = read_answer(frame)
    return (frame.kind, answer.source, answer.recipient)


def _slot_of_opening(frame: Frame) -> Slot:
    opening = read_opening(frame)
    return (frame.kind, opening.source, opening.dealer)


def _no_slot(frame: Frame) -> None:
    read_certificate_frame(frame)


_SLOTS: dict[Kind, Callable[[Frame], Slot | None]] = {
    Kind.HASH: _slot_of_hash,
    Kind.DEALING: lambda frame: (frame.kind, read_dealing_frame(frame).source),
    Kind.SHARE: _slot_of_share,
    Kind.REPORT: lambda frame: (frame.kind, read_report(frame).source),
    Kind.ANSWER: _slot_of_answer,
    Kind.OPENING: _slot_of_opening,
    Kind.PROPOSAL: _slot_in_view(read_proposal),
    Kind.VOTE: _slot_of_vote,
    Kind.VIEW_CHANGE: _slot_in_view(read_view_change),
    Kind.CERTIFICATE: _no_slot,
    Kind.CONFIRM: _slot_of_confirm,
}


def slot_of(frame: Frame) -> Slot | None:
    """The slot of a frame in its session, or ``None`` for kinds that may be said often.

    Raises ``MalformedError`` for a body that is not its kind's.
    """
    read = _SLOTS.get(frame.kind)
    return None if read is None else read(frame)


_SOURCES: dict[Kind, Callable[[Frame], int]] = {
    Kind.HASH: lambda _frame: GENESIS_SOURCE,
    Kind.DEALING: lambda frame: read_dealing_frame(frame).source,
    Kind.SHARE: lambda frame: read_share(frame).source,
    Kind.REPORT: lambda frame: read_report(frame).source,
    Kind.ANSWER: lambda frame: read_answer(frame).source,
    Kind.OPENING: lambda frame: read_opening(frame).source,
}
EXCHANGE_KINDS = frozenset(_SOURCES)
"""Kinds of the dealing exchange: they name the version that is dealt from."""


def source_of(frame: Frame) -> int:
    """The source version that a frame of the dealing exchange names. Raises ``MalformedError`` for a malformed body."""
    return _SOURCES[frame.kind](frame)
