"""The same client for plain threads and asyncio programs: a call is a trio loop of its own, and ends with whoever waits for it."""

import asyncio
import importlib
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import eigenkms.client
from eigenkms.applications import AppRelease, ContainerPolicy
from eigenkms.client import api, sync
from eigenkms.client.api import Client, encrypt
from eigenkms.client.attesters import ConfidentialSpaceAttester, EcdsaAttester
from eigenkms.client.ciphertexts import decrypt
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.client.settings import ClientSettings
from eigenkms.client.transport import ClientTransport
from eigenkms.errors import RefusedError
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import OperatorAddress
from eigenkms.wire.authorisation import Scope
from tests.support.attested_network import APP, CREATOR_KEY, DIGEST, Register, guarded
from tests.support.fake_network import CHAIN, CLUSTER, FakeNetwork, make_network, network_client
from tests.support.hosts import patient_host
from tests.support.launcher import launch
from tests.support.token_issuer import APP as TOKEN_APP
from tests.support.waiting import PATIENCE

CREATOR = EcdsaAttester(CREATOR_KEY)
SECRET = b"attack at dawn"


@pytest.fixture
def abroad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClientSettings]:
    """A network with the policy attested, in a loop of its own, and settings for it. Its chain is given to clients as it is."""
    network, register = make_network(), Register()
    register.publish(CREATOR.address, AppRelease(DIGEST, "", ContainerPolicy(), b'{"MODE": "prod"}', b""))
    up, down = threading.Event(), []
    found: list[ClientSettings] = []

    async def live() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            down.append(lambda: token.run_sync_soon(scope.cancel))
            async with (
                guarded(network, register, tmp_path),
                network_client(network, tmp_path / "known") as client,
            ):
                found.append(client._settings)
                up.set()
                await trio.sleep_forever()

    @asynccontextmanager
    async def open_client(settings: ClientSettings) -> AsyncIterator[Client]:
        async with patient_host(PeerKey.generate()) as host:
            transport = ClientTransport(CHAIN, network.chain, host)  # type: ignore[arg-type]
            yield Client(settings, transport, register)

    monkeypatch.setattr(api, "open_client", open_client)
    thread = threading.Thread(target=trio.run, args=(live,))
    thread.start()
    assert up.wait(PATIENCE)
    yield found[0]
    down[0]()
    thread.join(PATIENCE)


@pytest.mark.slow
def test_a_script_encrypts_and_decrypts(abroad: ClientSettings) -> None:
    """The first time the master key is asked for; then it is pinned, and no network is needed."""
    ciphertext = sync.encrypt(abroad, APP, SECRET)
    assert sync.decrypt(abroad, APP, ciphertext, CREATOR) == SECRET
    assert sync.fetch_cluster(abroad).mpk == KnownClusters(abroad.known_clusters_path).get(CLUSTER)
    key = sync.fetch_application_key(abroad, APP, CREATOR)
    assert decrypt(key, sync.encrypt(abroad, APP, SECRET)) == SECRET
    assert dict(sync.fetch_secrets(abroad, APP, CREATOR)) == {"MODE": "prod"}


def test_a_pinned_key_encrypts_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked."""

    async def settings(network: FakeNetwork) -> ClientSettings:
        async with network_client(network, tmp_path / "known") as client:
            return client._settings

    network = make_network()
    found = trio.run(settings, network)
    KnownClusters(found.known_clusters_path).pin(CLUSTER, network.epoch.transcript.mpk)
    monkeypatch.delattr(api, "open_client")
    assert sync.encrypt(found, APP, SECRET)[3] == 2


def test_an_error_is_the_clients_own(abroad: ClientSettings) -> None:
    """Not a group of errors."""
    with pytest.raises(RefusedError, match="no-authorisation"):
        sync.decrypt(abroad, APP, sync.encrypt(abroad, APP, SECRET))


@pytest.mark.slow
def test_an_asyncio_program_calls_it_from_a_thread_and_from_its_own(abroad: ClientSettings) -> None:
    """Its loop goes on meanwhile in the first case, and is whole after the second."""

    async def program() -> list[bytes]:
        ciphertext = await asyncio.to_thread(sync.encrypt, abroad, APP, SECRET)
        calls = [asyncio.to_thread(sync.decrypt, abroad, APP, ciphertext, CREATOR) for _ in range(2)]
        return [*await asyncio.gather(*calls), sync.decrypt(abroad, APP, ciphertext, CREATOR)]

    assert asyncio.run(program()) == [SECRET] * 3


@pytest.mark.slow
def test_threads_do_not_disturb_one_another(abroad: ClientSettings) -> None:
    """Four at once, with one attester."""
    ciphertext = sync.encrypt(abroad, APP, SECRET)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(sync.decrypt, abroad, APP, ciphertext, CREATOR) for _ in range(4)]
        assert [each.result(PATIENCE) for each in done] == [SECRET] * 4


@pytest.mark.slow
async def test_one_launchers_attester_serves_several_loops(tmp_path: Path) -> None:
    """What bounds its requests belongs to each loop."""
    scope = Scope(CLUSTER, OperatorAddress(b"\x07" * 20), APP, b"\x03" * 32)
    async with launch(tmp_path / "tee.sock", TOKEN_APP) as launcher:
        attester = ConfidentialSpaceAttester("gcp", socket=launcher.socket)

        async def many() -> list[str]:
            made: list[str] = []

            async def one() -> None:
                made.append((await attester.attest(scope)).method)

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one)
            return made

        other: list[str] = []

        async def elsewhere() -> None:
            other.extend(await trio.to_thread.run_sync(trio.run, many))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(elsewhere)
            assert await many() == ["gcp"] * 20
        assert other == ["gcp"] * 20


INTERRUPTED = """
import signal, trio
from eigenkms.client import sync

async def call():
    try:
        print("calling", flush=True)
        await trio.sleep_forever()
    finally:
        print("closed", flush=True)

try:
    sync._run(call)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_call_in_order() -> None:
    """Everything is closed before it is raised."""
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "calling\n"
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (out.split(), process.returncode) == (["closed", "interrupted"], 0)


INTERRUPTED_EARLY = (
    """
import threading
start = threading.Thread.start

def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt

threading.Thread.start = interrupted
"""
    + INTERRUPTED
)


@pytest.mark.slow
def test_ctrl_c_while_a_call_begins_ends_it_too() -> None:
    """When its thread runs already and the one that called has not got to waiting yet."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_EARLY],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["interrupted"], done.stderr
    assert done.stdout.split() in (["calling", "closed", "interrupted"], ["interrupted"])
    assert done.returncode == 0


INTERRUPTED_ELSEWHERE = """
import signal, threading, trio
from eigenkms.client import sync

async def call():
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    await trio.sleep_forever()

try:
    sync._run(call)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_that_wakes_no_wait_ends_a_call_too() -> None:
    """A signal that another thread gets leaves the main thread in its wait, as does one that comes just before."""
    words = [sys.executable, "-c", INTERRUPTED_ELSEWHERE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


# -- what is exported --------------------------------------------------------------------------------------------


def test_what_is_exported_is_there() -> None:
    """Each name is its module's own; others are not there."""
    for name in eigenkms.client.__all__:
        found: Any = getattr(eigenkms.client, name)
        home = importlib.import_module(eigenkms.client._HOMES[name])
        assert found is getattr(home, name)
        assert name in dir(eigenkms.client)
    assert eigenkms.client.encrypt is encrypt
    with pytest.raises(AttributeError, match="has no attribute 'moon'"):
        _ = eigenkms.client.moon  # type: ignore[attr-defined]


def test_what_needs_no_network_loads_none() -> None:
    """The package alone, or its ciphertexts, import neither trio nor libp2p."""
    code = "import sys, eigenkms.client.ciphertexts; print({'trio', 'libp2p', 'httpx'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert shown.stdout == "set()\n"
