"""The rotation scenario: boundaries in a row, with faults, under a client's load.

Operators die, return, join, leave and move. Each rotation in the result was verified: a second client fetches the version
that the boundary made and checks its certificate against the chain. Only the seconds come from the nodes' logs. A run is
without fault if every boundary was certified, there was one master key, no decryption failed, and the real command line opens
at the end what it sealed at the beginning.
"""

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import assert_never

import trio

from eigenkms.client.api import Client, open_client
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.crypto.scalars import threshold
from eigenkms.devnet import cli_runner
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.console import EventPrinter, print_stderr, start, stop
from eigenkms.devnet.engines.accounts import COUNT
from eigenkms.devnet.fault_schedule import FaultKind, ScheduledFault, default_plan, due
from eigenkms.devnet.load_generator import LoadGenerator
from eigenkms.devnet.network import Devnet, Say
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.nurseries import background_task, open_scope
from eigenkms.devnet.provisioning import open_network
from eigenkms.devnet.rotation_result import RotationResult, RotationRow, find_faults
from eigenkms.errors import EigenKmsError, InputError, NetworkError
from eigenkms.types import OperatorAddress
from eigenkms.wire.transcript import Transcript

GENESIS_SECONDS = 300.0
GRACE_SECONDS = 30.0
"""How much later than expected a boundary may come, in seconds."""
RETRY_SECONDS = 0.2
MORE_ROTATIONS = 15
"""Rotations above the requested number that are run, at most, until the plan is complete."""
SECRET_BYTES = 4096
CIPHERTEXT = "secret.ibe"
ROTATION_TIMING = Timing(interval_blocks=8, block_seconds=1.0, window_seconds=0.5)
"""An interval has room for some views of a session, if leaders are slow, and for a node to start."""


async def run_rotation(
    rotations: int,
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    say: Say = print_stderr,
    plan: Sequence[ScheduledFault] | None = None,
    mine: Callable[[Devnet, Callable[[int], bool]], Awaitable[object]] | None = None,
    *,
    dead: int = 0,
) -> RotationResult:
    """Run genesis, then ``rotations`` boundaries in a row, and stop the network.

    ``plan`` replaces the default plan.

    With ``dead`` operators there is no plan: these are killed after genesis, and stay dead. ``mine`` makes the blocks if ``timing``
    has them on demand. It gets the network, and a function that returns whether a decryption has succeeded since a boundary.

    A fault waits until the network is whole again after the one before. On a slow machine that may take more rotations than
    requested. The result's ``faults`` list the failures of rotations and decryptions. Raises ``EigenKmsError`` if the scenario
    cannot go on: no genesis, a boundary that no operator sees, a node that does not restart. A given folder keeps all logs.
    """
    begun = time.monotonic()
    if plan is None:
        plan = () if dead else default_plan(rotations, operators, COUNT - 2 - operators)
    if operators - dead < threshold(operators):
        raise InputError(
            f"run scenario rotation: {operators - dead} of {operators} operators make no new version",
            hint=f"leave at least {threshold(operators)} alive",
        )
    result = RotationResult(
        operators, engine, timing.interval_blocks * timing.block_seconds, timing.window_seconds
    )
    async with open_network(folder, operators=operators, engine=engine, timing=timing, say=say) as network:
        tracker, printer = BoundaryTracker(), EventPrinter(say)
        network.add_listener(tracker.on_event)
        network.add_listener(printer.on_event)
        await start(network, say)
        load: LoadGenerator | None = None

        def served(block: int) -> bool:
            """Return whether a decryption has succeeded since this boundary, the newest."""
            seen = bool(result.rows) and result.rows[-1].block >= block
            return seen and load is not None and load.this_lap.succeeded > 0

        async with AsyncExitStack() as stack:
            if mine is not None:
                await stack.enter_async_context(background_task(partial(mine, network, served)))
            await network.genesis(GENESIS_SECONDS)
            printer.silent = True
            for index in range(dead):
                await network.kill(index)
                say(f"operator {index + 1} killed for good")
            settings = network.client_settings
            observer, client = [await stack.enter_async_context(open_client(settings)) for _ in range(2)]
            load = LoadGenerator(client, await client.fetch())
            await _RotationScenario(network, tracker, observer, load, plan, result, say).run(rotations)
        living = {member.index for member in network.registered} - set(range(dead))
        try:
            await tracker.all_hold(living, result.interval + GRACE_SECONDS)
        except NetworkError as error:
            result.faults.append(str(error))
        try:
            await stop(network, say, except_for=frozenset(range(dead)))
        except NetworkError as error:
            result.faults.append(str(error))
    result.faults += find_faults(result, load.total, rotations)
    result.total = time.monotonic() - begun
    return result


@dataclass
class _RotationScenario:
    """The run from genesis to the end."""

    network: Devnet
    tracker: BoundaryTracker
    observer: Client
    load: LoadGenerator
    plan: Sequence[ScheduledFault]
    result: RotationResult
    say: Say
    _transcripts: dict[bytes, Transcript] = field(default_factory=dict)
    _pending: int = 0
    """Faults that are due and not applied."""
    _quiet_since: float = 0.0
    """When the last fault was applied, in unix seconds."""

    async def run(self, rotations: int) -> None:
        """Run all rotations.

        Load, faults and commands have tasks of their own, because boundaries do not wait for them.
        """
        send, receive = trio.open_memory_channel[ScheduledFault](math.inf)
        async with open_scope() as nursery:
            nursery.start_soon(self.load.run)
            async with trio.open_nursery() as acting, send:
                acting.start_soon(self._apply_all, receive)
                acting.start_soon(self._encrypt)
                row = self._open_row(0, self.tracker.genesis)
                await self._record_version(row, self.tracker.genesis)
                while row.rotation < rotations or (
                    self._pending and row.rotation < rotations + MORE_ROTATIONS
                ):
                    row = await self._rotate(row.rotation + 1, row, send)
                if self._pending:
                    self.result.faults.append(
                        "the network was not whole again in time for all that was planned"
                    )
                    acting.cancel_scope.cancel()
            await self._decrypt("decrypted-again.txt")
        self._close_row(row, self.tracker.at(row.block))
        total, result = self.load.total, self.result
        result.decrypts, result.failed_decrypts = total.succeeded, total.failed
        result.decrypt_p50, result.decrypt_p99 = total.quantile(0.5), total.quantile(0.99)
        result.decrypt_max = total.quantile(1.0)
        result.versions = {int(version): count for version, count in sorted(total.versions.items())}

    # -- the command line ------------------------------------------------------------------------------------

    @property
    def _secret(self) -> Path:
        return self.network.folder / "secret.txt"

    async def _encrypt(self) -> None:
        """Encrypt a secret at the beginning and decrypt it."""
        await trio.Path(self._secret).write_bytes(secrets.token_bytes(SECRET_BYTES))
        await cli_runner.encrypt(self.network, self.say, cli_runner.APP_ID, self._secret, CIPHERTEXT)
        await self._decrypt("decrypted.txt")

    async def _decrypt(self, output: str) -> None:
        try:
            await cli_runner.decrypt(
                self.network, self.say, cli_runner.APP_ID, CIPHERTEXT, self._secret, output
            )
        except EigenKmsError as error:
            self.result.faults.append(f"the command line: {error}")

    # -- rotations -------------------------------------------------------------------------------------------

    async def _rotate(
        self, rotation: int, before: RotationRow, acts: "trio.MemorySendChannel[ScheduledFault]"
    ) -> RotationRow:
        """Wait for the next boundary and its outcome."""
        patience = self.result.interval + GRACE_SECONDS
        seen = await self.tracker.after(before.block, patience)
        self._close_row(before, self.tracker.at(before.block))
        row = self._open_row(rotation, seen)
        if seen.block != before.block + self.network.timing.interval_blocks:
            self._record_fault(
                row, f"no operator saw a boundary between blocks {before.block} and {seen.block}"
            )
        self._schedule_due(row, acts, during=True)
        outcome = await self.tracker.outcome(seen.block, patience)
        if outcome.is_certified:
            await self._record_version(row, outcome)
        else:
            self._record_fault(row, "no quorum had a certificate before the next boundary")
        self._print_row(row)
        self._schedule_due(row, acts, during=False)
        return row

    def _schedule_due(
        self, row: RotationRow, acts: "trio.MemorySendChannel[ScheduledFault]", *, during: bool
    ) -> None:
        for act in due(self.plan, row.rotation, during=during):
            self._pending += 1
            acts.send_nowait(act)

    def _open_row(self, rotation: int, seen: BoundaryRecord) -> RotationRow:
        row = RotationRow(rotation, seen.block, seen.operators)
        self.result.rows.append(row)
        return row

    async def _record_version(self, row: RotationRow, found: BoundaryRecord) -> None:
        """Record a boundary's version, by the logs and as a client on the chain finds it."""
        row.version, row.seconds = found.certified.version, found.seconds
        try:
            info = await self._fetch(row.block)
        except NetworkError as error:
            self._record_fault(row, str(error))
            return
        transcript = info.epoch.transcript
        self._transcripts[transcript.hash] = transcript
        if transcript.boundary.number != row.block:
            return
        row.mpk = info.mpk.hex()
        row.certified_by = len(info.epoch.certificate.signers(transcript.recipients))
        dealers = {dealer for dealer, _ in transcript.dealers}
        row.dealers = len(dealers)
        source = self._transcripts.get(transcript.source_hash)
        if source is not None:
            row.missing = [self._name(a) for a in source.recipients.addresses if a not in dealers]

    async def _fetch(self, block: int) -> ClusterInfo:
        """Return the version of a boundary, or a newer one.

        Raises ``NetworkError`` after an interval.
        """
        failure: object = "an older version is served"
        with trio.move_on_after(self.result.interval):
            while True:
                try:
                    info = await self.observer.fetch()
                except EigenKmsError as error:
                    failure = error
                else:
                    if info.epoch.transcript.boundary.number >= block:
                        return info
                await trio.sleep(RETRY_SECONDS)
        raise NetworkError(f"fetch the version of block {block}: {failure}")

    def _name(self, address: OperatorAddress) -> str:
        return next(member.name for member in self.network.members if member.address == address)

    def _record_fault(self, row: RotationRow, why: str) -> None:
        self.result.faults.append(f"rotation {row.rotation}: {why}")

    def _print_row(self, row: RotationRow) -> None:
        where = f"rotation {row.rotation} at block {row.block}"
        if row.version is None or row.seconds is None:
            self.say(f"{where}: not certified")
            return
        missing = f" without {', '.join(row.missing)}" if row.missing else ""
        self.say(
            f"{where}: version {row.version} for {row.operators} operators{missing} after {row.seconds:.1f} s"
        )

    def _close_row(self, row: RotationRow, found: BoundaryRecord) -> None:
        """Complete a row at the end of its interval."""
        row.holders = len(found.certified.shares)
        before = [each for each in self.result.rows if each.version is not None and each.block < row.block]
        if row.version is not None and before:
            row.erased = len(self.tracker.at(before[-1].block).certified.erased)
        lap = self.load.lap()
        row.decrypts, row.failed_decrypts = lap.succeeded, lap.failed
        if lap.failed:
            self.say(f"{lap.failed} decryptions failed: {lap.failures[0].why}")

    # -- acts ------------------------------------------------------------------------------------------------

    async def _apply_all(self, acts: "trio.MemoryReceiveChannel[ScheduledFault]") -> None:
        """Apply the faults one after another, until there are no more."""
        async for act in acts:
            if act.what is not FaultKind.RESTART:
                await self.tracker.until(self._is_whole)
            words = f"operator {act.operator + 1} {act.what}"
            self.result.rows[-1].events.append(words)
            self.say(words)
            await self._apply_fault(act)
            self._quiet_since = time.time()
            self._pending -= 1

    def _is_whole(self) -> bool:
        """Return whether all members have a share of a version newer than the last fault."""
        members = {member.index for member in self.network.registered}
        newest = self.tracker.newest_certified
        return (
            newest is not None
            and newest.seen > self._quiet_since
            and members <= newest.certified.shares.keys()
        )

    async def _apply_fault(self, act: ScheduledFault) -> None:
        match act.what:
            case FaultKind.KILL:
                await self.network.kill(act.operator)
            case FaultKind.RESTART:
                await self.network.restart(act.operator)
            case FaultKind.JOIN:
                await self.network.join()
            case FaultKind.LEAVE:
                await self.network.leave(act.operator)
            case FaultKind.MOVE | FaultKind.MOVE_PUBLISHED:
                await self.network.move(act.operator, publish=act.what is FaultKind.MOVE_PUBLISHED)
            case _:
                assert_never(act.what)
