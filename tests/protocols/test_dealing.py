"""A dealing of protocol 2 is its header: the bytes of body and rows are those that the header binds, or are refused.

Run this module as a script (``python -m tests.protocols.test_dealing``) to write the golden file.
"""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.crypto import backends
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss import (
    DealingClaim,
    EncryptedShares,
    InvalidDealing,
    check_dealing,
    decrypt,
    encoded_size,
)
from eigenkms.crypto.scalars import R
from eigenkms.errors import RemoteProtocolError
from eigenkms.wire.codec import MalformedError, decode, encode
from eigenkms.wire.dealing import (
    RANDOMNESS_SIZE,
    BadDealingError,
    UnboundBytesError,
    build_dealing,
    claim_of,
    encode_body,
    read_body,
    read_row,
    row_of,
    row_size,
)
from eigenkms.wire.dealing_header import (
    MAX_HEADER_BYTES,
    MAX_NEWCOMER_BYTES,
    DealingHeader,
    decode_header,
)
from eigenkms.wire.session import MAX_OPERATORS, MAX_THRESHOLD, ZERO32
from tests.support.pvss_stage import CLUSTER, Stage, stage, table
from tests.support.randomness import counter_rng

FILE = Path(__file__).parent / "golden" / "dealing.json"
SOURCE = keccak256(b"source")
SIZES = (*range(1, 10), 20)
HEADER_BYTES_OF_256 = 2**17
"""What the format promises for 256 operators: 128 KiB."""


def _header(claim: DealingClaim, newcomers: tuple[bytes, ...] = ()) -> DealingHeader:
    version = 4711 if claim.context.source else 0
    numbers = range(40, 40 + len(claim.encrypted.rows))
    return build_dealing(claim.context, version, claim.commitments, claim.encrypted, numbers, newcomers)


def _made(case: Stage, seed: str = "dealer") -> tuple[DealingHeader, EncryptedShares]:
    claim = case.dealt(seed)
    return _header(claim, (b"a key frame", b"another")[: len(case.recipients)]), claim.encrypted


@pytest.fixture
def case() -> Stage:
    """A rotation with five recipients."""
    return stage(5, 3, SOURCE)


@pytest.fixture
def header(case: Stage) -> DealingHeader:
    return _made(case)[0]


@pytest.fixture
def body(case: Stage) -> bytes:
    return encode_body(_made(case)[1])


def _values(header: DealingHeader) -> list[Any]:
    """The list that its encoding holds; item 0 is the version, the others are the fields in order."""
    found: list[Any] = decode(header.encoded, what="header")
    return found


# -- the header ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [b"", SOURCE])
@pytest.mark.parametrize("n", SIZES)
def test_header_is_its_bytes(n: int, source: bytes) -> None:
    """Decoding gives it back, at genesis and in a rotation; the name is of the bytes, under its own tag."""
    header, encrypted = _made(stage(n, n // 2 + 1, source))
    assert decode_header(header.encoded) == header
    assert header.name == keccak256(b"eigenkms/dealing/2" + header.encoded)
    assert (header.rows, header.is_genesis) == (n, not source)
    assert header.source_hash == (source or ZERO32)
    assert read_body(header, encode_body(encrypted)) == encrypted


def test_header_with_another_value_has_another_name(header: DealingHeader) -> None:
    """Every field is under the name, and every byte of it that is a string."""
    others: dict[str, Any] = {
        "source_version": header.source_version + 1,
        "newcomers": header.newcomers[::-1],
        "commitments": header.commitments[::-1],
        "key_numbers": (*header.key_numbers, 9),
    }
    names = {header.name}
    for field in fields(DealingHeader):
        value = getattr(header, field.name)
        other = others.get(field.name) or bytes([value[0] ^ 1]) + value[1:]
        changed = replace(header, **{field.name: other})
        assert decode_header(changed.encoded) == changed
        names.add(changed.name)
    assert len(names) == 1 + len(fields(DealingHeader))


@given(st.data())
def test_header_with_another_byte_is_refused_or_another(data: st.DataObject) -> None:
    """Whatever bit differs: the bytes do not decode, or they are the encoding of a header with another name."""
    header, _ = _made(stage(5, 3, SOURCE))
    at = data.draw(st.integers(0, 8 * len(header.encoded) - 1))
    try:
        found = decode_header(_flipped(header.encoded, at))
    except MalformedError:
        return
    assert found.encoded == _flipped(header.encoded, at)
    assert found.name != header.name


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, 1, "version 1, not 2"),
        (0, 3, "version 3, not 2"),
        (0, None, "wanted a number"),
        (1, bytes(31), "wanted 32 bytes"),
        (2, bytes(32), "wanted 20 bytes"),
        (3, 0, "one of the source's version and hash is zero"),
        (3, b"", "wanted a number"),
        (4, ZERO32, "one of the source's version and hash is zero"),
        (4, b"", "wanted 32 bytes"),
        (4, None, "wanted 32 bytes"),
        (5, [b"x"] * 6, "6 newcomers among 5 recipients"),
        (5, [b"x"] * (MAX_OPERATORS + 1), "wanted a list of at most 256"),
        (5, [b"x" * (MAX_NEWCOMER_BYTES + 1)], "wanted at most 512 bytes"),
        (5, ["text"], "wanted at most 512 bytes"),
        (5, None, "wanted a list"),
        (6, [], "0 commitments"),
        (6, [b"x" * 95], "wanted a list of 96-byte strings"),
        (6, [b"x" * 96] * (MAX_THRESHOLD + 1), "wanted a list of at most"),
        (7, [], "covers 0 of 0 operators"),
        (7, [None, None], "covers 0 of 2 operators"),
        (7, [1, None], "2 newcomers among 1 recipients"),
        (7, [1] * (MAX_OPERATORS + 1), "wanted a list of at most 256"),
        (7, [b""], "wanted a number"),
        (7, 5, "wanted a list"),
        (8, bytes(33), "wanted 32 bytes"),
        (9, bytes(31), "wanted 32 bytes"),
        (10, None, "wanted 32 bytes"),
    ],
)
def test_header_out_of_bounds_is_malformed(header: DealingHeader, at: int, value: Any, why: str) -> None:
    """Each field by its fault."""
    values = _values(header)
    values[at] = value
    with pytest.raises(MalformedError, match=f"decode .*dealing header: .*{why}"):
        decode_header(encode(values))


def test_header_of_another_form_is_malformed(header: DealingHeader) -> None:
    """Another arity, no list, bytes behind it, a longer encoding of a number, no msgpack."""
    values = _values(header)
    number = encode(values[7][-1])
    longer = header.encoded[:-103] + b"\xcd\x00" + header.encoded[-103:]
    assert header.encoded[-103:].startswith(number)
    cases = (
        (encode(values[:-1]), "not a list of 11"),
        (encode([*values, None]), "not a list of 11"),
        (encode(7), "not a list of 11"),
        (longer, "not canonical"),
        (header.encoded + b"\x00", "not msgpack"),
        (header.encoded[:-1], "not msgpack"),
        (b"", "not msgpack"),
    )
    for bad, why in cases:
        with pytest.raises(MalformedError, match=f"decode dealing header: .*{why}"):
            decode_header(bad)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"session": bytes(31)}, "a hash not 32"),
        ({"dealer": bytes(32)}, "dealer has not 20 bytes"),
        ({"source_hash": b""}, "a hash not 32"),
        ({"randomness": b""}, "a hash not 32"),
        ({"rows_root": bytes(31)}, "a hash not 32"),
        ({"proofs": bytes(33)}, "a hash not 32"),
        ({"source_version": 2**64}, "source version"),
        ({"source_version": -1}, "source version"),
        ({"key_numbers": (2**64,) * 5}, "number of a key"),
        ({"key_numbers": (-1,) * 5}, "number of a key"),
        ({"key_numbers": (1,) * (MAX_OPERATORS + 1)}, "covers 257 of 257 operators"),
        ({"commitments": (b"x",)}, "a commitment has not 96 bytes"),
        ({"commitments": (b"x" * 96,) * (MAX_THRESHOLD + 1)}, "172 commitments"),
        ({"newcomers": (b"x" * 513,)}, "more than 512 bytes"),
    ],
)
def test_header_out_of_bounds_cannot_be_constructed(
    header: DealingHeader, change: dict[str, Any], why: str
) -> None:
    """What a decoder would refuse is refused where it is made."""
    with pytest.raises(ValueError, match=why):
        replace(header, **change)


def test_header_of_256_operators_fits_128_kib(header: DealingHeader) -> None:
    """With as many commitments as there can be, and key frames of 430 bytes; one that is larger is not made and not read."""
    assert MAX_HEADER_BYTES == HEADER_BYTES_OF_256
    largest = replace(
        header,
        key_numbers=(2**32,) * MAX_OPERATORS,
        newcomers=(b"x" * 430,) * MAX_OPERATORS,
        commitments=(b"x" * 96,) * MAX_THRESHOLD,
    )
    assert len(largest.encoded) <= HEADER_BYTES_OF_256
    assert decode_header(largest.encoded) == largest
    with pytest.raises(ValueError, match="more than 131072"):
        replace(largest, newcomers=(b"x" * 512,) * MAX_OPERATORS)
    values = _values(largest)
    values[5] = [b"x" * 512] * MAX_OPERATORS
    with pytest.raises(MalformedError, match="more than 131072"):
        decode_header(encode(values))


def test_source_of_the_proof_is_that_of_the_header(case: Stage) -> None:
    """A header is not made if its reader would check the proof in another context than the dealer's."""
    claim = case.dealt()
    zeros = replace(claim.context, source=ZERO32)
    empty = replace(claim.context, source=b"")
    with pytest.raises(ValueError, match="an empty source, not zeros"):
        build_dealing(zeros, 0, claim.commitments, claim.encrypted, range(5))
    for context, version in ((zeros, 1), (empty, 1), (claim.context, 0)):
        with pytest.raises(ValueError, match="one of the source's version and hash is zero"):
            build_dealing(context, version, claim.commitments, claim.encrypted, range(5))


def test_member_without_a_key_has_no_row(case: Stage) -> None:
    """Positions of rows skip it; the numbers and the rows are as many."""
    claim = case.dealt()
    header = build_dealing(claim.context, 4711, claim.commitments, claim.encrypted, (1, None, 2, 3, 4, 5))
    assert [header.position(member) for member in range(6)] == [0, None, 1, 2, 3, 4]
    assert header.rows == 5
    with pytest.raises(ValueError, match="5 rows for 4 numbers"):
        build_dealing(claim.context, 4711, claim.commitments, claim.encrypted, (1, None, 2, 3, 4))


# -- the body ------------------------------------------------------------------------------------------------


@given(st.data())
def test_body_with_another_bit_is_refused(data: st.DataObject) -> None:
    """In any of its parts; the error has a hint."""
    header, encrypted = _made(stage(5, 3, SOURCE))
    bit = data.draw(st.integers(0, 8 * encoded_size(5) - 1))
    _check_refused(header, _flipped(encode_body(encrypted), bit), "header binds other")


def _check_refused(header: DealingHeader, data: bytes, why: str) -> None:
    with pytest.raises(
        UnboundBytesError, match=f"read body of dealing {header.name.hex()}: .*{why}"
    ) as caught:
        read_body(header, data)
    assert isinstance(caught.value, RemoteProtocolError)
    assert caught.value.hint is not None


@pytest.mark.parametrize("part", ["randomness", "rows", "proofs"])
def test_body_region_has_its_own_digest(header: DealingHeader, body: bytes, part: str) -> None:
    """The first and the last byte of each part, by the part's name."""
    ends = {
        "randomness": (0, RANDOMNESS_SIZE),
        "rows": (RANDOMNESS_SIZE, RANDOMNESS_SIZE + 5 * 768),
        "proofs": (RANDOMNESS_SIZE + 5 * 768, len(body)),
    }
    first, end = ends[part]
    for byte in (first, end - 1):
        _check_refused(header, _flipped(body, 8 * byte), f"other {part}")


def test_body_with_moved_rows_is_refused(case: Stage, header: DealingHeader) -> None:
    """Two rows in each other's place are not the dealer's rows."""
    encrypted = case.dealt().encrypted
    first, second, *others = encrypted.rows
    _check_refused(header, replace(encrypted, rows=(second, first, *others)).encode(), "other rows")


def test_body_of_another_length_is_refused(header: DealingHeader, body: bytes) -> None:
    """Nothing, less, more, and the body for another number of recipients."""
    for data in (b"", body[:-1], body + b"\x00", encode_body(_made(stage(6, 3, SOURCE))[1])):
        _check_refused(header, data, f"{len(data)} bytes, not the {len(body)} of 5 recipients")


def test_body_of_another_dealing_is_refused(case: Stage, header: DealingHeader) -> None:
    """A second dealing by the same dealer in the same session."""
    other, encrypted = _made(case, "second")
    _check_refused(header, encode_body(encrypted), "other randomness")
    assert read_body(other, encode_body(encrypted)) == encrypted


def test_body_that_its_dealer_signed_and_nobody_decodes_is_its_fault(case: Stage) -> None:
    """The digests hold, and a scalar is not reduced: the header convicts the dealer, not the peer that served it."""
    claim = case.dealt()
    answers = replace(claim.encrypted.answers, base=R)
    encrypted = replace(claim.encrypted, answers=answers)
    header = _header(replace(claim, encrypted=encrypted))
    with pytest.raises(BadDealingError, match="not below R") as caught:
        read_body(header, encode_body(encrypted))
    assert isinstance(caught.value.__cause__, InvalidDealing)


# -- rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_row_is_read_at_its_own_position_only(n: int) -> None:
    """Every position of every size verifies; at all other positions the same bytes are refused."""
    header, encrypted = _made(stage(n, n // 2 + 1))
    for i in range(n):
        data = row_of(encrypted, i)
        assert len(data) == row_size(header, i)
        assert read_row(header, i, data) == encrypted.share(i)
        for other in {*range(-1, n + 1)} - {i}:
            with pytest.raises(UnboundBytesError, match=f"read row {other} of dealing {header.name.hex()}"):
                read_row(header, other, data)


def test_row_under_another_header_is_refused(case: Stage, header: DealingHeader) -> None:
    """Another dealing of the session, one with this randomness and other rows, and one for another number of recipients."""
    data = row_of(case.dealt().encrypted, 0)
    other, _ = _made(case, "second")
    fewer = replace(header, key_numbers=header.key_numbers[:4])
    more = replace(header, key_numbers=(*header.key_numbers, 9))
    headers = ((other, "randomness"), (replace(other, randomness=header.randomness), "another row"))
    for wrong, why in (
        *headers,
        (fewer, "bytes, not"),
        (replace(header, rows_root=bytes(32)), "another row"),
    ):
        with pytest.raises(UnboundBytesError, match=why):
            read_row(wrong, 0, data)
    with pytest.raises(UnboundBytesError, match="bytes, not"):
        read_row(more, 4, row_of(case.dealt().encrypted, 4))
    with pytest.raises(UnboundBytesError, match="covers 4 recipients"):
        read_row(fewer, 4, row_of(case.dealt().encrypted, 4))


@pytest.mark.parametrize("position", range(5))
def test_row_with_another_path_is_refused(case: Stage, header: DealingHeader, position: int) -> None:
    """Cut short, extended, or nothing: position and number of rows fix the length."""
    data = row_of(case.dealt().encrypted, position)
    for wrong in (data[:-32], data[:-1], data + b"\x00", data + bytes(32), data[:1536], b""):
        if wrong != data:
            with pytest.raises(UnboundBytesError, match=f"{len(wrong)} bytes, not {len(data)}"):
                read_row(header, position, wrong)


@given(st.data())
def test_row_with_another_bit_is_refused(data: st.DataObject) -> None:
    """In the randomness, the row or the path."""
    header, encrypted = _made(stage(5, 3, SOURCE))
    position = data.draw(st.integers(0, 4))
    row = row_of(encrypted, position)
    bit = data.draw(st.integers(0, 8 * len(row) - 1))
    with pytest.raises(UnboundBytesError, match="header binds"):
        read_row(header, position, _flipped(row, bit))


@pytest.mark.parametrize("position", [-1, 5])
def test_row_that_a_dealing_does_not_have_cannot_be_made(
    case: Stage, header: DealingHeader, position: int
) -> None:
    """The caller's error, not a peer's."""
    with pytest.raises(ValueError, match=f"position {position} is not among the 5"):
        row_of(case.dealt().encrypted, position)
    with pytest.raises(ValueError, match=f"position {position} is not among the 5"):
        row_size(header, position)


# -- the claim -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [b"", SOURCE])
def test_claim_is_what_the_dealer_proved(source: bytes) -> None:
    """From the bytes alone, in the dealer's context; with the public share of the source in a rotation."""
    case = stage(5, 3, source)
    header, encrypted = _made(case)
    read = decode_header(header.encoded)
    constant = case.polynomial.commitments()[0] if source else None
    claim = claim_of(read, read_body(read, encode_body(encrypted)), CLUSTER, constant)
    assert claim.context == case.context
    check_dealing(claim, case.recipients, case.threshold, counter_rng("verifier"))


def test_claim_of_a_rotation_needs_the_constant_term(case: Stage, header: DealingHeader) -> None:
    """A rotation without the dealer's public share, or a genesis with one, is never handed to the verifier."""
    rotation, genesis = case.dealt(), stage(5, 3).dealt()
    with pytest.raises(ValueError, match="a rotation dealing is verified with"):
        claim_of(header, rotation.encrypted, CLUSTER, None)
    with pytest.raises(ValueError, match="a genesis dealing without"):
        claim_of(_header(genesis), genesis.encrypted, CLUSTER, genesis.commitments[0])


def test_claim_with_another_constant_term_is_invalid(case: Stage, header: DealingHeader) -> None:
    """The verifier refuses a dealing of anything else than the dealer's share of the source."""
    claim = claim_of(header, case.dealt().encrypted, CLUSTER, header.commitments[1])
    with pytest.raises(InvalidDealing, match="dealer's share of the source"):
        check_dealing(claim, case.recipients, case.threshold, counter_rng("verifier"))


# -- real curves ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_late_member_decrypts_its_row_on_the_real_curves() -> None:
    """What others verified from header and body, a late member decrypts from header and row."""
    with backends.use("native"):
        case = stage(4, 3, SOURCE)
        header, encrypted = _made(case)
        claim = claim_of(header, read_body(header, encode_body(encrypted)), CLUSTER, header.commitments[0])
        check_dealing(claim, case.recipients, case.threshold, counter_rng("verifier"))
        share = read_row(header, 3, row_of(encrypted, 3))
        found = decrypt(share, case.keys[3], header.rows, table(), counter_rng("blind"))
        assert found.value == case.shares[3]


def example() -> dict[str, dict[str, str]]:
    """A genesis dealing and one of a rotation, with three recipients."""
    golden = {}
    for kind, source in (("genesis", b""), ("rotation", SOURCE)):
        header, encrypted = _made(stage(3, 2, source), "golden")
        golden[kind] = {
            "header": header.encoded.hex(),
            "name": header.name.hex(),
            "body": encode_body(encrypted).hex(),
            "randomness digest": header.randomness.hex(),
            "rows root": header.rows_root.hex(),
            "proofs digest": header.proofs.hex(),
            **{f"row {i}": row_of(encrypted, i).hex() for i in range(3)},
        }
    return golden


def test_everything_is_the_golden_one() -> None:
    """Byte for byte: header, name, body, digests and rows."""
    with backends.use("native"):
        assert example() == json.loads(FILE.read_text())


@pytest.mark.parametrize("kind", ["genesis", "rotation"])
def test_golden_dealing_is_read(kind: str) -> None:
    """From the frozen bytes alone, by decoders that compute on no curve."""
    golden = {name: bytes.fromhex(text) for name, text in json.loads(FILE.read_text())[kind].items()}
    header = decode_header(golden["header"])
    assert header.name == golden["name"]
    digests = (golden["randomness digest"], golden["rows root"], golden["proofs digest"])
    assert (header.randomness, header.rows_root, header.proofs) == digests
    encrypted = read_body(header, golden["body"])
    for i in range(3):
        assert read_row(header, i, golden[f"row {i}"]) == encrypted.share(i)


if __name__ == "__main__":
    with backends.use("native"):
        FILE.write_text(json.dumps(example(), indent=1) + "\n")
