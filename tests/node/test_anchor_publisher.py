"""A node's part of the anchor, with a real registry on the embedded engine: once each version, whatever goes wrong on the way."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from eigenkms.chain.anchor import (
    Anchor,
    AnchorConfig,
    Commitment,
    commitment_to,
    deploy_registry,
    open_anchor,
    set_member,
)
from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.shamir import Polynomial
from eigenkms.devnet.engines import open_engine
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS, address_of
from eigenkms.node import anchor_publisher
from eigenkms.node.anchor_publisher import AnchorPublisher, anchoring_terms
from eigenkms.types import OperatorAddress
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.transcript import Transcript
from tests.support.fake_network import CHAIN, CLUSTER, FakeNetwork, block_at, make_epoch, make_session
from tests.support.log_events import event_levels, events
from tests.support.nodes import a_node
from tests.support.randomness import counter_rng
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

ANCHOR_CHAIN = 31338
ME, OTHER, POOR = PRIVATE_KEYS[2], PRIVATE_KEYS[3], keccak256(b"an account without ether")


def transcript_at(number: int, *accounts: bytes) -> Transcript:
    """Of the operators with these accounts."""
    rng = counter_rng(f"anchor {number}")
    keys = {OperatorAddress(address_of(account)): bn254.KeyPair.generate(rng) for account in accounts}
    session = make_session(keys, number)
    return make_epoch(session, Polynomial.random(session.threshold, rng))


class News:
    """The newest version, as an engine tells it."""

    def __init__(self) -> None:
        self._newest: Transcript | None = None
        self._changed = trio.Event()

    def tell(self, transcript: Transcript) -> None:
        self._newest = transcript
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_newer(self, transcript_hash: bytes | None) -> CertifiedTranscript:
        while self._newest is None or self._newest.hash == transcript_hash:
            await self._changed.wait()
        return CertifiedTranscript(self._newest, None)  # type: ignore[arg-type]


@dataclass
class Place:
    """An anchor's chain, a registry of the network's cluster on it, and its owner."""

    anchor: Anchor
    owner: Sender
    news: News
    ceiling: int = 100
    """Gwei that a unit of gas may cost."""

    def operator(self, account: bytes = ME, anchor: Anchor | None = None) -> AnchorPublisher:
        chosen = anchor or self.anchor
        address = OperatorAddress(address_of(account))
        writer = chosen.sender(account, anchoring_terms(self.ceiling))
        return AnchorPublisher(chosen, writer, address, self.news.wait_for_newer)

    async def entry(self, version: int, account: bytes = ME) -> Commitment | None:
        address = OperatorAddress(address_of(account))
        return (await self.anchor.commitments(version, [address])).get(address)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        open_engine("embedded", block_time=0, chain_id=ANCHOR_CHAIN) as engine,
        JsonRpc(engine.url) as rpc,
    ):
        owner = Sender(rpc, PRIVATE_KEYS[0], ANCHOR_CHAIN)
        registry = await deploy_registry(owner, CHAIN)
        await set_member(owner, registry, address_of(ME))
        async with open_anchor(AnchorConfig(engine.url, ANCHOR_CHAIN, registry), CLUSTER) as anchor:
            yield Place(anchor, owner, News())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(anchor_publisher, "FIRST_PAUSE_SECONDS", 0.05)


async def until_anchored(operator: AnchorPublisher, version: int) -> None:
    await eventually(lambda: operator.anchored == version)


async def until_failing(operator: AnchorPublisher, words: str) -> None:
    await eventually(lambda: words in str(operator.failure))


async def test_each_version_is_anchored_once_and_not_again_in_another_life(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest one of which it is a recipient. After a restart the chain is asked first, and nothing is paid twice."""
    caplog.set_level(logging.INFO)
    first, foreign, later = transcript_at(100, ME, OTHER), transcript_at(110, OTHER), transcript_at(120, ME)
    operator = place.operator()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.run)
        for transcript in (first, foreign, later):
            place.news.tell(transcript)
            if transcript is not foreign:
                await until_anchored(operator, transcript.version)
                assert await place.entry(transcript.version) == commitment_to(transcript)
            else:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await place.entry(foreign.version) is None
    again = place.operator()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.run)
        await until_anchored(again, later.version)
        nursery.cancel_scope.cancel()
    assert await place.anchor.submissions() == 2
    assert event_levels(caplog, "anchored") == ["INFO"] * 3
    assert events(caplog, "anchored")[-1]["version"] == later.version


@pytest.mark.usefixtures("quick")
async def test_what_fails_is_a_warning_and_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Not on the list, then too little ether, then neither: the version is anchored as soon as it can be."""
    transcript = transcript_at(100, POOR)
    operator = place.operator(POOR)
    place.news.tell(transcript)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.run)
        await until_failing(operator, "member list")
        await set_member(place.owner, place.anchor.config.registry, address_of(POOR))
        await until_failing(operator, "has 0 wei on chain 31338")
        await transfer(place.owner, address_of(POOR), 10**18)
        await until_anchored(operator, transcript.version)
        nursery.cancel_scope.cancel()
    assert operator.failure is None
    warned = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(events(caplog, "not-anchored", version=transcript.version)) == len(warned)
    assert "anchor allow" in warned[0].getMessage()


@pytest.mark.usefixtures("quick")
async def test_an_rpc_that_is_down_holds_up_one_version_and_not_the_next(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no error of the node; a newer version takes the place of one that could not be anchored."""
    nowhere = replace(place.anchor.config, rpc_url="http://127.0.0.1:1")
    async with open_anchor(nowhere, CLUSTER) as unreachable, trio.open_nursery() as nursery:
        operator = place.operator(anchor=unreachable)
        nursery.start_soon(operator.run)
        for number in (100, 110):
            transcript = transcript_at(number, ME)
            place.news.tell(transcript)
            await eventually(partial(events, caplog, "not-anchored", version=transcript.version))
        assert operator.anchored is None
        assert "no connection" in str(operator.failure)
        nursery.cancel_scope.cancel()


async def test_an_entry_costs_no_more_than_the_operator_allows(place: Place) -> None:
    """A tip of one gwei and any base fee are more than a ceiling of one."""
    place.ceiling = 1
    operator = place.operator()
    place.news.tell(transcript_at(100, ME))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.run)
        await until_failing(operator, "and the ceiling is 1 gwei")
        nursery.cancel_scope.cancel()
    assert await place.anchor.submissions() == 0


async def test_an_entry_that_this_node_did_not_make_is_an_error(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator must know: the entry is its word for good. It is not tried again."""
    transcript = transcript_at(100, ME)
    false = replace(commitment_to(transcript), transcript_hash=keccak256(b"false"))
    await place.anchor.submit(place.anchor.sender(ME), transcript.version, false)
    operator = place.operator()
    place.news.tell(transcript)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.run)
        await until_failing(operator, "another transcript")
        nursery.cancel_scope.cancel()
    assert operator.anchored is None
    assert [r.levelname for r in caplog.records if r.levelno >= logging.ERROR] == event_levels(
        caplog, "anchor-contradicts"
    )
    (contradiction,) = events(caplog, "anchor-contradicts")
    assert contradiction["version"] == transcript.version


async def test_an_anchor_with_entries_forbids_a_genesis_unless_the_operator_insists(
    place: Place, network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With remembered consent: an empty registry allows it, an entry of anybody does not, nor one that cannot be read.
    --genesis is the operator's word against it, and is warned of.
    """
    an_operator = partial(a_node, network, 0, tmp_path)
    with an_operator(genesis=True) as node:
        await node.guard_votes()
    with an_operator(anchor=place.anchor) as node:
        await node.guard_votes()
        assert await node.state.guard.may_join_genesis(block_at(110))
        await place.anchor.submit(place.anchor.sender(ME), 1_800_000_000, Commitment(b"\1" * 32, b"\2" * 32))
        assert not await node.state.guard.may_join_genesis(block_at(110))
        assert (
            "the anchor has entries of this cluster (1), so it has a key: genesis needs --genesis"
            in caplog.text
        )
    async with open_anchor(
        replace(place.anchor.config, rpc_url="http://127.0.0.1:1"), CLUSTER
    ) as unreachable:
        with an_operator(anchor=unreachable) as node:
            await node.guard_votes()
            assert not await node.state.guard.may_join_genesis(block_at(110))
            assert "the anchor cannot be read" in caplog.text
    with an_operator(genesis=True, anchor=place.anchor) as node:
        await node.guard_votes()
        assert await node.state.guard.may_join_genesis(block_at(110))
        await node.state.guard.warn_if_anchored()
        assert "--genesis is given all the same: leave it out if there is a key" in caplog.text
        assert (node.status()["anchored"], node.status()["anchor_error"]) == (None, None)


async def test_the_engine_tells_of_its_newest_version(network: FakeNetwork, tmp_path: Path) -> None:
    """At once if there is one already, else when it has one."""
    from tests.support.nodes import keep_version

    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        epoch = await node.ceremonies.engine.wait_for_newer(None)
        assert epoch.transcript.hash == network.epoch.transcript.hash
        told: list[CertifiedTranscript] = []

        async def wait_for_another() -> None:
            told.append(await node.ceremonies.engine.wait_for_newer(epoch.transcript.hash))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_another)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert told == []
