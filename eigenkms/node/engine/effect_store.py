"""The durable effects of a step: keys, versions, journals, evidence, erasures.

The order of a step's durable effects. Keys and versions come first, as journals refer to them. Then come the journals, and then the
erasures that follow from them. So a crash in between leaves something twice or too long, and never a promise without its ground.
"""

import logging
from collections.abc import Mapping, Sequence

import trio

from eigenkms.node import log_fields
from eigenkms.node.key_versions import Versions
from eigenkms.protocols.ceremony.effects import (
    DropJournal,
    EraseJournalSecrets,
    EraseKeys,
    EraseShare,
    KeepKey,
    KeepShare,
    Persist,
    ReportFault,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.participant import SessionEffect
from eigenkms.protocols.records.evidence import Evidence
from eigenkms.protocols.records.evidence_bundle import Bundle
from eigenkms.storage.store import Record, Store
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.certified_transcript import CertifiedTranscript
from eigenkms.wire.client_rpc import MAX_PAGE_BYTES, EvidencePage
from eigenkms.wire.session import Session

log = logging.getLogger(__name__)


class EffectStore:
    """Writes effects into the store and the versions.

    All methods but ``evidence_page`` block on the disk.
    """

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store = store
        self._versions = versions
        self._reading = trio.CapacityLimiter(1)
        self.accused: Mapping[OperatorAddress, int] = store.accused()
        """Pieces of evidence that the store holds, by the accused operator; replaced, never changed."""

    def make_durable(self, effects: Sequence[SessionEffect]) -> None:
        """Write everything that must outlive a crash.

        Nothing of the step is sent before. Raises ``StorageError``.
        """
        for item in effects:
            self._keep(item)
        self._append_journals(effects)
        for item in effects:
            self._erase(item)
        for item in effects:
            if isinstance(item.effect, ReportFault) and item.session is not None:
                self._keep_evidence(item.session, item.effect.evidence)

    def _keep(self, item: SessionEffect) -> None:
        """Write keys, versions and shares, in the order of the step."""
        match item.effect:
            case KeepKey(number, key):
                self._store.keep_key(number, key.secret.to_bytes())
            case StorePreparedVersion(transcript, certificate) | StoreCertifiedVersion(
                transcript, certificate
            ):
                self._versions.add(CertifiedTranscript(transcript, certificate))
            case KeepShare(transcript_hash, share):
                self._versions.hold(transcript_hash, share)

    def _append_journals(self, effects: Sequence[SessionEffect]) -> None:
        """Append the records of each session in one write."""
        journals: dict[SessionId, list[Record]] = {}
        for item in effects:
            if isinstance(item.effect, Persist) and item.session is not None:
                record = item.effect.record
                journals.setdefault(item.session.id, []).append(
                    Record(record.kind, record.body, record.secret)
                )
        for session_id, records in journals.items():
            self._store.append(session_id, records)

    def _erase(self, item: SessionEffect) -> None:
        """Erase shares, keys and journals, in the order of the step."""
        match item.effect:
            case EraseShare(transcript_hash):
                self._erase_share(transcript_hash)
            case EraseKeys(numbers):
                self._store.erase_keys(numbers)
            case EraseJournalSecrets(session):
                self._store.destroy_secrets(session)
            case DropJournal(session):
                self._store.drop_session(session)

    def _erase_share(self, transcript_hash: bytes) -> None:
        epoch, erased = self._versions.epoch(transcript_hash), transcript_hash.hex()[:16]
        self._versions.erase(transcript_hash)
        session = None if epoch is None else epoch.transcript.session
        extra = log_fields.session_fields(session, "erased", transcript=erased)
        log.info("version with transcript %s: my share is erased", erased, extra=extra)

    def _keep_evidence(self, session: Session, evidence: Evidence) -> None:
        """Keep evidence together with its session, as it outlives the session's journal."""
        accused, bundle = evidence.accused, Bundle(session, evidence).encoded
        if self._store.add_evidence(evidence.fault.value, accused, evidence.session, bundle):
            self.accused = {**self.accused, accused: self.accused.get(accused, 0) + 1}

    async def evidence_page(self, after: int) -> EvidencePage:
        """Return evidence against others, with ids above ``after``."""
        rows, more = await trio.to_thread.run_sync(
            self._store.evidence_page, after, MAX_PAGE_BYTES, limiter=self._reading
        )
        return EvidencePage(tuple((row.id, row.bundle) for row in rows), more)
