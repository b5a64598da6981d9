"""Plans of an operator's life on every engine: what they read, and what they send, in the order that the contracts ask for."""

import pytest

from eigenkms.chain import registration
from eigenkms.chain.config import Finality
from eigenkms.chain.lifecycle import Plan, open_registry
from eigenkms.chain.registration import perform
from eigenkms.chain.transactions import Sender, Terms
from eigenkms.errors import ChainError, InputError
from tests.chain.conftest import DELAY, World, bn254_key, socket_of

NEWCOMER = 9


async def carry_out(sender: Sender, plan: Plan) -> list[str]:
    """Send all; the names of the steps that were sent."""
    for call in plan.calls:
        await perform(sender, call)
    return [step.name for step in plan.steps if step.call is not None]


async def test_a_life_by_plans(world: World) -> None:
    """Each plan is empty once it is carried out; one who left is slashable until the block that is told."""
    operator, key = world.operator(NEWCOMER), bn254_key(NEWCOMER)
    config = world.contracts.config(world.engine.url, Finality("finalized"))
    async with open_registry(config, world.contracts.delegation_manager) as registry:
        assert registry.contracts.registrar == world.contracts.registrar
        assert await carry_out(world.avs, await registry.allow(world.avs.address, operator.address))
        joining = await registry.register(operator.address, key, socket_of(NEWCOMER))
        assert await registry.fee(joining, Terms()) > 0
        assert [await registry.simulate(joining, call) for call in joining.calls] == [None, None, ""]
        assert len(await carry_out(operator, joining)) == 3
        assert not (await registry.register(operator.address, key, socket_of(NEWCOMER))).calls
        note = (await registry.register(operator.address, key, socket_of(1))).after
        assert note == (
            f"its socket on chain is {socket_of(NEWCOMER)!r}: change it with operator update-socket",
        )

        assert await carry_out(operator, await registry.leave(operator.address)) == ["leave operator set"]
        left = await registry.standing(operator.address)
        assert (left.is_member, left.is_slashable, left.slashable_until) == (False, True, left.block + DELAY)
        await world.mine(DELAY - 1)
        with pytest.raises(InputError, match=f"slashable until block {left.slashable_until}"):
            await registry.give_up_key(operator.address)
        await world.mine(2)
        now = await registry.standing(operator.address)
        assert (now.is_slashable, now.slashable_until, now.key) == (False, None, key.g1 + key.g2)
        back = await registry.register(operator.address, key, socket_of(NEWCOMER))
        assert await carry_out(operator, back) == ["join operator set"]


async def test_what_is_wrong_with_a_call_shows_when_it_is_tried(world: World) -> None:
    """The contract's own reason, in words."""
    stranger = world.operator(NEWCOMER).address
    config = world.contracts.config(world.engine.url, Finality("latest"))
    async with open_registry(config, world.contracts.delegation_manager) as registry:
        plan = await registry.allow(world.avs.address, stranger)
        (call,) = plan.calls
        assert await registry.simulate(plan, call) is None
        as_another = Plan(plan.action, stranger, plan.steps)
        told = await registry.simulate(as_another, call)
        assert told == "the sender may not act for this account"


async def test_a_registry_needs_its_contracts(world: World) -> None:
    """The delegation manager is looked at too, before any plan is made."""
    config = world.contracts.config(world.engine.url, Finality("latest"))
    with pytest.raises(ChainError, match="check delegation manager 0x5a5a"):
        async with open_registry(config, b"\x5a" * 20):
            pass


def test_a_call_is_encoded_as_it_is_shown() -> None:
    """Function and arguments of a plan are those of its calldata."""
    from eigenkms.chain.config import Deployment

    contracts = Deployment(*(bytes([n]) * 20 for n in range(1, 5)), None, b"\x06" * 20, 1, 3)
    call = registration.call_allow(contracts, b"\x09" * 20)
    assert call.function.signature == "addOperatorToAllowlist((address,uint32),address)"
    assert call.arguments == ((b"\x06" * 20, 3), b"\x09" * 20)
    assert call.data == call.function.encode(*call.arguments)
