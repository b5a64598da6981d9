"""The client for programs that are not asynchronous, or that run on asyncio (docs/library.md, Without trio).

Each call has a trio loop of its own, in a thread of its own, and its caller waits: whatever the thread it is called from runs is
not disturbed. Ctrl-C, or whatever else ends the waiting, ends the call and is raised once all connections are closed.

>>> settings = ClientSettings(…)
>>> ciphertext = encrypt(settings, AppId("0x…"), b"attack at dawn")
>>> decrypt(settings, AppId("0x…"), ciphertext, EcdsaAttester(key))
b'attack at dawn'

From asyncio: ``await asyncio.to_thread(decrypt, …)``. A call connects anew; whoever decrypts often keeps the key
(``fetch_application_key``, ``client.ciphertexts``), or uses ``open_client``.
"""

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

from eigenkms.client import api, ciphertexts
from eigenkms.client.api import ClientSettings, ClusterInfo
from eigenkms.client.attesters import Attester
from eigenkms.client.ciphertexts import NEWEST
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.release_environment import Secrets
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.protocols.wire.session import cluster_id
from eigenkms.types import AppId

START_SECONDS: Final = 10.0
"""After which a call that was interrupted at its very beginning is taken for one that never began."""
_STEP_SECONDS: Final = 0.5

T = TypeVar("T")


def encrypt(settings: ClientSettings, app_id: AppId, plaintext: bytes, version: int = NEWEST) -> bytes:
    """Encrypt to an application. Asks the network for the master public key if it is not pinned yet, and then pins it.

    Errors as ``fetch_cluster`` and ``ciphertexts.encrypt``.
    """
    cluster = cluster_id(settings.cluster)
    mpk = KnownClusters(settings.known_clusters_path).get(cluster) or fetch_cluster(settings).mpk
    return ciphertexts.encrypt(Recipient(app_id, cluster, mpk), plaintext, version)


def decrypt(
    settings: ClientSettings, app_id: AppId, ciphertext: bytes, attester: Attester | None = None
) -> bytes:
    """``Client.decrypt``."""
    return _run(partial(api.decrypt, settings, app_id, ciphertext, attester=attester))


def fetch_secrets(settings: ClientSettings, app_id: AppId, attester: Attester | None = None) -> Secrets:
    """``Client.fetch_secrets``."""
    return _run(partial(api.fetch_secrets, settings, app_id, attester))


def fetch_cluster(settings: ClientSettings) -> ClusterInfo:
    """``Client.fetch``."""
    return _run(partial(api.fetch_cluster, settings))


def fetch_application_key(
    settings: ClientSettings,
    app_id: AppId,
    attester: Attester | None = None,
    ciphertext_version: int = NEWEST,
) -> ApplicationKey:
    """``Client.application_key``."""
    return _run(partial(api.fetch_application_key, settings, app_id, ciphertext_version, attester=attester))


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
