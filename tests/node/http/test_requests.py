"""Bodies from strangers: read as documented, or refused with a sentence; never anything else."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.attestation import ecdsa
from eigenkms.node.http.requests import (
    BadRequestError,
    SignRequest,
    read_rsa_key,
    read_secrets_request,
    read_sign_request,
)
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Authorisation
from tests.node.http.support import ReferenceClient, b64, pem_of, rsa_private

CLIENT = ReferenceClient(extra_data=b"extra")
SPELLED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
GOOD = CLIENT.request("gcp", b"token", 7)


def refusal(read: Callable[[bytes], object], body: bytes) -> str:
    with pytest.raises(BadRequestError) as error:
        read(body)
    return str(error.value)


def test_a_request_is_read_field_by_field() -> None:
    """What is binary is base64 there; the reply key stays the text that was sent."""
    found = read_secrets_request(json.dumps(GOOD).encode())
    assert (found.app_id, found.attestation_time, found.ciphertext_version) == (CLIENT.app_id, 7, 1)
    assert (found.reply_key, found.extra_data, found.is_for_stack) == (CLIENT.pem, b"extra", False)
    assert found.authorisation == Authorisation("gcp", b"token").encoded
    assert found.reference_nonce == CLIENT.nonce
    assert found.rsa_key.public_numbers() == CLIENT.key.public_key().public_numbers()


def test_what_is_unknown_is_passed_over_and_null_is_missing() -> None:
    """As Go reads and writes it; other cases are other names."""
    more = {**GOOD, "stack_id": None, "challenge": None, "cc_init_data": None, "App_ID": 1, "z": [{"y": {}}]}
    found = read_secrets_request(json.dumps(more).encode())
    assert (found.app_id, found.is_for_stack) == (CLIENT.app_id, False)


def test_the_references_signed_text_is_evidence_of_version_1() -> None:
    """Three fields become one; without them it is evidence as it stands. No nonce of tokens goes with it."""
    parts = {"challenge": b64(b"1-ab"), "public_key": b64(b"\x04" * 65)}
    found = read_secrets_request(json.dumps(CLIENT.request("ecdsa", b"s" * 65, **parts)).encode())
    assert found.evidence == ecdsa.encode_reference_evidence("1-ab", b"\x04" * 65, b"s" * 65)
    assert found.reference_nonce is None
    own = read_secrets_request(json.dumps(CLIENT.request("ecdsa", b"evidence")).encode())
    assert own.evidence == b"evidence"


@pytest.mark.parametrize(("version", "key_id"), [(1, SPELLED), (2, SPELLED.lower())])
def test_version_1_of_an_address_is_hashed_as_it_was_sent(version: int, key_id: str) -> None:
    """As the reference does; evidence is about what was sent in any case."""
    found = read_secrets_request(
        json.dumps({**GOOD, "app_id": SPELLED, "ciphertext_version": version}).encode()
    )
    assert (found.app_id, found.key_id) == (SPELLED, key_id)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no application": ({"app_id": None}, "app_id is missing"),
    "short application": ({"app_id": "abcd"}, "app_id is missing, or not 5 to 1024 bytes"),
    "long application": ({"app_id": "ä" * 513}, "not 5 to 1024 bytes"),
    "wrong checksum": (
        {"app_id": SPELLED.replace("a", "A", 1)},
        r"app_id is an address with a wrong checksum \(EIP-55\)",
    ),
    "application that is no text": ({"app_id": 12345}, "app_id is not a string"),
    "half a character": ({"app_id": "\ud800abcde"}, "app_id is not Unicode"),
    "no method": ({"attestation_method": ""}, "attestation_method is missing"),
    "long method": ({"attestation_method": "g" * 33}, "attestation_method is missing, or too long"),
    "no attestation": ({"attestation": ""}, "attestation is missing"),
    "attestation that is too large for anybody": (
        {"attestation": b64(bytes(256 * 1024 + 3))},
        "attestation is larger than 262144 bytes",
    ),
    "attestation that is too large for all methods": (
        {"attestation": b64(bytes(61_441))},
        "larger than any that is accepted",
    ),
    "base64 of URLs": ({"attestation": "__-_"}, "attestation is not base64"),
    "base64 without padding": ({"attestation": "YQ"}, "attestation is not base64"),
    "base64 with spaces": ({"attestation": "YW Jj"}, "attestation is not base64"),
    "base64 that is not ASCII": ({"attestation": "ä"}, "attestation is not base64"),
    "large extra data": ({"extra_data": b64(bytes(2**20 + 2))}, "extra_data is larger than 1048576"),
    "large init data": ({"cc_init_data": b64(bytes(2**20 + 2))}, "cc_init_data is larger than 1048576"),
    "time before 1970": ({"attestation_time": -1}, "attestation_time is not in 0"),
    "time after all": ({"attestation_time": 2**63}, "attestation_time is not in 0"),
    "half a second": ({"attestation_time": 1.5}, "attestation_time is not an integer"),
    "true time": ({"attestation_time": True}, "attestation_time is not an integer"),
    "text for a time": ({"attestation_time": "7"}, "attestation_time is not an integer"),
    "unknown version": ({"ciphertext_version": 3}, "ciphertext_version is not one of 1, 2"),
    "stack that is no text": ({"stack_id": 1}, "stack_id is not a string"),
    "no key": ({"rsa_pubkey_tmp": ""}, "not one PEM block"),
    "large key": ({"rsa_pubkey_tmp": b64(bytes(8193))}, "larger than 8192"),
    "challenge that is no ASCII": (
        {"attestation_method": "ecdsa", "challenge": b64(b"\xff")},
        "challenge is not ASCII",
    ),
    "large challenge": ({"challenge": b64(bytes(260))}, "challenge is larger than 256"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_field_that_is_wrong_is_named(case: str) -> None:
    """And its value is not repeated."""
    change, says = WRONG[case]
    with pytest.raises(BadRequestError, match=says) as error:
        read_secrets_request(json.dumps({**GOOD, **change}).encode())
    assert len(str(error.value)) < 120


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"app_id":"abcde"} x',
        b'{"a":1,"a":1}',
        b'{"z":{"a":1,"a":1}}',
        b'{"a":NaN}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe{}",
        b'{"a":"\xff"}',
    ],
)
@pytest.mark.parametrize("read", [read_secrets_request, read_sign_request])
def test_what_is_not_one_json_object_is_refused(read: Callable[[bytes], object], body: bytes) -> None:
    """Also what is nested deeply, says something twice, or is not UTF-8."""
    assert refusal(read, body).startswith("the body is not")


def test_a_request_to_sign_is_read() -> None:
    """The time may be missing."""
    assert read_sign_request(b'{"AppID":"my-app","AttestationTime":5}') == SignRequest(AppId("my-app"), 5)
    assert read_sign_request(b'{"AppID":"my-app"}') == SignRequest(AppId("my-app"), 0)
    assert refusal(read_sign_request, b'{"app_id":"my-app"}').startswith("AppID is missing")
    assert refusal(read_sign_request, b'{"AppID":"my-app","AttestationTime":"5"}').startswith(
        "AttestationTime"
    )


# -- RSA keys


def _pem(body: bytes, name: str = "PUBLIC KEY") -> bytes:
    encoded = base64.encodebytes(body)
    return b"-----BEGIN " + name.encode() + b"-----\n" + encoded + b"-----END " + name.encode() + b"-----\n"


def _der(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def test_keys_of_the_usual_sizes_are_taken() -> None:
    """2048 bits and more, with either kind of line ends, and with none at the end."""
    for key in (rsa_private(), rsa_private(3072), rsa_private(2048, 3)):
        assert read_rsa_key(pem_of(key)).public_numbers() == key.public_key().public_numbers()
    read_rsa_key(CLIENT.pem.replace(b"\n", b"\r\n"))
    read_rsa_key(CLIENT.pem.rstrip())


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (lambda: pem_of(rsa_private(1024)), "has 1024 bits"),
        (lambda: pem_of(rsa_private(2040)), "has 2040 bits"),
        (lambda: pem_of(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (lambda: pem_of(ed25519.Ed25519PrivateKey.generate()), "not an RSA key"),
        (
            lambda: rsa_private().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            "not one PEM block PUBLIC KEY",
        ),
        (lambda: _der(rsa_private()), "not one PEM block"),
        (lambda: CLIENT.pem + CLIENT.pem, "not one PEM block"),
        (lambda: b"x" + CLIENT.pem, "not one PEM block"),
        (lambda: CLIENT.pem + b"x", "not one PEM block"),
        (lambda: CLIENT.pem.replace(b"PUBLIC", b"PRIVATE"), "not one PEM block"),
        (lambda: CLIENT.pem[:-40], "not one PEM block"),
        (lambda: _pem(_der(rsa_private()), "RSA PUBLIC KEY"), "not one PEM block"),
        (lambda: _pem(_der(rsa_private()) + b"\x00"), "not a public key"),
        (lambda: _pem(_der(rsa_private())[:-1]), "not a public key"),
        (lambda: _pem(b"\x30\x00"), "not a public key"),
        (lambda: _pem(_with_exponent(2**33 + 1)), "exponent of more than 32 bits"),
        (lambda: _pem(_with_exponent(4)), "not a public key"),
        (lambda: _pem(_with_exponent(1)), "not a public key"),
        (lambda: _pem(_with_modulus(2**9000 + 1)), "has 9001 bits"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(pem: Callable[[], bytes], says: str) -> None:
    """Too small or large, of another kind, in another form, or malformed."""
    with pytest.raises(BadRequestError, match=says):
        read_rsa_key(pem())


def _with_exponent(exponent: int) -> bytes:
    return _spki(rsa_private().public_key().public_numbers().n, exponent)


def _with_modulus(modulus: int) -> bytes:
    return _spki(modulus, 65537)


def _spki(n: int, e: int) -> bytes:
    """SubjectPublicKeyInfo by hand (RFC 8017 A.1, RFC 5280 4.1), for keys that no library makes."""

    def tlv(tag: int, value: bytes) -> bytes:
        size = len(value)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + value

    def integer(value: int) -> bytes:
        return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    algorithm = tlv(0x30, bytes.fromhex("06092a864886f70d010101") + b"\x05\x00")
    key = tlv(0x30, integer(n) + integer(e))
    return tlv(0x30, algorithm + tlv(3, b"\x00" + key))


# -- rubbish

TEXT = st.text(st.characters(max_codepoint=0x17F) | st.sampled_from("\ud800\U0001f600\x00"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def _reads(read: Callable[[bytes], object], body: bytes) -> bool:
    try:
        read(body)
    except BadRequestError:
        return False
    return True


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Nothing else is raised."""
    for read in (read_secrets_request, read_sign_request, read_rsa_key):
        _reads(read, body)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON, max_size=3))
def test_any_values_are_read_or_refused(changes: dict[str, Any]) -> None:
    """In any field of a good request."""
    _reads(read_secrets_request, json.dumps({**GOOD, **changes}).encode(errors="surrogatepass"))


@given(st.integers(min_value=0, max_value=len(CLIENT.pem) - 1), st.integers(min_value=0, max_value=255))
def test_a_key_with_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    """Nothing else is raised."""
    _reads(read_rsa_key, CLIENT.pem[:place] + bytes([value]) + CLIENT.pem[place + 1 :])
