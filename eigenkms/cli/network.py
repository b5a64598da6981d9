"""The bridge from a verb to the network: settings for the client library, and its calls run to their end.

Modules of the network are imported when a call needs them, so that verbs which work offline start fast.
"""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eigenkms.errors import InputError
from eigenkms.node.config import CHAIN_SETTINGS
from eigenkms.node.settings import Settings

NETWORK_SETTINGS = (*CHAIN_SETTINGS, "known_clusters", "timeout")


def _client() -> Any:
    return importlib.import_module("eigenkms.client.api")


def client_settings(settings: Settings) -> Any:
    """``eigenkms.client.api.ClientSettings``. InputError names what is missing."""
    return _client().ClientSettings(
        rpc_url=settings.require("rpc_url"),
        chain_id=settings.require("chain_id"),
        avs=settings.require("avs"),
        operator_set_id=settings.get("operator_set_id"),
        allocation_manager=settings.require("allocation_manager"),
        key_registrar=settings.require("key_registrar"),
        finality=settings.get("finality") or _default_finality(),
        known_clusters_path=settings.get("known_clusters") or Path.home() / ".eigenkms" / "known_clusters",
        timeout=settings.get("timeout"),
    )


def _default_finality() -> Any:
    from eigenkms.chain.config import Finality

    return Finality.parse("finalized")


def run(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run an asynchronous call to its end."""
    import trio

    return trio.run(functools.partial(call, *args, **kwargs))


def fetch_cluster(settings: Settings) -> Any:
    """The verified state of the cluster: ``eigenkms.client.api.ClusterInfo``."""
    return run(_client().fetch_cluster, client_settings(settings))


def decrypt(settings: Settings, app_id: str, ciphertext: bytes, progress: Callable[[str], None]) -> bytes:
    plaintext: bytes = run(_client().decrypt, client_settings(settings), app_id, ciphertext, progress)
    return plaintext


def checked_app_id(settings: Settings) -> str:
    """The application id, long enough for the hash. Checked before anything is asked of the network."""
    from eigenkms.crypto.ibe import MIN_APP_ID_BYTES

    app_id: str = settings.require("app_id")
    try:
        size = len(app_id.encode())
    except UnicodeEncodeError as error:
        raise InputError("read app_id: it has no UTF-8 form") from error
    if size < MIN_APP_ID_BYTES:
        raise InputError(f"read app_id {app_id!r}: it has {size} bytes, fewer than {MIN_APP_ID_BYTES}")
    return app_id
