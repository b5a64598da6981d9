"""Decoding of request bodies, which are the reference's JSON (docs/http.md).

They are read strictly: sizes, base64, types, and names that stand twice. Clients in Go write them, so names are taken exactly,
unknown ones are passed over, and null counts as missing.
"""

import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from eigenkms import bounded_json
from eigenkms.attestation import ecdsa
from eigenkms.crypto import ibe_identities
from eigenkms.crypto.app_ids import canonical
from eigenkms.errors import InputError
from eigenkms.types import AppId, ExactAppId
from eigenkms.wire.authorisation import MAX_EVIDENCE_BYTES, MAX_METHOD_CHARACTERS, Authorisation
from eigenkms.wire.client_rpc import MAX_APP_ID_BYTES, MIN_APP_ID_BYTES

MAX_SIGN_BODY: Final = 16 * 1024
MAX_SECRETS_BODY: Final = 2 * 1024 * 1024
MAX_RSA_BYTES: Final = 8192
MAX_ATTESTATION_BYTES: Final = 256 * 1024
MAX_EXTRA_BYTES: Final = 1024 * 1024
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_RSA_EXPONENT: Final = 2**32 - 1
"""A larger one costs us as much as a private key costs its owner."""
_PEM: Final = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\r?\n[A-Za-z0-9+/=\r\n]+\n-----END PUBLIC KEY-----\s*", re.ASCII
)


class BadRequestError(Exception):
    """A body that the API does not accept; the message is for its sender."""


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A request ``POST /app/sign``.

    It shows no right, and names no key to seal to.
    """

    app_id: AppId
    attestation_time: int
    reply_key: bytes = b""
    authorisation: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsRequest:
    """A request ``POST /secrets``.

    ``app_id`` is spelt as it was sent, as evidence names that spelling. ``reply_key`` is the PEM text of ``rsa_key`` as it was
    sent. ``authorisation`` has the encoding that it has through libp2p.
    """

    app_id: AppId
    ciphertext_version: int
    attestation_time: int
    is_for_stack: bool
    method: str
    evidence: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)
    rsa_key: RSAPublicKey = field(repr=False)
    extra_data: bytes = field(repr=False)

    @property
    def key_id(self) -> AppId:
        """The id that the key is derived from.

        For ciphertext version 1 it is the id as it was sent, as the reference hashes that. Else it is the canonical spelling.
        """
        return self.app_id if self.ciphertext_version == 1 else canonical(str(self.app_id))

    @property
    def authorisation(self) -> bytes:
        return Authorisation(self.method, self.evidence).encoded

    @property
    def reference_nonce(self) -> str | None:
        """The nonce of a token by the reference's clients, None for a signature.

        It is the hex SHA-256 of the PEM text, followed by the extra data.
        """
        if self.method == ecdsa.NAME:
            return None
        return hashlib.sha256(self.reply_key + self.extra_data).hexdigest()


def read_sign_request(body: bytes) -> SignRequest:
    """Decode the body of ``POST /app/sign``. Raises ``BadRequestError``."""
    fields = _Fields(body)
    return SignRequest(_app_id(fields, "AppID"), fields.integer("AttestationTime"))


def read_secrets_request(body: bytes) -> SecretsRequest:
    """Decode the body of ``POST /secrets``.

    Takes milliseconds for a large body. Raises ``BadRequestError``.
    """
    fields = _Fields(body)
    app_id = _app_id(fields, "app_id")
    method = fields.text("attestation_method")
    if not 1 <= len(method) <= MAX_METHOD_CHARACTERS:
        _bad("attestation_method is missing, or too long")
    reply_key = fields.binary("rsa_pubkey_tmp", MAX_RSA_BYTES)
    extra_data = fields.binary("extra_data", MAX_EXTRA_BYTES)
    fields.binary("cc_init_data", MAX_EXTRA_BYTES)  # of a method that this network does not have
    version = fields.integer("ciphertext_version", default=1)
    if version not in ibe_identities.VERSIONS:
        _bad(f"ciphertext_version is not one of {', '.join(map(str, ibe_identities.VERSIONS))}")
    return SecretsRequest(
        app_id=app_id,
        ciphertext_version=version,
        attestation_time=fields.integer("attestation_time"),
        is_for_stack=bool(fields.text("stack_id")),
        method=method,
        evidence=_evidence(fields, method),
        reply_key=reply_key,
        rsa_key=read_rsa_key(reply_key),
        extra_data=extra_data,
    )


def read_rsa_key(pem: bytes) -> RSAPublicKey:
    """Decode an RSA key from one PEM block "PUBLIC KEY" (PKIX).

    Raises ``BadRequestError``, also for a key that is too small or costs too much to use.
    """
    if not _PEM.fullmatch(pem):
        _bad("rsa_pubkey_tmp is not one PEM block PUBLIC KEY")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        _bad("rsa_pubkey_tmp is not a public key")
    if not isinstance(key, RSAPublicKey):
        _bad("rsa_pubkey_tmp is not an RSA key")
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        _bad(f"rsa_pubkey_tmp has {key.key_size} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    if key.public_numbers().e > MAX_RSA_EXPONENT:
        _bad("rsa_pubkey_tmp has an exponent of more than 32 bits")
    return key


def _evidence(fields: "_Fields", method: str) -> bytes:
    """Return the evidence in the encoding of ``method``.

    The reference's clients send a signed text in three fields. Raises ``BadRequestError``.
    """
    attestation = fields.binary("attestation", MAX_ATTESTATION_BYTES)
    challenge, key = fields.binary("challenge", 256), fields.binary("public_key", 256)
    if not attestation:
        _bad("attestation is missing")
    if method == ecdsa.NAME and (challenge or key):
        try:
            text = challenge.decode("ascii")
        except UnicodeDecodeError:
            _bad("challenge is not ASCII text")
        return ecdsa.encode_reference_evidence(text, key, attestation[:MAX_EVIDENCE_BYTES])
    if len(attestation) > MAX_EVIDENCE_BYTES:
        _bad(f"attestation is larger than any that is accepted, {MAX_EVIDENCE_BYTES} bytes")
    return attestation


def _app_id(fields: "_Fields", name: str) -> AppId:
    app_id = fields.text(name)
    if not MIN_APP_ID_BYTES <= len(app_id.encode()) <= MAX_APP_ID_BYTES:
        _bad(f"{name} is missing, or not {MIN_APP_ID_BYTES} to {MAX_APP_ID_BYTES} bytes")
    try:
        canonical(app_id)
    except InputError:
        _bad(f"{name} is an address with a wrong checksum (EIP-55)")
    return ExactAppId(app_id)


class _Fields:
    """The members of a JSON object."""

    def __init__(self, body: bytes) -> None:
        try:
            value = bounded_json.loads_strict(body, max_depth=16)
        except ValueError:
            _bad("the body is not JSON, or says something twice")
        if not isinstance(value, dict):
            _bad("the body is not a JSON object")
        self._value: dict[str, Any] = value

    def _get(self, name: str, kind: type, default: Any, article: str) -> Any:
        value = self._value.get(name)
        if value is None:
            return default
        if type(value) is not kind:
            _bad(f"{name} is not {article}")
        return value

    def text(self, name: str) -> str:
        found: str = self._get(name, str, "", "a string")
        try:
            found.encode()
        except UnicodeEncodeError:
            _bad(f"{name} is not Unicode text")
        return found

    def integer(self, name: str, default: int = 0) -> int:
        found: int = self._get(name, int, default, "an integer")
        if not 0 <= found < 2**63:
            _bad(f"{name} is not in 0..2^63-1")
        return found

    def binary(self, name: str, limit: int) -> bytes:
        text = self.text(name)
        try:
            decoded = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:  # binascii.Error, or text that is not ASCII
            _bad(f"{name} is not base64 (standard alphabet, padded)")
        if len(decoded) > limit:
            _bad(f"{name} is larger than {limit} bytes")
        return decoded


def _bad(why: str) -> NoReturn:
    raise BadRequestError(why)
