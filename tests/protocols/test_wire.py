"""Lists of frames as they travel in answers, and the topic of a cluster."""

import pytest

from eigenkms.types import ClusterId
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.frames import FrameKind
from eigenkms.wire.rpc_methods import decode_frames, encode_frames, gossip_topic
from tests.protocols.support import CLUSTER, cast


def test_a_list_of_frames_is_their_bytes() -> None:
    """In order, each as it was signed; a receiver decodes them one by one."""
    who = cast(2)
    frames = [who.frame(a, FrameKind.SYNC, [b""]) for a in who.addresses]
    assert decode_frames(encode_frames(frames)) == [f.encoded for f in frames]
    assert decode_frames(encode_frames([])) == []


@pytest.mark.parametrize("value", [b"", [0], [b"frame", None], [[b"frame"]], "frames", None])
def test_what_is_no_list_of_byte_strings_is_malformed(value: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(MalformedError, match="list of frames"):
        decode_frames(encode(value))
    with pytest.raises(MalformedError):
        decode_frames(encode([]) + b"\x00")


def test_each_cluster_has_its_topic() -> None:
    """Named by its id."""
    assert gossip_topic(CLUSTER) == f"/eigenkms/2/{CLUSTER.hex()}"
    assert gossip_topic(ClusterId(bytes(32))) != gossip_topic(CLUSTER)
