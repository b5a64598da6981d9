"""The pipeline of authorisation: the one way from a request to a grant.

    shape → application known and running → method enabled → evidence verified → for this application → bound to reply key, operator
    and cluster → signed by the creator, if by anybody → not too often → not used before → the release on chain, if it is about one
    → granted

Requests through libp2p and through HTTP take it alike: the pipeline has no notion of either, only of ``KeyRequest``. Each step is a
function that raises ``AttestationRefusedError``.

The release is compared after the evidence was used up, so that nobody tries one piece against release after release. The signer is
compared before: anybody can sign, and could fill the replay cache. No refusal states what would have been accepted, except for the
names of the methods.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from eigenkms.applications import (
    Application,
    Applications,
    AppRelease,
    AppStatus,
    ContainerPolicy,
    UnusableReleaseError,
)
from eigenkms.attestation.interface import AttestationRefusedError, Claims, Container, Context, Image, Method
from eigenkms.authorisation.request_slots import RequestSlots, busy
from eigenkms.crypto.app_ids import folded, is_same
from eigenkms.errors import ChainError
from eigenkms.rate_limiter import RateLimiter
from eigenkms.storage.group_commit import GroupCommit
from eigenkms.storage.replay_cache import TokenUse, UseResult
from eigenkms.types import AppId, ClusterId, OperatorAddress
from eigenkms.wire.authorisation import Authorisation, Refusal, Scope, decode_authorisation
from eigenkms.wire.codec import MalformedError

log = logging.getLogger(__name__)

BURST_OF_ONE: Final = 50
"""Seconds' worth of its rate that an application may have at once: many instances that start together."""
REMEMBERED_LONGER_SECONDS: Final = 60
"""Past its expiry: a request may have been verified just before, and be at the memory a moment later."""


class Memory(Protocol):
    """The memory of used evidence (``storage.replay_cache``)."""

    def spend(self, uses: Sequence[TokenUse], now: float) -> list[UseResult]: ...


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A request for the key of ``app_id``, as the pipeline reads it.

    The answer will be sealed to ``reply_key``. ``reference_nonce`` is that of ``Context``, and None for a request through libp2p.
    ``client`` names the origin of the request by something that costs to have, such as an address. It is "" if nobody else asks.
    """

    app_id: AppId
    reply_key: bytes
    authorisation: Authorisation
    reference_nonce: str | None = None
    client: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """The application that a key is granted to, and the claims that prove it.

    The answer takes its environment from it, and the audit log its record.
    """

    application: Application
    claims: Claims


class Authoriser:
    """The pipeline of one operator."""

    def __init__(
        self,
        *,
        cluster: ClusterId,
        operator: OperatorAddress,
        applications: Applications,
        methods: Iterable[Method],
        spent: Memory,
        clock: Callable[[], float] = time.time,
        app_rate: int = 20,
    ) -> None:
        self._cluster = cluster
        self._operator = operator
        self._applications = applications
        self._methods = {method.name: method for method in methods}
        self._spent = spent
        self._clock = clock
        self._spending = GroupCommit(self._remember)
        self._of_one = RateLimiter(app_rate, BURST_OF_ONE * app_rate, time.monotonic)
        self._slots = RequestSlots()
        self._told_full = False

    async def run(self) -> None:
        """Run the background work of the methods, and the writing of used evidence.

        It must be running while requests are answered.

        Raises ``StorageError`` once used evidence cannot be remembered.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._spending.run)
            for method in self._methods.values():
                nursery.start_soon(method.run)

    async def authorise(self, request: KeyRequest) -> Grant:
        """Grant the request, or raise ``AttestationRefusedError``.

        Raises ``StorageError`` if the disk refuses.
        """
        with self._slots.hold(request.client):
            return await self._authorise(request)

    async def _authorise(self, request: KeyRequest) -> Grant:
        application = await self._application(request.app_id, request.client)
        method = self._method(request.authorisation.method)
        scope = Scope(self._cluster, self._operator, request.app_id, request.reply_key)
        context = Context(scope, request.reference_nonce)
        claims = await method.verify(request.authorisation.evidence, context, self._clock())
        check_application(claims, request.app_id)
        check_bound(claims, context)
        check_signer(claims, application)
        self._check_rate(request.app_id)
        await self._spend(claims)
        if claims.image is not None:
            check_release(claims.image, application.release)
        return Grant(application, claims)

    async def _application(self, app_id: AppId, client: str) -> Application:
        try:
            application = await self._applications.lookup(app_id, client)
        except UnusableReleaseError as error:
            raise AttestationRefusedError(
                Refusal.BAD_RELEASE, "the application's release cannot be used", hint=error.hint
            ) from error
        except ChainError as error:
            log.info("application not looked up: %s", error)  # the follower of boundaries warns
            raise AttestationRefusedError(
                Refusal.CHAIN_UNAVAILABLE,
                "this operator cannot read the chain at the moment",
                hint="try again in a minute, or ask the operators",
            ) from error
        if application is None:
            raise AttestationRefusedError(
                Refusal.UNKNOWN_APPLICATION,
                "the chain knows no such application",
                hint="give the address of the application: 0x and 40 hex digits",
            )
        if application.status is not AppStatus.STARTED:
            raise AttestationRefusedError(
                Refusal.APPLICATION_NOT_RUNNING,
                f"the application is not running: its status is {application.status}",
                hint="start it on chain",
            )
        return application

    def _method(self, name: str) -> Method:
        method = self._methods.get(name)
        if method is None:
            raise AttestationRefusedError(
                Refusal.METHOD_NOT_ENABLED,
                "this operator does not accept that method",
                hint=f"it accepts {', '.join(self._methods)}",
            )
        return method

    def _check_rate(self, app_id: AppId) -> None:
        """Raise if the application exceeds its rate of requests.

        The rate bounds its part of the replay cache, of the audit log and of this operator's time.
        """
        if self._of_one.acquire(folded(app_id)):
            raise busy("too many requests for this application")

    def _remember(self, uses: list[TokenUse]) -> list[UseResult]:
        return self._spent.spend(uses, self._clock())

    async def _spend(self, claims: Claims) -> None:
        outcome = await self._spending.submit(
            TokenUse(claims.use_id, claims.expires_at + REMEMBERED_LONGER_SECONDS)
        )
        if outcome is UseResult.AGAIN:
            raise AttestationRefusedError(
                Refusal.ALREADY_USED,
                "this evidence was used before",
                hint="make new evidence for each request",
            )
        is_full = outcome is UseResult.FULL
        if is_full and not self._told_full:
            log.warning("evidence is refused: as much as can be remembered was used lately")
        self._told_full = is_full
        if is_full:
            raise busy("too much evidence was used lately")


def read_authorisation(field: bytes | None) -> Authorisation:
    """Decode the authorisation ``field`` of a request, the first step.

    Raises ``AttestationRefusedError`` if it is missing or malformed.
    """
    if field is None:
        raise AttestationRefusedError(
            Refusal.NO_AUTHORISATION,
            "the request shows no right to the key",
            hint="attest, or sign as the application's creator: see docs/attestation.md",
        )
    try:
        return decode_authorisation(field)
    except MalformedError as error:
        raise AttestationRefusedError(
            Refusal.BAD_AUTHORISATION, str(error), hint="see the format in docs/attestation.md"
        ) from None


def check_application(claims: Claims, app_id: AppId) -> None:
    """Raise unless the evidence is of the application ``app_id``.

    The spellings of one address are equal.
    """
    if not is_same(claims.app_id, app_id):
        raise AttestationRefusedError(
            Refusal.WRONG_APPLICATION,
            "the evidence is of another application",
            hint="name the application in the request as in the evidence",
        )


def check_bound(claims: Claims, context: Context) -> None:
    """Raise unless the evidence was made for this reply key, operator and cluster."""
    if not claims.nonces & context.nonces:
        raise AttestationRefusedError(
            Refusal.NOT_BOUND,
            "the evidence was made for another request, operator or cluster",
            hint="make evidence with the nonce of this request, for each operator",
        )


def check_signer(claims: Claims, application: Application) -> None:
    """Raise if evidence that is a signature is not the creator's."""
    if claims.signer not in (None, application.creator):
        raise AttestationRefusedError(
            Refusal.NOT_CREATOR,
            "the signature is not that of the application's creator",
            hint="sign with the key that created the application, for this very request",
        )


def check_release(image: Image, release: AppRelease | None) -> None:
    """Raise unless ``image`` is the one that ``release`` names, started as it says."""
    if release is None:
        raise AttestationRefusedError(
            Refusal.NO_RELEASE,
            "the application has no confirmed release",
            hint="publish one, and have it confirmed",
        )
    named = bool(image.registry and release.registry)
    if image.digest != release.image_digest or (named and image.registry != release.registry):
        raise AttestationRefusedError(
            Refusal.WRONG_IMAGE,
            "what runs is not the confirmed release",
            hint="run the image that was released",
        )
    check_container(image.container, release.policy)


def check_container(container: Container, policy: ContainerPolicy) -> None:
    """Raise unless ``container`` was started as ``policy`` says.

    An empty field of ``policy`` is not enforced.
    """
    fits = (
        policy.args in ((), container.args)
        and policy.cmd_override in ((), container.cmd_override)
        and set(policy.env) <= set(container.env)
        and set(policy.env_override) <= set(container.env_override)
        and policy.restart_policy in ("", container.restart_policy)
    )
    if not fits:
        raise AttestationRefusedError(
            Refusal.WRONG_CONTAINER,
            "the container was not started as the release says",
            hint="start it with the arguments, environment and restart policy of the release",
        )
