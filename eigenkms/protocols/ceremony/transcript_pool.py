"""The transcripts and certificates that agreement of one session knows, each verified once.

A transcript is kept if this session can make it and it is consistent in itself; certificates are kept if they verify: the prepare
certificate of the highest view, and the first commit certificate whose transcript is known, which is the decision.
"""

from collections.abc import Collection, Iterator

from eigenkms.errors import VerificationError
from eigenkms.protocols.ceremony.effects import Effect, JournalRecord, Persist
from eigenkms.protocols.ceremony.proposals import Decision
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.messages import GENESIS_SOURCE, Proposal, source_of
from eigenkms.wire.session import Session
from eigenkms.wire.transcript import (
    Transcript,
    check_self_consistent,
    decode_transcript,
    hash_transcript,
)
from eigenkms.wire.votes import (
    VOID_HASH,
    BadCertificateError,
    Certificate,
    Phase,
    check_certificate,
)

MAX_VERIFIED = 1024
"""Certificates of which it is remembered whether they are good; beyond, they are verified anew."""


class TranscriptPool:
    """Those of one session.

    ``mpk`` is the master key that a rotation keeps (``None``: genesis).
    """

    def __init__(self, session: Session, mpk: bytes | None) -> None:
        self._session = session
        self._mpk = mpk
        self.highest: Certificate | None = None
        """The prepare certificate of the highest view."""
        self.decision: Decision | None = None
        self._journaled_decision: Certificate | None = None
        self._transcripts: dict[bytes, Transcript] = {}
        self._verified: dict[bytes, bool] = {}
        self._durable: set[bytes] = set()

    def __iter__(self) -> Iterator[bytes]:
        """Return the hashes of the transcripts."""
        return iter(self._transcripts)

    def __contains__(self, transcript_hash: bytes) -> bool:
        return transcript_hash in self._transcripts

    def __len__(self) -> int:
        return len(self._transcripts)

    def get(self, transcript_hash: bytes) -> Transcript | None:
        return self._transcripts.get(transcript_hash)

    def find(self, proposal: Proposal) -> Transcript | None:
        """Return the proposal's transcript if it is a valid one that is known, from the source that the proposal names."""
        for transcript in self._transcripts.values():
            if transcript.encoded == proposal.transcript and source_of(transcript) == proposal.source:
                return transcript
        return None

    @property
    def verified_count(self) -> int:
        """The number of certificates of which it is remembered whether they are good."""
        return len(self._verified)

    @property
    def is_genesis(self) -> bool:
        return self._mpk is None

    @property
    def prepared(self) -> tuple[Transcript, Certificate] | None:
        """The transcript with the highest prepare certificate, unless it is ∅ or unknown."""
        highest = self.highest
        transcript = None if highest is None else self._transcripts.get(highest.hash)
        return None if transcript is None or highest is None else (transcript, highest)

    # -- taking in ---------------------------------------------------------------------------------------------

    def add(self, encoded: bytes) -> None:
        """Keep a transcript that this session can make and that is consistent in itself.

        Ignore any other.
        """
        session = self._session
        if hash_transcript(encoded) in self._transcripts:
            return
        ours = (session.cluster, session.id, session.boundary, session.recipients)
        try:
            found = decode_transcript(encoded)
            if (found.cluster, found.session, found.boundary, found.recipients) != ours:
                return
            if self._is_of_this_kind(found):
                check_self_consistent(found)
                self._transcripts[found.hash] = found
        except (MalformedError, VerificationError):
            return

    def _is_of_this_kind(self, transcript: Transcript) -> bool:
        """Return whether a genesis names no source, and a rotation names one and keeps the master key. Both list keys."""
        if not transcript.keys:
            return False
        if self._mpk is None:
            return transcript.source_version == GENESIS_SOURCE
        return transcript.source_version != GENESIS_SOURCE and transcript.mpk == self._mpk

    def add_certificate(self, certificate: Certificate | None) -> None:
        """Keep a certificate that verifies: the highest prepare, or the decision."""
        if certificate is None or not self.is_valid(certificate):
            return
        if certificate.phase is Phase.COMMIT:
            self._decide(certificate)
        elif self.highest is None or certificate.view > self.highest.view:
            self.highest = certificate

    def is_valid(self, certificate: Certificate) -> bool:
        """Return whether a certificate verifies.

        CPU: a pairing, once. A bad one is remembered too: each step of a view checks the proposal that it justifies.
        """
        known = self._verified.get(certificate.encoded)
        if known is None:
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            known = self._verified[certificate.encoded] = self._verifies(certificate)
        return known

    def _verifies(self, certificate: Certificate) -> bool:
        try:
            check_certificate(certificate, self._session)
        except BadCertificateError:
            return False
        return True

    def _decide(self, certificate: Certificate) -> None:
        transcript = self._transcripts.get(certificate.hash)
        void = certificate.hash == VOID_HASH and self._mpk is None
        if self.decision is None and (transcript is not None or void):
            self.decision = Decision(certificate, transcript)

    def prune(self, proposed: Collection[bytes | None], lock: Certificate | None) -> None:
        """Drop transcripts that are not proposed, durable, prepared or locked."""
        needed = self._durable | {c.hash for c in (self.highest, lock) if c is not None}
        self._transcripts = {
            h: t for h, t in self._transcripts.items() if h in needed or t.encoded in proposed
        }

    # -- the journal -------------------------------------------------------------------------------------------

    def note_restored(self) -> None:
        """Note that all transcripts that are known now came from the journal."""
        self._durable = set(self._transcripts)

    def restore_decision(self, certificate: Certificate) -> None:
        """Take back the certificate that the journal holds; its transcript is here."""
        self._journaled_decision = certificate
        self.add_certificate(certificate)

    @property
    def is_decision_restored(self) -> bool:
        """Whether the journal of an earlier run holds the decision."""
        return self._journaled_decision is not None

    def journal(self, transcript: Transcript) -> list[Effect]:
        """Make a transcript durable, once."""
        if transcript.hash in self._durable:
            return []
        self._durable.add(transcript.hash)
        return [Persist(JournalRecord("transcript", transcript.encoded))]

    def journal_decision(self, decision: Decision) -> list[Effect]:
        """Make the decision durable, unless it was in an earlier run."""
        if self.is_decision_restored:
            return []
        transcript = decision.transcript
        journal = [] if transcript is None else self.journal(transcript)
        return [*journal, Persist(JournalRecord("certificate", decision.certificate.encoded))]
