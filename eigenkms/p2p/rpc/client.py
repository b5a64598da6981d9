"""The client side of RPC: all callers share one stream per peer and protocol.

Opening a stream costs four times a small request, and a task that is cancelled inside libp2p may end the whole connection (guards
P4, P5). So callers never touch a stream: ``call`` puts a frame into a queue and waits for an event. The stream's own tasks write,
read, and match answers to requests by their id. A caller may be cancelled or time out at any moment; its answer is dropped then.

A request keeps its place among the ``in_flight`` until its answer comes, even if no caller waits for it. The peer counts it too,
and stops reading at its limit. Its bytes are held until they are written, or no caller waits. Of one peer at most ``held`` bytes
are held, and further callers wait for their turn. If answers are missing for ``stuck_session`` seconds, the stream is given up and
the next call opens another. No request is sent twice. If the connection broke during a request, only the caller can find out
whether it was carried out.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import trio

from eigenkms.errors import InputError
from eigenkms.p2p.errors import CallRefusedError, CallTimeout, FrameError, PeerUnreachable
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.rpc import framing
from eigenkms.p2p.rpc.memory import PeerPlaces

log = logging.getLogger("eigenkms.p2p.rpc.client")

Opener = Callable[[PeerId, str], Awaitable[Any]]
"""Connects to the peer if need be and opens a stream of the protocol; raises PeerUnreachable."""

_IDS: Final = 2**32


@dataclass(slots=True, eq=False)
class _Call:
    """A request under way. ``size`` is what it holds of its peer's places."""

    id: int
    frame: bytes
    size: int
    started: float
    done: trio.Event = field(default_factory=trio.Event)
    given: bool = False
    """Whether its frame was given to a stream."""
    abandoned: bool = False
    outcome: bytes | CallRefusedError | PeerUnreachable | None = None

    def finish(self, outcome: bytes | CallRefusedError | PeerUnreachable) -> None:
        self.outcome = outcome
        self.done.set()

    def result(self) -> bytes:
        if isinstance(self.outcome, bytes):
            return self.outcome
        assert self.outcome is not None, "the call is not finished"
        raise self.outcome


class RpcStream:
    """All requests of this host to one peer on one protocol."""

    def __init__(
        self, peer: PeerId, protocol: str, opener: Opener, nursery: trio.Nursery, limits: Limits
    ) -> None:
        self._peer = peer
        self._protocol = protocol
        self._opener = opener
        self._nursery = nursery
        self._limits = limits
        self._ids = count(1)
        self._places = PeerPlaces(limits.rpc.in_flight, limits.rpc.held)
        self._pending: dict[int, _Call] = {}
        self._outbox: trio.MemorySendChannel[_Call] | None = None
        self._scope: trio.CancelScope | None = None
        self.closed = False

    @property
    def running(self) -> bool:
        """Return whether a stream is open or being opened."""
        return self._outbox is not None

    async def call(self, method: str, body: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - part of the promise
        """Return the body of the answer.

        Raises CallRefusedError, PeerUnreachable or CallTimeout.
        """
        if not framing.valid_method(method):
            raise InputError(f"call {method!r}: not the name of a method")
        if len(body) > self._limits.rpc.body:
            raise InputError(
                f"call {method}: {len(body)} bytes are over the limit of {self._limits.rpc.body}"
            )
        call: _Call | None = None
        with trio.move_on_after(max(0.0, timeout)):
            size = len(body) + framing.ENVELOPE
            await self._places.enter(size)
            if self.closed:
                self._places.leave(size)
                raise PeerUnreachable(f"call {self._peer}: this host is closed")
            call = self._submit(method, body, size)
            try:
                await call.done.wait()
            finally:
                call.abandoned = True
                if not call.given:
                    self._free(call)
        if call is not None and call.done.is_set():
            return call.result()
        self._give_up_if_stuck()
        raise CallTimeout(f"call {method} of {self._peer}: no answer within {timeout:g} s")

    def _submit(self, method: str, body: bytes, size: int) -> _Call:
        id_ = next(self._ids) % _IDS
        frame = framing.encode(framing.RequestFrame(id_, method, body))
        call = _Call(id_, frame, size, trio.current_time())
        self._pending[id_] = call
        if self._outbox is None:
            self._outbox, inbox = trio.open_memory_channel[_Call](self._limits.rpc.in_flight)
            self._nursery.start_soon(self._run, inbox)
        self._outbox.send_nowait(call)
        self._postpone()
        return call

    def _settle(self, call: _Call, outcome: bytes | CallRefusedError | PeerUnreachable) -> None:
        if self._pending.pop(call.id, None) is not None:
            self._places.leave(call.size)
            call.size = 0
            call.finish(outcome)

    def _free(self, call: _Call) -> None:
        """Free the bytes of a frame that is written, or that nobody waits for.

        The call keeps its place.
        """
        call.frame = b""
        self._places.change(-call.size)
        call.size = 0

    def _give_up_if_stuck(self) -> None:
        oldest = min((call.started for call in self._pending.values()), default=trio.current_time())
        if self._scope is not None and trio.current_time() - oldest > self._limits.rpc.stuck_session:
            log.info("session %s with %s is stuck: closed", self._protocol, self._peer)
            self._scope.cancel()

    def _postpone(self) -> None:
        """Postpone the close of an idle stream."""
        if self._scope is not None:
            idle = trio.current_time() + self._limits.rpc.idle_session
            self._scope.deadline = float("inf") if self._pending else idle

    # ----- the session's own tasks

    async def _run(self, inbox: trio.MemoryReceiveChannel[_Call]) -> None:
        """Run one stream after another, while there are requests to send."""
        failure = PeerUnreachable(f"call {self._peer}: the connection broke before it answered")
        try:
            while True:
                await self._run_stream(inbox)
                self._fail(failure, [call for call in self._pending.values() if call.given])
                if not inbox.statistics().current_buffer_used:
                    return
        except PeerUnreachable as error:
            failure = error
        finally:
            inbox.close()
            self._outbox = None
            self._fail(failure, list(self._pending.values()))

    def _fail(self, failure: PeerUnreachable, calls: list[_Call]) -> None:
        for call in calls:
            self._settle(call, failure)

    async def _run_stream(self, inbox: trio.MemoryReceiveChannel[_Call]) -> None:
        stream = await self._opener(self._peer, self._protocol)
        try:
            await self._pump(stream, inbox)
        finally:
            self._scope = None
            await stream.reset()

    async def _pump(self, stream: Any, inbox: trio.MemoryReceiveChannel[_Call]) -> None:
        """Until the stream breaks, the session idles or the host closes."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._postpone()
            nursery.start_soon(self._write, stream, inbox)
            try:
                await self._read(stream)
            except FrameError as error:
                log.warning("session %s with %s: %s", self._protocol, self._peer, error)
            except Exception as error:  # noqa: BLE001 - the stream is over, for whatever reason libp2p gives
                log.debug("session %s with %s: %r", self._protocol, self._peer, error)
            nursery.cancel_scope.cancel()

    async def _write(self, stream: Any, inbox: trio.MemoryReceiveChannel[_Call]) -> None:
        async for call in inbox:
            if call.abandoned:
                self._settle(call, b"")
                continue
            call.given = True
            try:
                await stream.write(call.frame)
            except Exception as error:  # noqa: BLE001 - as above
                log.debug("session %s with %s: %r", self._protocol, self._peer, error)
                if self._scope is not None:
                    self._scope.cancel()
                return
            self._free(call)

    async def _read(self, stream: Any) -> None:
        reader = framing.FrameReader(stream.receive)
        while (frame := await reader.next(self._limits.rpc.body + framing.ENVELOPE)) is not None:
            match frame:
                case framing.AnswerFrame(id_, body) if id_ in self._pending:
                    self._settle(self._pending[id_], body)
                case framing.RefusalFrame(id_, code, message) if id_ in self._pending:
                    self._settle(self._pending[id_], CallRefusedError(code, _printable(message)))
                case _:
                    raise FrameError("read frame: answer to no request")
            self._postpone()


def _printable(message: str) -> str:
    """Return a peer's words as they may be shown on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in message)


class RpcClient:
    """The sessions of one host, opened on demand."""

    def __init__(self, opener: Opener, limits: Limits) -> None:
        self._opener = opener
        self._limits = limits
        self._sessions: dict[tuple[PeerId, str], RpcStream] = {}
        self._nursery: trio.Nursery | None = None
        self.started = trio.Event()

    async def run(self) -> None:
        """Own the tasks of all sessions, until ``stop``."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                self.started.set()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def stop(self) -> None:
        """End all sessions; calls under way fail."""
        if self._nursery is not None:
            for session in self._sessions.values():
                session.closed = True
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    def get(self, peer: PeerId, protocol: str) -> RpcStream:
        """Return the session with the peer, closed until it is first used.

        Raises PeerUnreachable once the host closes.
        """
        if self._nursery is None:
            raise PeerUnreachable(f"call {peer}: this host is closed")
        key = (peer, protocol)
        if key not in self._sessions:
            self._drop_closed()
            self._sessions[key] = RpcStream(peer, protocol, self._opener, self._nursery, self._limits)
        return self._sessions[key]

    def _drop_closed(self) -> None:
        """Drop closed streams beyond a thousand: peers come and go."""
        if len(self._sessions) >= 1024:
            self._sessions = {key: each for key, each in self._sessions.items() if each.running}
