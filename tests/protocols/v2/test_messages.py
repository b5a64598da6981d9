"""Bodies of protocol 2: what is built is read back, in the slot of what is said once; what is nearly right is refused."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from eigenkms.protocols.frames import SIZE_LIMITS, Frame, Kind, decode_frame
from eigenkms.protocols.session import MAX_OPERATORS, MAX_THRESHOLD
from eigenkms.protocols.v2.dealing_header import MAX_HEADER_BYTES, DealingHeader
from eigenkms.protocols.v2.messages import (
    GENESIS,
    SourceRef,
    dealing_body,
    key_body,
    read_dealing,
    read_key,
    read_proposal,
    read_view_change,
)
from eigenkms.protocols.votes import Certificate, Phase
from tests.protocols.support import Cast, cast

PUBLIC, PROOF = b"\x01" * 48, b"\x02" * 80
SOURCE = SourceRef(7, b"\x07" * 32)


@pytest.fixture
def who() -> Cast:
    return cast(4)


@pytest.fixture
def certificate(who: Cast) -> Certificate:
    return Certificate(who.session.id, 3, Phase.PREPARE, b"\x05" * 32, b"\xe0", bytes(64))


def test_the_dealing_of_the_largest_genesis_fits_its_frame() -> None:
    """256 operators, all of them newcomers, each with a key frame of the usual size."""
    who = cast(1)
    me, number = who.addresses[0], 2**64 - 1
    frame = who.frame(me, Kind.KEY, key_body(PUBLIC, PROOF)).encoded
    header = DealingHeader(
        who.session.id,
        me,
        0,
        bytes(32),
        (frame,) * MAX_OPERATORS,
        (bytes(96),) * MAX_THRESHOLD,
        (number,) * MAX_OPERATORS,
        *(bytes(32),) * 3,
    )
    encoded = who.frame(me, Kind.DEALING, dealing_body(GENESIS, header.encoded)).encoded
    assert read_dealing(decode_frame(encoded)).header == header.encoded
    assert SIZE_LIMITS[Kind.DEALING] >= MAX_HEADER_BYTES + 512


_READERS: dict[Kind, Callable[[Frame], object]] = {
    Kind.KEY: read_key,
    Kind.DEALING: read_dealing,
    Kind.PROPOSAL: read_proposal,
    Kind.VIEW_CHANGE: read_view_change,
}
_leaves = (
    st.none()
    | st.integers(0, 2**64 - 1)
    | st.sampled_from([PUBLIC, PROOF, bytes(32)])
    | st.binary(max_size=40)
)
_bodies = st.lists(_leaves | st.lists(_leaves, max_size=4), max_size=6)
