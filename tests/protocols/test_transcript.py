"""A transcript is exact: one encoding, one hash, parts that fit each other; and it yields everybody's public share."""

from dataclasses import replace

import pytest

from eigenkms.errors import VerificationError
from eigenkms.types import Member, OperatorSet
from eigenkms.wire.codec import MalformedError, decode, encode
from eigenkms.wire.transcript import (
    MAX_OPERATORS,
    Transcript,
    check_self_consistent,
    decode_transcript,
)
from tests.protocols.rooms import version_of
from tests.protocols.support import Cast, cast


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def transcript(who: Cast) -> Transcript:
    return version_of(who).transcript


def test_a_transcript_survives_the_wire(transcript: Transcript) -> None:
    """Decoding gives it back; the parts fit; version is the boundary's timestamp."""
    again = decode_transcript(transcript.encoded)
    assert (again, again.hash) == (transcript, transcript.hash)
    check_self_consistent(again)
    assert int(again.version) == transcript.boundary.timestamp


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: replace(t, recipients=OperatorSet(())), "no recipients"),
        (lambda t: replace(t, threshold=2), "threshold 2 for 4 recipients"),
        (lambda t: replace(t, recipients=OperatorSet(t.recipients.members[1:])), "threshold 3 for 3"),
        (lambda t: replace(t, commitments=t.commitments[:-1]), "2 commitments, not 3"),
        (lambda t: replace(t, commitments=()), "0 commitments"),
        (lambda t: replace(t, mpk=t.commitments[1]), "not the master public key"),
        (lambda t: replace(t, commitments=(*t.commitments[:-1], b"\xff" * 96)), "C_2"),
        (
            lambda t: replace(
                t, mpk=b"\xc0" + bytes(95), commitments=(b"\xc0" + bytes(95), *t.commitments[1:])
            ),
            "C_0",
        ),
        (
            lambda t: replace(
                t,
                recipients=OperatorSet(
                    (Member(t.recipients.members[0].address, bytes(128)), *t.recipients.members[1:])
                ),
            ),
            "infinity",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(transcript: Transcript, change: object, why: str) -> None:
    """Threshold, count, key and points; the error names the transcript."""
    with pytest.raises(VerificationError, match=f"check transcript [0-9a-f]{{16}}: .*{why}"):
        check_self_consistent(change(transcript))  # type: ignore[operator]


def test_a_transcript_of_protocol_1_is_read(transcript: Transcript) -> None:
    """It lists no keys; a store has such versions, and rotations deal from them."""
    older = replace(transcript, keys=())
    assert decode_transcript(older.encoded) == older
    assert decode(older.encoded, what="transcript")[0] == 1
    assert older.key_of(transcript.recipients.addresses[0]) is None


def test_other_encodings_are_refused(transcript: Transcript) -> None:
    """Version, arity, order, lengths, numbers of operators."""
    fields = decode(transcript.encoded, what="transcript")
    recipients, dealers, keys = fields[6], fields[10], fields[13]

    def changed(index: int, value: object) -> list[object]:
        return [*fields[:index], value, *fields[index + 1 :]]

    wrong = [
        changed(0, 1),
        changed(0, 3),
        fields[:-1],
        [1, *fields[1:-2]],
        [*fields, 0],
        changed(1, bytes(31)),
        changed(3, "100"),
        changed(6, recipients[::-1]),
        changed(6, [*recipients, recipients[-1]]),
        changed(6, [[bytes(20)]]),
        changed(6, [[i.to_bytes(20, "big"), bytes(128)] for i in range(MAX_OPERATORS + 1)]),
        changed(7, 2**16),
        changed(10, dealers[::-1]),
        changed(10, [*dealers, dealers[-1]]),
        changed(10, [[bytes(20), bytes(31)]]),
        changed(11, bytes(95)),
        changed(12, [bytes(95)]),
        changed(13, keys[:-1]),
        changed(13, [*keys, None]),
        changed(13, [[1], *keys[1:]]),
        changed(13, [[1, bytes(47)], *keys[1:]]),
    ]
    for bad in wrong:
        with pytest.raises(MalformedError, match="decode"):
            decode_transcript(encode(bad))
    with pytest.raises(MalformedError):
        decode_transcript(transcript.encoded[:-1])
