"""A certificate proves that enough members voted for one thing in one view, and nothing else passes for one."""

from dataclasses import replace

import pytest

from eigenkms.crypto import bn254
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError, decode, encode
from eigenkms.wire.votes import (
    MAX_CERTIFICATE_BYTES,
    VOID_HASH,
    BadCertificateError,
    Certificate,
    Phase,
    aggregate,
    bitmap_of,
    check_certificate,
    decode_certificate,
    vote_digest,
)
from tests.protocols.support import Cast, cast

HASH = b"\x07" * 32


def _certificate(
    who: Cast, signers: tuple[OperatorAddress, ...], *, phase: Phase = Phase.COMMIT, view: int = 3
) -> Certificate:
    digest = vote_digest(who.session.id, view, phase, HASH)
    votes = {a: bn254.sign(who.keys[a], digest) for a in signers}
    return aggregate(who.session.id, view, phase, HASH, votes, who.session.recipients)


@pytest.mark.parametrize("n", [1, 4, 8, 9])
def test_enough_signers_make_a_certificate(n: int) -> None:
    """It verifies for the quorum and any smaller one; the signers are read off in order; it survives the wire."""
    who = cast(n)
    signers = who.addresses[: who.session.threshold]
    certificate = _certificate(who, signers)
    certificate.verify(who.session.recipients, len(signers))
    check_certificate(certificate, who.session)
    assert certificate.signers(who.session.recipients) == signers
    assert decode_certificate(certificate.encoded) == certificate
    assert len(certificate.encoded) <= MAX_CERTIFICATE_BYTES
    assert certificate.bitmap[0] & 0x80, "the first member is the top bit"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: replace(c, view=4), "does not verify"),
        (lambda c: replace(c, phase=Phase.PREPARE), "does not verify"),
        (lambda c: replace(c, hash=VOID_HASH), "does not verify"),
        (lambda c: replace(c, session=bytes(32)), "another session"),
        (lambda c: replace(c, signature=bytes(64)), "does not verify"),
        (lambda c: replace(c, signature=b"\xff" * 64), "does not verify"),
        (lambda c: replace(c, bitmap=b"\xd0"), "does not verify"),  # others than signed
        (lambda c: replace(c, bitmap=b"\xf0"), "does not verify"),  # one more than signed
        (lambda c: replace(c, bitmap=b"\xc0"), "2 signers, 3 needed"),
        (lambda c: replace(c, bitmap=b"\x00"), "0 signers, 3 needed"),
        (lambda c: replace(c, bitmap=b"\xe1"), "spare bits"),
        (lambda c: replace(c, bitmap=b"\xe8"), "spare bits"),
        (lambda c: replace(c, bitmap=b""), "bitmap of 0 bytes for 4"),
        (lambda c: replace(c, bitmap=b"\xe0\x00"), "bitmap of 2 bytes for 4"),
    ],
)
def test_anything_else_proves_nothing(change: object, why: str) -> None:
    """Another view, phase, hash, session, signature or bitmap: too few, foreign or other signers, spare bits."""
    who = cast(4)
    certificate = change(_certificate(who, who.addresses[:3]))  # type: ignore[operator]
    with pytest.raises(BadCertificateError, match=why):
        check_certificate(certificate, who.session)


def test_one_signer_counted_twice_is_one_signer() -> None:
    """A vote added several times fits no bitmap."""
    who = cast(4)
    digest = vote_digest(who.session.id, 0, Phase.COMMIT, HASH)
    mine = bn254.sign(who.keys[who.addresses[0]], digest)
    repeated = bn254.aggregate_signatures([mine] * 3)
    for bitmap in (b"\x80", b"\xe0", b"\xf0"):
        certificate = Certificate(who.session.id, 0, Phase.COMMIT, HASH, bitmap, repeated)
        with pytest.raises(BadCertificateError):
            check_certificate(certificate, who.session)


def test_foreign_signers_do_not_count() -> None:
    """Strangers are not in the bitmap, and their signatures spoil the sum."""
    who, strangers = cast(4), cast(4, seed="strangers")
    digest = vote_digest(who.session.id, 0, Phase.COMMIT, HASH)
    votes = [bn254.sign(key, digest) for key in strangers.keys.values()]
    certificate = Certificate(
        who.session.id, 0, Phase.COMMIT, HASH, b"\xf0", bn254.aggregate_signatures(votes)
    )
    with pytest.raises(BadCertificateError, match="does not verify"):
        check_certificate(certificate, who.session)
    assert bitmap_of(strangers.addresses, who.session.recipients) == b"\x00"


def test_other_encodings_are_refused() -> None:
    """Arity, phase, lengths, size, trailing bytes."""
    who = cast(4)
    certificate = _certificate(who, who.addresses[:3])
    fields = decode(certificate.encoded, what="certificate")

    def changed(index: int, value: object) -> list[object]:
        return [*fields[:index], value, *fields[index + 1 :]]

    wrong = [
        fields[:-1],
        [*fields, 0],
        changed(0, bytes(31)),
        changed(1, 2**32),
        changed(2, 0),
        changed(2, 3),
        changed(2, 256),
        changed(3, b""),
        changed(4, bytes(65)),
        changed(5, bytes(63)),
        changed(4, bytes(600)),
    ]
    for bad in wrong:
        with pytest.raises(MalformedError, match="decode certificate"):
            decode_certificate(encode(bad))
    with pytest.raises(MalformedError):
        decode_certificate(certificate.encoded + b"\x00")
