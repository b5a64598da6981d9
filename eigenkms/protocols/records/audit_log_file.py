"""A release log as a file, for whoever wants to verify it elsewhere (docs/formats.md, Release log).

``EIGENKMS RELEASE LOG 1`` and a newline, then records, each its length (4 bytes, big-endian) and so many bytes: the header, the
signed head, the entries. Written and read one record at a time.
"""

from collections.abc import Callable, Iterable, Iterator

from eigenkms.crypto.hashing import be32
from eigenkms.protocols.records.audit_log import (
    MAX_ENTRY_BYTES,
    BadLogError,
    LogHeader,
    SignedHead,
    decode_head,
    decode_header,
)
from eigenkms.wire.codec import MalformedError

MAGIC = b"EIGENKMS RELEASE LOG 1\n"

Read = Callable[[int], bytes]


def write_log(header: LogHeader, signed: SignedHead, entries: Iterable[bytes]) -> Iterator[bytes]:
    """Return the file in pieces."""
    yield MAGIC
    for record in (header.encoded, signed.encoded):
        yield be32(len(record)) + record
    for entry in entries:
        yield be32(len(entry)) + entry


class LogFile:
    """A file's ``header`` and ``signed`` head, nothing verified.

    ``read(n)`` gives at most n bytes, none at the end.

    Raises ``MalformedError`` if it is no such file.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        try:
            if self._exactly(len(MAGIC)) != MAGIC:
                raise MalformedError("read release log: it does not begin like one")
            self.header = decode_header(self._record() or b"")
            self.signed = decode_head(self._record() or b"")
        except BadLogError as error:
            raise MalformedError(str(error)) from error

    def entries(self, after: int = 0) -> Iterator[bytes]:
        """Encoded entries, those beyond the first ``after``; once. Raises ``BadLogError`` where the file is cut, or a record longer
        than an entry can be.
        """
        for number, record in enumerate(iter(self._record, None)):
            if record is not None and number >= after:
                yield record

    def _record(self) -> bytes | None:
        size = self._exactly(4, may_end=True)
        if not size:
            return None
        if (length := int.from_bytes(size, "big")) > MAX_ENTRY_BYTES:
            raise BadLogError(f"read release log: a record of {length} bytes, more than an entry can have")
        return self._exactly(length)

    def _exactly(self, size: int, *, may_end: bool = False) -> bytes:
        found = b""
        while len(found) < size and (piece := self._read(size - len(found))):
            found += piece
        if len(found) < size and (found or not may_end):
            raise BadLogError("read release log: the file ends in the midst of a record")
        return found
