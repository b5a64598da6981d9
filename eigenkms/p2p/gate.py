"""Decide which peer may use which protocol, by the operator's gate."""

import logging

from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.types import GOSSIP, Gate

log = logging.getLogger("eigenkms.p2p.host")


class ProtocolGate:
    """The gate of one host.

    Without a gate all peers are admitted; a gate that raises refuses.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def admits(self, peer: PeerId, protocol: str) -> bool:
        """Return whether the peer may use the protocol now."""
        if self._gate is None:
            return True
        try:
            return bool(self._gate(peer, protocol))
        except Exception:
            log.exception("gate for %s on %s", peer, protocol)
            return False

    def trusts(self, peer: PeerId) -> bool:
        """Return whether the peer may gossip: it is trusted then, and a client otherwise."""
        return self.admits(peer, GOSSIP)
