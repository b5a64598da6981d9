"""Attesters: they make a client's evidence of its right to a key.

Each request to each operator needs its own piece (docs/attestation.md, Methods). It names the operator, the application and the key
that the answer is sealed to, and is accepted once. So an attester is called for every request, by several tasks at once, and keeps
nothing.

>>> attester = ConfidentialSpaceAttester("gcp")
>>> plaintext = await client.decrypt(AppId("0x…"), ciphertext, attester=attester)
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

import coincurve
import httpx
import trio

from eigenkms.attestation import ecdsa
from eigenkms.client.errors import AttesterError
from eigenkms.crypto.hashing import keccak256
from eigenkms.errors import InputError
from eigenkms.types import to_hex
from eigenkms.wire.authorisation import Authorisation, Scope

LAUNCHER_SOCKET: Final = Path("/run/container_launcher/teeserver.sock")
AUDIENCE: Final = "EigenX KMS"
"""Not Google's own ``https://sts.googleapis.com``: with such a token an operator could act as the workload in Google's cloud."""
LAUNCHER_SECONDS: Final = 15.0
MAX_TOKEN_BYTES: Final = 48 * 1024
"""Limit of the operators."""
_AT_ONCE: Final = 8
_LIMITER: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("tokens asked for at once")
_PATHS: Final = {"gcp": "/v1/token", "intel": "/v1/intel/token"}


class Attester(Protocol):
    """One way to prove the right to a key.

    Write another one for a platform or a signer that is missing here.
    """

    async def attest(self, scope: Scope) -> Authorisation:
        """Return fresh evidence for ``scope``.

        It must commit to ``scope.nonce``, or to all of ``scope``. Raises ``AttesterError`` if there is none: then this operator is
        not asked.
        """
        ...


class EcdsaAttester:
    """Signs as the account that created the application, with its key in memory."""

    def __init__(self, private_key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """Take a key of 32 bytes. Raises ``InputError`` if it is no secp256k1 key."""
        import eth_account.messages  # noqa: F401 - slow to import: now, not while requests are out

        self._key = _secp256k1(private_key)
        self._clock = clock

    @property
    def address(self) -> bytes:
        """Of the account, 20 bytes."""
        return keccak256(self._key.public_key.format(compressed=False)[1:])[12:]

    def __repr__(self) -> str:
        return f"<EcdsaAttester {to_hex(self.address)}>"

    async def attest(self, scope: Scope) -> Authorisation:
        """Sign at the present time, with a fresh nonce."""
        nonce, issued_at = os.urandom(32), int(self._clock())
        digest = ecdsa.signing_digest(scope, nonce, issued_at)
        signature = self._key.sign_recoverable(digest, hasher=None)
        return Authorisation(ecdsa.NAME, ecdsa.encode_evidence(nonce, issued_at, signature))


def _secp256k1(private_key: bytes) -> coincurve.PrivateKey:
    if len(private_key) == 32:  # coincurve fills up what is shorter
        with suppress(ValueError):
            return coincurve.PrivateKey(private_key)
    raise InputError("read ECDSA key: it is not a secp256k1 key of 32 bytes")


class ConfidentialSpaceAttester:
    """Gets tokens from the launcher of a Confidential Space VM.

    Google's or Intel's service signs them. ``socket``: the path of the launcher's socket. ``audience`` must be one that the
    operators accept. At most 8 requests run at a time, each for at most ``LAUNCHER_SECONDS``.
    """

    def __init__(
        self,
        method: Literal["gcp", "intel"] = "gcp",
        *,
        socket: Path = LAUNCHER_SOCKET,
        audience: str = AUDIENCE,
    ) -> None:
        self._method = method
        self._socket = socket
        self._audience = audience

    def __repr__(self) -> str:
        return f"<ConfidentialSpaceAttester {self._method} at {self._socket}>"

    async def attest(self, scope: Scope) -> Authorisation:
        """Return a token with the one nonce of ``scope``."""
        wanted = {"audience": self._audience, "token_type": "OIDC", "nonces": [scope.nonce]}
        async with _turn():
            status, body = await self._ask(wanted)
        if status != httpx.codes.OK:
            raise self._error(f"it answered {status}: {_said(body)}", hint=_HINTS.get(status))
        token = body.strip()
        if len(token) > MAX_TOKEN_BYTES or token.count(b".") != 2:
            raise self._error(f"it answered with no token of at most {MAX_TOKEN_BYTES} bytes")
        return Authorisation(self._method, token)

    async def _ask(self, wanted: Mapping[str, object]) -> tuple[int, bytes]:
        """Return status and body, cut after the size that a token may have.

        Reading stops by cancellation, which closes httpx's generators.
        """
        reason, hint = f"no answer within {LAUNCHER_SECONDS:g} s", None
        with trio.move_on_after(LAUNCHER_SECONDS):
            try:
                return await self._post(wanted)
            except httpx.ConnectError:
                reason, hint = (
                    "nobody listens there",
                    "this way to attest works in a Confidential Space VM alone",
                )
            except httpx.HTTPError as error:
                reason = type(error).__name__
        raise self._error(reason, hint=hint)

    async def _post(self, wanted: Mapping[str, object]) -> tuple[int, bytes]:
        body = bytearray()
        async with (
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(self._socket)),
                timeout=None,  # noqa: S113 - the caller's deadline is the timeout
                headers={"accept-encoding": "identity"},
            ) as client,
            client.stream("POST", f"http://localhost{_PATHS[self._method]}", json=wanted) as response,
        ):
            with trio.CancelScope() as reading:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_TOKEN_BYTES + 1:
                        reading.cancel()
        return response.status_code, bytes(body)

    def _error(self, reason: str, *, hint: str | None = None) -> AttesterError:
        return AttesterError(
            f"ask the launcher at {self._socket} for a token of {self._method}: {reason}", hint=hint
        )


def _turn() -> trio.CapacityLimiter:
    """Return the limiter of this trio loop, since an attester may serve several."""
    try:
        return _LIMITER.get()
    except LookupError:
        _LIMITER.set(limiter := trio.CapacityLimiter(_AT_ONCE))
        return limiter


_HINTS: Final = {
    404: "this launcher does not know the way to attest; take a newer image of Confidential Space",
    412: "the VM was started without a key for Intel Trust Authority",
}


def _said(body: bytes) -> str:
    """Return the beginning of the launcher's answer, as a terminal may show it."""
    text = " ".join(body[:200].decode(errors="replace").split())
    return "".join(char for char in text if char.isprintable()) or "nothing"
