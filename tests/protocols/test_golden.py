"""The wire and journal formats are frozen, with real curves: changing one on purpose means a new version byte and these files anew.

Run this module as a script (``python -m tests.protocols.test_golden``) to write the golden file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenkms.crypto import backends, sealing
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.agreement import check_certificate
from eigenkms.protocols.dealing import check_dealing, decode_dealing
from eigenkms.protocols.effects import Certified, Direct
from eigenkms.protocols.frames import Frame, Kind, decode_frame, verify_frame, verify_frames
from eigenkms.protocols.messages import answer_body, opening_body, read_answer, report_body, slot_of
from eigenkms.protocols.session import decode_session, encode_session
from eigenkms.protocols.transcript import check_self_consistent, decode_transcript
from eigenkms.protocols.votes import decode_certificate
from tests.protocols.support import Cast, Table, cast, counter_rng, journal

FILE = Path(__file__).parent / "golden" / "genesis.json"


@pytest.fixture(autouse=True)
def _toy_curves() -> Iterator[None]:
    """These tests compute on the real curves."""
    with backends.use("native"):
        yield


def example() -> tuple[Cast, dict[str, str]]:
    """A genesis of four operators, and one frame of each kind out of it."""
    who = cast(4, seed="golden")
    me, peer, other, _ = who.addresses
    table = Table(who, lambda _s, _l, f: not (f.kind is Kind.PROPOSAL and f.body[0] == 0))
    table.start()
    for now in (0.6, 0.9):
        table.at(now)
    assert table.decided() == list(who.addresses)
    effects = table.effects[me]
    frames = {kind.name: table.said(me, kind)[0] for kind in (Kind.HASH, Kind.DEALING, Kind.VIEW_CHANGE)}
    frames |= {"REPORT": table.said(me, Kind.REPORT)[0], "VOTE": table.said(me, Kind.VOTE)[0]}
    frames["SHARE"] = next(e.frame for e in effects if isinstance(e, Direct) and e.recipient == peer)
    frames["PROPOSAL"] = table.said(who.session.coordinator(1), Kind.PROPOSAL)[0]
    frames["CERTIFICATE"] = next(f for f in table.seats[me]._log if f.kind is Kind.CERTIFICATE)
    frames["SYNC"] = who.frame(me, Kind.SYNC, [bytes(range(32))])
    frames |= _complaint(who, frames["DEALING"])
    certified = next(e for e in effects if isinstance(e, Certified))
    golden = {name: frame.encoded.hex() for name, frame in sorted(frames.items())}
    golden["dealing"] = frames["DEALING"].body[1].hex()
    golden["transcript"] = certified.transcript.encoded.hex()
    golden["certificate"] = certified.certificate.encoded.hex()
    golden["session"] = encode_session(who.session).hex()
    golden["session id"] = who.session.id.hex()
    golden["share"] = certified.share.to_bytes().hex()
    for record in journal(effects):
        golden[f"record {record.kind}"] = record.body.hex()
    del other
    return who, golden


def _complaint(who: Cast, dealing: Frame) -> dict[str, Frame]:
    """Lacking, answer and opening, as they would be if the second operator had got nothing from the first."""
    me, peer, *_ = who.addresses
    rng = counter_rng("complaint")
    private, public = sealing.x25519_keypair(rng)
    own = decode_dealing(dealing.body[1])
    body = answer_body(who.session.id, own, peer, public, SecretScalar(4711), rng)
    return {
        "REPORT lacking": who.frame(peer, Kind.REPORT, report_body({}, {me: public})),
        "ANSWER": who.frame(me, Kind.ANSWER, body),
        "OPENING": who.frame(peer, Kind.OPENING, opening_body(me, private)),
    }


@pytest.fixture(scope="module")
def made() -> tuple[Cast, dict[str, str]]:
    with backends.use("native"):
        return example()


def test_everything_is_the_golden_one(made: tuple[Cast, dict[str, str]]) -> None:
    """Byte for byte: frames of each kind, dealing, transcript, certificate, stored session, journal records."""
    assert made[1] == json.loads(FILE.read_text())


def test_golden_frames_decode_verify_and_encode_again(made: tuple[Cast, dict[str, str]]) -> None:
    """Strict decoders accept them, their signatures verify, one by one and together, and their bytes are kept."""
    who, _ = made
    golden = json.loads(FILE.read_text())
    frames = [
        decode_frame(bytes.fromhex(text))
        for name, text in golden.items()
        if name.isupper() or " lack" in name
    ]
    assert {f.kind for f in frames} == set(Kind) - {
        Kind.PEER_RECORD,
        Kind.STATEMENT,
        Kind.PARTIAL,
        Kind.CONFIRM,
        Kind.REACH,
        Kind.KEY,
    }
    keys = [who.keys[f.sender].g2 for f in frames]
    for frame, key in zip(frames, keys, strict=True):
        verify_frame(frame, key)
        slot_of(frame)
    assert verify_frames(frames, keys, counter_rng("batch")) == ()
    assert {f.encoded.hex() for f in frames} <= set(golden.values())


def test_golden_results_are_valid(made: tuple[Cast, dict[str, str]]) -> None:
    """The dealing, the transcript and the certificate check out against the session."""
    who, _ = made
    golden = {name: bytes.fromhex(text) for name, text in json.loads(FILE.read_text()).items()}
    session = decode_session(golden["session"])
    assert (session, session.id) == (who.session, golden["session id"])
    dealing = decode_dealing(golden["dealing"])
    check_dealing(dealing, session, dealing.dealer)
    transcript = decode_transcript(golden["transcript"])
    check_self_consistent(transcript)
    certificate = decode_certificate(golden["certificate"])
    check_certificate(certificate, session)
    assert (certificate.hash, certificate.session) == (transcript.hash, session.id)
    answer = decode_frame(golden["ANSWER"])
    assert read_answer(answer).dealing == golden["dealing"]


if __name__ == "__main__":
    with backends.use("native"):
        FILE.write_text(json.dumps(example()[1], indent=1) + "\n")
