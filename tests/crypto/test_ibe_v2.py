"""Ciphertext version 2: what is encrypted comes back, and whatever is done to a ciphertext is noticed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenkms.crypto import bls, feldman, ibe, ibe_v2
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY, BLS_G2_INFINITY, InvalidPoint
from eigenkms.crypto.ibe_identities import IdentityKind, identity_v1, identity_v2
from eigenkms.crypto.ibe_v2 import ApplicationKey, Opener, Recipient, Sealer, parse_header
from eigenkms.errors import EigenKmsError, InputError, VerificationError
from eigenkms.types import AppId, ClusterId
from tests.crypto.support import counter_rng, scalar
from tests.support.toy_backend import toy_crypto

APP = AppId("an application")
CLUSTER = ClusterId(bytes(range(32)))
MASTER = scalar("master")
SMALL = 6
"""Chunks of 64 bytes, so that a small file has several."""
CHUNK = 64
SEALED = CHUNK + 16
HEADER = 166
PLAINTEXT = bytes(range(150))


def recipient(app_id: str = APP, cluster: bytes = CLUSTER, master: str = "master") -> Recipient:
    return Recipient(AppId(app_id), ClusterId(cluster), feldman.public_share_of(scalar(master)))


def key(app_id: str = APP, cluster: bytes = CLUSTER, master: str = "master") -> ApplicationKey:
    owner = recipient(app_id, cluster, master)
    return ApplicationKey(owner, bls.partial_sign(scalar(master), identity_v2(owner.cluster, app_id)))


def sealed(plaintext: bytes = PLAINTEXT, seed: str = "e") -> bytes:
    return ibe_v2.encrypt(recipient(), plaintext, counter_rng(seed), SMALL)


def refused(ciphertext: bytes, opening: ApplicationKey) -> str:
    """Why nothing at all is returned."""
    with pytest.raises(EigenKmsError) as caught:
        ibe_v2.decrypt(opening, ciphertext)
    assert isinstance(caught.value, InputError | VerificationError)
    return str(caught.value)


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7])
def test_what_is_encrypted_can_be_decrypted(size: int) -> None:
    """Around the ends of chunks too; a header of 166 bytes, 16 for each chunk, at least one chunk."""
    plaintext = bytes(i % 251 for i in range(size))
    ciphertext = sealed(plaintext)
    assert ibe_v2.decrypt(key(), ciphertext) == plaintext
    chunks = max(1, -(-size // CHUNK))
    assert len(ciphertext) == HEADER + size + 16 * chunks
    assert parse_header(ciphertext).plaintext_size(len(ciphertext) - HEADER) == size


@pytest.mark.slow
@settings(max_examples=100, derandomize=True)
@given(
    plaintext=st.binary(max_size=2000),
    app_id=st.text(st.characters(codec="utf-8"), min_size=5),
    cluster=st.binary(min_size=32, max_size=32),
    chunk_bits=st.integers(6, 20),
)
def test_round_trip_of_anything(plaintext: bytes, app_id: str, cluster: bytes, chunk_bits: int) -> None:
    """Any plaintext, application, cluster and chunk size."""
    with toy_crypto():
        to = recipient(app_id, cluster)
        ciphertext = ibe_v2.encrypt(to, plaintext, counter_rng("e"), chunk_bits)
        assert ibe_v2.decrypt(key(app_id, cluster), ciphertext) == plaintext


def test_the_key_for_one_version_opens_nothing_of_the_other() -> None:
    """Of one application, under one master key; nor is a ciphertext of one version taken for one of the other."""
    to, opening = recipient(), key()
    old_key = bls.partial_sign(scalar("master"), identity_v1(APP))
    old, new = ibe.encrypt(APP, to.mpk, bytes(200), counter_rng("1")), sealed()
    assert ibe.decrypt(APP, old_key, old) == bytes(200)
    assert ibe_v2.decrypt(opening, new) == PLAINTEXT
    for secret, ciphertext in ((opening.secret, old), (old_key, b"IBE\x01" + new[4:])):
        with pytest.raises(VerificationError):
            ibe.decrypt(APP, secret, ciphertext)
    for of in (opening, ApplicationKey(to, old_key)):
        refused(b"IBE\x02" + old[4:], of)
        refused(b"IBE\x02\x01\x10" + CLUSTER + old[4:], of)
    refused(new, ApplicationKey(to, old_key))


# -- what is changed is refused ----------------------------------------------------------------------------------


def test_every_single_byte_can_take_no_other_value() -> None:
    """In a file of three chunks, on the toy curves: all 255 of magic, version, kind and size; each bit of the rest."""
    with toy_crypto():
        ciphertext, opening = sealed(), key()
        for at, byte in enumerate(ciphertext):
            others = range(256) if at < ibe_v2._FIELDS_SIZE else (byte ^ 1 << bit for bit in range(8))
            for value in set(others) - {byte}:
                refused(ciphertext[:at] + bytes([value]) + ciphertext[at + 1 :], opening)


def test_every_changed_byte_is_refused_on_the_real_curve() -> None:
    """One changed bit of each byte, another one from byte to byte."""
    ciphertext, opening = sealed(), key()
    for at, byte in enumerate(ciphertext):
        refused(ciphertext[:at] + bytes([byte ^ 1 << at % 8]) + ciphertext[at + 1 :], opening)


@pytest.mark.parametrize("size", [0, 10, CHUNK, 150, 3 * CHUNK])
def test_every_truncation_is_refused(size: int) -> None:
    """At every length, also where a chunk ends."""
    with toy_crypto():
        ciphertext, opening = sealed(bytes(size)), key()
        for length in range(len(ciphertext)):
            refused(ciphertext[:length], opening)


def test_whatever_is_added_is_refused() -> None:
    """A byte, a chunk of zeros, its own last chunk again, another whole file; in front, too."""
    with toy_crypto():
        ciphertext, opening = sealed(), key()
        for more in (b"\x00", bytes(SEALED), ciphertext[-38:], ciphertext):
            refused(ciphertext + more, opening)
            refused(more + ciphertext, opening)


def chunks_of(ciphertext: bytes) -> list[bytes]:
    return [ciphertext[at : at + SEALED] for at in range(HEADER, len(ciphertext), SEALED)]


def test_chunks_stay_in_their_place_and_number() -> None:
    """Every swap, every repeat at every place, every chunk left out."""
    with toy_crypto():
        ciphertext, opening = sealed(bytes(range(4 * CHUNK))), key()
        header, chunks = ciphertext[:HEADER], chunks_of(ciphertext)
        count = range(len(chunks))
        assert len(chunks) == 4
        for a in count:
            left = chunks[:a] + chunks[a + 1 :]
            refused(header + b"".join(left), opening)
            for b in count:
                repeated = [*chunks[:b], chunks[a], *chunks[b:]]
                refused(header + b"".join(repeated), opening)
                if a < b:
                    swapped = list(chunks)
                    swapped[a], swapped[b] = swapped[b], swapped[a]
                    refused(header + b"".join(swapped), opening)


def test_chunks_of_two_files_do_not_mix() -> None:
    """Not even of the same plaintext for the same application; nor does another file's header fit."""
    with toy_crypto():
        one, other, opening = sealed(seed="1"), sealed(seed="2"), key()
        for at in range(3):
            mixed = chunks_of(one)
            mixed[at] = chunks_of(other)[at]
            assert f"chunk {at + 1} of the ciphertext was changed" in refused(
                one[:HEADER] + b"".join(mixed), opening
            )
        assert "chunk 1 of" in refused(other[:HEADER] + one[HEADER:], opening)


def test_the_reason_tells_a_cut_from_a_change() -> None:
    """Where a chunk ends, what is missing or too much is known for sure."""
    with toy_crypto():
        ciphertext, opening = sealed(bytes(3 * CHUNK)), key()
        cut, longer = ciphertext[:-SEALED], ciphertext + bytes(SEALED)
        assert "chunk 2 of the ciphertext is not the last one: the rest was cut off" in refused(cut, opening)
        assert "chunk 3 of the ciphertext is the last one: something was added" in refused(longer, opening)
        assert "chunk 3 of the ciphertext was changed, moved or cut" in refused(ciphertext[:-1], opening)


def test_an_empty_last_chunk_after_others_is_refused() -> None:
    """A plaintext has one ciphertext for each r: not even whoever has the key can make this one pass."""
    with toy_crypto():
        sealer = Sealer(recipient(), counter_rng("e"), SMALL)
        content = sealer.header + sealer.seal(bytes(CHUNK), last=False)
        content += sealer._cipher.encrypt(sealer._nonce(last=True), b"", sealer._context)
        assert "chunk 2 of the ciphertext is empty" in refused(content, key())


# -- what it is bound to -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"app_id": "other app"}, "application 'other app': the key does not open this ciphertext"),
        ({"cluster": bytes(32)}, f"the ciphertext is for cluster {CLUSTER.hex()}, not for {'00' * 32}"),
        ({"master": "other"}, "the key does not open this ciphertext"),
    ],
)
def test_another_application_cluster_or_master_key_does_not_open(wrong: dict[str, str], reason: str) -> None:
    """Another cluster is named before anything is computed; of the others it is said that they do not fit."""
    with pytest.raises(VerificationError, match=reason) as caught:
        ibe_v2.decrypt(key(**wrong), sealed())  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.usefixtures("fast_backend")
def test_each_part_of_the_context_counts_by_itself() -> None:
    """The right secret with another name, master key or (changed in the header, too) cluster: refused by the check, before the
    first chunk.
    """
    right, ciphertext = key(), sealed()
    other_cluster = ClusterId(bytes(32))
    relabelled = ciphertext[:6] + other_cluster + ciphertext[38:]
    for owner, content in (
        (recipient("other app"), ciphertext),
        (recipient(master="other"), ciphertext),
        (recipient(cluster=other_cluster), relabelled),
    ):
        with pytest.raises(VerificationError, match="the key does not open"):
            Opener(parse_header(content), ApplicationKey(owner, right.secret))


@pytest.mark.usefixtures("fast_backend")
@pytest.mark.parametrize("secret", [BLS_G1_INFINITY, b"junk", b"\xff" * 48])
def test_a_key_that_is_no_point_does_not_open(secret: bytes) -> None:
    """As any other wrong key."""
    refused(sealed(), ApplicationKey(recipient(), secret))


@pytest.mark.usefixtures("fast_backend")
def test_first_point_at_infinity_is_refused() -> None:
    """It would make the shared value known to everybody."""
    ciphertext = sealed()
    refused(ciphertext[:38] + BLS_G2_INFINITY + ciphertext[134:], key())


# -- headers and misuse ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ciphertext", "reason"),
    [
        (b"", "does not begin with IBE"),
        (b"IBE", "3 bytes, but the shortest has"),
        (b"IBE\x01" + bytes(200), "version 1 is not known"),
        (b"IBE\x02" + bytes(161), "165 bytes, but the shortest has 182"),
        (b"IBE\x02\x00\x10" + bytes(200), "kind 0 is not known"),
        (b"IBE\x02\x02\x10" + bytes(200), "kind 2 is not known"),
        (b"IBE\x02\x01\x05" + bytes(200), r"chunks of 2\^5 bytes, not 2\^6 to 2\^20"),
        (b"IBE\x02\x01\x15" + bytes(200), r"chunks of 2\^21 bytes"),
        (b"IBE\x02\x01\xff" + bytes(200), r"chunks of 2\^255 bytes"),
    ],
)
def test_what_is_no_header_is_an_input_error(ciphertext: bytes, reason: str) -> None:
    """A file that is something else, or of a kind to come, is told apart from a wrong key."""
    for read in (parse_header, lambda c: ibe_v2.decrypt(key(), c)):
        with pytest.raises(InputError, match=reason):
            read(ciphertext)


def test_header_is_read_without_a_key() -> None:
    """Kind, chunk size and cluster, as they stand there."""
    ciphertext = sealed()
    header = parse_header(ciphertext)
    assert (header.kind, header.chunk_size, header.cluster) == (IdentityKind.APPLICATION, CHUNK, CLUSTER)
    assert (header.c1, header.check) == (ciphertext[38:134], ciphertext[134:166])
    assert header.head == ciphertext[:134]


@pytest.mark.parametrize(("size", "chunk"), [(0, 1), (15, 1), (SEALED + 16, 2), (SEALED + 3, 2)])
def test_sizes_that_no_ciphertext_has_are_an_input_error(size: int, chunk: int) -> None:
    """Whoever only counts bytes notices these cuts."""
    with pytest.raises(InputError, match=f"chunk {chunk} has .* bytes; it was cut"):
        parse_header(sealed()).plaintext_size(size)


def test_nothing_is_encrypted_to_what_nobody_can_open() -> None:
    """A short name, a master key that is no point, a cluster id that is none."""
    good = recipient()
    with pytest.raises(InputError, match="fewer than 5"):
        Sealer(recipient("four"), counter_rng("e"))
    for mpk in (BLS_G2_INFINITY, b"", b"\xff" * 96):
        with pytest.raises(InvalidPoint):
            Sealer(Recipient(APP, CLUSTER, mpk), counter_rng("e"))
    for cluster, bits in ((b"", 16), (bytes(33), 16), (CLUSTER, 5), (CLUSTER, 21)):
        with pytest.raises(ValueError, match="out of range"):
            Sealer(Recipient(APP, ClusterId(cluster), good.mpk), counter_rng("e"), bits)


def test_a_sealer_makes_no_chunk_that_a_reader_refuses() -> None:
    """Too long, too short, empty after others, or after the last one."""
    with toy_crypto():
        sealer = Sealer(recipient(), counter_rng("e"), SMALL)
        for size, last in ((CHUNK + 1, True), (CHUNK + 1, False), (CHUNK - 1, False), (0, False)):
            with pytest.raises(ValueError, match=f"a chunk of {size} bytes"):
                sealer.seal(bytes(size), last=last)
        sealer.seal(bytes(CHUNK), last=False)
        with pytest.raises(ValueError, match="a chunk of 0 bytes"):
            sealer.seal(b"", last=True)
        sealer.seal(b"x", last=True)
        with pytest.raises(ValueError, match="a chunk after the last one"):
            sealer.seal(b"x", last=True)


def test_an_opener_opens_nothing_after_the_last_chunk() -> None:
    """Nor a chunk again that it has opened."""
    with toy_crypto():
        ciphertext = sealed(bytes(CHUNK + 1))
        first, second = chunks_of(ciphertext)
        opener = Opener(parse_header(ciphertext), key())
        assert opener.open(first, last=False) == bytes(CHUNK)
        with pytest.raises(VerificationError, match="chunk 2"):
            opener.open(first, last=False)
        assert opener.open(second, last=True) == b"\x00"
        with pytest.raises(ValueError, match="a chunk after the last one"):
            opener.open(second, last=True)


def test_the_number_of_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key encrypts so many and no more."""
    monkeypatch.setattr(ibe_v2, "MAX_CHUNKS", 2)
    with toy_crypto():
        assert ibe_v2.decrypt(key(), sealed(bytes(2 * CHUNK))) == bytes(2 * CHUNK)
        with pytest.raises(InputError, match="at most 2 chunks"):
            sealed(bytes(2 * CHUNK + 1))


# -- fuzz --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, derandomize=True)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(lambda tail: b"IBE" + tail)))
def test_random_bytes_are_refused_by_both_readers(content: bytes) -> None:
    """With an error of ours, never another one."""
    with toy_crypto():
        opening = key()
        for version in (content[:3], b"IBE\x01", b"IBE\x02", b"IBE\x02\x01\x06"):
            refused(version + content[len(version) :], opening)
            with pytest.raises((InputError, VerificationError)):
                ibe.decrypt(APP, opening.secret, version + content[len(version) :])


@pytest.mark.slow
@settings(max_examples=150, derandomize=True)
@given(data=st.data(), size=st.integers(0, 300))
def test_mutated_ciphertexts_are_refused_by_both_readers(data: st.DataObject, size: int) -> None:
    """Pieces cut out, repeated, replaced, moved: whatever differs from the ciphertext is refused."""
    with toy_crypto():
        opening = key()
        old = ibe.encrypt(APP, opening.owner.mpk, bytes(size), counter_rng("1"))
        for ciphertext in (sealed(bytes(size)), old):
            mutated = bytearray(ciphertext)
            for _ in range(data.draw(st.integers(1, 3))):
                a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(mutated))] * 2)))
                at = data.draw(st.integers(0, len(mutated)))
                piece = data.draw(st.one_of(st.binary(max_size=20), st.just(bytes(mutated[a:b]))))
                mutated[at : data.draw(st.integers(at, min(len(mutated), at + 40)))] = piece
            if mutated == ciphertext:
                continue
            refused(bytes(mutated), opening)
            with pytest.raises((InputError, VerificationError)):
                ibe.decrypt(APP, opening.secret, bytes(mutated))
