"""The commitment registry on both engines: who may write, what cannot change, what is an equivocation, what a reader believes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from eigenkms.chain import abi
from eigenkms.chain.anchor import (
    GAS_COMMITMENT,
    Anchor,
    AnchorConfig,
    Commitment,
    commitment_to,
    deploy_registry,
    open_anchor,
    set_member,
)
from eigenkms.chain.config import Finality
from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc_values import parse_bytes
from eigenkms.chain.transactions import Sender
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import ChainError, InputError
from eigenkms.types import Cluster, OperatorAddress, to_hex
from eigenkms.wire.session import cluster_id
from tests.chain.conftest import World, one_engine
from tests.support.fake_network import make_network

VERSION = 1_800_000_000
RIGHT = Commitment(keccak256(b"transcript"), keccak256(b"root"))
WRONG = Commitment(keccak256(b"another transcript"), keccak256(b"root"))


def cluster_of(world: World) -> Cluster:
    return Cluster(world.contracts.chain_id, world.contracts.avs, 0)


def address(sender: Sender) -> OperatorAddress:
    return OperatorAddress(sender.address)


@asynccontextmanager
async def an_anchor(world: World, members: int = 3, finality: str = "latest") -> AsyncIterator[Anchor]:
    """A new registry, with the first operators on its list."""
    registry = await deploy_registry(world.avs, cluster_of(world))
    for number in range(members):
        await set_member(world.avs, registry, world.operator(number).address)
    config = AnchorConfig(world.engine.url, world.engine.chain_id, registry, Finality.parse(finality))
    async with open_anchor(config, cluster_id(cluster_of(world))) as anchor:
        yield anchor


async def prove(world: World, anchor: Anchor, one: int, other: int) -> bool:
    """Show the registry an equivocation, as a stranger; whether it holds it for proven then."""
    data = abi.PROVE_EQUIVOCATION.encode(VERSION, world.operator(one).address, world.operator(other).address)
    await world.sender(30).send("prove", anchor.config.registry, data, gas=GAS_COMMITMENT)
    call = {"to": to_hex(anchor.config.registry), "data": to_hex(abi.EQUIVOCATION_PROVEN.encode(VERSION))}
    answer = await world.rpc.call("eth_call", call, "latest")
    (proven,) = abi.EQUIVOCATION_PROVEN.decode(parse_bytes(answer, "answer"))
    return bool(proven)


async def test_members_write_once_and_readers_see_whom_they_asked_for(world: World) -> None:
    """An entry is the operator's, for good; who is not asked for is not seen, nor what came after the cutoff."""
    async with an_anchor(world) as anchor:
        first, second = world.operator(0), world.operator(1)
        assert await anchor.submissions() == 0
        early = await anchor.submit(first, VERSION, RIGHT)
        late = await anchor.submit(second, VERSION, RIGHT)
        assert early.gas_used < 120_000 < GAS_COMMITMENT
        both = (address(first), address(second))
        assert await anchor.commitments(VERSION, both) == dict.fromkeys(both, RIGHT)
        assert await anchor.commitments(VERSION, [address(second)]) == {address(second): RIGHT}
        assert await anchor.commitments(VERSION, both, cutoff=late.block_number - 1) == {both[0]: RIGHT}
        assert await anchor.commitments(VERSION + 1, both) == {}
        with pytest.raises(ChainError, match="anchored this version before"):
            await anchor.submit(first, VERSION, WRONG)
        data = abi.SUBMIT_COMMITMENT.encode(VERSION, WRONG.transcript_hash, WRONG.root)
        with pytest.raises(ChainError, match="anchored this version before"):
            await first.send("write again", anchor.config.registry, data, gas=GAS_COMMITMENT)
        assert await anchor.commitments(VERSION, both) == dict.fromkeys(both, RIGHT)
        assert await anchor.submissions() == 2


async def test_strangers_write_nothing_and_only_the_owner_keeps_the_list(world: World) -> None:
    """Refused before anything is paid, with the next step; who was taken off the list keeps what it wrote."""
    async with an_anchor(world) as anchor:
        stranger, member = world.operator(3), world.operator(0)
        with pytest.raises(ChainError, match=f"as {to_hex(stranger.address)}: .* member list") as refused:
            await anchor.submit(stranger, VERSION, RIGHT)
        assert "anchor allow" in str(refused.value.hint)
        with pytest.raises(ChainError, match="only the owner"):
            await set_member(stranger, anchor.config.registry, stranger.address)
        assert await anchor.members_among([address(stranger), address(member)]) == {address(member)}
        assert await anchor.owner() == world.avs.address
        await anchor.submit(member, VERSION, RIGHT)
        await set_member(world.avs, anchor.config.registry, member.address, member=False)
        assert not await anchor.members_among([address(member)])
        with pytest.raises(ChainError, match="member list"):
            await anchor.submit(member, VERSION + 1, RIGHT)
        assert await anchor.commitments(VERSION, [address(member)]) == {address(member): RIGHT}
        for empty in (replace(RIGHT, transcript_hash=bytes(32)), replace(RIGHT, root=bytes(32))):
            with pytest.raises(ChainError, match="is zero"):
                await anchor.submit(world.operator(1), VERSION, empty)
        assert await anchor.submissions() == 1


async def test_two_hashes_for_one_version_are_an_equivocation_and_nothing_else_is(world: World) -> None:
    """Honest entries, also ones with different roots, an operator compared with itself, and entries that are not there prove
    nothing; anybody may prove what is one.
    """
    async with an_anchor(world) as anchor:
        await anchor.submit(world.operator(0), VERSION, RIGHT)
        with pytest.raises(ChainError, match="has not anchored"):
            await prove(world, anchor, 0, 1)
        await anchor.submit(world.operator(1), VERSION, replace(RIGHT, root=keccak256(b"another root")))
        for one, other in ((0, 1), (0, 0)):
            with pytest.raises(ChainError, match="the same hash"):
                await prove(world, anchor, one, other)
        await anchor.submit(world.operator(2), VERSION, WRONG)
        assert await prove(world, anchor, 0, 2)


@one_engine
async def test_the_blocks_that_count_are_chosen(world: World) -> None:
    """What is not buried deep enough is not seen yet."""
    async with an_anchor(world, finality="latest-2") as anchor:
        await world.mine(2)
        await anchor.submit(world.operator(0), VERSION, RIGHT)
        who = [address(world.operator(0))]
        assert await anchor.commitments(VERSION, who) == {}
        await world.mine(2)
        assert await anchor.commitments(VERSION, who) == {who[0]: RIGHT}


@one_engine
async def test_another_registry_or_chain_is_named(world: World) -> None:
    """No contract, a contract of another kind, a registry of another cluster, another chain: each a sentence."""
    registry = await deploy_registry(world.avs, cluster_of(world))
    here = AnchorConfig(world.engine.url, world.engine.chain_id, registry)
    for config, cluster, words in (
        (replace(here, registry=b"\x77" * 20), cluster_of(world), "no contract at this address"),
        (
            replace(here, registry=world.contracts.key_registrar),
            cluster_of(world),
            "another contract is there, and no registry of this program",
        ),
        (here, replace(cluster_of(world), operator_set_id=1), "it is the registry of another cluster"),
        (replace(here, chain_id=8453), cluster_of(world), "serves chain 31337"),
    ):
        async with open_anchor(config, cluster_id(cluster)) as anchor:
            with pytest.raises(ChainError, match=words) as wrong:
                await anchor.submissions()
        assert "anchor" in str(wrong.value.hint)
    with pytest.raises(InputError, match="20-byte address"):
        replace(here, registry=bytes(20))


@one_engine
async def test_an_account_without_ether_is_told_what_it_needs(world: World) -> None:
    """Before anything is sent."""
    async with an_anchor(world) as anchor:
        poor = anchor.sender(keccak256(b"poor"))
        await set_member(world.avs, anchor.config.registry, poor.address)
        await transfer(world.sender(31), poor.address, 1000)
        with pytest.raises(ChainError, match=f"{to_hex(poor.address)} has 1000 wei on chain 31337") as told:
            await anchor.submit(poor, VERSION, RIGHT)
        assert told.value.hint == "send it ether on the anchor's chain"


def test_what_is_anchored_binds_key_recipients_version_and_cluster() -> None:
    """The root is frozen; it changes with each part, and with nothing else of the transcript."""
    transcript = make_network().epoch.transcript
    made = commitment_to(transcript)
    assert made.transcript_hash == transcript.hash
    assert made.root.hex() == GOLDEN_ROOT
    others = (
        replace(transcript, cluster=type(transcript.cluster)(bytes(32))),
        replace(transcript, mpk=bytes(96)),
        replace(
            transcript, recipients=replace(transcript.recipients, members=transcript.recipients.members[1:])
        ),
        replace(transcript, boundary=replace(transcript.boundary, timestamp=1)),
    )
    assert len({made.root, *(commitment_to(other).root for other in others)}) == 5
    assert commitment_to(replace(transcript, source_version=7)).root == made.root


GOLDEN_ROOT = "77b235b25c7038bfbce0dbf4b98c8660171e5186b7f65242fb874d5c80dc9784"
