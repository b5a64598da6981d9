"""A remote signer over real HTTP: what it signs is sent, if it is what was asked for and nothing else."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from eth_account import Account

from eigenkms.chain.registration import transfer
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.signing import LocalSigner, RemoteSigner
from eigenkms.chain.transactions import Sender
from eigenkms.errors import ChainError, EigenKmsError, VerificationError
from eigenkms.types import to_hex
from tests.chain.conftest import World, one_engine
from tests.support.rpc_servers import Reply, Server, result, scripted, serve
from tests.support.waiting import PATIENCE

ACCOUNT = 26
PAYEE = b"\xaa" * 20
FIELDS = {
    "type": 2,
    "chainId": 31337,
    "nonce": 0,
    "gas": 21_000,
    "maxFeePerGas": 3 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "value": 7,
    "data": "0x",
    "to": PAYEE,
}
KEY = b"\x07" * 32


def sign(key: bytes, request: dict[str, Any]) -> str:
    """As web3signer does: the fields of the request, signed."""
    numbers = ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value", "type")
    fields: dict[str, Any] = {name: int(request[name], 16) for name in numbers}
    fields["data"] = request["data"]
    if "to" in request:
        fields["to"] = bytes.fromhex(request["to"][2:])
    return to_hex(bytes(Account.from_key(key).sign_transaction(fields).raw_transaction))


@asynccontextmanager
async def signer(
    key: bytes, lie: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: request
) -> AsyncIterator[Server]:
    """A signer in eth1 mode; ``lie`` changes what it signs."""

    async def answer(body: bytes) -> Reply:
        call = json.loads(body)
        assert call["method"] == "eth_signTransaction"
        return Reply(result(sign(key, lie(call["params"][0])), call["id"]))

    async with serve(answer) as server:
        yield server


async def signed(server: Server, key: bytes = KEY, deadline: float = PATIENCE) -> bytes:
    async with JsonRpc(server.url, deadline=deadline) as rpc:
        return await RemoteSigner(rpc, LocalSigner(key).address).sign(FIELDS)


@one_engine
async def test_transactions_are_signed_elsewhere(world: World) -> None:
    """An account whose key is in another process sends as any other, and makes contracts too."""
    key = world.engine.accounts[ACCOUNT]
    async with signer(key) as server, JsonRpc(server.url) as rpc:
        account = Sender(world.rpc, RemoteSigner(rpc, LocalSigner(key).address), world.engine.chain_id)
        await transfer(account, PAYEE, 7)
        made = await account.send("make a contract", None, b"\x00", gas=100_000)
    assert made.contract is not None
    assert await world.rpc.call("eth_getBalance", to_hex(PAYEE), "latest") == "0x7"


async def test_what_is_signed_here_and_there_is_the_same() -> None:
    """To the byte."""
    async with signer(KEY) as server:
        assert await signed(server) == await LocalSigner(KEY).sign(FIELDS)


@pytest.mark.parametrize(
    "change",
    [
        {"value": "0x8"},
        {"nonce": "0x1"},
        {"to": "0x" + "bb" * 20},
        {"data": "0x01"},
        {"gas": hex(21_001)},
        {"maxFeePerGas": hex(4 * 10**9)},
        {"maxPriorityFeePerGas": hex(10**9 + 1)},
        {"chainId": "0x1"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_signer_that_signs_something_else_is_caught(change: dict[str, str]) -> None:
    """Each field counts."""
    async with signer(KEY, lambda request: request | change) as server:
        with pytest.raises(VerificationError, match="it signed another transaction than the one asked for"):
            await signed(server)


async def test_a_signature_of_another_account_is_caught() -> None:
    """The signer has the wrong key."""
    async with signer(b"\x08" * 32) as server:
        with pytest.raises(VerificationError, match=r"it signed as 0x[0-9a-fA-F]{40}, not as the account"):
            await signed(server)


def error(code: int, message: str) -> Reply:
    return Reply(
        json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}).encode()
    )


def legacy() -> bytes:
    fields = {
        "nonce": 0,
        "gasPrice": 1,
        "gas": 21_000,
        "to": PAYEE,
        "value": 7,
        "data": b"",
        "chainId": 31337,
    }
    return bytes(Account.from_key(KEY).sign_transaction(fields).raw_transaction)


@pytest.mark.usefixtures("virtual_clock")
@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (error(-32000, "no such account"), ChainError, "the signer refused: 'no such account'"),
        (Reply(result("0x")), VerificationError, "of another type than 2"),
        (Reply(result(to_hex(legacy()))), VerificationError, "of another type than 2"),
        (Reply(result("0x02")), VerificationError, "is not a signed transaction"),
        (Reply(result("0x02c0")), VerificationError, "is not a signed transaction"),
        (Reply(result("0x02f8")), VerificationError, "is not a signed transaction"),
        (Reply(result(7)), ChainError, "is not a hex byte string"),
        (Reply(b"<html>", status=500), ChainError, "HTTP status 500"),
        (Reply(b"<html>"), ChainError, "the answer is not JSON"),
        (Reply(hang=True), ChainError, r"no answer within 0\.3 s"),
    ],
)
async def test_a_signer_that_does_not_sign_is_told(
    reply: Reply, kind: type[EigenKmsError], words: str
) -> None:
    """With its address, in time, and the next step."""
    async with scripted(reply) as server:
        with pytest.raises(kind, match=words) as caught:
            await signed(server, deadline=0.3)
    assert caught.value.hint is not None


@pytest.mark.slow
async def test_a_signer_that_is_down_is_told() -> None:
    """Nothing was sent."""
    async with scripted(Reply(b"")) as server:
        port = server.port
    async with JsonRpc(f"http://127.0.0.1:{port}", deadline=PATIENCE) as rpc:
        with pytest.raises(ChainError, match=r"no connection|no answer") as caught:
            await RemoteSigner(rpc, PAYEE).sign(FIELDS)
    assert caught.value.hint is not None
    assert "web3signer_url" in caught.value.hint
    assert "nothing was sent" in caught.value.hint


def test_signers_show_no_key() -> None:
    """Where there is one."""
    assert KEY.hex() not in repr(LocalSigner(KEY))
    assert "127.0.0.1" in repr(RemoteSigner(JsonRpc("http://user:pass@127.0.0.1:1/key"), PAYEE))
    assert "pass" not in repr(RemoteSigner(JsonRpc("http://user:pass@127.0.0.1:1/key"), PAYEE))
