"""Check of a proof of the master public key, without any network.

``eigenkms pubkey --json`` writes proofs, and anybody may verify them. A certificate proves that a quorum of *the operators it
names* agreed. Only the chain records whether those are the operators of the cluster. So the operator set must come from elsewhere,
a file with one ``ADDRESS KEY`` a line. Both are in hex, and the key is on BN254 G2 (128 bytes, imaginary parts first).
"""

from collections.abc import Mapping

from eigenkms import bounded_json
from eigenkms.errors import InputError, VerificationError
from eigenkms.types import ClusterId, Member, OperatorAddress, OperatorSet
from eigenkms.wire.certified_transcript import CertifiedTranscript, check_certified_transcript
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import decode_certificate

_PROOF_HINT = "give a file that eigenkms pubkey --json wrote"


def read_proof(text: str) -> tuple[ClusterId, CertifiedTranscript]:
    """Read the cluster id and the version of a proof.

    Raises ``InputError`` for text that is no proof.
    """
    try:
        facts = bounded_json.loads(text)
        cluster, transcript, certificate = (
            bytes.fromhex(_text(facts, name)) for name in ("cluster", "transcript", "certificate")
        )
        epoch = CertifiedTranscript(decode_transcript(transcript), decode_certificate(certificate))
    except (ValueError, TypeError, KeyError, MalformedError) as error:
        raise InputError("read proof: it is not one", hint=_PROOF_HINT) from error
    return ClusterId(cluster), epoch


def _text(facts: Mapping[str, object], name: str) -> str:
    value = facts[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def read_operators(text: str) -> OperatorSet:
    """Read an operator set, ``ADDRESS KEY`` a line in hex; ``#`` begins a comment.

    Raises ``InputError`` naming the line.
    """
    members = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            address, key = (bytes.fromhex(word.removeprefix("0x")) for word in line.split())
        except ValueError:
            address, key = b"", b""
        if len(address) != 20 or len(key) != 128:
            raise InputError(f"read operator set line {number}: not an address and a BN254 G2 key in hex")
        members.append(Member(OperatorAddress(address), key))
    try:
        return OperatorSet(tuple(sorted(members, key=lambda m: m.address)))
    except ValueError as error:
        raise InputError(f"read operator set: {error}") from error


def verify_proof(cluster: ClusterId, epoch: CertifiedTranscript, operators: OperatorSet) -> None:
    """Raise ``VerificationError`` unless a quorum of ``operators`` certified it.

    The version must be of ``cluster``, and its recipients exactly these operators.
    """
    check_certified_transcript(epoch, cluster)
    if epoch.transcript.recipients != operators:
        raise VerificationError(
            f"verify proof: it is by {len(epoch.transcript.recipients)} operators that are not the "
            f"{len(operators)} of the given set",
            hint="take the operator set at the block of the proof's session",
        )
