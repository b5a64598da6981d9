"""The client that never pauses counts truthfully: successes with their latency and version, failures with their reason."""

import math
from collections.abc import Callable

import pytest
import trio

from eigenkms.client.api import ClusterInfo
from eigenkms.client.ciphertexts import decrypt
from eigenkms.client.errors import QuorumError
from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import identity_v2
from eigenkms.crypto.ibe_v2 import ApplicationKey
from eigenkms.devnet.load_generator import LatencyStats, LoadGenerator
from eigenkms.types import AppId, Version
from tests.support.fake_network import CLUSTER, FakeNetwork, make_network

Answer = Callable[[bytes], bytes]


def truth(plaintext: bytes) -> bytes:
    return plaintext


def lie(plaintext: bytes) -> bytes:
    return bytes(len(plaintext))


def failure(_plaintext: bytes) -> bytes:
    raise QuorumError("collect partial signatures: 2 of 4 operators gave one, 3 needed")


class Oracle:
    """Knows the master secret; answers as it was told, and then not any more."""

    def __init__(self, network: FakeNetwork, answers: list[Answer]) -> None:
        self._network = network
        self._answers = list(answers)
        self.version: Version | None = None
        self.done = trio.Event()
        self.plaintexts: list[bytes] = []

    async def decrypt(self, app_id: AppId, ciphertext: bytes) -> bytes:
        if not self._answers:
            self.done.set()
            await trio.sleep_forever()
        self.version = Version(100 + len(self.plaintexts))
        owner = ClusterInfo(CLUSTER, self._network.epoch).recipient(app_id)
        key = ApplicationKey(owner, bls.partial_sign(self._network.secret, identity_v2(CLUSTER, app_id)))
        self.plaintexts.append(decrypt(key, ciphertext))
        return self._answers.pop(0)(self.plaintexts[-1])


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


async def counted(network: FakeNetwork, *answers: Answer) -> tuple[LoadGenerator, Oracle]:
    """A client that got these answers, one after another."""
    oracle = Oracle(network, list(answers))
    client = LoadGenerator(oracle, ClusterInfo(CLUSTER, network.epoch))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await oracle.done.wait()
        nursery.cancel_scope.cancel()
    return client, oracle


async def test_each_secret_is_a_fresh_one(network: FakeNetwork, autojump_clock: trio.abc.Clock) -> None:
    """And each success is counted under the version that served it."""
    client, oracle = await counted(network, truth, truth, truth)
    assert len(set(oracle.plaintexts)) == 3
    assert (client.total.succeeded, client.total.failed) == (3, 0)
    assert client.total.versions == {100: 1, 101: 1, 102: 1}


async def test_other_bytes_are_a_failure(network: FakeNetwork, autojump_clock: trio.abc.Clock) -> None:
    """As is an error; the client goes on after either, and their latency counts for nothing."""
    client, _ = await counted(network, lie, failure, truth)
    assert (client.total.succeeded, client.total.failed, len(client.total.latencies)) == (1, 2, 1)
    assert [f.why for f in client.total.failures] == [
        "the plaintext is not what was encrypted",
        "collect partial signatures: 2 of 4 operators gave one, 3 needed",
    ]


async def test_many_failures_are_counted_and_few_are_kept(
    network: FakeNetwork, autojump_clock: trio.abc.Clock
) -> None:
    """The first ones, which tell most."""
    client, _ = await counted(network, lie, *[failure] * 30)
    assert client.total.failed == 31
    assert len(client.total.failures) == 20
    assert "not what was encrypted" in client.total.failures[0].why


async def test_a_lap_has_what_came_since_the_last(
    network: FakeNetwork, autojump_clock: trio.abc.Clock
) -> None:
    """The total keeps all."""
    client, _ = await counted(network, truth, failure)
    first, second = client.lap(), client.lap()
    assert (first.succeeded, first.failed) == (1, 1)
    assert (second.succeeded, second.failed) == (0, 0)
    assert (client.total.succeeded, client.total.failed) == (1, 1)


def test_quantiles_are_latencies_that_occurred() -> None:
    """Of a hundred: the fiftieth, the ninety-ninth, the last; of none there is none."""
    tally = LatencyStats(latencies=[float(number) for number in range(100, 0, -1)])
    assert [tally.quantile(share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert LatencyStats(latencies=[7.0]).quantile(0.5) == 7.0
    assert math.isnan(LatencyStats().quantile(0.5))
