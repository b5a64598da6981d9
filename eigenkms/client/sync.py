"""The client for programs that are not asynchronous, or that run on asyncio.

Each call has a trio loop in a thread of its own, and its caller waits (docs/library.md, Without trio). The thread of the caller,
and whatever it runs, is not disturbed. Ctrl-C, or any other end of the wait, ends the call and is raised once all connections are
closed.

>>> settings = ClientSettings(…)
>>> ciphertext = encrypt(settings, AppId("0x…"), b"attack at dawn")
>>> decrypt(settings, AppId("0x…"), ciphertext, EcdsaAttester(key))
b'attack at dawn'

From asyncio: ``await asyncio.to_thread(decrypt, …)``. Each call opens its connections. A program that decrypts often keeps the key
(``fetch_application_key``, ``client.ciphertexts``), or uses ``open_client``.
"""

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

from eigenkms.client import ciphertexts, one_shot
from eigenkms.client.attesters import Attester
from eigenkms.client.ciphertexts import NEWEST
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.release_environment import Secrets
from eigenkms.client.settings import ClientSettings
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.types import AppId
from eigenkms.wire.session import cluster_id

START_SECONDS: Final = 10.0
"""After which a call that was interrupted at its very beginning is taken for one that never began."""
_STEP_SECONDS: Final = 0.5

T = TypeVar("T")


def encrypt(settings: ClientSettings, app_id: AppId, plaintext: bytes, version: int = NEWEST) -> bytes:
    """Encrypt to an application.

    If the master public key is not pinned so far, it is fetched from the network and pinned. Errors as ``fetch_cluster`` and
    ``ciphertexts.encrypt``.
    """
    cluster = cluster_id(settings.cluster)
    mpk = KnownClusters(settings.known_clusters_path).get(cluster) or fetch_cluster(settings).mpk
    return ciphertexts.encrypt(Recipient(app_id, cluster, mpk), plaintext, version)


def decrypt(
    settings: ClientSettings, app_id: AppId, ciphertext: bytes, attester: Attester | None = None
) -> bytes:
    """Call ``Client.decrypt``."""
    return _run(partial(one_shot.decrypt, settings, app_id, ciphertext, attester=attester))


def fetch_secrets(settings: ClientSettings, app_id: AppId, attester: Attester | None = None) -> Secrets:
    """Call ``Client.fetch_secrets``."""
    return _run(partial(one_shot.fetch_secrets, settings, app_id, attester))


def fetch_cluster(settings: ClientSettings) -> ClusterInfo:
    """Call ``Client.fetch``."""
    return _run(partial(one_shot.fetch_cluster, settings))


def fetch_application_key(
    settings: ClientSettings,
    app_id: AppId,
    attester: Attester | None = None,
    ciphertext_version: int = NEWEST,
) -> ApplicationKey:
    """Call ``Client.application_key``."""
    return _run(
        partial(one_shot.fetch_application_key, settings, app_id, ciphertext_version, attester=attester)
    )


def _run(call: Callable[[], Awaitable[T]]) -> T:
    stop: Future[Callable[[], None]] = Future()
    outcome: Future[T] = Future()

    async def main() -> T:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.set_result(partial(token.run_sync_soon, scope.cancel))
            return await call()
        raise KeyboardInterrupt  # nobody waits for it any more

    def work() -> None:
        try:
            result = trio.run(main, strict_exception_groups=True)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that called
            stop.cancel()  # if it never began
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    thread = threading.Thread(target=work, name="eigenkms client", daemon=True)
    try:
        thread.start()  # may be interrupted when the thread is running already
        _await(outcome)  # not the thread: joining it, once interrupted, does not wait again
    except BaseException:
        with suppress(TimeoutError, CancelledError):
            end = stop.result(START_SECONDS)
            with suppress(trio.RunFinishedError):
                end()
            _await(outcome)
        raise
    return outcome.result()


def _await(outcome: "Future[T]") -> None:
    """Wait until a call has ended, in short steps.

    A signal does not end a wait if it arrives just before the wait or in another thread; Python handles it after a step.
    """
    while not wait([outcome], _STEP_SECONDS).done:
        pass
