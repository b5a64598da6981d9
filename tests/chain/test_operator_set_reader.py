"""Reading the operator set, on every engine, from nodes that are honest, pruned, lying, or of another chain."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eigenkms.chain import abi, registration
from eigenkms.chain.config import ChainConfig, Finality
from eigenkms.chain.operator_set import MAX_SOCKET_CHARACTERS, RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.chain.rpc import RpcRefusedError
from eigenkms.crypto import bn254
from eigenkms.devnet.contract_deployment import deploy_contracts
from eigenkms.errors import ChainError, InputError
from eigenkms.types import to_hex
from tests.chain.conftest import DELAY, MEMBERS, World, bn254_key, one_engine, socket_of
from tests.support.rpc_servers import Call, Tamper, tampering


async def read_head(world: World, finality: str = "latest") -> RawOperatorSet:
    async with world.reader(finality) as chain:
        return await chain.operators_at(await chain.head())


def selector(function: abi.Function) -> str:
    return to_hex(function.selector)


def is_call(request: Call, function: abi.Function) -> bool:
    return request["method"] == "eth_call" and request["params"][0]["data"].startswith(selector(function))


# ---------------------------------------------------------------------------------------------------- the set


async def test_the_set_is_sorted_with_keys_and_sockets(world: World) -> None:
    """Members come sorted by address, each with its key in both groups and its socket as text."""
    read = await read_head(world)
    expected = {world.operator(i).address: (bn254_key(i), socket_of(i)) for i in range(MEMBERS)}
    assert [operator.address for operator in read.operators] == sorted(expected)
    for operator in read.operators:
        key, socket = expected[operator.address]
        assert (operator.key_g1, operator.key, operator.socket) == (key.g1, key.g2, socket)
    assert read.rejected == ()
    assert read.operator_set.addresses == tuple(sorted(expected))


async def test_the_contract_swaps_and_pops_but_the_set_stays_sorted(world: World) -> None:
    """Removal moves the last member to the front of the contract's list; readers see one order all the same."""
    await registration.deregister(world.operator(0), world.contracts)
    contracts = world.contracts
    raw = await world.rpc.call(
        "eth_call",
        {
            "to": to_hex(contracts.allocation_manager),
            "data": to_hex(abi.GET_MEMBERS.encode((contracts.avs, contracts.operator_set_id))),
        },
        "latest",
    )
    assert isinstance(raw, str)
    (listed,) = abi.GET_MEMBERS.decode(bytes.fromhex(raw[2:]))
    joined = [to_hex(world.operator(i).address) for i in range(MEMBERS)]
    assert list(listed) == [joined[3], joined[1], joined[2]]
    addresses = (await read_head(world)).operator_set.addresses
    assert [to_hex(address) for address in addresses] == sorted(joined[1:])


async def test_a_set_without_members_is_empty(world: World) -> None:
    """The last one may leave; that is a fact and not an error of the read."""
    for i in range(MEMBERS):
        await registration.deregister(world.operator(i), world.contracts)
    read = await read_head(world)
    assert read.operators == ()
    assert len(read.operator_set) == 0


async def test_reads_at_an_old_block_answer_for_that_block(world: World) -> None:
    """A change after a block does not show in a read at it."""
    async with world.reader() as chain:
        before = await chain.head()
        await registration.deregister(world.operator(2), world.contracts)
        assert len((await chain.operators_at(before)).operators) == MEMBERS
        assert len((await chain.operators_at(await chain.head())).operators) == MEMBERS - 1


async def test_a_block_that_was_reorganised_away_cannot_be_read(world: World) -> None:
    """Pinned by hash: neither the replaced block nor, silently, its successor of the same number."""
    async with world.reader() as chain:
        await registration.deregister(world.operator(2), world.contracts)
        await world.mine()
        ghost = await chain.head()
        assert await chain.is_canonical(ghost)
        assert len((await chain.operators_at(ghost)).operators) == MEMBERS - 1
        await world.reorganise(2)
        replacement = await chain.block(ghost.number)
        assert replacement is not None
        assert replacement.hash != ghost.hash
        assert not await chain.is_canonical(ghost)
        with pytest.raises(ChainError, match="is not canonical") as caught:
            await chain.operators_at(ghost)
        assert caught.value.hint is not None
        assert len((await chain.operators_at(replacement)).operators) == MEMBERS


async def test_a_strange_socket_is_text_and_stops_nobody(world: World) -> None:
    """Bytes that are no UTF-8, and far too many of them, are the owner's problem alone."""
    await registration.update_socket(world.operator(1), world.contracts, "z" * 5000)
    operator, contracts = world.operator(3), world.contracts
    text = abi.Function("updateSocket", ("address", "bytes")).encode(operator.address, b"\xff\xfe\x00!")
    data = abi.UPDATE_SOCKET.selector + text[4:]
    await operator.send("set a strange socket", contracts.registrar, data, gas=400_000)
    read = await read_head(world)
    sockets = {entry.address: entry.socket for entry in read.operators}
    assert sockets[world.operator(1).address] == "z" * MAX_SOCKET_CHARACTERS
    assert sockets[operator.address] == "\ufffd\ufffd\x00!"
    assert len(sockets) == MEMBERS


def with_key(number: int, world: World, key: bytes) -> Callable[[Call, dict[str, Any]], dict[str, Any]]:
    """Tampering that gives one operator another registered key."""
    operator = world.operator(number).address.hex()

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if is_call(request, abi.GET_BN254_KEY) and request["params"][0]["data"].endswith(operator):
            return answer | {"result": to_hex(key)}
        return answer

    return tamper


BAD_KEYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "none": (lambda: bytes(192), "no BN254 key is registered"),
    "off the curve": (lambda: bn254_key(1).g1 + bytes(127) + b"\x01", "not a point"),
    "halves differ": (lambda: bn254_key(1).g1 + bn254_key(60).g2, "different keys"),
    "g1 off the curve": (lambda: bytes(63) + b"\x01" + bn254_key(1).g2, "different keys"),
    "not canonical": (lambda: b"\xff" * 192, "not a point"),
}


@one_engine
@pytest.mark.parametrize("bad", BAD_KEYS)
async def test_one_bad_key_sets_its_operator_aside_and_nobody_else(world: World, bad: str) -> None:
    """Discovery goes on without the operator, which is named with the reason."""
    make, reason = BAD_KEYS[bad]
    async with (
        tampering(world.engine.url, with_key(1, world, make())) as node,
        world.reader(url=node.url) as chain,
    ):
        read = await chain.operators_at(await chain.head())
    ((address, why),) = read.rejected
    assert address == world.operator(1).address
    assert reason in why
    assert len(read.operators) == MEMBERS - 1


@one_engine
async def test_two_operators_with_one_key_are_both_set_aside(world: World) -> None:
    """A key that stands twice proves nothing about either."""
    twin = bn254.registration_key_data(bn254_key(0))
    async with (
        tampering(world.engine.url, with_key(1, world, twin)) as node,
        world.reader(url=node.url) as chain,
    ):
        read = await chain.operators_at(await chain.head())
    assert [address for address, _ in read.rejected] == sorted(world.operator(i).address for i in (0, 1))
    assert all("same key" in why for _, why in read.rejected)


@one_engine
async def test_a_registrar_that_refuses_one_key_stops_nobody(world: World) -> None:
    """A revert for one operator's key or socket is that operator's matter."""
    refused = world.operator(2).address.hex()

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        per_operator = is_call(request, abi.GET_BN254_KEY) or is_call(request, abi.GET_SOCKET)
        if per_operator and request["params"][0]["data"].endswith(refused):
            error = {"code": 3, "message": "execution reverted", "data": "0x"}
            return {"jsonrpc": "2.0", "id": request["id"], "error": error}
        return answer

    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        read = await chain.operators_at(await chain.head())
    assert [address for address, _ in read.rejected] == [world.operator(2).address]


@one_engine
async def test_a_set_costs_two_round_trips(world: World) -> None:
    """Members first, then all keys and sockets in one batch."""
    async with (
        tampering(world.engine.url, lambda _, answer: answer) as node,
        world.reader(url=node.url) as chain,
    ):
        head = await chain.head()
        node.seen.clear()
        await chain.operators_at(head)
    assert [len(json.loads(body)) for body in node.seen] == [3, 1 + 2 * MEMBERS]
    pins = [
        call["params"][1] for body in node.seen for call in json.loads(body) if call["method"] == "eth_call"
    ]
    assert all(pin == {"blockHash": to_hex(head.hash), "requireCanonical": True} for pin in pins)


# ---------------------------------------------------------------------------------------------------- pruned state


def pruned_before(number: int, hashes: dict[str, int], log_range: int = 10**6) -> Tamper:
    """A node without the state of blocks below a number, which serves logs of at most ``log_range`` blocks."""

    def error(request: Call, code: int, message: str) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}}

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        params = request["params"]
        pinned = request["method"] == "eth_call" and isinstance(params[1], dict)
        if pinned and hashes.get(params[1]["blockHash"], number) < number:
            return error(request, -32000, "missing trie node 5f0c (path ) state 0x77 is not available")
        if request["method"] != "eth_getLogs":
            return answer
        if int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) >= log_range:
            return error(request, -32005, f"query exceeds max block range {log_range}")
        return answer

    return tamper


@pytest.mark.parametrize(
    ("background", "log_range"),
    [("embedded", 3), pytest.param("anvil", 10**6, marks=pytest.mark.anvil)],
    indirect=["background"],
    scope="session",
)
async def test_a_pruned_node_still_tells_the_old_set(world: World, log_range: int) -> None:
    """Without the state, the set is that of today with every later join, departure and change of key undone.

    Also if the node tells events of a few blocks at a time only.
    """
    async with world.reader() as honest:
        block = await honest.head()
        truth = await honest.operators_at(block)
        leaver, changer, joiner = world.operator(0), world.operator(1), 7
        await registration.deregister(leaver, world.contracts)
        await registration.deregister(changer, world.contracts)
        await world.join(joiner)
        await world.mine(DELAY)
        await registration.deregister_key(changer, world.contracts)
        await registration.register_bn254_key(changer, world.contracts, bn254_key(70))
        await registration.register_for_operator_set(changer, world.contracts, socket_of(70))
        now = await honest.operators_at(await honest.head())
        assert now.operator_set != truth.operator_set
    tamper = pruned_before(block.number + 1, {to_hex(block.hash): block.number}, log_range)
    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        rolled = await chain.operators_at(block)
        assert rolled.operator_set == truth.operator_set
        assert [entry.key_g1 for entry in rolled.operators] == [entry.key_g1 for entry in truth.operators]
        assert await chain.members_ever_left(block) is False
        assert await chain.members_ever_left(await chain.head()) is True
    assert {entry.address: entry.socket for entry in rolled.operators}[changer.address] == socket_of(70)


@one_engine
async def test_a_pruned_node_that_hides_an_event_is_caught(world: World) -> None:
    """Events that do not lead to the set of today are an error, not a wrong set."""
    async with world.reader() as honest:
        block = await honest.head()
    await registration.deregister(world.operator(0), world.contracts)
    await world.mine(DELAY)
    await registration.register_for_operator_set(world.operator(0), world.contracts, socket_of(0))
    prune = pruned_before(block.number + 1, {to_hex(block.hash): block.number})

    def hide(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getLogs" and to_hex(abi.ADDED) in json.dumps(request):
            logs = [log for log in answer["result"] if log["topics"][0] == to_hex(abi.ADDED)]
            return answer | {"result": logs + logs}
        return prune(request, answer)

    async with tampering(world.engine.url, hide) as node, world.reader(url=node.url) as chain:
        with pytest.raises(ChainError, match="contradict the set"):
            await chain.operators_at(block)


@one_engine
async def test_a_reorganisation_during_the_roll_back_is_noticed(world: World) -> None:
    """The block must still be canonical after the events were read."""
    async with world.reader() as honest:
        block = await honest.head()
    await world.mine(2)
    prune = pruned_before(block.number + 1, {to_hex(block.hash): block.number})
    replaced = False

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal replaced
        replaced = replaced or request["method"] == "eth_getLogs"
        if replaced and request["params"][:1] == [hex(block.number)]:
            return answer | {"result": answer["result"] | {"hash": "0x" + "13" * 32}}
        return prune(request, answer)

    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        with pytest.raises(ChainError, match="reorganised meanwhile"):
            await chain.operators_at(block)


def shorter(data: str) -> str:
    """Event data (avs, id, curve, offset, length, key) with a key of 160 bytes."""
    raw = bytes.fromhex(data[2:])
    return to_hex(raw[:128] + (160).to_bytes(32, "big") + raw[160:320])


KEY_HISTORIES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "none": lambda _: [],
    "short data": lambda logs: [log | {"data": log["data"][: 2 + 128]} for log in logs],
    "short key": lambda logs: [log | {"data": shorter(log["data"])} for log in logs],
}


@one_engine
@pytest.mark.parametrize("history", KEY_HISTORIES)
async def test_an_old_key_that_no_event_tells_is_none(world: World, history: str) -> None:
    """A member whose key changed since, and whose old one cannot be found, is set aside or is an error: never guessed."""
    changer = world.operator(1)
    async with world.reader() as honest:
        block = await honest.head()
    await registration.deregister(changer, world.contracts)
    await world.mine(DELAY)
    await registration.deregister_key(changer, world.contracts)
    prune = pruned_before(block.number + 1, {to_hex(block.hash): block.number})

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any] | None:
        if request["method"] == "eth_getLogs" and len(request["params"][0]["topics"]) == 2:
            return answer | {"result": KEY_HISTORIES[history](answer["result"])}
        return prune(request, answer)

    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        if history != "short data":
            read = await chain.operators_at(block)
            assert read.rejected == ((changer.address, "no BN254 key was registered"),)
        else:
            with pytest.raises(ChainError, match="the event does not fit"):
                await chain.operators_at(block)


async def test_departures_are_those_of_this_set_alone(world: World) -> None:
    """An operator that left another AVS's set on the same contracts has not left this one."""
    async with world.reader() as chain:
        assert await chain.members_ever_left(await chain.head()) is False
        await registration.deregister(world.operator(3), world.contracts)
        head = await chain.head()
        assert await chain.members_ever_left(head) is True
        earlier = await chain.block(head.number - 1)
        assert earlier is not None
        assert await chain.members_ever_left(earlier) is False
    stranger = replace(world.contracts, operator_set_id=7)
    config = stranger.config(world.engine.url, Finality("latest"))
    assert await OperatorSetSource(config, world.rpc).members_ever_left(head) is False


# ---------------------------------------------------------------------------------------------------- blocks


async def test_heads_by_finality(world: World) -> None:
    """Safe is one below the head and finalized two on these engines; latest-K is K below, and never below zero."""
    await world.mine(4)
    numbers = {}
    for finality in ("latest", "latest-0", "latest-3", "latest-9999", "safe", "finalized"):
        async with world.reader(finality) as chain:
            numbers[finality] = (await chain.head()).number
    top = numbers["latest"]
    assert numbers == {
        "latest": top,
        "latest-0": top,
        "latest-3": top - 3,
        "latest-9999": 0,
        "safe": top - 1,
        "finalized": top - 2,
    }


async def test_blocks_by_number_and_by_hash(world: World) -> None:
    """A block is the same however it is asked for; what is not there is None."""
    async with world.reader() as chain:
        head = await chain.head()
        assert await chain.block(head.number) == head
        assert await chain.block(head.hash) == head
        assert await chain.block(head.number + 1000) is None
        assert await chain.block(b"\x77" * 32) is None
        parent = await chain.block(head.number - 1)
        assert parent is not None
        assert parent.timestamp < head.timestamp


@pytest.mark.parametrize("text", ["finalized", "safe", "latest", "latest-1", "latest-10000"])
def test_finality_is_written_as_it_is_read(text: str) -> None:
    """Parse and str are inverse."""
    assert str(Finality.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "Latest", "latest-", "latest--1", "latest-01", "latest-10001", "latest-99999", "safe-1", "latest-²"],
)
def test_other_finalities_are_refused(text: str) -> None:
    """What cannot be read is the user's to correct."""
    with pytest.raises(InputError, match="set finality"):
        Finality.parse(text)


# ---------------------------------------------------------------------------------------------------- start checks


async def opening(config: ChainConfig) -> ChainError:
    with pytest.raises(ChainError) as caught:
        async with open_chain(config):
            raise AssertionError("the chain was opened")
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    return caught.value


@one_engine
async def test_start_refuses_another_chain(world: World) -> None:
    """The chain id of the RPC must be the configured one."""
    config = world.contracts.config(world.engine.url, Finality("latest"))
    error = await opening(replace(config, chain_id=11155111))
    assert "use chain 11155111" in str(error)
    assert f"serves chain {world.engine.chain_id}" in str(error)


@pytest.mark.parametrize("name", ["allocation_manager", "key_registrar"])
async def test_start_refuses_an_address_without_code(world: World, name: str) -> None:
    """The address that holds no contract is named."""
    config = world.contracts.config(world.engine.url, Finality("latest"))
    wrong = replace(config, **{name: b"\x99" * 20})
    error = await opening(wrong)
    assert f"{name.replace('_', ' ')} 0x{'99' * 20}" in str(error)
    assert "no contract at this address" in str(error)


async def test_start_refuses_exchanged_addresses(world: World) -> None:
    """Contracts that do not answer what they are asked are an error of the chain, not a crash."""
    config = world.contracts.config(world.engine.url, Finality("latest"))
    swapped = replace(
        config, allocation_manager=config.key_registrar, key_registrar=config.allocation_manager
    )
    with pytest.raises(RpcRefusedError):
        async with open_chain(swapped):
            pass


async def test_start_refuses_a_set_that_does_not_exist(world: World) -> None:
    """A wrong set id, or a wrong AVS."""
    config = world.contracts.config(world.engine.url, Finality("latest"))
    assert "it does not exist" in str(await opening(replace(config, operator_set_id=5)))
    assert "it does not exist" in str(await opening(replace(config, avs=b"\x42" * 20)))


@one_engine
@pytest.mark.parametrize(("curve", "named"), [(0, "not configured"), (1, "ECDSA")])
async def test_start_refuses_another_curve(world: World, curve: int, named: str) -> None:
    """Only sets of BN254 keys can be served."""
    accounts = world.engine.accounts
    contracts = await deploy_contracts(world.rpc, accounts[10], accounts[11], curve_type=curve)
    error = await opening(contracts.config(world.engine.url, Finality("latest")))
    assert f"its key curve is {named}, not BN254" in str(error)


@one_engine
async def test_start_refuses_an_avs_without_registrar(world: World) -> None:
    """An AVS that set no registrar has an account without code in its place; one that is zero is refused as well."""
    manager, avs = world.contracts.allocation_manager, world.sender(12)
    steps = [
        (manager, abi.UPDATE_AVS_METADATA_URI.encode(avs.address, "")),
        (manager, abi.CREATE_OPERATOR_SETS.encode(avs.address, [(0, [])])),
        (world.contracts.key_registrar, abi.CONFIGURE_OPERATOR_SET.encode((avs.address, 0), abi.CURVE_BN254)),
    ]
    for to, data in steps:
        await avs.send("prepare an AVS", to, data, gas=400_000)
    config = replace(world.contracts, avs=avs.address).config(world.engine.url, Finality("latest"))
    assert "has set no registrar contract" in str(await opening(config))


@one_engine
@pytest.mark.parametrize("case", ["zero", "does not support", "supports nothing"])
async def test_start_refuses_a_registrar_of_another_avs(world: World, case: str) -> None:
    """The registrar must be a contract that answers supportsAVS with true."""

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if is_call(request, abi.GET_AVS_REGISTRAR):
            other = {"zero": bytes(32), "supports nothing": world.contracts.key_registrar.rjust(32, b"\0")}
            return answer | ({"result": to_hex(other[case])} if case in other else {})
        if is_call(request, abi.SUPPORTS_AVS) and case == "does not support":
            return answer | {"result": to_hex(bytes(32))}
        return answer

    async with tampering(world.engine.url, tamper) as node:
        error = await opening(world.contracts.config(node.url, Finality("latest")))
    expected = "has set no registrar contract" if case == "zero" else "does not support this AVS"
    assert expected in str(error)


@one_engine
async def test_start_names_an_rpc_that_is_down(world: World) -> None:
    """No connection is told as such."""
    error = await opening(world.contracts.config("http://127.0.0.1:9", Finality("latest")))
    assert "no connection" in str(error)


def test_a_configuration_shows_no_url_and_checks_its_addresses() -> None:
    """The URL may hold an API key; addresses have 20 bytes and are not zero."""
    config = ChainConfig(
        "https://rpc.example/v3/t0ken", 1, b"\x01" * 20, 0, b"\x02" * 20, b"\x03" * 20, Finality("safe")
    )
    assert "t0ken" not in repr(config)
    assert config.cluster.avs == config.avs
    for wrong in (
        {"avs": b"\x01"},
        {"key_registrar": bytes(20)},
        {"chain_id": 0},
        {"operator_set_id": 2**32},
    ):
        with pytest.raises(InputError, match="configure the chain"):
            replace(config, **wrong)


# ---------------------------------------------------------------------------------------------------- lies


def replacing(method: str, change: Callable[[Any], Any]) -> Tamper:
    """Tampering with the result of a method."""

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": change(answer["result"])} if request["method"] == method else answer

    return tamper


HEADER_LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no header": lambda _: "0x1",
    "list": lambda _: [],
    "number missing": lambda header: {key: header[key] for key in header if key != "number"},
    "number as integer": lambda header: header | {"number": 7},
    "negative number": lambda header: header | {"number": "-0x7"},
    "huge number": lambda header: header | {"number": "0x" + "f" * 64},
    "number with zeros": lambda header: header | {"number": "0x007"},
    "other number": lambda header: header | {"number": hex(int(header["number"], 16) + 1)},
    "pending hash": lambda header: header | {"hash": None},
    "short hash": lambda header: header | {"hash": "0x1234"},
    "garbage hash": lambda header: header | {"hash": "0x" + "zz" * 32},
    "odd hash": lambda header: header | {"hash": header["hash"][:-1]},
    "timestamp as text": lambda header: header | {"timestamp": "now"},
    "timestamp null": lambda header: header | {"timestamp": None},
    "unicode digits": lambda header: header | {"timestamp": "0x\u0661"},
}


@one_engine
@pytest.mark.parametrize("lie", HEADER_LIES.values(), ids=HEADER_LIES.keys())
async def test_a_header_that_cannot_be_is_an_error(
    world: World, lie: Callable[[dict[str, Any]], Any]
) -> None:
    """Every field that is used is checked, and the number is the one that was asked for."""
    async with (
        tampering(world.engine.url, replacing("eth_getBlockByNumber", lie)) as node,
        world.reader(url=node.url) as chain,
    ):
        with pytest.raises(ChainError):
            await chain.block(1)


@one_engine
async def test_a_block_of_another_hash_is_an_error(world: World) -> None:
    """A block asked by hash must have it."""

    def lie(header: dict[str, Any]) -> dict[str, Any]:
        return header | {"hash": "0x" + "13" * 32}

    async with (
        tampering(world.engine.url, replacing("eth_getBlockByHash", lie)) as node,
        world.reader(url=node.url) as chain,
    ):
        head = await chain.head()
        with pytest.raises(ChainError, match="got 0x1313"):
            await chain.block(head.hash)


@one_engine
async def test_a_chain_id_that_changes_later_is_an_error(world: World) -> None:
    """Behind one URL there may be several nodes; each batch proves its chain."""
    lying = False

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": "0x1"} if lying and request["method"] == "eth_chainId" else answer

    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        head = await chain.head()
        await chain.operators_at(head)
        lying = True
        for read in (chain.head(), chain.block(1), chain.is_canonical(head), chain.operators_at(head)):
            with pytest.raises(ChainError, match="serves chain 1"):
                await read


def words(*values: int) -> str:
    return "0x" + "".join(value.to_bytes(32, "big").hex() for value in values)


CALL_LIES: dict[str, tuple[abi.Function, Any]] = {
    "members: nothing": (abi.GET_MEMBERS, "0x"),
    "members: null": (abi.GET_MEMBERS, None),
    "members: number": (abi.GET_MEMBERS, 12),
    "members: not hex": (abi.GET_MEMBERS, "0xzz"),
    "members: endless": (abi.GET_MEMBERS, words(32, 2**255)),
    "members: offset far away": (abi.GET_MEMBERS, words(2**255)),
    "members: offset into itself": (abi.GET_MEMBERS, words(0)),
    "members: not addresses": (abi.GET_MEMBERS, words(32, 1, 2**200)),
    "members: one twice": (abi.GET_MEMBERS, words(32, 2, 5, 5)),
    "members: too many": (abi.GET_MEMBERS, words(32, 600, *range(1, 601))),
    "registrar: nothing": (abi.GET_AVS_REGISTRAR, "0x"),
    "key: short": (abi.GET_BN254_KEY, "0x" + "00" * 191),
    "key: long": (abi.GET_BN254_KEY, "0x" + "00" * 224),
    "key: list": (abi.GET_BN254_KEY, []),
    "socket: nothing": (abi.GET_SOCKET, "0x"),
    "socket: endless": (abi.GET_SOCKET, words(32, 2**255)),
}


@one_engine
@pytest.mark.parametrize(("function", "lie"), CALL_LIES.values(), ids=CALL_LIES.keys())
async def test_an_answer_that_cannot_be_is_an_error(world: World, function: abi.Function, lie: Any) -> None:
    """Whatever a contract call is said to return, the read ends in a set or in a ChainError."""
    lying = False

    def tamper(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": lie} if lying and is_call(request, function) else answer

    async with tampering(world.engine.url, tamper) as node, world.reader(url=node.url) as chain:
        head = await chain.head()
        lying = True
        with pytest.raises(ChainError):
            await chain.operators_at(head)


LOG_LIES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "not a list": lambda _: {},
    "not objects": lambda _: ["0x"],
    "other address": lambda logs: [log | {"address": "0x" + "11" * 20} for log in logs],
    "other topic": lambda logs: [log | {"topics": ["0x" + "11" * 32]} for log in logs],
    "no topics": lambda logs: [log | {"topics": []} for log in logs],
    "five topics": lambda logs: [log | {"topics": log["topics"] * 3} for log in logs],
    "removed": lambda logs: [log | {"removed": True} for log in logs],
    "later block": lambda logs: [log | {"blockNumber": "0xffffff"} for log in logs],
    "no block": lambda logs: [log | {"blockNumber": None} for log in logs],
    "no index": lambda logs: [log | {"logIndex": None} for log in logs],
}


@one_engine
@pytest.mark.parametrize("lie", LOG_LIES.values(), ids=LOG_LIES.keys())
async def test_events_that_were_not_asked_for_are_an_error(
    world: World, lie: Callable[[list[dict[str, Any]]], Any]
) -> None:
    """Events must be of the contract, the topic and the blocks of the question."""
    await registration.deregister(world.operator(3), world.contracts)
    async with (
        tampering(world.engine.url, replacing("eth_getLogs", lie)) as node,
        world.reader(url=node.url) as chain,
    ):
        with pytest.raises(ChainError):
            await chain.members_ever_left(await chain.head())


@one_engine
async def test_a_node_without_a_finalized_block_is_told_as_such(world: World) -> None:
    """A node that is still synchronising has no finalized block."""
    young = replacing("eth_getBlockByNumber", lambda _: None)
    async with tampering(world.engine.url, young) as node, world.reader("finalized", url=node.url) as chain:
        with pytest.raises(ChainError, match="the node has none") as caught:
            await chain.head()
    assert caught.value.hint is not None


@one_engine
async def test_a_refused_read_of_a_canonical_block_ends_when_logs_are_refused_too(world: World) -> None:
    """Neither state nor events: an error, after a bounded number of requests."""

    def refuse(request: Call, answer: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getLogs" or (
            request["method"] == "eth_call" and isinstance(request["params"][1], dict)
        ):
            error = {"code": -32000, "message": "state is not available"}
            return {"jsonrpc": "2.0", "id": request["id"], "error": error}
        return answer

    async with tampering(world.engine.url, refuse) as node, world.reader(url=node.url) as chain:
        head = await chain.head()
        with pytest.raises(RpcRefusedError):
            await chain.operators_at(head)
        with pytest.raises(RpcRefusedError):
            await chain.members_ever_left(head)
        assert len(node.seen) < 40
