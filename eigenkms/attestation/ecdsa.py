"""The method ``ecdsa``: the creator of an application signs for one request.

Version 2 is EIP-712 typed data. So a wallet shows its owner the content field by field, and signs it as nothing else, such as a
transaction. It names application, cluster, operator and reply key, has a nonce of its own and a time. EIP-191 text would be shown
as a block of hex. The domain has no chain id: the cluster's id is made from it. Contracts cannot sign: there is no EIP-1271 here.

    evidence 2 = msgpack [2, nonce32, issued at, signature65]
    evidence 1 = msgpack [1, challenge, public key 65, signature65]

Version 1 is the reference's text. It names neither operator nor reply key: whoever sees it may use it elsewhere, for itself, until
it expires. It is accepted behind a switch alone.

Signatures are ``r ‖ s ‖ v``, low-s. In version 2, v is 27, 28, 0 or 1. In version 1 it is ignored, as in the reference.
"""

import hashlib
import re
from typing import Any, Final

import coincurve

from eigenkms.attestation.interface import CLOCK_SKEW_SECONDS, AttestationRefusedError, Claims, Context
from eigenkms.crypto.hashing import keccak256
from eigenkms.types import to_hex
from eigenkms.wire.authorisation import Refusal, Scope
from eigenkms.wire.codec import Fields, MalformedError, decode, encode

NAME: Final = "ecdsa"
MAX_AGE_SECONDS: Final = 300
MAX_EVIDENCE_BYTES: Final = 1024
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_CHALLENGE: Final = re.compile(r"([1-9][0-9]{0,11})-([0-9a-fA-F]{64})", re.ASCII)
_FIELDS: Final = (
    ("appId", "string"),
    ("cluster", "bytes32"),
    ("operator", "address"),
    ("replyKey", "bytes"),
    ("nonce", "bytes32"),
    ("issuedAt", "uint64"),
)


def typed_data(scope: Scope, nonce: bytes, issued_at: int) -> dict[str, Any]:
    """Return the creator's message, as ``eth_signTypedData_v4`` takes it.

    ``nonce`` has 32 bytes, ``issued_at`` is in unix seconds.
    """
    return {
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}],
            "KeyRequest": [{"name": name, "type": kind} for name, kind in _FIELDS],
        },
        "primaryType": "KeyRequest",
        "domain": {"name": "eigenkms", "version": "2"},
        "message": {
            "appId": scope.app_id,
            "cluster": to_hex(scope.cluster),
            "operator": to_hex(scope.operator),
            "replyKey": to_hex(scope.reply_key),
            "nonce": to_hex(nonce),
            "issuedAt": issued_at,
        },
    }


def signing_digest(scope: Scope, nonce: bytes, issued_at: int) -> bytes:
    """Return the 32 bytes that are signed for ``typed_data`` of these."""
    from eth_account.messages import encode_typed_data

    signable = encode_typed_data(full_message=typed_data(scope, nonce, issued_at))
    return keccak256(b"\x19", signable.version, signable.header, signable.body)


def encode_evidence(nonce: bytes, issued_at: int, signature: bytes) -> bytes:
    """Evidence of version 2."""
    return encode([2, nonce, issued_at, signature])


def encode_reference_evidence(challenge: str, public_key: bytes, signature: bytes) -> bytes:
    """Evidence of version 1."""
    return encode([1, challenge, public_key, signature])


class Ecdsa:
    """Verifies both versions; 1 only if ``accept_reference``."""

    def __init__(self, *, accept_reference: bool = False) -> None:
        from eth_account import Account  # noqa: F401 - slow to import: when the node starts, not at the first request

        self._accept_reference = accept_reference

    @property
    def name(self) -> str:
        return NAME

    async def run(self) -> None:
        """Return: the request brings all that is needed."""

    async def verify(self, evidence: bytes, context: Context, now: float) -> Claims:
        """Return the signer, which is the creator or not.

        Raises ``AttestationRefusedError``.
        """
        try:
            value = decode(evidence, what="signed request", limit=MAX_EVIDENCE_BYTES)
            if isinstance(value, list) and value[:1] == [1]:
                return self._verify_reference(Fields(value, 4, "signed request"), evidence, context, now)
            return self._verify(Fields(value, 4, "signed request"), evidence, context, now)
        except MalformedError as error:
            raise AttestationRefusedError(
                Refusal.BAD_EVIDENCE, str(error), hint="see the format in docs/attestation.md"
            ) from None

    def _verify(self, fields: Fields, evidence: bytes, context: Context, now: float) -> Claims:
        version, nonce, issued_at, signature = (
            fields.uint(16),
            fields.fixed(32),
            fields.uint(64),
            fields.fixed(65),
        )
        if version != 2:
            raise MalformedError(f"decode signed request: version {version}")
        _check_time(issued_at, now)
        _check_low_s(signature)
        signer = _recover(signing_digest(context.scope, nonce, issued_at), signature)
        return Claims(
            app_id=context.scope.app_id,
            method=NAME,
            signer=signer,
            nonces=frozenset({context.scope.nonce}),  # the signed text names all that the nonce does
            use_id=keccak256(b"eigenkms/use/ecdsa/2", signer, nonce),
            expires_at=_expiry(issued_at),
            evidence_digest=hashlib.sha256(evidence).digest(),
        )

    def _verify_reference(self, fields: Fields, evidence: bytes, context: Context, now: float) -> Claims:
        if not self._accept_reference:
            raise AttestationRefusedError(
                Refusal.METHOD_NOT_ENABLED,
                "this operator does not accept version 1 of the signed text",
                hint="sign version 2, which names operator and reply key",
            )
        fields.uint(1)
        challenge, key, signature = fields.text(256), fields.fixed(65), fields.fixed(65)
        found = _CHALLENGE.fullmatch(challenge)
        if found is None:
            raise MalformedError(
                "decode signed request: the challenge is not seconds, a dash and 64 hex digits"
            )
        _check_time(issued_at := int(found[1]), now)
        _check_low_s(signature)
        digest = keccak256(f"{context.scope.app_id}-{challenge}-{key.hex()}".encode())
        if key not in (_recover_key(digest, signature, 0), _recover_key(digest, signature, 1)):
            raise _bad_signature()
        return Claims(
            app_id=context.scope.app_id,
            method=NAME,
            signer=keccak256(key[1:])[12:],
            nonces=context.nonces,  # it commits to none; the switch lets it pass for any
            use_id=keccak256(b"eigenkms/use/ecdsa/1", digest),
            expires_at=_expiry(issued_at),
            evidence_digest=hashlib.sha256(evidence).digest(),
        )


def _expiry(issued_at: int) -> int:
    return issued_at + MAX_AGE_SECONDS + 1


def _check_time(issued_at: int, now: float) -> None:
    if issued_at > now + CLOCK_SKEW_SECONDS:
        raise AttestationRefusedError(
            Refusal.EVIDENCE_FROM_FUTURE, "the signed time is in the future", hint="set your machine's clock"
        )
    if now >= _expiry(issued_at):
        raise AttestationRefusedError(
            Refusal.EVIDENCE_EXPIRED,
            f"the signature is older than {MAX_AGE_SECONDS} seconds",
            hint="sign again; if you just did, set your machine's clock",
        )


def _check_low_s(signature: bytes) -> None:
    if not 1 <= int.from_bytes(signature[32:64], "big") <= _ORDER // 2:
        raise AttestationRefusedError(
            Refusal.BAD_SIGNATURE,
            "the signature is not one in the lower half",
            hint="use s, or n − s if that is less",
        )


def _bad_signature() -> AttestationRefusedError:
    return AttestationRefusedError(
        Refusal.BAD_SIGNATURE, "the signature does not verify", hint="sign exactly this request"
    )


def _recover(digest: bytes, signature: bytes) -> bytes:
    """Return the 20-byte address whose key made ``signature`` over ``digest``."""
    recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
    key = _recover_key(digest, signature, recovery) if recovery in (0, 1) else None
    if key is None:
        raise _bad_signature()
    return keccak256(key[1:])[12:]


def _recover_key(digest: bytes, signature: bytes, recovery: int) -> bytes | None:
    """Return the public key (65 bytes) that fits, or None where there is none."""
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([recovery]), digest, hasher=None
        )
    except ValueError:
        return None
    return key.format(compressed=False)
