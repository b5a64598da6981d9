"""The reference's client in Python, written from its published behaviour; it uses nothing of eigenkms.

Discovery by calls at ``latest``, a GET or POST at ``socket + path`` for each operator, the vote on the master public key with its
fallback, and recovery by trying t-subsets. Each step that fails raises ``GoClientError`` with the words of the reference's error.
The curve is of arkworks, keccak of ``eth_utils``, signatures of coincurve.
"""

import base64
import hashlib
import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any, Final
from urllib.parse import urlsplit

import coincurve
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_utils import keccak
from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from tests.support.waiting import PATIENCE

GET_MEMBERS, GET_REGISTRAR, GET_SOCKET = "6e875dba", "304c10cd", "8481931d"
ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
DST: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
G2_GENERATOR: Final = G2Point()
MAX_SUBSETS: Final = 1000


class GoClientError(Exception):
    """An error of the reference's client."""


@dataclass(frozen=True)
class Operator:
    """An operator as the chain has it: 20 bytes, and the socket unparsed."""

    address: bytes
    socket: str


@dataclass
class GoClient:
    """The client of one operator set. ``trust`` has the authorities of TLS."""

    rpc_url: str
    allocation_manager: bytes
    avs: bytes
    operator_set_id: int = 0
    trust: ssl.SSLContext | None = None
    warnings: list[str] = field(default_factory=list)
    """What the reference logs of operators that it passes over."""

    # -- discovery

    def operators(self) -> list[Operator]:
        """Return all members, in the chain's order; one that cannot be read fails them all."""
        which = _word(self.avs) + _word(self.operator_set_id)
        answer = self._eth_call(self.allocation_manager, GET_MEMBERS, which)
        count = int.from_bytes(answer[32:64], "big")
        members = [answer[64 + 32 * i + 12 : 96 + 32 * i] for i in range(count)]
        if not members:
            raise GoClientError("no operators found")
        return [Operator(member, self._socket_of(member)) for member in members]

    def _socket_of(self, member: bytes) -> str:
        registrar = self._eth_call(self.allocation_manager, GET_REGISTRAR, _word(self.avs))[12:32]
        answer = self._eth_call(registrar, GET_SOCKET, _word(member))
        size = int.from_bytes(answer[32:64], "big")
        return answer[64 : 64 + size].decode()

    def _eth_call(self, to: bytes, selector: str, arguments: bytes) -> bytes:
        call = {"to": "0x" + to.hex(), "data": "0x" + selector + arguments.hex()}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
        request = urllib.request.Request(
            self.rpc_url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            said = json.load(answer)
        if "error" in said:
            raise GoClientError(f"failed to get operators from chain: {said['error']}")
        return bytes.fromhex(said["result"][2:])

    # -- HTTP

    def _fetch(self, operator: Operator, path: str, body: object = None) -> dict[str, Any] | None:
        """Return the JSON of ``socket + path``; None, with a warning, for anything but 200."""
        url, data = operator.socket + path, None if body is None else json.dumps(body).encode()
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https"):  # net/http, Transport.RoundTrip
            self.warnings.append(f'unsupported protocol scheme "{scheme}"')
            return None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.trust) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as refusal:
            with refusal:
                self.warnings.append(f"status {refusal.code}: {refusal.read(1000).decode()}")
        except OSError as error:
            self.warnings.append(str(error))
        return None

    # -- the master public key

    def master_public_key(self, operators: Sequence[Operator]) -> G2Point:
        """Return the key that t of the operators state, else the sum of the first commitments of all that answer."""
        answers = [self._fetch(operator, "/pubkey") for operator in operators]
        usable = [said for said in answers if said and said["isActive"] and said["commitments"]]
        if not usable:
            raise GoClientError("failed to collect commitments from any operator")
        votes = [_point(said["masterPublicKey"]) for said in usable if said.get("masterPublicKey")]
        t = threshold(len(operators))
        if len(votes) >= t:
            for vote in set(votes):
                if votes.count(vote) >= t:
                    return G2Point.from_compressed_bytes(vote)
            raise GoClientError("failed to reach threshold agreement on master public key")
        return sum_of_commitments(usable)

    def encrypt(self, app_id: str, plaintext: bytes) -> str:
        """Return the ciphertext as the client writes it to a file: ``0x`` and hexadecimal digits."""
        return "0x" + encrypt_for_app(app_id, self.master_public_key(self.operators()), plaintext).hex()

    # -- decryption

    def decrypt(self, app_id: str, ciphertext: str) -> bytes:
        """Decrypt the text of a file by ``/app/sign``."""
        content, operators = bytes.fromhex(ciphertext.strip().removeprefix("0x")), self.operators()
        partials = {}
        for operator in operators:
            said = self._fetch(operator, "/app/sign", {"AppID": app_id, "AttestationTime": 0})
            if said and said["OperatorAddress"].lower() == "0x" + operator.address.hex():
                partials[operator.address] = _g1(_point(said["PartialSignature"]))
        key, opened = self._recover(
            partials, threshold(len(operators)), lambda k: open_or_none(app_id, k, content)
        )
        assert key is not None
        return opened

    def _recover(
        self, partials: Mapping[bytes, G1Point], t: int, accept: Callable[[G1Point], bytes | None]
    ) -> tuple[G1Point, bytes]:
        """Return the first key of a t-subset that ``accept`` takes, and what it returned."""
        if len(partials) < t:
            raise GoClientError(f"insufficient partial signatures: collected {len(partials)}, needed {t}")
        for chosen in islice(combinations(sorted(partials), t), MAX_SUBSETS):
            key = interpolate({member: partials[member] for member in chosen})
            if (found := accept(key)) is not None:
                return key, found
        raise GoClientError("failed to recover valid app private key")

    # -- attested secrets

    def retrieve_secrets(
        self, app_id: str, request: Mapping[str, Any], opener: rsa.RSAPrivateKey
    ) -> tuple[bytes, str]:
        """Return the opened environment, and the public one, by ``/secrets`` with one request to all operators."""
        operators = self.operators()
        answers = {operator.address: self._fetch(operator, "/secrets", request) for operator in operators}
        usable = {address: said for address, said in answers.items() if said}
        t = threshold(len(operators))
        if len(usable) < t:
            raise GoClientError(f"insufficient responses: got {len(usable)}, need {t}: {self.warnings[-2:]}")
        environments = {said["encrypted_env"] for said in usable.values()}
        if len(environments) != 1:
            raise GoClientError("environment data mismatch")
        partials = {
            address: _g1(open_partial(opener, said["encrypted_partial_sig"]))
            for address, said in usable.items()
        }
        mpk = self.master_public_key(operators)
        key, _ = self._recover(partials, t, lambda k: b"" if verifies(app_id, k, mpk) else None)
        opened = open_or_none(app_id, key, bytes.fromhex(environments.pop()))
        if opened is None:
            raise GoClientError("failed to decrypt the environment")
        return opened, next(iter(usable.values()))["public_env"]


def ecdsa_request(
    app_id: str, creator: coincurve.PrivateKey, opener: rsa.RSAPrivateKey, now: int
) -> dict[str, Any]:
    """Return the request for secrets that the creator's signature proves."""
    public = creator.public_key.format(compressed=False)
    challenge = f"{now}-{secrets.token_hex(32)}"
    digest = keccak(f"{app_id}-{challenge}-{public.hex()}".encode())
    pem = opener.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "app_id": app_id,
        "attestation_method": "ecdsa",
        "attestation": _b64(creator.sign_recoverable(digest, hasher=None)),
        "challenge": _b64(challenge.encode()),
        "public_key": _b64(public),
        "rsa_pubkey_tmp": _b64(pem),
        "attestation_time": now,
    }


def token_request(app_id: str, token: Callable[[str], bytes], opener: rsa.RSAPrivateKey, now: int) -> Any:
    """Return the request for secrets with a token for the nonce of the RSA key."""
    pem = opener.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "app_id": app_id,
        "attestation_method": "gcp",
        "attestation": _b64(token(hashlib.sha256(pem).hexdigest())),
        "rsa_pubkey_tmp": _b64(pem),
        "attestation_time": now,
    }


# -- mathematics


def threshold(n: int) -> int:
    """Return how many operators are needed of ``n``, those of the present set."""
    return (2 * n + 2) // 3


def sum_of_commitments(answers: Sequence[Mapping[str, Any]]) -> G2Point:
    """Return the sum of the first commitments of however few answers."""
    total = G2Point.identity()
    for said in answers:
        total += G2Point.from_compressed_bytes(_point(said["commitments"][0]))
    if total == G2Point.identity():
        raise GoClientError("computed master public key is zero")
    return total


def interpolate(partials: Mapping[bytes, G1Point]) -> G1Point:
    """Return the value at zero, by Lagrange coefficients of the addresses."""
    total = G1Point.identity()
    for address, partial in partials.items():
        total += partial * Scalar(_coefficient(address, list(partials)))
    if total == G1Point.identity():
        raise GoClientError("recovered app private key is zero")
    return total


def _coefficient(address: bytes, chosen: Sequence[bytes]) -> int:
    own, product = _coordinate(address), 1
    for x in (_coordinate(other) for other in chosen if other != address):
        product = product * -x * pow(own - x, -1, ORDER) % ORDER
    return product


def _coordinate(address: bytes) -> int:
    return int.from_bytes(keccak(address), "big") % ORDER


def hash_to_g1(app_id: str) -> G1Point:
    """Return the identity's point."""
    return G1Point.hash_to_curve(app_id.encode(), DST)


def verifies(app_id: str, key: G1Point, mpk: G2Point) -> bool:
    """Return whether ``key`` is the application's key under this master public key."""
    return GT.pairing(key, G2_GENERATOR) == GT.pairing(hash_to_g1(app_id), mpk)


def encrypt_for_app(app_id: str, mpk: G2Point, plaintext: bytes) -> bytes:
    """Return a ciphertext of version 1."""
    if mpk == G2Point.identity():
        raise GoClientError("invalid master public key: zero/infinity point")
    r = Scalar(1 + secrets.randbelow(ORDER - 1))
    c1, nonce = (G2_GENERATOR * r).to_compressed_bytes(), secrets.token_bytes(12)
    shared = GT.pairing(hash_to_g1(app_id) * r, mpk)
    body = AESGCM(_symmetric_key(app_id, shared)).encrypt(nonce, plaintext, app_id.encode() + b"\1" + c1)
    return b"IBE\1" + c1 + nonce + body


def open_or_none(app_id: str, key: G1Point, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, None if the key does not open the ciphertext."""
    if len(ciphertext) < 128 or not ciphertext.startswith(b"IBE\1"):
        raise GoClientError("invalid ciphertext")
    c1, nonce, body = ciphertext[4:100], ciphertext[100:112], ciphertext[112:]
    shared = GT.pairing(key, G2Point.from_compressed_bytes(c1))
    try:
        return AESGCM(_symmetric_key(app_id, shared)).decrypt(nonce, body, app_id.encode() + b"\1" + c1)
    except InvalidTag:
        return None


def _symmetric_key(app_id: str, shared: GT) -> bytes:
    salt, info = b"eigenx-kms-go-ibe-encryption", b"IBE-encryption|v1|" + app_id.encode()
    return HKDF(SHA256(), 32, salt, info).derive(bytes.fromhex(str(shared))[::-1])


def open_partial(opener: rsa.RSAPrivateKey, sealed: str) -> bytes:
    """Return the 48 bytes of a partial signature that was sealed to an RSA key."""
    opened = opener.decrypt(base64.b64decode(sealed), OAEP(MGF1(SHA256()), SHA256(), None))
    return _point(json.loads(opened))


def _point(said: Mapping[str, str]) -> bytes:
    return base64.b64decode(said["CompressedBytes"], validate=True)


def _g1(encoded: bytes) -> G1Point:
    return G1Point.from_compressed_bytes(encoded)


def _word(value: bytes | int) -> bytes:
    return value.rjust(32, b"\0") if isinstance(value, bytes) else value.to_bytes(32, "big")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
