"""The dealing exchange in small steps: who deals what when, what a complaint costs, and what a restart forgets."""

from dataclasses import replace

import pytest

from eigenkms.crypto import sealing
from eigenkms.crypto.hashing import be64
from eigenkms.crypto.scalars import R, SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony import Ceremony
from eigenkms.protocols.dealing import deal
from eigenkms.protocols.effects import Direct, JournalRecord
from eigenkms.protocols.evidence import Fault, check_evidence
from eigenkms.protocols.frames import Frame, Kind
from eigenkms.protocols.messages import (
    answer_body,
    dealing_body,
    opening_body,
    read_answer,
    read_opening,
    read_report,
    read_share,
    report_body,
    share_body,
)
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, Table, accusations, broadcasts, cast, journal


def _without(*kinds: Kind, to: OperatorAddress, of: OperatorAddress | None = None):  # type: ignore[no-untyped-def]
    """Lets everything pass but these kinds (of one sender) to one listener."""
    return lambda s, l, f: not (l == to and f.kind in kinds and of in (None, s))


def _restarted(table: Table, address: OperatorAddress, now: float) -> Ceremony:
    """The same operator again, from its journal."""
    again = table.cast.ceremony(address, records=journal(table.effects[address]))
    table.seats[address] = again
    table.effects[address] = list(again.start(now))
    return again


def test_nobody_deals_before_all_hashes_are_in() -> None:
    """A dealing is chosen before any other is seen: with one hash missing, only hashes have been said."""
    who = cast(4)
    silent = who.addresses[3]
    table = Table(who)
    table.start(without=[silent])
    for now in (0.4, 0.6, 3.0, 5.0):
        table.at(now)
    for address in who.addresses[:3]:
        assert [f.kind for f in _said(table, address)] == [Kind.HASH]
        assert table.seats[address].status().missing == (silent,)
        assert not table.seats[address].sync_reply(
            who.frame(who.addresses[(who.addresses.index(address) + 1) % 3], Kind.SYNC, [b""])
        )[3:], "no share is served before the dealing is revealed"


def _said(table: Table, address: OperatorAddress) -> list[Frame]:
    return [f for kind in Kind for f in table.said(address, kind)]


def test_a_lowered_quorum_waits_half_a_window_for_the_rest() -> None:
    """Three of four hashes are enough, but not at once; whoever is late does not count."""
    who = cast(4, quorum=3)
    late = who.addresses[3]
    table = Table(who)
    table.start(without=[late])
    table.at(0.49)
    assert not table.said(who.addresses[0], Kind.DEALING)
    assert table.seats[who.addresses[0]].deadline(0.49) == pytest.approx(0.5)
    table.at(0.5)
    assert table.said(who.addresses[0], Kind.DEALING)
    report = read_report(table.said(who.addresses[0], Kind.REPORT)[0])
    assert set(report.held) == set(who.addresses[:3])
    assert not report.lacking


def test_shares_go_to_each_recipient_alone() -> None:
    """One direct frame each, with the share of that recipient, and none to oneself."""
    who = cast(4)
    me = who.addresses[0]
    table = Table(who)
    table.start()
    direct = [e for e in table.effects[me] if isinstance(e, Direct)]
    assert [e.recipient for e in direct] == list(who.addresses[1:])
    assert all(e.frame.recipient == e.recipient and e.frame.kind is Kind.SHARE for e in direct)
    assert len({read_share(e.frame).scalar.to_bytes() for e in direct}) == 3
    assert "redacted" in repr(read_share(direct[0].frame).scalar) or "scalar" not in repr(
        read_share(direct[0].frame)
    )


def test_what_is_lacking_is_reported_answered_and_taken() -> None:
    """No dealing and no share from one dealer: one window later a report, an answer at once, and then a key."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    table = Table(who, _without(Kind.DEALING, Kind.SHARE, to=me, of=dealer))
    table.start()
    assert not table.said(me, Kind.REPORT)
    assert table.seats[me].deadline(0.0) == pytest.approx(1.0)
    assert table.seats[me].lacking == (dealer,), "whom to ask first"
    table.at(1.0)
    report = read_report(table.said(me, Kind.REPORT)[0])
    assert set(report.lacking) == {dealer}
    (answer,) = table.said(dealer, Kind.ANSWER)
    assert (read_answer(answer).recipient, read_answer(answer).key) == (me, report.lacking[dealer])
    table.at(4.0)
    assert table.decided() == list(who.addresses)
    assert table.seats[me].lacking == ()


def test_a_lack_that_nobody_answers_keeps_the_dealer_out() -> None:
    """Counted to 2p: without an answer, nothing is proposed; after 2p a complaint changes nothing."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    no_answers = lambda s, l, f: f.kind is not Kind.ANSWER and _without(Kind.SHARE, to=me, of=dealer)(s, l, f)  # noqa: E731
    table = Table(who, no_answers)
    table.start()
    for now in (1.0, 2.0, 4.0, 5.0):
        table.at(now)
    assert not table.decided()
    assert not any(table.said(a, Kind.PROPOSAL) for a in who.addresses)
    late = Table(who, no_answers)
    late.start()
    late.now = 2.5  # the report of the lack is heard only now
    late.at(2.5)
    late.at(4.0)
    assert any(late.said(a, Kind.PROPOSAL) for a in who.addresses)


def test_everything_held_means_no_waiting() -> None:
    """When every recipient reported every dealer held, the first proposal is due at once; else at 4p."""
    who = cast(4)
    table = Table(who)
    table.start()
    assert table.decided() == list(who.addresses)
    held_back = Table(who, lambda _s, _l, f: f.kind is not Kind.REPORT)
    held_back.start()
    held_back.at(3.9)
    assert not held_back.decided()
    assert held_back.seats[who.addresses[0]].deadline(3.9) == pytest.approx(4.0)
    held_back.at(4.0)
    assert held_back.decided() == list(who.addresses)


def test_a_held_with_an_unknown_hash_is_not_held() -> None:
    """A report that names a dealing which was never dealt does not hasten the proposal."""
    who = cast(4)
    liar = who.addresses[3]
    table = Table(who, lambda s, _l, f: not (s == liar and f.kind is Kind.REPORT))
    table.start()
    held = dict.fromkeys(who.addresses, bytes(32))
    stranger = {OperatorAddress(bytes(20)): sealing.x25519_keypair(who.rng)[1]}
    report = who.frame(liar, Kind.REPORT, report_body(held, stranger))
    for listener in who.addresses[:3]:
        table.hear(listener, report)
    assert not table.decided()
    assert table.seats[who.addresses[0]]._exchanges.current._counted_lacks == {}, (
        "a stranger owes nobody anything"
    )


def test_a_share_that_does_not_fit_is_evidence() -> None:
    """The dealer is named to a third party, and its dealing counts in no proposal of who knows. Once it answered well, it is not
    worth a session: after the first view who holds a good share prepares what others propose.
    """
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    table = Table(who, _without(Kind.SHARE, to=me, of=dealer))
    table.start()
    hash_ = table.said(dealer, Kind.HASH)[0].body[0]
    bad = who.frame(dealer, Kind.SHARE, share_body(hash_, SecretScalar(5)), recipient=me)
    (found,) = accusations(table.hear(me, bad))
    assert (found.fault, found.accused) == (Fault.BAD_SHARE, dealer)
    check_evidence(found, who.session)
    table.at(1.0)
    assert table.said(dealer, Kind.ANSWER)
    assert dealer not in table.seats[me]._exchanges.current.candidates()
    assert not table.decided(), "one operator knows evidence, and all n must prepare"
    for now in (4.0, 9.0, 20.0):
        table.at(now)
    assert set(table.decided()) == set(who.addresses)


def test_a_bad_share_of_a_dealing_known_from_an_answer_is_evidence_too() -> None:
    """The dealing came in an answer to somebody else: that frame carries it for the proof."""
    who = cast(4)
    dealer, me, third = who.addresses[:3]

    def lets(s: OperatorAddress, to: OperatorAddress, f: Frame) -> bool:
        held_back = f.kind is Kind.DEALING or (f.kind is Kind.SHARE and to in (me, third))
        return f.kind is not Kind.VOTE and (s != dealer or not held_back)

    table = Table(who, lets)
    table.start()
    table.at(1.0)  # all lack, all are answered, the dealing is known from the answers alone
    again = _restarted(table, me, 1.5)
    for kind in (Kind.HASH, Kind.ANSWER):
        again.receive([f for f in table.said(dealer, kind) if kind is Kind.HASH or f.body[1] == third], 1.5)
    hash_ = table.said(dealer, Kind.HASH)[0].body[0]
    bad = who.frame(dealer, Kind.SHARE, share_body(hash_, SecretScalar(5)), recipient=me)
    assert again.wants(bad)
    (found,) = accusations(again.receive([bad], 1.5))
    assert [f.kind for f in found.frames] == [Kind.ANSWER, Kind.SHARE]
    check_evidence(found, who.session)


def test_a_share_of_another_dealing_is_left_aside() -> None:
    """It is not the counted dealing's: no evidence, no share; the answer repairs it."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    table = Table(who, _without(Kind.SHARE, to=me, of=dealer))
    table.start()
    odd = who.frame(dealer, Kind.SHARE, share_body(bytes(32), SecretScalar(5)), recipient=me)
    assert not accusations(table.hear(me, odd))
    for now in (1.0, 4.0):
        table.at(now)
    assert table.decided() == list(who.addresses)


def test_a_bad_answer_is_opened_and_convicts_the_dealer() -> None:
    """The recipient gives up its one-time key; everybody who hears it names the dealer, and nobody counts it."""
    who = cast(4)
    dealer, me, third = who.addresses[:3]
    lets = lambda s, l, f: not (s == dealer and (f.kind is Kind.ANSWER or (f.kind is Kind.SHARE and l == me)))  # noqa: E731
    table = Table(who, lets)
    table.start()
    table.at(1.0)
    (good,) = table.said(dealer, Kind.ANSWER)
    answer = read_answer(good)
    own = table.seats[dealer]._exchanges.current._own
    assert own is not None
    body = answer_body(who.session.id, own, me, answer.key, SecretScalar(5), who.rng)
    bad = who.frame(dealer, Kind.ANSWER, body)
    table.hear(third, bad)
    opened = broadcasts(table.hear(me, bad), Kind.OPENING)
    assert [read_opening(f).dealer for f in opened] == [dealer]
    for address in (me, third):
        (found,) = accusations(table.effects[address])
        assert (found.fault, found.accused) == (Fault.BAD_ANSWER, dealer)
        check_evidence(found, who.session)


def test_good_answers_are_never_opened_by_an_honest_operator() -> None:
    """Not even after a restart, when the answer is heard before the hash that announces its dealing: the key stays secret."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    lets = lambda s, l, f: not (s == dealer and l == me and f.kind in (Kind.SHARE, Kind.ANSWER))  # noqa: E731
    table = Table(who, lets)
    table.start()
    table.at(1.0)
    again = _restarted(table, me, 1.2)
    (answer,) = table.said(dealer, Kind.ANSWER)
    assert again.wants(answer)
    effects = again.receive([answer], 1.2)
    effects += again.receive(table.said(dealer, Kind.HASH), 1.3)
    assert not broadcasts(effects, Kind.OPENING)
    assert dealer in again._exchanges.current._shares


def test_an_answer_to_a_key_that_was_not_reported_is_no_answer() -> None:
    """It costs the recipient nothing, and its dealer stays out; nobody is accused, as the recipient may have lied too."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    lets = lambda s, l, f: not (s == dealer and (f.kind is Kind.ANSWER or (l == me and f.kind is Kind.SHARE)))  # noqa: E731
    table = Table(who, lets)
    table.start()
    table.at(1.0)
    own = table.seats[dealer]._exchanges.current._own
    assert own is not None
    other_key = sealing.x25519_keypair(who.rng)[1]
    body = answer_body(who.session.id, own, me, other_key, SecretScalar(5), who.rng)
    for listener in who.addresses[1:]:
        effects = table.hear(listener, who.frame(dealer, Kind.ANSWER, body))
        assert not accusations(effects)
        assert not broadcasts(effects, Kind.OPENING)
        assert dealer not in table.seats[listener]._exchanges.current.candidates()


def test_a_recipient_that_reports_two_keys_frames_nobody() -> None:
    """It tells the dealer one key and the others another, then opens the one that was not answered to: no evidence comes of it,
    and once both reports are known, its complaints count for nothing.
    """
    who = cast(4)
    liar, dealer, me = who.addresses[:3]
    table = Table(who, lambda s, _l, f: not (s == liar and f.kind is Kind.REPORT))
    table.start()
    keys = [sealing.x25519_keypair(who.rng) for _ in range(2)]
    one, two = (who.frame(liar, Kind.REPORT, report_body({}, {dealer: public})) for _, public in keys)
    table.hear(me, two)
    table.hear(dealer, one)
    opening = who.frame(liar, Kind.OPENING, opening_body(dealer, keys[1][0]))
    assert not accusations(table.hear(me, opening))
    assert dealer not in table.seats[me]._exchanges.current.candidates(), (
        "what it reported here is not answered"
    )
    (found,) = accusations(table.hear(me, one))
    assert (found.fault, found.accused) == (Fault.EQUIVOCATION, liar)
    assert dealer in table.seats[me]._exchanges.current.candidates()


@pytest.mark.parametrize("announced", [True, False])
def test_a_false_genesis_dealing_names_its_dealer(announced: bool) -> None:
    """Not the announced one, or announced and invalid: the HASH frame and the DEALING frame prove it, and it does not count."""
    who = cast(4)
    me, liar = who.addresses[:2]
    table = Table(who, lambda s, _l, _f: s != liar)
    table.start()
    polynomial = Polynomial.random(who.session.threshold, who.rng)
    dealing = deal(who.session, liar, polynomial, who.rng)
    false = replace(dealing, proof=None)
    shown = (false if announced else dealing).hash
    table.hear(me, who.frame(liar, Kind.HASH, [shown]))
    (evidence,) = accusations(table.hear(me, who.frame(liar, Kind.DEALING, dealing_body(false))))
    assert (evidence.fault, evidence.accused) == (Fault.BAD_DEALING, liar)
    assert [f.kind for f in evidence.frames] == [Kind.DEALING, Kind.HASH]
    check_evidence(evidence, who.session)
    assert liar not in table.seats[me]._exchanges.current.candidates()


def test_a_restart_takes_back_its_own_records_only() -> None:
    """What other parts of the session journaled is theirs, whatever bytes it begins with."""
    who = cast(4)
    exchange = who.ceremony(who.addresses[0])._exchanges.current
    exchange.restore([JournalRecord("transcript", be64(0) + bytes(100))], 0.0)
    assert exchange._own is None
    assert exchange._one_time_keys == {}


def test_two_dealings_bar_their_dealer() -> None:
    """A second hash or dealing is evidence, and the first counts in no fresh proposal."""
    who = cast(4)
    liar, me = who.addresses[:2]
    for kind in (Kind.HASH, Kind.DEALING):
        table = Table(who)
        table.start(without=[])
        second = who.frame(liar, kind, [bytes(32)] if kind is Kind.HASH else [0, bytes(32)])
        (found,) = accusations(table.hear(me, second))
        assert found.fault is Fault.EQUIVOCATION
        assert liar not in table.seats[me]._exchanges.current.candidates()


def test_a_restart_within_the_window_reports_nothing_as_lacking() -> None:
    """What others dealt is not journaled: an operator that comes back pulls it before it complains, however late it is."""
    who = cast(4)
    me = who.addresses[0]
    table = Table(who, lambda s, l, f: me not in (s, l) or f.kind is Kind.HASH)
    table.start()
    again = _restarted(table, me, 7.0)
    assert not table.said(me, Kind.REPORT)
    for address in who.addresses[1:]:
        reply = table.seats[address].sync_reply(again.sync_request())
        effects = again.receive([f for f in reply if again.wants(f)], 7.1)
        table.effects[me] += effects
    report = read_report(table.said(me, Kind.REPORT)[0])
    assert not report.lacking
    assert set(report.held) == set(who.addresses)


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_crash_between_the_records_of_a_step_changes_no_word(cut: int) -> None:
    """After any prefix of the journal, the next life deals the same dealing and says the same hash."""
    who = cast(4)
    me = who.addresses[0]
    table = Table(who)
    table.start()
    records = journal(table.effects[me])[:cut]
    again = who.ceremony(me, records=records)
    effects = again.start(0.1)
    (hash_,) = broadcasts(effects, Kind.HASH)
    assert hash_ == table.said(me, Kind.HASH)[0]
    said = {f.key for kind in Kind for f in broadcasts(effects, kind)}
    journaled = {r.body for r in records if r.kind == "frame"}
    assert len(said) >= len(journaled)
    for record in records:
        assert record.secret == (record.kind in ("polynomial", "share", "one-time-key"))


def test_a_dealer_set_that_cancels_out_makes_no_transcript() -> None:
    """A master key at infinity is nobody's key."""
    who = cast(2)
    me, peer = who.addresses
    table = Table(who)
    table.start()
    exchange = table.seats[me]._exchanges.current
    mine = exchange._dealings[me]
    negated = tuple(_negated(c) for c in mine.commitments)
    exchange._dealings[peer] = type(mine)(mine.session, peer, 0, bytes(32), negated, mine.proof)
    assert exchange.transcript() is None


def _negated(point: bytes) -> bytes:
    """On the toy curve a point is its discrete logarithm."""
    value = int.from_bytes(point[-32:], "big")
    return point[:-32] + (R - value).to_bytes(32, "big")


def test_a_share_of_another_dealing_than_the_certified_one_is_not_combined() -> None:
    """A dealer that dealt one thing here and another elsewhere leaves an operator without a share, not with a wrong one."""
    who = cast(4, quorum=3)
    me, liar = who.addresses[:2]
    table = Table(who)
    table.start()
    exchange = table.seats[me]._exchanges.current
    transcript = exchange.transcript()
    assert transcript is not None
    assert exchange.combined_share(transcript) is not None
    other = type(transcript)(
        **{
            **{name: getattr(transcript, name) for name in transcript.__dataclass_fields__},
            "dealers": tuple((d, bytes(32) if d == liar else h) for d, h in transcript.dealers),
        }
    )
    assert exchange.combined_share(other) is None


def test_an_exchange_takes_only_its_own_frames() -> None:
    """A caller's mistake is an error, not a silence."""
    who: Cast = cast(4)
    ceremony = who.ceremony(who.addresses[0])
    vote = who.frame(who.addresses[1], Kind.VOTE, [0, 1, bytes(32), bytes(64)])
    with pytest.raises(ValueError, match="VOTE"):
        ceremony._exchanges.current.receive(vote, 0.0)
    with pytest.raises(ValueError, match="HASH"):
        ceremony._agreement.receive(who.frame(who.addresses[1], Kind.HASH, [bytes(32)]), 0.0)


def test_the_first_view_begins_once_all_lacks_are_answered() -> None:
    """Not only after four windows: there is nothing left to wait for."""
    who = cast(4)
    dealer, me = who.addresses[0], who.addresses[1]
    table = Table(who, _without(Kind.SHARE, to=me, of=dealer))
    table.start()
    table.at(0.99)
    assert not table.decided()
    table.at(1.0)
    assert set(table.decided()) == set(who.addresses)
