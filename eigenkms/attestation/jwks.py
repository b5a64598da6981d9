"""The public keys of an issuer of tokens: a JWK set behind HTTPS (RFC 7517).

It is fetched when ``run`` begins, again every hour, and when a token names an unknown key, as issuers rotate. A stranger can name
unknown keys at will. So the last kind of fetch happens at most once in ``RETRY_SECONDS``, and requests with known keys do not wait
for it.

If a fetch fails, the last good set stays in use. After ``MAX_STALE_SECONDS`` it is not used any more, since a key that was
withdrawn would never be noticed. A node starts without the issuer, and the method answers ``keys-unavailable`` until there is a
set.

The connection is verified: the system's authorities, or those of a file. No redirect is followed, an answer has a bound and a
deadline. Intel publishes one key id for several algorithms, so a key is found by both.
"""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import trio
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from eigenkms import bounded_json
from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.errors import EigenKmsError, InputError
from eigenkms.wire.authorisation import Refusal

log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 30.0
MAX_STALE_SECONDS: Final = 24 * 3600.0
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 512 * 1024
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class KeysUnavailableError(EigenKmsError):
    """The issuer's keys could not be fetched.

    Keys that were fetched before stay in use for a day.
    """

    default_hint = "check that this machine reaches the issuer's URL over HTTPS"


@dataclass(frozen=True, slots=True)
class KeySet:
    """Usable keys of one answer, by key id and the algorithm they are for (None: any)."""

    keys: tuple[tuple[str, str | None, RSAKey], ...]

    def find(self, kid: str, alg: str) -> RSAKey | None:
        return next((key for name, only, key in self.keys if name == kid and only in (None, alg)), None)


def parse_key_set(document: bytes) -> KeySet:
    """Return the RSA keys in a JWK set that can verify signatures.

    Others are left out.

    Raises ``ValueError`` for what is no JWK set, has more than ``MAX_KEYS``, or has no usable key.
    """
    value = bounded_json.loads(document, max_depth=8)
    found = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(found, list) or len(found) > MAX_KEYS:
        raise ValueError(f"it is not a JWK set of at most {MAX_KEYS} keys")
    keys = tuple(entry for item in found if (entry := _usable(item)) is not None)
    if not keys:
        raise ValueError("it has no key that can verify signatures")
    return KeySet(keys)


def _usable(item: object) -> tuple[str, str | None, RSAKey] | None:
    if not isinstance(item, dict) or item.get("use", "sig") != "sig":
        return None
    kid, alg = item.get("kid"), item.get("alg")
    if not isinstance(kid, str) or not kid or not isinstance(alg, str | None):
        return None
    key = _public_key(item)
    return None if key is None else (kid, alg, key)


def _public_key(item: Mapping[str, Any]) -> RSAKey | None:
    """Return an RSA key, as all services use.

    A secret key is refused: any holder of it could be the issuer.
    """
    if item.get("kty") != "RSA" or "d" in item or not all(isinstance(item.get(name), str) for name in "ne"):
        return None
    try:
        key = RSAKey.import_key({name: item[name] for name in ("kty", "n", "e")})
        size = key.public_key.key_size
    except (JoseError, ValueError):
        return None
    return key if MIN_RSA_BITS <= size <= MAX_RSA_BITS else None


class IssuerKeys(Protocol):
    """The public keys of one issuer of tokens, looked up by key id and algorithm."""

    @property
    def url(self) -> str:
        """Return the URL of the issuer's keys, which a token may repeat in its header."""

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""

    async def find(self, kid: str, alg: str) -> RSAKey:
        """Return the key that ``kid`` names for ``alg``.

        Raises ``AttestationRefusedError``.
        """


class KeySource:
    """One issuer's keys.

    ``run`` keeps them fresh, and must be running; ``find`` looks one up.
    """

    def __init__(self, url: str, *, ca_file: Path | None = None) -> None:
        """Check ``url`` and ``ca_file``.

        Raises ``InputError`` for a URL that is not HTTPS, or a file that holds no authorities.
        """
        self._url = _checked_url(url)
        self._tls = _tls(ca_file)
        self._keys: KeySet | None = None
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching = trio.Lock()
        self._told = False

    def __repr__(self) -> str:
        return f"<KeySource {self._url}>"

    @property
    def url(self) -> str:
        return self._url

    async def run(self) -> None:
        """Fetch now and every hour, sooner where that fails, until cancelled."""
        while True:
            await self._refresh()
            await trio.sleep(REFRESH_SECONDS if self._fetched_at >= self._asked_at else RETRY_SECONDS)

    async def find(self, kid: str, alg: str) -> RSAKey:
        """Return the key that ``kid`` names for ``alg``.

        Takes at most two times ``FETCH_SECONDS``. Raises ``AttestationRefusedError``: no such key, or no keys fresh enough at all.
        """
        key = self._known(kid, alg)
        if key is None:
            await self._refresh()
            key = self._known(kid, alg)
        if key is not None:
            return key
        if not self._is_fresh or self._fetched_at < self._asked_at:
            raise AttestationRefusedError(
                Refusal.KEYS_UNAVAILABLE,
                "this operator has not got the issuer's keys at the moment",
                hint="try again in a minute, or ask the operators",
            )
        raise AttestationRefusedError(
            Refusal.UNKNOWN_KEY, "the token is not signed with a key of the issuer", hint="use a fresh token"
        )

    @property
    def _is_fresh(self) -> bool:
        return trio.current_time() - self._fetched_at < MAX_STALE_SECONDS

    def _known(self, kid: str, alg: str) -> RSAKey | None:
        return self._keys.find(kid, alg) if self._keys is not None and self._is_fresh else None

    async def check(self) -> int:
        """Fetch once, whatever is known, and return the number of usable keys.

        Raises ``KeysUnavailableError``.
        """
        return len((await self._fetch()).keys)

    async def _refresh(self) -> None:
        """Fetch, unless that was tried a moment ago.

        Callers in the meantime wait for the same fetch.
        """
        async with self._fetching:
            if trio.current_time() - self._asked_at < RETRY_SECONDS:
                return
            self._asked_at = trio.current_time()
            try:
                self._keys = await self._fetch()
            except KeysUnavailableError as error:
                self._tell(error)
            else:
                self._fetched_at = trio.current_time()
                self._told = False

    def _tell(self, error: KeysUnavailableError) -> None:
        """Once in a row of failures."""
        if not self._told:
            log.warning("%s (%s)", error, error.hint)
        self._told = True

    async def _fetch(self) -> KeySet:
        try:
            with trio.fail_after(FETCH_SECONDS):
                return parse_key_set(await self._get())
        except trio.TooSlowError:
            reason = f"no answer within {FETCH_SECONDS:g} s"
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            reason = type(error).__name__
        except ValueError as error:
            reason = str(error)
        raise KeysUnavailableError(f"fetch the issuer's keys from {self._url}: {reason[:200]}")

    async def _get(self) -> bytes:
        """Return the body, uncompressed.

        Reading stops by cancellation, which closes httpx's generators in order.
        """
        body, status = bytearray(), 0
        async with (
            httpx.AsyncClient(
                verify=self._tls,
                timeout=None,  # noqa: S113 - the caller's deadline is the timeout
                headers={"accept-encoding": "identity"},
                trust_env=urlsplit(self._url).hostname not in _LOCAL,
            ) as client,
            client.stream("GET", self._url) as response,
        ):
            status = response.status_code
            with trio.CancelScope() as reading:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        reading.cancel()
        if status != httpx.codes.OK:
            raise ValueError(f"HTTP status {status}")
        if len(body) > MAX_BYTES:
            raise ValueError(f"the answer is larger than {MAX_BYTES} bytes")
        return bytes(body)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise InputError("read the URL of an issuer's keys: it is not https:// with a host")
    return url


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"read certificate authorities from {ca_file}: {error.strerror or error}".lower(),
            hint="give a file of certificates in PEM",
        ) from None
