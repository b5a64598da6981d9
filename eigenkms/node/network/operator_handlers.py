"""Handlers of the operator protocol: frames, bodies, rows, the highest version.

Each handler checks in the order of cost: the sender, its budget, size and shape, signature. All answers are read from the machines
between two of their steps, so nothing is served that is not durable.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from eigenkms.errors import RemoteProtocolError
from eigenkms.fair_thread import FairThread, NoPlaceError
from eigenkms.node.engine.engine import Engine
from eigenkms.node.network.byte_budget import CHECKED, LEAST, OperatorByteBudget
from eigenkms.node.network.peer_book import PeerBook
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.types import Request
from eigenkms.types import ClusterId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.frames import Frame, FrameKind, decode_frame, verify_frame
from eigenkms.wire.rpc_methods import encode_frames
from eigenkms.wire.session import MAX_OPERATORS

SYNCS: Final = 16
"""Requests for frames of one operator that may wait. It asks for a few sessions, one after another."""

Canary = Callable[[OperatorAddress, bytes], Awaitable[bytes]]


class OperatorHandlers:
    """Answers the operator protocol of one node; ``canary`` answers its own method."""

    def __init__(self, cluster: ClusterId, peers: PeerBook, engine: Engine, canary: Canary) -> None:
        self._cluster = cluster
        self._peers = peers
        self._engine = engine
        self._canary = canary
        self._verifying = FairThread(owners=2 * MAX_OPERATORS, each=SYNCS)
        self.budget = OperatorByteBudget(trio.current_time)

    async def answer(self, request: Request) -> bytes:
        """Answer a peer that is authenticated. Raises ``RpcRefusal``."""
        sender = self._peers.operator_of(request.peer)
        if sender is None:
            raise RpcRefusal("say-hello", "prove first which operator you are")
        try:
            match request.method:
                case rpc_methods.PING:
                    return b""
                case rpc_methods.CANARY:
                    return await self._canary(sender, request.body)
                case rpc_methods.PUSH:
                    return self._take_body(request, sender)
                case _:
                    return await self._serve(request, sender)
        except RemoteProtocolError as error:
            raise RpcRefusal("refused-frame", str(error)) from error

    def _take_body(self, request: Request, sender: OperatorAddress) -> bytes:
        name, body = rpc_methods.decode_push(request.body)
        self._engine.submit_body(sender, name, body)
        return b""

    async def _serve(self, request: Request, sender: OperatorAddress) -> bytes:
        """Answer within the operator's budget, and charge the answer.

        Refusals are charged too, as a bad signature costs more than most answers.
        """
        if not self.budget.allows(sender):
            raise RpcRefusal("busy", "this operator served you much lately: ask another one, or later")
        answer = b""
        try:
            answer = await self._find(request, sender)
        finally:
            self.budget.forget(self._peers.known)
            self.budget.spend(sender, len(answer), CHECKED if request.method == rpc_methods.SYNC else LEAST)
        return answer

    async def _find(self, request: Request, sender: OperatorAddress) -> bytes:
        match request.method:
            case rpc_methods.SYNC:
                return await self._sync(request.body, sender)
            case rpc_methods.BODY:
                return await self._body(request.body)
            case rpc_methods.ROW:
                return await self._row(request.body, sender)
            case rpc_methods.HEAD:
                return await self._head()
            case _:
                raise RpcRefusal("unknown-method", "this node does not know that method")

    async def _sync(self, body: bytes, sender: OperatorAddress) -> bytes:
        frame = decode_frame(body)
        if frame.sender != sender:
            raise RpcRefusal("wrong-sender", "the frame is signed by another operator than the peer is")
        await self._check_sync(frame)
        return encode_frames(await self._engine.queries.sync_reply(frame))

    async def _check_sync(self, frame: Frame) -> None:
        key = self._peers.key_of(frame.sender)
        if frame.kind is not FrameKind.SYNC or frame.cluster != self._cluster or key is None:
            raise MalformedError("read sync request: not one of this cluster")
        try:
            await self._verifying.take(frame.sender, verify_frame, frame, key)
        except NoPlaceError:
            raise RpcRefusal("busy", "too many requests of yours wait here: ask again in a second") from None

    async def _body(self, request: bytes) -> bytes:
        body = await self._engine.queries.body(rpc_methods.read_name(request))
        if body is None:
            raise RpcRefusal("no-dealing", "this operator has no such dealing, or has not verified it yet")
        return body

    async def _row(self, request: bytes, sender: OperatorAddress) -> bytes:
        row = await self._engine.queries.row(rpc_methods.read_name(request), sender)
        if row is None:
            raise RpcRefusal("no-dealing", "this operator has no such dealing, or it is of another session")
        return rpc_methods.encode_row(row)

    async def _head(self) -> bytes:
        head = await self._engine.queries.head()
        if head is None:
            raise RpcRefusal("no-version", "this operator knows no version")
        return rpc_methods.encode_head(head)
