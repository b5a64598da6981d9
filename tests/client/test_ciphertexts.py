"""Ciphertexts as streams: any version, any size, any way in which a stream gives its bytes, and no network."""

import io
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.client import ciphertexts
from eigenkms.client.api import ClusterInfo, encrypt_stream
from eigenkms.client.ciphertexts import decrypt, decrypt_stream, encrypt, open_ciphertext
from eigenkms.crypto import backends, bls, ibe_v2
from eigenkms.crypto.backends.interface import InvalidPoint
from eigenkms.crypto.ibe_identities import identity_of
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.errors import InputError, VerificationError
from eigenkms.types import AppId, ClusterId
from tests.client.test_api import APP, living
from tests.support.fake_network import CLUSTER, FakeNetwork, Honest, network_client
from tests.support.toy_backend import toy_crypto

CHUNK = 65536


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known"


@pytest.fixture
def info(network: FakeNetwork) -> ClusterInfo:
    return ClusterInfo(CLUSTER, network.epoch)


@pytest.fixture
def key(network: FakeNetwork, info: ClusterInfo) -> ApplicationKey:
    return key_of(info.recipient(APP), network.secret)


@pytest.fixture
def old_key(network: FakeNetwork, info: ClusterInfo) -> ApplicationKey:
    """That for version 1."""
    return key_of(info.recipient(APP), network.secret, 1)


def key_of(owner: Recipient, secret: SecretScalar, version: int = 2) -> ApplicationKey:
    identity = identity_of(version, owner.cluster, owner.app_id)
    return ApplicationKey(owner, bls.partial_sign(secret, identity))


class Dripping:
    """A stream that gives as many bytes at a time as it likes, as sockets and pipes do."""

    def __init__(self, content: bytes, sizes: Iterator[int]) -> None:
        self._content = io.BytesIO(content)
        self._sizes = sizes

    def read(self, size: int) -> bytes:
        return self._content.read(min(size, next(self._sizes)))


def test_streams_and_bytes_are_one_format(key: ApplicationKey) -> None:
    """Either reads what the other wrote, at sizes around those of chunks."""
    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        plaintext, sealed, opened = bytes(i % 251 for i in range(size)), io.BytesIO(), io.BytesIO()
        assert ciphertexts.encrypt_stream(key.owner, io.BytesIO(plaintext), sealed) == size
        assert decrypt(key, sealed.getvalue()) == plaintext
        decrypt_stream(key, io.BytesIO(encrypt(key.owner, plaintext)), opened)
        assert opened.getvalue() == plaintext


@settings(max_examples=60, derandomize=True)
@given(
    plaintext=st.binary(max_size=300),
    times=st.integers(1, 700),
    sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=5),
    version=st.sampled_from([1, 2]),
)
def test_round_trip_through_streams_that_drip(
    plaintext: bytes, times: int, sizes: list[int], version: int
) -> None:
    """However few bytes come at a time."""
    with toy_crypto():
        master = SecretScalar(7)
        mpk = backends.bls12381().encode_g2(7)
        key = key_of(Recipient(APP, CLUSTER, mpk), master, version)
        content, sealed, opened = plaintext * times, io.BytesIO(), io.BytesIO()
        if version == 2:
            ciphertexts.encrypt_stream(key.owner, Dripping(content, cycle(sizes)), sealed)
        else:
            sealed.write(encrypt(key.owner, content, 1))
        decrypt_stream(key, Dripping(sealed.getvalue(), cycle(sizes)), opened)
        assert opened.getvalue() == content


def test_version_1_can_be_written_and_is_read(key: ApplicationKey, old_key: ApplicationKey) -> None:
    """Its bytes say which it is; another version there is not."""
    old = encrypt(key.owner, b"secret", 1)
    assert (old[3], encrypt(key.owner, b"secret")[3]) == (1, 2)
    assert decrypt(old_key, old) == b"secret"
    with pytest.raises(InputError, match="version 3 is not known"):
        encrypt(key.owner, b"secret", 3)
    with pytest.raises(InputError, match="version 3 is not known"):
        decrypt(key, b"IBE\x03" + old[4:])


def test_what_is_written_before_an_error_is_the_true_beginning(key: ApplicationKey) -> None:
    """A chunk changed, or the end cut off: all before it was released, nothing of it and nothing after it."""
    plaintext = bytes(i % 251 for i in range(3 * CHUNK))
    ciphertext = encrypt(key.owner, plaintext)
    second = 166 + CHUNK + 16
    changed = bytearray(ciphertext)
    changed[second + 5] ^= 1
    for content, released in (
        (bytes(changed), CHUNK),
        (ciphertext[: second + 5], CHUNK),
        (ciphertext[:second], 0),
        (ciphertext[:-1], 2 * CHUNK),
        (ciphertext + b"x", 2 * CHUNK),
    ):
        opened = io.BytesIO()
        with pytest.raises(VerificationError):
            decrypt_stream(key, io.BytesIO(content), opened)
        assert opened.getvalue() == plaintext[:released]


@pytest.mark.parametrize(
    "content", [b"", b"IB", b"IBE", b"nonsense", b"IBE\x01" + bytes(100), b"IBE\x02" + bytes(9)]
)
def test_what_is_no_ciphertext_is_an_input_error(content: bytes) -> None:
    """Before a key is needed."""
    with pytest.raises(InputError, match="read ciphertext: "):
        open_ciphertext(io.BytesIO(content))


def test_another_cluster_is_noticed_without_a_key(key: ApplicationKey) -> None:
    """By version 2; version 1 does not say."""
    other = ClusterId(bytes(32))
    for version in (1, 2):
        ciphertext = open_ciphertext(io.BytesIO(encrypt(key.owner, b"secret", version)))
        ciphertext.check_cluster(CLUSTER)
        if version == 2:
            with pytest.raises(
                VerificationError, match=f"for cluster {CLUSTER.hex()}, not for {other.hex()}"
            ):
                ciphertext.check_cluster(other)
        else:
            ciphertext.check_cluster(other)


def test_version_1_is_bounded(
    key: ApplicationKey, old_key: ApplicationKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held in memory; writer and reader have one limit, and version 2 has none."""
    monkeypatch.setattr(ciphertexts, "MAX_WHOLE", 10)
    largest = encrypt(key.owner, bytes(10), 1)
    assert decrypt_to_bytes(old_key, largest) == bytes(10)
    for call in (lambda: encrypt(key.owner, bytes(11), 1), lambda: decrypt_to_bytes(old_key, largest + b"x")):
        with pytest.raises(InputError, match="more than 10 bytes"):
            call()
    assert decrypt_to_bytes(key, encrypt(key.owner, bytes(11))) == bytes(11)


def decrypt_to_bytes(key: ApplicationKey, ciphertext: bytes) -> bytes:
    opened = io.BytesIO()
    decrypt_stream(key, io.BytesIO(ciphertext), opened)
    return opened.getvalue()


def test_a_stream_that_does_not_wait_is_not_taken_for_one_that_ended(key: ApplicationKey) -> None:
    """Else a half would be encrypted as the whole."""

    class Unready:
        def read(self, _size: int) -> None:
            return None

    with pytest.raises(InputError, match="does not wait"):
        ciphertexts.encrypt_stream(key.owner, Unready(), io.BytesIO())


def test_nothing_is_encrypted_that_nobody_could_decrypt(info: ClusterInfo, key: ApplicationKey) -> None:
    """An application id longer than operators read; a master key that is none. Nothing is written."""
    sealed = io.BytesIO()
    with pytest.raises(InputError, match="longer than 1024 bytes"):
        encrypt_stream(info, AppId("x" * 1025), io.BytesIO(b""), sealed)
    with pytest.raises(InvalidPoint):
        ciphertexts.encrypt_stream(Recipient(APP, CLUSTER, bytes(96)), io.BytesIO(b""), sealed)
    assert sealed.getvalue() == b""


# -- with operators ----------------------------------------------------------------------------------------------


async def test_a_client_decrypts_streams_of_both_versions(network: FakeNetwork, known: Path) -> None:
    """And bytes; more than is decrypted in one go."""
    plaintext = bytes(70) * CHUNK
    async with living(network, [Honest(network)] * 4), network_client(network, known) as client:
        info = await client.fetch()
        for version in (1, 2):
            opened = io.BytesIO()
            await client.decrypt_stream(
                APP, io.BytesIO(encrypt(info.recipient(APP), plaintext, version)), opened
            )
            assert opened.getvalue() == plaintext
        sealed = io.BytesIO()
        assert await trio.to_thread.run_sync(encrypt_stream, info, APP, io.BytesIO(b"small"), sealed) == 5
        assert await client.decrypt(APP, sealed.getvalue()) == b"small"


async def test_another_clusters_ciphertext_is_refused_before_anybody_is_asked(
    network: FakeNetwork, known: Path, info: ClusterInfo
) -> None:
    """It names its cluster."""
    honest = Honest(network)
    foreign = Recipient(APP, ClusterId(bytes(32)), info.mpk)
    async with living(network, [honest] * 4), network_client(network, known) as client:
        with pytest.raises(VerificationError, match="not for"):
            await client.decrypt(APP, ibe_v2.encrypt(foreign, b"secret", lambda n: b"\x01" * n))
        assert honest.asked == []
