"""Whose word a version counts by: that of the operators that the chain had, at its block or at the block of its number."""

from dataclasses import replace

import pytest

from eigenkms.chain.certificate_check import verify_holders, verify_operators
from eigenkms.errors import VerificationError
from tests.client.village import Village, block_at, make_village


@pytest.fixture(scope="module")
def village() -> Village:
    return make_village()


async def test_a_version_whose_block_was_replaced_is_dealt_from_and_not_served(village: Village) -> None:
    """Some operators may deal from it alone, so the others must; clients wait for the next version, whose block they find."""
    holders = village.epoch.transcript.recipients
    replaced = block_at(100, "fork")
    found = await verify_holders(village.chain, replaced, holders, "verify head")
    assert found.operator_set == holders
    with pytest.raises(VerificationError, match="block 100 of its session is not on this chain"):
        await verify_operators(village.chain, replaced, holders, "verify epoch certificate")


@pytest.mark.parametrize(
    ("number", "seed", "words"),
    [
        (100, "strangers", "are not the 4 that the chain had at block 100"),
        (106, "village", "block 106 of its session is not final yet"),
    ],
)
async def test_only_operators_of_the_chain_are_dealt_from(
    village: Village, number: int, seed: str, words: str
) -> None:
    """A prepared version proves nothing but that its own recipients signed it."""
    holders = make_village(seed=seed).epoch.transcript.recipients
    with pytest.raises(VerificationError, match=f"verify head: .*{words}"):
        await verify_holders(village.chain, block_at(number), holders, "verify head")


async def test_a_version_of_the_future_is_not_dealt_from(village: Village) -> None:
    """Whoever signs chooses the time. One beyond all others would be the highest version for ever."""
    holders, head = village.epoch.transcript.recipients, await village.chain.head()
    last = replace(block_at(100, "fork"), timestamp=head.timestamp)
    await verify_holders(village.chain, last, holders, "verify head")
    beyond = replace(last, timestamp=head.timestamp + 1)
    with pytest.raises(VerificationError, match="block 100 lies ahead of the chain's head"):
        await verify_holders(village.chain, beyond, holders, "verify head")
