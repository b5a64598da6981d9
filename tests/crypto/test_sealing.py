"""Sealing for storage, answers to a lacking recipient, HPKE replies."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eigenkms.crypto import sealing
from eigenkms.errors import VerificationError
from tests.support.randomness import counter_rng

KEY = bytes(range(32))
PRIVATE, PUBLIC = sealing.x25519_keypair(counter_rng("recipient"))
LOW_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)

Opener = Callable[[bytes, bytes], bytes]


def sealed_for_storage() -> bytes:
    return sealing.seal(KEY, b"share", b"aad", counter_rng("s"))


def sealed_answer() -> bytes:
    return sealing.answer_seal(PUBLIC, b"share", b"aad", counter_rng("s"))


def sealed_reply() -> bytes:
    return sealing.hpke_seal(PUBLIC, b"info", b"aad", b"share")


CASES = {
    "storage": (sealed_for_storage, lambda sealed, aad: sealing.unseal(KEY, sealed, aad), 28),
    "answer": (sealed_answer, lambda sealed, aad: sealing.answer_open(PRIVATE, sealed, aad), 48),
    "reply": (sealed_reply, lambda sealed, aad: sealing.hpke_open(PRIVATE, b"info", aad, sealed), 48),
}


@pytest.mark.parametrize(("make", "open_", "overhead"), CASES.values(), ids=CASES.keys())
def test_sealed_bytes_open_unchanged_only(make: Callable[[], bytes], open_: Opener, overhead: int) -> None:
    """The plaintext comes back; with other aad, any changed byte, or cut at any place, an error and nothing
    else.
    """
    sealed = make()
    assert overhead + 5 == len(sealed)
    assert open_(sealed, b"aad") == b"share"
    wrong = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    wrong += [sealed[:i] for i in range(len(sealed))]
    for changed in [*wrong, sealed + b"\x00"]:
        with pytest.raises(VerificationError):
            open_(changed, b"aad")
    with pytest.raises(VerificationError):
        open_(sealed, b"other")


def test_another_key_does_not_open() -> None:
    """Neither another storage key nor another recipient's private key."""
    other, _ = sealing.x25519_keypair(counter_rng("other"))
    with pytest.raises(VerificationError):
        sealing.unseal(bytes(32), sealed_for_storage(), b"aad")
    with pytest.raises(VerificationError):
        sealing.answer_open(other, sealed_answer(), b"aad")
    with pytest.raises(VerificationError):
        sealing.hpke_open(other, b"info", b"aad", sealed_reply())
    with pytest.raises(VerificationError):
        sealing.hpke_open(PRIVATE, b"other info", b"aad", sealed_reply())


def test_info_and_aad_of_a_reply_are_delimited() -> None:
    """Bytes cannot move between them."""
    sealed = sealing.hpke_seal(PUBLIC, b"info", b"aad", b"m")
    with pytest.raises(VerificationError):
        sealing.hpke_open(PRIVATE, b"infoa", b"ad", sealed)


def test_answer_is_what_the_format_says() -> None:
    """E ‖ AES-256-GCM under the key that the format describes, nonce zero; anyone who knows the recipient's
    key can check.
    """
    sealed = sealed_answer()
    exchanged = X25519PrivateKey.from_private_bytes(PRIVATE).exchange(
        X25519PublicKey.from_public_bytes(sealed[:32])
    )
    key = HKDF(SHA256(), 32, None, b"eigenkms/answer/1" + sealed[:32] + PUBLIC).derive(exchanged)
    assert AESGCM(key).decrypt(bytes(12), sealed[32:], b"aad") == b"share"


def test_reply_is_rfc_9180() -> None:
    """HPKE base mode with empty aad, whose info is the length-prefixed info followed by our aad."""
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    private = X25519PrivateKey.from_private_bytes(PRIVATE)
    assert suite.decrypt(sealed_reply(), private, b"\x00\x00\x00\x04info" + b"aad") == b"share"


def test_every_answer_has_its_own_key() -> None:
    """Two answers of the same bytes share nothing, so the fixed nonce is used once a key."""
    rng = counter_rng("twice")
    first, second = (sealing.answer_seal(PUBLIC, b"m", b"", rng) for _ in range(2))
    assert first[:32] != second[:32]
    assert first[32:] != second[32:]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_points_are_refused(point: str) -> None:
    """A public key whose shared secret is known to all is refused by sealing and by opening (RFC 7748,
    6.1).
    """
    key = bytes.fromhex(point)
    with pytest.raises(VerificationError, match="low order"):
        sealing.answer_seal(key, b"m", b"", counter_rng("s"))
    with pytest.raises(VerificationError, match="low order"):
        sealing.answer_open(PRIVATE, key + bytes(30), b"")
    with pytest.raises(VerificationError, match="low order"):
        sealing.hpke_seal(key, b"", b"", b"m")
    with pytest.raises(VerificationError):
        sealing.hpke_open(PRIVATE, b"", b"", key + bytes(30))


def test_key_lengths_are_checked() -> None:
    """Our own keys of a wrong length are programming errors; those that come from others fail verification."""
    with pytest.raises(ValueError, match="sealing key has 16 bytes"):
        sealing.seal(bytes(16), b"", b"", counter_rng("s"))
    with pytest.raises(ValueError, match="32"):
        sealing.x25519_public(bytes(31))
    with pytest.raises(VerificationError, match="private key has 31 bytes"):
        sealing.answer_open(bytes(31), sealed_answer(), b"aad")
    with pytest.raises(VerificationError, match="not 32 bytes"):
        sealing.answer_seal(bytes(31), b"", b"", counter_rng("s"))
    with pytest.raises(VerificationError, match="not 32 bytes"):
        sealing.hpke_seal(bytes(31), b"", b"", b"")


def test_hkdf_known_answer() -> None:
    """RFC 5869, test case 1, its first 32 bytes."""
    okm = sealing.derive_key(b"\x0b" * 22, bytes(range(0xF0, 0xFA)), bytes(range(13)))
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_x25519_known_answer() -> None:
    """RFC 7748, section 6.1: Alice's key pair."""
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert public == sealing.x25519_public(private).hex()
