"""What a requester shows: one encoding, and a nonce that names all that it is for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Authorisation, Scope, decode_authorisation
from eigenkms.wire.client_rpc import MAX_AUTHORISATION_BYTES
from eigenkms.wire.codec import MalformedError

SCOPE = Scope(ClusterId(b"\x01" * 32), OperatorAddress(b"\x02" * 20), AppId("0x" + "ab" * 20), b"\x03" * 32)


def test_the_largest_fits_a_request() -> None:
    """Evidence of 60 KiB, under the longest name."""
    largest = Authorisation("m" * 32, b"e" * 60 * 1024)
    assert decode_authorisation(largest.encoded) == largest
    assert len(largest.encoded) <= MAX_AUTHORISATION_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_are_one_authorisation_or_none(data: bytes) -> None:
    """What decodes encodes to the same bytes."""
    try:
        found = decode_authorisation(data)
    except MalformedError:
        return
    assert found.encoded == data


@pytest.mark.parametrize(
    "other",
    [
        replace(SCOPE, cluster=ClusterId(b"\x09" * 32)),
        replace(SCOPE, operator=OperatorAddress(b"\x09" * 20)),
        replace(SCOPE, app_id=AppId("0x" + "AB" * 20)),
        replace(SCOPE, reply_key=b"\x03" * 31),
        replace(SCOPE, app_id=AppId(SCOPE.app_id + "\x03"), reply_key=b"\x03" * 31),
    ],
)
def test_the_nonce_names_everything(other: Scope) -> None:
    """Cluster, operator, application and reply key, and no two of them flow into each other."""
    assert other.nonce != SCOPE.nonce
    assert len(other.nonce) == 64
