"""The bridge from a verb to the network: settings for the client library, and its calls run to their end.

Modules of the network are imported when a call needs them, so that verbs which work offline start fast.
"""

import functools
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from eigenkms.cli.support.output import warn
from eigenkms.config.chain import anchor_config, chain_fields
from eigenkms.config.paths import known_clusters
from eigenkms.config.schema import CHAIN_SETTINGS, READER_SETTINGS
from eigenkms.config.settings import Settings
from eigenkms.errors import InputError
from eigenkms.types import AppId, Cluster, ClusterId, ExactAppId

if TYPE_CHECKING:
    from eigenkms.chain.anchor import AnchorConfig
    from eigenkms.client.anchor_check import AnchorWitnesses
    from eigenkms.client.api import ClientSettings, ClusterInfo
    from eigenkms.client.attesters import Attester
    from eigenkms.client.release_environment import Secrets
    from eigenkms.crypto.ibe_v2 import ApplicationKey
    from eigenkms.protocols.wire.certified_transcript import CertifiedTranscript

T = TypeVar("T")

NETWORK_SETTINGS = (*CHAIN_SETTINGS, "known_clusters", "timeout")


def run(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an asynchronous call to its end. Ctrl-C cancels it, and is KeyboardInterrupt once everything is closed; pressed again, at
    once.
    """
    import trio

    return trio.run(functools.partial(_interruptible, call, *args), strict_exception_groups=True)


async def _interruptible(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """The signal is no exception that may rise anywhere, also where a library has no way to clean up after it. What else goes wrong
    is told as ever.
    """
    import trio

    token, before = trio.lowlevel.current_trio_token(), signal.getsignal(signal.SIGINT)
    with trio.CancelScope() as scope:

        def cancel(_number: int, _frame: object) -> None:
            signal.signal(signal.SIGINT, before)
            token.run_sync_soon(scope.cancel)

        if before != signal.SIG_IGN:
            signal.signal(signal.SIGINT, cancel)
        try:
            return await call(*args)
        finally:
            signal.signal(signal.SIGINT, before)
    raise KeyboardInterrupt


def client_settings(settings: Settings) -> "ClientSettings":
    """What the client library asks for. InputError names what is missing."""
    from eigenkms.client.api import ClientSettings

    return ClientSettings(
        **chain_fields(settings),
        known_clusters_path=known_clusters(settings),
        timeout=settings.get("timeout"),
        anchor=anchor(settings),
    )


def anchor(settings: Settings) -> "AnchorConfig | None":
    """The anchor, if the settings name one. InputError for half of one."""
    return anchor_config(*(settings.get(name) for name in READER_SETTINGS))


def cluster(settings: Settings) -> ClusterId | None:
    """The cluster that ``settings`` name, if they do."""
    from eigenkms.protocols.wire.session import cluster_id

    chain_id, avs = settings.get("chain_id"), settings.get("avs")
    if chain_id is None or avs is None:
        return None
    return cluster_id(Cluster(chain_id, avs, settings.get("operator_set_id")))


def pinned_key(settings: Settings) -> bytes | None:
    """The master public key that this machine has pinned for the cluster in ``settings``, if it has."""
    from eigenkms.client.known_clusters import KnownClusters

    named = cluster(settings)
    return None if named is None else KnownClusters(known_clusters(settings)).get(named)


def fetch_cluster(settings: Settings, progress: Callable[[str], None]) -> "ClusterInfo":
    """The cluster, verified against the chain; pins its key the first time."""
    needed = client_settings(settings)
    from eigenkms.client import api

    return run(api.fetch_cluster, needed, progress)


def fetch_witnessed(
    settings: Settings, anchor: "AnchorConfig | None", progress: Callable[[str], None]
) -> "tuple[ClusterInfo, AnchorWitnesses | None]":
    """As ``fetch_cluster``, and what the anchor says of it, if there is one to ask."""
    if anchor is None:
        return fetch_cluster(settings, progress), None
    needed = client_settings(settings)
    from eigenkms.client import anchor_check

    return run(anchor_check.fetch_witnessed, needed, progress)


def ask_anchor(anchor: "AnchorConfig", named: ClusterId, epoch: "CertifiedTranscript") -> "AnchorWitnesses":
    """What the anchor says of a version that is verified already."""
    from eigenkms.chain.anchor import open_anchor
    from eigenkms.client import anchor_check

    async def ask() -> "AnchorWitnesses":
        async with open_anchor(anchor, named) as opened:
            return await anchor_check.ask_anchor(opened, epoch)

    return run(ask)


def application_key(
    settings: Settings,
    app_id: AppId,
    ciphertext_version: int,
    attester: "Attester | None",
    progress: Callable[[str], None],
) -> "ApplicationKey":
    """The application's key for ciphertexts of this version, by a quorum of partial signatures. All connections are closed
    by then.
    """
    needed = client_settings(settings)
    from eigenkms.client import api

    call = functools.partial(api.fetch_application_key, attester=attester)
    return run(call, needed, app_id, ciphertext_version, progress)


def fetch_secrets(
    settings: Settings, app_id: AppId, attester: "Attester | None", progress: Callable[[str], None]
) -> "Secrets":
    """The environment of the application's release. All connections are closed by then."""
    needed = client_settings(settings)
    from eigenkms.client import api

    return run(api.fetch_secrets, needed, app_id, attester, progress)


def checked_app_id(settings: Settings, *, exact: bool = False) -> AppId:
    """The application id, long enough for the hash, in its canonical spelling unless it is ``exact``. Checked before anything is
    asked of the network.
    """
    from eigenkms.crypto.app_ids import canonical, is_nearly_address
    from eigenkms.crypto.ibe import MIN_APP_ID_BYTES
    from eigenkms.crypto.ibe_identities import app_id_bytes
    from eigenkms.protocols.wire.client_rpc import MAX_APP_ID_BYTES

    app_id: str = settings.require("app_id")
    size = len(app_id_bytes(app_id))
    if size < MIN_APP_ID_BYTES:
        raise InputError(f"read app_id {app_id!r}: it has {size} bytes, fewer than {MIN_APP_ID_BYTES}")
    if size > MAX_APP_ID_BYTES:
        raise InputError(
            f"read app_id: it has {size} bytes, more than the {MAX_APP_ID_BYTES} that operators accept",
            hint="give a shorter application id",
        )
    if is_nearly_address(app_id):
        warn(
            f"application id {app_id!r} is taken as a name: an address is 0x and 40 hex digits, without blanks"
        )
    return canonical(ExactAppId(app_id) if exact else app_id)
