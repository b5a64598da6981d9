"""The table of settings.

Every key of the configuration file, and the groups that verbs read and pages explain.

The same table serves every verb of the command line, so a key has one name, one meaning and one environment variable. Each module
of this package declares the settings of one subject.
"""

from collections.abc import Mapping

from eigenkms.config.schema.attestation import ATTESTATION
from eigenkms.config.schema.chain import ACCOUNT, ANCHOR, CHAIN
from eigenkms.config.schema.client import CLIENT
from eigenkms.config.schema.devnet import DEVNET
from eigenkms.config.schema.node import BACKUP, HTTP, MONITOR, NODE
from eigenkms.config.settings import Setting

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        *CHAIN,
        *CLIENT,
        *NODE,
        *ACCOUNT,
        *ATTESTATION,
        *HTTP,
        *MONITOR,
        *BACKUP,
        *ANCHOR,
        *DEVNET,
    )
}
"""Every key of the configuration file, for all verbs."""

CHAIN_SETTINGS = tuple(setting.name for setting in CHAIN)
CLIENT_ONLY_SETTINGS = tuple(setting.name for setting in CLIENT)
ACCOUNT_SETTINGS = tuple(setting.name for setting in ACCOUNT)
ATTESTATION_SETTINGS = tuple(setting.name for setting in ATTESTATION)
MONITOR_SETTINGS = tuple(setting.name for setting in MONITOR)
HTTP_SETTINGS = tuple(setting.name for setting in HTTP)
BACKUP_SETTINGS = tuple(setting.name for setting in BACKUP)
ANCHOR_SETTINGS = tuple(setting.name for setting in ANCHOR)
READER_SETTINGS = ("anchor_rpc_url", "anchor_chain_id", "anchor_registry", "anchor_finality")
"""Settings of the anchor that a client reads."""
CLIENT_SETTINGS = (*CHAIN_SETTINGS, "known_clusters", "timeout", *READER_SETTINGS)
NODE_SETTINGS = (
    *(setting.name for setting in (*CHAIN, *NODE, *ATTESTATION, *HTTP, *MONITOR, *ANCHOR)),
    "max_gas_price_gwei",
)
DEVNET_SETTINGS = tuple(setting.name for setting in DEVNET)

REQUIRED = ("rpc_url", "chain_id", "avs", "allocation_manager", "key_registrar")
"""Settings without a default that nodes and clients need."""
NODE_REQUIRED = (*REQUIRED, "operator", "bn254_keystore")
ALIKE = ("finality", "interval_blocks", "window_seconds", "genesis_quorum", "min_operators")
"""Settings that enter the id of every session: they must be the same at all operators."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "The chain (node and clients)": CHAIN_SETTINGS,
    "Clients": CLIENT_ONLY_SETTINGS,
    "A node": tuple(setting.name for setting in NODE),
    "An operator's account": ACCOUNT_SETTINGS,
    "Attestation": ATTESTATION_SETTINGS,
    "HTTP API": HTTP_SETTINGS,
    "Monitoring": MONITOR_SETTINGS,
    "Backups": BACKUP_SETTINGS,
    "The anchor": ANCHOR_SETTINGS,
    "A devnet": DEVNET_SETTINGS,
}
"""Every key, by the headings of docs/configuration.md."""
