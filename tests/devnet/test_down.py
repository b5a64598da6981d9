"""``devnet down`` stops the very process that announced itself, and nobody else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from eigenkms.devnet.network import STATE_FILE, started_at
from eigenkms.devnet.scenarios import stop_running
from eigenkms.errors import InputError


async def test_nothing_runs_in_an_empty_folder(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(InputError, match="none is running there"):
        await stop_running(tmp_path)


async def test_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    """The id is that of a living process which started at another time: ours."""
    state = {"pid": os.getpid(), "started": (started_at(os.getpid()) or 0) - 1}
    (tmp_path / STATE_FILE).write_text(json.dumps(state))
    with pytest.raises(InputError, match="none is running there"):
        await stop_running(tmp_path)


async def test_the_announced_process_is_stopped_and_waited_for(tmp_path: Path) -> None:
    """It gets SIGTERM, and is gone when the call returns."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    other = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
    state = {"pid": other.pid, "started": started_at(other.pid)}
    (tmp_path / STATE_FILE).write_text(json.dumps(state))
    await stop_running(tmp_path)
    assert await other.wait() == -15
    assert other.stdin is not None
    await other.stdin.aclose()


def test_a_process_that_is_not_there_has_no_start() -> None:
    """So it can never be taken for one that was announced."""
    assert started_at(2**22 + 1) is None
