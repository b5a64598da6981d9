"""What is looked at: the configuration, and what earlier checks found out for later ones."""

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eigenkms.chain.operator_set import ChainOperator, RawOperatorSet
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.chain.rpc import JsonRpc
from eigenkms.config.node import NodeConfig
from eigenkms.p2p.identity import PeerAddress
from eigenkms.protocols.wire.session import cluster_id
from eigenkms.types import ClusterId, OperatorAddress

if TYPE_CHECKING:
    from eigenkms.keys.keystores import PrivateKey
    from eigenkms.p2p.host import Host


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What a peer answered to ``status``: the fields, and how many seconds its clock is ahead of ours."""

    said: Mapping[str, object]
    ahead: float | None


@dataclass
class CheckContext:
    """``load`` and ``read_password`` raise ``InputError``; the latter gives None where there is none without asking.

    ``account`` gives the account that sends transactions, if one is configured.

    ``file`` is the configuration file as it was named, for hints; ``clock`` gives unix seconds; ``visitor`` is no operator's host.
    """

    load: Callable[[], NodeConfig]
    read_password: Callable[[NodeConfig], str | None]
    visitor: "Host"
    account: Callable[[], bytes | None] = lambda: None
    file: str = "node.toml"
    clock: Callable[[], float] = time.time

    rpcs: list[JsonRpc] = field(default_factory=list)
    """One for each URL, in the order of the configuration."""
    password: str | None = field(default=None, repr=False)
    keys: dict[str, "PrivateKey"] = field(default_factory=dict, repr=False)
    """Opened keys by kind."""
    public: dict[str, dict[str, str]] = field(default_factory=dict)
    """Public values by kind, as the keystores say them."""
    is_running: bool = False
    """Whether a process has the data folder."""
    holds_port: bool = False
    """Whether this very node listens where the configuration says."""
    pid: int = 0
    """Of that process, if it says."""
    rpc: JsonRpc | None = None
    """The first that answers, and for the configured chain."""
    operators: RawOperatorSet | None = None
    me: ChainOperator | None = None
    socket: PeerAddress | None = None
    peers: dict[OperatorAddress, PeerStatus] = field(default_factory=dict)
    """Who answered."""
    addresses: dict[OperatorAddress, PeerAddress] = field(default_factory=dict)
    """Of the other operators, as far as their sockets can be dialled."""
    head_time: int = 0
    """Of the chain's newest block."""
    _config: NodeConfig | None = None

    @property
    def config(self) -> NodeConfig:
        if self._config is None:
            self._config = self.load()
        return self._config

    @property
    def flag(self) -> str:
        """For commands in hints."""
        return f"--config {shlex.quote(self.file)}"

    def update_socket(self, address: str = "/ip4/ADDRESS/tcp/PORT") -> str:
        """The command that publishes what the node announces, or else ``address``."""
        chosen = "" if self.config.network.announce else f" --socket {address}"
        return f"eigenkms operator update-socket {self.flag}{chosen}"

    @property
    def cluster(self) -> ClusterId:
        return cluster_id(self.config.chain.cluster)

    def public_value(self, kind: str, name: str) -> str | None:
        """Of a key that was opened; of any other as its keystore says it, None where that says nothing."""
        opened = self.keys.get(kind)
        return self.public.get(kind, {}).get(name) if opened is None else opened.public.get(name)

    @property
    def chain(self) -> OperatorSetSource:
        """Only after the check rpc."""
        assert self.rpc is not None
        return OperatorSetSource(self.config.chain, self.rpc)

    @property
    def p2p_path(self) -> Path:
        """Return the p2p keystore, also if the node has yet to make it."""
        return self.config.p2p_keystore
