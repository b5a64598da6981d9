"""How an operator gets its share of a version: one row of each dealing that the version's transcript names.

Whoever took part holds the dealings. Whoever was away asks anybody for the headers and its own rows, about 1.5 kB a dealing: the
transcript names the dealings, a name binds the header, and the header binds each row. So a row is the dealer's, whoever serves it.
"""

from collections.abc import Container, Mapping

from eigenkms.crypto import pvss
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.jobs import OpenJob
from eigenkms.protocols.wire.dealing import BadDealingError, DealingRow, read_row
from eigenkms.protocols.wire.dealing_header import DealingHeader, decode_header
from eigenkms.protocols.wire.messages import GENESIS_SOURCE
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import OperatorAddress


class Recovery:
    """The share of ``me`` in the version of ``transcript``, of which it is a recipient."""

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
    def used(self) -> int | None:
        """The number of the key that the share is encrypted to, as far as it is known."""
        return next((number for number in self._numbers.values() if number is not None), None)

    @property
    def is_hopeless(self) -> bool:
        """Whether a dealing has no row for this operator, so that it has no share of the version."""
        return None in self._numbers.values()

    def is_possible(self, numbers: Container[int]) -> bool:
        """Whether the share can still be decrypted, with the keys of these numbers."""
        is_lost = self.is_hopeless or self._has_failed
        return not is_lost and (self.used is None or self.used in numbers)

    def fail(self) -> None:
        """The rows did not make the share; this operator does not try again in this life."""
        self._has_failed = True

    def take(self, name: bytes, row: DealingRow) -> None:
        """A row that somebody served. Raises ``RemoteProtocolError`` if it is not the one that the transcript names."""
        if name not in self._names or name in self._numbers:
            return
        header = decode_header(row.header)
        if header.name != name:
            raise BadDealingError(f"read row of dealing {name.hex()}: its header is another one")
        self.take_header(header)
        position = header.position(self._member)
        if position is not None:
            try:
                self._rows[name] = (header, read_row(header, position, row.encoded))
            except RemoteProtocolError:
                del self._numbers[name]
                raise

    def take_header(self, header: DealingHeader) -> None:
        """Note for which key its row is. IndexError for a header of other members, which no certified one is."""
        self._numbers[header.name] = header.key_numbers[self._member]

    def take_whole(self, header: DealingHeader, encrypted: pvss.EncryptedShares) -> None:
        """A dealing that is here anyway."""
        if header.name not in self._names or header.name in self._numbers:
            return
        self.take_header(header)
        position = header.position(self._member)
        if position is not None:
            self._rows[header.name] = (header, encrypted.share(position))

    def job(self, keys: Mapping[int, pvss.EncryptionKey]) -> OpenJob | None:
        """The work that is left once all rows are here, if I have the key; asked for once."""
        if self._is_opening or self.is_hopeless or len(self._rows) < len(self._names):
            return None
        key = keys.get(self.used if self.used is not None else -1)
        if key is None:
            return None
        self._is_opening = True
        dealings = tuple(
            (dealer, self._rows[name][1], self._rows[name][0].rows)
            for dealer, name in self.transcript.dealers
        )
        genesis = self.transcript.source_version == GENESIS_SOURCE
        return OpenJob(self.transcript.hash, self.transcript.public_share(self._me), dealings, genesis, key)
