"""RPCs as they are in the field, before a real chain: without batches, and without the blocks that a finality needs."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from eigenkms.chain.anchor import Anchor, AnchorConfig
from eigenkms.chain.config import Finality
from eigenkms.chain.operator_set_source import open_chain
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.rpc_pool import RpcPool
from eigenkms.errors import ChainError
from eigenkms.types import Cluster
from eigenkms.wire.session import cluster_id
from tests.chain.conftest import MEMBERS, World, one_engine
from tests.support.rpc_servers import Call, Reply, Server, serve, tampering
from tests.support.waiting import PATIENCE

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP only, and cheap to make
NO_BLOCK = {
    "geth before the merge": {"code": -32000, "message": "finalized block not found"},
    "an old node": {"code": -32602, "message": "invalid argument 0: hex string without 0x prefix"},
    "EIP-1898": {"code": -39001, "message": "Unknown block"},
}


@asynccontextmanager
async def without_batches(upstream: str) -> AsyncIterator[Server]:
    """A proxy that answers one call at a time."""
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, headers=headers, verify=_TLS) as client:

        async def answer(body: bytes) -> Reply:
            if body.startswith(b"["):
                return Reply(
                    b'{"error": {"code": -32600, "message": "batching is not supported"}}', status=400
                )
            return Reply((await client.post(upstream, content=body)).content)

        async with serve(answer) as server:
            yield server


@one_engine
async def test_an_rpc_without_batches_serves_a_whole_reader(world: World) -> None:
    """Alone, and as a witness beside another one: the set is that of the chain."""
    async with without_batches(world.engine.url) as server:
        config = world.contracts.config(server.url, Finality.parse("latest"))
        async with open_chain(config) as chain:
            read = await chain.operators_at(await chain.head())
            assert len(read.operators) == MEMBERS
        config = world.contracts.config([server.url, world.engine.url], Finality.parse("latest"))
        async with open_chain(config) as chain:
            assert await chain.agreed_operators_at(await chain.head()) == read
            assert isinstance(chain.rpc, RpcPool)
            assert [each.state.value for each in chain.rpc.status()] == ["ok", "ok"]


def refusing(error: dict[str, Any], method: str) -> Any:
    """A node that refuses one method, of blocks only those of a tag that it does not know."""

    def tamper(call: Call, honest: dict[str, Any]) -> dict[str, Any]:
        if call["method"] != method:
            return honest
        if method == "eth_getBlockByNumber" and call["params"][0] not in ("finalized", "safe"):
            return honest
        return {"jsonrpc": "2.0", "id": call["id"], "error": error}

    return tamper


@one_engine
@pytest.mark.parametrize("error", NO_BLOCK.values(), ids=NO_BLOCK.keys())
async def test_a_chain_without_finalized_blocks_names_the_setting(
    world: World, error: dict[str, Any]
) -> None:
    """What the node refused is said in its words, and what to change is --finality; the same chain serves with another one."""
    async with tampering(world.engine.url, refusing(error, "eth_getBlockByNumber")) as server:
        async with world.reader("finalized", server.url) as chain:
            with pytest.raises(ChainError) as caught:
                await chain.head()
            assert str(caught.value).startswith("read the finalized block: ")
            assert error["message"] in str(caught.value)
            assert "another finality with --finality (finalized, safe, latest or latest-K" in str(
                caught.value.hint
            )
        async with world.reader("latest", server.url) as chain:
            assert (await chain.head()).number > 0


@one_engine
async def test_a_refusal_of_something_else_does_not_blame_the_finality(world: World) -> None:
    """A limit of the provider has its own next step."""
    error = {"code": -32005, "message": "daily request count exceeded"}
    refused: list[str] = []

    def tamper(call: Call, honest: dict[str, Any]) -> dict[str, Any]:
        return refusing(error, "eth_chainId")(call, honest) if refused else honest

    async with (
        tampering(world.engine.url, tamper) as server,
        world.reader("finalized", server.url) as chain,
    ):
        refused.append("from now on")
        with pytest.raises(ChainError, match="daily request count exceeded") as caught:
            await chain.head()
        assert "--finality" not in str(caught.value.hint)
        assert "limits requests" in str(caught.value.hint)


@pytest.mark.parametrize("said", ["refused", "null"])
async def test_an_anchor_whose_chain_has_no_safe_block_names_its_setting(said: str) -> None:
    """Which is not that of the operators' chain."""
    cluster = Cluster(31337, b"\xa1" * 20, 0)

    async def answer(body: bytes) -> Reply:
        chain_id, block = json.loads(body)
        outcome: dict[str, Any] = {"error": NO_BLOCK["EIP-1898"]} if said == "refused" else {"result": None}
        replies = [{"id": chain_id["id"], "result": "0x7a69"}, {"id": block["id"], **outcome}]
        return Reply(json.dumps([{"jsonrpc": "2.0", **reply} for reply in replies]).encode())

    async with serve(answer) as server, JsonRpc(server.url) as rpc:
        config = AnchorConfig(server.url, 31337, b"\xb1" * 20, Finality.parse("safe"))
        with pytest.raises(ChainError) as caught:
            await Anchor(config, cluster_id(cluster), rpc).check()
    assert "knows no safe block, choose another finality with --anchor-finality" in str(caught.value.hint)
