"""A node at work: versions that were made without it, and boundaries that are bad."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.chain.operator_set import RawOperatorSet
from eigenkms.crypto import bn254, sealing
from eigenkms.crypto.shamir import Polynomial
from eigenkms.errors import ChainError, NetworkError
from eigenkms.p2p.errors import CallRefusedError
from eigenkms.p2p.host import Host, Request
from eigenkms.p2p.identity import PeerKey
from eigenkms.types import AppId, BlockRef, SessionId
from eigenkms.wire import rpc_methods
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import PartialRequest
from eigenkms.wire.frames import FrameKind, build_frame
from eigenkms.wire.messages import SourceRef, dealing_body
from eigenkms.wire.rpc_methods import VersionHead, encode_head
from eigenkms.wire.settlement_proof import SettlementProof
from tests.support.fake_network import (
    ANYWHERE,
    CLUSTER,
    FakeNetwork,
    Operator,
    block_at,
    make_epoch,
    make_network,
    make_session,
    operator_host,
)
from tests.support.faulty_operators import FalseVersionOperators, false_epochs
from tests.support.hosts import patient_host
from tests.support.local_node import LocalNode
from tests.support.log_events import event_levels, events
from tests.support.nodes import Neighbour, a_node, asked, keep_version
from tests.support.randomness import counter_rng
from tests.support.waiting import PATIENCE, eventually


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if words in r.getMessage()]


@pytest.fixture(autouse=True)
def _all_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="eigenkms.node")


# -- keys that were made without it ------------------------------------------------------------------------------


@asynccontextmanager
async def running(network: FakeNetwork, node: LocalNode, index: int = 0) -> AsyncIterator[Host]:
    """The first operator's node, or another's, in touch with whoever is at home."""
    await node.check_registration()
    await node.guard_votes()
    operator, peers = network.operators[index], node.state.peers
    async with (
        patient_host(
            operator.peer,
            listen=[ANYWHERE],
            gate=peers.admits,
            topics=[rpc_methods.gossip_topic(node.backing.cluster)],
        ) as host,
        trio.open_nursery() as nursery,
    ):
        await nursery.start((await node.build_over(host)).run)
        yield host
        nursery.cancel_scope.cancel()


async def neighbours_known(node: LocalNode, count: int) -> None:
    await eventually(lambda: node.status()["peers"] == count)


async def boundary_seen(caplog: pytest.LogCaptureFixture, number: int) -> dict[str, Any]:
    """Return the node's event of a boundary once it has taken it in; what it asked others at it is answered by then."""
    found = await eventually(lambda: events(caplog, "boundary", block=number))
    return found[0]


@pytest.fixture
def late(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's node, new, with consent: the others have a version that it took no part in."""
    with a_node(network, 0, tmp_path, genesis=True) as node:
        yield node


@pytest.mark.slow
async def test_a_latecomer_adopts_the_version_that_the_chain_confirms(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks as soon as it is in touch. It has no share, says so, and joins the next rotation."""
    async with AsyncExitStack() as stack:
        for index in (1, 2, 3):
            await stack.enter_async_context(operator_host(network, index, Neighbour(network)))
        await stack.enter_async_context(running(network, late))
        await neighbours_known(late, 3)
        await eventually(lambda: late.status()["transcript"] is not None)
        network.chain.number = 125
        boundary = await boundary_seen(caplog, 120)
        status = late.status()
    assert (status["transcript"], status["share"]) == (network.epoch.transcript.hash.hex(), False)
    assert events(caplog, "learnt")
    assert boundary["joined"], "it joins the rotation"


@pytest.mark.slow
async def test_an_operator_with_a_new_peer_id_is_known_and_its_old_self_is_parted_from(
    network: FakeNetwork, late: LocalNode
) -> None:
    """Once the new peer shows a newer record, connections of the old one are closed, and what it shows of then is of no use."""
    operator, new = network.operators[1], PeerKey.generate()
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(operator_host(network, 1, Neighbour(network)))
        host = await stack.enter_async_context(running(network, late))
        await neighbours_known(late, 1)
        assert host.peer_id in old.connected()
        moved = await stack.enter_async_context(patient_host(new, listen=[ANYWHERE]))
        record = operator.record([moved.addresses[0].multiaddr], peer=new.peer_id, sequence=2)
        for each in (moved, old):
            each.set_addresses(host.peer_id, [host.addresses[0].multiaddr])
        await moved.call(
            host.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.HELLO, record.encoded, timeout=PATIENCE
        )
        await eventually(lambda: host.peer_id not in old.connected())
        assert await asked_for_head(moved, host) in ("answered", "no-version"), "it is the operator"
        before = operator.record([])
        await old.call(
            host.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.HELLO, before.encoded, timeout=PATIENCE
        )
        refused = await asked_for_head(old, host)
        assert refused not in ("answered", "no-version"), "it is nobody"
        await neighbours_known(late, 1)


async def asked_for_head(asking: Host, node: Host) -> str:
    """What comes of asking a node as an operator does, in a word."""
    try:
        await asking.call(
            node.peer_id, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.HEAD, b"", timeout=PATIENCE
        )
    except CallRefusedError as refused:
        return refused.code
    except NetworkError as error:
        return str(error)
    return "answered"


class Liar(FalseVersionOperators, Neighbour):
    """Says hello like an operator, and shows a false epoch."""


LIES = ("too few signers", "strangers as operators", "another transcript under it")
"""Of the certificate, of the operator set, and of the key. ``tests/client`` shows all of ``CASES`` to the same check."""


@pytest.mark.slow
async def test_a_false_version_keeps_nobody_from_genesis(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Three neighbours, each with a lie of its own: what the chain does not confirm is not adopted, and the session is joined."""
    async with AsyncExitStack() as stack:
        for index, lie in enumerate(LIES, 1):
            liar = Liar(network, false_epochs(network)[lie][0])
            await stack.enter_async_context(operator_host(network, index, liar))
        await stack.enter_async_context(running(network, late))
        await neighbours_known(late, len(LIES))
        network.chain.number = 115
        boundary = await boundary_seen(caplog, 110)
        await eventually(lambda: len(said(caplog, "head of ")) >= len(LIES))
        status = late.status()
    assert (status["transcript"], status["phase"]) == (None, "dealing")
    assert boundary["joined"]


@pytest.mark.slow
async def test_nobody_but_operators_is_asked(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A neighbour that cannot prove which operator it is has no say, though its peer id stands on chain."""
    strangers = make_network(seed="strangers")
    ways = Neighbour(network)
    for index in (1, 2, 3):
        network.operators[index] = replace(network.operators[index], key=strangers.operators[index].key)
    async with AsyncExitStack() as stack:
        for index in (1, 2, 3):
            await stack.enter_async_context(operator_host(network, index, ways))
        await stack.enter_async_context(running(network, late))
        await eventually(lambda: rpc_methods.HELLO in ways.asked)
        network.chain.number = 115
        await boundary_seen(caplog, 110)
        assert late.status()["peers"] == 0
    assert rpc_methods.HEAD not in ways.asked


@pytest.mark.slow
async def test_a_chain_that_goes_down_costs_boundaries_and_no_more(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """The node says it, shows it, and takes the next boundary when the chain is back."""
    async with running(network, late):
        network.chain.down = True
        await eventually(lambda: late.status()["chain_error"])
        network.chain.down = False
        network.chain.number = 125
        await boundary_seen(caplog, 120)
        assert late.status()["chain_error"] is None
    assert said(caplog, "the chain answers again")


@pytest.mark.slow
async def test_a_boundary_that_the_chain_does_not_explain_comes_again(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """A read that fails, or RPCs that disagree, cost no boundary: it is opened once they tell enough. That is told sparingly."""
    doubting = Doubting(network, reads=3)
    network.chain.agreed_operators_at = doubting  # type: ignore[method-assign, assignment]
    async with running(network, late):
        network.chain.number = 115
        await eventually(lambda: late.ceremonies.boundaries._failures_in_row == 3)
        assert late.status()["chain_error"] == "agree on block 110: rpc 1 has 0xaa, rpc 2 has 0xbb"
        doubting.agreed.set()
        await boundary_seen(caplog, 110)
        assert late.status()["chain_error"] is None
        assert late.status()["boundary"] == 110
    told = [r for r in caplog.records if "boundary at block 110 opens no session: agree on" in r.getMessage()]
    assert len(told) == 2, "of three in a row"


class Doubting:
    """RPCs that disagree in so many reads. The next read waits until they agree."""

    def __init__(self, network: FakeNetwork, *, reads: int) -> None:
        self._read = network.chain.agreed_operators_at
        self._left = reads
        self.agreed = trio.Event()

    async def __call__(self, block: BlockRef) -> RawOperatorSet:
        await trio.lowlevel.checkpoint()
        self._left -= 1
        if self._left >= 0:
            raise ChainError(f"agree on block {block.number}: rpc 1 has 0xaa, rpc 2 has 0xbb")
        await self.agreed.wait()
        return await self._read(block)


async def test_a_set_that_cannot_be_dealt_to_opens_no_session(
    network: FakeNetwork, late: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty one, for instance; the next boundary may be better."""
    operators = network.chain.operators
    async with running(network, late):
        network.chain.operators = ()
        network.chain.number = 115
        await eventually(lambda: said(caplog, "boundary at block 110 has no session"))
        network.chain.operators = operators
        network.chain.number = 125
        await boundary_seen(caplog, 120)
        assert late.status()["phase"] == "dealing"


# -- bad boundaries, and the old version stands ------------------------------------------------------------------


@pytest.fixture
def holder(network: FakeNetwork, tmp_path: Path) -> Iterator[LocalNode]:
    """The first operator's node, with its share of the version of block 100. A set of one is not dealt to."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path, min_operators=2) as node:
        yield node


async def serves_on(network: FakeNetwork, node: LocalNode) -> None:
    """It still has its share, signs with it and shows its version."""
    status = node.status()
    transcript = network.epoch.transcript
    assert (status["transcript"], status["share"]) == (transcript.hash.hex(), True)
    assert status["version"] == transcript.version
    _, public = sealing.x25519_keypair(counter_rng("reply key"))
    asking = PartialRequest(CLUSTER, AppId("my-app"), 2, transcript.hash, public, bytes(32))
    stranger = network.operators[3].peer.peer_id
    assert isinstance(
        await asked(node.services.client_handlers.answer, stranger, rpc_methods.PARTIAL, asking.encoded),
        bytes,
    )


def no_operators(network: FakeNetwork) -> None:
    network.chain.operators = ()


def one_operator(network: FakeNetwork) -> None:
    network.chain.operators = network.chain.operators[:1]


def one_key_twice(network: FakeNetwork) -> None:
    first, second, *rest = network.chain.operators
    network.chain.operators = (first, replace(second, key=first.key, key_g1=first.key_g1), *rest)


def no_usable_key(network: FakeNetwork) -> None:
    reason = "its key is not a point of the BN254 groups"
    network.chain.rejected = tuple((o.address, reason) for o in network.chain.operators)
    network.chain.operators = ()


BAD_SETS: list[tuple[Callable[[FakeNetwork], None], str]] = [
    (no_operators, "open session at block 110: 0 operators, fewer than the 2 needed (wait until enough"),
    (one_operator, "open session at block 110: 1 operators, fewer than the 2 needed (wait until enough"),
    (one_key_twice, "open session at block 110: two operators share one BN254 key"),
    (no_usable_key, "open session at block 110: 0 operators, fewer than the 2 needed (wait until enough"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "why"), BAD_SETS, ids=[spoil.__name__ for spoil, _ in BAD_SETS])
async def test_a_set_that_cannot_be_dealt_to_leaves_the_old_version(
    network: FakeNetwork,
    holder: LocalNode,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[FakeNetwork], None],
    why: str,
) -> None:
    """The log says what is wrong with it and what to do; the version is served as before, and dealt from at the next boundary."""
    good = network.chain.operators
    async with running(network, holder):
        spoil(network)
        network.chain.number = 115
        lines = await eventually(lambda: said(caplog, "boundary at block 110 has no session"))
        assert why in lines[0]
        left_out = {a for a, _ in network.chain.rejected}
        assert all(
            said(caplog, f"operator 0x{a.hex()} is left out: its key is not a point") for a in left_out
        )
        await serves_on(network, holder)
        network.chain.operators, network.chain.rejected = good, ()
        network.chain.number = 125
        assert (await boundary_seen(caplog, 120))["joined"]
        status = holder.status()
        assert (status["phase"], status["source"]) == ("dealing", network.epoch.transcript.version)
        await serves_on(network, holder)


async def test_an_operator_with_an_unusable_key_is_left_out_and_the_others_deal(
    network: FakeNetwork, holder: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named with the reason; the session is of the three others."""
    *others, spoilt = network.chain.operators
    async with running(network, holder):
        network.chain.operators = tuple(others)
        network.chain.rejected = ((spoilt.address, "another operator has the same key"),)
        network.chain.number = 115
        boundary = await boundary_seen(caplog, 110)
        assert boundary["operators"] == 3
        assert boundary["joined"]
        await serves_on(network, holder)
    assert said(caplog, f"operator 0x{spoilt.address.hex()} is left out: another operator has the same key")


@pytest.mark.slow
async def test_a_boundary_that_is_reorganised_away_is_not_dealt_in_twice(
    network: FakeNetwork, holder: LocalNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another block of the same number is seen and passed; the next boundary is joined."""
    async with running(network, holder):
        network.chain.number = 115
        first = await boundary_seen(caplog, 110)
        assert first["joined"]
        monkeypatch.setattr("tests.support.fake_network.block_at", lambda number: block_at(number, "fork"))
        network.chain.number = 116
        await eventually(lambda: len(events(caplog, "boundary", block=110)) >= 2)
        assert not events(caplog, "boundary", block=110)[1]["joined"]
        assert said(caplog, "boundary replaced by a reorganisation: block 110")
        await serves_on(network, holder)
        network.chain.number = 125
        assert (await boundary_seen(caplog, 120))["joined"]
        await serves_on(network, holder)


def has_only(node: LocalNode, block: BlockRef) -> bool:
    """Whether the version of this block is the only one that is left, and its share is held."""
    status = node.status()
    return (status["version"], status["share"]) == (block.timestamp, True) and len(node.state.versions) == 1


@pytest.mark.slow
async def test_four_nodes_rotate_at_the_next_good_boundary(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After one at which there was nobody to deal to: a version, a share of it at each of them, nothing of the old one."""
    good = network.chain.operators
    old, number = network.epoch.transcript, len(network.operators)
    async with AsyncExitStack() as stack:
        nodes = []
        for index in range(number):
            folder = tmp_path / str(index)
            keep_version(network, index, folder)
            nodes.append(stack.enter_context(a_node(network, index, folder, window_seconds=60.0)))
            host = await stack.enter_async_context(running(network, nodes[-1], index))
            network.place(index, str(host.addresses[0]))
        good = network.chain.operators
        network.chain.operators = ()
        network.chain.number = 115
        await eventually(lambda: len(said(caplog, "boundary at block 110 has no session")) >= number)
        network.chain.operators = good
        network.chain.number = 125
        await eventually(lambda: all(has_only(node, block_at(120)) for node in nodes))
        for node in nodes:
            status = node.status()
            assert (status["mpk"], status["share"]) == (old.mpk.hex(), True)
            assert status["evidence"] == 0
            assert [held.epoch.transcript.source_hash for held in node.state.versions] == [old.hash]
            assert node.backing.store.share(old.hash) is None


# -- sources that others know ------------------------------------------------------------------------------------


class Prover(Neighbour):
    """Says of itself that it knows this version."""

    def __init__(self, network: FakeNetwork, shown: bytes) -> None:
        super().__init__(network)
        self.shown = shown

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.HEAD:
            self.asked.append(request.method)
            return self.shown
        return await super().answer(operator, request)


def answered(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the node has judged a version that it was shown, in one way or another."""
    return bool(events(caplog, "learnt") or events(caplog, "other-key") or said(caplog, "head of "))


@asynccontextmanager
async def dealt_to_from_elsewhere(
    network: FakeNetwork, node: LocalNode, caplog: pytest.LogCaptureFixture, prover: Prover
) -> AsyncIterator[None]:
    """A neighbour deals to the node from a higher version than the node's, at block 110. Its dealing is no good one."""
    dealer = network.operators[1]
    async with operator_host(network, 1, prover), running(network, node):
        await neighbours_known(node, 1)
        network.chain.number = 115
        await boundary_seen(caplog, 110)
        frame = build_frame(
            dealer.key,
            kind=FrameKind.DEALING,
            cluster=CLUSTER,
            sender=dealer.address,
            session=SessionId(bytes.fromhex(str(node.status()["session"]))),
            body=dealing_body(SourceRef(block_at(104).timestamp, bytes(range(32))), b"dealt from elsewhere"),
        )
        node.ceremonies.engine.submit(frame.sender, frame.encoded)
        await eventually(lambda: answered(caplog))
        yield


def shown_as(epoch: CertifiedTranscript, proof: SettlementProof | None = None) -> bytes:
    """What an operator answers that has this version for its highest."""
    return encode_head(VersionHead(epoch.transcript, epoch.certificate, proof))


def false_proofs(network: FakeNetwork, epoch: CertifiedTranscript) -> dict[str, bytes]:
    """What is shown of a version of protocol 1 that the chain confirms, and does not prove that it was settled."""
    true, three = network.settle(epoch), network.settle(epoch, 3)
    stranger = bn254.KeyPair.from_secret(4711)
    return {
        "no proof": shown_as(epoch),
        "three of four": shown_as(epoch, three),
        "three shown as four": shown_as(epoch, replace(three, bitmap=true.bitmap)),
        "a stranger for all": shown_as(epoch, network.settle(epoch, key=stranger)),
        "spare bits": shown_as(epoch, replace(true, bitmap=b"\xff")),
        "another version's": shown_as(epoch, network.settle(network.epoch)),
        "no answer at all": b"\xc1",
    }


@pytest.mark.slow
async def test_a_version_of_protocol_1_that_is_not_proven_to_be_settled_is_not_dealt_from(
    network: FakeNetwork, holder: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Too few promises, repeated or foreign ones, none, or those of another version: the node keeps its own, and its share."""
    newer = network.reshare(network.first, 104, lists_keys=False)
    network.chain.number = 105
    false = false_proofs(network, newer.epoch)
    prover = Prover(network, b"")
    async with dealt_to_from_elsewhere(network, holder, caplog, prover):
        for name, shown in false.items():
            prover.shown = shown
            caplog.clear()
            holder.ceremonies.engine._base_unknown.set()
            await eventually(lambda: said(caplog, "head of "))
            assert not events(caplog, "learnt"), name
            assert holder.status()["source"] == network.epoch.transcript.version
            await serves_on(network, holder)
    assert len(false) == 7


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_version_that_is_proven_is_dealt_from(
    network: FakeNetwork, holder: LocalNode, caplog: pytest.LogCaptureFixture, protocol: int
) -> None:
    """By its certificate, one of protocol 1 by its settlement proof too. The session that began from the older version goes on
    from this one, and the older share is erased.
    """
    newer = network.reshare(network.first, 104, lists_keys=protocol == 2)
    network.chain.number = 105
    shown = shown_as(newer.epoch, network.settle(newer.epoch) if protocol == 1 else None)
    async with dealt_to_from_elsewhere(network, holder, caplog, Prover(network, shown)):
        await eventually(lambda: holder.status()["source"] == block_at(104).timestamp)
        await eventually(lambda: holder.status()["version"] == block_at(104).timestamp)
        assert events(caplog, "learnt")
        await eventually(lambda: [held.epoch for held in holder.state.versions] == [newer.epoch])
        assert holder.backing.store.share(network.epoch.transcript.hash) is None


def asked_again(node: LocalNode, prover: Prover, times: int) -> bool:
    """Whether the prover was asked so often; if not, let the node look again."""
    node.ceremonies.engine._base_unknown.set()
    return prover.asked.count(rpc_methods.HEAD) >= times


@pytest.mark.slow
async def test_a_version_of_another_master_key_is_not_taken_over(
    network: FakeNetwork, holder: LocalNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Certified by the operators of a block that the chain confirms, as keys that leaked could have done: the node says so once,
    at the level of what its operator must look at now, and keeps its version.
    """
    keys = {o.address: o.key for o in network.operators}
    session = make_session(keys, 104)
    transcript = make_epoch(session, Polynomial.random(3, counter_rng("another key")))
    other = CertifiedTranscript(transcript, network.certify(transcript))
    network.chain.number = 105
    prover = Prover(network, shown_as(other))
    async with dealt_to_from_elsewhere(network, holder, caplog, prover):
        await eventually(lambda: asked_again(holder, prover, 3))
        await serves_on(network, holder)
        assert holder.status()["source"] == network.epoch.transcript.version
    (refused,) = events(caplog, "other-key")
    assert refused["version"] == block_at(104).timestamp
    assert event_levels(caplog, "other-key") == ["ERROR"]
    assert not events(caplog, "learnt")
