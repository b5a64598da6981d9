"""What one member sees and others do not, what some are told and others not, what is said too early: it stops nothing."""

from collections.abc import Callable
from itertools import permutations
from typing import TypeAlias

import pytest

from eigenkms.crypto import sealing
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.dealing import decode_dealing, reshare
from eigenkms.protocols.effects import Certified, Effect, Erase, Settled
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import (
    EXCHANGE_KINDS,
    certificate_body,
    confirm_body,
    dealing_body,
    proposal_body,
    read_dealing_frame,
    report_body,
    share_body,
    vote_body,
)
from eigenkms.protocols.operator import Operator
from eigenkms.protocols.session import Session
from eigenkms.protocols.votes import Certificate, Phase
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, KeyVersion, Table, accusations, cast, secret_of, version_of

Deceive: TypeAlias = Callable[[Table, OperatorAddress, OperatorAddress], None]
SPEAKING = frozenset({Kind.VOTE, Kind.PROPOSAL, Kind.VIEW_CHANGE})


def told_apart(
    cast_: Cast, version: KeyVersion, victims: dict[OperatorAddress, OperatorAddress], deceive: Deceive
) -> Table:
    """A table where each liar deceives its victim alone (``deceive(table, liar, victim)``) and never votes; after 20 s."""
    hold = {Kind.REPORT}

    def lets(sender: OperatorAddress, listener: OperatorAddress, frame: Frame) -> bool:
        if frame.kind in hold or (sender in victims and frame.kind in SPEAKING):
            return False
        return victims.get(sender) != listener or frame.kind is not Kind.SHARE or deceive is second_dealing

    table = Table(cast_, lets, source=version)
    table.start()
    for liar, victim in victims.items():
        deceive(table, liar, victim)
    hold.clear()
    for step in range(1, 80):
        table.at(step / 4)
    return table


def bad_share(table: Table, liar: OperatorAddress, victim: OperatorAddress) -> None:
    """The victim reports what it lacks, gets a good answer, and has evidence that nobody else has."""
    dealing = read_dealing_frame(table.said(liar, Kind.DEALING)[0])
    body = share_body(decode_dealing(dealing.encoded).hash, SecretScalar(5), dealing.source)
    table.hear(victim, table.cast.frame(liar, Kind.SHARE, body, recipient=victim))


def second_dealing(table: Table, liar: OperatorAddress, victim: OperatorAddress) -> None:
    """The victim holds what the others hold, and knows of another one besides."""
    source = table.source
    assert source is not None
    session = table.cast.session
    polynomial = Polynomial.random(session.threshold, table.cast.rng, source.shares[liar])
    dealing = reshare(session, liar, polynomial, source.transcript)
    table.hear(victim, table.cast.frame(liar, Kind.DEALING, dealing_body(dealing)))


@pytest.mark.parametrize("deceive", [bad_share, second_dealing])
@pytest.mark.parametrize("n", [4, 7])
def test_evidence_that_one_member_has_alone_divides_nobody(n: int, deceive: Deceive) -> None:
    """Each liar shows its fault to a victim of its own and is silent otherwise. All dealers are held by all, so after the first
    view the victims prepare what others count, though they would not propose it.
    """
    who = cast(n)
    version = version_of(who)
    for blocks in (10, 20, 30, 40, 50):
        now = who.at(blocks)
        *honest, _ = addresses = now.addresses
        liars = addresses[-(n // 3) :]
        honest = [a for a in addresses if a not in liars]
        table = told_apart(now, version, dict(zip(liars, honest, strict=False)), deceive)
        assert set(table.decided()) >= set(honest), f"after {blocks} blocks"
        assert all(accusations(table.effects[victim]) for victim in honest[: len(liars)])
        assert not any(accusations(table.effects[a]) for a in honest[len(liars) :])


def test_a_report_that_is_late_for_some_divides_nobody() -> None:
    """Two liars report, at the last moment for one member each, that they lack one another, and are silent then."""
    who = cast(7)
    version = version_of(who)
    for blocks in (10, 20, 30):
        now = who.at(blocks)
        *honest, one, other = now.addresses
        quiet = SPEAKING | {Kind.REPORT, Kind.ANSWER}
        table = Table(now, lambda s, _l, f, q=quiet, h=honest: s in h or f.kind not in q, source=version)  # type: ignore[misc]
        table.start()
        dealings = table.seats[honest[0]]._exchanges.current._dealings
        reports = {
            liar: now.frame(
                liar,
                Kind.REPORT,
                report_body(
                    {d: dealings[d].hash for d in now.addresses if d != lacked},
                    {lacked: sealing.x25519_keypair(now.rng)[1]},
                    int(version.transcript.version),
                ),
            )
            for liar, lacked in ((one, other), (other, one))
        }
        table.at(1.99)
        for member, report in zip(honest, reports.values(), strict=False):
            table.hear(member, report)
        table.at(2.01)
        for member in honest:
            for report in reports.values():
                table.hear(member, report)
        for step in range(9, 80):
            table.at(step / 4)
        assert set(table.decided()) >= set(honest), f"after {blocks} blocks"
        assert not any(accusations(table.effects[a]) for a in honest)


def test_who_lost_a_share_proposes_without_its_dealer() -> None:
    """It reported the share, crashed, and the dealer, which does not vote, does not serve it again."""
    who = cast(4)
    version = version_of(who)
    for blocks in (10, 20, 30, 40, 50):
        now = who.at(blocks)
        mine, *_, liar = now.addresses
        before = [True]

        def lets(
            sender: OperatorAddress,
            listener: OperatorAddress,
            frame: Frame,
            gone: tuple[OperatorAddress, OperatorAddress] = (liar, mine),
            before: list[bool] = before,
        ) -> bool:
            if frame.kind in SPEAKING:
                return not before[0] and sender != gone[0]
            return before[0] or (sender, listener) != gone

        table = Table(now, lets, source=version)
        table.start()
        before[0] = False
        table.restart(mine, 0.1)
        honest = now.addresses[:3]
        for step in range(1, 160):
            for asker, asked in permutations(honest, 2):
                for frame in table.seats[asked].sync_reply(table.seats[asker].sync_request()):
                    table.hear(asker, frame)
            table.at(step / 4)
        assert set(table.decided()) >= set(honest), f"after {blocks} blocks"


def test_junk_that_cannot_be_refused_does_not_stop_pulling() -> None:
    """Certificates that are none, different ones for each member and each as large as half an answer, while nothing but pulling
    works between the others.
    """
    who = cast(4)
    version = version_of(who)
    now = who.at(10)
    *honest, liar = now.addresses
    table = Table(now, lambda _s, _l, _f: False, source=version)
    table.start()
    false = Certificate(now.session.id, 0, Phase.COMMIT, bytes(32), b"\0", bytes(64))
    for seat, member in enumerate(honest):
        for number in range(4):
            junk = certificate_body(bytes([seat, number]) + bytes(255_000), false)
            table.hear(member, now.frame(liar, Kind.CERTIFICATE, junk))
    for step in range(1, 80):
        table.at(step / 4)
        for asker, asked in permutations(honest, 2):
            for frame in table.seats[asked].sync_reply(table.seats[asker].sync_request()):
                table.hear(asker, frame)
    assert set(table.decided()) >= set(honest)


# -- what comes before its boundary is seen --------------------------------------------------------------------------


def early(operator: Operator, session: Session, *frames: Frame) -> list[Effect]:
    """What comes of frames that reach an operator before their boundary does."""
    for frame in frames:
        assert operator.wants(frame), "nothing is known yet that it could be held against"
    operator.receive(frames, 0.0)
    effects = operator.boundary(session, 1.0)
    return [item.effect for item in [*effects, *operator.receive(operator.take_early(session), 1.0)]]


def holding(who: Cast, me: OperatorAddress, version: KeyVersion) -> Operator:
    operator = who.operator(me)
    operator.know(version.transcript, version.shares[me], settled=True)
    return operator


def test_early_frames_are_screened_once_their_session_is_known() -> None:
    """Bodies that are none, reports and votes by a leaver, a proposal by who is not the coordinator: as if they came later."""
    who = cast(4)
    version = version_of(who)
    now = who.at(10, who.addresses[:3])
    me, other, _ = now.addresses
    leaver = who.addresses[3]
    source = int(version.transcript.version)
    key = sealing.x25519_keypair(now.rng)[1]
    wrong = next(a for a in (other, now.addresses[2]) if a != now.session.coordinator(0))
    frames = [
        now.frame(other, Kind.VOTE, []),
        now.frame(leaver, Kind.REPORT, report_body({}, {me: key}, source)),
        now.frame(leaver, Kind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), bytes(64))),
        now.frame(wrong, Kind.PROPOSAL, proposal_body(0, None, None, None)),
    ]
    operator = holding(now, me, version)
    early(operator, now.session, *frames)
    ceremony = operator.ceremony(now.session.id)
    assert ceremony is not None
    assert not any(ceremony._log.has(frame) for frame in frames)
    assert operator.take_early(now.session) == []


def test_an_early_confirm_by_who_holds_nothing_settles_nothing() -> None:
    """A leaver's: it does not count, so nothing is erased for it, and the proof has as many signers as it needs."""
    who = cast(4)
    version = version_of(who)
    now = who.at(10, who.addresses[:3])
    me, *others = now.addresses
    leaver = who.addresses[3]
    table = Table(now, lambda _s, _l, f: f.kind is not Kind.CONFIRM, source=version)
    del table.seats[me]
    table.start()
    for step in range(1, 20):
        table.at(step / 4)
    certified = next(e for e in table.effects[others[0]] if isinstance(e, Certified))
    operator = holding(now, me, version)
    false = now.frame(leaver, Kind.CONFIRM, confirm_body(certified.transcript.hash, bytes(64), bytes(128)))
    effects = early(operator, now.session, false)
    ceremony = operator.ceremony(now.session.id)
    assert ceremony is not None
    for _ in range(3):
        for asked in (*others, leaver):
            served = table.seats[asked].sync_reply(ceremony.sync_request())
            wanted = [f for f in served if f.kind is not Kind.CONFIRM and operator.wants(f)]
            effects += [item.effect for item in operator.receive(wanted, 5.0)]
    effects += [item.effect for item in operator.pass_boundary(now.later(), 20.0)]
    assert any(isinstance(e, Certified) and e.share is not None for e in effects)
    assert not any(isinstance(e, Settled | Erase) for e in effects)


def test_early_frames_from_a_higher_source_are_asked_for_again() -> None:
    """They tell that there is one, and they are taken once it is known."""
    who = cast(4)
    first = version_of(who)
    middle = who.at(10)
    secret = Polynomial.random(3, middle.rng, secret_of(first.shares, 3))
    second = version_of(middle, secret, source=int(first.transcript.version))
    now = who.at(20)
    me, *others = now.addresses
    table = Table(now, lambda _s, listener, _f: listener != me, source=second)
    table.start()
    nothing = now.frame(me, Kind.SYNC, [b""])
    dealt = {f.key: f for a in others for f in table.seats[a].sync_reply(nothing) if f.kind in EXCHANGE_KINDS}
    operator = holding(now, me, first)
    early(operator, now.session, *[f for f in dealt.values() if f.kind in (Kind.DEALING, Kind.SHARE)])
    assert set(operator.unknown_sources.values()) == {int(second.transcript.version)}
    operator.learn(second.transcript, second.certificate, settled=True, now=1.5)
    ceremony = operator.ceremony(now.session.id)
    assert ceremony is not None
    again = [f for a in others for f in table.seats[a].sync_reply(ceremony.sync_request())]
    operator.receive([f for f in again if operator.wants(f)], 2.0)
    assert set(others) <= ceremony._exchanges.current._shares.keys()
