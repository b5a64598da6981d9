"""The release log: what an operator released to whom, in a chain of hashes whose end it signs (docs/formats.md, Release log).

    header ──▸ start ◂── entry 1 ◂── entry 2 ◂── … ◂── entry n ◂── head, signed

Each entry holds the hash of the one before it, the first one that of the header, which names cluster, operator and key. The head
is the number and hash of the last entry. Only the newest head is signed, and kept: its signature covers all before it, and leaves
nobody a signature under which the log could end sooner. So without the operator's key no entry can be changed, removed, added or
moved, and the end cannot be cut off, except back to a head whose signature somebody kept.

The operator itself can write another chain. Whoever noted a head finds out: it is not in that chain.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from eigenkms.crypto import bn254
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.errors import VerificationError
from eigenkms.types import AppId, ClusterId, OperatorAddress, Version
from eigenkms.wire.authorisation import MAX_METHOD_CHARACTERS
from eigenkms.wire.client_rpc import MAX_APP_ID_BYTES
from eigenkms.wire.codec import Fields, MalformedError, decode, encode

LOG_VERSION: Final = 1
MAX_HEADER_BYTES: Final = 512
MAX_ENTRY_BYTES: Final = 2048
TIME_BITS: Final = 48
"""Of milliseconds: until the year 10889, and every reader can show it."""
OPEN_METHOD: Final = "open"
"""The method of a release that nobody had to show a right for."""
SUBJECT_BYTES: Final = (20, 32)
_HEADER_TAG: Final = b"eigenkms/release-log/1"
_ENTRY_TAG: Final = b"eigenkms/release/1"
_HEAD_TAG: Final = b"eigenkms/release-head/1"

T = TypeVar("T")


@dataclass(frozen=True)
class LogHeader:
    """Whose log it is.

    ``key`` is the operator's BN254 key in G2 (128 bytes), ``begun_ms`` unix milliseconds.
    """

    cluster: ClusterId
    operator: OperatorAddress
    key: bytes
    begun_ms: int

    @cached_property
    def encoded(self) -> bytes:
        return encode([LOG_VERSION, self.cluster, self.operator, self.key, self.begun_ms])

    @cached_property
    def hash(self) -> bytes:
        """Where the chain starts: 32 bytes."""
        return hashlib.sha256(_HEADER_TAG + self.encoded).digest()


def decode_header(data: bytes) -> LogHeader:
    """Decode a header. Raises ``MalformedError``."""
    what = "release log's header"
    fields = Fields(decode(data, what=what, limit=MAX_HEADER_BYTES), 5, what)
    if (version := fields.uint(16)) != LOG_VERSION:
        raise MalformedError(f"decode {what}: version {version}")
    cluster, operator = ClusterId(fields.fixed(32)), OperatorAddress(fields.fixed(20))
    return LogHeader(cluster, operator, fields.fixed(128), fields.uint(TIME_BITS))


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedSignature:
    """One answer with a partial signature in it.

    ``method`` is the one that proved the right, ``open`` where none was asked for. ``evidence_digest`` (32 bytes) and ``subject``
    are what it rested on, None for ``open``: the subject is the address that signed (20 bytes) or the digest of the image that ran
    (32). ``reply_key_digest`` is the SHA-256 of the key that the answer was sealed to.
    """

    time_ms: int
    app_id: AppId
    ciphertext_version: int
    version: Version
    transcript_hash: bytes
    method: str
    evidence_digest: bytes | None
    subject: bytes | None
    reply_key_digest: bytes


@dataclass(frozen=True)
class Entry:
    """``release`` in its place: ``number`` counts from 1, ``previous`` is the hash of what comes before."""

    number: int
    release: IssuedSignature
    previous: bytes

    @cached_property
    def encoded(self) -> bytes:
        r = self.release
        value: list[Any] = [
            self.number,
            r.time_ms,
            r.app_id,
            r.ciphertext_version,
            r.version,
            r.transcript_hash,
            r.method,
            r.evidence_digest,
            r.subject,
            r.reply_key_digest,
            self.previous,
        ]
        return encode(value)

    @cached_property
    def hash(self) -> bytes:
        """32 bytes: what the next entry, or the head, holds."""
        return hashlib.sha256(_ENTRY_TAG + self.encoded).digest()


def decode_entry(data: bytes) -> Entry:
    """Decode an entry. Raises ``MalformedError``."""
    what = "release"
    fields = Fields(decode(data, what=what, limit=MAX_ENTRY_BYTES), 11, what)
    number = fields.uint(63)
    release = IssuedSignature(
        time_ms=fields.uint(TIME_BITS),
        app_id=AppId(fields.text(MAX_APP_ID_BYTES)),
        ciphertext_version=fields.uint(16),
        version=Version(fields.uint(64)),
        transcript_hash=fields.fixed(32),
        method=fields.text(MAX_METHOD_CHARACTERS),
        evidence_digest=fields.optional_fixed(32),
        subject=fields.optional_binary(max(SUBJECT_BYTES)),
        reply_key_digest=fields.fixed(32),
    )
    if release.subject is not None and len(release.subject) not in SUBJECT_BYTES:
        raise MalformedError(f"decode {what}: the subject is neither an address nor a digest")
    return Entry(number, release, fields.fixed(32))


def check_release(release: IssuedSignature) -> None:
    """Raise ``ValueError`` or ``MalformedError`` for what could not be read again."""
    decode_entry(Entry(1, release, bytes(32)).encoded)


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of a chain: how many entries, and the hash of the last one, or of the header where there is none."""

    number: int
    hash: bytes

    @property
    def digest(self) -> bytes:
        """What the operator signs."""
        return keccak256(_HEAD_TAG, be64(self.number), self.hash)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """``signature`` (64 bytes) is by the key of the header."""

    head: LogHead
    signature: bytes

    @property
    def encoded(self) -> bytes:
        return encode([self.head.number, self.head.hash, self.signature])


def sign_head(key: bn254.KeyPair, head: LogHead) -> SignedHead:
    return SignedHead(head, bn254.sign(key, head.digest))


def decode_head(data: bytes) -> SignedHead:
    """Decode a head. Raises ``MalformedError``."""
    what = "release log's head"
    fields = Fields(decode(data, what=what, limit=256), 3, what)
    return SignedHead(LogHead(fields.uint(63), fields.fixed(32)), fields.fixed(64))


class BadLogError(VerificationError):
    """A release log that was changed since its operator signed it, or was never signed by it."""

    default_hint = "keep this file as it is, and compare it with copies and heads that were noted earlier"


def check_signature(header: LogHeader, signed: SignedHead) -> None:
    """Raise ``BadLogError`` unless the head is signed by the key that the header names."""
    if not bn254.verify(signed.head.digest, signed.signature, header.key):
        raise BadLogError(
            f"verify release log: the signature of its head, number {signed.head.number}, is not the operator's"
        )


def extend(head: LogHead, releases: Iterable[IssuedSignature]) -> list[Entry]:
    """Return the entries that continue the chain which ends in ``head``."""
    entries = []
    for release in releases:
        entry = Entry(head.number + 1, release, head.hash)
        head = LogHead(entry.number, entry.hash)
        entries.append(entry)
    return entries


class LogVerifier:
    """Takes a log entry by entry, in constant memory.

    ``noted`` are hashes of heads that must be in the chain.
    """

    def __init__(self, header: LogHeader, signed: SignedHead, noted: Iterable[bytes] = ()) -> None:
        self._header = header
        self._signed = signed
        self._noted = set(noted) - {header.hash}
        self._at = LogHead(0, header.hash)

    def take(self, encoded: bytes) -> Entry:
        """Return the next entry.

        Raises ``BadLogError`` that says which entry is wrong, and how.
        """
        number = self._at.number + 1
        if number > self._signed.head.number:
            raise BadLogError(
                f"verify release log: entry {number} stands after the signed head, number {self._signed.head.number}"
            )
        try:
            entry = decode_entry(encoded)
        except MalformedError as error:
            raise BadLogError(f"verify release log: entry {number} is damaged ({error})") from error
        if entry.number != number:
            raise BadLogError(
                f"verify release log: entry {number} is missing, or not in its place: entry {entry.number} stands there"
            )
        if entry.previous != self._at.hash:
            raise BadLogError(f"verify release log: entry {number} does not continue {self._before(number)}")
        self._at = LogHead(number, entry.hash)
        self._noted.discard(entry.hash)
        return entry

    @staticmethod
    def _before(number: int) -> str:
        if number == 1:
            return "this log's header"
        return f"entry {number - 1}: one of the two was changed"

    def finish(self) -> None:
        """Check that the log ends in ``head``.

        Raises ``BadLogError`` if the head is another one, or not signed, or a noted one is missing.
        """
        head = self._signed.head
        if self._at.number < head.number:
            raise BadLogError(
                f"verify release log: entry {self._at.number + 1} is missing; the signed head is number {head.number}"
            )
        if self._at.hash != head.hash:
            raise BadLogError(f"verify release log: the last entry, {head.number}, was changed")
        check_signature(self._header, self._signed)
        if self._noted:
            raise BadLogError(
                f"verify release log: head {min(self._noted).hex()} is not in it: entries were taken away, or this is "
                "another log"
            )
