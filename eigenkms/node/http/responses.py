"""Encoding of answer bodies, which are the reference's JSON (docs/http.md).

Byte strings are standard base64.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.responses import Response

from eigenkms.applications import AppRelease
from eigenkms.node.http.requests import SecretsRequest
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.transcript import Transcript

G2_INFINITY: Final = b"\xc0" + bytes(95)
"""The neutral element of G2, compressed (the encoding of BLS12-381 points by ZCash)."""


def json_response(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with a body of JSON."""
    return Response(body, status, headers, "application/json")


def encode_json(value: Any) -> bytes:
    """Encode a value without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def pubkey_answer(operator: OperatorAddress, transcript: Transcript) -> bytes:
    """Encode the answer to ``GET /pubkey``.

    The first of ``commitments`` is the point at infinity. If fewer than t operators answer, the clients of the reference take the
    sum of the first commitments as the master public key. A sum of points at infinity is none, so they refuse it. The sum of
    anything else is a key that nobody has.
    """
    return encode_json(
        {
            "commitments": [_point(each) for each in (G2_INFINITY, *transcript.commitments[1:])],
            "isActive": True,
            "masterPublicKey": _point(transcript.mpk),
            "operatorAddress": to_hex(operator),
            "version": int(transcript.version),
        }
    )


def sign_answer(operator: OperatorAddress, signature: bytes) -> bytes:
    """Encode the answer to ``POST /app/sign``: ``signature`` (48 bytes) in the clear."""
    return encode_json({"OperatorAddress": to_hex(operator), "PartialSignature": _point(signature)})


def secrets_answer(request: SecretsRequest, release: AppRelease | None, signature: bytes) -> bytes:
    """Encode the answer to ``POST /secrets``: ``signature`` sealed to the RSA key.

    ``signature`` has 48 bytes. The environment is that of ``release``, empty without one. Takes milliseconds for a large key.
    """
    answer = {
        "encrypted_env": "" if release is None else release.encrypted_env.hex(),
        "public_env": "" if release is None else release.public_env.decode(),
        "encrypted_partial_sig": _b64(seal_to_rsa(request.rsa_key, encode_json(_point(signature)))),
    }
    if request.extra_data:
        answer["extra_data"] = _b64(request.extra_data)
    return encode_json(answer)


def seal_to_rsa(key: RSAPublicKey, message: bytes) -> bytes:
    """Seal ``message`` by RSA-OAEP (RFC 8017), with SHA-256 twice and an empty label.

    The hash and the mask generation both use SHA-256.
    """
    return key.encrypt(message, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))


def _point(compressed: bytes) -> dict[str, str]:
    return {"CompressedBytes": _b64(compressed)}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
