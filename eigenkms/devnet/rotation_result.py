"""The result of the rotation scenario: a row for each boundary, and its faults."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from eigenkms.crypto.scalars import threshold
from eigenkms.devnet.load_generator import LatencyStats


@dataclass
class RotationRow:
    """A boundary, and the interval after it. Rotation 0 is genesis.

    ``version``, ``seconds``, ``holders`` and ``erased`` come from the nodes' logs, the rest is verified or counted here. Verified
    fields are absent if a newer version was served before this one was fetched.
    """

    rotation: int
    block: int
    operators: int
    """Size of the set at this block, whose members vote and get a share."""
    seconds: float | None = None
    """From the first operator that saw the boundary to the certificate at a quorum of them."""
    version: int | None = None
    mpk: str | None = None
    certified_by: int | None = None
    """Votes in the certificate; a quorum is enough for it."""
    dealers: int | None = None
    missing: list[str] = field(default_factory=list)
    """Holders of a share of the source that were not counted as dealers."""
    holders: int = 0
    """Operators that had their share by the end of the interval."""
    erased: int = 0
    """Operators that had erased their share of the version before by then."""
    events: list[str] = field(default_factory=list)
    decrypts: int = 0
    failed_decrypts: int = 0


@dataclass
class RotationResult:
    """The result that ``devnet run --scenario rotation`` prints. Times in seconds."""

    operators: int
    engine: str
    interval: float
    window: float
    rows: list[RotationRow] = field(default_factory=list)
    decrypts: int = 0
    failed_decrypts: int = 0
    decrypt_p50: float = math.nan
    decrypt_p99: float = math.nan
    decrypt_max: float = math.nan
    versions: dict[int, int] = field(default_factory=dict)
    """How many decryptions each version served."""
    faults: list[str] = field(default_factory=list)
    total: float = 0.0

    @property
    def master_keys(self) -> list[str]:
        """Return all master keys that were seen, in hex."""
        return sorted({row.mpk for row in self.rows if row.mpk is not None})

    @property
    def rotations(self) -> int:
        """Return the number of certified rotations."""
        return sum(1 for row in self.rows if row.rotation and row.version is not None)


def find_faults(result: RotationResult, total: LatencyStats, rotations: int) -> list[str]:
    """Return what is wrong with a whole run."""
    faults = []
    if result.rotations < rotations:
        faults.append(f"{result.rotations} of {rotations} rotations were certified")
    if len(result.master_keys) != 1:
        faults.append(f"{len(result.master_keys)} master keys were seen")
    if total.failed:
        first = total.failures[0].why
        faults.append(
            f"{total.failed} of {total.failed + total.succeeded} decryptions failed; the first: {first}"
        )
    idle = [row.rotation for row in result.rows if not row.decrypts]
    made = [row for row in result.rows if row.version is not None]
    kept = [
        str(row.rotation)
        for before, row in pairwise(made)
        if before.holders - row.erased >= threshold(before.operators)
    ]
    if kept:
        faults.append(f"enough older shares to make the key were left after rotation {', '.join(kept)}")
    if idle:
        faults.append(f"no decryption succeeded after rotation {', '.join(map(str, idle))}")
    return faults
