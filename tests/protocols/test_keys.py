"""Encryption keys: what is accepted as one, what a transcript lists, and which of them are kept until when."""

from dataclasses import replace

import pytest

from eigenkms.crypto import pvss
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.keys import needed_numbers, next_keys
from eigenkms.types import OperatorAddress
from eigenkms.wire import key_directory
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import (
    BadSignatureError,
    Frame,
    FrameKind,
    WrongScopeError,
    build_frame,
    verify_frame,
)
from eigenkms.wire.key_directory import BadKeyError, KeyDirectory, check_key_frame, key_slot
from eigenkms.wire.messages import key_body, read_key
from eigenkms.wire.transcript import ListedKey
from tests.protocols.rooms import encryption_key, key_frame, version_of
from tests.protocols.support import Cast, cast


@pytest.fixture
def who() -> Cast:
    return cast(4)


def _listed(who: Cast, owner: OperatorAddress) -> ListedKey:
    return ListedKey(who.session.boundary.number, encryption_key(who, owner).public)


def test_a_published_key_has_the_number_of_its_boundary_block(who: Cast) -> None:
    """So numbers rise, whatever disk is put back."""
    me = who.addresses[0]
    assert check_key_frame(key_frame(who, me), who.session) == _listed(who, me)
    assert check_key_frame(key_frame(who.at(10), me), who.later()).number == 110


@pytest.mark.parametrize(
    "case", ["another owner", "another boundary", "another cluster", "another key", "no point"]
)
def test_a_proof_of_possession_holds_for_one_key_of_one_operator_in_one_session(who: Cast, case: str) -> None:
    """What somebody else proved is no key of mine."""
    me, peer, *_ = who.addresses
    message = read_key(key_frame(who, me))
    sender, session, public = me, who.session, message.public
    if case == "another owner":
        sender = peer
    elif case == "another boundary":
        session = who.later()
    elif case == "another key":
        public = encryption_key(who, peer).public
    elif case == "no point":
        public = b"\xff" * 48
    proof = message.proof
    if case == "another cluster":
        slot = pvss.KeySlot(type(who.session.cluster)(bytes(32)), me, 100)
        proof = pvss.prove_possession(encryption_key(who, me), slot, who.rng)
    frame = who.frame(sender, FrameKind.KEY, key_body(public, proof), session=session)
    with pytest.raises(BadKeyError, match="read key of 0x"):
        check_key_frame(frame, session)
    directory = KeyDirectory(session)
    directory.add(frame)
    assert sender not in directory


def test_a_directory_keeps_the_first_key_of_each(who: Cast) -> None:
    """As it was heard; a second one still convinces where it stands inside another frame."""
    me, peer, *_ = who.addresses
    directory = KeyDirectory(who.session)
    second = key_frame(who, me, encryption_key(who, me, 7))
    directory.add(key_frame(who, me))
    directory.add(second)
    assert directory.get(me) == _listed(who, me)
    assert directory.get(peer) is None
    assert directory.read(second.encoded) == (me, ListedKey(100, encryption_key(who, me, 7).public))
    assert directory.frames(who.addresses) == (key_frame(who, me).encoded,)
    assert not directory.has_all(who.session.recipients)
    for address in who.addresses:
        directory.add(key_frame(who, address))
    assert directory.has_all(who.session.recipients)
    assert directory.frames(reversed(who.addresses)) == tuple(
        key_frame(who, a).encoded for a in who.addresses
    )


def test_a_key_frame_inside_another_frame_convinces_by_itself(who: Cast) -> None:
    """Kind, sender, session and signature are checked; what was read once is not verified again."""
    me, peer, *_ = who.addresses
    directory = KeyDirectory(who.session)
    good = key_frame(who, peer)
    assert directory.read(good.encoded) == directory.read(good.encoded) == (peer, _listed(who, peer))
    assert directory.get(peer) == _listed(who, peer), "it is published, whoever shows it"
    forged = build_frame(
        who.keys[me],
        kind=FrameKind.KEY,
        cluster=who.session.cluster,
        sender=peer,
        session=who.session.id,
        body=good.body,
    )
    stranger = cast(4, seed="other")
    for encoded, error in (
        (b"", MalformedError),
        (who.frame(peer, FrameKind.HASH, [bytes(32)]).encoded, MalformedError),
        (who.frame(peer, FrameKind.KEY, []).encoded, MalformedError),
        (who.frame(peer, FrameKind.KEY, key_body(b"\xff" * 48, bytes(80))).encoded, BadKeyError),
        (key_frame(who.at(10), peer).encoded, WrongScopeError),
        (key_frame(stranger, stranger.addresses[0]).encoded, WrongScopeError),
        (forged.encoded, BadSignatureError),
    ):
        assert issubclass(error, RemoteProtocolError)
        with pytest.raises(error):
            directory.read(encoded)


def test_a_directory_remembers_a_bounded_number_of_frames(who: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader can put other frames into each proposal; good ones and bad ones are verified once while they are few."""
    monkeypatch.setattr(key_directory, "MAX_READ", 3)
    verified: list[bytes] = []

    def verify(frame: Frame, key: bytes) -> None:
        verified.append(frame.encoded)
        verify_frame(frame, key)

    monkeypatch.setattr(key_directory, "verify_frame", verify)
    directory = KeyDirectory(who.session)
    good, owner = key_frame(who, who.addresses[0]), who.addresses[0]
    bad = [replace(good, signature=bytes([n]) * 64).encoded for n in range(1, 4)]
    for shown, times in (
        (good.encoded, 1),
        (bad[0], 2),
        (bad[0], 2),
        (bad[1], 3),
        (bad[2], 4),
        (good.encoded, 5),
    ):
        if shown == good.encoded:
            assert directory.read(shown)[0] == owner
        else:
            with pytest.raises(RemoteProtocolError):
                directory.read(shown)
        assert len(verified) == times


def test_a_transcript_lists_the_fresh_key_or_else_that_of_the_source(who: Cast) -> None:
    """None for one that has neither; at genesis the source is none."""
    me, away, nobody, peer = who.addresses
    source = version_of(who, unlisted=[nobody]).transcript
    now = who.at(10)
    fresh = {a: _listed(now, a) for a in (me, peer)}
    assert next_keys(now.session, source, fresh) == (fresh[me], source.key_of(away), None, fresh[peer])
    assert next_keys(now.session, None, fresh) == (fresh[me], None, None, fresh[peer])


# -- erasing -----------------------------------------------------------------------------------------------------

HELD = frozenset({80, 90, 100, 110})


@pytest.mark.parametrize(
    ("listed", "used", "has_share", "kept"),
    [
        (100, 90, True, {100, 110}),
        (100, 90, False, {90, 100, 110}),
        (90, 90, True, {90, 110}),  # absent in the session: it lists the old one still
        (90, 80, False, {80, 90, 110}),
        (None, None, True, {110}),
        (None, None, False, {110}),  # a leaver, or a newcomer that is left out
        (100, 100, False, {100, 110}),  # a newcomer that is served under its own key of the session
        (70, 60, False, {110}),  # those are gone already
    ],
)
def test_what_a_certified_version_can_still_need_is_kept(
    who: Cast, listed: int | None, used: int | None, has_share: bool, kept: set[int]
) -> None:
    """The listed key, those published above its boundary, and until the share is durable the key that it is encrypted to."""
    me = who.addresses[0]
    version = (
        version_of(who, unlisted=[me]) if listed is None else version_of(who, older={me: listed})
    ).transcript
    assert version.boundary.number == 100
    assert needed_numbers(HELD, me, version, used, has_share=has_share) == kept


def test_a_leaver_needs_the_keys_of_later_sessions_only(who: Cast) -> None:
    """It is no recipient of the version."""
    everybody = cast(5)
    version = version_of(everybody.at(0, everybody.addresses[1:])).transcript
    assert needed_numbers(HELD, everybody.addresses[0], version, None, has_share=False) == {110}


def test_the_slot_of_a_key_is_cluster_operator_and_boundary(who: Cast) -> None:
    me = who.addresses[0]
    assert key_slot(who.session, me) == pvss.KeySlot(who.session.cluster, me, 100)
