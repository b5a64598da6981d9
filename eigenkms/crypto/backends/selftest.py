"""Known answers that a backend must give before it is used: a wrong library would otherwise make keys that
nobody else can use.

The values come from two unrelated libraries (and the pairing's from the definition of the tower), never
from the backend under test.
"""

import hashlib

from eigenkms.crypto.backends.interface import (
    BLS_G1_INFINITY,
    BLS_G1_SIZE,
    BN_G2_INFINITY,
    Bls12381,
    Bn254,
    InvalidPoint,
    PairingCurve,
)

_DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
_HASHED = "aec0accb9fcad64fe313a7b55c7e8ef47a64b1882761cf453c2f5ba98b1c2120caa93d7b6c350e275a91be3b616b0bbc"
_PAIRING_SHA256 = "300e47c99502f3af33ad2080847d528cabd90365a90ab98bc174565c27928591"
_SECRET = 0x164C99FBF92B37B1CFA80194C7670B014F02C55EB5C1D99B65459921020FF6DF
_BLS_PUBLIC = (
    "81057354dce379922a1e30b37dc38ad2c1300c82de98b6fae5c1b5b0b3f2c5b3"
    "4c3ebfade747cb3913e30f0fe73a428e002e13ff731f71fb50c46572932a5ed5"
    "c6b718e181d65b0684f58bd4eda466bccd480d8f118f64df1f11e81ecfb14611"
)
_BN_DIGEST = "dadd7a37e85900300817b63b42f5dd17b3460fb96676f5f9032a696933969a65"
_BN_SIGNATURE = (
    "168be28d333b4fad62e29afc7b583796524f72715d61be88d2dd9936834cd5b8"
    "05e7f2465cc2f4a05b430c9ccb2bdf145437587c01487158c7e0434a63cb51b8"
)
_BN_PUBLIC = (
    "25dff7d1f2670b2ef09f1c45fdcdbcb65a4da954cfdb5fead6f4297023467ff6"
    "26e85203963d93587c914a4e349fab383e5784b74bf598f8d0612ec8b462548c"
    "174f0d94d0d1de06eec8afac5bc39f7eb927b642e240491721113e0f5f5d6edc"
    "17f7680503677f4edcdaec324252e0c617ab2d1b18074c0cfbc4aa430cd6bd4d"
)
BN_OFF_SUBGROUP = (
    "0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000001"
    "0d1271953ed9ea0836846e70a1934187998c7f790cb4d7511b7f8da82de048a4"
    "2869111d5381f072f8e2728fdb825a51aadd70e52c9830e9ab4b871c0531f1bb"
)


class SelfTestError(Exception):
    """A backend gave another answer than the known one; it must not be used."""


def check_bls12381(curve: Bls12381) -> None:
    """Raises SelfTestError unless the backend hashes, multiplies, pairs, encodes and refuses as it must."""
    hashed = curve.hash_to_g1(b"test-app", _DST)
    _same(curve, "hash to G1", curve.encode_g1(hashed).hex(), _HASHED)
    public = curve.secret_mul_g2(curve.g2, _SECRET)
    _same(curve, "secret multiplication in G2", curve.encode_g2(public).hex(), _BLS_PUBLIC)
    gt = hashlib.sha256(curve.pairing_bytes(curve.g1, curve.g2)).hexdigest()
    _same(curve, "pairing bytes", gt, _PAIRING_SHA256)
    _check_pairing(curve, hashed, public)
    for malleable in (b"\xff" * BLS_G1_SIZE, b"\xe0" + BLS_G1_INFINITY[1:], BLS_G1_INFINITY[:-1] + b"\x01"):
        _refuses_g1(curve, malleable)


def check_bn254(curve: Bn254) -> None:
    """Raises SelfTestError unless the backend hashes, multiplies, pairs, encodes and refuses as it must."""
    hashed = curve.hash_to_g1(bytes.fromhex(_BN_DIGEST))
    _same(curve, "signature", curve.encode_g1(curve.secret_mul_g1(hashed, _SECRET)).hex(), _BN_SIGNATURE)
    public = curve.secret_mul_g2(curve.g2, _SECRET)
    _same(curve, "public key", curve.encode_g2(public).hex(), _BN_PUBLIC)
    _check_pairing(curve, hashed, public)
    for wrong in (BN_G2_INFINITY, bytes.fromhex(BN_OFF_SUBGROUP)):
        _refuses_g2(curve, wrong)


def _check_pairing(curve: PairingCurve, hashed: object, public: object) -> None:
    signature = curve.secret_mul_g1(hashed, _SECRET)
    wrong = curve.msm_g1([signature, curve.g1], [1, 1])
    if not curve.pairing_check([(signature, curve.minus_g2), (hashed, public)]):
        raise SelfTestError(f"{curve.name}: pairing check refuses a true equation")
    if curve.pairing_check([(wrong, curve.minus_g2), (hashed, public)]):
        raise SelfTestError(f"{curve.name}: pairing check accepts a false equation")


def _same(curve: PairingCurve, what: str, got: str, known: str) -> None:
    if got != known:
        raise SelfTestError(f"{curve.name}: {what} differs from the known answer")


def _refuses_g1(curve: PairingCurve, encoding: bytes) -> None:
    try:
        curve.decode_g1(encoding)
    except InvalidPoint:
        return
    raise SelfTestError(f"{curve.name}: decodes {encoding[:2].hex()}…, which is not canonical")


def _refuses_g2(curve: PairingCurve, encoding: bytes) -> None:
    try:
        curve.decode_g2(encoding)
    except InvalidPoint:
        return
    raise SelfTestError(f"{curve.name}: decodes {encoding[:2].hex()}…, which is not in the group")
