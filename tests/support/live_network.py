"""A running network for tests that are not asynchronous, and the ``eigenkms`` command run against it.

The network lives in a trio loop of its own, in a thread; what a test wants done there goes through ``Loop.run``. One task carries
out all jobs, one after another, because a context that one job opens (a process, a chain) is closed by another.
"""

import io
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio

from eigenkms.cli import main as cli
from eigenkms.devnet.engines.launch import EngineName, find_anvil
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Access, Timing
from eigenkms.devnet.nurseries import open_scope
from eigenkms.devnet.operators import DevnetOperator
from eigenkms.devnet.ports import free_ports
from eigenkms.devnet.provisioning import open_network
from eigenkms.errors import EigenKmsError, InputError
from eigenkms.p2p.host import Host
from eigenkms.p2p.identity import PeerKey, parse_address
from eigenkms.wire import rpc_methods
from tests.e2e.boundaries import Boundaries
from tests.support import node_observation
from tests.support.hosts import patient_host
from tests.support.waiting import PATIENCE, eventually

T = TypeVar("T")


def _engine() -> EngineName:
    """Anvil where it is: it leaves the processor to the nodes. The stories and the tutorial run on the embedded one."""
    try:
        find_anvil()
    except InputError:
        return "embedded"
    return "anvil"


ENGINE = _engine()
APP = "my-app"
STEADY = Timing(interval_blocks=4, block_seconds=60.0, window_seconds=1.0, on_demand=True)
"""Boundaries come while a test waits. Nodes expect so few blocks that the newest one is never old to them."""
STILL_SECONDS = 10.0
"""How long operators may take to find each other before a boundary helps them."""
CLIENT_SECONDS = "120"
"""A client's time for all operators: none of the tests is to exhaust it."""


class Loop:
    """A trio loop in a thread. Opened by ``opened``; ``stack`` closes in it what was opened in it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Awaitable[Any]], Future[Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: trio.run(self._work), name="network loop")

    async def _work(self) -> None:
        async with AsyncExitStack() as self.stack:
            while (job := await trio.to_thread.run_sync(self._jobs.get)) is not None:
                work, future = job
                try:
                    future.set_result(await work())
                except Exception as error:
                    future.set_exception(error)

    def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Carry out ``work(*args)`` in the loop; what it returns or raises. TooSlowError if it hangs."""

        async def limited() -> T:
            with trio.fail_after(PATIENCE + 30):  # a wait of its own ends first, and says for what it waited
                return await work(*args)

        return self.enter(limited)

    def enter(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """``run`` for work that leaves a context open on ``stack``, which therefore runs in no scope of its own."""
        future: Future[T] = Future()
        self._jobs.put((lambda: work(*args), future))
        return future.result(PATIENCE + 60)

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator["Loop"]:
        loop = cls()
        loop.start()
        try:
            yield loop
        finally:
            loop.stop()

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop when its jobs are done, and check that it ended."""
        self._jobs.put(None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the network's loop did not end"


@dataclass(frozen=True)
class Said:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def eigenkms(*args: str | Path) -> Said:
    """The command in this process: the real command line without the second that a new interpreter costs."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.run([str(arg) for arg in args])
    return Said(code, *(each.buffer.getvalue().decode() for each in (out, err)))


def eigenkms_process(*args: str | Path, before: Sequence[str] = ()) -> Said:
    """The command as its own process; killed, and an error, if it does not end.

    ``before`` is a command that the process is started by.
    """
    done = subprocess.run(
        [*before, sys.executable, "-m", "eigenkms.cli.main", *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """A node sends the log of its process to stderr."""
    root, own = logging.getLogger(), logging.getLogger("eigenkms")
    before = list(root.handlers), root.level, own.level
    try:
        yield
    finally:
        root.handlers[:], level, own_level = before
        root.setLevel(level)
        own.setLevel(own_level)


def free_port() -> int:
    (port,) = free_ports(1)
    return port


class LiveNetwork:
    """A devnet with node processes. Operators are numbered from 0, in the order of their folders."""

    def __init__(
        self, loop: Loop, network: Devnet, probe: Host, boundaries: Boundaries, paused: set[int]
    ) -> None:
        self.loop = loop
        self.network = network
        self.folder = network.folder
        self._probe = probe
        self._boundaries = boundaries
        self._flags: dict[int, tuple[str, ...]] = {}
        self._ports: dict[int, int | None] = {}
        self._paused = paused

    # -- operators -------------------------------------------------------------------------------------------

    @property
    def members(self) -> list[DevnetOperator]:
        return self.network.members

    def name(self, index: int) -> str:
        """The address as messages have it."""
        return "0x" + self.members[index].address.hex()

    def pid(self, index: int) -> int:
        return self.network.nodes[index].process.pid

    def port(self, index: int) -> int:
        """Where the operator listens: where it was told when it was started, else where its file says."""
        return self._ports.get(index) or self.members[index].port

    def is_running(self, index: int) -> bool:
        node = self.network.nodes.get(index)
        return node is not None and not node.ended.is_set()

    def start(self, index: int, *flags: str, port: int | None = None) -> None:
        """Start an operator's node, with more flags than its file has; it is up when this returns."""
        self.start_all([index], *flags, port=port)

    def start_all(self, indexes: list[int], *flags: str, port: int | None = None) -> None:
        """Start several at once."""
        for index in indexes:
            listen = () if port is None else ("--listen", f"/ip4/127.0.0.1/tcp/{port}")
            self._flags[index] = (*flags, *listen)
            self._ports[index] = port
        for index in indexes:
            self.loop.run(lambda i=index: self.network.start(i, arguments=self._flags[i]))
        for index in indexes:
            self.wait_event(index, "up")

    def start_to_crash(self, index: int, point: str, moment: str) -> None:
        """Start an operator's node that will SIGKILL itself at a persistence point (``crashing_node``)."""
        self.loop.run(
            lambda: self.network.start(index, launcher=("-m", "tests.e2e.crashing_node", point, moment))
        )

    def has_ended(self, index: int) -> bool:
        """Whether the process has ended by itself."""
        return self.network.nodes[index].ended.is_set()

    def has_certified(self, index: int) -> bool:
        """Whether the running process took the certificate of a key."""
        return self.network.nodes[index].has_logged("certified")

    def stop(self, *indexes: int, number: signal.Signals = signal.SIGTERM) -> list[int]:
        """Send a signal to these operators and wait for the end of them all; their exit codes."""
        nodes = [self.network.nodes[index] for index in indexes]

        async def wait() -> list[int]:
            for node in nodes:
                node.process.send_signal(number)
            codes = [await node.process.wait() for node in nodes]
            for node in nodes:
                await node.ended.wait()  # its last words are in the log
            return codes

        return self.loop.run(wait)

    async def stop_all(self) -> None:
        """SIGTERM for all; every one leaves with exit code 0."""
        for node in self.network.nodes.values():
            node.process.terminate()
        codes = [await node.process.wait() for node in self.network.nodes.values()]
        assert codes == [0] * len(codes), codes

    def kill(self, *indexes: int) -> None:
        """SIGKILL, as a crash."""
        self.stop(*indexes, number=signal.SIGKILL)

    def pause(self, *indexes: int) -> None:
        """SIGSTOP: the machine is there, the operator does not answer."""
        for index in indexes:
            os.kill(self.pid(index), signal.SIGSTOP)
            self._paused.add(index)

    def wake(self) -> None:
        """Let go on whoever is paused."""
        for index in self._paused:
            os.kill(self.pid(index), signal.SIGCONT)
        self._paused.clear()

    def mend(self) -> None:
        """Every operator runs as its file says, and has found all the others."""
        self.wake()
        self.stop(*[m.index for m in self.members if self._flags.get(m.index) and self.is_running(m.index)])
        down = [m.index for m in self.members if not self.is_running(m.index)]
        if down:
            self.start_all(down)
        for member in self.members:
            self.wait_linked(member.index)

    def wait_linked(self, *indexes: int) -> None:
        """Wait until these operators have found, and know, all the others."""

        def is_linked(status: dict[str, Any]) -> bool:
            return bool(status["peers"] == len(self.members) - 1)

        for index in indexes:
            self.wait_status(index, is_linked, still=STILL_SECONDS)

    # -- boundaries ------------------------------------------------------------------------------------------

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Boundaries come while the context lasts, as they do in ``wait_status`` and ``wait_log``."""
        with ExitStack() as stack:
            self.loop.run(_entered, stack, self._boundaries)
            try:
                yield
            finally:
                self.loop.run(_closed, stack)

    def pass_boundary(self) -> int:
        """Make the next boundary at once, and wait for nothing; its block number."""
        return self.loop.run(self._boundaries.advance)

    def genesis(self) -> None:
        """Wait until every operator that runs holds its share of a master key."""

        async def wait() -> None:
            with self._boundaries.demanded():
                await self.network.genesis(PATIENCE)

        self.loop.run(wait)

    # -- what a node says ------------------------------------------------------------------------------------

    def call(self, index: int, method: str, body: bytes) -> bytes:
        """One call of the client protocol, by an honest stranger."""
        return self.loop.run(self._call, index, method, body)

    async def _call(self, index: int, method: str, body: bytes) -> bytes:
        peer = parse_address(self.members[index].socket).peer_id
        self._probe.set_addresses(peer, [f"/ip4/127.0.0.1/tcp/{self.port(index)}"])
        return await self._probe.call(peer, rpc_methods.CLIENT_PROTOCOL, method, body, timeout=PATIENCE)

    def status(self, index: int) -> dict[str, Any]:
        """The first status that it answers with; no boundary is made for it."""
        return self.wait_status(index, lambda _status: True, still=PATIENCE)

    def wait_status(
        self, index: int, condition: Callable[[dict[str, Any]], bool], *, still: float = 0.0
    ) -> dict[str, Any]:
        """The first status that fulfils ``condition``. Boundaries come meanwhile, from ``still`` seconds on."""
        last: object = None

        async def fulfilled() -> dict[str, Any] | None:
            nonlocal last
            try:
                last = status = node_observation.read_status(await self._call(index, rpc_methods.STATUS, b""))
            except EigenKmsError as error:
                last = error
                return None
            return status if condition(status) else None

        async def wait() -> dict[str, Any]:
            if (found := await fulfilled()) is not None:
                return found
            with trio.move_on_after(still):
                return await eventually(fulfilled)
            with self._boundaries.demanded():
                return await eventually(fulfilled, lambda: f"operator {index + 1} says {last}")

        return self.loop.run(wait)

    def wait_share(self, index: int, *, at_rest: bool = False) -> dict[str, Any]:
        """Its status once it holds its share of the newest version: for moments after each certificate it does not. No boundary is
        made for it. ``at_rest``: once no session is under way either, so that it can be stopped while it holds its share.
        """

        def holds(status: dict[str, Any]) -> bool:
            return status["share"] and not (at_rest and status["phase"] in ("dealing", "voting"))

        return self.wait_status(index, holds, still=PATIENCE)

    def wait_event(self, index: int, name: str) -> dict[str, Any]:
        """The last event of that name that the running process of an operator logged, once there is one."""
        return self.loop.run(self.network.nodes[index].wait_event, name, PATIENCE)

    def log_size(self, index: int) -> int:
        log = self.members[index].log
        return log.stat().st_size if log.exists() else 0

    def log_after(self, index: int, size: int) -> str:
        """What an operator has logged since ``log_size`` was this."""
        return self.members[index].log.read_bytes()[size:].decode()

    def wait_log(self, index: int, text: str, *, after: int = 0) -> str:
        """The first line of an operator's log, from byte ``after`` on, that has ``text``, while boundaries come."""
        log = self.members[index].log
        return node_observation.first_line(log, text, after) or self._wait_log(log, text, after)

    def _wait_log(self, log: Path, text: str, after: int) -> str:
        with self.turning():
            return node_observation.wait_line(log, text, after)

    # -- commands --------------------------------------------------------------------------------------------

    def eigenkms(self, verb: str, *args: str | Path) -> Said:
        """A verb against this network, with the timeout of a patient user."""
        return eigenkms(verb, "--config", self.network.client_config, "--timeout", CLIENT_SECONDS, *args)

    def encrypt(self, folder: Path, plaintext: bytes, app: str = APP) -> Path:
        """Write and encrypt a file in ``folder``; the ciphertext's path."""
        source, target = folder / "secret.txt", folder / "secret.ibe"
        source.write_bytes(plaintext)
        said = self.eigenkms("encrypt", "--app-id", app, "-o", target, source)
        assert (said.code, said.out) == (0, ""), said.err
        return target

    def decrypt(self, ciphertext: Path, *flags: str | Path, app: str = APP) -> tuple[Said, Path]:
        """Decrypt to a file that does not exist yet; what was said, and that file."""
        output = ciphertext.with_name(f"plain-{time.monotonic_ns()}")
        return self.eigenkms("decrypt", "--app-id", app, "-o", output, *flags, ciphertext), output

    def start_badly(self, index: int, *flags: str | Path, before: Sequence[str] = ()) -> Said:
        """``eigenkms node`` with an operator's file and ``flags``, which must end it by itself.

        It runs in this process, unless a command ``before`` starts it.
        """
        words = ("node", "--config", self.members[index].config, *flags)
        if before:
            return eigenkms_process(*words, before=before)
        with _logging_as_it_was():
            return eigenkms(*words)


@contextmanager
def live_network(
    folder: Path,
    *,
    operators: int = 4,
    timing: Timing = STEADY,
    access: Access | None = None,
    anchor: bool = False,
) -> Iterator[LiveNetwork]:
    """A network on anvil, or else on an embedded chain, in ``folder``; no node is started yet. Everything ends with the context."""
    with Loop.opened() as loop:
        paused: set[int] = set()

        async def begin() -> tuple[Devnet, Host, Boundaries]:
            probe = await loop.stack.enter_async_context(patient_host(PeerKey.generate()))
            opening = open_network(
                folder, operators=operators, engine=ENGINE, timing=timing, access=access, anchor=anchor
            )
            network = await loop.stack.enter_async_context(opening)
            boundaries = Boundaries(network, paused)
            nursery = await loop.stack.enter_async_context(open_scope())
            nursery.start_soon(boundaries.run)
            return network, probe, boundaries

        network, probe, boundaries = loop.enter(begin)
        yield LiveNetwork(loop, network, probe, boundaries, paused)


async def _entered(stack: ExitStack, boundaries: Boundaries) -> None:
    stack.enter_context(boundaries.demanded())


async def _closed(stack: ExitStack) -> None:
    stack.close()
