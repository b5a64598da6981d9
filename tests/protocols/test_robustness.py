"""Whatever a member signs, an operator goes on: bad bodies are refused before they are believed, and memory has bounds."""

import pytest

from eigenkms.crypto import bn254
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.evidence import Fault
from eigenkms.protocols.frames import BROADCAST_KINDS, Kind, WrongScopeError, build_frame
from eigenkms.protocols.messages import proposal_body, report_body, vote_body
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import Phase, vote_digest
from tests.protocols.support import Table, accusations, cast

KINDS = sorted((BROADCAST_KINDS - {Kind.KEY}) | {Kind.SHARE})
LOW_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)
ODD_BODIES = (
    [],
    [b""],
    [None],
    [0],
    ["text"],
    [[]],
    [b"\x00" * 31],
    [0, 0],
    [0, b"", b""],
    [0, 1, b"", b""],
    [None, b""],
    [b"", b""],
    [0, None, b"\x90"],
    [0, b"x" * 20, b"y" * 31, b"", b""],
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", ODD_BODIES, ids=repr)
def test_a_malformed_body_is_refused_before_it_is_believed(kind: Kind, body: list[object]) -> None:
    """``wants`` says ``MalformedError``. Bytes that are no dealing are another thing: they convict whoever signed them."""
    who = cast(4)
    me, peer, *_ = who.addresses
    table = Table(who)
    table.start(without=[peer])
    frame = who.frame(peer, kind, body, recipient=me if kind is Kind.SHARE else None)
    if kind is Kind.DEALING and len(body) == 2 and body[0] == 0 and isinstance(body[1], bytes):
        assert table.seats[me].wants(frame)
        return
    with pytest.raises(MalformedError):
        table.seats[me].wants(frame)


@pytest.mark.parametrize("kind", [Kind.REPORT, Kind.SHARE, Kind.ANSWER, Kind.OPENING])
def test_a_source_other_than_genesis_is_refused(kind: Kind) -> None:
    """A source version is another slot: in one that is not dealt from, nobody can say a second thing."""
    who = cast(4)
    me, peer, *_ = who.addresses
    ceremony = who.ceremony(me)
    ceremony.start(0.0)
    bodies = {
        Kind.REPORT: [1, []],
        Kind.SHARE: [1, bytes(32), b"\x01" * 32],
        Kind.ANSWER: [1, me, b"\x01" * 32, b"", b""],
        Kind.OPENING: [1, me, bytes(32)],
    }
    frame = who.frame(peer, kind, bodies[kind], recipient=me if kind is Kind.SHARE else None)
    assert not ceremony.wants(frame)
    assert ceremony.unknown_sources == {peer: 1}, "whoever deals from a version may prove it"


@pytest.mark.parametrize("key", LOW_ORDER, ids=lambda k: k.hex()[:8])
def test_a_report_with_a_key_that_nothing_can_be_sealed_to_is_refused(key: bytes) -> None:
    """Otherwise its dealers could not answer it, and a liar would have every honest dealer left out."""
    who = cast(4)
    me, peer, *others = who.addresses
    table = Table(who)
    table.start()
    report = who.frame(peer, Kind.REPORT, report_body({}, {me: key}))
    with pytest.raises(MalformedError, match="sealed"):
        table.hear(others[0], report)


def test_a_vote_signature_that_is_no_point_is_evidence_and_stops_nobody() -> None:
    """A signed frame around 64 bytes of nonsense: its sender is accused, the others' votes count."""
    who = cast(4)
    liar = who.addresses[3]
    table = Table(who, lambda s, _l, f: not (s == liar and f.kind is Kind.VOTE))
    table.start()
    (vote,) = table.said(liar, Kind.VOTE)[:1]
    view, phase, digest, _ = vote.body
    bad = who.frame(liar, Kind.VOTE, vote_body(view, Phase(phase), digest, b"\xff" * 64))
    (accused,) = accusations(table.hear(who.addresses[0], bad))
    assert (accused.fault, accused.accused) == (Fault.BAD_VOTE, liar)


def test_votes_that_cancel_out_are_sorted_out_one_by_one() -> None:
    """A vote made to bring the sum to infinity is no vote."""
    who = cast(2)
    me, liar = who.addresses
    table = Table(who, lambda s, _l, f: not (s == liar and f.kind is Kind.VOTE))
    table.start()
    (vote,) = table.said(me, Kind.VOTE)
    view, phase, digest, mine = vote.body
    order = bn254.N
    negated = bn254.sign(
        bn254.KeyPair(order - who.keys[me].secret), vote_digest(who.session.id, view, Phase(phase), digest)
    )
    with pytest.raises(ValueError):
        bn254.aggregate_signatures([mine, negated])
    bad = who.frame(liar, Kind.VOTE, vote_body(view, Phase(phase), digest, negated))
    (accused,) = accusations(table.hear(me, bad))
    assert (accused.fault, accused.accused) == (Fault.BAD_VOTE, liar)


def test_a_proposal_of_a_transcript_without_recipients_is_ignored() -> None:
    """Its threshold would be that of nobody; nothing is raised, nothing is voted."""
    who = cast(4)
    session = who.session
    coordinator = session.coordinator(0)
    me = next(a for a in who.addresses if a != coordinator)
    empty = Transcript(
        session.cluster,
        session.id,
        session.boundary,
        type(session.recipients)(()),
        0,
        0,
        bytes(32),
        (),
        bytes(96),
        (),
    )
    ceremony = who.ceremony(me)
    ceremony.start(0.0)
    frame = who.frame(coordinator, Kind.PROPOSAL, proposal_body(0, empty.encoded, None))
    assert ceremony.wants(frame)
    assert ceremony.receive([frame], 0.0) == []


def test_a_sync_request_is_answered_to_members_only() -> None:
    """A request holds the asker's place in the session: outsiders, other clusters and other sessions get nothing."""
    who, other = cast(4), cast(4, seed="other")
    me, peer, *_ = who.addresses
    ceremony = who.ceremony(me)
    ceremony.start(0.0)
    stranger = other.addresses[0]
    body = who.ceremony(peer).sync_request().body
    key = other.keys[stranger]
    foreign = build_frame(
        key,
        kind=Kind.SYNC,
        cluster=who.session.cluster,
        sender=stranger,
        session=who.session.id,
        body=body,
    )
    for request in (
        foreign,
        who.frame(peer, Kind.SYNC, body, session=who.later()),
        who.frame(peer, Kind.SYNC, body, recipient=who.addresses[2]),
    ):
        with pytest.raises(WrongScopeError):
            ceremony.sync_reply(request)
    for bad in ([], [b"x"], [[b"x" * 16]], [b"x" * 17]):
        with pytest.raises(MalformedError):
            ceremony.sync_reply(who.frame(peer, Kind.SYNC, bad))
    assert ceremony.sync_reply(who.frame(peer, Kind.SYNC, body))
