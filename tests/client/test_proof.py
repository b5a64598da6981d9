"""A proof of the master public key is verified again without any network."""

import json
import os
from collections.abc import Callable

import pytest

from eigenkms.client.proof import read_operators, read_proof, verify_proof
from eigenkms.crypto import bn254
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import InputError, VerificationError
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.session import ZERO32, Parameters, Session, cluster_id
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Phase, aggregate, vote_digest

CLUSTER = cluster_id(Cluster(31337, bytes(20), 0))


def make(signers: int = 3) -> tuple[CertifiedTranscript, OperatorSet]:
    """A version certified by ``signers`` of four operators, and those operators."""
    keys = [bn254.KeyPair.generate(os.urandom) for _ in range(4)]
    members = OperatorSet(
        tuple(Member(OperatorAddress(bytes([i + 1]) * 20), k.g2) for i, k in enumerate(keys))
    )
    session = Session(
        CLUSTER, BlockRef(10, bytes(32), 1_700_000_000), members, Parameters(10, "latest", 1000)
    )
    vector = Polynomial.random(3, os.urandom).commitments()
    dealers = tuple((a, bytes(32)) for a in members.addresses)
    transcript = Transcript(
        CLUSTER, session.id, session.boundary, members, 3, 0, ZERO32, dealers, vector[0], vector
    )
    digest = vote_digest(session.id, 0, Phase.COMMIT, transcript.hash)
    votes = {a: bn254.sign(k, digest) for a, k in list(zip(members.addresses, keys, strict=True))[:signers]}
    return CertifiedTranscript(
        transcript, aggregate(session.id, 0, Phase.COMMIT, transcript.hash, votes, members)
    ), members


def proof_text(epoch: CertifiedTranscript) -> str:
    return json.dumps(
        {
            "cluster": CLUSTER.hex(),
            "transcript": epoch.transcript.encoded.hex(),
            "certificate": epoch.certificate.encoded.hex(),
        }
    )


def operators_text(operators: OperatorSet) -> str:
    return "# operators\n" + "".join(
        f"0x{m.address.hex()} 0x{m.key.hex()}\n" for m in reversed(operators.members)
    )


def test_a_proof_by_the_given_operators_holds() -> None:
    """Written and read again, in any order of lines, it verifies."""
    epoch, operators = make()
    cluster, read = read_proof(proof_text(epoch))
    assert read == epoch
    verify_proof(cluster, read, read_operators(operators_text(operators)))


def test_another_operator_set_refuses_it() -> None:
    """The certificate names its own signers; only the given set says whether they count."""
    epoch, _ = make()
    _, others = make()
    with pytest.raises(VerificationError, match="not the 4 of the given set"):
        verify_proof(CLUSTER, epoch, others)


def test_too_few_signers_prove_nothing() -> None:
    """A quorum is three of four."""
    epoch, operators = make(signers=2)
    with pytest.raises(VerificationError, match="2 signers, 3 needed"):
        verify_proof(CLUSTER, epoch, operators)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"cluster"', '"klaster"'),
        lambda text: text.replace(CLUSTER.hex(), "zz"),
        lambda text: json.dumps({"cluster": 1, "transcript": 2, "certificate": 3}),
        lambda text: text[:-10] + '"}',
    ],
)
def test_what_is_no_proof_is_named_so(spoil: Callable[[str], str]) -> None:
    """The error says which file to give."""
    epoch, _ = make()
    with pytest.raises(InputError, match="read proof"):
        read_proof(spoil(proof_text(epoch)))


@pytest.mark.parametrize("line", ["0x00 0x00", "no hex at all", "0x" + "11" * 20])
def test_a_line_that_is_no_operator_is_named(line: str) -> None:
    """With its number."""
    with pytest.raises(InputError, match="line 2"):
        read_operators("# set\n" + line + "\n")


def test_an_operator_named_twice_is_refused() -> None:
    """A set has each address once."""
    _, operators = make()
    text = operators_text(operators)
    with pytest.raises(InputError, match="strictly ascending"):
        read_operators(text + text)
