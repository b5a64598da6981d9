"""What a node answers: to everybody (info, partial signatures, status, evidence, hello, reach) and to operators (frames, sync).

Each handler checks in the order of cost: size and shape, scope, policy, signature, and only then computes. Refusals have a code
that programs can act on and a sentence that helps the honest.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from functools import partial

import trio

from eigenkms.attestation.interface import AttestationRefused
from eigenkms.crypto import bls, bn254
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import EigenKmsError, RemoteProtocolError, VerificationError
from eigenkms.node.canary import Canary
from eigenkms.node.engine import Engine
from eigenkms.node.peers import PeerBook
from eigenkms.node.policy import Policy
from eigenkms.node.reaching import Reacher
from eigenkms.node.releasing import Released, Releaser
from eigenkms.node.versions import Versions
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.types import Request
from eigenkms.protocols import wire
from eigenkms.protocols.codec import MalformedError
from eigenkms.protocols.frames import Frame, Kind, build_frame, decode_frame, verify_frame
from eigenkms.protocols.messages import certificate_body
from eigenkms.protocols.requests import (
    PartialRequest,
    Which,
    build_statement,
    decode_evidence_request,
    decode_info_request,
    decode_partial_request,
    encode_info,
    encode_settled,
    seal_partial,
)
from eigenkms.protocols.transcript import Transcript
from eigenkms.types import ClusterId, OperatorAddress

log = logging.getLogger(__name__)


class Services:
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
        releaser: Releaser,
        canary: Canary,
        status: Callable[[], dict[str, object]],
    ) -> None:
        self._cluster = cluster
        self._me = me
        self._key = key
        self._engine = engine
        self._peers = peers
        self._versions = versions
        self._policy = policy
        self._releaser = releaser
        self._canary = canary
        self._status = status
        self._own_record: Frame | None = None
        self._signing = trio.CapacityLimiter(1)
        self._verifying = trio.CapacityLimiter(1)
        self.reacher = Reacher(cluster, me, peers, self._verifying)

    def announce(self, record: Frame) -> None:
        """My own peer record, once the addresses are known."""
        self._own_record = record

    # -- everybody -------------------------------------------------------------------------------------------

    async def client(self, request: Request) -> bytes:
        """The client protocol."""
        try:
            match request.method:
                case wire.INFO:
                    return await self._info(request.body)
                case wire.PARTIAL:
                    return await self._partial(request.body)
                case wire.STATUS:
                    return json.dumps(self._status()).encode()
                case wire.EVIDENCE:
                    return await self._evidence(request.body)
                case wire.HELLO:
                    return await self.hello(request.peer, request.body)
                case wire.REACH:
                    return await self.reacher.answer(request.body)
                case _:
                    raise RpcRefusal("unknown-method", "this node does not know that method")
        except MalformedError as error:
            raise RpcRefusal("bad-request", str(error)) from error
        except RemoteProtocolError as error:
            raise RpcRefusal("refused-frame", str(error)) from error
        except AttestationRefused as error:
            raise RpcRefusal(error.code, explain(error)) from error

    def _check_cluster(self, cluster: ClusterId) -> None:
        if cluster != self._cluster:
            raise RpcRefusal("wrong-cluster", "this operator serves another cluster")

    async def _info(self, body: bytes) -> bytes:
        cluster, nonce, which = decode_info_request(body)
        self._check_cluster(cluster)
        if self._versions.newest is None:
            raise RpcRefusal("no-version", "no master key has been generated yet")
        held = self._versions.newest if which is Which.NEWEST else self._versions.newest_settled
        if held is None:
            raise RpcRefusal("no-version", "this operator knows of no settled version")
        statement = await trio.to_thread.run_sync(
            build_statement, self._key, self._me, held.epoch.transcript, nonce, limiter=self._signing
        )
        return encode_info(held.epoch, statement, self._records())

    async def _evidence(self, body: bytes) -> bytes:
        cluster, after = decode_evidence_request(body)
        self._check_cluster(cluster)
        return (await self._engine.evidence_page(after)).encoded

    def _records(self) -> list[Frame]:
        own = [] if self._own_record is None else [self._own_record]
        return [*own, *self._peers.records()]

    async def _partial(self, body: bytes) -> bytes:
        request = decode_partial_request(body)
        self._check_cluster(request.cluster)
        held = self._versions.get(request.transcript_hash)
        if held is None:
            raise RpcRefusal("unknown-version", "this operator does not know that key version")
        if held.share is None:
            raise RpcRefusal("no-share", "this operator holds no share of that key version")
        grant = await self._policy.authorise(request)
        transcript = held.epoch.transcript
        released = Released(request.app_id, request.ciphertext_version, transcript, request.reply_key)
        try:
            return await self._releaser.release(
                released, grant, partial(self._sign_partial, transcript, held.share, request)
            )
        except VerificationError as error:
            raise RpcRefusal("bad-request", "nothing can be sealed to that reply key") from error

    def _sign_partial(self, transcript: Transcript, share: SecretScalar, request: PartialRequest) -> bytes:
        signature = bls.partial_sign(share, request.identity)
        return seal_partial(self._key, self._me, transcript, request, signature)

    async def hello(self, peer: PeerId, body: bytes) -> bytes:
        """Take the caller's peer record, which must name the very peer that calls; give ours and all we know."""
        frame = decode_frame(body)
        record = self._peers.screen(frame, _unix_ms())
        if record is not None:
            if PeerId(record.peer_id) != peer:
                raise RpcRefusal("wrong-peer", "the record names another peer than the one that sent it")
            await self._verify_record(frame)
            self._peers.accept(record, frame)
        self._peers.prove(peer, frame)
        return wire.encode_frames(self._records())

    async def _verify_record(self, frame: Frame) -> None:
        await trio.to_thread.run_sync(self._peers.check_signature, frame, limiter=self._verifying)

    async def take_records(self, data: bytes, source: PeerId) -> None:
        """Peer records that ``source`` answered with: its own proves who it is, the others say where their operators are."""
        for encoded in wire.decode_frames(data):
            try:
                frame = decode_frame(encoded)
                record = self._peers.screen(frame, _unix_ms())
                if record is not None:
                    await self._verify_record(frame)
                    self._peers.accept(record, frame)
                self._peers.prove(source, frame)
            except RemoteProtocolError as error:
                log.debug("peer record refused: %s", error)

    # -- operators -------------------------------------------------------------------------------------------

    async def operator(self, request: Request) -> bytes:
        """The operator protocol: only peers that proved which operator they are."""
        sender = self._peers.operator_of(request.peer)
        if sender is None:
            raise RpcRefusal("say-hello", "prove first which operator you are")
        if request.method == wire.PING:
            return b""
        try:
            if request.method == wire.CANARY:
                return await self._canary.answer(sender, request.body)
            frame = decode_frame(request.body)
            if frame.sender != sender:
                raise RpcRefusal("wrong-sender", "the frame is signed by another operator than the peer is")
            match request.method:
                case wire.FRAME:
                    self._engine.offer(request.peer, request.body)
                    return b""
                case wire.SYNC:
                    return wire.encode_frames(await self._sync(frame))
                case wire.SETTLED:
                    return self._settled()
                case _:
                    raise RpcRefusal("unknown-method", "this node does not know that method")
        except RemoteProtocolError as error:
            raise RpcRefusal("refused-frame", str(error)) from error

    async def _sync(self, frame: Frame) -> list[Frame]:
        key = self._peers.key_of(frame.sender)
        if frame.kind is not Kind.SYNC or frame.cluster != self._cluster or key is None:
            raise MalformedError("read sync request: not one of this cluster")
        await trio.to_thread.run_sync(verify_frame, frame, key, limiter=self._verifying)
        found = await self._engine.sync_reply(frame)
        return found or await self._stored_certificate(frame)

    def _settled(self) -> bytes:
        """The version that the next rotation deals from, for an operator that does not know it."""
        held = self._versions.newest_settled
        if held is None:
            raise RpcRefusal("no-version", "this operator knows no settled version")
        return encode_settled(held.epoch, held.proof)

    async def _stored_certificate(self, request: Frame) -> list[Frame]:
        """The certificate of a session that is long over, for somebody who missed its end."""
        newest = self._versions.newest
        if newest is None or newest.epoch.transcript.session != request.session:
            return []
        body = certificate_body(newest.epoch.transcript.encoded, newest.epoch.certificate)

        def build() -> Frame:
            return build_frame(
                self._key,
                kind=Kind.CERTIFICATE,
                cluster=self._cluster,
                sender=self._me,
                session=request.session,
                body=body,
            )

        return [await trio.to_thread.run_sync(build, limiter=self._signing)]


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


def explain(error: EigenKmsError) -> str:
    """An error with its hint, on one line, for the log."""
    return f"{error} ({error.hint})" if error.hint else str(error)


def system_rng(count: int) -> bytes:
    """Secret randomness from the operating system."""
    return os.urandom(count)
