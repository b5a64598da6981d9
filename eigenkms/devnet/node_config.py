"""The configuration of a devnet's nodes: shared settings, and the file of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eigenkms.chain.config import Deployment
from eigenkms.devnet.anchor import DevnetAnchor
from eigenkms.devnet.operators import DevnetOperator, write_private
from eigenkms.types import to_hex


@dataclass(frozen=True)
class Timing:
    """Blocks between boundaries, seconds a block, and the protocol window in seconds.

    ``on_demand``: the chain makes a block for each transaction and on request, not by time. Nodes still expect ``block_seconds``.
    """

    interval_blocks: int = 10
    block_seconds: float = 1.0
    window_seconds: float = 1.0
    on_demand: bool = False


@dataclass(frozen=True)
class Access:
    """The policy of all nodes, and their settings of attestation by name."""

    policy: str = "open"
    attestation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> Sequence[str]:
        """Return the enabled methods of attestation."""
        return tuple(self.attestation.get("attestation_methods", ()))


def contract_settings(contracts: Deployment) -> dict[str, str]:
    """Return the contracts of a devnet, by the keys of docs/configuration.md."""
    names = ("avs", "allocation_manager", "delegation_manager", "key_registrar", "app_controller")
    return {name: to_hex(getattr(contracts, name)) for name in names}


def network_settings(
    rpc_url: str, contracts: Deployment, timing: Timing, access: Access, anchor: DevnetAnchor | None = None
) -> dict[str, object]:
    """Return the settings that all nodes share, by the keys of docs/configuration.md."""
    return {
        "environment": "devnet",
        "rpc_url": rpc_url,
        **contract_settings(contracts),
        "interval_blocks": timing.interval_blocks,
        "block_seconds": timing.block_seconds,
        "window_seconds": timing.window_seconds,
        "poll_seconds": 0.25,
        "policy": access.policy,
        **access.attestation,
        **({} if anchor is None else anchor.settings),
    }


def toml(values: Mapping[str, object]) -> str:
    """Return a configuration file.

    TOML writes texts, numbers, truth values and lists of texts as JSON does.
    """
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def write_config(member: DevnetOperator, shared: Mapping[str, object]) -> None:
    """Write the node's TOML file with the shared settings, replacing an earlier one."""
    values = {
        **shared,
        "operator": to_hex(member.address),
        "data_dir": str(member.folder / "data"),
        "bn254_keystore": str(member.folder / "bn254.json"),
        "p2p_keystore": str(member.folder / "p2p.json"),
        "password_file": str(member.folder / "password"),
        "listen": [f"/ip4/127.0.0.1/tcp/{member.port}"],
        "genesis": member.founder,
        "log_format": "json",
    }
    if "anchor_registry" in shared:
        values["anchor_account_keystore"] = str(member.folder / "account.json")
    member.config.unlink(missing_ok=True)
    write_private(member.config, toml(values))
