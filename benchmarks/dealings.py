"""Encrypted dealings: ``python -m benchmarks.dealings [--operators 7 20 50]``.

CPU of one thread for what an operator does in a rotation of n operators with t = ⌈2n/3⌉ dealings: making one, verifying one,
verifying t one by one and as a batch, finding a single liar among them, and decrypting its shares of all t. *Whole* is one
dealing made, a batch verified and t shares decrypted. *Ratio* is that, divided by a baseline from the same process, one
verification of a partial signature: absolute times mean little on another machine.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.crypto_primitives import app, operators
from benchmarks.tables import show
from eigenkms.crypto import bls, feldman
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.crypto.ibe_identities import identity_v1
from eigenkms.crypto.pvss import (
    DealingClaim,
    DealingContext,
    EncryptedShares,
    EncryptionKey,
    LogarithmTable,
    Recipients,
    ShareRecipient,
    check_dealing,
    deal,
    decrypt,
    find_invalid,
)
from eigenkms.crypto.scalars import R, random_scalar, threshold
from eigenkms.crypto.shamir import Polynomial
from eigenkms.types import ClusterId, OperatorAddress, SessionId

RUNS = 3


def cpu(call: Callable[[], object], runs: int = RUNS) -> float:
    """Return the CPU seconds of one call, the median of ``runs``."""
    times = []
    for _ in range(runs):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def baseline() -> float:
    """Return the CPU seconds of one verification of a partial signature.

    It decodes a point and computes two pairings.
    """
    share = random_scalar(os.urandom)
    identity, public = identity_v1(app(0)), feldman.public_share_of(share)
    signature = bls.partial_sign(share, identity)
    return cpu(lambda: bls.verify_partial(identity, signature, public), 50)


@dataclass(frozen=True)
class Session:
    """Operators with their keys, and t dealings as they come from the network."""

    keys: tuple[EncryptionKey, ...]
    recipients: Recipients
    polynomials: tuple[Polynomial, ...]
    claims: tuple[DealingClaim, ...]


def context(dealer: int) -> DealingContext:
    address = OperatorAddress(keccak256(be64(dealer))[:20])
    return DealingContext(ClusterId(bytes(32)), SessionId(bytes(32)), address, keccak256(b"source"))


def session(n: int) -> Session:
    keys = tuple(EncryptionKey.generate(os.urandom) for _ in range(n))
    members = [ShareRecipient(context(i).dealer, key.public) for i, key in enumerate(keys)]
    recipients = Recipients(members)
    assert recipients.xs == operators(n)
    polynomials = tuple(Polynomial.random(threshold(n), os.urandom) for _ in range(threshold(n)))
    claims = []
    for i, polynomial in enumerate(polynomials):
        encrypted = deal(context(i), polynomial, recipients, os.urandom)
        commitments = polynomial.commitments()
        encoding = encrypted.encode()
        claims.append(
            DealingClaim(context(i), commitments, EncryptedShares.decode(encoding, n), commitments[0])
        )
    return Session(keys, recipients, polynomials, tuple(claims))


def with_a_liar(claims: Sequence[DealingClaim]) -> list[DealingClaim]:
    """Return the dealings, the last one with a proof that fails."""
    *good, last = claims
    answers = last.encrypted.answers
    broken = replace(answers, combined_share=(answers.combined_share + 1) % R)
    return [*good, replace(last, encrypted=replace(last.encrypted, answers=broken))]


def measure(n: int, table: LogarithmTable, unit: float) -> dict[str, str]:
    """Return a row: the work of one operator in a rotation of ``n``."""
    ours, t = session(n), threshold(n)
    claims, recipients = ours.claims, ours.recipients
    dealing = cpu(lambda: deal(context(0), ours.polynomials[0], recipients, os.urandom), 9)
    single = cpu(lambda: check_dealing(claims[0], recipients, t, os.urandom), 5)
    singly = cpu(lambda: [check_dealing(claim, recipients, t, os.urandom) for claim in claims], 1)
    batch = cpu(lambda: find_invalid(claims, recipients, t, os.urandom))
    lied = with_a_liar(claims)
    liar = cpu(lambda: find_invalid(lied, recipients, t, os.urandom), 1)
    assert set(find_invalid(lied, recipients, t, os.urandom)) == {t - 1}
    shares = [claim.encrypted.share(n - 1) for claim in claims]
    opened = cpu(lambda: [decrypt(share, ours.keys[-1], n, table, os.urandom) for share in shares])
    whole = dealing + batch + opened
    commitments = sum(map(len, claims[0].commitments))
    size = len(claims[0].encrypted.encode()) + commitments
    return {
        "operators": str(n),
        "kB a dealing": f"{size / 1000:.1f}",
        "deal, s": f"{dealing:.3f}",
        "verify one, s": f"{single:.3f}",
        "t singly, s": f"{singly:.2f}",
        "t as a batch, s (to singly)": f"{batch:.2f} ({batch / singly:.2f})",
        "batch with a liar, s": f"{liar:.2f}",
        "decrypt t, s": f"{opened:.2f}",
        "whole, s": f"{whole:.2f}",
        "ratio": f"{whole / unit:,.0f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operators", type=int, nargs="+", default=[7, 20, 50])
    chosen = parser.parse_args(arguments).operators
    begun = time.process_time()
    table = LogarithmTable()
    made, unit = time.process_time() - begun, baseline()
    print(f"table of logarithms: {made:.2f} s of CPU, once; baseline: {unit * 1e6:,.0f} µs")
    show("encrypted dealings: CPU of one operator in a rotation", [measure(n, table, unit) for n in chosen])


if __name__ == "__main__":
    main()
