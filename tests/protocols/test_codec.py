"""One value, one byte string: everything else is refused, with an error that names what was being read."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.wire.codec import MAX_ITEMS, MAX_VALUES, Fields, MalformedError, decode, encode

FEW = settings(max_examples=60, derandomize=True)
leaves = st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@given(values)
@FEW
def test_what_is_encoded_decodes(value: Any) -> None:
    """Decoding is the inverse of encoding."""
    assert decode(encode(value), what="value") == value


@given(values, st.data())
@FEW
def test_a_cut_or_longer_encoding_is_refused(value: Any, data: st.DataObject) -> None:
    """No prefix of an encoding is one, and nothing may follow it."""
    encoded = encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\x00"):
        with pytest.raises(MalformedError, match="decode value"):
            decode(wrong, what="value")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xcc\x05", "canonical"),  # 5 in two bytes
        (b"\xcd\x00\x05", "canonical"),
        (b"\xc5\x00\x01a", "canonical"),  # a short byte string with a long length
        (b"\xdc\x00\x01\x00", "canonical"),  # a short list with a long length
        (b"\xd9\x01a", "canonical"),
        (b"\xff", "negative"),
        (b"\xd0\x80", "negative"),
        (b"\xc2", "bool"),
        (b"\xc3", "bool"),
        (b"\x80", "dict"),
        (b"\x81\x00\x00", "not msgpack"),
        (msgpack.packb(1.5), "float"),
        (msgpack.packb(msgpack.ExtType(4, b"")), "ExtType"),
        (msgpack.packb(msgpack.ExtType(4, b"x")), "not msgpack"),
        (msgpack.packb(msgpack.Timestamp(1)), "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"", "not msgpack"),
        (b"\xa1\xff", "not msgpack"),  # text that is not UTF-8
        (b"\x91" * 2000, "not msgpack"),
        (encode(_nested(8)), "nested"),
        (encode([0] * (MAX_ITEMS + 1)), "not msgpack"),
        (encode("x" * 1025), "not msgpack"),
    ],
)
def test_what_the_encoder_would_not_write_is_refused(data: bytes, why: str) -> None:
    """Other lengths, other types, other depths."""
    with pytest.raises(MalformedError, match=why):
        decode(data, what="value")


def test_lists_in_lists_are_counted_together() -> None:
    """A message of a few kilobytes that would be megabytes of empty lists is refused; the largest transcript is not."""
    shelf = [[] for _ in range(MAX_ITEMS)]
    assert decode(encode([shelf, [[]] * (MAX_ITEMS - 4)]), what="value")
    with pytest.raises(MalformedError, match=f"more than {MAX_VALUES} values"):
        decode(encode([shelf, shelf]), what="value")


def test_size_is_checked_first() -> None:
    """Nothing larger than the limit is looked at."""
    assert decode(encode(bytes(100)), what="value", limit=102) == bytes(100)
    with pytest.raises(MalformedError, match="103 bytes, more than 102"):
        decode(encode(bytes(101)), what="value", limit=102)
    assert decode(encode(_nested(6)), what="value") == _nested(6)


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (lambda f: f.uint(8), [256, "1", b"1", None, []]),
        (lambda f: f.fixed(2), [b"", b"abc", "ab", None, 7, []]),
        (lambda f: f.optional_fixed(2), [b"", b"abc", "ab", 7, []]),
        (lambda f: f.binary(2), [b"abc", "ab", None, 7, []]),
        (lambda f: f.optional_binary(2), [b"abc", "ab", 7, []]),
        (lambda f: f.text(2), ["abc", b"ab", None, 7, []]),
        (lambda f: f.items(2), [[1, 2, 3], b"", "", None, 7]),
        (lambda f: f.fixed_items(2, 2), [[b"ab", b"c"], [b"ab", "cd"], [b"ab"] * 3, None]),
    ],
)
def test_fields_have_exact_types(read: Any, bad: list[Any]) -> None:
    """A field of another type, length or size is refused by name."""
    for value in bad:
        with pytest.raises(MalformedError, match="decode thing: wanted"):
            read(Fields([value], 1, "thing"))


def test_fields_give_what_is_there() -> None:
    """One after the other, in order."""
    fields = Fields([5, b"ab", None, b"cd", b"", None, "text", [1], [b"x"]], 9, "thing")
    found = [
        fields.uint(3),
        fields.fixed(2),
        fields.optional_fixed(2),
        fields.optional_fixed(2),
        fields.binary(),
        fields.optional_binary(),
        fields.text(),
        fields.items(),
        fields.fixed_items(1),
    ]
    assert found == [5, b"ab", None, b"cd", b"", None, "text", [1], (b"x",)]


@pytest.mark.parametrize("value", [[], [1, 2], b"", None, 1, "x"])
def test_arity_is_exact(value: Any) -> None:
    """A list of another length, or no list at all, is refused."""
    with pytest.raises(MalformedError, match="decode thing: not a list of 1"):
        Fields(value, 1, "thing")
