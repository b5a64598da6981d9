"""Plans of an operator's life on every engine: what they read, and what they send, in the order that the contracts ask for."""

import pytest

from eigenkms.chain import abi, registration
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_keys import Bn254Key, EcdsaKey
from eigenkms.chain.operator_plan import Plan
from eigenkms.chain.operator_registry import open_registry
from eigenkms.chain.operator_set_source import open_chain
from eigenkms.chain.registration import perform
from eigenkms.chain.transactions import Sender, Terms
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.errors import ChainError, InputError
from tests.chain.conftest import DELAY, World, bn254_key, one_engine, socket_of

NEWCOMER = 9


async def carry_out(sender: Sender, plan: Plan) -> list[str]:
    """Send all; the names of the steps that were sent."""
    for call in plan.calls:
        await perform(sender, call)
    return [step.name for step in plan.steps if step.call is not None]


async def test_a_life_by_plans(world: World) -> None:
    """Each plan is empty once it is carried out; one who left is slashable until the block that is told."""
    operator, key = world.operator(NEWCOMER), Bn254Key(bn254_key(NEWCOMER))
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
        left = await registry.read_registration(operator.address)
        assert (left.is_member, left.is_slashable, left.slashable_until) == (False, True, left.block + DELAY)
        await world.mine(DELAY - 1)
        with pytest.raises(InputError, match=f"slashable until block {left.slashable_until}"):
            await registry.give_up_key(operator.address)
        await world.mine(2)
        now = await registry.read_registration(operator.address)
        assert (now.is_slashable, now.slashable_until, now.key) == (False, None, key.data)
        back = await registry.register(operator.address, key, socket_of(NEWCOMER))
        assert await carry_out(operator, back) == ["join operator set"]


@one_engine
async def test_a_life_in_a_set_of_ecdsa_keys(world: World) -> None:
    """Its keys are registered with their own proof, read, compared, given up, and burned; one of BN254 is refused."""
    accounts = world.engine.accounts
    contracts = await deploy_contracts(
        world.rpc, accounts[0], accounts[15], deallocation_delay=DELAY, curve_type=abi.CURVE_ECDSA
    )
    owner, operator, key = world.sender(15), world.operator(NEWCOMER), EcdsaKey(b"\x07" * 32)
    config = contracts.config(world.engine.url, Finality("latest"))
    async with open_registry(config, contracts.delegation_manager) as registry:
        await carry_out(owner, await registry.allow(owner.address, operator.address))
        with pytest.raises(InputError, match="takes ECDSA keys, and the keystore holds one of BN254"):
            await registry.register(operator.address, Bn254Key(bn254_key(NEWCOMER)), socket_of(NEWCOMER))
        joining = await registry.register(operator.address, key, socket_of(NEWCOMER))
        assert [await registry.simulate(joining, call) for call in joining.calls] == [None, None, ""]
        assert "no node of this network can serve" in joining.warnings[0]
        assert len(await carry_out(operator, joining)) == 3
        now = await registry.read_registration(operator.address)
        assert (now.is_member, now.curve, now.key) == (True, abi.CURVE_ECDSA, key.data)
        assert not (await registry.register(operator.address, key, socket_of(NEWCOMER))).calls
        with pytest.raises(InputError, match="another ECDSA key in this set"):
            await registry.register(operator.address, EcdsaKey(b"\x08" * 32), socket_of(NEWCOMER))

        await carry_out(operator, await registry.leave(operator.address))
        await world.mine(DELAY + 1)
        assert await carry_out(operator, await registry.give_up_key(operator.address)) == ["deregister key"]
        assert (await registry.read_registration(operator.address)).key is None
        with pytest.raises(InputError, match="the ECDSA key of the keystore was registered before"):
            await registry.register(operator.address, key, socket_of(NEWCOMER))
    async with open_chain(config, curves=(abi.CURVE_ECDSA,)) as chain:
        assert (await chain.set_now())[1].keys == {}
    with pytest.raises(ChainError, match="its key curve is ECDSA, not BN254"):
        async with open_chain(config):
            pass


def test_an_ecdsa_key_does_not_show_itself() -> None:
    """Neither in its repr, nor in what is said of a bad one."""
    assert "07" * 4 not in repr(EcdsaKey(b"\x07" * 32))
    for bad in (b"\xff" * 32, b"\xfe" * 31):
        with pytest.raises(InputError) as caught:
            EcdsaKey(bad)
        assert bad.hex()[:8] not in str(caught.value)


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


@one_engine
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
