"""The key versions a node serves: epochs with their shares, newest last, as stored and as held in memory."""

from dataclasses import dataclass, field

from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.requests import Epoch
from eigenkms.protocols.transcript import decode_transcript
from eigenkms.protocols.votes import decode_certificate
from eigenkms.storage.store import Store, VersionRow


@dataclass(frozen=True)
class HeldVersion:
    """``share`` is absent if this operator holds none of this version."""

    epoch: Epoch
    share: SecretScalar | None = field(repr=False)


class Versions:
    """Reads what the store has, adds to both. Blocking: call ``add`` in a worker thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[bytes, HeldVersion] = {}
        for row in store.versions():
            epoch = Epoch(decode_transcript(row.transcript), decode_certificate(row.certificate))
            share = store.share(row.transcript_hash)
            self._held[row.transcript_hash] = HeldVersion(
                epoch, None if share is None else SecretScalar.from_bytes(share)
            )

    def __len__(self) -> int:
        return len(self._held)

    @property
    def newest(self) -> HeldVersion | None:
        return max(self._held.values(), key=lambda held: held.epoch.transcript.version, default=None)

    def get(self, transcript_hash: bytes) -> HeldVersion | None:
        return self._held.get(transcript_hash)

    def add(self, epoch: Epoch, share: SecretScalar | None) -> None:
        """Durable when it returns. A genesis is settled when it is certified (docs/protocol.md, Settled)."""
        transcript = epoch.transcript
        row = VersionRow(
            transcript.version,
            transcript.session,
            transcript.hash,
            transcript.encoded,
            epoch.certificate.encoded,
            settled=transcript.source_version == 0,
        )
        self._store.add_version(row, None if share is None else share.to_bytes())
        known = self._held.get(transcript.hash)
        if known is None or known.share is None:
            self._held[transcript.hash] = HeldVersion(epoch, share)
