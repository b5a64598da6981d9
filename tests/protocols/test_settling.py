"""Settling: a signed promise of each holder, how many of them are a proof, and what is none."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from eigenkms.crypto import bn254, schnorr
from eigenkms.crypto.scalars import SecretScalar, threshold
from eigenkms.errors import VerificationError
from eigenkms.protocols.codec import MalformedError, decode, encode
from eigenkms.protocols.effects import Certified, Settled
from eigenkms.protocols.evidence import Fault, check_evidence
from eigenkms.protocols.frames import Frame, Kind, WrongScopeError, decode_frame
from eigenkms.protocols.messages import confirm_body, read_confirm
from eigenkms.protocols.requests import Epoch, check_settled, decode_settled, encode_settled
from eigenkms.protocols.settlement import (
    SettlementProof,
    aggregate_confirms,
    confirm_digest,
    decode_settlement_proof,
    possession_context,
    settlement_quorum,
)
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.votes import BadCertificateError
from eigenkms.types import OperatorAddress
from tests.protocols.support import (
    Cast,
    KeyVersion,
    Table,
    accusations,
    cast,
    journal,
    settle,
    version_of,
)


def rotating(n: int, lets: Callable[[OperatorAddress, OperatorAddress, Frame], bool] | None = None) -> Table:
    """A table of n operators that renew a version of theirs."""
    who = cast(n)
    return Table(who.at(10), lets or (lambda _s, _l, _f: True), source=version_of(who))


def settled(table: Table, address: OperatorAddress) -> list[Settled]:
    return [e for e in table.effects[address] if isinstance(e, Settled)]


def certified(table: Table, address: OperatorAddress) -> Certified:
    return next(e for e in table.effects[address] if isinstance(e, Certified))


def without_confirms(*silent: OperatorAddress) -> Callable[[OperatorAddress, OperatorAddress, Frame], bool]:
    return lambda s, _l, f: not (f.kind is Kind.CONFIRM and s in silent)


def confirming(
    who: Cast, holder: OperatorAddress, transcript: Transcript, share: SecretScalar, **changes: bytes
) -> Frame:
    """A confirm, true but for the changes."""
    made = {
        "transcript_hash": transcript.hash,
        "signature": bn254.sign(who.keys[holder], confirm_digest(transcript.session, transcript.hash)),
        "proof": schnorr.prove(
            share,
            transcript.public_share(holder),
            possession_context(transcript.session, transcript.hash, holder),
            who.rng,
        ),
        **changes,
    }
    return who.frame(holder, Kind.CONFIRM, confirm_body(**made))


# -- how many ----------------------------------------------------------------------------------------------------


def test_so_many_confirms_show_that_the_threshold_of_correct_operators_holds() -> None:
    """Fewer than a third lie, so t' of them are true; it is the smallest such number, and never more than all."""
    for n in range(1, 257):
        liars = (n - 1) // 3
        assert settlement_quorum(n) == threshold(n) + liars <= n
    assert [settlement_quorum(n) for n in (1, 2, 3, 4, 5, 6, 7, 10)] == [1, 2, 2, 4, 5, 5, 7, 10]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
def test_a_version_settles_with_its_quorum_and_not_before(n: int) -> None:
    """At each operator, once; the proof verifies and names who confirmed."""
    who = cast(n)
    silent = who.addresses[: n - settlement_quorum(n)]
    table = Table(who.at(10), without_confirms(*silent), source=version_of(who))
    table.start()
    table.at(4.0)
    for address in who.addresses:
        (found,) = settled(table, address)
        assert found.transcript == certified(table, address).transcript
        assert found.certificate == certified(table, address).certificate
        assert found.proof is not None
        found.proof.verify(found.transcript)
        assert table.seats[address].proof == found.proof
    listener = next(iter(who.addresses[n - 1 :]))
    assert table.seats[listener].status().unconfirmed == ()
    fewer = who.addresses[: n - settlement_quorum(n) + 1]
    table = Table(
        who.at(10), lambda s, _l, f: f.kind is not Kind.CONFIRM or s not in fewer, source=version_of(who)
    )
    table.start()
    table.at(4.0)
    others = [a for a in who.addresses if a not in fewer]
    for address in others:
        assert certified(table, address).share is not None
        assert not settled(table, address)
        assert table.seats[address].proof is None
        assert table.seats[address].status().unconfirmed == fewer
        assert table.seats[address].pulls, "until the next boundary it asks for the confirms"


# -- confirming --------------------------------------------------------------------------------------------------


def test_a_confirm_is_a_promise_and_a_proof_of_possession() -> None:
    """Journaled before it is said, said once: a signature that adds up, and a Schnorr proof for the sender's public share."""
    table = rotating(4)
    table.start()
    me = table.cast.addresses[0]
    (frame,) = table.said(me, Kind.CONFIRM)
    confirm, transcript = read_confirm(frame), certified(table, me).transcript
    assert confirm.hash == transcript.hash
    digest = confirm_digest(transcript.session, transcript.hash)
    assert bn254.verify(digest, confirm.signature, table.cast.keys[me].g2)
    context = possession_context(transcript.session, transcript.hash, me)
    assert schnorr.verify(transcript.public_share(me), context, confirm.proof)
    assert not schnorr.verify(transcript.public_share(table.cast.addresses[1]), context, confirm.proof)
    kinds = [(r.kind, r.body) for r in journal(table.effects[me])]
    share = next(i for i, (kind, _) in enumerate(kinds) if kind == "share")
    assert share < kinds.index(("frame", frame.encoded))


def test_who_lacks_its_share_promises_nothing_until_it_has_it() -> None:
    """One operator knows the certificate before the shares: it confirms when they came, and with that the version settles."""
    who = cast(4)
    late = who.addresses[3]
    table = Table(
        who.at(10), lambda _s, l, f: l != late or f.kind is Kind.CERTIFICATE, source=version_of(who)
    )
    table.start()
    for now in (1.0, 2.0, 4.0, 4.5, 5.0, 6.0):
        table.at(now)
    others = who.addresses[:3]
    assert table.decided() == list(others)
    assert not [e for a in others for e in settled(table, a)]
    replies = table.seats[others[0]].sync_reply(table.seats[late].sync_request())
    (certificate,) = [f for f in replies if f.kind is Kind.CERTIFICATE]
    table.hear(late, certificate)
    assert certified(table, late).share is None
    assert not table.said(late, Kind.CONFIRM)
    assert set(table.seats[late].lacking) == set(others)
    table.lets = lambda _s, _l, _f: True
    for other in others:
        for frame in table.seats[other].sync_reply(table.seats[late].sync_request()):
            table.hear(late, frame)
    assert table.said(late, Kind.CONFIRM)
    for address in who.addresses:
        assert len(settled(table, address)) == 1


def test_a_confirm_may_come_before_the_certificate() -> None:
    """It is kept and counted once the version is known."""
    who = cast(4)
    late = who.addresses[3]
    table = Table(who.at(10), lambda _s, l, f: l != late or f.kind is not Kind.VOTE, source=version_of(who))
    table.start()
    for now in (1.0, 2.0, 4.0):
        table.at(now)
    assert late not in table.decided()
    assert len([f for f in table.seats[late]._log if f.kind is Kind.CONFIRM]) == 3
    table.lets = lambda _s, _l, _f: True
    replies = table.seats[who.addresses[0]].sync_reply(table.seats[late].sync_request())
    table.hear(late, next(f for f in replies if f.kind is Kind.CERTIFICATE))
    assert [len(settled(table, a)) for a in who.addresses] == [1, 1, 1, 1]


def test_a_confirm_of_another_hash_is_not_counted_and_is_no_fault_yet() -> None:
    """A second one for the right hash is: a promise is given once a session."""
    table = rotating(4, without_confirms())
    who = table.cast
    me, liar = who.addresses[:2]
    table.lets = without_confirms(liar)
    table.start()
    assert not settled(table, me)
    transcript, share = certified(table, liar).transcript, certified(table, liar).share
    assert share is not None
    other = bytes(32)
    signature = bn254.sign(who.keys[liar], confirm_digest(transcript.session, other))
    false = confirming(who, liar, transcript, share, transcript_hash=other, signature=signature)
    assert table.hear(me, false) == []
    assert not settled(table, me)
    assert table.seats[me].status().unconfirmed == (liar,)
    (evidence,) = accusations(table.hear(me, confirming(who, liar, transcript, share)))
    assert (evidence.fault, evidence.accused) == (Fault.EQUIVOCATION, liar)
    check_evidence(evidence, who.session)
    assert not settled(table, me)


@pytest.mark.parametrize(
    "case", ["signature", "another's signature", "proof", "another's proof", "another share"]
)
def test_a_bad_confirm_is_evidence_and_does_not_count(case: str) -> None:
    """A signature or a proof of possession that does not hold, in a frame that its sender signed; a third party is convinced by
    frame, session and version.
    """
    table = rotating(4)
    who = table.cast
    me, liar, other = who.addresses[:3]
    table.lets = without_confirms(liar)
    table.start()
    transcript, share = certified(table, liar).transcript, certified(table, liar).share
    assert share is not None
    true = read_confirm(table.said(liar, Kind.CONFIRM)[0])
    others = read_confirm(table.said(other, Kind.CONFIRM)[0])
    stranger = schnorr.prove(
        SecretScalar(5),
        transcript.public_share(liar),
        possession_context(transcript.session, transcript.hash, liar),
        who.rng,
    )
    changes = {
        "signature": {"signature": bytes(64)},
        "another's signature": {"signature": others.signature},
        "proof": {"proof": bytes(schnorr.PROOF_SIZE)},
        "another's proof": {"proof": others.proof},
        "another share": {"proof": stranger},
    }[case]
    false = confirming(who, liar, transcript, share, **changes)
    (evidence,) = accusations(table.hear(me, false))
    assert (evidence.fault, evidence.accused, evidence.source) == (Fault.BAD_CONFIRM, liar, transcript)
    again = replace(evidence, frames=tuple(decode_frame(f.encoded) for f in evidence.frames))
    check_evidence(again, who.session)
    for wrong in (
        replace(again, source=None),
        replace(again, source=table.source.transcript if table.source else None),
        replace(again, accused=other),
        replace(again, frames=(table.said(other, Kind.CONFIRM)[0],), accused=other),
    ):
        with pytest.raises(VerificationError, match="do not prove it"):
            check_evidence(wrong, who.session)
    assert not settled(table, me)
    assert table.seats[me].status().unconfirmed == (liar,)
    assert true.hash == transcript.hash


def test_only_recipients_confirm() -> None:
    """A holder that has left promises nothing, and is not heard if it does."""
    people = cast(5)
    before, who = people.at(0, people.addresses[:4]), people.at(10, people.addresses[1:])
    table = Table(who, source=version_of(before))
    table.start()
    leaver, me = people.addresses[:2]
    assert not table.said(leaver, Kind.CONFIRM)
    (found,) = settled(table, leaver)
    assert found.proof is not None
    transcript = found.transcript
    with pytest.raises(WrongScopeError):
        table.hear(me, confirming(who, leaver, transcript, SecretScalar(5)))


def test_a_genesis_asks_for_no_promise() -> None:
    """All n prepared it, so it is settled when it is certified; nobody confirms, and a confirm changes nothing."""
    table = Table(cast(4))
    table.start()
    who = table.cast
    me, peer = who.addresses[:2]
    assert not any(table.said(a, Kind.CONFIRM) for a in who.addresses)
    transcript, share = certified(table, peer).transcript, certified(table, peer).share
    assert share is not None
    assert table.hear(me, confirming(who, peer, transcript, share)) == []
    assert table.seats[me].status().unconfirmed == ()
    assert table.seats[me].proof is None


def test_promises_are_pulled_until_the_next_boundary_and_taken_any_time() -> None:
    """What settles a version may come long after its session."""
    table = rotating(4)
    who = table.cast
    me, late = who.addresses[0], who.addresses[1]
    table.lets = without_confirms(late)
    table.start()
    assert table.seats[me].pulls
    table.seats[me].supersede(5.0)
    assert not table.seats[me].pulls
    (confirm,) = table.said(late, Kind.CONFIRM)
    table.lets = lambda _s, _l, _f: True
    table.hear(me, confirm)
    assert len(settled(table, me)) == 1
    assert not table.seats[me].status().unconfirmed


def test_the_next_life_repeats_its_promise_and_settles_again() -> None:
    """To the byte; and from others' confirms, pulled anew, the same version is settled."""
    table = rotating(4)
    table.start()
    me, *others = table.cast.addresses
    (confirm,) = table.said(me, Kind.CONFIRM)
    records = journal(table.effects[me])
    table.effects[me] = []
    again = table.seats[me] = table.sit(me, records)
    table._take(me, again.start(9.0))
    assert [f.encoded for f in table.said(me, Kind.CONFIRM)] == [confirm.encoded]
    assert not settled(table, me)
    for frame in table.seats[others[0]].sync_reply(again.sync_request()):
        table.hear(me, frame)
    assert len(settled(table, me)) == 1


# -- the proof ---------------------------------------------------------------------------------------------------


@pytest.fixture
def seven() -> tuple[Cast, KeyVersion]:
    """Seven operators, of whom all must confirm, and a rotated version of theirs. Seven bits leave one to spare."""
    who = cast(7)
    return who, version_of(who, source=4711)


def test_a_proof_is_its_bytes(seven: tuple[Cast, KeyVersion]) -> None:
    """Decoding gives it back; other encodings are refused."""
    _, version = seven
    proof = version.proof
    assert decode_settlement_proof(proof.encoded) == proof
    fields = decode(proof.encoded, what="proof")
    for wrong in (
        fields[:-1],
        [*fields, 0],
        [bytes(31), *fields[1:]],
        [fields[0], bytes(33), *fields[2:]],
        [*fields[:2], bytes(65), fields[3]],
        [*fields[:3], bytes(63)],
        [*fields[:2], "bits", fields[3]],
    ):
        with pytest.raises(MalformedError, match="decode settlement proof"):
            decode_settlement_proof(encode(wrong))
    with pytest.raises(MalformedError):
        decode_settlement_proof(proof.encoded + b"\x00")


def test_a_proof_needs_its_quorum_of_recipients(seven: tuple[Cast, KeyVersion]) -> None:
    """Too few, repeated or foreign signers, and bits or bytes that name nobody, prove nothing."""
    who, version = seven
    transcript, proof = version.transcript, version.proof
    proof.verify(transcript)
    few = settle(who, transcript, who.addresses[:6])
    digest = confirm_digest(transcript.session, transcript.hash)
    signatures = [bn254.sign(who.keys[a], digest) for a in who.addresses]
    stranger = bn254.sign(bn254.KeyPair.generate(who.rng), digest)
    twice = bn254.aggregate_signatures([*signatures[:6], signatures[0]])
    foreign = bn254.aggregate_signatures([*signatures[:6], stranger])
    cases: dict[str, SettlementProof] = {
        "6 signers, 7 needed": few,
        "does not verify": replace(few, bitmap=proof.bitmap),
        "aggregate signature does not verify": replace(proof, signature=twice),
        "signature does not verify": replace(proof, signature=foreign),
        "spare bits": replace(proof, bitmap=b"\xff"),
        "bitmap of 2 bytes for 7 operators": replace(proof, bitmap=proof.bitmap + b"\x00"),
        "bitmap of 0 bytes": replace(proof, bitmap=b""),
        "0 signers": replace(proof, bitmap=b"\x00"),
        "of another version": replace(proof, hash=bytes(32)),
        "it is of another version": replace(proof, session=bytes(32)),
    }
    for why, wrong in cases.items():
        with pytest.raises(BadCertificateError, match=why):
            wrong.verify(transcript)
    assert proof.bitmap == b"\xfe"


def test_a_proof_is_of_one_version(seven: tuple[Cast, KeyVersion]) -> None:
    """Confirms of another transcript, or of another session, do not carry over, whatever the proof says it is of."""
    who, version = seven
    other = version_of(who, source=4711)
    with pytest.raises(BadCertificateError, match="another version"):
        other.proof.verify(version.transcript)
    renamed = replace(other.proof, hash=version.transcript.hash)
    with pytest.raises(BadCertificateError, match="does not verify"):
        renamed.verify(version.transcript)


def test_confirms_add_up_whatever_their_order(seven: tuple[Cast, KeyVersion]) -> None:
    """Of the recipients alone: somebody else's is left out."""
    who, version = seven
    transcript = version.transcript
    digest = confirm_digest(transcript.session, transcript.hash)
    confirms = {a: bn254.sign(who.keys[a], digest) for a in reversed(who.addresses)}
    stranger = bn254.KeyPair.generate(who.rng)
    assert aggregate_confirms(transcript, confirms) == version.proof
    confirms[OperatorAddress(bytes(20))] = bn254.sign(stranger, digest)
    assert aggregate_confirms(transcript, confirms) == version.proof


def test_what_counts_as_settled(seven: tuple[Cast, KeyVersion]) -> None:
    """A rotated version with its proof, a genesis without one; a rotated version without is not, and a proof must always hold."""
    who, version = seven
    epoch = Epoch(version.transcript, version.certificate)
    genesis = version_of(who)
    first = Epoch(genesis.transcript, genesis.certificate)
    for shown, proof in ((epoch, version.proof), (first, None), (first, genesis.proof)):
        again, found = decode_settled(encode_settled(shown, proof))
        assert (again, found) == (shown, proof)
        check_settled(again, found)
    with pytest.raises(BadCertificateError, match="it has no settlement proof"):
        check_settled(epoch, None)
    for wrong in (genesis.proof, replace(version.proof, bitmap=b"\xfc")):
        with pytest.raises(BadCertificateError):
            check_settled(epoch, wrong)


def test_an_answer_that_is_no_settled_version_is_malformed(seven: tuple[Cast, KeyVersion]) -> None:
    """Arity, types, lengths, anything behind it."""
    _, version = seven
    good = encode_settled(Epoch(version.transcript, version.certificate), version.proof)
    fields = decode(good, what="settled version", limit=1 << 20)
    for wrong in (
        [],
        fields[:-1],
        [*fields, None],
        [b"", *fields[1:]],
        [fields[0], b"", fields[2]],
        [*fields[:2], b""],
        [*fields[:2], bytes(513)],
        [*fields[:2], 0],
    ):
        with pytest.raises(MalformedError):
            decode_settled(encode(wrong))
    with pytest.raises(MalformedError):
        decode_settled(good + b"\x00")
