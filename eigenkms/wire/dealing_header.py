"""The header of a dealing of protocol 2: what a dealer signs and gossips.

Canonical msgpack ``[2, session32, dealer20, source T|0, source hash|0³², [KEY frame, …], [com_0 … com_{t−1}], [number | nil,
…], randomness32, rows32, proofs32]``, named by ``keccak256("eigenkms/dealing/2" ‖ bytes)``. The last three fields are digests
of the body's parts (``eigenkms.wire.dealing``), so the name stands for the whole dealing.

The bounds are checked when a header is constructed. So every ``DealingHeader`` decodes from its own encoding.
Nothing here checks a point, a key frame, or that a header fits a session.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eigenkms.crypto.backends.interface import BLS_G2_SIZE
from eigenkms.crypto.hashing import keccak256
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.codec import Fields, MalformedError, decode, encode
from eigenkms.wire.hash_tree import HASH_SIZE
from eigenkms.wire.session import MAX_OPERATORS, MAX_THRESHOLD, ZERO32

DEALING_VERSION = 2

MAX_HEADER_BYTES = 128 * 1024
"""Half of a frame. 256 newcomers fit with 171 commitments if their key frames have at most 430 bytes on average."""
MAX_NEWCOMER_BYTES = 512
"""Of one key frame. A key of 48 bytes with its proof of 80 makes a frame of about 310."""


@dataclass(frozen=True)
class DealingHeader:
    """What a dealer signs and gossips: its commitments, and the digests of all that it encrypted.

    ``source_version`` and ``source_hash`` name the transcript that is dealt from; both are zero at genesis.
    ``newcomers`` are encoded KEY frames of recipients whose encryption key that transcript does not list.
    ``commitments`` are G2 points of 96 bytes. ``key_numbers`` has, for each member of the session in order, the number of
    the encryption key that its row is for, None if it has no row. ``randomness``, ``rows_root`` and ``proofs`` are the
    digests of the body's parts, 32 bytes each.

    ValueError for another size of a field, and for anything out of bounds.
    """

    session: SessionId
    dealer: OperatorAddress
    source_version: int
    source_hash: bytes
    newcomers: tuple[bytes, ...]
    commitments: tuple[bytes, ...]
    key_numbers: tuple[int | None, ...]
    randomness: bytes
    rows_root: bytes
    proofs: bytes

    def __post_init__(self) -> None:
        self._check_sizes()
        if not self.rows or len(self.key_numbers) > MAX_OPERATORS:
            raise ValueError(
                f"it covers {self.rows} of {len(self.key_numbers)} operators, not 1..{MAX_OPERATORS}"
            )
        if not all(number is None or 0 <= number < 2**64 for number in self.key_numbers):
            raise ValueError("the number of a key is not in 0..2^64-1")
        if len(self.newcomers) > self.rows:
            raise ValueError(f"it has {len(self.newcomers)} newcomers among {self.rows} recipients")
        if not 1 <= len(self.commitments) <= MAX_THRESHOLD:
            raise ValueError(f"it has {len(self.commitments)} commitments, not 1..{MAX_THRESHOLD}")
        if not 0 <= self.source_version < 2**64:
            raise ValueError(f"its source version {self.source_version} is not in 0..2^64-1")
        if self.is_genesis != (self.source_hash == ZERO32):
            raise ValueError("one of the source's version and hash is zero, the other is not")
        if len(self.encoded) > MAX_HEADER_BYTES:
            raise ValueError(f"it has {len(self.encoded)} bytes, more than {MAX_HEADER_BYTES}")

    def _check_sizes(self) -> None:
        hashes = (self.session, self.source_hash, self.randomness, self.rows_root, self.proofs)
        if len(self.dealer) != 20 or any(len(value) != HASH_SIZE for value in hashes):
            raise ValueError("its dealer has not 20 bytes, or its session or a hash not 32")
        if any(len(commitment) != BLS_G2_SIZE for commitment in self.commitments):
            raise ValueError(f"a commitment has not {BLS_G2_SIZE} bytes")
        if any(len(frame) > MAX_NEWCOMER_BYTES for frame in self.newcomers):
            raise ValueError(f"a newcomer's key frame has more than {MAX_NEWCOMER_BYTES} bytes")

    @cached_property
    def rows(self) -> int:
        """How many recipients it covers."""
        return sum(1 for number in self.key_numbers if number is not None)

    def position(self, member: int) -> int | None:
        """Return which row is that of the session's member at this position, None if it has none. IndexError beyond the members."""
        if self.key_numbers[member] is None:
            return None
        return sum(1 for number in self.key_numbers[:member] if number is not None)

    @property
    def is_genesis(self) -> bool:
        """Whether it deals a new secret instead of a share of a source."""
        return self.source_version == 0

    @cached_property
    def encoded(self) -> bytes:
        value: list[Any] = [
            DEALING_VERSION,
            self.session,
            self.dealer,
            self.source_version,
            self.source_hash,
            list(self.newcomers),
            list(self.commitments),
            list(self.key_numbers),
            self.randomness,
            self.rows_root,
            self.proofs,
        ]
        return encode(value)

    @cached_property
    def name(self) -> bytes:
        """32 bytes that stand for the whole dealing: its header, and by the digests its body."""
        return keccak256(b"eigenkms/dealing/2", self.encoded)


def decode_header(data: bytes) -> DealingHeader:
    """Decode a header strictly: size, canonical msgpack, arity, types, bounds.

    Raises ``MalformedError``. Points, key frames and digests are only measured.
    """
    fields = Fields(decode(data, what="dealing header", limit=MAX_HEADER_BYTES), 11, "dealing header")
    if (version := fields.uint(16)) != DEALING_VERSION:
        raise MalformedError(f"decode dealing header: version {version}, not {DEALING_VERSION}")
    try:
        return DealingHeader(
            SessionId(fields.fixed(32)),
            OperatorAddress(fields.fixed(20)),
            fields.uint(64),
            fields.fixed(32),
            _read_newcomers(fields.items(MAX_OPERATORS)),
            fields.fixed_items(BLS_G2_SIZE, MAX_THRESHOLD),
            _read_numbers(fields.items(MAX_OPERATORS)),
            fields.fixed(HASH_SIZE),
            fields.fixed(HASH_SIZE),
            fields.fixed(HASH_SIZE),
        )
    except ValueError as error:
        raise MalformedError(f"decode dealing header: {error}") from None


def _read_newcomers(frames: list[Any]) -> tuple[bytes, ...]:
    fields = Fields(frames, len(frames), "newcomers of a dealing header")
    return tuple(fields.binary(MAX_NEWCOMER_BYTES) for _ in frames)


def _read_numbers(items: list[Any]) -> tuple[int | None, ...]:
    fields = Fields(
        [item for item in items if item is not None],
        len(items) - items.count(None),
        "key numbers of a dealing header",
    )
    return tuple(None if item is None else fields.uint(64) for item in items)
