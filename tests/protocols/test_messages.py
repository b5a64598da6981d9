"""Bodies: what is built is read back, in one slot for each thing that is said once; what is nearly right is refused."""

import pytest

from eigenkms.crypto import sealing
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.frames import Kind
from eigenkms.protocols.messages import (
    MAX_SYNC_KEYS,
    Answer,
    Opening,
    Report,
    certificate_body,
    opening_body,
    proposal_body,
    read_answer,
    read_certificate_frame,
    read_opening,
    read_proposal,
    read_report,
    read_share,
    read_sync,
    read_view_change,
    read_vote,
    report_body,
    share_body,
    slot_of,
    sync_body,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.votes import Certificate, Phase
from tests.protocols.support import Cast, cast, counter_rng

KEY = sealing.x25519_keypair(counter_rng("key"))[1]


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def certificate(who: Cast) -> Certificate:
    return Certificate(who.session.id, 3, Phase.PREPARE, b"\x05" * 32, b"\xe0", bytes(64))


def test_what_is_built_is_read_back(who: Cast, certificate: Certificate) -> None:
    """Each kind, with and without its optional parts."""
    me, peer, other, _ = who.addresses

    def read(reader, kind: Kind, body: list[object]) -> object:  # type: ignore[no-untyped-def]
        return reader(who.frame(me, kind, body))

    share = read(read_share, Kind.SHARE, share_body(b"\x01" * 32, SecretScalar(7)))
    assert (share.dealing_hash, share.scalar.value) == (b"\x01" * 32, 7)  # type: ignore[attr-defined]
    report = read(read_report, Kind.REPORT, report_body({peer: b"\x02" * 32}, {other: KEY}))
    assert report == Report(0, {peer: b"\x02" * 32}, {other: KEY})
    assert read(read_answer, Kind.ANSWER, [0, peer, KEY, b"dealing", b"sealed"]) == Answer(
        0, peer, KEY, b"dealing", b"sealed"
    )
    assert read(read_opening, Kind.OPENING, opening_body(peer, bytes(32))) == Opening(0, peer, bytes(32))
    for root in (None, certificate):
        proposal = read(read_proposal, Kind.PROPOSAL, proposal_body(5, b"t", certificate, root))
        assert (proposal.view, proposal.justification, proposal.root) == (5, certificate, root)  # type: ignore[attr-defined]
        change = read(read_view_change, Kind.VIEW_CHANGE, view_change_body(6, certificate, root))
        assert (change.view, change.prepared, change.root) == (6, certificate, root)  # type: ignore[attr-defined]
    vote = read(read_vote, Kind.VOTE, vote_body(1, Phase.COMMIT, bytes(32), bytes(64)))
    assert (vote.view, vote.phase) == (1, Phase.COMMIT)  # type: ignore[attr-defined]
    message = read(read_certificate_frame, Kind.CERTIFICATE, certificate_body(None, certificate))
    assert (message.transcript, message.certificate) == (None, certificate)  # type: ignore[attr-defined]
    keys = [bytes([i]) * 16 for i in range(5)]
    assert read(read_sync, Kind.SYNC, sync_body(keys)) == frozenset(keys)


def test_a_request_never_outgrows_its_frame(who: Cast) -> None:
    """However many frames are known, the list of their keys fits; what is left out is sent once too often."""
    body = sync_body(i.to_bytes(16, "big") for i in range(MAX_SYNC_KEYS + 500))
    frame = who.frame(who.addresses[0], Kind.SYNC, body)
    assert len(read_sync(frame)) == MAX_SYNC_KEYS
    from eigenkms.protocols.frames import decode_frame

    assert decode_frame(frame.encoded) == frame


def test_secrets_do_not_print(who: Cast) -> None:
    """Neither a share nor a one-time key stands in a repr."""
    me, peer, *_ = who.addresses
    share = read_share(who.frame(me, Kind.SHARE, share_body(bytes(32), SecretScalar(4711))))
    opening = read_opening(who.frame(me, Kind.OPENING, opening_body(peer, b"\x5a" * 32)))
    assert "4711" not in repr(share)
    assert "ZZZZ" not in repr(opening)


def test_slots_are_what_a_correct_operator_says_once(who: Cast, certificate: Certificate) -> None:
    """By source, recipient, dealer, view and phase, as the kind has it; certificates and requests have none."""
    me, peer, *_ = who.addresses
    vote = vote_body(2, Phase.COMMIT, bytes(32), bytes(64))
    expected = {
        (Kind.HASH, 0): who.frame(me, Kind.HASH, [bytes(32)]),
        (Kind.DEALING, 0): who.frame(me, Kind.DEALING, [0, b"x"]),
        (Kind.SHARE, 0, peer): who.frame(
            me, Kind.SHARE, share_body(bytes(32), SecretScalar(1)), recipient=peer
        ),
        (Kind.REPORT, 0): who.frame(me, Kind.REPORT, report_body({}, {})),
        (Kind.ANSWER, 0, peer): who.frame(me, Kind.ANSWER, [0, peer, KEY, b"", b""]),
        (Kind.OPENING, 0, peer): who.frame(me, Kind.OPENING, opening_body(peer, bytes(32))),
        (Kind.PROPOSAL, 4): who.frame(me, Kind.PROPOSAL, proposal_body(4, None, None)),
        (Kind.VOTE, 2, 2): who.frame(me, Kind.VOTE, vote),
        (Kind.VIEW_CHANGE, 9): who.frame(me, Kind.VIEW_CHANGE, view_change_body(9, None)),
    }
    assert {slot_of(frame): frame for frame in expected.values()} == expected
    assert slot_of(who.frame(me, Kind.CERTIFICATE, certificate_body(None, certificate))) is None
    assert slot_of(who.frame(me, Kind.SYNC, [b""])) is None


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (Kind.SHARE, [0, bytes(32), bytes(32)], "scalar out of range"),
        (Kind.SHARE, [0, bytes(32), R.to_bytes(32, "big")], "scalar out of range"),
        (Kind.REPORT, [0, [[b"b" * 20, bytes(32), None], [b"a" * 20, bytes(32), None]]], "ascending"),
        (Kind.REPORT, [0, [[b"b" * 20, bytes(32), None], [b"b" * 20, None, KEY]]], "ascending"),
        (Kind.REPORT, [0, [[b"b" * 20, None, None]]], "neither held nor lacking"),
        (Kind.REPORT, [0, [[b"b" * 20, bytes(32), KEY]]], "neither held nor lacking"),
        (Kind.REPORT, [0, [[b"b" * 20, bytes(32)]]], "not a list of 3"),
        (Kind.REPORT, [0, [[i.to_bytes(20, "big"), bytes(32), None] for i in range(257)]], "at most 256"),
        (Kind.ANSWER, [0, bytes(20), KEY, b"", bytes(257)], "at most 256"),
        (Kind.VOTE, [0, 0, bytes(32), bytes(64)], "unknown phase 0"),
        (Kind.VOTE, [0, 3, bytes(32), bytes(64)], "unknown phase 3"),
        (Kind.VOTE, [2**32, 1, bytes(32), bytes(64)], "number"),
        (Kind.PROPOSAL, [0, None, b"x", None], "certificate"),
        (Kind.PROPOSAL, [0, None, None, bytes(600)], "at most 512"),
        (Kind.VIEW_CHANGE, [0, b"", None], "certificate"),
        (Kind.CERTIFICATE, [None, None], "at most 512"),
    ],
)
def test_nearly_right_is_refused(who: Cast, kind: Kind, body: list[object], why: str) -> None:
    """Scalars in range, rows in order, phases that exist, numbers and lengths within bounds."""
    with pytest.raises(MalformedError, match=why):
        slot_of(who.frame(who.addresses[0], kind, body))
