"""Bodies of protocol 2: what is built is read back, in the slot of what is said once; what is nearly right is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto.hashing import keccak256
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.dealing_header import MAX_HEADER_BYTES, DealingHeader
from eigenkms.wire.frames import SIZE_LIMITS, Frame, FrameKind, decode_frame
from eigenkms.wire.messages import (
    GENESIS,
    MAX_KEY_FRAME_BYTES,
    SESSION_KINDS,
    DealingMessage,
    KeyMessage,
    Proposal,
    SourceRef,
    ViewChange,
    certificate_body,
    commitments_digest,
    dealing_body,
    key_body,
    proposal_body,
    read_dealing,
    read_key,
    read_proposal,
    read_view_change,
    ref_of,
    slot_of,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.wire.session import MAX_OPERATORS, MAX_THRESHOLD
from eigenkms.wire.votes import Certificate, Phase
from tests.protocols.rooms import version_of
from tests.protocols.support import Cast, cast

PUBLIC, PROOF = b"\x01" * 48, b"\x02" * 80
SOURCE = SourceRef(7, b"\x07" * 32)


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def certificate(who: Cast) -> Certificate:
    return Certificate(who.session.id, 3, Phase.PREPARE, b"\x05" * 32, b"\xe0", bytes(64))


def test_what_is_built_is_read_back(who: Cast, certificate: Certificate) -> None:
    """Each kind, with and without its optional parts."""
    me = who.addresses[0]
    assert read_key(who.frame(me, FrameKind.KEY, key_body(PUBLIC, PROOF))) == KeyMessage(PUBLIC, PROOF)
    dealing = read_dealing(who.frame(me, FrameKind.DEALING, dealing_body(SOURCE, b"header")))
    assert dealing == DealingMessage(SOURCE, b"header")
    for proof in (None, certificate):
        change = who.frame(me, FrameKind.VIEW_CHANGE, view_change_body(6, proof))
        assert read_view_change(change) == ViewChange(6, proof)
        for transcript, keys in ((None, ()), (b"t", (b"k", b"l"))):
            body = proposal_body(5, SOURCE, transcript, proof, keys)
            found = read_proposal(who.frame(me, FrameKind.PROPOSAL, body))
            assert found == Proposal(5, SOURCE, transcript, proof, keys)


def test_slots_are_what_a_correct_operator_says_once(who: Cast, certificate: Certificate) -> None:
    """By source, view and phase, as the kind has it; certificates and what is no session's have none."""
    me = who.addresses[0]
    expected = {
        (FrameKind.KEY, 0): who.frame(me, FrameKind.KEY, key_body(PUBLIC, PROOF)),
        (FrameKind.HASH, 0): who.frame(me, FrameKind.HASH, [bytes(32)]),
        (FrameKind.DEALING, bytes(32)): who.frame(me, FrameKind.DEALING, dealing_body(GENESIS, b"x")),
        (FrameKind.DEALING, SOURCE.hash): who.frame(me, FrameKind.DEALING, dealing_body(SOURCE, b"x")),
        (FrameKind.PROPOSAL, 4): who.frame(me, FrameKind.PROPOSAL, proposal_body(4, GENESIS, None, None)),
        (FrameKind.VOTE, 2, 2): who.frame(
            me, FrameKind.VOTE, vote_body(2, Phase.COMMIT, bytes(32), bytes(64))
        ),
        (FrameKind.VIEW_CHANGE, 9): who.frame(me, FrameKind.VIEW_CHANGE, view_change_body(9, None)),
    }
    assert {slot_of(frame): frame for frame in expected.values()} == expected
    assert slot_of(who.frame(me, FrameKind.CERTIFICATE, certificate_body(None, certificate))) is None
    assert slot_of(who.frame(me, FrameKind.SYNC, [b""])) is None
    assert slot_of(who.frame(me, FrameKind.PROPOSAL, proposal_body(4, SOURCE, None, None))) == (
        FrameKind.PROPOSAL,
        4,
    )
    assert {frame.kind for frame in expected.values()} | {FrameKind.CERTIFICATE} == SESSION_KINDS


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (FrameKind.KEY, [PUBLIC], "not a list of 2"),
        (FrameKind.KEY, [PUBLIC, PROOF, 0], "not a list of 2"),
        (FrameKind.KEY, [PUBLIC[1:], PROOF], "48 bytes"),
        (FrameKind.KEY, [PUBLIC, PROOF + b"\0"], "80 bytes"),
        (FrameKind.HASH, [bytes(31)], "32 bytes"),
        (FrameKind.HASH, [bytes(32), 0], "not a list of 1"),
        (FrameKind.DEALING, [b"", bytes(32), b""], "number below 2.64"),
        (FrameKind.DEALING, [0, bytes(31), b""], "32 bytes"),
        (FrameKind.DEALING, [0, bytes(32), None], "bytes"),
        (FrameKind.DEALING, [0, b""], "not a list of 3"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, None], "not a list of 6"),
        (FrameKind.PROPOSAL, [2**32, 0, bytes(32), None, None, []], "number below 2.32"),
        (FrameKind.PROPOSAL, [0, None, bytes(32), None, None, []], "number below 2.64"),
        (FrameKind.PROPOSAL, [0, 0, b"", None, None, []], "32 bytes"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), 7, None, []], "bytes"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, b"x", []], "certificate"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, bytes(600), []], "at most 512"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, None, None], "a list"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, None, [b""] * (MAX_OPERATORS + 1)], "at most 256"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, None, [b"", None]], "at most 512"),
        (FrameKind.PROPOSAL, [0, 0, bytes(32), None, None, [bytes(MAX_KEY_FRAME_BYTES + 1)]], "at most 512"),
        (FrameKind.VOTE, [0, 3, bytes(32), bytes(64)], "unknown phase 3"),
        (FrameKind.VIEW_CHANGE, [0], "not a list of 2"),
        (FrameKind.VIEW_CHANGE, [2**32, None], "number"),
        (FrameKind.VIEW_CHANGE, [0, b""], "certificate"),
        (FrameKind.CERTIFICATE, [None, None], "at most 512"),
    ],
)
def test_nearly_right_is_refused(who: Cast, kind: FrameKind, body: list[object], why: str) -> None:
    """Arity, numbers, lengths and bounds."""
    with pytest.raises(MalformedError, match=why):
        slot_of(who.frame(who.addresses[0], kind, body))


def test_a_key_frame_fits_where_others_carry_it(who: Cast) -> None:
    """With the largest addresses and numbers there are."""
    frame = who.frame(who.addresses[0], FrameKind.KEY, key_body(b"\xff" * 48, b"\xff" * 80))
    assert len(frame.encoded) < 330 < MAX_KEY_FRAME_BYTES


def test_the_dealing_of_the_largest_genesis_fits_its_frame() -> None:
    """256 operators, all of them newcomers, each with a key frame of the usual size."""
    who = cast(1)
    me, number = who.addresses[0], 2**64 - 1
    frame = who.frame(me, FrameKind.KEY, key_body(PUBLIC, PROOF)).encoded
    header = DealingHeader(
        who.session.id,
        me,
        0,
        bytes(32),
        (frame,) * MAX_OPERATORS,
        (bytes(96),) * MAX_THRESHOLD,
        (number,) * MAX_OPERATORS,
        *(bytes(32),) * 3,
    )
    encoded = who.frame(me, FrameKind.DEALING, dealing_body(GENESIS, header.encoded)).encoded
    assert read_dealing(decode_frame(encoded)).header == header.encoded
    assert SIZE_LIMITS[FrameKind.DEALING] >= MAX_HEADER_BYTES + 512


def test_a_source_is_a_version_and_the_hash_of_its_transcript(who: Cast) -> None:
    """As a session may prepare two of one version; a genesis has none."""
    transcript = version_of(who, source=99).transcript
    assert ref_of(transcript) == SourceRef(int(transcript.version), transcript.hash)
    assert ref_of(None) == GENESIS == SourceRef(0, bytes(32))
    assert source_of(transcript) == SourceRef(99, transcript.source_hash)
    assert source_of(version_of(who).transcript) == GENESIS


def test_the_digest_of_commitments_is_of_all_of_them_in_order() -> None:
    one, two = b"\x01" * 96, b"\x02" * 96
    assert commitments_digest([one, two]) == keccak256(b"eigenkms/commitments/2" + one + two)
    assert len({commitments_digest(c) for c in ([one, two], [two, one], [one])}) == 3


_READERS: dict[FrameKind, Callable[[Frame], object]] = {
    FrameKind.KEY: read_key,
    FrameKind.DEALING: read_dealing,
    FrameKind.PROPOSAL: read_proposal,
    FrameKind.VIEW_CHANGE: read_view_change,
}
_leaves = (
    st.none()
    | st.integers(0, 2**64 - 1)
    | st.sampled_from([PUBLIC, PROOF, bytes(32)])
    | st.binary(max_size=40)
)
_bodies = st.lists(_leaves | st.lists(_leaves, max_size=4), max_size=6)


@pytest.mark.parametrize("kind", _READERS)
@given(body=_bodies)
@settings(max_examples=60, derandomize=True)
def test_anything_is_read_in_one_way_or_malformed(kind: FrameKind, body: list[object]) -> None:
    """Canonical lists of the allowed types: what is read is built again to the byte; nothing else is raised."""
    who = cast(1)
    frame = who.frame(who.addresses[0], kind, body)
    try:
        found = _READERS[kind](frame)
    except MalformedError:
        return
    match found:
        case KeyMessage(public, proof):
            again = key_body(public, proof)
        case DealingMessage(source, header):
            again = dealing_body(source, header)
        case Proposal(view, source, transcript, justification, keys):
            again = proposal_body(view, source, transcript, justification, keys)
        case ViewChange(view, prepared):
            again = view_change_body(view, prepared)
        case _:
            raise AssertionError(found)
    assert encode(again) == encode(body)
