"""The library for programs: find a cluster, encrypt, decrypt, fetch secrets.

docs/library.md shows how to use it.

Each name is loaded from its module at its first use, so that the parts without a network start without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eigenkms.chain.config import Finality as Finality
    from eigenkms.client.api import Client as Client
    from eigenkms.client.api import encrypt as encrypt
    from eigenkms.client.api import encrypt_stream as encrypt_stream
    from eigenkms.client.api import open_client as open_client
    from eigenkms.client.attesters import Attester as Attester
    from eigenkms.client.attesters import ConfidentialSpaceAttester as ConfidentialSpaceAttester
    from eigenkms.client.attesters import EcdsaAttester as EcdsaAttester
    from eigenkms.client.ciphertexts import decrypt_stream as decrypt_stream
    from eigenkms.client.cluster_info import ClusterInfo as ClusterInfo
    from eigenkms.client.errors import AttesterError as AttesterError
    from eigenkms.client.errors import KeyChangedError as KeyChangedError
    from eigenkms.client.errors import NoVersionError as NoVersionError
    from eigenkms.client.errors import QuorumError as QuorumError
    from eigenkms.client.release_environment import Secrets as Secrets
    from eigenkms.client.settings import ClientSettings as ClientSettings
    from eigenkms.types import AppId as AppId
    from eigenkms.types import ExactAppId as ExactAppId
    from eigenkms.wire.authorisation import Authorisation as Authorisation
    from eigenkms.wire.authorisation import Scope as Scope

_PLACES = {
    "eigenkms.chain.config": ("Finality",),
    "eigenkms.client.api": (
        "Client",
        "encrypt",
        "encrypt_stream",
        "open_client",
    ),
    "eigenkms.client.attesters": ("Attester", "ConfidentialSpaceAttester", "EcdsaAttester"),
    "eigenkms.client.ciphertexts": ("decrypt_stream",),
    "eigenkms.client.cluster_info": ("ClusterInfo",),
    "eigenkms.client.release_environment": ("Secrets",),
    "eigenkms.client.settings": ("ClientSettings",),
    "eigenkms.client.errors": ("AttesterError", "KeyChangedError", "NoVersionError", "QuorumError"),
    "eigenkms.wire.authorisation": ("Authorisation", "Scope"),
    "eigenkms.types": ("AppId", "ExactAppId"),
}
_HOMES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = tuple(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
