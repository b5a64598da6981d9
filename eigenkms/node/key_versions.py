"""The key versions of a node, as stored and as held in memory.

Two kinds are held. A *certified* version is served. One that is only *prepared* may have been certified without this node's
knowledge, so sessions deal from it, but no client sees it.

A version of protocol 1 that this node did not know to be settled is neither. It may be the newest one of the others, or too few may
hold it to deal from it. Its share is kept until others prove that it was settled, or a higher version is certified.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.storage.store import Store, VersionRow
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.settlement_proof import SettlementProof, decode_settlement_proof
from eigenkms.wire.transcript import decode_transcript
from eigenkms.wire.votes import Phase, decode_certificate


@dataclass(frozen=True)
class HeldVersion:
    """``share`` is absent if this operator holds none of this version."""

    epoch: CertifiedTranscript
    share: SecretScalar | None = field(repr=False)
    proof: SettlementProof | None = None
    """Of a version of protocol 1."""

    @property
    def is_certified(self) -> bool:
        return self.epoch.certificate.phase is Phase.COMMIT


class Versions:
    """The versions of a store, also in memory.

    ``add``, ``hold`` and ``erase`` block: call them in a worker thread, one at a time. The versions in memory are replaced and
    never changed, so others may read them at any time. Iteration and length are of certified versions.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[bytes, HeldVersion] = {}
        self._unsettled: dict[bytes, HeldVersion] = {}
        """Of protocol 1."""
        for row in (row for row in store.versions() if not row.erased):
            share = store.share(row.transcript_hash)
            held = HeldVersion(
                _epoch_of(row),
                None if share is None else SecretScalar.from_bytes(share),
                None if row.proof is None else decode_settlement_proof(row.proof),
            )
            kept = self._held if row.settled or row.prepared else self._unsettled
            kept[row.transcript_hash] = held
        if self.newest is not None:
            self._erase_unsettled(
                self.newest.epoch.transcript.version
            )  # an earlier life may have died before

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[HeldVersion]:
        return (held for held in self.known() if held.is_certified)

    def known(self) -> tuple[HeldVersion, ...]:
        """Certified and prepared versions, ascending."""
        return tuple(sorted(self._held.values(), key=lambda held: held.epoch.transcript.version))

    @property
    def newest(self) -> HeldVersion | None:
        """The highest certified version."""
        return max(self, key=lambda held: held.epoch.transcript.version, default=None)

    def get(self, transcript_hash: bytes) -> HeldVersion | None:
        """Return a certified version, or None."""
        held = self._held.get(transcript_hash)
        return None if held is None or not held.is_certified else held

    def epoch(self, transcript_hash: bytes) -> CertifiedTranscript | None:
        """Return a version with its certificate, or None. Blocking.

        It may be prepared only, and its share may be erased.
        """
        held = self._held.get(transcript_hash)
        if held is not None:
            return held.epoch
        rows = (row for row in self._store.versions() if row.transcript_hash == transcript_hash)
        return next((_epoch_of(row) for row in rows), None)

    def add(self, epoch: CertifiedTranscript, proof: SettlementProof | None = None) -> None:
        """Add a version, or a newer certificate of one. It is durable when it returns.

        The version is certified or prepared. ``proof`` is needed for a version of protocol 1.
        """
        transcript, certificate = epoch.transcript, epoch.certificate
        is_certified = certificate.phase is Phase.COMMIT
        row = VersionRow(
            transcript.version,
            transcript.session,
            transcript.hash,
            transcript.encoded,
            certificate.encoded,
            settled=is_certified and proof is None,  # with a proof, it is settled once that is there
            prepared=not is_certified,
        )
        self._store.add_version(row, None)
        known = self._held.get(transcript.hash) or self._unsettled.pop(transcript.hash, None)
        if proof is not None:
            self._store.set_settled(transcript.hash, proof.encoded)
        if known is None or not known.is_certified or proof is not None:
            self._keep(HeldVersion(epoch, None if known is None else known.share, proof))
        if is_certified:
            self._erase_unsettled(transcript.version)

    def hold(self, transcript_hash: bytes, share: SecretScalar) -> None:
        """Add this operator's share of a version. It is durable when it returns."""
        self._store.add_share(transcript_hash, share.to_bytes())
        self._keep(replace(self._held[transcript_hash], share=share))

    def erase(self, transcript_hash: bytes) -> None:
        """Erase this operator's share of a version, which is not served any more then."""
        self._store.erase_share(transcript_hash)
        self._held = {name: held for name, held in self._held.items() if name != transcript_hash}

    def share_of(self, transcript_hash: bytes) -> SecretScalar | None:
        """Return this operator's share of a version, settled or not."""
        held = self._held.get(transcript_hash) or self._unsettled.get(transcript_hash)
        return None if held is None else held.share

    def _erase_unsettled(self, version: int) -> None:
        """Erase versions of protocol 1 that are not above a certified version."""
        past = {name for name, held in self._unsettled.items() if held.epoch.transcript.version <= version}
        for name in past:
            self._store.erase_share(name)
        self._unsettled = {name: held for name, held in self._unsettled.items() if name not in past}

    def _keep(self, held: HeldVersion) -> None:
        self._held = {**self._held, held.epoch.transcript.hash: held}


def _epoch_of(row: VersionRow) -> CertifiedTranscript:
    return CertifiedTranscript(decode_transcript(row.transcript), decode_certificate(row.certificate))
