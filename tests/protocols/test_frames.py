"""Frames: strict bytes, then scope, then signature; each refusal names its reason and none costs more than it must."""

import pytest

from eigenkms.crypto import bn254
from eigenkms.types import ClusterId, OperatorAddress, SessionId
from eigenkms.wire.codec import MAX_FRAME_BYTES, MalformedError, encode
from eigenkms.wire.frames import (
    BROADCAST_KINDS,
    SIZE_LIMITS,
    BadSignatureError,
    Frame,
    FrameKind,
    WrongScopeError,
    build_frame,
    decode_frame,
    verify_frame,
    verify_frames,
)
from tests.protocols.support import Cast, cast
from tests.support.randomness import counter_rng


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def frame(who: Cast) -> Frame:
    return who.frame(who.addresses[0], FrameKind.HASH, [bytes(32)])


def _payload(who: Cast, **changes: object) -> list[object]:
    fields = {
        "version": 2,
        "kind": 1,
        "cluster": who.session.cluster,
        "sender": who.addresses[0],
        "recipient": None,
        "session": who.session.id,
        "body": [bytes(32)],
    }
    return list({**fields, **changes}.values())


def test_a_frame_survives_the_wire(frame: Frame) -> None:
    """Decoding what was encoded gives an equal frame with the same key and bytes."""
    again = decode_frame(frame.encoded)
    assert again == frame
    assert (again.encoded, again.key, again.digest) == (frame.encoded, frame.key, frame.digest)
    assert repr(again).startswith("<Frame HASH from 0x")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 1}, "decode HASH frame: version 1, not 2"),
        ({"kind": FrameKind.STATEMENT}, "decode STATEMENT frame: version 2, not 1"),
        ({"version": "1"}, "number"),
        ({"kind": 0}, "unknown kind 0"),
        ({"kind": 3}, "unknown kind 3"),
        ({"kind": 2**16}, "number"),
        ({"cluster": bytes(31)}, "32 bytes"),
        ({"sender": bytes(21)}, "20 bytes"),
        ({"recipient": b""}, "20 bytes or nil"),
        ({"session": None}, "32 bytes"),
        ({"body": b"x"}, "list"),
        ({"body": [True]}, "bool"),
        ({"body": [{}]}, "dict"),
    ],
)
def test_a_payload_of_another_shape_is_refused(who: Cast, changes: dict[str, object], why: str) -> None:
    """Version, kind, lengths and types are exact."""
    with pytest.raises(MalformedError, match=why):
        decode_frame(encode([encode(_payload(who, **changes)), bytes(64)]))


def test_other_outer_shapes_are_refused(who: Cast, frame: Frame) -> None:
    """Cut, longer, wrapped once more, a short signature, a payload that is no payload."""
    payload = encode(_payload(who))
    data = frame.encoded
    wrong = [
        b"",
        data[:-1],
        data + b"\x00",
        encode([data]),
        encode([payload]),
        encode([payload, bytes(63)]),
        encode([payload, bytes(64), 0]),
        encode([payload + b"\x00", bytes(64)]),
        encode([b"", bytes(64)]),
        encode([encode(_payload(who)[:-1]), bytes(64)]),
        encode([encode([*_payload(who), 0]), bytes(64)]),
        b"\xdc\x00\x02" + data[1:],  # the same list, its length written longer
    ]
    for item in wrong:
        with pytest.raises(MalformedError):
            decode_frame(item)


@pytest.mark.parametrize("kind", FrameKind)
def test_each_kind_has_its_size(who: Cast, kind: FrameKind) -> None:
    """The largest frame of a kind passes; one byte more does not."""
    sender = who.addresses[0]
    empty = who.frame(sender, kind, [b"x" * 300])
    room = SIZE_LIMITS[kind] - len(empty.encoded) + 300
    for extra in range(-8, 9):
        frame = who.frame(sender, kind, [bytes(room + extra)])
        if len(frame.encoded) <= SIZE_LIMITS[kind]:
            assert decode_frame(frame.encoded).kind is kind
        else:
            with pytest.raises(MalformedError, match="more than"):
                decode_frame(frame.encoded)
    assert SIZE_LIMITS[kind] <= MAX_FRAME_BYTES
    assert kind not in BROADCAST_KINDS or kind <= FrameKind.CERTIFICATE or kind is FrameKind.KEY


def test_scope_is_cluster_sender_recipient_session_in_this_order(who: Cast) -> None:
    """A frame that is wrong in everything is refused for its cluster first, and so on."""
    me, peer, other, _ = who.addresses
    stranger = OperatorAddress(bytes(20))
    wrong = {
        "cluster": ClusterId(bytes(32)),
        "sender": stranger,
        "recipient": other,
        "session": SessionId(bytes(32)),
    }
    right = {"cluster": who.session.cluster, "sender": peer, "recipient": me, "session": who.session.id}
    fields = dict(wrong)
    for name, why in (
        ("cluster", "another cluster"),
        ("sender", "not an operator here"),
        ("recipient", "for recipient 0x"),
        ("session", "for session"),
    ):
        with pytest.raises(WrongScopeError, match=why):
            _check(who, me, fields)
        fields[name] = right[name]
    _check(who, me, fields)
    _check(who, me, {**fields, "recipient": None})


def _check(who: Cast, me: OperatorAddress, fields: dict[str, bytes]) -> None:
    key = bn254.KeyPair.generate(who.rng)
    frame = build_frame(key, kind=FrameKind.HASH, body=[bytes(32)], **fields)  # type: ignore[arg-type]
    frame.check_scope(
        cluster=who.session.cluster, me=me, members=who.session.recipients, session=who.session.id
    )


def test_only_the_senders_signature_counts(who: Cast, frame: Frame) -> None:
    """Another operator's signature, another payload's, none and nonsense are refused; in a batch the bad ones are named."""
    me, peer, *_ = who.addresses
    verify_frame(frame, who.keys[me].g2)
    other = who.frame(peer, FrameKind.HASH, [bytes(32)])
    forged = [
        decode_frame(encode([frame.payload, signature]))
        for signature in (
            other.signature,
            bytes(64),
            b"\xff" * 64,
            who.frame(me, FrameKind.HASH, [b"x" * 32]).signature,
        )
    ]
    for bad in forged:
        with pytest.raises(BadSignatureError, match="HASH frame of 0x"):
            verify_frame(bad, who.keys[me].g2)
    frames = [frame, forged[0], other, forged[2]]
    keys = [who.keys[f.sender].g2 for f in frames]
    assert verify_frames(frames, keys, counter_rng("batch")) == (1, 3)
    assert verify_frames([], [], counter_rng("batch")) == ()


def test_a_frame_of_another_cluster_or_session_does_not_verify_here(who: Cast, frame: Frame) -> None:
    """Cluster, session and recipient are under the signature: a frame cannot be moved."""
    me = who.addresses[0]
    for changes in (
        {"cluster": bytes(32)},
        {"session": bytes(32)},
        {"recipient": who.addresses[1]},
        {"kind": 2},
    ):
        moved = decode_frame(encode([encode(_payload(who, **changes)), frame.signature]))
        with pytest.raises(BadSignatureError):
            verify_frame(moved, who.keys[me].g2)
