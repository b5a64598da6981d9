"""Names on the wire: libp2p protocols, the gossip topic and the methods of each (docs/protocol.md, Frames and Clients)."""

from eigenkms.protocols.codec import MalformedError, decode, encode
from eigenkms.protocols.frames import Frame
from eigenkms.types import ClusterId

CLIENT_PROTOCOL = "/eigenkms/client/1"
"""Open to everybody: ``info``, ``partial``, ``status``, ``evidence``, ``hello``, ``reach``."""
OPERATOR_PROTOCOL = "/eigenkms/operator/1"
"""Operators only: ``frame``, ``sync``, ``settled``, ``ping``, ``canary``."""

INFO, PARTIAL, STATUS, EVIDENCE, HELLO = "info", "partial", "status", "evidence", "hello"
FRAME, SYNC, SETTLED, PING, CANARY = "frame", "sync", "settled", "ping", "canary"
REACH = "reach"

MAX_FRAMES = 4096


def gossip_topic(cluster: ClusterId) -> str:
    """One topic a cluster."""
    return f"/eigenkms/1/{cluster.hex()}"


def encode_frames(frames: list[Frame]) -> bytes:
    """An answer that is a list of frames."""
    return encode([frame.encoded for frame in frames])


def decode_frames(data: bytes) -> list[bytes]:
    """Encoded frames out of such an answer, not decoded yet. Raises ``MalformedError``."""
    value = decode(data, what="list of frames", limit=1 << 20)
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise MalformedError("decode list of frames: not a list of byte strings")
    return value
