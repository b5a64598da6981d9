"""Settings of a client: the chain that it trusts, and the pins of clusters.

``eigenkms.config`` reads them for the command line; a program makes them itself (docs/library.md, Settings).
"""

from dataclasses import dataclass
from pathlib import Path

from eigenkms.chain.anchor import AnchorConfig
from eigenkms.chain.config import ChainConfig


@dataclass(frozen=True, kw_only=True)
class ClientSettings(ChainConfig):
    """Settings of a client: those of the chain, and its own.

    ``timeout`` is in seconds, for all that one call asks of the network. ``app_controller`` is needed for ``fetch_secrets`` alone,
    ``anchor`` for ``anchor_check`` alone.
    """

    known_clusters_path: Path
    timeout: float = 20.0
    anchor: AnchorConfig | None = None
