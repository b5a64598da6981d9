"""Settings of a network out of the file that a devnet writes for its users, ``client.toml``."""

import tomllib
from pathlib import Path

from eigenkms.client import ClientSettings, Finality


def read_settings(path: Path) -> ClientSettings:
    """What the library wants to know; a devnet's chain has the id 31337 and no finality to wait for."""
    values = tomllib.loads(path.read_text())

    def address(name: str) -> bytes:
        return bytes.fromhex(values[name].removeprefix("0x"))

    return ClientSettings(
        rpc_url=values["rpc_url"],
        chain_id=31337,
        avs=address("avs"),
        operator_set_id=0,
        allocation_manager=address("allocation_manager"),
        key_registrar=address("key_registrar"),
        app_controller=address("app_controller"),
        finality=Finality.parse("latest"),
        known_clusters_path=Path(values["known_clusters"]),
    )
