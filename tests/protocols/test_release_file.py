"""An exported log is read piece by piece, and believed in nothing that its records do not say."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.crypto.hashing import be32
from eigenkms.protocols.records.audit_log import MAX_ENTRY_BYTES, BadLogError
from eigenkms.protocols.records.audit_log_file import MAGIC, LogFile, write_log
from eigenkms.wire.codec import MalformedError
from tests.support.audit_log_entries import HEADER, encode_entries, signed_log


def exported(count: int) -> bytes:
    entries, signed = signed_log(count)
    return b"".join(write_log(HEADER, signed, encode_entries(entries)))


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_what_is_written_is_read(count: int, piece: int) -> None:
    """However the bytes come."""
    entries, signed = signed_log(count)
    source = io.BytesIO(exported(count))
    file = LogFile(lambda size: source.read(min(size, piece)))
    assert (file.header, file.signed) == (HEADER, signed)
    assert list(file.entries()) == encode_entries(entries)


def test_the_first_ones_may_be_left_out() -> None:
    """As of a database."""
    entries, _ = signed_log(5)
    for after in (0, 3, 5, 9):
        assert list(LogFile(io.BytesIO(exported(5)).read).entries(after)) == encode_entries(entries)[after:]


def test_a_record_that_is_too_long_is_not_read() -> None:
    """Whatever length it claims."""
    for size in (MAX_ENTRY_BYTES + 1, 2**32 - 1):
        file = LogFile(io.BytesIO(exported(1) + be32(size) + bytes(10_000)).read)
        with pytest.raises(BadLogError, match=f"a record of {size} bytes"):
            list(file.entries())


@given(st.integers(0, len(MAGIC) + 300))
def test_a_cut_beginning_is_no_log(size: int) -> None:
    """Up to the end of the header and the head."""
    with pytest.raises(MalformedError):
        LogFile(io.BytesIO(exported(0)[:size]).read)


@given(st.binary(max_size=200))
def test_rubbish_is_no_log(data: bytes) -> None:
    """With the right first line or without."""
    for content in (data, MAGIC + data):
        with pytest.raises(MalformedError):
            LogFile(io.BytesIO(content).read)
