"""The Python that docs/operators.md offers for registering an operator does what the page says."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from eigenkms.chain import registration
from eigenkms.chain.config import Finality
from eigenkms.chain.deploy import deploy_contracts
from eigenkms.chain.reader import open_chain
from eigenkms.chain.rpc import JsonRpc
from eigenkms.chain.transactions import Sender
from eigenkms.crypto.hashing import Rng, be32, keccak256
from eigenkms.crypto.keystore import ScryptCost
from eigenkms.devnet.engines import open_engine
from eigenkms.node.keyfiles import new_key
from tests.docs.pages import page

SOCKET = "/ip4/192.0.2.7/tcp/9400/p2p/16Uiu2HAm1Tv4fPFq3QVYeAtctUbV5bwv2rwJELb3tQQBL3i15RiW"


def repeatable_rng() -> Rng:
    """The same bytes in every run, other bytes in every call."""
    calls = count()
    return lambda size: b"".join(keccak256(b"docs", be32(next(calls))) for _ in range(size // 32 + 1))[:size]


@pytest.mark.e2e
@pytest.mark.slow
async def test_the_page_registers_an_operator(tmp_path: Path) -> None:
    """After the owner's step and the page's function, the chain has the operator with its key and socket."""
    (block,) = (b for b in page("docs/operators.md").blocks if b.language == "python")
    offered: dict[str, Any] = {}
    exec(compile(block.text, "docs/operators.md", "exec"), offered)

    rng, keystore = repeatable_rng(), tmp_path / "bn254.json"
    key = new_key("bn254", rng)
    keystore.write_bytes(key.seal("password", rng, cost=ScryptCost(n=16)))
    async with open_engine("embedded", block_time=0) as engine, JsonRpc(engine.url) as rpc:
        deployer, owner, account = engine.accounts[:3]
        contracts = await deploy_contracts(rpc, deployer, owner)
        address = Sender(rpc, account, engine.chain_id).address
        await registration.add_to_allowlist(Sender(rpc, owner, engine.chain_id), contracts, address)

        await offered["register"](engine.url, contracts, account, keystore, "password", SOCKET)

        async with open_chain(contracts.config(engine.url, Finality.parse("latest"))) as chain:
            found = await chain.operators_at(await chain.head())
    (operator,) = found.operators
    assert (operator.address, operator.key.hex(), operator.socket) == (address, key.public["g2"], SOCKET)
