"""The rotation scenario: shares are renewed at every boundary while operators die, return, join, leave and move, and a client
decrypts without pause.

What is written down of each rotation was verified: a second client fetches the version that the boundary made and checks its
certificate against the chain. Only the seconds come from the nodes' logs. The verdict asks that every boundary of the run was
certified, that there was one master key, that no decryption failed, and that the real command line still opens at the end what
it sealed at the beginning.
"""

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import assert_never

import trio

from eigenkms.client.api import Client, open_client
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.crypto.scalars import threshold
from eigenkms.devnet import cli_runner
from eigenkms.devnet.boundary_tracker import BoundaryRecord, BoundaryTracker
from eigenkms.devnet.console import EventPrinter, start, stop, tell_stderr
from eigenkms.devnet.engines.accounts import COUNT
from eigenkms.devnet.fault_schedule import FaultKind, ScheduledFault, default_plan, due
from eigenkms.devnet.load_generator import LatencyStats, LoadGenerator
from eigenkms.devnet.network import Devnet, Say, open_network
from eigenkms.devnet.node_processes import Timing
from eigenkms.devnet.nurseries import alongside, open_scope
from eigenkms.errors import EigenKmsError, InputError, NetworkError
from eigenkms.protocols.wire.transcript import Transcript
from eigenkms.types import OperatorAddress

GENESIS_SECONDS = 300.0
GRACE_SECONDS = 30.0
"""How much later than expected a boundary may come."""
RETRY_SECONDS = 0.2
MORE_ROTATIONS = 15
"""Than were asked for, at most, until all that was planned has happened."""
SECRET_BYTES = 4096
CIPHERTEXT = "secret.ibe"
ROTATION_TIMING = Timing(interval_blocks=8, block_seconds=1.0, window_seconds=0.5)
"""An interval has room for some views of a session, if leaders are slow, and for a node to start."""


@dataclass
class RotationRow:
    """A boundary, and the interval after it. Rotation 0 is genesis.

    ``version``, ``seconds``, ``holders`` and ``erased`` are the nodes' own word, the rest is verified or counted here. What was
    verified is absent if a newer version was served before this one could be fetched.
    """

    rotation: int
    block: int
    operators: int
    """The set at this block: who may vote and gets a share."""
    seconds: float | None = None
    """From the first operator that saw the boundary to the certificate at a quorum of them."""
    version: int | None = None
    mpk: str | None = None
    certified_by: int | None = None
    """Votes in the certificate; a quorum is enough for it."""
    dealers: int | None = None
    missing: list[str] = field(default_factory=list)
    """Who held a share of the source and was not counted as a dealer."""
    holders: int = 0
    """Operators that had their share by the end of the interval."""
    erased: int = 0
    """Operators that had erased their share of the version before by then."""
    events: list[str] = field(default_factory=list)
    decrypts: int = 0
    failed_decrypts: int = 0


@dataclass
class RotationResult:
    """What ``devnet run --scenario rotation`` prints. Times in seconds."""

    operators: int
    engine: str
    interval: float
    window: float
    rows: list[RotationRow] = field(default_factory=list)
    decrypts: int = 0
    failed_decrypts: int = 0
    decrypt_p50: float = math.nan
    decrypt_p99: float = math.nan
    decrypt_max: float = math.nan
    versions: dict[int, int] = field(default_factory=dict)
    """How many decryptions each version served."""
    faults: list[str] = field(default_factory=list)
    total: float = 0.0

    @property
    def master_keys(self) -> list[str]:
        """All that were seen, in hex."""
        return sorted({row.mpk for row in self.rows if row.mpk is not None})

    @property
    def rotations(self) -> int:
        """Certified ones."""
        return sum(1 for row in self.rows if row.rotation and row.version is not None)


async def run_rotation(
    rotations: int,
    operators: int,
    engine: str,
    folder: Path | None,
    timing: Timing,
    say: Say = tell_stderr,
    plan: Sequence[ScheduledFault] | None = None,
    mine: Callable[[Devnet, Callable[[int], bool]], Awaitable[object]] | None = None,
    *,
    dead: int = 0,
) -> RotationResult:
    """Genesis, then ``rotations`` boundaries in a row; everything is stopped at the end. ``plan`` replaces the default one. With
    ``dead`` operators there is none: these are killed after genesis, and stay dead.

    ``mine`` makes the blocks if ``timing`` has them on demand; it gets the network, and a function that says of a boundary's block
    whether a decryption has succeeded since. An act waits until the network is whole again after the one before; on a slow machine
    that may take more rotations than were asked for. What goes wrong with a rotation or a decryption stands in the result's
    ``faults``. Raises ``EigenKmsError`` where the story could not be told: no genesis, a boundary that nobody sees, a node that
    does not come up again. A folder that was given keeps all logs.
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
        rounds, teller = BoundaryTracker(), EventPrinter(say)
        network.hear(rounds.hear)
        network.hear(teller.hear)
        await start(network, say)
        steady: LoadGenerator | None = None

        def served(block: int) -> bool:
            """Counted for the row of this boundary, which is open from when the story saw it until it sees the next."""
            seen = bool(result.rows) and result.rows[-1].block >= block
            return seen and steady is not None and steady.this_lap.succeeded > 0

        async with AsyncExitStack() as stack:
            if mine is not None:
                await stack.enter_async_context(alongside(partial(mine, network, served)))
            await network.genesis(GENESIS_SECONDS)
            teller.silent = True
            for index in range(dead):
                await network.kill(index)
                say(f"operator {index + 1} killed for good")
            settings = network.client_settings
            observer, client = [await stack.enter_async_context(open_client(settings)) for _ in range(2)]
            steady = LoadGenerator(client, await client.fetch())
            await _RotationScenario(network, rounds, observer, steady, plan, result, say).tell(rotations)
        living = {member.index for member in network.registered} - set(range(dead))
        try:
            await rounds.all_hold(living, result.interval + GRACE_SECONDS)
        except NetworkError as error:
            result.faults.append(str(error))
        try:
            await stop(network, say, except_for=frozenset(range(dead)))
        except NetworkError as error:
            result.faults.append(str(error))
    result.faults += _faults(result, steady.total, rotations)
    result.total = time.monotonic() - begun
    return result


def _faults(result: RotationResult, total: LatencyStats, rotations: int) -> list[str]:
    """What the whole run must be, and was not."""
    faults = []
    if result.rotations < rotations:
        faults.append(f"{result.rotations} of {rotations} rotations were certified")
    if len(result.master_keys) != 1:
        faults.append(f"{len(result.master_keys)} master keys were seen")
    if total.failed:
        first = total.failures[0].why
        faults.append(
            f"{total.failed} of {total.failed + total.succeeded} decryptions failed; the first: {first}"
        )
    idle = [row.rotation for row in result.rows if not row.decrypts]
    made = [row for row in result.rows if row.version is not None]
    kept = [
        str(row.rotation)
        for before, row in pairwise(made)
        if before.holders - row.erased >= threshold(before.operators)
    ]
    if kept:
        faults.append(f"enough older shares to make the key were left after rotation {', '.join(kept)}")
    if idle:
        faults.append(f"no decryption succeeded after rotation {', '.join(map(str, idle))}")
    return faults


@dataclass
class _RotationScenario:
    """From genesis to the end."""

    network: Devnet
    rounds: BoundaryTracker
    observer: Client
    steady: LoadGenerator
    plan: Sequence[ScheduledFault]
    result: RotationResult
    say: Say
    _transcripts: dict[bytes, Transcript] = field(default_factory=dict)
    _pending: int = 0
    """Acts that are due and not done."""
    _quiet_since: float = 0.0
    """When the last act was done, in unix seconds."""

    async def tell(self, rotations: int) -> None:
        """The client never stops meanwhile. Acts and commands have tasks of their own, because boundaries do not wait for them."""
        send, receive = trio.open_memory_channel[ScheduledFault](math.inf)
        async with open_scope() as nursery:
            nursery.start_soon(self.steady.run)
            async with trio.open_nursery() as acting, send:
                acting.start_soon(self._act, receive)
                acting.start_soon(self._encrypt)
                row = self._row(0, self.rounds.genesis)
                await self._certified(row, self.rounds.genesis)
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
        self._close(row, self.rounds.at(row.block))
        total, result = self.steady.total, self.result
        result.decrypts, result.failed_decrypts = total.succeeded, total.failed
        result.decrypt_p50, result.decrypt_p99 = total.quantile(0.5), total.quantile(0.99)
        result.decrypt_max = total.quantile(1.0)
        result.versions = {int(version): count for version, count in sorted(total.versions.items())}

    # -- the command line ------------------------------------------------------------------------------------

    @property
    def _secret(self) -> Path:
        return self.network.folder / "secret.txt"

    async def _encrypt(self) -> None:
        """At the beginning: encrypt a secret and see whether it comes back."""
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
        """See a boundary, and what comes of it."""
        patience = self.result.interval + GRACE_SECONDS
        seen = await self.rounds.after(before.block, patience)
        self._close(before, self.rounds.at(before.block))
        row = self._row(rotation, seen)
        if seen.block != before.block + self.network.timing.interval_blocks:
            self._fault(row, f"no operator saw a boundary between blocks {before.block} and {seen.block}")
        self._call_for(row, acts, during=True)
        outcome = await self.rounds.outcome(seen.block, patience)
        if outcome.is_certified:
            await self._certified(row, outcome)
        else:
            self._fault(row, "no quorum had a certificate before the next boundary")
        self._tell_row(row)
        self._call_for(row, acts, during=False)
        return row

    def _call_for(
        self, row: RotationRow, acts: "trio.MemorySendChannel[ScheduledFault]", *, during: bool
    ) -> None:
        for act in due(self.plan, row.rotation, during=during):
            self._pending += 1
            acts.send_nowait(act)

    def _row(self, rotation: int, seen: BoundaryRecord) -> RotationRow:
        row = RotationRow(rotation, seen.block, seen.operators)
        self.result.rows.append(row)
        return row

    async def _certified(self, row: RotationRow, found: BoundaryRecord) -> None:
        """Write down the version that the boundary made: by the logs, and as a client finds it that believes the chain alone."""
        row.version, row.seconds = found.certified.version, found.seconds
        try:
            info = await self._fetch(row.block)
        except NetworkError as error:
            self._fault(row, str(error))
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
        """The version of a boundary, or a newer one. Raises ``NetworkError`` if none is served within an interval."""
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

    def _fault(self, row: RotationRow, why: str) -> None:
        self.result.faults.append(f"rotation {row.rotation}: {why}")

    def _tell_row(self, row: RotationRow) -> None:
        where = f"rotation {row.rotation} at block {row.block}"
        if row.version is None or row.seconds is None:
            self.say(f"{where}: not certified")
            return
        missing = f" without {', '.join(row.missing)}" if row.missing else ""
        self.say(
            f"{where}: version {row.version} for {row.operators} operators{missing} after {row.seconds:.1f} s"
        )

    def _close(self, row: RotationRow, found: BoundaryRecord) -> None:
        """Its interval is over."""
        row.holders = len(found.certified.shares)
        before = [each for each in self.result.rows if each.version is not None and each.block < row.block]
        if row.version is not None and before:
            row.erased = len(self.rounds.at(before[-1].block).certified.erased)
        lap = self.steady.lap()
        row.decrypts, row.failed_decrypts = lap.succeeded, lap.failed
        if lap.failed:
            self.say(f"{lap.failed} decryptions failed: {lap.failures[0].why}")

    # -- acts ------------------------------------------------------------------------------------------------

    async def _act(self, acts: "trio.MemoryReceiveChannel[ScheduledFault]") -> None:
        """One after another, until there are no more."""
        async for act in acts:
            if act.what is not FaultKind.RESTART:
                await self.rounds.until(self._is_whole)
            words = f"operator {act.operator + 1} {act.what}"
            self.result.rows[-1].events.append(words)
            self.say(words)
            await self._carry_out(act)
            self._quiet_since = time.time()
            self._pending -= 1

    def _is_whole(self) -> bool:
        """Whether a version was made since the last act, of which every operator of the set has its share."""
        members = {member.index for member in self.network.registered}
        newest = self.rounds.newest_certified
        return (
            newest is not None
            and newest.seen > self._quiet_since
            and members <= newest.certified.shares.keys()
        )

    async def _carry_out(self, act: ScheduledFault) -> None:
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
