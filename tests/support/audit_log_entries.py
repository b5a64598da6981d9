"""Entries of a true audit log, and its signed head."""

from collections.abc import Sequence
from dataclasses import replace

from eigenkms.crypto import bn254
from eigenkms.protocols.records.audit_log import (
    Entry,
    IssuedSignature,
    LogHead,
    LogHeader,
    SignedHead,
    extend,
    sign_head,
)
from eigenkms.types import AppId, ClusterId, OperatorAddress, Version

KEY = bn254.KeyPair.from_secret(7)


HEADER = LogHeader(ClusterId(b"\xc1" * 32), OperatorAddress(b"\x0a" * 20), KEY.g2, 1_800_000_000_000)


RELEASE = IssuedSignature(
    time_ms=1_800_000_001_234,
    app_id=AppId("my-app"),
    ciphertext_version=2,
    version=Version(1_700_000_100),
    transcript_hash=b"\x77" * 32,
    method="gcp",
    evidence_digest=b"\x0e" * 32,
    subject=b"\x0d" * 32,
    reply_key_digest=b"\x03" * 32,
)


RELEASES = (
    RELEASE,
    replace(RELEASE, method="ecdsa", subject=b"\x0c" * 20),
    replace(RELEASE, method="open", evidence_digest=None, subject=None, ciphertext_version=1),
)


def entry_body(number: int) -> IssuedSignature:
    return replace(RELEASES[number % 3], app_id=AppId(f"app-{number}"))


def signed_log(count: int, header: LogHeader = HEADER) -> tuple[list[Entry], SignedHead]:
    """Return the entries of a true log and its signed head."""
    start = LogHead(0, header.hash)
    entries = extend(start, [entry_body(number) for number in range(1, count + 1)])
    return entries, sign_head(KEY, LogHead(count, entries[-1].hash) if entries else start)


def encode_entries(entries: Sequence[Entry]) -> list[bytes]:
    return [entry.encoded for entry in entries]
