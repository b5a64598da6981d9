"""The recovery of a share: one row of each dealing that the transcript names.

An operator that took part holds the dealings. One that was away asks anybody for the headers and its own rows, about 1.5 kB a
dealing. The transcript names the dealings, a name binds the header, and the header binds each row. So a row is the dealer's,
whoever serves it.
"""

from collections.abc import Container, Mapping

from eigenkms.crypto import pvss
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.jobs import OpenJob
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import BadDealingError, DealingRow, read_row
from eigenkms.wire.dealing_header import DealingHeader, decode_header
from eigenkms.wire.messages import GENESIS_SOURCE
from eigenkms.wire.transcript import Transcript


class Recovery:
    """The recovery of the share of ``me`` in the version of ``transcript``."""

    def __init__(self, transcript: Transcript, me: OperatorAddress) -> None:
        self.transcript = transcript
        self._me = me
        self._member = transcript.recipients.addresses.index(me)
        self._names = {name: dealer for dealer, name in transcript.dealers}
        self._rows: dict[bytes, tuple[DealingHeader, pvss.EncryptedShare]] = {}
        self._numbers: dict[bytes, int | None] = {}
        self._is_opening = False
        self._has_failed = False

    @property
    def wanted(self) -> tuple[bytes, ...]:
        """Names of the dealings of which the row is lacking."""
        return () if self.is_hopeless else tuple(n for n in self._names if n not in self._numbers)

    @property
    def key_number(self) -> int | None:
        """The number of the key that the share is encrypted to, as far as it is known."""
        return next((number for number in self._numbers.values() if number is not None), None)

    @property
    def is_hopeless(self) -> bool:
        """Whether a dealing has no row for this operator, so that it has no share."""
        return None in self._numbers.values()

    def is_possible(self, numbers: Container[int]) -> bool:
        """Return whether the share can still be decrypted, with the keys of these numbers."""
        is_lost = self.is_hopeless or self._has_failed
        return not is_lost and (self.key_number is None or self.key_number in numbers)

    def mark_failed(self) -> None:
        """Note that the rows did not make the share; this run does not try again."""
        self._has_failed = True

    def add_row(self, name: bytes, row: DealingRow) -> None:
        """Take a row that somebody served.

        Raises ``RemoteProtocolError`` if it is not the one that the transcript names.
        """
        if name not in self._names or name in self._numbers:
            return
        header = decode_header(row.header)
        if header.name != name:
            raise BadDealingError(f"read row of dealing {name.hex()}: its header is another one")
        self.add_header(header)
        position = header.position(self._member)
        if position is not None:
            try:
                self._rows[name] = (header, read_row(header, position, row.encoded))
            except RemoteProtocolError:
                del self._numbers[name]
                raise

    def add_header(self, header: DealingHeader) -> None:
        """Note for which key its row is.

        IndexError for a header of other members, which no certified one is.
        """
        self._numbers[header.name] = header.key_numbers[self._member]

    def add_dealing(self, header: DealingHeader, encrypted: pvss.EncryptedShares) -> None:
        """Take the row of a dealing that is here anyway."""
        if header.name not in self._names or header.name in self._numbers:
            return
        self.add_header(header)
        position = header.position(self._member)
        if position is not None:
            self._rows[header.name] = (header, encrypted.share(position))

    def job(self, keys: Mapping[int, pvss.EncryptionKey]) -> OpenJob | None:
        """Return the work that is left once all rows are here, once, if the key is here."""
        if self._is_opening or self.is_hopeless or len(self._rows) < len(self._names):
            return None
        key = keys.get(self.key_number if self.key_number is not None else -1)
        if key is None:
            return None
        self._is_opening = True
        dealings = tuple(
            (dealer, self._rows[name][1], self._rows[name][0].rows)
            for dealer, name in self.transcript.dealers
        )
        genesis = self.transcript.source_version == GENESIS_SOURCE
        return OpenJob(self.transcript.hash, self.transcript.public_share(self._me), dealings, genesis, key)
