"""What a node answers to everybody: info, partial signatures, status, evidence, hello, reach.

Operators ask more (``operator_handlers``).

Each handler checks in the order of cost: size and shape, scope, policy, signature, and only then computes. What takes a thread is
done in turns, one client after another; what operators wait for waits for no client (``signature_checks``). Refusals have a code
that programs can act on and a sentence that helps the honest.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from eigenkms.attestation.interface import AttestationRefused
from eigenkms.crypto import bls, bn254
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import EigenKmsError, RemoteProtocolError, VerificationError
from eigenkms.node.authorisation.policy import Policy
from eigenkms.node.authorisation.rate_limiter import Pace
from eigenkms.node.engine import Engine
from eigenkms.node.fair_thread import FairThread, NoPlaceError
from eigenkms.node.issuer import IssueRequest, PartialSignatureIssuer
from eigenkms.node.key_versions import Versions
from eigenkms.node.network.dial_back import DialBackService
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.node.network.signature_checks import Caller, SignatureChecks
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.types import Request
from eigenkms.protocols.wire import rpc_methods
from eigenkms.protocols.wire.client_rpc import (
    PartialRequest,
    build_statement,
    decode_evidence_request,
    decode_info_request,
    decode_partial_request,
    encode_info,
    seal_partial,
)
from eigenkms.protocols.wire.codec import MalformedError
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.public_status import PublicStatus
from eigenkms.types import ClusterId, OperatorAddress

CLIENTS: Final = 1024
"""Clients of which requests wait for a thread."""
STATEMENTS: Final = 32
"""Requests for ``info`` of one client that wait: as many as its peer may have in flight."""
PAGES: Final = 4
"""Pages of evidence that one client waits for, each of 256 KiB and more."""


STATUS_SECONDS: Final = 0.1
"""For which a status serves: it is read on the loop, and takes milliseconds with a hundred operators and a thousand clients."""
REFUSALS_A_SECOND: Final = 5
REFUSAL_BURST: Final = 256
"""Refusals of one client in no time; those beyond are that many a second, each at most ``MAX_DELAY_SECONDS`` late."""
MAX_DELAY_SECONDS: Final = 5.0
"""Within the deadline of a handler."""


class ClientHandlers:
    """The handlers of one node. ``status`` gives what ``eigenkms status`` shows; nothing in it is secret."""

    def __init__(
        self,
        *,
        cluster: ClusterId,
        me: OperatorAddress,
        key: bn254.KeyPair,
        engine: Engine,
        peers: PeerBook,
        versions: Versions,
        policy: Policy,
        releaser: PartialSignatureIssuer,
        greeter: PeerRecordService,
        checks: SignatureChecks,
        status: Callable[[], PublicStatus],
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._key = key
        self._engine = engine
        self._peers = peers
        self._versions = versions
        self._policy = policy
        self._releaser = releaser
        self._greeter = greeter
        self._status = status
        self._said: PublicStatus | None = None
        self._said_at = float("-inf")
        self._signing = FairThread(owners=CLIENTS, each=STATEMENTS)
        self._refusals = Pace(REFUSALS_A_SECOND, REFUSAL_BURST, trio.current_time, latest=MAX_DELAY_SECONDS)
        self._paging = FairThread(owners=CLIENTS, each=PAGES)
        self.reacher = DialBackService(cluster, me, peers, checks)

    async def client(self, request: Request) -> bytes:
        """The client protocol. A client that is refused much gets its refusals late, which holds its requests under way."""
        try:
            return await self._answer_in_code(request)
        except RpcRefusal:
            await trio.sleep(self._refusals.wait(Caller.of(request).client))
            raise

    async def _answer_in_code(self, request: Request) -> bytes:
        """Every refusal becomes an ``RpcRefusal``."""
        try:
            return await self._answer(request)
        except MalformedError as error:
            raise RpcRefusal("bad-request", str(error)) from error
        except NoPlaceError:
            raise RpcRefusal("busy", "too many requests wait here: ask again in a second") from None
        except RemoteProtocolError as error:
            raise RpcRefusal("refused-frame", str(error)) from error
        except AttestationRefused as error:
            raise RpcRefusal(error.code, explain(error)) from error

    async def _answer(self, request: Request) -> bytes:
        match request.method:
            case rpc_methods.INFO:
                return await self._info(request)
            case rpc_methods.PARTIAL:
                return await self._partial(request)
            case rpc_methods.STATUS:
                return self._tell_status()
            case rpc_methods.EVIDENCE:
                return await self._evidence(request)
            case rpc_methods.HELLO:
                return await self._greeter.hello(request)
            case rpc_methods.REACH:
                return await self.reacher.answer(request)
            case _:
                raise RpcRefusal("unknown-method", "this node does not know that method")

    def _tell_status(self) -> bytes:
        """All of it is at most ``STATUS_SECONDS`` old but for the time, which the asker compares with its own."""
        now = trio.current_time()
        if self._said is None or now - self._said_at >= STATUS_SECONDS:
            self._said, self._said_at = self._status(), now
        return json.dumps(replace(self._said, time=time.time()).to_json()).encode()

    def _check_cluster(self, cluster: ClusterId) -> None:
        if cluster != self._cluster:
            raise RpcRefusal("wrong-cluster", "this operator serves another cluster")

    async def _info(self, request: Request) -> bytes:
        cluster, nonce = decode_info_request(request.body)
        self._check_cluster(cluster)
        held = self._versions.newest
        if held is None:
            raise RpcRefusal("no-version", "no master key has been generated yet")
        client = Caller.of(request).client
        statement = await self._signing.take(
            client, build_statement, self._key, self._me, held.epoch.transcript, nonce
        )
        return encode_info(held.epoch, statement, self._greeter.records())

    async def _evidence(self, request: Request) -> bytes:
        cluster, after = decode_evidence_request(request.body)
        self._check_cluster(cluster)
        async with self._paging.turn(Caller.of(request).client):
            return (await self._engine.evidence_page(after)).encoded

    async def _partial(self, asked: Request) -> bytes:
        request, client = decode_partial_request(asked.body), Caller.of(asked).client
        self._check_cluster(request.cluster)
        held = self._versions.get(request.transcript_hash)
        if held is None:
            raise RpcRefusal("unknown-version", "this operator does not know that key version")
        if held.share is None:
            if self._engine.is_obtaining(request.transcript_hash):
                raise RpcRefusal("busy", "this operator is decrypting its share of that key version")
            raise RpcRefusal("no-share", "this operator holds no share of that key version")
        grant = await self._policy.authorise(request, client=client)
        transcript = held.epoch.transcript
        released = IssueRequest(request.app_id, request.ciphertext_version, transcript, request.reply_key)
        try:
            return await self._releaser.release(
                released, grant, partial(self._sign_partial, transcript, held.share, request), client=client
            )
        except VerificationError as error:
            raise RpcRefusal("bad-request", "nothing can be sealed to that reply key") from error

    def _sign_partial(self, transcript: Transcript, share: SecretScalar, request: PartialRequest) -> bytes:
        signature = bls.partial_sign(share, request.identity)
        return seal_partial(self._key, self._me, transcript, request, signature)


def explain(error: EigenKmsError) -> str:
    """An error with its hint, on one line, for the log."""
    return f"{error} ({error.hint})" if error.hint else str(error)


def system_rng(count: int) -> bytes:
    """Secret randomness from the operating system."""
    return os.urandom(count)
