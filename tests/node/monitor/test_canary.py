"""The canary: who answers it, and what it says when the others answer, keep silent or lie."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from eigenkms.config.schema.node import MIN_CANARY_SECONDS
from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import DST_V2, canary_identity, identity_v2
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.node.monitor import canary as canary_module
from eigenkms.node.monitor.canary import AGAIN_SECONDS, BURST, RATE, Canary, CanaryResult
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.rate_limiter import RateLimiter
from eigenkms.types import ClusterId
from eigenkms.wire import rpc_methods
from eigenkms.wire.canary_request import CanaryRequest, decode_canary_request
from eigenkms.wire.codec import MalformedError, encode
from tests.node.test_app import _all_is_heard, neighbours_known, running, said
from tests.support.fake_network import CLUSTER, FakeNetwork, Operator, operator_host
from tests.support.local_node import LocalNode
from tests.support.log_events import event_levels
from tests.support.nodes import Neighbour, a_node, asked, keep_version
from tests.support.waiting import PATIENCE, eventually, pass_time

__all__ = ["_all_is_heard"]
NONCE = b"\x07" * 32
Singer = Callable[[FakeNetwork, Operator, bytes], bytes]


@pytest.fixture
def node(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's, with its share; it sings when told to."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, canary_seconds=0.0) as node:
        yield node


def request_for(
    network: FakeNetwork, *, cluster: ClusterId = CLUSTER, transcript: bytes | None = None
) -> bytes:
    return CanaryRequest(cluster, transcript or network.epoch.transcript.hash, NONCE).encoded


def sign(network: FakeNetwork, operator: Operator, body: bytes) -> bytes:
    """As it should be."""
    return bls.partial_sign(network.first.shares[operator.address], decode_canary_request(body).identity)


def lie(network: FakeNetwork, operator: Operator, body: bytes) -> bytes:
    """A point, and not the right one."""
    del network, operator
    return bls.partial_sign(SecretScalar(4711), decode_canary_request(body).identity)


def garble(network: FakeNetwork, operator: Operator, body: bytes) -> bytes:
    del network, operator, body
    return b"tweet"


def refuse(network: FakeNetwork, operator: Operator, body: bytes) -> bytes:
    del network, operator, body
    raise RpcRefusal("no-share", "this operator holds no share of that key version")


def hang(network: FakeNetwork, operator: Operator, body: bytes) -> bytes:
    """Stand for an operator that never answers; ``Choir`` does not call it."""
    raise AssertionError


class Choir(Neighbour):
    """Neighbours that answer probes, each as the test says."""

    def __init__(self, network: FakeNetwork, singers: dict[int, Singer]) -> None:
        super().__init__(network)
        self._singers = {network.operators[index].address: singer for index, singer in singers.items()}

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method != rpc_methods.CANARY:
            return await super().answer(operator, request)
        singer = self._singers[operator.address]
        if singer is hang:
            await trio.sleep_forever()
        return singer(self.network, operator, request.body)


@asynccontextmanager
async def together(
    network: FakeNetwork, node: LocalNode, **singers: Singer
) -> AsyncIterator[Callable[[], "object"]]:
    """The node in touch with neighbours, by index (``b``, ``c``, ``d``); gives what sings once."""
    by_index = {"bcd".index(name) + 1: singer for name, singer in singers.items()}
    async with AsyncExitStack() as stack:
        choir = Choir(network, by_index)
        for index in by_index:
            await stack.enter_async_context(operator_host(network, index, choir))
        host = await stack.enter_async_context(running(network, node))
        await neighbours_known(node, len(by_index))
        held = node.state.versions.newest
        assert held is not None

        async def probe_once() -> CanaryResult:
            return await node.services.canary.probe_once(host, held)

        yield probe_once


async def song(network: FakeNetwork, node: LocalNode, **singers: Singer) -> CanaryResult:
    async with together(network, node, **singers) as probe_once:
        return await probe_once()  # type: ignore[misc]


@pytest.mark.slow
async def test_it_sings_when_all_answer(network: FakeNetwork, node: LocalNode) -> None:
    """All four partial signatures, its own among them; the time that it took, and the version it was."""
    result = await song(network, node, b=sign, c=sign, d=sign)
    assert (result.ok, result.answered, result.asked, result.unresponsive, result.reason) == (
        True,
        4,
        4,
        (),
        None,
    )
    assert result.version == network.epoch.transcript.version
    assert result.seconds > 0


@pytest.mark.slow
async def test_one_operator_may_be_silent_and_is_named(network: FakeNetwork, node: LocalNode) -> None:
    """A quorum is left: a decrypt works now, and the operator that would be missed is known."""
    result = await song(network, node, b=sign, c=sign, d=refuse)
    assert (result.ok, result.answered, result.unresponsive) == (True, 3, (network.operators[3].address,))


@pytest.mark.slow
@pytest.mark.parametrize("false", [lie, garble])
async def test_it_fails_below_the_quorum_and_says_why(
    network: FakeNetwork, node: LocalNode, false: Singer
) -> None:
    """Two that do not help are one too many, whether they refuse, lie or talk nonsense."""
    result = await song(network, node, b=sign, c=refuse, d=false)
    assert not result.ok
    assert result.reason is not None
    assert "2 good partial signatures of 4 operators, 3 needed" in result.reason
    assert result.invalid == ((network.operators[3].address,) if false is lie else ())
    assert network.operators[2].address in result.unresponsive


@pytest.mark.slow
async def test_it_ends_although_operators_never_answer(
    network: FakeNetwork, node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hang: the trial fails when its time is up, and names them."""
    monkeypatch.setattr("eigenkms.node.monitor.canary.ANSWER_SECONDS", 0.5)
    result = await song(network, node, b=hang, c=hang, d=sign)
    assert not result.ok
    assert {network.operators[1].address, network.operators[2].address} <= set(result.unresponsive)


@pytest.mark.slow
async def test_a_false_signature_is_put_aside_and_its_operator_named(
    network: FakeNetwork, node: LocalNode
) -> None:
    """The others are enough; whose share does not give what it sent is told."""
    result = await song(network, node, b=lie, c=sign, d=sign)
    assert (result.ok, result.invalid) == (True, (network.operators[1].address,))


async def test_a_node_alone_fails(network: FakeNetwork, node: LocalNode) -> None:
    """Nobody is connected: nobody could decrypt through it. It waits for no answer then."""
    async with running(network, node) as host:
        held = node.state.versions.newest
        assert held is not None
        with trio.fail_after(PATIENCE / 2):
            result = await node.services.canary.probe_once(host, held)
    assert (result.ok, result.answered, len(result.unresponsive)) == (False, 1, 3)


# -- what is told of it ------------------------------------------------------------------------------------------


async def test_failure_and_recovery_are_told_once_each(
    network: FakeNetwork, node: LocalNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At growing distances while it lasts, and when it is over; the status has the last result."""
    monkeypatch.setattr(canary_module, "AGAIN_SECONDS", 0.0)
    assert node.services.reporter.operator_status().canary is None
    good = CanaryResult(True, 1.0, 0.5, 1, 4, 4)
    bad = CanaryResult(False, 2.0, 5.0, 1, 2, 4, reason="2 good partial signatures")
    for result in (good, bad, bad, bad, bad, good):
        node.services.canary._record(result)
    assert event_levels(caplog, "canary") == ["WARNING"] * 3 + ["INFO"]
    assert len(said(caplog, "a trial decryption failed: 2 good partial signatures")) == 3
    assert (node.services.canary.runs, node.services.canary.failed) == (6, 4)
    assert node.services.reporter.operator_status().canary == good
    assert node.status()["canary"] is True


@pytest.mark.slow
async def test_it_sings_by_itself(
    network: FakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it is told to, from soon after the start."""
    monkeypatch.setattr(canary_module, "AGAIN_SECONDS", 0.05)
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, canary_seconds=0.05) as node:
        async with together(network, node, b=sign, c=sign, d=sign):
            await eventually(lambda: node.services.canary.runs - node.services.canary.failed >= 2)
            assert node.services.canary.result is not None


async def test_an_operator_that_left_probes_no_more(
    network: FakeNetwork, tmp_path: Path, virtual_clock: MockClock
) -> None:
    """The others refuse it, so it would report a failure for ever; the last one is forgotten."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, canary_seconds=10.0) as node:
        canary = node.services.canary
        canary._record(CanaryResult(False, 2.0, 5.0, 1, 1, 4, reason="not-a-member"))
        node.state.peers.update(network.chain.operators[1:])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(canary.run, None)
            await pass_time(1000)
            nursery.cancel_scope.cancel()
        assert (canary.result, canary.runs) == (None, 1)
        assert node.status()["canary"] is None


# -- who is answered ---------------------------------------------------------------------------------------------


async def test_an_operator_is_answered_with_the_share_of_that_version(
    network: FakeNetwork, node: LocalNode
) -> None:
    """And the answer is good for nothing but the canary's identity."""
    body = request_for(network)
    answer = await node.services.canary.answer(network.operators[1].address, body)
    me = network.operators[0].address
    assert bls.verify_partial(
        canary_identity(CLUSTER, NONCE), answer, network.epoch.transcript.public_share(me)
    )


@pytest.mark.parametrize("policy", ["closed", "open"])
async def test_the_policy_does_not_matter(network: FakeNetwork, tmp_path: Path, policy: str) -> None:
    """It releases no application's key, so that no policy keeps an operator from trying the quorum."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, policy=policy) as node:
        assert (
            len(await node.services.canary.answer(network.operators[1].address, request_for(network))) == 48
        )


async def test_bad_requests_are_refused(network: FakeNetwork, node: LocalNode, tmp_path: Path) -> None:
    """Each with its code."""
    asker = network.operators[1].address

    async def code(body: bytes, by: object = asker, at: LocalNode = node) -> str:
        with pytest.raises(RpcRefusal) as refusal:
            await at.services.canary.answer(by, body)  # type: ignore[arg-type]
        return refusal.value.code

    assert await code(request_for(network, cluster=ClusterId(bytes(32)))) == "wrong-cluster"
    assert await code(request_for(network, transcript=bytes(32))) == "unknown-version"
    assert await code(request_for(network), by=b"\x09" * 20) == "not-a-member"
    keep_version(network, 0, tmp_path / "empty", with_share=False)
    with a_node(network, 0, tmp_path / "empty") as without:
        assert await code(request_for(network), at=without) == "no-share"
    good = decode_canary_request(request_for(network))
    for broken in (b"", b"\x90", encode([2, CLUSTER, good.transcript_hash, NONCE]), good.encoded + b"\x00"):
        with pytest.raises(MalformedError):
            await node.services.canary.answer(asker, broken)


async def test_nobody_is_answered_more_often_than_a_canary_asks(
    network: FakeNetwork, node: LocalNode
) -> None:
    """Each operator by itself."""
    asker, other = network.operators[1].address, network.operators[2].address
    node.services.canary._rates._clock = lambda: 0.0
    for _ in range(BURST):
        await node.services.canary.answer(asker, request_for(network))
    with pytest.raises(RpcRefusal, match="ask again in") as refusal:
        await node.services.canary.answer(asker, request_for(network))
    assert refusal.value.code == "busy"
    assert len(await node.services.canary.answer(other, request_for(network))) == 48


@pytest.mark.parametrize(("every", "refused"), [(MIN_CANARY_SECONDS, False), (MIN_CANARY_SECONDS / 2, True)])
def test_as_often_as_may_be_set_a_canary_is_answered(every: float, *, refused: bool) -> None:
    """Also at its shortest pause, while each fails and is tried again: else a healthy quorum would seem to refuse. Not oftener."""
    now = 0.0
    rates = RateLimiter(RATE, BURST, lambda: now)
    waits = []
    for _ in range(200):
        waits.append(rates.acquire("asker"))
        now += AGAIN_SECONDS
        waits.append(rates.acquire("asker"))
        now += 0.9 * every
    assert any(waits) == refused


async def test_a_stranger_gets_nothing_by_either_protocol(network: FakeNetwork, node: LocalNode) -> None:
    """It is no client's method, and the operator protocol wants to know which operator it is."""
    stranger: PeerId = PeerKey.generate().peer_id
    body = request_for(network)
    assert (
        await asked(node.services.client_handlers.answer, stranger, rpc_methods.CANARY, body)
        == "unknown-method"
    )
    assert (
        await asked(node.services.operator_handlers.answer, stranger, rpc_methods.CANARY, body) == "say-hello"
    )


def test_its_identity_is_no_application_s() -> None:
    """Whatever an application is called: the byte of the kind differs, under the same tag; version 1 has another tag."""
    identity = canary_identity(CLUSTER, NONCE)
    assert identity.dst == DST_V2
    assert identity.message[0] != identity_v2(CLUSTER, "any-app").message[0]
    for wrong in (b"", b"\x07" * 31, b"\x07" * 33):
        with pytest.raises(ValueError, match="32 bytes"):
            canary_identity(CLUSTER, wrong)


def test_never_means_never() -> None:
    """With 0 seconds it ends without a wait."""

    async def run() -> None:
        canary = Canary(CLUSTER, None, None, None, 0.0)  # type: ignore[arg-type]
        await canary.run(None)  # type: ignore[arg-type]

    trio.run(run, clock=MockClock())
