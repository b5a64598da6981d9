"""Notifications by systemd's protocol, sd_notify(3): ready, stopping, watchdog.

Nothing is sent if NOTIFY_SOCKET is not in the environment. The watchdog's messages come from the event loop: if the loop hangs,
they stop, and systemd restarts the node.
"""

import logging
import os
import socket
from collections.abc import Mapping

import trio

log = logging.getLogger(__name__)


class SystemdNotifier:
    """Sends states to NOTIFY_SOCKET, a path or ``@`` and an abstract name.

    ``interval`` is the seconds between two watchdog messages, half of WATCHDOG_USEC; None if no watchdog is set for this process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        micros = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.interval = (
            int(micros) / 2e6 if self._address and mine and micros.isdecimal() and int(micros) else None
        )

    def notify(self, state: str) -> None:
        """Send one datagram; a socket that is missing or full is only logged."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), self._address)
            except OSError as error:
                log.debug("tell the process manager %s: %s", state, error)

    async def run_watchdog(self) -> None:
        """Send watchdog messages until cancelled; return at once if no watchdog is set."""
        while self.interval is not None:
            self.notify("WATCHDOG=1")
            await trio.sleep(self.interval)
