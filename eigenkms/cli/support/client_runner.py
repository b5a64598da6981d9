"""Run calls of the client library for a verb, with the settings of the verb.

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
    from eigenkms.client.attesters import Attester
    from eigenkms.client.cluster_info import ClusterInfo
    from eigenkms.client.release_environment import Secrets
    from eigenkms.client.settings import ClientSettings
    from eigenkms.crypto.ibe_v2 import ApplicationKey
    from eigenkms.wire.certified_transcript import CertifiedTranscript

T = TypeVar("T")

NETWORK_SETTINGS = (*CHAIN_SETTINGS, "known_clusters", "timeout")


def run(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an asynchronous call to its end.

    Ctrl-C cancels it, and is raised as KeyboardInterrupt once everything is closed. Pressed again, it ends the process immediately.
    """
    import trio

    return trio.run(functools.partial(_interruptible, call, *args), strict_exception_groups=True)


async def _interruptible(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run the call in a scope that SIGINT cancels.

    An exception raised by a signal could rise anywhere, also where a library cannot clean up after it. Other errors pass unchanged.
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
    """Return the settings of the client library. Raises InputError for a missing one."""
    from eigenkms.client.settings import ClientSettings

    return ClientSettings(
        **chain_fields(settings),
        known_clusters_path=known_clusters(settings),
        timeout=settings.get("timeout"),
        anchor=anchor(settings),
    )


def anchor(settings: Settings) -> "AnchorConfig | None":
    """Return the configured anchor, or None. Raises InputError for half of one."""
    return anchor_config(*(settings.get(name) for name in READER_SETTINGS))


def cluster(settings: Settings) -> ClusterId | None:
    """Return the cluster that ``settings`` name, or None."""
    from eigenkms.wire.session import cluster_id

    chain_id, avs = settings.get("chain_id"), settings.get("avs")
    if chain_id is None or avs is None:
        return None
    return cluster_id(Cluster(chain_id, avs, settings.get("operator_set_id")))


def pinned_key(settings: Settings) -> bytes | None:
    """Return the master public key pinned for the configured cluster, or None."""
    from eigenkms.client.known_clusters import KnownClusters

    named = cluster(settings)
    return None if named is None else KnownClusters(known_clusters(settings)).get(named)


def fetch_cluster(settings: Settings, progress: Callable[[str], None]) -> "ClusterInfo":
    """Fetch the cluster, verified against the chain; pin its key the first time."""
    needed = client_settings(settings)
    from eigenkms.client import one_shot

    return run(one_shot.fetch_cluster, needed, progress)


def fetch_witnessed(
    settings: Settings, anchor: "AnchorConfig | None", progress: Callable[[str], None]
) -> "tuple[ClusterInfo, AnchorWitnesses | None]":
    """Fetch the cluster, and compare it with the anchor if there is one."""
    if anchor is None:
        return fetch_cluster(settings, progress), None
    needed = client_settings(settings)
    from eigenkms.client import anchor_check

    return run(anchor_check.fetch_witnessed, needed, progress)


def check_anchor(anchor: "AnchorConfig", named: ClusterId, epoch: "CertifiedTranscript") -> "AnchorWitnesses":
    """Compare a version that is verified already with the anchor."""
    from eigenkms.chain.anchor import open_anchor
    from eigenkms.client import anchor_check

    async def check() -> "AnchorWitnesses":
        async with open_anchor(anchor, named) as opened:
            return await anchor_check.check_anchor(opened, epoch)

    return run(check)


def application_key(
    settings: Settings,
    app_id: AppId,
    ciphertext_version: int,
    attester: "Attester | None",
    progress: Callable[[str], None],
) -> "ApplicationKey":
    """Recover the application's key for ciphertexts of this version.

    All connections are closed when it returns.
    """
    needed = client_settings(settings)
    from eigenkms.client import one_shot

    call = functools.partial(one_shot.fetch_application_key, attester=attester)
    return run(call, needed, app_id, ciphertext_version, progress)


def fetch_secrets(
    settings: Settings, app_id: AppId, attester: "Attester | None", progress: Callable[[str], None]
) -> "Secrets":
    """Fetch the environment of the application's release.

    All connections are closed when it returns.
    """
    needed = client_settings(settings)
    from eigenkms.client import one_shot

    return run(one_shot.fetch_secrets, needed, app_id, attester, progress)


def checked_app_id(settings: Settings, *, exact: bool = False) -> AppId:
    """Return the application id, checked before any query to the network.

    It is long enough for the hash, and in its canonical spelling unless it is ``exact``.
    """
    from eigenkms.crypto.app_ids import canonical, is_nearly_address
    from eigenkms.crypto.ibe import MIN_APP_ID_BYTES
    from eigenkms.crypto.ibe_identities import app_id_bytes
    from eigenkms.wire.client_rpc import MAX_APP_ID_BYTES

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
