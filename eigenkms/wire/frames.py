"""Frames: everything operators say to each other, signed (docs/protocol.md, Frames).

A frame is msgpack ``[payload: bin, signature: bin(64)]``; the payload is msgpack
``[version, kind, cluster, sender, recipient|nil, session, body]``; the signature is BN254 over
``keccak256("eigenkms/frame/1" ‖ payload)``. ``decode_frame`` checks size, canonical encoding, arity and types; the body is read by
``messages``. Whether the sender may speak here and the signature are checked by ``Frame.check_scope`` and ``verify_frames``,
in this order, because a signature costs a pairing and everything before it costs nothing.

The *slot* of a frame is what a correct operator says only once: a second, different frame in one slot is equivocation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeAlias

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import Rng, keccak256
from eigenkms.errors import RemoteProtocolError
from eigenkms.types import ClusterId, OperatorAddress, OperatorSet, SessionId, to_hex
from eigenkms.wire.codec import MAX_FRAME_BYTES, Fields, MalformedError, decode, encode

PROTOCOL = 2
"""The protocol's version, which stands in the frames of sessions."""
KEY_BYTES = 32
NO_SESSION = SessionId(bytes(32))


class FrameKind(IntEnum):
    """What a frame says.

    The numbers are wire values; those that are left out were of protocol 1.
    """

    HASH = 1
    """Dealing hash; in a genesis session also the statement that the sender knows no version of the cluster."""
    DEALING = 2
    PROPOSAL = 7
    VOTE = 8
    VIEW_CHANGE = 9
    CERTIFICATE = 10
    """A transcript with its epoch certificate, from anyone who has it."""
    PEER_RECORD = 12
    SYNC = 13
    """The sender's digest list of a session: asks for what it lacks."""
    STATEMENT = 15
    """Newest transcript and MPK over a client's nonce."""
    PARTIAL = 16
    REACH = 17
    """Asks its recipient to dial the sender where the chain says that it is."""
    KEY = 18
    """A fresh encryption key, to which shares are dealt from the next session on."""


_SMALL = 1024
SIZE_LIMITS: dict[FrameKind, int] = {
    FrameKind.HASH: _SMALL,
    FrameKind.DEALING: 132 * 1024,
    FrameKind.PROPOSAL: MAX_FRAME_BYTES,
    FrameKind.VOTE: _SMALL,
    FrameKind.VIEW_CHANGE: 2 * _SMALL,
    FrameKind.CERTIFICATE: MAX_FRAME_BYTES,
    FrameKind.PEER_RECORD: 4 * _SMALL,
    FrameKind.SYNC: MAX_FRAME_BYTES,
    FrameKind.STATEMENT: _SMALL,
    FrameKind.PARTIAL: _SMALL,
    FrameKind.REACH: _SMALL,
    FrameKind.KEY: _SMALL,
}
"""Largest encoded frame of a kind, in bytes; 256 operators fit."""

BROADCAST_KINDS = frozenset(
    {
        FrameKind.HASH,
        FrameKind.DEALING,
        FrameKind.PROPOSAL,
        FrameKind.VOTE,
        FrameKind.VIEW_CHANGE,
        FrameKind.CERTIFICATE,
        FrameKind.KEY,
    }
)
"""Kinds that travel by gossip and are re-served to anyone in the session; the others go to one recipient."""

_SESSION_KINDS = BROADCAST_KINDS | {FrameKind.SYNC}

Slot: TypeAlias = tuple[FrameKind, int | bytes] | tuple[FrameKind, int, int | bytes]


class WrongScopeError(RemoteProtocolError):
    """A frame for another cluster, session or recipient, or from somebody who has no say here."""

    default_hint = "the sender is misconfigured or replays traffic from elsewhere; its frame was dropped"


class BadSignatureError(RemoteProtocolError):
    """A frame that its sender did not sign."""

    default_hint = "the frame was forged or damaged; it was dropped"


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    ``body`` is the decoded msgpack list; ``encoded`` the exact bytes that travelled.
    """

    kind: FrameKind
    cluster: ClusterId
    sender: OperatorAddress
    recipient: OperatorAddress | None
    session: SessionId
    body: Any
    payload: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"<Frame {self.kind.name} from {to_hex(self.sender)} session {self.session.hex()[:8]}>"

    @cached_property
    def encoded(self) -> bytes:
        return encode([self.payload, self.signature])

    @cached_property
    def readings(self) -> dict[str, Any]:
        """What the body was read as, by the name of the reader: a body is read once (wire/messages)."""
        return {}

    @cached_property
    def digest(self) -> bytes:
        """What is signed."""
        return keccak256(b"eigenkms/frame/1", self.payload)

    @property
    def key(self) -> bytes:
        """16 bytes that name the frame in digest lists."""
        return self.digest[:16]

    def check_scope(
        self, *, cluster: ClusterId, me: OperatorAddress | None, members: OperatorSet, session: SessionId
    ) -> None:
        """Raise ``WrongScopeError`` unless the frame belongs here: cluster, sender, recipient, session, in this order."""
        if self.cluster != cluster:
            raise WrongScopeError(f"read {self.kind.name} frame: for another cluster")
        if members.get(self.sender) is None:
            raise WrongScopeError(
                f"read {self.kind.name} frame: {to_hex(self.sender)} is not an operator here"
            )
        if self.recipient is not None and self.recipient != me:
            raise WrongScopeError(f"read {self.kind.name} frame: for recipient {to_hex(self.recipient)}")
        if self.session != session:
            raise WrongScopeError(f"read {self.kind.name} frame: for session {self.session.hex()}")


def _version_of(kind: FrameKind) -> int:
    """Return the protocol's for what is said in sessions.

    All else has kept the form that it had in protocol 1.
    """
    return PROTOCOL if kind in _SESSION_KINDS else 1


def build_frame(
    key: bn254.KeyPair,
    *,
    kind: FrameKind,
    cluster: ClusterId,
    sender: OperatorAddress,
    session: SessionId,
    body: list[Any],
    recipient: OperatorAddress | None = None,
) -> Frame:
    """Encode and sign a frame."""
    payload = encode([_version_of(kind), int(kind), cluster, sender, recipient, session, body])
    signature = bn254.sign(key, keccak256(b"eigenkms/frame/1", payload))
    return Frame(kind, cluster, sender, recipient, session, body, payload, signature)


def decode_frame(data: bytes) -> Frame:
    """Decode strictly: size by kind, canonical msgpack, arity, types.

    Raises ``MalformedError``.

    The signature is *not* verified here.
    """
    outer = Fields(decode(data, what="frame"), 2, "frame")
    payload, signature = outer.binary(), outer.fixed(64)
    fields = Fields(decode(payload, what="frame payload"), 7, "frame payload")
    version, number = fields.uint(16), fields.uint(16)
    try:
        kind = FrameKind(number)
    except ValueError:
        raise MalformedError(f"decode frame: unknown kind {number}") from None
    if version != _version_of(kind):
        raise MalformedError(f"decode {kind.name} frame: version {version}, not {_version_of(kind)}")
    if len(data) > SIZE_LIMITS[kind]:
        raise MalformedError(f"decode {kind.name} frame: {len(data)} bytes, more than {SIZE_LIMITS[kind]}")
    cluster = ClusterId(fields.fixed(32))
    sender = OperatorAddress(fields.fixed(20))
    recipient = fields.optional_fixed(20)
    session = SessionId(fields.fixed(32))
    body = fields.items()
    frame = Frame(
        kind,
        cluster,
        sender,
        OperatorAddress(recipient) if recipient is not None else None,
        session,
        body,
        payload,
        signature,
    )
    vars(frame)["encoded"] = data  # canonical: encoding it again gives the same
    return frame


def verify_frame(frame: Frame, key: bytes) -> None:
    """Raise ``BadSignatureError`` unless ``frame`` is signed under the BN254 G2 ``key`` (128 bytes)."""
    if not bn254.verify(frame.digest, frame.signature, key):
        raise BadSignatureError(f"verify {frame.kind.name} frame of {to_hex(frame.sender)}: bad signature")


def verify_frames(frames: Sequence[Frame], keys: Sequence[bytes], rng: Rng) -> tuple[int, ...]:
    """Return the indexes of the frames whose signature is bad.

    One random linear combination over all of them.
    """
    items = [(f.digest, f.signature, key) for f, key in zip(frames, keys, strict=True)]
    return bn254.batch_verify(items, rng)
