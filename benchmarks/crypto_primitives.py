"""Times of cryptographic operations: ``python -m benchmarks.crypto_primitives``.

Medians in microseconds of one call in one thread, for each backend. Decoded keys and hashed messages are cached, so each call gets
fresh input, unless its row says that keys are known. py_ecc does an operation once or a few times, so its numbers are rough. Sets
larger than four are left out for it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from rich.console import Console
from rich.table import Table

from eigenkms.crypto import backends, bls, bn254, feldman, ibe
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.crypto.ibe_identities import DST, identity_v1
from eigenkms.crypto.scalars import coordinates, lagrange_at_zero, random_scalar, threshold
from eigenkms.crypto.shamir import Polynomial
from eigenkms.types import OperatorAddress
from tests.support.toy_backend import TOY

MAX_RUNS = 400


@dataclass(frozen=True, slots=True)
class Primitive:
    """One row: a name and a call.

    The call gets a number that was never used before. It is made at most ``runs`` times.
    """

    name: str
    call: Callable[[int], object]
    runs: int = MAX_RUNS


def app(i: int) -> str:
    return f"application {i}"


def operators(n: int) -> tuple[int, ...]:
    """Return ``n`` coordinates of full size, as those of real addresses."""
    return coordinates([OperatorAddress(keccak256(be64(i))[:20]) for i in range(n)])


def digest(i: int) -> bytes:
    return keccak256(be64(i))


def single_operations() -> Iterator[Primitive]:
    """Yield the operations of the groups, through the backend."""
    curve, bn = backends.bls12381(), backends.bn254()
    k = random_scalar(os.urandom).value
    hashed, bn_hashed = curve.hash_to_g1(b"m", DST), bn.hash_to_g1(digest(0))
    known = 8 if curve.name == "py_ecc" else MAX_RUNS
    keys = [curve.encode_g2(curve.msm_g2([curve.g2], [k + n])) for n in range(known)]
    bn_keys = [bn.encode_g2(bn.msm_g2([bn.g2], [k + n])) for n in range(known)]
    signature, bn_signature = curve.encode_g1(hashed), bn.encode_g1(bn_hashed)
    yield Primitive("BLS12-381: hash to G1", lambda i: curve.hash_to_g1(be64(i), DST))
    yield Primitive("BLS12-381: secret · G1", lambda _: curve.secret_mul_g1(hashed, k))
    yield Primitive("BLS12-381: secret · G2", lambda _: curve.secret_mul_g2(curve.g2, k))
    yield Primitive("BLS12-381: decode G1", lambda _: curve.decode_g1(signature))
    yield Primitive("BLS12-381: decode G2", lambda _: curve.decode_g2(keys.pop()), known)
    yield Primitive("BLS12-381: pairing, 576 bytes", lambda _: curve.pairing_bytes(hashed, curve.g2))
    yield Primitive("BN254: hash to G1", lambda i: bn.hash_to_g1(digest(i)))
    yield Primitive("BN254: secret · G1", lambda _: bn.secret_mul_g1(bn_hashed, k))
    yield Primitive("BN254: decode G1", lambda _: bn.decode_g1(bn_signature))
    yield Primitive("BN254: decode G2", lambda _: bn.decode_g2(bn_keys.pop()), known)


def signing() -> Iterator[Primitive]:
    """Partial signatures, identity keys; public shares and keys are known."""
    shares = [random_scalar(os.urandom) for _ in range(7)]
    publics = [feldman.public_share_of(share) for share in shares]
    partials = [
        (bls.partial_sign(share, identity_v1(app(0))), public)
        for share, public in zip(shares, publics, strict=True)
    ]
    keys = [bn254.KeyPair.generate(os.urandom) for _ in range(7)]
    frames = [(digest(i), bn254.sign(keys[i % 7], digest(i)), keys[i % 7].g2) for i in range(20)]
    vote = bn254.aggregate_signatures([bn254.sign(key, digest(0)) for key in keys])
    yield Primitive("partial signature", lambda i: bls.partial_sign(shares[0], identity_v1(app(i))))
    yield Primitive(
        "verify partial signature", lambda _: bls.verify_partial(identity_v1(app(0)), *partials[0])
    )
    yield Primitive(
        "verify 7 partial signatures",
        lambda _: bls.verify_partials(identity_v1(app(0)), partials, os.urandom),
    )
    yield Primitive("recover from 5", lambda _: bls.recover(operators(5), [p[0] for p in partials[:5]]))
    yield Primitive("BN254: sign", lambda i: bn254.sign(keys[0], digest(i)))
    yield Primitive("BN254: verify", lambda _: bn254.verify(*frames[0]))
    yield Primitive("BN254: verify 20 frames of 7", lambda _: bn254.batch_verify(frames, os.urandom))
    yield Primitive(
        "BN254: verify aggregate of 7",
        lambda _: bn254.verify_aggregate(digest(0), vote, [k.g2 for k in keys]),
    )


def encryption() -> Iterator[Primitive]:
    """Identity-based encryption of 1 kB."""
    master = random_scalar(os.urandom)
    mpk, key = feldman.public_share_of(master), bls.partial_sign(master, identity_v1(app(0)))
    ciphertext = ibe.encrypt(app(0), mpk, bytes(1024), os.urandom)
    yield Primitive("IBE: encrypt 1 kB", lambda i: ibe.encrypt(app(i), mpk, bytes(1024), os.urandom))
    yield Primitive("IBE: decrypt 1 kB", lambda _: ibe.decrypt(app(0), key, ciphertext))


def dealing(n: int) -> Iterator[Primitive]:
    """Yield the work of one operator in a genesis or rotation of n.

    It makes commitments, combines them, and computes public shares.
    """
    t, xs = threshold(n), operators(n)
    polynomials = [Polynomial.random(t, os.urandom) for _ in xs]
    vectors = [polynomial.commitments() for polynomial in polynomials]
    lambdas = lagrange_at_zero(xs)
    yield Primitive(f"n={n}: commitments of one dealing", lambda _: polynomials[0].commitments())
    yield Primitive(
        f"n={n}: combine vectors, genesis", lambda _: feldman.combine_commitments([1] * n, vectors)
    )
    yield Primitive(
        f"n={n}: combine vectors, rotation", lambda _: feldman.combine_commitments(lambdas, vectors)
    )
    yield Primitive(f"n={n}: one public share", lambda _: feldman.public_share(xs[1], vectors[0]))


def primitives(*, spare: bool) -> Iterator[Primitive]:
    yield from single_operations()
    yield from signing()
    yield from encryption()
    for n in (4,) if spare else (4, 7, 20):
        yield from dealing(n)


def median_us(primitive: Primitive, numbers: Iterator[int], seconds: float) -> float:
    """Median over as many calls as fit into the time, at least one."""
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while not times or (time.perf_counter() < deadline and len(times) < primitive.runs):
        i = next(numbers)
        start = time.perf_counter()
        primitive.call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def measure(chosen: str | backends.Backends, seconds: float) -> dict[str, float]:
    """Name of each primitive to its median in µs on these backends."""
    numbers = count(1_000_000)
    with backends.use(chosen) as current:
        spare = current.bls12381.name == "py_ecc"
        return {p.name: median_us(p, numbers, seconds) for p in primitives(spare=spare)}


def table(columns: dict[str, dict[str, float]]) -> Table:
    output = Table("operation (µs, median)", title="crypto primitives")
    for name in columns:
        output.add_column(name, justify="right")
    for row in dict.fromkeys(row for column in columns.values() for row in column):
        cells = [f"{column[row]:,.1f}" if row in column else "–" for column in columns.values()]
        output.add_row(row, *cells)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--seconds", type=float, default=0.15, help="time for each operation and backend")
    parser.add_argument(
        "--only", choices=["native", "py_ecc", "toy"], action="append", help="measure only these"
    )
    arguments = parser.parse_args()
    columns = {}
    for name in arguments.only or ["native", "py_ecc", "toy"]:
        columns[name] = measure(TOY if name == "toy" else name, arguments.seconds)
    Console().print(table(columns))


if __name__ == "__main__":
    main()
