"""False proofs of a master key, each with the words that must refuse it, and operators that show them."""

from dataclasses import replace

from eigenkms.crypto import bn254
from eigenkms.crypto.shamir import Polynomial
from eigenkms.types import ClusterId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Phase, aggregate, vote_digest
from tests.support.fake_network import FakeNetwork, Honest, block_at, make_epoch, make_network
from tests.support.randomness import counter_rng


class FalseVersionOperators(Honest):
    """Serves another transcript than the network's, and signs statements for it."""

    def __init__(self, network: FakeNetwork, epoch: CertifiedTranscript) -> None:
        super().__init__(network)
        self._epoch = epoch

    def epoch(self) -> CertifiedTranscript:
        return self._epoch


def other_polynomial(network: FakeNetwork) -> Transcript:
    """Return the transcript of another key for the same session."""
    return make_epoch(network.session, Polynomial.random(3, counter_rng("other polynomial")))


def false_epochs(network: FakeNetwork) -> dict[str, tuple[CertifiedTranscript, str]]:
    """Return what a faulty operator may show, by name, with the words that refuse it."""
    good, operators = network.epoch.transcript, network.operators
    other = other_polynomial(network)
    strangers = make_network(seed="strangers")
    at_fork = replace(good, boundary=block_at(100, "fork"))
    shorter = replace(good, commitments=good.commitments[:2], threshold=2)
    of_prepare = {
        o.address: bn254.sign(o.key, vote_digest(good.session, 0, Phase.PREPARE, good.hash))
        for o in operators
    }
    return {
        "too few signers": (
            CertifiedTranscript(good, network.certify(good, operators[:2])),
            "2 signers, 3 needed",
        ),
        "one signer shown as three": (
            CertifiedTranscript(good, network.certify(good, operators[:1], bitmap=b"\xe0")),
            "aggregate signature does not verify",
        ),
        "a signature of zeros": (
            CertifiedTranscript(good, network.certify(good, signature=bytes(64))),
            "does not verify",
        ),
        "no point as signature": (
            CertifiedTranscript(good, network.certify(good, signature=b"\xff" * 64)),
            "does not verify",
        ),
        "a bitmap too long": (
            CertifiedTranscript(good, network.certify(good, bitmap=b"\xf0\x00")),
            "bitmap of 2 bytes",
        ),
        "spare bits": (CertifiedTranscript(good, network.certify(good, bitmap=b"\xff")), "spare bits"),
        "another transcript under it": (
            CertifiedTranscript(other, network.epoch.certificate),
            "does not certify this transcript",
        ),
        "another session's": (
            CertifiedTranscript(
                good, network.certify(replace(good, session=strangers.session.id), hash=good.hash)
            ),
            "of another session",
        ),
        "prepare votes": (
            CertifiedTranscript(
                good, aggregate(good.session, 0, Phase.PREPARE, good.hash, of_prepare, good.recipients)
            ),
            "does not certify this transcript",
        ),
        "strangers as operators": (strangers.epoch, "are not the 4 that the chain had at block 100"),
        "a block of a fork": (CertifiedTranscript(at_fork, network.certify(at_fork)), "is not on this chain"),
        "a lower threshold": (
            CertifiedTranscript(shorter, network.certify(shorter)),
            "threshold 2 for 4 recipients",
        ),
        "a key that is not the commitments'": (
            CertifiedTranscript(replace(good, mpk=other.mpk), network.certify(replace(good, mpk=other.mpk))),
            "combined constant term is not the master public key",
        ),
        "commitments that are no points": (
            CertifiedTranscript(
                bad := replace(good, commitments=(good.mpk, b"\xff" * 96, good.mpk)), network.certify(bad)
            ),
            "check transcript",
        ),
        "another cluster": (
            CertifiedTranscript(
                away := replace(good, cluster=ClusterId(b"\x01" * 32)), network.certify(away)
            ),
            "it is of another cluster",
        ),
    }


CASES = list(false_epochs(make_network()))
