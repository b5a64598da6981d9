"""Ciphertexts of any version and any size, without any network.

A holder of a master public key encrypts, and a holder of an application's key decrypts (docs/formats.md, Ciphertext).

Streams are objects with a blocking ``read(size)`` or ``write(content)``, as binary files have them. Version 2 passes through them
in constant memory. Version 1 is one piece, held in memory, and at most 256 MiB.

>>> key = await client.application_key(AppId("my-app"))
>>> with open("secret.ibe", "rb") as source, open("secret", "wb") as sink:
...     decrypt_stream(key, source, sink)

Bytes that were written before an error are authentic, but only the beginning of the plaintext: a caller that gets an error discards
them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from eigenkms.crypto import ibe, ibe_identities, ibe_v2
from eigenkms.crypto.app_ids import canonical
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.errors import InputError
from eigenkms.types import ClusterId
from eigenkms.wire.client_rpc import MAX_APP_ID_BYTES

NEWEST = ibe_v2.VERSION
MAX_WHOLE = 256 * 2**20
"""Bytes of plaintext in a ciphertext of version 1: it is in memory, several times over."""


class Readable(Protocol):
    """A source of bytes: at most ``size`` of them at a call, none at the end."""

    def read(self, size: int, /) -> bytes | None: ...


class Writable(Protocol):
    """A sink of bytes, which takes all of them at each call."""

    def write(self, content: bytes, /) -> object: ...


def encrypt(recipient: Recipient, plaintext: bytes, version: int = NEWEST) -> bytes:
    """Encrypt bytes in memory.

    Raises ``InputError`` for an application id that no operator reads, too much plaintext for version 1, or an unknown version.
    Raises ``InvalidPoint`` for a malformed master public key.
    """
    recipient = _readable(recipient)
    if version == ibe_v2.VERSION:
        return ibe_v2.encrypt(recipient, plaintext, os.urandom)
    if version != ibe.VERSION:
        raise InputError(f"encrypt: version {version} is not known")
    if len(plaintext) > MAX_WHOLE:
        raise _too_large()
    return ibe.encrypt(recipient.app_id, recipient.mpk, plaintext, os.urandom)


def encrypt_stream(recipient: Recipient, source: Readable, sink: Writable) -> int:
    """Encrypt ``source`` to its end in version 2; return the bytes of plaintext.

    Errors as ``encrypt``.
    """
    recipient = _readable(recipient)
    sealer = ibe_v2.Sealer(recipient, os.urandom)
    sink.write(sealer.header)
    size = 0
    for chunk, last in _chunks(source, sealer.chunk_size):
        sink.write(sealer.seal(chunk, last=last))
        size += len(chunk)
    return size


def decrypt(key: ApplicationKey, ciphertext: bytes) -> bytes:
    """Decrypt bytes in memory, of the version that the key is for.

    Raises ``InputError`` for bytes that are no ciphertext. Raises ``VerificationError`` if it is for another application, cluster,
    master key or version, or was changed.
    """
    if ibe.read_version(ciphertext, ibe_identities.VERSIONS) == ibe.VERSION:
        return ibe.decrypt(key.owner.app_id, key.secret, ciphertext)
    return ibe_v2.decrypt(key, ciphertext)


def decrypt_stream(key: ApplicationKey, source: Readable, sink: Writable) -> None:
    """Decrypt ``source`` to its end into ``sink``.

    Errors as ``decrypt``; for version 2 they may come after part of the plaintext was written.
    """
    for plaintext in open_ciphertext(source).plaintext(key):
        sink.write(plaintext)


@dataclass(frozen=True, slots=True)
class WholeCiphertext:
    """Version 1, read."""

    version: ClassVar[int] = ibe.VERSION
    header: ibe.CiphertextHeader
    content: bytes

    def check_cluster(self, cluster: ClusterId) -> None:
        """Version 1 names no cluster: a wrong one is found out by decrypting."""

    def plaintext(self, key: ApplicationKey) -> Iterator[bytes]:
        """Yield the one piece. Raises ``VerificationError``."""
        yield ibe.decrypt(key.owner.app_id, key.secret, self.content)


@dataclass(frozen=True, slots=True)
class ChunkedCiphertext:
    """Version 2, of which the header was read and the rest is in ``source``."""

    version: ClassVar[int] = ibe_v2.VERSION
    header: ibe_v2.Header
    source: Readable

    def check_cluster(self, cluster: ClusterId) -> None:
        """Raise ``VerificationError`` unless the header names ``cluster``."""
        ibe_v2.check_cluster(self.header, cluster)

    def plaintext(self, key: ApplicationKey) -> Iterator[bytes]:
        """Yield a chunk at a time, each authentic.

        The plaintext is whole if the end is reached. Raises ``VerificationError``.
        """
        opener = ibe_v2.Opener(self.header, key)
        for chunk, last in _chunks(self.source, self.header.sealed_size):
            yield opener.open(chunk, last=last)

    def measure(self) -> tuple[int, int]:
        """Return the bytes of ciphertext and of plaintext, without a key.

        Reads to the end. Raises ``InputError`` if it was cut.
        """
        sealed = sum(len(chunk) for chunk, _ in _chunks(self.source, self.header.sealed_size))
        return ibe_v2.HEADER_SIZE + sealed, self.header.plaintext_size(sealed)


def open_ciphertext(source: Readable) -> WholeCiphertext | ChunkedCiphertext:
    """Read the header, and version 1 to its end; that needs no key.

    Raises ``InputError`` for bytes that are no ciphertext.
    """
    begin = _read(source, len(ibe.MAGIC) + 1)
    if ibe.read_version(begin, ibe_identities.VERSIONS) == ibe_v2.VERSION:
        rest = _read(source, ibe_v2.HEADER_SIZE - len(begin))
        return ChunkedCiphertext(ibe_v2.parse_header(begin + rest), source)
    largest = MAX_WHOLE + ibe.OVERHEAD
    content = begin + _read(source, largest + 1 - len(begin))
    if len(content) > largest:
        raise _too_large()
    return WholeCiphertext(ibe.parse(content), content)


def _readable(recipient: Recipient) -> Recipient:
    """Return the recipient with its canonical id.

    Raises ``InputError`` for an id that no operator reads.
    """
    app_id = canonical(recipient.app_id)
    if len(app_id.encode()) > MAX_APP_ID_BYTES:
        raise InputError(f"encrypt: the application id is longer than {MAX_APP_ID_BYTES} bytes")
    return replace(recipient, app_id=app_id)


def _too_large() -> InputError:
    return InputError(
        f"ciphertext version 1: more than {MAX_WHOLE} bytes", hint="use version 2, which is read in pieces"
    )


def _chunks(source: Readable, size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield (chunk, whether it is the last); at least one, which may be empty."""
    chunk = _read(source, size)
    while len(chunk) == size and (following := _read(source, size)):
        yield chunk, False
        chunk = following
    yield chunk, True


def _read(source: Readable, size: int) -> bytes:
    """Read ``size`` bytes, or all that there are to the end."""
    parts = []
    while size:
        content = source.read(size)
        if content is None:
            raise InputError("read stream: it has no bytes now and does not wait", hint="give a blocking one")
        if not content:
            break
        parts.append(content)
        size -= len(content)
    return b"".join(parts)
