"""Engines as processes: they come up, keep time, take reorganisations, and end with their parent, however it ends."""

import json
import math
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import trio

from eigenkms.chain import registration
from eigenkms.chain.rpc import JsonRpc, RpcRefusedError, pin
from eigenkms.chain.transactions import Sender
from eigenkms.devnet.engines import EngineName, launch, open_engine
from eigenkms.devnet.engines.accounts import BALANCE_WEI, PRIVATE_KEYS, address_of
from eigenkms.devnet.engines.launch import find_anvil
from eigenkms.devnet.ports import free_ports
from eigenkms.errors import ChainError, InputError
from eigenkms.types import to_hex
from tests.chain.conftest import ENGINE_PARAMS, World, one_engine
from tests.support.tools import require_engine
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.engine


@pytest.fixture(params=ENGINE_PARAMS)
def name(request: pytest.FixtureRequest) -> EngineName:
    require_engine(request.param)
    assert request.param in get_args(EngineName)
    return request.param


async def header(rpc: JsonRpc, block: str) -> dict[str, Any]:
    answer = await rpc.call("eth_getBlockByNumber", block, False)
    assert isinstance(answer, dict)
    return answer


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def refuses_connections(url: str) -> bool:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        try:
            await client.get(url)
        except httpx.ConnectError:
            return True
    return False


async def test_an_engine_mines_keeps_time_and_ends(name: EngineName, tmp_path: Path) -> None:
    """Blocks come by themselves, each later than its parent by whole seconds; the process ends with the context."""
    log_path, port = tmp_path / "engine.log", *free_ports(1)
    async with open_engine(name, block_time=0.1, chain_id=4711, port=port, log_path=log_path) as engine:
        assert engine.url == f"http://127.0.0.1:{port}"
        assert engine.pid is not None
        assert alive(engine.pid)
        assert engine.chain_id == 4711
        async with JsonRpc(engine.url) as rpc:
            assert await rpc.call("eth_chainId") == hex(4711)

            async def has_six() -> bool:
                return int((await header(rpc, "latest"))["number"], 16) > 5

            await eventually(has_six)
            blocks = [await header(rpc, hex(number)) for number in range(1, 6)]
            for parent, child in pairwise(blocks):
                assert child["parentHash"] == parent["hash"]
                assert int(child["timestamp"], 16) > int(parent["timestamp"], 16)
            balances = await rpc.batch(
                [("eth_getBalance", (to_hex(address_of(key)), "latest")) for key in engine.accounts]
            )
            assert set(balances) == {hex(BALANCE_WEI)}
    await eventually(lambda: not alive(engine.pid))
    assert await refuses_connections(engine.url)
    assert not any(key.hex() in repr(engine) for key in PRIVATE_KEYS)


async def test_two_transactions_in_one_second_are_two_blocks(name: EngineName) -> None:
    """A transaction is mined at once in a block of its own, and block times still strictly increase.

    An error of the body leaves the context as itself, not in a group.
    """
    with pytest.raises(KeyError, match="body"):  # noqa: PT012
        async with open_engine(name, block_time=600) as engine, JsonRpc(engine.url) as rpc:
            sender = Sender(rpc, engine.accounts[0], engine.chain_id)
            receipts = [await registration.transfer(sender, b"\xaa" * 20, 1) for _ in range(3)]
            numbers = [receipt.block_number for receipt in receipts]
            assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
            times = [int((await header(rpc, hex(number)))["timestamp"], 16) for number in numbers]
            assert times == sorted(set(times))
            raise KeyError("body")


ORPHAN = """
import sys, trio
from eigenkms.devnet.engines import open_engine

async def main():
    async with open_engine(sys.argv[1], block_time=0) as engine:
        print(engine.pid, engine.url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_an_engine_dies_with_its_parent(name: EngineName) -> None:
    """Also when the parent had no time to say goodbye."""
    parent = subprocess.Popen(  # noqa: ASYNC220 - once
        [sys.executable, "-c", ORPHAN, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert parent.stdout is not None
        pid, url = (await trio.to_thread.run_sync(parent.stdout.readline)).split()
        assert alive(int(pid))
        parent.send_signal(signal.SIGKILL)
        await eventually(lambda: not alive(int(pid)))
        assert await refuses_connections(url)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


async def test_a_port_in_use_is_told(name: EngineName) -> None:
    """Before anything is started."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with pytest.raises(InputError, match=f"port {port} cannot be listened on") as caught:
        async with open_engine(name, block_time=0, port=port):
            raise AssertionError("it started")
    assert caught.value.hint is not None
    await listener.aclose()


async def test_an_engine_that_cannot_start_is_told_with_its_log(
    name: EngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it ends, not at the deadline, which is none here; the log says why."""
    broken, log_path = tmp_path / "broken", tmp_path / "engine.log"
    broken.write_text("#!/bin/sh\necho out of luck >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("EIGENKMS_ANVIL", str(broken))
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(launch, "START_SECONDS", math.inf)
    with pytest.raises(ChainError, match=f"start the {name} engine") as caught:
        async with open_engine(name, block_time=0, log_path=log_path):
            raise AssertionError("it started")
    assert str(log_path) in str(caught.value.hint)
    assert log_path.read_text() == "out of luck\n"


@pytest.mark.parametrize("kind", ["missing", "not a program", "not on PATH"])
def test_a_missing_anvil_is_told_with_what_to_do(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIGENKMS_ANVIL is taken at its word."""
    (tmp_path / "anvil").write_text("not a program")
    named = {"missing": tmp_path / "nothing", "not a program": tmp_path / "anvil"}
    if kind in named:
        monkeypatch.setenv("EIGENKMS_ANVIL", str(named[kind]))
    else:
        monkeypatch.delenv("EIGENKMS_ANVIL", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("eigenkms.devnet.engines.launch.__file__", str(tmp_path / "a/b/c/d/launch.py"))
    with pytest.raises(InputError, match="there is no anvil program") as caught:
        find_anvil()
    assert "npm ci" in str(caught.value.hint)


def test_anvil_is_found_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By EIGENKMS_ANVIL before PATH."""
    for place in ("named", "path"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "anvil").write_text("#!/bin/sh\n")
        (tmp_path / place / "anvil").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("EIGENKMS_ANVIL", raising=False)
    assert find_anvil() == tmp_path / "path" / "anvil"
    monkeypatch.setenv("EIGENKMS_ANVIL", str(tmp_path / "named" / "anvil"))
    assert find_anvil() == tmp_path / "named" / "anvil"


async def test_a_missing_alysis_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded engine is an extra of the package."""
    monkeypatch.setattr("eigenkms.devnet.engines.launch.find_spec", lambda _: None)
    with pytest.raises(InputError, match="alysis is not installed") as caught:
        async with open_engine("embedded", block_time=0):
            raise AssertionError("it started")
    assert "eigenkms[devnet]" in str(caught.value.hint)


@pytest.mark.parametrize("wrong", [{"block_time": -1.0}, {"port": 70_000}, {"chain_id": 0}])
async def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """Before anything is started."""
    with pytest.raises(InputError, match="out of range"):
        async with open_engine("embedded", **({"block_time": 0.0} | wrong)):
            raise AssertionError("it started")


# ------------------------------------------------------------------------- what both engines answer alike


async def test_a_rolled_back_block_is_forgotten(world: World) -> None:
    """Neither the block nor its transaction is known after it was rolled back, and a pin on it is refused."""
    receipt = await registration.transfer(world.sender(30), b"\xcc" * 20, 7)
    block = await header(world.rpc, hex(receipt.block_number))
    await world.mine(2)
    await world.rpc.call("anvil_rollback", 3)
    assert await world.rpc.call("eth_getBlockByHash", block["hash"], False) is None
    assert await world.rpc.call("eth_getBlockByNumber", block["number"], False) is None
    assert await world.rpc.call("eth_getTransactionReceipt", to_hex(receipt.transaction_hash)) is None
    assert await world.rpc.call("eth_getBalance", "0x" + "cc" * 20, "latest") == "0x0"
    for block_hash in (bytes.fromhex(block["hash"][2:]), b"\x12" * 32):
        with pytest.raises(RpcRefusedError) as caught:
            await world.rpc.call("eth_getBalance", "0x" + "cc" * 20, pin(block_hash))
        assert caught.value.code == -32001
    await registration.transfer(world.sender(30), b"\xcc" * 20, 8)
    assert await world.rpc.call("eth_getBalance", "0x" + "cc" * 20, "latest") == "0x8"


async def test_state_of_an_old_block_is_kept(world: World) -> None:
    """Balances and calls answer for the block of the pin."""
    before = await header(world.rpc, "latest")
    await registration.transfer(world.sender(30), b"\xcc" * 20, 7)
    after = await header(world.rpc, "latest")
    for block, balance in ((before, "0x0"), (after, "0x7")):
        at = pin(bytes.fromhex(block["hash"][2:]))
        assert await world.rpc.call("eth_getBalance", "0x" + "cc" * 20, at) == balance
        assert await world.rpc.call("eth_getBalance", "0x" + "cc" * 20, block["number"]) == balance


async def test_logs_of_one_block_by_its_hash(world: World) -> None:
    """The same events as by its number."""
    await registration.update_socket(world.operator(0), world.contracts, "/ip4/1.1.1.1/tcp/1")
    block = await header(world.rpc, "latest")
    by_hash = await world.rpc.call("eth_getLogs", {"blockHash": block["hash"]})
    by_number = await world.rpc.call("eth_getLogs", {"fromBlock": block["number"], "toBlock": "latest"})
    assert isinstance(by_hash, list)
    assert len(by_hash) == 1
    assert by_hash == by_number


@one_engine
async def test_the_embedded_engine_survives_nonsense(background: Any) -> None:
    """Requests that are no JSON-RPC are answered as errors, and the next one is served."""
    engine = background.engine
    async with await trio.open_tcp_stream("127.0.0.1", int(engine.url.rsplit(":", 1)[1])) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4194305\r\n\r\n")
        with trio.fail_after(PATIENCE):
            assert b" 413 " in await stream.receive_some()
    nonsense: list[Any] = [
        7,
        {"id": 1},
        {"id": 1, "method": "eth_nothing", "params": []},
        {"id": 1, "method": "eth_call", "params": [{}, "latest", 1, 2]},
        {"id": 1, "method": "eth_call", "params": 3},
        {"id": 1, "method": "eth_getBlockByHash", "params": ["0xzz", False]},
        {"id": 1, "method": "eth_getLogs", "params": [{"fromBlock": "x"}]},
        {"id": 1, "method": "eth_sendRawTransaction", "params": ["0x00"]},
        {"id": 1, "method": "anvil_rollback", "params": [10**9]},
        {"id": 1, "method": "evm_revert", "params": [1, 2, 3]},
        {"id": 1, "method": "eth_getBalance", "params": ["0x" + "00" * 20, {"blockHash": 5}]},
    ]
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        for request in nonsense:
            answer = (await client.post(engine.url, json=request)).json()
            assert "error" in answer, request
            assert isinstance(answer["error"]["code"], int)
        assert all("error" in each for each in (await client.post(engine.url, json=nonsense)).json())
        assert (await client.post(engine.url, content=b"{nonsense")).status_code == 400
        assert (await client.post(engine.url, content=b"")).status_code == 413
        sane = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
        assert (await client.post(engine.url, content=sane)).json()["result"] == hex(engine.chain_id)
