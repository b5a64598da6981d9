"""False proofs of a master key, each with what must be said of it, and operators that show them."""

from dataclasses import replace

from eigenkms.crypto import bn254
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.wire.client_rpc import CertifiedTranscript
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.protocols.wire.votes import Phase, aggregate, vote_digest
from eigenkms.types import ClusterId
from tests.client.village import Honest, Village, block_at, make_epoch, make_village
from tests.protocols.support import counter_rng


class Serving(Honest):
    """Serves another epoch than the village's, and vouches for it."""

    def __init__(self, village: Village, epoch: CertifiedTranscript) -> None:
        super().__init__(village)
        self._epoch = epoch

    def epoch(self) -> CertifiedTranscript:
        return self._epoch


def other_polynomial(village: Village) -> Transcript:
    """Another key for the same session, as if another genesis had happened."""
    return make_epoch(village.session, Polynomial.random(3, counter_rng("other polynomial")))


def false_epochs(village: Village) -> dict[str, tuple[CertifiedTranscript, str]]:
    """What a liar may show, and what is said of it."""
    good, operators = village.epoch.transcript, village.operators
    other = other_polynomial(village)
    strangers = make_village(seed="strangers")
    at_fork = replace(good, boundary=block_at(100, "fork"))
    shorter = replace(good, commitments=good.commitments[:2], threshold=2)
    of_prepare = {
        o.address: bn254.sign(o.key, vote_digest(good.session, 0, Phase.PREPARE, good.hash))
        for o in operators
    }
    return {
        "too few signers": (
            CertifiedTranscript(good, village.certify(good, operators[:2])),
            "2 signers, 3 needed",
        ),
        "one signer shown as three": (
            CertifiedTranscript(good, village.certify(good, operators[:1], bitmap=b"\xe0")),
            "aggregate signature does not verify",
        ),
        "a signature of zeros": (
            CertifiedTranscript(good, village.certify(good, signature=bytes(64))),
            "does not verify",
        ),
        "no point as signature": (
            CertifiedTranscript(good, village.certify(good, signature=b"\xff" * 64)),
            "does not verify",
        ),
        "a bitmap too long": (
            CertifiedTranscript(good, village.certify(good, bitmap=b"\xf0\x00")),
            "bitmap of 2 bytes",
        ),
        "spare bits": (CertifiedTranscript(good, village.certify(good, bitmap=b"\xff")), "spare bits"),
        "another transcript under it": (
            CertifiedTranscript(other, village.epoch.certificate),
            "does not certify this transcript",
        ),
        "another session's": (
            CertifiedTranscript(
                good, village.certify(replace(good, session=strangers.session.id), hash=good.hash)
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
        "a block of a fork": (CertifiedTranscript(at_fork, village.certify(at_fork)), "is not on this chain"),
        "a lower threshold": (
            CertifiedTranscript(shorter, village.certify(shorter)),
            "threshold 2 for 4 recipients",
        ),
        "a key that is not the commitments'": (
            CertifiedTranscript(replace(good, mpk=other.mpk), village.certify(replace(good, mpk=other.mpk))),
            "combined constant term is not the master public key",
        ),
        "commitments that are no points": (
            CertifiedTranscript(
                bad := replace(good, commitments=(good.mpk, b"\xff" * 96, good.mpk)), village.certify(bad)
            ),
            "check transcript",
        ),
        "another cluster": (
            CertifiedTranscript(
                away := replace(good, cluster=ClusterId(b"\x01" * 32)), village.certify(away)
            ),
            "it is of another cluster",
        ),
    }


CASES = list(false_epochs(make_village()))
