"""What protocol 2 says and keeps is frozen, with real curves: frames, dealings, transcripts with keys, journal records.

Run this module as a script (``python -m tests.protocols.test_golden``) to write the golden file: on purpose only, together with
a new version byte. Bodies of dealings are in it by their digests, which the headers hold.
"""

import json
from pathlib import Path

import pytest

from eigenkms.crypto import backends, bn254
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.ceremony.effects import KeepKey, KeepShare
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import read_body
from eigenkms.wire.dealing_header import decode_header
from eigenkms.wire.frames import Frame, FrameKind, decode_frame, verify_frame
from eigenkms.wire.key_directory import check_key_frame
from eigenkms.wire.messages import (
    SESSION_KINDS,
    SourceRef,
    commitments_digest,
    read_dealing,
    read_hash,
    read_proposal,
    read_view_change,
    read_vote,
    ref_of,
    slot_of,
)
from eigenkms.wire.transcript import check_self_consistent, decode_transcript
from eigenkms.wire.votes import Phase, check_certificate, decode_certificate, vote_digest
from tests.protocols.parts import frame_log_of
from tests.protocols.rooms import Room
from tests.protocols.support import Cast, cast, journal

FILE = Path(__file__).parent / "golden" / "session.json"


pytestmark = pytest.mark.usefixtures("real_curves")


def example() -> tuple[Cast, dict[str, str]]:
    """Four operators make a key and rotate it to three of them and a newcomer; the first proposal of the rotation is lost."""
    everybody = cast(5, seed="golden protocol 2")
    genesis, rotation = everybody.at(0, everybody.addresses[:4]), everybody.at(10, everybody.addresses[1:])
    me = everybody.addresses[1]
    room = Room(everybody)
    room.enter()
    room.boundary(genesis.session)
    room.lets = lambda _s, _l, f: f.kind is not FrameKind.PROPOSAL or read_proposal(f).view > 0
    room.boundary(rotation.session)
    room.run(1)
    golden: dict[str, str] = {}
    for name, where in (("genesis", genesis), ("rotation", rotation)):
        golden |= {f"{name} {what}": value for what, value in _of_session(room, where, me).items()}
    return everybody, golden


def _of_session(room: Room, where: Cast, me: OperatorAddress) -> dict[str, str]:
    """The last frame of each kind, the results and the journal of one operator."""
    ceremony = room.ceremony(me, where.session)
    frames = [f for f in frame_log_of(ceremony) if f.sender == me or f.kind is FrameKind.PROPOSAL]
    last = {f.kind.name: f for f in frames}
    assert ceremony.decision is not None
    made, certificate = ceremony.decision.transcript, ceremony.decision.certificate
    assert made is not None
    done = room.done(me)
    (share,) = [e.share for e in done if isinstance(e, KeepShare) and e.transcript_hash == made.hash]
    number = where.session.boundary.number
    (key,) = [e.key for e in done if isinstance(e, KeepKey) and e.number == number]
    records = journal([e.effect for e in room.effects[me] if e.session == where.session])
    golden = {kind: frame.encoded.hex() for kind, frame in sorted(last.items())}
    golden["SYNC"] = ceremony.sync_request().encoded.hex()
    golden |= {f"record {r.kind}": r.body.hex() for r in records if r.kind != "body"}
    body = next(r.body for r in records if r.kind == "body")
    golden["record body digest"] = keccak256(body).hex()
    golden["record kinds"] = " ".join(r.kind for r in records).encode().hex()
    golden["transcript"] = made.encoded.hex()
    golden["certificate"] = certificate.encoded.hex()
    golden["share"] = share.to_bytes().hex()
    golden["encryption key"] = key.secret.to_bytes().hex()
    return golden


@pytest.fixture(scope="module")
def golden_session() -> tuple[Cast, dict[str, str]]:
    with backends.use("native"):
        return example()


@pytest.fixture
def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in json.loads(FILE.read_text()).items()}


def _frames(golden: dict[str, bytes], session: str) -> dict[str, Frame]:
    names = [f"{session} {kind.name}" for kind in FrameKind]
    return {name.split()[1]: decode_frame(golden[name]) for name in names if name in golden}


def test_everything_is_the_golden_one(golden_session: tuple[Cast, dict[str, str]]) -> None:
    """Byte for byte: frames of each kind, dealings, transcripts, certificates, journal records."""
    assert golden_session[1] == json.loads(FILE.read_text())


@pytest.mark.parametrize("session", ["genesis", "rotation"])
def test_golden_frames_decode_verify_and_have_a_slot(
    golden_session: tuple[Cast, dict[str, str]], golden: dict[str, bytes], session: str
) -> None:
    """Strict decoders accept them, their signatures verify, and every kind of a session is there."""
    who, _ = golden_session
    frames = _frames(golden, session)
    absent = {FrameKind.VIEW_CHANGE} if session == "genesis" else {FrameKind.HASH}
    assert {f.kind for f in frames.values()} == (SESSION_KINDS - absent) | {FrameKind.SYNC}
    for frame in frames.values():
        verify_frame(frame, who.keys[frame.sender].g2)
        assert frame.encoded in golden.values()
        assert (slot_of(frame) is None) == (frame.kind in (FrameKind.CERTIFICATE, FrameKind.SYNC))


@pytest.mark.parametrize("session", ["genesis", "rotation"])
def test_golden_results_are_valid(
    golden_session: tuple[Cast, dict[str, str]], golden: dict[str, bytes], session: str
) -> None:
    """The transcript lists the published keys, the certificate is of it, the share fits it, the votes are signed."""
    who, _ = golden_session
    transcript = decode_transcript(golden[f"{session} transcript"])
    check_self_consistent(transcript)
    before = decode_transcript(golden["genesis transcript"])
    assert transcript.mpk == before.mpk
    source = (0, bytes(32)) if session == "genesis" else (int(before.version), before.hash)
    assert (transcript.source_version, transcript.source_hash) == source
    at = who.at(0, who.addresses[:4]) if session == "genesis" else who.at(10, who.addresses[1:])
    check_certificate(decode_certificate(golden[f"{session} certificate"]), at.session)
    frames, me = _frames(golden, session), who.addresses[1]
    key = check_key_frame(frames["KEY"], at.session)
    assert transcript.key_of(me) == key
    assert all(listed is not None for listed in transcript.keys)
    share = SecretScalar.from_bytes(golden[f"{session} share"])
    assert public_share_of(share) == transcript.public_share(me)
    vote = read_vote(frames["VOTE"])
    digest = vote_digest(at.session.id, vote.view, vote.phase, vote.hash)
    assert (vote.phase, vote.hash) == (Phase.COMMIT, transcript.hash)
    assert bn254.verify(digest, vote.signature, who.keys[me].g2)


def test_golden_dealings_are_their_headers(
    golden_session: tuple[Cast, dict[str, str]], golden: dict[str, bytes]
) -> None:
    """At genesis all are newcomers and the digest was announced; in the rotation one is, and the constant is the dealer's share."""
    who, _ = golden_session
    for session in ("genesis", "rotation"):
        frame = _frames(golden, session)["DEALING"]
        message = read_dealing(frame)
        header = decode_header(message.header)
        assert SourceRef(header.source_version, header.source_hash) == message.source
        assert header.encoded == message.header
        assert (frame.sender, header.name) in decode_transcript(golden[f"{session} transcript"]).dealers
        assert len(header.newcomers) == (4 if session == "genesis" else 1)
        if session == "genesis":
            polynomial = Polynomial.from_bytes(golden["genesis record polynomial"])
            assert header.commitments == polynomial.commitments()
            announced = read_hash(_frames(golden, session)["HASH"])
            assert announced == commitments_digest(header.commitments)
        else:
            source = decode_transcript(golden["genesis transcript"])
            assert header.commitments[0] == source.public_share(who.addresses[1])


def test_golden_records_are_read_again(golden: dict[str, bytes]) -> None:
    """The source by its hash; dealings as frames; lock and certificate of the version; the last thing said is a vote."""
    source, made = decode_transcript(golden["genesis transcript"]), golden["rotation transcript"]
    assert golden["rotation record source"] == source.encoded
    assert golden["rotation record transcript"] == made
    assert golden["rotation record certificate"] == golden["rotation certificate"]
    lock = decode_certificate(golden["rotation record lock"])
    assert (lock.phase, lock.hash) == (Phase.PREPARE, decode_transcript(made).hash)
    assert decode_frame(golden["rotation record dealing"]).kind is FrameKind.DEALING
    assert decode_frame(golden["rotation record frame"]).kind is FrameKind.VOTE
    change = read_view_change(decode_frame(golden["rotation VIEW_CHANGE"]))
    assert (change.view, change.prepared) == (1, None)
    assert read_proposal(decode_frame(golden["rotation PROPOSAL"])).source == ref_of(source)


def test_a_body_in_the_journal_is_behind_its_name(golden_session: tuple[Cast, dict[str, str]]) -> None:
    """32 bytes of the dealing's name, then the body as it travels."""
    who, _ = golden_session
    room = Room(who.at(0, who.addresses[:1]))
    room.enter(who.addresses[:1])
    room.boundary(room.cast.session)
    records = room.disks[who.addresses[0]].journals[room.cast.session.id]
    body = next(r.body for r in records if r.kind == "body")
    frame = next(decode_frame(r.body) for r in records if r.kind == "dealing")
    header = decode_header(read_dealing(frame).header)
    assert body[:32] == header.name
    assert read_body(header, body[32:]).encode() == body[32:]


if __name__ == "__main__":
    with backends.use("native"):
        FILE.write_text(json.dumps(example()[1], indent=1) + "\n")
