"""An attestation service of our own: real keys, real tokens of the documented shape, behind real HTTPS on this machine."""

import base64
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import RSAKey

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.attestation.jwks import KeySet, parse_key_set
from eigenkms.wire.authorisation import Refusal

NOW = 1_800_000_000.0
APP = "0x" + "ab" * 20
PROJECT = "my-project"
DIGEST = bytes.fromhex("cd" * 32)
GCP_ISSUER = "https://confidentialcomputing.googleapis.com"
INTEL_ISSUER = "https://portal.trustauthority.intel.com"


@dataclass(frozen=True)
class FetchedKeys:
    """An issuer's keys that need no fetch."""

    keys: KeySet
    url: str = "https://127.0.0.1:1/certs"

    @classmethod
    def of(cls, document: bytes, url: str = "https://127.0.0.1:1/certs") -> "FetchedKeys":
        """Read the keys of a JWK set."""
        return cls(parse_key_set(document), url)

    async def run(self) -> None:
        """Do nothing: the keys stay fresh."""

    async def find(self, kid: str, alg: str) -> RSAKey:
        key = self.keys.find(kid, alg)
        if key is None:
            raise AttestationRefusedError(
                Refusal.UNKNOWN_KEY, "no key of the issuer", hint="use another token"
            )
        return key


@cache
def rsa_key(name: str, bits: int = 2048) -> RSAKey:
    """Made once a run for each name: it takes a while."""
    return RSAKey.generate_key(bits, {"kid": name}, private=True)


def jwk(name: str, *, kid: str | None = None, **fields: Any) -> dict[str, Any]:
    """The public half as it stands in a JWK set."""
    public = rsa_key(name).as_dict(private=False)
    return {"kty": "RSA", "n": public["n"], "e": public["e"], "kid": kid or name, "use": "sig", **fields}


def jwk_set(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def gcp_claims(nonce: object, **changes: Any) -> dict[str, Any]:
    """A token's claims as Google's documentation shows them, changed as told."""
    return {
        "aud": "https://sts.googleapis.com",
        "iss": GCP_ISSUER,
        "iat": int(NOW) - 10,
        "nbf": int(NOW) - 10,
        "exp": int(NOW) + 3590,
        "jti": "token-1",
        "sub": f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/z/instances/tee-{APP}",
        "eat_nonce": nonce,
        "secboot": True,
        "oemid": 11129,
        "hwmodel": "GCP_INTEL_TDX",
        "swname": "CONFIDENTIAL_SPACE",
        "swversion": ["250300"],
        "attester_tcb": ["INTEL"],
        "dbgstat": "disabled-since-boot",
        "submods": {
            "confidential_space": {"support_attributes": ["LATEST", "STABLE", "USABLE"]},
            "container": {
                "image_reference": "docker.io/acme/app:v1@sha256:" + DIGEST.hex(),
                "image_digest": "sha256:" + DIGEST.hex(),
                "restart_policy": "Never",
                "args": ["serve", "--fast"],
                "env": {"HOME": "/", "MODE": "prod"},
                "cmd_override": [],
                "env_override": {"MODE": "prod"},
            },
            "gce": {"zone": "z", "project_id": PROJECT, "instance_name": f"tee-{APP}", "instance_id": "1"},
        },
        **changes,
    }


def intel_claims(nonce: object, **changes: Any) -> dict[str, Any]:
    claims = gcp_claims(
        nonce, iss=INTEL_ISSUER, hwmodel="INTEL_TDX", tdx={"gcp_attester_tcb_status": "UpToDate"}
    )
    del claims["attester_tcb"]
    claims["submods"]["confidential_space"]["support_attributes"] = ["EXPERIMENTAL"]
    return {**claims, **changes}


def changed(claims: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A deep copy in which ``path`` (dotted) is ``value``, or missing if that is ``...``."""
    copy: dict[str, Any] = json.loads(json.dumps(claims))
    *parents, last = path.split(".")
    at = copy
    for name in parents:
        at = at[name]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return copy


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def sign(
    payload: bytes, *, key: str = "k1", alg: str = "RS256", header: Mapping[str, Any] | None = None
) -> bytes:
    """A compact token over any payload, with any header that the key can sign under."""
    protected = {"alg": alg, "kid": key, "typ": "JWT", **(header or {})}
    unsigned = b64(json.dumps(protected).encode()) + b"." + b64(payload)
    return unsigned + b"." + b64(jws.JWSRegistry.algorithms[alg].sign(unsigned, rsa_key(key)))


def token(claims: Mapping[str, Any], **how: Any) -> bytes:
    return sign(json.dumps(claims).encode(), **how)


# -- HTTPS


@dataclass(frozen=True)
class Authority:
    """A certificate authority with one server certificate, for 127.0.0.1, as PEM files."""

    ca: Path
    server: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context


def make_authority(folder: Path, name: str = "ca", *, days: int = 29) -> Authority:
    """What it certifies is valid for so many days from now, and was for some weeks before."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)

    def build(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(end - dt.timedelta(days=100)).not_valid_after(end)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        return builder.add_extension(issuer, critical=False)

    ca = build(ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    ca = ca.add_extension(usage, critical=True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False
    )
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = build(x509.Name([]), server_key).add_extension(host, critical=True)
    ca_pem = ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    server_pem = server.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    key_pem = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found = Authority(folder / f"{name}.pem", folder / f"{name}-server.pem")
    found.ca.write_bytes(ca_pem)
    found.server.write_bytes(key_pem + server_pem)
    return found


@dataclass
class Endpoint:
    """What the server answers next, and how often it was asked. ``hang`` never answers; ``endless`` never ends."""

    port: int = 0
    body: bytes = b""
    status: int = 200
    headers: tuple[str, ...] = ()
    hang: bool = False
    endless: bool = False
    asked: int = 0
    on_request: Callable[[], Awaitable[None]] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/certs"


async def _answer(endpoint: Endpoint, stream: trio.SSLStream[trio.SocketStream]) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await stream.receive_some()
        if not chunk:
            return
        received += chunk
    endpoint.asked += 1
    if endpoint.on_request is not None:
        await endpoint.on_request()
    if endpoint.hang:
        await trio.sleep_forever()
    lines = [f"HTTP/1.1 {endpoint.status} Told", "connection: close", *endpoint.headers]
    if not endpoint.endless:
        lines.append(f"content-length: {len(endpoint.body)}")
    await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + endpoint.body)
    while endpoint.endless:
        await stream.send_all(b" " * 65536)


@asynccontextmanager
async def serve(authority: Authority, endpoint: Endpoint | None = None) -> AsyncIterator[Endpoint]:
    """An HTTPS server on a free port of this machine, until the block ends."""
    endpoint = endpoint or Endpoint()
    context = authority.server_context()

    async def converse(socket: trio.SocketStream) -> None:
        stream = trio.SSLStream(socket, context, server_side=True, https_compatible=True)
        try:
            await _answer(endpoint, stream)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(stream)  # the client left, or does not trust us

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        endpoint.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield endpoint
        nursery.cancel_scope.cancel()
