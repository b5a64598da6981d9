"""Evidence as the verbs print it: facts for programs, tables and lines for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eigenkms.cli.support.options import print_result_fields
from eigenkms.cli.support.output import print_result
from eigenkms.cli.support.tables import print_table
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.evidence import EvidenceReport, VerifiedEvidence
    from eigenkms.client.evidence_verdict import EvidenceVerdict
    from eigenkms.protocols.records.evidence_bundle import Bundle


def report_facts(report: "EvidenceReport") -> dict[str, Any]:
    """Return the fields of ``evidence list --json``."""
    pieces = [
        {
            **_facts(piece.bundle),
            "noticed_by": [_hex(holder) for holder in piece.holders],
            "noticed": piece.noticed,
        }
        for piece in report.pieces
    ]
    rejected = [{"operator": o and _hex(o), "reason": reason} for o, reason in report.rejected]
    silent = {_hex(operator): str(error) for operator, error in sorted(report.failures.items())}
    return {"evidence": pieces, "rejected": rejected, "silent": silent}


def _hex(value: bytes) -> str:
    return to_hex(value)


def _facts(bundle: "Bundle") -> dict[str, Any]:
    evidence, boundary = bundle.evidence, bundle.session.boundary
    return {
        "fault": evidence.fault.value,
        "accused": _hex(evidence.accused),
        "block": boundary.number,
        "block_hash": _hex(boundary.hash),
        "version": int(bundle.session.version),
        "session": evidence.session.hex(),
        "cluster": bundle.session.cluster.hex(),
    }


def print_report(report: "EvidenceReport") -> None:
    """Print a table with a row for each piece."""
    columns = ("fault", "accused", "block", "version", "session", "noticed by")
    print_table(columns, (_cells(piece, report.asked) for piece in report.pieces))


def _cells(piece: "VerifiedEvidence", asked: int) -> list[str]:
    facts = _facts(piece.bundle)
    words = [str(facts[name]) for name in ("fault", "accused", "block", "version")]
    return [*words, facts["session"][:16], _noticed_by(piece, asked)]


def _noticed_by(piece: "VerifiedEvidence", asked: int) -> str:
    if piece.noticed is None:
        return f"{len(piece.holders)} of {asked} operators"
    from datetime import UTC, datetime

    return f"this node, {datetime.fromtimestamp(piece.noticed, UTC):%Y-%m-%dT%H:%M:%SZ}"


def print_verdicts(verdicts: Sequence["EvidenceVerdict"], *, online: bool, as_json: bool) -> None:
    """Print the result of ``evidence verify``.

    ``online``: the pieces were compared with the chain.
    """
    facts = [_verdict_facts(verdict) for verdict in verdicts]
    if as_json:
        print_result_fields({"online": online, "evidence": facts}, as_json=True)
        return
    for number, piece in enumerate(facts):
        if number:
            print_result("")
        print_result_fields(_text_fields(piece, online=online), as_json=False)


def _text_fields(piece: Mapping[str, Any], *, online: bool) -> dict[str, Any]:
    shown = {name: value for name, value in piece.items() if value is not None and name != "operators"}
    if piece["source"] is not None:
        source = piece["source"]
        shown["source"] = f"version {source['version']}, block {source['block']} {source['block_hash']}"
    if piece["operators"] is not None:
        where = "the chain's at that block" if online and piece["holds"] else "not compared with the chain"
        shown["operators"] = f"{len(piece['operators'])}, {where}"
    return shown


_NOTHING: Mapping[str, None] = dict.fromkeys(
    (
        "fault",
        "accused",
        "block",
        "block_hash",
        "version",
        "session",
        "cluster",
        "frames",
        "operators",
        "source",
    )
)


def _verdict_facts(verdict: "EvidenceVerdict") -> dict[str, Any]:
    facts: dict[str, Any] = {"holds": verdict.reason is None, "reason": verdict.reason}
    bundle = verdict.bundle
    if bundle is None:
        return {**facts, **_NOTHING}
    frames = [f"{frame.kind.name} by {_hex(frame.sender)}" for frame in bundle.evidence.frames]
    operators = [f"{_hex(m.address)} {_hex(m.key)}" for m in bundle.session.recipients]
    return {
        **facts,
        **_facts(bundle),
        "frames": frames,
        "operators": operators,
        "source": _source_facts(bundle),
    }


def _source_facts(bundle: "Bundle") -> dict[str, Any] | None:
    transcript = bundle.evidence.source
    if transcript is None:
        return None
    return {
        "version": int(transcript.version),
        "block": transcript.boundary.number,
        "block_hash": _hex(transcript.boundary.hash),
        "transcript_hash": transcript.hash.hex(),
        "operators": [f"{_hex(m.address)} {_hex(m.key)}" for m in transcript.recipients],
    }
