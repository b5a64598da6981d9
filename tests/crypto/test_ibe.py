"""Identity-based encryption: round trips, and every way in which a ciphertext or key can be wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import bls, feldman, ibe
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G2_INFINITY, InvalidPoint
from eigenkms.crypto.ibe_identities import identity_v1
from eigenkms.errors import InputError, VerificationError
from tests.crypto.support import counter_rng, scalar
from tests.support.toy_backend import toy_crypto

APP = "an application"
MASTER = scalar("master")


def keys(app_id: str = APP) -> tuple[bytes, bytes]:
    """Master public key and the application's key."""
    return feldman.public_share_of(MASTER), bls.partial_sign(MASTER, identity_v1(app_id))


@pytest.mark.usefixtures("fast_backend")
def test_what_is_encrypted_can_be_decrypted() -> None:
    """With the application's key, the plaintext comes back; the overhead is 128 bytes."""
    mpk, key = keys()
    ciphertext = ibe.encrypt(APP, mpk, b"secret", counter_rng("e"))
    assert 128 == ibe.OVERHEAD == len(ciphertext) - len(b"secret")
    assert ibe.decrypt(APP, key, ciphertext) == b"secret"


@settings(max_examples=50, derandomize=True)
@given(plaintext=st.binary(max_size=2000), app_id=st.text(st.characters(codec="utf-8"), min_size=5))
def test_round_trip_of_anything(plaintext: bytes, app_id: str) -> None:
    """Any plaintext, the empty one included, and any application id of at least five bytes."""
    with toy_crypto():
        mpk, key = keys(app_id)
        ciphertext = ibe.encrypt(app_id, mpk, plaintext, counter_rng("e"))
        assert plaintext == ibe.decrypt(app_id, key, ciphertext)
        assert len(plaintext) == ibe.parse(ciphertext).plaintext_size


@pytest.mark.usefixtures("fast_backend")
def test_another_key_or_application_does_not_open() -> None:
    """The error says what to check, and is an error of verification."""
    mpk, key = keys()
    ciphertext = ibe.encrypt(APP, mpk, b"secret", counter_rng("e"))
    for app_id, wrong in (
        (APP, keys("other app")[1]),
        ("other app", key),
        (APP, BLS_G1_INFINITY),
        (APP, b"junk"),
    ):
        with pytest.raises(VerificationError, match="does not open this ciphertext") as caught:
            ibe.decrypt(app_id, wrong, ciphertext)
        assert caught.value.hint


def test_every_flipped_bit_is_noticed() -> None:
    """Behind the version byte, no bit of a ciphertext can change unnoticed."""
    mpk, key = keys()
    ciphertext = ibe.encrypt(APP, mpk, b"secret", counter_rng("e"))
    for i in [*range(4, 116, 5), *range(100, len(ciphertext))]:
        changed = ciphertext[:i] + bytes([ciphertext[i] ^ 1 << i % 8]) + ciphertext[i + 1 :]
        with pytest.raises(VerificationError):
            ibe.decrypt(APP, key, changed)


@pytest.mark.usefixtures("fast_backend")
def test_first_point_at_infinity_is_refused() -> None:
    """It would make the shared value known to everybody."""
    mpk, key = keys()
    ciphertext = ibe.encrypt(APP, mpk, b"secret", counter_rng("e"))
    with pytest.raises(VerificationError):
        ibe.decrypt(APP, key, ciphertext[:4] + BLS_G2_INFINITY + ciphertext[100:])


@pytest.mark.parametrize(
    ("ciphertext", "reason"),
    [
        (b"", "does not begin with IBE"),
        (b"PK\x03\x04" + bytes(200), "does not begin with IBE"),
        (b"IBE", "3 bytes, but the shortest has 128"),
        (b"IBE\x01" + bytes(123), "127 bytes, but the shortest has 128"),
        (b"IBE\x02" + bytes(200), "version 2 is not known"),
        (b"IBE\x00", "version 0 is not known"),
    ],
)
def test_what_is_not_a_ciphertext_is_an_input_error(ciphertext: bytes, reason: str) -> None:
    """A file that is something else, cut, or of another version is told apart from a wrong key."""
    for read in (ibe.parse, lambda c: ibe.decrypt(APP, keys()[1], c)):
        with pytest.raises(InputError, match=reason):
            read(ciphertext)


def test_header_is_read_without_a_key() -> None:
    """Version, point, nonce and size, as they stand in the ciphertext."""
    ciphertext = ibe.encrypt(APP, keys()[0], b"12345", counter_rng("e"))
    expected = ibe.CiphertextHeader(1, ciphertext[4:100], ciphertext[100:112], 5)
    assert expected == ibe.parse(ciphertext)


@pytest.mark.parametrize("app_id", ["", "four", "é1"])
def test_short_application_id_is_refused(app_id: str) -> None:
    """At least five bytes of UTF-8, for encryption and for decryption."""
    mpk, key = keys(APP)
    with pytest.raises(InputError, match="fewer than 5"):
        ibe.encrypt(app_id, mpk, b"", counter_rng("e"))
    with pytest.raises(InputError, match="fewer than 5"):
        ibe.decrypt(app_id, key, bytes(200))


def test_five_bytes_are_counted_in_utf_8() -> None:
    """Bytes count, not characters."""
    assert ibe.encrypt("éé1", keys()[0], b"", counter_rng("e"))


@pytest.mark.parametrize("mpk", [BLS_G2_INFINITY, b"", b"\xff" * 96])
def test_malformed_master_key_is_refused(mpk: bytes) -> None:
    """Nothing is encrypted to a key that is not a point, or to which everybody has the secret."""
    with pytest.raises(InvalidPoint):
        ibe.encrypt(APP, mpk, b"secret", counter_rng("e"))


def test_too_large_plaintext_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is told before anything is computed."""
    monkeypatch.setattr(ibe, "MAX_PLAINTEXT", 10)
    with pytest.raises(InputError, match="plaintext has 11 bytes, more than 10"):
        ibe.encrypt(APP, keys()[0], bytes(11), counter_rng("e"))
