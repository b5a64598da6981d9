"""``eigenkms anchor`` as the registry's owner, on the embedded chain, and what other verbs say of an anchor that is set wrongly.

The registry may stand on any chain; here it is that of the operator set.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from eigenkms.cli.main import run
from tests.cli.test_operator import AVS_OWNER, Place, Said, background, place  # noqa: F401 - fixtures

MEMBERS = range(4)


@pytest.fixture
def eigenkms(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command in this process."""

    def call(*words: str | Path) -> Said:
        code = run([*map(str, words)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def here(place: Place) -> dict[str, object]:  # noqa: F811 - the fixture's value
    """The anchor's chain: that of the operator set."""
    engine = place.background.engine
    assert engine is not None
    return {"anchor_rpc_url": engine.url, "anchor_chain_id": engine.chain_id}


def test_an_owner_deploys_a_registry_and_keeps_its_list(place: Place, eigenkms: Callable[..., Said]) -> None:  # noqa: F811
    """Nothing is sent unasked or twice; who is on the list shows, and another account cannot change it."""
    config = place.config(AVS_OWNER, **here(place))
    unasked = eigenkms("anchor", "deploy", "--config", config)
    assert unasked.code == 1
    assert "it is not confirmed" in unasked.err
    deployed = eigenkms("anchor", "deploy", "--yes", "--json", "--config", config)
    assert deployed.code == 0, deployed.err
    assert deployed.facts["owner"] == place.address(AVS_OWNER)
    registry = deployed.facts["registry"]
    config = place.config(AVS_OWNER, **here(place), anchor_registry=registry)
    first, second = place.address(0), place.address(1)
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
    assert sorted([first, *shown.facts["missing"]]) == sorted(map(place.address, MEMBERS))
    assert (shown.facts["entries"], shown.facts["owner"]) == (0, place.address(AVS_OWNER))
    other = place.config(0, **here(place), anchor_registry=registry)
    refused = eigenkms("anchor", "allow", second, "--yes", "--config", other)
    assert refused.code == 2
    assert "only the owner of the contract may do this" in refused.err


def test_an_anchor_that_is_configured_wrongly_is_named(
    place: Place,  # noqa: F811
    eigenkms: Callable[..., Said],
    tmp_path: Path,
) -> None:
    """Half of one, none where one is asked for, a contract of another kind, a node with somebody else's account."""
    half = place.config(0, **here(place))
    said = eigenkms("pubkey", "--config", half, "--known-clusters", tmp_path / "known")
    assert said.code == 1
    assert "use the anchor: anchor_registry is not set" in said.err
    said = eigenkms("config", "check", "--client", "--config", half)
    assert said.code == 1
    assert "use the anchor: anchor_registry is not set" in said.err
    for words in (("pubkey", "--anchor"), ("anchor", "show"), ("anchor", "allow", place.address(0))):
        said = eigenkms(*words, "--config", place.config(0))
        assert said.code == 1
        assert "ask the anchor: none is configured" in said.err
    contracts = place.background.contracts
    assert contracts is not None
    wrong = place.config(0, **here(place), anchor_registry="0x" + contracts.key_registrar.hex())
    said = eigenkms("anchor", "show", "--config", wrong)
    assert said.code == 2
    assert "it is not the registry of this cluster" in said.err
    node = place.config(
        0,
        **here(place),
        anchor_registry="0x" + "11" * 20,
        anchor_account_keystore="account-1.json",
        anchor_password_file="account-password",
        operator=place.address(0),
        data_dir=str(tmp_path / "data"),
        password_file="password",
    )
    place.config(1)
    said = eigenkms("node", "--config", node)
    assert said.code == 1
    assert "account-1.json to anchor: it is that of account" in said.err
    assert "the operator's own word" in said.err
