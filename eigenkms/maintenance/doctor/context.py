"""The context of the checks.

It holds the configuration, and the results of earlier checks for later ones.
"""

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
from eigenkms.p2p.operator_socket import OperatorSocket
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire.session import cluster_id

if TYPE_CHECKING:
    from eigenkms.keys.keystores import PrivateKey
    from eigenkms.p2p.host import Host


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """The status of a peer: fields of its answer, and lead of its clock in seconds."""

    said: Mapping[str, object]
    ahead: float | None


@dataclass
class CheckContext:
    """The inputs of the checks, and what they have found.

    ``load`` and ``read_password`` raise ``InputError``. The latter returns None if there is no password without a prompt.
    ``account`` returns the account that sends transactions, if one is configured. ``file`` is the configuration file as it was
    named, for hints. ``clock`` returns unix seconds. ``visitor`` is a host that belongs to no operator.
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
    """Public values by kind, as the keystores state them."""
    lock_holder: str | None = None
    """Text of the process that holds the data folder, None if there is none."""
    holds_port: bool = False
    """Whether this node listens at the configured addresses."""
    rpc: JsonRpc | None = None
    """The first RPC that answers for the configured chain."""
    operators: RawOperatorSet | None = None
    me: ChainOperator | None = None
    socket: OperatorSocket | None = None
    """The socket of this operator on chain, if it is one."""
    peers: dict[OperatorAddress, PeerStatus] = field(default_factory=dict)
    """Statuses of the operators that answered."""
    addresses: dict[OperatorAddress, PeerAddress] = field(default_factory=dict)
    """Addresses of the other operators whose sockets can be dialled."""
    head_time: int = 0
    """Timestamp of the chain's newest block."""
    _config: NodeConfig | None = None

    @property
    def config(self) -> NodeConfig:
        if self._config is None:
            self._config = self.load()
        return self._config

    @property
    def is_running(self) -> bool:
        """Return whether a process holds the data folder."""
        return self.lock_holder is not None

    @property
    def pid(self) -> int:
        """Return the id of that process, 0 if it is not known."""
        return int(self.lock_holder) if self.lock_holder and self.lock_holder.isdecimal() else 0

    def spare_rpc(self, advice: str, *, alone: str) -> str:
        """Return ``advice`` on the other RPCs, or ``alone`` if one RPC is configured."""
        return advice if len(self.rpcs) > 1 else alone

    @property
    def flag(self) -> str:
        """Return the option that names the configuration file, for commands in hints."""
        return f"--config {shlex.quote(self.file)}"

    def update_socket(self, address: str = "/ip4/ADDRESS/tcp/PORT") -> str:
        """Return the command that publishes the announced address, or else ``address``."""
        chosen = "" if self.config.network.announce else f" --socket {address}"
        return f"eigenkms operator update-socket {self.flag}{chosen}"

    @property
    def cluster(self) -> ClusterId:
        return cluster_id(self.config.chain.cluster)

    def public_value(self, kind: str, name: str) -> str | None:
        """Return a public value of a key, proven if the keystore was opened."""
        opened = self.keys.get(kind)
        return self.public.get(kind, {}).get(name) if opened is None else opened.public.get(name)

    @property
    def chain(self) -> OperatorSetSource:
        """Return a reader of the chain. Call it only after the check rpc."""
        assert self.rpc is not None
        return OperatorSetSource(self.config.chain, self.rpc)

    @property
    def p2p_path(self) -> Path:
        """Return the p2p keystore, also if the node has yet to make it."""
        return self.config.p2p_keystore
