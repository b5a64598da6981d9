"""The embedded engine as a process.

``python -m eigenkms.devnet.engines.embedded --port 0`` prints ``Listening on 127.0.0.1:<port>`` when it is ready, and ends when its
standard input closes. One lock guards the chain, and the thread of each connection waits for it. Only this machine can connect.
There is no authentication: a development chain has nothing to protect.
"""

import argparse
import json
import os
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from ethereum_rpc import RPCError

from eigenkms.devnet.engines.ledger import Ledger
from eigenkms.types import to_hex

MAX_REQUEST_BYTES: Final = 4 * 2**20
IDLE_SECONDS: Final = 120
_INVALID_REQUEST: Final = -32600
_INTERNAL_ERROR: Final = -32603


class EmbeddedRpcServer(ThreadingHTTPServer):
    """JSON-RPC over HTTP/1.1 on a loopback port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, ledger: Ledger) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self._ledger = ledger
        self._lock = threading.Lock()

    def mine_every(self, block_time: float) -> None:
        """Mine an interval block every ``block_time`` seconds, for ever, without drifting."""
        due = time.monotonic()
        while True:
            due = max(due + block_time, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            with self._lock:
                self._ledger.mine()

    def answer(self, request: Any) -> Any:
        """Return the answer to one call or one batch."""
        if isinstance(request, list):
            return [self._one(call) for call in request]
        return self._one(request)

    def _one(self, call: Any) -> dict[str, Any]:
        if not isinstance(call, dict) or not isinstance(call.get("method"), str):
            return _error(None, _INVALID_REQUEST, "not a JSON-RPC call")
        number, params = call.get("id"), call.get("params", [])
        try:
            with self._lock:
                result = self._ledger.rpc(call["method"], params)
        except RPCError as exc:
            return _error(number, exc.code, exc.message, exc.data)
        except Exception as exc:  # noqa: BLE001 - a strange call must not take the chain down
            return _error(number, _INTERNAL_ERROR, f"{type(exc).__name__}: {exc}"[:300])
        return {"jsonrpc": "2.0", "id": number, "result": result}


def _error(number: Any, code: int, message: str, data: bytes | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = to_hex(bytes(data))
    return {"jsonrpc": "2.0", "id": number, "error": error}


class _Connection(BaseHTTPRequestHandler):
    """One connection.

    Writes are buffered and Nagle's algorithm is off: without either, each call costs 40 ms more.
    """

    server: EmbeddedRpcServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if not 0 < length <= MAX_REQUEST_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            request = json.loads(self.rfile.read(length))
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        body = json.dumps(self.server.answer(request)).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Silent: the log is for what goes wrong."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A development chain in one process.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--chain-id", type=int, default=31337)
    parser.add_argument("--block-time", type=float, default=0.0, help="seconds; 0 mines transactions only")
    arguments = parser.parse_args()
    try:
        server = EmbeddedRpcServer(arguments.port, Ledger(arguments.chain_id))
    except OSError as exc:
        sys.exit(f"error: listen on port {arguments.port}: {exc.strerror}, is it in use?")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if arguments.block_time:
        threading.Thread(target=server.mine_every, args=(arguments.block_time,), daemon=True).start()
    print(f"Listening on 127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201 - the parent reads it
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
