"""What presets say of public networks has the right shape; whether it is true, only the chains know."""

import re

import pytest

from eigenkms.config.presets import PRESETS
from eigenkms.crypto.app_ids import checksummed

PUBLIC = ("sepolia", "mainnet")
CONTRACTS = ("allocation_manager", "delegation_manager", "key_registrar", "app_controller")


@pytest.mark.parametrize("name", PUBLIC)
def test_addresses_are_well_formed_and_distinct(name: str) -> None:
    """Each is 20 bytes in the checksum of EIP-55, so that a mistyped digit shows, and stands for one contract."""
    preset = PRESETS[name]
    found = [preset[contract] for contract in CONTRACTS if contract in preset]
    assert {"allocation_manager", "delegation_manager", "key_registrar"} <= preset.keys()
    for text in found:
        assert re.fullmatch(r"0x[0-9a-fA-F]{40}", text)
        assert checksummed(bytes.fromhex(text[2:])) == text
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_names_an_operator_set(name: str) -> None:
    """That of the reference on Sepolia takes ECDSA keys, so no node of this program could serve in it."""
    assert not {"avs", "operator_set_id", "rpc_url"} & PRESETS[name].keys()


def test_networks_share_no_contract() -> None:
    """A chain's contracts are not another's: the reference once configured mainnet with Sepolia's."""
    sepolia, mainnet = ({PRESETS[name].get(contract) for contract in CONTRACTS} for name in PUBLIC)
    assert sepolia & mainnet <= {None}
    assert {PRESETS[name]["chain_id"] for name in PRESETS} == {"11155111", "1", "31337"}
