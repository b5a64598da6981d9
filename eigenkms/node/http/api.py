"""The routes: a request's way from bytes to the common pipeline, and back (docs/http.md).

    limits of the client → body within its limit and in time → shape → version held → the policy → the release log → the answer

From the policy on everything is what a request through libp2p meets; only what is before it and the form of the answer are HTTP's.
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
from eigenkms.crypto import bls
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.node.authorisation.policy import Policy
from eigenkms.node.http import responses
from eigenkms.node.http.error_handlers import EXCEPTION_HANDLERS
from eigenkms.node.http.errors import (
    ApiError,
    busy,
    no_version,
    refused,
    stack_not_supported,
    too_large,
    too_many,
)
from eigenkms.node.http.limits import ClientLimits, TooManyError
from eigenkms.node.http.requests import (
    MAX_SECRETS_BODY,
    MAX_SIGN_BODY,
    BadRequestError,
    read_secrets_request,
    read_sign_request,
)
from eigenkms.node.issuer import IssueRequest, PartialSignatureIssuer
from eigenkms.node.key_versions import Versions
from eigenkms.p2p.prefixes import prefix_of
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import ClusterId, OperatorAddress

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

    ``not_ready`` tells why the node cannot serve keys at the moment, one sentence each. ``rate`` is in requests a second for each
    client. ``app_sign`` lets anybody have partial signatures in the clear, if the policy is open too.
    """

    def __init__(
        self,
        *,
        cluster: ClusterId,
        operator: OperatorAddress,
        versions: Versions,
        policy: Policy,
        releaser: PartialSignatureIssuer,
        not_ready: Callable[[], Sequence[str]],
        rate: int,
        app_sign: bool,
    ) -> None:
        self._cluster = cluster
        self._operator = operator
        self._versions = versions
        self._policy = policy
        self._releaser = releaser
        self._not_ready = not_ready
        self._app_sign = app_sign and policy.mode == "open"
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
        held = self._versions.newest
        if held is None:
            raise no_version("no master key has been generated yet")
        return responses.json_response(responses.pubkey_answer(self._operator, held.epoch.transcript))

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
        if not self._app_sign:
            raise ApiError(
                403,
                "development-only",
                "this operator gives no partial signatures to whoever asks",
                hint="use /secrets with an attestation",
            )
        asked = await self._read(request, MAX_SIGN_BODY, read_sign_request)
        transcript, share = self._version(asked.attestation_time)
        grant = await self._policy.authorise(asked, client=_client(request))

        def make() -> bytes:
            identity = identity_of(1, self._cluster, asked.app_id)
            return responses.sign_answer(self._operator, bls.partial_sign(share, identity))

        released = IssueRequest(asked.app_id, 1, transcript, asked.reply_key)
        return responses.json_response(
            await self._releaser.issue(released, grant, make, client=_client(request))
        )

    async def _secrets(self, request: Request) -> Response:
        asked = await self._read(request, MAX_SECRETS_BODY, read_secrets_request)
        if asked.is_for_stack:
            raise stack_not_supported()
        transcript, share = self._version(asked.attestation_time)
        client = _client(request)
        grant = await self._policy.authorise(asked, client=client, reference_nonce=asked.reference_nonce)
        release = None if grant is None else grant.application.release

        def make() -> bytes:
            identity = identity_of(asked.ciphertext_version, self._cluster, asked.key_id)
            return responses.secrets_answer(asked, release, bls.partial_sign(share, identity))

        released = IssueRequest(asked.key_id, asked.ciphertext_version, transcript, asked.reply_key)
        return responses.json_response(await self._releaser.issue(released, grant, make, client=client))

    def _version(self, at: int) -> tuple[Transcript, SecretScalar]:
        """The newest version that I hold a share of; if there is one that was made up to the time ``at``, the newest of those.

        Answers that name no version fit together only if all operators choose the same one, so they choose by what the client says
        rather than by what each has seen; shares of older versions are erased, though (docs/http.md, Which version).
        """
        held = [(each.epoch.transcript, each.share) for each in self._versions if each.share is not None]
        if not held:
            raise no_version("this operator holds no share of the master key yet")
        made = [each for each in held if each[0].version <= at] if at else held
        return (made or held)[-1]

    # -- bodies and limits

    @contextmanager
    def _room_for(self, client: str, *, probe: bool) -> Iterator[Callable[[int], None]]:
        """A place within the limits of its client and of all. Gives what takes bytes for a body. Raises ``ApiError``."""
        try:
            with self.limits.room_for(client, probe=probe) as take:
                yield take
        except TooManyError as error:
            raise too_many(error) from error

    async def _read(self, request: Request, limit: int, read: Callable[[bytes], Read]) -> Read:
        """What ``read`` makes of the body, in a thread."""
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
    """An endpoint as an ASGI application: what is held for a request is held until its answer is written."""

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
        """What the pipeline refuses becomes an answer too."""
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
