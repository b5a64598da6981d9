"""Ctrl-C while a verb asks the network: in this process, where what happens in between can be seen."""

import os
import signal
import subprocess
import sys

import pytest
import trio

from eigenkms.cli.support import client_runner
from eigenkms.errors import StorageError
from tests.support.waiting import PATIENCE


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_everything_is_closed_before_the_interrupt_is_one() -> None:
    """Cancelled first, with its clean-up done; and the signal means again what it meant before."""
    closed, before = [], signal.getsignal(signal.SIGINT)

    async def call() -> None:
        try:
            _interrupt()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        client_runner.run(call)
    assert closed == [True]
    assert signal.getsignal(signal.SIGINT) == before


def test_what_goes_wrong_in_the_clean_up_is_told() -> None:
    """An interrupt hides no error."""

    async def call() -> None:
        try:
            _interrupt()
            await trio.sleep_forever()
        finally:
            raise StorageError("close store: the disk is gone")

    with pytest.raises(StorageError, match="the disk is gone"):
        client_runner.run(call)


def test_a_second_interrupt_waits_for_no_clean_up() -> None:
    """Whoever presses again wants out."""

    async def call() -> None:
        try:
            _interrupt()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                _interrupt()
                await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        client_runner.run(call)


def test_an_error_stands_alone() -> None:
    """No group is put around what a call raises."""

    async def call() -> None:
        raise StorageError("open store: no")

    with pytest.raises(StorageError, match="no"):
        client_runner.run(call)


def test_no_signal_is_ignored() -> None:
    """In tests, whatever started them; so a child is ended by any of these."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        assert signal.getsignal(number) is not signal.SIG_IGN


@pytest.mark.slow
def test_a_run_in_the_background_takes_signals_too() -> None:
    """A script starts what it runs in the background without SIGINT, and nohup without SIGHUP: tests of both pass there, too."""
    name = f"{__file__}::{test_no_signal_is_ignored.__name__}"
    script = "trap '' INT HUP; exec \"$@\""
    words = ["sh", "-c", script, "sh", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
