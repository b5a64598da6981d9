"""One operator across boundaries: what it may join, what it keeps, what binds it, and what it forgets."""

from collections.abc import Sequence

import pytest

from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.effects import Effect, Erase, Persist
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import proposal_body, view_change_body
from eigenkms.protocols.operator import (
    KEPT_PULLED,
    KEPT_TOUCHED,
    KEPT_UNTOUCHED,
    MAX_EARLY_BYTES,
    MAX_EARLY_FRAMES,
    Operator,
    SessionEffect,
)
from eigenkms.protocols.session import Session
from eigenkms.types import OperatorAddress, OperatorSet
from tests.protocols.support import Cast, cast, certified_by


@pytest.fixture
def who() -> Cast:
    return cast(4)


def _operator(who: Cast, address: OperatorAddress | None = None) -> Operator:
    me = address or who.addresses[0]
    return Operator(me, who.keys[me], who.rng)


def _change(who: Cast, session: Session, sender: int = 1) -> Frame:
    return who.frame(who.addresses[sender], Kind.VIEW_CHANGE, view_change_body(1, None), session=session)


def _journal(effects: Sequence[SessionEffect], session: Session):  # type: ignore[no-untyped-def]
    return [e.effect.record for e in effects if e.session.id == session.id and isinstance(e.effect, Persist)]


def test_members_join_each_new_boundary(who: Cast) -> None:
    """Once each; a stranger none; with a version known that is not settled, none."""
    operator = _operator(who)
    assert operator.boundary(who.session, 0.0)
    assert not operator.boundary(who.session, 1.0)
    assert operator.boundary(who.later(), 2.0)
    assert [c.session.boundary.number for c in operator.live] == [100, 110]
    stranger = Session(
        who.session.cluster,
        who.later(20).boundary,
        OperatorSet(who.session.recipients.members[1:]),
        who.session.parameters,
    )
    assert not operator.may_join(stranger)
    _, transcript = certified_by(who)
    operator.know(transcript, None, settled=False)
    assert not operator.may_join(who.later(30))
    assert not operator.boundary(who.later(30), 3.0)


def test_a_boundary_number_is_joined_once_whatever_its_block(who: Cast) -> None:
    """A block that is reorged into another with the same number, or an older one, opens no second session."""
    operator = _operator(who)
    operator.boundary(who.later(10), 0.0)
    other = cast(4, quorum=3).later(10)
    assert (other.boundary.number, other.id != who.later(10).id) == (110, True)
    assert not operator.may_join(other)
    assert not operator.may_join(who.session)
    assert operator.may_join(who.later(20))


def test_what_the_caller_is_told_is_what_happens(who: Cast) -> None:
    """``boundary`` joins exactly if ``may_join`` said so, even if leaving the older session makes the operator vote there: its
    store has opened the session already, and would resume it in the next life.
    """
    operator = _operator(who)
    operator.boundary(who.session, 0.0)
    older = operator.ceremony(who.session.id)
    assert older is not None

    def votes_when_left(_now: float) -> list[Effect]:
        older._prepared = True
        return []

    older.supersede = votes_when_left  # type: ignore[method-assign]
    assert operator.may_join(who.later())
    operator.boundary(who.later(), 0.2)
    assert operator.binding == who.session
    assert operator.ceremony(who.later().id) is not None


def test_a_vote_for_a_key_binds_until_the_session_is_closed(who: Cast) -> None:
    """Also in the next life; unbound, the next boundary is joined."""
    operators = {a: _operator(who, a) for a in who.addresses}
    journals: dict[OperatorAddress, list[SessionEffect]] = {a: [] for a in who.addresses}
    pending: list[tuple[OperatorAddress, SessionEffect]] = []
    for address, operator in operators.items():
        pending += [(address, e) for e in operator.boundary(who.session, 0.0)]
    while pending:
        sender, item = pending.pop(0)
        journals[sender].append(item)
        frame = getattr(item.effect, "frame", None)
        if frame is None or frame.kind is Kind.VOTE:
            continue
        for address, operator in operators.items():
            if frame.recipient in (None, address) and operator.wants(frame):
                pending += [(address, e) for e in operator.receive([frame], 0.1)]
    me = who.addresses[0]
    assert operators[me].binding == who.session
    assert not operators[me].may_join(who.later())
    again = _operator(who)
    again.restore(who.session, _journal(journals[me], who.session), 0.0, 5.0)
    assert again.binding == who.session
    again.pass_boundary(who.later(), 6.0)
    assert [c.session for c in again.live] == [who.session]
    assert again.forget() == []


def test_frames_of_a_boundary_not_seen_yet_are_kept_for_it(who: Cast) -> None:
    """Bounded in number and bytes for each sender, taken out at the boundary, dropped at another one."""
    operator = _operator(who)
    session, me, peer = who.later(), *who.addresses[:2]
    early = [
        who.frame(peer, Kind.HASH, [bytes([i]) * 32], session=session) for i in range(MAX_EARLY_FRAMES + 5)
    ]
    for frame in early:
        if operator.wants(frame):
            assert operator.receive([frame], 0.0) == []
    assert not operator.wants(early[0]), "known already"
    assert not operator.wants(early[-1]), "the sender has had its share"
    assert operator.wants(who.frame(who.addresses[2], Kind.HASH, [bytes(32)], session=session))
    large = who.frame(
        who.addresses[3], Kind.PROPOSAL, proposal_body(0, bytes(200_000), None), session=session
    )
    operator.receive([large], 0.0)
    second = who.frame(
        who.addresses[3], Kind.PROPOSAL, proposal_body(1, bytes(200_000), None), session=session
    )
    operator.receive([second], 0.0)
    third = who.frame(
        who.addresses[3], Kind.PROPOSAL, proposal_body(2, bytes(200_000), None), session=session
    )
    assert len(large.encoded) * 3 > MAX_EARLY_BYTES
    assert not operator.wants(third)
    operator.receive([third], 0.0)
    for frame in (
        who.frame(peer, Kind.SYNC, [b""], session=session),
        who.frame(who.addresses[2], Kind.SHARE, [], recipient=peer, session=session),
    ):
        assert not operator.wants(frame), "of another kind, or for somebody else"
    operator.pass_boundary(session, 1.0)
    taken = operator.take_early(session)
    assert {f.key for f in taken} == {f.key for f in [*early[:MAX_EARLY_FRAMES], large, second]}
    assert operator.take_early(session) == []
    operator.receive(early[:3], 2.0)
    operator.pass_boundary(who.later(20), 3.0)
    assert operator.take_early(session) == []
    assert me == who.addresses[0]


def test_frames_of_several_sessions_find_theirs(who: Cast) -> None:
    """A batch is sorted by session; what is malformed is refused for the known ones."""
    operator = _operator(who)
    operator.boundary(who.session, 0.0)
    operator.boundary(who.later(), 1.0)
    batch = [_change(who, who.session), _change(who, who.later(), 2), _change(who, who.later(20), 3)]
    assert all(operator.wants(f) for f in batch)
    operator.receive(batch, 1.5)
    assert operator.ceremony(who.session.id)._agreement.touched  # type: ignore[union-attr]
    assert operator.ceremony(who.later().id)._agreement.touched  # type: ignore[union-attr]
    assert operator.take_early(who.later(20)) == batch[2:]
    with pytest.raises(MalformedError):
        operator.wants(who.frame(who.addresses[1], Kind.HASH, []))


def test_old_sessions_are_forgotten_unless_somebody_may_be_bound(who: Cast) -> None:
    """Sessions without a vote go after a while; with signs of votes they stay much longer; forgotten ones are not begun again."""
    operator = _operator(who)
    sessions = [who.later(10 * k) for k in range(KEPT_UNTOUCHED + 10)]
    for k, session in enumerate(sessions):
        operator.boundary(session, float(k))
    operator.receive([_change(who, sessions[2])], 100.0)
    gone = operator.forget()
    assert [s.boundary.number for s in gone] == [
        s.boundary.number for k, s in enumerate(sessions[:10]) if k != 2
    ]
    assert operator.ceremony(sessions[2].id) is not None
    assert operator.ceremony(sessions[3].id) is None
    assert not operator.may_join(sessions[3])
    assert operator.forget() == []
    assert KEPT_TOUCHED > KEPT_UNTOUCHED


def test_a_session_that_binds_me_is_never_forgotten(who: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many came after it."""
    monkeypatch.setattr("eigenkms.protocols.operator.KEPT_TOUCHED", 1)
    operator = _operator(who)
    sessions = [who.later(10 * k) for k in range(3)]
    for session in sessions:
        operator.boundary(session, 0.0)
        operator.receive([_change(who, session)], 0.1)
    operator.ceremony(sessions[0].id)._prepared = True  # type: ignore[union-attr]
    assert operator.forget() == [sessions[1]]
    assert operator.binding == sessions[0]


def test_only_the_newest_sessions_and_those_awake_are_pulled(who: Cast) -> None:
    """A session left behind sleeps until a view change wakes it."""
    operator = _operator(who)
    sessions = [who.later(10 * k) for k in range(KEPT_PULLED + 3)]
    for k, session in enumerate(sessions):
        operator.boundary(session, float(k))
    assert [c.session for c in operator.live] == sessions[-KEPT_PULLED:]
    operator.receive([_change(who, sessions[0])], 100.0)
    assert [c.session for c in operator.live] == [sessions[0], *sessions[-KEPT_PULLED:]]
    assert operator.deadline(100.0) is not None
    assert operator.tick(101.0)


def test_a_single_operator_is_alone_with_its_key() -> None:
    """N = 1: one step from boundary to certificate, and rotations after it, each of which erases what was before."""
    who = cast(1)
    operator = _operator(who)
    operator.boundary(who.session, 0.0)
    assert operator.has_version
    assert operator.deadline(0.0) is None
    assert operator.live == ()
    genesis = operator.source
    assert operator.may_join(who.later())
    effects = operator.boundary(who.later(), 1.0)
    assert operator.source is not None
    assert genesis is not None
    assert operator.source.transcript.source_hash == genesis.transcript.hash
    assert [e.effect for e in effects if isinstance(e.effect, Erase)] == [Erase(genesis.transcript.hash)]
