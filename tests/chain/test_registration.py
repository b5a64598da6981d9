"""An operator's life on chain, on every engine."""

import pytest
import trio
from eth_abi.abi import encode

from eigenkms.chain import abi, registration
from eigenkms.chain.operator_keys import registration_digest
from eigenkms.chain.rpc import JsonRpc, RpcRefusedError
from eigenkms.chain.rpc_values import parse_bytes
from eigenkms.chain.transactions import Sender
from eigenkms.crypto import bn254
from eigenkms.errors import ChainError, InputError
from eigenkms.types import to_hex
from tests.chain.conftest import DELAY, World, bn254_key, one_engine, socket_of
from tests.support.rpc_servers import tampering

STRANGER = 9
PAYEE = b"\xaa" * 20


async def call(rpc: JsonRpc, to: bytes, function: abi.Function, *values: object) -> object:
    answer = await rpc.call(
        "eth_call", {"to": to_hex(to), "data": to_hex(function.encode(*values))}, "latest"
    )
    return function.decode(parse_bytes(answer, function.name))[0]


async def test_registration_tells_each_missing_step_by_name(world: World) -> None:
    """The contracts check operator, allow-list, key, membership in this order, and each refusal says what to do."""
    operator, contracts = world.operator(STRANGER), world.contracts

    async def refusal() -> tuple[str, str | None]:
        with pytest.raises(ChainError) as caught:
            await registration.register_for_operator_set(operator, contracts, "/ip4/1.2.3.4/tcp/1")
        return str(caught.value), caught.value.hint

    message, hint = await refusal()
    assert "not registered as an operator" in message
    assert hint == "register it as an operator first"
    await registration.register_as_operator(operator, contracts)
    assert "not on the allow-list" in (await refusal())[0]
    await registration.add_to_allowlist(world.avs, contracts, operator.address)
    assert "no key in this set" in (await refusal())[0]
    await registration.register_bn254_key(operator, contracts, bn254_key(STRANGER))
    await registration.register_for_operator_set(operator, contracts, "/ip4/1.2.3.4/tcp/1")
    assert "in the set already" in (await refusal())[0]
    async with world.reader() as chain:
        read = await chain.operators_at(await chain.head())
    joined = read.operator_set.get(operator.address)
    assert joined is not None
    assert joined.key == bn254_key(STRANGER).g2


async def test_the_digest_computed_here_is_the_one_of_the_contract(world: World) -> None:
    """The EIP-712 digest of a registration needs no node to compute."""
    contracts, operator = world.contracts, world.operator(STRANGER).address
    key_data = bn254.registration_key_data(bn254_key(STRANGER))
    told = await call(
        world.rpc,
        contracts.key_registrar,
        abi.BN254_MESSAGE_HASH,
        operator,
        (contracts.avs, contracts.operator_set_id),
        key_data,
    )
    assert registration_digest(contracts, operator, abi.CURVE_BN254, key_data) == told


@one_engine
async def test_a_node_cannot_make_the_key_sign_another_message(world: World) -> None:
    """A message hash that differs from the computed one stops the registration before anything is signed."""
    selector = to_hex(abi.BN254_MESSAGE_HASH.selector)

    def lie(request: dict, answer: dict) -> dict:
        params = request["params"]
        if request["method"] == "eth_call" and params[0]["data"].startswith(selector):
            return answer | {"result": "0x" + "11" * 32}
        return answer

    async with tampering(world.engine.url, lie) as liar, JsonRpc(liar.url) as rpc:
        operator = world.sender(2 + STRANGER, rpc)
        with pytest.raises(ChainError, match="sign another message"):
            await registration.register_bn254_key(operator, world.contracts, bn254_key(STRANGER))
        assert not any(b"eth_sendRawTransaction" in body for body in liar.seen)


@pytest.mark.parametrize("wrong", ["signature", "digest", "g1", "order", "off curve"])
async def test_a_wrong_proof_of_possession_is_rejected(world: World, wrong: str) -> None:
    """The pairing proof binds signature, digest and both halves of the key; nothing of it can be exchanged."""
    operator, contracts, key, other = world.operator(STRANGER), world.contracts, bn254_key(50), bn254_key(51)
    key_data = key.g1 + key.g2
    match wrong:
        case "g1":
            key_data = other.g1 + key.g2
        case "order":
            words = [key.g2[i : i + 32] for i in range(0, 128, 32)]
            key_data = key.g1 + words[1] + words[0] + words[3] + words[2]
        case "off curve":
            key_data = key.g1[:-1] + bytes([key.g1[-1] ^ 1]) + key.g2
    digest = registration_digest(contracts, operator.address, abi.CURVE_BN254, key_data)
    if wrong == "digest":
        digest = registration_digest(contracts, world.avs.address, abi.CURVE_BN254, key_data)
    signature = bn254.sign_registration(other if wrong == "signature" else key, digest)
    data = abi.REGISTER_KEY.encode(
        operator.address, (contracts.avs, contracts.operator_set_id), key_data, signature
    )
    with pytest.raises(RpcRefusedError) as caught:
        await world.rpc.call(
            "eth_call",
            {"from": to_hex(operator.address), "to": to_hex(contracts.key_registrar), "data": to_hex(data)},
            "latest",
        )
    reasons = {"order": "PrecompileFailed()", "off curve": "PrecompileFailed()"}
    error = abi.topic(reasons.get(wrong, "InvalidSignature()"))[:4]
    assert caught.value.is_revert
    assert caught.value.data == error


async def test_a_key_is_burned_for_ever(world: World) -> None:
    """A key that stands for one operator cannot be registered by another, nor again after it was given up."""
    operator = world.operator(STRANGER)
    with pytest.raises(ChainError, match="registered only once"):
        await registration.register_bn254_key(operator, world.contracts, bn254_key(0))
    await registration.register_bn254_key(operator, world.contracts, bn254_key(STRANGER))
    await registration.deregister_key(operator, world.contracts)
    with pytest.raises(ChainError, match="registered only once") as caught:
        await registration.register_bn254_key(operator, world.contracts, bn254_key(STRANGER))
    assert caught.value.hint is not None
    assert "make a new key" in caught.value.hint


async def test_leaving_and_coming_back(world: World) -> None:
    """One who left stays slashable for the delay: it can neither give up its key nor come back before, and can after."""
    operator, contracts = world.operator(0), world.contracts
    with pytest.raises(ChainError, match="slashable"):
        await registration.deregister_key(operator, contracts)
    await registration.deregister(operator, contracts)
    with pytest.raises(ChainError, match="slashable"):
        await registration.deregister_key(operator, contracts)
    with pytest.raises(ChainError, match="slashable"):
        await registration.register_for_operator_set(operator, contracts, socket_of(0))
    await world.mine(DELAY)
    await registration.register_for_operator_set(operator, contracts, socket_of(0))
    async with world.reader() as chain:
        head = await chain.head()
        assert operator.address in (await chain.operators_at(head)).operator_set.addresses
        assert await chain.members_ever_left(head)


async def test_the_avs_removes_an_operator_and_a_stranger_cannot(world: World) -> None:
    """Only an operator itself and the AVS may end a membership."""
    target = world.operator(1).address
    with pytest.raises(ChainError, match="only the operator or the AVS"):
        await registration.deregister(world.operator(2), world.contracts, target)
    await registration.deregister(world.avs, world.contracts, target)
    with pytest.raises(ChainError, match="not in the set"):
        await registration.deregister(world.avs, world.contracts, target)


async def test_a_socket_changes_without_leaving(world: World) -> None:
    """update_socket is seen by the next read, and belongs to its operator alone."""
    await registration.update_socket(world.operator(1), world.contracts, "/dns4/kms.example/tcp/4001")
    async with world.reader() as chain:
        read = await chain.operators_at(await chain.head())
    sockets = {operator.address: operator.socket for operator in read.operators}
    assert sockets[world.operator(1).address] == "/dns4/kms.example/tcp/4001"
    assert sockets[world.operator(2).address] == socket_of(2)


async def test_only_the_owner_keeps_the_list(world: World) -> None:
    """A stranger cannot put itself on the allow-list."""
    with pytest.raises(ChainError, match="may not act for this account"):
        await registration.add_to_allowlist(
            world.operator(STRANGER), world.contracts, world.operator(STRANGER).address
        )


@one_engine
async def test_a_transaction_that_is_not_mined_is_named_by_its_hash(world: World) -> None:
    """After the deadline the hash is told, so that nobody sends the same thing under a second nonce."""
    await world.rpc.call("evm_setAutomine", False)
    try:
        patient = Sender(  # deadline of the subject: no block is made
            world.rpc, world.engine.accounts[20], world.engine.chain_id, deadline=0.3
        )
        with pytest.raises(ChainError, match=r"transaction 0x[0-9a-f]{64} is in no block after 0\.3 s"):
            await registration.transfer(patient, PAYEE, 1)
    finally:
        await world.mine()  # or it would wait in the pool for the next test
        await world.rpc.call("evm_setAutomine", True)


@one_engine
async def test_a_transaction_whose_sending_broke_off_is_still_found(world: World) -> None:
    """The node takes the transaction but its answer is lost: the receipt is found by the hash fixed before."""

    def lose(request: dict, answer: dict) -> dict:
        return {} if request["method"] == "eth_sendRawTransaction" else answer

    async with tampering(world.engine.url, lose) as proxy, JsonRpc(proxy.url) as rpc:
        await registration.transfer(world.sender(21, rpc), PAYEE, 5)
    assert await world.rpc.call("eth_getBalance", to_hex(PAYEE), "latest") == "0x5"


async def test_a_transaction_that_runs_out_of_gas_is_told_as_such(world: World) -> None:
    """Gas is explicit, so too little of it is a reason of its own."""
    data = abi.REGISTER_AS_OPERATOR.encode(bytes(20), 0, "")
    with pytest.raises(ChainError, match=r"become an operator: the transaction used all its gas \(30000\)"):
        await world.operator(STRANGER).send(
            "become an operator", world.contracts.delegation_manager, data, gas=30_000
        )


@one_engine
async def test_a_receipt_is_awaited_through_an_outage(world: World) -> None:
    """While the transaction is under way the RPC may be unreachable for a while."""
    outages = 3

    def lose(request: dict, answer: dict) -> dict | None:
        nonlocal outages
        if request["method"] == "eth_getTransactionReceipt" and outages:
            outages -= 1
            return None
        return answer

    async with tampering(world.engine.url, lose) as proxy, JsonRpc(proxy.url) as rpc:
        receipt = await registration.transfer(world.sender(21, rpc), PAYEE, 5)
    assert receipt.gas_used == 21_000
    assert outages == 0


@one_engine
async def test_transactions_of_one_account_queue_up(world: World) -> None:
    """Many tasks may share a sender: nonces do not collide."""
    sender, target = world.sender(22), PAYEE
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(registration.transfer, sender, target, 1)
    assert await world.rpc.call("eth_getBalance", to_hex(target), "latest") == "0x5"


@one_engine
async def test_a_sender_refuses_another_chain(world: World) -> None:
    """Nothing is signed for a chain that the RPC does not serve."""
    sender = Sender(world.rpc, world.engine.accounts[5], 1)
    with pytest.raises(ChainError, match="is not chain 1"):
        await registration.transfer(sender, bytes(20), 1)


def test_a_sender_shows_no_key() -> None:
    """Neither the repr nor a failure to load shows key material."""
    key = bytes(range(1, 33))
    rpc = JsonRpc("http://127.0.0.1:1")
    assert key.hex() not in repr(Sender(rpc, key, 1))
    with pytest.raises(InputError) as caught:
        Sender(rpc, b"\xff" * 32, 1)
    assert "ff" * 4 not in str(caught.value)


async def test_an_ecdsa_key_is_registered_with_its_proof(world: World) -> None:
    """Operator sets of the ECDSA curve work too: the signature must be that of the key, over the contract's digest."""
    from eth_account import Account

    from eigenkms.devnet.contract_deployment import deploy_contracts

    contracts = await deploy_contracts(
        world.rpc, world.engine.accounts[0], world.engine.accounts[15], curve_type=1
    )
    operator, key = world.operator(STRANGER), Account.from_key(b"\x07" * 32)
    operator_set = (contracts.avs, 0)
    digest = await call(
        world.rpc,
        contracts.key_registrar,
        abi.ECDSA_MESSAGE_HASH,
        operator.address,
        operator_set,
        key.address,
    )
    assert isinstance(digest, bytes)
    address = bytes.fromhex(key.address[2:])
    for signer, accepted in ((Account.from_key(b"\x08" * 32), False), (key, True)):
        signature = bytes(signer.unsafe_sign_hash(digest).signature)
        data = abi.REGISTER_KEY.encode(operator.address, operator_set, address, signature)
        sending = operator.send("register the key", contracts.key_registrar, data, gas=500_000)
        if accepted:
            await sending
        else:
            with pytest.raises(ChainError, match="proof of possession"):
                await sending
    get_address = abi.Function("getECDSAAddress", (abi.SET, "address"), ("address",))
    stored = await call(world.rpc, contracts.key_registrar, get_address, operator_set, operator.address)
    assert stored == key.address.lower()


def test_call_data_of_a_registration_is_the_abi_of_the_contract() -> None:
    """RegisterForOperatorSets carries the socket as an ABI-encoded string."""
    data = abi.REGISTER_FOR_SETS.encode(bytes(20), (bytes(20), [0], encode(("string",), ("s",))))
    assert data[:4].hex() == "adc2e3d9"
