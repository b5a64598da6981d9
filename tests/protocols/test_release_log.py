"""A release log cannot be changed, cut or lengthened without its operator's key, and never past a head that somebody noted."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.crypto import bn254
from eigenkms.protocols.records.audit_log import (
    BadLogError,
    Entry,
    IssuedSignature,
    LogHead,
    LogHeader,
    LogVerifier,
    SignedHead,
    check_release,
    check_signature,
    decode_entry,
    decode_head,
    decode_header,
    extend,
    sign_head,
)
from eigenkms.wire.codec import MalformedError, encode
from tests.support.audit_log_entries import HEADER, KEY, RELEASE, encode_entries, entry_body, signed_log
from tests.support.randomness import counter_rng

GOLDEN = Path(__file__).parent / "golden" / "release_log.json"


pytestmark = pytest.mark.usefixtures("real_curves")


def verify(
    entries: Sequence[bytes], signed: SignedHead, noted: Sequence[bytes] = (), header: LogHeader = HEADER
) -> list[Entry]:
    verifier = LogVerifier(header, signed, noted)
    found = [verifier.take(entry) for entry in entries]
    verifier.finish()
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_a_true_log_verifies(count: int) -> None:
    """Empty, short and long, with every head that it ever had, and its beginning."""
    entries, signed = signed_log(count)
    assert verify(encode_entries(entries), signed, [HEADER.hash, *(e.hash for e in entries)]) == entries


def test_a_log_that_was_added_to_piece_by_piece_is_the_same() -> None:
    """However entries were put together when they were written."""
    entries, signed = signed_log(7)
    head, pieces = LogHead(0, HEADER.hash), []
    for batch in (range(1, 2), range(2, 6), range(6, 8)):
        pieces += extend(head, [entry_body(number) for number in batch])
        head = LogHead(pieces[-1].number, pieces[-1].hash)
    assert (pieces, head) == (entries, signed.head)


def _changed(entry: bytes, **changes: Any) -> bytes:
    found = decode_entry(entry)
    return replace(found, release=replace(found.release, **changes)).encoded


Forgery = tuple[Callable[[list[bytes]], list[bytes]], str]
FORGERIES: dict[str, Forgery] = {
    "the first is gone": (lambda e: e[1:], "entry 1 is missing, or not in its place: entry 2 stands there"),
    "one is gone": (lambda e: e[:3] + e[4:], "entry 4 is missing, or not in its place: entry 5 stands there"),
    "the last is gone": (lambda e: e[:-1], "entry 6 is missing; the signed head is number 6"),
    "all are gone": (lambda e: [], "entry 1 is missing; the signed head is number 6"),
    "two are swapped": (lambda e: [*e[:2], e[3], e[2], *e[4:]], "entry 3 is missing, or not in its place"),
    "one is there twice": (lambda e: [*e[:3], *e[2:]], "entry 4 is missing, or not in its place: entry 3"),
    "the first is changed": (
        lambda e: [_changed(e[0], method="intel"), *e[1:]],
        "entry 2 does not continue entry 1",
    ),
    "one is changed": (
        lambda e: [*e[:3], _changed(e[3], app_id="app-X"), *e[4:]],
        "entry 5 does not continue entry 4: one of the two was changed",
    ),
    "the last is changed": (lambda e: [*e[:5], _changed(e[5], time_ms=1)], "the last entry, 6, was changed"),
    "one is added": (
        lambda e: [*e, Entry(7, RELEASE, decode_entry(e[-1]).hash).encoded],
        "entry 7 stands after the signed head, number 6",
    ),
    "one is put between": (
        lambda e: [*e[:3], Entry(4, RELEASE, decode_entry(e[2]).hash).encoded, *e[3:]],
        "entry 5 is missing, or not in its place: entry 4",
    ),
    "one is rubbish": (lambda e: [*e[:3], b"\xc1", *e[4:]], "entry 4 is damaged"),
    "one is too long": (lambda e: [*e[:3], e[3] + bytes(4096), *e[4:]], "entry 4 is damaged"),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_told_with_its_place(forgery: Forgery) -> None:
    """Which entry, and what is wrong with it."""
    forge, said = forgery
    entries, signed = signed_log(6)
    with pytest.raises(BadLogError, match=f"verify release log: {said}") as error:
        verify(forge(encode_entries(entries)), signed)
    assert error.value.exit_code == 4


@given(place=st.integers(0, 5), field=st.sampled_from([f.name for f in fields(IssuedSignature)]))
def test_every_field_is_bound(place: int, field: str) -> None:
    """Whichever is changed in whichever entry."""
    entries, signed = signed_log(6)
    forged = encode_entries(entries)
    value = getattr(entries[place].release, field)
    if isinstance(value, int):
        other: Any = value ^ 1
    elif isinstance(value, str):
        other = value + "x"
    else:
        other = b"\xff" * len(value or bytes(32))
    forged[place] = _changed(forged[place], **{field: other})
    with pytest.raises(BadLogError):
        verify(forged, signed)


@given(st.integers(0, 5), st.data())
def test_every_bit_is_bound(place: int, data: st.DataObject) -> None:
    """Of every entry as it is stored."""
    entries, signed = signed_log(6)
    forged = encode_entries(entries)
    bit = data.draw(st.integers(0, len(forged[place]) * 8 - 1))
    flipped = int.from_bytes(forged[place], "big") ^ (1 << bit)
    forged[place] = flipped.to_bytes(len(forged[place]), "big")
    with pytest.raises(BadLogError):
        verify(forged, signed)


def test_a_chain_made_anew_needs_the_operators_key() -> None:
    """With all hashes right: signed by nobody, by somebody else, or with the signature of another head."""
    entries = extend(LogHead(0, HEADER.hash), [entry_body(n) for n in (1, 3, 4)])
    head = LogHead(3, entries[-1].hash)
    (_, true), stranger = signed_log(3), bn254.KeyPair.generate(counter_rng("stranger"))
    for signature in (bytes(64), true.signature, sign_head(stranger, head).signature):
        with pytest.raises(BadLogError, match="the signature of its head, number 3, is not the operator's"):
            verify(encode_entries(entries), SignedHead(head, signature))
    assert verify(encode_entries(entries), sign_head(KEY, head)) == entries


def test_number_and_hash_are_both_signed() -> None:
    """Of the head."""
    _, signed = signed_log(3)
    check_signature(HEADER, signed)
    for head in (LogHead(4, signed.head.hash), LogHead(3, bytes(32))):
        with pytest.raises(BadLogError):
            check_signature(HEADER, SignedHead(head, signed.signature))


@pytest.mark.parametrize(
    "changes", [{"cluster": b"\xc2" * 32}, {"operator": b"\x0b" * 20}, {"key": bytes(128)}, {"begun_ms": 1}]
)
def test_a_log_belongs_to_its_header(changes: dict[str, Any]) -> None:
    """Another operator's, cluster's, key's or time's is another log: the first entry does not continue it, and an empty one has
    another head.
    """
    other = replace(HEADER, **changes)
    entries, signed = signed_log(2)
    with pytest.raises(BadLogError, match="entry 1 does not continue this log's header"):
        verify(encode_entries(entries), signed, header=other)
    _, empty = signed_log(0)
    with pytest.raises(BadLogError, match="the last entry, 0, was changed"):
        verify([], empty, header=other)


def test_a_noted_head_finds_the_end_that_was_cut_off() -> None:
    """Whoever kept an older signed head can show the log as it was then, unless somebody noted a later one."""
    entries, signed = signed_log(6)
    older = sign_head(KEY, LogHead(4, entries[3].hash))
    assert verify(encode_entries(entries[:4]), older, [entries[1].hash])
    for noted in ([signed.head.hash], [entries[4].hash], [entries[1].hash, entries[5].hash]):
        with pytest.raises(BadLogError, match=f"head {noted[-1].hex()} is not in it"):
            verify(encode_entries(entries[:4]), older, noted)


def test_a_noted_head_finds_another_chain_of_the_operators_own() -> None:
    """Its key signs what it likes: two chains, of which one has the noted head."""
    entries, signed = signed_log(6)
    restored = extend(LogHead(4, entries[3].hash), [entry_body(50)])
    other = sign_head(KEY, LogHead(5, restored[-1].hash))
    assert verify(encode_entries([*entries[:4], *restored]), other)
    with pytest.raises(BadLogError, match="entries were taken away, or this is another log"):
        verify(encode_entries([*entries[:4], *restored]), other, [signed.head.hash])


digests = st.binary(min_size=32, max_size=32)
releases = st.builds(
    IssuedSignature,
    time_ms=st.integers(0, 2**48 - 1),
    app_id=st.text(st.characters(exclude_categories=("Cs",)), max_size=256),
    ciphertext_version=st.integers(0, 2**16 - 1),
    version=st.integers(0, 2**64 - 1),
    transcript_hash=digests,
    method=st.text(st.characters(exclude_categories=("Cs",)), max_size=32),
    evidence_digest=st.none() | digests,
    subject=st.none() | digests | st.binary(min_size=20, max_size=20),
    reply_key_digest=digests,
)


@given(releases, st.integers(0, 2**63 - 1), digests)
def test_an_entry_has_one_form(found: IssuedSignature, number: int, previous: bytes) -> None:
    """What is written is read again, to the same bytes."""
    check_release(found)
    entry = Entry(number, found, previous)
    assert decode_entry(entry.encoded) == entry
    assert decode_entry(entry.encoded).hash == entry.hash


@given(st.binary(max_size=400))
@pytest.mark.parametrize("decoder", [decode_entry, decode_head, decode_header])
def test_rubbish_is_malformed(decoder: Callable[[bytes], object], data: bytes) -> None:
    """And nothing else."""
    with pytest.raises(MalformedError):
        decoder(data)


LEAST = [1, 0, "", 0, 0, bytes(32), "", None, None, bytes(32), bytes(32)]


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, 2**63),
        (1, b""),
        (1, 2**48),
        (2, "x" * 1025),
        (3, 2**16),
        (5, bytes(31)),
        (6, "x" * 33),
        (7, bytes(20)),
        (8, bytes(21)),
        (8, b""),
        (9, None),
        (10, bytes(33)),
    ],
)
def test_a_field_of_another_shape_is_malformed(index: int, value: object) -> None:
    """Each has its type and size."""
    assert decode_entry(encode(LEAST)).number == 1
    with pytest.raises(MalformedError):
        decode_entry(encode([*LEAST[:index], value, *LEAST[index + 1 :]]))


def test_another_version_of_the_log_is_not_read() -> None:
    """Rather than misread."""
    with pytest.raises(MalformedError, match="version 2"):
        decode_header(encode([2, bytes(32), bytes(20), bytes(128), 0]))


def golden() -> dict[str, Any]:
    entries, signed = signed_log(3)
    return {
        "key": KEY.secret,
        "header": HEADER.encoded.hex(),
        "start": HEADER.hash.hex(),
        "entries": [{"entry": e.encoded.hex(), "hash": e.hash.hex()} for e in entries],
        "head_digest": signed.head.digest.hex(),
        "head": signed.encoded.hex(),
    }


def test_the_format_is_the_golden_one() -> None:
    """A change on purpose means a new version, and this file made anew (``python -m tests.protocols.test_release_log``)."""
    assert golden() == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1) + "\n")
