"""The transcript: the exact content that is voted on, and the certificate's other half (docs/protocol.md, Agreement).

Canonical msgpack ``[1, cluster, session, N, blockhash, T, R, t', source T|0, source hash|0³², [[dealer20, dealing
hash], …], MPK, [A_0 … A_{t'−1}]]`` named by ``keccak256("eigenkms/transcript/1" ‖ bytes)``. A is the combined
commitment vector: it yields every operator's public share ``Y_j``, so partial signatures can be checked one by one.

Protocol 2 adds one more field, ``[[number, y48] | nil, …]``: the encryption key of each recipient, to which sessions that deal from
this version encrypt its share; the version in front is 2 then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eigenkms.crypto import bn254, feldman
from eigenkms.crypto.backends.interface import BLS_G1_SIZE
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import coordinate, threshold
from eigenkms.errors import VerificationError
from eigenkms.types import BlockRef, ClusterId, OperatorAddress, OperatorSet, SessionId, Version
from eigenkms.wire.codec import Fields, MalformedError, decode, encode
from eigenkms.wire.session import MAX_OPERATORS, MAX_THRESHOLD, decode_recipients, encode_recipients

TRANSCRIPT_VERSION = 1
VERSION_WITH_KEYS = 2
_FIELDS = 13
"""Without the keys."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """An operator's encryption key in G1 (48 bytes).

    ``number`` is that of the boundary block at which it was published.
    """

    number: int
    public: bytes


@dataclass(frozen=True)
class Transcript:
    """Everything one session decided.

    ``dealers`` are (address, dealing hash), ascending by address.

    ``keys`` are those of the recipients, in their order, ``None`` for one that has none; in protocol 1 there are none at all.
    """

    cluster: ClusterId
    session: SessionId
    boundary: BlockRef
    recipients: OperatorSet
    threshold: int
    source_version: int
    source_hash: bytes
    dealers: tuple[tuple[OperatorAddress, bytes], ...]
    mpk: bytes
    commitments: tuple[bytes, ...]
    keys: tuple[ListedKey | None, ...] = ()

    @property
    def version(self) -> Version:
        return Version(self.boundary.timestamp)

    @cached_property
    def encoded(self) -> bytes:
        value: list[Any] = [
            VERSION_WITH_KEYS if self.keys else TRANSCRIPT_VERSION,
            self.cluster,
            self.session,
            self.boundary.number,
            self.boundary.hash,
            self.boundary.timestamp,
            encode_recipients(self.recipients),
            self.threshold,
            self.source_version,
            self.source_hash,
            [[dealer, digest] for dealer, digest in self.dealers],
            self.mpk,
            list(self.commitments),
        ]
        if self.keys:
            value.append([None if key is None else [key.number, key.public] for key in self.keys])
        return encode(value)

    @cached_property
    def hash(self) -> bytes:
        return hash_transcript(self.encoded)

    def key_of(self, address: OperatorAddress) -> ListedKey | None:
        """Return the encryption key that is listed for a recipient."""
        listed = dict(zip(self.recipients.addresses, self.keys, strict=False))
        return listed.get(address)

    def public_share(self, address: OperatorAddress) -> bytes:
        """Return ``Y_j = Σ x_j^k A_k`` (G2, 96 bytes), computed once for each operator."""
        known = self._public_shares.get(address)
        if known is None:
            known = self._public_shares[address] = feldman.public_share(coordinate(address), self.commitments)
        return known

    @cached_property
    def _public_shares(self) -> dict[OperatorAddress, bytes]:
        return {}


def hash_transcript(encoded: bytes) -> bytes:
    """Return the hash of an encoded transcript, 32 bytes, whether it can be decoded or not."""
    return keccak256(b"eigenkms/transcript/1", encoded)


def decode_transcript(data: bytes) -> Transcript:
    """Decode a transcript.

    Raises ``MalformedError``; checks shape only, see ``check_self_consistent``.
    """
    value = decode(data, what="transcript")
    has_keys = isinstance(value, list) and len(value) == _FIELDS + 1
    fields = Fields(value, _FIELDS + has_keys, "transcript")
    if (version := fields.uint(16)) != (VERSION_WITH_KEYS if has_keys else TRANSCRIPT_VERSION):
        raise MalformedError(f"decode transcript: version {version}")
    cluster, session = ClusterId(fields.fixed(32)), SessionId(fields.fixed(32))
    boundary = BlockRef(fields.uint(64), fields.fixed(32), fields.uint(64))
    recipients = decode_recipients(fields.items(MAX_OPERATORS))
    degree_bound, source_version, source_hash = fields.uint(16), fields.uint(64), fields.fixed(32)
    dealers = []
    for item in fields.items(MAX_OPERATORS):
        dealer = Fields(item, 2, "transcript dealer")
        dealers.append((OperatorAddress(dealer.fixed(20)), dealer.fixed(32)))
    if [d for d, _ in dealers] != sorted({d for d, _ in dealers}):
        raise MalformedError("decode transcript: dealers are not strictly ascending")
    mpk, commitments = fields.fixed(96), fields.fixed_items(96, MAX_THRESHOLD)
    return Transcript(
        cluster,
        session,
        boundary,
        recipients,
        degree_bound,
        source_version,
        source_hash,
        tuple(dealers),
        mpk,
        commitments,
        _read_keys(fields.items(MAX_OPERATORS), len(recipients)) if has_keys else (),
    )


def _read_keys(rows: Sequence[object], count: int) -> tuple[ListedKey | None, ...]:
    """Read a key or nil for each of ``count`` recipients."""
    if len(rows) != count:
        raise MalformedError(f"decode transcript: {len(rows)} encryption keys for {count} recipients")
    return tuple(None if row is None else _read_key(Fields(row, 2, "encryption key")) for row in rows)


def _read_key(fields: Fields) -> ListedKey:
    return ListedKey(fields.uint(64), fields.fixed(BLS_G1_SIZE))


def check_self_consistent(transcript: Transcript) -> None:
    """Raise ``VerificationError`` unless the parts fit each other: t' = t(|R|), |A| = t', A_0 = MPK, points, keys."""
    name = f"check transcript {transcript.hash.hex()[:16]}"
    if not len(transcript.recipients):
        raise VerificationError(f"{name}: it has no recipients")
    if transcript.threshold != threshold(len(transcript.recipients)):
        raise VerificationError(
            f"{name}: threshold {transcript.threshold} for {len(transcript.recipients)} recipients"
        )
    if len(transcript.commitments) != transcript.threshold:
        raise VerificationError(
            f"{name}: {len(transcript.commitments)} commitments, not {transcript.threshold}"
        )
    if transcript.commitments[0] != transcript.mpk:
        raise VerificationError(f"{name}: combined constant term is not the master public key")
    try:
        feldman.check_commitments(transcript.commitments, transcript.threshold)
        for member in transcript.recipients:
            bn254.check_key(member.key)
    except ValueError as error:
        raise VerificationError(f"{name}: {error}") from error
