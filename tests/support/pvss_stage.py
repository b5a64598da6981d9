"""A session with recipients and a dealer, for the tests of publicly verifiable dealings."""

from dataclasses import dataclass, replace
from functools import cache

from eigenkms.crypto import backends
from eigenkms.crypto.hashing import keccak256
from eigenkms.crypto.pvss import (
    DealingClaim,
    DealingContext,
    EncryptedShares,
    EncryptionKey,
    LogarithmTable,
    Recipients,
    ShareRecipient,
    deal,
)
from eigenkms.crypto.shamir import Polynomial
from eigenkms.types import ClusterId, OperatorAddress, SessionId
from tests.crypto.support import counter_rng
from tests.support.pvss_reference import Encrypted, Statement

CLUSTER = ClusterId(keccak256(b"cluster"))
SESSION = SessionId(keccak256(b"session"))


def address(i: int) -> OperatorAddress:
    return OperatorAddress(keccak256(b"operator %d" % i)[:20])


@dataclass(frozen=True, eq=False)
class Stage:
    """n recipients and their keys, and the polynomial of the first of them as dealer."""

    context: DealingContext
    keys: tuple[EncryptionKey, ...]
    recipients: Recipients
    polynomial: Polynomial

    @property
    def threshold(self) -> int:
        return self.polynomial.threshold

    def dealt(self, seed: str = "dealer") -> DealingClaim:
        """An honest dealing, made once for each seed."""
        return _dealt(self, seed)

    def claim(self, part: Encrypted, commitments: tuple[bytes, ...] | None = None) -> DealingClaim:
        """A dealing put together elsewhere."""
        encrypted = EncryptedShares.decode(part.join(), len(self.recipients))
        return DealingClaim(self.context, commitments or self.polynomial.commitments(), encrypted, None)

    def of_dealer(self, i: int) -> "Stage":
        """The same recipients, another dealer and polynomial."""
        polynomial = Polynomial.random(self.threshold, counter_rng(f"polynomial {i}"))
        return replace(self, context=replace(self.context, dealer=address(i)), polynomial=polynomial)

    @property
    def statement(self) -> Statement:
        """The same for the second implementation."""
        context = self.context
        members = tuple((m.address, m.key) for m in self.recipients.members)
        commitments = self.polynomial.commitments()
        return Statement(
            context.cluster, context.session, context.dealer, context.source, members, commitments
        )

    @property
    def shares(self) -> list[int]:
        return [self.polynomial.evaluate(x).value for x in self.recipients.xs]


def stage(n: int, threshold: int, source: bytes = b"") -> Stage:
    """On the backend in use."""
    return _stage(n, threshold, source, backends.bls12381().name)


@cache
def _stage(n: int, threshold: int, source: bytes, _backend: str) -> Stage:
    keys = tuple(EncryptionKey.generate(counter_rng(f"key {i}")) for i in range(n))
    members = [ShareRecipient(address(i), key.public) for i, key in enumerate(keys)]
    context = DealingContext(CLUSTER, SESSION, address(0), source)
    return Stage(context, keys, Recipients(members), Polynomial.random(threshold, counter_rng("polynomial")))


@cache
def _dealt(case: Stage, seed: str) -> DealingClaim:
    encrypted = deal(case.context, case.polynomial, case.recipients, counter_rng(seed))
    commitments = case.polynomial.commitments()
    return DealingClaim(case.context, commitments, encrypted, commitments[0])


def table() -> LogarithmTable:
    """The table of the backend in use, made once."""
    return _table(backends.bls12381().name)


@cache
def _table(_backend: str) -> LogarithmTable:
    return LogarithmTable()
