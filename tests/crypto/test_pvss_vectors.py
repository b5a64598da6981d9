"""Publicly verifiable dealings are frozen: those in ``pvss_v1.json`` stay valid, decrypt alike, and are made again to the byte.

To change the format on purpose, give its tags another number; ``python -m tests.crypto.test_pvss_vectors`` writes the file.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from eigenkms.crypto import backends
from eigenkms.crypto.pvss import (
    DealingClaim,
    DealingContext,
    EncryptedShares,
    EncryptionKey,
    KeySlot,
    Recipients,
    ShareRecipient,
    check_dealing,
    check_possession,
    deal,
    decrypt,
    prove_possession,
)
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.types import ClusterId, OperatorAddress, SessionId
from tests.crypto.support import counter_rng, scalar
from tests.support import pvss_reference as book
from tests.support.pvss_stage import address, table

PATH = Path(__file__).with_name("pvss_v1.json")
CASES = (("genesis", 3, 2, ""), ("rotation", 2, 2, "5e" * 32), ("one alone", 1, 1, ""))


def made(name: str, n: int, threshold: int, source: str) -> dict[str, Any]:
    keys = [EncryptionKey.of(scalar(f"{name}: key {i}")) for i in range(n)]
    slots = [KeySlot(ClusterId(b"\xc1" * 32), address(i), i) for i in range(n)]
    recipients = Recipients(
        [ShareRecipient(slot.operator, key.public) for slot, key in zip(slots, keys, strict=True)]
    )
    context = DealingContext(
        ClusterId(b"\xc1" * 32), SessionId(b"\x5e" * 32), address(0), bytes.fromhex(source)
    )
    polynomial = Polynomial([scalar(f"{name}: coefficient {j}") for j in range(threshold)])
    encrypted = deal(context, polynomial, recipients, counter_rng(name))
    proofs = [prove_possession(key, slot, counter_rng(name)) for key, slot in zip(keys, slots, strict=True)]
    return {
        "name": name,
        "cluster": context.cluster.hex(),
        "session": context.session.hex(),
        "dealer": context.dealer.hex(),
        "source": source,
        "recipients": [
            {
                "address": slot.operator.hex(),
                "number": slot.number,
                "secret": key.secret.to_bytes().hex(),
                "key": key.public.hex(),
                "possession": proof.hex(),
                "share": polynomial.evaluate(x).to_bytes().hex(),
            }
            for slot, key, proof, x in zip(slots, keys, proofs, recipients.xs, strict=True)
        ],
        "coefficients": [scalar(f"{name}: coefficient {j}").to_bytes().hex() for j in range(threshold)],
        "commitments": [commitment.hex() for commitment in polynomial.commitments()],
        "encrypted": encrypted.encode().hex(),
    }


VECTORS = json.loads(PATH.read_text()) if PATH.exists() else []
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])


def test_every_case_is_frozen() -> None:
    """One vector for each case, in order."""
    assert [v["name"] for v in VECTORS] == [name for name, *_ in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_vector_is_made_again(case: tuple[str, int, int, str]) -> None:
    """With the same randomness, on the native backend."""
    with backends.use("native"):
        assert made(*case) in VECTORS


@pytest.mark.slow
@each_vector
def test_vector_is_verified_and_decrypted(vector: dict[str, Any]) -> None:
    """Keys, dealing and shares, from the bytes alone."""
    with backends.use("native"):
        members = vector["recipients"]
        cluster = ClusterId(bytes.fromhex(vector["cluster"]))
        for member in members:
            slot = KeySlot(cluster, OperatorAddress(bytes.fromhex(member["address"])), member["number"])
            check_possession(bytes.fromhex(member["key"]), slot, bytes.fromhex(member["possession"]))
        recipients = Recipients(
            [
                ShareRecipient(OperatorAddress(bytes.fromhex(m["address"])), bytes.fromhex(m["key"]))
                for m in members
            ]
        )
        context = DealingContext(
            cluster,
            SessionId(bytes.fromhex(vector["session"])),
            OperatorAddress(bytes.fromhex(vector["dealer"])),
            bytes.fromhex(vector["source"]),
        )
        encrypted = EncryptedShares.decode(bytes.fromhex(vector["encrypted"]), len(members))
        commitments = tuple(bytes.fromhex(c) for c in vector["commitments"])
        claim = DealingClaim(context, commitments, encrypted, None)
        check_dealing(claim, recipients, len(commitments), counter_rng("verifier"))
        for i, member in enumerate(members):
            key = EncryptionKey.of(SecretScalar(int(member["secret"], 16)))
            share = decrypt(encrypted.share(i), key, len(members), table(), counter_rng("blind"))
            assert share.to_bytes().hex() == member["share"]


@pytest.mark.slow
def test_vector_is_read_by_the_book() -> None:
    """The second implementation, over py_ecc, finds every equation of a frozen dealing to hold."""
    vector = VECTORS[2]
    statement = book.Statement(
        *(bytes.fromhex(vector[name]) for name in ("cluster", "session", "dealer", "source")),
        tuple((bytes.fromhex(m["address"]), bytes.fromhex(m["key"])) for m in vector["recipients"]),
        tuple(bytes.fromhex(c) for c in vector["commitments"]),
    )
    part = book.Encrypted.cut(bytes.fromhex(vector["encrypted"]), 1)
    assert part.join().hex() == vector["encrypted"]
    assert not book.failing_equations(statement, part, [book.mask_key(j) for j in range(book.L)])


if __name__ == "__main__":
    with backends.use("native"):
        PATH.write_text(json.dumps([made(*case) for case in CASES], indent=1) + "\n")
