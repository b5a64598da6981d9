"""What bytes that come up again and again say, read once for the whole process."""

from functools import lru_cache

from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.frames import decode_frame
from eigenkms.wire.messages import read_dealing

MANY = 4096


@lru_cache(maxsize=MANY)
def dealing_header(frame: bytes) -> DealingHeader:
    """The header in an encoded DEALING frame. Raises what the decoders raise."""
    return decode_header(read_dealing(decode_frame(frame)).header)


def dealing_name(frame: bytes) -> bytes:
    """The name of the dealing in an encoded DEALING frame."""
    return dealing_header(frame).name
