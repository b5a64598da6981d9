"""HTTP to one RPC: a POST that is retried, with its errors named.

Only the transport is retried: no connection, a connection cut, and the HTTP statuses that mean "later" (429, 502, 503, 504). If an
answer has ``Retry-After``, the next attempt is at that time, or none is made if that is after the deadline. Bodies are read up to a
size bound, uncompressed. Every fault becomes a ``ChainError`` that names the call and the endpoint, with the provider's own words
(``reasons``) and without the secrets of its URL (``endpoints``).
"""

import logging
import ssl
import time
from contextlib import aclosing, suppress
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import Final, NoReturn, Self
from urllib.parse import urlsplit

import httpx
import trio

from eigenkms.chain.endpoints import display_url, secrets_of
from eigenkms.chain.reasons import MAX_BODY_BYTES, reason_in_body
from eigenkms.chain.rpc_values import excerpt
from eigenkms.errors import ChainError, InputError

ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.1
REASON_SECONDS: Final = 0.5
"""How long the body of an HTTP error is waited for."""
REASON_CHARACTERS: Final = 120
_LATER: Final = frozenset({429, 502, 503, 504})
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class RpcUnavailableError(ChainError):
    """The RPC could not be reached, did not answer in time, or asked to come back later."""

    default_hint = "check that the RPC is up and reachable from this machine, or use another RPC URL"

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds after which the RPC asked to be tried again, if it did."""


class RpcAnswerError(ChainError):
    """The answer is no JSON-RPC answer to the request."""

    default_hint = "check that the URL is that of an Ethereum JSON-RPC endpoint, or use another RPC URL"


class RpcTooLargeError(RpcAnswerError):
    """The answer is larger than the bound."""


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise InputError("open the chain RPC: the URL is not http:// or https:// with a host") from None
    return url


@cache
def _tls(scheme: str) -> ssl.SSLContext:
    """Return a TLS context that verifies certificates.

    Loading the authorities takes tens of milliseconds. It happens once, and not for plain HTTP, which gets a context without
    authorities.
    """
    return httpx.create_ssl_context() if scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Body(httpx.AsyncByteStream):
    """The body of a request.

    httpx's own is a generator, which a cancellation in the middle leaves to the garbage collector.
    """

    def __init__(self, content: bytes) -> None:
        self._pieces = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()


class _NoUrls(logging.Filter):
    """httpx logs whole URLs at INFO; these hold API keys."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("HTTP Request")


_NO_URLS: Final = _NoUrls()


class HttpTransport:
    """One URL, with pooled connections; an asynchronous context manager.

    Safe for many tasks at once.

    ``label`` tells endpoints of one host apart in messages. Raises InputError for what is no URL of an RPC.
    """

    def __init__(self, url: str, *, max_answer_bytes: int, label: str) -> None:
        self._url = _checked_url(url)
        self._secrets = secrets_of(url)
        self.endpoint: str = f"{label} ({display_url(url)})" if label else display_url(url)
        self._max_answer_bytes = max_answer_bytes
        self.retries = 0
        """Requests that were sent again."""
        self.failures = 0
        """Calls that were given up, for whatever reason."""
        self._client = self._new_client()

    def _new_client(self) -> httpx.AsyncClient:
        logging.getLogger("httpx").addFilter(_NO_URLS)
        return httpx.AsyncClient(
            headers={"content-type": "application/json", "accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=30),
            timeout=None,  # noqa: S113 - the deadline of the call is the timeout
            verify=_tls(urlsplit(self._url).scheme),
            trust_env=urlsplit(self._url).hostname not in _LOCAL,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self._client.__aexit__(kind, exc, trace)

    async def post(self, name: str, content: bytes, *, retry: bool) -> bytes:
        """Return the body of the answer to ``content``; messages call it ``name``.

        The caller's cancel scope is the deadline.

        Raises RpcUnavailableError, RpcAnswerError.
        """
        attempts = ATTEMPTS if retry else 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._post(name, content)
            except RpcUnavailableError as unavailable:
                pause = max(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), unavailable.retry_after or 0.0)
                if attempt == attempts or trio.current_time() + pause >= trio.current_effective_deadline():
                    self.failures += 1
                    raise
                self.retries += 1
                await trio.sleep(pause)
        raise AssertionError("attempts is at least 1")

    async def _post(self, name: str, content: bytes) -> bytes:
        request = self._client.build_request("POST", self._url, content=content)
        request.stream = _Body(content)
        try:
            async with aclosing(await self._client.send(request, stream=True)) as response:
                if response.status_code == HTTPStatus.OK:
                    return await self._read(name, response)
                complaint = await self._http_complaint(name, response)
                if response.status_code not in _LATER:
                    self._reject_status(complaint, response.status_code)
                raise RpcUnavailableError(
                    complaint, retry_after=_retry_after(response.headers.get("retry-after", ""))
                )
        except (httpx.HTTPError, httpx.StreamError, OSError) as exc:
            reason = _TRANSPORT.get(type(exc), type(exc).__name__)
            raise RpcUnavailableError(f"call {name} at {self.endpoint}: {reason}") from None

    async def _http_complaint(self, name: str, response: httpx.Response) -> str:
        """Return the meaning of an HTTP error.

        It waits a moment for the body, which has the reason.
        """
        body = b""
        with trio.move_on_after(REASON_SECONDS), suppress(httpx.HTTPError, httpx.StreamError):
            body = await _read_bounded(response, MAX_BODY_BYTES)
        reason = self.quoted(reason_in_body(body))
        return f"call {name} at {self.endpoint}: HTTP status {response.status_code}{reason}"

    def _reject_status(self, complaint: str, status: int) -> NoReturn:
        self.failures += 1
        hint = "check the credentials in the RPC URL" if status in {401, 402, 403} else None
        raise RpcAnswerError(complaint, hint=hint)

    async def _read(self, name: str, response: httpx.Response) -> bytes:
        body = await _read_bounded(response, self._max_answer_bytes)
        if len(body) > self._max_answer_bytes:
            self.failures += 1
            too_large = f"the answer is larger than {self._max_answer_bytes} bytes"
            raise RpcTooLargeError(f"call {name} at {self.endpoint}: {too_large}")
        return body

    def scrubbed(self, text: str) -> str:
        """Without what may be a key of the URL."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def quoted(self, reason: str) -> str:
        """Return the other end's own words, at the end of a message.

        Returns an empty text if there are none.
        """
        return f": {excerpt(self.scrubbed(reason), REASON_CHARACTERS)}" if reason else ""


_TRANSPORT: Final[dict[type[BaseException], str]] = {
    httpx.ConnectError: "no connection",
    httpx.ReadError: "the connection was cut",
    httpx.WriteError: "the connection was cut",
    httpx.RemoteProtocolError: "the answer is not HTTP, or the connection was cut",
}


async def _read_bounded(response: httpx.Response, limit: int) -> bytes:
    """Return the body, uncompressed, as far as the piece that exceeds ``limit``.

    Leaving httpx's nested generators early would leave them to the garbage collector, so the reading is cancelled from
    within instead.
    """
    body = bytearray()
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                reading.cancel()
    return bytes(body)


def _retry_after(value: str) -> float | None:
    """Seconds from now of a Retry-After header (RFC 9110, 10.2.3), None if there is none or it is neither of its forms."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
