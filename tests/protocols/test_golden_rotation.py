"""What a rotation says and keeps is frozen, with real curves: the formats that name a source, confirms, and the settlement proof.

Run this module as a script (``python -m tests.protocols.test_golden_rotation``) to write the golden file: on purpose only, together
with a new version byte.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.crypto import backends, bn254, schnorr, sealing
from eigenkms.crypto.hashing import be64
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.agreement import check_certificate
from eigenkms.protocols.dealing import check_dealing, decode_dealing
from eigenkms.protocols.effects import Certified, Direct, Settled
from eigenkms.protocols.frames import Frame, Kind, decode_frame, verify_frame
from eigenkms.protocols.messages import (
    answer_body,
    opening_body,
    read_confirm,
    report_body,
    slot_of,
    source_of,
)
from eigenkms.protocols.requests import Epoch, check_epoch, check_settled, decode_settled, encode_settled
from eigenkms.protocols.session import decode_session, encode_session
from eigenkms.protocols.settlement import confirm_digest, decode_settlement_proof, possession_context
from eigenkms.protocols.transcript import check_self_consistent, decode_transcript
from eigenkms.protocols.votes import decode_certificate
from tests.protocols.support import Cast, Table, cast, counter_rng, journal, version_of

FILE = Path(__file__).parent / "golden" / "rotation.json"
SOURCED = frozenset({Kind.DEALING, Kind.SHARE, Kind.REPORT, Kind.ANSWER, Kind.OPENING})


@pytest.fixture(autouse=True)
def _toy_curves() -> Iterator[None]:
    """These tests compute on the real curves."""
    with backends.use("native"):
        yield


def example() -> tuple[Cast, dict[str, str]]:
    """Four operators rotate a version: the first has left since, the last has joined; and one thing of each kind out of it."""
    everybody = cast(5, seed="golden rotation")
    leaver, me, _, _, joiner = everybody.addresses
    version = version_of(everybody.at(0, everybody.addresses[:4]))
    who = everybody.at(10, everybody.addresses[1:])
    withheld = lambda s, l, f: s == leaver and l == me and f.kind in (Kind.DEALING, Kind.SHARE)  # noqa: E731
    table = Table(who, lambda s, l, f: not withheld(s, l, f), source=version)
    table.start()
    for now in (1.0, 4.0, 4.6, 5.2, 6.0):
        table.at(now)
    assert set(table.decided()) == set(table.seats)
    effects = table.effects[me]
    settled = next(e for e in effects if isinstance(e, Settled))
    certified = next(e for e in effects if isinstance(e, Certified))
    frames = {
        kind.name: table.said(me, kind)[0] for kind in (Kind.DEALING, Kind.REPORT, Kind.VOTE, Kind.CONFIRM)
    }
    frames["DEALING of a leaver"] = table.said(leaver, Kind.DEALING)[0]
    frames["ANSWER"] = table.said(leaver, Kind.ANSWER)[0]
    frames["SHARE"] = next(e.frame for e in effects if isinstance(e, Direct) and e.recipient == joiner)
    frames["PROPOSAL"] = next(f for a in who.addresses for f in table.said(a, Kind.PROPOSAL))
    frames["CERTIFICATE"] = next(f for f in table.seats[me]._log if f.kind is Kind.CERTIFICATE)
    frames |= _complaint(who, frames["DEALING"])
    golden = {name: frame.encoded.hex() for name, frame in sorted(frames.items())}
    golden["dealing"] = frames["DEALING"].body[1].hex()
    golden["source transcript"] = version.transcript.encoded.hex()
    golden["source share"] = version.shares[me].to_bytes().hex()
    golden["transcript"] = certified.transcript.encoded.hex()
    golden["certificate"] = certified.certificate.encoded.hex()
    golden["settlement proof"] = settled.proof.encoded.hex()
    golden["settled answer"] = encode_settled(
        Epoch(certified.transcript, certified.certificate), settled.proof
    ).hex()
    golden["settled answer of a genesis"] = encode_settled(
        Epoch(version.transcript, version.certificate), None
    ).hex()
    golden["session"] = encode_session(who.session).hex()
    golden["session id"] = who.session.id.hex()
    golden["share"] = certified.share.to_bytes().hex()
    for record in journal(effects):
        golden[f"record {record.kind}"] = record.body.hex()
    return who, golden


def _complaint(who: Cast, dealing: Frame) -> dict[str, Frame]:
    """Lacking, a false answer and its opening, as they would be if the second recipient had got nothing from the first."""
    me, peer, *_ = who.addresses
    rng = counter_rng("complaint")
    private, public = sealing.x25519_keypair(rng)
    own = decode_dealing(dealing.body[1])
    body = answer_body(who.session.id, own, peer, public, SecretScalar(4711), rng)
    lacking = report_body({}, {me: public}, own.source_version)
    return {
        "REPORT lacking": who.frame(peer, Kind.REPORT, lacking),
        "ANSWER false": who.frame(me, Kind.ANSWER, body),
        "OPENING": who.frame(peer, Kind.OPENING, opening_body(me, private, own.source_version)),
    }


@pytest.fixture(scope="module")
def made() -> tuple[Cast, dict[str, str]]:
    with backends.use("native"):
        return example()


@pytest.fixture
def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in json.loads(FILE.read_text()).items()}


def frames_of(golden: dict[str, bytes]) -> list[Frame]:
    return [decode_frame(data) for name, data in golden.items() if name.split()[0].isupper()]


def test_everything_is_the_golden_one(made: tuple[Cast, dict[str, str]]) -> None:
    """Byte for byte: frames of each kind, dealing, transcript, certificate, settlement proof, journal records."""
    assert made[1] == json.loads(FILE.read_text())


def test_golden_frames_decode_verify_and_name_their_source(
    made: tuple[Cast, dict[str, str]], golden: dict[str, bytes]
) -> None:
    """Strict decoders accept them, their signatures verify, and those of the exchange name the version that is dealt from."""
    who, _ = made
    source = decode_transcript(golden["source transcript"])
    frames = frames_of(golden)
    assert {f.kind for f in frames} == SOURCED | {Kind.PROPOSAL, Kind.VOTE, Kind.CERTIFICATE, Kind.CONFIRM}
    for frame in frames:
        verify_frame(frame, who.keys[frame.sender].g2)
        slot_of(frame)
        assert frame.encoded in golden.values()
        if frame.kind in SOURCED:
            assert source_of(frame) == source.version


def test_golden_results_are_valid(made: tuple[Cast, dict[str, str]], golden: dict[str, bytes]) -> None:
    """The dealing against the source, the transcript, its certificate and its settlement proof."""
    who, _ = made
    session, source = decode_session(golden["session"]), decode_transcript(golden["source transcript"])
    assert (session, session.id) == (who.session, golden["session id"])
    dealing = decode_dealing(golden["dealing"])
    check_dealing(dealing, session, dealing.dealer, source)
    transcript = decode_transcript(golden["transcript"])
    check_self_consistent(transcript)
    assert (transcript.mpk, transcript.source_version, transcript.source_hash) == (
        source.mpk,
        source.version,
        source.hash,
    )
    certificate = decode_certificate(golden["certificate"])
    check_certificate(certificate, session, rooted=True)
    proof = decode_settlement_proof(golden["settlement proof"])
    proof.verify(transcript)
    for name, expected in (("settled answer", proof), ("settled answer of a genesis", None)):
        epoch, found = decode_settled(golden[name])
        assert found == expected
        check_epoch(epoch, session.cluster)
        check_settled(epoch, found)


def test_the_golden_confirm_is_a_promise(made: tuple[Cast, dict[str, str]], golden: dict[str, bytes]) -> None:
    """Its signature is the one that adds up to the proof, and it proves that the sender has the share."""
    who, _ = made
    frame, transcript = decode_frame(golden["CONFIRM"]), decode_transcript(golden["transcript"])
    confirm = read_confirm(frame)
    digest = confirm_digest(transcript.session, transcript.hash)
    assert bn254.verify(digest, confirm.signature, who.keys[frame.sender].g2)
    context = possession_context(transcript.session, transcript.hash, frame.sender)
    assert schnorr.verify(transcript.public_share(frame.sender), context, confirm.proof)


def test_golden_records_are_read_again(made: tuple[Cast, dict[str, str]], golden: dict[str, bytes]) -> None:
    """The source by its hash; the polynomial under its source's version, with the source share as its constant term."""
    del made
    source = decode_transcript(golden["source transcript"])
    assert golden["record source"] == source.hash
    assert golden["record polynomial"][:8] == golden["record one-time-key"][:8] == be64(source.version)
    polynomial = Polynomial.from_bytes(golden["record polynomial"][8:])
    assert polynomial.constant.to_bytes() == golden["source share"]
    assert polynomial.commitments() == decode_dealing(golden["dealing"]).commitments
    transcript = decode_transcript(golden["transcript"])
    assert golden["record transcript"] == transcript.encoded
    assert golden["record share"] == transcript.hash + golden["share"]
    assert golden["record certificate"] == golden["certificate"]
    assert decode_certificate(golden["record lock"]).hash == transcript.hash
    assert decode_frame(golden["record frame"]).kind is Kind.CONFIRM, "the last thing that was said"


if __name__ == "__main__":
    with backends.use("native"):
        FILE.write_text(json.dumps(example()[1], indent=1) + "\n")
