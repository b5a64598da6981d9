"""The creator's signature: for one request, one operator, once; and the reference's text behind its switch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import coincurve
import pytest
import trio
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.attestation.ecdsa import (
    Ecdsa,
    encode_evidence,
    encode_reference_evidence,
    typed_data,
)
from eigenkms.attestation.interface import AttestationRefusedError, Claims, Context
from eigenkms.crypto.hashing import keccak256
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Refusal, Scope
from eigenkms.wire.codec import encode

NOW = 1_800_000_000
NONCE = b"\x05" * 32
SECRET = b"\x11" * 32
SIGNER = bytes.fromhex(Account.from_key(SECRET).address[2:])
SCOPE = Scope(ClusterId(b"\x01" * 32), OperatorAddress(b"\x02" * 20), AppId("0x" + "ab" * 20), b"\x03" * 32)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
"""``reference`` is the reference's own; ``version_2`` and ``nonce`` are ours, frozen."""
VECTOR = {name.removesuffix("_hex"): text for name, text in VECTORS["reference"].items()}
VECTOR_TIME = int(VECTOR["challenge"].partition("-")[0])


def signature(scope: Scope = SCOPE, nonce: bytes = NONCE, issued_at: int = NOW, key: bytes = SECRET) -> bytes:
    """As a wallet makes it."""
    signable = encode_typed_data(full_message=typed_data(scope, nonce, issued_at))
    return bytes(Account.sign_message(signable, key).signature)


def evidence(**how: Any) -> bytes:
    return encode_evidence(how.get("nonce", NONCE), how.get("issued_at", NOW), signature(**how))


def outcome(
    found: bytes, *, scope: Scope = SCOPE, now: float = NOW, reference: bool = False
) -> Claims | Refusal:
    async def verify() -> Claims | Refusal:
        try:
            return await Ecdsa(accept_reference=reference).verify(found, Context(scope), now)
        except AttestationRefusedError as error:
            return error.code

    return trio.run(verify)


def test_the_signer_is_claimed() -> None:
    """With the request that was signed, and until when it must be remembered."""
    claims = outcome(evidence())
    assert isinstance(claims, Claims)
    assert (claims.signer, claims.app_id, claims.image) == (SIGNER, SCOPE.app_id, None)
    assert claims.nonces == {SCOPE.nonce}
    assert claims.expires_at == NOW + 301


def test_the_signed_bytes_are_frozen() -> None:
    """EIP-712: whoever signs in another language must get the same digest."""
    signable = encode_typed_data(full_message=typed_data(SCOPE, NONCE, NOW))
    assert (
        signable.header.hex()
        == keccak256(
            keccak256(b"EIP712Domain(string name,string version)"), keccak256(b"eigenkms"), keccak256(b"2")
        ).hex()
    )
    kind = b"KeyRequest(string appId,bytes32 cluster,address operator,bytes replyKey,bytes32 nonce,uint64 issuedAt)"
    assert (
        signable.body.hex()
        == keccak256(
            keccak256(kind),
            keccak256(SCOPE.app_id.encode()),
            SCOPE.cluster,
            bytes(12) + SCOPE.operator,
            keccak256(SCOPE.reply_key),
            NONCE,
            NOW.to_bytes(32, "big"),
        ).hex()
    )
    assert json.loads(json.dumps(typed_data(SCOPE, NONCE, NOW))) == VECTORS["version_2"]["typed_data"]
    assert evidence().hex() == VECTORS["version_2"]["evidence_hex"]
    assert VECTORS["version_2"]["nonce"] == SCOPE.nonce


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": ClusterId(b"\x09" * 32)},
        {"operator": OperatorAddress(b"\x09" * 20)},
        {"app_id": AppId("0x" + "ac" * 20)},
        {"reply_key": b"\x09" * 32},
    ],
    ids=["cluster", "operator", "app", "reply key"],
)
def test_in_another_place_it_is_somebody_elses_signature(changes: dict[str, Any]) -> None:
    """Replayed at another operator, with another reply key or for another application, it is never the creator's."""
    found = outcome(evidence(), scope=replace(SCOPE, **changes))
    assert isinstance(found, Refusal) or found.signer != SIGNER


@pytest.mark.parametrize("how", [{"nonce": b"\x06" * 32}, {"issued_at": NOW - 1}])
def test_nonce_and_time_are_signed(how: dict[str, Any]) -> None:
    """Neither can be changed to make the evidence fresh again."""
    tampered = encode_evidence(how.get("nonce", NONCE), how.get("issued_at", NOW), signature())
    found = outcome(tampered)
    assert isinstance(found, Refusal) or found.signer != SIGNER


def test_a_nonce_is_one_use_of_one_signer() -> None:
    """A second signature over the same nonce, at whatever time, is the same use; another signer's is not."""
    uses = [
        claims.use_id
        for claims in (
            outcome(evidence()),
            outcome(evidence(issued_at=NOW - 5)),
            outcome(evidence(nonce=b"\x06" * 32)),
            outcome(evidence(key=b"\x12" * 32)),
        )
        if isinstance(claims, Claims)
    ]
    assert uses[0] == uses[1]
    assert len(set(uses)) == 3


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (-31, Refusal.EVIDENCE_FROM_FUTURE),
        (-30, None),
        (0, None),
        (300, None),
        (301, Refusal.EVIDENCE_EXPIRED),
        (NOW, Refusal.EVIDENCE_EXPIRED),
        (-(2**63), Refusal.EVIDENCE_FROM_FUTURE),
    ],
)
def test_it_is_good_for_five_minutes(age: int, code: Refusal | None) -> None:
    """And half a minute before its time, as clocks differ. It is remembered for as long as it could be accepted."""
    found = outcome(evidence(issued_at=NOW - age))
    assert found == code if code else isinstance(found, Claims)
    if isinstance(found, Claims):
        assert isinstance(outcome(evidence(issued_at=NOW - age), now=found.expires_at - 0.01), Claims)
        assert outcome(evidence(issued_at=NOW - age), now=found.expires_at) == Refusal.EVIDENCE_EXPIRED


def high(found: bytes) -> bytes:
    """The other signature over the same: (r, n − s)."""
    s = ORDER - int.from_bytes(found[32:64], "big")
    return found[:32] + s.to_bytes(32, "big") + bytes([found[64] ^ 7])  # 27 ↔ 28


@pytest.mark.parametrize(
    "forged",
    [
        high(signature()),
        bytes(65),
        b"\xff" * 65,
        signature()[:32] + bytes(32) + signature()[64:],
        bytes(32) + signature()[32:],
        signature()[:64] + b"\x02",
        signature()[:64] + b"\x1d",
        signature()[:64] + b"\xff",
    ],
    ids=["high s", "zeros", "ones", "s = 0", "r = 0", "v = 2", "v = 29", "v = 255"],
)
def test_signatures_that_are_none(forged: bytes) -> None:
    """High-s ones too: there is one signature, not two, for a use."""
    assert outcome(encode_evidence(NONCE, NOW, forged)) == Refusal.BAD_SIGNATURE


def test_v_may_be_written_either_way() -> None:
    """27 and 28, or 0 and 1, as signers differ."""
    small = signature()[:64] + bytes([signature()[64] - 27])
    claims = outcome(encode_evidence(NONCE, NOW, small))
    assert isinstance(claims, Claims)
    assert claims.signer == SIGNER


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x00",
        encode([]),
        encode([2]),
        encode([3, NONCE, NOW, bytes(65)]),
        encode([2, NONCE[:31], NOW, bytes(65)]),
        encode([2, NONCE, str(NOW), bytes(65)]),
        encode([2, NONCE, NOW, bytes(64)]),
        encode([2, NONCE, NOW, bytes(65), 1]),
        encode([2, NONCE, NOW, bytes(2000)]),
        evidence() + b"\x00",
    ],
)
def test_what_is_no_evidence(junk: bytes) -> None:
    """Another arity, type, version or length."""
    assert outcome(junk) == Refusal.BAD_EVIDENCE


# -- the reference's text


def vector_evidence(**changes: str) -> bytes:
    fields = {**VECTOR, **changes}
    return encode_reference_evidence(
        fields["challenge"], bytes.fromhex(fields["public_key"]), bytes.fromhex(fields["signature_v01"])
    )


VECTOR_SCOPE = replace(SCOPE, app_id=AppId(VECTOR["app_id"]))


def vector_outcome(found: bytes, *, now: float = VECTOR_TIME, reference: bool = True) -> Claims | Refusal:
    return outcome(found, scope=VECTOR_SCOPE, now=now, reference=reference)


def test_the_references_vector_verifies_behind_its_switch() -> None:
    """Off, it is refused as something that is not enabled."""
    claims = vector_outcome(vector_evidence())
    assert isinstance(claims, Claims)
    assert claims.signer is not None
    assert "0x" + claims.signer.hex() == Account.from_key(VECTOR["private_key"]).address.lower()
    assert vector_outcome(vector_evidence(), reference=False) == Refusal.METHOD_NOT_ENABLED


def signed_reference(challenge: str, key: bytes = SECRET) -> bytes:
    public = coincurve.PrivateKey(key).public_key.format(compressed=False)
    digest = keccak256(f"{VECTOR['app_id']}-{challenge}-{public.hex()}".encode())
    made = coincurve.PrivateKey(key).sign_recoverable(digest, hasher=None)
    return encode_reference_evidence(challenge, public, made)


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        (f"{VECTOR_TIME + 31}-{'ab' * 32}", Refusal.EVIDENCE_FROM_FUTURE),
        (f"{VECTOR_TIME - 301}-{'ab' * 32}", Refusal.EVIDENCE_EXPIRED),
        (f"{VECTOR_TIME}-{'ab' * 32} and more", Refusal.BAD_EVIDENCE),
        (f"{VECTOR_TIME}-{'zz' * 32}", Refusal.BAD_EVIDENCE),
        (f"{VECTOR_TIME}-{'ab' * 31}", Refusal.BAD_EVIDENCE),
        (f"+{VECTOR_TIME}-{'ab' * 32}", Refusal.BAD_EVIDENCE),
        (f"0{VECTOR_TIME}-{'ab' * 32}", Refusal.BAD_EVIDENCE),
        (f" {VECTOR_TIME}-{'ab' * 32}", Refusal.BAD_EVIDENCE),
        ("", Refusal.BAD_EVIDENCE),
    ],
)
def test_its_challenge_is_read_strictly(challenge: str, code: Refusal) -> None:
    """The reference lets more pass; these are signed well and refused."""
    assert vector_outcome(signed_reference(challenge)) == code


def test_its_signature_is_over_app_challenge_and_key() -> None:
    """Changing any of them, or the form of the signature, spoils it; v is not looked at."""
    good = bytes.fromhex(VECTOR["signature_v01"])
    other = coincurve.PrivateKey(SECRET).public_key.format(compressed=False)
    assert isinstance(vector_outcome(vector_evidence(signature_v01=good[:64].hex() + "00")), Claims)
    for changes in (
        {"challenge": f"{VECTOR_TIME}-{'ac' * 32}"},
        {"public_key": other.hex()},
        {"public_key": "02" + VECTOR["public_key"][2:]},
        {"public_key": "04" + "ff" * 64},
        {"signature_v01": high(good[:64] + b"\x1b").hex()},
        {"signature_v01": "00" * 65},
    ):
        assert vector_outcome(vector_evidence(**changes)) == Refusal.BAD_SIGNATURE
    assert outcome(vector_evidence(), now=VECTOR_TIME, reference=True) == Refusal.BAD_SIGNATURE


@given(
    st.binary(max_size=400)
    | st.lists(st.integers(0, 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=80), max_size=5)
)
@settings(max_examples=200)
def test_anything_at_all_is_refused(junk: bytes | list[Any]) -> None:
    """Bytes, and lists of the allowed types, with the switch on."""
    found = outcome(junk if isinstance(junk, bytes) else encode(junk), reference=True)
    assert isinstance(found, Refusal)
