"""A TCP forwarder that a test can shut: to a node it looks as if its RPC went down."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.support.waiting import PATIENCE


class TcpGate:
    """Forwards connections of ``url`` to the server behind it while it is open."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="gate")

    def shut(self) -> None:
        """Hang up, and from now on on everybody at once."""
        with self._lock:
            self._open = False
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _hang_up(each)

    def reopen(self) -> None:
        with self._lock:
            self._open = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down: the end
            while True:
                client, _ = self._listener.accept()
                self._take(client)

    def _take(self, client: socket.socket) -> None:
        with self._lock:
            if not self._open:
                client.close()
                return
            server = socket.create_connection(self._target)
            self._sockets |= {client, server}
        for a, b in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the other direction, or shut, hung up first
            while piece := source.recv(65536):
                sink.sendall(piece)
        _hang_up(source)
        _hang_up(sink)

    @classmethod
    @contextlib.contextmanager
    def before(cls, target: str) -> Iterator["TcpGate"]:
        """An open gate in front of the server at ``target`` (an http URL)."""
        gate = cls(target)
        gate.start()
        try:
            yield gate
        finally:
            gate.stop()

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections, and close all."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        self.shut()


def _hang_up(each: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        each.shutdown(socket.SHUT_RDWR)
    each.close()
