"""A dealing is its bytes: decoded strictly, named by its hash, and checked in everything a dealer could get wrong."""

from dataclasses import replace

import pytest

from eigenkms.crypto import schnorr
from eigenkms.crypto.feldman import public_share, public_share_of
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.codec import MalformedError, decode, encode
from eigenkms.protocols.dealing import (
    MAX_THRESHOLD,
    BadDealingError,
    Dealing,
    check_dealing,
    combine,
    deal,
    dealing_hash,
    decode_dealing,
    proof_context,
)
from tests.protocols.support import Cast, cast


@pytest.fixture
def who() -> Cast:
    return cast(4)


def _polynomial(who: Cast) -> Polynomial:
    return Polynomial.random(who.session.threshold, who.rng)


def test_a_dealing_is_its_bytes(who: Cast) -> None:
    """Decoding gives it back; the hash is of the bytes, under its own tag."""
    dealing = deal(who.session, who.addresses[0], _polynomial(who), who.rng)
    assert decode_dealing(dealing.encoded) == dealing
    assert dealing.hash == dealing_hash(dealing.encoded)
    check_dealing(dealing, who.session, who.addresses[0])


def test_shares_lie_on_the_sum_of_the_dealings(who: Cast) -> None:
    """What an operator adds up from all dealers fits what anybody computes from the combined commitments."""
    polynomials = [_polynomial(who) for _ in who.addresses]
    dealings = [deal(who.session, a, p, who.rng) for a, p in zip(who.addresses, polynomials, strict=True)]
    combined = combine(dealings)
    for x in who.session.x.values():
        total = sum(p.evaluate(x).value for p in polynomials)
        assert public_share(x, combined) == public_share_of(type(polynomials[0].constant)(total % _order()))


def _order() -> int:
    from eigenkms.crypto.scalars import R

    return R


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: replace(d, session=bytes(32)), "made for session"),
        (lambda d: replace(d, dealer=bytes(20)), "names dealer"),
        (lambda d: replace(d, source_version=1), "names source 1"),
        (lambda d: replace(d, source_hash=b"\x01" * 32), "names source 0"),
        (lambda d: replace(d, commitments=d.commitments[:-1]), "2 commitments, not the threshold 3"),
        (lambda d: replace(d, commitments=d.commitments * 2), "6 commitments"),
        (lambda d: replace(d, commitments=()), "0 commitments"),
        (lambda d: replace(d, commitments=(b"\xc0" + bytes(95), *d.commitments[1:])), "C_0"),
        (lambda d: replace(d, commitments=(*d.commitments[:-1], b"\xc0" + bytes(95))), "C_2"),
        (lambda d: replace(d, commitments=(b"\xff" * 96, *d.commitments[1:])), "C_0"),
        (lambda d: replace(d, proof=None), "proof of knowledge"),
        (lambda d: replace(d, proof=bytes(128)), "proof of knowledge"),
        (lambda d: replace(d, commitments=d.commitments[::-1]), "proof of knowledge"),
    ],
)
def test_a_faulty_dealing_is_refused(who: Cast, change: object, why: str) -> None:
    """Each fault by its name; the error names the dealer."""
    dealer = who.addresses[0]
    dealing = deal(who.session, dealer, _polynomial(who), who.rng)
    with pytest.raises(BadDealingError, match=f"check dealing of 0x{dealer.hex()}: .*{why}"):
        check_dealing(change(dealing), who.session, dealer)  # type: ignore[operator]


def test_another_dealers_commitment_cannot_be_used(who: Cast) -> None:
    """The proof of knowledge binds session and dealer: C_0 copied with its proof proves nothing for anybody else (rogue key)."""
    one, other, *_ = who.addresses
    polynomial = _polynomial(who)
    dealing = deal(who.session, one, polynomial, who.rng)
    with pytest.raises(BadDealingError, match="proof of knowledge"):
        check_dealing(replace(dealing, dealer=other), who.session, other)
    elsewhere = schnorr.prove(
        polynomial.constant, dealing.commitments[0], proof_context(who.later().id, one), who.rng
    )
    with pytest.raises(BadDealingError, match="proof of knowledge"):
        check_dealing(replace(dealing, proof=elsewhere), who.session, one)


def test_other_encodings_are_refused(who: Cast) -> None:
    """Another version, arity, length or type, too many commitments, anything behind it."""
    dealing = deal(who.session, who.addresses[0], _polynomial(who), who.rng)
    fields = decode(dealing.encoded, what="dealing")
    wrong = [
        [2, *fields[1:]],
        fields[:-1],
        [*fields, None],
        [*fields[:1], bytes(31), *fields[2:]],
        [*fields[:5], [b"x" * 95], fields[6]],
        [*fields[:5], [b"x" * 96] * (MAX_THRESHOLD + 1), fields[6]],
        [*fields[:6], b"x" * 127],
    ]
    for bad in wrong:
        with pytest.raises(MalformedError, match="decode dealing"):
            decode_dealing(encode(bad))
    with pytest.raises(MalformedError):
        decode_dealing(dealing.encoded + b"\x00")
    assert isinstance(decode_dealing(encode(fields)), Dealing)
