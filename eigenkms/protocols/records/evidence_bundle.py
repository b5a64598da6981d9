"""Evidence with all that a third party needs to check it, offline and long after (docs/protocol.md, Evidence).

Canonical msgpack ``[2, session header, fault, accused20, [frame, …], source transcript|nil, body|nil]``. The header is a session as
nodes store it: boundary, operators with their keys, parameters. Its hash is the session id that stands in each signed frame, so
nothing in it can be changed under the signatures. The source is the transcript that a dealing is made from: the signed dealing
names it by its hash, so it needs no certificate. The body is a dealing's, bound by the digests in its signed header.

What a bundle proves: whoever holds the accused's key *of the header*, or of the source if the header does not list the accused,
broke the protocol. That this is the operator's key, only the chain can say: the set that it had at the header's block, and at
the source's, must be the one that stands here. Whoever skips that comparison believes keys that anybody may have made up.

*Bounds.* A bundle has at most ``MAX_BUNDLE_BYTES`` and two frames. Nothing is verified before it is decoded and its session is
known to be that of its frames; then at most two signatures, and one fault (``check_evidence``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from eigenkms.crypto.pvss import encoded_size
from eigenkms.errors import InputError
from eigenkms.protocols.records.evidence import Evidence, Fault
from eigenkms.protocols.records.evidence_check import check_evidence
from eigenkms.types import OperatorAddress, SessionId
from eigenkms.wire.codec import MAX_FRAME_BYTES, MAX_ITEMS, Fields, MalformedError, decode, encode
from eigenkms.wire.frames import decode_frame
from eigenkms.wire.session import MAX_OPERATORS, Session, decode_session, encode_session
from eigenkms.wire.transcript import Transcript, decode_transcript

BUNDLE_VERSION = 2
MAX_FRAMES = 2
MAX_BUNDLE_BYTES = 3 * MAX_FRAME_BYTES
"""Two of the largest frames with a header, or a dealing of 256 operators with its body, header and source: 460 kB."""
MAX_BUNDLES = MAX_ITEMS
MAX_FILE_BYTES = 256 * 2**20

BundleName: TypeAlias = tuple[SessionId, OperatorAddress, Fault, tuple[bytes, ...]]


@dataclass(frozen=True)
class Bundle:
    """Nothing is verified by making one: see ``check_bundle``."""

    session: Session
    evidence: Evidence

    @property
    def source(self) -> Transcript | None:
        """The version that the fault is about, if it is about one."""
        return self.evidence.source

    @cached_property
    def encoded(self) -> bytes:
        evidence = self.evidence
        value: list[Any] = [
            BUNDLE_VERSION,
            encode_session(self.session),
            evidence.fault.value,
            evidence.accused,
            [frame.encoded for frame in evidence.frames],
            None if evidence.source is None else evidence.source.encoded,
            evidence.body,
        ]
        return encode(value)

    @property
    def name(self) -> BundleName:
        """The same for the same proof, whoever noticed it: frames in any order."""
        evidence = self.evidence
        digests = tuple(sorted(frame.digest for frame in evidence.frames))
        return evidence.session, evidence.accused, evidence.fault, digests


def decode_bundle(data: bytes) -> Bundle:
    """Decode a bundle. Raises ``MalformedError``; checks shape only."""
    what = "evidence bundle"
    fields = Fields(decode(data, what=what, limit=MAX_BUNDLE_BYTES), 7, what)
    if (version := fields.uint(16)) != BUNDLE_VERSION:
        raise MalformedError(f"decode {what}: version {version}, this program knows {BUNDLE_VERSION}")
    session = _read_header(fields.binary())
    fault = _read_fault(fields.text(64))
    accused = OperatorAddress(fields.fixed(20))
    frames = fields.items(MAX_FRAMES)
    if not frames or not all(isinstance(frame, bytes) for frame in frames):
        raise MalformedError(f"decode {what}: wanted 1 to {MAX_FRAMES} frames")
    source = fields.optional_binary()
    evidence = Evidence(
        fault,
        accused,
        session.id,
        tuple(decode_frame(frame) for frame in frames),
        None if source is None else decode_transcript(source),
        fields.optional_binary(encoded_size(MAX_OPERATORS)),
    )
    return Bundle(session, evidence)


def _read_header(data: bytes) -> Session:
    try:
        return decode_session(data)
    except InputError as error:
        raise MalformedError(f"decode evidence bundle: its session can never be: {error}") from None


def _read_fault(name: str) -> Fault:
    try:
        return Fault(name)
    except ValueError:
        raise MalformedError("decode evidence bundle: unknown fault") from None


def check_bundle(bundle: Bundle) -> None:
    """Raise ``VerificationError`` unless frames, header, source and body prove the fault, by the keys that stand in the bundle.

    Whether these are the operators' keys is the caller's to check (chain/certificate_check).
    """
    check_evidence(bundle.evidence, bundle.session)


def encode_bundles(bundles: Iterable[Bundle]) -> bytes:
    """Encode what ``eigenkms evidence export`` writes: msgpack ``[bundle, …]``.

    Raises ``InputError`` for more than a file may hold.
    """
    encoded = [bundle.encoded for bundle in bundles]
    if len(encoded) > MAX_BUNDLES or sum(map(len, encoded)) > MAX_FILE_BYTES - 8 * MAX_BUNDLES:
        raise InputError(
            f"write evidence: {len(encoded)} pieces are more than a file may hold", hint="choose among them"
        )
    return encode(encoded)


def decode_bundles(data: bytes) -> tuple[bytes, ...]:
    """Return the encoded bundles of such a file, each not decoded yet.

    Raises ``MalformedError``.
    """
    what = "list of evidence"
    value = decode(data, what=what, limit=MAX_FILE_BYTES)
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise MalformedError(f"decode {what}: not a list of bundles")
    return tuple(value)
