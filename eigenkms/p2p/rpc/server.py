"""The answering side of direct traffic: inbound streams, requests in, answers out.

Of one peer at most ``in_flight`` requests are under way at a time, over all its streams. These and their answers hold at most so
many bytes. Then its streams are simply not read, and yamux passes the pressure on. A request is under way until its answer is
written. A peer that asks and does not read fills its own places, and loses its stream when the deadline of one write is over
(``hardening.streams``). An answer that finds no room beside the others that wait is a refusal, ``busy``.

Every request has a deadline. A handler that fails costs one answer and a line in the log. A malformed frame costs the peer its
stream. Two streams per peer and protocol are kept: the one in use and the one before it, which may be dying. A third ends the
first.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from eigenkms.p2p.connections import remote_ip
from eigenkms.p2p.counters import Counters
from eigenkms.p2p.errors import FrameError, RpcRefusal
from eigenkms.p2p.gate import ProtocolGate
from eigenkms.p2p.identity import PeerId
from eigenkms.p2p.limits import Limits
from eigenkms.p2p.rpc import framing
from eigenkms.p2p.rpc.memory import Hold, MemoryAccount, PeerPlaces
from eigenkms.p2p.types import Handler, Request

log = logging.getLogger("eigenkms.p2p.rpc.server")

_STREAMS: Final = 2
_NO_ROOM: Final = RpcRefusal("busy", "the answers that wait to be read leave no room")


@dataclass(eq=False, slots=True)
class _ClientQuota:
    """A peer that has at least one stream open."""

    places: PeerPlaces
    streams: dict[str, list[trio.CancelScope]] = field(default_factory=lambda: defaultdict(list))


class RpcServer:
    """The handlers of one host, by protocol."""

    def __init__(self, gate: ProtocolGate, limits: Limits, counters: Counters) -> None:
        self._gate = gate
        self._limits = limits
        self._counters = counters
        self._handlers: dict[str, Handler] = {}
        self._guests: dict[PeerId, _ClientQuota] = {}

    def add(self, protocol: str, handler: Handler) -> None:
        """Let ``handler`` answer requests on ``protocol``."""
        self._handlers[protocol] = handler

    async def serve(self, stream: Any, protocol: str) -> None:
        """Answer the requests on an inbound stream until it ends.

        Raises FrameError, or what libp2p raises.
        """
        guest = self._guests.setdefault(stream.peer, _ClientQuota(PeerPlaces(self._limits.rpc.in_flight, 0)))
        guest.places.size = self._held_limit(stream.peer)
        scopes = guest.streams[protocol]
        if len(scopes) >= _STREAMS:
            scopes.pop(0).cancel()
        with trio.CancelScope() as scope:
            scopes.append(scope)
            try:
                await _InboundStream(self, stream, protocol, guest.places).run()
            finally:
                if scope in scopes:
                    scopes.remove(scope)
                if not any(guest.streams.values()) and self._guests.get(stream.peer) is guest:
                    del self._guests[stream.peer]

    def _held_limit(self, peer: PeerId) -> int:
        return self._limits.rpc.held if self._gate.trusts(peer) else self._limits.rpc.client_held

    def request_limit(self, peer: PeerId) -> int:
        """Return the largest request frame that this peer may send, in bytes."""
        body = self._limits.rpc.body if self._gate.trusts(peer) else self._limits.rpc.client_body
        return body + framing.ENVELOPE

    def allows(self, peer: PeerId, protocol: str) -> bool:
        """Return whether the gate (still) lets the peer use the protocol."""
        return self._gate.admits(peer, protocol)

    async def answer(self, protocol: str, request: Request) -> bytes | RpcRefusal:
        """Return the handler's answer or refusal. Raises only if cancelled."""
        seconds = self._limits.rpc.handler_deadline
        try:
            with trio.fail_after(seconds):
                body = await self._handlers[protocol](request)
        except RpcRefusal as refusal:
            self._counters.requests_refused += 1
            return refusal
        except trio.TooSlowError:
            self._counters.handler_errors += 1
            log.warning("%s %s of %s: not done within %g s", protocol, request.method, request.peer, seconds)
            return RpcRefusal("deadline", f"not done within {seconds:g} s")
        except Exception:
            self._counters.handler_errors += 1
            log.exception("%s %s of %s", protocol, request.method, request.peer)
            return RpcRefusal("internal")
        if not isinstance(body, bytes) or len(body) > self._limits.rpc.body:
            self._counters.handler_errors += 1
            log.error(
                "%s %s of %s: the answer is no bytes, or too many", protocol, request.method, request.peer
            )
            return RpcRefusal("internal")
        self._counters.requests_served += 1
        return body


def _reply(id_: int, outcome: bytes | RpcRefusal) -> bytes:
    if isinstance(outcome, bytes):
        return framing.encode(framing.AnswerFrame(id_, outcome))
    code = outcome.code if framing.valid_code(outcome.code) else "internal"
    return framing.encode(framing.RefusalFrame(id_, code, outcome.message[: framing.MAX_MESSAGE]))


class _InboundStream:
    """One inbound stream."""

    def __init__(self, server: RpcServer, stream: Any, protocol: str, places: PeerPlaces) -> None:
        self._server = server
        self._stream = stream
        self._protocol = protocol
        self._places = places
        self._account: MemoryAccount = stream.muxed_conn.account
        self._writing = trio.Lock()
        self._under_way: set[int] = set()
        self._limits = server._limits  # noqa: SLF001 - the same module

    async def run(self) -> None:
        failure: Exception | None = None
        reader = framing.FrameReader(self._stream.receive, self._account)
        async with trio.open_nursery() as nursery:
            try:
                await self._read(reader, nursery)
            except Exception as error:  # noqa: BLE001 - raised again outside of the nursery
                failure = error
            finally:
                reader.close()
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _read(self, reader: framing.FrameReader, nursery: trio.Nursery) -> None:
        while (frame := await self._next(reader)) is not None:
            hold = Hold(self._places, self._account, len(frame.body))
            await hold.enter()
            nursery.start_soon(self._serve, frame, hold, nursery.cancel_scope)

    async def _next(self, reader: framing.FrameReader) -> framing.RequestFrame | None:
        """Return the next request.

        Returns None at the end of the stream, after a long silence, or once the gate is shut.
        """
        peer = self._stream.peer
        frame: framing.Frame | None = None
        with trio.move_on_after(self._limits.rpc.idle_stream):
            frame = await reader.next(self._server.request_limit(peer))
        if frame is None or not self._server.allows(peer, self._protocol):
            return None
        if not isinstance(frame, framing.RequestFrame):
            raise FrameError("read frame: an answer where requests are expected")
        if frame.id in self._under_way:
            raise FrameError("read frame: the id of a request under way")
        self._under_way.add(frame.id)
        self._stream.muxed_conn.last_request = trio.current_time()
        return frame

    async def _serve(self, frame: framing.RequestFrame, hold: Hold, scope: trio.CancelScope) -> None:
        """Carry out a request and write its answer.

        ``hold`` is kept until it is written, or the stream is over.
        """
        id_ = frame.id
        try:
            address = remote_ip(self._stream.muxed_conn.socket)
            request = Request(self._stream.peer, frame.method, frame.body, address)
            reply = _reply(id_, await self._server.answer(self._protocol, request))
            del frame, request
            if not hold.has_room(len(reply)):
                reply = _reply(id_, _NO_ROOM)
            hold.resize(len(reply))
            self._under_way.discard(id_)
            async with self._writing:
                await self._stream.write(reply)
        except Exception as error:  # noqa: BLE001 - the peer is gone or does not read
            log.debug("answer to %s: %r", self._stream.peer, error)
            scope.cancel()
        finally:
            hold.leave()
