"""The exchange that renews the shares: holders of the source deal their shares to today's set (docs/protocol.md, Dealing).

The *source* is the highest settled version. Each of its holders, whether it still is a member or not, deals a random polynomial
whose constant term is its share; everybody checks ``C_0`` against the holder's public share, so nothing can be smuggled into the
master key. There is no choice that others' dealings could be adapted to (the sum's constant term is the master secret whatever
the others add), so dealings go out at once, without hashes. t(source) of them are enough: combined with Lagrange's coefficients
they are a fresh sharing of the same secret among the recipients, with the recipients' threshold.

If a higher settled version turns up during a session, a second exchange from it begins beside the first (protocols/ceremony).
"""

from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.crypto.shamir import Polynomial
from eigenkms.protocols.dealing import Dealing, WrongConstantError, check_dealing, decode_dealing, reshare
from eigenkms.protocols.effects import Effect, Note
from eigenkms.protocols.evidence import Fault
from eigenkms.protocols.exchange import Exchange
from eigenkms.protocols.frames import Frame
from eigenkms.protocols.transcript import Transcript
from eigenkms.protocols.voice import Voice
from eigenkms.types import OperatorAddress


class Resharing(Exchange):
    """The exchange of a rotation session from one source; ``share`` is mine of the source, if I hold one."""

    def __init__(
        self,
        voice: Voice,
        rng: Rng,
        opened_at: float,
        source: Transcript,
        share: SecretScalar | None,
    ) -> None:
        super().__init__(voice, rng, opened_at, source)
        self._source = source
        self._share = share

    def forget_secrets(self) -> None:
        self._share = None
        super().forget_secrets()

    @property
    def dealers(self) -> frozenset[OperatorAddress]:
        return frozenset(self._source.recipients.addresses)

    @property
    def dealers_needed(self) -> int:
        return self._source.threshold

    @property
    def missing(self) -> tuple[OperatorAddress, ...]:
        return tuple(sorted(self.dealers - self._dealings.keys()))

    def _deal(self, now: float) -> list[Effect]:
        del now
        if self.has_dealt:
            return []
        journal: list[Effect] = []
        if self._own is None:
            if self._share is None:
                return []
            polynomial = Polynomial.random(self.session.threshold, self._rng, self._share)
            journal = [self._keep(polynomial, reshare(self.session, self.me, polynomial, self._source))]
        return [*journal, *self._publish(), Note("dealing published", {"source": self.source_version})]

    def _may_deal(self, operator: OperatorAddress) -> bool:
        return operator in self.dealers

    def _may_check(self, dealer: OperatorAddress) -> bool:
        return self._may_deal(dealer)

    def _check(self, dealer: OperatorAddress, encoded: bytes) -> Dealing:
        dealing = decode_dealing(encoded)
        check_dealing(dealing, self.session, dealer, self._source)
        return dealing

    def _accuse_of_dealing(self, dealer: OperatorAddress, carrier: Frame, error: Exception) -> list[Effect]:
        wrong = isinstance(error, WrongConstantError)
        return self._accuse(Fault.WRONG_CONSTANT if wrong else Fault.BAD_DEALING, dealer, carrier)
