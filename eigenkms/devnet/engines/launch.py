"""Starting an engine, knowing when it is ready, and making sure that it ends.

Each engine holds the read end of a pipe as its standard input and ends when that closes, which the operating system
sees to however its parent died. (PR_SET_PDEATHSIG would be tied to the thread that forked, not to the process.) anvil
does not watch its input, so a line of shell does it for it.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, assert_never, get_args

import trio

from eigenkms.config.environment import without_own_secrets
from eigenkms.devnet.engines.accounts import BALANCE_WEI, PRIVATE_KEYS, address_of
from eigenkms.devnet.nurseries import background_task
from eigenkms.errors import ChainError, InputError
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.rpc import JsonRpc

EngineName = Literal["embedded", "anvil"]
ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)
START_SECONDS: Final = 120.0
"""An engine that ends is noticed at once; one on a busy machine spends seconds on imports alone."""
STOP_SECONDS: Final = 1.0
_READY: Final = b"Listening on 127.0.0.1:"
_GUARD_PID: Final = b"guarded process "
_GUARD: Final = (
    '"$@" </dev/null & child=$!; echo "guarded process $child"; exec >/dev/null 2>&1; '
    'read -r _; kill -KILL "$child"; wait "$child"'
)


@dataclass(frozen=True, slots=True)
class ChainProcess:
    """A running chain.

    ``accounts`` are the private keys (32 bytes) of funded accounts; ``pid`` is that of its process.
    """

    name: EngineName
    url: str
    chain_id: int
    accounts: tuple[bytes, ...] = field(repr=False)
    pid: int | None


def find_anvil() -> Path:
    """Return the anvil binary: EIGENKMS_ANVIL, else PATH, else that in contracts/.

    ``npm ci`` puts it there. Raises InputError.
    """
    named = os.environ.get("EIGENKMS_ANVIL")
    here = Path(__file__).resolve().parents[3] / "contracts" / "node_modules" / ".bin" / "anvil"
    for candidate in (named,) if named else (shutil.which("anvil"), str(here)):
        if candidate and os.access(candidate, os.X_OK) and Path(candidate).is_file():
            return Path(candidate).resolve()
    looked = f"EIGENKMS_ANVIL ({named})" if named else "PATH or contracts/node_modules"
    raise InputError(
        f"start the anvil engine: there is no anvil program in {looked}",
        hint="run `npm ci` in contracts/, or set EIGENKMS_ANVIL to its path, or use the embedded engine",
    )


@asynccontextmanager
async def open_engine(
    name: EngineName,
    *,
    block_time: float,
    chain_id: int = 31337,
    port: int = 0,
    log_path: Path | None = None,
    behind: int = 0,
) -> AsyncIterator[ChainProcess]:
    """Run a chain on 127.0.0.1.

    It is killed at the end of the context, within two seconds.

    ``block_time`` in seconds; 0 mines transactions only. ``port`` 0 takes a free one. ``log_path`` is appended to. Anvil's clock is
    ``behind`` seconds slow, until ``set_clock``: each transaction is a block, and each block a second later than the one before.
    Raises InputError (no anvil, port in use) or ChainError (it did not start).
    """
    if block_time < 0 or not 0 <= port < 2**16 or not 0 < chain_id < 2**63:
        raise InputError(f"start the {name} engine: block time, port or chain id is out of range")
    _require_free(name, port)
    command = _command(name, block_time, chain_id, port, behind)
    with Path(log_path or os.devnull).open("ab") as log:  # noqa: ASYNC230 - once, at the start
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=without_own_secrets(os.environ),
            start_new_session=True,  # Ctrl-C is for the parent, which stops the engine last
        )
        try:
            listening, pid = await _ready(name, process, log_path)
            url = f"http://127.0.0.1:{listening}"
            if name == "anvil":
                await _prepare_anvil(url, block_time)
            async with background_task(partial(_drain, process, log.fileno())):
                yield ChainProcess(name, url, chain_id, PRIVATE_KEYS, pid or process.pid)
        finally:
            await _stop(process)


def _require_alysis() -> None:
    if find_spec("alysis") is None:
        raise InputError(
            "start the embedded engine: the Python package alysis is not installed",
            hint="install eigenkms[devnet], or use the anvil engine",
        )


def _command(name: EngineName, block_time: float, chain_id: int, port: int, behind: int) -> list[str]:
    match name:
        case "embedded":
            _require_alysis()
            return [
                *(sys.executable, "-m", "eigenkms.devnet.engines.embedded"),
                *("--port", str(port), "--chain-id", str(chain_id), "--block-time", str(block_time)),
            ]
        case "anvil":
            interval = ("--block-time", str(block_time), "--mixed-mining") if block_time else ()
            return [
                *("sh", "-c", _GUARD, "guard", str(find_anvil()), "--host", "127.0.0.1", "--port", str(port)),
                *("--chain-id", str(chain_id), "--accounts", "1", "--slots-in-an-epoch", "1", *interval),
                *(("--timestamp", str(int(time.time()) - behind)) if behind else ()),
            ]
        case _:
            assert_never(name)


async def _ready(name: str, process: trio.Process, log_path: Path | None) -> tuple[int, int | None]:
    """Return the port of the engine, and its process id if a guard states it.

    Each is a line of the standard output.
    """
    assert process.stdout is not None
    said = b""
    with trio.move_on_after(START_SECONDS):
        async for chunk in process.stdout:
            said += chunk
            if (port := _number_after(_READY, said)) is not None:
                return port, _number_after(_GUARD_PID, said)
    raise ChainError(
        f"start the {name} engine: it ended, or did not come up within {START_SECONDS:g} s",
        hint=f"look into {log_path}" if log_path else "start it with a log file to see why",
    )


def _number_after(mark: bytes, said: bytes) -> int | None:
    _, _, rest = said.partition(mark)
    digits, ended, _ = rest.partition(b"\n")
    return int(digits) if ended else None


def _require_free(name: str, port: int) -> None:
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as exc:
        raise InputError(
            f"start the {name} engine: port {port} cannot be listened on: {exc.strerror}",
            hint="choose another port, or 0 for any free one",
        ) from None


async def _drain(process: trio.Process, log: int) -> None:
    """Move the output of the engine to the log, so that it waits for no reader."""
    assert process.stdout is not None
    async for chunk in process.stdout:
        os.write(log, chunk)


async def _prepare_anvil(url: str, block_time: float) -> None:
    from eigenkms.chain.rpc import JsonRpc  # the embedded engine's process needs none of this

    async with JsonRpc(url) as rpc:
        step = max(1, ceil(block_time))
        funding = [("anvil_setBalance", (to_hex(address_of(key)), hex(BALANCE_WEI))) for key in PRIVATE_KEYS]
        await rpc.batch([("anvil_setBlockTimestampInterval", (step,)), *funding])


async def set_clock(engine: ChainProcess, rpc: "JsonRpc", *, on_demand: bool) -> None:
    """Set an anvil that was started ``behind`` to this machine's time.

    The next block has that time. With ``on_demand`` each later block has it too, or a second more than the block before.
    """
    if engine.name == "anvil":
        await rpc.call("evm_setNextBlockTimestamp", hex(int(time.time())))
        if on_demand:
            await rpc.call("anvil_removeBlockTimestampInterval")


async def _stop(process: trio.Process) -> None:
    """Close the engine's input, on which it ends; kill what is left of it."""
    with trio.CancelScope(shield=True):
        assert process.stdin is not None
        await process.stdin.aclose()
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
