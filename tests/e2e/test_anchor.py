"""Versions in a registry on a second chain, with real nodes: written by each, counted by whoever asks, and a lie is seen."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eigenkms.chain.anchor import Anchor, Commitment, commitment_to, open_anchor, set_member
from eigenkms.client.proof import read_proof
from eigenkms.crypto.hashing import keccak256
from eigenkms.devnet.engines.accounts import PRIVATE_KEYS, address_of
from eigenkms.errors import ChainError
from eigenkms.wire.session import cluster_id
from tests.support.live_network import LiveNetwork, eigenkms, live_network
from tests.support.node_observation import events
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e]
LIAR = 2


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    """Three operators with a master key, two of whom the registry's owner let in."""
    with live_network(tmp_path_factory.mktemp("anchored") / "net", operators=3, anchor=True) as live:
        assert live.network.anchor is not None
        anchor = live.network.anchor
        live.loop.run(
            lambda: set_member(anchor.owner, anchor.config.registry, address(live, LIAR), member=False)
        )
        live.start_all([0, 1, 2])
        live.genesis()
        yield live


def address(live: LiveNetwork, index: int) -> bytes:
    return live.members[index].address


def write(live: LiveNetwork, account: bytes, version: int, commitment: Commitment) -> None:
    """An entry by any account, straight into the registry."""
    settings = live.network.client_settings
    assert settings.anchor is not None
    config = settings.anchor

    async def submit() -> None:
        async with open_anchor(config, cluster_id(settings.cluster)) as anchor:
            assert isinstance(anchor, Anchor)
            await anchor.submit(anchor.sender(account), version, commitment)

    live.loop.run(submit)


def files(live: LiveNetwork, folder: Path, facts: dict[str, Any]) -> tuple[str | Path, ...]:
    """The proof of a version and its operators, as ``pubkey --verify`` wants them."""
    proof, operators = folder / "proof.json", folder / "operators"
    proof.write_text(json.dumps(facts))
    operators.write_text("\n".join(facts["operators"]))
    return "--config", live.network.client_config, "--verify", proof, "--operators", operators


def test_what_is_certified_is_anchored_by_all_and_a_lie_is_detected(net: LiveNetwork, tmp_path: Path) -> None:
    """Nodes write each version once, across restarts; pubkey counts the recipients and demands a threshold if it is told to; one
    that the registry does not let in warns of it and takes part all the same; a stranger's entry is refused; and once an operator
    has written another hash, nobody is told that all is well.
    """
    for index in (0, 1):  # no boundary meanwhile: what all wait for is of one version
        net.wait_status(index, lambda s: s["anchored"] == s["version"] is not None, still=PATIENCE)
    shut_out = net.wait_status(LIAR, lambda s: s["anchor_error"] is not None and s["share"], still=PATIENCE)
    assert "not on the member list" in shut_out["anchor_error"]
    assert shut_out["anchored"] is None
    assert "ask the owner of the registry" in events(net.members[LIAR].log, "not-anchored")[0]["message"]

    said = net.eigenkms("pubkey", "--json")
    facts = json.loads(said.out)
    given = files(net, tmp_path, facts)
    said = eigenkms("pubkey", "--json", "--anchor", *given)
    assert said.code == 0, said.err
    assert said.err == "anchored by 2 of 3 operators, and by none of them otherwise\n"
    assert json.loads(said.out)["anchored_by"] == sorted(net.name(index) for index in (0, 1))

    _, epoch = read_proof(json.dumps(facts))
    version, right = epoch.transcript.version, commitment_to(epoch.transcript)
    false = replace(right, transcript_hash=keccak256(b"false"))
    with pytest.raises(ChainError, match="not on the member list"):
        write(net, PRIVATE_KEYS[30], version, false)

    net.stop(0)
    net.start(0)
    net.wait_status(0, lambda s: s["anchored"] is not None)

    net.stop(LIAR)
    said = eigenkms("devnet", "allow", net.name(LIAR), "--dir", net.folder, "--json")
    assert (said.code, json.loads(said.out)["sent"]) == (0, True), said.err
    account = next(key for key in PRIVATE_KEYS if address_of(key) == address(net, LIAR))
    write(net, account, version, false)
    said = eigenkms("pubkey", *given)
    assert said.code == 4
    assert f"{net.name(LIAR)} anchored {false.transcript_hash.hex()[:16]}" in said.err
    assert said.out == ""
    said = eigenkms("pubkey", "--no-anchor", *given)
    assert (said.code, said.out.strip()) == (0, facts["mpk"])


def test_an_anchor_that_cannot_be_asked_is_exit_2_and_can_be_left_out(net: LiveNetwork) -> None:
    """Its RPC is down: the key is not printed as if it had been asked, unless one says so."""
    said = net.eigenkms("pubkey", "--anchor-rpc-url", "http://127.0.0.1:1")
    assert (said.code, said.out) == (2, "")
    assert "http://127.0.0.1:1: no connection" in said.err
    said = net.eigenkms("pubkey", "--anchor-rpc-url", "http://127.0.0.1:1", "--no-anchor")
    assert said.code == 0, said.err
