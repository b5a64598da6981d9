"""The processes of a devnet's nodes, and the events of their logs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from eigenkms.devnet.nurseries import background_task
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.errors import NetworkError

STOP_SECONDS = 30.0
MAX_LINE_BYTES = 64 * 1024
TETHERED = ("-m", "eigenkms.devnet.parent_watchdog")

Listener = Callable[[DevnetOperator, Mapping[str, Any]], None]
"""A function that is called with each event of an operator's log. It must not block."""


class NodeProcess:
    """A running ``eigenkms node``.

    Its log lines are events; ``wait_event`` waits for one.
    """

    def __init__(
        self, member: DevnetOperator, process: trio.Process, listener: Listener | None = None
    ) -> None:
        self.member = member
        self.process = process
        self._seen: dict[str, dict[str, Any]] = {}
        self._news = trio.Event()
        self._listener = listener
        self._reading = trio.CancelScope(shield=True)
        self.ended = trio.Event()

    def has_logged(self, name: str) -> bool:
        """Return whether this process has logged an event of that name."""
        return name in self._seen

    async def wait_event(self, name: str, seconds: float) -> dict[str, Any]:
        """Return the last event of that name, once there is one.

        Raises ``NetworkError`` if the node ends first, or after ``seconds``.
        """
        with trio.move_on_after(seconds):
            while name not in self._seen:
                if self.ended.is_set():
                    raise NetworkError(
                        f"wait for {self.member.name} to be {name!r}: its process ended with code {self.process.returncode}",
                        hint=f"see {self.member.log}",
                    )
                await self._news.wait()
        if name not in self._seen:
            raise NetworkError(
                f"wait for {self.member.name} to be {name!r}: not within {seconds:g} seconds",
                hint=f"see {self.member.log}",
            )
        return self._seen[name]

    async def follow(self) -> None:
        """Copy the log to its file and record events, until the process ends.

        Only ``abandon`` cancels it.
        """
        assert self.process.stderr is not None
        buffer = b""
        with self._reading, self.member.log.open("ab") as file:
            async for chunk in self.process.stderr:
                file.write(chunk)
                file.flush()
                *lines, buffer = (buffer + chunk).split(b"\n")
                buffer = buffer[-MAX_LINE_BYTES:]
                for line in lines:
                    self._parse_line(line)
            await self.process.wait()
        self.ended.set()
        self._wake()

    def abandon(self) -> None:
        """Stop reading the log."""
        self._reading.cancel()

    def _parse_line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            self._seen[event["event"]] = event
            if self._listener is not None:
                self._listener(self.member, event)
            self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def stop(self) -> int:
        """Send SIGTERM, and SIGKILL after ``STOP_SECONDS``; return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            await self.process.wait()
        return await self.kill()

    async def kill(self) -> int:
        """Send SIGKILL, as a crash; return the exit code."""
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()


@asynccontextmanager
async def run_node_process(
    member: DevnetOperator,
    *,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    launcher: Sequence[str] = TETHERED,
    listener: Listener | None = None,
) -> AsyncIterator[NodeProcess]:
    """Run a node process for the length of the context.

    ``launcher`` makes Python the ``eigenkms`` command.
    """
    command = [
        sys.executable,
        *launcher,
        "node",
        "--config",
        str(member.config),
        *arguments,
    ]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=None if environment is None else {**os.environ, **environment},
    )
    node = NodeProcess(member, process, listener)
    async with background_task(node.follow):
        try:
            yield node
        finally:
            with trio.CancelScope(shield=True):
                await node.stop()
                assert process.stdin is not None
                await process.stdin.aclose()
                with trio.move_on_after(1):
                    await node.ended.wait()
                node.abandon()
