"""The routes of the HTTP API, from bytes to the policy and back (docs/http.md).

    limits of the client → body within its limit and in time → shape → ``key_answers`` → the answer in time

The steps here are those of HTTP. The decision and the record behind them are those of every transport.
"""

import importlib.resources
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Final, Protocol, TypeVar

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.node.http import responses
from eigenkms.node.http.error_handlers import EXCEPTION_HANDLERS
from eigenkms.node.http.errors import (
    ApiError,
    busy,
    refused,
    too_large,
    too_many,
)
from eigenkms.node.http.key_answers import KeyAnswers
from eigenkms.node.http.limits import ClientLimits, TooManyError
from eigenkms.node.http.requests import (
    MAX_SECRETS_BODY,
    MAX_SIGN_BODY,
    BadRequestError,
    read_secrets_request,
    read_sign_request,
)
from eigenkms.p2p.prefixes import prefix_of

ANSWER_SECONDS: Final = 60
"""From the head of a request to its answer; half of it is for the body."""
_READERS: Final = 2
"""Threads that read bodies."""
SOCKET_PATH: Final = "/{kind}/{host}/tcp/{port:int}/p2p/{peer}"
"""Path of a socket on chain (``p2p.operator_socket``), under which the clients of the reference ask.

Any multiaddr is taken. The one on chain may name a new address or peer id before the node is restarted, and a client may have an
old one. It selects nothing and gives no right.
"""


Read = TypeVar("Read")
Endpoint = Callable[[Request], Awaitable[Response]]


class KeyApi:
    """The API of one operator; ``app`` is its ASGI application.

    ``not_ready`` returns the reasons why the node cannot serve keys at the moment, one sentence each. ``rate`` is in requests a
    second for each client.
    """

    def __init__(self, answers: KeyAnswers, not_ready: Callable[[], Sequence[str]], *, rate: int) -> None:
        self._answers = answers
        self._not_ready = not_ready
        self.limits = ClientLimits.at_rate(rate)
        self._reading = trio.CapacityLimiter(_READERS)
        self._openapi = importlib.resources.files(__package__).joinpath("openapi.json").read_bytes()
        routes = [*self._routes(), *self._routes(SOCKET_PATH)]
        self.app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        self.app.router.redirect_slashes = False

    def _routes(self, prefix: str = "") -> Iterator[Route]:
        yield self._route("GET", prefix + "/pubkey", self._pubkey)
        yield self._route("POST", prefix + "/app/sign", self._sign)
        yield self._route("POST", prefix + "/secrets", self._secrets)
        yield self._route("GET", prefix + "/health", self._health, probe=True)
        yield self._route("GET", prefix + "/ready", self._ready, probe=True)
        yield self._route("GET", prefix + "/openapi.json", self._description, probe=True)

    def _route(self, method: str, path: str, endpoint: Endpoint, *, probe: bool = False) -> Route:
        return Route(path, _LimitedEndpoint(self._room_for, endpoint, probe=probe), methods=[method])

    # -- what all can ask

    async def _pubkey(self, request: Request) -> Response:
        del request
        return responses.json_response(self._answers.pubkey())

    async def _health(self, request: Request) -> Response:
        del request
        return responses.json_response(responses.encode_json({"status": "ok"}))

    async def _ready(self, request: Request) -> Response:
        del request
        reasons = list(self._not_ready())
        body = responses.encode_json({"ready": not reasons, "reasons": reasons})
        return responses.json_response(body, status=503 if reasons else 200)

    async def _description(self, request: Request) -> Response:
        del request
        return responses.json_response(self._openapi)

    # -- keys

    async def _sign(self, request: Request) -> Response:
        self._answers.require_app_sign()
        asked = await self._read(request, MAX_SIGN_BODY, read_sign_request)
        return responses.json_response(await self._answers.sign(asked, _client(request)))

    async def _secrets(self, request: Request) -> Response:
        asked = await self._read(request, MAX_SECRETS_BODY, read_secrets_request)
        return responses.json_response(await self._answers.secrets(asked, _client(request)))

    # -- bodies and limits

    @contextmanager
    def _room_for(self, client: str, *, probe: bool) -> Iterator[Callable[[int], None]]:
        """Hold room for a request within the limits of its client and of all.

        Yields a function that takes bytes for the body. Raises ``ApiError``.
        """
        try:
            with self.limits.room_for(client, probe=probe) as take:
                yield take
        except TooManyError as error:
            raise too_many(error) from error

    async def _read(self, request: Request, limit: int, read: Callable[[bytes], Read]) -> Read:
        """Receive a body of at most ``limit`` bytes; decode it by ``read`` in a thread.

        Raises ``ApiError``.
        """
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large(limit)
        body = bytearray()
        try:
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    if len(body) + len(piece) > limit:
                        raise too_large(limit)
                    request.state.take(len(piece))
                    body += piece
        except ClientDisconnect as error:
            raise ApiError(
                408, "incomplete-body", "the body did not arrive in time, or is not as the head says"
            ) from error
        try:
            return await trio.to_thread.run_sync(lambda: read(bytes(body)), limiter=self._reading)
        except BadRequestError as error:
            raise ApiError(
                400, "bad-request", str(error), hint="the fields are described in /openapi.json"
            ) from error


class _LimitedEndpoint:
    """An endpoint as an ASGI application, within the limits of its client.

    The room of a request is held until its answer is written.
    """

    def __init__(self, room_for: "_RoomFor", endpoint: Endpoint, *, probe: bool = False) -> None:
        self._room_for = room_for
        self._endpoint = endpoint
        self._probe = probe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        with self._room_for(_client(request), probe=self._probe) as take:
            request.state.take = take
            response = await self._answer(request)
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Return the endpoint's answer within ``ANSWER_SECONDS``.

        A refusal of the pipeline becomes an ``ApiError``.
        """
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await self._endpoint(request)
        except AttestationRefusedError as error:
            raise refused(error) from error
        except trio.TooSlowError as error:
            raise busy() from error


class _RoomFor(Protocol):
    def __call__(self, client: str, *, probe: bool) -> AbstractContextManager[Callable[[int], None]]: ...


def _client(request: Request) -> str:
    return prefix_of(request.client.host) if request.client else ""
