"""The libraries agree with one another, refuse the same bytes, and are chosen only after the known answers."""

import ast
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import py_arkworks_bls12381 as ark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import backends
from eigenkms.crypto.backends import blinding, selftest
from eigenkms.crypto.backends.bn254_field import N, P
from eigenkms.crypto.backends.interface import (
    BLS_G1_INFINITY,
    BLS_G2_INFINITY,
    BN_G1_INFINITY,
    BN_G2_INFINITY,
    InvalidPoint,
    PairingCurve,
    Point,
    decode_compressed,
)
from eigenkms.crypto.backends.native_bls12381 import NativeBls12381
from eigenkms.crypto.backends.native_bn254 import NativeBn254
from eigenkms.crypto.scalars import R
from eigenkms.errors import EigenKmsError, InputError
from tests.crypto.support import (
    BLS_P,
    bls_g1_small_x,
    bls_g1_x,
    bls_g2_x,
    bn_g1_small_x,
)
from tests.support.toy_backend import TOY, ToyBls12381, toy_crypto
from tests.support.waiting import PATIENCE

NATIVE = backends.load("native")
REFERENCE = backends.load("py_ecc")
FEW = settings(max_examples=4, derandomize=True)
scalars = st.integers(min_value=0, max_value=R + 5) | st.sampled_from([0, 1, 2, R - 1, R])
bn_scalars = st.integers(min_value=0, max_value=N + 5) | st.sampled_from([0, 1, 2, N - 1, N])


def results(curve: PairingCurve, hashed: Point, j: int, k: int) -> tuple[bytes | bool, ...]:
    """One of each operation, encoded."""
    a = curve.secret_mul_g1(hashed, j)
    b = curve.secret_mul_g2(curve.g2, k)
    mixed1 = curve.msm_g1([a, curve.g1, a], [k, j, -1])
    mixed2 = curve.msm_g2([b, curve.g2], [j, 1])
    return (
        curve.encode_g1(a),
        curve.encode_g2(b),
        curve.encode_g1(mixed1),
        curve.encode_g2(mixed2),
        curve.encode_g1(curve.msm_g1([a, a], [1, 1])),
        curve.encode_g2(curve.msm_g2([b, b], [2, 2])),
        curve.encode_g2(curve.msm_g2([b] * 21, [k, *range(-10, 10)])),
        curve.encode_g2(curve.msm_g2([b, b, b], [3, -3, 1])),
        curve.encode_g2(curve.msm_g2([b] * 7, range(7))),
        curve.pairing_check([(a, b), (curve.msm_g1([hashed], [-j * k]), curve.g2)]),
    )


@pytest.mark.slow
@FEW
@given(message=st.binary(max_size=40), j=scalars, k=scalars)
def test_bls_backends_agree(message: bytes, j: int, k: int) -> None:
    """Whatever the input, edge scalars included, native and reference give the same bytes; and e is
    bilinear.
    """
    ours, theirs = NATIVE.bls12381, REFERENCE.bls12381
    first = results(ours, ours.hash_to_g1(message, b"tag"), j, k)
    assert first == results(theirs, theirs.hash_to_g1(message, b"tag"), j, k)
    assert first[-1]


@pytest.mark.slow
@FEW
@given(digest=st.binary(min_size=32, max_size=32), j=bn_scalars, k=bn_scalars)
def test_bn254_backends_agree(digest: bytes, j: int, k: int) -> None:
    """Whatever the input, edge scalars included, native and reference give the same bytes; and e is
    bilinear.
    """
    ours, theirs = NATIVE.bn254, REFERENCE.bn254
    first = results(ours, ours.hash_to_g1(digest), j, k)
    assert first == results(theirs, theirs.hash_to_g1(digest), j, k)
    assert first[-1]


@FEW
@given(j=scalars, k=scalars)
def test_bls_additions_agree(j: int, k: int) -> None:
    """Both additions are the sum of the multiples on every backend, doubling, cancelling and infinity included."""
    for chosen in (NATIVE, REFERENCE, TOY):
        curve = chosen.bls12381
        a, b = curve.secret_mul_g1(curve.g1, j), curve.secret_mul_g1(curve.g1, k)
        for second, factor in ((b, k), (a, j), (curve.msm_g1([a], [-1]), -j)):
            expected = curve.encode_g1(curve.msm_g1([curve.g1], [j + factor]))
            assert expected == curve.encode_g1(curve.add_g1(a, second))
            assert expected == curve.encode_g1(curve.secret_add_g1(a, second))


@settings(max_examples=2, derandomize=True)
@given(j=st.integers(min_value=1, max_value=R - 1))
def test_pairing_bytes_agree(j: int) -> None:
    """The pairing's bytes are the same in both libraries, although their pairings differ by a power."""
    outputs = [c.pairing_bytes(c.secret_mul_g1(c.g1, j), c.g2) for c in (NATIVE.bls12381, REFERENCE.bls12381)]
    assert outputs[0] == outputs[1]


@settings(max_examples=200, derandomize=True)
@given(j=scalars, k=scalars)
def test_toy_curve_has_the_same_laws(j: int, k: int) -> None:
    """On the toy curve, too, multiplication distributes and the pairing is bilinear."""
    curve = TOY.bls12381
    assert results(curve, curve.hash_to_g1(b"m", b"tag"), j, k)[-1]
    summed = curve.msm_g1([curve.g1], [j + k])
    assert summed == curve.msm_g1([curve.g1, curve.g1], [j, k])


def off_subgroup_g2() -> bytes:
    """A point of the BLS12-381 twist that is not in the subgroup."""
    for x in range(1, 100):
        try:
            point = ark.G2Point.from_compressed_bytes_unchecked(bls_g2_x(x))
        except ValueError:
            continue
        assert not point.is_in_subgroup()
        return bls_g2_x(x)
    raise AssertionError("no x below 100 has a point over it")


VALID_G1 = NATIVE.bls12381.encode_g1(NATIVE.bls12381.g1)
VALID_G2 = NATIVE.bls12381.encode_g2(NATIVE.bls12381.g2)
ON = bls_g1_small_x(on_curve=True)
BAD_G1 = {
    "empty": b"",
    "cut": VALID_G1[:-1],
    "trailing byte": VALID_G1 + b"\x00",
    "uncompressed flag": bytes([VALID_G1[0] & 0x7F]) + VALID_G1[1:],
    "zeros": bytes(48),
    "ones": b"\xff" * 48,
    "infinity": BLS_G1_INFINITY,
    "infinity with sign": b"\xe0" + bytes(47),
    "infinity with a bit": BLS_G1_INFINITY[:-1] + b"\x01",
    "off curve": bls_g1_x(bls_g1_small_x(on_curve=False)),
    "off subgroup": bls_g1_x(ON),
    "x not reduced": bls_g1_x(ON + BLS_P),
    "generator's x not reduced": ((int.from_bytes(VALID_G1, "big") & (1 << 381) - 1) + BLS_P).to_bytes(
        48, "big"
    ),
}
BAD_G2 = {
    "empty": b"",
    "cut": VALID_G2[:-1],
    "trailing byte": VALID_G2 + b"\x00",
    "zeros": bytes(96),
    "ones": b"\xff" * 96,
    "infinity": BLS_G2_INFINITY,
    "infinity with sign": b"\xe0" + bytes(95),
    "infinity with a bit": BLS_G2_INFINITY[:-1] + b"\x01",
    "flag in the second half": VALID_G2[:48] + bytes([VALID_G2[48] | 0x80]) + VALID_G2[49:],
    "off subgroup": off_subgroup_g2(),
    "x not reduced": bls_g2_x(BLS_P + 1, 1),
}


@pytest.mark.parametrize("encoding", BAD_G1.values(), ids=BAD_G1.keys())
def test_bls_g1_decoding_is_strict(backend: backends.Backends, encoding: bytes) -> None:
    """What is not the canonical encoding of a point of G1 other than infinity is refused."""
    with pytest.raises(InvalidPoint):
        backend.bls12381.decode_g1(encoding)


@pytest.mark.parametrize("encoding", BAD_G2.values(), ids=BAD_G2.keys())
def test_bls_g2_decoding_is_strict(backend: backends.Backends, encoding: bytes) -> None:
    """What is not the canonical encoding of a point of G2 other than infinity is refused."""
    with pytest.raises(InvalidPoint):
        backend.bls12381.decode_g2(encoding)


BN_ON = bn_g1_small_x(on_curve=True)
BN_Y = pow(BN_ON**3 + 3, (P + 1) // 4, P)
BN_VALID_G2 = NATIVE.bn254.encode_g2(NATIVE.bn254.g2)


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in values)


BAD_BN_G1 = {
    "empty": b"",
    "cut": words(BN_ON, BN_Y)[:-1],
    "trailing byte": words(BN_ON, BN_Y) + b"\x00",
    "infinity": BN_G1_INFINITY,
    "off curve": words(BN_ON, BN_Y + 1),
    "x not reduced": words(BN_ON + P, BN_Y),
    "y not reduced": words(BN_ON, BN_Y + P),
    "ones": b"\xff" * 64,
}
BAD_BN_G2 = {
    "empty": b"",
    "cut": BN_VALID_G2[:-1],
    "trailing byte": BN_VALID_G2 + b"\x00",
    "infinity": BN_G2_INFINITY,
    "off curve": BN_VALID_G2[:-1] + bytes([BN_VALID_G2[-1] ^ 1]),
    "real part first": BN_VALID_G2[32:64] + BN_VALID_G2[:32] + BN_VALID_G2[96:] + BN_VALID_G2[64:96],
    "off subgroup": bytes.fromhex(selftest.BN_OFF_SUBGROUP),
    "not reduced": (int.from_bytes(BN_VALID_G2[:32], "big") + P).to_bytes(32, "big") + BN_VALID_G2[32:],
    "ones": b"\xff" * 128,
}


@pytest.mark.parametrize("encoding", BAD_BN_G1.values(), ids=BAD_BN_G1.keys())
def test_bn254_g1_decoding_is_strict(
    backend: backends.Backends, encoding: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is not a point with coordinates below the field prime is refused, and no library panics on the
    way.
    """
    with pytest.raises(InvalidPoint):
        backend.bn254.decode_g1(encoding)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encoding", BAD_BN_G2.values(), ids=BAD_BN_G2.keys())
def test_bn254_g2_decoding_is_strict(
    backend: backends.Backends, encoding: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is not a point of the subgroup with coordinates below the field prime is refused, without a
    panic.
    """
    with pytest.raises(InvalidPoint):
        backend.bn254.decode_g2(encoding)
    assert capfd.readouterr().err == ""


def test_bn254_g2_sign_survives_a_round_trip(backend: backends.Backends) -> None:
    """A point and its negative decode to themselves: the library's own compressed form keeps the right
    root.
    """
    curve = backend.bn254
    for factor in (1, -1, 5, -5):
        encoding = curve.encode_g2(curve.msm_g2([curve.g2], [factor]))
        assert encoding == curve.encode_g2(curve.decode_g2(encoding))


def test_infinity_where_it_has_a_meaning(any_backend: backends.Backends) -> None:
    """Canonical infinity decodes only on request, encodes to itself, and is neutral in sums and pairings."""
    for curve in (any_backend.bls12381, any_backend.bn254):
        zero1, zero2 = curve.msm_g1([], []), curve.msm_g2([], [])
        encoding1, encoding2 = curve.encode_g1(zero1), curve.encode_g2(zero2)
        assert encoding1 == curve.encode_g1(curve.decode_g1(encoding1, infinity=True))
        assert encoding2 == curve.encode_g2(curve.decode_g2(encoding2, infinity=True))
        assert encoding2 == curve.encode_g2(curve.msm_g2([curve.g2, curve.g2], [1, -1]))
        assert curve.pairing_check([(zero1, curve.g2), (curve.g1, zero2)])
        assert not curve.pairing_check([(curve.g1, curve.g2)])


def test_infinity_on_request_stays_strict(any_backend: backends.Backends) -> None:
    """Asking for infinity opens no door for other spellings of it."""
    curve = any_backend.bls12381
    for wrong in (b"\xff" * 96, b"\xe0" + bytes(95), BLS_G2_INFINITY[:-1] + b"\x01", b""):
        with pytest.raises(InvalidPoint):
            curve.decode_g2(wrong, infinity=True)


def test_encoding_that_a_library_reads_wrongly_is_refused() -> None:
    """Whatever a library lets pass, only the bytes that it writes for the point are accepted."""
    with pytest.raises(InvalidPoint, match="encoding is not canonical"):
        decode_compressed(b"\x80" + bytes(47), 48, lambda _: "point", lambda _: VALID_G1)


def test_unequal_lengths_are_refused(any_backend: backends.Backends) -> None:
    """A missing scalar or point is an error, not a silent truncation."""
    for curve in (any_backend.bls12381, any_backend.bn254):
        with pytest.raises(ValueError, match="2 points, but 1 scalars"):
            curve.msm_g1([curve.g1, curve.g1], [1])
        with pytest.raises(ValueError, match="1 points, but 2 scalars"):
            curve.msm_g2([curve.g2], [1, 2])


@pytest.mark.parametrize("size", [0, 256])
def test_domain_separation_tag_has_1_to_255_bytes(any_backend: backends.Backends, size: int) -> None:
    """Longer tags are hashed first by some libraries and refused by others, so none passes."""
    with pytest.raises(ValueError, match="domain separation tag"):
        any_backend.bls12381.hash_to_g1(b"m", b"x" * size)


def test_digest_has_32_bytes(any_backend: backends.Backends) -> None:
    """BN254 hashes a digest, nothing else."""
    with pytest.raises(ValueError, match="digest has 31 bytes"):
        any_backend.bn254.hash_to_g1(bytes(31))


def test_secret_multiplication_in_bls_runs_on_blst() -> None:
    """The native product of a secret comes from the constant-time library alone, and so does a sum of products; arkworks
    has not seen the scalar.
    """
    curve = NativeBls12381()
    of_g1 = curve.secret_mul_g1(curve.g1, 7)
    for product in (of_g1, curve.secret_mul_g2(curve.g2, 7), curve.secret_add_g1(of_g1, of_g1)):
        assert product._blst is not None
        assert product._ark is None


def test_blinding_hides_the_scalar() -> None:
    """The library multiplies by two scalars of full size, never by the secret, and the product is right."""
    seen: list[int] = []

    def mul(point: int, factor: int) -> int:
        seen.append(factor)
        return point * factor % N

    secret = 5
    assert blinding.blinded_mul(mul, 7, b"encoding of 7", secret, N) == 35
    assert secret not in seen
    assert all(factor.bit_length() > 200 for factor in seen)
    blinding.blinded_mul(mul, 7, b"encoding of another point", secret, N)
    blinding.blinded_mul(mul, 7, b"encoding of 7", secret + 1, N)
    masks = seen[::2]
    assert len(masks) == len(set(masks))


def test_chosen_backends_are_named() -> None:
    """The native libraries are in use here, and say so."""
    assert backends.names() == {"bls12-381": "arkworks+pyblst", "bn254": "zksnake"}
    assert backends.fallbacks() == {}


def test_use_restores_the_former_choice() -> None:
    """A block's choice ends with the block, also by an exception."""
    before = backends.names()

    def inside() -> None:
        with toy_crypto():
            assert backends.names() == {"bls12-381": "toy", "bn254": "toy"}
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert before == backends.names()


def test_unknown_backend_name_is_refused() -> None:
    """A typing error in the configuration is named, with the names that exist."""
    with pytest.raises(InputError, match="'rust' is not one of auto, native, py_ecc"):
        backends.select("rust")


def test_broken_native_library_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native library that is missing or wrong is not used; the reason is kept; asking for native then is
    an error.
    """

    def missing() -> None:
        raise ImportError("no module named zksnake")

    def wrong() -> None:
        raise selftest.SelfTestError("arkworks+pyblst: hash to G1 differs from the known answer")

    monkeypatch.setattr(backends, "_native_bn254", missing)
    monkeypatch.setattr(backends, "_native_bls12381", wrong)
    with backends.use("auto"):
        assert backends.names() == {"bls12-381": "py_ecc", "bn254": "py_ecc"}
        assert backends.fallbacks()["bn254"] == "no module named zksnake"
    with pytest.raises(InputError, match="native bls12-381: arkworks"):
        backends.load("native")


class WrongHash(NativeBls12381):
    def __init__(self) -> None:
        super().__init__()
        self.hash_to_g1 = lambda message, dst: self.g1


class Gullible(NativeBls12381):
    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        return True


class Suspicious(NativeBls12381):
    def pairing_check(self, pairs: Sequence[tuple[Point, Point]]) -> bool:
        return False


class LenientBls(NativeBls12381):
    def __init__(self) -> None:
        super().__init__()
        self.decode_g1 = lambda encoding, infinity=False: self.g1


class LenientBn(NativeBn254):
    def __init__(self) -> None:
        super().__init__()
        self.decode_g2 = lambda encoding, infinity=False: self.g2


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (WrongHash, "hash to G1 differs"),
        (Gullible, "accepts a false equation"),
        (Suspicious, "refuses a true equation"),
        (LenientBls, "not canonical"),
        (ToyBls12381, "hash to G1 differs"),
    ],
)
def test_bls_self_test_finds_a_wrong_library(broken: type[NativeBls12381], what: str) -> None:
    """Each kind of wrong answer is found before the library is used, and named."""
    with pytest.raises(selftest.SelfTestError, match=what):
        selftest.check_bls12381(broken())


def test_bn254_self_test_finds_a_lenient_library() -> None:
    """A library that decodes what is not in the group is not used."""
    with pytest.raises(selftest.SelfTestError, match="not in the group"):
        selftest.check_bn254(LenientBn())


def test_refused_point_is_an_error_of_the_project() -> None:
    """InvalidPoint can be caught as a verification error by the user-facing layers and as ValueError by the
    rest.
    """
    assert issubclass(InvalidPoint, EigenKmsError)
    assert issubclass(InvalidPoint, ValueError)


def test_no_backend_is_named_outside_its_package() -> None:
    """Above ``backends`` nobody imports a curve library, so nobody can bypass the guards."""
    libraries = {"py_ecc", "pyblst", "py_arkworks_bls12381", "zksnake"}
    for path in Path(backends.__file__).parent.parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        imported = {module.split(".")[0] for module in modules}
        assert not libraries & imported, path.name


def test_points_may_cross_threads(backend: backends.Backends) -> None:
    """A point decoded, and cached, in one thread can be computed with in another: worker threads share the
    caches.
    """
    bls, bn = backend.bls12381, backend.bn254
    keys = bls.decode_g2(VALID_G2), bn.decode_g2(BN_VALID_G2)
    with ThreadPoolExecutor(max_workers=1) as pool:
        doubled = pool.submit(lambda: (bls.msm_g2([keys[0]], [2]), bn.msm_g2([keys[1]], [2]))).result(
            timeout=PATIENCE
        )
    assert bls.encode_g2(doubled[0]) == bls.encode_g2(bls.msm_g2([bls.g2], [2]))
    assert bn.encode_g2(doubled[1]) == bn.encode_g2(bn.msm_g2([bn.g2], [2]))
