"""Whatever a stranger sends, a decoder reads it in the one way that its encoder writes, or says that it is malformed."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import bn254
from eigenkms.protocols.records.evidence_bundle import decode_bundle, decode_bundles
from eigenkms.types import AppId, ClusterId, OperatorAddress, SessionId
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Authorisation, decode_authorisation
from eigenkms.wire.client_rpc import (
    PartialRequest,
    decode_evidence_page,
    decode_evidence_request,
    decode_info,
    decode_info_request,
    decode_partial_request,
    encode_evidence_request,
    encode_info_request,
)
from eigenkms.wire.codec import MalformedError, encode
from eigenkms.wire.frames import FrameKind, build_frame, decode_frame
from eigenkms.wire.peer_record import read_peer_record
from eigenkms.wire.session import decode_session
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import decode_certificate

Decoder = Callable[[bytes], Any]

CLUSTER = ClusterId(b"\xc1" * 32)
FRAME = build_frame(
    bn254.KeyPair.from_secret(7),
    kind=FrameKind.VOTE,
    cluster=CLUSTER,
    sender=OperatorAddress(b"\x0a" * 20),
    session=SessionId(bytes(32)),
    body=[0, 1, bytes(32), bytes(64)],
)
REQUEST = PartialRequest(
    CLUSTER, AppId("my-app"), 2, bytes(32), bytes(32), bytes(32), Authorisation("gcp", b"a.b.c").encoded
)
WRITTEN: dict[str, tuple[Decoder, Callable[[Any], bytes], bytes]] = {
    "frame": (decode_frame, lambda found: found.encoded, FRAME.encoded),
    "partial": (decode_partial_request, lambda found: found.encoded, REQUEST.encoded),
    "info": (
        decode_info_request,
        lambda found: encode_info_request(*found),
        encode_info_request(CLUSTER, bytes(32)),
    ),
    "evidence": (
        decode_evidence_request,
        lambda found: encode_evidence_request(*found),
        encode_evidence_request(CLUSTER, 7),
    ),
    "authorisation": (
        decode_authorisation,
        lambda found: found.encoded,
        Authorisation("ecdsa", b"x" * 99).encoded,
    ),
    "frames": (rpc_methods.decode_frames, encode, encode([FRAME.encoded, FRAME.encoded])),
}
"""Of what strangers send: decoder, encoder, a good one."""
READ: dict[str, Decoder] = {
    "info answer": decode_info,
    "head": rpc_methods.decode_head,
    "row": rpc_methods.decode_row,
    "push": rpc_methods.decode_push,
    "evidence answer": lambda data: decode_evidence_page(data, 0),
    "evidence": decode_bundles,
    "bundle": decode_bundle,
    "transcript": decode_transcript,
    "certificate": decode_certificate,
    "session": decode_session,
    "peer record": lambda data: read_peer_record(decode_frame(data)),
}
"""Other decoders of what comes from the network."""

FEW = settings(max_examples=60, derandomize=True)
leaves = (
    st.none()
    | st.integers(0, 2**64 - 1)
    | st.sampled_from([bytes(n) for n in (20, 32, 48, 64, 96, 128)])
    | st.binary(max_size=40)
    | st.text(max_size=20)
)
values = st.lists(
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=8), min_size=1, max_size=11
)
anything = st.binary(max_size=300) | values.map(encode)


def read_or_refused(decode: Decoder, data: bytes) -> Any:
    """What is decoded, or None if it is malformed; every other error is raised."""
    try:
        return decode(data)
    except MalformedError:
        return None


@pytest.mark.parametrize("name", WRITTEN)
@given(data=anything)
@FEW
def test_anything_is_read_in_one_way_or_malformed(name: str, data: bytes) -> None:
    """Random bytes, and canonical lists of the allowed types."""
    decode, encode_again, good = WRITTEN[name]
    assert encode_again(decode(good)) == good
    found = read_or_refused(decode, data)
    assert found is None or encode_again(found) == data


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
@given(data=anything)
@FEW
def test_anything_is_read_or_malformed(name: str, data: bytes) -> None:
    """And nothing else is raised."""
    read_or_refused(READ[name], data)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_mutation_is_read_in_one_way_or_malformed(name: str) -> None:
    """A good one with bytes changed, cut out, repeated or put in; of two thousand, some are still read."""
    decode, encode_again, good = WRITTEN[name]
    chance, still_read = random.Random(f"fuzz {name}"), 0
    for _ in range(2000):
        mutated = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            at, length = chance.randrange(len(mutated) + 1), chance.randint(0, 4)
            mutated[at : at + chance.choice((0, length))] = chance.randbytes(length)
        found = read_or_refused(decode, bytes(mutated))
        assert found is None or encode_again(found) == bytes(mutated)
        still_read += found is not None
    assert still_read
