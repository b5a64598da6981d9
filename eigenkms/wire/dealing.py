"""A dealing on the wire: a gossiped header, and a body and rows that any peer may serve.

The body is ``EncryptedShares.encode()`` for n recipients, 9,184 + 768·n bytes. Three digests in the header bind it
(``dealing_header``):

| digest | binds |
|---|---|
| randomness | ``keccak256("eigenkms/dealing-randomness/2" ‖ R_1 ‖ … ‖ R_16)`` |
| rows | the root of the hash tree over the n rows of 768 bytes, in the session's order (``hash_tree``) |
| proofs | ``keccak256("eigenkms/dealing-proofs/2" ‖ range proof ‖ linear proof)`` |

A *row encoding* is ``R_1 ‖ … ‖ R_16 ‖ C_i1 ‖ … ‖ C_i16 ‖ path``: 1,536 bytes, and 32 for each sibling from the leaf upwards.
It is what a late member needs of a dealing that others have verified.

**Why the body travels apart.** Agreement is on names of headers, and a header is small. An operator that has a header
can take the body or a row from any peer: the bytes are the dealer's, or they are refused.

**Whose fault.** Digests are checked over the bytes as they came, before anything is decoded. If one differs, the peer that
served the bytes is at fault, or the dealer signed a digest of something else. ``UnboundBytesError`` proves nothing against
either. If the digests hold and the body does not decode, the dealer signed such a body: ``BadDealingError``.

Points and proofs are not checked here. The verifier of ``eigenkms.crypto.pvss`` checks them in what ``claim_of`` returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss import (
    DealingClaim,
    DealingContext,
    EncryptedShare,
    EncryptedShares,
    InvalidDealing,
    encoded_size,
)
from eigenkms.crypto.pvss.dealing import ROW_SIZE
from eigenkms.crypto.pvss.parameters import SHARE_SIZE
from eigenkms.errors import RemoteProtocolError
from eigenkms.types import ClusterId
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.hash_tree import HASH_SIZE, path_length, root_from_path, tree_path, tree_root
from eigenkms.wire.session import ZERO32

RANDOMNESS_SIZE = SHARE_SIZE - ROW_SIZE


class BadDealingError(RemoteProtocolError):
    """A dealing whose content proves that its dealer is faulty."""

    default_hint = "the dealer is faulty; the signed dealing was kept as evidence"


class UnboundBytesError(RemoteProtocolError):
    """A body or a row encoding that the header of its dealing does not bind."""

    default_hint = "fetch it from another operator; the peer that served it is faulty, or its copy is damaged"


@dataclass(frozen=True)
class DealingRow:
    """What one recipient needs of a dealing: the header's bytes and the row encoding."""

    header: bytes
    encoded: bytes


def build_dealing(
    context: DealingContext,
    source_version: int,
    commitments: Sequence[bytes],
    encrypted: EncryptedShares,
    key_numbers: Sequence[int | None],
    newcomers: Sequence[bytes] = (),
) -> DealingHeader:
    """Return the header of a dealing that was made for ``context``.

    ``source_version`` is the version of the transcript that ``context.source`` names, 0 at genesis. ValueError if version and
    source, or rows and ``key_numbers``, do not fit each other, or if a bound of the header is exceeded.

    CPU: hashes of the whole body, 4 ms for 256 recipients.
    """
    header = DealingHeader(
        context.session,
        context.dealer,
        source_version,
        context.source or ZERO32,
        tuple(newcomers),
        tuple(commitments),
        tuple(key_numbers),
        *_digests(encode_body(encrypted)),
    )
    if _context(header, context.cluster) != context:
        raise ValueError("a genesis dealing's context has an empty source, not zeros")
    if header.rows != len(encrypted.rows):
        raise ValueError(f"{len(encrypted.rows)} rows for {header.rows} numbers of keys")
    return header


def encode_body(encrypted: EncryptedShares) -> bytes:
    """Return the canonical bytes of a dealing's body."""
    return encrypted.encode()


def read_body(header: DealingHeader, data: bytes) -> EncryptedShares:
    """Return the body that ``header`` binds, from the bytes that a peer served.

    Raises ``UnboundBytesError`` for other bytes, and ``BadDealingError`` if the dealer signed a body that does not decode.
    Points and proofs are not checked. CPU: hashes of all bytes, 4 ms for 256 recipients.
    """
    name = f"read body of dealing {header.name.hex()}"
    if len(data) != encoded_size(header.rows):
        raise UnboundBytesError(
            f"{name}: it has {len(data)} bytes, not the {encoded_size(header.rows)} of {header.rows} recipients"
        )
    found, bound = _digests(data), (header.randomness, header.rows_root, header.proofs)
    for part, digest, expected in zip(("randomness", "rows", "proofs"), found, bound, strict=True):
        if digest != expected:
            raise UnboundBytesError(f"{name}: the header binds other {part}")
    try:
        return EncryptedShares.decode(data, header.rows)
    except InvalidDealing as error:
        raise BadDealingError(f"{name}: {error}") from error


def row_size(header: DealingHeader, position: int) -> int:
    """Return the bytes of the row encoding of the recipient at ``position``.

    ValueError if the header has no such row.
    """
    return SHARE_SIZE + HASH_SIZE * path_length(position, header.rows)


def row_of(encrypted: EncryptedShares, position: int) -> bytes:
    """Return the row encoding of the recipient at ``position``, at most 1,792 bytes.

    ValueError for a position without a row. CPU: hashes of all rows, 4 ms for 256 recipients.
    """
    path = tree_path([b"".join(row) for row in encrypted.rows], position)
    return encrypted.share(position).encode() + b"".join(path)


def read_row(header: DealingHeader, position: int, data: bytes) -> EncryptedShare:
    """Return what the recipient at ``position`` decrypts, from a row encoding that a peer served.

    Raises ``UnboundBytesError`` if the header has no such row or does not bind these bytes at this position. Points are
    not checked; whether the dealing is valid, a row alone cannot show.
    """
    name = f"read row {position} of dealing {header.name.hex()}"
    if not 0 <= position < header.rows:
        raise UnboundBytesError(f"{name}: the header covers {header.rows} recipients")
    if len(data) != row_size(header, position):
        raise UnboundBytesError(f"{name}: it has {len(data)} bytes, not {row_size(header, position)}")
    randomness, row, siblings = data[:RANDOMNESS_SIZE], data[RANDOMNESS_SIZE:SHARE_SIZE], data[SHARE_SIZE:]
    if _randomness_digest(randomness) != header.randomness:
        raise UnboundBytesError(f"{name}: the header binds other randomness")
    if root_from_path(row, position, header.rows, _cut(siblings, HASH_SIZE)) != header.rows_root:
        raise UnboundBytesError(f"{name}: the header binds another row at this position")
    return EncryptedShare.decode(data[:SHARE_SIZE])


def claim_of(
    header: DealingHeader, encrypted: EncryptedShares, cluster: ClusterId, constant: bytes | None
) -> DealingClaim:
    """Return what ``pvss.check_dealing`` verifies of a header and its body.

    ``constant`` is the dealer's public share of the source in a rotation, 96 bytes, and None at genesis. ValueError for
    the other combinations, so no rotation dealing is verified without its constant term. The caller has checked that the
    session deals from the header's source.
    """
    if header.is_genesis != (constant is None):
        raise ValueError(
            "a rotation dealing is verified with the dealer's public share, a genesis dealing without"
        )
    return DealingClaim(_context(header, cluster), header.commitments, encrypted, constant)


def _context(header: DealingHeader, cluster: ClusterId) -> DealingContext:
    return DealingContext(
        cluster, header.session, header.dealer, b"" if header.is_genesis else header.source_hash
    )


def _digests(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the digests of a body: randomness, rows, proofs."""
    end_of_rows = len(body) - encoded_size(0) + RANDOMNESS_SIZE
    rows = _cut(body[RANDOMNESS_SIZE:end_of_rows], ROW_SIZE)
    return (
        _randomness_digest(body[:RANDOMNESS_SIZE]),
        tree_root(rows),
        keccak256(b"eigenkms/dealing-proofs/2", body[end_of_rows:]),
    )


def _randomness_digest(randomness: bytes) -> bytes:
    return keccak256(b"eigenkms/dealing-randomness/2", randomness)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]
