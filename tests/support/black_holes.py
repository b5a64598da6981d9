"""Addresses that neither answer nor refuse, as behind a firewall that swallows what is sent."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def black_holes(n: int) -> Iterator[list[str]]:
    """Multiaddrs of ``n`` sockets on loopback that listen and never accept; the kernel drops every SYN to them.

    The queue of each has one place (``listen(0)``), and a connection of our own takes it.
    """
    with ExitStack() as stack:
        found = []
        for _ in range(n):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            stack.enter_context(socket.create_connection(listening.getsockname()))
            found.append(f"/ip4/127.0.0.1/tcp/{listening.getsockname()[1]}")
        yield found
