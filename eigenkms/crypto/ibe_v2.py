"""Ciphertext version 2: bound to its cluster, and cut into chunks.

So a file of any size passes through a small memory (docs/formats.md, Ciphertext). The encapsulation is that of version 1
(``ibe``), to an identity that names kind and cluster too (``ibe_identities``): the key of an application for one version
opens nothing of the other. The keys are derived from more than it, and what follows is new:

    context = MPK ‖ head ‖ app id                            head: the first 134 bytes, C1 among them
    key ‖ check = HKDF-SHA256(ikm = g, salt = "eigenkms/ciphertext/2", info = context), 32 bytes each
    chunk i     = AES-256-GCM(key, nonce = be88(i) ‖ last, plaintext, aad = context), 16-byte tag at its end

    offset   0   3 bytes  "IBE"
    offset   3   1 byte   version, 2
    offset   4   1 byte   kind of the identity: 1, an application
    offset   5   1 byte   b, 6 to 20: a chunk has 2^b bytes of plaintext
    offset   6  32 bytes  cluster id
    offset  38  96 bytes  C1, compressed
    offset 134  32 bytes  check
    offset 166            chunks

The chunks are STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, 2015), as age and Tink have it. Each chunk is full but the last one, whose nonce says so (1, else 0), and
which is empty only if the plaintext is. A key seals one file, as r is fresh; so a chunk opens only at its own place in its
own file. ``check`` commits to the key and to everything in the context: a reader with another key, application, cluster or
master key learns it before the first chunk.

``Sealer`` and ``Opener`` take one chunk after another and do no input or output.
"""

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eigenkms.crypto import ibe
from eigenkms.crypto.backends.interface import BLS_G2_SIZE, InvalidPoint
from eigenkms.crypto.hashing import Rng
from eigenkms.crypto.ibe_identities import CLUSTER_SIZE, IdentityKind, identity_v2
from eigenkms.errors import InputError, VerificationError
from eigenkms.types import AppId, ClusterId

VERSION = 2
CHUNK_BITS = 16
"""Writers make chunks of 64 KiB, as age does."""
MIN_CHUNK_BITS, MAX_CHUNK_BITS = 6, 20
MAX_CHUNKS = 2**32
"""256 TiB in chunks of 64 KiB: 2^44 blocks under one AES key, far below where they would be told from random (2^64)."""
TAG_SIZE = 16
CHECK_SIZE = 32

_FIELDS_SIZE = len(ibe.MAGIC) + 3
_HEAD_SIZE = _FIELDS_SIZE + CLUSTER_SIZE + BLS_G2_SIZE
HEADER_SIZE = _HEAD_SIZE + CHECK_SIZE
"""166 bytes."""

_SALT = b"eigenkms/ciphertext/2"


@dataclass(frozen=True, slots=True)
class Recipient:
    """The recipient: an application of a cluster with master public key ``mpk`` (G2, 96)."""

    app_id: AppId
    cluster: ClusterId
    mpk: bytes


@dataclass(frozen=True, slots=True)
class ApplicationKey:
    """The private key (G1, 48 bytes) of one application and one ciphertext version."""

    owner: Recipient
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a ciphertext that are readable without a key.

    ``c1`` is 96 bytes as they stand there, point or not; ``check`` 32 bytes.
    """

    kind: IdentityKind
    chunk_bits: int
    cluster: ClusterId
    c1: bytes
    check: bytes

    @property
    def chunk_size(self) -> int:
        """Bytes of plaintext in every chunk but the last."""
        return 1 << self.chunk_bits

    @property
    def sealed_size(self) -> int:
        """Bytes of such a chunk in the file."""
        return self.chunk_size + TAG_SIZE

    @property
    def head(self) -> bytes:
        """134 bytes: all before ``check``."""
        return _head(self.kind, self.chunk_bits, self.cluster, self.c1)

    def plaintext_size(self, sealed: int) -> int:
        """Return the bytes of plaintext in ``sealed`` bytes of chunks.

        Raises InputError if no number of chunks has so many.
        """
        count = max(1, -(-sealed // self.sealed_size))
        last = sealed - (count - 1) * self.sealed_size
        if last < TAG_SIZE or (last == TAG_SIZE and count > 1):
            raise InputError(f"read ciphertext: chunk {count} has {last} bytes; it was cut")
        return sealed - count * TAG_SIZE


def parse_header(encoded: bytes) -> Header:
    """Read the first 166 bytes.

    Raises InputError for what is not a version 2 ciphertext; nothing is authenticated before ``Opener``.
    """
    ibe.read_version(encoded, (VERSION,))
    if len(encoded) < HEADER_SIZE:
        raise ibe.too_short(len(encoded), HEADER_SIZE + TAG_SIZE)
    kind, chunk_bits = encoded[_FIELDS_SIZE - 2 : _FIELDS_SIZE]
    if kind not in tuple(IdentityKind):
        raise InputError(
            f"read ciphertext: kind {kind} is not known", hint="use the version of eigenkms that made it"
        )
    if not MIN_CHUNK_BITS <= chunk_bits <= MAX_CHUNK_BITS:
        raise InputError(
            f"read ciphertext: chunks of 2^{chunk_bits} bytes, not 2^{MIN_CHUNK_BITS} to 2^{MAX_CHUNK_BITS}"
        )
    c1_at = _FIELDS_SIZE + CLUSTER_SIZE
    return Header(
        kind=IdentityKind(kind),
        chunk_bits=chunk_bits,
        cluster=ClusterId(encoded[_FIELDS_SIZE:c1_at]),
        c1=encoded[c1_at:_HEAD_SIZE],
        check=encoded[_HEAD_SIZE:HEADER_SIZE],
    )


def check_cluster(header: Header, cluster: ClusterId) -> None:
    """VerificationError unless the ciphertext says that it is for ``cluster``.

    Needs no key.
    """
    if header.cluster != cluster:
        raise VerificationError(
            f"decrypt: the ciphertext is for cluster {header.cluster.hex()}, not for {cluster.hex()}",
            hint="give the chain id, AVS and operator set of its cluster",
        )


class _Chunks:
    """The cipher of one file, and the place of the next chunk."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = AESGCM(key)
        self._context = context
        self._index = 0
        self._ended = False

    def _nonce(self, *, last: bool) -> bytes:
        return self._index.to_bytes(11, "big") + bytes([last])

    def _advance(self, *, last: bool) -> None:
        self._index += 1
        self._ended = last

    def _check_more(self) -> None:
        if self._ended:
            raise ValueError("a chunk after the last one")
        if self._index >= MAX_CHUNKS:
            raise InputError(f"a ciphertext has at most {MAX_CHUNKS} chunks")


class Sealer(_Chunks):
    """Encrypts one file: ``header``, then the result of ``seal`` for each chunk.

    Raises InputError for an application id below 5 bytes; InvalidPoint for a malformed master public key; ValueError for a
    cluster id that is not 32 bytes or a chunk size out of range.
    """

    def __init__(self, recipient: Recipient, rng: Rng, chunk_bits: int = CHUNK_BITS) -> None:
        if len(recipient.cluster) != CLUSTER_SIZE or not MIN_CHUNK_BITS <= chunk_bits <= MAX_CHUNK_BITS:
            raise ValueError("cluster id or chunk size out of range")
        name = ibe.checked_app_id(recipient.app_id)
        identity = identity_v2(recipient.cluster, recipient.app_id)
        c1, shared = ibe.encapsulate(identity, recipient.mpk, rng)
        head = _head(IdentityKind.APPLICATION, chunk_bits, recipient.cluster, c1)
        context = recipient.mpk + head + name
        key, check = _derive(shared, context)
        super().__init__(key, context)
        self.header = head + check
        self.chunk_size = 1 << chunk_bits

    def seal(self, plaintext: bytes, *, last: bool) -> bytes:
        """Return the next chunk, 16 bytes longer.

        Raises ValueError for a wrong size: full, but the last, which may be shorter, and is empty only if it is the only one.
        """
        self._check_more()
        full, first = len(plaintext) == self.chunk_size, self._index == 0
        if not full and not (last and len(plaintext) < self.chunk_size and (plaintext or first)):
            raise ValueError(f"a chunk of {len(plaintext)} bytes")
        sealed = self._cipher.encrypt(self._nonce(last=last), plaintext, self._context)
        self._advance(last=last)
        return sealed


class Opener(_Chunks):
    """Decrypts one file.

    Each result of ``open`` is authentic, and in its place. Only the last chunk proves that the file is whole.

    Raises VerificationError if the key, its application, cluster or master public key are not those that the header was made
    for, or the header was changed.
    """

    def __init__(self, header: Header, key: ApplicationKey) -> None:
        owner = key.owner
        check_cluster(header, owner.cluster)
        name = ibe.checked_app_id(owner.app_id)
        try:
            shared = ibe.decapsulate(key.secret, header.c1)
        except InvalidPoint:
            raise ibe.does_not_open(owner.app_id) from None
        context = owner.mpk + header.head + name
        content_key, check = _derive(shared, context)
        if not hmac.compare_digest(check, header.check):
            raise ibe.does_not_open(owner.app_id)
        super().__init__(content_key, context)
        self._app_id = owner.app_id

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """Return the plaintext of the next chunk; ``last`` says that nothing follows it.

        Raises VerificationError if it is not what was encrypted at this place.
        """
        self._check_more()
        plaintext = self._opened(sealed, last=last)
        if plaintext is None:
            raise self._refusal(self._why(sealed, last=last))
        if not plaintext and self._index:
            raise self._refusal("is empty, which none is")
        self._advance(last=last)
        return plaintext

    def _opened(self, sealed: bytes, *, last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(self._nonce(last=last), sealed, self._context)
        except InvalidTag:
            return None

    def _why(self, sealed: bytes, *, last: bool) -> str:
        if self._opened(sealed, last=not last) is None:
            return "was changed, moved or cut"
        return "is not the last one: the rest was cut off" if last else "is the last one: something was added"

    def _refusal(self, why: str) -> VerificationError:
        return VerificationError(
            f"decrypt for application {self._app_id!r}: chunk {self._index + 1} of the ciphertext {why}",
            hint="get the ciphertext again, whole and unchanged",
        )


def encrypt(recipient: Recipient, plaintext: bytes, rng: Rng, chunk_bits: int = CHUNK_BITS) -> bytes:
    """Return a version 2 ciphertext of bytes in memory. Errors as ``Sealer``."""
    sealer = Sealer(recipient, rng, chunk_bits)
    chunks = _split(plaintext, sealer.chunk_size)
    return sealer.header + b"".join(sealer.seal(chunk, last=last) for chunk, last in chunks)


def decrypt(key: ApplicationKey, ciphertext: bytes) -> bytes:
    """Return the whole plaintext.

    Raises InputError for what is no version 2 ciphertext; VerificationError as ``Opener``.
    """
    header = parse_header(ciphertext)
    opener = Opener(header, key)
    chunks = _split(ciphertext[HEADER_SIZE:], header.sealed_size)
    return b"".join([opener.open(chunk, last=last) for chunk, last in chunks])


def _split(content: bytes, size: int) -> list[tuple[bytes, bool]]:
    """Return pairs of a chunk and whether it is the last.

    There is at least one, which is empty for empty content.
    """
    ends = range(size, len(content) + size, size) or range(size, size + 1)
    return [(content[end - size : end], end >= len(content)) for end in ends]


def _head(kind: IdentityKind, chunk_bits: int, cluster: ClusterId, c1: bytes) -> bytes:
    return ibe.MAGIC + bytes([VERSION, kind, chunk_bits]) + cluster + c1


def _derive(shared: bytes, context: bytes) -> tuple[bytes, bytes]:
    """Return (key, check), 32 bytes each."""
    derived = HKDF(algorithm=SHA256(), length=32 + CHECK_SIZE, salt=_SALT, info=context).derive(shared)
    return derived[:32], derived[32:]
