"""The key versions a node serves: epochs with their shares, newest last, as stored and as held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.settlement import SettlementProof, decode_settlement_proof
from eigenkms.protocols.transcript import decode_transcript
from eigenkms.protocols.votes import decode_certificate
from eigenkms.storage.store import Store, VersionRow


@dataclass(frozen=True)
class HeldVersion:
    """``share`` is absent if this operator holds none of this version."""

    epoch: Epoch
    share: SecretScalar | None = field(repr=False)
    settled: bool = False
    proof: SettlementProof | None = None


class Versions:
    """Reads what the store has, adds to both. Blocking: call ``add``, ``settle`` and ``erase`` in a worker thread, one at a time;
    what is held in memory is replaced and never changed, so that others may read it meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[bytes, HeldVersion] = {}
        for row in (row for row in store.versions() if not row.erased):
            epoch = _epoch_of(row)
            share = store.share(row.transcript_hash)
            self._held[row.transcript_hash] = HeldVersion(
                epoch,
                None if share is None else SecretScalar.from_bytes(share),
                row.settled,
                None if row.proof is None else decode_settlement_proof(row.proof),
            )

    def __len__(self) -> int:
        return len(self._held)

    @property
    def newest(self) -> HeldVersion | None:
        return max(self._held.values(), key=lambda held: held.epoch.transcript.version, default=None)

    @property
    def newest_settled(self) -> HeldVersion | None:
        settled = (held for held in self._held.values() if held.settled)
        return max(settled, key=lambda held: held.epoch.transcript.version, default=None)

    def __iter__(self) -> Iterator[HeldVersion]:
        return iter(sorted(self._held.values(), key=lambda held: held.epoch.transcript.version))

    def get(self, transcript_hash: bytes) -> HeldVersion | None:
        return self._held.get(transcript_hash)

    def epoch(self, transcript_hash: bytes) -> Epoch | None:
        """The version with its certificate, also where my share of it was erased. Blocking."""
        held = self._held.get(transcript_hash)
        if held is not None:
            return held.epoch
        rows = (row for row in self._store.versions() if row.transcript_hash == transcript_hash)
        return next((_epoch_of(row) for row in rows), None)

    def add(self, epoch: Epoch, share: SecretScalar | None) -> None:
        """Durable when it returns. A genesis is settled when it is certified (docs/protocol.md, Settled)."""
        transcript = epoch.transcript
        settled = transcript.source_version == 0
        row = VersionRow(
            transcript.version,
            transcript.session,
            transcript.hash,
            transcript.encoded,
            epoch.certificate.encoded,
            settled=settled,
        )
        self._store.add_version(row, None if share is None else share.to_bytes())
        known = self._held.get(transcript.hash)
        if known is None:
            self._keep(HeldVersion(epoch, share, settled))
        elif known.share is None:
            self._keep(replace(known, share=share))

    def settle(self, epoch: Epoch, proof: SettlementProof | None) -> None:
        """Durable when it returns: ``epoch`` may be the source of the next rotation, and older versions may go."""
        transcript = epoch.transcript
        self.add(epoch, None)
        if proof is not None:
            self._store.set_settled(transcript.hash, proof.encoded)
            self._keep(replace(self._held[transcript.hash], settled=True, proof=proof))

    def erase(self, transcript_hash: bytes) -> None:
        """My share of a version is gone for good when it returns, and the version is served no more."""
        self._store.erase_share(transcript_hash)
        self._held = {name: held for name, held in self._held.items() if name != transcript_hash}

    def _keep(self, held: HeldVersion) -> None:
        self._held = {**self._held, held.epoch.transcript.hash: held}


def _epoch_of(row: VersionRow) -> Epoch:
    return Epoch(decode_transcript(row.transcript), decode_certificate(row.certificate))
