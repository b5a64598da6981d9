"""Check of the HTTP API at the URL in the socket on chain.

This machine makes the request itself. A dial-back by other operators, as for libp2p, would let a socket on chain choose what they
fetch. So a router that does not lead back to its own network can make this check fail although clients reach the API.
"""

import ssl
from collections.abc import Iterator
from typing import Final

import httpx
import trio

from eigenkms import bounded_json
from eigenkms.maintenance.doctor.checks import Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.p2p.operator_socket import OperatorSocket
from eigenkms.types import to_hex

ANSWER_SECONDS: Final = 8.0
MAX_ANSWER: Final = 2**18
"""Bytes of an answer that are read: a key has 512 commitments at most."""
NO_VERSION: Final = 503


async def http_api(case: CheckContext) -> Finding:
    """Check that the URL on chain leads to this operator's API.

    Its certificate must be valid.
    """
    socket, config = case.socket, case.config.http
    if socket is None or (socket.http is None and config.listen is None):
        return skipped("the socket on chain names no HTTP API")
    url = None if socket.http is None else str(socket.http)
    publish = f"set http_url, and run {case.update_socket(socket.address.multiaddr)}"
    if url is None:
        return skipped(
            "the socket on chain names no HTTP API: clients of the reference do not find it", publish
        )
    if config.url not in (None, url):
        return warning(f"the socket on chain names the HTTP API {url}, and http_url is {config.url}", publish)
    if not case.is_running:
        return skipped(f"no node runs here that would answer at {url}")
    return await _visit(case, socket)


async def _visit(case: CheckContext, socket: OperatorSocket) -> Finding:
    try:
        with trio.fail_after(ANSWER_SECONDS):
            status, body = await _fetch(f"{socket}/pubkey")
    except trio.TooSlowError:
        return warning(
            f"nothing comes back from {socket.http} within {ANSWER_SECONDS:g} s",
            "open that TCP port in firewall and router; if only this machine gets no answer, its router does not lead back",
        )
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        return _unreached(socket, error)
    return _judge(case, socket, status, body)


async def _fetch(url: str) -> tuple[int, bytes]:
    """Return status and body of a GET, the body up to MAX_ANSWER.

    A redirection is not followed. Reading stops by cancellation, which closes httpx's generators in order.
    """
    headers = {"accept-encoding": "identity"}
    body = bytearray()
    async with (
        httpx.AsyncClient(timeout=None, headers=headers) as client,  # noqa: S113 - the caller has a deadline
        client.stream("GET", url) as answer,
    ):
        with trio.CancelScope() as reading:
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MAX_ANSWER:
                    reading.cancel()
        return answer.status_code, bytes(body)


def _unreached(socket: OperatorSocket, error: BaseException) -> Finding:
    """Return the finding on a request that got no answer.

    The cause is a certificate, a refused connection, or another one.
    """
    causes = list(_causes(error))
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return failed(
                f"clients refuse the certificate of {socket.http}: {each.verify_message}",
                "give http_certificate a certificate of that name, with its chain, from an authority that clients trust",
            )
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return warning(
            f"connection refused: nothing listens at {socket.http}",
            "let http_listen or the proxy before it listen at that port, or correct http_url and publish it",
        )
    return warning(
        f"the request to {socket.http} failed: {str(error)[:200] or type(error).__name__}",
        "see that name, port and proxies of that URL lead to http_listen of this node",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield from error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        error = error.__cause__ or error.__context__


def _judge(case: CheckContext, socket: OperatorSocket, status: int, body: bytes) -> Finding:
    me = to_hex(case.config.operator)
    try:
        said = bounded_json.loads(body)
    except ValueError:
        said = None
    told = said if isinstance(said, dict) else {}
    if status == NO_VERSION and isinstance(told.get("error"), dict):
        return ok(f"clients reach the HTTP API at {socket.http}; there is no master key yet")
    if status != httpx.codes.OK or "operatorAddress" not in told:
        return failed(
            f"no HTTP API of an operator answers at {socket}: status {status}",
            f"let the proxy at {socket.http} pass the whole path on, or strip {socket.address} from it",
        )
    if str(told["operatorAddress"]).lower() != me:
        return failed(
            f"operator {str(told['operatorAddress'])[:60]!r} answers at {socket}, not {me}",
            f"let the proxy at {socket.http} lead the path {socket.address} to this operator's node",
        )
    return ok(f"clients reach the HTTP API at {socket.http}")
