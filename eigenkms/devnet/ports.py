"""TCP ports for nodes that start later, and again after a stop."""

import errno
import random
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from eigenkms.errors import NetworkError

LOWEST: Final = 10_000
_OWN_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OWN_FIRST: Final = 32_768
"""Linux's default; other systems begin higher."""


def free_ports(count: int) -> list[int]:
    """Distinct ports on which nobody listens, below those that the system itself gives to connections: such a one may be taken at
    any moment by a connection that somebody opens. Raises ``NetworkError`` if there are too few.
    """
    found: list[int] = []
    possible = range(LOWEST, max(_first_own(), LOWEST + 1))
    with ExitStack() as held:
        for port in random.sample(possible, len(possible)):
            if len(found) == count:
                break
            if _bind(held.enter_context(socket.socket()), port):
                found.append(port)
    if len(found) < count:
        raise NetworkError(
            f"find {count} free ports: there are {len(found)} between {possible.start} and {possible.stop}",
            hint=f"stop what listens there, or let {_OWN_RANGE} begin higher",
        )
    return found


def _first_own() -> int:
    """Of the ports that the system gives to connections."""
    try:
        return int(_OWN_RANGE.read_text().split()[0])
    except FileNotFoundError:
        return _OWN_FIRST


def _bind(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        probe.close()
        return False
    return True
