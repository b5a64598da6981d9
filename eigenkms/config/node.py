"""A node's checked configuration.

One frozen dataclass of sections, made from the settings.

The configuration file, the flags and the environment variables are flat. ``NodeConfig.from_settings`` reads them, fills in the
defaults that depend on other values, and groups them by subject (``sections``). A check that needs two sections gets the second one
from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigenkms.chain.endpoints import check_distinct
from eigenkms.config import paths
from eigenkms.config.chain import CHAIN_FIELDS, chain_fields
from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.config.schema import NODE_REQUIRED, NODE_SETTINGS, SETTINGS
from eigenkms.config.schema.node import DEFAULT_LISTEN, WINDOWS_PER_INTERVAL
from eigenkms.config.sections import (
    AnchoringConfig,
    HttpConfig,
    KeyFiles,
    ListenConfig,
    LogConfig,
    MonitorConfig,
    PolicyConfig,
    Section,
    SessionConfig,
    Values,
)
from eigenkms.config.settings import Settings
from eigenkms.config.sources import gather
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.chain.config import ChainConfig

STALE_BLOCKS, MIN_STALE_SECONDS = 25, 30.0
"""Age from which the chain, or an RPC, counts as stale: expected blocks of the newest one, and a minimum in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The configuration of a node. Times are in seconds."""

    data_dir: Path
    operator: OperatorAddress
    chain: "ChainConfig"
    keys: KeyFiles
    network: ListenConfig
    session: SessionConfig
    policy: PolicyConfig
    http: HttpConfig
    monitor: MonitorConfig
    anchor: AnchoringConfig
    log: LogConfig

    def __post_init__(self) -> None:
        is_devnet = self.chain.chain_id == DEVNET_CHAIN_ID
        self.policy.check(self.chain.chain_id, is_devnet=is_devnet)
        self.http.check(self.policy)
        self.network.check_announced(local=is_devnet)
        check_distinct(self.chain.rpc_urls)
        self.anchor.check()

    @classmethod
    def load(
        cls, flags: Mapping[str, object], *, environ: Mapping[str, str], file: Path | None = None
    ) -> "NodeConfig":
        """Gather, parse and check the settings.

        Raises ``InputError`` that names the key, its place, and the correction.
        """
        return cls.from_settings(gather(flags, environ=environ, file=file))

    @classmethod
    def from_settings(cls, settings: Settings) -> "NodeConfig":
        """Parse and check the settings. Raises ``InputError`` as ``load``."""
        return cls.from_values(node_values(settings))

    @classmethod
    def from_values(cls, values: Values) -> "NodeConfig":
        """Check values that are parsed already.

        A setting that is left out has its default.

        Settings whose default depends on others must be given: see ``node_values``.
        """
        from eigenkms.chain.config import ChainConfig

        values = {name: SETTINGS[name].default for name in NODE_SETTINGS} | dict(values)
        stale_seconds = max(MIN_STALE_SECONDS, STALE_BLOCKS * values["block_seconds"])
        return cls(
            data_dir=values["data_dir"],
            operator=values["operator"],
            chain=ChainConfig(**{name: values[name] for name in CHAIN_FIELDS}, stale_seconds=stale_seconds),
            keys=KeyFiles.of(values),
            network=ListenConfig.of(values),
            session=SessionConfig.of(values),
            policy=PolicyConfig.of(values),
            http=HttpConfig.of(values),
            monitor=MonitorConfig.of(values),
            anchor=AnchoringConfig.of(values),
            log=LogConfig.of(values),
        )

    @property
    def p2p_keystore(self) -> Path:
        """Return the p2p keystore.

        The configured one, or that which the node makes in its data folder.
        """
        return self.keys.p2p_keystore or self.data_dir / paths.P2P_KEYSTORE_NAME

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the operator should read before the node starts, one sentence each."""
        sections: tuple[Section, ...] = (self.policy, self.http, self.session, self.anchor)
        return tuple(warning for section in sections for warning in section.warnings)


def node_values(settings: Settings) -> dict[str, Any]:
    """Return the values of all settings of a node.

    They include the defaults that depend on other values.

    Raises ``InputError`` for a value that does not parse, and for a required one that is not set.
    """
    values: dict[str, Any] = {name: settings.get(name) for name in NODE_SETTINGS}
    values |= {name: settings.require(name) for name in NODE_REQUIRED} | chain_fields(settings)
    values["data_dir"] = paths.data_dir(settings)
    values["listen"] = values["listen"] or (DEFAULT_LISTEN,)
    values["window_seconds"] = values["window_seconds"] or (
        values["interval_blocks"] * values["block_seconds"] / WINDOWS_PER_INTERVAL
    )
    return values


def parameters_of(config: NodeConfig) -> dict[str, object]:
    """Return the settings that enter every session's id.

    They must be the same at all operators.
    """
    session = config.session
    return {
        "interval_blocks": session.interval_blocks,
        "finality": str(config.chain.finality),
        "window_ms": session.window_ms,
        "genesis_quorum": session.genesis_quorum,
        "min_operators": session.min_operators,
    }
