"""TCP ports for nodes that start later, and again after a stop."""

import atexit
import errno
import random
import socket
from pathlib import Path
from typing import Final

from eigenkms.errors import NetworkError

LOWEST: Final = 10_000
PORT_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OWN_FIRST: Final = 32_768
"""Linux's default; other systems begin higher."""
_reserved: Final[list[socket.socket]] = []
"""Sockets that hold ports for this process' lifetime: bound, and not listening. ``_release`` closes them at its end."""


def free_ports(count: int) -> list[int]:
    """Return distinct ports without a listener.

    Raises ``NetworkError`` if there are too few. They are below those that the system gives to connections, which a new connection
    may take at any moment. On Linux they are reserved while this process lives: a socket with SO_REUSEADDR, as of a listener, may
    use them, and this function does not return them again.
    """
    found: list[socket.socket] = []
    possible = range(LOWEST, max(_first_own(), LOWEST + 1))
    for port in random.Random().sample(possible, len(possible)):  # noqa: S311 - no secret
        if len(found) == count:
            break
        if (bound := _bound(port)) is not None:
            found.append(bound)
    if len(found) < count:
        for each in found:
            each.close()
        raise NetworkError(
            f"find {count} free ports: there are {len(found)} between {possible.start} and {possible.stop}",
            hint=f"stop what listens there, or let {PORT_RANGE_FILE} begin higher",
        )
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        _reserve(each)
    return ports


def _first_own() -> int:
    """Return the first of the ports that the system gives to connections."""
    try:
        return int(PORT_RANGE_FILE.read_text().split()[0])
    except FileNotFoundError:
        return _OWN_FIRST


def _bound(port: int) -> socket.socket | None:
    """Return a socket that nobody shares the port with."""
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        probe.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return None
    return probe


def _reserve(bound: socket.socket) -> None:
    """Hold the port if the system lets another socket listen on it, else free it."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        socket.create_server(bound.getsockname()).close()
    except OSError:
        bound.close()
    else:
        _reserved.append(bound)


@atexit.register
def _release() -> None:
    """Close the sockets that reserve ports, so that none is open when Python ends."""
    while _reserved:
        _reserved.pop().close()
