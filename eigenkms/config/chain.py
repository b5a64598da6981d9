"""The chain and the anchor as the settings name them, for nodes and clients.

``ChainConfig`` is the one dataclass of the chain's settings: a node's configuration holds one, and a client's settings are one.
"""

from typing import TYPE_CHECKING, Any, Final

from eigenkms.config import parsers
from eigenkms.config.schema import CHAIN_SETTINGS, REQUIRED
from eigenkms.config.schema.chain import DEFAULT_ANCHOR_FINALITY, DEFAULT_FINALITY
from eigenkms.config.settings import Settings
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.anchor import AnchorConfig
    from eigenkms.chain.config import Finality

CHAIN_FIELDS: Final = tuple(name for name in CHAIN_SETTINGS if name != "environment")
"""Fields of ``ChainConfig`` that are settings."""


def chain_fields(settings: Settings) -> dict[str, Any]:
    """Return the values of ``CHAIN_FIELDS``.

    Raises ``InputError`` for a required one that is not set.
    """
    values = {
        name: settings.require(name) if name in REQUIRED else settings.get(name) for name in CHAIN_FIELDS
    }
    return values | {"finality": values["finality"] or parsers.finality(DEFAULT_FINALITY)}


def anchor_config(
    rpc_url: str | None, chain_id: int | None, registry: bytes | None, finality: "Finality | None"
) -> "AnchorConfig | None":
    """Return the anchor, or None if no setting names it.

    Raises ``InputError`` if one part of it is missing.
    """
    given = {"anchor_rpc_url": rpc_url, "anchor_chain_id": chain_id, "anchor_registry": registry}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if rpc_url is None or chain_id is None or registry is None:
        raise InputError(
            f"use the anchor: {missing[0]} is not set",
            hint=f"set {', '.join(given)}, or none of them",
        )
    from eigenkms.chain.anchor import AnchorConfig

    return AnchorConfig(rpc_url, chain_id, registry, finality or parsers.finality(DEFAULT_ANCHOR_FINALITY))
