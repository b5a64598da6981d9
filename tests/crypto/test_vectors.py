"""Values made independently of this code: byte for byte, on every backend."""

import hashlib

import pytest

from eigenkms.crypto import backends, bls, bn254, feldman, ibe
from eigenkms.crypto.backends.interface import Bls12381
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.ibe_identities import DST, identity_v1
from eigenkms.crypto.scalars import R, SecretScalar, coordinate, coordinates, lagrange_at_zero, threshold
from eigenkms.crypto.shamir import Polynomial, combine_shares
from eigenkms.types import OperatorAddress
from tests.crypto.support import VECTORS, unhex

DKG = VECTORS["dkg"]
IBE = VECTORS["ibe"]
BN = VECTORS["bn254"]
ADDRESSES = [OperatorAddress(unhex(operator["address"])) for operator in VECTORS["operators"]]
XS = coordinates(ADDRESSES[:4])
FINAL_SHARES = [SecretScalar(int(text, 16)) for text in DKG["final_shares_hex"]]


def polynomial(dealer: int) -> Polynomial:
    digests = [keccak256(b"dkg", bytes([dealer]), bytes([k])) for k in range(3)]
    return Polynomial([SecretScalar(int.from_bytes(digest, "big") % R) for digest in digests])


def test_coordinates_of_known_operators() -> None:
    """An operator's address gives the coordinate that the Go implementation gives it."""
    expected = [int(operator["x_fr_hex"], 16) for operator in VECTORS["operators"]]
    assert expected == [coordinate(address) for address in ADDRESSES]


def test_threshold_table() -> None:
    """t(n) is ⌈2n/3⌉ for every n of the table."""
    assert VECTORS["threshold"] == {str(n): threshold(n) for n in range(1, 13)}


def test_lagrange_coefficients() -> None:
    """The coefficients at zero of three known operators."""
    expected = tuple(int(text, 16) for text in VECTORS["lagrange_at_0_ops_1_2_3"].values())
    assert expected == lagrange_at_zero(XS[:3])


def test_shares_of_a_known_polynomial() -> None:
    """The first dealer's shares, and all final shares, of a genesis of four operators."""
    dealt = [[polynomial(dealer).evaluate(x) for dealer in range(4)] for x in XS]
    assert DKG["share_dealer0_to_each_dec"] == [str(shares[0].value) for shares in dealt]
    assert [combine_shares([1] * 4, shares) for shares in dealt] == FINAL_SHARES


def test_master_secret_interpolates() -> None:
    """Any three final shares give the master secret."""
    secret = combine_shares(lagrange_at_zero(XS[1:4]), FINAL_SHARES[1:4])
    assert int(DKG["master_secret_hex"], 16) == secret.value


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_commitments_and_master_public_key() -> None:
    """Commitments of all dealers, their sum's first term, and a share that fits the sum."""
    vectors = [polynomial(dealer).commitments() for dealer in range(4)]
    assert DKG["commitments_hex"] == [[c.hex() for c in vector] for vector in vectors]
    combined = feldman.combine_commitments([1] * 4, vectors)
    assert DKG["mpk_hex"] == combined[0].hex()
    assert feldman.verify_share(FINAL_SHARES[0], XS[0], combined)


@pytest.mark.usefixtures("backend")
def test_hash_to_g1() -> None:
    """Application identities hash to the known points."""
    assert VECTORS["H1"] == {app_id: bls.hash_to_g1(identity_v1(app_id)).hex() for app_id in VECTORS["H1"]}


@pytest.mark.parametrize(
    ("message", "x"),
    [
        (
            b"",
            "052926add2207b76ca4fa57a8734416c8dc95e24501772c814278700eed6d1e4e8cf62d9c09db0fac349612b759e79a1",
        ),
        (
            b"abc",
            "03567bc5ef9c690c2ab2ecdf6a96ef1c139cc0b2f284dca0a9a7943388a49a3aee664ba5379a7655d3c68900be2f6903",
        ),
    ],
)
def test_rfc_9380_suite(backend: backends.Backends, message: bytes, x: str) -> None:
    """RFC 9380, appendix J.9.1: the suite with the RFC's own tag."""
    curve = backend.bls12381
    point = curve.hash_to_g1(message, b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_")
    encoding = curve.encode_g1(point)
    assert x == bytes([encoding[0] & 0x1F, *encoding[1:]]).hex()


@pytest.mark.usefixtures("backend")
def test_partial_signatures_and_application_key() -> None:
    """Partial signatures of four operators, and the application key from three of them."""
    signatures = [bls.partial_sign(share, identity_v1("test-app")) for share in FINAL_SHARES]
    assert VECTORS["partial_sigs_app_test-app"] == [signature.hex() for signature in signatures]
    key = bls.recover(XS[:3], signatures[:3])
    assert VECTORS["app_private_key_test-app"] == key.hex()
    assert bls.verify_app_key(identity_v1("test-app"), key, unhex(DKG["mpk_hex"]))


def test_pairing_of_the_generators(backend: backends.Backends) -> None:
    """The 576 bytes of e(G1, G2)."""
    curve = backend.bls12381
    assert VECTORS["gt_generator"]["e(G1,G2)_hex"] == curve.pairing_bytes(curve.g1, curve.g2).hex()


def test_ibe_shared_value(backend: backends.Backends) -> None:
    """G = e(H(app), MPK)^r in 576 bytes."""
    curve: Bls12381 = backend.bls12381
    masked = curve.secret_mul_g1(curve.hash_to_g1(b"test-app", DST), int(IBE["r_hex"], 16))
    value = curve.pairing_bytes(masked, curve.decode_g2(unhex(IBE["mpk_hex"])))
    assert IBE["gt_576_bytes_hex"] == value.hex()
    assert IBE["gt_sha256"] == hashlib.sha256(value).hexdigest()


@pytest.mark.usefixtures("backend")
def test_ibe_ciphertext() -> None:
    """Encrypting with the known randomness gives the known ciphertext, and the application key opens it."""
    fixed = {32: (int(IBE["r_hex"], 16) << 1).to_bytes(32, "big"), 12: unhex(IBE["nonce_hex"])}
    ciphertext = ibe.encrypt("test-app", unhex(IBE["mpk_hex"]), IBE["plaintext"].encode(), fixed.__getitem__)
    assert IBE["ciphertext_hex"] == ciphertext.hex()
    plaintext = ibe.decrypt("test-app", unhex(IBE["app_private_key_hex"]), ciphertext)
    assert IBE["plaintext"].encode() == plaintext


def test_genuine_ciphertext_parses(backend: backends.Backends) -> None:
    """A ciphertext made by the Go implementation and published on chain: header, lengths and a valid point."""
    known = VECTORS["genuine_ciphertext"]
    header = ibe.parse(unhex(known["encryptedEnv_hex"]))
    assert (known["encryptedEnv_C1_hex"], known["encryptedEnv_nonce_hex"]) == (
        header.c1.hex(),
        header.nonce.hex(),
    )
    assert known["encryptedEnv_len"] == header.plaintext_size + ibe.OVERHEAD
    curve = backend.bls12381
    assert header.c1 == curve.encode_g2(curve.decode_g2(header.c1))


@pytest.mark.usefixtures("backend")
def test_bn254_key_and_signature() -> None:
    """Public points and signature of a known key, and that they verify."""
    key = bn254.KeyPair.from_secret(unhex(BN["private_key_hex"]))
    digest = keccak256(BN["payload"].encode())
    assert BN["payload_keccak"] == digest.hex()
    assert BN["pubkey_g1_x"] + BN["pubkey_g1_y"] == key.g1.hex()
    assert BN["pubkey_g2_marshal_XA1_XA0_YA1_YA0"] == key.g2.hex()
    signature = bn254.sign(key, digest)
    assert BN["sig_64_bytes_hex"] == signature.hex()
    assert bn254.verify(digest, signature, key.g2)


def test_bn254_hash_to_g1(backend: backends.Backends) -> None:
    """EigenLayer's try-and-increment, with the root that it takes."""
    curve = backend.bn254
    hashed = curve.encode_g1(curve.hash_to_g1(unhex(BN["payload_keccak"])))
    assert BN["hash_point_x"] + BN["hash_point_y"] == hashed.hex()
