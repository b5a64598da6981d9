"""Frames of the RPC layer, on the one stream between two peers for one protocol.

A frame is a 4-byte big-endian length and that many bytes of msgpack, one of::

    [id, 0, method, body]    a request, from the side that opened the stream
    [id, 1, body]            its answer
    [id, 2, code, message]   its refusal

``id`` is an unsigned 32-bit number chosen by the requesting side, unique among its requests in flight. Answers come in any
order. The decoder takes one encoding of each frame: exact arity, exact types, the shortest msgpack form (checked by
encoding again), nothing after it. The length is checked before a single byte of the frame is buffered.

There is no half-valid frame: a peer that sends an invalid one loses the stream. docs/protocol.md has the same rule for the signed
frames *inside* bodies, which this layer does not read.
"""

import re
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgpack

from eigenkms.p2p.errors import FrameError

MAX_METHOD: Final = 64
MAX_CODE: Final = 64
MAX_MESSAGE: Final = 1024
ENVELOPE: Final = 4 * MAX_MESSAGE + 256
"""Bytes that a frame may have over its body: id, kind, method or code and message (UTF-8), msgpack headers."""

_METHOD: Final = re.compile(r"[a-z][a-z0-9_./-]{0,63}\Z")
_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class RequestFrame:
    """The asking side wants ``method`` carried out on ``body``."""

    id: int
    method: str
    body: bytes


@dataclass(frozen=True, slots=True)
class AnswerFrame:
    """The answer to the request with this id."""

    id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RefusalFrame:
    """Why the request with this id gave nothing."""

    id: int
    code: str
    message: str


Frame = RequestFrame | AnswerFrame | RefusalFrame


def valid_method(method: str) -> bool:
    """Return whether ``method`` may name a request.

    It has 1 to 64 characters of ``[a-z0-9_./-]``, a letter first.
    """
    return _METHOD.match(method) is not None


def valid_code(code: str) -> bool:
    """Return whether ``code`` may name a refusal.

    It has 1 to 64 characters of ``[a-z0-9-]``, a letter first.
    """
    return _CODE.match(code) is not None


def _fields(frame: Frame) -> list[object]:
    match frame:
        case RequestFrame(id_, method, body):
            return [id_, 0, method, body]
        case AnswerFrame(id_, body):
            return [id_, 1, body]
        case RefusalFrame(id_, code, message):
            return [id_, 2, code, message]


def encode(frame: Frame) -> bytes:
    """Return the frame with its length prefix."""
    payload: bytes = msgpack.packb(_fields(frame), use_bin_type=True)
    return _LENGTH.pack(len(payload)) + payload


def _build(fields: object) -> Frame:
    match fields:
        case [int() as id_, 0, str() as method, bytes() as body] if valid_method(method):
            return RequestFrame(id_, method, body)
        case [int() as id_, 1, bytes() as body]:
            return AnswerFrame(id_, body)
        case [int() as id_, 2, str() as code, str() as message] if (
            valid_code(code) and len(message) <= MAX_MESSAGE
        ):
            return RefusalFrame(id_, code, message)
        case _:
            raise FrameError("read frame: not a request, an answer or a refusal")


def decode(payload: bytes) -> Frame:
    """Return the frame in ``payload`` (without the length prefix).

    Raises FrameError unless it is one, canonically encoded.
    """
    try:
        fields = msgpack.unpackb(
            payload, raw=False, strict_map_key=True, max_array_len=4, max_map_len=0, max_ext_len=0
        )
    except (ValueError, RecursionError, TypeError) as error:
        raise FrameError("read frame: not msgpack of the expected shape") from error
    frame = _build(fields)
    if isinstance(frame.id, bool) or not 0 <= frame.id < 2**32:
        raise FrameError("read frame: id is not an unsigned 32-bit number")
    if encode(frame)[_LENGTH.size :] != payload:
        raise FrameError("read frame: not the canonical encoding")
    return frame


class Meter(Protocol):
    """A counter of held bytes (``memory.MemoryAccount``)."""

    def take(self, count: int) -> None: ...

    def give(self, count: int) -> None: ...


class FrameReader:
    """Cuts a byte stream into frames.

    ``receive`` gives the next bytes of it, b"" at its end; ``meter`` counts what lies here.
    """

    def __init__(self, receive: Callable[[], Awaitable[bytes]], meter: Meter | None = None) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._meter = meter

    def close(self) -> None:
        """Forget what was not read."""
        self._cut(len(self._buffer))

    def _cut(self, size: int) -> None:
        del self._buffer[:size]
        if self._meter is not None:
            self._meter.give(size)

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            chunk = await self._receive()
            if not chunk:
                return False
            self._buffer += chunk
            if self._meter is not None:
                self._meter.take(len(chunk))
        return True

    async def next(self, limit: int) -> Frame | None:
        """Return the next frame of at most ``limit`` bytes.

        Returns None if the stream ended between frames. Raises FrameError.
        """
        if not await self._fill(_LENGTH.size):
            if self._buffer:
                raise FrameError("read frame: stream ended within a length")
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > limit:
            raise FrameError(f"read frame: {size} bytes are over the limit of {limit}")
        if not await self._fill(_LENGTH.size + size):
            raise FrameError("read frame: stream ended within a frame")
        payload = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
        self._cut(_LENGTH.size + size)
        return decode(payload)
