"""Resharing in one session: who deals what, what a false dealing costs its dealer, and what a restart says again."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from eigenkms.crypto import bn254, sealing
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.hashing import be64
from eigenkms.crypto.scalars import SecretScalar, threshold
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import VerificationError
from eigenkms.protocols.dealing import (
    BadDealingError,
    Dealing,
    WrongConstantError,
    check_dealing,
    combine,
    deal,
    decode_dealing,
    reshare,
)
from eigenkms.protocols.effects import Certified, Direct
from eigenkms.protocols.evidence import Evidence, Fault, check_evidence, proves
from eigenkms.protocols.frames import Frame, Kind, WrongScopeError, decode_frame
from eigenkms.protocols.messages import (
    answer_body,
    confirm_body,
    dealing_body,
    opening_body,
    proposal_body,
    read_dealing_frame,
    read_report,
    report_body,
    share_body,
    source_of,
    view_change_body,
    vote_body,
)
from eigenkms.protocols.votes import Phase
from eigenkms.types import OperatorAddress
from tests.protocols.support import Cast, KeyVersion, Table, accusations, cast, journal, secret_of, version_of


class Play:
    """Six people. The first four hold a version of block 100; at block 110 the first has left and the last two have joined."""

    def __init__(self) -> None:
        self.everybody = cast(6)
        people = self.everybody.addresses
        self.leaver, self.joiners = people[0], people[4:]
        self.stayers = people[1:4]
        self.before = self.everybody.at(0, people[:4])
        self.version: KeyVersion = version_of(self.before)
        self.who: Cast = self.everybody.at(10, people[1:])
        self.secret = secret_of(self.version.shares, 3)

    def table(self, lets: Callable[[OperatorAddress, OperatorAddress, Frame], bool] | None = None) -> Table:
        return Table(self.who, lets or (lambda _s, _l, _f: True), source=self.version)

    def polynomial(self, dealer: OperatorAddress) -> Polynomial:
        """An honest one: its constant term is the dealer's share."""
        share = self.version.shares[dealer]
        return Polynomial.random(self.who.session.threshold, self.everybody.rng, share)

    def dealing(self, dealer: OperatorAddress, polynomial: Polynomial | None = None) -> Dealing:
        made = polynomial or self.polynomial(dealer)
        return reshare(self.who.session, dealer, made, self.version.transcript)


@pytest.fixture
def play() -> Play:
    return Play()


def _certified(table: Table) -> dict[OperatorAddress, Certified]:
    return {a: e for a, effects in table.effects.items() for e in effects if isinstance(e, Certified)}


def _shares(table: Table) -> dict[OperatorAddress, SecretScalar]:
    return {a: e.share for a, e in _certified(table).items() if e.share is not None}


def _kinds(table: Table, address: OperatorAddress) -> set[Kind]:
    return {kind for kind in Kind if table.said(address, kind)}


# -- who does what -----------------------------------------------------------------------------------------------


def test_the_holders_of_the_source_deal_members_or_not(play: Play) -> None:
    """Stayers and leaver deal, joiners do not; there are no hashes; every dealing keeps its dealer's share as constant term."""
    table = play.table()
    table.start()
    for holder in (play.leaver, *play.stayers):
        (frame,) = table.said(holder, Kind.DEALING)
        dealing = decode_dealing(read_dealing_frame(frame).encoded)
        assert (dealing.source_version, dealing.source_hash) == (
            play.version.transcript.version,
            play.version.transcript.hash,
        )
        assert dealing.commitments[0] == public_share_of(play.version.shares[holder])
        assert len(dealing.commitments) == 4 == play.who.session.threshold
        assert dealing.proof is None
        direct = [e.recipient for e in table.effects[holder] if isinstance(e, Direct)]
        assert direct == [a for a in play.who.addresses if a != holder]
    for joiner in play.joiners:
        assert not table.said(joiner, Kind.DEALING)
        assert not [e for e in table.effects[joiner] if isinstance(e, Direct)]
    assert not any(table.said(a, Kind.HASH) for a in table.seats)


def test_all_recipients_hold_shares_of_the_same_secret(play: Play) -> None:
    """Joiners too, who had nothing but the source's transcript; the leaver learns the version and holds no share of it."""
    table = play.table()
    table.start()
    certified, shares = _certified(table), _shares(table)
    assert set(certified) == set(table.seats)
    assert set(shares) == set(play.who.addresses)
    (transcript,) = {e.transcript.hash: e.transcript for e in certified.values()}.values()
    assert transcript.mpk == play.version.transcript.mpk
    assert transcript.threshold == threshold(5)
    assert (transcript.source_version, transcript.source_hash) == (
        play.version.transcript.version,
        play.version.transcript.hash,
    )
    assert [d for d, _ in transcript.dealers] == [play.leaver, *play.stayers]
    for address, share in shares.items():
        assert public_share_of(share) == transcript.public_share(address)
    for chosen in (play.who.addresses[:4], play.who.addresses[1:]):
        assert secret_of({a: shares[a] for a in chosen}, 4) == play.secret
    assert secret_of(shares, 3) != play.secret, "one share less gives nothing"
    kept = set(shares) & set(play.version.shares)
    assert all(shares[a] != play.version.shares[a] for a in kept), "the shares are new ones"
    assert not [e for a in table.effects for e in accusations(table.effects[a])]


def test_a_leaver_deals_answers_and_says_nothing_else(play: Play) -> None:
    """Also if nothing comes to an end and views go by: it neither reports nor votes, proposes, confirms or changes the view."""

    def lets(sender: OperatorAddress, listener: OperatorAddress, frame: Frame) -> bool:
        withheld = frame.kind is Kind.SHARE and sender == play.leaver and listener == play.joiners[0]
        return not withheld and frame.kind is not Kind.VOTE

    table = play.table(lets)
    table.start()
    for now in (1.0, 2.0, 4.0, 4.5, 5.5, 7.0, 9.0):
        table.at(now)
    assert _kinds(table, play.leaver) == {Kind.DEALING, Kind.ANSWER}
    assert not table.decided()
    spoken = _kinds(table, play.stayers[0]) | _kinds(table, play.joiners[0])
    assert spoken >= {Kind.REPORT, Kind.VOTE, Kind.VIEW_CHANGE}
    assert table.seats[play.leaver].lacking == ()
    assert table.seats[play.leaver].deadline(9.0) is None, "it has nothing to wait for"


def test_what_a_member_may_say_and_what_a_leaver(play: Play) -> None:
    """By kind: a holder that is no recipient deals, answers and passes certificates on; a joiner's dealing counts for nothing."""
    table = play.table()
    me, peer = play.stayers[0], play.stayers[1]
    ceremony = table.sit(me)
    ceremony.start(0.0)
    who, leaver, joiner = play.who, play.leaver, play.joiners[0]
    source = int(play.version.transcript.version)
    dealing = play.dealing(leaver)
    key = sealing.x25519_keypair(who.rng)[1]
    share = SecretScalar(5)
    taken: list[tuple[Kind, list[object], OperatorAddress | None]] = [
        (Kind.DEALING, dealing_body(dealing), None),
        (Kind.SHARE, share_body(dealing.hash, share, source), me),
        (Kind.ANSWER, answer_body(who.session.id, dealing, peer, key, share, who.rng), None),
        (Kind.CERTIFICATE, [play.version.transcript.encoded, play.version.certificate.encoded], None),
    ]
    refused: list[tuple[Kind, list[object], OperatorAddress | None]] = [
        (Kind.REPORT, report_body({}, {peer: key}, source), None),
        (Kind.OPENING, opening_body(peer, bytes(32), source), None),
        (Kind.PROPOSAL, proposal_body(0, None, None), None),
        (Kind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), bytes(64)), None),
        (Kind.VIEW_CHANGE, view_change_body(1, None), None),
        (Kind.CONFIRM, confirm_body(bytes(32), bytes(64), bytes(128)), None),
    ]
    for kind, body, recipient in taken:
        assert ceremony.wants(who.frame(leaver, kind, body, recipient)), kind
    for kind, body, recipient in refused:
        with pytest.raises(WrongScopeError, match="is not an operator here"):
            ceremony.wants(who.frame(leaver, kind, body, recipient))
        if kind is not Kind.PROPOSAL:
            assert ceremony.wants(who.frame(joiner, kind, body, recipient)), kind
    assert not ceremony.wants(who.frame(peer, Kind.HASH, [bytes(32)])), "nobody announces hashes here"
    stranger = cast(1, seed="stranger")
    for kind, body, recipient in (*taken, *refused):
        frame = stranger.frame(stranger.addresses[0], kind, body, recipient, session=who.session)
        with pytest.raises(WrongScopeError):
            ceremony.wants(frame)
    by_joiner = who.frame(joiner, Kind.DEALING, dealing_body(replace(dealing, dealer=joiner)))
    assert ceremony.receive([by_joiner], 0.1) == [], "it is nobody's dealer: neither counted nor accused"
    assert joiner not in ceremony._exchanges.current.candidates()


def test_whose_key_verifies_what(play: Play) -> None:
    """Recipients by the set of the session, holders that left by that of the source; nobody else has a say."""
    ceremony = play.table().sit(play.joiners[0])
    for address in play.everybody.addresses:
        assert ceremony.key_of(address) == play.everybody.keys[address].g2
    assert ceremony.key_of(OperatorAddress(bytes(20))) is None
    renewed = bn254.KeyPair.generate(play.everybody.rng)
    again = play.everybody.at(0)
    again.keys = {**again.keys, play.stayers[0]: renewed}
    after = again.at(10, play.who.addresses)
    other = after.ceremony(play.joiners[0], sources=[play.version.held_by(play.joiners[0])])
    assert other.key_of(play.stayers[0]) == renewed.g2, "the key of today, not the one of the source's block"


def test_whom_a_leaver_answers_to(play: Play) -> None:
    """It serves its share to a recipient that pulls, and gets no share itself; a stranger gets nothing."""
    table = play.table(lambda _s, _l, f: f.kind is not Kind.SHARE)
    table.start()
    leaver, joiner = table.seats[play.leaver], play.joiners[0]
    reply = leaver.sync_reply(play.who.frame(joiner, Kind.SYNC, [b""]))
    assert [(f.sender, f.recipient) for f in reply if f.kind is Kind.SHARE] == [(play.leaver, joiner)]
    asked = table.seats[play.stayers[0]].sync_reply(leaver.sync_request())
    assert not [f for f in asked if f.kind is Kind.SHARE]
    stranger = cast(1, seed="stranger")
    with pytest.raises(WrongScopeError):
        leaver.sync_reply(stranger.frame(stranger.addresses[0], Kind.SYNC, [b""], session=play.who.session))


def test_the_sources_threshold_of_dealers_is_enough(play: Play) -> None:
    """One of four holders is gone: the others are waited for until 4p, and then it goes without it."""
    table = play.table()
    table.start(without=[play.stayers[2]])
    assert table.seats[play.joiners[0]].status().missing == (play.stayers[2],)
    assert table.seats[play.joiners[0]].status().source == play.version.transcript.version
    for now in (1.0, 3.9):
        table.at(now)
    assert not table.decided()
    for now in (4.0, 4.5, 6.0):
        table.at(now)
    assert set(table.decided()) == set(table.seats)
    transcript = _certified(table)[play.joiners[0]].transcript
    assert [d for d, _ in transcript.dealers] == [play.leaver, *play.stayers[:2]]
    assert secret_of(_shares(table), 4) == play.secret


def test_too_few_dealers_propose_nothing(play: Play) -> None:
    """Two of four do not have the secret among them, however long one waits; those that lack are named."""
    table = play.table()
    gone = [play.leaver, play.stayers[0]]
    table.start(without=gone)
    for now in (1.0, 4.0, 5.0, 9.0):
        table.at(now)
    assert not any(table.said(a, Kind.PROPOSAL) for a in table.seats)
    assert table.seats[play.joiners[0]].status().missing == tuple(gone)
    assert table.seats[play.joiners[0]]._exchanges.transcript() is not None, "though it would be a vector"


def test_what_is_lacking_is_reported_answered_and_taken(play: Play) -> None:
    """By a joiner from a leaver, the farthest apart: a report with a one-time key, a sealed answer, and then the version."""
    dealer, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, l, f: not (s == dealer and l == me and f.kind in (Kind.DEALING, Kind.SHARE)))
    table.start()
    assert table.seats[me].lacking == (dealer,)
    table.at(1.0)
    (report,) = table.said(me, Kind.REPORT)
    assert set(read_report(report).lacking) == {dealer}
    (answer,) = table.said(dealer, Kind.ANSWER)
    assert source_of(report) == source_of(answer) == play.version.transcript.version
    for now in (4.0, 4.5):
        table.at(now)
    assert set(_shares(table)) == set(play.who.addresses)
    assert not [e for a in table.effects for e in accusations(table.effects[a])], "nobody was at fault"


# -- false dealings ----------------------------------------------------------------------------------------------


def _wrong_constant(play: Play, dealer: OperatorAddress) -> Dealing:
    return play.dealing(dealer, Polynomial.random(play.who.session.threshold, play.who.rng))


def _of_length(count: int) -> Callable[[Play, OperatorAddress], Dealing]:
    def make(play: Play, dealer: OperatorAddress) -> Dealing:
        return play.dealing(dealer, Polynomial.random(count, play.who.rng, play.version.shares[dealer]))

    return make


def _with(**changes: object) -> Callable[[Play, OperatorAddress], Dealing]:
    return lambda play, dealer: replace(play.dealing(dealer), **changes)  # type: ignore[arg-type]


def _for_another_session(play: Play, dealer: OperatorAddress) -> Dealing:
    return reshare(play.everybody.later(20), dealer, play.polynomial(dealer), play.version.transcript)


def _from_another_source(play: Play, dealer: OperatorAddress) -> Dealing:
    return replace(play.dealing(dealer), source_version=play.version.transcript.version + 12)


def _of_another_dealer(play: Play, dealer: OperatorAddress) -> Dealing:
    del dealer
    return play.dealing(play.stayers[0])


def _with_a_proof(play: Play, dealer: OperatorAddress) -> Dealing:
    proof = deal(play.who.session, dealer, play.polynomial(dealer), play.who.rng).proof
    return replace(play.dealing(dealer), proof=proof)


def _genesis_dealing(play: Play, dealer: OperatorAddress) -> Dealing:
    return deal(play.who.session, dealer, play.polynomial(dealer), play.who.rng)


FALSE: dict[str, tuple[Callable[[Play, OperatorAddress], Dealing], Fault, str]] = {
    "wrong constant": (_wrong_constant, Fault.WRONG_CONSTANT, "constant term is not the dealer's share"),
    "too short": (_of_length(3), Fault.BAD_DEALING, "3 commitments, not the threshold 4"),
    "too long": (_of_length(5), Fault.BAD_DEALING, "5 commitments, not the threshold 4"),
    "empty": (_with(commitments=()), Fault.BAD_DEALING, "0 commitments"),
    "points that are none": (_with(commitments=(b"\xff" * 96,) * 4), Fault.BAD_DEALING, "C_0"),
    "infinity": (_with(commitments=(b"\xc0" + bytes(95),) * 4), Fault.BAD_DEALING, "C_0"),
    "another session": (_for_another_session, Fault.BAD_DEALING, "made for session"),
    "another source": (_from_another_source, Fault.BAD_DEALING, "names source"),
    "another dealer": (_of_another_dealer, Fault.BAD_DEALING, "names dealer"),
    "a proof of knowledge": (_with_a_proof, Fault.BAD_DEALING, "carries a proof of knowledge"),
    "a genesis dealing": (_genesis_dealing, Fault.BAD_DEALING, "names source 0"),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_false_dealing_names_its_dealer_to_anybody_and_counts_nowhere(play: Play, case: str) -> None:
    """Each recipient accuses, a third party is convinced by frame, session and source; the others' dealings make the version."""
    make, fault, why = FALSE[case]
    liar = play.stayers[2]
    false = make(play, liar)
    with pytest.raises(BadDealingError, match=why) as error:
        check_dealing(false, play.who.session, liar, play.version.transcript)
    assert isinstance(error.value, WrongConstantError) == (fault is Fault.WRONG_CONSTANT)
    table = play.table(lambda s, _l, f: not (s == liar and f.kind in (Kind.DEALING, Kind.SHARE, Kind.ANSWER)))
    table.start()
    frame = play.who.frame(liar, Kind.DEALING, [play.version.transcript.version, false.encoded])
    for listener in table.seats:
        if listener == liar:
            continue
        (evidence,) = accusations(table.hear(listener, frame))
        assert (evidence.fault, evidence.accused, len(evidence.frames)) == (fault, liar, 1)
        _convinces(evidence, play)
    for now in (1.0, 2.0, 4.0, 4.5, 6.0):
        table.at(now)
    transcript = _certified(table)[play.joiners[0]].transcript
    assert liar not in dict(transcript.dealers)
    assert secret_of(_shares(table), 4) == play.secret


def _convinces(evidence: Evidence, play: Play) -> None:
    """After a trip over the wire, with the source; without it, with another or for another session it proves nothing."""
    again = replace(evidence, frames=tuple(decode_frame(f.encoded) for f in evidence.frames))
    check_evidence(again, play.who.session)
    other = version_of(play.before.at(-10))
    for source in (None, other.transcript):
        with pytest.raises(VerificationError):
            check_evidence(replace(again, source=source), play.who.session)
    with pytest.raises(VerificationError, match="another session"):
        check_evidence(again, play.everybody.later(20))


def test_a_dealing_from_a_namesake_of_the_source_counts_nowhere(play: Play) -> None:
    """The same version number and another transcript: refused, and the others' dealings make the version."""
    liar = play.stayers[2]
    false = replace(play.dealing(liar), source_hash=b"\x01" * 32)
    with pytest.raises(BadDealingError, match="names source"):
        check_dealing(false, play.who.session, liar, play.version.transcript)
    table = play.table(lambda s, _l, f: not (s == liar and f.kind in (Kind.DEALING, Kind.SHARE, Kind.ANSWER)))
    table.start()
    for listener in table.seats.keys() - {liar}:
        table.hear(listener, play.who.frame(liar, Kind.DEALING, dealing_body(false)))
    for now in (1.0, 2.0, 4.0, 4.5, 6.0):
        table.at(now)
    assert liar not in dict(_certified(table)[play.joiners[0]].transcript.dealers)


def test_bytes_that_are_no_dealing_are_evidence_too(play: Play) -> None:
    """Signed nonsense in a DEALING frame."""
    table = play.table(lambda s, _l, _f: s != play.stayers[2])
    table.start()
    liar = play.stayers[2]
    frame = play.who.frame(liar, Kind.DEALING, [play.version.transcript.version, b"nonsense"])
    (evidence,) = accusations(table.hear(play.joiners[0], frame))
    assert evidence.fault is Fault.BAD_DEALING
    _convinces(evidence, play)


def test_a_false_dealing_inside_an_answer_is_evidence_too(play: Play) -> None:
    """An answer carries the dealing: whoever lacked it meets it there first. Here the leaver's, who is no recipient."""
    liar, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, _l, _f: s != liar)
    table.start()
    table.at(1.0)
    key = read_report(table.said(me, Kind.REPORT)[0]).lacking[liar]
    false = _wrong_constant(play, liar)
    body = answer_body(play.who.session.id, false, me, key, SecretScalar(5), play.who.rng)
    (evidence,) = accusations(table.hear(me, play.who.frame(liar, Kind.ANSWER, body)))
    assert (evidence.fault, [f.kind for f in evidence.frames]) == (Fault.WRONG_CONSTANT, [Kind.ANSWER])
    _convinces(evidence, play)


def test_a_share_that_does_not_fit_is_evidence(play: Play) -> None:
    """With the dealing that its dealer signed; here the leaver's."""
    liar, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, l, f: not (s == liar and l == me and f.kind is Kind.SHARE))
    table.start()
    dealing = decode_dealing(read_dealing_frame(table.said(liar, Kind.DEALING)[0]).encoded)
    body = share_body(dealing.hash, SecretScalar(5), dealing.source_version)
    (evidence,) = accusations(table.hear(me, play.who.frame(liar, Kind.SHARE, body, recipient=me)))
    assert (evidence.fault, evidence.accused) == (Fault.BAD_SHARE, liar)
    check_evidence(evidence, play.who.session)


def test_an_answer_without_a_fitting_share_is_opened_and_is_evidence(play: Play) -> None:
    """The recipient publishes its one-time key, and everybody sees that the leaver lied."""
    liar, me, other = play.leaver, play.joiners[0], play.stayers[0]
    table = play.table(lambda s, l, f: not (s == liar and (f.kind is Kind.ANSWER or (l == me))))
    table.start()
    table.at(1.0)
    key = read_report(table.said(me, Kind.REPORT)[0]).lacking[liar]
    dealing = decode_dealing(read_dealing_frame(table.said(liar, Kind.DEALING)[0]).encoded)
    body = answer_body(play.who.session.id, dealing, me, key, SecretScalar(5), play.who.rng)
    answer = play.who.frame(liar, Kind.ANSWER, body)
    table.hear(other, answer)
    table.hear(me, answer)
    assert table.said(me, Kind.OPENING)
    (evidence,) = accusations(table.effects[other])
    assert (evidence.fault, evidence.accused) == (Fault.BAD_ANSWER, liar)
    check_evidence(evidence, play.who.session)


@pytest.mark.parametrize("order", [1, -1], ids=["announced first", "answered first"])
def test_an_answer_with_another_dealing_than_the_announced_one_is_two_dealings(
    play: Play, order: int
) -> None:
    """Both may be valid, and nobody can take a share out of such an answer: its dealer must not count as having answered."""
    liar, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, _l, _f: s != liar)
    table.start()
    table.at(1.0)
    announced, polynomial = table.said(liar, Kind.DEALING)[0], play.polynomial(liar)
    key = read_report(table.said(me, Kind.REPORT)[0]).lacking[liar]
    share = polynomial.evaluate(play.who.session.x[me])
    body = answer_body(play.who.session.id, play.dealing(liar, polynomial), me, key, share, play.who.rng)
    answer = play.who.frame(liar, Kind.ANSWER, body)
    heard = [e for frame in (announced, answer)[::order] for e in accusations(table.hear(me, frame))]
    assert [(e.fault, e.accused, len(e.frames)) for e in heard] == [(Fault.EQUIVOCATION, liar, 2)]
    check_evidence(
        replace(heard[0], frames=tuple(decode_frame(f.encoded) for f in heard[0].frames)), play.who.session
    )
    assert not proves(replace(heard[0], frames=(answer, answer)), play.who.session)


def test_a_dealer_that_answers_with_other_dealings_cannot_stop_a_rotation(play: Play) -> None:
    """All lack its share, all get an answer that is of no use: the others' dealings are enough, and are certified."""
    liar = play.leaver
    table = play.table(lambda s, _l, f: s != liar or f.kind is Kind.DEALING)
    table.start()
    table.at(1.0)
    second = play.dealing(liar)
    for recipient in play.who.addresses:
        key = read_report(table.said(recipient, Kind.REPORT)[0]).lacking[liar]
        body = answer_body(play.who.session.id, second, recipient, key, SecretScalar(5), play.who.rng)
        for listener in play.who.addresses:
            table.hear(listener, play.who.frame(liar, Kind.ANSWER, body))
    table.at(4.0)
    certified = _certified(table)
    assert set(certified) >= set(play.who.addresses)
    assert {d for e in certified.values() for d, _ in e.transcript.dealers} == set(play.stayers)


def test_a_dealer_that_dealt_twice_counts_in_what_others_prepared(play: Play) -> None:
    """One hears both dealings at once and bars their dealer; the version that counts the first is certified: it gets its share."""
    liar, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, l, f: not (l == me and (s != liar or f.kind is Kind.DEALING)))
    table.start()
    first = table.said(liar, Kind.DEALING)[0]
    second = play.who.frame(liar, Kind.DEALING, dealing_body(play.dealing(liar)))
    ceremony = table.seats[me]
    (evidence,) = accusations(ceremony.receive([first, second], 0.5))
    assert (evidence.fault, evidence.accused) == (Fault.EQUIVOCATION, liar)
    table.at(4.0)
    (transcript,) = {e.transcript.hash: e.transcript for e in _certified(table).values()}.values()
    assert liar in dict(transcript.dealers)
    others = [table.said(s, Kind.DEALING)[0] for s in play.stayers]
    shares = [
        e.frame for s in play.stayers for e in table.effects[s] if isinstance(e, Direct) and e.recipient == me
    ]
    certificate = next(e.certificate for e in _certified(table).values())
    ceremony.receive([*others, *shares], 5.0)
    found = ceremony.decide(transcript, certificate, 5.0)
    (mine,) = [e.share for e in found if isinstance(e, Certified)]
    assert mine is not None
    assert public_share_of(mine) == transcript.public_share(me)


def test_two_dealings_of_one_source_are_evidence_also_of_a_leaver(play: Play) -> None:
    """The source says who it is; without that a third party could not know its key."""
    liar = play.leaver
    table = play.table()
    table.start()
    second = play.who.frame(liar, Kind.DEALING, dealing_body(play.dealing(liar)))
    (evidence,) = accusations(table.hear(play.joiners[0], second))
    assert (evidence.fault, evidence.source) == (Fault.EQUIVOCATION, play.version.transcript)
    check_evidence(evidence, play.who.session)
    with pytest.raises(VerificationError, match="another session"):
        check_evidence(replace(evidence, source=None), play.who.session)
    other = play.who.frame(play.stayers[0], Kind.DEALING, dealing_body(play.dealing(play.stayers[0])))
    (evidence,) = accusations(table.hear(play.joiners[0], other))
    assert evidence.source is None, "a recipient's key stands in the session itself"
    check_evidence(evidence, play.who.session)


def test_honest_frames_prove_nothing_in_any_arrangement(play: Play) -> None:
    """Every pair of frames of an honest run, as any fault, against each speaker, with and without the source."""
    dealer, me = play.leaver, play.joiners[0]
    table = play.table(lambda s, l, f: not (s == dealer and l == me and f.kind is Kind.SHARE))
    table.start()
    table.at(1.0)
    table.at(4.0)
    spoken = [frame for kind in Kind for a in (dealer, me, play.stayers[0]) for frame in table.said(a, kind)]
    spoken += [e.frame for e in table.effects[dealer] if isinstance(e, Direct)][:2]
    assert {f.kind for f in spoken} > {Kind.DEALING, Kind.ANSWER, Kind.CONFIRM, Kind.SHARE, Kind.REPORT}
    version = _certified(table)[me].transcript
    for fault in Fault:
        for accused in (dealer, me, play.stayers[0]):
            for first in spoken:
                for rest in ((), *((f,) for f in spoken)):
                    for source in (None, play.version.transcript, version):
                        made = Evidence(fault, accused, play.who.session.id, (first, *rest), source)
                        assert not proves(made, play.who.session), made


def test_evidence_about_somebody_who_is_no_party_proves_nothing(play: Play) -> None:
    """A vote or a confirm is a recipient's: a leaver that signed one for fun, or a version made up to give a stranger a say, is
    refused as what it is and not a fault of the reader.
    """
    leaver, session = play.leaver, play.who.session
    vote = play.who.frame(leaver, Kind.VOTE, vote_body(0, Phase.PREPARE, bytes(32), bytes(64)))
    madeup = replace(play.version.transcript, session=session.id)
    confirm = play.who.frame(leaver, Kind.CONFIRM, confirm_body(madeup.hash, bytes(64), bytes(128)))
    for evidence in (
        Evidence(Fault.BAD_VOTE, leaver, session.id, (vote,), play.version.transcript),
        Evidence(Fault.BAD_CONFIRM, leaver, session.id, (confirm,), madeup),
    ):
        with pytest.raises(VerificationError, match="do not prove it"):
            check_evidence(evidence, session)


# -- restarts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["stayer", "leaver", "joiner"])
def test_a_restart_says_the_same_again(play: Play, role: str) -> None:
    """From the journal: the same dealing from the same polynomial, the same shares, the same report; nothing is made anew."""
    me = {"stayer": play.stayers[0], "leaver": play.leaver, "joiner": play.joiners[0]}[role]
    table = play.table(lambda _s, _l, f: f.kind is not Kind.VOTE)
    table.start()
    first = [f.encoded for kind in Kind for f in table.said(me, kind)]
    shares = {f.recipient: f.encoded for f in _served(table, me)}
    assert bool(shares) == (role != "joiner")
    records = journal(table.effects[me])
    assert [r.kind for r in records].count("source") == 1
    assert [r.kind for r in records].count("polynomial") == (0 if role == "joiner" else 1)
    table.effects[me] = []
    again = table.seats[me] = table.sit(me, records)
    effects = again.start(5.0)
    table.effects[me] = list(effects)
    assert [f.encoded for kind in Kind for f in table.said(me, kind)] == first
    assert {f.recipient: f.encoded for f in _served(table, me)} == shares
    assert not journal(effects)


def _served(table: Table, me: OperatorAddress) -> list[Frame]:
    """The shares that an operator serves to whoever pulls."""
    asking = [table.cast.frame(a, Kind.SYNC, [b""]) for a in table.cast.addresses if a != me]
    return [f for ask in asking for f in table.seats[me].sync_reply(ask) if f.kind is Kind.SHARE]


def test_a_polynomial_belongs_to_its_source(play: Play) -> None:
    """It is journaled under the source's version; records of another source and frames of it are left aside."""
    me = play.stayers[0]
    table = play.table(lambda _s, _l, f: f.kind is not Kind.VOTE)
    table.start()
    records = journal(table.effects[me])
    (record,) = [r for r in records if r.kind == "polynomial"]
    assert record.secret
    assert record.body[:8] == be64(play.version.transcript.version)
    foreign = replace(record, body=be64(0) + record.body[8:])
    others = [r for r in records if r.kind == "source"]
    again = table.sit(me, [*others, foreign])
    effects = again.start(5.0)
    assert [r.kind for r in journal(effects)][:1] == ["polynomial"], "that one is not its own"


def test_shares_of_a_source_that_is_unfit_are_not_combined(play: Play) -> None:
    """Points that cancel out make no master key: there is nothing to propose, and no error."""
    table = play.table()
    table.start()
    exchange = table.seats[play.stayers[0]]._exchanges.current
    for dealer, dealing in exchange._dealings.items():
        zero = (b"\xc0" + bytes(95), *dealing.commitments[1:])
        exchange._dealings[dealer] = replace(dealing, commitments=zero)
    assert exchange.transcript() is None


def test_any_dealers_enough_combine_to_the_same_master_key(play: Play) -> None:
    """Each constant term is its dealer's share, so every choice of t(source) dealings keeps the key; one fewer does not."""
    source = play.version.transcript
    dealings = [play.dealing(a) for a in (play.leaver, *play.stayers)]
    for dealing in dealings:
        check_dealing(dealing, play.who.session, dealing.dealer, source)
    keys = {combine(chosen, source)[0] for chosen in combinations(dealings, 3)}
    assert keys == {source.mpk, combine(dealings, source)[0]}
    assert combine(dealings[:2], source)[0] != source.mpk
