"""Check of one piece of evidence on its own, without any network.

A piece proves that the holder of the accused's BN254 key broke the protocol (docs/protocol.md, Evidence). The operators and keys
that it names are its own claim; only the chain can confirm them, at the block of the piece (``evidence_confirmation``).
"""

from dataclasses import dataclass

from eigenkms.errors import RemoteProtocolError, VerificationError
from eigenkms.protocols.records.evidence_bundle import Bundle, BundleName, check_bundle, decode_bundle


@dataclass(frozen=True)
class EvidenceVerdict:
    """The result of a check.

    ``bundle``: None if the bytes are no piece. ``reason``: why the piece does not hold; None if it holds.
    """

    bundle: Bundle | None
    reason: str | None


def sort_key(bundle: Bundle) -> tuple[int, BundleName]:
    """Return the key that sorts bundles by block, then by accused and fault."""
    return bundle.session.boundary.number, bundle.name


def read_and_check(encoded: bytes) -> Bundle:
    """Return a bundle that proves its fault by the keys that it names.

    Raises ``VerificationError``. CPU-bound: a pairing for each frame.
    """
    try:
        bundle = decode_bundle(encoded)
    except RemoteProtocolError as error:
        raise VerificationError(str(error)) from error
    check_bundle(bundle)
    return bundle


def assess_piece(encoded: bytes) -> EvidenceVerdict:
    """Check a piece by the keys that it names. CPU-bound: a pairing for each frame."""
    try:
        bundle = decode_bundle(encoded)
    except RemoteProtocolError as error:
        return EvidenceVerdict(None, str(error))
    try:
        check_bundle(bundle)
    except VerificationError as error:
        return EvidenceVerdict(bundle, str(error))
    return EvidenceVerdict(bundle, None)
