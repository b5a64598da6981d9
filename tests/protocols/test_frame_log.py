"""The first frame in a slot stays; what a sender may leave behind is bounded; what falls out is told."""

from eigenkms.protocols.ceremony import frame_log
from eigenkms.protocols.ceremony.frame_log import MAX_EQUIVOCATIONS, MAX_REPEATS, MAX_VIEWS, FrameLog
from eigenkms.wire.frames import Frame, FrameKind
from eigenkms.wire.messages import (
    SourceRef,
    certificate_body,
    dealing_body,
    view_change_body,
    vote_body,
)
from eigenkms.wire.votes import Certificate, Phase
from tests.protocols.support import Cast, cast


def _change(who: Cast, view: int, sender: int = 0) -> Frame:
    return who.frame(who.addresses[sender], FrameKind.VIEW_CHANGE, view_change_body(view, None))


def _dealing(who: Cast, source: int, header: bytes) -> Frame:
    """From a source of its own, so in a slot of its own."""
    body = dealing_body(SourceRef(source, source.to_bytes(32, "big")), header)
    return who.frame(who.addresses[0], FrameKind.DEALING, body)


def test_the_first_stays_and_the_second_is_evidence() -> None:
    """A third in the same slot is not even looked at."""
    who, log = cast(4), FrameLog()
    one, two, three = (who.frame(who.addresses[0], FrameKind.HASH, [bytes([i]) * 32]) for i in range(3))
    assert log.add(one) is None
    assert log.add(one) is None
    assert log.add(two) == (one, two)
    assert not log.accepts(three)
    assert log.add(three) is None
    assert list(log) == [one]
    assert (len(log), log.keys(), log.has(one), log.has(two)) == (1, (one.key,), True, False)
    assert log.get(who.addresses[0], (FrameKind.HASH, 0)) == one
    assert log.get(who.addresses[1], (FrameKind.HASH, 0)) is None


def test_only_the_highest_views_stay() -> None:
    """A sender's own old views make room; a view below them is not wanted; both phases of a vote are one view."""
    who, log = cast(4), FrameLog()
    mine = [_change(who, v) for v in range(1, MAX_VIEWS + 3)]
    for frame in mine:
        assert log.add(frame) is None
    assert list(log) == mine[2:]
    assert log.drain_evicted() == mine[:2]
    assert log.drain_evicted() == []
    assert not log.accepts(mine[0])
    assert log.add(_change(who, 1, sender=1)) is None, "another sender has its own room"
    votes = [
        who.frame(who.addresses[0], FrameKind.VOTE, vote_body(v, phase, bytes(32), bytes(64)))
        for v in range(MAX_VIEWS + 1)
        for phase in Phase
    ]
    for frame in votes:
        log.add(frame)
    assert log.drain_evicted() == votes[:2]


def test_a_sender_is_verified_so_often_and_no_more(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Also if each frame displaces an older one; others are not concerned, nor is what one says oneself, which is added unasked."""
    monkeypatch.setattr(frame_log, "MAX_TAKEN", MAX_VIEWS + 2)
    who, log = cast(4), FrameLog()
    for view in range(MAX_VIEWS + 5):
        if log.accepts(_change(who, view)):
            log.add(_change(who, view))
    assert (len(log), len(log.drain_evicted()), log.dropped) == (MAX_VIEWS, 2, 3)
    assert log.accepts(_change(who, 0, sender=1))
    log.add(_change(who, 100))
    assert log.has(_change(who, 100))


def test_evidence_and_repeats_have_bounds(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """So many equivocations are enough to convict; so many certificates are enough to read; so many slots for one sender."""
    who, log = cast(4), FrameLog()
    me = who.addresses[0]
    found = [
        log.add(_dealing(who, i, header))
        for i in range(MAX_EQUIVOCATIONS + 4)
        for header in (b"one", b"another")
    ]
    assert sum(twice is not None for twice in found) == MAX_EQUIVOCATIONS
    for view in range(MAX_REPEATS + 3):
        certificate = Certificate(who.session.id, view, Phase.COMMIT, bytes(32), b"\xf0", bytes(64))
        log.add(who.frame(me, FrameKind.CERTIFICATE, certificate_body(None, certificate)))
    assert sum(f.kind is FrameKind.CERTIFICATE for f in log) == MAX_REPEATS
    monkeypatch.setattr(frame_log, "MAX_PER_SENDER", 3)
    small = FrameLog()
    for i in range(5):
        small.add(_dealing(who, i, b"one"))
    assert (len(small), small.dropped) == (3, 2)
