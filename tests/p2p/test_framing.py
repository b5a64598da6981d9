"""Frames of the session layer: one encoding each, and nothing that is not one gets through."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.p2p.errors import FrameError
from eigenkms.p2p.rpc.framing import (
    AnswerFrame,
    Frame,
    FrameReader,
    RefusalFrame,
    RequestFrame,
    decode,
    encode,
)

IDS = st.integers(0, 2**32 - 1)
FRAMES = st.one_of(
    st.builds(RequestFrame, IDS, st.from_regex(r"\A[a-z][a-z0-9_./-]{0,63}\Z"), st.binary(max_size=300)),
    st.builds(AnswerFrame, IDS, st.binary(max_size=300)),
    st.builds(RefusalFrame, IDS, st.from_regex(r"\A[a-z][a-z0-9-]{0,63}\Z"), st.text(max_size=100)),
)


def reader(data: bytes, step: int = 7) -> FrameReader:
    """A reader over ``data`` that arrives in pieces of ``step`` bytes."""
    pieces = [data[i : i + step] for i in range(0, len(data), step)]

    async def receive() -> bytes:
        return pieces.pop(0) if pieces else b""

    return FrameReader(receive)


def packed(*fields: object) -> bytes:
    """Fields as msgpack, without the length."""
    result: bytes = msgpack.packb(list(fields), use_bin_type=True)
    return result


@given(FRAMES)
def test_a_frame_survives_its_encoding(frame: Frame) -> None:
    """Decoding is the inverse of encoding."""
    assert decode(encode(frame)[4:]) == frame


@given(FRAMES, st.data())
def test_a_mutated_frame_is_refused_or_is_another_frame(frame: Frame, data: st.DataObject) -> None:
    """No mutation decodes to something that encodes differently: there is one encoding of each frame."""
    payload = bytearray(encode(frame)[4:])
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(payload))
    except FrameError:
        return
    assert encode(decoded)[4:] == bytes(payload)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_a_frame_error(noise: bytes) -> None:
    """Whatever a peer sends, the outcome is a frame or a frame error."""
    try:
        decoded = decode(noise)
    except FrameError:
        return
    assert encode(decoded)[4:] == noise


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        packed(1, 0, "m"),
        packed(1, 0, "m", b"", b""),
        packed(1, 3, b""),
        packed(1, 1, "text"),
        packed(1, 0, b"m", b""),
        packed(1, 0, "", b""),
        packed(1, 0, "Upper", b""),
        packed(1, 0, "m" * 65, b""),
        packed(1, 0, "m\n", b""),
        packed(-1, 1, b""),
        packed(2**32, 1, b""),
        packed(True, 1, b""),
        packed(1, True, b""),
        packed(1.0, 1, b""),
        packed(1, 2, "code", "x" * 1025),
        packed(1, 2, "no code", "x"),
        packed(1, 1, {}),
        packed([[[[[]]]]]),
        msgpack.packb({"i": 1}),
        msgpack.packb((1, 1, msgpack.ExtType(5, b"x"))),
        b"\x93\xcc\x01\x01\xc4\x00",
        b"\x93\x01\x01\xc5\x00\x00",
        packed(1, 1, b"") + b"\x00",
        b"\x93" * 3000,
    ],
)
def test_what_is_almost_a_frame_is_refused(payload: bytes) -> None:
    """Arity, types, names, numbers, nesting, shortest form and trailing bytes are all checked."""
    with pytest.raises(FrameError):
        decode(payload)


@pytest.mark.parametrize("step", [1, 3, 5000])
async def test_frames_are_cut_from_a_stream_whatever_its_pieces(step: int) -> None:
    """The reader gives the frames in order and None at the end."""
    frames = [RequestFrame(1, "a", b"x" * 1000), AnswerFrame(2, b""), RefusalFrame(3, "no", "why")]
    stream = reader(b"".join(map(encode, frames)), step)

    got = [await stream.next(2000) for _ in range(4)]

    assert got == [*frames, None]


async def test_an_oversize_frame_is_refused_before_it_is_buffered() -> None:
    """Only the length is read of a frame over the limit."""
    stream = reader((1001).to_bytes(4, "big") + b"x" * 2000)

    with pytest.raises(FrameError, match="over the limit"):
        await stream.next(1000)
    assert len(stream._buffer) <= 8


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
async def test_a_truncated_frame_is_an_error_and_not_an_end(cut: int) -> None:
    """A stream that ends within a frame was broken off."""
    with pytest.raises(FrameError, match="ended within"):
        await reader(encode(AnswerFrame(1, b"x" * 50))[:cut]).next(1000)
