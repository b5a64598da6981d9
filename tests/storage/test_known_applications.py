"""The file of applications that were found: what it keeps, how much, and that nothing depends on it."""

import logging
from pathlib import Path

import pytest

from eigenkms.storage import known_applications
from eigenkms.storage.known_applications import HEADER, KNOWN_APPLICATIONS_NAME, KnownApplications

ADDRESSES = [bytes([number]) * 20 for number in range(1, 8)]


def content(folder: Path) -> bytes:
    return (folder / KNOWN_APPLICATIONS_NAME).read_bytes()


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    """Each once, the one added last at the end; readable by its owner alone."""
    first = KnownApplications.open(tmp_path)
    assert content(tmp_path) == HEADER
    for address in (*ADDRESSES[:3], ADDRESSES[0]):
        first.add(address)
    expected = (ADDRESSES[1], ADDRESSES[2], ADDRESSES[0])
    assert KnownApplications.open(tmp_path).addresses() == expected
    assert content(tmp_path) == HEADER + b"".join(expected)
    assert (tmp_path / KNOWN_APPLICATIONS_NAME).stat().st_mode & 0o777 == 0o600


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are added while it is open: the oldest go."""
    monkeypatch.setattr(known_applications, "MAX_KNOWN", 2)
    kept = KnownApplications.open(tmp_path)
    for address in ADDRESSES:
        kept.add(address)
        assert len(content(tmp_path)) <= len(HEADER) + 4 * 20
    assert kept.addresses() == tuple(ADDRESSES[-2:])


@pytest.mark.parametrize("found", [b"", b"rubbish", HEADER[:7], HEADER + b"\x01" * 19, b"\x00" * 4000])
def test_a_file_that_is_none_counts_for_nothing(tmp_path: Path, found: bytes) -> None:
    """It is begun anew."""
    (tmp_path / KNOWN_APPLICATIONS_NAME).write_bytes(found)
    kept = KnownApplications.open(tmp_path)
    assert kept.addresses() == ()
    kept.add(ADDRESSES[0])
    assert kept.addresses() == (ADDRESSES[0],)


def test_a_disk_that_refuses_is_logged_once_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next start knows less."""
    kept = KnownApplications.open(tmp_path)
    (tmp_path / KNOWN_APPLICATIONS_NAME).unlink()
    (tmp_path / KNOWN_APPLICATIONS_NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        for address in ADDRESSES:
            kept.add(address)
    assert len(caplog.records) == 1
