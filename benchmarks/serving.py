"""Partial signatures a second: ``python -m benchmarks.serving [--at-once 1 16]``.

One node runs in this process, with its release log. Another process sends ``--requests`` over real sockets of this machine, without
TLS for HTTP. Each request has evidence of its own, made before the clock runs: none (policy open), a token of the method ``gcp``
from an issuer of this process, or a signature of the creator (``ecdsa``). Both processes share the machine's cores. The limits of
one client are lifted.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from benchmarks.tables import show

METHODS = ("open", "gcp", "ecdsa")


# -- who asks, in a process of its own


async def ask_http(url: str, requests: Iterator[bytes], took: list[float]) -> None:
    """Send requests over one connection.

    Raises if an answer is not 200.
    """
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    async with stream:
        for request in requests:
            begun = time.perf_counter()
            await stream.send_all(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(fields[b"content-length"]):
                body += await stream.receive_some(65536)
            took.append(time.perf_counter() - begun)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{head!r} {body!r}")


async def load(where: str, requests: list[bytes], at_once: int) -> dict[str, float]:
    """Return requests a second, and the seconds of the median and the 99th percentile."""
    from eigenkms.p2p.host import open_host
    from eigenkms.p2p.identity import PeerKey, parse_address
    from eigenkms.wire import rpc_methods

    left, took = iter(requests), list[float]()
    async with open_host(PeerKey.generate()) as host:

        async def ask_libp2p() -> None:
            for request in left:
                begun = time.perf_counter()
                await host.call(
                    address.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.PARTIAL, request, timeout=60
                )
                took.append(time.perf_counter() - begun)

        if not where.startswith("http"):
            address = parse_address(where)
            host.set_addresses(address.peer_id, [address])
            await host.call(address.peer_id, rpc_methods.CLIENT_PROTOCOL, rpc_methods.STATUS, b"")
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                if where.startswith("http"):
                    nursery.start_soon(ask_http, where, left, took)
                else:
                    nursery.start_soon(ask_libp2p)
        seconds = time.perf_counter() - started
    took.sort()
    return {
        "speed": len(took) / seconds,
        "median": took[len(took) // 2],
        "slowest": took[len(took) * 99 // 100],
    }


# -- the node


@asynccontextmanager
async def a_serving_node(folder: Path, method: str) -> AsyncIterator[tuple[Any, Any, str]]:
    """Run a node. The context has the node, its network and its libp2p address."""
    from eigenkms.authorisation.factory import open_authoriser
    from eigenkms.authorisation.policy import Policy
    from eigenkms.p2p.host import open_host
    from eigenkms.wire import rpc_methods
    from tests.authorisation.test_pipeline import Clock, Register
    from tests.support.fake_network import ANYWHERE, CLUSTER, make_network
    from tests.support.nodes import a_node, keep_version, make_config
    from tests.support.token_issuer import GCP_ISSUER, PROJECT, Endpoint, jwk, jwk_set, make_authority, serve

    network = make_network()
    keep_version(network, 0, folder)
    authority = make_authority(folder)
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as issuer:
        config = make_config(
            network,
            0,
            folder,
            policy="attested",
            attestation_methods=("gcp", "ecdsa"),
            attestation_project=PROJECT,
            attestation_audiences=("https://sts.googleapis.com",),
            attestation_gcp_issuer=GCP_ISSUER,
            attestation_gcp_keys=issuer.url,
            attestation_ca=authority.ca,
            attestation_app_rate=10**6,
        )
        async with (
            open_authoriser(config, CLUSTER, Register(), clock=Clock()) as authoriser,
            open_host(network.operators[0].peer, listen=[ANYWHERE]) as host,
        ):
            policy = Policy("open") if method == "open" else Policy("attested", authoriser)
            with a_node(network, 0, folder, deciding=policy, http_rate=10**6) as node:
                host.serve(rpc_methods.CLIENT_PROTOCOL, node.services.client_handlers.answer)
                yield node, network, str(host.addresses[0])


def evidence(method: str, scope: Any, number: int) -> bytes:
    from tests.authorisation.test_pipeline import signed
    from tests.support.token_issuer import gcp_claims, token

    if method == "ecdsa":
        return signed(scope, nonce=number.to_bytes(32, "big")).authorisation.evidence
    return token(gcp_claims(scope.nonce, jti=str(number))) if method == "gcp" else b"none"


def make_requests(transport: str, method: str, network: Any, numbers: range) -> list[bytes]:
    from eigenkms.crypto import sealing
    from eigenkms.wire.authorisation import Authorisation, Scope
    from eigenkms.wire.client_rpc import PartialRequest
    from tests.authorisation.test_pipeline import APP_ID
    from tests.node.http.support import ReferenceClient
    from tests.support.fake_network import CLUSTER
    from tests.support.randomness import counter_rng

    operator = network.operators[0].address
    if transport == "libp2p":
        _, public = sealing.x25519_keypair(counter_rng("reply key"))
        scope = Scope(CLUSTER, operator, APP_ID, public)
        bare = PartialRequest(CLUSTER, APP_ID, 2, network.epoch.transcript.hash, public, bytes(32))
        return [
            replace(
                bare,
                nonce=n.to_bytes(32, "big"),
                authorisation=Authorisation(method, evidence(method, scope, n)).encoded,
            ).encoded
            for n in numbers
        ]
    client = ReferenceClient()
    scope = Scope(CLUSTER, operator, APP_ID, client.pem)
    found = []
    for n in numbers:
        body = json.dumps(client.request(method, evidence(method, scope, n))).encode()
        head = f"POST /secrets HTTP/1.1\r\nhost: node\r\ncontent-length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


async def measure(folder: Path, count: int, at_once: Sequence[int]) -> list[dict[str, str]]:
    from eigenkms.node.http import limits
    from tests.node.http.support import served

    limits.IN_PROGRESS_OF_ONE = 10**6  # type: ignore[misc]
    rows = []
    for method in METHODS:
        async with a_serving_node(folder / method, method) as (node, network, address):
            for together in at_once:
                used = range(len(rows) * count, (len(rows) + 1) * count)
                requests = make_requests("libp2p", method, network, used)
                rows.append(await measured("libp2p", method, together, address, requests))
                requests = make_requests("HTTP", method, network, range(used.stop, used.stop + count))
                async with served(node.services.key_api.app) as url:
                    rows.append(await measured("HTTP", method, together, url, requests))
    return rows


async def measured(
    transport: str, method: str, at_once: int, where: str, requests: list[bytes]
) -> dict[str, str]:
    """Return a row of the table."""
    job = json.dumps([where, [request.hex() for request in requests], at_once])
    command = [sys.executable, "-m", "benchmarks.serving", "--load"]
    used = time.process_time()
    said = json.loads((await trio.run_process(command, stdin=job.encode(), capture_stdout=True)).stdout)
    used = time.process_time() - used
    return {
        "transport": transport,
        "method": method,
        "at once": str(at_once),
        "1/s": f"{said['speed']:.0f}",
        "median, ms": f"{said['median'] * 1000:.1f}",
        "99 %, ms": f"{said['slowest'] * 1000:.1f}",
        "CPU of the node, ms a request": f"{used / len(requests) * 1000:.2f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as made:
        warnings.simplefilter("ignore")
        if options.load:
            where, requests, at_once = json.load(sys.stdin)
            print(json.dumps(trio.run(load, where, [bytes.fromhex(r) for r in requests], at_once)))
            return
        rows = trio.run(measure, Path(made), options.requests, options.at_once)
        show("partial signatures at one node", rows)


if __name__ == "__main__":
    main()
