"""Identities of the IBE: an application's key is the signature of its identity.

Each version of ciphertexts has identities of its own, hashed to G1 by RFC 9380 (suite ``BLS12381G1_XMD:SHA-256_SSWU_RO_``)
under its own tag, so that no key of one version is ever a key of another, whatever applications are called:

    version   message                                    tag
    1         app id                                     BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_
    2         kind (1 byte) ‖ cluster (32) ‖ app id      EIGENKMS-V02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_
    canary    2 ‖ cluster (32) ‖ nonce (32)              the same; no ciphertext has this kind, so its key opens none

An application id is its UTF-8 bytes exactly as given: the caller has chosen the spelling (``app_ids``). Other implementations have
version 1; its identities name no cluster.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from eigenkms.errors import InputError
from eigenkms.types import ClusterId

DST: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
DST_V2: Final = b"EIGENKMS-V02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"
VERSIONS: Final = (1, 2)
CLUSTER_SIZE: Final = 32
_CANARY: Final = 2
"""In the place of an ``IdentityKind``, and none of them: operators use it for probes among themselves."""


class IdentityKind(IntEnum):
    """The kind of name in an identity of version 2."""

    APPLICATION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """``message``, to be hashed to G1 under the tag ``dst``."""

    message: bytes
    dst: bytes


def app_id_bytes(app_id: str) -> bytes:
    """Return the UTF-8 form exactly as given: no normalisation, no case folding.

    Raises InputError for text that has no UTF-8 form.
    """
    try:
        return app_id.encode()
    except UnicodeEncodeError:
        raise InputError("read application id: it holds a character that has no UTF-8 form") from None


def identity_v1(app_id: str) -> Identity:
    """Return the identity of an application in any cluster.

    Raises InputError as ``app_id_bytes``.
    """
    return Identity(app_id_bytes(app_id), DST)


def identity_v2(cluster: ClusterId, app_id: str, kind: IdentityKind = IdentityKind.APPLICATION) -> Identity:
    """Return the identity of an application of one cluster.

    Raises InputError as ``app_id_bytes``, and ValueError for a cluster id that is not 32 bytes.
    """
    if len(cluster) != CLUSTER_SIZE:
        raise ValueError("a cluster id has 32 bytes")
    return Identity(bytes([kind]) + cluster + app_id_bytes(app_id), DST_V2)


def canary_identity(cluster: ClusterId, nonce: bytes) -> Identity:
    """Return the identity with which operators probe the master key.

    It has 32 random bytes, and is never an application's. Raises ValueError for other sizes.
    """
    if len(cluster) != CLUSTER_SIZE or len(nonce) != 32:
        raise ValueError("a cluster id and a nonce have 32 bytes each")
    return Identity(bytes([_CANARY]) + cluster + nonce, DST_V2)


def identity_of(version: int, cluster: ClusterId, app_id: str) -> Identity:
    """Return the identity that ciphertexts of a version are encrypted to.

    Raises ValueError for an unknown version.
    """
    if version not in VERSIONS:
        raise ValueError(f"no ciphertext version {version}")
    return identity_v1(app_id) if version == 1 else identity_v2(cluster, app_id)
