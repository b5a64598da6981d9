"""What a dealing must be in its session, as far as signed bytes say it: the same for all operators, and for who judges it later.

A dealer signs a header; the header, the session and the source decide to whom it is dealt, under which keys, and what the proof in
the body has to show. Nothing here depends on what an operator has received, nor on time. So a header that breaks the terms convicts
its dealer (protocols/records/evidence), and what a correct dealer signs breaks them nowhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from eigenkms.crypto import pvss
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.dealing import BadDealingError, claim_of
from eigenkms.wire.dealing_header import DealingHeader
from eigenkms.wire.messages import SourceRef, ref_of
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import ListedKey, Transcript

KeyReader: TypeAlias = Callable[[bytes], tuple[OperatorAddress, ListedKey]]
"""Whose key an encoded KEY frame publishes; ``RemoteProtocolError`` if it does not verify (``KeyDirectory.read``)."""


@dataclass(frozen=True)
class DealingTerms:
    """Those of the dealings in ``session`` from ``source``, which is ``None`` at genesis."""

    session: Session
    source: Transcript | None

    @cached_property
    def ref(self) -> SourceRef:
        return ref_of(self.source)

    @property
    def dealers(self) -> frozenset[OperatorAddress]:
        """Who may deal."""
        members = self.session.recipients if self.source is None else self.source.recipients
        return frozenset(members.addresses)

    @property
    def served_needed(self) -> int:
        """Recipients that a dealing must serve: those that it does not count among the fewer than n/3 that may be lost."""
        n = self.session.n
        return n - (n + 2) // 3 + 1

    @property
    def newcomers(self) -> tuple[OperatorAddress, ...]:
        """Recipients whose key the source does not list."""
        return tuple(a for a in self.session.recipients.addresses if self.listed(a) is None)

    def listed(self, recipient: OperatorAddress) -> ListedKey | None:
        """Return the key that the source lists."""
        return None if self.source is None else self.source.key_of(recipient)

    def constant(self, dealer: OperatorAddress) -> bytes | None:
        """Return what the first commitment must be.

        In a rotation it is the dealer's public share of the source.
        """
        return None if self.source is None else self.source.public_share(dealer)

    def check(
        self, header: DealingHeader, dealer: OperatorAddress, read_key: KeyReader
    ) -> tuple[pvss.ShareRecipient, ...]:
        """Return the recipients that a header serves, in order, with their keys.

        Raises ``RemoteProtocolError`` for one that breaks the terms. The proof, and whether each commitment is a point, are left to
        the verifier of ``claim``. CPU: a pairing for each newcomer whose frame ``read_key`` has not read before.
        """
        name = f"check dealing of {to_hex(dealer)}"
        named = SourceRef(header.source_version, header.source_hash)
        if (header.session, header.dealer, named) != (self.session.id, dealer, self.ref):
            raise BadDealingError(f"{name}: it is for another session, dealer or source")
        if len(header.commitments) != self.session.threshold:
            raise BadDealingError(
                f"{name}: {len(header.commitments)} commitments, not the threshold {self.session.threshold}"
            )
        if self.constant(dealer) not in (None, header.commitments[0]):
            raise BadDealingError(f"{name}: its constant term is not the dealer's share of the source")
        return self._read_recipients(header, name, read_key)

    def _read_recipients(
        self, header: DealingHeader, name: str, read_key: KeyReader
    ) -> tuple[pvss.ShareRecipient, ...]:
        newcomers: dict[OperatorAddress, ListedKey] = {}
        previous = b""
        for encoded in header.newcomers:
            address, key = read_key(encoded)
            if address <= previous or self.listed(address) is not None:
                raise BadDealingError(f"{name}: newcomers are not ascending, or the source lists one")
            previous, newcomers[address] = address, key
        found = ((a, self.listed(a) or newcomers.get(a)) for a in self.session.recipients.addresses)
        recipients = tuple(pvss.ShareRecipient(a, key.public) for a, key in found if key is not None)
        if header.key_numbers != self.numbers(recipients):
            raise BadDealingError(f"{name}: it names other encryption keys than those of its recipients")
        if len(recipients) < self.served_needed:
            raise BadDealingError(f"{name}: it serves {len(recipients)} of {self.session.n} recipients")
        return recipients

    def numbers(self, recipients: Sequence[pvss.ShareRecipient]) -> tuple[int | None, ...]:
        """Return the number of each member's key, as a header states it: the source's, or that of this session for a newcomer."""
        served, published = {r.address for r in recipients}, self.session.boundary.number
        listed = ((a, self.listed(a)) for a in self.session.recipients.addresses)
        return tuple(
            None if a not in served else published if key is None else key.number for a, key in listed
        )

    def claim(self, header: DealingHeader, encrypted: pvss.EncryptedShares) -> pvss.DealingClaim:
        """Return what the proof of a dealing must show whose header keeps the terms."""
        return claim_of(header, encrypted, self.session.cluster, self.constant(header.dealer))
