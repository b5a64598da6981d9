"""The table of ``devnet run --scenario rotation``: one row for each rotation.

The sums follow the rows.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eigenkms.cli.support.options import print_result_fields
from eigenkms.cli.support.output import print_data
from eigenkms.cli.support.tables import print_table

if TYPE_CHECKING:
    from eigenkms.devnet.rotation_result import RotationResult, RotationRow

_MPK_DIGITS = 12


def print_rotations(result: "RotationResult", *, as_json: bool) -> None:
    """Print one JSON object, or the table; on a terminal it has rules."""
    if as_json:
        print_data(json.dumps(_plain(asdict(result)), indent=2))
        return
    to_the_right = [name for name, right in _COLUMNS.items() if right]
    print_table(tuple(_COLUMNS), map(_cells, result.rows), to_the_right=to_the_right, ruled=True)
    print_result_fields(_sums(result), as_json=False)


_COLUMNS = {
    "rotation": True,
    "block": True,
    "version": True,
    "after, s": True,
    "dealt by": True,
    "without": False,
    "certified by": False,
    "share at": True,
    "erased at": True,
    "master key": False,
    "decrypts": True,
    "failed": True,
    "events": False,
}
"""Whether a column stands to the right."""


def _cells(row: "RotationRow") -> Iterator[str]:
    yield "genesis" if row.rotation == 0 else str(row.rotation)
    yield str(row.block)
    yield "none" if row.version is None else str(row.version)
    yield "" if row.seconds is None else f"{row.seconds:.1f}"
    yield "" if row.dealers is None else str(row.dealers)
    yield ", ".join(row.missing)
    yield _certified_by(row)
    yield str(row.holders)
    yield "" if row.rotation == 0 else str(row.erased)
    yield "" if row.mpk is None else row.mpk[:_MPK_DIGITS] + "…"
    yield str(row.decrypts)
    yield str(row.failed_decrypts)
    yield "; ".join(row.events)


def _certified_by(row: "RotationRow") -> str:
    if row.version is None:
        return f"nobody of {row.operators}"
    return f"{'a quorum' if row.certified_by is None else row.certified_by} of {row.operators}"


def _sums(result: "RotationResult") -> dict[str, Any]:
    latencies = (result.decrypt_p50, result.decrypt_p99, result.decrypt_max)
    return {
        "rotations in a row": result.rotations,
        "master keys": len(result.master_keys),
        "master key": ", ".join(result.master_keys),
        "decrypts": result.decrypts,
        "failed decrypts": result.failed_decrypts,
        "decrypt p50 / p99 / max": " / ".join(f"{1000 * seconds:.0f}" for seconds in latencies) + " ms",
        "versions that served": len(result.versions),
        "total": f"{result.total:.0f} s",
        "verdict": "; ".join(result.faults) or "passed",
    }


def _plain(value: Any) -> Any:
    """Return a value for JSON: numbers are rounded, and NaN is None."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
