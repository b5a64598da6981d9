"""The parts of publicly verifiable dealings: digits, bounds, transcript, hedging, keys, small logarithms."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc import optimized_bls12_381 as ecc

from eigenkms.crypto import backends
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY
from eigenkms.crypto.pvss import (
    EncryptedShare,
    EncryptionKey,
    InvalidDealing,
    InvalidEncryptionKey,
    KeySlot,
    LogarithmTable,
    UndecryptableShare,
    bounds_for,
    check_dealing,
    check_possession,
    decrypt,
    encoded_size,
    most_additions,
    prove_possession,
)
from eigenkms.crypto.pvss.challenges import mask_keys
from eigenkms.crypto.pvss.decrypter import BLIND
from eigenkms.crypto.pvss.digits import join, split
from eigenkms.crypto.pvss.fiat_shamir import ProofTranscript
from eigenkms.crypto.pvss.hedging import hedged, nonce, symmetric
from eigenkms.crypto.pvss.parameters import BASE, CHUNKS, MASK_BITS, MAX_RECIPIENTS, RESPONSE_SIZE
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.types import ClusterId, OperatorAddress
from tests.crypto.support import bls_g1_small_x, bls_g1_x, counter_rng, scalar
from tests.support import pvss_reference as book
from tests.support.pvss_stage import CLUSTER, Stage, address, stage, table
from tests.support.toy_backend import TOY, ToyBls12381, toy_crypto

SLOT = KeySlot(CLUSTER, address(0), 7)

# --- digits and bounds


@settings(max_examples=300, derandomize=True)
@given(
    value=st.integers(0, R - 1) | st.sampled_from([0, 1, R - 1, R // 2, R // 2 + 1, BASE // 2, BASE // 2 - 1])
)
def test_a_share_is_its_digits(value: int) -> None:
    """Sixteen signed digits, each in range, that add up to the share, and are those that carrying by hand gives."""
    digits = split(SecretScalar(value))
    assert book.digits_of(value) == list(digits)
    assert len(digits) == CHUNKS
    assert all(-BASE // 2 <= digit < BASE // 2 for digit in digits)
    assert SecretScalar(value) == join(digits)


def test_digits_of_any_size_are_joined() -> None:
    """What a dealer stretched is still its share modulo R."""
    assert SecretScalar(0) == join([BASE, -1, *[0] * 14])
    assert SecretScalar(R - 1) == join([-1, *[0] * 15])


@pytest.mark.parametrize("n", [1, 4, 7, 20, 50, 64, 256, MAX_RECIPIENTS])
def test_bounds_hold_together(n: int) -> None:
    """Masks hide honest sums, sums fit their bytes, and a digit's bound has no other representative modulo R."""
    bounds = bounds_for(n)
    assert book.response_bound(n) == bounds.response
    assert bounds.mask == bounds.honest << MASK_BITS
    assert bounds.response + bounds.honest == bounds.mask
    assert bounds.digit == 2 * bounds.response
    assert bounds.mask < 1 << (8 * RESPONSE_SIZE - 1)
    assert 4 * bounds.digit < R


def test_bounds_are_of_possible_numbers() -> None:
    """There is no dealing for nobody, nor for more than the limit."""
    for n in (0, -1, MAX_RECIPIENTS + 1):
        with pytest.raises(ValueError, match=r"1\.\.4096 recipients"):
            bounds_for(n)


def test_sizes_are_as_documented() -> None:
    """The sizes on the page."""
    documented = {4: 12256, 7: 14560, 20: 24544, 50: 47584}
    assert documented == {n: encoded_size(n) for n in documented}


# --- transcript and hedging


def test_challenges_are_what_the_page_says() -> None:
    """SHAKE256 over framed items, as the second implementation has it."""
    items = book.item(b"eigenkms/fiat-shamir/1", b"tag") + book.item(b"one", b"a", b"bc") + book.item(b"none")
    transcript = ProofTranscript(b"tag").absorb(b"one", b"a", b"bc").absorb(b"none")
    assert book.draw(items, b"label", 40) == transcript.challenge(b"label", 40)
    drawn = book.integers(book.draw(items, b"w", 48), 16)
    assert drawn == transcript.weights(b"w", 3, 16)


@settings(max_examples=200, derandomize=True)
@given(
    first=st.lists(st.tuples(st.binary(max_size=3), st.lists(st.binary(max_size=3), max_size=3)), max_size=3),
    second=st.lists(
        st.tuples(st.binary(max_size=3), st.lists(st.binary(max_size=3), max_size=3)), max_size=3
    ),
)
def test_transcripts_are_equal_only_for_equal_items(
    first: list[tuple[bytes, list[bytes]]], second: list[tuple[bytes, list[bytes]]]
) -> None:
    """No way of cutting labels and parts gives another list of items the same challenge."""

    def challenge(items: list[tuple[bytes, list[bytes]]]) -> bytes:
        transcript = ProofTranscript(b"t")
        for label, parts in items:
            transcript = transcript.absorb(label, *parts)
        return transcript.challenge(b"c", 32)

    assert (first == second) == (challenge(first) == challenge(second))


def test_challenges_are_separate() -> None:
    """Another label or another size gives other bytes; absorbing leaves the shorter transcript as it was."""
    transcript = ProofTranscript(b"tag")
    before = transcript.challenge(b"a", 32)
    transcript.absorb(b"more", b"x")
    assert before == transcript.challenge(b"a", 32)
    others = [
        transcript.challenge(b"b", 32),
        transcript.challenge(b"a", 33)[:32],
        ProofTranscript(b"tag 2").challenge(b"a", 32),
    ]
    assert len({before, *others}) == 4


def test_hedged_randomness_needs_source_or_inputs() -> None:
    """It repeats only if the source and all inputs do; each draw is new."""

    def zeros(n: int) -> bytes:
        return bytes(n)

    def first(source: bytes, *inputs: bytes) -> bytes:
        return hedged(lambda n: source * n, b"tag", *inputs)(32)

    drawn = [first(b"\0", b"ab", b""), first(b"\0", b"a", b"b"), first(b"\1", b"ab", b""), first(b"\0")]
    assert len(set(drawn)) == 4
    assert drawn[0] == first(b"\0", b"ab", b"")
    stream = hedged(zeros, b"tag")
    assert stream(32) != stream(32)


@settings(max_examples=100, derandomize=True)
@given(seed=st.text(max_size=5), bound=st.integers(0, 2**40))
def test_drawn_integers_are_in_range(seed: str, bound: int) -> None:
    """Nonces are never zero; masks and blinds are within ±bound."""
    rng = counter_rng(seed)
    assert 1 <= nonce(rng) < R
    assert -bound <= symmetric(rng, bound) <= bound


def test_masks_reach_both_ends() -> None:
    """Every value of a small range is drawn."""
    rng = counter_rng("masks")
    assert set(range(-2, 3)) == {symmetric(rng, 2) for _ in range(100)}


def test_mask_keys_are_hashed_to_the_curve() -> None:
    """128 different points, those that py_ecc's hash gives under the documented tag; another tag than that of identities."""
    with backends.use("native"):
        keys = [backends.bls12381().encode_g1(point) for point in mask_keys()]
    assert len(set(keys)) == 128
    for j in (0, 127):
        assert ecc.eq(book.mask_key(j), book.g1(keys[j]))


# --- encryption keys


@pytest.mark.usefixtures("any_backend")
def test_possession_is_proven_for_one_slot() -> None:
    """The proof holds for its key and its cluster, operator and number; for no other."""
    key = EncryptionKey.of(scalar("key"))
    proof = prove_possession(key, SLOT, counter_rng("k"))
    check_possession(key.public, SLOT, proof)
    for slot in (
        KeySlot(ClusterId(bytes(32)), SLOT.operator, 7),
        KeySlot(CLUSTER, address(1), 7),
        KeySlot(CLUSTER, SLOT.operator, 8),
    ):
        with pytest.raises(InvalidEncryptionKey, match="does not hold"):
            check_possession(key.public, slot, proof)


@pytest.mark.usefixtures("fast_backend")
def test_malformed_possession_is_refused() -> None:
    """Changed bytes, wrong length, a response that is not reduced, a point that is none: the key's owner is at fault."""
    key = EncryptionKey.generate(counter_rng("key"))
    proof = prove_possession(key, SLOT, counter_rng("k"))
    for i in range(0, len(proof), 5):
        with pytest.raises(InvalidEncryptionKey):
            check_possession(key.public, SLOT, proof[:i] + bytes([proof[i] ^ 1]) + proof[i + 1 :])
    for wrong, said in (
        (b"", "0 bytes, not 80"),
        (proof + b"\x00", "81 bytes, not 80"),
        (proof[:48] + R.to_bytes(32, "big"), "not below R"),
        (BLS_G1_INFINITY + proof[48:], "infinity"),
    ):
        with pytest.raises(InvalidEncryptionKey, match=said):
            check_possession(key.public, SLOT, wrong)
    for public in (BLS_G1_INFINITY, b"junk"):
        with pytest.raises(InvalidEncryptionKey, match="decode point"):
            check_possession(public, SLOT, proof)


def test_a_key_of_small_order_is_refused() -> None:
    """Such a key would receive shares in the clear but for a few bits."""
    with backends.use("native"):
        key = EncryptionKey.of(scalar("key"))
        proof = prove_possession(key, SLOT, counter_rng("k"))
        with pytest.raises(InvalidEncryptionKey, match="subgroup"):
            check_possession(bls_g1_x(bls_g1_small_x(on_curve=True)), SLOT, proof)


@pytest.mark.usefixtures("fast_backend")
def test_a_key_derived_from_anothers_has_no_proof() -> None:
    """A key y' = y + a·G, with which two rows would show the difference of two shares: its maker cannot prove that it has sk'."""
    curve = backends.bls12381()
    victim = EncryptionKey.generate(counter_rng("victim"))
    derived = curve.encode_g1(curve.msm_g1([curve.decode_g1(victim.public), curve.g1], [1, 5]))
    pretended = EncryptionKey(derived, SecretScalar(5))
    for proof in (
        prove_possession(pretended, SLOT, counter_rng("k")),
        prove_possession(victim, SLOT, counter_rng("k")),
    ):
        with pytest.raises(InvalidEncryptionKey, match="does not hold"):
            check_possession(derived, SLOT, proof)


def test_possession_holds_by_the_book() -> None:
    """T ‖ z with z·G1 = T + c·y, the challenge spelled out from the page, over py_ecc."""
    with backends.use("native"):
        key = EncryptionKey.of(scalar("key"))
        proof = prove_possession(key, SLOT, counter_rng("k"))
    items = (
        book.item(b"eigenkms/fiat-shamir/1", b"eigenkms/pvss/possession/1")
        + book.item(b"slot", CLUSTER, SLOT.operator, bytes(7) + b"\x07")
        + book.item(b"key", key.public)
        + book.item(b"commitment", proof[:48])
    )
    c = int.from_bytes(book.draw(items, b"c", 64), "big") % R
    left = ecc.multiply(ecc.G1, int.from_bytes(proof[48:], "big"))
    assert ecc.eq(left, ecc.add(book.g1(proof[:48]), ecc.multiply(book.g1(key.public), c)))


@pytest.mark.usefixtures("fast_backend")
def test_possession_nonces_are_hedged() -> None:
    """With a source that repeats itself two slots use two nonces, and so do two keys."""
    first, second = EncryptionKey.of(scalar("1")), EncryptionKey.of(scalar("2"))
    other = KeySlot(CLUSTER, SLOT.operator, 8)

    def commitment(key: EncryptionKey, slot: KeySlot) -> bytes:
        return prove_possession(key, slot, bytes)[:48]

    assert len({commitment(first, SLOT), commitment(first, other), commitment(second, SLOT)}) == 3


def test_secrets_print_redacted() -> None:
    """No secret of a key stands in its repr."""
    with toy_crypto():
        key = EncryptionKey.of(SecretScalar(123456789))
    assert "123456789" not in repr(key).replace(repr(key.public), "")


def test_slots_and_secrets_have_their_ranges() -> None:
    """A caller's mistake is an error at once."""
    with pytest.raises(ValueError, match="secret of an encryption key is zero"):
        EncryptionKey.of(SecretScalar(0))
    for slot in (
        (ClusterId(b""), address(0), 0),
        (CLUSTER, OperatorAddress(b""), 0),
        (CLUSTER, address(0), -1),
        (CLUSTER, address(0), 2**64),
    ):
        with pytest.raises(ValueError, match="a key slot has"):
            KeySlot(*slot)


# --- small logarithms


class Counting(ToyBls12381):
    """Toy curves that count what a search costs. A toy point is its own logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.additions = 0
        self.shown: set[int] = set()
        encode = self.encode_g1

        def encode_g1(point: int) -> bytes:
            self.shown.add(point)
            return encode(point)

        self.encode_g1 = encode_g1

    def add_g1(self, a: int, b: int) -> int:
        self.additions += 1
        return super().add_g1(a, b)


@pytest.mark.usefixtures("any_backend")
def test_logarithms_within_the_bound_are_found() -> None:
    """Every value in ±bound, of either sign, on every backend; none beyond the last stretch."""
    curve, small = backends.bls12381(), LogarithmTable(8)
    for value in (0, 1, -1, 3, 4, -4, -5, 19, 20, -20):
        assert small.find(curve.msm_g1([curve.g1], [value]), 20) == value
    for value in (29, -30, R // 2):
        assert small.find(curve.msm_g1([curve.g1], [value]), 20) is None


@settings(max_examples=100, derandomize=True)
@given(width=st.integers(1, 20), bound=st.integers(0, 200), data=st.data())
def test_a_search_is_complete_and_bounded(width: int, bound: int, data: st.DataObject) -> None:
    """Whatever width and bound: what is within is found, and no search makes more additions than ``steps``."""
    value = data.draw(st.integers(-bound, bound))
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        small = LogarithmTable(width)
        for point, expected in ((value % R, value), (R // 2, None)):
            curve.additions = 0
            assert small.find(point, bound) == expected
            assert curve.additions <= small.steps(bound)
        assert curve.additions == small.steps(bound)


# --- the cost of decrypting what a liar dealt


def cost(curve: Counting, case: Stage, part: book.Encrypted, victim: int) -> int:
    """Additions for the victim's share, which is the right one."""
    claim = case.claim(part)
    check_dealing(claim, case.recipients, case.threshold, counter_rng("verifier"))
    small = table()
    curve.additions = 0
    share = decrypt(
        claim.encrypted.share(victim), case.keys[victim], len(case.keys), small, counter_rng("blind")
    )
    assert case.shares[victim] == share.value
    return curve.additions


def stretched(case: Stage, victim: int, size: int) -> list[list[int]]:
    """All digits of the victim moved out to about ``size``, the share kept."""
    rows = [book.digits_of(share) for share in case.shares]
    carry = 0
    for k in range(CHUNKS - 1):
        away = (size >> 16) * (-1) ** k
        rows[victim][k] += (away << 16) - carry
        carry = away
    rows[victim][-1] -= carry
    return rows


def test_an_honest_share_costs_its_blinding() -> None:
    """At most 2·64 additions for each digit and one stretch of the width."""
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case = stage(20, 14)
        part = book.forge(case.statement, book.Lie([book.digits_of(share) for share in case.shares]))
        assert cost(curve, case, part, 3) <= CHUNKS * table().steps(BLIND + BASE)


@pytest.mark.slow
def test_the_dearest_dealing_is_decrypted() -> None:
    """A liar that stretches all digits of a victim as far as a few hundred tries allow: accepted, right, and its cost is that
    of the digits' sum, a fraction of the bound that holds for every dealing.
    """
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case = stage(20, 14)
        response = bounds_for(20).response
        lie = book.Lie(stretched(case, 3, response // 4), tries=200)
        spent = cost(curve, case, book.forge(case.statement, lie), 3)
        most = most_additions(20, table())
        assert 1 < lie.used < 200
        assert spent <= 2 * (CHUNKS * response // 4) // BASE + CHUNKS * table().steps(BLIND + BASE)
        assert 7 * spent < most < 800_000


def test_one_digit_may_use_all_the_slack() -> None:
    """A single digit at almost ±2·response needs no luck: it is accepted, found, and costs its own share of the bound."""
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case = stage(4, 3)
        rows = [book.digits_of(share) for share in case.shares]
        away = bounds_for(4).digit - 2 * bounds_for(4).honest >> 16
        rows[1][14] += away << 16
        rows[1][15] -= away
        spent = cost(curve, case, book.forge(case.statement, book.Lie(rows, tries=50)), 1)
        assert most_additions(4, table()) // CHUNKS <= spent * 1.1
        assert spent < most_additions(4, table()) // 4


def far_share(curve: ToyBls12381, key: EncryptionKey, digits: Sequence[int]) -> EncryptedShare:
    """What no verifier saw: these digits, encrypted."""
    public = curve.decode_g1(key.public)
    shared = tuple(curve.encode_g1(k) for k in range(1, CHUNKS + 1))
    return EncryptedShare(
        shared, tuple(curve.encode_g1((d + k * public) % R) for k, d in enumerate(digits, 1))
    )


def test_no_share_costs_more_than_the_bound() -> None:
    """Every digit at the very end of its range, as no proof allows: the search ends within ``most_additions``."""
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        key, limit = EncryptionKey.of(scalar("key")), bounds_for(1).digit
        share = far_share(curve, key, [limit, -limit] * 8)
        small = table()
        curve.additions = 0
        assert join([limit, -limit] * 8) == decrypt(share, key, 1, small, counter_rng("blind"))
        assert curve.additions <= most_additions(1, small) < 180_000


@pytest.mark.parametrize("far", [1, BLIND // 2, R // 2])
def test_a_digit_beyond_the_bound_is_nobodys_share(far: int) -> None:
    """Refused whatever the blinding, within the cost of one digit; the dealer is at fault."""
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        key, limit = EncryptionKey.of(scalar("key")), bounds_for(1).digit
        small = table()
        for seed in "abc":
            curve.additions = 0
            with pytest.raises(UndecryptableShare, match="chunk 0 has no logarithm"):
                decrypt(far_share(curve, key, [limit + far] * CHUNKS), key, 1, small, counter_rng(seed))
            assert curve.additions <= small.steps(limit + BLIND)


def test_decryption_shows_no_digit() -> None:
    """What is converted, added in variable time or looked up is never the digit's own point, but a blinded one."""
    curve = Counting()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case = stage(2, 2)
        share, small = case.dealt("shown").encrypted.share(0), table()
        curve.shown.clear()
        decrypt(share, case.keys[0], 2, small, counter_rng("blind"))
        digits = {digit % R for digit in book.digits_of(case.shares[0])}
        assert not digits & curve.shown
        assert len(curve.shown) >= CHUNKS


@pytest.mark.usefixtures("fast_backend")
def test_a_share_is_decrypted_with_its_own_key_only() -> None:
    """Another key finds no logarithm; a share that is malformed is an error that names the chunk."""
    case = stage(1, 1)
    share = case.dealt().encrypted.share(0)
    small = LogarithmTable(2**12)
    with pytest.raises(InvalidDealing, match="has not 16 chunks"):
        decrypt(EncryptedShare(share.randomness, share.row[1:]), case.keys[0], 1, small, counter_rng("b"))
    broken = EncryptedShare(share.randomness, (BLS_G1_INFINITY, *share.row[1:]))
    with pytest.raises(InvalidDealing, match="chunk 0: decode point"):
        decrypt(broken, case.keys[0], 1, small, counter_rng("b"))
    for length in (0, 1535, 1537):
        with pytest.raises(InvalidDealing, match=f"{length} bytes, not 1536"):
            EncryptedShare.decode(bytes(length))


def test_another_key_decrypts_nothing() -> None:
    """Its search ends at the bound."""
    with toy_crypto():
        case = stage(1, 1)
        with pytest.raises(UndecryptableShare):
            decrypt(
                case.dealt().encrypted.share(0), EncryptionKey.of(scalar("x")), 1, table(), counter_rng("b")
            )


def test_each_digit_is_encrypted_by_the_book() -> None:
    """R_k = r_k·G1 for some r_k, and C_k − sk·R_k = digit_k·G1, over py_ecc, for the digits that carrying by hand gives."""
    with backends.use("native"):
        case = stage(2, 2)
        share = case.dealt().encrypted.share(1)
    secret = case.keys[1].secret.value
    for digit, shared, chunk in zip(book.digits_of(case.shares[1]), share.randomness, share.row, strict=True):
        found = ecc.add(book.g1(chunk), ecc.neg(ecc.multiply(book.g1(shared), secret)))
        assert ecc.eq(found, ecc.multiply(ecc.G1, digit % R))
