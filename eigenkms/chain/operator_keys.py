"""The keys that an operator registers for an operator set, each with its proof of possession.

The AVS chooses the curve of a set once. A node of this network signs with BN254; keys of a set of ECDSA can be registered and
given up all the same, since one account may serve other AVSs too.

| curve | key data | key hash | proof over the digest |
|---|---|---|---|
| BN254 | G1 ‖ G2, 192 bytes | keccak256(G1) | BN254 signature, 64 bytes |
| ECDSA | address, 20 bytes | keccak256(address) | r ‖ s ‖ v, 65 bytes, low s, v 27 or 28 |

The digest is the EIP-712 hash of ``BN254KeyRegistration(address operator,address avs,uint32 operatorSetId,bytes keyData)`` or
``ECDSAKeyRegistration(address operator,address avs,uint32 operatorSetId,address keyAddress)`` in the domain ("EigenLayer",
first character of the registrar's version(), chain id, key registrar).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import coincurve
from eth_abi.abi import encode

from eigenkms.chain import abi
from eigenkms.chain.config import Deployment
from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import InputError
from eigenkms.types import to_hex

CURVES: Final = {0: "not configured", abi.CURVE_ECDSA: "ECDSA", abi.CURVE_BN254: "BN254"}
"""By the number that the key registrar has for it."""
_DOMAIN: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_REGISTRATION: Final = {
    abi.CURVE_BN254: keccak256(
        b"BN254KeyRegistration(address operator,address avs,uint32 operatorSetId,bytes keyData)"
    ),
    abi.CURVE_ECDSA: keccak256(
        b"ECDSAKeyRegistration(address operator,address avs,uint32 operatorSetId,address keyAddress)"
    ),
}


def registration_digest(
    contracts: Deployment, operator: bytes, curve: int, data: bytes, *, version: str = "1"
) -> bytes:
    """Return the 32 bytes that a key signs to be registered for ``operator``.

    ``version`` is what the key registrar's version() says.
    """
    domain = keccak256(
        encode(
            ("bytes32", "bytes32", "bytes32", "uint256", "address"),
            (
                _DOMAIN,
                keccak256(b"EigenLayer"),
                keccak256(version[:1].encode()),
                contracts.chain_id,
                contracts.key_registrar,
            ),
        )
    )
    key_word = keccak256(data) if curve == abi.CURVE_BN254 else data.rjust(32, b"\0")
    struct = encode(
        ("bytes32", "address", "address", "uint32", "bytes32"),
        (_REGISTRATION[curve], operator, contracts.avs, contracts.operator_set_id, key_word),
    )
    return keccak256(b"\x19\x01", domain, keccak256(struct))


class OperatorKey(Protocol):
    """A key that can be registered: what the table of the module says of it."""

    curve: ClassVar[int]
    gas: ClassVar[int]
    """Limit for its registration, twice what it takes."""
    digest_function: ClassVar[abi.Function]
    """Of the key registrar: the digest that it will verify, of operator, operator set and key data."""

    @property
    def data(self) -> bytes:
        """As it is registered."""

    @property
    def hash(self) -> bytes:
        """32 bytes; burned once it was registered."""

    def prove(self, digest: bytes) -> bytes:
        """Return the proof of possession."""


@dataclass(frozen=True, slots=True)
class Bn254Key:
    """The key that a node signs with."""

    pair: bn254.KeyPair
    curve: ClassVar[int] = abi.CURVE_BN254
    gas: ClassVar[int] = 900_000
    digest_function: ClassVar[abi.Function] = abi.BN254_MESSAGE_HASH

    @property
    def data(self) -> bytes:
        return bn254.registration_key_data(self.pair)

    @property
    def hash(self) -> bytes:
        return keccak256(self.pair.g1)

    def prove(self, digest: bytes) -> bytes:
        return bn254.sign_registration(self.pair, digest)


class EcdsaKey:
    """A secp256k1 key of 32 bytes; its repr does not show it.

    Raises InputError for what is no key.
    """

    curve: ClassVar[int] = abi.CURVE_ECDSA
    gas: ClassVar[int] = 300_000
    digest_function: ClassVar[abi.Function] = abi.ECDSA_MESSAGE_HASH

    def __init__(self, secret: bytes) -> None:
        try:
            if len(secret) != 32:
                raise ValueError  # noqa: TRY301 - coincurve pads
            self._private = coincurve.PrivateKey(secret)
        except ValueError:
            raise InputError("load the ECDSA key: it is not a 32-byte scalar") from None
        self._address = keccak256(self._private.public_key.format(compressed=False)[1:])[12:]

    def __repr__(self) -> str:
        return f"<EcdsaKey {to_hex(self._address)} key redacted>"

    @property
    def data(self) -> bytes:
        return self._address

    @property
    def hash(self) -> bytes:
        return keccak256(self._address)

    def prove(self, digest: bytes) -> bytes:
        signature = self._private.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])
