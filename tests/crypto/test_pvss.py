"""Publicly verifiable dealings: what is dealt is decrypted, and what is not a dealing for this context is refused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import py_arkworks_bls12381 as ark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import backends, feldman
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G2_INFINITY
from eigenkms.crypto.pvss import (
    DealingClaim,
    DealingContext,
    EncryptedShare,
    EncryptedShares,
    InvalidDealing,
    InvalidEncryptionKey,
    LogarithmTable,
    Recipients,
    ShareRecipient,
    bounds_for,
    check_dealing,
    deal,
    decrypt,
    encoded_size,
    find_invalid,
)
from eigenkms.crypto.pvss.challenges import mask_keys
from eigenkms.crypto.pvss.digits import join, split
from eigenkms.crypto.scalars import R, SecretScalar, lagrange_at_zero
from eigenkms.crypto.shamir import Polynomial, combine_shares
from tests.crypto.support import bls_g1_small_x, bls_g1_x, counter_rng
from tests.crypto.test_backends import off_subgroup_g2
from tests.support.pvss_reference import Encrypted, Lie, digits_of, failing_equations, forge, g1
from tests.support.pvss_stage import SESSION, Stage, address, stage, table
from tests.support.toy_backend import TOY, toy_crypto

RNG = counter_rng("verifier")


def refused(
    claim: DealingClaim, case: Stage, match: str | None = None, recipients: Recipients | None = None
) -> None:
    with pytest.raises(InvalidDealing, match=match):
        check_dealing(claim, recipients or case.recipients, case.threshold, RNG)


# --- what is dealt


@pytest.mark.slow
@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize(("n", "threshold"), [(1, 1), (2, 2), (4, 3), (3, 5)])
def test_every_recipient_decrypts_its_share(n: int, threshold: int) -> None:
    """A dealing is accepted and gives each recipient f(x), also fewer recipients than coefficients."""
    case = stage(n, threshold)
    claim = case.dealt()
    check_dealing(claim, case.recipients, threshold, RNG)
    for i, key in enumerate(case.keys):
        share = decrypt(claim.encrypted.share(i), key, n, table(), RNG)
        assert case.shares[i] == share.value
        assert feldman.verify_share(share, case.recipients.xs[i], claim.commitments)


@pytest.mark.usefixtures("fast_backend")
def test_encoding_is_canonical() -> None:
    """A dealing has the size that follows from its recipients, and decodes to itself; so does a single share."""
    for n in (1, 3):
        encrypted = stage(n, 2).dealt().encrypted
        encoding = encrypted.encode()
        assert len(encoding) == encoded_size(n)
        assert encrypted == EncryptedShares.decode(encoding, n)
        share = encrypted.share(n - 1)
        assert share == EncryptedShare.decode(share.encode())


def test_a_rotation_deals_on_the_share_of_the_source() -> None:
    """Shares of shares, decrypted and combined, lie on the combined commitments and keep the master key."""
    with toy_crypto():
        source = stage(4, 3)
        commitments = source.polynomial.commitments()
        dealers = [0, 1, 3]
        claims, new = [], []
        for i in dealers:
            case = replace(
                source.of_dealer(i),
                polynomial=Polynomial.random(3, counter_rng(f"{i}"), SecretScalar(source.shares[i])),
            )
            public = feldman.public_share(source.recipients.xs[i], commitments)
            claims.append(replace(case.dealt(), constant=public))
        assert find_invalid(claims, source.recipients, 3, RNG) == {}
        lambdas = lagrange_at_zero([source.recipients.xs[i] for i in dealers])
        combined = feldman.combine_commitments(lambdas, [claim.commitments for claim in claims])
        assert commitments[0] == combined[0]
        for i, key in enumerate(source.keys):
            got = [decrypt(claim.encrypted.share(i), key, 4, table(), RNG) for claim in claims]
            new.append(combine_shares(lambdas, got))
            assert feldman.verify_share(new[-1], source.recipients.xs[i], combined)


# --- the second implementation


@pytest.mark.slow
def test_each_equation_holds_by_the_book() -> None:
    """The twin over py_ecc, written from the page, finds no equation of an honest dealing that fails."""
    with backends.use("native"):
        case = stage(2, 2)
        part = Encrypted.cut(case.dealt().encrypted.encode(), 2)
        assert not failing_equations(case.statement, part, native_mask_keys())


def native_mask_keys() -> list[Any]:
    """The mask keys as the package has them, for py_ecc; ``test_pvss_parts`` compares some with py_ecc's own."""
    return [g1(backends.bls12381().encode_g1(point)) for point in mask_keys()]


LIES: dict[str, tuple[Callable[[Stage], Lie], str]] = {
    "proof of the encrypted shares": (
        lambda case: Lie([digits_of((case.shares[0] + 1) % R), digits_of(case.shares[1])]),
        "(5)",
    ),
    "proof of the committed shares": (
        lambda case: Lie(
            [digits_of((case.shares[0] + 1) % R), digits_of(case.shares[1])],
            combined=lambda gamma: sum(map(int.__mul__, gamma, case.shares)),
        ),
        "(4)",
    ),
    "sums clamped into the range": (
        lambda case: Lie(wide(case, 0, {0: 5 * bounds_for(2).response}), clamp=True),
        "(3)",
    ),
    "sums out of the range": (lambda case: Lie(wide(case, 0, {0: 5 * bounds_for(2).response})), "range"),
}
each_lie = pytest.mark.parametrize(("lie", "failing"), LIES.values(), ids=LIES)


@pytest.mark.slow
@each_lie
def test_each_lie_breaks_its_equation(lie: Callable[[Stage], Lie], failing: str) -> None:
    """The dealer's best proof for something false fails in the equation that forbids it, and in no other."""
    with backends.use("native"):
        case = stage(2, 2)
        part = forge(case.statement, lie(case))
        assert failing_equations(case.statement, part, native_mask_keys()) == [failing]


@pytest.mark.usefixtures("fast_backend")
@each_lie
def test_each_lie_is_refused(lie: Callable[[Stage], Lie], failing: str) -> None:
    """The package refuses what the second implementation refuses, although the rest of the proof holds."""
    case = stage(2, 2)
    part = forge(case.statement, lie(case))
    refused(case.claim(part), case, "masked sum" if failing == "range" else "proof does not hold")


def test_a_book_dealer_is_accepted() -> None:
    """What the second implementation deals honestly passes: the transcript and every equation are the same."""
    for name in ("native", TOY):
        with backends.use(name):
            case = stage(2, 2)
            part = forge(case.statement, Lie([digits_of(share) for share in case.shares]))
            check_dealing(case.claim(part), case.recipients, 2, RNG)


def wide(case: Stage, victim: int, added: dict[int, int]) -> list[list[int]]:
    """The digits of all shares, with multiples of the base moved from each digit k+1 down to digit k; the share stays."""
    rows = [digits_of(share) for share in case.shares]
    for k, amount in added.items():
        carry = amount >> 16
        rows[victim][k] += carry << 16
        rows[victim][k + 1] -= carry
    return rows


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("factor", [3, 2**8, 2**16, 2**100])
def test_a_digit_beyond_the_slack_is_refused(factor: int) -> None:
    """The share would be right, but its recipient could not find it: no proof fits, whatever the masks."""
    case = stage(2, 2)
    rows = wide(case, 1, {0: factor * bounds_for(2).response})
    refused(case.claim(clamped(case, rows)), case)


def clamped(case: Stage, rows: list[list[int]]) -> Encrypted:
    part = forge(case.statement, Lie(rows, clamp=True, tries=4))
    assert all(abs(z) <= bounds_for(2).response for z in part.z)
    return part


@pytest.mark.usefixtures("fast_backend")
def test_a_dealing_of_higher_degree_is_refused() -> None:
    """One coefficient more would let t colluders not suffice: the number of commitments is checked."""
    case, longer = stage(3, 2), stage(3, 3)
    refused(longer.dealt(), case, "3 points, not 2")
    refused(replace(longer.dealt(), commitments=longer.polynomial.commitments()[:2]), case, "does not hold")


# --- what is changed


def changes(encrypted: EncryptedShares) -> dict[str, EncryptedShares]:
    """The encrypted part with each of its fields changed to another good value, and with values exchanged."""
    curve = backends.bls12381()
    other1, other2 = (
        curve.encode_g1(curve.msm_g1([curve.g1], [5])),
        curve.encode_g2(curve.msm_g2([curve.g2], [5])),
    )
    ranges, announced, answers = encrypted.range_proof, encrypted.announcements, encrypted.answers

    def put(values: Sequence[Any], i: int, value: Any) -> tuple[Any, ...]:
        return (*values[:i], value, *values[i + 1 :])

    def exchanged(values: Sequence[Any]) -> tuple[Any, ...]:
        return (values[1], values[0], *values[2:])

    def ranged(**fields: Any) -> EncryptedShares:
        return replace(encrypted, range_proof=replace(ranges, **fields))

    def announcing(**fields: Any) -> EncryptedShares:
        return replace(encrypted, announcements=replace(announced, **fields))

    def answering(**fields: Any) -> EncryptedShares:
        return replace(encrypted, answers=replace(answers, **fields))

    rows, limit = encrypted.rows, bounds_for(len(encrypted.rows)).response
    return {
        "R": replace(encrypted, randomness=put(encrypted.randomness, 3, other1)),
        "R exchanged": replace(encrypted, randomness=exchanged(encrypted.randomness)),
        "C": replace(encrypted, rows=put(rows, 1, put(rows[1], 15, other1))),
        "C exchanged": replace(encrypted, rows=put(rows, 0, exchanged(rows[0]))),
        "rows exchanged": replace(encrypted, rows=exchanged(rows)),
        "base": ranged(base=other1),
        "Q": ranged(masks=put(ranges.masks, 127, other1)),
        "Q exchanged": ranged(masks=exchanged(ranges.masks)),
        "z": ranged(responses=put(ranges.responses, 0, ranges.responses[0] + 1)),
        "z negated": ranged(responses=put(ranges.responses, 9, -ranges.responses[9])),
        "z out of range": ranged(responses=put(ranges.responses, 9, limit + 1)),
        "z below range": ranged(responses=put(ranges.responses, 9, -limit - 1)),
        "A": announcing(randomness=put(announced.randomness, 0, other1)),
        "A exchanged": announcing(randomness=exchanged(announced.randomness)),
        "A_B": announcing(base=other1),
        "A_chunks": announcing(chunks=other1),
        "A_sharing": announcing(sharing=other1),
        "A_chunks and A_sharing exchanged": announcing(chunks=announced.sharing, sharing=announced.chunks),
        "A_public": announcing(public=other2),
        "u": answering(randomness=put(answers.randomness, 5, (answers.randomness[5] + 1) % R)),
        "u exchanged": answering(randomness=exchanged(answers.randomness)),
        "u_B": answering(base=(answers.base + 1) % R),
        "u_a": answering(combined_share=(answers.combined_share + 1) % R),
    }


with toy_crypto():
    CHANGES = list(changes(stage(2, 2).dealt().encrypted))


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_field_is_refused(name: str) -> None:
    """Every field counts: with another good value in it, or with two values exchanged, no dealing verifies."""
    case = stage(2, 2)
    claim = case.dealt()
    refused(replace(claim, encrypted=changes(claim.encrypted)[name]), case)


@pytest.mark.usefixtures("fast_backend")
def test_parts_of_two_dealings_do_not_mix() -> None:
    """Each field taken over from another valid dealing of the same polynomial in the same context."""
    case = stage(2, 2)
    first, second = case.dealt("first"), case.dealt("second")
    for claim in (first, second):
        check_dealing(claim, case.recipients, 2, RNG)
    for name in ("randomness", "rows", "range_proof", "announcements", "answers"):
        mixed = replace(first.encrypted, **{name: getattr(second.encrypted, name)})
        refused(replace(first, encrypted=mixed), case)


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("source", [b"", b"s" * 32])
def test_a_dealing_is_for_one_context(source: bytes) -> None:
    """Replayed to another cluster, session, dealer or source it is refused."""
    case = stage(2, 2, source)
    claim = case.dealt()
    others = {
        "cluster": SESSION,
        "session": b"\x01" * 32,
        "dealer": address(1),
        "source": b"" if source else b"s" * 32,
    }
    for name, value in others.items():
        refused(replace(claim, context=replace(claim.context, **{name: value})), case, "does not hold")
    if source:
        refused(replace(claim, context=replace(claim.context, source=b"t" * 32)), case, "does not hold")


@pytest.mark.usefixtures("fast_backend")
def test_a_dealing_is_for_one_list_of_recipients() -> None:
    """Another order, another address, another key or another number of recipients: refused."""
    case = stage(3, 2)
    claim, members = case.dealt(), list(case.recipients.members)
    other = stage(4, 2).recipients.members[3]
    lists = {
        "order": members[::-1],
        "address": [replace(members[0], address=other.address), *members[1:]],
        "key": [replace(members[0], key=other.key), *members[1:]],
        "keys exchanged": [
            replace(members[0], key=members[1].key),
            replace(members[1], key=members[0].key),
            members[2],
        ],
    }
    for changed in lists.values():
        refused(claim, case, "does not hold", Recipients(changed))
    refused(claim, case, "3 rows for 4 recipients", Recipients([*members, other]))
    refused(claim, case, "3 rows for 2 recipients", Recipients(members[:2]))


@pytest.mark.usefixtures("fast_backend")
def test_commitments_are_those_of_the_proof() -> None:
    """Other commitments, in another order, or not on the dealer's share of the source: refused."""
    case = stage(2, 2)
    claim = case.dealt()
    first, second = claim.commitments
    foreign = case.of_dealer(5).polynomial.commitments()
    for commitments in ((second, first), (first, foreign[1]), (foreign[0], second), foreign):
        refused(replace(claim, commitments=commitments, constant=None), case, "does not hold")
    refused(replace(claim, constant=foreign[0]), case, "dealer's share of the source")
    refused(replace(claim, commitments=(), constant=first), case, "dealer's share of the source")
    refused(replace(claim, commitments=(first, BLS_G2_INFINITY)), case, "C_1")


BAD_POINTS = {
    "infinity": BLS_G1_INFINITY,
    "torsion": bls_g1_x(bls_g1_small_x(on_curve=True)),
    "off curve": bls_g1_x(bls_g1_small_x(on_curve=False)),
    "cut": b"\x80",
}


@pytest.mark.parametrize("bad", BAD_POINTS.values(), ids=BAD_POINTS.keys())
@pytest.mark.parametrize("at", [0, 15, 16, 47, 48, 49, 176, 177, 192, 193, 194, 195])
def test_points_are_decoded_strictly(bad: bytes, at: int) -> None:
    """A point that is infinity, off the curve or outside the subgroup is refused wherever it stands."""
    with backends.use("native"):
        case = stage(2, 2)
        part = Encrypted.cut(case.dealt().encrypted.encode(), 2)
        points = [*part.shared, *part.rows[0], *part.rows[1], part.base, *part.masks, *part.announced[:-1]]
        points[at] = bad.ljust(48, b"\xff") if len(bad) != 48 else bad
        part.shared, part.rows = points[:16], [points[16:32], points[32:48]]
        part.base, part.masks, part.announced[:-1] = points[48], points[49:177], points[177:]
        refused(case.claim(part), case, "decode point")


def test_points_of_g2_are_decoded_strictly() -> None:
    """The announcement in G2 has to be in the subgroup, too, and not infinity."""
    with backends.use("native"):
        case = stage(2, 2)
        part = Encrypted.cut(case.dealt().encrypted.encode(), 2)
        for bad in (off_subgroup_g2(), BLS_G2_INFINITY, b"\xff" * 96):
            part.announced[-1] = bad
            refused(case.claim(part), case, "decode point")


def test_small_order_added_to_a_chunk_is_refused() -> None:
    """A chunk plus a point of small order is off the subgroup, even if the dealer proves with it."""
    with backends.use("native"):
        case = stage(2, 2)
        encoding = case.dealt().encrypted.rows[0][0]
        point = ark.G1Point.from_compressed_bytes(encoding)
        # cleared of its part in the subgroup: what is left has an order that divides the cofactor
        small = ark.G1Point.from_compressed_bytes_unchecked(BAD_POINTS["torsion"])
        torsion, bits = small, bin(R)[3:]
        for bit in bits:
            torsion = torsion + torsion + small if bit == "1" else torsion + torsion
        changed = bytes((point + torsion).to_compressed_bytes())
        assert changed != encoding
        with pytest.raises(InvalidDealing, match="subgroup"):
            decrypt(
                EncryptedShare(case.dealt().encrypted.randomness, (changed,) * 16),
                case.keys[0],
                2,
                LogarithmTable(4),
                RNG,
            )
        part = Encrypted.cut(case.dealt().encrypted.encode(), 2)
        part.rows[0][0] = changed
        refused(case.claim(part), case, "subgroup")


@pytest.mark.slow
@settings(max_examples=200, derandomize=True)
@given(bit=st.integers(0, 8 * encoded_size(2) - 1))
def test_every_bit_counts(bit: int) -> None:
    """A flipped bit anywhere makes a dealing that does not decode or does not verify."""
    with toy_crypto():
        flipped_bit_is_refused(bit)


@settings(max_examples=30, derandomize=True)
@given(bit=st.integers(0, 8 * encoded_size(2) - 1))
def test_every_bit_counts_on_real_curves(bit: int) -> None:
    """The same on the native backend."""
    with backends.use("native"):
        flipped_bit_is_refused(bit)


def flipped_bit_is_refused(bit: int) -> None:
    case = stage(2, 2)
    claim = case.dealt()
    encoding = bytearray(claim.encrypted.encode())
    encoding[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidDealing):
        check_dealing(
            replace(claim, encrypted=EncryptedShares.decode(bytes(encoding), 2)), case.recipients, 2, RNG
        )


@settings(max_examples=100, derandomize=True)
@given(noise=st.binary(max_size=64), cut=st.integers(0, encoded_size(2)))
def test_other_lengths_do_not_decode(noise: bytes, cut: int) -> None:
    """Too short, too long, or of another number of recipients: refused before anything is read."""
    with toy_crypto():
        encoding = stage(2, 2).dealt().encrypted.encode()
    for wrong in (encoding[:cut], encoding + b"\x00" + noise, noise):
        if len(wrong) != len(encoding):
            with pytest.raises(InvalidDealing, match="bytes, not the"):
                EncryptedShares.decode(wrong, 2)
    with pytest.raises(InvalidDealing, match="of 3 recipients"):
        EncryptedShares.decode(encoding, 3)


def test_scalars_that_are_not_reduced_do_not_decode() -> None:
    """A scalar u written as u + R would be a second encoding of the same dealing."""
    with toy_crypto():
        encoding = stage(2, 2).dealt().encrypted.encode()
    for at in (len(encoding) - 32, len(encoding) - 64, len(encoding) - 18 * 32):
        for wrong in (R, 2**256 - 1):
            with pytest.raises(InvalidDealing, match="not below R"):
                EncryptedShares.decode(encoding[:at] + wrong.to_bytes(32, "big") + encoding[at + 32 :], 2)


@pytest.mark.usefixtures("fast_backend")
def test_parts_of_other_sizes_are_refused() -> None:
    """A dealing that did not come through the decoder is refused as well if a part has too many or too few elements."""
    case = stage(2, 2)
    claim = case.dealt()
    encrypted = claim.encrypted
    ranges, answers = encrypted.range_proof, encrypted.answers
    for wrong in (
        replace(encrypted, randomness=encrypted.randomness[:-1]),
        replace(encrypted, rows=(encrypted.rows[0], encrypted.rows[1][:-1])),
        replace(encrypted, range_proof=replace(ranges, masks=ranges.masks * 2)),
        replace(encrypted, range_proof=replace(ranges, responses=ranges.responses[:-1])),
        replace(encrypted, answers=replace(answers, randomness=())),
    ):
        refused(replace(claim, encrypted=wrong), case, "another number of elements")


# --- several dealings


def spoiled(claim: DealingClaim, kind: int) -> DealingClaim:
    """A claim with a fault: of its shape, of a point, or of its proof in G1 or in G2."""
    encrypted = claim.encrypted
    answers, announced = encrypted.answers, encrypted.announcements
    return [
        replace(claim, encrypted=replace(encrypted, rows=encrypted.rows[:-1])),
        replace(claim, encrypted=replace(encrypted, randomness=(b"", *encrypted.randomness[1:]))),
        replace(
            claim,
            encrypted=replace(encrypted, answers=replace(answers, base=(answers.base + 1) % R)),
        ),
        replace(
            claim,
            encrypted=replace(encrypted, announcements=replace(announced, public=claim.commitments[1])),
        ),
    ][kind]


with toy_crypto():
    MANY = [stage(3, 2).of_dealer(i).dealt() for i in range(6)]


@pytest.mark.slow
@settings(max_examples=60, derandomize=True)
@given(data=st.data(), count=st.integers(0, 6))
def test_exactly_the_lying_dealers_are_named(data: st.DataObject, count: int) -> None:
    """Whatever the number, places and kinds of faults, those dealings and no others come back, each with its fault."""
    guilty = data.draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 3))) if count else {}
    with toy_crypto():
        claims = [spoiled(MANY[i], guilty[i]) if i in guilty else MANY[i] for i in range(count)]
        faults = find_invalid(claims, stage(3, 2).recipients, 2, counter_rng("weights"))
    assert set(guilty) == set(faults)
    said = ("2 rows for 3 recipients", "0 bytes, not 48", "does not hold", "does not hold")
    for i, kind in guilty.items():
        assert said[kind] in str(faults[i])


def test_lying_dealers_are_named_on_real_curves() -> None:
    """The same on the native backend; and errors that would cancel without random weights do not."""
    with backends.use("native"):
        case = stage(2, 2)
        claims = [case.of_dealer(i).dealt() for i in range(3)]
        assert find_invalid(claims, case.recipients, 2, RNG) == {}
        for i, error in ((0, 1), (2, -1)):
            encrypted = claims[i].encrypted
            moved = replace(encrypted.answers, combined_share=(encrypted.answers.combined_share + error) % R)
            claims[i] = replace(claims[i], encrypted=replace(encrypted, answers=moved))
        assert set(find_invalid(claims, case.recipients, 2, RNG)) == {0, 2}


# --- the dealer's side


def test_randomness_is_hedged() -> None:
    """With a source that always gives the same, two contexts or two polynomials still use two randomnesses."""
    with toy_crypto():
        case = stage(2, 2)

        def randomness(context: DealingContext, polynomial: Polynomial, byte: int) -> tuple[bytes, ...]:
            return deal(context, polynomial, case.recipients, lambda n: bytes([byte]) * n).randomness

        other = replace(case.context, session=b"\x02" * 32)
        drawn = [
            randomness(case.context, case.polynomial, 0),
            randomness(case.context, case.polynomial, 1),
            randomness(other, case.polynomial, 0),
            randomness(case.context, case.of_dealer(3).polynomial, 0),
        ]
        values = [value for one in drawn for value in one]
        assert len(set(values)) == len(values)


class SecretWatch(type(TOY.bls12381)):  # type: ignore[misc]
    """Toy curves that write down what goes through the operations in variable time. A toy point is its own logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.msm: list[tuple[list[int], list[int]]] = []
        self.seen: list[int] = []
        self.products = 0
        encode = self.encode_g1

        def encode_g1(point: int) -> bytes:
            self.seen.append(point)
            return encode(point)

        self.encode_g1 = encode_g1

    def msm_g1(self, points: Sequence[int], scalars: Sequence[int]) -> int:
        self.msm.append((list(points), list(scalars)))
        return int(super().msm_g1(points, scalars))

    def secret_mul_g1(self, point: int, scalar: int) -> int:
        self.products += 1
        return int(super().secret_mul_g1(point, scalar))

    def add_g1(self, a: int, b: int) -> int:
        self.seen += [a, b]
        return int(super().add_g1(a, b))


def test_a_dealer_multiplies_secrets_in_constant_time_only() -> None:
    """Sums in variable time have public weights alone: ω over the mask keys, γ over the recipients' keys."""
    curve = SecretWatch()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case = stage(3, 2)
        curve.msm.clear()
        case.dealt("watched")
        assert [len(points) for points, _ in curve.msm] == [128, 3]
        assert curve.msm[1][0] == case.recipients.points
        assert all(0 <= scalar < 2**128 for _, scalars in curve.msm for scalar in scalars)


def test_a_dealer_draws_masks_again_until_all_fit() -> None:
    """About one dealing in five needs a second try, which is no mark on it: all verify."""
    curve = SecretWatch()
    with backends.use(backends.Backends(curve, TOY.bn254)):
        case, tries = stage(1, 1), []
        fixed = 1 + 16 + 16 * 2 + 16 + 1 + 1 + 1 + 1 + 1
        for i in range(30):
            curve.products = 0
            claim = case.dealt(str(i))
            tries.append((curve.products - fixed) // 257 + 1)
            check_dealing(claim, case.recipients, 1, RNG)
        assert min(tries) == 1
        assert 1.05 < sum(tries) / len(tries) < 1.8


def test_sums_that_would_tell_of_the_digits_are_not_shown() -> None:
    """A share of digits that are all largest makes every sum too large to hide: no dealing is made."""
    with toy_crypto():
        case = stage(1, 1)
        share = join([2**15 - 1] * 15 + [0])
        assert set(split(share)) == {2**15 - 1, 0}
        with pytest.raises(ValueError, match="no masks fit in 64 tries"):
            deal(case.context, Polynomial([share]), case.recipients, RNG)


# --- recipients and context


@pytest.mark.usefixtures("fast_backend")
def test_recipients_are_distinct_and_have_good_keys() -> None:
    """A key that is no point is its owner's fault; a missing or repeated address is the caller's."""
    members = list(stage(3, 2).recipients.members)
    for bad in (BLS_G1_INFINITY, b"", b"\xff" * 48):
        with pytest.raises(InvalidEncryptionKey, match="key 1: decode point"):
            Recipients([members[0], ShareRecipient(members[1].address, bad)])
    with pytest.raises(ValueError, match="two coordinates are equal"):
        Recipients([members[0], replace(members[1], address=members[0].address)])
    for none_or_many in ([], members * 2000):
        with pytest.raises(ValueError, match=r"1\.\.4096 recipients"):
            Recipients(none_or_many)


@pytest.mark.usefixtures("fast_backend")
def test_recipients_that_share_a_key_stop_no_dealing() -> None:
    """Each of them has proved that it holds the secret: they are dealt to as others are, and both decrypt."""
    case = stage(3, 2)
    first, second, third = case.recipients.members
    recipients = Recipients([first, second, replace(third, key=first.key)])
    encrypted = deal(case.context, case.polynomial, recipients, RNG)
    claim = DealingClaim(case.context, case.polynomial.commitments(), encrypted, None)
    check_dealing(claim, recipients, case.threshold, RNG)
    shares = [decrypt(encrypted.share(i), case.keys[0], 3, table(), RNG).value for i in (0, 2)]
    assert shares == [case.shares[0], case.shares[2]]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("cluster", b""), ("session", bytes(31)), ("dealer", bytes(21)), ("source", bytes(31))],
)
def test_a_context_has_fixed_sizes(field: str, wrong: bytes) -> None:
    """No two contexts are hashed alike, and a caller's mistake is an error at once."""
    with toy_crypto():
        context = stage(1, 1).context
    with pytest.raises(ValueError, match="dealing"):
        replace(context, **{field: wrong})
