"""The canary: periodic trial decryptions through the quorum.

Each probe encrypts a secret to a fresh identity under the master public key. It requests partial signatures of that identity from
the holders of the newest version. Then t of them must give the key that opens the secret. A probe covers everything that an
application's decryption needs, except the policy and the HTTP API, which decide whether a requester may have a key.

The node also answers probes, of members and holders alone, a few times a minute each.
"""

import hmac
import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from eigenkms.crypto import bls, ibe
from eigenkms.crypto.scalars import coordinate
from eigenkms.errors import EigenKmsError
from eigenkms.node.key_versions import HeldVersion, Versions
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.errors import PeerUnreachable, RpcRefusal
from eigenkms.rate_limiter import RateLimiter
from eigenkms.types import ClusterId, OperatorAddress, to_hex
from eigenkms.wire import rpc_methods
from eigenkms.wire.canary_request import CanaryRequest, decode_canary_request
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.transcript import Transcript

if TYPE_CHECKING:
    from eigenkms.p2p.host import Host

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 2.0
"""Delay before a failed probe is repeated once, in seconds: a version may just have changed."""
FIRST_SECONDS: Final = 5.0
"""Delay of the first probe, in seconds, while operators connect."""
RATE: Final = 0.2
BURST: Final = 4
"""Answers a second to each operator, and answers at once."""
_SIGNATURE_SIZE: Final = 48

Signatures = Mapping[OperatorAddress, bytes]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """The outcome of one probe.

    ``at`` is unix time; ``seconds`` is the time until the secret was open.

    ``unresponsive`` operators gave no signature; ``invalid`` ones gave a signature that their share does not give.
    """

    ok: bool
    at: float
    seconds: float
    version: int
    answered: int
    asked: int
    unresponsive: tuple[OperatorAddress, ...] = ()
    invalid: tuple[OperatorAddress, ...] = ()
    reason: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the object that the status and the log show."""
        return {
            "ok": self.ok,
            "at": round(self.at, 3),
            "seconds": round(self.seconds, 3),
            "version": self.version,
            "answered": self.answered,
            "asked": self.asked,
            "silent": [to_hex(operator) for operator in self.unresponsive],
            "false": [to_hex(operator) for operator in self.invalid],
            "reason": self.reason,
        }


class Canary:
    """Both sides at one node: ``run`` probes, ``answer`` serves the probes of others.

    ``every`` is in seconds, 0 for never. ``result`` is that of the last probe, None before the first. ``runs`` and ``failed`` count
    since the start.
    """

    def __init__(
        self, cluster: ClusterId, me: OperatorAddress, versions: Versions, peers: PeerBook, every: float
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._versions = versions
        self._peers = peers
        self._every = every
        self._rates = RateLimiter(RATE, BURST, trio.current_time)
        self._working = trio.CapacityLimiter(1)
        self._failures_in_row = 0
        self.result: CanaryResult | None = None
        self.runs = self.failed = 0

    # -- for others ------------------------------------------------------------------------------------------

    async def answer(self, asker: OperatorAddress, body: bytes) -> bytes:
        """Return a partial signature of the probe's identity.

        Raises ``RpcRefusal``, ``MalformedError``.
        """
        request = decode_canary_request(body)
        if request.cluster != self._cluster:
            raise RpcRefusal("wrong-cluster", "this operator serves another cluster")
        held = self._versions.get(request.transcript_hash)
        if held is None:
            raise RpcRefusal("unknown-version", "this operator does not know that key version")
        if not self._peers.is_member(asker) and held.epoch.transcript.recipients.get(asker) is None:
            raise RpcRefusal("not-a-member", "the asker is no operator of the set, nor of that version")
        if held.share is None:
            raise RpcRefusal("no-share", "this operator holds no share of that key version")
        if wait := self._rates.acquire(asker.hex()):
            raise RpcRefusal("busy", f"ask again in {wait} s")
        return await self._thread(bls.partial_sign, held.share, request.identity)

    # -- for this node ---------------------------------------------------------------------------------------

    async def run(self, host: "Host") -> None:
        """Probe until cancelled."""
        if not self._every:
            return
        await trio.sleep(min(FIRST_SECONDS, self._every))
        while True:
            pause = min(FIRST_SECONDS, self._every)
            if self._has_left():
                self._forget()
            elif (held := self._versions.newest) is not None:
                self._record(await self._probe_with_retry(host, held))
                pause = self._every * random.uniform(0.9, 1.1)  # noqa: S311 - keeps operators out of step
            await trio.sleep(pause)

    def _has_left(self) -> bool:
        """Return whether the newest operator set is without this operator.

        Others refuse its probes then.
        """
        return bool(self._peers.operators) and not self._peers.is_member(self._me)

    def _forget(self) -> None:
        """Drop the last result, so that no failure of an operator that left is reported."""
        if self.result is not None:
            log.info("no more trial decryptions: this operator has left the set")
        self.result, self._failures_in_row = None, 0

    async def _probe_with_retry(self, host: "Host", held: HeldVersion) -> CanaryResult:
        result = await self.probe_once(host, held)
        if result.ok:
            return result
        await trio.sleep(AGAIN_SECONDS)
        return await self.probe_once(host, self._versions.newest or held)

    def _record(self, result: CanaryResult) -> None:
        """Keep the result, and log changes.

        The 1st, 2nd, 4th, 8th … failure in a row, and the recovery.
        """
        fields = {"event": "canary", **result.to_json()}
        self.result = result
        self.runs += 1
        if result.ok:
            if self._failures_in_row:
                log.info("a trial decryption works again", extra={"fields": fields})
            self._failures_in_row = 0
            return
        self.failed += 1
        self._failures_in_row += 1
        if not self._failures_in_row & (self._failures_in_row - 1):
            log.warning("a trial decryption failed: %s", result.reason, extra={"fields": fields})

    async def probe_once(self, host: "Host", held: HeldVersion) -> CanaryResult:
        """Probe once, through all holders of one version."""
        at, begun = time.time(), trio.current_time()
        transcript = held.epoch.transcript
        request = CanaryRequest(self._cluster, transcript.hash, os.urandom(32))
        trial = await self._thread(CanaryProbe, request, transcript)
        if held.share is not None:
            trial.signatures[self._me] = await self._thread(bls.partial_sign, held.share, request.identity)
        others = [operator for operator in transcript.recipients.addresses if operator != self._me]
        took = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_all, host, others, trial)
            with trio.move_on_after(ANSWER_SECONDS):
                await trial.enough.wait()
                if await self._thread(trial.opens, dict(trial.signatures)):
                    took = trio.current_time() - begun
        await self._thread(trial.find_invalid)
        if took is None and await self._thread(trial.opens, trial.good):
            took = trio.current_time() - begun
        return CanaryResult(
            ok=took is not None,
            at=at,
            seconds=trio.current_time() - begun if took is None else took,
            version=int(transcript.version),
            answered=len(trial.signatures),
            asked=len(others) + (held.share is not None),
            unresponsive=tuple(operator for operator in others if operator not in trial.signatures),
            invalid=trial.invalid,
            reason=None if took is not None else trial.reason,
        )

    async def _thread(self, call: Callable[..., Result], *args: object) -> Result:
        return await trio.to_thread.run_sync(partial(call, *args), limiter=self._working)

    async def _ask_all(
        self, host: "Host", operators: Sequence[OperatorAddress], trial: "CanaryProbe"
    ) -> None:
        """Query all operators at the same time.

        The probe stops waiting once all have answered or failed.
        """
        async with trio.open_nursery() as nursery:
            for operator in operators:
                nursery.start_soon(self._ask, host, operator, trial)
        trial.enough.set()

    async def _ask(self, host: "Host", operator: OperatorAddress, trial: "CanaryProbe") -> None:
        try:
            trial.add_signature(operator, await self._signature_of(host, operator, trial.request))
        except EigenKmsError as error:
            trial.failures[operator] = str(error)

    async def _signature_of(self, host: "Host", operator: OperatorAddress, request: CanaryRequest) -> bytes:
        peer = self._peers.peer_of(operator)
        if peer is None:
            raise PeerUnreachable("not connected")
        answer = await host.call(
            peer, rpc_methods.OPERATOR_PROTOCOL, rpc_methods.CANARY, request.encoded, timeout=ANSWER_SECONDS
        )
        if len(answer) != _SIGNATURE_SIZE:
            raise MalformedError(f"{len(answer)} bytes are no signature")
        return answer


class CanaryProbe:
    """One probe: the encrypted secret, and the signatures to open it.

    All methods but ``add_signature`` cost pairings.
    """

    def __init__(self, request: CanaryRequest, transcript: Transcript) -> None:
        self.request = request
        self.transcript = transcript
        self.signatures: dict[OperatorAddress, bytes] = {}
        self.failures: dict[OperatorAddress, str] = {}
        self.invalid: tuple[OperatorAddress, ...] = ()
        self.enough = trio.Event()
        self._c1, self._shared = ibe.encapsulate(request.identity, transcript.mpk, os.urandom)

    def add_signature(self, operator: OperatorAddress, signature: bytes) -> None:
        self.signatures[operator] = signature
        if len(self.signatures) >= self.transcript.threshold:
            self.enough.set()

    def opens(self, signatures: Signatures) -> bool:
        """Return whether t of the signatures give the key that opens the secret."""
        chosen = dict(islice(signatures.items(), self.transcript.threshold))
        if len(chosen) < self.transcript.threshold:
            return False
        try:
            key = bls.recover([coordinate(operator) for operator in chosen], list(chosen.values()))
        except ValueError:
            return False
        if not bls.verify_app_key(self.request.identity, key, self.transcript.mpk):
            return False
        return hmac.compare_digest(ibe.decapsulate(key, self._c1), self._shared)

    def find_invalid(self) -> None:
        """Set ``invalid`` to the operators whose signature is not that of their share.

        It costs two pairings if there are none.
        """
        held = list(self.signatures)
        items = [(self.signatures[operator], self.transcript.public_share(operator)) for operator in held]
        wrong = bls.verify_partials(self.request.identity, items, os.urandom) if items else ()
        self.invalid = tuple(held[index] for index in wrong)

    @property
    def good(self) -> dict[OperatorAddress, bytes]:
        """Return the valid signatures."""
        return {o: signature for o, signature in self.signatures.items() if o not in self.invalid}

    @property
    def reason(self) -> str:
        """Return why the secret did not open."""
        of = len(self.transcript.recipients.addresses)
        text = (
            f"{len(self.good)} good partial signatures of {of} operators, {self.transcript.threshold} needed"
        )
        why = "; ".join(f"{to_hex(o)[:10]}…: {said[:100]}" for o, said in sorted(self.failures.items())[:4])
        return f"{text} ({why})" if why else text
