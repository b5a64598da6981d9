"""Settings of a client: the chain that it trusts, and the pins of clusters.

``eigenkms.config`` reads them for the command line; a program makes them itself (docs/library.md, Settings).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eigenkms.chain.anchor import AnchorConfig
from eigenkms.chain.config import ChainConfig, Finality


@dataclass(frozen=True)
class ClientSettings:
    """Settings of a client.

    ``rpc_url`` is one URL or several, the preferred one first. ``timeout``: seconds for all that one call asks of the network.
    ``app_controller``: the contract that knows applications, for ``fetch_secrets`` alone. ``anchor``: for ``anchor_check`` alone.
    """

    rpc_url: str | Sequence[str] = field(repr=False)
    chain_id: int
    avs: bytes
    operator_set_id: int
    allocation_manager: bytes
    key_registrar: bytes
    finality: Finality
    known_clusters_path: Path
    timeout: float = 20.0
    app_controller: bytes | None = None
    anchor: AnchorConfig | None = None

    @property
    def chain(self) -> ChainConfig:
        return ChainConfig(
            rpc_url=self.rpc_url,
            chain_id=self.chain_id,
            avs=self.avs,
            operator_set_id=self.operator_set_id,
            allocation_manager=self.allocation_manager,
            key_registrar=self.key_registrar,
            finality=self.finality,
            app_controller=self.app_controller,
        )
