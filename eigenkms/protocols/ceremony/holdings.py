"""The holdings of one operator across sessions: versions, shares, encryption keys.

*Versions.* One is known to be certified, or prepared. The *head* is the highest of both: what the next rotation deals from. A
version that is not above the highest certified one is of the past and is not taken in again.

*Shares.* Those of the head and of the highest certified version are decrypted from rows of their dealings (``recovery``).

*Erasure.* At a certificate everything older goes: shares at once, keys once nothing can need them (``keys``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from eigenkms.crypto import pvss
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.ceremony.context import SourceVersion
from eigenkms.protocols.ceremony.dealing_pool import KnownDealing
from eigenkms.protocols.ceremony.effects import (
    Effect,
    EraseKeys,
    EraseShare,
    KeepShare,
    LogEvent,
    RunJob,
    StoreCertifiedVersion,
    StorePreparedVersion,
)
from eigenkms.protocols.ceremony.jobs import OpenResult
from eigenkms.protocols.ceremony.keys import needed_numbers
from eigenkms.protocols.ceremony.recovery import Recovery
from eigenkms.types import OperatorAddress
from eigenkms.wire.dealing import DealingRow
from eigenkms.wire.transcript import Transcript
from eigenkms.wire.votes import Certificate, Phase

NOT_OPENED = "share not opened"
"""The event of rows that are the certified ones and yield no share: a defect."""


@dataclass(frozen=True)
class KnownVersion:
    """A version that is certified or prepared, and this operator's share, if any."""

    transcript: Transcript
    certificate: Certificate
    share: SecretScalar | None = field(repr=False, default=None)

    @property
    def is_certified(self) -> bool:
        return self.certificate.phase is Phase.COMMIT

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Which of two versions is dealt from: the higher one.

        Of one session, the certified one, or that prepared in a later view.

        Once a transcript is certified in a view, no other one is prepared in that view or a later one.
        """
        return (int(self.transcript.version), self.is_certified, self.certificate.view)

    @property
    def source(self) -> SourceVersion:
        """The version as a source of a session."""
        return SourceVersion(self.transcript, self.share)


class Holdings:
    """The holdings of operator ``me``."""

    def __init__(self, me: OperatorAddress) -> None:
        self._me = me
        self._versions: dict[bytes, KnownVersion] = {}
        self._keys: dict[int, pvss.EncryptionKey] = {}
        self._recoveries: dict[bytes, Recovery] = {}

    # -- versions ----------------------------------------------------------------------------------------------

    def load_version(self, version: KnownVersion) -> None:
        """Take back a version of an earlier run."""
        self._versions[version.transcript.hash] = version

    @property
    def versions(self) -> tuple[KnownVersion, ...]:
        """By rank, ascending."""
        return tuple(sorted(self._versions.values(), key=lambda known: known.rank))

    def __len__(self) -> int:
        return len(self._versions)

    def version(self, transcript_hash: bytes) -> KnownVersion | None:
        return self._versions.get(transcript_hash)

    @property
    def head(self) -> KnownVersion | None:
        """The highest version that is certified or prepared."""
        return max(self.versions, key=lambda known: known.rank, default=None)

    @property
    def certified(self) -> KnownVersion | None:
        """The highest certified version."""
        found = [known for known in self.versions if known.is_certified]
        return found[-1] if found else None

    def can_adopt(self, transcript: Transcript) -> bool:
        """Return whether a version is none of the past and has the known master key.

        A cluster has one.
        """
        mpks = {known.transcript.mpk for known in self._versions.values()}
        return mpks <= {transcript.mpk} and not self._is_superseded(transcript)

    def adopt(self, told: StoreCertifiedVersion | StorePreparedVersion) -> bool:
        """Take a version in; return whether it is news, and not of the past."""
        transcript = told.transcript
        if not self.can_adopt(transcript):
            return False
        known = self._versions.get(transcript.hash)
        if known is None:
            self._versions[transcript.hash] = KnownVersion(transcript, told.certificate)
            return True
        better = replace(known, certificate=told.certificate)
        if known.is_certified or better.rank <= known.rank:
            return False
        self._versions[transcript.hash] = better
        return True

    def _is_superseded(self, transcript: Transcript) -> bool:
        """Return whether a certified version took its place.

        It is higher, or its session made it instead.

        Block numbers count, too: the operators of an early block, who may have been few, sign any time that they like.
        """
        certified = self.certified
        if certified is None or transcript.hash == certified.transcript.hash:
            return False
        known = certified.transcript
        return transcript.version <= known.version or transcript.boundary.number <= known.boundary.number

    # -- shares ------------------------------------------------------------------------------------------------

    def share_of(self, transcript: Transcript) -> SecretScalar | None:
        """Return this operator's share of a version, ``None`` if it has none."""
        known = self._versions.get(transcript.hash)
        return None if known is None else known.share

    def add_share(self, transcript: Transcript, share: SecretScalar) -> None:
        """Take this operator's share of a known version, unless it is here."""
        known = self._versions[transcript.hash]
        if known.share is None:
            self._versions[transcript.hash] = replace(known, share=share)

    def recover(self, find: Callable[[Transcript, bytes], KnownDealing | None]) -> list[Effect]:
        """Decrypt the shares of the head and of the highest certified version.

        ``find`` gives a dealing that is here, by the transcript that names it and its name.
        """
        wanted = {
            known.transcript.hash: known.transcript
            for known in (self.head, self.certified)
            if known is not None and known.share is None and self._me in known.transcript.recipients.addresses
        }
        self._recoveries = {
            digest: self._recoveries.get(digest) or Recovery(transcript, self._me)
            for digest, transcript in wanted.items()
            if transcript.keys
        }
        effects: list[Effect] = []
        for recovery in self._recoveries.values():
            for name in recovery.wanted:
                dealing = find(recovery.transcript, name)
                if dealing is not None and dealing.encrypted is not None:
                    recovery.add_dealing(dealing.header, dealing.encrypted)
            job = recovery.job(self._keys)
            if job is not None:
                effects.append(RunJob(job))
        return effects

    @property
    def wanted_rows(self) -> tuple[bytes, ...]:
        """Names of dealings of which this operator's row is lacking."""
        return tuple(name for recovery in self._recoveries.values() for name in recovery.wanted)

    def take_row(self, name: bytes, row: DealingRow) -> None:
        """Take a row that was wanted. Raises ``RemoteProtocolError`` for other bytes."""
        for recovery in self._recoveries.values():
            recovery.add_row(name, row)

    def is_obtaining(self, transcript_hash: bytes) -> bool:
        """Return whether the share of a version is being fetched or decrypted."""
        recovery = self._recoveries.get(transcript_hash)
        return recovery is not None and recovery.is_possible(self._keys)

    @property
    def is_obtaining_a_share(self) -> bool:
        """Whether a share of any version is on its way."""
        return any(recovery.is_possible(self._keys) for recovery in self._recoveries.values())

    def take_opened(self, result: OpenResult) -> list[Effect]:
        """Take a decrypted share, unless its version is of the past or it is here."""
        known = self._versions.get(result.version)
        if known is None or known.share is not None:
            return []
        number = int(known.transcript.version)
        if result.share is None:
            if (recovery := self._recoveries.get(result.version)) is not None:
                recovery.mark_failed()
            return [LogEvent(NOT_OPENED, {"version": number})]
        self._versions[result.version] = replace(known, share=result.share)
        return [KeepShare(result.version, result.share), LogEvent("share held", {"version": number})]

    # -- encryption keys ---------------------------------------------------------------------------------------

    def add_key(self, number: int, key: pvss.EncryptionKey) -> None:
        self._keys[number] = key

    def key(self, number: int) -> pvss.EncryptionKey | None:
        return self._keys.get(number)

    @property
    def key_numbers(self) -> frozenset[int]:
        """Of those that I hold."""
        return frozenset(self._keys)

    # -- erasure -----------------------------------------------------------------------------------------------

    def erase(self) -> list[Effect]:
        """Erase old versions and the keys that nothing needs any more."""
        certified = self.certified
        if certified is None:
            return []
        effects: list[Effect] = []
        for version in [known for known in self.versions if self._is_superseded(known.transcript)]:
            del self._versions[version.transcript.hash]
            effects.append(EraseShare(version.transcript.hash))
        needed = self._needed_keys(certified)
        erased = self.key_numbers - needed
        if erased:
            self._keys = {number: key for number, key in self._keys.items() if number in needed}
            effects.append(EraseKeys(erased))
        return effects

    def _needed_keys(self, certified: KnownVersion) -> frozenset[int]:
        """Return the keys that are needed: see ``needed_numbers``.

        Until it is known which key a share is encrypted to, all of them.
        """
        recovery = self._recoveries.get(certified.transcript.hash)
        has_share = certified.share is not None
        if recovery is not None and recovery.key_number is None and not recovery.is_hopeless:
            return self.key_numbers
        used = None if recovery is None else recovery.key_number
        return needed_numbers(self._keys, self._me, certified.transcript, used, has_share=has_share)
