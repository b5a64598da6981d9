"""Identities: of different versions, kinds, clusters and applications never the same point."""

import hashlib
from itertools import combinations

import pytest

from eigenkms.crypto.bls import hash_to_g1
from eigenkms.crypto.ibe_identities import identity_of, identity_v1, identity_v2
from eigenkms.errors import InputError
from eigenkms.types import ClusterId

CLUSTER = ClusterId(hashlib.sha256(b"a cluster").digest())
OTHER = ClusterId(hashlib.sha256(b"another cluster").digest())


@pytest.mark.usefixtures("backend")
def test_identities_are_frozen() -> None:
    """Messages, tags and points, on every backend: ciphertexts and keys that exist depend on them."""
    assert identity_v1("test-app").message == b"test-app"
    assert identity_v2(CLUSTER, "test-app").message == b"\x01" + CLUSTER + b"test-app"
    assert hash_to_g1(identity_v2(CLUSTER, "test-app")).hex() == POINT


POINT = "8c8247c777648c445469510ec5780191a7bbeb9f9148396f8c7ffe60b986717a80356f3fe9321e1bdb8a8f4c5588ea7d"


def test_no_two_identities_have_one_point() -> None:
    """Not even if an application is called what another version hashes."""
    named_alike = identity_v2(CLUSTER, "my-app").message.decode("latin-1")
    identities = [
        identity_v1("my-app"),
        identity_v1("my-app2"),
        identity_v1(named_alike),
        identity_v2(CLUSTER, "my-app"),
        identity_v2(CLUSTER, "my-app2"),
        identity_v2(OTHER, "my-app"),
    ]
    assert all(hash_to_g1(a) != hash_to_g1(b) for a, b in combinations(identities, 2))
    assert identity_of(1, CLUSTER, "my-app") == identities[0]
    assert identity_of(2, CLUSTER, "my-app") == identities[3]


def test_what_is_no_identity() -> None:
    """Text without a UTF-8 form, a cluster id of another length, a version that there is not."""
    for identity in (identity_v1, lambda name: identity_v2(CLUSTER, name)):
        with pytest.raises(InputError, match="UTF-8"):
            identity("broken \ud800 text")
    with pytest.raises(ValueError, match="32 bytes"):
        identity_v2(ClusterId(bytes(31)), "my-app")
    for version in (0, 3):
        with pytest.raises(ValueError, match="version"):
            identity_of(version, CLUSTER, "my-app")
