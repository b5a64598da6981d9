"""The API of a node of the network behind a real socket, and what the reference's client does with it."""

import base64
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import coincurve
import httpx
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.tls import TlsFiles
from eigenkms.crypto.hashing import keccak256
from eigenkms.node.http.api_listener import bind
from eigenkms.node.http.connection import App
from eigenkms.node.http.limits import ClientLimits, ServerLimits
from eigenkms.node.http.server import HttpServer
from tests.support.local_node import LocalNode
from tests.support.token_issuer import APP
from tests.support.waiting import PATIENCE

PATIENT = ServerLimits(
    accepts_of_one=10_000,
    handshake_seconds=PATIENCE,
    head_seconds=PATIENCE,
    idle_seconds=PATIENCE,
    body_seconds=PATIENCE,
    stall_seconds=PATIENCE,
    answer_seconds=PATIENCE,
)
"""For clients that are merely slow, as all are on a busy machine."""


@asynccontextmanager
async def served(
    app: App, limits: ServerLimits | None = None, *, tls: TlsFiles | None = None
) -> AsyncIterator[str]:
    """The URL at which ``app`` is served, until the block ends."""
    bound = await bind(HttpAddress.parse("127.0.0.1:0"), tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(HttpServer(app, limits or ServerLimits()).serve, bound.listeners)
        with trio.fail_after(PATIENCE):
            yield bound.url
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def asking(node: LocalNode, limits: ServerLimits | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API of ``node``, which need not run."""
    async with served(node.services.key_api.app, limits or PATIENT) as url, client_at(url) as client:
        yield client


def stop_rates(node: LocalNode) -> None:
    """Let no time pass for how often a client may ask, however slow the machine is."""
    rate = node.backing.config.http.rate
    node.services.key_api.limits = ClientLimits.at_rate(rate, clock=lambda: 0.0)


def client_at(url: str, verify: ssl.SSLContext | bool = True) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, verify=verify)


async def connect(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))


async def exchange(url: str, data: bytes) -> bytes:
    """All that the server says to ``data`` until it closes the connection."""
    async with await connect(url) as stream:
        await stream.send_all(data)
        return await read_all(stream)


async def read_all(stream: trio.SocketStream) -> bytes:
    received = bytearray()
    with trio.fail_after(PATIENCE):
        async for piece in stream:
            received += piece
    return bytes(received)


async def eventually_gone(stream: trio.SocketStream) -> bytes:
    """What still came, until the server closed the connection or reset it."""
    try:
        return await read_all(stream)
    except trio.BrokenResourceError:
        return b""


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def code_of(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal, whose body has the documented form."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert response.headers["content-type"] == "application/json"
    return response.status_code, error["code"]


@cache
def rsa_private(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def pem_of(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded


class ReferenceClient:
    """What the reference's client and in-TEE helpers send, and how they read the answer (its specification, 9.1 and 10)."""

    def __init__(self, app_id: str = APP, extra_data: bytes = b"") -> None:
        self.app_id = app_id
        self.extra_data = extra_data
        self.key = rsa_private()
        self.pem = pem_of(self.key)

    @property
    def nonce(self) -> str:
        """What its token is asked for with."""
        return hashlib.sha256(self.pem + self.extra_data).hexdigest()

    def with_token(self, token: bytes, *, method: str = "gcp", at: int = 0) -> dict[str, Any]:
        return self.request(method, token, at)

    def signed(self, private_key: bytes, now: int, *, nonce: str = "ab" * 32) -> dict[str, Any]:
        """With the signed text of the creator."""
        signer = coincurve.PrivateKey(private_key)
        public = signer.public_key.format(compressed=False)
        challenge = f"{now}-{nonce}"
        digest = keccak256(f"{self.app_id}-{challenge}-{public.hex()}".encode())
        signature = signer.sign_recoverable(digest, hasher=None)
        return self.request(
            "ecdsa", signature, now, challenge=b64(challenge.encode()), public_key=b64(public)
        )

    def request(self, method: str, attestation: bytes, at: int = 0, **more: object) -> dict[str, Any]:
        request = {
            "app_id": self.app_id,
            "attestation_method": method,
            "attestation": b64(attestation),
            "rsa_pubkey_tmp": b64(self.pem),
            "attestation_time": at,
            **more,
        }
        return {**request, "extra_data": b64(self.extra_data)} if self.extra_data else request

    def open(self, answer: dict[str, Any]) -> bytes:
        """The 48 bytes of the partial signature."""
        padding = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
        opened = self.key.decrypt(base64.b64decode(answer["encrypted_partial_sig"], validate=True), padding)
        point = json.loads(opened)
        assert list(point) == ["CompressedBytes"]
        return base64.b64decode(point["CompressedBytes"], validate=True)


def golden(name: str) -> Any:
    return json.loads((Path(__file__).parent / "golden" / name).read_text())


def shape_of(value: Any) -> Any:
    """The names in a JSON value, in their order, with the type in the place of each scalar."""
    if isinstance(value, dict):
        return {name: shape_of(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])]
    return type(value).__name__
