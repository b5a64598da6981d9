"""Handlers of the client protocol, which anybody may call.

They answer info, partial signatures, status, evidence, hello and reach. The handlers for operators alone are in
``operator_handlers``.

Each handler checks in the order of cost: size and shape, scope, policy, signature. Only then it computes. Work in a thread is done
in turns, one client after another; work for operators waits for no client (``signature_checks``). A refusal has a code for
programs and a sentence for people.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.authorisation.signature_issuer import IssueRequest
from eigenkms.crypto import bls
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import RemoteProtocolError, VerificationError
from eigenkms.fair_thread import FairThread, NoPlaceError
from eigenkms.node.backing_services import BackingServices
from eigenkms.node.engine.engine import Engine
from eigenkms.node.key_versions import Versions
from eigenkms.node.network.dial_back import DialBackService
from eigenkms.node.network.peer_records import PeerRecordService
from eigenkms.node.network.signature_checks import Caller
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.types import Request
from eigenkms.public_status import PublicStatus
from eigenkms.rate_limiter import Pace
from eigenkms.types import ClusterId
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import (
    PartialRequest,
    build_statement,
    decode_evidence_request,
    decode_info_request,
    decode_partial_request,
    encode_info,
    seal_partial,
)
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.transcript import Transcript

CLIENTS: Final = 1024
"""Clients whose requests may wait for a thread. Requests of further ones are refused as busy."""
STATEMENTS: Final = 32
"""Requests for ``info`` of one client that may wait: as many as its peer may have in flight."""
PAGES: Final = 4
"""Pages of evidence that one client may wait for, each of 256 KiB and more."""
STATUS_SECONDS: Final = 0.1
"""How long a status serves. It is read on the loop, and takes milliseconds with a hundred operators and a thousand clients."""
REFUSALS_A_SECOND: Final = 5
REFUSAL_BURST: Final = 256
"""Refusals of one client without delay. Further ones are paced, each at most ``MAX_DELAY_SECONDS`` late."""
MAX_DELAY_SECONDS: Final = 5.0
"""Within the deadline of a handler."""


class StatusCache:
    """The public status as JSON, read again after ``STATUS_SECONDS``."""

    def __init__(self, read: Callable[[], PublicStatus]) -> None:
        self._read = read
        self._status: PublicStatus | None = None
        self._read_at = float("-inf")

    def encode(self) -> bytes:
        """Return the status. Its ``time`` is always the current one."""
        now = trio.current_time()
        if self._status is None or now - self._read_at >= STATUS_SECONDS:
            self._status, self._read_at = self._read(), now
        return json.dumps(replace(self._status, time=time.time()).to_json()).encode()


class ClientHandlers:
    """The handlers of one node. ``status`` reads what ``eigenkms status`` shows."""

    def __init__(
        self,
        backing: BackingServices,
        versions: Versions,
        engine: Engine,
        records: PeerRecordService,
        dial_back: DialBackService,
        status: Callable[[], PublicStatus],
    ) -> None:
        self._cluster = backing.cluster
        self._operator = backing.config.operator
        self._key = backing.keys.bn254
        self._policy = backing.policy
        self._issuer = backing.issuer
        self._versions = versions
        self._engine = engine
        self._records = records
        self._dial_back = dial_back
        self._status = StatusCache(status)
        self._signing = FairThread(owners=CLIENTS, each=STATEMENTS)
        self._refusals = Pace(REFUSALS_A_SECOND, REFUSAL_BURST, trio.current_time, latest=MAX_DELAY_SECONDS)
        self._paging = FairThread(owners=CLIENTS, each=PAGES)

    async def answer(self, request: Request) -> bytes:
        """Answer a request.

        A client that is refused often gets its refusals late, which holds its requests in flight. Raises ``RpcRefusal``.
        """
        try:
            return await self._answer_in_code(request)
        except RpcRefusal:
            await trio.sleep(self._refusals.wait(Caller.of(request).client))
            raise

    async def _answer_in_code(self, request: Request) -> bytes:
        """Turn every refusal into an ``RpcRefusal`` with its code."""
        try:
            return await self._answer(request)
        except MalformedError as error:
            raise RpcRefusal("bad-request", str(error)) from error
        except NoPlaceError:
            raise RpcRefusal("busy", "too many requests wait here: ask again in a second") from None
        except RemoteProtocolError as error:
            raise RpcRefusal("refused-frame", str(error)) from error
        except AttestationRefusedError as error:
            raise RpcRefusal(error.code, error.one_line) from error

    async def _answer(self, request: Request) -> bytes:
        match request.method:
            case rpc_methods.INFO:
                return await self._info(request)
            case rpc_methods.PARTIAL:
                return await self._partial(request)
            case rpc_methods.STATUS:
                return self._status.encode()
            case rpc_methods.EVIDENCE:
                return await self._evidence(request)
            case rpc_methods.HELLO:
                return await self._records.hello(request)
            case rpc_methods.REACH:
                return await self._dial_back.answer(request)
            case _:
                raise RpcRefusal("unknown-method", "this node does not know that method")

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
            client, build_statement, self._key, self._operator, held.epoch.transcript, nonce
        )
        return encode_info(held.epoch, statement, self._records.records())

    async def _evidence(self, request: Request) -> bytes:
        cluster, after = decode_evidence_request(request.body)
        self._check_cluster(cluster)
        async with self._paging.turn(Caller.of(request).client):
            return (await self._engine.queries.evidence_page(after)).encoded

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
        issue = IssueRequest(request.app_id, request.ciphertext_version, transcript, request.reply_key)
        try:
            return await self._issuer.issue(
                issue, grant, partial(self._sign_partial, transcript, held.share, request), client=client
            )
        except VerificationError as error:
            raise RpcRefusal("bad-request", "nothing can be sealed to that reply key") from error

    def _sign_partial(self, transcript: Transcript, share: SecretScalar, request: PartialRequest) -> bytes:
        signature = bls.partial_sign(share, request.identity)
        return seal_partial(self._key, self._operator, transcript, request, signature)
