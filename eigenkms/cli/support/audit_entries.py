"""Entries of a release log: which of them are wanted, and how they are printed."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eigenkms.cli.support.audit_log_source import AuditLogSource
from eigenkms.cli.support.logs import timestamp
from eigenkms.cli.support.output import print_data, print_note, print_result
from eigenkms.errors import RemoteProtocolError

if TYPE_CHECKING:
    from eigenkms.protocols.records.audit_log import Entry


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """The wanted entries of a log; None does not restrict.

    They are the newest ``last`` entries of ``app`` since ``not_before`` (unix milliseconds).
    """

    app: str | None
    not_before: int
    last: int | None

    def select(self, log: AuditLogSource) -> Iterable["Entry"]:
        """Return the wanted entries, ascending. At most ``last`` of them are in memory."""
        total = log.signed.head.number
        if self.last is None:
            return filter(self._matches, map(_decode, log.entries()))
        if self.app is None and not self.not_before:
            return map(_decode, log.entries(max(0, total - self.last)))
        return deque(filter(self._matches, map(_decode, log.entries())), maxlen=min(self.last, total))

    def _matches(self, entry: "Entry") -> bool:
        from eigenkms.crypto.app_ids import is_same

        release = entry.release
        return release.time_ms >= self.not_before and (self.app is None or is_same(self.app, release.app_id))


def _decode(encoded: bytes) -> "Entry":
    from eigenkms.protocols.records.audit_log import BadLogError, decode_entry

    try:
        return decode_entry(encoded)
    except RemoteProtocolError as error:
        raise BadLogError(f"show release log: an entry is damaged ({error})") from error


def print_entries_json(facts: dict[str, Any], entries: Iterable["Entry"]) -> None:
    """Print the log as one JSON object, entry by entry."""
    print_data(json.dumps(facts, indent=2).removesuffix("\n}") + ',\n  "releases": [')
    before = None
    for entry in entries:
        if before is not None:
            print_data(f"    {before},")
        before = json.dumps(_entry_facts(entry))
    print_data("  ]\n}" if before is None else f"    {before}\n  ]\n}}")


def _entry_facts(entry: "Entry") -> dict[str, Any]:
    release = entry.release
    return {
        "number": entry.number,
        "time": timestamp(release.time_ms / 1000),
        "app_id": release.app_id,
        "ciphertext_version": release.ciphertext_version,
        "version": int(release.version),
        "transcript": release.transcript_hash.hex(),
        "method": release.method,
        "evidence": release.evidence_digest and release.evidence_digest.hex(),
        "subject": release.subject and _subject(release.subject),
        "reply_key": release.reply_key_digest.hex(),
    }


def _subject(subject: bytes) -> str:
    return ("0x" if len(subject) == 20 else "sha256:") + subject.hex()


def print_entries(entries: Iterable["Entry"]) -> None:
    """Print a line for each entry."""
    shown = False
    for entry in entries:
        shown = True
        release = entry.release
        print_result(
            f"{entry.number:>8}  {timestamp(release.time_ms / 1000)}  {_plain(release.method):<6}  "
            f"{release.ciphertext_version}  {release.version:>10}  {_plain(release.app_id)}  "
            f"{'-' if release.subject is None else _subject(release.subject)}"
        )
    if not shown:
        print_note("no release")


def _plain(text: str) -> str:
    """Return a stranger's text as one word that does not command a terminal."""
    return text if text.isprintable() and text and " " not in text and '"' not in text else json.dumps(text)
