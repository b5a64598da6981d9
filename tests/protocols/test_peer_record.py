"""Peer records: frozen to the byte, read strictly, at most eight short addresses."""

import json
from pathlib import Path
from typing import Any

import pytest

from eigenkms.crypto import bn254
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import (
    NO_SESSION,
    Frame,
    FrameKind,
    build_frame,
    decode_frame,
    verify_frame,
)
from eigenkms.wire.peer_record import (
    MAX_ADDRESS_CHARACTERS,
    MAX_ADDRESSES,
    PeerRecord,
    build_peer_record,
    read_peer_record,
)
from tests.protocols.support import CLUSTER

FILE = Path(__file__).parent / "golden" / "requests.json"
KEY = bn254.KeyPair.from_secret(4711)
OPERATOR = OperatorAddress(b"\x0a" * 20)
PEER = bytes(PeerKey(b"\x01" * 32).peer_id)
HERE = "/ip4/192.0.2.7/tcp/9400"


pytestmark = pytest.mark.usefixtures("real_curves")


def build(addresses: list[str], *, sequence: int = 1) -> Frame:
    return build_peer_record(
        KEY, cluster=CLUSTER, operator=OPERATOR, peer_id=PEER, addresses=addresses, sequence=sequence
    )


def framed(body: list[Any], kind: FrameKind = FrameKind.PEER_RECORD) -> Frame:
    return build_frame(KEY, kind=kind, cluster=CLUSTER, sender=OPERATOR, session=NO_SESSION, body=body)


def test_a_record_of_long_ago_is_read() -> None:
    """Its bytes are frozen by the requests' golden file."""
    frame = decode_frame(bytes.fromhex(json.loads(FILE.read_text())["peer record"]))
    record = read_peer_record(frame)
    assert record.addresses == (HERE, "/dns4/kms.example.org/tcp/9400")
    assert record.sequence == 1_700_000_000_000
    assert (record.operator, frame.session, frame.recipient) == (frame.sender, NO_SESSION, None)


@pytest.mark.parametrize(
    "addresses", [[], [HERE], [HERE, "/dns/kms.example.org/tcp/1"], ["not an address: a string"]]
)
def test_what_is_built_is_read(addresses: list[str]) -> None:
    """Through its encoding, signed by the operator's key; whether an address is one is for the reader to judge."""
    frame = decode_frame(build(addresses, sequence=2**64 - 1).encoded)
    verify_frame(frame, KEY.g2)
    assert read_peer_record(frame) == PeerRecord(OPERATOR, PEER, tuple(addresses), 2**64 - 1)


def test_addresses_beyond_the_eighth_are_left_out() -> None:
    """The first are the ones to dial first."""
    addresses = [f"/ip4/192.0.2.{n}/tcp/1" for n in range(12)]
    assert read_peer_record(build(addresses)).addresses == tuple(addresses[:MAX_ADDRESSES])


WRONG = [
    [],
    [PEER, [HERE]],
    [PEER, [HERE], 1, None],
    [None, [HERE], 1],
    ["text", [HERE], 1],
    [b"", [HERE], 1],
    [b"x", [HERE], 1],
    [b"x" * 65, [HERE], 1],
    [PEER, HERE, 1],
    [PEER, None, 1],
    [PEER, [HERE.encode()], 1],
    [PEER, [None], 1],
    [PEER, [HERE] * (MAX_ADDRESSES + 1), 1],
    [PEER, ["x" * (MAX_ADDRESS_CHARACTERS + 1)], 1],
    [PEER, [HERE], None],
    [PEER, [HERE], "1"],
    [PEER, [HERE], b"\x01"],
]


@pytest.mark.parametrize("body", WRONG)
def test_a_body_that_is_none_is_malformed(body: list[Any]) -> None:
    """Arity, types, lengths and counts."""
    with pytest.raises(MalformedError):
        read_peer_record(framed(body))


def test_a_frame_of_another_kind_is_none() -> None:
    """With the very same body."""
    with pytest.raises(MalformedError, match="a STATEMENT frame"):
        read_peer_record(framed([PEER, [HERE], 1], FrameKind.STATEMENT))


def test_a_record_that_is_too_large_does_not_decode() -> None:
    """Eight addresses of two hundred and fifty-six characters fit; a body that grows beyond four kilobytes does not."""
    full = build(["x" * MAX_ADDRESS_CHARACTERS] * MAX_ADDRESSES)
    assert read_peer_record(decode_frame(full.encoded)).addresses[0] == "x" * MAX_ADDRESS_CHARACTERS
    with pytest.raises(MalformedError, match="more than 4096"):
        decode_frame(framed([PEER, ["x" * 1000] * 5, 1]).encoded)
