"""What a process manager is told that speaks systemd's protocol: ready, stopping, still alive (sd_notify(3)).

Without NOTIFY_SOCKET in the environment nothing is told to anybody. The beats come from the event loop: a node whose loop hangs
is silent, and systemd starts it again.
"""

import logging
import os
import socket
from collections.abc import Mapping

import trio

log = logging.getLogger(__name__)


class SystemdNotifier:
    """The listener at NOTIFY_SOCKET, a path or ``@`` and a name; ``beat`` is the seconds between signs of life, or None."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        micros = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.beat = (
            int(micros) / 2e6 if self._address and mine and micros.isdecimal() and int(micros) else None
        )

    def tell(self, state: str) -> None:
        """One datagram. A listener that is not there, or whose queue is full, is none of a node's business: logged, no more."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), self._address)
            except OSError as error:
                log.debug("tell the process manager %s: %s", state, error)

    async def keep_beating(self) -> None:
        """Until cancelled, if somebody watches."""
        while self.beat is not None:
            self.tell("WATCHDOG=1")
            await trio.sleep(self.beat)
