"""``eigenkms anchor`` as the registry's owner, on the embedded chain, and what other verbs say of an anchor that is set wrongly.

The registry may stand on any chain; here it is that of the operator set.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from eigenkms.cli.main import run
from tests.cli.test_operator import AVS_OWNER, DevnetEnvironment, Said, background, devnet_env  # noqa: F401 - fixtures

MEMBERS = range(4)


@pytest.fixture
def eigenkms(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command in this process."""

    def call(*words: str | Path) -> Said:
        code = run([*map(str, words)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def here(devnet_env: DevnetEnvironment) -> dict[str, object]:  # noqa: F811 - the fixture's value
    """The anchor's chain: that of the operator set."""
    engine = devnet_env.background.engine
    assert engine is not None
    return {"anchor_rpc_url": engine.url, "anchor_chain_id": engine.chain_id}


def test_an_owner_deploys_a_registry_and_keeps_its_list(
    devnet_env: DevnetEnvironment,  # noqa: F811
    eigenkms: Callable[..., Said],
) -> None:
    """Nothing is sent unasked or twice; who is on the list shows, and another account cannot change it."""
    config = devnet_env.config(AVS_OWNER, **here(devnet_env))
    unasked = eigenkms("anchor", "deploy", "--config", config)
    assert unasked.code == 1
    assert "it is not confirmed" in unasked.err
    deployed = eigenkms("anchor", "deploy", "--yes", "--json", "--config", config)
    assert deployed.code == 0, deployed.err
    assert deployed.facts["owner"] == devnet_env.address(AVS_OWNER)
    registry = deployed.facts["registry"]
    config = devnet_env.config(AVS_OWNER, **here(devnet_env), anchor_registry=registry)
    first, second = devnet_env.address(0), devnet_env.address(1)
    for words, member, sent in (
        ((first,), True, True),
        ((first,), True, False),
        ((second,), True, True),
        ((second, "--remove"), False, True),
        ((second, "--remove"), False, False),
    ):
        said = eigenkms("anchor", "allow", *words, "--yes", "--json", "--config", config)
        assert said.code == 0, said.err
        assert said.facts == {"address": words[0], "member": member, "sent": sent}
    shown = eigenkms("anchor", "show", "--json", "--config", config)
    assert shown.code == 0, shown.err
    assert shown.facts["members"] == [first]
    assert sorted([first, *shown.facts["missing"]]) == sorted(map(devnet_env.address, MEMBERS))
    assert (shown.facts["entries"], shown.facts["owner"]) == (0, devnet_env.address(AVS_OWNER))
    other = devnet_env.config(0, **here(devnet_env), anchor_registry=registry)
    refused = eigenkms("anchor", "allow", second, "--yes", "--config", other)
    assert refused.code == 2
    assert "only the owner of the contract may do this" in refused.err


def test_an_anchor_that_is_configured_wrongly_is_named(
    devnet_env: DevnetEnvironment,  # noqa: F811
    eigenkms: Callable[..., Said],
    tmp_path: Path,
) -> None:
    """Half of one, none where one is asked for, a contract of another kind, a node with somebody else's account."""
    half = devnet_env.config(0, **here(devnet_env))
    said = eigenkms("pubkey", "--config", half, "--known-clusters", tmp_path / "known")
    assert said.code == 1
    assert "use the anchor: anchor_registry is not set" in said.err
    said = eigenkms("config", "check", "--client", "--config", half)
    assert said.code == 1
    assert "use the anchor: anchor_registry is not set" in said.err
    for words in (("pubkey", "--anchor"), ("anchor", "show"), ("anchor", "allow", devnet_env.address(0))):
        said = eigenkms(*words, "--config", devnet_env.config(0))
        assert said.code == 1
        assert "ask the anchor: none is configured" in said.err
    contracts = devnet_env.background.contracts
    assert contracts is not None
    wrong = devnet_env.config(0, **here(devnet_env), anchor_registry="0x" + contracts.key_registrar.hex())
    said = eigenkms("anchor", "show", "--config", wrong)
    assert said.code == 2
    assert "another contract is there, and no registry of this program" in said.err
    node = devnet_env.config(
        0,
        **here(devnet_env),
        anchor_registry="0x" + "11" * 20,
        anchor_account_keystore="account-1.json",
        anchor_password_file="account-password",
        operator=devnet_env.address(0),
        data_dir=str(tmp_path / "data"),
        password_file="password",
    )
    devnet_env.config(1)
    said = eigenkms("node", "--config", node)
    assert said.code == 1
    assert "account-1.json to anchor: it is that of account" in said.err
    assert "the operator's own word" in said.err
