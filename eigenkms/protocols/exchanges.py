"""The dealing exchanges of one session: one at genesis; in a rotation one for each source that was dealt from.

At any moment the highest source is the one to propose from. Lower ones stay: what others propose from a version that I knew as the
highest settled one at some moment of this session I may prepare as well.
"""

from collections.abc import Iterator

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.transcript import Transcript
from eigenkms.types import OperatorAddress


class Exchanges:
    """By source version. What agreement asks of the exchanges of its session (``agreement.Deliberation``)."""

    def __init__(self) -> None:
        self._by_source: dict[int, Exchange] = {}

    def __iter__(self) -> Iterator[Exchange]:
        return iter(tuple(self._by_source.values()))

    def add(self, exchange: Exchange) -> None:
        self._by_source[exchange.source_version] = exchange

    def get(self, source: int) -> Exchange | None:
        return self._by_source.get(source)

    @property
    def current(self) -> Exchange:
        """The exchange from the highest source."""
        return self._by_source[max(self._by_source)]

    def ready(self, now: float) -> bool:
        return self.current.ready(now)

    def transcript(self) -> Transcript | None:
        return self.current.transcript()

    def supports(self, transcript: Transcript, *, strictly: bool) -> bool:
        exchange = self._by_source.get(transcript.source_version)
        return exchange is not None and exchange.supports(transcript, strictly=strictly)

    def combined_share(self, transcript: Transcript) -> SecretScalar | None:
        exchange = self._by_source.get(transcript.source_version)
        return None if exchange is None else exchange.combined_share(transcript)

    def shares_for(self, recipient: OperatorAddress) -> list[Frame]:
        """My share of each dealing for ``recipient``, as signed frames."""
        return [share for e in self if (share := e.share_for(recipient)) is not None]
