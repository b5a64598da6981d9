"""The known-clusters file: what is pinned stays, what cannot be read is named by its line, and a write is whole or absent."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from eigenkms import __version__
from eigenkms.client.errors import KeyChangedError
from eigenkms.client.known_clusters import KnownClusters
from eigenkms.errors import InputError
from eigenkms.types import ClusterId

ONE, TWO = ClusterId(b"\x01" * 32), ClusterId(b"\x02" * 32)
KEY, OTHER = b"\xaa" * 96, b"\xbb" * 96


@pytest.fixture
def known(tmp_path: Path) -> KnownClusters:
    return KnownClusters(tmp_path / "deep" / "known_clusters")


def test_nothing_is_pinned_where_there_is_no_file(known: KnownClusters) -> None:
    """And asking makes none."""
    assert known.get(ONE) is None
    assert not known.check(ONE, KEY)
    assert not known.path.exists()


def test_a_pinned_key_is_found_again(known: KnownClusters) -> None:
    """For its own cluster alone; the file and its folder are made, readable by their owner alone."""
    known.pin(ONE, KEY)
    known.pin(TWO, OTHER)
    again = KnownClusters(known.path)
    assert (again.get(ONE), again.get(TWO)) == (KEY, OTHER)
    assert again.check(ONE, KEY)
    assert stat.S_IMODE(known.path.stat().st_mode) == 0o600


def test_pinning_the_same_again_changes_nothing(known: KnownClusters) -> None:
    """Not even the time."""
    known.pin(ONE, KEY)
    before = known.path.read_bytes()
    known.pin(ONE, KEY)
    assert known.path.read_bytes() == before


def test_a_byte_order_mark_before_the_file_is_no_part_of_it(known: KnownClusters) -> None:
    """An editor put it there; the next write leaves it out. Text of another encoding is named, and stays as it is."""
    known.pin(ONE, KEY)
    text = known.path.read_text()
    known.path.write_text("\ufeff" + text.replace("\n", "\r\n"), newline="")
    assert known.get(ONE) == KEY
    known.pin(TWO, OTHER)
    assert (known.get(ONE), known.get(TWO)) == (KEY, OTHER)
    assert not known.path.read_bytes().startswith(b"\xef\xbb\xbf")
    known.path.write_text(text, encoding="utf-16")
    before = known.path.read_bytes()
    with pytest.raises(InputError, match="it is UTF-16 text; save it as UTF-8"):
        known.pin(TWO, OTHER)
    assert known.path.read_bytes() == before


def test_another_key_is_refused_and_not_written(known: KnownClusters) -> None:
    """The message has both keys and the file, the hint what to do."""
    known.pin(ONE, KEY)
    before = known.path.read_bytes()
    for attempt in (known.check, known.pin):
        with pytest.raises(
            KeyChangedError, match=rf"has {'bb' * 8}…, but {known.path} pins {'aa' * 8}…"
        ) as error:
            attempt(ONE, OTHER)
        assert error.value.exit_code == 4
        assert "do not continue" in str(error.value.hint)
    assert known.path.read_bytes() == before


def test_comments_blank_lines_and_further_words_are_left_alone(known: KnownClusters) -> None:
    """People may write in the file; pinning keeps what they wrote, and mends a missing line end."""
    known.path.parent.mkdir()
    known.path.write_text(f"# mine\n\n{ONE.hex()} {KEY.hex()} 1700000000 the devnet")
    assert known.get(ONE) == KEY
    known.pin(TWO, OTHER)
    assert known.path.read_text().startswith(
        f"# mine\n\n{ONE.hex()} {KEY.hex()} 1700000000 the devnet\n{TWO.hex()} "
    )
    assert (known.get(ONE), known.get(TWO)) == (KEY, OTHER)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        f"{ONE.hex()}",
        f"{ONE.hex()} {KEY.hex()[:-2]}",
        f"{ONE.hex()[:-2]} {KEY.hex()}",
        f"{ONE.hex()} {'zz' * 96}",
        f"{KEY.hex()} {ONE.hex()}",
    ],
)
def test_a_line_that_is_none_is_named(known: KnownClusters, line: str) -> None:
    """By file and number; nothing is believed and nothing written until it is mended."""
    known.path.parent.mkdir()
    known.path.write_text(f"# comment\n{TWO.hex()} {OTHER.hex()} 1\n{line}\n")
    before = known.path.read_bytes()
    for attempt in (lambda: known.get(TWO), lambda: known.check(TWO, OTHER), lambda: known.pin(ONE, KEY)):
        with pytest.raises(InputError, match=rf"read {known.path} line 3: not a cluster id") as error:
            attempt()
        assert error.value.hint == "mend or remove that line"
    assert known.path.read_bytes() == before


def test_a_file_that_cannot_be_read_is_named(known: KnownClusters) -> None:
    """A folder in its place, and bytes that are no text."""
    known.path.mkdir(parents=True)
    with pytest.raises(InputError, match=f"read {known.path}"):
        known.get(ONE)
    known.path.rmdir()
    known.path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"read {known.path}"):
        known.get(ONE)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where its folder should be; the hint names the flag."""
    (tmp_path / "file").write_text("")
    known = KnownClusters(tmp_path / "file" / "known")
    with pytest.raises(InputError) as error:
        known.pin(ONE, KEY)
    assert str(known.path) in str(error.value)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    known: KnownClusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the new file is flushed."""
    known.pin(ONE, KEY)
    before = known.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=rf"pin cluster in {known.path}: ") as error:
        known.pin(TWO, OTHER)
    assert "--known-clusters" in str(error.value.hint)
    assert known.path.read_bytes() == before
    assert list(known.path.parent.iterdir()) == [known.path]


def _pin(path: Path, number: int) -> None:
    KnownClusters(path).pin(ClusterId(bytes([number]) * 32), bytes([number]) * 96)


def test_processes_that_pin_at_once_leave_a_file_that_can_be_read(known: KnownClusters) -> None:
    """Each writes the whole file in place of the old one; none sees half of another's."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_pin, [(known.path, number) for number in range(1, 9)])
    pinned = {n: known.get(ClusterId(bytes([n]) * 32)) for n in range(1, 9)}
    assert all(key in (None, bytes([n]) * 96) for n, key in pinned.items())
    assert any(pinned.values())


def test_a_new_file_says_its_version_and_an_old_one_stays_as_it_is(known: KnownClusters) -> None:
    """Files of the first releases had no title; they are read, added to, and get none."""
    known.pin(ONE, KEY)
    assert known.path.read_text().splitlines()[0] == f"# eigenkms known clusters 1 {__version__}"
    line = f"{ONE.hex()} {KEY.hex()} 1700000000\n"
    known.path.write_text(line)
    known.pin(TWO, OTHER)
    assert known.path.read_text().startswith(line)
    assert known.get(TWO) == OTHER


@pytest.mark.parametrize(
    ("title", "by"), [("2", ""), ("2 9.1.0", r" \(written by release 9\.1\.0\)"), ("0", "")]
)
def test_a_file_of_another_version_is_refused_and_left_alone(
    known: KnownClusters, title: str, by: str
) -> None:
    """Reading and pinning alike: nothing is pinned anew that a newer release has pinned in its own way."""
    known.path.parent.mkdir()
    content = f"# eigenkms known clusters {title}\nin a form of its own\n"
    known.path.write_text(content)
    for use in (lambda: known.get(ONE), lambda: known.pin(ONE, KEY)):
        with pytest.raises(InputError, match=rf"version {title[0]}{by} is not 1, which this eigenkms knows"):
            use()
    assert known.path.read_text() == content
