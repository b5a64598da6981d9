"""Whose word a version counts by: that of the operators that the chain had, at its block or at the block of its number."""

from dataclasses import replace

import pytest

from eigenkms.chain.certificate_check import verify_holders, verify_operators
from eigenkms.errors import VerificationError
from tests.support.fake_network import FakeNetwork, block_at, make_network


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    return make_network()


async def test_a_version_whose_block_was_replaced_is_dealt_from_and_not_served(network: FakeNetwork) -> None:
    """Some operators may deal from it alone, so the others must; clients wait for the next version, whose block they find."""
    holders = network.epoch.transcript.recipients
    replaced = block_at(100, "fork")
    found = await verify_holders(network.chain, replaced, holders, "verify head")
    assert found.operator_set == holders
    with pytest.raises(VerificationError, match="block 100 of its session is not on this chain"):
        await verify_operators(network.chain, replaced, holders, "verify epoch certificate")


@pytest.mark.parametrize(
    ("number", "seed", "words"),
    [
        (100, "strangers", "are not the 4 that the chain had at block 100"),
        (106, "fork", "block 106 of its session is not final yet"),
    ],
)
async def test_only_operators_of_the_chain_are_dealt_from(
    network: FakeNetwork, number: int, seed: str, words: str
) -> None:
    """A prepared version proves nothing but that its own recipients signed it."""
    holders = make_network(seed=seed).epoch.transcript.recipients
    with pytest.raises(VerificationError, match=f"verify head: .*{words}"):
        await verify_holders(network.chain, block_at(number), holders, "verify head")


async def test_a_version_of_the_future_is_not_dealt_from(network: FakeNetwork) -> None:
    """Whoever signs chooses the time. One beyond all others would be the highest version for ever."""
    holders, head = network.epoch.transcript.recipients, await network.chain.head()
    last = replace(block_at(100, "fork"), timestamp=head.timestamp)
    await verify_holders(network.chain, last, holders, "verify head")
    beyond = replace(last, timestamp=head.timestamp + 1)
    with pytest.raises(VerificationError, match="block 100 lies ahead of the chain's head"):
        await verify_holders(network.chain, beyond, holders, "verify head")
